/** How far a failure reaches at the client: each row of docs/failures.md, with a neighbour that must not notice. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { ndr20 } from "../../src/dcerpc/TransferSyntax.ts"
import * as Transport from "../../src/transport/Transport.ts"
import { Call } from "../../mod.ts"
import {
  accepted,
  address,
  bytesOf,
  failure,
  IEcho,
  ISum,
  isWaiting,
  join,
  keepsOnOrphan,
  listen,
  lost,
  mpx,
  noFeatures,
  type Peer,
  settle,
  setUp,
  stubOf,
  textOf,
  unavailable,
  whole,
  wire
} from "./rawServer.ts"

/** Two calls on one connection, of which the first one fails: the second one and a third one are answered. */
const ofOneCall = (
  name: string,
  fail: (peer: Peer, request: Pdu.Request) => Effect.Effect<unknown>,
  expected: ReadonlyArray<unknown>,
  options?: Association.Options
) =>
  wire(
    name,
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp(options, { results: [accepted, keepsOnOrphan] })
      const first = yield* begin("one")
      const failing = yield* Effect.forkChild(failure(Call.join(first)), { startImmediately: true })
      const request = yield* peer.take("Request")
      const neighbour = yield* begin("two")
      const second = yield* peer.take("Request")
      yield* fail(peer, request)
      assert.deepStrictEqual(yield* Fiber.join(failing), expected)
      yield* peer.reply(second, "2")
      assert.strictEqual(yield* join(neighbour), "2")
    })
  )

describe("reach: the call", () => {
  ofOneCall("a fault: the neighbour's call is answered", (peer, request) => peer.fault(request, 5), [
    "RpcFault",
    undefined
  ])
  ofOneCall(
    "a fault of 28 bytes, without its reserved word: the neighbour's call is answered",
    (peer, { callId }) => {
      const writer = new Pdu.Writer()
      Pdu.encodeFault(writer, { callId, contextId: 0, cancelCount: 0, status: 5 })
      const fault = writer.take().slice(0, 28)
      fault[8] = 28
      return peer.bytes(fault)
    },
    ["RpcFault", undefined]
  )
  ofOneCall(
    "a response that cannot be read: the neighbour's call is answered",
    (peer, { callId }) => peer.respond(callId, Uint8Array.of(9)),
    lost
  )
  ofOneCall(
    "a response above maximumResponse: the neighbour's call is answered",
    (peer, { callId }) => peer.respond(callId, new Uint8Array(2000)),
    lost,
    { maximumResponse: 1000 }
  )

  wire(
    "arguments that are refused: nothing is sent, and the neighbour's call is answered",
    Effect.gen(function* () {
      const { begin, peer, store } = yield* setUp()
      const neighbour = yield* begin("one")
      assert.deepStrictEqual(yield* failure(Call.invoke(store, "Echo", "text" as never)), ["BadStubData", undefined])
      yield* peer.reply(yield* peer.take("Request"), "1")
      assert.strictEqual(yield* join(neighbour), "1")
    })
  )

  wire(
    "a call timeout: the neighbour's later call is answered",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp({ callTimeout: "2 seconds" }, { results: [accepted, keepsOnOrphan] })
      const one = yield* begin("one")
      yield* peer.take("Request")
      yield* TestClock.adjust("1 second")
      const neighbour = yield* begin("two")
      const request = yield* peer.take("Request")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* failure(Call.join(one)), ["CallCancelled", undefined])
      yield* peer.reply(request, "2")
      assert.strictEqual(yield* join(neighbour), "2")
    })
  )
})

/** An association whose connection is bound to ISum, and a binding to IEcho that is being made on it. */
const proposing = (options?: Association.Options, flags = mpx) =>
  Effect.gen(function* () {
    const accept = yield* listen
    const association = yield* Association.make(address, options)
    const acceptBound = Effect.gen(function* () {
      const peer = yield* accept
      const { callId } = yield* peer.take("Bind")
      yield* peer.ack({ callId, flags, results: [{ ...accepted, transferSyntax: ndr20.id }, noFeatures] })
      return peer
    })
    const binding = yield* Effect.forkChild(Association.bind(ISum, association))
    const peer = yield* acceptBound
    const sum = yield* Fiber.join(binding)
    const other = yield* Effect.forkChild(failure(Association.bind(IEcho, association)), { startImmediately: true })
    const proposal = yield* peer.take("AlterContext")
    const begin = Effect.flatMap(Call.make(sum), (call) => Call.begin(call, "AddOne", { value: 1 }))
    const answer = (callId: number) => peer.respond(callId, Uint8Array.of(2, 0, 0, 0))
    return { accept, acceptBound, answer, association, begin, other, peer, proposal, sum }
  })

const refuse = (peer: Peer, { callId }: Pdu.AlterContext, reason: number) =>
  peer.send((writer) =>
    Pdu.encodeAlterContextResponse(writer, {
      callId,
      maxXmitFrag: 65528,
      maxRecvFrag: 65528,
      assocGroupId: 5,
      results: [{ result: 2, reason, transferSyntax: Pdu.nilSyntax }]
    })
  )

const agree = (peer: Peer, { callId }: Pdu.AlterContext) =>
  peer.send((writer) =>
    Pdu.encodeAlterContextResponse(writer, {
      callId,
      maxXmitFrag: 65528,
      maxRecvFrag: 65528,
      assocGroupId: 5,
      results: [accepted]
    })
  )

const faultIt = (peer: Peer, { callId }: Pdu.AlterContext) =>
  peer.send((writer) => Pdu.encodeFault(writer, { callId, contextId: 0, cancelCount: 0, status: 0x1c01000b }))

describe("reach: the interface", () => {
  for (
    const [how, answer, expected] of [
      ["refused as unknown", (peer, alter) => refuse(peer, alter, 1), ["UnknownInterface", undefined]],
      ["refused for its transfer syntax", (peer, alter) => refuse(peer, alter, 2), unavailable],
      ["refused for a limit", (peer, alter) => refuse(peer, alter, 3), unavailable],
      ["answered with a fault", faultIt, unavailable]
    ] as ReadonlyArray<
      [string, (peer: Peer, alter: Pdu.AlterContext) => Effect.Effect<unknown>, ReadonlyArray<unknown>]
    >
  ) {
    wire(
      `a proposal that is ${how}: the neighbour's calls, one pending and one new, are answered`,
      Effect.gen(function* () {
        const { answer: answerCall, begin, other, peer, proposal } = yield* proposing()
        const beginning = yield* Effect.forkChild(begin, { startImmediately: true })
        yield* answer(peer, proposal)
        assert.deepStrictEqual(yield* Fiber.join(other), expected)
        const [early, later] = [yield* Fiber.join(beginning), yield* begin]
        for (let i = 0; i < 2; i++) yield* answerCall((yield* peer.take("Request")).callId)
        assert.deepStrictEqual([yield* Call.join(early), yield* Call.join(later)], [{ value: 2 }, { value: 2 }])
      })
    )
  }

  wire(
    "a proposal that is answered late: the neighbour's calls are sent on another connection, from then on",
    Effect.gen(function* () {
      const { acceptBound, begin, peer, proposal } = yield* proposing()
      const beginning = yield* Effect.forkChild(begin, { startImmediately: true })
      yield* TestClock.adjust("100 millis")
      const second = yield* acceptBound
      const calls = [yield* Fiber.join(beginning), yield* begin]
      yield* agree(peer, proposal)
      yield* settle
      calls.push(yield* begin)
      for (const call of calls) {
        yield* second.respond((yield* second.take("Request")).callId, Uint8Array.of(2, 0, 0, 0))
        assert.deepStrictEqual(yield* Call.join(call), { value: 2 })
      }
    })
  )

  wire(
    "a proposal that is answered late, and no other connection can be made: the neighbour's call is sent behind it",
    Effect.gen(function* () {
      const { accept, answer, begin, other, peer, proposal } = yield* proposing()
      const beginning = yield* Effect.forkChild(begin, { startImmediately: true })
      yield* TestClock.adjust("100 millis")
      yield* (yield* accept).close
      const call = yield* Fiber.join(beginning)
      yield* answer((yield* peer.take("Request")).callId)
      assert.deepStrictEqual(yield* Call.join(call), { value: 2 })
      yield* refuse(peer, proposal, 1)
      assert.deepStrictEqual(yield* Fiber.join(other), ["UnknownInterface", undefined])
    })
  )

  wire(
    "a proposal that is never answered: its binding fails with 1722, and the failure names the limit",
    Effect.gen(function* () {
      const { association } = yield* proposing({ connectTimeout: "2 seconds" })
      const again = yield* Effect.forkChild(Effect.flip(Association.bind(IEcho, association)))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.include(
        (yield* Fiber.join(again)).message,
        "the server did not answer the proposal of IEcho within connectTimeout (2000 ms)"
      )
    })
  )

  wire(
    "a bind whose interface is refused: another binding that waits for the first connection gets one",
    Effect.gen(function* () {
      const accept = yield* listen
      const association = yield* Association.make(address)
      const unknown = yield* Effect.forkChild(failure(Association.bind(IEcho, association)), { startImmediately: true })
      const neighbour = yield* Effect.forkChild(Association.bind(ISum, association), { startImmediately: true })
      const first = yield* accept
      const { callId } = yield* first.take("Bind")
      yield* first.ack({ callId, results: [{ result: 2, reason: 1, transferSyntax: Pdu.nilSyntax }, noFeatures] })
      assert.deepStrictEqual(yield* Fiber.join(unknown), ["UnknownInterface", undefined])
      const second = yield* accept
      const bind = yield* second.take("Bind")
      yield* second.ack({
        callId: bind.callId,
        results: [{ ...accepted, transferSyntax: ndr20.id }, noFeatures]
      })
      yield* Fiber.join(neighbour)
    })
  )
})

describe("reach: the connection", () => {
  const byConnection = (name: string, hurt: (peer: Peer, request: Pdu.Request) => Effect.Effect<unknown>) =>
    wire(
      name,
      Effect.gen(function* () {
        const { acceptBound, begin, peer, store } = yield* setUp()
        const feeding = yield* Effect.forkChild(
          Effect.flatMap(Call.make(store), (call) => Call.begin(call, "Feed", bytesOf("f"))),
          { startImmediately: true }
        )
        const alone = yield* acceptBound
        const neighbour = yield* Fiber.join(feeding)
        const one = yield* begin("one")
        const request = yield* peer.take("Request")
        yield* hurt(peer, request)
        assert.deepStrictEqual(yield* failure(Call.join(one)), lost)
        const feed = yield* alone.take("Request")
        yield* alone.fault(feed, 5)
        assert.deepStrictEqual(yield* failure(Call.join(neighbour)), ["RpcFault", undefined])
      })
    )
  byConnection("a connection that is lost: the neighbour's call on another one is answered", (peer) => peer.reset)
  byConnection(
    "a server that breaks the protocol: the neighbour's call on another connection is answered",
    (peer) => peer.bytes(new Uint8Array(100).fill(0xa5))
  )

  wire(
    "an orphan that costs the connection: the next call has another connection",
    Effect.gen(function* () {
      const { acceptBound, peer, store } = yield* setUp()
      yield* Effect.scoped(Effect.flatMap(Call.make(store), (call) => Call.begin(call, "Echo", bytesOf("one"))))
      yield* peer.take("Request")
      yield* peer.take("Orphaned")
      assert.isTrue(yield* peer.isClosed)
      const later = yield* Effect.forkChild(Call.invoke(store, "Echo", bytesOf("two")))
      const second = yield* acceptBound
      yield* second.reply(yield* second.take("Request"), "2")
      assert.strictEqual(textOf(yield* Fiber.join(later)), "2")
    })
  )

  wire(
    "a shutdown: the calls in progress are answered, and the next one has another connection",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp()
      const neighbour = yield* begin("one")
      const request = yield* peer.take("Request")
      yield* peer.send((writer) => Pdu.encodeShutdown(writer, { callId: 0 }))
      yield* settle
      const later = yield* Effect.forkChild(begin("two"))
      const second = yield* acceptBound
      yield* second.reply(yield* second.take("Request"), "2")
      yield* peer.reply(request, "1")
      assert.deepStrictEqual([yield* join(neighbour), yield* join(yield* Fiber.join(later))], ["1", "2"])
    })
  )

  for (const more of [0, 1]) {
    wire(
      `a shutdown right behind the answer to the bind, ${more === 0 ? "once" : "twice"}: ${
        more === 0 ? "no request is sent there" : "binding fails with 1722"
      }`,
      Effect.gen(function* () {
        const accept = yield* listen
        const binding = yield* Effect.forkChild(Effect.exit(Association.bind(IEcho, address)))
        for (let i = 0; i <= more; i++) {
          const peer = yield* accept
          const { callId } = yield* peer.take("Bind")
          yield* peer.send((writer) => {
            Pdu.encodeBindAck(writer, {
              callId,
              flags: mpx,
              maxXmitFrag: 65528,
              maxRecvFrag: 65528,
              assocGroupId: 5,
              secAddr: "",
              results: [accepted, noFeatures]
            })
            Pdu.encodeShutdown(writer, { callId: 0 })
          })
          assert.isTrue(yield* peer.isClosed)
        }
        if (more === 1) return assert.isTrue(Exit.isFailure(yield* Fiber.join(binding)))
        const second = yield* accept
        const { callId } = yield* second.take("Bind")
        yield* second.ack({ callId })
        assert.isTrue(Exit.isSuccess(yield* Fiber.join(binding)))
      })
    )
  }
})

describe("reach: those that wait", () => {
  wire(
    "no connection can be made for a call with pipes: the neighbour's call without pipes is answered",
    Effect.gen(function* () {
      const { accept, begin, peer, store } = yield* setUp()
      const neighbour = yield* begin("one")
      const feeding = yield* Effect.forkChild(
        failure(Effect.flatMap(Call.make(store), (call) => Call.begin(call, "Feed", bytesOf("f")))),
        { startImmediately: true }
      )
      yield* (yield* accept).close
      assert.deepStrictEqual(yield* Fiber.join(feeding), unavailable)
      yield* peer.reply(yield* peer.take("Request"), "1")
      assert.strictEqual(yield* join(neighbour), "1")
    })
  )

  wire(
    "all connections for pipes in use longer than connectTimeout: the call fails with 1722 and names the option",
    Effect.gen(function* () {
      const { acceptBound, begin, peer, store } = yield* setUp({ maximumConnections: 1, connectTimeout: "3 seconds" })
      const feed = Effect.flatMap(Call.make(store), (call) => Call.begin(call, "Feed", bytesOf("f")))
      const feeding = yield* Effect.forkChild(feed, { startImmediately: true })
      const alone = yield* acceptBound
      const first = yield* Fiber.join(feeding)
      yield* TestClock.adjust("1 second")
      const second = yield* Effect.forkChild(Effect.flip(feed), { startImmediately: true })
      const neighbour = yield* begin("one")
      yield* TestClock.adjust("2999 millis")
      assert.isTrue(yield* isWaiting(second))
      yield* TestClock.adjust("1 millis")
      const error = yield* Fiber.join(second)
      assert.deepInclude(error, { _tag: "RpcTransportError", status: 1722 })
      assert.include(
        error.message,
        "no connection with pipes was free within connectTimeout (3000 ms): all 1 are in use. Raise maximumConnections"
      )
      yield* peer.reply(yield* peer.take("Request"), "1")
      assert.strictEqual(yield* join(neighbour), "1")
      yield* alone.fault(yield* alone.take("Request"), 5)
      assert.deepStrictEqual(yield* failure(Call.join(first)), ["RpcFault", undefined])
    })
  )

  wire(
    "one connection that carries one call at a time, a causal association: a call waits for the one before, without a limit",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp({ connectTimeout: "1 second", keepAlive: Infinity }, { flags: 0 })
      const one = yield* begin("one")
      const two = yield* Effect.forkChild(begin("two"), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      assert.isTrue(yield* isWaiting(two))
      yield* peer.reply(yield* peer.take("Request"), "1")
      assert.strictEqual(yield* join(one), "1")
      yield* Fiber.join(two)
    })
  )
})

describe("reach: the binding and the association", () => {
  wire(
    "the scope of a binding closes: the calls of another binding of the association are answered",
    Effect.gen(function* () {
      const { answer, association, begin, peer, proposal } = yield* proposing()
      yield* refuse(peer, proposal, 1)
      const scope = yield* Scope.make()
      const other = yield* Scope.provide(Association.bind(ISum, association), scope)
      const ended = yield* Call.begin(yield* Scope.provide(Call.make(other), scope), "AddOne", { value: 7 })
      yield* peer.take("Request")
      const neighbour = yield* begin
      const { callId } = yield* peer.take("Request")
      const ending = yield* Effect.forkChild(failure(Call.join(ended)), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(ending)
      yield* answer(callId)
      assert.deepStrictEqual(yield* Call.join(neighbour), { value: 2 })
    })
  )

  wire(
    "an association closes: a neighbour's association with the same server goes on",
    Effect.gen(function* () {
      const { acceptBound, begin, close, peer } = yield* setUp()
      const one = yield* begin("one")
      yield* peer.take("Request")
      const binding = yield* Effect.forkChild(Association.bind(IEcho, address))
      const second = yield* acceptBound
      const neighbour = yield* Fiber.join(binding)
      const pending = yield* Call.begin(yield* Call.make(neighbour), "Echo", bytesOf("two"))
      yield* close
      assert.deepStrictEqual(yield* failure(Call.join(one)), lost)
      yield* second.respond((yield* second.take("Request")).callId, stubOf("2"), whole)
      assert.strictEqual(textOf(yield* Call.join(pending)), "2")
    })
  )

  wire(
    "an association closes while the server reads nothing: what was sent may leave for a second",
    Effect.gen(function* () {
      const { close, store } = yield* setUp()
      yield* Call.begin(yield* Call.make(store), "Echo", new Uint8Array(1_000_000))
      yield* settle
      const closing = yield* Effect.forkChild(close, { startImmediately: true })
      yield* TestClock.adjust(999)
      assert.isTrue(yield* isWaiting(closing))
      yield* TestClock.adjust(1)
      assert.isFalse(yield* isWaiting(closing))
    })
  )
})

describe("reach: those who wait for a connection", () => {
  for (const [name, connect] of [["is interrupted", Effect.interrupt], ["dies", Effect.die("as asked")]] as const) {
    it.effect(`connecting ${name}: they get 1722, and nobody connects again`, () =>
      Effect.gen(function* () {
        let attempts = 0
        const broken = Layer.succeed(Transport.Transport, {
          protocols: ["ncacn_memory"],
          connect: () => Effect.suspend(() => ++attempts > 3 ? Effect.never : connect),
          listen: () => Effect.die("nobody listens")
        })
        const binds = Association.bind(IEcho, "ncacn_memory:[broken]")
        assert.deepStrictEqual(yield* Effect.provide(failure(binds), broken), ["RpcTransportError", 1722])
        assert.strictEqual(attempts, 1)
      }))
  }
})
