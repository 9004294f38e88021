// Makes of the figures of one run what others read: bench/results.md, the medians in bench/results.json, and the figures of README.md
// and docs/speed.md.
//
//   node bench/report.ts FILE... (what bench/main.ts has written, one file for each runtime)
//   node bench/report.ts --durable FILE (what bench/durable.ts has written: its section alone)
import { readFileSync, writeFileSync } from "node:fs"
import os from "node:os"
import process from "node:process"
import { kilobytes, readResults, type Results, writeFigures } from "./figures.ts"
import { fixed, markdown, type Row, type Table } from "./measure.ts"
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

const isDurable = process.argv[2] === "--durable"

const runs: ReadonlyArray<Run> = process.argv.slice(isDurable ? 3 : 2).map((file) =>
  JSON.parse(readFileSync(file, "utf8"))
)

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

const rowOf = (run: Run, id: string, name: string): Row | undefined =>
  run.tables.find((table) => table.id === id)?.rows.find((row) => row.name === name)

// ----------------------------------------------------------------------------
// durable calls, which are measured by themselves
// ----------------------------------------------------------------------------

const mark = "<!-- durable calls -->"

/** The section that a whole run keeps. */
const oldSection = (): string => {
  const [, section] = read(at("results.md")).split(mark)
  return section === undefined ? "" : mark + section
}

const writeDurable = (): void => {
  const [run] = runs as readonly [Run & { readonly circumstances: string }]
  const section = `${mark}

## Durable calls, ${run.runtime}

One run of \`npm run bench -- --only durable\`: ${run.circumstances}; effect ${versions.effect}; ${machine}. PostgreSQL keeps its default
\`fsync\`. The client is one process and the runner another; with SQLite one process is both. The yardstick is a persisted request to an
entity of \`effect/cluster\` that returns at once, on the same processes and the same database.

${run.tables.map(markdown).join("\n\n")}

### Targets

${run.targets.map(verdict).join("\n")}
`
  const [before] = read(at("results.md")).split(mark) as [string]
  const json: Results = {
    ...readResults(),
    durable: {
      circumstances: run.circumstances,
      medians: Object.fromEntries(
        run.tables.map(({ id, rows, unit }) => [
          `${id}, ${unit}`,
          Object.fromEntries(rows.map(({ name, value }) => [name, Number(value.median.toPrecision(3))]))
        ])
      ),
      missed: run.targets.filter(({ met }) => !met).map(missedLine)
    }
  }
  writeFileSync(at("results.json"), `${JSON.stringify(json)}\n`)
  writeFileSync(at("results.md"), `${before.trimEnd()}\n\n${section}`)
  writeFigures(json)
}

const missedLine = ({ measured, name, wanted }: Target): string => `${name}: ${measured}, target ${wanted}`

if (isDurable) {
  writeDurable()
  process.exit()
}

/** Bytes of the programs in bench/size. */
const weights: { readonly [program: string]: number } = JSON.parse(read(at(".build/weights.json")))

const weightTargets: ReadonlyArray<Target> = ([
  ["core.ts", "the core", 8],
  ["network.ts", "a network client with NDR", 20]
] as const).map(([program, name, wanted]) => ({
  name: `weight of ${name}`,
  wanted: `at most ${wanted} KB`,
  measured: kilobytes(weights[program]!),
  met: weights[program]! <= wanted * 1000
}))

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

${oldSection()}`

/** The medians of a row on all runtimes. */
const medians = (id: string, name: string): ReadonlyArray<number | null> =>
  runs.map((run) => {
    const value = rowOf(run, id, name)?.value.median
    return value === undefined ? null : Number(value.toPrecision(3))
  })

const [first] = runs as readonly [Run]

const json: Results = {
  circumstances,
  runtimes: runs.map(({ runtime }) => runtime),
  medians: Object.fromEntries(first.tables.map(({ id, rows, unit }) => [
    `${id}, ${unit}`,
    Object.fromEntries(rows.map(({ name }) => [name, medians(id, name)]))
  ])),
  versus: (first.tables.find(({ id }) => id === "local")?.rows ?? []).flatMap(({ name, ratio, reference }) =>
    ratio === undefined || !reference!.startsWith("effect/rpc")
      ? []
      : [{ row: name, peer: reference!, ratio: fixed(ratio, 1) }]
  ),
  weights: { core: weights["core.ts"]!, network: weights["network.ts"]! },
  missed: [...first.targets, ...weightTargets].filter(({ met }) => met === false).map(missedLine),
  durable: readResults().durable
}

writeFileSync(at("results.json"), `${JSON.stringify(json)}\n`)
writeFileSync(at("results.md"), results)
writeFigures(json)
