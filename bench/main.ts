// Measures on the runtime that runs it: calls and pipes in one process, and over TCP, beside peers and what the runtime itself needs;
// and much of everything.
// `npm run bench` runs it on each runtime.
//
//   node bench/main.ts [--only local|network|scale] [--quick] [--json FILE]
//
// --quick measures next to nothing: it shows that everything runs.
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import process from "node:process"
import { type Effort as Local, measureLocal } from "./local.ts"
import { markdown, runtime, verdict } from "./measure.ts"
import { type Effort as Network, measureNetwork } from "./network.ts"
import { type Effort as Scale, measureScale } from "./scale.ts"
import { targetsOf } from "./targets.ts"

const args = process.argv.slice(2)
const valueOf = (option: string) => args.includes(option) ? args[args.indexOf(option) + 1] : undefined
const quick = args.includes("--quick")
const json = valueOf("--json")
const only = valueOf("--only")

if (only !== undefined && !["local", "network", "scale"].includes(only)) {
  console.error("--only local, --only network, or --only scale")
  process.exit(1)
}

const local: Local = quick
  ? {
    calls: { rounds: 2, millis: 2 },
    overhead: { processes: 1, turns: 2, calls: 1000 },
    pending: { count: 1000, rounds: 1 },
    growth: { rounds: 1, part: 0.01 },
    imports: 1
  }
  : {
    calls: { rounds: 9, millis: 100 },
    overhead: { processes: 30, turns: 40, calls: 50_000 },
    pending: { count: 50_000, rounds: 5 },
    growth: { rounds: 3, part: 1 },
    imports: 9
  }

const network: Network = quick
  ? {
    rounds: 2,
    millis: 10,
    warmUpMillis: 10,
    latencyRounds: 2,
    latencyMillis: 10,
    bytes: 1 << 20,
    cancels: 1000,
    cancelRounds: 2,
    pending: 1000,
    memoryRounds: 1
  }
  : {
    rounds: 7,
    // A process that has rested needs some hundred milliseconds to be as fast as it was.
    millis: 700,
    warmUpMillis: 1500,
    latencyRounds: 20,
    latencyMillis: 300,
    bytes: 128 << 20,
    cancels: 1000,
    cancelRounds: 40,
    pending: 50_000,
    memoryRounds: 3
  }

const scale: Scale = quick ? { rounds: 1, part: 0.01 } : { rounds: 3, part: 1 }

const measures = (what: string) => only === undefined || only === what

const tables = [
  ...(measures("local") ? await Effect.runPromise(measureLocal(local)) : []),
  ...(measures("network") ? await Effect.runPromise(measureNetwork(network)) : []),
  ...(measures("scale") ? [await Effect.runPromise(measureScale(scale))] : [])
]
const targets = targetsOf(tables)

console.log(`
# ${runtime}

Medians; the rows of a table take turns, and a ratio is the median of the ratios in each turn.

${tables.map(markdown).join("\n\n")}

${quick ? "Targets: too little was measured to tell." : targets.map(verdict).join("\n")}
`)

if (json !== undefined) writeFileSync(json, `${JSON.stringify({ runtime, tables, targets }, undefined, 2)}\n`)
process.exit()
