/**
 * One statement for what several fibers want of different calls at the same time: the database commits once for all of them.
 */
import * as Effect from "effect/Effect"

/** How many calls one statement changes at most. */
const most = 64

/** How long a statement may take, in milliseconds: its connection may be silent for ever. */
const longest = 30_000

/**
 * Gathers what is wanted while a statement runs, for the next one. `together` gives its answers by call, and does not wait for rows that
 * somebody else holds: whatever it has no answer for is asked `alone`, by the fiber that wants it. So is everything once `fork` is over.
 * `isUnsure` says that `together` failed, gave no answer or was interrupted: it may have been committed.
 */
export const gather = <T extends { readonly id: string }, A, E>(
  fork: (effect: Effect.Effect<void>) => boolean,
  together: (items: ReadonlyArray<T>) => Effect.Effect<ReadonlyMap<string, A>, E>,
  alone: (item: T, isUnsure: boolean) => Effect.Effect<A, E>
): (item: T) => Effect.Effect<A, E> => {
  type Waiting = { readonly item: T; readonly resume: (answer: Effect.Effect<A, E>) => void }
  let queue: Array<Waiting> = []
  let asked: ReadonlyArray<Waiting> = []
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
    const some = asked = next()
    if (some.length === 0) return Effect.void
    return Effect.flatMap(Effect.exit(Effect.timeout(together(some.map(({ item }) => item)), longest)), (exit) => {
      // An item that no statement takes fails alone.
      const answers = exit._tag === "Success" ? exit.value : undefined
      asked = []
      for (const { item, resume } of some) {
        const answer = answers?.get(item.id)
        resume(answer === undefined ? alone(item, answers === undefined) : Effect.succeed(answer))
      }
      return rounds
    })
  })
  const stop = (): void => {
    const [unsure, unasked] = [asked, queue]
    asked = queue = []
    isRunning = false
    for (const { item, resume } of unsure) resume(alone(item, true))
    for (const { item, resume } of unasked) resume(alone(item, false))
  }
  const run = Effect.ensuring(Effect.andThen(Effect.yieldNow, rounds), Effect.sync(stop))
  return (item) =>
    Effect.callback((resume) => {
      queue.push({ item, resume })
      if (isRunning) return
      isRunning = true
      if (!fork(run)) stop()
    })
}
