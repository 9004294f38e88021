// Rounds, medians, ratios and tables.
import { Effect } from "effect"
import process from "node:process"
import v8 from "node:v8"
import vm from "node:vm"

/** Something to be measured: `loop(n)` does it `n` times inside the fiber that runs it. */
export interface Contender {
  readonly name: string
  /** The name of the row to compare with. */
  readonly reference?: string | undefined
  /** The ratio to the reference that we want at least. */
  readonly target?: number
  /** How many calls one turn of the loop makes; by default 1. */
  readonly callsPerLoop?: number
  readonly loop: (n: number) => Effect.Effect<unknown, unknown>
}

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

export interface Row {
  readonly name: string
  readonly value: Spread
  /** The row that it is compared with. */
  readonly reference?: string | undefined
  /** The value by that of the reference in the same round. */
  readonly ratio?: Spread | undefined
  /** The ratio that we want at least. */
  readonly target?: number | undefined
}

/** What was measured in turns. */
export interface Table {
  /** By which others find it. */
  readonly id: string
  readonly title: string
  readonly unit: string
  readonly rows: ReadonlyArray<Row>
  /** Who has no row, and why. */
  readonly missing?: ReadonlyArray<string>
}

export interface Effort {
  readonly rounds: number
  /** How long one contender runs in one round. */
  readonly millis: number
}

export const runtime = process.versions["deno"] !== undefined
  ? `Deno ${process.versions["deno"]}`
  : process.versions["bun"] !== undefined
  ? `Bun ${process.versions["bun"]}`
  : `Node ${process.versions.node}`

const findGc = (): (() => void) | undefined => {
  const global = globalThis as { gc?: () => void; Bun?: { gc: (force: boolean) => void } }
  if (global.gc !== undefined) return global.gc
  if (global.Bun !== undefined) return () => global.Bun!.gc(true)
  if (process.versions["deno"] !== undefined) return undefined
  v8.setFlagsFromString("--expose-gc")
  return vm.runInNewContext("gc") as () => void
}

/** Collects all garbage; missing where the runtime can't be made to. */
export const gc: (() => void) | undefined = findGc()

export const spread = (values: ReadonlyArray<number>): Spread => {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (i: number) => sorted[i]!
  const middle = (sorted.length - 1) / 2
  return {
    median: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    min: at(0),
    max: at(sorted.length - 1)
  }
}

const time = (contender: Contender, n: number): Effect.Effect<number, unknown> =>
  Effect.gen(function* () {
    const start = performance.now()
    yield* contender.loop(n)
    return performance.now() - start
  })

/** Runs a contender until it is compiled, and finds how many times it runs in `millis`. */
const warmUp = (contender: Contender, millis: number): Effect.Effect<number, unknown> =>
  Effect.gen(function* () {
    let n = 1
    while ((yield* time(contender, n)) < millis / 2) n *= 2
    let took = Infinity
    for (let i = 0; i < 3; i++) took = Math.min(took, yield* time(contender, n))
    return Math.max(1, Math.round(n * millis / took))
  })

/** Measures contenders round by round, each once in each round; every round starts with another one. */
export const measure = (
  contenders: ReadonlyArray<Contender>,
  { millis, rounds }: Effort
): Effect.Effect<ReadonlyArray<Row>, unknown> =>
  Effect.gen(function* () {
    const sizes = new Map<Contender, number>()
    for (const contender of contenders) sizes.set(contender, yield* warmUp(contender, millis))
    // Once more, now that the code they share has met them all.
    for (const contender of contenders) sizes.set(contender, yield* warmUp(contender, millis))

    const rates = new Map<string, Array<number>>(contenders.map(({ name }) => [name, []]))
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < contenders.length; i++) {
        const contender = contenders[(round + i) % contenders.length]!
        const n = sizes.get(contender)!
        const calls = n * (contender.callsPerLoop ?? 1)
        rates.get(contender.name)!.push(calls * 1000 / (yield* time(contender, n)))
      }
    }

    return contenders.map(({ name, reference, target }): Row => {
      const own = rates.get(name)!
      const others = reference === undefined ? undefined : rates.get(reference)
      return {
        name,
        reference,
        target,
        value: spread(own),
        ratio: others === undefined ? undefined : spread(own.map((rate, round) => rate / others[round]!))
      }
    })
  })

export const significant = (value: number): string => Number(value.toPrecision(3)).toLocaleString("en-US")

export const fixed = ({ max, median, min }: Spread, digits: number): string =>
  `${median.toFixed(digits)} (${min.toFixed(digits)} to ${max.toFixed(digits)})`

/** The table in Markdown. */
export const markdown = ({ missing = [], rows, title, unit }: Table): string =>
  [
    `| ${title} | ${unit} | lowest to highest | ratio (lowest to highest) | to |`,
    "| --- | ---: | ---: | ---: | --- |",
    ...rows.map(({ name, ratio, reference, value }) =>
      `| ${name} | ${significant(value.median)} | ${significant(value.min)} to ${significant(value.max)} | ${
        ratio === undefined ? "" : fixed(ratio, ratio.median > 0.9 && ratio.median < 1.1 ? 3 : 2)
      } | ${reference ?? ""} |`
    ),
    ...(missing.length === 0 ? [] : ["", `Missing: ${missing.join("; ")}.`])
  ].join("\n")

/** What was wanted of a number, what it is, and whether that will do. */
export interface Target {
  readonly name: string
  readonly wanted: string
  readonly measured: string
  readonly met: boolean | undefined
}

export const verdict = ({ measured, met, name, wanted }: Target): string =>
  `- ${name}: ${measured}, wanted ${wanted}: ${met === undefined ? "not measured" : met ? "met" : "missed"}`
