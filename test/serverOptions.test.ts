/** The options of the core: wrong ones are refused by name, the others mean what they read. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, type Duration, Effect, Exit, Fiber, Formatter, Queue, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Binding, Call, Interface, Manager, Server, ServerCall, Synchronize, TestKit } from "../mod.ts"
import * as NodeTransport from "../src/node.ts"
import { isWaiting, Job1, makeJob, refuses, settle, start } from "./fixtures.ts"

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
    const others = option.endsWith("maximumCalls") ? [1.5, "3"] : [{}, { milis: 5 }, { seconds: NaN }]
    for (const value of [-1, NaN, -Infinity, "soon", ...others]) {
      const shown = Formatter.format(value)
      it.effect(`${option} is ${shown}: dies with a TypeError that names option, value and range`, () =>
        Effect.gen(function* () {
          const exit = yield* Effect.exit(Effect.scoped(make(value as never)))
          const defect = exit._tag === "Failure" ? Cause.squash(exit.cause) : undefined
          assert.instanceOf(defect, TypeError)
          const { message } = defect as TypeError
          assert.include(message, `${option} is out of range, got ${shown}, expected `)
        }))
    }
  }
})

describe("an option that is not one of its values", () => {
  const bound = (options: object) =>
    Effect.flatMap(Server.make([manager]), (server) => Binding.local(server, Job1, options))
  const level = (level: unknown) =>
    Effect.flatMap(
      Server.make([]),
      (server) => Server.client(server, { caller: { name: "alice", level: level as never }, peer: "test" })
    )
  const job = (options: object) => Effect.sync(() => Manager.make(Job1, { Run: () => Effect.never }, options))
  const kit = (inject: (kit: TestKit.Kit<typeof Job1>) => Effect.Effect<void>, options: object = {}) =>
    Effect.flatMap(TestKit.make(manager, options), inject)
  const method = (options: object) => Effect.sync(() => Interface.method(options))
  const flag = "expected one of [true,false]"
  const cancellation = `expected one of ["interrupt","cooperative","disabled"]`
  const duration = "expected a duration of at least 0 ms"

  const cases: ReadonlyArray<
    readonly [make: Effect.Effect<unknown, unknown, Scope.Scope>, option: string, ...string[]]
  > = [
    [bound({ causal: "no" }), "Binding to Job1: causal", `"no"`, flag],
    [bound({ causal: null }), "Binding to Job1: causal", "null", flag],
    [bound({ validate: 1 }), "Binding to Job1: validate", "1", flag],
    [bound({ object: 5 }), "Binding to Job1: object", "5", "expected a UUID"],
    [job({ object: "lamp" }), "Manager of Job1: object", `"lamp"`, "expected a UUID"],
    [job({ callObjects: "no" }), "Manager of Job1: callObjects", `"no"`, flag],
    [job({ cancellation: null }), "Manager of Job1: cancellation", "null", cancellation],
    [job({ cancellation: true }), "Manager of Job1: cancellation", "true", cancellation],
    [job({ cancellation: { Run: "no" } }), "Manager of Job1: cancellation.Run", `"no"`, cancellation],
    [method({ idempotent: "yes" }), "Interface.method: idempotent", `"yes"`, flag],
    [method({ maybe: 0 }), "Interface.method: maybe", "0", flag],
    [level("low"), "Server.client: caller.level", `"low"`, `expected one of ["none",`],
    [Synchronize.make("yes" as never), "Synchronize.make: signaled", `"yes"`, flag],
    [
      kit(({ inject }) => inject("Run", TestKit.delayReply as never)),
      "TestKit.inject: fault",
      "undefined",
      "Unreachable"
    ],
    [kit(({ inject }) => inject("Run", undefined as never)), "TestKit.inject: fault", "undefined", "Unreachable"],
    [kit(({ inject }) => inject("Rum" as never)), "TestKit.inject: method", `"Rum"`, `expected one of ["Run"]`],
    [kit(() => Effect.void, { grace: null }), "Server.make: grace", "null", duration],
    [kit(() => Effect.void, { validate: null }), "Binding to Job1: validate", "null", flag],
    [Effect.sync(() => TestKit.delayReply(NaN)), "TestKit.delayReply: duration", "NaN", duration],
    [Effect.sync(() => TestKit.delayBegin(-1)), "TestKit.delayBegin: duration", "-1", duration],
    [Effect.sync(() => TestKit.delayBegin(undefined as never)), "TestKit.delayBegin: duration", "NaN", duration],
    [Effect.sync(() => TestKit.fault(0)), "TestKit.fault: code", "0", "expected an integer from 1 to 4294967295"],
    [Effect.sync(() => TestKit.fault(-2147467259)), "TestKit.fault: code", "-2147467259", "an integer from 1"]
  ]
  for (const [make, option, value = "", expected = ""] of cases) {
    it.effect(`${option} is ${value}: is refused by name, value and choices`, () =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(Effect.scoped(make))
        const defect = exit._tag === "Failure" ? Cause.squash(exit.cause) : undefined
        assert.instanceOf(defect, TypeError)
        assert.include((defect as TypeError).message, `${option} is out of range, got ${value}, `)
        assert.include((defect as TypeError).message, expected)
      }))
  }

  it("choices as they are listed: are taken", () => {
    Manager.make(Job1, { Run: () => Effect.never }, { callObjects: false, cancellation: { Run: undefined } })
    Interface.method({ idempotent: true, maybe: undefined })
    TestKit.fault(0xffffffff)
  })
})

describe("a function or a class that is not one", () => {
  it("routine that is no function: is refused by its name", () => {
    for (const routine of [undefined, null, 5, {}, Effect.succeed("a"), Manager.handOff(5 as never)]) {
      refuses(() => Manager.make(Job1, { Run: routine as never }), "Manager of Job1: routine Run is no function")
    }
  })

  it("middleware that is no function: is refused with its manager", () => {
    refuses(() => Manager.middleware(manager, 5 as never), "Manager of Job1: the middleware is no function")
  })

  it("key that is not redacted: is refused without showing it", () => {
    refuses(() => NodeTransport.layerTls({ key: "secret" as never }), "layerTls: key is not redacted. Make it with")
  })
})

describe("the object of Server.offers", () => {
  const object = "0f4c2f77-93d5-4b0e-a3ad-3c2d6a8f2b10"

  it.effect("upper case: finds the manager of the object; no UUID: is refused", () =>
    Effect.gen(function* () {
      const server = yield* Server.make([Manager.make(Job1, { Run: () => Effect.never }, { object })])
      assert.strictEqual(Server.offers(server, Job1, { object: object.toUpperCase() })?.object, object)
      assert.isUndefined(Server.offers(server, Job1, { object: null }))
      refuses(() => Server.offers(server, Job1, { object: "lamp" }), "Server.offers: object", `"lamp"`)
    }))
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
