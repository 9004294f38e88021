/**
 * The endpoint mapper: the service of a host that knows on which endpoint each of its servers listens.
 *
 * Servers {@link register} there, and clients that know the host and the interface alone ask it: `Association.bind` does so for a
 * string binding without an endpoint. {@link lookup} lists the entries of any mapper, {@link makeManager} makes a mapper of your
 * own. Its functions take a binding to the mapper's interface: `Association.bind(IEndpointMapper, "ncacn_ip_tcp:host")`, or
 * `Binding.local` in the same process.
 *
 * @module
 * @since 0.1.0
 */
import { isReadonlyArrayNonEmpty, type NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Binding from "../Binding.ts"
import * as Call from "../Call.ts"
import * as ContextHandle from "../ContextHandle.ts"
import * as Interface from "../Interface.ts"
import { countOption } from "../internal/options.ts"
import type { ServerCallImpl } from "../internal/serverCall.ts"
import * as Uuid from "../internal/uuid.ts"
import * as Manager from "../Manager.ts"
import * as Server from "../Server.ts"
import * as ServerCall from "../ServerCall.ts"
import {
  type BadStubData,
  type CallCancelled,
  type ContextMismatch,
  EndpointNotRegistered,
  RpcFault,
  type RpcTransportError
} from "../Status.ts"
import * as Ndr from "../ndr/Ndr.ts"
import type { SyntaxId } from "./Pdu.ts"
import * as StringBinding from "../transport/StringBinding.ts"
import * as Tower from "./Tower.ts"
import { proposed } from "./TransferSyntax.ts"

// ----------------------------------------------------------------------------
// the interface
// ----------------------------------------------------------------------------

const TowerBytes: Methods.TowerBytes = Ndr.struct({
  tower_length: Ndr.sizeIs("tower_octet_string"),
  tower_octet_string: Ndr.Bytes
})

const maximumAnnotation = 64

const WireEntry: Methods.WireEntry = Ndr.struct({
  object: Ndr.Uuid,
  tower: Ndr.full(TowerBytes),
  annotation: Ndr.varyingString(maximumAnnotation)
})

const InterfaceId: Methods.InterfaceId = Ndr.struct({ uuid: Ndr.Uuid, major: Ndr.Uint16, minor: Ndr.Uint16 })

const Handle: Methods.Handle = ContextHandle.make("ept_lookup_handle_t")

const HandleOrNull: Methods.HandleOrNull = ContextHandle.nullable(Handle)

/**
 * The methods of the endpoint mapper, in the order of their opnums. All of them answer with a `status`: 0, 1751
 * (`EPT_S_INVALID_ENTRY`), 1752 (`EPT_S_CANT_PERFORM_OP`) or 0x16C9A0D6 (nothing, or nothing more, is registered).
 *
 * @category models
 * @since 0.1.0
 */
export type Methods = {
  /** Adds entries; with `replace` they take the place of entries that differ in the endpoint alone. For local callers. */
  readonly ept_insert: Interface.Method.Of<{
    readonly num_ents: Ndr.Derived
    readonly entries: Schema.$Array<Methods.WireEntry>
    readonly replace: Schema.Int
  }, Methods.Status>
  /** Removes entries. For local callers. */
  readonly ept_delete: Interface.Method.Of<
    { readonly num_ents: Ndr.Derived; readonly entries: Schema.$Array<Methods.WireEntry> },
    Methods.Status
  >
  /** The next `max_ents` entries that match. `entry_handle` is the lookup that goes on; null begins one, and is its end. */
  readonly ept_lookup: Interface.Method.Of<{
    readonly inquiry_type: Schema.Int
    readonly object: Schema.NullOr<Schema.String>
    readonly interface_id: Schema.NullOr<Methods.InterfaceId>
    readonly vers_option: Schema.Int
    readonly entry_handle: Methods.HandleOrNull
    readonly max_ents: Schema.Int
  }, {
    readonly entry_handle: Methods.HandleOrNull
    readonly num_ents: Ndr.Derived
    readonly entries: Ndr.SizedArray<Methods.WireEntry>
    readonly status: Schema.Int
  }>
  /** The next `max_towers` towers that reach what `map_tower` describes, whose endpoint and address do not count. */
  readonly ept_map: Interface.Method.Of<{
    readonly object: Schema.NullOr<Schema.String>
    readonly map_tower: Schema.NullOr<Methods.TowerBytes>
    readonly entry_handle: Methods.HandleOrNull
    readonly max_towers: Schema.Int
  }, {
    readonly entry_handle: Methods.HandleOrNull
    readonly num_towers: Ndr.Derived
    readonly towers: Ndr.SizedArray<Schema.NullOr<Methods.TowerBytes>>
    readonly status: Schema.Int
  }>
  /** Ends a lookup before its end. */
  readonly ept_lookup_handle_free: Interface.Method.Of<
    { readonly entry_handle: Methods.Handle },
    { readonly entry_handle: Methods.HandleOrNull; readonly status: Schema.Int }
  >
  /** The UUID of the mapper itself. */
  readonly ept_inq_object: Interface.Method.Of<
    Schema.Void,
    { readonly ept_object: Schema.String; readonly status: Schema.Int }
  >
  /** Removes the entries with a tower, of one object where `object_speced` is not 0, or of all. For local callers. */
  readonly ept_mgmt_delete: Interface.Method.Of<{
    readonly object_speced: Schema.Int
    readonly object: Schema.NullOr<Schema.String>
    readonly tower: Schema.NullOr<Methods.TowerBytes>
  }, Methods.Status>
}

/**
 * Types that belong to {@link Methods}.
 */
export declare namespace Methods {
  /** A status, the only out parameter of several methods. */
  export type Status = { readonly status: Schema.Int }
  /** A tower as its bytes. */
  export type TowerBytes = Schema.Struct<{
    readonly tower_length: Ndr.Derived
    readonly tower_octet_string: Schema.Uint8Array
  }>
  /** An entry as it travels. */
  export type WireEntry = Schema.Struct<{
    readonly object: Schema.String
    readonly tower: Schema.NullOr<TowerBytes>
    readonly annotation: Schema.String
  }>
  /** An interface with its version. */
  export type InterfaceId = Schema.Struct<{
    readonly uuid: Schema.String
    readonly major: Schema.Int
    readonly minor: Schema.Int
  }>
  /** A lookup that goes on. */
  export type Handle = ContextHandle.Type<"ept_lookup_handle_t">
  /** A lookup that goes on, or null for one that begins or has ended. */
  export type HandleOrNull = ContextHandle.Nullable<"ept_lookup_handle_t">
}

/**
 * The interface of the endpoint mapper.
 *
 * **Details**
 *
 * Its well-known endpoints are port 135 for `ncacn_ip_tcp` and the name `EPMAPPER` for `ncalrpc`: `Association.bind` uses them where
 * the string binding names none.
 *
 * @category models
 * @since 0.1.0
 */
export const IEndpointMapper: Interface.Interface<"epmapper", Methods> = Interface.make("epmapper", {
  uuid: "e1af8308-5d1f-11c9-91a4-08002b14a0fa",
  version: [3, 0],
  methods: {
    ept_insert: Interface.method({
      in: { num_ents: Ndr.sizeIs("entries"), entries: Ndr.conformant(WireEntry), replace: Ndr.Uint32 },
      out: { status: Ndr.Uint32 }
    }),
    ept_delete: Interface.method({
      in: { num_ents: Ndr.sizeIs("entries"), entries: Ndr.conformant(WireEntry) },
      out: { status: Ndr.Uint32 }
    }),
    ept_lookup: Interface.method({
      in: {
        inquiry_type: Ndr.Uint32,
        object: Ndr.full(Ndr.Uuid),
        interface_id: Ndr.full(InterfaceId),
        vers_option: Ndr.Uint32,
        entry_handle: HandleOrNull,
        max_ents: Ndr.Uint32
      },
      out: {
        entry_handle: HandleOrNull,
        num_ents: Ndr.lengthIs("entries"),
        entries: Ndr.sizedVarying(WireEntry),
        status: Ndr.Uint32
      }
    }),
    ept_map: Interface.method({
      in: {
        object: Ndr.full(Ndr.Uuid),
        map_tower: Ndr.full(TowerBytes),
        entry_handle: HandleOrNull,
        max_towers: Ndr.Uint32
      },
      out: {
        entry_handle: HandleOrNull,
        num_towers: Ndr.lengthIs("towers"),
        towers: Ndr.sizedVarying(Ndr.full(TowerBytes)),
        status: Ndr.Uint32
      }
    }),
    ept_lookup_handle_free: Interface.method({
      in: { entry_handle: Handle },
      out: { entry_handle: HandleOrNull, status: Ndr.Uint32 }
    }),
    ept_inq_object: Interface.method({ out: { ept_object: Ndr.Uuid, status: Ndr.Uint32 } }),
    ept_mgmt_delete: Interface.method({
      in: { object_speced: Ndr.Uint32, object: Ndr.full(Ndr.Uuid), tower: Ndr.full(TowerBytes) },
      out: { status: Ndr.Uint32 }
    })
  }
})

/**
 * A binding to an endpoint mapper.
 *
 * @category models
 * @since 0.1.0
 */
export type Mapper = Binding.Binding<typeof IEndpointMapper>

const status = {
  ok: 0,
  invalidEntry: 1751,
  cannotPerform: 1752,
  notRegistered: 0x16c9a0d6
} as const

// ----------------------------------------------------------------------------
// asking a mapper
// ----------------------------------------------------------------------------

/**
 * The failures of a call to a mapper. A status that the mapper answers, other than success, is an `RpcFault` with that number.
 *
 * @category models
 * @since 0.1.0
 */
export type Failure = BadStubData | CallCancelled | RpcFault | RpcTransportError

/**
 * One registration: an interface of a server, and where it is served.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entry {
  /** The interface with its version. */
  readonly interface: Interface.Interface.Identity
  /** The transfer syntax in which it is served. */
  readonly transferSyntax: SyntaxId
  /** Where it is served; `undefined` for a protocol sequence that Callisto does not have. No address is the mapper's host. */
  readonly binding: StringBinding.StringBinding | undefined
  /** The UUID of the object that is served, or `undefined` for all. */
  readonly object: string | undefined
  /** The server's description of itself. */
  readonly annotation: string
  /** The way to the server in full; `Tower.print` shows it. */
  readonly tower: Tower.Tower
}

/**
 * Which versions of an interface a {@link Filter} lets through, beside the version that it names:
 *
 * - `compatible`: the same major version and at least that minor version, as a binding needs it
 * - `exact`: this version
 * - `majorOnly`: the same major version
 * - `upTo`: this version and lower ones
 * - `all`: any
 *
 * Windows: `RPC_C_VERS_COMPATIBLE`, `RPC_C_VERS_EXACT`, `RPC_C_VERS_MAJOR_ONLY`, `RPC_C_VERS_UPTO`, `RPC_C_VERS_ALL`.
 *
 * @category models
 * @since 0.1.0
 */
export type Versions = "compatible" | "exact" | "majorOnly" | "upTo" | "all"

/**
 * Which entries to list; without anything, all of them.
 *
 * @category models
 * @since 0.1.0
 */
export interface Filter {
  /** Entries of this interface. */
  readonly interface?: Interface.Interface.Identity
  /** Entries of these versions of the interface; by default the compatible ones. */
  readonly versions?: Versions
  /** Entries of the object with this UUID. */
  readonly object?: string | undefined
}

const versionOptions: { readonly [V in Versions]: number } = {
  all: 1,
  compatible: 2,
  exact: 3,
  majorOnly: 4,
  upTo: 5
}

const byInterface = 1
const byObject = 2

// So many entries, or towers, are asked for at a time.
const pageSize = 100
const towersAsked = 16

/** A lookup that is given up on ends soon, also where the mapper does not answer. */
const briefly = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<void> =>
  effect.pipe(Effect.interruptible, Effect.timeoutOption("1 second"), Effect.ignore)

const free = (mapper: Mapper, entry_handle: Methods.HandleOrNull["Type"]): Effect.Effect<void> =>
  entry_handle === null ? Effect.void : Effect.andThen(
    briefly(Call.invoke(mapper, "ept_lookup_handle_free", { entry_handle })),
    // A mapper that does not answer has not given null for it, and Samba gives the handle back: it would keep a connection open.
    ContextHandle.destroy(entry_handle)
  )

/**
 * Lists the entries of a mapper.
 *
 * **Details**
 *
 * The stream asks for the entries page by page; one that ends early tells the mapper so. An entry whose tower is malformed is left out,
 * with a warning in the log.
 *
 * Fails with `ContextMismatch` where the mapper does not know the lookup any more, because it has started again or the connection was
 * lost between two pages: then the stream can be run again from the beginning.
 *
 * Windows: `RpcMgmtEpEltInqBegin`, `RpcMgmtEpEltInqNext` and `RpcMgmtEpEltInqDone`.
 *
 * **Example** (A server, and its entry in the mapper)
 *
 * ```ts
 * import { Binding, Interface, Manager, Server } from "@callisto/rpc"
 * import { EndpointMapper, Tower } from "@callisto/rpc/dcerpc"
 * import { Ndr } from "@callisto/rpc/ndr"
 * import { StringBinding } from "@callisto/rpc/transport"
 * import { Effect, Result, Stream } from "effect"
 *
 * const IClock = Interface.make("Clock", {
 *   uuid: "b5d3f7c1-2f64-4c46-8d55-0f3a9c1e7a21",
 *   version: [1, 0],
 *   methods: { Now: Interface.method({ out: { seconds: Ndr.Uint32 } }) }
 * })
 * const clock = Manager.make(IClock, { Now: () => Effect.succeed({ seconds: 7 }) })
 *
 * const program = Effect.gen(function*() {
 *   const mappers = yield* Server.make([yield* EndpointMapper.makeManager()])
 *   const mapper = yield* Binding.local(mappers, EndpointMapper.IEndpointMapper)
 *
 *   const address = Result.getOrThrow(StringBinding.parse("ncacn_ip_tcp:10.0.0.1[8765]"))
 *   yield* EndpointMapper.register(mapper, yield* Server.make([clock]), address)
 *
 *   const entries = yield* Stream.runCollect(EndpointMapper.lookup(mapper, { interface: IClock }))
 *   return entries.map(({ annotation, tower }) => `${annotation} ${Tower.print(tower)}`)
 *   // => ["Clock ncacn_ip_tcp:10.0.0.1[8765]"]
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category clients
 * @since 0.1.0
 */
export const lookup = (mapper: Mapper, filter: Filter = {}): Stream.Stream<Entry, ContextMismatch | Failure> => {
  const { interface: iface, object } = filter
  const inquiry = {
    inquiry_type: (iface === undefined ? 0 : byInterface) + (object === undefined ? 0 : byObject),
    object: object ?? null,
    interface_id: iface === undefined ? null : { uuid: iface.uuid, major: iface.version[0], minor: iface.version[1] },
    vers_option: versionOptions[filter.versions ?? "compatible"],
    max_ents: pageSize
  }
  return Stream.unwrap(Effect.gen(function* () {
    let handle: Methods.HandleOrNull["Type"] = null
    yield* Effect.addFinalizer(() => free(mapper, handle))
    return Stream.paginate<void, Entry, ContextMismatch | Failure>(undefined, () =>
      Effect.gen(function* () {
        const page = yield* Call.invoke(mapper, "ept_lookup", { ...inquiry, entry_handle: handle }).pipe(
          // It may be null, and is destroyed at the end alone.
          Effect.catchTag("NullContext", Effect.die)
        )
        handle = page.entry_handle
        if (page.status !== status.ok && page.status !== status.notRegistered) {
          return yield* new RpcFault({ code: page.status })
        }
        const { elements } = page.entries
        const entries = yield* Effect.forEach(elements, readEntry)
        // A page without entries would be followed by others.
        const isLast = page.status !== status.ok || handle === null || elements.length === 0
        return [entries.filter((entry) => entry !== undefined), isLast ? Option.none() : Option.some(undefined)]
      }))
  }))
}

const readEntry = (
  { annotation, object, tower: pointed }: Methods.WireEntry["Type"]
): Effect.Effect<Entry | undefined> => {
  const read = Tower.decode(pointed?.tower_octet_string ?? new Uint8Array())
  if (Result.isFailure(read)) {
    return Effect.as(
      Effect.logWarning(
        `An entry of the endpoint mapper is left out, ${JSON.stringify(annotation)}: ${read.failure.message}`
      ),
      undefined
    )
  }
  const tower = read.success
  return Effect.succeed({
    interface: tower.interface,
    transferSyntax: tower.transferSyntax,
    binding: Tower.binding(tower),
    object: object === Uuid.nil ? undefined : object,
    annotation,
    tower
  })
}

/**
 * Asks a mapper where an interface is served, in a compatible version. Gives at most 16 string bindings, all with an endpoint.
 *
 * **Details**
 *
 * - `protocol`: the protocol sequence; by default `ncacn_ip_tcp`
 * - `object`: the UUID of the object that is wanted. Servers of that object come before servers of all objects, which are given only
 *   where there are none of the former.
 *
 * A server that died may have left its entry behind: who gets no connection tries the next one. `Association.bind` does all that for
 * a string binding without an endpoint.
 *
 * Fails with `EndpointNotRegistered` where there is none.
 *
 * Windows: `RpcEpResolveBinding`.
 *
 * **Example** (Where the interface is served)
 *
 * ```ts
 * import { Binding, Interface, Manager, Server } from "@callisto/rpc"
 * import { Endpoint, EndpointMapper } from "@callisto/rpc/dcerpc"
 * import { Ndr } from "@callisto/rpc/ndr"
 * import { StringBinding } from "@callisto/rpc/transport"
 * import * as NodeTransport from "@callisto/rpc/node"
 * import { Effect } from "effect"
 *
 * const IEcho = Interface.make("rpcecho", {
 *   uuid: "60a15ec5-4de8-11d7-a637-005056a20182",
 *   version: [1, 0],
 *   methods: { AddOne: Interface.method({ in: { value: Ndr.Uint32 }, out: { value: Ndr.Uint32 } }) }
 * })
 * const echo = Manager.make(IEcho, { AddOne: ({ value }) => Effect.succeed({ value: value + 1 }) })
 *
 * const program = Effect.gen(function*() {
 *   const mappers = yield* Server.make([yield* EndpointMapper.makeManager()])
 *   const mapper = yield* Binding.local(mappers, EndpointMapper.IEndpointMapper)
 *
 *   const server = yield* Server.make([echo])
 *   const { address } = yield* Endpoint.serve(server, "ncacn_ip_tcp:127.0.0.1[0]")
 *   yield* EndpointMapper.register(mapper, server, address)
 *
 *   const [binding] = yield* EndpointMapper.map(mapper, IEcho)
 *   return StringBinding.print(binding) === StringBinding.print(address) // => true
 * }).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category clients
 * @since 0.1.0
 */
export const map = (
  mapper: Mapper,
  iface: Interface.Interface.Any,
  options: { readonly protocol?: "ncacn_ip_tcp" | "ncalrpc" | undefined; readonly object?: string | undefined } = {}
): Effect.Effect<NonEmptyReadonlyArray<StringBinding.StringBinding>, EndpointNotRegistered | Failure> => {
  const { object, protocol = "ncacn_ip_tcp" } = options
  return Effect.gen(function* () {
    const { id: transferSyntax } = yield* Effect.fromResult(proposed(iface))
    // The protocol sequences that it takes have floors.
    const wanted = Result.getOrThrow(
      Tower.make({ interface: iface, transferSyntax, binding: { protocol, address: "", options: {} } })
    )
    const inquiry = {
      object: object ?? null,
      map_tower: { tower_octet_string: Tower.encode(wanted) },
      entry_handle: null,
      max_towers: towersAsked
    }
    const found = yield* Call.invoke(mapper, "ept_map", inquiry).pipe(
      // There was no handle that either side might not know.
      Effect.mapError((error) =>
        error._tag === "ContextMismatch" || error._tag === "NullContext"
          ? new RpcFault({ code: contextMismatch })
          : error
      ),
      Effect.onExit((exit) => Exit.isSuccess(exit) ? free(mapper, exit.value.entry_handle) : Effect.void)
    )
    if (found.status !== status.ok && found.status !== status.notRegistered) {
      return yield* new RpcFault({ code: found.status })
    }
    const bindings = found.towers.elements.flatMap((pointed) => {
      const tower = Tower.decode(pointed?.tower_octet_string ?? new Uint8Array())
      const binding = Result.isSuccess(tower) ? Tower.binding(tower.success) : undefined
      return binding?.protocol === protocol && binding.endpoint !== undefined ? [binding] : []
    })
    if (isReadonlyArrayNonEmpty(bindings)) return bindings
    const { name, uuid, version } = iface
    const detail = `the endpoint mapper knows no server of version ${version.join(".")} for ${protocol}`
    return yield* new EndpointNotRegistered({ interface: name, uuid, detail })
  })
}

// ----------------------------------------------------------------------------
// registering
// ----------------------------------------------------------------------------

/**
 * Registers the interfaces of a server with a mapper, at an address where it is served, until the scope closes. The example is at
 * {@link lookup}.
 *
 * **Details**
 *
 * - `annotation`: what listings show, at most 63 characters from U+0001 to U+00FF; by default the name of the interface
 * - `replace`: whether entries of the same interface, object and host that differ in the endpoint alone go, by default they do: they
 *   were left behind by an earlier run that died. Where several instances serve one interface side by side, `false` keeps them.
 *
 * Each interface is registered in the transfer syntax in which clients of Callisto propose it: NDR where it has that form.
 *
 * Fails with `TowerError` for an address whose protocol sequence a mapper does not know, and with `RpcFault` 5 where the mapper is
 * not on this machine.
 *
 * Windows: `RpcEpRegister`, `RpcEpRegisterNoReplace`; `RpcEpUnregister` at the end.
 *
 * @category servers
 * @since 0.1.0
 */
export const register = (
  mapper: Mapper,
  server: Server.Server,
  address: StringBinding.StringBinding,
  options: { readonly annotation?: string | undefined; readonly replace?: boolean | undefined } = {}
): Effect.Effect<void, Tower.TowerError | Failure, Scope.Scope> =>
  Effect.gen(function* () {
    const { annotation, replace = true } = options
    const entries: Array<Methods.WireEntry["Type"]> = []
    for (const { interface: iface, object } of Server.interfaces(server)) {
      const { id: transferSyntax } = yield* Effect.fromResult(proposed(iface))
      const tower = yield* Effect.fromResult(Tower.make({ interface: iface, transferSyntax, binding: address }))
      entries.push({
        object: object ?? Uuid.nil,
        tower: { tower_octet_string: Tower.encode(tower) },
        annotation: annotation ?? iface.name.slice(0, maximumAnnotation - 1)
      })
    }
    if (entries.length === 0) return
    // First, because an insert that is interrupted may have taken place.
    yield* Effect.addFinalizer(() => briefly(Call.invoke(mapper, "ept_delete", { entries })))
    const inserted = yield* Call.invoke(mapper, "ept_insert", { entries, replace: replace ? 1 : 0 })
    if (inserted.status !== status.ok) return yield* new RpcFault({ code: inserted.status })
  })

// ----------------------------------------------------------------------------
// the manager
// ----------------------------------------------------------------------------

/**
 * The limits of a mapper.
 *
 * **Details**
 *
 * A number outside of its range is refused when the mapper is made, by a `TypeError` that names the option. A tower may have 1,024 bytes; one page of a lookup has at most 500 entries, however many are asked for. A client has at most 100
 * lookups between two pages: one more runs its oldest down, whose next page is refused with `ContextMismatch`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The number of entries of all servers together; by default 10,000. One more is refused with 1752. */
  readonly maximumEntries?: number | undefined
}

const annotationPattern = /^[^\0\u0100-\uffff]{0,63}$/
const maximumTower = 1024
const maximumPage = 500
const maximumLookups = 100
const accessDenied = 5
const contextMismatch = 6

interface Registration {
  /** Later ones have higher numbers: a lookup goes on behind the last that it gave. */
  readonly number: number
  readonly object: string
  readonly tower: Tower.Tower
  readonly bytes: Uint8Array
  /** The key that tells the entry from every other one. */
  readonly key: string
  /** The same for all that differ in the endpoint alone. */
  readonly family: string
  annotation: string
}

/** The state of a handle. The inquiry comes anew with each call. */
interface Lookup {
  readonly method: "ept_lookup" | "ept_map"
  /** The number of the last registration that it gave. */
  after: number
}

interface Page {
  readonly entry_handle: Methods.HandleOrNull["Type"]
  readonly found: ReadonlyArray<Registration>
  readonly status: number
}

/** Whether a client is on this machine: only such clients change entries. */
const isLocal = (peer: string): boolean => {
  if (peer === "local") return true
  const parsed = StringBinding.parse(peer)
  if (Result.isFailure(parsed)) return false
  const { address, protocol } = parsed.success
  if (protocol === "ncalrpc" || protocol === "ncacn_memory") return true
  return protocol.startsWith("ncacn_ip_") && (address === "::1" || /^127(\.\d+){3}$/.test(address))
}

const isUpTo = ([major, minor]: readonly [number, number], [maxMajor, maxMinor]: readonly [number, number]): boolean =>
  major < maxMajor || (major === maxMajor && minor <= maxMinor)

/** The versions that an option lets through, by its number. */
const versionTests: ReadonlyArray<
  ((offered: Interface.Interface.Identity, wanted: Interface.Interface.Identity) => boolean) | undefined
> = [
  undefined,
  () => true,
  Interface.isCompatible,
  ({ version: [major, minor] }, { version }) => major === version[0] && minor === version[1],
  ({ version: [major] }, { version }) => major === version[0],
  ({ version }, wanted) => isUpTo(version, wanted.version)
]

const sameSyntax = (a: SyntaxId, b: SyntaxId): boolean =>
  a.uuid === b.uuid && a.major === b.major && a.minor === b.minor

const textOf = (tower: Tower.Tower): string => String.fromCharCode(...Tower.encode(tower))

/** The tower without its endpoint, which stands on the second of the lower floors. */
const withoutEndpoint = (tower: Tower.Tower): Tower.Tower => ({
  ...tower,
  floors: tower.floors.map((floor, i) => i === 1 ? { ...floor, related: new Uint8Array() } : floor)
})

class Registry {
  private readonly entries = new Map<string, Registration>()
  private readonly maximumEntries: number
  private last = 0

  constructor({ maximumEntries }: Options) {
    this.maximumEntries = countOption("EndpointMapper", "maximumEntries", maximumEntries, {}, 10_000)
  }

  insert(entries: ReadonlyArray<Methods.WireEntry["Type"]>, replace: boolean): number {
    const added = new Map<string, Registration>()
    for (const entry of entries) {
      const registration = this.read(entry)
      if (registration === undefined) return status.invalidEntry
      added.set(registration.key, registration)
    }
    const families = new Set(replace ? [...added.values()].map(({ family }) => family) : [])
    const replaced = [...this.entries.values()].filter(({ family, key }) => families.has(family) && !added.has(key))
    const fresh = [...added.values()].filter(({ key }) => !this.entries.has(key))
    if (this.entries.size - replaced.length + fresh.length > this.maximumEntries) return status.cannotPerform
    for (const { key } of replaced) this.entries.delete(key)
    for (const [key, { annotation }] of added) {
      const known = this.entries.get(key)
      if (known !== undefined) known.annotation = annotation
    }
    for (const registration of fresh) this.entries.set(registration.key, registration)
    return status.ok
  }

  private read(entry: Methods.WireEntry["Type"]): Registration | undefined {
    const tower = this.readTower(entry.tower)
    // Values from the same process were not checked.
    const object = Uuid.canonical(entry.object)
    if (tower === undefined || object === undefined || !annotationPattern.test(entry.annotation)) return undefined
    return {
      number: ++this.last,
      object,
      tower,
      bytes: Tower.encode(tower),
      key: `${object} ${textOf(tower)}`,
      family: `${object} ${textOf(withoutEndpoint(tower))}`,
      annotation: entry.annotation
    }
  }

  private readTower(pointed: Methods.TowerBytes["Type"] | null): Tower.Tower | undefined {
    if (pointed === null || pointed.tower_octet_string.length > maximumTower) return undefined
    const tower = Tower.decode(pointed.tower_octet_string)
    return Result.isSuccess(tower) ? tower.success : undefined
  }

  delete(entries: ReadonlyArray<Methods.WireEntry["Type"]>): number {
    const keys = entries.map((entry) => this.read(entry)?.key)
    if (keys.includes(undefined)) return status.invalidEntry
    const deleted = keys.filter((key) => this.entries.delete(key!))
    return deleted.length < keys.length ? status.notRegistered : status.ok
  }

  deleteTower(pointed: Methods.TowerBytes["Type"] | null, object: string | undefined): number {
    const tower = this.readTower(pointed)
    if (tower === undefined) return status.invalidEntry
    const objects = object === undefined ? [...this.entries.values()].map(({ object }) => object) : [object]
    const deleted = objects.filter((object) => this.entries.delete(`${object} ${textOf(tower)}`))
    return deleted.length === 0 ? status.notRegistered : status.ok
  }

  /** The entries of an inquiry; `undefined` for one that makes no sense. */
  inquire(inquiry: Interface.Method.In<Methods["ept_lookup"]>): ((entry: Registration) => boolean) | undefined {
    const { inquiry_type, interface_id, vers_option } = inquiry
    if (inquiry_type > (byInterface | byObject)) return undefined
    const object = (inquiry.object ?? Uuid.nil).toLowerCase()
    const isObject = (entry: Registration) => (inquiry_type & byObject) === 0 || entry.object === object
    if ((inquiry_type & byInterface) === 0) return isObject
    const matches = versionTests[vers_option]
    if (matches === undefined || interface_id === null) return undefined
    const { major, minor } = interface_id
    const uuid = interface_id.uuid.toLowerCase()
    const wanted = { uuid, version: [major, minor] as const }
    return (entry) => entry.tower.interface.uuid === uuid && matches(entry.tower.interface, wanted) && isObject(entry)
  }

  /** The entries that reach the endpoint of a tower, for an object; `undefined` where it is no tower. */
  route(inquiry: Interface.Method.In<Methods["ept_map"]>): ((entry: Registration) => boolean) | undefined {
    const wanted = this.readTower(inquiry.map_tower)
    if (wanted === undefined) return undefined
    const object = (inquiry.object ?? Uuid.nil).toLowerCase()
    const reaches = ({ tower }: Registration) =>
      Interface.isCompatible(tower.interface, wanted.interface) &&
      sameSyntax(tower.transferSyntax, wanted.transferSyntax) &&
      Tower.sameProtocols(tower, wanted)
    const ofObject = (entry: Registration) => entry.object === object && reaches(entry)
    for (const entry of this.entries.values()) if (ofObject(entry)) return ofObject
    return (entry) => entry.object === Uuid.nil && reaches(entry)
  }

  /** The entries that follow, and whether there are more behind them. */
  next(
    after: number,
    max: number,
    matches: (entry: Registration) => boolean
  ): { readonly found: ReadonlyArray<Registration>; readonly more: boolean } {
    const size = Math.min(max, maximumPage)
    const found: Array<Registration> = []
    for (const entry of this.entries.values()) {
      if (entry.number <= after || !matches(entry)) continue
      if (found.length === size) return { found, more: true }
      found.push(entry)
    }
    return { found, more: false }
  }
}

/**
 * Makes the manager of an endpoint mapper, which holds the registered entries.
 *
 * **Details**
 *
 * Anybody may ask, also at an endpoint with security providers. Only callers on this machine may add and remove
 * entries: in the same process, over `ncalrpc` or from a loopback address; others get 5 (access denied). An entry stays until it is
 * removed or replaced, also when its server has died.
 *
 * **Example** (A mapper on its well-known port)
 *
 * ```ts ignore
 * const server = yield* Server.make([yield* EndpointMapper.makeManager()])
 * yield* Endpoint.serve(server, "ncacn_ip_tcp:0.0.0.0[135]") // ports below 1024 need root
 * ```
 *
 * @category servers
 * @since 0.1.0
 */
export const makeManager = (
  options: Options = {}
): Effect.Effect<Manager.Manager<typeof IEndpointMapper, never>> =>
  Effect.map(Effect.sync(Uuid.v4), (ept_object) => {
    const registry = new Registry(options)
    const localOnly = (call: ServerCall.ServerCall.Any, change: () => number) =>
      Effect.suspend(() =>
        isLocal(ServerCall.peer(call))
          ? Effect.succeed({ status: change() })
          : Effect.fail(new RpcFault({ code: accessDenied }))
      )
    const lookups = ContextHandle.states<Lookup>()(Handle)
    const page = Effect.fnUntraced(function* (
      call: ServerCall.ServerCall.Any,
      method: Lookup["method"],
      handle: Methods.HandleOrNull["Type"],
      max: number,
      matches: ((entry: Registration) => boolean) | undefined
    ): Effect.fn.Return<Page, RpcFault> {
      const lookup = handle === null ? { method, after: 0 } : yield* lookups.get(call, handle)
      if (lookup.method !== method) return yield* new RpcFault({ code: contextMismatch })
      if (matches === undefined) return { entry_handle: handle, found: [], status: status.cannotPerform }
      const { found, more } = registry.next(lookup.after, max, matches)
      lookup.after = found.at(-1)?.number ?? lookup.after
      if (!more) {
        const entry_handle = handle === null ? null : yield* lookups.close(call, handle)
        return { entry_handle, found, status: found.length === 0 ? status.notRegistered : status.ok }
      }
      if (handle !== null) return { entry_handle: handle, found, status: status.ok }
      const { handles } = (call as unknown as ServerCallImpl).origin
      handles?.keepLatest(lookups, maximumLookups - 1)
      return { entry_handle: yield* lookups.open(call, Effect.succeed(lookup)), found, status: status.ok }
    })
    return Manager.make(IEndpointMapper, {
      ept_insert: ({ entries, replace }, call) => localOnly(call, () => registry.insert(entries, replace !== 0)),
      ept_delete: ({ entries }, call) => localOnly(call, () => registry.delete(entries)),
      ept_lookup: (inquiry, call) =>
        Effect.map(
          page(call, "ept_lookup", inquiry.entry_handle, inquiry.max_ents, registry.inquire(inquiry)),
          ({ entry_handle, found, status }) => ({
            entry_handle,
            entries: {
              size: inquiry.max_ents,
              elements: found.map(({ annotation, bytes, object }) => ({
                object,
                tower: { tower_octet_string: bytes },
                annotation
              }))
            },
            status
          })
        ),
      ept_map: (inquiry, call) =>
        Effect.map(
          page(call, "ept_map", inquiry.entry_handle, inquiry.max_towers, registry.route(inquiry)),
          ({ entry_handle, found, status }) => ({
            entry_handle,
            towers: { size: inquiry.max_towers, elements: found.map(({ bytes }) => ({ tower_octet_string: bytes })) },
            status
          })
        ),
      ept_lookup_handle_free: ({ entry_handle }, call) =>
        Effect.map(lookups.close(call, entry_handle), (entry_handle) => ({ entry_handle, status: status.ok })),
      ept_inq_object: () => Effect.succeed({ ept_object, status: status.ok }),
      ept_mgmt_delete: ({ object, object_speced, tower }, call) =>
        localOnly(
          call,
          () => registry.deleteTower(tower, object_speced === 0 ? undefined : (object ?? Uuid.nil).toLowerCase())
        )
    }, { minimumLevel: "none" })
  })
