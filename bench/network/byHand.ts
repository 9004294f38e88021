// What somebody writes who needs no library: JSON, a message a line, a table of promises by number, and a message that cancels. Bytes travel in
// base64; nothing is checked.
import { Effect, type Fiber } from "effect"
import { inBase64, promisedRoutines } from "./peers.ts"
import { type Contender, makePromisedClient, routines, serviceOf, timeCancels, toService } from "./service.ts"
import { dial, lines, serve } from "./sockets.ts"

type Request = readonly [id: number, method: keyof typeof functions, argument: unknown]

const functions = { ...promisedRoutines, Echo: (base64: string) => base64 }

/** A request is its number, its method and its argument; a number alone cancels. A reply is a number and a result. */
const answer = (conn: Parameters<typeof lines>[0]): void => {
  const waiting = new Map<number, Fiber.Fiber<void>>()
  const send = lines(conn, (line) => {
    const message: number | Request = JSON.parse(line)
    if (typeof message === "number") {
      waiting.get(message)?.interruptUnsafe()
      waiting.delete(message)
      return
    }
    const [id, method, argument] = message
    if (method === "Wait") {
      waiting.set(id, Effect.runFork(routines.Wait()))
      return
    }
    const reply = (result: unknown) => send(JSON.stringify([id, result]))
    const result = functions[method](argument as never)
    if (result instanceof Promise) result.then(reply)
    else reply(result)
  })
}

class Cancelled extends Error {}

interface Settle {
  readonly resolve: (result: unknown) => void
  readonly reject: (error: Cancelled) => void
}

const call = (conn: Parameters<typeof lines>[0]) => {
  const pending = new Map<number, Settle>()
  let last = 0
  const send = lines(conn, (line) => {
    const [id, result] = JSON.parse(line)
    const settle = pending.get(id)
    pending.delete(id)
    settle?.resolve(result)
  })
  return (method: keyof typeof functions, argument?: unknown) => {
    const id = ++last
    const promise = new Promise<any>((resolve, reject) => {
      pending.set(id, { resolve, reject })
    })
    send(JSON.stringify([id, method, argument]))
    const cancel = () => {
      const settle = pending.get(id)
      if (settle === undefined) return
      pending.delete(id)
      send(String(id))
      settle.reject(new Cancelled())
    }
    return { promise, cancel }
  }
}

export const byHand: Contender = {
  serve: serve(answer),
  connect: (port) =>
    Effect.map(dial(port), (conn) => {
      const begin = call(conn)
      const service = inBase64(serviceOf((method, argument) => begin(method, argument).promise))
      return {
        ...makePromisedClient(service),
        cancels: timeCancels(
          toService(service),
          (count) => Effect.sync(() => Array.from({ length: count }, () => begin("Wait"))),
          (calls) =>
            Effect.promise(() => {
              for (const { cancel } of calls) cancel()
              return Promise.allSettled(calls.map(({ promise }) => promise))
            })
        )
      }
    })
}
