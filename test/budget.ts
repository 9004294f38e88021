/** What random tests spend: a share of their budgets, from one seed. */
import { appendFileSync } from "node:fs"
import process from "node:process"

/** `CALLISTO_SHARE`, above 0 to 1. `npm run fuzz` spends all, `npm test -- --quick` a hundredth. */
const share = Number(process.env["CALLISTO_SHARE"] ?? 1 / 20)

/** The share of a whole budget. A test that has to meet rare cases needs some steps `atLeast`. */
export const budgetOf = (whole: number, atLeast = 1): number => Math.max(atLeast, Math.round(whole * share))

/** The seed of this run. `CALLISTO_SEED` repeats another one. */
export const seed = Number(process.env["CALLISTO_SEED"] ?? Math.floor(Math.random() * 0x7fffffff))

/** Prints what a random test did. `npm test` repeats it in its closing words. */
export const report = (title: string, done: string): void => {
  const line = `${title} (${process.env["CALLISTO_RUNTIME"] ?? "this runtime"}): ${done}, seed ${seed}`
  console.log(`${line} (set CALLISTO_SEED to repeat it)`)
  const file = process.env["CALLISTO_REPORT"]
  if (file !== undefined) appendFileSync(file, `${line}\n`)
}
