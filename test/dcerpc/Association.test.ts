/**
 * The client's side of the wire: what it sends to a server whose every answer the test writes, and what it makes of the answers.
 */
import { assert, describe } from "@effect/vitest"
import { Clock, Context, Deferred, Effect, Exit, Fiber, Layer, Option, Result, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import * as StringBinding from "../../src/transport/StringBinding.ts"
import { binary, ndr20 } from "../../src/dcerpc/TransferSyntax.ts"
import * as Transport from "../../src/transport/Transport.ts"
import { Binding, Call, Interface, Manager, Pipe, Server, Status } from "../../mod.ts"
import {
  accepted,
  address,
  bytesOf,
  failure,
  hex,
  IEcho,
  inputOf,
  ISum,
  isWaiting,
  join,
  keepsOnOrphan,
  listen,
  lost,
  mpx,
  noFeatures,
  notExecuted,
  type Peer,
  Refused,
  settle,
  setUp,
  stubOf,
  textOf,
  unavailable,
  whole,
  wire
} from "./rawServer.ts"
import { assertFailure } from "../fixtures.ts"

// ----------------------------------------------------------------------------
// binding
// ----------------------------------------------------------------------------

describe("a bind", () => {
  wire(
    "bind: proposes the interface and the features, byte for byte",
    Effect.gen(function* () {
      const transport = yield* Transport.Transport
      const first = yield* Deferred.make<Uint8Array>()
      yield* transport.listen(Result.getOrThrow(StringBinding.parse(address)), ({ socket }) =>
        Effect.gen(function* () {
          const { pull } = yield* socket.reader
          yield* Deferred.succeed(first, (yield* pull)[0] as Uint8Array)
        }).pipe(Effect.ignore))
      yield* failure(Association.bind(ISum, address))
      const iface = "c55ea160e84dd711a637005056a20182" + "01000000"
      assert.strictEqual(
        hex(yield* Deferred.await(first)),
        "05000b13100000007400000001000000" + "d016d01600000000" + "02000000" +
          `00000100${iface}045d888aeb1cc9119fe808002b10486002000000` +
          `ff000100${iface}2c1cb76c129840450200000000000000` + "01000000"
      )
    })
  )

  wire(
    "bind of an interface with ordinary schemas: proposes Callisto's own syntax and larger fragments",
    Effect.gen(function* () {
      const accept = yield* listen
      yield* Effect.forkScoped(Association.bind(IEcho, address))
      const bind = yield* (yield* accept).take("Bind")
      assert.strictEqual(bind.flags, whole | mpx)
      assert.deepStrictEqual([bind.maxXmitFrag, bind.maxRecvFrag, bind.assocGroupId], [65528, 65528, 0])
      const abstractSyntax = { uuid: IEcho.uuid, major: 1, minor: 2 }
      const features = { uuid: "6cb71c2c-9812-4540-0200-000000000000", major: 1, minor: 0 }
      assert.deepStrictEqual(bind.contextElements, [
        { contextId: 0, abstractSyntax, transferSyntaxes: [binary.id] },
        { contextId: 255, abstractSyntax, transferSyntaxes: [features] }
      ])
    })
  )

  const refused = (
    name: string,
    answer: (peer: Peer) => Effect.Effect<unknown>,
    expected: ReadonlyArray<unknown>,
    detail: string
  ) =>
    wire(
      name,
      Effect.gen(function* () {
        const accept = yield* listen
        const binding = yield* Effect.forkChild(Association.bind(IEcho, address))
        const peer = yield* accept
        yield* peer.take("Bind")
        yield* answer(peer)
        const error = yield* Effect.flip(Fiber.join(binding))
        assert.deepStrictEqual([error._tag, "status" in error ? error.status : undefined], expected)
        assert.include(error.message, detail)
        assert.isTrue(yield* peer.isClosed)
      })
    )
  const nak = (rejectReason: number) => (peer: Peer) =>
    peer.send((writer) => Pdu.encodeBindNak(writer, { callId: 1, rejectReason }))
  const ack = (fields: Partial<Pdu.Fields<Pdu.BindAck>>) => (peer: Peer) => peer.ack(fields)
  const rejected = (result: number, reason: number) =>
    ack({ results: [{ result, reason, transferSyntax: Pdu.nilSyntax }, noFeatures] })

  refused("bind refused without a reason: fails with the reason", nak(0), unavailable, "it gave no reason")
  refused("bind refused for congestion: fails with the reason", nak(1), unavailable, "congested")
  refused("bind refused for a limit: fails with the reason", nak(2), unavailable, "limits")
  refused("bind refused for the version: fails with the reason", nak(4), unavailable, "another version of the protocol")
  refused("bind refused for an unknown reason: fails with the reason", nak(99), unavailable, "reason 99")
  refused(
    "bind of an unknown interface: fails with the reason",
    rejected(2, 1),
    ["UnknownInterface", undefined],
    "version 1.2"
  )
  refused(
    "bind of an unknown transfer syntax: fails with the reason",
    rejected(2, 2),
    unavailable,
    "does not speak version 2.0 of Callisto's"
  )
  refused(
    "bind, transfer syntax known in another version: fails with the reason",
    ack({ results: [{ result: 2, reason: 2, transferSyntax: { ...binary.id, major: 3 } }, noFeatures] }),
    unavailable,
    "it speaks version 3.0. Run the same version"
  )
  refused("bind, one context above the server's limit: fails with the reason", rejected(2, 3), unavailable, "limits")
  refused("bind, interface rejected by the user: fails with the reason", rejected(1, 0), unavailable, "result 1")
  refused(
    "bind answered with one result only: fails with the reason",
    ack({ results: [accepted] }),
    unavailable,
    "1 presentation contexts"
  )
  refused(
    "bind answered with one result too many: fails with the reason",
    ack({ results: [accepted, noFeatures, noFeatures] }),
    unavailable,
    "3 presentation"
  )
  refused(
    "bind answered with a transfer syntax that was not proposed: fails with the reason",
    ack({ results: [{ ...accepted, transferSyntax: ndr20.id }, noFeatures] }),
    unavailable,
    "not proposed"
  )
  refused(
    "bind answered with fragments below the least size: fails with the reason",
    ack({ maxRecvFrag: 1431 }),
    unavailable,
    "1431 bytes"
  )
  refused(
    "bind answered with garbage: fails with the reason",
    (peer) => peer.bytes(new Uint8Array(64).fill(7)),
    unavailable,
    "the bind was"
  )
  refused(
    "bind answered with another PDU: fails with the reason",
    (peer) => peer.respond(1, Uint8Array.of(0)),
    unavailable,
    "Response"
  )
  refused(
    "bind, connection closed: fails with the reason",
    (peer) => peer.close,
    unavailable,
    "while it was being bound"
  )

  wire(
    "bind never answered: is given up after the connect timeout",
    Effect.gen(function* () {
      const accept = yield* listen
      const binding = yield* Effect.forkChild(Association.bind(IEcho, address, { connectTimeout: "3 seconds" }))
      const peer = yield* accept
      yield* peer.take("Bind")
      // A drop at a time does not help.
      yield* peer.bytes(Uint8Array.of(5, 0, 12))
      yield* TestClock.adjust("2999 millis")
      assert.isTrue(yield* isWaiting(binding))
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* failure(Fiber.join(binding)), unavailable)
      assert.isTrue(yield* peer.isClosed)
    })
  )
})

// ----------------------------------------------------------------------------
// requests and replies
// ----------------------------------------------------------------------------

describe("requests and replies", () => {
  wire(
    "request of several fragments: its fragments fit what the server receives",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp({}, { maxRecvFrag: 2048 })
      const text = "x".repeat(5000)
      const pending = yield* begin(text)
      const fragments = [yield* peer.take("Request"), yield* peer.take("Request"), yield* peer.take("Request")]
      assert.deepStrictEqual(
        fragments.map(({ flags }) => flags & whole),
        [Pdu.flags.firstFrag, 0, Pdu.flags.lastFrag]
      )
      for (const { stub } of fragments) assert.isAtMost(stub.length + 24, 2048)
      const stub = new Uint8Array(fragments.flatMap(({ stub }) => [...stub]))
      assert.strictEqual(inputOf({ ...fragments[0]!, stub }), text)
      yield* peer.reply(fragments[0]!, "done")
      assert.strictEqual(yield* join(pending), "done")
    })
  )

  wire(
    "responses whose fragments interleave: are put together by their call",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp()
      const one = yield* begin("one")
      const two = yield* begin("two")
      const [a, b] = [(yield* peer.take("Request")).callId, (yield* peer.take("Request")).callId]
      const [left, right] = [stubOf("left hand"), stubOf("right hand")]
      yield* peer.respond(a, left.slice(0, 4), Pdu.flags.firstFrag)
      yield* peer.respond(b, right.slice(0, 2), Pdu.flags.firstFrag)
      yield* peer.respond(a, left.slice(4, 6), 0)
      yield* peer.respond(b, right.slice(2), Pdu.flags.lastFrag)
      yield* peer.respond(a, left.slice(6), Pdu.flags.lastFrag)
      assert.deepStrictEqual([yield* join(one), yield* join(two)], ["left hand", "right hand"])
    })
  )

  wire(
    "PDUs for an unknown call: are discarded",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp()
      const pending = yield* begin("one")
      const request = yield* peer.take("Request")
      yield* peer.reply({ ...request, callId: 4711 }, "wrong")
      yield* peer.fault({ ...request, callId: 4711 }, 5)
      yield* peer.reply(request, "right")
      assert.strictEqual(yield* join(pending), "right")
    })
  )

  wire(
    "server that writes its numbers in the other byte order: is understood",
    Effect.gen(function* () {
      const accept = yield* listen
      const binding = yield* Effect.forkChild(Association.bind(ISum, address))
      const peer = yield* accept
      yield* peer.take("Bind")
      const big = { littleEndian: false }
      yield* peer.send((writer) =>
        Pdu.encodeBindAck(writer, {
          callId: 1,
          flags: mpx,
          maxXmitFrag: 5840,
          maxRecvFrag: 5840,
          assocGroupId: 5,
          secAddr: "",
          results: [{ ...accepted, transferSyntax: ndr20.id }, noFeatures]
        }), big)
      const sum = yield* Fiber.join(binding)
      const adding = yield* Effect.forkChild(Call.invoke(sum, "AddOne", { value: 0x01020303 }))
      const { callId } = yield* peer.take("Request")
      yield* peer.send((writer) => {
        Pdu.beginResponse(writer, { callId, contextId: 0, cancelCount: 0 })
        ndr20.codec(ISum.methods.AddOne, "AddOne")!.writeResults(writer, { value: 0x01020304 })
        Pdu.endMessage(writer, 5840)
      }, big)
      assert.deepStrictEqual(yield* Fiber.join(adding), { value: 0x01020304 })
    })
  )

  wire(
    "fault: is the call's declared abort, a cancel, or its number",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp()
      const faulted = (status: number, flags = 0) =>
        Effect.gen(function* () {
          const pending = yield* begin("one")
          yield* peer.fault(yield* peer.take("Request"), status, flags)
          return yield* Effect.flip(Call.join(pending))
        })
      const { didNotExecute } = Pdu.flags
      assert.deepStrictEqual(yield* faulted(77), new Refused())
      assertFailure(yield* faulted(77, didNotExecute), new Status.RpcFault({ code: 77, didNotExecute: true }))
      assertFailure(yield* faulted(0x1c00000d), new Status.CallCancelled({ didNotExecute: false }))
      assertFailure(yield* faulted(1818, didNotExecute), new Status.CallCancelled({ didNotExecute: true }))
      assertFailure(yield* faulted(78), new Status.RpcFault({ code: 78, didNotExecute: false }))
      assertFailure(
        yield* faulted(0x1c010014, didNotExecute),
        new Status.RpcFault({ code: 1723, wireCode: 0x1c010014, didNotExecute: true })
      )
      assertFailure(yield* faulted(0), new Status.RpcFault({ code: 1728, wireCode: 0, didNotExecute: false }))
    })
  )

  wire(
    "fault inside a response: the begun response is discarded",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp()
      const pending = yield* begin("one")
      const request = yield* peer.take("Request")
      yield* peer.respond(request.callId, Uint8Array.of(0, 1), Pdu.flags.firstFrag)
      yield* peer.fault(request, 78)
      yield* peer.respond(request.callId, Uint8Array.of(2), Pdu.flags.lastFrag)
      assert.strictEqual((yield* Effect.flip(Call.join(pending)))._tag, "RpcFault")
      const next = yield* begin("two")
      yield* peer.reply(yield* peer.take("Request"), "fine")
      assert.strictEqual(yield* join(next), "fine")
    })
  )
})

// ----------------------------------------------------------------------------
// one call at a time
// ----------------------------------------------------------------------------

describe("a server that carries one call at a time on a connection", () => {
  wire(
    "causal binding, one call at a time: calls run one after another, in the order of their begin",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp({}, { flags: 0 })
      const one = yield* begin("one")
      const two = yield* Effect.forkChild(begin("two"))
      yield* settle
      const three = yield* Effect.forkChild(begin("three"))
      assert.isTrue(yield* isWaiting(two))
      const first = yield* peer.take("Request")
      yield* peer.reply(first, "1")
      assert.strictEqual(yield* join(one), "1")
      const second = yield* peer.take("Request")
      assert.deepStrictEqual([inputOf(first), inputOf(second)], ["one", "two"])
      assert.isTrue(yield* isWaiting(three))
      yield* peer.reply(second, "2")
      assert.strictEqual(yield* join(yield* Fiber.join(two)), "2")
      assert.strictEqual(inputOf(yield* peer.take("Request")), "three")
    })
  )

  wire(
    "binding that is not causal, one call at a time: calls use several connections of one group, closed when idle",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp({ causal: false, maximumConnections: 2 }, { flags: 0 })
      const one = yield* begin("one")
      const beginning = yield* Effect.forkChild(begin("two"))
      const second = yield* acceptBound
      assert.strictEqual(second.bind.assocGroupId, 5)
      const two = yield* Fiber.join(beginning)
      const waiting = yield* Effect.forkChild(begin("three"))
      assert.isTrue(yield* isWaiting(waiting))

      yield* second.reply(yield* second.take("Request"), "2")
      assert.strictEqual(yield* join(two), "2")
      const three = yield* Fiber.join(waiting)
      const first = yield* peer.take("Request")
      assert.strictEqual(inputOf(first), "one")
      yield* second.reply(yield* second.take("Request"), "3")
      assert.strictEqual(yield* join(three), "3")

      // The other one is used, even if its call takes long.
      yield* TestClock.adjust("30 seconds")
      assert.isTrue(yield* second.isClosed)
      yield* peer.reply(first, "1")
      assert.strictEqual(yield* join(one), "1")
      yield* TestClock.adjust("30 seconds")
      const last = yield* begin("last")
      yield* peer.reply(yield* peer.take("Request"), "4")
      assert.strictEqual(yield* join(last), "4")
    })
  )

  wire(
    "orphan, one call at a time: costs the connection, and the next call has another one",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp({}, { flags: 0 })
      const one = yield* begin("one")
      yield* Call.cancel(one)
      yield* peer.take("Request")
      yield* peer.take("CoCancel")
      yield* peer.take("Orphaned")
      assert.isTrue(yield* peer.isClosed)
      const beginning = yield* Effect.forkChild(begin("two"))
      const second = yield* acceptBound
      assert.strictEqual(second.bind.assocGroupId, 0)
      yield* second.reply(yield* second.take("Request"), "2")
      assert.strictEqual(yield* join(yield* Fiber.join(beginning)), "2")
    })
  )
})

// ----------------------------------------------------------------------------
// cancelling
// ----------------------------------------------------------------------------

describe("cancelling", () => {
  wire(
    "patient cancel: one cancel is sent, and the client gets the server's answer",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp()
      const one = yield* begin("one")
      yield* Call.cancel(one, { timeout: Infinity })
      yield* Call.cancel(one, { timeout: "1 minute" })
      const request = yield* peer.take("Request")
      assert.strictEqual((yield* peer.take("CoCancel")).callId, request.callId)
      yield* peer.reply(request, "still")
      assert.strictEqual(yield* join(one), "still")
      // Nothing else was sent.
      yield* begin("two")
      yield* peer.take("Request")
    })
  )

  wire(
    "cancel timeout over, no other call on the connection: the call ends, and the server is told",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp()
      const one = yield* begin("one")
      yield* Call.cancel(one, { timeout: "1 second" })
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Effect.flip(Call.finish(one)))._tag, "CallCancelled")
      yield* peer.take("Request")
      yield* peer.take("CoCancel")
      yield* peer.take("Orphaned")
      assert.isTrue(yield* peer.isClosed)
      const next = yield* Effect.forkChild(begin("two"))
      yield* (yield* acceptBound).take("Request")
      yield* Fiber.join(next)
    })
  )

  wire(
    "abortive cancel: the other calls go on, and the late reply is discarded",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp()
      const one = yield* begin("one")
      const two = yield* begin("two")
      const [first, second] = [yield* peer.take("Request"), yield* peer.take("Request")]
      yield* Call.cancel(one)
      assertFailure(
        yield* Effect.flip(Call.finish(one)),
        new Status.CallCancelled({ didNotExecute: false })
      )
      yield* peer.take("CoCancel")
      yield* peer.reply(first, "late")
      yield* peer.reply(second, "2")
      assert.strictEqual(yield* join(two), "2")
      yield* begin("three")
      yield* peer.take("Request")
    })
  )

  wire(
    "orphan beside other calls: is sent where the server then keeps the connection",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp({}, { results: [accepted, keepsOnOrphan] })
      const one = yield* begin("one")
      const two = yield* begin("two")
      const [first, second] = [yield* peer.take("Request"), yield* peer.take("Request")]
      yield* Call.cancel(one)
      yield* peer.take("CoCancel")
      assert.strictEqual((yield* peer.take("Orphaned")).callId, first.callId)
      yield* peer.reply(second, "2")
      assert.strictEqual(yield* join(two), "2")
      const three = yield* begin("three")
      yield* Call.cancel(three)
      yield* peer.take("Request")
      yield* peer.take("CoCancel")
      yield* peer.take("Orphaned")
      yield* begin("four")
      yield* peer.take("Request")
    })
  )

  wire(
    "object released: its call is orphaned, or cancelled where an orphan would cost other calls",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp()
      const two = yield* begin("two")
      const second = yield* peer.take("Request")
      yield* Effect.scoped(begin("one"))
      const first = yield* peer.take("Request")
      assert.strictEqual((yield* peer.take("CoCancel")).callId, first.callId)
      // Cancelled already: told once.
      yield* Effect.scoped(Effect.flatMap(begin("three"), (pending) => Call.cancel(pending, { timeout: Infinity })))
      yield* peer.take("Request")
      yield* peer.take("CoCancel")
      yield* peer.reply(second, "2")
      assert.strictEqual(yield* join(two), "2")
      yield* Effect.scoped(begin("four"))
      yield* peer.take("Request")
      yield* peer.take("Orphaned")
      assert.isTrue(yield* peer.isClosed)
    })
  )

  wire(
    "call timeout: cancels the call",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp({ callTimeout: "5 seconds" })
      const one = yield* begin("one")
      yield* TestClock.adjust("3 seconds")
      const two = yield* begin("two")
      const [, second] = [yield* peer.take("Request"), yield* peer.take("Request")]
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Effect.flip(Call.finish(one)))._tag, "CallCancelled")
      yield* peer.take("CoCancel")
      assert.strictEqual((yield* Effect.flip(Call.finish(two)))._tag, "CallPending")
      yield* peer.reply(second, "2")
      assert.strictEqual(yield* join(two), "2")
    })
  )

  wire(
    "call timeout of a call begun by a waiter of another call: ends it in time",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp({ callTimeout: "5 seconds" }, { results: [accepted, keepsOnOrphan] })
      const one = yield* begin("one")
      const next = yield* Effect.forkChild(
        Effect.andThen(Effect.exit(Call.join(one)), Effect.flatMap(begin("two"), (two) => Effect.exit(Call.join(two)))),
        { startImmediately: true }
      )
      yield* peer.take("Request")
      yield* TestClock.adjust("5 seconds")
      yield* peer.take("CoCancel")
      yield* TestClock.adjust("4999 millis")
      assert.isTrue(yield* isWaiting(next))
      yield* TestClock.adjust("1 millis")
      assert.include(String(yield* Fiber.join(next)), "CallCancelled")
    })
  )

  wire(
    "call timeout of a call sent once more behind a later one: ends it in time",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp({ callTimeout: "5 seconds" })
      const one = yield* begin("one", "Again")
      yield* peer.send((writer) => Pdu.encodeShutdown(writer, { callId: 0 }))
      yield* settle
      yield* TestClock.adjust("3 seconds")
      const beginning = yield* Effect.forkChild(begin("two"))
      const second = yield* acceptBound
      const two = yield* Fiber.join(beginning)
      yield* peer.reset
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Effect.flip(Call.finish(one)))._tag, "CallCancelled")
      assert.strictEqual((yield* Effect.flip(Call.finish(two)))._tag, "CallPending")
      yield* second.reset
    })
  )

  wire(
    "call timeout of a begin that waits for room: ends it, and nothing is sent",
    Effect.gen(function* () {
      const { begin, peer, store } = yield* setUp({ callTimeout: "5 seconds", maximumQueued: 1000 })
      yield* begin(large)
      yield* settle
      const call = yield* Call.make(store)
      const waiting = yield* Effect.forkChild(Effect.flip(Call.begin(call, "Echo", bytesOf("two"))))
      yield* settle
      yield* TestClock.adjust("5 seconds")
      const error = yield* Fiber.join(waiting)
      assert.deepInclude(error, { _tag: "RpcTransportError", status: 1722 })
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
      const { callId } = yield* peer.take("Request")
      for (let fragment = 1; fragment < 4; fragment++) yield* peer.take("Request")
      assert.strictEqual((yield* peer.take("CoCancel")).callId, callId)
    })
  )

  wire(
    "call timeout as the client closes the binding: the server is told",
    Effect.gen(function* () {
      const { begin, close, peer } = yield* setUp({ callTimeout: "5 seconds" })
      const one = yield* begin("one")
      yield* Effect.forkChild(Effect.andThen(Effect.ignore(Call.join(one)), close), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      yield* peer.take("Request")
      yield* peer.take("CoCancel")
    })
  )
})

// ----------------------------------------------------------------------------
// the end of a connection
// ----------------------------------------------------------------------------

/** More than the transport holds: while the server does not read, nothing behind it leaves. */
const large = "x".repeat(200_000)

/** More than is handed to the transport at once: of its request a part is left behind. */
const larger = "x".repeat(400_000)

describe("when a connection is lost", () => {
  wire(
    "connection lost, request sent: the call ends with 1726, and the next call connects again",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp()
      const one = yield* begin("one")
      yield* peer.take("Request")
      yield* peer.reset
      assert.deepStrictEqual(yield* failure(Call.join(one)), lost)
      const beginning = yield* Effect.forkChild(begin("two"))
      const second = yield* acceptBound
      assert.strictEqual(second.bind.assocGroupId, 0)
      const two = yield* Fiber.join(beginning)
      yield* second.reply(yield* second.take("Request"), "2")
      assert.strictEqual(yield* join(two), "2")
    })
  )

  wire(
    "connection lost, request certainly not sent: is sent on another connection, before later calls",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp()
      const one = yield* begin(large)
      yield* settle
      const two = yield* begin("two")
      const three = yield* begin("three")
      yield* peer.reset
      assert.deepStrictEqual(yield* failure(Call.join(one)), lost)
      const four = yield* Effect.forkChild(begin("four"))
      const second = yield* acceptBound
      const requests = [yield* second.take("Request"), yield* second.take("Request"), yield* second.take("Request")]
      assert.deepStrictEqual(requests.map(inputOf), ["two", "three", "four"])
      for (const request of requests) yield* second.reply(request, inputOf(request))
      assert.deepStrictEqual([yield* join(two), yield* join(three)], ["two", "three"])
      assert.strictEqual(yield* join(yield* Fiber.join(four)), "four")
    })
  )

  wire(
    "connection lost, request not sent, no other connection: the call ends with 1722, and did not execute",
    Effect.gen(function* () {
      const { accept, begin, peer } = yield* setUp()
      const one = yield* begin(large, "Again")
      yield* settle
      const two = yield* begin("two")
      yield* peer.reset
      yield* (yield* accept).close
      // The first may have run.
      assert.deepStrictEqual(yield* failure(Call.join(one)), lost)
      const error = yield* Effect.flip(Call.join(two))
      assert.deepStrictEqual([error._tag, "status" in error && error.status] as Array<unknown>, unavailable)
      assert.include(error.message, "The call was not executed")
    })
  )

  wire(
    "connection lost, request sent in part: is sent on another connection, too",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp()
      const one = yield* begin(larger)
      yield* settle
      const two = yield* begin("two")
      yield* peer.reset
      const second = yield* acceptBound
      const stubs: Array<number> = []
      let request = yield* second.take("Request")
      const { callId } = request
      while ((request.flags & Pdu.flags.lastFrag) === 0) {
        stubs.push(...request.stub)
        request = yield* second.take("Request")
        assert.strictEqual(request.callId, callId)
      }
      assert.strictEqual(inputOf({ ...request, stub: new Uint8Array([...stubs, ...request.stub]) }), larger)
      yield* second.reply(request, "1")
      yield* second.reply(yield* second.take("Request"), "2")
      assert.deepStrictEqual([yield* join(one), yield* join(two)], ["1", "2"])
    })
  )

  wire(
    "connection lost, request sent in part, no other connection: the call ends with 1727, since no server executes a part",
    Effect.gen(function* () {
      const { accept, begin, peer } = yield* setUp()
      const one = yield* begin(larger)
      yield* settle
      const two = yield* begin("two")
      yield* peer.reset
      yield* (yield* accept).close
      const error = yield* Effect.flip(Call.join(one))
      assert.deepStrictEqual([error._tag, "status" in error && error.status] as Array<unknown>, notExecuted)
      assert.include(error.message, "The call was not executed")
      assert.deepStrictEqual(yield* failure(Call.join(two)), unavailable)
    })
  )

  wire(
    "connection lost, several requests of one turn: each is judged by itself",
    Effect.gen(function* () {
      const { accept, begin, peer } = yield* setUp({ maximumQueued: 2_000_000 })
      const calls = yield* Effect.forEach(["small", larger, large], (text) => begin(text))
      yield* settle
      yield* peer.reset
      yield* (yield* accept).close
      const failures = yield* Effect.forEach(calls, (pending) => failure(Call.join(pending)))
      assert.deepStrictEqual(failures, [lost, notExecuted, unavailable])
    })
  )

  wire(
    "connection lost, call with an in pipe: may have run as soon as its arguments were sent",
    Effect.gen(function* () {
      const { acceptBound, store } = yield* setUp()
      const lose = (text: string) =>
        Effect.gen(function* () {
          const call = yield* Call.make(store)
          const beginning = yield* Effect.forkChild(Call.begin(call, "Feed", bytesOf(text)))
          const peer = yield* acceptBound
          const pending = yield* Fiber.join(beginning)
          yield* Pipe.push(Call.inPipe(pending, "more"), bytesOf(large))
          yield* settle
          yield* peer.reset
          return yield* failure(Call.join(pending))
        })
      assert.deepStrictEqual(yield* lose("one"), lost)
      assert.deepStrictEqual(yield* lose(large), lost)
      assert.deepStrictEqual(yield* lose(larger), notExecuted)
    })
  )

  wire(
    "request sent in part, then sent whole: the call ends with 1726 when that connection is lost",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp()
      const one = yield* begin(larger)
      yield* settle
      yield* peer.reset
      const second = yield* acceptBound
      while (((yield* second.take("Request")).flags & Pdu.flags.lastFrag) === 0);
      yield* second.reset
      assert.deepStrictEqual(yield* failure(Call.join(one)), lost)
    })
  )

  wire(
    "request sent in part, then not at all: the call ends with 1727 when that connection is lost",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp()
      const one = yield* begin(larger)
      yield* peer.send((writer) => Pdu.encodeShutdown(writer, { callId: 0 }))
      yield* settle
      const beginning = yield* Effect.forkChild(begin(larger))
      const second = yield* acceptBound
      yield* Fiber.join(beginning)
      yield* settle
      // Now it waits behind another one.
      yield* peer.reset
      yield* settle
      yield* second.reset
      assert.deepStrictEqual(yield* failure(Call.join(one)), notExecuted)
    })
  )

  wire(
    "connection lost, idempotent method: the call is sent once more, and once only",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp()
      const one = yield* begin("one", "Again")
      yield* peer.take("Request")
      yield* peer.reset
      const second = yield* acceptBound
      const again = yield* second.take("Request")
      assert.strictEqual(inputOf(again), "one")
      // It did not execute there, but perhaps before.
      yield* second.fault(again, 78, Pdu.flags.didNotExecute)
      assertFailure(
        yield* Effect.flip(Call.join(one)),
        new Status.RpcFault({ code: 78, didNotExecute: false })
      )

      const two = yield* begin("two", "Again")
      yield* second.take("Request")
      yield* second.reset
      const third = yield* acceptBound
      yield* third.take("Request")
      yield* third.reset
      assert.deepStrictEqual(yield* failure(Call.join(two)), lost)
    })
  )

  wire(
    "call that may have run before, not sent again: counts as executed",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp()
      const one = yield* begin("one", "Again")
      yield* peer.take("Request")
      yield* peer.send((writer) => Pdu.encodeShutdown(writer, { callId: 0 }))
      yield* settle
      const beginning = yield* Effect.forkChild(begin(large))
      const second = yield* acceptBound
      yield* Fiber.join(beginning)
      yield* settle
      // Now it waits behind the large one.
      yield* peer.reset
      yield* settle
      yield* second.reset
      assert.deepStrictEqual(yield* failure(Call.join(one)), lost)
    })
  )

  wire(
    "call waiting to be sent again, cancelled: is not sent",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp()
      const one = yield* begin(large, "Again")
      yield* settle
      const two = yield* begin("two")
      const three = yield* begin("three")
      yield* peer.reset
      yield* settle
      yield* Call.cancel(one)
      yield* Call.cancel(two, { timeout: Infinity })
      assertFailure(yield* Effect.flip(Call.finish(one)), new Status.CallCancelled({ didNotExecute: false }))
      assertFailure(yield* Effect.flip(Call.finish(two)), new Status.CallCancelled({ didNotExecute: true }))
      const second = yield* acceptBound
      const request = yield* second.take("Request")
      assert.strictEqual(inputOf(request), "three")
      yield* second.reply(request, "3")
      assert.strictEqual(yield* join(three), "3")
    })
  )

  wire(
    "cancelled call, connection lost: is not sent again",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp()
      const one = yield* begin("one", "Again")
      yield* Call.cancel(one, { timeout: Infinity })
      yield* peer.take("Request")
      yield* peer.reset
      assert.deepStrictEqual(yield* failure(Call.join(one)), lost)
    })
  )

  wire(
    "connection can't send any more: what has arrived still counts",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp()
      const one = yield* begin("one")
      yield* peer.reply(yield* peer.take("Request"), "1")
      yield* peer.close
      const two = yield* begin("two")
      assert.strictEqual(yield* join(one), "1")
      assert.deepStrictEqual(yield* failure(Call.join(two)), lost)
      const three = yield* Effect.forkChild(begin("three"))
      yield* (yield* acceptBound).take("Request")
      yield* Fiber.join(three)
    })
  )

  wire(
    "server shuts down: calls on the connection go on, and the next call has another one",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp()
      const one = yield* begin("one")
      const request = yield* peer.take("Request")
      yield* peer.send((writer) => Pdu.encodeShutdown(writer, { callId: 0 }))
      yield* settle
      const beginning = yield* Effect.forkChild(begin("two"))
      const second = yield* acceptBound
      assert.strictEqual(second.bind.assocGroupId, 0)
      yield* second.take("Request")
      yield* peer.reply(request, "1")
      assert.strictEqual(yield* join(one), "1")
      assert.isTrue(yield* peer.isClosed)
      yield* second.send((writer) => Pdu.encodeShutdown(writer, { callId: 0 }))
      yield* second.reply({ ...request, callId: request.callId + 2 }, "2")
      assert.strictEqual(yield* join(yield* Fiber.join(beginning)), "2")
      assert.isTrue(yield* second.isClosed)
    })
  )

  wire(
    "binding closed: what was sent leaves first",
    Effect.gen(function* () {
      const { begin, close, peer, store } = yield* setUp()
      const one = yield* begin("one")
      yield* Call.invoke(store, "Tell", bytesOf("hello"))
      yield* close
      assert.deepStrictEqual(yield* failure(Call.join(one)), lost)
      yield* peer.take("Request")
      assert.strictEqual(inputOf(yield* peer.take("Request")), "hello")
      assert.isTrue(yield* peer.isClosed)
      assert.deepStrictEqual(yield* failure(begin("two")), unavailable)
    })
  )
})

// ----------------------------------------------------------------------------
// several interfaces
// ----------------------------------------------------------------------------

describe("an association", () => {
  /** One whose connection is bound to ISum. */
  const shared = (options?: Association.Options) =>
    Effect.gen(function* () {
      const accept = yield* listen
      const association = yield* Association.make(address, options)
      const acceptBound = Effect.gen(function* () {
        const peer = yield* accept
        const { callId } = yield* peer.take("Bind")
        const results = [{ ...accepted, transferSyntax: ndr20.id }, noFeatures]
        yield* peer.ack({ callId, results, maxRecvFrag: 5840 })
        return peer
      })
      const binding = yield* Effect.forkChild(Association.bind(ISum, association))
      const peer = yield* acceptBound
      return { accept, acceptBound, association, peer, sum: yield* Fiber.join(binding) }
    })

  const alterTo = (association: Association.Association) => Effect.forkChild(Association.bind(IEcho, association))

  const agree = (peer: Peer, { callId }: Pdu.AlterContext, result: Pdu.ContextResult = accepted) =>
    peer.send((writer) =>
      Pdu.encodeAlterContextResponse(writer, {
        callId,
        maxXmitFrag: 65528,
        maxRecvFrag: 65528,
        assocGroupId: 5,
        results: [result]
      })
    )

  wire(
    "one more interface: is bound with alter_context, and each call uses its presentation context",
    Effect.gen(function* () {
      const { association, peer, sum } = yield* shared()
      const binding = yield* alterTo(association)
      const alter = yield* peer.take("AlterContext")
      const abstractSyntax = { uuid: IEcho.uuid, major: 1, minor: 2 }
      assert.deepStrictEqual(alter.contextElements, [{ contextId: 1, abstractSyntax, transferSyntaxes: [binary.id] }])
      assert.deepStrictEqual([alter.maxXmitFrag, alter.assocGroupId], [65528, 5])
      yield* agree(peer, alter)
      const store = yield* Fiber.join(binding)

      const echoing = yield* Effect.forkChild(Call.invoke(store, "Echo", bytesOf("one")))
      const adding = yield* Effect.forkChild(Call.invoke(sum, "AddOne", { value: 1 }))
      const [one, two] = [yield* peer.take("Request"), yield* peer.take("Request")]
      assert.deepStrictEqual([one.contextId, two.contextId], [1, 0])
      yield* peer.respond(two.callId, Uint8Array.of(2, 0, 0, 0))
      yield* peer.respond(one.callId, stubOf("first"), whole, 1)
      assert.deepStrictEqual(yield* Fiber.join(adding), { value: 2 })
      assert.strictEqual(textOf(yield* Fiber.join(echoing)), "first")
    })
  )

  wire(
    "Callisto's own syntax agreed on: larger fragments are sent",
    Effect.gen(function* () {
      const { association, peer } = yield* shared()
      const binding = yield* alterTo(association)
      yield* agree(peer, yield* peer.take("AlterContext"))
      const call = yield* Call.make(yield* Fiber.join(binding))
      yield* Call.begin(call, "Echo", new Uint8Array(20_000))
      assert.strictEqual((yield* peer.take("Request")).flags, whole)
    })
  )

  wire(
    "several bindings of one interface: it is asked for once, and each call carries its binding's object",
    Effect.gen(function* () {
      const { association, peer } = yield* shared()
      const object = "11111111-2222-3333-4444-555555555555"
      const sum = yield* Association.bind(ISum, association, { object })
      yield* Call.begin(yield* Call.make(sum), "AddOne", { value: 1 })
      assert.strictEqual((yield* peer.take("Request")).object, object)
    })
  )

  wire(
    "one interface refused: calls of the other interfaces go on",
    Effect.gen(function* () {
      const { association, peer, sum } = yield* shared()
      const unknown = yield* alterTo(association)
      const nothing = { result: 2, reason: 1, transferSyntax: Pdu.nilSyntax }
      yield* agree(peer, yield* peer.take("AlterContext"), nothing)
      assert.deepStrictEqual(yield* failure(Fiber.join(unknown)), ["UnknownInterface", undefined])

      const faulted = yield* alterTo(association)
      const { callId } = yield* peer.take("AlterContext")
      const status = 0x1c01000b
      yield* peer.send((writer) => Pdu.encodeFault(writer, { callId, contextId: 0, cancelCount: 0, status }))
      assert.deepStrictEqual(yield* failure(Fiber.join(faulted)), unavailable)

      const adding = yield* Effect.forkChild(Call.invoke(sum, "AddOne", { value: 1 }))
      yield* peer.respond((yield* peer.take("Request")).callId, Uint8Array.of(2, 0, 0, 0))
      assert.deepStrictEqual(yield* Fiber.join(adding), { value: 2 })
    })
  )

  wire(
    "answer to an alter_context: is awaited as long as a connection",
    Effect.gen(function* () {
      const { association, peer } = yield* shared({ connectTimeout: "2 seconds" })
      const binding = yield* alterTo(association)
      const late = yield* peer.take("AlterContext")
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* failure(Fiber.join(binding)), unavailable)

      // The answer that comes late counts all the same.
      yield* agree(peer, late)
      yield* settle
      yield* Association.bind(IEcho, association)
    })
  )

  wire(
    "connection lost during an alter_context: that binding is refused, and the next has another connection",
    Effect.gen(function* () {
      const { acceptBound, association, peer, sum } = yield* shared()
      const binding = yield* alterTo(association)
      yield* peer.take("AlterContext")
      yield* peer.reset
      assert.deepStrictEqual(yield* failure(Fiber.join(binding)), unavailable)
      const adding = yield* Effect.forkChild(Call.invoke(sum, "AddOne", { value: 1 }))
      const second = yield* acceptBound
      yield* second.respond((yield* second.take("Request")).callId, Uint8Array.of(2, 0, 0, 0))
      assert.deepStrictEqual(yield* Fiber.join(adding), { value: 2 })
    })
  )

  wire(
    "scope of one binding closes: the connection and the other bindings' calls stay",
    Effect.gen(function* () {
      const { association, peer, sum } = yield* shared()
      const scope = yield* Scope.make()
      const other = yield* Scope.provide(Association.bind(ISum, association), scope)
      const [adding, lasting] = [yield* Call.make(other), yield* Call.make(sum)]
      const pending = yield* Call.begin(adding, "AddOne", { value: 1 })
      const kept = yield* Call.begin(lasting, "AddOne", { value: 1 })
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* failure(Call.join(pending)), lost)
      assert.deepStrictEqual(yield* failure(Call.begin(adding, "AddOne", { value: 1 })), unavailable)

      const [given, { callId }] = [yield* peer.take("Request"), yield* peer.take("Request")]
      // Without the agreement to keep the connection on orphans the server is asked to stop, no more.
      assert.strictEqual((yield* peer.take("CoCancel")).callId, given.callId)
      yield* peer.respond(callId, Uint8Array.of(2, 0, 0, 0))
      assert.deepStrictEqual(yield* Call.join(kept), { value: 2 })
    })
  )
})

// ----------------------------------------------------------------------------
// room
// ----------------------------------------------------------------------------

describe("begin", () => {
  for (const maximumQueued of [1000, 100_000]) {
    wire(
      `begin, ${maximumQueued} bytes queued: waits; interrupted then, it leaves the object idle and sends nothing`,
      Effect.gen(function* () {
        const { begin, peer, store } = yield* setUp({ maximumQueued })
        yield* begin(large)
        yield* settle
        const call = yield* Call.make(store)
        const two = yield* Effect.forkChild(Call.begin(call, "Echo", bytesOf("two")))
        const three = yield* Effect.forkChild(begin("three"))
        assert.isTrue(yield* isWaiting(two))
        assert.isTrue(Option.isNone(yield* Call.pending(call)))
        yield* Fiber.interrupt(two)
        assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
        assert.isTrue(yield* isWaiting(three))
        for (let i = 0; i < 4; i++) yield* peer.take("Request")
        assert.strictEqual(inputOf(yield* peer.take("Request")), "three")
        yield* Fiber.join(three)
      })
    )
  }

  wire(
    "begin interrupted while it connects: stops connecting",
    Effect.gen(function* () {
      const { accept, begin, peer, store } = yield* setUp()
      yield* peer.close
      yield* settle
      const call = yield* Call.make(store)
      const two = yield* Effect.forkChild(Call.begin(call, "Echo", bytesOf("two")))
      const second = yield* accept
      yield* second.take("Bind")
      yield* Fiber.interrupt(two)
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
      assert.isTrue(yield* second.isClosed)
      const three = yield* Effect.forkChild(begin("three"))
      const third = yield* accept
      yield* third.take("Bind")
      yield* third.ack()
      assert.strictEqual(inputOf(yield* third.take("Request")), "three")
      yield* Fiber.join(three)
    })
  )

  wire(
    "server can't be reached: every waiting begin fails with 1722",
    Effect.gen(function* () {
      const { accept, begin, peer } = yield* setUp()
      yield* peer.close
      yield* settle
      const one = yield* Effect.forkChild(begin("one"))
      const two = yield* Effect.forkChild(begin("two"))
      yield* (yield* accept).close
      assert.deepStrictEqual(yield* failure(Fiber.join(one)), unavailable)
      assert.deepStrictEqual(yield* failure(Fiber.join(two)), unavailable)
    })
  )
})

// ----------------------------------------------------------------------------
// a hostile server
// ----------------------------------------------------------------------------

describe("a server that breaks the protocol loses the connection, and the next call has another one:", () => {
  const hostile = (name: string, attack: (peer: Peer, request: Pdu.Request) => Effect.Effect<unknown>) =>
    wire(
      name,
      Effect.gen(function* () {
        const { acceptBound, begin, peer } = yield* setUp({ maximumResponse: 100_000 })
        const one = yield* begin("one")
        yield* attack(peer, yield* peer.take("Request"))
        const error = yield* Effect.flip(Call.join(one))
        assert.deepStrictEqual([error._tag, (error as Status.RpcTransportError).status], lost)
        assert.include(error.message, "broke the protocol")
        assert.isTrue(yield* peer.isClosed)
        const beginning = yield* Effect.forkChild(begin("two"))
        const second = yield* acceptBound
        yield* second.reply(yield* second.take("Request"), "2")
        assert.strictEqual(yield* join(yield* Fiber.join(beginning)), "2")
      })
    )
  const { firstFrag } = Pdu.flags

  hostile("garbage", (peer) => peer.bytes(new Uint8Array(1000).fill(0xa5)))
  hostile(
    "a fragment that ends before it begins",
    (peer) => peer.bytes(Uint8Array.of(5, 0, 2, 3, 16, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0))
  )
  hostile("a request", (peer, { callId }) =>
    peer.send((writer) => {
      Pdu.beginRequest(writer, { callId, contextId: 0, opnum: 0 })
      Pdu.endMessage(writer, 5840)
    }))
  hostile("a second answer to the bind", (peer) => peer.ack())
  hostile(
    "an answer to a question that was not asked",
    (peer) =>
      peer.send((writer) =>
        Pdu.encodeAlterContextResponse(writer, {
          callId: 9,
          maxXmitFrag: 5840,
          maxRecvFrag: 5840,
          assocGroupId: 5,
          results: [accepted]
        })
      )
  )
  hostile("another presentation context", (peer, { callId }) => peer.respond(callId, stubOf("1"), whole, 7))
  hostile("a later fragment without a first one", (peer, { callId }) => peer.respond(callId, stubOf("1"), 0))
  hostile(
    "two first fragments",
    (peer, { callId }) =>
      Effect.andThen(peer.respond(callId, stubOf("1"), firstFrag), peer.respond(callId, stubOf("1"), firstFrag))
  )
  wire(
    "connection closed for a broken protocol: its queued requests do not leave on it",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp()
      const one = yield* begin(large)
      yield* settle
      const two = yield* begin("two")
      yield* peer.bytes(new Uint8Array(1000))
      assert.deepStrictEqual(yield* failure(Call.join(one)), lost)
      const second = yield* acceptBound
      yield* second.reply(yield* second.take("Request"), "2")
      assert.strictEqual(yield* join(two), "2")
      for (let i = 0; i < 4; i++) yield* peer.take("Request")
      assert.isTrue(yield* peer.isClosed)
    })
  )

  wire(
    "a response that can't be read: ends its call alone with 1726, and the failure blames the client",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp()
      const one = yield* begin("one")
      const two = yield* begin("two")
      const [first, second] = [yield* peer.take("Request"), yield* peer.take("Request")]
      yield* peer.respond(first.callId, Uint8Array.of(9, 9, 9))
      yield* peer.reply(second, "2")
      const error = yield* Effect.flip(Call.join(one))
      assert.deepStrictEqual([error._tag, (error as Status.RpcTransportError).status], lost)
      assert.include(error.message, "IEcho.Echo at ncacn_memory:[raw]")
      assert.include(error.message, "the client cannot read the response: the stub is no reply")
      assert.strictEqual(yield* join(two), "2")
    })
  )

  for (const isWhole of [true, false]) {
    wire(
      `a response above maximumResponse, ${isWhole ? "in one fragment" : "without end"}: ends its call alone`,
      Effect.gen(function* () {
        const { begin, peer } = yield* setUp({ maximumResponse: 50_000 })
        const one = yield* begin("one")
        const two = yield* begin("two")
        const [first, second] = [yield* peer.take("Request"), yield* peer.take("Request")]
        yield* peer.respond(first.callId, new Uint8Array(60_000), isWhole ? whole : firstFrag)
        for (let i = 0; i < 3; i++) yield* peer.respond(first.callId, new Uint8Array(60_000), 0)
        yield* peer.reply(second, "2")
        const error = yield* Effect.flip(Call.join(one))
        assert.deepStrictEqual([error._tag, (error as Status.RpcTransportError).status], lost)
        assert.include(error.message, "larger than maximumResponse, expected at most 50000 bytes")
        assert.strictEqual(yield* join(two), "2")
        const three = yield* begin("three")
        yield* peer.reply(yield* peer.take("Request"), "3")
        assert.strictEqual(yield* join(three), "3")
      })
    )
  }

  wire(
    "a fault without its reserved word, of 28 bytes: ends its call alone, with its status",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp()
      const one = yield* begin("one")
      const two = yield* begin("two")
      const [first, second] = [yield* peer.take("Request"), yield* peer.take("Request")]
      const writer = new Pdu.Writer()
      Pdu.encodeFault(writer, { callId: first.callId, contextId: 0, cancelCount: 0, status: 0x1c010002 })
      const fault = writer.take().slice(0, 28)
      fault[8] = 28
      yield* peer.bytes(fault)
      yield* peer.reply(second, "2")
      assert.deepInclude(yield* Effect.flip(Call.join(one)), { _tag: "RpcFault", code: 1745, wireCode: 0x1c010002 })
      assert.strictEqual(yield* join(two), "2")
    })
  )
})

// ----------------------------------------------------------------------------
// numbers, clocks and layers
// ----------------------------------------------------------------------------

describe("numbers that come round", () => {
  wire(
    "a call id that is in use when the counter comes round: is passed over",
    Effect.gen(function* () {
      const accept = yield* listen
      const association = yield* Association.make(address)
      const binding = yield* Effect.forkChild(Association.bind(IEcho, association))
      const peer = yield* accept
      yield* peer.ack({ callId: (yield* peer.take("Bind")).callId })
      const store = yield* Fiber.join(binding)
      const pool = (association as unknown as { pool(security: undefined): { lastCall: number } }).pool(undefined)
      const begin = (text: string) =>
        Effect.flatMap(Call.make(store), (call) => Call.begin(call, "Echo", bytesOf(text)))
      const callIds: Array<number> = []
      pool.lastCall = 0xfffffffe
      const pending = yield* Effect.forEach(["a", "b", "c"], begin)
      const requests = [yield* peer.take("Request"), yield* peer.take("Request"), yield* peer.take("Request")]
      callIds.push(...requests.map(({ callId }) => callId))
      // Once more around: 0xffffffff, 1 and 2 are pending.
      pool.lastCall = 2 * 0xffffffff - 1
      const last = yield* begin("d")
      const request = yield* peer.take("Request")
      callIds.push(request.callId)
      assert.deepStrictEqual(callIds, [0xffffffff, 1, 2, 3])
      for (const one of [...requests, request]) yield* peer.reply(one, inputOf(one))
      assert.deepStrictEqual(yield* Effect.forEach([...pending, last], join), ["a", "b", "c", "d"])
    })
  )

  const probe = (n: number) =>
    Interface.make(`probe${n}`, {
      uuid: `aaaaaaaa-0000-4000-8000-${n.toString(16).padStart(12, "0")}`,
      version: [1, 0],
      methods: { Echo: Interface.method({ in: Schema.Uint8Array, out: Schema.Uint8Array }) }
    })

  const manager = (n: number) => Manager.make(probe(n), { Echo: (bytes) => Effect.succeed(bytes) })

  wire(
    "300 refused interfaces, one after another: the known one is still bound and called",
    Effect.gen(function* () {
      yield* Endpoint.serve(yield* Server.make([manager(0)]), "ncacn_memory:[many]")
      const association = yield* Association.make("ncacn_memory:[many]")
      const known = yield* Association.bind(probe(0), association)
      for (let n = 1; n <= 300; n++) {
        const refused = yield* failure(Effect.scoped(Association.bind(probe(n), association)))
        assert.deepStrictEqual(refused, ["UnknownInterface", undefined])
      }
      assert.deepStrictEqual(yield* Call.invoke(known, "Echo", Uint8Array.of(1)), Uint8Array.of(1))
    })
  )

  wire(
    "an interface that is made anew 70 times: shares one presentation context",
    Effect.gen(function* () {
      const { association, peer } = yield* Effect.gen(function* () {
        const accept = yield* listen
        const association = yield* Association.make(address)
        const binding = yield* Effect.forkChild(Effect.scoped(Association.bind(IEcho, association)))
        const peer = yield* accept
        yield* peer.ack({ callId: (yield* peer.take("Bind")).callId })
        yield* Fiber.join(binding)
        return { association, peer }
      })
      for (let n = 0; n < 70; n++) {
        const { name, uuid, version } = IEcho
        const again = Interface.make(name, { uuid, version, methods: { Echo: IEcho.methods.Echo } })
        yield* Effect.scoped(Effect.gen(function* () {
          const store = yield* Association.bind(again, association)
          const calling = yield* Effect.forkChild(Call.invoke(store, "Echo", bytesOf("x")))
          const request = yield* peer.take("Request")
          assert.strictEqual(request.contextId, 0)
          yield* peer.reply(request, "x")
          yield* Fiber.join(calling)
        }))
      }
    })
  )

  wire(
    "more than 255 interfaces that the server accepts: each has a number below 255, and the calls go on",
    Effect.gen(function* () {
      const accept = yield* listen
      const association = yield* Association.make(address)
      let connections = 0
      const numbers = new Set<number>()
      const serveOne = Effect.gen(function* () {
        const peer = yield* accept
        connections++
        yield* peer.ack({ callId: (yield* peer.take("Bind")).callId })
        while (true) {
          const { callId, contextElements } = yield* peer.take("AlterContext")
          numbers.add(contextElements[0]!.contextId)
          yield* peer.send((writer) =>
            Pdu.encodeAlterContextResponse(writer, {
              callId,
              maxXmitFrag: 65528,
              maxRecvFrag: 65528,
              assocGroupId: 5,
              results: [accepted]
            })
          )
        }
      })
      yield* Effect.forkScoped(serveOne)
      yield* Effect.forkScoped(Effect.exit(Effect.andThen(settle, serveOne)))
      for (let n = 0; n < 300; n++) yield* Association.bind(probe(n), association)
      assert.strictEqual(connections, 2)
      assert.isBelow(Math.max(...numbers), 255)
    })
  )
})

describe("the wall clock", () => {
  for (const [how, by] of [["forward", 3_600_000], ["back", -3_600_000]] as const) {
    wire(
      `moves ${how} by an hour: a call timeout of 2 s counts from the begin of its call all the same`,
      Effect.gen(function* () {
        let shift = 0
        const clock = yield* Clock.Clock
        const moved: Clock.Clock = {
          ...clock,
          sleep: (duration) => clock.sleep(duration),
          currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + shift,
          currentTimeMillis: Effect.sync(() => clock.currentTimeMillisUnsafe() + shift),
          monotonicTimeNanosUnsafe: () => BigInt(clock.currentTimeMillisUnsafe()) * 1_000_000n
        }
        const { begin, peer } = yield* Effect.provideService(
          setUp({ callTimeout: "2 seconds" }, { results: [accepted, keepsOnOrphan] }),
          Clock.Clock,
          moved
        )
        const one = yield* begin("one")
        yield* TestClock.adjust("1 second")
        const two = yield* begin("two")
        const joining = yield* Effect.forkChild(join(two), { startImmediately: true })
        shift = by
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* failure(Call.join(one)), ["CallCancelled", undefined])
        yield* peer.take("Request")
        assert.isTrue(yield* isWaiting(joining))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* failure(Fiber.join(joining)), ["CallCancelled", undefined])
      })
    )
  }
})

describe("a layer", () => {
  const Echo = Binding.Service("test/Echo", IEcho)

  wire(
    "of a server that is not there: is built, its call fails with 1722, and a later one is answered",
    Effect.gen(function* () {
      const store = yield* Effect.map(Layer.build(Association.layer(Echo, address)), Context.get(Echo))
      assert.deepStrictEqual(yield* failure(Call.invoke(store, "Echo", bytesOf("one"))), unavailable)
      const accept = yield* listen
      const calling = yield* Effect.forkChild(Call.invoke(store, "Echo", bytesOf("two")))
      const peer = yield* accept
      yield* peer.ack({ callId: (yield* peer.take("Bind")).callId })
      yield* peer.reply(yield* peer.take("Request"), "2")
      assert.strictEqual(textOf(yield* Fiber.join(calling)), "2")
    })
  )

  wire(
    "of an interface that the server does not serve: begin fails with RpcFault 1717, did not execute",
    Effect.gen(function* () {
      const accept = yield* listen
      const store = yield* Effect.map(Layer.build(Association.layer(Echo, address)), Context.get(Echo))
      const call = yield* Call.make(store)
      for (let i = 0; i < 2; i++) {
        const begun = yield* Effect.forkChild(Effect.flip(Call.begin(call, "Echo", bytesOf("one"))))
        const peer = yield* accept
        const { callId } = yield* peer.take("Bind")
        yield* peer.ack({ callId, results: [{ result: 2, reason: 1, transferSyntax: Pdu.nilSyntax }, noFeatures] })
        assert.deepInclude(yield* Fiber.join(begun), { _tag: "RpcFault", code: 1717, didNotExecute: true })
      }
    })
  )

  wire(
    "of text that is no string binding: is not built",
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(Association.layer(Echo, "nonsense")))
      assert.strictEqual(error._tag, "StringBindingError")
    })
  )
})
