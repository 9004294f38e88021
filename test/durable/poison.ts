/** Servers that are killed by what they run, or frozen for longer than their lease: the servers are processes of their own. */
import { Call } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Scope } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { existsSync, readFileSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { eventually, rowOf } from "./fixtures.ts"
import { IWork, type Work } from "./process.ts"
import { type Spawned, spawnWork } from "./spawned.ts"
import { build, type Kind, type Provided, type World } from "./worlds.ts"

const lease = 1_500

/** Whether a process has stopped, where the system tells: a signal takes its time. */
const isStopped = (pid: number): boolean => {
  const stat = `/proc/${pid}/stat`
  return !existsSync(stat) || / T /.test(readFileSync(stat, "utf8"))
}

/** Whether a SQLite file can be written to. Others in this process write in one go. */
const isFree = (file: string): boolean => {
  const database = new DatabaseSync(file)
  try {
    database.exec("BEGIN IMMEDIATE; ROLLBACK")
    return true
  } catch {
    return false
  } finally {
    database.close()
  }
}

export const poison = (kind: Kind): unknown =>
  describe(`poison on ${kind.name}`, () => {
    const scope = Scope.makeUnsafe()
    let world: World
    let client: Context.Context<Provided>

    beforeAll(() =>
      Effect.runPromise(Scope.provide(
        Effect.gen(function* () {
          world = yield* yield* kind.worlds
          client = yield* build(world.client())
          const sql = Context.get(client, SqlClient.SqlClient)
          yield* sql`CREATE TABLE written (name VARCHAR(64) NOT NULL)`
        }),
        scope
      )), 60_000)
    afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)), 60_000)

    const test = <E>(name: string, effect: Effect.Effect<void, E, Provided | Scope.Scope>) =>
      it.live(name, () => Effect.scoped(Effect.suspend(() => Effect.provideContext(effect, client))), 120_000)

    const server = (maximumAttempts?: number) =>
      Effect.gen(function* () {
        const work: Work = {
          ...(yield* world.work),
          role: "server",
          lease,
          ...(maximumAttempts && { maximumAttempts })
        }
        return yield* spawnWork("node", work)
      })

    /** Stops a server where it holds up nobody: frozen in a write on SQLite it would keep all others from writing. */
    const freeze = ({ child, kill }: Spawned): Effect.Effect<void> =>
      Effect.gen(function* () {
        const { file } = yield* world.work
        while (true) {
          yield* kill("SIGSTOP")
          yield* eventually(Effect.sync(() => isStopped(child.pid!)), (isStopped) => isStopped)
          if (file === undefined || (isFree(file) && isFree(`${file}-runners`))) return
          yield* kill("SIGCONT")
          yield* Effect.sleep(10)
        }
      })

    test(
      "a routine that kills its process: 1726 after maximumAttempts, and other calls go on",
      Effect.gen(function* () {
        const binding = yield* Durable.binding(IWork)
        const poison = yield* Call.start(binding, "Write", { name: "poison", millis: -1 })
        let deaths = 0
        // Somebody starts the server again whenever it dies.
        yield* Effect.forkScoped(Effect.forever(
          Effect.gen(function* () {
            const { child } = yield* server(3)
            yield* Effect.callback<void>((resume) => void child.once("exit", () => resume(Effect.void)))
            deaths++
          }).pipe(Effect.scoped)
        ))
        yield* eventually(rowOf(Durable.handle(poison)), (row) => Number(row?.attempts) >= 1)
        // It may die of the two attempts that are left, and has one more.
        const innocent = yield* Call.start(binding, "Again", { name: "innocent", millis: 1 })
        assert.strictEqual(yield* Call.join(innocent), 1)
        assert.deepInclude(yield* Effect.flip(Call.join(poison)), { _tag: "RpcTransportError", status: 1726 })
        assert.deepInclude(yield* rowOf(Durable.handle(poison)), { attempts: 3, yielded: 0 })
        assert.strictEqual(deaths, 3)
        const sql = yield* SqlClient.SqlClient
        assert.deepStrictEqual(yield* sql`SELECT name FROM written WHERE name = 'poison'`, [])
        assert.strictEqual(yield* Call.invoke(binding, "Again", { name: "later", millis: 2 }), 2)
      })
    )

    test(
      "a server that is frozen for longer than its lease, and wakes: one outcome for each call, and one write",
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const binding = yield* Durable.binding(IWork)
        const first = yield* server()
        yield* first.until("ready")
        const millis = 3_000
        const begin = (method: "Once" | "Again" | "Write", millis: number) =>
          Effect.tap(
            Call.start(binding, method as "Once", { name: `frozen ${method}`, millis }),
            () => first.until(`started frozen ${method}`)
          )
        const once = yield* begin("Once", 60_000)
        const again = yield* begin("Again", millis)
        // A frozen writer on SQLite keeps all others from writing, so that the second server can do nothing at all.
        const write = kind.name === "PostgreSQL" ? yield* begin("Write", millis) : undefined
        yield* freeze(first)
        const second = yield* server()
        assert.strictEqual(yield* Call.join(again), millis)
        assert.deepInclude(yield* Effect.flip(Call.join(once)), { _tag: "RpcTransportError", status: 1726 })
        if (write !== undefined) assert.strictEqual(yield* Call.join(write), millis)
        assert.include(second.lines, "ended frozen Again")
        assert.notInclude(second.lines, "started frozen Once")
        const handles = [once, again, ...(write === undefined ? [] : [write])].map((pending) => Durable.handle(pending))
        const before = yield* Effect.forEach(handles, rowOf)
        yield* first.kill("SIGCONT")
        // The woken server ends its routines, or drops them: the records stay as they are.
        yield* Effect.sleep(2_500)
        assert.deepStrictEqual(yield* Effect.forEach(handles, rowOf), before)
        const written = yield* sql`SELECT name FROM written WHERE name = 'frozen Write'`
        assert.lengthOf(written, write === undefined ? 0 : 1)
        yield* first.kill("SIGKILL")
        assert.strictEqual(yield* Call.invoke(binding, "Again", { name: "thawed", millis: 3 }), 3)
      })
    )

    // On PostgreSQL the test before this one has such a routine.
    if (kind.name === "PostgreSQL") return
    test(
      "a server that is frozen in the transaction of its routine, and wakes: all others wait, and its writes are there once",
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const binding = yield* Durable.binding(IWork)
        const first = yield* server()
        yield* first.until("ready")
        const write = yield* Call.start(binding, "Write", { name: "icy", millis: 400 })
        yield* first.until("started icy")
        yield* first.kill("SIGSTOP")
        yield* server()
        yield* Effect.sleep(2_500)
        yield* first.kill("SIGCONT")
        assert.strictEqual(yield* Call.join(write), 400)
        yield* Effect.sleep(1_000)
        assert.lengthOf(yield* sql`SELECT name FROM written WHERE name = 'icy'`, 1)
      })
    )
  })
