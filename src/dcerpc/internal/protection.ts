/**
 * Protection of messages: the signatures and the encryption of one security context, and verification trailers.
 */
import type { Caller } from "../../Channel.ts"
import * as Uuid from "../../internal/uuid.ts"
import type { ProtectionLevel, Session } from "../../security/Security.ts"
import * as Pdu from "../Pdu.ts"

// ----------------------------------------------------------------------------
// levels
// ----------------------------------------------------------------------------

const numbers: { readonly [L in ProtectionLevel]: number } = { connect: 2, packet: 4, integrity: 5, privacy: 6 }

/** The number of a level on the wire. */
export const numberOf = (level: ProtectionLevel): number => numbers[level]

/** The level that a number on the wire stands for; `undefined` for one that is not protected by anybody. */
export const levelOf = (number: number): ProtectionLevel | undefined =>
  (Object.keys(numbers) as Array<ProtectionLevel>).find((level) => numbers[level] === number)

/** No login takes more messages of the client. */
export const maximumLegs = 10

// ----------------------------------------------------------------------------
// a security context
// ----------------------------------------------------------------------------

const trailerSize = 8

/** Where the stub of a request or response begins. */
const headerOf = (pdu: Uint8Array): number =>
  pdu[2] === Pdu.types.Request.ptype && (pdu[3]! & Pdu.flags.objectUuid) !== 0 ? 40 : 24

/** Requests and responses alone. A cancel is sent as it is: servers that exist do not count it. */
const isProtected = (pdu: Uint8Array): boolean =>
  pdu[2] === Pdu.types.Request.ptype || pdu[2] === Pdu.types.Response.ptype

const nobody: Partial<Pdu.AuthTrailer> = {}

/** The work of a security context on the messages of a connection, in their order on the wire. */
export class Protection {
  readonly session: Session
  readonly level: ProtectionLevel
  /** The trailer of each fragment; `undefined` at level `connect`, where fragments have no trailer. */
  readonly trailer: Pdu.AuthTrailer | undefined
  private readonly connection: { readonly headerSigning: boolean }

  constructor(
    session: Session,
    level: ProtectionLevel,
    connection: { readonly headerSigning: boolean },
    { authContextId, authType }: Pick<Pdu.AuthTrailer, "authContextId" | "authType">
  ) {
    this.session = session
    this.level = level
    this.connection = connection
    if (level === "connect") return
    const authValue = new Uint8Array(session.signatureSize(level))
    this.trailer = { authType, authLevel: numberOf(level), authContextId, authValue }
  }

  /** Protects requests and responses that were written, in place. `false`: the session can protect nothing more. */
  seal(bytes: Uint8Array): boolean {
    try {
      this.protect(bytes)
      return true
    } catch {
      return false
    }
  }

  private protect(bytes: Uint8Array): void {
    if (this.trailer === undefined) return
    const { authValue } = this.trailer
    for (let at = 0; at < bytes.length;) {
      const size = bytes[at + 8]! | bytes[at + 9]! << 8
      const pdu = size === bytes.length ? bytes : bytes.subarray(at, at + size)
      const bodyEnd = size - authValue.length - trailerSize
      if (isProtected(pdu)) this.session.protect(pdu, headerOf(pdu), bodyEnd, this.level, this.connection.headerSigning)
      at += size
    }
  }

  /** Takes the protection off a fragment of a response, which must be of this context. */
  accepts(fragment: Pdu.Response): boolean {
    const { trailer } = this
    if (trailer === undefined) return true
    const { authContextId, authLevel, authType } = fragment.authTrailer ?? nobody
    return authContextId === trailer.authContextId && authLevel === trailer.authLevel &&
      authType === trailer.authType &&
      this.unseal(fragment)
  }

  /** Takes the protection off a fragment, in place. `false`: the fragment is not what the other side has sent. */
  unseal({ authTrailer }: Pdu.Request | Pdu.Response): boolean {
    const { level, trailer } = this
    if (trailer === undefined) return true
    if (authTrailer === undefined || authTrailer.authValue.length !== trailer.authValue.length) return false
    const { authPadLength, fragment } = authTrailer
    const bodyEnd = fragment.length - authTrailer.authValue.length - trailerSize
    const bodyStart = headerOf(fragment)
    try {
      return authPadLength <= bodyEnd - bodyStart &&
        this.session.unprotect(fragment, bodyStart, bodyEnd, level, this.connection.headerSigning)
    } catch {
      return false
    }
  }
}

/** The maker of requests, and their protection. The unauthenticated identity of a connection has no protection. */
export interface Identity {
  readonly caller: Caller
  readonly protection: Protection | undefined
}

// ----------------------------------------------------------------------------
// verification trailers
// ----------------------------------------------------------------------------

/** The claims of a verification trailer, and the facts that the other side knows. */
export interface Facts {
  /** Whether the client has asked to sign headers. */
  readonly headerSigning: boolean
  readonly abstractSyntax: Pdu.SyntaxId
  readonly transferSyntax: Pdu.SyntaxId
}

const magic = [0x8a, 0xe3, 0x13, 0x71, 0x02, 0xf4, 0x36, 0x71]

const bitmask = 1
const presentation = 2
const header2 = 3
const end = 0x4000
const mustBeUnderstood = 0x8000
const syntaxSize = 20

const writeSyntax = (view: DataView, at: number, { major, minor, uuid }: Pdu.SyntaxId): void => {
  Uuid.write(new Uint8Array(view.buffer, view.byteOffset), at, uuid, true)
  view.setUint16(at + 16, major, true)
  view.setUint16(at + 18, minor, true)
}

/** The size of a trailer with one command, which has no data. */
export const leastVerification = 12

/** The size of the trailer that {@link writeTrailer} writes. */
export const verificationSize = 60

/**
 * Writes the trailer of the first request in a presentation context, behind its stub. In Callisto's own syntax no padding is in front of it,
 * so that the stub's end is known.
 */
export const writeTrailer = (writer: Pdu.Writer, { abstractSyntax, headerSigning, transferSyntax }: Facts): void => {
  if (transferSyntax.uuid === Pdu.ndr20.uuid) writer.align(4)
  writer.ensure(verificationSize)
  const view = new DataView(writer.bytes.buffer, writer.position, verificationSize)
  magic.forEach((byte, index) => view.setUint8(index, byte))
  view.setUint16(8, bitmask, true)
  view.setUint16(10, 4, true)
  view.setUint32(12, headerSigning ? 1 : 0, true)
  view.setUint16(16, presentation | end, true)
  view.setUint16(18, 2 * syntaxSize, true)
  writeSyntax(view, 20, abstractSyntax)
  writeSyntax(view, 20 + syntaxSize, transferSyntax)
  writer.position += verificationSize
}

/** Whether a trailer begins at a place of a stub, wherever that is. */
export const hasTrailer = (stub: Uint8Array, at: number): boolean =>
  at >= 0 && magic.every((byte, index) => stub[at + index] === byte)

/**
 * Finds a trailer in a stub, at or behind the place where its parameters end. Gives where its commands begin, or -1 where there is none that
 * can be read.
 */
const find = (stub: Uint8Array, from: number): number => {
  if (hasTrailer(stub, from)) return from + magic.length
  for (let at = from + 3 & ~3; at + magic.length <= stub.length; at += 4) {
    if (hasTrailer(stub, at)) return at + magic.length
  }
  return -1
}

/**
 * Whether the trailer behind the parameters of a request agrees with what the server knows. `end` is where the parameters end. A trailer that
 * cannot be read counts as none.
 */
export const verifies = (
  request: Pdu.Request,
  stubEnd: number,
  { abstractSyntax, headerSigning, transferSyntax }: Facts
): boolean => {
  const { stub } = request
  let at = find(stub, stubEnd)
  if (at < 0) return true
  const view = new DataView(stub.buffer, stub.byteOffset, stub.byteLength)
  const commands: Array<readonly [command: number, at: number, length: number]> = []
  for (let isLast = false; !isLast && at + 4 <= stub.length;) {
    const command = view.getUint16(at, true)
    const length = view.getUint16(at + 2, true)
    if (length % 4 !== 0 || at + 4 + length > stub.length) return true
    commands.push([command, at + 4, length])
    isLast = (command & end) !== 0
    at += 4 + length
  }
  const expected = new Uint8Array(2 * syntaxSize)
  const expectedView = new DataView(expected.buffer)
  const seen = new Set<number>()
  for (const [command, start, length] of commands) {
    const id = command & 0x3fff
    if (seen.has(id)) return false
    seen.add(id)
    const data = stub.subarray(start, start + length)
    if (id === bitmask) {
      if (length !== 4) return true
      if ((view.getUint32(start, true) & 1) !== 0 && !headerSigning) return false
    } else if (id === presentation) {
      if (length !== 2 * syntaxSize) return true
      writeSyntax(expectedView, 0, abstractSyntax)
      writeSyntax(expectedView, syntaxSize, transferSyntax)
      if (!data.every((byte, index) => byte === expected[index])) return false
    } else if (id === header2) {
      if (length !== 16) return true
      const isSame = data[0] === Pdu.types.Request.ptype &&
        data[4] === (request.littleEndian ? 0x10 : 0) &&
        view.getUint32(start + 8, true) === request.callId &&
        view.getUint16(start + 12, true) === request.contextId &&
        view.getUint16(start + 14, true) === request.opnum
      if (!isSame) return false
    } else if ((command & mustBeUnderstood) !== 0) return false
  }
  return true
}
