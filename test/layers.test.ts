/** Managers and servers as layers. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Schema, Scope } from "effect"
import { Binding, Call, Interface, Manager, Server } from "../mod.ts"
import { refusal } from "./fixtures.ts"

const ask = { in: Schema.String, out: Schema.String } as const

const IOne = Interface.make("IOne", {
  uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c2f01",
  version: [1, 0],
  methods: { Ask: Interface.method(ask) }
})

const ITwo = Interface.make("ITwo", {
  uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c2f02",
  version: [1, 0],
  methods: { Ask: Interface.method(ask) }
})

const Name = Context.Service<"name", string>("test/Name")

const named = (name: string) => Layer.succeed(Name, name)

const one = Manager.layer(IOne, Effect.succeed({ Ask: (input: string) => Effect.succeed(`one ${input}`) }))

const two = Manager.layer(ITwo, Effect.succeed({ Ask: (input: string) => Effect.succeed(`two ${input}`) }))

const askOne = (server: Server.Server, input = "a") =>
  Effect.scoped(Effect.flatMap(Binding.local(server, IOne), (binding) => Call.invoke(binding, "Ask", input)))

describe("Manager.layer", () => {
  it.effect("services of the layer: routines find them, and not those of the server", () =>
    Effect.gen(function* () {
      const manager = Manager.layer(
        IOne,
        Effect.succeed({
          Ask: () =>
            Effect.gen(function* () {
              return yield* Name
            })
        })
      )
      const layer = Server.layer([IOne]).pipe(
        Layer.provide(manager.pipe(Layer.provide(named("the layer's")))),
        Layer.provide(named("the server's"))
      )
      const server = Context.get(yield* Layer.build(layer), Server.Server)
      assert.strictEqual(yield* askOne(server), "the layer's")
      assert.strictEqual(yield* Effect.provideService(askOne(server), Name, "the client's"), "the layer's")
    }))

  it.effect("services that the effect of the routines used: it runs once, when the layer is built", () =>
    Effect.gen(function* () {
      let built = 0
      const manager = Manager.layer(
        IOne,
        Effect.gen(function* () {
          built++
          const name = yield* Name
          return { Ask: (input: string) => Effect.succeed(`${name} ${input}`) }
        })
      )
      const layer = Server.layer([IOne]).pipe(Layer.provide(manager), Layer.provide(named("mine")))
      const server = Context.get(yield* Layer.build(layer), Server.Server)
      assert.strictEqual(yield* askOne(server), "mine a")
      assert.strictEqual(yield* askOne(server, "b"), "mine b")
      assert.strictEqual(built, 1)
    }))

  it.effect("the Scope of its effect is that of the layer, the Scope of a routine that of its call", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const finalizer = (what: string) => Effect.addFinalizer(() => Effect.sync(() => void log.push(what)))
      const manager = Manager.layer(
        IOne,
        Effect.as(finalizer("layer"), { Ask: (input: string) => Effect.as(finalizer(`call ${input}`), input) })
      )
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Server.layer([IOne]).pipe(Layer.provide(manager)), scope)
      const server = Context.get(context, Server.Server)
      yield* askOne(server, "a")
      yield* askOne(server, "b")
      assert.deepStrictEqual(log, ["call a", "call b"])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(log, ["call a", "call b", "layer"])
    }))

  it.effect("its options: reach the manager", () =>
    Effect.gen(function* () {
      const manager = Manager.layer(IOne, Effect.succeed({ Ask: (input: string) => Effect.succeed(input) }), {
        callObjects: false
      })
      const server = Context.get(yield* Layer.build(Server.layer([IOne]).pipe(Layer.provide(manager))), Server.Server)
      assert.strictEqual(Server.offers(server, IOne)?.callObjects, false)
    }))

  it.effect("the effect of the routines fails: the layer of the server fails", () =>
    Effect.gen(function* () {
      class NoDisk extends Schema.TaggedError<NoDisk>()("NoDisk", {}) {}
      const manager = Manager.layer(
        IOne,
        Effect.as(Effect.fail(new NoDisk()), { Ask: (input: string) => Effect.succeed(input) })
      )
      assert.strictEqual(yield* refusal(Layer.build(Server.layer([IOne]).pipe(Layer.provide(manager)))), "NoDisk")
    }))
})

describe("Server.layer", () => {
  it.effect("two interfaces: both are served", () =>
    Effect.gen(function* () {
      const layer = Server.layer([IOne, ITwo]).pipe(Layer.provide([one, two]))
      const server = Context.get(yield* Layer.build(layer), Server.Server)
      assert.strictEqual(yield* askOne(server), "one a")
      assert.strictEqual(yield* Call.invoke(yield* Binding.local(server, ITwo), "Ask", "a"), "two a")
      assert.deepStrictEqual(Server.interfaces(server).map(({ interface: { name } }) => name), ["IOne", "ITwo"])
    }))

  it.effect("no interface: a server that offers nothing, until managers are added", () =>
    Effect.gen(function* () {
      const server = Context.get(yield* Layer.build(Server.layer([])), Server.Server)
      assert.strictEqual(yield* refusal(Binding.local(server, IOne)), "NoInterface")
      yield* Server.add(server, Manager.make(IOne, { Ask: (input) => Effect.succeed(`added ${input}`) }))
      assert.strictEqual(yield* askOne(server), "added a")
    }))

  it.effect("two servers, each under its key: each has its own managers and options", () =>
    Effect.gen(function* () {
      const Inner = Context.Service<"inner", Server.Server>("test/Inner")
      const layer = Layer.mergeAll(
        Server.layer([IOne]),
        Server.layer([ITwo], { key: Inner, maximumCalls: 0 })
      ).pipe(Layer.provide([one, two]))
      const context = yield* Layer.build(layer)
      const [outer, inner] = [Context.get(context, Server.Server), Context.get(context, Inner)]
      assert.notStrictEqual(outer, inner)
      assert.strictEqual(yield* askOne(outer), "one a")
      assert.strictEqual(yield* refusal(askOne(inner)), "NoInterface")
      const error = yield* Effect.flip(Call.invoke(yield* Binding.local(inner, ITwo), "Ask", "a"))
      assert.deepInclude(error, { _tag: "RpcFault", code: 1723 })
    }))

  it.effect("its layer is released: the server ends before its managers' resources", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const manager = Manager.layer(
        IOne,
        Effect.as(Effect.addFinalizer(() => Effect.sync(() => void log.push("disk closed"))), {
          Ask: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void log.push("call ended")))
        })
      )
      const scope = yield* Scope.make()
      const layer = Server.layer([IOne], { grace: 0 }).pipe(Layer.provide(manager))
      const server = Context.get(yield* Layer.buildWithScope(layer, scope), Server.Server)
      yield* Effect.forkChild(Effect.exit(askOne(server)), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(log, ["call ended", "disk closed"])
    }))
})
