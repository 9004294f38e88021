/**
 * Endpoints: a server served over a transport, to any DCE/RPC client.
 *
 * @module
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type { Key } from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type { Socket, SocketError } from "effect/socket/Socket"
import type { Caller, Incoming, Outcome, Refusal, Remote } from "../Channel.ts"
import { abortOf, type Interface, type Operation } from "../Interface.ts"
import { Handles } from "../internal/handleTable.ts"
import * as Chunks from "../internal/chunkBuffer.ts"
import { countOption, durationOption } from "../internal/options.ts"
import { Ends } from "../internal/pipeEnds.ts"
import { cancelled, isPipeError } from "../internal/failures.ts"
import { type ClientFields, ClientImpl, refuseLate, type ServerImpl } from "../internal/server.ts"
import { nowOf, type ServerCallImpl } from "../internal/serverCall.ts"
import type { FullIncoming } from "../internal/seams.ts"
import { sentAs } from "../internal/faultTable.ts"
import * as Server from "../Server.ts"
import {
  BadStubData,
  CallCancelled,
  type CantCreateEndpoint,
  ContextMismatch,
  RpcFault,
  RpcTransportError
} from "../Status.ts"
import { makeOutbox, type Outbox } from "../transport/internal/outbox.ts"
import { IncomingPipes, OutgoingStub, type Piped, sendPipes } from "./internal/pipeStream.ts"
import { makeReadWhile } from "../transport/internal/sockets.ts"
import * as Management from "./Management.ts"
import * as Pdu from "./Pdu.ts"
import * as StringBinding from "../transport/StringBinding.ts"
import {
  type Arguments,
  type ArgumentsBeforePipes,
  binary,
  carries,
  type MethodCodec,
  ndr20,
  type Problem,
  type Read,
  type TransferSyntax
} from "./TransferSyntax.ts"
import * as Transport from "../transport/Transport.ts"
import { defaultElements } from "../ndr/internal/ndrStream.ts"

// ----------------------------------------------------------------------------
// options
// ----------------------------------------------------------------------------

/**
 * The limits of an endpoint. A client that goes beyond one is refused, and harms nobody else.
 *
 * **Details**
 *
 * A number outside of its range is refused when the endpoint is made, by a `TypeError` that names the option.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The connections at once; by default 10,000. One more is closed. */
  readonly maximumConnections?: number | undefined
  /** The presentation contexts of one connection; by default 64. */
  readonly maximumContexts?: number | undefined
  /** The calls in progress on one connection; by default 1,024. One more gets 1723 and did not execute. */
  readonly maximumCalls?: number | undefined
  /** The calls in progress on the whole server; by default 65,536. One more gets 1723 and did not execute. */
  readonly maximumTotalCalls?: number | undefined
  /** The context handles that one client has open; by default 10,000. `open` of one more fails with 1130. */
  readonly maximumHandles?: number | undefined
  /** The bytes of one request; by default 4 MiB. */
  readonly maximumRequest?: number | undefined
  /**
   * The values that one request may hold, or one chunk of a pipe: numbers, strings, byte arrays and nulls; at least 1, by default
   * 262,144. A request with more is refused with 1783 before anything is allocated.
   */
  readonly maximumElements?: number | undefined
  /** The bytes that wait for a client that reads slowly; at least 1, by default 16 MiB. Beyond them its connection is closed. */
  readonly maximumQueued?: number | undefined
  /** The time that a connection may take to bind; at least 1 ms, by default 10 seconds. */
  readonly bindTimeout?: Duration.Input | undefined
  /** The time for which a connection without a call may be silent; at least 1 ms, by default forever. */
  readonly idleTimeout?: Duration.Input | undefined
  /** Runs when a client asks through the management interface to stop the server. Without it no client may: they get 5. */
  readonly onStop?: Effect.Effect<void> | undefined
}

type CountName = keyof { [K in keyof Options as NonNullable<Options[K]> extends number ? K : never]: true }

const TypeId = "~callisto/dcerpc/Endpoint"

/**
 * What serves a server to the clients that connect.
 *
 * @category models
 * @since 0.1.0
 */
export interface Endpoint {
  /** Brands the type. */
  readonly [TypeId]: typeof TypeId
}

interface Limits {
  readonly connections: number
  readonly contexts: number
  readonly calls: number
  readonly totalCalls: number
  readonly handles: number
  readonly request: number
  readonly elements: number
  readonly queued: number
  readonly bindTimeout: number
  readonly idleTimeout: number
}

// ----------------------------------------------------------------------------
// statuses
// ----------------------------------------------------------------------------

const status = {
  accessDenied: 5,
  unavailable: 1722,
  noCallActive: 1725,
  badStubData: 1783,
  cancelled: sentAs(1818),
  contextMismatch: sentAs(6),
  outOfRange: sentAs(1745),
  unknownInterface: sentAs(1717),
  protocolError: 0x1c01000b,
  tooBusy: sentAs(1723),
  unsupportedType: sentAs(1732)
} as const

// ----------------------------------------------------------------------------
// a presentation context, an association group, a call
// ----------------------------------------------------------------------------

interface Context {
  readonly abstractSyntax: Pdu.SyntaxId
  readonly server: Server.Server
  readonly interface: Interface.Any
  readonly syntax: TransferSyntax
}

/** The connections of one client that belong together. Its context handles are run down when the last has gone. */
interface Group {
  readonly id: number
  readonly handles: Handles
  connections: number
}

/** A request of which no more than pipes is to come. Without pipes it was refused, and the rest is of no use. */
interface Arriving {
  readonly first: Pdu.Request
  readonly call: IncomingCall | undefined
  readonly pipes: IncomingPipes | undefined
}

/** How to read the arguments of a request before all of it has arrived. */
interface Early {
  /** Nothing reads those of a request that is refused. */
  readonly codec: MethodCodec | undefined
  /** How much of the stub they take at least. */
  size: number
  /** How often it was looked whether they are there. */
  looks: number
}

/** One call of a connection, from its request to its reply. */
class IncomingCall implements FullIncoming {
  readonly connection: ServerConnection
  readonly request: Pdu.Request
  readonly presentation: Context
  readonly cancelledEarly: boolean
  codec!: MethodCodec
  maybe = false
  /** Its arguments, and its parent span, once they are read. */
  read: (Arguments & { readonly size?: number }) | undefined = undefined
  pipes: Ends | undefined = undefined
  /** The status of the fault for arguments that can't be read. */
  refused: number | "too large" | undefined = undefined
  /** The server's side, once it was accepted. */
  serverCall!: ServerCallImpl
  cancels = 0
  /** What its response is made of, where pipes go in front of the out parameters. */
  response: OutgoingStub | undefined = undefined
  /** Sends what is pushed into its out pipes, until they are through. */
  sending: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** The out parameters, which wait until the out pipes are through. */
  results: Exit.Success<unknown, never> | undefined = undefined

  constructor(connection: ServerConnection, context: Context, request: Pdu.Request, cancelledEarly: boolean) {
    this.connection = connection
    this.presentation = context
    this.request = request
    this.cancelledEarly = cancelledEarly
  }

  get origin(): ClientImpl {
    return this.connection.client(this.presentation.server)
  }

  get interface(): Interface.Identity {
    return this.presentation.interface
  }

  get object(): string | undefined {
    return this.request.object
  }

  get opnum(): number {
    return this.request.opnum
  }

  get input(): unknown {
    return this.read!.input
  }

  get span(): Incoming["span"] {
    return this.read?.parent
  }

  get callId(): number {
    return this.request.callId
  }

  get contextId(): number {
    return this.request.contextId
  }

  decode({ method, name, pipes }: Operation): BadStubData | undefined {
    const { flags, littleEndian, stub } = this.request
    const codec = this.codec = this.presentation.syntax.codec(method, name)!
    const { elements } = this.connection.endpoint.limits
    this.maybe = method.maybe || pipes === undefined && (flags & Pdu.flags.maybe) !== 0
    const read: Read<Arguments & { readonly size?: number }> = hasInPipes(pipes)
      ? argumentsOrProblem(codec.readArgumentsBeforePipes(stub, littleEndian, elements))
      : codec.readArguments(stub, littleEndian, elements)
    if ("problem" in read) return this.refuse(read.problem, read.status)
    if (read.value.size !== undefined && read.value.size > this.connection.endpoint.limits.request) {
      return this.refuse("the arguments in front of the pipes are too large", "too large")
    }
    this.read = read.value
    if (pipes !== undefined) this.pipes = new Ends(pipes, false)
    return undefined
  }

  private refuse(problem: string, refused: number | "too large"): BadStubData {
    this.refused = refused
    return new BadStubData({ detail: `The arguments were refused: ${problem}` })
  }

  accepted(remote: Remote): void {
    this.serverCall = remote as ServerCallImpl
    this.connection.accepted(this)
  }

  /** Its pipes in one direction. */
  piped(isIn: boolean): ReadonlyArray<Piped> {
    const { pipes = [] } = this.serverCall.dispatch.operation
    return pipes.flatMap((pipe, index) =>
      pipe.isIn === isIn
        ? [{ codec: this.codec.pipes[index]!, buffer: Chunks.bufferOf(this.pipes!.slots[index]!) }]
        : []
    )
  }

  endPipes(): void {
    for (const { buffer } of this.piped(false)) Chunks.end(buffer)
  }

  stopSending(): void {
    if (this.sending === undefined) return
    this.response!.isCut = true
    this.sending.interruptUnsafe()
    this.sending = undefined
  }

  /** Nobody receives its out parameters, if it has ended and they wait. */
  dropResults(): void {
    if (this.results !== undefined) this.serverCall.holding?.answered()
  }

  transferred(direction: "in" | "out", bytes: number): void {
    this.serverCall.watch?.transferred(direction, bytes)
  }

  cancel(): void {
    this.cancels = Math.min(this.cancels + 1, 255)
    this.serverCall.cancel()
  }

  reply(outcome: Outcome): BadStubData | undefined {
    return this.connection.reply(this, outcome)
  }
}

// ----------------------------------------------------------------------------
// a connection
// ----------------------------------------------------------------------------

const sameSyntax = (a: Pdu.SyntaxId, b: Pdu.SyntaxId): boolean =>
  a.uuid === b.uuid && a.major === b.major && a.minor === b.minor

// The last eight bytes of the pseudo transfer syntax are the features that the client asks for.
const featurePrefix = "6cb71c2c-9812-4540-"
const keepConnectionOnOrphan = 2

const askedFeatures = ({ transferSyntaxes }: Pdu.ContextElement): number | undefined => {
  const uuid = transferSyntaxes.length === 1 ? transferSyntaxes[0]!.uuid : ""
  return uuid.startsWith(featurePrefix)
    ? parseInt(uuid.slice(featurePrefix.length, featurePrefix.length + 2), 16)
    : undefined
}

/** Writes a manager's values. Where they throw, as a getter may, the call alone is spoilt. */
const attempt = (write: () => Problem | undefined): Problem | undefined => {
  try {
    return write()
  } catch (error) {
    return { problem: String(error), status: status.badStubData }
  }
}

const nowhere: { readonly endpoint?: string } = {}

const operationOf = ({ operations }: Interface.Any, opnum: number): Operation | undefined =>
  Object.values<Operation>(operations).find((operation) => operation.opnum === opnum)

const hasInPipes = (pipes: Operation["pipes"]): boolean => pipes !== undefined && pipes.some(({ isIn }) => isIn)

const tooShort: Problem = { problem: "the stub ends before the arguments do", status: status.badStubData }

const argumentsOrProblem = (read: Read<ArgumentsBeforePipes> | number): Read<ArgumentsBeforePipes> =>
  typeof read === "number" ? tooShort : read

/** The out parameters, or an abort, end a response. */
const isLast = (): boolean => true

/** What a PDU does to its connection. */
type Verdict = "go on" | "close"

const badResults = ({ serverCall: { dispatch: { operation } } }: IncomingCall, { problem }: Problem): BadStubData =>
  new BadStubData({
    detail: `The out parameters were refused: ${problem}`,
    interface: operation.interface.name,
    method: operation.name
  })

const anonymous: Caller = { name: undefined, level: "none" }

/** Counts the calls that several clients have in progress together. */
interface Tally {
  count: number
  readonly maximum: number
}

/** One client of a server, with a limit to its calls. */
class Client extends ClientImpl {
  readonly maximum: number
  readonly total: Tally | undefined

  constructor(server: ServerImpl, fields: ClientFields, maximum: number, total: Tally | undefined) {
    super(server, fields)
    this.maximum = maximum
    this.total = total
  }

  override get hasRoom(): boolean {
    return super.hasRoom && this.count < this.maximum &&
      (this.total === undefined || this.total.count < this.total.maximum)
  }

  override add(call: ServerCallImpl): void {
    super.add(call)
    if (this.total !== undefined) this.total.count++
  }

  override remove(call: ServerCallImpl): void {
    super.remove(call)
    if (this.total !== undefined) this.total.count--
  }
}

class ServerConnection {
  readonly caller: Caller
  readonly endpoint: EndpointImpl
  readonly peer: string
  readonly local: string
  readonly outbox: Outbox
  readonly contexts = new Map<number, Context>()
  readonly calls = new Map<number, IncomingCall>()
  group: Group | undefined = undefined
  /** This client, as the server and the endpoint's management know it. */
  private readonly clients = new Map<Server.Server, ClientImpl>()
  /** The replies that carry new context handles, with where each ends in what was sent. */
  readonly carriers: Array<readonly [call: IncomingCall, end: number]> = []
  /** Its bind was refused: only what came with it is answered. */
  refused = false
  multiplexed = false
  /** The largest fragment that the client receives. */
  maxFragment = Pdu.defaultFragment
  /** The largest fragment that this side receives. */
  largest = Pdu.defaultFragment
  /** The request of which not all fragments have arrived. */
  open: Pdu.Assembly<Pdu.Request> | undefined = undefined
  openCancelled = false
  /** For an open request that need not wait for its last fragment. */
  early: Early | undefined = undefined
  /** The request whose call was dispatched or refused already, while the rest of its pipes arrives. */
  arriving: Arriving | undefined = undefined
  /** When something last happened on it, where there is a limit on silence. */
  activeAt = 0
  readonly closed = Deferred.makeUnsafe<void>()
  /** The client doesn't listen: nothing more is said. */
  failed = false
  quiet: Deferred.Deferred<void> | undefined = undefined

  constructor(
    endpoint: EndpointImpl,
    { local, peer }: Transport.Connection,
    outbox: Outbox,
    caller: Caller
  ) {
    this.endpoint = endpoint
    this.caller = caller
    this.peer = peer
    this.local = local
    this.outbox = outbox
    this.touch()
  }

  client(server: Server.Server): ClientImpl {
    let client = this.clients.get(server)
    if (client === undefined) {
      const { limits, server: served, total } = this.endpoint
      const fields = { caller: this.caller, peer: this.peer, handles: this.group!.handles }
      client = new Client(server as unknown as ServerImpl, fields, limits.calls, server === served ? total : undefined)
      this.clients.set(server, client)
    }
    return client
  }

  receive(pdu: Pdu.Pdu | Pdu.PduError): Verdict {
    this.endpoint.packetsIn++
    if (pdu._tag === "PduError") return this.refuse(pdu)
    if (this.group === undefined) {
      if (pdu._tag === "Bind" && !this.refused) return this.bind(pdu)
      return this.refused ? this.protocolError(pdu.callId, true) : this.refuseBind(pdu.callId, 4)
    }
    const isLater = pdu.callId === this.openRequest?.callId && (pdu.flags & Pdu.flags.firstFrag) === 0
    switch (pdu._tag) {
      case "Bind":
        return this.refuseBind(pdu.callId, 0)
      case "AlterContext":
        return isLater ? this.protocolError(pdu.callId, true) : this.alter(pdu)
      case "Request":
        return this.request(pdu)
      case "CoCancel":
        return this.cancel(pdu.callId)
      case "Orphaned":
        return this.orphan(pdu.callId)
      default:
        return this.protocolError(pdu.callId, true)
    }
  }

  // --- binding

  private refuseBind(callId: number, rejectReason: number): Verdict {
    this.refused = true
    Pdu.encodeBindNak(this.endpoint.writer, { callId, rejectReason })
    this.send()
    return this.group === undefined ? "go on" : "close"
  }

  private bind(pdu: Pdu.Bind): Verdict {
    if (pdu.authTrailer !== undefined) {
      const { authLevel, authType } = pdu.authTrailer
      const noService = authType === 0 && (authLevel < 2 || authLevel > 6)
      return this.refuseBind(pdu.callId, noService ? 0 : 8)
    }
    const elements = pdu.contextElements
    if (elements.length === 0 || elements.some(({ transferSyntaxes }) => transferSyntaxes.length === 0)) {
      return this.refuseBind(pdu.callId, 0)
    }
    if (elements.filter((element) => askedFeatures(element) !== undefined).length > 1) {
      return this.refuseBind(pdu.callId, 0)
    }
    const results = this.offer(elements)
    if (results === undefined) return this.refuseBind(pdu.callId, 0)
    const group = this.endpoint.join(pdu.assocGroupId)
    if (group === undefined) return this.refuseBind(pdu.callId, 0)
    this.group = group
    this.multiplexed = (pdu.flags & Pdu.flags.concMpx) !== 0
    const size = this.negotiate(pdu)
    Pdu.encodeBindAck(this.endpoint.writer, {
      callId: pdu.callId,
      flags: this.multiplexed ? Pdu.flags.concMpx : 0,
      maxXmitFrag: size,
      maxRecvFrag: size,
      assocGroupId: group.id,
      secAddr: this.secAddr,
      results
    })
    return this.send()
  }

  /** Agrees on the size of fragments: of each side's largest the smaller one. */
  private negotiate({ maxRecvFrag, maxXmitFrag }: Pdu.Bind | Pdu.AlterContext): number {
    // Where Callisto's own syntax was chosen the fragments may be large; every other client knows smaller ones.
    if (this.knowsBinary) this.largest = binary.maxFragment
    const size = Math.min(Math.max(Math.min(maxXmitFrag, maxRecvFrag), 2048), this.largest) & ~7
    // The answer is never below 2048, but the client may receive no more than every client must.
    this.maxFragment = Math.min(size, Math.max(maxRecvFrag, Pdu.minFragment))
    return size
  }

  private get knowsBinary(): boolean {
    for (const { syntax } of this.contexts.values()) if (syntax === binary) return true
    return false
  }

  /** The port or the name to which the client has connected, as far as a bind's answer can hold it. */
  private get secAddr(): string {
    const { endpoint = "" } = Option.getOrElse(Result.getSuccess(StringBinding.parse(this.local)), () => nowhere)
    return /^[\x20-\x7e]*$/.test(endpoint) ? endpoint : ""
  }

  private alter(pdu: Pdu.AlterContext): Verdict {
    const elements = pdu.contextElements
    if (pdu.authTrailer !== undefined) return this.fault(pdu.callId, 0, status.accessDenied, true, "close")
    if (elements.length === 0 || elements.some(({ transferSyntaxes }) => transferSyntaxes.length === 0)) {
      return this.protocolError(pdu.callId, true)
    }
    const results = this.offer(elements)
    if (results === undefined) return this.fault(pdu.callId, 0, status.protocolError, true, "go on")
    // The sizes of an alter_context mean nothing, except between two that have just found out that both are Callisto.
    if (this.largest !== binary.maxFragment && this.knowsBinary) this.negotiate(pdu)
    Pdu.encodeAlterContextResponse(this.endpoint.writer, {
      callId: pdu.callId,
      maxXmitFrag: this.maxFragment,
      maxRecvFrag: this.maxFragment,
      assocGroupId: this.group!.id,
      results
    })
    return this.send()
  }

  /**
   * What becomes of each presentation context that the client proposes. Nothing does where one has the id of another, for
   * another interface or syntax.
   */
  private offer(elements: ReadonlyArray<Pdu.ContextElement>): ReadonlyArray<Pdu.ContextResult> | undefined {
    const contexts = new Map(this.contexts)
    const results: Array<Pdu.ContextResult> = []
    for (const element of elements) {
      const features = askedFeatures(element)
      if (features !== undefined) {
        results.push({ result: 3, reason: features & keepConnectionOnOrphan, transferSyntax: Pdu.nilSyntax })
        continue
      }
      const chosen = this.choose(element, contexts)
      if (chosen === undefined) return undefined
      if (typeof chosen === "number") {
        // A client with another version of Callisto's syntax learns which one is spoken here.
        const isOther = chosen === 2 && element.transferSyntaxes.some(({ uuid }) => uuid === binary.id.uuid)
        results.push({ result: 2, reason: chosen, transferSyntax: isOther ? binary.id : Pdu.nilSyntax })
      } else {
        contexts.set(element.contextId, chosen)
        results.push({ result: 0, reason: 0, transferSyntax: chosen.syntax.id })
      }
    }
    for (const [id, context] of contexts) this.contexts.set(id, context)
    return results
  }

  /** The context of an element, or the reason to reject it; `undefined` where its id belongs to another context. */
  private choose(
    { abstractSyntax, contextId, transferSyntaxes }: Pdu.ContextElement,
    contexts: ReadonlyMap<number, Context>
  ): Context | number | undefined {
    const { limits, syntaxes } = this.endpoint
    const { major, minor, uuid } = abstractSyntax
    const [server, iface] = this.endpoint.find({ uuid, version: [major, minor] })
    if (iface === undefined) return 1
    const usable = transferSyntaxes
      .map((proposed) => syntaxes.find(({ id }) => sameSyntax(id, proposed)))
      .filter((syntax) => syntax !== undefined && carries(syntax, iface))
    const known = contexts.get(contextId)
    const syntax = usable[0]
    if (syntax === undefined) return 2
    if (known !== undefined) {
      return sameSyntax(known.abstractSyntax, abstractSyntax) && usable.includes(known.syntax) ? known : undefined
    }
    return contexts.size >= limits.contexts ? 3 : { abstractSyntax, server, interface: iface, syntax }
  }

  // --- requests

  /** The first fragment of the request that has not ended. */
  private get openRequest(): Pdu.Request | undefined {
    return (this.open ?? this.arriving)?.first
  }

  private request(fragment: Pdu.Request): Verdict {
    const { callId } = fragment
    const isFirst = (fragment.flags & Pdu.flags.firstFrag) !== 0
    if (fragment.authTrailer !== undefined) return this.fault(callId, 0, status.accessDenied, false, "close")
    const header = fragment.object === undefined ? 24 : 40
    if (header + fragment.stub.length > this.largest) return this.protocolError(callId, false)
    const openId = this.openRequest?.callId
    if (isFirst) {
      if (openId !== undefined) return this.protocolError(this.multiplexed ? callId : openId, false)
      if (!this.multiplexed && this.isAwaited) return this.protocolError(callId, false)
      if ((fragment.flags & Pdu.flags.pendingCancel) !== 0) {
        return this.fault(callId, 0, status.noCallActive, true, "close")
      }
      this.openCancelled = false
    } else if (openId !== undefined && openId !== callId) {
      return this.protocolError(callId, false)
    }
    if (this.arriving !== undefined) return this.arrive(this.arriving, fragment)
    if (isFirst) this.early = this.lookEarly(fragment)
    const added = this.early === undefined
      ? Pdu.assemble(this.open, fragment, this.endpoint.limits.request)
      // What is announced, and what comes behind the arguments, flows through pipes.
      : Pdu.assemble(this.open, { ...fragment, allocHint: 0 }, this.endpoint.limits.request + this.largest)
    if (added._tag === "PduError") {
      if (added.reason === "MessageTooLarge") {
        return this.tooLarge(openId ?? callId)
      }
      return this.protocolError(openId ?? callId, added.reason === "FragmentMismatch")
    }
    if (added._tag === "Assembly") {
      this.open = added
      return this.dispatchEarly(added)
    }
    this.open = undefined
    return this.dispatch(added)
  }

  // --- requests with pipes

  /** A call with in pipes runs as soon as its arguments are there, and what nobody offers is refused at once. */
  private dispatchEarly({ buffer, first, size }: Pdu.Assembly<Pdu.Request>): Verdict {
    const { early } = this
    if (early === undefined || size < early.size) return "go on"
    const stub = buffer.subarray(0, size)
    const read = early.codec?.readArgumentsBeforePipes(stub, first.littleEndian, this.endpoint.limits.elements)
    if (typeof read === "number") {
      if (read > this.endpoint.limits.request) return this.tooLarge(first.callId)
      // Arguments of many fragments are not read again with each of them.
      early.size = ++early.looks < 64 ? read : Math.min(Math.max(read, 2 * size), this.endpoint.limits.request)
      return "go on"
    }
    this.open = undefined
    const verdict = this.dispatch({ ...first, stub })
    this.arriving ??= { first, call: undefined, pipes: undefined }
    return verdict
  }

  /** Whether a request that begins can be dispatched, or refused, before it has ended. */
  private lookEarly({ contextId, flags, object, opnum, stub }: Pdu.Request): Early | undefined {
    if ((flags & Pdu.flags.lastFrag) !== 0 && stub.length <= this.endpoint.limits.request) return undefined
    const context = this.contexts.get(contextId)
    const offer = context && Server.offers(context.server, context.interface, { object: object ?? null })
    const operation = offer && operationOf(offer.interface, opnum)
    if (operation === undefined) return { codec: undefined, size: 0, looks: 0 }
    return hasInPipes(operation.pipes)
      ? { codec: context!.syntax.codec(operation.method, operation.name)!, size: 0, looks: 0 }
      : undefined
  }

  private tooLarge(callId: number): Verdict {
    return this.fault(callId, 0, status.accessDenied, false, "close")
  }

  /** The next fragment of a request whose call was dispatched already. */
  private arrive({ call, first, pipes }: Arriving, { callId, flags, littleEndian, stub }: Pdu.Request): Verdict {
    if (littleEndian !== first.littleEndian) return this.protocolError(callId, call === undefined)
    const isLast = (flags & Pdu.flags.lastFrag) !== 0
    if (isLast) this.arriving = undefined
    // What comes behind the pipes means nothing, and what comes behind the call's end neither.
    if (call === undefined || pipes === undefined || pipes.isThrough) return "go on"
    if (call.pipes!.current === undefined) return "go on"
    call.transferred("in", stub.length)
    const problem = pipes.push(stub)
    if (problem !== undefined) call.serverCall.stop(new RpcFault({ code: problem.status }))
    else if (isLast && !pipes.isThrough) call.serverCall.stop(new RpcFault({ code: status.badStubData }))
    return "go on"
  }

  /** Whether what arrives for a pipe finds room there. */
  get hasRoom(): boolean {
    return this.arriving?.pipes?.hasRoom !== false
  }

  readonly room: Effect.Effect<void> = Effect.suspend(() =>
    this.hasRoom ? Effect.void : Effect.andThen(this.arriving!.pipes!.room, this.room)
  )

  /** Sends what is pushed into the out pipes of a call. */
  private startSending(call: IncomingCall, piped: ReadonlyArray<Piped>): void {
    const { callId, contextId } = call
    const { writer } = this.endpoint
    call.response = new OutgoingStub(
      writer,
      this.maxFragment,
      () => Pdu.beginResponse(writer, { callId, contextId: contextId & 0xff, cancelCount: call.cancels }),
      (following, size) => {
        this.send(following)
        call.transferred("out", size)
      }
    )
    const sending = sendPipes(piped, call.response, this.outbox.room, false)
    call.sending = call.serverCall.aside(sending)
    call.sending.addObserver((exit) => {
      if (exit._tag === "Failure" || call.sending === undefined) return
      call.sending = undefined
      const problem = exit.value as Problem | undefined
      if (problem !== undefined) {
        call.serverCall.log("What the manager pushed into a pipe was refused", Cause.fail(problem.problem))
        if (call.serverCall.isOpen) call.serverCall.stop(new RpcFault({ code: problem.status }))
        else if (this.calls.get(call.callId) === call) {
          this.reply(call, Exit.fail(new RpcFault({ code: problem.status })))
        }
      } else if (call.results !== undefined) {
        this.reply(call, call.results)
      }
    })
  }

  /** Whether the client waits for the reply to a call. */
  private get isAwaited(): boolean {
    for (const { maybe } of this.calls.values()) if (!maybe) return true
    return false
  }

  private dispatch(request: Pdu.Request): Verdict {
    const { callId, contextId } = request
    const context = this.contexts.get(contextId)
    if (context === undefined) return this.fault(callId, 0, status.unknownInterface, true, "go on")
    // One id for two calls in progress: nobody could tell their replies apart.
    if (this.calls.has(callId)) return this.protocolError(callId, false)
    const call = new IncomingCall(this, context, request, this.openCancelled)
    const refusal = this.endpoint.stopping
      ? refuseLate(context.server as unknown as ServerImpl, call)
      : Server.accept(context.server, call)
    if (refusal !== undefined) return this.refuseCall(call, refusal)
    const { size } = call.read!
    if (size !== undefined) this.startArriving(call, request, size)
    return "go on"
  }

  /** A call that the server does not take in. */
  private refuseCall({ callId, contextId, refused }: IncomingCall, refusal: Refusal): Verdict {
    if (refused === "too large") return this.tooLarge(callId)
    const code = refusal._tag === "BadStubData"
      ? refused!
      : refusal._tag === "RpcFault"
      ? refusal.code
      : refusal._tag === "ContextMismatch"
      ? status.contextMismatch
      : status.unavailable
    return this.fault(callId, contextId, sentAs(code), true, "go on")
  }

  /** The server has taken a call in, and its routine is about to run. */
  accepted(call: IncomingCall): void {
    this.endpoint.callsIn++
    this.calls.set(call.callId, call)
    call.transferred("in", call.read!.size ?? call.request.stub.length)
    const outgoing = call.pipes === undefined ? [] : call.piped(false)
    if (outgoing.length > 0) this.startSending(call, outgoing)
  }

  /** `start`: where in the stub the in pipes begin. */
  private startArriving(call: IncomingCall, request: Pdu.Request, start: number): void {
    // It may have ended already.
    if (this.calls.get(call.callId) !== call && call.serverCall.isOpen) return
    const pipes = new IncomingPipes(call.piped(true), request.littleEndian, this.endpoint.limits.elements, start)
    this.arriving = { first: request, call, pipes }
    this.arrive(this.arriving, { ...request, stub: request.stub.subarray(start) })
  }

  private cancel(callId: number): Verdict {
    if (this.open?.first.callId === callId) {
      this.openCancelled = true
      return "go on"
    }
    const call = this.calls.get(callId)
    call?.cancel()
    // It has ended already, and the client will pull its pipes no more.
    if (call?.results !== undefined) this.reply(call, Exit.fail(cancelled(false)))
    return "go on"
  }

  private orphan(callId: number): Verdict {
    const call = this.calls.get(callId)
    if (call !== undefined) {
      this.calls.delete(callId)
      call.stopSending()
      call.dropResults()
      call.serverCall.orphan()
      this.left()
    }
    return "go on"
  }

  // --- answers

  reply(call: IncomingCall, outcome: Outcome): BadStubData | undefined {
    if (outcome._tag === "Success" && call.sending !== undefined) {
      const refused = this.refuseResults(call, outcome.value)
      if (refused === undefined) {
        call.results = outcome as Exit.Success<unknown, never>
        // A cancelled call can be completed though its pipes are not through: they end here.
        if (call.pipes!.failure !== undefined) call.endPipes()
        return undefined
      }
      this.reply(call, Exit.fail(new RpcFault({ code: refused.status })))
      return badResults(call, refused)
    }
    call.stopSending()
    if (this.calls.get(call.callId) === call) this.calls.delete(call.callId)
    const refused = this.answer(call, outcome)
    if (outcome._tag === "Failure" || refused !== undefined) call.dropResults()
    this.left()
    return refused
  }

  /** Why out parameters that have to wait for the pipes could not be sent then. */
  private refuseResults({ codec }: IncomingCall, results: unknown): Problem | undefined {
    return attempt(() => codec.writeResults(new Pdu.Writer(), results))
  }

  private answer(call: IncomingCall, outcome: Outcome): BadStubData | undefined {
    if (call.maybe) {
      call.serverCall.holding?.answered()
      return undefined
    }
    const { callId, codec, contextId } = call
    if (outcome._tag === "Success") {
      if (call.response !== undefined) {
        const problem = call.response.send((writer) => attempt(() => codec.writeResults(writer, outcome.value)), isLast)
        if (problem !== undefined) {
          // They could be written before, but a getter may give something else each time.
          this.sendFault(call, sentAs(problem.status), false)
          return badResults(call, problem)
        }
        if (call.serverCall.holding?.hasMade) this.carry(call)
        return undefined
      }
      Pdu.beginResponse(this.endpoint.writer, { callId, contextId: contextId & 0xff, cancelCount: call.cancels })
      const problem = attempt(() => codec.writeResults(this.endpoint.writer, outcome.value))
      if (problem === undefined) {
        call.transferred("out", this.endpoint.writer.position - this.endpoint.writer.stub)
        this.endReply()
        if (call.serverCall.holding?.hasMade) this.carry(call)
        return undefined
      }
      Pdu.discardMessage(this.endpoint.writer)
      this.sendFault(call, sentAs(problem.status), false)
      return badResults(call, problem)
    }
    const error = outcome.cause.reasons.find(Cause.isFailReason)?.error
    if (error instanceof RpcFault) {
      this.sendFault(call, sentAs(error.code), error.didNotExecute)
      return undefined
    }
    if (isPipeError(error)) {
      this.sendFault(call, error.codes.fault!.number, false)
      return undefined
    }
    const abort = abortOf(call.serverCall.dispatch.operation.method, error)
    if (abort === undefined) {
      if (error instanceof ContextMismatch) this.sendFault(call, status.contextMismatch, error.didNotExecute)
      // A server that ends closes the connection: that is how the client learns of it.
      else if (error instanceof RpcTransportError && error.status === 1726) this.close()
      else if (error instanceof RpcTransportError) this.sendFault(call, error.status, true)
      else this.sendFault(call, status.cancelled, error instanceof CallCancelled && error.didNotExecute)
      return undefined
    }
    if (codec.writeAbort !== undefined) {
      const write = (writer: Pdu.Writer) => attempt(() => codec.writeAbort!(writer, abort, error!))
      if (call.response !== undefined) {
        if (call.response.send(write, isLast) === undefined) return undefined
      } else {
        Pdu.beginResponse(this.endpoint.writer, { callId, contextId: contextId & 0xff, cancelCount: call.cancels })
        if (write(this.endpoint.writer) === undefined) return this.endReply()
        Pdu.discardMessage(this.endpoint.writer)
      }
    }
    this.sendFault(call, abort.code, false)
    return undefined
  }

  /** Notes a reply with new context handles, until it has left. */
  private carry(call: IncomingCall): void {
    const { carriers, outbox } = this
    while (carriers.length > 0 && carriers[0]![1] <= outbox.handedUnsafe()) carriers.shift()
    carriers.push([call, this.failed ? Infinity : outbox.sentUnsafe()])
  }

  /** The connection is closed: what has not left was received by nobody. */
  settle(): void {
    this.outbox.stopUnsafe()
    for (const [call, end] of this.carriers) if (end > this.outbox.handedUnsafe()) call.serverCall.holding?.answered()
  }

  private endReply(): undefined {
    Pdu.endMessage(this.endpoint.writer, this.maxFragment)
    this.send()
  }

  /** A call has left the connection, its answer is on the way. */
  private left(): void {
    if (this.calls.size === 0) this.touch()
    if (this.calls.size === 0 && this.quiet !== undefined) Deferred.doneUnsafe(this.quiet, Exit.void)
  }

  private sendFault(call: IncomingCall, status: number, didNotExecute: boolean): void {
    const { callId, cancels: cancelCount, contextId } = call
    const flags = didNotExecute ? Pdu.flags.didNotExecute : 0
    Pdu.encodeFault(this.endpoint.writer, { callId, contextId, cancelCount, status, flags })
    this.send()
  }

  private fault(callId: number, contextId: number, status: number, didNotExecute: boolean, verdict: Verdict): Verdict {
    const flags = didNotExecute ? Pdu.flags.didNotExecute : 0
    Pdu.encodeFault(this.endpoint.writer, { callId, contextId, cancelCount: 0, status, flags })
    this.send()
    return verdict
  }

  private protocolError(callId: number, didNotExecute: boolean): Verdict {
    return this.fault(callId, 0, status.protocolError, didNotExecute, "close")
  }

  private refuse(error: Pdu.PduError): Verdict {
    if (error.reason === "Dead") return "close"
    if (this.group === undefined) return this.refuseBind(error.callId, 4)
    // A fragment that is too large may belong to a call that executes already.
    return this.protocolError(error.callId, error.reason !== "TooLarge")
  }

  /** Sends what the writer has; of a message in parts, with the bytes that follow it. */
  send(following?: Uint8Array): Verdict {
    const bytes = this.endpoint.writer.take()
    if (this.failed) return "close"
    // One message may be several fragments, each with its length.
    for (let at = 0; at < bytes.length; at += bytes[at + 8]! | bytes[at + 9]! << 8) this.endpoint.packetsOut++
    if (following === undefined) this.outbox.sendUnsafe(bytes)
    else {
      this.outbox.sendPartUnsafe(bytes)
      this.outbox.sendPartUnsafe(following)
    }
    if (this.outbox.queuedUnsafe() > this.endpoint.limits.queued) this.fail()
    return this.failed ? "close" : "go on"
  }

  close(): void {
    Deferred.doneUnsafe(this.closed, Exit.void)
  }

  /** Closes the connection without another word. */
  fail(): void {
    this.failed = true
    this.close()
  }

  touch(): void {
    const { clock, limits } = this.endpoint
    if (limits.idleTimeout !== Infinity) this.activeAt = nowOf(clock)
  }

  /** The connection is over: its calls have lost their client. */
  end(): void {
    for (const call of this.calls.values()) {
      call.stopSending()
      call.dropResults()
    }
    this.calls.clear()
    for (const client of this.clients.values()) client.end()
    if (this.group !== undefined) this.endpoint.leave(this.group)
    this.group = undefined
    if (this.quiet !== undefined) Deferred.doneUnsafe(this.quiet, Exit.void)
  }
}

// ----------------------------------------------------------------------------
// the endpoint
// ----------------------------------------------------------------------------

class EndpointImpl implements Endpoint {
  readonly [TypeId]: typeof TypeId = TypeId
  management!: Server.Server
  /** The scope of the listeners. It closes behind the period of grace, and with it the connections that are left. */
  readonly scope: Scope.Closeable = Scope.makeUnsafe()
  readonly listeners = new Set<Transport.Listener>()
  // Replies are written one after another, so one writer serves all connections.
  readonly writer = new Pdu.Writer()
  readonly server: Server.Server
  readonly clock: Clock.Clock
  readonly limits: Limits
  /** The calls of all connections to the server. */
  readonly total: Tally
  readonly syntaxes: ReadonlyArray<TransferSyntax>
  readonly connections = new Set<ServerConnection>()
  readonly groups = new Map<number, Group>()
  nextGroup = 1
  callsIn = 0
  packetsIn = 0
  packetsOut = 0
  stopping = false

  constructor(server: Server.Server, clock: Clock.Clock, limits: Limits, syntaxes: ReadonlyArray<TransferSyntax>) {
    this.server = server
    this.clock = clock
    this.limits = limits
    this.total = { count: 0, maximum: limits.totalCalls }
    this.syntaxes = syntaxes
  }

  /** Who offers an interface: the server, or the endpoint itself with its management interface. */
  find(wanted: Interface.Identity): readonly [Server.Server, Interface.Any | undefined] {
    const offered = Server.offers(this.server, wanted)?.interface
    return offered === undefined
      ? [this.management, Server.offers(this.management, wanted)?.interface]
      : [this.server, offered]
  }

  /** The group that a connection joins: a new one, or a known one by its id. */
  join(id: number): Group | undefined {
    if (id !== 0) {
      const known = this.groups.get(id)
      if (known !== undefined) known.connections++
      return known
    }
    while (this.groups.has(this.nextGroup)) this.nextGroup = this.nextGroup % 0xffffffff + 1
    const group: Group = { id: this.nextGroup, handles: new Handles(this.limits.handles), connections: 1 }
    this.groups.set(group.id, group)
    this.nextGroup = this.nextGroup % 0xffffffff + 1
    return group
  }

  leave(group: Group): void {
    if (--group.connections > 0) return
    this.groups.delete(group.id)
    group.handles.end()
  }

  readonly handle = (connection: Transport.Connection, caller = anonymous): Effect.Effect<void, never, Scope.Scope> =>
    Effect.gen({ self: this }, function* () {
      if (this.stopping || this.connections.size >= this.limits.connections) return
      const outbox = yield* makeOutbox(connection.socket)
      const served = new ServerConnection(this, connection, outbox, caller)
      this.connections.add(served)
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          this.connections.delete(served)
          served.settle()
        })
      )
      yield* Effect.forkScoped(this.watchBind(served))
      if (this.limits.idleTimeout !== Infinity) yield* Effect.forkScoped(this.watchIdle(served))
      yield* Effect.raceFirst(Effect.ignore(this.read(served, connection.socket)), Deferred.await(served.closed)).pipe(
        Effect.ensuring(Effect.sync(() => served.end()))
      )
      // What is left to say, to a client that listens.
      if (!served.failed) yield* outbox.drained.pipe(Effect.timeoutOption("1 second"), Effect.ignore)
    })

  private read(served: ServerConnection, socket: Socket): Effect.Effect<void, SocketError, Scope.Scope> {
    return Effect.gen({ self: this }, function* () {
      const readWhile = yield* makeReadWhile(socket)
      const parser = Pdu.makeParser({ maxFragment: binary.maxFragment, owned: true })
      let isOver = false
      const accept = (chunk: Uint8Array): boolean => {
        served.touch()
        const closes = parser.push(chunk).some((pdu) => served.receive(pdu) === "close" || served.failed)
        isOver = closes || served.refused
        return !isOver && served.outbox.hasRoomUnsafe() && served.hasRoom
      }
      while (true) {
        yield* readWhile(accept)
        if (isOver) return
        // Who doesn't read replies gets no more requests read; and a slow manager slows the pipe that it pulls.
        yield* served.outbox.room
        yield* served.room
      }
    })
  }

  private watchBind(served: ServerConnection): Effect.Effect<void> {
    return Effect.delay(Effect.sync(() => served.group === undefined && served.fail()), this.limits.bindTimeout)
  }

  private watchIdle(served: ServerConnection): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (served.calls.size > 0) served.touch()
      const left = served.activeAt + this.limits.idleTimeout - nowOf(this.clock)
      return left > 0 ? Effect.delay(this.watchIdle(served), left) : Effect.sync(() => served.fail())
    })
  }

  /** Lets the calls in progress reply, within the period of grace. */
  shutdown(grace: number): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      this.stopping = true
      for (const { stop } of this.listeners) yield* stop
      const waits: Array<Effect.Effect<void>> = []
      for (const served of this.connections) {
        if (served.group === undefined) continue
        Pdu.encodeShutdown(this.writer, { callId: 0 })
        served.send()
        const quiet = served.quiet = Deferred.makeUnsafe<void>()
        if (served.calls.size === 0) Deferred.doneUnsafe(quiet, Exit.void)
        // The last reply must be out before the connection goes.
        waits.push(Effect.andThen(Deferred.await(quiet), Effect.ignore(served.outbox.drained)))
      }
      yield* Effect.all(waits, { concurrency: "unbounded", discard: true }).pipe(Effect.timeoutOption(grace))
      for (const served of this.connections) served.fail()
      yield* Scope.close(this.scope, Exit.void)
    })
  }
}

// ----------------------------------------------------------------------------
// constructors
// ----------------------------------------------------------------------------

/**
 * Makes an endpoint of a server, for string bindings at which it {@link listen}s and connections that it is given to
 * {@link handle}. For one string binding there is {@link serve}.
 *
 * **Details**
 *
 * Every manager of the server is offered, in the transfer syntaxes in which its interface has a form, and the management
 * interface. When the scope closes the endpoint accepts no more connections and calls, tells its clients so, lets calls in progress
 * reply within the `grace` period of the server, and closes what is left.
 *
 * **Example** (One endpoint in two places)
 *
 * ```ts
 * import { Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Association, Endpoint } from "@callisto/rpc/dcerpc"
 * import { Transport } from "@callisto/rpc/transport"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *
 * const program = Effect.gen(function*() {
 *   const endpoint = yield* Endpoint.make(yield* Server.make([manager]), { maximumCalls: 100 })
 *   yield* Endpoint.listen(endpoint, "ncacn_memory:[one]")
 *   yield* Endpoint.listen(endpoint, "ncacn_memory:[two]")
 *   return yield* Call.invoke(yield* Association.bind(Sums, "ncacn_memory:[two]"), "Add", [1, 2, 3]) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provide(program, Transport.memory))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (server: Server.Server, options: Options = {}): Effect.Effect<Endpoint, never, Scope.Scope> =>
  Effect.gen(function* () {
    const count = (name: CountName, fallback: number, min = 0) =>
      countOption("Endpoint", name, options[name], { min }, fallback)
    yield* Effect.orDie(binary.load)
    const endpoint = new EndpointImpl(server, yield* Clock.Clock, {
      connections: count("maximumConnections", 10_000),
      contexts: count("maximumContexts", 64),
      calls: count("maximumCalls", 1024),
      totalCalls: count("maximumTotalCalls", 0x10000),
      handles: count("maximumHandles", 10_000),
      request: count("maximumRequest", 0x400000),
      elements: count("maximumElements", defaultElements, 1),
      queued: count("maximumQueued", 0x1000000, 1),
      bindTimeout: durationOption("Endpoint", "bindTimeout", options.bindTimeout, 10_000, 1),
      idleTimeout: durationOption("Endpoint", "idleTimeout", options.idleTimeout, Infinity, 1)
    }, [ndr20, binary])
    const management = Management.makeManager({
      interfaces: () => [
        ...Server.interfaces(server).map((offer) => offer.interface),
        Management.IManagement
      ],
      // A server makes no calls.
      statistics: () => ({
        callsIn: endpoint.callsIn,
        callsOut: 0,
        packetsIn: endpoint.packetsIn,
        packetsOut: endpoint.packetsOut
      }),
      isListening: () => !endpoint.stopping,
      stop: options.onStop
    })
    endpoint.management = yield* Server.make([management], { grace: 0 })
    return yield* Effect.acquireRelease(
      Effect.succeed(endpoint),
      (endpoint) => endpoint.shutdown((server as unknown as ServerImpl).grace)
    )
  })

const toImpl = (endpoint: Endpoint): EndpointImpl => endpoint as EndpointImpl

/**
 * Accepts connections at a string binding until the scope closes. Those that were accepted live on as long as the endpoint.
 *
 * **Details**
 *
 * The `Listener` knows where it listens, with the port that was chosen for port 0. Fails with `StringBindingError` for text that
 * is no string binding, and with `CantCreateEndpoint` when the transport can't listen there.
 *
 * Windows: `RpcServerUseProtseqEp`.
 *
 * @category listening
 * @since 0.1.0
 */
export const listen = (
  self: Endpoint,
  binding: string
): Effect.Effect<
  Transport.Listener,
  StringBinding.StringBindingError | CantCreateEndpoint,
  Transport.Transport | Scope.Scope
> =>
  Effect.gen(function* () {
    const endpoint = toImpl(self)
    const transport = yield* Transport.Transport
    const parsed = StringBinding.parse(binding)
    if (Result.isFailure(parsed)) return yield* Effect.fail(parsed.failure)
    return yield* Effect.acquireRelease(
      Effect.tap(
        Scope.provide(transport.listen(parsed.success, (connection) => endpoint.handle(connection)), endpoint.scope),
        (listener) => Effect.sync(() => endpoint.listeners.add(listener))
      ),
      (listener) => Effect.andThen(listener.stop, Effect.sync(() => endpoint.listeners.delete(listener))),
      { interruptible: true }
    )
  })

/**
 * Serves a connection that something else has accepted, a web server's WebSocket for instance, until its end.
 *
 * **Gotchas**
 *
 * The endpoint believes the `caller` that it is given: whoever accepts the connection has to authenticate it first.
 *
 * **Example** (WebSockets that Deno's HTTP server accepts)
 *
 * ```ts ignore
 * const serve = (socket: WebSocket, peer: string, user: string) =>
 *   Effect.scoped(Effect.flatMap(Transport.fromWebSocket(socket, { peer }), (connection) =>
 *     Endpoint.handle(endpoint, connection, { caller: { name: user, level: "connect" } })))
 *
 * Deno.serve((request, { remoteAddr }) => {
 *   const user = userOfSession(request.headers.get("cookie"))
 *   if (user === undefined) return new Response("Log in first.", { status: 401 })
 *   const { response, socket } = Deno.upgradeWebSocket(request)
 *   Effect.runFork(serve(socket, `ncacn_ws:${remoteAddr.hostname}[${remoteAddr.port}]`, user))
 *   return response
 * })
 * ```
 *
 * @category listening
 * @since 0.1.0
 */
export const handle = (
  self: Endpoint,
  connection: Transport.Connection,
  options?: {
    /** The identity that `ServerCall.caller` gives for the calls of the connection; by default no name and level `none`. */
    readonly caller?: Caller | undefined
  }
): Effect.Effect<void> => Effect.scoped(toImpl(self).handle(connection, options?.caller))

/**
 * Serves a server at a string binding until the scope closes: {@link make} and {@link listen} in one.
 *
 * **Details**
 *
 * The `Listener` knows where it listens, with the port that was chosen for port 0. Fails with `StringBindingError` for text that
 * is no string binding, and with `CantCreateEndpoint` when the transport can't listen there.
 *
 * Windows: `RpcServerUseProtseqEp`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const serve = (
  server: Server.Server,
  binding: string,
  options?: Options
): Effect.Effect<
  Transport.Listener,
  StringBinding.StringBindingError | CantCreateEndpoint,
  Transport.Transport | Scope.Scope
> => Effect.flatMap(make(server, options), (endpoint) => listen(endpoint, binding))

/**
 * Serves the server of the context at a string binding, and provides where it listens as `Transport.Listener`.
 *
 * **Details**
 *
 * Nothing is listened to before the server is there. When the layer is released the endpoint ends before the server. Another
 * server of the context, and another service for the listener, are named by their keys. It fails as {@link listen} does.
 *
 * **Example** (A program of layers)
 *
 * ```ts
 * import { Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Association, Endpoint } from "@callisto/rpc/dcerpc"
 * import { Transport } from "@callisto/rpc/transport"
 * import { Effect, Layer, Schema } from "effect"
 *
 * const ISums = Interface.make("ISums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const sums = Manager.layer(ISums, Effect.succeed({
 *   Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0))
 * }))
 * const live = Endpoint.layer("ncacn_memory:[sums]", { maximumCalls: 100 }).pipe(
 *   Layer.provide(Server.layer([ISums])),
 *   Layer.provide(sums),
 *   Layer.provideMerge(Transport.memory)
 * )
 *
 * const program = Effect.gen(function*() {
 *   const { address } = yield* Transport.Listener
 *   address.endpoint // => "sums"
 *   return yield* Call.invoke(yield* Association.bind(ISums, "ncacn_memory:[sums]"), "Add", [1, 2, 3]) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provide(program, live))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const layer = <Serving = Server.Server, Listening = Transport.Listener>(
  binding: string,
  options?: Options & {
    /** The service that is the server; by default `Server.Server`. */
    readonly server?: Key<Serving, Server.Server> | undefined
    /** The service under which the listener is provided; by default `Transport.Listener`. */
    readonly key?: Key<Listening, Transport.Listener> | undefined
  }
): Layer.Layer<Listening, StringBinding.StringBindingError | CantCreateEndpoint, Serving | Transport.Transport> =>
  Layer.effect(
    (options?.key ?? Transport.Listener) as Key<Listening, Transport.Listener>,
    Effect.flatMap(
      (options?.server ?? Server.Server) as Key<Serving, Server.Server>,
      (server) => serve(server, binding, options)
    )
  )
