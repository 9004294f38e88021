/**
 * The client's side of pipes on the wire: what it sends to a server whose every answer the test writes, and what it makes of the answers.
 */
import { assert, describe } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Call, Pipe } from "../../mod.ts"
import { bufferOf, type Slot } from "../../src/internal/chunkBuffer.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { binary, ndr20, type TransferSyntax } from "../../src/dcerpc/TransferSyntax.ts"
import { concat, IFlow, IPlainFlow, u32, writeChunk } from "./rawClient.ts"
import {
  address,
  failure,
  hex,
  ISum,
  isWaiting,
  keepsOnOrphan,
  listen,
  lost,
  mpx,
  noFeatures,
  type Peer,
  settle,
  whole,
  wire
} from "./rawServer.ts"

const { firstFrag, lastFrag } = Pdu.flags

const acceptedIn = (syntax: TransferSyntax) => ({ result: 0, reason: 0, transferSyntax: syntax.id })

/** A binding, and the connections that are made for it, one after another. */
const setUp = (
  options: Association.Options = {},
  syntax: TransferSyntax = ndr20,
  features: Pdu.ContextResult = noFeatures,
  size = syntax.maxFragment
) =>
  Effect.gen(function* () {
    const accept = yield* listen
    const acceptBound = Effect.gen(function* () {
      const peer = yield* accept
      const { callId } = yield* peer.take("Bind")
      yield* peer.ack({
        callId,
        flags: mpx,
        maxXmitFrag: size,
        maxRecvFrag: size,
        results: [acceptedIn(syntax), features]
      })
      return peer
    })
    const scope = yield* Scope.fork(yield* Effect.scope)
    const iface = syntax === ndr20 ? IFlow : IPlainFlow
    const association = yield* Scope.provide(Association.make(address, options), scope)
    const binding = yield* Effect.forkChild(Scope.provide(Association.bind(iface, association), scope))
    const main = yield* acceptBound
    const flows = yield* Fiber.join(binding)
    /** Begins a call on a connection that is made for it. */
    const begin = <K extends keyof Methods & string>(method: K, input?: unknown) =>
      Effect.gen(function* () {
        const beginning = yield* Effect.forkChild(
          Effect.flatMap(Call.make(flows), (call) => beginAny(call, method, input))
        )
        const peer = yield* acceptBound
        return [(yield* Fiber.join(beginning)) as Call.Pending<typeof IFlow, K>, peer] as const
      })
    return { accept, acceptBound, association, begin, close: Scope.close(scope, Exit.void), flows, main }
  })

type Methods = (typeof IFlow)["methods"]

const beginAny = Call.begin as unknown as (
  call: Call.Call<typeof IFlow>,
  method: string,
  input: unknown
) => Effect.Effect<Call.Pending<typeof IFlow, any>, { readonly _tag: string }>

/** Closes a binding whose server does not read: what was sent is given a second to leave. */
const closeLate = (close: Effect.Effect<void>) =>
  Effect.gen(function* () {
    const closing = yield* Effect.forkChild(close)
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(closing)
  })

/** The fragments of a request, up to its last. */
const requestOf = (peer: Peer) =>
  Effect.gen(function* () {
    const fragments = [yield* peer.take("Request")]
    while ((fragments.at(-1)!.flags & lastFrag) === 0) fragments.push(yield* peer.take("Request"))
    assert.deepStrictEqual(
      fragments.map(({ flags }) => flags & whole),
      fragments.map((_, i) => (i === 0 ? firstFrag : 0) | (i === fragments.length - 1 ? lastFrag : 0))
    )
    return { ...fragments[0]!, stub: concat(...fragments.map(({ stub }) => stub)) }
  })

/** A response in fragments that are cut at these places. */
const respondIn = (peer: Peer, callId: number, stub: Uint8Array, ...cuts: ReadonlyArray<number>) =>
  Effect.forEach([...cuts, stub.length], (end, i) => {
    const from = i === 0 ? 0 : cuts[i - 1]!
    return peer.respond(
      callId,
      stub.slice(from, end),
      (i === 0 ? firstFrag : 0) | (end === stub.length && i === cuts.length ? lastFrag : 0)
    )
  }, { discard: true })

const bytesOf = (text: string): Uint8Array =>
  Uint8Array.from(text.match(/[0-9a-f]{2}/g) ?? [], (pair) => Number.parseInt(pair, 16))

const runAll = <C, E>(pipe: Pipe.Reader<C, E>) => Stream.runCollect(Pipe.toStream(pipe))

// ----------------------------------------------------------------------------
// bytes
// ----------------------------------------------------------------------------

describe("a request with pipes", () => {
  wire(
    "request with pipes: its arguments, then the pushed elements, then the end of the last pipe, byte for byte",
    Effect.gen(function* () {
      const { begin } = yield* setUp()
      const [summing, peer] = yield* begin("Sum", { start: 5 })
      const first = yield* peer.take("Request")
      assert.deepStrictEqual([first.flags & whole, hex(first.stub)], [firstFrag, "05000000"])
      const numbers = Call.inPipe(summing, "numbers")
      yield* Pipe.push(numbers, [1, 2])
      const second = yield* peer.take("Request")
      assert.deepStrictEqual([second.flags & whole, hex(second.stub)], [0, "02000000" + "01000000" + "02000000"])
      yield* Pipe.push(numbers, [3])
      yield* Pipe.end(numbers)
      const rest = [yield* peer.take("Request")]
      if ((rest[0]!.flags & lastFrag) === 0) rest.push(yield* peer.take("Request"))
      assert.strictEqual(hex(concat(...rest.map(({ stub }) => stub))), "01000000" + "03000000" + "00000000")
      assert.deepStrictEqual(new Set([first, second, ...rest].map(({ callId, opnum }) => `${callId} ${opnum}`)).size, 1)
      yield* peer.respond(first.callId, u32(11))
      assert.deepStrictEqual(yield* Call.join(summing), { value: 11 })
    })
  )

  wire(
    "request with pipes: is aligned from its start, part by part",
    Effect.gen(function* () {
      const { begin } = yield* setUp()
      const [calling, peer] = yield* begin("Several", { name: "a" })
      yield* Stream.run(Stream.make(7), Pipe.toSink(Call.inPipe(calling, "first")))
      yield* Stream.run(Stream.make({ x: 1, y: 2 }, { x: 3, y: 4 }), Pipe.toSink(Call.inPipe(calling, "second")))
      const third = Call.inPipe(calling, "third")
      yield* Pipe.push(third, Uint8Array.of(10, 11, 12))
      yield* Pipe.push(third, Uint8Array.of(13, 14))
      yield* Pipe.end(third)
      const expected = "02000000 00000000 02000000 6100 0000" +
        "01000000 0700 0000  00000000" +
        "02000000 01 000000 02000000 03 000000 04000000  00000000" +
        "03000000 0a0b0c 00  02000000 0d0e 0000  00000000"
      assert.strictEqual(hex((yield* requestOf(peer)).stub), hex(bytesOf(expected)))
    })
  )

  wire(
    "request with pipes: is cut at multiples of 8 within the pipes, and of 4 behind them",
    Effect.gen(function* () {
      // A server that receives fragments of an odd size.
      const { begin } = yield* setUp({}, ndr20, noFeatures, 4283)
      const sizes = [4096, 4097, 5000, 5840, 12_287, 1, 20_001, 70_003]
      const [calling, peer] = yield* begin("Several", { name: "ab" })
      yield* Pipe.end(Call.inPipe(calling, "first"))
      yield* Pipe.end(Call.inPipe(calling, "second"))
      const third = Call.inPipe(calling, "third")
      const stubs: Array<Uint8Array> = []
      /** The stubs of the fragments up to an offset in the whole. */
      const takeUntil = (end: number) =>
        Effect.gen(function* () {
          const from = stubs.length
          while (concat(...stubs).length < end) stubs.push((yield* peer.take("Request")).stub)
          assert.strictEqual(concat(...stubs).length, end)
          return stubs.slice(from).map(({ length }) => length)
        })
      // A count, an offset and a length, three characters and padding; and then the ends of two pipes.
      let end = 12 + 6 + 2
      assert.deepStrictEqual(yield* takeUntil(end), [end])
      end += 4 + 4
      yield* takeUntil(end)
      for (const size of sizes) {
        yield* Pipe.push(third, Uint8Array.from({ length: size }, (_, i) => i))
        end += 4 + (size + 3 & ~3)
        const lengths = yield* takeUntil(end)
        const behind = size % 4 === 0 || size < 4096 ? 1 : 2
        for (const length of lengths.slice(0, -behind)) assert.strictEqual(length % 8, 0)
        for (const length of lengths.slice(-behind)) assert.strictEqual(length % 4, 0)
      }
      yield* Pipe.end(third)
    })
  )

  wire(
    "request with pipes: its fragments fit what the server receives, and pushes wait for room",
    Effect.gen(function* () {
      const { begin } = yield* setUp()
      const [calling, peer] = yield* begin("Hold")
      const there = Call.inPipe(calling, "there")
      let pushed = 0
      const pushing = yield* Effect.forkChild(
        Effect.gen(function* () {
          for (; pushed < 400; pushed++) yield* Pipe.push(there, new Uint8Array(10_000))
          yield* Pipe.end(there)
        })
      )
      yield* settle
      assert.isUndefined(pushing.pollUnsafe())
      assert.isBelow(pushed, 100)
      const { stub } = yield* requestOf(peer)
      assert.strictEqual(stub.length, 400 * 10_004 + 4)
      yield* Fiber.join(pushing)
    })
  )
})

// ----------------------------------------------------------------------------
// responses
// ----------------------------------------------------------------------------

/** The stub of a response to `Several`. */
const severalStub = (syntax: TransferSyntax, littleEndian: boolean): Uint8Array => {
  const codec = syntax.codec((syntax === ndr20 ? IFlow : IPlainFlow).methods.Several, "Several")!
  const writer = new Pdu.Writer({ littleEndian })
  Pdu.beginResponse(writer, { callId: 1, contextId: 0, cancelCount: 0 })
  const chunks = [[[1, 2, 3], [4]], [[{ x: 5, y: 6 }], [{ x: 7, y: 8 }]], [Uint8Array.of(9, 10, 11), Uint8Array.of(12)]]
  for (const [i, pipe] of chunks.entries()) {
    for (const chunk of pipe) writeChunk(writer, codec.pipes[3 + i]!, chunk)
    codec.pipes[3 + i]!.end(writer)
  }
  assert.isUndefined(codec.writeResults(writer, { name: "name" }))
  const stub = writer.bytes.slice(writer.stub, writer.position)
  Pdu.discardMessage(writer)
  return stub
}

describe("a response with pipes", () => {
  for (const [syntax, littleEndian] of [[ndr20, true], [ndr20, false], [binary, true]] as const) {
    const named = `${syntax === binary ? "Callisto's own syntax" : "NDR"}, ${littleEndian ? "little" : "big"}-endian`
    wire(
      `response with pipes, in ${named}: may be cut at each byte`,
      Effect.gen(function* () {
        const { begin, flows } = yield* setUp({}, syntax)
        const stub = severalStub(syntax, littleEndian)
        const call = yield* Call.make(flows)
        let peer: Peer | undefined
        const exchange = (...cuts: ReadonlyArray<number>) =>
          Effect.gen(function* () {
            let pending: Call.Pending<typeof IFlow, "Several">
            if (peer === undefined) [pending, peer] = yield* begin("Several", { name: "" })
            else pending = yield* Call.begin(call, "Several", { name: "" })
            for (const name of ["first", "second", "third"] as const) yield* Pipe.end(Call.inPipe(pending, name))
            const { callId } = yield* requestOf(peer)
            for (const [i, end] of [...cuts, stub.length].entries()) {
              const flags = (i === 0 ? firstFrag : 0) | (i === cuts.length ? lastFrag : 0)
              const part = stub.slice(i === 0 ? 0 : cuts[i - 1]!, end)
              yield* peer.send((writer) => {
                Pdu.beginResponse(writer, { callId, contextId: 0, cancelCount: 0 })
                writer.ensure(part.length)
                writer.bytes.set(part, writer.position)
                writer.position += part.length
                Pdu.endMessage(writer, 65528, undefined, flags)
              }, { littleEndian })
            }
            const said = `cut at ${cuts}`
            assert.deepStrictEqual(yield* runAll(Call.outPipe(pending, "fourth")), [1, 2, 3, 4], said)
            assert.deepStrictEqual(
              yield* runAll(Call.outPipe(pending, "fifth")),
              [{ x: 5, y: 6 }, { x: 7, y: 8 }],
              said
            )
            assert.strictEqual(hex(concat(...yield* runAll(Call.outPipe(pending, "sixth")))), "090a0b0c", said)
            assert.deepStrictEqual(yield* Call.join(pending), { name: "name" }, said)
          })
        yield* exchange()
        for (let at = 0; at <= stub.length; at++) yield* exchange(at)
        yield* exchange(...Array.from(stub.slice(1), (_, i) => i + 1))
      })
    )
  }

  const counting = (
    name: string,
    answer: (peer: Peer, callId: number) => Effect.Effect<unknown>,
    expected: {
      readonly pulled: ReadonlyArray<number>
      readonly failure: ReadonlyArray<unknown>
      readonly told?: "Orphaned"
    },
    options?: Association.Options
  ) =>
    wire(
      name,
      Effect.gen(function* () {
        const { begin } = yield* setUp(options)
        const [pending, peer] = yield* begin("Count", { to: 3 })
        const { callId } = yield* peer.take("Request")
        const pulled: Array<number> = []
        const pulling = yield* Effect.forkChild(
          failure(
            Stream.runForEach(Pipe.toStream(Call.outPipe(pending, "numbers")), (n) => Effect.sync(() => pulled.push(n)))
          )
        )
        yield* answer(peer, callId)
        assert.deepStrictEqual(yield* Fiber.join(pulling), expected.failure)
        assert.deepStrictEqual(pulled, expected.pulled)
        assert.deepStrictEqual(yield* failure(Call.join(pending)), expected.failure)
        if (expected.told !== undefined) yield* peer.take(expected.told)
        if (expected.told !== undefined || expected.failure === lost) assert.isTrue(yield* peer.isClosed)
      })
    )
  const some = bytesOf("03000000 0100 0200 0300 0000")
  const fault = (status: number) => (peer: Peer, callId: number) =>
    peer.send((writer) => Pdu.encodeFault(writer, { callId, contextId: 0, cancelCount: 0, status, flags: 0 }))
  const rpcFault = ["RpcFault", undefined]

  counting(
    "response with pipes, fault in the middle: the elements before it arrive",
    (peer, callId) =>
      Effect.andThen(Effect.andThen(peer.respond(callId, some, firstFrag), settle), fault(5)(peer, callId)),
    {
      pulled: [1, 2, 3],
      failure: rpcFault
    }
  )
  counting(
    "response that ends in a pipe: the elements before it arrive",
    (peer, callId) =>
      Effect.andThen(
        Effect.andThen(peer.respond(callId, some, firstFrag), settle),
        peer.respond(callId, u32(7), lastFrag)
      ),
    {
      pulled: [1, 2, 3],
      failure: [...lost]
    }
  )
  counting("response in two byte orders: the elements before the change arrive", (peer, callId) =>
    Effect.andThen(
      Effect.andThen(peer.respond(callId, some, firstFrag), settle),
      peer.send((writer) => {
        Pdu.beginResponse(writer, { callId, contextId: 0, cancelCount: 0 })
        Pdu.endMessage(writer, 5840, undefined, lastFrag)
      }, { littleEndian: false })
    ), { pulled: [1, 2, 3], failure: lost })
  counting(
    "response that begins twice: the elements before it arrive",
    (peer, callId) =>
      Effect.andThen(
        Effect.andThen(peer.respond(callId, some, firstFrag), settle),
        peer.respond(callId, some, firstFrag)
      ),
    {
      pulled: [1, 2, 3],
      failure: lost
    }
  )
  counting("response that begins in the middle: fails", (peer, callId) => peer.respond(callId, some, 0), {
    pulled: [],
    failure: lost
  })
  counting(
    "response, connection lost: the elements before it arrive",
    (peer, callId) => Effect.andThen(Effect.andThen(peer.respond(callId, some, firstFrag), settle), peer.close),
    { pulled: [1, 2, 3], failure: lost }
  )
  wire(
    "response with pipes, out parameters too large: ends the call, and the server is told",
    Effect.gen(function* () {
      const { begin } = yield* setUp({ maximumResponse: 1000 })
      const [pending, peer] = yield* begin("Count", { to: 3 })
      const { callId } = yield* peer.take("Request")
      yield* peer.respond(callId, concat(some, u32(0)), firstFrag)
      assert.deepStrictEqual(yield* runAll(Call.outPipe(pending, "numbers")), [1, 2, 3])
      for (let i = 0; i < 10; i++) yield* peer.respond(callId, new Uint8Array(100), 0)
      const joining = yield* Effect.forkChild(failure(Call.join(pending)))
      assert.isTrue(yield* isWaiting(joining))
      yield* peer.respond(callId, new Uint8Array(1), 0)
      assert.deepStrictEqual(yield* Fiber.join(joining), lost)
      assert.strictEqual((yield* peer.take("Orphaned")).callId, callId)
      assert.isTrue(yield* peer.isClosed)
    })
  )

  wire(
    "response with pipes: may have any size, but for its out parameters",
    Effect.gen(function* () {
      const { begin } = yield* setUp({ maximumResponse: 1000 })
      const [pending, peer] = yield* begin("Count", { to: 3 })
      const { callId } = yield* peer.take("Request")
      const stub = concat(u32(100_000), new Uint8Array(200_000), u32(0), u32(9))
      const sending = yield* Effect.forkChild(
        respondIn(peer, callId, stub, ...Array.from({ length: 199 }, (_, i) => 1000 * (i + 1)))
      )
      assert.strictEqual((yield* runAll(Call.outPipe(pending, "numbers"))).length, 100_000)
      yield* Fiber.join(sending)
      assert.deepStrictEqual(yield* Call.join(pending), { value: 9 })
    })
  )

  wire(
    "response whole in one piece, slow reader: the bytes beyond its room wait",
    Effect.gen(function* () {
      const { begin } = yield* setUp()
      const [pending, peer] = yield* begin("Count", { to: 3 })
      const { callId } = yield* peer.take("Request")
      const writer = new Pdu.Writer()
      const fragment = (stub: Uint8Array, part: number) => {
        Pdu.beginResponse(writer, { callId, contextId: 0, cancelCount: 0 })
        writer.ensure(stub.length)
        writer.bytes.set(stub, writer.position)
        writer.position += stub.length
        Pdu.endMessage(writer, 5840, undefined, part)
      }
      for (let i = 0; i < 100; i++) fragment(concat(u32(2000), new Uint8Array(4000)), i === 0 ? firstFrag : 0)
      fragment(concat(u32(0), u32(9)), lastFrag)
      yield* Effect.forkChild(peer.bytes(writer.take()))
      yield* settle
      const reader = Call.outPipe(pending, "numbers")
      const { chunks } = bufferOf((reader as unknown as { readonly slot: Slot }).slot)
      assert.strictEqual(chunks.length, 64)
      assert.strictEqual((yield* runAll(reader)).length, 200_000)
      assert.deepStrictEqual(yield* Call.join(pending), { value: 9 })
    })
  )

  wire(
    "response with a chunk that is too large, in Callisto's own syntax: ends the call, and the server is told",
    Effect.gen(function* () {
      const { begin } = yield* setUp({}, binary, keepsOnOrphan)
      const [pending, peer] = yield* begin("Count", { to: 3 })
      const { callId } = yield* peer.take("Request")
      yield* peer.respond(callId, u32(0x400001), firstFrag)
      assert.strictEqual((yield* Effect.flip(Pipe.pull(Call.outPipe(pending, "numbers"))))._tag, "RpcTransportError")
      assert.strictEqual((yield* peer.take("Orphaned")).callId, callId)
      assert.isTrue(yield* peer.isClosed)
    })
  )
})

describe("an in pipe that is not through", () => {
  const answered = (
    name: string,
    answer: (peer: Peer, callId: number) => Effect.Effect<unknown>,
    expected: ReadonlyArray<unknown>
  ) =>
    wire(
      name,
      Effect.gen(function* () {
        const { begin, close, flows } = yield* setUp()
        const [pending, peer] = yield* begin("Sum", { start: 5 })
        const { callId } = yield* peer.take("Request")
        const numbers = Call.inPipe(pending, "numbers")
        // So many that the push waits.
        const pushing = yield* Effect.forkChild(failure(Effect.forever(Pipe.push(numbers, new Array(10_000).fill(1)))))
        yield* settle
        assert.isUndefined(pushing.pollUnsafe())
        yield* answer(peer, callId)
        assert.deepStrictEqual(yield* Fiber.join(pushing), expected)
        assert.deepStrictEqual(yield* failure(Pipe.end(numbers)), expected)
        assert.deepStrictEqual(yield* failure(Call.join(pending)), expected)
        // The request is not continued by another.
        const next = yield* Effect.forkChild(
          Effect.flatMap(Call.make(flows), (call) => Call.begin(call, "Sum", { start: 1 }))
        )
        assert.isTrue(yield* isWaiting(next))
        yield* Fiber.interrupt(next)
        yield* closeLate(close)
      })
    )
  answered("in pipe not ended, the server answers: fails with 1917", (peer, callId) => peer.respond(callId, u32(7)), [
    "PipeDisciplineError",
    undefined
  ])
  answered(
    "in pipe not ended, the server faults: fails as the call does",
    (peer, callId) =>
      peer.send((writer) => Pdu.encodeFault(writer, { callId, contextId: 0, cancelCount: 0, status: 5, flags: 0 })),
    [
      "RpcFault",
      undefined
    ]
  )
  answered("in pipe not ended, connection lost: fails with 1726", (peer) => peer.close, lost)

  wire(
    "in pipe not ended, an element can't be written: ends the call, and the server is told",
    Effect.gen(function* () {
      const { begin } = yield* setUp({}, ndr20, keepsOnOrphan)
      const [pending, peer] = yield* begin("Sum", { start: 5 })
      const { callId } = yield* peer.take("Request")
      const numbers = Call.inPipe(pending, "numbers")
      yield* Pipe.push(numbers, ["no number"] as never)
      yield* settle
      assert.deepStrictEqual(yield* failure(Pipe.push(numbers, [1])), lost)
      assert.deepStrictEqual(yield* failure(Call.join(pending)), lost)
      assert.strictEqual((yield* peer.take("Orphaned")).callId, callId)
      assert.isTrue(yield* peer.isClosed)
    })
  )

  wire(
    "in pipe not ended, patient cancel: the pipe is cut, and the server may still answer",
    Effect.gen(function* () {
      const { begin } = yield* setUp()
      const [pending, peer] = yield* begin("Sum", { start: 5 })
      const { callId } = yield* peer.take("Request")
      const numbers = Call.inPipe(pending, "numbers")
      yield* Call.cancel(pending, { timeout: Infinity })
      assert.deepStrictEqual(yield* failure(Pipe.push(numbers, [1])), ["CallCancelled", undefined])
      assert.strictEqual((yield* peer.take("CoCancel")).callId, callId)
      yield* peer.respond(callId, u32(7))
      assert.deepStrictEqual(yield* Call.join(pending), { value: 7 })
      assert.isTrue(yield* peer.isClosed)
    })
  )
})

// ----------------------------------------------------------------------------
// connections
// ----------------------------------------------------------------------------

describe("the connections of calls with pipes", () => {
  const answerAlter = (peer: Peer, syntax: TransferSyntax) =>
    Effect.flatMap(
      peer.take("AlterContext"),
      ({ callId }) =>
        peer.send((writer) =>
          Pdu.encodeAlterContextResponse(writer, {
            callId,
            maxXmitFrag: 5840,
            maxRecvFrag: 5840,
            assocGroupId: 5,
            results: [acceptedIn(syntax)]
          })
        )
    )
  const finish = (peer: Peer, pending: Call.Pending<typeof IFlow, "Sum">, chunk: ReadonlyArray<number> = [1]) =>
    Effect.gen(function* () {
      yield* Stream.run(Stream.make(...chunk), Pipe.toSink(Call.inPipe(pending, "numbers")))
      const { callId } = yield* requestOf(peer)
      yield* peer.respond(callId, u32(7))
      assert.deepStrictEqual(yield* Call.join(pending), { value: 7 })
    })
  const beginning = (flows: Effect.Success<ReturnType<typeof setUp>>["flows"]) =>
    Effect.forkChild(Effect.flatMap(Call.make(flows), (call) => Call.begin(call, "Sum", { start: 5 })))

  wire(
    "connections of calls with pipes: are used again, also after large calls, and closed after 10 idle seconds",
    Effect.gen(function* () {
      const { acceptBound, begin, flows } = yield* setUp()
      const [first, peer] = yield* begin("Sum", { start: 5 })
      yield* finish(peer, first, new Array(100_000).fill(1))
      for (let i = 0; i < 3; i++) yield* finish(peer, yield* Fiber.join(yield* beginning(flows)))
      yield* TestClock.adjust("9 seconds")
      yield* finish(peer, yield* Fiber.join(yield* beginning(flows)))
      yield* TestClock.adjust("20 seconds")
      assert.isTrue(yield* peer.isClosed)
      const next = yield* beginning(flows)
      yield* finish(yield* acceptBound, yield* Fiber.join(next))
    })
  )

  wire(
    "connections of calls with pipes, no other connection: one of them is kept",
    Effect.gen(function* () {
      const { begin, main } = yield* setUp()
      const [one, first] = yield* begin("Sum", { start: 5 })
      const [two, second] = yield* begin("Sum", { start: 5 })
      yield* finish(first, one)
      yield* finish(second, two)
      yield* main.close
      const closing = yield* Effect.forEach([first, second], (peer) => Effect.forkChild(peer.isClosed))
      yield* TestClock.adjust("1 minute")
      yield* settle
      assert.strictEqual(closing.filter((fiber) => fiber.pollUnsafe() === undefined).length, 1)
    })
  )

  wire(
    "call with pipes, reader slow or call cancelled: calls on other connections go on",
    Effect.gen(function* () {
      const { association, begin, main } = yield* setUp({}, ndr20, keepsOnOrphan)
      const binding = yield* Effect.forkChild(Association.bind(ISum, association))
      yield* answerAlter(main, ndr20)
      const sum = yield* Fiber.join(binding)
      const addOne = Effect.gen(function* () {
        const adding = yield* Effect.forkChild(Call.invoke(sum, "AddOne", { value: 1 }))
        yield* main.respond((yield* main.take("Request")).callId, u32(2), whole, 1)
        assert.deepStrictEqual(yield* Fiber.join(adding), { value: 2 })
      })
      const [stalled, peer] = yield* begin("Hold")
      yield* Pipe.end(Call.inPipe(stalled, "there"))
      const { callId } = yield* requestOf(peer)
      const flooding = yield* Effect.forkChild(Effect.gen(function* () {
        yield* peer.respond(callId, concat(u32(50_000), new Uint8Array(50_000)), firstFrag)
        for (let i = 0; i < 20; i++) yield* peer.respond(callId, concat(u32(50_000), new Uint8Array(50_000)), 0)
        yield* peer.respond(callId, concat(u32(0), u32(7)), lastFrag)
      }))
      assert.isTrue(yield* isWaiting(flooding))
      yield* addOne
      const [cancelled, other] = yield* begin("Sum", { start: 5 })
      yield* other.take("Request")
      yield* Pipe.push(Call.inPipe(cancelled, "numbers"), [1])
      yield* settle
      yield* Call.cancel(cancelled)
      yield* other.take("Request")
      yield* other.take("CoCancel")
      yield* other.take("Orphaned")
      assert.isTrue(yield* other.isClosed)
      yield* addOne
      const [summing, third] = yield* begin("Sum", { start: 5 })
      yield* finish(third, summing)
      assert.isTrue(yield* isWaiting(flooding))
      const size = yield* Stream.runFold(
        Pipe.toStream(Call.outPipe(stalled, "back")),
        () => 0,
        (a, { length }) => a + length
      )
      assert.strictEqual(size, 21 * 50_000)
      yield* Fiber.join(flooding)
      assert.deepStrictEqual(yield* Call.join(stalled), { value: 7 })
    })
  )

  wire(
    "all connections for pipes in use: one more call waits",
    Effect.gen(function* () {
      const { acceptBound, begin, flows } = yield* setUp({ maximumConnections: 2 })
      const [one, first] = yield* begin("Sum", { start: 5 })
      const [two, second] = yield* begin("Sum", { start: 5 })
      const [given, three, four] = [yield* beginning(flows), yield* beginning(flows), yield* beginning(flows)]
      assert.isTrue(yield* isWaiting(three))
      yield* Fiber.interrupt(given)
      yield* finish(first, one)
      yield* finish(first, yield* Fiber.join(three))
      yield* finish(first, yield* Fiber.join(four))
      // One that can't be used again makes room for another.
      const [five, six] = [yield* beginning(flows), yield* beginning(flows)]
      const pending = yield* Fiber.join(five)
      assert.isTrue(yield* isWaiting(six))
      yield* Call.cancel(pending)
      yield* finish(yield* acceptBound, yield* Fiber.join(six))
      yield* finish(second, two)
    })
  )

  wire(
    "begin with pipes interrupted while it connects: the limit of connections holds",
    Effect.gen(function* () {
      const { accept, acceptBound, flows } = yield* setUp({ maximumConnections: 1 })
      for (let i = 0; i < 3; i++) {
        const begin = yield* beginning(flows)
        const peer = yield* accept
        yield* peer.take("Bind")
        yield* Fiber.interrupt(begin)
        assert.isTrue(yield* peer.isClosed)
      }
      const begin = yield* beginning(flows)
      yield* finish(yield* acceptBound, yield* Fiber.join(begin))
    })
  )

  wire(
    "patient cancel of a call with pipes: its connection makes room meanwhile",
    Effect.gen(function* () {
      const { acceptBound, begin, flows } = yield* setUp({ maximumConnections: 1 })
      const [one, first] = yield* begin("Sum", { start: 5 })
      const two = yield* beginning(flows)
      assert.isTrue(yield* isWaiting(two))
      yield* Call.cancel(one, { timeout: Infinity })
      yield* finish(yield* acceptBound, yield* Fiber.join(two))
      const { callId } = yield* first.take("Request")
      yield* first.respond(callId, u32(3))
      assert.deepStrictEqual(yield* Call.join(one), { value: 3 })
    })
  )

  wire(
    "one more interface on a connection for pipes: is bound, also when its call is interrupted",
    Effect.gen(function* () {
      const { acceptBound, association, flows, main } = yield* setUp({ maximumConnections: 1 })
      const binding = yield* Effect.forkChild(Association.bind(IPlainFlow, association))
      yield* answerAlter(main, binary)
      const plain = yield* Fiber.join(binding)
      const first = yield* beginning(flows)
      const peer = yield* acceptBound
      yield* finish(peer, yield* Fiber.join(first))
      const interrupted = yield* beginning(plain)
      yield* settle
      const waiting = yield* beginning(plain)
      assert.isTrue(yield* isWaiting(waiting))
      yield* Fiber.interrupt(interrupted)
      yield* answerAlter(peer, binary)
      const pending = yield* Fiber.join(waiting)
      yield* Pipe.end(Call.inPipe(pending, "numbers"))
      assert.strictEqual((yield* requestOf(peer)).contextId, 1)
    })
  )

  wire(
    "server shuts down: the call with pipes ends, then its connection",
    Effect.gen(function* () {
      const { acceptBound, begin, flows } = yield* setUp()
      const [summing, peer] = yield* begin("Sum", { start: 5 })
      yield* peer.send((writer) => Pdu.encodeShutdown(writer, { callId: 0 }))
      yield* settle
      yield* finish(peer, summing)
      assert.isTrue(yield* peer.isClosed)
      const next = yield* beginning(flows)
      yield* finish(yield* acceptBound, yield* Fiber.join(next))
    })
  )

  wire(
    "binding closes: its connections for pipes end, and so do the pipes",
    Effect.gen(function* () {
      const { begin, close } = yield* setUp()
      const [one] = yield* begin("Sum", { start: 5 })
      const [two, second] = yield* begin("Count", { to: 3 })
      const pushing = yield* Effect.forkChild(
        failure(Effect.forever(Pipe.push(Call.inPipe(one, "numbers"), new Array(10_000).fill(1))))
      )
      const pulling = yield* Effect.forkChild(failure(Pipe.pull(Call.outPipe(two, "numbers"))))
      assert.isTrue(yield* isWaiting(pulling))
      yield* closeLate(close)
      assert.deepStrictEqual([yield* Fiber.join(pushing), yield* Fiber.join(pulling)], [lost, lost])
      yield* second.take("Request")
      assert.isTrue(yield* second.isClosed)
    })
  )

  wire(
    "call with pipes takes too long: its connection ends",
    Effect.gen(function* () {
      const { begin, close } = yield* setUp({ callTimeout: "3 seconds" })
      const [summing] = yield* begin("Sum", { start: 5 })
      const pushing = yield* Effect.forkChild(
        failure(Effect.forever(Pipe.push(Call.inPipe(summing, "numbers"), new Array(10_000).fill(1))))
      )
      yield* settle
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(yield* Fiber.join(pushing), ["CallCancelled", undefined])
      assert.deepStrictEqual(yield* failure(Call.join(summing)), ["CallCancelled", undefined])
      yield* closeLate(close)
    })
  )
})
