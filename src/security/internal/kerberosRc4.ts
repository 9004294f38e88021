/** Kerberos with RC4 (RFC 4757), for servers and domains that have nothing better. Used only where a program asks for it. */
import type { ProtectionLevel } from "../Security.ts"
import { equalBytes } from "./constantTime.ts"
import { join, type Key, type Random } from "./kerberosCrypto.ts"
import type { Agreement, Tokens } from "./kerberosTokens.ts"
import { md4 } from "./md4.ts"
import { HmacMd5, hmacMd5, md5 } from "./md5.ts"
import { Rc4, rc4 } from "./rc4.ts"

const littleEndian = (value: number): Uint8Array => Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24)

const bigEndian = (value: number): Uint8Array => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value)

const signatureLabel = /* @__PURE__ */ new TextEncoder().encode("signaturekey\0")

const hashBytes = 16
const confounderBytes = 8

/** The key of a password: the NT hash. */
export const rc4KeyOf = (password: string): Uint8Array => {
  const units = new Uint8Array(password.length * 2)
  for (let i = 0; i < password.length; i++) {
    const unit = password.charCodeAt(i)
    units[2 * i] = unit
    units[2 * i + 1] = unit >> 8
  }
  const hash = md4(units)
  units.fill(0)
  return hash
}

/** A key of RC4. */
export class Rc4Key implements Key {
  readonly etype = 23
  readonly checksumType = -138
  readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  #usageKey(usage: number): Uint8Array {
    // Both kinds of answers have the number 8 here.
    return hmacMd5(this.bytes, littleEndian(usage === 3 || usage === 9 ? 8 : usage))
  }

  encrypt(usage: number, plain: Uint8Array, random: Random): Uint8Array {
    const key = this.#usageKey(usage)
    const text = join(random(confounderBytes), plain)
    const mac = hmacMd5(key, text)
    return join(mac, rc4(hmacMd5(key, mac), text))
  }

  decrypt(usage: number, data: Uint8Array): Uint8Array | undefined {
    if (data.length < hashBytes + confounderBytes) return undefined
    const key = this.#usageKey(usage)
    const mac = data.subarray(0, hashBytes)
    const text = rc4(hmacMd5(key, mac), data.subarray(hashBytes))
    return equalBytes(hmacMd5(key, text), mac) ? text.subarray(confounderBytes) : undefined
  }

  checksum(usage: number, ...parts: ReadonlyArray<Uint8Array>): Uint8Array {
    return hmacMd5(hmacMd5(this.bytes, signatureLabel), md5(littleEndian(usage), ...parts))
  }

  wipe(): void {
    this.bytes.fill(0)
  }
}

// ----------------------------------------------------------------------------
// the tokens of each message
// ----------------------------------------------------------------------------

const trailerBytes = 8

/** The frame of GSS without its length: the identifier of Kerberos. */
const identifier = /* @__PURE__ */ Uint8Array.of(
  0x06,
  0x09,
  0x2a,
  0x86,
  0x48,
  0x86,
  0xf7,
  0x12,
  0x01,
  0x02,
  0x02
)

const frameBytes = 13
const signatureBytes = frameBytes + 24
const sealBytes = signatureBytes + confounderBytes

/** The bytes of a token before its number. */
const signHeader = /* @__PURE__ */ Uint8Array.of(0x01, 0x01, 0x11, 0x00, 0xff, 0xff, 0xff, 0xff)
const sealHeader = /* @__PURE__ */ Uint8Array.of(0x02, 0x01, 0x11, 0x00, 0x10, 0x00, 0xff, 0xff)

const usageOf = (sealed: boolean): Uint8Array => littleEndian(sealed ? 13 : 15)

const zeros = /* @__PURE__ */ new Uint8Array(4)

/** The tokens of RC4. */
export class Rc4Tokens implements Tokens {
  readonly #sign: HmacMd5
  readonly #number: HmacMd5
  readonly #seal: HmacMd5
  readonly #random: Random
  readonly #isInitiator: boolean
  #sendSequence: number
  #receiveSequence: number

  constructor(key: Rc4Key, { isInitiator, random, receiveSequence, sendSequence }: Agreement) {
    this.#sign = new HmacMd5(hmacMd5(key.bytes, signatureLabel))
    this.#number = new HmacMd5(hmacMd5(key.bytes, zeros))
    this.#seal = new HmacMd5(hmacMd5(key.bytes.map((byte) => byte ^ 0xf0), zeros))
    this.#random = random
    this.#isInitiator = isInitiator
    this.#sendSequence = sendSequence
    this.#receiveSequence = receiveSequence
  }

  signatureSize = (level: ProtectionLevel): number =>
    level === "privacy" ? sealBytes : level === "connect" ? 0 : signatureBytes

  protect = (
    pdu: Uint8Array,
    bodyStart: number,
    bodyEnd: number,
    level: ProtectionLevel,
    headerSigning: boolean
  ): void => {
    if (level === "connect") return
    const token = pdu.subarray(bodyEnd + trailerBytes)
    const start = headerSigning ? 0 : bodyStart
    const end = headerSigning ? bodyEnd + trailerBytes : bodyEnd
    this.#write(token, level === "privacy", pdu.subarray(start, end))
    if (level === "privacy") this.#crypt(this.#sendSequence, token, pdu, bodyStart, bodyEnd)
    this.#sendSequence = this.#sendSequence + 1 >>> 0
  }

  unprotect = (
    pdu: Uint8Array,
    bodyStart: number,
    bodyEnd: number,
    level: ProtectionLevel,
    headerSigning: boolean
  ): boolean => {
    if (level === "connect") return true
    const token = pdu.subarray(bodyEnd + trailerBytes)
    const sealed = level === "privacy"
    if (token.length !== (sealed ? sealBytes : signatureBytes)) return false
    if (sealed) this.#crypt(this.#receiveSequence, token, pdu, bodyStart, bodyEnd)
    const start = headerSigning ? 0 : bodyStart
    const end = headerSigning ? bodyEnd + trailerBytes : bodyEnd
    return this.#verify(token, sealed, pdu.subarray(start, end))
  }

  mic = (bytes: Uint8Array): Uint8Array => {
    const token = new Uint8Array(signatureBytes)
    this.#write(token, false, bytes)
    this.#sendSequence = this.#sendSequence + 1 >>> 0
    return token
  }

  verifyMic = (bytes: Uint8Array, mic: Uint8Array): boolean =>
    mic.length === signatureBytes && this.#verify(mic, false, bytes)

  wipe(): void {
    for (const hmac of [this.#sign, this.#number, this.#seal]) hmac.wipe()
  }

  #frame(token: Uint8Array, sealed: boolean): void {
    token[0] = 0x60
    token[1] = (sealed ? sealBytes : signatureBytes) - 2
    token.set(identifier, 2)
    token.set(sealed ? sealHeader : signHeader, frameBytes)
  }

  #write(token: Uint8Array, sealed: boolean, data: Uint8Array): void {
    this.#frame(token, sealed)
    if (sealed) token.set(this.#random(confounderBytes), signatureBytes)
    const sum = this.#sum(token, sealed, data)
    token.set(this.#numbered(sum, this.#sendSequence, this.#isInitiator), frameBytes + 8)
    token.set(sum, frameBytes + 16)
  }

  #verify(token: Uint8Array, sealed: boolean, data: Uint8Array): boolean {
    const expected = new Uint8Array(token.length)
    this.#frame(expected, sealed)
    if (sealed) expected.set(token.subarray(signatureBytes), signatureBytes)
    const sum = this.#sum(token, sealed, data)
    expected.set(this.#numbered(sum, this.#receiveSequence, !this.#isInitiator), frameBytes + 8)
    expected.set(sum, frameBytes + 16)
    if (!equalBytes(expected, token)) return false
    this.#receiveSequence = this.#receiveSequence + 1 >>> 0
    return true
  }

  #sum(token: Uint8Array, sealed: boolean, data: Uint8Array): Uint8Array {
    const header = token.subarray(frameBytes, frameBytes + 8)
    const hash = md5(usageOf(sealed), header, token.subarray(signatureBytes), data)
    return this.#sign.digest(hash).subarray(0, 8)
  }

  /** The number of a message and the direction, encrypted with the check sum. */
  #numbered(sum: Uint8Array, sequence: number, byInitiator: boolean): Uint8Array {
    const direction = byInitiator ? 0 : 0xffffffff
    return rc4(this.#number.digest(sum), join(bigEndian(sequence), bigEndian(direction)))
  }

  /** Encrypts or decrypts the confounder and then the body. */
  #crypt(sequence: number, token: Uint8Array, pdu: Uint8Array, bodyStart: number, bodyEnd: number): void {
    const stream = new Rc4(this.#seal.digest(bigEndian(sequence)))
    stream.apply(token, signatureBytes, sealBytes)
    stream.apply(pdu, bodyStart, bodyEnd)
    stream.wipe()
  }
}
