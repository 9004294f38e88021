import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Queue, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Binding, Call, Interface, Manager, Server, ServerCall } from "../mod.ts"
import { Desk, isWaiting, Job1, makeDesk, makeJob, outcome, refusal, settle, start } from "./fixtures.ts"

/** A server in a scope of its own, with a client outside of it. */
const makeClosable = Effect.fnUntraced(function* (options: Server.Options = {}) {
  const serving = yield* Scope.fork(yield* Effect.scope)
  const made = yield* Scope.provide(makeDesk({ server: options }), serving)
  const desk = yield* Binding.local(made.server, Desk)
  return { ...made, desk, call: yield* Call.make(desk), close: Scope.close(serving, Exit.void) }
})

describe("a server", () => {
  it.effect("two managers of one interface version for one object: are refused", () =>
    Effect.gen(function* () {
      const routines = { Run: () => Effect.succeed("") }
      const object = "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1e01"
      const same = [
        [Manager.make(Job1, routines), Manager.make(Job1, routines)],
        [Manager.make(Job1, routines, { object }), Manager.make(Job1, routines, { object: object.toUpperCase() })]
      ]
      for (const managers of same) {
        const exit = yield* Effect.exit(Server.make(managers))
        assert.isTrue(Exit.isFailure(exit))
        const defect = exit._tag === "Failure" ? Cause.squash(exit.cause) : undefined
        assert.instanceOf(defect, TypeError)
        assert.include(String(defect), "Job1 1.0")
      }
      yield* Server.make([Manager.make(Job1, routines), Manager.make(Job1, routines, { object })])
    }))

  it.effect("client goes away: its calls end, and the server stays", () =>
    Effect.gen(function* () {
      const { desk, seen, server } = yield* makeDesk()
      const client = yield* Effect.forkChild(
        Effect.scoped(Effect.gen(function* () {
          const own = yield* Binding.local(server, Desk)
          return yield* Call.invoke(own, "Stay", "a")
        })),
        { startImmediately: true }
      )
      yield* settle
      assert.deepStrictEqual(seen, ["Stay a"])
      yield* Fiber.interrupt(client)
      yield* settle
      assert.deepStrictEqual(seen, ["Stay a", "Stay was interrupted"])
      assert.strictEqual(yield* Call.invoke(desk, "Answer", "b"), "answer to b")
    }))

  it.effect("server as a layer, binding as a service: calls work", () =>
    Effect.gen(function* () {
      const Runner = Binding.Service("test/Runner", Job1)
      const manager = Manager.layer(Job1, Effect.succeed({ Run: (input: string) => Effect.succeed(`${input} ran`) }))
      const program = Effect.flatMap(Runner, (runner) => Call.invoke(runner, "Run", "a"))
      const live = Runner.layer.pipe(Layer.provide(Server.layer([Job1])), Layer.provide(manager))
      assert.strictEqual(yield* Effect.provide(program, live), "a ran")
    }))
})

describe("a server that shuts down", () => {
  it.effect("shutdown: new calls are refused, and calls in progress may reply", () =>
    Effect.gen(function* () {
      const { call, close, desk, gate } = yield* makeClosable()
      const pending = yield* Call.begin(call, "Stay", "a")
      const closing = yield* start(close)
      assert.isTrue(yield* isWaiting(closing))
      assert.deepInclude(yield* Effect.flip(Call.invoke(desk, "Answer", "b")), {
        _tag: "RpcTransportError",
        status: 1722
      })
      yield* Deferred.succeed(gate, "in time")
      yield* Fiber.join(closing)
      assert.strictEqual(yield* Call.finish(pending), "in time")
    }))

  it.effect("shutdown, a handed-off call: may be completed in the period of grace", () =>
    Effect.gen(function* () {
      const { call, close, held } = yield* makeClosable({ grace: "1 minute" })
      const pending = yield* Call.begin(call, "Hold", "a")
      const serverCall = yield* Queue.take(held)
      const closing = yield* start(close)
      yield* TestClock.adjust("59 seconds")
      assert.isTrue(yield* isWaiting(closing))
      yield* ServerCall.complete(serverCall, "in time")
      yield* Fiber.join(closing)
      assert.strictEqual(yield* Call.finish(pending), "in time")
    }))

  it.effect("shutdown, grace over: calls end with 1726, and their work is interrupted", () =>
    Effect.gen(function* () {
      const { call, close, desk, held, seen } = yield* makeClosable({ grace: "1 minute" })
      const stay = yield* Call.begin(call, "Stay", "a")
      const hold = yield* Call.begin(yield* Call.make(desk), "Hold", "b")
      const serverCall = yield* Queue.take(held)
      const closing = yield* start(close)
      yield* TestClock.adjust("59999 millis")
      assert.isTrue(yield* isWaiting(closing))
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Pending", cancelRequested: false })
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(closing)
      for (const pending of [stay, hold]) {
        const error = yield* Effect.flip(Call.finish(pending as typeof stay))
        assert.deepInclude(error, { _tag: "RpcTransportError", status: 1726, didNotExecute: false })
      }
      assert.include(seen, "Stay was interrupted")
      assert.strictEqual(yield* refusal(ServerCall.complete(serverCall, "too late")), "InvalidAsyncHandle")
    }))

  it.effect("shutdown without a grace option: waits 5 seconds", () =>
    Effect.gen(function* () {
      const { call, close } = yield* makeClosable()
      yield* Call.begin(call, "Stay", "a")
      const closing = yield* start(close)
      yield* TestClock.adjust("4999 millis")
      assert.isTrue(yield* isWaiting(closing))
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(closing)
    }))

  it.effect("shutdown with grace 0, or without calls: is done at once", () =>
    Effect.gen(function* () {
      const busy = yield* makeClosable({ grace: 0 })
      const pending = yield* Call.begin(busy.call, "Stay", "a")
      yield* busy.close
      assert.strictEqual(yield* refusal(Call.finish(pending)), "RpcTransportError")
      const quiet = yield* makeClosable()
      yield* Call.invoke(quiet.desk, "Answer", "a")
      yield* quiet.close
    }))
})

describe("the age of calls", () => {
  it.effect("maximumAge: an older call is aborted with 1460, and its work interrupted", () =>
    Effect.gen(function* () {
      const { desk, held, seen, server } = yield* makeDesk({ server: { maximumAge: "10 seconds" } })
      const stay = yield* Call.begin(yield* Call.make(desk), "Stay", "a")
      yield* TestClock.adjust("5 seconds")
      const hold = yield* Call.begin(yield* Call.make(desk), "Hold", "b")
      yield* TestClock.adjust("4999 millis")
      assert.strictEqual(yield* refusal(Call.finish(stay)), "CallPending")
      yield* TestClock.adjust("1 millis")
      assert.deepInclude(yield* Effect.flip(Call.finish(stay)), { _tag: "RpcFault", code: 1460, didNotExecute: false })
      yield* settle
      assert.include(seen, "Stay was interrupted")
      assert.strictEqual(yield* refusal(Call.finish(hold)), "CallPending")
      yield* TestClock.adjust("5 seconds")
      assert.deepInclude(yield* Effect.flip(Call.finish(hold)), { _tag: "RpcFault", code: 1460 })
      assert.strictEqual(yield* refusal(ServerCall.complete(yield* Queue.take(held), "late")), "InvalidAsyncHandle")
      assert.deepStrictEqual(yield* Server.calls(server), [])
    }))

  it.effect("maximumAge after a quiet time: new calls are watched again", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk({ server: { maximumAge: "10 seconds" } })
      const call = yield* Call.make(desk)
      for (let i = 0; i < 3; i++) {
        yield* Call.invoke(desk, "Answer", "a")
        yield* TestClock.adjust("1 minute")
        const pending = yield* Call.begin(call, "Hold", "a")
        yield* TestClock.adjust("9999 millis")
        assert.strictEqual(yield* refusal(Call.finish(pending)), "CallPending")
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(yield* refusal(Call.finish(pending)), "RpcFault")
      }
    }))

  it.effect("no maximumAge: calls may run without a limit", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      yield* TestClock.adjust("1000 days")
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallPending")
    }))
})

describe("the number of calls in progress", () => {
  it.effect("maximumCalls reached: one more call is refused with 1723, and did not execute", () =>
    Effect.gen(function* () {
      const { desk, held, seen } = yield* makeDesk({ server: { maximumCalls: 2 } })
      const pendings = yield* Effect.forEach(
        ["a", "b"],
        (input) => Effect.flatMap(Call.make(desk), (call) => Call.begin(call, "Hold", input))
      )
      const error = yield* Effect.flip(Call.invoke(desk, "Answer", "c"))
      assert.deepInclude(error, { _tag: "RpcFault", code: 1723, didNotExecute: true })
      assert.deepStrictEqual(seen, ["Hold a", "Hold b"])
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      assert.strictEqual(yield* Call.finish(pendings[0]!), "reply")
      assert.strictEqual(yield* Call.invoke(desk, "Answer", "c"), "answer to c")
    }))

  it.effect("maximumCalls reached, a client goes: there is room again", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk({ server: { maximumCalls: 1 } })
      yield* Effect.scoped(Effect.gen(function* () {
        yield* Call.begin(yield* Call.make(desk), "Hold", "a")
        assert.strictEqual(yield* refusal(Call.invoke(desk, "Answer", "b")), "RpcFault")
      }))
      assert.strictEqual(yield* Call.invoke(desk, "Answer", "b"), "answer to b")
    }))
})

describe("the calls of a server", () => {
  it.effect("calls of a server: are listed oldest first, over all managers and bindings", () =>
    Effect.gen(function* () {
      const { desk, server } = yield* makeDesk()
      const other = yield* Binding.local(server, Desk)
      for (const binding of [desk, other, desk]) yield* Call.begin(yield* Call.make(binding), "Hold", "a")
      yield* Call.begin(yield* Call.make(other), "Stay", "a")
      const names = (yield* Server.calls(server)).map((call) => ServerCall.operation(call).name)
      assert.deepStrictEqual(names, ["Hold", "Hold", "Hold", "Stay"])
    }))

  it.effect("calls of a server: include the one whose routine runs at this moment", () =>
    Effect.gen(function* () {
      const counts: Array<number> = []
      const made: { readonly server: Server.Server; readonly job: Binding.Binding<typeof Job1> } = yield* makeJob((
        input
      ) => Effect.map(Effect.suspend(() => Server.calls(made.server)), (calls) => (counts.push(calls.length), input)))
      yield* Call.invoke(made.job, "Run", "a")
      assert.deepStrictEqual(counts, [1])
      assert.deepStrictEqual(yield* Server.calls(made.server), [])
    }))

  it.effect("client gone, routine uninterruptible: the call is over", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { job, server } = yield* makeJob(() => Effect.uninterruptible(Effect.as(Deferred.await(gate), "late")))
      const invoking = yield* start(Call.invoke(job, "Run", "a"))
      assert.strictEqual((yield* Server.calls(server)).length, 1)
      yield* Fiber.interrupt(invoking)
      const left = yield* Server.calls(server)
      for (const call of left) assert.isTrue(yield* ServerCall.testCancel(call))
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      assert.deepStrictEqual(yield* Server.calls(server), [])
    }))
})

describe("versions of an interface", () => {
  const uuid = "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1e02"
  const Text = { out: Schema.String }
  const make = <const V extends readonly [number, number]>(version: V) =>
    Interface.make("Versions", { uuid, version, methods: { Which: Interface.method(Text) } })
  const manager = (major: number, minor: number) =>
    Manager.make(make([major, minor]), { Which: () => Effect.succeed(`${major}.${minor}`) })

  const cases: ReadonlyArray<readonly [readonly [number, number], string]> = [
    [[1, 0], "1.4"],
    [[1, 4], "1.4"],
    [[2, 0], "2.1"],
    [[2, 1], "2.1"]
  ]
  for (const [version, answer] of cases) {
    it.effect(`client of version ${version.join(".")}: is served by ${answer}`, () =>
      Effect.gen(function* () {
        const server = yield* Server.make([manager(1, 2), manager(1, 4), manager(2, 1)])
        assert.strictEqual(yield* Call.invoke(yield* Binding.local(server, make(version)), "Which"), answer)
      }))
  }

  for (const version of [[1, 5], [2, 2], [0, 0], [3, 0]] as const) {
    it.effect(`client of version ${version.join(".")}: is refused with NoInterface`, () =>
      Effect.gen(function* () {
        const server = yield* Server.make([manager(1, 2), manager(1, 4), manager(2, 1)])
        const error = yield* Effect.flip(Binding.local(server, make(version)))
        assert.deepInclude(error, { _tag: "NoInterface", uuid })
        assert.include(error.message, `Versions ${version.join(".")}`)
      }))
  }

  it.effect("client with fewer methods: calls them by their opnums", () =>
    Effect.gen(function* () {
      const Newer = Interface.make("Versions", {
        uuid,
        version: [1, 1],
        methods: { Renamed: Interface.method(Text), Added: Interface.method(Text) }
      })
      const server = yield* Server.make([
        Manager.make(Newer, { Renamed: () => Effect.succeed("opnum 0"), Added: () => Effect.succeed("opnum 1") })
      ])
      const older = yield* Binding.local(server, make([1, 0]))
      assert.strictEqual(yield* Call.invoke(older, "Which"), "opnum 0")
    }))

  it.effect("method missing in the server's description: fails with 1745, and did not execute", () =>
    Effect.gen(function* () {
      const More = Interface.make("Versions", {
        uuid,
        version: [1, 0],
        methods: { Which: Interface.method(Text), Missing: Interface.method(Text) }
      })
      const server = yield* Server.make([manager(1, 4)])
      const more = yield* Binding.local(server, More)
      const error = yield* Effect.flip(Call.invoke(more, "Missing"))
      assert.deepInclude(error, { _tag: "RpcFault", code: 1745, didNotExecute: true })
      assert.deepStrictEqual(yield* outcome(Call.invoke(more, "Which")), { value: "1.4" })
    }))

  describe("that declare different aborts", () => {
    class Busy extends Schema.TaggedError<Busy>()("Busy", {}) {}
    class Occupied extends Schema.TaggedError<Occupied>()("Occupied", {}) {}
    const aborting = <E extends Interface.Abort.Error>(aborts: ReadonlyArray<Interface.Abort<E>>) =>
      Interface.make("Aborting", { uuid, version: [1, 0], methods: { Run: Interface.method({ aborts }) } })
    const Offered = aborting([Interface.abort(5000, Busy)])

    it.effect("code that the client's description lacks: arrives as RpcFault", () =>
      Effect.gen(function* () {
        const server = yield* Server.make([Manager.make(Offered, { Run: () => Effect.fail(new Busy()) })])
        const client = yield* Binding.local(server, aborting([]))
        assert.deepInclude(yield* Effect.flip(Call.invoke(client, "Run")), { _tag: "RpcFault", code: 5000 })
      }))

    it.effect("code with another class in the client's description: arrives as that class", () =>
      Effect.gen(function* () {
        const server = yield* Server.make([Manager.make(Offered, { Run: () => Effect.fail(new Busy()) })])
        const client = yield* Binding.local(server, aborting([Interface.abort(5000, Occupied)]))
        assert.instanceOf(yield* Effect.flip(Call.invoke(client, "Run")), Occupied)
      }))
  })
})

describe("the scope of the routines", () => {
  it.effect("work forked in the routines' scope: lives through the period of grace, and still replies", () =>
    Effect.gen(function* () {
      const ISlow = Interface.make("ISlow", {
        uuid: "d7a1f0c2-8e5b-4c3d-9f60-1a2b3c4d5e6f",
        version: [1, 0],
        methods: { Work: Interface.method({ in: Schema.Int, out: Schema.Int }) }
      })
      const manager = Manager.make(ISlow, {
        Work: Manager.handOff((millis, call) =>
          Effect.forkScoped(Effect.ignore(ServerCall.run(call, Effect.delay(Effect.succeed(millis), millis))))
        )
      })
      const scope = yield* Scope.make()
      const server = yield* Scope.provide(Server.make([manager], { grace: "1 second" }), scope)
      const binding = yield* Binding.local(server, ISlow)
      const inTime = yield* Call.begin(yield* Call.make(binding), "Work", 900)
      const late = yield* Call.begin(yield* Call.make(binding), "Work", 1100)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      assert.strictEqual(yield* Call.join(inTime), 900)
      assert.strictEqual((yield* Effect.flip(Call.join(late)))._tag, "RpcTransportError")
    }))
})
