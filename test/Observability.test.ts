import { assert, describe, it } from "@effect/vitest"
import {
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Logger,
  Metric,
  Option,
  Queue,
  References,
  Scope,
  Tracer
} from "effect"
import { TestClock } from "effect/testing"
import { Binding, Call, Manager, Observability, Server, ServerCall, TestKit } from "../mod.ts"
import { arrivalOf } from "./accept.ts"
import { Desk, Job1, makeDesk, makeJob, settle, start } from "./fixtures.ts"
import { serverImpl } from "./internals.ts"
import { IShelf, makeShelf } from "./shelf.ts"

/** A tracer that keeps its spans. */
const makeTracer = () => {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  return { spans, tracer }
}

const parentOf = (span: Tracer.Span) => Option.getOrUndefined(span.parent)?.spanId
const kind = (spans: ReadonlyArray<Tracer.NativeSpan>, wanted: Tracer.SpanKind) =>
  spans.filter((span) => span.kind === wanted)
const eventsOf = (span: Tracer.NativeSpan) => span.events.map(([name]) => name)

/** Both sides with a tracer. */
const traced = Effect.gen(function* () {
  const { spans, tracer } = makeTracer()
  const made = yield* Effect.withTracer(makeDesk({ cancellation: { Stay: "cooperative" } }), tracer)
  return { ...made, spans, tracer }
})

describe("spans", () => {
  it.effect("no tracer: no spans", () =>
    Effect.gen(function* () {
      const { spans, tracer } = makeTracer()
      const { desk } = yield* makeDesk()
      yield* Call.invoke(desk, "Answer", "a")
      yield* Effect.withTracer(Effect.void, tracer)
      assert.strictEqual(spans.length, 0)
      assert.isUndefined(Context.getOrUndefined(yield* Effect.context<never>(), Tracer.ParentSpan))
    }))

  it.effect("tracer of the client alone: spans of the client alone", () =>
    Effect.gen(function* () {
      const { spans, tracer } = makeTracer()
      const { desk } = yield* makeDesk()
      yield* Effect.withTracer(Call.invoke(desk, "Answer", "a"), tracer)
      assert.deepStrictEqual(spans.map((span) => span.kind), ["client"])
    }))

  it.effect("tracer of the server alone: spans of the server alone", () =>
    Effect.gen(function* () {
      const { desk, spans } = yield* traced
      yield* Call.invoke(desk, "Answer", "a")
      assert.deepStrictEqual(spans.map((span) => span.kind), ["server"])
    }))

  it.effect("tracing switched off: no spans", () =>
    Effect.gen(function* () {
      const { spans, tracer } = makeTracer()
      const { desk } = yield* makeDesk()
      yield* Call.invoke(desk, "Answer", "a").pipe(Effect.withTracerEnabled(false), Effect.withTracer(tracer))
      assert.strictEqual(spans.length, 0)
    }))

  it.effect("span of a call: has the call's name and attributes", () =>
    Effect.gen(function* () {
      const { desk, spans, tracer } = yield* traced
      yield* Effect.withTracer(Call.invoke(desk, "Answer", "a"), tracer)
      assert.strictEqual(spans.length, 2)
      for (const span of spans) {
        assert.strictEqual(span.name, "Desk.Answer")
        assert.deepInclude(Object.fromEntries(span.attributes), {
          "rpc.system": "dce_rpc",
          "rpc.service": "Desk",
          "rpc.method": "Answer",
          "callisto.uuid": Desk.uuid,
          "callisto.opnum": 0,
          "callisto.outcome": "replied",
          "callisto.code": 0
        })
        assert.strictEqual(span.status._tag, "Ended")
      }
    }))

  it.effect("nested spans: the server's in the client's, the client's in its fiber's", () =>
    Effect.gen(function* () {
      const { desk, spans, tracer } = yield* traced
      yield* Call.invoke(desk, "Answer", "a").pipe(Effect.withSpan("outer"), Effect.withTracer(tracer))
      const [outer, client, server] = [
        spans.find(({ name }) => name === "outer"),
        kind(spans, "client")[0],
        kind(spans, "server")[0]
      ]
      assert.strictEqual(parentOf(client!), outer!.spanId)
      assert.strictEqual(parentOf(server!), client!.spanId)
      assert.strictEqual(server!.traceId, outer!.traceId)
    }))

  it.effect("calls that a manager makes: their spans are children of its own", () =>
    Effect.gen(function* () {
      const { spans, tracer } = makeTracer()
      const made: { readonly job: Binding.Binding<typeof Job1> } = yield* Effect.withTracer(
        makeJob((input) =>
          input === "inner"
            ? Effect.succeed(input)
            : Effect.orDie(Effect.suspend(() => Call.invoke(made.job, "Run", "inner")))
        ),
        tracer
      )
      yield* Call.invoke(made.job, "Run", "outer")
      assert.deepStrictEqual(spans.map((span) => span.kind), ["server", "client", "server"])
      assert.strictEqual(parentOf(spans[1]!), spans[0]!.spanId)
      assert.strictEqual(parentOf(spans[2]!), spans[1]!.spanId)
    }))

  it.effect("span of a call: lasts from begin to completion, not to finish", () =>
    Effect.gen(function* () {
      const { desk, held, spans, tracer } = yield* traced
      const pending = yield* Effect.withTracer(
        Effect.flatMap(Call.make(desk), (call) => Call.begin(call, "Hold", "a")),
        tracer
      )
      yield* TestClock.adjust("3 seconds")
      for (const span of spans) assert.strictEqual(span.status._tag, "Started")
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      yield* TestClock.adjust("4 seconds")
      yield* Call.finish(pending)
      assert.strictEqual(spans.length, 2)
      for (const { status } of spans) {
        assert.strictEqual(status._tag, "Ended")
        if (status._tag === "Ended") assert.strictEqual(status.endTime - status.startTime, 3_000_000_000n)
      }
    }))

  const outcomes: ReadonlyArray<readonly [string, string, number]> = [
    ["deny", "aborted", 5000],
    ["fault", "aborted", 1753],
    ["die", "aborted", 1726]
  ]
  for (const [input, outcome, code] of outcomes) {
    it.effect(`span, call ended as ${outcome} with ${code}: has both (${input})`, () =>
      Effect.gen(function* () {
        const { desk, spans, tracer } = yield* traced
        yield* Effect.withTracer(Effect.exit(Call.invoke(desk, "Answer", input)), tracer)
        assert.strictEqual(spans.length, 2)
        for (const span of spans) {
          assert.deepInclude(Object.fromEntries(span.attributes), {
            "callisto.outcome": outcome,
            "callisto.code": code
          })
        }
      }))
  }

  it.effect("defect of a manager: stays in the span of the server", () =>
    Effect.gen(function* () {
      const { desk, spans, tracer } = yield* traced
      yield* Effect.withTracer(Effect.exit(Call.invoke(desk, "Answer", "die")), tracer)
      const text = (span: Tracer.NativeSpan) => span.status._tag === "Ended" ? String(span.status.exit.toString()) : ""
      assert.include(text(kind(spans, "server")[0]!), "a secret of the server")
      assert.notInclude(text(kind(spans, "client")[0]!), "a secret of the server")
    }))

  it.effect("cancel: both spans show it", () =>
    Effect.gen(function* () {
      const { desk, gate, spans, tracer } = yield* traced
      const pending = yield* Effect.withTracer(
        Effect.flatMap(Call.make(desk), (call) => Call.begin(call, "Stay", "a")),
        tracer
      )
      yield* Call.cancel(pending, { timeout: "Infinity" })
      yield* Call.cancel(pending, { timeout: "1 second" })
      yield* TestClock.adjust("1 second")
      const [client, server] = [kind(spans, "client")[0]!, kind(spans, "server")[0]!]
      assert.deepStrictEqual(eventsOf(client), ["cancel", "cancel"])
      assert.deepStrictEqual(client.events.map(([, , attributes]) => attributes["timeout"]), [Infinity, 1000])
      assert.deepInclude(Object.fromEntries(client.attributes), {
        "callisto.outcome": "cancelled",
        "callisto.code": 1818
      })
      assert.include(eventsOf(server), "Cancelled")
      yield* Deferred.succeed(gate, "late")
      yield* settle
      assert.strictEqual(server.status._tag, "Ended")
    }))

  it.effect("client goes away: the server's span shows it", () =>
    Effect.gen(function* () {
      const { desk, spans, tracer } = yield* traced
      yield* Effect.withTracer(
        Effect.scoped(Effect.flatMap(Call.make(desk), (call) => Call.begin(call, "Hold", "a"))),
        tracer
      )
      const [client, server] = [kind(spans, "client")[0]!, kind(spans, "server")[0]!]
      assert.include(eventsOf(server), "Orphaned")
      assert.strictEqual(server.status._tag, "Ended")
      assert.strictEqual(client.status._tag, "Ended")
    }))

  it.effect("connection lost: the span shows it", () =>
    Effect.gen(function* () {
      const { server, spans, tracer } = yield* traced
      yield* Effect.scoped(Effect.gen(function* () {
        const desk = yield* Binding.local(server, Desk)
        const outer = yield* Scope.make()
        const call = yield* Scope.provide(Call.make(desk), outer)
        yield* Effect.withTracer(Call.begin(call, "Hold", "a"), tracer)
      }))
      const client = kind(spans, "client")[0]!
      assert.deepInclude(Object.fromEntries(client.attributes), { "callisto.outcome": "lost", "callisto.code": 1726 })
      assert.include(eventsOf(kind(spans, "server")[0]!), "Disconnected")
    }))

  it.effect("parent span not sampled: neither are the spans of the call", () =>
    Effect.gen(function* () {
      const { desk, spans, tracer } = yield* traced
      const parent = Tracer.externalSpan({ spanId: "1", traceId: "2", sampled: false })
      yield* Call.invoke(desk, "Answer", "a").pipe(Effect.withParentSpan(parent), Effect.withTracer(tracer))
      assert.deepStrictEqual(spans.map(({ sampled, traceId }) => [sampled, traceId]), [[false, "2"], [false, "2"]])
    }))

  it.effect("begin fails: its span ends", () =>
    Effect.gen(function* () {
      const { server, spans, tracer } = yield* traced
      const desk = yield* Binding.local(server, Desk, { validate: true })
      const call = yield* Call.make(desk)
      yield* Effect.withTracer(Effect.exit(Call.begin(call, "Answer", 1 as never)), tracer)
      for (const span of spans) assert.strictEqual(span.status._tag, "Ended")
      assert.lengthOf(kind(spans, "server"), 1, "the refusal")
    }))
})

describe("metrics", () => {
  const counted = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      yield* effect
      const snapshots = yield* Metric.snapshot
      const found: Record<string, unknown> = {}
      for (const { attributes, id, state } of snapshots) {
        if (!id.startsWith("callisto_")) continue
        const names = Object.entries(attributes ?? {}).sort().map(([, value]) => value)
        const value = state as { readonly count?: number; readonly value?: number; readonly max?: number }
        found[[id.slice("callisto_".length), ...names].join(" ")] = value.count ?? value.value
      }
      return found
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))

  const someCalls = Effect.gen(function* () {
    const { desk, held } = yield* makeDesk()
    yield* Call.invoke(desk, "Answer", "a")
    yield* Call.invoke(desk, "Answer", "b")
    yield* Effect.exit(Call.invoke(desk, "Answer", "deny"))
    const cancelled = yield* Call.begin(yield* Call.make(desk), "Hold", "c")
    yield* Call.cancel(cancelled)
    yield* Effect.ignore(ServerCall.complete(yield* Queue.take(held), "late"))
    yield* Effect.scoped(Effect.flatMap(Call.make(desk), (call) => Call.begin(call, "Hold", "d")))
    yield* Call.begin(yield* Call.make(desk), "Hold", "e")
  })

  it.effect("metrics, by default: nothing is counted", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* counted(Effect.scoped(someCalls)), {})
    }))

  it.effect("metrics switched on: calls of both sides are counted by their outcome", () =>
    Effect.gen(function* () {
      const scope = yield* Effect.scope
      const found = yield* counted(Scope.provide(someCalls, scope).pipe(Effect.provide(Observability.layer)))
      assert.deepInclude(found, {
        "calls_begun client": 6,
        "calls_in_progress client": 1,
        "calls_completed Desk Answer replied client": 2,
        "calls_completed Desk Answer aborted client": 1,
        "calls_completed Desk Hold cancelled client": 1,
        "calls_completed Desk Hold abandoned client": 1,
        "call_duration client": 5,
        "calls_begun server": 6,
        "calls_in_progress server": 1,
        "calls_completed Desk Answer aborted server": 1,
        "call_duration server": 5
      })
    }))

  it.effect("metrics of one side switched on: the other side counts nothing", () =>
    Effect.gen(function* () {
      const scope = yield* Effect.scope
      const found = yield* counted(Effect.gen(function* () {
        const { server } = yield* Scope.provide(makeDesk(), scope)
        const desk = yield* Binding.local(server, Desk).pipe(
          Scope.provide(scope),
          Effect.provide(Observability.layer)
        )
        yield* Call.invoke(desk, "Answer", "a")
      }))
      assert.strictEqual(found["calls_begun client"], 1)
      assert.deepStrictEqual(Object.keys(found).filter((name) => name.includes("server")), [])
    }))
})

describe("an observer", () => {
  /** What an observer sees, in the order in which it sees it. */
  const makeObserver = () => {
    const seen: Array<string> = []
    const calls = new Set<Observability.Observed>()
    const say = (call: Observability.Observed, text: string) => {
      calls.add(call)
      seen.push(`${call.side} ${call.method} ${text}`)
    }
    const observer: Observability.Observer = {
      begun: (call) => say(call, "begun"),
      changed: (call, change) => say(call, change),
      transferred: (call, direction, bytes) => say(call, `${direction} ${bytes}`),
      ended: (call, ending, code) => say(call, `${ending} ${code}`)
    }
    return { observer, seen, calls }
  }

  const observing = <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    observer: Observability.Observer
  ) => Effect.provideService(effect, Observability.observer, observer)

  it.effect("calls of each ending: both sides are told of begin, change and end", () =>
    Effect.gen(function* () {
      const { calls, observer, seen } = makeObserver()
      const { desk, held } = yield* observing(makeDesk(), observer)
      yield* Call.invoke(desk, "Answer", "a")
      yield* Effect.exit(Call.invoke(desk, "Answer", "deny"))
      assert.deepStrictEqual(seen.splice(0), [
        "client Answer begun",
        "server Answer begun",
        "server Answer replied 0",
        "client Answer replied 0",
        "client Answer begun",
        "server Answer begun",
        "server Answer aborted 5000",
        "client Answer aborted 5000"
      ])
      const cancelled = yield* Call.begin(yield* Call.make(desk), "Hold", "c")
      yield* Call.cancel(cancelled)
      assert.deepStrictEqual(seen.splice(0), [
        "client Hold begun",
        "server Hold begun",
        "server Hold HandedOff",
        "client Hold CancelRequested",
        "client Hold cancelled 1818",
        "server Hold CancelRequested"
      ])
      yield* ServerCall.complete(yield* Queue.take(held), "late")
      yield* Effect.scoped(Effect.flatMap(Call.make(desk), (call) => Call.begin(call, "Hold", "d")))
      assert.deepStrictEqual(seen.splice(0), [
        "server Hold replied 0",
        "client Hold begun",
        "server Hold begun",
        "server Hold HandedOff",
        "client Hold abandoned 1818",
        "server Hold Orphaned",
        "server Hold abandoned 1818"
      ])
      assert.strictEqual(calls.size, 8)
    }))

  it.effect("a call in one process: is seen with its address, caller and time, and prints no more than that", () =>
    Effect.gen(function* () {
      const { calls, observer } = makeObserver()
      yield* TestClock.adjust("1 second")
      const { desk } = yield* observing(makeDesk(), observer)
      yield* Call.invoke(desk, "Answer", "a")
      const [client, server] = [...calls]
      assert.strictEqual(client!.address, "local")
      assert.strictEqual(server!.address, "local")
      assert.strictEqual(server!.caller?.level, "privacy")
      assert.isUndefined(client!.caller)
      assert.strictEqual(client!.begunAt, 1000)
      assert.isUndefined(client!.span)
      assert.strictEqual(
        String(server),
        `{"_id":"callisto/Observed","side":"server","interface":"Desk","method":"Answer","address":"local"}`
      )
    }))

  it.effect("arguments of a call: are seen until its end, and not kept beyond it", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const calls = new Set<Observability.Observed>()
      const { desk } = yield* observing(makeDesk(), {
        begun: (call) => {
          calls.add(call)
          seen.push(`${call.side} begun ${call.input}`)
        },
        ended: ({ input, side }) => void seen.push(`${side} ended ${input}`)
      })
      yield* Call.invoke(desk, "Answer", "a")
      assert.deepStrictEqual(seen, ["client begun a", "server begun a", "server ended a", "client ended a"])
      for (const { input } of calls) assert.isUndefined(input)
    }))

  it.effect("arguments of a call whose access check takes time: are seen once it is admitted", () =>
    Effect.gen(function* () {
      const admits = yield* Deferred.make<boolean>()
      const seen: Array<unknown> = []
      const manager = Manager.make(Job1, { Run: (input) => Effect.succeed(input) }, {
        access: () => Deferred.await(admits)
      })
      const server = yield* observing(Server.make([manager]), {
        begun: ({ input }) => void seen.push(input),
        ended: ({ input }) => void seen.push(input)
      })
      const job = yield* Binding.local(server, Job1)
      const running = yield* start(Call.invoke(job, "Run", "a"))
      yield* Deferred.succeed(admits, true)
      assert.strictEqual(yield* Fiber.join(running), "a")
      assert.deepStrictEqual(seen, [undefined, "a"])
    }))

  it.effect("observer, a traced call: is seen with its span", () =>
    Effect.gen(function* () {
      const { spans, tracer } = makeTracer()
      const { calls, observer } = makeObserver()
      const { desk } = yield* Effect.withTracer(observing(makeDesk(), observer), tracer)
      yield* Effect.withTracer(Call.invoke(desk, "Answer", "a"), tracer)
      assert.deepStrictEqual([...calls].map(({ span }) => span), spans)
    }))

  it.effect("cancel by the observer of either side: ends the call", () =>
    Effect.gen(function* () {
      for (const side of ["client", "server"] as const) {
        const { calls, observer } = makeObserver()
        const { desk } = yield* observing(makeDesk(), observer)
        const pending = yield* Call.begin(yield* Call.make(desk), "Stay", "a")
        const [call] = [...calls].filter((call) => call.side === side)
        call!.cancel()
        const failure = yield* Effect.flip(Call.join(pending))
        assert.strictEqual(failure._tag, "CallCancelled")
        call!.cancel()
      }
    }))

  for (const side of ["client", "server"] as const) {
    it.effect(`cancel within begun, on the ${side}: the call ends as soon as it is issued`, () =>
      Effect.gen(function* () {
        const cancelling: Observability.Observer = {
          begun: (call) => {
            if (call.side === side) call.cancel()
          }
        }
        const { desk } = yield* observing(makeDesk(), cancelling)
        const pending = yield* Call.begin(yield* Call.make(desk), "Stay", "a")
        assert.strictEqual((yield* Effect.flip(Call.join(pending)))._tag, "CallCancelled")
        assert.strictEqual((yield* Effect.flip(Call.invoke(desk, "Stay", "b")))._tag, "CallCancelled")
        // Completed by then.
        yield* Call.invoke(desk, "Tell", "c")
      }))
  }

  it.effect("cancel while a call is being issued: the call ends as soon as it is issued", () =>
    Effect.gen(function* () {
      const { calls, observer } = makeObserver()
      const { binding, inject } = yield* observing(
        TestKit.make(Manager.make(Job1, { Run: () => Effect.never })),
        observer
      )
      yield* inject("Run", TestKit.delayBegin("1 second"))
      const running = yield* start(Effect.flip(Call.invoke(binding, "Run", "a")))
      for (const call of calls) call.cancel()
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(running))._tag, "CallCancelled")
    }))

  it.effect("cancel within begun of a call that waits for its handle: the host gets the call before its reply", () =>
    Effect.gen(function* () {
      const { manager } = yield* makeShelf
      let isCancelling = false
      const cancelling: Observability.Observer = { begun: (call) => isCancelling && call.cancel() }
      const server = yield* observing(Server.make([manager], { grace: 0 }), cancelling)
      const shelf = yield* Binding.local(server, IShelf)
      const { box } = yield* Call.invoke(shelf, "Open", { text: "box" })
      yield* Call.begin(yield* Call.make(shelf), "Hold", { box })
      isCancelling = true
      const { incoming, log } = arrivalOf({
        origin: serverImpl(server).clients.values().next().value!,
        interface: IShelf,
        opnum: IShelf.operations.Use.opnum,
        input: { box, text: "a" }
      })
      assert.isUndefined(Server.accept(server, incoming))
      assert.deepStrictEqual(log, ["decode", "accepted", "reply"])
    }))

  it.effect("a server that has too many calls: the refused one is seen and counted with its method", () =>
    Effect.gen(function* () {
      const { observer, seen } = makeObserver()
      const found = yield* Effect.gen(function* () {
        const { desk } = yield* observing(makeDesk({ server: { maximumCalls: 1 } }), observer).pipe(
          Effect.provide(Observability.layer)
        )
        yield* Call.begin(yield* Call.make(desk), "Hold", "a")
        yield* Effect.flip(Call.invoke(desk, "Answer", "b"))
        return yield* Metric.snapshot
      }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
      assert.deepStrictEqual(seen.slice(3), [
        "client Answer begun",
        "server Answer begun",
        "server Answer refused 1723",
        "client Answer aborted 1723"
      ])
      const refused = found.filter(({ attributes }) =>
        (attributes as Record<string, string>)?.["outcome"] === "refused"
      )
      assert.deepStrictEqual(
        refused.map(({ attributes, state }) => [attributes, state]),
        [
          [{
            side: "server",
            interface: "Desk",
            method: "Answer",
            outcome: "refused"
          }, { count: 1, incremental: true }]
        ]
      )
    }))

  it.effect("a call that is lost with its server: is seen as lost", () =>
    Effect.gen(function* () {
      const { observer, seen } = makeObserver()
      const scope = yield* Scope.fork(yield* Effect.scope)
      const { desk } = yield* Scope.provide(observing(makeDesk({ server: { grace: 0 } }), observer), scope)
      yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      yield* Scope.close(scope, Exit.void)
      assert.include(seen, "client Hold lost 1726")
      assert.isTrue(seen.some((line) => line.startsWith("server Hold") && !line.endsWith("begun")))
    }))

  it.effect("an observer that throws: is logged, and the call goes on", () =>
    Effect.gen(function* () {
      const logged: Array<string> = []
      const logger = Logger.make<unknown, void>(({ message }) => void logged.push(String(message)))
      const fail = () => {
        throw new Error("full")
      }
      const observer: Observability.Observer = { begun: fail, ended: fail }
      const { desk } = yield* observing(makeDesk(), observer).pipe(Effect.provide(Logger.layer([logger])))
      assert.strictEqual(yield* Call.invoke(desk, "Answer", "a"), "answer to a")
      assert.deepStrictEqual(new Set(logged), new Set(["An observer of calls threw"]))
      assert.strictEqual(logged.length, 4)
    }))

  for (const event of ["changed", "ended"] as const) {
    it.effect(`an observer that cancels each call that has ${event}: a call ends once, and its server is told`, () =>
      Effect.gen(function* () {
        const seen: Array<string> = []
        const observer: Observability.Observer = {
          changed: (call) => event === "changed" && call.cancel(),
          ended: (call, ending) => {
            seen.push(`${call.side} ${ending}`)
            if (event === "ended") call.cancel()
          }
        }
        const { desk, server } = yield* observing(makeDesk(), observer)
        const pending = yield* Call.begin(yield* Call.make(desk), "Stay", "a")
        yield* Call.cancel(pending, { timeout: "1 minute" })
        yield* settle
        yield* Effect.flip(Call.finish(pending))
        assert.deepStrictEqual(seen.sort(), ["client cancelled", "server cancelled"])
        assert.strictEqual(serverImpl(server).count, 0)
      }))
  }

  const throwing = Tracer.make({
    span: () => {
      throw new Error("no span")
    }
  })

  it.effect("a client whose tracer throws: begin dies, and the object is idle", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const call = yield* Call.make(desk)
      const begun = yield* Effect.exit(Effect.withTracer(Call.begin(call, "Answer", "a"), throwing))
      assert.include(String(begun), "no span")
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
      assert.strictEqual(yield* Call.join(yield* Call.begin(call, "Answer", "a")), "answer to a")
    }))

  it.effect("a server whose tracer throws: begin dies, and nothing of the call is left", () =>
    Effect.gen(function* () {
      const { desk, server } = yield* Effect.withTracer(makeDesk(), throwing)
      const call = yield* Call.make(desk)
      assert.include(String(yield* Effect.exit(Call.begin(call, "Answer", "a"))), "no span")
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
      assert.strictEqual(serverImpl(server).count, 0)
    }))

  it.effect("a server with an observer, a binding without: only the server's side is seen", () =>
    Effect.gen(function* () {
      const { observer, seen } = makeObserver()
      const { server } = yield* observing(makeDesk(), observer)
      yield* Call.invoke(yield* Binding.local(server, Desk), "Answer", "a")
      assert.deepStrictEqual(seen, ["server Answer begun", "server Answer replied 0"])
    }))
})

describe("logs", () => {
  /** Keeps the annotations and messages of what is logged. */
  const makeLogger = () => {
    const entries: Array<{ readonly text: string; readonly annotations: Record<string, unknown> }> = []
    const logger = Logger.make<unknown, void>(({ cause, fiber, message }) => {
      entries.push({
        text: `${String(message)} ${
          cause.reasons.map((reason) => reason._tag === "Die" ? String(reason.defect) : "").join()
        }`,
        annotations: { ...fiber.getRef(References.CurrentLogAnnotations) }
      })
    })
    return { entries, layer: Logger.layer([logger]) }
  }

  it.effect("log of a manager: names the interface and the method", () =>
    Effect.gen(function* () {
      const { entries, layer } = makeLogger()
      const scope = yield* Effect.scope
      const manager = Manager.make(Job1, { Run: (input) => Effect.as(Effect.log("from the manager"), input) })
      const server = yield* Scope.provide(Server.make([manager]), scope).pipe(
        Effect.annotateLogs("host", "one"),
        Effect.provide(layer)
      )
      yield* Call.invoke(yield* Binding.local(server, Job1), "Run", "a")
      assert.strictEqual(entries.length, 1)
      assert.deepStrictEqual(entries[0]!.annotations, { host: "one", "rpc.service": "Job1", "rpc.method": "Run" })
    }))

  it.effect("manager dies: the server logs it", () =>
    Effect.gen(function* () {
      const { entries, layer } = makeLogger()
      const scope = yield* Effect.scope
      const { desk } = yield* Scope.provide(makeDesk(), scope).pipe(Effect.provide(layer))
      yield* Effect.exit(Call.invoke(desk, "Answer", "die"))
      assert.strictEqual(entries.length, 1)
      assert.include(entries[0]!.text, "a secret of the server")
      assert.deepInclude(entries[0]!.annotations, { "rpc.service": "Desk", "rpc.method": "Answer" })
    }))

  it.effect("out parameters refused: the server logs it", () =>
    Effect.gen(function* () {
      const { entries, layer } = makeLogger()
      const scope = yield* Effect.scope
      const manager = Manager.make(Job1, { Run: () => Effect.succeed(1 as never) })
      const server = yield* Scope.provide(Server.make([manager]), scope).pipe(Effect.provide(layer))
      yield* Effect.exit(Call.invoke(yield* Binding.local(server, Job1, { validate: true }), "Run", "a"))
      assert.strictEqual(entries.length, 1)
      assert.include(entries[0]!.text, "out parameters")
    }))

  it.effect("replies, aborts and cancels: nothing is logged", () =>
    Effect.gen(function* () {
      const { entries, layer } = makeLogger()
      const scope = yield* Effect.scope
      const { desk } = yield* Scope.provide(makeDesk(), scope).pipe(Effect.provide(layer))
      yield* Call.invoke(desk, "Answer", "a")
      yield* Effect.exit(Call.invoke(desk, "Answer", "deny"))
      yield* Effect.exit(Call.invoke(desk, "Answer", "fault"))
      const staying = yield* start(Effect.timeoutOption(Call.invoke(desk, "Stay", "a"), "1 second"))
      yield* TestClock.adjust("1 second")
      yield* Effect.scoped(Effect.flatMap(Call.make(desk), (call) => Call.begin(call, "Stay", "b")))
      yield* settle
      assert.isTrue(staying.pollUnsafe() !== undefined)
      assert.deepStrictEqual(entries, [])
    }))
})
