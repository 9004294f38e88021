/**
 * A process of the kill test: a runner, or a worker that begins calls, takes their results and completes hand-offs. Its argument is a
 * `KillWork`. All of its effects outside the database are lines of one file, which every process appends to.
 */
import { Cause, Effect, Exit, Layer, Option, Schedule, Schema, Scope } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { openSync, readFileSync, writeSync } from "node:fs"
import process from "node:process"
import { Call, Interface, Manager } from "../../../mod.ts"
import * as Durable from "../../../src/durable.ts"
import * as DurableNode from "../../../src/durable/node.ts"

/** Where the database is, and what the process does. */
export interface KillWork {
  readonly file?: string
  readonly postgres?: { readonly host: string; readonly port: number; readonly name: string }
  readonly role: "runner" | "worker"
  readonly name: string
  /** The port of a runner on PostgreSQL. */
  readonly port?: number
  /** In milliseconds. */
  readonly lease: number
  /** The file of the log. */
  readonly log: string
  readonly seed: number
  readonly odds: Odds
}

/** What workers begin: the methods, and how likely each thing is, from 0 to 1. */
export interface Odds {
  readonly methods: ReadonlyArray<MethodName>
  /** The transaction of the begin fails on purpose. */
  readonly rollsBack: number
  readonly cancels: number
  /** The call has a deadline that may pass. */
  readonly ages: number
  /** Both workers want the result. */
  readonly shared: number
  /** How long a routine takes at most, in milliseconds. */
  readonly longest: number
}

export type MethodName = "Once" | "Again" | "Write" | "Approve" | "ApproveIn"

/** Numbers from 0 to 1, the same for the same seed. */
export const random = (seed: number): () => number => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

class Refused extends Schema.TaggedError<Refused>()("Refused", {}) {}

const Input = Schema.Struct({ key: Schema.String, millis: Schema.Int, refuses: Schema.Boolean })
type Input = typeof Input.Type

const aborts = [Interface.abort(0x20001, Refused)] as const

export const IKill = Interface.make("IKill", {
  uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b35",
  version: [1, 0],
  methods: {
    Once: Interface.method({ in: Input, out: Schema.String, aborts }),
    Again: Interface.method({ in: Input, out: Schema.String, aborts, idempotent: true }),
    Write: Interface.method({ in: Input, out: Schema.String, aborts }),
    Approve: Interface.method({ in: Input, out: Schema.String }),
    ApproveIn: Interface.method({ in: Input, out: Schema.String })
  }
})

/** A call that a worker wants. Its row is written in the transaction of the begin. */
export interface Order {
  readonly key: string
  readonly method: MethodName
  readonly worker: string
  readonly millis: number
  readonly refuses: number
  readonly cancels: number
  readonly ages: number
  readonly shared: number
}

interface Job {
  readonly key: string
  readonly method: "Approve" | "ApproveIn"
  readonly token: string
}

/** The tables of the test's program. */
export const tables: ReadonlyArray<string> = [
  `CREATE TABLE orders (key VARCHAR(64) PRIMARY KEY, handle VARCHAR(64) NOT NULL, method VARCHAR(16) NOT NULL,
    worker VARCHAR(16) NOT NULL, millis INTEGER NOT NULL, refuses INTEGER NOT NULL, cancels INTEGER NOT NULL,
    ages INTEGER NOT NULL, shared INTEGER NOT NULL)`,
  `CREATE INDEX orders_handle ON orders (handle)`,
  `CREATE TABLE ledger (key VARCHAR(64) NOT NULL, worker VARCHAR(16) NOT NULL, outcome TEXT NOT NULL)`,
  `CREATE INDEX ledger_key ON ledger (key)`,
  `CREATE TABLE effects (key VARCHAR(64) NOT NULL)`,
  `CREATE INDEX effects_key ON effects (key)`,
  `CREATE TABLE jobs (key VARCHAR(64) PRIMARY KEY, method VARCHAR(16) NOT NULL, token VARCHAR(140) NOT NULL)`,
  `CREATE TABLE completions (key VARCHAR(64) NOT NULL, worker VARCHAR(16) NOT NULL, value TEXT NOT NULL, won INTEGER NOT NULL,
    PRIMARY KEY (key, worker))`
]

// ----------------------------------------------------------------------------
// the log
// ----------------------------------------------------------------------------

interface Log {
  /** Appends a line at once: what a process has written stays when it is killed. */
  readonly write: (event: string, key: string, ...more: ReadonlyArray<unknown>) => void
}

const openLog = ({ log, name }: KillWork): Log => {
  const file = openSync(log, "a")
  return {
    write: (event, key, ...more) => {
      const rest = more.map((one) => typeof one === "string" ? one : JSON.stringify(one)).join(" ")
      writeSync(file, `${Date.now()} ${name}/${process.pid} ${event} ${key} ${rest.replaceAll("\n", " ")}\n`)
    }
  }
}

// ----------------------------------------------------------------------------
// the runner
// ----------------------------------------------------------------------------

const managerOf = (log: Log, isPg: boolean) => {
  const work = ({ key, millis, refuses }: Input, effect: Effect.Effect<unknown, unknown, SqlClient.SqlClient>) =>
    Effect.gen(function* () {
      log.write("start", key)
      // On SQLite the first write holds up all other writers.
      if (isPg) yield* Effect.orDie(effect)
      yield* Effect.sleep(millis)
      if (!isPg) yield* Effect.orDie(effect)
      if (refuses) return yield* Effect.fail(new Refused())
      log.write("end", key)
      return `done ${key}`
    }).pipe(Effect.onInterrupt(() => Effect.sync(() => log.write("interrupted", key))))
  const write = (key: string) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO effects (key) VALUES (${key})`)
  const job = (key: string, method: string, token: string) =>
    Effect.flatMap(
      SqlClient.SqlClient,
      (sql) =>
        sql`INSERT INTO jobs (key, method, token) VALUES (${key}, ${method}, ${token}) ON CONFLICT (key) DO NOTHING`
    )
  return Manager.make(IKill, {
    Once: (input) => work(input, Effect.void),
    Again: (input) => work(input, Effect.void),
    Write: (input) => work(input, write(input.key)),
    // In the mode once a connection that is cut would be the end of the call.
    Approve: Manager.handOff((input, call) =>
      Effect.orDie(
        work(
          { ...input, refuses: false },
          Effect.retry(job(input.key, "Approve", Durable.token(call)), { schedule: Schedule.spaced(200), times: 50 })
        )
      )
    ),
    ApproveIn: Manager.handOff((input, call) =>
      Effect.orDie(work({ ...input, refuses: false }, job(input.key, "ApproveIn", Durable.token(call))))
    )
  })
}

// ----------------------------------------------------------------------------
// the worker
// ----------------------------------------------------------------------------

/** Fails a transaction on purpose, and brings out what was begun in it. */
class RolledBack {
  declare readonly pending: Call.Pending<typeof IKill, "Once">

  constructor(pending: unknown) {
    this.pending = pending as never
  }
}

class OnPurpose extends Schema.TaggedError<OnPurpose>()("OnPurpose", {}) {}
class NotTaken extends Schema.TaggedError<NotTaken>()("NotTaken", {}) {}
class TakenByAnother extends Schema.TaggedError<TakenByAnother>()("TakenByAnother", {}) {}

/** An outcome in one line, as a client sees it. */
const lineOf = (exit: Exit.Exit<unknown, unknown>): string => {
  if (exit._tag === "Success") return `ok:${exit.value}`
  const error = Cause.squash(exit.cause) as { readonly [field: string]: unknown }
  switch (error["_tag"]) {
    case "Refused":
      return "abort"
    case "CallCancelled":
      return `cancelled:${error["didNotExecute"] === true}`
    case "RpcFault":
      return `fault:${error["code"]}:${error["didNotExecute"] === true}`
    case "RpcTransportError":
      return `lost:${error["status"]}`
    default:
      return `other:${String(error)}`
  }
}

/** The same of an outcome in the record. */
export const lineOfRecord = (text: string): string => {
  const { c, n, s, t, v } = JSON.parse(text)
  switch (t) {
    case "ok":
      return `ok:${v}`
    case "abort":
      return "abort"
    case "cancelled":
      return `cancelled:${n === 1}`
    case "fault":
      return `fault:${c}:${n === 1}`
    case "lost":
      return `lost:${s}`
    default:
      return `other:${text}`
  }
}

const worker = (options: KillWork, log: Log, isDraining: () => boolean) =>
  Effect.gen(function* () {
    const { name, odds } = options
    const sql = yield* SqlClient.SqlClient
    const next = random(options.seed)
    const likely = (odd: number) => next() < odd
    const bindings = [
      yield* Durable.binding(IKill),
      yield* Durable.binding(IKill, { maximumAge: "700 millis" })
    ] as const
    const known = new Set<string>()

    const begin = (order: Order, isRolledBack: boolean) =>
      sql.withTransaction(Effect.gen(function* () {
        const { ages, cancels, key, method, millis, refuses, shared, worker } = order
        const input = { key, millis, refuses: refuses === 1 }
        const pending = yield* Call.start(bindings[ages === 1 ? 1 : 0], method as "Once", input).pipe(Durable.key(key))
        const handle = Durable.handle(pending)
        const row = sql.insert({ key, handle, method, worker, millis, refuses, cancels, ages, shared })
        yield* sql`INSERT INTO orders ${row} ON CONFLICT (key) DO NOTHING`
        return isRolledBack ? yield* Effect.fail(new RolledBack(pending)) : pending
      }))

    const pause = Effect.suspend(() => Effect.sleep(50 + 200 * next()))

    /** Takes the result of a call together with a row of the ledger, once for all who try. */
    const take = (pending: Call.Pending.Any, key: string) =>
      Effect.gen(function* () {
        let rollsBack = likely(0.1)
        while (true) {
          const waited = yield* Effect.exit(Call.wait(pending, "20 seconds"))
          if (waited._tag === "Failure") {
            const error = Cause.squash(waited.cause) as { readonly _tag?: unknown }
            if (error._tag === "WaitTimeout") continue
          }
          const taken = yield* Effect.exit(sql.withTransaction(Effect.gen(function* () {
            const exit = yield* Effect.exit(Call.finish(pending as never) as Effect.Effect<unknown, unknown>)
            const error = exit._tag === "Failure"
              ? Cause.squash(exit.cause) as { readonly _tag?: unknown; readonly detail?: unknown }
              : undefined
            if (error?._tag === "CallComplete") return yield* Effect.fail(new TakenByAnother())
            if (error?._tag === "CallPending") return yield* Effect.fail(new NotTaken())
            if (error?._tag === "RpcTransportError" && String(error.detail).includes("could not be taken")) {
              return yield* Effect.fail(new NotTaken())
            }
            const outcome = lineOf(exit)
            yield* sql`INSERT INTO ledger ${sql.insert({ key, worker: name, outcome })}`
            if (rollsBack) return yield* Effect.fail(new OnPurpose())
            return outcome
          })))
          rollsBack = false
          if (taken._tag === "Success") return log.write("taken", key, taken.value)
          if (Cause.squash(taken.cause) instanceof TakenByAnother) return log.write("overtaken", key)
          if (Cause.hasInterruptsOnly(taken.cause)) return
          yield* pause
        }
      })

    /** Begins until the transaction is committed for sure, then does what the order says. */
    const fulfil = (order: Order, handle: string | undefined) =>
      Effect.gen(function* () {
        const { key } = order
        while (true) {
          const scope = yield* Scope.make()
          const begun = yield* Effect.exit(Scope.provide(begin(order, false), scope))
          if (begun._tag === "Failure") {
            yield* Scope.close(scope, begun)
            const error = Cause.squash(begun.cause)
            if ((error as { readonly _tag?: unknown })._tag === "BadStubData") {
              return log.write("fault", key, `a repeated begin was refused: ${String(error)}`)
            }
            yield* pause
            continue
          }
          const pending = begun.value
          log.write("begun", key, Durable.handle(pending))
          if (handle !== undefined && handle !== Durable.handle(pending)) {
            log.write("fault", key, `a repeated begin gave another call: ${handle}`)
          }
          if (order.cancels === 1) {
            yield* Effect.sleep(300 * next() * next())
            log.write("cancel", key)
            const cancel: Effect.Effect<void, unknown, Durable.Calls> = likely(0.5)
              ? Call.cancel(pending, { timeout: "Infinity" })
              : Durable.cancel(Durable.handle(pending))
            yield* Effect.ignoreCause(cancel)
          }
          yield* take(pending, key)
          return yield* Scope.close(scope, begun)
        }
      })

    /** Begins in a transaction that fails on purpose: there is no call, and its evidence says so. */
    const rollBack = (order: Order) =>
      Effect.scoped(Effect.gen(function* () {
        const exit = yield* Effect.exit(begin(order, true))
        const error = exit._tag === "Failure" ? Cause.squash(exit.cause) : undefined
        if (!(error instanceof RolledBack)) return
        log.write("rolled back", order.key)
        const ended = yield* Effect.timeoutOption(Effect.exit(Call.join(error.pending)), "45 seconds")
        const line = Option.match(ended, { onNone: () => "nothing", onSome: lineOf })
        if (line !== "lost:1722") {
          log.write("fault", order.key, `the evidence of a begin that was rolled back ended with ${line}`)
        }
      }))

    const order = (): Order => {
      const bit = (odd: number) => Number(likely(odd))
      return {
        key: `${name}-${crypto.randomUUID().slice(0, 13)}`,
        method: odds.methods[Math.floor(next() * odds.methods.length)]!,
        worker: name,
        millis: Math.floor(odds.longest * next() ** 3),
        refuses: bit(0.15),
        cancels: bit(odds.cancels),
        ages: bit(odds.ages),
        shared: bit(odds.shared)
      }
    }

    let open = 0
    const counted = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.ensuring(
        Effect.suspend(() => {
          open++
          return effect
        }),
        Effect.sync(() => void open--)
      )
    const fork = <E, R>(effect: Effect.Effect<void, E, R>) =>
      counted(effect).pipe(
        Effect.catchCause((cause) =>
          Cause.hasInterruptsOnly(cause)
            ? Effect.void
            : Effect.sync(() => log.write("fault", "-", `a fiber of the worker died: ${Cause.pretty(cause)}`))
        ),
        Effect.forkScoped
      )

    const beginning = Effect.gen(function* () {
      while (!isDraining()) {
        yield* Effect.sleep(160 * next())
        if (open >= 24) continue
        const wanted = order()
        if (likely(odds.rollsBack)) {
          yield* fork(Effect.gen(function* () {
            yield* rollBack(wanted)
            if (next() < 0.5) return
            log.write("intend", wanted.key, wanted)
            yield* fulfil(wanted, undefined)
          }))
        } else {
          log.write("intend", wanted.key, wanted)
          yield* fork(fulfil(wanted, undefined))
        }
      }
    })

    const takeByHandle = (row: Order & { readonly handle: string }) =>
      Effect.scoped(Effect.gen(function* () {
        while (true) {
          const found = yield* Effect.exit(Durable.resume(IKill, row.method, row.handle))
          if (found._tag === "Success") return yield* take(found.value, row.key)
          const error = Cause.squash(found.cause) as { readonly _tag?: unknown }
          if (error._tag === "InvalidAsyncHandle") {
            return log.write("fault", row.key, "an order is there, and its call is not")
          }
          yield* pause
        }
      }))

    /** Asks until the database answers. */
    const rows = <A = Order & { readonly handle: string }>(
      statement: Effect.Effect<ReadonlyArray<unknown>, unknown>
    ): Effect.Effect<ReadonlyArray<A>> =>
      Effect.catchCause(statement as Effect.Effect<ReadonlyArray<A>, unknown>, (cause) =>
        Cause.hasInterruptsOnly(cause) ? Effect.interrupt : Effect.andThen(pause, rows<A>(statement)))

    /** Takes up what this worker had begun before it was killed, and begins the last ones again. */
    const recover = Effect.gen(function* () {
      const last = yield* rows(sql`SELECT o.* FROM orders o JOIN callisto_calls c ON c.id = o.handle
        WHERE o.worker = ${name} ORDER BY c.begun_at DESC LIMIT 6`)
      for (const row of last) {
        yield* fork(fulfil(row, row.handle))
      }
      const open = yield* rows(sql`SELECT o.* FROM orders o WHERE o.worker = ${name}
        AND NOT EXISTS (SELECT 1 FROM ledger l WHERE l.key = o.key)`)
      for (const row of open) {
        if (
          !last.some(({ key }) =>
            key === row.key
          )
        ) yield* fork(takeByHandle(row))
      }
      const intended = new Map<string, Order>()
      for (const line of readFileSync(options.log, "utf8").split("\n")) {
        const [, who, event, key, ...rest] = line.split(" ")
        if (!who?.startsWith(`${name}/`)) continue
        if (event === "intend") intended.set(key!, JSON.parse(rest.join(" ")))
        else if (event === "begun") intended.delete(key!)
      }
      for (const wanted of intended.values()) yield* fork(fulfil(wanted, undefined))
    })

    /** Wants the results of calls that the other worker has begun. */
    const compete = Effect.gen(function* () {
      while (true) {
        yield* Effect.sleep(300 * next())
        const found = yield* rows(sql`SELECT o.* FROM orders o JOIN callisto_calls c ON c.id = o.handle
          WHERE o.worker <> ${name} AND o.shared = 1 AND c.finished_by IS NULL LIMIT 20`)
        for (const row of found) {
          if (known.has(row.key) || open >= 48) continue
          known.add(row.key)
          yield* fork(takeByHandle(row))
        }
      }
    })

    /** Completes what was handed off, as the other worker does too. */
    const complete = Effect.gen(function* () {
      while (true) {
        yield* Effect.sleep(150 * next())
        const jobs = yield* rows<Job>(sql`SELECT j.* FROM jobs j
          WHERE NOT EXISTS (SELECT 1 FROM completions c WHERE c.key = j.key AND c.worker = ${name}) LIMIT 10`)
        yield* Effect.forEach(jobs, ({ key, method, token }) => {
          const value = `${name} ${crypto.randomUUID()}`
          return Effect.ignoreCause(sql.withTransaction(Effect.gen(function* () {
            const won = Number(yield* Durable.complete(IKill, method, token, Exit.succeed(value)))
            yield* sql`INSERT INTO completions ${sql.insert({ key, worker: name, value, won })}`
          })))
        }, { concurrency: 2, discard: true })
      }
    })

    yield* recover
    yield* Effect.forkScoped(beginning)
    yield* Effect.forkScoped(compete)
    yield* Effect.forkScoped(complete)
    return yield* Effect.never
  })

// ----------------------------------------------------------------------------
// the process
// ----------------------------------------------------------------------------

const layerOf = ({ file, lease, port, postgres, role }: KillWork): Layer.Layer<
  Durable.Calls | SqlClient.SqlClient,
  unknown
> =>
  Layer.unwrap(Effect.gen(function* () {
    const sharding = { entityTerminationTimeout: 2_000, refreshAssignmentsInterval: 500 }
    if (file !== undefined) return DurableNode.embedded({ file, lease, client: role === "worker", sharding })
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
    return role === "worker"
      ? DurableNode.client({ sql, lease, sharding })
      : DurableNode.runner({ sql, lease, host: "127.0.0.1", port: port!, sharding })
  })) as never

const main = (work: KillWork, isDraining: () => boolean) => {
  const log = openLog(work)
  const ready = Effect.sync(() => void process.stdout.write("ready\n"))
  return work.role === "worker"
    ? Effect.andThen(ready, worker(work, log, isDraining)).pipe(Effect.scoped, Effect.provide(layerOf(work)))
    : Effect.andThen(ready, Effect.never).pipe(Effect.provide(
      Durable.serve([managerOf(log, work.file === undefined)], {
        mode: { Write: "transaction", ApproveIn: "transaction" },
        maximumAttempts: 1_000,
        transactions: 3
      }).pipe(Layer.provideMerge(layerOf(work)))
    ))
}

if (import.meta.main) {
  const controller = new AbortController()
  let isDraining = false
  process.on("SIGTERM", () => controller.abort())
  // The end of the input is the end of the test, in whatever way it came.
  process.stdin.on("data", (chunk) => {
    if (String(chunk).includes("drain")) isDraining = true
  })
  process.stdin.on("end", () => process.exit(2))
  process.stdin.on("error", () => process.exit(2))
  Effect.runPromise(main(JSON.parse(process.argv[2]!) as KillWork, () => isDraining), { signal: controller.signal })
    .then(
      () => process.exit(0),
      (error) => {
        if (controller.signal.aborted) process.exit(0)
        console.error(error)
        process.exit(1)
      }
    )
}
