/**
 * The rpcecho interface of the examples from end to end, in NDR: its ten methods and the bytes that travel.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, type Scope } from "effect"
import * as Socket from "effect/socket/Socket"
import { TestClock } from "effect/testing"
import { Buffer } from "node:buffer"
import { IRpcEcho, limit, rpcEcho } from "../../examples/rpcecho.ts"
import { Call, Server, type Status } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as StringBinding from "../../src/transport/StringBinding.ts"
import * as Memory from "../../src/transport/Memory.ts"
import * as Transport from "../../src/transport/Transport.ts"
import * as NodeTransport from "../../src/node.ts"

const setUp = (binding: string) =>
  Effect.gen(function* () {
    const server = yield* Server.make([rpcEcho], { grace: 0 })
    const { address } = yield* Endpoint.serve(server, binding)
    return yield* Association.bind(IRpcEcho, StringBinding.print(address))
  })

/** Runs what is ready, on both sides. */
const settle = Effect.repeat(Effect.yieldNow, { times: 50 })

const places: { readonly [name: string]: readonly [Layer.Layer<Transport.Transport>, string] } = {
  "in memory": [Memory.layer, "ncacn_memory:[rpcecho]"],
  "over TCP": [NodeTransport.layer, "ncacn_ip_tcp:127.0.0.1[0]"]
}

for (const [name, [transport, binding]] of Object.entries(places)) {
  const wire = <A, E>(name: string, test: Effect.Effect<A, E, Scope.Scope | Transport.Transport>) =>
    it.effect(name, () => Effect.provide(test, transport))

  const bytes = Uint8Array.from({ length: 50_000 }, (_, i) => i * 7)

  describe(`rpcecho ${name}`, () => {
    wire(
      "AddOne: adds one, and wraps",
      Effect.gen(function* () {
        const echo = yield* setUp(binding)
        assert.deepStrictEqual(yield* Call.invoke(echo, "AddOne", { value: 41 }), { value: 42 })
        assert.deepStrictEqual(yield* Call.invoke(echo, "AddOne", { value: 0xffffffff }), { value: 0 })
      })
    )

    wire(
      "EchoData: gives the bytes back, in one fragment and in many",
      Effect.gen(function* () {
        const echo = yield* setUp(binding)
        for (const data of [new Uint8Array(), bytes.slice(0, 100), bytes]) {
          const reply = yield* Call.invoke(echo, "EchoData", { data })
          assert.deepStrictEqual(Uint8Array.from(reply.data), data)
        }
      })
    )

    wire(
      "SinkData: takes bytes and gives nothing",
      Effect.gen(function* () {
        const echo = yield* setUp(binding)
        assert.strictEqual(yield* Call.invoke(echo, "SinkData", { data: bytes }), undefined)
      })
    )

    wire(
      "SourceData: makes bytes up to its limit",
      Effect.gen(function* () {
        const echo = yield* setUp(binding)
        for (const len of [0, 1000, limit]) {
          const { data } = yield* Call.invoke(echo, "SourceData", { len })
          assert.strictEqual(data.length, len)
          assert.isTrue(data.every((byte, i) => byte === (i & 0xff)))
        }
        const error = yield* Effect.flip(Call.invoke(echo, "SourceData", { len: limit + 1 }))
        assert.strictEqual((error as Status.RpcFault).code, 87)
      })
    )

    wire(
      "TestCall: gives the text back",
      Effect.gen(function* () {
        const echo = yield* setUp(binding)
        for (const s1 of ["", "grüß Gott", "\ud83d\ude00".repeat(3000)]) {
          assert.deepStrictEqual(yield* Call.invoke(echo, "TestCall", { s1 }), { s2: s1 })
        }
      })
    )

    wire(
      "TestCall2: gives the information of a level, and a fault for an unknown level",
      Effect.gen(function* () {
        const echo = yield* setUp(binding)
        const invoke = (level: number) => Call.invoke(echo, "TestCall2", { level })
        const infos = yield* Effect.forEach([1, 2, 3, 4, 5, 6, 7], invoke)
        assert.deepStrictEqual(infos.map(({ info, status }) => [info.case, info.value, status]), [
          [1, { v: 10 }, 0],
          [2, { v: 20 }, 0],
          [3, { v: 30 }, 0],
          [4, { v: 40n }, 0],
          [5, { v1: 50, v2: 60n }, 0],
          [6, { v1: 70, info1: { v: 80 } }, 0],
          [7, { v1: 80, info4: { v: 90n } }, 0]
        ])
        const error = yield* Effect.flip(invoke(8))
        assert.strictEqual((error as Status.RpcFault).code, 1733)
        assert.strictEqual((yield* invoke(1)).status, 0)
      })
    )

    wire(
      "TestSleep: answers after its time, and other calls are answered meanwhile",
      Effect.gen(function* () {
        const echo = yield* setUp(binding)
        const sleep = yield* Call.begin(yield* Call.make(echo), "TestSleep", { seconds: 3 })
        assert.deepStrictEqual(yield* Call.invoke(echo, "AddOne", { value: 1 }), { value: 2 })
        yield* settle
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* Call.invoke(echo, "AddOne", { value: 2 }), { value: 3 })
        assert.strictEqual((yield* Effect.flip(Call.finish(sleep)))._tag, "CallPending")
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* Call.join(sleep), { seconds: 3 })
      })
    )

    wire(
      "TestSleep, cancelled: ends",
      Effect.gen(function* () {
        const echo = yield* setUp(binding)
        const sleep = yield* Call.begin(yield* Call.make(echo), "TestSleep", { seconds: 3 })
        yield* Call.cancel(sleep, { timeout: Infinity })
        assert.strictEqual((yield* Effect.flip(Call.join(sleep)))._tag, "CallCancelled")
      })
    )

    wire(
      "TestEnum: sets the first field of the structure",
      Effect.gen(function* () {
        const echo = yield* setUp(binding)
        const one = { foo2: { e1: 1, e2: 2 }, foo3: { case: 1, value: 2 } } as const
        assert.deepStrictEqual(yield* Call.invoke(echo, "TestEnum", one), { ...one, foo2: { e1: 2, e2: 2 } })
        const two = { foo2: { e1: 1, e2: 1 }, foo3: { case: 2, value: { e1: 1, e2: 2 } } } as const
        assert.deepStrictEqual(yield* Call.invoke(echo, "TestEnum", two), { ...two, foo2: { e1: 2, e2: 1 } })
      })
    )

    wire(
      "TestSurrounding: doubles the array, filled with zeros",
      Effect.gen(function* () {
        const echo = yield* setUp(binding)
        const reply = yield* Call.invoke(echo, "TestSurrounding", { data: { surrounding: [1, 2, 3] } })
        assert.deepStrictEqual(reply, { data: { surrounding: [0, 0, 0, 0, 0, 0] } })
      })
    )

    wire(
      "TestDoublePointer: gives the number, and 0 for a null pointer",
      Effect.gen(function* () {
        const echo = yield* setUp(binding)
        assert.deepStrictEqual(yield* Call.invoke(echo, "TestDoublePointer", { data: 12 }), { value: 12 })
        assert.deepStrictEqual(yield* Call.invoke(echo, "TestDoublePointer", { data: null }), { value: 0 })
      })
    )
  })
}

// ----------------------------------------------------------------------------
// the bytes
// ----------------------------------------------------------------------------

interface Traffic {
  readonly sent: Array<Uint8Array | string>
  readonly received: Array<Uint8Array | string>
}

/** A transport in memory that notes what its clients send and receive. */
const noting = ({ received, sent }: Traffic) =>
  Layer.effect(
    Transport.Transport,
    Effect.map(Transport.Transport, (transport) => ({
      ...transport,
      connect: (binding) =>
        Effect.map(transport.connect(binding), (connection) => ({
          ...connection,
          socket: Socket.make({
            reader: Effect.map(connection.socket.reader, (reader) => ({
              ...reader,
              pull: Effect.tap(reader.pull, (chunks) => Effect.sync(() => received.push(...chunks)))
            })),
            writer: Effect.map(connection.socket.writer, ({ write, writeAll }) => ({
              write: (chunk) => Effect.suspend(() => (sent.push(chunk as Uint8Array), write(chunk))),
              writeAll: (chunks) => Effect.suspend(() => (sent.push(...chunks), writeAll(chunks)))
            }))
          })
        }))
    }))
  ).pipe(Layer.provide(Memory.layer))

const hex = (chunks: ReadonlyArray<Uint8Array | string>) =>
  Buffer.concat(chunks.map((chunk) => Buffer.from(chunk as Uint8Array))).toString("hex")

/** The bytes of one call: its request and its response. */
const bytesOf = (invoke: (echo: Effect.Success<ReturnType<typeof setUp>>) => Effect.Effect<unknown, unknown>) => {
  const traffic: Traffic = { sent: [], received: [] }
  return Effect.gen(function* () {
    const echo = yield* setUp("ncacn_memory:[rpcecho]")
    traffic.sent.length = traffic.received.length = 0 // the bind
    yield* invoke(echo)
    return { request: hex(traffic.sent), response: hex(traffic.received) }
  }).pipe(Effect.provide(noting(traffic)))
}

const spaceless = (text: string) => text.replaceAll(" ", "")

describe("the bytes of rpcecho", () => {
  it.effect("AddOne: its bytes are a header and a number", () =>
    Effect.gen(function* () {
      const { request, response } = yield* bytesOf((echo) => Call.invoke(echo, "AddOne", { value: 7 }))
      assert.strictEqual(request, spaceless("05000003 10000000 1c00 0000 02000000  04000000 0000 0000  07000000"))
      assert.strictEqual(response, spaceless("05000203 10000000 1c00 0000 02000000  04000000 0000 00 00  08000000"))
    }))

  it.effect("EchoData: its bytes are a length, a maximum count and the bytes", () =>
    Effect.gen(function* () {
      const data = Uint8Array.of(0xa, 0xb, 0xc)
      const { request, response } = yield* bytesOf((echo) => Call.invoke(echo, "EchoData", { data }))
      assert.strictEqual(
        request,
        spaceless("05000003 10000000 2300 0000 02000000  0b000000 0000 0100  03000000 03000000 0a0b0c")
      )
      assert.strictEqual(
        response,
        spaceless("05000203 10000000 1f00 0000 02000000  07000000 0000 00 00  03000000 0a0b0c")
      )
    }))

  it.effect("TestCall: its bytes are counts with the final NUL, behind a referent id in the response", () =>
    Effect.gen(function* () {
      const { request, response } = yield* bytesOf((echo) => Call.invoke(echo, "TestCall", { s1: "ab" }))
      const string = "03000000 00000000 03000000 6100 6200 0000"
      assert.strictEqual(
        request,
        spaceless(`05000003 10000000 2a00 0000 02000000  12000000 0000 0400  ${string}`)
      )
      assert.strictEqual(
        response,
        spaceless(`05000203 10000000 2e00 0000 02000000  16000000 0000 00 00  00000200 ${string}`)
      )
    }))

  it.effect("TestCall2: its bytes are the discriminant, the arm at its alignment and the status", () =>
    Effect.gen(function* () {
      const { response } = yield* bytesOf((echo) => Call.invoke(echo, "TestCall2", { level: 7 }))
      assert.strictEqual(
        response.slice(48),
        spaceless("0700 000000000000  50 00000000000000  5a00000000000000  00000000")
      )
    }))

  it.effect("TestCall2 with an unknown level: its fault names the status", () =>
    Effect.gen(function* () {
      const { response } = yield* bytesOf((echo) => Effect.flip(Call.invoke(echo, "TestCall2", { level: 8 })))
      assert.strictEqual(response.slice(4, 8), "0303")
      assert.strictEqual(response.slice(48), spaceless("0600001c 00000000"))
    }))
})
