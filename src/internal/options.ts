/**
 * Checks options. A wrong one throws a `TypeError` that names the option, so the caller reads its options
 * inside an effect: there the error is a defect of the constructor.
 */
import * as Duration from "effect/Duration"
import { format } from "effect/Formatter"
import { refuseArgument } from "./named.ts"
import * as Uuid from "./uuid.ts"

const refuseOption = (owner: string, name: string, value: unknown, expected: string): never =>
  refuseArgument(owner, `${name} is out of range, got ${format(value)}, expected ${expected}`)

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

/** Milliseconds; NaN for a value that is no duration. */
const millisOf = (value: Duration.Input): number => {
  try {
    const millis = Duration.toMillis(Duration.fromInputUnsafe(value))
    const parts: ReadonlyArray<unknown> = typeof value === "object" && !Duration.isDuration(value)
      ? Object.values(value)
      : [value, 0]
    // Duration reads NaN as zero, and so an object without a unit of time.
    return parts.some(Number.isNaN) || millis === 0 && !parts.includes(0) ? NaN : millis
  } catch {
    return NaN
  }
}

/** One of some values. Without a fallback it must be there. */
export const choiceOption = <Value>(
  owner: string,
  name: string,
  value: unknown,
  choices: ReadonlyArray<Value>,
  fallback?: Value
): Value => {
  const choice = value === undefined ? fallback : value as Value
  return choices.includes(choice!) ? choice! : refuseOption(owner, name, value, `one of ${JSON.stringify(choices)}`)
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
  return (Number.isInteger(value) || value === Infinity) && value >= min && value <= max
    ? value
    : refuseOption(owner, name, value, `an integer from ${min} to ${max}`)
}

/** The UUID of an object in its canonical form. */
export const objectOption = (owner: string, value: string | undefined): string | undefined => {
  if (value === undefined) return undefined
  return Uuid.canonical(value) ?? refuseOption(owner, "object", value, "a UUID")
}
