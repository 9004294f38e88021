/** Managers that come and go while their server serves. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Queue, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Binding, Call, Interface, Manager, Server, ServerCall } from "../mod.ts"
import { isWaiting, Job1, outcome, settle, start } from "./fixtures.ts"

const objects = ["5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c2e01", "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c2e02"] as const

const says = (text: string, object?: string) =>
  Manager.make(Job1, { Run: (input) => Effect.succeed(`${text} ${input}`) }, { object })

/** Adds a manager in a scope of its own, which the test closes. */
const adding = Effect.fnUntraced(function* (server: Server.Server, manager: Manager.Manager<typeof Job1, never>) {
  const scope = yield* Scope.make()
  yield* Scope.provide(Server.add(server, manager), scope)
  return { remove: Scope.close(scope, Exit.void) }
})

const fault = (code: number) => ({ _tag: "RpcFault", code, didNotExecute: true }) as const

describe("managers of several objects", () => {
  it.effect("calls of an object: go to its manager, and calls of others to the manager for all", () =>
    Effect.gen(function* () {
      const server = yield* Server.make([says("all")])
      yield* Server.add(server, says("one", objects[0]))
      for (const [object, expected] of [[objects[0], "one"], [objects[1], "all"], [undefined, "all"]] as const) {
        const job = yield* Binding.local(server, Job1, { object })
        assert.strictEqual(yield* Call.invoke(job, "Run", "a"), `${expected} a`)
      }
    }))

  it.effect("a binding made before its object goes and comes: is refused with 1732 meanwhile", () =>
    Effect.gen(function* () {
      const server = yield* Server.make([says("other", objects[1])])
      const first = yield* adding(server, says("one", objects[0]))
      const job = yield* Binding.local(server, Job1, { object: objects[0] })
      assert.strictEqual(yield* Call.invoke(job, "Run", "a"), "one a")
      yield* first.remove
      assert.deepInclude(yield* Effect.flip(Call.invoke(job, "Run", "a")), fault(1732))
      assert.strictEqual(Server.offers(server, Job1, { object: objects[0] }), undefined)
      const second = yield* adding(server, says("again", objects[0]))
      assert.strictEqual(yield* Call.invoke(job, "Run", "a"), "again a")
      yield* second.remove
    }))

  it.effect("the last manager of an interface goes: its calls are refused with 1717", () =>
    Effect.gen(function* () {
      const server = yield* Server.make([])
      const { remove } = yield* adding(server, says("one"))
      const job = yield* Binding.local(server, Job1)
      assert.strictEqual(Server.interfaces(server).length, 1)
      yield* remove
      assert.deepInclude(yield* Effect.flip(Call.invoke(job, "Run", "a")), fault(1717))
      assert.deepStrictEqual(Server.interfaces(server), [])
    }))

  it.effect("a second manager for the same object: dies with a TypeError, and the first goes on", () =>
    Effect.gen(function* () {
      const server = yield* Server.make([])
      yield* Server.add(server, says("first", objects[0]))
      const exit = yield* Effect.exit(adding(server, says("second", objects[0].toUpperCase())))
      const defect = exit._tag === "Failure" ? Cause.squash(exit.cause) : undefined
      assert.instanceOf(defect, TypeError)
      assert.include(String(defect), objects[0])
      const job = yield* Binding.local(server, Job1, { object: objects[0] })
      assert.strictEqual(yield* Call.invoke(job, "Run", "a"), "first a")
    }))

  it.effect("two versions of one interface: each call goes to the highest that is compatible, as they come and go", () =>
    Effect.gen(function* () {
      const version = (minor: number) =>
        Interface.make("IVersion", {
          uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c2e10",
          version: [1, minor],
          methods: { Which: Interface.method({ out: Schema.Int }) }
        })
      const serve = (minor: number) => Manager.make(version(minor), { Which: () => Effect.succeed(minor) })
      const server = yield* Server.make([serve(1)])
      const client = yield* Binding.local(server, version(0))
      assert.strictEqual(yield* Call.invoke(client, "Which"), 1)
      yield* Effect.scoped(Effect.gen(function* () {
        yield* Server.add(server, serve(3))
        yield* Server.add(server, serve(2))
        assert.strictEqual(yield* Call.invoke(client, "Which"), 3)
      }))
      assert.strictEqual(yield* Call.invoke(client, "Which"), 1)
      assert.deepInclude(Server.offers(server, version(0)), { object: undefined })
    }))
})

describe("the surroundings of an added manager", () => {
  const Name = Context.Service<"name", string>("test/Name")

  it.effect("its services: come from the context of Server.add, and the server's stay as they are", () =>
    Effect.gen(function* () {
      const named = (object?: string) =>
        Manager.make(Job1, {
          Run: () =>
            Effect.gen(function* () {
              return yield* Name
            })
        }, { object })
      const server = yield* Effect.provideService(Server.make([named()]), Name, "the server's")
      yield* Effect.provideService(Server.add(server, named(objects[0])), Name, "its own")
      const names: Array<string> = []
      for (const object of [undefined, objects[0]]) {
        names.push(yield* Call.invoke(yield* Binding.local(server, Job1, { object }), "Run", "a"))
      }
      assert.deepStrictEqual(names, ["the server's", "its own"])
    }))

  it.effect("its middleware: runs around its routines alone", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const watched = Manager.middleware(says("one", objects[0]), (routine, call) =>
        Effect.andThen(Effect.sync(() => void log.push(ServerCall.operation(call).name)), routine))
      const server = yield* Server.make([says("all")])
      yield* Server.add(server, watched)
      for (const object of [undefined, objects[0]]) {
        yield* Call.invoke(yield* Binding.local(server, Job1, { object }), "Run", "a")
      }
      assert.deepStrictEqual(log, ["Run"])
    }))
})

describe("a manager that goes while calls are in progress", () => {
  const makeHeld = Effect.gen(function* () {
    const held = yield* Queue.unbounded<ServerCall.Of<typeof Job1, "Run">>()
    const server = yield* Server.make([says("all")], { grace: "5 seconds" })
    const { remove } = yield* adding(
      server,
      Manager.make(Job1, { Run: Manager.handOff((_, call) => Queue.offer(held, call)) }, { object: objects[0] })
    )
    const job = yield* Binding.local(server, Job1, { object: objects[0] })
    return { held, job, remove, server }
  })

  it.effect("a call that replies in the period of grace: its client has the reply; a later one ends with 1726", () =>
    Effect.gen(function* () {
      const { held, job, remove, server } = yield* makeHeld
      const [first, second] = [yield* start(Call.invoke(job, "Run", "a")), yield* start(Call.invoke(job, "Run", "b"))]
      const call = yield* Queue.take(held)
      const removing = yield* start(remove)
      // Without its own manager the object is served by the one for all.
      assert.strictEqual(yield* Call.invoke(job, "Run", "new"), "all new")
      yield* TestClock.adjust("4999 millis")
      yield* ServerCall.complete(call, "in time")
      assert.strictEqual(yield* Fiber.join(first), "in time")
      assert.isTrue(yield* isWaiting(removing))
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(removing)
      assert.deepInclude(yield* Effect.flip(Fiber.join(second)), { _tag: "RpcTransportError", status: 1726 })
      assert.deepStrictEqual(yield* Server.calls(server), [])
    }))

  it.effect("the last call ends: nobody waits for the rest of the period of grace", () =>
    Effect.gen(function* () {
      const { held, job, remove } = yield* makeHeld
      yield* start(Call.invoke(job, "Run", "a"))
      const call = yield* Queue.take(held)
      const removing = yield* start(remove)
      assert.isTrue(yield* isWaiting(removing))
      yield* ServerCall.complete(call, "done")
      yield* Fiber.join(removing)
    }))

  it.effect("calls of other managers: are left alone", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<string>()
      const server = yield* Server.make([Manager.make(Job1, { Run: () => Deferred.await(gate) })])
      const { remove } = yield* adding(server, says("one", objects[0]))
      const running = yield* start(Call.invoke(yield* Binding.local(server, Job1), "Run", "a"))
      yield* remove
      yield* Deferred.succeed(gate, "done")
      assert.deepStrictEqual(yield* outcome(Fiber.join(running)), { value: "done" })
    }))

  it.effect("a routine of the manager removes it: waits neither for itself nor for the clock, and still replies", () =>
    Effect.gen(function* () {
      const released = yield* Deferred.make<void>()
      const scope = yield* Scope.make()
      yield* Scope.addFinalizer(scope, Effect.asVoid(Deferred.succeed(released, undefined)))
      const server = yield* Server.make([])
      const manager = Manager.make(Job1, { Run: (input) => Effect.as(Scope.close(scope, Exit.void), input) })
      yield* Scope.provide(Server.add(server, manager), scope)
      const job = yield* Binding.local(server, Job1)
      const running = yield* start(Call.invoke(job, "Run", "a"))
      yield* Deferred.await(released)
      assert.strictEqual(yield* Fiber.join(running), "a")
      yield* settle
      assert.deepStrictEqual(yield* Server.calls(server), [])
    }))
})

// ----------------------------------------------------------------------------
// cost
// ----------------------------------------------------------------------------

const uuidOf = (n: number) => `5d0a1c9e-33b7-4a52-8f0b-${n.toString(16).padStart(12, "0")}`

/** The shortest of several runs, in milliseconds. */
const fastest = <E, R>(run: Effect.Effect<unknown, E, R>) =>
  Effect.map(
    Effect.forEach(Array.from({ length: 5 }), () =>
      Effect.suspend(() => {
        const before = performance.now()
        return Effect.map(run, () => performance.now() - before)
      })),
    (times) => Math.min(...times)
  )

describe("cost", () => {
  it.effect(
    "10,000 objects instead of 10: finding the manager of one takes at most ten times as long",
    () =>
      Effect.gen(function* () {
        const lookups = (count: number) =>
          Effect.scoped(Effect.gen(function* () {
            const server = yield* Server.make([])
            for (let i = 0; i < count; i++) yield* Server.add(server, says("one", uuidOf(i)))
            const object = uuidOf(count - 1)
            return yield* fastest(Effect.sync(() => {
              for (let i = 0; i < 2000; i++) Server.offers(server, Job1, { object })
            }))
          }))
        yield* lookups(10)
        const [few, many] = [yield* lookups(10), yield* lookups(10_000)]
        assert.isBelow(many, 10 * few + 1, `${few} ms, ${many} ms`)
      }),
    60_000
  )

  it.effect(
    "10,000 managers added and removed beside as many: takes at most ten times as long as beside none",
    () =>
      Effect.gen(function* () {
        const cycle = (server: Server.Server) =>
          fastest(
            Effect.scoped(
              Effect.forEach(
                Array.from({ length: 500 }),
                (_, i) => Server.add(server, says("one", uuidOf(100_000 + i)))
              )
            )
          )
        const empty = yield* Server.make([])
        const full = yield* Server.make(Array.from({ length: 10_000 }, (_, i) => says("one", uuidOf(i))))
        yield* cycle(empty)
        const [few, many] = [yield* cycle(empty), yield* cycle(full)]
        assert.isBelow(many, 10 * few + 1, `${few} ms, ${many} ms`)
      }),
    60_000
  )

  it.effect(
    "2,000 bindings opened and closed beside 40,000 pending calls: takes at most ten times as long as beside none",
    () =>
      Effect.gen(function* () {
        const manager = Manager.make(Job1, { Run: Manager.handOff(() => Effect.void) })
        const server = yield* Server.make([manager], { grace: 0 })
        const short = Effect.scoped(Effect.gen(function* () {
          const call = yield* Call.make(yield* Binding.local(server, Job1))
          yield* Call.begin(call, "Run", "a")
        }))
        const bindings = fastest(Effect.forEach(Array.from({ length: 2000 }), () => short, { discard: true }))
        yield* bindings
        const alone = yield* bindings
        const job = yield* Binding.local(server, Job1)
        for (let i = 0; i < 40_000; i++) yield* Call.begin(yield* Call.make(job), "Run", "a")
        assert.strictEqual((yield* Server.calls(server)).length, 40_000)
        const beside = yield* bindings
        assert.isBelow(beside, 10 * alone + 1, `${alone} ms, ${beside} ms`)
      }),
    60_000
  )
})
