/** A server that says nothing: when its client asks, and when a call is given up. */
import { assert, describe } from "@effect/vitest"
import { Clock, type Duration, Effect, Fiber, Schema, Stream } from "effect"
import * as Socket from "effect/socket/Socket"
import { TestClock } from "effect/testing"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { binary } from "../../src/dcerpc/TransferSyntax.ts"
import * as Transport from "../../src/transport/Transport.ts"
import { Call, Interface, Manager, Pipe, Server, ServerCall } from "../../mod.ts"
import { makeRandom } from "./random.ts"
import {
  accepted,
  bytesOf,
  failure,
  IEcho,
  isWaiting,
  join,
  lost,
  type Peer,
  settle,
  setUp,
  unavailable,
  wire
} from "./rawServer.ts"

const answer = (peer: Peer, { callId }: Pdu.AlterContext) =>
  peer.send((writer) =>
    Pdu.encodeAlterContextResponse(writer, {
      callId,
      maxXmitFrag: 65528,
      maxRecvFrag: 65528,
      assocGroupId: 5,
      results: [accepted]
    })
  )

/** Lets virtual time pass in steps that are small enough for answers to arrive in between. */
const pass = (seconds: number) =>
  Effect.gen(function* () {
    for (let i = 0; i < seconds; i += 5) {
      yield* TestClock.adjust("5 seconds")
      yield* settle
    }
  })

describe("keepAlive", () => {
  wire(
    "a call pending, a minute of silence: the server is asked on the connection, and its answers keep the call",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp()
      const one = yield* begin("one")
      const joining = yield* Effect.forkChild(join(one), { startImmediately: true })
      const request = yield* peer.take("Request")
      for (let i = 0; i < 3; i++) {
        yield* pass(75)
        const asked = yield* peer.take("AlterContext")
        assert.deepStrictEqual(asked.contextElements, [{
          contextId: 0,
          abstractSyntax: { uuid: IEcho.uuid, major: 1, minor: 2 },
          transferSyntaxes: [binary.id]
        }])
        yield* answer(peer, asked)
        yield* settle
      }
      yield* peer.reply(request, "1")
      assert.strictEqual(yield* Fiber.join(joining), "1")
    })
  )

  wire(
    "a call pending, the question not answered: ends with 1726 within 90 s, and the failure names keepAlive",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp()
      const joining = yield* Effect.forkChild(Effect.flip(join(yield* begin("one"))), { startImmediately: true })
      yield* peer.take("Request")
      yield* pass(60)
      assert.isTrue(yield* isWaiting(joining))
      yield* pass(30)
      const error = yield* Fiber.join(joining)
      assert.deepInclude(error, { _tag: "RpcTransportError", status: 1726 })
      assert.include(error.message, "the server was silent for longer than keepAlive")
    })
  )

  wire(
    "a call begun in the silence of another: ends within 90 s of the server's last word, and the next one connects anew",
    Effect.gen(function* () {
      const { acceptBound, begin, peer } = yield* setUp()
      const first = yield* Effect.forkChild(failure(join(yield* begin("one"))), { startImmediately: true })
      yield* pass(40)
      const second = yield* Effect.forkChild(failure(join(yield* begin("two"))), { startImmediately: true })
      yield* pass(50)
      assert.deepStrictEqual([yield* Fiber.join(first), yield* Fiber.join(second)], [lost, lost])
      const beginning = yield* Effect.forkChild(begin("three"), { startImmediately: true })
      const fresh = yield* acceptBound
      yield* fresh.reply(yield* fresh.take("Request"), "3")
      assert.strictEqual(yield* join(yield* Fiber.join(beginning)), "3")
      yield* peer.close
    })
  )

  wire(
    "no call pending: no timer runs",
    Effect.gen(function* () {
      let timers = 0
      const clock = yield* Clock.Clock
      const counting: Clock.Clock = Object.assign(Object.create(clock), {
        sleep: (duration: Duration.Duration) =>
          Effect.suspend(() => {
            timers++
            return Effect.ensuring(clock.sleep(duration), Effect.sync(() => timers--))
          })
      })
      yield* Effect.gen(function* () {
        const { begin, peer } = yield* setUp({ callTimeout: "10 minutes" })
        yield* settle
        assert.strictEqual(timers, 0)
        const one = yield* begin("one")
        yield* settle
        assert.strictEqual(timers, 2)
        yield* peer.reply(yield* peer.take("Request"), "1")
        assert.strictEqual(yield* join(one), "1")
        yield* pass(600)
        assert.strictEqual(timers, 0)
      }).pipe(Effect.provideService(Clock.Clock, counting))
    })
  )

  wire(
    "no call pending: the server is asked nothing, however long it is silent",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp()
      yield* pass(600)
      const one = yield* begin("one")
      // The first that arrives.
      yield* peer.reply(yield* peer.take("Request"), "1")
      assert.strictEqual(yield* join(one), "1")
    })
  )

  wire(
    "keepAlive of Infinity: a silent server keeps its call for a day",
    Effect.gen(function* () {
      const { begin, peer } = yield* setUp({ keepAlive: Infinity })
      const joining = yield* Effect.forkChild(join(yield* begin("one")), { startImmediately: true })
      const request = yield* peer.take("Request")
      yield* TestClock.adjust("1 day")
      assert.isTrue(yield* isWaiting(joining))
      yield* peer.reply(request, "1")
      assert.strictEqual(yield* Fiber.join(joining), "1")
    })
  )

  /** A connection that can't carry the question: of a call with pipes, or one for one call at a time. */
  const alone = (
    name: string,
    use: (context: {
      readonly accept: Effect.Effect<Peer>
      readonly end: Effect.Effect<Fiber.Fiber<unknown, unknown>>
      readonly peer: Peer
      readonly calling: Fiber.Fiber<ReadonlyArray<unknown>, unknown>
    }) => Effect.Effect<unknown, unknown>
  ) => {
    const options: Association.Options = {}
    wire(
      `a call with pipes: ${name}`,
      Effect.gen(function* () {
        const { accept, acceptBound, store } = yield* setUp(options)
        const calling = yield* Effect.forkChild(
          failure(Stream.run(Stream.fromEffectRepeat(Effect.never), Call.sink(store, "Feed", bytesOf("f")))),
          { startImmediately: true }
        )
        const peer = yield* acceptBound
        yield* peer.take("Request")
        yield* use({ accept, calling, end: Fiber.interrupt(calling).pipe(Effect.as(calling)), peer })
      }) as never
    )
    wire(
      `a connection for one call at a time: ${name}`,
      Effect.gen(function* () {
        const { accept, begin, peer } = yield* setUp(options, { flags: 0 })
        const calling = yield* Effect.forkChild(failure(join(yield* begin("one"))), { startImmediately: true })
        yield* peer.take("Request")
        yield* use({ accept, calling, end: Fiber.interrupt(calling).pipe(Effect.as(calling)), peer })
      }) as never
    )
  }

  alone(
    "the server is asked on a second connection, and its answer keeps the call",
    ({ accept, calling, end }) =>
      Effect.gen(function* () {
        for (const seconds of [75, 60]) {
          yield* pass(seconds)
          const second = yield* accept
          const { callId } = yield* second.take("Bind")
          yield* second.ack({ callId })
          assert.isTrue(yield* second.isClosed)
          assert.isTrue(yield* isWaiting(calling))
        }
        yield* end
      })
  )

  alone("a bind that is refused is an answer, too", ({ accept, calling, end }) =>
    Effect.gen(function* () {
      yield* pass(75)
      const second = yield* accept
      const { callId } = yield* second.take("Bind")
      yield* second.send((writer) => Pdu.encodeBindNak(writer, { callId, rejectReason: 2 }))
      yield* pass(30)
      assert.isTrue(yield* isWaiting(calling))
      yield* end
    }))

  alone(
    "the second connection is silent as well: ends with 1726 within 90 s",
    ({ accept, calling }) =>
      Effect.gen(function* () {
        yield* pass(75)
        yield* (yield* accept).take("Bind")
        assert.isTrue(yield* isWaiting(calling))
        yield* pass(15)
        assert.deepStrictEqual(yield* Fiber.join(calling), lost)
      })
  )

  wire(
    "a call that waits behind a silent one, one call at a time: is sent on a new connection when the silence is noticed",
    Effect.gen(function* () {
      const { accept, begin, peer } = yield* setUp({}, { flags: 0 })
      const one = yield* Effect.forkChild(failure(join(yield* begin("one"))), { startImmediately: true })
      yield* peer.take("Request")
      const two = yield* Effect.forkChild(failure(begin("two")), { startImmediately: true })
      yield* pass(105)
      assert.deepStrictEqual(yield* Fiber.join(one), lost)
      // The question, and then the bind for the call.
      yield* (yield* accept).take("Bind")
      yield* (yield* accept).take("Bind")
      yield* pass(10)
      assert.deepStrictEqual(yield* Fiber.join(two), unavailable)
    })
  )
})

describe("a peer that vanishes without a word", () => {
  const IWork = Interface.make("IWork", {
    uuid: "5b1f9a63-53f8-4d55-8a0c-27f1c1a3f001",
    version: [1, 0],
    methods: {
      Echo: Interface.method({ in: Schema.Uint8Array, out: Schema.Uint8Array }),
      Again: Interface.method({ in: Schema.Uint8Array, out: Schema.Uint8Array, idempotent: true }),
      Feed: Interface.method({ inPipe: { bytes: Pipe.bytes }, out: Schema.Int })
    }
  })
  const manager = Manager.make(IWork, {
    Echo: (bytes) => Effect.delay(Effect.succeed(bytes), "50 millis"),
    Again: (bytes) => Effect.delay(Effect.succeed(bytes), "50 millis"),
    Feed: (_, call) => Stream.runFold(Pipe.toStream(ServerCall.inPipe(call, "bytes")), () => 0, (sum) => sum + 1)
  })

  for (let seed = 1; seed <= 12; seed++) {
    wire(
      `schedule ${seed}: every call has ended within the documented time, whatever was lost`,
      Effect.gen(function* () {
        const random = makeRandom(seed)
        const inner = yield* Transport.Transport
        // From some call on nothing arrives, in one direction or in both, on no connection.
        const lostAt = 2 + Math.floor(random() * 16)
        const way = Math.floor(random() * 3)
        let isDown = false
        const transport: Transport.Transport = {
          ...inner,
          connect: (binding) =>
            Effect.map(Effect.suspend(() => isDown ? Effect.never : inner.connect(binding)), (connection) => ({
              ...connection,
              socket: Socket.make({
                reader: Effect.map(connection.socket.reader, (reader) => ({
                  ...reader,
                  pull: Effect.flatMap(Effect.exit(reader.pull), (exit) => isDown && way !== 0 ? Effect.never : exit)
                })),
                writer: Effect.map(connection.socket.writer, (writer) => ({
                  write: (chunk) => Effect.suspend(() => isDown && way !== 1 ? Effect.void : writer.write(chunk)),
                  writeAll: (chunks) =>
                    Effect.suspend(() => isDown && way !== 1 ? Effect.void : writer.writeAll(chunks))
                }))
              })
            }))
        }
        yield* Endpoint.serve(yield* Server.make([manager], { grace: 0 }), "ncacn_memory:[work]")
        const association = yield* Effect.provideService(
          Association.make("ncacn_memory:[work]", { causal: random() < 0.5 }),
          Transport.Transport,
          transport
        )
        const work = yield* Association.bind(IWork, association)
        const some = Effect.delay(Effect.succeed(new Uint8Array(100)), "2 seconds")
        const call = (n: number): Effect.Effect<unknown, unknown> => {
          if (n % 5 === 4) return Stream.run(Stream.take(Stream.fromEffectRepeat(some), 4), Call.sink(work, "Feed"))
          return Call.invoke(work, (n % 2 === 0 ? "Echo" : "Again") as "Echo", new Uint8Array(200))
        }
        const calls: Array<Fiber.Fiber<unknown, unknown>> = []
        for (let n = 0; n < 20; n++) {
          isDown = n >= lostAt
          calls.push(yield* Effect.forkChild(Effect.exit(call(n)), { startImmediately: true }))
          yield* pass(5)
        }
        // The silence, and a connection that does not come about.
        yield* pass(90 + 10)
        assert.deepStrictEqual(calls.flatMap((fiber, n) => fiber.pollUnsafe() === undefined ? [n] : []), [])
      })
    )
  }
})
