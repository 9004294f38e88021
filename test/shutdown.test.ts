/** What a shutdown waits for: the period of grace for calls, and the same once more for what they leave behind. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Binding, Call, ContextHandle, Interface, Manager, Server, ServerCall } from "../mod.ts"
import { arrivalOf, makeClient } from "./accept.ts"
import { isWaiting, Job1, settle, start } from "./fixtures.ts"

const Box = ContextHandle.make("Box")

const IWork = Interface.make("IWork", {
  uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c2e01",
  version: [1, 0],
  methods: {
    Work: Interface.method({}),
    Open: Interface.method({ out: { box: Box } }),
    Use: Interface.method({ in: { box: Box } })
  }
})

type Work = Manager.Routine<typeof IWork.methods.Work, Scope.Scope>

const boxes = ContextHandle.states<string>()(Box)

const forEver = Effect.uninterruptible(Effect.never)

/** A server in a scope of its own, and a binding to it. */
const serve = Effect.fnUntraced(function* (work: Work, box: Effect.Effect<string, never, Scope.Scope>) {
  const serving = yield* Scope.make()
  const manager = Manager.make(IWork, {
    Work: work,
    Open: (_, call) => Effect.map(boxes.open(call, box), (box) => ({ box })),
    Use: () => forEver
  }) as Manager.Manager<typeof IWork, never>
  const server = yield* Scope.provide(Server.make([manager], { grace: "1 second" }), serving)
  return { binding: yield* Binding.local(server, IWork), close: Scope.close(serving, Exit.void), manager, server }
})

const plain = Effect.succeed("box")

/** Closes a scope, which takes the given time of the clock. */
const closesAfter = Effect.fnUntraced(function* (close: Effect.Effect<void>, millis: number) {
  const closing = yield* start(close)
  if (millis > 0) {
    assert.isTrue(yield* isWaiting(closing))
    yield* TestClock.adjust(millis - 1)
    assert.isTrue(yield* isWaiting(closing))
    yield* TestClock.adjust(1)
  }
  yield* settle
  assert.isDefined(closing.pollUnsafe())
})

const endless: Record<string, Work> = {
  "a routine that can't be interrupted": () => forEver,
  "a finalizer of a call that is interrupted": () =>
    Effect.andThen(Effect.addFinalizer(() => Effect.never), Effect.never),
  "a finalizer of a call that has ended": () => Effect.addFinalizer(() => Effect.never),
  "work that is tied to a call": Manager.handOff((_, call) => ServerCall.fork(call, ServerCall.run(call, forEver)))
}

describe("work that never ends", () => {
  for (const [title, work] of Object.entries(endless)) {
    it.effect(`${title}: the shutdown ends after twice the period of grace`, () =>
      Effect.gen(function* () {
        const { binding, close } = yield* serve(work, plain)
        yield* start(Effect.exit(Call.invoke(binding, "Work")))
        yield* closesAfter(close, 2000)
      }))

    it.effect(`${title}: the manager goes after twice the period of grace`, () =>
      Effect.gen(function* () {
        const { manager, server } = yield* serve(work, plain)
        const object = "0f4c2f77-93d5-4b0e-a3ad-3c2d6a8f2b10"
        const adding = yield* Scope.make()
        const one = Manager.make(IWork, { Work: work, Open: () => Effect.never, Use: () => Effect.never }, { object })
        yield* Scope.provide(Server.add(server, one as typeof manager), adding)
        yield* start(Effect.exit(Call.invoke(yield* Binding.local(server, IWork, { object }), "Work")))
        yield* closesAfter(Scope.close(adding, Exit.void), 2000)
      }))
  }

  it.effect("a reply that can't be interrupted: the shutdown ends after twice the period of grace", () =>
    Effect.gen(function* () {
      const { close, server } = yield* serve(() => Effect.void, plain)
      const { incoming } = arrivalOf({ origin: yield* makeClient(server), interface: IWork, reply: forEver })
      assert.isUndefined(Server.accept(server, incoming))
      yield* closesAfter(close, 2000)
    }))

  it.effect("a run-down: the shutdown ends after the period of grace", () =>
    Effect.gen(function* () {
      const { binding, close } = yield* serve(() => Effect.void, Effect.acquireRelease(plain, () => Effect.never))
      yield* Call.invoke(binding, "Open")
      yield* closesAfter(close, 1000)
    }))

  it.effect("a call that holds a handle: the shutdown ends after three times the period of grace", () =>
    Effect.gen(function* () {
      const { binding, close } = yield* serve(() => Effect.void, plain)
      const { box } = yield* Call.invoke(binding, "Open")
      yield* start(Effect.exit(Call.invoke(binding, "Use", { box })))
      yield* closesAfter(close, 3000)
    }))

  it.effect("a call that waits for a call of another server, which closes this one: the shutdown ends", () =>
    Effect.gen(function* () {
      const closed = yield* Deferred.make<void>()
      const serving = yield* Scope.make()
      const close = Effect.andThen(Scope.close(serving, Exit.void), Deferred.succeed(closed, undefined))
      const closer = Manager.make(Job1, { Run: (input) => Effect.as(close, input) }, { cancellation: "disabled" })
      const job = yield* Binding.local(yield* Server.make([closer]), Job1)
      const manager = Manager.make(Job1, { Run: (input) => Effect.orDie(Call.invoke(job, "Run", input)) })
      const server = yield* Scope.provide(Server.make([manager], { grace: "1 second" }), serving)
      const running = yield* start(Effect.exit(Call.invoke(yield* Binding.local(server, Job1), "Run", "a")))
      yield* settle
      yield* TestClock.adjust("1999 millis")
      assert.isFalse(yield* Deferred.isDone(closed))
      yield* TestClock.adjust("1 millis")
      yield* Deferred.await(closed)
      yield* Fiber.join(running)
    }))
})

describe("work that ends its own call while it starts", () => {
  const working = (
    cancellation: ServerCall.Cancellation,
    end: (scopes: { readonly client: Effect.Effect<void>; readonly server: Effect.Effect<void> }) => Effect.Effect<void>
  ) =>
    Effect.gen(function* () {
      const [clientScope, serverScope] = [yield* Scope.make(), yield* Scope.make()]
      const ended: Array<string> = []
      const work = Effect.suspend(() =>
        end({ client: Scope.close(clientScope, Exit.void), server: Scope.close(serverScope, Exit.void) })
      ).pipe(Effect.andThen(Effect.never), Effect.onInterrupt(() => Effect.sync(() => void ended.push("work"))))
      const manager = Manager.make(Job1, {
        Run: Manager.handOff((_, call) =>
          Effect.andThen(
            Effect.addFinalizer(() => Effect.sync(() => void ended.push("scope"))),
            Effect.forkDetach(ServerCall.run(call, work), { startImmediately: true })
          )
        )
      }, { cancellation })
      const server = yield* Scope.provide(Server.make([manager]), serverScope)
      const job = yield* Scope.provide(Binding.local(server, Job1), clientScope)
      const failure = yield* Effect.flip(Call.invoke(job, "Run", "a"))
      yield* settle
      assert.strictEqual(failure._tag, "RpcTransportError")
      assert.deepStrictEqual(ended, ["work", "scope"])
    })

  it.effect("work tied to a call, which closes its server: is interrupted, and the call's scope closes", () =>
    working("interrupt", ({ server }) => server))

  it.effect("work tied to a call without cancellation, whose client goes: is interrupted", () =>
    working("disabled", ({ client }) => client))
})

describe("work that ends in time", () => {
  it.effect("a finalizer of an interrupted call: the shutdown waits for it, and no longer", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const finalizer = Effect.andThen(Effect.sleep("300 millis"), Effect.sync(() => void log.push("released")))
      const { binding, close } = yield* serve(
        () => Effect.andThen(Effect.addFinalizer(() => finalizer), Effect.never),
        plain
      )
      yield* start(Effect.exit(Call.invoke(binding, "Work")))
      yield* closesAfter(close, 1300)
      assert.deepStrictEqual(log, ["released"])
    }))
})
