import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Option, Schema, Scope } from "effect"
import { Binding, Call, Interface, Manager, Server, ServerCall, Status } from "../mod.ts"
import { Denied, isWaiting, Job1, makeJob, outcome, refusal, refuses, settle, start } from "./fixtures.ts"

const Pair = Interface.make("Pair", {
  uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1c01",
  version: [1, 0],
  methods: {
    First: Interface.method({ out: Schema.String, aborts: [Interface.abort(5000, Denied)] }),
    Second: Interface.method({ out: Schema.String })
  }
})

const routines = { First: () => Effect.succeed("first"), Second: () => Effect.succeed("second") }

class Disk extends Context.Service<Disk, { readonly name: string }>()("test/Disk") {}
class Printer extends Context.Service<Printer, { readonly name: string }>()("test/Printer") {}

describe("a manager", () => {
  it("manager without a routine for each method: is refused", () => {
    refuses(() => Manager.make(Pair, { First: routines.First } as never), "Pair", "Second", "no routine")
  })

  it("routine for an undeclared method: is refused", () => {
    refuses(() => Manager.make(Pair, { ...routines, Third: routines.First } as never), "Pair", "Third", "no method")
  })

  it("cancellation of an unknown kind or method: is refused by name", () => {
    const make = (cancellation: unknown) => () => Manager.make(Pair, routines, { cancellation: cancellation as never })
    refuses(make("interupt"), "Pair", "cancellation", `"interupt"`, `"cooperative"`)
    refuses(make({ First: "never" }), "Pair", "cancellation.First", `"never"`)
    refuses(make({ Frist: "disabled" }), "Pair", "cancellation.Frist", "no method")
    Manager.make(Pair, routines, { cancellation: { First: undefined, Second: "disabled" } })
  })

  it("inherited property named like a method: is no routine", () => {
    const Odd = Interface.make("Odd", {
      uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1c02",
      version: [1, 0],
      methods: { toString: Interface.method({}) }
    })
    refuses(() => Manager.make(Odd, {} as never), "Odd", "toString", "no routine")
  })

  it("manager for an object that is no UUID: is refused", () => {
    refuses(() => Manager.make(Pair, routines, { object: "the first" }), "Pair", `"the first"`, "UUID")
  })

  it.effect("routine: gets the in parameters and the server call", () =>
    Effect.gen(function* () {
      const { job } = yield* makeJob((input, call) => Effect.succeed(`${input} ${ServerCall.operation(call).name}`))
      assert.strictEqual(yield* Call.invoke(job, "Run", "a"), "a Run")
    }))

  it.effect("services of a manager: come from where the server is made, not from the caller", () =>
    Effect.gen(function* () {
      const { job } = yield* makeJob(() => Effect.map(Disk, ({ name }) => name)).pipe(
        Effect.provideService(Disk, { name: "the server's" })
      )
      const called = Effect.provideService(Call.invoke(job, "Run", "a"), Disk, { name: "the client's" })
      assert.strictEqual(yield* called, "the server's")
    }))

  it.effect("managers with different services: share a server", () =>
    Effect.gen(function* () {
      const pair = Manager.make(Pair, { ...routines, First: () => Effect.map(Disk, ({ name }) => name) })
      const job = Manager.make(Job1, { Run: () => Effect.map(Printer, ({ name }) => name) })
      const server = yield* Server.make([pair, job]).pipe(
        Effect.provideService(Disk, { name: "disk" }),
        Effect.provideService(Printer, { name: "printer" })
      )
      assert.strictEqual(yield* Call.invoke(yield* Binding.local(server, Pair), "First"), "disk")
      assert.strictEqual(yield* Call.invoke(yield* Binding.local(server, Job1), "Run", "a"), "printer")
    }))

  it.effect("manager of one object, manager for all others: each serves its own calls", () =>
    Effect.gen(function* () {
      const [one, two] = ["5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1c0a", "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1c0b"]
      const answering = (answer: string) => ({ ...routines, First: () => Effect.succeed(answer) })
      const server = yield* Server.make([
        Manager.make(Pair, answering("for all")),
        Manager.make(Pair, answering("for one"), { object: one!.toUpperCase() })
      ])
      const ask = (object?: string) =>
        Effect.flatMap(
          Binding.local(server, Pair, object === undefined ? {} : { object }),
          (pair) => Call.invoke(pair, "First")
        )
      assert.strictEqual(yield* ask(one), "for one")
      assert.strictEqual(yield* ask(one!.toUpperCase()), "for one")
      assert.strictEqual(yield* ask(two), "for all")
      assert.strictEqual(yield* ask(), "for all")
    }))

  it.effect("manager of one object, call for another one: is refused", () =>
    Effect.gen(function* () {
      const [one, two] = ["5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1c0a", "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1c0b"]
      const server = yield* Server.make([Manager.make(Pair, routines, { object: one! })])
      assert.strictEqual(yield* refusal(Binding.local(server, Pair, { object: two! })), "NoInterface")
      assert.strictEqual(yield* refusal(Binding.local(server, Pair)), "NoInterface")
    }))

  it.effect("manager that declines call objects: still serves the one-shot form", () =>
    Effect.gen(function* () {
      const server = yield* Server.make([Manager.make(Pair, routines, { callObjects: false })])
      const pair = yield* Binding.local(server, Pair)
      const error = yield* Effect.flip(Call.make(pair))
      assert.deepInclude(error, { _tag: "NoInterface", interface: "Pair", uuid: Pair.uuid })
      assert.include(error.message, "Call.invoke")
      assert.strictEqual(yield* Call.invoke(pair, "First"), "first")
    }))
})

describe("cancellation of a manager", () => {
  const infinitely = { timeout: "Infinity" } as const

  it.effect("cancel, default cancellation: interrupts the routine, and the client gets CallCancelled", () =>
    Effect.gen(function* () {
      let interrupted = false
      const { call } = yield* makeJob(() =>
        Effect.onInterrupt(Effect.never, () => Effect.sync(() => (interrupted = true)))
      )
      const pending = yield* Call.begin(call, "Run", "a")
      yield* Call.cancel(pending, infinitely)
      assert.strictEqual(yield* refusal(Call.join(pending)), "CallCancelled")
      assert.isTrue(interrupted)
    }))

  it.effect("cancel of an uninterruptible region: waits for its end", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<string>()
      const { call } = yield* makeJob(() => Effect.uninterruptible(Deferred.await(gate)))
      const pending = yield* Call.begin(call, "Run", "a")
      yield* Call.cancel(pending, infinitely)
      const joining = yield* start(Call.join(pending))
      assert.isTrue(yield* isWaiting(joining))
      yield* Deferred.succeed(gate, "the interrupted fiber has no result")
      assert.deepStrictEqual(yield* outcome(Fiber.join(joining)), { failure: "CallCancelled" })
    }))

  it.effect("routine completes before it is interrupted: the cancel loses", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<string>()
      const { call } = yield* makeJob((_input, serverCall) =>
        Effect.flatMap(Deferred.await(gate), (answer) => Effect.orDie(ServerCall.complete(serverCall, answer))).pipe(
          Effect.as("not the reply"),
          Effect.uninterruptible
        )
      )
      const pending = yield* Call.begin(call, "Run", "a")
      yield* Call.cancel(pending, infinitely)
      yield* Deferred.succeed(gate, "answer")
      assert.strictEqual(yield* Call.join(pending), "answer")
    }))

  it.effect("cancel, cooperative: sets the flag alone, and the manager may complete normally", () =>
    Effect.gen(function* () {
      const { call } = yield* makeJob((_input, serverCall) =>
        Effect.gen(function* () {
          const before = yield* ServerCall.testCancel(serverCall)
          const reason = yield* ServerCall.awaitCancel(serverCall)
          return `${before}, then ${reason}, then ${yield* ServerCall.testCancel(serverCall)}`
        }), { cancellation: "cooperative" })
      const pending = yield* Call.begin(call, "Run", "a")
      yield* Call.cancel(pending, infinitely)
      assert.strictEqual(yield* Call.join(pending), "false, then Cancelled, then true")
    }))

  it.effect("cancel, cooperative: the manager may abort with its own error", () =>
    Effect.gen(function* () {
      const { call } = yield* makeJob((_input, serverCall) =>
        Effect.andThen(ServerCall.awaitCancel(serverCall), Effect.fail(new Denied({ who: "manager" }))), {
        cancellation: "cooperative"
      })
      const pending = yield* Call.begin(call, "Run", "a")
      yield* Call.cancel(pending, infinitely)
      assert.strictEqual(yield* refusal(Call.join(pending)), "Denied")
    }))

  it.effect("cancelled routine with a finalizer: cleans up before the client is told", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { call } = yield* makeJob(() => Effect.onInterrupt(Effect.never, () => Deferred.await(gate)))
      const pending = yield* Call.begin(call, "Run", "a")
      yield* Call.cancel(pending, infinitely)
      const joining = yield* start(Call.join(pending))
      assert.isTrue(yield* isWaiting(joining))
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual(yield* outcome(Fiber.join(joining)), { failure: "CallCancelled" })
    }))

  it.effect("routine dies as it is cancelled: the client gets 1726", () =>
    Effect.gen(function* () {
      const { call } = yield* makeJob(() => Effect.onInterrupt(Effect.never, () => Effect.die("broken clean-up")))
      const pending = yield* Call.begin(call, "Run", "a")
      yield* Call.cancel(pending, infinitely)
      assert.deepInclude(yield* Effect.flip(Call.join(pending)), { _tag: "RpcFault", code: 1726 })
    }))

  for (
    const [name, act] of Object.entries({
      cancel: (call: Call.Call<typeof Job1>, _scope: Scope.Closeable) =>
        Effect.flatMap(Call.pending(call), (pending) => Call.cancel(Option.getOrThrow(pending), infinitely)),
      release: (_call: Call.Call<typeof Job1>, scope: Scope.Closeable) => Scope.close(scope, Exit.void)
    })
  ) {
    it.effect(`${name} while the routine starts: interrupts it`, () =>
      Effect.gen(function* () {
        let interrupted = false
        const scope = yield* Scope.fork(yield* Effect.scope)
        const made: { readonly job: Binding.Binding<typeof Job1> } = yield* makeJob(() =>
          Effect.suspend(() => Effect.orDie(act(call, scope))).pipe(
            Effect.andThen(Effect.never),
            Effect.onInterrupt(() => Effect.sync(() => (interrupted = true)))
          )
        )
        const call: Call.Call<typeof Job1> = yield* Scope.provide(Call.make(made.job), scope)
        yield* Effect.exit(Call.begin(call, "Run", "a"))
        yield* settle
        assert.isTrue(interrupted)
      }))
  }

  for (const cancellation of ["interrupt", "cooperative", "disabled"] as const) {
    it.effect(`client goes away, cancellation ${cancellation}: is not delayed`, () =>
      Effect.gen(function* () {
        let interrupted = false
        const { job, server } = yield* makeJob(
          () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => (interrupted = true))),
          { cancellation }
        )
        yield* Effect.scoped(Effect.flatMap(Call.make(job), (call) => Call.begin(call, "Run", "a")))
        yield* settle
        assert.isTrue(interrupted)
        assert.strictEqual((yield* Server.calls(server)).length, 0)
      }))
  }
})

describe("middleware", () => {
  it.effect("two middlewares: the last one added runs outermost", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const noting = (name: string) =>
        Manager.middleware<typeof Pair, never, never>((routine, call) =>
          Effect.gen(function* () {
            log.push(`${name} before ${ServerCall.operation(call).name}`)
            const result = yield* routine
            log.push(`${name} after`)
            return result
          })
        )
      const manager = Manager.make(Pair, {
        ...routines,
        First: () =>
          Effect.sync(() => {
            log.push("routine")
            return "first"
          })
      }).pipe(noting("inner"), noting("outer"))
      const pair = yield* Binding.local(yield* Server.make([manager]), Pair)
      assert.strictEqual(yield* Call.invoke(pair, "First"), "first")
      assert.deepStrictEqual(log, ["outer before First", "inner before First", "routine", "inner after", "outer after"])
    }))

  it.effect("middleware refuses a call: the routine does not run", () =>
    Effect.gen(function* () {
      const ran: Array<string> = []
      const manager = Manager.make(Pair, {
        First: () => Effect.sync(() => (ran.push("First"), "first")),
        Second: () => Effect.sync(() => (ran.push("Second"), "second"))
      }).pipe(
        Manager.middleware((routine, call) =>
          ServerCall.operation(call).name === "First" ? Effect.fail(new Status.RpcFault({ code: 5 })) : routine
        )
      )
      const pair = yield* Binding.local(yield* Server.make([manager]), Pair)
      assert.deepInclude(yield* Effect.flip(Call.invoke(pair, "First")), { _tag: "RpcFault", code: 5 })
      assert.strictEqual(yield* Call.invoke(pair, "Second"), "second")
      assert.deepStrictEqual(ran, ["Second"])
    }))

  it.effect("middleware fails with a declared abort: the client gets it", () =>
    Effect.gen(function* () {
      const manager = Manager.make(Pair, routines).pipe(
        Manager.middleware(() => Effect.fail(new Denied({ who: "middleware" })))
      )
      const pair = yield* Binding.local(yield* Server.make([manager]), Pair)
      assert.deepInclude(yield* Effect.flip(Call.invoke(pair, "First")), { _tag: "Denied", who: "middleware" })
      // The other method does not declare it.
      assert.deepInclude(yield* Effect.flip(Call.invoke(pair, "Second")), { _tag: "RpcFault", code: 1726 })
    }))

  it.effect("middleware provides a service: the routine finds it", () =>
    Effect.gen(function* () {
      const manager = Manager.make(Pair, { ...routines, First: () => Effect.map(Disk, ({ name }) => name) }).pipe(
        Manager.middleware((routine, call) => Effect.provideService(routine, Disk, { name: ServerCall.peer(call) }))
      )
      const pair = yield* Binding.local(yield* Server.make([manager]), Pair)
      assert.strictEqual(yield* Call.invoke(pair, "First"), "local")
    }))

  it.effect("middleware around a hand-off routine: ends at the hand-off", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const gate = yield* Deferred.make<void>()
      const manager = Manager.make(Pair, {
        ...routines,
        First: Manager.handOff((_input, call) =>
          Effect.forkDetach(
            Effect.andThen(
              Deferred.await(gate),
              Effect.flatMap(Effect.sync(() => log.push("completed")), () => ServerCall.complete(call, "later"))
            )
          )
        )
      }).pipe(Manager.middleware((routine) => Effect.ensuring(routine, Effect.sync(() => void log.push("handed off")))))
      const pair = yield* Binding.local(yield* Server.make([manager]), Pair)
      const invoking = yield* start(Call.invoke(pair, "First"))
      yield* settle
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* Fiber.join(invoking), "later")
      assert.deepStrictEqual(log, ["handed off", "completed"])
    }))
})
