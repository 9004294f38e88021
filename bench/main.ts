// Measures calls in one process against effect/rpc and against what Effect itself needs, and calls over TCP against effect/rpc and
// against an echo without calls.
//
//   node bench/main.ts [--only local|network] [--quick] [--json FILE]
//
// --quick measures next to nothing: it shows that everything runs.
import { Effect } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import os from "node:os"
import process from "node:process"
import * as callisto from "../mod.ts"
import * as Callisto from "./callisto.ts"
import * as EffectRpc from "./effectRpc.ts"
import * as Limits from "./limits.ts"
import { gc, measure, type Row, runtime, table, type Target, verdict } from "./measure.ts"
import { measureMemory, type Memory } from "./memory.ts"
import { measureNetwork, networkTables, networkTargets } from "./network.ts"
import { measureOverhead } from "./overhead.ts"

const args = process.argv.slice(2)
const valueOf = (option: string) => args.includes(option) ? args[args.indexOf(option) + 1] : undefined
const quick = args.includes("--quick")
const json = valueOf("--json")
const only = valueOf("--only")

const versionOf = (path: string): string => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8")).version

const machine = {
  runtime,
  effect: versionOf("../node_modules/effect/package.json"),
  callisto: versionOf("../package.json"),
  cpu: os.cpus()[0]?.model.trim() ?? "unknown",
  cores: os.cpus().length
}

const measureLocal = Effect.gen(function* () {
  const calls = yield* measure([
    ...Limits.contenders,
    ...(yield* EffectRpc.makeContenders),
    ...(yield* Callisto.makeContenders(callisto))
  ], quick ? { rounds: 2, millis: 2 } : { rounds: 9, millis: 100 })
  const overhead = yield* measureOverhead(
    quick ? { processes: 1, turns: 2, calls: 1000 } : { processes: 30, turns: 40, calls: 50_000 }
  )
  const observed = yield* measure(
    yield* Callisto.makeObserved(callisto, "invoke, succeed"),
    quick ? { rounds: 2, millis: 2 } : { rounds: 9, millis: 100 }
  )
  const memory = gc !== undefined && runtime.startsWith("Node")
    ? yield* measureMemory(quick ? { count: 1000, rounds: 1 } : { count: 50_000, rounds: 5 })
    : undefined
  return { calls, overhead, observed, memory }
}).pipe(Effect.scoped)

const memoryTable = (memory: Memory): string =>
  [
    "| heap of a pending call | bytes | min..max |",
    "|---|---:|---:|",
    ...([
      ["floor: a fiber that waits for a Deferred", memory.waiting],
      ["floor: a fiber that runs `Effect.never`", memory.never],
      ["a call whose routine runs, beyond both", memory.call],
      ["a call that was handed off, beyond the first", memory.handedOff]
    ] as const).map(([name, { max, median, min }]) =>
      `| ${name} | ${median.toFixed(0)} | ${min.toFixed(0)}..${max.toFixed(0)} |`
    )
  ].join("\n")

const targetsOf = ({ calls, memory, overhead }: Local): Array<Target> => {
  const off = overhead.at(-1)!.ratio!
  const percent = (ratio: number) => (100 * (1 - ratio)).toFixed(1)
  return [
    ...calls.flatMap(({ name, ratio, reference, target }): Array<Target> =>
      target === undefined || ratio === undefined ? [] : [{
        name: `${name}, against ${reference}`,
        wanted: `at least ${target}`,
        measured: ratio.median.toFixed(2),
        met: ratio.median >= target
      }]
    ),
    {
      name: "cost of spans and metrics that are off",
      wanted: "at most 3%",
      measured: `${percent(off.median)}% (${percent(off.max)}..${
        percent(off.min)
      }% from one third of the processes to another)`,
      met: off.median >= 0.97
    },
    {
      name: "heap of a pending call beyond its fibers",
      wanted: "at most 0.6 KiB",
      measured: memory === undefined ? "-" : `${(memory.call.median / 1024).toFixed(2)} KiB`,
      met: memory === undefined ? undefined : memory.call.median <= 0.6 * 1024
    }
  ]
}

interface Local {
  readonly calls: ReadonlyArray<Row>
  readonly overhead: ReadonlyArray<Row>
  readonly observed: ReadonlyArray<Row>
  readonly memory: Memory | undefined
}

const localTables = ({ calls, memory, observed, overhead }: Local): ReadonlyArray<string> => [
  table("calls in one process", calls),
  table("spans and metrics off", overhead, 3),
  table("spans and metrics on", observed),
  memory === undefined ? `Heap of a pending call: not measured on ${runtime}.` : memoryTable(memory)
]

if (only !== undefined && only !== "local" && only !== "network") {
  console.error("--only local, or --only network")
  process.exit(1)
}

const local = only === "network" ? undefined : await Effect.runPromise(measureLocal)
const network = only === "local" ? undefined : await Effect.runPromise(measureNetwork(
  quick
    ? { rounds: 2, millis: 10, warmUpMillis: 10, latencyRounds: 2, latencyMillis: 10, cancels: 1000, pending: 1000 }
    : {
      rounds: 7,
      millis: 300,
      warmUpMillis: 500,
      latencyRounds: 20,
      latencyMillis: 100,
      cancels: 1000,
      pending: 50_000
    }
))
const targets = [
  ...(local === undefined ? [] : targetsOf(local)),
  ...(network === undefined ? [] : networkTargets(network))
]

console.log(`
${machine.runtime}, effect ${machine.effect}, @callisto/rpc ${machine.callisto}, ${machine.cpu}, ${machine.cores} cores.
Medians; the rows of a table take turns, and a ratio is the median of the ratios in each turn.

${
  [
    ...(local === undefined ? [] : localTables(local)),
    ...(network === undefined ? [] : networkTables(network)),
    quick ? "Targets: too little was measured to tell." : targets.map(verdict).join("\n")
  ].join("\n\n")
}
`)

if (json !== undefined) {
  writeFileSync(json, `${JSON.stringify({ machine, quick, ...local, network, targets }, undefined, 2)}\n`)
}
