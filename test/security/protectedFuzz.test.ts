/**
 * Protected conversations that were damaged, at both ends: nothing that was not signed is ever taken for what it says, nothing twice, and
 * nothing is left.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Logger, Metric, Redacted, Result } from "effect"
import { TestClock } from "effect/testing"
import { type Binding, Call } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import { numberOf, Protection } from "../../src/dcerpc/internal/protection.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { binary } from "../../src/dcerpc/TransferSyntax.ts"
import * as Security from "../../src/security/Security.ts"
import * as Memory from "../../src/transport/Memory.ts"
import { parse } from "../../src/transport/StringBinding.ts"
import * as Transport from "../../src/transport/Transport.ts"
import { budgetOf, report, seed } from "../budget.ts"
import { cut, damaged } from "../dcerpc/damage.ts"
import { below, chance, makeRandom, pick, type Random } from "../dcerpc/random.ts"
import { alter, bind, coCancel, concat, orphaned, request, type RequestFields, u32 } from "../dcerpc/rawClient.ts"
import { accepted, bytesOf, IEcho, inputOf, mpx, noFeatures, stubOf, textOf } from "../dcerpc/rawServer.ts"
import { fibersActive, inVirtualTime, isOfTestClock } from "../dcerpc/virtualTime.ts"
import { FakeSession, fakeType, makeClient } from "./fakeProvider.ts"
import { auth3, client, Context, elements, makeWorld, token, unknown, usual } from "./rawLogin.ts"

const headerSign = Pdu.flags.supportHeaderSign
const levels = ["packet", "integrity", "privacy"] as const
const fewYields = Effect.repeat(Effect.yieldNow, { times: 3 })

/** What is said, with some of it damaged, doubled, lost or out of order. */
const disturbed = (said: Array<Uint8Array>, from: number, random: Random): Array<Uint8Array> => {
  for (let times = below(random, 4); times > 0; times--) {
    const at = chance(random, 0.9) ? from + below(random, said.length) : below(random, said.length)
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

// ----------------------------------------------------------------------------
// against the server
// ----------------------------------------------------------------------------

/** The values of signed requests begin at this number. */
const mark = 0x5a00_0000

/** The bytes of those that have bytes. */
const size = 300

/** A whole conversation of one client, which logs in once or twice. */
const conversation = (random: Random, nextValue: () => number): Array<Uint8Array> => {
  const level = pick(random, levels)
  const signsHeaders = chance(random, 0.7)
  const connection = { headerSigning: signsHeaders }
  const trailer = { level: numberOf(level) }
  const contexts = [new Context({ level, connection })]
  const said = [
    bind({
      contextElements: elements.slice(0, 1),
      flags: mpx | (signsHeaders ? headerSign : 0),
      authTrailer: token("alice", trailer)
    }),
    auth3("proof", trailer),
    alter({ contextElements: [elements[usual]!] })
  ]
  const from = said.length
  if (chance(random, 0.3)) {
    const second = { id: 2, level: 6 }
    said.push(
      alter({ contextElements: elements.slice(0, 1), authTrailer: token("bob", second) }),
      auth3("proof", second)
    )
    contexts.push(new Context({ id: 2, user: "bob", level: "privacy", connection }))
  }
  for (let callId = 2; callId < 5 + random() * 10; callId++) {
    const context = pick(random, contexts)
    const { trailer } = context
    const fields: RequestFields = { callId, contextId: usual, authTrailer: trailer, stub: u32(nextValue()) }
    const kind = random()
    const sized = concat(u32(size), u32(size), new Uint8Array(size))
    if (kind < 0.1) said.push(coCancel(callId - 1))
    else if (kind < 0.15) said.push(orphaned(callId - 1))
    else if (kind < 0.2) said.push(request({ callId, stub: u32(1) }))
    else if (kind < 0.4) said.push(...cut(context.sign(request({ ...fields, opnum: 1, stub: sized, limit: 120 }))))
    else if (kind < 0.5) said.push(context.sign(request({ ...fields, opnum: 99 })))
    else if (kind < 0.6) said.push(context.sign(request({ ...fields, contextId: unknown })))
    else if (kind < 0.7 && signsHeaders) {
      const bad = damaged(request({ ...fields, opnum: 1, stub: sized }), random)
      // Only what has a size can be signed.
      const hasSize = bad.length > 24 && (bad[8]! | bad[9]! << 8) === bad.length
      said.push(hasSize ? context.sign(bad) : bad)
    } else said.push(context.sign(request(fields)))
  }
  return disturbed(said, from, random)
}

describe("protected requests that were damaged", () => {
  const budget = budgetOf(500_000)

  it.effect(
    `${budget} damaged protected requests, seed ${seed}: none reaches a manager`,
    () =>
      Effect.gen(function* () {
        const random = makeRandom(seed)
        const problems: Array<string> = []
        const seen = new Map<string, number>()
        const see = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1)
        const served = new Set<number>()
        let value = mark
        const nextValue = () => ++value
        const world = yield* makeWorld({ maximumContexts: 3, maximumRequest: 2000 }, (caller, level, value) => {
          see(`served ${level}`)
          if (level === "none") return
          // The size of another request, whose opnum was changed: without signed headers nobody notices.
          if (value === size) return
          if (value <= mark || value > mark + 0x0100_0000) {
            problems.push(`${caller}, ${level}: ${value} was never signed`)
          }
          if (served.has(value)) problems.push(`${caller}, ${level}: ${value} came twice`)
          served.add(value)
        })
        let pdus = 0
        while (pdus < budget && problems.length === 0) {
          const one = yield* client
          const said = conversation(random, nextValue)
          const stream = concat(...said)
          pdus += said.length
          for (let at = 0; at < stream.length;) {
            const end = at + 1 + below(random, pick(random, [4, 100, 1000, 10_000]))
            yield* one.write(stream.slice(at, end))
            at = end
            if (chance(random, 0.2)) yield* fewYields
          }
          yield* fewYields
          for (const answer of yield* one.ask()) {
            if (answer._tag === "PduError") problems.push(`the server sent what is no PDU: ${answer.message}`)
            else if (answer._tag === "Fault") see(`fault ${answer.status.toString(16)}`)
            else see(answer._tag)
          }
          yield* one.close
          if (pdus % 500 < 20) yield* TestClock.adjust("1 minute")
        }
        yield* TestClock.adjust("1 minute")
        yield* fewYields
        assert.deepStrictEqual([world.connections.size, world.groups.size], [0, 0])
        problems.push(...world.warnings.filter((text) => !text.startsWith("Refused")))
        assert.deepStrictEqual(problems, [])
        const expected = [
          "served packet",
          "served integrity",
          "served privacy",
          "served none",
          "fault 5",
          "fault 721",
          "fault 1c01000b",
          "fault 1c010002",
          "fault 1c010003",
          "fault 1c00001b",
          "Response",
          "BindNak"
        ]
        if (budget >= 25_000) assert.deepStrictEqual(expected.filter((what) => !seen.has(what)), [])
        const told = [...seen].map(([what, count]) => `${what} ${count}`).join(", ")
        report("protected requests", `${pdus} PDUs (${told})`)
      }).pipe(Effect.scoped, Effect.provide(Layer.merge(Memory.layer, Logger.layer([])))),
    1_800_000
  )
})

// ----------------------------------------------------------------------------
// against the client
// ----------------------------------------------------------------------------

const written = (write: (writer: Pdu.Writer) => void): ReadonlyArray<Uint8Array> => {
  const writer = new Pdu.Writer()
  write(writer)
  return cut(writer.take().slice())
}

/** A server, as it behaves on one connection. */
class Peer {
  private readonly random: Random
  private readonly damage: number
  private readonly protection: Protection
  private readonly level: Security.ProtectionLevel
  private readonly held: Array<readonly [callId: number, text: string]> = []

  constructor(random: Random, level: Security.ProtectionLevel) {
    this.random = random
    this.level = level
    this.damage = pick(random, [0, 0.02, 0.1, 0.4])
    this.protection = new Protection(new FakeSession("server", "alice"), level, { headerSigning: true }, {
      authType: fakeType,
      authContextId: 1
    })
  }

  answers(pdu: Pdu.Pdu): ReadonlyArray<Uint8Array> {
    const { random } = this
    const damage = pdu._tag === "Bind" ? this.damage / 4 : this.damage
    return this.honest(pdu).flatMap((said) => {
      if (!chance(random, damage)) return [said]
      const kind = random()
      return kind < 0.8 ? [damaged(said, random)] : kind < 0.9 ? [said, said] : []
    })
  }

  private honest(pdu: Pdu.Pdu): ReadonlyArray<Uint8Array> {
    const { held, random } = this
    if (pdu._tag === "Bind") {
      return written((writer) =>
        Pdu.encodeBindAck(writer, {
          callId: pdu.callId,
          flags: pdu.flags & (mpx | headerSign),
          maxXmitFrag: 65528,
          maxRecvFrag: 65528,
          assocGroupId: 5,
          secAddr: "",
          results: [accepted, noFeatures],
          authTrailer: token("answer", { level: numberOf(this.level) })
        })
      )
    }
    if (pdu._tag !== "Request" || !this.protection.unseal(pdu)) return []
    held.push([pdu.callId, inputOf({ ...pdu, stub: withoutTrailer(pdu.stub) })])
    if (chance(random, 0.3)) return []
    return held.splice(0).sort(() => random() - 0.5).flatMap(([callId, text]) => this.reply(callId, text))
  }

  private reply(callId: number, text: string): ReadonlyArray<Uint8Array> {
    const { random } = this
    if (chance(random, 0.1)) {
      const status = pick(random, [5, 0x721, 0x1c01000b, 0x1c010002])
      return written((writer) => Pdu.encodeFault(writer, { callId, contextId: 0, cancelCount: 0, status, flags: 0 }))
    }
    const said = written((writer) => {
      const stub = stubOf(`to ${text}`)
      Pdu.beginResponse(writer, { callId, contextId: 0, cancelCount: 0 })
      writer.ensure(stub.length)
      writer.bytes.set(stub, writer.position)
      writer.position += stub.length
      Pdu.endMessage(writer, pick(random, [80, 65528]), this.protection.trailer)
    })
    for (const pdu of said) this.protection.seal(pdu)
    return said
  }
}

const magic = [0x8a, 0xe3, 0x13, 0x71]

const withoutTrailer = (stub: Uint8Array): Uint8Array => {
  const end = stub.length - 60
  return end >= 0 && magic.every((byte, at) => stub[end + at] === byte) ? stub.subarray(0, end) : stub
}

describe("protected responses that were damaged", () => {
  const budget = budgetOf(500_000)

  it.effect(`${budget} damaged protected responses, seed ${seed}: none answers a call`, () =>
    Effect.gen(function* () {
      yield* binary.load
      const random = makeRandom(seed)
      const problems: Array<string> = []
      const seen = new Map<string, number>()
      const see = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1)
      let pdus = 0
      let connections = 0
      let servers = 0
      let texts = 0

      const serve = Effect.fnUntraced(function* (level: Security.ProtectionLevel, { socket }: Transport.Connection) {
        connections++
        yield* Effect.addFinalizer(() => Effect.sync(() => connections--))
        const { write } = yield* socket.writer
        const { pull } = yield* socket.reader
        const parser = Pdu.makeParser({ maxFragment: Pdu.maxFragment, owned: true })
        const peer = new Peer(random, level)
        while (true) {
          for (const chunk of yield* pull) {
            for (const pdu of parser.push(chunk as Uint8Array)) {
              if (pdu._tag === "PduError") return problems.push(`the client sent what is no PDU: ${pdu.message}`)
              see(`heard ${pdu._tag}`)
              const said = peer.answers(pdu)
              pdus += said.length
              const stream = concat(...said)
              for (let at = 0; at < stream.length;) {
                const end = at + 1 + below(random, pick(random, [10, 1000, 100_000]))
                yield* write(stream.slice(at, end))
                at = end
              }
              if (chance(random, 0.01)) return
            }
          }
        }
      })

      const converse = (store: Binding.Binding<typeof IEcho>) =>
        Effect.gen(function* () {
          for (let times = 1 + below(random, 12); times > 0; times--) {
            const text = `text ${texts++} ${"y".repeat(below(random, 100))}`
            const method = pick(random, ["Echo", "Again"] as const)
            const exit = yield* Effect.exit(Call.invoke(store, method as "Echo", bytesOf(text)))
            see(outcomeOf(exit))
            if (Exit.isSuccess(exit) && textOf(exit.value) !== `to ${text}`) {
              problems.push(`"${textOf(exit.value)}" is no answer to "${text}"`)
            }
          }
        })
      const outcomeOf = (exit: Exit.Exit<unknown, { readonly _tag: string }>): string => {
        if (Exit.isSuccess(exit)) return "replied"
        const error = Cause.findErrorOption(exit.cause)
        if (error._tag === "Some") {
          const { code } = error.value as { readonly code?: number }
          return `${error.value._tag}${code === undefined ? "" : ` ${code}`}`
        }
        problems.push(Cause.pretty(exit.cause))
        return "defect"
      }

      const one = Effect.gen(function* () {
        const transport = yield* Transport.Transport
        const level = pick(random, levels)
        const address = `ncacn_memory:[damaged${servers++}]`
        yield* transport.listen(Result.getOrThrow(parse(address)), (connection) =>
          Effect.ignore(Effect.scoped(serve(level, connection))))
        const security = Security.make({
          provider: makeClient(),
          credentials: { user: "alice", password: Redacted.make("hunter2") },
          level,
          headerSigning: "required"
        })
        const bound = yield* Effect.exit(
          Association.bind(IEcho, address, { security, callTimeout: "5 seconds", connectTimeout: "2 seconds" })
        )
        if (Exit.isFailure(bound)) {
          return void see(`bind ${outcomeOf(bound)}`)
        }
        yield* Effect.all(
          Array.from({ length: 6 }, () =>
            converse(bound.value)),
          { concurrency: "unbounded" }
        )
      }).pipe(Effect.scoped)

      const context = yield* Effect.context<Transport.Transport>()
      const before = yield* fibersActive
      while (pdus < budget && problems.length === 0) {
        const all = Effect.all(Array.from({ length: 50 }, () => one), { concurrency: "unbounded" })
        yield* inVirtualTime(Effect.provide(all, context))
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual([connections, yield* fibersActive], [0, before], "connections and fibers")
      }
      assert.deepStrictEqual(problems, [])
      const expected = ["replied", "RpcTransportError", "RpcFault 5", "RpcFault 1825"]
      if (budget >= 25_000) assert.deepStrictEqual(expected.filter((what) => !seen.has(what)), [])
      const told = [...seen].map(([what, count]) => `${what} ${count}`).join(", ")
      report("protected responses", `${pdus} PDUs (${told})`)
    }).pipe(
      Effect.provide(
        Layer.mergeAll(
          Memory.layer,
          Metric.enableRuntimeMetricsLayer,
          Layer.succeed(Metric.MetricRegistry, new Map()),
          Logger.layer([
            Logger.make(({ message }) => {
              if (!isOfTestClock(message)) console.log(String(message))
            })
          ])
        )
      )
    ), 1_800_000)
})
