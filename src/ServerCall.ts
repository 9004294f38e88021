/**
 * The server's handle to one dispatched call. A manager answers through its effect, or keeps this handle and completes
 * or aborts the call later, from any fiber.
 *
 * Windows: the server's `RPC_ASYNC_STATE`, and `ICancelMethodCalls` on the server's side.
 *
 * @module
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import type { Pipeable } from "effect/Pipeable"
import type * as Scope from "effect/Scope"
import type * as Types from "effect/Types"
import { serverTable } from "./CallState.ts"
import type { Caller } from "./Channel.ts"
import type { Abort, Interface, Method, Operation } from "./Interface.ts"
import { endOf } from "./internal/pipeEnds.ts"
import * as Internal from "./internal/serverCall.ts"
import type { Reader, Writer } from "./Pipe.ts"
import {
  type BadStubData,
  type CallCancelled,
  InvalidAsyncHandle,
  type PipeDisciplineError,
  type PipeError,
  RpcFault,
  type RpcTransportError
} from "./Status.ts"

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
export type Of<I extends Interface.Any, K extends Interface.MethodName<I, "any">> = ServerCall<I["methods"][K]>

/**
 * The failures of the work for a call: an abort that the method declares, any other exception code, the failure of a call that the
 * work has made itself, and for a method with pipes the failures of their operations.
 *
 * **Details**
 *
 * A failure of a call of its own is the routine's own answer: the client never reads in it that its call did not execute.
 *
 * @category models
 * @since 0.1.0
 */
export type Failure<M extends Method.Any> =
  | Method.Abort<M>
  | RpcFault
  | CallCancelled
  | RpcTransportError
  | Method.IfPipes<M, PipeError | InvalidAsyncHandle>

/**
 * Why a manager should stop: the client asked for it (`Cancelled`), gave the call up (`Orphaned`) or lost its
 * connection (`Disconnected`). `Ended`: the call ended before any of these.
 *
 * @category models
 * @since 0.1.0
 */
export type CancelReason = Internal.CancelReason

/**
 * The effect of a cancel on a routine.
 *
 * **Details**
 *
 * - `interrupt`: the cancel interrupts the routine, which then answers "cancelled", even if an uninterruptible part of the routine
 *   had a result. Only {@link complete} or {@link abort} can answer before.
 * - `cooperative`: the cancel only sets the flag that {@link testCancel} and {@link awaitCancel} see, so the routine can still answer.
 * - `disabled`: in process the client's cancel is refused.
 *
 * The loss of the client interrupts the routine in each case.
 *
 * @category models
 * @since 0.1.0
 */
export type Cancellation = Internal.Cancellation

const impl = (call: ServerCall.Any): Internal.ServerCallImpl => call as never

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
export const isServerCall = (u: unknown): u is ServerCall.Any => u instanceof Internal.ServerCallImpl

/** Waits for a reply that takes time. Where the reply was refused, the log has the reason. */
const sent = (ending: Internal.Ending | PipeDisciplineError): Effect.Effect<void, RpcTransportError> =>
  ending === undefined || Internal.isRefused(ending) ? Effect.void : ending as Effect.Effect<void, RpcTransportError>

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
 * `BadStubData` when the out parameters can't be marshalled; the client's call then ends with fault 1783. It fails with
 * `RpcTransportError` when the host of the server could not send the reply; the call has ended then, too. With
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
  ): Effect.Effect<void, InvalidAsyncHandle | BadStubData | RpcTransportError | Method.IfPipes<M, PipeDisciplineError>>
} = (self: ServerCall.Any, out?: unknown): Effect.Effect<void, never> =>
  Effect.suspend((): Effect.Effect<void, never> => {
    const call = impl(self)
    if (serverTable[call.state].complete !== "replies") return ended() as Effect.Effect<never>
    const ending = call.complete(Exit.succeed(out) as Exit.Success<unknown, never>)
    if (ending === undefined) return Effect.void
    return Internal.isRefused(ending) ? Effect.fail(ending as never) : ending as Effect.Effect<void>
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
    error: Method.Abort<M> | RpcFault | CallCancelled | RpcTransportError
  ): (self: ServerCall<M>) => Effect.Effect<void, InvalidAsyncHandle | RpcTransportError>
  <M extends Method.Any>(
    self: ServerCall<M>,
    error: Method.Abort<M> | RpcFault | CallCancelled | RpcTransportError
  ): Effect.Effect<void, InvalidAsyncHandle | RpcTransportError>
} = dual(
  (args) => isServerCall(args[0]),
  (self: ServerCall.Any, error: Abort.Error): Effect.Effect<void, InvalidAsyncHandle | RpcTransportError> =>
    Effect.suspend((): Effect.Effect<void, InvalidAsyncHandle | RpcTransportError> => {
      const call = impl(self)
      if (serverTable[call.state].abort !== "replies") return ended()
      return sent(call.end(call.abortion(error)))
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
 *   Add: Manager.handOff((_, call) => ServerCall.fork(call, ServerCall.run(call, Effect.never)))
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
  ): (self: ServerCall<M>) => Effect.Effect<void, InvalidAsyncHandle | RpcTransportError, R>
  <M extends Method.Any, R>(
    self: ServerCall<M>,
    effect: Effect.Effect<Method.Out<M>, Failure<M>, R>
  ): Effect.Effect<void, InvalidAsyncHandle | RpcTransportError, R>
} = dual(
  2,
  <R>(self: ServerCall.Any, effect: Effect.Effect<unknown, unknown, R>) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.suspend((): Effect.Effect<void, InvalidAsyncHandle | RpcTransportError, R> => {
        const call = impl(self)
        if (serverTable[call.state].run !== "ties") return ended()
        if (call.reason !== undefined && !call.cancelDisabled) return sent(call.settle(Exit.interrupt()))
        // A worker that was forked elsewhere runs in this call from now on, too.
        const isOwn = Fiber.getCurrent()!.getRef(Internal.CurrentCall) === call
        const own = isOwn ? effect : Effect.provideService(effect, Internal.CurrentCall, call)
        return Effect.flatMap(Effect.forkChild(own, { startImmediately: true }), (fiber) => {
          const tied = call.tied ??= new Set()
          tied.add(fiber)
          // The cancel or the end of the call may have come while the effect started.
          if (call.isStopped || call.reason !== undefined && !call.cancelDisabled) fiber.interruptUnsafe()
          const untie = Effect.suspend(() => {
            tied.delete(fiber)
            const ending = call.settle(fiber.pollUnsafe()!)
            call.over()
            return sent(ending)
          })
          return Effect.andThen(
            Effect.onInterrupt(
              restore(Fiber.await(fiber)),
              () => Effect.andThen(Fiber.interrupt(fiber), Effect.exit(untie))
            ),
            untie
          )
        })
      })
    )
)

/**
 * Forks an effect into the scope of the call: it goes on after the routine has returned, and is interrupted when the call has ended.
 *
 * **When to use**
 *
 * For the work of a hand-off, with {@link run}: a child of the routine would end with the routine, and its client would wait for ever.
 *
 * **Details**
 *
 * The scope of a call closes when the call has ended, its reply has left or was discarded, and its routine is over. It is the `Scope`
 * that a routine finds in its context. Work that has to outlive the call is forked into the scope of its {@link server}.
 *
 * **Example** (Work after a hand-off)
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
 *   Add: Manager.handOff((numbers, call) => {
 *     const sum = Effect.delay(Effect.succeed(numbers.reduce((a, b) => a + b, 0)), "10 millis")
 *     return ServerCall.fork(call, ServerCall.run(call, sum))
 *   })
 * })
 *
 * const program = Effect.gen(function*() {
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
export const fork: {
  <A, E, R>(effect: Effect.Effect<A, E, R>): (self: ServerCall.Any) => Effect.Effect<Fiber.Fiber<A, E>, never, R>
  <A, E, R>(self: ServerCall.Any, effect: Effect.Effect<A, E, R>): Effect.Effect<Fiber.Fiber<A, E>, never, R>
} = dual(
  2,
  <A, E, R>(self: ServerCall.Any, effect: Effect.Effect<A, E, R>): Effect.Effect<Fiber.Fiber<A, E>, never, R> =>
    Effect.suspend(() => Effect.forkIn(effect, impl(self).scope, { startImmediately: true }))
)

// ----------------------------------------------------------------------------
// pipes
// ----------------------------------------------------------------------------

/**
 * The failures of a pipe on the server when its call has ended: `CallCancelled` after a cancel of the client, `InvalidAsyncHandle` when
 * the call was ended or the client is gone.
 *
 * @category pipes
 * @since 0.1.0
 */
export type PipeFailure = CallCancelled | InvalidAsyncHandle

const pipeEnd = (self: ServerCall.Any, name: string, isIn: boolean): unknown => {
  const { dispatch: { operation }, pipes } = impl(self)
  return endOf(operation, pipes, name, isIn)
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
 * While a pipe is full the server does not read its connection: a routine that stops pulling learns of a cancel or a lost connection
 * when it pulls again. `maximumAge` of the server ends a call whose routine never does.
 *
 * **Example** (A routine that adds up the numbers of a pipe)
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
    if (call.reason !== undefined || !call.isOpen) return answer()
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
 * The identity of the caller, and how strongly it is authenticated.
 *
 * **Example** (The facts of a server call)
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
 *     ServerCall.caller(call).level // => "privacy"
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
 * The caller of the call in whose routine the fiber runs: functions that a routine calls need not be given the call.
 *
 * **Details**
 *
 * Fails with `RpcFault` 1725 outside of a routine, and when the call has ended, even if its routine still runs. {@link caller} gives a value
 * that may be kept.
 *
 * Windows: the client that `RpcImpersonateClient` impersonates, with 1725 `RPC_S_NO_CALL_ACTIVE`.
 *
 * **Example** (A function that asks who calls)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const IFiles = Interface.make("IFiles", { methods: { Owner: Interface.method({ out: Schema.String }) } })
 * const owner = Effect.map(ServerCall.currentCaller, ({ name }) => name ?? "nobody")
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([Manager.make(IFiles, { Owner: () => owner })])
 *   const files = yield* Binding.local(server, IFiles, { caller: { name: "alice" } })
 *   return yield* Call.invoke(files, "Owner") // => "alice"
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category facts
 * @since 0.1.0
 */
export const currentCaller: Effect.Effect<Caller, RpcFault> = Effect.withFiber((fiber) => {
  const call = fiber.getRef(Internal.CurrentCall)
  return call?.isOpen ? Effect.succeed(call.origin.caller) : Effect.fail(new RpcFault({ code: 1725 }))
})

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

/**
 * The scope of the server that has dispatched the call, for work that has to outlive the call: `Effect.forkIn(work,
 * ServerCall.server(call))`. It closes when the server's period of grace is over.
 *
 * @category facts
 * @since 0.1.0
 */
export const server = (self: ServerCall.Any): Scope.Scope => impl(self).dispatch.host.scope
