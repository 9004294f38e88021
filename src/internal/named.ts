/**
 * The end of every message: the name under which docs/error_reference.md explains the error.
 */

/** A message that ends with the name of the error. */
export const named = (message: string, name: string): string => `${message} (${name})`

/** The message of an error of the library without its name and the full stop, for the middle of another sentence. */
export const clauseOf = (message: string): string => message.replace(/\.?( \(\w+\))?$/, "")

/** Throws the error for a value that a function does not take: inside of an effect a defect. */
export const refuseArgument: (owner: string, problem: string) => never = (owner, problem) => {
  throw new TypeError(named(`${owner}: ${problem}.`, "InvalidArgument"))
}
