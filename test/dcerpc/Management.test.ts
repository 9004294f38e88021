import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Management from "../../src/dcerpc/Management.ts"
import { ndr20 } from "../../src/dcerpc/TransferSyntax.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { Binding, Call, type Interface, Server } from "../../mod.ts"

const facts: Management.Facts = {
  interfaces: () => [Management.IManagement],
  statistics: () => ({ callsIn: 1, callsOut: 2, packetsIn: 3, packetsOut: 4 }),
  isListening: () => true,
  stop: undefined
}

const bind = (facts: Management.Facts) =>
  Effect.flatMap(
    Server.make([Management.makeManager(facts)]),
    (server) => Binding.local(server, Management.IManagement, { validate: true })
  )

const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

/** The stub in which the out parameters of a method travel. */
const results = <K extends keyof Management.Methods & string>(
  method: K,
  out: Interface.Method.Out<Management.Methods[K]>
): string => {
  const writer = new Pdu.Writer()
  Pdu.beginResponse(writer, { callId: 2, contextId: 0, cancelCount: 0 })
  assert.isUndefined(ndr20.codec(Management.IManagement.methods[method], method)!.writeResults(writer, out))
  Pdu.endMessage(writer, Pdu.defaultFragment)
  return hex(writer.take())
}

describe("the management interface", () => {
  it("management interface: has the opnums and the NDR form that peers expect", () => {
    assert.deepStrictEqual(
      Object.values(Management.IManagement.operations).map(({ name, opnum }) => [opnum, name]),
      [[0, "inq_if_ids"], [1, "inq_stats"], [2, "is_server_listening"], [3, "stop_server_listening"], [
        4,
        "inq_princ_name"
      ]]
    )
    assert.strictEqual(
      results("is_server_listening", { status: 0, listening: 1 }),
      "0500020310000000200000000200000008000000000000000000000001000000"
    )
  })

  it("inq_if_ids: lists interfaces behind a pointer to a vector of pointers", () => {
    const id = { uuid: "00112233-4455-6677-8899-aabbccddeeff", major: 1, minor: 2 }
    assert.strictEqual(
      results("inq_if_ids", { if_id_vector: { ids: [id] }, status: 0 }).slice(48),
      // the pointer, the vector: the size in front of it, its count, a pointer; then what that points to, the status
      "00000200" + "01000000" + "01000000" + "04000200" + "33221100554477668899aabbccddeeff01000200" + "00000000"
    )
  })

  it.effect("inq_stats and inq_if_ids: tell what the endpoint knows of itself", () =>
    Effect.gen(function* () {
      const management = yield* bind(facts)
      assert.deepStrictEqual(yield* Call.invoke(management, "is_server_listening"), { status: 0, listening: 1 })
      assert.deepStrictEqual(yield* Call.invoke(management, "inq_stats", { count: 3 }), {
        statistics: [1, 2, 3],
        status: 0
      })
      const { if_id_vector } = yield* Call.invoke(management, "inq_if_ids")
      assert.deepStrictEqual(if_id_vector!.ids, [{ uuid: Management.IManagement.uuid, major: 1, minor: 0 }])
    }))

  it.effect("counters behind 2^32: they wrap as unsigned longs", () =>
    Effect.gen(function* () {
      const statistics = () => ({
        callsIn: 2 ** 32 - 1,
        callsOut: 2 ** 32,
        packetsIn: 2 ** 32 + 3,
        packetsOut: 2 ** 52 + 5
      })
      const management = yield* bind({ ...facts, statistics })
      assert.deepStrictEqual((yield* Call.invoke(management, "inq_stats", { count: 4 })).statistics, [
        2 ** 32 - 1,
        0,
        3,
        5
      ])
    }))

  it.effect("stop_server_listening: is refused, unless the owner allows it", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* Call.invoke(yield* bind(facts), "stop_server_listening"), { status: 5 })
      let stopped = 0
      const allowed = yield* bind({ ...facts, stop: Effect.sync(() => stopped++) })
      assert.deepStrictEqual(yield* Call.invoke(allowed, "stop_server_listening"), { status: 0 })
      assert.strictEqual(stopped, 1)
    }))

  for (
    const [who, caller, status] of [
      ["nobody", { level: "none" }, 5],
      ["who is known at level connect", { level: "connect", name: "alice" }, 5],
      ["nobody at level integrity", { level: "integrity" }, 5],
      ["who is known at level integrity", { level: "integrity", name: "alice" }, 0]
    ] as const
  ) {
    it.effect(`a server with logins that ${who} wants to stop: ${status === 0 ? "stops" : "does not"}`, () =>
      Effect.gen(function* () {
        let stopped = 0
        const manager = Management.makeManager({ ...facts, isSecure: true, stop: Effect.sync(() => stopped++) })
        const server = yield* Server.make([manager])
        const binding = yield* Binding.local(server, Management.IManagement, { caller })
        assert.deepStrictEqual(yield* Call.invoke(binding, "stop_server_listening"), { status })
        assert.strictEqual(stopped, status === 0 ? 1 : 0)
      }))
  }
})
