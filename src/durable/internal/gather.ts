/**
 * One statement for what several fibers want of different calls at the same time: the database commits once for all of them.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

/** How many calls one statement changes at most. */
const most = 64

/**
 * Gathers what is wanted while a statement runs, for the next one. `together` gives its answers by call, and does not wait for rows that
 * somebody else holds: whatever it has no answer for is asked `alone`, by the fiber that wants it.
 */
export const gather = <T extends { readonly id: string }, A, E>(
  fork: (effect: Effect.Effect<void>) => Fiber.Fiber<unknown, unknown>,
  together: (items: ReadonlyArray<T>) => Effect.Effect<ReadonlyMap<string, A>, E>,
  alone: (item: T) => Effect.Effect<A, E>
): (item: T) => Effect.Effect<A, E> => {
  type Waiting = { readonly item: T; readonly resume: (answer: Effect.Effect<A, E>) => void }
  let queue: Array<Waiting> = []
  let current: ReadonlyArray<Waiting> = []
  let isRunning = false
  const next = (): ReadonlyArray<Waiting> => {
    const some = new Map<string, Waiting>()
    const rest: Array<Waiting> = []
    // A call has one change in a statement.
    for (const waiting of queue) {
      if (some.size < most && !some.has(waiting.item.id)) some.set(waiting.item.id, waiting)
      else rest.push(waiting)
    }
    queue = rest
    return Array.from(some.values())
  }
  const rounds: Effect.Effect<void> = Effect.suspend(() => {
    current = next()
    if (current.length === 0) return Effect.void
    return Effect.flatMap(Effect.exit(together(current.map(({ item }) => item))), (exit) => {
      // An item that no statement takes fails alone.
      const answers = exit._tag === "Success" ? exit.value : undefined
      const some = current
      current = []
      for (const { item, resume } of some) {
        const answer = answers?.get(item.id)
        resume(answer === undefined ? alone(item) : Effect.succeed(answer))
      }
      return rounds
    })
  })
  const start = (): void => {
    isRunning = true
    fork(Effect.andThen(Effect.yieldNow, rounds)).addObserver((exit) => {
      isRunning = false
      if (exit._tag === "Success") return queue.length > 0 ? start() : undefined
      // The layer has closed: whoever still wants something learns that from the database.
      const left = [...current, ...queue]
      current = []
      queue = []
      for (const { item, resume } of left) resume(alone(item))
    })
  }
  return (item) =>
    Effect.callback((resume) => {
      queue.push({ item, resume })
      if (!isRunning) start()
    })
}
