/** Conversations of which one bit is changed on its way: no call gives what was not said, or is protected less than was asked. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Logger, Redacted, Schema, type Scope } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Socket from "effect/socket/Socket"
import { TestClock } from "effect/testing"
import { Call, Interface, Manager, Server, ServerCall } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import { binary } from "../../src/dcerpc/TransferSyntax.ts"
import * as Ntlm from "../../src/security/Ntlm.ts"
import * as Security from "../../src/security/Security.ts"
import * as Memory from "../../src/transport/Memory.ts"
import * as Transport from "../../src/transport/Transport.ts"
import { budgetOf, report, seed } from "../budget.ts"
import { below, makeRandom } from "../dcerpc/random.ts"

const password = Redacted.make("correct horse")
const accounts: Ntlm.Accounts = ({ user }) => user === "alice" ? { ntHash: Ntlm.hash(password) } : undefined

const IAsk = Interface.make("IAsk", {
  uuid: "5e0c1a10-7c1f-4c5e-9a57-1d2f8f6a0c01",
  version: [1, 0],
  methods: { Ask: Interface.method({ in: Schema.String, out: Schema.String }) }
})

// ----------------------------------------------------------------------------
// a transport that changes one bit
// ----------------------------------------------------------------------------

type Direction = "out" | "in"

/** What the client has written and read, and the bit to change. */
interface Wire {
  readonly flip: { readonly direction: Direction; readonly at: number; readonly bit: number } | undefined
  readonly passed: { readonly [D in Direction]: Array<number> }
}

const pass = (wire: Wire, direction: Direction, chunk: Uint8Array): Uint8Array => {
  const { flip, passed: { [direction]: passed } } = wire
  const copy = chunk.slice()
  if (flip?.direction === direction) {
    const at = flip.at - passed.length
    if (at >= 0 && at < copy.length) copy[at]! ^= 1 << flip.bit
  }
  passed.push(...chunk)
  return copy
}

const changing = (transport: Transport.Transport, wire: Wire): Transport.Transport => ({
  ...transport,
  connect: (binding) =>
    Effect.map(transport.connect(binding), (connection) => ({
      ...connection,
      socket: Socket.make({
        reader: Effect.map(connection.socket.reader, (reader) => ({
          ...reader,
          pull: Effect.map(
            reader.pull,
            (chunks) =>
              chunks.map((chunk) => pass(wire, "in", chunk as Uint8Array)) as never as NonEmptyReadonlyArray<Uint8Array>
          )
        })),
        writer: Effect.map(connection.socket.writer, (writer) => ({
          write: (chunk) =>
            Socket.isCloseEvent(chunk) ? writer.write(chunk) : writer.write(pass(wire, "out", chunk as never)),
          writeAll: (chunks) => writer.writeAll(chunks.map((chunk) => pass(wire, "out", chunk as Uint8Array)) as never)
        }))
      })
    }))
})

/** The bytes of what was written or read: of which type of PDU each is, and whether a signature or a check sum covers it. */
const bytesIn = (bytes: ReadonlyArray<number>) => {
  const all: Array<{ readonly ptype: number; readonly at: number; readonly isCovered: boolean }> = []
  for (let start = 0; start < bytes.length;) {
    const ptype = bytes[start + 2]!
    const end = start + (bytes[start + 8]! | bytes[start + 9]! << 8)
    const token = end - (bytes[start + 10]! | bytes[start + 11]! << 8)
    for (let at = start; at < end; at++) all.push({ ptype, at, isCovered: ptype === 0 || ptype === 2 || at >= token })
    start = end
  }
  return all
}

// ----------------------------------------------------------------------------
// a conversation
// ----------------------------------------------------------------------------

const questions = ["one", "two"]
const place = "ncacn_memory:[flips]"

/** A login and two calls, one after another. Each call is made once, on one connection. */
const converse = (level: Security.ProtectionLevel, flip: Wire["flip"]) =>
  Effect.gen(function* () {
    const wire: Wire = { flip, passed: { in: [], out: [] } }
    const asked: Array<string> = []
    const server = yield* Server.make([
      Manager.make(IAsk, {
        Ask: (text, call) =>
          Effect.sync(() => {
            const { level, name } = ServerCall.caller(call)
            asked.push(`${name} ${level} ${text}`)
            return `to ${text}`
          })
      })
    ], { grace: 0 })
    const transport = yield* Transport.Transport
    yield* Endpoint.serve(server, place, { security: [Ntlm.server(accounts)] })
    const security = Security.make({
      provider: Ntlm.client,
      credentials: { user: "alice", password },
      level,
      headerSigning: "required"
    })
    const calls = Effect.gen(function* () {
      const binding = yield* Association.bind(IAsk, place, {
        security,
        callTimeout: "1 second",
        connectTimeout: "1 second"
      })
      const answers: Array<string> = []
      for (const question of questions) {
        const call = yield* Call.make(binding)
        const pending = yield* Call.begin(call, "Ask", question)
        answers.push(yield* Call.join(pending))
        const { agreed } = (yield* Call.security(call)) as unknown as { readonly agreed?: { readonly level: string } }
        if (agreed !== undefined) assert.strictEqual(agreed.level, level)
      }
      return answers
    }).pipe(Effect.scoped, Effect.provideService(Transport.Transport, changing(transport, wire)), Effect.exit)
    const fiber = yield* Effect.forkChild(calls)
    for (let turn = 0; fiber.pollUnsafe() === undefined; turn++) {
      assert.isBelow(turn, 1000, `no end with ${JSON.stringify(flip)}`)
      yield* Effect.repeat(Effect.yieldNow, { times: 100 })
      if (turn > 2 && fiber.pollUnsafe() === undefined) yield* TestClock.adjust("100 millis")
    }
    return { asked, exit: yield* Fiber.join(fiber), wire }
  }).pipe(Effect.scoped) as Effect.Effect<
    {
      readonly asked: ReadonlyArray<string>
      readonly exit: Exit.Exit<ReadonlyArray<string>, unknown>
      readonly wire: Wire
    },
    unknown,
    Scope.Scope | Transport.Transport
  >

describe("one bit that is changed on its way", () => {
  for (const level of ["integrity", "privacy"] as const) {
    const most = budgetOf(8_000)
    it.effect(
      `${level}: every change of a message, a token or a signature is noticed, seed ${seed}`,
      () =>
        Effect.gen(function* () {
          yield* binary.load
          const random = makeRandom(seed)
          const { asked, exit, wire } = yield* converse(level, undefined)
          const answers = questions.map((question) => `to ${question}`)
          const known = questions.map((question) => `alice ${level} ${question}`)
          assert.deepStrictEqual(exit, Exit.succeed(answers))
          assert.deepStrictEqual(asked, known)
          const all = (["out", "in"] as const).flatMap((direction) =>
            bytesIn(wire.passed[direction]).map((byte) => ({ ...byte, direction }))
          )
          let noticed = 0
          let changes = 0
          // Each byte once, where the budget has so many.
          const step = Math.max(1, Math.floor(all.length / most))
          for (let index = below(random, step); index < all.length; index += step) {
            const { at, direction, isCovered, ptype } = all[index]!
            const flip = { at, direction, bit: below(random, 8) }
            const { asked, exit } = yield* converse(level, flip)
            const what = `PDU type ${ptype}, ${direction}, byte ${at}, bit ${flip.bit}`
            changes++
            if (Exit.isFailure(exit)) noticed++
            else {
              assert.deepStrictEqual(exit.value, answers, what)
              assert.isFalse(isCovered, `not noticed: ${what}`)
            }
            for (const one of asked) assert.include(known, one, what)
          }
          report(`bit flips, ${level}`, `${changes} changes, ${noticed} noticed`)
        }).pipe(Effect.scoped, Effect.provide(Layer.merge(Memory.layer, Logger.layer([])))),
      600_000
    )
  }
})
