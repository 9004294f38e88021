/**
 * Manual-reset events, and waiting on many of them together with calls.
 *
 * Windows: `ISynchronize` (the event), `WaitMultiple` and `CoWaitForMultipleHandles` ({@link waitAny},
 * {@link waitAll}), `ISynchronizeContainer` ({@link container}).
 *
 * @module
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import { NoSync, WaitTimeout } from "./Status.ts"

// ----------------------------------------------------------------------------
// what can be waited on
// ----------------------------------------------------------------------------

/**
 * What can be waited on: a {@link Synchronize} event, or a pending call. Of a call only its completion can be seen; the
 * runtime alone signals it. `E` are the refusals of waiting on it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Waitable<out E> {
  /** `true` when signaled, `false` when not, or the refusal. */
  readonly pollUnsafe: () => boolean | E
  /** Calls the waiter once, when signaled or when waiting on it has become refused. */
  readonly addWaiterUnsafe: (waiter: Waiter<E>) => void
  /** Removes a waiter that was not called yet. */
  readonly removeWaiterUnsafe: (waiter: Waiter<E>) => void
}

/**
 * Types that belong to {@link Waitable}.
 *
 * @category models
 * @since 0.1.0
 */
export declare namespace Waitable {
  /** Anything that can be waited on. */
  export type Any = Waitable<unknown>
  /** The refusals of waiting on `W`. */
  export type Error<W> = W extends Waitable<infer E> ? E : never
}

/**
 * Is told that what it waits on was signaled (`undefined`), or why it can't be waited on any more.
 *
 * @category models
 * @since 0.1.0
 */
export type Waiter<in E> = (refusal: E | undefined) => void

/**
 * Those who wait on one thing. Nearly always there is none or one of them, so one costs nothing but its reference.
 *
 * @internal
 */
export class Waiters<E> {
  #waiters: Waiter<E> | Set<Waiter<E>> | undefined = undefined

  get hasWaiters(): boolean {
    return this.#waiters !== undefined
  }

  addWaiterUnsafe(waiter: Waiter<E>): void {
    const waiters = this.#waiters
    if (waiters === undefined) this.#waiters = waiter
    else if (typeof waiters === "function") this.#waiters = new Set([waiters, waiter])
    else waiters.add(waiter)
  }

  removeWaiterUnsafe(waiter: Waiter<E>): void {
    if (this.#waiters === waiter) this.#waiters = undefined
    else if (typeof this.#waiters === "object") this.#waiters.delete(waiter)
  }

  wakeUnsafe(refusal: E | undefined): void {
    const waiters = this.#waiters
    if (waiters === undefined) return
    // A waiter that is woken may wait again at once: it then belongs to the next wake.
    this.#waiters = undefined
    if (typeof waiters === "function") waiters(refusal)
    else for (const waiter of waiters) waiter(refusal)
  }
}

/** @internal */
export const awaitUnsafe = <E>(self: Waitable<E>): Effect.Effect<void, E> =>
  Effect.callback<void, E>((resume) => {
    const polled = self.pollUnsafe()
    if (polled === true) return resume(Effect.void)
    if (polled !== false) return resume(Effect.fail(polled))
    const waiter = (refusal: E | undefined) => resume(refusal === undefined ? Effect.void : Effect.fail(refusal))
    self.addWaiterUnsafe(waiter)
    return Effect.sync(() => self.removeWaiterUnsafe(waiter))
  })

/** @internal */
export const withTimeout = <A, E>(
  wait: Effect.Effect<A, E>,
  isReady: () => boolean,
  timeout: Duration.Input | undefined
): Effect.Effect<A, E | WaitTimeout> =>
  Effect.suspend(() => {
    if (timeout === undefined || isReady()) return wait
    const duration = Duration.fromInputUnsafe(timeout)
    const timedOut = Effect.suspend(() => Effect.fail(new WaitTimeout()))
    return Duration.isZero(duration) ? timedOut : Effect.timeoutOrElse(wait, { duration, orElse: () => timedOut })
  })

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

  pipe() {
    return pipeArguments(this, arguments)
  }
}

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
export const make = (signaled = false): Effect.Effect<Synchronize> => Effect.sync(() => new Event(signaled))

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
    const event = self as Event
    event.signaled = true
    event.wakeUnsafe(undefined)
  })

/**
 * Resets the event to not signaled. Whoever was woken before stays woken. Resetting an event that is not signaled
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
    ;(self as Event).signaled = false
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
export const isSignaled = (self: Synchronize): Effect.Effect<boolean> => Effect.sync(() => self.pollUnsafe())

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
    withTimeout(awaitUnsafe(self), () => self.pollUnsafe(), timeout)
) as never

// ----------------------------------------------------------------------------
// many
// ----------------------------------------------------------------------------

type NonEmpty<W> = readonly [W, ...Array<W>]

type NothingToWaitFor<Ws> = Ws extends NonEmpty<unknown> ? never : NoSync

/**
 * Waits until one of several events and calls is signaled, and gives that one: the first in order when several are.
 *
 * **Details**
 *
 * Fails with `WaitTimeout` when the `timeout` has passed, with `NoSync` when the list is empty (only where its type
 * allows that), and with the refusal of a call in the list that can't be waited for: `CallComplete` if it was finished,
 * `InvalidAsyncHandle` if its call object is released. The list may be of any length.
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
export const waitAny: {
  <const Ws extends ReadonlyArray<Waitable.Any>>(
    waitables: Ws
  ): Effect.Effect<Ws[number], Waitable.Error<Ws[number]> | NothingToWaitFor<Ws>>
  <const Ws extends ReadonlyArray<Waitable.Any>>(
    waitables: Ws,
    timeout: Duration.Input
  ): Effect.Effect<Ws[number], Waitable.Error<Ws[number]> | NothingToWaitFor<Ws> | WaitTimeout>
} = (waitables: ReadonlyArray<Waitable.Any>, timeout?: Duration.Input): Effect.Effect<never, never> =>
  withTimeout(anyOf(waitables), () => waitables.length === 0 || waitables.some(isReady), timeout) as never

const isReady = (waitable: Waitable.Any): boolean => waitable.pollUnsafe() !== false

const anyOf = (waitables: ReadonlyArray<Waitable.Any>): Effect.Effect<Waitable.Any, unknown> =>
  Effect.callback((resume) => {
    if (waitables.length === 0) return resume(Effect.fail(new NoSync()))
    for (const waitable of waitables) {
      const polled = waitable.pollUnsafe()
      if (polled === true) return resume(Effect.succeed(waitable))
      if (polled !== false) return resume(Effect.fail(polled))
    }
    const waiters = new Map<Waitable.Any, Waiter<unknown>>()
    const leave = () => waiters.forEach((waiter, waitable) => waitable.removeWaiterUnsafe(waiter))
    for (const waitable of waitables) {
      if (waiters.has(waitable)) continue
      const waiter = (refusal: unknown) => {
        leave()
        resume(refusal === undefined ? Effect.succeed(waitable) : Effect.fail(refusal))
      }
      waiters.set(waitable, waiter)
      waitable.addWaiterUnsafe(waiter)
    }
    return Effect.sync(leave)
  })

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
export const waitAll: {
  <const Ws extends ReadonlyArray<Waitable.Any>>(
    waitables: Ws
  ): Effect.Effect<void, Waitable.Error<Ws[number]> | NothingToWaitFor<Ws>>
  <const Ws extends ReadonlyArray<Waitable.Any>>(
    waitables: Ws,
    timeout: Duration.Input
  ): Effect.Effect<void, Waitable.Error<Ws[number]> | NothingToWaitFor<Ws> | WaitTimeout>
} = (waitables: ReadonlyArray<Waitable.Any>, timeout?: Duration.Input): Effect.Effect<never, never> =>
  withTimeout(allOf(waitables), () => waitables.every(isReady), timeout) as never

const allOf = (waitables: ReadonlyArray<Waitable.Any>): Effect.Effect<void, unknown> =>
  Effect.callback((resume) => {
    if (waitables.length === 0) return resume(Effect.fail(new NoSync()))
    const waiters = new Map<Waitable.Any, Waiter<unknown>>()
    const leave = () => waiters.forEach((waiter, waitable) => waitable.removeWaiterUnsafe(waiter))
    const fail = (refusal: unknown) => {
      leave()
      resume(Effect.fail(refusal))
    }
    // An event that was signaled may be reset while others are waited for, so in the end all are looked at once more.
    const look = (): void => {
      for (const waitable of waitables) {
        const polled = waitable.pollUnsafe()
        if (polled === true || waiters.has(waitable)) continue
        if (polled !== false) return fail(polled)
        const waiter = (refusal: unknown) => {
          waiters.delete(waitable)
          if (refusal !== undefined) return fail(refusal)
          if (waiters.size === 0) look()
        }
        waiters.set(waitable, waiter)
        waitable.addWaiterUnsafe(waiter)
      }
      if (waiters.size === 0) resume(Effect.void)
    }
    look()
    return Effect.sync(leave)
  })

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

class ContainerImpl implements Container<any> {
  declare readonly "~callisto/Synchronize/Container": Container<any>["~callisto/Synchronize/Container"]
  readonly waiting = new Map<Waitable.Any, Waiter<unknown>>()
  readonly signaled = new Map<Waitable.Any, unknown>()
  readonly takers = new Waiters<never>()

  close(): void {
    this.waiting.forEach((waiter, waitable) => waitable.removeWaiterUnsafe(waiter))
    this.waiting.clear()
    this.signaled.clear()
    this.takers.wakeUnsafe(undefined)
  }

  offer(waitable: Waitable.Any, refusal: unknown): void {
    this.waiting.delete(waitable)
    this.signaled.set(waitable, refusal)
    this.takers.wakeUnsafe(undefined)
  }
}

/**
 * Makes an empty container. It lets go of what it still holds when the scope closes.
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
    (self) => Effect.sync(() => (self as ContainerImpl).close())
  )

/**
 * Adds an event or a call to the container. What is in it already is not added again.
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
    const container = self as ContainerImpl
    if (container.waiting.has(waitable) || container.signaled.has(waitable)) return
    const polled = waitable.pollUnsafe()
    if (polled !== false) return container.offer(waitable, polled === true ? undefined : polled)
    const waiter = (refusal: unknown) => container.offer(waitable, refusal)
    container.waiting.set(waitable, waiter)
    waitable.addWaiterUnsafe(waiter)
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
  const container = self as ContainerImpl
  const isReady = () => container.signaled.size > 0 || container.waiting.size === 0
  const next: Effect.Effect<Waitable.Any, unknown> = Effect.suspend(() => {
    for (const [waitable, refusal] of container.signaled) {
      container.signaled.delete(waitable)
      return refusal === undefined ? Effect.succeed(waitable) : Effect.fail(refusal)
    }
    if (container.waiting.size === 0) return Effect.fail(new NoSync())
    const arrival = Effect.callback<void>((resume) => {
      if (isReady()) return resume(Effect.void)
      const taker = () => resume(Effect.void)
      container.takers.addWaiterUnsafe(taker)
      return Effect.sync(() => container.takers.removeWaiterUnsafe(taker))
    })
    // Two may wait on one container: whoever comes second looks again.
    return Effect.flatMap(arrival, () => next)
  })
  return withTimeout(next, isReady, timeout) as never
}
