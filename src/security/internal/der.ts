/**
 * DER, as SPNEGO and Kerberos need it: tags of one byte, definite lengths in their shortest form, a bounded depth.
 *
 * The reader throws a {@link DerFailure} for anything else; {@link decode} gives it as a value.
 */

/** The bytes are no DER, or another structure than expected. */
export class DerFailure extends Error {
  override readonly name = "DerFailure"
}

const tags = {
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  enumerated: 0x0a,
  time: 0x18,
  text: 0x1b,
  sequence: 0x30
} as const

const maxDepthDefault = 16

const hex = (tag: number): string => tag.toString(16).padStart(2, "0")

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

// ----------------------------------------------------------------------------
// reading
// ----------------------------------------------------------------------------

/** Reads the elements within one element, from the first to the last. The bytes that it gives are views of the input. */
export class DerReader {
  #bytes: Uint8Array
  #at: number
  #end: number
  #levels: number

  constructor(bytes: Uint8Array, at: number, end: number, levels: number) {
    this.#bytes = bytes
    this.#at = at
    this.#end = end
    this.#levels = levels
  }

  /** Whether every element has been read. */
  get atEnd(): boolean {
    return this.#at === this.#end
  }

  /** The tag of the next element. Absent at the end. */
  get tag(): number | undefined {
    return this.#at < this.#end ? this.#bytes[this.#at] : undefined
  }

  #byte(): number {
    if (this.#at >= this.#end) throw new DerFailure("DER: the data ends within an element")
    return this.#bytes[this.#at++]!
  }

  /** Reads tag and length, and gives where the contents end. They begin at the place reached. */
  #header(expected?: number): number {
    const tag = this.#byte()
    if (expected !== undefined && tag !== expected) {
      throw new DerFailure(`DER: unexpected element, got tag 0x${hex(tag)}, expected 0x${hex(expected)}`)
    }
    if ((tag & 0x1f) === 0x1f) throw new DerFailure("DER: a tag of several bytes")
    let length = this.#byte()
    if (length >= 0x80) {
      const count = length & 0x7f
      if (count === 0) throw new DerFailure("DER: a length without limit")
      if (count > 4) throw new DerFailure(`DER: a length of ${count} bytes, expected at most 4`)
      length = 0
      for (let i = 0; i < count; i++) length = length * 256 + this.#byte()
      if (length < (count === 1 ? 0x80 : 2 ** (8 * (count - 1)))) {
        throw new DerFailure("DER: a length with surplus bytes")
      }
    }
    if (length > this.#end - this.#at) throw new DerFailure("DER: an element is longer than what contains it")
    return this.#at + length
  }

  /** The contents of the next element. */
  contents(tag: number): Uint8Array {
    const end = this.#header(tag)
    const contents = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return contents
  }

  /** The next element as it stands, tag and length included. */
  element(): Uint8Array {
    const start = this.#at
    this.#at = this.#header()
    return this.#bytes.subarray(start, this.#at)
  }

  /** Skips all further elements of this one. */
  skipRest(): void {
    while (!this.atEnd) this.element()
  }

  /** Reads the elements within the next one. All of them must be read. */
  inside<A>(tag: number, read: (reader: DerReader) => A): A {
    if (this.#levels === 0) throw new DerFailure("DER: the elements are nested too deeply")
    const end = this.#header(tag)
    const reader = new DerReader(this.#bytes, this.#at, end, this.#levels - 1)
    const value = read(reader)
    if (!reader.atEnd) throw new DerFailure(`DER: surplus data in the element with tag 0x${hex(tag)}`)
    this.#at = end
    return value
  }

  /** The same where the element may be absent. */
  optional<A>(tag: number, read: (reader: DerReader) => A): A | undefined {
    return this.tag === tag ? this.inside(tag, read) : undefined
  }

  /** A field `[number]` of a sequence. */
  field<A>(number: number, read: (reader: DerReader) => A): A {
    return this.inside(0xa0 + number, read)
  }

  /** A field `[number]` that may be absent. */
  optionalField<A>(number: number, read: (reader: DerReader) => A): A | undefined {
    return this.optional(0xa0 + number, read)
  }

  /** A structure `[APPLICATION number]`. */
  application<A>(number: number, read: (reader: DerReader) => A): A {
    return this.inside(0x60 + number, read)
  }

  sequence<A>(read: (reader: DerReader) => A): A {
    return this.inside(tags.sequence, read)
  }

  /** A sequence of equal elements. */
  list<A>(read: (reader: DerReader) => A, limit = 1024): Array<A> {
    return this.sequence((reader) => {
      const items: Array<A> = []
      while (!reader.atEnd) {
        if (items.length === limit) throw new DerFailure(`DER: a list of more than ${limit} elements`)
        items.push(read(reader))
      }
      return items
    })
  }

  #number(tag: number): number {
    const contents = this.contents(tag)
    if (contents.length === 0 || contents.length > 6) {
      throw new DerFailure(`DER: an integer of ${contents.length} bytes, expected 1 to 6`)
    }
    let value = contents[0]! << 24 >> 24
    if (contents.length > 1 && (value === 0 || value === -1) && (contents[1]! >= 0x80) === (value === -1)) {
      throw new DerFailure("DER: an integer with surplus bytes")
    }
    for (let i = 1; i < contents.length; i++) value = value * 256 + contents[i]!
    return value
  }

  /** An integer of at most 6 bytes. */
  integer(): number {
    return this.#number(tags.integer)
  }

  /** An unsigned integer of 32 bits. Some peers write it as a negative one. */
  uint32(): number {
    const value = this.#number(tags.integer)
    if (value < -0x80000000 || value > 0xffffffff) throw new DerFailure(`DER: ${value} does not fit into 32 bits`)
    return value >>> 0
  }

  enumerated(): number {
    return this.#number(tags.enumerated)
  }

  octets(): Uint8Array {
    return this.contents(tags.octets)
  }

  /** The flags of a bit string of 32 bits or more: the first bit of the string is the highest one. */
  flags(): number {
    const contents = this.contents(tags.bits)
    if (contents.length < 5 || contents[0] !== 0) throw new DerFailure("DER: flags must have 32 bits or more")
    return (contents[1]! << 24 | contents[2]! << 16 | contents[3]! << 8 | contents[4]!) >>> 0
  }

  /** A GeneralString, in UTF-8. */
  text(): string {
    try {
      return utf8.decode(this.contents(tags.text))
    } catch (error) {
      if (error instanceof DerFailure) throw error
      throw new DerFailure("DER: a text is not in UTF-8")
    }
  }

  /** A GeneralizedTime `YYYYMMDDHHMMSSZ`, in milliseconds since 1970. */
  time(): number {
    const text = String.fromCharCode(...this.contents(tags.time).subarray(0, 16))
    const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text) ?? []
    const time = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
    // A day that does not exist, 31 February, is another day when written again.
    if (Number.isNaN(time) || digitsOf(time) !== text) throw new DerFailure("DER: a time is not YYYYMMDDHHMMSSZ")
    return time
  }

  /** An object identifier: `1.3.6.1.5.5.2`. */
  oid(): string {
    const contents = this.contents(tags.oid)
    if (contents.length === 0 || contents.length > 64 || contents[contents.length - 1]! >= 0x80) {
      throw new DerFailure("DER: an object identifier that ends in the middle")
    }
    const arcs: Array<number> = []
    let arc = 0
    let first = true
    for (const byte of contents) {
      if (first && byte === 0x80) throw new DerFailure("DER: an object identifier with surplus bytes")
      arc = arc * 128 + (byte & 0x7f)
      if (arc > 0xffffffff) throw new DerFailure("DER: an arc of an object identifier is too large")
      first = byte < 0x80
      if (!first) continue
      if (arcs.length === 0) {
        const root = Math.min(2, Math.floor(arc / 40))
        arcs.push(root, arc - 40 * root)
      } else arcs.push(arc)
      arc = 0
    }
    return arcs.join(".")
  }
}

/** Reads one element that fills the bytes. `levels` is the number of elements that may stand in each other. */
export const decode = <A>(
  bytes: Uint8Array,
  read: (reader: DerReader) => A,
  levels: number = maxDepthDefault
): A | DerFailure => {
  const reader = new DerReader(bytes, 0, bytes.length, levels)
  try {
    const value = read(reader)
    return reader.atEnd ? value : new DerFailure("DER: surplus data at the end")
  } catch (error) {
    if (error instanceof DerFailure) return error
    throw error
  }
}

// ----------------------------------------------------------------------------
// writing
// ----------------------------------------------------------------------------

/** Parts of an element. An absent one is an optional field that is not sent. */
export type Parts = ReadonlyArray<Uint8Array | undefined>

/** An element with this tag. */
export const element = (tag: number, ...parts: Parts): Uint8Array => {
  let length = 0
  for (const part of parts) length += part?.length ?? 0
  const header = [tag]
  if (length < 0x80) header.push(length)
  else {
    const count = length < 0x100 ? 1 : length < 0x10000 ? 2 : length < 0x1000000 ? 3 : 4
    header.push(0x80 | count)
    for (let i = count - 1; i >= 0; i--) header.push(length >>> (8 * i) & 0xff)
  }
  const bytes = new Uint8Array(header.length + length)
  bytes.set(header)
  let at = header.length
  for (const part of parts) {
    if (part === undefined) continue
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

/** A field `[number]` of a sequence. Absent where its contents are. */
export const field: {
  (number: number, contents: Uint8Array): Uint8Array
  (number: number, contents: Uint8Array | undefined): Uint8Array | undefined
} = (number: number, contents: Uint8Array | undefined): any =>
  contents === undefined ? undefined : element(0xa0 + number, contents)

/** A structure `[APPLICATION number]`. */
export const application = (number: number, ...parts: Parts): Uint8Array => element(0x60 + number, ...parts)

export const sequence = (...parts: Parts): Uint8Array => element(tags.sequence, ...parts)

const number = (tag: number, value: number): Uint8Array => {
  const bytes = [value & 0xff]
  let rest = Math.floor(value / 256)
  // The first byte carries the sign.
  while (rest !== (bytes[0]! >= 0x80 ? -1 : 0)) {
    bytes.unshift(rest & 0xff)
    rest = Math.floor(rest / 256)
  }
  return element(tag, Uint8Array.from(bytes))
}

/** An integer of at most 6 bytes. */
export const integer = (value: number): Uint8Array => number(tags.integer, value)

export const enumerated = (value: number): Uint8Array => number(tags.enumerated, value)

export const octets = (bytes: Uint8Array): Uint8Array => element(tags.octets, bytes)

/** A bit string of 32 bits; the first bit of the string is the highest one. */
export const flags = (value: number): Uint8Array =>
  element(tags.bits, Uint8Array.of(0, value >>> 24, value >>> 16, value >>> 8, value))

/** A GeneralString, in UTF-8. */
export const text = (value: string): Uint8Array => element(tags.text, new TextEncoder().encode(value))

const digitsOf = (time: number): string => `${new Date(time).toISOString().slice(0, 19).replace(/[-T:]/g, "")}Z`

/** A GeneralizedTime, from milliseconds since 1970; the fraction of a second is cut off. */
export const time = (value: number): Uint8Array => element(tags.time, new TextEncoder().encode(digitsOf(value)))

/** An object identifier: `1.3.6.1.5.5.2`. */
export const oid = (value: string): Uint8Array => {
  const [root = 0, second = 0, ...arcs] = value.split(".").map(Number)
  const bytes: Array<number> = []
  for (const arc of [40 * root + second, ...arcs]) {
    const groups = [arc % 128]
    for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128)) groups.unshift(0x80 | rest % 128)
    bytes.push(...groups)
  }
  return element(tags.oid, Uint8Array.from(bytes))
}
