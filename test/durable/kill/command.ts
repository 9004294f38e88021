/** `npm run kill`: the kill test for minutes, on each database, with all runtimes, and its mutants. */
import { Effect, type Scope } from "effect"
import process from "node:process"
import { parseArgs } from "node:util"
import { makePostgres } from "../postgres.ts"
import type { Runtime } from "../spawned.ts"
import { mutants, sourcesOf } from "./mutants.ts"
import { kill, present, wordsOf } from "./run.ts"

const usage =
  `npm run kill -- [--minutes 10] [--database postgres|sqlite] [--seed NUMBER] [--runtimes node,deno,bun] [--mutants | --no-mutants] [--verbose]

Kills the processes of durable calls at random, then checks that no call was lost or done twice.
--database  one database in place of both
--mutants   the mutants alone, which the test must find
--verbose   prints what processes said that ended by themselves`

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    database: { type: "string" },
    seed: { type: "string" },
    runtimes: { type: "string", default: "node,deno,bun" },
    mutants: { type: "boolean" },
    verbose: { type: "boolean", default: false },
    help: { type: "boolean", default: false }
  },
  allowNegative: true
})

const seconds = Number(values.minutes) * 60
const seed = Number(values.seed ?? process.env["CALLISTO_SEED"] ?? Math.floor(Math.random() * 0x7fffffff))
const databases = values.database === undefined ? ["postgres", "sqlite"] : [values.database]
const runtimes = present(values.runtimes.split(",") as Array<Runtime>)

const main: Effect.Effect<boolean, unknown, Scope.Scope> = Effect.gen(function* () {
  let isGood = true
  for (const database of values.mutants === true ? [] : databases) {
    console.log(`${database}: ${values.minutes} minutes on ${runtimes.join(", ")}, seed ${seed}`)
    const result = yield* Effect.scoped(Effect.gen(function* () {
      const postgres = database === "postgres" ? yield* makePostgres : undefined
      return yield* kill({ seed, seconds, runtimes, postgres })
    }))
    if (values.verbose) console.log(result.ends.join("\n"))
    console.log(`${database}: ${wordsOf(result, seed)}`)
    if (result.violations.length > 0) isGood = false
  }
  if (values.mutants === false) return isGood
  const postgres = yield* makePostgres
  for (const mutant of mutants) {
    const result = yield* Effect.scoped(Effect.gen(function* () {
      const sources = yield* sourcesOf(mutant)
      return yield* kill({
        seed,
        seconds: 60,
        runtimes: ["node"],
        postgres,
        sources,
        schedule: mutant.schedule,
        isMutant: true
      })
    }))
    const isFound = result.violations.some((words) => words.includes(mutant.violation))
    console.log(
      `mutant ${mutant.name}: ${isFound ? `found: ${mutant.violation}` : `NOT FOUND: ${wordsOf(result, seed)}`}`
    )
    if (!isFound) isGood = false
  }
  return isGood
})

if (
  values.help || !(seconds > 0) || !Number.isInteger(seed) ||
  databases.some((name) => !["postgres", "sqlite"].includes(name))
) {
  console.log(usage)
  process.exit(values.help ? 0 : 1)
}
const controller = new AbortController()
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => controller.abort())
// A script that started this one and was killed has not told it so.
const parent = process.ppid
setInterval(() => {
  if (process.ppid !== parent) controller.abort()
}, 1_000).unref()
Effect.runPromise(Effect.scoped(main), { signal: controller.signal }).then(
  (isGood) => process.exit(isGood ? 0 : 1),
  (error) => {
    if (!controller.signal.aborted) console.error(error)
    process.exit(1)
  }
)
