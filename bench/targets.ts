// What is wanted of the figures.
import type { Row, Spread, Table, Target } from "./measure.ts"

const percent = (ratio: number) => (100 * (1 - ratio)).toFixed(1)

const rowsOf = (tables: ReadonlyArray<Table>, id: string): ReadonlyArray<Row> =>
  tables.find((table) => table.id === id)?.rows ?? []

const ours = (tables: ReadonlyArray<Table>, id: string): ReadonlyArray<Row> =>
  rowsOf(tables, id).filter(({ name }) => name.startsWith("Callisto"))

const atLeast = (name: string, wanted: number, { median }: Spread): Target => ({
  name,
  wanted: `at least ${wanted}`,
  measured: median.toFixed(2),
  met: median >= wanted
})

const atMost = (name: string, wanted: number, { median }: Spread, unit = ""): Target => ({
  name,
  wanted: `at most ${wanted}${unit}`,
  measured: `${median.toFixed(median < 10 ? 2 : 0)}${unit}`,
  met: median <= wanted
})

const pipeTargets = (tables: ReadonlyArray<Table>, direction: string): ReadonlyArray<Target> => {
  const rows = rowsOf(tables, `pipe ${direction}`)
  const rpc = rows.filter(({ name }) => name.startsWith("effect/rpc")).map(({ value }) => value.median)
  return ours(tables, `pipe ${direction}`).flatMap(({ name, ratio, value: { median, ...rest } }) => [
    atLeast(`${name}, ${direction} pipe, against the raw copy`, name.includes("NDR") ? 0.25 : 0.5, ratio!),
    ...(rpc.length === 0 ? [] : [
      atLeast(`${name}, ${direction} pipe, against effect/rpc`, 3, { ...rest, median: median / Math.max(...rpc) })
    ])
  ])
}

export const targetsOf = (tables: ReadonlyArray<Table>): ReadonlyArray<Target> => [
  ...rowsOf(tables, "local calls").flatMap(({ name, ratio, reference, target }) =>
    target === undefined || ratio === undefined ? [] : [atLeast(`${name}, against ${reference}`, target, ratio)]
  ),
  ...rowsOf(tables, "local pipes").filter(({ name }) => name.includes("pipe")).map(({ name, value }): Target => ({
    name: `chunks a second, ${name}`,
    wanted: "at least 1,000,000",
    measured: Math.round(value.median).toLocaleString("en-US"),
    met: value.median >= 1e6
  })),
  ...rowsOf(tables, "overhead").slice(-1).map(({ ratio }): Target => ({
    name: "cost of spans and metrics that are off",
    wanted: "at most 3%",
    measured: `${percent(ratio!.median)}% (${percent(ratio!.max)} to ${
      percent(ratio!.min)
    }% from one third of the processes to another)`,
    met: ratio!.median >= 0.97
  })),
  ...rowsOf(tables, "local memory").slice(2, 3).map(({ value }) =>
    atMost("heap of a pending call in one process beyond its fibers", 614, value, " bytes")
  ),
  ...rowsOf(tables, "imports").slice(1, 2).map(({ value }) =>
    atMost("importing the core, after effect", 15, value, " ms")
  ),
  ...ours(tables, "rate64").map(({ name, ratio }) => atLeast(`${name}, 64 in flight, against effect/rpc`, 2, ratio!)),
  ...ours(tables, "latency median").map(({ name, ratio }) =>
    atMost(`${name}, one call at a time, against the raw echo`, 1.2, ratio!)
  ),
  ...pipeTargets(tables, "in"),
  ...pipeTargets(tables, "out"),
  ...ours(tables, "cancels").map(({ name, ratio }) => atMost(`${name}, against effect/rpc`, 1, ratio!)),
  // Chance is allowed half as much again.
  ...rowsOf(tables, "scale").flatMap(({ name, ratio, reference }) =>
    ratio === undefined ? [] : [atMost(`${name}, against ${reference}`, 1.5, ratio)]
  ),
  ...ours(tables, "memory").map(({ name, value }) =>
    atMost(`${name}: client's heap beyond the fiber`, 1024, value, " bytes")
  )
]
