/** A complete NTLM login: signatures and seals of both directions. */
import * as Redacted from "effect/Redacted"
import type { Identity, ProtectionLevel, Session } from "../Security.ts"
import { HmacMd5 } from "./md5.ts"
import { type DirectionKeys, directionKeysOf } from "./ntlmKeys.ts"
import { flag, has } from "./ntlmMessages.ts"
import { Rc4 } from "./rc4.ts"

const signatureSize = 16

/** The size of a security trailer without its signature. */
const trailerSize = 8

/** One direction: its keys, its key stream and its place in the sequence. */
class Direction {
  readonly #hmac: HmacMd5
  readonly #stream: Rc4
  readonly #masked: boolean
  #sequence = 0

  constructor({ seal, sign }: DirectionKeys, masked: boolean) {
    this.#hmac = new HmacMd5(sign)
    this.#stream = new Rc4(seal)
    this.#masked = masked
    seal.fill(0)
    sign.fill(0)
  }

  /** Signs the bytes before `end`, and encrypts those from `from` to `to`. The signature goes to `target`. */
  protect(bytes: Uint8Array, end: number, from: number, to: number, target: Uint8Array, at: number): void {
    const sequence = this.#sequence
    if (sequence > 0xffffffff) throw new Error("NTLM: the sequence numbers are used up. Connect again.")
    this.#sequence++
    const digest = this.#hmac.sign(sequence, bytes, end)
    this.#stream.apply(bytes, from, to)
    target[at] = 1
    target[at + 1] = 0
    target[at + 2] = 0
    target[at + 3] = 0
    for (let i = 0; i < 8; i++) target[at + 4 + i] = digest[i]!
    if (this.#masked) this.#stream.apply(target, at + 4, at + 12)
    target[at + 12] = sequence
    target[at + 13] = sequence >>> 8
    target[at + 14] = sequence >>> 16
    target[at + 15] = sequence >>> 24
  }

  /** Decrypts the bytes from `from` to `to`, and verifies the signature of those before `end`, which is at `at`. */
  unprotect(bytes: Uint8Array, end: number, from: number, to: number, source: Uint8Array, at: number): boolean {
    const sequence = this.#sequence++
    if (sequence > 0xffffffff) return false
    this.#stream.apply(bytes, from, to)
    if (this.#masked) this.#stream.apply(source, at + 4, at + 12)
    const digest = this.#hmac.sign(sequence, bytes, end)
    let difference = source[at]! ^ 1 | source[at + 1]! | source[at + 2]! | source[at + 3]!
    for (let i = 0; i < 8; i++) difference |= source[at + 4 + i]! ^ digest[i]!
    for (let i = 0; i < 4; i++) difference |= source[at + 12 + i]! ^ (sequence >>> (8 * i) & 0xff)
    return difference === 0
  }

  /** After the signature of Negotiate's list, the key stream begins again. The sequence goes on. */
  restart(): void {
    this.#stream.restart()
  }

  wipe(): void {
    this.#hmac.wipe()
    this.#stream.wipe()
  }
}

/** The agreement of a login. */
export interface Agreed {
  readonly identity: Identity
  /** Which side this is. */
  readonly side: "client" | "server"
  readonly flags: number
  /** The session takes the key over, and wipes it. */
  readonly exportedKey: Uint8Array
  readonly needsMic: boolean
}

/** The session, and what ends it. */
export class NtlmSession implements Session {
  readonly provider = "NTLM"
  readonly identity: Identity
  readonly mutual = false
  readonly integrity: boolean
  readonly confidentiality: boolean
  readonly needsMic: boolean
  readonly sessionKey: Redacted.Redacted<Uint8Array>
  readonly expires = undefined
  readonly #exportedKey: Uint8Array
  readonly #sending: Direction | undefined
  readonly #receiving: Direction | undefined
  #ended = false

  constructor({ exportedKey, flags, identity, needsMic, side }: Agreed) {
    this.identity = identity
    // Without secrets, or without extended session security, a signature proves nothing.
    this.integrity = !identity.anonymous && has(flags, flag.sign | flag.extendedSecurity)
    this.confidentiality = this.integrity && has(flags, flag.seal)
    this.needsMic = needsMic && this.integrity
    this.sessionKey = Redacted.make(exportedKey, { label: "NTLM session key" })
    this.#exportedKey = exportedKey
    if (!this.integrity) return
    const masked = has(flags, flag.keyExchange)
    const client = new Direction(directionKeysOf(exportedKey, flags, "client-to-server"), masked)
    const server = new Direction(directionKeysOf(exportedKey, flags, "server-to-client"), masked)
    this.#sending = side === "client" ? client : server
    this.#receiving = side === "client" ? server : client
  }

  signatureSize(level: ProtectionLevel): number {
    return level === "connect" ? 0 : signatureSize
  }

  protect(pdu: Uint8Array, bodyStart: number, bodyEnd: number, level: ProtectionLevel): void {
    if (level === "connect") return
    const sending = this.#sendingAt(level)
    const end = bodyEnd + trailerSize
    sending.protect(pdu, end, bodyStart, level === "privacy" ? bodyEnd : bodyStart, pdu, end)
  }

  unprotect(pdu: Uint8Array, bodyStart: number, bodyEnd: number, level: ProtectionLevel): boolean {
    if (level === "connect") return true
    const end = bodyEnd + trailerSize
    const receiving = this.#receiving
    if (this.#ended || receiving === undefined) return false
    const good = (level !== "privacy" || this.confidentiality) && pdu.length === end + signatureSize &&
      receiving.unprotect(pdu, end, bodyStart, level === "privacy" ? bodyEnd : bodyStart, pdu, end)
    // Nothing can be verified after a failure: the key stream is out of step.
    if (!good) this.end()
    return good
  }

  mic(bytes: Uint8Array): Uint8Array {
    const sending = this.#sendingAt("integrity")
    const mic = new Uint8Array(signatureSize)
    sending.protect(bytes, bytes.length, 0, 0, mic, 0)
    sending.restart()
    return mic
  }

  verifyMic(bytes: Uint8Array, mic: Uint8Array): boolean {
    const receiving = this.#receiving
    if (this.#ended || receiving === undefined || mic.length !== signatureSize) return false
    const good = receiving.unprotect(bytes, bytes.length, 0, 0, mic.slice(), 0)
    receiving.restart()
    if (!good) this.end()
    return good
  }

  #sendingAt(level: ProtectionLevel): Direction {
    if (this.#ended) throw new Error("NTLM: the session has ended.")
    if (this.#sending === undefined || level === "privacy" && !this.confidentiality) {
      throw new Error(`NTLM: the session can't protect messages at the level "${level}".`)
    }
    return this.#sending
  }

  /** Forgets all keys. */
  end(): void {
    this.#ended = true
    Redacted.wipeUnsafe(this.sessionKey)
    this.#exportedKey.fill(0)
    this.#sending?.wipe()
    this.#receiving?.wipe()
  }
}
