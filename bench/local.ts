// Measures calls and pipes in one process, what observability costs, the memory of calls, many objects and bindings, and how long
// importing takes.
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as callisto from "../mod.ts"
import * as Callisto from "./callisto.ts"
import * as EffectRpc from "./effectRpc.ts"
import { type Effort as Growth, measureGrowth } from "./growth.ts"
import * as Limits from "./limits.ts"
import { type Effort as Turns, gc, measure, runtime, spread, type Table } from "./measure.ts"
import { measureMemory } from "./memory.ts"
import { type Effort as Overhead, measureOverhead } from "./overhead.ts"
import * as Peers from "./peers.ts"
import * as Pipes from "./pipes.ts"
import { command, program } from "./processes.ts"

export interface Effort {
  readonly calls: Turns
  readonly overhead: Overhead
  readonly pending: { readonly count: number; readonly rounds: number }
  readonly growth: Growth
  readonly imports: number
}

const unit = "a second"

const importWorker = fileURLToPath(new URL("./importWorker.ts", import.meta.url))

/** Milliseconds that a fresh process needs to import Effect, and then the core and the network. */
const measureImports = (rounds: number): Table => {
  const values: { [step: string]: Array<number> } = {}
  for (let i = 0; i <= rounds; i++) {
    const { stderr, status, stdout } = spawnSync(command!, [...program, importWorker], { encoding: "utf8" })
    if (status !== 0) throw new Error(`bench/importWorker.ts ended with ${status}\n${stderr}`)
    // The first fills caches.
    if (i === 0) continue
    for (const [step, millis] of Object.entries<number>(JSON.parse(stdout))) (values[step] ??= []).push(millis)
  }
  return {
    id: "imports",
    title: "importing in a fresh process, one after another",
    unit: "ms",
    rows: Object.entries(values).map(([name, millis]) => ({ name, value: spread(millis) }))
  }
}

const memoryTable = Effect.fnUntraced(function* (effort: Effort["pending"]) {
  const memory = yield* measureMemory(effort)
  const table: Table = {
    id: "local memory",
    title: "heap of a pending call in one process",
    unit: "bytes",
    rows: [
      { name: "floor: a fiber that waits for a Deferred", value: memory.waiting },
      { name: "floor: a fiber that runs `Effect.never`", value: memory.never },
      { name: "a call whose routine runs, beyond both", value: memory.call },
      { name: "a call that was handed off, beyond the first", value: memory.handedOff }
    ]
  }
  return table
})

const overheadTable = (effort: Overhead): Effect.Effect<Table> =>
  Effect.map(
    measureOverhead(effort),
    (rows) => ({ id: "overhead", title: "spans, metrics and observers off", unit, rows })
  )

export const measureLocal = (effort: Effort): Effect.Effect<ReadonlyArray<Table>, unknown> =>
  Effect.gen(function* () {
    const calls = yield* measure([
      ...Limits.contenders,
      ...(yield* EffectRpc.makeContenders),
      ...(yield* Peers.makeContenders),
      ...(yield* Callisto.makeContenders(callisto))
    ], effort.calls)
    const pipes = yield* measure(yield* Pipes.makeContenders, effort.calls)
    const observed = yield* measure(yield* Callisto.makeObserved(callisto, "invoke, succeed"), effort.calls)
    const isNode = runtime.startsWith("Node")
    return [
      { id: "local calls", title: "calls in one process", unit, rows: calls, missing: Peers.missing },
      { id: "local pipes", title: "chunks through a pipe in one process, a number each", unit, rows: pipes },
      { id: "observed", title: "spans, metrics and observers on", unit, rows: observed },
      // What takes long, or can't be measured elsewhere.
      ...(isNode ? [yield* overheadTable(effort.overhead)] : []),
      ...(isNode && gc !== undefined ? [yield* memoryTable(effort.pending)] : []),
      yield* measureGrowth(effort.growth),
      measureImports(effort.imports)
    ]
  }).pipe(Effect.scoped)
