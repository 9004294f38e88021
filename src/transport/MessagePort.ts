/**
 * Connections over message ports, to workers for instance: `ncacn_messageport:[name]`.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import type { RpcTransportError } from "../Status.ts"
import { gather, Incoming, Outstanding } from "./internal/flow.ts"
import { type End, handlers, makeSocket } from "./internal/sockets.ts"
import { cantListenOn, closed, inUse, unavailable, unsupported, writeFailed } from "./internal/transportErrors.ts"
import { print, type StringBinding } from "./StringBinding.ts"
import { type Connection, Transport } from "./Transport.ts"

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
export const layer = (port: MessagePortLike): Layer.Layer<Transport> =>
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
