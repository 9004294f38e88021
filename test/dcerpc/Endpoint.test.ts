/**
 * The endpoint against raw bytes: what is sent is spelled out PDU by PDU, and so is what has to come back.
 */
import { createHash } from "node:crypto"
import { assert, describe, it, vi } from "@effect/vitest"
import { Effect, Exit, Fiber, Metric, Queue, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Call, Observability, Server, ServerCall } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { binary } from "../../src/dcerpc/TransferSyntax.ts"
import * as Memory from "../../src/transport/Memory.ts"
import * as Uuid from "../../src/internal/uuid.ts"
import {
  accepted,
  alter,
  bare,
  bind,
  bindAck,
  bindNak,
  bound,
  boundRow,
  type Client,
  clientOf,
  coCancel,
  concat,
  connect,
  connectTo,
  data,
  element,
  fault,
  features,
  first,
  granted,
  IDouble,
  IEcho,
  IPlain,
  IThing,
  last,
  makeWorld,
  object,
  opnum,
  orphaned,
  patched,
  rejected,
  request,
  response,
  row,
  settle,
  status,
  u32,
  wire
} from "./rawClient.ts"

const single = { flags: 0 }
const ndr64: Pdu.SyntaxId = { uuid: "71710533-beba-4937-8319-b5dbef9ccc36", major: 1, minor: 0 }
const objectResolver = { ...IEcho, uuid: "99fcfec4-5260-101b-bbcb-00aa0021347a" }

/** What a request in Callisto's own syntax begins with. */
const nameHash = (method: string): Uint8Array => new Uint8Array(createHash("sha1").update(method).digest()).slice(0, 4)
const unknown = { ...IEcho, uuid: "0e0c2f3a-93a1-4a0f-8c7b-6a5c1b8f2d10" }
const unknownSyntax: Pdu.SyntaxId = { uuid: "5b1f7c9e-0d2a-4e63-9c84-1f6e0a7d3b58", major: 1, minor: 0 }
const auth = (authType: number, authLevel: number): Pdu.AuthTrailer => ({
  authType,
  authLevel,
  authContextId: 0,
  authValue: new Uint8Array(16)
})

// ----------------------------------------------------------------------------
// binding
// ----------------------------------------------------------------------------

describe("the first PDU", () => {
  row("request as the first PDU: is refused with 4", [request()], [bindNak(2, 4)], "is closed")
  row("alter_context as the first PDU: is refused with 4", [alter({})], [bindNak(2, 4)], "is closed")
  row("co_cancel as the first PDU: is refused with 4", [coCancel()], [bindNak(2, 4)], "is closed")
  row("unknown type as the first PDU: is refused with 4", [bare(99)], [bindNak(2, 4)], "is closed")
  row(
    "bind of another protocol version: is refused with 4",
    [patched(bind(), { 0: [4] })],
    [bindNak(1, 4)],
    "is closed"
  )
  row("bind of version 5.2: is refused with 4", [patched(bind(), { 1: [2] })], [bindNak(1, 4)], "is closed")
  row("bind of version 5.1: is accepted", [patched(bind(), { 1: [1] })], [bindAck], "lives")
  row("truncated bind: is refused with 4", [patched(bind(), { 24: [2] })], [bindNak(1, 4)], "is closed")
  row("bind without flags: is accepted", [bind({ exactFlags: 0 })], [bindAck], "lives")
  row("bind with all flags: is accepted", [bind({ exactFlags: 0xff })], [bindAck], "lives")
  row("bind in big-endian: is accepted", [bind({ littleEndian: false })], [bindAck], "lives")
  wire("first PDU is no bind: it is refused once, however many PDUs follow", (client) =>
    Effect.gen(function* () {
      const nonsense = new Uint8Array(40)
      yield* client.write(nonsense)
      yield* client.write(nonsense)
      assert.deepStrictEqual(yield* client.heard, [bindNak(0, 4)])
      assert.isTrue(client.state.closed)
    }))
})

describe("a bind", () => {
  boundRow("second bind: is refused with 0", {}, [bind({ callId: 2 })], [bindNak(2, 0)], "is closed")
  row("bind without contexts: is refused with 0", [bind({ contextElements: [] })], [bindNak(1, 0)], "is closed")
  row(
    "bind without transfer syntaxes: is refused with 0",
    [bind({ contextElements: [element(0, IEcho), { ...element(1, IEcho), transferSyntaxes: [] }] })],
    [bindNak(1, 0)],
    "is closed"
  )
  row(
    "bind of an unknown interface: is rejected for reason 1",
    [bind({ contextElements: [element(0, unknown)] })],
    [{ bindAck: 1, results: [rejected(1)] }],
    "lives"
  )
  row(
    "bind of another major version, or a higher minor version: is rejected for reason 1",
    [
      bind({
        contextElements: [element(0, { ...IDouble, version: [1, 0] }), element(1, { ...IDouble, version: [2, 4] })]
      })
    ],
    [{ bindAck: 1, results: [rejected(1), rejected(1)] }],
    "lives"
  )
  row(
    "bind of a lower minor version: is accepted",
    [bind({ contextElements: [element(0, { ...IDouble, version: [2, 0] })] })],
    [bindAck],
    "lives"
  )
  row(
    "bind with unknown transfer syntaxes: is rejected for reason 2",
    [bind({ contextElements: [element(0, IEcho, unknownSyntax)] })],
    [{ bindAck: 1, results: [rejected(2)] }],
    "lives"
  )
  row(
    "bind in NDR, interface without that form: is rejected for reason 2",
    [bind({ contextElements: [element(0, IPlain)] })],
    [{ bindAck: 1, results: [rejected(2)] }],
    "lives"
  )
  row(
    "bind in version 1.0 of Callisto's own syntax: rejected for reason 2, with the version that the server speaks",
    [bind({ contextElements: [element(0, IPlain, { ...binary.id, major: 1 })] })],
    [{ bindAck: 1, results: [{ ...rejected(2), transferSyntax: { ...binary.id, major: 2, minor: 0 } }] }],
    "lives"
  )
  row(
    "bind of several contexts: each has a result, in their order",
    [bind({
      contextElements: [element(3, unknown), element(1, IEcho, unknownSyntax, Pdu.ndr20), element(2, IPlain, binary.id)]
    })],
    [{ bindAck: 1, results: [rejected(1), accepted(), accepted(binary.id)] }],
    "lives"
  )
  row(
    "bind with one id for two interfaces: is refused with 0",
    [bind({ contextElements: [element(0, IEcho), element(0, IPlain, binary.id)] })],
    [bindNak(1, 0)],
    "is closed"
  )
  row(
    "bind to an unknown group: is refused with 0",
    [bind({ assocGroupId: 0x1063 })],
    [bindNak(1, 0)],
    "is closed"
  )
  wire(
    "bind: is answered with the flags of multiplexing and of signed headers alone",
    (client) =>
      Effect.gen(function* () {
        const [ack] = yield* client.ask(bind({ exactFlags: 0xff }))
        assert.strictEqual(ack!._tag === "BindAck" && ack.flags, 0x17)
        const [other] = yield* (yield* connect).ask(bind({ flags: 0 }))
        assert.strictEqual(other!._tag === "BindAck" && other.flags, 0x03)
      })
  )
  wire("bind: is answered with the name of the endpoint", (client) =>
    Effect.gen(function* () {
      const [ack] = yield* client.ask(bind())
      assert.strictEqual(ack!._tag === "BindAck" && ack.secAddr, "echo")
    }))
  wire("name of the endpoint too long: bind is answered without it", (_, { server }) =>
    Effect.gen(function* () {
      yield* Endpoint.serve(server, "ncacn_memory:[зал]")
      const plain = yield* Association.bind(IPlain, "ncacn_memory:[зал]")
      assert.strictEqual(yield* Call.invoke(plain, "Length", new Uint8Array(3)), 3)
    }))
  wire("bind refused: the PDUs behind it are discarded", (client) =>
    Effect.gen(function* () {
      const refused = yield* client.say(bind({ contextElements: [] }), alter({}), request({ callId: 3 }))
      assert.deepStrictEqual(refused, [bindNak(1, 0), fault(2, status.protocolError, { didNotExecute: true })])
      assert.isTrue(client.state.closed)
    }))
})

describe("a bind with authentication", () => {
  for (const level of [0, 1, 7, 255]) {
    row(
      `bind with authentication type 0, level ${level}: is refused with 0`,
      [bind({ authTrailer: auth(0, level) })],
      [bindNak(1, 0)],
      "is closed"
    )
  }
  for (const [type, level] of [[10, 1], [200, 0], [68, 7]] as const) {
    row(
      `bind with authentication type ${type}, unknown level ${level}: is refused with 0`,
      [bind({ authTrailer: auth(type, level) })],
      [bindNak(1, 0)],
      "is closed"
    )
  }
  for (const [type, level] of [[0, 2], [0, 6], [9, 6], [10, 2], [68, 5]] as const) {
    row(
      `bind with authentication type ${type}, level ${level}: is refused with 8`,
      [bind({ authTrailer: auth(type, level) })],
      [bindNak(1, 8)],
      "is closed"
    )
  }
  boundRow(
    "authentication in an alter_context: comes too late, and is fault 5",
    {},
    [alter({ authTrailer: auth(10, 5) })],
    [fault(2, status.accessDenied, { didNotExecute: true })],
    "is closed"
  )
  boundRow(
    "authentication in a request: is refused with 5",
    {},
    [request({ authTrailer: auth(10, 5) })],
    [fault(2, status.accessDenied)],
    "is closed"
  )
})

describe("alter_context", () => {
  boundRow(
    "alter_context: adds an interface",
    {},
    [
      alter({ contextElements: [element(1, IDouble)] }),
      request({ callId: 3, contextId: 1 }),
      request({ callId: 4, contextId: 0 })
    ],
    [
      { alterAck: 2, results: [accepted()] },
      response(3, 82, { contextId: 1 }),
      response(4, 42)
    ],
    "lives"
  )
  boundRow(
    "alter_context without flags: is accepted",
    {},
    [alter({ exactFlags: 0 })],
    [{ alterAck: 2, results: [accepted()] }],
    "lives"
  )
  boundRow(
    "alter_context with the id and the syntaxes of a context: is accepted again",
    {},
    [alter({}), request({ callId: 3 })],
    [{ alterAck: 2, results: [accepted()] }, response(3, 42)],
    "lives"
  )
  boundRow(
    "alter_context of an existing context: keeps its syntax",
    {},
    [
      alter({ contextElements: [element(0, IEcho, binary.id, Pdu.ndr20)] }),
      request({ callId: 3 })
    ],
    [{ alterAck: 2, results: [accepted()] }, response(3, 42)],
    "lives"
  )
  boundRow(
    "alter_context with a context's id for another interface: is a fault",
    {},
    [
      alter({ contextElements: [element(1, IPlain, binary.id), element(0, IDouble)] }),
      request({ callId: 3, contextId: 1 })
    ],
    [
      fault(2, status.protocolError, { didNotExecute: true }),
      fault(3, status.unknownInterface, { didNotExecute: true })
    ],
    "lives"
  )
  boundRow(
    "alter_context with a context's id in another syntax: is a fault",
    {},
    [alter({ contextElements: [element(0, IEcho, binary.id)] })],
    [fault(2, status.protocolError, { didNotExecute: true })],
    "lives"
  )
  boundRow(
    "alter_context with a context's id, unknown interface or syntax: is rejected as usual",
    {},
    [alter({ contextElements: [element(0, unknown), element(0, IEcho, unknownSyntax)] }), request({ callId: 3 })],
    [{ alterAck: 2, results: [rejected(1), rejected(2)] }, response(3, 42)],
    "lives"
  )
  boundRow(
    "a second bind for the object resolver alone: it is taken as an alter_context",
    {},
    [bind({ callId: 2, contextElements: [element(1, objectResolver)] }), request({ callId: 3 })],
    [{ alterAck: 2, results: [rejected(1)] }, response(3, 42)],
    "lives"
  )
  boundRow(
    "a second bind for the object resolver and another interface: it is refused with 0",
    {},
    [bind({ callId: 2, contextElements: [element(1, objectResolver), element(2, IDouble)] })],
    [bindNak(2, 0)],
    "is closed"
  )
  boundRow(
    "the id of a context and NDR64, which was not agreed on: it is a fault, and the connection is closed",
    {},
    [alter({ contextElements: [element(0, IEcho, ndr64)] })],
    [fault(2, status.protocolError, { didNotExecute: true })],
    "is closed"
  )
  boundRow(
    "two interfaces with NDR, and one in another syntax: the second with NDR is rejected",
    {},
    [alter({ contextElements: [element(1, IDouble), element(2, IEcho), element(3, IPlain, binary.id)] })],
    [{ alterAck: 2, results: [accepted(), rejected(2), accepted(binary.id)] }],
    "lives"
  )
  boundRow(
    "alter_context without transfer syntaxes: is a fault",
    {},
    [alter({ contextElements: [{ ...element(1, IEcho), transferSyntaxes: [] }] })],
    [fault(2, status.protocolError, { didNotExecute: true })],
    "is closed"
  )
  boundRow(
    "alter_context without contexts: is a fault",
    {},
    [alter({ contextElements: [] })],
    [fault(2, status.protocolError, { didNotExecute: true })],
    "is closed"
  )
  wire("alter_context: ignores sizes and group, and has no secondary address", (client) =>
    Effect.gen(function* () {
      const [ack] = yield* client.ask(bind())
      const [alterAck] = yield* client.ask(alter({ maxRecvFrag: 16, maxXmitFrag: 16, assocGroupId: 0xffff }))
      assert.isTrue(ack!._tag === "BindAck" && alterAck!._tag === "AlterContextResponse")
      if (ack!._tag !== "BindAck" || alterAck!._tag !== "AlterContextResponse") return
      assert.deepStrictEqual(
        [alterAck.maxRecvFrag, alterAck.maxXmitFrag, alterAck.assocGroupId, alterAck.secAddr],
        [5840, 5840, ack.assocGroupId, ""]
      )
    }))
})

describe("bind-time features", () => {
  const asking = (mask: number) => element(1, IEcho, features(mask))
  for (const [mask, bits] of [[0, 0], [1, 1], [2, 2], [3, 3], [0xff, 3]] as const) {
    row(
      `bind-time features ${mask}: are granted as ${bits}`,
      [bind({ contextElements: [element(0, IEcho), asking(mask)] }), request()],
      [{ bindAck: 1, results: [accepted(), granted(bits)] }, response(2, 42)],
      "lives"
    )
  }
  row(
    "bind-time features in big-endian: are granted alike",
    [bind({ littleEndian: false, contextElements: [element(0, IEcho), asking(2)] })],
    [{ bindAck: 1, results: [accepted(), granted(2)] }],
    "lives"
  )
  row(
    "bind-time features twice: are refused with 0",
    [bind({ contextElements: [element(0, IEcho), asking(2), asking(1)] })],
    [bindNak(1, 0)],
    "is closed"
  )
  row(
    "bind-time features: make no context",
    [bind({ contextElements: [element(0, IEcho), asking(2)] }), request({ contextId: 1 })],
    [{ bindAck: 1, results: [accepted(), granted(2)] }, fault(2, status.unknownInterface, { didNotExecute: true })],
    "lives"
  )
})

describe("the size of fragments", () => {
  const agreed = (fields: Parameters<typeof bind>[0]) =>
    Effect.map(
      Effect.flatMap(connect, (client) => client.ask(bind(fields))),
      ([ack]) => ack?._tag === "BindAck" ? [ack.maxXmitFrag, ack.maxRecvFrag] : []
    )
  const contextElements = [element(0, IPlain, binary.id)]
  for (
    const [xmit, recv, size] of [
      [5840, 5840, 5840],
      [4280, 5840, 4280],
      [5840, 4280, 4280],
      [65535, 65535, 5840],
      [0, 0, 2048],
      [1432, 1432, 2048],
      [2055, 5000, 2048],
      [2057, 5000, 2056]
    ] as const
  ) {
    wire(`fragment sizes ${xmit} and ${recv} offered: ${size} in both directions`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* agreed({ maxXmitFrag: xmit, maxRecvFrag: recv }), [size, size])
      }))
  }
  for (const [offer, size] of [[65535, 65528], [65528, 65528], [5840, 5840], [100, 2048]] as const) {
    wire(`fragment size ${offer} offered with Callisto's own syntax: ${size}`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* agreed({ maxXmitFrag: offer, maxRecvFrag: offer, contextElements }), [size, size])
      }))
  }

  const sizes = (client: Client, len: number) =>
    Effect.map(
      client.ask(request({ opnum: opnum.sourceData, stub: u32(len) })),
      (pdus) => pdus.map((pdu) => pdu._tag === "Response" ? pdu.stub.length + 24 : -1)
    )
  wire("agreed fragment size: replies keep it", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bind({ maxRecvFrag: 4280 }))
      assert.deepStrictEqual(yield* sizes(client, 9996), [4280, 4280, 1512])
    }))
  wire(
    "fragment size of replies: no more than the client receives, nor less than it must",
    () =>
      Effect.gen(function* () {
        const [small, tiny] = [yield* bound({ maxRecvFrag: 1500 }), yield* bound({ maxRecvFrag: 0 })]
        assert.isAtMost(Math.max(...yield* sizes(small, 9996)), 1500)
        assert.isAtMost(Math.max(...yield* sizes(tiny, 9996)), 1432)
      })
  )
  boundRow(
    "received fragments, whatever was agreed: 5840 bytes are accepted",
    { maxXmitFrag: 2048, maxRecvFrag: 2048 },
    [request({ opnum: opnum.echoData, stub: data(5840 - 24 - 8) })],
    [response(2, undefined), response(2, undefined), response(2, undefined)],
    "lives"
  )
  boundRow(
    "received fragments: one byte more is refused",
    {},
    [request({ opnum: opnum.echoData, stub: data(5841 - 24 - 8) })],
    [fault(2, status.protocolError)],
    "is closed"
  )
  boundRow(
    "received fragments: the object counts",
    {},
    [request({ opnum: opnum.echoData, object, stub: data(5841 - 40 - 8) })],
    [fault(2, status.protocolError)],
    "is closed"
  )
  row(
    "received fragments with Callisto's own syntax: 65528 bytes are accepted",
    [
      bind({ contextElements }),
      request({ stub: concat(nameHash("Length"), new Uint8Array(65528 - 28)) }),
      request({ stub: new Uint8Array(65529 - 24), callId: 3 })
    ],
    [
      { bindAck: 1, results: [accepted(binary.id)] },
      fault(2, status.badStubData, { didNotExecute: true }),
      fault(3, status.protocolError)
    ],
    "is closed"
  )
  row(
    "fragment of a bind: 65535 bytes are accepted",
    [bind({
      contextElements: [
        element(0, IEcho),
        ...Array.from({ length: 12 }, (_, i) =>
          element(
            i + 1,
            IDouble,
            ...Array.from({ length: 255 }, () => unknownSyntax)
          ))
      ]
    })],
    [{ bindAck: 1, results: [accepted(), ...Array.from({ length: 12 }, () => rejected(2))] }],
    "lives"
  )
})

describe("an association group", () => {
  const group = (client: Client, fields: Parameters<typeof bind>[0] = {}) =>
    Effect.map(client.ask(bind(fields)), ([ack]) => ack?._tag === "BindAck" ? ack.assocGroupId : ack)
  wire("bind without a group: makes one", (client) =>
    Effect.gen(function* () {
      const id = yield* group(client)
      assert.isAbove(id as number, 0)
      assert.notStrictEqual(yield* group(yield* connect), id)
    }))
  wire(
    "bind with a group's id: joins it; contexts are not shared, and each call knows its own peer",
    (client, { peers }) =>
      Effect.gen(function* () {
        const id = yield* group(client) as Effect.Effect<number>
        const second = yield* connect
        assert.strictEqual(yield* group(second, { assocGroupId: id, contextElements: [element(1, IEcho)] }), id)
        assert.deepStrictEqual(yield* second.say(request()), [
          fault(2, status.unknownInterface, { didNotExecute: true })
        ])
        yield* client.say(request())
        yield* second.say(request({ contextId: 1 }))
        assert.notStrictEqual(peers[0], peers[1])
        yield* client.close
        yield* settle
        assert.strictEqual(yield* group(yield* connect, { assocGroupId: id }), id)
      })
  )
  wire(
    "the random source repeats an id or gives 0: the next group has another id",
    (client, { tables }) =>
      Effect.gen(function* () {
        const [taken] = tables.groups.keys()
        const drawn = [taken!, 0, 7, 7, 8]
        yield* Effect.acquireRelease(
          Effect.sync(() => vi.spyOn(crypto, "getRandomValues")),
          (spy) => Effect.sync(() => spy.mockRestore())
        ).pipe(Effect.map((spy) =>
          spy.mockImplementation((array) => {
            assert.instanceOf(array, Uint32Array)
            array[0] = drawn.shift()!
            return array
          })
        ))
        assert.strictEqual(yield* group(client), 7)
        assert.strictEqual(yield* group(yield* connect), 8)
        assert.deepStrictEqual(drawn, [])
      })
  )
  wire("last connection of a group ends: the group ends", (client, { tables }) =>
    Effect.gen(function* () {
      const id = yield* group(client) as Effect.Effect<number>
      assert.strictEqual(tables.groups.size, 2)
      yield* client.close
      yield* settle
      assert.strictEqual(tables.groups.size, 1)
      const late = yield* connect
      assert.deepStrictEqual(yield* late.say(bind({ assocGroupId: id })), [bindNak(1, 0)])
    }))
})

// ----------------------------------------------------------------------------
// requests
// ----------------------------------------------------------------------------

describe("a request", () => {
  boundRow(
    "request on an unknown context: is a fault, and the connection lives",
    {},
    [request({ contextId: 9 }), request({ callId: 3 })],
    [fault(2, status.unknownInterface, { didNotExecute: true }), response(3, 42)],
    "lives"
  )
  boundRow(
    "request of an unknown opnum: is a fault that names the context, and the connection lives",
    { contextElements: [element(7, IEcho)] },
    [request({ contextId: 7, opnum: 11 }), request({ contextId: 7, opnum: 0xffff }), request({ contextId: 7 })],
    [
      fault(2, status.outOfRange, { contextId: 7, didNotExecute: true }),
      fault(2, status.outOfRange, { contextId: 7, didNotExecute: true }),
      response(2, 42, { contextId: 7 })
    ],
    "lives"
  )
  boundRow(
    "request on a context above 255: is answered with its low byte",
    { contextElements: [element(0x102, IEcho)] },
    [request({ contextId: 0x102 })],
    [response(2, 42, { contextId: 2 })],
    "lives"
  )
  boundRow(
    "request with a truncated stub: is a fault, and did not execute",
    {},
    [
      request({ stub: new Uint8Array(3) }),
      request({ opnum: opnum.echoData, stub: concat(u32(9), u32(9), u32(1)) }),
      request({ opnum: opnum.echoData, stub: concat(u32(5), u32(4), u32(1)) }),
      request()
    ],
    [
      fault(2, status.badStubData, { didNotExecute: true }),
      fault(2, status.badStubData, { didNotExecute: true }),
      fault(2, status.invalidBound, { didNotExecute: true }),
      response(2, 42)
    ],
    "lives"
  )
  boundRow(
    "request with a verification trailer behind its stub: is served",
    {},
    [request({
      stub: Uint8Array.of(41, 0, 0, 0, 0x8a, 0xe3, 0x13, 0x71, 0x02, 0xf4, 0x36, 0x71, 1, 0x40, 4, 0, 1, 0, 0, 0)
    })],
    [response(2, 42)],
    "lives"
  )
  boundRow(
    "request in big-endian: is read as such",
    { littleEndian: false },
    [
      request({ littleEndian: false, callId: 0x01020304 }),
      first({ littleEndian: false, stub: Uint8Array.of(0, 0), callId: 3 }),
      last({ littleEndian: false, stub: Uint8Array.of(1, 0), callId: 3 })
    ],
    [response(0x01020304, 42), response(3, 257)],
    "lives"
  )
  for (const allocHint of [0, 1, 0xffffffff]) {
    boundRow(
      `request in one fragment, allocation hint ${allocHint}: is served`,
      {},
      [request({ allocHint })],
      [response(2, 42)],
      "lives"
    )
  }
  for (const callId of [0, 0xffffffff]) {
    boundRow(`request with the id ${callId}: is served`, {}, [request({ callId })], [response(callId, 42)], "lives")
  }
  boundRow(
    "request with an object: goes to the manager of that object, or else to the one for all",
    { contextElements: [element(0, IDouble)] },
    [request({ object }), request({ object: IEcho.uuid }), request()],
    [response(2, 123), response(2, 82), response(2, 82)],
    "lives"
  )
  boundRow(
    "request for an object that nobody serves: is a fault",
    { contextElements: [element(4, IThing)] },
    [request({ contextId: 4, object }), request({ contextId: 4, object: IEcho.uuid }), request({ contextId: 4 })],
    [
      response(2, undefined, { contextId: 4 }),
      fault(2, status.unsupportedType, { contextId: 4, didNotExecute: true }),
      fault(2, status.unsupportedType, { contextId: 4, didNotExecute: true })
    ],
    "lives"
  )
  wire("request with an object: the manager is told of it, in both byte orders", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bind())
      for (const littleEndian of [true, false]) {
        const [reply] = yield* client.ask(
          request({ opnum: opnum.object, object, littleEndian, stub: new Uint8Array(0) })
        )
        assert.strictEqual(reply!._tag === "Response" && Uuid.read(reply.stub, 0, true), object)
      }
    }))
  boundRow(
    "request aborted: is a fault with the code",
    {},
    [request({ opnum: opnum.abort })],
    [fault(2, 5001)],
    "lives"
  )
  boundRow(
    "request whose manager dies: is a fault that says no more",
    {},
    [request({ opnum: opnum.die }), request()],
    [fault(2, status.unspecified), response(2, 42)],
    "lives"
  )
  boundRow(
    "request whose results can't be written: is a fault",
    {},
    [request({ opnum: opnum.spoil, stub: u32(0) }), request({ opnum: opnum.spoil }), request()],
    [fault(2, status.badStubData), fault(2, status.badStubData), response(2, 42)],
    "lives"
  )
  wire("request with large results: is answered in fragments", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bind({ maxRecvFrag: 2048 }))
      const pdus = yield* client.ask(request({ opnum: opnum.sourceData, stub: u32(5000) }))
      const fragments = pdus.filter((pdu) => pdu._tag === "Response")
      assert.deepStrictEqual(fragments.map(({ flags }) => flags), [1, 0, 2])
      assert.deepStrictEqual(fragments.map(({ allocHint }) => allocHint), [5004, 5004 - 2016, 5004 - 4032])
      assert.deepStrictEqual(
        concat(...fragments.map(({ stub }) => stub)),
        concat(u32(5000), new Uint8Array(5000).fill(7))
      )
    }))
  for (
    const [what, stub] of [
      ["of another method", concat(nameHash("Refuse"), new Uint8Array(20))],
      ["of version 1.0", new Uint8Array(20)]
    ] as const
  ) {
    row(
      `request in Callisto's own syntax, ${what}: 1745, and nothing runs`,
      [bind({ contextElements: [element(0, IPlain, binary.id)] }), request({ opnum: 0, stub })],
      [{ bindAck: 1, results: [accepted(binary.id)] }, fault(2, 0x1c010002, { didNotExecute: true })],
      "lives"
    )
  }
  wire("request aborted, in Callisto's own syntax: the response has the fields", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bind({ contextElements: [element(0, IPlain, binary.id)] }))
      yield* client.ask(request({ opnum: 1, stub: concat(nameHash("Refuse"), Uint8Array.of(0)) }))
      const [reply] = yield* client.ask(coCancel())
      assert.isTrue(reply!._tag === "Response")
      if (reply!._tag !== "Response") return
      assert.strictEqual(reply.cancelCount, 1)
      assert.deepStrictEqual(reply.stub.slice(0, 5), concat(Uint8Array.of(1), u32(5002)))
      assert.include(String.fromCharCode(...reply.stub), "asked to")
    }))
})

describe("a maybe call", () => {
  wire("maybe call: is not answered", (client, { told }) =>
    Effect.gen(function* () {
      yield* client.ask(bind())
      assert.deepStrictEqual(yield* client.say(request({ opnum: opnum.tell, flags: Pdu.flags.maybe })), [])
      assert.strictEqual(yield* Queue.take(told), 41)
      assert.deepStrictEqual(yield* client.say(request({ callId: 3, flags: Pdu.flags.maybe })), [])
    }))
  wire("maybe call, one call at a time: the next call does not wait for it", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bind(single))
      const told = yield* client.say(request({ opnum: opnum.tell, flags: Pdu.flags.maybe }), request({ callId: 3 }))
      assert.deepStrictEqual(told, [response(3, 42)])
    }))
})

describe("several calls", () => {
  const keep = (callId: number) => request({ callId, opnum: opnum.keep })
  wire(
    "multiplexing agreed: calls run side by side, and end in any order",
    (client, { kept }) =>
      Effect.gen(function* () {
        yield* client.ask(bind())
        assert.deepStrictEqual(yield* client.say(keep(2), keep(3), request({ callId: 4 })), [response(4, 42)])
        const [second, third] = [yield* Queue.take(kept), yield* Queue.take(kept)]
        yield* ServerCall.complete(third, { value: 3 })
        yield* ServerCall.complete(second, { value: 2 })
        assert.deepStrictEqual(yield* client.heard, [response(3, 3), response(2, 2)])
      })
  )
  wire(
    "multiplexing not agreed: the connection carries one call after another",
    (client, { kept }) =>
      Effect.gen(function* () {
        yield* client.ask(bind(single))
        yield* client.say(keep(2))
        yield* ServerCall.complete(yield* Queue.take(kept), { value: 2 })
        assert.deepStrictEqual(yield* client.say(request({ callId: 3 })), [response(2, 2), response(3, 42)])
        yield* client.say(keep(4))
        assert.deepStrictEqual(yield* client.say(request({ callId: 5 })), [fault(5, status.protocolError)])
        assert.isTrue(client.state.closed)
        assert.strictEqual(yield* ServerCall.awaitEnd(yield* Queue.take(kept)), "Disconnected")
      })
  )
  boundRow(
    "two calls at once with one id: are refused",
    {},
    [request({ opnum: opnum.never }), request()],
    [fault(2, status.protocolError)],
    "is closed"
  )
  boundRow(
    "two calls in turn with one id: are served",
    {},
    [request(), request({ stub: u32(1) })],
    [response(2, 42), response(2, 2)],
    "lives"
  )
})

describe("fragments", () => {
  const echo = { opnum: opnum.echoData }
  boundRow(
    "fragments one by one: are one request",
    {},
    [
      first({ stub: u32(41).subarray(0, 1) }),
      request({ exactFlags: 0, stub: u32(0).subarray(0, 2) }),
      last({ stub: Uint8Array.of(0) })
    ],
    [response(2, 42)],
    "lives"
  )
  boundRow(
    "fragments all at once: are one request",
    {},
    [request({ ...echo, stub: data(1000), limit: 200 })],
    [response(2, undefined)],
    "lives"
  )
  boundRow(
    "empty fragments: are accepted",
    {},
    [first({ stub: new Uint8Array(0) }), request({ exactFlags: 0, stub: new Uint8Array(0) }), last()],
    [response(2, 42)],
    "lives"
  )
  for (const [name, fields] of [["with", {}], ["without", single]] as const) {
    boundRow(
      `first fragment missing, ${name} multiplexing: is a fault`,
      fields,
      [last()],
      [fault(2, status.protocolError)],
      "is closed"
    )
    boundRow(
      `fragment of another call inside a request, ${name} multiplexing: is a fault`,
      fields,
      [first(), last({ callId: 3 })],
      [fault(3, status.protocolError)],
      "is closed"
    )
  }
  boundRow(
    "new request inside another, with multiplexing: is a fault that names the newer one",
    {},
    [first(), request({ callId: 3 })],
    [fault(3, status.protocolError)],
    "is closed"
  )
  boundRow(
    "new request inside another, without multiplexing: is a fault that names the older one",
    single,
    [first(), request({ callId: 3 })],
    [fault(2, status.protocolError)],
    "is closed"
  )
  boundRow(
    "new request while a call executes, without multiplexing: is a fault",
    single,
    [request({ opnum: opnum.never }), first({ callId: 3 })],
    [fault(3, status.protocolError)],
    "is closed"
  )
  boundRow(
    "fragment of another type: is a fault of the request",
    {},
    [first(), alter({ exactFlags: Pdu.flags.lastFrag, contextElements: [element(1, IDouble)] })],
    [fault(2, status.protocolError, { didNotExecute: true })],
    "is closed"
  )
  boundRow(
    "fragment of the server's type: is a fault of the request",
    {},
    [first(), patched(last(), { 2: [2] })],
    [fault(2, status.protocolError, { didNotExecute: true })],
    "is closed"
  )
  boundRow(
    "fragment in another byte order: is a fault of the request",
    {},
    [first(), last({ littleEndian: false })],
    [fault(2, status.protocolError, { didNotExecute: true })],
    "is closed"
  )
  boundRow(
    "later fragment with another context, opnum or object: the first one's count",
    {},
    [
      first({ stub: Uint8Array.of(41, 0) }),
      last({ exactFlags: 0x82, contextId: 9, opnum: 99, object, stub: Uint8Array.of(0, 0) })
    ],
    [response(2, 42)],
    "lives"
  )
  boundRow(
    "request in fragments: an alter_context may come between them, but nothing of the same call",
    {},
    [first(), alter({ callId: 9, contextElements: [element(1, IDouble)] }), last({ stub: new Uint8Array(0) })],
    [{ alterAck: 9, results: [accepted()] }, response(2, 42)],
    "lives"
  )
  boundRow(
    "fragments above the size of a request: are fault 5",
    {},
    [first({ ...echo, stub: data(60) }), last({ stub: new Uint8Array(40) })],
    [fault(2, status.accessDenied)],
    "is closed",
    { maximumRequest: 100 }
  )
  boundRow(
    "fragments that announce more than the size of a request: are fault 5",
    {},
    [first({ allocHint: 101 })],
    [fault(2, status.accessDenied)],
    "is closed",
    { maximumRequest: 100 }
  )
  boundRow(
    "fragments that announce 4 MiB: are accepted, and not a byte more",
    {},
    [first({ allocHint: 0x400000 }), last({ stub: new Uint8Array(0) }), first({ callId: 3, allocHint: 0x400001 })],
    [response(2, 42), fault(3, status.accessDenied)],
    "is closed"
  )
  boundRow(
    "single fragment above the size of a request: is refused",
    {},
    [request({ ...echo, stub: data(92) }), request({ ...echo, stub: data(93) })],
    [response(2, undefined), fault(2, status.accessDenied)],
    "is closed",
    { maximumRequest: 100 }
  )
})

describe("on a bound connection", () => {
  for (
    const [name, ptype] of [["response", 2], ["fault", 3], ["bind_ack", 12], ["bind_nak", 13], [
      "alter_context_resp",
      15
    ], ["shutdown", 17]] as const
  ) {
    boundRow(
      `${name} on a bound connection: is a fault`,
      {},
      [patched(new Uint8Array(64), { 0: [...bare(ptype)], 8: [64] })],
      [fault(2, status.protocolError, { didNotExecute: true })],
      "is closed"
    )
  }
  for (const ptype of [1, 4, 5, 6, 7, 8, 9, 10, 20, 21, 255]) {
    boundRow(
      `type ${ptype} on a bound connection: is a fault`,
      {},
      [bare(ptype)],
      [fault(2, status.protocolError, { didNotExecute: true })],
      "is closed"
    )
  }
  boundRow(
    "auth3 on a bound connection: is a fault",
    {},
    [concat(patched(bare(16), { 8: [44], 10: [16] }), new Uint8Array(28))],
    [fault(2, status.protocolError, { didNotExecute: true })],
    "is closed"
  )
})

// ----------------------------------------------------------------------------
// cancels and orphans
// ----------------------------------------------------------------------------

describe("a cancel", () => {
  const never = request({ opnum: opnum.never })
  const keep = request({ opnum: opnum.keep })
  boundRow(
    "pending cancel in a first fragment: is a fault 1725",
    {},
    [request({ flags: Pdu.flags.pendingCancel })],
    [fault(2, status.noCallActive, { didNotExecute: true })],
    "is closed"
  )
  boundRow(
    "pending cancel in a later fragment: is ignored",
    {},
    [first(), last({ exactFlags: Pdu.flags.lastFrag | Pdu.flags.pendingCancel, stub: new Uint8Array(0) })],
    [response(2, 42)],
    "lives"
  )
  boundRow("cancel of an unknown call: is ignored", {}, [coCancel(99), request()], [response(2, 42)], "lives")
  boundRow(
    "cancel of a running call: interrupts it, and the fault counts the cancel",
    {},
    [never, coCancel(), request({ callId: 3 })],
    [fault(2, status.cancelled, { cancels: 1 }), response(3, 42)],
    "lives"
  )
  wire("cancels: each is counted, up to 255", (client, { kept }) =>
    Effect.gen(function* () {
      yield* client.ask(bind())
      yield* client.say(keep, ...Array.from({ length: 300 }, () => coCancel()))
      yield* ServerCall.complete(yield* Queue.take(kept), { value: 1 })
      assert.deepStrictEqual(yield* client.heard, [response(2, 1, { cancels: 255 })])
    }))
  wire("cancel of a cooperative manager: the manager answers", (client, { kept }) =>
    Effect.gen(function* () {
      yield* client.ask(bind())
      yield* client.say(keep, coCancel())
      const call = yield* Queue.take(kept)
      assert.isTrue(yield* ServerCall.testCancel(call))
      yield* ServerCall.complete(call, { value: 1 })
      assert.deepStrictEqual(yield* client.heard, [response(2, 1, { cancels: 1 })])
    }), { cancellation: "cooperative" })
  wire(
    "cancel in the middle of a request: the manager sees it, and nothing else happens",
    (client, { kept }) =>
      Effect.gen(function* () {
        yield* client.ask(bind())
        const early = (
          callId: number,
          opnum: number
        ) => [first({ callId, opnum }), coCancel(callId), last({ callId, stub: new Uint8Array(0) })]
        assert.deepStrictEqual(yield* client.say(...early(2, opnum.keep)), [])
        const call = yield* Queue.take(kept)
        assert.isTrue(yield* ServerCall.testCancel(call))
        yield* ServerCall.run(call, Effect.as(Effect.yieldNow, { value: 1 }))
        assert.deepStrictEqual(yield* client.heard, [response(2, 1)])
        assert.deepStrictEqual(yield* client.say(...early(3, opnum.never)), [])
        assert.deepStrictEqual(yield* client.say(coCancel(3)), [fault(3, status.cancelled, { cancels: 1 })])
        assert.deepStrictEqual(yield* client.say(...early(4, opnum.addOne)), [response(4, 42)])
        yield* client.say(first({ callId: 5, opnum: opnum.keep }), last({ callId: 5 }))
        const next = yield* Queue.take(kept)
        assert.isFalse(yield* ServerCall.testCancel(next))
        yield* ServerCall.complete(next, { value: 5 })
      })
  )
  wire("cancel of one call: the other calls go on", (client, { kept, nextInterrupted }) =>
    Effect.gen(function* () {
      yield* client.ask(bind())
      yield* client.say(never, request({ callId: 3, opnum: opnum.keep }))
      assert.deepStrictEqual(yield* client.say(coCancel()), [fault(2, status.cancelled, { cancels: 1 })])
      assert.strictEqual(yield* nextInterrupted, "Never")
      yield* ServerCall.complete(yield* Queue.take(kept), { value: 3 })
      assert.deepStrictEqual(yield* client.heard, [response(3, 3)])
    }))
})

describe("an orphan", () => {
  boundRow("orphan of an unknown call: is ignored", {}, [orphaned(99), request()], [response(2, 42)], "lives")
  wire(
    "orphan of a running call: interrupts it, and nothing is answered",
    (client, { kept, nextInterrupted, server }) =>
      Effect.gen(function* () {
        yield* client.ask(bind())
        yield* client.say(request({ opnum: opnum.never }), request({ callId: 3, opnum: opnum.keep }))
        assert.deepStrictEqual(yield* client.say(orphaned(2), orphaned(3)), [])
        assert.strictEqual(yield* nextInterrupted, "Never")
        const call = yield* Queue.take(kept)
        assert.strictEqual(yield* ServerCall.awaitEnd(call), "Orphaned")
        assert.strictEqual((yield* Effect.flip(ServerCall.complete(call, { value: 1 })))._tag, "InvalidAsyncHandle")
        assert.strictEqual((yield* Server.calls(server)).length, 1)
        assert.deepStrictEqual(yield* client.say(request()), [response(2, 42)])
      })
  )
  wire("orphan, one call at a time: the connection is free", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bind(single))
      assert.deepStrictEqual(
        yield* client.say(request({ opnum: opnum.never }), orphaned(), request({ callId: 3 })),
        [response(3, 42)]
      )
    }))
  boundRow(
    "orphan in the middle of a request: does not end the request",
    {},
    [first(), orphaned(), last({ stub: new Uint8Array(0) })],
    [response(2, 42)],
    "lives"
  )
  boundRow(
    "orphan in the middle of a request: makes no room for another one",
    {},
    [first(), orphaned(), first({ callId: 3 })],
    [fault(3, status.protocolError)],
    "is closed"
  )
})

describe("a client that is gone", () => {
  wire(
    "client gone: each of its calls is disconnected",
    (client, { kept, nextInterrupted }) =>
      Effect.gen(function* () {
        yield* client.ask(bind())
        yield* client.say(request({ opnum: opnum.never }), request({ callId: 3, opnum: opnum.keep }))
        yield* client.close
        assert.strictEqual(yield* ServerCall.awaitEnd(yield* Queue.take(kept)), "Disconnected")
        assert.strictEqual(yield* nextInterrupted, "Never")
      })
  )
})

// ----------------------------------------------------------------------------
// limits
// ----------------------------------------------------------------------------

describe("the limit", () => {
  wire(
    "limit of connections: counts one that does not hear its last words, for a second",
    (client, { tables }) =>
      Effect.gen(function* () {
        yield* client.ask(bind())
        client.state.reads = false
        yield* client.write(request())
        yield* settle
        yield* client.write(request({ opnum: opnum.sourceData, stub: u32(300_000) }))
        yield* settle
        const [, served] = [...tables.connections]
        served!.move("truncated")
        const early = yield* connect
        yield* settle
        assert.isTrue(early.state.closed)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* (yield* connect).say(bind()), [bindAck])
      }),
    { maximumConnections: 2 }
  )
  boundRow(
    "limit of contexts: one more is rejected for reason 3, and the others stay",
    { contextElements: [element(0, IEcho)] },
    [
      alter({ contextElements: [element(1, IDouble)] }),
      alter({ contextElements: [element(2, IDouble)] }),
      alter({ contextElements: [element(0, IEcho)] }),
      alter({ contextElements: [element(3, IEcho), element(4, unknown)] }),
      request({ callId: 3, contextId: 1 }),
      request({ callId: 4, contextId: 2 })
    ],
    [
      { alterAck: 2, results: [accepted()] },
      { alterAck: 2, results: [rejected(3)] },
      { alterAck: 2, results: [accepted()] },
      { alterAck: 2, results: [rejected(3), rejected(1)] },
      response(3, 82, { contextId: 1 }),
      fault(4, status.unknownInterface, { didNotExecute: true })
    ],
    "lives",
    { maximumContexts: 2 }
  )
  const calls = [2, 3, 4].map((callId) => request({ callId, contextId: 0, opnum: opnum.never }))
  boundRow(
    "limit of calls on a connection: one more is fault 1723, until another one ends",
    {},
    [...calls, request({ callId: 5 }), coCancel(3), request({ callId: 6 })],
    [
      fault(4, status.tooBusy, { didNotExecute: true }),
      fault(5, status.tooBusy, { didNotExecute: true }),
      fault(3, status.cancelled, { cancels: 1 }),
      response(6, 42)
    ],
    "lives",
    { maximumCalls: 2 }
  )
  boundRow(
    "limit of calls in total: counts all connections, and leaves as many for others as a connection has",
    {},
    [...calls, coCancel(2), request({ callId: 6 })],
    [
      fault(4, status.tooBusy, { didNotExecute: true }),
      fault(2, status.cancelled, { cancels: 1 }),
      response(6, 42)
    ],
    "lives",
    { maximumTotalCalls: 4 }
  )
  boundRow(
    "limit of the server's calls: one more is fault 1723",
    {},
    calls,
    [fault(4, status.tooBusy, { didNotExecute: true })],
    "lives",
    { server: { maximumCalls: 3 } }
  )
  const source = request({ opnum: opnum.sourceData, stub: u32(300_000) })
  /** The client reads no more, apart from what it waits for already. */
  const stopReading = (client: Client) =>
    Effect.suspend(() => {
      client.state.reads = false
      return Effect.andThen(client.write(request()), settle)
    })
  wire(
    "limit of bytes for a client that does not read: is seldom reached, since no more requests are read",
    (client, { tables }) =>
      Effect.gen(function* () {
        yield* client.ask(bind())
        yield* stopReading(client)
        yield* client.write(source)
        yield* settle
        yield* client.write(source, source, source, source)
        yield* settle
        const [, served] = [...tables.connections]
        assert.isBelow(served!.outbox.queuedUnsafe(), 310_000)
        client.state.reads = true
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* client.heard).length, 1 + 5 * 52)
      })
  )
  wire(
    "ten requests in one chunk, each with a reply of 300 kB: each is dispatched when there is room, and all are answered",
    (client, { tables }) =>
      Effect.gen(function* () {
        yield* client.ask(bind())
        yield* stopReading(client)
        yield* client.write(...Array.from({ length: 10 }, () => source))
        yield* settle
        const [, served] = [...tables.connections]
        assert.isBelow(served!.outbox.queuedUnsafe(), 310_000)
        client.state.reads = true
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.strictEqual((yield* client.heard).length, 1 + 10 * 52)
      }),
    { maximumQueued: 1_000_000 }
  )
  wire(
    "limit of bytes: counts replies that come while nothing is read, too",
    (client, { kept, tables }) =>
      Effect.gen(function* () {
        yield* client.ask(bind())
        yield* client.say(...[3, 4, 5, 6].map((callId) => request({ callId, opnum: opnum.keep })))
        yield* Queue.take(kept)
        yield* stopReading(client)
        yield* client.write(source)
        yield* settle
        assert.strictEqual(tables.connections.size, 2)
        yield* ServerCall.complete(yield* Queue.take(kept), { value: 1 })
        yield* ServerCall.complete(yield* Queue.take(kept), { value: 1 })
        yield* settle
        assert.strictEqual(tables.connections.size, 2)
        yield* TestClock.adjust("30 seconds")
        assert.strictEqual(tables.connections.size, 1)
        assert.strictEqual(yield* ServerCall.awaitEnd(yield* Queue.take(kept)), "Disconnected")
      }),
    { maximumQueued: 301_300 }
  )
  wire("no bind in time: the connection is closed", (client) =>
    Effect.gen(function* () {
      const slow = yield* connect
      yield* client.ask(bind())
      yield* slow.say(bind().subarray(0, 40))
      yield* TestClock.adjust("9 seconds")
      assert.isFalse(slow.state.closed)
      yield* slow.say(bind().subarray(40, 50))
      yield* TestClock.adjust("1 second")
      assert.isTrue(slow.state.closed)
      assert.deepStrictEqual(yield* client.say(request()), [response(2, 42)])
    }))
  wire("bindTimeout: is taken from the options", (client) =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 second")
      assert.isTrue(client.state.closed)
    }), { bindTimeout: "1 second" })
  wire("silence without calls: the connection is closed", (client, { tables }) =>
    Effect.gen(function* () {
      yield* client.ask(bind())
      yield* TestClock.adjust("50 seconds")
      yield* client.say(coCancel(99))
      yield* TestClock.adjust("59 seconds")
      assert.isFalse(client.state.closed)
      yield* TestClock.adjust("1 second")
      assert.isTrue(client.state.closed)
      assert.strictEqual(tables.connections.size, 1)
    }), { idleTimeout: "1 minute" })
  wire(
    "idle time: begins with the connection",
    () =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 hour")
        const late = yield* connect
        yield* TestClock.adjust("59 seconds")
        assert.isFalse(late.state.closed)
        yield* TestClock.adjust("1 second")
        assert.isTrue(late.state.closed)
      }),
    { idleTimeout: "1 minute", bindTimeout: Infinity }
  )
  wire("idle time: begins again when the last call has ended", (client, { kept }) =>
    Effect.gen(function* () {
      yield* client.ask(bind())
      yield* client.say(request({ opnum: opnum.keep }))
      yield* TestClock.adjust("90 seconds")
      yield* ServerCall.complete(yield* Queue.take(kept), { value: 1 })
      assert.deepStrictEqual(yield* client.heard, [response(2, 1)])
      yield* TestClock.adjust("59 seconds")
      assert.isFalse(client.state.closed)
      yield* TestClock.adjust("1 second")
      assert.isTrue(client.state.closed)
    }), { idleTimeout: "1 minute" })
})

// ----------------------------------------------------------------------------
// shutdown
// ----------------------------------------------------------------------------

describe("an endpoint in several places", () => {
  const places = ["ncacn_memory:[echo]", "ncacn_memory:[elsewhere]"] as const

  it.effect("endpoint in several places: each serves the same server, in groups of its own", () =>
    Effect.gen(function* () {
      const { endpoint, tables } = yield* makeWorld()
      yield* Endpoint.listen(endpoint, places[1])
      const [one, other] = [yield* connectTo(places[0]), yield* connectTo(places[1])]
      assert.deepInclude((yield* one.ask(bind()))[0], { secAddr: "echo" })
      assert.deepInclude((yield* other.ask(bind()))[0], { secAddr: "elsewhere" })
      assert.strictEqual(tables.groups.size, 2)
    }).pipe(Effect.provide(Memory.layer)))

  it.effect("scope of one place closes: it accepts no more connections, and those that are there go on", () =>
    Effect.gen(function* () {
      const { endpoint } = yield* makeWorld()
      const scope = yield* Scope.make()
      yield* Scope.provide(Endpoint.listen(endpoint, places[1]), scope)
      const client = yield* connectTo(places[1])
      yield* client.ask(bind())
      yield* Scope.close(scope, Exit.void)
      assert.deepInclude(yield* Effect.flip(connectTo(places[1])), { _tag: "RpcTransportError", status: 1722 })
      assert.strictEqual((yield* client.ask(request()))[0]!._tag, "Response")
    }).pipe(Effect.provide(Memory.layer)))

  it.effect("place in use: is refused with 1740; unknown protocol sequence: with 1703", () =>
    Effect.gen(function* () {
      const { endpoint } = yield* makeWorld()
      const refused = (place: string) => Effect.flip(Endpoint.listen(endpoint, place))
      assert.deepInclude(yield* refused(places[0]), { _tag: "CantCreateEndpoint", status: 1740 })
      assert.deepInclude(yield* refused("ncalrpc:[echo]"), { _tag: "CantCreateEndpoint", status: 1703 })
    }).pipe(Effect.provide(Memory.layer)))

  it.effect("connection given to the endpoint: is served until its end or that of the endpoint", () =>
    Effect.gen(function* () {
      const { close, endpoint, tables } = yield* makeWorld()
      const serve = Effect.gen(function* () {
        const [near, far] = yield* Memory.makePair
        const served = yield* Effect.forkScoped(Endpoint.handle(endpoint, far))
        const client = yield* clientOf(near, yield* Scope.fork(yield* Effect.scope))
        assert.deepStrictEqual(yield* client.say(bind()), [bindAck])
        return { client, served }
      })
      const leaves = yield* serve
      yield* leaves.client.close
      yield* Fiber.join(leaves.served)
      assert.strictEqual(tables.connections.size, 0)

      const stays = yield* serve
      yield* close
      yield* Fiber.join(stays.served)
      assert.strictEqual(tables.connections.size, 0)
    }).pipe(Effect.scoped, Effect.provide(Memory.layer)))
})

describe("an endpoint that ends", () => {
  const shutdown = { other: "Shutdown" as const }
  const keep = (callId: number) => request({ callId, opnum: opnum.keep })
  it.effect("endpoint ends: tells its clients, lets calls reply within its grace, and refuses new ones", () =>
    Effect.gen(function* () {
      const { close, kept } = yield* makeWorld({ server: { grace: "5 seconds" } })
      const client = yield* bound()
      yield* client.say(keep(2), keep(3), first({ callId: 4 }))
      const closing = yield* Effect.forkChild(close)
      assert.deepStrictEqual(yield* client.heard, [shutdown])
      assert.strictEqual((yield* Effect.exit(connect))._tag, "Failure")
      assert.deepStrictEqual(
        yield* client.say(last({ callId: 4, stub: new Uint8Array(0) }), request({ callId: 5 })),
        [fault(4, status.unavailable, { didNotExecute: true }), fault(5, status.unavailable, { didNotExecute: true })]
      )
      const [second, third] = [yield* Queue.take(kept), yield* Queue.take(kept)]
      yield* ServerCall.complete(second, { value: 2 })
      assert.deepStrictEqual(yield* client.heard, [response(2, 2)])
      yield* TestClock.adjust("4 seconds")
      assert.isFalse(client.state.closed)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      assert.isTrue(client.state.closed)
      assert.strictEqual(yield* ServerCall.awaitEnd(third), "Disconnected")
    }).pipe(Effect.provide(Memory.layer)))
  it.effect("call refused by the endpoint: is seen and counted", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const observer: Observability.Observer = {
        ended: ({ method, side }, ending, code) => void seen.push(`${side} ${method} ${ending} ${code}`)
      }
      const found = yield* Effect.gen(function* () {
        const { close } = yield* makeWorld({ server: { grace: "1 second" } }).pipe(
          Effect.provideService(Observability.observer, observer),
          Effect.provide(Observability.layer)
        )
        const client = yield* bound()
        yield* client.say(keep(2))
        const closing = yield* Effect.forkChild(close)
        yield* client.heard
        yield* client.say(request({ callId: 3 }), request({ callId: 4, opnum: 4000 }))
        assert.deepStrictEqual(seen, ["server AddOne refused 1722"])
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.join(closing)
        return yield* Metric.snapshot
      }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
      const refused = found.filter(({ attributes, id }) =>
        id === "callisto_calls_completed" && (attributes as Record<string, string>)["outcome"] === "refused"
      )
      assert.deepStrictEqual(refused.map(({ state }) => state), [{ count: 1, incremental: true }])
    }).pipe(Effect.provide(Memory.layer)))
  it.effect("endpoint ends: is over as soon as its calls are, with the last reply sent", () =>
    Effect.gen(function* () {
      const { close, kept, server, tables } = yield* makeWorld({ server: { grace: "1 hour" } })
      const [idle, busy, unbound] = [yield* bound(), yield* bound(), yield* connect]
      yield* busy.say(keep(2))
      const closing = yield* Effect.forkChild(close)
      yield* settle
      assert.isUndefined(closing.pollUnsafe())
      yield* ServerCall.complete(yield* Queue.take(kept), { value: 2 })
      yield* Fiber.join(closing)
      assert.deepStrictEqual(yield* busy.heard, [shutdown, response(2, 2)])
      assert.deepStrictEqual(yield* idle.heard, [shutdown])
      assert.deepStrictEqual(yield* unbound.heard, [])
      assert.isTrue(idle.state.closed && busy.state.closed && unbound.state.closed)
      assert.strictEqual(tables.connections.size + tables.groups.size, 0)
      assert.deepStrictEqual(yield* Server.calls(server), [])
    }).pipe(Effect.provide(Memory.layer)))
  it.effect("endpoint ends: does not wait for calls that are given up", () =>
    Effect.gen(function* () {
      const { close } = yield* makeWorld({ server: { grace: "1 hour" } })
      const client = yield* bound()
      yield* client.say(keep(2))
      const closing = yield* Effect.forkChild(close)
      assert.deepStrictEqual(yield* client.heard, [shutdown])
      yield* client.write(orphaned(2))
      yield* Fiber.join(closing)
    }).pipe(Effect.provide(Memory.layer)))
  it.effect("endpoint ends, a client does not read: waits no longer than its grace", () =>
    Effect.gen(function* () {
      const { close, tables } = yield* makeWorld({ server: { grace: "1 second" } })
      const client = yield* bound()
      client.state.reads = false
      yield* client.write(request({ opnum: opnum.sourceData, stub: u32(500_000) }))
      yield* settle
      const closing = yield* Effect.forkChild(close)
      yield* settle
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(closing)
      assert.strictEqual(tables.connections.size, 0)
    }).pipe(Effect.provide(Memory.layer)))
})
