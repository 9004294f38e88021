/**
 * Associations: what connects a client to a server elsewhere, over the connection-oriented DCE/RPC protocol. Bindings to its
 * interfaces call through it.
 *
 * @module
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Binding from "../Binding.ts"
import type { Channel as CallChannel, Outgoing, Secured } from "../Channel.ts"
import type { Interface } from "../Interface.ts"
import { bind as makeBinding } from "../internal/binding.ts"
import { unavailable } from "../internal/failures.ts"
import { clauseOf } from "../internal/named.ts"
import { countOption, durationOption } from "../internal/options.ts"
import { type FullOutgoing, fullOutgoing } from "../internal/seams.ts"
import {
  type BadStubData,
  type EndpointNotRegistered,
  RpcFault,
  type RpcTransportError,
  type UnknownInterface
} from "../Status.ts"
import { defaultElements } from "../ndr/internal/ndrStream.ts"
import * as StringBinding from "../transport/StringBinding.ts"
import * as Transport from "../transport/Transport.ts"
import type { Security } from "../security/Security.ts"
import type { Caller, ClientConnection, Securing } from "./internal/clientConnection.ts"
import { onDemand } from "./internal/onDemand.ts"
import { type Bound, boundTo, type Failure, type Refusal } from "./internal/proposals.ts"
import { bindingClosed, Pool, type Settings } from "./internal/pool.ts"

const TypeId = "~callisto/dcerpc/Association"

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

/**
 * A client's connections to one server, which any number of bindings share.
 *
 * Windows: the association behind binding handles to one server.
 *
 * @category models
 * @since 0.1.0
 */
export interface Association {
  /** Brands the type. */
  readonly [TypeId]: typeof TypeId
  /** Where the server is; without an endpoint where the endpoint mapper is asked for it. */
  readonly address: StringBinding.StringBinding
}

/**
 * The options of an association.
 *
 * **Details**
 *
 * A number outside of its range is refused when the association is made, by a `TypeError` that names the option.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Whether all calls are dispatched in the order in which they were begun; by default `true`. Where connections can't carry several
   * calls at once, a call then waits until the one before has ended; otherwise it uses another connection.
   */
  readonly causal?: boolean | undefined
  /**
   * The number of connections where one can't carry several calls; at least 1, by default 8. One that was not used for 10 seconds is
   * closed, except the last. As many more are for calls with pipes, each of which has one to itself; further calls wait in `begin`, for
   * up to `connectTimeout`.
   */
  readonly maximumConnections?: number | undefined
  /** The bytes that may wait to be sent before `begin` waits; at least 1, by default 1 MiB. */
  readonly maximumQueued?: number | undefined
  /** The bytes of one response; by default 4 MiB. A call with a larger one ends with 1726. */
  readonly maximumResponse?: number | undefined
  /**
   * The values that one response may hold, or one chunk of a pipe: numbers, strings, byte arrays and nulls; at least 1, by default
   * 262,144. Values that take longer to make count more, as in an `Endpoint`. A call whose response holds more ends with 1726 before
   * anything is allocated.
   */
  readonly maximumElements?: number | undefined
  /**
   * The time that connecting and binding may take, and for which a call may wait for a free connection; by default 10 seconds. It does not
   * count while a call waits for room to send, or in a causal association for the call before it.
   */
  readonly connectTimeout?: Duration.Input | undefined
  /**
   * The time that a call may take; at least 1 ms, by default forever. Then it is cancelled abortively. A `begin` that waits so long
   * for a connection or for room to send fails with 1722. Windows: `RPC_C_OPT_CALL_TIMEOUT`.
   */
  readonly callTimeout?: Duration.Input | undefined
  /**
   * The time for which the server may be silent while a call is pending, before it is asked whether it is there; at least 1 ms, by
   * default 60 seconds; `Infinity` never asks. Where the connection can't carry the question, another one does. Without an answer the
   * call ends with 1726 (1722 where nothing was sent), at most one and a half times this time after the server's last sign of life.
   */
  readonly keepAlive?: Duration.Input | undefined
  /**
   * The string binding of the endpoint mapper that knows the endpoint of a server whose string binding has none; by default that of the
   * same host, on port 135 for `ncacn_ip_tcp` and under the name `EPMAPPER` for `ncalrpc`.
   */
  readonly endpointMapper?: string | undefined
  /**
   * The security of its bindings, as `Security.make` makes it; by default no login and no protection. `Call.setSecurity` gives
   * a call object another one. Calls with different security have connections, and an order, of their own. Connections of
   * a security that neither the association nor an open binding has are closed after 10 seconds without use.
   */
  readonly security?: Security | undefined
}

/**
 * The options of one binding of an association.
 *
 * @category models
 * @since 0.1.0
 */
export interface BindOptions extends Binding.Options {
  /** The security of the binding; by default that of the association. */
  readonly security?: Security | undefined
}

/** An association as the functions of this module see it. */
class AssociationImpl implements Association {
  readonly [TypeId]: typeof TypeId = TypeId
  readonly address: StringBinding.StringBinding
  /** The object that its bindings call where they name none. */
  readonly object: string | undefined
  /** The security of its bindings where they name none. */
  readonly security: Security | undefined
  /** Its connections, by their security. */
  readonly pools: Map<Security | undefined, Pool> = new Map()
  private readonly settings: Omit<Settings, "securing" | "lasting">

  constructor(
    address: StringBinding.StringBinding,
    object: string | undefined,
    security: Security | undefined,
    settings: Omit<Settings, "securing" | "lasting">
  ) {
    this.address = address
    this.object = object
    this.security = security
    this.settings = settings
  }

  /** The connections for calls with a security. */
  pool(security: Security | undefined): Pool {
    let pool = this.pools.get(security)
    if (pool === undefined) {
      // Where each user brings a security, those of the users before are not kept.
      for (const [other, { isUnused }] of this.pools) if (isUnused) this.pools.delete(other)
      pool = new Pool({
        ...this.settings,
        securing: security && securingWith(security),
        lasting: security === this.security
      })
      this.pools.set(security, pool)
    }
    return pool
  }
}

const clientParts = onDemand(
  "what logs in, asks endpoint mappers and carries pipes",
  () => import("./internal/clientParts.ts")
)

/** The logins of the connections with one security. */
const securingWith = (security: Security): Securing => {
  let securing: Securing | undefined
  return (...leg) =>
    Effect.flatMap(
      Effect.mapError(clientParts, serverRefusal),
      (parts) => (securing ??= parts.securing(security))(...leg)
    )
}

const serverRefusal = (failure: Failure): Refusal => ({ failure, reach: "server" })

// ----------------------------------------------------------------------------
// endpoint mappers
// ----------------------------------------------------------------------------

const endpointMapperUuid = "e1af8308-5d1f-11c9-91a4-08002b14a0fa"

/** Whether a mapper is asked for the endpoint: the string binding has none, of a protocol sequence that mappers know. */
const isLookedUp = ({ endpoint, protocol }: StringBinding.StringBinding): boolean =>
  endpoint === undefined && (protocol === "ncacn_ip_tcp" || protocol === "ncalrpc")

/** Where the mapper of a server's host listens. */
const endpointMapperOf = ({ address, protocol }: StringBinding.StringBinding): StringBinding.StringBinding => ({
  protocol,
  address,
  endpoint: protocol === "ncalrpc" ? "EPMAPPER" : "135",
  options: {}
})

/** Asks an endpoint mapper where an interface of a server is. */
const ask = (
  mapper: StringBinding.StringBinding,
  address: StringBinding.StringBinding,
  object: string | undefined,
  iface: Interface.Any
): Effect.Effect<ReadonlyArray<StringBinding.StringBinding>, Refusal, Transport.Transport> => {
  const asking = Effect.gen(function* () {
    const { lookUp } = yield* clientParts
    const association = yield* makeTo(mapper, mapper, {})
    return yield* lookUp((iface) => bind(iface, association), iface, {
      protocol: address.protocol as "ncacn_ip_tcp" | "ncalrpc",
      ...(object === undefined ? {} : { object })
    })
  })
  return Effect.scoped(asking).pipe(
    // Clients keep to the host that they know: towers have no room for its name.
    Effect.map((bindings) => bindings.map(({ endpoint }) => ({ ...address, endpoint: endpoint! }))),
    Effect.mapError((error): Refusal => {
      if (error._tag === "EndpointNotRegistered") return { failure: error, reach: "interface" }
      const why = error._tag === "RpcTransportError" ? error.detail : clauseOf(error.message)
      const detail = `the endpoint is not known, and the endpoint mapper can't be asked for it: ${why}`
      return serverRefusal(unavailable(detail))
    })
  )
}

// ----------------------------------------------------------------------------
// a binding
// ----------------------------------------------------------------------------

/** One binding of an association. */
class Channel implements CallChannel, Caller {
  readonly callObjects = true
  readonly address: string
  readonly security: Secured | undefined
  readonly pool: Pool
  readonly bound: Bound
  readonly object: string | undefined
  private readonly association: AssociationImpl
  private open = true

  constructor(
    association: AssociationImpl,
    bound: Bound,
    { object = association.object, security = association.security }: BindOptions
  ) {
    this.association = association
    this.pool = association.pool(security)
    this.security = security &&
      { level: security.level, mutual: security.mutual, provider: security.provider.name, headerSigning: false }
    this.address = StringBinding.print(association.address)
    this.bound = bound
    this.object = object
  }

  get isOpen(): boolean {
    return this.open && this.pool.open
  }

  issue(
    outgoing: Outgoing,
    input: unknown,
    _fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<void, BadStubData | RpcFault | RpcTransportError> | undefined {
    const call = fullOutgoing(outgoing)
    const now = this.isOpen && call.pipes === undefined
    const connection = now ? this.poolOf(call).readyNow(this.bound) : undefined
    if (connection === undefined) return this.issueLater(call, input)
    const refused = connection.send(this, call, input)
    return refused === undefined ? undefined : Effect.fail(refused)
  }

  private poolOf({ security }: FullOutgoing): Pool {
    return security === undefined ? this.pool : this.association.pool(security as Security)
  }

  /** Waits for a connection, for the bind and for room to send. */
  private issueLater(
    call: FullOutgoing,
    input: unknown
  ): Effect.Effect<void, BadStubData | RpcFault | RpcTransportError> {
    const send = (connection: ClientConnection): Exit.Exit<void, BadStubData | RpcTransportError> => {
      if (!this.isOpen) return Exit.fail(bindingClosed())
      const refused = connection.send(this, call, input)
      return refused === undefined ? Exit.void : Exit.fail(refused)
    }
    const { bound } = this
    // The binding of a layer is made before the syntax is there.
    // Its pool is looked up when it waits there: until then another one may take its place.
    const ready = Effect.suspend(() =>
      this.isOpen ? this.poolOf(call).whenReady(bound, call.pipes !== undefined, send) : Effect.fail(bindingClosed())
    )
    const loaded = Effect.andThen(bound.syntax.load, ready)
    const sent = call.pipes === undefined ? loaded : Effect.flatMap(clientParts, ({ pipes }) =>
      Effect.andThen(
        bound.syntax.load,
        Effect.suspend(() => {
          this.poolOf(call).pipes = pipes
          return ready
        })
      ))
    const begun = Effect.mapError(sent, (error) => error._tag === "BadStubData" ? error : callFailure(error))
    const { callTimeout } = this.pool.limits
    if (callTimeout === Infinity) return begun
    return Effect.timeoutOrElse(begun, { duration: callTimeout, orElse: () => Effect.fail(notSentInTime()) })
  }

  /** Ends the calls of the binding. */
  close(): void {
    this.open = false
    this.pool.bindings--
    for (const pool of this.association.pools.values()) pool.endCallsOf(this)
  }
}

/** The failure of a call without a connection. A server that is not registered can't be reached. */
const callFailure = (failure: Failure): RpcFault | RpcTransportError => {
  if (failure._tag === "UnknownInterface") return new RpcFault({ code: 1717, didNotExecute: true })
  return failure._tag === "RpcTransportError" || failure._tag === "RpcFault"
    ? failure
    : unavailable(clauseOf(failure.message))
}

const notSentInTime = (): RpcTransportError => unavailable("the call timeout is over, and nothing was sent")

// ----------------------------------------------------------------------------
// constructors
// ----------------------------------------------------------------------------

/**
 * Makes an association with the server at a string binding, for several bindings to share. It connects when the first of them
 * is made, and again with the next call when the connection is lost. Where the string binding has no endpoint the endpoint mapper is
 * asked for it, with the interface of that binding or call, and once more where no connection comes about.
 *
 * **When to use**
 *
 * Use it where a program calls more than one interface of a server; for one, give the string binding to {@link bind}.
 *
 * **Details**
 *
 * Fails with `StringBindingError` for text that is no string binding. When the scope closes the connections are closed; calls in
 * progress end with 1726.
 *
 * **Example** (Two interfaces on one connection)
 *
 * ```ts
 * import { Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Association, Endpoint, Management } from "@callisto/rpc/dcerpc"
 * import { Memory } from "@callisto/rpc/transport"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *
 * const program = Effect.gen(function*() {
 *   yield* Endpoint.serve(yield* Server.make([manager]), "ncacn_memory:[sums]")
 *
 *   const association = yield* Association.make("ncacn_memory:[sums]")
 *   const sums = yield* Association.bind(Sums, association)
 *   const management = yield* Association.bind(Management.IManagement, association)
 *   yield* Call.invoke(management, "is_server_listening") // => { status: 0, return: 1 }
 *   return yield* Call.invoke(sums, "Add", [1, 2, 3]) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provide(program, Memory.layer))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  binding: string,
  options: Options = {}
): Effect.Effect<Association, StringBinding.StringBindingError, Transport.Transport | Scope.Scope> =>
  Effect.gen(function* () {
    const address = yield* Effect.fromResult(StringBinding.parse(binding))
    const mapper = options.endpointMapper === undefined
      ? address
      : yield* Effect.fromResult(StringBinding.parse(options.endpointMapper))
    return yield* makeTo(address, isLookedUp(mapper) ? endpointMapperOf(mapper) : mapper, options)
  })

const makeTo = (
  address: StringBinding.StringBinding,
  endpointMapper: StringBinding.StringBinding,
  options: Options & Binding.Options
): Effect.Effect<AssociationImpl, never, Transport.Transport | Scope.Scope> =>
  Effect.gen(function* () {
    const transport = yield* Transport.Transport
    const context = yield* Effect.context<never>()
    const object = options.object ?? address.object
    const locate: Settings["locate"] = (iface) => {
      if (!isLookedUp(address)) return address
      if (iface.uuid === endpointMapperUuid) return endpointMapper
      return Effect.provideService(ask(endpointMapper, address, object, iface), Transport.Transport, transport)
    }
    const settings = { ...settingsOf(options), context, transport, locate }
    const association = new AssociationImpl(address, object, options.security, settings)
    yield* Effect.addFinalizer(() =>
      Effect.forEach(association.pools.values(), (pool) => pool.shut, { concurrency: "unbounded", discard: true })
    )
    return association
  })

const settingsOf = (options: Options): Omit<Settings, "context" | "transport" | "locate" | "securing" | "lasting"> => {
  const count = (
    name: "maximumConnections" | "maximumQueued" | "maximumResponse" | "maximumElements",
    min: number,
    fallback: number
  ) => countOption("Association", name, options[name], { min }, fallback)
  const duration = (name: "connectTimeout" | "callTimeout" | "keepAlive", least: number, fallback: number) =>
    durationOption("Association", name, options[name], fallback, least)
  const maximumPiped = count("maximumConnections", 1, 8)
  return {
    maximumPiped,
    maximumConnections: options.causal ?? true ? 1 : maximumPiped,
    maximumQueued: count("maximumQueued", 1, 0x100000),
    maximumResponse: count("maximumResponse", 0, 0x400000),
    maximumElements: count("maximumElements", 1, defaultElements),
    connectTimeout: duration("connectTimeout", 0, 10_000),
    callTimeout: duration("callTimeout", 1, Infinity),
    keepAlive: duration("keepAlive", 1, 60_000)
  }
}

/**
 * Binds to an interface of a server: of the one at a string binding, by an association of its own, or of the one behind an
 * association that several bindings share. Connects at once.
 *
 * **Details**
 *
 * The object that is called is that of the options, or else that of the string binding. Several bindings on one connection are agreed
 * on with `alter_context`.
 *
 * Fails with `StringBindingError` for text that is no string binding, with `UnknownInterface` when the server does not offer
 * the interface in a compatible version, with `EndpointNotRegistered` when its endpoint is not in the string binding and the endpoint
 * mapper does not know it either, with `RpcTransportError` when it can't be reached, and with `RpcFault` when a login fails: 5, 1747, 1749,
 * 1822 or 1825. A login is not remembered as failed: the next call tries again. An interface that has no transfer syntax, see
 * `TransferSyntax.proposed`, fails with `RpcFault` 1730. When the scope closes the calls of the binding that are in progress end with 1726.
 *
 * A call whose connection is lost is sent once more, on another connection, if it certainly did not execute or if its method is
 * idempotent. Where that is not so, or is of no use, it ends with 1722 if nothing of its request was sent, with 1727 if only a part
 * was that no server executes, and with 1726 otherwise.
 *
 * Windows: `RpcBindingFromStringBinding`; `RpcEpResolveBinding` where it has no endpoint.
 *
 * @category constructors
 * @since 0.1.0
 */
export const bind: {
  <I extends Interface.Any>(
    iface: I,
    association: Association,
    options?: BindOptions
  ): Effect.Effect<
    Binding.Binding<I>,
    UnknownInterface | EndpointNotRegistered | RpcFault | RpcTransportError,
    Scope.Scope
  >
  <I extends Interface.Any>(
    iface: I,
    binding: string,
    options?: Options & Binding.Options
  ): Effect.Effect<
    Binding.Binding<I>,
    StringBinding.StringBindingError | UnknownInterface | EndpointNotRegistered | RpcFault | RpcTransportError,
    Transport.Transport | Scope.Scope
  >
} = <I extends Interface.Any>(
  iface: I,
  to: string | Association,
  options: Options & Binding.Options = {}
): Effect.Effect<Binding.Binding<I>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const association = (typeof to === "string" ? yield* make(to, options) : to) as AssociationImpl
    const bound = boundTo(iface)
    yield* bound.syntax.load
    const channel = new Channel(association, bound, options)
    yield* channel.pool.whenReady(bound, false, () => Exit.void)
    if (association === to) {
      const opened = Effect.sync(() => channel.pool.bindings++)
      yield* Effect.acquireRelease(opened, () => Effect.sync(() => channel.close()))
    }
    return yield* makeBinding(iface, channel, options)
  }) as Effect.Effect<any, never, Scope.Scope>

/**
 * Provides a binding service to the server at a string binding. It connects at the first call, so that a program can be built before its
 * server is there.
 *
 * **Details**
 *
 * The layer fails with `StringBindingError` alone. `begin` fails with `RpcFault` 1717 when the server does not offer the interface in a
 * compatible version, and with `RpcTransportError` 1722 when it can't be reached: nothing has executed. The next call tries again.
 *
 * **Example** (A program that is built before its server)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Association, Endpoint } from "@callisto/rpc/dcerpc"
 * import { Memory } from "@callisto/rpc/transport"
 * import { Effect, Layer, Schema } from "effect"
 *
 * const ISums = Interface.make("ISums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const Sums = Binding.Service("app/Sums", ISums)
 *
 * const program = Effect.gen(function*() {
 *   const sums = yield* Sums
 *   const manager = Manager.make(ISums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *   yield* Endpoint.serve(yield* Server.make([manager]), "ncacn_memory:[sums]")
 *   return yield* Call.invoke(sums, "Add", [1, 2, 3]) // => 6
 * }).pipe(Effect.scoped)
 *
 * const layer = Layer.provideMerge(Association.layer(Sums, "ncacn_memory:[sums]"), Memory.layer)
 * await Effect.runPromise(Effect.provide(program, layer))
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export const layer = <Key extends string, I extends Interface.Any>(
  service: Binding.Service<Key, I>,
  binding: string,
  options?: Options & Binding.Options
): Layer.Layer<Binding.Bound<Key, I>, StringBinding.StringBindingError, Transport.Transport> =>
  Layer.effect(
    service,
    Effect.gen(function* () {
      const association = yield* make(binding, options)
      const channel = new Channel(association as AssociationImpl, boundTo(service.interface), {})
      return yield* makeBinding(service.interface, channel, options)
    })
  )
