import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Schema, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Call, Interface, Manager, Server, TestKit } from "../mod.ts"
import { serverImpl } from "./internals.ts"

const ISums = Interface.make("ISums", {
  uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
  version: [1, 0],
  methods: {
    Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }),
    Never: Interface.method({ out: Schema.Int })
  }
})

const makeKit = (options?: Parameters<typeof TestKit.make>[1]) =>
  Effect.gen(function* () {
    let runs = 0
    const manager = Manager.make(ISums, {
      Add: (numbers) => Effect.sync(() => (runs++, numbers.reduce((a, b) => a + b, 0))),
      Never: () => Effect.never
    })
    return { ...yield* TestKit.make(manager, options), runs: () => runs }
  })

describe("the test kit", () => {
  it.effect("test kit: client and server work", () =>
    Effect.gen(function* () {
      const { binding } = yield* makeKit()
      assert.strictEqual(yield* Call.invoke(binding, "Add", [1, 2]), 3)
    }))

  it.effect("test kit: checks arguments, unless told not to", () =>
    Effect.gen(function* () {
      const checked = yield* makeKit()
      assert.strictEqual((yield* Effect.flip(Call.invoke(checked.binding, "Add", [1.5])))._tag, "BadStubData")
      const unchecked = yield* makeKit({ validate: false })
      assert.strictEqual(yield* Call.invoke(unchecked.binding, "Add", [1.5]), 1.5)
    }))

  it.effect("options that are undefined: count as left out", () =>
    Effect.gen(function* () {
      const { binding, server } = yield* makeKit({ validate: undefined, causal: undefined, grace: undefined })
      assert.strictEqual((yield* Effect.flip(Call.invoke(binding, "Add", [1.5])))._tag, "BadStubData")
      assert.strictEqual(serverImpl(server).grace, 0)
    }))

  it.effect("faults for one method: each meets one call, in order, and then there are no more", () =>
    Effect.gen(function* () {
      const { binding, inject, runs } = yield* makeKit()
      yield* inject("Add", TestKit.unreachable, TestKit.fault(1723))
      yield* inject("Add", TestKit.loseRequest, TestKit.loseReply)
      const outcomes: Array<unknown> = []
      for (let i = 0; i < 5; i++) {
        outcomes.push(
          yield* Call.invoke(binding, "Add", [1, 2]).pipe(
            Effect.match({
              onSuccess: (sum) => [sum, runs()],
              onFailure: (error) =>
                error._tag === "RpcFault"
                  ? [error.code, error.didNotExecute, runs()]
                  : error._tag === "RpcTransportError"
                  ? [error.status, error.didNotExecute, runs()]
                  : error
            })
          )
        )
      }
      assert.deepStrictEqual(outcomes, [
        [1722, true, 0],
        [1723, true, 0],
        [1727, true, 0],
        [1726, false, 1],
        [3, 2]
      ])
    }))

  it.effect("faults for one method: other methods work", () =>
    Effect.gen(function* () {
      const { binding, inject } = yield* makeKit()
      yield* inject("Never", TestKit.unreachable)
      assert.strictEqual(yield* Call.invoke(binding, "Add", [1]), 1)
    }))

  it.effect("unreachable: begin fails, and the object is idle again", () =>
    Effect.gen(function* () {
      const { binding, inject } = yield* makeKit()
      yield* inject("Add", TestKit.unreachable)
      const call = yield* Call.make(binding)
      assert.strictEqual((yield* Effect.flip(Call.begin(call, "Add", [1])))._tag, "RpcTransportError")
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
      assert.strictEqual(yield* Call.join(yield* Call.begin(call, "Add", [1])), 1)
    }))

  it.effect("delayed reply: comes after that virtual time", () =>
    Effect.gen(function* () {
      const { binding, inject } = yield* makeKit()
      yield* inject("Add", TestKit.delayReply("1 minute"))
      const adding = yield* Call.begin(yield* Call.make(binding), "Add", [1, 2])
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual((yield* Effect.flip(Call.wait(adding, 0)))._tag, "WaitTimeout")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Call.finish(adding), 3)
    }))

  it.effect("dropped reply: only a cancel ends the call", () =>
    Effect.gen(function* () {
      const { binding, inject, runs } = yield* makeKit()
      yield* inject("Add", TestKit.dropReply)
      const adding = yield* Call.begin(yield* Call.make(binding), "Add", [1, 2])
      yield* TestClock.adjust("1 day")
      assert.deepStrictEqual([runs(), (yield* Effect.flip(Call.finish(adding)))._tag], [1, "CallPending"])
      yield* Call.cancel(adding, { timeout: "1 second" })
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Effect.flip(Call.finish(adding)))._tag, "CallCancelled")
    }))

  describe("while a begin takes time", () => {
    const slow = Effect.gen(function* () {
      const kit = yield* makeKit()
      yield* kit.inject("Add", TestKit.delayBegin("1 second"))
      const scope = yield* Scope.make()
      const call = yield* Scope.provide(Call.make(kit.binding), scope)
      const beginning = yield* Effect.forkChild(Call.begin(call, "Add", [1, 2]), { startImmediately: true })
      return { ...kit, beginning, call, scope }
    })

    it.effect("delayed begin: returns when the call was issued", () =>
      Effect.gen(function* () {
        const { beginning, runs } = yield* slow
        yield* TestClock.adjust("999 millis")
        assert.deepStrictEqual([beginning.pollUnsafe(), runs()], [undefined, 0])
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(yield* Call.join(yield* Fiber.join(beginning)), 3)
      }))

    it.effect("delayed begin, another begin: is refused, and there is no evidence yet", () =>
      Effect.gen(function* () {
        const { call } = yield* slow
        assert.strictEqual((yield* Effect.flip(Call.begin(call, "Add", [1])))._tag, "CallPending")
        assert.strictEqual((yield* Call.pending(call))._tag, "None")
      }))

    it.effect("delayed begin interrupted: nothing is issued, and the object is idle", () =>
      Effect.gen(function* () {
        const { beginning, call, runs } = yield* slow
        yield* Fiber.interrupt(beginning)
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual([yield* Call.state(call), runs()], [{ _tag: "Idle" }, 0])
        assert.strictEqual(yield* Call.join(yield* Call.begin(call, "Add", [4])), 4)
      }))

    it.effect("delayed begin, object released: begin is refused, and the issued call orphaned", () =>
      Effect.gen(function* () {
        const { beginning, scope, server } = yield* slow
        yield* Scope.close(scope, Exit.void)
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Effect.flip(Fiber.join(beginning)))._tag, "InvalidAsyncHandle")
        assert.strictEqual((yield* Server.calls(server)).length, 0)
      }))

    it.effect("delayed one-shot call interrupted: stops", () =>
      Effect.gen(function* () {
        const { binding, inject, runs } = yield* makeKit()
        yield* inject("Add", TestKit.delayBegin("1 second"))
        const invoking = yield* Effect.forkChild(Call.invoke(binding, "Add", [1]), { startImmediately: true })
        yield* Fiber.interrupt(invoking)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(runs(), 0)
      }))
  })

  it.effect("kit closes: its server ends at once, unless a grace period is asked for", () =>
    Effect.gen(function* () {
      const close = (options?: Server.Options) =>
        Effect.gen(function* () {
          const scope = yield* Scope.make()
          const { binding } = yield* Scope.provide(makeKit(options), scope)
          yield* Call.begin(yield* Call.make(binding), "Never")
          // The binding goes first and ends its calls, so nothing is left to wait for.
          yield* Scope.close(scope, Exit.void)
        })
      yield* close()
      yield* close({ grace: "1 hour" })
    }))
})

describe("a kit whose scope closes", () => {
  for (const [title, fault] of [["late", TestKit.delayReply("1 minute")], ["dropped", TestKit.dropReply]] as const) {
    it.effect(`kit closes, a reply that is ${title}: its call ends with 1726, once`, () =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const { binding, inject } = yield* Scope.provide(makeKit(), scope)
        yield* inject("Add", fault)
        const call = yield* Call.make(binding)
        const adding = yield* Call.begin(call, "Add", [1, 2])
        const states = yield* Effect.forkChild(Stream.runCollect(Stream.take(Call.states(call), 2)), {
          startImmediately: true
        })
        yield* Scope.close(scope, Exit.void)
        yield* TestClock.adjust("2 minutes")
        assert.deepInclude(yield* Effect.flip(Call.finish(adding)), { _tag: "RpcTransportError", status: 1726 })
        assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
        assert.deepStrictEqual((yield* Fiber.join(states)).map(({ _tag }) => _tag), ["Pending", "Completed"])
        assert.deepInclude(yield* Effect.flip(Call.begin(call, "Add", [1, 2])), { status: 1722 })
      }))
  }
})
