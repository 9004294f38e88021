// Makes calls with the build that it is given, and prints how many it makes in a second: the upper quartile of its turns.
import { Effect } from "effect"
import process from "node:process"
import { makeInvoke } from "./callisto.ts"

const [build, turns, calls] = [process.argv[2]!, Number(process.argv[3]), Number(process.argv[4])]
const library = await import(build)

const program = Effect.gen(function* () {
  const invoke = yield* makeInvoke(library)
  const rates: Array<number> = []
  for (let turn = 0; turn < turns; turn++) {
    const start = performance.now()
    yield* invoke(calls)
    rates.push(calls * 1000 / (performance.now() - start))
  }
  rates.sort((a, b) => a - b)
  return rates[Math.floor(turns * 0.75)]!
})

console.log(await Effect.runPromise(Effect.scoped(program)))
