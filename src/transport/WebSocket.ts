/**
 * Connections over WebSockets: `ncacn_ws:host[port,path=/rpc]`, and `ncacn_wss` with TLS.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import type { RpcTransportError } from "../Status.ts"
import { gather, highWaterMark, Incoming } from "./internal/flow.ts"
import { type End, makeSocket, scopedEnd } from "./internal/sockets.ts"
import { cantListen, cantListenOn, closed, unavailable, unsupported, writeFailed } from "./internal/transportErrors.ts"
import { print, type StringBinding } from "./StringBinding.ts"
import { type Connection, Transport } from "./Transport.ts"

/**
 * A connection over a WebSocket that is open or opening. It is closed with the scope.
 *
 * **When to use**
 *
 * Use on a server for the WebSockets that its HTTP server hands over. Clients have the layer {@link layer}.
 *
 * **Details**
 *
 * Bytes travel in binary frames; where a frame ends means nothing. A text frame ends the connection.
 *
 * **Gotchas**
 *
 * The WebSockets of browsers, Deno and Bun can't be told to stop receiving. Their frames are kept until they are read,
 * up to 64 MiB. A peer that sends more ends the connection; the `ws` package for Node makes it wait.
 *
 * `Endpoint.handle` serves it, and has the example.
 *
 * @category WebSockets
 * @since 0.1.0
 */
export const fromWebSocket = (
  ws: Socket.WebSocketLike,
  names: {
    /** The address of this side; by default `ncacn_ws:`. */
    readonly local?: string | undefined
    /** The address of the other side. */
    readonly peer: string
  }
): Effect.Effect<Connection, RpcTransportError, Scope.Scope> =>
  Effect.map(
    scopedEnd(webSocketEnd(ws, names.peer)),
    (end) => ({ socket: makeSocket(end), local: names.local ?? "ncacn_ws:", peer: names.peer })
  )

/** So many bytes a connection keeps that can't be told to stop receiving. */
const mostKept = 0x4000000

const webSocketEnd = (
  ws: Socket.WebSocketLike & {
    binaryType?: string
    readonly bufferedAmount?: number
    pause?(): void
    resume?(): void
  },
  peer: string
): Effect.Effect<End, RpcTransportError> =>
  Effect.callback((resume) => {
    let paused = false
    let failure: Socket.SocketError | undefined
    const incoming = new Incoming(() => {
      if (paused) ws.resume?.()
      paused = false
    })

    const end: End = {
      incoming,
      // A WebSocket has no half-closed state.
      end: () => {},
      write: (chunks) => {
        if (failure !== undefined) return Effect.fail(writeFailed(failure))
        try {
          ws.send(gather(chunks) as Uint8Array<ArrayBuffer>)
        } catch (cause) {
          return Effect.fail(writeFailed(cause))
        }
        return room
      },
      close: (event) => {
        if (failure !== undefined) return
        // The other codes below 4000 are not for programs.
        ws.close(event.code > 1000 ? 4000 : 1000)
        lose(closed(event.code > 1000 ? event.code : 1006, event.reason))
      }
    }
    // A WebSocket does not tell when it has room again.
    const room: Effect.Effect<void, Socket.SocketError> = Effect.suspend(() =>
      failure !== undefined
        ? Effect.fail(writeFailed(failure))
        : (ws.bufferedAmount ?? 0) < highWaterMark
        ? Effect.void
        : Effect.andThen(Effect.sleep(5), room)
    )

    const listeners = {
      open: () => resume(Effect.succeed(end)),
      message: ({ data }: Socket.WebSocketEvent) => {
        if (typeof data === "string") {
          ws.close(4000)
          return lose(closed(1003))
        }
        incoming.push(data instanceof Uint8Array ? data : new Uint8Array(data as ArrayBuffer))
        if (incoming.size < highWaterMark || paused) return
        if (ws.pause !== undefined) {
          ws.pause()
          paused = true
        } else if (incoming.size > mostKept) {
          const error = closed(1009, `more than ${mostKept} bytes wait to be read`)
          ws.close(4000)
          incoming.fail(error)
          lose(error)
        }
      },
      error: () => lose(closed(1006)),
      close: ({ code, reason }: Socket.WebSocketEvent) => lose(closed(code ?? 1006, reason))
    }
    const types = ["open", "message", "error", "close"] as const

    function lose(error: Socket.SocketError) {
      if (failure !== undefined) return
      failure = error
      for (const type of types) ws.removeEventListener(type, listeners[type])
      // An error after the end has nobody to be told to, and must not go unhandled either.
      ws.addEventListener("error", () => {})
      incoming.end(error)
      resume(Effect.fail(unavailable(`${peer} can't be reached`)))
    }

    ws.binaryType = "arraybuffer"
    for (const type of types) ws.addEventListener(type, listeners[type])
    if (ws.readyState === 1) listeners.open()
    else if (ws.readyState > 1) lose(closed(1006))
    return Effect.sync(() => end.close(new Socket.CloseEvent()))
  })

/**
 * Connects to servers behind WebSockets: `ncacn_ws:host[port,path=/rpc]`, and `ncacn_wss` with TLS. Without a port it
 * is that of HTTP. It does not listen: a server accepts WebSockets with its HTTP server and uses {@link fromWebSocket}.
 *
 * @category WebSockets
 * @since 0.1.0
 */
export const layer: Layer.Layer<Transport, never, Socket.WebSocketConstructor> = Layer.effect(
  Transport,
  Effect.map(Socket.WebSocketConstructor, (construct) => {
    const protocols = ["ncacn_ws", "ncacn_wss"] as const
    return {
      protocols,
      connect: (binding) =>
        Effect.suspend(() => {
          if (binding.protocol !== "ncacn_ws" && binding.protocol !== "ncacn_wss") {
            return Effect.fail(unsupported(binding, protocols))
          }
          let ws: Socket.WebSocketLike
          try {
            ws = construct(urlOf(binding))
          } catch (error) {
            // Deno throws without the permission to connect.
            return Effect.fail(unavailable(`${print(binding)}: ${(error as Error).message}`))
          }
          return fromWebSocket(ws, { peer: print(binding), local: `${binding.protocol}:` })
        }),
      listen: (binding) =>
        Effect.fail(
          binding.protocol === "ncacn_ws" || binding.protocol === "ncacn_wss"
            ? cantListen(
              1703,
              "an HTTP server accepts WebSockets; use Web.httpRouter, or fromWebSocket and Endpoint.handle"
            )
            : cantListenOn(binding, protocols)
        )
    }
  })
)

/**
 * The same over the global `WebSocket`, which browsers, Deno, Bun and Node have.
 *
 * **Details**
 *
 * When the user leaves the page, its connections are closed and the server ends its calls: a browser may keep the page and its
 * connections for the way back. A page that comes back connects again at its next call.
 *
 * @category WebSockets
 * @since 0.1.0
 */
export const layerGlobal: Layer.Layer<Transport> = Layer.provide(
  layer,
  Layer.effect(
    Socket.WebSocketConstructor,
    Effect.gen(function* () {
      const opened = new Set<Socket.WebSocketLike>()
      const page = globalThis as unknown as Page
      const leave = () => opened.forEach((ws) => ws.close())
      yield* Effect.acquireRelease(
        Effect.sync(() => page.addEventListener?.("pagehide", leave)),
        () => Effect.sync(() => page.removeEventListener?.("pagehide", leave))
      )
      return (url) => {
        const ws = new page.WebSocket(url)
        opened.add(ws)
        ws.addEventListener("close", () => opened.delete(ws))
        return ws
      }
    })
  )
)

/** The global scope of a page; the runtimes have some of it. */
interface Page {
  readonly WebSocket: new (url: string) => Socket.WebSocketLike
  addEventListener?(type: "pagehide", listener: () => void): void
  removeEventListener?(type: "pagehide", listener: () => void): void
}

const urlOf = ({ address, endpoint, options, protocol }: StringBinding): string => {
  const host = address === "" ? "localhost" : address.includes(":") ? `[${address}]` : address
  const path = options["path"] ?? "/"
  return `${protocol.slice("ncacn_".length)}://${host}${endpoint === undefined ? "" : `:${endpoint}`}${path}`
}
