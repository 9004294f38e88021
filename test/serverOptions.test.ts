/** The numbers among the options of servers and bindings: wrong ones are refused, the others mean what they read. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, type Duration, Effect, Exit, Fiber, Queue, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Binding, Call, Manager, Server, ServerCall } from "../mod.ts"
import { isWaiting, Job1, makeJob, settle, start } from "./fixtures.ts"

const days30 = 30 * 86_400_000

const manager = Manager.make(Job1, { Run: (input) => Effect.succeed(input) })

describe("an option out of its range", () => {
  const making: Record<string, (value: never) => Effect.Effect<unknown, unknown, Scope.Scope>> = {
    "Server.make: grace": (grace) => Server.make([], { grace }),
    "Server.make: maximumAge": (maximumAge) => Server.make([], { maximumAge }),
    "Server.make: maximumCalls": (maximumCalls) => Server.make([], { maximumCalls }),
    "Binding to Job1: cancelTimeout": (cancelTimeout) =>
      Effect.flatMap(Server.make([manager]), (server) => Binding.local(server, Job1, { cancelTimeout }))
  }
  for (const [option, make] of Object.entries(making)) {
    for (const value of [-1, NaN, -Infinity, "soon", ...(option.endsWith("maximumCalls") ? [1.5, "3"] : [])]) {
      it.effect(`${option} is ${value}: dies with a TypeError that names option, value and range`, () =>
        Effect.gen(function* () {
          const exit = yield* Effect.exit(Effect.scoped(make(value as never)))
          const defect = exit._tag === "Failure" ? Cause.squash(exit.cause) : undefined
          assert.instanceOf(defect, TypeError)
          const shown = typeof value === "string" ? JSON.stringify(value) : String(value)
          const { message } = defect as TypeError
          assert.include(message, `${option} is out of range, got ${shown}, expected `)
        }))
    }
  }
})

describe("maximumAge", () => {
  for (const maximumAge of [0, "1 milli", days30] as ReadonlyArray<Duration.Input>) {
    it.effect(`${maximumAge}: ends every call that is as old`, () =>
      Effect.gen(function* () {
        const { job } = yield* makeJob(() => Effect.never, { server: { maximumAge } })
        for (let i = 0; i < 3; i++) {
          const running = yield* start(Call.invoke(job, "Run", "a"))
          if (maximumAge !== 0) {
            assert.isTrue(yield* isWaiting(running))
            if (maximumAge === days30) yield* TestClock.adjust(days30 - 1)
            assert.isTrue(yield* isWaiting(running))
            yield* TestClock.adjust("1 milli")
          }
          yield* settle
          const exit = running.pollUnsafe()
          assert.isDefined(exit)
          assert.deepInclude(yield* Effect.flip(exit!), { _tag: "RpcFault", code: 1460 })
        }
      }))
  }

  it.effect("Infinity: ends none", () =>
    Effect.gen(function* () {
      const { job } = yield* makeJob(() => Effect.never, { server: { maximumAge: "Infinity" } })
      const running = yield* start(Call.invoke(job, "Run", "a"))
      yield* TestClock.adjust(days30)
      assert.isTrue(yield* isWaiting(running))
    }))
})

describe("grace", () => {
  const makeClosing = Effect.fnUntraced(function* (grace: Duration.Input) {
    const held = yield* Queue.unbounded<ServerCall.Of<typeof Job1, "Run">>()
    const serving = yield* Scope.make()
    const holding = Manager.make(Job1, { Run: Manager.handOff((_, call) => Queue.offer(held, call)) })
    const server = yield* Scope.provide(Server.make([holding], { grace }), serving)
    const running = yield* start(Call.invoke(yield* Binding.local(server, Job1), "Run", "a"))
    const call = yield* Queue.take(held)
    return { call, closing: yield* start(Scope.close(serving, Exit.void)), running }
  })

  it.effect("0: the calls end at once", () =>
    Effect.gen(function* () {
      const { closing, running } = yield* makeClosing(0)
      yield* Fiber.join(closing)
      assert.deepInclude(yield* Effect.flip(Fiber.join(running)), { _tag: "RpcTransportError", status: 1726 })
    }))

  it.effect("30 days: the calls have 30 days", () =>
    Effect.gen(function* () {
      const { closing, running } = yield* makeClosing(days30)
      yield* TestClock.adjust(days30 - 1)
      assert.isTrue(yield* isWaiting(closing))
      yield* TestClock.adjust(1)
      yield* Fiber.join(closing)
      yield* Fiber.await(running)
    }))

  it.effect("Infinity: the calls have for ever", () =>
    Effect.gen(function* () {
      const { call, closing, running } = yield* makeClosing("Infinity")
      yield* TestClock.adjust(days30)
      assert.isTrue(yield* isWaiting(closing))
      yield* ServerCall.complete(call, "done")
      assert.strictEqual(yield* Fiber.join(running), "done")
      yield* Fiber.join(closing)
    }))
})

describe("maximumCalls", () => {
  for (const [maximumCalls, expected] of [[0, 0], [2, 2], [Infinity, 3]] as const) {
    it.effect(`${maximumCalls}: of 3 calls ${expected} are taken in`, () =>
      Effect.gen(function* () {
        const { job, server } = yield* makeJob(() => Effect.never, { server: { maximumCalls } })
        for (let i = 0; i < 3; i++) yield* start(Effect.exit(Call.invoke(job, "Run", "a")))
        assert.strictEqual((yield* Server.calls(server)).length, expected)
      }))
  }
})
