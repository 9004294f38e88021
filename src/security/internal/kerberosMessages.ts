/**
 * The messages of Kerberos in DER (RFC 4120), as far as a client and a server need them.
 *
 * Functions that begin with `read` give a `DerFailure` for anything but the message.
 */
import * as Der from "./der.ts"

type Reader = Der.DerReader

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

/** The name of a user or of a service. */
export interface Principal {
  readonly type: number
  readonly parts: ReadonlyArray<string>
}

export interface EncryptedData {
  readonly etype: number
  readonly kvno: number | undefined
  readonly cipher: Uint8Array
}

/** The bytes of a key, or of a check sum, and their type. */
export interface Typed {
  readonly type: number
  readonly bytes: Uint8Array
}

export interface Ticket {
  readonly realm: string
  readonly service: Principal
  readonly encrypted: EncryptedData
  /** The ticket as it came. */
  readonly der: Uint8Array
}

/** A time of Kerberos: whole seconds, in milliseconds since 1970, and the microseconds beside them. */
export interface Stamp {
  readonly time: number
  readonly micros: number
}

export interface EncTicketPart {
  readonly flags: number
  readonly key: Typed
  readonly realm: string
  readonly client: Principal
  readonly authtime: number
  readonly starttime: number | undefined
  readonly endtime: number
  readonly authorization: ReadonlyArray<Typed>
}

export interface Authenticator {
  readonly realm: string
  readonly client: Principal
  readonly checksum: Typed | undefined
  readonly stamp: Stamp
  readonly subkey: Typed | undefined
  readonly sequence: number | undefined
}

export interface ApReq {
  readonly options: number
  readonly ticket: Ticket
  readonly authenticator: EncryptedData
}

export interface EncApRepPart {
  readonly stamp: Stamp
  readonly subkey: Typed | undefined
  readonly sequence: number | undefined
}

export interface KdcReply {
  readonly padata: ReadonlyArray<Typed>
  readonly realm: string
  readonly client: Principal
  readonly ticket: Ticket
  readonly encrypted: EncryptedData
}

export interface EncKdcReplyPart {
  readonly key: Typed
  readonly nonce: number
  readonly flags: number
  readonly endtime: number
  readonly realm: string
  readonly service: Principal
}

export interface KdcRequest {
  readonly options: number
  /** Absent where a ticket says who asks. */
  readonly client: Principal | undefined
  readonly realm: string
  readonly service: Principal
  readonly till: number
  readonly nonce: number
  readonly etypes: ReadonlyArray<number>
}

export interface KrbError {
  readonly code: number
  readonly serverStamp: Stamp
  readonly text: string | undefined
  readonly data: Uint8Array | undefined
}

/** How a password becomes a key, as the key distribution centre says. */
export interface EtypeInfo {
  readonly etype: number
  readonly salt: Uint8Array | undefined
  readonly parameters: Uint8Array | undefined
}

// ----------------------------------------------------------------------------
// numbers
// ----------------------------------------------------------------------------

export const nameTypes = { user: 1, service: 2 } as const

export const padataTypes = { tgsRequest: 1, timestamp: 2, etypeInfo2: 19, pacRequest: 128 } as const

export const usages = {
  timestamp: 1,
  ticket: 2,
  asReply: 3,
  tgsChecksum: 6,
  tgsAuthenticator: 7,
  tgsReply: 8,
  authenticator: 11,
  apReply: 12,
  pac: 17,
  acceptorSeal: 22,
  acceptorSign: 23,
  initiatorSeal: 24,
  initiatorSign: 25
} as const

const version = 5

const messages = {
  asRequest: 10,
  asReply: 11,
  tgsRequest: 12,
  tgsReply: 13,
  apRequest: 14,
  apReply: 15,
  error: 30
} as const

// ----------------------------------------------------------------------------
// parts
// ----------------------------------------------------------------------------

/** No name of a sensible principal has more parts. */
const maxNameParts = 16

const principal = (reader: Reader): Principal =>
  reader.sequence((it) => ({
    type: it.field(0, (it) => it.integer()),
    parts: it.field(1, (it) => it.list((it) => it.text(), maxNameParts))
  }))

export const writePrincipal = ({ parts, type }: Principal): Uint8Array =>
  Der.sequence(Der.field(0, Der.integer(type)), Der.field(1, Der.sequence(...parts.map(Der.text))))

export const samePrincipal = (left: Principal, right: Principal): boolean =>
  left.parts.length === right.parts.length && left.parts.every((part, index) => part === right.parts[index])

export const printPrincipal = ({ parts }: Principal): string => parts.join("/")

const encryptedData = (reader: Reader): EncryptedData =>
  reader.sequence((it) => ({
    etype: it.field(0, (it) => it.integer()),
    kvno: it.optionalField(1, (it) => it.uint32()),
    cipher: it.field(2, (it) => it.octets())
  }))

export const writeEncryptedData = (etype: number, cipher: Uint8Array, kvno?: number): Uint8Array =>
  Der.sequence(
    Der.field(0, Der.integer(etype)),
    Der.field(1, kvno === undefined ? undefined : Der.integer(kvno)),
    Der.field(2, Der.octets(cipher))
  )

const typed = (first: number) => (reader: Reader): Typed =>
  reader.sequence((it) => ({
    type: it.field(first, (it) => it.integer()),
    bytes: it.field(first + 1, (it) => it.octets())
  }))

const key = typed(0)
const checksum = typed(0)
const padata = typed(1)
const authorizationData = (reader: Reader): ReadonlyArray<Typed> => reader.list(typed(0), 64)

const writeTyped = (first: number) => ({ bytes, type }: Typed): Uint8Array =>
  Der.sequence(Der.field(first, Der.integer(type)), Der.field(first + 1, Der.octets(bytes)))

export const writeKey: (key: Typed) => Uint8Array = writeTyped(0)
const writeChecksum = writeKey
export const writePadata: (data: Typed) => Uint8Array = writeTyped(1)

const stamp = (reader: Reader, first: number): Stamp => ({
  time: reader.field(first, (it) => it.time()),
  micros: reader.field(first + 1, micros)
})

const micros = (reader: Reader): number => {
  const value = reader.integer()
  if (value < 0 || value > 999_999) throw new Der.DerFailure(`Kerberos: ${value} microseconds are no part of a second`)
  return value
}

const requireNumber = (reader: Reader, field: number, expected: number): void => {
  const value = reader.field(field, (it) => it.integer())
  if (value !== expected) {
    throw new Der.DerFailure(`Kerberos: got version or message type ${value}, expected ${expected}`)
  }
}

const ticket = (reader: Reader): Ticket => {
  const der = reader.element()
  return unwrap(Der.decode(der, (it) =>
    it.application(1, (it) =>
      it.sequence((it) => {
        requireNumber(it, 0, version)
        return {
          realm: it.field(1, (it) => it.text()),
          service: it.field(2, principal),
          encrypted: it.field(3, encryptedData),
          der
        }
      }))))
}

const unwrap = <A>(value: A | Der.DerFailure): A => {
  if (value instanceof Der.DerFailure) throw value
  return value
}

const structure = <A>(bytes: Uint8Array, number: number, read: (reader: Reader) => A): A | Der.DerFailure =>
  Der.decode(bytes, (it) => it.application(number, (it) => it.sequence(read)))

const message = <A>(bytes: Uint8Array, number: number, read: (reader: Reader) => A): A | Der.DerFailure =>
  structure(bytes, number, (it) => {
    requireNumber(it, 0, version)
    requireNumber(it, 1, number)
    return read(it)
  })

// ----------------------------------------------------------------------------
// tickets and authenticators
// ----------------------------------------------------------------------------

export const readEncTicketPart = (bytes: Uint8Array): EncTicketPart | Der.DerFailure =>
  structure(bytes, 3, (it) => {
    const flags = it.field(0, (it) => it.flags())
    const sessionKey = it.field(1, key)
    const realm = it.field(2, (it) => it.text())
    const client = it.field(3, principal)
    it.field(4, (it) => it.skipRest())
    const authtime = it.field(5, (it) => it.time())
    const starttime = it.optionalField(6, (it) => it.time())
    const endtime = it.field(7, (it) => it.time())
    it.optionalField(8, (it) => it.time())
    it.optionalField(9, (it) => it.skipRest())
    const authorization = it.optionalField(10, authorizationData) ?? []
    return { flags, key: sessionKey, realm, client, authtime, starttime, endtime, authorization }
  })

/** Reads authorization data that stands in other authorization data. */
export const readAuthorizationData = (bytes: Uint8Array): ReadonlyArray<Typed> | Der.DerFailure =>
  Der.decode(bytes, authorizationData)

export const writeAuthenticator = (authenticator: Authenticator): Uint8Array => {
  const { checksum, client, realm, sequence, stamp, subkey } = authenticator
  return Der.application(
    2,
    Der.sequence(
      Der.field(0, Der.integer(version)),
      Der.field(1, Der.text(realm)),
      Der.field(2, writePrincipal(client)),
      Der.field(3, checksum && writeChecksum(checksum)),
      Der.field(4, Der.integer(stamp.micros)),
      Der.field(5, Der.time(stamp.time)),
      Der.field(6, subkey && writeKey(subkey)),
      Der.field(7, sequence === undefined ? undefined : Der.integer(sequence))
    )
  )
}

export const readAuthenticator = (bytes: Uint8Array): Authenticator | Der.DerFailure =>
  structure(bytes, 2, (it) => {
    requireNumber(it, 0, version)
    const realm = it.field(1, (it) => it.text())
    const client = it.field(2, principal)
    const sum = it.optionalField(3, checksum)
    const fraction = it.field(4, micros)
    const time = it.field(5, (it) => it.time())
    const subkey = it.optionalField(6, key)
    const sequence = it.optionalField(7, (it) => it.uint32())
    it.optionalField(8, (it) => it.skipRest())
    return { realm, client, checksum: sum, stamp: { time, micros: fraction }, subkey, sequence }
  })

export const writeApReq = (options: number, ticketDer: Uint8Array, authenticator: Uint8Array): Uint8Array =>
  Der.application(
    messages.apRequest,
    Der.sequence(
      Der.field(0, Der.integer(version)),
      Der.field(1, Der.integer(messages.apRequest)),
      Der.field(2, Der.flags(options)),
      Der.field(3, ticketDer),
      Der.field(4, authenticator)
    )
  )

export const readApReq = (bytes: Uint8Array): ApReq | Der.DerFailure =>
  message(bytes, messages.apRequest, (it) => ({
    options: it.field(2, (it) => it.flags()),
    ticket: it.field(3, ticket),
    authenticator: it.field(4, encryptedData)
  }))

export const writeApRep = (encrypted: Uint8Array): Uint8Array =>
  Der.application(
    messages.apReply,
    Der.sequence(
      Der.field(0, Der.integer(version)),
      Der.field(1, Der.integer(messages.apReply)),
      Der.field(2, encrypted)
    )
  )

export const readApRep = (bytes: Uint8Array): EncryptedData | Der.DerFailure =>
  message(bytes, messages.apReply, (it) => it.field(2, encryptedData))

export const writeEncApRepPart = ({ sequence, stamp, subkey }: EncApRepPart): Uint8Array =>
  Der.application(
    27,
    Der.sequence(
      Der.field(0, Der.time(stamp.time)),
      Der.field(1, Der.integer(stamp.micros)),
      Der.field(2, subkey && writeKey(subkey)),
      Der.field(3, sequence === undefined ? undefined : Der.integer(sequence))
    )
  )

export const readEncApRepPart = (bytes: Uint8Array): EncApRepPart | Der.DerFailure =>
  structure(bytes, 27, (it) => ({
    stamp: stamp(it, 0),
    subkey: it.optionalField(2, key),
    sequence: it.optionalField(3, (it) => it.uint32())
  }))

// ----------------------------------------------------------------------------
// the key distribution centre
// ----------------------------------------------------------------------------

export const writeKdcRequestBody = (request: KdcRequest): Uint8Array => {
  const { client, etypes, nonce, options, realm, service, till } = request
  return Der.sequence(
    Der.field(0, Der.flags(options)),
    Der.field(1, client && writePrincipal(client)),
    Der.field(2, Der.text(realm)),
    Der.field(3, writePrincipal(service)),
    Der.field(5, Der.time(till)),
    Der.field(7, Der.integer(nonce)),
    Der.field(8, Der.sequence(...etypes.map(Der.integer)))
  )
}

const kdcRequest = (number: number) => (body: Uint8Array, padata: ReadonlyArray<Typed>): Uint8Array =>
  Der.application(
    number,
    Der.sequence(
      Der.field(1, Der.integer(version)),
      Der.field(2, Der.integer(number)),
      Der.field(3, Der.sequence(...padata.map(writePadata))),
      Der.field(4, body)
    )
  )

/** Writes a request for a first ticket. */
export const writeAsRequest: (body: Uint8Array, padata: ReadonlyArray<Typed>) => Uint8Array = kdcRequest(
  messages.asRequest
)

/** Writes a request for the ticket of a service. */
export const writeTgsRequest: (body: Uint8Array, padata: ReadonlyArray<Typed>) => Uint8Array = kdcRequest(
  messages.tgsRequest
)

/** The data of pre-authentication that prove knowledge of the password; to be encrypted. */
export const writeTimestamp = ({ micros, time }: Stamp): Uint8Array =>
  Der.sequence(Der.field(0, Der.time(time)), Der.field(1, Der.integer(micros)))

/** Asks for a ticket with the user's groups. */
export const pacRequest: Uint8Array = /* @__PURE__ */ Uint8Array.of(0x30, 0x05, 0xa0, 0x03, 0x01, 0x01, 0xff)

const kdcReply = (number: number) => (bytes: Uint8Array): KdcReply | Der.DerFailure =>
  message(bytes, number, (it) => ({
    padata: it.optionalField(2, (it) => it.list(padata, 64)) ?? [],
    realm: it.field(3, (it) => it.text()),
    client: it.field(4, principal),
    ticket: it.field(5, ticket),
    encrypted: it.field(6, encryptedData)
  }))

export const readAsReply: (bytes: Uint8Array) => KdcReply | Der.DerFailure = kdcReply(messages.asReply)

export const readTgsReply: (bytes: Uint8Array) => KdcReply | Der.DerFailure = kdcReply(messages.tgsReply)

/** Reads the encrypted part of a reply. Some servers use the number of the other kind of reply. */
export const readEncKdcReplyPart = (bytes: Uint8Array): EncKdcReplyPart | Der.DerFailure =>
  structure(bytes, bytes[0] === 0x79 ? 25 : 26, (it) => {
    const sessionKey = it.field(0, key)
    it.field(1, (it) => it.skipRest())
    const nonce = it.field(2, (it) => it.uint32())
    it.optionalField(3, (it) => it.time())
    const flags = it.field(4, (it) => it.flags())
    it.field(5, (it) => it.time())
    it.optionalField(6, (it) => it.time())
    const endtime = it.field(7, (it) => it.time())
    it.optionalField(8, (it) => it.time())
    const realm = it.field(9, (it) => it.text())
    const service = it.field(10, principal)
    it.optionalField(11, (it) => it.skipRest())
    it.optionalField(12, (it) => it.skipRest())
    return { key: sessionKey, nonce, flags, endtime, realm, service }
  })

export const readKrbError = (bytes: Uint8Array): KrbError | Der.DerFailure =>
  message(bytes, messages.error, (it) => {
    it.optionalField(2, (it) => it.time())
    it.optionalField(3, micros)
    const serverStamp = stamp(it, 4)
    const code = it.field(6, (it) => it.integer())
    it.optionalField(7, (it) => it.skipRest())
    it.optionalField(8, (it) => it.skipRest())
    it.field(9, (it) => it.skipRest())
    it.field(10, (it) => it.skipRest())
    const text = it.optionalField(11, (it) => new TextDecoder().decode(it.contents(0x1b)))
    const data = it.optionalField(12, (it) => it.octets())
    it.optionalField(13, (it) => it.skipRest())
    return { code, serverStamp, text, data }
  })

/** Reads the data of an error that says how passwords become keys. */
export const readEtypeInfo = (padata: ReadonlyArray<Typed>): ReadonlyArray<EtypeInfo> | Der.DerFailure => {
  const found = padata.find(({ type }) => type === padataTypes.etypeInfo2)
  if (found === undefined) return []
  return Der.decode(found.bytes, (it) =>
    it.list((it) =>
      it.sequence((it) => ({
        etype: it.field(0, (it) => it.integer()),
        salt: it.optionalField(1, (it) => it.contents(0x1b)),
        parameters: it.optionalField(2, (it) => it.octets())
      })), 32))
}

export const readPadata = (bytes: Uint8Array): ReadonlyArray<Typed> | Der.DerFailure =>
  Der.decode(bytes, (it) => it.list(padata, 64))

// ----------------------------------------------------------------------------
// frames of GSS
// ----------------------------------------------------------------------------

/** The object identifiers of Kerberos, the one of Windows first. */
export const identifiers: ReadonlyArray<string> = ["1.2.840.48018.1.2.2", "1.2.840.113554.1.2.2"]

/** Takes the frame of GSS off, if there is one. The two bytes of a kind read as an empty element. */
export const unframe = (token: Uint8Array, kind: number): Uint8Array | Der.DerFailure =>
  token[0] !== 0x60 ? token : Der.decode(token, (it) =>
    it.inside(0x60, (it) => {
      if (!identifiers.includes(it.oid())) throw new Der.DerFailure("Kerberos: a token of another mechanism")
      it.contents(kind)
      return it.element()
    }))

// ----------------------------------------------------------------------------
// errors in words
// ----------------------------------------------------------------------------

const errors: { readonly [code: number]: string | undefined } = {
  7: "the service is unknown",
  12: "a policy forbids it",
  13: "an option is not supported",
  14: "no type of encryption is known to both sides",
  18: "the account is disabled or locked",
  23: "the password has expired",
  31: "a message was changed, or encrypted with another key",
  32: "the ticket has expired",
  33: "the ticket is not yet valid",
  34: "the request was seen before",
  36: "ticket and request name different users",
  37: "the clocks differ too much",
  41: "a message was changed",
  44: "the version of the key is not there",
  45: "the key of the service is not there",
  50: "the check sum has a wrong type",
  52: "the answer is too large",
  60: "the cause is not told",
  68: "another realm is responsible"
}

/** What an error of Kerberos means, and its number. A wrong user and a wrong password are told alike. */
export const describeError = (code: number): string =>
  code === 6 || code === 24
    ? "the user or the password is wrong"
    : `${errors[code] ?? "for a cause that is not known here"} (error ${code})`
