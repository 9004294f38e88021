// Measures calls over TCP on this machine: each contender has a client and a server in processes of their own, and they take turns.
import { Effect, type Scope } from "effect"
import { fileURLToPath } from "node:url"
import { type Missing, rowsOf, type Table, takeTurns, type Turn } from "./measure.ts"
import type { Kind, Latency } from "./network/service.ts"
import type { Answer, Name, Task } from "./network/worker.ts"
import { start } from "./processes.ts"

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
}

export const titles: { readonly [N in Name]: string } = {
  raw: "raw echo over node:net",
  ndr: "Callisto, NDR",
  schemas: "Callisto, ordinary schemas",
  json: "effect/rpc, JSON",
  binary: "effect/rpc, binary",
  capnweb: "Cap'n Web",
  birpc: "birpc",
  byHand: "JSON by hand",
  effectByHand: "Effect by hand"
}

const names = Object.keys(titles) as ReadonlyArray<Name>

type Ask = (name: Name, task: Task) => Effect.Effect<Answer | Missing>

const worker = fileURLToPath(new URL("./network/worker.ts", import.meta.url))

/** Starts a server of each contender, and gives what starts a client of each. */
const startServers: Effect.Effect<
  (among: ReadonlyArray<Name>) => Effect.Effect<Ask, never, Scope.Scope>,
  never,
  Scope.Scope
> = Effect.gen(function* () {
  const ports = new Map<Name, Answer | Missing>()
  for (const name of names) {
    ports.set(name, (yield* start<Task, Answer>(worker, "server", name)).first)
  }
  return (among) =>
    Effect.gen(function* () {
      const clients = new Map<
        Name,
        Effect.Success<ReturnType<typeof start<Task, Answer>>>
      >()
      for (const name of among) {
        const port = ports.get(name)!
        if ("value" in port) {
          clients.set(name, yield* start<Task, Answer>(worker, "client", name, String(port.value)))
        }
      }
      return (name, task) => {
        const { ask, first = ports.get(name)! } = clients.get(name) ?? {}
        return "missing" in first ? Effect.succeed(first) : ask!(task)
      }
    })
})

/** Each is compared with effect/rpc in the form that is faster there. */
const rates: ReadonlyArray<
  {
    readonly id: string
    readonly title: string
    readonly kind: Kind
    readonly inFlight: number
    readonly to: Name
  }
> = [
  { id: "rate64", title: "64 in flight, small arguments", kind: "small", inFlight: 64, to: "json" },
  { id: "rate256", title: "256 in flight, small arguments", kind: "small", inFlight: 256, to: "json" },
  { id: "rate64bytes", title: "64 in flight, 1 KiB of bytes each way", kind: "bytes", inFlight: 64, to: "binary" },
  { id: "rate64text", title: "64 in flight, 1 KiB of text each way", kind: "text", inFlight: 64, to: "json" },
  { id: "rate64shares", title: "64 in flight, ten shares each way", kind: "shares", inFlight: 64, to: "json" }
]

/** The calls that a flooding client keeps in flight. */
const flood = 2000

export const measureNetwork = (effort: Effort): Effect.Effect<ReadonlyArray<Table>> =>
  Effect.gen(function* () {
    const startClients = yield* startServers
    const ask = yield* startClients(names)
    const tables: Array<Table> = []
    const turnsOf = <A>(among: ReadonlyArray<Name>, task: Task, reference: Name | undefined) =>
      among.map((name): Turn<A> => ({
        name: titles[name],
        reference: name === reference || reference === undefined ? undefined : titles[reference],
        perform: ask(name, task) as Turn<A>["perform"]
      }))
    /** Takes turns, and makes a table of the numbers. */
    const tabulate = Effect.fnUntraced(function* (
      table: Omit<Table, "rows">,
      turns: ReadonlyArray<Turn<number>>,
      rounds: number,
      warmUp?: ReadonlyArray<Turn<number>>
    ) {
      const { missing, outcomes } = yield* takeTurns(turns, rounds, warmUp)
      tables.push({ ...table, rows: rowsOf(outcomes, (value) => value), missing })
    })

    const oneByOne: Task = { task: "latency", options: { millis: effort.latencyMillis } }
    const latency = yield* takeTurns(turnsOf<Latency>(names, oneByOne, "raw"), effort.latencyRounds)
    for (const [which, title] of [["median", "median"], ["p99", "99th percentile"]] as const) {
      tables.push({
        id: `latency ${which}`,
        title: `one call at a time, ${title}`,
        unit: "µs",
        rows: rowsOf(latency.outcomes, (latency) => latency[which]),
        missing: latency.missing
      })
    }

    for (const { id, inFlight, kind, title, to } of rates) {
      const turns = (millis: number) =>
        turnsOf<number>(names, { task: "rate", options: { kind, inFlight, millis } }, to)
      const table = { id, title, unit: "calls a second" }
      yield* tabulate(table, turns(effort.millis), effort.rounds, turns(effort.warmUpMillis))
    }

    for (const direction of ["in", "out"] as const) {
      const turns = turnsOf<number>(
        ["ndr", "schemas", "json", "binary", "capnweb"],
        { task: "pipe", direction, options: { bytes: effort.bytes } },
        direction === "in" ? "capnweb" : "binary"
      )
      const title = `bytes to the ${direction === "in" ? "server" : "client"}, 64 KiB at a time`
      const inMegabytes = turns.map(({ perform, ...turn }) => ({
        ...turn,
        perform: Effect.map(perform, (done) => "missing" in done ? done : { value: done.value / 1e6 })
      }))
      yield* tabulate(
        { id: `pipe ${direction}`, title, unit: "MB a second" },
        inMegabytes,
        effort.rounds
      )
    }

    yield* tabulate(
      { id: "cancels", title: "1,000 pending calls cancelled, until both sides are through", unit: "ms" },
      turnsOf<number>(
        ["ndr", "schemas", "json", "binary", "byHand", "effectByHand"],
        { task: "cancels", options: { count: effort.cancels } },
        "byHand"
      ),
      effort.cancelRounds
    )

    // A client makes one call at a time while another keeps thousands in flight.
    const flooded = ["ndr", "schemas", "json", "capnweb", "effectByHand"] as const
    const askFlooder = yield* startClients(flooded)
    const alone = (name: Name): Effect.Effect<{ readonly value: number } | Missing> =>
      Effect.map(ask(name, oneByOne), (done) => "missing" in done ? done : { value: (done.value as Latency).median })
    const beside = (name: Name) => {
      // The flood begins before the calls, and ends after them.
      const millis = effort.latencyMillis + 300
      const calls = Effect.delay(alone(name), 100)
      const flooding = askFlooder(name, { task: "rate", options: { kind: "small", inFlight: flood, millis } })
      return Effect.map(
        Effect.all([calls, flooding], { concurrency: 2 }),
        ([own, other]) => "missing" in other ? other : own
      )
    }
    yield* tabulate(
      {
        id: "flood",
        title: `one call at a time beside a client with ${flood} in flight, median`,
        unit: "µs"
      },
      flooded.flatMap((name): ReadonlyArray<Turn<number>> => [
        { name: `${titles[name]}, alone`, perform: alone(name) },
        {
          name: `${titles[name]}, beside a flood`,
          reference: `${titles[name]}, alone`,
          perform: beside(name)
        }
      ]),
      effort.rounds
    )

    // The last, because the calls stay pending.
    const pending: Task = { task: "memory", options: { count: effort.pending } }
    const title = "client's heap of a pending call, without the fiber that waits for it"
    yield* tabulate(
      { id: "memory", title, unit: "bytes" },
      turnsOf<number>(names.filter((name) => name !== "raw"), pending, undefined),
      1,
      []
    )
    return tables
  }).pipe(Effect.scoped)
