// Measures durable calls beside the engine under them, on a PostgreSQL of their own with its default fsync, and on a SQLite file.
//
//   node bench/durable.ts [--quick] [--json FILE]
import { Context, Effect, Layer, Logger, type Scope } from "effect"
import type * as Sharding from "effect/cluster/Sharding"
import * as SqlClient from "effect/sql/SqlClient"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import os, { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { Call } from "../mod.ts"
import * as Durable from "../src/durable.ts"
import type { CallsImpl } from "../src/durable/internal/calls.ts"
import { sweep } from "../src/durable/internal/server.ts"
import { freePort, makePostgresWith, type Postgres } from "../test/durable/postgres.ts"
import { useNagle } from "./durable/nagle.ts"
import { IWork, layerOf, type Place, serve, WorkEntity } from "./durable/service.ts"
import { markdown, rowsOf, runtime, spread, type Table, takeTurns, type Turn } from "./measure.ts"
import { targetsOf, verdict } from "./targets.ts"

export interface Effort {
  readonly rounds: number
  /** How many calls one contender makes in one round, 32 at once. */
  readonly calls: number
  readonly takeovers: number
  /** How many ended calls are swept. */
  readonly swept: number
}

type Provided = Durable.Calls | Sharding.Sharding | SqlClient.SqlClient

// ----------------------------------------------------------------------------
// processes
// ----------------------------------------------------------------------------

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

interface Started {
  readonly kind: "durable" | "engine"
  readonly n: number
}

/** A process that runs the work. */
interface Runner {
  readonly child: ChildProcess
  /** The routines that have started there, and when. */
  readonly started: Array<Started & { readonly at: number }>
}

const startRunner = (place: Place, port: number, ...more: ReadonlyArray<string>): Effect.Effect<
  Runner,
  never,
  Scope.Scope
> =>
  Effect.gen(function* () {
    const program = process.versions["deno"] === undefined ? [] : ["run", "-A"]
    const args = [
      ...program,
      ...process.execArgv,
      here("durable/worker.ts"),
      JSON.stringify(place),
      String(port),
      ...more
    ]
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] })),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    const started: Runner["started"] = []
    yield* Effect.callback<void>((resume) => {
      createInterface({ input: child.stdout }).on("line", (line) => {
        const value = JSON.parse(line)
        if ("kind" in value) started.push({ ...value, at: performance.now() })
        else resume(Effect.void)
      })
      child.once("exit", () => resume(Effect.die(new Error("a runner of the benchmark has ended"))))
    })
    return { child, started }
  })

const build = <A>(layer: Layer.Layer<A, unknown>): Effect.Effect<Context.Context<A>, never, Scope.Scope> =>
  Effect.orDie(Effect.flatMap(Effect.scope, (scope) => Layer.buildWithMemoMap(layer, Layer.makeMemoMapUnsafe(), scope)))

/** A database of its own, with what begins calls on it in this process. */
const client = (place: Place) => build(layerOf(place) as Layer.Layer<Provided, unknown>)

// ----------------------------------------------------------------------------
// whole calls
// ----------------------------------------------------------------------------

interface Rate {
  readonly rate: number
  /** The median of the calls, in milliseconds. */
  readonly median: number
}

let serial = 0
const fresh = () => `${process.pid}-${++serial}`

const durableCall = Effect.gen(function* () {
  const binding = yield* Durable.binding(IWork)
  return (n: number) => Effect.scoped(Effect.flatMap(Call.start(binding, "Echo", n), (pending) => Call.join(pending)))
})

/** The yardstick: one persisted request to an entity of its own. */
const engineCall = Effect.map(
  WorkEntity.client,
  (entity) => (n: number) => Effect.suspend(() => entity(fresh()).Echo({ id: "", n }))
)

const rateOf = <E, R>(
  call: (n: number) => Effect.Effect<unknown, E, R>,
  calls: number
): Effect.Effect<Rate, never, R> =>
  Effect.gen(function* () {
    const took: Array<number> = []
    const start = performance.now()
    yield* Effect.forEach(Array.from({ length: calls }, (_, n) => n), (n) =>
      Effect.suspend(() => {
        const begun = performance.now()
        return Effect.tap(call(n), () => Effect.sync(() => took.push(performance.now() - begun)))
      }), { concurrency: 32, discard: true })
    return { rate: calls * 1000 / (performance.now() - start), median: spread(took).median }
  }).pipe(Effect.orDie) as Effect.Effect<Rate, never, R>

const turn = <A>(
  name: string,
  context: Context.Context<any>,
  perform: Effect.Effect<A, any, any>,
  reference?: string
): Turn<A> => ({
  name,
  reference,
  perform: Effect.map(Effect.orDie(Effect.provideContext(perform, context)), (value) => ({ value })) as never
})

const engine = "effect/cluster, persisted request"
const durable = "Callisto, durable call"

const wholeCalls = (id: string, where: string, context: Context.Context<any>, { calls, rounds }: Effort) =>
  Effect.gen(function* () {
    const turns: ReadonlyArray<Turn<Rate>> = [
      turn(engine, context, Effect.flatMap(engineCall, (call) => rateOf(call, calls))),
      turn(durable, context, Effect.scoped(Effect.flatMap(durableCall, (call) => rateOf(call, calls))), engine)
    ]
    const { outcomes } = yield* takeTurns(turns, rounds)
    return [
      {
        id: `${id} rate`,
        title: `begin, run, join and take, 32 at once, ${where}`,
        unit: "a second",
        rows: rowsOf(outcomes, ({ rate }) => rate)
      },
      {
        id: `${id} median`,
        title: `one of 32 calls, median, ${where}`,
        unit: "ms",
        rows: rowsOf(outcomes, ({ median }) => median)
      }
    ]
  })

// ----------------------------------------------------------------------------
// parts of a call
// ----------------------------------------------------------------------------

const insertOne = "one INSERT in a transaction"
const twoStatements = "a SELECT and an UPDATE"

/** What a client alone does, one after the other: no process runs anything. */
const parts = (context: Context.Context<any>, { calls, rounds }: Effort) =>
  Effect.gen(function* () {
    const count = Math.max(10, Math.floor(calls / 4))
    const each = <E>(one: (n: number) => Effect.Effect<unknown, E, any>) =>
      Effect.gen(function* () {
        const took: Array<number> = []
        for (let n = 0; n < count; n++) {
          const start = performance.now()
          yield* one(n)
          took.push(performance.now() - start)
        }
        return spread(took).median
      })
    const sql = Context.get(context as Context.Context<SqlClient.SqlClient>, SqlClient.SqlClient)
    yield* Effect.orDie(sql`CREATE TABLE bench (id VARCHAR(64) PRIMARY KEY, input TEXT NOT NULL, outcome TEXT)`)
    const insert = (id: string) => sql.withTransaction(sql`INSERT INTO bench ${sql.insert({ id, input: "1" })}`)
    const begin = yield* takeTurns([
      turn(insertOne, context, each(() => insert(fresh()))),
      turn(
        "Callisto, begin",
        context,
        Effect.scoped(
          Effect.flatMap(
            Durable.binding(IWork),
            (binding) => each((n) => Effect.scoped(Call.start(binding, "Echo", n)))
          )
        ),
        insertOne
      )
    ], rounds)
    const finish = yield* takeTurns([
      turn(
        twoStatements,
        context,
        each(() => {
          const id = fresh()
          return Effect.as(insert(id), id)
        }).pipe(Effect.andThen(
          each((n) =>
            Effect.andThen(
              sql`SELECT * FROM bench WHERE id = ${`${process.pid}-${serial - n}`}`,
              sql`UPDATE bench SET outcome = '1' WHERE id = ${`${process.pid}-${serial - n}`} RETURNING id`
            )
          )
        ))
      ),
      turn(
        "Callisto, resume and finish",
        context,
        Effect.scoped(Effect.gen(function* () {
          const binding = yield* Durable.binding(IWork)
          const handles: Array<string> = []
          for (let n = 0; n < count; n++) handles.push(Durable.handle(yield* Call.start(binding, "Echo", n)))
          yield* sql`UPDATE callisto_calls SET outcome = ${`{"t":"ok","v":1}`}, ended_at = 1 WHERE outcome IS NULL`
          return yield* each((n) =>
            Effect.scoped(
              Effect.flatMap(Durable.resume(IWork, "Echo", handles[n]!), (pending) => Call.join(pending))
            )
          )
        })),
        twoStatements
      )
    ], rounds)
    return [
      {
        id: "durable begin",
        title: "begin, one at a time, PostgreSQL",
        unit: "ms",
        rows: rowsOf(begin.outcomes, (ms) => ms)
      },
      {
        id: "durable finish",
        title: "resume and finish of an ended call, one at a time, PostgreSQL",
        unit: "ms",
        rows: rowsOf(finish.outcomes, (ms) => ms)
      }
    ]
  })

/** The statements that the program sends to PostgreSQL while an effect runs, on the table of calls. */
const statements = (sql: SqlClient.SqlClient) => ({
  reset: Effect.orDie(sql`SELECT pg_stat_statements_reset()`),
  count: Effect.orDie(Effect.map(
    sql<{ readonly n: unknown }>`SELECT COALESCE(SUM(calls), 0) AS n FROM pg_stat_statements
      WHERE query LIKE '%callisto_calls%' AND query NOT LIKE '%pg_stat_statements%'`,
    ([row]) => Number(row!.n)
  ))
})

const cancels = (context: Context.Context<any>, { rounds }: Effort) =>
  Effect.gen(function* () {
    const sql = Context.get(context as Context.Context<SqlClient.SqlClient>, SqlClient.SqlClient)
    const { count, reset } = statements(sql)
    yield* Effect.orDie(sql`CREATE EXTENSION IF NOT EXISTS pg_stat_statements`)
    const { outcomes } = yield* takeTurns([
      turn(
        "Callisto, cancel to CallCancelled",
        context,
        Effect.scoped(Effect.gen(function* () {
          const pending = yield* Call.start(yield* Durable.binding(IWork), "Echo", 1)
          yield* reset
          yield* Call.cancel(pending)
          yield* Call.wait(pending)
          return yield* count
        }))
      )
    ], rounds)
    return {
      id: "durable cancel",
      title: "cancel of a call that nobody runs, PostgreSQL",
      unit: "statements",
      rows: rowsOf(outcomes, (count) => count)
    }
  })

/** Ended calls, with what the engine keeps of each, are removed. */
const sweeping = (where: string, context: Context.Context<any>, { swept }: Effort) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const calls = (yield* Durable.Calls) as unknown as CallsImpl
    yield* sql`DELETE FROM cluster_messages`
    yield* sql`DELETE FROM callisto_calls`
    const numbers = sql`WITH RECURSIVE numbers AS
      (SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < ${sql.literal(String(swept))})`
    const yes = sql.literal(calls.record.isPg ? "TRUE" : "1")
    yield* sql`${numbers} INSERT INTO callisto_calls (id, interface, method, input, begun_at, attempts, outcome, ended_at)
      SELECT 'call-' || n, ${`${IWork.uuid} 1`}, 'Echo', '1', n, 1, ${`{"t":"ok","v":1}`}, n FROM numbers`
    yield* sql`${numbers} INSERT INTO cluster_messages
      (id, message_id, shard_id, entity_type, entity_id, kind, tag, payload, headers, request_id, processed, last_reply_id)
      SELECT n, 'Callisto/Calls/call-' || n || '/Dispatch/', 'default:' || (1 + n % 32), 'Callisto/Calls', 'call-' || n,
      0, 'Dispatch', '{}', '{}', n, ${yes}, n FROM numbers`
    yield* sql`INSERT INTO cluster_replies (id, kind, request_id, payload) SELECT id, 0, id, '{}' FROM cluster_messages`
    const start = performance.now()
    yield* sweep(calls, Date.now(), { keepEnded: 1, keepFinished: 1 })
    const rate = swept * 1000 / (performance.now() - start)
    for (const table of ["callisto_calls", "cluster_messages", "cluster_replies"]) {
      const [row] = yield* sql<{ readonly n: unknown }>`SELECT COUNT(*) AS n FROM ${sql(table)}`
      if (Number(row!.n) > 0) return yield* Effect.die(new Error(`the sweep left rows in ${table}`))
    }
    return { name: where, value: spread([rate]) }
  }).pipe(Effect.scoped, Effect.orDie, Effect.provideContext(context))

// ----------------------------------------------------------------------------
// takeover, and Nagle's algorithm
// ----------------------------------------------------------------------------

/** Kills one of two runners that each run calls of both kinds, and waits until the other has started them all. */
const takeover = (postgres: Postgres, round: number) =>
  Effect.scoped(Effect.gen(function* () {
    const { name } = yield* postgres.database(`takeover${round}`)
    const place: Place = { host: "127.0.0.1", port: postgres.port, name }
    const context = yield* client(place)
    const [killed, other] = [
      yield* startRunner(place, yield* freePort),
      yield* startRunner(place, yield* freePort)
    ] as const
    const each = 12
    return yield* Effect.gen(function* () {
      const binding = yield* Durable.binding(IWork)
      const entity = yield* WorkEntity.client
      // The shards settle.
      yield* Effect.sleep("4 seconds")
      for (let n = 0; n < each; n++) {
        yield* Call.start(binding, "Stay", n)
        yield* Effect.forkScoped(Effect.ignoreCause(Effect.suspend(() => entity(fresh()).Stay({ id: "", n }))))
      }
      const until = (holds: () => boolean) =>
        Effect.gen(function* () {
          const end = performance.now() + 60_000
          while (!holds() && performance.now() < end) yield* Effect.sleep(5)
        })
      yield* until(() => killed.started.length + other.started.length >= 2 * each)
      const before = other.started.length
      const lost = killed.started.length
      const at = performance.now()
      killed.child.kill("SIGKILL")
      yield* until(() => other.started.length >= before + lost)
      const after = other.started.slice(before)
      const seconds = (kind: Started["kind"]) =>
        spread(after.filter((one) => one.kind === kind).map((one) => (one.at - at) / 1000)).median
      return { engine: seconds("engine"), durable: seconds("durable") }
    }).pipe(Effect.provideContext(context))
  })).pipe(Effect.orDie) as Effect.Effect<{ readonly engine: number; readonly durable: number }>

const takeovers = (postgres: Postgres, { takeovers: rounds }: Effort) =>
  Effect.gen(function* () {
    const values: Array<{ readonly engine: number; readonly durable: number }> = []
    for (let round = 0; round < rounds; round++) values.push(yield* takeover(postgres, round))
    return {
      id: "durable takeover",
      title: "a runner is killed, until another has started its calls, PostgreSQL",
      unit: "s",
      rows: rowsOf([
        { name: engine, values: values.map(({ engine }) => engine) },
        { name: durable, reference: engine, values: values.map(({ durable }) => durable) }
      ], (seconds) => seconds)
    }
  })

const oneByOne = (calls: number) =>
  Effect.scoped(Effect.flatMap(durableCall, (call) =>
    Effect.gen(function* () {
      const took: Array<number> = []
      for (let n = 0; n < calls; n++) {
        const start = performance.now()
        yield* call(n)
        took.push(performance.now() - start)
      }
      return spread(took).median
    })))

const withNagle = "with Nagle's algorithm"

const delays = (postgres: Postgres, context: Context.Context<any>, { calls, rounds }: Effort) =>
  Effect.gen(function* () {
    const { name } = yield* postgres.database("nagle")
    const place: Place = { host: "127.0.0.1", port: postgres.port, name }
    const slow = yield* client(place)
    yield* startRunner(place, yield* freePort, "nagle")
    const undo = useNagle()
    yield* Effect.addFinalizer(() => Effect.sync(undo))
    const count = Math.max(5, Math.floor(calls / 10))
    const { outcomes } = yield* takeTurns([
      turn(withNagle, slow, oneByOne(count)),
      turn("with noDelay", context, oneByOne(count), withNagle)
    ], rounds)
    return {
      id: "durable noDelay",
      title: "one durable call at a time, median, PostgreSQL",
      unit: "ms",
      rows: rowsOf(outcomes, (ms) => ms)
    }
  }).pipe(Effect.scoped)

// ----------------------------------------------------------------------------
// all of it
// ----------------------------------------------------------------------------

const onPostgres = (effort: Effort) =>
  Effect.gen(function* () {
    const postgres = yield* makePostgresWith({ fsync: "on", shared_preload_libraries: "pg_stat_statements" })
    const placeOf = (name: string) =>
      Effect.map(postgres.database(name), (): Place => ({ host: "127.0.0.1", port: postgres.port, name }))
    const place = yield* placeOf("calls")
    const context = yield* client(place)
    const alone = yield* client(yield* placeOf("alone"))
    const tables: Array<Table> = []
    yield* Effect.scoped(Effect.gen(function* () {
      yield* startRunner(place, yield* freePort)
      tables.push(...yield* wholeCalls("durable postgres", "PostgreSQL", context, effort))
      if (process.versions["deno"] === undefined && process.versions["bun"] === undefined) {
        tables.push(yield* delays(postgres, context, effort))
      }
    }))
    tables.push(...yield* parts(alone, effort), yield* cancels(alone, effort), yield* takeovers(postgres, effort))
    return { tables, swept: yield* sweeping("PostgreSQL", alone, effort) }
  }).pipe(Effect.scoped)

const onSqlite = (effort: Effort) =>
  Effect.gen(function* () {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "callisto-bench-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
    )
    const tables = yield* Effect.scoped(Effect.gen(function* () {
      const server = serve(() => {}).pipe(Layer.provideMerge(layerOf({ file: join(folder, "calls.db") }, 1)))
      return yield* wholeCalls("durable sqlite", "SQLite, one process", yield* build(server as never), effort)
    }))
    const alone = yield* client({ file: join(folder, "alone.db") })
    return { tables, swept: yield* sweeping("SQLite", alone, effort) }
  }).pipe(Effect.scoped)

export const measureDurable = (effort: Effort): Effect.Effect<ReadonlyArray<Table>> =>
  Effect.gen(function* () {
    const postgres = yield* onPostgres(effort)
    const sqlite = yield* onSqlite(effort)
    return [
      ...postgres.tables,
      ...sqlite.tables,
      { id: "durable sweep", title: "ended calls swept", unit: "a second", rows: [postgres.swept, sqlite.swept] }
    ]
  }).pipe(Effect.provide(Logger.layer([])), Effect.orDie) as Effect.Effect<ReadonlyArray<Table>>

export const quickEffort: Effort = { rounds: 2, calls: 40, takeovers: 1, swept: 300 }
export const wholeEffort: Effort = { rounds: 10, calls: 128, takeovers: 2, swept: 10_000 }

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { json, quick } = parseArgs({
    options: { json: { type: "string" }, quick: { type: "boolean", default: false } }
  }).values
  const load = () => os.loadavg()[0]!.toFixed(1)
  const before = load()
  const tables = await Effect.runPromise(measureDurable(quick ? quickEffort : wholeEffort))
  const targets = targetsOf(tables)
  const circumstances = `PostgreSQL and SQLite on this machine, load ${before} before and ${load()} after`
  console.log(`# ${runtime}

${tables.map(markdown).join("\n\n")}

${quick ? "Targets: too little was measured to tell." : targets.map(verdict).join("\n")}
`)
  if (json !== undefined) {
    writeFileSync(json, `${JSON.stringify({ runtime, circumstances, tables, targets }, undefined, 2)}\n`)
  }
  process.exit()
}
