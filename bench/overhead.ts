// What spans and metrics cost while they are off: the library beside a copy of it without them. Each build runs in a process
// of its own, because a compiler treats the first of two builds in one process better than the second. The processes take
// turns, and are started anew several times, because no two of them are compiled alike.
import { Effect } from "effect"
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { plain, withoutObservability } from "./builds.ts"
import { type Row, runtime, spread } from "./measure.ts"

export interface Effort {
  readonly generations: number
  readonly rounds: number
  /** How many calls make one turn. */
  readonly calls: number
}

// It runs twice: the difference is chance.
const reference = "without spans and metrics"

const warmUp = 30

// Nothing goes on beside the program or depends on chance: otherwise two processes that run the same program differ by 10
// percent and more. The compilers stay those that everybody gets: with fewer of them the chance is smaller, but the ratio is
// another one.
const execArgv = runtime.startsWith("Node")
  ? [
    "--no-concurrent-recompilation",
    "--single-threaded-gc",
    "--min-semi-space-size=16",
    "--hash-seed=1",
    "--random-seed=1"
  ]
  : []

const worker = fileURLToPath(new URL("./overheadWorker.ts", import.meta.url))

const start = (build: URL): ChildProcess => fork(worker, [build.href], { execArgv })

/** Makes so many calls in a worker, and gives how many milliseconds that took. */
const turn = (worker: ChildProcess, calls: number): Promise<number> =>
  new Promise((resolve, reject) => {
    const failed = () => reject(new Error("bench/overhead.ts: a worker ended"))
    worker.once("exit", failed)
    worker.once("message", (millis) => {
      worker.off("exit", failed)
      resolve(millis as number)
    })
    worker.send(calls)
  })

const stop = (worker: ChildProcess): Promise<unknown> =>
  new Promise((resolve) => {
    worker.once("exit", resolve)
    worker.disconnect()
  })

/** The numbers below `n`, from another one on each time, and every other time backwards. */
const shifted = (n: number, time: number): Array<number> => {
  const numbers = Array.from({ length: n }, (_, i) => (i + time) % n)
  return time % 2 === 0 ? numbers : numbers.reverse()
}

const measureGeneration = async (
  builds: ReadonlyArray<URL>,
  { calls, rounds }: Effort
): Promise<Array<Array<number>>> => {
  const workers = builds.map(start)
  try {
    const rates = builds.map((): Array<number> => [])
    for (let round = -warmUp; round < rounds; round++) {
      for (const k of shifted(workers.length, round + warmUp)) {
        const millis = await turn(workers[k]!, calls)
        if (round >= 0) rates[k]!.push(calls * 1000 / millis)
      }
    }
    return rates
  } finally {
    await Promise.all(workers.map(stop))
  }
}

/**
 * A ratio is the median of one generation of processes; its spread is that between the generations. The library is compared
 * with the mean of the other two.
 */
export const measureOverhead = (effort: Effort): Effect.Effect<ReadonlyArray<Row>> =>
  Effect.promise(async () => {
    const without = withoutObservability()
    const builds = [without, without, plain()]
    const rates = builds.map((): Array<number> => [])
    const again: Array<number> = []
    const library: Array<number> = []
    for (let generation = 0; generation < effort.generations; generation++) {
      const measured = await measureGeneration(builds, effort)
      measured.forEach((own, k) => rates[k]!.push(...own))
      const [a, b, c] = measured as [Array<number>, Array<number>, Array<number>]
      again.push(spread(a.map((rate, round) => b[round]! / rate)).median)
      library.push(spread(a.map((rate, round) => c[round]! / ((rate + b[round]!) / 2))).median)
    }
    return [
      { name: reference, reference: undefined, target: undefined, rate: spread(rates[0]!), ratio: undefined },
      { name: "the same again", reference, target: undefined, rate: spread(rates[1]!), ratio: spread(again) },
      { name: "with both, off", reference, target: undefined, rate: spread(rates[2]!), ratio: spread(library) }
    ]
  })
