/**
 * A client's connection and the calls on it, from their requests to their replies.
 */
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Clock from "effect/Clock"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { Outcome, Remote, Secured } from "../../Channel.ts"
import { badInput } from "../../internal/badInput.ts"
import { cancelled, failureOf, fromWire, unavailable, unreadable } from "../../internal/failures.ts"
import type { FullOutgoing } from "../../internal/seams.ts"
import { nowOf } from "../../internal/clock.ts"
import { toHex } from "../../internal/statusTable.ts"
import { type BadStubData, RpcTransportError } from "../../Status.ts"
import { highWaterMark } from "../../transport/internal/flow.ts"
import type * as StringBinding from "../../transport/StringBinding.ts"
import type { Outbox } from "../../transport/internal/outbox.ts"
import * as Pdu from "../Pdu.ts"
import { binary, type MethodCodec } from "../TransferSyntax.ts"
import { clientTable, type Event, State } from "./connection.ts"
import type { HeldHandles } from "./heldHandles.ts"
import {
  type Bound,
  contextElement,
  type Failure,
  featuresContextId,
  keepsOnOrphan,
  largest,
  type Refusal,
  refusal,
  rejection
} from "./proposals.ts"
import { codecFor } from "./methodCodec.ts"
import type { IncomingPipes, OutgoingStub } from "./pipeStream.ts"

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

/** Logs a connection in while it binds. */
export type Securing = (
  connection: ClientConnection,
  groupId: number,
  serverEndPoint: Uint8Array | undefined
) => Effect.Effect<void, Refusal, Scope.Scope>

/** The security of a connection. Only clients that log in load what implements it. */
export interface ConnectionSecurity {
  /** The flags that its bind has beside the usual ones. */
  readonly flags: number
  /** The first message of the login, which goes with the bind. */
  readonly first: Pdu.AuthTrailer
  /** The trailer of each fragment of a request; `undefined` where messages are not protected. */
  readonly trailer: Pdu.AuthTrailer | undefined
  /** The result of the login, for the calls. */
  readonly secured: Secured | undefined
  /** Takes an answer to a message of the login. Gives a sentence where none was due. */
  take(answer: Pdu.Pdu): string | undefined
  /** Why the server does not bind, where that is the login. */
  rejected(answer: Pdu.BindNak): Refusal | undefined
  /** Completes the stub of a request. */
  complete(writer: Pdu.Writer, bound: Bound, contextId: number): void
  /** Protects requests that were written, in place. `false`: nothing more can be protected, and the connection has ended. */
  seal(bytes: Uint8Array): boolean
  /** Takes the protection off a fragment of a response. Gives a sentence where it is not protected as was agreed. */
  refuses(fragment: Pdu.Response): string | undefined
  /** The failure of calls that may have run, once a response was refused. */
  readonly failure: Failure | undefined
  /** Why a fault ends the connection; `undefined` for other faults. */
  endedBy(status: number): string | undefined
}

/** The carrier of the calls' pipes. Only clients that make such calls load it. */
export interface PipeCarrier {
  /** Sends a call: the arguments now, the pushed elements later. */
  send(
    connection: ClientConnection,
    sent: SentCall,
    fields: Parameters<typeof Pdu.beginRequest>[1]
  ): BadStubData | undefined
  /** Takes a fragment of a response in which pipes go in front of the out parameters. */
  arrive(connection: ClientConnection, sent: SentCall, fragment: Pdu.Response): string | undefined
}

/** A binding, as its calls see it. */
export interface Caller {
  readonly bound: Bound
  readonly object: string | undefined
  readonly isOpen: boolean
}

export interface Limits {
  readonly maximumQueued: number
  readonly maximumResponse: number
  readonly maximumElements: number
  // In milliseconds.
  readonly callTimeout: number
  readonly keepAlive: number
}

/** The pool of a connection, as the connection sees it. */
export interface Owner {
  readonly limits: Limits
  readonly clock: Clock.Clock
  /** The calls and proposals of the association so far. */
  readonly lastCall: number
  readonly handles: HeldHandles<ClientConnection>
  /** The connections that new calls without pipes may use. */
  readonly usable: number
  /** The connections that keep the association alive. */
  readonly kept: number
  /** Whether the last connection is kept though nobody uses it: for ever, and now. */
  readonly lasting: boolean
  readonly isKept: boolean
  /** There as soon as a call with pipes is sent. */
  readonly pipes: PipeCarrier | undefined
  /** The next number for a call, which is not in use on the connection. */
  nextCallId(connection: ClientConnection): number
  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E>
  /** Sends a call of a lost connection once more. */
  resend(sent: SentCall, error: Failure): void
  /** A call, room, an interface or a state of a connection has changed: waiting calls may go on. */
  changed(): void
  /** The server does not serve an interface on the connection. */
  refused(bound: Bound, failure: Failure): void
  /** The connection has ended, in order or not. Its calls are not lost yet. */
  ended(connection: ClientConnection, inOrder: boolean): void
  /** Whether the server still answers, on another connection. */
  probe(connection: ClientConnection): Effect.Effect<boolean>
}

// ----------------------------------------------------------------------------
// a call
// ----------------------------------------------------------------------------

const failed = (detail: string): RpcTransportError => new RpcTransportError({ status: 1726, detail })

/** A call on a connection, from its request to its reply. */
export class SentCall implements Remote {
  readonly dispatched = true
  readonly cancelDisabled = false
  readonly connection: ClientConnection
  readonly caller: Caller
  readonly call: FullOutgoing
  readonly callId: number
  /** Its presentation context. */
  readonly contextId: number
  /** Counts the calls of the association, in the order in which they are sent. */
  readonly order: number
  readonly codec: MethodCodec
  readonly input: unknown
  /** The same call on a connection that was lost. */
  readonly earlier: SentCall | undefined
  /** When it has to be over, in monotonic milliseconds. */
  readonly deadline: number
  /** Output offsets: the start of its request, and the end of the bytes needed to run it, in front of the pipes. */
  begin: number = Infinity
  end: number = Infinity
  declare cancelled: boolean
  /** Its connection was lost when something of the request may have left. */
  declare mayHaveBegun: boolean
  /** Its connection was lost when the server may have had all that it takes to run it. */
  declare mayHaveRun: boolean
  /** The response of which not all fragments have arrived. */
  declare open: Pdu.Assembly<Pdu.Response> | undefined
  /** Its request, where that is sent part by part. */
  declare request: OutgoingStub | undefined
  /** Sends the elements pushed into its in pipes, until the pipes end. */
  declare sending: Fiber.Fiber<unknown, unknown> | undefined
  /** The bytes that have arrived for its out pipes, and behind them. */
  declare arriving: IncomingPipes | undefined

  constructor(
    connection: ClientConnection,
    caller: Caller,
    call: FullOutgoing,
    { callId, contextId }: Pick<Pdu.Request, "callId" | "contextId">,
    codec: MethodCodec,
    input: unknown,
    earlier: SentCall | undefined
  ) {
    this.connection = connection
    this.caller = caller
    this.call = call
    this.callId = callId
    this.contextId = contextId
    this.order = connection.owner.lastCall
    this.codec = codec
    this.input = input
    this.earlier = earlier
    this.deadline = earlier?.deadline ?? connection.deadline
  }

  /** Gives whether some of the request was still to be sent. */
  stopSending(): boolean {
    const { request, sending } = this
    if (request === undefined || request.isWhole) return false
    request.isCut = true
    this.sending = undefined
    sending?.interruptUnsafe()
    return true
  }

  cancel(): void {
    this.connection.sendCancel(this)
  }

  discard(): void {
    this.connection.giveUp(this)
  }

  goOn(): void {
    // The connection is kept until the reply, which finds no waiting client.
  }

  orphan(): void {
    // Where the server can't be told that nobody waits, it is told to stop at least.
    if (!this.connection.giveUp(this)) this.connection.sendCancel(this)
  }

  /** The connection was lost. The call is sent once more if it did not run or may run twice; otherwise this gives its failure. */
  lose(detail: string): Failure | undefined {
    const { caller, connection: { outbox, owner, security }, earlier } = this
    const handed = outbox.isStoppedUnsafe() ? outbox.handedUnsafe() : Infinity
    this.mayHaveBegun = earlier?.mayHaveBegun === true || handed > this.begin
    this.mayHaveRun = earlier?.mayHaveRun === true || handed >= this.end
    const error = this.mayHaveRun && security?.failure ||
      new RpcTransportError({ status: this.mayHaveRun ? 1726 : this.mayHaveBegun ? 1727 : 1722, detail })
    this.stopSending()
    // Elements that went through a pipe are gone.
    const again = earlier === undefined && !this.cancelled && caller.isOpen && this.call.pipes === undefined &&
      (!this.mayHaveRun || this.call.operation.method.idempotent)
    if (!again) return error
    owner.resend(this, error)
    return undefined
  }
}

// Few calls have these, so an object has them only when they are set.
Object.assign(SentCall.prototype, { cancelled: false, mayHaveBegun: false, mayHaveRun: false })

// ----------------------------------------------------------------------------
// a connection
// ----------------------------------------------------------------------------

export class ClientConnection {
  readonly owner: Owner
  readonly outbox: Outbox
  /** Where the server is. */
  readonly address: StringBinding.StringBinding
  /** The interface that was bound first. */
  readonly first: Bound
  /** Whether it is for calls with pipes, one at a time. */
  readonly forPipes: boolean
  readonly scope: Scope.Closeable
  readonly writer: Pdu.Writer = new Pdu.Writer()
  readonly calls: Map<number, SentCall> = new Map()
  /** The numbers of the presentation contexts that the server has accepted, by the key of their interfaces. */
  readonly contexts: Map<string, number> = new Map()
  /** The proposals of presentation contexts that await an answer, by call id. */
  readonly proposals: Map<number, Proposal> = new Map()
  /** Since when a proposal of a new interface awaits an answer, behind which the server may leave everything else. */
  proposedAt: number = Infinity
  /** No other connection can be had: calls are sent behind a proposal. */
  isOnlyOne = false
  /** Done when the bind was answered, and what arrived with the answer was read. */
  readonly opened: Deferred.Deferred<void, Refusal> = Deferred.makeUnsafe()
  state: State = State.opening
  multiplexed = false
  keepsOnOrphan = false
  maxFragment: number = largest
  groupId = 0
  security: ConnectionSecurity | undefined = undefined
  /** The reason of a bind_nak. */
  rejectReason: number | undefined = undefined
  /** Something has arrived since the server was last looked after. */
  private heard = false
  /** For how many quarters of `keepAlive` the server has been silent while something is owed. */
  private quiet = 0
  /** A call was sent since it was last looked whether the connection is idle. */
  used = false
  private awaitsRoom = false
  /** Ends the calls that take too long, while there are any. */
  private expiring: Fiber.Fiber<void> | undefined = undefined
  /** Looks after the server, while that owes something. */
  private looking: Fiber.Fiber<void> | undefined = undefined

  constructor(
    owner: Owner,
    scope: Scope.Closeable,
    outbox: Outbox,
    address: StringBinding.StringBinding,
    first: Bound,
    forPipes: boolean
  ) {
    this.owner = owner
    this.scope = scope
    this.outbox = outbox
    this.address = address
    this.first = first
    this.forPipes = forPipes
  }

  // --- its life

  /** Something happens to the connection. The detail says what its calls are told where that ends it. */
  move(event: Event, detail: string = details[event] ?? "the connection was closed"): void {
    const next = clientTable[this.state]!.next[event]
    if (next === undefined) return
    const wasOpening = this.state === State.opening
    this.state = next
    if (next === State.closed) this.end(detail, inOrder.has(event))
    else if (next !== State.open) this.released()
    if (wasOpening && next === State.closed) {
      Deferred.doneUnsafe(this.opened, Exit.fail({ failure: unavailable(detail), reach: "server" }))
    }
  }

  get isClosed(): boolean {
    return this.state === State.closed
  }

  /** Whether new calls may use it. */
  get takesCalls(): boolean {
    return clientTable[this.state]!.takesCalls
  }

  /** Whether the server keeps the handles of its group for as long as it lasts. */
  get keeps(): boolean {
    return this.state === State.open || this.state === State.draining || this.state === State.lingering
  }

  /** Whether a new connection can join its group: the server is not about to close it. */
  get isJoinable(): boolean {
    return this.state === State.open || this.keeps && this.owner.handles.areIn(this.groupId)
  }

  /** A call or a handle is off the connection: the next may use it, or it is of no more use. */
  released(): void {
    if (this.calls.size === 0) this.move("lastCallEnded")
    if (this.state === State.lingering && !this.owner.handles.need(this)) this.move("lastHandleGone")
    this.owner.changed()
  }

  /** The connection is over, and the calls on it are lost. */
  private end(detail: string, isInOrder: boolean): void {
    // Before it is known what has not left, and is perhaps sent elsewhere.
    if (!isInOrder) this.outbox.stopUnsafe()
    this.stopExpiring()
    this.looking?.interruptUnsafe()
    this.owner.ended(this, isInOrder)
    const sent = [...this.calls.values()]
    this.calls.clear()
    // Calls that are sent again come first: a caller told of a failure may call anew.
    const errors = sent.map((sent) => sent.lose(detail))
    sent.forEach(({ call }, index) => {
      if (errors[index] !== undefined) call.reply(Exit.fail(errors[index]))
    })
    const proposals = [...this.proposals.values()]
    this.proposals.clear()
    for (const { bound, isQuestion } of proposals) {
      if (!isQuestion) this.owner.refused(bound, unavailable(detail))
    }
    this.owner.changed()
  }

  /** Nothing can be sent any more. What has arrived may still answer the calls. */
  cutOff(): void {
    this.move("writeFailed")
    if (this.state === State.leaving) {
      this.owner.fork(Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => this.move("closedByPeer"))))
    }
  }

  // --- calls

  get deadline(): number {
    const { clock, limits: { callTimeout } } = this.owner
    return callTimeout === Infinity ? Infinity : nowOf(clock) + callTimeout
  }

  /** Whether a call can be sent now. */
  get isFree(): boolean {
    return this.takesCalls && (this.calls.size === 0 || this.multiplexed && !this.forPipes)
  }

  get hasRoom(): boolean {
    return this.outbox.queuedUnsafe() < this.owner.limits.maximumQueued
  }

  /** Tells the owner when there is room to send. */
  awaitRoom(): void {
    if (this.awaitsRoom) return
    this.awaitsRoom = true
    const { drained, room } = this.outbox
    // The outbox calls its high-water mark room, which may be more than was asked for.
    const awaiting = this.owner.fork(Effect.exit(this.owner.limits.maximumQueued < highWaterMark ? drained : room))
    awaiting.addObserver((exit) => {
      // Without room for ever: the connection itself tells that it can't be written, and would be asked again until then.
      if (exit._tag === "Success" && exit.value._tag === "Failure") return
      this.awaitsRoom = false
      this.owner.changed()
    })
  }

  send(caller: Caller, call: FullOutgoing, input: unknown, earlier?: SentCall): BadStubData | undefined {
    const { method, opnum } = call.operation
    const { key, syntax } = caller.bound
    const codec = codecFor(syntax, call.operation)
    const callId = this.owner.nextCallId(this)
    const contextId = this.contexts.get(key)!
    const fields = { callId, contextId, opnum, object: caller.object, flags: method.maybe ? Pdu.flags.maybe : 0 }
    const { security } = this
    if (security?.secured !== undefined) call.secured = security.secured
    if (call.pipes !== undefined) {
      const sent = new SentCall(this, caller, call, fields, codec, input, undefined)
      return this.owner.pipes!.send(this, sent, fields)
    }
    Pdu.beginRequest(this.writer, fields)
    const problem = codec.writeArguments(this.writer, input, call.span)
    if (problem !== undefined) {
      Pdu.discardMessage(this.writer)
      return badInput(problem.problem)
    }
    const size = this.writer.position - this.writer.stub
    security?.complete(this.writer, caller.bound, contextId)
    Pdu.endMessage(this.writer, this.maxFragment, security?.trailer)
    const sent = new SentCall(this, caller, call, fields, codec, input, earlier)
    call.remote = sent
    if (!method.maybe) this.calls.set(callId, sent)
    if (earlier !== undefined) this.stopExpiring()
    this.used = true
    sent.begin = this.outbox.sentUnsafe()
    this.flush()
    sent.end = this.outbox.sentUnsafe()
    call.transferred("out", size)
    return undefined
  }

  sendCancel(sent: SentCall): void {
    if (this.isClosed || sent.cancelled) return
    sent.cancelled = true
    if (sent.stopSending()) this.move("truncated")
    Pdu.encodeCoCancel(this.writer, { callId: sent.callId })
    this.flush()
  }

  /** Nobody waits for the reply any more. Gives whether the server was told so. */
  giveUp(sent: SentCall): boolean {
    if (this.isClosed || this.calls.get(sent.callId) !== sent) return true
    this.calls.delete(sent.callId)
    sent.stopSending()
    // Without that agreement an orphan costs the connection, so it is sent only where that costs no other call.
    const orphans = this.keepsOnOrphan || this.calls.size === 0
    if (orphans) {
      Pdu.encodeOrphaned(this.writer, { callId: sent.callId })
      this.flush()
    }
    // No call waits behind the rest of a response with pipes: that call ends with its connection.
    if (sent.call.pipes !== undefined || orphans && !this.keepsOnOrphan) this.move("orphaned")
    this.released()
    return orphans
  }

  /** Ends the calls of a binding. */
  endCallsOf(caller: Caller): void {
    for (const sent of [...this.calls.values()]) {
      if (sent.caller !== caller) continue
      sent.orphan()
      sent.call.reply(Exit.fail(failed("the binding was closed while the call was in progress")))
    }
  }

  /** The one way out, for what the writer has; of a message in parts, with the bytes that follow it. */
  flush(following?: Uint8Array): void {
    const bytes = this.writer.take()
    if (this.security?.seal(bytes) === false) return
    if (following === undefined) this.outbox.sendUnsafe(bytes)
    else {
      this.outbox.sendPartUnsafe(bytes)
      this.outbox.sendPartUnsafe(following)
    }
    this.watch()
  }

  /** The one way in, before calls are told apart. Gives a sentence when the server broke the protocol. */
  receive(pdu: Pdu.Pdu | Pdu.PduError): string | undefined {
    this.heard = true
    if (this.state === State.opening) return this.answered(pdu)
    switch (pdu._tag) {
      case "PduError":
        return pdu.message
      case "AlterContextResponse":
        return this.altered(pdu)
      case "Response":
        return this.respond(pdu)
      case "Fault":
        return this.fail(pdu)
      case "Shutdown":
        this.move("shutdownHeard")
        return undefined
      default:
        return `the server sent ${pdu._tag}, which has no place on a bound connection`
    }
  }

  private respond(fragment: Pdu.Response): string | undefined {
    // Also for a call that was given up: each message counts.
    const problem = this.security?.refuses(fragment)
    if (problem !== undefined) return problem
    const sent = this.calls.get(fragment.callId)
    // A reply to a call that was given up.
    if (sent === undefined) return undefined
    if (fragment.contextId !== sent.contextId) {
      return `a response in presentation context ${fragment.contextId}`
    }
    sent.call.transferred("in", fragment.stub.length)
    if (sent.call.pipes !== undefined) return this.owner.pipes!.arrive(this, sent, fragment)
    const added = Pdu.assemble(sent.open, fragment, this.owner.limits.maximumResponse)
    if (added._tag === "PduError") {
      if (added.reason !== "MessageTooLarge") return added.message
      this.failHere(sent, this.tooLarge, (fragment.flags & Pdu.flags.lastFrag) !== 0)
      return undefined
    }
    if (added._tag === "Assembly") {
      sent.open = added
      return undefined
    }
    const read = sent.codec.readResults(added.stub, added.littleEndian, this.owner.limits.maximumElements)
    this.complete(sent, "problem" in read ? Exit.fail(unreadable(read.problem)) : read.value)
    return undefined
  }

  get tooLarge(): RpcTransportError {
    const { maximumResponse } = this.owner.limits
    return failed(
      `the response was discarded: it is larger than maximumResponse, expected at most ${maximumResponse} bytes`
    )
  }

  /** The client can't go on with a call: that ends, and the server is told unless it has sent the whole response. */
  failHere(sent: SentCall, error: RpcTransportError, isAnswered: boolean): void {
    if (isAnswered) return this.complete(sent, Exit.fail(error))
    this.giveUp(sent)
    sent.call.reply(Exit.fail(error))
  }

  /** Whether the reader of the pipe that arrives keeps up. */
  get keepsUp(): boolean {
    return this.piping?.arriving?.hasRoom !== false
  }

  readonly room: Effect.Effect<void> = Effect.suspend(() =>
    this.keepsUp ? Effect.void : Effect.andThen(this.piping!.arriving!.room, this.room)
  )

  /** The one call of a connection for pipes. */
  private get piping(): SentCall | undefined {
    if (!this.forPipes) return undefined
    for (const sent of this.calls.values()) return sent
    return undefined
  }

  private fail({ callId, flags, status }: Pdu.Fault): string | undefined {
    const problem = this.security?.endedBy(status)
    const proposal = this.proposals.get(callId)
    if (proposal !== undefined) {
      const { name } = proposal.bound.interface
      this.settle(
        callId,
        unavailable(`the server answered the proposal of ${name} with fault ${toHex(status)}`)
      )
      return problem
    }
    const sent = this.calls.get(callId)
    if (sent === undefined) return problem
    const didNotExecute = (flags & Pdu.flags.didNotExecute) !== 0
    const fault = fromWire(status, didNotExecute && sent.earlier?.mayHaveRun !== true)
    this.complete(sent, Exit.fail(failureOf(sent.call.operation, fault)))
    return problem
  }

  complete(sent: SentCall, outcome: Outcome): void {
    const { handlesOut } = sent.call.operation
    const kept = handlesOut === undefined
      ? outcome
      : this.owner.handles.receive(this, sent.call.operation, sent.input, outcome)
    this.calls.delete(sent.callId)
    // A request that ends in the middle is not continued by another.
    if (sent.stopSending()) this.move("truncated")
    if (this.calls.size === 0 || !this.multiplexed) this.released()
    sent.call.reply(kept)
  }

  // --- one more interface

  /** Whether an interface was proposed, and the server has not answered. */
  awaits({ key }: Bound): boolean {
    for (const { bound, isQuestion } of this.proposals.values()) if (bound.key === key && !isQuestion) return true
    return false
  }

  /** Whether calls wait until a proposal is answered, or for another connection. */
  get isHeld(): boolean {
    return this.proposedAt !== Infinity && !this.isOnlyOne
  }

  /** Proposes one more interface. Gives `false` where the connection has no number left for it. */
  propose(bound: Bound): boolean {
    const contextId = this.freeContextId()
    if (contextId === undefined) {
      this.move("exhausted")
      return false
    }
    this.sendProposal(bound, contextId, false)
    if (this.proposedAt === Infinity) this.proposedAt = nowOf(this.owner.clock)
    return true
  }

  private freeContextId(): number | undefined {
    const used = new Set(this.contexts.values())
    for (const { contextId } of this.proposals.values()) used.add(contextId)
    for (let id = 0; id < featuresContextId; id++) if (!used.has(id)) return id
    return undefined
  }

  private sendProposal(bound: Bound, contextId: number, isQuestion: boolean): void {
    const callId = this.owner.nextCallId(this)
    this.proposals.set(callId, { bound, contextId, isQuestion })
    const size = Math.max(this.maxFragment, bound.syntax.maxFragment)
    Pdu.encodeAlterContext(this.writer, {
      callId,
      maxXmitFrag: size,
      maxRecvFrag: size,
      assocGroupId: this.groupId,
      contextElements: [contextElement(bound, contextId)]
    })
    this.flush()
  }

  private altered({ callId, maxRecvFrag, results }: Pdu.AlterContextResponse): string | undefined {
    const proposal = this.proposals.get(callId)
    if (proposal === undefined) return "an answer to an alter_context that was not sent"
    const [result] = results
    if (result === undefined || results.length > 1) {
      return `an answer about ${results.length} presentation contexts, 1 was proposed`
    }
    const { bound, contextId } = proposal
    const refused = refusal(bound, result)
    if (refused === undefined) {
      this.contexts.set(bound.key, contextId)
      // Where both sides have chosen Callisto's own syntax the fragments may be larger from now on.
      if (bound.syntax === binary) this.maxFragment = Math.max(this.maxFragment, Math.min(maxRecvFrag, largest))
    }
    this.settle(callId, refused)
    return undefined
  }

  private settle(callId: number, failure: Failure | undefined): void {
    const { bound, isQuestion } = this.proposals.get(callId)!
    this.proposals.delete(callId)
    if ([...this.proposals.values()].every(({ isQuestion }) => isQuestion)) {
      this.proposedAt = Infinity
      this.isOnlyOne = false
    }
    if (failure !== undefined && !isQuestion) this.owner.refused(bound, failure)
    this.owner.changed()
  }

  // --- the bind

  /** Proposes the first interface, and to join a group; 0 begins one. A login may begin with it. */
  bind(groupId: number, security?: ConnectionSecurity): void {
    const { first, owner } = this
    this.security = security
    const { maxFragment: size } = first.syntax
    Pdu.encodeBind(this.writer, {
      callId: owner.nextCallId(this),
      flags: Pdu.flags.concMpx | (security?.flags ?? 0),
      maxXmitFrag: size,
      maxRecvFrag: size,
      assocGroupId: groupId,
      contextElements: [contextElement(first, 0), contextElement(first, featuresContextId)],
      authTrailer: security?.first
    })
    this.flush()
  }

  /** Tells who opens the connection that all that has arrived was read. */
  announce(): void {
    if (this.state !== State.opening) Deferred.doneUnsafe(this.opened, Exit.void)
  }

  /** The answer to the bind. */
  private answered(answer: Pdu.Pdu | Pdu.PduError): string | undefined {
    const { first, security } = this
    if (answer._tag === "PduError") return this.refuse(`the server's answer to the bind was ${answer.message}`)
    if (answer._tag === "Shutdown") return this.refuse("the server shut down while the connection was bound")
    if (security !== undefined && this.contexts.size > 0) return security.take(answer)
    if (answer._tag === "BindNak") {
      this.rejectReason = answer.rejectReason
      const rejected = security?.rejected(answer)
      if (rejected !== undefined) return this.failOpening(rejected)
      return this.refuse(`the server refused to bind: ${rejection(answer)}`)
    }
    if (answer._tag !== "BindAck") return this.refuse(`the server answered the bind with ${answer._tag}`)
    const [accepted, featureResult] = answer.results
    if (accepted === undefined || featureResult === undefined || answer.results.length > 2) {
      return this.refuse(`the server answered ${answer.results.length} presentation contexts, 2 were proposed`)
    }
    const refused = refusal(first, accepted)
    if (refused !== undefined) return this.failOpening({ failure: refused, reach: "interface" })
    if (answer.maxRecvFrag < Pdu.minFragment) {
      return this.refuse(
        `the server receives ${answer.maxRecvFrag} bytes at a time, which the protocol does not allow`
      )
    }
    this.multiplexed = (answer.flags & Pdu.flags.concMpx) !== 0
    this.keepsOnOrphan = keepsOnOrphan(featureResult)
    this.maxFragment = Math.min(answer.maxRecvFrag, first.syntax.maxFragment)
    this.groupId = answer.assocGroupId
    this.contexts.set(first.key, 0)
    if (security !== undefined) return security.take(answer)
    this.move("agreed")
    return undefined
  }

  private failOpening(refusal: Refusal): undefined {
    Deferred.doneUnsafe(this.opened, Exit.fail(refusal))
    this.move("refused")
  }

  private refuse(detail: string): undefined {
    this.move("refused", detail)
  }

  // --- from time to time

  /** Closes a connection that is of no use any more. */
  tend(): Effect.Effect<void> {
    const stays = this.owner.lasting && this.multiplexed && !this.forPipes
    return stays ? Effect.void : every(idleTime, Effect.sync(() => this.closeIdle()))
  }

  /** Begins to watch the time, where something is owed and it is not watched. */
  watch(): void {
    if (this.state === State.opening || this.state === State.closed) return
    const { callTimeout, keepAlive } = this.owner.limits
    // Not in the middle of sending: a call that is sent once more may be due already.
    const expiring = Effect.andThen(Effect.yieldNow, this.expire)
    if (callTimeout !== Infinity && this.calls.size > 0) this.expiring ??= this.owner.fork(expiring)
    if (keepAlive === Infinity || this.looking !== undefined) return
    // Its silence begins no sooner than now.
    this.heard = true
    this.looking = this.owner.fork(this.lookEvery(keepAlive / 4))
  }

  /** It begins anew with a call that was sent once more: that one may be due before those in front of it. */
  private stopExpiring(): void {
    this.expiring?.interruptUnsafe()
    this.expiring = undefined
  }

  /** Cancels what takes too long, until no call is left. */
  private readonly expire: Effect.Effect<void> = Effect.suspend(() => {
    const now = nowOf(this.owner.clock)
    for (const sent of [...this.calls.values()]) {
      if (sent.deadline > now || this.calls.get(sent.callId) !== sent) continue
      // The server first: a fiber woken by the completion may close the connection.
      this.sendCancel(sent)
      this.giveUp(sent)
      sent.call.reply(Exit.fail(cancelled(false)))
    }
    // The ended call may have let others begin.
    let next = Infinity
    for (const { deadline } of this.calls.values()) next = Math.min(next, deadline)
    if (next < Infinity) return Effect.andThen(Effect.sleep(Math.max(0, next - now)), this.expire)
    this.expiring = undefined
    return Effect.void
  })

  private closeIdle(): void {
    const { handles, isKept, kept, usable } = this.owner
    const isLast = (this.forPipes ? kept : usable) <= 1
    const isIdle = !this.used && this.isFree && this.calls.size === 0 && this.proposals.size === 0
    if (isIdle && !(isLast && (isKept || handles.areIn(this.groupId)))) this.move("idle")
    this.used = false
  }

  /**
   * Looks after the server, four times in the time that it may be silent. After that time it is asked, and a quarter later the connection
   * is lost. It ends when nothing is owed.
   */
  private lookEvery(timeout: number): Effect.Effect<void> {
    const next: Effect.Effect<void> = Effect.suspend(() => {
      if (this.isOwed) return Effect.andThen(this.look(timeout), wait)
      this.looking = undefined
      return Effect.void
    })
    const wait = Effect.andThen(Effect.sleep(timeout), next)
    return wait
  }

  private get isOwed(): boolean {
    return this.calls.size > 0 || this.proposals.size > 0 || this.outbox.queuedUnsafe() > 0
  }

  private look(timeout: number): Effect.Effect<void> {
    this.quiet = this.heard ? 0 : this.quiet + 1
    this.heard = false
    if (this.quiet < 4) return Effect.void
    if (this.quiet > 4) {
      return Effect.map(turns(() => this.heard), () => {
        if (!this.heard) this.move("silent")
      })
    }
    // A question would wait behind what the server does not read, or be a second call at a time.
    if (this.multiplexed && !this.forPipes && this.outbox.queuedUnsafe() === 0) {
      return Effect.sync(() => this.sendProposal(this.first, 0, true))
    }
    const inTime = Effect.andThen(Effect.sleep(timeout), Effect.as(turns(() => false), false))
    return Effect.map(Effect.raceFirst(this.owner.probe(this), inTime), (isAnswered) => {
      this.quiet = 0
      if (!isAnswered) this.move("silent")
    })
  }
}

/**
 * Lets the event loop turn until something holds, a few times. Where the clock has jumped, as when the machine slept, an answer may have
 * arrived that nobody has read yet.
 */
const turns = (isDone: () => boolean, left = 100): Effect.Effect<void> =>
  Effect.flatMap(Effect.yieldNow, () => isDone() || left === 0 ? Effect.void : turns(isDone, left - 1))

/** The failure of the calls on a connection that an event ends. */
const details: { readonly [E in Event]?: string } = {
  closedByPeer: "the connection was lost",
  writeFailed: "the connection was lost",
  silent: "the server was silent for longer than keepAlive, and gave no answer when it was asked for one"
}

/** The events after which the last bytes still leave. */
const inOrder: ReadonlySet<Event> = new Set<Event>(["lastCallEnded", "lastHandleGone", "idle", "shutdownAsked"])

/** A presentation context that was proposed for an interface. */
export interface Proposal {
  readonly bound: Bound
  readonly contextId: number
  /** It was accepted before, and only asks whether the server is there. */
  readonly isQuestion: boolean
}

/** How long a connection of a pool may be unused. */
const idleTime = "10 seconds"

const every = (duration: Duration.Input, chore: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.forever(Effect.andThen(Effect.sleep(duration), chore))
