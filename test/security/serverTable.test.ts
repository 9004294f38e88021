/** The server's answer to each violation of the security of a connection, PDU by PDU. */
import { assert, describe } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import * as Security from "../../src/security/Security.ts"
import * as Management from "../../src/dcerpc/Management.ts"
import {
  accepted,
  alter,
  bind,
  bindNak,
  coCancel,
  concat,
  element,
  fault,
  first,
  last,
  orphaned,
  patched,
  request,
  type RequestFields,
  response,
  settle,
  status,
  u32
} from "../dcerpc/rawClient.ts"
import { fakeType, makeServer, signatureSize } from "./fakeProvider.ts"
import {
  auth3,
  bindAck,
  client,
  closed,
  connect,
  Context,
  elements,
  IOpen,
  IUsual,
  open,
  privately,
  row,
  secure,
  slow,
  token,
  type TrailerFields,
  unknown,
  usual
} from "./rawLogin.ts"
import vectors from "./vectors/verification-trailer.json" with { type: "json" }

const security = 0x721
const noMemory = 0x1c00001b
const didNotExecute = { didNotExecute: true }

const headerSign = Pdu.flags.supportHeaderSign
const mpx = Pdu.flags.concMpx
const firstFlag = Pdu.flags.firstFrag
const lastFlag = Pdu.flags.lastFrag

const hello = elements.slice(0, 1)

/** A bind with the first token of a login. */
const begin = (text = "alice", fields: TrailerFields & { readonly flags?: number } = {}) =>
  bind({ contextElements: hello, flags: fields.flags ?? mpx | headerSign, authTrailer: token(text, fields) })

/** An alter_context with a token, which proposes again what the bind has. */
const further = (text: string, fields: TrailerFields & { readonly flags?: number } = {}) =>
  alter({ contextElements: hello, flags: fields.flags ?? 0, authTrailer: token(text, fields) })

/** A whole login. */
const logIn = (text = "alice", fields: TrailerFields & { readonly flags?: number } = {}) =>
  concat(begin(text, fields), auth3("proof", fields))

/** Further presentation contexts, one by one. */
const propose = (...ids: ReadonlyArray<number>) => ids.map((id) => alter({ contextElements: [elements[id]!] }))

const alterAck = { alterAck: 2, results: [accepted()] }

const signed = (context: Context, fields: RequestFields = {}) =>
  context.sign(request({ authTrailer: context.trailer, ...fields }))

const padAt = (pdu: Uint8Array): number => pdu.length - (pdu[10]! | pdu[11]! << 8) - 6

/** A PDU whose trailer names so many bytes of padding. */
const padded = (pdu: Uint8Array, padding: number) => patched(pdu, { [padAt(pdu)]: [padding] })

// ----------------------------------------------------------------------------
// bind
// ----------------------------------------------------------------------------

const unwilling: Security.ServerProvider = {
  ...makeServer(),
  accept: () => Effect.fail(new Security.LoginFailure({ reason: "unsupported", detail: "as asked" }))
}

describe("a bind with a token", () => {
  const nak = (name: string, pdu: () => Uint8Array, reason: number, options = {}) =>
    row(name, () => [pdu()], [bindNak(1, reason)], "is closed", options)
  for (const level of [0, 1, 7, 255]) nak(`level ${level}: bind_nak 0`, () => begin("alice", { level }), 0)
  for (const type of [0, 9, 14, 16, 68, 255]) {
    nak(`type ${type}, not offered: bind_nak 8`, () => begin("a", { type }), 8)
  }
  nak("level 3: bind_nak 9", () => begin("alice", { level: 3 }), 9)
  nak("a provider that refuses to start: bind_nak 9", () => begin(), 9, { security: [unwilling] })
  for (const word of ["refused", "tampered", "unsupported"]) {
    nak(`a token that is ${word}: bind_nak 9`, () => begin(word), 9)
  }
  for (const word of ["unavailable", "die", "throw", "huge"]) {
    nak(`a provider that does "${word}": bind_nak 1`, () => begin(word), 1)
  }
  const largest = (pdu: Uint8Array) => pdu.length - 24 - 8 - "alice".length
  nak("one byte more of padding than there is room: bind_nak 4", () => padded(begin(), largest(begin()) + 1), 4)
  row("as much padding as there is room: is accepted", () => [padded(begin(), largest(begin()))], [bindAck], "lives")
  nak(
    "a trailer at no multiple of 4: bind_nak 0",
    () => patched(begin(), { 10: [begin()[10]! + 1] }),
    0
  )
  row(
    "a second bind with a token: bind_nak 0",
    () => [logIn(), begin("bob", { id: 2 })],
    [bindAck, bindNak(1, 0)],
    "is closed"
  )
  row(
    "refused with requests behind it: bind_nak, then a fault for the first of them",
    () => [concat(begin("refused"), request({ callId: 2 }))],
    [bindNak(1, 9), fault(2, status.protocolError, didNotExecute)],
    "is closed"
  )
  for (const level of [2, 4, 5, 6]) {
    secure(
      `level ${level}: the answer repeats the type, the level and the context`,
      (client) =>
        Effect.gen(function* () {
          yield* client.say(begin("alice", { level, id: 79231 }))
          const [ack] = client.heard as [Pdu.BindAck]
          assert.deepInclude(ack.authTrailer, { authType: fakeType, authLevel: level, authContextId: 79231 })
          assert.strictEqual(new TextDecoder().decode(ack.authTrailer!.authValue), "answer 1")
          assert.strictEqual(ack.flags & headerSign, headerSign)
          assert.notStrictEqual(ack.assocGroupId, 0)
        })
    )
  }
  secure("without the header-sign bit: the answer has none", (client) =>
    Effect.gen(function* () {
      yield* client.say(begin("alice", { flags: mpx }))
      assert.strictEqual(client.heard[0]!.flags & headerSign, 0)
    }))
})

// ----------------------------------------------------------------------------
// auth3
// ----------------------------------------------------------------------------

describe("an auth3", () => {
  const protocolError = (name: string, sent: () => ReadonlyArray<Uint8Array>, before: ReadonlyArray<unknown>) =>
    row(name, sent, [...before, fault(3, status.protocolError, didNotExecute)], "is closed")
  protocolError("no login begun: protocol error", () => [bind({ contextElements: hello }), auth3("proof")], [bindAck])
  protocolError("login finished: protocol error", () => [logIn(), auth3("proof")], [bindAck])
  protocolError("login dead: protocol error", () => [begin(), auth3("refused"), auth3("proof")], [bindAck])
  protocolError(
    "login finished while another is begun: protocol error",
    () => [logIn(), further("bob", { id: 2 }), auth3("proof")],
    [bindAck, alterAck]
  )
  protocolError("a token of 4,097 bytes: protocol error", () => [begin(), auth3("x".repeat(4097))], [bindAck])
  row("a token of 4,096 bytes: is taken", () => [begin(), auth3("x".repeat(4096))], [bindAck], "lives")
  protocolError(
    "larger than a fragment: protocol error",
    () => {
      const pdu = auth3("proof")
      const larger = concat(pdu.slice(0, 20), new Uint8Array(6000), pdu.slice(20))
      return [begin(), patched(larger, { 8: [larger.length & 0xff, larger.length >> 8] })]
    },
    [bindAck]
  )
  const refused = (name: string, pdu: () => Uint8Array, code: number) =>
    row(name, () => [begin(), pdu()], [bindAck, fault(3, code, didNotExecute)], "is closed")
  refused("without a token: no memory", () => patched(auth3("proof").slice(0, 20), { 8: [20, 0, 0, 0] }), noMemory)
  refused("another type: no memory", () => auth3("proof", { type: 9 }), noMemory)
  refused("another level: no memory", () => auth3("proof", { level: 6 }), noMemory)
  refused("with padding: no memory", () => padded(auth3("proof"), 1), noMemory)
  refused("another context: access denied", () => auth3("proof", { id: 2 }), status.accessDenied)
  refused(
    "a trailer at no multiple of 4: protocol error",
    () => patched(auth3("proofs"), { 10: [7] }),
    status.protocolError
  )
  for (const word of ["refused", "tampered", "unsupported", "unavailable", "more", "die", "throw"]) {
    row(
      `a token that is "${word}": silence, and the context is dead`,
      () => [begin(), auth3(word), signed(new Context())],
      [bindAck, fault(2, status.accessDenied)],
      "is closed"
    )
  }
  row(
    "a refused token at level connect: silence, and a request without trailer is refused",
    () => [begin("alice", { level: 2 }), auth3("refused", { level: 2 }), request()],
    [bindAck, fault(2, status.accessDenied)],
    "is closed"
  )
  row(
    "a refused token at level integrity: silence, and a request without trailer is nobody's",
    () => [begin(), auth3("refused"), request()],
    [bindAck, response(2, 42)],
    "lives"
  )
  row(
    "a provider with a token left: silence, and the context is dead",
    () => [begin(), auth3("proof"), signed(new Context())],
    [bindAck, fault(2, status.accessDenied)],
    "is closed",
    { security: [makeServer({ legs: "even" })] }
  )
})

// ----------------------------------------------------------------------------
// alter_context
// ----------------------------------------------------------------------------

describe("an alter_context with a token", () => {
  const refused = (
    name: string,
    sent: () => ReadonlyArray<Uint8Array>,
    before: ReadonlyArray<unknown>,
    code: number,
    options = {}
  ) => row(name, sent, [...before, fault(2, code, didNotExecute)], "is closed", options)
  const plain = () => bind({ contextElements: hello })
  refused("a finished login: access denied", () => [logIn(), further("alice")], [bindAck], status.accessDenied)
  refused(
    "a new context of type 77: access denied",
    () => [plain(), further("alice", { type: 77 })],
    [bindAck],
    status.accessDenied
  )
  for (const level of [0, 1, 3, 7]) {
    refused(
      `a new context of level ${level}: access denied`,
      () => [plain(), further("alice", { level })],
      [bindAck],
      status.accessDenied
    )
  }
  for (const word of ["refused", "tampered", "unsupported", "die"]) {
    refused(
      `a new context whose token is "${word}": access denied`,
      () => [plain(), further(word)],
      [bindAck],
      status.accessDenied
    )
  }
  refused("a begun login, type 0: access denied", () => [begin(), further("proof", { type: 0 })], [bindAck], 5)
  refused(
    "too much padding: protocol error",
    () => [begin(), padded(further("proof"), further("proof").length - 24 - 8 - 5 + 1)],
    [bindAck],
    status.protocolError
  )
  row(
    "as much padding as there is room: is taken",
    () => [begin(), padded(further("proof"), further("proof").length - 24 - 8 - 5)],
    [bindAck, alterAck],
    "lives"
  )
  refused(
    "a trailer at no multiple of 4: protocol error",
    () => [begin(), patched(further("proofs"), { 10: [7] })],
    [bindAck],
    status.protocolError
  )
  refused(
    "no presentation context: protocol error",
    () => [begin(), alter({ contextElements: [], authTrailer: token("proof") })],
    [bindAck],
    status.protocolError
  )
  refused(
    "the presentation context names another interface: protocol error",
    () => [begin(), alter({ contextElements: [element(0, IUsual)], authTrailer: token("proof") })],
    [bindAck],
    status.protocolError
  )
  const ndr64: Pdu.SyntaxId = { uuid: "71710533-beba-4937-8319-b5dbef9ccc36", major: 1, minor: 0 }
  refused(
    "the presentation context names another transfer syntax: protocol error",
    () => [begin(), alter({ contextElements: [element(0, IOpen, ndr64)], authTrailer: token("proof") })],
    [bindAck],
    status.protocolError
  )
  refused(
    "another interface and another type: protocol error, which comes first",
    () => [begin(), alter({ contextElements: [element(0, IUsual)], authTrailer: token("proof", { type: 9 }) })],
    [bindAck],
    status.protocolError
  )
  refused(
    "a begun login, another type: security fault",
    () => [begin(), further("a", { type: 9 })],
    [bindAck],
    security
  )
  refused("a begun login, another level: access denied", () => [begin(), further("a", { level: 6 })], [bindAck], 5)
  refused("a dead login: access denied", () => [begin(), auth3("refused"), further("proof")], [bindAck], 5)
  for (const word of ["tampered", "unsupported"]) {
    refused(`the last token is ${word}: security fault`, () => [begin(), further(word)], [bindAck], security)
  }
  for (const word of ["refused", "unavailable", "die", "throw"]) {
    refused(`the last token is "${word}": access denied`, () => [begin(), further(word)], [bindAck], 5)
  }
  refused(
    "level 6, a login that can't encrypt: security fault",
    () => [begin("unsealed", { level: 6 }), further("proof", { level: 6 })],
    [bindAck],
    security
  )
  refused(
    "one context more than maximumContexts: protocol error",
    () => [begin(), further("bob", { id: 2 }), further("carol", { id: 3 })],
    [bindAck, alterAck],
    status.protocolError,
    { maximumContexts: 2 }
  )
  refused(
    "an eleventh message of a login: access denied",
    () => [begin(), ...Array.from({ length: 9 }, () => further("more"))],
    [bindAck, ...Array.from({ length: 8 }, () => alterAck)],
    status.accessDenied
  )
  secure("the last token: the answer has a trailer without a token", (client) =>
    Effect.gen(function* () {
      yield* client.ask(begin())
      const [ack] = yield* client.ask(further("proof"))
      const bytes = ack as Pdu.AlterContextResponse
      assert.strictEqual(bytes._tag, "AlterContextResponse")
      assert.strictEqual(bytes.secAddr, "")
      const context = new Context()
      assert.deepStrictEqual(yield* client.say(signed(context)), [response(2, 42)])
    }))
  for (const legs of ["odd", "even"] as const) {
    row(
      `a login with an ${legs} number of messages, all by alter_context: calls are served`,
      () => {
        const context = new Context()
        return [begin(), further("proof"), signed(context), signed(context, { callId: 3 })]
      },
      [bindAck, alterAck, response(2, 42), response(3, 42)],
      "lives",
      { security: [makeServer({ legs })] }
    )
  }
})

// ----------------------------------------------------------------------------
// requests
// ----------------------------------------------------------------------------

describe("a request", () => {
  row(
    "of a login that is not finished: protocol error in context 0",
    () => [begin(), ...propose(usual), signed(new Context(), { contextId: usual })],
    [bindAck, alterAck, fault(2, status.protocolError, didNotExecute)],
    "is closed"
  )
  row(
    "of a context that was never seen: access denied",
    () => [logIn(), ...propose(usual), signed(new Context({ id: 7 }), { contextId: usual })],
    [bindAck, alterAck, fault(2, status.accessDenied, { contextId: usual })],
    "is closed"
  )
  for (const [what, fields] of [["type", { authType: 9 }], ["level", { authLevel: 6 }]] as const) {
    row(
      `of another ${what} than its context: access denied`,
      () => {
        const context = new Context()
        return [
          logIn(),
          ...propose(usual),
          context.sign(request({ contextId: usual, authTrailer: { ...context.trailer, ...fields } }))
        ]
      },
      [bindAck, alterAck, fault(2, status.accessDenied, { contextId: usual })],
      "is closed"
    )
  }
  const broken = (name: string, change: (context: Context) => Uint8Array, user = "alice") =>
    row(
      `${name}: security fault`,
      () => [logIn(user), ...propose(usual), change(new Context({ user }))],
      [bindAck, alterAck, fault(2, security, { contextId: usual })],
      "is closed"
    )
  const sent = (context: Context) => signed(context, { contextId: usual })
  broken("a signature with one bit wrong", (context) => {
    const pdu = sent(context)
    return patched(pdu, { [pdu.length - 1 - signatureSize + 6]: [pdu[pdu.length - 1 - signatureSize + 6]! ^ 1] })
  })
  broken("a sequence number left out", (context) => (sent(context), sent(context)))
  broken("another opnum than was signed", (context) => patched(sent(context), { 22: [1] }))
  broken("another stub than was signed", (context) => patched(sent(context), { 24: [1] }))
  broken("a level of 5 and a login without signatures", sent, "unsigned")
  for (const [what, size] of [["shorter", 8], ["longer", 16]] as const) {
    broken(
      `a ${what} signature`,
      ({ trailer }) => request({ contextId: usual, authTrailer: { ...trailer, authValue: new Uint8Array(size) } })
    )
  }
  row(
    "that is replayed: security fault",
    () => {
      const pdu = signed(new Context())
      return [logIn(), pdu, pdu]
    },
    [bindAck, response(2, 42), fault(2, security)],
    "is closed"
  )
  row(
    "more padding than stub: protocol error",
    () => [logIn(), padded(signed(new Context()), 17)],
    [bindAck, fault(2, status.protocolError, didNotExecute)],
    "is closed"
  )
  row(
    "with a trailer at no multiple of 4: protocol error",
    () => [logIn(), patched(signed(new Context()), { 10: [signatureSize + 1] })],
    [bindAck, fault(2, status.protocolError)],
    "is closed"
  )
  row(
    "without trailer below the interface's level: access denied, closed",
    () => [logIn(), ...propose(usual), request({ contextId: usual })],
    [bindAck, alterAck, fault(2, status.accessDenied, { contextId: usual })],
    "is closed"
  )
  row(
    "without trailer below the interface's level behind a protected one: access denied, lives",
    () => {
      const context = new Context()
      const fields = { contextId: usual }
      return [
        logIn(),
        ...propose(usual),
        signed(context, fields),
        request({ ...fields, callId: 3 }),
        signed(context, { ...fields, callId: 4 })
      ]
    },
    [
      bindAck,
      alterAck,
      response(2, 42, { contextId: usual }),
      fault(3, status.accessDenied, { contextId: usual }),
      response(4, 42, { contextId: usual })
    ],
    "lives"
  )
  row(
    "below the interface's level, in fragments: access denied at the first, and the rest is not kept",
    () => {
      const context = new Context()
      const fields = { contextId: privately, authTrailer: context.trailer }
      return [
        logIn(),
        ...propose(privately),
        context.sign(first({ ...fields, allocHint: 100_000_000 })),
        context.sign(last(fields)),
        signed(context, { callId: 3 })
      ]
    },
    [bindAck, alterAck, fault(2, status.accessDenied, { contextId: privately }), response(3, 42)],
    "lives"
  )
  row(
    "of level connect below the interface's level: access denied, closed",
    () => [logIn("alice", { level: 2 }), ...propose(usual), request({ contextId: usual })],
    [bindAck, alterAck, fault(2, status.accessDenied, { contextId: usual })],
    "is closed"
  )
  row(
    "of level 5 to an interface for privacy: access denied, lives",
    () => {
      const context = new Context()
      return [
        logIn(),
        ...propose(privately),
        signed(context, { contextId: privately }),
        signed(context, { callId: 3 })
      ]
    },
    [bindAck, alterAck, fault(2, status.accessDenied, { contextId: privately }), response(3, 42)],
    "lives"
  )
  row(
    "that the access check refuses: access denied, lives",
    () => {
      const context = new Context()
      return [logIn(), ...propose(closed), signed(context, { contextId: closed }), signed(context, { callId: 3 })]
    },
    [bindAck, alterAck, fault(2, status.accessDenied, { contextId: closed }), response(3, 42)],
    "lives"
  )
  row(
    "with an unknown opnum, well signed: out of range, lives",
    () => {
      const context = new Context()
      return [
        logIn(),
        ...propose(usual),
        signed(context, { contextId: usual, opnum: 0xffff }),
        signed(context, { callId: 3 })
      ]
    },
    [
      bindAck,
      alterAck,
      fault(2, status.outOfRange, { contextId: usual, didNotExecute: true }),
      response(3, 42)
    ],
    "lives"
  )
  row(
    "in an unknown presentation context, well signed: unknown interface, lives",
    () => {
      const context = new Context()
      return [logIn(), signed(context, { contextId: unknown }), signed(context, { callId: 3 })]
    },
    [bindAck, fault(2, status.unknownInterface, didNotExecute), response(3, 42)],
    "lives"
  )
  row(
    "of more bytes than maximumRequest: access denied, closed",
    () => {
      const context = new Context()
      const stub = concat(u32(3000), u32(3000), new Uint8Array(3000))
      return [logIn(), ...propose(usual), signed(context, { contextId: usual, opnum: 1, stub, limit: 2000 })]
    },
    [bindAck, alterAck, fault(2, status.accessDenied, { contextId: usual })],
    "is closed",
    { maximumRequest: 2000 }
  )
  row(
    "in a fragment that is too large: protocol error",
    () => {
      const context = new Context()
      const stub = concat(u32(6000), u32(6000), new Uint8Array(6000))
      return [logIn(), signed(context, { opnum: 1, stub, limit: 65535 })]
    },
    [bindAck, fault(2, status.protocolError)],
    "is closed"
  )
  for (const level of ["packet", "integrity", "privacy"] as const) {
    for (const object of [undefined, "11111111-2222-4333-8444-555555555555"]) {
      secure(
        `at level ${level}${object === undefined ? "" : ", with an object"}: is served`,
        (client, { callers }) =>
          Effect.gen(function* () {
            const number = { packet: 4, integrity: 5, privacy: 6 }[level]
            const context = new Context({ level })
            yield* client.say(logIn("alice", { level: number }), ...propose(usual))
            const [answer] = yield* client.ask(signed(context, { contextId: usual, object })) as never as Effect.Effect<
              readonly [Pdu.Response]
            >
            assert.isTrue(context.protection.accepts(answer))
            const { authPadLength, authLevel, authContextId, authType } = answer.authTrailer!
            assert.deepStrictEqual([authPadLength, authLevel, authContextId, authType], [12, number, 1, fakeType])
            assert.deepStrictEqual([...answer.stub], [42, 0, 0, 0])
            assert.deepStrictEqual(callers, [`alice ${level}`])
          })
      )
    }
  }
  secure("in many padded fragments: is served", (client) =>
    Effect.gen(function* () {
      const context = new Context()
      yield* client.say(logIn())
      const stub = concat(u32(5000), u32(5000), new Uint8Array(5000))
      assert.deepStrictEqual(yield* client.say(signed(context, { opnum: 1, stub, limit: 200 })), [response(2, 5000)])
    }))
})

describe("PDUs in big-endian", () => {
  for (const level of ["integrity", "privacy"] as const) {
    secure(`a login and a call, ${level}: are served`, (client) =>
      Effect.gen(function* () {
        const number = { integrity: 5, privacy: 6 }[level]
        const writer = new Pdu.Writer({ littleEndian: false })
        Pdu.encodeAuth3(writer, { callId: 3, authTrailer: token("proof", { level: number, id: 79231 }) })
        const trailer = token("alice", { level: number, id: 79231 })
        const fields = { littleEndian: false, flags: headerSign, contextElements: hello, authTrailer: trailer }
        assert.deepStrictEqual(yield* client.say(bind(fields), writer.take().slice()), [bindAck])
        const context = new Context({ level, id: 79231 })
        const pdu = request({ littleEndian: false, authTrailer: context.trailer })
        context.session.protect(pdu, 24, pdu.length - 8 - signatureSize, level, true)
        const [answer] = yield* client.ask(pdu)
        assert.isTrue(context.protection.accepts(answer as Pdu.Response))
        assert.deepStrictEqual([...(answer as Pdu.Response).stub], [42, 0, 0, 0])
      }))
  }
})

describe("trailers where none may be", () => {
  row(
    "a shutdown with a trailer: protocol error",
    () => {
      const pdu = concat(coCancel(7), new Uint8Array(16))
      return [logIn(), patched(pdu, { 2: [17], 8: [pdu.length, 0, 8, 0] })]
    },
    [bindAck, fault(7, status.protocolError, didNotExecute)],
    "is closed"
  )
})

// ----------------------------------------------------------------------------
// association groups
// ----------------------------------------------------------------------------

describe("an association group of another user", () => {
  const joining = (
    name: string,
    sent: (assocGroupId: number) => ReadonlyArray<Uint8Array>,
    answers: ReadonlyArray<unknown>
  ) =>
    secure(name, (one) =>
      Effect.gen(function* () {
        yield* one.say(logIn())
        const { assocGroupId } = one.heard[0] as Pdu.BindAck
        const two = yield* client
        const heard: Array<unknown> = []
        for (const pdu of sent(assocGroupId)) heard.push(...yield* two.say(pdu))
        assert.deepStrictEqual(heard, answers)
        yield* two.close
      }))
  const join = (assocGroupId: number, user: string) =>
    bind({ assocGroupId, contextElements: hello, flags: mpx | headerSign, authTrailer: token(user) })
  joining("joined by its own user: calls are served", (id) => [
    concat(join(id, "alice"), auth3("proof")),
    signed(new Context())
  ], [bindAck, response(2, 42)])
  joining("joined by another user: the login is refused", (id) => [
    concat(join(id, "bob"), auth3("proof")),
    signed(new Context({ user: "bob" }))
  ], [bindAck, fault(2, status.accessDenied)])
  joining("joined without a login: bind_nak 0", (id) => [bind({ assocGroupId: id, contextElements: hello })], [
    bindNak(1, 0)
  ])
  joining("joined by a login that never ends: a request without trailer is refused", (id) => [
    join(id, "alice"),
    request()
  ], [bindAck, fault(2, status.accessDenied)])
})

// ----------------------------------------------------------------------------
// fragments
// ----------------------------------------------------------------------------

for (const multiplexed of [false, true]) {
  const flags = headerSign | (multiplexed ? mpx : 0)
  describe(`fragments ${multiplexed ? "with" : "without"} CONC_MPX`, () => {
    /** Sends PDUs that two contexts sign, behind their logins, in the presentation contexts 0 and 2. */
    const fragments = (
      name: string,
      sent: (one: Context, two: Context) => ReadonlyArray<Uint8Array>,
      answers: ReadonlyArray<unknown>,
      fate: "lives" | "is closed" = "is closed"
    ) =>
      row(
        name,
        () => [
          logIn("alice", { flags }),
          ...propose(usual),
          concat(further("bob", { id: 2 }), auth3("proof", { id: 2 })),
          ...sent(new Context(), new Context({ id: 2, user: "bob" }))
        ],
        [bindAck, alterAck, alterAck, ...answers],
        fate
      )
    const begins = (context: Context, fields: RequestFields = {}) =>
      context.sign(
        first({
          callId: 5,
          contextId: usual,
          stub: new Uint8Array(16),
          opnum: 1,
          ...fields,
          authTrailer: context.trailer
        })
      )
    const ends = (context: Context, fields: RequestFields = {}, named: Partial<Pdu.AuthTrailer> = {}) =>
      context.sign(last({
        callId: 5,
        contextId: usual,
        stub: new Uint8Array(16),
        opnum: 1,
        ...fields,
        authTrailer: { ...context.trailer, ...named }
      }))
    const sized = () => concat(u32(24), u32(24), new Uint8Array(8))
    const answer = response(5, 24, { contextId: usual })
    fragments(
      "of one context: the call is served",
      (one) => [begins(one, { stub: sized() }), ends(one)],
      [answer],
      "lives"
    )
    fragments("the last one of another context: security fault", (one, two) => [begins(one), ends(two)], [
      fault(5, security, { contextId: usual })
    ])
    for (
      const [what, named] of [
        ["an unknown context", { authContextId: 77 }],
        ["another type", { authType: 9 }],
        ["another level", { authLevel: 6 }]
      ] as const
    ) {
      fragments(
        `the last one names ${what} and is signed by the first one's: the call is served`,
        (one) => [begins(one, { stub: sized() }), ends(one, {}, named)],
        [answer],
        "lives"
      )
    }
    fragments(
      "the last one has another opnum: the call is served",
      (one) => [begins(one, { stub: sized() }), ends(one, { opnum: 0 })],
      [answer],
      "lives"
    )
    const named = multiplexed ? fault(6, status.protocolError) : fault(5, status.protocolError, { contextId: usual })
    fragments("the last one of another call: protocol error", (one) => [begins(one), ends(one, { callId: 6 })], [named])
    fragments(
      "the last one without trailer: protocol error",
      (one) => [begins(one), last({ callId: 5, contextId: usual, opnum: 1 })],
      [fault(5, status.protocolError, { contextId: usual })]
    )
    fragments("a second first one, of the same call and another context: security fault", (one, two) => [
      begins(one),
      begins(two)
    ], [fault(5, security, { contextId: usual })])
    fragments(
      "a second first one, of another call: protocol error",
      (one) => [begins(one), begins(one, { callId: 6 })],
      [
        named
      ]
    )
    fragments(
      "a second first one, of another call and another context: protocol error",
      (one, two) => [begins(one), begins(two, { callId: 6 })],
      [named]
    )
    const sameCall = fault(5, status.protocolError, { contextId: usual })
    fragments("a second first one, of the same call and context: protocol error", (one) => [begins(one), begins(one)], [
      sameCall
    ])
    fragments(
      "a second first one, of the same call, another context and another interface: protocol error",
      (one, two) => [begins(one), begins(two, { contextId: open })],
      [sameCall]
    )
    for (
      const [what, callId, answered] of [["the same call", 5, sameCall], ["another call", 6, named]] as const
    ) {
      fragments(`a second first one, of ${what} and an unknown context: protocol error`, (one) => [
        begins(one),
        begins(new Context({ id: 77 }), { callId, contextId: unknown })
      ], [answered])
      fragments(`a second first one, of ${what} and without trailer: protocol error`, (one) => [
        begins(one),
        first({ callId, contextId: usual, opnum: 1 })
      ], [answered])
    }
    fragments(
      "the last one without trailer, in an unknown presentation context: protocol error",
      (one) => [begins(one), last({ callId: 5, contextId: unknown, opnum: 1 })],
      [sameCall]
    )
    // Without a call.
    fragments("a middle one without a call: protocol error", (one) => [ends(one, { exactFlags: 0 })], [
      fault(5, status.protocolError, multiplexed ? { contextId: usual } : {})
    ])
    fragments("a middle one without a call and trailer: protocol error", () => [
      last({ callId: 5, contextId: usual, exactFlags: 0 })
    ], [fault(5, status.protocolError, multiplexed ? { contextId: usual } : {})])
    for (
      const [what, trailer] of [
        ["an unknown context", { authContextId: 77 }],
        ["another type", { authType: 9 }],
        ["another level", { authLevel: 6 }]
      ] as const
    ) {
      fragments(
        `a middle one without a call, of ${what}: ${multiplexed ? "access denied" : "protocol error"}`,
        (one) => [ends(one, { exactFlags: 0 }, trailer)],
        [multiplexed ? fault(5, status.accessDenied, { contextId: usual }) : fault(5, status.protocolError)]
      )
    }
    fragments(
      "a middle one without a call, in an unknown presentation context",
      (one) => [ends(one, { exactFlags: 0, contextId: unknown }), ...(multiplexed ? [signed(one, { callId: 7 })] : [])],
      multiplexed
        ? [fault(5, status.unknownInterface, didNotExecute), response(7, 42)]
        : [fault(5, status.protocolError)],
      multiplexed ? "lives" : "is closed"
    )
  })
}

// ----------------------------------------------------------------------------
// several contexts, and the one of requests without trailer
// ----------------------------------------------------------------------------

describe("contexts of one connection", () => {
  /** Says PDUs, and compares who the manager took the caller for. */
  const callersOf = (name: string, sent: () => ReadonlyArray<Uint8Array>, expected: ReadonlyArray<string>) =>
    secure(name, (client, { callers }) =>
      Effect.gen(function* () {
        for (const pdu of sent()) yield* client.say(pdu)
        assert.deepStrictEqual(callers, expected)
        assert.isFalse(client.state.closed)
      }))
  const connects = (user: string, id: number) =>
    concat(further(user, { id, level: 2 }), auth3("proof", { id, level: 2 }))
  const explicit = (id: number, level = 2) =>
    request({
      authTrailer: {
        authType: fakeType,
        authLevel: level,
        authContextId: id,
        authValue: new Uint8Array(16).fill(1, 0, 1)
      }
    })
  callersOf("no login: a request is nobody's", () => [bind({ contextElements: hello }), request()], ["nobody none"])
  callersOf("level 5: a request without trailer is nobody's", () => [logIn(), request()], ["nobody none"])
  callersOf("level 6, and requests without trailer between: each has its own", () => {
    const context = new Context({ level: "privacy" })
    return [logIn("alice", { level: 6 }), signed(context), request({ callId: 3 }), signed(context, { callId: 4 })]
  }, ["alice privacy", "nobody none", "alice privacy"])
  callersOf("level connect: requests without trailer are its user's", () => [logIn("alice", { level: 2 }), request()], [
    "alice connect"
  ])
  callersOf("level connect, begun alone: a request is nobody's", () => [begin("alice", { level: 2 }), request()], [
    "nobody none"
  ])
  callersOf("two of level connect: requests without trailer are those of the newest", () => [
    logIn("alice", { level: 2 }),
    request(),
    connects("bob", 2),
    request({ callId: 3 })
  ], ["alice connect", "bob connect"])
  callersOf("one of level connect that is named: requests without trailer are nobody's then", () => [
    logIn("alice", { level: 2 }),
    explicit(1),
    request({ callId: 3 })
  ], ["alice connect", "nobody none"])
  callersOf("a later one of level connect, behind a named one: requests stay nobody's", () => [
    logIn("alice", { level: 2 }),
    explicit(1),
    connects("bob", 2),
    request({ callId: 3 }),
    explicit(2)
  ], ["alice connect", "nobody none", "bob connect"])
  callersOf("a protected request ends the turn of the one of level connect", () => {
    const context = new Context({ id: 2, user: "bob" })
    return [
      logIn("alice", { level: 2 }),
      concat(further("bob", { id: 2 }), auth3("proof", { id: 2 })),
      request(),
      signed(context, { callId: 3 }),
      request({ callId: 4 })
    ]
  }, ["alice connect", "bob integrity", "nobody none"])
  callersOf("a later one of level connect, behind a protected request: requests are its user's", () => {
    const context = new Context({ id: 2, user: "bob" })
    return [
      logIn("alice", { level: 2 }),
      concat(further("bob", { id: 2 }), auth3("proof", { id: 2 })),
      signed(context),
      connects("carol", 3),
      request({ callId: 4 })
    ]
  }, ["bob integrity", "carol connect"])
  callersOf("users, levels and sequences of their own", () => {
    const one = new Context()
    const two = new Context({ id: 2, user: "bob", level: "privacy" })
    return [
      logIn(),
      concat(further("bob", { id: 2, level: 6 }), auth3("proof", { id: 2, level: 6 })),
      signed(one),
      signed(two, { callId: 3 }),
      signed(two, { callId: 4 }),
      signed(one, { callId: 5 })
    ]
  }, ["alice integrity", "bob privacy", "bob privacy", "alice integrity"])
  callersOf(
    "an anonymous user: is nobody, at the level of the login",
    () => [logIn("nobody", { level: 2 }), request()],
    [
      "nobody connect"
    ]
  )
  row(
    "a response of level connect: has no trailer",
    () => [logIn("alice", { level: 2 }), ...propose(connect), explicit(1), request({ callId: 3, contextId: connect })],
    [bindAck, alterAck, response(2, 42), fault(3, status.accessDenied, { contextId: connect })],
    "is closed"
  )
})

// ----------------------------------------------------------------------------
// header signing
// ----------------------------------------------------------------------------

describe("header signing", () => {
  const switchOn = () => alter({ contextElements: hello, flags: headerSign })
  secure("never agreed: headers are not signed", (client) =>
    Effect.gen(function* () {
      const context = new Context({ connection: { headerSigning: false } })
      yield* client.say(logIn("alice", { flags: mpx }))
      const [answer] = yield* client.ask(signed(context))
      assert.isTrue(context.protection.accepts(answer as Pdu.Response))
    }))
  secure("switched on late: holds for contexts that are older, both ways", (client) =>
    Effect.gen(function* () {
      const context = new Context({ connection: { headerSigning: false } })
      yield* client.say(logIn("alice", { flags: mpx }))
      const [before] = yield* client.ask(signed(context))
      assert.isTrue(context.protection.accepts(before as Pdu.Response))
      const [ack] = yield* client.ask(switchOn())
      assert.strictEqual((ack as Pdu.AlterContextResponse).flags & headerSign, headerSign)
      context.connection.headerSigning = true
      const [after] = yield* client.ask(signed(context, { callId: 3 }))
      assert.isTrue(context.protection.accepts(after as Pdu.Response))
    }))
  row(
    "switched on late, a request in the old way: security fault",
    () => [logIn("alice", { flags: mpx }), switchOn(), signed(new Context({ connection: { headerSigning: false } }))],
    [bindAck, alterAck, fault(2, security)],
    "is closed"
  )
  row(
    "never agreed, a request that is signed with its header: security fault",
    () => [logIn("alice", { flags: mpx }), signed(new Context())],
    [bindAck, fault(2, security)],
    "is closed"
  )
  row(
    "the bit in an auth3: does nothing",
    () => [
      begin("alice", { flags: mpx }),
      patched(auth3("proof"), { 3: [firstFlag | lastFlag | headerSign] }),
      signed(new Context({ connection: { headerSigning: false } }))
    ],
    [bindAck, response(2, 42)],
    "lives"
  )
  row(
    "an alter_context without the bit: does not switch it off",
    () => [logIn(), ...propose(usual), signed(new Context())],
    [bindAck, alterAck, response(2, 42)],
    "lives"
  )
  row(
    "with two contexts of which the second has asked: both sign headers",
    () => [
      logIn("alice", { flags: mpx }),
      concat(further("bob", { id: 2, flags: headerSign }), auth3("proof", { id: 2 })),
      signed(new Context()),
      signed(new Context({ id: 2, user: "bob" }), { callId: 3 })
    ],
    [bindAck, alterAck, response(2, 42), response(3, 42)],
    "lives"
  )
})

// ----------------------------------------------------------------------------
// cancels and orphans
// ----------------------------------------------------------------------------

describe("a cancel or an orphan", () => {
  const withTrailer = (ptype: number, { trailer }: Context, callId: number) => {
    const pdu = request({ callId, stub: new Uint8Array(0), authTrailer: trailer })
    const bare = concat(pdu.slice(0, 16), pdu.slice(24))
    return patched(bare, { 2: [ptype], 8: [bare.length, 0] })
  }
  for (const [name, ptype, plain] of [["cancel", 18, coCancel], ["orphan", 19, orphaned]] as const) {
    for (const hasTrailer of [false, true]) {
      row(
        `a ${name} ${hasTrailer ? "with" : "without"} trailer: has no part in the sequence`,
        () => {
          const context = new Context()
          return [
            logIn(),
            signed(context, { opnum: 2, callId: 7, stub: new Uint8Array(0) }),
            hasTrailer ? withTrailer(ptype, context, 7) : plain(7),
            signed(context)
          ]
        },
        [bindAck, ...(name === "cancel" ? [fault(7, status.cancelled, { cancels: 1 })] : []), response(2, 42)],
        "lives"
      )
    }
  }
})

// ----------------------------------------------------------------------------
// verification trailers
// ----------------------------------------------------------------------------

describe("a verification trailer", () => {
  const bytesOf = (hex: string) => Uint8Array.from(hex.match(/../g)!, (byte) => parseInt(byte, 16))
  for (const { accepted: isAccepted, headerSignBit, name, trailer } of vectors.cases) {
    secure(
      `${name}: ${isAccepted ? "the call is served" : "access denied"}, and the connection lives`,
      (client) =>
        Effect.gen(function* () {
          const flags = mpx | (headerSignBit ? headerSign : 0)
          yield* client.say(bind({ flags, contextElements: [element(0, Management.IManagement)] }))
          const fields = { callId: 3, opnum: 2, stub: bytesOf(trailer) }
          const [answer] = yield* client.ask(request(fields))
          if (isAccepted) assert.strictEqual(answer?._tag, "Response")
          else assert.deepInclude(answer, { _tag: "Fault", status: 5, contextId: 0, flags: firstFlag | lastFlag })
          const [next] = yield* client.ask(request({ ...fields, callId: 4, stub: new Uint8Array(0) }))
          assert.strictEqual(next?._tag, "Response")
        })
    )
  }
  const trailers = bytesOf(vectors.cases.find(({ name }) => name === "bitmask twice")!.trailer)
  row(
    "that is wrong, of a signed request: access denied, lives",
    () => {
      const context = new Context()
      return [logIn(), signed(context, { stub: concat(u32(41), trailers) }), signed(context, { callId: 3 })]
    },
    [bindAck, fault(2, status.accessDenied), response(3, 42)],
    "lives"
  )
  row(
    "that is wrong, behind an access check that takes time: access denied, lives",
    () => {
      const context = new Context()
      const wrong = { contextId: slow, stub: concat(u32(41), trailers) }
      return [
        logIn(),
        ...propose(slow),
        signed(context, wrong),
        signed(context, { ...wrong, callId: 3, stub: u32(41) })
      ]
    },
    [bindAck, alterAck, fault(2, status.accessDenied, { contextId: slow }), response(3, 42, { contextId: slow })],
    "lives"
  )
})

// ----------------------------------------------------------------------------
// reports, places and deadlines
// ----------------------------------------------------------------------------

describe("a login", () => {
  secure(
    "refused: one warning with the peer, the provider and the claimed name",
    (client, { warnings }) =>
      Effect.gen(function* () {
        yield* client.say(begin())
        yield* client.say(auth3("refused"))
        assert.strictEqual(warnings.length, 1)
        for (const part of ["alice", "ncacn_memory", "Fake", "refused", "as asked"]) assert.include(warnings[0], part)
      })
  )
  secure("a broken signature: one warning", (client, { warnings }) =>
    Effect.gen(function* () {
      yield* client.say(logIn())
      yield* client.say(patched(signed(new Context()), { 24: [1] }))
      assert.strictEqual(warnings.length, 1)
      assert.include(warnings[0], "signature")
    }))
  secure("of a provider that dies: its words are in no warning", (client, { warnings }) =>
    Effect.gen(function* () {
      yield* client.say(begin("die"))
      assert.strictEqual(warnings.length, 1)
      assert.notInclude(warnings.join(), "hunter2")
    }))
  const unfinished = (name: string, sent: () => ReadonlyArray<Uint8Array>) =>
    secure(`${name}: the connection is closed after bindTimeout`, (client) =>
      Effect.gen(function* () {
        for (const pdu of sent()) yield* client.say(pdu)
        yield* TestClock.adjust("9 seconds")
        yield* settle
        assert.isFalse(client.state.closed)
        yield* TestClock.adjust("2 seconds")
        yield* settle
        assert.isTrue(client.state.closed)
      }))
  unfinished("begun and never finished", () => [begin()])
  unfinished(
    "begun on a connection without one, never finished",
    () => [bind({ contextElements: hello }), further("bob")]
  )
  unfinished("of a provider that hangs in a bind", () => [begin("hang")])
  unfinished("of a provider that hangs in an auth3", () => [begin(), auth3("hang")])
  unfinished("begun again while an older one is unfinished", () => [begin(), further("bob", { id: 2 })])
  secure("finished in time: the connection stays", (client) =>
    Effect.gen(function* () {
      const context = new Context()
      yield* client.say(logIn())
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(yield* client.say(signed(context)), [response(2, 42)])
    }))
  secure("finished in time, while the next is begun: the connection stays", (client) =>
    Effect.gen(function* () {
      const context = new Context()
      yield* client.say(logIn())
      for (let id = 2; id < 8; id++) {
        yield* client.say(further("bob", { id }))
        yield* TestClock.adjust("4 seconds")
        if (id > 2) yield* client.say(auth3("proof", { id: id - 1 }))
      }
      assert.deepStrictEqual(yield* client.say(signed(context)), [response(2, 42)])
    }))
  secure(
    "awaited while requests arrive: none is read before its end",
    (client, { callers }) =>
      Effect.gen(function* () {
        yield* client.say(begin())
        const flood = Array.from({ length: 500 }, (_, at) => request({ callId: 10 + at }))
        assert.deepStrictEqual(yield* client.say(auth3("hang"), ...flood), [])
        assert.deepStrictEqual(callers, [])
        yield* TestClock.adjust("11 seconds")
      })
  )
  secure(
    "awaited while a flood arrives: the server takes no more than its buffers hold",
    (client) =>
      Effect.gen(function* () {
        yield* client.say(begin(), auth3("hang"))
        const chunk = concat(...Array.from({ length: 1000 }, (_, at) => request({ callId: 10 + at })))
        let written = 0
        const flood = Effect.forever(Effect.tap(client.write(chunk), () => Effect.sync(() => written += chunk.length)))
        const flooding = yield* Effect.forkChild(flood)
        yield* settle
        assert.isUndefined(flooding.pollUnsafe())
        assert.isBelow(written, 1_000_000)
        yield* TestClock.adjust("11 seconds")
        yield* settle
        yield* Fiber.interrupt(flooding)
      })
  )
  secure("interrupted by the end of its connection: no warning", (client, { warnings }) =>
    Effect.gen(function* () {
      yield* client.say(begin(), auth3("hang"))
      yield* client.close
      // Nobody reads then that the client has gone.
      yield* TestClock.adjust("11 seconds")
      yield* settle
      assert.deepStrictEqual(warnings, [])
    }))
  secure("with a session of no use: is refused", (client) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* client.say(begin("strange"), further("proof")), [
        bindAck,
        fault(2, status.accessDenied, didNotExecute)
      ])
    }))
  secure("its session throws at a request: security fault", (client, { journal }) =>
    Effect.gen(function* () {
      yield* client.say(logIn())
      journal.sessions[0]!.breaks = true
      assert.deepStrictEqual(yield* client.say(signed(new Context())), [fault(2, security)])
      assert.isTrue(client.state.closed)
    }))
  secure(
    "its session throws at a response: the connection is closed",
    (client, { journal }) =>
      Effect.gen(function* () {
        yield* client.say(logIn())
        const [session] = journal.sessions
        session!.protect = () => {
          throw new Error("as expected")
        }
        assert.deepStrictEqual(yield* client.say(signed(new Context())), [])
        assert.isTrue(client.state.closed)
      })
  )
  secure(
    "finished or not: its secrets are wiped when the connection closes",
    (client, { journal }) =>
      Effect.gen(function* () {
        yield* client.say(logIn())
        yield* client.say(further("bob", { id: 2 }))
        assert.strictEqual(journal.wiped, 0)
        yield* client.close
        yield* settle
        assert.strictEqual(journal.wiped, 2)
      })
  )
  secure("refused in the bind: its secrets are wiped", (client, { journal }) =>
    Effect.gen(function* () {
      yield* client.say(begin("refused"))
      yield* settle
      assert.strictEqual(journal.wiped, 1)
    }))
})
