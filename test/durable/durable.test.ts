import { Call, ContextHandle, Interface, Manager, Pipe, ServerCall, Synchronize } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import * as DurableNode from "@callisto/rpc/durable/node"
import { assert, it } from "@effect/vitest"
import { Cause, Deferred, Effect, type Exit, Layer, Logger, Queue, Redacted, Schema, type Scope, Stream } from "effect"
import type * as Sharding from "effect/cluster/Sharding"
import * as SqlClient from "effect/sql/SqlClient"
import { isHandle } from "../../src/durable/internal/handles.ts"
import { IBank, makeBench, makeEffects, rowOf, until } from "./fixtures.ts"
import { build, sqlite } from "./worlds.ts"

const uuid = "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b41"

const inMemory = (options?: Durable.Options) => DurableNode.embedded({ ...options, file: ":memory:" })

/** Runs an effect where a bench serves, on a database in memory. */
const served = <A, E>(
  effect: (bench: ReturnType<typeof makeBench>) => Effect.Effect<
    A,
    E,
    Durable.Calls | SqlClient.SqlClient | Sharding.Sharding | Scope.Scope
  >,
  options?: Durable.ServeOptions
) =>
  Effect.suspend(() => {
    const bench = makeBench()
    const live = Durable.serve([bench.manager], { mode: { Pay: "transaction" }, ...options }).pipe(
      Layer.provideMerge(inMemory())
    )
    return Effect.andThen(makeEffects, effect(bench)).pipe(Effect.scoped, Effect.provide(live))
  })

const refused = (exit: Exit.Exit<unknown, unknown>): string =>
  exit._tag === "Failure" ? String(Cause.squash(exit.cause)) : "not refused"

// ----------------------------------------------------------------------------
// what is refused
// ----------------------------------------------------------------------------

it.live("an interface with pipes or context handles: refused when the binding is made", () =>
  Effect.gen(function* () {
    const Handle = ContextHandle.make("Handle")
    const piped = Interface.make("Piped", {
      uuid,
      version: [1, 0],
      methods: { Read: Interface.method({ outPipe: { data: Pipe.bytes } }) }
    })
    const handles = Interface.make("Handles", {
      uuid,
      version: [1, 0],
      methods: { Open: Interface.method({ out: { handle: Handle } }) }
    })
    assert.match(refused(yield* Effect.exit(Durable.binding(piped))), /Durable.binding\(Piped\).*Read has pipes/)
    assert.match(refused(yield* Effect.exit(Durable.binding(handles))), /Open has context handles/)
  }).pipe(Effect.scoped, Effect.provide(inMemory())))

const ISecrets = Interface.make("ISecrets", {
  uuid,
  version: [1, 0],
  methods: {
    Login: Interface.method({
      in: { user: Schema.String, password: Schema.optional(Schema.Redacted(Schema.String)) },
      out: { ticket: Schema.String }
    })
  }
})
const secrets = Manager.make(ISecrets, {
  Login: ({ password, user }) =>
    Effect.succeed({ ticket: `${user} ${password === undefined ? "" : Redacted.value(password)}` })
})
const login = Effect.gen(function* () {
  const binding = yield* Durable.binding(ISecrets)
  const pending = yield* Call.start(binding, "Login", { user: "alice", password: Redacted.make("swordfish") })
  yield* Call.wait(pending)
  const row = yield* rowOf(Durable.handle(pending))
  return [JSON.stringify([row!.input, row!.outcome]), (yield* Call.finish(pending)).ticket] as const
}).pipe(Effect.scoped)

it.live("a Redacted value, and nothing is said of it: the binding is refused", () =>
  Effect.gen(function* () {
    const exit = yield* Effect.exit(Durable.binding(ISecrets))
    assert.match(refused(exit), /Login holds a Redacted value.*seal/)
  }).pipe(Effect.scoped, Effect.provide(inMemory())))

it.live("a Redacted value in an open abort, and nothing is said of it: the binding is refused", () =>
  Effect.gen(function* () {
    class Denied extends Schema.TaggedError<Denied>()("Denied", {
      code: Schema.Int,
      hint: Schema.Redacted(Schema.String)
    }) {}
    const iface = Interface.make("IDenied", {
      methods: { Login: Interface.method({ aborts: [Interface.openAbort(Denied, "code")] }) }
    })
    assert.match(refused(yield* Effect.exit(Durable.binding(iface))), /Login holds a Redacted value/)
  }).pipe(Effect.scoped, Effect.provide(inMemory())))

it("an empty key: refused by name", () => {
  assert.throws(() => Durable.key(""), /Durable.key: the key is empty/)
})

it.live("a Redacted value that may be stored: it is there in clear", () =>
  Effect.gen(function* () {
    const [stored, ticket] = yield* login
    assert.include(stored, "swordfish")
    assert.strictEqual(ticket, "alice swordfish")
  }).pipe(Effect.provide(Durable.serve([secrets]).pipe(Layer.provideMerge(inMemory({ redacted: "store" }))))))

it.live("a Redacted value that is sealed: nothing of it is in the record", () =>
  Effect.gen(function* () {
    const [stored, ticket] = yield* login
    assert.notInclude(stored, "swordfish")
    assert.notInclude(stored, "alice")
    assert.strictEqual(ticket, "alice swordfish")
  }).pipe(Effect.provide(
    Durable.serve([secrets]).pipe(Layer.provideMerge(inMemory({
      seal: {
        encode: (text) => Effect.sync(() => btoa(text)),
        decode: (text) => Effect.sync(() => atob(text))
      }
    })))
  )))

it.live("options out of their range: refused by name", () =>
  Effect.gen(function* () {
    const options: ReadonlyArray<readonly [Durable.ServeOptions, RegExp]> = [
      [{ concurrency: 0 }, /concurrency is out of range, got 0/],
      [{ maximumAttempts: 1.5 }, /maximumAttempts is out of range, got 1.5/],
      [{ transactions: 0 }, /transactions is out of range/],
      [{ keepEnded: "no" as never }, /keepEnded is out of range/],
      [{ mode: "twice" as never }, /mode is out of range/],
      [{ mode: { Add: "twice" as never } }, /mode is out of range/],
      [{ mode: { Pya: "transaction" } }, /mode is out of range, got the method "Pya", expected names among Add, Stop/]
    ]
    for (const [option, expected] of options) {
      const exit = yield* Effect.exit(Layer.build(Durable.serve([makeBench().manager], option)))
      assert.match(refused(exit), expected)
    }
    assert.match(refused(yield* Effect.exit(Durable.binding(IBank, { maximumAge: 0 }))), /maximumAge is out of range/)
    assert.match(refused(yield* Effect.exit(Durable.binding(IBank, { object: "x" }))), /object is out of range/)
    for (
      const [option, expected] of [
        [{ maximumAge: { Pya: 1_000 } }, /maximumAge is out of range, got the method "Pya"/],
        [{ caller: { level: "high" } }, /caller\.level is out of range, got "high"/]
      ] as const
    ) assert.match(refused(yield* Effect.exit(Durable.binding(IBank, option as never))), expected)
    assert.match(refused(yield* Effect.exit(Layer.build(DurableNode.embedded({ file: "" })))), /file is empty/)
    for (const file of [":memory:"]) {
      const exit = yield* Effect.exit(Layer.build(DurableNode.embedded({ file, prefix: "a-b" })))
      assert.match(refused(exit), /prefix is out of range, got "a-b"/)
      const lease = yield* Effect.exit(Layer.build(DurableNode.embedded({ file, lease: 10 })))
      assert.match(refused(lease), /lease is out of range/)
    }
  }).pipe(Effect.scoped, Effect.provide(inMemory())))

it.live("handle and token of what is not durable: refused in words", () =>
  Effect.sync(() => {
    assert.throws(() => Durable.handle({} as never), /the call is not durable/)
    assert.throws(() => Durable.token({} as never), /the call is not durable/)
  }))

// ----------------------------------------------------------------------------
// the surface of Call
// ----------------------------------------------------------------------------

it.live("notify, onComplete, states and waitAny: as over any other binding", () =>
  served((bench) =>
    Effect.gen(function* () {
      const binding = yield* Durable.binding(IBank)
      const object = yield* Call.make(binding)
      const seen: Array<string> = []
      yield* Effect.forkScoped(
        Stream.runForEach(Call.states(object), ({ _tag }) => Effect.sync(() => void seen.push(_tag)))
      )
      yield* until(() => seen.includes("Idle"))
      const stop = yield* Call.begin(object, "Stop", { name: "watched" })
      const add = yield* Call.start(binding, "Add", [1, 2])
      const done = yield* Queue.unbounded<Call.Completion<string, Call.Pending.Any>>()
      yield* Call.notify(stop, done as never, "watched" as never)
      const told = yield* Deferred.make<void>()
      yield* Call.onComplete(stop, Deferred.succeed(told, undefined))
      assert.strictEqual(yield* Synchronize.waitAny([stop, add]), add)
      yield* until(() => bench.started.includes("watched"))
      bench.open("watched")
      assert.strictEqual((yield* Queue.take(done)).pending, stop)
      yield* Deferred.await(told)
      yield* Call.finish(stop)
      yield* until(() => seen.filter((tag) => tag === "Idle").length === 2)
      assert.deepStrictEqual(seen, ["Idle", "Pending", "Completed", "Idle"])
    })
  ))

it.live("an object and a caller: the routine sees both", () =>
  Effect.gen(function* () {
    const object = "0f4c2f77-93d5-4b0e-a3ad-3c2d6a8f2b10"
    const IWho = Interface.make("IWho", {
      uuid,
      version: [1, 0],
      methods: { Ask: Interface.method({ out: Schema.String }) }
    })
    const manager = Manager.make(IWho, {
      Ask: (_, call) =>
        Effect.sync(() => {
          const { level, name } = ServerCall.caller(call)
          return `${name} ${level} ${ServerCall.object(call)}`
        })
    }, { object })
    yield* Effect.gen(function* () {
      const who = Call.client(yield* Durable.binding(IWho, { object, caller: { name: "alice", level: "integrity" } }))
      assert.strictEqual(yield* who.Ask(), `alice integrity ${object}`)
      const nobody = Call.client(yield* Durable.binding(IWho))
      assert.deepInclude(yield* Effect.flip(nobody.Ask()), { _tag: "RpcFault", code: 0x1c010002, didNotExecute: true })
    }).pipe(Effect.scoped, Effect.provide(Durable.serve([manager]).pipe(Layer.provideMerge(inMemory()))))
  }))

// ----------------------------------------------------------------------------
// versions
// ----------------------------------------------------------------------------

it.live("a client with one more optional field, and a server without: the call is made, and begun again", () =>
  Effect.gen(function* () {
    const fields = { a: Schema.Int }
    const older = Interface.make("ISum", {
      uuid,
      version: [1, 0],
      methods: { Sum: Interface.method({ in: fields, out: Schema.Int, idempotent: true }) }
    })
    const newer = Interface.make("ISum", {
      uuid,
      version: [1, 1],
      methods: {
        Sum: Interface.method({ in: { ...fields, b: Schema.optional(Schema.Int) }, out: Schema.Int, idempotent: true })
      }
    })
    const manager = Manager.make(older, { Sum: ({ a }) => Effect.succeed(a) })
    yield* Effect.gen(function* () {
      const before = yield* Call.start(yield* Durable.binding(older), "Sum", { a: 1 }).pipe(Durable.key("one"))
      const binding = yield* Durable.binding(newer)
      const again = yield* Call.start(binding, "Sum", { a: 1 }).pipe(Durable.key("one"))
      assert.strictEqual(Durable.handle(again), Durable.handle(before))
      const other = yield* Effect.flip(Call.start(binding, "Sum", { a: 1, b: 2 }).pipe(Durable.key("one")))
      assert.strictEqual(other._tag, "BadStubData")
      assert.strictEqual(yield* Call.invoke(binding, "Sum", { a: 3, b: 4 }), 3)
    }).pipe(Effect.scoped, Effect.provide(Durable.serve([manager]).pipe(Layer.provideMerge(inMemory()))))
  }))

// ----------------------------------------------------------------------------
// servers
// ----------------------------------------------------------------------------

it.live("more calls than concurrency: the others wait, ready, and can be cancelled without having run", () =>
  served((bench) =>
    Effect.gen(function* () {
      const binding = yield* Durable.binding(IBank)
      const first = yield* Call.start(binding, "Stop", { name: "first" })
      yield* until(() => bench.started.includes("first"))
      const second = yield* Call.start(binding, "Stop", { name: "second" })
      const third = yield* Call.start(binding, "Add", [1])
      yield* Effect.sleep(300)
      assert.strictEqual((yield* rowOf(Durable.handle(second)))!.attempts, 0)
      yield* Durable.cancel(Durable.handle(second))
      assert.deepInclude(yield* Effect.flip(Call.join(second)), { _tag: "CallCancelled", didNotExecute: true })
      bench.open("first")
      yield* Call.join(first)
      assert.strictEqual(yield* Call.join(third), 1)
      assert.notInclude(bench.started, "second")
    }), { concurrency: 1 }))

it.live("a transaction routine that takes too long: rolled back, 1460, and the server's log says why", () =>
  Effect.gen(function* () {
    const logged: Array<unknown> = []
    const IWrite = Interface.make("IWrite", { uuid, version: [1, 0], methods: { Write: Interface.method({}) } })
    const manager = Manager.make(IWrite, {
      Write: () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* Effect.orDie(sql`INSERT INTO effects (amount) VALUES (1)`)
          return yield* Effect.never
        })
    })
    const live = Durable.serve([manager], { mode: "transaction", transactionTimeout: 200 }).pipe(
      Layer.provideMerge(inMemory()),
      Layer.provide(Logger.layer([Logger.make(({ message }) => void logged.push(String(message)))]))
    )
    yield* Effect.gen(function* () {
      yield* makeEffects
      const sql = yield* SqlClient.SqlClient
      const error = yield* Effect.flip(Call.invoke(yield* Durable.binding(IWrite), "Write"))
      assert.deepInclude(error, { _tag: "RpcFault", code: 1460, didNotExecute: false })
      assert.lengthOf(yield* sql`SELECT amount FROM effects`, 0)
      assert.match(logged.join(), /IWrite\.Write took longer than transactionTimeout, 200 ms/)
    }).pipe(Effect.scoped, Effect.provide(live))
  }))

it.live("a claim that the engine keeps: the watchdog delivers the call again", () =>
  Effect.gen(function* () {
    const world = yield* yield* sqlite.worlds
    const client = yield* build(world.client())
    yield* Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const binding = yield* Durable.binding(IBank)
      yield* build(Durable.serve([makeBench().manager]).pipe(Layer.provideMerge(world.runner())))
      assert.strictEqual(yield* Call.invoke(binding, "Add", [1]), 1)
      // Begun and claimed in one transaction: the runner never sees it unclaimed.
      const adding = yield* sql.withTransaction(Effect.gen(function* () {
        const adding = yield* Call.start(binding, "Add", [1, 2])
        yield* sql`UPDATE cluster_messages SET last_read = CURRENT_TIMESTAMP WHERE entity_id = ${
          Durable.handle(adding)
        }`
        yield* sql`UPDATE callisto_calls SET begun_at = ${Date.now() - 60_000} WHERE id = ${Durable.handle(adding)}`
        return adding
      }))
      assert.strictEqual((yield* Effect.flip(Call.wait(adding, "1 second")))._tag, "WaitTimeout")
      assert.strictEqual(yield* Call.join(adding), 3)
    }).pipe(Effect.provideContext(client))
  }).pipe(Effect.scoped), 60_000)

it.live("a prefix: the tables have it, and two sets of calls share a database", () =>
  Effect.gen(function* () {
    const bench = makeBench()
    const live = Durable.serve([bench.manager]).pipe(Layer.provideMerge(inMemory({ prefix: "shop" })))
    yield* Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* makeEffects
      assert.strictEqual(yield* Call.invoke(yield* Durable.binding(IBank), "Add", [2]), 2)
      assert.lengthOf(yield* sql`SELECT id FROM shop_calls`, 1)
      assert.lengthOf(yield* sql`SELECT tag FROM shop_cluster_messages`, 1)
    }).pipe(Effect.scoped, Effect.provide(live))
  }))

it("the first 36 digits of a longer handle: no handle, so operators find the call by them", () => {
  assert.isFalse(isHandle("a".repeat(36)))
  assert.isTrue(isHandle("a".repeat(64)))
  assert.isTrue(isHandle(crypto.randomUUID()))
})
