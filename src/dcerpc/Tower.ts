/**
 * Towers: one way to reach one interface, in the form in which endpoint mappers exchange it.
 *
 * A tower is a pile of floors. The first names the interface, the second the transfer syntax, and the others the protocols
 * from the upper to the lower, with the endpoint and the address of the host.
 *
 * | string binding              | floors                                                                  |
 * | --------------------------- | ----------------------------------------------------------------------- |
 * | `ncacn_ip_tcp:10.0.0.1[135]` | connection-oriented RPC (0x0B), TCP with the port (0x07), IP (0x09)    |
 * | `ncalrpc:[EPMAPPER]`        | local RPC (0x0C), a pipe with the name (0x10)                           |
 *
 * The other protocol sequences of a `StringBinding` have no floors. Towers of protocol sequences that Callisto does not have, such
 * as `ncacn_np`, are read and passed on as they are.
 *
 * @module
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Interface } from "../Interface.ts"
import { named } from "../internal/named.ts"
import { addressCode } from "../internal/statusTable.ts"
import * as Uuid from "../internal/uuid.ts"
import type { Codes } from "../Status.ts"
import { isIpv4 } from "../transport/internal/networkAddress.ts"
import { ndr20, type SyntaxId } from "./Pdu.ts"
import * as StringBinding from "../transport/StringBinding.ts"

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

/**
 * One floor of a tower.
 *
 * @category models
 * @since 0.1.0
 */
export interface Floor {
  /** The identifier of the protocol, a byte. */
  readonly protocol: number
  /** The bytes behind the identifier on the left-hand side of the floor; mostly empty. */
  readonly data: Uint8Array
  /** The right-hand side: a version, a port, an address, a name. */
  readonly related: Uint8Array
}

/**
 * A tower.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tower {
  /** The interface that is reached. */
  readonly interface: Interface.Identity
  /** The transfer syntax in which it is reached. */
  readonly transferSyntax: SyntaxId
  /** The floors below these two. */
  readonly floors: ReadonlyArray<Floor>
}

type Status = 1703 | 1751

const TowerErrorBase: Schema.Class<
  TowerError,
  Schema.TaggedStruct<
    "TowerError",
    { readonly status: Schema.Literals<readonly [1703, 1751]>; readonly detail: Schema.String }
  >,
  Cause.YieldableError
> = Schema.TaggedError<TowerError>("@callisto/rpc/TowerError")("TowerError", {
  status: Schema.Literals([1703, 1751]),
  detail: Schema.String
})

/**
 * Bytes that are no tower, or a string binding that has none.
 *
 * Windows: 1751 `EPT_S_INVALID_ENTRY`; 1703 `RPC_S_PROTSEQ_NOT_SUPPORTED` for a protocol sequence without floors.
 *
 * @category errors
 * @since 0.1.0
 */
export class TowerError extends TowerErrorBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return { rpcStatus: addressCode(this.status) }
  }
  /** The problem, in a sentence for people. */
  override get message(): string {
    return named(`${this.status === 1703 ? "No" : "Invalid"} tower: ${this.detail}.`, "TowerError")
  }
}

const refuse = (status: Status, detail: string): Result.Result<never, TowerError> =>
  Result.fail(new TowerError({ status, detail }))

// ----------------------------------------------------------------------------
// protocols
// ----------------------------------------------------------------------------

const protocol = {
  tcp: 0x07,
  udp: 0x08,
  ip: 0x09,
  connectionless: 0x0a,
  connectionOriented: 0x0b,
  local: 0x0c,
  uuid: 0x0d,
  smb: 0x0f,
  pipe: 0x10,
  netbios: 0x11,
  http: 0x1f
} as const

// The protocol sequences that have names, by the protocols of their floors.
const sequences: ReadonlyMap<string, string> = new Map([
  [[protocol.connectionOriented, protocol.tcp, protocol.ip], "ncacn_ip_tcp"] as const,
  [[protocol.local, protocol.pipe], "ncalrpc"] as const,
  [[protocol.connectionOriented, protocol.smb, protocol.netbios], "ncacn_np"] as const,
  [[protocol.connectionOriented, protocol.http, protocol.ip], "ncacn_http"] as const,
  [[protocol.connectionless, protocol.udp, protocol.ip], "ncadg_ip_udp"] as const
].map(([protocols, name]) => [protocols.join(), name]))

const sequenceOf = ({ floors }: Tower): string | undefined =>
  sequences.get(floors.map(({ protocol }) => protocol).join())

/**
 * Whether two towers have the same protocols on the same floors. The endpoints and addresses may differ.
 *
 * @category predicates
 * @since 0.1.0
 */
export const sameProtocols = (self: Tower, that: Tower): boolean =>
  self.floors.length === that.floors.length &&
  self.floors.every(({ protocol }, i) => protocol === that.floors[i]!.protocol)

// ----------------------------------------------------------------------------
// from and to string bindings
// ----------------------------------------------------------------------------

declare const TextEncoder: new () => { encode(text: string): Uint8Array }
declare const TextDecoder: new () => { decode(bytes: Uint8Array): string }

const nothing = new Uint8Array()

const floor = (protocol: number, related: Uint8Array): Floor => ({ protocol, data: nothing, related })

const version = Uint8Array.of(0, 0)

/** A name with its NUL. */
const nameBytes = (name: string): Uint8Array => new TextEncoder().encode(`${name}\0`)

const readName = (bytes: Uint8Array): string => {
  const end = bytes.indexOf(0)
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end))
}

const portBytes = (port: number): Uint8Array => Uint8Array.of(port >> 8, port)

/** The four bytes of an IPv4 address; zeros for another host. */
const addressBytes = (address: string): Uint8Array =>
  isIpv4(address) ? Uint8Array.from(address.split("."), Number) : new Uint8Array(4)

/**
 * Makes the tower of an interface at a string binding.
 *
 * **Details**
 *
 * Without a transfer syntax it is NDR 2.0. A string binding without an endpoint gives port 0 or the empty name, as clients of an
 * endpoint mapper ask for it. The floor for the host has room for an IPv4 address alone: a host name, an IPv6 address and no address
 * all become 0.0.0.0, which stands for the host that was asked.
 *
 * Fails with 1703 for a protocol sequence that has no floors, and with 1751 for a name that is too long.
 *
 * **Example** (A tower and its bytes)
 *
 * ```ts
 * import { Management, Tower } from "@callisto/rpc/dcerpc"
 * import { StringBinding } from "@callisto/rpc/transport"
 * import { Result } from "effect"
 *
 * const binding = Result.getOrThrow(StringBinding.parse("ncacn_ip_tcp:10.0.0.1[135]"))
 * const tower = Result.getOrThrow(Tower.make({ interface: Management.IManagement, binding }))
 * Tower.print(tower) // => ncacn_ip_tcp:10.0.0.1[135]
 * Tower.encode(tower).length // => 75
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (parts: {
  readonly interface: Interface.Identity
  readonly transferSyntax?: SyntaxId
  readonly binding: StringBinding.StringBinding
}): Result.Result<Tower, TowerError> => {
  const { binding, transferSyntax = ndr20 } = parts
  const { uuid, version: interfaceVersion } = parts.interface
  const tower = (...floors: ReadonlyArray<Floor>): Result.Result<Tower, TowerError> =>
    Result.succeed({ interface: { uuid, version: interfaceVersion }, transferSyntax, floors })
  if (binding.protocol === "ncacn_ip_tcp") {
    return tower(
      floor(protocol.connectionOriented, version),
      floor(protocol.tcp, portBytes(Number(binding.endpoint ?? 0))),
      floor(protocol.ip, addressBytes(binding.address))
    )
  }
  if (binding.protocol === "ncalrpc") {
    const name = nameBytes(binding.endpoint ?? "")
    if (name.length > 0xffff) return refuse(1751, `a name of ${name.length} bytes is too long`)
    return tower(floor(protocol.local, version), floor(protocol.pipe, name))
  }
  return refuse(1703, `${StringBinding.print(binding)} has no floors; ncacn_ip_tcp and ncalrpc have`)
}

/**
 * The string binding of a tower; `undefined` for a protocol sequence that Callisto does not have. Port 0 is no endpoint, and 0.0.0.0
 * no address.
 *
 * @category printing
 * @since 0.1.0
 */
export const binding = (self: Tower): StringBinding.StringBinding | undefined => {
  const sequence = sequenceOf(self)
  const [, endpoint, host] = self.floors
  if (sequence === "ncacn_ip_tcp") {
    if (endpoint!.related.length !== 2 || host!.related.length !== 4) return undefined
    const port = readPort(endpoint!)
    const address = host!.related.join(".")
    return {
      protocol: sequence,
      address: address === "0.0.0.0" ? "" : address,
      ...(port === 0 ? {} : { endpoint: String(port) }),
      options: {}
    }
  }
  if (sequence !== "ncalrpc") return undefined
  const name = readName(endpoint!.related)
  return { protocol: sequence, address: "", ...(name === "" ? {} : { endpoint: name }), options: {} }
}

const readPort = ({ related: [high = 0, low = 0] }: Floor): number => high << 8 | low

/**
 * Where a tower leads, in one line for people: its string binding, also for protocol sequences that Callisto does not have.
 *
 * @category printing
 * @since 0.1.0
 */
export const print = (self: Tower): string => {
  const known = binding(self)
  if (known !== undefined) return StringBinding.print(known)
  const sequence = sequenceOf(self)
  if (sequence === undefined) {
    return `floors ${self.floors.map(({ protocol }) => `0x${protocol.toString(16).padStart(2, "0")}`).join(" ")}`
  }
  const [, endpoint, host] = self.floors
  const address = host?.protocol === protocol.ip ? host.related.join(".") : readName(host?.related ?? nothing)
  return `${sequence}:${address === "0.0.0.0" ? "" : address}[${
    endpoint!.protocol === protocol.smb || endpoint!.protocol === protocol.pipe
      ? readName(endpoint!.related)
      : readPort(endpoint!)
  }]`
}

// ----------------------------------------------------------------------------
// bytes
// ----------------------------------------------------------------------------

// An identifier, a UUID and the major version; behind them, on the right-hand side, the minor version.
const syntaxSize = 19

const syntaxFloor = (uuid: string, major: number, minor: number): Floor => {
  const data = new Uint8Array(syntaxSize - 1)
  Uuid.write(data, 0, uuid, true)
  data.set([major, major >> 8], 16)
  return { protocol: protocol.uuid, data, related: Uint8Array.of(minor, minor >> 8) }
}

/**
 * The bytes of a tower. The example is at {@link make}.
 *
 * Throws a `TypeError` for a UUID that is not in canonical form: lower case, with hyphens.
 *
 * @category bytes
 * @since 0.1.0
 */
export const encode = (self: Tower): Uint8Array => {
  const { interface: { uuid, version: [major, minor] }, transferSyntax } = self
  const floors = [
    syntaxFloor(uuid, major, minor),
    syntaxFloor(transferSyntax.uuid, transferSyntax.major, transferSyntax.minor),
    ...self.floors
  ]
  const bytes: Array<number> = [floors.length, floors.length >> 8]
  for (const { data, protocol, related } of floors) {
    const left = data.length + 1
    bytes.push(left, left >> 8, protocol, ...data, related.length, related.length >> 8, ...related)
  }
  return Uint8Array.from(bytes)
}

/**
 * Reads a tower from its bytes. Floors that are not known are kept; what follows the last floor is ignored.
 *
 * Fails with 1751 for bytes that are no tower.
 *
 * @category bytes
 * @since 0.1.0
 */
export const decode = (bytes: Uint8Array): Result.Result<Tower, TowerError> => {
  const floors: Array<Floor> = []
  let at = 0
  /** The next bytes with their length in front; `undefined` where they end too early. */
  const take = (): Uint8Array | undefined => {
    if (at + 2 > bytes.length) return undefined
    const end = at + 2 + (bytes[at]! | bytes[at + 1]! << 8)
    if (end > bytes.length) return undefined
    // A copy in any case: a slice of Node's Buffer is none.
    const taken = new Uint8Array(bytes.subarray(at + 2, end))
    at = end
    return taken
  }
  if (bytes.length < 2) return refuse(1751, "it has no number of floors")
  const count = bytes[0]! | bytes[1]! << 8
  at = 2
  while (floors.length < count) {
    const left = take()
    const related = left && take()
    if (left === undefined || related === undefined) return refuse(1751, `floor ${floors.length + 1} is cut off`)
    if (left.length === 0) return refuse(1751, `floor ${floors.length + 1} has no protocol`)
    floors.push({ protocol: left[0]!, data: left.subarray(1), related })
  }
  if (count < 3) return refuse(1751, `it has ${count} floors, which name no protocol`)
  const [first, second, ...rest] = floors
  const iface = readSyntax(first!)
  if (iface === undefined) return refuse(1751, "floor 1 is no interface")
  const transferSyntax = readSyntax(second!)
  if (transferSyntax === undefined) return refuse(1751, "floor 2 is no transfer syntax")
  const { major, minor, uuid } = iface
  return Result.succeed({ interface: { uuid, version: [major, minor] }, transferSyntax, floors: rest })
}

const readSyntax = ({ data, protocol: id, related }: Floor): SyntaxId | undefined => {
  if (id !== protocol.uuid || data.length !== syntaxSize - 1 || related.length !== 2) return undefined
  return {
    uuid: Uuid.read(data, 0, true),
    major: data[16]! | data[17]! << 8,
    minor: related[0]! | related[1]! << 8
  }
}
