/**
 * The server's end of a connection: what the PDUs of one client do, and what the client is told.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { SocketError } from "effect/socket/Socket"
import type { Caller, Outcome, Refusal } from "../../Channel.ts"
import { below, unguarded } from "../../internal/access.ts"
import { type Abort, abortOf, type Interface, type Operation } from "../../Interface.ts"
import { cancelled, errorOf, isPipeError } from "../../internal/failures.ts"
import { sentAs } from "../../internal/faultTable.ts"
import { type ClientFields, ClientImpl, refuseLate, type ServerImpl, serverImpl } from "../../internal/server.ts"
import type { ServerCallImpl } from "../../internal/serverCall.ts"
import { nowOf } from "../../internal/clock.ts"
import * as Server from "../../Server.ts"
import { BadStubData, CallCancelled, ContextMismatch, RpcFault, RpcTransportError } from "../../Status.ts"
import type { Incoming } from "../../transport/internal/flow.ts"
import type { Outbox } from "../../transport/internal/outbox.ts"
import { endOf } from "../../transport/internal/sockets.ts"
import type * as Transport from "../../transport/Transport.ts"
import * as Pdu from "../Pdu.ts"
import type { MethodCodec, Problem } from "../TransferSyntax.ts"
import type { LoginFailure, Step } from "../../security/Security.ts"
import { type Accept, Agreement, type Group, type Offers, type Refusal as Disagreement } from "./agreement.ts"
import { type Event, serverTable, State } from "./connection.ts"
import { hasInPipes, IncomingCall, status } from "./incomingCall.ts"
import { codecFor } from "./methodCodec.ts"
import { IncomingPipes, OutgoingStub, type Piped, sendPipes } from "./pipeStream.ts"
import type { Identity } from "./protection.ts"
import type { Leg, Securing, ServerSecurity } from "./serverSecurity.ts"

// ----------------------------------------------------------------------------
// its endpoint
// ----------------------------------------------------------------------------

export interface Limits {
  readonly connections: number
  readonly contexts: number
  readonly calls: number
  readonly totalCalls: number
  readonly handles: number
  readonly request: number
  readonly elements: number
  readonly totalRequest: number
  readonly queued: number
  readonly totalQueued: number
  readonly bindTimeout: number
  readonly requestTimeout: number
  readonly idleTimeout: number
}

/** Counts the calls that several clients have in progress together. */
export interface Tally {
  count: number
  readonly maximum: number
}

/** The part of its endpoint that a connection uses. */
export interface Host extends Offers {
  readonly limits: Limits
  readonly clock: Clock.Clock
  readonly server: Server.Server
  /** The calls of all connections to the server. */
  readonly total: Tally
  /** Whether it takes no more calls. */
  readonly stopping: boolean
  /** Its security; `undefined` where nobody can log in. */
  readonly security: Securing | undefined
  run<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E>
  callsIn: number
  packetsIn: number
  packetsOut: number
  readonly leave: (group: Group) => void
  /** How many times a connection was of use: what is small was long ago. */
  uses: number
  /** What parts of requests hold on all connections together, and about what replies do. */
  partBytes: number
  queuedBytes: number
  /** Called when there are more of them than may be. */
  readonly tooManyParts: () => void
  readonly tooManyQueued: () => void
  /** Looks at each connection when its time has come. */
  readonly watchUntil: (time: number) => void
}

// ----------------------------------------------------------------------------
// requests that arrive
// ----------------------------------------------------------------------------

/** A request of which no more than pipes is to come. Without pipes it was refused, and the rest is of no use. */
interface Arriving {
  readonly first: Pdu.Request
  readonly call: IncomingCall | undefined
  readonly pipes: IncomingPipes | undefined
  /** Done when the access check of the call has ended: until then nothing more is read. */
  readonly decided?: Deferred.Deferred<void> | undefined
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

// ----------------------------------------------------------------------------
// a connection
// ----------------------------------------------------------------------------

const attempt = (write: Write, writer: Pdu.Writer): Problem | undefined => {
  try {
    return write(writer)
  } catch (error) {
    return { problem: String(error), status: status.badStubData }
  }
}

type Write = (writer: Pdu.Writer) => Problem | undefined

const operationOf = ({ operations }: Interface.Any, opnum: number): Operation | undefined =>
  Object.values<Operation>(operations).find((operation) => operation.opnum === opnum)

/** The out parameters, or an abort, end a response. */
const isLast = (): boolean => true

declare const queueMicrotask: (task: () => void) => void

// So much one connection does before the others have their turn. Bytes are those that arrive and those of replies.
const pdusInTurn = 64
const bytesInTurn = 0x40000

// A reply of so many bytes is worth the buffer of 64 KiB that it may keep alive.
const worthKeeping = 16384

const noBytes = new Uint8Array(0)

const nobodyArrives: Partial<Arriving> = {}

/** A request is not signed as it has to be. */
const securityFault = 0x721

/** The effect of a PDU on its connection. */
type Verdict = "go on" | "close"

const badResults = ({ serverCall: { dispatch: { operation } } }: IncomingCall, { problem }: Problem): BadStubData =>
  new BadStubData({
    detail: `The out parameters were refused: ${problem}`,
    interface: operation.interface.name,
    method: operation.name
  })

/** The callers of a connection as one server knows them, and how many calls they have in progress together. */
interface Callers {
  readonly own: Tally
  readonly clients: Map<Identity, ClientImpl>
}

/** One caller of a connection, with limits to its calls: those of the connection, and those of all. */
class Client extends ClientImpl {
  readonly own: Tally
  readonly total: Tally | undefined

  constructor(server: ServerImpl, fields: ClientFields, own: Tally, total: Tally | undefined) {
    super(server, fields)
    this.own = own
    this.total = total
  }

  override get hasRoom(): boolean {
    const { own, total } = this
    // No client has more calls than are left for the others.
    return super.hasRoom && own.count < own.maximum && (total === undefined || own.count < total.maximum - total.count)
  }

  override add(call: ServerCallImpl): void {
    super.add(call)
    this.own.count++
    if (this.total !== undefined) this.total.count++
  }

  override remove(call: ServerCallImpl): void {
    super.remove(call)
    this.own.count--
    if (this.total !== undefined) this.total.count--
  }
}

export class ServerConnection {
  readonly caller: Caller
  readonly endpoint: Host
  readonly peer: string
  readonly outbox: Outbox
  readonly agreement: Agreement
  readonly calls: Map<number, IncomingCall> = new Map()
  /** Its callers, as the server and the endpoint's management know them. */
  private callers: Map<Server.Server, Callers> | undefined = undefined
  /** The caller of requests without a login. */
  private readonly unauthenticated: Identity
  private readonly security: ServerSecurity | undefined
  /** The token of a login is with its provider: nothing more is read until that has looked at it. */
  private login: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** Whose request the open one is. */
  private openIdentity!: Identity
  /** The replies that carry new context handles, with where each ends in what was sent. */
  readonly carriers: Array<readonly [call: IncomingCall, end: number]> = []
  /** The request of which not all fragments have arrived. */
  open: Pdu.Assembly<Pdu.Request> | undefined = undefined
  openCancelled = false
  /** For an open request that need not wait for its last fragment. */
  early: Early | undefined = undefined
  /** The request whose call was dispatched or refused already, while the rest of its pipes arrives. */
  arriving: Arriving | undefined = undefined
  /** When it was last of use, as a number of the endpoint. */
  usedAt = 0
  /** When it was accepted; later, where there is a limit on silence, when something last happened on it. */
  private activeAt: number
  /** The bytes that have arrived and were not read, where the transport tells. */
  private readonly incoming: Incoming | undefined
  /** The held bytes: parts of a request, and PDUs that wait for room. */
  private heldBytes = 0
  /** The parts of a request that has not arrived whole, and when the last of them came. */
  private partBytes = 0
  private partAt = 0
  /** The bytes that waited for the client when that was last looked at. */
  private queuedBytes = 0
  /** How many bytes the client had taken, and since when it has taken no more. */
  private handed = 0
  private handedAt = Infinity
  private state: State = State.opening
  /** Called when nothing more is read. */
  stopReading: (() => void) | undefined = undefined
  /** Done when nothing more is said either. */
  readonly gone: Deferred.Deferred<void> = Deferred.makeUnsafe()
  private readonly parser: Pdu.Parser = Pdu.makeParser({ maxFragment: Pdu.defaultFragment, owned: true })
  /** The bytes that have arrived and wait for room, or for the connection's next turn. */
  private waiting: Uint8Array = noBytes
  private waitingAt = 0
  /** How many PDUs and bytes are left of the connection's turn. */
  private turnPdus = pdusInTurn
  private turnBytes = bytesInTurn

  constructor(
    endpoint: Host,
    connection: Transport.Connection,
    outbox: Outbox,
    caller: Caller
  ) {
    this.incoming = endOf(connection.socket)?.incoming
    if (this.incoming !== undefined) this.incoming.holder = this
    this.endpoint = endpoint
    this.caller = caller
    this.peer = connection.peer
    this.outbox = outbox
    this.agreement = new Agreement(endpoint, connection.local, caller)
    this.unauthenticated = { caller, protection: undefined }
    this.security = endpoint.security?.secure(this.unauthenticated, connection)
    this.usedAt = ++endpoint.uses
    this.activeAt = nowOf(endpoint.clock)
    endpoint.watchUntil(this.dueAt(this.activeAt))
  }

  // --- its life

  /** The one place where the connection changes its state. Gives `false` when the event changes nothing in its state. */
  move(event: Event): boolean {
    const next = serverTable[this.state]!.next[event]
    if (next === undefined) return false
    this.state = next
    if (this.isOver) {
      this.waiting = noBytes
      this.stopReading?.()
    }
    if (this.isClosed) Deferred.doneUnsafe(this.gone, Exit.void)
    return true
  }

  get isClosed(): boolean {
    return this.state === State.closed
  }

  /** Whether nothing more is read. */
  get isOver(): boolean {
    return this.state >= State.lingering
  }

  /** Tells the client that the server ends, and ends the connection with its last call. */
  shutdown(): void {
    if (serverTable[this.state]!.takesCalls) {
      Pdu.encodeShutdown(this.endpoint.writer, { callId: 0 })
      this.send()
    }
    if (this.move("shutdownAsked") && this.calls.size === 0) this.move("lastCallEnded")
  }

  // --- what arrives

  /** Takes a chunk. Answers whether the next may be read: else `resume` goes on behind the PDU that was the last to find room. */
  readonly take = (chunk: Uint8Array): boolean => {
    this.turnBytes -= chunk.length
    this.waiting = chunk
    this.waitingAt = 0
    return !this.isTurnOver && this.resume()
  }

  resume(): boolean {
    const { turnPdus, waiting } = this
    const at = this.parser.read(waiting, this.waitingAt, this.accept)
    const isRead = at === waiting.length
    if (isRead || this.isOver) this.waiting = noBytes
    this.waitingAt = isRead ? 0 : at
    const hasPdu = this.turnPdus !== turnPdus
    if (hasPdu) {
      this.usedAt = ++this.endpoint.uses
      this.touch()
    }
    this.count(hasPdu)
    if (this.isOver || !isRead) return false
    // What came together with a refused bind was answered.
    if (this.state === State.draining && this.agreement.group === undefined) this.move("lastCallEnded")
    // Chunks that wait belong to this turn. Without one the event loop serves the other connections next.
    if (this.isTurnOver) queueMicrotask(this.beginTurn)
    return this.canTake
  }

  private readonly accept = (pdu: Pdu.Pdu | Pdu.PduError): boolean => {
    this.turnPdus--
    return this.receive(pdu) === "go on" && !this.isTurnOver && this.canTake
  }

  private get isTurnOver(): boolean {
    return this.turnPdus <= 0 || this.turnBytes <= 0
  }

  private readonly beginTurn = (): void => {
    this.turnPdus = pdusInTurn
    this.turnBytes = bytesInTurn
  }

  private get canTake(): boolean {
    return this.hasRoom && !this.isOver && this.login === undefined && this.outbox.hasRoomUnsafe()
  }

  /** More has arrived, while nothing is read. */
  countHeld(): void {
    this.count(false)
  }

  /** Counts the held bytes. Only a whole fragment is progress. */
  private count(hasPdu: boolean): void {
    const { endpoint, incoming, isOver, parser, waiting } = this
    const parts = isOver ? 0 : parser.buffered + (this.open === undefined ? 0 : this.open.buffer.length)
    const waits = isOver ? 0 : (waiting.length === 0 ? 0 : waiting.buffer.byteLength) + (incoming?.size ?? 0)
    const bytes = parts + waits
    if (bytes === 0 && this.heldBytes === 0) return
    if (hasPdu || this.heldBytes === 0 || parts > 0 && this.partBytes === 0) {
      this.partAt = nowOf(endpoint.clock)
      if (parts > 0) endpoint.watchUntil(this.partAt + endpoint.limits.requestTimeout)
    }
    endpoint.partBytes += bytes - this.heldBytes
    this.heldBytes = bytes
    this.partBytes = parts
    if (endpoint.partBytes > endpoint.limits.totalRequest) endpoint.tooManyParts()
  }

  /** When it last made progress with its held bytes, `Infinity` where it holds nothing. */
  get progressAt(): number {
    return this.heldBytes === 0 || this.isOver ? Infinity : this.partAt
  }

  /** Counts the bytes that wait for the client, and gives them. */
  countQueued(): number {
    const bytes = this.isClosed ? 0 : this.outbox.queuedUnsafe()
    this.endpoint.queuedBytes += bytes - this.queuedBytes
    this.queuedBytes = bytes
    return bytes
  }

  /** Whether nobody would miss it: it has no call, no bytes on the way, and keeps no handle alive. */
  get isIdle(): boolean {
    const { group } = this.agreement
    return !this.isOver && this.calls.size === 0 && this.heldBytes === 0 && this.outbox.queuedUnsafe() === 0 &&
      (group === undefined || group.connections > 1 || group.handles.open.size === 0)
  }

  /** When it has to be closed, as things stand. */
  dueAt(now: number): number {
    const { bindTimeout, idleTimeout, queued, requestTimeout } = this.endpoint.limits
    if (this.isOver) return Infinity
    let due = this.state === State.opening ? this.activeAt + bindTimeout : this.loginAt + bindTimeout
    if (this.partBytes > 0) due = Math.min(due, this.partAt + requestTimeout)
    if (this.outbox.queuedUnsafe() > queued) {
      const handed = this.outbox.handedUnsafe()
      if (handed !== this.handed || this.handedAt === Infinity) this.handedAt = now
      this.handed = handed
      due = Math.min(due, this.handedAt + requestTimeout)
    } else this.handedAt = Infinity
    // A call in progress looks here again when it ends.
    return this.calls.size > 0 ? due : Math.min(due, this.activeAt + idleTimeout)
  }

  /** Since when a login is unfinished; `Infinity` where none is. */
  private get loginAt(): number {
    return this.security === undefined ? Infinity : this.security.unfinishedSince
  }

  /** Waits until there is room for what a next PDU may cause, and lets other connections have their turn. */
  get ready(): Effect.Effect<void, SocketError> {
    // A client that does not read replies gets no more requests read; and a slow manager slows the pipe that it pulls.
    const { login } = this
    const decided = login === undefined ? this.outbox.room : Effect.andThen(Fiber.await(login), this.outbox.room)
    const room = Effect.andThen(decided, this.room)
    if (!this.isTurnOver) return room
    this.beginTurn()
    return Effect.andThen(Effect.yieldNow, room)
  }

  get maximumRequest(): number {
    return this.endpoint.limits.request
  }

  get maximumElements(): number {
    return this.endpoint.limits.elements
  }

  client(server: Server.Server, identity: Identity): ClientImpl {
    const { limits, security, server: served, total } = this.endpoint
    const callers = this.callers ??= new Map()
    let known = callers.get(server)
    if (known === undefined) {
      known = { own: { count: 0, maximum: limits.calls }, clients: new Map() }
      callers.set(server, known)
    }
    let client = known.clients.get(identity)
    if (client === undefined) {
      const isServed = server === served
      const fields: ClientFields = {
        caller: identity.caller,
        peer: this.peer,
        handles: this.agreement.handles,
        usualLevel: security !== undefined && isServed ? "integrity" : "none"
      }
      client = new Client(serverImpl(server), fields, known.own, isServed ? total : undefined)
      known.clients.set(identity, client)
    }
    return client
  }

  stubOf(call: IncomingCall, request: Pdu.Request): Uint8Array | undefined {
    const { endpoint, security } = this
    return security === undefined ? request.stub : endpoint.security!.stubOf(call, request, security)
  }

  verifies(call: IncomingCall, request: Pdu.Request, end: number): boolean {
    const { endpoint, security } = this
    return security === undefined || endpoint.security!.verifies(call, request, end, security)
  }

  /** The one way in, before calls are told apart. */
  receive(pdu: Pdu.Pdu | Pdu.PduError): Verdict {
    this.endpoint.packetsIn++
    if (pdu._tag === "PduError") return this.refuse(pdu)
    if (this.agreement.group === undefined) {
      if (this.state !== State.opening) return this.protocolError(pdu.callId, true)
      return pdu._tag === "Bind" ? this.agree(pdu) : this.refuseBind(pdu.callId, 4)
    }
    const isLater = pdu.callId === this.openRequest?.callId && (pdu.flags & Pdu.flags.firstFrag) === 0
    switch (pdu._tag) {
      case "AlterContext":
        return isLater ? this.protocolError(pdu.callId, true) : this.agree(pdu)
      case "Bind":
      case "Auth3":
        return this.agree(pdu)
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

  // --- what is agreed

  private refuseBind(callId: number, rejectReason: number): Verdict {
    Pdu.encodeBindNak(this.endpoint.writer, { callId, rejectReason })
    this.send()
    this.move("refused")
    return this.isOver ? "close" : "go on"
  }

  /** Answers a bind, an alter_context or an auth3: at once, or when the provider has looked at the token. */
  private agree(pdu: Pdu.Bind | Pdu.AlterContext | Pdu.Auth3): Verdict {
    const { authTrailer } = pdu
    if (this.agreement.isRepeated(pdu)) return this.refuseBind(pdu.callId, 0)
    const isBound = this.agreement.group !== undefined
    const leg = this.security?.leg(pdu, isBound) ?? this.withoutSecurity(pdu)
    if (leg !== undefined && !("token" in leg)) return this.disagree(pdu, leg)
    if (pdu._tag === "Auth3") return this.awaitLogin(pdu, leg!, undefined)
    const accept = this.agreement.decide(pdu)
    if (typeof accept !== "function") return this.disagree(pdu, accept)
    const late = leg && this.security!.lateRefusal(leg, authTrailer!)
    if (late !== undefined) return this.disagree(pdu, late)
    return leg === undefined ? this.acceptBind(pdu, accept) : this.awaitLogin(pdu, leg, accept)
  }

  /** The answer to a token where the endpoint has no security. */
  private withoutSecurity({ _tag, authTrailer }: Pdu.Bind | Pdu.AlterContext | Pdu.Auth3): Disagreement | undefined {
    if (_tag === "Auth3" && this.security === undefined) return { fault: status.protocolError, endsConnection: true }
    if (authTrailer === undefined || this.security !== undefined) return undefined
    if (_tag === "AlterContext" || this.agreement.group !== undefined) {
      return { fault: status.accessDenied, endsConnection: true }
    }
    // No level of protection at all, or a type of authentication that this server does not have.
    return { nak: authTrailer.authLevel < 2 || authTrailer.authLevel > 6 ? 0 : 8 }
  }

  private acceptBind({ flags }: Pdu.Bind | Pdu.AlterContext, accept: Accept, trailer?: Pdu.AuthTrailer): Verdict {
    if (this.security !== undefined && (flags & Pdu.flags.supportHeaderSign) !== 0) this.security.headerSigning = true
    accept(trailer)
    this.parser.maxFragment = this.agreement.largest
    this.move("agreed")
    return this.send()
  }

  private disagree({ callId }: Pdu.Pdu, refusal: Disagreement): Verdict {
    if ("nak" in refusal) {
      // The login failed behind what was agreed on: nothing of it holds.
      if (this.state === State.opening) this.leaveGroup()
      return this.refuseBind(callId, refusal.nak)
    }
    return this.fault(callId, 0, refusal.fault, true, refusal.endsConnection ? "close" : "go on")
  }

  /** Gives a token to its provider, and answers the leg. */
  private awaitLogin(pdu: Pdu.Bind | Pdu.AlterContext | Pdu.Auth3, leg: Leg, accept: Accept | undefined): Verdict {
    const security = this.security!
    const { clock, limits } = this.endpoint
    leg.context.begunAt ??= nowOf(clock)
    this.endpoint.watchUntil(leg.context.begunAt + limits.bindTimeout)
    const settle = (exit: Exit.Exit<Step, LoginFailure>): Verdict => {
      this.login = undefined
      if (this.isOver) return "close"
      const answer = security.settle(leg, exit, this.agreement.group!)
      if (answer === "silence") return "go on"
      if (!("trailer" in answer)) return this.disagree(pdu, answer)
      return this.acceptBind(pdu as Pdu.Bind | Pdu.AlterContext, accept!, answer.trailer)
    }
    const login = this.endpoint.run(security.step(leg))
    const exit = login.pollUnsafe()
    if (exit !== undefined) return settle(exit)
    this.login = login
    login.addObserver(settle)
    return "go on"
  }

  // --- requests

  /** The first fragment of the request that has not ended. */
  private get openRequest(): Pdu.Request | undefined {
    return (this.open ?? this.arriving)?.first
  }

  private request(fragment: Pdu.Request): Verdict {
    const { callId } = fragment
    const isFirst = (fragment.flags & Pdu.flags.firstFrag) !== 0
    const { security } = this
    if (security === undefined && fragment.authTrailer !== undefined) {
      return this.fault(callId, fragment.contextId, status.accessDenied, false, "close")
    }
    const open = this.openRequest
    const openId = open?.callId
    if (isFirst && open !== undefined) return this.secondFirst(open, fragment)
    let identity = isFirst ? this.unauthenticated : this.openIdentity
    if (security !== undefined && isFirst) {
      const named = security.identify(fragment.authTrailer)
      if ("status" in named) {
        const contextId = named.namesContext ? fragment.contextId : 0
        return this.fault(callId, contextId, named.status, named.didNotExecute, "close")
      }
      identity = named
      // A client that knows the number of a group could use its handles.
      if (named === this.unauthenticated && !security.mayUse(this.agreement.group!)) return this.deny(fragment)
    }
    const header = fragment.object === undefined ? 24 : 40
    if (header + fragment.stub.length > this.agreement.largest) return this.protocolError(callId, false)
    if (isFirst) {
      if (!this.agreement.multiplexed && this.isAwaited) return this.protocolError(callId, false)
      if ((fragment.flags & Pdu.flags.pendingCancel) !== 0) {
        return this.fault(callId, 0, status.noCallActive, true, "close")
      }
      this.openCancelled = false
      this.openIdentity = identity
    } else if (openId === undefined && security !== undefined) {
      return this.strayFragment(fragment, security)
    } else if (openId !== undefined && openId !== callId) {
      return this.agreement.multiplexed || security === undefined
        ? this.protocolError(callId, false)
        : this.fault(openId, open!.contextId, status.protocolError, false, "close")
    }
    const broken = security?.unseal(identity, fragment)
    if (broken !== undefined) {
      const { callId, contextId } = open ?? fragment
      return this.fault(callId, contextId, broken, false, "close")
    }
    if (this.arriving !== undefined) return this.arrive(this.arriving, fragment)
    if (isFirst) this.early = this.lookEarly(fragment)
    const added = this.early === undefined
      ? Pdu.assemble(this.open, fragment, this.endpoint.limits.request)
      // What is announced, and what comes behind the arguments, flows through pipes.
      : Pdu.assemble(this.open, { ...fragment, allocHint: 0 }, this.endpoint.limits.request + this.agreement.largest)
    if (added._tag === "PduError") {
      if (added.reason === "MessageTooLarge") return this.deny(this.openRequest ?? fragment)
      return this.protocolError(openId ?? callId, added.reason === "FragmentMismatch")
    }
    if (added._tag === "Assembly") {
      this.open = added
      return this.dispatchEarly(added)
    }
    this.open = undefined
    return this.dispatch(added)
  }

  /** A first fragment while a request is open. */
  private secondFirst(open: Pdu.Request, { authTrailer, callId, contextId }: Pdu.Request): Verdict {
    if (callId !== open.callId && this.agreement.multiplexed) return this.protocolError(callId, false)
    const named = authTrailer === undefined ? undefined : this.security?.identify(authTrailer)
    const isOther = named !== undefined && !("status" in named) && named !== this.openIdentity
    const code = isOther && callId === open.callId && contextId === open.contextId
      ? securityFault
      : status.protocolError
    return this.fault(open.callId, open.contextId, code, false, "close")
  }

  /** A fragment that is not the first, where no request is open. */
  private strayFragment(fragment: Pdu.Request, security: ServerSecurity): Verdict {
    const { callId, contextId } = fragment
    if (!this.agreement.multiplexed) return this.protocolError(callId, false)
    const { isKnown, status: broken } = security.unsealStray(fragment)
    if (!this.agreement.contexts.has(contextId)) {
      return broken === undefined
        ? this.fault(callId, 0, status.unknownInterface, true, "go on")
        : this.fault(callId, contextId, broken, false, "close")
    }
    return this.fault(callId, contextId, isKnown ? status.protocolError : status.accessDenied, false, "close")
  }

  // --- requests with pipes

  /** A call with in pipes runs as soon as its arguments are there, and what nobody offers is refused at once. */
  private dispatchEarly({ buffer, first, size }: Pdu.Assembly<Pdu.Request>): Verdict {
    const { early } = this
    if (early === undefined || size < early.size) return "go on"
    const stub = buffer.subarray(0, size)
    const read = early.codec?.readArgumentsBeforePipes(stub, first.littleEndian, this.endpoint.limits.elements)
    if (typeof read === "number") {
      if (read > this.endpoint.limits.request) return this.deny(first)
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
    const context = this.agreement.contexts.get(contextId)
    const client = context && this.client(context.server, this.openIdentity)
    const manager = client?.resolve(context!.interface, object)?.manager
    const operation = manager && operationOf(manager.interface, opnum)
    // Of a caller whose level does not do nothing is kept and nothing is read.
    if (
      operation === undefined || below(manager!.guard ?? unguarded, client!.usualLevel, client!.caller) !== undefined
    ) {
      return { codec: undefined, size: 0, looks: 0 }
    }
    return hasInPipes(operation.pipes) ? { codec: codecFor(context!.syntax, operation), size: 0, looks: 0 } : undefined
  }

  /** Ends the connection of a client that does what it may not. */
  private deny({ callId, contextId }: Pick<Pdu.Request, "callId" | "contextId">): Verdict {
    return this.fault(callId, contextId, status.accessDenied, false, "close")
  }

  /** The next fragment of a request whose call was dispatched already. */
  private arrive({ call, first, pipes }: Arriving, { callId, flags, littleEndian, stub }: Pdu.Request): Verdict {
    if (littleEndian !== first.littleEndian) return this.protocolError(callId, call === undefined)
    const isLast = (flags & Pdu.flags.lastFrag) !== 0
    if (isLast && this.arriving?.first === first) this.arriving = undefined
    // Bytes behind the pipes, or behind the call's end, are discarded.
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
    return this.arriving?.pipes?.hasRoom !== false && this.arriving?.decided === undefined
  }

  private get room(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.hasRoom) return Effect.void
      const { decided, pipes } = this.arriving!
      return Effect.andThen(decided === undefined ? pipes!.room : Deferred.await(decided), this.room)
    })
  }

  /** Sends the elements pushed into the out pipes of a call. */
  private startSending(call: IncomingCall, piped: ReadonlyArray<Piped>): void {
    const { callId, contextId } = call
    const { writer } = this.endpoint
    call.response = new OutgoingStub(
      writer,
      this.agreement.maxFragment,
      () => Pdu.beginResponse(writer, { callId, contextId: contextId & 0xff, cancelCount: call.cancels }),
      (following, size) => {
        this.send(following, call.identity)
        call.transferred("out", size)
      },
      call.identity.protection?.trailer
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
    const context = this.agreement.contexts.get(contextId)
    if (context === undefined) return this.fault(callId, 0, status.unknownInterface, true, "go on")
    // One id for two calls in progress: nobody could tell their replies apart.
    if (this.calls.has(callId)) return this.protocolError(callId, false)
    const call = new IncomingCall(this, context, request, this.openCancelled, this.openIdentity)
    const refusal = this.endpoint.stopping
      ? refuseLate(serverImpl(context.server), call)
      : Server.accept(context.server, call)
    if (refusal !== undefined) return this.refuseCall(call, refusal)
    const isWhole = (request.flags & Pdu.flags.lastFrag) !== 0
    if (call.read?.size !== undefined) this.startArriving(call, request, call.read.size)
    else if (call.read === undefined && !isWhole && call.serverCall.isOpen) {
      this.arriving = { first: { ...request, stub: noBytes }, call, pipes: undefined, decided: Deferred.makeUnsafe() }
    }
    return "go on"
  }

  /** A call that the server does not take in. */
  private refuseCall(call: IncomingCall, refusal: Refusal): Verdict {
    const { callId, contextId, isBelow, refused } = call
    if (refused !== undefined) return this.refuseArguments(call, refused)
    if (refusal._tag === "RpcFault" && refusal.code === status.accessDenied) {
      const ends = isBelow && this.security?.hasProtected !== true
      return this.fault(callId, contextId, status.accessDenied, false, ends ? "close" : "go on")
    }
    const code = refusal._tag === "RpcFault"
      ? refusal.code
      : refusal._tag === "ContextMismatch"
      ? status.contextMismatch
      : status.unavailable
    return this.fault(callId, contextId, sentAs(code), true, "go on")
  }

  private refuseArguments(call: IncomingCall, refused: number | "too large"): Verdict {
    if (refused === "too large") return this.deny(call)
    return this.fault(call.callId, call.contextId, sentAs(refused), refused !== status.accessDenied, "go on")
  }

  /** The server has taken a call in: its routine is about to run, or its access check takes time. */
  accepted(call: IncomingCall): void {
    this.endpoint.callsIn++
    this.calls.set(call.callId, call)
    if (call.read !== undefined) this.opened(call)
  }

  /** The arguments of an accepted call are there. */
  private opened(call: IncomingCall): void {
    call.transferred("in", call.read!.size ?? call.size)
    const outgoing = call.pipes === undefined ? [] : call.piped(false)
    if (outgoing.length > 0) this.startSending(call, outgoing)
  }

  admitted(call: IncomingCall, request: Pdu.Request): void {
    this.opened(call)
    if (call.read!.size !== undefined) this.startArriving(call, request, call.read!.size)
  }

  /** `start`: where in the stub the in pipes begin. */
  private startArriving(call: IncomingCall, request: Pdu.Request, start: number): void {
    // It may have ended already.
    if (this.calls.get(call.callId) !== call && call.serverCall.isOpen) return
    const pipes = new IncomingPipes(call.piped(true), request.littleEndian, this.endpoint.limits.elements, start)
    const arriving: Arriving = { first: { ...request, stub: noBytes }, call, pipes }
    this.decide(call, arriving)
    if ((request.flags & Pdu.flags.lastFrag) === 0) this.arriving = arriving
    this.arrive(arriving, { ...request, stub: request.stub.subarray(start) })
  }

  /** The access check of a call has ended: what arrives for the call goes on. */
  private decide(call: IncomingCall, arriving: Arriving | undefined): void {
    const { decided, first } = this.arriving?.call === call ? this.arriving : nobodyArrives
    if (decided === undefined) return
    this.arriving = arriving ?? { first: first!, call: undefined, pipes: undefined }
    Deferred.doneUnsafe(decided, Exit.void)
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
      this.decide(call, undefined)
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
    this.decide(call, undefined)
    if (this.calls.get(call.callId) === call) this.calls.delete(call.callId)
    const refused = this.answer(call, outcome)
    if (outcome._tag === "Failure" || refused !== undefined) call.dropResults()
    this.left()
    return refused
  }

  /** Why out parameters that have to wait for the pipes could not be sent then. */
  private refuseResults({ codec }: IncomingCall, results: unknown): Problem | undefined {
    return attempt((writer) => codec.writeResults(writer, results), new Pdu.Writer())
  }

  private answer(call: IncomingCall, outcome: Outcome): BadStubData | undefined {
    // Read behind an access check that took time.
    if (call.refused !== undefined) return void this.refuseArguments(call, call.refused)
    if (call.maybe) {
      call.serverCall.holding?.answered()
      return undefined
    }
    const { codec } = call
    if (outcome._tag === "Success") {
      const problem = this.respond(call, (writer) => codec.writeResults(writer, outcome.value))
      if (problem === undefined) {
        if (call.serverCall.holding?.hasMade) this.carry(call)
        return undefined
      }
      // With pipes they could be written before, but a getter may give something else each time.
      this.sendFault(call, sentAs(problem.status), false)
      return badResults(call, problem)
    }
    const error = errorOf(outcome.cause) as Abort.Error | undefined
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
      else if (error instanceof RpcTransportError && error.status === 1726) this.move("callLost")
      else if (error instanceof RpcTransportError) this.sendFault(call, error.status, true)
      else this.sendFault(call, status.cancelled, error instanceof CallCancelled && error.didNotExecute)
      return undefined
    }
    const { writeAbort } = codec
    if (writeAbort === undefined || this.respond(call, (writer) => writeAbort(writer, abort, error!)) !== undefined) {
      this.sendFault(call, abort.code, false)
    }
    return undefined
  }

  /** Sends a response, or the rest of one. Gives the reason why it can't be written. */
  private respond(call: IncomingCall, write: Write): Problem | undefined {
    const { callId, cancels: cancelCount, contextId, identity, response } = call
    const { writer } = this.endpoint
    if (response !== undefined) return response.send((writer) => attempt(write, writer), isLast)
    Pdu.beginResponse(writer, { callId, contextId: contextId & 0xff, cancelCount })
    const problem = attempt(write, writer)
    if (problem !== undefined) {
      Pdu.discardMessage(writer)
      return problem
    }
    call.transferred("out", writer.position - writer.stub)
    Pdu.endMessage(writer, this.agreement.maxFragment, identity.protection?.trailer)
    this.send(undefined, identity)
    return undefined
  }

  /** Notes a reply with new context handles, until it has left. */
  private carry(call: IncomingCall): void {
    const { carriers, outbox } = this
    while (carriers.length > 0 && carriers[0]![1] <= outbox.handedUnsafe()) carriers.shift()
    carriers.push([call, this.isClosed ? Infinity : outbox.sentUnsafe()])
  }

  /** The connection is closed: bytes that have not left were received by nobody. */
  settle(): void {
    this.outbox.stopUnsafe()
    for (const [call, end] of this.carriers) if (end > this.outbox.handedUnsafe()) call.serverCall.holding?.answered()
  }

  /** A call has left the connection, its answer is on the way. */
  private left(): void {
    if (this.calls.size > 0) return
    this.touch()
    if (this.state === State.draining) this.move("lastCallEnded")
  }

  private sendFault(
    { callId, cancels: cancelCount, contextId }: Pick<IncomingCall, "callId" | "cancels" | "contextId">,
    status: number,
    didNotExecute: boolean
  ): void {
    const flags = didNotExecute ? Pdu.flags.didNotExecute : 0
    Pdu.encodeFault(this.endpoint.writer, { callId, contextId, cancelCount, status, flags })
    this.send()
  }

  private fault(callId: number, contextId: number, status: number, didNotExecute: boolean, verdict: Verdict): Verdict {
    this.sendFault({ callId, contextId, cancels: 0 }, status, didNotExecute)
    if (verdict === "close") this.move("truncated")
    return verdict
  }

  private protocolError(callId: number, didNotExecute: boolean): Verdict {
    return this.fault(callId, 0, status.protocolError, didNotExecute, "close")
  }

  private refuse(error: Pdu.PduError): Verdict {
    const { callId, ptype, reason } = error
    const isUnaligned = reason === "Alignment"
    if (this.state === State.opening) {
      return this.refuseBind(callId, isUnaligned && ptype === Pdu.types.Bind.ptype ? 0 : 4)
    }
    // Such a fragment may belong to a call that executes already.
    const mayExecute = reason === "TooLarge" || isUnaligned && ptype === Pdu.types.Request.ptype
    return this.protocolError(callId, !mayExecute)
  }

  /** The one way out, for what the writer has; of a message in parts, with the bytes that follow it. */
  send(following?: Uint8Array, identity?: Identity): Verdict {
    const taken = this.endpoint.writer.take()
    if (this.isClosed) return "close"
    // Without a signature nothing can be said, on this message or behind it.
    if (identity?.protection?.seal(taken) === false) {
      this.move("outOfTime")
      return "close"
    }
    // A small reply that waits must not keep the large buffer alive that it was written into.
    const bytes = taken.length < worthKeeping && this.outbox.isWaitingUnsafe() ? taken.slice() : taken
    this.turnBytes -= bytes.length
    // One message may be several fragments, each with its length.
    for (let at = 0; at < bytes.length; at += bytes[at + 8]! | bytes[at + 9]! << 8) this.endpoint.packetsOut++
    if (following === undefined) this.outbox.sendUnsafe(bytes)
    else {
      this.outbox.sendPartUnsafe(bytes)
      this.outbox.sendPartUnsafe(following)
    }
    const { endpoint } = this
    if (this.countQueued() > endpoint.limits.queued && this.handedAt === Infinity) {
      endpoint.watchUntil(this.dueAt(nowOf(endpoint.clock)))
    }
    if (endpoint.queuedBytes > endpoint.limits.totalQueued) endpoint.tooManyQueued()
    return this.isClosed ? "close" : "go on"
  }

  touch(): void {
    const { clock, limits } = this.endpoint
    if (limits.idleTimeout === Infinity || this.state === State.opening) return
    this.activeAt = nowOf(clock)
    this.endpoint.watchUntil(this.activeAt + limits.idleTimeout)
  }

  /** The connection is over: its calls have lost their client. */
  end(): void {
    for (const call of this.calls.values()) {
      call.stopSending()
      call.dropResults()
    }
    this.calls.clear()
    this.callers?.forEach(({ clients }) => clients.forEach((client) => client.end()))
    this.login?.interruptUnsafe()
    if (this.security !== undefined) this.endpoint.run(this.security.end())
    this.leaveGroup()
    this.open = undefined
    this.count(false)
  }

  private leaveGroup(): void {
    const { agreement: { contexts, group }, endpoint } = this
    if (group !== undefined) endpoint.leave(group)
    this.agreement.group = undefined
    contexts.clear()
  }
}
