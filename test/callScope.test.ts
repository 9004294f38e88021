/** The scope that a routine finds: that of its call. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Logger, Queue, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  Binding,
  Call,
  type Channel,
  ContextHandle,
  Interface,
  Manager,
  Server,
  ServerCall,
  type Status
} from "../mod.ts"
import { arrivalOf, makeClient } from "./accept.ts"
import { Denied, Job1, outcome, settle, start } from "./fixtures.ts"
import { hostOf } from "./host.ts"
import { serverImpl } from "./internals.ts"

type Run = ServerCall.Of<typeof Job1, "Run">

interface Ended {
  /** The routine, behind what it acquires; one that is handed off leaves the call to `end`. */
  readonly routine: Effect.Effect<string, Denied | Status.RpcFault>
  readonly handedOff?: boolean
  /** Ends the call, where the routine does not. */
  readonly end?: (world: {
    readonly call: Run
    readonly remote: Channel.Remote
    readonly leave: Effect.Effect<void>
    readonly shutdown: Effect.Effect<void>
  }) => Effect.Effect<unknown, unknown>
  /** What the finalizer sees: the value, the failure, or the tag of the first reason. */
  readonly exit: unknown
  readonly log: ReadonlyArray<string>
}

const replied = ["reply", "fork interrupted", "released"]

const unheard = ["fork interrupted", "released", "disconnected"]

const ends: Record<string, Ended> = {
  "it replied at once": { routine: Effect.succeed("done"), exit: "done", log: replied },
  "it replied later": { routine: Effect.as(Effect.yieldNow, "done"), exit: "done", log: replied },
  "it was aborted": {
    routine: Effect.fail(new Denied({ who: "me" })),
    exit: "Denied",
    log: replied
  },
  "it died": { routine: Effect.die(new Error("a defect, as expected")), exit: "Die", log: replied },
  "it was cancelled": {
    routine: Effect.never,
    end: ({ remote }) => Effect.sync(() => remote.cancel()),
    exit: "Interrupt",
    log: replied
  },
  "it was orphaned": {
    routine: Effect.never,
    end: ({ remote }) => Effect.sync(() => remote.orphan()),
    exit: "Interrupt",
    log: ["fork interrupted", "released"]
  },
  "its client was gone": { routine: Effect.never, end: ({ leave }) => leave, exit: "Interrupt", log: unheard },
  "it was handed off and completed": {
    routine: Effect.succeed("ignored"),
    handedOff: true,
    end: ({ call }) => ServerCall.complete(call, "done"),
    exit: "done",
    log: replied
  },
  "it was handed off and aborted": {
    routine: Effect.succeed("ignored"),
    handedOff: true,
    end: ({ call }) => ServerCall.abort(call, new Denied({ who: "me" })),
    exit: "Denied",
    log: replied
  },
  "it was handed off and its client was gone": {
    routine: Effect.succeed("ignored"),
    handedOff: true,
    end: ({ leave }) => leave,
    exit: "Interrupt",
    log: unheard
  },
  "it was too old": {
    routine: Effect.never,
    end: () => TestClock.adjust("1 minute"),
    exit: "RpcFault",
    log: replied
  },
  "its server was shut down": {
    routine: Effect.never,
    end: ({ shutdown }) => Effect.all([shutdown, TestClock.adjust("5 seconds")], { concurrency: 2 }),
    exit: "RpcTransportError",
    log: replied
  }
}

const seenAs = (exit: Exit.Exit<unknown, unknown>): unknown => {
  if (exit._tag === "Success") return exit.value
  const reason = exit.cause.reasons[0]!
  return reason._tag === "Fail" ? (reason.error as { readonly _tag: string })._tag : reason._tag
}

describe("what a routine acquires and forks", () => {
  for (const [title, { end, exit, handedOff = false, log: expected, routine }] of Object.entries(ends)) {
    it.effect(`${title}: is released behind the reply, with the exit of the call`, () =>
      Effect.gen(function* () {
        const log: Array<string> = []
        const exits: Array<unknown> = []
        const calls = yield* Queue.unbounded<Run>()
        const acquiring = (_: string, call: Run) =>
          Effect.gen(function* () {
            yield* Effect.acquireRelease(Effect.void, (_, exit) =>
              Effect.sync(() => {
                log.push("released")
                exits.push(seenAs(exit))
              }))
            yield* ServerCall.fork(
              call,
              Effect.onInterrupt(Effect.never, () => Effect.sync(() => void log.push("fork interrupted")))
            )
            yield* Queue.offer(calls, call)
            return yield* routine
          })
        const manager = Manager.make(Job1, { Run: (handedOff ? Manager.handOff(acquiring) : acquiring) as never })
        const serving = yield* Scope.make()
        const server = yield* Scope.provide(Server.make([manager], { maximumAge: "1 minute" }), serving)
        const connected = yield* Scope.make()
        const origin = yield* Scope.provide(makeClient(server), connected)
        const arrival = arrivalOf({ origin, interface: Job1, input: "a", log })
        Server.accept(server, arrival.incoming)
        const call = yield* Queue.take(calls)
        yield* settle
        if (end !== undefined) {
          assert.deepStrictEqual(log, ["decode", "accepted"])
          yield* end({
            call,
            remote: arrival.remote!,
            leave: Scope.close(connected, Exit.void),
            shutdown: Scope.close(serving, Exit.void)
          })
        }
        yield* settle
        assert.deepStrictEqual(log.slice(2), expected)
        assert.deepStrictEqual(exits, [exit])
      }).pipe(Effect.provide(Logger.layer([]))))
  }

  it.effect("work in ServerCall.server(call): outlives the call, and ends with the server", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const manager = Manager.make(Job1, {
        Run: (input, call) =>
          Effect.as(
            Effect.forkIn(
              Effect.onInterrupt(
                Effect.andThen(
                  Effect.sleep("1 second"),
                  Effect.andThen(Effect.sync(() => void log.push("worked")), Effect.never)
                ),
                () => Effect.sync(() => void log.push("interrupted"))
              ),
              ServerCall.server(call)
            ),
            input
          )
      })
      const serving = yield* Scope.make()
      const server = yield* Scope.provide(Server.make([manager]), serving)
      const job = yield* Binding.local(server, Job1)
      assert.strictEqual(yield* Call.invoke(job, "Run", "a"), "a")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(log, ["worked"])
      yield* Scope.close(serving, Exit.void)
      assert.deepStrictEqual(log, ["worked", "interrupted"])
    }))

  it.effect("work that is tied by run when another fiber completes: the scope stays open until that work ends", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const calls = yield* Queue.unbounded<Run>()
      const manager = Manager.make(Job1, {
        Run: Manager.handOff((_, call) =>
          Effect.gen(function* () {
            yield* Effect.addFinalizer(() => Effect.sync(() => void log.push("released")))
            const work = Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => (log.push("worked"), "late")))
            yield* Effect.forkIn(Effect.exit(ServerCall.run(call, work)), ServerCall.server(call))
            yield* Queue.offer(calls, call)
          })
        )
      })
      const job = yield* Binding.local(yield* Server.make([manager]), Job1)
      const running = yield* start(Call.invoke(job, "Run", "a"))
      const call = yield* Queue.take(calls)
      yield* settle
      yield* ServerCall.complete(call, "first")
      assert.strictEqual(yield* Fiber.join(running), "first")
      assert.deepStrictEqual(log, [])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(log, ["worked", "released"])
    }))

  it.effect("a call that waits for a handle of the call: its routine runs behind the finalizers", () =>
    Effect.gen(function* () {
      const Box = ContextHandle.make("Box")
      const IBox = Interface.make("IBox", {
        uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c2d01",
        version: [1, 0],
        methods: {
          Open: Interface.method({ out: { box: Box } }),
          Use: Interface.method({ in: { box: Box, name: Schema.String } })
        }
      })
      const log: Array<string> = []
      const gate = yield* Deferred.make<void>()
      const boxes = ContextHandle.states<string>()(Box)
      const manager = Manager.make(IBox, {
        Open: (_, call) => Effect.map(boxes.open(call, Effect.succeed("box")), (box) => ({ box })),
        Use: ({ name }) =>
          Effect.gen(function* () {
            log.push(`${name} runs`)
            yield* Effect.addFinalizer(() =>
              Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => void log.push(`${name} released`)))
            )
            yield* Deferred.await(gate)
          })
      })
      const binding = yield* Binding.local(yield* Server.make([manager]), IBox)
      const { box } = yield* Call.invoke(binding, "Open")
      const uses = yield* Effect.forEach(
        ["first", "second"],
        (name) => start(Call.invoke(binding, "Use", { box, name }))
      )
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(uses[0]!)
      yield* settle
      assert.deepStrictEqual(log, ["first runs"])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(log, ["first runs", "first released", "second runs"])
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(uses[1]!)
    }))

  it.effect("a finalizer that dies: is logged, and harms neither its call nor the next one nor the shutdown", () =>
    Effect.gen(function* () {
      const logged: Array<string> = []
      const logger = Logger.make(({ message }) => void logged.push(String(message)))
      yield* Effect.gen(function* () {
        const serving = yield* Scope.make()
        const later = (input: string) => input === "later" ? Effect.yieldNow : Effect.void
        const manager = Manager.make(Job1, {
          Run: (input) =>
            Effect.as(
              Effect.addFinalizer(() => Effect.andThen(later(input), Effect.die(new Error("as expected")))),
              input
            )
        })
        const server = yield* Scope.provide(Server.make([manager]), serving)
        for (const bind of [Binding.local, hostOf()]) {
          const job = yield* bind(server, Job1)
          for (const input of ["at once", "later"]) assert.strictEqual(yield* Call.invoke(job, "Run", input), input)
        }
        yield* settle
        yield* Scope.close(serving, Exit.void)
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([logger])))
      assert.strictEqual(logged.length, 4)
      for (const line of logged) assert.include(line, "A finalizer of the call died")
    }))

  it.effect("a scope that a routine closes itself: the call still ends once", () =>
    Effect.gen(function* () {
      const manager = Manager.make(Job1, {
        Run: (input) => Effect.scoped(Effect.as(Effect.addFinalizer(() => Effect.void), input))
      })
      const job = yield* Binding.local(yield* Server.make([manager]), Job1)
      assert.strictEqual(yield* Call.invoke(job, "Run", "a"), "a")
    }))

  it.effect("100,000 calls: leave nothing on the server", () =>
    Effect.gen(function* () {
      let open = 0
      const manager = Manager.make(Job1, {
        Run: (input, call) =>
          Effect.gen(function* () {
            yield* Effect.acquireRelease(Effect.sync(() => open++), () => Effect.sync(() => open--))
            if (input !== "0") return input
            yield* ServerCall.fork(call, Effect.never)
            return yield* Effect.as(Effect.yieldNow, input)
          })
      })
      const serving = yield* Scope.make()
      const server = yield* Scope.provide(Server.make([manager]), serving)
      const job = yield* Binding.local(server, Job1)
      for (let i = 0; i < 100_000; i++) yield* Call.invoke(job, "Run", String(i % 100))
      yield* settle
      const { endings, count, held, scope } = serverImpl(server)
      assert.deepStrictEqual([open, endings.size, count, held, scope.state._tag], [0, 0, 0, 0, "Empty"])
      // Held things would make the shutdown wait for the clock.
      yield* Scope.close(serving, Exit.void)
    }), 60_000)
})

describe("hand-offs that fork", () => {
  it.effect("ServerCall.fork of work that is tied to the call: its exit is the reply", () =>
    Effect.gen(function* () {
      const manager = Manager.make(Job1, {
        Run: Manager.handOff((input, call) =>
          ServerCall.fork(call, Effect.exit(ServerCall.run(call, Effect.delay(Effect.succeed(input), "1 second"))))
        )
      })
      const server = yield* Server.make([manager])
      for (const bind of [Binding.local, hostOf()]) {
        const job = yield* bind(server, Job1)
        const running = yield* start(Call.invoke(job, "Run", "a"))
        yield* settle
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* outcome(Fiber.join(running)), { value: "a" })
      }
    }))

  it.effect("ServerCall.fork of a call that has ended: the work does not start", () =>
    Effect.gen(function* () {
      const calls = yield* Queue.unbounded<Run>()
      const manager = Manager.make(Job1, { Run: Manager.handOff((_, call) => Queue.offer(calls, call)) })
      const job = yield* Binding.local(yield* Server.make([manager]), Job1)
      const running = yield* start(Call.invoke(job, "Run", "a"))
      const call = yield* Queue.take(calls)
      yield* ServerCall.complete(call, "done")
      yield* Fiber.join(running)
      let started = false
      const fiber = yield* ServerCall.fork(call, Effect.sync(() => started = true))
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      assert.isFalse(started)
    }))
})
