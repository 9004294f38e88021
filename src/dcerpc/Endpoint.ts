/**
 * Endpoints: a server served over a transport, to any DCE/RPC client.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type { Key } from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type { Caller } from "../Channel.ts"
import { counting } from "../internal/metrics.ts"
import { refuseArgument } from "../internal/named.ts"
import { countOption, durationOption } from "../internal/options.ts"
import * as Server from "../Server.ts"
import type { CantCreateEndpoint } from "../Status.ts"
import * as StringBinding from "../transport/StringBinding.ts"
import { defaultElements } from "../ndr/internal/ndrStream.ts"
import * as Transport from "../transport/Transport.ts"
import type { ServerProvider } from "../security/Security.ts"
import { onDemand } from "./internal/onDemand.ts"
import { EndpointImpl } from "./internal/serverEndpoint.ts"
import type { Report } from "./internal/serverSecurity.ts"
import * as Management from "./Management.ts"
import { binary, ndr20, proposed } from "./TransferSyntax.ts"

// ----------------------------------------------------------------------------
// options
// ----------------------------------------------------------------------------

/**
 * The limits of an endpoint. A client that goes beyond one is refused, and harms nobody else.
 *
 * **Details**
 *
 * A number outside of its range is refused when the endpoint is made, by a `TypeError` that names the option. Times are measured
 * by a monotonic clock.
 *
 * After 64 PDUs, or 256 KiB of requests and replies, a connection lets all others have their turn. A request is dispatched when
 * less than 64 KiB wait for its client; other requests wait. So a client that reads is never cut off by its own calls.
 *
 * The memory that clients can make an endpoint hold, behind a collection of garbage, is at most the sum of:
 *
 * - 16 KiB for each connection (`maximumConnections`), and nothing for a header whose fragment has not come;
 * - `maximumTotalRequest`, of which one connection has at most `maximumRequest` and 256 KiB;
 * - 8 KiB for each call in progress (`maximumTotalCalls`), its arguments (`maximumRequest` bytes at most) and the memory of its routine;
 * - 256 KiB and one chunk for each pipe that its reader is behind;
 * - `maximumTotalQueued`, and one reply, for clients that do not read.
 *
 * With the defaults and small arguments that is 988 MiB, for 10,000 connections and 65,536 calls. The transport holds up to 64 KiB in
 * each direction of a connection besides.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * The connections at once; by default 10,000. One more closes the connection that was idle for longest: without a call, and not
   * the last one that keeps a context handle alive. Without such a connection the new one is closed.
   */
  readonly maximumConnections?: number | undefined
  /** The presentation contexts of one connection; by default 64. */
  readonly maximumContexts?: number | undefined
  /** The calls in progress on one connection; by default 1,024. One more gets 1723 and did not execute. */
  readonly maximumCalls?: number | undefined
  /**
   * The calls in progress on all connections together; by default 65,536. No connection may have more of them than are left for the
   * others: 64 greedy connections get about 1,008 each, and as many are left. One more gets 1723 and did not execute.
   */
  readonly maximumTotalCalls?: number | undefined
  /**
   * The context handles that one connection has opened; by default 10,000. `open` of one more fails with 1130. Other connections of
   * the client's association group count their own.
   */
  readonly maximumHandles?: number | undefined
  /** The bytes of one request; by default 4 MiB. */
  readonly maximumRequest?: number | undefined
  /**
   * The values that one request may hold, or one chunk of a pipe: numbers, strings, byte arrays and nulls; at least 1, by default
   * 262,144. Values that take longer to make count more: a key of a record as 7, an entry of a map or a set as 4 beside its values. A
   * request with more is refused with 1783 before anything is allocated.
   */
  readonly maximumElements?: number | undefined
  /**
   * The bytes of all clients that the endpoint holds: partial requests, each with up to twice the bytes that have arrived, and bytes that
   * wait for room; by default 64 MiB. Above it the endpoint closes the connection that has made no progress for longest.
   */
  readonly maximumTotalRequest?: number | undefined
  /**
   * The bytes of replies that may wait for one client; at least 1, by default 16 MiB. Beyond them its connection is closed unless it
   * takes some within `requestTimeout`.
   */
  readonly maximumQueued?: number | undefined
  /**
   * The bytes of replies that wait for all clients together; at least 1, by default 256 MiB. Beyond them the connection is closed for
   * which most wait.
   */
  readonly maximumTotalQueued?: number | undefined
  /** The time that a connection may take to bind; at least 1 ms, by default 10 seconds. */
  readonly bindTimeout?: Duration.Input | undefined
  /**
   * The time for which a request may be incomplete without one more whole fragment; at least 1 ms, by default 30 seconds. Then its
   * connection is closed. A request whose pipes flow already has no such limit.
   */
  readonly requestTimeout?: Duration.Input | undefined
  /**
   * The time for which a connection without a call may be silent; at least 1 ms, by default forever. Only a whole PDU
   * ends the silence.
   */
  readonly idleTimeout?: Duration.Input | undefined
  /**
   * The security providers with which clients can log in, for instance `Negotiate.server`; by default none. At an endpoint that has some, a
   * manager that names no `minimumLevel` takes calls of level `integrity` and above. A login has `bindTimeout` to come to its end. A
   * connection has as many security contexts as `maximumContexts` says.
   */
  readonly security?: ReadonlyArray<ServerProvider> | undefined
  /**
   * Runs when a client asks through the management interface to stop the server. Without it no client may: they get the
   * status 5. At an endpoint with security providers a client must have logged in, at level `integrity` or above.
   */
  readonly onStop?: Effect.Effect<void> | undefined
}

type CountName = keyof { [K in keyof Options as NonNullable<Options[K]> extends number ? K : never]: true }

const TypeId = "~callisto/dcerpc/Endpoint"

/**
 * An endpoint: it serves a server to the clients that connect.
 *
 * @category models
 * @since 0.1.0
 */
export interface Endpoint {
  /** Brands the type. */
  readonly [TypeId]: typeof TypeId
}

// ----------------------------------------------------------------------------
// constructors
// ----------------------------------------------------------------------------

/**
 * Makes an endpoint of a server, for string bindings at which it {@link listen}s and connections that it is given to
 * {@link handle}. For one string binding there is {@link serve}.
 *
 * **Details**
 *
 * Every manager of the server is offered, in the transfer syntaxes in which its interface has a form, and the management
 * interface. An interface that has none, see `TransferSyntax.proposed`, is a `TypeError`; added to the server later it is not offered.
 *
 * When the scope closes, or the server ends, the endpoint accepts no more connections and calls, tells its clients so, lets
 * calls in progress reply within the `grace` period of the server, and closes the other connections. The period begins
 * once: endpoint and server share it.
 *
 * **Example** (One endpoint in two places)
 *
 * ```ts
 * import { Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Association, Endpoint } from "@callisto/rpc/dcerpc"
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
 *   const endpoint = yield* Endpoint.make(yield* Server.make([manager]), { maximumCalls: 100 })
 *   yield* Endpoint.listen(endpoint, "ncacn_memory:[one]")
 *   yield* Endpoint.listen(endpoint, "ncacn_memory:[two]")
 *   return yield* Call.invoke(yield* Association.bind(Sums, "ncacn_memory:[two]"), "Add", [1, 2, 3]) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provide(program, Memory.layer))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (server: Server.Server, options: Options = {}): Effect.Effect<Endpoint, never, Scope.Scope> =>
  Effect.gen(function* () {
    const count = (name: CountName, fallback: number, min = 0) =>
      countOption("Endpoint", name, options[name], { min }, fallback)
    for (const { interface: offered } of Server.interfaces(server)) {
      const syntax = proposed(offered)
      if (Result.isFailure(syntax)) refuseArgument("Endpoint", syntax.failure.detail!)
    }
    yield* Effect.orDie(binary.load)
    const { security: providers = [] } = options
    const contexts = count("maximumContexts", 64)
    const context = yield* Effect.context<never>()
    const securing = providers.length === 0 ? undefined : (yield* Effect.orDie(serverSecurity)).securing(
      { providers, maximum: contexts },
      reportsOf(context)
    )
    const endpoint = new EndpointImpl(
      server,
      context,
      {
        connections: count("maximumConnections", 10_000),
        contexts,
        calls: count("maximumCalls", 1024),
        totalCalls: count("maximumTotalCalls", 0x10000),
        handles: count("maximumHandles", 10_000),
        request: count("maximumRequest", 0x400000),
        elements: count("maximumElements", defaultElements, 1),
        totalRequest: count("maximumTotalRequest", 0x4000000),
        queued: count("maximumQueued", 0x1000000, 1),
        totalQueued: count("maximumTotalQueued", 0x10000000, 1),
        bindTimeout: durationOption("Endpoint", "bindTimeout", options.bindTimeout, 10_000, 1),
        requestTimeout: durationOption("Endpoint", "requestTimeout", options.requestTimeout, 30_000, 1),
        idleTimeout: durationOption("Endpoint", "idleTimeout", options.idleTimeout, Infinity, 1)
      },
      [ndr20, binary],
      securing
    )
    const management = Management.makeManager({
      interfaces: () => [
        ...Server.interfaces(server).map((offer) => offer.interface),
        Management.IManagement
      ],
      // A server makes no calls.
      statistics: () => ({
        callsIn: endpoint.callsIn,
        callsOut: 0,
        packetsIn: endpoint.packetsIn,
        packetsOut: endpoint.packetsOut
      }),
      isListening: () => !endpoint.stopping,
      stop: options.onStop,
      isSecure: providers.length > 0
    })
    endpoint.management = yield* Server.make([management], { grace: 0 })
    return yield* Effect.acquireRelease(
      Effect.succeed(toEndpoint(endpoint)),
      () => endpoint.shutdown
    )
  })

const serverSecurity = onDemand("the security of servers", () => import("./internal/serverSecurity.ts"))

/** Tells operators of logins and messages that were refused, and counts them. */
const reportsOf =
  (context: Context.Context<never>) => (peer: string): Report => (event, { claimed, problem, provider }) => {
    Context.get(context, counting)?.refused(context, event, provider)
    const who = claimed === undefined ? peer : `${claimed} at ${peer}`
    Effect.runForkWith(context)(Effect.logWarning(`Refused a ${event} of ${who} with ${provider}: ${problem}`))
  }

const toEndpoint = (endpoint: EndpointImpl): Endpoint => endpoint as unknown as Endpoint

const toImpl = (endpoint: Endpoint): EndpointImpl => endpoint as unknown as EndpointImpl

/**
 * Accepts connections at a string binding until the scope closes. Accepted connections live on as long as the endpoint.
 *
 * **Details**
 *
 * The `Listener` knows where it listens, with the port that was chosen for port 0. Fails with `StringBindingError` for text that
 * is no string binding, and with `CantCreateEndpoint` when the transport can't listen there.
 *
 * Windows: `RpcServerUseProtseqEp`.
 *
 * @category listening
 * @since 0.1.0
 */
export const listen = (
  self: Endpoint,
  binding: string
): Effect.Effect<
  Transport.Listener,
  StringBinding.StringBindingError | CantCreateEndpoint,
  Transport.Transport | Scope.Scope
> =>
  Effect.gen(function* () {
    const endpoint = toImpl(self)
    const transport = yield* Transport.Transport
    const parsed = StringBinding.parse(binding)
    if (Result.isFailure(parsed)) return yield* Effect.fail(parsed.failure)
    return yield* Effect.acquireRelease(
      Effect.tap(
        Scope.provide(transport.listen(parsed.success, (connection) => endpoint.handle(connection)), endpoint.scope),
        (listener) => Effect.sync(() => endpoint.listeners.add(listener))
      ),
      (listener) => Effect.andThen(listener.stop, Effect.sync(() => endpoint.listeners.delete(listener))),
      { interruptible: true }
    )
  })

/**
 * Serves a connection that something else has accepted, a web server's WebSocket for instance, until its end. Behind Effect's
 * `HttpRouter` there is `Web.httpRouter`.
 *
 * **Gotchas**
 *
 * The endpoint believes the given `caller`: the program that accepts the connection has to authenticate it first.
 *
 * **Example** (WebSockets that Deno's HTTP server accepts)
 *
 * ```ts ignore
 * const serve = (socket: WebSocket, peer: string, user: string) =>
 *   Effect.scoped(Effect.flatMap(WebSocket.fromWebSocket(socket, { peer }), (connection) =>
 *     Endpoint.handle(endpoint, connection, { caller: { name: user, level: "connect" } })))
 *
 * Deno.serve((request, { remoteAddr }) => {
 *   const user = userOfSession(request.headers.get("cookie"))
 *   if (user === undefined) return new Response("Log in first.", { status: 401 })
 *   const { response, socket } = Deno.upgradeWebSocket(request)
 *   Effect.runFork(serve(socket, `ncacn_ws:${remoteAddr.hostname}[${remoteAddr.port}]`, user))
 *   return response
 * })
 * ```
 *
 * @category listening
 * @since 0.1.0
 */
export const handle = (
  self: Endpoint,
  connection: Transport.Connection,
  options?: {
    /** The identity that `ServerCall.caller` gives for the calls of the connection; by default no name and level `none`. */
    readonly caller?: Caller.Input | undefined
  }
): Effect.Effect<void> => Effect.scoped(toImpl(self).handle(connection, options?.caller))

/**
 * Serves a server at a string binding until the scope closes: {@link make} and {@link listen} in one.
 *
 * **Details**
 *
 * The `Listener` knows where it listens, with the port that was chosen for port 0. Fails with `StringBindingError` for text that
 * is no string binding, and with `CantCreateEndpoint` when the transport can't listen there.
 *
 * Windows: `RpcServerUseProtseqEp`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const serve = (
  server: Server.Server,
  binding: string,
  options?: Options
): Effect.Effect<
  Transport.Listener,
  StringBinding.StringBindingError | CantCreateEndpoint,
  Transport.Transport | Scope.Scope
> => Effect.flatMap(make(server, options), (endpoint) => listen(endpoint, binding))

/**
 * Serves the server of the context at a string binding, and provides where it listens as `Transport.Listener`.
 *
 * **Details**
 *
 * Nothing is listened to before the server is there. When the layer is released the endpoint ends before the server. Another
 * server of the context, and another service for the listener, are named by their keys. It fails as {@link listen} does.
 *
 * **Example** (A program of layers)
 *
 * ```ts
 * import { Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Association, Endpoint } from "@callisto/rpc/dcerpc"
 * import { Memory, Transport } from "@callisto/rpc/transport"
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
 * const live = Endpoint.layer("ncacn_memory:[sums]", { maximumCalls: 100 }).pipe(
 *   Layer.provide(Server.layer([ISums])),
 *   Layer.provide(sums),
 *   Layer.provideMerge(Memory.layer)
 * )
 *
 * const program = Effect.gen(function*() {
 *   const { address } = yield* Transport.Listener
 *   address.endpoint // => "sums"
 *   return yield* Call.invoke(yield* Association.bind(ISums, "ncacn_memory:[sums]"), "Add", [1, 2, 3]) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provide(program, live))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const layer = <Serving = Server.Server, Listening = Transport.Listener>(
  binding: string,
  options?: Options & {
    /** The service that is the server; by default `Server.Server`. */
    readonly server?: Key<Serving, Server.Server> | undefined
    /** The service under which the listener is provided; by default `Transport.Listener`. */
    readonly key?: Key<Listening, Transport.Listener> | undefined
  }
): Layer.Layer<Listening, StringBinding.StringBindingError | CantCreateEndpoint, Serving | Transport.Transport> =>
  Layer.effect(
    (options?.key ?? Transport.Listener) as Key<Listening, Transport.Listener>,
    Effect.flatMap(
      (options?.server ?? Server.Server) as Key<Serving, Server.Server>,
      (server) => serve(server, binding, options)
    )
  )
