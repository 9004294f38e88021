/** Calls that are sent once more, because their connection was lost. */
import { assert, describe } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Call } from "../../mod.ts"
import { failure, isWaiting, join, setUp, wire } from "./rawServer.ts"

describe("callTimeout of a call that is sent once more", () => {
  wire(
    "on a new connection: it counts from the first time",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp({ callTimeout: "10 seconds" })
      const call = yield* begin("one", "Again")
      yield* peer.take("Request")
      yield* TestClock.adjust("8 seconds")
      yield* peer.close
      const second = yield* acceptBound
      yield* second.take("Request")
      const ending = yield* Effect.forkChild(failure(Call.join(call)), { startImmediately: true })
      yield* TestClock.adjust(1999)
      assert.isTrue(yield* isWaiting(ending))
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* Fiber.join(ending), ["CallCancelled", undefined])
    })
  )

  wire(
    "on a connection that later calls have used: it counts from the first time",
    Effect.gen(function* () {
      const options = { callTimeout: "10 seconds", causal: false, maximumConnections: 2 } as const
      const { acceptBound, begin, peer } = yield* setUp(options, { flags: 0 })
      const call = yield* begin("one", "Again")
      yield* peer.take("Request")
      yield* TestClock.adjust("9 seconds")
      const beginning = yield* Effect.forkChild(begin("two"))
      const second = yield* acceptBound
      const later = yield* Fiber.join(beginning)
      yield* second.reply(yield* second.take("Request"), "2")
      assert.strictEqual(yield* join(later), "2")
      yield* peer.close
      yield* second.take("Request")
      const ending = yield* Effect.forkChild(failure(Call.join(call)), { startImmediately: true })
      yield* TestClock.adjust(999)
      assert.isTrue(yield* isWaiting(ending))
      yield* TestClock.adjust(1)
      assert.isFalse(yield* isWaiting(ending))
      assert.deepStrictEqual(yield* Fiber.join(ending), ["CallCancelled", undefined])
    })
  )

  wire(
    "while no connection can be had: it counts from the first time",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp({ callTimeout: "10 seconds", connectTimeout: "1 minute" })
      const one = yield* begin("one", "Again")
      yield* peer.take("Request")
      yield* TestClock.adjust("8 seconds")
      yield* peer.close
      // It begins later, so it may wait for longer.
      const two = yield* Effect.forkChild(Effect.exit(begin("two", "Again")))
      const ending = yield* Effect.forkChild(failure(Call.join(one)), { startImmediately: true })
      yield* TestClock.adjust(1999)
      assert.isTrue(yield* isWaiting(ending))
      yield* TestClock.adjust(1)
      assert.isFalse(yield* isWaiting(ending))
      assert.deepStrictEqual(yield* Fiber.join(ending), ["CallCancelled", undefined])
      assert.isTrue(yield* isWaiting(two))
      yield* TestClock.adjust("8 seconds")
      assert.isFalse(yield* isWaiting(two))
    })
  )
})
