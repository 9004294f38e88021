/** Endpoints as layers, and connections whose caller somebody else has authenticated. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Schema, Scope } from "effect"
import { Call, Interface, Manager, Server, ServerCall } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Memory from "../../src/transport/Memory.ts"
import * as Transport from "../../src/transport/Transport.ts"
import { refusal } from "../fixtures.ts"

const IWho = Interface.make("IWho", {
  uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c2a01",
  version: [1, 0],
  methods: { Ask: Interface.method({ out: { name: Schema.String, level: Schema.String } }) }
})

const who = Manager.layer(
  IWho,
  Effect.succeed({
    Ask: (_, call) => {
      const { level, name = "nobody" } = ServerCall.caller(call)
      return Effect.succeed({ name, level })
    }
  })
)

const ask = (place: string) =>
  Effect.scoped(Effect.flatMap(Association.bind(IWho, place), (binding) => Call.invoke(binding, "Ask")))

const nobody = { name: "nobody", level: "none" }

describe("Endpoint.layer", () => {
  it.effect("a server in the context: it is served until the layer is released, and the listener is provided", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const live = Endpoint.layer("ncacn_memory:").pipe(Layer.provide(Server.layer([IWho])), Layer.provide(who))
      const context = yield* Layer.buildWithScope(live, scope)
      const { endpoint } = Context.get(context, Transport.Listener).address
      const place = `ncacn_memory:[${endpoint}]`
      assert.deepStrictEqual(yield* ask(place), nobody)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* refusal(ask(place)), "RpcTransportError")
    }).pipe(Effect.provide(Memory.layer)))

  it.effect("two servers, each by its key: each is served at its own place", () =>
    Effect.gen(function* () {
      const Inner = Context.Service<"inner", Server.Server>("test/Inner")
      const InnerListener = Context.Service<"inner listener", Transport.Listener>("test/InnerListener")
      const IOther = Interface.make("IOther", { methods: { Rest: Interface.method({}) } })
      const other = Manager.layer(IOther, Effect.succeed({ Rest: () => Effect.void }))
      const live = Layer.mergeAll(
        Endpoint.layer("ncacn_memory:[outer]").pipe(Layer.provide(Server.layer([IWho]))),
        Endpoint.layer("ncacn_memory:[inner]", { server: Inner, key: InnerListener, maximumCalls: 1 }).pipe(
          Layer.provide(Server.layer([IOther], { key: Inner }))
        )
      ).pipe(Layer.provide([who, other]))
      const context = yield* Layer.build(live)
      assert.strictEqual(Context.get(context, Transport.Listener).address.endpoint, "outer")
      assert.strictEqual(Context.get(context, InnerListener).address.endpoint, "inner")
      assert.deepStrictEqual(yield* ask("ncacn_memory:[outer]"), nobody)
      assert.strictEqual(yield* refusal(ask("ncacn_memory:[inner]")), "UnknownInterface")
      yield* Call.invoke(yield* Association.bind(IOther, "ncacn_memory:[inner]"), "Rest")
    }).pipe(Effect.provide(Memory.layer)))

  for (
    const [place, error] of [["ncacn_memory", "StringBindingError"], ["ncalrpc:[x]", "CantCreateEndpoint"]] as const
  ) {
    it.effect(`a place where nothing can listen (${place}): the layer fails with ${error}`, () =>
      Effect.gen(function* () {
        const live = Endpoint.layer(place).pipe(Layer.provide(Server.layer([])))
        assert.strictEqual(yield* refusal(Layer.build(live)), error)
      }).pipe(Effect.provide(Memory.layer)))
  }
})

describe("Endpoint.handle", () => {
  for (
    const [title, caller, expected] of [
      ["no caller", undefined, nobody],
      ["a caller", { name: "alice", level: "connect" }, { name: "alice", level: "connect" }]
    ] as const
  ) {
    it.effect(`a connection with ${title}: ServerCall.caller gives ${expected.name}`, () =>
      Effect.gen(function* () {
        const manager = Context.get(yield* Layer.build(who), Manager.service(IWho))
        const endpoint = yield* Endpoint.make(yield* Server.make([manager]))
        const [near, far] = yield* Memory.makePair
        yield* Effect.forkScoped(Endpoint.handle(endpoint, far, { caller }))
        const accepted = Layer.succeed(Transport.Transport, {
          protocols: ["ncacn_memory"],
          connect: () => Effect.succeed(near),
          listen: () => Effect.die("nobody listens")
        })
        assert.deepStrictEqual(yield* Effect.provide(ask("ncacn_memory:[near]"), accepted), expected)
      }))
  }
})
