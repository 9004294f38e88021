import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Logger, Queue, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { inspect } from "node:util"
import { Binding, Call, ContextHandle, Interface, Manager, Server, ServerCall, Status } from "../mod.ts"
import { Handle } from "../src/internal/handleSchema.ts"
import { fullOperation } from "../src/internal/seams.ts"
import { assertFailure, Denied, isWaiting, refuses, settle, start } from "./fixtures.ts"
import { Box, IOther, IShelf, makeShelf } from "./shelf.ts"
import { managerImpl, serverImpl } from "./internals.ts"

/** A shelf, and a client in a scope of its own. */
const setUp = (options?: Server.Options) =>
  Effect.gen(function* () {
    const made = yield* makeShelf
    const serverScope = yield* Scope.fork(yield* Effect.scope)
    const managers = [made.manager, made.other] as const
    const server = yield* Scope.provide(Server.make(managers, { grace: 0, ...options }), serverScope)
    const clientScope = yield* Scope.fork(yield* Effect.scope)
    const shelf = yield* Scope.provide(Binding.local(server, IShelf), clientScope)
    const open = (text: string) => Effect.map(Call.invoke(shelf, "Open", { text }), ({ box }) => box)
    const use = (box: ContextHandle.ContextHandle<"Box">, text = "a") => Call.invoke(shelf, "Use", { box, text })
    const left = () => serverImpl(server).handles.size
    return {
      ...made,
      left,
      open,
      server,
      shelf,
      stopServer: Scope.close(serverScope, Exit.void),
      use,
      leave: Effect.andThen(Scope.close(clientScope, Exit.void), settle)
    }
  })

/** Refused before the manager ran. */
const mismatch = ["ContextMismatch", true]

const failure = <A, R>(effect: Effect.Effect<A, { readonly _tag: string; readonly didNotExecute?: boolean }, R>) =>
  Effect.map(Effect.flip(effect), (error) => [error._tag, error.didNotExecute])

const beginUse = (
  shelf: Binding.Binding<typeof IShelf>,
  box: ContextHandle.ContextHandle<"Box">,
  text: string
) => Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Use", { box, text }))

// ----------------------------------------------------------------------------
// descriptions
// ----------------------------------------------------------------------------

describe("a type of handles", () => {
  const describeWith = (method: Interface.Method.Any) => () =>
    Interface.make("ITest", {
      uuid: "0c9a7be4-54a4-4f0b-9a43-5a1f3f7d2e13",
      version: [1, 0],
      methods: { Test: method }
    })

  it("is refused for a name that is no identifier", () => {
    refuses(() => ContextHandle.make("a box"), `"a box"`, "identifier")
  })

  it("is refused where it is not a parameter itself", () => {
    const nested: Record<string, Interface.Parameters> = {
      struct: Schema.Struct({ box: Box }),
      array: Schema.Array(Box),
      tuple: Schema.Tuple([Box]),
      record: Schema.Record(Schema.String, Box),
      union: Schema.NullOr(Box),
      option: Schema.Option(Box),
      suspended: Schema.suspend(() => Schema.Struct({ box: Box })),
      recursive: Schema.Struct({
        box: Box,
        more: Schema.Array(Schema.suspend((): Schema.Codec<unknown> => Box as never))
      })
    }
    for (const [name, schema] of Object.entries(nested)) {
      refuses(
        describeWith(Interface.method({ in: { a: schema } })),
        "ITest",
        "Test",
        "in",
        "must be a parameter itself"
      )
      refuses(
        describeWith(Interface.method({ out: { a: schema } })),
        "ITest",
        "Test",
        "out",
        "must be a parameter itself"
      )
      if (name !== "struct" && name !== "recursive") {
        refuses(describeWith(Interface.method({ in: schema })), "ITest", "must be a parameter itself")
      }
    }
    refuses(describeWith(Interface.method({ in: Box })), "must be a parameter itself")
    refuses(describeWith(Interface.method({ in: { a: Schema.optionalKey(Box) } })), "ContextHandle.nullable")
  })

  it("stands in no abort", () => {
    class Holding extends Schema.TaggedError<Holding>()("Holding", { box: Box }) {}
    refuses(describeWith(Interface.method({ aborts: [Interface.abort(5000, Holding)] })), "Holding", "context handle")
  })

  it("leaves its code to no abort of a method that takes one", () => {
    class Six extends Schema.TaggedError<Six>()("Six", {}) {}
    const aborts = [Interface.abort(6, Six)]
    refuses(describeWith(Interface.method({ in: { box: Box }, aborts })), "code 6", "context handle")
    describeWith(Interface.method({ out: { box: Box }, aborts }))()
  })

  it("may be a field of a struct that is the parameters", () => {
    const made = describeWith(Interface.method({ in: Schema.Struct({ box: ContextHandle.shared(Box) }) }))()
    assert.deepStrictEqual(fullOperation(made.operations.Test).handlesIn, [{
      name: "box",
      type: "Box",
      nullable: false,
      shared: true
    }])
  })

  it("is shared and nullable in either order", () => {
    const both = { type: "Box", nullable: true, shared: true }
    const made = describeWith(Interface.method({
      in: { a: ContextHandle.nullable(ContextHandle.shared(Box)), b: ContextHandle.shared(ContextHandle.nullable(Box)) }
    }))()
    assert.deepStrictEqual(fullOperation(made.operations.Test).handlesIn, [{ name: "a", ...both }, {
      name: "b",
      ...both
    }])
  })
})

// ----------------------------------------------------------------------------
// open, use, close
// ----------------------------------------------------------------------------

describe("a handle", () => {
  it.effect("carries its state from call to call, and is closed by a method", () =>
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

  it.effect("that is closed is not known any more", () =>
    Effect.gen(function* () {
      const { ends, open, ran, shelf, use } = yield* setUp()
      const box = yield* open("box")
      yield* Call.invoke(shelf, "Close", { box })
      assert.deepStrictEqual(yield* failure(use(box)), mismatch)
      assert.deepStrictEqual(yield* failure(Call.invoke(shelf, "Close", { box })), mismatch)
      assert.deepStrictEqual([ran, ends], [[], ["closed box"]])
    }))

  it.effect("of another client is not known", () =>
    Effect.gen(function* () {
      const { open, server, ran } = yield* setUp()
      const box = yield* open("box")
      const thief = yield* Binding.local(server, IShelf)
      assert.deepStrictEqual(yield* failure(Call.invoke(thief, "Use", { box, text: "a" })), mismatch)
      assert.deepStrictEqual(ran, [])
    }))

  it.effect("of another server is not known", () =>
    Effect.gen(function* () {
      const one = yield* setUp()
      const two = yield* setUp()
      assert.deepStrictEqual(yield* failure(two.use(yield* one.open("box"))), mismatch)
    }))

  it.effect("of another interface is not known", () =>
    Effect.gen(function* () {
      const { open, server, shelf } = yield* setUp()
      const other = yield* Binding.local(server, IOther)
      // The same association cannot be had for two interfaces in one process: the table is asked itself.
      const box = (yield* open("box")) as unknown as Handle
      const { origin: { handles } } = shelf.channel as unknown as {
        readonly origin: import("../src/internal/server.ts").ClientImpl
      }
      assert.isDefined(handles?.find(box, IShelf, "Box"))
      assert.isUndefined(handles?.find(box, IOther, "Box"))
      assert.isUndefined(handles?.find(box, { ...IShelf, version: [2, 0] }, "Box"))
      assert.isDefined(handles?.find(box, { ...IShelf, version: [1, 7] }, "Box"))
      assert.deepStrictEqual(yield* failure(Call.invoke(other, "Use", { box: box as never, text: "a" })), mismatch)
    }))

  it.effect("of another type is not known", () =>
    Effect.gen(function* () {
      const { open, shelf } = yield* setUp()
      const box = yield* open("box")
      assert.deepStrictEqual(yield* failure(Call.invoke(shelf, "Spill", { jar: box as never })), mismatch)
    }))

  it.effect("that is forged is not known, and the answer is the same", () =>
    Effect.gen(function* () {
      const { open, shelf, use } = yield* setUp()
      const box = yield* open("box")
      const closed = yield* open("closed")
      yield* Call.invoke(shelf, "Close", { box: closed })
      const { uuid } = box as unknown as Handle
      const forged = [new Handle("Box", uuid, 1), new Handle("Box", uuid.toUpperCase()), new Handle("Box", "")]
      const refusals = yield* Effect.forEach([closed, ...forged], (box) => Effect.flip(use(box as never)))
      for (const refusal of refusals) {
        assertFailure(refusal, new Status.ContextMismatch({ didNotExecute: true }))
      }
    }))

  it.effect("is known by the UUID that nobody can guess, and is no two times the same", () =>
    Effect.gen(function* () {
      const { open } = yield* setUp()
      const uuids = new Set<string>()
      for (let i = 0; i < 100; i++) uuids.add(((yield* open("box")) as unknown as Handle).uuid)
      assert.strictEqual(uuids.size, 100)
      for (const uuid of uuids) {
        assert.match(uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
      }
    }))

  it.effect("that is null is refused on the client, and the call object stays idle", () =>
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

  it.effect("that is none at all is refused on the client", () =>
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

  it.effect("may be null where its type is declared so", () =>
    Effect.gen(function* () {
      const { ends, shelf } = yield* setUp()
      const { box } = yield* Call.invoke(shelf, "Toggle", { box: null })
      assert.isNotNull(box)
      assert.deepStrictEqual(yield* Call.invoke(shelf, "Toggle", { box }), { box: null })
      assert.deepStrictEqual(ends, ["closed toggled"])
    }))

  it.effect("passes through a method that takes and gives it", () =>
    Effect.gen(function* () {
      const { open, shelf, use } = yield* setUp()
      const box = yield* open("box")
      const passed = yield* Call.invoke(shelf, "Pass", { box })
      assert.strictEqual(yield* use(passed.box), "a in box")
    }))

  it.effect("that is not open in the association can't be given", () =>
    Effect.gen(function* () {
      const { open, server, shelf, test, use } = yield* setUp()
      const box = yield* open("box")
      const other = yield* Binding.local(server, IShelf)
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

  it.effect("that is destroyed is forgotten by the client alone", () =>
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

  it.effect("works through a binding that checks, and one with a description of its own", () =>
    Effect.gen(function* () {
      const { server } = yield* setUp()
      const mine = Interface.make("IShelf", { uuid: IShelf.uuid, version: IShelf.version, methods: IShelf.methods })
      for (const iface of [IShelf, mine as unknown as typeof IShelf]) {
        const shelf = yield* Binding.local(server, iface, { validate: true })
        const { box } = yield* Call.invoke(shelf, "Open", { text: "box" })
        assert.strictEqual(yield* Call.invoke(shelf, "Use", { box, text: "a" }), "a in box")
        assert.deepStrictEqual(yield* Call.invoke(shelf, "Close", { box }), { box: null })
      }
    }))
})

// ----------------------------------------------------------------------------
// what a manager may do
// ----------------------------------------------------------------------------

describe("a manager", () => {
  it.effect("that asks for a state behind a handle of no call gets 6, which the client sees as a mismatch", () =>
    Effect.gen(function* () {
      const { boxes, open, test, use } = yield* setUp()
      const box = yield* open("box")
      const another = yield* open("another")
      test.work = (call) => boxes.get(call, another)
      assert.deepStrictEqual(yield* failure(use(box)), ["ContextMismatch", false])
      test.work = (call) => Effect.andThen(boxes.close(call, box), boxes.get(call, box))
      assert.deepStrictEqual(yield* failure(use(box)), ["ContextMismatch", false])
    }))

  it.effect("may close what it has opened in the same call, and use it before", () =>
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

  it.effect("that fails to open leaves nothing", () =>
    Effect.gen(function* () {
      const { boxes, ends, left, open, test, use } = yield* setUp()
      const box = yield* open("box")
      const acquire = Effect.andThen(
        Effect.addFinalizer(() => Effect.sync(() => void ends.push("released"))),
        Effect.fail(new Denied({ who: "opener" }))
      )
      test.work = (call) => Effect.as(boxes.open(call, acquire), "never")
      assert.strictEqual((yield* Effect.flip(use(box)))._tag, "Denied")
      assert.deepStrictEqual([ends, left()], [["released"], 1])
    }))

  it.effect("that asks for a state of other states gets 6", () =>
    Effect.gen(function* () {
      const { open, test, use } = yield* setUp()
      const others = ContextHandle.states<number>()(Box)
      const box = yield* open("box")
      test.work = (call) => Effect.map(others.get(call, box), String)
      assert.strictEqual((yield* Effect.flip(use(box)))._tag, "ContextMismatch")
    }))

  it.effect("can't reach a state when its call is over", () =>
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

// ----------------------------------------------------------------------------
// one after the other
// ----------------------------------------------------------------------------

describe("calls on one handle", () => {
  it.effect("run one after the other, in the order in which they arrive", () =>
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

  it.effect("wait for one that was handed off, until it is completed", () =>
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

  it.effect("wait for work that is tied to a call, even if the call was answered", () =>
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

  it.effect("don't keep calls on other handles, or on none, waiting", () =>
    Effect.gen(function* () {
      const { open, shelf, use } = yield* setUp()
      const [one, two] = [yield* open("one"), yield* open("two")]
      yield* Call.begin(yield* Call.make(shelf), "Hold", { box: one })
      assert.strictEqual(yield* use(two), "a in two")
      yield* open("three")
    }))

  it.effect("run beside each other where they share it, and not beside those that don't", () =>
    Effect.gen(function* () {
      const { open, ran, shelf, test } = yield* setUp()
      const box = yield* open("box")
      const gates = new Map<string, Deferred.Deferred<void>>()
      for (const text of ["r1", "r2", "w", "r3", "r4"]) gates.set(text, yield* Deferred.make<void>())
      test.work = (_, __, text) => Effect.as(Deferred.await(gates.get(text)!), text)
      const through = (text: string) => Effect.andThen(Deferred.succeed(gates.get(text)!, undefined), settle)
      const peek = (text: string) => Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Peek", { box, text }))
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

  it.effect("with two handles each never wait for each other", () =>
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
      assert.deepStrictEqual(yield* Effect.forEach(moves, (move) => Call.join(move)), ["a to b", "b to a", "a to a"])
    }))

  it.effect("that are many and answered at once don't use up the stack", () =>
    Effect.gen(function* () {
      const { held, open, shelf } = yield* setUp()
      const box = yield* open("box")
      yield* Call.begin(yield* Call.make(shelf), "Hold", { box })
      const calls = yield* Effect.forEach(
        Array.from({ length: 20_000 }, (_, i) => String(i)),
        (text) => beginUse(shelf, box, text)
      )
      yield* ServerCall.complete(yield* Queue.take(held), "")
      for (const [i, call] of calls.entries()) assert.strictEqual(yield* Call.join(call), `${i} in box`)
    }))

  it.effect("never run when they are orphaned in the moment in which it is their turn", () =>
    Effect.gen(function* () {
      const { held, open, ran, shelf } = yield* setUp()
      const box = yield* open("box")
      yield* Call.begin(yield* Call.make(shelf), "Hold", { box })
      // Far more than nest, so that some wait for their start when the one before them orphans them.
      const scopes = yield* Effect.forEach(Array.from({ length: 200 }), () => Scope.make())
      for (const [i, scope] of scopes.entries()) {
        const call = yield* Scope.provide(Call.make(shelf), scope)
        const pending = yield* Call.begin(call, "Use", { box, text: String(i) })
        yield* Call.onComplete(pending, Scope.close(scopes[i + 1] ?? scope, Exit.void))
      }
      yield* ServerCall.complete(yield* Queue.take(held), "")
      yield* settle
      assert.deepStrictEqual(ran, scopes.flatMap((_, i) => i % 2 === 0 ? [String(i)] : []))
    }))

  it.effect("that carry it twice have it for themselves if one parameter does", () =>
    Effect.gen(function* () {
      const IPair = Interface.make("IPair", {
        uuid: "0c9a7be4-54a4-4f0b-9a43-5a1f3f7d2e17",
        version: [1, 0],
        methods: {
          Open: Interface.method({ out: { box: Box } }),
          Both: Interface.method({ in: { own: Box, also: ContextHandle.shared(Box) }, out: Schema.Int })
        }
      })
      const boxes = ContextHandle.states<string>()(Box)
      let running = 0
      const manager = Manager.make(IPair, {
        Open: (_, call) => Effect.map(boxes.open(call, Effect.succeed("")), (box) => ({ box })),
        Both: () =>
          Effect.ensuring(
            Effect.suspend(() => Effect.delay(Effect.succeed(++running), "1 second")),
            Effect.sync(() => running--)
          )
      })
      const pair = yield* Binding.local(yield* Server.make([manager], { grace: 0 }), IPair)
      const { box } = yield* Call.invoke(pair, "Open")
      const both = Call.invoke(pair, "Both", { own: box, also: box })
      const two = yield* Effect.forkChild(Effect.all([both, both], { concurrency: 2 }))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* Fiber.join(two), [1, 1])
      yield* TestClock.adjust("1 second")
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
      const free = Effect.andThen(ServerCall.complete(call, ""), settle)
      return { ...world, box, call, free, holding, using }
    })

  it.effect("is over when it is cancelled, and certainly did not execute", () =>
    Effect.gen(function* () {
      const { free, ran, server, using } = yield* waiting()
      yield* Call.cancel(using)
      assert.deepStrictEqual(yield* failure(Call.join(using)), ["CallCancelled", true])
      assert.strictEqual((yield* Server.calls(server)).length, 1)
      yield* free
      assert.deepStrictEqual(ran, [])
    }))

  it.effect("is over when it is cancelled patiently, and certainly did not execute", () =>
    Effect.gen(function* () {
      const { free, ran, using } = yield* waiting()
      yield* Call.cancel(using, { timeout: "Infinity" })
      assert.deepStrictEqual(yield* failure(Call.join(using)), ["CallCancelled", true])
      yield* free
      assert.deepStrictEqual(ran, [])
    }))

  it.effect("never runs when it is orphaned", () =>
    Effect.gen(function* () {
      const { box, free, ran, server, shelf } = yield* waiting()
      yield* Effect.scoped(beginUse(shelf, box, "orphan"))
      assert.strictEqual((yield* Server.calls(server)).length, 2)
      yield* free
      assert.deepStrictEqual(ran, ["waiting"])
    }))

  it.effect("lets the next one through when it is cancelled between two that share", () =>
    Effect.gen(function* () {
      const { open, ran, shelf, test } = yield* setUp()
      const box = yield* open("box")
      test.work = () => Effect.never
      const peek = (text: string) => Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Peek", { box, text }))
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

  it.effect("fails with a mismatch when the call before it closes the handle", () =>
    Effect.gen(function* () {
      const { boxes, ends, open, ran, shelf, test } = yield* setUp()
      const box = yield* open("box")
      const gate = yield* Deferred.make<void>()
      test.work = (call, _, text) => Deferred.await(gate).pipe(Effect.andThen(boxes.close(call, box)), Effect.as(text))
      const [closing, waiting] = [yield* beginUse(shelf, box, "closing"), yield* beginUse(shelf, box, "waiting")]
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* Call.join(closing), "closing")
      assert.deepStrictEqual(yield* failure(Call.join(waiting)), mismatch)
      assert.deepStrictEqual([ran, ends], [["closing"], ["closed box"]])
    }))

  it.effect("is aborted when it gets too old, and never runs", () =>
    Effect.gen(function* () {
      const { free, holding, ran, using } = yield* waiting({ maximumAge: "1 minute" })
      yield* TestClock.adjust("1 minute")
      assertFailure(yield* Effect.flip(Call.join(using)), new Status.RpcFault({ code: 1460 }))
      assert.strictEqual((yield* Effect.flip(Call.join(holding)))._tag, "RpcFault")
      yield* Effect.ignore(free)
      assert.deepStrictEqual(ran, [])
    }))

  it.effect("ends with 1722 when the server stops, and the one before it with 1726", () =>
    Effect.gen(function* () {
      const { holding, ran, stopServer, using } = yield* waiting()
      yield* stopServer
      const ended = yield* Effect.forEach([holding, using], (call) => Effect.flip(Call.join(call as typeof using)))
      assert.deepStrictEqual(ended.map((error) => "status" in error && error.status), [1726, 1722])
      assert.deepStrictEqual(ran, [])
    }))
})

// ----------------------------------------------------------------------------
// run-down
// ----------------------------------------------------------------------------

describe("the run-down", () => {
  it.effect("comes when the client is gone, once, and sees an interruption", () =>
    Effect.gen(function* () {
      const { ends, leave, left, open } = yield* setUp()
      yield* open("one")
      yield* open("two")
      assert.deepStrictEqual(ends, [])
      yield* leave
      assert.deepStrictEqual(ends, ["run down one", "run down two"])
      assert.strictEqual(left(), 0)
    }))

  it.effect("leaves the handles of other clients alone", () =>
    Effect.gen(function* () {
      const { ends, leave, open, server } = yield* setUp()
      yield* open("mine")
      const other = yield* Binding.local(server, IShelf)
      const { box } = yield* Call.invoke(other, "Open", { text: "theirs" })
      yield* leave
      assert.deepStrictEqual(ends, ["run down mine"])
      assert.strictEqual(yield* Call.invoke(other, "Use", { box, text: "a" }), "a in theirs")
    }))

  it.effect("comes after the outstanding calls, which are interrupted", () =>
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

  it.effect("comes after work that is tied to a call", () =>
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

  it.effect("comes when the server stops, which waits for it, after the calls", () =>
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

  it.effect("lets no call run that waits for the handle of a client that is gone", () =>
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

  it.effect("comes once when the client leaves and the server stops together", () =>
    Effect.gen(function* () {
      const { ends, leave, open, stopServer } = yield* setUp()
      yield* open("box")
      yield* Effect.all([leave, stopServer], { concurrency: "unbounded" })
      assert.deepStrictEqual(ends, ["run down box"])
    }))

  it.effect("waits for the others that share the handle when one of them closes it", () =>
    Effect.gen(function* () {
      const { boxes, ends, leave, open, ran, shelf, test } = yield* setUp()
      const box = yield* open("box")
      const gate = yield* Deferred.make<void>()
      test.work = (call, name, text) =>
        text === "closer"
          ? Effect.as(boxes.close(call, box), "closed")
          : Deferred.await(gate).pipe(Effect.andThen(boxes.get(call, box)), Effect.as(name))
      const peek = (text: string) => Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Peek", { box, text }))
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

  it.effect("goes on when the call that closes the handle is cancelled meanwhile", () =>
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

  it.effect("that dies is logged, and the others run", () =>
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

// ----------------------------------------------------------------------------
// failures
// ----------------------------------------------------------------------------

describe("a call that fails", () => {
  it.effect("leaves an existing handle as it is", () =>
    Effect.gen(function* () {
      const { ends, open, test, use } = yield* setUp()
      const box = yield* open("box")
      test.work = () => Effect.fail(new Denied({ who: "a" }))
      assert.strictEqual((yield* Effect.flip(use(box)))._tag, "Denied")
      test.work = () => Effect.die("as expected")
      yield* Effect.flip(use(box)).pipe(Effect.provide(Logger.layer([])))
      test.work = (_, box) => Effect.succeed(box)
      assert.strictEqual(yield* use(box), "box")
      assert.deepStrictEqual(ends, [])
    }))

  it.effect("after it has closed the handle leaves it closed", () =>
    Effect.gen(function* () {
      const { ends, open, shelf, test, use } = yield* setUp()
      const box = yield* open("box")
      test.open = Effect.fail(new Denied({ who: "a" }))
      assert.strictEqual((yield* Effect.flip(Call.invoke(shelf, "Close", { box })))._tag, "Denied")
      assert.deepStrictEqual(ends, ["closed box"])
      assert.deepStrictEqual(yield* failure(use(box)), mismatch)
    }))

  it.effect("after it has opened a handle: that is run down at once", () =>
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

  it.effect("because its out parameters are refused: what it has opened is run down at once", () =>
    Effect.gen(function* () {
      const IWrong = Interface.make("IWrong", {
        uuid: "0c9a7be4-54a4-4f0b-9a43-5a1f3f7d2e14",
        version: [1, 0],
        methods: { Open: Interface.method({ out: { box: Box, count: Schema.Int } }) }
      })
      const boxes = ContextHandle.states<string>()(Box)
      const ends: Array<string> = []
      const acquire = Effect.acquireRelease(
        Effect.succeed("box"),
        (_, exit) => Effect.sync(() => void ends.push(exit._tag))
      )
      const manager = Manager.make(IWrong, {
        Open: (_, call) => Effect.map(boxes.open(call, acquire), (box) => ({ box, count: 1.5 }))
      })
      const server = yield* Server.make([manager], { grace: 0 })
      const binding = yield* Binding.local(server, IWrong, { validate: true })
      const refused = yield* Effect.flip(Call.invoke(binding, "Open")).pipe(Effect.provide(Logger.layer([])))
      yield* settle
      assertFailure(refused, new Status.RpcFault({ code: 1783 }))
      assert.deepStrictEqual([ends, serverImpl(server).handles.size], [["Failure"], 0])
    }))
})

describe("a handle that nobody receives", () => {
  it.effect("because the call was cancelled is run down at once", () =>
    Effect.gen(function* () {
      const { ends, left, shelf, test } = yield* setUp()
      test.open = Effect.never
      const opening = yield* Call.begin(yield* Call.make(shelf), "Open", { text: "box" })
      yield* Call.cancel(opening)
      yield* settle
      assert.deepStrictEqual([ends, left()], [["run down box"], 0])
    }))

  it.effect("because the call was orphaned is run down at once, after its routine", () =>
    Effect.gen(function* () {
      const { ends, left, shelf, test } = yield* setUp()
      const gate = yield* Deferred.make<void>()
      test.open = Effect.uninterruptible(Effect.andThen(Deferred.await(gate), Effect.sync(() => void ends.push("end"))))
      yield* Effect.scoped(Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Open", { text: "box" })))
      yield* settle
      assert.deepStrictEqual(ends, [])
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      assert.deepStrictEqual([ends, left()], [["end", "run down box"], 0])
    }))

  it.effect("because the client has gone while the state was made is released at once", () =>
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

  it.effect("because the reply does not carry it is run down at once", () =>
    Effect.gen(function* () {
      const { ends, left, shelf } = yield* setUp()
      yield* Call.invoke(shelf, "Forget", { text: "box" })
      yield* settle
      assert.deepStrictEqual([ends, left()], [["run down box"], 0])
    }))

  it.effect("because the client has cancelled before the reply came is run down with the association", () =>
    Effect.gen(function* () {
      const made = yield* makeShelf
      const gate = yield* Deferred.make<void>()
      made.test.open = Deferred.await(gate)
      const manager = Manager.make(IShelf, managerImpl(made.manager).routines as never, { cancellation: "cooperative" })
      const server = yield* Server.make([manager as typeof made.manager], { grace: 0 })
      const scope = yield* Scope.make()
      const shelf = yield* Scope.provide(Binding.local(server, IShelf), scope)
      const opening = yield* Call.begin(yield* Call.make(shelf), "Open", { text: "box" })
      yield* Call.cancel(opening)
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      assert.deepStrictEqual(made.ends, [])
      yield* Scope.close(scope, Exit.void)
      yield* settle
      assert.deepStrictEqual(made.ends, ["run down box"])
    }))
})

// ----------------------------------------------------------------------------
// a chain, and what is printed
// ----------------------------------------------------------------------------

describe("handles that close each other", () => {
  it.effect("800 states, each of which closes the next one when it is closed: all are released", () =>
    Effect.gen(function* () {
      const boxes = ContextHandle.states<number>()(Box)
      const closed: Array<number> = []
      const IChain = Interface.make("IChain", {
        uuid: "0c9a7be4-54a4-4f0b-9a43-5a1f3f7d2e17",
        version: [1, 0],
        methods: { Close: Interface.method({}) }
      })
      const manager = Manager.make(IChain, {
        Close: Effect.fnUntraced(function* (_, call) {
          const handles: Array<ContextHandle.ContextHandle<"Box">> = []
          for (let i = 0; i < 800; i++) {
            const closeNext = Effect.suspend(() => {
              closed.push(i)
              return handles[i + 1] === undefined ? Effect.void : Effect.ignore(boxes.close(call, handles[i + 1]!))
            })
            handles.push(yield* boxes.open(call, Effect.acquireRelease(Effect.succeed(i), () => closeNext)))
          }
          yield* boxes.close(call, handles[0]!)
        })
      })
      yield* Call.invoke(yield* Binding.local(yield* Server.make([manager]), IChain), "Close")
      assert.strictEqual(closed.length, 800)
    }))
})

describe("what a handle prints", () => {
  it.effect("a handle, also a destroyed one: its type and state, and not its UUID", () =>
    Effect.gen(function* () {
      const { open } = yield* setUp()
      const box = yield* open("a")
      assert.strictEqual(String(box), `{"_id":"callisto/ContextHandle","type":"Box","state":"open"}`)
      yield* ContextHandle.destroy(box)
      assert.strictEqual(JSON.stringify(box), `{"_id":"callisto/ContextHandle","type":"Box","state":"destroyed"}`)
      assert.notInclude(inspect(box, { depth: 9 }), (box as unknown as Handle).uuid)
    }))

  it("the states of a type: its name", () => {
    const json = `{"_id":"callisto/ContextHandle/States","type":"Box"}`
    assert.strictEqual(String(ContextHandle.states<number>()(Box)), json)
  })
})
