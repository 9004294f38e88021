/** The connection of a routine's transaction is lost: the database failed, and not the routine. */
import { Call, Interface, Manager } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Layer, Schema, Scope } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import { build, postgres, type Provided } from "./worlds.ts"

class Refused extends Schema.TaggedError<Refused>()("Refused", {}) {}

const ILost = Interface.make("ILost", {
  uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b36",
  version: [1, 0],
  methods: {
    Write: Interface.method({
      in: { name: Schema.String, refuses: Schema.Boolean },
      out: Schema.Int,
      aborts: [Interface.abort(0x20001, Refused)]
    })
  }
})

describe("a transaction whose connection is lost", () => {
  const scope = Scope.makeUnsafe()
  const starts = new Map<string, number>()
  let client: Context.Context<Provided>
  let server: Context.Context<Provided>

  const manager = Manager.make(ILost, {
    Write: ({ name, refuses }) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const start = (starts.get(name) ?? 0) + 1
        starts.set(name, start)
        yield* sql`INSERT INTO written (name) VALUES (${name})`
        if (start === 1) yield* Effect.ignoreCause(sql`SELECT pg_terminate_backend(pg_backend_pid())`)
        if (refuses) return yield* Effect.fail(new Refused())
        yield* sql`SELECT 1`
        return start
      }).pipe(Effect.catchTag("SqlError", Effect.die))
  })

  beforeAll(() =>
    Effect.runPromise(Scope.provide(
      Effect.gen(function* () {
        const world = yield* yield* postgres.worlds
        client = yield* build(world.client())
        yield* Context.get(client, SqlClient.SqlClient)`CREATE TABLE written (name VARCHAR(64) NOT NULL)`
        server = yield* build(
          Durable.serve([manager], { mode: "transaction" }).pipe(Layer.provideMerge(world.runner()))
        )
      }),
      scope
    )), 60_000)
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)), 60_000)

  const write = (name: string, refuses: boolean) =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const binding = yield* Durable.binding(ILost)
      const exit = yield* Effect.exit(Call.invoke(binding, "Write", { name, refuses }))
      return { exit, written: (yield* sql`SELECT name FROM written WHERE name = ${name}`).length }
    }).pipe(Effect.scoped, (effect) => Effect.provideContext(effect, client))

  it.live(
    "the routine's statement fails with it: the routine runs again, and its write is there once",
    () =>
      Effect.gen(function* () {
        const { exit, written } = yield* write("again", false)
        assert.deepStrictEqual(exit, Exit.succeed(2))
        assert.strictEqual(written, 1)
      }),
    60_000
  )

  it.live("the routine aborts, and the rollback fails: the client gets the abort", () =>
    Effect.gen(function* () {
      const { exit, written } = yield* write("refused", true)
      assert.isTrue(exit._tag === "Failure" && Cause.squash(exit.cause) instanceof Refused, String(exit))
      assert.strictEqual(starts.get("refused"), 1)
      assert.strictEqual(written, 0)
    }), 60_000)

  it.live(
    "a transaction does not begin while the database starts: the routine runs when it does",
    () =>
      Effect.gen(function* () {
        // PostgreSQL refuses connections while it recovers, with a code that no driver counts as passing.
        const starting = new SqlError({
          reason: new UnknownError({
            cause: new Error("the database system is starting up"),
            message: "refused",
            operation: "connect"
          })
        })
        const calls = Context.get(server, Durable.Calls) as unknown as { sql: SqlClient.SqlClient }
        const { sql } = calls
        let refusals = 2
        calls.sql = new Proxy(sql, {
          get: (target, name) =>
            name === "withTransaction" && refusals-- > 0 ? () => Effect.fail(starting) : Reflect.get(target, name)
        })
        const { exit, written } = yield* Effect.ensuring(
          write("late", false),
          Effect.sync(() => void (calls.sql = sql))
        )
        assert.deepStrictEqual(exit, Exit.succeed(2))
        assert.strictEqual(written, 1)
        assert.isBelow(refusals, 0)
      }),
    60_000
  )
})
