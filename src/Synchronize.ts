/**
 * Manual-reset events, and waiting on many of them together with calls.
 *
 * Windows: `ISynchronize` (the event), `WaitMultiple` and `CoWaitForMultipleHandles` ({@link waitAny},
 * {@link waitAll}), `ISynchronizeContainer` ({@link container}).
 *
 * @module
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type { Pipeable } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import { flagOption } from "./internal/options.ts"
import { type Awaited, awaitUnsafe, isReady, unlessEndless, type Waiter, Waiters, withTimeout } from "./internal/waiters.ts"
import { NoSync, type WaitTimeout } from "./Status.ts"

// ----------------------------------------------------------------------------
// what can be waited on
// ----------------------------------------------------------------------------

const WaitableTypeId = "~callisto/Synchronize/Waitable"

/**
 * An object that can be waited for: a {@link Synchronize} event, or a pending call. A call is signaled by its completion, and by
 * the runtime alone. `E` are the refusals of a wait for it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Waitable<out E> {
  /** Brands the type. */
  readonly [WaitableTypeId]: { readonly _E: () => E }
}

/**
 * Types that belong to {@link Waitable}.
 *
 * @category models
 * @since 0.1.0
 */
export declare namespace Waitable {
  /** Any object that can be waited for. */
  export type Any = Waitable<unknown>
  /** The refusals of a wait for `W`. */
  export type Error<W> = W extends Waitable<infer E> ? E : never
  /** `A` for a list that may be empty, else `never`. */
  export type IfEmpty<Ws, A> = Ws extends readonly [unknown, ...Array<unknown>] ? never : A
  /** A wait for several: for any of them, which it gives, or for all. */
  export interface Many<For extends "any" | "all"> {
    <const Ws extends ReadonlyArray<Any>>(
      waitables: Ws
    ): Effect.Effect<{ any: Ws[number]; all: void }[For], Error<Ws[number]> | IfEmpty<Ws, NoSync>>
    <const Ws extends ReadonlyArray<Any>>(
      waitables: Ws,
      timeout: Duration.Input
    ): Effect.Effect<{ any: Ws[number]; all: void }[For], Error<Ws[number]> | IfEmpty<Ws, NoSync> | WaitTimeout>
  }
}

// Events and pending calls alone have the brand.
const awaited = (waitable: Waitable.Any): Awaited<unknown> => waitable as never

// ----------------------------------------------------------------------------
// the event
// ----------------------------------------------------------------------------

const TypeId = "~callisto/Synchronize"

/**
 * A manual-reset event: once signaled it lets everybody through, until it is reset.
 *
 * Windows: `ISynchronize` of the class `ManualResetEvent`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Synchronize extends Waitable<never>, Pipeable {
  /** Brands the type. */
  readonly [TypeId]: typeof TypeId
}

class Event extends Waiters<never> implements Synchronize {
  readonly [TypeId] = TypeId
  signaled: boolean

  constructor(signaled: boolean) {
    super()
    this.signaled = signaled
  }

  pollUnsafe(): boolean {
    return this.signaled
  }

  toJSON() {
    return { _id: "callisto/Synchronize", signaled: this.signaled }
  }
}

const toEvent = (self: Synchronize): Event => self as Event

/**
 * Makes an event, by default not signaled.
 *
 * **Example** (One fiber waits for another)
 *
 * ```ts
 * import { Synchronize } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const ready = yield* Synchronize.make()
 *   yield* Effect.forkChild(Effect.delay(Synchronize.signal(ready), "10 millis"))
 *   yield* Synchronize.wait(ready)
 * })
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (signaled?: boolean): Effect.Effect<Synchronize> =>
  Effect.sync(() => new Event(flagOption("Synchronize.make", "signaled", signaled, false)))

/**
 * Whether a value is a {@link Synchronize}.
 *
 * **Example** (Events and other values)
 *
 * ```ts
 * import { Synchronize } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const event = yield* Synchronize.make()
 *   Synchronize.isSynchronize(event) // => true
 *   Synchronize.isSynchronize({}) // => false
 * })
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category predicates
 * @since 0.1.0
 */
export const isSynchronize = (u: unknown): u is Synchronize => hasProperty(u, TypeId)

/**
 * Signals the event: everybody who waits goes on, and until {@link reset} nobody waits. Signaling a signaled event
 * changes nothing.
 *
 * Windows: `ISynchronize::Signal`.
 *
 * **Example** (All who wait go on)
 *
 * ```ts
 * import { Synchronize } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const event = yield* Synchronize.make()
 *   yield* Effect.forkChild(Effect.delay(Synchronize.signal(event), "10 millis"))
 *   yield* Effect.all([Synchronize.wait(event), Synchronize.wait(event)], { concurrency: "unbounded" })
 *   return yield* Synchronize.isSignaled(event) // => true
 * })
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category the event
 * @since 0.1.0
 */
export const signal = (self: Synchronize): Effect.Effect<void> =>
  Effect.sync(() => {
    const event = toEvent(self)
    event.signaled = true
    event.wakeUnsafe(undefined)
  })

/**
 * Resets the event to not signaled. Fibers that were woken before stay woken. Resetting an event that is not signaled
 * changes nothing.
 *
 * Windows: `ISynchronize::Reset`.
 *
 * **Example** (An event that is used again)
 *
 * ```ts
 * import { Synchronize } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const event = yield* Synchronize.make(true)
 *   yield* Synchronize.wait(event)
 *   yield* Synchronize.reset(event)
 *   return yield* Effect.flip(Synchronize.wait(event, 0)) // => WaitTimeout
 * })
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category the event
 * @since 0.1.0
 */
export const reset = (self: Synchronize): Effect.Effect<void> =>
  Effect.sync(() => {
    toEvent(self).signaled = false
  })

/**
 * Whether the event is signaled now.
 *
 * **Example** (Before and after)
 *
 * ```ts
 * import { Synchronize } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const event = yield* Synchronize.make()
 *   yield* Synchronize.isSignaled(event) // => false
 *   yield* Synchronize.signal(event)
 *   return yield* Synchronize.isSignaled(event) // => true
 * })
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category the event
 * @since 0.1.0
 */
export const isSignaled = (self: Synchronize): Effect.Effect<boolean> => Effect.sync(() => toEvent(self).signaled)

/**
 * Waits until the event is signaled; returns at once if it is.
 *
 * **Details**
 *
 * Fails with `WaitTimeout` when the `timeout` has passed, and the event is as it was; a timeout of 0 tests the event,
 * and without one there is no limit.
 *
 * Windows: `ISynchronize::Wait`.
 *
 * **Example** (Give up waiting, then wait again)
 *
 * ```ts
 * import { Synchronize } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const event = yield* Synchronize.make()
 *   yield* Effect.flip(Synchronize.wait(event, "1 milli")) // => WaitTimeout
 *   yield* Synchronize.signal(event)
 *   yield* Synchronize.wait(event)
 * })
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category the event
 * @since 0.1.0
 */
export const wait: {
  (): (self: Synchronize) => Effect.Effect<void>
  (timeout: Duration.Input): (self: Synchronize) => Effect.Effect<void, WaitTimeout>
  (self: Synchronize): Effect.Effect<void>
  (self: Synchronize, timeout: Duration.Input): Effect.Effect<void, WaitTimeout>
} = dual(
  (args) => isSynchronize(args[0]),
  (self: Synchronize, timeout?: Duration.Input): Effect.Effect<void, WaitTimeout> =>
    withTimeout(awaitUnsafe(toEvent(self)), () => toEvent(self).signaled, timeout)
) as never

// ----------------------------------------------------------------------------
// many
// ----------------------------------------------------------------------------

/**
 * Waits until one of several events and calls is signaled, and gives that one: the first in order when several are.
 *
 * **Details**
 *
 * Fails with `WaitTimeout` when the `timeout` has passed, with `NoSync` when the list is empty (only where its type
 * allows that), and with the refusal of a call in the list that can't be waited for: `CallComplete` if it was finished,
 * `InvalidAsyncHandle` if its call object is released. A refusal comes first: whatever the timeout, and also where another object is
 * signaled. A timeout of 0 tests. The list may be of any length.
 *
 * The result is one of the objects given, and its type is their union: evidence of different methods is told apart by its `method`.
 *
 * Windows: `ISynchronizeContainer::WaitMultiple`, `CoWaitForMultipleHandles`.
 *
 * **Example** (The first of two events)
 *
 * ```ts
 * import { Synchronize } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const a = yield* Synchronize.make()
 *   const b = yield* Synchronize.make(true)
 *   const first = yield* Synchronize.waitAny([a, b])
 *   return first === b // => true
 * })
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category many
 * @since 0.1.0
 */
export const waitAny: Waitable.Many<"any"> = (
  waitables: ReadonlyArray<Waitable.Any>,
  timeout?: Duration.Input
): Effect.Effect<never, never> => waitMany(waitables, false, timeout)

/**
 * Waits until all of several events and calls are signaled at the same moment. Fails as {@link waitAny} does.
 *
 * Windows: `CoWaitForMultipleHandles` with `COWAIT_WAITALL`.
 *
 * **Example** (An event and a call)
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
 *   const ready = yield* Synchronize.make(true)
 *   const adding = yield* Call.begin(call, "Add", [1, 2, 3])
 *   yield* Synchronize.waitAll([ready, adding], "1 second")
 *   return yield* Call.finish(adding) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category many
 * @since 0.1.0
 */
export const waitAll: Waitable.Many<"all"> = (
  waitables: ReadonlyArray<Waitable.Any>,
  timeout?: Duration.Input
): Effect.Effect<never, never> => waitMany(waitables, true, timeout)

const waitMany = (
  given: ReadonlyArray<Waitable.Any>,
  isAll: boolean,
  timeout: Duration.Input | undefined
): Effect.Effect<never, never> => {
  const waitables = given.map(awaited)
  const wait = Effect.callback<unknown, unknown>((resume) => {
    const polled = pollMany(waitables, isAll)
    if (polled !== undefined) return resume(polled)
    const missing = new Set<Awaited<unknown>>()
    const lookForMissing = () => waitables.forEach((one) => isReady(one) || missing.add(one))
    lookForMissing()
    const leave = listen(waitables, (one, refusal, waiter) => {
      let done: Effect.Effect<unknown, unknown> | undefined = refusal !== undefined
        ? Effect.fail(refusal)
        : isAll
        ? undefined
        : Effect.succeed(one)
      if (done === undefined) {
        // An object that is signaled by now can still become refused.
        one.addWaiterUnsafe(waiter)
        missing.delete(one)
        if (missing.size > 0) return
        // An event that was signaled may have been reset meanwhile.
        done = pollMany(waitables, true)
        if (done === undefined) return lookForMissing()
      }
      leave()
      resume(done)
    })
    return Effect.sync(leave)
  })
  const isOver = () => pollMany(waitables, isAll) !== undefined
  return Effect.suspend(() =>
    withTimeout(isOver() ? wait : unlessEndless(waitables, wait), isOver, timeout)
  ) as never
}

/** The result of a wait for several objects; `undefined` where it has to wait. A refusal of any object comes first. */
const pollMany = (
  waitables: ReadonlyArray<Awaited<unknown>>,
  isAll: boolean
): Effect.Effect<unknown, unknown> | undefined => {
  if (waitables.length === 0) return Effect.fail(new NoSync())
  let signaled: Awaited<unknown> | undefined
  let areAll = true
  for (const one of waitables) {
    const polled = one.pollUnsafe()
    if (typeof polled !== "boolean") return Effect.fail(polled)
    if (!polled) areAll = false
    else signaled ??= one
  }
  return isAll ? (areAll ? Effect.void : undefined) : signaled && Effect.succeed(signaled)
}

/** Adds one waiter to each object, also where it is listed twice. Gives the function that removes them. */
const listen = (
  waitables: ReadonlyArray<Awaited<unknown>>,
  woken: (one: Awaited<unknown>, refusal: unknown, waiter: Waiter<unknown>) => void
): () => void => {
  const waiters = new Map<Awaited<unknown>, Waiter<unknown>>()
  for (const one of waitables) {
    if (waiters.has(one)) continue
    const waiter = (refusal: unknown) => {
      if (waiters.has(one)) woken(one, refusal, waiter)
    }
    waiters.set(one, waiter)
    one.addWaiterUnsafe(waiter)
  }
  return () => {
    waiters.forEach((waiter, one) => one.removeWaiterUnsafe(waiter))
    waiters.clear()
  }
}

// ----------------------------------------------------------------------------
// the container
// ----------------------------------------------------------------------------

/**
 * Events and calls to be waited for together; {@link waitMultiple} gives each once.
 *
 * Windows: `ISynchronizeContainer`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Container<in out W extends Waitable.Any> {
  /** Brands the type. */
  readonly "~callisto/Synchronize/Container": { readonly _W: (_: W) => W }
}

class ContainerImpl extends Waiters<never> implements Container<any> {
  declare readonly "~callisto/Synchronize/Container": Container<any>["~callisto/Synchronize/Container"]
  readonly waiting = new Map<Awaited<unknown>, Waiter<unknown>>()
  /** The objects to give next: each with its refusal, or with `undefined` where it was signaled. */
  readonly signaled = new Map<Awaited<unknown>, unknown>()

  get isReady(): boolean {
    return this.signaled.size > 0 || this.waiting.size === 0
  }

  close(): void {
    this.waiting.forEach((waiter, one) => one.removeWaiterUnsafe(waiter))
    this.waiting.clear()
    this.signaled.clear()
    this.wakeUnsafe(undefined)
  }

  offer(one: Awaited<unknown>, refusal: unknown): void {
    this.waiting.delete(one)
    this.signaled.set(one, refusal)
    this.wakeUnsafe(undefined)
  }

  /** The next object that is signaled or refused. A call that was released after it was signaled is refused, too. */
  take(): Effect.Effect<unknown, unknown> | undefined {
    for (const [one, refused] of this.signaled) {
      this.signaled.delete(one)
      const refusal = refused ?? one.pollUnsafe()
      return typeof refusal === "boolean" ? Effect.succeed(one) : Effect.fail(refusal)
    }
    return this.waiting.size === 0 ? Effect.fail(new NoSync()) : undefined
  }

  toJSON() {
    return { _id: "callisto/Synchronize/Container", waiting: this.waiting.size, signaled: this.signaled.size }
  }
}

const toContainer = (self: Container<any>): ContainerImpl => self as ContainerImpl

/**
 * Makes an empty container. It releases its events and calls when the scope closes.
 *
 * **Example** (Calls and events as they come)
 *
 * ```ts
 * import { Synchronize } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const container = yield* Synchronize.container<Synchronize.Synchronize>()
 *   const event = yield* Synchronize.make(true)
 *   yield* Synchronize.add(container, event)
 *   return (yield* Synchronize.waitMultiple(container)) === event // => true
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category the container
 * @since 0.1.0
 */
export const container = <W extends Waitable.Any>(): Effect.Effect<Container<W>, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync((): Container<W> => new ContainerImpl()),
    (self) => Effect.sync(() => toContainer(self).close())
  )

/**
 * Adds an event or a call to the container. An object that it holds already is not added again.
 *
 * Windows: `ISynchronizeContainer::AddSynchronize`.
 *
 * **Example** (An event is in the container once)
 *
 * ```ts
 * import { Synchronize } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const container = yield* Synchronize.container<Synchronize.Synchronize>()
 *   const event = yield* Synchronize.make(true)
 *   yield* Synchronize.add(container, event)
 *   yield* Synchronize.add(container, event)
 *   yield* Synchronize.waitMultiple(container)
 *   return yield* Effect.flip(Synchronize.waitMultiple(container)) // => NoSync
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category the container
 * @since 0.1.0
 */
export const add: {
  <W extends Waitable.Any>(waitable: W): (self: Container<W>) => Effect.Effect<void>
  <W extends Waitable.Any>(self: Container<W>, waitable: NoInfer<W>): Effect.Effect<void>
} = dual(2, <W extends Waitable.Any>(self: Container<W>, waitable: W): Effect.Effect<void> =>
  Effect.sync(() => {
    const container = toContainer(self)
    const one = awaited(waitable)
    if (container.waiting.has(one) || container.signaled.has(one)) return
    const polled = one.pollUnsafe()
    if (polled !== false) return container.offer(one, polled === true ? undefined : polled)
    const waiter = (refusal: unknown) => {
      if (container.waiting.get(one) === waiter) container.offer(one, refusal)
    }
    container.waiting.set(one, waiter)
    one.addWaiterUnsafe(waiter)
  }))

/**
 * Waits for the next signaled event or call of the container, gives it and removes it. They come in the order in which
 * they were signaled.
 *
 * **Details**
 *
 * Fails with `NoSync` when the container is empty, with `WaitTimeout` when the `timeout` has passed, and, once for
 * each, with the refusal of a call that can't be waited for any more.
 *
 * Windows: `ISynchronizeContainer::WaitMultiple`.
 *
 * **Example** (In the order in which they were signaled)
 *
 * ```ts
 * import { Synchronize } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const container = yield* Synchronize.container<Synchronize.Synchronize>()
 *   const [a, b] = [yield* Synchronize.make(), yield* Synchronize.make()]
 *   yield* Synchronize.add(container, a)
 *   yield* Synchronize.add(container, b)
 *   yield* Synchronize.signal(b)
 *   yield* Synchronize.signal(a)
 *   const first = yield* Synchronize.waitMultiple(container)
 *   return first === b // => true
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category the container
 * @since 0.1.0
 */
export const waitMultiple: {
  <W extends Waitable.Any>(self: Container<W>): Effect.Effect<W, Waitable.Error<W> | NoSync>
  <W extends Waitable.Any>(
    self: Container<W>,
    timeout: Duration.Input
  ): Effect.Effect<W, Waitable.Error<W> | NoSync | WaitTimeout>
} = (self: Container<any>, timeout?: Duration.Input): Effect.Effect<never, never> => {
  const container = toContainer(self)
  const arrival = Effect.callback<void>((resume) => {
    if (container.isReady) return resume(Effect.void)
    const waiter = () => resume(Effect.void)
    container.addWaiterUnsafe(waiter)
    return Effect.sync(() => container.removeWaiterUnsafe(waiter))
  })
  // Two fibers may wait on one container: the second one looks again.
  const next: Effect.Effect<unknown, unknown> = Effect.suspend(() =>
    container.take() ?? Effect.flatMap(unlessEndless(container.waiting.keys(), arrival), () => next)
  )
  return withTimeout(next, () => container.isReady, timeout) as never
}
