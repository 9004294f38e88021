/**
 * How a refusal inside the codec of NDR becomes an `Ndr.NdrError`.
 */
import * as Result from "effect/Result"
import { formatPath } from "./ndrCodec.ts"
import { Refusal, type Status, Truncated } from "./ndrStream.ts"

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

/** The failure for what was thrown inside the codec. Anything else than a refusal is thrown again. */
export const refused = (error: unknown): Result.Result<never, RefusedStub> => {
  if (!(error instanceof Refusal)) throw error
  const path = formatPath(error.path.toReversed())
  return Result.fail(ndrError(error.status, path, error.problem, error instanceof Truncated ? error.needed : undefined))
}
