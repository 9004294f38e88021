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

/** Whether an error with these fields names its call. */
export const nameCall = (fields: { readonly address?: unknown } | undefined): boolean => fields?.address === text
