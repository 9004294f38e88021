import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Queue, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Binding, Call, type Channel, Interface, Manager, Server, ServerCall, Status } from "../mod.ts"
import { testCalls } from "./calls.ts"
import { Desk, isWaiting, type Job1, makeDesk, makeJob, outcome, refusal, settle, shown, start } from "./fixtures.ts"

const infinitely = { timeout: "Infinity" } as const

testCalls("in one process", { bind: Binding.local })

describe("a call object in one process", () => {
  it.effect("routine that answers at once: the call is complete when begin returns", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const call = yield* Call.make(desk)
      const pending = yield* Call.begin(call, "Answer", "a")
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Completed", kind: "replied" })
      assert.strictEqual(yield* Call.finish(pending), "answer to a")
    }))

  it.effect("call in one process: arguments and results pass by reference, unchecked", () =>
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
})

describe("begin that fails", () => {
  it.effect("begin fails: the object is idle, and needs neither cancel nor finish", () =>
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

  it.effect("server shut down: begin fails with 1722", () =>
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

  it.effect("binding closed: begin fails with 1722", () =>
    Effect.gen(function* () {
      const { server } = yield* makeDesk()
      const bound = yield* Scope.fork(yield* Effect.scope)
      const desk = yield* Scope.provide(Binding.local(server, Desk), bound)
      const call = yield* Call.make(desk)
      yield* Scope.close(bound, Exit.void)
      const error = yield* Effect.flip(Call.begin(call, "Answer", "a"))
      assert.deepInclude(error, { _tag: "RpcTransportError", status: 1722 })
    }))
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

  it.effect("channel that takes time: begin waits until the call is issued", () =>
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

  it.effect("channel that takes time, begin interrupted: the object is idle", () =>
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

  it.effect("channel that takes time, begin fails: the object is idle", () =>
    Effect.gen(function* () {
      const { call, gate } = yield* makeSlow
      const beginning = yield* start(Call.begin(call, "Hold", "a"))
      yield* Deferred.fail(gate, new Status.RpcTransportError({ status: 1722, detail: "no route" }))
      assert.deepStrictEqual(yield* outcome(Fiber.join(beginning)), { failure: "RpcTransportError" })
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
      assert.isTrue(Option.isNone(yield* Call.pending(call)))
    }))

  it.effect("cancel and release over a channel that takes time: the server is told of both", () =>
    Effect.gen(function* () {
      const { desk, gate, log } = yield* makeSlow
      yield* Deferred.succeed(gate, undefined)
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      yield* Call.cancel(pending, infinitely)
      yield* Effect.scoped(Effect.flatMap(Call.make(desk), (call) => Call.begin(call, "Hold", "b")))
      assert.deepStrictEqual(log, ["cancel", "orphan"])
    }))

  it.effect("answer after the call was given up: is discarded", () =>
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

  it.effect("cancelled before its dispatch: the call did not execute, also when the cancel gives up later", () =>
    Effect.gen(function* () {
      const { call, gate } = yield* makeSlow
      yield* Deferred.succeed(gate, undefined)
      const pending = yield* Call.begin(call, "Hold", "a")
      yield* Call.cancel(pending, { timeout: "1 second" })
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* Effect.flip(Call.finish(pending)), { _tag: "CallCancelled", didNotExecute: true })
    }))

  it.effect("one-shot call interrupted while it is issued: stops", () =>
    Effect.gen(function* () {
      const { desk, gate, issued } = yield* makeSlow
      const invoking = yield* start(Call.invoke(desk, "Hold", "a"))
      assert.isTrue(yield* isWaiting(invoking))
      yield* Fiber.interrupt(invoking)
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      assert.strictEqual(issued.length, 0)
    }))

  it.effect("object released during begin: begin leaves it released", () =>
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

describe("cancel where it is disabled", () => {
  it.effect("cancellation disabled for the interface: cancel is refused", () =>
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

  it.effect("cancellation disabled for one method: cancel is refused for that method alone", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk({ cancellation: { Hold: "disabled" } })
      const hold = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      const stay = yield* Call.begin(yield* Call.make(desk), "Stay", "a")
      assert.strictEqual(yield* refusal(Call.cancel(hold)), "CancelDisabled")
      yield* Call.cancel(stay)
      assert.strictEqual(yield* refusal(Call.finish(stay)), "CallCancelled")
    }))

  it.effect("cancellation disabled, one-shot call interrupted: waits for the call", () =>
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
})

describe("the one-shot form in one process", () => {
  it.effect("one-shot call already answered: is not interrupted", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const fiber = yield* start(Call.invoke(desk, "Answer", "a"))
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(shown(yield* Fiber.await(fiber)), { value: "answer to a" })
    }))
})

describe("causal order", () => {
  for (const causal of [true, false]) {
    it.effect(`calls begun deep inside other calls: causal order ${causal ? "holds" : "is off without harm"}`, () =>
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

  it.effect("calls kept back, room for the next one: causal order holds", () =>
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

  it.effect("call cancelled before its dispatch: did not execute", () =>
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
      it.effect(`5,000 nested calls, ${name}${causal ? "" : ", non-causal"}: all end`, () =>
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

  it.effect("5,000 nested hand-offs, replies from another fiber: all end", () =>
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

  it.effect("5,000 nested calls, cancel: reaches all levels", () =>
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
