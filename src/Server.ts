/**
 * Servers: managers that are served together, with the calls in progress.
 *
 * A server is a value in a scope. In-process bindings call it directly; on the network the same server is served by
 * endpoints.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Caller, Incoming, Origin, Refusal } from "./Channel.ts"
import type { Interface } from "./Interface.ts"
import { callerOf } from "./internal/access.ts"
import * as Managers from "./internal/manager.ts"
import { countOption, durationOption, objectOption } from "./internal/options.ts"
import { scoped } from "./internal/scope.ts"
import {
  add as addManager,
  ClientImpl,
  type Registration,
  remove,
  resolve,
  resolveAny,
  ServerImpl,
  serverImpl as impl
} from "./internal/server.ts"
import * as Manager from "./Manager.ts"
import type { ServerCall } from "./ServerCall.ts"

const TypeId = "~callisto/Server"

/**
 * A server: bindings and endpoints dispatch calls to it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Server {
  /** Brands the type. */
  readonly [TypeId]: typeof TypeId
}

/**
 * The server of the context, as {@link layer} provides it. The example is there.
 *
 * @category models
 * @since 0.1.0
 */
export const Server: Context.Service<Server, Server> = Context.Service<Server>("@callisto/rpc/Server")

/**
 * How a server treats its calls.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * How long calls in progress may go on when the server's scope closes; by default 5 seconds. Then they end with 1726,
   * and their work is interrupted. An endpoint of the server and the server share this time: whichever closes first starts it, unless
   * it was over for as long before. Work that does not end at once has the same time again: first the interrupted work, with its
   * finalizers and replies, then the run-down of context handles. The shutdown does not wait longer, so such work may outlive it.
   *
   * With infinity the shutdown waits for every call. Two shutdowns that wait for each other's calls then never end. Nor does that of a
   * routine that closes its own server from another runtime, with `Effect.runPromise`: the server can't tell whose routine closes it.
   */
  readonly grace?: Duration.Input | undefined
  /**
   * How long a call may be in progress; an older one is aborted with 1460 `RPC_S_TIMEOUT`, and its work is interrupted.
   * By default there is no limit.
   */
  readonly maximumAge?: Duration.Input | undefined
  /**
   * How many calls may be in progress at once; one more is refused with 1723 `RPC_S_SERVER_TOO_BUSY`, and does not
   * execute. By default there is no limit.
   */
  readonly maximumCalls?: number | undefined
}

const toServer = (server: ServerImpl): Server => server as unknown as Server

// ----------------------------------------------------------------------------
// constructors
// ----------------------------------------------------------------------------

type Services<Managers extends ReadonlyArray<Manager.Manager.Any>> = Manager.Manager.Services<Managers[number]>

/**
 * Makes a server of several managers. It serves until its scope closes.
 *
 * **Details**
 *
 * When the scope closes the server accepts no more calls, lets calls in progress reply within the `grace` period of its
 * {@link Options}, ends the other calls with 1726, and runs the context handles down. At last the server closes the scope of
 * `ServerCall.server`, and waits without a limit until the work there has ended. The fibers of the routines belong to the server, not to
 * its clients. The `Scope` that a routine finds in its context is that of its call. Fork work that outlives the call into
 * `ServerCall.server(call)`.
 *
 * A routine may close the scope. Its own call is not waited for and ends with 1726, unless it has replied before.
 *
 * Dies with a `TypeError` for two managers of the same interface version for the same object.
 *
 * Windows: `RpcServerRegisterIf` and `RpcServerListen`; the limit on calls is `MaxCalls`.
 *
 * **Example** (A server of one manager)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
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
 *   const server = yield* Server.make([manager], { grace: "1 second" })
 *   const sums = yield* Binding.local(server, Sums)
 *   return yield* Call.invoke(sums, "Add", [1, 2, 3]) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <const Managers extends ReadonlyArray<Manager.Manager.Any>>(
  managers: Managers,
  options?: Options
): Effect.Effect<Server, never, Services<Managers> | Scope.Scope> =>
  scoped(
    (context: Context.Context<Services<Managers>>) => {
      const server = new ServerImpl(context as Context.Context<never>, {
        grace: durationOption("Server.make", "grace", options?.grace, 5_000),
        maximumAge: durationOption("Server.make", "maximumAge", options?.maximumAge, Infinity),
        maximumCalls: countOption("Server.make", "maximumCalls", options?.maximumCalls, {}, Infinity)
      })
      for (const manager of managers) server.register(Managers.implOf(manager))
      return toServer(server)
    },
    // The finalizer runs in the context of whoever closes the scope: the shutdown looks in whose routine that is.
    (server) => impl(server).shutdown
  )

/**
 * Makes a server of the managers of some interfaces, which `Manager.layer` provides, and provides it as {@link Server}.
 *
 * **Details**
 *
 * The server serves nothing before all managers are there. Several servers in one program have keys of their own: `key` is the service
 * under which the layer provides this one.
 *
 * **Example** (A server in the context)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Layer, Schema } from "effect"
 *
 * const ISums = Interface.make("ISums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const sums = Manager.layer(ISums, Effect.succeed({
 *   Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0))
 * }))
 * const live = Server.layer([ISums]).pipe(Layer.provide(sums))
 *
 * const program = Effect.gen(function*() {
 *   const sums = yield* Binding.local(yield* Server.Server, ISums)
 *   return yield* Call.invoke(sums, "Add", [1, 2, 3]) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provide(program, live))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const layer: {
  <const Interfaces extends ReadonlyArray<Interface.Any>, Key>(
    interfaces: Interfaces,
    options: Options & {
      /** The service under which the server is provided. */
      readonly key: Context.Key<Key, Server>
    }
  ): Layer.Layer<Key, never, ManagersFor<Interfaces>>
  <const Interfaces extends ReadonlyArray<Interface.Any>>(
    interfaces: Interfaces,
    options?: Options
  ): Layer.Layer<Server, never, ManagersFor<Interfaces>>
} = (
  interfaces: ReadonlyArray<Interface.Any>,
  options?: Options & { readonly key?: Context.Key<any, Server> }
): Layer.Layer<any, never, never> =>
  Layer.effect(
    options?.key ?? Server,
    Effect.flatMap(
      Effect.all(interfaces.map((iface) => Manager.service(iface))),
      (managers) => make(managers, options)
    )
  ) as Layer.Layer<any>

/**
 * The managers of some interfaces, as services.
 *
 * @category constructors
 * @since 0.1.0
 */
export type ManagersFor<Interfaces extends ReadonlyArray<Interface.Any>> = {
  [K in keyof Interfaces]: Manager.For<Interfaces[K]>
}[number]

/**
 * Serves one more manager until the scope closes: for objects that come and go.
 *
 * **Details**
 *
 * When the scope closes the manager gets no more calls. Calls in progress have the server's period of grace, then they end with
 * 1726. The services that the routines need come from the context of this effect. Adding, removing and finding a manager takes the
 * same time for any number of objects.
 *
 * Dies with a `TypeError` where another manager serves the same interface version for the same object.
 *
 * Windows: `RpcServerRegisterIf` with a manager entry-point vector for the type of an object, and `RpcServerUnregisterIf`.
 *
 * **Example** (An object that is there for a while)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const ILamp = Interface.make("ILamp", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { IsOn: Interface.method({ out: Schema.Boolean }) }
 * })
 * const object = "0f4c2f77-93d5-4b0e-a3ad-3c2d6a8f2b10"
 * const lamp = Manager.make(ILamp, { IsOn: () => Effect.succeed(true) }, { object })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([])
 *   yield* Effect.scoped(Effect.gen(function*() {
 *     yield* Server.add(server, lamp)
 *     yield* Call.invoke(yield* Binding.local(server, ILamp, { object }), "IsOn") // => true
 *   }))
 *   return yield* Effect.flip(Binding.local(server, ILamp, { object })) // => NoInterface
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const add = <I extends Interface.Any, R>(
  self: Server,
  manager: Manager.Manager<I, R>
): Effect.Effect<void, never, R | Scope.Scope> =>
  Effect.contextWith((context: Context.Context<R | Scope.Scope>) => {
    const server = impl(self)
    return Effect.asVoid(Effect.acquireRelease(
      Effect.sync(() => addManager(server, Managers.implOf(manager), context as Context.Context<never>)),
      (registration) => remove(server, registration)
    ))
  })

// ----------------------------------------------------------------------------
// hosts
// ----------------------------------------------------------------------------

/**
 * An interface that a server offers.
 *
 * @category hosts
 * @since 0.1.0
 */
export interface Offer {
  /** The interface, as the server describes it. */
  readonly interface: Interface.Any
  /** The UUID of the object for which it is offered; `undefined` for all. */
  readonly object: string | undefined
  /** Whether clients in this process can make call objects. */
  readonly callObjects: boolean
}

const offerOf = ({ manager }: Registration): Offer => manager

/**
 * The offer of a server for an interface in a compatible version; `undefined` if the server has no such offer.
 *
 * **Details**
 *
 * With `object` the offer is for calls of that object, or with `null` for calls of no object. Without it the offer is for any object: a
 * client on the network binds with it before it names an object. Throws a `TypeError` for an `object` that is not a UUID.
 *
 * **Example** (Before and after)
 *
 * ```ts
 * import { Interface, Server } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * const ILamp = Interface.make("ILamp", { uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11", version: [1, 0], methods: {} })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([])
 *   return Server.offers(server, ILamp) // => undefined
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category hosts
 * @since 0.1.0
 */
export const offers = (
  self: Server,
  wanted: Interface.Identity,
  options?: {
    /** The UUID of an object in upper or lower case, or `null` for calls of no object; by default any object. */
    readonly object?: string | null | undefined
  }
): Offer | undefined => {
  const { managers } = impl(self)
  const object = options?.object
  const found = object === undefined
    ? resolveAny(managers, wanted)
    : resolve(managers, wanted, objectOption("Server.offers", object ?? undefined))
  return found === undefined ? undefined : offerOf(found)
}

/**
 * The offers of a server: one for each interface version and object. The example is at {@link offers}.
 *
 * @category hosts
 * @since 0.1.0
 */
export const interfaces = (self: Server): ReadonlyArray<Offer> => Array.from(impl(self).registrations, offerOf)

/**
 * Tells a server of a client that will call it, until the scope closes.
 *
 * **Details**
 *
 * The end of the scope is the client's going away: its calls end, their routines are interrupted, and its context handles are run
 * down. The cost depends on the calls and handles of this client alone.
 *
 * Dies with a `TypeError` for a level that is unknown. The example is at {@link accept}.
 *
 * @category hosts
 * @since 0.1.0
 */
export const client = (
  self: Server,
  options: {
    /** The identity with which the client calls. */
    readonly caller: Caller.Input
    /** The address of the client, for the routines and the log. */
    readonly peer: string
  }
): Effect.Effect<Origin, never, Scope.Scope> =>
  scoped(
    () => {
      return new ClientImpl(impl(self), { ...options, caller: callerOf("Server.client", options.caller) })
    },
    (client) =>
      Effect.sync(() => {
        client.end()
        client.handles?.end()
      })
  )

/**
 * Takes a call in: the one way into a server, for hosts that carry calls to it.
 *
 * **Details**
 *
 * Gives `undefined` when the server took the call in. The server then called `accepted`, and calls `reply` once, unless the client goes away
 * first. Both can happen before `accept` returns. Otherwise `accept` gives the reason for the refusal: the call was not executed, and no reply
 * follows.
 *
 * The server looks in this order: for the interface (`RpcFault` 1717), for its object (1732) and for the method (1745); whether it still
 * accepts calls (`RpcTransportError` 1722); whether it has too many calls (1723); whether the in parameters can be decoded
 * (`BadStubData`, with a warning in the server's log); whether it knows the context handles (`ContextMismatch`).
 *
 * Throws a `TypeError` where `origin` is not a client of this server.
 *
 * **Gotchas**
 *
 * A routine that answers at once replies within `accept`. So a host must not call `accept` within `reply`: a chain of such calls would use
 * up the stack. Let a fiber of the host make the next call.
 *
 * **Example** (A host that calls by number)
 *
 * ```ts
 * import { type Channel, Interface, Manager, Server } from "@callisto/rpc"
 * import { Deferred, Effect, Schema } from "effect"
 *
 * const ISums = Interface.make("ISums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(ISums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const origin = yield* Server.client(server, { caller: { name: "alice", level: "connect" }, peer: "queue:1" })
 *   const answer = yield* Deferred.make<unknown, unknown>()
 *   const refusal = Server.accept(server, {
 *     origin,
 *     interface: ISums,
 *     object: undefined,
 *     opnum: 0,
 *     input: [1, 2, 3],
 *     reply: (outcome) => {
 *       Deferred.doneUnsafe(answer, outcome)
 *     }
 *   })
 *   return refusal === undefined ? yield* Deferred.await(answer) : yield* Effect.fail(refusal) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category hosts
 * @since 0.1.0
 */
export const accept = (self: Server, incoming: Incoming): Refusal | undefined => impl(self).accept(incoming)

// ----------------------------------------------------------------------------
// calls in progress
// ----------------------------------------------------------------------------

/**
 * The calls in progress, oldest first. A call that was handed off is among them until it ends.
 *
 * **Example** (The calls of a server)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (numbers) => Effect.delay(Effect.succeed(numbers.reduce((a, b) => a + b, 0)), "10 millis")
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *   const call = yield* Call.make(sums)
 *
 *   yield* Call.begin(call, "Add", [1, 2, 3])
 *   const calls = yield* Server.calls(server)
 *   return calls.map((call) => ServerCall.operation(call).name) // => ["Add"]
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category calls in progress
 * @since 0.1.0
 */
export const calls = (self: Server): Effect.Effect<ReadonlyArray<ServerCall.Any>> =>
  Effect.sync(() => impl(self).snapshot().filter((call) => call.isOpen) as unknown as ReadonlyArray<ServerCall.Any>)
