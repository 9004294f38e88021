/** Statements that change several calls. */
import { Call } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import * as SqlClient from "effect/sql/SqlClient"
import { gather } from "../../src/durable/internal/gather.ts"
import { IBank, makeBench } from "./fixtures.ts"
import { build, postgres } from "./worlds.ts"

type Item = { readonly id: string; readonly n: number }

const fork = (effect: Effect.Effect<void>): boolean => {
  Effect.runFork(effect)
  return true
}

const world = (
  together: (items: ReadonlyArray<Item>) => Effect.Effect<ReadonlyMap<string, string>, string>,
  run: (effect: Effect.Effect<void>) => boolean = fork
) => {
  const batches: Array<string> = []
  const alone: Array<string> = []
  const show = ({ id, n }: Item) => `${id}${n}`
  const ask = gather<Item, string, string>(
    run,
    (items) => {
      batches.push(items.map(show).join(" "))
      return together(items)
    },
    (item) => {
      alone.push(show(item))
      return Effect.succeed(`${show(item)} alone`)
    }
  )
  return { ask, batches, alone }
}

const all = (items: ReadonlyArray<Item>) =>
  Effect.succeed(new Map(items.map(({ id, n }) => [id, `${id}${n} together`])))

const each = (ask: (item: Item) => Effect.Effect<string, string>, ...items: ReadonlyArray<readonly [string, number]>) =>
  Effect.forEach(items, ([id, n]) => ask({ id, n }), { concurrency: "unbounded" })

describe("statements for several calls", () => {
  it.effect("wanted at the same time: one statement", () =>
    Effect.gen(function* () {
      const { ask, batches } = world(all)
      assert.deepStrictEqual(yield* each(ask, ["a", 1], ["b", 2]), ["a1 together", "b2 together"])
      assert.deepStrictEqual(batches, ["a1 b2"])
    }))

  it.effect("wanted while a statement runs: the next one", () =>
    Effect.gen(function* () {
      const gate = Deferred.makeUnsafe<void>()
      const { ask, batches } = world((items) => Effect.andThen(Deferred.await(gate), all(items)))
      const first = yield* Effect.forkChild(ask({ id: "a", n: 1 }), { startImmediately: true })
      while (batches.length === 0) yield* Effect.yieldNow
      const rest = yield* Effect.forkChild(each(ask, ["b", 2], ["c", 3]), { startImmediately: true })
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* Fiber.join(first), "a1 together")
      assert.deepStrictEqual(yield* Fiber.join(rest), ["b2 together", "c3 together"])
      assert.deepStrictEqual(batches, ["a1", "b2 c3"])
    }))

  it.effect("nothing can be started any more: each is asked alone", () =>
    Effect.gen(function* () {
      const { ask, batches } = world(all, () => false)
      assert.deepStrictEqual(yield* each(ask, ["a", 1], ["b", 2]), ["a1 alone", "b2 alone"])
      assert.deepStrictEqual(batches, [])
    }))

  it.effect("the statement is interrupted: each is asked alone, those that wait for the next one too", () =>
    Effect.gen(function* () {
      let running: Fiber.Fiber<void> | undefined
      const { ask, batches } = world(() => Effect.never, (effect) => {
        running = Effect.runFork(effect)
        return true
      })
      const first = yield* Effect.forkChild(ask({ id: "a", n: 1 }), { startImmediately: true })
      while (batches.length === 0) yield* Effect.yieldNow
      const second = yield* Effect.forkChild(ask({ id: "b", n: 2 }), { startImmediately: true })
      yield* Fiber.interrupt(running!)
      assert.strictEqual(yield* Fiber.join(first), "a1 alone")
      assert.strictEqual(yield* Fiber.join(second), "b2 alone")
    }))

  it.effect("no answer to the statement for 30 seconds: each is asked alone, and the next statement runs", () =>
    Effect.gen(function* () {
      const context = yield* Effect.context<never>()
      let count = 0
      const { ask, batches } = world((items) => count++ === 0 ? Effect.never : all(items), (effect) => {
        Effect.runForkWith(context)(effect)
        return true
      })
      const first = yield* Effect.forkChild(ask({ id: "a", n: 1 }), { startImmediately: true })
      while (batches.length === 0) yield* Effect.yieldNow
      const second = yield* Effect.forkChild(ask({ id: "b", n: 2 }), { startImmediately: true })
      yield* TestClock.adjust(30_000)
      assert.strictEqual(yield* Fiber.join(first), "a1 alone")
      assert.strictEqual(yield* Fiber.join(second), "b2 together")
    }))

  it.effect("two changes of one call: one statement each", () =>
    Effect.gen(function* () {
      const { ask, batches } = world(all)
      assert.deepStrictEqual(yield* each(ask, ["a", 1], ["a", 2]), ["a1 together", "a2 together"])
      assert.deepStrictEqual(batches, ["a1", "a2"])
    }))

  it.effect("no answer for a call: it is asked alone", () =>
    Effect.gen(function* () {
      const { alone, ask } = world((items) => all(items.filter(({ id }) => id !== "a")))
      assert.deepStrictEqual(yield* each(ask, ["a", 1], ["b", 2]), ["a1 alone", "b2 together"])
      assert.deepStrictEqual(alone, ["a1"])
    }))

  it.effect("statement fails: each call is asked alone, and the next statement runs", () =>
    Effect.gen(function* () {
      let isBroken = true
      const { ask } = world((items) => isBroken ? Effect.fail("broken") : all(items))
      assert.deepStrictEqual(yield* each(ask, ["a", 1], ["b", 2]), ["a1 alone", "b2 alone"])
      isBroken = false
      assert.deepStrictEqual(yield* each(ask, ["c", 3]), ["c3 together"])
    }))

  it.live("row held by a transaction of the program: other calls start and end", () =>
    Effect.gen(function* () {
      const { client, runner } = yield* yield* postgres.worlds
      const context = yield* build(client())
      const bench = makeBench()
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const bank = yield* Durable.binding(IBank)
        const held = yield* Call.start(bank, "Add", [1])
        const gate = Deferred.makeUnsafe<void>()
        const holder = yield* Effect.forkChild(sql.withTransaction(Effect.andThen(
          sql`SELECT 1 FROM callisto_calls WHERE id = ${Durable.handle(held)} FOR UPDATE`,
          Deferred.await(gate)
        )))
        yield* build(Durable.serve([bench.manager]).pipe(Layer.provideMerge(runner())))
        const others = yield* Effect.forEach([2, 3, 4], (n) => Call.start(bank, "Add", [n]))
        assert.deepStrictEqual(yield* Effect.forEach(others, (pending) => Call.join(pending)), [2, 3, 4])
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(holder)
        assert.strictEqual(yield* Call.join(held), 1)
      }).pipe(Effect.provideContext(context))
    }).pipe(Effect.scoped), 60_000)
})
