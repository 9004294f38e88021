/**
 * Durable calls on Node, Deno and Bun: in one process or several on one SQLite file, or on PostgreSQL with runners on several machines.
 *
 * `runner` and `client` need the package `@effect/platform-node-shared`, and the driver of the database: `@effect/sql-pg`. `embedded`
 * needs nothing to be installed beside it; the runtime brings SQLite (Node 22.13, Deno 2.2, Bun 1.4).
 *
 * @module
 * @since 0.1.0
 */
import type * as MessageStorage from "effect/cluster/MessageStorage"
import * as RunnerAddress from "effect/cluster/RunnerAddress"
import * as RunnerHealth from "effect/cluster/RunnerHealth"
import * as Runners from "effect/cluster/Runners"
import * as Sharding from "effect/cluster/Sharding"
import * as ShardingConfig from "effect/cluster/ShardingConfig"
import * as SocketRunner from "effect/cluster/SocketRunner"
import * as SqlMessageStorage from "effect/cluster/SqlMessageStorage"
import * as SqlRunnerStorage from "effect/cluster/SqlRunnerStorage"
import * as Digest from "effect/crypto/Digest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import type { SocketServerError } from "effect/socket/SocketServer"
import type * as Migrator from "effect/sql/Migrator"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Durable from "../durable.ts"
import { refuseArgument } from "../internal/named.ts"
import { countOption, durationOption, flagOption } from "../internal/options.ts"
import { tablesOf } from "./internal/record.ts"
import { sqliteLayer } from "./internal/sqlite.ts"

/** What each layer of this module provides. */
type Provided = Durable.Calls | Sharding.Sharding | MessageStorage.MessageStorage | SqlClient.SqlClient

type Config = Partial<ShardingConfig.ShardingConfig["Service"]>

const shards = 32

const configOf = (own: Config, program: Config | undefined): Layer.Layer<ShardingConfig.ShardingConfig> =>
  ShardingConfig.layer({
    shardsPerGroup: shards,
    entityMaxIdleTime: Duration.seconds(5),
    // Calls that wait for their turn are entities too.
    maxResidentEntities: 2_000,
    unprocessedMessageBatchSize: 512,
    ...own,
    ...program
  })

/** The tables and the number of shards come before the engine takes any part. */
const checked = (options: Durable.Options | undefined, rest: Layer.Layer<any, any, any>) =>
  Layer.unwrap(Effect.as(Durable.checkShards(options), rest))

// ----------------------------------------------------------------------------
// one machine
// ----------------------------------------------------------------------------

/**
 * The options of {@link embedded}.
 *
 * @category models
 * @since 0.1.0
 */
export interface EmbeddedOptions extends Durable.Options {
  /** The file of the database, which is made where it is missing; `":memory:"` for one that lives as long as the layer. */
  readonly file: string
  /** Whether this process runs no calls, and only begins, finishes and looks at them. By default `false`. */
  readonly client?: boolean | undefined
  /** How long a process that is gone keeps its calls, at least 1 second; then another takes them over. By default 5 seconds. */
  readonly lease?: Duration.Input | undefined
  /** Further settings of the engine. */
  readonly sharding?: Partial<ShardingConfig.ShardingConfig["Service"]> | undefined
}

/**
 * Durable calls on a SQLite file, for one process or several on the same machine. No port is opened.
 *
 * **Details**
 *
 * Each process that provides `Durable.serve` over it runs its share of the calls. When one dies another takes its calls over after
 * the lease. The leases are in a file beside the database, with `-runners` at the end of its name.
 *
 * With `":memory:"` one connection does everything: a routine of the mode `"transaction"` holds up all other calls.
 *
 * The layer also provides the `SqlClient`, for transactions of the program. Dies with an `Error` in words on a runtime without
 * `node:sqlite`. The example is at `Durable.binding`.
 *
 * **Gotchas**
 *
 * A process that serves nothing says so with `client`: otherwise it gets a share of the calls too, and they wait for ever.
 *
 * @category layers
 * @since 0.1.0
 */
export const embedded = (options: EmbeddedOptions): Layer.Layer<Provided, SqlError | Migrator.MigrationError> =>
  Layer.unwrap(Effect.sync(() => {
    // SQLite gives each connection a database of its own for an empty name.
    if (options.file === "") refuseArgument("DurableNode.embedded", `file is empty, expected a path or ":memory:"`)
    const lease = durationOption("DurableNode.embedded", "lease", options.lease, 5_000, 1_000)
    const isClient = flagOption("DurableNode.embedded", "client", options.client, false)
    const { engine } = tablesOf(options.prefix)
    // No other process connects to this address: it only has to be another one for each.
    const address = RunnerAddress.make(`embedded-${crypto.randomUUID()}`, 1)
    const config = configOf({
      runnerAddress: isClient ? Option.none() : Option.some(address),
      shardLockExpiration: lease,
      shardLockRefreshInterval: Math.floor(lease / 4),
      refreshAssignmentsInterval: Math.min(1_000, Math.floor(lease / 4)),
      entityMessagePollInterval: 250,
      entityReplyPollInterval: 250,
      simulateRemoteSerialization: false
    }, options.sharding)
    // Leases have a file of their own: a writer of the program that takes long must not cost a process its calls.
    const leases = sqliteLayer(options.file === ":memory:" ? options.file : `${options.file}-runners`)
    const engineLayer = Sharding.layer.pipe(
      Layer.provideMerge(Runners.layerNoop),
      Layer.provideMerge(SqlMessageStorage.layerWith({ prefix: engine })),
      Layer.provide([Layer.provide(SqlRunnerStorage.layerWith({ prefix: engine }), leases), RunnerHealth.layerNoop])
    )
    return Durable.layer({ ...options, migrate: false }).pipe(
      Layer.provideMerge(checked(options, engineLayer)),
      Layer.provide(config),
      Layer.provideMerge(sqliteLayer(options.file)),
      Layer.provide(Digest.layerWebCrypto)
    )
  })) as never

// ----------------------------------------------------------------------------
// several machines
// ----------------------------------------------------------------------------

/**
 * The options of {@link client}.
 *
 * @category models
 * @since 0.1.0
 */
export interface ClientOptions<E, R> extends Durable.Options {
  /** The database: `PgClient.layer` of `@effect/sql-pg`. */
  readonly sql: Layer.Layer<SqlClient.SqlClient, E, R>
  /** How long a process that is gone keeps its calls at most, at least 1 second. By default 15 seconds. */
  readonly lease?: Duration.Input | undefined
  /** Further settings of the engine. */
  readonly sharding?: Partial<ShardingConfig.ShardingConfig["Service"]> | undefined
}

/**
 * The options of {@link runner}.
 *
 * @category models
 * @since 0.1.0
 */
export interface RunnerOptions<E, R> extends ClientOptions<E, R> {
  /** The host under which the other processes reach this one; by default `localhost`. */
  readonly host?: string | undefined
  /** The port under which they reach it, 1 to 65535. */
  readonly port: number
  /** Where it listens instead; by default at `host` and `port`. */
  readonly listen?: {
    /** The address of this machine. */
    readonly host: string
    /** The port, 1 to 65535. */
    readonly port: number
  } | undefined
}

/** The package of sockets is loaded for runners and their clients alone: `embedded` runs without it. */
const withSockets = <A>(
  owner: string,
  make: (sockets: typeof import("./internal/sockets.ts")) => Layer.Layer<A, any, any>
): Layer.Layer<A, any, any> =>
  Layer.unwrap(Effect.map(
    Effect.orDie(Effect.tryPromise({
      try: () => import("./internal/sockets.ts"),
      catch: (cause) =>
        new Error(
          `${owner}: @effect/platform-node-shared could not be loaded. Install it, in the version of effect.`,
          { cause }
        )
    })),
    make
  ))

const networked = (lease: number): Config => ({
  shardLockExpiration: lease,
  shardLockRefreshInterval: Math.floor(lease / 3),
  runnerHealthCheckInterval: 5_000,
  entityMessagePollInterval: 2_000,
  refreshAssignmentsInterval: 1_000
})

/**
 * Durable calls as a process that runs them: it listens on a port, and shares the calls with the other runners.
 *
 * **Details**
 *
 * A runner that dies is noticed within 5 seconds by ping, or after its lease. The layer also provides the `SqlClient`. `Durable.serve` over
 * it runs the calls.
 *
 * **Gotchas**
 *
 * Whoever reaches the port can make a runner look at its calls, and whoever can write the database can do anything: keep both to machines
 * that trust each other.
 *
 * A runner that joins takes over a share of the calls. A routine that runs longer than `entityTerminationTimeout` (15 seconds) is then
 * interrupted, and one of the mode `"once"` ends with 1726. Longer work belongs behind a hand-off, or is idempotent.
 *
 * @category layers
 * @since 0.1.0
 */
export const runner = <E, R>(
  options: RunnerOptions<E, R>
): Layer.Layer<Provided, E | SqlError | Migrator.MigrationError | SocketServerError, R> =>
  Layer.unwrap(Effect.sync(() => {
    const owner = "DurableNode.runner"
    const { host = "localhost", listen } = options
    const range = { min: 1, max: 65_535 }
    const port = countOption(owner, "port", options.port, range, 0)
    if (listen !== undefined) countOption(owner, "listen.port", listen.port, range, 0)
    const { engine } = tablesOf(options.prefix)
    const config = configOf({
      ...networked(durationOption(owner, "lease", options.lease, 15_000, 1_000)),
      runnerAddress: Option.some(RunnerAddress.make(host, port)),
      runnerListenAddress: listen === undefined
        ? Option.none()
        : Option.some(RunnerAddress.make(listen.host, listen.port))
    }, options.sharding)
    const storage = SqlRunnerStorage.layerWith({ prefix: engine })
    const health = RunnerHealth.layerPing.pipe(
      Layer.provide(Runners.layerRpc),
      Layer.provide(storage)
    )
    return withSockets(owner, ({ clientProtocol, listener }) => {
      const engineLayer = SocketRunner.layer.pipe(
        Layer.provide(health),
        Layer.provide(storage),
        Layer.provide(listener(listen ?? { host, port })),
        Layer.provide(Layer.provideMerge(clientProtocol, RpcSerialization.layerNdjson)),
        Layer.provideMerge(SqlMessageStorage.layerWith({ prefix: engine }))
      )
      return over(options, engineLayer, config)
    })
  })) as never

/**
 * Durable calls as a process that begins and finishes them, and runs none. No port is opened.
 *
 * **Details**
 *
 * It reaches the runners where it can, which makes answers quicker; otherwise the database alone is enough.
 *
 * @category layers
 * @since 0.1.0
 */
export const client = <E, R>(
  options: ClientOptions<E, R>
): Layer.Layer<Provided, E | SqlError | Migrator.MigrationError, R> =>
  Layer.unwrap(Effect.sync(() => {
    const owner = "DurableNode.client"
    const lease = durationOption(owner, "lease", options.lease, 15_000, 1_000)
    const { engine } = tablesOf(options.prefix)
    const config = configOf({ ...networked(lease), runnerAddress: Option.none() }, options.sharding)
    return withSockets(owner, ({ clientProtocol }) => {
      const engineLayer = SocketRunner.layerClientOnly.pipe(
        Layer.provide(SqlRunnerStorage.layerWith({ prefix: engine })),
        Layer.provide(Layer.provideMerge(clientProtocol, RpcSerialization.layerNdjson)),
        Layer.provideMerge(SqlMessageStorage.layerWith({ prefix: engine }))
      )
      return over(options, engineLayer, config)
    })
  })) as never

const over = (
  options: ClientOptions<any, any>,
  engine: Layer.Layer<any, any, any>,
  config: Layer.Layer<ShardingConfig.ShardingConfig>
) =>
  Durable.layer({ ...options, migrate: false }).pipe(
    Layer.provideMerge(checked(options, engine)),
    Layer.provide(config),
    Layer.provideMerge(options.sql),
    Layer.provide(Digest.layerWebCrypto)
  )
