/**
 * The connections of an association, and whatever waits for one of them.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { Remote } from "../../Channel.ts"
import type { Interface } from "../../Interface.ts"
import { cancelled } from "../../internal/failures.ts"
import type { RpcTransportError } from "../../Status.ts"
import { makeOutbox } from "../../transport/internal/outbox.ts"
import type { ReadWhile } from "../../transport/internal/flow.ts"
import { makeReadWhile } from "../../transport/internal/sockets.ts"
import type * as StringBinding from "../../transport/StringBinding.ts"
import type * as Transport from "../../transport/Transport.ts"
import * as Pdu from "../Pdu.ts"
import { proposed } from "../TransferSyntax.ts"
import {
  agreedOn,
  bindFor,
  type Bound,
  type Caller,
  ClientConnection,
  type Failure,
  largest,
  type Owner,
  type SentCall,
  transportError
} from "./clientConnection.ts"
import { carriesHandle, HeldHandles } from "./heldHandles.ts"

// ----------------------------------------------------------------------------
// those that wait
// ----------------------------------------------------------------------------

/** What waits for a connection that has room and knows the interface. */
interface Waiting {
  readonly bound: Bound
  readonly send: (connection: ClientConnection) => void
  readonly refuse: (failure: Failure) => void
}

/** For a call, an interface that is offered or registered no more is a server that can't be reached. */
export const callFailure = (failure: Failure): RpcTransportError =>
  failure._tag === "RpcTransportError" ? failure : transportError(1722, withoutPeriod(failure.message))

/** A sentence as part of another one. */
export const withoutPeriod = (sentence: string): string => sentence.replace(/\.$/, "")

/** A call whose connection was lost and that waits for another one. */
class Resend implements Remote, Waiting {
  readonly dispatched: boolean
  readonly cancelDisabled = false
  readonly earlier: SentCall
  readonly error: RpcTransportError
  private readonly pool: Pool

  constructor(pool: Pool, earlier: SentCall, error: RpcTransportError) {
    this.pool = pool
    this.earlier = earlier
    this.error = error
    this.dispatched = earlier.mayHaveRun
  }

  get bound(): Bound {
    return this.earlier.caller.bound
  }

  send(connection: ClientConnection): void {
    const { call, caller, input } = this.earlier
    // A context handle is gone with the connections of its group.
    const isForeign = connection.groupId !== this.earlier.connection.groupId
    if (isForeign && carriesHandle(call.operation, input)) return this.refuse()
    if (connection.send(caller, call, input, this.earlier) !== undefined) this.refuse()
  }

  refuse(): void {
    this.earlier.call.reply(Exit.fail(this.error))
  }

  cancel(): void {
    this.discard()
    this.earlier.call.reply(Exit.fail(cancelled(!this.dispatched)))
  }

  discard(): void {
    this.pool.withdraw(this)
  }

  orphan(): void {
    this.discard()
  }

  goOn(): void {
    // It is sent in its turn.
  }
}

/** What the association decides for its pool. */
export interface Settings {
  /** The services of the program that made the association, for what runs on its behalf. */
  readonly context: Context.Context<never>
  readonly transport: Transport.Transport
  /** Where an interface is served, or the effect that finds the candidates. */
  readonly locate: (
    iface: Interface.Any
  ) => StringBinding.StringBinding | Effect.Effect<ReadonlyArray<StringBinding.StringBinding>, Failure>
  readonly maximumConnections: number
  /** The connections for calls with pipes. */
  readonly maximumPiped: number
  readonly maximumQueued: number
  readonly maximumResponse: number
  // In milliseconds.
  readonly connectTimeout: number
  readonly callTimeout: number
  readonly keepAlive: number
}

export class Pool implements Owner {
  readonly settings: Settings
  /** The address with the endpoint that the endpoint mapper has named, while it leads to the server. */
  private resolved: StringBinding.StringBinding | undefined = undefined
  readonly scope: Scope.Closeable = Scope.makeUnsafe()
  readonly interfaces: Array<Bound> = []
  /** The connections for pipes that are being made. */
  connecting = 0
  /** Done when the connection that is being made, and begins a group, has come about or not. */
  founding: Deferred.Deferred<void> | undefined = undefined
  /** The groups that a new connection could not join, while it is not known whether one without them comes about. */
  readonly doubted: Set<number> = new Set()
  readonly maximumQueued: number
  readonly maximumResponse: number
  readonly connectTimeout: number
  readonly callTimeout: number
  readonly keepAlive: number
  readonly connections: Set<ClientConnection> = new Set()
  /** Those that are of no use any more, while what was sent on them leaves. */
  readonly closing: Set<ClientConnection> = new Set()
  readonly handles: HeldHandles<ClientConnection> = new HeldHandles(this.connections, () => this.closeUnneeded())
  /** What waits for a connection: calls to be sent again, then those that begin, in the order in which they were begun. */
  readonly resends: Array<Resend> = []
  readonly begins: Array<Waiting> = []
  /** Serves those that wait, while there are any. */
  serving: Fiber.Fiber<void> | undefined = undefined
  change: Deferred.Deferred<void> | undefined = undefined
  lastCallId = 0
  open = true

  constructor(settings: Settings) {
    this.settings = settings
    this.maximumQueued = settings.maximumQueued
    this.maximumResponse = settings.maximumResponse
    this.connectTimeout = settings.connectTimeout
    this.callTimeout = settings.callTimeout
    this.keepAlive = settings.keepAlive
  }

  nextCallId(): number {
    this.lastCallId = this.lastCallId % 0xffffffff + 1
    return this.lastCallId
  }

  /** When a call that begins now has to be over. */
  deadline(): number {
    if (this.callTimeout === Infinity) return Infinity
    return Context.get(this.settings.context, Clock.Clock).currentTimeMillisUnsafe() + this.callTimeout
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

  resend(earlier: SentCall, error: RpcTransportError): void {
    const resend = new Resend(this, earlier, error)
    const { call, callId } = earlier
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

  endCallsOf(caller: Caller): void {
    for (const resend of this.resends.filter(({ earlier }) => earlier.caller === caller)) {
      this.withdraw(resend)
      resend.refuse()
    }
    for (const connection of this.connections) connection.endCallsOf(caller)
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
    if (this.usable >= this.settings.maximumConnections) {
      return Deferred.await(this.change ??= Deferred.makeUnsafe<void>())
    }
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
      if (count >= this.settings.maximumPiped) {
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
    return Effect.runForkWith(this.settings.context)(effect)
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
    const found = this.settings.locate(bound.interface)
    const connecting = Effect.isEffect(found)
      ? this.connectResolved(found, bound, forPipes)
      : this.connectTo(found, bound, forPipes)
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
  private connectResolved(
    resolve: Effect.Effect<ReadonlyArray<StringBinding.StringBinding>, Failure>,
    bound: Bound,
    forPipes: boolean
  ): Effect.Effect<ClientConnection, Failure> {
    const { resolved } = this
    // Until a connection comes about: where that takes too long, the mapper is asked the next time.
    this.resolved = undefined
    const to = (address: StringBinding.StringBinding) =>
      Effect.tap(Effect.suspend(() => this.connectTo(address, bound, forPipes)), () =>
        Effect.sync(() => {
          this.resolved = address
        }))
    const anew = Effect.flatMap(
      resolve,
      (found) => found.map(to).reduce((first, next) => Effect.catch(first, () => next))
    )
    return resolved === undefined ? anew : Effect.catch(to(resolved), () => anew)
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
      const { socket } = yield* this.settings.transport.connect(address)
      let connection: ClientConnection | undefined
      const outbox = yield* makeOutbox(socket, () => connection?.cutOff())
      const readWhile = yield* Effect.mapError(makeReadWhile(socket), lost)
      const parser = Pdu.makeParser({ maxFragment: largest, owned: true })
      const writer = new Pdu.Writer()
      const { groupId } = this
      Pdu.encodeBind(writer, bindFor(bound, this.nextCallId(), groupId))
      outbox.sendUnsafe(writer.take())
      const rest: Array<Pdu.Pdu | Pdu.PduError> = []
      const isNoAnswer = (chunk: Uint8Array) => rest.push(...parser.push(chunk)) === 0
      yield* Effect.mapError(readWhile(isNoAnswer), lost)
      const answer = rest.shift()!
      if (answer._tag === "BindNak" && answer.rejectReason === 0 && groupId !== 0) this.doubted.add(groupId)
      const agreed = yield* agreedOn(bound, answer)
      const bonded = connection = new ClientConnection(this, scope, outbox, bound, forPipes, agreed)
      yield* Effect.addFinalizer(() => Effect.sync(() => bonded.end("the connection was closed")))
      this.connections.add(bonded)
      this.closeUnneeded()
      yield* this.read(bonded, readWhile, parser, rest).pipe(Effect.forkScoped)
      for (const chore of bonded.tend()) yield* Effect.forkScoped(chore)
      return bonded
    })
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

export const bindingClosed = (): RpcTransportError => transportError(1722, "the binding was closed with its scope")

/** Waits until what was sent has left, though not for long. */
const drain = ({ outbox }: ClientConnection): Effect.Effect<void> =>
  Effect.asVoid(Effect.timeoutOption(Effect.catch(outbox.drained, () => Effect.void), "1 second"))
