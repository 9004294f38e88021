/** The numbers among the options of associations, endpoints and endpoint mappers, at the ends of their ranges. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { Call, Server } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as EndpointMapper from "../../src/dcerpc/EndpointMapper.ts"
import * as Memory from "../../src/transport/Memory.ts"
import type * as Transport from "../../src/transport/Transport.ts"
import { Desk, isWaiting, makeDesk, outcome, start } from "../fixtures.ts"

type Make = (options: Record<string, number>) => Effect.Effect<unknown, unknown, Scope.Scope | Transport.Transport>

const makers: Record<string, Make> = {
  Association: (options) => Association.make("ncacn_memory:[desk]", options),
  Endpoint: (options) => Effect.flatMap(Server.make([]), (server) => Endpoint.make(server, options)),
  EndpointMapper: (options) => EndpointMapper.makeManager(options)
}

/** Each option with the least that it takes. */
const durations: Record<string, Record<string, number>> = {
  Association: { connectTimeout: 0, callTimeout: 1, keepAlive: 1 },
  Endpoint: { bindTimeout: 1, requestTimeout: 1, idleTimeout: 1 },
  EndpointMapper: {}
}

const counts: Record<string, Record<string, number>> = {
  Association: { maximumConnections: 1, maximumQueued: 1, maximumResponse: 0 },
  Endpoint: {
    maximumConnections: 0,
    maximumContexts: 0,
    maximumCalls: 0,
    maximumTotalCalls: 0,
    maximumHandles: 0,
    maximumRequest: 0,
    maximumTotalRequest: 0,
    maximumQueued: 1,
    maximumTotalQueued: 1
  },
  EndpointMapper: { maximumEntries: 0 }
}

const month = 30 * 86_400_000

const refuse = (owner: string, name: string, value: number) =>
  Effect.gen(function* () {
    const defect = yield* makers[owner]!({ [name]: value }).pipe(
      Effect.scoped,
      Effect.as(undefined),
      Effect.catchDefect(Effect.succeed)
    )
    assert.instanceOf(defect, TypeError)
    assert.isTrue(
      (defect as TypeError).message.startsWith(`${owner}: ${name} is out of range, got ${value}, expected `),
      (defect as TypeError).message
    )
  })

for (const owner of Object.keys(makers)) {
  describe(`the options of ${owner}`, () => {
    for (const [name, least] of Object.entries(durations[owner]!)) {
      it.effect(`${name} of ${least}, 30 days or no end: is taken; less, or no number: is refused`, () =>
        Effect.gen(function* () {
          for (const value of [least, month, Infinity]) yield* Effect.scoped(makers[owner]!({ [name]: value }))
          for (const value of [least - 1, NaN, -Infinity]) yield* refuse(owner, name, value)
        }).pipe(Effect.provide(Memory.layer)))
    }
    for (const [name, least] of Object.entries(counts[owner]!)) {
      it.effect(`${name} of ${least} or no end: is taken; less, a fraction, or no number: is refused`, () =>
        Effect.gen(function* () {
          for (const value of [least, Infinity]) yield* Effect.scoped(makers[owner]!({ [name]: value }))
          for (const value of [least - 1, least + 0.5, NaN, -Infinity]) yield* refuse(owner, name, value)
        }).pipe(Effect.provide(Memory.layer)))
    }
  })
}

describe("durations of 30 days", () => {
  it.effect("a call timeout of 30 days: ends a call then, and not before", () =>
    Effect.gen(function* () {
      const { server } = yield* makeDesk()
      yield* Endpoint.serve(server, "ncacn_memory:[desk]")
      const desk = yield* Association.bind(Desk, "ncacn_memory:[desk]", { callTimeout: "30 days", keepAlive: Infinity })
      const staying = yield* start(Call.invoke(desk, "Stay", "a"))
      yield* TestClock.adjust("29 days")
      assert.isTrue(yield* isWaiting(staying))
      yield* TestClock.adjust("1 day")
      assert.deepStrictEqual(yield* outcome(Fiber.join(staying)), { failure: "CallCancelled" })
    }).pipe(Effect.provide(Memory.layer)))
})
