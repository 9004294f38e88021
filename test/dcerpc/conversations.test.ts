/** Conversations of a client with a real server: each PDU of an endpoint is, byte by byte, what that server says. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Scope } from "effect"
import { Server } from "../../mod.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as EndpointMapper from "../../src/dcerpc/EndpointMapper.ts"
import { parse } from "../../src/transport/StringBinding.ts"
import * as Memory from "../../src/transport/Memory.ts"
import * as Transport from "../../src/transport/Transport.ts"
import recorded from "./conversations.json" with { type: "json" }
import { concat, settle } from "./rawClient.ts"

interface Step {
  readonly send?: string | undefined
  readonly receive?: string | undefined
  readonly closed?: string | undefined
}

const conversations: ReadonlyArray<{ readonly about: string; readonly steps: ReadonlyArray<Step> }> =
  recorded.conversations

const toBytes = (hex: string): Uint8Array =>
  Uint8Array.from({ length: hex.length / 2 }, (_, i) => parseInt(hex.slice(2 * i, 2 * i + 2), 16))

const toHex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

/** Cuts the first PDU from a text of PDUs. */
const firstPdu = (hex: string): string => {
  const [low, high] = toBytes(hex.slice(16, 20))
  return hex.slice(0, 2 * (low! | high! << 8))
}

/** `?` stands for any digit, `*` for a stub of any content. */
const isAs = (pattern: string, pdu: string): boolean =>
  new RegExp(`^${pattern.replaceAll("?", "[0-9a-f]").replaceAll("*", "[0-9a-f]*")}$`).test(pdu)

/** A client of an endpoint that is at port 135, as far as the endpoint knows. */
const connect = Effect.gen(function* () {
  const server = yield* Server.make([yield* EndpointMapper.makeManager()])
  const endpoint = yield* Endpoint.make(server)
  const transport = yield* Transport.Transport
  const place = yield* Effect.fromResult(parse("ncacn_memory:[conversation]"))
  yield* transport.listen(
    place,
    (connection) => Endpoint.handle(endpoint, { ...connection, local: "ncacn_ip_tcp:127.0.0.1[135]" })
  )
  const { socket } = yield* transport.connect(place)
  const { pull } = yield* socket.reader
  const writer = yield* socket.writer
  const state = { heard: "", closed: false }
  const read = Effect.forever(
    Effect.map(pull, (chunks) => {
      state.heard += toHex(concat(...chunks.map((chunk) => chunk as Uint8Array)))
    })
  )
  yield* Effect.forkIn(
    Effect.onExit(Effect.ignore(read), () => Effect.sync(() => state.closed = true)),
    yield* Scope.Scope
  )
  return { state, write: (bytes: Uint8Array) => Effect.ignore(writer.write(bytes)) }
})

describe("a conversation with a real server", () => {
  for (const [index, { about, steps }] of conversations.entries()) {
    it.effect(`number ${index}${about && `, ${about}`}: each reply has the same bytes`, () =>
      Effect.gen(function* () {
        const { state, write } = yield* connect
        for (const { closed, receive, send } of steps) {
          if (send !== undefined) yield* write(toBytes(send))
          yield* settle
          if (receive !== undefined) {
            const pdu = firstPdu(state.heard)
            assert.isTrue(isAs(receive, pdu), `expected ${receive}\nbut heard ${pdu}`)
            state.heard = state.heard.slice(pdu.length)
          }
          if (closed !== undefined) assert.deepStrictEqual(state, { heard: "", closed: true })
        }
        assert.deepStrictEqual(state, { heard: "", closed: steps.some(({ closed }) => closed !== undefined) })
      }).pipe(Effect.scoped, Effect.provide(Memory.layer)))
  }
})
