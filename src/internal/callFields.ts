/**
 * The fields by which an error names the call that failed.
 */
import * as Schema from "effect/Schema"

export type OptionalText = Schema.optional<Schema.String>

const text: OptionalText = Schema.optional(Schema.String)

/** The call that failed: its interface, its method, and the address of the server. Absent means unknown. */
export type CallSchema = {
  readonly interface: OptionalText
  readonly method: OptionalText
  readonly address: OptionalText
}

export const callFields: CallSchema = { interface: text, method: text, address: text }

/** The call that a failure belongs to. */
export interface FailedCall {
  readonly interface: string
  readonly method: string
  readonly address?: string
}

/** Whether an error with these fields names its call. */
export const nameCall = (fields: { readonly address?: unknown } | undefined): boolean => fields?.address === text
