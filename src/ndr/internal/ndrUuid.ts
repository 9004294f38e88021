/**
 * UUIDs, of themselves and in context handles.
 */
import * as Uuid from "../../internal/uuid.ts"
import type { Decoder, Encoder } from "./ndrStream.ts"
import { refuseValue } from "./ndrValues.ts"

export const writeUuid = (to: Encoder, value: unknown): void => {
  const uuid = typeof value === "string" ? Uuid.canonical(value) : undefined
  if (uuid === undefined) return refuseValue(value, "a UUID")
  to.align(4)
  to.reserve(16)
  Uuid.write(to.bytes, to.position, uuid, to.littleEndian)
  to.position += 16
}

export const readUuid = (from: Decoder): string => {
  from.align(4)
  from.require(1, 16)
  from.position += 16
  return Uuid.read(from.bytes, from.position - 16, from.littleEndian)
}
