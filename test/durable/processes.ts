/** What becomes of calls when the processes of a database die: the servers are processes of their own. */
import { Call } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Scope } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { rowOf } from "./fixtures.ts"
import { IWork, type Work } from "./process.ts"
import { isHere, type Runtime, spawnWork } from "./spawned.ts"
import { build, type Kind, type Provided, type World } from "./worlds.ts"

const lease = 2_000
const runtimes: ReadonlyArray<Runtime> = ["node", "deno", "bun"]

export const processes = (kind: Kind): unknown =>
  describe(`processes on ${kind.name}`, () => {
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
      it.live(name, () => Effect.scoped(Effect.suspend(() => Effect.provideContext(effect, client))), 90_000)

    const server = (runtime: Runtime = "node") =>
      Effect.gen(function* () {
        const work: Work = { ...(yield* world.work), role: "server", lease }
        const spawned = yield* spawnWork(runtime, work)
        yield* spawned.until("ready")
        return spawned
      })

    test(
      "a server is killed in mid-call: each method's mode says what becomes of the call",
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const binding = yield* Durable.binding(IWork)
        const first = yield* server()
        const millis = 3_000
        const once = yield* Call.start(binding, "Once", { name: "once", millis })
        const again = yield* Call.start(binding, "Again", { name: "again", millis })
        for (const name of ["once", "again"]) yield* first.until(`started ${name}`)
        const write = yield* Call.start(binding, "Write", { name: "write", millis: 500 })
        yield* first.until("started write")
        yield* first.kill("SIGKILL")
        const second = yield* server()
        assert.deepInclude(yield* Effect.flip(Call.join(once)), { _tag: "RpcTransportError", status: 1726 })
        assert.strictEqual(yield* Call.join(again), millis)
        assert.strictEqual(yield* Call.join(write), 500)
        assert.lengthOf(yield* sql`SELECT name FROM written WHERE name = 'write'`, 1)
        assert.notInclude(second.lines, "started once")
        assert.deepInclude(yield* rowOf(Durable.handle(again)), { attempts: 2, yielded: 0 })
      })
    )

    test(
      "a second server starts: the calls that run are not disturbed",
      Effect.gen(function* () {
        const binding = yield* Durable.binding(IWork)
        const first = yield* server()
        const names = Array.from({ length: 8 }, (_, n) => `calm ${n}`)
        const calls = yield* Effect.forEach(names, (name) => Call.start(binding, "Once", { name, millis: 8_000 }))
        for (const name of names) yield* first.until(`started ${name}`)
        const second = yield* server()
        const later = yield* Effect.forEach(names, (name) =>
          Call.start(binding, "Again", { name: `later ${name}`, millis: 1 }))
        for (const call of calls) {
          assert.strictEqual(yield* Call.join(call), 8_000)
        }
        for (const call of later) {
          assert.strictEqual(yield* Call.join(call), 1)
        }
        for (const name of names) {
          assert.notInclude(second.lines, `started ${name}`)
        }
      })
    )

    test(
      "a server is told to end: its calls end first",
      Effect.gen(function* () {
        const binding = yield* Durable.binding(IWork)
        const first = yield* server()
        const once = yield* Call.start(binding, "Once", { name: "last", millis: 1_500 })
        yield* first.until("started last")
        yield* first.kill("SIGTERM")
        assert.include(first.lines, "ended last")
        assert.strictEqual(yield* Call.join(once), 1_500)
      })
    )

    for (const runtime of runtimes) {
      for (const other of runtimes) {
        test(
          `a server on ${runtime}, a client on ${other}: the call is made`,
          Effect.gen(function* () {
            for (const name of [runtime, other]) {
              if (!isHere(name)) {
                return
              }
            }
            const name = `${runtime} ${other}`
            const running = yield* server(runtime)
            const work: Work = {
              ...(yield* world.work),
              role: "client",
              lease,
              calls: [{ method: "Again", name, millis: 1 }, { method: "Write", name: `write ${name}`, millis: 1 }]
            }
            const calling = yield* spawnWork(other, work)
            yield* calling.until(`result ${name} 1`)
            yield* calling.until(`result write ${name} 1`)
            assert.include(running.lines, `ended ${name}`)
          })
        )
      }
    }
  })
