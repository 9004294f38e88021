// birpc over TCP: JSON, a message a line. It has no bytes, so they travel in base64; it has no streams, and no call can be cancelled.
import { Effect } from "effect"
import { fromBase64, load, promisedRoutines, toBase64 } from "./peers.ts"
import { type Contender, makePromisedClient, type Promised } from "./service.ts"
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
      return makePromisedClient({
        AddOne: (n) => remote.AddOne(n),
        Echo: async (bytes) => fromBase64(await remote.Echo(toBase64(bytes) as never)),
        EchoText: (text) => remote.EchoText(text),
        EchoShares: (shares) => remote.EchoShares(shares),
        Wait: () => remote.Wait(),
        Started: (count) => remote.Started(count),
        Ended: (count) => remote.Ended(count)
      })
    })
}
