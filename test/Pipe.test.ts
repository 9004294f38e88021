/** Pipes in one process. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue, Schema, Stream } from "effect"
import { Binding, Call, Interface, Manager, Pipe, Server, ServerCall } from "../mod.ts"
import { hold, makeInterface, makeManager, numbersOf, suspends, testPipes } from "./pipes.ts"

const IPipes = makeInterface({
  int: Schema.Int,
  text: Schema.String,
  point: Schema.Struct({ x: Schema.Int, y: Schema.Int })
})

const world = Effect.gen(function* () {
  const held = yield* Queue.unbounded<ServerCall.Of<typeof IPipes, "Held">>()
  const server = yield* Server.make([makeManager(IPipes, held)], { grace: 0 })
  const binding = yield* Effect.orDie(Binding.local(server, IPipes))
  return { binding, held, server }
})

testPipes("in one process", world)

describe("a pipe in one process", () => {
  it.effect("pipe in one process: chunks pass by reference, at most as large as the pull asks for", () =>
    Effect.gen(function* () {
      const { client, there } = yield* hold(world)
      const chunk = [1, 2, 3]
      yield* Pipe.push(client.numbers, chunk)
      yield* Pipe.push(client.numbers, [4])
      assert.strictEqual(yield* Pipe.pull(there.numbers), chunk)
      yield* Pipe.push(client.numbers, [5, 6, 7])
      assert.deepStrictEqual(yield* Pipe.pull(there.numbers, 2), [4])
      assert.deepStrictEqual(yield* Pipe.pull(there.numbers, 2), [5, 6])
      assert.deepStrictEqual(yield* Pipe.pull(there.numbers, 2), [7])
    }))

  it.effect("slow reader: the writer waits, and the pipe holds no more meanwhile", () =>
    Effect.gen(function* () {
      const { client, there } = yield* hold(world)
      let pushed = 0
      const push = Effect.andThen(Pipe.push(client.numbers, [1]), Effect.sync(() => pushed++))
      const writing = yield* suspends(Effect.forever(push, { disableYield: true }))
      assert.strictEqual(pushed, 64)
      yield* Pipe.pull(there.numbers)
      yield* Effect.yieldNow
      assert.strictEqual(pushed, 65)
      yield* Fiber.interrupt(writing)
    }))

  it.effect("pull interrupted, push interrupted: the pull loses nothing, the push sends nothing", () =>
    Effect.gen(function* () {
      const { client, there } = yield* hold(world)
      const pulling = yield* suspends(Pipe.pull(there.numbers))
      yield* Fiber.interrupt(pulling)
      yield* Pipe.push(client.numbers, [1])
      yield* Effect.forEach(Array.from({ length: 63 }), () => Pipe.push(client.numbers, [2]))
      const pushing = yield* suspends(Pipe.push(client.numbers, [3]))
      yield* Fiber.interrupt(pushing)
      yield* Pipe.end(client.numbers)
      assert.strictEqual(yield* numbersOf(there.numbers), 1 + 63 * 2)
    }))

  it.effect("push interrupted just as room appears: nothing is sent", () =>
    Effect.gen(function* () {
      const { client, there } = yield* hold(world)
      yield* Effect.forEach(Array.from({ length: 64 }), () => Pipe.push(client.numbers, [1]))
      const second: { fiber?: Fiber.Fiber<unknown, unknown> } = {}
      // The first to be told that there is room takes none, and interrupts the second before that is told.
      yield* suspends(
        Effect.andThen(
          Pipe.push(client.numbers, [2]),
          Effect.sync(() => second.fiber!.interruptUnsafe())
        )
      )
      second.fiber = yield* suspends(Pipe.push(client.numbers, [1000]))
      yield* Pipe.pull(there.numbers)
      yield* Pipe.pull(there.numbers)
      yield* Fiber.await(second.fiber)
      yield* Pipe.end(client.numbers)
      assert.strictEqual(yield* numbersOf(there.numbers), 62 + 2)
    }))

  it.effect("several waiting writers: take turns", () =>
    Effect.gen(function* () {
      const { client, there } = yield* hold(world)
      const write = (n: number) => Effect.forever(Pipe.push(client.numbers, [n]), { disableYield: true })
      const writers = [yield* suspends(write(1)), yield* suspends(write(2))]
      const seen = new Set<number>()
      for (let i = 0; i < 140; i++) {
        for (const n of yield* Pipe.pull(there.numbers)) seen.add(n)
        yield* Effect.yieldNow
      }
      assert.deepStrictEqual([...seen], [1, 2])
      yield* Fiber.interruptAll(writers)
    }))

  it.live("writer and reader that never stop: other fibers get time", () =>
    Effect.gen(function* () {
      const { client, there } = yield* hold(world)
      const endless = [Pipe.push(client.numbers, [1]), Pipe.pull(there.numbers)]
      const both = yield* Effect.forEach(endless, (turn) =>
        Effect.forkChild(Effect.forever(turn, { disableYield: true })))
      yield* Effect.sleep(1)
      yield* Fiber.interruptAll(both)
    }))

  it.effect("reader that keeps up, large chunks: other fibers get turns", () =>
    Effect.gen(function* () {
      const { client, there } = yield* hold(world)
      let turns = 0
      const turn = Effect.andThen(Effect.yieldNow, Effect.sync(() => turns++))
      yield* Effect.forkChild(Effect.forever(turn, { disableYield: true }))
      yield* Effect.forkChild(Effect.forever(Pipe.pull(there.numbers), { disableYield: true }))
      yield* Effect.yieldNow
      const chunk = Array.from({ length: 65536 }, () => 1)
      const before = turns
      for (let i = 0; i < 64; i++) yield* Pipe.push(client.numbers, chunk)
      // One after as much as the pipe holds.
      assert.isAtLeast(turns - before, 15)
    }))

  it.effect("pipe fails: both its ends have failed before waiting fibers are told", () =>
    Effect.gen(function* () {
      const { client, pending } = yield* hold(world)
      const pushing = yield* suspends(
        Effect.andThen(
          Effect.exit(Effect.forever(Pipe.push(client.numbers, [1]), { disableYield: true })),
          Effect.flip(Pipe.pull(client.echo))
        )
      )
      yield* Call.cancel(pending)
      assert.strictEqual((yield* Fiber.join(pushing))._tag, "CallCancelled")
    }))

  it.effect("fiber that outlives its call: keeps nothing of the pipe", () =>
    Effect.gen(function* () {
      const { binding } = yield* world
      // Whoever runs the test observes it from here on.
      yield* Effect.yieldNow
      const observers = yield* Effect.withFiber((fiber) => {
        const counted = { count: 0 }
        const { addObserver } = fiber
        Object.assign(fiber, {
          addObserver: (observer: never) => {
            counted.count++
            const forget = addObserver.call(fiber, observer)
            return () => {
              counted.count--
              forget()
            }
          }
        })
        return Effect.succeed(counted)
      })
      yield* Stream.run(Stream.make(1, 2), Call.sink(binding, "Sum"))
      yield* Stream.runDrain(Call.stream(binding, "Count", { to: 3 }))
      yield* Call.stream(binding, "Count", { to: 1_000_000 }).pipe(Stream.take(3), Stream.runDrain)
      assert.strictEqual(observers.count, 0)
    }))

  it.effect("stream stopped early, cancellation disabled: the call ends all the same", () =>
    Effect.gen(function* () {
      const interrupted = yield* Deferred.make<void>()
      const endless = Stream.iterate(1, (n) => n + 1)
      const manager = Manager.make(INumbers, {
        Count: (_, call) =>
          Effect.onInterrupt(
            Stream.run(endless, Pipe.toSink(ServerCall.outPipe(call, "numbers"))),
            () => Deferred.succeed(interrupted, undefined)
          ),
        Sum: (_, call) => numbersOf(ServerCall.inPipe(call, "numbers"))
      }, { cancellation: "disabled" })
      const server = yield* Server.make([manager], { grace: 0 })
      const binding = yield* Binding.local(server, INumbers)
      assert.deepStrictEqual(
        yield* Call.stream(binding, "Count").pipe(Stream.take(2), Stream.runCollect),
        [1, 2]
      )
      yield* Deferred.await(interrupted)
      const failing = Stream.concat(Stream.make(1), Stream.fail("broken" as const))
      assert.strictEqual(yield* Effect.flip(Stream.run(failing, Call.sink(binding, "Sum"))), "broken")
      assert.deepStrictEqual(yield* Server.calls(server), [])
    }))
})

const INumbers = Interface.make("INumbers", {
  uuid: "5d0c2a4e-1f3b-4d7a-9c58-2e6b7f8a9b02",
  version: [1, 0],
  methods: {
    Count: Interface.method({ outPipe: { numbers: Schema.Int } }),
    Sum: Interface.method({ inPipe: { numbers: Schema.Int }, out: Schema.Int })
  }
})
