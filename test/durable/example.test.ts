/** The shop of examples/durable on PostgreSQL. The step `examples` of scripts/check.mjs runs it on SQLite. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import process from "node:process"
import { makePostgres } from "./postgres.ts"

const { problemsOfShop } = await import(new URL("../../scripts/shop.mjs", import.meta.url).href)

const runtime = process.versions["deno"] !== undefined ? "deno" : process.versions["bun"] !== undefined ? "bun" : "node"

describe("examples/durable", () => {
  it.live("demo.ts on PostgreSQL: tells the whole story", () =>
    Effect.gen(function* () {
      const { database } = yield* makePostgres
      const { host, name, port } = yield* database("shop")
      const url = `postgres://callisto@${host}:${port}/${name}`
      const problems = yield* Effect.promise<ReadonlyArray<string>>(() => problemsOfShop([runtime], "--database", url))
      assert.deepStrictEqual(problems, [])
    }).pipe(Effect.scoped), 200_000)
})
