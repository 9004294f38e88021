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

/** How the medians of two rows compare. */
const beside = (tables: ReadonlyArray<Table>, id: string, name: string, other: string): Spread | undefined => {
  const [row, reference] = [name, other].map((wanted) => rowsOf(tables, id).find(({ name }) => name === wanted))
  return row === undefined || reference === undefined
    ? undefined
    : { ...row.value, median: row.value.median / reference.value.median }
}

/** The targets that could be measured. */
const known = (targets: ReadonlyArray<Target | undefined>): ReadonlyArray<Target> =>
  targets.filter((target) => target !== undefined)

const atLeastBeside = (tables: ReadonlyArray<Table>, id: string, name: string, other: string, wanted: number) => {
  const ratio = beside(tables, id, name, other)
  const what = rateNames[id]
  return ratio && atLeast(`${name}${what === undefined ? "" : `, ${what}`}, against ${other}`, wanted, ratio)
}

const rateNames: { readonly [id: string]: string | undefined } = {
  rate64: "64 in flight",
  rate64large: "64 in flight, 1 KiB"
}

const [ndr, schemas] = ["Callisto, NDR", "Callisto, ordinary schemas"] as const
const rawEcho = "raw echo over node:net"

const localTargets = (tables: ReadonlyArray<Table>): ReadonlyArray<Target> =>
  known([
    ...["invoke, succeed", "begin and join, succeed"].flatMap((name) => [
      atLeastBeside(tables, "local calls", name, "Cap'n Web, invoke", 1),
      atLeastBeside(tables, "local calls", name, "fork and join, succeed", 0.4)
    ])
  ])

const rateTargets = (tables: ReadonlyArray<Table>): ReadonlyArray<Target> =>
  known([
    atLeastBeside(tables, "rate64", ndr, "effect/rpc, JSON", 3.5),
    atLeastBeside(tables, "rate64", ndr, "Cap'n Web", 2),
    atLeastBeside(tables, "rate64", ndr, rawEcho, 0.25),
    atLeastBeside(tables, "rate64", schemas, "effect/rpc, JSON", 2),
    atLeastBeside(tables, "rate64large", ndr, rawEcho, 0.2),
    atLeastBeside(tables, "rate64large", schemas, rawEcho, 0.2),
    atLeastBeside(tables, "rate64large", schemas, "effect/rpc, binary", 2),
    atLeastBeside(tables, "rate64", `${ndr}, tracing on`, ndr, 0.5),
    atLeastBeside(tables, "rate64", `${schemas}, tracing on`, schemas, 0.5)
  ])

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
    name: "cost of spans, metrics and observers that are off",
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
  ...localTargets(tables),
  ...rateTargets(tables),
  ...ours(tables, "latency median").map(({ name, ratio }) =>
    atMost(`${name}, one call at a time, against the raw echo`, 1.15, ratio!)
  ),
  ...pipeTargets(tables, "in"),
  ...pipeTargets(tables, "out"),
  ...ours(tables, "cancels").map(({ name, ratio }) =>
    atMost(`1,000 cancels, ${name}, against JSON by hand`, 1.5, ratio!)
  ),
  // Chance is allowed half as much again.
  ...["growth", "scale"].flatMap((id) => rowsOf(tables, id)).flatMap(({ name, ratio, reference }) =>
    ratio === undefined ? [] : [atMost(`${name}, against ${reference}`, 1.5, ratio)]
  ),
  ...ours(tables, "memory").map(({ name, value }) =>
    atMost(`${name}: client's heap beyond the fiber`, 1024, value, " bytes")
  ),
  ...ours(tables, "server memory").map(({ name, value }) =>
    atMost(`${name}: server's heap of a pending call`, 1536, value, " bytes")
  )
]
