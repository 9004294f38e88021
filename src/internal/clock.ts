/** The clock of deadlines, which nobody sets. */
import type * as Clock from "effect/Clock"

/** Monotonic milliseconds. */
export const nowOf = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000
