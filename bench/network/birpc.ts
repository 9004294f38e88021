// birpc over TCP: JSON, a message a line. It has no bytes, so they travel in base64; it has no streams, and no call can be cancelled.
import { Effect } from "effect"
import { inBase64, load, promisedRoutines } from "./peers.ts"
import { type Contender, makePromisedClient, type Promised, serviceOf } from "./service.ts"
import { dial, lines, serve } from "./sockets.ts"

interface Birpc {
  readonly createBirpc: <Remote>(functions: object, options: {
    readonly post: (message: string) => void
    readonly on: (receive: (message: string) => void) => void
    readonly serialize: (message: unknown) => string
    readonly deserialize: (message: string) => unknown
    readonly timeout: number
  }) => Remote
}

const makeSide = <Remote>({ createBirpc }: Birpc, functions: object, conn: Parameters<typeof lines>[0]) => {
  let receive: (message: string) => void
  const send = lines(conn, (message) => receive(message))
  return createBirpc<Remote>(functions, {
    post: send,
    on: (handler) => {
      receive = handler
    },
    serialize: JSON.stringify,
    deserialize: JSON.parse,
    // No timer for each call.
    timeout: -1
  })
}

const functions = { ...promisedRoutines, Echo: (base64: string) => base64 }

export const birpc: Contender = {
  serve: Effect.flatMap(
    Effect.promise(() => load("birpc")),
    (library) => serve((conn) => makeSide(library, functions, conn))
  ),
  connect: (port) =>
    Effect.gen(function* () {
      const library = yield* Effect.promise(() => load("birpc"))
      const remote = makeSide<Promised>(library, {}, yield* dial(port))
      return makePromisedClient(inBase64(serviceOf((method, argument) => remote[method](argument as never))))
    })
}
