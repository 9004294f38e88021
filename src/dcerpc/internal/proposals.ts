/**
 * The proposals of a client in a bind or an alter_context, and the meaning of the server's answers.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Interface } from "../../Interface.ts"
import { unavailable } from "../../internal/failures.ts"
import { type EndpointNotRegistered, type RpcFault, type RpcTransportError, UnknownInterface } from "../../Status.ts"
import * as Pdu from "../Pdu.ts"
import { binary, proposed, type TransferSyntax } from "../TransferSyntax.ts"

/** The reason why no connection can be had for an interface. */
export type Failure = RpcTransportError | RpcFault | UnknownInterface | EndpointNotRegistered

/** An interface that a binding of the association calls, and how its values travel. */
export interface Bound {
  readonly interface: Interface.Any
  readonly syntax: TransferSyntax
  /** The same for each interface with this identity and syntax: they share a presentation context. */
  readonly key: string
}

export const boundTo = (iface: Interface.Any): Bound => {
  const syntax = Result.getOrElse(proposed(iface), noSyntax)
  return { interface: iface, syntax, key: `${iface.uuid} ${iface.version.join(".")} ${syntax.id.uuid}` }
}

/** Stands for the syntax of an interface that has none. It can't be loaded, so nothing is ever sent in it. */
const noSyntax = (fault: RpcFault): TransferSyntax => ({
  ...binary,
  id: Pdu.nilSyntax,
  load: Effect.fail(fault as never)
})

/** A failure, and how far it reaches: to the calls of one interface, or to all that wait for a connection. */
export interface Refusal {
  readonly failure: Failure
  readonly reach: "interface" | "server"
}

// The last eight bytes are the features that the client asks for: to keep the connection when a call is orphaned.
const features: Pdu.SyntaxId = { uuid: "6cb71c2c-9812-4540-0200-000000000000", major: 1, minor: 0 }
const keepConnectionOnOrphan = 2
const negotiateAck = 3
export const largest: number = binary.maxFragment
// The proposal of the features is a presentation context without an interface.
export const featuresContextId = 255

export const keepsOnOrphan = ({ reason, result }: Pdu.ContextResult): boolean =>
  result === negotiateAck && (reason & keepConnectionOnOrphan) !== 0

export const syntaxOf = ({ uuid, version: [major, minor] }: Interface.Any): Pdu.SyntaxId => ({ uuid, major, minor })

export const contextElement = ({ interface: iface, syntax }: Bound, contextId: number): Pdu.ContextElement => ({
  contextId,
  abstractSyntax: syntaxOf(iface),
  transferSyntaxes: [contextId === featuresContextId ? features : syntax.id]
})

/** Why a server has not accepted the presentation context that was proposed for an interface. */
export const refusal = (
  { interface: { name, uuid, version }, syntax }: Bound,
  { reason, result, transferSyntax }: Pdu.ContextResult
): Failure | undefined => {
  if (result === 2 && reason === 1) {
    return new UnknownInterface({ interface: name, uuid, detail: `it does not offer version ${version.join(".")}` })
  }
  if (result === 2 && reason === 2 && syntax === binary) {
    const { major, minor, uuid } = transferSyntax
    const spoken = uuid === binary.id.uuid ? `it speaks version ${major}.${minor}` : "it may be older"
    return unavailable(
      `the server does not speak version ${binary.id.major}.${binary.id.minor} of Callisto's transfer syntax: ${spoken}. Run the same version of Callisto on both sides`
    )
  }
  if (result !== 0) {
    const why = result === 2 ? providerReasons[reason] : undefined
    return unavailable(`the server refused the interface: ${why ?? `result ${result}, ${reason}`}`)
  }
  if (transferSyntax.uuid !== syntax.id.uuid || transferSyntax.major !== syntax.id.major) {
    return unavailable("the server chose a transfer syntax that was not proposed")
  }
  return undefined
}

export const rejection = ({ rejectReason }: Pdu.BindNak): string =>
  rejectReasons[rejectReason] ?? `reason ${rejectReason}`

const rejectReasons: { readonly [reason: number]: string } = {
  0: "it gave no reason",
  1: "it is congested at the moment",
  2: "one of its limits is exceeded",
  4: "it speaks another version of the protocol",
  8: "it does not know the authentication service",
  9: "it refused the user, the password or the level"
}

const providerReasons: { readonly [reason: number]: string } = {
  0: "it gave no reason",
  2: "it has no such transfer syntax",
  3: "one of its limits is exceeded"
}
