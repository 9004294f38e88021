/**
 * The PDUs (protocol data units) of connection-oriented DCE/RPC as values, and the codec that turns bytes into them and
 * back. It does no input and output: it takes chunks as they arrive and gives bytes to send.
 *
 * A wrong PDU of a peer is a {@link PduError}, a plain value among the PDUs. What the program itself asks wrong of the
 * encoding functions (a number too large for its field, a malformed UUID) throws, and writes nothing.
 *
 * @module
 * @since 0.1.0
 */
import { named } from "../internal/named.ts"
import * as Uuid from "../internal/uuid.ts"

// ----------------------------------------------------------------------------
// constants
// ----------------------------------------------------------------------------

/**
 * The size of the header that every PDU begins with.
 *
 * @category constants
 * @since 0.1.0
 */
export const headerSize = 16

/**
 * The fragment size that every peer must be able to receive.
 *
 * @category constants
 * @since 0.1.0
 */
export const minFragment = 1432

/**
 * The fragment size that peers usually offer and accept.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultFragment = 5840

/**
 * The largest size that a PDU can state.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxFragment = 65535

/**
 * The bits of a PDU's flags. `supportHeaderSign` is the meaning that `pendingCancel` has on `Bind`, `BindAck`,
 * `AlterContext` and `AlterContextResponse`.
 *
 * @category constants
 * @since 0.1.0
 */
export const flags: {
  readonly firstFrag: 0x01
  readonly lastFrag: 0x02
  readonly pendingCancel: 0x04
  readonly supportHeaderSign: 0x04
  readonly concMpx: 0x10
  readonly didNotExecute: 0x20
  readonly maybe: 0x40
  readonly objectUuid: 0x80
} = {
  firstFrag: 0x01,
  lastFrag: 0x02,
  pendingCancel: 0x04,
  supportHeaderSign: 0x04,
  concMpx: 0x10,
  didNotExecute: 0x20,
  maybe: 0x40,
  objectUuid: 0x80
}

const whole = flags.firstFrag | flags.lastFrag

/**
 * One type of PDU.
 *
 * @category models
 * @since 0.1.0
 */
export interface Type {
  /** The number on the wire. */
  readonly ptype: number
  /** The name in the protocol's documents. */
  readonly name: string
  /** Which side sends it. */
  readonly sentBy: "client" | "server"
  /** The smallest PDU, without an authentication trailer and without an object UUID. */
  readonly minSize: number
  /** Whether it may or can't have an authentication trailer. */
  readonly auth: "optional" | "never"
  /** The flags without which it is refused. */
  readonly requiredFlags: number
  /** Sent before fragment sizes are agreed, so that only {@link maxFragment} bounds it. */
  readonly bindTime: boolean
}

const type = (
  ptype: number,
  name: string,
  sentBy: "client" | "server",
  minSize: number,
  { auth = "optional", bindTime = false, requiredFlags = 0 }: {
    readonly auth?: Type["auth"]
    readonly bindTime?: boolean
    readonly requiredFlags?: number
  } = {}
): Type => ({ ptype, name, sentBy, minSize, auth, requiredFlags, bindTime })

/**
 * The types of PDU by the `_tag` of their values.
 *
 * @category constants
 * @since 0.1.0
 */
export const types: { readonly [Tag in Pdu["_tag"]]: Type } = {
  Request: type(0, "request", "client", 24),
  Response: type(2, "response", "server", 24),
  Fault: type(3, "fault", "server", 28),
  Bind: type(11, "bind", "client", 25, { bindTime: true }),
  BindAck: type(12, "bind_ack", "server", 32, { bindTime: true, requiredFlags: whole }),
  BindNak: type(13, "bind_nak", "server", 19, { bindTime: true, requiredFlags: whole, auth: "never" }),
  AlterContext: type(14, "alter_context", "client", 25, { bindTime: true }),
  AlterContextResponse: type(15, "alter_context_resp", "server", 32, { bindTime: true, requiredFlags: whole }),
  Auth3: type(16, "auth3", "client", 20, { bindTime: true }),
  Shutdown: type(17, "shutdown", "server", 16, { auth: "never" }),
  CoCancel: type(18, "co_cancel", "client", 16),
  Orphaned: type(19, "orphaned", "client", 16)
}

const typesByNumber: Array<Type | undefined> = Array.from({ length: 256 }, () => undefined)
for (const type of Object.values(types)) typesByNumber[type.ptype] = type

const connectionlessTypes: ReadonlyMap<number, string> = new Map([
  [1, "ping"],
  [4, "working"],
  [5, "nocall"],
  [6, "reject"],
  [7, "ack"],
  [8, "cl_cancel"],
  [9, "fack"],
  [10, "cancel_ack"]
])

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

/**
 * An abstract syntax (an interface) or a transfer syntax (how its data is represented), with its version.
 *
 * @category models
 * @since 0.1.0
 */
export interface SyntaxId {
  /** In canonical form: lower case, with hyphens. */
  readonly uuid: string
  /** The major version. */
  readonly major: number
  /** The minor version. */
  readonly minor: number
}

/**
 * The transfer syntax that every peer speaks, NDR 2.0.
 *
 * @category constants
 * @since 0.1.0
 */
export const ndr20: SyntaxId = { uuid: "8a885d04-1ceb-11c9-9fe8-08002b104860", major: 2, minor: 0 }

/**
 * The transfer syntax that stands in the result for a rejected context.
 *
 * @category constants
 * @since 0.1.0
 */
export const nilSyntax: SyntaxId = { uuid: Uuid.nil, major: 0, minor: 0 }

/**
 * The trailer that a security provider adds to a PDU.
 *
 * @category models
 * @since 0.1.0
 */
export interface AuthTrailer {
  /** The security provider, like 9 for Negotiate or 10 for NTLM. */
  readonly authType: number
  /** The protection level, 1 (none) to 6 (privacy). */
  readonly authLevel: number
  /** The security context on this connection. */
  readonly authContextId: number
  /** The provider's token or signature. */
  readonly authValue: Uint8Array
}

/**
 * The authentication trailer of a PDU that arrived.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReceivedAuthTrailer extends AuthTrailer {
  /** How many bytes of padding stand between the stub and the trailer. */
  readonly authPadLength: number
  /** The bytes of the whole PDU, which a signature covers. */
  readonly fragment: Uint8Array
}

/**
 * The fields of every PDU.
 *
 * @category models
 * @since 0.1.0
 */
export interface Header {
  /** The bits of {@link flags}. */
  readonly flags: number
  /** The call that the PDU belongs to. An answer repeats it. */
  readonly callId: number
  /** The byte order of the PDU, its stub included. */
  readonly littleEndian: boolean
  /** The authentication trailer, if the PDU has one. */
  readonly authTrailer: ReceivedAuthTrailer | undefined
}

/**
 * A fragment of a call's request.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request extends Header {
  /** The type of the PDU. */
  readonly _tag: "Request"
  /** How many bytes of stub the sender says are in this and the following fragments. Anything may stand here. */
  readonly allocHint: number
  /** The presentation context of the call. */
  readonly contextId: number
  /** The number of the operation. */
  readonly opnum: number
  /** The object UUID, if the PDU has one. */
  readonly object: string | undefined
  /** The marshalled parameters. See {@link Parser} for who owns these bytes. */
  readonly stub: Uint8Array
}

/**
 * A fragment of a call's response.
 *
 * @category models
 * @since 0.1.0
 */
export interface Response extends Header {
  /** The type of the PDU. */
  readonly _tag: "Response"
  /** How many bytes of stub the sender says are in this and the following fragments. Anything may stand here. */
  readonly allocHint: number
  /** The presentation context of the call. */
  readonly contextId: number
  /** How many cancels of this call the server has received. */
  readonly cancelCount: number
  /** The marshalled results. See {@link Parser} for who owns these bytes. */
  readonly stub: Uint8Array
}

/**
 * The end of a call that failed, in place of a response.
 *
 * @category models
 * @since 0.1.0
 */
export interface Fault extends Header {
  /** The type of the PDU. */
  readonly _tag: "Fault"
  /** How many bytes of stub the sender says that it has. Anything may stand here. */
  readonly allocHint: number
  /** The presentation context of the call. */
  readonly contextId: number
  /** How many cancels of this call the server has received. */
  readonly cancelCount: number
  /** Whether `stub` holds extended error information. */
  readonly extendedError: boolean
  /** Why the call failed: an exception code, or a code of the protocol. */
  readonly status: number
  /** The bytes behind the status; usually empty. See {@link Parser} for their owner. */
  readonly stub: Uint8Array
}

/**
 * One presentation context that a client proposes.
 *
 * @category models
 * @since 0.1.0
 */
export interface ContextElement {
  /** The number by which requests refer to this context. */
  readonly contextId: number
  /** The interface. */
  readonly abstractSyntax: SyntaxId
  /** The transfer syntaxes that the client proposes for it. */
  readonly transferSyntaxes: ReadonlyArray<SyntaxId>
}

/**
 * The client's first PDU on a connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface Bind extends Header {
  /** The type of the PDU. */
  readonly _tag: "Bind"
  /** The largest fragment that the sender sends, in bytes. */
  readonly maxXmitFrag: number
  /** The largest fragment that the sender accepts, in bytes. */
  readonly maxRecvFrag: number
  /** The association group; 0 in a bind asks for a new one. */
  readonly assocGroupId: number
  /** The presentation contexts that the client proposes. */
  readonly contextElements: ReadonlyArray<ContextElement>
}

/**
 * The client proposes further presentation contexts, or goes on with authentication.
 *
 * @category models
 * @since 0.1.0
 */
export interface AlterContext extends Omit<Bind, "_tag"> {
  /** The type of the PDU. */
  readonly _tag: "AlterContext"
}

/**
 * The server's answer for one presentation context, at the position of its element.
 *
 * @category models
 * @since 0.1.0
 */
export interface ContextResult {
  /** 0 acceptance, 1 user rejection, 2 provider rejection, 3 answer to the bind-time features. */
  readonly result: number
  /** Of a provider rejection: 1 abstract syntax, 2 transfer syntaxes, 3 local limit. Of result 3: the granted features. */
  readonly reason: number
  /** The transfer syntax that the server has chosen; {@link nilSyntax} if it rejects the context. */
  readonly transferSyntax: SyntaxId
}

/**
 * The server accepts a connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface BindAck extends Header {
  /** The type of the PDU. */
  readonly _tag: "BindAck"
  /** The largest fragment that the sender sends, in bytes. */
  readonly maxXmitFrag: number
  /** The largest fragment that the sender accepts, in bytes. */
  readonly maxRecvFrag: number
  /** The association group; 0 in a bind asks for a new one. */
  readonly assocGroupId: number
  /** The secondary address: the TCP port in decimal, or the name of a pipe. */
  readonly secAddr: string
  /** One answer for each presentation context, in the order of the bind. */
  readonly results: ReadonlyArray<ContextResult>
}

/**
 * The server's answer to `AlterContext`.
 *
 * @category models
 * @since 0.1.0
 */
export interface AlterContextResponse extends Omit<BindAck, "_tag"> {
  /** The type of the PDU. */
  readonly _tag: "AlterContextResponse"
}

/**
 * The server refuses a connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface BindNak extends Header {
  /** The type of the PDU. */
  readonly _tag: "BindNak"
  /** Why, like 4 for a version of the protocol that the server does not speak. */
  readonly rejectReason: number
  /** The versions of the protocol that the server speaks. */
  readonly protocols: ReadonlyArray<{ readonly major: number; readonly minor: number }>
}

/**
 * The client's last authentication token, where three are needed. It has no answer.
 *
 * @category models
 * @since 0.1.0
 */
export interface Auth3 extends Header {
  /** The type of the PDU. */
  readonly _tag: "Auth3"
}

/**
 * The client asks to cancel a call.
 *
 * @category models
 * @since 0.1.0
 */
export interface CoCancel extends Header {
  /** The type of the PDU. */
  readonly _tag: "CoCancel"
}

/**
 * The client has given up a call.
 *
 * @category models
 * @since 0.1.0
 */
export interface Orphaned extends Header {
  /** The type of the PDU. */
  readonly _tag: "Orphaned"
}

/**
 * The server asks the client to close the connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface Shutdown extends Header {
  /** The type of the PDU. */
  readonly _tag: "Shutdown"
}

/**
 * Any PDU.
 *
 * @category models
 * @since 0.1.0
 */
export type Pdu =
  | Request
  | Response
  | Fault
  | Bind
  | BindAck
  | BindNak
  | AlterContext
  | AlterContextResponse
  | Auth3
  | CoCancel
  | Orphaned
  | Shutdown

/**
 * Why bytes were refused.
 *
 * **Details**
 *
 * - `Version`: not version 5.0 or 5.1 of the protocol.
 * - `DataRepresentation`: not ASCII, not IEEE, or no byte order at all.
 * - `ConnectionlessType`: a type of PDU that exists for datagrams only.
 * - `UnknownType`: any other type that is not in {@link types}.
 * - `FragmentLength`: the stated size is below the smallest of the type, or not the size of the given bytes.
 * - `TooLarge`: the stated size is above the limit.
 * - `AuthTrailer`: an authentication trailer that doesn't fit, or is where none may be.
 * - `Alignment`: an authentication trailer that begins at no multiple of 4.
 * - `Flags`: a flag that the type needs is missing.
 * - `Truncated`: a count or length in the body reaches past its end.
 * - `Trailing`: bytes behind the body that belong to nothing.
 * - `FragmentOrder`: a first fragment inside a message, or a later one outside.
 * - `FragmentMismatch`: a fragment whose type or byte order is not that of its message.
 * - `MessageTooLarge`: all fragments together are above the limit.
 * - `Dead`: the parser failed before.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason =
  | "Version"
  | "DataRepresentation"
  | "ConnectionlessType"
  | "UnknownType"
  | "FragmentLength"
  | "TooLarge"
  | "AuthTrailer"
  | "Alignment"
  | "Flags"
  | "Truncated"
  | "Trailing"
  | "FragmentOrder"
  | "FragmentMismatch"
  | "MessageTooLarge"
  | "Dead"

/**
 * Bytes that were refused.
 *
 * @category models
 * @since 0.1.0
 */
export interface PduError {
  /** Tells it from PDUs. */
  readonly _tag: "PduError"
  /** The kind of problem. */
  readonly reason: Reason
  /** The call that the refused header names. */
  readonly callId: number
  /** The number of the PDU type that the refused header names. */
  readonly ptype: number
  /** The problem, in words for a person. */
  readonly message: string
}

// ----------------------------------------------------------------------------
// numbers in bytes
// ----------------------------------------------------------------------------

const u16 = (bytes: Uint8Array, at: number, littleEndian: boolean): number =>
  littleEndian ? bytes[at]! | bytes[at + 1]! << 8 : bytes[at]! << 8 | bytes[at + 1]!

const u32 = (bytes: Uint8Array, at: number, littleEndian: boolean): number =>
  (littleEndian
    ? bytes[at]! | bytes[at + 1]! << 8 | bytes[at + 2]! << 16 | bytes[at + 3]! << 24
    : bytes[at]! << 24 | bytes[at + 1]! << 16 | bytes[at + 2]! << 8 | bytes[at + 3]!) >>> 0

// Never `subarray` for bytes that are handed out: a subclass, such as Node's Buffer, would give another of its kind.
const viewOf = (bytes: Uint8Array, start: number, end: number): Uint8Array =>
  new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start)

const readSyntax = (bytes: Uint8Array, at: number, littleEndian: boolean): SyntaxId => {
  const version = u32(bytes, at + 16, littleEndian)
  return { uuid: Uuid.read(bytes, at, littleEndian), major: version & 0xffff, minor: version >>> 16 }
}

// ----------------------------------------------------------------------------
// decoding
// ----------------------------------------------------------------------------

const refuse = (reason: Reason, bytes: Uint8Array, at: number, message: string): PduError => ({
  _tag: "PduError",
  reason,
  callId: u32(bytes, at + 12, (bytes[at + 4]! & 0xf0) !== 0),
  ptype: bytes[at + 2]!,
  message
})

/** Checks all that the header at `at` says, and gives the size of its PDU. */
const checkHeader = (bytes: Uint8Array, at: number, limit: number): number | PduError => {
  if (bytes[at] !== 5 || bytes[at + 1]! > 1) {
    return refuse("Version", bytes, at, `version ${bytes[at]}.${bytes[at + 1]} of the protocol, not 5.0 or 5.1`)
  }
  const order = bytes[at + 4]!
  if ((order & ~0x10) !== 0 || (bytes[at + 5]! | bytes[at + 6]! | bytes[at + 7]!) !== 0) {
    const representation = [4, 5, 6, 7].map((offset) => bytes[at + offset]!.toString(16).padStart(2, "0")).join(" ")
    return refuse("DataRepresentation", bytes, at, `data representation ${representation} is not supported`)
  }
  const ptype = bytes[at + 2]!
  const type = typesByNumber[ptype]
  if (type === undefined) {
    const name = connectionlessTypes.get(ptype)
    return name === undefined
      ? refuse("UnknownType", bytes, at, `PDU type ${ptype} is unknown`)
      : refuse("ConnectionlessType", bytes, at, `PDU type ${ptype} (${name}) is for connectionless transports`)
  }
  const littleEndian = order !== 0
  const size = u16(bytes, at + 8, littleEndian)
  const authLength = u16(bytes, at + 10, littleEndian)
  const pduFlags = bytes[at + 3]!
  const minSize = type.minSize + (type.ptype === types.Request.ptype && (pduFlags & flags.objectUuid) !== 0 ? 16 : 0)
  if (size < minSize) {
    return refuse("FragmentLength", bytes, at, `${type.name} of ${size} bytes, of which at least ${minSize} are needed`)
  }
  if (size > limit && !type.bindTime) {
    return refuse("TooLarge", bytes, at, `${type.name} of ${size} bytes, above the limit of ${limit}`)
  }
  if (authLength > 0) {
    if (type.auth === "never") return refuse("AuthTrailer", bytes, at, `${type.name} with an authentication trailer`)
    const trailer = size - authLength - trailerHeaderSize
    if (trailer < minSize || trailer % 4 !== 0) {
      return refuse(
        trailer < minSize ? "AuthTrailer" : "Alignment",
        bytes,
        at,
        `${type.name} of ${size} bytes with ${authLength} bytes of authentication`
      )
    }
  }
  if ((pduFlags & type.requiredFlags) !== type.requiredFlags) {
    return refuse("Flags", bytes, at, `${type.name} with flags ${pduFlags}, which must include ${type.requiredFlags}`)
  }
  return size
}

const trailerHeaderSize = 8

const readTrailer = (bytes: Uint8Array, start: number, trailer: number, end: number): ReceivedAuthTrailer => ({
  authType: bytes[trailer]!,
  authLevel: bytes[trailer + 1]!,
  authContextId: u32(bytes, trailer + 4, bytes[start + 4] !== 0),
  authValue: viewOf(bytes, trailer + trailerHeaderSize, end),
  authPadLength: bytes[trailer + 2]!,
  fragment: viewOf(bytes, start, end)
})

/** Decodes one PDU from `start` to `end`, whose header was checked. */
const refusePadding = (bytes: Uint8Array, start: number, padding: number): PduError =>
  refuse("AuthTrailer", bytes, start, `${padding} bytes of padding are more than the stub has`)

const decodeChecked = (bytes: Uint8Array, start: number, end: number): Pdu | PduError => {
  const ptype = bytes[start + 2]!
  const pduFlags = bytes[start + 3]!
  const littleEndian = bytes[start + 4] !== 0
  const authLength = u16(bytes, start + 10, littleEndian)
  const callId = u32(bytes, start + 12, littleEndian)

  let bodyEnd = end
  let stubEnd = end
  let authTrailer: ReceivedAuthTrailer | undefined = undefined
  if (authLength > 0) {
    bodyEnd = end - authLength - trailerHeaderSize
    authTrailer = readTrailer(bytes, start, bodyEnd, end)
    stubEnd = bodyEnd - authTrailer.authPadLength
  }

  switch (ptype) {
    case types.Request.ptype: {
      const hasObject = (pduFlags & flags.objectUuid) !== 0
      const stub = start + (hasObject ? 40 : 24)
      if (stubEnd < stub) return refusePadding(bytes, start, bodyEnd - stubEnd)
      return {
        _tag: "Request",
        flags: pduFlags,
        callId,
        littleEndian,
        authTrailer,
        allocHint: u32(bytes, start + 16, littleEndian),
        contextId: u16(bytes, start + 20, littleEndian),
        opnum: u16(bytes, start + 22, littleEndian),
        object: hasObject ? Uuid.read(bytes, start + 24, littleEndian) : undefined,
        stub: viewOf(bytes, stub, stubEnd)
      }
    }
    case types.Response.ptype: {
      if (stubEnd < start + 24) return refusePadding(bytes, start, bodyEnd - stubEnd)
      return {
        _tag: "Response",
        flags: pduFlags,
        callId,
        littleEndian,
        authTrailer,
        allocHint: u32(bytes, start + 16, littleEndian),
        contextId: u16(bytes, start + 20, littleEndian),
        cancelCount: bytes[start + 22]!,
        stub: viewOf(bytes, start + 24, stubEnd)
      }
    }
  }
  const header = { flags: pduFlags, callId, littleEndian, authTrailer }
  switch (ptype) {
    case types.Fault.ptype: {
      // Some servers leave out the reserved word behind the status.
      const isShort = stubEnd === start + 28
      if (!isShort && stubEnd < start + 32) return refusePadding(bytes, start, bodyEnd - stubEnd)
      return {
        _tag: "Fault",
        ...header,
        allocHint: u32(bytes, start + 16, littleEndian),
        contextId: u16(bytes, start + 20, littleEndian),
        cancelCount: bytes[start + 22]!,
        extendedError: (bytes[start + 23]! & 1) !== 0,
        status: u32(bytes, start + 24, littleEndian),
        stub: viewOf(bytes, isShort ? stubEnd : start + 32, stubEnd)
      }
    }
    case types.Bind.ptype:
    case types.AlterContext.ptype: {
      const contextElements = readContextElements(bytes, start, bodyEnd, authTrailer === undefined, littleEndian)
      if (!Array.isArray(contextElements)) return contextElements
      return {
        _tag: ptype === types.Bind.ptype ? "Bind" : "AlterContext",
        ...header,
        maxXmitFrag: u16(bytes, start + 16, littleEndian),
        maxRecvFrag: u16(bytes, start + 18, littleEndian),
        assocGroupId: u32(bytes, start + 20, littleEndian),
        contextElements
      }
    }
    case types.BindAck.ptype:
    case types.AlterContextResponse.ptype: {
      const results = readResults(bytes, start, bodyEnd, authTrailer === undefined, littleEndian)
      if (!Array.isArray(results)) return results
      return {
        _tag: ptype === types.BindAck.ptype ? "BindAck" : "AlterContextResponse",
        ...header,
        maxXmitFrag: u16(bytes, start + 16, littleEndian),
        maxRecvFrag: u16(bytes, start + 18, littleEndian),
        assocGroupId: u32(bytes, start + 20, littleEndian),
        secAddr: readSecAddr(bytes, start + 26, u16(bytes, start + 24, littleEndian)),
        results
      }
    }
    case types.BindNak.ptype: {
      const count = bytes[start + 18]!
      if (start + 19 + 2 * count > bodyEnd) {
        return refuse("Truncated", bytes, start, `bind_nak ends before its ${count} versions`)
      }
      const protocols = Array.from({ length: count }, (_, index) => ({
        major: bytes[start + 19 + 2 * index]!,
        minor: bytes[start + 20 + 2 * index]!
      }))
      // Extended error information may follow.
      const rejectReason = u16(bytes, start + 16, littleEndian)
      return { _tag: "BindNak", ...header, rejectReason, protocols }
    }
    case types.Auth3.ptype:
      return { _tag: "Auth3", ...header }
    case types.Shutdown.ptype:
      return { _tag: "Shutdown", ...header }
    case types.CoCancel.ptype:
      return { _tag: "CoCancel", ...header }
    default:
      return { _tag: "Orphaned", ...header }
  }
}

// Behind a body there may be padding where an authentication trailer follows, and nothing otherwise.
const refuseRest = (bytes: Uint8Array, start: number, at: number, end: number, exact: boolean): PduError | undefined =>
  exact && at < end ? refuse("Trailing", bytes, start, `${end - at} bytes behind the body`) : undefined

const readContextElements = (
  bytes: Uint8Array,
  start: number,
  end: number,
  exact: boolean,
  littleEndian: boolean
): Array<ContextElement> | PduError => {
  const elements: Array<ContextElement> = []
  const count = bytes[start + 24]!
  // Without elements the reserved bytes may be missing.
  let at = count === 0 ? Math.min(start + 28, end) : start + 28
  for (let i = 0; i < count; i++) {
    const syntaxes = at + 24
    const next = syntaxes <= end ? syntaxes + 20 * bytes[at + 2]! : syntaxes
    if (next > end) return refuse("Truncated", bytes, start, `the body ends inside context ${i + 1} of ${count}`)
    const transferSyntaxes: Array<SyntaxId> = []
    for (let syntax = syntaxes; syntax < next; syntax += 20) {
      transferSyntaxes.push(readSyntax(bytes, syntax, littleEndian))
    }
    const contextId = u16(bytes, at, littleEndian)
    elements.push({ contextId, abstractSyntax: readSyntax(bytes, at + 4, littleEndian), transferSyntaxes })
    at = next
  }
  return refuseRest(bytes, start, at, end, exact) ?? elements
}

const readResults = (
  bytes: Uint8Array,
  start: number,
  end: number,
  exact: boolean,
  littleEndian: boolean
): Array<ContextResult> | PduError => {
  const first = 26 + u16(bytes, start + 24, littleEndian) + 3 & ~3
  if (start + first + 4 > end) return refuse("Truncated", bytes, start, "the body ends inside the secondary address")
  const count = bytes[start + first]!
  let at = start + first + 4
  if (at + 24 * count > end) return refuse("Truncated", bytes, start, `the body ends before its ${count} results`)
  const results: Array<ContextResult> = []
  for (let i = 0; i < count; i++, at += 24) {
    const transferSyntax = readSyntax(bytes, at + 4, littleEndian)
    results.push({ result: u16(bytes, at, littleEndian), reason: u16(bytes, at + 2, littleEndian), transferSyntax })
  }
  // The answer to a last token that leaves none to send: a trailer whose length is 0.
  return refuseRest(bytes, start, at, end, exact && end - at !== trailerHeaderSize) ?? results
}

const readSecAddr = (bytes: Uint8Array, at: number, length: number): string => {
  let text = ""
  for (let i = at; i < at + length && bytes[i] !== 0; i++) text += String.fromCharCode(bytes[i]!)
  return text
}

/**
 * Decodes the bytes of exactly one PDU, into which `stub` and `authValue` are views.
 *
 * **Example** (A request without parameters)
 *
 * ```ts
 * import * as Pdu from "@callisto/rpc/dcerpc/Pdu"
 *
 * const writer = new Pdu.Writer()
 * Pdu.beginRequest(writer, { callId: 2, contextId: 0, opnum: 7 })
 * Pdu.endMessage(writer, Pdu.minFragment)
 *
 * const pdu = Pdu.decode(writer.take())
 * pdu._tag === "Request" && pdu.opnum // => 7
 * ```
 *
 * @category decoding
 * @since 0.1.0
 */
export const decode = (bytes: Uint8Array): Pdu | PduError => {
  if (bytes.length < headerSize) {
    const message = `${bytes.length} bytes are less than a header`
    return { _tag: "PduError", reason: "Truncated", callId: 0, ptype: bytes[2] ?? 0, message }
  }
  const size = checkHeader(bytes, 0, maxFragment)
  if (typeof size !== "number") return size
  if (bytes.length < size) return refuse("Truncated", bytes, 0, `${bytes.length} bytes of a PDU of ${size}`)
  if (bytes.length > size) return refuse("FragmentLength", bytes, 0, `${bytes.length} bytes for a PDU of ${size}`)
  return decodeChecked(bytes, 0, size)
}

/**
 * Cuts a stream of bytes into PDUs.
 *
 * **Details**
 *
 * `push` takes the next chunk and gives the PDUs that are now complete, in order. Where the stream is wrong a
 * {@link PduError} is the last element, and the parser is dead: each further `push` gives an error with reason `Dead`.
 * A header is judged as soon as it is complete, before anything is allocated for its body.
 *
 * The parser holds at most one partial PDU, in a buffer that grows with what arrives, whatever its header states.
 *
 * The owner of the bytes: `stub`, `authValue` and `fragment` of a PDU are views that stay valid and unchanged for as long as the
 * PDU is kept. With `owned`, a PDU that lies wholly in one chunk is not copied: its views keep that chunk alive, so the
 * chunk must never be written to again after `push`. Without `owned` every PDU is copied once, and a chunk is free as soon
 * as `push` returns.
 *
 * @category models
 * @since 0.1.0
 */
export interface Parser {
  /** Takes the next bytes of the stream, and gives the PDUs that they complete. */
  push(chunk: Uint8Array): ReadonlyArray<Pdu | PduError>
  /**
   * Takes the bytes of a chunk from a position on, and gives each PDU that they complete to a function, until that answers
   * `false`. Gives the position behind the bytes taken: the next call goes on there, or with the next chunk.
   */
  read(chunk: Uint8Array, from: number, accept: (pdu: Pdu | PduError) => boolean): number
  /** The largest PDU to accept from now on. */
  maxFragment: number
  /** How many bytes of a PDU that is not complete the parser holds. */
  readonly buffered: number
}

/**
 * Makes a parser for one direction of one connection.
 *
 * **Details**
 *
 * - `maxFragment`: the largest PDU to accept. `Bind`, `AlterContext`, their answers and `Auth3` may be of any size, which is
 *   65535 bytes at most.
 * - `owned`: the chunks belong to the parser; see {@link Parser}.
 *
 * **Example** (Two chunks, one PDU)
 *
 * ```ts
 * import * as Pdu from "@callisto/rpc/dcerpc/Pdu"
 *
 * const writer = new Pdu.Writer()
 * Pdu.encodeCoCancel(writer, { callId: 2 })
 * const bytes = writer.take()
 *
 * const parser = Pdu.makeParser({ maxFragment: Pdu.defaultFragment })
 * parser.push(bytes.subarray(0, 10)) // => []
 * const [pdu] = parser.push(bytes.subarray(10))
 * pdu?._tag // => "CoCancel"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeParser = (options: { readonly maxFragment: number; readonly owned?: boolean }): Parser =>
  new ParserImpl(options.maxFragment, options.owned === true)

// The first buffer of a partial PDU has this many bytes, or as many as have arrived.
const firstPart = 512

class ParserImpl implements Parser {
  buffered = 0
  maxFragment: number
  readonly #owned: boolean
  /** The bytes of the PDU that is not complete, and its size, once its header is. */
  #partial: Uint8Array = noBytes
  #size = 0
  #dead: PduError | undefined = undefined

  constructor(limit: number, owned: boolean) {
    this.maxFragment = limit
    this.#owned = owned
  }

  push(chunk: Uint8Array): ReadonlyArray<Pdu | PduError> {
    const pdus: Array<Pdu | PduError> = []
    this.read(chunk, 0, (pdu) => pdus.push(pdu) > 0)
    return pdus
  }

  read(chunk: Uint8Array, from: number, accept: (pdu: Pdu | PduError) => boolean): number {
    if (this.#dead !== undefined) {
      accept(this.#dead)
      return chunk.length
    }
    let at = from
    while (at < chunk.length) {
      let pdu: Pdu | PduError | undefined
      if (this.#size === 0) {
        const inPlace = this.buffered === 0 && chunk.length - at >= headerSize
        if (!inPlace) {
          at += this.#fill(headerSize, chunk, at)
          if (this.buffered < headerSize) break
        }
        const size = inPlace
          ? checkHeader(chunk, at, this.maxFragment)
          : checkHeader(this.#partial, 0, this.maxFragment)
        if (typeof size !== "number") return this.#fail(chunk, size, accept)
        if (inPlace && this.#owned && size <= chunk.length - at) {
          pdu = decodeChecked(chunk, at, at + size)
          at += size
        } else this.#size = size
      }
      if (pdu === undefined) {
        const size = this.#size
        at += this.#fill(size, chunk, at)
        if (this.buffered < size) break
        pdu = decodeChecked(this.#partial, 0, size)
        this.buffered = 0
        this.#partial = noBytes
        this.#size = 0
      }
      if (pdu._tag === "PduError") return this.#fail(chunk, pdu, accept)
      if (!accept(pdu)) break
    }
    return at
  }

  /** Copies what the partial PDU still lacks of `size` bytes, as far as the chunk has it. */
  #fill(size: number, chunk: Uint8Array, at: number): number {
    const count = Math.min(size - this.buffered, chunk.length - at)
    const filled = this.buffered + count
    if (filled > this.#partial.length) {
      const larger = new Uint8Array(Math.min(size, Math.max(filled, 2 * this.#partial.length, firstPart)))
      larger.set(this.#partial.subarray(0, this.buffered))
      this.#partial = larger
    }
    this.#partial.set(chunk.subarray(at, at + count), this.buffered)
    this.buffered = filled
    return count
  }

  #fail(chunk: Uint8Array, error: PduError, accept: (pdu: PduError) => boolean): number {
    this.buffered = 0
    this.#size = 0
    this.#dead = { ...error, reason: "Dead", message: `the parser failed before: ${error.message}` }
    accept(error)
    return chunk.length
  }
}

// ----------------------------------------------------------------------------
// reassembly
// ----------------------------------------------------------------------------

/**
 * A message of which not all fragments have arrived.
 *
 * @category models
 * @since 0.1.0
 */
export interface Assembly<out Message extends Request | Response> {
  /** Tells it from whole messages. */
  readonly _tag: "Assembly"
  /** The first fragment, whose fields are those of the message, without its stub. */
  readonly first: Message
  /** How many bytes of stub have arrived. */
  readonly size: number
  /** Their bytes, with room for more. */
  readonly buffer: Uint8Array
}

/**
 * Adds a fragment to its message: gives the whole message with the last fragment, and until then the assembly to pass with the
 * next one.
 *
 * **Details**
 *
 * `open` is what the fragment before it gave; `undefined` for the first. A message in one fragment comes back as it is.
 * An assembly is used up by the fragment that is added to it.
 *
 * The whole message has the fields of its first fragment, both fragment flags, and the stub of all fragments, which is a
 * buffer of its own. `limit` bounds that stub; memory grows with the bytes that have arrived, not with the announced ones. A request
 * in several fragments whose `allocHint` is above `limit` is refused at once.
 *
 * **Example** (Two fragments)
 *
 * ```ts
 * import * as Pdu from "@callisto/rpc/dcerpc/Pdu"
 *
 * const writer = new Pdu.Writer()
 * Pdu.beginResponse(writer, { callId: 2, contextId: 0, cancelCount: 0 })
 * writer.ensure(2000)
 * writer.position += 2000
 * Pdu.endMessage(writer, Pdu.minFragment)
 *
 * let message: Pdu.Response | Pdu.Assembly<Pdu.Response> | undefined
 * for (const pdu of Pdu.makeParser({ maxFragment: Pdu.minFragment }).push(writer.take())) {
 *   if (pdu._tag !== "Response") throw pdu
 *   const added = Pdu.assemble(message?._tag === "Assembly" ? message : undefined, pdu, 0x400000)
 *   if (added._tag === "PduError") throw added
 *   message = added
 * }
 * message?._tag === "Response" && message.stub.length // => 2000
 * ```
 *
 * @category decoding
 * @since 0.1.0
 */
export const assemble = <Message extends Request | Response>(
  open: Assembly<Message> | undefined,
  fragment: Message,
  limit: number
): Message | Assembly<Message> | PduError => {
  const isFirst = (fragment.flags & flags.firstFrag) !== 0
  const isLast = (fragment.flags & flags.lastFrag) !== 0
  const refused = (reason: Reason, message: string): PduError => ({
    _tag: "PduError",
    reason,
    callId: fragment.callId,
    ptype: types[fragment._tag].ptype,
    message
  })
  if (isFirst !== (open === undefined)) {
    return refused(
      "FragmentOrder",
      isFirst ? "a first fragment inside a message" : "a later fragment without a first one"
    )
  }
  // The assembly copies the stub, and keeps nothing else alive.
  const first = open?.first ?? (isLast ? fragment : { ...fragment, stub: noBytes })
  if (fragment._tag !== first._tag || fragment.littleEndian !== first.littleEndian) {
    return refused("FragmentMismatch", "a fragment whose type or byte order is not that of its message")
  }
  const announced = fragment._tag === "Request" && isFirst && !isLast ? fragment.allocHint : 0
  const filled = open?.size ?? 0
  const size = filled + fragment.stub.length
  if (Math.max(size, announced) > limit) {
    return refused("MessageTooLarge", `a message of ${Math.max(size, announced)} bytes, above the limit of ${limit}`)
  }
  if (isFirst && isLast) return fragment

  let buffer = open?.buffer ?? new Uint8Array(0)
  if (size > buffer.length) {
    const larger = new Uint8Array(isLast ? size : Math.min(limit, 2 * size))
    larger.set(buffer.subarray(0, filled))
    buffer = larger
  }
  buffer.set(fragment.stub, filled)
  return isLast
    ? { ...first, flags: first.flags | flags.lastFrag, stub: buffer.subarray(0, size) }
    : { _tag: "Assembly", first, size, buffer }
}

// ----------------------------------------------------------------------------
// the writer
// ----------------------------------------------------------------------------

const bufferSize = 0x10000
const noBytes: Uint8Array<ArrayBuffer> = new Uint8Array(0)
const noView: DataView<ArrayBuffer> = new DataView(noBytes.buffer)

/**
 * Where PDUs are encoded, one behind another, in large buffers.
 *
 * **Details**
 *
 * The functions that begin with `encode` write a whole PDU. {@link beginRequest} and {@link beginResponse} leave the position
 * where the stub begins; the caller writes the stub in place and calls {@link endMessage}:
 *
 * - `ensure(n)` before writing n bytes at `position` into `bytes` or through `view`, then advance `position`. Bytes that
 *   were made room for are not necessarily 0.
 * - `ensure` may move everything to a larger buffer. It replaces `bytes` and `view`, and changes `position` and `stub`
 *   by the same amount: offsets from `stub` stay valid, offsets into `bytes` do not.
 * - `align(n)` counts from the start of the stub.
 * - Numbers are written in the writer's byte order, `littleEndian`.
 *
 * `take` hands out the finished bytes as a view and forgets them. They are never written to again: the next PDU starts behind
 * them. So one writer can serve any number of connections.
 *
 * @category models
 * @since 0.1.0
 */
export class Writer {
  /** The byte order of numbers. */
  readonly littleEndian: boolean
  /** The current buffer. */
  bytes: Uint8Array<ArrayBuffer> = noBytes
  /** The same bytes. */
  view: DataView<ArrayBuffer> = noView
  /** Where the next byte goes. */
  position = 0
  /** Where the current stub begins. */
  stub = 0
  /** Where the message that is being written begins, -1 if there is none. */
  message: number = -1
  /** Where the bytes begin that were not taken. */
  start = 0

  /** Makes a writer without a buffer; little-endian by default. */
  constructor(options: { readonly littleEndian?: boolean } = {}) {
    this.littleEndian = options.littleEndian ?? true
  }

  /** Makes room for `size` bytes at `position`. */
  ensure(size: number): void {
    if (this.position + size > this.bytes.length) this.#move(size)
  }

  /** Writes zeros until `position` is a multiple of `size` bytes from the start of the stub. */
  align(size: number): void {
    const rest = (this.position - this.stub) % size
    if (rest !== 0) this.#writeZeros(size - rest)
  }

  /** The bytes of all PDUs that were finished since the last `take`. They belong to the caller. */
  take(): Uint8Array<ArrayBuffer> {
    const end = this.message < 0 ? this.position : this.message
    const taken = new Uint8Array(this.bytes.buffer, this.start, end - this.start)
    this.start = end
    if (this.message < 0) {
      this.stub = end
      // A buffer that grew for a large message lives no longer than that message.
      if (this.bytes.length > bufferSize) this.#use(noBytes, noView)
    }
    return taken
  }

  #writeZeros(count: number): void {
    this.ensure(count)
    this.bytes.fill(0, this.position, this.position + count)
    this.position += count
  }

  #move(size: number): void {
    const pending = this.position - this.start
    const bytes = new Uint8Array(Math.max(bufferSize, 2 * (pending + size)))
    bytes.set(this.bytes.subarray(this.start, this.position))
    this.#use(bytes, new DataView(bytes.buffer))
  }

  #use(bytes: Uint8Array<ArrayBuffer>, view: DataView<ArrayBuffer>): void {
    this.bytes = bytes
    this.view = view
    this.position -= this.start
    this.stub -= this.start
    if (this.message >= 0) this.message -= this.start
    this.start = 0
  }
}

// ----------------------------------------------------------------------------
// encoding
// ----------------------------------------------------------------------------

/**
 * The input of a PDU's encoding function: the fields of the PDU. `flags` are those beside the two fragment flags, which are
 * set as needed. The byte order is the writer's.
 *
 * @category models
 * @since 0.1.0
 */
export type Fields<P extends Pdu, Computed extends keyof P = never> =
  & Omit<P, Exclude<keyof Header, "callId"> | "_tag" | Computed>
  & { readonly flags?: number; readonly authTrailer?: AuthTrailer | undefined }

const uint = (field: string, value: number, max: number): number => {
  if (value >>> 0 !== value || value > max) {
    throw new RangeError(named(`${field} ${value} is not an integer from 0 to ${max}.`, "InvalidArgument"))
  }
  return value
}

/** The size of a trailer without its padding, once its fields were checked. Only an answer may have one without a token. */
const trailerSize = (trailer: AuthTrailer | undefined, mayBeEmpty = false): number => {
  if (trailer === undefined) return 0
  uint("authType", trailer.authType, 0xff)
  uint("authLevel", trailer.authLevel, 0xff)
  uint("authContextId", trailer.authContextId, 0xffffffff)
  // A length of 0 would say that there is no trailer.
  if (trailer.authValue.length === 0 && !mayBeEmpty) {
    throw new RangeError(named("authValue is empty.", "InvalidArgument"))
  }
  return trailerHeaderSize + trailer.authValue.length
}

const tooLarge = (size: number, limit: number): RangeError =>
  new RangeError(named(`A PDU of ${size} bytes is above the limit of ${limit}.`, "InvalidArgument"))

/** Begins a PDU: makes room for `size` bytes, and writes its header. The lengths follow in {@link endPdu}. */
const beginPdu = (
  writer: Writer,
  type: Type,
  fields: { readonly callId: number; readonly flags?: number },
  size: number
): number => {
  if (writer.message >= 0) throw new Error("The message that was begun on this writer is not ended yet.")
  const callId = uint("callId", fields.callId, 0xffffffff)
  const pduFlags = uint("flags", fields.flags ?? 0, 0xff)
  if (size > maxFragment) throw tooLarge(size, maxFragment)
  writer.ensure(size)
  const { bytes, position: start } = writer
  bytes[start] = 5
  bytes[start + 1] = 0
  bytes[start + 2] = type.ptype
  bytes[start + 3] = pduFlags | whole
  bytes[start + 4] = writer.littleEndian ? 0x10 : 0
  bytes[start + 5] = 0
  bytes[start + 6] = 0
  bytes[start + 7] = 0
  writer.view.setUint32(start + 12, callId, writer.littleEndian)
  return start
}

/** Ends the PDU that began at `start` and whose body ends at `end`: writes the trailer and the lengths. */
const endPdu = (
  writer: Writer,
  start: number,
  end: number,
  trailer: AuthTrailer | undefined,
  padding: number
): void => {
  const { bytes, littleEndian, view } = writer
  let position = end
  if (trailer !== undefined) {
    // Loops: for so few bytes a call of the runtime takes longer.
    for (let i = 0; i < padding; i++) bytes[position + i] = 0
    position += padding
    bytes[position] = trailer.authType
    bytes[position + 1] = trailer.authLevel
    bytes[position + 2] = padding
    bytes[position + 3] = 0
    view.setUint32(position + 4, trailer.authContextId, littleEndian)
    const { authValue } = trailer
    position += trailerHeaderSize
    for (let i = 0; i < authValue.length; i++) bytes[position + i] = authValue[i]!
    position += authValue.length
  }
  view.setUint16(start + 8, position - start, littleEndian)
  view.setUint16(start + 10, trailer === undefined ? 0 : trailer.authValue.length, littleEndian)
  writer.position = position
  writer.stub = position
}

const writeSyntax = (writer: Writer, at: number, syntax: SyntaxId): void => {
  Uuid.write(writer.bytes, at, syntax.uuid, writer.littleEndian)
  const version = uint("major", syntax.major, 0xffff) | uint("minor", syntax.minor, 0xffff) << 16
  writer.view.setUint32(at + 16, version >>> 0, writer.littleEndian)
}

const encodeContexts = (writer: Writer, type: Type, fields: Fields<Bind>): void => {
  const { assocGroupId, authTrailer, contextElements, maxRecvFrag, maxXmitFrag } = fields
  uint("number of context elements", contextElements.length, 0xff)
  let size = 28
  for (const { transferSyntaxes } of contextElements) {
    size += 24 + 20 * uint("number of transfer syntaxes", transferSyntaxes.length, 0xff)
  }
  const start = beginPdu(writer, type, fields, size + trailerSize(authTrailer))
  const { bytes, littleEndian, view } = writer
  view.setUint16(start + 16, uint("maxXmitFrag", maxXmitFrag, 0xffff), littleEndian)
  view.setUint16(start + 18, uint("maxRecvFrag", maxRecvFrag, 0xffff), littleEndian)
  view.setUint32(start + 20, uint("assocGroupId", assocGroupId, 0xffffffff), littleEndian)
  view.setUint32(start + 24, contextElements.length << 24, false)
  let at = start + 28
  for (const { abstractSyntax, contextId, transferSyntaxes } of contextElements) {
    view.setUint16(at, uint("contextId", contextId, 0xffff), littleEndian)
    bytes[at + 2] = transferSyntaxes.length
    bytes[at + 3] = 0
    writeSyntax(writer, at + 4, abstractSyntax)
    at += 24
    for (const syntax of transferSyntaxes) {
      writeSyntax(writer, at, syntax)
      at += 20
    }
  }
  endPdu(writer, start, at, authTrailer, 0)
}

/**
 * Encodes a `Bind`.
 *
 * **Example** (One interface, in NDR)
 *
 * ```ts
 * import * as Pdu from "@callisto/rpc/dcerpc/Pdu"
 *
 * const writer = new Pdu.Writer()
 * Pdu.encodeBind(writer, {
 *   callId: 1,
 *   flags: Pdu.flags.concMpx,
 *   maxXmitFrag: Pdu.defaultFragment,
 *   maxRecvFrag: Pdu.defaultFragment,
 *   assocGroupId: 0,
 *   contextElements: [{
 *     contextId: 0,
 *     abstractSyntax: { uuid: "4f2c8ea6-6a3d-4f0e-9d1e-6a4f0b1d2c3e", major: 1, minor: 0 },
 *     transferSyntaxes: [Pdu.ndr20]
 *   }]
 * })
 * writer.take().length // => 72
 * ```
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeBind = (writer: Writer, fields: Fields<Bind>): void => encodeContexts(writer, types.Bind, fields)

/**
 * Encodes an `AlterContext`.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeAlterContext = (writer: Writer, fields: Fields<AlterContext>): void =>
  encodeContexts(writer, types.AlterContext, fields)

const encodeResults = (writer: Writer, type: Type, fields: Fields<BindAck>): void => {
  const { assocGroupId, authTrailer, maxRecvFrag, maxXmitFrag, results, secAddr } = fields
  uint("number of results", results.length, 0xff)
  // An absent address has no terminator either.
  const secAddrLength = secAddr.length === 0 ? 0 : secAddr.length + 1
  const first = 26 + secAddrLength + 3 & ~3
  const start = beginPdu(writer, type, fields, first + 4 + 24 * results.length + trailerSize(authTrailer, true))
  const { bytes, littleEndian, view } = writer
  view.setUint16(start + 16, uint("maxXmitFrag", maxXmitFrag, 0xffff), littleEndian)
  view.setUint16(start + 18, uint("maxRecvFrag", maxRecvFrag, 0xffff), littleEndian)
  view.setUint32(start + 20, uint("assocGroupId", assocGroupId, 0xffffffff), littleEndian)
  view.setUint16(start + 24, secAddrLength, littleEndian)
  bytes.fill(0, start + 26, start + first + 4)
  for (let i = 0; i < secAddr.length; i++) {
    bytes[start + 26 + i] = uint("character of secAddr", secAddr.charCodeAt(i), 0xff)
  }
  bytes[start + first] = results.length
  let at = start + first + 4
  for (const { reason, result, transferSyntax } of results) {
    view.setUint16(at, uint("result", result, 0xffff), littleEndian)
    view.setUint16(at + 2, uint("reason", reason, 0xffff), littleEndian)
    writeSyntax(writer, at + 4, transferSyntax)
    at += 24
  }
  endPdu(writer, start, at, authTrailer, 0)
}

/**
 * Encodes a `BindAck`. The `authValue` of its trailer may be empty, as that of an `AlterContextResponse`.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeBindAck = (writer: Writer, fields: Fields<BindAck>): void =>
  encodeResults(writer, types.BindAck, fields)

/**
 * Encodes an `AlterContextResponse`, which has no secondary address.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeAlterContextResponse = (writer: Writer, fields: Fields<AlterContextResponse, "secAddr">): void =>
  encodeResults(writer, types.AlterContextResponse, { ...fields, secAddr: "" })

/**
 * Encodes a `BindNak`, which offers version 5.0.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeBindNak = (
  writer: Writer,
  fields: { readonly callId: number; readonly rejectReason: number; readonly flags?: number }
): void => {
  const rejectReason = uint("rejectReason", fields.rejectReason, 0xffff)
  const start = beginPdu(writer, types.BindNak, fields, 24)
  writer.view.setUint16(start + 16, rejectReason, writer.littleEndian)
  writer.bytes.set([1, 5, 0, 0, 0, 0], start + 18)
  endPdu(writer, start, start + 24, undefined, 0)
}

/**
 * Encodes an `Auth3`.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeAuth3 = (
  writer: Writer,
  fields: { readonly callId: number; readonly authTrailer: AuthTrailer; readonly flags?: number }
): void => {
  const start = beginPdu(writer, types.Auth3, fields, 20 + trailerSize(fields.authTrailer))
  writer.view.setUint32(start + 16, 0)
  endPdu(writer, start, start + 20, fields.authTrailer, 0)
}

const encodeHeader = (writer: Writer, type: Type, fields: Fields<CoCancel>): void => {
  const start = beginPdu(writer, type, fields, headerSize + trailerSize(fields.authTrailer))
  endPdu(writer, start, start + headerSize, fields.authTrailer, 0)
}

/**
 * Encodes a `CoCancel`.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeCoCancel = (writer: Writer, fields: Fields<CoCancel>): void =>
  encodeHeader(writer, types.CoCancel, fields)

/**
 * Encodes an `Orphaned`.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeOrphaned = (writer: Writer, fields: Fields<Orphaned>): void =>
  encodeHeader(writer, types.Orphaned, fields)

/**
 * Encodes a `Shutdown`.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeShutdown = (writer: Writer, fields: { readonly callId: number; readonly flags?: number }): void =>
  encodeHeader(writer, types.Shutdown, { callId: fields.callId, flags: fields.flags ?? 0 })

/**
 * Encodes a `Fault` without anything behind its status.
 *
 * **Example** (The call did not run)
 *
 * ```ts
 * import * as Pdu from "@callisto/rpc/dcerpc/Pdu"
 *
 * const writer = new Pdu.Writer()
 * Pdu.encodeFault(writer, {
 *   callId: 3,
 *   flags: Pdu.flags.didNotExecute,
 *   contextId: 0,
 *   cancelCount: 0,
 *   status: 0x1c010002
 * })
 * writer.take().length // => 32
 * ```
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeFault = (writer: Writer, fields: Fields<Fault, "allocHint" | "extendedError" | "stub">): void => {
  const start = beginPdu(writer, types.Fault, fields, 32 + trailerSize(fields.authTrailer))
  const { bytes, littleEndian, view } = writer
  // Real servers send 24 here: the size of the header and of the body in front of the status.
  view.setUint32(start + 16, 24, littleEndian)
  view.setUint16(start + 20, uint("contextId", fields.contextId, 0xffff), littleEndian)
  bytes[start + 22] = uint("cancelCount", fields.cancelCount, 0xff)
  bytes[start + 23] = 0
  view.setUint32(start + 24, uint("status", fields.status, 0xffffffff), littleEndian)
  view.setUint32(start + 28, 0)
  endPdu(writer, start, start + 32, fields.authTrailer, 0)
}

/**
 * Begins a request: the caller writes the stub at the writer's position, then calls {@link endMessage}.
 *
 * **Example** (One 32-bit parameter)
 *
 * ```ts
 * import * as Pdu from "@callisto/rpc/dcerpc/Pdu"
 *
 * const writer = new Pdu.Writer()
 * Pdu.beginRequest(writer, { callId: 2, contextId: 0, opnum: 7 })
 * writer.ensure(4)
 * writer.view.setInt32(writer.position, 42, writer.littleEndian)
 * writer.position += 4
 * Pdu.endMessage(writer, Pdu.minFragment)
 * writer.take().length // => 28
 * ```
 *
 * @category encoding
 * @since 0.1.0
 */
export const beginRequest = (
  writer: Writer,
  fields: {
    readonly callId: number
    readonly contextId: number
    readonly opnum: number
    readonly object?: string | undefined
    readonly flags?: number
  }
): void => {
  const contextId = uint("contextId", fields.contextId, 0xffff)
  const opnum = uint("opnum", fields.opnum, 0xffff)
  const { object } = fields
  const start = beginPdu(writer, types.Request, fields, 40)
  const { bytes, littleEndian, view } = writer
  view.setUint16(start + 20, contextId, littleEndian)
  view.setUint16(start + 22, opnum, littleEndian)
  if (object === undefined) {
    bytes[start + 3]! &= ~flags.objectUuid
  } else {
    bytes[start + 3]! |= flags.objectUuid
    Uuid.write(bytes, start + 24, object, littleEndian)
  }
  writer.message = start
  writer.position = start + (object === undefined ? 24 : 40)
  writer.stub = writer.position
}

/**
 * Begins a response: the caller writes the stub at the writer's position, then calls {@link endMessage}.
 *
 * @category encoding
 * @since 0.1.0
 */
export const beginResponse = (
  writer: Writer,
  fields: {
    readonly callId: number
    readonly contextId: number
    readonly cancelCount: number
    readonly flags?: number
  }
): void => {
  const contextId = uint("contextId", fields.contextId, 0xffff)
  const cancelCount = uint("cancelCount", fields.cancelCount, 0xff)
  const start = beginPdu(writer, types.Response, fields, 24)
  writer.view.setUint16(start + 20, contextId, writer.littleEndian)
  writer.bytes[start + 22] = cancelCount
  writer.bytes[start + 23] = 0
  writer.message = start
  writer.position = start + 24
  writer.stub = writer.position
}

/**
 * Forgets the message that was begun, for instance because its parameters can't be marshalled.
 *
 * @category encoding
 * @since 0.1.0
 */
export const discardMessage = (writer: Writer): void => {
  if (writer.message < 0) return
  writer.position = writer.message
  writer.stub = writer.message
  writer.message = -1
}

/**
 * Ends the request or response that was begun: cuts a stub that does not fit into one fragment, and completes the headers.
 *
 * **Details**
 *
 * `maxRecvFrag` is the largest fragment that the peer receives. A message that fits into one fragment stays where it was
 * written. The stub of a larger one is cut at multiples of 16 bytes and moved once, within the buffer.
 *
 * With `authTrailer` every fragment is padded to 16 bytes of stub and has a trailer with that `authValue`. A provider that
 * signs passes an `authValue` of the signature's size and fills in the signatures of the fragments before they are sent.
 *
 * A message that is sent part by part, because a pipe flows through it, is begun and ended for each part: `part` is
 * `flags.firstFrag` for the first of them, `flags.lastFrag` for the last, and 0 between. By default it is both.
 *
 * @category encoding
 * @since 0.1.0
 */
export const endMessage = (
  writer: Writer,
  maxRecvFrag: number,
  authTrailer?: AuthTrailer,
  part: number = whole
): void => {
  if (writer.message < 0) throw new Error("No message was begun on this writer.")
  const { littleEndian } = writer
  const header = writer.stub - writer.message
  const size = writer.position - writer.stub
  const padding = authTrailer === undefined ? 0 : -size & 15
  const limit = Math.min(maxRecvFrag, maxFragment)
  const trailer = trailerSize(authTrailer)

  if (header + size + padding + trailer <= limit) {
    writer.ensure(padding + trailer)
    const start = writer.message
    writer.message = -1
    writer.bytes[start + 3]! &= ~whole | part
    writer.view.setUint32(start + 16, size, littleEndian)
    return endPdu(writer, start, writer.position, authTrailer, padding)
  }

  const capacity = limit - header - trailer & ~15
  if (capacity <= 0) throw tooLarge(header + 16 + trailer, limit)
  const stride = header + capacity + trailer
  const last = Math.ceil(size / capacity) - 1
  writer.ensure(last * (header + trailer) + padding + trailer)
  const { bytes, message: first, stub, view } = writer
  const messageFlags = bytes[first + 3]! & ~whole
  // From the last fragment to the first, so that no fragment is written over the stub of one before it.
  let end = 0
  for (let i = last; i >= 0; i--) {
    const start = first + i * stride
    const from = stub + i * capacity
    const remaining = size - i * capacity
    const length = Math.min(capacity, remaining)
    bytes.copyWithin(start + header, from, from + length)
    bytes.copyWithin(start, first, first + header)
    bytes[start + 3] = messageFlags | (i === 0 ? part & flags.firstFrag : 0) | (i === last ? part & flags.lastFrag : 0)
    view.setUint32(start + 16, remaining, littleEndian)
    endPdu(writer, start, start + header + length, authTrailer, i === last ? padding : 0)
    if (i === last) end = writer.position
  }
  writer.message = -1
  writer.position = end
  writer.stub = end
}
