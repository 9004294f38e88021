// The targets of the figures.
import type { Table } from "./measure.ts"

/** A target, what was measured, and whether that meets it. */
export interface Target {
  readonly name: string
  readonly wanted: string
  readonly measured: string
  readonly met: boolean
}

export const verdict = ({ measured, met, name, wanted }: Target): string =>
  `- ${name}: ${measured}, target ${wanted}: ${met ? "met" : "missed"}`

const [ndr, schemas] = ["Callisto, NDR", "Callisto, ordinary schemas"] as const
const [raw, json, binary, capnweb] = ["raw echo over node:net", "effect/rpc, JSON", "effect/rpc, binary", "Cap'n Web"]

/** The median of a row by that of another in the same table: at least or, where lower is better, at most. */
const wanted: ReadonlyArray<
  readonly [id: string, row: string, reference: string, bound: "at least" | "at most", ratio: number]
> = [
  ["local", "invoke, succeed", "effect/rpc, succeed", "at least", 2],
  ["local", "invoke, succeed", "fork and join, succeed", "at least", 0.4],
  ["local", "invoke, gen", "effect/rpc, gen", "at least", 2],
  ["local", "begin and join, succeed", "effect/rpc, succeed", "at least", 2],
  ["latency median", ndr, raw, "at most", 1.1],
  ["latency median", schemas, raw, "at most", 1.1],
  ["rate64", ndr, raw, "at least", 0.33],
  ["rate64", ndr, "birpc", "at least", 1.2],
  ["rate64", ndr, "Effect by hand", "at least", 0.8],
  ["rate64", ndr, json, "at least", 3.5],
  ["rate64", ndr, capnweb, "at least", 2],
  ["rate64", schemas, json, "at least", 2],
  ["rate64bytes", ndr, raw, "at least", 0.2],
  ["rate64bytes", schemas, binary, "at least", 2],
  ["rate64text", ndr, json, "at least", 2],
  ["rate64text", ndr, capnweb, "at least", 1.3],
  ["rate64shares", ndr, json, "at least", 2],
  ["rate64shares", ndr, capnweb, "at least", 1.3],
  ["pipe in", ndr, capnweb, "at least", 3],
  ["pipe out", ndr, binary, "at least", 3],
  ["cancels", ndr, "JSON by hand", "at most", 1.1],
  ["cancels", schemas, "JSON by hand", "at most", 1.1],
  ["flood", `${ndr}, beside a flood`, `${ndr}, alone`, "at most", 5],
  ["flood", `${schemas}, beside a flood`, `${schemas}, alone`, "at most", 5]
]

export const targetsOf = (tables: ReadonlyArray<Table>): ReadonlyArray<Target> => [
  ...wanted.flatMap(
    ([id, name, other, bound, limit]): ReadonlyArray<Target> => {
      const table = tables.find((table) => table.id === id)
      const [row, reference] = [name, other].map((name) => table?.rows.find((row) => row.name === name)?.value.median)
      if (row === undefined || reference === undefined) return []
      const ratio = row / reference
      return [{
        name: `${table!.title}: ${name}, against ${other}`,
        wanted: `${bound} ${limit}`,
        measured: ratio.toFixed(2),
        met: bound === "at least" ? ratio >= limit : ratio <= limit
      }]
    }
  ),
  ...(tables.find(({ id }) => id === "memory")?.rows ?? []).filter(({ name }) => name.startsWith("Callisto")).map((
    { name, value: { median } }
  ) => ({
    name: `heap of a pending call, ${name}`,
    wanted: "at most 1024 bytes",
    measured: `${Math.round(median)} bytes`,
    met: median <= 1024
  }))
]
