import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Queue, Schema, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Binding, Call, type Channel, Interface, Manager, Server, ServerCall, Status } from "../mod.ts"
import {
  Denied,
  Desk,
  isWaiting,
  type Job1,
  makeDesk,
  makeJob,
  outcome,
  refusal,
  settle,
  shown,
  start
} from "./fixtures.ts"

const infinitely = { timeout: "Infinity" } as const

describe("a call object", () => {
  it.effect("carries one call at a time, whichever fibers begin", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const call = yield* Call.make(desk)
      const begins = yield* Effect.forEach(
        ["a", "b", "c"],
        (input) => outcome(Call.begin(call, "Hold", input)),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(begins.slice(1), [{ failure: "CallPending" }, { failure: "CallPending" }])
      assert.deepStrictEqual(
        Option.map(yield* Call.pending(call), (pending) => ({ value: pending })),
        Option.some(begins[0])
      )
    }))

  it.effect("is one of any number on a binding, and their calls finish in any order", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const inputs = Array.from({ length: 100 }, (_, i) => String(i))
      const pendings = yield* Effect.forEach(inputs, (input) =>
        Effect.flatMap(Call.make(desk), (call) => Call.begin(call, "Hold", input)))
      const calls = yield* Queue.takeN(held, 100)
      for (const i of [99, 0, 50]) {
        yield* ServerCall.complete(calls[i]!, `reply ${i}`)
        assert.strictEqual(yield* Call.finish(pendings[i]!), `reply ${i}`)
      }
      assert.strictEqual(yield* refusal(Call.finish(pendings[1]!)), "CallPending")
    }))

  it.effect("may be complete when begin returns", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const call = yield* Call.make(desk)
      const pending = yield* Call.begin(call, "Answer", "a")
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Completed", kind: "replied" })
      assert.strictEqual(yield* Call.finish(pending), "answer to a")
    }))

  it.effect("is reusable for calls of different methods", () =>
    Effect.gen(function* () {
      const { desk, seen } = yield* makeDesk()
      const call = yield* Call.make(desk)
      assert.strictEqual(yield* Call.finish(yield* Call.begin(call, "Answer", "a")), "answer to a")
      assert.strictEqual(yield* Call.finish(yield* Call.begin(call, "Rest")), undefined)
      assert.strictEqual(yield* Call.finish(yield* Call.begin(call, "Answer", "b")), "answer to b")
      assert.deepStrictEqual(seen, ["Answer a", "Rest", "Answer b"])
    }))

  it.effect("gives the evidence of its call back, so that losing it does not brick the object", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const call = yield* Call.make(desk)
      assert.isTrue(Option.isNone(yield* Call.pending(call)))
      yield* Call.begin(call, "Hold", "a")
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      const found = Option.getOrThrow(yield* Call.pending(call))
      assert.strictEqual(yield* Call.join(found), "reply")
      assert.isTrue(Option.isNone(yield* Call.pending(call)))
    }))

  for (
    const [name, operation] of Object.entries({
      finish: (stale: Call.Pending<typeof Desk, "Answer">) => Call.finish(stale),
      join: (stale: Call.Pending<typeof Desk, "Answer">) => Call.join(stale),
      wait: (stale: Call.Pending<typeof Desk, "Answer">) => Call.wait(stale),
      "wait with a timeout": (stale: Call.Pending<typeof Desk, "Answer">) => Call.wait(stale, "1 second"),
      cancel: (stale: Call.Pending<typeof Desk, "Answer">) => Call.cancel(stale, { timeout: 0 }),
      onComplete: (stale: Call.Pending<typeof Desk, "Answer">) => Call.onComplete(stale, Effect.die("must not run"))
    })
  ) {
    it.effect(`refuses ${name} with stale evidence and leaves the call that is pending alone`, () =>
      Effect.gen(function* () {
        const { desk, held } = yield* makeDesk()
        const call = yield* Call.make(desk)
        const stale = yield* Call.begin(call, "Answer", "a")
        yield* Call.finish(stale)
        const pending = yield* Call.begin(call, "Hold", "b")
        assert.strictEqual(yield* refusal(operation(stale) as Effect.Effect<void, Status.CallComplete>), "CallComplete")
        assert.deepStrictEqual(yield* Call.state(call), { _tag: "Pending", cancelRequested: false })
        yield* ServerCall.complete(yield* Queue.take(held), "reply")
        assert.strictEqual(yield* refusal(operation(stale) as Effect.Effect<void, Status.CallComplete>), "CallComplete")
        assert.strictEqual(yield* Call.finish(pending), "reply")
      }))
  }

  it.effect("gives a result to one of two fibers that finish", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Answer", "a")
      const both = yield* Effect.all([outcome(Call.finish(pending)), outcome(Call.finish(pending))], { concurrency: 2 })
      assert.deepStrictEqual(both, [{ value: "answer to a" }, { failure: "CallComplete" }])
    }))

  it.effect("gives a result to one of two fibers that join", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const call = yield* Call.make(desk)
      const pending = yield* Call.begin(call, "Hold", "a")
      const joins = [yield* start(outcome(Call.join(pending))), yield* start(outcome(Call.join(pending)))]
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      const both = yield* Effect.forEach(joins, Fiber.join)
      assert.deepInclude(both, { value: "reply" })
      assert.deepInclude(both, { failure: "CallComplete" })
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
    }))

  it.effect("loses no result to a join that is interrupted as the call completes", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      const serverCall = yield* Queue.take(held)
      const joining = yield* start(Call.join(pending))
      yield* ServerCall.complete(serverCall, "reply")
      const exit = yield* Effect.andThen(Fiber.interrupt(joining), Fiber.await(joining))
      // Either the join had the result, or it is still there.
      const results = [shown(exit), yield* outcome(Call.finish(pending))]
      assert.strictEqual(results.filter((result) => JSON.stringify(result) === `{"value":"reply"}`).length, 1)
    }))

  it.effect("leaves the call alone when a join is interrupted", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const call = yield* Call.make(desk)
      const pending = yield* Call.begin(call, "Hold", "a")
      const serverCall = yield* Queue.take(held)
      yield* Fiber.interrupt(yield* start(Call.join(pending)))
      yield* Fiber.interrupt(yield* start(Call.wait(pending)))
      assert.isFalse(yield* ServerCall.testCancel(serverCall))
      yield* ServerCall.complete(serverCall, "reply")
      assert.strictEqual(yield* Call.join(pending), "reply")
    }))

  it.effect("is told apart from other calls: the evidence of one finishes no other", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const [first, second] = [yield* Call.make(desk), yield* Call.make(desk)]
      const a = yield* Call.begin(first, "Hold", "a")
      const b = yield* Call.begin(second, "Hold", "b")
      yield* Queue.take(held)
      yield* ServerCall.complete(yield* Queue.take(held), "reply to b")
      assert.strictEqual(yield* refusal(Call.finish(a)), "CallPending")
      assert.strictEqual(yield* Call.finish(b), "reply to b")
    }))

  it.effect("passes arguments and results by reference, unchecked", () =>
    Effect.gen(function* () {
      const Boxes = Interface.make("Boxes", {
        uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1b01",
        version: [1, 0],
        methods: { Pass: Interface.method({ in: { n: Schema.Int }, out: { n: Schema.Int } }) }
      })
      const received: Array<unknown> = []
      const reply = { n: 1.5 }
      const manager = Manager.make(Boxes, { Pass: (input) => Effect.sync(() => (received.push(input), reply)) })
      const boxes = yield* Binding.local(yield* Server.make([manager]), Boxes)
      const input = { n: 0.5 }
      const result = yield* Call.finish(yield* Call.begin(yield* Call.make(boxes), "Pass", input))
      assert.strictEqual(received[0], input)
      assert.strictEqual(result, reply)
      assert.strictEqual(yield* Call.invoke(boxes, "Pass", input), reply)
    }))

  it.effect("is released with the scope in which it was made, and not before", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const call = yield* Effect.scoped(Effect.tap(Call.make(desk), Call.state))
      assert.strictEqual(yield* refusal(Call.state(call)), "InvalidAsyncHandle")
      assert.strictEqual(yield* refusal(Call.pending(call)), "InvalidAsyncHandle")
      assert.strictEqual(yield* refusal(Stream.runDrain(Call.states(call))), "InvalidAsyncHandle")
    }))

  it.effect("takes begin as a description that can be run again", () =>
    Effect.gen(function* () {
      const { desk, seen } = yield* makeDesk()
      const call = yield* Call.make(desk)
      const begin = Call.begin(call, "Answer", "a")
      assert.deepStrictEqual(seen, [])
      yield* Call.finish(yield* begin)
      yield* Call.finish(yield* begin)
      assert.deepStrictEqual(seen, ["Answer a", "Answer a"])
    }))

  it.effect("can be used data-last", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const call = yield* Call.make(desk)
      const pending = yield* call.pipe(Call.begin("Hold", "a"))
      assert.strictEqual(yield* refusal(pending.pipe(Call.wait(0))), "WaitTimeout")
      yield* pending.pipe(Call.cancel(infinitely))
      assert.isTrue(yield* ServerCall.testCancel(yield* Queue.take(held)))
      yield* pending.pipe(Call.cancel({ timeout: 0 }))
      yield* pending.pipe(Call.wait())
      assert.strictEqual(yield* refusal(pending.pipe(Call.finish)), "CallCancelled")
      yield* Call.finish(yield* call.pipe(Call.begin("Rest")))
    }))
})

describe("the forms of a call", () => {
  const forms = {
    "begin and finish": (desk: Binding.Binding<typeof Desk>, method: "Answer" | "Hold", input: string) =>
      Effect.gen(function* () {
        const pending = yield* Call.begin(yield* Call.make(desk), method as "Answer", input)
        yield* Call.wait(pending)
        return yield* Call.finish(pending)
      }),
    "begin and join": (desk: Binding.Binding<typeof Desk>, method: "Answer" | "Hold", input: string) =>
      Effect.flatMap(
        Effect.flatMap(Call.make(desk), (call) => Call.begin(call, method as "Answer", input)),
        (pending) => Call.join(pending)
      ),
    "the one-shot form": (desk: Binding.Binding<typeof Desk>, method: "Answer" | "Hold", input: string) =>
      Call.invoke(desk, method as "Answer", input)
  }
  const denied = new Denied({ who: "manager" })
  const fault = new Status.RpcFault({ code: 1753 })
  const ends = {
    "a reply": { input: "a", expected: Exit.succeed("answer to a") },
    "an abort": { input: "deny", expected: Exit.fail(denied) },
    "a fault": { input: "fault", expected: Exit.fail(fault) },
    "a defect": { input: "die", expected: Exit.fail(new Status.RpcFault({ code: 1726 })) }
  }
  const plain = (exit: Exit.Exit<unknown, unknown>) =>
    Exit.match(exit, {
      onSuccess: (value) => ({ value }),
      onFailure: (cause) => {
        const reason = cause.reasons[0]!
        assert.strictEqual(reason._tag, "Fail")
        const error = JSON.parse(JSON.stringify((reason as { readonly error: unknown }).error))
        // The call that it names is another test's.
        return { ...error, interface: undefined, method: undefined, address: undefined }
      }
    })

  for (const [form, run] of Object.entries(forms)) {
    for (const [end, { expected, input }] of Object.entries(ends)) {
      it.effect(`${form}: ${end} that comes at once`, () =>
        Effect.gen(function* () {
          const { desk } = yield* makeDesk()
          const exit = yield* Effect.exit(run(desk, "Answer", input))
          assert.deepStrictEqual(plain(exit), plain(expected))
        }))
    }
    it.effect(`${form}: a reply that comes later`, () =>
      Effect.gen(function* () {
        const { desk, held } = yield* makeDesk()
        const running = yield* start(run(desk, "Hold", "a"))
        yield* ServerCall.complete(yield* Queue.take(held), "answer to a")
        assert.strictEqual(yield* Fiber.join(running), "answer to a")
      }))
    for (const error of [denied, fault]) {
      it.effect(`${form}: a ${error._tag} that comes later`, () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const running = yield* start(run(desk, "Hold", "a"))
          yield* ServerCall.abort(yield* Queue.take(held), error)
          assert.deepStrictEqual(plain(yield* Fiber.await(running)), plain(Exit.fail(error)))
        }))
    }
  }

  it.effect("give a declared abort as an instance of its class, with its fields", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const error = yield* Effect.flip(Call.invoke(desk, "Answer", "deny"))
      assert.instanceOf(error, Denied)
      assert.strictEqual((error as Denied).who, "manager")
    }))
})

describe("begin that fails", () => {
  it.effect("leaves the object idle, and needs neither cancel nor finish", () =>
    Effect.gen(function* () {
      const { seen, server } = yield* makeDesk()
      const desk = yield* Binding.local(server, Desk, { validate: true })
      const call = yield* Call.make(desk)
      const error = yield* Effect.flip(Call.begin(call, "Answer", 7 as never))
      assert.instanceOf(error, Status.BadStubData)
      assert.include(error.message, "Desk.Answer")
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
      assert.isTrue(Option.isNone(yield* Call.pending(call)))
      assert.deepStrictEqual(seen, [])
      assert.strictEqual(yield* Call.finish(yield* Call.begin(call, "Answer", "a")), "answer to a")
    }))

  it.effect("fails with 1722 when the server was shut down", () =>
    Effect.gen(function* () {
      const serving = yield* Scope.fork(yield* Effect.scope)
      const { server } = yield* Scope.provide(makeDesk(), serving)
      const desk = yield* Binding.local(server, Desk)
      const call = yield* Call.make(desk)
      yield* Scope.close(serving, Exit.void)
      const error = yield* Effect.flip(Call.begin(call, "Answer", "a"))
      assert.deepInclude(error, { _tag: "RpcTransportError", status: 1722, didNotExecute: true })
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
      assert.strictEqual(yield* refusal(Call.invoke(desk, "Answer", "a")), "RpcTransportError")
    }))

  it.effect("fails with 1722 when the binding was closed", () =>
    Effect.gen(function* () {
      const { server } = yield* makeDesk()
      const bound = yield* Scope.fork(yield* Effect.scope)
      const desk = yield* Scope.provide(Binding.local(server, Desk), bound)
      const call = yield* Call.make(desk)
      yield* Scope.close(bound, Exit.void)
      const error = yield* Effect.flip(Call.begin(call, "Answer", "a"))
      assert.deepInclude(error, { _tag: "RpcTransportError", status: 1722 })
    }))

  for (const name of ["Missing", "toString", "constructor", "__proto__", ""]) {
    it.effect(`refuses a method that does not exist (${JSON.stringify(name)}), and the object stays usable`, () =>
      Effect.gen(function* () {
        const { desk } = yield* makeDesk()
        const call = yield* Call.make(desk)
        assert.strictEqual(yield* refusal(Call.begin(call, name as "Answer", "a")), "BadStubData")
        assert.strictEqual(yield* refusal(Call.invoke(desk, name as "Answer", "a")), "BadStubData")
        assert.strictEqual(yield* Call.finish(yield* Call.begin(call, "Answer", "a")), "answer to a")
      }))
  }
})

describe("begin on a channel that needs time", () => {
  /** A channel whose calls are issued when the gate opens, and answered by the test. */
  const makeSlow = Effect.gen(function* () {
    const gate = yield* Deferred.make<void, Status.RpcTransportError>()
    const log: Array<string> = []
    const issued: Array<Channel.Outgoing> = []
    const desk = yield* Binding.make(Desk, {
      callObjects: true,
      issue: (call) =>
        Effect.andThen(
          Deferred.await(gate),
          Effect.sync(() => {
            call.remote = {
              dispatched: false,
              cancelDisabled: false,
              cancel: () => void log.push("cancel"),
              discard: () => void log.push("discard"),
              orphan: () => void log.push("orphan"),
              goOn: () => void log.push("goOn")
            }
            issued.push(call)
          })
        )
    })
    return { gate, log, issued, desk, call: yield* Call.make(desk) }
  })

  it.effect("waits until the call is issued", () =>
    Effect.gen(function* () {
      const { call, gate, issued } = yield* makeSlow
      const beginning = yield* start(Call.begin(call, "Hold", "a"))
      assert.isTrue(yield* isWaiting(beginning))
      assert.strictEqual(yield* refusal(Call.begin(call, "Hold", "b")), "CallPending")
      yield* Deferred.succeed(gate, undefined)
      const pending = yield* Fiber.join(beginning)
      issued[0]!.reply(Exit.succeed("reply"))
      assert.strictEqual(yield* Call.finish(pending), "reply")
    }))

  it.effect("leaves the object idle when it is interrupted", () =>
    Effect.gen(function* () {
      const { call, gate, issued } = yield* makeSlow
      const beginning = yield* start(Call.begin(call, "Hold", "a"))
      assert.isTrue(yield* isWaiting(beginning))
      yield* Fiber.interrupt(beginning)
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
      yield* Deferred.succeed(gate, undefined)
      yield* Call.begin(call, "Hold", "b")
      assert.strictEqual(issued.length, 1)
    }))

  it.effect("leaves the object idle when it fails", () =>
    Effect.gen(function* () {
      const { call, gate } = yield* makeSlow
      const beginning = yield* start(Call.begin(call, "Hold", "a"))
      yield* Deferred.fail(gate, new Status.RpcTransportError({ status: 1722, detail: "no route" }))
      assert.deepStrictEqual(yield* outcome(Fiber.join(beginning)), { failure: "RpcTransportError" })
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
      assert.isTrue(Option.isNone(yield* Call.pending(call)))
    }))

  it.effect("tells the server of a cancel and of a release", () =>
    Effect.gen(function* () {
      const { desk, gate, log } = yield* makeSlow
      yield* Deferred.succeed(gate, undefined)
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      yield* Call.cancel(pending, infinitely)
      yield* Effect.scoped(Effect.flatMap(Call.make(desk), (call) => Call.begin(call, "Hold", "b")))
      assert.deepStrictEqual(log, ["cancel", "orphan"])
    }))

  it.effect("discards what the server answers after the call was given up", () =>
    Effect.gen(function* () {
      const { call, gate, issued } = yield* makeSlow
      yield* Deferred.succeed(gate, undefined)
      const pending = yield* Call.begin(call, "Hold", "a")
      yield* Call.cancel(pending, { timeout: 0 })
      issued[0]!.reply(Exit.succeed("late"))
      const error = yield* Effect.flip(Call.finish(pending))
      assert.deepInclude(error, { _tag: "CallCancelled", didNotExecute: true })
      const next = yield* Call.begin(call, "Hold", "b")
      issued[0]!.reply(Exit.succeed("later still"))
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Pending", cancelRequested: false })
      issued[1]!.reply(Exit.succeed("reply"))
      assert.strictEqual(yield* Call.finish(next), "reply")
    }))

  it.effect("knows of a call that was never dispatched that it did not execute, also when the cancel gives up later", () =>
    Effect.gen(function* () {
      const { call, gate } = yield* makeSlow
      yield* Deferred.succeed(gate, undefined)
      const pending = yield* Call.begin(call, "Hold", "a")
      yield* Call.cancel(pending, { timeout: "1 second" })
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* Effect.flip(Call.finish(pending)), { _tag: "CallCancelled", didNotExecute: true })
    }))

  it.effect("stops the one-shot form while it is being issued", () =>
    Effect.gen(function* () {
      const { desk, gate, issued } = yield* makeSlow
      const invoking = yield* start(Call.invoke(desk, "Hold", "a"))
      assert.isTrue(yield* isWaiting(invoking))
      yield* Fiber.interrupt(invoking)
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      assert.strictEqual(issued.length, 0)
    }))

  it.effect("does nothing to a call object that is released meanwhile", () =>
    Effect.gen(function* () {
      const { desk, gate } = yield* makeSlow
      const scope = yield* Scope.fork(yield* Effect.scope)
      const call = yield* Scope.provide(Call.make(desk), scope)
      const beginning = yield* start(Call.begin(call, "Hold", "a"))
      yield* Scope.close(scope, Exit.void)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.await(beginning)
      assert.strictEqual(yield* refusal(Call.state(call)), "InvalidAsyncHandle")
    }))
})

describe("releasing a call object with a pending call", () => {
  it.effect("interrupts the manager, and nothing is left on the server", () =>
    Effect.gen(function* () {
      const { desk, seen, server } = yield* makeDesk()
      yield* Effect.scoped(Effect.gen(function* () {
        yield* Call.begin(yield* Call.make(desk), "Stay", "a")
        assert.strictEqual((yield* Server.calls(server)).length, 1)
      }))
      yield* settle
      assert.deepStrictEqual(seen, ["Stay a", "Stay was interrupted"])
      assert.strictEqual((yield* Server.calls(server)).length, 0)
    }))

  it.effect("discards the late reply of a manager that can't be interrupted", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { job, server } = yield* makeJob(() => Effect.uninterruptible(Effect.as(Deferred.await(gate), "late")))
      yield* Effect.scoped(Effect.flatMap(Call.make(job), (call) => Call.begin(call, "Run", "a")))
      assert.strictEqual((yield* Server.calls(server)).length, 0)
      yield* Deferred.succeed(gate, undefined)
      const next = yield* start(Call.invoke(job, "Run", "b"))
      assert.strictEqual(yield* Fiber.join(next), "late")
    }))

  it.effect("leaves the other calls of the binding alone", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "kept")
      yield* Effect.scoped(Effect.flatMap(Call.make(desk), (call) => Call.begin(call, "Stay", "dropped")))
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      assert.strictEqual(yield* Call.finish(pending), "reply")
    }))
})

describe("cancel", () => {
  it.effect("returns as soon as it is recorded, and the call must still be finished", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk({ cancellation: "cooperative" })
      const call = yield* Call.make(desk)
      const pending = yield* Call.begin(call, "Hold", "a")
      yield* Call.cancel(pending, infinitely)
      assert.strictEqual(yield* refusal(Call.begin(call, "Hold", "b")), "CallPending")
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      assert.strictEqual(yield* refusal(Call.begin(call, "Hold", "b")), "CallPending")
      assert.strictEqual(yield* Call.finish(pending), "reply")
    }))

  it.effect("is by default abortive", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      yield* Call.cancel(pending)
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallCancelled")
      assert.isTrue(yield* ServerCall.testCancel(yield* Queue.take(held)))
    }))

  it.effect("takes its timeout from the binding, and each call can have another", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk({ binding: { cancelTimeout: "1 minute" } })
      const [a, b] = [
        yield* Call.begin(yield* Call.make(desk), "Hold", "a"),
        yield* Call.begin(yield* Call.make(desk), "Hold", "b")
      ]
      yield* Call.cancel(a)
      yield* Call.cancel(b, { timeout: "1 second" })
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* refusal(Call.finish(a)), "CallPending")
      assert.strictEqual(yield* refusal(Call.finish(b)), "CallCancelled")
      yield* TestClock.adjust("58999 millis")
      assert.strictEqual(yield* refusal(Call.finish(a)), "CallPending")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* refusal(Call.finish(a)), "CallCancelled")
    }))

  it.effect("without a limit never gives up", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      yield* Call.cancel(pending, infinitely)
      yield* TestClock.adjust("1000 days")
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallPending")
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      assert.strictEqual(yield* Call.finish(pending), "reply")
    }))

  it.effect("loses to an answer that comes before it takes effect", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      yield* Call.cancel(pending, { timeout: "1 second" })
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Call.finish(pending), "reply")
    }))

  it.effect("does not reach the next call of the object when its time comes", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const call = yield* Call.make(desk)
      const first = yield* Call.begin(call, "Hold", "a")
      yield* Call.cancel(first, { timeout: "1 second" })
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      yield* Call.finish(first)
      const second = yield* Call.begin(call, "Hold", "b")
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Pending", cancelRequested: false })
      yield* ServerCall.complete(yield* Queue.take(held), "second reply")
      assert.strictEqual(yield* Call.finish(second), "second reply")
    }))

  it.effect("may be issued again only to give up sooner", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      yield* Call.cancel(pending, { timeout: "10 seconds" })
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual(yield* refusal(Call.cancel(pending, { timeout: "6 seconds" })), "CallCancelled")
      assert.strictEqual(yield* refusal(Call.cancel(pending, infinitely)), "CallCancelled")
      yield* Call.cancel(pending, { timeout: "5 seconds" })
      yield* TestClock.adjust("4999 millis")
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallPending")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallCancelled")
    }))

  it.effect("says nothing certain about a manager that ran", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Stay", "a")
      yield* Call.cancel(pending, { timeout: 0 })
      assert.deepInclude(yield* Effect.flip(Call.finish(pending)), { _tag: "CallCancelled", didNotExecute: false })
    }))

  it.effect("is refused where cancellation is disabled for the interface", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk({ cancellation: "disabled" })
      const call = yield* Call.make(desk)
      const pending = yield* Call.begin(call, "Hold", "a")
      for (const timeout of [0, "1 second", "Infinity"] as const) {
        const error = yield* Effect.flip(Call.cancel(pending, { timeout }))
        assert.deepInclude(error, { _tag: "CancelDisabled", interface: "Desk", method: "Hold" })
      }
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Pending", cancelRequested: false })
      const serverCall = yield* Queue.take(held)
      assert.isFalse(yield* ServerCall.testCancel(serverCall))
      yield* ServerCall.complete(serverCall, "reply")
      assert.strictEqual(yield* Call.finish(pending), "reply")
    }))

  it.effect("is refused only for the method for which cancellation is disabled", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk({ cancellation: { Hold: "disabled" } })
      const hold = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      const stay = yield* Call.begin(yield* Call.make(desk), "Stay", "a")
      assert.strictEqual(yield* refusal(Call.cancel(hold)), "CancelDisabled")
      yield* Call.cancel(stay)
      assert.strictEqual(yield* refusal(Call.finish(stay)), "CallCancelled")
    }))

  it.effect("of a completed call is refused with CallComplete, also where cancellation is disabled", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk({ cancellation: "disabled" })
      const pending = yield* Call.begin(yield* Call.make(desk), "Answer", "a")
      assert.strictEqual(yield* refusal(Call.cancel(pending)), "CallComplete")
      assert.strictEqual(yield* Call.finish(pending), "answer to a")
    }))
})

describe("the one-shot form", () => {
  it.effect("is a description that can be run again", () =>
    Effect.gen(function* () {
      const { desk, seen } = yield* makeDesk()
      const invoke = Call.invoke(desk, "Answer", "a")
      assert.deepStrictEqual(seen, [])
      yield* invoke
      yield* invoke
      assert.deepStrictEqual(seen, ["Answer a", "Answer a"])
    }))

  it.effect("cancels the call when it is interrupted, and is over at once", () =>
    Effect.gen(function* () {
      const { desk, held, seen } = yield* makeDesk()
      const holding = yield* start(Call.invoke(desk, "Hold", "a"))
      const serverCall = yield* Queue.take(held)
      yield* Fiber.interrupt(holding)
      assert.isTrue(yield* ServerCall.testCancel(serverCall))
      const staying = yield* start(Call.invoke(desk, "Stay", "b"))
      yield* Fiber.interrupt(staying)
      yield* settle
      assert.include(seen, "Stay was interrupted")
    }))

  it.effect("waits the cancel timeout for the server's answer when it is interrupted", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const invoking = yield* start(Call.invoke(desk, "Hold", "a", { cancelTimeout: "2 seconds" }))
      const serverCall = yield* Queue.take(held)
      const interrupting = yield* start(Fiber.interrupt(invoking))
      assert.isTrue(yield* ServerCall.testCancel(serverCall))
      yield* TestClock.adjust("1999 millis")
      assert.isTrue(yield* isWaiting(interrupting))
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(shown(yield* Fiber.await(invoking)), { interrupt: true })
    }))

  it.effect("is over when the server answers within the cancel timeout", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk({ binding: { cancelTimeout: "Infinity" } })
      const invoking = yield* start(Call.invoke(desk, "Hold", "a"))
      const serverCall = yield* Queue.take(held)
      const interrupting = yield* start(Fiber.interrupt(invoking))
      assert.isTrue(yield* isWaiting(interrupting))
      yield* ServerCall.complete(serverCall, "reply")
      yield* Fiber.join(interrupting)
    }))

  it.effect("waits for the call when it is interrupted where cancellation is disabled", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk({ cancellation: "disabled" })
      const invoking = yield* start(Call.invoke(desk, "Hold", "a"))
      const serverCall = yield* Queue.take(held)
      const interrupting = yield* start(Fiber.interrupt(invoking))
      assert.isTrue(yield* isWaiting(interrupting))
      assert.isFalse(yield* ServerCall.testCancel(serverCall))
      yield* ServerCall.complete(serverCall, "reply")
      yield* Fiber.join(interrupting)
    }))

  it.effect("is prompt under Effect.timeout, whatever the manager does", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { job } = yield* makeJob(() => Effect.uninterruptible(Effect.as(Deferred.await(gate), "late")))
      const invoking = yield* start(Effect.timeoutOption(Call.invoke(job, "Run", "a"), "1 second"))
      yield* TestClock.adjust("1 second")
      assert.isTrue(Option.isNone(yield* Fiber.join(invoking)))
      yield* Deferred.succeed(gate, undefined)
    }))

  it.effect("cancels the loser of a race", () =>
    Effect.gen(function* () {
      const { desk, seen } = yield* makeDesk()
      const winner = yield* Effect.race(Call.invoke(desk, "Stay", "loser"), Call.invoke(desk, "Answer", "winner"))
      yield* settle
      assert.strictEqual(winner, "answer to winner")
      assert.include(seen, "Stay was interrupted")
    }))

  it.effect("runs any number side by side", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const all = yield* start(
        Effect.forEach(["a", "b", "c"], (input) => Call.invoke(desk, "Hold", input), { concurrency: "unbounded" })
      )
      const calls = yield* Queue.takeN(held, 3)
      for (const i of [2, 0, 1]) yield* ServerCall.complete(calls[i]!, `reply ${i}`)
      assert.deepStrictEqual(yield* Fiber.join(all), ["reply 0", "reply 1", "reply 2"])
    }))

  it.effect("runs beside an asynchronous call that is pending", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      assert.strictEqual(yield* Call.invoke(desk, "Answer", "b"), "answer to b")
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      assert.strictEqual(yield* Call.finish(pending), "reply")
    }))

  it.effect("is retried like any effect", () =>
    Effect.gen(function* () {
      let attempts = 0
      const { job } = yield* makeJob(() =>
        Effect.suspend(() => ++attempts < 3 ? Effect.fail(new Denied({ who: "busy" })) : Effect.succeed("done"))
      )
      assert.strictEqual(yield* Effect.retry(Call.invoke(job, "Run", "a"), { times: 5 }), "done")
      assert.strictEqual(attempts, 3)
    }))

  it.effect("is not interrupted once a call in the same process has answered", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const fiber = yield* start(Call.invoke(desk, "Answer", "a"))
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(shown(yield* Fiber.await(fiber)), { value: "answer to a" })
    }))
})

describe("a maybe method", () => {
  it.effect("completes when it was sent, whatever becomes of it on the server", () =>
    Effect.gen(function* () {
      const Notes = Interface.make("Notes", {
        uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1b02",
        version: [1, 0],
        methods: { Note: Interface.method({ in: Schema.String, maybe: true }) }
      })
      const done: Array<string> = []
      const gate = yield* Deferred.make<void>()
      const manager = Manager.make(Notes, {
        Note: (text) =>
          text === "die"
            ? Effect.die(new Error("nobody hears it"))
            : Effect.andThen(Deferred.await(gate), Effect.sync(() => void done.push(text)))
      })
      const notes = yield* Binding.local(yield* Server.make([manager]), Notes)
      const call = yield* Call.make(notes)
      const pending = yield* Call.begin(call, "Note", "slow")
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Completed", kind: "replied" })
      assert.strictEqual(yield* refusal(Call.cancel(pending)), "CallComplete")
      assert.strictEqual(yield* Call.finish(pending), undefined)
      assert.strictEqual(yield* Call.invoke(notes, "Note", "die"), undefined)
      assert.strictEqual(yield* Call.invoke(notes, "Note", "invoked"), undefined)
      yield* Effect.scoped(Effect.flatMap(Call.make(notes), (released) => Call.begin(released, "Note", "released")))
      assert.deepStrictEqual(done, [])
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      assert.deepStrictEqual(done, ["slow", "invoked", "released"])
    }))
})

describe("managers that misbehave", () => {
  const stillWorks = Effect.fnUntraced(function* (call: Call.Call<typeof Job1>, server: Server.Server) {
    assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
    assert.strictEqual(yield* Call.join(yield* Call.begin(call, "Run", "good")), "good")
    assert.strictEqual((yield* Server.calls(server)).length, 0)
  })

  const bad: Record<string, () => Effect.Effect<string>> = {
    throws: () => {
      throw new Error("a secret of the server")
    },
    "dies": () => Effect.die(new Error("a secret of the server")),
    "interrupts itself": () => Effect.interrupt,
    "gives no effect at all": () => undefined as never,
    "fails with an error that is not declared": () => Effect.fail(new Error("a secret of the server")) as never,
    "fails with nothing": () => Effect.fail(undefined) as never,
    "dies later": () => Effect.andThen(Effect.yieldNow, Effect.die(new Error("a secret of the server")))
  }
  for (const [name, routine] of Object.entries(bad)) {
    it.effect(`a routine that ${name} ends that call alone with 1726`, () =>
      Effect.gen(function* () {
        const { call, job, server } = yield* makeJob((input) => input === "bad" ? routine() : Effect.succeed(input))
        const error = yield* Effect.flip(Call.join(yield* Call.begin(call, "Run", "bad")))
        assert.deepInclude(error, { _tag: "RpcFault", code: 1726, didNotExecute: false })
        assert.notInclude(String(error) + error.message + JSON.stringify(error), "secret")
        assert.strictEqual(yield* refusal(Call.invoke(job, "Run", "bad")), "RpcFault")
        yield* stillWorks(call, server)
      }))
  }

  it.effect("a routine that never returns holds only its own call", () =>
    Effect.gen(function* () {
      const { call, job, server } = yield* makeJob((input) => input === "bad" ? Effect.never : Effect.succeed(input))
      const pending = yield* Call.begin(call, "Run", "bad")
      assert.strictEqual(yield* Call.invoke(job, "Run", "other"), "other")
      assert.strictEqual(yield* refusal(Call.wait(pending, 0)), "WaitTimeout")
      yield* Call.cancel(pending)
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallCancelled")
      yield* settle
      yield* stillWorks(call, server)
    }))

  it.effect("a routine that completes twice is refused, and the first reply stands", () =>
    Effect.gen(function* () {
      const refusals: Array<string> = []
      const { call, server } = yield* makeJob((input, serverCall) =>
        Effect.gen(function* () {
          yield* ServerCall.complete(serverCall, input)
          refusals.push(yield* refusal(ServerCall.complete(serverCall, "second")))
          refusals.push(yield* refusal(ServerCall.abort(serverCall, new Denied({ who: "third" }))))
          return "fourth"
        }).pipe(Effect.orDie)
      )
      assert.strictEqual(yield* Call.join(yield* Call.begin(call, "Run", "first")), "first")
      yield* settle
      assert.deepStrictEqual(refusals, ["InvalidAsyncHandle", "InvalidAsyncHandle"])
      yield* stillWorks(call, server)
    }))

  it.effect("a reply after the client left is refused, and object, call and server stay usable", () =>
    Effect.gen(function* () {
      const kept = yield* Queue.unbounded<ServerCall.ServerCall<(typeof Job1)["methods"]["Run"]>>()
      const { call, job, server } = yield* makeJob(
        Manager.handOff((input, serverCall) =>
          input === "bad" ? Queue.offer(kept, serverCall) : Effect.orDie(ServerCall.complete(serverCall, input))
        )
      )
      const pending = yield* Call.begin(call, "Run", "bad")
      yield* Call.cancel(pending)
      yield* Effect.exit(Call.finish(pending))
      yield* Effect.scoped(Effect.flatMap(Call.make(job), (released) => Call.begin(released, "Run", "bad")))
      const [cancelled, orphaned] = yield* Queue.takeN(kept, 2)
      assert.strictEqual(yield* refusal(ServerCall.complete(orphaned!, "late")), "InvalidAsyncHandle")
      yield* Effect.ignore(ServerCall.complete(cancelled!, "late"))
      yield* stillWorks(call, server)
    }))
})

describe("causal order", () => {
  it.effect("dispatches the calls of a binding in the order in which they were begun", () =>
    Effect.gen(function* () {
      const { desk, seen } = yield* makeDesk()
      const methods = ["Hold", "Stay", "Answer", "Hold", "Answer", "Stay"] as const
      for (const [i, method] of methods.entries()) {
        yield* Call.begin(yield* Call.make(desk), method as "Hold", String(i))
      }
      assert.deepStrictEqual(seen, methods.map((method, i) => `${method} ${i}`))
    }))

  for (const causal of [true, false]) {
    it.effect(`${causal ? "holds" : "is off without harm"} for calls begun deep inside other calls`, () =>
      Effect.gen(function* () {
        const order: Array<string> = []
        const made: { readonly job: Binding.Binding<typeof Job1> } = yield* makeJob(
          (input, _call) =>
            Effect.gen(function* () {
              if (input.startsWith("note")) {
                order.push(input)
                return input
              }
              const level = Number(input)
              if (level < 100) return yield* Effect.orDie(Call.invoke(made.job, "Run", String(level + 1)))
              const begun = yield* Effect.forEach(["note 1", "note 2", "note 3"], (note) =>
                Effect.flatMap(Call.make(made.job), (call) => Call.begin(call, "Run", note)))
              const joined = yield* Effect.forEach(begun, (pending) =>
                Call.join(pending))
              return joined.join(", ")
            }).pipe(Effect.scoped, Effect.orDie),
          { binding: { causal } }
        )
        assert.strictEqual(yield* Call.invoke(made.job, "Run", "0"), "note 1, note 2, note 3")
        assert.deepStrictEqual(causal ? order : [...order].sort(), ["note 1", "note 2", "note 3"])
      }))
  }

  it.effect("holds where calls were kept back and there is room for the next one again", () =>
    Effect.gen(function* () {
      const begun: Array<string> = []
      const dispatched: Array<string> = []
      const scope = yield* Effect.scope
      const begin = (input: string) =>
        Effect.flatMap(Scope.provide(Call.make(made.job), scope), (call) => {
          begun.push(input)
          return Call.begin(call, "Run", input)
        })
      const made: { readonly job: Binding.Binding<typeof Job1> } = yield* makeJob((input) =>
        Effect.gen(function* () {
          dispatched.push(input)
          const level = Number(input)
          if (level < 100) {
            yield* begin(String(level + 1))
            yield* begin(`after ${level}`)
          }
          return input
        }).pipe(Effect.orDie)
      )
      yield* begin("0")
      yield* settle
      assert.strictEqual(begun.length, 201)
      assert.deepStrictEqual(dispatched, begun)
    }))

  it.effect("says of a call cancelled before its dispatch that it did not execute", () =>
    Effect.gen(function* () {
      const ran: Array<string> = []
      const errors: Array<unknown> = []
      const made: { readonly job: Binding.Binding<typeof Job1> } = yield* makeJob((input) =>
        Effect.gen(function* () {
          ran.push(input)
          if (input === "cancelled") return input
          const level = Number(input)
          if (level < 100) return yield* Call.invoke(made.job, "Run", String(level + 1))
          const pending = yield* Call.begin(yield* Call.make(made.job), "Run", "cancelled")
          yield* Effect.ignore(Call.cancel(pending, infinitely))
          yield* Effect.catch(Call.join(pending), (error) => Effect.sync(() => void errors.push(error)))
          return "end"
        }).pipe(Effect.scoped, Effect.orDie)
      )
      // From level to level, one of them begins its calls where no more can be nested.
      for (let first = 60; first < 100; first++) yield* Call.invoke(made.job, "Run", String(first))
      const cancelled = errors.filter((error) => (error as Status.CallCancelled).didNotExecute)
      const executed = ran.filter((input) => input === "cancelled")
      assert.isAbove(cancelled.length, 0)
      assert.isAbove(executed.length, 0)
      assert.strictEqual(cancelled.length + executed.length, 40)
    }))
})

describe("a manager that calls its own binding 5,000 levels deep", () => {
  const Count = Interface.make("Count", {
    uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1b03",
    version: [1, 0],
    methods: { Down: Interface.method({ in: Schema.Int, out: Schema.Int }) }
  })
  type Counter = Binding.Binding<typeof Count>

  const routines: Record<string, (n: number, self: () => Counter) => Effect.Effect<number, unknown>> = {
    "at once": (n, self) => Effect.map(Call.invoke(self(), "Down", n - 1), (result) => result + 1),
    "after a while": (n, self) =>
      Effect.andThen(Effect.yieldNow, Effect.map(Call.invoke(self(), "Down", n - 1), (result) => result + 1)),
    "with begin and join": (n, self) =>
      Effect.gen(function* () {
        const call = yield* Call.make(self())
        return (yield* Call.join(yield* Call.begin(call, "Down", n - 1))) + 1
      }).pipe(Effect.scoped)
  }
  for (const [name, routine] of Object.entries(routines)) {
    for (const causal of [true, false]) {
      it.effect(`works ${name}${causal ? "" : ", non-causal"}`, () =>
        Effect.gen(function* () {
          const manager = Manager.make(Count, {
            Down: (n) => n === 0 ? Effect.succeed(0) : Effect.orDie(routine(n, () => count))
          })
          const server = yield* Server.make([manager])
          const count: Counter = yield* Binding.local(server, Count, { causal })
          assert.strictEqual(yield* Call.invoke(count, "Down", 5000), 5000)
          assert.strictEqual((yield* Server.calls(server)).length, 0)
        }))
    }
  }

  it.effect("works by hand-off, with replies from another fiber", () =>
    Effect.gen(function* () {
      const manager = Manager.make(Count, {
        Down: Manager.handOff((n, serverCall) =>
          Effect.forkDetach(
            Effect.flatMap(
              n === 0 ? Effect.succeed(0) : Effect.map(Call.invoke(count, "Down", n - 1), (result) => result + 1),
              (result) => ServerCall.complete(serverCall, result)
            ),
            { startImmediately: true }
          )
        )
      })
      const server = yield* Server.make([manager])
      const count: Counter = yield* Binding.local(server, Count)
      assert.strictEqual(yield* Call.invoke(count, "Down", 5000), 5000)
    }))

  it.effect("is cancelled through all levels", () =>
    Effect.gen(function* () {
      const bottom = yield* Deferred.make<void>()
      const gone = yield* Deferred.make<void>()
      const manager = Manager.make(Count, {
        Down: (n) =>
          n === 0
            ? Effect.andThen(
              Deferred.succeed(bottom, undefined),
              Effect.onInterrupt(Effect.never, () => Deferred.succeed(gone, undefined))
            )
            : Effect.orDie(Call.invoke(count, "Down", n - 1))
      })
      const server = yield* Server.make([manager])
      const count: Counter = yield* Binding.local(server, Count)
      const invoking = yield* start(Call.invoke(count, "Down", 5000))
      yield* Deferred.await(bottom)
      yield* Fiber.interrupt(invoking)
      yield* Deferred.await(gone)
      yield* Effect.yieldNow
      while ((yield* Server.calls(server)).length > 0) yield* Effect.yieldNow
    }))
})

describe("ways to learn of completion", () => {
  it.effect("a wait, which consumes nothing", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      const waits = [yield* start(Call.wait(pending)), yield* start(Call.wait(pending, "1 minute"))]
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      for (const wait of waits) yield* Fiber.join(wait)
      yield* Call.wait(pending)
      assert.strictEqual(yield* Call.finish(pending), "reply")
    }))

  it.effect("a poll", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const call = yield* Call.make(desk)
      yield* Call.begin(call, "Hold", "a")
      assert.strictEqual((yield* Call.state(call))._tag, "Pending")
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      assert.strictEqual((yield* Call.state(call))._tag, "Completed")
    }))

  it.effect("a callback, which can finish the call", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      const result = yield* Deferred.make<unknown>()
      yield* Call.onComplete(
        pending,
        Effect.flatMap(outcome(Call.finish(pending)), (found) => Deferred.succeed(result, found))
      )
      yield* settle
      assert.isFalse(yield* Deferred.isDone(result))
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      assert.deepStrictEqual(yield* Deferred.await(result), { value: "reply" })
    }))

  it.effect("a callback on a call that is complete already runs at once", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Answer", "a")
      const ran = yield* Deferred.make<void>()
      yield* Call.onComplete(pending, Deferred.succeed(ran, undefined))
      yield* Deferred.await(ran)
    }))

  it.effect("a callback does not run for a call that is released before completion", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const ran = yield* Deferred.make<void>()
      yield* Effect.scoped(Effect.gen(function* () {
        const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
        yield* Call.onComplete(pending, Deferred.succeed(ran, undefined))
      }))
      yield* settle
      assert.isFalse(yield* Deferred.isDone(ran))
    }))

  it.effect("a callback that dies harms nobody", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      yield* Call.onComplete(pending, Effect.die("broken"))
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      yield* settle
      assert.strictEqual(yield* Call.finish(pending), "reply")
    }))

  it.effect("a queue that any number of calls complete into, and no completion is lost", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const queue = yield* Queue.unbounded<Call.Completion<number, Call.Pending<typeof Desk, "Hold">>>()
      for (let i = 0; i < 1000; i++) {
        yield* Call.notify(yield* Call.begin(yield* Call.make(desk), "Hold", String(i)), queue, i)
      }
      const calls = yield* Queue.takeN(held, 1000)
      for (const [i, serverCall] of [...calls.entries()].reverse()) yield* ServerCall.complete(serverCall, `reply ${i}`)
      const completions = yield* Queue.takeN(queue, 1000)
      assert.deepStrictEqual(completions.map(({ tag }) => tag), Array.from({ length: 1000 }, (_, i) => 999 - i))
      for (const { pending, tag } of completions) assert.strictEqual(yield* Call.finish(pending), `reply ${tag}`)
    }))

  it.effect("a queue receives a call that is complete already, and none that is released", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const queue = yield* Queue.unbounded<Call.Completion<string, Call.Pending.Any>>()
      yield* Effect.scoped(Effect.gen(function* () {
        yield* Call.notify(yield* Call.begin(yield* Call.make(desk), "Hold", "a"), queue, "released")
      }))
      yield* Call.notify(yield* Call.begin(yield* Call.make(desk), "Answer", "a"), queue, "complete")
      assert.deepStrictEqual((yield* Queue.takeAll(queue)).map(({ tag }) => tag), ["complete"])
    }))

  it.effect("nothing at all: a call completes and is finished whenever its program likes", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      yield* TestClock.adjust("1000 days")
      assert.strictEqual(yield* Call.finish(pending), "reply")
    }))

  it.effect("a stream of the states of the object, until its release", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const scope = yield* Scope.fork(yield* Effect.scope)
      const call = yield* Scope.provide(Call.make(desk), scope)
      const states = yield* start(Stream.runCollect(Call.states(call)))
      yield* settle
      const pending = yield* Call.begin(call, "Hold", "a")
      yield* Call.cancel(pending, infinitely)
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      yield* Call.finish(pending)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* Fiber.join(states), [
        { _tag: "Idle" },
        { _tag: "Pending", cancelRequested: false },
        { _tag: "Pending", cancelRequested: true },
        { _tag: "Completed", kind: "replied" },
        { _tag: "Idle" }
      ])
    }))

  it.effect("all of them at once", () =>
    Effect.gen(function* () {
      const { desk, held } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      const queue = yield* Queue.unbounded<Call.Completion<string, typeof pending>>()
      const ran = yield* Deferred.make<void>()
      const waiting = yield* start(Call.wait(pending))
      yield* Call.notify(pending, queue, "posted")
      yield* Call.onComplete(pending, Deferred.succeed(ran, undefined))
      const joining = yield* start(Call.join(pending))
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      yield* Fiber.join(waiting)
      yield* Deferred.await(ran)
      assert.strictEqual((yield* Queue.take(queue)).tag, "posted")
      assert.strictEqual(yield* Fiber.join(joining), "reply")
    }))
})
