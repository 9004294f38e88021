/**
 * The web: the transports of browsers and their workers, and a route of Effect's `HttpRouter` that serves them.
 *
 * **Example** (A server and a client over a WebSocket)
 *
 * ```ts
 * import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
 * import { Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Association } from "@callisto/rpc/dcerpc"
 * import * as Web from "@callisto/rpc/web"
 * import { Effect, Layer, Schema } from "effect"
 * import { HttpRouter, HttpServer } from "effect/http"
 * import { createServer } from "node:http"
 *
 * const ISums = Interface.make("ISums", {
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const sums = Manager.layer(ISums, Effect.succeed({
 *   Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0))
 * }))
 *
 * const live = HttpRouter.serve(
 *   Web.httpRouter("/rpc").pipe(Layer.provide(Server.layer([ISums])), Layer.provide(sums)),
 *   { disableLogger: true, disableListenLog: true }
 * ).pipe(
 *   Layer.provideMerge(NodeHttpServer.layer(createServer, { port: 0, gracefulShutdownTimeout: 0 }))
 * )
 *
 * const program = Effect.gen(function*() {
 *   const { address } = yield* HttpServer.HttpServer
 *   const url = new URL("/rpc", HttpServer.formatAddress(address).replace("0.0.0.0", "localhost"))
 *   return yield* Call.invoke(yield* Association.bind(ISums, Web.bindingOf(url)), "Add", [1, 2, 3]) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provide(program, Layer.merge(live, Web.layer)))
 * ```
 *
 * @module
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Cause from "effect/Cause"
import type { Key } from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { format } from "effect/Formatter"
import * as HttpRouter from "effect/http/HttpRouter"
import type { HttpServerError } from "effect/http/HttpServerError"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import { refuseArgument } from "./internal/named.ts"
import type { Caller } from "./Channel.ts"
import * as Endpoint from "./dcerpc/Endpoint.ts"
import * as Server from "./Server.ts"
import { gather, highWaterMark } from "./transport/internal/flow.ts"
import { closed } from "./transport/internal/transportErrors.ts"
import * as MessagePort from "./transport/MessagePort.ts"
import * as StringBinding from "./transport/StringBinding.ts"
import type { Connection, Transport } from "./transport/Transport.ts"
import * as WebSocket from "./transport/WebSocket.ts"

// ----------------------------------------------------------------------------
// clients
// ----------------------------------------------------------------------------

/**
 * The transport of a page or a worker: WebSockets to servers, at `ncacn_ws:host[port,path=/rpc]` and, with TLS, `ncacn_wss`.
 *
 * **Details**
 *
 * It needs nothing but the global `WebSocket`, so it also runs on Deno, Bun and Node. {@link bindingOf} makes the string binding of a
 * URL. A program that also calls workers merges both layers with `Transport.mergeAll`.
 *
 * **Gotchas**
 *
 * A browser sends the cookies of the server's site with the request, and lets a page add no other headers.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Transport> = WebSocket.layerGlobal

/**
 * The string binding of a URL: `ncacn_ws` for `ws:` and `http:`, `ncacn_wss` for `wss:` and `https:`. Another URL throws a `TypeError`.
 *
 * **Gotchas**
 *
 * A URL with a user or a password is refused: a string binding has no place for them. The part behind `#` is not sent.
 *
 * **Example** (A path of the server from which the page came)
 *
 * ```ts
 * import * as Web from "@callisto/rpc/web"
 *
 * Web.bindingOf(new URL("/rpc", "https://app.example/page.html")) // => "ncacn_wss:app.example[,path=/rpc]"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const bindingOf = (url: string | { readonly href: string }): string => {
  const text = typeof url === "string" ? url : url.href
  const { hostname, password, pathname, port, protocol, search, username } = parseUrl(text) ?? { protocol: "" } as URL
  const sequence = sequences[protocol]
  if (sequence === undefined) {
    const shown = format(text).replace(/(?<=:\/*)[^/@]*@/, "…@")
    return refuseArgument("Web.bindingOf", `url is no URL of a WebSocket, got ${shown}, expected ws: or wss:`)
  }
  if (username !== "" || password !== "") {
    refuseArgument("Web.bindingOf", "url has a user or a password, which no WebSocket sends. Put a token in the path")
  }
  return StringBinding.print({
    protocol: sequence,
    address: hostname.replace(/^\[|\]$/g, ""),
    ...(port === "" ? {} : { endpoint: port }),
    options: { path: pathname + search }
  })
}

const sequences: { readonly [protocol: string]: StringBinding.ProtocolSequence | undefined } = {
  "ws:": "ncacn_ws",
  "http:": "ncacn_ws",
  "wss:": "ncacn_wss",
  "https:": "ncacn_wss"
}

declare const URL: new (url: string) => URL

interface URL {
  readonly host: string
  readonly hostname: string
  readonly password: string
  readonly pathname: string
  readonly port: string
  readonly protocol: string
  readonly search: string
  readonly username: string
}

// ----------------------------------------------------------------------------
// workers
// ----------------------------------------------------------------------------

/**
 * The needed part of a worker: the `Worker` of browsers, Deno and Bun has it.
 *
 * @category models
 * @since 0.1.0
 */
export interface WorkerLike {
  /** Sends a message. */
  postMessage(message: unknown, transfer: Array<any>): void
  /** Adds a listener. */
  addEventListener(type: "message" | "error", listener: (event: any) => void): void
  /** Removes a listener. */
  removeEventListener(type: "message" | "error", listener: (event: any) => void): void
  /** Ends the worker at once. */
  terminate(): void
}

/**
 * Starts a worker, and is the transport to and from it: `ncacn_messageport:[name]`. The worker ends with the layer.
 *
 * **Details**
 *
 * The worker has {@link layerSelf}. Both sides can serve and call. A worker whose program does not load fails the binding with 1722.
 *
 * **Gotchas**
 *
 * A browser does not tell that a worker was ended. Give the association a `keepAlive`: with one second its calls are lost within three.
 *
 * **Example** (A page that calls its worker)
 *
 * ```ts ignore
 * const worker = Web.layerWorker(() => new Worker(new URL("./worker.js", import.meta.url), { type: "module" }))
 * const sums = Association.bind(ISums, "ncacn_messageport:[sums]", { keepAlive: "1 second" })
 *
 * // In worker.js:
 * const live = Endpoint.layer("ncacn_messageport:[sums]").pipe(Layer.provide([server, Web.layerSelf]))
 * Effect.runPromise(Layer.launch(live))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerWorker = (start: () => WorkerLike): Layer.Layer<Transport> =>
  Layer.unwrap(
    Effect.map(
      Effect.acquireRelease(Effect.sync(start), (worker) => Effect.sync(() => worker.terminate())),
      (worker) => MessagePort.layer(portOf(worker))
    )
  )

/** A worker tells no end. An error before its first message means that its program did not load. */
const portOf = (worker: WorkerLike): MessagePort.MessagePortLike => {
  let hasSpoken = false
  const listeners = new Set<(event: unknown) => void>()
  const onMessage = () => {
    hasSpoken = true
    worker.removeEventListener("message", onMessage)
  }
  worker.addEventListener("message", onMessage)
  worker.addEventListener("error", (event) => {
    if (!hasSpoken) { for (const listener of [...listeners]) listener(event) }
  })
  return {
    postMessage: (message, transfer) => worker.postMessage(message, transfer),
    addEventListener: (type, listener) => {
      if (type === "message") worker.addEventListener(type, listener)
      else listeners.add(listener)
    },
    removeEventListener: (type, listener) => {
      if (type === "message") worker.removeEventListener(type, listener)
      else listeners.delete(listener)
    }
  }
}

/**
 * The transport of a worker to and from the page, or the other worker, that has started it: `ncacn_messageport:[name]`.
 *
 * **Details**
 *
 * The other side has {@link layerWorker}. Building it outside of a worker is a `TypeError`: there `MessagePort.layer` takes a port.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSelf: Layer.Layer<Transport> = Layer.suspend(() => {
  const self = globalThis as unknown as MessagePort.MessagePortLike
  if ("document" in globalThis || typeof self.postMessage !== "function") {
    refuseArgument("Web.layerSelf", "this is no worker. Use Web.layerWorker or MessagePort.layer")
  }
  return MessagePort.layer(self)
})

// ----------------------------------------------------------------------------
// servers
// ----------------------------------------------------------------------------

type RefusedFields = {
  readonly status: Schema.Literals<readonly [401, 403]>
  readonly detail: Schema.String
}

const RefusedBase: Schema.Class<Refused, Schema.TaggedStruct<"Refused", RefusedFields>, Cause.YieldableError> = Schema
  .TaggedError<Refused>("@callisto/rpc/web/Refused")("Refused", {
    status: Schema.Literals([401, 403]),
    detail: Schema.String
  })

/**
 * The reason why a request gets no WebSocket: the option `caller` of {@link httpRouter} fails with it.
 *
 * **Details**
 *
 * `status` is that of the answer: 401 for a client that has to log in, 403 for one that may not. `detail` is the text of the answer.
 *
 * @category errors
 * @since 0.1.0
 */
export class Refused extends RefusedBase {
  /** The reason, for a person. */
  override get message(): string {
    return `Refused the WebSocket with status ${this.status}: ${this.detail}.`
  }
}

/**
 * The options of {@link httpRouter}, beside those of an endpoint.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<R = never, Serving = Server.Server> extends Endpoint.Options {
  /**
   * The identity of the client, from its request: from a cookie, a token in the path, or a header that a proxy has set. `ServerCall.caller` gives
   * it for the calls of the connection. By default no name and level `none`. An effect that fails answers 401 or 403.
   * One that takes longer than `bindTimeout` is interrupted, and the answer is 503.
   */
  readonly caller?: ((request: HttpServerRequest) => Effect.Effect<Caller.Input, Refused, R>) | undefined
  /**
   * The origins whose pages may connect, for instance `["https://app.example"]`, or `"any"`. By default those whose host is the host of
   * the request. A request without an origin comes from no page, and is not asked.
   */
  readonly origins?: ReadonlyArray<string> | "any" | undefined
  /** The service that is the server; by default `Server.Server`. */
  readonly server?: Key<Serving, Server.Server> | undefined
}

/**
 * Serves the server of the context behind a path of Effect's `HttpRouter`, to clients that connect with WebSockets.
 *
 * **Details**
 *
 * A request that is no upgrade to a WebSocket gets 426. One of a page of another origin gets 403, see the option `origins`: the browser
 * sends the user's cookies even for the page of somebody else. Then `caller` gives the caller, or fails with {@link Refused}. The
 * endpoint has the limits of its options; one connection too many gets 503.
 *
 * When the layer is released the endpoint takes no more calls and tells its clients so; calls in progress reply within the `grace` period
 * of the server.
 *
 * **Gotchas**
 *
 * - Effect's server waits for open requests before it releases the layers, WebSockets included: up to its `gracefulShutdownTimeout`, by
 *   default 20 seconds. Choose a short one.
 * - Its option `websocket: { maxPayload: 0x100000 }` bounds what one client can make it hold: a frame of 100 MiB by default. The clients of
 *   this library send up to 256 KiB in a frame.
 * - A server on a private address without a `caller` names its `origins`: by default a page gets in whose host name was made to point there.
 *
 * **Example** (Callers from a cookie)
 *
 * ```ts
 * import * as Web from "@callisto/rpc/web"
 * import { Effect } from "effect"
 *
 * const users = new Map([["4f2a", "alice"]])
 *
 * const live = Web.httpRouter("/rpc", {
 *   caller: ({ cookies }) => {
 *     const name = users.get(cookies["session"] ?? "")
 *     return name === undefined
 *       ? Effect.fail(new Web.Refused({ status: 401, detail: "log in first" }))
 *       : Effect.succeed({ name, level: "connect" })
 *   },
 *   maximumConnections: 1000
 * })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const httpRouter = <R = never, Serving = Server.Server>(
  path: HttpRouter.PathInput,
  options: Options<R, Serving> = {}
): Layer.Layer<
  never,
  never,
  HttpRouter.HttpRouter | Serving | HttpRouter.Request.From<"Requires", Exclude<R, HttpRouter.Provided>>
> =>
  Layer.effectDiscard(Effect.gen(function* () {
    const { caller = () => Effect.succeed({}) } = options
    const problemOf = originCheck(options.origins)
    const router = yield* HttpRouter.HttpRouter
    const server = yield* (options.server ?? Server.Server) as Key<Serving, Server.Server>
    // Connections outlive their requests, and the endpoint's end: it lets them reply.
    const connections = yield* Scope.fork(yield* Effect.scope)
    const endpoint = yield* Endpoint.make(server, options)
    const patience = options.bindTimeout ?? "10 seconds"

    yield* router.add("GET", path, (request) =>
      Effect.gen(function* () {
        if (request.headers["upgrade"]?.toLowerCase() !== "websocket") return notAnUpgrade
        const problem = problemOf(request)
        if (problem !== undefined) return yield* new Refused({ status: 403, detail: problem })
        // A client that has left meanwhile is not noticed: nobody reads its connection yet.
        const identity = yield* Effect.timeoutOption(caller(request), patience)
        if (Option.isNone(identity)) return yield* Effect.as(Effect.logWarning(late), tooLate)
        const connection = yield* connectionOf(request)
        yield* Fiber.join(
          yield* Effect.forkIn(Endpoint.handle(endpoint, connection, { caller: identity.value }), connections)
        )
        // Sent where there was no place for the connection, which is not upgraded then.
        return unavailable
      }).pipe(
        Effect.catchTag("Refused", (refused) =>
          Effect.as(
            Effect.logWarning(refused.message),
            HttpServerResponse.text(refused.detail, { status: refused.status })
          )),
        Effect.catchTag("HttpServerError", () => Effect.succeed(notUpgradable))
      ))
  }))

const notAnUpgrade = HttpServerResponse.text("This address speaks WebSocket.", {
  status: 426,
  headers: { upgrade: "websocket", connection: "upgrade" }
})

const notUpgradable = HttpServerResponse.text("This HTTP server does not upgrade requests to WebSockets.", {
  status: 501
})

const late = "Web.httpRouter: the option caller took longer than bindTimeout. Give its effect a timeout of its own."

const tooLate = HttpServerResponse.text("It took too long to find out who calls.", { status: 503 })

const unavailable = HttpServerResponse.text("The server takes no more connections.", { status: 503 })

// ----------------------------------------------------------------------------
// origins
// ----------------------------------------------------------------------------

/** Gives what is wrong with the origin of a request. */
const originCheck = (origins: Options["origins"]): (request: HttpServerRequest) => string | undefined => {
  if (origins === "any") return () => undefined
  if (origins !== undefined && !Array.isArray(origins)) return refuseOrigin(origins)
  const allowed = origins?.map((origin) => isOrigin(origin) ? origin : refuseOrigin(origin))
  return ({ headers: { host = "", origin } }) => {
    if (origin === undefined || (allowed === undefined ? isOf(origin, host) : allowed.includes(origin))) {
      return undefined
    }
    const expected = allowed === undefined ? `the host of the request, ${host}` : allowed.join(" or ")
    return `the origin of the page is not allowed, got ${origin}, expected ${expected}. Add it to the option origins`
  }
}

/** Also that of an application, as in `tauri://localhost`. */
const isOrigin = (origin: string): boolean => {
  const url = parseUrl(origin)
  return url !== undefined && url.host !== "" && `${url.protocol}//${url.host}` === origin
}

const refuseOrigin = (origin: unknown): never =>
  refuseArgument(
    "Web.httpRouter",
    `origins has no origin, got ${format(origin)}, expected "any" or an array of text like "https://app.example"`
  )

/** Compares hosts as URLs have them: in lower case, without the port that the scheme implies. */
const isOf = (origin: string, host: string): boolean => {
  const url = parseUrl(origin)
  return url !== undefined && /^https?:$/.test(url.protocol) && parseUrl(`${url.protocol}//${host}`)?.host === url.host
}

const parseUrl = (text: string): URL | undefined => {
  try {
    return new URL(text)
  } catch {
    return undefined
  }
}

// ----------------------------------------------------------------------------
// connections
// ----------------------------------------------------------------------------

/** The facts that servers on Node, Deno and Bun tell of the connection behind a request. */
interface Source {
  readonly socket?: Tcp
}

interface Tcp {
  readonly remotePort?: number | undefined
  readonly writableLength?: number | undefined
  setKeepAlive?(enable: boolean, delay: number, interval: number, count: number): void
  readonly [key: symbol]: { readonly bufferedAmount?: number } | undefined
}

/** The WebSocket opens when the endpoint reads it. */
const connectionOf = (request: HttpServerRequest): Effect.Effect<Connection, HttpServerError> =>
  Effect.map(request.upgrade, (socket) => {
    const tcp: Tcp = (request.source as Source).socket ?? {}
    // Notices a client that has vanished, as the transport of TCP does.
    tcp.setKeepAlive?.(true, 30_000, 10_000, 3)
    const peer = StringBinding.print({
      protocol: "ncacn_ws",
      address: Option.getOrElse(request.remoteAddress, () => "").replace(/^::ffff:/, ""),
      ...(tcp.remotePort === undefined ? {} : { endpoint: String(tcp.remotePort) }),
      options: {}
    })
    return { socket: bounded(socket, behindOf(tcp)), peer, local: "ncacn_ws:" }
  })

/** The bytes that wait for the client. On Bun the WebSocket alone knows them: `ws` keeps it at the connection. */
const behindOf = (tcp: Tcp) => {
  let key: symbol | undefined
  return (): number => {
    key ??= Object.getOwnPropertySymbols(tcp).find(({ description }) => description === "websocket")
    return (key && tcp[key])?.bufferedAmount ?? tcp.writableLength ?? 0
  }
}

/** Bytes alone, and writers that wait: a WebSocket of Effect buffers writes without limit. */
const bounded = (socket: Socket.Socket, behind: () => number): Socket.Socket => {
  const room: Effect.Effect<void> = Effect.suspend(() =>
    behind() < highWaterMark ? Effect.void : Effect.andThen(Effect.sleep(5), room)
  )
  return Socket.make({
    reader: Effect.gen(function* () {
      const { pull, upgrade } = yield* socket.reader
      const { write } = yield* socket.writer
      const refuse = Effect.andThen(write(new Socket.CloseEvent(1003)), Effect.fail(closed(1003)))
      return {
        upgrade,
        pull: Effect.flatMap(
          pull,
          (chunks) => isBinary(chunks) ? Effect.succeed(chunks) : refuse
        )
      }
    }),
    writer: Effect.map(socket.writer, ({ write, writeAll }) => ({
      // The other codes below 4000 are not for programs.
      write: (chunk) =>
        Socket.isCloseEvent(chunk)
          ? write(new Socket.CloseEvent(chunk.code > 1000 ? 4000 : 1000))
          : Effect.andThen(write(chunk), room),
      writeAll: (chunks) =>
        Effect.andThen(
          isBinary(chunks) ? write(gather(chunks)) : writeAll(chunks),
          room
        )
    }))
  })
}

const isBinary = (
  chunks: NonEmptyReadonlyArray<Uint8Array | string>
): chunks is NonEmptyReadonlyArray<Uint8Array> => chunks.every((chunk) => typeof chunk !== "string")
