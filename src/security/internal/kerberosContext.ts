/** The parts that both sides of a login with Kerberos share: the check sum with the wishes of the client, and the session. */
import * as Redacted from "effect/Redacted"
import { type Identity, LoginFailure, type ProtectionLevel, type Session } from "../Security.ts"
import type { Key, Random } from "./kerberosCrypto.ts"
import { makeTokens } from "./kerberosKeys.ts"
import type { Typed } from "./kerberosMessages.ts"
import type { DerFailure } from "./der.ts"

/** The wishes of a client, in the check sum of its authenticator. */
export const gssFlags = {
  delegate: 0x1,
  mutual: 0x2,
  replay: 0x4,
  sequence: 0x8,
  confidentiality: 0x10,
  integrity: 0x20,
  dceStyle: 0x1000,
  identify: 0x2000
} as const

/** The option of an AP-REQ that asks the server for an answer. */
export const mutualRequired = 0x20000000

const gssChecksumType = 0x8003

const bindingBytes = 16

/** The check sum of the authenticator: channel bindings and flags. */
export const gssChecksum = (flags: number, channelBindings: Uint8Array | undefined): Typed => {
  const bytes = new Uint8Array(24)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, bindingBytes, true)
  if (channelBindings !== undefined) bytes.set(channelBindings, 4)
  view.setUint32(20, flags, true)
  return { type: gssChecksumType, bytes }
}

/** What the check sum of an authenticator says. Delegated credentials may follow it; nobody reads them. */
export const readGssChecksum = (
  checksum: Typed | undefined
): { readonly flags: number; readonly channelBindings: Uint8Array } | undefined => {
  if (checksum === undefined || checksum.type !== gssChecksumType || checksum.bytes.length < 24) return undefined
  const view = new DataView(checksum.bytes.buffer, checksum.bytes.byteOffset, checksum.bytes.length)
  if (view.getUint32(0, true) !== bindingBytes) return undefined
  return { flags: view.getUint32(20, true), channelBindings: checksum.bytes.subarray(4, 20) }
}

/** The flags of a level. Encryption is not asked for where it is not used: Samba would then always expect it. */
export const flagsOf = (level: ProtectionLevel, identifyOnly: boolean): number =>
  gssFlags.mutual | gssFlags.replay | gssFlags.sequence | gssFlags.dceStyle |
  (level === "connect" ? 0 : gssFlags.integrity) |
  (level === "privacy" ? gssFlags.confidentiality : 0) |
  (identifyOnly ? gssFlags.identify : 0)

/** A number to begin with, below 2^30: some peers read it as a signed one. */
export const randomSequence = (random: Random): number => {
  const bytes = random(4)
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0) & 0x3fffffff
}

export const failure = (
  reason: LoginFailure["reason"],
  detail: string,
  claimed?: string | undefined
): LoginFailure => new LoginFailure({ reason, detail, ...(claimed === undefined ? {} : { claimed }) })

/** A message that is no message of Kerberos. */
export const malformed = (what: string, { message }: DerFailure): LoginFailure =>
  failure("refused", `Kerberos: ${what} is damaged (${message})`)

/** A completed login. */
export interface Login {
  readonly key: Key
  readonly isInitiator: boolean
  readonly hasAcceptorSubkey: boolean
  readonly sendSequence: number
  readonly receiveSequence: number
  readonly random: Random
  readonly identity: Identity
  /** The wishes of the client. */
  readonly flags: number
  /** When the ticket ends. */
  readonly expires: number
}

/** The session of a login, and what forgets its secrets. */
export const makeSession = (login: Login): { readonly session: Session; readonly wipe: () => void } => {
  const { expires, flags, identity, key } = login
  const tokens = makeTokens(key, login)
  const integrity = (flags & gssFlags.integrity) !== 0
  const confidentiality = (flags & gssFlags.confidentiality) !== 0
  const sessionKey = Redacted.make(key.bytes.slice(), { label: "session key" })
  return {
    session: {
      provider: "Kerberos",
      identity,
      mutual: true,
      integrity,
      confidentiality,
      needsMic: key.checksumType >= 0,
      sessionKey,
      expires,
      signatureSize: tokens.signatureSize,
      protect: tokens.protect,
      unprotect: (pdu, bodyStart, bodyEnd, level, headerSigning) =>
        (level === "connect" || (level === "privacy" ? confidentiality : integrity)) &&
        tokens.unprotect(pdu, bodyStart, bodyEnd, level, headerSigning),
      mic: tokens.mic,
      verifyMic: tokens.verifyMic
    },
    wipe: () => {
      tokens.wipe()
      Redacted.value(sessionKey).fill(0)
      Redacted.wipeUnsafe(sessionKey)
    }
  }
}
