/** What an observer sees of calls over a connection. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { Call, Interface, Manager, Observability, Pipe, Server, ServerCall } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Memory from "../../src/transport/Memory.ts"

const IBox = Interface.make("IBox", {
  uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1a31",
  version: [1, 0],
  methods: {
    Echo: Interface.method({ in: Schema.String, out: Schema.String }),
    Stay: Interface.method({}),
    Copy: Interface.method({ inPipe: { from: Pipe.bytes }, outPipe: { to: Pipe.bytes } })
  }
})

const manager = Manager.make(IBox, {
  Echo: (text) => Effect.succeed(text),
  Stay: () => Effect.never,
  Copy: (_, call) =>
    Effect.gen(function* () {
      const chunks = yield* Stream.runCollect(Pipe.toStream(ServerCall.inPipe(call, "from")))
      yield* Stream.run(Stream.fromIterable(chunks), Pipe.toSink(ServerCall.outPipe(call, "to")))
    })
})

/** A binding over a connection in memory, with what an observer on both sides has counted. */
const observed = Effect.gen(function* () {
  const bytes = { client: { in: 0, out: 0 }, server: { in: 0, out: 0 } }
  const ends: Array<string> = []
  const addresses: Array<string | undefined> = []
  const observer: Observability.Observer = {
    begun: ({ address }) => addresses.push(address),
    transferred: ({ side }, direction, size) => {
      bytes[side][direction] += size
    },
    ended: ({ method, side }, ending, code) => ends.push(`${side} ${method} ${ending} ${code}`)
  }
  const made = Effect.gen(function* () {
    const server = yield* Server.make([manager], { grace: 0 })
    yield* Endpoint.serve(server, "ncacn_memory:[box]", { maximumCalls: 1 })
    return yield* Association.bind(IBox, "ncacn_memory:[box]")
  })
  const box = yield* Effect.provideService(made, Observability.observer, observer)
  return { box, bytes, ends, addresses }
}).pipe(Effect.provide(Memory.layer))

describe("an observer of calls over a connection", () => {
  it.effect("a call: each side is told of the bytes that the other one is told of", () =>
    Effect.gen(function* () {
      const { addresses, box, bytes, ends } = yield* observed
      yield* Call.invoke(box, "Echo", "a".repeat(20_000))
      assert.isAbove(bytes.client.out, 20_000)
      assert.isAbove(bytes.client.in, 20_000)
      assert.deepStrictEqual(bytes.server, {
        in: bytes.client.out,
        out: bytes.client.in
      })
      assert.deepStrictEqual(ends, ["server Echo replied 0", "client Echo replied 0"])
      assert.isTrue(addresses.every((address) => address?.startsWith("ncacn_memory:")))
    }))

  it.effect("a call with pipes: each side is told of the bytes of all chunks", () =>
    Effect.gen(function* () {
      const { box, bytes } = yield* observed
      const copying = yield* Call.begin(yield* Call.make(box), "Copy")
      const chunks = Array.from({ length: 5 }, () => new Uint8Array(50_000))
      yield* Stream.run(Stream.fromIterable(chunks), Pipe.toSink(Call.inPipe(copying, "from")))
      yield* Stream.runDrain(Pipe.toStream(Call.outPipe(copying, "to")))
      yield* Call.join(copying)
      assert.isAbove(bytes.client.out, 250_000)
      assert.isAbove(bytes.client.in, 250_000)
      assert.deepStrictEqual(bytes.server, {
        in: bytes.client.out,
        out: bytes.client.in
      })
    }))

  it.effect("a call beyond the limit of an endpoint: its server sees it refused", () =>
    Effect.gen(function* () {
      const { box, ends } = yield* observed
      yield* Call.begin(yield* Call.make(box), "Stay")
      yield* Effect.flip(Call.invoke(box, "Echo", "a"))
      assert.strictEqual(ends[0], "server Echo refused 1723")
      assert.isTrue(ends[1]?.startsWith("client Echo aborted"))
    }))
})
