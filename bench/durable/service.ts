// The same work twice: a call of a durable interface, and a persisted request to an entity of effect/cluster, the yardstick.
import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Layer, Schema } from "effect"
import * as ClusterSchema from "effect/cluster/ClusterSchema"
import * as Entity from "effect/cluster/Entity"
import * as Rpc from "effect/rpc/Rpc"
import { Interface, Manager } from "../../mod.ts"
import * as Durable from "../../src/durable.ts"
import * as DurableNode from "../../src/durable/node.ts"

export const IWork = Interface.make("IWork", {
  uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b41",
  version: [1, 0],
  methods: {
    Echo: Interface.method({ in: Schema.Int, out: Schema.Int, idempotent: true }),
    // Says where and when it starts, and takes long.
    Stay: Interface.method({ in: Schema.Int, out: Schema.Int, idempotent: true })
  }
})

const Echo = Rpc.make("Echo", {
  payload: { id: Schema.String, n: Schema.Int },
  success: Schema.Int,
  primaryKey: ({ id }) => id
})
  .annotate(ClusterSchema.Persisted, true)

const Stay = Rpc.make("Stay", {
  payload: { id: Schema.String, n: Schema.Int },
  success: Schema.Int,
  primaryKey: ({ id }) => id
})
  .annotate(ClusterSchema.Persisted, true)

export const WorkEntity = Entity.make("Work", [Echo, Stay])

/** Where the database is. */
export type Place =
  | { readonly file: string }
  | { readonly host: string; readonly port: number; readonly name: string }

/** A process that begins calls and runs none; with a port, which a file does not use, one that runs them. */
export const layerOf = (place: Place, port?: number) =>
  "file" in place
    ? DurableNode.embedded({ file: place.file, lease: "15 seconds", client: port === undefined })
    : port === undefined
    ? DurableNode.client({ sql: sqlOf(place) })
    : DurableNode.runner({ sql: sqlOf(place), host: "127.0.0.1", port })

const sqlOf = ({ host, name, port }: Exclude<Place, { readonly file: string }>) =>
  PgClient.layer({ host, port, database: name, username: "callisto", ssl: false, maxConnections: 8 })

/** Runs both kinds of work. `started` learns of a routine that takes long. */
export const serve = (started: (kind: "durable" | "engine", n: number) => void) => {
  const stay = (kind: "durable" | "engine", n: number) =>
    Effect.andThen(Effect.sync(() => started(kind, n)), Effect.as(Effect.sleep("1 hour"), n))
  const manager = Manager.make(IWork, { Echo: (n) => Effect.succeed(n), Stay: (n) => stay("durable", n) })
  return Layer.merge(
    Durable.serve([manager]),
    WorkEntity.toLayer({
      Echo: ({ payload: { n } }) => Effect.succeed(n),
      Stay: ({ payload: { n } }) => stay("engine", n)
    }, { maxIdleTime: "5 seconds", concurrency: "unbounded" })
  )
}
