// Measures calls over TCP on this machine: each contender has a client and a server in processes of their own, and they take turns.
import { Effect, type Scope } from "effect"
import { fileURLToPath } from "node:url"
import { gc, runtime, type Table } from "./measure.ts"
import type { Latency } from "./network/service.ts"
import type { Answer, Name, Task } from "./network/worker.ts"
import { compare, type Missing, start, takeTurns, type Turn } from "./processes.ts"

export interface Effort {
  readonly rounds: number
  /** How long one contender runs in one round. */
  readonly millis: number
  readonly warmUpMillis: number
  /** One call at a time varies most: it has more rounds, which are shorter. */
  readonly latencyRounds: number
  readonly latencyMillis: number
  /** How many bytes go through a pipe. */
  readonly bytes: number
  /** How many calls are cancelled. */
  readonly cancels: number
  /** A storm of cancels takes some milliseconds, and what it runs through is warm only after many. */
  readonly cancelRounds: number
  /** How many calls are left pending. */
  readonly pending: number
  readonly memoryRounds: number
}

const titles: { readonly [N in Name]: string } = {
  raw: "raw echo over node:net",
  copy: "raw copy over node:net",
  ndr: "Callisto, NDR",
  schemas: "Callisto, ordinary schemas",
  ndrTraced: "Callisto, NDR, tracing on",
  schemasTraced: "Callisto, ordinary schemas, tracing on",
  json: "effect/rpc, JSON",
  binary: "effect/rpc, binary",
  traced: "effect/rpc, JSON, tracing on",
  capnweb: "Cap'n Web",
  birpc: "birpc",
  byHand: "JSON by hand",
  grpc: "grpc-js"
}

const names = Object.keys(titles) as ReadonlyArray<Name>

const worker = fileURLToPath(new URL("./network/worker.ts", import.meta.url))

type Ask = (name: Name, task: Task) => Effect.Effect<Answer | Missing>

/** Starts a server and a client of everyone. */
const startAll: Effect.Effect<Ask, never, Scope.Scope> = Effect.gen(function* () {
  const clients = new Map<Name, Ask>()
  for (const name of names) {
    const { first: port } = yield* start<Task, Answer>(worker, "server", name)
    if ("missing" in port) {
      clients.set(name, () => Effect.succeed(port))
      continue
    }
    const { ask, first } = yield* start<Task, Answer>(worker, "client", name, String(port.value))
    clients.set(name, "missing" in first ? () => Effect.succeed(first) : (_, task) => ask(task))
  }
  return (name, task) => clients.get(name)!(name, task)
})

interface Workload {
  readonly id: string
  readonly title: string
  readonly large: boolean
  readonly inFlight: number
  readonly reference: Name
}

/** Each is compared with effect/rpc in the form that is faster there. */
const rates: ReadonlyArray<Workload> = [
  { id: "rate64", title: "64 in flight, small arguments", large: false, inFlight: 64, reference: "json" },
  { id: "rate256", title: "256 in flight, small arguments", large: false, inFlight: 256, reference: "json" },
  { id: "rate64large", title: "64 in flight, 1 KiB there and back", large: true, inFlight: 64, reference: "binary" },
  { id: "rate256large", title: "256 in flight, 1 KiB there and back", large: true, inFlight: 256, reference: "binary" }
]

/** With a tracer, and those that they are compared with. */
const tracedOf: { readonly [N in Name]?: Name } = { ndrTraced: "ndr", schemasTraced: "schemas", traced: "json" }
const traced = names.filter((name) => tracedOf[name] !== undefined)

const untraced = names.filter((name) => name !== "copy" && name !== "raw" && !traced.includes(name))
const callers: ReadonlyArray<Name> = ["raw", ...untraced]
const streamers: ReadonlyArray<Name> = ["copy", ...untraced]

export const measureNetwork = (effort: Effort): Effect.Effect<ReadonlyArray<Table>> =>
  Effect.gen(function* () {
    const ask = yield* startAll
    const turnsOf = <A>(among: ReadonlyArray<Name>, task: Task, reference: Name): ReadonlyArray<Turn<A>> =>
      among.map((name) => ({
        name: titles[name],
        reference: name === reference ? undefined : titles[tracedOf[name] ?? reference],
        perform: ask(name, task) as Turn<A>["perform"]
      }))
    const tables: Array<Table> = []

    // One call at a time.
    const oneByOne = turnsOf<Latency>(callers, { task: "latency", options: { millis: effort.latencyMillis } }, "raw")
    const latency = yield* takeTurns(oneByOne, effort.latencyRounds)
    for (const [which, title] of [["median", "median"], ["p99", "99th percentile"]] as const) {
      tables.push({
        id: `latency ${which}`,
        title: `one call at a time, ${title}`,
        unit: "µs",
        rows: compare(latency.outcomes, (latency) => latency[which]),
        missing: latency.missing
      })
    }

    // Many at once.
    for (const { id, inFlight, large, reference, title } of rates) {
      const among = id === "rate64" ? [...callers, ...traced] : callers
      const turns = (millis: number) =>
        turnsOf<number>(among, { task: "rate", options: { large, inFlight, millis } }, reference)
      const { missing, outcomes } = yield* takeTurns(turns(effort.millis), effort.rounds, turns(effort.warmUpMillis))
      tables.push({ id, title, unit: "calls a second", rows: compare(outcomes, (rate) => rate), missing })
    }

    // Pipes.
    for (const direction of ["in", "out"] as const) {
      const turns = turnsOf<number>(streamers, { task: "pipe", direction, options: { bytes: effort.bytes } }, "copy")
      const { missing, outcomes } = yield* takeTurns(turns, effort.rounds)
      tables.push({
        id: `pipe ${direction}`,
        title: `bytes to the ${direction === "in" ? "server" : "client"}, 64 KiB at a time`,
        unit: "MB a second",
        rows: compare(outcomes, (bytes) => bytes / 1e6),
        missing
      })
    }

    // Cancellation.
    const cancelling = (name: Name, how: string): Turn<number> => ({
      name: `${titles[name]}, ${how}`,
      reference: name === "byHand" ? undefined : `${titles.byHand}, interrupted`,
      perform: ask(name, { task: "cancels", how, options: { count: effort.cancels } }) as Turn<number>["perform"]
    })
    const cancels = yield* takeTurns([
      ...untraced.filter((name) => name !== "grpc").map((name) => cancelling(name, "interrupted")),
      cancelling("ndr", "cancelled, replies awaited"),
      cancelling("schemas", "cancelled, replies awaited"),
      cancelling("grpc", "cancelled")
    ], effort.cancelRounds)
    tables.push({
      id: "cancels",
      title: "1,000 pending calls cancelled, until both sides are through",
      unit: "ms",
      rows: compare(cancels.outcomes, (millis) => millis),
      missing: cancels.missing
    })

    // Memory.
    if (gc === undefined || !runtime.startsWith("Node")) return tables
    const holding = (of: "client" | "server", name: Name, how: string): Turn<number> => ({
      name: `${titles[name]}, ${how}`,
      perform: ask(name, { task: "memory", of, how, options: { count: effort.pending } }) as Turn<number>["perform"]
    })
    const memory = yield* takeTurns(
      [...untraced.map((name) => holding("client", name, "in one shot")), holding("client", "ndr", "on a call object")],
      effort.memoryRounds,
      []
    )
    tables.push({
      id: "memory",
      title: "client's heap of a pending call, without the fiber that waits for it",
      unit: "bytes",
      rows: compare(memory.outcomes, (bytes) => bytes),
      missing: memory.missing
    })
    const serverMemory = yield* takeTurns(
      (["ndr", "schemas", "json", "binary"] as const).map((name) => holding("server", name, "in one shot")),
      effort.memoryRounds,
      []
    )
    tables.push({
      id: "server memory",
      title: "server's heap of a pending call, with the fiber of its routine",
      unit: "bytes",
      rows: compare(serverMemory.outcomes, (bytes) => bytes),
      missing: serverMemory.missing
    })
    return tables
  }).pipe(Effect.scoped)
