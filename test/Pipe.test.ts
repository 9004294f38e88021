/** Pipes in one process. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Queue, Schema } from "effect"
import { Binding, Pipe, Server, type ServerCall } from "../mod.ts"
import { hold, makeInterface, makeManager, numbersOf, suspends, testPipes } from "./pipes.ts"

const IPipes = makeInterface({ int: Schema.Int, text: Schema.String })

const world = Effect.gen(function* () {
  const held = yield* Queue.unbounded<ServerCall.Of<typeof IPipes, "Held">>()
  const server = yield* Server.make([makeManager(IPipes, held)], { grace: 0 })
  const binding = yield* Effect.orDie(Binding.local(server, IPipes))
  return { binding, held, server }
})

testPipes("in one process", world)

describe("a pipe in one process", () => {
  it.effect("passes chunks by reference, and at most as much as is asked for", () =>
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

  it.effect("makes the writer wait for a slow reader, and holds no more meanwhile", () =>
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

  it.effect("loses nothing when a pull is interrupted, and sends nothing when a push is", () =>
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
})
