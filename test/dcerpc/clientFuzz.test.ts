/**
 * Servers whose answers are damaged, doubled, lost and out of order, against the client: each call that was begun ends once with a
 * typed outcome, the client sends nothing but PDUs, another binding does not notice, and nothing is left.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber, Layer, Logger, Metric, Result, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { type Binding, Call, Interface, Manager, Pipe, Server } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { parse } from "../../src/transport/StringBinding.ts"
import { binary, ndr20 } from "../../src/dcerpc/TransferSyntax.ts"
import * as Memory from "../../src/transport/Memory.ts"
import * as Transport from "../../src/transport/Transport.ts"
import { cut, damaged } from "./damage.ts"
import { below, chance, makeRandom, pick, type Random } from "./random.ts"
import { concat, writeChunk } from "./rawClient.ts"
import { fibersActive, inVirtualTime, isOfTestClock } from "./virtualTime.ts"
import { budgetOf, report, seed } from "../budget.ts"

class Refused extends Schema.TaggedError<Refused>()("Refused", {}) {}

const uuid = "8f1c2d3e-4a5b-4c6d-8e7f-0a1b2c3d4e60"
const aborts = [Interface.abort(77, Refused)] as const

const makeInterface = (text: Schema.Codec<string>, number: Schema.Codec<number>) =>
  Interface.make("IText", {
    uuid,
    version: [1, 0],
    methods: {
      Echo: Interface.method({ in: text, out: text, aborts }),
      Again: Interface.method({ in: text, out: text, aborts, idempotent: true }),
      Flow: Interface.method({
        in: text,
        inPipe: { there: Pipe.bytes },
        outPipe: { back: number, more: Pipe.bytes },
        out: text,
        aborts
      })
    }
  })

/** In our own transfer syntax, and in NDR. */
const IPlain = makeInterface(Schema.String, Schema.Int)
const INdr = makeInterface(Ndr.WString, Ndr.Uint16)

// ----------------------------------------------------------------------------
// what servers answer
// ----------------------------------------------------------------------------

const statuses = [0, 5, 77, 1723, 1783, 1818, 0x1c00000d, 0x1c010002, 0x1c010003, 0x1c01000b, 0x1c010014, 0xdeadbeef]

const written = (littleEndian: boolean, write: (writer: Pdu.Writer) => void): ReadonlyArray<Uint8Array> => {
  const writer = new Pdu.Writer({ littleEndian })
  write(writer)
  return cut(writer.take())
}

/** A server, as it behaves on one connection. */
class Peer {
  readonly random: Random
  readonly littleEndian: boolean
  readonly damage: number
  /** Requests that are answered later, in any order. */
  readonly held: Array<Pdu.Request> = []
  ndr = false

  constructor(random: Random) {
    this.random = random
    this.littleEndian = chance(random, 0.7)
    this.damage = pick(random, [0, 0.02, 0.1, 0.4])
  }

  answers(pdu: Pdu.Pdu): Array<Uint8Array> {
    const { random } = this
    const said = this.honest(pdu)
    // Without its bind a connection is over soon.
    const damage = pdu._tag === "Bind" ? this.damage / 4 : this.damage
    return said.flatMap((pdu) => {
      if (!chance(random, damage)) return [pdu]
      const kind = random()
      return kind < 0.8 ? [damaged(pdu, random)] : kind < 0.9 ? [pdu, pdu] : []
    })
  }

  private honest(pdu: Pdu.Pdu): ReadonlyArray<Uint8Array> {
    const { held, random } = this
    switch (pdu._tag) {
      case "Bind":
        return this.bound(pdu)
      case "Request":
        if ((pdu.flags & Pdu.flags.lastFrag) === 0) return []
        held.push(pdu)
        if (chance(random, 0.2)) return []
        return held.splice(0).sort(() => random() - 0.5).flatMap((request) => this.reply(request))
      case "CoCancel":
        return chance(random, 0.7) ? this.fault(pdu.callId, pick(random, statuses)) : []
      default:
        return []
    }
  }

  private bound({ callId, contextElements, flags }: Pdu.Bind): ReadonlyArray<Uint8Array> {
    const { random } = this
    const transferSyntax = contextElements[0]!.transferSyntaxes[0]!
    this.ndr = transferSyntax.uuid === ndr20.id.uuid
    if (chance(random, 0.02)) {
      const rejectReason = below(random, 9)
      return written(this.littleEndian, (writer) => Pdu.encodeBindNak(writer, { callId, rejectReason }))
    }
    const refused = { result: 2, reason: below(random, 4), transferSyntax: Pdu.nilSyntax }
    const accepted = { result: 0, reason: 0, transferSyntax }
    const features = chance(random, 0.5) ? { result: 3, reason: 3, transferSyntax: Pdu.nilSyntax } : refused
    const size = pick(random, [1432, 5840, 65528])
    const answer = {
      callId,
      flags: chance(random, 0.7) ? flags : 0,
      maxXmitFrag: size,
      maxRecvFrag: size,
      assocGroupId: 1 + below(random, 1000),
      secAddr: pick(random, ["", "135"]),
      results: [chance(random, 0.06) ? refused : accepted, features]
    }
    return written(this.littleEndian, (writer) => Pdu.encodeBindAck(writer, answer))
  }

  private reply({ callId, contextId, opnum }: Pdu.Request): ReadonlyArray<Uint8Array> {
    const { littleEndian, random } = this
    const kind = random()
    if (kind < 0.15) return this.fault(callId, pick(random, statuses))
    if (kind < 0.2) return written(littleEndian, (writer) => Pdu.encodeShutdown(writer, { callId: 0 }))
    const text = "x".repeat(below(random, pick(random, [4, 400])))
    const [name, method] = Object.entries((this.ndr ? INdr : IPlain).methods)[opnum]!
    const syntax = this.ndr ? ndr20 : binary
    return written(littleEndian, (writer) => {
      Pdu.beginResponse(writer, { callId, contextId, cancelCount: 0 })
      const { pipes, writeResults } = syntax.codec(method, name)!
      for (const pipe of pipes.slice(1)) {
        for (let chunks = below(random, 4); chunks > 0; chunks--) {
          const length = 1 + below(random, 100)
          writeChunk(writer, pipe, pipe === pipes[1] ? new Array(length).fill(1) : new Uint8Array(length))
        }
        pipe.end(writer)
      }
      writeResults(writer, text)
      Pdu.endMessage(writer, pick(random, [60, 5840]))
    })
  }

  private fault(callId: number, status: number): ReadonlyArray<Uint8Array> {
    const flags = chance(this.random, 0.5) ? Pdu.flags.didNotExecute : 0
    const fields = { callId, contextId: 0, cancelCount: 0, status, flags }
    return written(this.littleEndian, (writer) => Pdu.encodeFault(writer, fields))
  }
}

// ----------------------------------------------------------------------------
// the test
// ----------------------------------------------------------------------------

describe("servers whose answers are damaged", () => {
  const budget = budgetOf(1_000_000)
  const problems: Array<string> = []
  const logger = Logger.make(({ cause, message }) => {
    if (!isOfTestClock(message)) problems.push(`${String(message)}\n${Cause.pretty(cause)}`)
  })

  it.effect(
    `${budget} damaged answers, seed ${seed}: only calls of their connection fail`,
    () =>
      Effect.gen(function* () {
        yield* binary.load
        const random = makeRandom(seed)
        const seen = new Map<string, number>()
        const see = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1)
        let pdus = 0
        let connections = 0
        let servers = 0

        const serve = Effect.fnUntraced(function* (own: { open: number }, connection: Transport.Connection) {
          connections++
          own.open++
          yield* Effect.addFinalizer(() =>
            Effect.sync(() => {
              connections--
              own.open--
            })
          )
          const { write } = yield* connection.socket.writer
          const { pull } = yield* connection.socket.reader
          const parser = Pdu.makeParser({ maxFragment: Pdu.maxFragment, owned: true })
          const peer = new Peer(random)
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

        /** Drives the pipes of a call to their end, or until they fail. */
        const drive = (pending: Call.Pending<typeof IPlain, "Flow">) =>
          Effect.forkDetach(Effect.exit(Effect.gen(function* () {
            const there = Call.inPipe(pending, "there")
            for (let i = below(random, 4); i > 0; i--) yield* Pipe.push(there, new Uint8Array(below(random, 20_000)))
            yield* Pipe.end(there)
            yield* Stream.runDrain(Pipe.toStream(Call.outPipe(pending, "back")))
            yield* Stream.runDrain(Pipe.toStream(Call.outPipe(pending, "more")))
          })))

        /** One call, which must end with what the interface declares or the library documents. */
        const converse = (store: Binding.Binding<typeof IPlain>) =>
          Effect.gen(function* () {
            const call = yield* Call.make(store)
            for (let times = 1 + below(random, 6); times > 0; times--) {
              const method = pick(random, ["Echo", "Echo", "Again", "Again", "Flow"])
              const begun = yield* Effect.exit(Call.begin(call, method as "Echo", text(random)))
              if (Exit.isFailure(begun)) {
                see(outcomeOf(begun))
                continue
              }
              if (chance(random, 0.05)) return
              const driving = method === "Flow" ? yield* drive(begun.value as never) : undefined
              if (chance(random, 0.2)) {
                yield* Effect.ignore(Call.cancel(begun.value, { timeout: pick(random, [0, 50]) }))
              }
              const exit = yield* Effect.exit(Call.join(begun.value))
              see(outcomeOf(exit))
              if (Exit.isSuccess(exit) && typeof exit.value !== "string") problems.push("a result of another type")
              const again = yield* Effect.exit(Call.finish(begun.value))
              if (driving !== undefined) see(`drove, ${outcomeOf(yield* Fiber.join(driving))}`)
              if (outcomeOf(again) !== "CallComplete") {
                problems.push(`a call that ended ended again: ${outcomeOf(again)}`)
              }
            }
          }).pipe(Effect.scoped)
        const outcomeOf = (exit: Exit.Exit<unknown, { readonly _tag: string }>): string => {
          if (Exit.isSuccess(exit)) return "replied"
          const error = Cause.findErrorOption(exit.cause)
          if (error._tag === "Some") {
            if ((error.value as { readonly code?: number }).code === 0) problems.push("a fault that means success")
            return error.value._tag
          }
          problems.push(Cause.pretty(exit.cause))
          return "defect"
        }
        const text = (random: Random) => "y".repeat(below(random, pick(random, [4, 4000])))

        const client = Effect.gen(function* () {
          const transport = yield* Transport.Transport
          const own = { open: 0 }
          const address = `ncacn_memory:[damaged${servers++}]`
          yield* transport.listen(Result.getOrThrow(parse(address)), (connection) =>
            Effect.ignore(Effect.scoped(serve(own, connection))))
          const options = {
            causal: chance(random, 0.3),
            maximumConnections: 1 + below(random, 3),
            maximumResponse: 300,
            callTimeout: "5 seconds"
          } as const
          const bound = yield* Effect.exit(Association.bind(chance(random, 0.5) ? IPlain : INdr, address, options))
          if (Exit.isFailure(bound)) {
            see(`bind ${outcomeOf(bound)}`)
            return
          }
          const conversations = Array.from({ length: 6 }, () =>
            converse(bound.value))
          yield* Effect.all(conversations, { concurrency: "unbounded" })
          // What broke the protocol is closed by now, and what nobody uses, except one connection.
          yield* Effect.sleep("30 seconds")
          if (own.open > 1) problems.push(`${own.open} connections are open`)
        }).pipe(Effect.scoped)

        // Somebody else's server, on the same transport.
        const echo = (text: string) => Effect.succeed(text)
        const server = yield* Server.make([Manager.make(IPlain, { Echo: echo, Again: echo, Flow: () => Effect.never })])
        yield* Endpoint.serve(server, "ncacn_memory:[sound]")
        const sound = yield* Association.bind(IPlain, "ncacn_memory:[sound]")

        const context = yield* Effect.context<Transport.Transport>()
        const isSound = Effect.gen(function* () {
          assert.strictEqual(yield* Call.invoke(sound, "Echo", `${pdus}`), `${pdus}`)
          yield* TestClock.adjust(Duration.minutes(1))
        })
        yield* isSound
        const before = yield* fibersActive
        while (pdus < budget && problems.length === 0) {
          const clients = Effect.all(Array.from({ length: 50 }, () => client), { concurrency: "unbounded" })
          yield* inVirtualTime(Effect.provide(clients, context))
          yield* isSound
          assert.deepStrictEqual([connections, yield* fibersActive], [0, before], "connections and fibers")
        }
        assert.deepStrictEqual(problems, [])

        const expected = [
          "replied",
          "Refused",
          "RpcFault",
          "RpcTransportError",
          "CallCancelled",
          "bind RpcTransportError",
          "bind UnknownInterface",
          "heard CoCancel",
          "drove, replied",
          "drove, RpcFault",
          "drove, RpcTransportError",
          "heard Orphaned"
        ]
        // The rarest come 3 times in 10,000 PDUs.
        if (budget >= 50_000) assert.deepStrictEqual(expected.filter((what) => !seen.has(what)), [])
        const told = [...seen].map(([what, count]) => `${what} ${count}`).join(", ")
        report("client fuzz", `${pdus} PDUs (${told})`)
      }).pipe(
        Effect.provide(
          Layer.mergeAll(
            Memory.layer,
            Metric.enableRuntimeMetricsLayer,
            Layer.succeed(Metric.MetricRegistry, new Map()),
            Logger.layer([logger])
          )
        )
      ),
    300_000
  )
})
