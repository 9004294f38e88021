/**
 * Peers that mean harm, against the endpoint: each answer is the documented one, memory stays bounded, and nobody else notices.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Layer, Logger, Queue, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Pipe, Server, ServerCall } from "../../mod.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { binary } from "../../src/dcerpc/TransferSyntax.ts"
import * as Memory from "../../src/transport/Memory.ts"
import { cut, damaged, u16 } from "./damage.ts"
import { below, makeRandom, pick, type Random } from "./random.ts"
import {
  accepted,
  alter,
  bare,
  bind,
  bindAck,
  bindNak,
  bound,
  boundRow,
  coCancel,
  concat,
  connect,
  data,
  element,
  fault,
  features,
  first,
  flow,
  IDouble,
  IEcho,
  IFlow,
  IPlain,
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
import { serverImpl } from "../internals.ts"
import { isOfTestClock } from "./virtualTime.ts"
import { budgetOf, report, seed } from "../budget.ts"

const didNotExecute = { didNotExecute: true }

// ----------------------------------------------------------------------------
// lengths and counts
// ----------------------------------------------------------------------------

for (const littleEndian of [true, false]) {
  const order = littleEndian ? "little-endian" : "big-endian"
  const size = (value: number) => ({ 8: u16(value, littleEndian) })
  const authSize = (value: number) => ({ 10: u16(value, littleEndian) })
  const hello = { littleEndian, contextElements: [element(0, IEcho), element(1, IDouble)] }
  const ack = { bindAck: 1, results: [accepted(), rejected(2)] }

  describe(`what does not fit, in ${order}`, () => {
    const refused = (name: string, pdu: Uint8Array, rest = didNotExecute) =>
      boundRow(name, { littleEndian }, [pdu], [fault(2, status.protocolError, rest)], "is closed")
    const plain = request({ littleEndian })
    for (const length of [0, 1, 15]) refused(`a size of ${length}, below the header`, patched(plain, size(length)))
    refused("a size between the header and the body", patched(plain, size(23)))
    refused("a size without the object that is said to be there", patched(plain, { ...size(39), 3: [0x83] }))
    refused("a size above all limits", patched(plain, size(65529)), { didNotExecute: false })
    refused("a size of authentication above the body", patched(plain, authSize(0xffff)))
    refused("a size of authentication that leaves no body", patched(plain, authSize(4)))
    const signed = request({
      littleEndian,
      authTrailer: { authType: 10, authLevel: 5, authContextId: 0, authValue: new Uint8Array(16) }
    })
    refused("a padding above the stub", patched(signed, { [signed.length - 22]: [255] }))
    const more = alter({ ...hello, contextElements: [element(1, IDouble)] })
    refused("more contexts than there are", patched(more, { 24: [255] }))
    refused("fewer contexts than there are", patched(more, { 24: [0] }))
    refused("more transfer syntaxes than there are", patched(more, { 30: [255] }))
    const result = concat(
      patched(bare(12), { 4: [littleEndian ? 0x10 : 0], 12: [...u32(2, littleEndian)], ...size(64) }),
      new Uint8Array(48)
    )
    refused("a secondary address beyond the end", patched(result, { 24: u16(0xffff, littleEndian) }))
    refused("more results than there are", patched(result, { 28: [255] }))
    refused("an unknown representation of characters", patched(plain, { 4: [plain[4]! | 1] }))
    refused("an unknown representation of numbers", patched(plain, { 5: [1] }))

    const unbindable = (name: string, pdu: Uint8Array) => row(`${name}, in a bind`, [pdu], [bindNak(1, 4)], "is closed")
    for (const length of [0, 15, 27]) unbindable(`a size of ${length}`, patched(bind(hello), size(length)))
    unbindable("a size of authentication above the body", patched(bind(hello), authSize(0xffff)))
    unbindable("more contexts than there are", patched(bind(hello), { 24: [255] }))
    unbindable("more transfer syntaxes than there are", patched(bind(hello), { 30: [255] }))
    row("bind in the given order: is accepted", [bind(hello)], [ack], "lives")

    const stub = (name: string, bytes: Uint8Array, code: number, opnum: number) =>
      boundRow(
        `${name}, in a stub`,
        { littleEndian },
        [
          request({ littleEndian, opnum, stub: bytes }),
          request({ littleEndian, callId: 3, stub: u32(41, littleEndian) })
        ],
        [fault(2, code, didNotExecute), response(3, 42)],
        "lives"
      )
    const huge = u32(0xffffffff, littleEndian)
    stub("a count of 4 G", concat(huge, huge, new Uint8Array(8)), status.badStubData, opnum.echoData)
    const items = (count: number) =>
      concat(
        ...Array.from({ length: count }, (_, i) =>
          concat(u32(i, littleEndian), u32(i === count - 1 ? 0 : i + 1, littleEndian)))
      )
    boundRow(
      "pointers in pointers, at any depth: are accepted",
      { littleEndian },
      [request({ littleEndian, opnum: opnum.count, stub: items(700) })],
      [response(2, 700)],
      "lives"
    )
  })
}

describe("what never ends", () => {
  row(
    "255 contexts with 100 transfer syntaxes each: fit into no PDU",
    [patched(bind({ contextElements: [element(0, IEcho, ...Array.from({ length: 255 }, () => Pdu.ndr20))] }), {
      24: [255]
    })],
    [bindNak(1, 4)],
    "is closed"
  )
  row(
    "255 contexts: are answered, and those beyond the limit rejected for reason 3",
    [bind({ contextElements: Array.from({ length: 255 }, (_, id) => element(id, IPlain, binary.id)) })],
    [{
      bindAck: 1,
      results: Array.from({ length: 255 }, (_, id) => id < 64 ? accepted(binary.id) : rejected(3))
    }],
    "lives"
  )
  wire("contexts in ever new alter_contexts: are bounded", (client, { tables }) =>
    Effect.gen(function* () {
      yield* client.ask(bind())
      for (let id = 1; id < 2000; id += 100) {
        yield* client.ask(
          alter({ contextElements: Array.from({ length: 100 }, (_, i) => element(id + i, IPlain, binary.id)) })
        )
      }
      for (const { agreement } of tables.connections) assert.isAtMost(agreement.contexts.size, 64)
      assert.deepStrictEqual(yield* client.say(request()), [response(2, 42)])
    }))
  wire(
    "request in fragments, whatever it announces: holds the bytes that have arrived",
    (client, { tables }) =>
      Effect.gen(function* () {
        yield* client.ask(bind())
        assert.deepStrictEqual(yield* client.say(first({ allocHint: 0x400000, stub: new Uint8Array(1) })), [])
        const [, served] = [...tables.connections]
        assert.isAtMost(served!.open!.buffer.length, 2)
        for (let i = 0; i < 100; i++) yield* client.write(request({ exactFlags: 0, stub: new Uint8Array(1) }))
        yield* settle
        assert.isAtMost(served!.open!.buffer.length, 256)
      })
  )
  wire("request in fragments: ends at the limit", (client, { tables }) =>
    Effect.gen(function* () {
      yield* client.ask(bind())
      const [, served] = [...tables.connections]
      const fragment = request({ exactFlags: 0, stub: new Uint8Array(5816) })
      yield* client.write(first({ opnum: opnum.echoData, stub: new Uint8Array(5816) }))
      for (let i = 1; i < 721; i++) {
        yield* client.write(fragment)
        assert.isAtMost(served!.open?.buffer.length ?? 0, 0x400000)
      }
      assert.deepStrictEqual(yield* client.heard, [])
      assert.deepStrictEqual(yield* client.say(fragment), [fault(2, status.accessDenied)])
      assert.isTrue(client.state.closed)
    }))
  wire("many halves of requests: hold the bytes that have arrived", (_, { tables }) =>
    Effect.gen(function* () {
      for (let i = 0; i < 200; i++) {
        yield* (yield* bound()).write(
          first({ allocHint: 0x400000 }),
          request({ stub: new Uint8Array(3000) }).subarray(0, 17)
        )
      }
      yield* settle
      const held = [...tables.connections].reduce((size, { open }) => size + (open?.buffer.length ?? 0), 0)
      assert.strictEqual(tables.connections.size, 202)
      assert.isAtMost(held, 200 * 8)
    }))
  wire(
    "calls beyond their limit: are refused; the others, cancelled in one turn or given up, leave nothing",
    (client, { server, tables }) =>
      Effect.gen(function* () {
        yield* client.ask(bind())
        const ids = Array.from({ length: 1500 }, (_, i) => i + 2)
        const answers = yield* client.say(...ids.map((callId) => request({ callId, opnum: opnum.never })))
        assert.deepStrictEqual(answers, ids.slice(1024).map((id) => fault(id, status.tooBusy, didNotExecute)))
        assert.strictEqual((yield* Server.calls(server)).length, 1025)
        yield* client.say(...ids.slice(0, 512).map(coCancel), ...ids.slice(512).map(orphaned))
        assert.strictEqual((yield* Server.calls(server)).length, 1)
        const [, served] = [...tables.connections]
        assert.strictEqual(served!.calls.size, 0)
        assert.deepStrictEqual(yield* client.say(request({ callId: 9999 })), [response(9999, 42)])
      })
  )
  wire("requests given up at once: leave nothing", (client, { server }) =>
    Effect.gen(function* () {
      yield* client.ask(bind())
      for (let i = 0; i < 50; i++) {
        const ids = Array.from({ length: 100 }, (_, n) => 100 * i + n + 2)
        yield* client.write(...ids.flatMap((callId) => [request({ callId, opnum: opnum.never }), orphaned(callId)]))
        yield* settle
        assert.strictEqual((yield* Server.calls(server)).length, 1)
      }
    }))
  wire("cancels and orphans of unknown calls: cost nothing", (client) =>
    Effect.gen(function* () {
      yield* client.ask(bind())
      for (let i = 0; i < 50; i++) {
        yield* client.write(
          ...Array.from({ length: 100 }, (_, n) => concat(coCancel(100 * i + n), orphaned(100 * i + n)))
        )
        yield* settle
      }
      assert.deepStrictEqual(yield* client.say(request()), [response(2, 42)])
    }))
  wire("groups: go with their connections", (_, { tables }) =>
    Effect.gen(function* () {
      for (let i = 0; i < 300; i++) yield* Effect.flatMap(bound(), (client) => client.close)
      yield* settle
      assert.strictEqual(tables.groups.size, 1)
      assert.strictEqual(tables.connections.size, 2)
    }))
  wire(
    "requests without end to a client that reads nothing: wait outside",
    (client, { tables }) =>
      Effect.gen(function* () {
        yield* client.ask(bind())
        client.state.reads = false
        const source = concat(
          ...Array.from({ length: 100 }, () => request({ opnum: opnum.sourceData, stub: u32(50_000) }))
        )
        const writing = yield* Effect.forkChild(Effect.forever(client.write(source)))
        yield* settle
        const [, served] = [...tables.connections]
        assert.isAtMost(served?.outbox.queuedUnsafe() ?? 0, 0x1000000 + 60_000)
        assert.isUndefined(writing.pollUnsafe())
        writing.interruptUnsafe()
      })
  )
  wire("PDU byte by byte: is one PDU", (client) =>
    Effect.gen(function* () {
      for (const byte of bind()) yield* client.write(Uint8Array.of(byte))
      assert.deepStrictEqual(yield* client.heard, [bindAck])
      for (const byte of request()) yield* client.write(Uint8Array.of(byte))
      assert.deepStrictEqual(yield* client.heard, [response(2, 42)])
    }))
})

// ----------------------------------------------------------------------------
// fuzz
// ----------------------------------------------------------------------------

const trailer: Pdu.AuthTrailer = { authType: 10, authLevel: 5, authContextId: 0, authValue: new Uint8Array(16) }

const alterFlow = (littleEndian: boolean): Uint8Array =>
  alter({ littleEndian, callId: 1, contextElements: [element(3, IFlow)] })

const binds = (littleEndian: boolean) => [
  () => concat(bind({ littleEndian }), alterFlow(littleEndian)),
  () => concat(bind({ littleEndian, flags: 0 }), alterFlow(littleEndian)),
  () =>
    concat(
      bind({ littleEndian, contextElements: [element(0, IEcho), element(1, IEcho, features(3))] }),
      alterFlow(littleEndian)
    ),
  () =>
    bind({
      littleEndian,
      contextElements: [element(1, IPlain, binary.id), element(0, IEcho)],
      maxRecvFrag: 65535,
      maxXmitFrag: 65535
    }),
  () => bind({ littleEndian, maxRecvFrag: 1432, maxXmitFrag: 1432 }),
  () => bind({ littleEndian, contextElements: [] }),
  () => bind({ littleEndian, authTrailer: trailer })
]

/** The arguments and the pipe of `Sum`. */
const pipeStub = (littleEndian: boolean, count: number): Uint8Array =>
  concat(...[1, count, ...Array.from({ length: count }, (_, i) => i), 0].map((value) => u32(value, littleEndian)))

/** What may follow a bind: each is one thing that a client says, in as many PDUs as that takes. */
const turns = (littleEndian: boolean, callId: number): ReadonlyArray<() => ReadonlyArray<Uint8Array>> => {
  const of = (fields: Parameters<typeof request>[0]) => cut(request({ littleEndian, callId, ...fields }))
  return [
    () => of({}),
    () => of({ opnum: opnum.echoData, stub: data(100, littleEndian) }),
    () => of({ opnum: opnum.echoData, stub: data(300, littleEndian), limit: 100 }),
    () => of({ opnum: opnum.echoData, stub: data(300, littleEndian), limit: 120, object }),
    () => of({ opnum: opnum.sourceData, stub: u32(9000, littleEndian) }),
    () => of({ opnum: opnum.keep }),
    () => of({ opnum: opnum.never }),
    () => [...of({ opnum: opnum.never }), coCancel(callId)],
    () => [...of({ opnum: opnum.never }), orphaned(callId)],
    () => [first({ littleEndian, callId, opnum: opnum.keep }), coCancel(callId), last({ littleEndian, callId })],
    () => of({ opnum: opnum.abort }),
    () => of({ opnum: opnum.tell, flags: Pdu.flags.maybe }),
    () => of({ opnum: opnum.spoil }),
    () => of({ opnum: opnum.count, stub: concat(u32(1, littleEndian), u32(0, littleEndian)) }),
    () => of({ opnum: 99 }),
    () => of({ contextId: 1, stub: new Uint8Array(12) }),
    () => of({ contextId: 3, opnum: flow.sum, stub: pipeStub(littleEndian, 4) }),
    () => of({ contextId: 3, opnum: flow.sum, stub: pipeStub(littleEndian, 30), limit: 60 }),
    () => of({ contextId: 3, opnum: flow.count, stub: u32(700, littleEndian) }),
    () => of({ contextId: 3, opnum: flow.hold, stub: u32(0, littleEndian) }),
    () => [
      first({ littleEndian, callId, contextId: 3, opnum: flow.abort }),
      orphaned(callId),
      last({ littleEndian, callId })
    ],
    () => [
      first({ littleEndian, callId, contextId: 3, opnum: flow.hold }),
      coCancel(callId),
      last({ littleEndian, callId })
    ],
    () => of({ contextId: 3, opnum: flow.early, stub: pipeStub(littleEndian, 30), limit: 60 }),
    () => of({ contextId: 2 }),
    () => of({ flags: Pdu.flags.pendingCancel }),
    () => of({ authTrailer: trailer }),
    () => [alter({ littleEndian, callId, contextElements: [element(2, IDouble), element(0, IEcho)] })],
    () => [alter({ littleEndian, callId, contextElements: [element(0, IDouble)] })],
    () => [coCancel(callId)],
    () => [orphaned(callId)],
    () => [bare(17, callId)],
    () => [bind({ littleEndian, callId })]
  ]
}

/** A whole conversation, a few PDUs of which are damaged, doubled, lost or out of order. */
const conversation = (random: Random): Array<Uint8Array> => {
  const littleEndian = random() < 0.7
  const said = [pick(random, random() < 0.8 ? binds(littleEndian).slice(0, 5) : binds(littleEndian))()]
  for (let callId = 2; callId < 4 + random() * 10; callId++) said.push(...pick(random, turns(littleEndian, callId))())
  for (let times = below(random, 4); times > 0; times--) {
    // Without its bind a conversation is over soon.
    const at = random() < 0.9 ? 1 + below(random, said.length) : 0
    const pdu = said[at]
    if (pdu === undefined || pdu.length < 16) continue
    const kind = random()
    if (kind < 0.7) said[at] = damaged(pdu, random)
    else if (kind < 0.8) said.splice(at, 0, pdu)
    else if (kind < 0.9) said.splice(at, 1)
    else said.splice(below(random, said.length), 0, ...said.splice(at, 1))
  }
  return said
}

const fewYields = Effect.repeat(Effect.yieldNow, { times: 3 })

describe("conversations that were damaged", () => {
  const budget = budgetOf(1_000_000)
  const problems: Array<string> = []
  // Managers die here on purpose; nothing else may be logged as an error.
  const logger = Logger.make(({ cause, message }) => {
    const text = String(message)
    const isExpected = text.startsWith("The routine") || text.startsWith("Refused a request") ||
      text.includes("out parameters") || isOfTestClock(text)
    if (!isExpected) {
      problems.push(`${text}\n${Cause.pretty(cause)}`)
    }
  })

  it.effect(`damaged conversations, seed ${seed}: the server survives`, () =>
    Effect.gen(function* () {
      const random = makeRandom(seed)
      const world = yield* makeWorld({ maximumCalls: 2, maximumContexts: 3, maximumRequest: 2000 })
      const other = yield* bound()
      const seen = new Map<string, number>()
      const see = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1)

      const converse = Effect.gen(function* () {
        const client = yield* connect
        const said = conversation(random)
        const stream = concat(...said)
        for (let at = 0; at < stream.length;) {
          const end = at + 1 + below(random, pick(random, [4, 100, 1000, 10_000]))
          yield* client.write(stream.slice(at, end))
          at = end
          if (random() < 0.2) yield* fewYields
        }
        yield* fewYields
        while (random() < 0.7 && (yield* Queue.size(world.kept)) > 0) {
          yield* Effect.ignore(ServerCall.complete(yield* Queue.take(world.kept), { value: 1 }))
        }
        while (random() < 0.7 && (yield* Queue.size(world.held)) > 0) {
          const call = yield* Queue.take(world.held)
          if (random() < 0.5) {
            const pulling = Stream.runDrain(Pipe.toStream(ServerCall.inPipe(call, "there")))
            yield* Effect.ignore(Effect.timeoutOption(pulling, 0))
            yield* Effect.ignore(Pipe.end(ServerCall.outPipe(call, "back")))
          }
          yield* Effect.ignore(ServerCall.complete(call, { value: 1 }))
        }
        if (random() < 0.1) yield* TestClock.adjust(pick(random, ["1 second", "1 minute"]))
        yield* fewYields
        for (const answer of yield* client.ask()) {
          if (answer._tag === "PduError") problems.push(`the server sent what is no PDU: ${answer.message}`)
          else if (answer._tag === "Fault") {
            see(`fault ${answer.status.toString(16)} ${answer.flags & Pdu.flags.didNotExecute}`)
          } else if (answer._tag === "BindNak") see(`bind_nak ${answer.rejectReason}`)
          else see(answer._tag)
        }
        if (client.state.closed) see("closed")
        for (const { agreement: { contexts }, calls, early, open } of world.tables.connections) {
          // The last fragment of arguments that pipes follow may have some of those.
          const limit = early === undefined ? 2000 : 2000 + 5840
          if (calls.size > 2 || contexts.size > 3 || (open?.buffer.length ?? 0) > limit) problems.push("beyond a limit")
        }
        return said.length
      })

      let pdus = 0
      while (pdus < budget && problems.length === 0) {
        const counts = yield* Effect.all(Array.from({ length: 8 }, () => Effect.scoped(converse)), {
          concurrency: "unbounded"
        })
        pdus += counts.reduce((a, b) => a + b, 0)
        assert.deepStrictEqual(yield* other.say(request({ callId: pdus })), [response(pdus, 42)])
      }
      yield* other.close
      yield* settle
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(problems, [])
      assert.strictEqual(world.tables.connections.size, 0)
      assert.strictEqual(world.tables.groups.size, 0)
      assert.deepStrictEqual(yield* Server.calls(world.server), [])
      assert.strictEqual(serverImpl(world.server).count, 0)

      const expected = [
        "BindAck",
        "AlterContextResponse",
        "Response",
        "closed",
        "bind_nak 0",
        "bind_nak 4",
        "bind_nak 8",
        `fault ${status.accessDenied.toString(16)} 0`,
        `fault ${status.noCallActive.toString(16)} 32`,
        `fault ${status.badStubData.toString(16)} 0`,
        `fault ${status.badStubData.toString(16)} 32`,
        `fault ${status.cancelled.toString(16)} 0`,
        `fault ${status.outOfRange.toString(16)} 32`,
        `fault ${status.unknownInterface.toString(16)} 32`,
        `fault ${status.protocolError.toString(16)} 0`,
        `fault ${status.protocolError.toString(16)} 32`,
        `fault ${status.tooBusy.toString(16)} 32`,
        // A pipe that was not drained.
        "fault 1c000017 0"
      ]
      // The rarest come 3 times in 10,000 PDUs.
      if (budget >= 50_000) assert.deepStrictEqual(expected.filter((what) => !seen.has(what)), [])
      report("endpoint fuzz", `${pdus} PDUs`)
    }).pipe(Effect.provide(Layer.merge(Memory.layer, Logger.layer([logger])))), 300_000)
})
