import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Logger, Queue, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { inspect } from "node:util"
import { Binding, Call, ContextHandle, Interface, Manager, Server, ServerCall, Status } from "../mod.ts"
import { Handle } from "../src/internal/handleSchema.ts"
import { fullOperation } from "../src/internal/seams.ts"
import { assertFailure, refuses } from "./fixtures.ts"
import { beginUse, failure, mismatch, settle, testHandles, withBoxes } from "./handles.ts"
import { Box, IOther, IShelf, makeShelf } from "./shelf.ts"
import { clientImpl, handleImpl, managerImpl, serverImpl } from "./internals.ts"

const makeWorld = (options?: Server.Options) =>
  Effect.gen(function* () {
    const made = yield* makeShelf
    const serverScope = yield* Scope.fork(yield* Effect.scope)
    const managers = [made.manager, made.other] as const
    const server = yield* Scope.provide(Server.make(managers, { grace: 0, ...options }), serverScope)
    const clientScope = yield* Scope.fork(yield* Effect.scope)
    return {
      ...made,
      another: Binding.local(server, IShelf),
      leave: Effect.andThen(Scope.close(clientScope, Exit.void), settle),
      left: () => serverImpl(server).handles.size,
      server,
      shelf: yield* Scope.provide(Binding.local(server, IShelf), clientScope),
      stopServer: Scope.close(serverScope, Exit.void)
    }
  })

const setUp = (options?: Server.Options) => Effect.map(makeWorld(options), withBoxes)

testHandles("handles in one process", makeWorld)

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

  it("handle type with a name that is no identifier: is refused", () => {
    refuses(() => ContextHandle.make("a box"), `"a box"`, "identifier")
  })

  it("handle type inside a parameter: is refused", () => {
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

  it("handle type in an abort: is refused", () => {
    class Holding extends Schema.TaggedError<Holding>()("Holding", { box: Box }) {}
    refuses(describeWith(Interface.method({ aborts: [Interface.abort(5000, Holding)] })), "Holding", "context handle")
  })

  it("abort with the code of a mismatch, method with an in handle: is refused", () => {
    class Six extends Schema.TaggedError<Six>()("Six", {}) {}
    const aborts = [Interface.abort(6, Six)]
    refuses(describeWith(Interface.method({ in: { box: Box }, aborts })), "code 6", "context handle")
    describeWith(Interface.method({ out: { box: Box }, aborts }))()
  })

  it("handle type as a field of the parameters' struct: is accepted", () => {
    const made = describeWith(Interface.method({ in: Schema.Struct({ box: ContextHandle.shared(Box) }) }))()
    assert.deepStrictEqual(fullOperation(made.operations.Test).handlesIn, [{
      name: "box",
      type: "Box",
      nullable: false,
      shared: true
    }])
  })

  it("shared and nullable, in either order: the same type", () => {
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
// in one process alone
// ----------------------------------------------------------------------------

describe("a handle in one process", () => {
  it.effect("handle of another server: fails with a mismatch", () =>
    Effect.gen(function* () {
      const one = yield* setUp()
      const two = yield* setUp()
      assert.deepStrictEqual(yield* failure(two.use(yield* one.open("box"))), mismatch)
    }))

  it.effect("handle of another interface: fails with a mismatch", () =>
    Effect.gen(function* () {
      const { open, server, shelf } = yield* setUp()
      const other = yield* Binding.local(server, IOther)
      // The same association cannot be had for two interfaces in one process: the table is asked itself.
      const box = handleImpl(yield* open("box"))
      const { handles } = clientImpl(shelf)
      assert.isDefined(handles?.find(box, IShelf, "Box"))
      assert.isUndefined(handles?.find(box, IOther, "Box"))
      assert.isUndefined(handles?.find(box, { ...IShelf, version: [2, 0] }, "Box"))
      assert.isDefined(handles?.find(box, { ...IShelf, version: [1, 7] }, "Box"))
      assert.deepStrictEqual(yield* failure(Call.invoke(other, "Use", { box: box as never, text: "a" })), mismatch)
    }))

  it.effect("forged handle: fails with the same mismatch", () =>
    Effect.gen(function* () {
      const { open, shelf, use } = yield* setUp()
      const box = yield* open("box")
      const closed = yield* open("closed")
      yield* Call.invoke(shelf, "Close", { box: closed })
      const { uuid } = handleImpl(box)
      const forged = [new Handle("Box", uuid, 1), new Handle("Box", uuid.toUpperCase()), new Handle("Box", "")]
      const refusals = yield* Effect.forEach([closed, ...forged], (box) => Effect.flip(use(box as never)))
      for (const refusal of refusals) {
        assertFailure(refusal, new Status.ContextMismatch({ didNotExecute: true }))
      }
    }))

  it.effect("handle through a validating binding, and one with its own description: works", () =>
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

describe("calls on one handle in one process", () => {
  it.effect("many calls on one handle, answered at once: the stack is not used up", () =>
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

  it.effect("waiting calls orphaned in the moment of their turn: never run", () =>
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

  it.effect("one handle in two parameters, one exclusive: the call has the handle alone", () =>
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

describe("a call that waits for its handle in one process", () => {
  const waiting = Effect.gen(function* () {
    const world = yield* setUp()
    const box = yield* world.open("box")
    const holding = yield* Call.begin(yield* Call.make(world.shelf), "Hold", { box })
    return { ...world, holding, using: yield* beginUse(world.shelf, box, "waiting") }
  })

  it.effect("call waiting for its handle, cancelled at once: certainly did not execute", () =>
    Effect.gen(function* () {
      const { using } = yield* waiting
      yield* Call.cancel(using)
      assert.deepStrictEqual(yield* failure(Call.join(using)), ["CallCancelled", true])
    }))

  it.effect("call waiting for its handle, the server stops: ends with 1722, and the call before it with 1726", () =>
    Effect.gen(function* () {
      const { holding, stopServer, using } = yield* waiting
      yield* stopServer
      const ended = yield* Effect.forEach([holding, using], (call) => Effect.flip(Call.join(call as typeof using)))
      assert.deepStrictEqual(ended.map((error) => "status" in error && error.status), [1726, 1722])
    }))
})

describe("a call that fails in one process", () => {
  it.effect("out parameters refused: the handle opened by the call is run down at once", () =>
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

describe("a handle that nobody receives in one process", () => {
  it.effect("cancelled before the reply: the new handle is run down with the association", () =>
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
  it.effect("handle, open or destroyed: prints its type and state, and not its UUID", () =>
    Effect.gen(function* () {
      const { open } = yield* setUp()
      const box = yield* open("a")
      assert.strictEqual(String(box), `{"_id":"callisto/ContextHandle","type":"Box","state":"open"}`)
      yield* ContextHandle.destroy(box)
      assert.strictEqual(JSON.stringify(box), `{"_id":"callisto/ContextHandle","type":"Box","state":"destroyed"}`)
      assert.notInclude(inspect(box, { depth: 9 }), handleImpl(box).uuid)
    }))

  it("states of a handle type: print the name of the type", () => {
    const json = `{"_id":"callisto/ContextHandle/States","type":"Box"}`
    assert.strictEqual(String(ContextHandle.states<number>()(Box)), json)
  })
})
