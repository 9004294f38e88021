/** The server's side of a login: opens tickets with the keys of a keytab. */
import type { Identity, Session } from "../Security.ts"
import { LoginFailure } from "../Security.ts"
import { equalBytes } from "./constantTime.ts"
import { DerFailure } from "./der.ts"
import { failure, gssFlags, makeSession, malformed, randomSequence, readGssChecksum } from "./kerberosContext.ts"
import type { Key, Random } from "./kerberosCrypto.ts"
import type { Keys } from "./kerberosKeys.ts"
import * as Messages from "./kerberosMessages.ts"
import { type Pac, readPac } from "./kerberosPac.ts"

/** A key of the service, and its version. */
export interface ServiceKey {
  readonly kvno: number
  readonly key: Key
}

export interface AcceptorPolicy {
  readonly keys: Keys
  /** The keys of the service, the newest first. */
  readonly serviceKeys: ReadonlyArray<ServiceKey>
  /** The names by which a client may call the service. Absent: all for which there is a key. */
  readonly names: ReadonlyArray<string> | undefined
  readonly channelBindings: "never" | "whenSupported" | "always"
  /** How far clocks may differ, in milliseconds. */
  readonly clockSkew: number
  /** Whether the request is a new one. */
  readonly isNew: (request: string, now: number) => boolean
}

export interface AcceptorOptions {
  readonly now: number
  readonly wantsPrivacy: boolean
  readonly channelBindings: Uint8Array | undefined
  readonly random: Random
}

/** A login that waits for the client's last token. */
export interface Acceptor {
  /** The answer to the first token. */
  readonly token: Uint8Array
  readonly finish: (token: Uint8Array) => Session | LoginFailure
  readonly wipe: () => void
}

const ticketFlags = { invalid: 0x01000000 } as const

const authorizationTypes = { ifRelevant: 1, pac: 128 } as const

const framedRequest = 1

/** Whether bytes begin a login: an AP-REQ, bare or in the frame of GSS. */
export const isRequest = (token: Uint8Array): boolean =>
  token[0] === 0x6e || token[0] === 0x60 && !(Messages.unframe(token, framedRequest) instanceof DerFailure)

/** Takes the first token of a client. */
export const accept = (
  policy: AcceptorPolicy,
  options: AcceptorOptions,
  token: Uint8Array
): Acceptor | LoginFailure => {
  const { channelBindings, now, random, wantsPrivacy } = options
  const { clockSkew, keys } = policy
  const bare = Messages.unframe(token, framedRequest)
  const request = bare instanceof DerFailure ? bare : Messages.readApReq(bare)
  if (request instanceof DerFailure) return malformed("the client's request", request)

  const opened = openTicket(policy, request.ticket)
  if (opened instanceof LoginFailure) return opened
  const { part, pac, sessionKey } = opened
  const claimed = `${Messages.printPrincipal(part.client)}@${part.realm}`
  const refuse = (reason: LoginFailure["reason"], detail: string) => {
    sessionKey.wipe()
    return failure(reason, `Kerberos: ${detail}`, claimed)
  }
  if ((part.flags & ticketFlags.invalid) !== 0) return refuse("refused", "the ticket is not valid yet")
  if ((part.starttime ?? part.authtime) > now + clockSkew) return refuse("refused", "the ticket is not valid yet")
  if (part.endtime < now - clockSkew) return refuse("refused", "the ticket has expired")

  const plain = request.authenticator.etype === sessionKey.etype
    ? sessionKey.decrypt(Messages.usages.authenticator, request.authenticator.cipher)
    : undefined
  if (plain === undefined) return refuse("tampered", "the request was changed, or made without the ticket's key")
  const authenticator = Messages.readAuthenticator(plain)
  if (authenticator instanceof DerFailure) return refuse("refused", authenticator.message)
  if (authenticator.realm !== part.realm || !Messages.samePrincipal(authenticator.client, part.client)) {
    return refuse("refused", "ticket and request name different users")
  }
  if (Math.abs(authenticator.stamp.time - now) > clockSkew) {
    return refuse("refused", `the clocks differ by ${Math.round((authenticator.stamp.time - now) / 1000)} seconds`)
  }
  if (!policy.isNew(requestId(claimed, authenticator.stamp, request.authenticator.cipher), now)) {
    return refuse("refused", "the request was seen before")
  }

  const wishes = readGssChecksum(authenticator.checksum)
  if (wishes === undefined) return refuse("refused", "the request has no check sum of GSS")
  if ((wishes.flags & gssFlags.dceStyle) === 0) {
    return refuse("unsupported", "the client does not ask for the style of DCE")
  }
  const bindings = bindingsProblem(policy.channelBindings, channelBindings, wishes.channelBindings)
  if (bindings !== undefined) return refuse("refused", bindings)
  if (authenticator.sequence === undefined) return refuse("unsupported", "the client does not number its messages")
  const clientSequence = authenticator.sequence

  // The client's subkey says which type of key both sides know.
  const key = keys.random(authenticator.subkey?.type ?? sessionKey.etype, random)
  authenticator.subkey?.bytes.fill(0)
  plain.fill(0)
  if (key === undefined) {
    return refuse("unsupported", `keys of type ${authenticator.subkey?.type} can't protect messages`)
  }
  const sequence = randomSequence(random)
  const { stamp } = authenticator
  const answer = Messages.writeEncApRepPart({ stamp, subkey: { type: key.etype, bytes: key.bytes }, sequence })
  const encrypted = sessionKey.encrypt(Messages.usages.apReply, answer, random)
  answer.fill(0)
  const wipes: Array<() => void> = [() => sessionKey.wipe(), () => key.wipe()]

  const finish: Acceptor["finish"] = (last) => {
    const problem = echoProblem(sessionKey, last, stamp, sequence)
    if (problem !== undefined) return problem
    if (wantsPrivacy && (wishes.flags & gssFlags.confidentiality) === 0) {
      return failure("unsupported", "Kerberos: the client asked for privacy and then for no encryption", claimed)
    }
    const { session, wipe } = makeSession({
      key,
      isInitiator: false,
      hasAcceptorSubkey: true,
      sendSequence: sequence,
      receiveSequence: clientSequence,
      random,
      identity: identityOf(part, pac, wishes.flags),
      flags: wishes.flags,
      expires: part.endtime
    })
    wipes.push(wipe)
    return session
  }

  return {
    token: Messages.writeApRep(Messages.writeEncryptedData(sessionKey.etype, encrypted)),
    finish,
    wipe: () => {
      for (const wipe of wipes) wipe()
    }
  }
}

const identityOf = (part: Messages.EncTicketPart, pac: Pac | undefined, flags: number): Identity => ({
  name: Messages.printPrincipal(part.client),
  domain: part.realm,
  anonymous: false,
  impersonation: (flags & gssFlags.identify) !== 0
    ? "identify"
    : (flags & gssFlags.delegate) !== 0
    ? "delegate"
    : "impersonate",
  groups: pac === undefined ? [] : [pac.user, ...pac.groups]
})

// ----------------------------------------------------------------------------
// the ticket
// ----------------------------------------------------------------------------

interface Opened {
  readonly part: Messages.EncTicketPart
  readonly pac: Pac | undefined
  readonly sessionKey: Key
}

const openTicket = (policy: AcceptorPolicy, { encrypted, service }: Messages.Ticket): Opened | LoginFailure => {
  const name = Messages.printPrincipal(service)
  if (policy.names !== undefined && !policy.names.some((known) => known.toLowerCase() === name.toLowerCase())) {
    return failure("refused", `Kerberos: the ticket is for ${name}, which is none of this server's names`)
  }
  const candidates = policy.serviceKeys.filter(({ key }) => key.etype === encrypted.etype)
  // A ticket names the version of its key, or does not; the right one goes first.
  const ordered = [
    ...candidates.filter(({ kvno }) => kvno === encrypted.kvno),
    ...candidates.filter(({ kvno }) => kvno !== encrypted.kvno)
  ]
  for (const { key } of ordered) {
    const plain = key.decrypt(Messages.usages.ticket, encrypted.cipher)
    if (plain !== undefined) return readTicket(policy.keys, key, plain)
  }
  return failure(
    "refused",
    `Kerberos: no key of the keytab opens the ticket for ${name}, got type ${encrypted.etype} and version ${
      encrypted.kvno ?? "unknown"
    }. Export the keytab again after the password of the service has changed`
  )
}

const readTicket = (keys: Keys, serviceKey: Key, plain: Uint8Array): Opened | LoginFailure => {
  const part = Messages.readEncTicketPart(plain)
  if (part instanceof DerFailure) return malformed("the ticket", part)
  const pacBytes = pacOf(part.authorization)
  const pac = pacBytes && readPac(pacBytes, serviceKey)
  if (typeof pac === "string") {
    return failure("tampered", `Kerberos: the certificate with the user's groups is damaged, ${pac}`)
  }
  const sessionKey = keys.make(part.key.type, part.key.bytes)
  plain.fill(0)
  return sessionKey === undefined
    ? failure("unsupported", `Kerberos: keys of type ${part.key.type} can't protect messages`)
    : { part, pac, sessionKey }
}

const pacOf = (authorization: ReadonlyArray<Messages.Typed>): Uint8Array | undefined => {
  for (const { bytes, type } of authorization) {
    if (type !== authorizationTypes.ifRelevant) continue
    const inner = Messages.readAuthorizationData(bytes)
    if (inner instanceof DerFailure) continue
    const pac = inner.find(({ type }) => type === authorizationTypes.pac)
    if (pac !== undefined) return pac.bytes
  }
  return undefined
}

// ----------------------------------------------------------------------------
// checks
// ----------------------------------------------------------------------------

/** The last bytes of what is encrypted are a code of it, which only the client could make. */
const requestId = (client: string, { micros, time }: Messages.Stamp, cipher: Uint8Array): string =>
  `${client} ${time} ${micros} ${cipher.subarray(-12).join()}`

const bindingsProblem = (
  policy: AcceptorPolicy["channelBindings"],
  own: Uint8Array | undefined,
  theirs: Uint8Array
): string | undefined => {
  if (policy === "never") return undefined
  if (own === undefined) return policy === "always" ? "the connection has no channel to bind the login to" : undefined
  if (equalBytes(own, theirs)) return undefined
  const isAbsent = theirs.every((byte) => byte === 0)
  if (isAbsent) return policy === "always" ? "the client did not bind the login to its channel" : undefined
  return "the client is bound to another channel"
}

const echoProblem = (
  sessionKey: Key,
  token: Uint8Array,
  stamp: Messages.Stamp,
  sequence: number
): LoginFailure | undefined => {
  const encrypted = Messages.readApRep(token)
  if (encrypted instanceof DerFailure) return malformed("the client's last token", encrypted)
  const plain = encrypted.etype === sessionKey.etype
    ? sessionKey.decrypt(Messages.usages.apReply, encrypted.cipher)
    : undefined
  if (plain === undefined) return failure("tampered", "Kerberos: the client's last token was changed")
  const echo = Messages.readEncApRepPart(plain)
  if (echo instanceof DerFailure) return malformed("the client's last token", echo)
  const isEcho = echo.stamp.time === stamp.time && echo.stamp.micros === stamp.micros && echo.sequence === sequence
  return isEcho ? undefined : failure("refused", "Kerberos: the client's last token belongs to another login")
}
