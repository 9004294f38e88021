/**
 * Asynchronous calls as objects: a program begins a call, looks at it, waits for it, cancels it and finishes it.
 *
 * Most programs call through {@link client}: its methods call at once, or begin a call and give its evidence, a {@link Pending}. The
 * functions take that evidence: {@link finish}, {@link join}, {@link wait}, {@link cancel}. A call object that {@link make} makes carries one
 * call after another. `CallState.clientTable` says what each operation does in which state.
 *
 * Windows: call objects (`ICallFactory`, `ISynchronize`, `ICancelMethodCalls`) and `RPC_ASYNC_STATE` of the client.
 *
 * @module
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import type { Pipeable } from "effect/Pipeable"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import type * as Types from "effect/Types"
import type { Binding } from "./Binding.ts"
import { Client as State, clientTable } from "./CallState.ts"
import type { Secured, Security } from "./Channel.ts"
import type { Interface, Method, Operation } from "./Interface.ts"
import {
  attach,
  type BeginError,
  CallImpl,
  callImpl,
  failedCall,
  hasTaken,
  ignoreFailure,
  issue,
  PendingImpl,
  pendingImpl,
  refuse,
  release as releaseCall,
  requestCancel,
  rowOf,
  take
} from "./internal/clientCall.ts"
import * as Depth from "./internal/depth.ts"
import { refuseArgument } from "./internal/named.ts"
import { choiceOption, durationOption } from "./internal/options.ts"
import { endOf } from "./internal/pipeEnds.ts"
import { kindOf } from "./internal/watch.ts"
import { awaitUnsafe, isReady, withTimeout } from "./internal/waiters.ts"
import type { Kind } from "./Observability.ts"
import * as Pipe from "./Pipe.ts"
import {
  BadStubData,
  type CallCancelled,
  type CallComplete,
  type CallPending,
  type CancelDisabled,
  type ContextMismatch,
  InvalidAsyncHandle,
  NoInterface,
  type NullContext,
  PipeDisciplineError,
  type PipeError,
  type RpcFault,
  type RpcTransportError,
  type WaitTimeout
} from "./Status.ts"
import type { Waitable } from "./Synchronize.ts"

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

const TypeId = "~callisto/Call"
const PendingTypeId = "~callisto/Call/Pending"

/**
 * A call object for interface `I`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call<in out I extends Interface.Any> extends Pipeable {
  /** Brands the type. */
  readonly [TypeId]: Types.Invariant<I>
}

/**
 * Types that belong to {@link Call}.
 *
 * @category models
 * @since 0.1.0
 */
export declare namespace Call {
  /** Any call object. */
  export type Any = Call<any>
  /** The {@link Failure} of a method. */
  export type MethodFailure<M extends Method.Any> = Failure<M>
  /**
   * The arguments behind the name in a data-last form. An overload that does not fit by their number is in no error, so one whose first
   * argument is no name has a wrong number: errors speak of the data-first form alone.
   */
  export type Last<
    First,
    Rest extends ReadonlyArray<unknown>,
    Kind extends "plain" | "stream" | "sink" | "any",
    Options extends ReadonlyArray<unknown> = []
  > = [First] extends [string] ? Interface.One<First, Rest>
    : First extends Call<infer I> | Binding<infer I> ? Misfit<Rest, Interface.MethodName<I, Kind> & string, I, Options>
    : TooMany
  /**
   * The arguments of a data-first form that has a wrong number of them: the compiler reports the last form, so this one says what the
   * data-first form would.
   */
  export type Misfit<
    Rest extends ReadonlyArray<unknown>,
    Names extends keyof I["methods"],
    I extends Interface.Any,
    Options extends ReadonlyArray<unknown>
  > = Rest extends readonly [infer K, ...infer _]
    ? [K] extends [Names]
      ? Rest["length"] extends [K, ...Args<I, K>, ...Options]["length"] ? TooMany : [K, ...Args<I, K>, ...Options]
    : Rest["length"] extends [Names, ...Args<I, Names>, ...Options]["length"] ? TooMany
    : [Names, ...ReadonlyArray<unknown>]
    : TooMany
  /** More arguments than any form takes. */
  export type TooMany = [0, 0, 0, 0, 0, 0, 0, 0, 0]
  /** The results of the functions that take a method by its name. */
  export interface Given<in out I extends Interface.Any, in out K extends keyof I["methods"]> {
    /** The effect of {@link begin}. */
    readonly begin: Effect.Effect<
      Pending<I, K>,
      CallPending | InvalidAsyncHandle | Refused<I["methods"][K]> | RpcFault | RpcTransportError
    >
    /** The effect of {@link start}. */
    readonly start: Effect.Effect<
      Pending<I, K>,
      NoInterface | InvalidAsyncHandle | Refused<I["methods"][K]> | RpcFault | RpcTransportError,
      Scope.Scope
    >
    /** The effect of {@link invoke}. */
    readonly invoke: Effect.Effect<Method.Out<I["methods"][K]>, Failure<I["methods"][K]> | Refused<I["methods"][K]>>
    /** The stream of {@link stream}. */
    readonly stream: Stream.Stream<
      Client.StreamItem<I["methods"][K]>,
      Failure<I["methods"][K]> | Refused<I["methods"][K]>
    >
    /** The sink of {@link sink}. */
    readonly sink: Sink.Sink<
      Method.Out<I["methods"][K]>,
      Client.SinkItem<I["methods"][K]>,
      never,
      Failure<I["methods"][K]> | Refused<I["methods"][K]>
    >
  }
  /**
   * A function that takes a method by its name, on a call object or a binding: data-first, `f(self, "Read", input)`, and data-last,
   * `f("Read", input)(self)`.
   */
  export interface ByName<
    On extends "call" | "binding",
    Kind extends "plain" | "stream" | "sink" | "any",
    Verb extends keyof Given<any, any>,
    Options extends ReadonlyArray<unknown> = []
  > {
    <I extends Interface.Any, const K extends Interface.MethodName<I, Kind> & string>(
      self: { readonly call: Call<I>; readonly binding: Binding<I> }[On],
      method: K,
      ...input: [...Args<I, K>, ...Options]
    ): Given<I, K>[Verb]
    <const K, const Rest extends ReadonlyArray<unknown>>(
      method: K,
      ...input: Call.Last<K, Rest, Kind, Options>
    ): <I extends Interface<string, { readonly [P in K & string]: Method.Any }>>(
      self:
        & { readonly call: Call<I>; readonly binding: Binding<I> }[On]
        & (Rest extends readonly [...Args<I, K & string>, ...Options] ? unknown : never)
    ) => Given<I, K & string>[Verb]
  }
}

/**
 * The evidence of one begun call: of method `K` of interface `I`. It can be waited on together with other calls and
 * events, see `Synchronize.waitAny`. Evidence of different methods is told apart by `method`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Pending<in out I extends Interface.Any, in out K extends keyof I["methods"]>
  extends Waitable<CallComplete | InvalidAsyncHandle>, Pipeable {
  /** Brands the type. */
  readonly [PendingTypeId]: { readonly _I: Types.Invariant<I>; readonly _K: Types.Invariant<K> }
  /** The interface of the binding. */
  readonly interface: I
  /** The name of the method. */
  readonly method: K
}

/**
 * Types that belong to {@link Pending}.
 *
 * @category models
 * @since 0.1.0
 */
export declare namespace Pending {
  /** The evidence of a call of any method. */
  export type Any = Pending<any, any>
  /** The evidence of a call of one of the methods of an interface: a union that `method` tells apart. */
  export type Of<I extends Interface.Any> = {
    [K in Interface.MethodName<I, "any">]: Pending<I, K>
  }[Interface.MethodName<I, "any">]
  /** The out parameters of the call. */
  export type Out<P extends Any> = P extends Pending<infer I, infer K> ? Method.Out<I["methods"][K]> : never
  /** The failures of the call. */
  export type Failure<P extends Any> = P extends Pending<infer I, infer K> ? Call.MethodFailure<I["methods"][K]> : never
  /** The refusals of a wait for the call: also of its pipes, where the method has some. */
  export type Refusal<P extends Any> = P extends Pending<infer I, infer K>
    ? CallComplete | InvalidAsyncHandle | Method.IfPipes<I["methods"][K], PipeDisciplineError>
    : never
}

/**
 * The failures of a call that was begun: an abort that the method declares, any other exception code, the cancel, or the loss of the
 * connection; where the method takes a context handle, one that the server does not know; where it has pipes, their errors.
 *
 * @category models
 * @since 0.1.0
 */
export type Failure<M extends Method.Any> = M extends Method.Any ?
    | Method.Abort<M>
    | RpcFault
    | CallCancelled
    | RpcTransportError
    | Method.IfPipes<M, PipeError>
    | (Method.TakesHandle<M> extends true ? ContextMismatch : never)
  : never

/**
 * The refusals of the arguments of a call, so that nothing is sent: by schemas and transfer syntaxes, and, for a method that takes a
 * context handle, because the handle is null or destroyed.
 *
 * @category models
 * @since 0.1.0
 */
export type Refused<M extends Method.Any> = M extends Method.Any
  ? BadStubData | (Method.TakesHandle<M> extends true ? NullContext : never)
  : never

/**
 * The call that a failure belongs to. The class of a declared abort is the program's own, so the cause of an abort carries its call as
 * an annotation; an error of `Status` has the call in its fields and its message.
 *
 * @category models
 * @since 0.1.0
 */
export interface FailedCall {
  /** The name of the interface. */
  readonly interface: string
  /** The name of the method. */
  readonly method: string
  /** Where the server is, as far as the channel says: a string binding, or `"local"`. Absent where it does not say. */
  readonly address?: string
}

/**
 * The key of the annotation that names the call of an abort.
 *
 * **Example** (Which call was it?)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Cause, Context, Effect, Schema } from "effect"
 *
 * class Busy extends Schema.TaggedError<Busy>()("Busy", {}) {}
 *
 * const Jobs = Interface.make("Jobs", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b14",
 *   version: [1, 0],
 *   methods: { Run: Interface.method({ aborts: [Interface.abort(1001, Busy)] }) }
 * })
 * const manager = Manager.make(Jobs, { Run: () => new Busy() })
 *
 * const program = Effect.gen(function*() {
 *   const jobs = Call.client(yield* Binding.local(yield* Server.make([manager]), Jobs))
 *   const cause = yield* Effect.flip(Effect.sandbox(jobs.Run()))
 *   return Context.getOption(Cause.annotations(cause), Call.FailedCall) // => Some: Jobs, Run, local
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export const FailedCall: Context.Service<FailedCall, FailedCall> = failedCall

/**
 * The arguments of a method of an interface, for functions over any interface. A union of names has none.
 *
 * **Example** (A function over any interface)
 *
 * ```ts
 * import { type Binding, Call, type Interface } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * export const logged = <I extends Interface.Interface.Any, K extends Interface.Interface.MethodName<I>>(
 *   binding: Binding.Binding<I>,
 *   method: K,
 *   ...args: Call.Args<I, K>
 * ) => Effect.tap(Call.invoke(binding, method, ...args), () => Effect.log(method))
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Args<I extends Interface.Any, K extends keyof I["methods"]> = Interface.One<K, Method.Args<I["methods"][K]>>

/**
 * The options of {@link invoke}.
 *
 * @category models
 * @since 0.1.0
 */
export interface InvokeOptions {
  /**
   * How long an interruption waits for the server's answer: 0 gives the call up at once, infinity never does. The default is that of
   * the binding.
   */
  readonly cancelTimeout?: Duration.Input | undefined
}

/**
 * The options of {@link cancel}.
 *
 * @category models
 * @since 0.1.0
 */
export interface CancelOptions {
  /**
   * How long the client waits for the server's answer before it completes the call itself: 0 completes it at once, infinity never
   * does. The default is that of the binding.
   */
  readonly timeout?: Duration.Input | undefined
}

/**
 * The options of {@link release}.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReleaseOptions {
  /**
   * The fate of a pending call's work: `"stop"` (the default) interrupts it, `"goOn"` lets the routine run to its end and
   * discards its reply. A durable call goes on by default, and `"stop"` records a cancel.
   */
  readonly server?: "stop" | "goOn" | undefined
}

/**
 * The state of a call object. `kind` tells how a completed call ended: `replied`, `aborted`, `cancelled` or `lost`.
 *
 * @category models
 * @since 0.1.0
 */
export type CallState =
  | { readonly _tag: "Idle" }
  | { readonly _tag: "Pending"; readonly cancelRequested: boolean }
  | { readonly _tag: "Completed"; readonly kind: Kind }

/**
 * The element that a queue receives for each completed call, see {@link notify}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Completion<out T, out P> {
  /** The tag that {@link notify} was given. */
  readonly tag: T
  /** The evidence of the completed call, ready to be finished. */
  readonly pending: P
}

/**
 * Whether a value is a call object.
 *
 * **Example** (No other value is a call object)
 *
 * ```ts
 * import { Call } from "@callisto/rpc"
 *
 * Call.isCall({ call: "Read" }) // => false
 * ```
 *
 * @category guards
 * @since 0.1.0
 */
export const isCall = (u: unknown): u is Call.Any => u instanceof CallImpl

/**
 * Whether a value is the evidence of a call.
 *
 * **Example** (Evidence can't be made up)
 *
 * ```ts
 * import { Call } from "@callisto/rpc"
 *
 * Call.isPending({ method: "Read" }) // => false
 * ```
 *
 * @category guards
 * @since 0.1.0
 */
export const isPending = (u: unknown): u is Pending.Any => u instanceof PendingImpl

// ----------------------------------------------------------------------------
// make
// ----------------------------------------------------------------------------

/**
 * Makes a call object. It is released when the scope closes.
 *
 * **Details**
 *
 * A call that is still pending at the release is orphaned: the server is told, its work is interrupted, and nobody has
 * to finish the call.
 *
 * Fails with `NoInterface` when the object in this process declines to offer call objects.
 *
 * Windows: `ICallFactory::CreateCall`, `RpcAsyncInitializeHandle`.
 *
 * **Example** (One object, one call after another)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
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
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *   const call = yield* Call.make(sums)
 *
 *   const three = yield* Call.join(yield* Call.begin(call, "Add", [1, 2]))
 *   return yield* Call.join(yield* Call.begin(call, "Add", [three, 3])) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <I extends Interface.Any>(binding: Binding<I>): Effect.Effect<Call<I>, NoInterface, Scope.Scope> =>
  Effect.withFiber((fiber): Effect.Effect<Call<I>, NoInterface> => {
    if (!binding.channel.callObjects) return declined(binding)
    const call = new CallImpl(binding, Context.getUnsafe(fiber.context, Scope.Scope), false)
    if (!attach(call)) releaseCall(call)
    return Effect.succeed(call as Call<any>)
  })

const declined = ({ interface: { name, uuid } }: Binding.Any): Effect.Effect<never, NoInterface> =>
  Effect.fail(
    new NoInterface({ interface: name, uuid, detail: "the object declines to offer call objects; use Call.invoke" })
  )

// ----------------------------------------------------------------------------
// begin, wait, finish
// ----------------------------------------------------------------------------

/** Both forms of a function that takes a method by its name. */
const byName = (run: (self: object, method: string, input: unknown) => unknown): never =>
  ((first: unknown, second?: unknown, third?: unknown) =>
    typeof first === "string"
      ? (self: object) => run(self, first, second)
      : run(first as object, second as string, third)) as never

/**
 * Begins a call and gives its evidence, as soon as the call was issued.
 *
 * **Details**
 *
 * A method without parameters takes no input. A call in the same process may already be complete when `begin` returns.
 *
 * Once passed, the input belongs to the server: do not change it any more. On the network `begin` waits for the
 * connection and for room to send; interrupting it then leaves the object idle.
 *
 * Fails, and leaves the object as it was, with `CallPending` when the object carries a call already, with
 * `InvalidAsyncHandle` when it is released, with `BadStubData` when the input is refused or the interface has no such
 * method, with `NullContext` when a context handle is null or destroyed, and with `RpcTransportError` when the server
 * can't be reached. With `RpcFault` 1717 it fails when a binding that connects at its first call finds that the server does not serve the
 * interface. A channel that throws is a defect of `begin`, and leaves the object idle.
 *
 * Windows: calling the asynchronous stub; the `Begin_` method of an asynchronous interface.
 *
 * **Example** (Begin now, finish later)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (numbers) => Effect.delay(Effect.succeed(numbers.reduce((a, b) => a + b, 0)), "10 millis")
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *   const call = yield* Call.make(sums)
 *   const adding = yield* Call.begin(call, "Add", [1, 2, 3])
 *   // other work
 *   return yield* Call.join(adding) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category calls
 * @since 0.1.0
 */
export const begin: Call.ByName<"call", "any", "begin"> = byName(
  (self, method, input) => beginCall(self as Call.Any, method, input)
)

const beginCall = (self: Call.Any, method: string, input: unknown): Effect.Effect<PendingImpl, BeginError> =>
  Effect.withFiber((fiber) => {
    const call = callImpl(self)
    const row = clientTable[call.state]
    if (row.begin !== "starts") return refuse(row.begin)
    const operation = findOperation(call.binding, method)
    if (operation === undefined) return noSuchMethod(call.binding, method)
    const pending = new PendingImpl(call, operation)
    const issuing = issue(pending, input, fiber)
    return issuing === undefined ? Effect.succeed(pending) : Effect.as(issuing, pending)
  })

const findOperation = ({ interface: iface }: Binding.Any, method: string): Operation | undefined => {
  const operation: Operation | undefined = iface.operations[method]
  return operation?.interface === iface ? operation : undefined
}

const noSuchMethod = ({ interface: { name } }: Binding.Any, method: string): Effect.Effect<never, BadStubData> =>
  Effect.fail(new BadStubData({ detail: `${name} has no method ${JSON.stringify(method)}.` }))

/**
 * Makes a call object for one call and begins that: {@link make} and {@link begin} in one.
 *
 * **Details**
 *
 * The object is released by the `finish` or `join` that takes the result, and otherwise when the scope closes, as one that {@link make}
 * has made.
 *
 * Fails as {@link make} and {@link begin} do.
 *
 * **Example** (Two calls side by side)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (numbers) => Effect.delay(Effect.succeed(numbers.reduce((a, b) => a + b, 0)), "10 millis")
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *   const three = yield* Call.start(sums, "Add", [1, 2])
 *   const seven = yield* Call.start(sums, "Add", [3, 4])
 *   return (yield* Call.join(three)) + (yield* Call.join(seven)) // => 10
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category calls
 * @since 0.1.0
 */
export const start: Call.ByName<"binding", "any", "start"> = byName((self, method, input) =>
  startByName(self as Binding.Any, method, input)
)

const startByName = (binding: Binding.Any, method: string, input: unknown) => {
  const operation = findOperation(binding, method)
  return operation === undefined ? noSuchMethod(binding, method) : startCall(binding, operation, input)
}

const startCall = (
  binding: Binding.Any,
  operation: Operation,
  input: unknown
): Effect.Effect<PendingImpl, BeginError | NoInterface, Scope.Scope> =>
  Effect.withFiber((fiber): Effect.Effect<PendingImpl, BeginError | NoInterface> => {
    if (!binding.channel.callObjects) return declined(binding)
    const call = new CallImpl(binding, Context.getUnsafe(fiber.context, Scope.Scope), true)
    if (!attach(call)) return refuse("InvalidAsyncHandle")
    const pending = new PendingImpl(call, operation)
    const issuing = issue(pending, input, fiber)
    if (issuing === undefined) return Effect.succeed(pending)
    return Effect.as(Effect.onError(issuing, () => Effect.sync(() => releaseCall(call))), pending)
  })

/**
 * The evidence of the call that the object carries, pending or completed; `None` when it is idle.
 *
 * **Details**
 *
 * With it a program whose evidence was lost can still finish the call and use the object again.
 *
 * Fails with `InvalidAsyncHandle` when the object is released.
 *
 * **Example** (Evidence that nobody kept)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Option, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (numbers) => Effect.delay(Effect.succeed(numbers.reduce((a, b) => a + b, 0)), "10 millis")
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *   const call = yield* Call.make(sums)
 *
 *   yield* Call.begin(call, "Add", [1, 2, 3])
 *   const adding = Option.getOrThrow(yield* Call.pending(call))
 *   const sum = yield* Call.join(adding) // => 6
 *   yield* Call.pending(call) // => None
 *   return sum
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category calls
 * @since 0.1.0
 */
export const pending = <I extends Interface.Any>(
  self: Call<I>
): Effect.Effect<Option.Option<Pending.Of<I>>, InvalidAsyncHandle> =>
  Effect.suspend((): Effect.Effect<Option.Option<Pending.Of<I>>, InvalidAsyncHandle> => {
    const { current, state } = callImpl(self)
    if (state === State.released) return refuse("InvalidAsyncHandle")
    // Until the channel has issued it, a call is cancelled by interrupting its begin.
    const issued = current !== undefined && (current.remote !== undefined || current.outcome !== undefined)
    return Effect.succeed(issued ? Option.some(current as never) : Option.none())
  })

/**
 * Waits until the call is complete; returns at once if it is. Waiting consumes nothing: the call must still be
 * finished.
 *
 * **Details**
 *
 * Fails with `WaitTimeout` when the `timeout` has passed, and the call goes on; a timeout of 0 tests the call, and
 * without one there is no limit. Fails with `CallComplete` when the call was finished already; with `InvalidAsyncHandle`
 * when the call object is released, also while waiting; and with `PipeDisciplineError` when a pipe is not through and nobody ever
 * asked for an end of one, see {@link inPipe}.
 *
 * Windows: `ISynchronize::Wait`, `WaitForSingleObject` on the event of an `RPC_ASYNC_STATE`.
 *
 * **Example** (Look, then wait)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (numbers) => Effect.delay(Effect.succeed(numbers.reduce((a, b) => a + b, 0)), "10 millis")
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const client = Call.client(yield* Binding.local(server, Sums))
 *
 *   const adding = yield* client.Add.begin([1, 2, 3])
 *   yield* Effect.flip(Call.wait(adding, 0)) // => WaitTimeout
 *   yield* Call.wait(adding)
 *   return yield* Call.finish(adding) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category calls
 * @since 0.1.0
 */
export const wait: {
  (): <P extends Pending.Any>(self: P) => Effect.Effect<void, Pending.Refusal<P>>
  (timeout: Duration.Input): <P extends Pending.Any>(self: P) => Effect.Effect<void, WaitTimeout | Pending.Refusal<P>>
  <P extends Pending.Any>(self: P): Effect.Effect<void, Pending.Refusal<P>>
  <P extends Pending.Any>(
    self: P,
    timeout: Duration.Input
  ): Effect.Effect<void, WaitTimeout | Pending.Refusal<P>>
} = dual(
  (args) => isPending(args[0]),
  (self: Pending.Any, timeout?: Duration.Input): Effect.Effect<void, unknown> => {
    const pending = pendingImpl(self)
    return Effect.suspend((): Effect.Effect<void, unknown> =>
      unlessUndriven(pending, withTimeout(awaitUnsafe(pending), () => isReady(pending), timeout))
    )
  }
) as never

/**
 * Takes the result of a completed call, exactly what {@link invoke} would have given. It never waits, and the object is
 * idle afterwards.
 *
 * **Details**
 *
 * Fails with the call's {@link Failure}; with `CallPending`, consuming nothing, when the call is not complete; with
 * `CallComplete` when it was finished already; with `InvalidAsyncHandle` when the call object is released.
 *
 * Where the channel takes results (`Channel.take`), the evidence that took a result can take it again, until its object begins another
 * call.
 *
 * Windows: `RpcAsyncCompleteCall`; the `Finish_` method of an asynchronous interface.
 *
 * **Example** (Too early, in time, too late)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (numbers) => Effect.delay(Effect.succeed(numbers.reduce((a, b) => a + b, 0)), "10 millis")
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const client = Call.client(yield* Binding.local(server, Sums))
 *
 *   const adding = yield* client.Add.begin([1, 2, 3])
 *   yield* Effect.flip(Call.finish(adding)) // => CallPending
 *   yield* Call.wait(adding)
 *   const sum = yield* Call.finish(adding) // => 6
 *   yield* Effect.flip(Call.finish(adding)) // => CallComplete
 *   return sum
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category calls
 * @since 0.1.0
 */
export const finish = <P extends Pending.Any>(
  self: P
): Effect.Effect<Pending.Out<P>, Pending.Failure<P> | CallPending | CallComplete | InvalidAsyncHandle> =>
  Effect.suspend(() => take(pendingImpl(self))) as never

/**
 * Waits for the call, then finishes it. Interrupting it leaves the call as it is.
 *
 * **Details**
 *
 * Fails with the call's {@link Failure}; with `CallComplete` when another fiber has finished the call;
 * with `InvalidAsyncHandle` when the call object is released, also while waiting; with `PipeDisciplineError` when a pipe is not
 * through and nobody ever asked for an end of one, see {@link inPipe}.
 *
 * **Example** (A join that was interrupted consumes nothing)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (numbers) => Effect.delay(Effect.succeed(numbers.reduce((a, b) => a + b, 0)), "10 millis")
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const client = Call.client(yield* Binding.local(server, Sums))
 *
 *   const adding = yield* client.Add.begin([1, 2, 3])
 *   yield* Effect.timeoutOption(Call.join(adding), "1 milli") // => None
 *   return yield* Call.join(adding) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category calls
 * @since 0.1.0
 */
export const join = <P extends Pending.Any>(
  self: P
): Effect.Effect<Pending.Out<P>, Pending.Failure<P> | CallComplete | InvalidAsyncHandle> =>
  Effect.suspend(() => {
    const pending = pendingImpl(self)
    if (rowOf(pending).join === "consumes" || hasTaken(pending)) return take(pending)
    return unlessUndriven(pending, waitAndTake(pending))
  }) as never

/** Refuses to wait for a call with pipes where nobody ever asked for an end of a pipe: the wait would never end. */
const unlessUndriven = (pending: PendingImpl, wait: Effect.Effect<unknown, unknown>): Effect.Effect<any, unknown> => {
  const awaited = pending.remote?.awaited
  if (awaited !== undefined) return Effect.andThen(awaited, wait)
  const isUndriven = () => pending.pipes?.current !== undefined && !pending.pipes.asked
  if (!isUndriven()) return wait
  const refused = Effect.suspend(() =>
    isUndriven() ? Effect.fail(new PipeDisciplineError({ pipe: pending.pipes!.current!.name })) : wait
  )
  // A fiber that was just forked asks for an end when it starts.
  return Effect.andThen(Effect.yieldNow, refused)
}

const waitAndTake = (pending: PendingImpl): Effect.Effect<unknown, unknown> =>
  Effect.callback((resume) => {
    const { join } = rowOf(pending)
    if (join === "consumes") return resume(take(pending))
    if (join !== "waits") return resume(refuse(join))
    // The result is taken when the fiber goes on: an interrupted fiber consumes nothing.
    const waiter = () => resume(Effect.suspend(() => take(pending)))
    pending.addWaiterUnsafe(waiter)
    return Effect.sync(() => pending.removeWaiterUnsafe(waiter))
  })

// ----------------------------------------------------------------------------
// cancel
// ----------------------------------------------------------------------------

/**
 * Asks for the call to be cancelled. It returns as soon as the request is recorded, which says nothing about the
 * server: the call must still be waited for and finished.
 *
 * **Details**
 *
 * `timeout` is how long the client waits for the server's answer before it completes the call itself, with
 * `CallCancelled`: 0 completes at once (abortive), infinity never (non-abortive). The default is that of the binding.
 * An answer that comes first wins, and `finish` gives it. A later cancel may only shorten the time.
 *
 * Fails, and changes nothing, with `CallComplete` when the call is complete, with `CallCancelled` when it is being
 * cancelled and this cancel would not end it sooner, with `CancelDisabled` when the object in this process has disabled
 * cancellation, with `InvalidAsyncHandle` when the call object is released, and with `RpcTransportError` when the channel could not
 * record the request.
 *
 * Windows: `RpcAsyncCancelCall`, `ICancelMethodCalls::Cancel`.
 *
 * **Example** (Cancel, then take the outcome)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: () => Effect.never })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const client = Call.client(yield* Binding.local(server, Sums))
 *
 *   const adding = yield* client.Add.begin([1, 2, 3])
 *   // The server has 20 milliseconds to answer.
 *   yield* Call.cancel(adding, { timeout: "20 millis" })
 *   return yield* Effect.flip(Call.join(adding)) // => CallCancelled
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category calls
 * @since 0.1.0
 */
export const cancel: {
  (options?: CancelOptions): (
    self: Pending.Any
  ) => Effect.Effect<void, CallCancelled | CallComplete | CancelDisabled | InvalidAsyncHandle | RpcTransportError>
  (
    self: Pending.Any,
    options?: CancelOptions
  ): Effect.Effect<void, CallCancelled | CallComplete | CancelDisabled | InvalidAsyncHandle | RpcTransportError>
} = dual(
  (args) => isPending(args[0]),
  (self: Pending.Any, options?: CancelOptions) => requestCancel(pendingImpl(self), options?.timeout, true)
)

// ----------------------------------------------------------------------------
// release
// ----------------------------------------------------------------------------

/**
 * Releases a call object before its scope closes, given the object itself or the evidence of the call that it carries. Its scope
 * forgets it.
 *
 * **Details**
 *
 * `"stop"` orphans a pending call: the server is told, and its work is interrupted. `"goOn"` sends nothing: the routine runs to its
 * end, and its reply is discarded. Over the network the connection is kept until the reply, as long as the scope of its
 * association is open; work that must outlive that is handed off or durable. The call needs no finish: its waiters fail with
 * `InvalidAsyncHandle`, and so does the `begin` that is still issuing it.
 *
 * Releasing twice, or by stale evidence, changes nothing. `"goOn"` fails with `PipeDisciplineError`, and releases nothing, while
 * a pipe of the call is open.
 *
 * Windows: the last release of a call object.
 *
 * **Example** (The work goes on)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server, Synchronize } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * const Backups = Interface.make("Backups", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b13",
 *   version: [1, 0],
 *   methods: { Run: Interface.method({}) }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const done = yield* Synchronize.make()
 *   const manager = Manager.make(Backups, { Run: () => Effect.delay(Synchronize.signal(done), "10 millis") })
 *   const backups = yield* Binding.local(yield* Server.make([manager]), Backups)
 *
 *   const running = yield* Call.start(backups, "Run")
 *   yield* Call.release(running, { server: "goOn" })
 *   yield* Synchronize.wait(done)
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category release
 * @since 0.1.0
 */
export const release: {
  (options?: { readonly server?: "stop" | undefined }): (self: Call.Any | Pending.Any) => Effect.Effect<void>
  (options: ReleaseOptions): (self: Call.Any | Pending.Any) => Effect.Effect<void, PipeDisciplineError>
  (self: Call.Any | Pending.Any, options?: { readonly server?: "stop" | undefined }): Effect.Effect<void>
  (self: Call.Any | Pending.Any, options: ReleaseOptions): Effect.Effect<void, PipeDisciplineError>
} = dual(
  (args) => isCall(args[0]) || isPending(args[0]),
  (self: Call.Any | Pending.Any, options?: ReleaseOptions): Effect.Effect<void, never> =>
    Effect.suspend(() => {
      const server = choiceOption("Call.release", "server", options?.server, ["stop", "goOn"], "stop")
      const call = isPending(self) ? carrierOf(pendingImpl(self)) : callImpl(self)
      if (call === undefined) return Effect.void
      if (server === "goOn" && clientTable[call.state].goOn !== "nothing") {
        const unfinished = call.current?.pipes?.current
        if (unfinished !== undefined && clientTable[call.state].goOn === "detaches") {
          return Effect.fail(new PipeDisciplineError({ pipe: unfinished.name }) as never)
        }
        call.goesOn = true
      }
      const stop = options?.server === "stop" ? call.current?.remote?.giveUp?.() : undefined
      releaseCall(call)
      return stop ?? Effect.void
    })
)

/** The call object, as long as it carries the call of the evidence. */
const carrierOf = (pending: PendingImpl): CallImpl | undefined =>
  pending.call.current === pending ? pending.call : undefined

// ----------------------------------------------------------------------------
// security
// ----------------------------------------------------------------------------

/**
 * Gives a call object security of its own, for the calls that begin from now on; `undefined` gives it back that of its binding.
 *
 * **Details**
 *
 * `Security.make` of `@callisto/rpc/security` makes the value. It belongs to this object alone; calls of different settings never share a
 * connection, and have no order among each other. In process it changes nothing.
 *
 * Fails with `CallPending` while the object carries a call, and with `InvalidAsyncHandle` when it is released.
 *
 * Windows: `IClientSecurity::SetBlanket` on the call object, before its `Begin_` method.
 *
 * @category security
 * @since 0.1.0
 */
export const setSecurity: {
  (security: Security | undefined): (self: Call.Any) => Effect.Effect<void, CallPending | InvalidAsyncHandle>
  (self: Call.Any, security: Security | undefined): Effect.Effect<void, CallPending | InvalidAsyncHandle>
} = dual(2, (self: Call.Any, security: Security | undefined) =>
  Effect.suspend(() => {
    const call = callImpl(self)
    const { begin } = clientTable[call.state]
    if (begin !== "starts") return refuse(begin)
    call.security = security
    return Effect.void
  }))

/**
 * The security of a call object: the agreed security of the call that it carries, else the security that the next call asks for.
 *
 * **Details**
 *
 * Fails with `InvalidAsyncHandle` when the object is released.
 *
 * Windows: `RpcBindingInqAuthInfo`, `IClientSecurity::QueryBlanket`.
 *
 * **Example** (Within one process nobody else can listen)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * const IDesk = Interface.make("IDesk", { methods: { Ring: Interface.method({}) } })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([Manager.make(IDesk, { Ring: () => Effect.void })])
 *   const call = yield* Call.make(yield* Binding.local(server, IDesk))
 *   const { level } = yield* Call.security(call)
 *   return level // => "privacy"
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category security
 * @since 0.1.0
 */
export const security = (self: Call.Any): Effect.Effect<Secured, InvalidAsyncHandle> =>
  Effect.suspend(() => {
    const { binding, current, security, state } = callImpl(self)
    if (state === State.released) return refuse("InvalidAsyncHandle")
    const { level = "none", mutual = false, provider } = security ?? {}
    const asked = { level, mutual, provider: provider?.name, headerSigning: false }
    return Effect.succeed(current?.secured ?? (security === undefined ? binding.channel.security : undefined) ?? asked)
  })

// ----------------------------------------------------------------------------
// other ways to learn of completion
// ----------------------------------------------------------------------------

/**
 * Gives the state of the call object.
 *
 * **Details**
 *
 * Fails with `InvalidAsyncHandle` when the object is released.
 *
 * Windows: `RpcAsyncGetCallStatus`.
 *
 * **Example** (From begin to finish)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (numbers) => Effect.delay(Effect.succeed(numbers.reduce((a, b) => a + b, 0)), "10 millis")
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *   const call = yield* Call.make(sums)
 *
 *   const adding = yield* Call.begin(call, "Add", [1, 2, 3])
 *   yield* Call.state(call) // => { _tag: "Pending", cancelRequested: false }
 *   yield* Call.wait(adding)
 *   yield* Call.state(call) // => { _tag: "Completed", kind: "replied" }
 *   yield* Call.finish(adding)
 *   return yield* Call.state(call) // => { _tag: "Idle" }
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category completion
 * @since 0.1.0
 */
export const state = (self: Call.Any): Effect.Effect<CallState, InvalidAsyncHandle> =>
  Effect.suspend(() => {
    const state = look(callImpl(self))
    return state === undefined ? refuse("InvalidAsyncHandle") : Effect.succeed(state)
  })

/** The state of a call object; `undefined` when it is released. */
const look = (call: CallImpl): CallState | undefined => {
  switch (call.state) {
    case State.idle:
      return { _tag: "Idle" }
    case State.pending:
      return { _tag: "Pending", cancelRequested: false }
    case State.cancelling:
      return { _tag: "Pending", cancelRequested: true }
    case State.completed:
      return { _tag: "Completed", kind: kindOf(call.current!.outcome!) }
    case State.released:
      return undefined
  }
}

/**
 * The states of the call object: the present one, then each change, until the object is released.
 *
 * **Details**
 *
 * A reader that falls more than 16 states behind misses the oldest of them. Fails with `InvalidAsyncHandle` when the
 * object is released already.
 *
 * **Example** (Watching an object)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Fiber, Schema, Stream } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (numbers) => Effect.delay(Effect.succeed(numbers.reduce((a, b) => a + b, 0)), "10 millis")
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *   const call = yield* Call.make(sums)
 *
 *   const watching = yield* Call.states(call).pipe(
 *     Stream.map((state) => state._tag),
 *     Stream.take(4),
 *     Stream.runCollect,
 *     Effect.forkChild({ startImmediately: true })
 *   )
 *   yield* Call.join(yield* Call.begin(call, "Add", [1, 2, 3]))
 *   return yield* Fiber.join(watching) // => ["Idle", "Pending", "Completed", "Idle"]
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category completion
 * @since 0.1.0
 */
export const states = (self: Call.Any): Stream.Stream<CallState, InvalidAsyncHandle> =>
  Stream.callback<CallState, InvalidAsyncHandle>((queue) =>
    Effect.suspend(() => {
      const call = callImpl(self)
      if (call.state === State.released) return Queue.fail(queue, new InvalidAsyncHandle({ handle: "call object" }))
      const watchers = call.watchers ??= new Set()
      const notice = () => {
        const state = look(call)
        Depth.run(() => state === undefined ? Queue.endUnsafe(queue) : Queue.offerUnsafe(queue, state))
      }
      watchers.add(notice)
      notice()
      return Effect.addFinalizer(() =>
        Effect.sync(() => {
          watchers.delete(notice)
          if (watchers.size === 0) call.watchers = undefined
        })
      )
    }), { bufferSize: 16, strategy: "sliding" })

/**
 * Runs an effect when the call completes; at once if it is complete.
 *
 * **Details**
 *
 * The effect runs in a fiber of its own, which belongs to the scope of the call object; a defect in it is logged. If
 * the call object is released before completion it never runs. Fails with `CallComplete` when the call was finished
 * already, and with `InvalidAsyncHandle` when the call object is released.
 *
 * Windows: `RpcNotificationTypeApc`, `RpcNotificationTypeCallback`.
 *
 * **Example** (A callback that signals an event)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server, Synchronize } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (numbers) => Effect.delay(Effect.succeed(numbers.reduce((a, b) => a + b, 0)), "10 millis")
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const client = Call.client(yield* Binding.local(server, Sums))
 *
 *   const ready = yield* Synchronize.make()
 *   const adding = yield* client.Add.begin([1, 2, 3])
 *   yield* Call.onComplete(adding, Synchronize.signal(ready))
 *   yield* Synchronize.wait(ready)
 *   return yield* Call.finish(adding) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category completion
 * @since 0.1.0
 */
export const onComplete: {
  <R>(
    callback: Effect.Effect<unknown, never, R>
  ): (self: Pending.Any) => Effect.Effect<void, CallComplete | InvalidAsyncHandle, R>
  <R>(
    self: Pending.Any,
    callback: Effect.Effect<unknown, never, R>
  ): Effect.Effect<void, CallComplete | InvalidAsyncHandle, R>
} = dual(
  2,
  <R>(self: Pending.Any, callback: Effect.Effect<unknown, never, R>) =>
    Effect.contextWith<R, void, CallComplete | InvalidAsyncHandle, R>((context) =>
      whenComplete(pendingImpl(self), ({ call }) => {
        const logged = Effect.tapCause(callback, (cause) => Effect.logError("A completion callback died", cause))
        const fiber = Effect.runForkWith(context)(logged)
        if (call.scope !== undefined) Fiber.runIn(fiber, call.scope)
      })
    )
)

/**
 * Posts a {@link Completion} to a queue when the call completes; at once if it is complete. Any number of calls can
 * post to one queue, and none is lost.
 *
 * **Details**
 *
 * A queue that can lose completions, because it is bounded, is refused with a `TypeError` defect.
 *
 * Nothing is posted for a call whose call object is released before completion. Fails with `CallComplete` when the call
 * was finished already, and with `InvalidAsyncHandle` when the call object is released.
 *
 * Windows: `RpcNotificationTypeIoc`, an I/O completion port.
 *
 * **Example** (Two calls, one queue)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Queue, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const client = Call.client(yield* Binding.local(server, Sums))
 *   const queue = yield* Queue.unbounded<Call.Completion<string, Call.Pending<typeof Sums, "Add">>>()
 *   for (const name of ["first", "second"]) {
 *     const adding = yield* client.Add.begin([1, 2, 3])
 *     yield* Call.notify(adding, queue, name)
 *   }
 *   const { pending, tag } = yield* Queue.take(queue)
 *   return [tag, yield* Call.finish(pending)] // => ["first", 6]
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category completion
 * @since 0.1.0
 */
export const notify: {
  <P extends Pending.Any, T>(
    queue: Queue.Enqueue<Completion<T, P>>,
    tag: NoInfer<T>
  ): (self: P) => Effect.Effect<void, CallComplete | InvalidAsyncHandle>
  <P extends Pending.Any, T>(
    self: P,
    queue: Queue.Enqueue<Completion<T, P>>,
    tag: NoInfer<T>
  ): Effect.Effect<void, CallComplete | InvalidAsyncHandle>
} = dual(
  (args) => isPending(args[0]),
  <P extends Pending.Any, T>(self: P, queue: Queue.Enqueue<Completion<T, P>>, tag: T) =>
    Effect.suspend(() => {
      if (queue.capacity !== Infinity) {
        refuseArgument(
          "Call.notify",
          `the queue can lose completions, got capacity ${queue.capacity}, expected an unbounded queue`
        )
      }
      return whenComplete(pendingImpl(self), () => {
        Queue.offerUnsafe(queue, { tag, pending: self })
      })
    })
)

const whenComplete = (
  pending: PendingImpl,
  notify: (pending: PendingImpl) => void
): Effect.Effect<void, CallComplete | InvalidAsyncHandle> => {
  const { wait } = rowOf(pending)
  if (wait === "returns") notify(pending)
  else if (wait === "waits") pending.addWaiterUnsafe((refusal) => refusal === undefined && notify(pending))
  else return refuse(wait)
  return Effect.void
}

// ----------------------------------------------------------------------------
// the one-shot form
// ----------------------------------------------------------------------------

/**
 * Calls a method: begin, wait and finish in one effect. Interrupting it cancels the call, so it composes with
 * `Effect.timeout`, `race`, `all` and `retry` like any effect.
 *
 * **Details**
 *
 * `cancelTimeout` is how long an interruption waits for the server's answer, see {@link cancel}; the default is that of
 * the binding. The effect ends when the call is over for the client: where the object has disabled cancellation, an
 * interruption waits for the call. A method that has pipes is called with {@link stream}, {@link sink} or a call object.
 *
 * Fails with the call's {@link Failure}, or with what {@link begin} fails with.
 *
 * Windows: a synchronous call.
 *
 * **Example** (A timeout cancels the call)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (numbers) => Effect.delay(Effect.succeed(numbers.reduce((a, b) => a + b, 0)), "10 millis")
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *
 *   yield* Call.invoke(sums, "Add", [1, 2, 3]) // => 6
 *   return yield* Effect.timeoutOption(Call.invoke(sums, "Add", [1, 2, 3]), "1 milli") // => None
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category calls
 * @since 0.1.0
 */
export const invoke: Call.ByName<"binding", "plain", "invoke", [options?: InvokeOptions | undefined]> =
  ((first: unknown, second?: unknown, third?: unknown, fourth?: unknown) =>
    typeof first === "string"
      ? (binding: Binding.Any) => invokeByName(binding, first, second, third)
      : invokeByName(first as Binding.Any, second as string, third, fourth)) as never

const invokeByName = (binding: Binding.Any, method: string, input: unknown, options: unknown) => {
  const operation = findOperation(binding, method)
  if (operation === undefined) return noSuchMethod(binding, method)
  if (operation.pipes !== undefined) return needsPipes(operation)
  return operation.takesInput
    ? invokeCall(binding, operation, input, options as InvokeOptions)
    : invokeCall(binding, operation, undefined, input as InvokeOptions)
}

const invokeCall = (
  binding: Binding.Any,
  operation: Operation,
  input: unknown,
  options: InvokeOptions | undefined
): Effect.Effect<never, BadStubData> =>
  // All in one callback, so that an interruption while the call is being issued finds the cleanup.
  Effect.callback((resume) => {
    const cancelTimeout = options?.cancelTimeout
    if (cancelTimeout !== undefined) durationOption("Call.invoke", "cancelTimeout", cancelTimeout, 0)
    const pending = new PendingImpl(new CallImpl(binding, undefined, false), operation)
    const issuing = issue(pending, input, Fiber.getCurrent()!)
    // A call in the same process is often complete by now.
    if (pending.outcome !== undefined) return resume(outcomeOf(pending) as never)
    const cleanUp = Effect.suspend(() => abandon(pending, cancelTimeout))
    if (issuing === undefined) {
      pending.addWaiterUnsafe(() => resume(outcomeOf(pending) as never))
      return cleanUp
    }
    const waiting = Effect.flatMap(issuing, () => waitAndTake(pending))
    // A call that was not issued has nothing to clean up: the cancel finds it complete.
    resume(
      Effect.onExit(
        waiting,
        (exit) => exit._tag === "Failure" && Cause.hasInterrupts(exit.cause) ? cleanUp : Effect.void
      ) as Effect.Effect<never, BadStubData>
    )
  })

// The call object of a one-shot call is nobody's, so it need not be idle again.
const outcomeOf = (pending: PendingImpl): Effect.Effect<unknown, unknown> =>
  pending.call.binding.through === undefined ? pending.outcome! : take(pending)

const needsPipes = ({ interface: { name }, name: method }: Operation): Effect.Effect<never, BadStubData> =>
  Effect.fail(new BadStubData({ detail: `${name}.${method} has pipes: use Call.stream, Call.sink, or a call object.` }))

/** Cancels a call whose caller was interrupted, and waits until it is over for the client. */
const abandon = (pending: PendingImpl, cancelTimeout: Duration.Input | undefined): Effect.Effect<void> => {
  if (pending.outcome !== undefined) return Effect.void
  // A call that can't be cancelled would wait for its pipes for ever: the server is told that its client is gone.
  if (pending.remote?.cancelDisabled && pending.pipes?.current !== undefined) {
    return Effect.sync(() => releaseCall(pending.call))
  }
  return Effect.flatMap(
    ignoreFailure(requestCancel(pending, cancelTimeout, false)),
    () => ignoreFailure(awaitUnsafe(pending))
  )
}

// ----------------------------------------------------------------------------
// pipes
// ----------------------------------------------------------------------------

/**
 * The errors of a pipe's operations when its call ends first: its {@link Failure}, or `InvalidAsyncHandle` when the call
 * object is released.
 *
 * @category pipes
 * @since 0.1.0
 */
export type PipeFailure<M extends Method.Any> = Failure<M> | InvalidAsyncHandle

const pipeEnd = (self: Pending.Any, name: string, isIn: boolean): unknown => {
  const { operation, pipes } = pendingImpl(self)
  const end = endOf(operation, pipes, name, isIn)
  pipes!.asked = true
  return end
}

/**
 * The in pipe of that name, to be pushed. A method that takes nothing but one pipe is called simplest with {@link sink}.
 *
 * **Details**
 *
 * While pipes are not through, `finish` fails with `PipeDisciplineError`. `wait` and `join` fail with it only where nobody ever asked
 * for an end of the call's pipes. Once somebody did they wait, because a callback, a stream or another fiber may still use it. Throws a
 * `TypeError` where the method has no such pipe.
 *
 * **Example** (Pushed by hand)
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
 *   const call = yield* Call.make(yield* Binding.local(server, Sums))
 *
 *   const adding = yield* Call.begin(call, "Add")
 *   const numbers = Call.inPipe(adding, "numbers")
 *   yield* Pipe.push(numbers, [1, 2])
 *   yield* Pipe.push(numbers, [3])
 *   yield* Pipe.end(numbers)
 *   return yield* Call.join(adding) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category pipes
 * @since 0.1.0
 */
export const inPipe: {
  <const Name extends string>(name: Name): <I extends Interface.Any, K extends keyof I["methods"]>(
    self: Pending<I, K> & (Name extends keyof Method.InPipe<I["methods"][K]> ? unknown : never)
  ) => Pipe.Writer<
    Method.InPipe<I["methods"][K]>[Name & keyof Method.InPipe<I["methods"][K]>],
    PipeFailure<I["methods"][K]>
  >
  <
    I extends Interface.Any,
    K extends keyof I["methods"],
    const Name extends keyof Method.InPipe<I["methods"][K]> & string
  >(
    self: Pending<I, K>,
    name: Name
  ): Pipe.Writer<Method.InPipe<I["methods"][K]>[Name], PipeFailure<I["methods"][K]>>
} = dual(2, (self: Pending.Any, name: string) => pipeEnd(self, name, true)) as never

/**
 * The out pipe of that name, to be pulled when all in pipes are through. A method that gives nothing but one pipe is called simplest
 * with {@link stream}.
 *
 * **Details**
 *
 * As for {@link inPipe}.
 *
 * **Example** (Pulled by hand)
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
 *   const call = yield* Call.make(yield* Binding.local(server, Numbers))
 *
 *   const counting = yield* Call.begin(call, "Count", { to: 3 })
 *   const numbers = Call.outPipe(counting, "numbers")
 *   yield* Pipe.pull(numbers, 2) // => [1, 2]
 *   yield* Pipe.pull(numbers, 2) // => [3]
 *   yield* Pipe.pull(numbers, 2) // => [], the end
 *   return yield* Call.join(counting)
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category pipes
 * @since 0.1.0
 */
export const outPipe: {
  <const Name extends string>(name: Name): <I extends Interface.Any, K extends keyof I["methods"]>(
    self: Pending<I, K> & (Name extends keyof Method.OutPipe<I["methods"][K]> ? unknown : never)
  ) => Pipe.Reader<
    Method.OutPipe<I["methods"][K]>[Name & keyof Method.OutPipe<I["methods"][K]>],
    PipeFailure<I["methods"][K]>
  >
  <
    I extends Interface.Any,
    K extends keyof I["methods"],
    const Name extends keyof Method.OutPipe<I["methods"][K]> & string
  >(
    self: Pending<I, K>,
    name: Name
  ): Pipe.Reader<Method.OutPipe<I["methods"][K]>[Name], PipeFailure<I["methods"][K]>>
} = dual(2, (self: Pending.Any, name: string) => pipeEnd(self, name, false)) as never

/** Begins a call whose only pipe is in one direction. It is cancelled when the scope closes before it has ended. */
const beginScoped = (
  binding: Binding.Any,
  operation: Operation,
  input: unknown
): Effect.Effect<PendingImpl, BeginError, Scope.Scope> =>
  Effect.withFiber((fiber) => {
    const call = new CallImpl(binding, undefined, false)
    const pending = new PendingImpl(call, operation)
    const end = Effect.suspend(() => call.current === undefined ? Effect.void : abandon(pending, undefined))
    // The finalizer is added first: an interruption may come just when the call was begun.
    return Effect.andThen(
      Effect.addFinalizer(() => end),
      Effect.suspend(() => Effect.as(issue(pending, input, fiber) ?? Effect.void, pending))
    )
  })

const byOnePipe = (
  binding: Binding.Any,
  method: string,
  isIn: boolean
): Operation | Effect.Effect<never, BadStubData> => {
  const operation = findOperation(binding, method)
  if (operation === undefined) return noSuchMethod(binding, method)
  const { pipes } = operation
  return pipes?.length === 1 && pipes[0]!.isIn === isIn ? operation : needsOnePipe(operation, isIn)
}

const needsOnePipe = ({ interface: { name }, name: method, pipes }: Operation, isIn: boolean) =>
  Effect.fail(
    new BadStubData({
      detail: `${name}.${method} does not have one ${isIn ? "in" : "out"} pipe and no other: use ${
        pipes === undefined ? "Call.invoke" : "a call object"
      }.`
    })
  )

const onlyEnd = (pending: PendingImpl): unknown => pending.pipes!.list[0]

/**
 * Calls a method that has one out pipe, and gives that as a stream. When the stream is stopped before its end the call is cancelled.
 *
 * **Details**
 *
 * The stream ends when the call has ended. It has no place for out parameters, which are dropped: for them, and for a method with more
 * pipes, use a call object and {@link outPipe}.
 *
 * Fails with the call's {@link Failure}, or with what {@link begin} fails with; with `BadStubData` also where the method does not have one
 * out pipe and no other.
 *
 * Windows: a synchronous call with an out pipe.
 *
 * **Example** (The first numbers of many)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Pipe, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Schema, Stream } from "effect"
 *
 * const Numbers = Interface.make("Numbers", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b12",
 *   version: [1, 0],
 *   methods: { Count: Interface.method({ outPipe: { numbers: Schema.Int } }) }
 * })
 * const manager = Manager.make(Numbers, {
 *   Count: (_, call) =>
 *     Stream.run(Stream.iterate(1, (n) => n + 1), Pipe.toSink(ServerCall.outPipe(call, "numbers")))
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const numbers = yield* Binding.local(server, Numbers)
 *   return yield* Call.stream(numbers, "Count").pipe(Stream.take(3), Stream.runCollect) // => [1, 2, 3]
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category pipes
 * @since 0.1.0
 */
export const stream: Call.ByName<"binding", "stream", "stream"> = byName((self, method, input) =>
  streamByName(self as Binding.Any, method, input)
)

const streamByName = (binding: Binding.Any, method: string, input: unknown): Stream.Stream<unknown, unknown> => {
  const operation = byOnePipe(binding, method, false)
  return Effect.isEffect(operation) ? Stream.fromEffect(operation) : streamCall(binding, operation, input)
}

const streamCall = (binding: Binding.Any, operation: Operation, input: unknown): Stream.Stream<unknown, unknown> =>
  Stream.unwrap(
    Effect.map(beginScoped(binding, operation, input), (pending) => {
      const joined = Stream.drain(Stream.fromEffect(join(pending as Pending.Any)))
      return Stream.concat(Pipe.toStream(onlyEnd(pending) as Pipe.Reader<unknown, never>), joined)
    })
  )

/**
 * Calls a method that takes one in pipe, as a sink for a stream: what the stream carries goes through the pipe, and the result is
 * that of the call. When the stream fails or is stopped the call is cancelled.
 *
 * **Details**
 *
 * Fails with the call's {@link Failure}, or with what {@link begin} fails with; with `BadStubData` also where the method does not have one
 * in pipe and no other. For a method with more pipes use a call object and {@link inPipe}.
 *
 * Windows: a synchronous call with an in pipe.
 *
 * **Example** (A sum of many numbers)
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
 *   return yield* Stream.run(Stream.range(1, 100), Call.sink(sums, "Add")) // => 5050
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category pipes
 * @since 0.1.0
 */
export const sink: Call.ByName<"binding", "sink", "sink"> = byName((self, method, input) =>
  sinkByName(self as Binding.Any, method, input)
)

const sinkByName = (
  binding: Binding.Any,
  method: string,
  input: unknown
): Sink.Sink<unknown, never, never, unknown> => {
  const operation = byOnePipe(binding, method, true)
  return Effect.isEffect(operation) ? Sink.fromEffect(operation) : sinkCall(binding, operation, input)
}

const sinkCall = (
  binding: Binding.Any,
  operation: Operation,
  input: unknown
): Sink.Sink<unknown, never, never, unknown> =>
  Sink.unwrap(
    Effect.map(beginScoped(binding, operation, input), (pending) => {
      const pushed = Pipe.toSink(onlyEnd(pending) as Pipe.Writer<never, never>)
      return Sink.mapEffect(pushed, () => join(pending as Pending.Any))
    })
  )

// ----------------------------------------------------------------------------
// the client object
// ----------------------------------------------------------------------------

/**
 * The methods of a binding as functions, see {@link client}. A method named `then` is left out, because JavaScript would call it
 * wherever the client is awaited: call it with {@link invoke}.
 *
 * @category models
 * @since 0.1.0
 */
export type Client<I extends Interface.Any> = {
  readonly [K in keyof I["methods"]]: K extends "then" ? undefined : Client.Member<I, K>
}

/**
 * Types that belong to {@link Client}.
 *
 * @category models
 * @since 0.1.0
 */
export declare namespace Client {
  /** One method of a client. */
  export type Member<I extends Interface.Any, K extends keyof I["methods"]> = K extends Interface.MethodName<I, "plain">
    ? Plain<I, K>
    : K extends Interface.MethodName<I, "stream"> ? WithStream<I, K>
    : K extends Interface.MethodName<I, "sink"> ? WithSink<I, K>
    : Begun<I, K>

  /** A method with several pipes. */
  export interface Begun<I extends Interface.Any, K extends keyof I["methods"]> {
    /** Begins a call on a call object of its own, as {@link start} does. */
    begin(...input: Method.Args<I["methods"][K]>): Call.Given<I, K>["start"]
  }

  /** A method without pipes: calling it is {@link invoke}. */
  export interface Plain<I extends Interface.Any, K extends keyof I["methods"]> extends Begun<I, K> {
    (
      ...args: [...input: Method.Args<I["methods"][K]>, options?: InvokeOptions | undefined]
    ): Call.Given<I, K>["invoke"]
  }

  /** A method with one out pipe. */
  export interface WithStream<I extends Interface.Any, K extends keyof I["methods"]> extends Begun<I, K> {
    /** Calls the method and gives its out pipe as a stream, as {@link stream} does. */
    stream(...input: Method.Args<I["methods"][K]>): Call.Given<I, K>["stream"]
  }

  /** A method with one in pipe. */
  export interface WithSink<I extends Interface.Any, K extends keyof I["methods"]> extends Begun<I, K> {
    /** Calls the method with its in pipe as a sink, as {@link sink} does. */
    sink(...input: Method.Args<I["methods"][K]>): Call.Given<I, K>["sink"]
  }

  /** The elements of the one out pipe. */
  export type StreamItem<M extends Method.Any> = Pipe.Item<Method.OutPipe<M>[keyof Method.OutPipe<M>]>

  /** The elements of the one in pipe. */
  export type SinkItem<M extends Method.Any> = Pipe.Item<Method.InPipe<M>[keyof Method.InPipe<M>]>
}

/**
 * The methods of a binding as functions: one object, made once for each binding.
 *
 * **Details**
 *
 * `client.Read(input, options)` is {@link invoke}, `client.Read.begin(input)` is {@link start}. Where a method has one out pipe and no other,
 * `client.Follow.stream(input)` is {@link stream}; where it has one in pipe and no other, `client.Append.sink(input)` is {@link sink}. A
 * method with more pipes has `begin` alone.
 *
 * **Gotchas**
 *
 * A method named `then` is left out, because JavaScript would call it wherever the client is awaited: call it with {@link invoke}. The
 * client has its methods and no prototype, since a method may be called `toString`. So `String(client)` throws: print its binding.
 *
 * **Example** (At once, or begun and finished later)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
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
 *   const server = yield* Server.make([manager])
 *   const client = Call.client(yield* Binding.local(server, Sums))
 *
 *   const three = yield* client.Add([1, 2])
 *   const adding = yield* client.Add.begin([three, 3])
 *   return yield* Call.join(adding) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const client = <I extends Interface.Any>(binding: Binding<I>): Client<I> => {
  const known = clients.get(binding)
  if (known !== undefined) return known as Client<I>
  const made: Record<string, unknown> = Object.create(null)
  for (const operation of Object.values(binding.interface.operations)) {
    if (operation.name !== "then") made[operation.name] = member(binding, operation)
  }
  clients.set(binding, made)
  return made as Client<I>
}

const clients = new WeakMap<Binding.Any, unknown>()

const member = (binding: Binding.Any, operation: Operation): unknown => {
  const { pipes, takesInput } = operation
  const begin = (input?: unknown) => startCall(binding, operation, input)
  if (pipes === undefined) {
    const call = takesInput
      ? (input: unknown, options?: InvokeOptions) => invokeCall(binding, operation, input, options)
      : (options?: InvokeOptions) => invokeCall(binding, operation, undefined, options)
    return Object.assign(call, { begin })
  }
  if (pipes.length > 1) return { begin }
  return pipes[0]!.isIn
    ? { begin, sink: (input?: unknown) => sinkCall(binding, operation, input) }
    : { begin, stream: (input?: unknown) => streamCall(binding, operation, input) }
}
