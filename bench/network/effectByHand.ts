// What somebody writes with Effect who needs no library: JSON, a message a line, one callback a call, one fiber a handler, and the
// messages of a turn in one write. Nothing is checked, and nothing is bounded.
import { Effect, Exit, type Fiber } from "effect"
import { fromBase64, toBase64 } from "./peers.ts"
import { type Contender, makeClient, routines, serviceOf } from "./service.ts"
import { dial, lines, serve } from "./sockets.ts"

const handlers: {
  readonly [method: string]: (argument: never) => Effect.Effect<unknown>
} = { ...routines, Echo: (base64: string) => Effect.succeed(base64) }

/** A request is its number, its method and its argument; a number alone cancels. A reply is a number and a result. */
const answer = (conn: Parameters<typeof lines>[0]): void => {
  const fibers = new Map<number, Fiber.Fiber<unknown>>()
  const send = lines(conn, (line) => {
    const [id, method, argument] = JSON.parse(line)
    if (method === undefined) return fibers.get(id)?.interruptUnsafe()
    const fiber = Effect.runFork(handlers[method]!(argument as never))
    fibers.set(id, fiber)
    fiber.addObserver((exit) => {
      fibers.delete(id)
      if (Exit.isSuccess(exit)) send(JSON.stringify([id, exit.value]))
    })
  })
}

const connect = (conn: Parameters<typeof lines>[0]) => {
  const pending = new Map<number, (result: unknown) => void>()
  let last = 0
  const send = lines(conn, (line) => {
    const [id, result] = JSON.parse(line)
    const succeed = pending.get(id)
    pending.delete(id)
    succeed?.(result)
  })
  return (method: string, argument?: unknown) =>
    Effect.callback<any>((resume) => {
      const id = ++last
      pending.set(id, (result) => resume(Effect.succeed(result)))
      send(JSON.stringify([id, method, argument]))
      return Effect.sync(() => {
        pending.delete(id)
        send(`[${id}]`)
      })
    })
}

export const effectByHand: Contender = {
  serve: serve(answer),
  connect: (port) =>
    Effect.map(dial(port), (conn) => {
      const call = connect(conn)
      const echo = (bytes: Uint8Array) => Effect.map(call("Echo", toBase64(bytes)), fromBase64)
      return makeClient({ ...serviceOf(call), Echo: echo })
    })
}
