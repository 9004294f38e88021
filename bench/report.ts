// Makes of the figures of one run what others read: bench/results.md, the medians in bench/results.json, and the figures of the README,
// between its marks.
//
//   node bench/report.ts FILE... (what bench/main.ts has written, one file for each runtime)
import { readFileSync, writeFileSync } from "node:fs"
import os from "node:os"
import process from "node:process"
import { fixed, markdown, type Row, significant, type Table } from "./measure.ts"
import { titles } from "./network.ts"
import { type Target, verdict } from "./targets.ts"

/** What was measured on one runtime. */
interface Run {
  readonly runtime: string
  readonly tables: ReadonlyArray<Table>
  readonly targets: ReadonlyArray<Target>
}

const at = (path: string): URL => new URL(path, import.meta.url)

const read = (path: URL): string => readFileSync(path, "utf8")

const versionOf = (folder: string): string => {
  try {
    return JSON.parse(read(at(`${folder}/package.json`))).version
  } catch {
    return "not installed"
  }
}

const runs: ReadonlyArray<Run> = process.argv.slice(2).map((file) => JSON.parse(readFileSync(file, "utf8")))

const machine = `${os.cpus()[0]?.model.trim() ?? "unknown"}, ${os.cpus().length} cores, ${os.type()} ${os.release()}`

const versions = {
  "@callisto/rpc": versionOf(".."),
  effect: versionOf("../node_modules/effect"),
  capnweb: versionOf("node_modules/capnweb"),
  birpc: versionOf("node_modules/birpc")
}

const circumstances = `${runs.map(({ runtime }) => runtime).join(", ")}; ${
  Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(
    ", "
  )
}; ${machine}`

// ----------------------------------------------------------------------------
// the README
// ----------------------------------------------------------------------------

const rowOf = (run: Run, id: string, name: string): Row | undefined =>
  run.tables.find((table) => table.id === id)?.rows.find((row) => row.name === name)

const median = (row: Row | undefined): string => row === undefined ? "" : significant(row.value.median)

const local = (run: Run): string =>
  [
    "| in one process, a second | Callisto | effect/rpc | ratio |",
    "| --- | ---: | ---: | ---: |",
    ...(run.tables.find(({ id }) => id === "local")?.rows ?? []).flatMap((
      row
    ) =>
      row.ratio === undefined || !row.reference!.startsWith("effect/rpc") ? [] : [
        `| ${row.name} | ${median(row)} | ${median(rowOf(run, "local", row.reference!))} | ${fixed(row.ratio, 1)} |`
      ]
    )
  ].join("\n")

const columns: ReadonlyArray<
  readonly [title: string, id: string, how?: string]
> = [
  ["one at a time, µs", "latency median"],
  ["64 in flight, a second", "rate64"],
  ["256 in flight", "rate256"],
  ["64, 1 KiB of bytes", "rate64bytes"],
  ["64, 1 KiB of text", "rate64text"],
  ["64, ten shares", "rate64shares"],
  ["pipe in, MB a second", "pipe in"],
  ["pipe out", "pipe out"],
  ["1,000 cancels, ms", "cancels"],
  ["one at a time in a flood, µs", "flood", ", beside a flood"],
  ["heap of a pending call, bytes", "memory"]
]

const network = (run: Run): string =>
  [
    `| over TCP, ${run.runtime} | ${columns.map(([title]) => title).join(" | ")} |`,
    `| --- |${" ---: |".repeat(columns.length)}`,
    ...Object.values(titles).filter((contender) => rowOf(run, "latency median", contender) !== undefined).map((
      contender
    ) => `| ${contender} | ${columns.map(([, id, how = ""]) => median(rowOf(run, id, contender + how))).join(" | ")} |`)
  ].join("\n")

const kilobytes = (bytes: number): string => (bytes / 1000).toFixed(1)

/** Bytes of the programs in bench/size. */
const weights: { readonly [program: string]: number } = JSON.parse(
  read(at(".build/weights.json"))
)

const weight = `Minified and compressed, the core adds ${
  kilobytes(weights["core.ts"]!)
} KB to a program of Effect and Schema, a network client with NDR ${kilobytes(weights["network.ts"]!)} KB.`

const weightTargets: ReadonlyArray<Target> = ([["core.ts", "the core", 8], [
  "network.ts",
  "a network client with NDR",
  20
]] as const)
  .map(([program, name, wanted]) => ({
    name: `weight of ${name}`,
    wanted: `at most ${wanted} KB`,
    measured: `${kilobytes(weights[program]!)} KB`,
    met: weights[program]! <= wanted * 1000
  }))

/** The targets that this run has missed. */
const missed = (run: Run): string => {
  const targets = [...run.targets, ...weightTargets].filter(({ met }) => met === false)
  if (targets.length === 0) return ""
  return [
    "Targets missed:",
    "",
    ...targets.map(({ measured, name, wanted }) => `- ${name}: ${measured}, target ${wanted}`)
  ].join("\n")
}

const passage = (run: Run): string =>
  [
    `Medians of one run in which all contenders take turns (${circumstances}). [All figures, with their spread](bench/results.md),
the medians also [as JSON](bench/results.json).`,
    local(run),
    network(run),
    weight,
    missed(run)
  ].filter((paragraph) => paragraph !== "").join("\n\n")

const [begin, end] = [
  "<!-- figures of npm run bench -->",
  "<!-- end of the figures -->"
]

const writeReadme = (run: Run): void => {
  const readme = at("../README.md")
  const [before, rest] = read(readme).split(begin)
  const after = rest?.split(end)[1]
  if (after === undefined) {
    throw new Error(
      `README.md has no place for the figures: ${begin} ... ${end}`
    )
  }
  writeFileSync(
    readme,
    `${before}${begin}\n\n${passage(run)}\n\n${end}${after}`
  )
}

// ----------------------------------------------------------------------------
// all of it
// ----------------------------------------------------------------------------

const results = `# Figures

One run of \`npm run bench\`: ${circumstances}.

Medians; the rows of a table take turns, and a ratio is the median of the ratios in each turn. Over TCP each contender has a client and a
server in processes of their own, and one connection (pipes of Callisto have another). What someone can't do is named as missing.

- **effect/rpc**: its TCP socket, the flat client, no limit on concurrency, no tracing. It has streams to the
  client alone.
- **Cap'n Web**, **birpc**: a message a line over TCP, JSON; those of one turn are written at once. Bytes travel in base64.
- **JSON by hand**: sixty lines, JSON, a message a line and one that cancels; no checks, no errors, no limits.
- **Effect by hand**: the same with one callback of Effect for a call and one fiber for a handler.
- **raw**: bytes with a length in front go to the server and back. Nobody asks which call they belong to.
- **ten shares**: a union of structures that hold an array of structures with text and nullable text, 0.7 KiB as JSON.

${
  runs.map(({ runtime, tables, targets }) =>
    [
      `## ${runtime}`,
      ...tables.map(markdown),
      "### Targets",
      targets.map(verdict).join("\n")
    ].join("\n\n")
  ).join("\n\n")
}
`

/** The medians of a row on all runtimes. */
const medians = (id: string, name: string): ReadonlyArray<number | null> =>
  runs.map((run) => {
    const value = rowOf(run, id, name)?.value.median
    return value === undefined ? null : Number(value.toPrecision(3))
  })

const json = {
  circumstances,
  runtimes: runs.map(({ runtime }) => runtime),
  medians: Object.fromEntries(runs[0]!.tables.map(({ id, rows, unit }) => [
    `${id}, ${unit}`,
    Object.fromEntries(rows.map(({ name }) => [name, medians(id, name)]))
  ]))
}

writeFileSync(at("results.json"), `${JSON.stringify(json)}\n`)
writeFileSync(at("results.md"), results)
writeReadme(runs[0]!)
