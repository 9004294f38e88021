import { Call } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import * as DurableNode from "@callisto/rpc/durable/node"
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { IBank, makeBench, makeEffects } from "./fixtures.ts"

it.live("embedded: a call runs", () =>
  Effect.gen(function* () {
    const bench = makeBench()
    const live = Durable.serve([bench.manager], { mode: { Pay: "transaction" } }).pipe(
      Layer.provideMerge(DurableNode.embedded({ file: ":memory:" }))
    )
    yield* Effect.gen(function* () {
      yield* makeEffects
      const bank = Call.client(yield* Durable.binding(IBank))
      const t = performance.now()
      assert.strictEqual(yield* bank.Add([1, 2, 3]), 6)
      console.log(performance.now() - t)
      const at = new Date(0)
      assert.deepStrictEqual(yield* bank.Pay({ amount: 5, at }), { receipt: "paid 5", at })
      console.log(yield* Effect.flip(bank.Pay({ amount: 500, at })))
    }).pipe(Effect.scoped, Effect.provide(live))
  }))
