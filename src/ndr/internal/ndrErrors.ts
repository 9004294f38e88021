/**
 * How a refusal inside the codec of NDR becomes an `Ndr.NdrError`.
 */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import { formatPath } from "./ndrCodec.ts"
import { Refusal, type Status, status, Truncated } from "./ndrStream.ts"

/** `Ndr.NdrError`, and how many bytes a stub that ended too early has at least. */
export interface RefusedStub {
  readonly _tag: "NdrError"
  readonly status: Status
  readonly path: string
  readonly message: string
  readonly truncated: boolean
  readonly needed?: number
}

/** How many bytes a stub has at least that ended too early; `undefined` where that is not what is wrong. */
export const neededOf = (error: Omit<RefusedStub, "needed">): number | undefined => (error as RefusedStub).needed

export const ndrError = (status: Status, path: string, problem: string, needed?: number): RefusedStub => ({
  _tag: "NdrError",
  status,
  path,
  truncated: needed !== undefined,
  ...(needed === undefined ? {} : { needed }),
  message: `${path === "" ? "" : `${path}: `}${problem} (${status})`
})

/** The failure for an error that was thrown while a value was written or read. */
export const refused = (error: unknown): Result.Result<never, RefusedStub> => {
  if (!(error instanceof Refusal)) return Result.fail(ndrError(status.badStubData, "", wordsOf(error)))
  const path = formatPath(error.path.toReversed())
  return Result.fail(ndrError(error.status, path, error.problem, error instanceof Truncated ? error.needed : undefined))
}

/** Says what an error means that the code of a value or of its schema threw: a getter, a transformation, a full stack. */
export const wordsOf = (error: unknown): string => {
  if (error instanceof RangeError && /call stack|recursion/i.test(error.message)) {
    return "the value nests too deep for its schema. Send a list of parts in place of the tree"
  }
  return `reading the value failed: ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`
}

/** Runs a schema. The failure says what is wrong, also where the value's or the schema's own code threw. */
export const guarded = <A>(
  run: (value: unknown) => Exit.Exit<A, Schema.SchemaError>
) =>
(value: unknown): Result.Result<A, string> => {
  try {
    const exit = run(value)
    if (Exit.isSuccess(exit)) return Result.succeed(exit.value)
    const [reason] = exit.cause.reasons
    return Result.fail(
      reason?._tag === "Fail"
        ? reason.error.message
        : wordsOf(reason?._tag === "Die" ? reason.defect : Cause.squash(exit.cause))
    )
  } catch (error) {
    return Result.fail(wordsOf(error))
  }
}
