/**
 * Associations: what connects a client to a server elsewhere, over the connection-oriented DCE/RPC protocol. Bindings to its
 * interfaces call through it.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import type * as Binding from "../Binding.ts"
import type { Channel as CallChannel, Outcome, Outgoing, Remote } from "../Channel.ts"
import type { Interface } from "../Interface.ts"
import { Handle, valueOf } from "../internal/handleSchema.ts"
import { bind as makeBinding } from "../internal/binding.ts"
import { bufferOf } from "../internal/chunkBuffer.ts"
import { countOption, durationOption } from "../internal/options.ts"
import { cancelled, failureOf, fromWire } from "../internal/failures.ts"
import { type FullOperation, type FullOutgoing, fullOutgoing } from "../internal/seams.ts"
import { toHex } from "../internal/statusTable.ts"
import {
  BadStubData,
  type EndpointNotRegistered,
  PipeDisciplineError,
  RpcFault,
  RpcTransportError,
  UnknownInterface
} from "../Status.ts"
import { highWaterMark, type ReadWhile } from "../transport/internal/flow.ts"
import { onDemand } from "./internal/onDemand.ts"
import { makeOutbox, type Outbox } from "../transport/internal/outbox.ts"
import { defaultElements } from "../ndr/internal/ndrStream.ts"
import { IncomingPipes, OutgoingStub, type Piped, sendPipes } from "./internal/pipeStream.ts"
import { makeReadWhile } from "../transport/internal/sockets.ts"
import * as Pdu from "./Pdu.ts"
import * as StringBinding from "../transport/StringBinding.ts"
import { binary, type MethodCodec, type Problem, proposed, type TransferSyntax } from "./TransferSyntax.ts"
import * as Transport from "../transport/Transport.ts"

const TypeId = "~callisto/dcerpc/Association"

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

/**
 * A client's connections to one server, which any number of bindings share.
 *
 * Windows: the association behind binding handles to one server.
 *
 * @category models
 * @since 0.1.0
 */
export interface Association {
  /** Brands the type. */
  readonly [TypeId]: typeof TypeId
  /** Where the server is; without an endpoint where the endpoint mapper is asked for it. */
  readonly address: StringBinding.StringBinding
}

/**
 * The options of an association.
 *
 * **Details**
 *
 * A number outside of its range is refused when the association is made, by a `TypeError` that names the option.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Whether all calls are dispatched in the order in which they were begun; by default `true`. Where connections can't carry several
   * calls at once, a call then waits until the one before has ended; otherwise it uses another connection.
   */
  readonly causal?: boolean | undefined
  /**
   * The number of connections where one can't carry several calls; at least 1, by default 8. One that was not used for 10 seconds is
   * closed, except the last. As many more are for calls with pipes, each of which has one to itself; further calls wait in `begin`.
   */
  readonly maximumConnections?: number | undefined
  /** The bytes that may wait to be sent before `begin` waits; at least 1, by default 1 MiB. */
  readonly maximumQueued?: number | undefined
  /** The bytes of one response; by default 4 MiB. A larger one closes the connection. */
  readonly maximumResponse?: number | undefined
  /**
   * The values that one response may hold, or one chunk of a pipe: numbers, strings, byte arrays and nulls; at least 1, by default
   * 262,144. A call whose response holds more fails with 1783 before anything is allocated.
   */
  readonly maximumElements?: number | undefined
  /** The time that connecting and binding may take; by default 10 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /**
   * The time that a call may take; at least 1 ms, by default forever. Then it is cancelled abortively. A `begin` that waits so long
   * for a connection or for room to send fails with 1722. Windows: `RPC_C_OPT_CALL_TIMEOUT`.
   */
  readonly callTimeout?: Duration.Input | undefined
  /**
   * The time for which the server may be silent before it is asked whether it is there; at least 1 ms, by default forever. A connection
   * that then stays silent for as long again is lost. Only for connections that carry several calls at once.
   */
  readonly keepAlive?: Duration.Input | undefined
  /**
   * The string binding of the endpoint mapper that knows the endpoint of a server whose string binding has none; by default that of the
   * same host, on port 135 for `ncacn_ip_tcp` and under the name `EPMAPPER` for `ncalrpc`.
   */
  readonly endpointMapper?: string | undefined
}

/** An interface that a binding of the association calls, and how its values travel. */
interface Bound {
  readonly interface: Interface.Any
  readonly syntax: TransferSyntax
  /** Its presentation context on each connection that has it. */
  readonly contextId: number
}

// ----------------------------------------------------------------------------
// a call
// ----------------------------------------------------------------------------

const transportError = (status: RpcTransportError["status"], detail: string): RpcTransportError =>
  new RpcTransportError({ status, detail })

/** A call on a connection, from its request to its reply. */
class SentCall implements Remote {
  readonly dispatched = true
  readonly cancelDisabled = false
  readonly connection: ClientConnection
  readonly channel: Channel
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
    channel: Channel,
    call: FullOutgoing,
    callId: number,
    codec: MethodCodec,
    input: unknown,
    earlier: SentCall | undefined
  ) {
    this.connection = connection
    this.channel = channel
    this.call = call
    this.callId = callId
    this.codec = codec
    this.input = input
    this.earlier = earlier
    this.deadline = earlier?.deadline ?? connection.association.deadline()
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
    const { channel, connection: { association, outbox }, earlier } = this
    const handed = outbox.isStoppedUnsafe() ? outbox.handedUnsafe() : Infinity
    this.mayHaveBegun = earlier?.mayHaveBegun === true || handed > this.begin
    this.mayHaveRun = earlier?.mayHaveRun === true || handed >= this.end
    const error = transportError(this.mayHaveRun ? 1726 : this.mayHaveBegun ? 1727 : 1722, detail)
    this.stopSending()
    // What went through a pipe is not there any more.
    const again = earlier === undefined && !this.cancelled && channel.isOpen && this.call.pipes === undefined &&
      (!this.mayHaveRun || this.call.operation.method.idempotent)
    if (again) association.resend(new Resend(this, error))
    else this.call.reply(Exit.fail(error))
  }
}

/** What waits for a connection that has room and knows the interface. */
interface Waiting {
  readonly bound: Bound
  readonly send: (connection: ClientConnection) => void
  readonly refuse: (failure: Failure) => void
}

/** For a call, an interface that is offered or registered no more is a server that can't be reached. */
const callFailure = (failure: Failure): RpcTransportError =>
  failure._tag === "RpcTransportError" ? failure : transportError(1722, withoutPeriod(failure.message))

/** A sentence as part of another one. */
const withoutPeriod = (sentence: string): string => sentence.replace(/\.$/, "")

/** A call whose connection was lost and that waits for another one. */
class Resend implements Remote, Waiting {
  readonly dispatched: boolean
  readonly cancelDisabled = false
  readonly earlier: SentCall
  readonly error: RpcTransportError

  constructor(earlier: SentCall, error: RpcTransportError) {
    this.earlier = earlier
    this.error = error
    this.dispatched = earlier.mayHaveRun
  }

  get bound(): Bound {
    return this.earlier.channel.bound
  }

  send(connection: ClientConnection): void {
    const { call, channel, input } = this.earlier
    // A context handle is gone with the connections of its group.
    const isForeign = connection.groupId !== this.earlier.connection.groupId
    if (isForeign && carriesHandle(call.operation, input)) return this.refuse()
    if (connection.send(channel, call, input, this.earlier) !== undefined) this.refuse()
  }

  refuse(): void {
    this.earlier.call.reply(Exit.fail(this.error))
  }

  cancel(): void {
    this.discard()
    this.earlier.call.reply(Exit.fail(cancelled(!this.dispatched)))
  }

  discard(): void {
    this.earlier.connection.association.withdraw(this)
  }

  orphan(): void {
    this.discard()
  }

  goOn(): void {
    // It is sent in its turn.
  }
}

// ----------------------------------------------------------------------------
// a connection
// ----------------------------------------------------------------------------

// The last eight bytes are the features that the client asks for: to keep the connection when a call is orphaned.
const features: Pdu.SyntaxId = { uuid: "6cb71c2c-9812-4540-0200-000000000000", major: 1, minor: 0 }
const keepConnectionOnOrphan = 2
const negotiateAck = 3
const largest = binary.maxFragment
// The proposal of the features is a presentation context without an interface.
const featuresContextId = 255

class ClientConnection {
  readonly association: AssociationImpl
  readonly outbox: Outbox
  readonly writer = new Pdu.Writer()
  readonly calls = new Map<number, SentCall>()
  /** The interfaces that have a presentation context here. */
  readonly contexts = new Set<Bound>()
  /** The proposals of presentation contexts that await an answer, by call id. */
  readonly proposals = new Map<number, Proposal>()
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
    association: AssociationImpl,
    scope: Scope.Closeable,
    outbox: Outbox,
    bound: Bound,
    forPipes: boolean,
    agreed: Agreed
  ) {
    this.association = association
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
    return this.outbox.queuedUnsafe() < this.association.maximumQueued
  }

  /** Waits for room to send. */
  get sendRoom(): Effect.Effect<void, Socket.SocketError> {
    const { drained, room } = this.outbox
    // The outbox calls its high-water mark room, which may be more than was asked for.
    return Effect.suspend(() => this.association.maximumQueued < highWaterMark ? drained : room)
  }

  send(channel: Channel, call: FullOutgoing, input: unknown, earlier?: SentCall): BadStubData | undefined {
    const { method, opnum } = call.operation
    const { contextId, syntax } = channel.bound
    const codec = syntax.codec(method, call.operation.name)!
    const callId = this.association.nextCallId()
    const fields = { callId, contextId, opnum, object: channel.object, flags: method.maybe ? Pdu.flags.maybe : 0 }
    if (call.pipes !== undefined) return this.sendPiped(channel, call, input, codec, fields)
    Pdu.beginRequest(this.writer, fields)
    const problem = codec.writeArguments(this.writer, input, call.span)
    if (problem !== undefined) {
      Pdu.discardMessage(this.writer)
      return badInput(problem)
    }
    const size = this.writer.position - this.writer.stub
    Pdu.endMessage(this.writer, this.maxFragment)
    const sent = new SentCall(this, channel, call, callId, codec, input, earlier)
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
    channel: Channel,
    call: FullOutgoing,
    input: unknown,
    codec: MethodCodec,
    fields: Parameters<typeof Pdu.beginRequest>[1]
  ): BadStubData | undefined {
    const sent = new SentCall(this, channel, call, fields.callId, codec, input, undefined)
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
    sent.sending = this.association.fork(sendPipes(outgoing, stub, this.outbox.room, true))
    sent.sending.addObserver((exit) => {
      if (sent.sending === undefined) return
      sent.sending = undefined
      if (exit._tag === "Failure" || exit.value === undefined) return
      const { problem } = exit.value as Problem
      const { interface: { name }, name: method } = call.operation
      // The fault has no room for it.
      this.association.fork(Effect.logError(`What was pushed into a pipe of ${name}.${method} was refused: ${problem}`))
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
      this.association.changed()
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
  endCallsOf(channel: Channel): void {
    for (const sent of [...this.calls.values()]) {
      if (sent.channel !== channel) continue
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
    if (!this.multiplexed || this.forPipes) this.association.changed()
  }

  /** Whether it carries calls no more, and yet may keep the context handles of its group alive until another one does. */
  get lingers(): boolean {
    return this.spent && this.association.handles.areIn(this.groupId)
  }

  /** Closes it when it is retired and has nothing left to do. */
  closeUnneeded(): void {
    const { association, calls, lingers, retired } = this
    if (retired && calls.size === 0 && !(lingers && association.handles.need(this))) association.close(this)
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
        if (this.calls.size === 0) this.association.close(this)
        this.association.changed()
        return undefined
      default:
        return `the server sent ${pdu._tag}, which has no place on a bound connection`
    }
  }

  private respond(fragment: Pdu.Response): string | undefined {
    const sent = this.calls.get(fragment.callId)
    // A reply to a call that was given up.
    if (sent === undefined) return undefined
    if (fragment.contextId !== sent.channel.bound.contextId) {
      return `a response in presentation context ${fragment.contextId}`
    }
    sent.call.transferred("in", fragment.stub.length)
    if (sent.call.pipes !== undefined) return this.arrive(sent, fragment)
    const added = Pdu.assemble(sent.open, fragment, this.association.maximumResponse)
    if (added._tag === "PduError") return added.message
    if (added._tag === "Assembly") {
      sent.open = added
      return undefined
    }
    const read = sent.codec.readResults(added.stub, added.littleEndian, this.association.maximumElements)
    const outcome = "problem" in read ? Exit.fail(new RpcFault({ code: read.status })) : read.value
    this.complete(sent, outcome)
    return undefined
  }

  /** A fragment of a response in which pipes go in front of the out parameters. */
  private arrive(sent: SentCall, { flags, littleEndian, stub }: Pdu.Response): string | undefined {
    const isFirst = (flags & Pdu.flags.firstFrag) !== 0
    if (isFirst !== (sent.arriving === undefined)) return `a fragment that is ${isFirst ? "" : "not "}the first one`
    const arriving = sent.arriving ??= new IncomingPipes(
      sent.piped(false),
      littleEndian,
      this.association.maximumElements,
      0
    )
    if (littleEndian !== arriving.rest.littleEndian) return "a fragment whose byte order is not that of its message"
    const problem = arriving.push(stub)
    // Whoever pulls may have given the call up.
    if (this.calls.get(sent.callId) !== sent) return undefined
    const { bytes, position } = arriving.rest
    if (problem !== undefined) {
      this.spoil(sent, problem)
    } else if (arriving.isThrough && bytes.length - position > this.association.maximumResponse) {
      return `out parameters of more than ${this.association.maximumResponse} bytes`
    } else if ((flags & Pdu.flags.lastFrag) !== 0) {
      const read = arriving.isThrough
        ? sent.codec.readResults(bytes, littleEndian, this.association.maximumElements, position)
        : unended
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
    const kept = handlesOut === undefined ? outcome : this.association.handles.receive(this, sent, outcome)
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
        duration: this.association.connectTimeout,
        orElse: () => Effect.fail(transportError(1722, "binding to another interface took too long"))
      })
    )
  }

  private propose(bound: Bound): Proposal["answered"] {
    const callId = this.association.nextCallId()
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
    this.association.changed()
  }

  /** The connection is over, and the calls on it are lost. What was sent may leave still, or else it stays. */
  end(detail: string, leaves = false): void {
    if (this.ended) return
    this.ended = true
    // Before it is known what has not left, and is perhaps sent elsewhere.
    if (!leaves) this.outbox.stopUnsafe()
    this.association.forget(this)
    for (const callId of this.proposals.keys()) this.settle(callId, Exit.fail(transportError(1722, detail)))
    for (const sent of [...this.calls.values()]) {
      this.calls.delete(sent.callId)
      sent.lose(detail)
    }
  }

  /** Nothing can be sent any more. What has arrived may still answer the calls. */
  cutOff(): void {
    this.retired = true
    if (this.calls.size === 0) this.association.abandon(this, "the connection was lost")
    else this.association.abandonSoon(this, "the connection was lost")
  }

  // --- from time to time

  /** What the connection does by the clock. */
  tend(): ReadonlyArray<Effect.Effect<void>> {
    const { callTimeout, keepAlive } = this.association
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
    const { kept, usable } = this.association
    if (!this.used && this.isFree && (this.forPipes ? kept : usable) > 1) this.association.close(this)
    this.used = false
  }

  /** Asks a silent server for an answer, by proposing once more what it has accepted. */
  private ask(): void {
    if (!this.heard && this.asked) return this.association.abandon(this, "the server was silent for too long")
    this.asked = !this.heard
    this.heard = false
    if (this.asked) { for (const bound of this.contexts) return void this.propose(bound) }
  }
}

/** A presentation context that was proposed for an interface. */
interface Proposal {
  readonly bound: Bound
  readonly answered: Deferred.Deferred<void, Failure>
}

/** What client and server have agreed on for a connection. */
interface Agreed {
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
  if (result === 2 && reason === 2 && syntax === binary) {
    const { major, minor, uuid } = transferSyntax
    const spoken = uuid === binary.id.uuid ? `it speaks version ${major}.${minor}` : "it may be older"
    return transportError(
      1722,
      `the server does not speak version ${binary.id.major}.${binary.id.minor} of Callisto's transfer syntax: ${spoken}. Run the same version of Callisto on both sides`
    )
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
// context handles
// ----------------------------------------------------------------------------

const carriesHandle = ({ handlesIn }: FullOperation, input: unknown): boolean =>
  handlesIn !== undefined && handlesIn.some(({ name }) => valueOf(input, name) !== null)

/** The context handles that the client holds, each with the group of connections on which it lives. */
class HeldHandles {
  private readonly held = new Map<string, { readonly handle: Handle; readonly groupId: number }>()
  private readonly connections: ReadonlySet<ClientConnection>
  private readonly onDrop: () => void

  constructor(connections: ReadonlySet<ClientConnection>, onDrop: () => void) {
    this.connections = connections
    this.onDrop = onDrop
  }

  /** Takes the handles of a reply. One that the client has already is the same value again. */
  receive({ groupId }: ClientConnection, { call: { operation }, input }: SentCall, outcome: Outcome): Outcome {
    if (outcome._tag === "Failure") return outcome
    const out = outcome.value as Record<string, unknown>
    for (const { name, nullable } of operation.handlesOut!) {
      const handle = out[name] as Handle | null
      if (handle === null && !nullable) return Exit.fail(new RpcFault({ code: 1783 }))
      const earlier = valueOf(input, name)
      if (earlier instanceof Handle && earlier.uuid !== handle?.uuid) this.drop(earlier)
      if (handle === null) continue
      const known = this.held.get(handle.uuid)?.handle
      if (known === undefined) this.hold(handle, groupId)
      else out[name] = known
    }
    return outcome
  }

  private hold(handle: Handle, groupId: number): void {
    this.held.set(handle.uuid, { handle, groupId })
    handle.keptBy(() => this.drop(handle))
  }

  private drop({ uuid }: Handle): void {
    this.held.delete(uuid)
    this.onDrop()
  }

  /** Whether handles would be run down if a connection were closed, because no other one of its group goes on. */
  need(connection: ClientConnection): boolean {
    return this.areIn(connection.groupId) && !this.others(connection).some(({ retired, spent }) => !retired || spent)
  }

  /** A connection is gone, and if it was the last one of its group its handles are too. */
  lose(connection: ClientConnection): void {
    if (this.others(connection).length > 0) return
    for (const [uuid, { groupId }] of this.held) if (groupId === connection.groupId) this.held.delete(uuid)
  }

  /** Whether handles live on a group of connections. */
  areIn(groupId: number): boolean {
    for (const held of this.held.values()) if (held.groupId === groupId) return true
    return false
  }

  private others(connection: ClientConnection): Array<ClientConnection> {
    return [...this.connections].filter((other) => other !== connection && other.groupId === connection.groupId)
  }
}

// ----------------------------------------------------------------------------
// the association
// ----------------------------------------------------------------------------

type Failure = RpcTransportError | UnknownInterface | EndpointNotRegistered

class AssociationImpl implements Association {
  readonly [TypeId]: typeof TypeId = TypeId
  readonly address: StringBinding.StringBinding
  /** The object that its bindings call where they name none. */
  readonly object: string | undefined
  /** Who knows the endpoint, where the address has none. */
  readonly endpointMapper: StringBinding.StringBinding
  /** The address with the endpoint that the endpoint mapper has named, while it leads to the server. */
  resolved: StringBinding.StringBinding | undefined = undefined
  readonly transport: Transport.Transport
  /** The services of the program that made the association, for what runs on its behalf. */
  readonly context: Context.Context<never>
  readonly scope: Scope.Closeable = Scope.makeUnsafe()
  readonly interfaces: Array<Bound> = []
  readonly maximumConnections: number
  /** Connections for calls with pipes, and those of them that are being made. */
  readonly maximumPiped: number
  connecting = 0
  /** Done when the connection that is being made, and begins a group, has come about or not. */
  founding: Deferred.Deferred<void> | undefined = undefined
  /** The groups that a new connection could not join, while it is not known whether one without them comes about. */
  readonly doubted = new Set<number>()
  readonly maximumQueued: number
  readonly maximumResponse: number
  readonly maximumElements: number
  // In milliseconds.
  readonly connectTimeout: number
  readonly callTimeout: number
  readonly keepAlive: number
  readonly connections = new Set<ClientConnection>()
  /** Those that are of no use any more, while what was sent on them leaves. */
  readonly closing = new Set<ClientConnection>()
  readonly handles = new HeldHandles(this.connections, () => this.closeUnneeded())
  /** What waits for a connection: calls to be sent again, then those that begin, in the order in which they were begun. */
  readonly resends: Array<Resend> = []
  readonly begins: Array<Waiting> = []
  /** Serves those that wait, while there are any. */
  serving: Fiber.Fiber<void> | undefined = undefined
  change: Deferred.Deferred<void> | undefined = undefined
  lastCallId = 0
  open = true

  constructor(
    address: StringBinding.StringBinding,
    endpointMapper: StringBinding.StringBinding,
    transport: Transport.Transport,
    context: Context.Context<never>,
    options: Options & Binding.Options
  ) {
    this.address = address
    this.object = options.object ?? address.object
    this.endpointMapper = endpointMapper
    this.transport = transport
    this.context = context
    const count = (
      name: "maximumConnections" | "maximumQueued" | "maximumResponse" | "maximumElements",
      min: number,
      fallback: number
    ) => countOption("Association", name, options[name], { min }, fallback)
    const duration = (name: "connectTimeout" | "callTimeout" | "keepAlive", least: number, fallback: number) =>
      durationOption("Association", name, options[name], fallback, least)
    this.maximumPiped = count("maximumConnections", 1, 8)
    this.maximumConnections = options.causal ?? true ? 1 : this.maximumPiped
    this.maximumQueued = count("maximumQueued", 1, 0x100000)
    this.maximumResponse = count("maximumResponse", 0, 0x400000)
    this.maximumElements = count("maximumElements", 1, defaultElements)
    this.connectTimeout = duration("connectTimeout", 0, 10_000)
    this.callTimeout = duration("callTimeout", 1, Infinity)
    this.keepAlive = duration("keepAlive", 1, Infinity)
  }

  nextCallId(): number {
    this.lastCallId = this.lastCallId % 0xffffffff + 1
    return this.lastCallId
  }

  /** When a call that begins now has to be over. */
  deadline(): number {
    if (this.callTimeout === Infinity) return Infinity
    return Context.get(this.context, Clock.Clock).currentTimeMillisUnsafe() + this.callTimeout
  }

  /** The interface as one of those that the association's connections can have. */
  bound(iface: Interface.Any): Bound {
    const known = this.interfaces.find((bound) => bound.interface === iface)
    if (known !== undefined) return known
    const bound = { interface: iface, syntax: proposed(iface), contextId: this.interfaces.length }
    this.interfaces.push(bound)
    return bound
  }

  /** A connection on which a call of the interface can be sent now, before which none waits. */
  readyNow(bound: Bound): ClientConnection | undefined {
    return this.isWaiting ? undefined : this.ready(bound)
  }

  /** Waits for a connection with room that knows the interface. */
  whenReady<E>(
    bound: Bound,
    use: (connection: ClientConnection) => Exit.Exit<void, E>
  ): Effect.Effect<void, E | Failure> {
    return Effect.callback((resume) => {
      if (!this.open) return resume(Effect.fail(bindingClosed()))
      const waiting: Waiting = {
        bound,
        send: (connection) => resume(use(connection)),
        refuse: (failure) => resume(Effect.fail(failure))
      }
      this.begins.push(waiting)
      this.serve()
      return Effect.sync(() => this.withdraw(waiting))
    })
  }

  resend(resend: Resend): void {
    const { call, callId } = resend.earlier
    call.remote = resend
    const later = this.resends.findIndex(({ earlier }) => earlier.callId > callId)
    this.resends.splice(later < 0 ? this.resends.length : later, 0, resend)
    this.serve()
  }

  withdraw(waiting: Waiting): void {
    for (const queue of [this.resends, this.begins]) {
      const index = (queue as Array<Waiting>).indexOf(waiting)
      if (index >= 0) queue.splice(index, 1)
    }
    if (!this.isWaiting) this.stopServing()
  }

  endCallsOf(channel: Channel): void {
    for (const resend of this.resends.filter(({ earlier }) => earlier.channel === channel)) {
      this.withdraw(resend)
      resend.refuse()
    }
    for (const connection of this.connections) connection.endCallsOf(channel)
  }

  private get isWaiting(): boolean {
    return this.resends.length > 0 || this.begins.length > 0
  }

  // --- serving those that wait

  private serve(): void {
    if (this.serving === undefined) this.serving = this.fork(this.serveAll)
  }

  private stopServing(): void {
    this.serving?.interruptUnsafe()
    this.serving = undefined
  }

  private readonly serveAll: Effect.Effect<void> = Effect.gen({ self: this }, function* () {
    // First `serving` is set, and all calls of a lost connection are in the queue.
    yield* Effect.yieldNow
    let next: Waiting | undefined
    while ((next = this.resends[0] ?? this.begins[0]) !== undefined) {
      const { bound } = next
      const connection = this.ready(bound)
      if (connection !== undefined) {
        ;(this.resends.shift() ?? this.begins.shift())!.send(connection)
        continue
      }
      const died = (defect: unknown) => Effect.fail(transportError(1722, `the transport failed: ${String(defect)}`))
      const refused = (failure: Failure) => Effect.sync(() => this.refuse(failure, bound))
      yield* Effect.catch(Effect.catchDefect(this.progress(bound), died), refused)
    }
    this.serving = undefined
  })

  /** Refuses those that wait for an interface that was refused; all of them where the server can't be reached. */
  private refuse(failure: Failure, bound?: Bound): void {
    const isConcerned = (waiting: Waiting) => failure._tag === "RpcTransportError" || waiting.bound === bound
    const concerned = [...this.resends, ...this.begins].filter(isConcerned)
    for (const waiting of concerned) {
      this.withdraw(waiting)
      waiting.refuse(failure)
    }
  }

  /** A connection on which a call of the interface can be sent now. */
  private ready(bound: Bound): ClientConnection | undefined {
    for (const connection of this.connections) {
      if (connection.forPipes) continue
      if (connection.isFree && connection.contexts.has(bound) && connection.hasRoom) return connection
    }
    return undefined
  }

  /** Those that go on being used. */
  get usable(): number {
    let usable = 0
    for (const { forPipes, retired } of this.connections) if (!retired && !forPipes) usable++
    return usable
  }

  /** Those that keep the association alive. */
  get kept(): number {
    let kept = 0
    for (const { retired } of this.connections) if (!retired) kept++
    return kept
  }

  /** Waits for room, agrees on one more interface, makes one more connection, or waits until one is free. */
  private progress(bound: Bound): Effect.Effect<void, Failure> {
    for (const connection of this.connections) {
      if (connection.isFree && !connection.forPipes) {
        return connection.contexts.has(bound)
          ? Effect.catch(connection.sendRoom, () => Effect.void)
          : connection.alter(bound)
      }
    }
    if (this.usable >= this.maximumConnections) return Deferred.await(this.change ??= Deferred.makeUnsafe<void>())
    return Effect.asVoid(this.connect(bound, false))
  }

  /** Waits for a connection that no other call uses, for a call with pipes. */
  whenAlone<E>(
    bound: Bound,
    use: (connection: ClientConnection) => Exit.Exit<void, E>
  ): Effect.Effect<void, E | Failure> {
    const attempt: Effect.Effect<void, E | Failure> = Effect.suspend(() => {
      if (!this.open) return Effect.fail(bindingClosed())
      let count = this.connecting
      for (const connection of this.connections) {
        if (!connection.forPipes || connection.retired) continue
        count++
        if (!connection.isFree || connection.proposals.size > 0) continue
        return connection.contexts.has(bound) ? use(connection) : Effect.andThen(connection.alter(bound), attempt)
      }
      if (count >= this.maximumPiped) {
        return Effect.andThen(Deferred.await(this.change ??= Deferred.makeUnsafe<void>()), attempt)
      }
      return Effect.andThen(connect, attempt)
    })
    const connect = Effect.acquireUseRelease(
      Effect.sync(() => this.connecting++),
      () => this.connect(bound, true),
      () =>
        Effect.sync(() => {
          this.connecting--
          this.changed()
        })
    )
    return attempt
  }

  /** A connection has become free, or one more may be made. */
  changed(): void {
    if (this.change === undefined) return
    const { change } = this
    this.change = undefined
    Deferred.doneUnsafe(change, Exit.void)
  }

  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    return Effect.runForkWith(this.context)(effect)
  }

  // --- connections

  /** Closes the connections that are retired and keep nothing alive any more. */
  private closeUnneeded(): void {
    for (const connection of [...this.connections]) connection.closeUnneeded()
  }

  forget(connection: ClientConnection): void {
    this.connections.delete(connection)
    this.handles.lose(connection)
    this.changed()
  }

  /** Closes a connection without calls, when what was sent has left. */
  close(connection: ClientConnection): void {
    if (connection.ended) return
    connection.end("the connection was closed", true)
    this.closing.add(connection)
    const forget = Effect.sync(() => this.closing.delete(connection))
    this.fork(Effect.andThen(drain(connection), Effect.andThen(Scope.close(connection.scope, Exit.void), forget)))
  }

  /** Closes a connection that is of no use any more. */
  abandon(connection: ClientConnection, detail: string): void {
    connection.end(detail)
    this.fork(Scope.close(connection.scope, Exit.void))
  }

  abandonSoon(connection: ClientConnection, detail: string): void {
    const abandon = Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => this.abandon(connection, detail)))
    Fiber.runIn(this.fork(abandon), connection.scope)
    this.changed()
  }

  /** Connects and binds. */
  private connect(bound: Bound, forPipes: boolean): Effect.Effect<ClientConnection, Failure> {
    const { address, endpointMapper } = this
    const connecting = !isLookedUp(address)
      ? this.connectTo(address, bound, forPipes)
      : bound.interface.uuid === endpointMapperUuid
      ? this.connectTo(endpointMapper, bound, forPipes)
      : this.connectResolved(bound, forPipes)
    return Effect.timeoutOrElse(this.inOneGroup(connecting), {
      duration: this.connectTimeout,
      orElse: () => Effect.fail(transportError(1722, "connecting took too long"))
    })
  }

  /** Lets the connection that begins a group come about before any other: a context handle lives in one group. */
  private inOneGroup<A, E>(connecting: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.suspend(() => {
      const { groupId } = this
      if (groupId !== 0) {
        return Effect.catch(
          connecting,
          (failure) => this.doubted.has(groupId) ? this.inOneGroup(connecting) : Effect.fail(failure)
        )
      }
      if (this.founding !== undefined) return Effect.andThen(Deferred.await(this.founding), this.inOneGroup(connecting))
      return Effect.acquireUseRelease(
        Effect.sync(() => this.founding = Deferred.makeUnsafe<void>()),
        () => connecting,
        (founded, exit) =>
          Effect.sync(() => {
            this.founding = undefined
            // The server refuses none but those that are to join a group: it knows the group no more, as one that was started anew.
            if (exit._tag === "Success") this.doubted.forEach((groupId) => this.forgetGroup(groupId))
            this.doubted.clear()
            Deferred.doneUnsafe(founded, Exit.void)
          })
      )
    })
  }

  /** Connects to the endpoint that is known, or else to the first that leads to the server of those that the mapper names. */
  private connectResolved(bound: Bound, forPipes: boolean): Effect.Effect<ClientConnection, Failure> {
    const { resolved } = this
    // Until a connection comes about: where that takes too long, the mapper is asked the next time.
    this.resolved = undefined
    const to = (address: StringBinding.StringBinding) =>
      Effect.tap(Effect.suspend(() => this.connectTo(address, bound, forPipes)), () =>
        Effect.sync(() => {
          this.resolved = address
        }))
    const anew = Effect.flatMap(
      this.resolve(bound),
      (found) => found.map(to).reduce((first, next) => Effect.catch(first, () => next))
    )
    return resolved === undefined ? anew : Effect.catch(to(resolved), () => anew)
  }

  /** Asks the endpoint mapper. */
  private resolve(bound: Bound): Effect.Effect<ReadonlyArray<StringBinding.StringBinding>, Failure> {
    const { address, context, endpointMapper, object, transport } = this
    const asking = Effect.gen(function* () {
      const { lookUp } = yield* endpointLookup
      const association = new AssociationImpl(endpointMapper, endpointMapper, transport, context, {})
      yield* Effect.addFinalizer(() => association.shut)
      return yield* lookUp((mapper) => bind(mapper, association), bound.interface, {
        protocol: address.protocol as "ncacn_ip_tcp" | "ncalrpc",
        ...(object === undefined ? {} : { object })
      })
    })
    return Effect.scoped(asking).pipe(
      // Clients keep to the host that they know: towers have no room for its name.
      Effect.map((bindings) => bindings.map(({ endpoint }) => ({ ...address, endpoint: endpoint! }))),
      Effect.mapError((error) => {
        if (error._tag === "EndpointNotRegistered") return error
        const why = error._tag === "RpcTransportError" ? error.detail : withoutPeriod(error.message)
        return transportError(1722, `the endpoint is not known, and the endpoint mapper can't be asked for it: ${why}`)
      })
    )
  }

  private connectTo(
    address: StringBinding.StringBinding,
    bound: Bound,
    forPipes: boolean
  ): Effect.Effect<ClientConnection, Failure> {
    return Effect.suspend(() => {
      const scope = Scope.forkUnsafe(this.scope)
      return Effect.onExit(
        Scope.provide(this.establish(scope, address, bound, forPipes), scope),
        (exit) => exit._tag === "Success" ? Effect.void : Scope.close(scope, exit)
      )
    })
  }

  private establish(
    scope: Scope.Closeable,
    address: StringBinding.StringBinding,
    bound: Bound,
    forPipes: boolean
  ): Effect.Effect<ClientConnection, Failure, Scope.Scope> {
    const lost = () => transportError(1722, "the server closed the connection while it was being bound")
    return Effect.gen({ self: this }, function* () {
      const { socket } = yield* this.transport.connect(address)
      let connection: ClientConnection | undefined
      const outbox = yield* makeOutbox(socket, () => connection?.cutOff())
      const readWhile = yield* Effect.mapError(makeReadWhile(socket), lost)
      const parser = Pdu.makeParser({ maxFragment: largest, owned: true })
      const writer = new Pdu.Writer()
      const { groupId } = this
      Pdu.encodeBind(writer, this.proposal(bound, groupId))
      outbox.sendUnsafe(writer.take())
      const rest: Array<Pdu.Pdu | Pdu.PduError> = []
      const isNoAnswer = (chunk: Uint8Array) => rest.push(...parser.push(chunk)) === 0
      yield* Effect.mapError(readWhile(isNoAnswer), lost)
      const answer = rest.shift()!
      if (answer._tag === "BindNak" && answer.rejectReason === 0 && groupId !== 0) this.doubted.add(groupId)
      const agreed = yield* this.agree(bound, answer)
      const bonded = connection = new ClientConnection(this, scope, outbox, bound, forPipes, agreed)
      yield* Effect.addFinalizer(() => Effect.sync(() => bonded.end("the connection was closed")))
      this.connections.add(bonded)
      this.closeUnneeded()
      yield* this.read(bonded, readWhile, parser, rest).pipe(Effect.forkScoped)
      for (const chore of bonded.tend()) yield* Effect.forkScoped(chore)
      return bonded
    })
  }

  private proposal(bound: Bound, assocGroupId: number): Pdu.Fields<Pdu.Bind> {
    const { interface: iface, syntax: { maxFragment: size } } = bound
    return {
      callId: this.nextCallId(),
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

  /** The group that a new connection joins; 0 where it begins one. */
  private get groupId(): number {
    // The group of connections that the server is about to close is not joined.
    const joined = [...this.connections].find(({ groupId, lingers, retired }) =>
      !this.doubted.has(groupId) && (!retired || lingers)
    )
    return joined?.groupId ?? 0
  }

  /** The connections in the group are dead, heard of or not. */
  private forgetGroup(groupId: number): void {
    for (const connection of [...this.connections]) {
      if (connection.groupId !== groupId) continue
      connection.retired = true
      connection.spent = false
      connection.closeUnneeded()
    }
  }

  private agree(bound: Bound, answer: Pdu.Pdu | Pdu.PduError): Effect.Effect<Agreed, Failure> {
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

  private read(
    connection: ClientConnection,
    readWhile: ReadWhile,
    parser: Pdu.Parser,
    first: ReadonlyArray<Pdu.Pdu | Pdu.PduError>
  ): Effect.Effect<void> {
    let problem: string | undefined
    const receive = (pdus: ReadonlyArray<Pdu.Pdu | Pdu.PduError>): boolean => {
      for (const pdu of pdus) {
        problem = connection.receive(pdu)
        if (problem !== undefined) return false
      }
      return true
    }
    const reading = Effect.gen(function* () {
      receive(first)
      while (problem === undefined) {
        yield* readWhile((chunk) => receive(parser.push(chunk)) && connection.keepsUp)
        // A slow reader of a pipe slows the server that pushes into it.
        yield* connection.room
      }
    })
    return Effect.flatMap(Effect.exit(reading), () => {
      connection.end(problem === undefined ? "the connection was lost" : `the server broke the protocol: ${problem}`)
      return Scope.close(connection.scope, Exit.void)
    })
  }

  /** Closes the connections. What was sent leaves first, if the server takes it. */
  readonly shut: Effect.Effect<void> = Effect.suspend(() => {
    this.open = false
    this.stopServing()
    this.refuse(bindingClosed())
    const connections = [...this.connections]
    for (const connection of connections) {
      connection.end("the binding was closed while the call was in progress", true)
    }
    const drained = Effect.forEach([...connections, ...this.closing], drain, {
      concurrency: "unbounded",
      discard: true
    })
    return Effect.andThen(drained, Scope.close(this.scope, Exit.void))
  })
}

// ----------------------------------------------------------------------------
// endpoint mappers
// ----------------------------------------------------------------------------

const endpointMapperUuid = "e1af8308-5d1f-11c9-91a4-08002b14a0fa"

const endpointLookup = onDemand("what asks endpoint mappers", () => import("./internal/endpointLookup.ts"))

/** Whether a mapper is asked for the endpoint: the string binding has none, of a protocol sequence that mappers know. */
const isLookedUp = ({ endpoint, protocol }: StringBinding.StringBinding): boolean =>
  endpoint === undefined && (protocol === "ncacn_ip_tcp" || protocol === "ncalrpc")

/** Where the mapper of a server's host listens. */
const endpointMapperOf = ({ address, protocol }: StringBinding.StringBinding): StringBinding.StringBinding => ({
  protocol,
  address,
  endpoint: protocol === "ncalrpc" ? "EPMAPPER" : "135",
  options: {}
})

// ----------------------------------------------------------------------------
// a binding
// ----------------------------------------------------------------------------

/** One binding of an association. */
class Channel implements CallChannel {
  readonly callObjects = true
  readonly address: string
  readonly association: AssociationImpl
  readonly bound: Bound
  readonly object: string | undefined
  private open = true

  constructor(association: AssociationImpl, bound: Bound, object: string | undefined) {
    this.association = association
    this.address = StringBinding.print(association.address)
    this.bound = bound
    this.object = object
  }

  get isOpen(): boolean {
    return this.open && this.association.open
  }

  issue(
    outgoing: Outgoing,
    input: unknown,
    _fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<void, BadStubData | RpcTransportError> | undefined {
    const call = fullOutgoing(outgoing)
    const now = this.isOpen && call.pipes === undefined
    const connection = now ? this.association.readyNow(this.bound) : undefined
    if (connection === undefined) return this.issueLater(call, input)
    const refused = connection.send(this, call, input)
    return refused === undefined ? undefined : Effect.fail(refused)
  }

  /** Waits for a connection, for the bind and for room to send. */
  private issueLater(call: FullOutgoing, input: unknown): Effect.Effect<void, BadStubData | RpcTransportError> {
    const send = (connection: ClientConnection): Exit.Exit<void, BadStubData | RpcTransportError> => {
      if (!this.isOpen) return Exit.fail(bindingClosed())
      const refused = connection.send(this, call, input)
      return refused === undefined ? Exit.void : Exit.fail(refused)
    }
    const { association, bound } = this
    const sent = call.pipes === undefined ? association.whenReady(bound, send) : association.whenAlone(bound, send)
    const begun = Effect.mapError(sent, (error) => error._tag === "BadStubData" ? error : callFailure(error))
    const { callTimeout } = association
    if (callTimeout === Infinity) return begun
    return Effect.timeoutOrElse(begun, { duration: callTimeout, orElse: () => Effect.fail(notSentInTime()) })
  }

  /** Ends the calls of the binding. */
  close(): void {
    this.open = false
    this.association.endCallsOf(this)
  }
}

const notSentInTime = (): RpcTransportError => transportError(1722, "the call timeout is over, and nothing was sent")

const bindingClosed = (): RpcTransportError => transportError(1722, "the binding was closed with its scope")

/** Waits until what was sent has left, though not for long. */
const drain = ({ outbox }: ClientConnection): Effect.Effect<void> =>
  Effect.asVoid(Effect.timeoutOption(Effect.catch(outbox.drained, () => Effect.void), "1 second"))

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

// ----------------------------------------------------------------------------
// constructors
// ----------------------------------------------------------------------------

/**
 * Makes an association with the server at a string binding, for several bindings to share. It connects when the first of them
 * is made, and again with the next call when the connection is lost. Where the string binding has no endpoint the endpoint mapper is
 * asked for it, with the interface of that binding or call, and once more where no connection comes about.
 *
 * **When to use**
 *
 * Use it where a program calls more than one interface of a server; for one, give the string binding to {@link bind}.
 *
 * **Details**
 *
 * Fails with `StringBindingError` for text that is no string binding. When the scope closes the connections are closed; calls in
 * progress end with 1726.
 *
 * **Example** (Two interfaces on one connection)
 *
 * ```ts
 * import { Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Association, Endpoint, Management } from "@callisto/rpc/dcerpc"
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
 *   yield* Endpoint.serve(yield* Server.make([manager]), "ncacn_memory:[sums]")
 *
 *   const association = yield* Association.make("ncacn_memory:[sums]")
 *   const sums = yield* Association.bind(Sums, association)
 *   const management = yield* Association.bind(Management.IManagement, association)
 *   yield* Call.invoke(management, "is_server_listening") // => { status: 0, return: 1 }
 *   return yield* Call.invoke(sums, "Add", [1, 2, 3]) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provide(program, Transport.memory))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  binding: string,
  options: Options = {}
): Effect.Effect<Association, StringBinding.StringBindingError, Transport.Transport | Scope.Scope> =>
  Effect.gen(function* () {
    const address = yield* Effect.fromResult(StringBinding.parse(binding))
    const mapper = options.endpointMapper === undefined
      ? address
      : yield* Effect.fromResult(StringBinding.parse(options.endpointMapper))
    const transport = yield* Transport.Transport
    const context = yield* Effect.context<never>()
    const endpointMapper = isLookedUp(mapper) ? endpointMapperOf(mapper) : mapper
    const association = new AssociationImpl(address, endpointMapper, transport, context, options)
    yield* Effect.addFinalizer(() => association.shut)
    return association
  })

/**
 * Binds to an interface of a server: of the one at a string binding, by an association of its own, or of the one behind an
 * association that several bindings share. Connects at once.
 *
 * **Details**
 *
 * The object that is called is that of the options, or else that of the string binding. Several bindings on one connection are agreed
 * on with `alter_context`.
 *
 * Fails with `StringBindingError` for text that is no string binding, with `UnknownInterface` when the server does not offer
 * the interface in a compatible version, with `EndpointNotRegistered` when its endpoint is not in the string binding and the endpoint
 * mapper does not know it either, and with `RpcTransportError` when it can't be reached. When the scope closes the calls of the binding
 * that are in progress end with 1726.
 *
 * A call whose connection is lost is sent once more, on another connection, if it certainly did not execute or if its method is
 * idempotent. Where that is not so, or is of no use, it ends with 1722 if nothing of its request was sent, with 1727 if only a part
 * was that no server executes, and with 1726 otherwise.
 *
 * Windows: `RpcBindingFromStringBinding`; `RpcEpResolveBinding` where it has no endpoint.
 *
 * @category constructors
 * @since 0.1.0
 */
export const bind: {
  <I extends Interface.Any>(
    iface: I,
    association: Association,
    options?: Binding.Options
  ): Effect.Effect<Binding.Binding<I>, UnknownInterface | EndpointNotRegistered | RpcTransportError, Scope.Scope>
  <I extends Interface.Any>(
    iface: I,
    binding: string,
    options?: Options & Binding.Options
  ): Effect.Effect<
    Binding.Binding<I>,
    StringBinding.StringBindingError | UnknownInterface | EndpointNotRegistered | RpcTransportError,
    Transport.Transport | Scope.Scope
  >
} = <I extends Interface.Any>(
  iface: I,
  to: string | Association,
  options: Options & Binding.Options = {}
): Effect.Effect<Binding.Binding<I>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const association = (typeof to === "string" ? yield* make(to, options) : to) as AssociationImpl
    const bound = association.bound(iface)
    yield* bound.syntax.load
    yield* association.whenReady(bound, () => Exit.void)
    const channel = new Channel(association, bound, options.object ?? association.object)
    if (association === to) yield* Effect.addFinalizer(() => Effect.sync(() => channel.close()))
    return yield* makeBinding(iface, channel, options)
  }) as Effect.Effect<any, never, Scope.Scope>

/**
 * Provides a binding service by {@link bind}.
 *
 * @category services
 * @since 0.1.0
 */
export const layer = <Key extends string, I extends Interface.Any>(
  service: Binding.Service<Key, I>,
  binding: string,
  options?: Options & Binding.Options
): Layer.Layer<
  Binding.Bound<Key, I>,
  StringBinding.StringBindingError | UnknownInterface | EndpointNotRegistered | RpcTransportError,
  Transport.Transport
> => Layer.effect(service, bind(service.interface, binding, options))
