/** Layers that close, ports and shards that do not fit, and who may call. */
import { Call, Interface, Manager, ServerCall, Synchronize } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import * as DurableNode from "@callisto/rpc/durable/node"
import { assert } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Schema, Scope } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { createServer } from "node:net"
import { type Bed, callsOf, fresh, serverOf, wordsOf } from "./bed.ts"
import { eventually, IBank, makeBench, rowOf, until } from "./fixtures.ts"
import { build } from "./worlds.ts"

export const lifeFaults = ({ alone, atRest, atWork, bench, kind }: Bed): void => {
  // --- layers that close

  alone(
    "a layer closes while many wait: they end with 1726 at once, and their calls go on",
    (world) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const context = yield* Scope.provide(build(world.client()), scope)
        const waiting = yield* Effect.gen(function* () {
          const bank = yield* Durable.binding(IBank)
          const all = yield* Effect.forEach(
            Array.from({ length: 40 }, (_, n) => n),
            (n) => Call.start(bank, "Add", [n])
          )
          const joins = yield* Effect.forEach(all, (pending) => Effect.forkChild(Effect.exit(Call.join(pending))))
          const any = yield* Effect.forkChild(Effect.exit(Synchronize.waitAny(all as never)))
          return { all, joins, any }
        }).pipe(Effect.provideContext(context))
        yield* Effect.sleep(200)
        const before = performance.now()
        yield* Scope.close(scope, Exit.void)
        assert.isBelow(performance.now() - before, 5_000)
        for (const join of waiting.joins) {
          const exit = yield* Fiber.join(join)
          assert.match(wordsOf(exit), /RPC_S_CALL_FAILED.*has closed/)
        }
        assert.strictEqual((yield* Fiber.join(waiting.any))._tag, "Success")
        // What comes later is refused too, and waits for nobody.
        const handle = Durable.handle(waiting.all[0]!)
        const late = Effect.flatMap(Durable.binding(IBank), (bank) => Call.invoke(bank, "Add", [1]))
        for (const operation of [late, Durable.cancel(handle), Durable.resume(IBank, "Add", handle)]) {
          const exit = yield* Effect.exit(
            Effect.timeout(Effect.provideContext(operation as Effect.Effect<unknown>, context), "10 seconds")
          )
          assert.strictEqual(exit._tag, "Failure")
          assert.notMatch(wordsOf(exit), /TimeoutError/)
        }
        yield* build(serverOf(world, makeBench()))
        for (const [n, pending] of waiting.all.entries()) {
          assert.strictEqual(yield* Call.join(yield* Durable.resume(IBank, "Add", Durable.handle(pending))), n)
        }
      })
  )

  alone(
    "calls that are forgotten at their end: nothing is left of them in the engine's tables",
    (world) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const { record } = yield* callsOf
        yield* build(serverOf(world, makeBench()))
        const bank = yield* Durable.binding(IBank)
        const kept = yield* Call.start(bank, "Add", [0])
        yield* Call.join(kept)
        for (let n = 1; n <= 10; n++) {
          const pending = yield* Call.start(bank, "Add", [n])
          yield* Call.join(pending)
          yield* Durable.forget(Durable.handle(pending))
        }
        // Its runner may answer until then. One reply is that of the call that is kept.
        yield* Effect.sleep(500)
        const count = Effect.map(sql`SELECT id FROM cluster_replies`, (rows) => rows.length)
        yield* record.removeStrays
        assert.strictEqual(yield* count, 1)
      })
  )

  alone(
    "a layer closes while a transaction is open: it fails, and nothing of it is begun",
    (world) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const context = yield* Scope.provide(build(world.client()), scope)
        const open = yield* Effect.forkChild(Effect.exit(
          Effect.gen(function* () {
            const bank = yield* Durable.binding(IBank)
            const own = yield* SqlClient.SqlClient
            yield* own.withTransaction(Effect.gen(function* () {
              yield* Call.start(bank, "Add", [1])
              yield* Effect.sleep(600)
              yield* Call.start(bank, "Add", [2])
            }))
          }).pipe(Effect.provideContext(context))
        ))
        yield* Effect.sleep(200)
        yield* Effect.timeout(Scope.close(scope, Exit.void), "20 seconds")
        const exit = yield* Effect.timeout(Fiber.join(open), "20 seconds")
        const sql = yield* SqlClient.SqlClient
        const rows = yield* sql`SELECT id FROM callisto_calls`
        // A pool may wait for its connections: then the transaction has ended well.
        assert.lengthOf(rows, exit._tag === "Success" ? 2 : 0)
      })
  )

  // --- the surface of Call that no other test has

  atRest(
    "a maybe call: complete when it is stored, and nobody looks for its end",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const calls = yield* callsOf
      const before = calls.watches.size
      const pending = yield* Call.start(bank, "Tell", { text: fresh("maybe") })
      yield* Call.wait(pending, 0)
      assert.strictEqual(calls.watches.size, before)
      assert.isUndefined(yield* Call.finish(pending))
      assert.isNull((yield* rowOf(Durable.handle(pending)))!.finished_by)
    })
  )

  atRest(
    "a maybe call in a transaction: stored with it",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const text = fresh("maybe inside")
      yield* sql.withTransaction(Call.invoke(bank, "Tell", { text }))
      assert.lengthOf(yield* sql`SELECT id FROM callisto_calls WHERE input LIKE ${`%${text}"%`}`, 1)
      yield* Effect.exit(sql.withTransaction(Effect.andThen(
        Call.invoke(bank, "Tell", { text: `${text}, not` }),
        Effect.fail("no")
      )))
      assert.lengthOf(yield* sql`SELECT id FROM callisto_calls WHERE input LIKE ${`%${text}, not"%`}`, 0)
    })
  )

  atRest(
    "begun, and released at once or by the end of a scope: nobody waits, and the record is untouched",
    Effect.gen(function* () {
      const calls = yield* callsOf
      const before = calls.watches.size
      const handles = yield* Effect.scoped(Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank)
        const object = yield* Call.make(bank)
        const first = yield* Call.begin(object, "Add", [1])
        yield* Call.release(object)
        const second = yield* Call.start(bank, "Add", [2])
        const third = yield* Call.start(bank, "Add", [3])
        yield* Call.release(third, { server: "goOn" })
        return [first, second, third].map(Durable.handle)
      }))
      assert.strictEqual(calls.watches.size, before)
      for (const handle of handles) {
        assert.deepInclude(yield* rowOf(handle), { cancel_at: null, outcome: null, abandoned: 0 })
      }
    })
  )

  atWork(
    "cancelled abortively while it runs: the next evidence may still take what its routine says",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const name = fresh("given up")
      const pending = yield* Call.start(bank, "Approve", { name })
      const handle = Durable.handle(pending)
      yield* eventually(rowOf(handle), (row) => row?.handed_off === 1)
      const other = yield* Durable.resume(IBank, "Approve", handle)
      yield* Call.cancel(pending)
      assert.strictEqual((yield* Effect.flip(Call.join(pending)))._tag, "CallCancelled")
      yield* Durable.complete(IBank, "Approve", bench.tokens.get(name)!, Exit.succeed(true))
      assert.isTrue(yield* Call.join(other))
      assert.deepInclude(yield* rowOf(handle), { abandoned: 1 })
    })
  )

  atWork(
    "Call.invoke interrupted while its routine runs: the routine is cancelled",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const name = fresh("interrupted")
      const fiber = yield* Effect.forkChild(Call.invoke(bank, "Stop", { name }))
      yield* until(() => bench.started.includes(name))
      yield* Fiber.interrupt(fiber)
      yield* until(() => bench.stopped.includes(name))
    })
  )

  // --- who may call

  alone(
    "an access check: it sees the caller of the row, and a refusal ends the call with 5",
    (world) =>
      Effect.gen(function* () {
        const IGuarded = Interface.make("IGuarded", {
          uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b55",
          version: [1, 0],
          methods: { Who: Interface.method({ out: { name: Schema.optional(Schema.String) } }) }
        })
        const manager = Manager.make(IGuarded, {
          Who: (_, call) => Effect.sync(() => ({ name: ServerCall.caller(call).name }))
        }, {
          minimumLevel: "integrity",
          access: ({ caller }) => caller.name !== "mallory"
        })
        yield* build(Durable.serve([manager]).pipe(Layer.provideMerge(world.runner())))
        const as = (caller: Durable.BindingOptions<typeof IGuarded>["caller"]) =>
          Effect.flatMap(Durable.binding(IGuarded, { caller }), (binding) => Call.invoke(binding, "Who"))
        const denied = { _tag: "RpcFault", code: 5 } as const
        assert.deepStrictEqual(yield* as({ name: "alice", level: "integrity" }), { name: "alice" })
        assert.deepInclude(yield* Effect.flip(as({ name: "alice", level: "connect" })), denied)
        assert.deepInclude(yield* Effect.flip(as({ name: "mallory" })), denied)
        assert.isUndefined((yield* as(undefined)).name)
        // A row whose caller nobody can read is nobody's.
        const binding = yield* Durable.binding(IGuarded)
        const sql = yield* SqlClient.SqlClient
        const pending = yield* sql.withTransaction(Effect.gen(function* () {
          const pending = yield* Call.start(binding, "Who")
          yield* sql`UPDATE callisto_calls SET caller = ${`{"level":"god"}`} WHERE id = ${Durable.handle(pending)}`
          return pending
        }))
        assert.deepInclude(yield* Effect.flip(Call.join(pending)), denied)
      })
  )

  // --- shards and ports

  alone(
    "another number of shards: each layer refuses it in words, and takes no part",
    (world) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`UPDATE callisto_settings SET value = '16' WHERE name = 'shards'`
        for (const layer of [world.client(), world.runner()]) {
          const before = performance.now()
          const exit = yield* Effect.exit(Effect.scoped(build(layer)))
          assert.match(wordsOf(exit), /shardsPerGroup is wrong, got 32, expected 16.*Set it to 16/)
          assert.isBelow(performance.now() - before, 10_000)
        }
        assert.deepStrictEqual(yield* sql`SELECT name FROM callisto_settings WHERE value = '32'`, [])
      })
  )

  if (kind.name === "PostgreSQL") {
    alone("a runner's port that is in use: an error in words, at once", (world) =>
      Effect.gen(function* () {
        const taken = yield* Effect.acquireRelease(
          Effect.callback<ReturnType<typeof createServer>>((resume) => {
            const server = createServer()
            server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
          }),
          (server) => Effect.sync(() => server.close())
        )
        const { port } = taken.address() as { port: number }
        const { postgres } = yield* world.work
        const PgClient = yield* Effect.promise(() => import("@effect/sql-pg/PgClient"))
        const sql = PgClient.layer({
          host: postgres!.host,
          port: postgres!.port,
          database: postgres!.name,
          username: "callisto",
          ssl: false
        })
        const exit = yield* Effect.exit(Effect.timeout(
          Effect.scoped(Layer.build(DurableNode.runner({ sql, host: "127.0.0.1", port }))),
          "20 seconds"
        ))
        assert.match(wordsOf(exit), new RegExp(`${port}`))
        assert.match(wordsOf(exit), /in use|EADDRINUSE/i)
      }))

    alone("a database that is not there: an error in words", (world) =>
      Effect.gen(function* () {
        const { postgres } = yield* world.work
        const PgClient = yield* Effect.promise(() => import("@effect/sql-pg/PgClient"))
        const sql = PgClient.layer({
          host: postgres!.host,
          port: postgres!.port,
          database: "nothing",
          username: "callisto",
          ssl: false
        })
        const exit = yield* Effect.exit(Effect.timeout(
          Effect.scoped(Layer.build(DurableNode.client({ sql }))),
          "20 seconds"
        ))
        assert.match(wordsOf(exit), /SqlError/)
      }))
  }
}
