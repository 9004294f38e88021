/** The databases of the tests, each with processes on it: layers of their own, which share nothing but the database. */
import type * as Durable from "@callisto/rpc/durable"
import * as DurableNode from "@callisto/rpc/durable/node"
import { type Context, Effect, Layer, type Scope } from "effect"
import type * as MessageStorage from "effect/cluster/MessageStorage"
import type * as Sharding from "effect/cluster/Sharding"
import type * as SqlClient from "effect/sql/SqlClient"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { freePort, makePostgres } from "./postgres.ts"
import type { Work } from "./process.ts"

export type Provided = Durable.Calls | Sharding.Sharding | MessageStorage.MessageStorage | SqlClient.SqlClient

/** One database: what a process without a server provides, and one with a server. */
export interface World {
  readonly client: (options?: Durable.Options) => Layer.Layer<Provided, unknown>
  readonly runner: (options?: Durable.Options) => Layer.Layer<Provided, unknown>
  /** The same for a process of its own. */
  readonly work: Effect.Effect<Pick<Work, "file" | "postgres" | "port">>
}

export interface Kind {
  readonly name: string
  /** Gives new databases, as many as are wanted, until the scope closes. */
  readonly worlds: Effect.Effect<Effect.Effect<World>, never, Scope.Scope>
}

const quick = {
  entityTerminationTimeout: 2_000,
  refreshAssignmentsInterval: 300,
  entityMessagePollInterval: 200,
  entityReplyPollInterval: 100
}

export const sqlite: Kind = {
  name: "SQLite",
  worlds: Effect.gen(function* () {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "callisto-sqlite-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
    )
    let count = 0
    return Effect.sync(() => {
      const file = join(folder, `${++count}.db`)
      return {
        client: (options) => DurableNode.embedded({ ...options, file, client: true, sharding: quick }),
        runner: (options) => DurableNode.embedded({ ...options, file, sharding: quick }),
        work: Effect.succeed({ file })
      }
    })
  })
}

export const postgres: Kind = {
  name: "PostgreSQL",
  worlds: Effect.gen(function* () {
    const { database } = yield* makePostgres
    let count = 0
    return Effect.gen(function* () {
      const { host, layer, name, port } = yield* database(`test${++count}`)
      return {
        client: (options) => DurableNode.client({ ...options, sql: layer(), sharding: quick }),
        runner: (options) =>
          Layer.unwrap(
            Effect.map(freePort, (port) =>
              DurableNode.runner({ ...options, host: "127.0.0.1", port, sql: layer(), sharding: quick }))
          ),
        work: Effect.map(freePort, (own) => ({ postgres: { host, name, port }, port: own }))
      }
    })
  })
}

/** A process on a database, until the scope closes. */
export const build = <A>(layer: Layer.Layer<A, unknown>): Effect.Effect<Context.Context<A>, never, Scope.Scope> =>
  Effect.orDie(Effect.flatMap(Effect.scope, (scope) => Layer.buildWithMemoMap(layer, Layer.makeMemoMapUnsafe(), scope)))
