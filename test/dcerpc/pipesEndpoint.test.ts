/**
 * Pipes at the endpoint against raw bytes: chunks as they are on the wire, in fragments cut anywhere, and what is answered to those who
 * get them wrong.
 */
import { assert, describe, it, vi } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Logger, Queue, Schema, type Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Interface, Manager, Pipe, Server, ServerCall } from "../../mod.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { binary, ndr20, type TransferSyntax } from "../../src/dcerpc/TransferSyntax.ts"
import * as Memory from "../../src/transport/Memory.ts"
import { cut } from "./damage.ts"
import {
  accepted,
  alter,
  bind,
  bindAck,
  type BindFields,
  boundRow,
  brief,
  type Client,
  coCancel,
  concat,
  connect,
  connectTo,
  element,
  fault,
  first,
  flow,
  type Held,
  IEcho,
  IFlow,
  IPlainFlow,
  last,
  makeWorld,
  object,
  orphaned,
  request,
  response,
  row,
  settle,
  status,
  type Tables,
  u32,
  wire,
  type World,
  writeChunk
} from "./rawClient.ts"

const { firstFrag, lastFrag } = Pdu.flags
const whole = firstFrag | lastFrag
const didNotExecute = { didNotExecute: true }
const disciplineError = 0x1c000017
const wrongOrder = 0x1c000016

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

/** Bytes from hexadecimal digits, which spaces may separate. */
const bytesOf = (text: string): Uint8Array =>
  Uint8Array.from(text.match(/[0-9a-f]{2}/g) ?? [], (pair) => Number.parseInt(pair, 16))

const numbers = (littleEndian: boolean, ...values: ReadonlyArray<number>): Uint8Array =>
  concat(...values.map((value) => u32(value, littleEndian)))

interface Item {
  readonly value: number
  readonly next: Item | null
}

const Item = Ndr.struct({
  value: Ndr.Uint32,
  next: Ndr.unique(Schema.suspend((): Schema.Codec<Item> => Item as never))
})

const IList = Interface.make("IList", {
  uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c3e03",
  version: [1, 0],
  methods: {
    Take: Interface.method({ in: { list: Item }, inPipe: { numbers: Ndr.Uint32 }, out: { first: Ndr.Uint32 } })
  }
})

/** Binds to three interfaces. A server accepts one of them with NDR in each PDU. */
const bindFlows = (fields: BindFields = {}) =>
  concat(
    bind({ ...fields, contextElements: [element(0, IFlow), element(1, IPlainFlow, binary.id)] }),
    alter({ ...fields, callId: 1, contextElements: [element(2, IEcho)] })
  )
const moreAck = { alterAck: 1, results: [accepted()] }
const flowsAck = {
  ...bindAck,
  results: [bindAck.results[0], { ...bindAck.results[0], transferSyntax: binary.id }]
}

/** The stub of a response, whose fragments have to be those of one message. */
const stubOf = (pdus: ReadonlyArray<Pdu.Pdu | Pdu.PduError>): Uint8Array => {
  const responses = pdus.map((pdu) => {
    if (pdu._tag !== "Response") assert.fail(JSON.stringify(brief(pdu)))
    return pdu
  })
  assert.deepStrictEqual(
    responses.map(({ flags }) => flags & whole),
    responses.map((_, i) => (i === 0 ? firstFrag : 0) | (i === responses.length - 1 ? lastFrag : 0))
  )
  return concat(...responses.map(({ stub }) => stub))
}

/** A request in two fragments. */
const inTwo = (at: number, stub: Uint8Array, fields: Parameters<typeof request>[0]) => [
  first({ ...fields, stub: stub.slice(0, at) }),
  last({ ...fields, stub: stub.slice(at) })
]

/** A fragment that is neither the first nor the last. */
const middle = (fields: Parameters<typeof request>[0] = {}) => request({ exactFlags: 0, ...fields })

const oneByOne = (stub: Uint8Array, fields: Parameters<typeof request>[0]) =>
  Array.from(
    stub,
    (byte, i) =>
      request({
        ...fields,
        stub: Uint8Array.of(byte),
        exactFlags: (i === 0 ? firstFrag : 0) | (i === stub.length - 1 ? lastFrag : 0)
      })
  )

/** The connection of the test on the server, beside that of the other client. */
const servedOf = (tables: Tables) =>
  [...tables.connections][1] as unknown as {
    readonly arriving: { readonly pipes: { readonly input: { readonly bytes: Uint8Array } } | undefined } | undefined
    readonly calls: ReadonlyMap<number, unknown>
  }

// ----------------------------------------------------------------------------
// bytes
// ----------------------------------------------------------------------------

describe("chunks in NDR", () => {
  for (const littleEndian of [true, false]) {
    const order = littleEndian ? "little-endian" : "big-endian"
    wire(`pipes of a request in ${order}: follow the arguments, byte for byte`, (client) =>
      Effect.gen(function* () {
        yield* client.ask(bindFlows({ littleEndian }))
        const stub = littleEndian
          ? bytesOf("05000000  02000000 01000000 02000000  01000000 03000000  00000000")
          : bytesOf("00000005  00000002 00000001 00000002  00000001 00000003  00000000")
        assert.deepStrictEqual(yield* client.say(request({ littleEndian, opnum: flow.sum, stub })), [response(2, 11)])
      }))
  }

  wire("pipes of a response: precede the out parameters, byte for byte", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bindFlows())
      const answers = yield* client.ask(request({ opnum: flow.count, stub: u32(5) }))
      assert.strictEqual(
        hex(stubOf(answers)),
        hex(bytesOf("03000000 0100 0200 0300 0000  02000000 0400 0500  00000000  05000000"))
      )
    }))

  wire(
    "pipes of a response: are aligned from the start of the stub, element by element, pipe by pipe",
    (client) =>
      Effect.gen(function* () {
        yield* client.ask(bindFlows())
        const name = "02000000 00000000 02000000 6100 0000"
        const pipes = "01000000 0700 0000  00000000" + // a number of two bytes
          "02000000 01 000000 02000000 03 000000 04000000  00000000" + // two points
          "03000000 0a0b0c 00  02000000 0d0e 0000  00000000" // bytes in two chunks
        const answers = yield* client.ask(request({ opnum: flow.several, stub: bytesOf(name + pipes) }))
        const back = "01000000 0700 0000  00000000" +
          "02000000 01 000000 02000000 03 000000 04000000  00000000" +
          "05000000 0a0b0c0d0e 000000  00000000" // the same in one
        assert.strictEqual(hex(stubOf(answers)), hex(bytesOf(back + name)))
      })
  )

  wire("empty pipes: are accepted", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bindFlows())
      assert.deepStrictEqual(
        yield* client.say(request({ opnum: flow.sum, stub: numbers(true, 7, 0) })),
        [response(2, 7)]
      )
      assert.strictEqual(
        hex(stubOf(yield* client.ask(request({ opnum: flow.count, stub: u32(0) })))),
        "0000000000000000"
      )
    }))
})

describe("chunks in Callisto's own syntax", () => {
  wire("chunks in Callisto's own syntax: are lengths and the encoded elements", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bindFlows())
      const stub = stubOf(
        yield* client.ask(request({ contextId: 1, opnum: flow.several, stub: severalStub(binary, true) }))
      )
      // The bytes of the last pipe as they are, and the end.
      assert.include(hex(stub), "05000000" + "0a0b0c0d0e" + "00000000")
    }))
})

/** The stub of `Several`. */
const severalStub = (syntax: TransferSyntax, littleEndian: boolean): Uint8Array => {
  const iface = syntax === binary ? IPlainFlow : IFlow
  const codec = syntax.codec(iface.methods.Several, "Several")!
  const writer = new Pdu.Writer({ littleEndian })
  Pdu.beginRequest(writer, { callId: 1, contextId: 0, opnum: 0 })
  assert.isUndefined(codec.writeArguments(writer, { name: "name" }, undefined))
  const chunks = [
    [[1, 2, 3], [4]],
    [[{ x: 5, y: 6 }], [{ x: 7, y: 8 }, { x: 9, y: 10 }]],
    [Uint8Array.of(10, 11, 12), Uint8Array.of(13, 14)]
  ]
  for (const [i, pipe] of chunks.entries()) {
    for (const chunk of pipe) writeChunk(writer, codec.pipes[i]!, chunk)
    codec.pipes[i]!.end(writer)
  }
  const stub = writer.bytes.slice(writer.stub, writer.position)
  Pdu.discardMessage(writer)
  return stub
}

describe("fragments", () => {
  for (const [syntax, littleEndian] of [[ndr20, true], [ndr20, false], [binary, true]] as const) {
    const contextId = syntax === binary ? 1 : 0
    const named = `${syntax === binary ? "Callisto's own syntax" : "NDR"}, ${littleEndian ? "little" : "big"}-endian`
    wire(
      `request with pipes cut at each byte, in ${named}: fragments need not match chunks`,
      (client) =>
        Effect.gen(function* () {
          yield* client.ask(bindFlows({ littleEndian }))
          const stub = severalStub(syntax, littleEndian)
          const fields = { littleEndian, contextId, opnum: flow.several }
          const expected = hex(stubOf(yield* client.ask(request({ ...fields, stub }))))
          for (let at = 0; at <= stub.length; at++) {
            assert.strictEqual(hex(stubOf(yield* client.ask(...inTwo(at, stub, fields)))), expected, `cut at ${at}`)
          }
          assert.strictEqual(hex(stubOf(yield* client.ask(...oneByOne(stub, fields)))), expected)
          const objects = cut(request({ ...fields, stub, object, limit: 60 }))
          assert.strictEqual(hex(stubOf(yield* client.ask(...objects))), expected)
        })
    )
  }

  wire(
    "arguments in many fragments: are awaited before the routine runs, the pipes are not",
    (client, { started }) =>
      Effect.gen(function* () {
        yield* client.ask(bindFlows())
        for (const [syntax, contextId] of [[ndr20, 0], [binary, 1]] as const) {
          const name = "x".repeat(200_000)
          const writer = new Pdu.Writer()
          Pdu.beginRequest(writer, { callId: 2, contextId, opnum: flow.several })
          const codec = syntax.codec((contextId === 0 ? IFlow : IPlainFlow).methods.Several, "Several")!
          codec.writeArguments(writer, { name }, undefined)
          const looks = vi.spyOn(codec, "readArgumentsBeforePipes")
          const stub = writer.bytes.slice(writer.stub, writer.position)
          const fields = { contextId, opnum: flow.several }
          const fragments = [...cut(request({ ...fields, stub, limit: 3000 }))]
          const [end] = fragments.splice(-1)
          yield* client.ask(...fragments)
          assert.deepStrictEqual(yield* Queue.clear(started), [])
          // All arguments are there, and not a byte more: the routine runs.
          yield* client.ask(request({ ...fields, stub: end!.slice(24), exactFlags: 0 }))
          assert.deepStrictEqual(yield* Queue.clear(started), [name])
          // Once to learn how many bytes there are, once for those, and once where the call begins.
          assert.isAtMost(looks.mock.calls.length, 3)
          looks.mockRestore()
          const rest = contextId === 0 ? new Uint8Array(12 + (-stub.length & 3)) : new Uint8Array(12)
          const answers = yield* client.ask(last({ ...fields, stub: rest }))
          assert.isAbove(stubOf(answers).length, 200_000)
        }
      })
  )

  wire(
    "list that shows item by item how long it is: is read again ever more rarely",
    () =>
      Effect.gen(function* () {
        const server = yield* Server.make([
          Manager.make(IList, {
            Take: ({ list }, call) =>
              Effect.as(Stream.runDrain(Pipe.toStream(ServerCall.inPipe(call, "numbers"))), { first: list.value })
          })
        ])
        yield* Endpoint.serve(server, "ncacn_memory:[list]")
        const client = yield* connectTo("ncacn_memory:[list]")
        const looks = vi.spyOn(ndr20.codec(IList.methods.Take, "Take")!, "readArgumentsBeforePipes")
        yield* client.ask(bind({ contextElements: [element(0, IList)] }))
        const items = Array.from({ length: 2000 }, (_, i) => concat(u32(i), u32(i < 1999 ? 0x20000 + 4 * i : 0)))
        yield* client.ask(first({ stub: items[0]! }), ...items.slice(1).map((stub) => request({ stub, exactFlags: 0 })))
        assert.deepStrictEqual((yield* client.ask(last({ stub: u32(0) }))).map(brief), [response(2, 0)])
        assert.isAtMost(looks.mock.calls.length, 80)
        looks.mockRestore()
      })
  )

  wire("response with pipes: its fragments are as large as the client receives", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bindFlows({ maxRecvFrag: 1432, maxXmitFrag: 1432 }))
      const answers = yield* client.ask(request({ opnum: flow.count, stub: u32(60_000) }))
      const stub = stubOf(answers)
      for (const pdu of answers) assert.isAtMost(24 + (pdu as Pdu.Response).stub.length, 1432)
      const view = new DataView(stub.buffer, stub.byteOffset)
      let [at, pulled] = [0, 0]
      for (let count; (count = view.getUint32(at, true)) > 0; at = (at + 4 + 2 * count + 3) & ~3) pulled += count
      assert.deepStrictEqual([pulled, stub.length], [60_000, at + 4 + 4])
    }))
})

// ----------------------------------------------------------------------------
// limits
// ----------------------------------------------------------------------------

describe("the limit of a request", () => {
  const limit = { maximumRequest: 1000 }
  const chunk = (count: number) => numbers(true, count, ...new Array<number>(count).fill(1))

  wire("limit of a request: does not count pipes", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bindFlows())
      const stub = concat(u32(0), chunk(5000), u32(0))
      const fields = { opnum: flow.sum, stub }
      const [value] = yield* client.say(request({ ...fields, limit: 5840 }))
      assert.deepStrictEqual(value, response(2, 5000))
      // Nor what is announced of it, nor a first or an only fragment that is larger.
      const all = concat(u32(0), chunk(500), u32(0))
      assert.deepStrictEqual(
        yield* client.say(request({ ...fields, stub: all, allocHint: 0x7fffffff })),
        [response(2, 500)]
      )
      assert.deepStrictEqual(
        yield* client.say(
          first({ ...fields, stub: all.slice(0, 1500), allocHint: 0x7fffffff }),
          last({ ...fields, stub: all.slice(1500) })
        ),
        [response(2, 500)]
      )
    }), limit)

  const name = (size: number) =>
    concat(u32(size), u32(0), u32(size), new Uint8Array(2 * size - 2).fill(97), new Uint8Array(2))
  for (
    const [what, stub, limit] of [
      ["in one fragment", name(600), 5840],
      ["in many", name(600), 100],
      ["that are announced", name(0x7fffffff & 600).slice(0, 20), 5840]
    ] as const
  ) {
    const pdus = what === "that are announced"
      ? [first({ opnum: flow.several, stub: concat(u32(600), u32(0), u32(600)) })]
      : cut(request({ opnum: flow.several, stub, limit }))
    boundRow(
      `limit of a request: counts arguments ${what}`,
      { contextElements: [element(0, IFlow)] },
      pdus.length > 2 ? [concat(...pdus)] : pdus,
      [fault(2, status.accessDenied)],
      "is closed",
      { maximumRequest: 1000 }
    )
  }
})

// ----------------------------------------------------------------------------
// what is wrong
// ----------------------------------------------------------------------------

const flowRow = (
  name: string,
  sent: ReadonlyArray<Uint8Array>,
  answers: ReadonlyArray<unknown>,
  fate: "lives" | "is closed",
  options?: Parameters<typeof row>[4]
) => row(name, [bindFlows(), ...sent], [flowsAck, moreAck, ...answers], fate, options)

/** Another call on the same connection, which is answered. */
const next = request({ callId: 9, contextId: 2 })
const answered = response(9, 42, { contextId: 2 })

describe("a stub with pipes", () => {
  const sum = (stub: Uint8Array) => request({ opnum: flow.sum, stub })
  flowRow("request that ends before the arguments: fault", [sum(bytesOf("050000")), next], [
    fault(2, status.badStubData, didNotExecute),
    answered
  ], "lives")
  flowRow(
    "request that ends before the first chunk: fault",
    [sum(u32(5)), next],
    [fault(2, status.badStubData), answered],
    "lives"
  )
  flowRow(
    "request that ends in a chunk: fault",
    [sum(numbers(true, 5, 2, 1)), next],
    [fault(2, status.badStubData), answered],
    "lives"
  )
  flowRow("request that ends before the end of the pipe: fault", [sum(numbers(true, 5, 1, 1)), next], [
    fault(2, status.badStubData),
    answered
  ], "lives")
  flowRow(
    "request with a count of 4 G: fault",
    [sum(numbers(true, 5, 0xffffffff, 1)), next],
    [fault(2, status.badStubData), answered],
    "lives"
  )
  flowRow(
    "request that ends in a chunk, in its last fragment: fault",
    [first({ opnum: flow.sum, stub: numbers(true, 5, 2) }), last({ stub: u32(7) }), next],
    [fault(2, status.badStubData), answered],
    "lives"
  )
  flowRow(
    "chunk too large, in Callisto's own syntax: is refused at once, and the rest discarded",
    [
      first({ contextId: 1, opnum: flow.sum, stub: concat(u32(2), bytesOf("0001"), u32(0x400001)) }),
      middle({ stub: new Uint8Array(100) }),
      last({ stub: new Uint8Array(100) }),
      next
    ],
    [fault(2, status.badStubData, { contextId: 1, didNotExecute: true }), answered],
    "lives"
  )
  const trailer = concat(bytesOf("8ae31371 02f43671 0140 0400 01000000"), new Uint8Array(1000))
  flowRow(
    "bytes behind the pipes: are ignored",
    [
      request({ opnum: flow.sum, stub: concat(numbers(true, 5, 1, 1, 0), trailer) }),
      first({ opnum: flow.sum, stub: numbers(true, 5, 1, 1, 0) }),
      middle({ stub: trailer }),
      last({ stub: trailer }),
      next
    ],
    [response(2, 6), response(2, 6), answered],
    "lives"
  )

  wire("bytes behind the pipes: are not held", (client, { held, tables }) =>
    Effect.gen(function* () {
      yield* client.ask(bindFlows())
      yield* client.ask(first({ opnum: flow.hold, stub: u32(0) }))
      const call = yield* Queue.take(held)
      for (let i = 0; i < 1000; i++) yield* client.write(middle({ stub: new Uint8Array(5000) }))
      yield* settle
      assert.isAtMost(servedOf(tables).arriving!.pipes!.input.bytes.length, 10_000)
      yield* endOf(call)
      assert.strictEqual((yield* client.say(last()))[0]?.hasOwnProperty("response"), true)
    }))
})

/** Drains the in pipe of a held call, ends the out pipe and answers. */
const endOf = (call: Held) =>
  Effect.gen(function* () {
    yield* Stream.runDrain(Pipe.toStream(ServerCall.inPipe(call, "there")))
    yield* Pipe.end(ServerCall.outPipe(call, "back"))
    yield* ServerCall.complete(call, { value: 7 })
  })

describe("a call with pipes that is refused", () => {
  // More than a pipe holds.
  const begin = (fields: Parameters<typeof request>[0]) => first({ ...fields, stub: numbers(true, 5, 1_000_000, 1) })
  const rest = [...Array.from({ length: 60 }, () => middle({ stub: new Uint8Array(5000) })), last({ stub: u32(0) })]
  const swallowed = (
    name: string,
    fields: Parameters<typeof request>[0],
    refusal: unknown,
    options?: Parameters<typeof row>[4]
  ) =>
    flowRow(
      `${name}: the refusal comes at once, and the rest is discarded`,
      [begin(fields), ...rest, alter({ callId: 8, contextElements: [element(5, IEcho)] })],
      [refusal, { alterAck: 8, results: [bindAck.results[0]] }],
      "lives",
      options
    )

  swallowed("because there is no such method", { opnum: 77 }, fault(2, status.outOfRange, didNotExecute))
  swallowed("because there is no such context", { contextId: 7 }, fault(2, status.unknownInterface, didNotExecute))
  swallowed("because the endpoint has too many calls", { opnum: flow.sum }, fault(2, status.tooBusy, didNotExecute), {
    maximumTotalCalls: 1
  })
  swallowed("because the server has too many calls", { opnum: flow.sum }, fault(2, status.tooBusy, didNotExecute), {
    server: { maximumCalls: 1 }
  })

  flowRow(
    "call id in use: the call is refused, and the connection closed",
    [
      request({ opnum: flow.hold, stub: u32(0) }),
      begin({ opnum: flow.sum })
    ],
    [fault(2, status.protocolError)],
    "is closed"
  )
})

describe("while a request with pipes arrives", () => {
  const begin = first({ opnum: flow.hold, stub: numbers(true, 4, 1) })
  for (const [mode, flags] of [["several calls", Pdu.flags.concMpx], ["one call", 0]] as const) {
    const [newer, older] = [3, 2]
    row(
      `another request inside a request with pipes, connection for ${mode}: protocol error`,
      [bindFlows({ flags }), begin, request({ callId: newer })],
      [flowsAck, moreAck, fault(flags === 0 ? older : newer, status.protocolError)],
      "is closed"
    )
  }
  flowRow("fragment of another call inside a request with pipes: protocol error", [begin, middle({ callId: 5 })], [
    fault(5, status.protocolError)
  ], "is closed")
  flowRow(
    "fragment in another byte order inside a request with pipes: protocol error",
    [begin, middle({ littleEndian: false })],
    [fault(2, status.protocolError)],
    "is closed"
  )
  flowRow(
    "fragment in another byte order of a refused call: protocol error, and did not execute",
    [first({ opnum: 77 }), middle({ littleEndian: false })],
    [fault(2, status.outOfRange, didNotExecute), fault(2, status.protocolError, didNotExecute)],
    "is closed"
  )
  flowRow(
    "alter_context with the id of the call with pipes: protocol error",
    [begin, alter({ exactFlags: lastFrag })],
    [fault(2, status.protocolError, didNotExecute)],
    "is closed"
  )
  flowRow(
    "alter_context of another call inside a request with pipes: is answered",
    [begin, alter({ callId: 3, contextElements: [element(5, IEcho)] }), orphaned()],
    [{ alterAck: 3, results: [bindAck.results[0]] }],
    "lives"
  )
  wire(
    "connection lost inside a request with pipes: ends the pipes and the call",
    (client, { held, server }) =>
      Effect.gen(function* () {
        yield* client.ask(bindFlows(), begin)
        const call = yield* Queue.take(held)
        const there = ServerCall.inPipe(call, "there")
        assert.deepStrictEqual(yield* Pipe.pull(there), Uint8Array.of(1, 0, 0, 0))
        const pulling = yield* Effect.forkChild(Effect.flip(Pipe.pull(there)), { startImmediately: true })
        yield* client.close
        assert.strictEqual((yield* Fiber.join(pulling))._tag, "InvalidAsyncHandle")
        assert.strictEqual((yield* Server.calls(server)).length, 1)
      })
  )
})

// ----------------------------------------------------------------------------
// cancels, aborts, discipline
// ----------------------------------------------------------------------------

describe("a call with pipes", () => {
  const begin = first({ opnum: flow.abort, stub: new Uint8Array(0) })
  const more = middle({ stub: numbers(true, 1, 1) })

  wire(
    "cancel inside a request with pipes: the call is cancelled, and the rest discarded",
    (client, { nextInterrupted }) =>
      Effect.gen(function* () {
        yield* client.ask(bindFlows(), begin)
        assert.deepStrictEqual(yield* client.say(coCancel()), [fault(2, status.cancelled, { cancels: 1 })])
        assert.strictEqual(yield* nextInterrupted, "Abort")
        assert.deepStrictEqual(yield* client.say(more, last({ stub: u32(0) }), next), [answered])
      })
  )

  wire(
    "orphan inside a request with pipes: the rest is discarded without an answer",
    (client, { nextInterrupted, tables }) =>
      Effect.gen(function* () {
        yield* client.ask(bindFlows(), begin)
        assert.deepStrictEqual(yield* client.say(orphaned()), [])
        assert.strictEqual(yield* nextInterrupted, "Abort")
        assert.strictEqual(servedOf(tables).calls.size, 0)
        assert.deepStrictEqual(yield* client.say(more, last({ stub: u32(0) }), next), [answered])
      })
  )

  flowRow("abort inside a request with pipes: the call is aborted, and the rest discarded", [
    begin,
    more,
    more,
    last({ stub: u32(0) }),
    next
  ], [
    fault(2, 5001),
    answered
  ], "lives")
  flowRow(
    "complete before the in pipe is drained: the call ends with 1917",
    [
      first({ opnum: flow.early, stub: u32(1) }),
      middle({ stub: new Uint8Array(5000) }),
      last({ stub: u32(0) }),
      next
    ],
    [fault(2, disciplineError), answered],
    "lives"
  )
  flowRow(
    "push before the in pipe is drained: the call ends with 1831",
    [
      request({ opnum: flow.order, stub: u32(0) }),
      next
    ],
    [fault(2, wrongOrder), answered],
    "lives"
  )
  flowRow(
    "maybe call with pipes: gets a reply all the same",
    [
      request({ opnum: flow.sum, stub: numbers(true, 5, 1, 1, 0), flags: Pdu.flags.maybe }),
      next
    ],
    [response(2, 6), answered],
    "lives"
  )

  it.effect("out parameters that can't be written behind the pipes: the call ends with 1783", () =>
    Effect.gen(function* () {
      yield* makeWorld()
      const client = yield* Effect.tap(connect, (client) => client.ask(bindFlows()))
      const answers = yield* client.ask(request({ opnum: flow.spoil }))
      assert.isAbove(answers.length, 1)
      assert.deepStrictEqual(brief(answers.at(-1)!), fault(2, status.badStubData))
      assert.deepStrictEqual(yield* client.say(next), [answered])
    }).pipe(Effect.provide(Layer.merge(Memory.layer, Logger.layer([])))))

  describe("whose manager does not care for cancels", () => {
    const held = (
      name: string,
      body: (client: Client, call: Held, world: World) => Effect.Effect<void, unknown, Scope.Scope>
    ) =>
      wire(name, (client, world) =>
        Effect.gen(function* () {
          yield* client.ask(bindFlows(), first({ opnum: flow.hold, stub: numbers(true, 4, 1) }))
          yield* body(client, yield* Queue.take(world.held), world)
        }), { cancellation: "cooperative" })

    held(
      "manager that ignores cancels, cancel inside the request: pipes fail, the rest is discarded, and the call may complete",
      (client, call) =>
        Effect.gen(function* () {
          assert.deepStrictEqual(yield* client.say(coCancel()), [])
          assert.isTrue(yield* ServerCall.testCancel(call))
          assert.strictEqual((yield* Effect.flip(Pipe.pull(ServerCall.inPipe(call, "there"))))._tag, "CallCancelled")
          // As much as would fill a pipe several times, and the end, which is none.
          for (let i = 0; i < 400; i++) yield* client.write(middle({ stub: concat(u32(5000), new Uint8Array(5000)) }))
          assert.deepStrictEqual(yield* client.say(last({ stub: u32(7) })), [])
          yield* ServerCall.complete(call, { value: 7 })
          assert.strictEqual(hex(stubOf(yield* Effect.andThen(settle, client.ask()))), "0000000007000000")
          assert.deepStrictEqual(yield* client.say(next), [answered])
        })
    )

    held(
      "manager that ignores cancels, orphan while more arrives: the rest is discarded",
      (client, call) =>
        Effect.gen(function* () {
          yield* client.ask(coCancel())
          for (let i = 0; i < 400; i++) yield* client.write(middle({ stub: concat(u32(5000), new Uint8Array(5000)) }))
          yield* client.ask(orphaned())
          assert.strictEqual(yield* ServerCall.awaitEnd(call), "Orphaned")
          assert.deepStrictEqual(yield* client.say(last(), next), [answered])
        })
    )

    held(
      "manager that ignores cancels, cancel behind its answer: unpulled elements are not sent",
      (client, call) =>
        Effect.gen(function* () {
          yield* client.ask(last({ stub: u32(0) }))
          yield* Stream.runDrain(Pipe.toStream(ServerCall.inPipe(call, "there")))
          client.state.reads = false
          const back = ServerCall.outPipe(call, "back")
          const pushing = yield* Effect.forkChild(Effect.forever(Pipe.push(back, new Uint8Array(10_000))), {
            startImmediately: true
          })
          yield* settle
          yield* Fiber.interrupt(pushing)
          yield* Pipe.end(back)
          yield* ServerCall.complete(call, { value: 7 })
          client.state.reads = true
          yield* client.write(coCancel())
          yield* TestClock.adjust("1 second")
          const answers = yield* Effect.andThen(settle, client.ask(coCancel()))
          assert.deepStrictEqual(brief(answers.at(-1)!), fault(2, status.cancelled, { cancels: 1 }))
          assert.deepStrictEqual(yield* client.say(next), [answered])
        })
    )
  })
})

// ----------------------------------------------------------------------------
// flow
// ----------------------------------------------------------------------------

describe("a slow", () => {
  const piece = middle({ stub: concat(u32(5000), new Uint8Array(5000)) })

  wire("slow reader on the server: stops the client, and loses nothing", (client, { held }) =>
    Effect.gen(function* () {
      yield* client.ask(bindFlows(), first({ opnum: flow.hold, stub: new Uint8Array(0) }))
      const call = yield* Queue.take(held)
      let written = 0
      const writing = yield* Effect.forkChild(
        Effect.gen(function* () {
          for (; written < 400; written++) yield* client.write(piece)
          yield* client.write(last({ stub: u32(0) }))
        })
      )
      yield* settle
      assert.isUndefined(writing.pollUnsafe())
      // What a pipe holds, what the transport holds, and a little.
      assert.isBelow(written, 200)
      const there = ServerCall.inPipe(call, "there")
      const size = yield* Stream.runFold(Pipe.toStream(there), () => 0, (size, { length }) => size + length)
      assert.strictEqual(size, 400 * 5000)
      yield* Pipe.end(ServerCall.outPipe(call, "back"))
      yield* ServerCall.complete(call, { value: 7 })
      assert.strictEqual(hex(stubOf(yield* Effect.andThen(settle, client.ask()))), "0000000007000000")
    }))

  for (const [syntax, contextId] of [[ndr20, 0], [binary, 1]] as const) {
    const named = contextId === 0 ? "NDR" : "Callisto's own syntax"
    wire(
      `slow reader of large elements, in ${named}: stops the client as soon`,
      (client, { started }) =>
        Effect.gen(function* () {
          yield* client.ask(bindFlows({ maxRecvFrag: 65528, maxXmitFrag: 65528 }))
          const codec = syntax.codec((contextId === 0 ? IFlow : IPlainFlow).methods.Slow, "Slow")!
          const writer = new Pdu.Writer()
          Pdu.beginRequest(writer, { callId: 2, contextId, opnum: flow.slow })
          codec.writeArguments(writer, undefined, undefined)
          for (let i = 0; i < 100; i++) writeChunk(writer, codec.pipes[0]!, new Array(5).fill(new Uint8Array(20_000)))
          codec.pipes[0]!.end(writer)
          const fields = {
            contextId,
            opnum: flow.slow,
            stub: writer.bytes.slice(writer.stub, writer.position),
            limit: 5840
          }
          let written = 0
          const writing = yield* Effect.forkChild(Effect.gen(function* () {
            for (const pdu of cut(request(fields))) {
              yield* client.write(pdu)
              written += pdu.length
            }
          }))
          yield* Effect.repeat(settle, { times: 100 })
          assert.isUndefined(writing.pollUnsafe())
          assert.isBelow(written, 500_000)
          yield* Queue.offer(started, "read on")
          yield* Fiber.join(writing)
          const [answer] = yield* Effect.andThen(settle, client.ask())
          assert.strictEqual(answer?._tag, "Response")
        })
    )
  }

  wire(
    "slow reader that answers without reading on: the connection goes on",
    (client, { held }) =>
      Effect.gen(function* () {
        yield* client.ask(bindFlows(), first({ opnum: flow.hold, stub: new Uint8Array(0) }))
        const call = yield* Queue.take(held)
        const writing = yield* Effect.forkChild(
          Effect.andThen(
            Effect.forEach(Array.from({ length: 400 }), () => client.write(piece)),
            client.write(last({ stub: u32(0) }), next)
          )
        )
        yield* settle
        assert.isUndefined(writing.pollUnsafe())
        yield* Effect.flip(ServerCall.complete(call, { value: 7 }))
        yield* Fiber.join(writing)
        assert.deepStrictEqual(yield* client.heard, [fault(2, disciplineError), answered])
      })
  )

  wire("slow client: stops the writer on the server, and loses nothing", (client, { held }) =>
    Effect.gen(function* () {
      yield* client.ask(bindFlows(), request({ opnum: flow.hold, stub: u32(0) }))
      const call = yield* Queue.take(held)
      yield* Stream.runDrain(Pipe.toStream(ServerCall.inPipe(call, "there")))
      client.state.reads = false
      const back = ServerCall.outPipe(call, "back")
      let pushed = 0
      const writing = yield* Effect.forkChild(
        Effect.gen(function* () {
          for (; pushed < 400; pushed++) yield* Pipe.push(back, new Uint8Array(5000).fill(pushed))
          yield* Pipe.end(back)
          yield* ServerCall.complete(call, { value: 7 })
        })
      )
      yield* settle
      assert.isUndefined(writing.pollUnsafe())
      assert.isBelow(pushed, 200)
      client.state.reads = true
      yield* TestClock.adjust("1 milli")
      yield* Fiber.join(writing)
      const stub = stubOf(yield* Effect.andThen(settle, client.ask()))
      assert.strictEqual(stub.length, 400 * 5004 + 4 + 4)
      for (let i = 0; i < 400; i++) assert.strictEqual(stub[5004 * i + 4], i & 0xff)
    }))

  wire("slow client goes away: the writer on the server ends", (client, { held }) =>
    Effect.gen(function* () {
      yield* client.ask(bindFlows(), request({ opnum: flow.hold, stub: u32(0) }))
      const call = yield* Queue.take(held)
      yield* Stream.runDrain(Pipe.toStream(ServerCall.inPipe(call, "there")))
      client.state.reads = false
      const back = ServerCall.outPipe(call, "back")
      const writing = yield* Effect.forkChild(Effect.flip(Effect.forever(Pipe.push(back, new Uint8Array(5000)))))
      yield* settle
      assert.isUndefined(writing.pollUnsafe())
      yield* client.close
      assert.strictEqual((yield* Fiber.join(writing))._tag, "InvalidAsyncHandle")
    }))
})

describe("an endpoint that is closed", () => {
  const setUp = Effect.gen(function* () {
    const world = yield* makeWorld({ server: { grace: "5 seconds" } })
    const client = yield* Effect.tap(connect, (client) => client.ask(bindFlows()))
    yield* client.ask(first({ opnum: flow.hold, stub: numbers(true, 4, 1) }))
    const call = yield* Queue.take(world.held)
    const closing = yield* Effect.forkChild(world.close)
    assert.deepStrictEqual(yield* client.heard, [{ other: "Shutdown" }])
    return { call, client, closing, world }
  })

  it.effect("endpoint closes: calls with pipes in flight finish, both ways", () =>
    Effect.gen(function* () {
      const { call, client, closing } = yield* setUp
      yield* client.ask(middle({ stub: numbers(true, 4, 2) }), last({ stub: u32(0) }))
      const there = ServerCall.inPipe(call, "there")
      assert.strictEqual(hex(concat(...(yield* Stream.runCollect(Pipe.toStream(there))))), "0100000002000000")
      yield* Stream.run(Stream.make(Uint8Array.of(1, 2, 3, 4)), Pipe.toSink(ServerCall.outPipe(call, "back")))
      yield* ServerCall.complete(call, { value: 7 })
      assert.strictEqual(hex(stubOf(yield* Effect.andThen(settle, client.ask()))), "04000000010203040000000007000000")
      yield* Fiber.join(closing)
      assert.isTrue(client.state.closed)
    }).pipe(Effect.provide(Memory.layer)))

  it.effect("endpoint closes, slow client: waits for the elements that the client has not pulled yet", () =>
    Effect.gen(function* () {
      const { call, client, closing } = yield* setUp
      yield* client.ask(last({ stub: u32(0) }))
      yield* Stream.runDrain(Pipe.toStream(ServerCall.inPipe(call, "there")))
      client.state.reads = false
      const answering = yield* Effect.forkChild(Effect.gen(function* () {
        const all = Stream.map(Stream.range(1, 400), () => new Uint8Array(5000))
        yield* Stream.run(all, Pipe.toSink(ServerCall.outPipe(call, "back")))
        yield* ServerCall.complete(call, { value: 7 })
      }))
      yield* settle
      assert.isUndefined(answering.pollUnsafe())
      assert.isUndefined(closing.pollUnsafe())
      client.state.reads = true
      yield* TestClock.adjust("1 milli")
      yield* Fiber.join(answering)
      assert.strictEqual(stubOf(yield* Effect.andThen(settle, client.ask())).length, 400 * 5004 + 8)
      yield* Fiber.join(closing)
    }).pipe(Effect.provide(Memory.layer)))

  it.effect("endpoint closes: calls that have not finished within the grace end", () =>
    Effect.gen(function* () {
      const { call, client, closing } = yield* setUp
      const pulling = yield* Effect.forkChild(
        Effect.exit(Effect.forever(Pipe.pull(ServerCall.inPipe(call, "there")))),
        { startImmediately: true }
      )
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(closing)
      const exit = yield* Fiber.join(pulling)
      assert.isTrue(Exit.isFailure(exit))
      assert.isTrue(client.state.closed)
    }).pipe(Effect.provide(Memory.layer)))
})
