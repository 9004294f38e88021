import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, pipe, Queue, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Binding, Call, Manager, Server, ServerCall, Status } from "../mod.ts"
import {
  Denied,
  Desk,
  type Held,
  isWaiting,
  type Job1,
  makeDesk,
  makeJob,
  outcome,
  refusal,
  settle,
  start
} from "./fixtures.ts"

type Run = ServerCall.ServerCall<(typeof Job1)["methods"]["Run"]>

const infinitely = { timeout: "Infinity" } as const

/** A call that was handed off. */
const makeHeld = Effect.gen(function* () {
  const made = yield* makeDesk()
  const scope = yield* Scope.fork(yield* Effect.scope)
  const call = yield* Scope.provide(Call.make(made.desk), scope)
  const pending = yield* Call.begin(call, "Hold", "a")
  return { ...made, scope, call, pending, serverCall: yield* Queue.take(made.held) }
})

describe("a server call that was handed off", () => {
  it.effect("is completed from any fiber, any time later", () =>
    Effect.gen(function* () {
      const { pending, serverCall } = yield* makeHeld
      yield* start(Effect.delay(ServerCall.complete(serverCall, "reply"), "1000 days"))
      const joining = yield* start(Call.join(pending))
      assert.isTrue(yield* isWaiting(joining))
      yield* TestClock.adjust("1000 days")
      assert.strictEqual(yield* Fiber.join(joining), "reply")
    }))

  it.effect("is aborted with a declared error, which carries its fields and no out parameters", () =>
    Effect.gen(function* () {
      const { pending, serverCall } = yield* makeHeld
      yield* ServerCall.abort(serverCall, new Denied({ who: "worker" }))
      assert.deepInclude(yield* Effect.flip(Call.finish(pending)), { _tag: "Denied", who: "worker" })
    }))

  it.effect("is aborted with a number", () =>
    Effect.gen(function* () {
      const { pending, serverCall } = yield* makeHeld
      yield* pipe(serverCall, ServerCall.abort(new Status.RpcFault({ code: 1460 })))
      assert.deepInclude(yield* Effect.flip(Call.finish(pending)), { _tag: "RpcFault", code: 1460 })
    }))

  type EndFailure = Status.InvalidAsyncHandle | Status.BadStubData | Status.RpcTransportError
  const ends: Record<string, (call: Held) => Effect.Effect<void, EndFailure>> = {
    complete: (call) => ServerCall.complete(call, "reply"),
    abort: (call) => ServerCall.abort(call, new Denied({ who: "worker" })),
    "run of a success": (call) => ServerCall.run(call, Effect.succeed("reply")),
    "run of a failure": (call) => ServerCall.run(call, Effect.fail(new Denied({ who: "worker" })))
  }
  for (const [first, end] of Object.entries(ends)) {
    for (const [second, again] of Object.entries(ends)) {
      it.effect(`is ended by ${first}, and ${second} after it is refused`, () =>
        Effect.gen(function* () {
          const { pending, serverCall } = yield* makeHeld
          yield* end(serverCall)
          assert.strictEqual(yield* refusal(again(serverCall)), "InvalidAsyncHandle")
          const replied = first === "complete" || first === "run of a success"
          assert.deepStrictEqual(
            yield* outcome(Call.finish(pending)),
            replied ? { value: "reply" } : { failure: "Denied" }
          )
        }))
    }
    it.effect(`is over for the server when its client is gone: ${first} is refused`, () =>
      Effect.gen(function* () {
        const { scope, serverCall } = yield* makeHeld
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(yield* refusal(end(serverCall)), "InvalidAsyncHandle")
      }))
  }

  it.effect("is won by one of many fibers that complete it", () =>
    Effect.gen(function* () {
      const { pending, serverCall } = yield* makeHeld
      const exits = yield* Effect.forEach(
        ["a", "b", "c"],
        (reply) => outcome(Effect.andThen(Effect.yieldNow, Effect.as(ServerCall.complete(serverCall, reply), reply))),
        { concurrency: "unbounded" }
      )
      const won = exits.filter((exit) => JSON.stringify(exit).includes("value"))
      assert.strictEqual(won.length, 1)
      assert.deepStrictEqual(yield* outcome(Call.finish(pending)), won[0])
    }))

  it.effect("is cancelled cooperatively: the flag is set, and it may be completed normally", () =>
    Effect.gen(function* () {
      const { pending, serverCall } = yield* makeHeld
      const told = yield* start(ServerCall.awaitCancel(serverCall))
      assert.isTrue(yield* isWaiting(told))
      assert.isFalse(yield* ServerCall.testCancel(serverCall))
      yield* Call.cancel(pending, infinitely)
      assert.strictEqual(yield* Fiber.join(told), "Cancelled")
      assert.isTrue(yield* ServerCall.testCancel(serverCall))
      assert.isTrue(yield* ServerCall.testCancel(serverCall))
      yield* ServerCall.complete(serverCall, "reply")
      assert.strictEqual(yield* Call.finish(pending), "reply")
    }))

  it.effect("tells those who await its cancel that it ended", () =>
    Effect.gen(function* () {
      const { serverCall } = yield* makeHeld
      const told = yield* start(ServerCall.awaitCancel(serverCall))
      yield* ServerCall.complete(serverCall, "reply")
      assert.strictEqual(yield* Fiber.join(told), "Ended")
      assert.strictEqual(yield* ServerCall.awaitCancel(serverCall), "Ended")
      assert.isFalse(yield* ServerCall.testCancel(serverCall))
    }))

  it.effect("tells those who await its cancel that the call object was released", () =>
    Effect.gen(function* () {
      const { scope, serverCall } = yield* makeHeld
      const told = yield* start(ServerCall.awaitCancel(serverCall))
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* Fiber.join(told), "Orphaned")
      assert.isTrue(yield* ServerCall.testCancel(serverCall))
    }))

  it.effect("tells those who await its cancel that the connection was lost", () =>
    Effect.gen(function* () {
      const { held, server } = yield* makeDesk()
      const bound = yield* Scope.fork(yield* Effect.scope)
      const desk = yield* Scope.provide(Binding.local(server, Desk), bound)
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      const serverCall = yield* Queue.take(held)
      const told = yield* start(ServerCall.awaitCancel(serverCall))
      yield* Scope.close(bound, Exit.void)
      assert.strictEqual(yield* Fiber.join(told), "Disconnected")
      assert.strictEqual(yield* refusal(ServerCall.complete(serverCall, "late")), "InvalidAsyncHandle")
      assert.deepInclude(yield* Effect.flip(Call.finish(pending)), { _tag: "RpcTransportError", status: 1726 })
    }))

  it.effect("knows its interface, method, caller, peer and object", () =>
    Effect.gen(function* () {
      const { held, server } = yield* makeDesk()
      const object = "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1d01"
      const desk = yield* Binding.local(server, Desk, { object: object.toUpperCase() })
      yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      const serverCall = yield* Queue.take(held)
      assert.deepInclude(ServerCall.operation(serverCall), { interface: Desk, name: "Hold", opnum: 1 })
      assert.deepStrictEqual(ServerCall.caller(serverCall), {
        name: undefined,
        domain: undefined,
        level: "privacy",
        provider: undefined,
        anonymous: false,
        impersonation: "impersonate",
        groups: []
      })
      assert.strictEqual(ServerCall.peer(serverCall), "local")
      assert.strictEqual(ServerCall.object(serverCall), object)
      assert.isTrue(ServerCall.isServerCall(serverCall))
    }))

  it.effect("knows of no object where the binding names none", () =>
    Effect.gen(function* () {
      const { serverCall } = yield* makeHeld
      assert.isUndefined(ServerCall.object(serverCall))
    }))

  it.effect("knows how long it has run", () =>
    Effect.gen(function* () {
      const { serverCall } = yield* makeHeld
      assert.strictEqual(Duration.toMillis(yield* ServerCall.age(serverCall)), 0)
      yield* TestClock.adjust("90 seconds")
      assert.strictEqual(Duration.toMillis(yield* ServerCall.age(serverCall)), 90_000)
    }))

  it.effect("is in the server's list of calls until it ends", () =>
    Effect.gen(function* () {
      const { desk, held, server, serverCall } = yield* makeHeld
      yield* Call.begin(yield* Call.make(desk), "Hold", "b")
      const second = yield* Queue.take(held)
      assert.deepStrictEqual(yield* Server.calls(server), [serverCall, second])
      yield* ServerCall.complete(serverCall, "reply")
      assert.deepStrictEqual(yield* Server.calls(server), [second])
      yield* ServerCall.abort(second, new Denied({ who: "worker" }))
      assert.deepStrictEqual(yield* Server.calls(server), [])
    }))
})

describe("what ends a call", () => {
  it.effect("before the hand-off is a failure of the routine", () =>
    Effect.gen(function* () {
      const { job } = yield* makeJob(Manager.handOff(() => Effect.fail(new Denied({ who: "routine" }))))
      assert.strictEqual(yield* refusal(Call.invoke(job, "Run", "a")), "Denied")
    }))

  it.effect("before the hand-off is a defect of the routine", () =>
    Effect.gen(function* () {
      const { job } = yield* makeJob(Manager.handOff(() => Effect.die("broken")))
      assert.deepInclude(yield* Effect.flip(Call.invoke(job, "Run", "a")), { _tag: "RpcFault", code: 1726 })
    }))

  it.effect("is whichever of complete and a failure before the return comes first", () =>
    Effect.gen(function* () {
      const { job } = yield* makeJob(
        Manager.handOff((input, call) =>
          Effect.andThen(Effect.orDie(ServerCall.complete(call, input)), Effect.fail(new Denied({ who: "routine" })))
        )
      )
      assert.strictEqual(yield* Call.invoke(job, "Run", "a"), "a")
    }))

  it.effect("is not the return of a hand-off routine", () =>
    Effect.gen(function* () {
      const { call, server } = yield* makeJob(Manager.handOff(() => Effect.succeed("not the reply")))
      const pending = yield* Call.begin(call, "Run", "a")
      yield* settle
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallPending")
      assert.strictEqual((yield* Server.calls(server)).length, 1)
    }))

  it.effect("may be a plain routine that completes its call before it returns", () =>
    Effect.gen(function* () {
      const { call } = yield* makeJob((input, serverCall) =>
        Effect.andThen(Effect.orDie(ServerCall.complete(serverCall, `${input} early`)), Effect.never), {
        server: { grace: 0 }
      })
      assert.strictEqual(yield* Call.join(yield* Call.begin(call, "Run", "a")), "a early")
    }))

  it.effect("is undeclared as an abort: the client gets 1726", () =>
    Effect.gen(function* () {
      const { pending, serverCall } = yield* makeHeld
      yield* ServerCall.abort(serverCall, new Error("a secret of the server") as never)
      assert.deepInclude(yield* Effect.flip(Call.finish(pending)), { _tag: "RpcFault", code: 1726 })
    }))

  for (const code of [0, 1818, 1722, 1726, 1727, 1825, 0x1c000005, 0x1c010014]) {
    it.effect(`an RpcFault with the refused code ${code}: the client gets 1726`, () =>
      Effect.gen(function* () {
        const { pending, serverCall } = yield* makeHeld
        yield* ServerCall.abort(serverCall, new Status.RpcFault({ code }))
        assert.deepInclude(yield* Effect.flip(Call.finish(pending)), { _tag: "RpcFault", code: 1726 })
      }))
  }

  it.effect("can be an RpcFault with a code that the client does not know, which it gets as it is", () =>
    Effect.gen(function* () {
      const { job } = yield* makeJob(() => Effect.fail(new Status.RpcFault({ code: 0xdeadbeef })))
      assert.deepInclude(yield* Effect.flip(Call.invoke(job, "Run", "a")), { _tag: "RpcFault", code: 0xdeadbeef })
    }))

  it.effect("can't be an interruption that nobody asked for", () =>
    Effect.gen(function* () {
      const { job } = yield* makeJob(() => Effect.andThen(Effect.yieldNow, Effect.interrupt))
      assert.deepInclude(yield* Effect.flip(Call.invoke(job, "Run", "a")), { _tag: "RpcFault", code: 1726 })
    }))
})

describe("run", () => {
  const makeRunning = Effect.fnUntraced(function* (
    work: Effect.Effect<string, Denied | Status.RpcFault>,
    cancellation: ServerCall.Cancellation = "interrupt"
  ) {
    const ended: Array<string> = []
    const watched = Effect.onExit(work, (exit) => Effect.sync(() => void ended.push(exit._tag)))
    const workers = yield* Queue.unbounded<Fiber.Fiber<void, Status.InvalidAsyncHandle | Status.RpcTransportError>>()
    const made = yield* makeJob(
      Manager.handOff((_input, call: Run) =>
        Effect.flatMap(
          Effect.forkDetach(ServerCall.run(call, watched), { startImmediately: true }),
          (worker) => Queue.offer(workers, worker)
        )
      ),
      { cancellation }
    )
    const scope = yield* Scope.fork(yield* Effect.scope)
    const call = yield* Scope.provide(Call.make(made.job), scope)
    const pending = yield* Call.begin(call, "Run", "a")
    return { ...made, call, scope, pending, ended, worker: yield* Queue.take(workers) }
  })

  it.effect("makes the exit of the effect the reply", () =>
    Effect.gen(function* () {
      const { pending, worker } = yield* makeRunning(Effect.andThen(Effect.yieldNow, Effect.succeed("reply")))
      assert.strictEqual(yield* Call.join(pending), "reply")
      yield* Fiber.join(worker)
      const failing = yield* makeRunning(Effect.fail(new Denied({ who: "worker" })))
      assert.strictEqual(yield* refusal(Call.join(failing.pending)), "Denied")
      yield* Fiber.join(failing.worker)
      const dying = yield* makeRunning(Effect.die("broken"))
      assert.deepInclude(yield* Effect.flip(Call.join(dying.pending)), { _tag: "RpcFault", code: 1726 })
      yield* Fiber.join(dying.worker)
    }))

  for (const cancellation of ["interrupt", "cooperative"] as const) {
    it.effect(`is interrupted by a cancel, and the client gets CallCancelled (${cancellation})`, () =>
      Effect.gen(function* () {
        const { ended, pending, worker } = yield* makeRunning(Effect.never, cancellation)
        yield* Call.cancel(pending, infinitely)
        assert.strictEqual(yield* refusal(Call.join(pending)), "CallCancelled")
        assert.deepStrictEqual(ended, ["Failure"])
        yield* Fiber.join(worker)
      }))
  }

  it.effect("goes on where cancellation is disabled", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<string>()
      const { pending } = yield* makeRunning(Deferred.await(gate), "disabled")
      assert.strictEqual(yield* refusal(Call.cancel(pending, infinitely)), "CancelDisabled")
      yield* Deferred.succeed(gate, "reply")
      assert.strictEqual(yield* Call.join(pending), "reply")
    }))

  it.effect("is interrupted by the release of the call object", () =>
    Effect.gen(function* () {
      const { ended, scope, worker } = yield* makeRunning(Effect.never)
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.await(worker)
      assert.deepStrictEqual(ended, ["Failure"])
    }))

  it.effect("does not run its effect for a call that has ended", () =>
    Effect.gen(function* () {
      const { serverCall } = yield* makeHeld
      yield* ServerCall.complete(serverCall, "reply")
      let ran = false
      const run = ServerCall.run(serverCall, Effect.sync(() => ((ran = true), "again")))
      assert.strictEqual(yield* refusal(run), "InvalidAsyncHandle")
      assert.isFalse(ran)
    }))

  it.effect("of a call that was cancelled before is interrupted at once", () =>
    Effect.gen(function* () {
      const { pending, serverCall } = yield* makeHeld
      yield* Call.cancel(pending, infinitely)
      yield* pipe(serverCall, ServerCall.run(Effect.never as Effect.Effect<string>))
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallCancelled")
    }))

  it.effect("ends the call with 1726 when its own fiber is interrupted", () =>
    Effect.gen(function* () {
      const { ended, pending, worker } = yield* makeRunning(Effect.never)
      yield* Fiber.interrupt(worker)
      assert.deepInclude(yield* Effect.flip(Call.join(pending)), { _tag: "RpcFault", code: 1726 })
      assert.deepStrictEqual(ended, ["Failure"])
    }))

  it.effect("loses to a complete from elsewhere", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<string>()
      const { pending, serverCall } = yield* makeHeld
      const running = yield* start(ServerCall.run(serverCall, Deferred.await(gate)))
      yield* ServerCall.complete(serverCall, "first")
      yield* Deferred.succeed(gate, "second")
      yield* Fiber.await(running)
      assert.strictEqual(yield* Call.finish(pending), "first")
    }))
})

describe("awaitEnd", () => {
  it.effect("goes on after the cancel and tells that the client has gone", () =>
    Effect.gen(function* () {
      const { pending, scope, serverCall } = yield* makeHeld
      const ending = yield* start(ServerCall.awaitEnd(serverCall))
      yield* Call.cancel(pending, infinitely)
      assert.strictEqual(yield* ServerCall.awaitCancel(serverCall), "Cancelled")
      assert.isTrue(yield* isWaiting(ending))
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* Fiber.join(ending), "Orphaned")
      assert.strictEqual(yield* ServerCall.awaitCancel(serverCall), "Orphaned")
    }))

  it.effect("tells that the call was answered, also when it was cancelled before", () =>
    Effect.gen(function* () {
      const { pending, serverCall } = yield* makeHeld
      yield* Call.cancel(pending, infinitely)
      const ending = yield* start(ServerCall.awaitEnd(serverCall))
      yield* ServerCall.complete(serverCall, "reply")
      assert.strictEqual(yield* Fiber.join(ending), "Ended")
      assert.strictEqual(yield* ServerCall.awaitEnd(serverCall), "Ended")
    }))
})
