/**
 * Transports: what carries bytes between a client and a server.
 *
 * A `Transport` connects to a string binding and listens on one. Either way a program gets `Connection`s, each with a
 * `Socket` of `effect/socket` and the address of the peer. This module names no platform: TCP, TLS and Unix sockets are
 * in `@callisto/rpc/node`; here are WebSockets and message ports, for browsers and workers, and connections in memory,
 * for tests.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import type { CantCreateEndpoint, RpcTransportError } from "../Status.ts"
import { gather, highWaterMark, Incoming, Outstanding } from "./internal/flow.ts"
import { type End, handlers, makeSocket } from "./internal/sockets.ts"
import {
  cantListen,
  cantListenOn,
  closed,
  inUse,
  unavailable,
  unsupported,
  writeFailed
} from "./internal/transportErrors.ts"
import { print, type ProtocolSequence, type StringBinding } from "./StringBinding.ts"

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

/**
 * Carries bytes between clients and servers.
 *
 * @category models
 * @since 0.1.0
 */
export interface Transport {
  /** The protocol sequences for which this transport can be asked. */
  readonly protocols: ReadonlyArray<ProtocolSequence>

  /**
   * Connects to a server. The connection is established when this succeeds and is closed with the scope. Fails with
   * 1722 where there is no server.
   */
  readonly connect: (binding: StringBinding) => Effect.Effect<Connection, RpcTransportError, Scope.Scope>

  /**
   * Listens until the scope closes, and runs the handler for each connection, in a fiber and a scope of its own. The
   * connection is closed when its handler ends; the handlers are interrupted when the scope closes. Fails with
   * `CantCreateEndpoint` where it can't listen.
   */
  readonly listen: <R = never>(
    binding: StringBinding,
    handler: (connection: Connection) => Effect.Effect<unknown, never, R>
  ) => Effect.Effect<Listener, CantCreateEndpoint, Exclude<R, Scope.Scope> | Scope.Scope>
}

/**
 * The service that connects and listens.
 *
 * @category services
 * @since 0.1.0
 */
export const Transport: Context.Service<Transport, Transport> = Context.Service("@callisto/rpc/transport/Transport")

/**
 * An established connection.
 *
 * **Details**
 *
 * The socket has its connection already: acquiring its reader does not dial, and a closed one is not dialled again.
 * What arrives before the reader is acquired is kept. A write succeeds when the transport has room for more; closing
 * the scope of the reader closes the connection, and closing that of a writer ends the sending direction, where the
 * transport can.
 *
 * @category models
 * @since 0.1.0
 */
export interface Connection {
  /** The bytes in both directions. */
  readonly socket: Socket.Socket
  /** The address of the other side, as a string binding. */
  readonly peer: string
  /** The address of this side, as a string binding. */
  readonly local: string
}

/**
 * What listens.
 *
 * @category models
 * @since 0.1.0
 */
export interface Listener {
  /** Where it listens, with the port that was chosen for port 0. */
  readonly address: StringBinding
  /** Accepts no more connections. Those that were accepted live on until the scope closes. */
  readonly stop: Effect.Effect<void>
}

/**
 * Where the endpoint of the context listens, as `Endpoint.layer` provides it. The example is there.
 *
 * @category models
 * @since 0.1.0
 */
export const Listener: Context.Service<Listener, Listener> = Context.Service<Listener>(
  "@callisto/rpc/transport/Transport/Listener"
)

// ----------------------------------------------------------------------------
// one transport of several
// ----------------------------------------------------------------------------

/**
 * One transport of several: each string binding goes to the first that has its protocol sequence.
 *
 * @category combining
 * @since 0.1.0
 */
export const merge = (...transports: ReadonlyArray<Transport>): Transport => {
  const protocols = [...new Set(transports.flatMap((transport) => transport.protocols))]
  const select = ({ protocol }: StringBinding) => transports.find(({ protocols }) => protocols.includes(protocol))
  return {
    protocols,
    connect: (binding) => select(binding)?.connect(binding) ?? Effect.fail(unsupported(binding, protocols)),
    listen: (binding, handler) =>
      select(binding)?.listen(binding, handler) ?? Effect.fail(cantListenOn(binding, protocols))
  }
}

/**
 * The layer of one transport of several.
 *
 * **Example** (A browser that talks to a server and to its workers)
 *
 * ```ts
 * import { Transport } from "@callisto/rpc/transport"
 * import { Layer } from "effect"
 * import * as Socket from "effect/socket/Socket"
 *
 * const { port1 } = new MessageChannel()
 * const transport = Transport.mergeAll(
 *   Layer.provide(Transport.webSocket, Socket.layerWebSocketConstructorGlobal),
 *   Transport.messagePort(port1)
 * )
 * port1.close()
 * ```
 *
 * @category combining
 * @since 0.1.0
 */
export const mergeAll = <E, R>(
  ...layers: ReadonlyArray<Layer.Layer<Transport, E, R>>
): Layer.Layer<Transport, E, R> =>
  Layer.effect(
    Transport,
    Effect.map(
      Effect.forEach(layers, (layer) => Effect.map(Layer.build(layer), (context) => Context.get(context, Transport))),
      (transports) => merge(...transports)
    )
  )

// ----------------------------------------------------------------------------
// in memory
// ----------------------------------------------------------------------------

/**
 * Two ends of a connection in memory. Each direction delivers in order and asynchronously, and holds 64 KiB before it
 * makes the writer wait.
 *
 * @category in memory
 * @since 0.1.0
 */
export const makePair: Effect.Effect<readonly [Connection, Connection], never, Scope.Scope> = Effect.suspend(() =>
  Effect.map(
    Effect.acquireRelease(memoryEnds, ([left]) => Effect.sync(() => left.close(new Socket.CloseEvent()))),
    ([left, right]) => [connectionOf(left, "left", "right"), connectionOf(right, "right", "left")] as const
  )
)

const connectionOf = (end: End, local: string, peer: string): Connection => ({
  socket: makeSocket(end),
  local: `ncacn_memory:[${local}]`,
  peer: `ncacn_memory:[${peer}]`
})

const memoryEnds: Effect.Effect<readonly [End, End]> = Effect.withFiber((fiber) => {
  const { currentDispatcher } = fiber
  let open = true
  const ways = [0, 1].map(() => {
    let arriving: Array<() => void> = []
    const outstanding = new Outstanding()
    const incoming = new Incoming((bytes) => outstanding.taken(bytes))
    /** Lets something arrive at the other end, after what was sent before. */
    const send = (arrive: () => void) => {
      if (arriving.push(arrive) > 1) return
      currentDispatcher.scheduleTask(() => {
        const batch = arriving
        arriving = []
        for (const arrive of batch) arrive()
      }, 0)
    }
    return { outstanding, incoming, send }
  }) as [Way, Way]

  const makeEnd = (out: Way, back: Way): End => {
    const end = () => {
      out.outstanding.room.fail(writeFailed(new Error("The connection is closed")))
      out.send(() => out.incoming.end(closed(1000)))
    }
    return {
      incoming: back.incoming,
      end,
      write: (chunks) => {
        if (out.outstanding.room.error !== undefined) return Effect.fail(out.outstanding.room.error)
        for (const chunk of chunks) {
          out.outstanding.bytes += chunk.length
          out.send(() => out.incoming.push(chunk))
        }
        return out.outstanding.wait
      },
      close: (event) => {
        if (!open) return
        open = false
        const error = closed(event.code, event.reason)
        back.outstanding.room.fail(writeFailed(new Error("The connection is closed by the peer")))
        end()
        if (event.code > 1000) out.incoming.fail(error)
        back.incoming.fail(event.code > 1000 ? error : closed(1006))
      }
    }
  }
  const [there, back] = ways
  return Effect.succeed([makeEnd(there, back), makeEnd(back, there)])
})

interface Way {
  readonly outstanding: Outstanding
  readonly incoming: Incoming
  readonly send: (arrive: () => void) => void
}

/**
 * Connections inside one program, for tests: `ncacn_memory:[name]`. Every build of the layer has names of its own.
 *
 * **Example** (A server and a client in memory)
 *
 * ```ts
 * import { StringBinding, Transport } from "@callisto/rpc/transport"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const transport = yield* Transport.Transport
 *   const { address } = yield* transport.listen(
 *     yield* Effect.fromResult(StringBinding.parse("ncacn_memory:[greeter]")),
 *     ({ socket }) => Effect.flatMap(socket.writer, ({ write }) => Effect.ignore(write("hello")))
 *   )
 *   const { socket } = yield* transport.connect(address)
 *   const { pull } = yield* socket.reader
 *   return yield* pull // => the bytes of "hello"
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provide(program, Transport.memory))
 * ```
 *
 * @category in memory
 * @since 0.1.0
 */
export const memory: Layer.Layer<Transport> = Layer.sync(Transport, () => {
  const protocols = ["ncacn_memory"] as const
  const listeners = new Map<string, (connection: Connection, end: End) => void>()
  let clients = 0
  let unnamed = 0
  return {
    protocols,
    connect: (binding) =>
      Effect.acquireRelease(
        Effect.flatMap(memoryEnds, (ends) => {
          if (binding.protocol !== "ncacn_memory") return Effect.fail(unsupported(binding, protocols))
          const accept = listeners.get(binding.endpoint ?? "")
          if (accept === undefined) return Effect.fail(unavailable(`nobody listens on ${print(binding)}`))
          const client = `client ${++clients}`
          const server = binding.endpoint!
          accept(connectionOf(ends[1], server, client), ends[1])
          return Effect.succeed({ connection: connectionOf(ends[0], client, server), end: ends[0] })
        }),
        ({ end }) => Effect.sync(() => end.close(new Socket.CloseEvent()))
      ).pipe(Effect.map(({ connection }) => connection)),
    listen: (binding, handler) =>
      Effect.gen(function* () {
        if (binding.protocol !== "ncacn_memory") return yield* cantListenOn(binding, protocols)
        const name = binding.endpoint ?? `unnamed ${++unnamed}`
        if (listeners.has(name)) return yield* inUse(binding)
        const accept = yield* handlers(handler)
        const stop = Effect.sync(() => {
          if (listeners.get(name) === accept) listeners.delete(name)
        })
        yield* Effect.acquireRelease(Effect.sync(() => listeners.set(name, accept)), () => stop)
        return { address: { ...binding, endpoint: name }, stop }
      })
  }
})

// ----------------------------------------------------------------------------
// message ports
// ----------------------------------------------------------------------------

/**
 * What is needed of a message port: the `MessagePort` of each platform has it, and so have a `Worker` of the web and
 * the global scope of such a worker.
 *
 * @category message ports
 * @since 0.1.0
 */
export interface MessagePortLike {
  // The platforms differ in the types of what is transferred and of the event, which has a field `data`.
  /** Sends a message. */
  postMessage(message: unknown, transfer: Array<any>): void
  /** Adds a listener for messages. */
  addEventListener(type: "message", listener: (event: any) => void): void
  /** Removes a listener. */
  removeEventListener(type: "message", listener: (event: any) => void): void
  /** Delivers the messages that wait; only ports have it. */
  start?(): void
  /** Closes the port; a global scope may lack it. */
  close?(): void
}

/**
 * A connection over a message port, whose other port is a connection on the other side. The port is closed with the
 * scope.
 *
 * **Details**
 *
 * A message is a chunk of bytes, a number (so many of the bytes received were taken), `null` (nothing more is sent), or
 * an array of a close code. A port does not tell that the other side died without closing it.
 *
 * @category message ports
 * @since 0.1.0
 */
export const fromMessagePort = (
  port: MessagePortLike,
  names?: { readonly local?: string; readonly peer?: string }
): Effect.Effect<Connection, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(Effect.sync(() => portEnd(port)), (end) =>
      Effect.sync(() => end.close(new Socket.CloseEvent()))),
    (end) =>
      portConnection(end, names?.local, names?.peer)
  )

const portConnection = (end: End, local: string | undefined, peer: string | undefined): Connection => ({
  socket: makeSocket(end),
  local: `ncacn_messageport:${local === undefined ? "" : `[${local}]`}`,
  peer: `ncacn_messageport:${peer === undefined ? "" : `[${peer}]`}`
})

const portEnd = (port: MessagePortLike): End => {
  let open = true
  let sending = true
  const outstanding = new Outstanding()
  const incoming = new Incoming((bytes) => {
    if (open) port.postMessage(bytes, [])
  })
  const onMessage = ({ data }: { readonly data: unknown }) => {
    if (data instanceof Uint8Array) incoming.push(data)
    else if (typeof data === "number") outstanding.taken(data)
    else if (!Array.isArray(data)) incoming.end(closed(1000))
    else {
      stopSending()
      if (data[0] > 1000) incoming.fail(closed(data[0]))
      else incoming.end(closed(1000))
    }
  }
  const stopSending = () => {
    sending = false
    outstanding.room.fail(writeFailed(new Error("The connection is closed")))
  }
  port.addEventListener("message", onMessage)
  port.start?.()

  return {
    incoming,
    end: () => {
      if (sending) port.postMessage(null, [])
      stopSending()
    },
    write: (chunks) => {
      if (outstanding.room.error !== undefined) return Effect.fail(outstanding.room.error)
      const bytes = gather(chunks)
      // Without a copy the whole buffer behind a view would travel.
      const message = bytes === chunks[0] ? bytes.slice() : bytes
      outstanding.bytes += message.length
      port.postMessage(message, [message.buffer])
      return outstanding.wait
    },
    close: (event) => {
      if (!open) return
      open = false
      port.postMessage([event.code], [])
      stopSending()
      incoming.fail(event.code > 1000 ? closed(event.code, event.reason) : closed(1006))
      port.removeEventListener("message", onMessage)
      port.close?.()
    }
  }
}

declare const MessageChannel: new () => { readonly port1: MessagePortLike; readonly port2: MessagePortLike }

interface Knock {
  readonly callisto: "connect"
  readonly endpoint: string
  readonly port: MessagePortLike
}

const isKnock = (data: unknown): data is Knock =>
  typeof data === "object" && data !== null && "callisto" in data && data.callisto === "connect"

/**
 * Connections to the other side of a message port, a worker for instance: `ncacn_messageport:[name]`.
 *
 * **Details**
 *
 * Each side has this layer, on its port of one channel; both can connect and listen. Each connection gets a channel of
 * its own, so the port itself can be used for other messages too. It is not closed with the layer.
 *
 * **Gotchas**
 *
 * `connect` waits until the other side has its layer. A worker that was terminated never answers: set a timeout.
 *
 * @category message ports
 * @since 0.1.0
 */
export const messagePort = (port: MessagePortLike): Layer.Layer<Transport> =>
  Layer.effect(
    Transport,
    Effect.gen(function* () {
      const protocols = ["ncacn_messageport"] as const
      const listeners = new Map<string, (port: MessagePortLike) => void>()
      const onMessage = ({ data }: { readonly data: unknown }) => {
        if (!isKnock(data)) return
        const accept = listeners.get(data.endpoint)
        if (accept !== undefined) return accept(data.port)
        data.port.postMessage(false, [])
        data.port.close?.()
      }
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          port.addEventListener("message", onMessage)
          port.start?.()
        }),
        () => Effect.sync(() => port.removeEventListener("message", onMessage))
      )

      const dial = (binding: StringBinding) =>
        Effect.callback<End, RpcTransportError>((resume) => {
          const { port1, port2 } = new MessageChannel()
          const onAnswer = ({ data }: { readonly data: unknown }) => {
            port1.removeEventListener("message", onAnswer)
            if (data === true) return resume(Effect.succeed(portEnd(port1)))
            port1.close?.()
            resume(Effect.fail(unavailable(`nobody listens on ${print(binding)}`)))
          }
          port1.addEventListener("message", onAnswer)
          port1.start?.()
          port.postMessage({ callisto: "connect", endpoint: binding.endpoint ?? "", port: port2 } satisfies Knock, [
            port2
          ])
          return Effect.sync(() => port1.close?.())
        })

      return {
        protocols,
        connect: (binding) =>
          binding.protocol !== "ncacn_messageport" ? Effect.fail(unsupported(binding, protocols)) : Effect.map(
            Effect.acquireRelease(dial(binding), (end) => Effect.sync(() => end.close(new Socket.CloseEvent())), {
              interruptible: true
            }),
            (end) => portConnection(end, undefined, binding.endpoint)
          ),
        listen: (binding, handler) =>
          Effect.gen(function* () {
            if (binding.protocol !== "ncacn_messageport") return yield* cantListenOn(binding, protocols)
            const name = binding.endpoint ?? ""
            if (listeners.has(name)) return yield* inUse(binding)
            const run = yield* handlers(handler)
            const accept = (port: MessagePortLike) => {
              const end = portEnd(port)
              port.postMessage(true, [])
              run(portConnection(end, name, undefined), end)
            }
            const stop = Effect.sync(() => {
              if (listeners.get(name) === accept) listeners.delete(name)
            })
            yield* Effect.acquireRelease(Effect.sync(() => listeners.set(name, accept)), () => stop)
            return { address: binding, stop }
          })
      }
    })
  )

// ----------------------------------------------------------------------------
// WebSockets
// ----------------------------------------------------------------------------

/**
 * A connection over a WebSocket that is open or opening. It is closed with the scope.
 *
 * **When to use**
 *
 * Use on a server for the WebSockets that its HTTP server hands over. Clients have the layer {@link webSocket}.
 *
 * **Details**
 *
 * Bytes travel in binary frames; where a frame ends means nothing. A text frame ends the connection. A browser's
 * WebSocket can't be told to stop receiving, so what arrives there is kept until it is read.
 *
 * `Endpoint.handle` serves it, and has the example.
 *
 * @category WebSockets
 * @since 0.1.0
 */
export const fromWebSocket = (
  ws: Socket.WebSocketLike,
  names: { readonly local?: string; readonly peer: string }
): Effect.Effect<Connection, RpcTransportError, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      webSocketEnd(ws, names.peer),
      (end) => Effect.sync(() => end.close(new Socket.CloseEvent())),
      { interruptible: true }
    ),
    (end) => ({ socket: makeSocket(end), local: names.local ?? "ncacn_ws:", peer: names.peer })
  )

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
        if (typeof data === "string") return end.close(new Socket.CloseEvent(1003, "a text frame"))
        incoming.push(data instanceof Uint8Array ? data : new Uint8Array(data as ArrayBuffer))
        if (incoming.size < highWaterMark || paused || ws.pause === undefined) return
        ws.pause()
        paused = true
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
      if (error.reason._tag === "SocketCloseError" && error.reason.code === 1000) incoming.end(error)
      else incoming.fail(error)
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
export const webSocket: Layer.Layer<Transport, never, Socket.WebSocketConstructor> = Layer.effect(
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
          return fromWebSocket(construct(urlOf(binding)), { peer: print(binding), local: `${binding.protocol}:` })
        }),
      listen: (binding) =>
        Effect.fail(
          binding.protocol === "ncacn_ws" || binding.protocol === "ncacn_wss"
            ? cantListen(1703, "an HTTP server accepts WebSockets; give them to fromWebSocket and Endpoint.handle")
            : cantListenOn(binding, protocols)
        )
    }
  })
)

const urlOf = ({ address, endpoint, options, protocol }: StringBinding): string => {
  const host = address === "" ? "localhost" : address.includes(":") ? `[${address}]` : address
  const path = options["path"] ?? "/"
  return `${protocol.slice("ncacn_".length)}://${host}${endpoint === undefined ? "" : `:${endpoint}`}${path}`
}
