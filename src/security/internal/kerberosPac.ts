/** The privilege attribute certificate (MS-PAC): the user and the groups that a domain controller puts into a ticket. */
import { equalBytes } from "./constantTime.ts"
import type { Key } from "./kerberosCrypto.ts"
import { usages } from "./kerberosMessages.ts"

/** A user as a certificate describes it. */
export interface Pac {
  /** The SID of the user. */
  readonly user: string
  /** The SIDs of the groups, each once. */
  readonly groups: ReadonlyArray<string>
}

class Damaged extends Error {}

const bufferTypes = { logon: 1, serverSignature: 6, kdcSignature: 7 } as const

const maxBuffers = 64

/** More groups than a ticket has room for. */
const maxGroups = 4096

/** Reads the certificate of a ticket that the key opened. Gives a sentence where it is damaged or its signature is wrong. */
export const readPac = (bytes: Uint8Array, key: Key): Pac | string => {
  try {
    const buffers = buffersOf(bytes)
    verify(bytes, buffers, key)
    const logon = buffers.get(bufferTypes.logon)
    if (logon === undefined) throw new Damaged("it does not say who the user is")
    return logonOf(bytes.subarray(logon.at, logon.at + logon.length))
  } catch (error) {
    if (error instanceof Damaged) return error.message
    throw error
  }
}

interface Place {
  readonly at: number
  readonly length: number
}

const buffersOf = (bytes: Uint8Array): ReadonlyMap<number, Place> => {
  if (bytes.length < 8) throw new Damaged("it is too short")
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const count = view.getUint32(0, true)
  if (count > maxBuffers || 8 + 16 * count > bytes.length) throw new Damaged("it names too many parts")
  const buffers = new Map<number, Place>()
  for (let i = 0; i < count; i++) {
    const entry = 8 + 16 * i
    const type = view.getUint32(entry, true)
    const length = view.getUint32(entry + 4, true)
    const at = view.getUint32(entry + 8, true)
    if (view.getUint32(entry + 12, true) !== 0 || at + length > bytes.length) {
      throw new Damaged("a part lies outside of it")
    }
    // Two parts of a kind would let the signature cover one and the reader take the other.
    if (buffers.has(type)) throw new Damaged("a part is there twice")
    buffers.set(type, { at, length })
  }
  return buffers
}

/** The signature was made while the bytes of both signatures were zero. */
const verify = (bytes: Uint8Array, buffers: ReadonlyMap<number, Place>, key: Key): void => {
  const signature = buffers.get(bufferTypes.serverSignature)
  const other = buffers.get(bufferTypes.kdcSignature)
  if (signature === undefined || other === undefined) throw new Damaged("a signature is missing")
  const signed = bytes.slice()
  for (const { at, length } of [signature, other]) {
    if (length < 4) throw new Damaged("a signature is too short")
    signed.fill(0, at + 4, at + macEnd(bytes, at, length))
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  if (view.getInt32(signature.at, true) !== key.checksumType) throw new Damaged("its signature has another type")
  const mac = bytes.subarray(signature.at + 4, signature.at + macEnd(bytes, signature.at, signature.length))
  if (!equalBytes(key.checksum(usages.pac, signed), mac)) throw new Damaged("its signature is wrong")
}

/** A signature may be followed by the number of a read-only domain controller, which is signed. */
const macEnd = (bytes: Uint8Array, at: number, length: number): number => {
  const type = new DataView(bytes.buffer, bytes.byteOffset + at, 4).getInt32(0, true)
  return Math.min(length, 4 + (type === -138 ? 16 : type === 20 ? 24 : type === 19 ? 16 : 12))
}

// ----------------------------------------------------------------------------
// KERB_VALIDATION_INFO in NDR: its fields in order, then what its pointers point to, in the same order
// ----------------------------------------------------------------------------

class Ndr {
  readonly #view: DataView
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  take(length: number, alignment = 1): number {
    const at = Math.ceil(this.#at / alignment) * alignment
    if (at + length > this.#view.byteLength) throw new Damaged("the data of the user end within a field")
    this.#at = at + length
    return at
  }

  u8(): number {
    return this.#view.getUint8(this.take(1))
  }

  u16(): number {
    return this.#view.getUint16(this.take(2, 2), true)
  }

  u32(): number {
    return this.#view.getUint32(this.take(4, 4), true)
  }

  /** The size of an array, which must be the one that the field before it says. */
  count(expected: number): number {
    const count = this.u32()
    if (count !== expected || count > maxGroups) throw new Damaged(`${count} is no size of a list here`)
    return count
  }

  /** A counted string: its two sizes and a pointer. Gives what reads the characters, which come later. */
  text(): () => void {
    this.u16()
    this.u16()
    const pointer = this.u32()
    return () => {
      if (pointer === 0) return
      this.u32()
      this.u32()
      this.take(this.u32() * 2)
    }
  }

  sid(): string {
    const size = this.u32()
    const revision = this.u8()
    const count = this.u8()
    if (revision !== 1 || count !== size || count > 15) throw new Damaged("a SID is damaged")
    const at = this.take(6)
    const authority = this.#view.getUint16(at) * 2 ** 32 + this.#view.getUint32(at + 2)
    const parts: Array<number> = []
    for (let i = 0; i < count; i++) parts.push(this.u32())
    const first = authority < 2 ** 32 ? authority : `0x${authority.toString(16).padStart(12, "0")}`
    return ["S-1", first, ...parts].join("-")
  }

  /** The relative numbers of groups in a domain. */
  memberships(count: number): ReadonlyArray<number> {
    const groups: Array<number> = []
    for (let left = this.count(count); left > 0; left--) {
      groups.push(this.u32())
      this.u32()
    }
    return groups
  }

  sids(count: number): ReadonlyArray<string> {
    let present = 0
    for (let left = this.count(count); left > 0; left--) {
      if (this.u32() !== 0) present++
      this.u32()
    }
    return Array.from({ length: present }, () => this.sid())
  }
}

const fileTime = 8

const logonOf = (bytes: Uint8Array): Pac => {
  const ndr = new Ndr(bytes)
  // Version 1, little-endian, and the size: the header of serialised data. Then a pointer to the structure.
  if (ndr.u8() !== 1 || ndr.u8() !== 0x10) throw new Damaged("the data of the user have another encoding")
  ndr.take(14)
  if (ndr.u32() === 0) throw new Damaged("the data of the user are missing")
  ndr.take(6 * fileTime, 4)
  const names = Array.from({ length: 6 }, () => ndr.text())
  ndr.u16()
  ndr.u16()
  const userId = ndr.u32()
  const primaryGroup = ndr.u32()
  const groupCount = ndr.u32()
  const groups = ndr.u32()
  ndr.u32()
  ndr.take(16)
  const server = ndr.text()
  const domainName = ndr.text()
  const domain = ndr.u32()
  ndr.take(8, 4)
  ndr.u32()
  ndr.u32()
  ndr.take(2 * fileTime, 4)
  ndr.u32()
  ndr.u32()
  const extraCount = ndr.u32()
  const extra = ndr.u32()
  const resourceDomain = ndr.u32()
  const resourceCount = ndr.u32()
  const resources = ndr.u32()

  for (const name of names) name()
  const members = groups === 0 ? [] : ndr.memberships(groupCount)
  server()
  domainName()
  if (domain === 0) throw new Damaged("the domain of the user is missing")
  const domainSid = ndr.sid()
  const extraSids = extra === 0 ? [] : ndr.sids(extraCount)
  const resourceSid = resourceDomain === 0 ? undefined : ndr.sid()
  const resourceMembers = resources === 0 ? [] : ndr.memberships(resourceCount)
  return {
    user: `${domainSid}-${userId}`,
    groups: [
      ...new Set([
        ...[primaryGroup, ...members].map((id) => `${domainSid}-${id}`),
        ...extraSids,
        ...(resourceSid === undefined ? [] : resourceMembers.map((id) => `${resourceSid}-${id}`))
      ])
    ]
  }
}
