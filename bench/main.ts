// Measures calls in one process against effect/rpc and against what Effect itself needs.
//
//   node bench/main.ts [--quick] [--json FILE]
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
import { measureOverhead } from "./overhead.ts"

const args = process.argv.slice(2)
const quick = args.includes("--quick")
const json = args.includes("--json") ? args[args.indexOf("--json") + 1] : undefined

const versionOf = (path: string): string => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8")).version

const machine = {
  runtime,
  effect: versionOf("../node_modules/effect/package.json"),
  callisto: versionOf("../package.json"),
  cpu: os.cpus()[0]?.model.trim() ?? "unknown",
  cores: os.cpus().length
}

const program = Effect.gen(function* () {
  const calls = yield* measure([
    ...Limits.contenders,
    ...(yield* EffectRpc.makeContenders),
    ...(yield* Callisto.makeContenders(callisto))
  ], quick ? { rounds: 2, millis: 2 } : { rounds: 9, millis: 100 })
  const overhead = yield* measureOverhead(
    quick ? { processes: 1, turns: 2, calls: 1000 } : { processes: 15, turns: 40, calls: 50_000 }
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

const targetsOf = (
  calls: ReadonlyArray<Row>,
  overhead: ReadonlyArray<Row>,
  memory: Memory | undefined
): Array<Target> => {
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

const { calls, memory, observed, overhead } = await Effect.runPromise(program)
const targets = targetsOf(calls, overhead, memory)

console.log(`
${machine.runtime}, effect ${machine.effect}, @callisto/rpc ${machine.callisto}, ${machine.cpu}, ${machine.cores} cores.
Medians; the rows of a table take turns, and a ratio is the median of the ratios in each turn.

${table("calls in one process", calls)}

${table("spans and metrics off", overhead, 3)}

${table("spans and metrics on", observed)}

${memory === undefined ? `Heap of a pending call: not measured on ${runtime}.` : memoryTable(memory)}

${quick ? "Targets: too little was measured to tell." : targets.map(verdict).join("\n")}
`)

if (json !== undefined) {
  writeFileSync(
    json,
    `${JSON.stringify({ machine, quick, calls, overhead, observed, memory, targets }, undefined, 2)}\n`
  )
}
