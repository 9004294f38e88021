import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Queue, Scope } from "effect"
import { TestClock } from "effect/testing"
import { inspect } from "node:util"
import { Call, ServerCall, Synchronize } from "../mod.ts"
import { isWaiting, makeDesk, outcome, refusal, settle, start } from "./fixtures.ts"

describe("an event", () => {
  it.effect("make: the event is signaled only where the option says so", () =>
    Effect.gen(function* () {
      assert.isFalse(yield* Synchronize.isSignaled(yield* Synchronize.make()))
      assert.isTrue(yield* Synchronize.isSignaled(yield* Synchronize.make(true)))
    }))

  it.effect("event signaled: all its waiters go on, and it stays signaled", () =>
    Effect.gen(function* () {
      const event = yield* Synchronize.make()
      const waits = [yield* start(Synchronize.wait(event)), yield* start(Synchronize.wait(event, "1 minute"))]
      for (const wait of waits) assert.isTrue(yield* isWaiting(wait))
      yield* Synchronize.signal(event)
      for (const wait of waits) yield* Fiber.join(wait)
      yield* Synchronize.wait(event)
      yield* Synchronize.wait(event, 0)
      assert.isTrue(yield* Synchronize.isSignaled(event))
    }))

  it.effect("event signaled and reset in a row: any number of times", () =>
    Effect.gen(function* () {
      const event = yield* Synchronize.make()
      yield* Synchronize.signal(event)
      yield* Synchronize.signal(event)
      yield* Synchronize.reset(event)
      assert.isFalse(yield* Synchronize.isSignaled(event))
      yield* Synchronize.reset(event)
      assert.isFalse(yield* Synchronize.isSignaled(event))
      yield* Synchronize.signal(event)
      assert.isTrue(yield* Synchronize.isSignaled(event))
    }))

  it.effect("wait times out: fails with WaitTimeout, and the event is as it was", () =>
    Effect.gen(function* () {
      const event = yield* Synchronize.make()
      const waiting = yield* start(Synchronize.wait(event, "1 second"))
      yield* TestClock.adjust("999 millis")
      assert.isTrue(yield* isWaiting(waiting))
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* outcome(Fiber.join(waiting)), { failure: "WaitTimeout" })
      assert.isFalse(yield* Synchronize.isSignaled(event))
    }))

  it.effect("wait with an infinite timeout: waits without end", () =>
    Effect.gen(function* () {
      const event = yield* Synchronize.make()
      const waiting = yield* start(Synchronize.wait(event, "Infinity"))
      yield* TestClock.adjust("1000 days")
      assert.isTrue(yield* isWaiting(waiting))
      yield* Synchronize.signal(event)
      yield* Fiber.join(waiting)
    }))

  it.effect("wait with timeout 0: tests the event", () =>
    Effect.gen(function* () {
      const event = yield* Synchronize.make()
      assert.strictEqual(yield* refusal(Synchronize.wait(event, 0)), "WaitTimeout")
      yield* Synchronize.signal(event)
      yield* Synchronize.wait(event, 0)
    }))

  it.effect("event reset right after its signal: the woken waiters stay awake", () =>
    Effect.gen(function* () {
      const event = yield* Synchronize.make()
      const waits = yield* Effect.forEach([1, 2, 3], () => start(Synchronize.wait(event)))
      yield* Synchronize.signal(event)
      yield* Synchronize.reset(event)
      for (const wait of waits) yield* Fiber.join(wait)
      assert.isTrue(yield* isWaiting(yield* start(Synchronize.wait(event))))
    }))

  it.effect("wait interrupted: nothing is lost", () =>
    Effect.gen(function* () {
      const event = yield* Synchronize.make()
      const [first, second] = [yield* start(Synchronize.wait(event)), yield* start(Synchronize.wait(event))]
      yield* Fiber.interrupt(first)
      yield* Synchronize.signal(event)
      yield* Fiber.join(second)
    }))

  it.effect("wait, data-last: works as data-first", () =>
    Effect.gen(function* () {
      const event = yield* Synchronize.make()
      assert.strictEqual(yield* refusal(event.pipe(Synchronize.wait(0))), "WaitTimeout")
      yield* event.pipe(Synchronize.signal)
      yield* event.pipe(Synchronize.wait())
      assert.isTrue(Synchronize.isSynchronize(event))
      assert.isFalse(Synchronize.isSynchronize({}))
    }))
})

describe("waiting for any", () => {
  it.effect("waitAny, one event signaled: gives it first", () =>
    Effect.gen(function* () {
      const events = yield* Effect.forEach([1, 2, 3], () => Synchronize.make())
      const waiting = yield* start(Synchronize.waitAny(events))
      assert.isTrue(yield* isWaiting(waiting))
      yield* Synchronize.signal(events[2]!)
      yield* Synchronize.signal(events[0]!)
      assert.strictEqual(yield* Fiber.join(waiting), events[2])
    }))

  it.effect("waitAny, several events signaled: gives the first in order, and resets none of them", () =>
    Effect.gen(function* () {
      const a = yield* Synchronize.make()
      const b = yield* Synchronize.make(true)
      const c = yield* Synchronize.make(true)
      assert.strictEqual(yield* Synchronize.waitAny([a, b, c]), b)
      assert.strictEqual(yield* Synchronize.waitAny([c, b, a]), c)
      assert.isTrue(yield* Synchronize.isSignaled(b))
    }))

  it.effect("waitAny of more than 63 events: works", () =>
    Effect.gen(function* () {
      const events = yield* Effect.forEach(Array.from({ length: 1000 }), () => Synchronize.make())
      const waiting = yield* start(Synchronize.waitAny(events))
      yield* Synchronize.signal(events[999]!)
      assert.strictEqual(yield* Fiber.join(waiting), events[999])
    }))

  it.effect("waitAny of nothing, with and without a timeout: is refused with NoSync", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* refusal(Synchronize.waitAny([])), "NoSync")
      assert.strictEqual(yield* refusal(Synchronize.waitAny([], "1 second")), "NoSync")
      assert.strictEqual(yield* refusal(Synchronize.waitAny([], 0)), "NoSync")
    }))

  it.effect("waitAny times out: fails with WaitTimeout", () =>
    Effect.gen(function* () {
      const event = yield* Synchronize.make()
      assert.strictEqual(yield* refusal(Synchronize.waitAny([event], 0)), "WaitTimeout")
      const waiting = yield* start(Synchronize.waitAny([event], "1 second"))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* outcome(Fiber.join(waiting)), { failure: "WaitTimeout" })
    }))

  it.effect("waitAny with one event twice: works", () =>
    Effect.gen(function* () {
      const event = yield* Synchronize.make()
      const waiting = yield* start(Synchronize.waitAny([event, event]))
      yield* Synchronize.signal(event)
      assert.strictEqual(yield* Fiber.join(waiting), event)
    }))

  it.effect("waitAny of calls and events: begin does not signal a call, completion does", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const call = yield* Call.make(desk)
      const pending = yield* Call.begin(call, "Hold", "a")
      const event = yield* Synchronize.make()
      const waiting = yield* start(Synchronize.waitAny([event, pending]))
      assert.isTrue(yield* isWaiting(waiting))
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      assert.strictEqual(yield* Fiber.join(waiting), pending)
      // Waiting has consumed nothing, and the call stays signaled until it is finished.
      assert.strictEqual(yield* Synchronize.waitAny([event, pending], 0), pending)
      assert.strictEqual(yield* Call.finish(pending), "reply")
      assert.strictEqual(yield* refusal(Synchronize.waitAny([event, pending])), "CallComplete")
    }))

  it.effect("waitAny, call object released meanwhile: fails with InvalidAsyncHandle", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const scope = yield* Scope.fork(yield* Effect.scope)
      const call = yield* Scope.provide(Call.make(desk), scope)
      const pending = yield* Call.begin(call, "Hold", "a")
      const event = yield* Synchronize.make()
      const waiting = yield* start(Synchronize.waitAny([event, pending]))
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* outcome(Fiber.join(waiting)), { failure: "InvalidAsyncHandle" })
    }))
})

describe("waiting for all", () => {
  it.effect("waitAll: goes on when the last event is signaled", () =>
    Effect.gen(function* () {
      const events = yield* Effect.forEach([1, 2, 3], () => Synchronize.make())
      const waiting = yield* start(Synchronize.waitAll(events))
      for (const event of [events[2]!, events[0]!]) {
        yield* Synchronize.signal(event)
        assert.isTrue(yield* isWaiting(waiting))
      }
      yield* Synchronize.signal(events[1]!)
      yield* Fiber.join(waiting)
    }))

  it.effect("waitAll: needs all events signaled at one moment", () =>
    Effect.gen(function* () {
      const [a, b] = [yield* Synchronize.make(), yield* Synchronize.make()]
      const waiting = yield* start(Synchronize.waitAll([a, b]))
      yield* Synchronize.signal(a)
      yield* settle
      yield* Synchronize.reset(a)
      yield* Synchronize.signal(b)
      assert.isTrue(yield* isWaiting(waiting))
      yield* Synchronize.signal(a)
      yield* Fiber.join(waiting)
    }))

  it.effect("waitAll of nothing: is refused with NoSync", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* refusal(Synchronize.waitAll([])), "NoSync")
      assert.strictEqual(yield* refusal(Synchronize.waitAll([], 0)), "NoSync")
    }))

  it.effect("waitAll times out: fails with WaitTimeout", () =>
    Effect.gen(function* () {
      const [a, b] = [yield* Synchronize.make(true), yield* Synchronize.make()]
      assert.strictEqual(yield* refusal(Synchronize.waitAll([a, b], 0)), "WaitTimeout")
      const waiting = yield* start(Synchronize.waitAll([a, b], "1 second"))
      yield* TestClock.adjust("999 millis")
      assert.isTrue(yield* isWaiting(waiting))
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* outcome(Fiber.join(waiting)), { failure: "WaitTimeout" })
    }))

  it.effect("waitAll of calls and events: works", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      const event = yield* Synchronize.make(true)
      const waiting = yield* start(Synchronize.waitAll([pending, event]))
      assert.isTrue(yield* isWaiting(waiting))
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      yield* Fiber.join(waiting)
      assert.strictEqual(yield* Call.finish(pending), "reply")
      assert.strictEqual(yield* refusal(Synchronize.waitAll([pending, event])), "CallComplete")
      assert.strictEqual(yield* refusal(Synchronize.waitAll([pending, event], 0)), "CallComplete")
    }))

  it.effect("waitAll, an unsignaled event before a call that is over: is refused", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Answer", "a")
      yield* Call.finish(pending)
      const waiting = yield* start(Synchronize.waitAll([yield* Synchronize.make(), pending]))
      assert.deepStrictEqual(yield* outcome(Effect.timeoutOption(Fiber.join(waiting), 0)), { failure: "CallComplete" })
    }))
})

describe("a container", () => {
  it.effect("container: gives each signaled event once, in the order of their signals", () =>
    Effect.gen(function* () {
      const container = yield* Synchronize.container<Synchronize.Synchronize>()
      const events = yield* Effect.forEach([1, 2, 3], () => Synchronize.make())
      for (const event of events) yield* Synchronize.add(container, event)
      yield* Synchronize.signal(events[2]!)
      yield* Synchronize.signal(events[0]!)
      assert.strictEqual(yield* Synchronize.waitMultiple(container), events[2])
      assert.strictEqual(yield* Synchronize.waitMultiple(container), events[0])
      const waiting = yield* start(Synchronize.waitMultiple(container))
      assert.isTrue(yield* isWaiting(waiting))
      yield* Synchronize.signal(events[1]!)
      assert.strictEqual(yield* Fiber.join(waiting), events[1])
      assert.strictEqual(yield* refusal(Synchronize.waitMultiple(container)), "NoSync")
    }))

  it.effect("event signaled before it is added: the container gives it, and may take it again", () =>
    Effect.gen(function* () {
      const container = yield* Synchronize.container<Synchronize.Synchronize>()
      const event = yield* Synchronize.make(true)
      for (let i = 0; i < 2; i++) {
        yield* Synchronize.add(container, event)
        yield* Synchronize.add(container, event)
        assert.strictEqual(yield* Synchronize.waitMultiple(container), event)
        assert.strictEqual(yield* refusal(Synchronize.waitMultiple(container)), "NoSync")
      }
    }))

  it.effect("container waited on: events may still be added", () =>
    Effect.gen(function* () {
      const container = yield* Synchronize.container<Synchronize.Synchronize>()
      const [a, b] = [yield* Synchronize.make(), yield* Synchronize.make(true)]
      yield* Synchronize.add(container, a)
      const waiting = yield* start(Synchronize.waitMultiple(container))
      assert.isTrue(yield* isWaiting(waiting))
      yield* Synchronize.add(container, b)
      assert.strictEqual(yield* Fiber.join(waiting), b)
    }))

  it.effect("container: a wait that times out fails with WaitTimeout, an empty one with NoSync", () =>
    Effect.gen(function* () {
      const container = yield* Synchronize.container<Synchronize.Synchronize>()
      assert.strictEqual(yield* refusal(Synchronize.waitMultiple(container, "1 second")), "NoSync")
      const event = yield* Synchronize.make()
      yield* Synchronize.add(container, event)
      assert.strictEqual(yield* refusal(Synchronize.waitMultiple(container, 0)), "WaitTimeout")
      const waiting = yield* start(Synchronize.waitMultiple(container, "1 second"))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* outcome(Fiber.join(waiting)), { failure: "WaitTimeout" })
      yield* Synchronize.signal(event)
      assert.strictEqual(yield* Synchronize.waitMultiple(container, 0), event)
    }))

  it.effect("several waiters at one container: each event goes to one of them", () =>
    Effect.gen(function* () {
      const container = yield* Synchronize.container<Synchronize.Synchronize>()
      const events = yield* Effect.forEach([1, 2], () => Synchronize.make())
      for (const event of events) yield* Synchronize.add(container, event)
      const waits = yield* Effect.forEach(events, () => start(Synchronize.waitMultiple(container)))
      for (const event of events) yield* Synchronize.signal(event)
      const given = yield* Effect.forEach(waits, Fiber.join)
      assert.sameMembers(given, events)
    }))

  it.effect("container of calls: gives each call when it completes", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const pendings = yield* Effect.forEach(["a", "b"], (input) =>
        Effect.flatMap(Call.make(desk), (call) => Call.begin(call, "Hold", input)))
      const container = yield* Synchronize.container<(typeof pendings)[number] | Synchronize.Synchronize>()
      for (const pending of pendings) {
        yield* Synchronize.add(container, pending)
      }
      const calls = yield* Queue.takeN(held, 2)
      yield* ServerCall.complete(calls[1]!, "reply")
      assert.strictEqual(yield* Synchronize.waitMultiple(container), pendings[1])
      assert.strictEqual(yield* Call.finish(pendings[1]!), "reply")
      assert.strictEqual(yield* refusal(Synchronize.waitMultiple(container, 0)), "WaitTimeout")
    }))

  it.effect("call released in a container: the container fails once", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const container = yield* Synchronize.container<Call.Pending.Any>()
      yield* Effect.scoped(Effect.gen(function* () {
        yield* Synchronize.add(container, yield* Call.begin(yield* Call.make(desk), "Hold", "a"))
      }))
      assert.strictEqual(yield* refusal(Synchronize.waitMultiple(container)), "InvalidAsyncHandle")
      assert.strictEqual(yield* refusal(Synchronize.waitMultiple(container)), "NoSync")
    }))

  it.effect("container, its scope closes: releases its events and calls", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.fork(yield* Effect.scope)
      const container = yield* Scope.provide(Synchronize.container<Synchronize.Synchronize>(), scope)
      const event = yield* Synchronize.make()
      yield* Synchronize.add(container, event)
      const waiting = yield* start(Synchronize.waitMultiple(container))
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* outcome(Fiber.join(waiting)), { failure: "NoSync" })
      yield* Synchronize.signal(event)
      assert.strictEqual(yield* refusal(Synchronize.waitMultiple(container)), "NoSync")
    }))

  it.effect("container, its scope closes: forgets signaled events that it has not given", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.fork(yield* Effect.scope)
      const container = yield* Scope.provide(Synchronize.container<Synchronize.Synchronize>(), scope)
      yield* Synchronize.add(container, yield* Synchronize.make(true))
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* refusal(Synchronize.waitMultiple(container)), "NoSync")
    }))
})

describe("what is printed", () => {
  it.effect("event: prints its kind and state", () =>
    Effect.gen(function* () {
      const event = yield* Synchronize.make()
      assert.strictEqual(String(event), `{"_id":"callisto/Synchronize","signaled":false}`)
      yield* Synchronize.signal(event)
      assert.strictEqual(JSON.stringify(event), `{"_id":"callisto/Synchronize","signaled":true}`)
      assert.include(inspect(event, { depth: 9 }), "callisto/Synchronize")
    }))

  it.effect("container: prints its kind and its number of events", () =>
    Effect.gen(function* () {
      const container = yield* Synchronize.container<Synchronize.Synchronize>()
      yield* Synchronize.add(container, yield* Synchronize.make())
      yield* Synchronize.add(container, yield* Synchronize.make(true))
      const json = `{"_id":"callisto/Synchronize/Container","waiting":1,"signaled":1}`
      assert.strictEqual(String(container), json)
      assert.strictEqual(JSON.stringify(container), json)
    }))

  it.effect("evidence of a call: prints its interface, method and state, and nothing of its services", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "secret")
      const json = `{"_id":"callisto/Pending","interface":"Desk","method":"Hold","state":"pending"}`
      assert.strictEqual(String(pending), json)
      assert.strictEqual(JSON.stringify(pending), json)
      assert.notInclude(inspect(pending, { depth: 9 }), "secret")
    }))
})
