import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { inspect } from "node:util"
import {
  Binding,
  Call,
  type Channel,
  ContextHandle,
  Interface,
  Manager,
  Observability,
  Server,
  ServerCall,
  Status
} from "../mod.ts"
import { settle, start } from "./fixtures.ts"
import { serverImpl } from "./internals.ts"

const Work = Interface.make("Work", {
  methods: { Do: Interface.method({ in: Schema.Number, out: Schema.Number }), Later: Interface.method({}) }
})

const routine = (n: number): Effect.Effect<number, never, Scope.Scope> => Effect.succeed(n)

const makeServer = (
  work: typeof routine,
  options?: Server.Options,
  later: (call: ServerCall.Of<typeof Work, "Later">) => Effect.Effect<unknown, never, Scope.Scope> = () => Effect.void
) =>
  Effect.gen(function* () {
    const scope = yield* Scope.fork(yield* Effect.scope)
    const manager = Manager.make(Work, {
      Do: (n) => work(n),
      Later: Manager.handOff((_, call) => later(call))
    })
    const server = yield* Scope.provide(Server.make([manager], options), scope)
    return { server, close: Scope.close(scope, Exit.void) }
  })

const makeClient = (server: Server.Server) =>
  Server.client(server, { caller: { name: undefined, level: "none" }, peer: "a test" })

const makeIncoming = (origin: Channel.Origin, fields: Partial<Channel.Incoming> = {}): Channel.Incoming => ({
  origin,
  interface: Work,
  object: undefined,
  opnum: 0,
  input: 1,
  reply: () => {},
  ...fields
})

const throws = (): never => {
  throw new Error("the host")
}

/** Nothing of a call is left on its server. */
const assertEmpty = (server: Server.Server) => {
  const { count, held } = serverImpl(server)
  assert.deepStrictEqual({ count, held }, { count: 0, held: 0 })
}

/** A routine with a finalizer, and whether that has run. */
const makeFinalized = (wait: Effect.Effect<void> = Effect.void) => {
  const ended: Array<string> = []
  const work = (n: number) =>
    Effect.andThen(wait, Effect.as(Effect.addFinalizer(() => Effect.sync(() => void ended.push("finalizer"))), n))
  return { ended, work }
}

describe("a host that throws", () => {
  for (const [when, wait] of [["at once", Effect.void], ["later", Effect.yieldNow]] as const) {
    it.effect(`reply throws, routine answers ${when}: the call ends and its scope closes`, () =>
      Effect.gen(function* () {
        const { ended, work } = makeFinalized(wait)
        const { server } = yield* makeServer(work)
        assert.isUndefined(Server.accept(server, makeIncoming(yield* makeClient(server), { reply: throws })))
        yield* settle
        assert.deepStrictEqual(ended, ["finalizer"])
        assertEmpty(server)
      }))
  }

  it.effect("accepted throws: accept throws, and the call is over", () =>
    Effect.gen(function* () {
      const { server } = yield* makeServer(() => Effect.never)
      const incoming = makeIncoming(yield* makeClient(server), { accepted: throws })
      assert.throws(() => Server.accept(server, incoming), "the host")
      assertEmpty(server)
    }))

  it.effect("context throws: the routine does not run, and the call ends with 1726", () =>
    Effect.gen(function* () {
      const { server } = yield* makeServer(() => Effect.never)
      const outcomes: Array<Channel.Outcome> = []
      const incoming = makeIncoming(yield* makeClient(server), { reply: (outcome) => void outcomes.push(outcome) })
      Object.defineProperty(incoming, "context", { get: throws })
      assert.isUndefined(Server.accept(server, incoming))
      const [outcome] = outcomes
      assert.deepInclude(outcome?._tag === "Failure" ? Cause.squash(outcome.cause) : undefined, { code: 1726 })
      yield* settle
      assertEmpty(server)
    }))

  it.effect("disconnected throws: the other calls of the client end all the same", () =>
    Effect.gen(function* () {
      const { server } = yield* makeServer(() => Effect.never)
      const scope = yield* Scope.make()
      const origin = yield* Scope.provide(makeClient(server), scope)
      for (let i = 0; i < 3; i++) Server.accept(server, makeIncoming(origin, { disconnected: throws }))
      yield* Scope.close(scope, Exit.void)
      yield* settle
      assertEmpty(server)
    }))

  for (
    const [how, handedOff] of [
      ["fails", () => Effect.fail(new Status.RpcTransportError({ status: 1722, detail: "the host" }))],
      ["dies", () => Effect.die("the host")],
      ["throws", throws]
    ] as const
  ) {
    it.effect(`handedOff ${how}: the call ends with 1726`, () =>
      Effect.gen(function* () {
        const { server } = yield* makeServer(routine)
        const outcomes: Array<Channel.Outcome> = []
        const reply = (outcome: Channel.Outcome) => void outcomes.push(outcome)
        Server.accept(server, makeIncoming(yield* makeClient(server), { opnum: 1, input: undefined, handedOff, reply }))
        yield* settle
        const [outcome] = outcomes
        assert.deepInclude(outcome?._tag === "Failure" ? Cause.squash(outcome.cause) : undefined, {
          _tag: "RpcTransportError",
          status: 1726
        })
        assertEmpty(server)
      }))
  }
})

describe("a host that takes its time", () => {
  it.effect("decode closes the client: the call is refused", () =>
    Effect.gen(function* () {
      const { server } = yield* makeServer(() => Effect.never)
      const scope = yield* Scope.make()
      const decode = () => void Effect.runSync(Scope.close(scope, Exit.void))
      const refusal = Server.accept(server, makeIncoming(yield* Scope.provide(makeClient(server), scope), { decode }))
      assert.deepInclude(refusal, { _tag: "RpcTransportError", status: 1722 })
      assertEmpty(server)
    }))

  it.effect("a reply that never leaves: is interrupted behind the grace period, and the call's scope closes", () =>
    Effect.gen(function* () {
      const { ended, work } = makeFinalized()
      const { close, server } = yield* makeServer(work, { grace: "1 second" })
      Server.accept(server, makeIncoming(yield* makeClient(server), { reply: () => Effect.never }))
      const closing = yield* start(close)
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(ended, [])
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(ended, ["finalizer"])
      assertEmpty(server)
    }))

  it.effect("a hand-off announced while the reply leaves: the call's scope waits for the reply", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const { server } = yield* makeServer(routine, {}, (call) =>
        Effect.andThen(
          Effect.addFinalizer(() => Effect.sync(() => void seen.push("closed"))),
          Effect.forkIn(Effect.andThen(Effect.sleep(10), ServerCall.complete(call)), ServerCall.server(call))
        ))
      const reply = () => Effect.andThen(Effect.sleep(100), Effect.sync(() => void seen.push("replied")))
      const handedOff = () => Effect.sleep(50)
      Server.accept(server, makeIncoming(yield* makeClient(server), { opnum: 1, input: undefined, handedOff, reply }))
      yield* TestClock.adjust("200 millis")
      assert.deepStrictEqual(seen, ["replied", "closed"])
    }))

  it.effect("a caller with fields of its own: a client prints its name and level alone", () =>
    Effect.gen(function* () {
      const { server } = yield* makeServer(routine)
      const caller = { name: "alice", level: "none" as const, token: "a secret" }
      const client = yield* Server.client(server, { caller, peer: "a test" })
      assert.notInclude(`${inspect(client)} ${JSON.stringify(client)}`, "a secret")
    }))
})

describe("a server that one of its own calls closes", () => {
  const kinds: ReadonlyArray<
    readonly [
      string,
      (
        call: ServerCall.Of<typeof Work, "Later">,
        close: Effect.Effect<void>
      ) => Effect.Effect<unknown, never, Scope.Scope>
    ]
  > = [
    [
      "a finalizer of the call",
      (call, close) => Effect.andThen(Effect.addFinalizer(() => close), Effect.ignore(ServerCall.complete(call)))
    ],
    ["work in the server's scope, after the reply", (call, close) =>
      Effect.andThen(
        Effect.forkIn(Effect.andThen(Effect.yieldNow, close), ServerCall.server(call)),
        Effect.ignore(ServerCall.complete(call))
      )],
    [
      "a worker that runs the call",
      (call, close) =>
        Effect.sync(() =>
          void Effect.runFork(Effect.andThen(Effect.yieldNow, ServerCall.run(call, close)) as Effect.Effect<void>)
        )
    ]
  ]
  for (const [kind, stop] of kinds) {
    it.effect(`by ${kind}: is shut down without waiting for that call`, () =>
      Effect.gen(function* () {
        const closed = yield* Deferred.make<void>()
        const close: Effect.Effect<void> = Effect.suspend(() =>
          Effect.andThen(made.close, Effect.asVoid(Deferred.succeed(closed, undefined)))
        )
        const made: Effect.Success<ReturnType<typeof makeServer>> = yield* makeServer(
          routine,
          { grace: "Infinity" },
          (call) => stop(call, close)
        )
        Server.accept(made.server, makeIncoming(yield* makeClient(made.server), { opnum: 1, input: undefined }))
        yield* settle
        assert.isTrue(yield* Deferred.isDone(closed))
        assertEmpty(made.server)
      }))
  }

  it.effect("by work that its routine forks at once: the routine is interrupted", () =>
    Effect.gen(function* () {
      const { server } = yield* Effect.gen(function* () {
        const made: Effect.Success<ReturnType<typeof makeServer>> = yield* makeServer(routine, { grace: 0 }, (call) =>
          Effect.andThen(
            ServerCall.fork(
              call,
              Effect.suspend(() =>
                made.close
              )
            ),
            Effect.never
          ))
        return made
      })
      Server.accept(server, makeIncoming(yield* makeClient(server), { opnum: 1, input: undefined }))
      yield* settle
      assertEmpty(server)
    }))

  it.effect("by a routine that carries a context handle: is shut down, and the handle is run down", () =>
    Effect.gen(function* () {
      const Lock = ContextHandle.make("Lock")
      const locks = ContextHandle.states<string>()(Lock)
      const Locks = Interface.make("Locks", {
        methods: { Open: Interface.method({ out: { lock: Lock } }), Stop: Interface.method({ in: { lock: Lock } }) }
      })
      const seen: Array<string> = []
      const scope = yield* Scope.make()
      const lock = Effect.acquireRelease(Effect.succeed("a"), () => Effect.sync(() => void seen.push("run down")))
      const manager = Manager.make(Locks, {
        Open: (_, call) => Effect.map(locks.open(call, lock), (lock) => ({ lock })),
        Stop: () => Effect.andThen(Scope.close(scope, Exit.void), Effect.sync(() => void seen.push("closed")))
      })
      const server = yield* Scope.provide(Server.make([manager], { grace: "Infinity" }), scope)
      const client = Call.client(yield* Binding.local(server, Locks))
      const opened = yield* client.Open()
      yield* Effect.exit(client.Stop(opened))
      yield* settle
      assert.sameMembers(seen, ["closed", "run down"])
      assertEmpty(server)
    }))

  it.effect("of a manager that goes: its end does not wait for finalizers of other managers' calls", () =>
    Effect.gen(function* () {
      const Other = Interface.make("Other", { methods: { Wait: Interface.method({}) } })
      const gate = yield* Deferred.make<void>()
      const slow = (n: number) => Effect.as(Effect.addFinalizer(() => Deferred.await(gate)), n)
      const { server } = yield* makeServer(slow, { grace: 0 })
      const scope = yield* Scope.make()
      yield* Scope.provide(Server.add(server, Manager.make(Other, { Wait: () => Effect.never })), scope)
      const work = yield* Binding.local(server, Work)
      yield* Call.invoke(work, "Do", 1)
      yield* Call.start(yield* Binding.local(server, Other), "Wait")
      const closing = yield* start(Scope.close(scope, Exit.void))
      yield* settle
      assert.isDefined(closing.pollUnsafe())
      yield* Deferred.succeed(gate, undefined)
    }))
})

describe("a call", () => {
  it.effect("an observer that cancels a call which waits for a handle: the call leaves nothing", () =>
    Effect.gen(function* () {
      const Lock = ContextHandle.make("Lock")
      const locks = ContextHandle.states<string>()(Lock)
      const Locks = Interface.make("Locks", {
        methods: { Open: Interface.method({ out: { lock: Lock } }), Hold: Interface.method({ in: { lock: Lock } }) }
      })
      const gate = yield* Deferred.make<void>()
      const manager = Manager.make(Locks, {
        Open: (_, call) => Effect.map(locks.open(call, Effect.succeed("a")), (lock) => ({ lock })),
        Hold: () => Deferred.await(gate)
      })
      let cancels = false
      const ended: Array<string> = []
      const observer: Observability.Observer = {
        begun: (call) => {
          if (cancels && call.side === "server") call.cancel()
        },
        ended: (call, ending) => {
          if (call.side === "server") ended.push(`${call.method} ${ending}`)
        }
      }
      const server = yield* Effect.provideService(Server.make([manager]), Observability.observer, observer)
      const client = Call.client(yield* Binding.local(server, Locks))
      const opened = yield* client.Open()
      const first = yield* client.Hold.begin(opened)
      cancels = true
      const second = yield* client.Hold.begin(opened)
      assert.deepInclude(yield* Effect.flip(Call.join(second)), { _tag: "CallCancelled", didNotExecute: true })
      yield* Deferred.succeed(gate, undefined)
      yield* Call.join(first)
      yield* settle
      assert.deepStrictEqual(ended, ["Open replied", "Hold cancelled", "Hold replied"])
      assertEmpty(server)
    }))

  it.effect("begin interrupted before its fiber comes to wait: the object is idle", () =>
    Effect.gen(function* () {
      const channel: Channel.Channel = { callObjects: true, issue: () => Effect.never }
      const binding = yield* Binding.make(Work, channel)
      // A fiber yields after some thousand steps: at one of these numbers just between the two.
      for (let steps = 1_000; steps < 2_100; steps++) {
        const call = yield* Call.make(binding)
        const before = Effect.forEach(new Array(steps).fill(0), () => Effect.void, { discard: true })
        const begun = Effect.runFork(Effect.andThen(before, Call.begin(call, "Do", 1)))
        begun.interruptUnsafe()
        yield* Fiber.await(begun)
        assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" }, `${steps} steps`)
        yield* Call.release(call)
      }
    }))

  const lost = Effect.fail(new Status.RpcTransportError({ status: 1726, detail: "the connection was lost" }))
  const cancels = [
    ["never recorded", 0, () => Effect.never, 0],
    ["never recorded", "1 second", () => Effect.never, 1_000],
    ["that fails", "1 second", () => lost, 0],
    ["that fails", "Infinity", () => lost, 0],
    ["that throws", "1 second", throws, 0]
  ] as const
  for (const [title, cancelTimeout, cancel, millis] of cancels) {
    it.effect(`interrupted, cancelTimeout ${cancelTimeout}, a cancel ${title}: over after ${millis} ms`, () =>
      Effect.gen(function* () {
        let discarded = 0
        const remote: Channel.Remote = {
          dispatched: true,
          cancelDisabled: false,
          cancel,
          discard: () => void discarded++,
          orphan: () => {},
          goOn: () => {}
        }
        const channel: Channel.Channel = {
          callObjects: true,
          issue: (call) => {
            call.remote = remote
            return undefined
          }
        }
        const binding = yield* Binding.make(Work, channel, { cancelTimeout })
        const calling = yield* start(Call.invoke(binding, "Do", 1))
        const interrupting = yield* start(Fiber.interrupt(calling))
        yield* TestClock.adjust(millis)
        yield* settle
        assert.isDefined(interrupting.pollUnsafe())
        assert.strictEqual(discarded, 1)
      }))
  }

  it.effect("cancelled: the failure names the call, and is no other call's", () =>
    Effect.gen(function* () {
      const { server } = yield* makeServer(() => Effect.never)
      const work = yield* Binding.local(server, Work)
      const cancelled = Effect.gen(function* () {
        const pending = yield* Call.start(work, "Do", 1)
        yield* Call.cancel(pending)
        return yield* Effect.flip(Call.join(pending))
      })
      const [first, second] = [yield* cancelled, yield* cancelled]
      assert.include(first, { _tag: "CallCancelled", interface: "Work", method: "Do", address: "local" })
      assert.notStrictEqual(first, second)
    }))
})
