// The routines that everybody runs.
import { Effect } from "effect"

export const routines = {
  /** Has its answer at once. */
  Succeed: (n: number): Effect.Effect<number> => Effect.succeed(n + 1),
  /** Has its answer after one step of a generator. Making a generator function for each call costs more than running it. */
  Gen: (n: number): Effect.Effect<number> =>
    Effect.gen(function* () {
      return (yield* Effect.succeed(n)) + 1
    }),
  /** The same with one generator function for all calls. */
  Fn: Effect.fnUntraced(function* (n: number) {
    return (yield* Effect.succeed(n)) + 1
  }),
  /** Really suspends. */
  Suspend: (n: number): Effect.Effect<number> => Effect.as(Effect.yieldNow, n + 1)
}
