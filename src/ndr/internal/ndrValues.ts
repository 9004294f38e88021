/**
 * What every kind of type says of values and definitions that it refuses.
 */
import { Refusal, status } from "./ndrStream.ts"

export const refuseDefinition = (problem: string): never => {
  throw new TypeError(problem)
}

/** A value in a few characters, for a message. */
export const show = (value: unknown): string => {
  const text = typeof value === "string"
    ? JSON.stringify(value)
    : typeof value === "object"
    ? value === null ? "null" : "an object"
    : String(value)
  return text.length > 60 ? `${text.slice(0, 60)}...` : text
}

export const refuseValue = (value: unknown, expected: string): never => {
  throw new Refusal(status.badStubData, `${show(value)} is not ${expected}`)
}

/** Refuses counts that differ from each other or from what is declared. */
export const refuseBound = (problem: string): never => {
  throw new Refusal(status.invalidBound, problem)
}

export const object = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null ? value as Record<string, unknown> : refuseValue(value, "an object")

export const isNumber = (value: unknown): value is number => typeof value === "number"

/** The target of a reference pointer. */
export const referent = (value: unknown): unknown => {
  if (value == null) throw new Refusal(status.nullReference, "a reference pointer can't be null")
  return value
}

/** Refuses to read null where the pointer in front of it is not null. */
export const refusePointerToNull = (): never => {
  throw new Refusal(
    status.badStubData,
    "a pointer to a null pointer, for which null would stand too. Put a structure of one field between: it travels alike"
  )
}
