/**
 * A `SqlClient` over `node:sqlite`: the drivers in the registry do not load with this version of Effect.
 */
import type { DatabaseSync } from "node:sqlite"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { classifySqliteError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"

interface SqliteConnection extends Connection {
  readonly database: DatabaseSync
}

type Around = <C extends Connection>(connection: C) => C

/** Stands around each connection to a file: tests watch its statements. */
export const Around: Context.Reference<Around> = Context.Reference<Around>("@callisto/rpc/Durable/Around", {
  defaultValue: () => identity
})

/** The numbers of SQLite for a database that another connection is writing to. */
const busy = 5
const locked = 6

const codeOf = (error: unknown): number =>
  Number(
    (error as { readonly errcode?: unknown; readonly errno?: unknown }).errcode ??
      (error as { readonly errno?: unknown }).errno ?? 0
  )

/** A statement that could wait for another connection: it changed nothing. A snapshot that is too old stays so. */
const isBusy = (error: unknown): boolean => {
  const code = codeOf(error)
  if (code === 517) return false
  return (code & 0xff) === busy || (code & 0xff) === locked ||
    (code === 0 && /database (table )?is locked/.test(String(error)))
}

/** Effect knows the numbers of SQLite by another name than the runtimes. */
const failed = (cause: unknown, message = "The statement failed"): SqlError => {
  const known = typeof cause === "object" && cause !== null && codeOf(cause) !== 0
    ? Object.assign(cause, { errno: codeOf(cause) })
    : cause
  return new SqlError({ reason: classifySqliteError(known, { message, operation: "execute" }) })
}

/** Runs a statement. The driver blocks the event loop, so SQLite itself must not wait for other connections. */
const patiently = <A>(run: () => A): Effect.Effect<A, SqlError> => {
  const end = performance.now() + 30_000
  const attempt = (pause: number): Effect.Effect<A, SqlError> =>
    Effect.suspend(() => {
      try {
        return Effect.succeed(run())
      } catch (error) {
        return isBusy(error) && performance.now() < end
          ? Effect.andThen(Effect.sleep(pause * (0.5 + Math.random())), attempt(Math.min(50, pause * 1.5)))
          : Effect.fail(failed(error))
      }
    })
  return attempt(2)
}

type Value = null | number | bigint | string | Uint8Array

const valueOf = (value: unknown): Value =>
  value === undefined
    ? null
    : typeof value === "boolean"
    ? Number(value)
    : value instanceof Date
    ? value.toISOString()
    : value as Value

/** What makes the file the library's own. A tool that only looks at it leaves its journal alone. */
const journal = "PRAGMA journal_mode = WAL"

/** A number that JavaScript can't hold stays a bigint: otherwise the driver throws for all rows. */
const smallNumbers = (rows: ReadonlyArray<object>): ReadonlyArray<object> => {
  for (const row of rows as ReadonlyArray<Record<string, unknown>>) {
    for (const name in row) {
      const value = row[name]
      if (typeof value !== "bigint") continue
      const number = Number(value)
      if (Number.isSafeInteger(number)) row[name] = number
    }
  }
  return rows
}

const connect = (open: () => DatabaseSync, isThere: boolean): Effect.Effect<SqliteConnection, SqlError> =>
  Effect.map(
    Effect.flatMap(patiently(open), (database) =>
      Effect.as(
        Effect.forEach(
          [
            "PRAGMA busy_timeout = 0",
            ...(isThere ? [] : [journal]),
            "PRAGMA synchronous = FULL",
            "PRAGMA foreign_keys = ON"
          ],
          (pragma) => patiently(() => database.exec(pragma)),
          { discard: true }
        ),
        database
      )),
    (database) => {
      const statements = new Map<string, ReturnType<DatabaseSync["prepare"]>>()
      const prepare = (sql: string) => {
        const known = statements.get(sql)
        if (known !== undefined) return known
        const statement = database.prepare(sql)
        statement.setReadBigInts(true)
        if (statements.size >= 200) statements.clear()
        statements.set(sql, statement)
        return statement
      }
      const rows = (sql: string, params: ReadonlyArray<unknown>) =>
        Effect.map(patiently(() => prepare(sql).all(...params.map(valueOf)) as ReadonlyArray<object>), smallNumbers)
      const execute: Connection["execute"] = (sql, params, transform) =>
        Effect.map(rows(sql, params), (found) => transform === undefined ? found : transform(found))
      const values: Connection["executeValues"] = (sql, params) =>
        Effect.map(rows(sql, params), (found) => found.map((row) => Object.values(row)))
      return {
        database,
        execute,
        executeRaw: rows,
        executeUnprepared: execute,
        executeValues: values,
        executeValuesUnprepared: values,
        executeStream: (sql, params, transform) =>
          Stream.unwrap(Effect.map(execute(sql, params, transform), (found) => Stream.fromIterable(found)))
      }
    }
  )

const isTransaction = (connection: Connection): boolean =>
  (connection as SqliteConnection).database.isTransaction ?? true

/** One connection does everything: the database is its own. */
const inMemory = Effect.fnUntraced(function* (open: () => DatabaseSync, isThere: boolean) {
  const connection = yield* Effect.acquireRelease(
    connect(open, isThere),
    ({ database }) => Effect.sync(() => database.close())
  )
  const acquirers = SqlClient.makeSqliteAcquirers({
    connection: Effect.succeed(connection),
    semaphore: Semaphore.makeUnsafe(1),
    isTransaction
  })
  return acquirers
})

/** One connection for single statements, and one for each transaction: readers and those who wait hold nobody up. */
const onFile = Effect.fnUntraced(function* (open: () => DatabaseSync, isThere: boolean) {
  const all = new Set<SqliteConnection>()
  yield* Effect.addFinalizer(() => Effect.sync(() => all.forEach(({ database }) => database.close())))
  const around = yield* Around
  const make = Effect.tap(
    Effect.map(connect(open, isThere), around),
    (connection) => Effect.sync(() => void all.add(connection))
  )
  const main = yield* make
  const idle: Array<SqliteConnection> = []
  const release = (connection: SqliteConnection) =>
    Effect.sync(() => {
      // A transaction that could not be ended goes with its connection.
      const isUsable = connection.database.isTransaction !== true
      if (isUsable && idle.length < 8) return void idle.push(connection)
      all.delete(connection)
      connection.database.close()
    })
  return {
    acquirer: Effect.succeed(main),
    transactionAcquirer: Effect.acquireRelease(
      Effect.suspend(() => {
        const known = idle.pop()
        return known === undefined ? make : Effect.succeed(known)
      }),
      release
    ),
    isTransaction
  }
})

const load = Effect.tryPromise({
  try: () => import("node:sqlite"),
  catch: () =>
    new Error("DurableNode.embedded: this runtime has no node:sqlite, expected Node 22.13, Deno 2.2, Bun 1.4 or later.")
})

/**
 * A client of the database in a file; `":memory:"` for a database of its own. `isThere` says that another program has made the file, and
 * decides on it.
 */
export const sqliteLayer = (
  file: string,
  { isThere = false }: { readonly isThere?: boolean } = {}
): Layer.Layer<SqlClient.SqlClient, SqlError> =>
  Layer.effect(
    SqlClient.SqlClient,
    Effect.gen(function* () {
      const { DatabaseSync } = yield* Effect.orDie(load)
      const open = () => new DatabaseSync(file)
      const named = <A, R>(opening: Effect.Effect<A, SqlError, R>) =>
        Effect.mapError(opening, ({ reason }) => failed(reason.cause, `The database ${file} could not be opened`))
      const acquirers = yield* (file === ":memory:" ? named(inMemory(open, isThere)) : named(onFile(open, isThere)))
      return yield* SqlClient.make({
        ...acquirers,
        compiler: Statement.makeCompilerSqlite(),
        driver: "node:sqlite",
        spanAttributes: [["db.system.name", "sqlite"]],
        beginTransaction: "BEGIN IMMEDIATE"
      })
    })
  ).pipe(Layer.provide(Reactivity.layer))
