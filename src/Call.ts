/**
 * Call objects: asynchronous calls that a program holds. A call is begun, looked at, waited for, cancelled and
 * finished.
 *
 * A call object carries one call at a time and is reusable. {@link begin} gives the evidence of a call, a
 * {@link Pending}; everything that concerns that call takes the evidence. What an operation does in which state is one
 * table, `CallState.clientTable`.
 *
 * Windows: call objects (`ICallFactory`, `ISynchronize`, `ICancelMethodCalls`) and `RPC_ASYNC_STATE` of the client.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import type * as Types from "effect/Types"
import type { Binding, Outgoing, Remote } from "./Binding.ts"
import { Client as State, type ClientRow, clientTable, type Refusal } from "./CallState.ts"
import type { Interface, Method, Operation } from "./Interface.ts"
import { Handle, type Parameter, valueOf } from "./internal/contextHandle.ts"
import * as Depth from "./internal/depth.ts"
import * as Observability from "./Observability.ts"
import * as Pipe from "./Pipe.ts"
import type { Outcome } from "./ServerCall.ts"
import {
  type BadStubData,
  type CallCancelled,
  CallComplete,
  CallPending,
  CancelDisabled,
  cancelled,
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
import * as Status from "./Status.ts"
import { awaitUnsafe, type Waitable, Waiters, withTimeout } from "./Synchronize.ts"

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
}

/**
 * The evidence of one begun call: of method `K` of interface `I`. It can be waited on together with other calls and
 * events, see `Synchronize.waitAny`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Pending<in out I extends Interface.Any, in out K extends keyof I["methods"]>
  extends Waitable<CallComplete | InvalidAsyncHandle>, Pipeable {
  /** Brands the type. */
  readonly [PendingTypeId]: { readonly _I: Types.Invariant<I>; readonly _K: Types.Invariant<K> }
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
  /** What refuses a wait for the call: also its pipes, where the method has some. */
  export type Refusal<P extends Any> = P extends Pending<infer I, infer K>
    ? CallComplete | InvalidAsyncHandle | Method.IfPipes<I["methods"][K], PipeDisciplineError>
    : never
}

/**
 * What a call can fail with, once it was begun: an abort that the method declares, any other exception code, the
 * cancel, or the loss of the connection; and where the method takes a context handle, one that the server does not know.
 *
 * @category models
 * @since 0.1.0
 */
export type Failure<M extends Method.Any> =
  | Method.Abort<M>
  | RpcFault
  | CallCancelled
  | RpcTransportError
  | Method.IfPipes<M, PipeError>
  | (Method.TakesHandle<M> extends true ? ContextMismatch : never)

/**
 * What refuses the arguments of a call, so that nothing is sent: schemas and transfer syntaxes, and for a method that takes a
 * context handle one that is null or destroyed.
 *
 * @category models
 * @since 0.1.0
 */
export type Refused<M extends Method.Any> =
  | BadStubData
  | (Method.TakesHandle<M> extends true ? NullContext : never)

/**
 * What a call object is doing. `kind` says how a completed call ended: `replied`, `aborted`, `cancelled` or `lost`.
 *
 * @category models
 * @since 0.1.0
 */
export type CallState =
  | { readonly _tag: "Idle" }
  | { readonly _tag: "Pending"; readonly cancelRequested: boolean }
  | { readonly _tag: "Completed"; readonly kind: Observability.Kind }

/**
 * What a queue receives for each completed call, see {@link notify}.
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

type MethodName<I extends Interface.Any> = Interface.MethodName<I>

/** `K`, where it is one of these names. Another one is refused with them, and not with `never`. */
type OneOf<K, Names> = K extends Names ? K : Names

/** The methods without pipes. Of `any` method it is not known. */
type UnpipedName<I extends Interface.Any> = {
  [K in MethodName<I>]: IsUnpiped<I["methods"][K]> extends true ? K : never
}[MethodName<I>]

type IsUnpiped<M extends Method.Any> = string extends keyof M["inPipe"] ? true
  : [keyof M["inPipe"] | keyof M["outPipe"]] extends [never] ? true
  : false

/** The methods whose only pipe is an out pipe. */
type StreamName<I extends Interface.Any> = {
  [K in MethodName<I>]: IsOnePipe<I["methods"][K]["outPipe"], I["methods"][K]["inPipe"]> extends true ? K : never
}[MethodName<I>]

/** The methods whose only pipe is an in pipe. */
type SinkName<I extends Interface.Any> = {
  [K in MethodName<I>]: IsOnePipe<I["methods"][K]["inPipe"], I["methods"][K]["outPipe"]> extends true ? K : never
}[MethodName<I>]

/** Whether there is one pipe in one direction, and none in the other. */
type IsOnePipe<Pipes, Others> = string extends keyof Pipes ? true
  : [keyof Pipes] extends [never] ? false
  : [keyof Others] extends [never] ? unknown extends Single<keyof Pipes> ? true : false
  : false

/** A union of keys would give evidence of no method in particular. */
type Single<K> = [K] extends [Types.UnionToIntersection<K>] ? unknown : never

// ----------------------------------------------------------------------------
// the call object
// ----------------------------------------------------------------------------

class CallImpl<I extends Interface.Any> implements Call<I> {
  declare readonly [TypeId]: Types.Invariant<I>
  readonly binding: Binding<I>
  readonly scope: Scope.Scope | undefined
  state: State = State.idle
  current: PendingImpl | undefined = undefined
  /** What is told of each change of its state. */
  watchers: Set<() => void> | undefined = undefined

  constructor(binding: Binding<I>, scope: Scope.Scope | undefined) {
    this.binding = binding
    this.scope = scope
  }

  pipe() {
    return pipeArguments(this, arguments)
  }
}

class PendingImpl extends Waiters<InvalidAsyncHandle> implements Pending<Interface.Any, string>, Outgoing {
  declare readonly [PendingTypeId]: Pending.Any[typeof PendingTypeId]
  readonly call: CallImpl<any>
  readonly operation: Operation
  remote: Remote | undefined = undefined
  outcome: Outcome | undefined = undefined
  cancelling: { deadline: number; timer: Fiber.Fiber<void> | undefined } | undefined = undefined
  watch: Observability.Watch | undefined = undefined
  readonly pipes: Pipe.Ends | undefined

  constructor(call: CallImpl<any>, operation: Operation) {
    super()
    this.call = call
    this.operation = operation
    this.pipes = operation.pipes === undefined ? undefined : new Pipe.Ends(operation.pipes, true)
  }

  get span(): Tracer.Span | undefined {
    return this.watch?.span
  }

  reply(outcome: Outcome): undefined {
    const { pipes } = this
    // The out parameters come behind the pipes: they wait until those are pulled to their end.
    if (pipes?.current !== undefined && outcome._tag === "Success") pipes.onThrough = () => complete(this, outcome)
    // A maybe call gets no reply at all.
    else if (!this.operation.method.maybe) complete(this, outcome)
  }

  pollUnsafe(): boolean | CallComplete | InvalidAsyncHandle {
    const { wait } = rowOf(this)
    return wait === "waits" ? false : wait === "returns" ? true : refusal(wait) as CallComplete | InvalidAsyncHandle
  }

  pipe() {
    return pipeArguments(this, arguments)
  }
}

const callImpl = (call: Call.Any): CallImpl<Interface.Any> => call as CallImpl<Interface.Any>
const pendingImpl = (pending: Pending.Any): PendingImpl => pending as PendingImpl

const isCall = (u: unknown): u is Call.Any => u instanceof CallImpl
const isPending = (u: unknown): u is Pending.Any => u instanceof PendingImpl

const refusals = {
  CallPending: () => new CallPending(),
  CallComplete: () => new CallComplete(),
  CallCancelled: () => cancelled(false),
  InvalidAsyncHandle: () => new InvalidAsyncHandle({ handle: "call object" })
}

const refusal = (tag: Refusal): CallPending | CallComplete | CallCancelled | InvalidAsyncHandle => refusals[tag]()

const refuse = (tag: Refusal): Effect.Effect<never, never> => Effect.fail(refusal(tag) as never)

/** The row for operations that take the evidence: stale evidence finds its object as idle. */
const rowOf = (pending: PendingImpl): ClientRow => {
  const { call } = pending
  return clientTable[call.current === pending || call.state === State.released ? call.state : State.idle]
}

// ----------------------------------------------------------------------------
// changes of state
// ----------------------------------------------------------------------------

/** The one place where a call object changes its state. Gives `false` when the event can't happen in its state. */
const move = (call: CallImpl<any>, event: keyof ClientRow["next"]): boolean => {
  const next = clientTable[call.state].next[event]
  if (next === undefined) return false
  call.state = next
  if (call.watchers !== undefined) { for (const notice of call.watchers) notice() }
  return true
}

const look = (call: CallImpl<any>): CallState => {
  switch (call.state) {
    case State.pending:
      return { _tag: "Pending", cancelRequested: false }
    case State.cancelling:
      return { _tag: "Pending", cancelRequested: true }
    case State.completed:
      return { _tag: "Completed", kind: Observability.kindOf(call.current!.outcome!) }
    default:
      return { _tag: "Idle" }
  }
}

/** Issues a call. Gives `undefined` when that is done, else what must be waited for. */
const issue = (
  pending: PendingImpl,
  input: unknown,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<void, BadStubData | NullContext | RpcTransportError | InvalidAsyncHandle> | undefined => {
  const { call, operation } = pending
  const { channel, metrics } = call.binding
  if (operation.handlesIn !== undefined) {
    const refused = refuseHandles(operation, operation.handlesIn, input)
    if (refused !== undefined) return Effect.fail(refused)
  }
  move(call, "begin")
  call.current = pending
  pending.pipes?.drive(fiber)
  if (metrics !== undefined || fiber.cache.tracer !== undefined) {
    pending.watch = Observability.watchClient(fiber, operation, metrics)
  }
  const issuing = channel.issue(pending, input, fiber)
  if (issuing === undefined) {
    issued(pending)
    return undefined
  }
  return Effect.onExit(issuing, (exit): Effect.Effect<void, InvalidAsyncHandle> => {
    const { remote } = pending
    if (call.state === State.released) {
      remote?.orphan()
      return refuse("InvalidAsyncHandle")
    }
    if (exit._tag === "Success") issued(pending)
    else if (move(call, "fail")) {
      call.current = undefined
      leave(pending, exit)
      // The begin may have been interrupted just when the call was issued.
      remote?.orphan()
    }
    return Effect.void
  })
}

const refuseHandles = (
  { interface: { name: interfaceName }, name: method }: Operation,
  parameters: ReadonlyArray<Parameter>,
  input: unknown
): NullContext | BadStubData | undefined => {
  for (const { name, nullable } of parameters) {
    const value = valueOf(input, name)
    if (value === null ? !nullable : value instanceof Handle && value.destroyed) {
      return new Status.NullContext({ parameter: name })
    }
    if (value !== null && !(value instanceof Handle)) {
      const detail = `The arguments of ${interfaceName}.${method} were refused: ${name} is not a context handle`
      return new Status.BadStubData({ detail })
    }
  }
  return undefined
}

const issued = (pending: PendingImpl): void => {
  if (pending.operation.method.maybe) complete(pending, Exit.void)
}

/** The one place where a call completes. The first completion wins; whatever comes later is discarded. */
const complete = (pending: PendingImpl, outcome: Outcome): void => {
  const { call } = pending
  if (call.current !== pending || clientTable[call.state].next.complete === undefined) return
  pending.outcome = outcome
  leave(pending, outcome)
  move(call, "complete")
  if (pending.hasWaiters) Depth.run(() => pending.wakeUnsafe(undefined))
}

/** Lets go of everything that belongs to a call in progress. */
const leave = (pending: PendingImpl, outcome: Exit.Exit<unknown, unknown> | undefined): void => {
  pending.remote = undefined
  pending.cancelling?.timer?.interruptUnsafe()
  pending.cancelling = undefined
  if (pending.watch !== undefined) pending.watch.end(outcome)
  if (pending.pipes !== undefined) endPipes(pending.pipes, outcome)
}

/** What is pushed and pulled still fails as the call does. */
const endPipes = (pipes: Pipe.Ends, outcome: Exit.Exit<unknown, unknown> | undefined): void => {
  pipes.onThrough = undefined
  const failure = outcome === undefined ? Option.none() : Exit.findErrorOption(outcome)
  pipes.fail(Option.getOrElse(failure, () => refusal("InvalidAsyncHandle")))
}

/** Takes the result of a completed call: the object is idle again. */
const take = (pending: PendingImpl): Outcome => {
  const { finish } = rowOf(pending)
  const unfinished = pending.pipes?.current
  if (finish === "CallPending" && unfinished !== undefined) {
    return Exit.fail(new PipeDisciplineError({ pipe: unfinished.name }))
  }
  if (finish !== "consumes") return Exit.fail(refusal(finish) as never)
  const { call, outcome } = pending
  move(call, "finish")
  call.current = undefined
  return outcome!
}

const release = (call: CallImpl<Interface.Any>): void => {
  const { current: pending } = call
  const orphans = clientTable[call.state].release === "orphans"
  if (!move(call, "release") || pending === undefined) return
  call.current = undefined
  if (!orphans) return
  const { remote } = pending
  leave(pending, undefined)
  remote?.orphan()
  pending.wakeUnsafe(new InvalidAsyncHandle({ handle: "call object" }))
}

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
  Effect.flatMap(Effect.scope, (scope): Effect.Effect<Call<I>, NoInterface> => {
    if (!binding.channel.callObjects) {
      const { name, uuid } = binding.interface
      const detail = "the object declines to offer call objects; use Call.invoke"
      return Effect.fail(new NoInterface({ interface: name, uuid, detail }))
    }
    const call = new CallImpl(binding, scope)
    return Effect.as(Scope.addFinalizerExit(scope, () => Effect.sync(() => release(callImpl(call)))), call)
  })

// ----------------------------------------------------------------------------
// begin, wait, finish
// ----------------------------------------------------------------------------

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
 * can't be reached.
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
export const begin: {
  <const K extends string, Args extends ReadonlyArray<unknown>>(
    method: K & Single<K>,
    ...input: Args
  ): <I extends Interface.Any & { readonly methods: { readonly [P in K]: Method.Any } }>(
    self: Call<I> & (Args extends Method.Args<I["methods"][K]> ? unknown : never)
  ) => Effect.Effect<
    Pending<I, K>,
    CallPending | InvalidAsyncHandle | Refused<I["methods"][K]> | RpcTransportError
  >
  <I extends Interface.Any, const K extends MethodName<I>>(
    self: Call<I>,
    method: K & Single<K>,
    ...input: Method.Args<I["methods"][K]>
  ): Effect.Effect<
    Pending<I, K>,
    CallPending | InvalidAsyncHandle | Refused<I["methods"][K]> | RpcTransportError
  >
} = ((first: unknown, second?: unknown, third?: unknown) =>
  // By hand, because `dual` would gather the arguments of each call.
  isCall(first)
    ? beginCall(first, second as string, third)
    : (self: Call.Any) => beginCall(self, first as string, second)) as never

const beginCall = (self: Call.Any, method: string, input: unknown): Effect.Effect<PendingImpl, BeginError> =>
  Effect.withFiber((fiber) => {
    const call = callImpl(self)
    const row = clientTable[call.state]
    if (row.begin !== "starts") return refuse(row.begin)
    const { interface: iface } = call.binding
    const operation = iface.operations[method]
    if (operation?.interface !== iface) return noSuchMethod(iface, method)
    const pending = new PendingImpl(call, operation)
    const issuing = issue(pending, input, fiber)
    return issuing === undefined ? Effect.succeed(pending) : Effect.as(issuing, pending)
  })

type BeginError = CallPending | InvalidAsyncHandle | BadStubData | NullContext | RpcTransportError

const noSuchMethod = (iface: Interface.Any, method: string): Effect.Effect<never, BadStubData> =>
  Effect.fail(new Status.BadStubData({ detail: `${iface.name} has no method ${JSON.stringify(method)}.` }))

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
): Effect.Effect<Option.Option<Pending<I, MethodName<I>>>, InvalidAsyncHandle> =>
  Effect.suspend((): Effect.Effect<Option.Option<Pending<I, MethodName<I>>>, InvalidAsyncHandle> => {
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
 * when the call object is released, also while waiting; and with `PipeDisciplineError` when a pipe is not through and nobody
 * else can drive it, see {@link inPipe}.
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
 *   const sums = yield* Binding.local(server, Sums)
 *   const call = yield* Call.make(sums)
 *
 *   const adding = yield* Call.begin(call, "Add", [1, 2, 3])
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
    const { pipes } = pending
    const waiting = pipes === undefined ? awaitUnsafe(self) : waitDriven(pending, pipes, () => Effect.void)
    return withTimeout(waiting, () => self.pollUnsafe() !== false, timeout)
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
 *   const sums = yield* Binding.local(server, Sums)
 *   const call = yield* Call.make(sums)
 *
 *   const adding = yield* Call.begin(call, "Add", [1, 2, 3])
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
export const finish = <I extends Interface.Any, K extends keyof I["methods"]>(
  self: Pending<I, K>
): Effect.Effect<
  Method.Out<I["methods"][K]>,
  Failure<I["methods"][K]> | CallPending | CallComplete | InvalidAsyncHandle
> => Effect.suspend(() => take(pendingImpl(self))) as never

/**
 * Waits for the call, then finishes it. Interrupting it leaves the call as it is.
 *
 * **Details**
 *
 * Fails with the call's {@link Failure}; with `CallComplete` when the call was finished already, by whoever was first;
 * with `InvalidAsyncHandle` when the call object is released, also while waiting; with `PipeDisciplineError` when a pipe is not
 * through and nobody else can drive it, see {@link inPipe}.
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
 *   const sums = yield* Binding.local(server, Sums)
 *   const call = yield* Call.make(sums)
 *
 *   const adding = yield* Call.begin(call, "Add", [1, 2, 3])
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
export const join = <I extends Interface.Any, K extends keyof I["methods"]>(
  self: Pending<I, K>
): Effect.Effect<Method.Out<I["methods"][K]>, Failure<I["methods"][K]> | CallComplete | InvalidAsyncHandle> =>
  Effect.suspend(() => {
    const pending = pendingImpl(self)
    if (rowOf(pending).join === "consumes") return take(pending)
    const { pipes } = pending
    return pipes === undefined ? waitAndTake(pending) : waitDriven(pending, pipes, () => take(pending))
  }) as never

/** Waits for a call with pipes, as long as there is somebody to drive them. */
const waitDriven = (
  pending: PendingImpl,
  pipes: Pipe.Ends,
  then: () => Effect.Effect<unknown, unknown>
): Effect.Effect<unknown, unknown> => {
  const waitFor = (fiber: Fiber.Fiber<unknown, unknown>) =>
    Effect.callback<unknown, unknown>((resume) => {
      const polled = pending.pollUnsafe()
      if (polled !== false) return resume(polled === true ? then() : Effect.fail(polled))
      const waiter = (refusal: InvalidAsyncHandle | undefined) => {
        forget()
        resume(refusal === undefined ? Effect.suspend(then) : Effect.fail(refusal))
      }
      pending.addWaiterUnsafe(waiter)
      const forget = pipes.whenUndriven(fiber, (error) => {
        pending.removeWaiterUnsafe(waiter)
        resume(Effect.fail(error))
      })
      return Effect.sync(() => {
        pending.removeWaiterUnsafe(waiter)
        forget()
      })
    })
  // A fiber that was just forked to drive them has begun to.
  return Effect.andThen(Effect.yieldNow, Effect.withFiber(waitFor))
}

const waitAndTake = (pending: PendingImpl): Effect.Effect<unknown, unknown> =>
  Effect.callback((resume) => {
    const { join } = rowOf(pending)
    if (join === "consumes") return resume(take(pending))
    if (join !== "waits") return resume(refuse(join))
    // Taken when the fiber goes on: if it is interrupted instead, nothing is consumed.
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
 * cancellation, and with `InvalidAsyncHandle` when the call object is released.
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
 *   const sums = yield* Binding.local(server, Sums)
 *   const call = yield* Call.make(sums)
 *
 *   const adding = yield* Call.begin(call, "Add", [1, 2, 3])
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
  (options?: {
    readonly timeout?: Duration.Input
  }): (self: Pending.Any) => Effect.Effect<void, CallCancelled | CallComplete | CancelDisabled | InvalidAsyncHandle>
  (
    self: Pending.Any,
    options?: { readonly timeout?: Duration.Input }
  ): Effect.Effect<void, CallCancelled | CallComplete | CancelDisabled | InvalidAsyncHandle>
} = dual(
  (args) => isPending(args[0]),
  (
    self: Pending.Any,
    options?: { readonly timeout?: Duration.Input }
  ): Effect.Effect<void, CallCancelled | CallComplete | CancelDisabled | InvalidAsyncHandle> =>
    Effect.withFiber((fiber) => requestCancel(pendingImpl(self), options?.timeout, fiber))
)

const requestCancel = (
  pending: PendingImpl,
  timeout: Duration.Input | undefined,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<void, CallCancelled | CallComplete | CancelDisabled | InvalidAsyncHandle> => {
  const { cancel } = rowOf(pending)
  if (cancel !== "issues" && cancel !== "shortens") return refuse(cancel)

  const { call, operation, remote } = pending
  if (remote?.cancelDisabled) {
    return Effect.fail(new CancelDisabled({ interface: operation.interface.name, method: operation.name }))
  }
  const clock = fiber.getRef(Clock.Clock)
  const millis = Duration.toMillis(
    timeout === undefined ? call.binding.cancelTimeout : Duration.fromInputUnsafe(timeout)
  )
  const deadline = clock.currentTimeMillisUnsafe() + millis
  if (pending.cancelling !== undefined && deadline >= pending.cancelling.deadline) return refuse("CallCancelled")
  pending.watch?.cancel("cancel", { timeout: millis })
  if (cancel === "issues") move(call, "cancel")

  // Where the server has answered already and only the pipes were missing, nobody is left to wait for.
  if (millis <= 0 || pending.pipes?.onThrough !== undefined) {
    giveUp(pending, cancel === "issues")
    return Effect.void
  }
  if (pending.pipes !== undefined) endPipes(pending.pipes, Exit.fail(cancelled(false)))
  pending.cancelling?.timer?.interruptUnsafe()
  pending.cancelling = { deadline, timer: undefined }
  if (cancel === "issues") remote?.cancel()
  if (pending.cancelling !== undefined && millis !== Infinity) {
    const expire = Effect.andThen(Effect.sleep(millis), Effect.sync(() => giveUp(pending, false)))
    pending.cancelling.timer = Effect.runForkWith(fiber.context)(expire)
  }
  return Effect.void
}

/** Completes a call without the server's answer, and tells the server: also of the cancel, if it is new. */
const giveUp = (pending: PendingImpl, isNew: boolean): void => {
  const { remote } = pending
  // The client first: what the server still answers is too late.
  complete(pending, Exit.fail(cancelled(remote?.dispatched === false)))
  if (isNew) remote?.cancel()
  remote?.discard()
}

// ----------------------------------------------------------------------------
// other ways to learn of completion
// ----------------------------------------------------------------------------

/**
 * What the call object is doing now.
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
    const call = callImpl(self)
    return call.state === State.released ? refuse("InvalidAsyncHandle") : Effect.succeed(look(call))
  })

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
        if (call.state === State.released) Queue.endUnsafe(queue)
        else Queue.offerUnsafe(queue, look(call))
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
 *   const sums = yield* Binding.local(server, Sums)
 *   const call = yield* Call.make(sums)
 *
 *   const ready = yield* Synchronize.make()
 *   const adding = yield* Call.begin(call, "Add", [1, 2, 3])
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
 * post to one queue, and an unbounded queue loses no completion.
 *
 * **Details**
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
 *   const sums = yield* Binding.local(server, Sums)
 *   const queue = yield* Queue.unbounded<Call.Completion<string, Call.Pending<typeof Sums, "Add">>>()
 *   for (const name of ["first", "second"]) {
 *     const adding = yield* Call.begin(yield* Call.make(sums), "Add", [1, 2, 3])
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
    Effect.suspend(() =>
      whenComplete(pendingImpl(self), () => {
        Queue.offerUnsafe(queue, { tag, pending: self })
      })
    )
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
export const invoke: {
  <I extends Interface.Any, const K extends MethodName<I>>(
    binding: Binding<I>,
    method: OneOf<K & Single<K>, UnpipedName<I>>,
    ...args: [...input: Method.Args<I["methods"][K]>, options?: { readonly cancelTimeout?: Duration.Input }]
  ): Effect.Effect<Method.Out<I["methods"][K]>, Failure<I["methods"][K]> | Refused<I["methods"][K]>>
} = (
  binding: Binding.Any,
  method: string,
  ...args: ReadonlyArray<unknown>
): Effect.Effect<never, BadStubData> =>
  // One callback: an interruption that comes while the call is being issued finds its cleanup all the same.
  Effect.callback((resume) => {
    const { interface: iface } = binding as Binding<Interface.Any>
    const operation = iface.operations[method]
    if (operation?.interface !== iface) return resume(noSuchMethod(iface, method))
    if (operation.pipes !== undefined) return resume(needsPipes(operation))
    const [input, options] = operation.takesInput ? args : [undefined, args[0]]
    const pending = new PendingImpl(new CallImpl(binding as Binding<Interface.Any>, undefined), operation)
    const issuing = issue(pending, input, Fiber.getCurrent()!)
    // A call in the same process is often complete by now.
    if (pending.outcome !== undefined) return resume(pending.outcome as never)
    const { cancelTimeout } = (options ?? {}) as { readonly cancelTimeout?: Duration.Input }
    const cleanUp = Effect.suspend(() => abandon(pending, cancelTimeout))
    if (issuing === undefined) {
      pending.addWaiterUnsafe(() => resume(pending.outcome as never))
      return cleanUp
    }
    resume(
      Effect.uninterruptibleMask((restore) =>
        Effect.andThen(restore(issuing), Effect.onInterrupt(restore(awaitOutcome(pending)), () => cleanUp))
      ) as Effect.Effect<never, BadStubData>
    )
  })

const needsPipes = ({ interface: { name }, name: method }: Operation): Effect.Effect<never, BadStubData> =>
  Effect.fail(
    new Status.BadStubData({ detail: `${name}.${method} has pipes: use Call.stream, Call.sink, or a call object.` })
  )

const awaitOutcome = (pending: PendingImpl): Effect.Effect<unknown, unknown> =>
  Effect.callback((resume) => {
    if (pending.outcome !== undefined) return resume(pending.outcome)
    const waiter = () => resume(pending.outcome!)
    pending.addWaiterUnsafe(waiter)
    return Effect.sync(() => pending.removeWaiterUnsafe(waiter))
  })

/** Cancels a call whose caller was interrupted, and waits until it is over for the client. */
const abandon = (pending: PendingImpl, cancelTimeout: Duration.Input | undefined): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    if (pending.outcome !== undefined) return Effect.void
    // A call that can't be cancelled would wait for its pipes for ever: the server is told that its client is gone.
    if (pending.remote?.cancelDisabled && pending.pipes?.current !== undefined) {
      return Effect.sync(() => release(pending.call))
    }
    return Effect.andThen(
      Effect.ignore(requestCancel(pending, cancelTimeout, fiber)),
      Effect.ignore(awaitOutcome(pending))
    )
  })

// ----------------------------------------------------------------------------
// pipes
// ----------------------------------------------------------------------------

/**
 * What the operations of a call's pipe fail with when the call ends first: its {@link Failure}, or `InvalidAsyncHandle` when the call
 * object is released.
 *
 * @category pipes
 * @since 0.1.0
 */
export type PipeFailure<M extends Method.Any> = Failure<M> | InvalidAsyncHandle

const pipeEnd = (self: Pending.Any, name: string, isIn: boolean): unknown => {
  const { operation, pipes } = pendingImpl(self)
  const end = operation.pipes === undefined ? undefined : pipes?.get(operation.pipes, name, isIn)
  if (end !== undefined) {
    const fiber = Fiber.getCurrent()
    if (fiber !== undefined) pipes!.drive(fiber)
    return end
  }
  const direction = isIn ? "in" : "out"
  throw new TypeError(`${operation.interface.name}.${operation.name} has no ${direction} pipe ${JSON.stringify(name)}.`)
}

/**
 * The in pipe of that name, to be pushed. A method that takes nothing but one pipe is called simplest with {@link sink}.
 *
 * **Details**
 *
 * While pipes are not through, `finish` fails with `PipeDisciplineError`. `wait` and `join` wait as long as somebody else can drive
 * them: the fiber that began the call, one that has asked for an end of its pipes, or one that has pushed or pulled, while it runs.
 * When there is none left they fail with `PipeDisciplineError` instead of waiting forever. So let a fiber that is forked to drive a
 * pipe ask for it first. Throws a `TypeError` where the method has no such pipe.
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
export const inPipe = <
  I extends Interface.Any,
  K extends keyof I["methods"],
  const Name extends keyof Method.InPipe<I["methods"][K]>
>(
  self: Pending<I, K>,
  name: Name
): Pipe.Writer<Method.InPipe<I["methods"][K]>[Name], PipeFailure<I["methods"][K]>> =>
  pipeEnd(self, name as string, true) as never

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
export const outPipe = <
  I extends Interface.Any,
  K extends keyof I["methods"],
  const Name extends keyof Method.OutPipe<I["methods"][K]>
>(
  self: Pending<I, K>,
  name: Name
): Pipe.Reader<Method.OutPipe<I["methods"][K]>[Name], PipeFailure<I["methods"][K]>> =>
  pipeEnd(self, name as string, false) as never

/** Begins a call whose only pipe is in one direction. It is cancelled when the scope closes before it has ended. */
const beginScoped = (
  binding: Binding.Any,
  method: string,
  input: unknown,
  isIn: boolean
): Effect.Effect<PendingImpl, BeginError, Scope.Scope> =>
  Effect.suspend(() => {
    const { interface: iface } = binding as Binding<Interface.Any>
    const operation = iface.operations[method]
    if (operation?.interface !== iface) return noSuchMethod(iface, method)
    const { pipes = [] } = operation
    if (pipes.length !== 1 || pipes[0]!.isIn !== isIn) return needsOnePipe(operation, isIn)
    const call = new CallImpl(binding as Binding<Interface.Any>, undefined)
    const end = Effect.suspend(() => call.current === undefined ? Effect.void : abandon(call.current, undefined))
    // First the finalizer: an interruption may come just when the call was begun.
    return Effect.andThen(Effect.addFinalizer(() => end), beginCall(call, method, input))
  })

const needsOnePipe = ({ interface: { name }, name: method, pipes }: Operation, isIn: boolean) =>
  Effect.fail(
    new Status.BadStubData({
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
export const stream: {
  <I extends Interface.Any, const K extends MethodName<I>>(
    binding: Binding<I>,
    method: OneOf<K & Single<K>, StreamName<I>>,
    ...input: Method.Args<I["methods"][K]>
  ): Stream.Stream<
    Pipe.Item<Method.OutPipe<I["methods"][K]>[keyof Method.OutPipe<I["methods"][K]>]>,
    Failure<I["methods"][K]> | BadStubData
  >
} = ((binding: Binding.Any, method: string, input?: unknown) =>
  Stream.unwrap(
    Effect.map(beginScoped(binding, method, input, false), (pending) => {
      const joined = Stream.drain(Stream.fromEffect(join(pending as Pending.Any)))
      return Stream.concat(Pipe.toStream(onlyEnd(pending) as Pipe.Reader<unknown, never>), joined)
    })
  )) as never

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
export const sink: {
  <I extends Interface.Any, const K extends MethodName<I>>(
    binding: Binding<I>,
    method: OneOf<K & Single<K>, SinkName<I>>,
    ...input: Method.Args<I["methods"][K]>
  ): Sink.Sink<
    Method.Out<I["methods"][K]>,
    Pipe.Item<Method.InPipe<I["methods"][K]>[keyof Method.InPipe<I["methods"][K]>]>,
    never,
    Failure<I["methods"][K]> | BadStubData
  >
} = ((binding: Binding.Any, method: string, input?: unknown) =>
  Sink.unwrap(
    Effect.map(beginScoped(binding, method, input, true), (pending) => {
      const pushed = Pipe.toSink(onlyEnd(pending) as Pipe.Writer<never, never>)
      return Sink.mapEffect(pushed, () => join(pending as Pending.Any))
    })
  )) as never
