/** A server that is shut down by one of its own calls. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Queue, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Association from "../src/dcerpc/Association.ts"
import * as Endpoint from "../src/dcerpc/Endpoint.ts"
import * as Memory from "../src/transport/Memory.ts"
import { Binding, Call, ContextHandle, Interface, Manager, Server, ServerCall } from "../mod.ts"
import { type Bind, isWaiting, outcome, settle, start } from "./fixtures.ts"
import { hostOf } from "./host.ts"

const IStop = Interface.make("IStop", {
  uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c2c01",
  version: [1, 0],
  methods: {
    Stop: Interface.method({}),
    Hold: Interface.method({ in: Schema.String, out: Schema.String })
  }
})

type Stop = ServerCall.Of<typeof IStop, "Stop">

/** Who closes the scope: each gives the routine of `Stop`. */
const ways: Record<string, (close: Effect.Effect<void>) => Manager.Routine<typeof IStop.methods.Stop, Scope.Scope>> = {
  "the routine itself": (close) => () => close,
  "a child that the routine joins": (close) => () => Effect.flatMap(Effect.forkChild(close), Fiber.join),
  "a fiber in the routine's scope": (close) => () => Effect.andThen(Effect.forkScoped(close), Effect.never),
  "ServerCall.fork": (close) => (_, call) => Effect.andThen(ServerCall.fork(call, close), Effect.never),
  "ServerCall.fork, and the routine joins it": (close) => (_, call) =>
    Effect.flatMap(ServerCall.fork(call, close), Fiber.join),
  "work that is tied to the call": (close) =>
    Manager.handOff((_, call) => ServerCall.fork(call, ServerCall.run(call, close))),
  "a fiber in the server's scope": (close) => (_, call) =>
    Effect.andThen(Effect.forkIn(close, ServerCall.server(call)), Effect.never),
  "a fiber in the server's scope, and the routine joins it": (close) => (_, call) =>
    Effect.flatMap(Effect.forkIn(close, ServerCall.server(call)), Fiber.join),
  "a fiber in the server's scope, after the reply": (close) => (_, call) =>
    Effect.asVoid(
      Effect.forkIn(Effect.andThen(Effect.repeat(Effect.yieldNow, { times: 20 }), close), ServerCall.server(call))
    ),
  "a finalizer of the call": (close) => () => Effect.asVoid(Effect.addFinalizer(() => close))
}

const hosts: Record<string, Bind> = {
  "in one process": Binding.local,
  "over two queues": hostOf(),
  "over two queues, where each step takes time": hostOf({ pause: Effect.repeat(Effect.yieldNow, { times: 2 }) })
}

/** A server over a lower layer, in one scope that `Stop` closes. */
const makeStoppable = Effect.fnUntraced(function* (bind: Bind, way: (typeof ways)[string]) {
  const log: Array<string> = []
  const held = yield* Queue.unbounded<ServerCall.Of<typeof IStop, "Hold">>()
  const closed = yield* Deferred.make<void>()
  const serving = yield* Scope.make()
  yield* Scope.addFinalizer(serving, Effect.asVoid(Deferred.succeed(closed, undefined)))
  yield* Scope.addFinalizer(serving, Effect.andThen(Effect.yieldNow, Effect.sync(() => void log.push("released"))))
  const close = Scope.close(serving, Exit.void)
  const manager = Manager.make(IStop, {
    Stop: way(close) as Manager.Routine<typeof IStop.methods.Stop, Scope.Scope>,
    Hold: Manager.handOff((_, call) => Queue.offer(held, call))
  }) as Manager.Manager<typeof IStop, never>
  const server = yield* Scope.provide(Server.make([manager], { grace: "5 seconds" }), serving)
  const binding = yield* bind(server, IStop)
  return { binding, closed, held, log, server }
})

for (const [host, bind] of Object.entries(hosts)) {
  describe(`a server that is shut down by its own call, ${host}`, () => {
    for (const [title, way] of Object.entries(ways)) {
      it.effect(`${title}, no other call: what lies under the server is released without waiting`, () =>
        Effect.gen(function* () {
          const { binding, closed, log, server } = yield* makeStoppable(bind, way)
          const stopping = yield* start(Call.invoke(binding, "Stop"))
          // No turn of the clock: nobody waits for the period of grace.
          yield* Deferred.await(closed)
          assert.deepStrictEqual(log, ["released"])
          yield* Fiber.await(stopping)
          assert.strictEqual((yield* Server.calls(server)).length, 0)
        }))

      it.effect(`${title}, another call in progress: that one has the period of grace`, () =>
        Effect.gen(function* () {
          const { binding, closed, held, log } = yield* makeStoppable(bind, way)
          const holding = yield* start(Call.invoke(binding, "Hold", "a"))
          const other = yield* Queue.take(held)
          const late = yield* start(Call.invoke(binding, "Hold", "b"))
          yield* Queue.take(held)
          const stopping = yield* start(Call.invoke(binding, "Stop"))
          yield* Effect.repeat(settle, { times: 4 })
          yield* TestClock.adjust("4999 millis")
          assert.deepStrictEqual(log, [])
          yield* ServerCall.complete(other, "in time")
          assert.strictEqual(yield* Fiber.join(holding), "in time")
          assert.isTrue(yield* isWaiting(late))
          yield* TestClock.adjust("1 millis")
          yield* Deferred.await(closed)
          assert.deepStrictEqual(log, ["released"])
          assert.deepStrictEqual(yield* outcome(Fiber.join(late)), { failure: "RpcTransportError" })
          yield* Fiber.await(stopping)
        }))
    }
  })
}

describe("a reply before the shutdown", () => {
  it.effect("a routine that replies and then closes the server: its client has the reply", () =>
    Effect.gen(function* () {
      const { binding, closed } = yield* makeStoppable(
        hostOf(),
        (close) => (_, call: Stop) => Effect.andThen(Effect.orDie(ServerCall.complete(call)), close)
      )
      assert.deepStrictEqual(yield* outcome(Call.invoke(binding, "Stop")), { value: undefined })
      yield* Deferred.await(closed)
    }))
})

describe("a call that holds a context handle", () => {
  it.effect("a routine that closes the server: the handle is run down before what lies under the server", () =>
    Effect.gen(function* () {
      const Box = ContextHandle.make("Box")
      const IBox = Interface.make("IBox", {
        uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c2c02",
        version: [1, 0],
        methods: {
          Open: Interface.method({ out: { box: Box } }),
          Stop: Interface.method({ in: { box: Box } })
        }
      })
      const log: Array<string> = []
      const note = (what: string) => Effect.andThen(Effect.yieldNow, Effect.sync(() => void log.push(what)))
      const serving = yield* Scope.make()
      yield* Scope.addFinalizer(serving, note("released"))
      const boxes = ContextHandle.states<string>()(Box)
      const box = Effect.acquireRelease(Effect.succeed("box"), () => note("run down"))
      const manager = Manager.make(IBox, {
        Open: (_, call) => Effect.map(boxes.open(call, box), (box) => ({ box })),
        Stop: () => Scope.close(serving, Exit.void)
      })
      const server = yield* Scope.provide(Server.make([manager]), serving)
      const binding = yield* Binding.local(server, IBox)
      const { box: handle } = yield* Call.invoke(binding, "Open")
      yield* Effect.exit(Call.invoke(binding, "Stop", { box: handle }))
      while (log.length < 2) yield* Effect.yieldNow
      assert.deepStrictEqual(log, ["run down", "released"])
    }))
})

describe("a server that is shut down by its own call, over an association", () => {
  for (const other of [false, true]) {
    it.effect(`the routine closes endpoint and server${other ? ", another call in progress" : ""}: what lies under them is released`, () =>
      Effect.gen(function* () {
        const log: Array<string> = []
        const closed = yield* Deferred.make<void>()
        const serving = yield* Scope.make()
        const note = (what: string) => Effect.andThen(Effect.yieldNow, Effect.sync(() => void log.push(what)))
        yield* Scope.addFinalizer(serving, Effect.asVoid(Deferred.succeed(closed, undefined)))
        yield* Scope.addFinalizer(serving, note("released"))
        const manager = Manager.make(IStop, {
          Stop: () => Scope.close(serving, Exit.void),
          Hold: Manager.handOff(() => Effect.void)
        })
        const place = "ncacn_memory:[stop]"
        const server = yield* Scope.provide(Server.make([manager], { grace: "5 seconds" }), serving)
        yield* Scope.provide(Endpoint.serve(server, place), serving)
        const binding = yield* Association.bind(IStop, place)
        if (other) {
          yield* start(Effect.exit(Call.invoke(binding, "Hold", "a")))
          while ((yield* Server.calls(server)).length === 0) yield* Effect.yieldNow
        }
        const stopping = yield* start(Effect.exit(Call.invoke(binding, "Stop")))
        yield* Effect.repeat(settle, { times: 10 })
        yield* TestClock.adjust("5 seconds")
        yield* Effect.repeat(settle, { times: 10 })
        yield* TestClock.adjust("5 seconds")
        yield* Deferred.await(closed)
        yield* Fiber.await(stopping)
        yield* settle
        assert.deepStrictEqual(log, ["released"])
      }).pipe(Effect.provide(Memory.layer)))
  }
})
