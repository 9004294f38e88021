// Makes of the figures of one run what others read: bench/results.json, tables in bench/results.md, bench/chart.svg, and the figures of
// the README, between its marks.
//
//   node bench/report.ts FILE... (what bench/main.ts has written, one file for each runtime)
import { readFileSync, writeFileSync } from "node:fs"
import os from "node:os"
import process from "node:process"
import { drawChart } from "./chart.ts"
import { fixed, markdown, type Row, significant, type Table, type Target, verdict } from "./measure.ts"

/** What was measured on one runtime. */
export interface Run {
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

const machine = {
  cpu: os.cpus()[0]?.model.trim() ?? "unknown",
  cores: os.cpus().length,
  system: `${os.type()} ${os.release()}`
}

const versions = {
  "@callisto/rpc": versionOf(".."),
  effect: versionOf("../node_modules/effect"),
  capnweb: versionOf("node_modules/capnweb"),
  birpc: versionOf("node_modules/birpc"),
  "@grpc/grpc-js": versionOf("node_modules/@grpc/grpc-js")
}

const circumstances = `${runs.map(({ runtime }) => runtime).join(", ")}; ${
  Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ")
}; ${machine.cpu}, ${machine.cores} cores, ${machine.system}`

// ----------------------------------------------------------------------------
// the README
// ----------------------------------------------------------------------------

const tableOf = ({ tables }: Run, id: string): Table | undefined => tables.find((table) => table.id === id)

const rowOf = (run: Run, id: string, name: string): Row | undefined =>
  tableOf(run, id)?.rows.find((row) => row.name === name)

const median = (row: Row | undefined): string => row === undefined ? "" : significant(row.value.median)

const localForms = [
  ["`Effect.succeed`, `invoke`", "invoke, succeed"],
  ["`Effect.succeed`, `begin` and `join` on one call object", "begin and join, succeed"],
  ["`Effect.succeed`, `invoke`, arguments and results checked", "invoke, checked, succeed"],
  ["`Effect.gen`, `invoke`", "invoke, gen"],
  ["`Effect.gen`, `begin` and `join`", "begin and join, gen"],
  ["`Effect.fnUntraced`, `invoke`", "invoke, fnUntraced"],
  ["a routine that suspends, `invoke`", "invoke, suspending"],
  ["hand-off, completed by a worker fiber", "hand-off, completed by a worker"],
  ["100 calls side by side, through one completion queue", "100 call objects, one completion queue"],
  ["a number through a pipe, pushed and pulled by hand", "in pipe, pushed and pulled by hand"],
  ["a number through a pipe, a stream and a sink", "out pipe, a sink and a stream"]
] as const

const local = (run: Run): string =>
  [
    "| in one process, a second | Callisto | effect/rpc | ratio |",
    "| --- | ---: | ---: | ---: |",
    ...localForms.flatMap(([form, name]) => {
      const id = name.includes("pipe") ? "local pipes" : "local calls"
      const row = rowOf(run, id, name)
      if (row?.ratio === undefined) return []
      return [
        `| ${form} | ${median(row)} | ${median(rowOf(run, id, row.reference!))} | ${fixed(row.ratio, 1)} |`
      ]
    })
  ].join("\n")

const columns: ReadonlyArray<readonly [title: string, id: string]> = [
  ["one at a time, µs", "latency median"],
  ["64 in flight, a second", "rate64"],
  ["256 in flight", "rate256"],
  ["64, 1 KiB each way", "rate64large"],
  ["256, 1 KiB each way", "rate256large"],
  ["pipe in, MB a second", "pipe in"],
  ["pipe out", "pipe out"],
  ["1,000 cancels, ms", "cancels"],
  ["heap of a pending call, bytes", "memory"]
]

const contenders = [
  "raw echo over node:net",
  "raw copy over node:net",
  "Callisto, NDR",
  "Callisto, ordinary schemas",
  "effect/rpc, JSON",
  "effect/rpc, binary",
  "Cap'n Web",
  "birpc",
  "JSON by hand",
  "grpc-js"
]

/** A contender may have done it in several ways: the first is the one. */
const rowOfContender = (run: Run, id: string, contender: string): Row | undefined =>
  tableOf(run, id)?.rows.find(({ name }) =>
    name === contender || name.startsWith(`${contender}, `) && /in one shot|interrupted|cancelled/.test(name)
  )

const network = (run: Run): string =>
  [
    `| over TCP, ${run.runtime} | ${columns.map(([title]) => title).join(" | ")} |`,
    `| --- |${" ---: |".repeat(columns.length)}`,
    ...contenders.map((contender) =>
      `| ${contender} | ${columns.map(([, id]) => median(rowOfContender(run, id, contender))).join(" | ")} |`
    )
  ].join("\n")

const withoutSpans = (run: Run): string => {
  const off = tableOf(run, "overhead")?.rows.at(-1)?.ratio
  if (off === undefined) return ""
  const percent = (ratio: number) => (100 * (1 - ratio)).toFixed(1)
  const [low, high] = [percent(off.max), percent(off.min)]
  return `Spans, metrics and observers that are off cost ${
    percent(off.median)
  } % (${low} to ${high} % from one third of the processes to another).`
}

const percentOf = (ratio: number): string => `${Math.round(100 * ratio)} %`

const withSpans = (run: Run): string => {
  const kept = ["Callisto, NDR", "Callisto, ordinary schemas", "effect/rpc, JSON"].map((name) =>
    rowOf(run, "rate64", `${name}, tracing on`)?.ratio?.median
  )
  const [ndr, schemas, rpc] = kept
  if (ndr === undefined || schemas === undefined || rpc === undefined) return ""
  return `With a tracer on both sides ${percentOf(ndr)} of the calls a second are left in NDR and ${
    percentOf(schemas)
  } with ordinary schemas (64 in flight, over TCP); of effect/rpc's, ${percentOf(rpc)}.`
}

const imports = (run: Run): string => {
  const rows = tableOf(run, "imports")?.rows
  if (rows === undefined) return ""
  const [effect, core, dcerpc, node] = rows.map(({ value }) => Math.round(value.median))
  return `Importing the core takes ${core} ms behind the ${effect} ms of effect, the network ${dcerpc} ms and the sockets ${node} ms more.`
}

/** How much there was of everything, and what it took; nothing where that was not measured. */
const scale = (run: Run): string => {
  const rows = tableOf(run, "scale")?.rows ?? []
  const [connections, calls, methods, mebibytes] = ["10,000 conn", "100,000 pend", "1,000 meth", "64 MiB"].map((much) =>
    rows.find(({ name }) => name.includes(much))?.value.median
  )
  if (connections === undefined || calls === undefined || methods === undefined || mebibytes === undefined) return ""
  return `10,000 connections to one server take ${
    significant(connections)
  } µs each, 100,000 pending calls over 100 connections ${
    significant(calls)
  } µs each to begin and to cancel, 1,000 methods of an interface ${
    significant(methods)
  } µs each, and a call with 64 MiB of arguments ${significant(mebibytes / 1000)} ms a MiB.`
}

const kilobytes = (bytes: number): string => (bytes / 1000).toFixed(1)

/** Bytes of the programs in bench/size. */
const weights: { readonly [program: string]: number } = JSON.parse(read(at(".build/weights.json")))

const weight = `Minified and compressed, the core adds ${
  kilobytes(weights["core.ts"]!)
} KB to a program of Effect and Schema, a network client with NDR ${kilobytes(weights["network.ts"]!)} KB.`

const weightTargets: ReadonlyArray<Target> =
  ([["core.ts", "the core", 8], ["network.ts", "a network client with NDR", 20]] as const)
    .map(([program, name, wanted]) => ({
      name: `weight of ${name}`,
      wanted: `at most ${wanted} KB`,
      measured: `${kilobytes(weights[program]!)} KB`,
      met: weights[program]! <= wanted * 1000
    }))

/** What we want and do not have. */
const missed = (run: Run): string => {
  const targets = [...run.targets, ...weightTargets].filter(({ met }) => met === false)
  if (targets.length === 0) return ""
  return [
    "What we aim at and have not reached:",
    "",
    ...targets.map(({ measured, name, wanted }) => `- ${name}: ${measured}, wanted ${wanted}`)
  ].join("\n")
}

const passage = (run: Run): string =>
  [
    `![Calls a second, latency, pipes and memory of Callisto and its peers](bench/chart.svg)`,
    `Medians of one run in which all contenders take turns (${circumstances}). [All figures, with their spread](bench/results.md),
also [as JSON](bench/results.json).`,
    local(run),
    network(run),
    [withoutSpans(run), withSpans(run), imports(run), weight, scale(run)].filter((sentence) => sentence !== "").join(
      " "
    ),
    missed(run)
  ].filter((paragraph) => paragraph !== "").join("\n\n")

const [begin, end] = ["<!-- figures of npm run bench -->", "<!-- end of the figures -->"]

const writeReadme = (run: Run): void => {
  const readme = at("../README.md")
  const [before, rest] = read(readme).split(begin)
  const after = rest?.split(end)[1]
  if (after === undefined) throw new Error(`README.md has no place for the figures: ${begin} ... ${end}`)
  writeFileSync(readme, `${before}${begin}\n\n${passage(run)}\n\n${end}${after}`)
}

// ----------------------------------------------------------------------------
// all of it
// ----------------------------------------------------------------------------

const results = `# Figures

One run of \`npm run bench\`: ${circumstances}.

Medians; the rows of a table take turns, and a ratio is the median of the ratios in each turn. Over TCP each contender has a client and a
server in processes of their own, and one connection (pipes of Callisto have another). What someone can't do is named as missing.

- **effect/rpc**: its TCP socket, the flat client, no limit on concurrency, tracing off where nothing else is said. It has streams to the
  client alone.
- **Cap'n Web**, **birpc**: a message a line over TCP, JSON; those of one turn are written at once. Bytes travel in base64.
- **grpc-js**: four bytes for a number, bytes as they are; no protobuf.
- **JSON by hand**: sixty lines, JSON, a message a line and one that cancels; no checks, no errors, no limits.
- **raw**: bytes with a length in front go to the server and back; or in one direction. Nobody asks which call they belong to.

${
  runs.map(({ runtime, tables, targets }) =>
    [`## ${runtime}`, ...tables.map(markdown), "### Targets", targets.map(verdict).join("\n")].join("\n\n")
  ).join("\n\n")
}
`

writeFileSync(at("results.json"), `${JSON.stringify({ machine, versions, runs }, undefined, 2)}\n`)
writeFileSync(at("results.md"), results)
writeFileSync(at("chart.svg"), drawChart(runs))
writeReadme(runs[0]!)
