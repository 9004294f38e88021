/** The keytab file: keys of principals, for programs without a person who types a password. */
import type { Principal, Typed } from "./kerberosMessages.ts"

export interface KeytabEntry {
  readonly realm: string
  readonly principal: Principal
  readonly kvno: number
  /** The key: a view of the file. */
  readonly key: Typed
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

class Damaged extends Error {}

class Fields {
  readonly #view: DataView
  readonly #bytes: Uint8Array
  #at: number
  readonly #end: number

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    this.#at = at
    this.#end = end
  }

  get left(): number {
    return this.#end - this.#at
  }

  #take(length: number): number {
    if (length > this.left) throw new Damaged("an entry ends within a field")
    const at = this.#at
    this.#at += length
    return at
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1))
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2))
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4))
  }

  bytes(): Uint8Array {
    const length = this.u16()
    const at = this.#take(length)
    return this.#bytes.subarray(at, at + length)
  }

  text(): string {
    try {
      return utf8.decode(this.bytes())
    } catch (error) {
      throw error instanceof Damaged ? error : new Damaged("a name is not in UTF-8")
    }
  }
}

const entryOf = (fields: Fields): KeytabEntry => {
  const components = fields.u16()
  const realm = fields.text()
  const parts: Array<string> = []
  for (let i = 0; i < components; i++) parts.push(fields.text())
  const nameType = fields.u32()
  fields.u32()
  const shortKvno = fields.u8()
  const key = { type: fields.u16(), bytes: fields.bytes() }
  const kvno = fields.left >= 4 ? fields.u32() : 0
  return { realm, principal: { type: nameType, parts }, kvno: kvno === 0 ? shortKvno : kvno, key }
}

/** Reads a keytab file of version 5.2. Gives a sentence where it is none, or is damaged. */
export const readKeytab = (bytes: Uint8Array): ReadonlyArray<KeytabEntry> | string => {
  if (bytes.length < 2 || bytes[0] !== 5 || bytes[1] !== 2) return "the file does not begin with 05 02"
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const entries: Array<KeytabEntry> = []
  for (let at = 2; at < bytes.length;) {
    if (bytes.length - at < 4) return "the size of an entry is cut off"
    const size = view.getInt32(at)
    // A negative size is a hole, which a deleted entry leaves. Some programs fill the end of the file with zeros.
    const length = Math.abs(size)
    at += 4
    if (length > bytes.length - at) return "an entry is longer than the file"
    if (size > 0) {
      try {
        entries.push(entryOf(new Fields(bytes, at, at + length)))
      } catch (error) {
        if (error instanceof Damaged) return error.message
        throw error
      }
    }
    at += length
  }
  return entries
}
