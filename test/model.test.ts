/**
 * Random interleavings of all operations, by several fibers on several call objects, against a small reference model.
 *
 * The model is written from the documented rules alone: it knows nothing of the library's tables.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Queue, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import fc from "fast-check"
import { Binding, Call, Interface, Manager, Server, ServerCall, Synchronize } from "../mod.ts"
import { budgetOf, report, seed } from "./budget.ts"

class Refused extends Schema.TaggedError<Refused>()("Refused", { why: Schema.Int }) {}

const IModel = Interface.make("IModel", {
  uuid: "5d2a1f0e-6b1c-4c0e-8f57-1f2e3d4c5b6a",
  version: [1, 0],
  methods: {
    /** Answers at once. */
    Now: Interface.method({ in: Schema.Int, out: Schema.Int, aborts: [Interface.abort(77, Refused)] }),
    /** Answers when the test says so; a cancel interrupts it. */
    Later: Interface.method({ in: Schema.Int, out: Schema.Int, aborts: [Interface.abort(77, Refused)] }),
    /** The same, but a cancel only sets its flag. */
    Stubborn: Interface.method({ in: Schema.Int, out: Schema.Int, aborts: [Interface.abort(77, Refused)] }),
    /** Handed off: answered by the test through the server call. */
    Kept: Interface.method({ in: Schema.Int, out: Schema.Int, aborts: [Interface.abort(77, Refused)] })
  }
})

type MethodName = "Now" | "Later" | "Stubborn" | "Kept"
type Pending = Call.Pending<typeof IModel, MethodName>

// ----------------------------------------------------------------------------
// the reference model
// ----------------------------------------------------------------------------

type Outcome = "value" | "Refused" | "CallCancelled"

interface ModelCall {
  readonly id: number
  readonly method: MethodName
  state: "pending" | "cancelling" | "completed"
  deadline: number
  outcome: Outcome | undefined
  completedAt: number
  /** Whether the server still works on it. */
  server: "open" | "ended"
  /** How many notifications were asked for. */
  notifications: number
}

class ModelObject {
  current: ModelCall | undefined = undefined
  released = false
}

/** What an operation is expected to give: the tag of a failure, or `ok`. */
const refusalFor = (
  object: ModelObject,
  call: ModelCall | undefined
): "InvalidAsyncHandle" | "CallComplete" | undefined =>
  object.released ? "InvalidAsyncHandle" : call === undefined || object.current !== call ? "CallComplete" : undefined

// ----------------------------------------------------------------------------
// operations
// ----------------------------------------------------------------------------

const object = fc.nat({ max: 2 })

const operation = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constant("begin" as const),
      object,
      method: fc.constantFrom<MethodName>("Now", "Later", "Later", "Stubborn", "Kept", "Kept"),
      ok: fc.boolean()
    })
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("poll" as const), object, stale: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("finish" as const), object, stale: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("join" as const), object }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("interruptJoin" as const), object }) },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant("cancel" as const),
      object,
      stale: fc.boolean(),
      timeout: fc.constantFrom(0, 10, 30, Infinity)
    })
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("state" as const), object }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("pending" as const), object }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("waitAny" as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant("waitFor" as const), object, timeout: fc.constantFrom(1, 10, 20) })
  },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant("notify" as const), object, stale: fc.boolean(), callback: fc.boolean() })
  },
  {
    weight: 4,
    arbitrary: fc.record({ op: fc.constant("answer" as const), which: fc.nat({ max: 5 }), ok: fc.boolean() })
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("adjust" as const), millis: fc.constantFrom(5, 10, 25) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("release" as const), object }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant("invoke" as const),
      method: fc.constantFrom<MethodName>("Now", "Later", "Kept"),
      interrupt: fc.boolean()
    })
  }
)

const fibers = 4

/** Each operation is made by one of several fibers. */
const scheduled = fc.record({ by: fc.nat({ max: fibers - 1 }), operation })

type Operation = typeof operation extends fc.Arbitrary<infer O> ? O : never
type Scheduled = typeof scheduled extends fc.Arbitrary<infer O> ? O : never

/** A manager's call that the test has not answered yet. */
interface Open {
  readonly id: number
  readonly answer: (ok: boolean) => Effect.Effect<boolean>
}

const tagOf = (exit: Exit.Exit<unknown, unknown>): string => {
  if (exit._tag === "Success") return "value"
  const reason = exit.cause.reasons.find((reason) => reason._tag === "Fail")
  return reason === undefined
    ? exit.cause.reasons.map((reason) => reason._tag).join()
    : (reason.error as { _tag: string })._tag
}

const runSchedule = (schedule: ReadonlyArray<Scheduled>) =>
  Effect.gen(function* () {
    const open = new Map<number, Open>()
    let now = 0
    let nextId = 0
    let ran = 0

    const reply = (id: number, ok: boolean) => ok ? Effect.succeed(id) : Effect.fail(new Refused({ why: id }))
    const later = (id: number) =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<number, Refused>()
        open.set(id, { id, answer: (ok) => Deferred.completeWith(gate, reply(id, ok)) })
        return yield* Deferred.await(gate)
      }).pipe(Effect.ensuring(Effect.sync(() => open.delete(id))))

    const manager = Manager.make(IModel, {
      Now: (id) => id % 2 === 0 ? Effect.succeed(id) : Effect.fail(new Refused({ why: id })),
      Later: later,
      Stubborn: later,
      Kept: Manager.handOff((id, call) =>
        Effect.sync(() => {
          open.set(id, {
            id,
            answer: (ok) =>
              (ok ? ServerCall.complete(call, id) : ServerCall.abort(call, new Refused({ why: id }))).pipe(
                Effect.isSuccess,
                Effect.ensuring(Effect.sync(() => open.delete(id)))
              )
          })
        })
      )
    }, { cancellation: { Stubborn: "cooperative" } })

    const scope = yield* Scope.make()
    const server = yield* Scope.provide(Server.make([manager], { grace: 0 }), scope)
    const binding = yield* Scope.provide(Binding.local(server, IModel), scope)

    const scopes = [yield* Scope.make(), yield* Scope.make(), yield* Scope.make()] as const
    const calls = yield* Effect.forEach(scopes, (scope) => Scope.provide(Call.make(binding), scope))
    const objects = [new ModelObject(), new ModelObject(), new ModelObject()] as const
    const evidence: Array<Pending | undefined> = [undefined, undefined, undefined]
    const stale: Array<Pending | undefined> = [undefined, undefined, undefined]
    const joins: Array<
      {
        readonly object: number
        readonly call: ModelCall
        readonly fiber: Fiber.Fiber<number, { readonly _tag: string }>
      }
    > = []
    const waits: Array<
      {
        readonly object: number
        readonly call: ModelCall
        readonly until: number
        readonly fiber: Fiber.Fiber<void, { readonly _tag: string }>
      }
    > = []
    const live = new Map<number, ModelCall>()
    const queue = yield* Queue.unbounded<Call.Completion<number, Pending>>()
    let called = 0
    let expectedCalls = 0

    const complete = (call: ModelCall, outcome: Outcome, at = now) => {
      if (call.state !== "completed") {
        call.state = "completed"
        call.outcome = outcome
        call.completedAt = at
        call.deadline = Infinity
        expectedCalls += call.notifications
      }
    }
    /** The server's answer, which reaches the client unless the call is over for it. */
    const answered = (call: ModelCall, outcome: Outcome) => {
      if (call.server === "ended") return
      call.server = "ended"
      live.delete(call.id)
      complete(call, outcome)
    }
    const cancelled = (call: ModelCall) => {
      // The interrupted fiber answers "cancelled"; the others go on.
      if (call.method === "Later") answered(call, "CallCancelled")
    }
    /** Joins that were waiting have finished the call: the first one has its result, the others come too late. */
    const settleJoins = Effect.gen(function* () {
      for (let i = 0; i < joins.length;) {
        const { call, fiber, object: at } = joins[i]!
        const target = objects[at]!
        if (!target.released && call.state !== "completed") {
          assert.isUndefined(fiber.pollUnsafe(), "a join ended though its call is pending")
          i++
          continue
        }
        const exit = yield* Fiber.await(fiber)
        if (target.current === call && call.state === "completed") {
          assert.strictEqual(tagOf(exit), call.outcome)
          target.current = undefined
          stale[at] = evidence[at]
          evidence[at] = undefined
        } else {
          // Released while waiting, or finished by somebody who was first.
          assert.include(["InvalidAsyncHandle", "CallComplete"], tagOf(exit))
        }
        joins.splice(i, 1)
      }
    })

    /** A wait ends with the call, with its object, or with its own time. */
    const settleWaits = Effect.gen(function* () {
      for (let i = 0; i < waits.length;) {
        const { call, fiber, object: at, until } = waits[i]!
        const ended = call.state === "completed" && call.completedAt <= until
          ? "value"
          : now >= until
          ? "WaitTimeout"
          : objects[at]!.released
          ? "InvalidAsyncHandle"
          : undefined
        // At one and the same moment either may be first.
        const expected = ended === "value" && call.completedAt === until ? ["value", "WaitTimeout"] : ended && [ended]
        if (expected === undefined) {
          assert.isUndefined(fiber.pollUnsafe(), "a wait ended early")
          i++
          continue
        }
        assert.include(expected, tagOf(yield* Fiber.await(fiber)))
        waits.splice(i, 1)
      }
    })

    const step = (operation: Operation): Effect.Effect<void, unknown> =>
      Effect.gen(function* () {
        ran++
        switch (operation.op) {
          case "begin": {
            const target = objects[operation.object]!
            const id = nextId++ * 2 + (operation.ok ? 0 : 1)
            const exit = yield* Effect.exit(Call.begin(calls[operation.object]!, operation.method as "Now", id))
            if (target.released) return assert.strictEqual(tagOf(exit), "InvalidAsyncHandle")
            if (target.current !== undefined) return assert.strictEqual(tagOf(exit), "CallPending")
            assert.strictEqual(exit._tag, "Success")
            const call: ModelCall = {
              id,
              method: operation.method,
              state: "pending",
              deadline: Infinity,
              outcome: undefined,
              completedAt: Infinity,
              server: "open",
              notifications: 0
            }
            target.current = call
            evidence[operation.object] = (exit as Exit.Success<Pending, never>).value
            live.set(id, call)
            if (operation.method === "Now") answered(call, operation.ok ? "value" : "Refused")
            return
          }
          case "poll": {
            const at = operation.object
            const pending = operation.stale ? stale[at] : evidence[at]
            if (pending === undefined) return
            const target = objects[at]!
            const call = operation.stale ? undefined : target.current
            const tag = tagOf(yield* Effect.exit(Call.wait(pending, 0)))
            const expected = refusalFor(target, call) ?? (call!.state === "completed" ? "value" : "WaitTimeout")
            return assert.strictEqual(tag, expected)
          }
          case "finish": {
            const at = operation.object
            const pending = operation.stale ? stale[at] : evidence[at]
            if (pending === undefined) return
            const target = objects[at]!
            const call = operation.stale ? undefined : target.current
            const exit = yield* Effect.exit(Call.finish(pending))
            const refusal = refusalFor(target, call)
            if (refusal !== undefined) return assert.strictEqual(tagOf(exit), refusal)
            if (call!.state !== "completed") return assert.strictEqual(tagOf(exit), "CallPending")
            assert.strictEqual(tagOf(exit), call!.outcome)
            if (exit._tag === "Success") assert.strictEqual(exit.value, call!.id)
            target.current = undefined
            stale[at] = pending
            evidence[at] = undefined
            return
          }
          case "join": {
            const pending = evidence[operation.object]
            const call = objects[operation.object]!.current
            if (pending === undefined || call === undefined) return
            const fiber = yield* Effect.forkChild(Call.join(pending), { startImmediately: true })
            joins.push({ object: operation.object, call, fiber })
            return
          }
          case "interruptJoin": {
            const index = joins.findIndex((join) => join.object === operation.object)
            if (index < 0) return
            const [join] = joins.splice(index, 1)
            yield* Fiber.interrupt(join!.fiber)
            return
          }
          case "cancel": {
            const at = operation.object
            const pending = operation.stale ? stale[at] : evidence[at]
            if (pending === undefined) return
            const target = objects[at]!
            const call = operation.stale ? undefined : target.current
            const tag = tagOf(yield* Effect.exit(Call.cancel(pending, { timeout: operation.timeout })))
            const refusal = refusalFor(target, call)
            if (refusal !== undefined) return assert.strictEqual(tag, refusal)
            if (call!.state === "completed") return assert.strictEqual(tag, "CallComplete")
            const deadline = now + operation.timeout
            if (call!.state === "cancelling") {
              if (deadline >= call!.deadline) return assert.strictEqual(tag, "CallCancelled")
              assert.strictEqual(tag, "value")
              call!.deadline = deadline
              if (operation.timeout === 0) complete(call!, "CallCancelled")
              return
            }
            assert.strictEqual(tag, "value")
            call!.state = "cancelling"
            call!.deadline = deadline
            if (operation.timeout === 0) complete(call!, "CallCancelled")
            cancelled(call!)
            return
          }
          case "state": {
            const target = objects[operation.object]!
            const exit = yield* Effect.exit(Call.state(calls[operation.object]!))
            if (target.released) return assert.strictEqual(tagOf(exit), "InvalidAsyncHandle")
            const state = (exit as Exit.Success<Call.CallState, never>).value
            const call = target.current
            if (call === undefined) return assert.deepStrictEqual(state, { _tag: "Idle" })
            if (call.state !== "completed") {
              return assert.deepStrictEqual(state, { _tag: "Pending", cancelRequested: call.state === "cancelling" })
            }
            const kind = call.outcome === "value" ? "replied" : call.outcome === "Refused" ? "aborted" : "cancelled"
            return assert.deepStrictEqual(state, { _tag: "Completed", kind })
          }
          case "pending": {
            const target = objects[operation.object]!
            const exit = yield* Effect.exit(Call.pending(calls[operation.object]!))
            if (target.released) return assert.strictEqual(tagOf(exit), "InvalidAsyncHandle")
            const found = (exit as Exit.Success<Option.Option<unknown>, never>).value
            return assert.strictEqual(Option.getOrUndefined(found), evidence[operation.object])
          }
          case "waitAny": {
            const held = evidence.flatMap((pending, at) =>
              pending !== undefined && !objects[at]!.released ? [{ at, pending }] : []
            )
            const exit = yield* Effect.exit(Synchronize.waitAny(held.map(({ pending }) => pending), 0))
            if (held.length === 0) return assert.strictEqual(tagOf(exit), "NoSync")
            const first = held.find(({ at }) => objects[at]!.current!.state === "completed")
            if (first === undefined) return assert.strictEqual(tagOf(exit), "WaitTimeout")
            return assert.strictEqual((exit as Exit.Success<unknown, never>).value, first.pending)
          }
          case "waitFor": {
            const pending = evidence[operation.object]
            const call = objects[operation.object]!.current
            if (pending === undefined || call === undefined) return
            const fiber = yield* Effect.forkChild(Call.wait(pending, operation.timeout), { startImmediately: true })
            waits.push({ object: operation.object, call, until: now + operation.timeout, fiber })
            return
          }
          case "notify": {
            const at = operation.object
            const pending = operation.stale ? stale[at] : evidence[at]
            if (pending === undefined) return
            const call = operation.stale ? undefined : objects[at]!.current
            const tag = tagOf(
              yield* Effect.exit(
                operation.callback
                  ? Call.onComplete(pending, Effect.sync(() => called++))
                  : Call.notify(pending, queue, at)
              )
            )
            const refusal = refusalFor(objects[at]!, call)
            if (refusal !== undefined) return assert.strictEqual(tag, refusal)
            assert.strictEqual(tag, "value")
            if (call!.state === "completed") expectedCalls++
            else call!.notifications++
            return
          }
          case "answer": {
            const entry = [...open.values()][operation.which % Math.max(1, open.size)]
            if (entry === undefined) return
            const call = live.get(entry.id)
            const done = yield* entry.answer(operation.ok)
            assert.strictEqual(done, call !== undefined && call.server === "open")
            if (call !== undefined) answered(call, operation.ok ? "value" : "Refused")
            return
          }
          case "adjust": {
            yield* TestClock.adjust(operation.millis)
            now += operation.millis
            for (const { current: call } of objects) {
              if (call?.state === "cancelling" && call.deadline <= now) complete(call, "CallCancelled", call.deadline)
            }
            return
          }
          case "release": {
            const target = objects[operation.object]!
            yield* Scope.close(scopes[operation.object]!, Exit.void)
            const call = target.current
            target.released = true
            target.current = undefined
            if (call !== undefined && call.server === "open" && call.state !== "completed") {
              call.server = "ended"
              live.delete(call.id)
            }
            return
          }
          case "invoke": {
            const id = nextId++ * 2
            const fiber = yield* Effect.forkChild(Call.invoke(binding, operation.method as "Now", id), {
              startImmediately: true
            })
            if (operation.method === "Now") return assert.strictEqual(tagOf(yield* Fiber.await(fiber)), "value")
            assert.isUndefined(fiber.pollUnsafe())
            if (operation.interrupt) {
              yield* Fiber.interrupt(fiber)
              // A kept call goes on for the server: the cancel is cooperative there, its answer is discarded.
              if (operation.method === "Kept") assert.isTrue(yield* open.get(id)!.answer(true))
              return
            }
            yield* open.get(id)!.answer(true)
            return assert.strictEqual(tagOf(yield* Fiber.await(fiber)), "value")
          }
        }
      })

    const inboxes = yield* Effect.forEach(Array.from({ length: fibers }), () => Queue.unbounded<Effect.Effect<void>>())
    const workers = yield* Effect.forEach(inboxes, (inbox) =>
      Effect.forkChild(Effect.forever(Effect.flatten(Queue.take(inbox)))))

    for (const { by, operation } of schedule) {
      const done = yield* Deferred.make<void, unknown>()
      yield* Queue.offer(
        inboxes[by]!,
        Effect.asVoid(Effect.flatMap(Effect.exit(step(operation)), (exit) =>
          Deferred.done(done, exit)))
      )
      yield* Deferred.await(done)
      yield* settleWaits
      yield* settleJoins
      called += yield* Queue.clear(queue).pipe(Effect.map((posted) => posted.length))
      assert.strictEqual(called, expectedCalls, `completions after ${operation.op}`)
      const inProgress = yield* Server.calls(server)
      assert.strictEqual(inProgress.length, live.size, `calls in progress after ${operation.op}`)
    }

    yield* Fiber.interruptAll([...joins, ...waits].map(({ fiber }) => fiber))
    yield* Effect.forEach(workers, Fiber.interrupt)
    yield* Effect.forEach(scopes, (scope) => Scope.close(scope, Exit.void))
    yield* Scope.close(scope, Exit.void)
    assert.strictEqual((yield* Server.calls(server)).length, 0)
    return ran
  })

describe("call objects against a reference model", () => {
  const steps = budgetOf(100_000)

  it.effect(
    `${steps} random steps, seed ${seed}: call objects behave as the reference model`,
    () =>
      Effect.gen(function* () {
        const context = yield* Effect.context<never>()
        const schedules = fc.array(scheduled, { maxLength: 400, size: "max" })
        let ran = 0
        for (let batch = 0; ran < steps; batch++) {
          const property = fc.asyncProperty(schedules, async (schedule) => {
            ran += await Effect.runPromiseWith(context)(runSchedule(schedule).pipe(Effect.provide(TestClock.layer())))
          })
          yield* Effect.promise(() => fc.assert(property, { seed: seed + batch, numRuns: 100 }))
        }
        yield* Effect.sync(() => report("model", `${ran} steps`))
      }),
    120_000
  )
})
