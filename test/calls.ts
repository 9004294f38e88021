/** Call objects and their one-shot form: the same whatever carries the calls. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Queue, Schema, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { type Binding, Call, Interface, Manager, Server, ServerCall, Status } from "../mod.ts"
import * as Fixtures from "./fixtures.ts"
import { type Bind, Denied, type Desk, isWaiting, type Job1, outcome, refusal, shown, start } from "./fixtures.ts"

/** What carries the calls of the suite. */
export interface World {
  /** Binds a client to a server of the test. */
  readonly bind: Bind
  /** Lets everything arrive that is on its way; by default a few turns. */
  readonly settle?: Effect.Effect<void>
}

const infinitely = { timeout: "Infinity" } as const

export const testCalls = (name: string, { bind, settle = Fixtures.settle }: World): void => {
  describe(name, () => {
    const makeDesk = (options?: Omit<Fixtures.DeskOptions, "bind">) => Fixtures.makeDesk({ ...options, bind })
    /** What is on its way arrives first. */
    const finish = <P extends Call.Pending.Any>(pending: P) => Effect.andThen(settle, Call.finish(pending))
    const testCancel = (call: ServerCall.ServerCall.Any) => Effect.andThen(settle, ServerCall.testCancel(call))
    const makeJob = <R>(routine: Parameters<typeof Fixtures.makeJob<R>>[0]) => Fixtures.makeJob(routine, { bind })

    describe("a call object", () => {
      it.effect("call object, begun from several fibers: carries one call at a time", () =>
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

      it.effect("many call objects on a binding: their calls finish in any order", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const inputs = Array.from({ length: 100 }, (_, i) => String(i))
          const pendings = yield* Effect.forEach(
            inputs,
            (input) => Effect.flatMap(Call.make(desk), (call) => Call.begin(call, "Hold", input))
          )
          const calls = yield* Queue.takeN(held, 100)
          for (const i of [99, 0, 50]) {
            yield* ServerCall.complete(calls[i]!, `reply ${i}`)
            assert.strictEqual(yield* finish(pendings[i]!), `reply ${i}`)
          }
          assert.strictEqual(yield* refusal(finish(pendings[1]!)), "CallPending")
        }))

      it.effect("call object: is reusable for calls of different methods", () =>
        Effect.gen(function* () {
          const { desk, seen } = yield* makeDesk()
          const call = yield* Call.make(desk)
          assert.strictEqual(yield* finish(yield* Call.begin(call, "Answer", "a")), "answer to a")
          assert.strictEqual(yield* finish(yield* Call.begin(call, "Rest")), undefined)
          assert.strictEqual(yield* finish(yield* Call.begin(call, "Answer", "b")), "answer to b")
          assert.deepStrictEqual(seen, ["Answer a", "Rest", "Answer b"])
        }))

      it.effect("lost evidence: the call object gives it back", () =>
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
          finish: (stale: Call.Pending<typeof Desk, "Answer">) => finish(stale),
          join: (stale: Call.Pending<typeof Desk, "Answer">) => Call.join(stale),
          wait: (stale: Call.Pending<typeof Desk, "Answer">) => Call.wait(stale),
          "wait with a timeout": (stale: Call.Pending<typeof Desk, "Answer">) => Call.wait(stale, "1 second"),
          cancel: (stale: Call.Pending<typeof Desk, "Answer">) => Call.cancel(stale, { timeout: 0 }),
          onComplete: (stale: Call.Pending<typeof Desk, "Answer">) => Call.onComplete(stale, Effect.die("must not run"))
        })
      ) {
        it.effect(`${name} with stale evidence: is refused, and the pending call goes on`, () =>
          Effect.gen(function* () {
            const { desk, held } = yield* makeDesk()
            const call = yield* Call.make(desk)
            const stale = yield* Call.begin(call, "Answer", "a")
            yield* finish(stale)
            const pending = yield* Call.begin(call, "Hold", "b")
            assert.strictEqual(
              yield* refusal(operation(stale) as Effect.Effect<void, Status.CallComplete>),
              "CallComplete"
            )
            assert.deepStrictEqual(yield* Call.state(call), { _tag: "Pending", cancelRequested: false })
            yield* ServerCall.complete(yield* Queue.take(held), "reply")
            assert.strictEqual(
              yield* refusal(operation(stale) as Effect.Effect<void, Status.CallComplete>),
              "CallComplete"
            )
            assert.strictEqual(yield* finish(pending), "reply")
          }))
      }

      it.effect("two fibers finish one call: one gets the result", () =>
        Effect.gen(function* () {
          const { desk } = yield* makeDesk()
          const pending = yield* Call.begin(yield* Call.make(desk), "Answer", "a")
          const both = yield* Effect.all([outcome(finish(pending)), outcome(finish(pending))], {
            concurrency: 2
          })
          assert.deepStrictEqual(both, [{ value: "answer to a" }, { failure: "CallComplete" }])
        }))

      it.effect("two fibers join one call: one gets the result", () =>
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

      it.effect("join interrupted as the call completes: the result is kept", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
          const serverCall = yield* Queue.take(held)
          const joining = yield* start(Call.join(pending))
          yield* ServerCall.complete(serverCall, "reply")
          const exit = yield* Effect.andThen(Fiber.interrupt(joining), Fiber.await(joining))
          // Either the join had the result, or it is still there.
          const results = [shown(exit), yield* outcome(finish(pending))]
          assert.strictEqual(results.filter((result) => JSON.stringify(result) === `{"value":"reply"}`).length, 1)
        }))

      it.effect("join interrupted: the call goes on", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const call = yield* Call.make(desk)
          const pending = yield* Call.begin(call, "Hold", "a")
          const serverCall = yield* Queue.take(held)
          yield* Fiber.interrupt(yield* start(Call.join(pending)))
          yield* Fiber.interrupt(yield* start(Call.wait(pending)))
          assert.isFalse(yield* testCancel(serverCall))
          yield* ServerCall.complete(serverCall, "reply")
          assert.strictEqual(yield* Call.join(pending), "reply")
        }))

      it.effect("evidence of one call: finishes no other call", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const [first, second] = [yield* Call.make(desk), yield* Call.make(desk)]
          const a = yield* Call.begin(first, "Hold", "a")
          const b = yield* Call.begin(second, "Hold", "b")
          yield* Queue.take(held)
          yield* ServerCall.complete(yield* Queue.take(held), "reply to b")
          assert.strictEqual(yield* refusal(finish(a)), "CallPending")
          assert.strictEqual(yield* finish(b), "reply to b")
        }))

      it.effect("scope of a call object closes: the object is released then, and not before", () =>
        Effect.gen(function* () {
          const { desk } = yield* makeDesk()
          const call = yield* Effect.scoped(Effect.tap(Call.make(desk), Call.state))
          assert.strictEqual(yield* refusal(Call.state(call)), "InvalidAsyncHandle")
          assert.strictEqual(yield* refusal(Call.pending(call)), "InvalidAsyncHandle")
          assert.strictEqual(yield* refusal(Stream.runDrain(Call.states(call))), "InvalidAsyncHandle")
        }))

      it.effect("begin: is a description that can be run again", () =>
        Effect.gen(function* () {
          const { desk, seen } = yield* makeDesk()
          const call = yield* Call.make(desk)
          const begin = Call.begin(call, "Answer", "a")
          assert.deepStrictEqual(seen, [])
          yield* finish(yield* begin)
          yield* finish(yield* begin)
          assert.deepStrictEqual(seen, ["Answer a", "Answer a"])
        }))

      it.effect("begin, data-last: works as data-first", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const call = yield* Call.make(desk)
          const pending = yield* call.pipe(Call.begin("Hold", "a"))
          assert.strictEqual(yield* refusal(pending.pipe(Call.wait(0))), "WaitTimeout")
          yield* pending.pipe(Call.cancel(infinitely))
          assert.isTrue(yield* testCancel(yield* Queue.take(held)))
          yield* pending.pipe(Call.cancel({ timeout: 0 }))
          yield* pending.pipe(Call.wait())
          assert.strictEqual(yield* refusal(pending.pipe(Call.finish)), "CallCancelled")
          yield* finish(yield* call.pipe(Call.begin("Rest")))
        }))
    })

    describe("the forms of a call", () => {
      const forms = {
        "begin and finish": (desk: Binding.Binding<typeof Desk>, method: "Answer" | "Hold", input: string) =>
          Effect.gen(function* () {
            const pending = yield* Call.begin(yield* Call.make(desk), method as "Answer", input)
            yield* Call.wait(pending)
            return yield* finish(pending)
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
            // The call that it names is another test's, and only a network has a number on the wire.
            return { ...error, interface: undefined, method: undefined, address: undefined, wireCode: undefined }
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

      it.effect("declared abort, each form of a call: arrives as an instance of its class, with its fields", () =>
        Effect.gen(function* () {
          const { desk } = yield* makeDesk()
          const error = yield* Effect.flip(Call.invoke(desk, "Answer", "deny"))
          assert.instanceOf(error, Denied)
          assert.strictEqual((error as Denied).who, "manager")
        }))
    })

    describe("begin that fails", () => {
      for (const name of ["Missing", "toString", "constructor", "__proto__", ""]) {
        it.effect(`method that does not exist (${JSON.stringify(name)}): begin refuses, and the object stays usable`, () =>
          Effect.gen(function* () {
            const { desk } = yield* makeDesk()
            const call = yield* Call.make(desk)
            assert.strictEqual(yield* refusal(Call.begin(call, name as "Answer", "a")), "BadStubData")
            assert.strictEqual(yield* refusal(Call.invoke(desk, name as "Answer", "a")), "BadStubData")
            assert.strictEqual(yield* finish(yield* Call.begin(call, "Answer", "a")), "answer to a")
          }))
      }
    })

    describe("releasing a call object with a pending call", () => {
      it.effect("release while pending: interrupts the manager, and the server keeps nothing", () =>
        Effect.gen(function* () {
          const { desk, seen, server } = yield* makeDesk()
          yield* Effect.scoped(Effect.gen(function* () {
            yield* Call.begin(yield* Call.make(desk), "Stay", "a")
            yield* settle
            assert.strictEqual((yield* Server.calls(server)).length, 1)
          }))
          yield* settle
          assert.deepStrictEqual(seen, ["Stay a", "Stay was interrupted"])
          assert.strictEqual((yield* Server.calls(server)).length, 0)
        }))

      it.effect("release while pending, manager uninterruptible: its late reply is discarded", () =>
        Effect.gen(function* () {
          const gate = yield* Deferred.make<void>()
          const { job, server } = yield* makeJob(() => Effect.uninterruptible(Effect.as(Deferred.await(gate), "late")))
          yield* Effect.scoped(Effect.flatMap(Call.make(job), (call) => Call.begin(call, "Run", "a")))
          assert.strictEqual((yield* Server.calls(server)).length, 0)
          yield* Deferred.succeed(gate, undefined)
          const next = yield* start(Call.invoke(job, "Run", "b"))
          assert.strictEqual(yield* Fiber.join(next), "late")
        }))

      it.effect("release while pending: the other calls of the binding go on", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "kept")
          yield* Effect.scoped(Effect.flatMap(Call.make(desk), (call) => Call.begin(call, "Stay", "dropped")))
          yield* ServerCall.complete(yield* Queue.take(held), "reply")
          assert.strictEqual(yield* finish(pending), "reply")
        }))
    })

    describe("cancel", () => {
      it.effect("cancel: returns as soon as it is recorded, and the call must still be finished", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk({ cancellation: "cooperative" })
          const call = yield* Call.make(desk)
          const pending = yield* Call.begin(call, "Hold", "a")
          yield* Call.cancel(pending, infinitely)
          assert.strictEqual(yield* refusal(Call.begin(call, "Hold", "b")), "CallPending")
          yield* ServerCall.complete(yield* Queue.take(held), "reply")
          assert.strictEqual(yield* refusal(Call.begin(call, "Hold", "b")), "CallPending")
          assert.strictEqual(yield* finish(pending), "reply")
        }))

      it.effect("cancel without options: is abortive", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
          yield* Call.cancel(pending)
          assert.strictEqual(yield* refusal(finish(pending)), "CallCancelled")
          assert.isTrue(yield* testCancel(yield* Queue.take(held)))
        }))

      it.effect("cancel timeout: comes from the binding, or from the call", () =>
        Effect.gen(function* () {
          const { desk } = yield* makeDesk({ binding: { cancelTimeout: "1 minute" } })
          const [a, b] = [
            yield* Call.begin(yield* Call.make(desk), "Hold", "a"),
            yield* Call.begin(yield* Call.make(desk), "Hold", "b")
          ]
          yield* Call.cancel(a)
          yield* Call.cancel(b, { timeout: "1 second" })
          yield* TestClock.adjust("1 second")
          assert.strictEqual(yield* refusal(finish(a)), "CallPending")
          assert.strictEqual(yield* refusal(finish(b)), "CallCancelled")
          yield* TestClock.adjust("58999 millis")
          assert.strictEqual(yield* refusal(finish(a)), "CallPending")
          yield* TestClock.adjust("1 millis")
          assert.strictEqual(yield* refusal(finish(a)), "CallCancelled")
        }))

      it.effect("cancel without a limit: never gives up", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
          yield* Call.cancel(pending, infinitely)
          yield* TestClock.adjust("1000 days")
          assert.strictEqual(yield* refusal(finish(pending)), "CallPending")
          yield* ServerCall.complete(yield* Queue.take(held), "reply")
          assert.strictEqual(yield* finish(pending), "reply")
        }))

      it.effect("answer before the cancel takes effect: the answer wins", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
          yield* Call.cancel(pending, { timeout: "1 second" })
          yield* ServerCall.complete(yield* Queue.take(held), "reply")
          yield* TestClock.adjust("1 second")
          assert.strictEqual(yield* finish(pending), "reply")
        }))

      it.effect("cancel timeout of an earlier call: does not reach the next call of the object", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const call = yield* Call.make(desk)
          const first = yield* Call.begin(call, "Hold", "a")
          yield* Call.cancel(first, { timeout: "1 second" })
          yield* ServerCall.complete(yield* Queue.take(held), "reply")
          yield* finish(first)
          const second = yield* Call.begin(call, "Hold", "b")
          yield* TestClock.adjust("2 seconds")
          assert.deepStrictEqual(yield* Call.state(call), { _tag: "Pending", cancelRequested: false })
          yield* ServerCall.complete(yield* Queue.take(held), "second reply")
          assert.strictEqual(yield* finish(second), "second reply")
        }))

      it.effect("second cancel: may only shorten the timeout", () =>
        Effect.gen(function* () {
          const { desk } = yield* makeDesk()
          const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
          yield* Call.cancel(pending, { timeout: "10 seconds" })
          yield* TestClock.adjust("4 seconds")
          assert.strictEqual(yield* refusal(Call.cancel(pending, { timeout: "6 seconds" })), "CallCancelled")
          assert.strictEqual(yield* refusal(Call.cancel(pending, infinitely)), "CallCancelled")
          yield* Call.cancel(pending, { timeout: "5 seconds" })
          yield* TestClock.adjust("4999 millis")
          assert.strictEqual(yield* refusal(finish(pending)), "CallPending")
          yield* TestClock.adjust("1 millis")
          assert.strictEqual(yield* refusal(finish(pending)), "CallCancelled")
        }))

      it.effect("cancel of a running manager: says nothing certain about it", () =>
        Effect.gen(function* () {
          const { desk } = yield* makeDesk()
          const pending = yield* Call.begin(yield* Call.make(desk), "Stay", "a")
          yield* Call.cancel(pending, { timeout: 0 })
          assert.deepInclude(yield* Effect.flip(finish(pending)), { _tag: "CallCancelled", didNotExecute: false })
        }))

      it.effect("cancel of a completed call: is refused with CallComplete, also where cancellation is disabled", () =>
        Effect.gen(function* () {
          const { desk } = yield* makeDesk({ cancellation: "disabled" })
          const pending = yield* Call.begin(yield* Call.make(desk), "Answer", "a")
          yield* Call.wait(pending)
          assert.strictEqual(yield* refusal(Call.cancel(pending)), "CallComplete")
          assert.strictEqual(yield* Call.finish(pending), "answer to a")
        }))
    })

    describe("the one-shot form", () => {
      it.effect("one-shot call: is a description that can be run again", () =>
        Effect.gen(function* () {
          const { desk, seen } = yield* makeDesk()
          const invoke = Call.invoke(desk, "Answer", "a")
          assert.deepStrictEqual(seen, [])
          yield* invoke
          yield* invoke
          assert.deepStrictEqual(seen, ["Answer a", "Answer a"])
        }))

      it.effect("one-shot call interrupted: cancels the call, and is over at once", () =>
        Effect.gen(function* () {
          const { desk, held, seen } = yield* makeDesk()
          const holding = yield* start(Call.invoke(desk, "Hold", "a"))
          const serverCall = yield* Queue.take(held)
          yield* Fiber.interrupt(holding)
          assert.isTrue(yield* testCancel(serverCall))
          const staying = yield* start(Call.invoke(desk, "Stay", "b"))
          yield* settle
          yield* Fiber.interrupt(staying)
          yield* settle
          assert.include(seen, "Stay was interrupted")
        }))

      it.effect("one-shot call interrupted: waits for the answer no longer than the cancel timeout", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const invoking = yield* start(Call.invoke(desk, "Hold", "a", { cancelTimeout: "2 seconds" }))
          const serverCall = yield* Queue.take(held)
          const interrupting = yield* start(Fiber.interrupt(invoking))
          assert.isTrue(yield* testCancel(serverCall))
          yield* TestClock.adjust("1999 millis")
          assert.isTrue(yield* isWaiting(interrupting))
          yield* TestClock.adjust("1 millis")
          yield* Fiber.join(interrupting)
          assert.deepStrictEqual(shown(yield* Fiber.await(invoking)), { interrupt: true })
        }))

      it.effect("one-shot call interrupted, answer within the cancel timeout: is over then", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk({ binding: { cancelTimeout: "Infinity" } })
          const invoking = yield* start(Call.invoke(desk, "Hold", "a"))
          const serverCall = yield* Queue.take(held)
          const interrupting = yield* start(Fiber.interrupt(invoking))
          assert.isTrue(yield* isWaiting(interrupting))
          yield* ServerCall.complete(serverCall, "reply")
          yield* Fiber.join(interrupting)
        }))

      it.effect("one-shot call under Effect.timeout: is prompt, whatever the manager does", () =>
        Effect.gen(function* () {
          const gate = yield* Deferred.make<void>()
          const { job } = yield* makeJob(() => Effect.uninterruptible(Effect.as(Deferred.await(gate), "late")))
          const invoking = yield* start(Effect.timeoutOption(Call.invoke(job, "Run", "a"), "1 second"))
          yield* TestClock.adjust("1 second")
          assert.isTrue(Option.isNone(yield* Fiber.join(invoking)))
          yield* Deferred.succeed(gate, undefined)
        }))

      it.effect("one-shot call loses a race: is cancelled", () =>
        Effect.gen(function* () {
          const { desk, seen } = yield* makeDesk()
          const winner = yield* Effect.race(Call.invoke(desk, "Stay", "loser"), Call.invoke(desk, "Answer", "winner"))
          yield* settle
          assert.strictEqual(winner, "answer to winner")
          assert.include(seen, "Stay was interrupted")
        }))

      it.effect("many one-shot calls: run side by side", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const all = yield* start(
            Effect.forEach(["a", "b", "c"], (input) => Call.invoke(desk, "Hold", input), { concurrency: "unbounded" })
          )
          const calls = yield* Queue.takeN(held, 3)
          for (const i of [2, 0, 1]) yield* ServerCall.complete(calls[i]!, `reply ${i}`)
          assert.deepStrictEqual(yield* Fiber.join(all), ["reply 0", "reply 1", "reply 2"])
        }))

      it.effect("one-shot call beside a pending asynchronous call: both run", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
          assert.strictEqual(yield* Call.invoke(desk, "Answer", "b"), "answer to b")
          yield* ServerCall.complete(yield* Queue.take(held), "reply")
          assert.strictEqual(yield* finish(pending), "reply")
        }))

      it.effect("one-shot call under Effect.retry: is retried", () =>
        Effect.gen(function* () {
          let attempts = 0
          const { job } = yield* makeJob(() =>
            Effect.suspend(() => ++attempts < 3 ? Effect.fail(new Denied({ who: "busy" })) : Effect.succeed("done"))
          )
          assert.strictEqual(yield* Effect.retry(Call.invoke(job, "Run", "a"), { times: 5 }), "done")
          assert.strictEqual(attempts, 3)
        }))
    })

    describe("a maybe method", () => {
      it.effect("maybe method: completes when it was sent, whatever the server does with it", () =>
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
          const notes = yield* bind(yield* Server.make([manager]), Notes)
          const call = yield* Call.make(notes)
          const pending = yield* Call.begin(call, "Note", "slow")
          assert.deepStrictEqual(yield* Call.state(call), { _tag: "Completed", kind: "replied" })
          assert.strictEqual(yield* refusal(Call.cancel(pending)), "CallComplete")
          assert.strictEqual(yield* finish(pending), undefined)
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
        it.effect(`routine that ${name}: its call alone ends with 1726`, () =>
          Effect.gen(function* () {
            const { call, job, server } = yield* makeJob((input) => input === "bad" ? routine() : Effect.succeed(input))
            const error = yield* Effect.flip(Call.join(yield* Call.begin(call, "Run", "bad")))
            assert.deepInclude(error, { _tag: "RpcFault", code: 1726, didNotExecute: false })
            assert.notInclude(String(error) + error.message + JSON.stringify(error), "secret")
            assert.strictEqual(yield* refusal(Call.invoke(job, "Run", "bad")), "RpcFault")
            yield* stillWorks(call, server)
          }))
      }

      it.effect("routine that never returns: other calls are answered", () =>
        Effect.gen(function* () {
          const { call, job, server } = yield* makeJob((input) =>
            input === "bad" ? Effect.never : Effect.succeed(input)
          )
          const pending = yield* Call.begin(call, "Run", "bad")
          assert.strictEqual(yield* Call.invoke(job, "Run", "other"), "other")
          assert.strictEqual(yield* refusal(Call.wait(pending, 0)), "WaitTimeout")
          yield* Call.cancel(pending)
          assert.strictEqual(yield* refusal(finish(pending)), "CallCancelled")
          yield* settle
          yield* stillWorks(call, server)
        }))

      it.effect("routine completes twice: the second is refused, and the first reply stands", () =>
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

      it.effect("reply after the client left: is refused, and object, call and server stay usable", () =>
        Effect.gen(function* () {
          const kept = yield* Queue.unbounded<ServerCall.ServerCall<(typeof Job1)["methods"]["Run"]>>()
          const { call, job, server } = yield* makeJob(
            Manager.handOff((input, serverCall) =>
              input === "bad" ? Queue.offer(kept, serverCall) : Effect.orDie(ServerCall.complete(serverCall, input))
            )
          )
          const pending = yield* Call.begin(call, "Run", "bad")
          yield* Call.cancel(pending)
          yield* Effect.exit(finish(pending))
          yield* Effect.scoped(Effect.flatMap(Call.make(job), (released) => Call.begin(released, "Run", "bad")))
          const [cancelled, orphaned] = yield* Queue.takeN(kept, 2)
          yield* settle
          assert.strictEqual(yield* refusal(ServerCall.complete(orphaned!, "late")), "InvalidAsyncHandle")
          yield* Effect.ignore(ServerCall.complete(cancelled!, "late"))
          yield* stillWorks(call, server)
        }))
    })

    describe("the order of calls", () => {
      it.effect("calls of a binding: are dispatched in the order of their begin", () =>
        Effect.gen(function* () {
          const { desk, seen } = yield* makeDesk()
          const methods = ["Hold", "Stay", "Answer", "Hold", "Answer", "Stay"] as const
          for (const [i, method] of methods.entries()) {
            yield* Call.begin(yield* Call.make(desk), method as "Hold", String(i))
          }
          yield* settle
          assert.deepStrictEqual(seen, methods.map((method, i) => `${method} ${i}`))
        }))
    })

    describe("ways to learn of completion", () => {
      it.effect("completion by wait: consumes nothing", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
          const waits = [yield* start(Call.wait(pending)), yield* start(Call.wait(pending, "1 minute"))]
          yield* ServerCall.complete(yield* Queue.take(held), "reply")
          for (const wait of waits) yield* Fiber.join(wait)
          yield* Call.wait(pending)
          assert.strictEqual(yield* finish(pending), "reply")
        }))

      it.effect("completion by poll: tells whether the call is complete", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const call = yield* Call.make(desk)
          yield* Call.begin(call, "Hold", "a")
          assert.strictEqual((yield* Call.state(call))._tag, "Pending")
          yield* ServerCall.complete(yield* Queue.take(held), "reply")
          yield* settle
          assert.strictEqual((yield* Call.state(call))._tag, "Completed")
        }))

      it.effect("completion callback: may finish the call", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
          const result = yield* Deferred.make<unknown>()
          yield* Call.onComplete(
            pending,
            Effect.flatMap(outcome(finish(pending)), (found) => Deferred.succeed(result, found))
          )
          yield* settle
          assert.isFalse(yield* Deferred.isDone(result))
          yield* ServerCall.complete(yield* Queue.take(held), "reply")
          assert.deepStrictEqual(yield* Deferred.await(result), { value: "reply" })
        }))

      it.effect("completion callback on a complete call: runs at once", () =>
        Effect.gen(function* () {
          const { desk } = yield* makeDesk()
          const pending = yield* Call.begin(yield* Call.make(desk), "Answer", "a")
          yield* Call.wait(pending)
          const ran = yield* Deferred.make<void>()
          yield* Call.onComplete(pending, Deferred.succeed(ran, undefined))
          yield* Deferred.await(ran)
        }))

      it.effect("completion callback, call released before completion: does not run", () =>
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

      it.effect("completion callback dies: harms nobody", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
          yield* Call.onComplete(pending, Effect.die("broken"))
          yield* ServerCall.complete(yield* Queue.take(held), "reply")
          yield* settle
          assert.strictEqual(yield* finish(pending), "reply")
        }))

      it.effect("completion queue of many calls: loses no completion", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const queue = yield* Queue.unbounded<Call.Completion<number, Call.Pending<typeof Desk, "Hold">>>()
          for (let i = 0; i < 1000; i++) {
            yield* Call.notify(yield* Call.begin(yield* Call.make(desk), "Hold", String(i)), queue, i)
          }
          const calls = yield* Queue.takeN(held, 1000)
          for (const [i, serverCall] of [...calls.entries()].reverse()) {
            yield* ServerCall.complete(serverCall, `reply ${i}`)
          }
          const completions = yield* Queue.takeN(queue, 1000)
          assert.deepStrictEqual(completions.map(({ tag }) => tag), Array.from({ length: 1000 }, (_, i) => 999 - i))
          for (const { pending, tag } of completions) assert.strictEqual(yield* finish(pending), `reply ${tag}`)
        }))

      it.effect("completion queue: receives a call that is complete already, and no released call", () =>
        Effect.gen(function* () {
          const { desk } = yield* makeDesk()
          const queue = yield* Queue.unbounded<Call.Completion<string, Call.Pending.Any>>()
          yield* Effect.scoped(Effect.gen(function* () {
            yield* Call.notify(yield* Call.begin(yield* Call.make(desk), "Hold", "a"), queue, "released")
          }))
          const pending = yield* Call.begin(yield* Call.make(desk), "Answer", "a")
          yield* Call.wait(pending)
          yield* Call.notify(pending, queue, "complete")
          assert.deepStrictEqual((yield* Queue.takeAll(queue)).map(({ tag }) => tag), ["complete"])
        }))

      it.effect("call without any notification: completes, and is finished at any time", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
          yield* ServerCall.complete(yield* Queue.take(held), "reply")
          yield* TestClock.adjust("1000 days")
          assert.strictEqual(yield* finish(pending), "reply")
        }))

      it.effect("stream of an object's states: ends with the release", () =>
        Effect.gen(function* () {
          const { desk, held } = yield* makeDesk()
          const scope = yield* Scope.fork(yield* Effect.scope)
          const call = yield* Scope.provide(Call.make(desk), scope)
          const states = yield* start(Stream.runCollect(Call.states(call)))
          yield* settle
          const pending = yield* Call.begin(call, "Hold", "a")
          yield* Call.cancel(pending, infinitely)
          yield* ServerCall.complete(yield* Queue.take(held), "reply")
          yield* finish(pending)
          yield* Scope.close(scope, Exit.void)
          assert.deepStrictEqual(yield* Fiber.join(states), [
            { _tag: "Idle" },
            { _tag: "Pending", cancelRequested: false },
            { _tag: "Pending", cancelRequested: true },
            { _tag: "Completed", kind: "replied" },
            { _tag: "Idle" }
          ])
        }))

      it.effect("all notifications at once: each tells of the completion", () =>
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
  })
}
