/** The encryption of Kerberos: keys, what is derived from them, encrypted data and check sums. */
import * as Effect from "effect/Effect"
import { equalBytes } from "./constantTime.ts"
import type { AesCbc, Hash, Hmac, KerberosCiphers } from "../KerberosCiphers.ts"

/** Gives so many random bytes. */
export type Random = (length: number) => Uint8Array

/** The random numbers of a platform. */
export const randomOf = (crypto: { getRandomValues(bytes: Uint8Array<ArrayBuffer>): unknown }): Random => (length) => {
  const bytes = new Uint8Array(length)
  crypto.getRandomValues(bytes)
  return bytes
}

/** The types of encryption, by their numbers. */
export const etypes = { aes128: 17, aes256: 18, aes128Sha2: 19, aes256Sha2: 20, rc4: 23 } as const

interface AesKind {
  readonly hash: Hash
  readonly keyBytes: number
  readonly macBytes: number
  readonly checksumType: number
  readonly iterations: number
  /** The prefix that RFC 8009 puts before the salt. Absent for the types of RFC 3962. */
  readonly label?: string
}

const aesKinds: { readonly [etype: number]: AesKind | undefined } = {
  [etypes.aes128]: { hash: "SHA-1", keyBytes: 16, macBytes: 12, checksumType: 15, iterations: 4096 },
  [etypes.aes256]: { hash: "SHA-1", keyBytes: 32, macBytes: 12, checksumType: 16, iterations: 4096 },
  [etypes.aes128Sha2]: {
    hash: "SHA-256",
    keyBytes: 16,
    macBytes: 16,
    checksumType: 19,
    iterations: 32768,
    label: "aes128-cts-hmac-sha256-128"
  },
  [etypes.aes256Sha2]: {
    hash: "SHA-384",
    keyBytes: 32,
    macBytes: 24,
    checksumType: 20,
    iterations: 32768,
    label: "aes256-cts-hmac-sha384-192"
  }
}

const encoder = new TextEncoder()

export const utf8 = (text: string): Uint8Array<ArrayBuffer> => encoder.encode(text)

export const join = (...parts: ReadonlyArray<Uint8Array>): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

// ----------------------------------------------------------------------------
// n-fold
// ----------------------------------------------------------------------------

const gcd = (a: number, b: number): number => b === 0 ? a : gcd(b, a % b)

/** Stretches or folds a constant to a number of bytes (RFC 3961). */
export const nFold = (input: Uint8Array, length: number): Uint8Array<ArrayBuffer> => {
  const total = input.length * length / gcd(input.length, length)
  const bits = input.length * 8
  const bitAt = (at: number) => input[at >> 3]! >> (7 - (at & 7)) & 1
  const sums = new Array<number>(length).fill(0)
  for (let i = 0; i < total; i++) {
    // Each copy is rotated to the right by 13 bits more than the one before it.
    const start = i % input.length * 8 - 13 * Math.floor(i / input.length)
    let byte = 0
    for (let bit = 0; bit < 8; bit++) byte = byte << 1 | bitAt(((start + bit) % bits + bits) % bits)
    sums[i % length]! += byte
  }
  // The carry of the first byte is added to the last one, until none is left.
  for (let carry = 0, again = true; again;) {
    for (let i = length - 1; i >= 0; i--) {
      const sum = sums[i]! + carry
      sums[i] = sum & 0xff
      carry = sum >> 8
    }
    again = carry !== 0
  }
  return Uint8Array.from(sums)
}

// ----------------------------------------------------------------------------
// AES with cipher text stealing
// ----------------------------------------------------------------------------

const blockBytes = 16

const roundUp = (length: number): number => Math.max(blockBytes, Math.ceil(length / blockBytes) * blockBytes)

/**
 * Encrypts the first `length` bytes, of which there are 16 or more. The text is followed by zeros to a multiple of 16, and may be
 * changed.
 */
export const encryptCts = (cbc: AesCbc, text: Uint8Array, length: number): Uint8Array => {
  const blocks = cbc.encrypt(text)
  if (length <= blockBytes) return blocks
  const last = blocks.length - blockBytes
  const moved = blocks.slice(last - blockBytes, last)
  blocks.copyWithin(last - blockBytes, last)
  blocks.set(moved, last)
  return blocks.subarray(0, length)
}

/** Decrypts the first `length` bytes, of which there are 16 or more. Room to a multiple of 16 follows; all may be changed. */
export const decryptCts = (cbc: AesCbc, text: Uint8Array, length: number): Uint8Array => {
  if (length > blockBytes) {
    const last = text.length - blockBytes
    const cut = length - last
    const moved = text.slice(last - blockBytes, last)
    // The last block was cut. Its missing end stands in the decrypted block before it.
    if (cut < blockBytes) text.set(cbc.decrypt(moved).subarray(cut), length)
    text.copyWithin(last - blockBytes, last)
    text.set(moved, last)
  }
  return cbc.decrypt(text).subarray(0, length)
}

const padded = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  return join(...parts, new Uint8Array(roundUp(length) - length))
}

// ----------------------------------------------------------------------------
// keys
// ----------------------------------------------------------------------------

/** The keys derived from a key for one usage. */
export interface UsageKeys {
  /** Encrypts. */
  readonly cbc: AesCbc
  /** Protects what is encrypted; not cut. */
  readonly integrity: Hmac
  /** Makes check sums; not cut. */
  readonly checksum: Hmac
}

/** A key, with what was derived from it so far. */
export interface Key {
  readonly etype: number
  readonly bytes: Uint8Array
  /** The type of the check sums that this key makes. */
  readonly checksumType: number
  readonly encrypt: (usage: number, plain: Uint8Array, random: Random) => Uint8Array
  /** Gives `undefined` for data that was not encrypted with this key and usage. */
  readonly decrypt: (usage: number, cipher: Uint8Array) => Uint8Array | undefined
  readonly checksum: (usage: number, ...parts: ReadonlyArray<Uint8Array>) => Uint8Array
  /** Overwrites the key. It is of no use then. */
  readonly wipe: () => void
}

const derivedConstant = (usage: number, kind: number): Uint8Array<ArrayBuffer> =>
  Uint8Array.of(usage >>> 24, usage >>> 16, usage >>> 8, usage, kind)

/** Derives a key of the same length from a constant (RFC 3961). */
const derive = (ciphers: KerberosCiphers, key: Uint8Array, constant: Uint8Array): Uint8Array => {
  const derived = new Uint8Array(key.length)
  const cbc = ciphers.aesCbc(key)
  let block: Uint8Array = nFold(constant, blockBytes)
  for (let at = 0; at < key.length; at += blockBytes) {
    block = cbc.encrypt(block.slice())
    derived.set(block, at)
  }
  return derived
}

/** Derives a key of so many bytes from a label (RFC 8009). */
const deriveSha2 = (
  ciphers: KerberosCiphers,
  hash: Hash,
  key: Uint8Array,
  label: Uint8Array,
  length: number
): Uint8Array => {
  const bits = length * 8
  return ciphers.hmac(hash, key)(
    Uint8Array.of(0, 0, 0, 1),
    label,
    Uint8Array.of(0, bits >>> 24, bits >>> 16, bits >>> 8, bits)
  ).slice(0, length)
}

/** A key of AES. */
export class AesKey implements Key {
  readonly etype: number
  readonly bytes: Uint8Array
  readonly #kind: AesKind
  readonly #ciphers: KerberosCiphers
  readonly #usages = new Map<number, UsageKeys>()
  #wiped = false

  constructor(ciphers: KerberosCiphers, etype: number, kind: AesKind, bytes: Uint8Array) {
    this.#ciphers = ciphers
    this.etype = etype
    this.#kind = kind
    this.bytes = bytes
  }

  get checksumType(): number {
    return this.#kind.checksumType
  }

  get macBytes(): number {
    return this.#kind.macBytes
  }

  /** The derived keys of a usage. */
  usage(usage: number): UsageKeys {
    let keys = this.#usages.get(usage)
    if (keys === undefined) {
      if (this.#wiped) throw new Error("Kerberos: a key was used after its login was released.")
      this.#usages.set(usage, keys = this.#derive(usage))
    }
    return keys
  }

  #derive(usage: number): UsageKeys {
    const { hash, keyBytes, label, macBytes } = this.#kind
    const ciphers = this.#ciphers
    const [encryption, integrity, checksum] = [0xaa, 0x55, 0x99].map((part) => {
      const constant = derivedConstant(usage, part)
      if (label === undefined) return derive(ciphers, this.bytes, constant)
      return deriveSha2(ciphers, hash, this.bytes, constant, part === 0xaa ? keyBytes : macBytes)
    }) as [Uint8Array, Uint8Array, Uint8Array]
    const keys = {
      cbc: ciphers.aesCbc(encryption),
      integrity: ciphers.hmac(hash, integrity),
      checksum: ciphers.hmac(hash, checksum)
    }
    for (const bytes of [encryption, integrity, checksum]) bytes.fill(0)
    return keys
  }

  encrypt(usage: number, plain: Uint8Array, random: Random): Uint8Array {
    const { cbc, integrity } = this.usage(usage)
    const text = padded(random(blockBytes), plain)
    const length = blockBytes + plain.length
    if (this.#kind.label !== undefined) {
      const cipher = encryptCts(cbc, text, length)
      return join(cipher, integrity(new Uint8Array(blockBytes), cipher).subarray(0, this.macBytes))
    }
    const mac = integrity(text.subarray(0, length)).subarray(0, this.macBytes)
    return join(encryptCts(cbc, text, length), mac)
  }

  decrypt(usage: number, data: Uint8Array): Uint8Array | undefined {
    const length = data.length - this.macBytes
    if (length < blockBytes) return undefined
    const { cbc, integrity } = this.usage(usage)
    const mac = data.subarray(length)
    const cipher = data.subarray(0, length)
    const isSha2 = this.#kind.label !== undefined
    if (isSha2 && !this.#isMac(integrity(new Uint8Array(blockBytes), cipher), mac)) return undefined
    const text = decryptCts(cbc, padded(cipher), length)
    return isSha2 || this.#isMac(integrity(text), mac) ? text.subarray(blockBytes) : undefined
  }

  #isMac(code: Uint8Array, mac: Uint8Array): boolean {
    return equalBytes(code.subarray(0, this.macBytes), mac)
  }

  checksum(usage: number, ...parts: ReadonlyArray<Uint8Array>): Uint8Array {
    return this.usage(usage).checksum(...parts).slice(0, this.macBytes)
  }

  wipe(): void {
    this.bytes.fill(0)
    this.#usages.clear()
    this.#wiped = true
  }
}

/** Makes a key of its own copy of the bytes. Gives `undefined` for an unknown type and for a key of another length. */
export const makeKey = (ciphers: KerberosCiphers, etype: number, bytes: Uint8Array): Key | undefined => {
  const kind = aesKinds[etype]
  return kind !== undefined && bytes.length === kind.keyBytes
    ? new AesKey(ciphers, etype, kind, bytes.slice())
    : undefined
}

/** Makes a random key of a known type. */
export const randomKey = (ciphers: KerberosCiphers, etype: number, random: Random): Key | undefined =>
  makeKey(ciphers, etype, random(aesKinds[etype]?.keyBytes ?? 16))

/** The number of rounds where the key distribution centre names none. */
export const defaultIterations = (etype: number): number => aesKinds[etype]?.iterations ?? 0

/** Makes the key that belongs to a password. */
export const stringToKey = (
  ciphers: KerberosCiphers,
  etype: number,
  password: string,
  salt: Uint8Array,
  iterations: number
): Effect.Effect<Key | undefined> => {
  const kind = aesKinds[etype]
  if (kind === undefined) return Effect.undefined
  const { hash, keyBytes, label } = kind
  return Effect.suspend(() => {
    const secret = utf8(password)
    const fullSalt = label === undefined ? salt : join(utf8(label), Uint8Array.of(0), salt)
    return Effect.map(ciphers.pbkdf2(hash, secret, fullSalt, iterations, keyBytes), (stretched) => {
      const derived = label === undefined
        ? derive(ciphers, stretched, utf8("kerberos"))
        : deriveSha2(ciphers, hash, stretched, utf8("kerberos"), keyBytes)
      const key = makeKey(ciphers, etype, derived)
      for (const bytes of [secret, stretched, derived]) bytes.fill(0)
      return key
    })
  })
}
