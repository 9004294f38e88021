/** Pipes over the wire, in both transfer syntaxes. */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Queue, Schema, Stream } from "effect"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import * as TransferSyntax from "../../src/dcerpc/TransferSyntax.ts"
import * as Memory from "../../src/transport/Memory.ts"
import { Call, Interface, Manager, Pipe, Server, ServerCall } from "../../mod.ts"
import { Full, makeInterface, makeManager, testPipes, type Types } from "../pipes.ts"

const plain: Types = {
  int: Schema.Int,
  text: Schema.String,
  point: Schema.Struct({ x: Schema.Int, y: Schema.Int })
}

const syntaxes: { readonly [name: string]: Types } = {
  "in Callisto's own syntax": plain,
  "in NDR": { int: Ndr.Int32, text: Ndr.WString, point: Ndr.struct({ x: Ndr.Int16, y: Ndr.Int32 }) }
}

for (const [name, types] of Object.entries(syntaxes)) {
  const IPipes = makeInterface(types)
  const world = Effect.gen(function* () {
    const held = yield* Queue.unbounded<ServerCall.Of<typeof IPipes, "Held">>()
    const server = yield* Server.make([makeManager(IPipes, held)], { grace: 0 })
    const transport = yield* Layer.build(Memory.layer)
    const binding = yield* Effect.provide(
      Effect.andThen(
        Endpoint.serve(server, "ncacn_memory:[pipes]"),
        Association.bind(IPipes, "ncacn_memory:[pipes]")
      ),
      transport
    )
    return { binding, held, server }
  }).pipe(Effect.orDie)

  testPipes(name, world)
}

describe("Large chunks of bytes", () => {
  const sizes = [1, 4095, 4096, 3, 5840, 16_360, 16_384, 65_536, 0, 7, 200_003, 8, 70_000, 5000]
  const chunks = sizes.map((size, index) => Uint8Array.from({ length: size }, (_, i) => i * 31 + index))
  const concat = (chunks: Iterable<Uint8Array>) => [...chunks].flatMap((chunk) => [...chunk])
  const object = "1f6d2c3a-8b57-4e0c-9a41-7d3e5f6a8b90"

  for (const [name, { int }] of Object.entries(syntaxes)) {
    const IEcho = Interface.make("IEcho", {
      uuid: "5d0c2a4e-1f3b-4d7a-9c58-2e6b7f8a9b02",
      version: [1, 0],
      methods: {
        Echo: Interface.method({
          in: { times: int },
          inPipe: { there: Pipe.bytes },
          outPipe: { back: Pipe.bytes },
          out: { times: int }
        })
      }
    })
    const Echo = Manager.make(IEcho, {
      Echo: ({ times }, call) =>
        Effect.gen(function* () {
          const received = yield* Stream.runCollect(Pipe.toStream(ServerCall.inPipe(call, "there")))
          yield* Stream.run(Stream.fromIterable(received), Pipe.toSink(ServerCall.outPipe(call, "back")))
          return { times }
        })
    }, { object })

    it.effect(`large chunks of bytes among small ones: arrive unchanged, ${name}`, () =>
      Effect.gen(function* () {
        yield* Endpoint.serve(yield* Server.make([Echo]), "ncacn_memory:[echo]")
        const echo = yield* Association.bind(IEcho, "ncacn_memory:[echo]", { object })
        const call = yield* Call.make(echo)
        const pending = yield* Call.begin(call, "Echo", { times: 1 })
        yield* Stream.run(Stream.fromIterable(chunks), Pipe.toSink(Call.inPipe(pending, "there")))
        const back = yield* Stream.runCollect(Pipe.toStream(Call.outPipe(pending, "back")))
        assert.deepStrictEqual(concat(back), concat(chunks))
        assert.deepStrictEqual(yield* Call.join(pending), { times: 1 })
      }).pipe(Effect.provide(Memory.layer)))
  }
})

describe("More than may wait for a client", () => {
  const of = <E extends Pipe.Element>(name: string, element: E, chunk: Pipe.Chunk<E>) => {
    const IFlood = Interface.make("IFlood", {
      uuid: "5d0c2a4e-1f3b-4d7a-9c58-2e6b7f8a9b03",
      version: [1, 0],
      methods: { Flood: Interface.method({ outPipe: { out: element as Pipe.Element } }) }
    })
    const Flood = Manager.make(IFlood, {
      Flood: (_, call) => {
        const out = ServerCall.outPipe(call, "out")
        return Effect.andThen(Pipe.push(out, chunk), Pipe.end(out))
      }
    })
    it.effect(`more pushed at once than may wait for a client: reaches it, ${name}`, () =>
      Effect.gen(function* () {
        yield* Endpoint.serve(yield* Server.make([Flood]), "ncacn_memory:[flood]", { maximumQueued: 500_000 })
        const flood = yield* Association.bind(IFlood, "ncacn_memory:[flood]")
        const pending = yield* Call.begin(yield* Call.make(flood), "Flood")
        const out = Call.outPipe(pending, "out")
        let [pulled, last]: [number, unknown] = [0, undefined]
        for (let some = yield* Pipe.pull(out); some.length > 0; some = yield* Pipe.pull(out)) {
          pulled += some.length
          last = some.at(-1)
        }
        assert.deepStrictEqual([pulled, last], [chunk.length, chunk.at(-1)])
        yield* Call.join(pending)
      }).pipe(Effect.provide(Memory.layer)))
  }
  of("as bytes", Pipe.bytes, new Uint8Array(3_000_000).fill(7))
  of("in NDR", Ndr.Int32, Array.from({ length: 400_000 }, (_, i) => i))
  of("as elements", Schema.String, Array.from({ length: 20_000 }, (_, i) => `${i}`.padStart(100)))
  of("as elements that take no bytes", Schema.Null, new Array<null>(600_000).fill(null))
  // The later ones are many times as large as those from which their size was guessed.
  of("as elements that grow", Schema.String, Array.from({ length: 2000 }, (_, i) => `${i}`.padStart(i)))
})

it.effect("a client pushes what its schema refuses: the call ends with 1726, and the failure blames the client", () =>
  Effect.gen(function* () {
    const IPipes = makeInterface(plain)
    const held = yield* Queue.unbounded<ServerCall.Of<typeof IPipes, "Held">>()
    yield* Endpoint.serve(yield* Server.make([makeManager(IPipes, held)], { grace: 0 }), "ncacn_memory:[pipes]")
    const pipes = yield* Association.bind(IPipes, "ncacn_memory:[pipes]")
    const pending = yield* Call.begin(yield* Call.make(pipes), "Sum")
    yield* Pipe.push(Call.inPipe(pending, "numbers"), [1, 2.5])
    const error = yield* Effect.flip(Call.join(pending))
    assert.deepInclude(error, { _tag: "RpcTransportError", status: 1726 })
    assert.include(error.message, "IPipes.Sum")
    assert.include(error.message, "the client cannot write what was pushed into a pipe: Expected an integer")
  }).pipe(Effect.provide(Memory.layer)))

const inputOf = (bytes: Uint8Array, position: number) => ({
  bytes,
  position,
  littleEndian: true,
  owned: true as const,
  maximumElements: 1000,
  remaining: 0,
  partial: undefined
})

describe("in Callisto's own syntax, a chunk of elements that take no bytes", () => {
  beforeAll(() => Effect.runPromise(TransferSyntax.binary.load))
  const method = Interface.method({ inPipe: { ticks: Schema.Null } })
  const read = (...count: ReadonlyArray<number>) => {
    const [pipe] = TransferSyntax.binary.codec(method, "Count")!.pipes
    const bytes = Uint8Array.of(2 + count.length, 0, 0, 0, 1 + count.length, 32, ...count)
    return pipe!.read({ ...inputOf(bytes, 4), remaining: 2 + count.length })
  }

  it("chunk of elements without bytes: has as many as were written at once", () => {
    assert.deepStrictEqual(read(0x80, 2), new Array(256).fill(null))
  })

  it("chunk of elements without bytes, above maximumElements: is refused", () => {
    const refused = {
      problem: "the message holds more than 1000 values. Raise maximumElements to read it",
      status: 1783
    }
    assert.deepStrictEqual(read(0xe9, 7), refused)
    assert.deepStrictEqual(read(0x80, 0x80, 64), refused)
  })
})

describe("in Callisto's own syntax, out pipes that are broken off", () => {
  const { methods: { Count } } = makeInterface(plain)
  beforeAll(() => Effect.runPromise(TransferSyntax.binary.load))
  const codecOf = (method: Interface.Method.Any) => TransferSyntax.binary.codec(method, "Count")!
  const abort = () => {
    const writer = new Pdu.Writer()
    assert.isUndefined(codecOf(Count).writeAbort!(writer, Count.aborts[0]!, new Full({ at: 7 })))
    return writer.bytes.slice(0, writer.position)
  }

  it("out pipes broken off: the abort follows them, with its fields", () => {
    const stub = abort()
    assert.deepStrictEqual(stub.slice(0, 9), Uint8Array.of(255, 255, 255, 255, 1, 39, 0, 0, 0))
    assert.deepStrictEqual(codecOf(Count).readResults(stub, true, 1000), { value: Exit.fail(new Full({ at: 7 })) })
    const input = inputOf(stub, 0)
    assert.strictEqual(codecOf(Count).pipes[0]!.read(input), "broken")
    assert.strictEqual(input.position, 0)
  })

  it("out pipes broken off: no out parameters follow", () => {
    const stub = abort()
    stub[4] = 0
    assert.deepStrictEqual(codecOf(Count).readResults(stub, true, 1000), {
      problem: "the stub is no reply",
      status: 1783
    })
  })

  it("out pipes broken off: in pipes are read as before", () => {
    const { methods: { Sum } } = makeInterface(plain)
    const input = inputOf(abort(), 0)
    assert.strictEqual(codecOf(Sum).pipes[0]!.read(input), "count")
  })
})
