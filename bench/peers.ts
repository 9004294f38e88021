// Peers in one process: what they make of a call where nothing is sent.
import { Effect } from "effect"
import type { Contender } from "./measure.ts"
import { load } from "./network/peers.ts"

/** Who has no form for one process. */
export const missing: ReadonlyArray<string> = ["grpc-js (has a network alone)"]

const loopOf = (addOne: (n: number) => Promise<number>): Contender["loop"] => (n) =>
  Effect.promise(async () => {
    for (let i = 0; i < n; i++) await addOne(i)
  })

/** birpc: messages are given to the other side as they are. */
const birpc = async (): Promise<Contender> => {
  const { createBirpc } = await load("birpc")
  const receivers: Array<(message: unknown) => void> = []
  const makeSide = (functions: object, index: number) =>
    createBirpc(functions, {
      post: (message: unknown) => receivers[1 - index]!(message),
      on: (receive: (message: unknown) => void) => receivers[index] = receive,
      timeout: -1
    })
  makeSide({ addOne: (n: number) => n + 1 }, 0)
  const client = makeSide({}, 1)
  return { name: "birpc, invoke", loop: loopOf((n) => client.addOne(n)) }
}

/** Cap'n Web: messages are values that could be cloned, and are not. */
const capnweb = async (): Promise<Contender> => {
  const { RpcSession, RpcTarget } = await load("capnweb")
  const inboxes = [0, 1].map(() => {
    const messages: Array<unknown> = []
    let resolve: ((message: unknown) => void) | undefined
    return {
      put: (message: unknown) => {
        if (resolve === undefined) messages.push(message)
        else resolve(message)
        resolve = undefined
      },
      receive: () => messages.length > 0 ? Promise.resolve(messages.shift()) : new Promise((next) => resolve = next)
    }
  })
  const transport = (index: number) => ({
    encodingLevel: "structuredClonable",
    send: (message: unknown) => inboxes[1 - index]!.put(message),
    receive: inboxes[index]!.receive
  })
  const main = new class extends RpcTarget {
    addOne(n: number) {
      return n + 1
    }
  }()
  new RpcSession(transport(0), main)
  const client = new RpcSession(transport(1)).getRemoteMain()
  return { name: "Cap'n Web, invoke", loop: loopOf((n) => client.addOne(n)) }
}

const makeAll = async (): Promise<ReadonlyArray<Contender>> => {
  const made = await Promise.allSettled([birpc(), capnweb()])
  return made.flatMap((one) => one.status === "fulfilled" ? [one.value] : [])
}

export const makeContenders: Effect.Effect<ReadonlyArray<Contender>> = Effect.promise(makeAll)
