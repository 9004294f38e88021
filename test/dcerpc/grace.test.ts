/** The one period of grace that a server and its endpoints have. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Queue, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Interface, Manager, Server, ServerCall } from "../../mod.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import * as Memory from "../../src/transport/Memory.ts"
import { isWaiting, start } from "../fixtures.ts"
import { bind, bound, clientOf, connect, connectTo, element, request, response, settle } from "./rawClient.ts"

const IKeep = Interface.make("IKeep", {
  uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c2d07",
  version: [1, 0],
  methods: { Keep: Interface.method({ out: { value: Ndr.Uint32 } }) }
})

type Kept = ServerCall.Of<typeof IKeep, "Keep">

/** A server and an endpoint, each in a scope of its own, and a client with a call in progress. */
const setUp = Effect.gen(function* () {
  const kept = yield* Queue.unbounded<Kept>()
  const keeping = Manager.make(IKeep, { Keep: Manager.handOff((_, call) => Queue.offer(kept, call)) })
  const serving = yield* Scope.make()
  const ending = yield* Scope.make()
  const server = yield* Scope.provide(Server.make([keeping], { grace: "5 seconds" }), serving)
  const endpoint = yield* Scope.provide(Endpoint.make(server), ending)
  yield* Scope.provide(Endpoint.listen(endpoint, "ncacn_memory:[echo]"), ending)
  const client = yield* bound({ contextElements: [element(0, IKeep)] })
  yield* client.ask(request({ callId: 7 }))
  return {
    call: yield* Queue.take(kept),
    client,
    closeEndpoint: Scope.close(ending, Exit.void),
    closeServer: Scope.close(serving, Exit.void)
  }
})

describe("the period of grace", () => {
  it.effect("endpoint, then server at once: both together wait 5 seconds", () =>
    Effect.gen(function* () {
      const { client, closeEndpoint, closeServer } = yield* setUp
      const closing = yield* start(Effect.andThen(closeEndpoint, closeServer))
      assert.deepStrictEqual(yield* client.heard, [{ other: "Shutdown" }])
      yield* TestClock.adjust(4999)
      assert.isTrue(yield* isWaiting(closing))
      assert.isFalse(client.state.closed)
      yield* TestClock.adjust(1)
      yield* settle
      assert.isFalse(yield* isWaiting(closing))
      assert.isTrue(client.state.closed)
    }).pipe(Effect.provide(Memory.layer)))

  it.effect("server first: the endpoint stops listening, tells its clients, and the last reply leaves", () =>
    Effect.gen(function* () {
      const { call, client, closeEndpoint, closeServer } = yield* setUp
      const closing = yield* start(Effect.andThen(closeServer, closeEndpoint))
      assert.deepStrictEqual(yield* client.heard, [{ other: "Shutdown" }])
      assert.strictEqual((yield* Effect.flip(connect))._tag, "RpcTransportError")
      yield* TestClock.adjust(3000)
      yield* ServerCall.complete(call, { value: 5 })
      assert.deepStrictEqual(yield* client.heard, [response(7, 5)])
      yield* settle
      assert.isFalse(yield* isWaiting(closing))
      assert.isTrue(client.state.closed)
    }).pipe(Effect.provide(Memory.layer)))

  it.effect("server first, a call that goes on: both together wait 5 seconds", () =>
    Effect.gen(function* () {
      const { client, closeEndpoint, closeServer } = yield* setUp
      const closing = yield* start(Effect.andThen(closeServer, closeEndpoint))
      yield* TestClock.adjust(4999)
      assert.isTrue(yield* isWaiting(closing))
      yield* TestClock.adjust(1)
      yield* settle
      assert.isFalse(yield* isWaiting(closing))
      assert.isTrue(client.state.closed)
    }).pipe(Effect.provide(Memory.layer)))

  it.effect("server and endpoint close at once: a call to another server in the process is answered", () =>
    Effect.gen(function* () {
      const { closeEndpoint, closeServer } = yield* setUp
      const kept = yield* Queue.unbounded<Kept>()
      const keeping = Manager.make(IKeep, { Keep: Manager.handOff((_, call) => Queue.offer(kept, call)) })
      yield* Endpoint.serve(yield* Server.make([keeping]), "ncacn_memory:[other]")
      const other = yield* connectTo("ncacn_memory:[other]")
      yield* other.ask(bind({ contextElements: [element(0, IKeep)] }), request({ callId: 7 }))
      const closing = yield* start(Effect.all([closeServer, closeEndpoint], { concurrency: "unbounded" }))
      yield* TestClock.adjust("1 minute")
      assert.isFalse(yield* isWaiting(closing))
      yield* ServerCall.complete(yield* Queue.take(kept), { value: 5 })
      assert.deepStrictEqual(yield* other.heard, [response(7, 5)])
      assert.isFalse(other.state.closed)
    }).pipe(Effect.provide(Memory.layer)))

  it.effect("a connection that a host has accepted: ends with the period", () =>
    Effect.gen(function* () {
      const keeping = Manager.make(IKeep, { Keep: Manager.handOff(() => Effect.void) })
      const ending = yield* Scope.make()
      const server = yield* Server.make([keeping], { grace: "5 seconds" })
      const endpoint = yield* Scope.provide(Endpoint.make(server), ending)
      const [near, far] = yield* Memory.makePair
      const handling = yield* start(Effect.scoped(Endpoint.handle(endpoint, far)))
      const client = yield* clientOf(near, yield* Scope.fork(yield* Effect.scope))
      yield* client.ask(bind({ contextElements: [element(0, IKeep)] }), request({ callId: 7 }))
      const closing = yield* start(Scope.close(ending, Exit.void))
      yield* TestClock.adjust(4999)
      assert.isTrue(yield* isWaiting(handling))
      yield* TestClock.adjust(1)
      yield* settle
      assert.isFalse(yield* isWaiting(handling))
      assert.isFalse(yield* isWaiting(closing))
      assert.isTrue(client.state.closed)
    }))

  it.effect("server an hour after its endpoint: it has a period of its own", () =>
    Effect.gen(function* () {
      const kept = yield* Queue.unbounded<Kept>()
      const scope = yield* Scope.make()
      const keeping = Manager.make(IKeep, { Keep: Manager.handOff((_, call) => Queue.offer(kept, call)) })
      const server = yield* Scope.provide(Server.make([keeping], { grace: "5 seconds" }), scope)
      yield* Effect.scoped(Endpoint.make(server))
      yield* TestClock.adjust("1 hour")
      const other = yield* Scope.make()
      yield* Scope.provide(Endpoint.serve(server, "ncacn_memory:[echo]"), other)
      const client = yield* bound({ contextElements: [element(0, IKeep)] })
      yield* client.ask(request({ callId: 7 }))
      const closing = yield* start(Scope.close(scope, Exit.void))
      yield* TestClock.adjust(4999)
      assert.isTrue(yield* isWaiting(closing))
      yield* TestClock.adjust(1)
      yield* settle
      assert.isFalse(yield* isWaiting(closing))
      yield* Scope.close(other, Exit.void)
    }).pipe(Effect.provide(Memory.layer)))
})
