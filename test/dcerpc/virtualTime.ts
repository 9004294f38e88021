/** Long stories in no time. */
import { assert } from "@effect/vitest"
import { Effect, Metric } from "effect"
import { TestClock } from "effect/testing"

/** How many fibers are running now, by Effect's own count. */
export const fibersActive: Effect.Effect<number> = Effect.map(
  Metric.snapshot,
  (metrics) =>
    metrics.filter(({ id }) => id === "child_fibers_active").reduce(
      (sum, { state }) => sum + (state as { readonly value: number }).value,
      0
    )
)

/** Runs an effect, and the virtual clock until it is done. */
export const inVirtualTime = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect)
    for (let millis = 0; fiber.pollUnsafe() === undefined; millis++) {
      assert.isBelow(millis, 600_000, "it has not ended after ten minutes")
      yield* TestClock.adjust(millis < 500 ? 1 : 50)
      for (let i = 0; i < 3; i++) yield* Effect.yieldNow
    }
    return yield* fiber.pollUnsafe()!
  })

/** Whether a log message is the test clock's own, which warns where the machine is slow. */
export const isOfTestClock = (message: unknown): boolean => String(message).includes("the test clock")
