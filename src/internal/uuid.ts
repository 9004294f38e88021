/**
 * UUIDs: their text, their bytes, and how new ones are made.
 */
import { refuseArgument } from "./named.ts"

/** The UUID that stands for no UUID. */
export const nil = "00000000-0000-0000-0000-000000000000"

const pattern = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/

/** The canonical form, lower case with hyphens; `undefined` for any text that is not a UUID, one in braces included. */
export const canonical = (text: string): string | undefined => {
  const lower = String(text).toLowerCase()
  return pattern.test(lower) ? lower : undefined
}

// ----------------------------------------------------------------------------
// bytes
// ----------------------------------------------------------------------------

// A UUID begins with three numbers, whose byte order varies; the other bytes stay in place.
const littleEndianOrder = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]

const codeOf = (digit: number): number => digit + (digit < 10 ? 0x30 : 0x57)

/** The character codes of the UUID that is read: text made of them at once needs no parts of text. */
const codes: Array<number> = Array.from(nil, (char) => char.charCodeAt(0))

/** Reads the 16 bytes of a UUID in the byte order of the message that holds them. */
export const read = (bytes: Uint8Array, at: number, littleEndian: boolean): string => {
  for (let i = 0, text = 0; i < 16; i++, text += 2) {
    const byte = bytes[at + (littleEndian ? littleEndianOrder[i]! : i)]!
    if (codes[text] === 0x2d) text++
    codes[text] = codeOf(byte >> 4)
    codes[text + 1] = codeOf(byte & 15)
  }
  return String.fromCharCode.apply(null, codes)
}

/** The value of a hexadecimal digit in lower case. */
const digit = (code: number): number => (code & 15) + 9 * (code >> 6)

/** Writes a UUID in its canonical form as 16 bytes. Throws a `TypeError` for any other text, and writes nothing. */
export const write = (bytes: Uint8Array, at: number, uuid: string, littleEndian: boolean): void => {
  if (!pattern.test(uuid)) {
    refuseArgument(`UUID ${JSON.stringify(uuid)}`, "it is not in canonical form: lower case, with hyphens")
  }
  for (let i = 0, text = 0; i < 16; i++, text += 2) {
    if (uuid.charCodeAt(text) === 0x2d) text++
    bytes[at + (littleEndian ? littleEndianOrder[i]! : i)] = digit(uuid.charCodeAt(text)) << 4 |
      digit(uuid.charCodeAt(text + 1))
  }
}

// ----------------------------------------------------------------------------
// new UUIDs
// ----------------------------------------------------------------------------

declare const crypto: { getRandomValues(words: Uint32Array): void }
declare const TextEncoder: new () => { encode(text: string): Uint8Array }

/** The UUID of a version that has the bits of four 32-bit numbers. */
const format = ([a, b, c, d]: ArrayLike<number> & Iterable<number>, version: number): string =>
  [a!, b! & 0xffff0fff | version << 12, c! & 0x3fffffff | 0x80000000, d!]
    .map((word) => (word >>> 0).toString(16).padStart(8, "0"))
    .join("")
    .replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-")

/** A random UUID, which nobody can guess: `crypto.randomUUID` is missing in pages without TLS. */
export const v4 = (): string => {
  const words = new Uint32Array(4)
  crypto.getRandomValues(words)
  return format(words, 4)
}

/** The UUID of a text in a name space: the same for everybody. */
export const v5 = (namespace: string, text: string): string => {
  const bytes = namespace.match(/[^-]{2}/g)!.map((hex) => parseInt(hex, 16))
  return format(sha1([...bytes, ...utf8(text)]), 5)
}

/** The first 32 bits of SHA-1 of a text. */
export const hash = (text: string): number => sha1(utf8(text))[0]! >>> 0

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

const rotate = (word: number, bits: number): number => word << bits | word >>> 32 - bits

/** SHA-1 as five 32-bit numbers: the runtimes' own is asynchronous. It only derives identifiers, it protects nothing. */
const sha1 = (message: ArrayLike<number>): ReadonlyArray<number> => {
  const { length } = message
  const words = new Int32Array((length + 8 >> 6) + 1 << 4)
  for (let i = 0; i <= length; i++) words[i >> 2]! |= (message[i] ?? 0x80) << 24 - 8 * (i & 3)
  words[words.length - 1] = length * 8
  let state = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0]
  for (let at = 0; at < words.length; at += 16) {
    const w = [...words.subarray(at, at + 16)]
    const before = state
    for (let i = 0; i < 80; i++) {
      const [a, b, c, d, e] = state as [number, number, number, number, number]
      const round = i / 20 | 0
      const word = w[i] ??= rotate(w[i - 3]! ^ w[i - 8]! ^ w[i - 14]! ^ w[i - 16]!, 1)
      const mixed = [d ^ b & (c ^ d), b ^ c ^ d, b & c | d & (b | c), b ^ c ^ d][round]!
      // The constants of the rounds are the roots of 2, 3, 5 and 10.
      const root = Math.sqrt([2, 3, 5, 10][round]!) * 2 ** 30 | 0
      state = [rotate(a, 5) + e + word + mixed + root | 0, a, rotate(b, 30), c, d]
    }
    state = state.map((word, i) => word + before[i]! | 0)
  }
  return state
}
