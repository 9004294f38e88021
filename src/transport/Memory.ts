/**
 * Connections in memory, for tests: `ncacn_memory:[name]`.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Incoming, Outstanding } from "./internal/flow.ts"
import { type End, handlers, makeSocket, scopedEnd } from "./internal/sockets.ts"
import { cantListenOn, closed, inUse, unavailable, unsupported, writeFailed } from "./internal/transportErrors.ts"
import { print } from "./StringBinding.ts"
import { type Connection, Transport } from "./Transport.ts"

/**
 * Two ends of a connection in memory. Each direction delivers in order and asynchronously, and holds 64 KiB before it
 * makes the writer wait.
 *
 * @category in memory
 * @since 0.1.0
 */
export const makePair: Effect.Effect<readonly [Connection, Connection], never, Scope.Scope> = Effect.suspend(() =>
  Effect.flatMap(memoryEnds, ([left, right]) =>
    Effect.as(
      scopedEnd(Effect.succeed(left)),
      [connectionOf(left, "left", "right"), connectionOf(right, "right", "left")] as const
    ))
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
    const end = (error = closed(1000)) => {
      out.outstanding.room.fail(writeFailed(new Error("The connection is closed")))
      out.send(() => out.incoming.end(error))
    }
    return {
      incoming: back.incoming,
      end: () => end(),
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
        back.outstanding.room.fail(writeFailed(new Error("The connection is closed by the peer")))
        end(closed(event.code, event.reason))
        back.incoming.fail(closed(event.code > 1000 ? event.code : 1006, event.reason))
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
 * import { Memory, StringBinding, Transport } from "@callisto/rpc/transport"
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
 * await Effect.runPromise(Effect.provide(program, Memory.layer))
 * ```
 *
 * @category in memory
 * @since 0.1.0
 */
export const layer: Layer.Layer<Transport> = Layer.sync(Transport, () => {
  const protocols = ["ncacn_memory"] as const
  const listeners = new Map<string, (connection: Connection, end: End) => void>()
  let clients = 0
  let unnamed = 0
  return {
    protocols,
    connect: (binding) =>
      Effect.map(
        scopedEnd(Effect.uninterruptible(Effect.flatMap(memoryEnds, ([end, served]) => {
          if (binding.protocol !== "ncacn_memory") return Effect.fail(unsupported(binding, protocols))
          const accept = listeners.get(binding.endpoint ?? "")
          if (accept === undefined) return Effect.fail(unavailable(`nobody listens on ${print(binding)}`))
          const client = `client ${++clients}`
          const server = binding.endpoint!
          accept(connectionOf(served, server, client), served)
          return Effect.succeed({ ...end, connection: connectionOf(end, client, server) })
        }))),
        ({ connection }) => connection
      ),
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
