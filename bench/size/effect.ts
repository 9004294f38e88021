// A small program of Effect and Schema: what a program has anyway that uses Callisto.
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const Numbers = Schema.Struct({ a: Schema.Int, b: Schema.Int })

const program = Effect.gen(function* () {
  const { a, b } = yield* Schema.decodeUnknownEffect(Numbers)({ a: 1, b: 2 })
  return yield* Effect.succeed(a + b)
}).pipe(Effect.scoped)

console.log(await Effect.runPromise(program))
