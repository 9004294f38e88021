/**
 * MD5 and HMAC-MD5, for NTLM, which is defined by them. Neither is to be used for anything new.
 *
 * A session hashes each PDU where it lies: its HMAC key is hashed ahead, and nothing is joined or allocated for a PDU.
 */

/** The state before the first block. */
const initial = [0x67452301, -0x10325477, -0x67452302, 0x10325476] as const

/**
 * Hashes whole blocks of 64 bytes. The steps are written out: a loop over tables takes three times as long. Each step adds the newest
 * word last, so that the rest is ready by then: twice as fast.
 */
const compress = (state: Int32Array, bytes: Uint8Array, start: number, blocks: number): void => {
  let a = state[0]!
  let b = state[1]!
  let c = state[2]!
  let d = state[3]!
  for (let at = start, end = start + 64 * blocks; at < end; at += 64) {
    const a0 = a
    const b0 = b
    const c0 = c
    const d0 = d
    const x0 = bytes[at]! | bytes[at + 1]! << 8 | bytes[at + 2]! << 16 | bytes[at + 3]! << 24
    const x1 = bytes[at + 4]! | bytes[at + 5]! << 8 | bytes[at + 6]! << 16 | bytes[at + 7]! << 24
    const x2 = bytes[at + 8]! | bytes[at + 9]! << 8 | bytes[at + 10]! << 16 | bytes[at + 11]! << 24
    const x3 = bytes[at + 12]! | bytes[at + 13]! << 8 | bytes[at + 14]! << 16 | bytes[at + 15]! << 24
    const x4 = bytes[at + 16]! | bytes[at + 17]! << 8 | bytes[at + 18]! << 16 | bytes[at + 19]! << 24
    const x5 = bytes[at + 20]! | bytes[at + 21]! << 8 | bytes[at + 22]! << 16 | bytes[at + 23]! << 24
    const x6 = bytes[at + 24]! | bytes[at + 25]! << 8 | bytes[at + 26]! << 16 | bytes[at + 27]! << 24
    const x7 = bytes[at + 28]! | bytes[at + 29]! << 8 | bytes[at + 30]! << 16 | bytes[at + 31]! << 24
    const x8 = bytes[at + 32]! | bytes[at + 33]! << 8 | bytes[at + 34]! << 16 | bytes[at + 35]! << 24
    const x9 = bytes[at + 36]! | bytes[at + 37]! << 8 | bytes[at + 38]! << 16 | bytes[at + 39]! << 24
    const x10 = bytes[at + 40]! | bytes[at + 41]! << 8 | bytes[at + 42]! << 16 | bytes[at + 43]! << 24
    const x11 = bytes[at + 44]! | bytes[at + 45]! << 8 | bytes[at + 46]! << 16 | bytes[at + 47]! << 24
    const x12 = bytes[at + 48]! | bytes[at + 49]! << 8 | bytes[at + 50]! << 16 | bytes[at + 51]! << 24
    const x13 = bytes[at + 52]! | bytes[at + 53]! << 8 | bytes[at + 54]! << 16 | bytes[at + 55]! << 24
    const x14 = bytes[at + 56]! | bytes[at + 57]! << 8 | bytes[at + 58]! << 16 | bytes[at + 59]! << 24
    const x15 = bytes[at + 60]! | bytes[at + 61]! << 8 | bytes[at + 62]! << 16 | bytes[at + 63]! << 24
    a = (a + x0 - 0x28955b88 | 0) + (d ^ b & (c ^ d)) | 0
    a = (a << 7 | a >>> 25) + b | 0
    d = (d + x1 - 0x173848aa | 0) + (c ^ a & (b ^ c)) | 0
    d = (d << 12 | d >>> 20) + a | 0
    c = (c + x2 + 0x242070db | 0) + (b ^ d & (a ^ b)) | 0
    c = (c << 17 | c >>> 15) + d | 0
    b = (b + x3 - 0x3e423112 | 0) + (a ^ c & (d ^ a)) | 0
    b = (b << 22 | b >>> 10) + c | 0
    a = (a + x4 - 0xa83f051 | 0) + (d ^ b & (c ^ d)) | 0
    a = (a << 7 | a >>> 25) + b | 0
    d = (d + x5 + 0x4787c62a | 0) + (c ^ a & (b ^ c)) | 0
    d = (d << 12 | d >>> 20) + a | 0
    c = (c + x6 - 0x57cfb9ed | 0) + (b ^ d & (a ^ b)) | 0
    c = (c << 17 | c >>> 15) + d | 0
    b = (b + x7 - 0x2b96aff | 0) + (a ^ c & (d ^ a)) | 0
    b = (b << 22 | b >>> 10) + c | 0
    a = (a + x8 + 0x698098d8 | 0) + (d ^ b & (c ^ d)) | 0
    a = (a << 7 | a >>> 25) + b | 0
    d = (d + x9 - 0x74bb0851 | 0) + (c ^ a & (b ^ c)) | 0
    d = (d << 12 | d >>> 20) + a | 0
    c = (c + x10 - 0xa44f | 0) + (b ^ d & (a ^ b)) | 0
    c = (c << 17 | c >>> 15) + d | 0
    b = (b + x11 - 0x76a32842 | 0) + (a ^ c & (d ^ a)) | 0
    b = (b << 22 | b >>> 10) + c | 0
    a = (a + x12 + 0x6b901122 | 0) + (d ^ b & (c ^ d)) | 0
    a = (a << 7 | a >>> 25) + b | 0
    d = (d + x13 - 0x2678e6d | 0) + (c ^ a & (b ^ c)) | 0
    d = (d << 12 | d >>> 20) + a | 0
    c = (c + x14 - 0x5986bc72 | 0) + (b ^ d & (a ^ b)) | 0
    c = (c << 17 | c >>> 15) + d | 0
    b = (b + x15 + 0x49b40821 | 0) + (a ^ c & (d ^ a)) | 0
    b = (b << 22 | b >>> 10) + c | 0
    a = (a + x1 - 0x9e1da9e + (c & ~d) | 0) + (b & d) | 0
    a = (a << 5 | a >>> 27) + b | 0
    d = (d + x6 - 0x3fbf4cc0 + (b & ~c) | 0) + (a & c) | 0
    d = (d << 9 | d >>> 23) + a | 0
    c = (c + x11 + 0x265e5a51 + (a & ~b) | 0) + (d & b) | 0
    c = (c << 14 | c >>> 18) + d | 0
    b = (b + x0 - 0x16493856 + (d & ~a) | 0) + (c & a) | 0
    b = (b << 20 | b >>> 12) + c | 0
    a = (a + x5 - 0x29d0efa3 + (c & ~d) | 0) + (b & d) | 0
    a = (a << 5 | a >>> 27) + b | 0
    d = (d + x10 + 0x2441453 + (b & ~c) | 0) + (a & c) | 0
    d = (d << 9 | d >>> 23) + a | 0
    c = (c + x15 - 0x275e197f + (a & ~b) | 0) + (d & b) | 0
    c = (c << 14 | c >>> 18) + d | 0
    b = (b + x4 - 0x182c0438 + (d & ~a) | 0) + (c & a) | 0
    b = (b << 20 | b >>> 12) + c | 0
    a = (a + x9 + 0x21e1cde6 + (c & ~d) | 0) + (b & d) | 0
    a = (a << 5 | a >>> 27) + b | 0
    d = (d + x14 - 0x3cc8f82a + (b & ~c) | 0) + (a & c) | 0
    d = (d << 9 | d >>> 23) + a | 0
    c = (c + x3 - 0xb2af279 + (a & ~b) | 0) + (d & b) | 0
    c = (c << 14 | c >>> 18) + d | 0
    b = (b + x8 + 0x455a14ed + (d & ~a) | 0) + (c & a) | 0
    b = (b << 20 | b >>> 12) + c | 0
    a = (a + x13 - 0x561c16fb + (c & ~d) | 0) + (b & d) | 0
    a = (a << 5 | a >>> 27) + b | 0
    d = (d + x2 - 0x3105c08 + (b & ~c) | 0) + (a & c) | 0
    d = (d << 9 | d >>> 23) + a | 0
    c = (c + x7 + 0x676f02d9 + (a & ~b) | 0) + (d & b) | 0
    c = (c << 14 | c >>> 18) + d | 0
    b = (b + x12 - 0x72d5b376 + (d & ~a) | 0) + (c & a) | 0
    b = (b << 20 | b >>> 12) + c | 0
    a = (a + x5 - 0x5c6be | 0) + (c ^ d ^ b) | 0
    a = (a << 4 | a >>> 28) + b | 0
    d = (d + x8 - 0x788e097f | 0) + (b ^ c ^ a) | 0
    d = (d << 11 | d >>> 21) + a | 0
    c = (c + x11 + 0x6d9d6122 | 0) + (a ^ b ^ d) | 0
    c = (c << 16 | c >>> 16) + d | 0
    b = (b + x14 - 0x21ac7f4 | 0) + (d ^ a ^ c) | 0
    b = (b << 23 | b >>> 9) + c | 0
    a = (a + x1 - 0x5b4115bc | 0) + (c ^ d ^ b) | 0
    a = (a << 4 | a >>> 28) + b | 0
    d = (d + x4 + 0x4bdecfa9 | 0) + (b ^ c ^ a) | 0
    d = (d << 11 | d >>> 21) + a | 0
    c = (c + x7 - 0x944b4a0 | 0) + (a ^ b ^ d) | 0
    c = (c << 16 | c >>> 16) + d | 0
    b = (b + x10 - 0x41404390 | 0) + (d ^ a ^ c) | 0
    b = (b << 23 | b >>> 9) + c | 0
    a = (a + x13 + 0x289b7ec6 | 0) + (c ^ d ^ b) | 0
    a = (a << 4 | a >>> 28) + b | 0
    d = (d + x0 - 0x155ed806 | 0) + (b ^ c ^ a) | 0
    d = (d << 11 | d >>> 21) + a | 0
    c = (c + x3 - 0x2b10cf7b | 0) + (a ^ b ^ d) | 0
    c = (c << 16 | c >>> 16) + d | 0
    b = (b + x6 + 0x4881d05 | 0) + (d ^ a ^ c) | 0
    b = (b << 23 | b >>> 9) + c | 0
    a = (a + x9 - 0x262b2fc7 | 0) + (c ^ d ^ b) | 0
    a = (a << 4 | a >>> 28) + b | 0
    d = (d + x12 - 0x1924661b | 0) + (b ^ c ^ a) | 0
    d = (d << 11 | d >>> 21) + a | 0
    c = (c + x15 + 0x1fa27cf8 | 0) + (a ^ b ^ d) | 0
    c = (c << 16 | c >>> 16) + d | 0
    b = (b + x2 - 0x3b53a99b | 0) + (d ^ a ^ c) | 0
    b = (b << 23 | b >>> 9) + c | 0
    a = (a + x0 - 0xbd6ddbc | 0) + (c ^ (b | ~d)) | 0
    a = (a << 6 | a >>> 26) + b | 0
    d = (d + x7 + 0x432aff97 | 0) + (b ^ (a | ~c)) | 0
    d = (d << 10 | d >>> 22) + a | 0
    c = (c + x14 - 0x546bdc59 | 0) + (a ^ (d | ~b)) | 0
    c = (c << 15 | c >>> 17) + d | 0
    b = (b + x5 - 0x36c5fc7 | 0) + (d ^ (c | ~a)) | 0
    b = (b << 21 | b >>> 11) + c | 0
    a = (a + x12 + 0x655b59c3 | 0) + (c ^ (b | ~d)) | 0
    a = (a << 6 | a >>> 26) + b | 0
    d = (d + x3 - 0x70f3336e | 0) + (b ^ (a | ~c)) | 0
    d = (d << 10 | d >>> 22) + a | 0
    c = (c + x10 - 0x100b83 | 0) + (a ^ (d | ~b)) | 0
    c = (c << 15 | c >>> 17) + d | 0
    b = (b + x1 - 0x7a7ba22f | 0) + (d ^ (c | ~a)) | 0
    b = (b << 21 | b >>> 11) + c | 0
    a = (a + x8 + 0x6fa87e4f | 0) + (c ^ (b | ~d)) | 0
    a = (a << 6 | a >>> 26) + b | 0
    d = (d + x15 - 0x1d31920 | 0) + (b ^ (a | ~c)) | 0
    d = (d << 10 | d >>> 22) + a | 0
    c = (c + x6 - 0x5cfebcec | 0) + (a ^ (d | ~b)) | 0
    c = (c << 15 | c >>> 17) + d | 0
    b = (b + x13 + 0x4e0811a1 | 0) + (d ^ (c | ~a)) | 0
    b = (b << 21 | b >>> 11) + c | 0
    a = (a + x4 - 0x8ac817e | 0) + (c ^ (b | ~d)) | 0
    a = (a << 6 | a >>> 26) + b | 0
    d = (d + x11 - 0x42c50dcb | 0) + (b ^ (a | ~c)) | 0
    d = (d << 10 | d >>> 22) + a | 0
    c = (c + x2 + 0x2ad7d2bb | 0) + (a ^ (d | ~b)) | 0
    c = (c << 15 | c >>> 17) + d | 0
    b = (b + x9 - 0x14792c6f | 0) + (d ^ (c | ~a)) | 0
    b = (b << 21 | b >>> 11) + c | 0
    a = a + a0 | 0
    b = b + b0 | 0
    c = c + c0 | 0
    d = d + d0 | 0
  }
  state[0] = a
  state[1] = b
  state[2] = c
  state[3] = d
}

/** Room for the beginning and the end of a message, which fill no block of their own. */
const block = new Uint8Array(128)

/** The last block of each HMAC: the inner digest, and what ends a message of 64 + 16 bytes. */
const outerBlock = new Uint8Array(64)
outerBlock[16] = 0x80
outerBlock[56] = (64 + 16) * 8 & 0xff
outerBlock[57] = (64 + 16) * 8 >>> 8

/** Hashes the last bytes of a message of `length` bytes, fewer than 64, which are in the block. */
const finish = (state: Int32Array, rest: number, length: number): void => {
  const size = rest < 56 ? 64 : 128
  block[rest] = 0x80
  // Loops, here and below: for so few bytes a call of the runtime takes longer.
  for (let i = rest + 1; i < size; i++) block[i] = 0
  const bits = length * 8
  block[size - 8] = bits
  block[size - 7] = bits >>> 8
  block[size - 6] = bits >>> 16
  block[size - 5] = bits >>> 24
  block[size - 4] = bits / 0x100000000
  compress(state, block, 0, size >> 6)
}

const set = (state: Int32Array, from: Int32Array): void => {
  for (let i = 0; i < 4; i++) state[i] = from[i]!
}

/** Writes the state as the 16 bytes of a digest. */
const write = (state: Int32Array, digest: Uint8Array): Uint8Array => {
  for (let i = 0, at = 0; i < 4; i++, at += 4) {
    const word = state[i]!
    digest[at] = word
    digest[at + 1] = word >>> 8
    digest[at + 2] = word >>> 16
    digest[at + 3] = word >>> 24
  }
  return digest
}

const join = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const bytes = new Uint8Array(parts.reduce((size, part) => size + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

/** Hashes the last part of a message, of which `before` bytes are hashed already. */
const hashRest = (state: Int32Array, bytes: Uint8Array, start: number, end: number, before: number): void => {
  const blocks = end - start >> 6
  compress(state, bytes, start, blocks)
  const rest = start + 64 * blocks
  for (let i = rest; i < end; i++) block[i - rest] = bytes[i]!
  finish(state, end - rest, before + end - start)
}

/** The MD5 of bytes, given in parts. */
export const md5 = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const state = Int32Array.from(initial)
  const bytes = join(parts)
  hashRest(state, bytes, 0, bytes.length, 0)
  bytes.fill(0)
  block.fill(0)
  return write(state, new Uint8Array(16))
}

/** HMAC-MD5 with one key, which is hashed ahead. */
export class HmacMd5 {
  readonly #inner = Int32Array.from(initial)
  readonly #outer = Int32Array.from(initial)
  readonly #state = new Int32Array(4)
  readonly #digest = new Uint8Array(16)

  constructor(key: Uint8Array) {
    const short = key.length > 64 ? md5(key) : key
    for (const [state, pad] of [[this.#inner, 0x36], [this.#outer, 0x5c]] as const) {
      block.fill(pad, 0, 64)
      for (let i = 0; i < short.length; i++) block[i] = short[i]! ^ pad
      compress(state, block, 0, 1)
    }
    block.fill(0)
  }

  /** The HMAC of bytes, given in parts. */
  digest(...parts: ReadonlyArray<Uint8Array>): Uint8Array {
    const bytes = join(parts)
    set(this.#state, this.#inner)
    hashRest(this.#state, bytes, 0, bytes.length, 64)
    bytes.fill(0)
    this.#end()
    return this.#digest.slice()
  }

  /**
   * The HMAC of a sequence number and the first `end` bytes. The bytes that it gives are those of the object, and are overwritten
   * by the next call.
   */
  sign(sequence: number, bytes: Uint8Array, end: number): Uint8Array {
    const state = this.#state
    set(state, this.#inner)
    const head = end < 60 ? end : 60
    block[0] = sequence
    block[1] = sequence >>> 8
    block[2] = sequence >>> 16
    block[3] = sequence >>> 24
    for (let i = 0; i < head; i++) block[i + 4] = bytes[i]!
    if (head < 60) finish(state, head + 4, 64 + 4 + end)
    else {
      compress(state, block, 0, 1)
      hashRest(state, bytes, 60, end, 64 + 64)
    }
    this.#end()
    return this.#digest
  }

  #end(): void {
    const state = this.#state
    write(state, outerBlock)
    set(state, this.#outer)
    compress(state, outerBlock, 0, 1)
    write(state, this.#digest)
  }

  /** Forgets the key. */
  wipe(): void {
    this.#inner.fill(0)
    this.#outer.fill(0)
    this.#state.fill(0)
    this.#digest.fill(0)
    block.fill(0)
  }
}

/** The HMAC-MD5 of bytes, for a key used once. */
export const hmacMd5 = (key: Uint8Array, ...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const hmac = new HmacMd5(key)
  const digest = hmac.digest(...parts)
  hmac.wipe()
  return digest
}
