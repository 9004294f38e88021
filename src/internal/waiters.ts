/**
 * Waiting for something to be signaled: the waiters of one object, and the one rule for all waits. A refusal comes first, whatever
 * the timeout; a timeout of 0 tests.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { WaitTimeout } from "../Status.ts"
import * as Depth from "./depth.ts"
import { PipeInspectable } from "./inspectable.ts"
import { durationOption } from "./options.ts"

/** Runs once: with `undefined` when the object was signaled, or with the reason why it can't be waited for any more. */
export type Waiter<in E> = (refusal: E | undefined) => void

/** The waiters of one object. Nearly always there is none or one, so one costs nothing but its reference. */
export abstract class Waiters<E> extends PipeInspectable {
  declare readonly "~callisto/Synchronize/Waitable": { readonly _E: () => E }
  #waiters: Waiter<E> | Set<Waiter<E>> | undefined = undefined

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

  /** Runs all waiters, within the bounds of depth. A waiter may run after it was removed, if that happens meanwhile. */
  wakeUnsafe(refusal: E | undefined): void {
    const waiters = this.#waiters
    if (waiters === undefined) return
    // A waiter that is woken may wait again at once: it then belongs to the next wake.
    this.#waiters = undefined
    Depth.run(() => {
      if (typeof waiters === "function") waiters(refusal)
      else for (const waiter of waiters) waiter(refusal)
    })
  }
}

/** An object that can be waited for, as the waits see it. */
export interface Awaited<E> extends Pick<Waiters<E>, "addWaiterUnsafe" | "removeWaiterUnsafe"> {
  /** `true` when signaled, `false` when not, or the refusal. */
  pollUnsafe(): boolean | E
  /** Runs before somebody waits; it dies where that wait could never end. */
  readonly awaited?: Effect.Effect<void> | undefined
}

/** A wait for several objects, unless one for one of them could never end. */
export const unlessEndless = <A, E>(
  waitables: Iterable<Awaited<unknown>>,
  wait: Effect.Effect<A, E>
): Effect.Effect<A, E> => {
  for (const { awaited } of waitables) if (awaited !== undefined) wait = Effect.andThen(awaited, wait)
  return wait
}

/** Whether a wait need not wait: it succeeds or is refused at once. */
export const isReady = (self: Awaited<unknown>): boolean => self.pollUnsafe() !== false

export const awaitUnsafe = <E>(self: Awaited<E>): Effect.Effect<void, E> =>
  Effect.callback<void, E>((resume) => {
    const polled = self.pollUnsafe()
    if (polled === true) return resume(Effect.void)
    if (polled !== false) return resume(Effect.fail(polled))
    const waiter = (refusal: E | undefined) => resume(refusal === undefined ? Effect.void : Effect.fail(refusal))
    self.addWaiterUnsafe(waiter)
    return Effect.sync(() => self.removeWaiterUnsafe(waiter))
  })

/** A wait that gives up after a timeout, unless it is ready. */
export const withTimeout = <A, E>(
  wait: Effect.Effect<A, E>,
  isReady: () => boolean,
  timeout: Duration.Input | undefined
): Effect.Effect<A, E | WaitTimeout> =>
  Effect.suspend(() => {
    const millis = durationOption("wait", "timeout", timeout, Infinity)
    if (millis === Infinity || isReady()) return wait
    const timedOut = Effect.suspend(() => Effect.fail(new WaitTimeout()))
    return millis === 0 ? timedOut : Effect.timeoutOrElse(wait, { duration: millis, orElse: () => timedOut })
  })
