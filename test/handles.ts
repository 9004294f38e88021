/**
 * Context handles: how they are opened, used, closed and run down, and how calls on them wait for each other. The same in one process and
 * over the wire.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Logger, Queue, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { type Binding, Call, ContextHandle, Server, ServerCall, Status } from "../mod.ts"
import { Handle } from "../src/internal/handleSchema.ts"
import * as Memory from "../src/transport/Memory.ts"
import type * as Transport from "../src/transport/Transport.ts"
import { assertFailure, Denied, isWaiting, start } from "./fixtures.ts"
import { handleImpl } from "./internals.ts"
import { Box, type IShelf, type makeShelf } from "./shelf.ts"

type BoxHandle = ContextHandle.ContextHandle<"Box">

/** A shelf, its server, and a client in a scope of its own. */
export interface World extends Effect.Success<typeof makeShelf> {
  readonly server: Server.Server
  readonly shelf: Binding.Binding<typeof IShelf>
  /** Another client of the server. */
  readonly another: Effect.Effect<Binding.Binding<typeof IShelf>, unknown, Scope.Scope | Transport.Transport>
  /** The number of handles that the server keeps. */
  readonly left: () => number
  /** Ends the client. */
  readonly leave: Effect.Effect<void>
  readonly stopServer: Effect.Effect<void>
}

/** Lets everything happen that is ready, on both sides. */
export const settle: Effect.Effect<void> = Effect.repeat(Effect.yieldNow, { times: 50 })

/** Refused before the manager ran. */
export const mismatch = ["ContextMismatch", true]

export const failure = <A, R>(
  effect: Effect.Effect<A, { readonly _tag: string; readonly didNotExecute?: boolean }, R>
) => Effect.map(Effect.flip(effect), (error) => [error._tag, error.didNotExecute])

export const beginUse = (shelf: World["shelf"], box: BoxHandle, text: string) =>
  Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Use", { box, text }))

/** A world with what opens and uses a box. */
export const withBoxes = <W extends Pick<World, "shelf">>(world: W) => ({
  ...world,
  open: (text: string) => Effect.map(Call.invoke(world.shelf, "Open", { text }), ({ box }) => box),
  use: (box: BoxHandle, text = "a") => Call.invoke(world.shelf, "Use", { box, text })
})

const test = <E>(name: string, effect: () => Effect.Effect<void, E, Scope.Scope | Transport.Transport>) =>
  it.effect(name, () => Effect.provide(effect(), Memory.layer))

export const testHandles = (
  name: string,
  makeWorld: (options?: Server.Options) => Effect.Effect<World, unknown, Scope.Scope | Transport.Transport>
) => {
  const setUp = (options?: Server.Options) => Effect.map(makeWorld(options), withBoxes)

  describe(name, () => {
    describe("a handle", () => {
      test("context handle: carries its state from call to call, and a method closes it", () =>
        Effect.gen(function* () {
          const { ends, left, open, shelf, use } = yield* setUp()
          const box = yield* open("box")
          assert.strictEqual(yield* use(box, "one"), "one in box")
          assert.strictEqual(yield* use(box, "two"), "two in box")
          assert.deepStrictEqual(ends, [])
          assert.deepStrictEqual(yield* Call.invoke(shelf, "Close", { box }), { box: null })
          assert.deepStrictEqual(ends, ["closed box"])
          assert.strictEqual(left(), 0)
        }))

      test("closed handle: is not known any more", () =>
        Effect.gen(function* () {
          const { ends, open, ran, shelf, use } = yield* setUp()
          const box = yield* open("box")
          yield* Call.invoke(shelf, "Close", { box })
          assert.deepStrictEqual(yield* failure(use(box)), mismatch)
          assert.deepStrictEqual(yield* failure(Call.invoke(shelf, "Close", { box })), mismatch)
          assert.deepStrictEqual([ran, ends], [[], ["closed box"]])
        }))

      test("handle of another client: is not known", () =>
        Effect.gen(function* () {
          const { another, open, ran } = yield* setUp()
          const box = yield* open("box")
          const thief = yield* another
          assert.deepStrictEqual(yield* failure(Call.invoke(thief, "Use", { box, text: "a" })), mismatch)
          assert.deepStrictEqual(ran, [])
        }))

      test("handle of another type: is not known", () =>
        Effect.gen(function* () {
          const { open, shelf } = yield* setUp()
          const box = yield* open("box")
          assert.deepStrictEqual(yield* failure(Call.invoke(shelf, "Spill", { jar: box as never })), mismatch)
        }))

      test("UUID of a handle: can't be guessed, and is never the same twice", () =>
        Effect.gen(function* () {
          const { open } = yield* setUp()
          const uuids = new Set<string>()
          for (let i = 0; i < 100; i++) uuids.add(handleImpl(yield* open("box")).uuid)
          assert.strictEqual(uuids.size, 100)
          for (const uuid of uuids) {
            assert.match(uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
          }
        }))

      test("null handle: is refused on the client, and the call object stays idle", () =>
        Effect.gen(function* () {
          const { ran, shelf } = yield* setUp()
          const call = yield* Call.make(shelf)
          const nothing = null as unknown as ContextHandle.ContextHandle<"Box">
          const refused = yield* Effect.flip(Call.begin(call, "Use", { box: nothing, text: "a" }))
          assertFailure(refused, new Status.NullContext({ parameter: "box" }))
          assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
          assert.deepStrictEqual(
            (yield* Effect.flip(Call.invoke(shelf, "Use", { box: nothing, text: "a" })))._tag,
            "NullContext"
          )
          assert.deepStrictEqual(ran, [])
        }))

      test("value that is no handle: is refused on the client", () =>
        Effect.gen(function* () {
          const { shelf } = yield* setUp()
          for (const box of [undefined, {}, "box", 0]) {
            const refused = yield* Effect.flip(Call.invoke(shelf, "Use", { box: box as never, text: "a" }))
            assert.strictEqual(refused._tag, "BadStubData")
            assert.include(refused.message, "box is not a context handle")
          }
          for (const input of [undefined, null, "text"]) {
            assert.strictEqual((yield* Effect.flip(Call.invoke(shelf, "Use", input as never)))._tag, "BadStubData")
          }
        }))

      test("nullable handle type: null is accepted", () =>
        Effect.gen(function* () {
          const { ends, shelf } = yield* setUp()
          const { box } = yield* Call.invoke(shelf, "Toggle", { box: null })
          assert.isNotNull(box)
          assert.deepStrictEqual(yield* Call.invoke(shelf, "Toggle", { box }), { box: null })
          assert.deepStrictEqual(ends, ["closed toggled"])
        }))

      test("in-out handle: passes through the method", () =>
        Effect.gen(function* () {
          const { open, shelf, use } = yield* setUp()
          const box = yield* open("box")
          const passed = yield* Call.invoke(shelf, "Pass", { box })
          assert.strictEqual(yield* use(passed.box), "a in box")
        }))

      test("out handle that the association does not hold: is refused", () =>
        Effect.gen(function* () {
          const { another, open, shelf, test, use } = yield* setUp()
          const box = yield* open("box")
          const other = yield* another
          for (
            const out of [
              (yield* Call.invoke(other, "Open", { text: "theirs" })).box,
              (yield* Call.invoke(shelf, "OpenJar", { text: "jar" })).jar,
              null,
              "box"
            ]
          ) {
            test.out = out ?? new Handle("Box", "0c9a7be4-54a4-4f0b-9a43-5a1f3f7d2e11")
            assertFailure(
              yield* Effect.flip(Call.invoke(shelf, "Pass", { box })),
              new Status.RpcFault({ code: 1783 })
            )
          }
          assert.strictEqual(yield* use(box), "a in box")
        }))

      test("destroyed handle: is forgotten by the client alone", () =>
        Effect.gen(function* () {
          const { ends, leave, open, use } = yield* setUp()
          const box = yield* open("box")
          yield* ContextHandle.destroy(box)
          yield* ContextHandle.destroy(box)
          assert.strictEqual((yield* Effect.flip(use(box)))._tag, "NullContext")
          assert.deepStrictEqual(ends, [])
          yield* leave
          assert.deepStrictEqual(ends, ["run down box"])
        }))
    })

    describe("a manager", () => {
      test("manager asks for a handle that the call does not carry: gets 6, and the client sees a mismatch", () =>
        Effect.gen(function* () {
          const { boxes, open, test, use } = yield* setUp()
          const box = yield* open("box")
          const another = yield* open("another")
          test.work = (call) => boxes.get(call, another)
          assert.deepStrictEqual(yield* failure(use(box)), ["ContextMismatch", false])
          test.work = (call) => Effect.andThen(boxes.close(call, box), boxes.get(call, box))
          assert.deepStrictEqual(yield* failure(use(box)), ["ContextMismatch", false])
        }))

      test("handle opened in a call: may be used and closed in the same call", () =>
        Effect.gen(function* () {
          const { boxes, ends, open, test, use } = yield* setUp()
          const box = yield* open("box")
          test.work = (call) =>
            Effect.gen(function* () {
              const temporary = yield* boxes.open(
                call,
                Effect.acquireRelease(Effect.succeed("temporary"), () => Effect.sync(() => void ends.push("temporary")))
              )
              const name = yield* boxes.get(call, temporary)
              yield* boxes.close(call, temporary)
              return name
            })
          assert.strictEqual(yield* use(box), "temporary")
          assert.deepStrictEqual(ends, ["temporary"])
        }))

      test("open fails: leaves no handle", () =>
        Effect.gen(function* () {
          const { boxes, ends, left, open, test, use } = yield* setUp()
          const box = yield* open("box")
          const acquire = Effect.andThen(
            Effect.addFinalizer(() => Effect.sync(() => void ends.push("released"))),
            Effect.fail(new Denied({ who: "opener" }))
          )
          test.work = (call) => Effect.as(boxes.open(call, acquire), "never")
          yield* Effect.flip(use(box))
          assert.deepStrictEqual([ends, left()], [["released"], 1])
        }))

      test("manager asks for a state of another type: gets 6", () =>
        Effect.gen(function* () {
          const { open, test, use } = yield* setUp()
          const others = ContextHandle.states<number>()(Box)
          const box = yield* open("box")
          test.work = (call) => Effect.map(others.get(call, box), String)
          assert.strictEqual((yield* Effect.flip(use(box)))._tag, "ContextMismatch")
        }))

      test("call is over: its manager can't reach the state", () =>
        Effect.gen(function* () {
          const { boxes, held, open, shelf } = yield* setUp()
          const box = yield* open("box")
          const pending = yield* Call.begin(yield* Call.make(shelf), "Hold", { box })
          const call = yield* Queue.take(held)
          assert.strictEqual(yield* boxes.get(call, box), "box")
          yield* ServerCall.complete(call, "done")
          assert.strictEqual((yield* Effect.flip(boxes.get(call, box))).code, 6)
          assert.strictEqual((yield* Effect.flip(boxes.open(call, Effect.succeed("late")))).code, 1725)
          assert.strictEqual(yield* Call.join(pending), "done")
        }))
    })

    describe("calls on one handle", () => {
      test("calls on one handle: run one after the other, in the order of their arrival", () =>
        Effect.gen(function* () {
          const { open, ran, shelf, test } = yield* setUp()
          const box = yield* open("box")
          const gate = yield* Deferred.make<void>()
          test.work = (_, box, text) => Effect.as(Deferred.await(gate), `${text} in ${box}`)
          const calls = yield* Effect.forEach(["1", "2", "3"], (text) => beginUse(shelf, box, text))
          yield* settle
          assert.deepStrictEqual(ran, ["1"])
          yield* Deferred.succeed(gate, undefined)
          assert.deepStrictEqual(yield* Effect.forEach(calls, (call) => Call.join(call)), [
            "1 in box",
            "2 in box",
            "3 in box"
          ])
          assert.deepStrictEqual(ran, ["1", "2", "3"])
        }))

      test("calls on one handle, the first handed off: the others wait until it is completed", () =>
        Effect.gen(function* () {
          const { held, open, ran, shelf } = yield* setUp()
          const box = yield* open("box")
          const holding = yield* Call.begin(yield* Call.make(shelf), "Hold", { box })
          const using = yield* beginUse(shelf, box, "after")
          yield* settle
          assert.deepStrictEqual(ran, [])
          yield* ServerCall.complete(yield* Queue.take(held), "held")
          assert.strictEqual(yield* Call.join(using), "after in box")
          assert.strictEqual(yield* Call.join(holding), "held")
        }))

      test("work tied to an answered call: later calls on its handle wait for it", () =>
        Effect.gen(function* () {
          const { held, open, ran, shelf } = yield* setUp()
          const box = yield* open("box")
          const holding = yield* Call.begin(yield* Call.make(shelf), "Hold", { box })
          const call = yield* Queue.take(held)
          const gate = yield* Deferred.make<string>()
          const tied = yield* start(ServerCall.run(call, Deferred.await(gate)))
          yield* ServerCall.complete(call, "early")
          assert.strictEqual(yield* Call.join(holding), "early")
          const using = yield* beginUse(shelf, box, "after")
          yield* settle
          assert.deepStrictEqual(ran, [])
          yield* Deferred.succeed(gate, "late")
          yield* Fiber.await(tied)
          assert.strictEqual(yield* Call.join(using), "after in box")
        }))

      test("call waits for its handle: calls on other handles, or without one, run", () =>
        Effect.gen(function* () {
          const { open, shelf, use } = yield* setUp()
          const [one, two] = [yield* open("one"), yield* open("two")]
          yield* Call.begin(yield* Call.make(shelf), "Hold", { box: one })
          assert.strictEqual(yield* use(two), "a in two")
          yield* open("three")
        }))

      test("shared handles: calls run beside each other, and not beside an exclusive one", () =>
        Effect.gen(function* () {
          const { open, ran, shelf, test } = yield* setUp()
          const box = yield* open("box")
          const gates = new Map<string, Deferred.Deferred<void>>()
          for (const text of ["r1", "r2", "w", "r3", "r4"]) gates.set(text, yield* Deferred.make<void>())
          test.work = (_, __, text) => Effect.as(Deferred.await(gates.get(text)!), text)
          const through = (text: string) => Effect.andThen(Deferred.succeed(gates.get(text)!, undefined), settle)
          const peek = (text: string) =>
            Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Peek", { box, text }))
          yield* peek("r1")
          yield* peek("r2")
          yield* beginUse(shelf, box, "w")
          yield* peek("r3")
          yield* peek("r4")
          yield* settle
          assert.deepStrictEqual(ran, ["r1", "r2"])
          yield* through("r2")
          assert.deepStrictEqual(ran, ["r1", "r2"])
          yield* through("r1")
          assert.deepStrictEqual(ran, ["r1", "r2", "w"])
          yield* through("w")
          assert.deepStrictEqual(ran, ["r1", "r2", "w", "r3", "r4"])
        }))

      test("calls with two handles each: never deadlock", () =>
        Effect.gen(function* () {
          const { held, open, ran, shelf } = yield* setUp()
          const [a, b] = [yield* open("a"), yield* open("b")]
          yield* Call.begin(yield* Call.make(shelf), "Hold", { box: a })
          yield* Call.begin(yield* Call.make(shelf), "Hold", { box: b })
          const move = (from: typeof a, to: typeof a) =>
            Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Move", { from, to }))
          const moves = [yield* move(a, b), yield* move(b, a), yield* move(a, a)]
          const [first, second] = [yield* Queue.take(held), yield* Queue.take(held)]
          yield* ServerCall.complete(second, "")
          assert.deepStrictEqual(ran, [])
          yield* ServerCall.complete(first, "")
          assert.deepStrictEqual(yield* Effect.forEach(moves, (move) => Call.join(move)), [
            "a to b",
            "b to a",
            "a to a"
          ])
        }))
    })

    describe("a call that waits for its handle", () => {
      const waiting = (options?: Server.Options) =>
        Effect.gen(function* () {
          const world = yield* setUp(options)
          const box = yield* world.open("box")
          const holding = yield* Call.begin(yield* Call.make(world.shelf), "Hold", { box })
          const call = yield* Queue.take(world.held)
          const using = yield* beginUse(world.shelf, box, "waiting")
          yield* settle
          const free = Effect.andThen(ServerCall.complete(call, ""), settle)
          return { ...world, box, call, free, holding, using }
        })

      test("waiting for a handle, cancelled: the call is over, and never runs", () =>
        Effect.gen(function* () {
          const { free, ran, server, using } = yield* waiting()
          yield* Call.cancel(using)
          yield* settle
          assert.strictEqual((yield* failure(Call.join(using)))[0], "CallCancelled")
          assert.strictEqual((yield* Server.calls(server)).length, 1)
          yield* free
          assert.deepStrictEqual(ran, [])
        }))

      test("waiting for a handle, cancelled patiently: the call is over, and certainly did not execute", () =>
        Effect.gen(function* () {
          const { free, ran, using } = yield* waiting()
          yield* Call.cancel(using, { timeout: "Infinity" })
          assert.deepStrictEqual(yield* failure(Call.join(using)), ["CallCancelled", true])
          yield* free
          assert.deepStrictEqual(ran, [])
        }))

      test("waiting for a handle, orphaned: the call never runs", () =>
        Effect.gen(function* () {
          const { box, free, ran, server, shelf } = yield* waiting()
          yield* Effect.scoped(Effect.andThen(beginUse(shelf, box, "orphan"), settle))
          yield* settle
          assert.strictEqual((yield* Server.calls(server)).length, 2)
          yield* free
          assert.deepStrictEqual(ran, ["waiting"])
        }))

      test("cancelled between two shared calls: the next one gets the handle", () =>
        Effect.gen(function* () {
          const { open, ran, shelf, test } = yield* setUp()
          const box = yield* open("box")
          test.work = () => Effect.never
          const peek = (text: string) =>
            Effect.flatMap(Call.make(shelf), (call) => Effect.andThen(Call.begin(call, "Peek", { box, text }), settle))
          yield* peek("one")
          const between = yield* beginUse(shelf, box, "between")
          yield* peek("two")
          assert.deepStrictEqual(ran, ["one"])
          yield* Call.cancel(between)
          yield* settle
          assert.deepStrictEqual(ran, ["one", "two"])
          yield* peek("three")
          assert.deepStrictEqual(ran, ["one", "two", "three"])
        }))

      test("handle closed by the call before: the waiting call fails with a mismatch", () =>
        Effect.gen(function* () {
          const { boxes, ends, open, ran, shelf, test } = yield* setUp()
          const box = yield* open("box")
          const gate = yield* Deferred.make<void>()
          test.work = (call, _, text) =>
            Deferred.await(gate).pipe(Effect.andThen(boxes.close(call, box)), Effect.as(text))
          const [closing, waiting] = [yield* beginUse(shelf, box, "closing"), yield* beginUse(shelf, box, "waiting")]
          yield* Deferred.succeed(gate, undefined)
          assert.strictEqual(yield* Call.join(closing), "closing")
          assert.deepStrictEqual(yield* failure(Call.join(waiting)), mismatch)
          assert.deepStrictEqual([ran, ends], [["closing"], ["closed box"]])
        }))

      test("waiting for a handle longer than maximumAge: the call is aborted, and never runs", () =>
        Effect.gen(function* () {
          const { free, holding, ran, using } = yield* waiting({ maximumAge: "1 minute" })
          yield* TestClock.adjust("1 minute")
          assertFailure(yield* Effect.flip(Call.join(using)), new Status.RpcFault({ code: 1460 }))
          assert.strictEqual((yield* Effect.flip(Call.join(holding)))._tag, "RpcFault")
          yield* Effect.ignore(free)
          assert.deepStrictEqual(ran, [])
        }))

      test("server stops: the waiting call ends, and so does the call before it", () =>
        Effect.gen(function* () {
          const { holding, ran, stopServer, using } = yield* waiting()
          yield* stopServer
          const ended = yield* Effect.forEach([holding, using], (call) => Effect.flip(Call.join(call as typeof using)))
          assert.deepStrictEqual(ended.map(({ _tag }) => _tag), ["RpcTransportError", "RpcTransportError"])
          assert.deepStrictEqual(ran, [])
        }))
    })

    describe("the run-down", () => {
      test("client goes: the run-down comes once, and sees an interruption", () =>
        Effect.gen(function* () {
          const { ends, leave, left, open } = yield* setUp()
          yield* open("one")
          yield* open("two")
          assert.deepStrictEqual(ends, [])
          yield* leave
          assert.deepStrictEqual(ends, ["run down one", "run down two"])
          assert.strictEqual(left(), 0)
        }))

      test("client goes: the handles of other clients stay", () =>
        Effect.gen(function* () {
          const { another, ends, leave, open } = yield* setUp()
          yield* open("mine")
          const other = yield* another
          const { box } = yield* Call.invoke(other, "Open", { text: "theirs" })
          yield* leave
          assert.deepStrictEqual(ends, ["run down mine"])
          assert.strictEqual(yield* Call.invoke(other, "Use", { box, text: "a" }), "a in theirs")
        }))

      test("client goes, calls in progress: they are interrupted before the run-down", () =>
        Effect.gen(function* () {
          const { ends, leave, open, shelf, test } = yield* setUp()
          const box = yield* open("box")
          const gate = yield* Deferred.make<void>()
          test.work = () =>
            Effect.onInterrupt(
              Effect.never,
              () => Effect.andThen(Deferred.await(gate), Effect.sync(() => void ends.push("the call ended")))
            )
          yield* beginUse(shelf, box, "a")
          yield* settle
          yield* leave
          assert.deepStrictEqual(ends, [])
          yield* Deferred.succeed(gate, undefined)
          yield* settle
          assert.deepStrictEqual(ends, ["the call ended", "run down box"])
        }))

      test("client goes, work tied to a call: it ends before the run-down", () =>
        Effect.gen(function* () {
          const { ends, held, leave, open, shelf } = yield* setUp()
          const box = yield* open("box")
          const gate = yield* Deferred.make<string>()
          yield* Call.begin(yield* Call.make(shelf), "Hold", { box })
          yield* start(ServerCall.run(yield* Queue.take(held), Effect.uninterruptible(Deferred.await(gate))))
          yield* leave
          assert.deepStrictEqual(ends, [])
          yield* Deferred.succeed(gate, "")
          yield* settle
          assert.deepStrictEqual(ends, ["run down box"])
        }))

      test("server stops: the run-down comes after the calls, and the server waits for it", () =>
        Effect.gen(function* () {
          const { ends, left, open, shelf, stopServer, test } = yield* setUp({ grace: "2 seconds" })
          const box = yield* open("box")
          test.close = Effect.sleep("1 second")
          test.work = () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void ends.push("the call ended")))
          yield* beginUse(shelf, box, "a")
          yield* settle
          const stopping = yield* start(stopServer)
          yield* TestClock.adjust("2 seconds")
          assert.isTrue(yield* isWaiting(stopping))
          assert.deepStrictEqual(ends, ["the call ended"])
          yield* TestClock.adjust("1 second")
          yield* Fiber.join(stopping)
          assert.deepStrictEqual([ends, left()], [["the call ended", "run down box"], 0])
        }))

      test("client goes, a call waits for its handle: the call never runs", () =>
        Effect.gen(function* () {
          const { ends, leave, open, ran, shelf, test } = yield* setUp()
          const box = yield* open("box")
          test.work = () => Effect.never
          yield* Call.begin(yield* Call.make(shelf), "Hold", { box })
          yield* beginUse(shelf, box, "one")
          yield* Call.begin(yield* Call.make(shelf), "Peek", { box, text: "two" })
          yield* leave
          assert.deepStrictEqual([ran, ends], [[], ["run down box"]])
        }))

      test("client goes as the server stops: the run-down comes once", () =>
        Effect.gen(function* () {
          const { ends, leave, open, stopServer } = yield* setUp()
          yield* open("box")
          yield* Effect.all([leave, stopServer], { concurrency: "unbounded" })
          assert.deepStrictEqual(ends, ["run down box"])
        }))

      test("close of a shared handle: the run-down waits for the other calls that share it", () =>
        Effect.gen(function* () {
          const { boxes, ends, leave, open, ran, shelf, test } = yield* setUp()
          const box = yield* open("box")
          const gate = yield* Deferred.make<void>()
          test.work = (call, name, text) =>
            text === "closer"
              ? Effect.as(boxes.close(call, box), "closed")
              : Deferred.await(gate).pipe(Effect.andThen(boxes.get(call, box)), Effect.as(name))
          const peek = (text: string) =>
            Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Peek", { box, text }))
          const reading = yield* peek("reader")
          const closing = yield* peek("closer")
          yield* settle
          assert.deepStrictEqual([ran, ends], [["reader", "closer"], []])
          assert.deepStrictEqual(yield* failure(Call.join(yield* peek("late"))), mismatch)
          yield* Deferred.succeed(gate, undefined)
          assert.strictEqual(yield* Call.join(reading), "box")
          assert.strictEqual(yield* Call.join(closing), "closed")
          assert.deepStrictEqual(ends, ["closed box"])
          yield* leave
          assert.deepStrictEqual(ends, ["closed box"])
        }))

      test("call that closes the handle is cancelled: the run-down goes on", () =>
        Effect.gen(function* () {
          const { ends, leave, open, shelf, test } = yield* setUp()
          const box = yield* open("box")
          test.close = Effect.sleep("1 second")
          const closing = yield* Call.begin(yield* Call.make(shelf), "Close", { box })
          yield* settle
          yield* Call.cancel(closing)
          yield* leave
          assert.deepStrictEqual(ends, [])
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual(ends, ["closed box"])
        }))

      test("run-down dies: is logged, and the other run-downs come", () =>
        Effect.gen(function* () {
          const logged: Array<unknown> = []
          yield* Effect.gen(function* () {
            const { ends, leave, left, open, test } = yield* setUp()
            yield* open("one")
            yield* open("two")
            let first = true
            test.close = Effect.suspend(() => {
              const dies = first
              first = false
              return dies ? Effect.die(new Error("stuck")) : Effect.void
            })
            yield* leave
            assert.deepStrictEqual([ends, left()], [["run down two"], 0])
          }).pipe(Effect.provide(Logger.layer([Logger.make(({ message }) => void logged.push(message))])))
          assert.include(JSON.stringify(logged), "The run-down of a Box died")
        }))
    })

    describe("a call that fails", () => {
      test("call fails: its existing handle stays as it is", () =>
        Effect.gen(function* () {
          const { ends, open, test, use } = yield* setUp()
          const box = yield* open("box")
          test.work = () => Effect.fail(new Denied({ who: "a" }))
          yield* Effect.flip(use(box))
          test.work = () => Effect.die("as expected")
          yield* Effect.flip(use(box)).pipe(Effect.provide(Logger.layer([])))
          test.work = (_, box) => Effect.succeed(box)
          assert.strictEqual(yield* use(box), "box")
          assert.deepStrictEqual(ends, [])
        }))

      test("call fails after it has closed its handle: the handle is closed", () =>
        Effect.gen(function* () {
          const { ends, open, shelf, test, use } = yield* setUp()
          const box = yield* open("box")
          test.open = Effect.fail(new Denied({ who: "a" }))
          yield* Effect.flip(Call.invoke(shelf, "Close", { box }))
          assert.deepStrictEqual(ends, ["closed box"])
          assert.deepStrictEqual(yield* failure(use(box)), mismatch)
        }))

      test("call fails after it has opened a handle: that one is run down at once", () =>
        Effect.gen(function* () {
          const { ends, left, shelf, test } = yield* setUp()
          for (const fails of [Effect.fail(new Denied({ who: "a" })), Effect.die("as expected"), Effect.interrupt]) {
            ends.length = 0
            test.open = fails
            yield* Effect.flip(Call.invoke(shelf, "Open", { text: "box" })).pipe(Effect.provide(Logger.layer([])))
            yield* settle
            assert.deepStrictEqual([ends, left()], [["run down box"], 0])
          }
        }))
    })

    describe("a handle that nobody receives", () => {
      test("call cancelled: the handle that it has opened is run down at once", () =>
        Effect.gen(function* () {
          const { ends, left, shelf, test } = yield* setUp()
          test.open = Effect.never
          const opening = yield* Call.begin(yield* Call.make(shelf), "Open", { text: "box" })
          yield* Call.cancel(opening)
          yield* settle
          assert.deepStrictEqual([ends, left()], [["run down box"], 0])
        }))

      test("call orphaned: the handle that it has opened is run down at once, after its routine", () =>
        Effect.gen(function* () {
          const { ends, left, shelf, test } = yield* setUp()
          const gate = yield* Deferred.make<void>()
          test.open = Effect.uninterruptible(
            Effect.andThen(Deferred.await(gate), Effect.sync(() => void ends.push("end")))
          )
          yield* Effect.scoped(Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Open", { text: "box" })))
          yield* settle
          assert.deepStrictEqual(ends, [])
          yield* Deferred.succeed(gate, undefined)
          yield* settle
          assert.deepStrictEqual([ends, left()], [["end", "run down box"], 0])
        }))

      test("client goes while the state is made: the state is released at once", () =>
        Effect.gen(function* () {
          const { boxes, ends, leave, left, open, shelf, test } = yield* setUp()
          const box = yield* open("box")
          const gate = yield* Deferred.make<void>()
          const acquire = Effect.acquireRelease(Effect.as(Deferred.await(gate), "late"), (_, exit) =>
            Effect.sync(() => void ends.push(`late ${exit._tag}`)))
          test.work = (call) =>
            Effect.uninterruptible(Effect.as(boxes.open(call, acquire), ""))
          yield* beginUse(shelf, box, "a")
          yield* settle
          yield* leave
          yield* Deferred.succeed(gate, undefined)
          yield* settle
          assert.deepStrictEqual([ends, left()], [["late Failure", "run down box"], 0])
        }))

      test("reply without the opened handle: the handle is run down at once", () =>
        Effect.gen(function* () {
          const { ends, left, shelf } = yield* setUp()
          yield* Call.invoke(shelf, "Forget", { text: "box" })
          yield* settle
          assert.deepStrictEqual([ends, left()], [["run down box"], 0])
        }))
    })
  })
}
