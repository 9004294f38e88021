// Measures one row of Callisto in one process, in the checkout that this file belongs to, and prints a line of JSON: without a row
// the names of all rows, else calls a second, by the clock (the upper quartile of its turns) and by the time of the processor.
//
//   node bench/compareWorker.ts [ROW]
import { Effect } from "effect"
import process from "node:process"
import { makeOwn, sizeFor, time } from "./local.ts"

const turns = 12
const millis = 40

const measure = Effect.gen(function* () {
  const rows = yield* makeOwn
  const row = rows.find(({ name }) => name === process.argv[2])
  if (row === undefined) return rows.map(({ name }) => name)
  // Until engines have compiled what they will.
  const n = yield* sizeFor(row, millis, 15)
  const calls = n * (row.callsPerLoop ?? 1)
  const rates: Array<number> = []
  const before = process.cpuUsage()
  for (let turn = 0; turn < turns; turn++) {
    rates.push(calls * 1000 / (yield* time(row, n)))
  }
  const { system, user } = process.cpuUsage(before)
  rates.sort((a, b) => a - b)
  return {
    wall: rates[Math.floor(turns * 0.75)],
    cpu: turns * calls * 1e6 / (system + user)
  }
}).pipe(Effect.scoped)

console.log(JSON.stringify(await Effect.runPromise(measure)))
process.exit()
