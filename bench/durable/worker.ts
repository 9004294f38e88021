// A process that runs durable calls, and the requests they are compared with. It prints a line of JSON when it is ready, and one for each
// routine that takes long; it ends with its input.
//
//   node bench/durable/worker.ts PLACE PORT [nagle]
import { Effect, Layer, Logger } from "effect"
import process from "node:process"
import { useNagle } from "./nagle.ts"
import { layerOf, type Place, serve } from "./service.ts"

const [place, port, nagle] = process.argv.slice(2)
if (nagle !== undefined) useNagle()

const print = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`)

process.stdin.on("end", () => process.exit())
process.stdin.resume()

const live = serve((kind, n) => print({ kind, n })).pipe(
  Layer.provideMerge(layerOf(JSON.parse(place!) as Place, Number(port))),
  Layer.provide(Logger.layer([]))
)

await Effect.runPromise(
  Effect.andThen(Effect.sync(() => print({ value: true })), Effect.never).pipe(Effect.provide(live)) as Effect.Effect<
    never
  >
)
