/**
 * A process on a database, for tests that kill it. Its argument says where the database is and whether it serves. It tells on its output
 * what its routines do, one line each.
 */
import { Effect, Layer, Schema } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import process from "node:process"
import { Call, Interface, Manager } from "../../mod.ts"
import * as Durable from "../../src/durable.ts"
import * as DurableNode from "../../src/durable/node.ts"

export const IWork = Interface.make("IWork", {
  uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b33",
  version: [1, 0],
  methods: {
    Once: Interface.method({ in: { name: Schema.String, millis: Schema.Int }, out: Schema.Int }),
    Again: Interface.method({ in: { name: Schema.String, millis: Schema.Int }, out: Schema.Int, idempotent: true }),
    Write: Interface.method({ in: { name: Schema.String, millis: Schema.Int }, out: Schema.Int })
  }
})

/** Where the database is, and what the process does. */
export interface Work {
  readonly file?: string
  readonly postgres?: { readonly host: string; readonly port: number; readonly name: string }
  /** The port of a runner on PostgreSQL. */
  readonly port?: number
  readonly role: "server" | "client"
  /** The calls that a client makes one after the other. */
  readonly calls?: ReadonlyArray<
    { readonly method: "Once" | "Again" | "Write"; readonly name: string; readonly millis: number }
  >
  /** In milliseconds. */
  readonly lease: number
  readonly maximumAttempts?: number
}

const tell = (...words: ReadonlyArray<unknown>) => Effect.sync(() => void process.stdout.write(`${words.join(" ")}\n`))

export const workManager = Manager.make(IWork, {
  Once: ({ millis, name }) => work(name, millis),
  Again: ({ millis, name }) => work(name, millis),
  Write: ({ millis, name }) =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* Effect.orDie(sql`INSERT INTO written (name) VALUES (${name})`)
      return yield* work(name, millis)
    })
})

/** A negative time kills the process. */
const work = (name: string, millis: number) =>
  Effect.gen(function* () {
    yield* tell("started", name)
    if (millis < 0) process.kill(process.pid, "SIGKILL")
    yield* Effect.sleep(millis)
    yield* tell("ended", name)
    return millis
  }).pipe(Effect.onInterrupt(() => tell("interrupted", name)))

export const layerOf = ({ file, lease, port, postgres, role }: Work): Layer.Layer<
  Durable.Calls | SqlClient.SqlClient,
  unknown
> =>
  Layer.unwrap(Effect.gen(function* () {
    if (file !== undefined) return DurableNode.embedded({ file, lease, client: role === "client" })
    const PgClient = yield* Effect.promise(() => import("@effect/sql-pg/PgClient"))
    const { host, name, port: server } = postgres!
    const sql = PgClient.layer({
      host,
      port: server,
      database: name,
      username: "callisto",
      ssl: false,
      maxConnections: 8
    })
    return role === "client"
      ? DurableNode.client({ sql, lease })
      : DurableNode.runner({ sql, lease, host: "127.0.0.1", port: port! })
  })) as never

const main = (work: Work) =>
  Effect.gen(function* () {
    if (work.role === "server") {
      yield* tell("ready")
      return yield* Effect.never
    }
    const binding = yield* Durable.binding(IWork)
    for (const { method, millis, name } of work.calls ?? []) {
      const result = yield* Call.invoke(binding, method as "Once", { millis, name }).pipe(Durable.key(name))
      yield* tell("result", name, result)
    }
  }).pipe(
    Effect.scoped,
    Effect.provide(
      work.role === "server"
        ? Durable.serve([workManager], { mode: { Write: "transaction" }, maximumAttempts: work.maximumAttempts }).pipe(
          Layer.provideMerge(layerOf(work))
        )
        : layerOf(work)
    )
  )

if (import.meta.main) {
  const controller = new AbortController()
  process.on("SIGTERM", () => controller.abort())
  Effect.runPromise(main(JSON.parse(process.argv[2]!) as Work), { signal: controller.signal }).then(
    () => process.exit(0),
    (error) => {
      if (controller.signal.aborted) process.exit(0)
      console.error(error)
      process.exit(1)
    }
  )
}
