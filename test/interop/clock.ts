import { Clock, Effect } from "effect"

/** Runs an effect with a wall clock that is milliseconds off. */
export const withClock = (difference: () => number) =>
  Effect.provideServiceEffect(
    Clock.Clock,
    Effect.map(Clock.Clock, (clock): Clock.Clock => {
      const millis = () => clock.currentTimeMillisUnsafe() + difference()
      const nanos = () => clock.currentTimeNanosUnsafe() + BigInt(difference()) * 1_000_000n
      return {
        currentTimeMillisUnsafe: millis,
        currentTimeMillis: Effect.sync(millis),
        currentTimeNanosUnsafe: nanos,
        currentTimeNanos: Effect.sync(nanos),
        monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
        monotonicTimeNanos: clock.monotonicTimeNanos,
        sleep: (duration) => clock.sleep(duration)
      }
    })
  )
