// Measures much of everything between two processes: whether each of many takes as long as each of few.
import { Effect } from "effect"
import { fileURLToPath } from "node:url"
import type { Table } from "./measure.ts"
import { compare, type Outcomes, start, takeTurns, type Turn } from "./processes.ts"
import type { Answer, Task, What } from "./scaleWorker.ts"

const worker = fileURLToPath(new URL("./scaleWorker.ts", import.meta.url))

/** So many of each are made. The first of them is what the others are compared with. */
const counts: ReadonlyArray<readonly [What, ReadonlyArray<number>]> = [
  ["connections", [1000, 3000, 10_000]],
  ["pending calls", [10_000, 30_000, 100_000]],
  ["methods", [10, 100, 1000]],
  ["bytes", [1 << 22, 1 << 24, 1 << 26]]
]

const nameOf = (what: What, count: number): string => {
  const number = count.toLocaleString("en-US")
  switch (what) {
    case "connections":
      return `${number} connections to one server, each`
    case "pending calls":
      return `${number} pending calls over 100 connections, begun and cancelled, each`
    case "methods":
      return `an interface with ${number} methods, made, bound and called, each`
    case "bytes":
      return `a call with ${count >> 20} MiB of arguments, each MiB`
  }
}

export interface Effort {
  readonly rounds: number
  /** What part of all that is made. */
  readonly part: number
}

/** Each kind has processes of its own: what one leaves to the garbage collector does not slow the next. */
const measureKind = (
  what: What,
  all: ReadonlyArray<number>,
  { part, rounds }: Effort
): Effect.Effect<Outcomes<number>> =>
  Effect.gen(function* () {
    const { first } = yield* start<Task, Answer>(worker, "server")
    const { ask } = yield* start<Task, Answer>(worker, "client", "missing" in first ? "" : String(first.value))
    const turns = all.map((whole): Turn<number> => {
      const count = what === "methods" ? whole : Math.ceil(whole * part)
      const units = what === "bytes" ? count / (1 << 20) : count
      return {
        name: nameOf(what, whole),
        reference: whole === all[0] ? undefined : nameOf(what, all[0]!),
        perform: Effect.map(
          ask({ what, count }),
          (answer) => "missing" in answer ? answer : { value: answer.value * 1000 / units }
        )
      }
    })
    return yield* takeTurns(turns, rounds)
  }).pipe(Effect.scoped)

export const measureScale = (effort: Effort): Effect.Effect<Table> =>
  Effect.gen(function* () {
    const kinds = yield* Effect.forEach(counts, ([what, all]) => measureKind(what, all, effort))
    return {
      id: "scale",
      title: "much of everything, client and server in processes of their own",
      unit: "µs",
      rows: kinds.flatMap(({ outcomes }) => compare(outcomes, (micros) => micros)),
      missing: kinds.flatMap(({ missing }) => missing)
    }
  })
