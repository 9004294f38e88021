import { Observability } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Metric } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { eventually, makeBench } from "./fixtures.ts"
import { build, type Kind, postgres, sqlite } from "./worlds.ts"

/** The gauges of durable calls, by name and state. */
const gauges = Effect.map(Metric.snapshot, (metrics) =>
  Object.fromEntries(
    metrics.filter(({ id }) => id.startsWith("callisto_durable")).map(({ attributes, id, state }) => [
      `${id} ${attributes?.["state"] ?? ""}`.trim(),
      (state as { readonly value: number }).value
    ])
  ))

const metrics = (kind: Kind) =>
  it.live(
    `calls on ${kind.name}: the process that counts shows how many are in each state, and none when it ends`,
    () =>
      Effect.gen(function* () {
        const world = yield* yield* kind.worlds
        const client = yield* build(world.client())
        const now = Date.now()
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const states = [
            [3, {}],
            [2, { attempts: 1 }],
            [1, { attempts: 1, handed_off: 1 }],
            [4, { outcome: `{"t":"ok"}`, ended_at: now }],
            [5, { outcome: `{"t":"ok"}`, ended_at: now, finished_by: "a", finished_at: now }]
          ] as const
          for (const [count, columns] of states) {
            for (let i = 0; i < count; i++) {
              // No engine knows of them, so nobody runs them.
              const row = {
                id: crypto.randomUUID(),
                interface: "none 1",
                method: "None",
                input: "",
                begun_at: now - 60_000 - i,
                ...columns
              }
              yield* sql`INSERT INTO callisto_calls ${sql.insert(row as never)}`
            }
          }
        }).pipe(Effect.provideContext(client))

        const seen = yield* Effect.scoped(Effect.gen(function* () {
          yield* build(
            Durable.serve([makeBench().manager]).pipe(
              Layer.provideMerge(world.runner()),
              Layer.provide(Observability.layer)
            )
          )
          return yield* eventually(gauges, (all) => Object.keys(all).length === 6)
        }))
        const { callisto_durable_oldest_ready: age, ...counts } = seen
        assert.deepStrictEqual(counts, {
          "callisto_durable_calls ready": 3,
          "callisto_durable_calls running": 2,
          "callisto_durable_calls handed off": 1,
          "callisto_durable_calls ended": 4,
          "callisto_durable_calls finished": 5
        })
        assert.isAtLeast(age!, 60_002)
        assert.isBelow(age!, 60_002 + Date.now() - now)
        // The process has ended, and another one counts.
        assert.deepStrictEqual(Object.values(yield* gauges), Object.keys(seen).map(() => 0))
      }).pipe(Effect.scoped, Effect.provideService(Metric.MetricRegistry, new Map())),
    90_000
  )

describe("the metrics of durable calls", () => {
  metrics(sqlite)
  metrics(postgres)
})
