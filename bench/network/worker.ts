// A server or a client in a process of its own. It is told what to do by lines of JSON, and answers each with one;
// it ends with its input.
//
//   node bench/network/worker.ts server CONTENDER
//   node bench/network/worker.ts client CONTENDER PORT
import { Cause, Effect } from "effect"
import process from "node:process"
import { createInterface } from "node:readline"
import type { Missing } from "../processes.ts"
import { birpc } from "./birpc.ts"
import { byHand } from "./byHand.ts"
import * as Callisto from "./callisto.ts"
import { capnweb } from "./capnweb.ts"
import * as EffectRpc from "./effectRpc.ts"
import { grpc } from "./grpc.ts"
import { copy, raw } from "./raw.ts"
import {
  bytesPending,
  type Client,
  type Contender,
  type Direction,
  type Latency,
  type RateOptions,
  serverBytesPending
} from "./service.ts"

const contenders = {
  raw,
  copy,
  ndr: Callisto.ndr,
  schemas: Callisto.schemas,
  ndrTraced: Callisto.ndrTraced,
  schemasTraced: Callisto.schemasTraced,
  json: EffectRpc.json,
  binary: EffectRpc.binary,
  traced: EffectRpc.traced,
  capnweb,
  birpc,
  byHand,
  grpc
} satisfies Record<string, Contender>

export type Name = keyof typeof contenders

/** What a client is told. */
export type Task =
  | { readonly task: "rate"; readonly options: RateOptions }
  | { readonly task: "latency"; readonly options: { readonly millis: number } }
  | { readonly task: "pipe"; readonly direction: Direction; readonly options: { readonly bytes: number } }
  | { readonly task: "cancels"; readonly how: string; readonly options: { readonly count: number } }
  | {
    readonly task: "memory"
    readonly of: "client" | "server"
    readonly how: string
    readonly options: { readonly count: number }
  }

/** The port of a server; what a client has measured; or why there is neither. */
export type Answer = { readonly value: number | Latency } | Missing

const main = (role: string, { connect, serve }: Contender, port: number) =>
  Effect.gen(function* () {
    const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
    const say = (answer: Answer) => process.stdout.write(`${JSON.stringify(answer)}\n`)
    let client: Client | undefined
    if (role === "server") say({ value: yield* serve })
    else {
      client = yield* connect(port)
      say({ value: port })
    }
    while (true) {
      const { done, value } = yield* Effect.promise(() => lines.next())
      if (done) process.exit()
      say(
        yield* perform(JSON.parse(value), client!, connect(port)).pipe(
          Effect.map((value): Answer => ({ value })),
          Effect.catchCause((cause) => Effect.succeed<Answer>({ missing: sentence(cause) }))
        )
      )
    }
  }).pipe(
    Effect.scoped,
    Effect.catchCause((cause) =>
      Effect.callback<void>((resume) => {
        process.stdout.write(`${JSON.stringify({ missing: sentence(cause) })}\n`, () => resume(Effect.void))
      })
    )
  )

const sentence = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return (error instanceof Error ? error.message : String(error)).split("\n")[0]!
}

const hasNone = (what: string) => Effect.fail(new Error(`has no ${what}`))

const perform = (
  task: Task,
  client: Client,
  connect: ReturnType<Contender["connect"]>
): Effect.Effect<number | Latency, unknown> => {
  switch (task.task) {
    case "rate":
      return client.rate?.(task.options) ?? hasNone("calls")
    case "latency":
      return client.latency?.(task.options) ?? hasNone("calls")
    case "pipe":
      return client.pipes?.[task.direction]?.(task.options) ?? hasNone(`streams ${task.direction}`)
    case "cancels":
      return client.cancels?.[task.how]?.(task.options) ?? hasNone("cancellation")
    case "memory":
      return client.leavePending?.[task.how] === undefined
        ? hasNone("calls")
        : (task.of === "client" ? bytesPending : serverBytesPending)(task.options.count, connect, task.how)
  }
}

const [role, name, port] = process.argv.slice(2)

await Effect.runPromise(main(role!, contenders[name as Name], Number(port)))
process.exit()
