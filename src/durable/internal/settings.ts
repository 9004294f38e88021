/**
 * The tables, and the settings that all processes on one database share.
 */
import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { refuseArgument } from "../../internal/named.ts"
import type { Tables } from "./record.ts"

const create = (tables: Tables) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const calls = sql(tables.calls)
    // SQLite takes these types too.
    yield* sql`CREATE TABLE ${calls} (
      id VARCHAR(64) PRIMARY KEY,
      interface VARCHAR(64) NOT NULL,
      method VARCHAR(128) NOT NULL,
      object VARCHAR(36),
      input TEXT NOT NULL,
      input_hash VARCHAR(64),
      caller TEXT,
      trace TEXT,
      begun_at BIGINT NOT NULL,
      deadline BIGINT,
      attempts INTEGER NOT NULL DEFAULT 0,
      attempt_at BIGINT,
      handed_off INTEGER NOT NULL DEFAULT 0,
      cancel_at BIGINT,
      yielded INTEGER NOT NULL DEFAULT 0,
      abandoned INTEGER NOT NULL DEFAULT 0,
      outcome TEXT,
      ended_at BIGINT,
      finished_by VARCHAR(64),
      finished_at BIGINT
    )`
    yield* sql`CREATE INDEX ${sql(`${tables.calls}_open`)} ON ${calls} (begun_at) WHERE outcome IS NULL`
    yield* sql`CREATE INDEX ${sql(`${tables.calls}_deadline`)} ON ${calls} (deadline)
      WHERE outcome IS NULL AND deadline IS NOT NULL`
    yield* sql`CREATE INDEX ${sql(`${tables.calls}_ended`)} ON ${calls} (ended_at) WHERE outcome IS NOT NULL`
    yield* sql`CREATE TABLE ${sql(tables.settings)} (name VARCHAR(64) PRIMARY KEY, value TEXT NOT NULL)`
  })

/** Makes the tables that are missing. Processes that start at the same time wait for each other. */
export const migrate = (
  tables: Tables
): Effect.Effect<void, SqlError | Migrator.MigrationError, SqlClient.SqlClient> =>
  Migrator.make({})({
    loader: Effect.succeed([[1, "calls", Effect.succeed(create(tables))] as const]),
    table: tables.migrations
  }).pipe(
    Effect.retry({ times: 20, while: (error) => error._tag === "MigrationError" && error.kind === "Locked" }),
    Effect.asVoid
  )

/** A setting: the first process on the database decides. */
const setting = Effect.fnUntraced(
  function* (sql: SqlClient.SqlClient, { settings }: Tables, name: string, own: string) {
    yield* sql`INSERT INTO ${sql(settings)} ${sql.insert({ name, value: own })} ON CONFLICT (name) DO NOTHING`
    const [row] = yield* sql<{ readonly value: string }>`SELECT value FROM ${sql(settings)} WHERE name = ${name}`
    return row!.value
  }
)

const randomHex = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(32)), (byte) => byte.toString(16).padStart(2, "0")).join("")

/** The secret of the database. Dies where this process uses another number of shards than the others. */
export const readSettings: (
  client: SqlClient.SqlClient,
  tables: Tables,
  shards: number
) => Effect.Effect<string, SqlError> = Effect.fnUntraced(
  function* (client: SqlClient.SqlClient, tables: Tables, shards: number) {
    const sql = client.withoutTransforms()
    const secret = yield* setting(sql, tables, "secret", randomHex())
    const stored = yield* setting(sql, tables, "shards", String(shards))
    if (stored !== String(shards)) {
      return refuseArgument(
        "Durable",
        `shardsPerGroup is wrong, got ${shards}, expected ${stored}, which the database's first process has set. Set it to ${stored}`
      )
    }
    return secret
  }
)
