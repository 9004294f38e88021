/**
 * The management interface, which every endpoint answers: which interfaces it offers, what it has done, whether it listens.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import * as Interface from "../Interface.ts"
import { below, unguarded } from "../internal/access.ts"
import * as Manager from "../Manager.ts"
import * as ServerCall from "../ServerCall.ts"
import * as Ndr from "../ndr/Ndr.ts"

// ----------------------------------------------------------------------------
// the interface
// ----------------------------------------------------------------------------

const InterfaceId: Methods.InterfaceId = Ndr.struct({ uuid: Ndr.Uuid, major: Ndr.Uint16, minor: Ndr.Uint16 })

const InterfaceIds: Methods.InterfaceIds = Ndr.struct({
  count: Ndr.sizeIs("ids"),
  ids: Ndr.conformant(Ndr.unique(InterfaceId))
})

/**
 * The methods of the management interface, in the order of their opnums.
 *
 * @category models
 * @since 0.1.0
 */
export type Methods = {
  /** The interfaces that the endpoint offers. */
  readonly inq_if_ids: Interface.Method.Of<
    Schema.Void,
    { readonly if_id_vector: Schema.NullOr<Methods.InterfaceIds>; readonly status: Schema.Int }
  >
  /** The first `count` statistics: calls in, calls out, packets in, packets out. Each begins again at 0 behind 2^32 - 1. */
  readonly inq_stats: Interface.Method.Of<{ readonly count: Schema.Int }, {
    readonly count: Ndr.Derived
    readonly statistics: Schema.$Array<Schema.Int>
    readonly status: Schema.Int
  }>
  /** Whether the server listens: `listening` is 1. */
  readonly is_server_listening: Interface.Method.Of<
    Schema.Void,
    { readonly status: Schema.Int; readonly listening: Schema.Int }
  >
  /** Stops the server, where its owner allows that; else it is refused with 5. */
  readonly stop_server_listening: Interface.Method.Of<Schema.Void, { readonly status: Schema.Int }>
  /** The principal name for an authentication service. */
  readonly inq_princ_name: Interface.Method.Of<
    { readonly authn_proto: Schema.Int; readonly princ_name_size: Schema.Int },
    { readonly princ_name: Schema.String; readonly status: Schema.Int }
  >
}

/**
 * Types that belong to {@link Methods}.
 */
export declare namespace Methods {
  /** An interface with its version. */
  export type InterfaceId = Schema.Struct<{
    readonly uuid: Schema.String
    readonly major: Schema.Int
    readonly minor: Schema.Int
  }>
  /** Several of them. */
  export type InterfaceIds = Schema.Struct<{
    readonly count: Ndr.Derived
    readonly ids: Schema.$Array<Schema.NullOr<InterfaceId>>
  }>
}

/**
 * The management interface.
 *
 * Windows: the `RpcMgmt` functions: `RpcMgmtInqIfIds`, `RpcMgmtInqStats`, `RpcMgmtIsServerListening`,
 * `RpcMgmtStopServerListening`, `RpcMgmtInqServerPrincName`.
 *
 * @category models
 * @since 0.1.0
 */
export const IManagement: Interface.Interface<"mgmt", Methods> = Interface.make("mgmt", {
  uuid: "afa8bd80-7d8a-11c9-bef4-08002b102989",
  version: [1, 0],
  methods: {
    inq_if_ids: Interface.method({ out: { if_id_vector: Ndr.unique(InterfaceIds), status: Ndr.Uint32 } }),
    inq_stats: Interface.method({
      in: { count: Ndr.Uint32 },
      out: { count: Ndr.sizeIs("statistics"), statistics: Ndr.conformant(Ndr.Uint32), status: Ndr.Uint32 }
    }),
    is_server_listening: Interface.method({ out: { status: Ndr.Uint32, listening: Ndr.Uint32 } }),
    stop_server_listening: Interface.method({ out: { status: Ndr.Uint32 } }),
    inq_princ_name: Interface.method({
      in: { authn_proto: Ndr.Uint32, princ_name_size: Ndr.Uint32 },
      out: { princ_name: Ndr.String, status: Ndr.Uint32 }
    })
  }
})

// ----------------------------------------------------------------------------
// the manager
// ----------------------------------------------------------------------------

/**
 * The facts that an endpoint knows of itself.
 *
 * @category the manager
 * @since 0.1.0
 */
export interface Facts {
  /** The interfaces that the server offers. */
  readonly interfaces: () => ReadonlyArray<Interface.Interface.Identity>
  /** How many calls and packets the server has received and sent. */
  readonly statistics: () => {
    readonly callsIn: number
    readonly callsOut: number
    readonly packetsIn: number
    readonly packetsOut: number
  }
  /** Whether the server takes new calls. */
  readonly isListening: () => boolean
  /** Stops the server; missing where nobody may. */
  readonly stop: Effect.Effect<void> | undefined
  /** Whether only clients that have logged in may stop the server, at level `integrity` or above. By default anybody may. */
  readonly isSecure?: boolean | undefined
}

const accessDenied = 5
const unknownAuthenticationService = 1747

/**
 * Makes the manager of the management interface.
 *
 * @category the manager
 * @since 0.1.0
 */
export const makeManager = (facts: Facts): Manager.Manager<typeof IManagement, never> =>
  Manager.make(IManagement, {
    inq_if_ids: () =>
      Effect.sync(() => {
        const ids = facts.interfaces().map(({ uuid, version: [major, minor] }) => ({ uuid, major, minor }))
        return { if_id_vector: { ids }, status: 0 }
      }),
    inq_stats: ({ count }) =>
      Effect.sync(() => {
        const { callsIn, callsOut, packetsIn, packetsOut } = facts.statistics()
        const counters = [callsIn, callsOut, packetsIn, packetsOut]
        // They wrap, as unsigned longs do.
        return { statistics: counters.slice(0, count).map((counter) => counter >>> 0), status: 0 }
      }),
    is_server_listening: () => Effect.sync(() => ({ status: 0, listening: facts.isListening() ? 1 : 0 })),
    // Others answer with the status too, and not with a fault.
    stop_server_listening: (_, call) =>
      facts.stop === undefined ||
        below(unguarded, facts.isSecure === true ? "integrity" : "none", ServerCall.caller(call)) !== undefined
        ? Effect.succeed({ status: accessDenied })
        : Effect.as(facts.stop, { status: 0 }),
    inq_princ_name: () => Effect.succeed({ princ_name: "", status: unknownAuthenticationService })
  })
