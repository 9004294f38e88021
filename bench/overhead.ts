// What spans, metrics and observers cost while they are off: the library beside a copy of it without them. No two processes compile
// the same program alike, and the second of two builds in one process fares worse than the first: so each measurement has a
// process of its own, the builds take turns, and only the medians of many processes are compared.
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { plain, withoutObservability } from "./builds.ts"
import { type Row, spread } from "./measure.ts"

export interface Effort {
  /** How many processes measure each build. */
  readonly processes: number
  /** How many turns a process makes. */
  readonly turns: number
  /** How many calls make one turn. */
  readonly calls: number
}

// It is measured twice: the difference is chance.
const reference = "without spans, metrics and observers"

const worker = fileURLToPath(new URL("./overheadWorker.ts", import.meta.url))

/** Calls a second, in a fresh process of this runtime. */
const measureOnce = (build: URL, { calls, turns }: Effort): number => {
  const args = [...process.execArgv, worker, build.href, String(turns), String(calls)]
  const deno = process.versions["deno"] === undefined ? [] : ["run", "-A"]
  const { status, stderr, stdout } = spawnSync(process.execPath, [...deno, ...args], { encoding: "utf8" })
  if (status !== 0) throw new Error(`bench/overhead.ts: a process ended with ${status}\n${stderr}`)
  return Number(stdout)
}

/** A ratio is that of the medians of all processes; its spread is that of the medians of each third of them. */
export const measureOverhead = (effort: Effort): Effect.Effect<ReadonlyArray<Row>> =>
  Effect.sync(() => {
    const without = withoutObservability()
    const builds = [without, without, plain()]
    const rates = builds.map((): Array<number> => [])
    for (let i = 0; i < effort.processes; i++) {
      for (let k = 0; k < builds.length; k++) {
        const turn = (i + k) % builds.length
        rates[turn]!.push(measureOnce(builds[turn]!, effort))
      }
    }
    const [first, second, library] = rates as [Array<number>, Array<number>, Array<number>]
    const both = [...first, ...second]
    const ratioOf = (own: Array<number>, other: Array<number>) => {
      const thirds = [0, 1, 2].map((third) => {
        const part = (values: Array<number>) =>
          spread(values.filter((_, i) => i % 3 === third || values.length < 6)).median
        return part(own) / part(other)
      })
      return { ...spread(thirds), median: spread(own).median / spread(other).median }
    }
    return [
      { name: reference, value: spread(first) },
      { name: "the same again", reference, value: spread(second), ratio: ratioOf(second, first) },
      { name: "with all three, off", reference, value: spread(library), ratio: ratioOf(library, both) }
    ]
  })
