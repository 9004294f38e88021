/** What may be wrong with a SQLite file, and many calls through one process. */
import { Call, Interface, Manager, Synchronize } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import * as DurableNode from "@callisto/rpc/durable/node"
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Schema, type Scope } from "effect"
import * as Sharding from "effect/cluster/Sharding"
import * as SqlClient from "effect/sql/SqlClient"
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { DatabaseSync } from "node:sqlite"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { budgetOf } from "../budget.ts"
import { callsOf, wordsOf } from "./bed.ts"
import { eventually, IBank, makeBench, makeEffects, rowOf, until } from "./fixtures.ts"
import { build } from "./worlds.ts"

const folder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "callisto-file-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

const live = <E>(name: string, effect: Effect.Effect<void, E, Scope.Scope>, timeout = 30_000) =>
  it.live(name, () => Effect.scoped(effect), timeout)

const client = (file: string) => DurableNode.embedded({ file, client: true })

const built = (layer: Layer.Layer<Durable.Calls, unknown>) =>
  Effect.exit(Effect.timeout(Effect.scoped(Layer.build(layer)), "20 seconds"))

// ----------------------------------------------------------------------------
// files
// ----------------------------------------------------------------------------

live(
  "a file that is no database, a folder, or one in a folder that is not there: a SqlError that names it",
  Effect.gen(function* () {
    const at = yield* folder
    writeFileSync(join(at, "text"), "no database at all, and long enough to be none".repeat(100))
    mkdirSync(join(at, "folder"))
    for (const file of ["text", "folder", "nothing/calls.db"]) {
      const before = performance.now()
      const words = wordsOf(yield* built(client(join(at, file))))
      assert.match(words, /SqlError/, file)
      assert.include(words, `The database ${join(at, file)} could not be opened`)
      assert.isBelow(performance.now() - before, 10_000)
    }
  })
)

live(
  "a file that may not be written: a SqlError",
  Effect.gen(function* () {
    // The administrator may write to everything.
    if (process.getuid?.() === 0) return
    const at = yield* folder
    const file = join(at, "calls.db")
    yield* Effect.scoped(Layer.build(client(file)))
    chmodSync(file, 0o444)
    chmodSync(at, 0o555)
    const words = wordsOf(yield* built(client(file)))
    chmodSync(at, 0o755)
    assert.match(words, /SqlError/)
  })
)

live(
  "a file that is removed while it is in use: what was begun is not lost in silence, and what comes fails with 1726 or is stored",
  Effect.gen(function* () {
    const at = yield* folder
    const file = join(at, "calls.db")
    const context = yield* build(client(file))
    yield* Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      yield* Call.start(bank, "Add", [1])
      for (const name of ["calls.db", "calls.db-wal", "calls.db-shm"]) rmSync(join(at, name), { force: true })
      const exit = yield* Effect.exit(Effect.timeout(Call.start(bank, "Add", [2]), "20 seconds"))
      if (exit._tag === "Failure") assert.match(wordsOf(exit), /RPC_S_CALL_FAILED/)
      else assert.isDefined(yield* rowOf(Durable.handle(exit.value)))
    }).pipe(Effect.provideContext(context))
  })
)

live(
  "another process writes for 2 seconds: calls are begun, run and taken after it",
  Effect.gen(function* () {
    const file = join(yield* folder, "calls.db")
    const bench = makeBench()
    const context = yield* build(
      Durable.serve([bench.manager]).pipe(Layer.provideMerge(DurableNode.embedded({ file })))
    )
    yield* Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      assert.strictEqual(yield* Call.invoke(bank, "Add", [1]), 1)
      const other = new DatabaseSync(file)
      other.exec("BEGIN EXCLUSIVE")
      let isBusy = true
      const calling = yield* Effect.forkChild(Call.invoke(bank, "Add", [2, 3]))
      let ticks = 0
      const ticking = yield* Effect.forkChild(
        Effect.forever(Effect.andThen(Effect.sync(() => ticks++), Effect.sleep(20)))
      )
      yield* Effect.sleep(2_000)
      assert.isUndefined(calling.pollUnsafe())
      // Waiting for the database does not hold up the process.
      assert.isAtLeast(ticks, 30)
      other.exec("ROLLBACK")
      other.close()
      isBusy = false
      assert.strictEqual(yield* Fiber.join(calling), 5)
      assert.isFalse(isBusy)
      yield* Fiber.interrupt(ticking)
    }).pipe(Effect.provideContext(context))
  }),
  60_000
)

live(
  "a disk that is full: begin fails with 1726 and stores nothing, a result waits, and all goes on when there is room",
  Effect.gen(function* () {
    const bench = makeBench()
    const context = yield* build(
      Durable.serve([bench.manager], { mode: { Stop: "idempotent" } }).pipe(
        Layer.provideMerge(DurableNode.embedded({ file: ":memory:" }))
      )
    )
    yield* Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const running = yield* Call.start(bank, "Stop", { name: "running" })
      yield* until(() => bench.started.includes("running"))
      const [pages] = yield* sql<{ readonly page_count: number }>`PRAGMA page_count`
      yield* sql`PRAGMA max_page_count = ${sql.literal(String(pages!.page_count))}`
      const text = "x".repeat(200_000)
      const error = yield* Effect.flip(Call.start(bank, "Stop", { name: text }))
      assert.deepInclude(error, { _tag: "RpcTransportError", status: 1726 })
      assert.match((error as { readonly detail?: string }).detail ?? "", /could not be stored/)
      assert.lengthOf(yield* sql`SELECT id FROM callisto_calls`, 1)
      bench.open("running")
      yield* Effect.sleep(200)
      yield* sql`PRAGMA max_page_count = 1000000`
      assert.isUndefined(yield* Call.join(running))
      assert.strictEqual(yield* Call.invoke(bank, "Add", [4]), 4)
    }).pipe(Effect.provideContext(context))
  })
)

// ----------------------------------------------------------------------------
// one writer
// ----------------------------------------------------------------------------

const IWrite = Interface.make("IWrite", {
  uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b56",
  version: [1, 0],
  methods: { Write: Interface.method({ in: { amount: Schema.Int } }) }
})

live(
  "a transaction routine that has not written yet: it delays no begin; one that has delays them until it ends",
  Effect.gen(function* () {
    const file = join(yield* folder, "calls.db")
    let step = "none"
    const reached = (name: string) => eventually(Effect.sync(() => step), (now) => now === name)
    const manager = Manager.make(IWrite, {
      Write: ({ amount }) =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* sql`SELECT amount FROM effects`
          step = "read"
          yield* reached("go on")
          yield* sql`INSERT INTO effects (amount) VALUES (${amount})`
          step = "written"
          yield* reached("end")
        }).pipe(Effect.orDie)
    })
    const server = yield* build(
      Durable.serve([manager, makeBench().manager], {
        mode: { Write: "transaction" },
        transactionTimeout: "20 seconds"
      })
        .pipe(Layer.provideMerge(DurableNode.embedded({ file })))
    )
    const other = yield* build(client(file))
    yield* Effect.gen(function* () {
      yield* makeEffects
      const sql = yield* SqlClient.SqlClient
      const writing = yield* Call.start(yield* Durable.binding(IWrite), "Write", { amount: 1 })
      yield* eventually(Effect.sync(() => step), (now) => now === "read")
      for (const context of [server, other]) {
        const before = performance.now()
        yield* Effect.flatMap(Durable.binding(IBank), (bank) => Call.start(bank, "Add", [1])).pipe(
          Effect.provideContext(context)
        )
        // A hundred milliseconds on an idle machine.
        assert.isBelow(performance.now() - before, 2_000)
      }
      assert.strictEqual(step, "read")
      // A writer came in between, so the routine has read what is no longer so: it runs again from its start.
      yield* eventually(
        Effect.sync(() => {
          if (step === "read") step = "go on"
          return step
        }),
        (now) => now === "written"
      )
      const bank = yield* Durable.binding(IBank)
      const begin = yield* Effect.forkChild(Call.start(bank, "Add", [2]))
      yield* Effect.sleep(300)
      assert.isUndefined(begin.pollUnsafe())
      step = "end"
      yield* Fiber.join(begin)
      yield* Call.join(writing)
      assert.lengthOf(yield* sql`SELECT amount FROM effects`, 1)
      assert.deepInclude(yield* rowOf(Durable.handle(writing)), { attempts: 1 })
    }).pipe(Effect.provideContext(other))
  }),
  60_000
)

live(
  "in memory, a wait in a transaction: refused in words, and nothing hangs",
  Effect.gen(function* () {
    const bench = makeBench()
    const context = yield* build(
      Durable.serve([bench.manager]).pipe(Layer.provideMerge(DurableNode.embedded({ file: ":memory:" })))
    )
    yield* Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const pending = yield* Call.start(bank, "Stop", { name: "outside" })
      yield* until(() => bench.started.includes("outside"))
      const exits = yield* sql.withTransaction(Effect.all([
        Effect.exit(Call.wait(pending)),
        Effect.exit(Call.join(pending)),
        Effect.exit(Synchronize.waitAny([pending])),
        Effect.exit(Call.invoke(bank, "Add", [1])),
        Effect.exit(Effect.flatMap(Durable.resume(IBank, "Stop", Durable.handle(pending)), (again) => Call.wait(again)))
      ]))
      for (const exit of exits) assert.match(wordsOf(exit), /while a transaction on SQLite waits/)
      bench.open("outside")
      yield* Call.join(pending)
      // A take needs no wait.
      const done = yield* Call.start(bank, "Add", [7])
      yield* Call.wait(done)
      assert.strictEqual(yield* sql.withTransaction(Call.finish(done)), 7)
    }).pipe(Effect.provideContext(context))
  })
)

// ----------------------------------------------------------------------------
// what is left
// ----------------------------------------------------------------------------

const total = budgetOf(20_000, 1_000)

/** Collects garbage, where the runtime lets a program do that. */
const collect: (() => void) | undefined = (() => {
  try {
    setFlagsFromString("--expose-gc")
    return runInNewContext("gc") as () => void
  } catch {
    return undefined
  }
})()

/** How many finalizers a scope holds: those of its fibers among them. */
const finalizersOf = ({ state }: Scope.Scope): number =>
  state._tag === "Open" ? state.finalizers?.size ?? (state.finalizer === undefined ? 0 : 1) : 0

live(
  `${total} calls through one binding and one server: nothing is left of them in the process`,
  Effect.gen(function* () {
    const bench = makeBench()
    const context = yield* build(
      Durable.serve([bench.manager]).pipe(Layer.provideMerge(DurableNode.embedded({ file: ":memory:" })))
    )
    yield* Effect.gen(function* () {
      const calls = yield* callsOf
      const binding = yield* Durable.binding(IBank)
      const call = (n: number): Effect.Effect<unknown, unknown> => Call.invoke(binding, "Add", [n])
      const sql = yield* SqlClient.SqlClient
      const { activeEntityCount } = yield* Sharding.Sharding
      const some = Effect.fnUntraced(function* (count: number) {
        yield* Effect.forEach(
          Array.from({ length: count }, (_, n) => n),
          (n) => n % 10 === 9 ? Effect.scoped(Call.start(binding, "Add", [n])) : call(n),
          { concurrency: 32, discard: true }
        )
        bench.started.length = 0
        // The engine stays short of what it kept of the calls before.
        yield* eventually(
          sql<{ readonly n: number }>`SELECT COUNT(*) AS n FROM callisto_calls WHERE outcome IS NULL`,
          ([row]) => Number(row!.n) === 0,
          60_000
        )
        yield* eventually(activeEntityCount, (count) => count === 0, 60_000)
        for (const table of ["callisto_calls", "cluster_messages", "cluster_replies"]) {
          yield* sql`DELETE FROM ${sql(table)}`
        }
      })
      const held = Effect.sync(() => {
        collect?.()
        return process.memoryUsage().heapUsed
      })
      yield* some(Math.round(total / 4))
      const before = yield* held
      yield* some(total - Math.round(total / 4))
      assert.strictEqual(calls.watches.size, 0)
      assert.isAtMost(calls.fibers.size, 4)
      assert.isAtMost(finalizersOf(calls.scope), 30)
      const growth = (yield* held) - before
      console.log(`${total} calls: ${Math.round(growth / total)} bytes a call stay on the heap`)
      // The runtime itself grows by a megabyte or two.
      if (collect !== undefined) assert.isBelow(growth, 2_000_000 + 1_500 * total)
    }).pipe(Effect.provideContext(context))
  }),
  400_000
)
