/** The clock of deadlines, which nobody sets. */
import type * as Clock from "effect/Clock"

/** Monotonic milliseconds. */
export const nowOf = (clock: Clock.Clock): number =>
  // The clock of a test may tell the time of day alone.
  clock.monotonicTimeNanosUnsafe === undefined
    ? clock.currentTimeMillisUnsafe()
    : Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000
