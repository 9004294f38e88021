/**
 * Where durable calls are kept: a SQLite file, or PostgreSQL.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { exitCodes, type Failure } from "./Failure.ts"

/** A client of a database. Nothing is done there until it is built. */
export type Database = Layer.Layer<SqlClient.SqlClient, SqlError>

/** How PostgreSQL is reached. */
export interface PostgresOptions {
  readonly url: Redacted.Redacted<string>
  /** Who logs in, in place of the user of the URL. */
  readonly username: string | undefined
  readonly password: Redacted.Redacted<string> | undefined
  readonly connectTimeout: Duration.Duration
}

/** What the tool asks of its platform. */
export interface Databases {
  /** The database in a file. Fails where there is no such file, and makes none. */
  readonly sqlite: (file: string) => Effect.Effect<Database, Failure>
  /** Fails where the driver is not installed. */
  readonly postgres: (options: PostgresOptions) => Effect.Effect<Database, Failure>
}

const none: Failure = {
  _tag: "Failure",
  exitCode: exitCodes.usage,
  message: "There are no databases here.",
  advice: "Run callisto as a program."
}

/** The databases; by default there are none. */
export const Databases: Context.Reference<Databases> = Context.Reference<Databases>("@callisto/rpc/cli/Databases", {
  defaultValue: () => ({ sqlite: () => Effect.fail(none), postgres: () => Effect.fail(none) })
})
