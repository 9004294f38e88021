// A server or a client in a process of its own. It is told what to do by lines of JSON, and answers each with one;
// it ends with its input.
//
//   node bench/network/worker.ts server CONTENDER
//   node bench/network/worker.ts client CONTENDER PORT
import { Cause, Effect } from "effect"
import process from "node:process"
import { createInterface } from "node:readline"
import type { Missing } from "../measure.ts"
import { birpc } from "./birpc.ts"
import { byHand } from "./byHand.ts"
import * as Callisto from "./callisto.ts"
import { capnweb } from "./capnweb.ts"
import { effectByHand } from "./effectByHand.ts"
import * as EffectRpc from "./effectRpc.ts"
import { raw } from "./raw.ts"
import type { Client, Contender, Latency, RateOptions } from "./service.ts"

const contenders = {
  raw,
  ndr: Callisto.ndr,
  integrity: Callisto.integrity,
  privacy: Callisto.privacy,
  schemas: Callisto.schemas,
  json: EffectRpc.json,
  binary: EffectRpc.binary,
  capnweb,
  birpc,
  byHand,
  effectByHand
} satisfies Record<string, Contender>

export type Name = keyof typeof contenders

/** What a client is told. */
export type Task =
  | { readonly task: "rate"; readonly options: RateOptions }
  | { readonly task: "latency"; readonly options: { readonly millis: number } }
  | {
    readonly task: "pipe"
    readonly direction: "in" | "out"
    readonly options: { readonly bytes: number }
  }
  | { readonly task: "login" }
  | {
    readonly task: "cancels" | "memory"
    readonly options: { readonly count: number }
  }

/** The port of a server, or what a client has measured. */
export type Answer = { readonly value: number | Latency } | Missing

const perform = (
  task: Task,
  client: Client
): Effect.Effect<number | Latency, unknown> | undefined => {
  switch (task.task) {
    case "rate":
      return client.rate?.(task.options)
    case "latency":
      return client.latency?.(task.options)
    case "login":
      return client.login
    case "pipe":
      return client.pipes?.[task.direction]?.(task.options)
    default:
      return client[task.task]?.(task.options)
  }
}

const toAnswer = Effect.matchCause({
  onSuccess: (value: number | Latency): Answer => ({ value }),
  onFailure: (cause: Cause.Cause<unknown>): Answer => {
    const error = Cause.squash(cause)
    return {
      missing: (error instanceof Error ? error.message : String(error)).split(
        "\n"
      )[0]!
    }
  }
})

const say = (answer: Answer) =>
  Effect.callback<void>((resume) => {
    process.stdout.write(`${JSON.stringify(answer)}\n`, () => resume(Effect.void))
  })

const [role, name, port] = process.argv.slice(2)
const contender: Contender = contenders[name as Name]

const main = Effect.gen(function* () {
  const lines = createInterface({ input: process.stdin })
    [Symbol.asyncIterator]()
  let client: Client = {}
  const connect = Effect.map(contender.connect(Number(port)), (connected) => {
    client = connected
    return Number(port)
  })
  const first = yield* toAnswer(role === "server" ? contender.serve : connect)
  yield* say(first)
  while (!("missing" in first)) {
    const { done, value } = yield* Effect.promise(() => lines.next())
    if (done) return
    const answer = perform(JSON.parse(value), client) ??
      Effect.fail(new Error("has none"))
    yield* say(yield* toAnswer(answer))
  }
}).pipe(Effect.scoped)

await Effect.runPromise(main)
process.exit()
