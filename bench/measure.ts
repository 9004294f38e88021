// Rounds, medians, ratios and tables.
import { Effect } from "effect"
import process from "node:process"
import v8 from "node:v8"
import vm from "node:vm"

export const runtime = process.versions["deno"] !== undefined
  ? `Deno ${process.versions["deno"]}`
  : process.versions["bun"] !== undefined
  ? `Bun ${process.versions["bun"]}`
  : `Node ${process.versions.node}`

const findGc = (): (() => void) | undefined => {
  const { Bun, gc } = globalThis as {
    gc?: () => void
    Bun?: { gc: (force: boolean) => void }
  }
  if (gc !== undefined || process.versions["deno"] !== undefined) return gc
  if (Bun !== undefined) return () => Bun.gc(true)
  v8.setFlagsFromString("--expose-gc")
  return vm.runInNewContext("gc") as () => void
}

/** Collects all garbage; missing where the runtime can't be made to. */
export const gc: (() => void) | undefined = findGc()

// ----------------------------------------------------------------------------
// numbers
// ----------------------------------------------------------------------------

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

export const spread = (values: ReadonlyArray<number>): Spread => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  return {
    median: (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2,
    min: sorted[0]!,
    max: sorted.at(-1)!
  }
}

export const significant = (value: number): string => Number(value.toPrecision(3)).toLocaleString("en-US")

export const fixed = ({ max, median, min }: Spread, digits: number): string =>
  `${median.toFixed(digits)} (${min.toFixed(digits)} to ${max.toFixed(digits)})`

// ----------------------------------------------------------------------------
// rounds
// ----------------------------------------------------------------------------

/** Why there is no number. */
export interface Missing {
  readonly missing: string
}

/** One contender's part of each round. */
export interface Turn<A> {
  readonly name: string
  /** The name of the turn to compare with. */
  readonly reference?: string | undefined
  readonly perform: Effect.Effect<{ readonly value: A } | Missing>
}

export interface Outcome<A> extends Omit<Turn<A>, "perform"> {
  readonly values: ReadonlyArray<A>
}

export interface Outcomes<A> {
  readonly outcomes: ReadonlyArray<Outcome<A>>
  readonly missing: ReadonlyArray<string>
}

/** Performs every turn once in each round; every round starts with another one. A turn that fails once is left out. */
export const takeTurns = <A>(
  turns: ReadonlyArray<Turn<A>>,
  rounds: number,
  warmUp: ReadonlyArray<Turn<A>> = turns
): Effect.Effect<Outcomes<A>> =>
  Effect.gen(function* () {
    const missing = new Map<string, string>()
    const values = new Map<string, Array<A>>(
      turns.map(({ name }) => [name, []])
    )
    const perform = Effect.fnUntraced(
      function* ({ name, perform }: Turn<A>, counts: boolean) {
        if (missing.has(name)) return
        const answer = yield* perform
        if ("missing" in answer) missing.set(name, answer.missing)
        else if (counts) values.get(name)!.push(answer.value)
      }
    )
    for (const turn of warmUp) yield* perform(turn, false)
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < turns.length; i++) {
        yield* perform(turns[(round + i) % turns.length]!, true)
      }
    }
    return {
      outcomes: turns
        .filter(({ name }) => !missing.has(name))
        .map(({ name, reference }) => ({
          name,
          reference,
          values: values.get(name)!
        })),
      missing: [...missing].map(([name, why]) => `${name} (${why})`)
    }
  })

// ----------------------------------------------------------------------------
// tables
// ----------------------------------------------------------------------------

export interface Row {
  readonly name: string
  readonly value: Spread
  /** The row that it is compared with. */
  readonly reference?: string | undefined
  /** The value by that of the reference in the same round. */
  readonly ratio?: Spread | undefined
}

export interface Table {
  readonly id: string
  readonly title: string
  readonly unit: string
  readonly rows: ReadonlyArray<Row>
  /** The contenders without a row, and why. */
  readonly missing?: ReadonlyArray<string>
}

/** The rows of what `of` finds in each value. */
export const rowsOf = <A>(
  outcomes: ReadonlyArray<Outcome<A>>,
  of: (value: A) => number
): ReadonlyArray<Row> =>
  outcomes.map(({ name, reference, values }): Row => {
    const own = values.map(of)
    const others = outcomes.find((other) => other.name === reference)?.values
      .map(of)
    return {
      name,
      value: spread(own),
      ...(others === undefined ? {} : {
        reference,
        ratio: spread(own.map((value, round) => value / others[round]!))
      })
    }
  })

/** The table in Markdown. */
export const markdown = ({ missing = [], rows, title, unit }: Table): string =>
  [
    `| ${title} | ${unit} | lowest to highest | ratio (lowest to highest) | to |`,
    "| --- | ---: | ---: | ---: | --- |",
    ...rows.map(({ name, ratio, reference = "", value }) =>
      `| ${name} | ${significant(value.median)} | ${significant(value.min)} to ${significant(value.max)} | ${
        ratio === undefined ? "" : fixed(ratio, 2)
      } | ${reference} |`
    ),
    ...(missing.length === 0 ? [] : ["", `Missing: ${missing.join("; ")}.`])
  ].join("\n")
