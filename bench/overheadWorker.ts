// Makes calls with the build that it is given, whenever it is told to.
import { Effect } from "effect"
import process from "node:process"
import { makeInvoke } from "./callisto.ts"

const library = await import(process.argv[2]!)

const turns = Effect.gen(function* () {
  const invoke = yield* makeInvoke(library)
  while (true) {
    const calls = yield* Effect.callback<number>((resume) => {
      process.once("message", (calls) => resume(Effect.succeed(calls as number)))
    })
    const start = performance.now()
    yield* invoke(calls)
    process.send!(performance.now() - start)
  }
})

process.once("disconnect", () => process.exit())
Effect.runFork(Effect.scoped(turns))
