/**
 * Checks the numbers among options. A wrong one throws a `TypeError` that names the option, so the caller reads its options
 * inside an effect: there the error is a defect of the constructor.
 */
import * as Duration from "effect/Duration"
import { formatJson } from "effect/Formatter"
import * as Uuid from "./uuid.ts"

/** Refuses the value of an option. */
export const refuseOption = (owner: string, name: string, value: unknown, expected: string): never => {
  throw new TypeError(
    `${owner}: ${name} is out of range, got ${
      typeof value === "number" ? value : formatJson(value)
    }, expected ${expected}.`
  )
}

/** A duration in milliseconds, of at least `least`. Infinity is allowed. */
export const durationOption = (
  owner: string,
  name: string,
  value: Duration.Input | undefined,
  fallback: number,
  least = 0
): number => {
  if (value === undefined) return fallback
  const millis = millisOf(value)
  return millis >= least ? millis : refuseOption(owner, name, value, `a duration of at least ${least} ms`)
}

/** Milliseconds; NaN for what is no duration. */
const millisOf = (value: Duration.Input): number => {
  // Duration reads NaN as zero.
  if (Number.isNaN(value)) return NaN
  try {
    return Duration.toMillis(Duration.fromInputUnsafe(value))
  } catch {
    return NaN
  }
}

/** An integer from `min` to `max`. Infinity is allowed where it is the `max`. */
export const countOption = (
  owner: string,
  name: string,
  value: number | undefined,
  { max = Infinity, min = 0 }: { readonly min?: number; readonly max?: number },
  fallback: number
): number => {
  if (value === undefined) return fallback
  return value >= min && value <= max && (Number.isInteger(value) || value === Infinity)
    ? value
    : refuseOption(owner, name, value, `an integer from ${min} to ${max}`)
}

/** The UUID of an object in its canonical form. */
export const objectOption = (owner: string, value: string | undefined): string | undefined => {
  if (value === undefined) return undefined
  const uuid = Uuid.canonical(value)
  if (uuid !== undefined) return uuid
  throw new TypeError(`${owner}: object ${JSON.stringify(value)} is not a UUID.`)
}
