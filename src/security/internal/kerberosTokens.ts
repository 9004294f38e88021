/** The tokens of each message (RFC 4121, in the style of DCE): signing and sealing in place. */
import { equalBytes } from "./constantTime.ts"
import type { ProtectionLevel, Session } from "../Security.ts"
import { type AesKey, decryptCts, encryptCts, type Random, type UsageKeys } from "./kerberosCrypto.ts"
import { usages } from "./kerberosMessages.ts"

/** The protection of a session's messages. */
export interface Tokens extends Pick<Session, "signatureSize" | "protect" | "unprotect" | "mic" | "verifyMic"> {
  /** Overwrites the kept parts of messages. */
  readonly wipe: () => void
}

/** The agreement of both sides, as one of them sees it. */
export interface Agreement {
  readonly isInitiator: boolean
  /** Whether the key came from the acceptor's answer. */
  readonly hasAcceptorSubkey: boolean
  /** The number of the next message that is sent. */
  readonly sendSequence: number
  /** The number of the next message that is received. */
  readonly receiveSequence: number
  readonly random: Random
}

const trailerBytes = 8

const headerBytes = 16
const macBytes = 12
const confounderBytes = 16
const fillerBytes = 16

const signatureBytes = headerBytes + macBytes
const sealBytes = headerBytes + fillerBytes + headerBytes + macBytes + confounderBytes

/** The bytes behind the body that are encrypted with it: the filler and a copy of the header. */
const tailBytes = fillerBytes + headerBytes

const flagBits = { acceptor: 1, sealed: 2, subkey: 4 } as const

/** One direction: its keys, its flags and its count. */
class Direction {
  readonly sign: UsageKeys
  readonly seal: UsageKeys
  readonly #flags: number
  #sequence: number

  constructor(key: AesKey, isInitiator: boolean, hasSubkey: boolean, sequence: number) {
    this.sign = key.usage(isInitiator ? usages.initiatorSign : usages.acceptorSign)
    this.seal = key.usage(isInitiator ? usages.initiatorSeal : usages.acceptorSeal)
    this.#flags = (isInitiator ? 0 : flagBits.acceptor) | (hasSubkey ? flagBits.subkey : 0)
    this.#sequence = sequence
  }

  /** Writes the header of the next token. */
  header(bytes: Uint8Array, at: number, sealed: boolean): void {
    bytes[at] = sealed ? 0x05 : 0x04
    bytes[at + 1] = 0x04
    bytes[at + 2] = this.#flags | (sealed ? flagBits.sealed : 0)
    bytes[at + 3] = 0xff
    // The length of the filler, and how far the token is rotated; or bytes that mean nothing.
    bytes[at + 4] = sealed ? 0 : 0xff
    bytes[at + 5] = sealed ? fillerBytes : 0xff
    bytes[at + 6] = sealed ? 0 : 0xff
    bytes[at + 7] = sealed ? tailBytes - headerBytes + macBytes : 0xff
    const low = this.#sequence % 0x100000000
    const high = (this.#sequence - low) / 0x100000000
    for (let i = 0; i < 4; i++) {
      bytes[at + 8 + i] = high >>> (24 - 8 * i)
      bytes[at + 12 + i] = low >>> (24 - 8 * i)
    }
  }

  advance(): void {
    this.#sequence++
  }
}

/** The tokens of AES with SHA-1. */
export class AesTokens implements Tokens {
  readonly #send: Direction
  readonly #receive: Direction
  readonly #random: Random
  readonly #header = new Uint8Array(headerBytes)
  #scratch = new Uint8Array(4096)

  constructor(key: AesKey, agreement: Agreement) {
    const { hasAcceptorSubkey, isInitiator, random, receiveSequence, sendSequence } = agreement
    this.#send = new Direction(key, isInitiator, hasAcceptorSubkey, sendSequence)
    this.#receive = new Direction(key, !isInitiator, hasAcceptorSubkey, receiveSequence)
    this.#random = random
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
    const at = bodyEnd + trailerBytes
    const isPrivacy = level === "privacy"
    this.#send.header(pdu, at, isPrivacy)
    if (isPrivacy) this.#seal(pdu, bodyStart, bodyEnd, headerSigning)
    else pdu.set(this.#sum(this.#send, pdu, bodyStart, bodyEnd, headerSigning), at + headerBytes)
    this.#send.advance()
  }

  unprotect = (
    pdu: Uint8Array,
    bodyStart: number,
    bodyEnd: number,
    level: ProtectionLevel,
    headerSigning: boolean
  ): boolean => {
    if (level === "connect") return true
    const at = bodyEnd + trailerBytes
    const isPrivacy = level === "privacy"
    if (pdu.length - at !== (isPrivacy ? sealBytes : signatureBytes)) return false
    this.#receive.header(this.#header, 0, isPrivacy)
    if (!equalBytes(this.#header, pdu.subarray(at, at + headerBytes))) return false
    const isIntact = isPrivacy
      ? this.#unseal(pdu, bodyStart, bodyEnd, headerSigning)
      : equalBytes(this.#sum(this.#receive, pdu, bodyStart, bodyEnd, headerSigning), pdu.subarray(at + headerBytes))
    if (isIntact) this.#receive.advance()
    return isIntact
  }

  mic = (bytes: Uint8Array): Uint8Array => {
    const token = new Uint8Array(signatureBytes)
    this.#send.header(token, 0, false)
    const sum = this.#send.sign.checksum(bytes, token.subarray(0, headerBytes))
    token.set(sum.subarray(0, macBytes), headerBytes)
    this.#send.advance()
    return token
  }

  verifyMic = (bytes: Uint8Array, mic: Uint8Array): boolean => {
    this.#receive.header(this.#header, 0, false)
    if (mic.length !== signatureBytes || !equalBytes(this.#header, mic.subarray(0, headerBytes))) return false
    const sum = this.#receive.sign.checksum(bytes, this.#header)
    const isIntact = equalBytes(sum.subarray(0, macBytes), mic.subarray(headerBytes))
    if (isIntact) this.#receive.advance()
    return isIntact
  }

  wipe(): void {
    this.#scratch.fill(0)
    this.#scratch = new Uint8Array(0)
  }

  /** The check sum of a PDU with the header of its token. */
  #sum({ sign }: Direction, pdu: Uint8Array, bodyStart: number, bodyEnd: number, headerSigning: boolean): Uint8Array {
    const headerEnd = bodyEnd + trailerBytes + headerBytes
    const sum = headerSigning
      ? sign.checksum(pdu.subarray(0, headerEnd))
      : sign.checksum(pdu.subarray(bodyStart, bodyEnd), pdu.subarray(bodyEnd + trailerBytes, headerEnd))
    return sum.subarray(0, macBytes)
  }

  /** Room for a whole token in one piece, with zeros up to a whole block. */
  #room(length: number): Uint8Array {
    const size = Math.ceil(length / 16) * 16
    if (size > this.#scratch.length) {
      this.#scratch.fill(0)
      this.#scratch = new Uint8Array(Math.max(size, 2 * this.#scratch.length))
    }
    return this.#scratch.subarray(0, size).fill(0, length)
  }

  #seal(pdu: Uint8Array, bodyStart: number, bodyEnd: number, headerSigning: boolean): void {
    const at = bodyEnd + trailerBytes
    const tail = confounderBytes + bodyEnd - bodyStart
    const length = tail + tailBytes
    const text = this.#room(length)
    text.set(this.#random(confounderBytes))
    text.set(pdu.subarray(bodyStart, bodyEnd), confounderBytes)
    text.fill(0xff, tail, tail + fillerBytes)
    // The encrypted copy of the header says that nothing is rotated.
    this.#send.header(text, tail + fillerBytes, true)
    text[tail + fillerBytes + 7] = 0
    const mac = this.#mac(this.#send, text, length, pdu, bodyEnd, headerSigning)
    const cipher = encryptCts(this.#send.seal.cbc, text, length)
    pdu.set(cipher.subarray(confounderBytes, tail), bodyStart)
    pdu.set(cipher.subarray(tail), at + headerBytes)
    pdu.set(mac, at + headerBytes + tailBytes)
    pdu.set(cipher.subarray(0, confounderBytes), at + headerBytes + tailBytes + macBytes)
  }

  #unseal(pdu: Uint8Array, bodyStart: number, bodyEnd: number, headerSigning: boolean): boolean {
    const at = bodyEnd + trailerBytes + headerBytes
    const tail = confounderBytes + bodyEnd - bodyStart
    const length = tail + tailBytes
    const cipher = this.#room(length)
    cipher.set(pdu.subarray(at + tailBytes + macBytes))
    cipher.set(pdu.subarray(bodyStart, bodyEnd), confounderBytes)
    cipher.set(pdu.subarray(at, at + tailBytes), tail)
    const text = decryptCts(this.#receive.seal.cbc, cipher, length)
    pdu.set(text.subarray(confounderBytes, tail), bodyStart)
    this.#header[7] = 0
    const mac = this.#mac(this.#receive, text, length, pdu, bodyEnd, headerSigning)
    return equalBytes(mac, pdu.subarray(at + tailBytes, at + tailBytes + macBytes)) &&
      equalBytes(this.#header, text.subarray(tail + fillerBytes))
  }

  /** The code over the plain text; with it over the PDU around the body. */
  #mac(
    { seal }: Direction,
    text: Uint8Array,
    length: number,
    pdu: Uint8Array,
    bodyEnd: number,
    headerSigning: boolean
  ): Uint8Array {
    const code = headerSigning
      ? seal.integrity(
        text.subarray(0, confounderBytes),
        pdu.subarray(0, bodyEnd + trailerBytes),
        text.subarray(length - tailBytes, length)
      )
      : seal.integrity(text.subarray(0, length))
    return code.subarray(0, macBytes)
  }
}
