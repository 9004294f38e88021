// The targets of the figures.
import { significant, type Table } from "./measure.ts"

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
const [raw, json, binary, capnweb] = [
  "raw echo over node:net",
  "effect/rpc, JSON",
  "effect/rpc, binary",
  "Cap'n Web"
]
const [durable, engine] = ["Callisto, durable call", "effect/cluster, persisted request"]

/** The median of a row by that of another in the same table: at least or, where lower is better, at most. */
const wanted: ReadonlyArray<
  readonly [
    id: string,
    row: string,
    reference: string,
    bound: "at least" | "at most",
    ratio: number
  ]
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
  ["protect1024", "NTLM, integrity", "node:crypto, HMAC-MD5", "at most", 1.5],
  ["protect1024", "NTLM, privacy", "node:crypto, HMAC-MD5", "at most", 4],
  [
    "protect1024",
    "Kerberos, privacy",
    "node:crypto, AES-256-CBC and HMAC-SHA1",
    "at most",
    1.5
  ],
  ["protect5840", "NTLM, integrity", "node:crypto, HMAC-MD5", "at most", 1.5],
  ["protect5840", "NTLM, privacy", "node:crypto, HMAC-MD5", "at most", 4],
  [
    "protect5840",
    "Kerberos, privacy",
    "node:crypto, AES-256-CBC and HMAC-SHA1",
    "at most",
    1.5
  ],
  ["rate64protected", `${ndr}, integrity`, ndr, "at least", 0.5],
  ["flood", `${ndr}, beside a flood`, `${ndr}, alone`, "at most", 5],
  ["flood", `${schemas}, beside a flood`, `${schemas}, alone`, "at most", 5],
  ["durable postgres rate", durable, engine, "at least", 0.6],
  ["durable postgres median", durable, engine, "at most", 1.6],
  ["durable sqlite rate", durable, engine, "at least", 0.5],
  ["durable begin", "Callisto, begin", "one INSERT in a transaction", "at most", 2.5],
  ["durable finish", "Callisto, resume and finish", "a SELECT and an UPDATE", "at most", 1.5],
  ["durable noDelay", "with noDelay", "with Nagle's algorithm", "at most", 0.5]
]

/** A row by itself: at least or, where lower is better, at most. */
const plain: ReadonlyArray<
  readonly [id: string, row: string, bound: "at least" | "at most", value: number]
> = [
  ["durable cancel", "Callisto, cancel to CallCancelled", "at most", 1],
  ["durable sweep", "PostgreSQL", "at least", 10_000],
  ["durable sweep", "SQLite", "at least", 10_000]
]

/** How much longer the takeover of a durable call may take than that of the engine's own request, in seconds. */
const takeover = 0.5

export const targetsOf = (
  tables: ReadonlyArray<Table>
): ReadonlyArray<Target> => [
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
  ...plain.flatMap(([id, name, bound, limit]): ReadonlyArray<Target> => {
    const table = tables.find((table) => table.id === id)
    const value = table?.rows.find((row) => row.name === name)?.value.median
    if (value === undefined) return []
    return [{
      name: `${table!.title}: ${name}`,
      wanted: `${bound} ${limit.toLocaleString("en-US")} ${table!.unit}`,
      measured: significant(value),
      met: bound === "at least" ? value >= limit : value <= limit
    }]
  }),
  ...tables.filter(({ id }) => id === "durable takeover").map(({ rows, title }) => {
    const [own, other] = [durable, engine].map((name) => rows.find((row) => row.name === name)!.value.median)
    const more = own! - other!
    return {
      name: `${title}: ${durable}, against ${engine}`,
      wanted: `at most ${takeover} s more`,
      measured: `${more.toFixed(2)} s`,
      met: more <= takeover
    }
  }),
  ...(tables.find(({ id }) => id === "memory")?.rows ?? []).filter(({ name }) => name.startsWith("Callisto")).map((
    { name, value: { median } }
  ) => ({
    name: `heap of a pending call, ${name}`,
    wanted: "at most 1024 bytes",
    measured: `${Math.round(median)} bytes`,
    met: median <= 1024
  }))
]
