// Writes the figures of bench/results.json where people read them: a few into the README, all medians of one runtime into docs/speed.md,
// between the marks. A whole run does it at its end; `node bench/figures.ts` does it again without a run.
import { readFileSync, writeFileSync } from "node:fs"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { significant } from "./measure.ts"

/** What bench/results.json holds. */
export interface Results {
  /** Versions and machine. */
  readonly circumstances: string
  readonly runtimes: ReadonlyArray<string>
  /** By table and unit, then by row: the medians in the order of the runtimes. */
  readonly medians: { readonly [table: string]: { readonly [row: string]: ReadonlyArray<number | null> } }
  /** The rows in one process with their peer and the ratio, on the first runtime. */
  readonly versus: ReadonlyArray<{ readonly row: string; readonly peer: string; readonly ratio: string }>
  /** Bytes, minified and compressed. */
  readonly weights: { readonly core: number; readonly network: number }
  /** The targets that the first runtime has missed. */
  readonly missed: ReadonlyArray<string>
  /** Durable calls are measured by themselves, on one runtime. */
  readonly durable?: {
    readonly circumstances: string
    readonly medians: { readonly [table: string]: { readonly [row: string]: number } }
    readonly missed: ReadonlyArray<string>
  } | undefined
}

/** The targets that were missed, those of durable calls last. */
const missedBy = ({ durable, missed }: Results): ReadonlyArray<string> => [...missed, ...durable?.missed ?? []]

const median = ({ medians }: Results, id: string, row: string): string => {
  const table = Object.keys(medians).find((key) => key.startsWith(`${id}, `))
  const value = table === undefined ? undefined : medians[table]![row]?.[0]
  return value === undefined || value === null ? "" : significant(value)
}

const local = (results: Results, rows: ReadonlyArray<string>): string =>
  [
    "| in one process, a second | Callisto | effect/rpc | ratio |",
    "| --- | ---: | ---: | ---: |",
    ...results.versus.filter(({ row }) => rows.includes(row)).map(({ peer, ratio, row }) =>
      `| ${row} | ${median(results, "local", row)} | ${median(results, "local", peer)} | ${ratio} |`
    )
  ].join("\n")

type Column = readonly [title: string, id: string, how?: string]

const columns: ReadonlyArray<Column> = [
  ["one at a time, µs", "latency median"],
  ["64 in flight, a second", "rate64"],
  ["256 in flight", "rate256"],
  ["64, 1 KiB of bytes", "rate64bytes"],
  ["64, 1 KiB of text", "rate64text"],
  ["64, ten shares", "rate64shares"],
  ["pipe in, MB a second", "pipe in"],
  ["pipe out, MB a second", "pipe out"],
  ["1,000 cancels, ms", "cancels"],
  ["one at a time in a flood, µs", "flood", ", beside a flood"],
  ["heap of a pending call, bytes", "memory"]
]

const contendersOf = ({ medians }: Results): ReadonlyArray<string> => Object.keys(medians["latency median, µs"] ?? {})

const network = (results: Results, contenders: ReadonlyArray<string>, columns: ReadonlyArray<Column>): string =>
  [
    `| over TCP, ${results.runtimes[0]} | ${columns.map(([title]) => title).join(" | ")} |`,
    `| --- |${" ---: |".repeat(columns.length)}`,
    ...contenders.map((contender) =>
      `| ${contender} | ${columns.map(([, id, how = ""]) => median(results, id, contender + how)).join(" | ")} |`
    )
  ].join("\n")

/** As text. */
export const kilobytes = (bytes: number): string => `${(bytes / 1000).toFixed(1)} KB`

const weight = ({ weights }: Results): string =>
  `Minified and compressed, the core adds ${
    kilobytes(weights.core)
  } to a program of Effect and Schema, a network client with NDR ${kilobytes(weights.network)}.`

/** What stands in the README. */
export const forReadme = (results: Results): string =>
  [
    local(results, ["invoke, succeed", "begin and join, succeed", "out pipe, a sink and a stream"]),
    network(
      results,
      contendersOf(results).filter((name) => !/raw|hand|binary/.test(name)),
      columns.filter(([title]) =>
        ["one at a time, µs", "64 in flight, a second", "pipe out, MB a second"].includes(title)
      )
    ),
    `${weight(results)} The project misses ${
      missedBy(results).length
    } of its targets: [Speed](docs/speed.md) names them.`
  ].join("\n\n")

/** What stands in docs/speed.md. */
export const forSpeed = (results: Results): string =>
  [
    `Medians of one run in which all contenders take turns (${results.circumstances}).`,
    local(results, results.versus.map(({ row }) => row)),
    network(results, contendersOf(results), columns),
    weight(results),
    ...(missedBy(results).length === 0
      ? []
      : ["Targets missed:", missedBy(results).map((target) => `- ${target}`).join("\n")])
  ].join("\n\n")

const [begin, end] = ["<!-- figures of npm run bench -->", "<!-- end of the figures -->"]

/** What stands between the marks of a page. */
export const between = (page: string): string | undefined => page.split(begin)[1]?.split(end)[0]

const at = (path: string): URL => new URL(path, import.meta.url)

const write = (path: string, figures: string): void => {
  const page = readFileSync(at(path), "utf8")
  const old = between(page)
  if (old === undefined) throw new Error(`${path} has no place for the figures: ${begin} ... ${end}`)
  writeFileSync(at(path), page.replace(begin + old + end, () => `${begin}\n\n${figures}\n\n${end}`))
}

export const readResults = (): Results => JSON.parse(readFileSync(at("results.json"), "utf8"))

/** Writes the figures into both pages. `deno fmt` lays the tables out. */
export const writeFigures = (results: Results): void => {
  write("../README.md", forReadme(results))
  write("../docs/speed.md", forSpeed(results))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFigures(readResults())
