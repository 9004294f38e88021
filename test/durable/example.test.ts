/** The shop of examples/durable on PostgreSQL. The step `examples` of scripts/check.mjs runs it on SQLite. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import process from "node:process"
import { makePostgres } from "./postgres.ts"
// @ts-expect-error a script without types
import { problemsOfShop } from "../../scripts/shop.mjs"

const runtime = process.versions["deno"] !== undefined ? "deno" : process.versions["bun"] !== undefined ? "bun" : "node"

describe("examples/durable", () => {
  it.live("demo.ts on PostgreSQL: tells the whole story", () =>
    Effect.gen(function* () {
      const { database } = yield* makePostgres
      const { host, name, port } = yield* database("shop")
      const problems = yield* Effect.promise(() =>
        problemsOfShop([runtime], "--database", `postgres://callisto@${host}:${port}/${name}`)
      )
      assert.deepStrictEqual(problems, [])
    }).pipe(Effect.scoped), 120_000)
})
