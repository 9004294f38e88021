/** The values that one message may hold, at both ends: a message with more ends its own call alone. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Schema } from "effect"
import { Call, Interface, Manager, Server } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import * as Memory from "../../src/transport/Memory.ts"

const makeLists = (uuid: string, numbers: Schema.Codec<ReadonlyArray<number>>, count: Schema.Codec<number>) =>
  Interface.make("ILists", {
    uuid,
    version: [1, 0],
    methods: {
      Count: Interface.method({ in: { numbers }, out: { count } }),
      List: Interface.method({ in: { count }, out: { numbers } }),
      Wait: Interface.method({})
    }
  })

const interfaces = {
  "Callisto's own syntax": makeLists("5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c3e01", Schema.Array(Schema.Int), Schema.Int),
  "NDR": makeLists("5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c3e02", Ndr.conformant(Ndr.Uint32), Ndr.Uint32)
}

const listOf = (length: number): ReadonlyArray<number> => Array.from({ length }, (_, i) => i)

for (const [name, ILists] of Object.entries(interfaces)) {
  const setUp = (atServer: Endpoint.Options, atClient: Association.Options) =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const manager = Manager.make(ILists, {
        Count: ({ numbers }) => Effect.succeed({ count: numbers.length }),
        List: ({ count }) => Effect.succeed({ numbers: listOf(count) }),
        Wait: () => Deferred.await(gate)
      })
      yield* Endpoint.serve(yield* Server.make([manager]), "ncacn_memory:[lists]", atServer)
      const lists = yield* Association.bind(ILists, "ncacn_memory:[lists]", atClient)
      const neighbour = yield* Call.start(lists, "Wait")
      return { lists, endNeighbour: Effect.andThen(Deferred.succeed(gate, undefined), Call.join(neighbour)) }
    })

  describe(`maximumElements, in ${name}`, () => {
    it.live("a request with more values: 1783, did not execute, and the neighbour's call is answered", () =>
      Effect.gen(function* () {
        const { endNeighbour, lists } = yield* setUp({ maximumElements: 10 }, {})
        assert.deepStrictEqual(yield* Call.invoke(lists, "Count", { numbers: listOf(8) }), { count: 8 })
        const refused = yield* Effect.flip(Call.invoke(lists, "Count", { numbers: listOf(11) }))
        assert.deepInclude(refused, { _tag: "RpcFault", code: 1783, didNotExecute: true })
        yield* endNeighbour
      }).pipe(Effect.provide(Memory.layer)))

    it.live("a response with more values: 1726 with the option, and the neighbour's call is answered", () =>
      Effect.gen(function* () {
        const { endNeighbour, lists } = yield* setUp({}, { maximumElements: 10 })
        assert.deepStrictEqual(yield* Call.invoke(lists, "List", { count: 8 }), { numbers: listOf(8) })
        const refused = yield* Effect.flip(Call.invoke(lists, "List", { count: 11 }))
        assert.deepInclude(refused, { _tag: "RpcTransportError", status: 1726, didNotExecute: false })
        assert.include(refused.message, "maximumElements")
        yield* endNeighbour
      }).pipe(Effect.provide(Memory.layer)))
  })
}
