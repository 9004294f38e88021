// Where the shop keeps its orders and its calls: in a file of SQLite, or in PostgreSQL. Nothing else in this folder knows the difference.
import * as DurableNode from "@callisto/rpc/durable/node"
import { Effect, Layer, Redacted } from "effect"
import { parseArgs } from "node:util"

/** How long the calls of a worker that was killed wait for another one. By default longer: 5 and 15 seconds. */
const lease = "3 seconds"

/** The options of all programs, and the words behind them. */
export const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    database: { type: "string" },
    port: { type: "string", default: "34431" }
  }
})

const isPostgres = (database: string) => /^postgres(ql)?:/.test(database)

const postgres = (url: string) =>
  Layer.unwrap(
    // The package is needed for PostgreSQL alone: npm install @effect/sql-pg
    Effect.map(Effect.promise(() => import("@effect/sql-pg/PgClient")), (PgClient) =>
      PgClient.layer({ url: Redacted.make(url), maxConnections: 8 }))
  )

/** For a process that begins calls, takes their results or completes them. */
export const clientOf = (database = "shop.db") =>
  isPostgres(database)
    ? DurableNode.client({ sql: postgres(database), lease })
    : DurableNode.embedded({ file: database, client: true, lease })

/** For a process that runs calls. On PostgreSQL the workers find each other at their ports; on SQLite no port is opened. */
export const workerOf = (database = "shop.db", port: number) =>
  isPostgres(database)
    ? DurableNode.runner({ sql: postgres(database), port, lease })
    : DurableNode.embedded({ file: database, lease })
