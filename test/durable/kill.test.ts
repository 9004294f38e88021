/**
 * The randomized kill test, shortly, and its mutants. It starts many processes, so it runs once, on Node, whichever runtimes the other
 * tests run on; `npm run kill` mixes the runtimes, and takes its time.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import process from "node:process"
import { budgetOf, report, seed } from "../budget.ts"
import { mutants, sourcesOf } from "./kill/mutants.ts"
import { kill, wordsOf } from "./kill/run.ts"
import { makePostgres } from "./postgres.ts"

const isNode = process.versions["bun"] === undefined && process.versions["deno"] === undefined

describe("the mutants of durable calls", () => {
  it.effect("the text that each changes: it is in the sources, once", () =>
    Effect.scoped(Effect.forEach(mutants, sourcesOf, { discard: true })))
})

describe.skipIf(!isNode)("processes killed at random", () => {
  for (const [name, most] of [["PostgreSQL", 60], ["SQLite", 30]] as const) {
    const seconds = Math.min(most, budgetOf(20 * most))
    it.live(`${name}: no call is lost or done twice`, () =>
      Effect.scoped(Effect.gen(function* () {
        const postgres = name === "PostgreSQL" ? yield* makePostgres : undefined
        const result = yield* kill({ seed, seconds, postgres, runtimes: ["node"] })
        report(`processes killed on ${name}`, `${seconds} s, ${result.line}`)
        assert.isEmpty(result.violations, wordsOf(result, seed))
        assert.isAbove(result.counts.taken, 0)
      })), 240_000)
  }

  it.live("each mutant: a violation is found", () =>
    Effect.scoped(Effect.gen(function* () {
      const postgres = yield* makePostgres
      for (const mutant of mutants) {
        yield* Effect.scoped(Effect.gen(function* () {
          const sources = yield* sourcesOf(mutant)
          const { schedule } = mutant
          const result = yield* kill({
            seed,
            seconds: 60,
            postgres,
            runtimes: ["node"],
            sources,
            schedule,
            isMutant: true
          })
          assert.isTrue(
            result.violations.some((words) => words.includes(mutant.violation)),
            `${mutant.name}: ${wordsOf(result, seed)}`
          )
        }))
      }
    })), 400_000)
})
