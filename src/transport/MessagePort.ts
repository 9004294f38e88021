/**
 * Connections over message ports, to workers for instance: `ncacn_messageport:[name]`.
 *
 * @module
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { RpcTransportError } from "../Status.ts"
import { gather, Incoming, Outstanding } from "./internal/flow.ts"
import { type End, handlers, makeSocket, scopedEnd } from "./internal/sockets.ts"
import { cantListenOn, closed, inUse, unavailable, unsupported, writeFailed } from "./internal/transportErrors.ts"
import { print, type StringBinding } from "./StringBinding.ts"
import { type Connection, Transport } from "./Transport.ts"

/**
 * The needed part of a message port: the `MessagePort` of each platform has it, and so have a `Worker` of the web and
 * the global scope of such a worker.
 *
 * @category models
 * @since 0.1.0
 */
export interface MessagePortLike {
  // The platforms differ in the types of what is transferred and of the event, which has a field `data`.
  /** Sends a message. */
  postMessage(message: unknown, transfer: Array<any>): void
  /** Adds a listener for messages, or for the end of the other side, which not every platform tells. */
  addEventListener(type: "message" | "close", listener: (event: any) => void): void
  /** Removes a listener. */
  removeEventListener(type: "message" | "close", listener: (event: any) => void): void
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
 * an array of a close code.
 *
 * **Gotchas**
 *
 * Node, Deno and Bun tell when the other port is closed or its worker has ended, and the connection ends. Browsers do
 * not: there the `keepAlive` of an association is the only sign.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromMessagePort = (
  port: MessagePortLike,
  names?: {
    /** The name of this side; by default none. */
    readonly local?: string | undefined
    /** The name of the other side; by default none. */
    readonly peer?: string | undefined
  }
): Effect.Effect<Connection, never, Scope.Scope> =>
  Effect.map(
    scopedEnd(Effect.sync(() => portEnd(port))),
    (end) => portConnection(end, names?.local, names?.peer)
  )

const portConnection = (end: End, local: string | undefined, peer: string | undefined): Connection => ({
  socket: makeSocket(end),
  local: `ncacn_messageport:${local === undefined ? "" : `[${local}]`}`,
  peer: `ncacn_messageport:${peer === undefined ? "" : `[${peer}]`}`
})

/** Hears messages, and the end of the other side. Gives what stops it. */
const hear = (port: MessagePortLike, onMessage: (event: any) => void, onClose: () => void): () => void => {
  port.addEventListener("message", onMessage)
  port.addEventListener("close", onClose)
  port.start?.()
  return () => {
    port.removeEventListener("message", onMessage)
    port.removeEventListener("close", onClose)
  }
}

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
      incoming.end(closed(data[0]))
    }
  }
  const onClose = () => {
    release()
    incoming.end(closed(1006, "the other side is gone"))
  }
  const stopSending = () => {
    sending = false
    outstanding.room.fail(writeFailed(new Error("The connection is closed")))
  }
  const release = () => {
    open = false
    stopSending()
    stopHearing()
  }
  const stopHearing = hear(port, onMessage, onClose)

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
      port.postMessage([event.code], [])
      release()
      incoming.fail(closed(event.code > 1000 ? event.code : 1006, event.reason))
      port.close?.()
    }
  }
}

declare const MessageChannel: new () => { readonly port1: MessagePortLike; readonly port2: MessagePortLike }

/** Asks the other side for a connection, over a port of its own. Its answer is `true`, `false`, or `null` for "later". */
interface Knock {
  readonly callisto: "connect"
  readonly endpoint: string
  readonly port: MessagePortLike
}

/** Says that this side has its layer. Workers of the web drop what came before. */
interface Ready {
  readonly callisto: "ready"
}

const isOurs = (data: unknown): data is Knock | Ready => typeof data === "object" && data !== null && "callisto" in data

/**
 * Connections to the other side of a message port, a worker for instance: `ncacn_messageport:[name]`.
 *
 * **Details**
 *
 * Each side has this layer, on its port of one channel; both can connect and listen. Each connection gets a channel of
 * its own, so the port itself can be used for other messages too. It is not closed with the layer.
 *
 * `connect` waits until the other side has its layer and listens under the name. An association waits up to its
 * `connectTimeout`. Where a listener has stopped, `connect` fails at once.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (port: MessagePortLike): Layer.Layer<Transport> => Layer.effect(Transport, make(port))

// So long after the other side has its layer, what it has not acknowledged is lost.
const acknowledgedWithin = 100

const make = (port: MessagePortLike): Effect.Effect<Transport, never, Scope.Scope> =>
  Effect.gen(function* () {
    const protocols = ["ncacn_messageport"] as const
    const listeners = new Map<string, (port: MessagePortLike) => void>()
    /** The names under which nobody listens any more. */
    const stopped = new Set<string>()
    const waiting = new Set<Waiting>()
    const dialling = new Set<() => void>()
    const ended = Deferred.makeUnsafe<void>()
    const onClose = () => Deferred.doneUnsafe(ended, Exit.void)

    const onMessage = ({ data }: { readonly data: unknown }) => {
      if (!isOurs(data)) return
      if (data.callisto === "ready") return dialling.forEach((again) => again())
      const accept = listeners.get(data.endpoint)
      if (accept !== undefined) return accept(data.port)
      if (stopped.has(data.endpoint)) return refuse(data.port)
      data.port.postMessage(null, [])
      wait(waiting, data)
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        const stopHearing = hear(port, onMessage, onClose)
        port.postMessage({ callisto: "ready" } satisfies Ready, [])
        return stopHearing
      }),
      (stopHearing) =>
        Effect.sync(() => {
          stopHearing()
          for (const { leave, port } of waiting) {
            leave()
            refuse(port)
          }
        })
    )

    const dial = (binding: StringBinding): Effect.Effect<End, RpcTransportError> =>
      Effect.suspend(() => {
        const attempt: Attempt = { acknowledged: false }
        const again = Effect.callback<void>((resume) => {
          const onReady = () => resume(Effect.void)
          dialling.add(onReady)
          return Effect.sync(() => dialling.delete(onReady))
        }).pipe(
          Effect.andThen(Effect.sleep(acknowledgedWithin)),
          Effect.flatMap(() => attempt.acknowledged ? Effect.never : dial(binding))
        )
        // A port that is sent to the dead tells nothing on Deno, and in browsers none does.
        const lost = Effect.flatMap(
          Deferred.await(ended),
          () => Effect.fail(unavailable(`${print(binding)}: ${gone}`))
        )
        return Effect.raceAllFirst([lost, knock(port, binding, attempt), again])
      })

    return {
      protocols,
      connect: (binding) =>
        binding.protocol !== "ncacn_messageport" ? Effect.fail(unsupported(binding, protocols)) : Effect.map(
          scopedEnd(dial(binding)),
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
            if (listeners.get(name) !== accept) return
            listeners.delete(name)
            stopped.add(name)
          })
          yield* Effect.acquireRelease(
            Effect.sync(() => {
              listeners.set(name, accept)
              stopped.delete(name)
            }),
            () => stop
          )
          for (const { endpoint, leave, port } of waiting) {
            if (endpoint !== name) continue
            leave()
            accept(port)
          }
          return { address: binding, stop }
        })
    }
  })

/** A client that waits for a listener. */
interface Waiting {
  readonly endpoint: string
  readonly port: MessagePortLike
  readonly leave: () => void
}

const wait = (waiting: Set<Waiting>, { endpoint, port }: Knock): void => {
  const leave = () => {
    waiting.delete(client)
    stopHearing()
  }
  const client = { endpoint, port, leave }
  waiting.add(client)
  // A client that gives up says so.
  const stopHearing = hear(port, leave, leave)
}

const refuse = (port: MessagePortLike): void => {
  port.postMessage(false, [])
  port.close?.()
}

const gone = "the other side of the message port is gone"

interface Attempt {
  acknowledged: boolean
}

const knock = (port: MessagePortLike, binding: StringBinding, attempt: Attempt) =>
  Effect.callback<End, RpcTransportError>((resume) => {
    const { port1, port2 } = new MessageChannel()
    const fail = (problem: string) => {
      release()
      port1.close?.()
      resume(Effect.fail(unavailable(`${print(binding)}: ${problem}`)))
    }
    const onAnswer = ({ data }: { readonly data: unknown }) => {
      attempt.acknowledged = true
      if (data === null) return
      if (data !== true) return fail("nobody listens there any more")
      release()
      resume(Effect.succeed(portEnd(port1)))
    }
    const release = hear(port1, onAnswer, () => fail(gone))
    port.postMessage(
      { callisto: "connect", endpoint: binding.endpoint ?? "", port: port2 } satisfies Knock,
      [port2]
    )
    return Effect.sync(() => {
      release()
      port1.postMessage([1000], [])
      port1.close?.()
    })
  })
