/**
 * String bindings: where a server is, in one line of text.
 *
 * The grammar is the standard one, `ObjectUUID@ProtocolSequence:NetworkAddress[Endpoint,Option=value,...]`. Only the
 * protocol sequence and the colon are required.
 *
 * | string binding                         | is                                                              |
 * | -------------------------------------- | --------------------------------------------------------------- |
 * | `ncacn_ip_tcp:host[8765]`              | TCP                                                             |
 * | `ncalrpc:[name]`                       | this machine: a Unix socket, or a named pipe on Windows         |
 * | `ncacn_ip_tls:host[8765]`              | TLS over TCP (our name)                                         |
 * | `ncacn_ws:host[8080,path=/rpc]`        | WebSocket, one binary frame after the other (our name)          |
 * | `ncacn_wss:host[443,path=/rpc]`        | WebSocket over TLS (our name)                                   |
 * | `ncacn_messageport:[name]`             | a `MessagePort`, to and from workers (our name)                 |
 * | `ncacn_memory:[name]`                  | inside one program, for tests (our name)                        |
 *
 * @module
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { named } from "../internal/named.ts"
import { addressCode } from "../internal/statusTable.ts"
import * as Uuid from "../internal/uuid.ts"
import type { Codes } from "../Status.ts"
import { isHostName, isIpAddress } from "./internal/networkAddress.ts"

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

/**
 * The protocol sequences that a string binding can name.
 *
 * @category models
 * @since 0.1.0
 */
export type ProtocolSequence =
  | "ncacn_ip_tcp"
  | "ncalrpc"
  | "ncacn_ip_tls"
  | "ncacn_ws"
  | "ncacn_wss"
  | "ncacn_messageport"
  | "ncacn_memory"

const protocolSequences: ReadonlyArray<string> = [
  "ncacn_ip_tcp",
  "ncalrpc",
  "ncacn_ip_tls",
  "ncacn_ws",
  "ncacn_wss",
  "ncacn_messageport",
  "ncacn_memory"
]

/**
 * The parts of a string binding.
 *
 * @category models
 * @since 0.1.0
 */
export interface StringBinding {
  /** The object UUID, in lower case. */
  readonly object?: string
  /** The protocol sequence. */
  readonly protocol: ProtocolSequence
  /** Host name or IP address; empty for this machine. An IPv6 address is written without brackets. */
  readonly address: string
  /** A port or a name. A server without one is found through the endpoint mapper. */
  readonly endpoint?: string
  /** The network options, in the order in which they were written. */
  readonly options: Readonly<Record<string, string>>
}

/**
 * The parts from which a string binding is made.
 *
 * @category models
 * @since 0.1.0
 */
export interface Parts {
  /** The object UUID. */
  readonly object?: string
  /** The protocol sequence. */
  readonly protocol: ProtocolSequence
  /** Host name or IP address; by default empty, which is this machine. */
  readonly address?: string
  /** A port or a name; by default none. */
  readonly endpoint?: string | number
  /** The network options; by default none. */
  readonly options?: Readonly<Record<string, string>>
}

// ----------------------------------------------------------------------------
// errors
// ----------------------------------------------------------------------------

type Status = 1700 | 1703 | 1705 | 1706 | 1707 | 1724

const StringBindingErrorBase: Schema.Class<
  StringBindingError,
  Schema.TaggedStruct<
    "StringBindingError",
    {
      readonly status: Schema.Literals<readonly [1700, 1703, 1705, 1706, 1707, 1724]>
      readonly input: Schema.String
      readonly position: Schema.Int
      readonly detail: Schema.String
    }
  >,
  Cause.YieldableError
> = Schema.TaggedError<StringBindingError>("@callisto/rpc/StringBindingError")("StringBindingError", {
  status: Schema.Literals([1700, 1703, 1705, 1706, 1707, 1724]),
  input: Schema.String,
  position: Schema.Int,
  detail: Schema.String
})

/**
 * Text that is no string binding. `position` is the index in `input` of the first character that is wrong.
 *
 * Windows: 1700 `RPC_S_INVALID_STRING_BINDING`, or, where one part is wrong, 1703 `RPC_S_PROTSEQ_NOT_SUPPORTED`, 1705
 * `RPC_S_INVALID_STRING_UUID`, 1706 `RPC_S_INVALID_ENDPOINT_FORMAT`, 1707 `RPC_S_INVALID_NET_ADDR`, 1724
 * `RPC_S_INVALID_NETWORK_OPTIONS`.
 *
 * @category errors
 * @since 0.1.0
 */
export class StringBindingError extends StringBindingErrorBase {
  /** The code and its documented name. */
  get codes(): Codes {
    return { rpcStatus: addressCode(this.status) }
  }
  /** The problem and its place, for a person. */
  override get message(): string {
    return named(
      `Invalid string binding ${JSON.stringify(this.input)}, at position ${this.position}: ${this.detail}.`,
      "StringBindingError"
    )
  }
}

// ----------------------------------------------------------------------------
// parsing
// ----------------------------------------------------------------------------

/**
 * Parses a string binding.
 *
 * **Details**
 *
 * A backslash takes the character after it literally, in the network address, the endpoint and the options. The
 * endpoint may also be written `endpoint=value`. `[]` is no endpoint, and the nil UUID no object. The port 0 is for
 * listening: the system chooses one.
 *
 * **Example** (The parts of a string binding)
 *
 * ```ts
 * import { StringBinding } from "@callisto/rpc/transport"
 * import { Result } from "effect"
 *
 * Result.getOrThrow(StringBinding.parse("ncacn_ip_tcp:127.0.0.1[8765]"))
 * // => { protocol: "ncacn_ip_tcp", address: "127.0.0.1", endpoint: "8765", options: {} }
 *
 * const refused = StringBinding.parse("ncacn_ip_tcp:127.0.0.1[99999]")
 * if (Result.isFailure(refused)) console.log(refused.failure.message)
 * // Invalid string binding "ncacn_ip_tcp:127.0.0.1[99999]", at position 23: the endpoint is not a port from 0 to
 * // 65535, got "99999". (StringBindingError)
 * ```
 *
 * @category parsing
 * @since 0.1.0
 */
export const parse = (input: string): Result.Result<StringBinding, StringBindingError> => {
  const colon = input.indexOf(":")
  const at = input.lastIndexOf("@", colon)
  if (colon < 0 || colon === at + 1) {
    return refuse(
      input,
      1700,
      Math.max(colon, 0),
      "a protocol sequence and a colon are missing, as in ncacn_ip_tcp:host"
    )
  }

  const object = at < 0 ? undefined : Uuid.canonical(input.slice(0, at))
  if (at >= 0 && object === undefined) {
    return refuse(input, 1705, 0, `the object before @ is not a UUID, got ${JSON.stringify(input.slice(0, at))}`)
  }

  const protocol = input.slice(at + 1, colon)
  if (!isProtocolSequence(protocol)) {
    const known = protocolSequences.join(", ")
    return refuse(input, 1703, at + 1, `the protocol sequence ${JSON.stringify(protocol)} is not one of ${known}`)
  }

  const addressStart = colon + 1
  const open = find(input, "[", addressStart, input.length)
  const stray = find(input, "]", addressStart, open)
  if (stray < open) return refuse(input, 1700, stray, "a ] without a [ before it")
  const dangling = findDangling(input, addressStart)
  if (dangling !== undefined) {
    return refuse(input, 1700, dangling, "a backslash takes the next character, and none follows")
  }
  const address = unescape(input.slice(addressStart, open))
  const addressProblem = checkAddress(protocol, address)
  if (addressProblem !== undefined) return refuse(input, 1707, addressStart, addressProblem)
  if (open === input.length) return Result.succeed(binding(object, protocol, address, undefined, {}))

  const close = find(input, "]", open + 1, input.length)
  if (close === input.length) return refuse(input, 1700, open, "the [ is not closed")
  if (close + 1 < input.length) {
    return refuse(input, 1700, close + 1, `nothing may follow the ]${bracketHint(input, open)}`)
  }

  let endpoint: string | undefined
  const options: Record<string, string> = {}
  for (let start = open + 1, end; start <= close; start = end + 1) {
    end = find(input, ",", start, close)
    const equals = find(input, "=", start, end)
    const name = equals < end ? input.slice(start, equals) : undefined
    if (name === undefined || name === "endpoint") {
      const valueStart = name === undefined ? start : equals + 1
      const value = unescape(input.slice(valueStart, end))
      if (value === "") {
        // Only the first place can be left empty: it is the endpoint's.
        if (start === open + 1) continue
        return refuse(input, 1700, start, "an option is missing between the commas")
      }
      if (endpoint !== undefined) {
        return refuse(input, 1700, start, "there is an endpoint already; an option is name=value")
      }
      const problem = checkEndpoint(protocol, value)
      if (problem !== undefined) return refuse(input, 1706, valueStart, `${problem}${bracketHint(input, open)}`)
      endpoint = isPort(protocol) ? String(Number(value)) : value
    } else {
      if (!/^[A-Za-z][A-Za-z0-9_-]*$/.test(name)) {
        return refuse(input, 1724, start, `an option has no valid name, got ${JSON.stringify(name)}`)
      }
      if (Object.hasOwn(options, name)) return refuse(input, 1724, start, `the option ${name} is given twice`)
      options[name] = unescape(input.slice(equals + 1, end))
    }
  }
  return Result.succeed(binding(object, protocol, address, endpoint, options))
}

const binding = (
  object: string | undefined,
  protocol: ProtocolSequence,
  address: string,
  endpoint: string | undefined,
  options: Readonly<Record<string, string>>
): StringBinding => ({
  ...(object === undefined || object === Uuid.nil ? {} : { object }),
  protocol,
  address,
  ...(endpoint === undefined ? {} : { endpoint }),
  options
})

const isProtocolSequence = (name: string): name is ProtocolSequence => protocolSequences.includes(name)

const refuse = (
  input: string,
  status: Status,
  position: number,
  detail: string
): Result.Result<never, StringBindingError> => Result.fail(new StringBindingError({ status, input, position, detail }))

/** The index of the first character that is `wanted` and not escaped, or `end`. */
const find = (input: string, wanted: string, start: number, end: number): number => {
  for (let i = start; i < end; i++) {
    if (input[i] === "\\") i++
    else if (input[i] === wanted) return i
  }
  return end
}

/** The index of a backslash that nothing follows. */
const findDangling = (input: string, start: number): number | undefined => {
  for (let i = start; i < input.length; i++) {
    if (input[i] === "\\" && ++i === input.length) return i - 1
  }
  return undefined
}

const unescape = (text: string): string => text.replace(/\\([^])/g, "$1")

const isPort = (protocol: ProtocolSequence): boolean =>
  protocol.startsWith("ncacn_ip_") || protocol.startsWith("ncacn_ws")

const checkAddress = (protocol: ProtocolSequence, address: string): string | undefined => {
  if (address === "") return undefined
  if (!isPort(protocol)) return `${protocol} takes no address, got ${JSON.stringify(address)}`
  if (isIpAddress(address) || isHostName(address)) return undefined
  return `${JSON.stringify(address)} is neither a host name nor an IP address`
}

const checkEndpoint = (protocol: ProtocolSequence, endpoint: string): string | undefined => {
  if (isPort(protocol)) {
    return /^[0-9]{1,5}$/.test(endpoint) && Number(endpoint) <= 65535
      ? undefined
      : `the endpoint is not a port from 0 to 65535, got ${JSON.stringify(endpoint)}`
  }
  return endpoint.includes("\0") ? "a name holds no NUL character" : undefined
}

const bracketHint = (input: string, open: number): string =>
  input[open - 1] === ":" && /^\[[^\]]*:/.test(input.slice(open)) ? "; an IPv6 address is written without brackets" : ""

// ----------------------------------------------------------------------------
// making and printing
// ----------------------------------------------------------------------------

/**
 * Makes a string binding of its parts, which are checked as `parse` checks them.
 *
 * **Example** (Composing a string binding)
 *
 * ```ts
 * import { StringBinding } from "@callisto/rpc/transport"
 * import { Result } from "effect"
 *
 * const binding = StringBinding.make({ protocol: "ncacn_ip_tcp", address: "::1", endpoint: 8765 })
 * Result.map(binding, StringBinding.print) // => ncacn_ip_tcp:::1[8765]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (parts: Parts): Result.Result<StringBinding, StringBindingError> =>
  parse(compose({
    ...parts,
    address: parts.address ?? "",
    endpoint: parts.endpoint?.toString(),
    options: parts.options ?? {}
  }))

/**
 * Prints a string binding in its canonical form. Parsing the printed text gives an equal string binding.
 *
 * @category printing
 * @since 0.1.0
 */
export const print = (self: StringBinding): string => compose(self)

const compose = (parts: {
  readonly object?: string | undefined
  readonly protocol: string
  readonly address: string
  readonly endpoint?: string | undefined
  readonly options: Readonly<Record<string, string>>
}): string => {
  const object = parts.object === undefined ? "" : `${parts.object}@`
  const items = Object.entries(parts.options).map(([name, value]) => `${escape(name)}=${escape(value)}`)
  if (parts.endpoint !== undefined || items.length > 0) items.unshift(escape(parts.endpoint ?? ""))
  const rest = items.length === 0 ? "" : `[${items.join(",")}]`
  // Colons of an IPv6 address stay as they are: only the first colon of a string binding means something.
  return `${object}${parts.protocol}:${parts.address.replace(/[@[\]\\]/g, "\\$&")}${rest}`
}

const escape = (text: string): string => text.replace(/[@:[\],=\\]/g, "\\$&")
