/**
 * The server's side: runs calls that the engine delivers, and keeps the table in order.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { isSqlError } from "effect/sql/SqlError"
import { BeginTransaction, type TransactionConnection } from "effect/sql/SqlClient"
import * as Tracer from "effect/Tracer"
import type { Caller, Incoming, Outcome, Remote } from "../../Channel.ts"
import type { Operation } from "../../Interface.ts"
import { levels, localCaller } from "../../internal/access.ts"
import { errorOf } from "../../internal/failures.ts"
import { implOf } from "../../internal/manager.ts"
import { counting } from "../../internal/metrics.ts"
import { refuseArgument } from "../../internal/named.ts"
import * as Manager from "../../Manager.ts"
import * as Server from "../../Server.ts"
import { BadStubData, RpcFault, RpcTransportError } from "../../Status.ts"
import { type CallsImpl, unsure } from "./calls.ts"
import { addressOf, CallEntity } from "./entity.ts"
import { keepCounts } from "./metrics.ts"
import { batch, type Row } from "./record.ts"
import { decodeInput, encodeOutcome, faultText, lostText } from "./values.ts"

export type Mode = "once" | "idempotent" | "transaction"

export interface ServeOptions {
  readonly mode: (method: string) => Mode | undefined
  readonly maximumAttempts: number
  readonly concurrency: number
  readonly transactions: number
  /** In milliseconds; `Infinity` for no limit. */
  readonly transactionTimeout: number
  readonly keepFinished: number
  readonly keepEnded: number
}

/** The status for an interface or a method that is not served. */
const notServed = 0x1c010002

/** The column holds no larger number. */
const maximumCount = 2 ** 31 - 1

/** A transaction whose outcome came too late is rolled back. */
class Overtaken extends Error {
  override readonly name = "Overtaken"
}

/** The attempt in whose routine a fiber runs. */
const CurrentAttempt: Context.Reference<Attempt | undefined> = Context.Reference<Attempt | undefined>(
  "@callisto/rpc/Durable/CurrentAttempt",
  { defaultValue: () => undefined }
)

const attempts = new WeakMap<object, Attempt>()

/** The token of a server call; `undefined` where its call is not durable. */
export const tokenOf = (call: object): string | undefined => attempts.get(call)?.token

/** One run of a routine, until its outcome or its hand-off is stored. A call that was handed off stays until it ends. */
class Attempt {
  declare readonly runner: Runner
  declare readonly row: Row
  declare readonly operation: Operation
  declare readonly mode: Mode
  declare readonly token: string
  declare readonly scope: Scope.Closeable
  /** Done when nothing more has to happen here; fails where the engine must deliver the call again. */
  readonly done: Deferred.Deferred<void, unknown> = Deferred.makeUnsafe()
  /** Open when the routine has left nothing behind. */
  readonly idle: Latch.Latch = Latch.makeUnsafe(true)
  remote: Remote | undefined = undefined
  /** Its outcome was stored together with what the routine wrote. */
  isStored = false
  isHandedOff = false
  /** Its routine runs in a transaction. */
  isInTransaction = false
  /** Its routine has ended it inside of that transaction. */
  isReplied = false
  /** Why its transaction has to be tried again. */
  failure: Cause.Cause<unknown> | undefined = undefined

  constructor(runner: Runner, row: Row, operation: Operation, mode: Mode, token: string, scope: Scope.Closeable) {
    this.runner = runner
    this.row = row
    this.operation = operation
    this.mode = mode
    this.token = token
    this.scope = scope
  }

  /** Ends the routine, and tells nobody. */
  get stop(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.runner.live.delete(this.row.id)
      return Scope.close(this.scope, Exit.void)
    })
  }

  /** Stores an outcome. Gives whether it was the first. */
  store(text: string): Effect.Effect<boolean, unknown> {
    const { runner: { calls }, row: { id } } = this
    return Effect.flatMap(calls.sealedOutcome(text), (sealed) => calls.end(id, sealed))
  }

  reply(outcome: Outcome): Effect.Effect<void, BadStubData | RpcTransportError> {
    const { failure, runner: { calls } } = this
    if (this.isStored) return Effect.sync(() => this.finish(Exit.void))
    if (failure !== undefined) return Effect.sync(() => this.finish(Exit.failCause(failure)))
    const text = encodeOutcome(this.operation, outcome)
    const isRefused = text instanceof BadStubData
    const store = this.store(isRefused ? faultText(1783, false) : text)
    const around = transactionOf(calls)
    const isWithin = around !== undefined && this.isInTransaction
    if (isWithin) this.isReplied = true
    return Effect.matchCauseEffect(around === undefined ? Effect.retry(store, patience) : this.join(store, around), {
      onFailure: (cause) => {
        if (!isWithin) this.finish(Exit.failCause(cause))
        return Effect.fail(unsure("the outcome could not be stored", Cause.squash(cause)))
      },
      onSuccess: () => {
        if (!isWithin) this.finish(Exit.void)
        return isRefused ? Effect.fail(text) : Effect.void
      }
    })
  }

  /** Stores the outcome in the transaction of whoever ends the call. */
  private join(store: Effect.Effect<boolean, unknown>, around: TransactionConnection.Service) {
    const { runner: { calls }, row: { id } } = this
    return Effect.provideService(
      Effect.andThen(store, calls.sql.afterCommit(Effect.sync(() => calls.wake(id)))),
      calls.sql.transactionService,
      around
    )
  }

  finish(exit: Exit.Exit<void, unknown>): void {
    Deferred.doneUnsafe(this.done, exit)
    this.runner.ended(this)
  }

  handedOff(): Effect.Effect<void, RpcTransportError> {
    const { runner: { calls }, row: { id } } = this
    const store: Effect.Effect<unknown, unknown> = this.isHandedOff
      ? Effect.void
      : Effect.retry(calls.record.handOff(id), patience)
    return Effect.matchCauseEffect(store, {
      onFailure: (cause) => {
        this.failure = cause
        return Effect.fail(unsure("the hand-off could not be stored", Cause.squash(cause)))
      },
      onSuccess: () =>
        Effect.sync(() => {
          this.isHandedOff = true
          Deferred.doneUnsafe(this.done, Exit.void)
        })
    })
  }
}

/** The transaction in which the current fiber runs. */
const transactionOf = ({ sql: { transactionService } }: CallsImpl): TransactionConnection.Service | undefined => {
  const { context } = Fiber.getCurrent() ?? {}
  return context === undefined ? undefined : Context.getOrUndefined(context, transactionService)
}

/** A database that is down for a moment costs no attempt. */
const patience = { schedule: Schedule.exponential(20), times: 8 }

export class Runner {
  declare readonly calls: CallsImpl
  declare readonly server: Server.Server
  declare readonly options: ServeOptions
  declare readonly handsOff: (interfaceUuid: string, method: string) => boolean
  /** The calls that run here, and those that were handed off here. */
  readonly live: Map<string, Attempt> = new Map()
  /** Who waits for the end of a call that is delivered here. */
  private readonly waiting = new Map<string, Latch.Latch>()
  /** Calls that have ended here lately: whoever asks late is told at once. */
  private readonly over = new Set<string>()
  private readonly turns: Semaphore.Semaphore
  private readonly transactionTurns: Semaphore.Semaphore
  private readonly hasTransactions: boolean
  private stalledSince = 0

  constructor(
    calls: CallsImpl,
    server: Server.Server,
    options: ServeOptions,
    managers: ReadonlyArray<Manager.Manager.Any>
  ) {
    this.calls = calls
    this.server = server
    this.options = options
    this.turns = Semaphore.makeUnsafe(options.concurrency)
    this.transactionTurns = Semaphore.makeUnsafe(options.transactions)
    const routines = managers.map(implOf)
    this.hasTransactions = routines.some((manager) =>
      Object.keys(manager.routines).some((name) => options.mode(name) === "transaction")
    )
    this.handsOff = (uuid, method) =>
      routines.some((manager) => manager.interface.uuid === uuid && typeof manager.routines[method] === "object")
  }

  // --- what the engine delivers

  /** Runs a call, or waits for the end of its run. Dies where the engine must deliver the call again. */
  dispatch(id: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      const running = this.live.get(id)
      if (running !== undefined) return Effect.orDie(Deferred.await(running.done))
      if (!this.hasTransactions) return this.turns.withPermit(this.start(id))
      // Its method tells which turn it has to wait for.
      return Effect.flatMap(
        Effect.orDie(this.calls.record.load(id)),
        (row) =>
          row !== undefined && this.options.mode(row.method) === "transaction"
            ? this.transactionTurns.withPermit(this.turns.withPermit(this.start(id)))
            : this.turns.withPermit(this.start(id))
      )
    })
  }

  /** Waits until a call has ended, or for a while. */
  wait(id: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.over.has(id)) return Effect.void
      let latch = this.waiting.get(id)
      if (latch === undefined) this.waiting.set(id, latch = Latch.makeUnsafe(false))
      const { await: ended } = latch
      // Whoever waits has often just begun the call: it is to be read, and seldom over.
      return Effect.andThen(
        this.calls.sharding.pollStorage,
        Effect.catchTag(Effect.timeout(ended, 1_000), "TimeoutError", () =>
          Effect.flatMap(
            Effect.orDie(this.calls.record.progress([id])),
            ([row]) =>
              row === undefined || row.outcome !== null
                ? Effect.void
                : Effect.asVoid(Effect.timeoutOption(ended, 20_000))
          ))
      )
    })
  }

  /** The record of a call has changed. */
  wake(id: string): Effect.Effect<void> {
    return Effect.andThen(
      this.calls.sharding.pollStorage,
      Effect.ignoreCause(this.look([id]))
    )
  }

  /** Looks what others have done to calls that are known here. */
  look(ids: ReadonlyArray<string>): Effect.Effect<void, unknown> {
    const { calls } = this
    const known = ids.filter((id) => this.live.has(id) || this.waiting.has(id))
    if (known.length === 0) return Effect.void
    return Effect.flatMap(calls.record.progress(known), (rows) => {
      const there = new Set(rows.map(({ id }) => id))
      const gone = known.filter((id) => !there.has(id)).map((id) => ({ id, outcome: "", cancel_at: null }))
      return Effect.forEach([...rows, ...gone], ({ cancel_at, id, outcome }) => {
        const attempt = this.live.get(id)
        if (outcome !== null) {
          this.open(id)
          // Somebody else has ended it: the routine has nothing to say any more.
          return attempt === undefined || attempt.isStored
            ? Effect.void
            : Effect.andThen(attempt.stop, Deferred.succeed(attempt.done, undefined))
        }
        if (cancel_at !== null) void attempt?.remote?.cancel()
        return Effect.void
      }, { discard: true })
    })
  }

  private open(id: string): void {
    this.over.add(id)
    if (this.over.size > 4_096) {
      for (const oldest of this.over) {
        this.over.delete(oldest)
        break
      }
    }
    this.waiting.get(id)?.openUnsafe()
    this.waiting.delete(id)
  }

  /** An attempt has replied. */
  ended(attempt: Attempt): void {
    const { calls, row: { id } } = { calls: this.calls, row: attempt.row }
    if (this.live.get(id) === attempt) this.live.delete(id)
    this.open(id)
    calls.poke(id)
    // The reply is still on its way through the call when this is told.
    calls.fork(Effect.andThen(Effect.yieldNow, attempt.stop))
  }

  // --- one run

  private start(id: string): Effect.Effect<void> {
    const { calls } = this
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen({ self: this }, function* () {
        const now = yield* calls.now
        // Most calls are new: one statement counts the attempt and gives the row.
        const row = (yield* calls.claim({ id, now })) ?? (yield* this.again(id, now))
        if (row === undefined) return
        const attempt = yield* this.attempt(row)
        if (attempt === undefined) return this.isOver(id)
        const exit = yield* Effect.exit(restore(Deferred.await(attempt.done)))
        if (exit._tag === "Success") return
        yield* attempt.stop
        yield* Effect.ignoreCause(Effect.timeout(attempt.idle.await, 5_000))
        if (Cause.hasInterruptsOnly(exit.cause)) yield* Effect.ignoreCause(this.yields(attempt))
        return yield* Effect.failCause(exit.cause)
      }).pipe(Effect.orDie)
    )
  }

  /** Decides what becomes of a call that is not new. Gives the row where its routine is to run. */
  private again(id: string, now: number): Effect.Effect<Row | undefined, unknown> {
    const { calls, options: { maximumAttempts } } = this
    return Effect.gen({ self: this }, function* () {
      const row = yield* calls.record.load(id)
      if (row === undefined || row.outcome !== null || row.handed_off !== 0) return undefined
      if (row.deadline !== null && row.deadline <= now) {
        yield* calls.record.expire(now, [id])
        this.isOver(id)
        return undefined
      }
      if (!(row.attempts >= 0 && row.attempts < maximumCount)) {
        yield* calls.record.end(id, lostText(1726, "the record holds no count of attempts"), now)
        this.isOver(id)
        return undefined
      }
      const mode = this.modeOf(row)
      if (mode === "once" || row.attempts - row.yielded >= maximumAttempts) {
        const detail = mode === "once"
          ? "the process that ran the routine is gone"
          : `the routine was tried ${row.attempts - row.yielded} times, and its process was gone each time`
        yield* calls.record.endAttempt(id, row.attempts, lostText(1726, detail), now)
        this.isOver(id)
        return undefined
      }
      const claimed = yield* calls.record.claim(id, row.attempts, now)
      // Somebody else was quicker: this call is delivered again if that comes to nothing.
      return claimed ?? (yield* Effect.fail(new Error("another process runs the call")))
    })
  }

  private isOver(id: string): void {
    this.open(id)
    this.calls.poke(id)
  }

  private modeOf(row: Row): Mode {
    const { method } = row
    const mode = this.options.mode(method)
    if (mode !== undefined) return mode
    return this.operationOf(row)?.method.idempotent ? "idempotent" : "once"
  }

  private operationOf({ interface: name, method, object }: Row): Operation | undefined {
    const { operations } = this.offerOf(name, object)?.interface ?? {}
    return operations !== undefined && Object.hasOwn(operations, method)
      ? (operations as { readonly [name: string]: Operation })[method]
      : undefined
  }

  private offerOf(name: string, object: string | null): Server.Offer | undefined {
    const [uuid, major] = name.split(" ")
    if (uuid === undefined || !/^\d+$/.test(major ?? "")) return undefined
    try {
      return Server.offers(this.server, { uuid, version: [Number(major), 0] }, { object })
    } catch {
      return undefined
    }
  }

  /** Gives a call to its manager; `undefined` where that ended it at once. */
  private attempt(row: Row): Effect.Effect<Attempt | undefined, unknown> {
    const { calls, server } = this
    return Effect.gen({ self: this }, function* () {
      const end = (text: string) => Effect.as(calls.end(row.id, text), undefined)
      const operation = this.operationOf(row)
      if (operation === undefined) return yield* end(faultText(notServed, true))
      const input = decodeInput(operation, yield* calls.opened(row.input))
      if (input._tag === "Failure") {
        yield* Effect.logWarning(
          `Refused the call ${row.id} of ${operation.interface.name}.${operation.name}`,
          input.cause
        )
        return yield* end(faultText(1783, true))
      }
      const scope = Scope.makeUnsafe()
      const origin = yield* Scope.provide(
        Server.client(server, { caller: callerOf(row.caller), peer: `durable:${row.id}` }),
        scope
      )
      const token = `${row.id}.${yield* calls.mac("token", row.id)}`
      const attempt = new Attempt(this, row, operation, this.modeOf(row), token, scope)
      this.live.set(row.id, attempt)
      const incoming: Incoming = {
        origin,
        interface: operation.interface,
        object: row.object ?? undefined,
        opnum: operation.opnum,
        input: input.value,
        span: spanOf(row.trace),
        context: Context.make(CurrentAttempt, attempt) as Context.Context<never>,
        accepted: (remote) => {
          attempts.set(remote, attempt)
          attempt.remote = remote
          if (row.cancel_at !== null) remote.cancel()
        },
        reply: (outcome) => attempt.reply(outcome),
        handedOff: () => attempt.handedOff(),
        disconnected: () => {}
      }
      const refusal = Server.accept(server, incoming)
      if (refusal === undefined) return attempt
      yield* attempt.stop
      if (refusal instanceof RpcTransportError) {
        yield* calls.record.yields(row.id, row.attempts)
        return yield* Effect.fail(refusal)
      }
      return yield* end(
        refusal instanceof RpcFault ? faultText(refusal.code, refusal.didNotExecute) : faultText(1783, true)
      )
    })
  }

  /** The engine has ended an attempt in good order: it moves the call, or the process ends. */
  private yields({ mode, row: { attempts, id } }: Attempt): Effect.Effect<unknown, unknown> {
    const { calls } = this
    return mode === "once"
      ? Effect.flatMap(
        calls.now,
        (now) => calls.record.endAttempt(id, attempts, lostText(1726, "the server ended while it ran the routine"), now)
      )
      : calls.record.yields(id, attempts)
  }

  // --- the routine

  /** Around each routine: tells when it is over, and runs it in a transaction where it has that mode. */
  readonly around: Manager.Middleware<any, any, any> = (routine, _call) =>
    Effect.flatMap(CurrentAttempt, (attempt): Effect.Effect<any, any, any> => {
      if (attempt === undefined) return routine
      attempt.idle.closeUnsafe()
      const run = attempt.mode === "transaction" ? this.inTransaction(attempt, routine) : routine
      return Effect.ensuring(run, Effect.sync(() => attempt.idle.openUnsafe()))
    })

  /** The routine's writes and its outcome are one commit. */
  private inTransaction<A>(attempt: Attempt, routine: Effect.Effect<A, unknown, any>): Effect.Effect<A, unknown, any> {
    const { calls, options: { transactionTimeout } } = this
    const { operation, row: { id } } = attempt
    const isHandOff = this.handsOff(operation.interface.uuid, operation.name)
    let own: Exit.Exit<A, unknown> | undefined
    const limited = transactionTimeout === Infinity ? routine : Effect.timeoutOrElse(routine, {
      duration: transactionTimeout,
      orElse: () =>
        Effect.andThen(
          Effect.logWarning(
            `Durable.serve: the call ${id} of ${operation.interface.name}.${operation.name} took longer than transactionTimeout, ` +
              `${Math.ceil(transactionTimeout)} ms. It is rolled back, and ends with 1460.`
          ),
          Effect.fail(new RpcFault({ code: 1460 }))
        )
    })
    const body = Effect.gen(function* () {
      attempt.isInTransaction = true
      own = yield* Effect.ensuring(Effect.exit(limited), Effect.sync(() => void (attempt.isInTransaction = false)))
      if (own._tag === "Failure") return yield* Effect.failCause(own.cause)
      if (attempt.isReplied) return own.value
      let isFirst: boolean
      if (isHandOff) isFirst = yield* calls.record.handOff(id)
      else {
        const text = encodeOutcome(operation, Exit.succeed(own.value))
        // What can't be stored ends the call below, without the writes.
        if (typeof text !== "string") return yield* Effect.fail(new RpcFault({ code: 1783 }))
        isFirst = yield* attempt.store(text)
      }
      return isFirst ? own.value : yield* Effect.die(new Overtaken("another outcome came first"))
    })
    const transaction = Effect.suspend(() => {
      own = undefined
      // On SQLite the routine takes the right to write when it first writes.
      return calls.record.isPg
        ? calls.sql.withTransaction(body)
        : Effect.provideService(calls.sql.withTransaction(body), BeginTransaction, "BEGIN")
    })
    /** Whether the database failed, and not the routine. */
    const mayRepeat = (cause: Cause.Cause<unknown>): boolean => {
      if (own === undefined) return !Cause.hasInterrupts(cause)
      if (own._tag === "Success") return mayPass(cause)
      // A rollback fails with its connection, and then the routine's statements may have failed with it.
      const isLost = cause.reasons.length > own.cause.reasons.length
      return mayPass(own.cause) || (isLost && isSqlError(errorOf(own.cause) ?? Cause.squash(own.cause)))
    }
    // Nothing is left behind by a conflict or a lost connection, so the routine may run again here.
    const again = (left: number): Effect.Effect<A, unknown, any> =>
      Effect.catchCause(transaction, (cause) => {
        const isRepeated = mayRepeat(cause)
        if (isRepeated && left > 0 && !attempt.isReplied) {
          return Effect.andThen(Effect.sleep(20 * 2 ** (8 - left)), again(left - 1))
        }
        if (!Cause.hasInterruptsOnly(cause) && (isRepeated || own?._tag === "Success")) {
          const error = Cause.squash(cause)
          if (error instanceof RpcFault) return Effect.fail(error)
          if (!(error instanceof Overtaken)) attempt.failure = cause
        }
        // The routine's own failure counts, whatever became of the rollback.
        return Effect.failCause(own?._tag === "Failure" ? own.cause : cause)
      })
    return Effect.onExit(again(8), (exit) =>
      Effect.sync(() => {
        // Its outcome went the way of the transaction.
        if (attempt.isReplied) return attempt.finish(exit._tag === "Success" ? Exit.void : Exit.failCause(exit.cause))
        if (exit._tag === "Failure") return
        if (isHandOff) attempt.isHandedOff = true
        else attempt.isStored = true
      }))
  }

  // --- work beside the calls

  /** Looks at all calls that are known here, for what no hint has told. */
  get rounds(): Effect.Effect<never> {
    return Effect.forever(Effect.andThen(
      Effect.sleep(5_000),
      Effect.suspend(() => {
        const ids = [...new Set([...this.live.keys(), ...this.waiting.keys()])]
        const batches = Array.from(
          { length: Math.ceil(ids.length / batch) },
          (_, n) => ids.slice(n * batch, (n + 1) * batch)
        )
        return Effect.ignoreCause(Effect.forEach(batches, (some) => answered(this.look(some)), { discard: true }))
      })
    ))
  }

  /** Deadlines, retention and the watchdog: one process does this for all. */
  get upkeep(): Effect.Effect<never> {
    let round = 0
    let fails = false
    const tidied = Effect.matchCauseEffect(Effect.suspend(() => this.tidy(round++)), {
      onSuccess: () => Effect.sync(() => void (fails = false)),
      // A database that is down says so once.
      onFailure: (cause) => {
        const isNew = !fails
        fails = true
        return isNew
          ? Effect.logWarning(
            "The upkeep of durable calls failed: deadlines and retention wait until it is possible",
            cause
          )
          : Effect.void
      }
    })
    return Effect.forever(Effect.andThen(tidied, Effect.sleep(1_000)))
  }

  private tidy(round: number): Effect.Effect<void, unknown> {
    const { calls } = this
    return Effect.gen({ self: this }, function* () {
      const now = yield* calls.now
      for (const id of yield* answered(calls.record.expire(now))) calls.wake(id)
      if (round % 15 === 0) yield* answered(this.redeliver(now))
      if (round % 60 === 0) yield* sweep(calls, now, this.options)
      if (round % 3_600 === 0) yield* answered(calls.record.removeStrays)
    })
  }

  /** Ready calls that wait for long are delivered again, in case the engine has lost its claim on them. */
  redeliver(now: number): Effect.Effect<void, unknown> {
    const { calls } = this
    return Effect.gen({ self: this }, function* () {
      const stalled = yield* calls.record.stalled(now - 30_000, this.stalledSince, 256)
      // The next round goes on after these.
      this.stalledSince = stalled.length < 256 ? 0 : stalled.at(-1)!.begun_at
      const ids = stalled.map(({ id }) => id).filter((id) => !this.live.has(id))
      if (ids.length === 0) return
      yield* calls.storage.resetAddresses(ids.map((id) => addressOf(calls.sharding, id)))
      for (const id of ids) calls.deliver(id)
    })
  }
}

/** What is done again and again must not wait for ever: a connection may be silent. */
const answered = <A, E>(work: Effect.Effect<A, E>): Effect.Effect<A, E | Cause.TimeoutError> =>
  Effect.timeout(work, 30_000)

/** Removes what need not be kept any longer. */
export const sweep = (
  { record }: CallsImpl,
  now: number,
  { keepEnded, keepFinished }: Pick<ServeOptions, "keepEnded" | "keepFinished">
): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    while (true) {
      const ids = yield* answered(record.outdated(now - keepFinished, now - keepEnded, batch))
      const gone = ids.length === 0 ? [] : yield* answered(record.remove(ids, true))
      if (ids.length < batch || gone.length === 0) return
    }
  })

/** Whether a failure of the database may pass when the transaction is tried again. */
const mayPass = (cause: Cause.Cause<unknown>): boolean => {
  const error = errorOf(cause) ?? Cause.squash(cause)
  return isSqlError(error) && error.isRetryable
}

/** The caller that the client's process has stated. A text that says nothing readable is nobody's. */
export const callerOf = (text: string | null): Caller.Input => {
  if (text === null) return localCaller
  try {
    const { level, name } = JSON.parse(text)
    if (levels.includes(level) && (name === undefined || typeof name === "string")) {
      return { name, level, anonymous: false }
    }
  } catch {
    // The text was cut short.
  }
  return { level: "none" }
}

const spanOf = (text: string | null): Tracer.AnySpan | undefined => {
  if (text === null) return undefined
  try {
    const { sampled, spanId, traceId } = JSON.parse(text)
    return typeof spanId === "string" && typeof traceId === "string"
      ? Tracer.externalSpan({ spanId, traceId, sampled: sampled === true })
      : undefined
  } catch {
    return undefined
  }
}

/** Runs the calls of this process's shards until the scope closes. */
export const serve = (
  calls: CallsImpl,
  managers: ReadonlyArray<Manager.Manager.Any>,
  options: ServeOptions
): Effect.Effect<void, never, any> =>
  Effect.gen(function* () {
    if (calls.serves) {
      return refuseArgument("Durable.serve", "this process serves already. Give all managers to one Durable.serve")
    }
    calls.serves = true
    yield* Effect.addFinalizer(() => Effect.sync(() => void (calls.serves = false)))
    // The server exists before what it runs is there, for its managers run within it.
    const holder: { runner?: Runner } = {}
    const around: Manager.Middleware<any, any, any> = (routine, call) => holder.runner!.around(routine, call)
    const server = yield* Server.make(
      managers.map((manager) => Manager.middleware(manager as Manager.Manager<any, any>, around)),
      { grace: "1 second" }
    )
    const runner = holder.runner = new Runner(calls, server, options, managers)
    const listener = (id: string) => {
      if (runner.live.has(id)) calls.fork(runner.look([id]))
    }
    calls.listeners.add(listener)
    // What was handed off lives on in its record.
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        calls.listeners.delete(listener)
        return Effect.forEach([...runner.live.values()], (attempt) => attempt.stop, { discard: true })
      })
    )
    yield* Effect.forkScoped(runner.rounds)
    yield* calls.sharding.registerEntity(
      CallEntity,
      Effect.succeed(CallEntity.of({
        Dispatch: ({ address }) => runner.dispatch(address.entityId),
        Wait: ({ address }) => runner.wait(address.entityId),
        Wake: ({ address }) => runner.wake(address.entityId)
      })),
      { concurrency: "unbounded", maxIdleTime: 5_000 }
    )
    const counts = (yield* counting) === undefined ? Effect.never : keepCounts(calls, yield* Effect.context<never>())
    yield* calls.sharding.registerSingleton(
      "Callisto/Calls",
      Effect.all([runner.upkeep, counts], { concurrency: 2, discard: true })
    )
  })
