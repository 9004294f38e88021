/** The client's side of a login: three tokens in the style of DCE. */
import type { Impersonation, ProtectionLevel, Session } from "../Security.ts"
import { LoginFailure } from "../Security.ts"
import { DerFailure } from "./der.ts"
import {
  failure,
  flagsOf,
  gssChecksum,
  makeSession,
  malformed,
  mutualRequired,
  randomSequence
} from "./kerberosContext.ts"
import type { Key, Random } from "./kerberosCrypto.ts"
import type { Keys } from "./kerberosKeys.ts"
import * as Messages from "./kerberosMessages.ts"

/** A ticket of a service, and who got it. */
export interface ServiceTicket {
  readonly der: Uint8Array
  readonly key: Key
  readonly realm: string
  readonly client: Messages.Principal
  readonly endtime: number
}

export interface InitiatorOptions {
  readonly ticket: ServiceTicket
  readonly level: ProtectionLevel
  readonly impersonation: Impersonation
  readonly channelBindings: Uint8Array | undefined
  readonly stamp: Messages.Stamp
  readonly random: Random
}

/** A login that waits for the server's answer. */
export interface Initiator {
  /** The first token. */
  readonly token: Uint8Array
  /** Takes the server's answer, and gives the last token and the session. */
  readonly finish: (answer: Uint8Array) => { readonly token: Uint8Array; readonly session: Session } | LoginFailure
  readonly wipe: () => void
}

/** Kinds of framed tokens. */
const framed = { answer: 2, error: 3 } as const

export const initiate = (keys: Keys, options: InitiatorOptions): Initiator | LoginFailure => {
  const { channelBindings, impersonation, level, random, stamp, ticket } = options
  const identifyOnly = impersonation === "identify" || impersonation === "anonymous"
  const flags = flagsOf(level, identifyOnly)
  // The type of the key decides, and it may differ from that of the ticket.
  const subkey = keys.random(ticket.key.etype, random)
  if (subkey === undefined) {
    return failure("unsupported", `Kerberos: keys of type ${ticket.key.etype} can't protect messages`)
  }
  const sequence = randomSequence(random)
  const authenticator = Messages.writeAuthenticator({
    realm: ticket.realm,
    client: ticket.client,
    checksum: gssChecksum(flags, channelBindings),
    stamp,
    subkey: { type: subkey.etype, bytes: subkey.bytes },
    sequence
  })
  const encrypted = ticket.key.encrypt(Messages.usages.authenticator, authenticator, random)
  authenticator.fill(0)
  const token = Messages.writeApReq(
    mutualRequired,
    ticket.der,
    Messages.writeEncryptedData(ticket.key.etype, encrypted)
  )
  const wipes: Array<() => void> = [() => subkey.wipe()]

  const finish: Initiator["finish"] = (answer) => {
    const reply = readAnswer(answer, ticket.key)
    if (reply instanceof LoginFailure) return reply
    if (reply.stamp.time !== stamp.time || reply.stamp.micros !== stamp.micros) {
      return failure("tampered", "Kerberos: the server answered another request")
    }
    if (reply.sequence === undefined) {
      return failure("unsupported", "Kerberos: the server does not number its messages")
    }
    const acceptorSubkey = reply.subkey && keys.make(reply.subkey.type, reply.subkey.bytes)
    reply.subkey?.bytes.fill(0)
    if (reply.subkey !== undefined && acceptorSubkey === undefined) {
      return failure("unsupported", `Kerberos: the server chose a key of type ${reply.subkey.type}`)
    }
    if (acceptorSubkey !== undefined) wipes.push(() => acceptorSubkey.wipe())
    const echo = Messages.writeEncApRepPart({ stamp, subkey: undefined, sequence: reply.sequence })
    const { session, wipe } = makeSession({
      key: acceptorSubkey ?? subkey,
      isInitiator: true,
      hasAcceptorSubkey: acceptorSubkey !== undefined,
      sendSequence: sequence,
      receiveSequence: reply.sequence,
      random,
      identity: {
        name: Messages.printPrincipal(ticket.client),
        domain: ticket.realm,
        anonymous: false,
        impersonation: identifyOnly ? "identify" : "impersonate",
        groups: []
      },
      flags,
      expires: ticket.endtime
    })
    wipes.push(wipe)
    const cipher = ticket.key.encrypt(Messages.usages.apReply, echo, random)
    return { token: Messages.writeApRep(Messages.writeEncryptedData(ticket.key.etype, cipher)), session }
  }

  return {
    token,
    finish,
    wipe: () => {
      for (const wipe of wipes) wipe()
    }
  }
}

/** Reads the server's answer: an AP-REP, or an error. */
const readAnswer = (answer: Uint8Array, key: Key): Messages.EncApRepPart | LoginFailure => {
  const isError = answer[0] === 0x7e ||
    answer[0] === 0x60 && !(Messages.unframe(answer, framed.error) instanceof DerFailure)
  const token = Messages.unframe(answer, isError ? framed.error : framed.answer)
  if (token instanceof DerFailure) return malformed("the server's answer", token)
  if (isError) {
    const error = Messages.readKrbError(token)
    if (error instanceof DerFailure) return malformed("the server's error", error)
    return failure("refused", `Kerberos: the server refused the ticket, ${Messages.describeError(error.code)}`)
  }
  const encrypted = Messages.readApRep(token)
  if (encrypted instanceof DerFailure) return malformed("the server's answer", encrypted)
  const plain = encrypted.etype === key.etype ? key.decrypt(Messages.usages.apReply, encrypted.cipher) : undefined
  if (plain === undefined) {
    return failure("tampered", "Kerberos: the server's answer was changed, or made without the ticket's key")
  }
  const part = Messages.readEncApRepPart(plain)
  return part instanceof DerFailure ? malformed("the server's answer", part) : part
}
