/** The three messages of NTLM: written, and read with every offset and length checked. */

/** The largest message. */
export const maxMessage = 2888

/** The flags in use. The others are neither offered nor looked at. */
export const flag = {
  unicode: 0x00000001,
  requestTarget: 0x00000004,
  sign: 0x00000010,
  seal: 0x00000020,
  ntlm: 0x00000200,
  anonymous: 0x00000800,
  alwaysSign: 0x00008000,
  server: 0x00020000,
  extendedSecurity: 0x00080000,
  identify: 0x00100000,
  targetInfo: 0x00800000,
  version: 0x02000000,
  key128: 0x20000000,
  keyExchange: 0x40000000,
  key56: 0x80000000
} as const

/** Whether all bits of a flag are set. */
export const has = (flags: number, wanted: number): boolean => ((flags & wanted) >>> 0) === wanted

/** Kinds of attribute-value pairs. */
export const av = {
  end: 0,
  computer: 1,
  domain: 2,
  dnsComputer: 3,
  dnsDomain: 4,
  dnsForest: 5,
  flags: 6,
  timestamp: 7,
  target: 9,
  channelBindings: 10
} as const

/** In the pair `flags`: the message has a check sum. */
export const hasMic = 2

/** An attribute-value pair. */
export interface Pair {
  readonly id: number
  readonly value: Uint8Array
}

/** Informative. Windows 10, whose form of the messages this is. */
const version = Uint8Array.of(0x0a, 0x00, 0x63, 0x45, 0x00, 0x00, 0x00, 0x0f)

const signature = Uint8Array.of(0x4e, 0x54, 0x4c, 0x4d, 0x53, 0x53, 0x50, 0x00)

/** Text as UTF-16 in little-endian order. */
export const toUtf16 = (text: string): Uint8Array => {
  const bytes = new Uint8Array(2 * text.length)
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    bytes[2 * i] = unit
    bytes[2 * i + 1] = unit >> 8
  }
  return bytes
}

const fromUtf16 = (bytes: Uint8Array): string => {
  let text = ""
  for (let i = 0; i < bytes.length; i += 2) text += String.fromCharCode(bytes[i]! | bytes[i + 1]! << 8)
  return text
}

/** An unsigned number of 32 bits. */
export const fromU32 = (value: number): Uint8Array => Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24)

// ----------------------------------------------------------------------------
// attribute-value pairs
// ----------------------------------------------------------------------------

/** Pairs with their end. */
export const encodePairs = (pairs: ReadonlyArray<Pair>): Uint8Array => {
  const bytes = new Uint8Array(pairs.reduce((size, { value }) => size + 4 + value.length, 4))
  let at = 0
  for (const { id, value } of pairs) {
    bytes[at] = id
    bytes[at + 1] = id >> 8
    bytes[at + 2] = value.length
    bytes[at + 3] = value.length >> 8
    bytes.set(value, at + 4)
    at += 4 + value.length
  }
  return bytes
}

/** The pairs up to their end. `undefined` where one is longer than the list, or the list has no end. */
export const parsePairs = (bytes: Uint8Array): ReadonlyArray<Pair> | undefined => {
  const pairs: Array<Pair> = []
  for (let at = 0; at + 4 <= bytes.length;) {
    const id = bytes[at]! | bytes[at + 1]! << 8
    const length = bytes[at + 2]! | bytes[at + 3]! << 8
    if (id === av.end) return length === 0 ? pairs : undefined
    if (length > bytes.length - at - 4) return undefined
    pairs.push({ id, value: bytes.subarray(at + 4, at + 4 + length) })
    at += 4 + length
  }
  return undefined
}

/** The value of the first pair of a kind. */
export const valueOf = (pairs: ReadonlyArray<Pair>, id: number): Uint8Array | undefined =>
  pairs.find((pair) => pair.id === id)?.value

// ----------------------------------------------------------------------------
// writing
// ----------------------------------------------------------------------------

/** Writes a message: a header of a fixed size, and a payload to which its fields point. */
class MessageWriter {
  readonly bytes: Uint8Array
  readonly view: DataView
  #end: number

  constructor(type: number, header: number, payload: ReadonlyArray<Uint8Array>) {
    this.bytes = new Uint8Array(payload.reduce((size, { length }) => size + length, header))
    this.view = new DataView(this.bytes.buffer)
    this.bytes.set(signature)
    this.view.setUint32(8, type, true)
    this.#end = header
  }

  /** A field of the header, whose contents come next in the payload. */
  field(at: number, contents: Uint8Array): void {
    this.view.setUint16(at, contents.length, true)
    this.view.setUint16(at + 2, contents.length, true)
    this.view.setUint32(at + 4, this.#end, true)
    this.bytes.set(contents, this.#end)
    this.#end += contents.length
  }
}

const none = new Uint8Array(0)

/** The client's first message. */
export const encodeNegotiate = (flags: number): Uint8Array => {
  const writer = new MessageWriter(1, 40, [])
  writer.view.setUint32(12, flags, true)
  writer.field(16, none)
  writer.field(24, none)
  writer.bytes.set(version, 32)
  return writer.bytes
}

/** The server's answer. */
export const encodeChallenge = (message: {
  readonly flags: number
  readonly target: string
  readonly challenge: Uint8Array
  readonly pairs: ReadonlyArray<Pair>
}): Uint8Array => {
  const target = toUtf16(message.target)
  const info = encodePairs(message.pairs)
  const writer = new MessageWriter(2, 56, [target, info])
  writer.field(12, target)
  writer.view.setUint32(20, message.flags, true)
  writer.bytes.set(message.challenge, 24)
  writer.field(40, info)
  writer.bytes.set(version, 48)
  return writer.bytes
}

/** Where the check sum of the client's second message is. */
export const micOffset = 72

/** The client's second message, with zeros for its check sum. */
export const encodeAuthenticate = (message: {
  readonly flags: number
  readonly domain: string
  readonly user: string
  readonly workstation: string
  readonly lmResponse: Uint8Array
  readonly ntResponse: Uint8Array
  readonly sessionKey: Uint8Array
}): Uint8Array => {
  const domain = toUtf16(message.domain)
  const user = toUtf16(message.user)
  const workstation = toUtf16(message.workstation)
  const { lmResponse, ntResponse, sessionKey } = message
  const writer = new MessageWriter(3, 88, [domain, user, workstation, lmResponse, ntResponse, sessionKey])
  writer.field(28, domain)
  writer.field(36, user)
  writer.field(44, workstation)
  writer.field(12, lmResponse)
  writer.field(20, ntResponse)
  writer.field(52, sessionKey)
  writer.view.setUint32(60, message.flags, true)
  writer.bytes.set(version, 64)
  return writer.bytes
}

// ----------------------------------------------------------------------------
// reading
// ----------------------------------------------------------------------------

const u32At = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! | bytes[at + 1]! << 8 | bytes[at + 2]! << 16 | bytes[at + 3]! << 24) >>> 0

/** Whether the bytes begin as a message of this type. */
export const isMessage = (bytes: Uint8Array, type: number): boolean =>
  bytes.length >= 12 && signature.every((byte, i) => bytes[i] === byte) && u32At(bytes, 8) === type

/** The problem of a message as a whole. */
const problemOf = (bytes: Uint8Array, type: number, header: number): string | undefined =>
  bytes.length > maxMessage
    ? `the message is too long, got ${bytes.length} bytes, expected at most ${maxMessage}`
    : !isMessage(bytes, type)
    ? `the message is not NTLM's message ${type}`
    : bytes.length < header
    ? `message ${type} is too short, got ${bytes.length} bytes, expected at least ${header}`
    : undefined

/** Reads the fields of a message. The first one that is wrong is the problem. */
class MessageReader {
  problem: string | undefined = undefined
  /** Where the payload begins: the smallest offset. */
  payload: number
  readonly #bytes: Uint8Array
  readonly #header: number

  constructor(bytes: Uint8Array, header: number) {
    this.#bytes = bytes
    this.#header = header
    this.payload = bytes.length
  }

  field(at: number, name: string): Uint8Array {
    const length = this.#bytes[at]! | this.#bytes[at + 1]! << 8
    // Clients write anything as the offset of an empty field.
    if (length === 0) return none
    const offset = u32At(this.#bytes, at + 4)
    if (offset < this.#header || offset + length > this.#bytes.length) {
      this.problem ??= `${name}: out of the message, got ${length} bytes at ${offset} of ${this.#bytes.length}`
      return none
    }
    this.payload = Math.min(this.payload, offset)
    return this.#bytes.subarray(offset, offset + length)
  }

  text(at: number, name: string): string {
    const bytes = this.field(at, name)
    if (bytes.length % 2 === 1) this.problem ??= `${name}: half a character of UTF-16, got ${bytes.length} bytes`
    return fromUtf16(bytes)
  }
}

/** The flags of the client's first message, or its problem. */
export const parseNegotiate = (bytes: Uint8Array): number | string => {
  const problem = problemOf(bytes, 1, 32)
  if (problem !== undefined) return problem
  const reader = new MessageReader(bytes, 32)
  reader.field(16, "domain")
  reader.field(24, "workstation")
  return reader.problem ?? u32At(bytes, 12)
}

/** The server's message. */
export interface Challenge {
  readonly flags: number
  readonly challenge: Uint8Array
  readonly pairs: ReadonlyArray<Pair>
}

/** The server's message, or its problem. */
export const parseChallenge = (bytes: Uint8Array): Challenge | string => {
  const problem = problemOf(bytes, 2, 48)
  if (problem !== undefined) return problem
  const reader = new MessageReader(bytes, 48)
  reader.field(12, "target name")
  const info = reader.field(40, "target information")
  const pairs = info.length === 0 ? [] : parsePairs(info)
  if (reader.problem !== undefined) return reader.problem
  if (pairs === undefined) return "target information: the list has no end"
  return { flags: u32At(bytes, 20), challenge: bytes.slice(24, 32), pairs }
}

/** The client's second message. */
export interface Authenticate {
  readonly flags: number
  readonly domain: string
  readonly user: string
  readonly ntResponse: Uint8Array
  readonly sessionKey: Uint8Array
  /** The check sum. Absent where the payload leaves no room for it. */
  readonly mic: Uint8Array | undefined
}

/** The client's second message, or its problem. */
export const parseAuthenticate = (bytes: Uint8Array): Authenticate | string => {
  const problem = problemOf(bytes, 3, 64)
  if (problem !== undefined) return problem
  const reader = new MessageReader(bytes, 64)
  reader.field(12, "LM response")
  const ntResponse = reader.field(20, "NT response")
  const domain = reader.text(28, "domain")
  const user = reader.text(36, "user")
  reader.text(44, "workstation")
  const sessionKey = reader.field(52, "session key")
  if (reader.problem !== undefined) return reader.problem
  const mic = reader.payload >= 88 ? bytes.subarray(micOffset, micOffset + 16) : undefined
  return { flags: u32At(bytes, 60), domain, user, ntResponse, sessionKey, mic }
}

/** An NT response of the second version. */
export interface NtResponse {
  readonly proof: Uint8Array
  /** What the proof is made over, with the server's challenge before it. */
  readonly claims: Uint8Array
  readonly pairs: ReadonlyArray<Pair>
}

/** An NT response, or its problem. */
export const parseNtResponse = (bytes: Uint8Array): NtResponse | string => {
  if (bytes.length <= 24) return "NT response: version 1 is refused"
  const claims = bytes.subarray(16)
  if (claims.length < 32 || claims[0] !== 1 || claims[1] !== 1) return "NT response: not of version 2"
  const pairs = parsePairs(claims.subarray(28))
  return pairs === undefined ? "NT response: the list has no end" : { proof: bytes.subarray(0, 16), claims, pairs }
}

/** An NT response of the second version without its proof. */
export const encodeClaims = (
  time: Uint8Array,
  clientChallenge: Uint8Array,
  pairs: ReadonlyArray<Pair>
): Uint8Array => {
  const list = encodePairs(pairs)
  const bytes = new Uint8Array(28 + list.length + 4)
  bytes[0] = 1
  bytes[1] = 1
  bytes.set(time, 8)
  bytes.set(clientChallenge, 16)
  bytes.set(list, 28)
  return bytes
}
