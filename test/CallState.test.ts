import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Queue, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Binding, Call, ServerCall } from "../mod.ts"
import { Denied, Desk, type Held, isWaiting, makeDesk, outcome, refusal, settle, start } from "./fixtures.ts"

/** One call object in a certain state, with all that is needed to look at it from both sides. */
interface World {
  readonly call: Call.Call<typeof Desk>
  readonly scope: Scope.Closeable
  /** The evidence of the last call, if there ever was one. */
  readonly evidence: Call.Pending.Any | undefined
  /** Lets the server reply to the pending call. */
  readonly reply: Effect.Effect<void>
  /** What finish gives once the call is completed. */
  readonly result: unknown
  /** The server's handle to a pending call that was handed off. */
  readonly held: Held | undefined
  readonly seen: ReadonlyArray<string>
}

const begun = Effect.fnUntraced(function* (method: "Answer" | "Hold" | "Stay", input: string) {
  const made = yield* makeDesk()
  const outer = yield* Effect.scope
  const bound = yield* Scope.fork(outer)
  const desk = yield* Scope.provide(Binding.local(made.server, Desk), bound)
  const scope = yield* Scope.fork(outer)
  const call = yield* Scope.provide(Call.make(desk), scope)
  const evidence: Call.Pending.Any = yield* Call.begin(call, method as "Hold", input)
  const held = method === "Hold" ? yield* Queue.take(made.held) : undefined
  const reply = held === undefined
    ? Effect.asVoid(Deferred.succeed(made.gate, "replied"))
    : Effect.orDie(ServerCall.complete(held, "replied"))
  return { ...made, bound, scope, call, evidence, held, reply, result: { value: "replied" } as unknown }
})

type Begun = Effect.Success<ReturnType<typeof begun>>

const after = <A, E>(
  method: "Answer" | "Hold" | "Stay",
  input: string,
  then: (world: Begun) => Effect.Effect<A, E>,
  changes: { readonly result?: unknown } = {}
) =>
  Effect.gen(function* () {
    const world = yield* begun(method, input)
    yield* then(world)
    yield* settle
    return { ...world, ...changes }
  })

const nothing = () => Effect.void
const release = ({ scope }: Begun) => Scope.close(scope, Exit.void)
const cancelled = { result: { failure: "CallCancelled" } }
const aborted = { result: { failure: "Denied" } }

/** Every state, reached in several ways. */
const ways: Record<State, Record<string, Effect.Effect<World, unknown, Scope.Scope>>> = {
  idle: {
    "never begun": Effect.gen(function* () {
      const world = yield* begun("Answer", "other")
      yield* Call.finish(world.evidence)
      const scope = yield* Scope.fork(yield* Effect.scope)
      const call = yield* Scope.provide(Call.make(world.desk), scope)
      return { ...world, call, scope, evidence: undefined }
    }),
    "finished after a reply at once": after("Answer", "a", ({ evidence }) => Call.finish(evidence)),
    "finished after a late reply": after(
      "Hold",
      "a",
      ({ evidence, reply }) => Effect.andThen(reply, Call.finish(evidence))
    ),
    "finished after an abort": after("Answer", "deny", ({ evidence }) => Effect.exit(Call.join(evidence))),
    "finished after a cancel": after(
      "Hold",
      "a",
      ({ evidence }) => Effect.andThen(Call.cancel(evidence, { timeout: 0 }), Effect.exit(Call.finish(evidence)))
    ),
    "idle after two calls": after("Answer", "a", ({ call, evidence }) =>
      Effect.gen(function* () {
        yield* Call.finish(evidence)
        yield* Call.finish(yield* Call.begin(call, "Answer", "b"))
      }))
  },
  pending: {
    "pending in a routine": after("Stay", "a", nothing),
    "pending after a hand-off": after("Hold", "a", nothing),
    "pending after a wait that timed out": after("Hold", "a", ({ evidence }) => Effect.exit(Call.wait(evidence, 0))),
    "pending after a join that was interrupted": after(
      "Stay",
      "a",
      ({ evidence }) => Effect.flatMap(start(Call.join(evidence)), Fiber.interrupt)
    )
  },
  cancelling: {
    "pending with a cancel that never gives up": after(
      "Hold",
      "a",
      ({ evidence }) => Call.cancel(evidence, { timeout: "Infinity" })
    ),
    "pending with a cancel that gives up in 2 hours": after(
      "Hold",
      "a",
      ({ evidence }) => Call.cancel(evidence, { timeout: "2 hours" })
    ),
    "pending with a cancel that was shortened": after("Hold", "a", ({ evidence }) =>
      Effect.andThen(
        Call.cancel(evidence, { timeout: "Infinity" }),
        Call.cancel(evidence, { timeout: "2 hours" })
      ))
  },
  completed: {
    "completed by a reply at once": after("Answer", "a", nothing, { result: { value: "answer to a" } }),
    "completed by a late reply": after("Hold", "a", ({ reply }) => reply),
    "completed by a routine that took its time": after("Stay", "a", ({ reply }) => reply),
    "completed by an abort at once": after("Answer", "deny", nothing, aborted),
    "completed by a late abort": after(
      "Hold",
      "a",
      ({ held }) => ServerCall.abort(held!, new Denied({ who: "worker" })),
      aborted
    ),
    "completed by a fault": after("Answer", "fault", nothing, { result: { failure: "RpcFault" } }),
    "completed by an abortive cancel": after(
      "Hold",
      "a",
      ({ evidence }) => Call.cancel(evidence, { timeout: 0 }),
      cancelled
    ),
    "completed by a cancel that gave up": after(
      "Hold",
      "a",
      ({ evidence }) => Effect.andThen(Call.cancel(evidence, { timeout: "1 second" }), TestClock.adjust("1 second")),
      cancelled
    ),
    "completed by a routine that the cancel interrupted": after(
      "Stay",
      "a",
      ({ evidence }) => Call.cancel(evidence, { timeout: "Infinity" }),
      cancelled
    ),
    "completed by a reply that came before the cancel took effect": after(
      "Hold",
      "a",
      ({ evidence, reply }) => Effect.andThen(Call.cancel(evidence, { timeout: "1 second" }), reply)
    ),
    "completed by the loss of the connection": after("Hold", "a", ({ bound }) => Scope.close(bound, Exit.void), {
      result: { failure: "RpcTransportError" }
    })
  },
  released: {
    "released when idle": after("Answer", "a", (world) => Effect.andThen(Call.finish(world.evidence), release(world))),
    "released when pending in a routine": after("Stay", "a", release),
    "released when pending after a hand-off": after("Hold", "a", release),
    "released when a cancel was issued": after(
      "Hold",
      "a",
      (world) => Effect.andThen(Call.cancel(world.evidence, { timeout: "Infinity" }), release(world))
    ),
    "released when completed": after("Answer", "a", release)
  }
}

type State = "idle" | "pending" | "cancelling" | "completed" | "released"

/** What each operation does in each state, cell by cell. `*` marks a cell that changes nothing. */
const table: Record<string, Record<State, string>> = {
  begin: {
    idle: "starts the call",
    pending: "CallPending *",
    cancelling: "CallPending *",
    completed: "CallPending *",
    released: "InvalidAsyncHandle *"
  },
  wait: {
    idle: "CallComplete *",
    pending: "waits",
    cancelling: "waits",
    completed: "returns at once *",
    released: "InvalidAsyncHandle *"
  },
  "wait with timeout 0": {
    idle: "CallComplete *",
    pending: "WaitTimeout *",
    cancelling: "WaitTimeout *",
    completed: "returns at once *",
    released: "InvalidAsyncHandle *"
  },
  "wait with a timeout": {
    idle: "CallComplete *",
    pending: "WaitTimeout after that time *",
    cancelling: "WaitTimeout after that time *",
    completed: "returns at once *",
    released: "InvalidAsyncHandle *"
  },
  state: {
    idle: "idle *",
    pending: "pending *",
    cancelling: "pending, cancel requested *",
    completed: "completed, with its kind *",
    released: "InvalidAsyncHandle *"
  },
  "cancel that never gives up": {
    idle: "CallComplete *",
    pending: "cancel issued",
    cancelling: "CallCancelled *",
    completed: "CallComplete *",
    released: "InvalidAsyncHandle *"
  },
  "cancel that gives up later": {
    idle: "CallComplete *",
    pending: "cancel issued",
    cancelling: "a later deadline: CallCancelled, an earlier one: cancel issued",
    completed: "CallComplete *",
    released: "InvalidAsyncHandle *"
  },
  "cancel at once": {
    idle: "CallComplete *",
    pending: "completes with CallCancelled",
    cancelling: "completes with CallCancelled",
    completed: "CallComplete *",
    released: "InvalidAsyncHandle *"
  },
  finish: {
    idle: "CallComplete *",
    pending: "CallPending *",
    cancelling: "CallPending *",
    completed: "the result, back to idle",
    released: "InvalidAsyncHandle *"
  },
  join: {
    idle: "CallComplete *",
    pending: "waits, then finishes",
    cancelling: "waits, then finishes",
    completed: "the result, back to idle",
    released: "InvalidAsyncHandle *"
  },
  release: {
    idle: "released",
    pending: "orphans, released",
    cancelling: "orphans, released",
    completed: "released, the result is dropped",
    released: "released *"
  },
  "release before the scope closes": {
    idle: "released",
    pending: "orphans, released",
    cancelling: "orphans, released",
    completed: "released, the result is dropped",
    released: "released *"
  },
  "release that lets the server go on": {
    idle: "released",
    pending: "detaches, released",
    cancelling: "detaches, released",
    completed: "released, the result is dropped",
    released: "released *"
  }
}

const tags: Record<State, Call.CallState["_tag"] | "InvalidAsyncHandle"> = {
  idle: "Idle",
  pending: "Pending",
  cancelling: "Pending",
  completed: "Completed",
  released: "InvalidAsyncHandle"
}

/** All that can be seen of a call object without changing it. */
const look = Effect.fnUntraced(function* ({ call, evidence }: World) {
  return {
    state: yield* outcome(Call.state(call)),
    evidence: yield* outcome(Effect.map(Call.pending(call), (found) => Option.getOrUndefined(found) === evidence))
  }
})

/** Checks that the object is still what it was: it can be gone on with, and the pending call can be finished. */
const goesOn = Effect.fnUntraced(function* (world: World, state: State) {
  const { call, evidence, reply, result } = world
  switch (state) {
    case "idle":
      return assert.strictEqual(yield* Call.join(yield* Call.begin(call, "Answer", "next")), "answer to next")
    case "pending":
    case "cancelling":
      yield* reply
      return assert.deepStrictEqual(yield* outcome(Call.join(evidence!)), result)
    case "completed":
      return assert.deepStrictEqual(yield* outcome(Call.finish(evidence!)), result)
    case "released":
      return assert.strictEqual(yield* refusal(Call.begin(call, "Answer", "next")), "InvalidAsyncHandle")
  }
})

const isIdle = Effect.fnUntraced(function* ({ call, evidence }: World) {
  assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
  assert.isTrue(Option.isNone(yield* Call.pending(call)))
  assert.strictEqual(yield* refusal(Call.finish(evidence!)), "CallComplete")
})

const operations: Record<string, (world: World) => Effect.Effect<unknown, unknown>> = {
  begin: ({ call }) => Call.begin(call, "Hold", "second"),
  wait: ({ evidence }) => Call.wait(evidence!),
  "wait with timeout 0": ({ evidence }) => Call.wait(evidence!, 0),
  "wait with a timeout": ({ evidence }) => Call.wait(evidence!, "1 second"),
  state: ({ call }) => Call.state(call),
  "cancel that never gives up": ({ evidence }) => Call.cancel(evidence!, { timeout: "Infinity" }),
  "cancel that gives up later": ({ evidence }) => Call.cancel(evidence!, { timeout: "1 hour" }),
  "cancel at once": ({ evidence }) => Call.cancel(evidence!, { timeout: 0 }),
  finish: ({ evidence }) => Call.finish(evidence!),
  join: ({ evidence }) => Call.join(evidence!),
  release: ({ scope }) => Scope.close(scope, Exit.void),
  "release before the scope closes": ({ call }) => Call.release(call),
  "release that lets the server go on": ({ call }) => Call.release(call, { server: "goOn" })
}

const kinds: Record<string, string> = {
  "completed by a reply at once": "replied",
  "completed by a late reply": "replied",
  "completed by a routine that took its time": "replied",
  "completed by an abort at once": "aborted",
  "completed by a late abort": "aborted",
  "completed by a fault": "aborted",
  "completed by an abortive cancel": "cancelled",
  "completed by a cancel that gave up": "cancelled",
  "completed by a routine that the cancel interrupted": "cancelled",
  "completed by a reply that came before the cancel took effect": "replied",
  "completed by the loss of the connection": "lost"
}

/** Runs the operation and checks what the cell says; a cell with `*` must also leave everything as it was. */
const check = Effect.fnUntraced(function* (operation: string, state: State, way: string, world: World) {
  const cell = table[operation]![state]
  const act = operations[operation]!(world)
  const before = yield* look(world)
  const found = yield* Effect.match(Call.state(world.call), {
    onSuccess: (found) => found,
    onFailure: (error) => error
  })
  assert.strictEqual(found._tag, tags[state])
  if (cell.endsWith(" *")) {
    yield* checkUnchanging(act, way, cell.slice(0, -2))
    assert.deepStrictEqual(yield* look(world), before)
    return yield* goesOn(world, state)
  }
  switch (cell) {
    case "starts the call": {
      const pending = (yield* act) as Call.Pending.Any
      assert.notStrictEqual(pending, world.evidence)
      assert.deepStrictEqual(yield* Call.state(world.call), { _tag: "Pending", cancelRequested: false })
      assert.strictEqual(Option.getOrUndefined(yield* Call.pending(world.call)), pending)
      return
    }
    case "waits": {
      const waiting = yield* start(act)
      assert.isTrue(yield* isWaiting(waiting))
      assert.deepStrictEqual(yield* look(world), before)
      yield* world.reply
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(yield* Call.state(world.call), { _tag: "Completed", kind: "replied" })
      assert.deepStrictEqual(yield* outcome(Call.finish(world.evidence!)), world.result)
      return
    }
    case "waits, then finishes": {
      const waiting = yield* start(act)
      assert.isTrue(yield* isWaiting(waiting))
      assert.deepStrictEqual(yield* look(world), before)
      yield* world.reply
      assert.deepStrictEqual(yield* outcome(Fiber.join(waiting)), world.result)
      return yield* isIdle(world)
    }
    case "cancel issued":
      yield* act
      if (world.held === undefined) {
        // The routine is interrupted, and ends the call.
        assert.deepStrictEqual(yield* outcome(Call.join(world.evidence!)), { failure: "CallCancelled" })
      } else {
        assert.deepStrictEqual(yield* Call.state(world.call), { _tag: "Pending", cancelRequested: true })
        assert.isTrue(yield* ServerCall.testCancel(world.held))
        yield* goesOn(world, "cancelling")
      }
      return yield* isIdle(world)
    case "a later deadline: CallCancelled, an earlier one: cancel issued": {
      const later = Call.cancel(world.evidence!, { timeout: "3 hours" })
      if (way.endsWith("never gives up")) yield* later
      else assert.strictEqual(yield* refusal(later), "CallCancelled")
      yield* act
      assert.strictEqual(yield* refusal(act as Effect.Effect<void, Call.Failure<never>>), "CallCancelled")
      assert.deepStrictEqual(yield* look(world), before)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(yield* outcome(Call.finish(world.evidence!)), { failure: "CallCancelled" })
      return yield* isIdle(world)
    }
    case "completes with CallCancelled":
      yield* act
      assert.deepStrictEqual(yield* Call.state(world.call), { _tag: "Completed", kind: "cancelled" })
      assert.deepStrictEqual(yield* outcome(Call.finish(world.evidence!)), { failure: "CallCancelled" })
      return yield* isIdle(world)
    case "the result, back to idle":
      assert.deepStrictEqual(yield* outcome(act), world.result)
      return yield* isIdle(world)
    case "released":
    case "released, the result is dropped":
      yield* act
      return yield* isReleased(world)
    case "orphans, released": {
      const joining = yield* start(Call.join(world.evidence!))
      const waiting = yield* start(Call.wait(world.evidence!))
      const told = world.held === undefined ? undefined : yield* start(ServerCall.awaitCancel(world.held))
      yield* act
      assert.deepStrictEqual(yield* outcome(Fiber.join(joining)), { failure: "InvalidAsyncHandle" })
      assert.deepStrictEqual(yield* outcome(Fiber.join(waiting)), { failure: "InvalidAsyncHandle" })
      if (told === undefined) {
        yield* settle
        assert.include(world.seen, "Stay was interrupted")
      } else {
        assert.strictEqual(yield* Fiber.join(told), state === "cancelling" ? "Cancelled" : "Orphaned")
        const late = ServerCall.complete(world.held!, "late")
        assert.strictEqual(yield* refusal(late), "InvalidAsyncHandle")
      }
      return yield* isReleased(world)
    }
    case "detaches, released": {
      const joining = yield* start(Call.join(world.evidence!))
      const waiting = yield* start(Call.wait(world.evidence!))
      yield* act
      assert.deepStrictEqual(yield* outcome(Fiber.join(joining)), { failure: "InvalidAsyncHandle" })
      assert.deepStrictEqual(yield* outcome(Fiber.join(waiting)), { failure: "InvalidAsyncHandle" })
      yield* settle
      assert.notInclude(world.seen, "Stay was interrupted")
      // Whoever completes the call is not told that nobody waits for it.
      yield* world.reply
      return yield* isReleased(world)
    }
    default:
      return assert.fail(`no check for ${cell}`)
  }
})

const isReleased = Effect.fnUntraced(function* (world: World) {
  assert.strictEqual(yield* refusal(Call.state(world.call)), "InvalidAsyncHandle")
  yield* goesOn(world, "released")
})

const checkUnchanging = Effect.fnUntraced(
  function* (act: Effect.Effect<unknown, unknown>, way: string, cell: string) {
    switch (cell) {
      case "returns at once":
        return assert.deepStrictEqual(yield* outcome(act), { value: undefined })
      case "released":
        return yield* act
      case "WaitTimeout after that time": {
        const waiting = yield* start(act)
        yield* TestClock.adjust("999 millis")
        assert.isTrue(yield* isWaiting(waiting))
        yield* TestClock.adjust("1 millis")
        return assert.deepStrictEqual(yield* outcome(Fiber.join(waiting)), { failure: "WaitTimeout" })
      }
      case "idle":
        return assert.deepStrictEqual(yield* act, { _tag: "Idle" })
      case "pending":
        return assert.deepStrictEqual(yield* act, { _tag: "Pending", cancelRequested: false })
      case "pending, cancel requested":
        return assert.deepStrictEqual(yield* act, { _tag: "Pending", cancelRequested: true })
      case "completed, with its kind":
        return assert.deepStrictEqual(yield* act, { _tag: "Completed", kind: kinds[way] })
      default:
        return assert.deepStrictEqual(yield* outcome(act), { failure: cell })
    }
  }
)

const takesEvidence = (operation: string): boolean =>
  !["begin", "state"].includes(operation) && !operation.startsWith("release")

for (const [operation, cells] of Object.entries(table)) {
  describe(`${operation} on a call object`, () => {
    for (const [state, cell] of Object.entries(cells) as Array<[State, string]>) {
      for (const [way, make] of Object.entries(ways[state])) {
        // Of an object that was never begun there is no evidence.
        if (way === "never begun" && takesEvidence(operation)) continue
        it.effect(`${way}: ${cell.replace(" *", ", no change")}`, () =>
          Effect.gen(function* () {
            yield* check(operation, state, way, yield* make)
          }))
      }
    }
  })
}
