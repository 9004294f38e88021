// Measures on the runtime that runs it: in one process, and over TCP, beside peers. `npm run bench` runs it on each runtime.
//
//   node bench/main.ts [--only local|network] [--quick] [--json FILE]
//
// --quick measures next to nothing: it shows that everything runs.
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import process from "node:process"
import { parseArgs } from "node:util"
import { measureLocal } from "./local.ts"
import { markdown, runtime } from "./measure.ts"
import { measureNetwork } from "./network.ts"
import { measureProtection } from "./security.ts"
import { targetsOf, verdict } from "./targets.ts"

const { json, only, quick } = parseArgs({
  options: {
    json: { type: "string" },
    only: { type: "string" },
    quick: { type: "boolean", default: false }
  }
}).values

if (only !== undefined && only !== "local" && only !== "network") {
  console.error("--only local, or --only network")
  process.exit(1)
}

const local = quick ? { rounds: 2, millis: 2 } : { rounds: 9, millis: 100 }

const network = quick
  ? {
    rounds: 2,
    millis: 10,
    warmUpMillis: 10,
    latencyRounds: 2,
    latencyMillis: 10,
    bytes: 1 << 20,
    cancels: 1000,
    cancelRounds: 2,
    pending: 1000
  }
  : {
    rounds: 5,
    // A process that has rested needs some hundred milliseconds to be as fast as it was.
    millis: 500,
    warmUpMillis: 1200,
    latencyRounds: 12,
    latencyMillis: 300,
    bytes: 128 << 20,
    cancels: 1000,
    cancelRounds: 30,
    pending: 50_000
  }

const tables = [
  ...(only === "network" ? [] : [await Effect.runPromise(measureLocal(local))]),
  ...(only === "network" ? [] : await Effect.runPromise(measureProtection(local))),
  ...(only === "local" ? [] : await Effect.runPromise(measureNetwork(network)))
]
const targets = targetsOf(tables)

console.log(`
# ${runtime}

Medians; the rows of a table take turns, and a ratio is the median of the ratios in each turn.

${tables.map(markdown).join("\n\n")}

${quick ? "Targets: too little was measured to tell." : targets.map(verdict).join("\n")}
`)

if (json !== undefined) {
  writeFileSync(
    json,
    `${JSON.stringify({ runtime, tables, targets }, undefined, 2)}\n`
  )
}
process.exit()
