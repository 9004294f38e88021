/**
 * A client and a server in one process that describe the same interface differently: another minor version, other classes.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Binding, Call, Interface, Manager, Server } from "../mod.ts"

const uuid = "2a4f6c80-5b1d-4f7e-9c3a-8e6d5f4b3a21"

// What the server has today.
class Missing extends Schema.TaggedError<Missing>()("Missing", { key: Schema.String }) {}
class Locked extends Schema.TaggedError<Locked>()("Locked", { by: Schema.String }) {}
const IStoreToday = Interface.make("IStore", {
  uuid,
  version: [1, 2],
  methods: {
    Get: Interface.method({
      in: { key: Schema.String },
      out: { value: Schema.String, age: Schema.Int },
      aborts: [Interface.abort(101, Missing), Interface.abort(102, Locked)]
    }),
    Put: Interface.method({ in: { key: Schema.String } })
  }
})

// What the client was built with, years ago.
class NotThere extends Schema.TaggedError<NotThere>()("NotThere", { key: Schema.String }) {}
const IStoreThen = Interface.make("IStore", {
  uuid,
  version: [1, 0],
  methods: {
    Fetch: Interface.method({
      opnum: 0,
      in: { key: Schema.String },
      out: { value: Schema.String },
      aborts: [Interface.abort(101, NotThere)]
    }),
    Gone: Interface.method({ opnum: 7 })
  }
})

const manager = Manager.make(IStoreToday, {
  Get: ({ key }) =>
    key === "missing"
      ? Effect.fail(new Missing({ key }))
      : key === "locked"
      ? Effect.fail(new Locked({ by: "somebody" }))
      : Effect.succeed({ value: key.toUpperCase(), age: 1 }),
  Put: () => Effect.void
})

const bind = (options?: Binding.LocalOptions) =>
  Effect.flatMap(Server.make([manager]), (server) => Binding.local(server, IStoreThen, options))

for (const validate of [false, true]) {
  describe(`an older client, ${validate ? "checked" : "unchecked"}`, () => {
    it.effect("older client: calls methods by their opnums", () =>
      Effect.gen(function* () {
        const store = yield* bind({ validate })
        assert.strictEqual((yield* Call.invoke(store, "Fetch", { key: "a" })).value, "A")
      }))

    it.effect("older client, declared abort: arrives as its own class, found by its code", () =>
      Effect.gen(function* () {
        const store = yield* bind({ validate })
        const error = yield* Effect.flip(Call.invoke(store, "Fetch", { key: "missing" }))
        assert.isTrue(error instanceof NotThere)
        assert.deepStrictEqual(error, new NotThere({ key: "missing" }))
      }))

    it.effect("older client, undeclared abort: arrives as RpcFault with the number", () =>
      Effect.gen(function* () {
        const store = yield* bind({ validate })
        const error = yield* Effect.flip(Call.invoke(store, "Fetch", { key: "locked" }))
        assert.deepStrictEqual([error._tag, "code" in error && error.code], ["RpcFault", 102])
      }))

    it.effect("unknown opnum: the older client gets the fault, and the call did not execute", () =>
      Effect.gen(function* () {
        const store = yield* bind({ validate })
        const error = yield* Effect.flip(Call.invoke(store, "Gone"))
        assert.strictEqual(error._tag, "RpcFault")
        assert.deepStrictEqual("code" in error && [error.code, error.didNotExecute], [1745, true])
      }))
  })
}

describe("other fields on both sides", () => {
  it.effect("abort that the client's class can't take: arrives as the number alone", () =>
    Effect.gen(function* () {
      class Other extends Schema.TaggedError<Other>()("Other", { count: Schema.Int }) {}
      const IOther = Interface.make("IStore", {
        uuid,
        version: [1, 0],
        methods: {
          Get: Interface.method({
            in: { key: Schema.String },
            out: { value: Schema.String },
            aborts: [Interface.abort(101, Other)]
          })
        }
      })
      const store = yield* Binding.local(yield* Server.make([manager]), IOther)
      const error = yield* Effect.flip(Call.invoke(store, "Get", { key: "missing" }))
      assert.deepStrictEqual([error._tag, "code" in error && error.code], ["RpcFault", 101])
    }))

  it.effect("results that the client's schema refuses: the call fails with 1726, as over the network", () =>
    Effect.gen(function* () {
      const INumbers = Interface.make("IStore", {
        uuid,
        version: [1, 0],
        methods: { Get: Interface.method({ in: { key: Schema.String }, out: { value: Schema.Int } }) }
      })
      const store = yield* Binding.local(yield* Server.make([manager]), INumbers, { validate: true })
      const error = yield* Effect.flip(Call.invoke(store, "Get", { key: "a" }))
      assert.deepStrictEqual([error._tag, "status" in error && error.status], ["RpcTransportError", 1726])
      assert.include(error.message, "the client cannot read the response")
    }))

  it.effect("arguments that the server's schema refuses: begin fails", () =>
    Effect.gen(function* () {
      const INumbers = Interface.make("IStore", {
        uuid,
        version: [1, 0],
        methods: { Get: Interface.method({ in: { key: Schema.Int }, out: { value: Schema.String } }) }
      })
      const store = yield* Binding.local(yield* Server.make([manager]), INumbers, { validate: true })
      assert.strictEqual((yield* Effect.flip(Call.invoke(store, "Get", { key: 1 })))._tag, "BadStubData")
    }))
})
