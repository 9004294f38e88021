/**
 * The connections of an association, and whatever waits for one of them.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { Remote } from "../../Channel.ts"
import type { Interface } from "../../Interface.ts"
import { cancelled, errorOf, unavailable } from "../../internal/failures.ts"
import { nowOf } from "../../internal/clock.ts"
import type { RpcTransportError } from "../../Status.ts"
import { makeOutbox, type Outbox } from "../../transport/internal/outbox.ts"
import type { ReadWhile } from "../../transport/internal/flow.ts"
import { makeReadWhile } from "../../transport/internal/sockets.ts"
import type * as StringBinding from "../../transport/StringBinding.ts"
import type * as Transport from "../../transport/Transport.ts"
import * as Pdu from "../Pdu.ts"
import {
  type Caller,
  ClientConnection,
  type Limits,
  type Owner,
  type PipeCarrier,
  type Securing,
  type SentCall
} from "./clientConnection.ts"
import { type Bound, type Failure, largest, type Refusal } from "./proposals.ts"
import { State } from "./connection.ts"
import { carriesHandle, HeldHandles } from "./heldHandles.ts"

// ----------------------------------------------------------------------------
// those that wait
// ----------------------------------------------------------------------------

/** A call that waits for a connection that has room and knows the interface. */
interface Waiting {
  readonly bound: Bound
  /** Whether it needs a connection to itself, for its pipes. */
  readonly forPipes: boolean
  readonly send: (connection: ClientConnection) => void
  readonly refuse: (failure: Failure) => void
}

/** Why a line waits. */
type Reason =
  /** A connection is being made. */
  | "connecting"
  /** The server has not answered the proposal of the interface. */
  | "answer"
  /** All connections that may be made are in use. */
  | "busy"
  /** The calls before have to end or leave first, which takes as long as they take. */
  | "turn"

/** Those that wait for the same: calls of one interface, with or without pipes, in their order. */
interface Line {
  readonly bound: Bound
  readonly forPipes: boolean
  /** Calls to be sent again, in the order in which they were sent. */
  readonly resends: Array<Place<Resend>>
  readonly begins: Map<Waiting, Place<Waiting>>
  reason: Reason
  /** Since when the reason is one for which `connectTimeout` counts. */
  counts: number
}

/** The place of one in its line. */
interface Place<W extends Waiting> {
  readonly waiting: W
  readonly number: number
  /** Since when it waits. */
  readonly since: number
}

/** A call whose connection was lost and that waits for another one. */
class Resend implements Remote, Waiting {
  readonly dispatched: boolean
  readonly cancelDisabled = false
  readonly forPipes = false
  readonly earlier: SentCall
  readonly error: Failure
  /** Ends it with its `callTimeout`, which nothing else watches while it is on no connection. */
  due: Fiber.Fiber<void> | undefined = undefined
  private readonly pool: Pool

  constructor(pool: Pool, earlier: SentCall, error: Failure) {
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

/** A connection that is being made. */
interface Attempt {
  readonly forPipes: boolean
  fiber: Fiber.Fiber<unknown, Refusal> | undefined
}

// ----------------------------------------------------------------------------
// the pool
// ----------------------------------------------------------------------------

/** The decisions of the association for its pool. */
export interface Settings extends Limits {
  /** The services of the program that made the association, for what runs on its behalf. */
  readonly context: Context.Context<never>
  readonly transport: Transport.Transport
  /** Where an interface is served, or the effect that finds the candidates. */
  readonly locate: (
    iface: Interface.Any
  ) => StringBinding.StringBinding | Effect.Effect<ReadonlyArray<StringBinding.StringBinding>, Refusal>
  /** Logs its connections in; `undefined` where nobody logs in. */
  readonly securing: Securing | undefined
  /** Whether it keeps its last connection also while no open binding has its security. */
  readonly lasting: boolean
  readonly maximumConnections: number
  /** The connections for calls with pipes. */
  readonly maximumPiped: number
  // In milliseconds.
  readonly connectTimeout: number
}

export class Pool implements Owner {
  private readonly settings: Settings
  /** The address with the endpoint that the endpoint mapper has named, while it leads to the server. */
  private resolved: StringBinding.StringBinding | undefined = undefined
  private readonly scope: Scope.Closeable = Scope.makeUnsafe()
  /** Done when the connection that is being made, and begins a group, has come about or not. */
  private founding: Deferred.Deferred<void> | undefined = undefined
  /** The groups that a new connection could not join, while it is not known whether one without them comes about. */
  private readonly doubted = new Set<number>()
  private readonly attempts = new Set<Attempt>()
  readonly clock: Clock.Clock
  readonly limits: Limits
  readonly connections: Set<ClientConnection> = new Set()
  /** Connections of no use any more, while their sent bytes leave. */
  private readonly closing = new Set<ClientConnection>()
  readonly handles: HeldHandles<ClientConnection> = new HeldHandles(this.connections, () => this.releaseAll())
  private readonly lines = new Map<string, Line>()
  private lastPlace = 0
  private advancing = false
  private again = false
  /** Looks whether a proposal was answered in time. */
  private looking: Fiber.Fiber<void> | undefined = undefined
  /** Refuses those that wait for too long. */
  private timer: Fiber.Fiber<void> | undefined = undefined
  private expiresAt = Infinity
  /** The calls and proposals of the association so far. */
  lastCall = 0
  pipes: PipeCarrier | undefined = undefined
  /** The open bindings that have its security. */
  bindings = 0
  open = true

  constructor(settings: Settings) {
    this.settings = settings
    this.clock = Context.get(settings.context, Clock.Clock)
    this.limits = settings
  }

  nextCallId({ calls, proposals }: ClientConnection): number {
    let callId: number
    do callId = this.lastCall++ % 0xffffffff + 1
    while (calls.has(callId) || proposals.has(callId))
    return callId
  }

  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    return Effect.runForkWith(this.settings.context)(effect)
  }

  // --- waiting for a connection

  /** A connection on which a call without pipes can be sent now, before which none waits. */
  readyNow(bound: Bound): ClientConnection | undefined {
    return this.lines.size === 0 ? this.ready(bound, false) : undefined
  }

  /** Waits for a connection with room that knows the interface; for a call with pipes, for one to itself. */
  whenReady<E>(
    bound: Bound,
    forPipes: boolean,
    use: (connection: ClientConnection) => Exit.Exit<void, E>
  ): Effect.Effect<void, E | Failure> {
    return Effect.callback((resume) => {
      if (!this.open) return resume(Effect.fail(bindingClosed()))
      const waiting: Waiting = {
        bound,
        forPipes,
        send: (connection) => resume(use(connection)),
        refuse: (failure) => resume(Effect.fail(failure))
      }
      this.enter(waiting)
      this.changed()
      return Effect.sync(() => this.withdraw(waiting))
    })
  }

  resend(earlier: SentCall, error: Failure): void {
    const resend = new Resend(this, earlier, error)
    earlier.call.remote = resend
    this.enter(resend)
    if (earlier.deadline === Infinity) return
    const left = Math.max(0, earlier.deadline - nowOf(this.clock))
    resend.due = this.fork(Effect.andThen(Effect.sleep(left), Effect.sync(() => resend.cancel())))
  }

  private enter(waiting: Waiting): void {
    const { bound, forPipes } = waiting
    const key = keyOf(waiting)
    let line = this.lines.get(key)
    if (line === undefined) {
      line = { bound, forPipes, resends: [], begins: new Map(), reason: "turn", counts: Infinity }
      this.lines.set(key, line)
    }
    const place = { waiting, number: ++this.lastPlace, since: nowOf(this.clock) }
    if (!(waiting instanceof Resend)) return void line.begins.set(waiting, place)
    const later = line.resends.findIndex(({ waiting: { earlier } }) => earlier.order > waiting.earlier.order)
    line.resends.splice(later < 0 ? line.resends.length : later, 0, { ...place, waiting })
  }

  withdraw(waiting: Waiting): void {
    this.leave(waiting)
    this.prune()
  }

  /** Stops connecting where no call needs it. */
  private prune(): void {
    for (const attempt of [...this.attempts].reverse()) {
      const { fiber, forPipes } = attempt
      const wanted = forPipes ? this.waiting(true) : Math.min(1, this.waiting(false))
      if (this.attempting(forPipes) <= wanted) continue
      this.attempts.delete(attempt)
      fiber?.interruptUnsafe()
    }
  }

  private leave(waiting: Waiting): void {
    const key = keyOf(waiting)
    const line = this.lines.get(key)
    if (line === undefined) return
    if (waiting instanceof Resend) {
      const index = line.resends.findIndex((place) => place.waiting === waiting)
      if (index >= 0) line.resends.splice(index, 1)
      waiting.due?.interruptUnsafe()
    } else line.begins.delete(waiting)
    if (sizeOf(line) === 0) this.lines.delete(key)
    if (this.lines.size > 0 || this.timer === undefined) return
    this.timer.interruptUnsafe()
    this.timer = undefined
  }

  endCallsOf(caller: Caller): void {
    for (const { resends } of this.lines.values()) {
      for (const { waiting } of resends.filter(({ waiting }) => waiting.earlier.caller === caller)) {
        this.withdraw(waiting)
        waiting.refuse()
      }
    }
    for (const connection of [...this.connections]) connection.endCallsOf(caller)
  }

  private waiting(forPipes: boolean): number {
    let count = 0
    for (const line of this.lines.values()) if (line.forPipes === forPipes) count += sizeOf(line)
    return count
  }

  private attempting(forPipes: boolean): number {
    let count = 0
    for (const attempt of this.attempts) if (attempt.forPipes === forPipes) count++
    return count
  }

  // --- serving those that wait

  /** Gives connections to those that wait, in their order, and makes what is missing. */
  changed(): void {
    if (this.lines.size === 0) return
    if (this.advancing) {
      this.again = true
      return
    }
    this.advancing = true
    try {
      do {
        this.again = false
        while (this.serveOne());
        this.provide()
      } while (this.again)
    } finally {
      this.advancing = false
    }
    this.prune()
    this.setTimer()
  }

  /** Serves the first of those for whom there is a connection. Gives whether there was one. */
  private serveOne(): boolean {
    let first: Place<Waiting> | undefined
    let connection: ClientConnection | undefined
    for (const line of this.lines.values()) {
      const place = firstOf(line)
      if (first !== undefined && !isBefore(place, first)) continue
      const ready = this.ready(line.bound, line.forPipes)
      if (ready === undefined) continue
      first = place
      connection = ready
    }
    if (first === undefined) return false
    this.leave(first.waiting)
    first.waiting.send(connection!)
    return true
  }

  /** A connection on which a call of the interface can be sent now. */
  private ready(bound: Bound, forPipes: boolean): ClientConnection | undefined {
    let found: ClientConnection | undefined
    for (const connection of this.connections) {
      if (connection.forPipes !== forPipes || !connection.takesCalls || !connection.contexts.has(bound.key)) continue
      if (forPipes ? connection.proposals.size > 0 : connection.isHeld) continue
      const isReady = connection.isFree && (forPipes || connection.hasRoom)
      // Calls in order stay with the connection that was made last.
      if (!forPipes && this.settings.maximumConnections === 1) found = isReady ? connection : undefined
      else if (isReady) return connection
    }
    return found
  }

  private provide(): void {
    // So many of those with pipes have a connection that is on its way to them.
    let coming = this.attempting(true)
    for (const { forPipes, proposals } of this.connections) if (forPipes && proposals.size > 0) coming++
    for (const line of [...this.lines.values()]) {
      let reason: Reason = "connecting"
      if (!line.forPipes) reason = this.provideFor(line)
      for (let missing = line.forPipes ? sizeOf(line) : 0; missing > 0 && reason === "connecting"; missing--) {
        if (coming > 0) coming--
        else reason = this.provideAlone(line)
      }
      if (reason === "turn") line.counts = Infinity
      else if (line.counts === Infinity) line.counts = nowOf(this.clock)
      line.reason = reason
    }
  }

  /** Waits for room, proposes the interface, makes one more connection, or waits until one is free. */
  private provideFor(line: Line): Reason {
    const { bound } = line
    const { maximumConnections } = this.settings
    let isKnown = false
    let usable = this.usable
    for (const connection of [...this.connections]) {
      if (connection.forPipes || !connection.takesCalls) continue
      if (connection.contexts.has(bound.key)) {
        if (connection.isHeld) {
          const left = connection.proposedAt + patience - nowOf(this.clock)
          if (left > 0) return this.lookIn(left)
          usable--
          continue
        }
        isKnown = true
        if (!connection.isFree) continue
        connection.awaitRoom()
        return "turn"
      }
      if (connection.awaits(bound)) return "answer"
      if (connection.isFree && !connection.isHeld && connection.propose(bound)) return "answer"
    }
    if (this.attempting(false) > 0) return "connecting"
    if (usable >= maximumConnections) return isKnown && maximumConnections === 1 ? "turn" : "busy"
    this.attempt(line)
    return "connecting"
  }

  /** Looks again when the server has had its time to answer a proposal. */
  private lookIn(millis: number): Reason {
    this.looking ??= this.fork(Effect.andThen(
      Effect.sleep(millis),
      Effect.sync(() => {
        this.looking = undefined
        this.changed()
      })
    ))
    return "turn"
  }

  private provideAlone(line: Line): Reason {
    let count = this.attempting(true)
    for (const connection of [...this.connections]) {
      if (!connection.forPipes || !connection.takesCalls) continue
      if (connection.isFree && connection.proposals.size === 0 && !connection.contexts.has(line.bound.key)) {
        if (connection.propose(line.bound)) return "connecting"
      } else count++
    }
    if (count >= this.settings.maximumPiped) return "busy"
    this.attempt(line)
    return "connecting"
  }

  private attempt({ bound, forPipes }: Line): void {
    const attempt: Attempt = { forPipes, fiber: undefined }
    this.attempts.add(attempt)
    const died = (defect: unknown) => Effect.fail(unreachable(`the transport failed: ${String(defect)}`))
    attempt.fiber = this.fork(Effect.catchDefect(this.connect(bound, forPipes), died))
    attempt.fiber.addObserver((exit) => {
      // An attempt that was withdrawn has nothing to say.
      if (!this.attempts.delete(attempt)) return
      if (exit._tag === "Failure") {
        // Whatever it ends with: those who wait would have the next attempt begun at once.
        this.refuse(errorOf(exit.cause) as Refusal ?? unreachable("connecting was interrupted"), bound, forPipes)
      } // A connection that only kept the handles of its group alive is of no more use.
      else this.releaseAll()
      this.changed()
    })
  }

  refused(bound: Bound, failure: Failure): void {
    this.refuse({ failure, reach: "interface" }, bound)
  }

  /** Refuses those that wait for the interface, or all that wait for the same kind of connection. */
  private refuse({ failure, reach }: Refusal, bound?: Bound, forPipes?: boolean): void {
    for (const line of [...this.lines.values()]) {
      const isConcerned = reach === "interface"
        ? line.bound.key === bound?.key
        : line.forPipes === (forPipes ?? line.forPipes)
      if (!isConcerned || reach === "server" && this.open && this.hasOther(line)) continue
      for (const waiting of waitingIn(line)) {
        this.withdraw(waiting)
        waiting.refuse(failure)
      }
    }
  }

  /** Whether calls have a connection all the same: one on which a proposal awaits an answer. */
  private hasOther({ bound, forPipes }: Line): boolean {
    if (forPipes) return false
    let has = false
    for (const connection of this.connections) {
      if (connection.forPipes || !connection.takesCalls) continue
      if (connection.contexts.has(bound.key) && connection.isHeld) has = connection.isOnlyOne = true
      if (connection.awaits(bound)) has = true
    }
    return has
  }

  // --- limits of time

  private setTimer(): void {
    const { connectTimeout } = this.settings
    let due = Infinity
    for (const line of this.lines.values()) due = Math.min(due, dueOf(line, connectTimeout))
    if (due === Infinity || this.timer !== undefined && this.expiresAt <= due) return
    this.timer?.interruptUnsafe()
    this.expiresAt = due
    const millis = Math.max(0, due - nowOf(this.clock))
    this.timer = this.fork(Effect.andThen(Effect.sleep(millis), Effect.sync(() => this.expire())))
  }

  private expire(): void {
    this.timer = undefined
    const { connectTimeout } = this.settings
    const now = nowOf(this.clock)
    for (const line of [...this.lines.values()]) {
      while (sizeOf(line) > 0 && dueOf(line, connectTimeout) <= now) {
        const { waiting } = firstOf(line)
        if (waiting instanceof Resend && waiting.earlier.deadline <= now) waiting.cancel()
        else {
          this.withdraw(waiting)
          waiting.refuse(unavailable(this.tooLong(line)))
        }
      }
    }
    this.changed()
    this.setTimer()
  }

  private tooLong({ bound, forPipes, reason }: Line): string {
    const { connectTimeout, maximumConnections, maximumPiped } = this.settings
    const limit = `within connectTimeout (${connectTimeout} ms)`
    if (reason === "answer") return `the server did not answer the proposal of ${bound.interface.name} ${limit}`
    if (reason !== "busy") return tooLong(connectTimeout)
    const count = forPipes ? maximumPiped : maximumConnections
    const use = forPipes ? "with pipes" : "that carries one call at a time"
    return `no connection ${use} was free ${limit}: all ${count} are in use. Raise maximumConnections or wait for a call to end`
  }

  // --- connections

  /** Those that go on being used. */
  get usable(): number {
    let usable = 0
    for (const { forPipes, takesCalls } of this.connections) if (takesCalls && !forPipes) usable++
    return usable
  }

  /** Those that keep the association alive. */
  get kept(): number {
    let kept = 0
    for (const { takesCalls } of this.connections) if (takesCalls) kept++
    return kept
  }

  get lasting(): boolean {
    return this.settings.lasting
  }

  /** Whether its last connection is kept though nobody uses it. */
  get isKept(): boolean {
    return this.lasting || this.bindings > 0
  }

  /** Whether nothing is lost with it. */
  get isUnused(): boolean {
    return !this.isKept && this.connections.size + this.closing.size + this.lines.size + this.attempts.size === 0
  }

  private releaseAll(): void {
    for (const connection of [...this.connections]) connection.released()
  }

  ended(connection: ClientConnection, inOrder: boolean): void {
    this.connections.delete(connection)
    this.handles.lose(connection)
    const close = Effect.exit(Scope.close(connection.scope, Exit.void))
    if (!inOrder) return void this.fork(close)
    this.closing.add(connection)
    const forget = Effect.sync(() => this.closing.delete(connection))
    this.fork(Effect.andThen(drain(connection), Effect.andThen(close, forget)))
  }

  /** Connects and binds. */
  private connect(bound: Bound, forPipes: boolean): Effect.Effect<ClientConnection, Refusal> {
    const { connectTimeout, locate } = this.settings
    const found = locate(bound.interface)
    const connecting = Effect.isEffect(found)
      ? this.connectResolved(found, bound, forPipes)
      : this.connectTo(found, bound, forPipes)
    return Effect.timeoutOrElse(this.inOneGroup(connecting), {
      duration: connectTimeout,
      orElse: () => Effect.fail(unreachable(tooLong(connectTimeout)))
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
    resolve: Effect.Effect<ReadonlyArray<StringBinding.StringBinding>, Refusal>,
    bound: Bound,
    forPipes: boolean
  ): Effect.Effect<ClientConnection, Refusal> {
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
  ): Effect.Effect<ClientConnection, Refusal> {
    const attempt = Effect.suspend(() => {
      const scope = Scope.forkUnsafe(this.scope)
      return Effect.onExit(
        Scope.provide(this.establish(scope, address, bound, forPipes), scope),
        // Once calls may use it, it no longer ends with the attempt. What dies while it is closed is no reason for anything.
        (exit) =>
          [...this.connections].some((one) => one.scope === scope) ? Effect.void : Effect.exit(Scope.close(scope, exit))
      )
    })
    const again = Effect.filterOrFail(
      attempt,
      ({ takesCalls }) => takesCalls,
      () => unreachable("the server shuts down each connection as soon as it is bound")
    )
    return Effect.flatMap(attempt, (connection) => connection.takesCalls ? Effect.succeed(connection) : again)
  }

  private establish(
    scope: Scope.Closeable,
    address: StringBinding.StringBinding,
    bound: Bound,
    forPipes: boolean
  ): Effect.Effect<ClientConnection, Refusal, Scope.Scope> {
    return Effect.gen({ self: this }, function* () {
      const { serverEndPoint, socket } = yield* Effect.mapError(
        this.settings.transport.connect(address),
        (failure): Refusal => ({ failure, reach: "server" })
      )
      let connection: ClientConnection | undefined
      const outbox: Outbox = yield* makeOutbox(socket, () => connection?.cutOff())
      const readWhile = yield* Effect.mapError(makeReadWhile(socket), () => unreachable(lostWhileBound))
      const opening = connection = new ClientConnection(this, scope, outbox, address, bound, forPipes)
      yield* Effect.addFinalizer(() => Effect.sync(() => opening.move("shutdownAsked")))
      const { groupId, settings: { securing } } = this
      if (securing === undefined) opening.bind(groupId)
      yield* Effect.forkScoped(this.read(opening, readWhile))
      if (securing !== undefined) yield* securing(opening, groupId, serverEndPoint)
      yield* Effect.onError(Deferred.await(opening.opened), () =>
        Effect.sync(() => {
          if (opening.rejectReason === 0 && groupId !== 0) this.doubted.add(groupId)
        }))
      if (!opening.takesCalls) return opening
      yield* Effect.forkScoped(opening.tend())
      this.connections.add(opening)
      return opening
    })
  }

  private read(connection: ClientConnection, readWhile: ReadWhile): Effect.Effect<void> {
    const parser = Pdu.makeParser({ maxFragment: largest, owned: true })
    let problem: string | undefined
    /** The bytes that have arrived and wait until the reader of a pipe keeps up. */
    let waiting = noBytes
    const accept = (pdu: Pdu.Pdu | Pdu.PduError): boolean => {
      problem = connection.receive(pdu)
      return problem === undefined && connection.keepsUp
    }
    const resume = (): boolean => {
      waiting = waiting.subarray(parser.read(waiting, 0, accept))
      if (problem === undefined) connection.announce()
      return problem === undefined && waiting.length === 0 && connection.keepsUp
    }
    const take = (chunk: Uint8Array): boolean => {
      waiting = chunk
      return resume()
    }
    const reading = Effect.gen(function* () {
      while (problem === undefined) {
        yield* readWhile(take)
        // A slow reader of a pipe slows the server that pushes into it.
        do yield* connection.room
        while (!resume() && problem === undefined)
      }
    })
    return Effect.map(Effect.exit(reading), () => {
      if (problem !== undefined) connection.move("closedByPeer", `the server broke the protocol: ${problem}`)
      else if (connection.state === State.opening) connection.move("closedByPeer", lostWhileBound)
      else connection.move("closedByPeer")
    })
  }

  probe(connection: ClientConnection): Effect.Effect<boolean> {
    const { address, first, forPipes, scope } = connection
    const asking = Effect.gen({ self: this }, function* () {
      const { socket } = yield* this.settings.transport.connect(address)
      const answering = Effect.gen({ self: this }, function* () {
        const outbox = yield* makeOutbox(socket)
        const readWhile = yield* makeReadWhile(socket)
        new ClientConnection(this, scope, outbox, address, first, forPipes).bind(0)
        yield* readWhile(() => false)
      })
      // Whatever the peer does with the bind, it is there.
      yield* Effect.exit(answering)
      return true
    })
    // A server that shuts down takes no new connections.
    return Effect.orElseSucceed(Effect.scoped(asking), () => connection.state === State.leaving)
  }

  /** The group that a new connection joins; 0 where it begins one. */
  private get groupId(): number {
    for (const { groupId, isJoinable } of this.connections) if (isJoinable && !this.doubted.has(groupId)) return groupId
    return 0
  }

  /** The connections in the group are dead, heard of or not. */
  private forgetGroup(groupId: number): void {
    for (const connection of [...this.connections]) if (connection.groupId === groupId) connection.move("disowned")
  }

  /** Closes the connections. Sent bytes leave first, if the server takes them. */
  readonly shut: Effect.Effect<void> = Effect.suspend(() => {
    this.open = false
    this.timer?.interruptUnsafe()
    this.looking?.interruptUnsafe()
    this.refuse({ failure: bindingClosed(), reach: "server" })
    for (const connection of [...this.connections]) {
      connection.move("shutdownAsked", "the binding was closed while the call was in progress")
    }
    const drained = Effect.forEach(this.closing, drain, { concurrency: "unbounded", discard: true })
    return Effect.andThen(drained, Effect.asVoid(Effect.exit(Scope.close(this.scope, Exit.void))))
  })
}

/** For how long calls wait for the answer to a proposal, in milliseconds, before another connection is made for them. */
const patience = 100

/** Those with pipes wait in lines of their own. */
const keyOf = ({ bound, forPipes }: Waiting): string => forPipes ? `pipes ${bound.key}` : bound.key

const sizeOf = ({ begins, resends }: Line): number => resends.length + begins.size

const firstOf = ({ begins, resends }: Line): Place<Waiting> => {
  const [resend] = resends
  if (resend !== undefined) return resend
  for (const place of begins.values()) return place
  throw new Error("Association: a line without anybody in it.")
}

const waitingIn = ({ begins, resends }: Line): ReadonlyArray<Waiting> => [
  ...resends.map(({ waiting }) => waiting),
  ...begins.keys()
]

/** Calls that were sent before come before those that begin. */
const isBefore = (one: Place<Waiting>, other: Place<Waiting>): boolean => {
  const isResend = one.waiting instanceof Resend
  return isResend === other.waiting instanceof Resend ? one.number < other.number : isResend
}

/** When a call that waits to be sent again has to be over: the first of a line is the first to end. */
const deadlineOf = (waiting: Waiting): number => waiting instanceof Resend ? waiting.earlier.deadline : Infinity

/** When the first of a line has waited for too long. */
const dueOf = (line: Line, limit: number): number => {
  const { since, waiting } = firstOf(line)
  return Math.min(Math.max(since, line.counts) + limit, deadlineOf(waiting))
}

const unreachable = (detail: string): Refusal => ({ failure: unavailable(detail), reach: "server" })

const lostWhileBound = "the server closed the connection while it was being bound"

const tooLong = (millis: number): string => `connecting took longer than connectTimeout (${millis} ms)`

export const bindingClosed = (): RpcTransportError => unavailable("the binding was closed with its scope")

const noBytes: Uint8Array = new Uint8Array(0)

/** Waits until the sent bytes have left, though not for long. */
const drain = ({ outbox }: ClientConnection): Effect.Effect<void> =>
  Effect.asVoid(Effect.timeoutOption(Effect.catch(outbox.drained, () => Effect.void), "1 second"))
