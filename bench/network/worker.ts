// A server or a client in a process of its own. It is told what to do by lines of JSON, and answers each with one;
// it ends with its input.
//
//   node bench/network/worker.ts server CONTENDER
//   node bench/network/worker.ts client CONTENDER PORT
import { Effect } from "effect"
import process from "node:process"
import { createInterface } from "node:readline"
import * as Callisto from "./callisto.ts"
import * as EffectRpc from "./effectRpc.ts"
import { copy, raw } from "./raw.ts"
import { bytesPending, type Client, type Contender, type Direction, type Latency, type RateOptions } from "./service.ts"

const contenders = {
  raw,
  copy,
  json: EffectRpc.json,
  binary: EffectRpc.binary,
  ndr: Callisto.ndr,
  schemas: Callisto.schemas
} satisfies Record<string, Contender>

export type Name = keyof typeof contenders

/** What a client is told. */
export type Task =
  | { readonly task: "rate"; readonly options: RateOptions }
  | { readonly task: "latency"; readonly options: { readonly millis: number } }
  | { readonly task: "pipe"; readonly direction: Direction; readonly options: { readonly bytes: number } }
  | { readonly task: "cancels"; readonly how: string; readonly options: { readonly count: number } }
  | { readonly task: "memory"; readonly how: string; readonly options: { readonly count: number } }

export type Answer = number | Latency

const main = (role: string, { connect, serve }: Contender, port: number) =>
  Effect.gen(function* () {
    const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
    const client = role === "server" ? undefined : yield* connect(port)
    const say = (answer: Answer) => process.stdout.write(`${JSON.stringify(answer)}\n`)
    say(client === undefined ? yield* serve : port)
    while (true) {
      const { done, value } = yield* Effect.promise(() => lines.next())
      if (done) process.exit()
      say(yield* perform(JSON.parse(value), client!, connect(port)))
    }
  }).pipe(Effect.scoped)

const perform = (
  task: Task,
  client: Client,
  connect: ReturnType<Contender["connect"]>
): Effect.Effect<Answer, unknown> => {
  switch (task.task) {
    case "rate":
      return client.rate!(task.options)
    case "latency":
      return client.latency!(task.options)
    case "pipe":
      return client.pipes![task.direction]!(task.options)
    case "cancels":
      return client.cancels![task.how]!(task.options)
    case "memory":
      return bytesPending(task.options.count, connect, task.how)
  }
}

const [role, name, port] = process.argv.slice(2)

await Effect.runPromise(main(role!, contenders[name as Name], Number(port)))
