/**
 * Durable calls: a call that outlives the process that begins it and the process that runs it.
 *
 * The record of a call is a row in a SQL database. `effect/cluster` delivers the call to a process that serves its interface, and to
 * another one when that process dies. A durable binding is an ordinary `Binding`, and everything in `Call` works with it. Only its
 * release differs: it detaches, and the call goes on.
 *
 * The layers for Node, Deno and Bun are in `@callisto/rpc/durable/node`.
 *
 * @module
 * @since 0.1.0
 */
import * as MessageStorage from "effect/cluster/MessageStorage"
import * as Sharding from "effect/cluster/Sharding"
import * as ShardingConfig from "effect/cluster/ShardingConfig"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Binding } from "./Binding.ts"
import type { Failure, Pending } from "./Call.ts"
import type { AuthenticationLevel } from "./Channel.ts"
import { type CallsImpl, makeCalls, unsure } from "./durable/internal/calls.ts"
import * as Client from "./durable/internal/client.ts"
import { isHandle, makeMac, sameText, splitToken } from "./durable/internal/handles.ts"
import { isPrefix, type ListedRow, makeRecord, stateOf, tablesOf } from "./durable/internal/record.ts"
import * as Internal from "./durable/internal/server.ts"
import { migrate, readSettings } from "./durable/internal/settings.ts"
import { decodeOutcome, encodeOutcome } from "./durable/internal/values.ts"
import type { Interface, Method, Operation } from "./Interface.ts"
import { levels } from "./internal/access.ts"
import { choiceOption, countOption, durationOption, flagOption, objectOption } from "./internal/options.ts"
import { refuseArgument } from "./internal/named.ts"
import type * as Manager from "./Manager.ts"
import type { ServerCall } from "./ServerCall.ts"
import {
  type BadStubData,
  CallComplete,
  CallPending,
  type InvalidAsyncHandle,
  type RpcTransportError
} from "./Status.ts"

const TypeId = "~callisto/Durable/Calls"

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

/**
 * The durable calls of one database, as a process sees them: clients, servers and operators need them.
 *
 * @category models
 * @since 0.1.0
 */
export interface Calls {
  /** Brands the type. */
  readonly [TypeId]: typeof TypeId
}

/**
 * The durable calls of the context, as {@link layer} provides them. The example is at {@link binding}.
 *
 * @category models
 * @since 0.1.0
 */
export const Calls: Context.Service<Calls, Calls> = Context.Service<Calls>("@callisto/rpc/Durable/Calls")

/**
 * What becomes of a call whose process died while its routine ran.
 *
 * - `"once"`: the routine never runs again; the call ends with 1726. Its effects happen at most once.
 * - `"idempotent"`: the routine runs again. Its effects happen at least once.
 * - `"transaction"`: the routine runs in a transaction of the `SqlClient`, and what it writes there is one commit with its outcome:
 *   exactly once.
 *
 * @category models
 * @since 0.1.0
 */
export type Mode = "once" | "idempotent" | "transaction"

/**
 * Where a call stands.
 *
 * - `"ready"`: no routine has started.
 * - `"running"`: its routine runs, or ran until its process died.
 * - `"handed off"`: its routine has returned, and somebody will complete the call.
 * - `"ended"`: it has an outcome that nobody has taken.
 * - `"finished"`: its outcome was taken.
 *
 * @category models
 * @since 0.1.0
 */
export type State = "ready" | "running" | "handed off" | "ended" | "finished"

/**
 * A call as {@link list} gives it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Listed {
  /** The handle of the call. */
  readonly handle: string
  /** The name of the method. */
  readonly method: string
  /** Where the call stands. */
  readonly state: State
  /** When the call was begun. */
  readonly begun: Date
  /** How many times its routine was started. */
  readonly attempts: number
  /** Whether a cancel was requested. */
  readonly isCancelled: boolean
}

/**
 * How the calls of a database are kept. All its processes use the same options.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * The prefix for the names of the tables: `PREFIX_calls`, and `PREFIX_cluster_messages` for the engine. By default `callisto` for the
   * calls and `cluster` for the engine.
   */
  readonly prefix?: string | undefined
  /** Seals the text of arguments and results before it is stored. By default the text is JSON in clear. */
  readonly seal?: {
    /** Seals a text. */
    readonly encode: (text: string) => Effect.Effect<string>
    /** Opens a text that `encode` has sealed. A defect counts as a text that can't be read. */
    readonly decode: (text: string) => Effect.Effect<string>
  } | undefined
  /** `"store"` lets `Redacted` values lie in clear in the database. By default an interface that holds one is refused without `seal`. */
  readonly redacted?: "store" | undefined
  /** Whether the tables are made where they are missing; by default `true`. Otherwise {@link migrations} makes them. */
  readonly migrate?: boolean | undefined
}

/**
 * How a durable binding begins its calls.
 *
 * @category models
 * @since 0.1.0
 */
export interface BindingOptions<I extends Interface.Any> {
  /** The UUID of the object that is called; by default none. */
  readonly object?: string | undefined
  /** Who calls, as this process states it; by default the program itself, without a name and at the level `privacy`. */
  readonly caller?: {
    /** The name of the user. */
    readonly name?: string | undefined
    /** How strongly this process has authenticated the user; by default `privacy`. */
    readonly level?: AuthenticationLevel | undefined
  } | undefined
  /**
   * How old a call may get, from its begin, for all methods or for each by name; an older one ends with 1460 `RPC_S_TIMEOUT`. At least
   * 1 ms. By default there is no limit.
   */
  readonly maximumAge?:
    | Duration.Input
    | { readonly [K in Interface.MethodName<I>]?: Duration.Input | undefined }
    | undefined
  /** Whether the arguments are kept beyond the end of a call; by default `true`. Otherwise a keyed hash of them is kept. */
  readonly keepInput?: boolean | undefined
}

/**
 * How a process serves durable calls. `Method` are the names of the methods that it serves.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServeOptions<Method extends string = string> {
  /**
   * The {@link Mode}, for all methods or for each by name. By default `"idempotent"` for a method that is declared so, and `"once"` for any
   * other.
   */
  readonly mode?: Mode | { readonly [K in Method]?: Mode | undefined } | undefined
  /**
   * How often a routine is started when its process dies each time, 1 or more; then the call ends with 1726. By default 5. An attempt that
   * a shutdown in good order interrupts does not count.
   */
  readonly maximumAttempts?: number | undefined
  /** How many routines run at once in this process, 1 or more; by default 64. Other calls wait, and can be cancelled. */
  readonly concurrency?: number | undefined
  /** How many routines of the mode `"transaction"` run at once, 1 or more; by default 4. Each holds a connection: at most half of the pool. */
  readonly transactions?: number | undefined
  /**
   * How long a routine of the mode `"transaction"` may run from its start, at least 1 ms; then it is rolled back, the call ends with 1460,
   * and a warning is logged. By default a third of the lease on SQLite (1.7 seconds), where only one can write at a time; elsewhere there is
   * no limit.
   */
  readonly transactionTimeout?: Duration.Input | undefined
  /** How long a record is kept after its result was taken; by default an hour. */
  readonly keepFinished?: Duration.Input | undefined
  /** How long a record is kept after the call has ended and nobody has taken its result; by default 7 days. */
  readonly keepEnded?: Duration.Input | undefined
}

// ----------------------------------------------------------------------------
// layers
// ----------------------------------------------------------------------------

const toCalls = (calls: CallsImpl): Calls => calls as unknown as Calls

const impl: Effect.Effect<CallsImpl, never, Calls> = Effect.map(Calls, (calls) => calls as unknown as CallsImpl)

const prefixOption = (prefix: string | undefined): string | undefined => {
  if (prefix === undefined || isPrefix(prefix)) return prefix
  return refuseArgument(
    "Durable",
    `prefix is out of range, got ${JSON.stringify(prefix)}, expected 1 to 32 lower case letters, digits and underscores`
  )
}

/**
 * Makes the tables that are missing. {@link layer} does so by itself, unless it is told not to.
 *
 * @category layers
 * @since 0.1.0
 */
export const migrations = (
  options?: Pick<Options, "prefix">
): Effect.Effect<void, SqlError | Migrator.MigrationError, SqlClient.SqlClient> =>
  Effect.suspend(() => migrate(tablesOf(prefixOption(options?.prefix))))

/**
 * Refuses a process that uses another number of shards than the database has, before the process takes any part.
 *
 * **Details**
 *
 * Dies with a `TypeError` that names both numbers. {@link layer} checks it too, when the process has joined already.
 *
 * @category layers
 * @since 0.1.0
 */
export const checkShards = (
  options?: Pick<Options, "prefix" | "migrate">
): Effect.Effect<void, SqlError | Migrator.MigrationError, SqlClient.SqlClient | ShardingConfig.ShardingConfig> =>
  Effect.gen(function* () {
    const tables = tablesOf(prefixOption(options?.prefix))
    if (flagOption("Durable", "migrate", options?.migrate, true)) yield* migrate(tables)
    const { shardsPerGroup } = yield* ShardingConfig.ShardingConfig
    yield* readSettings(yield* SqlClient.SqlClient, tables, shardsPerGroup)
  })

/**
 * Provides the durable calls of a database, over an engine of the program's own.
 *
 * **Details**
 *
 * `runner`, `client` and `embedded` of `@callisto/rpc/durable/node` bring an engine with them.
 *
 * Dies with a `TypeError` where the process uses another number of shards than the database has, and for an option out of its range.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options?: Options
): Layer.Layer<
  Calls,
  SqlError | Migrator.MigrationError,
  SqlClient.SqlClient | MessageStorage.MessageStorage | Sharding.Sharding | ShardingConfig.ShardingConfig
> =>
  Layer.effect(
    Calls,
    Effect.gen(function* () {
      const tables = tablesOf(prefixOption(options?.prefix))
      const mayHoldSecrets =
        choiceOption("Durable.layer", "redacted", options?.redacted, ["store", undefined]) === "store"
      if (flagOption("Durable.layer", "migrate", options?.migrate, true)) yield* migrate(tables)
      const sql = yield* SqlClient.SqlClient
      const { shardLockExpiration, shardsPerGroup } = yield* ShardingConfig.ShardingConfig
      const secret = yield* readSettings(sql, tables, shardsPerGroup)
      const scope = yield* Effect.scope
      const context = yield* Effect.context<never>()
      return toCalls(
        yield* makeCalls({
          sql,
          tables,
          record: makeRecord(sql, tables),
          sharding: yield* Sharding.Sharding,
          storage: yield* MessageStorage.MessageStorage,
          mac: yield* makeMac(secret),
          seal: options?.seal,
          mayHoldSecrets,
          lease: Duration.toMillis(Duration.fromInputUnsafe(shardLockExpiration)),
          scope,
          context: Context.omit(Scope.Scope)(context as Context.Context<Scope.Scope>) as Context.Context<never>
        })
      )
    })
  )

// ----------------------------------------------------------------------------
// the client's side
// ----------------------------------------------------------------------------

/**
 * Makes a binding whose calls are kept in the database.
 *
 * **Details**
 *
 * `Call.begin` returns when the call is stored; from then on nothing loses it. In a transaction of the same `SqlClient` the call is begun
 * if and only if that commits. `Call.finish` and `Call.join` take the result once for all processes. In a transaction the take commits with
 * what the program writes there: after a rollback the same evidence takes it again, and after a commit whose answer was lost it gets
 * `CallComplete`. `Call.cancel` returns when the request is stored.
 *
 * Releasing a call object, or the end of its process, leaves the call alone. `Call.release(call, { server: "stop" })` records a cancel.
 *
 * Dies with a `TypeError` for an interface with pipes or context handles, for one that holds `Redacted` values which {@link Options} do not
 * provide for, and for an option out of its range.
 *
 * **Gotchas**
 *
 * A begin that fails with 1726, or that is interrupted, may have stored the call. Begin with a {@link key}, and repeat it.
 *
 * **Example** (A call that could outlive this process)
 *
 * ```ts
 * import { Call, Interface, Manager } from "@callisto/rpc"
 * import * as Durable from "@callisto/rpc/durable"
 * import * as DurableNode from "@callisto/rpc/durable/node"
 * import { Effect, Layer, Schema } from "effect"
 *
 * const ISums = Interface.make("ISums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(ISums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *
 * const live = Durable.serve([manager]).pipe(Layer.provideMerge(DurableNode.embedded({ file: ":memory:" })))
 *
 * const program = Effect.gen(function*() {
 *   const sums = yield* Durable.binding(ISums, { maximumAge: "1 day" })
 *   const adding = yield* Call.start(sums, "Add", [1, 2, 3]).pipe(Durable.key("order-17"))
 *   const handle = Durable.handle(adding)
 *
 *   const again = yield* Durable.resume(ISums, "Add", handle)
 *   return yield* Call.join(again) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provide(program, live))
 * ```
 *
 * @category the client's side
 * @since 0.1.0
 */
export const binding = <I extends Interface.Any>(
  iface: I,
  options?: BindingOptions<I>
): Effect.Effect<Binding<I>, never, Calls | Scope.Scope> =>
  Effect.flatMap(impl, (calls) => {
    const owner = `Durable.binding(${iface.name})`
    const { caller } = options ?? {}
    return Client.makeBinding(calls, iface, {
      object: objectOption(owner, options?.object),
      caller: caller === undefined ? undefined : JSON.stringify({
        name: caller.name,
        level: choiceOption(owner, "caller.level", caller.level, levels, "privacy")
      }),
      keepInput: flagOption(owner, "keepInput", options?.keepInput, true),
      maximumAge: agesOf(owner, iface, options?.maximumAge as never)
    })
  })

/** A name that is written wrong must not leave its method with the default. */
const refuseUnknown = (owner: string, option: string, byMethod: object, methods: ReadonlyArray<string>): void => {
  const unknown = Object.keys(byMethod).find((name) => !methods.includes(name))
  if (unknown === undefined) return
  refuseArgument(
    owner,
    `${option} is out of range, got the method ${JSON.stringify(unknown)}, expected names among ${methods.join(", ")}`
  )
}

const isByMethod = (ages: unknown): ages is { readonly [method: string]: Duration.Input } =>
  typeof ages === "object" && ages !== null && Object.getPrototypeOf(ages) === Object.prototype &&
  !["days", "hours", "minutes", "seconds", "millis", "weeks", "micros", "nanos"].some((unit) => unit in ages)

const agesOf = (
  owner: string,
  iface: Interface.Any,
  ages: Duration.Input | { readonly [method: string]: Duration.Input | undefined } | undefined
): (method: string) => number => {
  const read = (age: Duration.Input | undefined) => durationOption(owner, "maximumAge", age, Infinity, 1)
  if (!isByMethod(ages)) {
    const age = read(ages as Duration.Input | undefined)
    return () => age
  }
  refuseUnknown(owner, "maximumAge", ages, Object.keys(iface.methods))
  const each = new Map(Object.entries(ages).map(([method, age]) => [method, read(age)]))
  return (method) => each.get(method) ?? Infinity
}

/**
 * Names the call that an effect begins, so that a second begin with the same key finds the first.
 *
 * **Details**
 *
 * A key belongs to the interface, its major version, the method and the object. Repeated with the same arguments it attaches to the call,
 * in whichever state that is; with other arguments `Call.begin` fails with `BadStubData`. It is remembered as long as the record is kept.
 *
 * The example is at {@link binding}.
 *
 * @category the client's side
 * @since 0.1.0
 */
export const key = (name: string): <A, E, R>(begin: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> => {
  if (name === "") refuseArgument("Durable.key", "the key is empty, expected 1 or more characters")
  return (begin) => Effect.provideService(begin, Client.CurrentKey, name)
}

/**
 * The handle of a durable call: a string that finds the call again, in any process on the same database.
 *
 * **Details**
 *
 * Nobody can guess it. Throws a `TypeError` for evidence of a call that is not durable. The example is at {@link binding}.
 *
 * @category the client's side
 * @since 0.1.0
 */
export const handle = (pending: Pending.Any): string => {
  const found = Client.handleOf(pending)
  return found ??
    refuseArgument("Durable.handle", "the call is not durable. Begin it over a binding of Durable.binding")
}

/**
 * Makes evidence of a call that was begun elsewhere, or before.
 *
 * **Details**
 *
 * Fails with `InvalidAsyncHandle` where there is no such call of this method: it was never begun, its transaction was rolled back, or its
 * record is no longer kept. The end of the scope lets go of the evidence, and leaves the call alone.
 *
 * The example is at {@link binding}.
 *
 * @category the client's side
 * @since 0.1.0
 */
export const resume = <I extends Interface.Any, const K extends Interface.MethodName<I> & string>(
  iface: I,
  method: K,
  handle: string
): Effect.Effect<Pending<I, K>, InvalidAsyncHandle | RpcTransportError, Calls | Scope.Scope> =>
  Effect.flatMap(impl, (calls) => Client.resume(calls, iface, operationOf(iface, method), handle)) as never

const operationOf = (iface: Interface.Any, method: string): Operation => {
  const operations: { readonly [name: string]: Operation } = iface.operations
  const operation = Object.hasOwn(operations, method) ? operations[method] : undefined
  if (operation === undefined) return refuseArgument("Durable", `${iface.name} has no method ${method}`)
  return operation
}

// ----------------------------------------------------------------------------
// operators
// ----------------------------------------------------------------------------

const looked = (what: string) => (error: unknown): RpcTransportError => unsure(what, error)

/**
 * Cancels a call by its handle, without evidence. Returns when the request is stored.
 *
 * **Details**
 *
 * A ready call ends at once, and did not execute. The routine of a running call is told. Fails with `CallComplete` where the call has
 * ended, and with `InvalidAsyncHandle` where there is no such call.
 *
 * **Example** (No server has to be there)
 *
 * ```ts
 * import { Call, Interface } from "@callisto/rpc"
 * import * as Durable from "@callisto/rpc/durable"
 * import * as DurableNode from "@callisto/rpc/durable/node"
 * import { Effect } from "effect"
 *
 * const IJobs = Interface.make("IJobs", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b12",
 *   version: [1, 0],
 *   methods: { Run: Interface.method({}) }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const jobs = yield* Durable.binding(IJobs)
 *   const running = yield* Call.start(jobs, "Run")
 *   yield* Durable.cancel(Durable.handle(running))
 *   return yield* Effect.flip(Call.join(running)) // => CallCancelled
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provide(program, DurableNode.embedded({ file: ":memory:", client: true })))
 * ```
 *
 * @category operators
 * @since 0.1.0
 */
export const cancel = (
  handle: string
): Effect.Effect<void, CallComplete | InvalidAsyncHandle | RpcTransportError, Calls> =>
  Effect.flatMap(impl, (calls) =>
    Effect.gen(function* () {
      const { record } = calls
      if (!isHandle(handle)) return yield* Effect.fail(Client.noSuchCall())
      const failed = looked("the cancel could not be recorded")
      const row = yield* Effect.mapError(record.cancel(handle, yield* calls.now, false), failed)
      if (row === undefined) {
        const there = yield* Effect.mapError(record.load(handle), failed)
        return yield* Effect.fail(there === undefined ? Client.noSuchCall() : new CallComplete())
      }
      yield* calls.sql.afterCommit(Effect.sync(() => calls.wake(handle)))
    }))

/**
 * Looks at the outcome of a call, and takes nothing; `None` while it is pending.
 *
 * **Details**
 *
 * Fails with `InvalidAsyncHandle` where there is no such call of this method. {@link complete} has an example.
 *
 * @category operators
 * @since 0.1.0
 */
export const peek = <I extends Interface.Any, const K extends Interface.MethodName<I> & string>(
  iface: I,
  method: K,
  handle: string
): Effect.Effect<
  Option.Option<Exit.Exit<Method.Out<I["methods"][K]>, Failure<I["methods"][K]>>>,
  InvalidAsyncHandle | RpcTransportError,
  Calls
> =>
  Effect.flatMap(
    impl,
    (calls) =>
      Effect.flatMap(Client.find(calls, iface, method, handle), ({ outcome }) =>
        outcome === null ? Effect.succeedNone : Effect.map(
          calls.openedOutcome(outcome),
          (text) =>
            Option.some(decodeOutcome(operationOf(iface, method), text))
        ))
  ) as never

/**
 * The calls of an interface, oldest first; with `state` only those in it.
 *
 * **Details**
 *
 * The stream reads the table page by page, so a long list costs little memory. {@link complete} has an example.
 *
 * @category operators
 * @since 0.1.0
 */
export const list = (
  iface: Interface.Identity,
  options?: {
    /** The state of the calls that are wanted; by default all. */
    readonly state?: State | undefined
  }
): Stream.Stream<Listed, RpcTransportError, Calls> => {
  const state = choiceOption<State | undefined>("Durable.list", "state", options?.state, [
    "ready",
    "running",
    "handed off",
    "ended",
    "finished",
    undefined
  ])
  const limit = 200
  return Stream.paginate(undefined as ListedRow | undefined, (after) =>
    Effect.flatMap(impl, ({ record }) =>
      Effect.map(
        Effect.mapError(
          record.list({ interface: Client.interfaceOf(iface), state, after, limit }),
          looked("the calls could not be listed")
        ),
        (rows) =>
          [
            rows.map(listed),
            rows.length < limit ? Option.none() : Option.some(rows.at(-1))
          ] as const
      )))
}

const listed = (row: ListedRow): Listed => ({
  handle: row.id,
  method: row.method,
  state: stateOf(row),
  // Beyond these there are no dates.
  begun: new Date(Math.max(-8.64e15, Math.min(8.64e15, row.begun_at || 0))),
  attempts: row.attempts,
  isCancelled: row.cancel_at !== null
})

/**
 * Removes the record of a call that has ended, with its arguments and results.
 *
 * **Details**
 *
 * Fails with `CallPending` where the call has not ended, and with `InvalidAsyncHandle` where there is none.
 *
 * @category operators
 * @since 0.1.0
 */
export const forget = (
  handle: string
): Effect.Effect<void, CallPending | InvalidAsyncHandle | RpcTransportError, Calls> =>
  Effect.flatMap(impl, ({ record }) =>
    Effect.gen(function* () {
      if (!isHandle(handle)) return yield* Effect.fail(Client.noSuchCall())
      const failed = looked("the record could not be removed")
      const gone = yield* Effect.mapError(record.remove([handle]), failed)
      if (gone.length > 0) return
      const there = yield* Effect.mapError(record.load(handle), failed)
      return yield* Effect.fail(there === undefined ? Client.noSuchCall() : new CallPending())
    }))

// ----------------------------------------------------------------------------
// the server's side
// ----------------------------------------------------------------------------

/**
 * Serves durable calls in this process. Any number of processes on one database serve the same managers.
 *
 * **Details**
 *
 * Managers are those of any other server, and what their routines need comes from the context. A call of an interface or a method that no
 * manager serves ends with 0x1C010002 and did not execute: all processes serve the same interfaces.
 *
 * A process serves once: dies with a `TypeError` where it does so already, and for an option out of its range.
 *
 * The example is at {@link binding}.
 *
 * @category the server's side
 * @since 0.1.0
 */
export const serve = <const Managers extends ReadonlyArray<Manager.Manager.Any>>(
  managers: Managers,
  options?: ServeOptions<Served<Managers[number]>>
): Layer.Layer<never, never, Calls | Exclude<Manager.Manager.Services<Managers[number]>, Scope.Scope>> =>
  Layer.effectDiscard(
    Effect.flatMap(impl, (calls) => Internal.serve(calls, managers, serveOptions(calls, managers, options)))
  ) as never

const owner = "Durable.serve"

const serveOptions = (
  calls: CallsImpl,
  managers: ReadonlyArray<Manager.Manager.Any>,
  options: ServeOptions | undefined
): Internal.ServeOptions => {
  const least = { min: 1 }
  const concurrency = countOption(owner, "concurrency", options?.concurrency, least, 64)
  return {
    mode: modesOf(options?.mode, managers.flatMap((manager) => Object.keys(manager.interface.methods))),
    maximumAttempts: countOption(owner, "maximumAttempts", options?.maximumAttempts, least, 5),
    concurrency,
    transactions: countOption(owner, "transactions", options?.transactions, least, Math.min(4, concurrency)),
    transactionTimeout: durationOption(
      owner,
      "transactionTimeout",
      options?.transactionTimeout,
      calls.record.isPg ? Infinity : calls.lease / 3,
      1
    ),
    keepFinished: durationOption(owner, "keepFinished", options?.keepFinished, 3_600_000),
    keepEnded: durationOption(owner, "keepEnded", options?.keepEnded, 7 * 86_400_000)
  }
}

/** The names of the methods that a manager serves. */
type Served<T> = T extends Manager.Manager<infer I, infer _R> ? Interface.MethodName<I, "any"> : never

const modesOf = (
  modes: ServeOptions["mode"],
  methods: ReadonlyArray<string>
): (method: string) => Mode | undefined => {
  const read = (mode: Mode | undefined) =>
    choiceOption<Mode | undefined>(owner, "mode", mode, ["once", "idempotent", "transaction", undefined])
  if (typeof modes !== "object") {
    const mode = read(modes)
    return () => mode
  }
  refuseUnknown(owner, "mode", modes, methods)
  const each = new Map(Object.entries(modes).map(([method, mode]) => [method, read(mode)]))
  return (method) => each.get(method)
}

/**
 * The token of a durable call: its holder can complete the call, from any process on the same database.
 *
 * **Details**
 *
 * It is the same for all attempts of one call, so it is the idempotency key to pass on to other systems. Throws a `TypeError` for a call that
 * is not durable. The example is at {@link complete}.
 *
 * @category the server's side
 * @since 0.1.0
 */
export const token = (call: ServerCall.Any): string => {
  const found = Internal.tokenOf(call)
  return found ?? refuseArgument("Durable.token", "the call is not durable. Serve it with Durable.serve")
}

/**
 * Completes a call by its token, from any process on the same database. Gives whether this ended the call: the first outcome wins.
 *
 * **Details**
 *
 * In a transaction of the same `SqlClient` the call ends if and only if that commits. Fails with `InvalidAsyncHandle` where no
 * call of this method has the token, and with `BadStubData` for results that can't be stored.
 *
 * **Example** (A person decides)
 *
 * ```ts
 * import { Call, Interface, Manager } from "@callisto/rpc"
 * import * as Durable from "@callisto/rpc/durable"
 * import * as DurableNode from "@callisto/rpc/durable/node"
 * import { Deferred, Effect, Exit, Layer, Schema, Stream } from "effect"
 *
 * const IJobs = Interface.make("IJobs", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b12",
 *   version: [1, 0],
 *   methods: { Approve: Interface.method({ out: Schema.Boolean }) }
 * })
 * const token = Deferred.makeUnsafe<string>()
 * const manager = Manager.make(IJobs, {
 *   Approve: Manager.handOff((_, call) => Deferred.succeed(token, Durable.token(call)))
 * })
 *
 * const live = Durable.serve([manager]).pipe(Layer.provideMerge(DurableNode.embedded({ file: ":memory:" })))
 *
 * const program = Effect.gen(function*() {
 *   const jobs = yield* Durable.binding(IJobs)
 *   const asking = yield* Call.start(jobs, "Approve")
 *   yield* Durable.complete(IJobs, "Approve", yield* Deferred.await(token), Exit.succeed(true)) // => true
 *   const seen = yield* Durable.peek(IJobs, "Approve", Durable.handle(asking)) // => Some
 *   const ended = yield* Stream.runCollect(Durable.list(IJobs, { state: "ended" })) // => 1
 *   return [yield* Call.join(asking), seen._tag, ended.length]
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provide(program, live))
 * ```
 *
 * @category the server's side
 * @since 0.1.0
 */
export const complete = <I extends Interface.Any, const K extends Interface.MethodName<I> & string>(
  iface: I,
  method: K,
  token: string,
  exit: Exit.Exit<Method.Out<I["methods"][K]>, Failure<I["methods"][K]>>
): Effect.Effect<boolean, InvalidAsyncHandle | BadStubData | RpcTransportError, Calls> =>
  Effect.flatMap(impl, (calls) =>
    Effect.gen(function* () {
      const parts = splitToken(token)
      if (parts === undefined) return yield* Effect.fail(Client.noSuchCall())
      const [id, proof] = parts
      if (!sameText(proof, yield* calls.mac("token", id))) return yield* Effect.fail(Client.noSuchCall())
      yield* Client.find(calls, iface, method, id)
      const text = encodeOutcome(operationOf(iface, method), exit as never)
      if (typeof text !== "string") return yield* Effect.fail(text)
      const isFirst = yield* Effect.mapError(
        calls.end(id, yield* calls.sealedOutcome(text)),
        looked("the outcome could not be stored")
      )
      if (isFirst) yield* calls.sql.afterCommit(Effect.sync(() => calls.wake(id)))
      return isFirst
    }))

/**
 * Ends a call by its token with one of its failures: {@link complete} for a declared abort or an `RpcFault`.
 *
 * @category the server's side
 * @since 0.1.0
 */
export const abort = <I extends Interface.Any, const K extends Interface.MethodName<I> & string>(
  iface: I,
  method: K,
  token: string,
  error: Failure<I["methods"][K]>
): Effect.Effect<boolean, InvalidAsyncHandle | BadStubData | RpcTransportError, Calls> =>
  complete(iface, method, token, Exit.fail(error) as never)
