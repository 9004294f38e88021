import * as SchemaIssue from "effect/SchemaIssue"
import { BadStubData } from "../Status.ts"

/** The refusal of in parameters. */
export const badInput = (problem: string): BadStubData =>
  new BadStubData({ detail: `The arguments were refused: ${problem}` })

/** The issue that a schema has with a value, in words; `undefined` for any other failure. */
export const issueIn = (failure: unknown): string | undefined =>
  SchemaIssue.isIssue(failure) ? SchemaIssue.makeFormatterDefault()(failure) : undefined
