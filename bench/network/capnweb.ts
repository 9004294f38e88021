// Cap'n Web over TCP: its own JSON, a message a line. What was called can't be cancelled.
import { Effect } from "effect"
import { load, promisedRoutines } from "./peers.ts"
import { chunk, type Contender, makePromisedClient, type Promised, type Shares, timePipe } from "./service.ts"
import { dial, lines, serve } from "./sockets.ts"

interface CapnWeb {
  readonly RpcTarget: new () => object
  readonly RpcSession: new <Remote>(transport: {
    readonly send: (message: string) => void
    readonly receive: () => Promise<string>
  }, main?: object) => { getRemoteMain(): Remote }
}

interface Remote extends Promised {
  readonly Store: (content: ReadableStream<Uint8Array>) => Promise<number>
  readonly Load: (bytes: number) => Promise<ReadableStream<Uint8Array>>
}

const makeTransport = (conn: Parameters<typeof lines>[0]) => {
  const messages: Array<string> = []
  let resolve: ((message: string) => void) | undefined
  const send = lines(conn, (message) => {
    if (resolve === undefined) messages.push(message)
    else resolve(message)
    resolve = undefined
  })
  return {
    send,
    receive: (): Promise<string> =>
      messages.length > 0 ? Promise.resolve(messages.shift()!) : new Promise((next) => resolve = next)
  }
}

const chunksOf = (bytes: number) => {
  let left = bytes
  return new ReadableStream<Uint8Array>({
    pull: (controller) => {
      if (left === 0) return controller.close()
      left -= chunk.length
      controller.enqueue(chunk.slice())
    }
  })
}

const sizeOf = async (content: ReadableStream<Uint8Array>): Promise<number> => {
  let size = 0
  for await (const { length } of content) size += length
  return size
}

const makeMain = ({ RpcTarget }: CapnWeb) =>
  new class extends RpcTarget {
    AddOne(n: number) {
      return promisedRoutines.AddOne(n)
    }
    Echo(bytes: Uint8Array) {
      return bytes
    }
    EchoText(text: string) {
      return text
    }
    EchoShares(shares: Shares) {
      return shares
    }
    Wait() {
      return promisedRoutines.Wait()
    }
    Started(count: number) {
      return promisedRoutines.Started(count)
    }
    Ended(count: number) {
      return promisedRoutines.Ended(count)
    }
    Store(content: ReadableStream<Uint8Array>) {
      return sizeOf(content)
    }
    Load(bytes: number) {
      return chunksOf(bytes)
    }
  }()

export const capnweb: Contender = {
  serve: Effect.flatMap(
    Effect.promise(() => load("capnweb")),
    (library: CapnWeb) => serve((conn) => new library.RpcSession(makeTransport(conn), makeMain(library)))
  ),
  connect: (port) =>
    Effect.gen(function* () {
      const library: CapnWeb = yield* Effect.promise(() => load("capnweb"))
      const remote = new library.RpcSession<Remote>(
        makeTransport(yield* dial(port))
      ).getRemoteMain()
      return {
        ...makePromisedClient(remote),
        pipes: {
          in: timePipe((bytes) => Effect.promise(() => remote.Store(chunksOf(bytes)))),
          out: timePipe((bytes) => Effect.promise(async () => sizeOf(await remote.Load(bytes))))
        }
      }
    })
}
