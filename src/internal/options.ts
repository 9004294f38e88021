/**
 * Checks options. A wrong one throws a `TypeError` that names the option, so the caller reads its options
 * inside an effect: there the error is a defect of the constructor.
 */
import * as Duration from "effect/Duration"
import { formatJson } from "effect/Formatter"
import * as Uuid from "./uuid.ts"

const refuse = (owner: string, name: string, value: unknown, expected: string): never => {
  throw new TypeError(
    `${owner}: ${name} is out of range, got ${
      value === undefined || typeof value === "number" ? value : formatJson(value)
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
  return millis >= least && (millis > 0 || !isEmpty(value))
    ? millis
    : refuse(owner, name, value, `a duration of at least ${least} ms`)
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

/** Whether a value names no unit of time. Duration reads such an object as zero. */
const isEmpty = (value: Duration.Input): boolean =>
  typeof value === "object" && !Duration.isDuration(value) && !Object.values(value).includes(0)

/** One of some values. Without a fallback it must be there. */
export const choiceOption = <Value>(
  owner: string,
  name: string,
  value: unknown,
  choices: ReadonlyArray<Value>,
  fallback?: Value
): Value => {
  const choice = value === undefined ? fallback : value as Value
  return choices.includes(choice!) ? choice! : refuse(owner, name, value, `one of ${JSON.stringify(choices)}`)
}

/** `true` or `false`. */
export const flagOption = (owner: string, name: string, value: boolean | undefined, fallback: boolean): boolean =>
  choiceOption(owner, name, value, [true, false], fallback)

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
    : refuse(owner, name, value, `an integer from ${min} to ${max}`)
}

/** The UUID of an object in its canonical form. */
export const objectOption = (owner: string, value: string | undefined): string | undefined => {
  if (value === undefined) return undefined
  return Uuid.canonical(value) ?? refuse(owner, "object", value, "a UUID")
}
