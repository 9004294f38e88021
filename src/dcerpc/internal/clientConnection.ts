/**
 * A client's connection and the calls on it, from their requests to their replies.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import type { Outcome, Remote } from "../../Channel.ts"
import type { Interface } from "../../Interface.ts"
import { bufferOf } from "../../internal/chunkBuffer.ts"
import { cancelled, failureOf, fromWire } from "../../internal/failures.ts"
import type { FullOutgoing } from "../../internal/seams.ts"
import { toHex } from "../../internal/statusTable.ts"
import {
  BadStubData,
  type EndpointNotRegistered,
  PipeDisciplineError,
  RpcFault,
  RpcTransportError,
  UnknownInterface
} from "../../Status.ts"
import { highWaterMark } from "../../transport/internal/flow.ts"
import type { Outbox } from "../../transport/internal/outbox.ts"
import * as Pdu from "../Pdu.ts"
import { binary, type MethodCodec, type Problem, type TransferSyntax } from "../TransferSyntax.ts"
import type { HeldHandles } from "./heldHandles.ts"
import { IncomingPipes, OutgoingStub, type Piped, sendPipes } from "./pipeStream.ts"

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

/** The reason why no connection can be had for an interface. */
export type Failure = RpcTransportError | UnknownInterface | EndpointNotRegistered

/** An interface that a binding of the association calls, and how its values travel. */
export interface Bound {
  readonly interface: Interface.Any
  readonly syntax: TransferSyntax
  /** Its presentation context on each connection that has it. */
  readonly contextId: number
}

/** A binding, as its calls see it. */
export interface Caller {
  readonly bound: Bound
  readonly object: string | undefined
  readonly isOpen: boolean
}

/** The pool of a connection, as the connection sees it. */
export interface Owner {
  readonly maximumQueued: number
  readonly maximumResponse: number
  // In milliseconds.
  readonly connectTimeout: number
  readonly callTimeout: number
  readonly keepAlive: number
  readonly handles: HeldHandles<ClientConnection>
  /** The connections that new calls without pipes may use. */
  readonly usable: number
  /** The connections that keep the association alive. */
  readonly kept: number
  nextCallId(): number
  /** When a call that begins now has to be over. */
  deadline(): number
  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E>
  /** Sends a call of a lost connection once more. */
  resend(sent: SentCall, error: RpcTransportError): void
  /** A connection has become free, or one more may be made. */
  changed(): void
  /** The connection has ended. */
  forget(connection: ClientConnection): void
  /** Closes a connection without calls, when its last bytes have left. */
  close(connection: ClientConnection): void
  /** Ends a connection without waiting for anything. */
  abandon(connection: ClientConnection, detail: string): void
  /** Ends a connection after a second, in which replies may still arrive. */
  abandonSoon(connection: ClientConnection, detail: string): void
}

// ----------------------------------------------------------------------------
// a call
// ----------------------------------------------------------------------------

export const transportError = (status: RpcTransportError["status"], detail: string): RpcTransportError =>
  new RpcTransportError({ status, detail })

/** A call on a connection, from its request to its reply. */
export class SentCall implements Remote {
  readonly dispatched = true
  readonly cancelDisabled = false
  readonly connection: ClientConnection
  readonly caller: Caller
  readonly call: FullOutgoing
  readonly callId: number
  readonly codec: MethodCodec
  readonly input: unknown
  /** The same call on a connection that was lost. */
  readonly earlier: SentCall | undefined
  /** When it has to be over, in milliseconds of the clock. */
  readonly deadline: number
  /** Where its request begins in what was sent on the connection, and where what it takes to run it ends: all in front of the pipes. */
  begin = 0
  end = 0
  cancelled = false
  /** Its connection was lost when something of the request may have left. */
  mayHaveBegun = false
  /** Its connection was lost when the server may have had all that it takes to run it. */
  mayHaveRun = false
  /** The response of which not all fragments have arrived. */
  open: Pdu.Assembly<Pdu.Response> | undefined = undefined
  /** Its request, where that is sent part by part. */
  request: OutgoingStub | undefined = undefined
  /** Sends what is pushed into its in pipes, until they are through. */
  sending: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** What has arrived for its out pipes, and behind them. */
  arriving: IncomingPipes | undefined = undefined

  constructor(
    connection: ClientConnection,
    caller: Caller,
    call: FullOutgoing,
    callId: number,
    codec: MethodCodec,
    input: unknown,
    earlier: SentCall | undefined
  ) {
    this.connection = connection
    this.caller = caller
    this.call = call
    this.callId = callId
    this.codec = codec
    this.input = input
    this.earlier = earlier
    this.deadline = earlier?.deadline ?? connection.owner.deadline()
  }

  /** Its pipes in one direction. */
  piped(isIn: boolean): ReadonlyArray<Piped> {
    const { operation: { pipes = [] }, pipes: ends } = this.call
    return pipes.flatMap((pipe, index) =>
      pipe.isIn === isIn ? [{ codec: this.codec.pipes[index]!, buffer: bufferOf(ends!.slots[index]!) }] : []
    )
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

  /** The connection was lost: what certainly did not run, and what may run twice, is sent once more. */
  lose(detail: string): void {
    const { caller, connection: { owner, outbox }, earlier } = this
    const handed = outbox.isStoppedUnsafe() ? outbox.handedUnsafe() : Infinity
    this.mayHaveBegun = earlier?.mayHaveBegun === true || handed > this.begin
    this.mayHaveRun = earlier?.mayHaveRun === true || handed >= this.end
    const error = transportError(this.mayHaveRun ? 1726 : this.mayHaveBegun ? 1727 : 1722, detail)
    this.stopSending()
    // What went through a pipe is not there any more.
    const again = earlier === undefined && !this.cancelled && caller.isOpen && this.call.pipes === undefined &&
      (!this.mayHaveRun || this.call.operation.method.idempotent)
    if (again) owner.resend(this, error)
    else this.call.reply(Exit.fail(error))
  }
}

// ----------------------------------------------------------------------------
// a connection
// ----------------------------------------------------------------------------

// The last eight bytes are the features that the client asks for: to keep the connection when a call is orphaned.
const features: Pdu.SyntaxId = { uuid: "6cb71c2c-9812-4540-0200-000000000000", major: 1, minor: 0 }
const keepConnectionOnOrphan = 2
const negotiateAck = 3
export const largest: number = binary.maxFragment
// The proposal of the features is a presentation context without an interface.
const featuresContextId = 255

export class ClientConnection {
  readonly owner: Owner
  readonly outbox: Outbox
  readonly writer: Pdu.Writer = new Pdu.Writer()
  readonly calls: Map<number, SentCall> = new Map()
  /** The interfaces that have a presentation context here. */
  readonly contexts: Set<Bound> = new Set()
  /** The proposals of presentation contexts that await an answer, by call id. */
  readonly proposals: Map<number, Proposal> = new Map()
  readonly multiplexed: boolean
  readonly keepsOnOrphan: boolean
  maxFragment: number
  readonly groupId: number
  readonly scope: Scope.Closeable
  /** Something has arrived since the server was last looked after. */
  heard = false
  /** A call was sent since it was last looked whether the connection is idle. */
  used = false
  /** The server was asked whether it is there. */
  asked = false
  /** Whether it is for calls with pipes, one at a time. */
  readonly forPipes: boolean
  /** No new call may use it: the server shuts down, a call was orphaned on it, or it can't be written. */
  retired: boolean
  /** A call has cost it, which was orphaned, or whose request ends in the middle. */
  spent = false
  ended = false

  constructor(
    owner: Owner,
    scope: Scope.Closeable,
    outbox: Outbox,
    bound: Bound,
    forPipes: boolean,
    agreed: Agreed
  ) {
    this.owner = owner
    this.scope = scope
    this.outbox = outbox
    this.retired = outbox.isStoppedUnsafe()
    this.contexts.add(bound)
    this.forPipes = forPipes
    this.multiplexed = agreed.multiplexed
    this.keepsOnOrphan = agreed.keepsOnOrphan
    this.maxFragment = agreed.maxFragment
    this.groupId = agreed.groupId
  }

  /** Whether a call can be sent now. */
  get isFree(): boolean {
    return !this.retired && !this.ended && (this.calls.size === 0 || this.multiplexed && !this.forPipes)
  }

  get hasRoom(): boolean {
    return this.outbox.queuedUnsafe() < this.owner.maximumQueued
  }

  /** Waits for room to send. */
  get sendRoom(): Effect.Effect<void, Socket.SocketError> {
    const { drained, room } = this.outbox
    // The outbox calls its high-water mark room, which may be more than was asked for.
    return Effect.suspend(() => this.owner.maximumQueued < highWaterMark ? drained : room)
  }

  send(caller: Caller, call: FullOutgoing, input: unknown, earlier?: SentCall): BadStubData | undefined {
    const { method, opnum } = call.operation
    const { contextId, syntax } = caller.bound
    const codec = syntax.codec(method)!
    const callId = this.owner.nextCallId()
    const fields = { callId, contextId, opnum, object: caller.object, flags: method.maybe ? Pdu.flags.maybe : 0 }
    if (call.pipes !== undefined) return this.sendPiped(caller, call, input, codec, fields)
    Pdu.beginRequest(this.writer, fields)
    const problem = codec.writeArguments(this.writer, input, call.span)
    if (problem !== undefined) {
      Pdu.discardMessage(this.writer)
      return badInput(problem)
    }
    const size = this.writer.position - this.writer.stub
    Pdu.endMessage(this.writer, this.maxFragment)
    const sent = new SentCall(this, caller, call, callId, codec, input, earlier)
    call.remote = sent
    if (!method.maybe) this.calls.set(callId, sent)
    this.used = true
    sent.begin = this.outbox.sentUnsafe()
    this.flush()
    sent.end = this.outbox.sentUnsafe()
    call.transferred("out", size)
    return undefined
  }

  /** Sends a call with pipes: the arguments now, what is pushed then. */
  private sendPiped(
    caller: Caller,
    call: FullOutgoing,
    input: unknown,
    codec: MethodCodec,
    fields: Parameters<typeof Pdu.beginRequest>[1]
  ): BadStubData | undefined {
    const sent = new SentCall(this, caller, call, fields.callId, codec, input, undefined)
    const outgoing = sent.piped(true)
    const stub = new OutgoingStub(
      this.writer,
      this.maxFragment,
      () => Pdu.beginRequest(this.writer, fields),
      (following, size) => {
        this.flush(following)
        call.transferred("out", size)
      }
    )
    const write = (writer: Pdu.Writer) => codec.writeArguments(writer, input, call.span)
    sent.begin = this.outbox.sentUnsafe()
    const problem = stub.send(write, () => outgoing.length === 0)
    if (problem !== undefined) return badInput(problem)
    sent.request = stub
    sent.end = this.outbox.sentUnsafe()
    call.remote = sent
    this.calls.set(sent.callId, sent)
    this.used = true
    if (outgoing.length === 0) return undefined
    sent.sending = this.owner.fork(sendPipes(outgoing, stub, this.outbox.room, true))
    sent.sending.addObserver((exit) => {
      if (sent.sending === undefined) return
      sent.sending = undefined
      if (exit._tag === "Failure" || exit.value === undefined) return
      const { problem } = exit.value as Problem
      const { interface: { name }, name: method } = call.operation
      // The fault has no room for it.
      this.owner.fork(Effect.logError(`What was pushed into a pipe of ${name}.${method} was refused: ${problem}`))
      this.spoil(sent, exit.value as Problem)
    })
    return undefined
  }

  /** What goes through a pipe can't be written or read: the call is over, and the server is told. */
  private spoil(sent: SentCall, { status }: Problem): void {
    this.giveUp(sent)
    sent.call.reply(Exit.fail(new RpcFault({ code: status })))
  }

  sendCancel(sent: SentCall): void {
    if (this.ended || sent.cancelled) return
    sent.cancelled = true
    if (sent.stopSending()) {
      this.retired = this.spent = true
      this.owner.changed()
    }
    Pdu.encodeCoCancel(this.writer, { callId: sent.callId })
    this.flush()
  }

  /** Nobody waits for the reply any more. Gives whether the server was told so. */
  giveUp(sent: SentCall): boolean {
    if (this.ended || this.calls.get(sent.callId) !== sent) return true
    this.calls.delete(sent.callId)
    // Nothing waits behind what a call with pipes still receives: it ends with its connection.
    if (sent.call.pipes !== undefined) this.retired = this.spent = true
    sent.stopSending()
    // Without that agreement an orphan costs the connection, so it is sent only where that costs no other call.
    const orphans = this.keepsOnOrphan || this.calls.size === 0
    if (orphans) {
      Pdu.encodeOrphaned(this.writer, { callId: sent.callId })
      this.flush()
      if (!this.keepsOnOrphan) this.retired = this.spent = true
    }
    this.released()
    return orphans
  }

  /** Ends the calls of a binding. */
  endCallsOf(caller: Caller): void {
    for (const sent of [...this.calls.values()]) {
      if (sent.caller !== caller) continue
      sent.orphan()
      sent.call.reply(Exit.fail(transportError(1726, "the binding was closed while the call was in progress")))
    }
  }

  /** Sends what the writer has; of a message in parts, with the bytes that follow it. */
  private flush(following?: Uint8Array): void {
    if (following === undefined) return this.outbox.sendUnsafe(this.writer.take())
    this.outbox.sendPartUnsafe(this.writer.take())
    this.outbox.sendPartUnsafe(following)
  }

  /** A call is off the connection: the next may use it, or nobody. */
  private released(): void {
    this.closeUnneeded()
    if (!this.multiplexed || this.forPipes) this.owner.changed()
  }

  /** Whether it carries calls no more, and yet may keep the context handles of its group alive until another one does. */
  get lingers(): boolean {
    return this.spent && this.owner.handles.areIn(this.groupId)
  }

  /** Closes it when it is retired and has nothing left to do. */
  closeUnneeded(): void {
    const { owner, calls, lingers, retired } = this
    if (retired && calls.size === 0 && !(lingers && owner.handles.need(this))) owner.close(this)
  }

  /** Gives a sentence when the server broke the protocol. */
  receive(pdu: Pdu.Pdu | Pdu.PduError): string | undefined {
    this.heard = true
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
        this.retired = true
        if (this.calls.size === 0) this.owner.close(this)
        this.owner.changed()
        return undefined
      default:
        return `the server sent ${pdu._tag}, which has no place on a bound connection`
    }
  }

  private respond(fragment: Pdu.Response): string | undefined {
    const sent = this.calls.get(fragment.callId)
    // A reply to a call that was given up.
    if (sent === undefined) return undefined
    if (fragment.contextId !== sent.caller.bound.contextId) {
      return `a response in presentation context ${fragment.contextId}`
    }
    sent.call.transferred("in", fragment.stub.length)
    if (sent.call.pipes !== undefined) return this.arrive(sent, fragment)
    const added = Pdu.assemble(sent.open, fragment, this.owner.maximumResponse)
    if (added._tag === "PduError") return added.message
    if (added._tag === "Assembly") {
      sent.open = added
      return undefined
    }
    const read = sent.codec.readResults(added.stub, added.littleEndian)
    const outcome = "problem" in read ? Exit.fail(new RpcFault({ code: read.status })) : read.value
    this.complete(sent, outcome)
    return undefined
  }

  /** A fragment of a response in which pipes go in front of the out parameters. */
  private arrive(sent: SentCall, { flags, littleEndian, stub }: Pdu.Response): string | undefined {
    const isFirst = (flags & Pdu.flags.firstFrag) !== 0
    if (isFirst !== (sent.arriving === undefined)) return `a fragment that is ${isFirst ? "" : "not "}the first one`
    const arriving = sent.arriving ??= new IncomingPipes(sent.piped(false), littleEndian, 0)
    if (littleEndian !== arriving.rest.littleEndian) return "a fragment whose byte order is not that of its message"
    const problem = arriving.push(stub)
    // Whoever pulls may have given the call up.
    if (this.calls.get(sent.callId) !== sent) return undefined
    const { bytes, position } = arriving.rest
    if (problem !== undefined) {
      this.spoil(sent, problem)
    } else if (arriving.isThrough && bytes.length - position > this.owner.maximumResponse) {
      return `out parameters of more than ${this.owner.maximumResponse} bytes`
    } else if ((flags & Pdu.flags.lastFrag) !== 0) {
      const read = arriving.isThrough ? sent.codec.readResults(bytes, littleEndian, position) : unended
      const outcome: Outcome = "problem" in read ? Exit.fail(new RpcFault({ code: read.status })) : read.value
      // After a cancel the request ends in the middle, and the manager may answer all the same.
      const isEarly = outcome._tag === "Success" && !sent.cancelled && sent.request?.isWhole === false
      this.complete(sent, isEarly ? Exit.fail(new PipeDisciplineError({ pipe: "of the call" })) : outcome)
    }
    return undefined
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
    if (this.proposals.has(callId)) {
      const error = transportError(1722, `the server answered the proposal of an interface with fault ${toHex(status)}`)
      this.settle(callId, Exit.fail(error))
      return undefined
    }
    const sent = this.calls.get(callId)
    if (sent === undefined) return undefined
    const didNotExecute = (flags & Pdu.flags.didNotExecute) !== 0
    const fault = fromWire(status, didNotExecute && sent.earlier?.mayHaveRun !== true)
    this.complete(sent, Exit.fail(failureOf(sent.call.operation, fault)))
    return undefined
  }

  private complete(sent: SentCall, outcome: Outcome): void {
    const { handlesOut } = sent.call.operation
    const kept = handlesOut === undefined
      ? outcome
      : this.owner.handles.receive(this, sent.call.operation, sent.input, outcome)
    this.calls.delete(sent.callId)
    // A request that ends in the middle is not continued by another.
    if (sent.stopSending()) this.retired = this.spent = true
    this.released()
    sent.call.reply(kept)
  }

  // --- one more interface

  /** Agrees on a presentation context for one more interface. */
  alter(bound: Bound): Effect.Effect<void, Failure> {
    return Effect.suspend(() =>
      Effect.timeoutOrElse(Deferred.await(this.propose(bound)), {
        duration: this.owner.connectTimeout,
        orElse: () => Effect.fail(transportError(1722, "binding to another interface took too long"))
      })
    )
  }

  private propose(bound: Bound): Proposal["answered"] {
    const callId = this.owner.nextCallId()
    const answered = Deferred.makeUnsafe<void, Failure>()
    this.proposals.set(callId, { bound, answered })
    const size = Math.max(this.maxFragment, bound.syntax.maxFragment)
    Pdu.encodeAlterContext(this.writer, {
      callId,
      maxXmitFrag: size,
      maxRecvFrag: size,
      assocGroupId: this.groupId,
      contextElements: [contextElement(bound)]
    })
    this.flush()
    return answered
  }

  private altered({ callId, maxRecvFrag, results }: Pdu.AlterContextResponse): string | undefined {
    const bound = this.proposals.get(callId)?.bound
    if (bound === undefined) return "an answer to an alter_context that was not sent"
    const [result] = results
    if (result === undefined || results.length > 1) {
      return `an answer about ${results.length} presentation contexts, 1 was proposed`
    }
    const refused = refusal(bound, result)
    if (refused === undefined) {
      this.contexts.add(bound)
      // Where both sides have chosen Callisto's own syntax the fragments may be larger from now on.
      if (bound.syntax === binary) this.maxFragment = Math.max(this.maxFragment, Math.min(maxRecvFrag, largest))
    }
    this.settle(callId, refused === undefined ? Exit.void : Exit.fail(refused))
    return undefined
  }

  private settle(callId: number, exit: Exit.Exit<void, Failure>): void {
    const { answered } = this.proposals.get(callId)!
    this.proposals.delete(callId)
    Deferred.doneUnsafe(answered, exit)
    this.owner.changed()
  }

  /** The connection is over, and the calls on it are lost. What was sent may leave still, or else it stays. */
  end(detail: string, leaves = false): void {
    if (this.ended) return
    this.ended = true
    // Before it is known what has not left, and is perhaps sent elsewhere.
    if (!leaves) this.outbox.stopUnsafe()
    this.owner.forget(this)
    for (const callId of this.proposals.keys()) this.settle(callId, Exit.fail(transportError(1722, detail)))
    for (const sent of [...this.calls.values()]) {
      this.calls.delete(sent.callId)
      sent.lose(detail)
    }
  }

  /** Nothing can be sent any more. What has arrived may still answer the calls. */
  cutOff(): void {
    this.retired = true
    if (this.calls.size === 0) this.owner.abandon(this, "the connection was lost")
    else this.owner.abandonSoon(this, "the connection was lost")
  }

  // --- from time to time

  /** What the connection does by the clock. */
  tend(): ReadonlyArray<Effect.Effect<void>> {
    const { callTimeout, keepAlive } = this.owner
    const chores: Array<Effect.Effect<void>> = []
    if (callTimeout !== Infinity) chores.push(this.expire(callTimeout))
    if (!this.multiplexed || this.forPipes) chores.push(every(idleTime, () => this.closeIdle()))
    else if (keepAlive !== Infinity) chores.push(every(keepAlive, () => this.ask()))
    return chores
  }

  /** Cancels what takes too long. The calls are in the order of their deadlines. */
  private expire(timeout: number): Effect.Effect<void> {
    const expireDue = Effect.map(Clock.currentTimeMillis, (now) => {
      for (const sent of this.calls.values()) {
        if (sent.deadline > now) return sent.deadline - now
        // The server first: whoever is woken by the completion may close the connection.
        this.sendCancel(sent)
        this.giveUp(sent)
        sent.call.reply(Exit.fail(cancelled(false)))
      }
      return timeout
    })
    return Effect.forever(Effect.flatMap(expireDue, (millis) => Effect.sleep(millis)))
  }

  private closeIdle(): void {
    const { kept, usable } = this.owner
    if (!this.used && this.isFree && (this.forPipes ? kept : usable) > 1) this.owner.close(this)
    this.used = false
  }

  /** Asks a silent server for an answer, by proposing once more what it has accepted. */
  private ask(): void {
    if (!this.heard && this.asked) return this.owner.abandon(this, "the server was silent for too long")
    this.asked = !this.heard
    this.heard = false
    if (this.asked) { for (const bound of this.contexts) return void this.propose(bound) }
  }
}

/** A presentation context that was proposed for an interface. */
export interface Proposal {
  readonly bound: Bound
  readonly answered: Deferred.Deferred<void, Failure>
}

/** What client and server have agreed on for a connection. */
export interface Agreed {
  readonly multiplexed: boolean
  readonly keepsOnOrphan: boolean
  readonly maxFragment: number
  readonly groupId: number
}

const contextElement = ({ contextId, interface: iface, syntax }: Bound): Pdu.ContextElement => ({
  contextId,
  abstractSyntax: syntaxOf(iface),
  transferSyntaxes: [syntax.id]
})

/** Why a server has not accepted the presentation context that was proposed for an interface. */
const refusal = (
  { interface: { name, uuid, version }, syntax }: Bound,
  { reason, result, transferSyntax }: Pdu.ContextResult
): Failure | undefined => {
  if (result === 2 && reason === 1) {
    return new UnknownInterface({ interface: name, uuid, detail: `it does not offer version ${version.join(".")}` })
  }
  if (result !== 0) {
    const why = result === 2 ? providerReasons[reason] : undefined
    return transportError(1722, `the server refused the interface: ${why ?? `result ${result}, ${reason}`}`)
  }
  if (transferSyntax.uuid !== syntax.id.uuid || transferSyntax.major !== syntax.id.major) {
    return transportError(1722, "the server chose a transfer syntax that was not proposed")
  }
  return undefined
}

/** How long a connection of a pool may be unused. */
const idleTime = "10 seconds"

const every = (duration: Duration.Input, chore: () => void): Effect.Effect<void> =>
  Effect.forever(Effect.andThen(Effect.sleep(duration), Effect.sync(chore)))

const syntaxOf = ({ uuid, version: [major, minor] }: Interface.Any): Pdu.SyntaxId => ({ uuid, major, minor })

const unended: Problem = { problem: "the response ends before its pipes do", status: 1783 }

const badInput = ({ problem }: Problem): BadStubData =>
  new BadStubData({ detail: `The arguments were refused: ${problem}` })

// ----------------------------------------------------------------------------
// the bind
// ----------------------------------------------------------------------------

/** The bind that begins a connection. */
export const bindFor = (bound: Bound, callId: number, assocGroupId: number): Pdu.Fields<Pdu.Bind> => {
  const { interface: iface, syntax: { maxFragment: size } } = bound
  return {
    callId,
    flags: Pdu.flags.concMpx,
    maxXmitFrag: size,
    maxRecvFrag: size,
    assocGroupId,
    contextElements: [
      contextElement(bound),
      { contextId: featuresContextId, abstractSyntax: syntaxOf(iface), transferSyntaxes: [features] }
    ]
  }
}

/** What the answer to the bind agrees on, or why there is no connection. */
export const agreedOn = (bound: Bound, answer: Pdu.Pdu | Pdu.PduError): Effect.Effect<Agreed, Failure> => {
  const refuse = (detail: string) => Effect.fail(transportError(1722, detail))
  if (answer._tag === "PduError") return refuse(`the server's answer to the bind was ${answer.message}`)
  if (answer._tag === "BindNak") return refuse(`the server refused to bind: ${rejection(answer)}`)
  if (answer._tag !== "BindAck") return refuse(`the server answered the bind with ${answer._tag}`)
  const [accepted, featureResult] = answer.results
  if (accepted === undefined || featureResult === undefined || answer.results.length > 2) {
    return refuse(`the server answered ${answer.results.length} presentation contexts, 2 were proposed`)
  }
  const refused = refusal(bound, accepted)
  if (refused !== undefined) return Effect.fail(refused)
  if (answer.maxRecvFrag < Pdu.minFragment) {
    return refuse(`the server receives ${answer.maxRecvFrag} bytes at a time, which the protocol does not allow`)
  }
  return Effect.succeed({
    multiplexed: (answer.flags & Pdu.flags.concMpx) !== 0,
    keepsOnOrphan: featureResult.result === negotiateAck && (featureResult.reason & keepConnectionOnOrphan) !== 0,
    maxFragment: Math.min(answer.maxRecvFrag, bound.syntax.maxFragment),
    groupId: answer.assocGroupId
  })
}

const rejection = ({ rejectReason }: Pdu.BindNak): string => rejectReasons[rejectReason] ?? `reason ${rejectReason}`

const rejectReasons: { readonly [reason: number]: string } = {
  0: "it gave no reason",
  1: "it is congested at the moment",
  2: "one of its limits is exceeded",
  4: "it speaks another version of the protocol",
  8: "it does not know the authentication service",
  9: "the checksum is wrong"
}

const providerReasons: { readonly [reason: number]: string } = {
  0: "it gave no reason",
  2: "it has no such transfer syntax",
  3: "one of its limits is exceeded"
}
