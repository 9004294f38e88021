/**
 * The agreement of the server and one client for a connection: presentation contexts, sizes of fragments, association group.
 */
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Caller } from "../../Channel.ts"
import type { Interface } from "../../Interface.ts"
import { Handles } from "../../internal/handleTable.ts"
import type * as Server from "../../Server.ts"
import * as StringBinding from "../../transport/StringBinding.ts"
import * as Pdu from "../Pdu.ts"
import { binary, carries, ndr20, type TransferSyntax } from "../TransferSyntax.ts"
import { type Context, status } from "./incomingCall.ts"

/** The connections of one client that belong together. Its context handles are run down when the last has gone. */
export interface Group {
  readonly id: number
  /** Where it was made, and for whom: no other endpoint and nobody else can join it. */
  readonly place: string
  caller: string | undefined
  readonly handles: Handles
  connections: number
}

/** The offer of an endpoint to every connection. */
export interface Offers {
  readonly limits: { readonly contexts: number; readonly handles: number }
  readonly syntaxes: ReadonlyArray<TransferSyntax>
  /** Replies are written one after another, so one writer serves all connections. */
  readonly writer: Pdu.Writer
  /** The owner of an offered interface. */
  readonly find: (wanted: Interface.Identity) => readonly [Server.Server, Interface.Any | undefined]
  /**
   * The group that a connection joins; `undefined` where it can join none with that id. Without a caller the connection has to show later
   * whose it is.
   */
  readonly join: (id: number, place: string, caller?: Pick<Caller, "name">) => Group | undefined
}

/** Writes the answer to a proposal that is accepted, with a token where a login goes on. */
export type Accept = (authTrailer?: Pdu.AuthTrailer) => void

/** The answer to a proposal that is not accepted: a bind_nak, or a fault. */
export type Refusal = { readonly nak: number } | { readonly fault: number; readonly endsConnection: boolean }

const nak = (reason: number): Refusal => ({ nak: reason })
const protocolError: Refusal = { fault: status.protocolError, endsConnection: true }

const sameSyntax = (a: Pdu.SyntaxId, b: Pdu.SyntaxId): boolean =>
  a.uuid === b.uuid && a.major === b.major && a.minor === b.minor

// The last eight bytes of the pseudo transfer syntax are the features that the client asks for.
const featurePrefix = "6cb71c2c-9812-4540-"
const multiplexSecurityContexts = 1
const keepConnectionOnOrphan = 2

// Known by name, but never agreed on.
const ndr64: Pdu.SyntaxId = { uuid: "71710533-beba-4937-8319-b5dbef9ccc36", major: 1, minor: 0 }

// Clients of the object resolver bind a second time where they mean an alter_context.
const objectResolver = "99fcfec4-5260-101b-bbcb-00aa0021347a"

const isOfObjectResolver = ({ contextElements }: Pdu.Bind): boolean =>
  contextElements.length > 0 && contextElements.every(({ abstractSyntax: { uuid } }) => uuid === objectResolver)

const askedFeatures = ({ transferSyntaxes }: Pdu.ContextElement): number | undefined => {
  const { uuid } = transferSyntaxes[0]!
  return uuid.startsWith(featurePrefix)
    ? parseInt(uuid.slice(featurePrefix.length, featurePrefix.length + 2), 16)
    : undefined
}

const isEmpty = (elements: ReadonlyArray<Pdu.ContextElement>): boolean =>
  elements.length === 0 || elements.some(({ transferSyntaxes }) => transferSyntaxes.length === 0)

export class Agreement {
  private readonly endpoint: Offers
  private readonly local: string
  private readonly caller: Caller
  readonly contexts: Map<number, Context> = new Map()
  group: Group | undefined = undefined
  /** The handles of its group, and the number of those that the connection has made. */
  handles: Handles | undefined = undefined
  multiplexed = false
  /** The size of fragments that both sides have agreed on. */
  private agreed: number = Pdu.defaultFragment
  /** The largest fragment that the client receives. */
  maxFragment: number = Pdu.defaultFragment
  /** The largest fragment that the server receives. */
  largest: number = Pdu.defaultFragment

  constructor(endpoint: Offers, local: string, caller: Caller) {
    this.endpoint = endpoint
    this.local = local
    this.caller = caller
  }

  /** Whether a bind comes a second time, from a client that may not mean an alter_context by it. */
  isRepeated(pdu: Pdu.Bind | Pdu.AlterContext | Pdu.Auth3): boolean {
    return this.group !== undefined && pdu._tag === "Bind" && !isOfObjectResolver(pdu)
  }

  /** The one place that decides about a bind and an alter_context. Gives what writes the answer where it accepts. */
  decide(pdu: Pdu.Bind | Pdu.AlterContext): Refusal | Accept {
    return this.group === undefined ? this.bind(pdu) : this.alter(pdu)
  }

  private bind(
    { assocGroupId, authTrailer: login, callId, contextElements, flags, ...sizes }: Pdu.Bind | Pdu.AlterContext
  ) {
    if (isEmpty(contextElements)) return nak(0)
    if (contextElements.filter((element) => askedFeatures(element) !== undefined).length > 1) return nak(0)
    const results = this.offer(contextElements)
    const group = results && this.endpoint.join(assocGroupId, this.place, login === undefined ? this.caller : undefined)
    if (group === undefined) return nak(0)
    this.group = group
    this.handles = new Handles(this.endpoint.limits.handles, group.handles.open)
    this.multiplexed = (flags & Pdu.flags.concMpx) !== 0
    this.negotiate(sizes)
    return (authTrailer?: Pdu.AuthTrailer) =>
      Pdu.encodeBindAck(this.endpoint.writer, {
        callId,
        flags: flags & (Pdu.flags.concMpx | Pdu.flags.supportHeaderSign),
        maxXmitFrag: this.agreed,
        maxRecvFrag: this.agreed,
        assocGroupId: group.id,
        secAddr: this.secAddr,
        results: results!,
        authTrailer
      })
  }

  private alter(pdu: Pdu.AlterContext | Pdu.Bind): Refusal | Accept {
    const { callId, contextElements, flags } = pdu
    if (isEmpty(contextElements)) return protocolError
    if (contextElements.some((element) => this.namesUnagreed(element))) return protocolError
    const results = this.offer(contextElements)
    if (results === undefined) return { fault: status.protocolError, endsConnection: pdu.authTrailer !== undefined }
    // The sizes of an alter_context mean nothing, except between two that have just found out that both are Callisto.
    if (this.largest !== binary.maxFragment && this.knowsBinary) this.negotiate(pdu)
    return (authTrailer) =>
      Pdu.encodeAlterContextResponse(this.endpoint.writer, {
        callId,
        flags: flags & Pdu.flags.supportHeaderSign,
        maxXmitFrag: this.agreed,
        maxRecvFrag: this.agreed,
        assocGroupId: this.group!.id,
        results,
        authTrailer
      })
  }

  /** Agrees on the size of fragments: of each side's largest the smaller one. */
  private negotiate({ maxRecvFrag, maxXmitFrag }: Pick<Pdu.Bind, "maxRecvFrag" | "maxXmitFrag">): void {
    // Where Callisto's own syntax was chosen the fragments may be large; every other client knows smaller ones.
    if (this.knowsBinary) this.largest = binary.maxFragment
    this.agreed = Math.min(Math.max(Math.min(maxXmitFrag, maxRecvFrag), 2048), this.largest) & ~7
    // The answer is never below 2048, but the client may receive no more than every client must.
    this.maxFragment = Math.min(this.agreed, Math.max(maxRecvFrag, Pdu.minFragment))
  }

  private get knowsBinary(): boolean {
    for (const { syntax } of this.contexts.values()) if (syntax === binary) return true
    return false
  }

  private get parsed(): Partial<StringBinding.StringBinding> | undefined {
    return Option.getOrUndefined(Result.getSuccess(StringBinding.parse(this.local)))
  }

  /** The endpoint to which the client has connected, whatever the address of the machine. */
  private get place(): string {
    const { parsed } = this
    return parsed === undefined ? this.local : `${parsed.protocol}:[${parsed.endpoint ?? ""}]`
  }

  /** The port or the name to which the client has connected, as far as a bind's answer can hold it. */
  private get secAddr(): string {
    const endpoint = this.parsed?.endpoint ?? ""
    return /^[\x20-\x7e]*$/.test(endpoint) ? endpoint : ""
  }

  /** Whether an element proposes nothing but NDR64 for a context that has another syntax. */
  private namesUnagreed({ contextId, transferSyntaxes }: Pdu.ContextElement): boolean {
    return this.contexts.has(contextId) && transferSyntaxes.some((syntax) => sameSyntax(syntax, ndr64)) &&
      !transferSyntaxes.some((syntax) => this.endpoint.syntaxes.some(({ id }) => sameSyntax(id, syntax)))
  }

  /**
   * What becomes of each presentation context that the client proposes. Nothing does where one has the id of another, for
   * another interface or syntax. Of the elements that could be accepted with NDR only the first is, as real servers do.
   */
  private offer(elements: ReadonlyArray<Pdu.ContextElement>): ReadonlyArray<Pdu.ContextResult> | undefined {
    const contexts = new Map(this.contexts)
    const results: Array<Pdu.ContextResult> = []
    let hasNdr = false
    for (const element of elements) {
      const features = askedFeatures(element)
      if (features !== undefined) {
        const granted = features & (multiplexSecurityContexts | keepConnectionOnOrphan)
        results.push({ result: 3, reason: granted, transferSyntax: Pdu.nilSyntax })
        continue
      }
      const chosen = this.choose(element, contexts, hasNdr)
      if (chosen === undefined) return undefined
      if (typeof chosen === "number") {
        // A client with another version of Callisto's syntax learns which one is spoken here.
        const isOther = chosen === 2 && element.transferSyntaxes.some(({ uuid }) => uuid === binary.id.uuid)
        results.push({ result: 2, reason: chosen, transferSyntax: isOther ? binary.id : Pdu.nilSyntax })
      } else {
        contexts.set(element.contextId, chosen)
        hasNdr ||= chosen.syntax === ndr20
        results.push({ result: 0, reason: 0, transferSyntax: chosen.syntax.id })
      }
    }
    for (const [id, context] of contexts) this.contexts.set(id, context)
    return results
  }

  /** The context of an element, or the reason to reject it; `undefined` where its id belongs to another context. */
  private choose(
    { abstractSyntax, contextId, transferSyntaxes }: Pdu.ContextElement,
    contexts: ReadonlyMap<number, Context>,
    hasNdr: boolean
  ): Context | number | undefined {
    const { limits, syntaxes } = this.endpoint
    const { major, minor, uuid } = abstractSyntax
    const [server, iface] = this.endpoint.find({ uuid, version: [major, minor] })
    if (iface === undefined) return 1
    const usable = transferSyntaxes
      .map((proposed) => syntaxes.find(({ id }) => sameSyntax(id, proposed)))
      .filter((syntax) => syntax !== undefined && !(hasNdr && syntax === ndr20) && carries(syntax, iface))
    const known = contexts.get(contextId)
    const syntax = usable[0]
    if (syntax === undefined) return 2
    if (known !== undefined) {
      return sameSyntax(known.abstractSyntax, abstractSyntax) && usable.includes(known.syntax) ? known : undefined
    }
    return contexts.size >= limits.contexts ? 3 : { abstractSyntax, server, interface: iface, syntax }
  }
}
