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
  it.effect("handed-off call: any fiber may complete it, at any time", () =>
    Effect.gen(function* () {
      const { pending, serverCall } = yield* makeHeld
      yield* start(Effect.delay(ServerCall.complete(serverCall, "reply"), "1000 days"))
      const joining = yield* start(Call.join(pending))
      assert.isTrue(yield* isWaiting(joining))
      yield* TestClock.adjust("1000 days")
      assert.strictEqual(yield* Fiber.join(joining), "reply")
    }))

  it.effect("abort with a declared error: carries its fields, and no out parameters", () =>
    Effect.gen(function* () {
      const { pending, serverCall } = yield* makeHeld
      yield* ServerCall.abort(serverCall, new Denied({ who: "worker" }))
      assert.deepInclude(yield* Effect.flip(Call.finish(pending)), { _tag: "Denied", who: "worker" })
    }))

  it.effect("abort with a number: the client gets that number", () =>
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
      it.effect(`${first}, then ${second}: the second is refused`, () =>
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
    it.effect(`client gone, then ${first}: is refused`, () =>
      Effect.gen(function* () {
        const { scope, serverCall } = yield* makeHeld
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(yield* refusal(end(serverCall)), "InvalidAsyncHandle")
      }))
  }

  it.effect("many fibers complete one call: one wins", () =>
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

  it.effect("cooperative cancel: sets the flag, and the call may be completed normally", () =>
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

  it.effect("awaitCancel, call ends: its waiters are told that the call ended", () =>
    Effect.gen(function* () {
      const { serverCall } = yield* makeHeld
      const told = yield* start(ServerCall.awaitCancel(serverCall))
      yield* ServerCall.complete(serverCall, "reply")
      assert.strictEqual(yield* Fiber.join(told), "Ended")
      assert.strictEqual(yield* ServerCall.awaitCancel(serverCall), "Ended")
      assert.isFalse(yield* ServerCall.testCancel(serverCall))
    }))

  it.effect("awaitCancel, call object released: its waiters are told so", () =>
    Effect.gen(function* () {
      const { scope, serverCall } = yield* makeHeld
      const told = yield* start(ServerCall.awaitCancel(serverCall))
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* Fiber.join(told), "Orphaned")
      assert.isTrue(yield* ServerCall.testCancel(serverCall))
    }))

  it.effect("awaitCancel, connection lost: its waiters are told so", () =>
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

  it.effect("server call: knows its interface, method, caller, peer and object", () =>
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

  it.effect("binding without an object: the server call has none", () =>
    Effect.gen(function* () {
      const { serverCall } = yield* makeHeld
      assert.isUndefined(ServerCall.object(serverCall))
    }))

  it.effect("server call: knows how long it has run", () =>
    Effect.gen(function* () {
      const { serverCall } = yield* makeHeld
      assert.strictEqual(Duration.toMillis(yield* ServerCall.age(serverCall)), 0)
      yield* TestClock.adjust("90 seconds")
      assert.strictEqual(Duration.toMillis(yield* ServerCall.age(serverCall)), 90_000)
    }))

  it.effect("server call: is in the server's list until it ends", () =>
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
  it.effect("failure before the hand-off: fails the routine", () =>
    Effect.gen(function* () {
      const { job } = yield* makeJob(Manager.handOff(() => Effect.fail(new Denied({ who: "routine" }))))
      assert.strictEqual(yield* refusal(Call.invoke(job, "Run", "a")), "Denied")
    }))

  it.effect("defect before the hand-off: is a defect of the routine", () =>
    Effect.gen(function* () {
      const { job } = yield* makeJob(Manager.handOff(() => Effect.die("broken")))
      assert.deepInclude(yield* Effect.flip(Call.invoke(job, "Run", "a")), { _tag: "RpcFault", code: 1726 })
    }))

  it.effect("complete, and a failure before the return: the first one counts", () =>
    Effect.gen(function* () {
      const { job } = yield* makeJob(
        Manager.handOff((input, call) =>
          Effect.andThen(Effect.orDie(ServerCall.complete(call, input)), Effect.fail(new Denied({ who: "routine" })))
        )
      )
      assert.strictEqual(yield* Call.invoke(job, "Run", "a"), "a")
    }))

  it.effect("hand-off routine returns: the call goes on", () =>
    Effect.gen(function* () {
      const { call, server } = yield* makeJob(Manager.handOff(() => Effect.succeed("not the reply")))
      const pending = yield* Call.begin(call, "Run", "a")
      yield* settle
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallPending")
      assert.strictEqual((yield* Server.calls(server)).length, 1)
    }))

  it.effect("plain routine completes its call before it returns: the reply counts", () =>
    Effect.gen(function* () {
      const { call } = yield* makeJob((input, serverCall) =>
        Effect.andThen(Effect.orDie(ServerCall.complete(serverCall, `${input} early`)), Effect.never), {
        server: { grace: 0 }
      })
      assert.strictEqual(yield* Call.join(yield* Call.begin(call, "Run", "a")), "a early")
    }))

  it.effect("undeclared abort: the client gets 1726", () =>
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

  it.effect("RpcFault with a code unknown to the client: arrives with that code", () =>
    Effect.gen(function* () {
      const { job } = yield* makeJob(() => Effect.fail(new Status.RpcFault({ code: 0xdeadbeef })))
      assert.deepInclude(yield* Effect.flip(Call.invoke(job, "Run", "a")), { _tag: "RpcFault", code: 0xdeadbeef })
    }))

  it.effect("routine interrupts itself: the client gets 1726", () =>
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

  it.effect("ServerCall.run: the exit of the effect is the reply", () =>
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
    it.effect(`ServerCall.run, cancel: interrupts the effect, and the client gets CallCancelled (${cancellation})`, () =>
      Effect.gen(function* () {
        const { ended, pending, worker } = yield* makeRunning(Effect.never, cancellation)
        yield* Call.cancel(pending, infinitely)
        assert.strictEqual(yield* refusal(Call.join(pending)), "CallCancelled")
        assert.deepStrictEqual(ended, ["Failure"])
        yield* Fiber.join(worker)
      }))
  }

  it.effect("ServerCall.run, cancellation disabled: the effect goes on", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<string>()
      const { pending } = yield* makeRunning(Deferred.await(gate), "disabled")
      assert.strictEqual(yield* refusal(Call.cancel(pending, infinitely)), "CancelDisabled")
      yield* Deferred.succeed(gate, "reply")
      assert.strictEqual(yield* Call.join(pending), "reply")
    }))

  it.effect("ServerCall.run, call object released: interrupts the effect", () =>
    Effect.gen(function* () {
      const { ended, scope, worker } = yield* makeRunning(Effect.never)
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.await(worker)
      assert.deepStrictEqual(ended, ["Failure"])
    }))

  it.effect("ServerCall.run of a call that has ended: the effect does not run", () =>
    Effect.gen(function* () {
      const { serverCall } = yield* makeHeld
      yield* ServerCall.complete(serverCall, "reply")
      let ran = false
      const run = ServerCall.run(serverCall, Effect.sync(() => ((ran = true), "again")))
      assert.strictEqual(yield* refusal(run), "InvalidAsyncHandle")
      assert.isFalse(ran)
    }))

  it.effect("ServerCall.run of a cancelled call: the effect is interrupted at once", () =>
    Effect.gen(function* () {
      const { pending, serverCall } = yield* makeHeld
      yield* Call.cancel(pending, infinitely)
      yield* pipe(serverCall, ServerCall.run(Effect.never as Effect.Effect<string>))
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallCancelled")
    }))

  it.effect("ServerCall.run, its own fiber interrupted: the call ends with 1726", () =>
    Effect.gen(function* () {
      const { ended, pending, worker } = yield* makeRunning(Effect.never)
      yield* Fiber.interrupt(worker)
      assert.deepInclude(yield* Effect.flip(Call.join(pending)), { _tag: "RpcFault", code: 1726 })
      assert.deepStrictEqual(ended, ["Failure"])
    }))

  it.effect("ServerCall.run, complete from elsewhere: the complete wins", () =>
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
  it.effect("ServerCall.awaitEnd, cancel, then the client goes: tells that the client has gone", () =>
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

  it.effect("ServerCall.awaitEnd: tells that the call was answered, also after a cancel", () =>
    Effect.gen(function* () {
      const { pending, serverCall } = yield* makeHeld
      yield* Call.cancel(pending, infinitely)
      const ending = yield* start(ServerCall.awaitEnd(serverCall))
      yield* ServerCall.complete(serverCall, "reply")
      assert.strictEqual(yield* Fiber.join(ending), "Ended")
      assert.strictEqual(yield* ServerCall.awaitEnd(serverCall), "Ended")
    }))
})
