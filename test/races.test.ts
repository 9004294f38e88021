/**
 * Moments at which two things happen at once. Each test makes the unlucky order happen.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Queue, Schema, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Binding, Call, Interface, Manager, Pipe, Server, ServerCall, Synchronize, TestKit } from "../mod.ts"
import { serverImpl } from "./internals.ts"

const IRace = Interface.make("IRace", {
  uuid: "c0ffee00-1f1d-4e6a-9a55-2f4b8f7e0b21",
  version: [1, 0],
  methods: {
    Work: Interface.method({ out: Schema.Int }),
    Keep: Interface.method({ out: Schema.Int })
  }
})

type Work = Effect.Effect<number>
type Kept = ServerCall.Of<typeof IRace, "Keep">

/** A server whose routine does what the test says, with the call object that makes the call. */
const setUp = (cancellation: ServerCall.Cancellation = "interrupt") =>
  Effect.gen(function* () {
    const kept = yield* Queue.unbounded<Kept>()
    const routine: { current: (call: ServerCall.Of<typeof IRace, "Work">) => Work } = { current: () => Effect.never }
    const manager = Manager.make(IRace, {
      Work: (_, call) => routine.current(call),
      Keep: Manager.handOff((_, call) => Queue.offer(kept, call))
    }, { cancellation })
    const server = yield* Server.make([manager], { grace: 0 })
    const binding = yield* Binding.local(server, IRace)
    const scope = yield* Scope.make()
    const call = yield* Scope.provide(Call.make(binding), scope)
    return { binding, call, kept, routine, scope, server }
  })

const pendingOf = (call: Call.Call<typeof IRace>) =>
  Effect.flatMap(Call.pending(call), (pending) => Effect.fromOption(pending, () => "no call"))

describe("while the routine starts, still inside begin", () => {
  it.effect("cancel inside begin: interrupts the routine all the same", () =>
    Effect.gen(function* () {
      const { call, routine, server } = yield* setUp()
      routine.current = () =>
        Effect.gen(function* () {
          yield* Call.cancel(yield* pendingOf(call), { timeout: Infinity })
          return yield* Effect.never
        }).pipe(Effect.orDie)
      const pending = yield* Call.begin(call, "Work")
      assert.strictEqual((yield* Effect.flip(Call.join(pending)))._tag, "CallCancelled")
      assert.strictEqual((yield* Server.calls(server)).length, 0)
    }))

  it.effect("cancel inside begin, cooperative: the routine goes on", () =>
    Effect.gen(function* () {
      const { call, routine } = yield* setUp("cooperative")
      routine.current = (serverCall) =>
        Effect.gen(function* () {
          yield* Call.cancel(yield* pendingOf(call), { timeout: Infinity })
          yield* Effect.yieldNow
          return (yield* ServerCall.testCancel(serverCall)) ? 1 : 0
        }).pipe(Effect.orDie)
      assert.strictEqual(yield* Call.join(yield* Call.begin(call, "Work")), 1)
    }))

  it.effect("release inside begin: interrupts the routine", () =>
    Effect.gen(function* () {
      const { call, routine, scope, server } = yield* setUp("cooperative")
      const interrupted = yield* Deferred.make<void>()
      routine.current = () =>
        Effect.andThen(Scope.close(scope, Exit.void), Effect.never).pipe(
          Effect.onInterrupt(() => Deferred.succeed(interrupted, void 0))
        )
      yield* Effect.exit(Call.begin(call, "Work"))
      yield* Deferred.await(interrupted)
      assert.strictEqual((yield* Server.calls(server)).length, 0)
    }))

  it.effect("complete before the routine returns: the complete wins", () =>
    Effect.gen(function* () {
      const { call, routine } = yield* setUp()
      routine.current = (serverCall) => Effect.as(Effect.orDie(ServerCall.complete(serverCall, 1)), 2)
      assert.strictEqual(yield* Call.join(yield* Call.begin(call, "Work")), 1)
    }))

  it.effect("client's begin interrupted: no evidence is lost", () =>
    Effect.gen(function* () {
      const { call, routine } = yield* setUp()
      const client: { fiber?: Fiber.Fiber<unknown, unknown> } = {}
      routine.current = () =>
        Effect.suspend(() => {
          client.fiber!.interruptUnsafe()
          return Effect.as(Effect.yieldNow, 7)
        })
      const go = yield* Deferred.make<void>()
      client.fiber = yield* Effect.forkChild(Effect.andThen(Deferred.await(go), Call.begin(call, "Work")), {
        startImmediately: true
      })
      yield* Deferred.succeed(go, void 0)
      yield* Fiber.await(client.fiber)
      assert.strictEqual(yield* Call.join(yield* pendingOf(call)), 7)
    }))
})

describe("when a begin that took time is interrupted just as the call is issued", () => {
  it.effect("begin interrupted just as the call is issued: the object is idle and the server is told, or the call is whole", () =>
    Effect.gen(function* () {
      const client: { fiber?: Fiber.Fiber<unknown, unknown> } = {}
      const manager = Manager.make(IRace, {
        Work: () =>
          Effect.suspend(() => {
            client.fiber!.interruptUnsafe()
            return Effect.never
          }),
        Keep: Manager.handOff(() => Effect.void)
      })
      const { binding, inject, server } = yield* TestKit.make(manager)
      yield* inject("Work", TestKit.delayBegin("1 second"))
      const call = yield* Call.make(binding)
      client.fiber = yield* Effect.forkChild(Call.begin(call, "Work"), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      yield* Fiber.await(client.fiber)
      const state = yield* Call.state(call)
      const inProgress = (yield* Server.calls(server)).length
      assert.strictEqual(inProgress, state._tag === "Idle" ? 0 : 1)
    }))
})

describe("cancel and reply", () => {
  it.effect("routine interrupted by the cancel: may still complete the call", () =>
    Effect.gen(function* () {
      const { call, routine } = yield* setUp()
      routine.current = (serverCall) =>
        Effect.onInterrupt(Effect.never, () => Effect.ignore(ServerCall.complete(serverCall, 5)))
      const pending = yield* Call.begin(call, "Work")
      yield* Call.cancel(pending, { timeout: Infinity })
      assert.strictEqual(yield* Call.join(pending), 5)
    }))

  it.effect("reply provoked by an abortive cancel: comes too late", () =>
    Effect.gen(function* () {
      const { call, kept } = yield* setUp()
      const pending = yield* Call.begin(call, "Keep")
      const serverCall = yield* Queue.take(kept)
      yield* Effect.forkChild(
        Effect.andThen(ServerCall.awaitCancel(serverCall), ServerCall.complete(serverCall, 1)),
        { startImmediately: true }
      )
      yield* Call.cancel(pending, { timeout: 0 })
      assert.strictEqual((yield* Effect.flip(Call.finish(pending)))._tag, "CallCancelled")
    }))

  it.effect("reply provoked by a patient cancel of a kept call: the reply wins", () =>
    Effect.gen(function* () {
      const { call, kept } = yield* setUp()
      const pending = yield* Call.begin(call, "Keep")
      const serverCall = yield* Queue.take(kept)
      yield* Effect.forkChild(
        Effect.andThen(ServerCall.awaitCancel(serverCall), ServerCall.complete(serverCall, 1)),
        { startImmediately: true }
      )
      yield* Call.cancel(pending, { timeout: "1 second" })
      assert.strictEqual(yield* Call.finish(pending), 1)
      // The timer of the cancel is gone with the call: it can't end the next one.
      const next = yield* Call.begin(call, "Work")
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* Effect.flip(Call.finish(next)))._tag, "CallPending")
    }))

  it.effect("late reply to an abandoned call: does not reach the next call of the object", () =>
    Effect.gen(function* () {
      const { call, kept } = yield* setUp()
      const first = yield* Call.begin(call, "Keep")
      yield* Call.cancel(first)
      yield* Effect.flip(Call.finish(first))
      const second = yield* Call.begin(call, "Keep")
      const [firstOnServer, secondOnServer] = [yield* Queue.take(kept), yield* Queue.take(kept)]
      yield* ServerCall.complete(firstOnServer, 1)
      assert.strictEqual((yield* Effect.flip(Call.finish(second)))._tag, "CallPending")
      yield* ServerCall.complete(secondOnServer, 2)
      assert.strictEqual(yield* Call.finish(second), 2)
    }))

  it.effect("work tied while its call is being cancelled: is interrupted", () =>
    Effect.gen(function* () {
      const { call, kept } = yield* setUp()
      const pending = yield* Call.begin(call, "Keep")
      const serverCall = yield* Queue.take(kept)
      let started = 0
      yield* ServerCall.run(
        serverCall,
        Effect.gen(function* () {
          started++
          yield* Effect.orDie(Call.cancel(pending, { timeout: Infinity }))
          return yield* Effect.never
        })
      )
      assert.strictEqual((yield* Effect.flip(Call.join(pending)))._tag, "CallCancelled")
      assert.strictEqual(started, 1)
    }))

  it.effect("work tied after its call was cancelled: never starts", () =>
    Effect.gen(function* () {
      const { call, kept } = yield* setUp()
      const pending = yield* Call.begin(call, "Keep")
      yield* Call.cancel(pending, { timeout: Infinity })
      let started = 0
      yield* ServerCall.run(yield* Queue.take(kept), Effect.sync(() => ++started))
      assert.strictEqual((yield* Effect.flip(Call.join(pending)))._tag, "CallCancelled")
      assert.strictEqual(started, 0)
    }))
})

describe("several who wait", () => {
  it.effect("waiter woken, waits again at once: waits for the next signal", () =>
    Effect.gen(function* () {
      const event = yield* Synchronize.make()
      let rounds = 0
      const fiber = yield* Effect.forkChild(
        Effect.forever(
          Synchronize.wait(event).pipe(
            Effect.andThen(Synchronize.reset(event)),
            Effect.andThen(Effect.sync(() => rounds++))
          ),
          { disableYield: true }
        ),
        { startImmediately: true }
      )
      yield* Synchronize.signal(event)
      yield* Synchronize.signal(event)
      assert.strictEqual(rounds, 2)
      assert.isUndefined(fiber.pollUnsafe())
    }))

  it.effect("event signaled and reset at once: all its waiters go on", () =>
    Effect.gen(function* () {
      const event = yield* Synchronize.make()
      const waiters = yield* Effect.forEach(
        [1, 2, 3],
        (n) => Effect.forkChild(Effect.as(Synchronize.wait(event), n), { startImmediately: true })
      )
      yield* Effect.andThen(Synchronize.signal(event), Synchronize.reset(event))
      assert.deepStrictEqual(yield* Fiber.joinAll(waiters), [1, 2, 3])
      assert.isFalse(yield* Synchronize.isSignaled(event))
    }))

  it.effect("two fibers take from one container: each gets another call", () =>
    Effect.gen(function* () {
      const { binding, kept } = yield* setUp()
      const container = yield* Synchronize.container<Call.Pending<typeof IRace, "Keep">>()
      const pendings = yield* Effect.forEach([1, 2], () =>
        Effect.flatMap(Call.make(binding), (call) => Call.begin(call, "Keep")))
      yield* Effect.forEach(pendings, (pending) =>
        Synchronize.add(container, pending))
      const takers = yield* Effect.forEach([1, 2], () =>
        Effect.forkChild(Synchronize.waitMultiple(container), { startImmediately: true }))
      for (const serverCall of yield* Queue.takeAll(kept)) {
        yield* ServerCall.complete(serverCall, 1)
      }
      assert.deepStrictEqual(new Set(yield* Fiber.joinAll(takers)), new Set(pendings))
    }))

  it.effect("waiter interrupted after completion: another waiter gets the result", () =>
    Effect.gen(function* () {
      const { call, kept } = yield* setUp()
      const pending = yield* Call.begin(call, "Keep")
      const joins: Array<Fiber.Fiber<number, unknown>> = []
      // The first to be woken interrupts the second before it has taken anything, and takes nothing itself.
      yield* Effect.forkChild(
        Effect.andThen(Call.wait(pending), Effect.sync(() => joins.forEach((join) => join.interruptUnsafe()))),
        { startImmediately: true }
      )
      joins.push(yield* Effect.forkChild(Call.join(pending), { startImmediately: true }))
      yield* ServerCall.complete(yield* Queue.take(kept), 9)
      yield* Fiber.await(joins[0]!)
      assert.strictEqual(yield* Call.finish(pending), 9)
    }))
})

describe("pipes", () => {
  const IFlow = Interface.make("IFlow", {
    uuid: "c0ffee00-1f1d-4e6a-9a55-2f4b8f7e0b22",
    version: [1, 0],
    methods: {
      In: Interface.method({ inPipe: { numbers: Schema.Int }, out: Schema.Int }),
      Out: Interface.method({ outPipe: { numbers: Schema.Int }, out: Schema.Int })
    }
  })

  type In = ServerCall.Of<typeof IFlow, "In">
  type Out = ServerCall.Of<typeof IFlow, "Out">

  const setUp = Effect.gen(function* () {
    const routine: {
      in: (call: In) => Effect.Effect<number, ServerCall.Failure<(typeof IFlow)["methods"]["In"]>>
      out: (call: Out) => Effect.Effect<number, ServerCall.Failure<(typeof IFlow)["methods"]["Out"]>>
    } = {
      in: (call) => Stream.runFold(Pipe.toStream(ServerCall.inPipe(call, "numbers")), () => 0, (a, b) => a + b),
      out: () => Effect.never
    }
    const manager = Manager.make(IFlow, { In: (_, call) => routine.in(call), Out: (_, call) => routine.out(call) })
    const server = yield* Server.make([manager], { grace: 0 })
    return { binding: yield* Binding.local(server, IFlow), routine, server }
  })

  it.effect("stream or sink interrupted just as its call begins: leaves no call", () =>
    Effect.gen(function* () {
      const { binding, routine, server } = yield* setUp
      const client: { fiber?: Fiber.Fiber<unknown, unknown> } = {}
      const interrupting = Effect.suspend(() => {
        client.fiber!.interruptUnsafe()
        return Effect.never
      })
      routine.in = () => interrupting
      routine.out = () => interrupting
      for (
        const run of [Stream.run(Stream.never, Call.sink(binding, "In")), Stream.runDrain(Call.stream(binding, "Out"))]
      ) {
        const go = yield* Deferred.make<void>()
        client.fiber = yield* Effect.forkChild(Effect.andThen(Deferred.await(go), run), { startImmediately: true })
        yield* Deferred.succeed(go, undefined)
        yield* Fiber.await(client.fiber)
        assert.deepStrictEqual(yield* Server.calls(server), [])
      }
    }))

  it.effect("routine answers while the last chunk is pushed: the call ends once the pipe has ended", () =>
    Effect.gen(function* () {
      const { binding, routine } = yield* setUp
      routine.in = (call) =>
        Effect.gen(function* () {
          const numbers = ServerCall.inPipe(call, "numbers")
          let sum = 0
          // It goes on inside the push and inside the end, before these return.
          for (let chunk = yield* Pipe.pull(numbers); chunk.length > 0; chunk = yield* Pipe.pull(numbers)) {
            sum += chunk[0]!
          }
          return sum
        })
      const pending = yield* Call.begin(yield* Call.make(binding), "In")
      const numbers = Call.inPipe(pending, "numbers")
      for (const n of [1, 2, 3]) yield* Pipe.push(numbers, [n])
      yield* Pipe.end(numbers)
      assert.strictEqual(yield* Call.join(pending), 6)
    }))

  it.effect("routine cancels its own call after making room: reads nothing after that", () =>
    Effect.gen(function* () {
      const { binding, routine } = yield* setUp
      const read = yield* Deferred.make<string>()
      const go = yield* Deferred.make<void>()
      const held: { pending?: Call.Pending<typeof IFlow, "In"> } = {}
      routine.in = (call) =>
        Effect.gen(function* () {
          const numbers = ServerCall.inPipe(call, "numbers")
          yield* Deferred.await(go)
          yield* Pipe.pull(numbers)
          yield* Effect.orDie(Call.cancel(held.pending!))
          return 1
        }).pipe(Effect.onExit(({ _tag }) => Deferred.succeed(read, _tag)))
      const pending = held.pending = yield* Call.begin(yield* Call.make(binding), "In")
      const numbers = Call.inPipe(pending, "numbers")
      const pushing = yield* Effect.forkChild(
        Effect.flip(Effect.forever(Pipe.push(numbers, [1]), { disableYield: true })),
        {
          startImmediately: true
        }
      )
      yield* Deferred.succeed(go, undefined)
      assert.strictEqual((yield* Fiber.join(pushing))._tag, "CallCancelled")
      assert.strictEqual((yield* Effect.flip(Call.join(pending)))._tag, "CallCancelled")
      assert.strictEqual(yield* Deferred.await(read), "Failure")
    }))

  it.effect("pull interrupted: the next pull gets the chunk", () =>
    Effect.gen(function* () {
      const { binding, routine } = yield* setUp
      routine.out = (call) =>
        Effect.as(Stream.run(Stream.make(1, 2, 3), Pipe.toSink(ServerCall.outPipe(call, "numbers"))), 7)
      const started = yield* Deferred.make<void>()
      const { out } = routine
      routine.out = (call) => Effect.andThen(Deferred.await(started), out(call))
      const pending = yield* Call.begin(yield* Call.make(binding), "Out")
      const numbers = Call.outPipe(pending, "numbers")
      const pulling = yield* Effect.forEach([1, 2], () =>
        Effect.forkChild(Pipe.pull(numbers), { startImmediately: true }))
      const watching = Effect.flatMap(Fiber.await(pulling[0]!), () =>
        Fiber.interrupt(pulling[1]!))
      yield* Effect.forkChild(watching, { startImmediately: true })
      yield* Deferred.succeed(started, undefined)
      const first = yield* Fiber.await(pulling[0]!)
      const second = yield* Fiber.await(pulling[1]!)
      const rest = yield* Stream.runCollect(Pipe.toStream(numbers))
      const taken = [first, second].flatMap((exit) => exit._tag === "Success" ? exit.value : [])
      assert.deepStrictEqual([...taken, ...rest], [1, 2, 3])
      assert.strictEqual(yield* Call.join(pending), 7)
    }))
})

describe("nesting", () => {
  it.effect("waiter begins the next call as soon as it is woken: nesting stays bounded", () =>
    Effect.gen(function* () {
      const { call, kept } = yield* setUp()
      const server = yield* Effect.forkChild(
        Effect.forever(
          Effect.flatMap(Queue.take(kept), (serverCall) => Effect.orDie(ServerCall.complete(serverCall, 1)))
        )
      )
      let sum = 0
      for (let i = 0; i < 20_000; i++) sum += yield* Call.join(yield* Call.begin(call, "Keep"))
      assert.strictEqual(sum, 20_000)
      yield* Fiber.interrupt(server)
    }))

  it.effect("calls kept back by their depth, the server ends: they end, and did not execute", () =>
    Effect.gen(function* () {
      const INest = Interface.make("INest", {
        uuid: "3b1f8c0e-2a53-4b7c-8a6e-5f2d1c0b9a87",
        version: [1, 0],
        methods: { Down: Interface.method({ in: Schema.Int, out: Schema.Int }) }
      })
      const errors: Array<unknown> = []
      const closing = yield* Deferred.make<void>()
      const inner: { binding?: Binding.Binding<typeof INest> } = {}
      const scope = yield* Scope.make()
      const manager = Manager.make(INest, {
        Down: (level) =>
          level === 0 ? Effect.as(Deferred.succeed(closing, void 0), 0) : Effect.gen(function* () {
            // At this depth the server is told to end before the next call can be dispatched.
            if (level === 10) serverImpl(server).accepting = false
            return yield* Call.invoke(inner.binding!, "Down", level - 1)
          }).pipe(
            Effect.catch((error) => {
              errors.push(error)
              return Effect.succeed(-1)
            })
          )
      })
      const server = yield* Scope.provide(Server.make([manager], { grace: 0 }), scope)
      inner.binding = yield* Scope.provide(Binding.local(server, INest), scope)
      assert.strictEqual(yield* Call.invoke(inner.binding, "Down", 100), -1)
      assert.strictEqual((errors[0] as { readonly status: number }).status, 1722)
      yield* Scope.close(scope, Exit.void)
    }))
})
