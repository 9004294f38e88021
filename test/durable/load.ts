/** Many calls at once, and what is left of them. */
import { Call, Interface, Manager } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Schema, Scope } from "effect"
import * as Sharding from "effect/cluster/Sharding"
import * as SqlClient from "effect/sql/SqlClient"
import type { CallsImpl } from "../../src/durable/internal/calls.ts"
import { sweep } from "../../src/durable/internal/server.ts"
import { budgetOf } from "../budget.ts"
import { eventually } from "./fixtures.ts"
import { build, type Kind } from "./worlds.ts"

const IMany = Interface.make("IMany", {
  uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b34",
  version: [1, 0],
  methods: { Run: Interface.method({ in: Schema.Int, out: Schema.Int, idempotent: true }) }
})

const total = budgetOf(10_000, 3_000)

export const load = (kind: Kind): unknown =>
  describe(`many calls on ${kind.name}`, () => {
    it.live(`${total} calls and no server, then two: all end, few at a time, and nothing is left of them`, () =>
      Effect.gen(function* () {
        const world = yield* yield* kind.worlds
        const client = yield* build(world.client())
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const calls = (yield* Durable.Calls) as unknown as CallsImpl
          const binding = yield* Durable.binding(IMany)
          const scope = yield* Scope.make()
          yield* Effect.forEach(
            Array.from({ length: total / 100 }, (_, n) =>
              n),
            (n) =>
              sql.withTransaction(Effect.forEach(
                Array.from({ length: 100 }, (_, i) => n * 100 + i),
                (i) => Call.start(binding, "Run", i),
                { discard: true }
              )),
            { discard: true }
          ).pipe(Scope.provide(scope))
          assert.strictEqual(calls.watches.size, total)
          yield* Scope.close(scope, Exit.void)
          // Released calls are nobody's, and go on.
          assert.strictEqual(calls.watches.size, 0)

          let running = 0
          let most = 0
          const concurrency = 16
          const manager = Manager.make(IMany, {
            Run: (i) =>
              Effect.suspend(() => {
                most = Math.max(most, ++running)
                return Effect.as(Effect.sleep(1), i)
              }).pipe(Effect.ensuring(Effect.sync(() => void running--)))
          })
          const server = Durable.serve([manager], { concurrency }).pipe(Layer.provideMerge(world.runner()))
          const servers = [yield* build(server), yield* build(server)]
          let resident = 0
          const left = Effect.gen(function* () {
            for (const server of servers) {
              resident = Math.max(resident, yield* Context.get(server, Sharding.Sharding).activeEntityCount)
            }
            return (yield* sql`SELECT id FROM callisto_calls WHERE outcome IS NULL LIMIT 1`).length
          })
          yield* eventually(left, (count) => count === 0, 240_000)
          assert.isAtMost(most, 2 * concurrency)
          assert.isAtMost(resident, 2_000)

          const answered = sql<{ readonly n: number }>`SELECT COUNT(*) AS n FROM cluster_replies`
          yield* eventually(answered, ([row]) => Number(row!.n) >= total, 60_000)
          yield* sql`UPDATE callisto_calls SET ended_at = 1`
          const before = performance.now()
          yield* sweep(calls, Date.now(), { keepEnded: 1, keepFinished: 1 })
          const took = performance.now() - before
          console.log(`${kind.name}: swept ${total} calls in ${Math.round(took)} ms`)
          for (const table of ["callisto_calls", "cluster_messages", "cluster_replies"]) {
            assert.deepStrictEqual(yield* sql`SELECT 1 FROM ${sql(table)} LIMIT 1`, [], table)
          }
          yield* eventually(
            Effect.forEach(servers, (server) => Context.get(server, Sharding.Sharding).activeEntityCount),
            (counts) => counts.every((count) => count <= 1),
            60_000
          )
        }).pipe(Effect.provideContext(client))
      }).pipe(Effect.scoped), 400_000)
  })
