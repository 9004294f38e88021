/** The one way into a server, from the side of whoever carries calls to it. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Logger, Queue, References, Scope, Tracer } from "effect"
import { TestClock } from "effect/testing"
import { Binding, Call, type Channel, ContextHandle, Interface, Manager, Server, ServerCall, Status } from "../mod.ts"
import { arrivalOf, makeClient } from "./accept.ts"
import { isWaiting, Job1, outcome, refusal, settle, shown, start } from "./fixtures.ts"
import { hostOf } from "./host.ts"
import { managerImpl } from "./internals.ts"

const Box = ContextHandle.make("Box")

const object = "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c2b01"

const IBoxes = Interface.make("IBoxes", {
  uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c2b02",
  version: [1, 2],
  methods: {
    Open: Interface.method({ out: { box: Box } }),
    Use: Interface.method({ in: { box: Box } }),
    Hold: Interface.method({})
  }
})

const opnum = { Open: 0, Use: 1, Hold: 2, Missing: 3 }

describe("a call that is not taken in", () => {
  /** A server for one object, with room for one call, and a box of another client. */
  const makeBoxes = Effect.gen(function* () {
    const ran: Array<string> = []
    const boxes = ContextHandle.states<string>()(Box)
    const held = yield* Queue.unbounded<ServerCall.Of<typeof IBoxes, "Hold">>()
    const manager = Manager.make(IBoxes, {
      Open: (_, call) => Effect.map(boxes.open(call, Effect.succeed("box")), (box) => ({ box })),
      Use: () => Effect.sync(() => void ran.push("Use")),
      Hold: Manager.handOff((_, call) => {
        ran.push("Hold")
        return Queue.offer(held, call)
      })
    }, { object })
    const serving = yield* Scope.fork(yield* Effect.scope)
    const server = yield* Scope.provide(Server.make([manager], { maximumCalls: 1, grace: "5 seconds" }), serving)
    const other = yield* Binding.local(server, IBoxes, { object })
    const { box } = yield* Call.invoke(other, "Open")
    return { box, held, origin: yield* makeClient(server), other, ran, server, serving }
  })

  const fill = (other: Binding.Binding<typeof IBoxes>) =>
    Effect.andThen(Effect.flatMap(Call.make(other), (call) => Call.begin(call, "Hold")), Effect.void)

  const badRequest = () => new Status.BadStubData({ detail: "the request is no request" })

  // Each case has the faults of all that follow it.
  const cases: Record<string, {
    readonly wanted?: Interface.Interface.Identity
    readonly object?: string
    readonly opnum?: number
    readonly end?: "server" | "client"
    readonly room?: boolean
    readonly decodes?: boolean
    readonly expected: object
  }> = {
    "an unknown interface": {
      wanted: { uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c2bff", version: [1, 0] },
      end: "server",
      expected: { _tag: "RpcFault", code: 1717, didNotExecute: true }
    },
    "a minor version above the server's": {
      wanted: { uuid: IBoxes.uuid, version: [1, 3] },
      end: "server",
      expected: { _tag: "RpcFault", code: 1717, didNotExecute: true }
    },
    "an unknown object": {
      object: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c2bfe",
      opnum: opnum.Missing,
      end: "server",
      expected: { _tag: "RpcFault", code: 1732, didNotExecute: true }
    },
    "an unknown method": {
      opnum: opnum.Missing,
      end: "server",
      expected: { _tag: "RpcFault", code: 1745, didNotExecute: true }
    },
    "a server that was shut down": {
      end: "server",
      expected: { _tag: "RpcTransportError", status: 1722, didNotExecute: true }
    },
    "a client that has gone": {
      end: "client",
      expected: { _tag: "RpcTransportError", status: 1722, didNotExecute: true }
    },
    "too many calls": { expected: { _tag: "RpcFault", code: 1723, didNotExecute: true } },
    "a request that can't be decoded": {
      room: true,
      expected: { _tag: "BadStubData", detail: "the request is no request" }
    },
    "a context handle of another client": {
      room: true,
      decodes: true,
      expected: { _tag: "ContextMismatch", didNotExecute: true }
    }
  }

  for (const [title, { decodes = false, end, expected, room = false, ...call }] of Object.entries(cases)) {
    it.effect(`call, ${title}: is refused, and nothing was executed`, () =>
      Effect.gen(function* () {
        const { box, origin: open, other, ran, server, serving } = yield* makeBoxes
        if (!room) yield* fill(other)
        const origin = end === "client" ? yield* Effect.scoped(makeClient(server)) : open
        if (end === "server") yield* start(Scope.close(serving, Exit.void))
        const before = [...ran]
        const arrival = arrivalOf({
          origin,
          interface: call.wanted ?? IBoxes,
          object: call.object ?? object,
          opnum: call.opnum ?? opnum.Use,
          input: { box },
          decode: () => decodes ? undefined : badRequest()
        })
        const refused = Server.accept(server, arrival.incoming)
        assert.deepInclude(refused, expected)
        yield* settle
        // Decoding is work: only a call that is admitted gets it.
        assert.deepStrictEqual(arrival.log, room ? ["decode"] : [])
        assert.deepStrictEqual(ran, before)
        assert.strictEqual((yield* Server.calls(server)).length, room ? 0 : 1)
      }).pipe(Effect.provide(Logger.layer([]))))
  }

  it.effect("an origin that another server has made: accept throws a TypeError", () =>
    Effect.gen(function* () {
      const { server } = yield* makeBoxes
      const foreign = yield* makeClient(yield* Server.make([]))
      const { incoming } = arrivalOf({ origin: foreign, interface: IBoxes, object, opnum: opnum.Hold })
      assert.throws(() => Server.accept(server, incoming), TypeError, "origin is of another server")
    }))

  it.effect("a request that can't be decoded: the log warns with interface, method, peer and path", () =>
    Effect.gen(function* () {
      const logged: Array<string> = []
      const logger = Logger.make(({ fiber, logLevel, message }) => {
        const { "rpc.method": method, "rpc.service": service } = fiber.getRef(References.CurrentLogAnnotations)
        logged.push(`${logLevel} ${String(service)}.${String(method)} ${String(message)}`)
      })
      const { job } = yield* Effect.gen(function* () {
        const server = yield* Server.make([Manager.make(Job1, { Run: (input) => Effect.succeed(input) })])
        return { job: yield* hostOf({ peer: "queue:7" })(server, Job1) }
      }).pipe(Effect.provide(Logger.layer([logger])))
      const error = yield* Effect.flip(Call.invoke(job, "Run", { not: "text" } as never))
      assert.deepInclude(error, { _tag: "RpcFault", code: 1783, didNotExecute: true, interface: "Job1", method: "Run" })
      assert.strictEqual(logged.length, 1)
      assert.match(logged[0]!, /^Warn Job1\.Run .*queue:7.*Expected string/s)
    }))
})

// ----------------------------------------------------------------------------
// a call that is taken in
// ----------------------------------------------------------------------------

type Run = ServerCall.Of<typeof Job1, "Run">

/** A server whose one method is handed off to the test, and a client of it. */
const makeRun = Effect.fnUntraced(function* (options?: Server.Options) {
  const held = yield* Queue.unbounded<Run>()
  const manager = Manager.make(Job1, { Run: Manager.handOff((_, call) => Queue.offer(held, call)) })
  const serving = yield* Scope.fork(yield* Effect.scope)
  const server = yield* Scope.provide(Server.make([manager], options), serving)
  const origin = yield* makeClient(server)
  const take = Effect.fnUntraced(function* (fields: Partial<Parameters<typeof arrivalOf>[0]>) {
    const arrival = arrivalOf({ origin, interface: Job1, input: "a", ...fields })
    assert.strictEqual(Server.accept(server, arrival.incoming), undefined)
    return { ...arrival, call: yield* Queue.take(held) }
  })
  return { origin, server, take, close: Scope.close(serving, Exit.void) }
})

const second = Effect.sleep("1 second")

const unstored = new Status.RpcTransportError({ status: 1726, detail: "the outcome was not stored" })

describe("a call that is taken in", () => {
  it.effect("a routine that answers at once: decode, accepted, routine and reply, in this order", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const manager = Manager.make(Job1, {
        Run: (input) => {
          log.push("routine")
          return Effect.succeed(input)
        }
      })
      const server = yield* Server.make([manager])
      const arrival = arrivalOf({ origin: yield* makeClient(server), interface: Job1, input: "a", log })
      assert.strictEqual(Server.accept(server, arrival.incoming), undefined)
      assert.deepStrictEqual(log, ["decode", "accepted", "routine", "reply"])
      assert.strictEqual(yield* Deferred.await(arrival.outcome), "a")
    }))

  it.effect("an input that decode replaces: the routine gets the new one", () =>
    Effect.gen(function* () {
      const server = yield* Server.make([Manager.make(Job1, { Run: (input) => Effect.succeed(`got ${input}`) })])
      let input = "encoded"
      const arrival = arrivalOf({
        origin: yield* makeClient(server),
        interface: Job1,
        decode: () => {
          input = "decoded"
          return undefined
        }
      })
      Object.defineProperty(arrival.incoming, "input", { get: () => input })
      Server.accept(server, arrival.incoming)
      assert.strictEqual(yield* Deferred.await(arrival.outcome), "got decoded")
    }))

  it.effect("a client that goes away: disconnected instead of a reply, once", () =>
    Effect.gen(function* () {
      const { server } = yield* makeRun()
      const log = yield* Effect.scoped(Effect.gen(function* () {
        const arrival = arrivalOf({ origin: yield* makeClient(server), interface: Job1, input: "a" })
        Server.accept(server, arrival.incoming)
        return arrival.log
      }))
      assert.deepStrictEqual(log, ["decode", "accepted", "disconnected"])
      assert.strictEqual((yield* Server.calls(server)).length, 0)
    }))

  it.effect("an orphan: nothing follows, neither reply nor disconnected", () =>
    Effect.gen(function* () {
      const { server } = yield* makeRun()
      const arrival = yield* Effect.scoped(Effect.gen(function* () {
        const arrival = arrivalOf({ origin: yield* makeClient(server), interface: Job1, input: "a" })
        Server.accept(server, arrival.incoming)
        arrival.remote!.orphan()
        assert.strictEqual((yield* Server.calls(server)).length, 0)
        return arrival
      }))
      assert.deepStrictEqual(arrival.log, ["decode", "accepted"])
    }))
})

describe("a reply that takes time", () => {
  const deny = () => new Status.RpcFault({ code: 5001 })
  const ways: Record<string, (call: Run) => Effect.Effect<void, unknown>> = {
    complete: (call) => ServerCall.complete(call, "done"),
    abort: (call) => ServerCall.abort(call, deny()),
    run: (call) => ServerCall.run(call, Effect.succeed("done"))
  }
  for (const [name, end] of Object.entries(ways)) {
    it.effect(`${name}: awaits it, and the call has ended meanwhile`, () =>
      Effect.gen(function* () {
        const { server, take } = yield* makeRun()
        const { call } = yield* take({ reply: second })
        const ending = yield* start(end(call))
        assert.isTrue(yield* isWaiting(ending))
        assert.strictEqual((yield* Server.calls(server)).length, 0)
        assert.strictEqual(yield* refusal(ServerCall.complete(call, "again")), "InvalidAsyncHandle")
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(shown(yield* Fiber.await(ending)), { value: undefined })
      }))

    it.effect(`${name}, the reply fails: fails with its RpcTransportError, and the call has ended`, () =>
      Effect.gen(function* () {
        const { server, take } = yield* makeRun()
        const { call } = yield* take({ reply: Effect.andThen(second, Effect.fail(unstored)) })
        const ending = yield* start(end(call))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(shown(yield* Fiber.await(ending)), { failure: "RpcTransportError" })
        assert.strictEqual((yield* Server.calls(server)).length, 0)
        assert.strictEqual(
          yield* refusal(end(call) as Effect.Effect<void, Status.InvalidAsyncHandle>),
          "InvalidAsyncHandle"
        )
      }).pipe(Effect.provide(Logger.layer([]))))
  }

  it.effect("the reply of a routine fails: the log has the reason", () =>
    Effect.gen(function* () {
      const logged: Array<string> = []
      const logger = Logger.make(({ message }) => void logged.push(String(message)))
      yield* Effect.gen(function* () {
        const server = yield* Server.make([Manager.make(Job1, { Run: () => Effect.succeed("done") })])
        const { incoming } = arrivalOf({
          origin: yield* makeClient(server),
          interface: Job1,
          input: "a",
          reply: Effect.fail(unstored)
        })
        Server.accept(server, incoming)
        yield* settle
      }).pipe(Effect.provide(Logger.layer([logger])))
      assert.strictEqual(logged.length, 1)
      assert.include(logged[0], "The reply could not be sent")
    }))

  it.effect("a host that can't marshal the results: complete fails with BadStubData", () =>
    Effect.gen(function* () {
      const bad = new Status.BadStubData({ detail: "no such value" })
      const { take } = yield* makeRun()
      for (const reply of [bad, Effect.andThen(second, Effect.fail(bad))]) {
        const { call } = yield* take({ reply })
        const ending = yield* start(ServerCall.complete(call, "done"))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(shown(yield* Fiber.await(ending)), { failure: "BadStubData" })
      }
    }).pipe(Effect.provide(Logger.layer([]))))

  it.effect("the scope of the call: closes after it", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const manager = Manager.make(Job1, {
        Run: () =>
          Effect.as(Effect.acquireRelease(Effect.void, () => Effect.sync(() => void log.push("released"))), "done")
      })
      const server = yield* Server.make([manager])
      const reply = Effect.andThen(second, Effect.sync(() => void log.push("sent")))
      const { incoming } = arrivalOf({ origin: yield* makeClient(server), interface: Job1, input: "a", reply })
      Server.accept(server, incoming)
      yield* settle
      assert.deepStrictEqual(log, [])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(log, ["sent", "released"])
    }))

  it.effect("a shutdown: waits for it within the period of grace", () =>
    Effect.gen(function* () {
      const { close, take } = yield* makeRun({ grace: "5 seconds" })
      const { call } = yield* take({ reply: Effect.sleep("4 seconds") })
      const completing = yield* start(ServerCall.complete(call, "done"))
      const closing = yield* start(close)
      yield* TestClock.adjust("3999 millis")
      assert.isTrue(yield* isWaiting(closing))
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(completing)
      yield* Fiber.join(closing)
    }))

  it.effect("a shutdown, and a reply that never ends: waits no longer than the period of grace", () =>
    Effect.gen(function* () {
      const { close, take } = yield* makeRun({ grace: "5 seconds" })
      const { call } = yield* take({ reply: Effect.never })
      yield* start(ServerCall.complete(call, "done"))
      const closing = yield* start(close)
      yield* TestClock.adjust("4999 millis")
      assert.isTrue(yield* isWaiting(closing))
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(closing)
    }))
})

describe("a hand-off that is announced", () => {
  const stateOf = (call: Run): string => (JSON.parse(JSON.stringify(call)) as { readonly state: string }).state

  it.effect("an announcement that takes time: the hand-off counts after it", () =>
    Effect.gen(function* () {
      const { take } = yield* makeRun()
      const { call, outcome: replied } = yield* take({ handedOff: () => second })
      yield* settle
      const before = stateOf(call)
      yield* TestClock.adjust("1 second")
      assert.notStrictEqual(stateOf(call), before)
      const { call: unannounced } = yield* take({})
      yield* settle
      assert.strictEqual(stateOf(call), stateOf(unannounced))
      yield* ServerCall.complete(call, "done")
      assert.strictEqual(yield* Deferred.await(replied), "done")
    }))

  it.effect("an announcement that fails: ends the call with 1726", () =>
    Effect.gen(function* () {
      const { server, take } = yield* makeRun()
      const { call, outcome: replied } = yield* take({ handedOff: () => Effect.andThen(second, Effect.fail(unstored)) })
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* Effect.flip(Deferred.await(replied)), { _tag: "RpcTransportError", status: 1726 })
      assert.strictEqual((yield* Server.calls(server)).length, 0)
      assert.strictEqual(yield* refusal(ServerCall.complete(call, "late")), "InvalidAsyncHandle")
    }).pipe(Effect.provide(Logger.layer([]))))

  for (
    const [title, announcement] of [["succeeds", second], [
      "fails",
      Effect.andThen(second, Effect.fail(unstored))
    ]] as const
  ) {
    it.effect(`a complete before an announcement that ${title}: the complete wins`, () =>
      Effect.gen(function* () {
        const { server, take } = yield* makeRun()
        const { call, log, outcome: replied } = yield* take({ handedOff: () => announcement })
        yield* ServerCall.complete(call, "done")
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Deferred.await(replied), "done")
        assert.deepStrictEqual(log, ["decode", "accepted", "reply"])
        assert.strictEqual((yield* Server.calls(server)).length, 0)
      }).pipe(Effect.provide(Logger.layer([]))))
  }
})

// ----------------------------------------------------------------------------
// context
// ----------------------------------------------------------------------------

const Tenant = Context.Reference<string>("test/Tenant", { defaultValue: () => "none" })

describe("the context of a call", () => {
  const makeTenant = Effect.gen(function* () {
    return yield* Server.make([Manager.make(Job1, {
      Run: () =>
        Effect.gen(function* () {
          return yield* Tenant
        })
    })])
  })

  it.effect("incoming.context: reaches the routine, and not the next call", () =>
    Effect.gen(function* () {
      const server = yield* makeTenant
      const origin = yield* makeClient(server)
      const tenants: Array<unknown> = []
      for (const context of [Context.make(Tenant, "blue"), undefined]) {
        const { incoming, outcome: replied } = arrivalOf({ origin, interface: Job1, input: "a", context })
        Server.accept(server, incoming)
        tenants.push(yield* Deferred.await(replied))
      }
      assert.deepStrictEqual(tenants, ["blue", "none"])
    }))

  const bound: Record<
    string,
    (server: Server.Server) => Effect.Effect<Binding.Binding<typeof Job1>, unknown, Scope.Scope>
  > = {
    "over two queues": (server) => hostOf({ references: [Tenant] })(server, Job1),
    "around a local channel": (server) =>
      Effect.flatMap(Binding.local(server, Job1), ({ channel }) => {
        const around: Channel.Channel = {
          callObjects: true,
          references: [Tenant],
          issue: (call, input, fiber) => channel.issue(call, input, fiber)
        }
        return Binding.make(Job1, around)
      })
  }
  for (const [title, bind] of Object.entries(bound)) {
    it.effect(`a channel's references, ${title}: the routine finds what the calling fiber has set`, () =>
      Effect.gen(function* () {
        const job = yield* bind(yield* makeTenant)
        const call = yield* Call.make(job)
        assert.strictEqual(yield* Effect.provideService(Call.invoke(job, "Run", "a"), Tenant, "blue"), "blue")
        const pending = yield* Effect.provideService(Call.begin(call, "Run", "a"), Tenant, "green")
        assert.strictEqual(yield* Call.join(pending), "green")
        assert.strictEqual(yield* Call.invoke(job, "Run", "a"), "none")
      }))
  }

  it.effect("a channel without references: nothing of the calling fiber travels", () =>
    Effect.gen(function* () {
      const job = yield* Binding.local(yield* makeTenant, Job1)
      assert.strictEqual(yield* Effect.provideService(Call.invoke(job, "Run", "a"), Tenant, "blue"), "none")
    }))
})

describe("the span of a call", () => {
  const spanned = Manager.make(Job1, {
    Run: () =>
      Effect.map(Effect.context<never>(), (context) => {
        const span = Context.getOrUndefined(context, Tracer.ParentSpan)
        return span === undefined ? "none" : `${span._tag === "Span" ? span.name : "external"} ${span.traceId}`
      })
  })

  for (const traced of [false, true]) {
    const making: Record<string, Effect.Effect<Server.Server, never, Scope.Scope>> = {
      "Server.make": Effect.withSpan(Server.make([spanned]), "making"),
      "Server.add": Effect.tap(Server.make([]), (server) => Effect.withSpan(Server.add(server, spanned), "making")),
      "Manager.layer": Effect.map(
        Layer.build(
          Server.layer([Job1]).pipe(
            Layer.provide(Layer.span("making")),
            Layer.provide(
              Manager.layer(Job1, Effect.succeed({ Run: managerImpl(spanned).routines["Run"] as never })).pipe(
                Layer.provide(Layer.span("making"))
              )
            )
          )
        ),
        (context) => Context.get(context, Server.Server)
      )
    }
    for (const [title, make] of Object.entries(making)) {
      it.effect(`${title} in a span, ${traced ? "a tracer" : "no tracer"}: a routine is in the span of its call${traced ? "" : ", here none"}`, () =>
        Effect.gen(function* () {
          const tracer = Tracer.make({ span: (options) => new Tracer.NativeSpan(options) })
          const server = yield* traced ? Effect.withTracer(make, tracer) : make
          for (const bind of [Binding.local, hostOf()]) {
            const job = yield* traced ? Effect.withTracer(bind(server, Job1), tracer) : bind(server, Job1)
            const calling = Effect.flatMap(
              Effect.currentSpan,
              ({ traceId }) => Effect.map(Call.invoke(job, "Run", "a"), (found) => [found, traceId] as const)
            )
            const [found, traceId] = yield* Effect.withTracer(Effect.withSpan(calling, "calling"), tracer)
            assert.strictEqual(found, traced ? `Job1.Run ${traceId}` : "none")
          }
        }).pipe(Effect.orDie))
    }
  }
})

describe("middleware", () => {
  for (const plain of [true, false]) {
    it.effect(`a ${plain ? "plain" : "hand-off"} routine: what middleware does before it comes before its synchronous part`, () =>
      Effect.gen(function* () {
        const log: Array<string> = []
        const routine = (input: string, call: Run) => {
          log.push("routine")
          return plain ? Effect.succeed(input) : Effect.ignore(ServerCall.complete(call, input))
        }
        const manager = Manager.make(Job1, { Run: (plain ? routine : Manager.handOff(routine)) as never }).pipe(
          Manager.middleware((routine) => Effect.andThen(Effect.sync(() => void log.push("middleware")), routine))
        )
        const job = yield* Binding.local(yield* Server.make([manager]), Job1)
        assert.deepStrictEqual(yield* outcome(Call.invoke(job, "Run", "a")), { value: "a" })
        assert.deepStrictEqual(log, ["middleware", "routine"])
      }))
  }
})
