// Measures calls over TCP on this machine: each contender has a client and a server in processes of their own, and they take turns.
import { Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import process from "node:process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { fixed, gc, type Row, runtime, significant, type Spread, spread, table, type Target } from "./measure.ts"
import type { Latency } from "./network/service.ts"
import type { Answer, Name, Task } from "./network/worker.ts"

export interface Effort {
  readonly rounds: number
  /** How long one contender runs in one round. */
  readonly millis: number
  readonly warmUpMillis: number
  /** One call at a time varies most: it has more rounds, which are shorter. */
  readonly latencyRounds: number
  readonly latencyMillis: number
  /** How many calls are cancelled. */
  readonly cancels: number
  /** How many calls are left pending. */
  readonly pending: number
}

/** Something of which less is better. */
export interface Measured {
  readonly name: string
  readonly value: Spread
  /** The value by that of the reference in the same round. */
  readonly ratio: Spread | undefined
  readonly reference: string | undefined
}

export interface Network {
  readonly rates: ReadonlyArray<{ readonly title: string; readonly rows: ReadonlyArray<Row> }>
  readonly latency: ReadonlyArray<Measured>
  readonly cancels: ReadonlyArray<Measured>
  readonly memory: ReadonlyArray<Measured> | undefined
}

// ----------------------------------------------------------------------------
// processes
// ----------------------------------------------------------------------------

const titles: { readonly [N in Name]: string } = {
  raw: "raw echo over node:net",
  json: "effect/rpc, JSON",
  binary: "effect/rpc, binary",
  ndr: "Callisto, NDR",
  schemas: "Callisto, ordinary schemas",
  copy: "raw copy over node:net"
}

const worker = fileURLToPath(new URL("./network/worker.ts", import.meta.url))

/** Starts a worker; gives what it says first, and a function that asks it for more. It ends with the scope. */
const start = (...args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const deno = process.versions["deno"] === undefined ? [] : ["run", "-A"]
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [...deno, ...process.execArgv, worker, ...args], { stdio: ["pipe", "pipe", "inherit"] })
      ),
      (child) =>
        Effect.promise(async () => {
          child.stdin.end()
          if (child.exitCode === null) await once(child, "exit")
        })
    )
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const next = Effect.promise(async () => {
      const { done, value } = await lines.next()
      if (done) throw new Error(`bench/network.ts: ${args.join(" ")} ended`)
      return JSON.parse(value) as Answer
    })
    const ask = (task: Task): Effect.Effect<Answer> =>
      Effect.suspend(() => {
        child.stdin.write(`${JSON.stringify(task)}\n`)
        return next
      })
    return { first: yield* next, ask }
  })

interface Runner {
  readonly name: Name
  readonly ask: (task: Task) => Effect.Effect<Answer>
}

export const startBoth = (name: Name): Effect.Effect<Runner, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { first: port } = yield* start("server", name)
    const { ask } = yield* start("client", name, String(port))
    return { name, ask }
  })

// ----------------------------------------------------------------------------
// rounds
// ----------------------------------------------------------------------------

interface Turn<A> {
  readonly name: string
  readonly reference: string | undefined
  readonly perform: Effect.Effect<A>
}

interface Outcome<A> extends Turn<A> {
  readonly values: ReadonlyArray<A>
}

/** Everyone has a turn in each round; every round starts with another one. */
export const takeTurns = <A>(turns: ReadonlyArray<Turn<A>>, rounds: number): Effect.Effect<ReadonlyArray<Outcome<A>>> =>
  Effect.gen(function* () {
    const outcomes = turns.map((turn) => ({ ...turn, values: [] as Array<A> }))
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < outcomes.length; i++) {
        const outcome = outcomes[(round + i) % outcomes.length]!
        outcome.values.push(yield* outcome.perform)
      }
    }
    return outcomes
  })

/** Compares what `of` finds in each value with what it finds in that of the reference in the same round. */
const compare = <A>(outcomes: ReadonlyArray<Outcome<A>>, of: (value: A) => number) =>
  outcomes.map(({ name, reference, values }) => {
    const own = values.map(of)
    const others = outcomes.find((other) => other.name === reference)?.values.map(of)
    return {
      name,
      reference,
      value: spread(own),
      ratio: others === undefined ? undefined : spread(own.map((value, round) => value / others[round]!))
    }
  })

/** Each is compared with effect/rpc in the form that is faster there. */
const workloads = [
  { title: "64 in flight, small arguments", large: false, inFlight: 64, reference: "json" },
  { title: "256 in flight, small arguments", large: false, inFlight: 256, reference: "json" },
  { title: "64 in flight, 1 KiB there and back", large: true, inFlight: 64, reference: "binary" }
] as const

export const measureNetwork = (effort: Effort): Effect.Effect<Network> =>
  Effect.gen(function* () {
    const runners = yield* Effect.forEach(["raw", "json", "binary", "ndr", "schemas"] as const, startBoth)
    const ask = (name: Name, task: Task) => runners.find((runner) => runner.name === name)!.ask(task)
    const everyone = <A extends Answer>(task: Task, reference: Name): ReadonlyArray<Turn<A>> =>
      runners.map(({ ask, name }) => ({
        name: titles[name],
        reference: name === reference ? undefined : titles[reference],
        perform: ask(task) as Effect.Effect<A>
      }))

    const rates: Array<Network["rates"][number]> = []
    for (const { inFlight, large, reference, title } of workloads) {
      const turns = (millis: number) =>
        everyone<number>({ task: "rate", options: { large, inFlight, millis } }, reference)
      yield* takeTurns(turns(effort.warmUpMillis), 1)
      const rows = compare(yield* takeTurns(turns(effort.millis), effort.rounds), (rate) => rate)
      rates.push({ title, rows: rows.map(({ value, ...row }) => ({ ...row, target: undefined, rate: value })) })
    }

    const oneByOne = everyone<Latency>({ task: "latency", options: { millis: effort.latencyMillis } }, "raw")
    yield* takeTurns(oneByOne, 1)
    const latencies = yield* takeTurns(oneByOne, effort.latencyRounds)
    const percentile = (which: keyof Latency, title: string) =>
      compare(latencies, (latency) => latency[which]).map((row): Measured => ({
        ...row,
        name: `${row.name}, ${title}`
      }))

    const cancelling = (name: Name, how: string): Turn<number> => ({
      name: `${titles[name]}, ${how}`,
      reference: name === "binary" ? undefined : `${titles.binary}, interrupted`,
      perform: ask(name, { task: "cancels", how, options: { count: effort.cancels } }) as Effect.Effect<number>
    })
    const cancels = [
      cancelling("json", "interrupted"),
      cancelling("binary", "interrupted"),
      cancelling("ndr", "interrupted"),
      cancelling("schemas", "interrupted"),
      cancelling("ndr", "cancelled, replies awaited"),
      cancelling("schemas", "cancelled, replies awaited")
    ]
    yield* takeTurns(cancels, 3)

    const holding = (name: Name, how: string): Turn<number> => ({
      name: `${titles[name]}, ${how}`,
      reference: undefined,
      perform: ask(name, { task: "memory", how, options: { count: effort.pending } }) as Effect.Effect<number>
    })
    const holds = [
      holding("json", "in one shot"),
      holding("ndr", "in one shot"),
      holding("ndr", "on a call object")
    ]
    const canMeasureMemory = gc !== undefined && runtime.startsWith("Node")

    return {
      rates,
      latency: [...percentile("median", "median"), ...percentile("p99", "99th percentile")],
      cancels: compare(yield* takeTurns(cancels, effort.rounds), (millis) => millis),
      memory: canMeasureMemory ? compare(yield* takeTurns(holds, effort.rounds), (bytes) => bytes) : undefined
    }
  }).pipe(Effect.scoped)

// ----------------------------------------------------------------------------
// tables and targets
// ----------------------------------------------------------------------------

const measuredTable = (title: string, unit: string, rows: ReadonlyArray<Measured>): string =>
  [
    `| ${title} | ${unit} | min..max | ratio (min..max) | to |`,
    "|---|---:|---:|---:|---|",
    ...rows.map(({ name, ratio, reference, value }) =>
      `| ${name} | ${significant(value.median)} | ${significant(value.min)}..${significant(value.max)} | ${
        ratio === undefined ? "" : fixed(ratio, 2)
      } | ${reference ?? ""} |`
    )
  ].join("\n")

export const networkTables = ({ cancels, latency, memory, rates }: Network): ReadonlyArray<string> => [
  ...rates.map(({ rows, title }) => table(title, rows)),
  measuredTable("one call at a time", "µs", latency),
  measuredTable("1,000 pending calls cancelled, until both sides are through", "ms", cancels),
  memory === undefined
    ? `Heap of a pending call: not measured on ${runtime}.`
    : measuredTable("client's heap of a pending call, beyond a fiber that waits", "bytes", memory)
]

export const networkTargets = ({ cancels, latency, memory, rates }: Network): ReadonlyArray<Target> => {
  const ours = <R extends { readonly name: string }>(rows: ReadonlyArray<R>) =>
    rows.filter(({ name }) => name.startsWith("Callisto"))
  return [
    ...ours(rates[0]!.rows).map(({ name, ratio }): Target => ({
      name: `${name}, 64 in flight, against effect/rpc`,
      wanted: "at least 2",
      measured: ratio!.median.toFixed(2),
      met: ratio!.median >= 2
    })),
    ...ours(latency).filter(({ name }) => name.endsWith("median")).map(({ name, ratio }): Target => ({
      name: `${name} of one call at a time, against the raw echo`,
      wanted: "at most 1.2",
      measured: ratio!.median.toFixed(2),
      met: ratio!.median <= 1.2
    })),
    ...ours(cancels).map(({ name, ratio }): Target => ({
      name: `${name}, against effect/rpc`,
      wanted: "less than 1",
      measured: ratio!.median.toFixed(2),
      met: ratio!.median < 1
    })),
    ...(memory === undefined ? [] : ours(memory)).map(({ name, value }): Target => ({
      name: `${name}: client's heap beyond the fiber`,
      wanted: "at most 1 KiB",
      measured: `${(value.median / 1024).toFixed(2)} KiB`,
      met: value.median <= 1024
    }))
  ]
}
