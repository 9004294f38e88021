/**
 * After each scenario nothing is left: no fiber, no timer, no entry in a table, no unhandled rejection.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import {
  Cause,
  Clock,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Metric,
  Queue,
  Schema,
  Scope,
  Stream
} from "effect"
import { TestClock } from "effect/testing"
import process from "node:process"
import {
  Binding,
  Call,
  ContextHandle,
  Interface,
  Manager,
  Pipe,
  Server,
  ServerCall,
  Status,
  Synchronize
} from "../mod.ts"
import { assertFailure } from "./fixtures.ts"
import { serverImpl } from "./internals.ts"

class Refused extends Schema.TaggedError<Refused>()("Refused", {}) {}

const Box = ContextHandle.make("Box")

const IWork = Interface.make("IWork", {
  uuid: "a6d9d0b3-0d3c-4f8e-9a55-3d0f2c6b7e18",
  version: [1, 0],
  methods: {
    Now: Interface.method({ in: Schema.Int, out: Schema.Int, aborts: [Interface.abort(77, Refused)] }),
    Never: Interface.method({ out: Schema.Int }),
    Cooperative: Interface.method({ out: Schema.Int }),
    Throws: Interface.method({ out: Schema.Int }),
    Kept: Interface.method({ out: Schema.Int }),
    Slow: Interface.method({ in: Schema.Int, out: Schema.Int }),
    Open: Interface.method({ out: { box: Box } }),
    Use: Interface.method({ in: { box: Box } }),
    Close: Interface.method({ in: { box: Box }, out: { box: ContextHandle.nullable(Box) } }),
    Sum: Interface.method({ inPipe: { numbers: Schema.Int }, out: Schema.Int }),
    Count: Interface.method({ in: Schema.Int, outPipe: { numbers: Schema.Int } }),
    Piped: Interface.method({ inPipe: { there: Schema.Int }, outPipe: { back: Schema.Int } })
  }
})

interface World {
  readonly server: Server.Server
  readonly binding: Binding.Binding<typeof IWork>
  readonly kept: Queue.Queue<ServerCall.ServerCall<(typeof IWork)["methods"]["Kept"]>>
}

const makeWorld = (options?: Server.Options & Binding.LocalOptions) =>
  Effect.gen(function* () {
    const kept = yield* Queue.unbounded<ServerCall.ServerCall<(typeof IWork)["methods"]["Kept"]>>()
    const boxes = ContextHandle.states<string>()(Box)
    const box = Effect.acquireRelease(Effect.succeed("box"), () => Effect.sleep("1 second"))
    const manager = Manager.make(IWork, {
      Open: (_, call) => Effect.map(boxes.open(call, box), (box) => ({ box })),
      Use: ({ box }, call) => Effect.andThen(boxes.get(call, box), Effect.never),
      Close: ({ box }, call) => Effect.map(boxes.close(call, box), (box) => ({ box })),
      Now: (n) => n >= 0 ? Effect.succeed(n) : Effect.fail(new Refused()),
      Never: () => Effect.never,
      Cooperative: (_, call) => Effect.as(ServerCall.awaitCancel(call), 1),
      Throws: () => {
        throw new Error("a defect, as expected")
      },
      Kept: Manager.handOff((_, call) => Queue.offer(kept, call)),
      Slow: (millis) => Effect.delay(Effect.succeed(millis), millis),
      Sum: (_, call) => Stream.runFold(Pipe.toStream(ServerCall.inPipe(call, "numbers")), () => 0, (a, b) => a + b),
      Count: (to, call) => Stream.run(Stream.range(1, to), Pipe.toSink(ServerCall.outPipe(call, "numbers"))),
      Piped: () => Effect.never
    }, { cancellation: { Cooperative: "cooperative" } })
    const server = yield* Server.make([manager], { grace: 0, ...options })
    const binding = yield* Binding.local(server, IWork, options)
    return { server, binding, kept } satisfies World
  })

/** How many fibers are running now, by Effect's own count, without the one that asks. */
const fibersActive = Effect.map(
  Metric.snapshot,
  (metrics) =>
    metrics.filter(({ id }) => id === "child_fibers_active").reduce(
      (sum, metric) => sum + (metric.state as { readonly value: number }).value,
      0
    )
)

/** The clock of the test, with a count of the timers that are running. */
const countingClock = (clock: Clock.Clock): Clock.Clock & { readonly timers: () => number } => {
  let timers = 0
  const counting: Pick<Clock.Clock, "sleep"> = {
    sleep: (duration) =>
      Effect.suspend(() => {
        timers++
        return Effect.ensuring(clock.sleep(duration), Effect.sync(() => timers--))
      })
  }
  return Object.assign(Object.create(clock) as Clock.Clock, counting, { timers: () => timers })
}

/** Runs a scenario in a scope of its own; afterwards everything is as before. */
const leavesNothing = <E>(
  scenario: (world: World) => Effect.Effect<unknown, E, Scope.Scope>,
  options?: Server.Options & Binding.LocalOptions
) =>
  Effect.gen(function* () {
    const clock = countingClock(yield* Clock.Clock)
    yield* Effect.gen(function* () {
      const before = yield* fibersActive
      const scope = yield* Scope.make()
      const world = yield* Scope.provide(makeWorld(options), scope)
      yield* Effect.scoped(scenario(world))
      // The client is gone, the server still there.
      assert.strictEqual((yield* Server.calls(world.server)).length, 0, "calls in progress")
      assert.strictEqual(serverImpl(world.server).count, 0, "entries in the server's table")
      assert.strictEqual(yield* fibersActive, before, "fibers while the server is open")
      assert.strictEqual(clock.timers(), 0, "timers while the server is open")
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* fibersActive, before, "fibers")
      assert.deepStrictEqual(serverImpl(world.server).snapshot(), [])
    }).pipe(Effect.provideService(Clock.Clock, clock))
    assert.strictEqual(clock.timers(), 0, "timers")
  }).pipe(
    Effect.provide(
      Layer.mergeAll(
        Metric.enableRuntimeMetricsLayer,
        Layer.succeed(Metric.MetricRegistry, new Map()),
        Logger.layer([Logger.make(() => {})])
      )
    )
  )

const rejections: Array<unknown> = []
const onRejection = (reason: unknown) => void rejections.push(reason)

describe("nothing is left", () => {
  beforeAll(() => void process.on("unhandledRejection", onRejection))
  afterAll(() => {
    process.off("unhandledRejection", onRejection)
    assert.deepStrictEqual(rejections, [])
  })

  it.effect("calls replied, aborted and faulted: nothing is left", () =>
    leavesNothing(({ binding }) =>
      Effect.gen(function* () {
        const call = yield* Call.make(binding)
        yield* Call.join(yield* Call.begin(call, "Now", 1))
        yield* Effect.flip(Call.join(yield* Call.begin(call, "Now", -1)))
        yield* Effect.flip(Call.join(yield* Call.begin(call, "Throws")))
        yield* Effect.flip(Call.invoke(binding, "Throws"))
      })
    ))

  it.effect("calls on context handles wait, are cancelled and orphaned, handles closed or kept: nothing is left", () =>
    leavesNothing(({ server }) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const binding = yield* Scope.provide(Binding.local(server, IWork), scope)
        const [one, two] = [yield* Call.invoke(binding, "Open"), yield* Call.invoke(binding, "Open")]
        const closing = yield* Call.begin(yield* Call.make(binding), "Close", one)
        yield* TestClock.adjust("1 second")
        yield* Call.join(closing)
        const begin = Effect.flatMap(Call.make(binding), (call) => Call.begin(call, "Use", two))
        const using = yield* begin
        yield* Call.cancel(yield* begin)
        yield* Effect.scoped(begin)
        yield* Call.cancel(using, { timeout: Infinity })
        yield* Effect.exit(Call.join(using))
        yield* begin
        yield* begin
        yield* Scope.close(scope, Exit.void)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(serverImpl(server).handles.size, 0, "context handles")
      })
    ))

  it.effect("call whose result nobody took: nothing is left", () =>
    leavesNothing(({ binding }) =>
      Effect.gen(function* () {
        yield* Call.begin(yield* Call.make(binding), "Now", 1)
      })
    ))

  it.effect("calls forgotten while pending: nothing is left", () =>
    leavesNothing(({ binding, kept }) =>
      Effect.gen(function* () {
        for (const method of ["Never", "Cooperative", "Kept"] as const) {
          yield* Effect.scoped(Effect.flatMap(Call.make(binding), (call) => Call.begin(call, method as "Never")))
        }
        const call = yield* Queue.take(kept)
        assert.strictEqual((yield* Effect.flip(ServerCall.complete(call, 1)))._tag, "InvalidAsyncHandle")
      })
    ))

  it.effect("abortive, patient and shortened cancels: nothing is left", () =>
    leavesNothing(({ binding, kept }) =>
      Effect.gen(function* () {
        for (const method of ["Never", "Cooperative", "Kept"] as const) {
          const call = yield* Call.make(binding)
          const abortive = yield* Call.begin(call, method as "Never")
          yield* Call.cancel(abortive, { timeout: 0 })
          yield* Effect.exit(Call.join(abortive))
          const patient = yield* Call.begin(call, method as "Never")
          yield* Call.cancel(patient, { timeout: "1 hour" })
          yield* Effect.ignore(Call.cancel(patient, { timeout: "1 minute" }))
          yield* TestClock.adjust("1 minute")
          yield* Effect.exit(Call.join(patient))
        }
        // The kept calls go on for the server until it completes them.
        for (const call of yield* Queue.takeAll(kept)) yield* ServerCall.complete(call, 1)
      })
    ))

  it.effect("cancel answered within its timeout: nothing is left", () =>
    leavesNothing(({ binding, kept }) =>
      Effect.gen(function* () {
        const pending = yield* Call.begin(yield* Call.make(binding), "Kept")
        yield* Call.cancel(pending, { timeout: "1 hour" })
        yield* ServerCall.complete(yield* Queue.take(kept), 5)
        assert.strictEqual(yield* Call.join(pending), 5)
      })
    ))

  it.effect("one-shot calls interrupted, timed out, raced and retried: nothing is left", () =>
    leavesNothing(({ binding }) =>
      Effect.gen(function* () {
        const interrupted = yield* Effect.forkChild(Call.invoke(binding, "Never"), { startImmediately: true })
        yield* Fiber.interrupt(interrupted)
        const timedOut = yield* Effect.forkChild(Effect.exit(Effect.timeout(Call.invoke(binding, "Never"), "1 second")))
        yield* TestClock.adjust("1 second")
        yield* Fiber.await(timedOut)
        assert.strictEqual(yield* Effect.race(Call.invoke(binding, "Never"), Call.invoke(binding, "Now", 3)), 3)
        yield* Effect.exit(Effect.retry(Call.invoke(binding, "Now", -1), { times: 3 }))
        const patient = yield* Effect.forkChild(Call.invoke(binding, "Cooperative", { cancelTimeout: "1 second" }), {
          startImmediately: true
        })
        yield* Fiber.interrupt(patient)
      })
    ))

  it.effect("waiters interrupted, timed out and released: nothing is left", () =>
    leavesNothing(({ binding }) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const call = yield* Scope.provide(Call.make(binding), scope)
        const pending = yield* Call.begin(call, "Never")
        const event = yield* Synchronize.make()
        const container = yield* Synchronize.container<Synchronize.Waitable.Any>()
        yield* Synchronize.add(container, pending)
        yield* Synchronize.add(container, event)
        const waiters = yield* Effect.forEach(
          [
            Call.wait(pending),
            Call.wait(pending, "1 hour"),
            Effect.asVoid(Call.join(pending)),
            Effect.asVoid(Synchronize.waitAny([event, pending])),
            Synchronize.waitAll([event, pending], "1 hour"),
            Effect.asVoid(Synchronize.waitMultiple(container)),
            Stream.runDrain(Call.states(call))
          ] as ReadonlyArray<Effect.Effect<void, unknown>>,
          (wait) => Effect.forkChild(Effect.exit(wait), { startImmediately: true })
        )
        yield* Call.onComplete(pending, Effect.never)
        yield* Fiber.interruptAll(waiters.slice(0, 3))
        yield* Scope.close(scope, Exit.void)
        yield* Synchronize.signal(event)
        yield* Fiber.awaitAll(waiters)
      })
    ))

  it.effect("completion callbacks that never end, queues that nobody reads: nothing is left", () =>
    leavesNothing(({ binding }) =>
      Effect.gen(function* () {
        const pending = yield* Call.begin(yield* Call.make(binding), "Now", 1)
        const queue = yield* Queue.unbounded<Call.Completion<string, typeof pending>>()
        yield* Call.onComplete(pending, Effect.never)
        yield* Call.onComplete(pending, Effect.die("as expected"))
        yield* Call.notify(pending, queue, "done")
      })
    ))

  it.effect("work tied to calls: nothing is left", () =>
    leavesNothing(({ binding, kept }) =>
      Effect.gen(function* () {
        const worker = yield* Effect.forkChild(
          Effect.forever(Effect.flatMap(Queue.take(kept), (call) => Effect.ignore(ServerCall.run(call, Effect.never))))
        )
        for (let i = 0; i < 3; i++) {
          const pending = yield* Call.begin(yield* Call.make(binding), "Kept")
          yield* Call.cancel(pending, { timeout: Infinity })
          assert.strictEqual((yield* Effect.flip(Call.join(pending)))._tag, "CallCancelled")
        }
        yield* Effect.scoped(Effect.flatMap(Call.make(binding), (call) => Call.begin(call, "Kept")))
        yield* Fiber.interrupt(worker)
      })
    ))

  it.effect("streams and sinks ended, failed, stopped and interrupted: nothing is left", () =>
    leavesNothing(({ binding }) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* Stream.run(Stream.range(1, 10), Call.sink(binding, "Sum")), 55)
        assert.strictEqual(yield* Stream.runCount(Call.stream(binding, "Count", 10_000)), 10_000)
        yield* Effect.flip(Stream.run(Stream.fail("broken"), Call.sink(binding, "Sum")))
        yield* Call.stream(binding, "Count", 1_000_000).pipe(Stream.take(3), Stream.runDrain)
        for (const endless of [Stream.never, Stream.iterate(1, (n) => n + 1)]) {
          const running = yield* Effect.forkChild(Stream.run(endless, Call.sink(binding, "Sum")), {
            startImmediately: true
          })
          yield* Effect.yieldNow
          yield* Fiber.interrupt(running)
        }
      })
    ))

  it.effect("calls given up while both sides waited at their pipes: nothing is left", () =>
    leavesNothing(({ binding }) =>
      Effect.gen(function* () {
        for (const deed of ["release", "cancel", "patient"] as const) {
          const scope = yield* Scope.make()
          const call = yield* Scope.provide(Call.make(binding), scope)
          const pending = yield* Call.begin(call, "Piped")
          const pushing = Effect.forever(Pipe.push(Call.inPipe(pending, "there"), [1]), { disableYield: true })
          const waiting = yield* Effect.forEach(
            [Effect.flip(pushing), Effect.flip(Call.join(pending)), Effect.flip(Call.wait(pending))],
            (wait) => Effect.forkChild(wait, { startImmediately: true })
          )
          yield* Effect.yieldNow
          if (deed !== "release") yield* Call.cancel(pending, { timeout: deed === "cancel" ? 0 : "1 hour" })
          yield* Scope.close(scope, Exit.void)
          yield* Fiber.awaitAll(waiting)
        }
      })
    ))

  it.effect("server shut down with calls in flight: nothing is left", () =>
    Effect.gen(function* () {
      let ended: Array<string> = []
      yield* leavesNothing(() =>
        Effect.gen(function* () {
          const scope = yield* Scope.make()
          const { binding, server } = yield* Scope.provide(makeWorld({ grace: "1 second" }), scope)
          const pendings = yield* Effect.forEach(
            ["Never", "Cooperative", "Kept"] as const,
            (method) => Effect.flatMap(Call.make(binding), (call) => Call.begin(call, method as "Never"))
          )
          const inTime = yield* Call.begin(yield* Call.make(binding), "Slow", 500)
          // The binding was made after the server, so it would close first: the server's end alone is looked at.
          const closing = yield* Effect.forkChild(serverImpl(server).shutdown)
          yield* TestClock.adjust("1 second")
          yield* Fiber.join(closing)
          assert.strictEqual(yield* Call.join(inTime), 500)
          ended = yield* Effect.forEach(
            pendings,
            (pending) => Effect.map(Effect.flip(Call.join(pending)), (error) => error._tag)
          )
          yield* Scope.close(scope, Exit.void)
        })
      )
      assert.deepStrictEqual(ended, ["RpcTransportError", "RpcTransportError", "RpcTransportError"])
    }))

  it.effect("calls beyond maximumAge: nothing is left", () =>
    leavesNothing(({ binding }) =>
      Effect.gen(function* () {
        const pending = yield* Call.begin(yield* Call.make(binding), "Never")
        yield* TestClock.adjust("1 minute")
        const error = yield* Effect.flip(Call.join(pending))
        assertFailure(error, new Status.RpcFault({ code: 1460 }))
      }), { maximumAge: "1 minute" }))

  it.effect(
    "ten thousand calls, replied, cancelled and forgotten in turns: nothing is left",
    () =>
      leavesNothing(({ binding }) =>
        Effect.gen(function* () {
          for (let i = 0; i < 10_000; i++) {
            yield* Effect.scoped(
              Effect.gen(function* () {
                const call = yield* Call.make(binding)
                const pending = yield* Call.begin(call, i % 3 === 0 ? "Now" : "Never" as "Now", i)
                if (i % 3 === 1) yield* Call.cancel(pending)
                if (i % 3 !== 2) yield* Effect.exit(Call.finish(pending))
              })
            )
          }
        })
      ),
    60_000
  )

  it.effect("fiber interrupted as its call is begun: nothing is left", () =>
    leavesNothing(({ binding, server }) =>
      Effect.gen(function* () {
        // The routine itself interrupts the client, so the interruption arrives while the call is being issued.
        const victim: { fiber?: Fiber.Fiber<unknown, unknown> } = {}
        const IKill = Interface.make("IKill", {
          uuid: "f3a0a2f5-55a5-4f63-b4a6-5a0d1a9f2a77",
          version: [1, 0],
          methods: { Kill: Interface.method({}) }
        })
        const killer = yield* Server.make([
          Manager.make(IKill, {
            Kill: () =>
              Effect.suspend(() => {
                victim.fiber!.interruptUnsafe()
                return Effect.never
              })
          })
        ], { grace: 0 })
        const kill = yield* Binding.local(killer, IKill)
        const started = yield* Deferred.make<void>()
        victim.fiber = yield* Effect.forkChild(Effect.andThen(Deferred.await(started), Call.invoke(kill, "Kill")), {
          startImmediately: true
        })
        yield* Deferred.succeed(started, void 0)
        const exit = yield* Fiber.await(victim.fiber)
        assert.isTrue(exit._tag === "Failure" && Cause.hasInterruptsOnly(exit.cause))
        assert.strictEqual((yield* Server.calls(killer)).length, 0)
        void [binding, server]
      })
    ))
})
