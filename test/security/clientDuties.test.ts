/** What a client with security makes of answers that are not what they should be. */
import { assert, describe } from "@effect/vitest"
import { Deferred, Effect, Fiber, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { Call, Pipe } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import { Protection } from "../../src/dcerpc/internal/protection.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import * as Security from "../../src/security/Security.ts"
import { concat, patched } from "../dcerpc/rawClient.ts"
import {
  accepted,
  address,
  bytesOf,
  IEcho,
  listen,
  mpx,
  type Peer,
  settle,
  stubOf,
  textOf,
  wire
} from "../dcerpc/rawServer.ts"
import { type FakeOptions, FakeSession, fakeType, makeClient, signatureSize } from "./fakeProvider.ts"
import { token, type TrailerFields } from "./rawLogin.ts"

const headerSign = Pdu.flags.supportHeaderSign

// ----------------------------------------------------------------------------
// both ends
// ----------------------------------------------------------------------------

/** What the server does with one client. */
class Context {
  readonly session: FakeSession
  readonly protection: Protection

  constructor(level: Security.ProtectionLevel = "integrity", headerSigning = true) {
    this.session = new FakeSession("server", "alice")
    this.protection = new Protection(this.session, level, { headerSigning }, { authType: fakeType, authContextId: 1 })
  }

  /** A response with text, signed. */
  response({ callId }: Pick<Pdu.Request, "callId">, text: string, change: {
    readonly trailer?: Partial<Pdu.AuthTrailer> | null
    readonly limit?: number
  } = {}): Uint8Array {
    const writer = new Pdu.Writer()
    const stub = stubOf(text)
    Pdu.beginResponse(writer, { callId, contextId: 0, cancelCount: 0 })
    writer.ensure(stub.length)
    writer.bytes.set(stub, writer.position)
    writer.position += stub.length
    const trailer = change.trailer === null ? undefined : { ...this.protection.trailer!, ...change.trailer }
    Pdu.endMessage(writer, change.limit ?? 65528, trailer)
    const bytes = writer.take().slice()
    if (trailer?.authValue.length === signatureSize) this.protection.seal(bytes)
    return bytes
  }
}

interface Options extends FakeOptions, Pick<Association.Options, "connectTimeout" | "maximumConnections"> {
  readonly user?: string
  readonly level?: Security.ProtectionLevel
  readonly mutual?: boolean
  readonly headerSigning?: "required"
}

const setUp = Effect.fnUntraced(function* (options: Options = {}) {
  const accept = yield* listen
  let asked = 0
  let initiated = 0
  const { headerSigning, level, mutual, user = "alice" } = options
  const sessions: Array<FakeSession> = []
  const security = Security.make({
    provider: makeClient({ ...options, sessions, onInitiate: () => void initiated++ }),
    credentials: Effect.sync(() => {
      asked++
      return { user, password: Redacted.make("hunter2") }
    }),
    level,
    mutual,
    headerSigning
  })
  const binding = Association.bind(IEcho, address, {
    security,
    connectTimeout: options.connectTimeout,
    maximumConnections: options.maximumConnections
  })
  return { accept, binding, counts: () => ({ asked, initiated }), sessions }
})

/** The server's half of a login. */
const greet = Effect.fnUntraced(function* (peer: Peer, fields: Partial<Pdu.Fields<Pdu.BindAck>> = {}) {
  const { callId } = yield* peer.take("Bind")
  yield* peer.ack({ callId, flags: mpx | headerSign, authTrailer: token("answer"), ...fields })
})

const logIn = Effect.fnUntraced(function* (peer: Peer, context = new Context()) {
  yield* greet(peer, { authTrailer: token("answer", { level: context.protection.trailer!.authLevel }) })
  yield* peer.take("Auth3")
  return context
})

/** A binding whose login has succeeded. */
const bound = Effect.fnUntraced(function* (options: Options = {}, context?: Context) {
  const world = yield* setUp(options)
  const binding = yield* Effect.forkChild(world.binding)
  const peer = yield* world.accept
  const own = yield* logIn(peer, context)
  const store = yield* Fiber.join(binding)
  const invoke = (text: string) => Effect.map(Call.invoke(store, "Echo", bytesOf(text)), textOf)
  return { ...world, context: own, invoke, peer, store }
})

interface Failed {
  readonly _tag: string
  readonly status?: number
  readonly code?: number
  readonly didNotExecute?: boolean
  readonly message: string
}

const outcome = (error: Failed) =>
  error._tag === "RpcFault" ? [error._tag, error.code, error.didNotExecute] : [error._tag, error.status]

const lost = ["RpcTransportError", 1726]

/** The failure of a bind, whose server does something. */
const fails = (
  name: string,
  expected: ReadonlyArray<unknown>,
  serve: (peer: Peer) => Effect.Effect<unknown, unknown>,
  options: Options = {},
  detail?: string
) =>
  wire(
    `${name}: fails with ${expected.filter((part) => part !== true).join(" ")}`,
    Effect.gen(function* () {
      const { accept, binding, counts } = yield* setUp(options)
      const binds = yield* Effect.forkChild(Effect.flip(Effect.scoped(binding)))
      const peer = yield* accept
      yield* serve(peer)
      const error = (yield* Fiber.join(binds)) as Failed
      assert.deepStrictEqual(outcome(error), expected)
      assert.notInclude(JSON.stringify(error) + String(error) + error.message, "hunter2")
      if (detail !== undefined) assert.include(error.message, detail)
      assert.isTrue(yield* peer.isClosed)
      assert.deepStrictEqual(counts(), { asked: 1, initiated: 1 })
      // A failure is not remembered: the next one logs in anew.
      const again = yield* Effect.forkChild(Effect.exit(Effect.scoped(binding)))
      yield* (yield* accept).take("Bind")
      assert.deepStrictEqual(counts(), { asked: 2, initiated: 2 })
      yield* Fiber.interrupt(again)
    })
  )

// ----------------------------------------------------------------------------
// responses
// ----------------------------------------------------------------------------

type Bad = (context: Context, request: Pdu.Request) => Uint8Array

const flipped = (pdu: Uint8Array, at: number) => patched(pdu, { [at]: [pdu[at]! ^ 1] })

const padAt = (pdu: Uint8Array): number => pdu.length - (pdu[10]! | pdu[11]! << 8) - 6

const bad: { readonly [name: string]: Bad } = {
  "no trailer": (context, request) => context.response(request, "a", { trailer: null }),
  "another level": (context, request) => context.response(request, "a", { trailer: { authLevel: 4 } }),
  "another type": (context, request) => context.response(request, "a", { trailer: { authType: 9 } }),
  "another context": (context, request) => context.response(request, "a", { trailer: { authContextId: 2 } }),
  "a shorter signature": (context, request) =>
    context.response(request, "a", { trailer: { authValue: new Uint8Array(8) } }),
  "a longer signature": (context, request) =>
    context.response(request, "a", { trailer: { authValue: new Uint8Array(16) } }),
  "more padding than stub": (context, request) => {
    const pdu = context.response(request, "a")
    return patched(pdu, { [padAt(pdu)]: [17] })
  },
  "another padding than was signed": (context, request) => {
    const pdu = context.response(request, "a")
    return flipped(pdu, padAt(pdu))
  },
  "a signature with one bit wrong": (context, request) => {
    const pdu = context.response(request, "a")
    return flipped(pdu, pdu.length - 8)
  },
  "a stub with one bit wrong": (context, request) => flipped(context.response(request, "a"), 24),
  "a header with one bit wrong": (context, request) => flipped(context.response(request, "a"), 16),
  "a sequence number left out": (context, request) => {
    context.response(request, "a")
    return context.response(request, "a")
  },
  "its own request sent back": (_, { authTrailer }) => patched(authTrailer!.fragment, { 2: [2], 22: [0, 0] }),
  "signed without headers": ({ protection }, request) => new Context(protection.level, false).response(request, "a"),
  "a second fragment without trailer": (context, request) => {
    const text = "x".repeat(300)
    const plain = context.response(request, text, { trailer: null, limit: 200 })
    const signed = context.response(request, text, { limit: 200 })
    const size = signed[8]! | signed[9]! << 8
    const plainSize = plain[8]! | plain[9]! << 8
    return concat(signed.slice(0, size), plain.slice(plainSize))
  },
  "for a call that nobody waits for, with a wrong signature": (context) =>
    flipped(context.response({ callId: 9999 }, "a"), 24)
}

describe("a response to a protected call", () => {
  for (const [name, make] of Object.entries(bad)) {
    // It does not come as far as the signature.
    const expected = name === "more padding than stub" ? lost : ["RpcFault", 1825, false]
    for (const level of ["integrity", "privacy"] as const) {
      wire(
        `${name}, ${level}: the call fails with ${
          expected[1]
        }, the connection is closed, and the next call logs in anew`,
        Effect.gen(function* () {
          const context = new Context(level)
          const { accept, counts, invoke, peer } = yield* bound({ level }, context)
          const calling = yield* Effect.forkChild(Effect.flip(invoke("a")))
          const request = yield* peer.take("Request")
          yield* peer.bytes(make(context, request))
          const error = (yield* Fiber.join(calling)) as Failed
          assert.deepStrictEqual(outcome(error), expected)
          if (expected !== lost) assert.include(error.message, "not protected as was agreed")
          assert.isTrue(yield* peer.isClosed)
          const again = yield* Effect.forkChild(invoke("b"))
          const next = yield* accept
          const fresh = yield* logIn(next, new Context(level))
          yield* next.bytes(fresh.response(yield* next.take("Request"), "answer"))
          assert.strictEqual(yield* Fiber.join(again), "answer")
          assert.deepStrictEqual(counts(), { asked: 2, initiated: 2 })
        }).pipe(Effect.scoped)
      )
    }
  }
  for (const what of ["replayed", "in another order than they were signed"] as const) {
    wire(
      `${what}: both calls are as they should be, or lost`,
      Effect.gen(function* () {
        const { context, invoke, peer } = yield* bound()
        const one = yield* Effect.forkChild(Effect.exit(invoke("a")))
        const first = yield* peer.take("Request")
        const two = yield* Effect.forkChild(Effect.exit(invoke("b")))
        const second = yield* peer.take("Request")
        const answers = [context.response(first, "a"), context.response(second, "b")] as const
        yield* peer.bytes(what === "replayed" ? concat(answers[0], answers[0]) : concat(answers[1], answers[0]))
        const exits = [yield* Fiber.join(one), yield* Fiber.join(two)]
        assert.deepStrictEqual(exits.map(({ _tag }) => _tag), [what === "replayed" ? "Success" : "Failure", "Failure"])
        assert.isTrue(yield* peer.isClosed)
      }).pipe(Effect.scoped)
    )
  }
  wire(
    "for a call that nobody waits for, well signed: the connection lives",
    Effect.gen(function* () {
      const { context, invoke, peer } = yield* bound()
      yield* peer.bytes(context.response({ callId: 9999 }, "a"))
      const calling = yield* Effect.forkChild(invoke("a"))
      yield* peer.bytes(context.response(yield* peer.take("Request"), "answer"))
      assert.strictEqual(yield* Fiber.join(calling), "answer")
    }).pipe(Effect.scoped)
  )
  for (const limit of [65528, 200]) {
    wire(
      `well signed, in fragments of ${limit}: is the answer`,
      Effect.gen(function* () {
        const { context, invoke, peer } = yield* bound()
        const calling = yield* Effect.forkChild(invoke("a"))
        const text = "long ".repeat(100)
        yield* peer.bytes(context.response(yield* peer.take("Request"), text, { limit }))
        assert.strictEqual(yield* Fiber.join(calling), text)
      }).pipe(Effect.scoped)
    )
  }
})

// ----------------------------------------------------------------------------
// requests
// ----------------------------------------------------------------------------

describe("requests of a protected connection", () => {
  wire(
    "the first one alone has a verification trailer, all are signed in their order",
    Effect.gen(function* () {
      const { context, invoke, peer } = yield* bound()
      const sizes: Array<number> = []
      for (const text of ["a", "b"]) {
        const calling = yield* Effect.forkChild(invoke(text))
        const request = yield* peer.take("Request")
        assert.isTrue(context.protection.unseal(request))
        sizes.push(request.stub.length)
        yield* peer.bytes(context.response(request, text))
        assert.strictEqual(yield* Fiber.join(calling), text)
      }
      assert.strictEqual(sizes[0]! - sizes[1]!, 60)
    }).pipe(Effect.scoped)
  )
  wire(
    "level connect: have no trailer, and neither have responses",
    Effect.gen(function* () {
      const { accept, binding } = yield* setUp({ level: "connect" })
      const binds = yield* Effect.forkChild(binding)
      const peer = yield* accept
      const bind = yield* peer.take("Bind")
      assert.strictEqual(bind.flags & headerSign, 0)
      yield* peer.ack({ callId: bind.callId, authTrailer: token("answer", { level: 2 }) })
      yield* peer.take("Auth3")
      const store = yield* Fiber.join(binds)
      const calling = yield* Effect.forkChild(Call.invoke(store, "Echo", bytesOf("a")))
      const request = yield* peer.take("Request")
      assert.isUndefined(request.authTrailer)
      yield* peer.reply(request, "answer")
      assert.strictEqual(textOf(yield* Fiber.join(calling)), "answer")
    }).pipe(Effect.scoped)
  )
  wire(
    "a cancel has no trailer and no part in the sequence",
    Effect.gen(function* () {
      const { context, invoke, peer, store } = yield* bound()
      const pending = yield* Effect.flatMap(Call.make(store), (call) => Call.begin(call, "Echo", bytesOf("a")))
      context.protection.unseal(yield* peer.take("Request"))
      yield* Effect.forkChild(Call.cancel(pending, { timeout: Infinity }))
      assert.isUndefined((yield* peer.take("CoCancel")).authTrailer)
      const calling = yield* Effect.forkChild(Effect.exit(invoke("b")))
      assert.isTrue(context.protection.unseal(yield* peer.take("Request")))
      yield* Fiber.interrupt(calling)
    }).pipe(Effect.scoped)
  )
  wire(
    "a session that can sign no more: the call is sent once more on a connection with a new login",
    Effect.gen(function* () {
      const { accept, invoke, peer, sessions } = yield* bound()
      sessions[0]!.breaks = true
      const calling = yield* Effect.forkChild(invoke("a"))
      assert.isTrue(yield* peer.isClosed)
      const next = yield* accept
      const context = yield* logIn(next)
      yield* next.bytes(context.response(yield* next.take("Request"), "answer"))
      assert.strictEqual(yield* Fiber.join(calling), "answer")
    }).pipe(Effect.scoped)
  )
  wire(
    "a session that can never sign: the call fails, and did not execute",
    Effect.gen(function* () {
      const { accept, invoke, peer, sessions } = yield* bound()
      sessions[0]!.breaks = true
      sessions.push = (session) => {
        session.breaks = true
        return 1
      }
      const calling = yield* Effect.forkChild(Effect.flip(invoke("a")))
      assert.isTrue(yield* peer.isClosed)
      yield* greet(yield* accept)
      const error = (yield* Fiber.join(calling)) as Failed
      assert.deepStrictEqual(outcome(error), ["RpcTransportError", 1722])
    }).pipe(Effect.scoped)
  )
})

// ----------------------------------------------------------------------------
// faults
// ----------------------------------------------------------------------------

describe("a fault to a protected call", () => {
  const faults = [
    [5, "lives", 5],
    [0x721, "is closed", 1825],
    [0x1c01000b, "is closed", 1728],
    [0x1c010002, "lives", 1745]
  ] as const
  for (const [status, fate, code] of faults) {
    for (const didNotExecute of [false, true]) {
      wire(
        `0x${status.toString(16)}${
          didNotExecute ? ", not executed" : ""
        }: fails the call with ${code}, the connection ${fate}`,
        Effect.gen(function* () {
          const { context, invoke, peer } = yield* bound()
          const calling = yield* Effect.forkChild(Effect.flip(invoke("a")))
          yield* peer.fault(yield* peer.take("Request"), status, didNotExecute ? Pdu.flags.didNotExecute : 0)
          const error = (yield* Fiber.join(calling)) as Failed
          assert.deepStrictEqual([error._tag, error.didNotExecute], ["RpcFault", didNotExecute])
          assert.include([code, status], error.code)
          if (fate === "is closed") return assert.isTrue(yield* peer.isClosed)
          const again = yield* Effect.forkChild(invoke("b"))
          yield* peer.bytes(context.response(yield* peer.take("Request"), "answer"))
          assert.strictEqual(yield* Fiber.join(again), "answer")
        }).pipe(Effect.scoped)
      )
    }
  }
  for (const status of [0x721, 0x1c01000b]) {
    wire(
      `0x${
        status.toString(16)
      } to the last message of the login: the connection is closed, and the next call logs in anew`,
      Effect.gen(function* () {
        const { accept, invoke, peer } = yield* bound()
        yield* peer.fault({ callId: 9999 }, status, Pdu.flags.didNotExecute)
        assert.isTrue(yield* peer.isClosed)
        const calling = yield* Effect.forkChild(invoke("a"))
        const next = yield* accept
        const context = yield* logIn(next)
        yield* next.bytes(context.response(yield* next.take("Request"), "answer"))
        assert.strictEqual(yield* Fiber.join(calling), "answer")
      }).pipe(Effect.scoped)
    )
  }
})

// ----------------------------------------------------------------------------
// logins
// ----------------------------------------------------------------------------

const rpcFault = (code: number) => ["RpcFault", code, true]

describe("a login", () => {
  for (
    const [reason, expected] of [
      [8, rpcFault(1747)],
      [9, rpcFault(5)],
      [0, ["RpcTransportError", 1722]],
      [1, ["RpcTransportError", 1722]]
    ] as const
  ) {
    fails(
      `bind_nak ${reason}`,
      expected,
      (peer) =>
        Effect.flatMap(
          peer.take("Bind"),
          ({ callId }) => peer.send((writer) => Pdu.encodeBindNak(writer, { callId, rejectReason: reason }))
        )
    )
  }
  for (const [what, fields] of [["type", { type: 9 }], ["level", { level: 4 }], ["context", { id: 2 }]] as const) {
    fails(
      `an answer of another ${what}`,
      rpcFault(1825),
      (peer) => greet(peer, { authTrailer: token("answer", fields as TrailerFields) })
    )
  }
  const noTrailer = (peer: Peer) => greet(peer, { authTrailer: undefined })
  fails("header signing is required and refused", rpcFault(1825), (peer) => greet(peer, { flags: mpx }), {
    headerSigning: "required"
  }, "headers")
  fails("a session without signatures", rpcFault(1825), greet, { user: "unsigned" }, "signed")
  fails(
    "privacy, and a session without encryption",
    rpcFault(1825),
    (peer) => greet(peer, { authTrailer: token("answer", { level: 6 }) }),
    { user: "unsealed", level: "privacy" },
    "encrypted"
  )
  fails("mutual, and a server that does not say who it is", rpcFault(1825), greet, { user: "alone", mutual: true })
  for (
    const [word, code] of [["refused", 5], ["tampered", 1825], ["unsupported", 1825], ["unavailable", 1825], [
      "die",
      1825
    ], ["throw", 1825]] as const
  ) {
    fails(`a provider that does "${word}"`, rpcFault(code), greet, { user: word })
  }
  fails(
    "the server is silent",
    ["RpcTransportError", 1722],
    (peer) => Effect.andThen(peer.take("Bind"), TestClock.adjust("3 seconds")),
    { connectTimeout: "2 seconds" }
  )
  fails(
    "the provider hangs",
    ["RpcTransportError", 1722],
    (peer) => Effect.andThen(greet(peer), Effect.andThen(settle, TestClock.adjust("3 seconds"))),
    {
      user: "hang",
      connectTimeout: "2 seconds"
    }
  )
  fails(
    "the server closes the connection behind the first answer",
    ["RpcTransportError", 1722],
    (peer) =>
      Effect.gen(function* () {
        const { callId } = yield* peer.take("Bind")
        yield* peer.ack({ callId, flags: mpx | headerSign, authTrailer: token("answer") })
        yield* peer.take("AlterContext")
        yield* peer.close
      }),
    { tokens: 9, legs: "even" }
  )
  for (const [status, code] of [[5, 5], [0x721, 1825], [0x1c01000b, 1825], [0x1c010003, 1825]] as const) {
    fails(`fault 0x${status.toString(16)} to a further message`, rpcFault(code), (peer) =>
      Effect.gen(function* () {
        yield* greet(peer)
        const { callId } = yield* peer.take("AlterContext")
        yield* peer.send((writer) =>
          Pdu.encodeFault(writer, { callId, contextId: 0, cancelCount: 0, status, flags: 0 })
        )
      }), { tokens: 3, legs: "even" })
  }
  const goOn = (peer: Peer, times: number) =>
    Effect.gen(function* () {
      yield* greet(peer)
      for (let time = 0; time < times; time++) {
        const { callId } = yield* peer.take("AlterContext")
        yield* peer.send((writer) =>
          Pdu.encodeAlterContextResponse(writer, {
            callId,
            flags: 0,
            maxXmitFrag: 5840,
            maxRecvFrag: 5840,
            assocGroupId: 5,
            results: [accepted],
            authTrailer: token("go on")
          })
        )
      }
    })
  fails("the server shuts down", ["RpcTransportError", 1722], (peer) =>
    Effect.gen(function* () {
      yield* greet(peer)
      yield* peer.take("AlterContext")
      yield* peer.send((writer) => Pdu.encodeShutdown(writer, { callId: 0 }))
    }), { tokens: 3, legs: "even" })
  fails("a bind_nak with a trailer", ["RpcTransportError", 1722], (peer) =>
    Effect.gen(function* () {
      const { callId } = yield* peer.take("Bind")
      const writer = new Pdu.Writer()
      Pdu.encodeBindNak(writer, { callId, rejectReason: 9 })
      yield* peer.bytes(patched(writer.take().slice(), { 10: [1] }))
    }))
  fails("without an end", rpcFault(1825), (peer) => goOn(peer, 9), { tokens: 100, legs: "even" }, "10 messages")
  fails("answers to messages that were not sent", ["RpcTransportError", 1722], (peer) =>
    Effect.gen(function* () {
      yield* greet(peer)
      const answer = (writer: Pdu.Writer) =>
        Pdu.encodeAlterContextResponse(writer, {
          callId: 1,
          maxXmitFrag: 5840,
          maxRecvFrag: 5840,
          assocGroupId: 5,
          results: [accepted],
          authTrailer: token("go on")
        })
      yield* peer.send((writer) => {
        for (let time = 0; time < 100; time++) answer(writer)
      })
      yield* settle
    }), { user: "hang" })
  wire(
    "the bind's answer has no trailer: fails with 1825",
    Effect.gen(function* () {
      const { accept, binding } = yield* setUp({ tokens: 3, user: "alice" })
      const binds = yield* Effect.forkChild(Effect.flip(Effect.scoped(binding)))
      const peer = yield* accept
      yield* noTrailer(peer)
      assert.deepStrictEqual(outcome((yield* Fiber.join(binds)) as Failed), rpcFault(1825))
    })
  )
  wire(
    "header signing is refused but not required: calls are signed without headers",
    Effect.gen(function* () {
      const { accept, binding } = yield* setUp()
      const binds = yield* Effect.forkChild(binding)
      const peer = yield* accept
      yield* greet(peer, { flags: mpx })
      yield* peer.take("Auth3")
      const store = yield* Fiber.join(binds)
      const calling = yield* Effect.forkChild(Call.invoke(store, "Echo", bytesOf("a")))
      const context = new Context("integrity", false)
      const request = yield* peer.take("Request")
      assert.isTrue(context.protection.unseal(request))
      yield* peer.bytes(context.response(request, "answer"))
      assert.strictEqual(textOf(yield* Fiber.join(calling)), "answer")
    }).pipe(Effect.scoped)
  )
  for (const eager of [false, true]) {
    wire(
      `an even number of messages, the last answer ${eager ? "without" : "with"} a token: calls are made`,
      Effect.gen(function* () {
        const { accept, binding } = yield* setUp({ tokens: 2, legs: "even", eager })
        const binds = yield* Effect.forkChild(binding)
        const peer = yield* accept
        yield* greet(peer)
        const { callId, flags } = yield* peer.take("AlterContext")
        assert.strictEqual(flags & headerSign, headerSign)
        yield* peer.send((writer) =>
          Pdu.encodeAlterContextResponse(writer, {
            callId,
            maxXmitFrag: 5840,
            maxRecvFrag: 5840,
            assocGroupId: 5,
            results: [accepted],
            authTrailer: token(eager ? "" : "done")
          })
        )
        const store = yield* Fiber.join(binds)
        const calling = yield* Effect.forkChild(Call.invoke(store, "Echo", bytesOf("a")))
        const context = new Context()
        yield* peer.bytes(context.response(yield* peer.take("Request"), "answer"))
        assert.strictEqual(textOf(yield* Fiber.join(calling)), "answer")
      }).pipe(Effect.scoped)
    )
  }
  wire(
    "credentials that can't be had: fails with 1749, and the next one asks again",
    Effect.gen(function* () {
      const accept = yield* listen
      let asked = 0
      const security = Security.make({
        provider: makeClient(),
        credentials: Effect.suspend(() => {
          asked++
          return asked === 1
            ? Effect.fail("not now")
            : Effect.succeed({ user: "alice", password: Redacted.make("hunter2") })
        })
      })
      const binding = Association.bind(IEcho, address, { security })
      const error = (yield* Effect.flip(Effect.scoped(binding))) as Failed
      assert.deepStrictEqual(outcome(error), rpcFault(1749))
      yield* (yield* accept).close
      const binds = yield* Effect.forkChild(binding)
      yield* logIn(yield* accept)
      yield* Fiber.join(binds)
      assert.strictEqual(asked, 2)
    }).pipe(Effect.scoped)
  )
  wire(
    "many connections at once: one login at a time, and each asks for credentials once",
    Effect.gen(function* () {
      const accept = yield* listen
      let now = 0
      let most = 0
      let asked = 0
      const security = Security.make({
        provider: makeClient(),
        credentials: Effect.gen(function* () {
          asked++
          most = Math.max(most, ++now)
          yield* Effect.sleep("10 millis")
          now--
          return { user: "alice", password: Redacted.make("hunter2") }
        })
      })
      const binds = yield* Effect.forkChild(Association.bind(IEcho, address, { security }))
      yield* settle
      yield* TestClock.adjust("10 millis")
      yield* logIn(yield* accept)
      const store = yield* Fiber.join(binds)
      const ready = yield* Deferred.make<void>()
      for (let count = 0; count < 3; count++) {
        yield* Effect.forkChild(Effect.gen(function* () {
          const call = yield* Call.make(store)
          const pending = yield* Call.begin(call, "Feed", bytesOf("a"))
          yield* Pipe.end(Call.inPipe(pending, "more"))
          yield* Deferred.await(ready)
        }))
      }
      for (let count = 0; count < 3; count++) {
        const peer = yield* accept
        yield* settle
        yield* TestClock.adjust("10 millis")
        yield* settle
        void (yield* Effect.forkChild(logIn(peer)))
        yield* TestClock.adjust("100 millis")
        yield* settle
      }
      assert.deepStrictEqual([most, asked], [1, 4])
    }).pipe(Effect.scoped)
  )
})
