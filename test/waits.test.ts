/** Every way to wait, for an object in every state. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Queue, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Call, ServerCall, Synchronize } from "../mod.ts"
import { isWaiting, makeDesk, outcome, refusal, start } from "./fixtures.ts"

type Subject = Synchronize.Waitable<{ readonly _tag: string }>

type Timeout = number | "1 minute"

type Wait = Effect.Effect<unknown, { readonly _tag: string }, Scope.Scope>

/** A wait by each form; a missing timeout is no limit. */
const forms: Record<string, (subject: Subject, timeout: Timeout | undefined) => Wait> = {
  wait: (subject, timeout) =>
    Synchronize.isSynchronize(subject)
      ? timeout === undefined ? Synchronize.wait(subject) : Synchronize.wait(subject, timeout)
      : timeout === undefined
      ? Call.wait(subject as unknown as Call.Pending.Any)
      : Call.wait(subject as unknown as Call.Pending.Any, timeout),
  "waitAny of one": (subject, timeout) => any([subject], timeout),
  "waitAny behind an unsignaled event": (subject, timeout) =>
    Effect.flatMap(Synchronize.make(), (event) => any([event, subject], timeout)),
  "waitAll of one": (subject, timeout) => all([subject], timeout),
  "waitAll behind a signaled event": (subject, timeout) =>
    Effect.flatMap(Synchronize.make(true), (event) => all([event, subject], timeout)),
  waitMultiple: (subject, timeout) =>
    Effect.gen(function* () {
      const container = yield* Synchronize.container<Subject>()
      yield* Synchronize.add(container, subject)
      return yield* timeout === undefined
        ? Synchronize.waitMultiple(container)
        : Synchronize.waitMultiple(container, timeout)
    })
}

const any = (subjects: ReadonlyArray<Subject>, timeout: Timeout | undefined): Wait =>
  timeout === undefined ? Synchronize.waitAny(subjects) : Synchronize.waitAny(subjects, timeout)

const all = (subjects: ReadonlyArray<Subject>, timeout: Timeout | undefined): Wait =>
  timeout === undefined ? Synchronize.waitAll(subjects) : Synchronize.waitAll(subjects, timeout)

/** A pending call, with what moves it on. */
const begun = Effect.gen(function* () {
  const { desk, held } = yield* makeDesk()
  const scope = yield* Scope.fork(yield* Effect.scope)
  const call = yield* Scope.provide(Call.make(desk), scope)
  const pending = yield* Call.begin(call, "Hold", "a")
  const complete = Effect.flatMap(Queue.take(held), (serverCall) => ServerCall.complete(serverCall, "reply"))
  return { pending, complete: Effect.orDie(complete), release: Scope.close(scope, Exit.void) }
}).pipe(Effect.orDie)

type Made = Effect.Effect<Subject, never, Scope.Scope>

/** An object in each state, and what every wait for it does: it goes on, waits, or is refused. */
const states: Record<string, { readonly make: Made; readonly expected: "goes on" | "waits" | (string & {}) }> = {
  "a signaled event": { make: Synchronize.make(true), expected: "goes on" },
  "an event that is not signaled": { make: Synchronize.make(), expected: "waits" },
  "an event that was reset": {
    make: Effect.tap(Synchronize.make(true), Synchronize.reset),
    expected: "waits"
  },
  "a pending call": { make: Effect.map(begun, ({ pending }) => pending), expected: "waits" },
  "a pending call with a cancel issued": {
    make: Effect.map(
      Effect.tap(begun, ({ pending }) => Effect.orDie(Call.cancel(pending, { timeout: "1 hour" }))),
      ({ pending }) => pending
    ),
    expected: "waits"
  },
  "a completed call": {
    make: Effect.map(Effect.tap(begun, ({ complete }) => complete), ({ pending }) => pending),
    expected: "goes on"
  },
  "a finished call": {
    make: Effect.gen(function* () {
      const { complete, pending } = yield* begun
      yield* complete
      yield* Effect.orDie(Call.finish(pending))
      return pending
    }),
    expected: "CallComplete"
  },
  "a call released while it was pending": {
    make: Effect.map(Effect.tap(begun, ({ release }) => release), ({ pending }) => pending),
    expected: "InvalidAsyncHandle"
  },
  "a call released after it had completed": {
    make: Effect.gen(function* () {
      const { complete, pending, release } = yield* begun
      yield* complete
      yield* release
      return pending
    }),
    expected: "InvalidAsyncHandle"
  }
}

for (const [form, wait] of Object.entries(forms)) {
  describe(form, () => {
    for (const [state, { expected, make }] of Object.entries(states)) {
      it.effect(`${form}, ${state}: ${expected}, whatever the timeout`, () =>
        Effect.gen(function* () {
          const subject = yield* make
          if (expected === "waits") {
            assert.strictEqual(yield* refusal(Effect.scoped(wait(subject, 0))), "WaitTimeout")
            const limited = yield* start(Effect.scoped(wait(subject, "1 minute")))
            assert.isTrue(yield* isWaiting(limited))
            const unlimited = yield* start(Effect.scoped(wait(subject, undefined)))
            yield* TestClock.adjust("1 minute")
            assert.deepStrictEqual(yield* outcome(Fiber.join(limited)), { failure: "WaitTimeout" })
            assert.isTrue(yield* isWaiting(unlimited))
            yield* Fiber.interrupt(unlimited)
            return
          }
          for (const timeout of [0, "1 minute", undefined] as const) {
            const waited = Effect.scoped(wait(subject, timeout))
            if (expected === "goes on") yield* waited
            else assert.strictEqual(yield* refusal(waited), expected)
          }
        }))
    }

    it.effect(`${form}, call released meanwhile: refuses those who wait, whatever their timeout`, () =>
      Effect.gen(function* () {
        const { pending, release } = yield* begun
        const limited = yield* start(Effect.scoped(wait(pending, "1 minute")))
        const unlimited = yield* start(Effect.scoped(wait(pending, undefined)))
        assert.isTrue(yield* isWaiting(unlimited))
        yield* release
        assert.deepStrictEqual(yield* outcome(Fiber.join(limited)), { failure: "InvalidAsyncHandle" })
        assert.deepStrictEqual(yield* outcome(Fiber.join(unlimited)), { failure: "InvalidAsyncHandle" })
      }))

    it.effect(`${form}, timeout that is no duration of at least 0: dies with a TypeError`, () =>
      Effect.gen(function* () {
        const event = yield* Synchronize.make(true)
        for (const timeout of [-1, NaN, -Infinity]) {
          const defect = yield* Effect.catchDefect(Effect.scoped(wait(event, timeout)), Effect.succeed)
          assert.instanceOf(defect, TypeError)
          assert.include(
            (defect as TypeError).message,
            `timeout is out of range, got ${timeout}, expected a duration of at least 0 ms`
          )
        }
      }))

    it.effect(`${form}, timeout of 30 days: waits that long`, () =>
      Effect.gen(function* () {
        const waiting = yield* start(Effect.scoped(wait(yield* Synchronize.make(), 30 * 86_400_000)))
        yield* TestClock.adjust("29 days")
        assert.isTrue(yield* isWaiting(waiting))
        yield* TestClock.adjust("1 day")
        assert.deepStrictEqual(yield* outcome(Fiber.join(waiting)), { failure: "WaitTimeout" })
      }))
  })
}

describe("several objects", () => {
  const released = Effect.flatMap(begun, ({ pending, release }) => Effect.as(release, pending))

  it.effect("a released call beside a signaled event: waitAny refuses, in either order", () =>
    Effect.gen(function* () {
      const [event, pending] = [yield* Synchronize.make(true), yield* released]
      for (const both of [[event, pending], [pending, event]] as const) {
        assert.strictEqual(yield* refusal(Synchronize.waitAny(both)), "InvalidAsyncHandle")
        assert.strictEqual(yield* refusal(Synchronize.waitAny(both, 0)), "InvalidAsyncHandle")
      }
    }))

  it.effect("a released call beside an event that is not signaled: waitAll refuses, also with timeout 0", () =>
    Effect.gen(function* () {
      const both = [yield* Synchronize.make(), yield* released] as const
      assert.strictEqual(yield* refusal(Synchronize.waitAll(both)), "InvalidAsyncHandle")
      assert.strictEqual(yield* refusal(Synchronize.waitAll(both, 0)), "InvalidAsyncHandle")
    }))

  it.effect("a completed call released while another object is missing: waitAll is refused at once", () =>
    Effect.gen(function* () {
      const { complete, pending, release } = yield* begun
      yield* complete
      const waiting = yield* start(Synchronize.waitAll([pending, yield* Synchronize.make()]))
      assert.isTrue(yield* isWaiting(waiting))
      yield* release
      assert.deepStrictEqual(yield* outcome(Fiber.join(waiting)), { failure: "InvalidAsyncHandle" })
    }))

  it.effect("a call released after a container saw it complete: the container refuses it, once", () =>
    Effect.gen(function* () {
      const { complete, pending, release } = yield* begun
      const container = yield* Synchronize.container<typeof pending>()
      yield* Synchronize.add(container, pending)
      yield* complete
      yield* release
      assert.strictEqual(yield* refusal(Synchronize.waitMultiple(container, 0)), "InvalidAsyncHandle")
      assert.strictEqual(yield* refusal(Synchronize.waitMultiple(container, 0)), "NoSync")
    }))

  it.effect("an interrupted wait for all: is not woken again by what it waited for", () =>
    Effect.gen(function* () {
      const [a, b] = [yield* Synchronize.make(), yield* Synchronize.make()]
      const waiting = yield* start(Synchronize.waitAll([a, b]))
      yield* Fiber.interrupt(waiting)
      yield* Synchronize.signal(a)
      yield* Synchronize.signal(b)
      yield* Synchronize.waitAll([a, b], 0)
    }))
})

describe("a chain of 800 that wake each other", () => {
  const length = 800

  /** Each link waits for its own event and signals the next one. */
  const chain = (wait: (event: Synchronize.Synchronize) => Wait) =>
    Effect.gen(function* () {
      const events = yield* Effect.forEach(Array.from({ length: length + 1 }), () => Synchronize.make())
      const links = yield* Effect.forEach(
        events.slice(0, length),
        (event, i) => start(Effect.andThen(wait(event), Synchronize.signal(events[i + 1]!)))
      )
      yield* Synchronize.signal(events[0]!)
      yield* Effect.forEach(links, Fiber.join)
      yield* Synchronize.wait(events[length]!, 0)
    })

  for (const [form, wait] of Object.entries(forms)) {
    it.effect(`${form}: reaches the last one`, () => chain((event) => wait(event, undefined)))
  }

  it.effect("release of call objects: reaches the last one", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const links = yield* Effect.forEach(Array.from({ length }), () =>
        Effect.gen(function* () {
          const scope = yield* Scope.fork(yield* Effect.scope)
          const pending = yield* Call.begin(yield* Scope.provide(Call.make(desk), scope), "Hold", "a")
          return { pending, release: Scope.close(scope, Exit.void) }
        }))
      const joins = yield* Effect.forEach(links, ({ pending }, i) =>
        start(Effect.andThen(Effect.flip(Call.join(pending)), links[i + 1]?.release ?? Effect.void)))
      yield* links[0]!.release
      yield* Effect.forEach(joins, Fiber.join)
    }))
})
