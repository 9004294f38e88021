/**
 * The server's handle to one dispatched call. A manager answers through its effect, or keeps this handle and completes
 * or aborts the call later, from any fiber.
 *
 * Windows: the server's `RPC_ASYNC_STATE`, and `ICancelMethodCalls` on the server's side.
 *
 * @module
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import type * as Tracer from "effect/Tracer"
import type * as Types from "effect/Types"
import { Server as State, serverTable } from "./CallState.ts"
import { type Abort, abortOf, type Interface, type Method, type Operation, refuseCode } from "./Interface.ts"
import * as ContextHandle from "./internal/contextHandle.ts"
import * as Depth from "./internal/depth.ts"
import type * as Observability from "./Observability.ts"
import type { Ends, Reader, Writer } from "./Pipe.ts"
import {
  BadStubData,
  CallCancelled,
  cancelled,
  contextMismatch,
  InvalidAsyncHandle,
  isPipeError,
  PipeDisciplineError,
  type PipeError,
  RpcFault,
  type RpcTransportError
} from "./Status.ts"
import { Waiters } from "./Synchronize.ts"

const TypeId = "~callisto/ServerCall"

/**
 * One dispatched call of a method.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerCall<in out M extends Method.Any> extends Pipeable {
  /** Brands the type. */
  readonly [TypeId]: Types.Invariant<M>
}

/**
 * Types that belong to {@link ServerCall}.
 *
 * @category models
 * @since 0.1.0
 */
export declare namespace ServerCall {
  /** A server call of any method. */
  export type Any = ServerCall<any>
}

/**
 * A server call of method `K` of interface `I`.
 *
 * @category models
 * @since 0.1.0
 */
export type Of<I extends Interface.Any, K extends Interface.MethodName<I>> = ServerCall<I["methods"][K]>

/**
 * How strongly the caller of a call is authenticated, from weakest to strongest.
 *
 * Windows: `RPC_C_AUTHN_LEVEL`.
 *
 * @category models
 * @since 0.1.0
 */
export type AuthenticationLevel = "none" | "connect" | "call" | "packet" | "integrity" | "privacy"

/**
 * Who makes a call. Calls inside one process have no name, and the level `privacy`: nobody else can see or change them.
 *
 * @category models
 * @since 0.1.0
 */
export interface Caller {
  /** The name of the caller, where it is known. */
  readonly name: string | undefined
  /** How strongly the caller is authenticated. */
  readonly level: AuthenticationLevel
}

/**
 * Where calls come from: one association of one client.
 *
 * @category models
 * @since 0.1.0
 */
export interface Origin {
  /** Who makes the calls. */
  readonly caller: Caller
  /** The transport's peer address; `"local"` inside one process. */
  readonly peer: string
  /** @internal The context handles that are open in it. */
  readonly handles: ContextHandle.Handles
}

/**
 * What ends a call: the out parameters, or the failure that the client's `finish` gives.
 *
 * @category models
 * @since 0.1.0
 */
export type Outcome = Exit.Exit<unknown, Abort.Error | RpcFault | CallCancelled | RpcTransportError | PipeError>

/**
 * What the work for a call of a method may fail with: an abort that the method declares, any other exception code, and for a method
 * that has pipes what their operations fail with.
 *
 * @category models
 * @since 0.1.0
 */
export type Failure<M extends Method.Any> =
  | Method.Abort<M>
  | RpcFault
  | Method.IfPipes<M, PipeError | CallCancelled | InvalidAsyncHandle>

/**
 * The client of a server call, as the server sees it. It gets exactly one reply, or none when it is gone.
 *
 * @category models
 * @since 0.1.0
 */
export interface Client {
  /** Takes the outcome. Out parameters that can't be marshalled end the call with fault 1783, and are reported back. */
  readonly reply: (outcome: Outcome) => BadStubData | undefined
}

/**
 * Why a manager should stop: the client asked for it (`Cancelled`), gave the call up (`Orphaned`) or lost its
 * connection (`Disconnected`). `Ended`: the call ended before any of these.
 *
 * @category models
 * @since 0.1.0
 */
export type CancelReason = "Cancelled" | "Orphaned" | "Disconnected" | "Ended"

/**
 * What a cancel does to a manager.
 *
 * **Details**
 *
 * - `interrupt`: it interrupts the routine, which then answers "cancelled", even where an uninterruptible part of it
 *   had a result; only {@link complete} or {@link abort} can answer before.
 * - `cooperative`: it only sets the flag that {@link testCancel} and {@link awaitCancel} see, so the routine can still
 *   answer normally.
 * - `disabled`: in process the client's cancel is refused.
 *
 * A client that is gone interrupts the routine in each case.
 *
 * @category models
 * @since 0.1.0
 */
export type Cancellation = "interrupt" | "cooperative" | "disabled"

/**
 * One method of one manager, as a server runs it.
 *
 * @internal
 */
export interface Dispatch {
  readonly operation: Operation
  readonly routine: (input: unknown, call: ServerCall.Any) => Effect.Effect<unknown, unknown>
  readonly handOff: boolean
  readonly cancellation: Cancellation
  /** Runs an effect in the context of the server, with the method in its log annotations. */
  readonly fork: <A, E>(effect: Effect.Effect<A, E>, span: Tracer.Span | undefined) => Fiber.Fiber<A, E>
  readonly host: Host
}

/**
 * What a server call needs of its server.
 *
 * @internal
 */
export interface Host {
  readonly clock: Clock.Clock
  readonly remove: (call: ServerCallImpl) => void
  /** The context handles of all clients, until their finalizers have run. */
  readonly handles: Set<ContextHandle.Entry>
}

const mismatch = 6

const nobody: ReadonlySet<string> = new Set()

const unspecified = () => Exit.fail(new RpcFault({ code: 0x1c000012 }))

/**
 * A dispatched call.
 *
 * @internal
 */
export class ServerCallImpl extends Waiters<never> implements ServerCall<Method.Any> {
  declare readonly "~callisto/ServerCall": Types.Invariant<Method.Any>
  readonly dispatch: Dispatch
  readonly origin: Origin
  readonly object: string | undefined
  client: Client | undefined
  state: State = State.dispatched
  reason: Exclude<CancelReason, "Ended"> | undefined = undefined
  /** A cancel came before the whole request had: `testCancel` tells of it, and nothing else happens. */
  cancelledEarly = false
  /** When it was dispatched; where nobody looks at the time, when its start was over. */
  startedAt: number | undefined = undefined
  watch: Observability.Watch | undefined = undefined
  /** The fiber of the routine while it runs; `starting` until it is known. */
  fiber: Fiber.Fiber<unknown, unknown> | "starting" | undefined = undefined
  tied: Set<Fiber.Fiber<unknown, unknown>> | undefined = undefined
  /** The ends of its pipes on this side. */
  pipes: Ends | undefined = undefined
  /** The context handles that it carries or has made. */
  holding: ContextHandle.Holding | undefined = undefined
  // The server's list of its calls.
  previous: ServerCallImpl | undefined = undefined
  next: ServerCallImpl | undefined = undefined

  constructor(dispatch: Dispatch, client: Client, origin: Origin, object: string | undefined) {
    super()
    this.dispatch = dispatch
    this.client = client
    this.origin = origin
    this.object = object
  }

  pipe(): any {
    return pipeArguments(this, arguments)
  }

  get cancelDisabled(): boolean {
    return this.dispatch.cancellation === "disabled"
  }

  /** `false` while it waits for its turn at a context handle. */
  get dispatched(): boolean {
    return this.holding === undefined || !this.holding.isWaiting
  }

  get isOpen(): boolean {
    return this.state !== State.ended
  }

  /** The routine has ended. The return of a hand-off routine leaves the call to whoever completes it. */
  returned(exit: Exit.Exit<unknown, unknown>): void {
    this.fiber = undefined
    const row = serverTable[this.state]
    if (row.state === "ended") this.dispatch.host.remove(this)
    if (exit._tag === "Failure") this.settle(exit)
    else if (this.dispatch.handOff) this.state = row.next.handOff ?? this.state
    else this.settle(exit)
    if (this.holding !== undefined) this.releaseHandles()
  }

  /** An exit is the reply, unless the call was answered already. */
  settle(exit: Exit.Exit<unknown, unknown>): void {
    if (exit._tag === "Failure") {
      if (this.reason === undefined || Cause.hasDies(exit.cause)) this.logUnexpected(exit.cause)
      if (serverTable[this.state].abort === "replies") this.end(this.failure(exit.cause), exit)
    } else if (serverTable[this.state].complete === "replies") {
      const refused = this.complete(exit as Exit.Success<unknown, never>)
      if (refused !== undefined) this.log("The manager's out parameters were refused", Cause.fail(refused))
    }
  }

  /** Ends the call with the out parameters, if all pipes are through. */
  complete(exit: Exit.Success<unknown, never>): BadStubData | PipeDisciplineError | undefined {
    const unfinished = this.pipes?.current
    if (unfinished === undefined) return this.end(exit)
    const error = new PipeDisciplineError({ pipe: unfinished.name })
    this.end(Exit.fail(error))
    return error
  }

  /** Ends the call with a reply. The entry goes first, so that whoever is woken by the reply finds the call ended. */
  end(outcome: Outcome, exit: Exit.Exit<unknown, unknown> = outcome): BadStubData | undefined {
    const { client } = this
    if (this.holding !== undefined || this.dispatch.operation.handlesOut !== undefined) {
      return this.endWithHandles(outcome, exit)
    }
    this.leave(outcome, exit)
    this.failPipes()
    return client?.reply(outcome)
  }

  /** Ends the call for a client that is gone. */
  gone(reason: "Orphaned" | "Disconnected"): void {
    if (serverTable[this.state].gone === "nothing") return
    this.reason = reason
    this.watch?.cancel(reason)
    this.leave(undefined)
    // Before its pipes fail: a routine that waits at one is interrupted, and does not go on with that failure.
    this.interrupt()
    this.failPipes()
    if (this.holding !== undefined) {
      this.holding.answered(nobody)
      this.releaseHandles()
    }
  }

  discard(): void {
    // The cancel was all that the server has to know: its reply finds no waiting client.
  }

  orphan(): void {
    this.gone("Orphaned")
  }

  cancel(): void {
    if (serverTable[this.state].cancel === "nothing" || this.reason !== undefined) return
    this.reason = "Cancelled"
    this.watch?.cancel("Cancelled")
    this.wakeUnsafe(undefined)
    const { cancellation } = this.dispatch
    // Before its turn at a context handle it is over at once.
    if (!this.dispatched && cancellation !== "disabled") return void this.end(Exit.fail(cancelled(true)))
    if (cancellation === "interrupt") this.interruptRoutine()
    if (cancellation !== "disabled") this.interruptTied()
    // The client neither pushes nor pulls any more.
    this.pipes?.fail(cancelled(false))
  }

  age(): number {
    const now = this.dispatch.host.clock.currentTimeMillisUnsafe()
    return now - (this.startedAt ?? now)
  }

  /** Interrupts all work that belongs to the call. */
  interrupt(): void {
    this.interruptRoutine()
    this.interruptTied()
  }

  private logUnexpected(cause: Cause.Cause<unknown>): void {
    if (Cause.hasDies(cause)) this.log("The manager died", cause)
    else if (Cause.hasInterruptsOnly(cause) && this.state !== State.ended) {
      this.log("The manager was interrupted", cause)
    }
  }

  log(message: string, cause: Cause.Cause<unknown>): void {
    this.dispatch.fork(Effect.logError(message, cause), this.watch?.span)
  }

  /** The outcome for a routine that failed, died or was interrupted. */
  failure(cause: Cause.Cause<unknown>): Outcome {
    const failure = cause.reasons.find(Cause.isFailReason)
    if (failure !== undefined) return this.abortion(failure.error)
    if (Cause.hasDies(cause)) return unspecified()
    return this.reason === undefined ? unspecified() : Exit.fail(cancelled(false))
  }

  /** The outcome for an abort with an error. */
  abortion(error: unknown): Outcome {
    const { method, name, interface: { name: interfaceName } } = this.dispatch.operation
    if (abortOf(method, error) !== undefined) return Exit.fail(error as Abort.Error)
    if (error instanceof CallCancelled && this.reason !== undefined) return Exit.fail(error)
    if (isPipeError(error)) return Exit.fail(error)
    if (!(error instanceof RpcFault)) {
      this.log(`${interfaceName}.${name} failed with an error that the method does not declare`, Cause.fail(error))
      return unspecified()
    }
    if (error.code === mismatch && this.dispatch.operation.handlesIn !== undefined) {
      return Exit.fail(contextMismatch(false))
    }
    const reason = refuseCode(error.code)
    if (reason === undefined) return Exit.fail(error)
    this.log(
      `${interfaceName}.${name} failed with RpcFault ${error.code}, which is refused: ${reason}`,
      Cause.fail(error)
    )
    return unspecified()
  }

  /** The end of every call: `outcome` is missing when its client is gone. */
  private leave(outcome: Outcome | undefined, exit?: Exit.Exit<unknown, unknown>): void {
    this.state = serverTable[this.state].next.end ?? this.state
    this.client = undefined
    if (this.fiber === undefined) this.dispatch.host.remove(this)
    if (this.watch !== undefined) this.watch.end(outcome, exit)
    this.wakeUnsafe(undefined)
  }

  private failPipes(): void {
    this.pipes?.fail(new InvalidAsyncHandle({ handle: "server call" }))
  }

  // --- context handles

  /** Stands in line for the handles that it carries. Gives `false` where one of them is none that it may carry. */
  claimHandles(input: unknown, parameters: ReadonlyArray<ContextHandle.Parameter>, start: () => void): boolean {
    const found = this.origin.handles.findAll(input, this.dispatch.operation.interface, parameters)
    if (found === undefined) return false
    if (found.size === 0) return true
    const refuse = () => this.isOpen && this.end(Exit.fail(contextMismatch(true)))
    this.holding = new ContextHandle.Holding(() => this.isOpen && start(), refuse)
    this.holding.claim(found)
    return true
  }

  /** Ends the call as {@link end} does. Handles that it has made and that nobody receives are run down. */
  private endWithHandles(outcome: Outcome, exit: Exit.Exit<unknown, unknown>): BadStubData | undefined {
    const { client } = this
    const problem = outcome._tag === "Success" ? this.refuseHandles(outcome.value) : undefined
    const sent: Outcome = problem === undefined ? outcome : Exit.fail(new RpcFault({ code: 1783 }))
    this.leave(sent, exit)
    this.failPipes()
    const refused = client?.reply(sent) ?? problem
    const isReceived = sent._tag === "Success" && refused === undefined && client !== undefined
    this.holding?.answered(isReceived ? this.received(sent.value) : nobody)
    this.releaseHandles()
    return refused
  }

  /** What is wrong with the handles among out parameters: each is null, or open in this association. */
  private refuseHandles(out: unknown): BadStubData | undefined {
    const { handlesOut, interface: iface, name } = this.dispatch.operation
    if (handlesOut === undefined || this.origin.handles.findAll(out, iface, handlesOut) !== undefined) return undefined
    const detail =
      `The out parameters of ${iface.name}.${name} were refused: a context handle is not open, or is of another client.`
    return new BadStubData({ detail })
  }

  /** The handles that out parameters carry. */
  private received(out: unknown): ReadonlySet<string> {
    const { handlesOut = [] } = this.dispatch.operation
    const values = handlesOut.map(({ name }) => ContextHandle.valueOf(out, name))
    return new Set(values.map((value) => (value as ContextHandle.Handle | null)?.uuid ?? ""))
  }

  /** The reply could not be sent, although it was made: nobody receives its handles. */
  unsent(): void {
    this.holding?.answered(nobody)
  }

  /** When all work of the call is over, the next call may have its handles. */
  releaseHandles(): void {
    if (!this.isOpen && this.fiber === undefined && !this.tied?.size) this.holding?.release()
  }

  private interruptRoutine(): void {
    const { fiber } = this
    if (typeof fiber === "object") Depth.run(() => fiber.interruptUnsafe())
  }

  private interruptTied(): void {
    // Settling a fiber takes it out of the set.
    for (const fiber of [...this.tied ?? []]) Depth.run(() => fiber.interruptUnsafe())
  }
}

const impl = (call: ServerCall.Any): ServerCallImpl => call as ServerCallImpl

/**
 * Whether a value is a {@link ServerCall}.
 *
 * **Example** (In a routine)
 *
 * ```ts
 * import { Interface, Manager, ServerCall } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 *
 * Manager.make(Sums, {
 *   Add: (numbers, call) => {
 *     ServerCall.isServerCall(call) // => true
 *     return Effect.succeed(numbers.reduce((a, b) => a + b, 0))
 *   }
 * })
 * ```
 *
 * @category predicates
 * @since 0.1.0
 */
export const isServerCall = (u: unknown): u is ServerCall.Any => u instanceof ServerCallImpl || hasProperty(u, TypeId)

const ended = (): Effect.Effect<never, InvalidAsyncHandle> =>
  Effect.fail(new InvalidAsyncHandle({ handle: "server call" }))

// ----------------------------------------------------------------------------
// ending a call
// ----------------------------------------------------------------------------

/**
 * Completes the call: sends the out parameters.
 *
 * **Details**
 *
 * A method without out parameters takes none. Exactly one of `complete`, {@link abort}, {@link run} and the exit of the
 * routine ends a call. Fails with `InvalidAsyncHandle` when the call has ended already or its client is gone, and with
 * `BadStubData` when the out parameters can't be marshalled; the client's call then ends with fault 1783. With
 * `PipeDisciplineError` it fails when a pipe of the method is not through; the client's call ends with the same. Once passed,
 * the out parameters belong to the client: do not change them any more.
 *
 * Windows: `RpcAsyncCompleteCall` on the server.
 *
 * **Example** (A call that is completed by another fiber)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Queue, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const queue = yield* Queue.unbounded<() => Effect.Effect<void>>()
 *   const manager = Manager.make(Sums, {
 *     Add: Manager.handOff((numbers, call) =>
 *       Effect.asVoid(Queue.offer(queue, () =>
 *         ServerCall.complete(call, numbers.reduce((a, b) => a + b, 0)).pipe(Effect.ignore)
 *       ))
 *     )
 *   })
 *   yield* Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.take(queue), (work) => work())))
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *   return yield* Call.invoke(sums, "Add", [1, 2, 3]) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category ending a call
 * @since 0.1.0
 */
export const complete: {
  <M extends Method.Any>(
    self: ServerCall<M>,
    ...out: Method.Results<M>
  ): Effect.Effect<void, InvalidAsyncHandle | BadStubData | Method.IfPipes<M, PipeDisciplineError>>
} = (self: ServerCall.Any, out?: unknown): Effect.Effect<void, never> =>
  Effect.suspend((): Effect.Effect<void, never> => {
    const call = impl(self)
    if (serverTable[call.state].complete !== "replies") return ended() as Effect.Effect<never>
    const refused = call.complete(Exit.succeed(out) as Exit.Success<unknown, never>)
    return refused === undefined ? Effect.void : Effect.fail(refused as never)
  })

/**
 * Aborts the call: sends the exception code of a declared abort or of an `RpcFault`, and no out parameters.
 *
 * **Details**
 *
 * A call that the client has cancelled can be aborted with `CallCancelled`. An error that the method does not declare,
 * and an `RpcFault` whose code can't be an abort, end the call with fault 0x1C000012; the server's log says why. Fails
 * with `InvalidAsyncHandle` when the call has ended already or its client is gone.
 *
 * Windows: `RpcAsyncAbortCall`.
 *
 * **Example** (Abort after the hand-off)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * class Overflow extends Schema.TaggedError<Overflow>()("Overflow", {}) {}
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: {
 *     Add: Interface.method({
 *       in: Schema.Array(Schema.Int),
 *       out: Schema.Int,
 *       aborts: [Interface.abort(534, Overflow)]
 *     })
 *   }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: Manager.handOff((_, call) => Effect.ignore(ServerCall.abort(call, new Overflow())))
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *
 *   return yield* Effect.flip(Call.invoke(sums, "Add", [1, 2, 3])) // => Overflow
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category ending a call
 * @since 0.1.0
 */
export const abort: {
  <M extends Method.Any>(
    error: Method.Abort<M> | RpcFault | CallCancelled
  ): (self: ServerCall<M>) => Effect.Effect<void, InvalidAsyncHandle>
  <M extends Method.Any>(
    self: ServerCall<M>,
    error: Method.Abort<M> | RpcFault | CallCancelled
  ): Effect.Effect<void, InvalidAsyncHandle>
} = dual(
  (args) => isServerCall(args[0]),
  (self: ServerCall.Any, error: Abort.Error): Effect.Effect<void, InvalidAsyncHandle> =>
    Effect.suspend(() => {
      const call = impl(self)
      if (serverTable[call.state].abort !== "replies") return ended()
      call.end(call.abortion(error))
      return Effect.void
    })
)

/**
 * Ties an effect to the call: its exit is the reply, and it is interrupted when the client cancels or goes away. For
 * work after a hand-off.
 *
 * **Details**
 *
 * The effect runs in a child of the calling fiber, which waits for it. Succeeds when the effect is over, whatever its
 * exit; fails with `InvalidAsyncHandle`, without running it, when the call has ended already. If the call is cancelled
 * already, the effect is not started and the call ends as cancelled. Where the manager has disabled cancellation, a
 * cancel does not touch the effect. If the calling fiber itself is interrupted, the call ends with fault 0x1C000012.
 *
 * **Example** (Work that ends when the client cancels)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: Manager.handOff((_, call) => Effect.forkDetach(Effect.ignore(ServerCall.run(call, Effect.never))))
 * })
 *
 * const program = Effect.gen(function*() {
 *   const sums = yield* Binding.local(yield* Server.make([manager]), Sums)
 *   const adding = yield* Call.begin(yield* Call.make(sums), "Add", [1, 2, 3])
 *   yield* Call.cancel(adding, { timeout: "Infinity" })
 *   return yield* Effect.flip(Call.join(adding)) // => CallCancelled
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category ending a call
 * @since 0.1.0
 */
export const run: {
  <M extends Method.Any, R>(
    effect: Effect.Effect<Method.Out<M>, Failure<M>, R>
  ): (self: ServerCall<M>) => Effect.Effect<void, InvalidAsyncHandle, R>
  <M extends Method.Any, R>(
    self: ServerCall<M>,
    effect: Effect.Effect<Method.Out<M>, Failure<M>, R>
  ): Effect.Effect<void, InvalidAsyncHandle, R>
} = dual(
  2,
  <R>(self: ServerCall.Any, effect: Effect.Effect<unknown, unknown, R>): Effect.Effect<void, InvalidAsyncHandle, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        const call = impl(self)
        if (serverTable[call.state].run !== "ties") return ended()
        if (call.reason !== undefined && !call.cancelDisabled) {
          call.settle(Exit.interrupt())
          return Effect.void
        }
        return Effect.flatMap(Effect.forkChild(effect, { startImmediately: true }), (fiber) => {
          const tied = call.tied ??= new Set()
          tied.add(fiber)
          // The cancel may have come while the effect started.
          if (call.reason !== undefined && !call.cancelDisabled) fiber.interruptUnsafe()
          return Effect.onInterrupt(restore(Fiber.await(fiber)), () => Fiber.interrupt(fiber)).pipe(
            Effect.onExit(() => {
              tied.delete(fiber)
              call.settle(fiber.pollUnsafe()!)
              call.releaseHandles()
              return Effect.void
            }),
            Effect.asVoid
          )
        })
      })
    )
)

// ----------------------------------------------------------------------------
// pipes
// ----------------------------------------------------------------------------

/**
 * What the operations of a pipe fail with on the server when its call is over for them: `CallCancelled` when the client has
 * cancelled it, `InvalidAsyncHandle` when it has ended or the client is gone.
 *
 * @category pipes
 * @since 0.1.0
 */
export type PipeFailure = CallCancelled | InvalidAsyncHandle

const pipeEnd = (self: ServerCall.Any, name: string, isIn: boolean): unknown => {
  const { dispatch: { operation }, pipes } = impl(self)
  const end = operation.pipes === undefined ? undefined : pipes?.get(operation.pipes, name, isIn)
  if (end !== undefined) return end
  const direction = isIn ? "in" : "out"
  throw new TypeError(`${operation.interface.name}.${operation.name} has no ${direction} pipe ${JSON.stringify(name)}.`)
}

/**
 * The in pipe of that name, to be pulled.
 *
 * **Details**
 *
 * Throws a `TypeError` where the method has no such pipe.
 *
 * **Gotchas**
 *
 * A client elsewhere that is slowed down by a full pipe is not heard: a routine that stops pulling learns of a cancel or a lost
 * connection when it pulls again. `maximumAge` of the server ends one that never does.
 *
 * **Example** (A routine that adds up what the client sends)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Pipe, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Schema, Stream } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ inPipe: { numbers: Schema.Int }, out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (_, call) => Stream.runFold(Pipe.toStream(ServerCall.inPipe(call, "numbers")), () => 0, (a, b) => a + b)
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *   return yield* Stream.run(Stream.make(1, 2, 3), Call.sink(sums, "Add")) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category pipes
 * @since 0.1.0
 */
export const inPipe = <M extends Method.Any, const Name extends keyof Method.InPipe<M>>(
  self: ServerCall<M>,
  name: Name
): Reader<Method.InPipe<M>[Name], PipeFailure> => pipeEnd(self, name as string, true) as never

/**
 * The out pipe of that name, to be pushed when all in pipes are through.
 *
 * **Details**
 *
 * Throws a `TypeError` where the method has no such pipe.
 *
 * **Example** (A routine that counts)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Pipe, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Schema, Stream } from "effect"
 *
 * const Numbers = Interface.make("Numbers", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b12",
 *   version: [1, 0],
 *   methods: { Count: Interface.method({ in: { to: Schema.Int }, outPipe: { numbers: Schema.Int } }) }
 * })
 * const manager = Manager.make(Numbers, {
 *   Count: ({ to }, call) => Stream.run(Stream.range(1, to), Pipe.toSink(ServerCall.outPipe(call, "numbers")))
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const numbers = yield* Binding.local(server, Numbers)
 *   return yield* Stream.runCollect(Call.stream(numbers, "Count", { to: 3 })) // => [1, 2, 3]
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category pipes
 * @since 0.1.0
 */
export const outPipe = <M extends Method.Any, const Name extends keyof Method.OutPipe<M>>(
  self: ServerCall<M>,
  name: Name
): Writer<Method.OutPipe<M>[Name], PipeFailure> => pipeEnd(self, name as string, false) as never

// ----------------------------------------------------------------------------
// cancellation
// ----------------------------------------------------------------------------

/**
 * Whether the client has asked to cancel the call, or is gone. Asking changes nothing: the call must still be completed
 * or aborted, and may be completed normally.
 *
 * Windows: `RpcServerTestCancel`, `ICancelMethodCalls::TestCancel`.
 *
 * **Example** (Stop early and answer normally)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (numbers, call) => Effect.gen(function*() {
 *     let sum = 0
 *     for (const number of numbers) {
 *       if (yield* ServerCall.testCancel(call)) break
 *       sum += yield* Effect.delay(Effect.succeed(number), "10 millis")
 *     }
 *     return sum
 *   })
 * }, { cancellation: "cooperative" })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *   const call = yield* Call.make(sums)
 *
 *   const adding = yield* Call.begin(call, "Add", [1, 2, 3])
 *   yield* Call.cancel(adding, { timeout: "Infinity" })
 *   return yield* Call.join(adding) // => 1
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category cancellation
 * @since 0.1.0
 */
export const testCancel = (self: ServerCall.Any): Effect.Effect<boolean> =>
  Effect.sync(() => impl(self).reason !== undefined || impl(self).cancelledEarly)

/**
 * Waits until the client cancels the call or goes away, and says which. Gives `Ended` when the call ends without that.
 *
 * Windows: `RpcServerSubscribeForNotification` for `RpcNotificationCallCancel` and `RpcNotificationClientDisconnect`.
 *
 * **Example** (Wait for the cancel and answer normally)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (_, call) => Effect.as(ServerCall.awaitCancel(call), 0)
 * }, { cancellation: "cooperative" })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *   const call = yield* Call.make(sums)
 *
 *   const adding = yield* Call.begin(call, "Add", [1, 2, 3])
 *   yield* Call.cancel(adding, { timeout: "Infinity" })
 *   return yield* Call.join(adding) // => 0
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category cancellation
 * @since 0.1.0
 */
export const awaitCancel = (self: ServerCall.Any): Effect.Effect<CancelReason> =>
  Effect.callback((resume) => {
    const call = impl(self)
    const answer = () => resume(Effect.succeed(call.reason ?? "Ended"))
    if (call.reason !== undefined || call.state === State.ended) return answer()
    call.addWaiterUnsafe(answer)
    return Effect.sync(() => call.removeWaiterUnsafe(answer))
  })

/**
 * Waits until the call is over, and says why: its client has given it up or lost its connection, or it has `Ended` in
 * any other way. For work that goes on after {@link awaitCancel} gave `Cancelled`.
 *
 * **Example** (A client that gives its call up)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server, ServerCall } from "@callisto/rpc"
 * import { Deferred, Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const why = yield* Deferred.make<string>()
 *   const manager = Manager.make(Sums, {
 *     Add: Manager.handOff((_, call) => Effect.forkDetach(Deferred.complete(why, ServerCall.awaitEnd(call))))
 *   })
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *
 *   yield* Effect.scoped(Effect.flatMap(Call.make(sums), (call) => Call.begin(call, "Add", [1, 2, 3])))
 *   return yield* Deferred.await(why) // => "Orphaned"
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category cancellation
 * @since 0.1.0
 */
export const awaitEnd = (self: ServerCall.Any): Effect.Effect<Exclude<CancelReason, "Cancelled">> =>
  Effect.callback((resume) => {
    const call = impl(self)
    const answer = () => {
      if (call.isOpen) return call.addWaiterUnsafe(answer)
      const { reason } = call
      resume(Effect.succeed(reason === undefined || reason === "Cancelled" ? "Ended" : reason))
    }
    answer()
    return Effect.sync(() => call.removeWaiterUnsafe(answer))
  })

// ----------------------------------------------------------------------------
// facts
// ----------------------------------------------------------------------------

/**
 * Who makes the call, and how strongly that is authenticated.
 *
 * **Example** (What a server call knows)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server, ServerCall } from "@callisto/rpc"
 * import { Duration, Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (numbers, call) => Effect.gen(function*() {
 *     ServerCall.caller(call) // => { name: undefined, level: "privacy" }
 *     ServerCall.peer(call) // => "local"
 *     ServerCall.object(call) // => undefined
 *     ServerCall.operation(call).name // => "Add"
 *     Duration.toMillis(yield* ServerCall.age(call)) // => 0
 *     return numbers.reduce((a, b) => a + b, 0)
 *   })
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *
 *   return yield* Call.invoke(sums, "Add", [1, 2, 3]) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category facts
 * @since 0.1.0
 */
export const caller = (self: ServerCall.Any): Caller => impl(self).origin.caller

/**
 * The transport's address of the client; `"local"` inside one process. The example is at {@link caller}.
 *
 * @category facts
 * @since 0.1.0
 */
export const peer = (self: ServerCall.Any): string => impl(self).origin.peer

/**
 * The UUID of the object that the client's binding names, if it names one. The example is at {@link caller}.
 *
 * Windows: `RpcBindingInqObject` on the server.
 *
 * @category facts
 * @since 0.1.0
 */
export const object = (self: ServerCall.Any): string | undefined => impl(self).object

/**
 * The method that is called, with its opnum and its interface. The example is at {@link caller}.
 *
 * @category facts
 * @since 0.1.0
 */
export const operation = (self: ServerCall.Any): Operation => impl(self).dispatch.operation

/**
 * How long ago the call was dispatched, by the server's clock. The example is at {@link caller}.
 *
 * @category facts
 * @since 0.1.0
 */
export const age = (self: ServerCall.Any): Effect.Effect<Duration.Duration> =>
  Effect.sync(() => Duration.millis(impl(self).age()))
