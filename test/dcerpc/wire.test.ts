/**
 * Calls over the wire: a client's association and a server's endpoint, joined by connections in memory.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Option, Queue, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Management from "../../src/dcerpc/Management.ts"
import * as Memory from "../../src/transport/Memory.ts"
import type * as Transport from "../../src/transport/Transport.ts"
import { Call, Interface, Manager, Server, ServerCall, type Status } from "../../mod.ts"

class Missing extends Schema.TaggedError<Missing>()("Missing", { key: Schema.String }) {}

const IStore = Interface.make("IStore", {
  uuid: "2a4f6c80-5b1d-4f7e-9c3a-8e6d5f4b3a21",
  version: [1, 0],
  methods: {
    Get: Interface.method({
      in: { key: Schema.String, at: Schema.Option(Schema.Date) },
      out: { value: Schema.String },
      aborts: [Interface.abort(101, Missing)]
    }),
    Echo: Interface.method({ in: Schema.Uint8Array, out: Schema.Uint8Array }),
    Keep: Interface.method({ out: Schema.Int }),
    Never: Interface.method({}),
    Dies: Interface.method({}),
    Tell: Interface.method({ in: Schema.String, maybe: true })
  }
})

type Kept = ServerCall.Of<typeof IStore, "Keep">

const setUp = (options?: Endpoint.Options & Association.Options & Server.Options) =>
  Effect.gen(function* () {
    const kept = yield* Queue.unbounded<Kept>()
    const told = yield* Queue.unbounded<string>()
    const interrupted = yield* Queue.unbounded<string>()
    const manager = Manager.make(IStore, {
      Get: ({ key }) => key === "" ? Effect.fail(new Missing({ key })) : Effect.succeed({ value: key.toUpperCase() }),
      Echo: (bytes) => Effect.succeed(bytes),
      Keep: Manager.handOff((_, call) => Queue.offer(kept, call)),
      Never: () => Effect.onInterrupt(Effect.never, () => Queue.offer(interrupted, "Never")),
      Dies: () => Effect.die(new Error("as expected")),
      Tell: (text) => Queue.offer(told, text)
    })
    const serverScope = yield* Scope.make()
    const server = yield* Scope.provide(Server.make([manager], { grace: 0, ...options }), serverScope)
    const endpointScope = yield* Scope.fork(serverScope)
    const endpoint = yield* Scope.provide(Endpoint.serve(server, "ncacn_memory:[store]", options), endpointScope)
    const clientScope = yield* Scope.fork(yield* Effect.scope)
    const store = yield* Scope.provide(Association.bind(IStore, "ncacn_memory:[store]", options), clientScope)
    yield* Effect.addFinalizer((exit) => Scope.close(serverScope, exit))
    return { clientScope, endpoint, endpointScope, interrupted, kept, server, serverScope, store, told }
  })

const wire = <A, E>(name: string, test: Effect.Effect<A, E, Scope.Scope | Transport.Transport>) =>
  it.effect(name, () => Effect.provide(test, Memory.layer))

/** Runs what is ready, on both sides. */
const settle = Effect.repeat(Effect.yieldNow, { times: 50 })

const noDate = Option.none<Date>()

describe("calls over the wire", () => {
  wire(
    "calls over the wire: are replied",
    Effect.gen(function* () {
      const { store } = yield* setUp()
      assert.deepStrictEqual(yield* Call.invoke(store, "Get", { key: "a", at: Option.some(new Date(0)) }), {
        value: "A"
      })
    })
  )

  wire(
    "declared abort over the wire: arrives with its fields",
    Effect.gen(function* () {
      const { store } = yield* setUp()
      const error = yield* Effect.flip(Call.invoke(store, "Get", { key: "", at: noDate }))
      assert.deepStrictEqual(error, new Missing({ key: "" }))
    })
  )

  wire(
    "routine dies: the client gets a fault, and the server lives on",
    Effect.gen(function* () {
      const { store } = yield* setUp()
      const error = yield* Effect.flip(Call.invoke(store, "Dies"))
      assert.deepStrictEqual([error._tag, "code" in error && error.code], ["RpcFault", 1726])
      assert.deepStrictEqual(yield* Call.invoke(store, "Get", { key: "a", at: noDate }), { value: "A" })
    })
  )

  wire(
    "maybe method over the wire: completes when it is sent",
    Effect.gen(function* () {
      const { store, told } = yield* setUp()
      yield* Call.invoke(store, "Tell", "hello")
      assert.strictEqual(yield* Queue.take(told), "hello")
    })
  )

  wire(
    "arguments and results of many fragments: arrive whole",
    Effect.gen(function* () {
      const { store } = yield* setUp()
      const bytes = Uint8Array.from({ length: 1_000_000 }, (_, i) => i * 7)
      assert.deepStrictEqual(yield* Call.invoke(store, "Echo", bytes), bytes)
    })
  )

  wire(
    "several calls on one connection: run side by side",
    Effect.gen(function* () {
      const { kept, store } = yield* setUp()
      const pendings = yield* Effect.forEach(
        [1, 2, 3],
        () => Effect.flatMap(Call.make(store), (call) => Call.begin(call, "Keep"))
      )
      const [a, b, c] = [yield* Queue.take(kept), yield* Queue.take(kept), yield* Queue.take(kept)]
      yield* ServerCall.complete(c!, 3)
      yield* ServerCall.complete(a!, 1)
      yield* ServerCall.complete(b!, 2)
      assert.deepStrictEqual(yield* Effect.forEach(pendings, (pending) => Call.join(pending)), [1, 2, 3])
    })
  )

  wire(
    "arguments that the schema refuses: nothing is sent",
    Effect.gen(function* () {
      const { store } = yield* setUp()
      const call = yield* Call.make(store)
      const error = yield* Effect.flip(Call.begin(call, "Get", { key: 5 as never, at: noDate }))
      assert.strictEqual(error._tag, "BadStubData")
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
      assert.deepStrictEqual(yield* Call.invoke(store, "Get", { key: "a", at: noDate }), { value: "A" })
    })
  )
})

describe("cancelling over the wire", () => {
  wire(
    "patient cancel: interrupts the routine, and the client gets its answer",
    Effect.gen(function* () {
      const { interrupted, store } = yield* setUp()
      const pending = yield* Call.begin(yield* Call.make(store), "Never")
      yield* Call.cancel(pending, { timeout: Infinity })
      assert.strictEqual((yield* Effect.flip(Call.join(pending)))._tag, "CallCancelled")
      assert.strictEqual(yield* Queue.take(interrupted), "Never")
    })
  )

  wire(
    "abortive cancel: completes at once, and the other calls go on",
    Effect.gen(function* () {
      const { interrupted, kept, server, store } = yield* setUp()
      const other = yield* Call.begin(yield* Call.make(store), "Keep")
      const pending = yield* Call.begin(yield* Call.make(store), "Never")
      yield* settle
      yield* Call.cancel(pending)
      assert.strictEqual((yield* Effect.flip(Call.finish(pending)))._tag, "CallCancelled")
      assert.strictEqual(yield* Queue.take(interrupted), "Never")
      yield* ServerCall.complete(yield* Queue.take(kept), 7)
      assert.strictEqual(yield* Call.join(other), 7)
      assert.strictEqual((yield* Server.calls(server)).length, 0)
    })
  )

  wire(
    "one-shot call interrupted: the server sees it",
    Effect.gen(function* () {
      const { interrupted, store } = yield* setUp()
      const fiber = yield* Effect.forkChild(Call.invoke(store, "Never"))
      yield* settle
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* Queue.take(interrupted), "Never")
    })
  )

  wire(
    "call object released: its call is orphaned",
    Effect.gen(function* () {
      const { kept, store } = yield* setUp()
      const scope = yield* Scope.make()
      yield* Call.begin(yield* Scope.provide(Call.make(store), scope), "Keep")
      const serverCall = yield* Queue.take(kept)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* ServerCall.awaitEnd(serverCall), "Orphaned")
      assert.strictEqual((yield* Effect.flip(ServerCall.complete(serverCall, 1)))._tag, "InvalidAsyncHandle")
    })
  )
})

describe("when one side goes away", () => {
  wire(
    "client closes its binding: is disconnected for the server",
    Effect.gen(function* () {
      const { clientScope, kept, store } = yield* setUp()
      const pending = yield* Call.begin(yield* Call.make(store), "Keep")
      const serverCall = yield* Queue.take(kept)
      yield* Scope.close(clientScope, Exit.void)
      assert.strictEqual(yield* ServerCall.awaitEnd(serverCall), "Disconnected")
      const error = yield* Effect.flip(Call.join(pending))
      assert.strictEqual((error as Status.RpcTransportError).status, 1726)
    })
  )

  wire(
    "endpoint ends: a call may reply within its grace, and new calls are refused",
    Effect.gen(function* () {
      const { endpointScope, kept, store } = yield* setUp({ grace: "1 second" })
      const pending = yield* Call.begin(yield* Call.make(store), "Keep")
      const serverCall = yield* Queue.take(kept)
      const closing = yield* Effect.forkChild(Scope.close(endpointScope, Exit.void))
      yield* settle
      yield* ServerCall.complete(serverCall, 5)
      assert.strictEqual(yield* Call.join(pending), 5)
      yield* Fiber.join(closing)
      const error = yield* Effect.flip(Call.invoke(store, "Keep"))
      assert.strictEqual((error as Status.RpcTransportError).status, 1722)
    })
  )

  wire(
    "endpoint ends: calls longer than its grace are cut off",
    Effect.gen(function* () {
      const { endpointScope, kept, store } = yield* setUp({ grace: "1 second" })
      const pending = yield* Call.begin(yield* Call.make(store), "Keep")
      const serverCall = yield* Queue.take(kept)
      const closing = yield* Effect.forkChild(Scope.close(endpointScope, Exit.void))
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      const error = yield* Effect.flip(Call.join(pending))
      assert.strictEqual((error as Status.RpcTransportError).status, 1726)
      assert.strictEqual(yield* ServerCall.awaitEnd(serverCall), "Disconnected")
    })
  )
})

describe("binding", () => {
  wire(
    "server without the interface: bind is refused",
    Effect.gen(function* () {
      yield* setUp()
      const IOther = Interface.make("IOther", {
        uuid: "0e0c2f3a-93a1-4a0f-8c7b-6a5c1b8f2d10",
        version: [1, 0],
        methods: { Do: Interface.method({}) }
      })
      const error = yield* Effect.flip(Association.bind(IOther, "ncacn_memory:[store]"))
      assert.strictEqual(error._tag, "UnknownInterface")
    })
  )

  wire(
    "nobody listens: bind fails with 1722",
    Effect.gen(function* () {
      const error = yield* Effect.flip(Association.bind(IStore, "ncacn_memory:[nobody]"))
      assert.strictEqual((error as Status.RpcTransportError).status, 1722)
    })
  )
})

describe("the management interface of an endpoint", () => {
  const bind = Association.bind(Management.IManagement, "ncacn_memory:[store]")

  wire(
    "management interface: tells what is offered and what was done",
    Effect.gen(function* () {
      const { store } = yield* setUp()
      yield* Call.invoke(store, "Get", { key: "a", at: noDate })
      const management = yield* bind
      assert.deepStrictEqual(yield* Call.invoke(management, "is_server_listening"), { status: 0, listening: 1 })
      const { if_id_vector } = yield* Call.invoke(management, "inq_if_ids")
      assert.deepStrictEqual(if_id_vector!.ids.map((id) => id!.uuid), [IStore.uuid, Management.IManagement.uuid])
      // Two binds and four requests were received; two bind_acks and three responses sent before this one.
      const { statistics } = yield* Call.invoke(management, "inq_stats", { count: 4 })
      assert.deepStrictEqual(statistics, [4, 0, 6, 5])
    })
  )

  wire(
    "owner allows a stop: the management interface stops the server",
    Effect.gen(function* () {
      let stopped = 0
      yield* setUp({ onStop: Effect.sync(() => void stopped++) })
      assert.deepStrictEqual(yield* Call.invoke(yield* bind, "stop_server_listening"), { status: 0 })
      assert.strictEqual(stopped, 1)
    })
  )

  wire(
    "owner does not allow a stop: the management interface refuses",
    Effect.gen(function* () {
      yield* setUp()
      assert.deepStrictEqual(yield* Call.invoke(yield* bind, "stop_server_listening"), { status: 5 })
    })
  )
})
