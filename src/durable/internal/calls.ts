/**
 * What a process knows of durable calls: the record, the engine, and who waits here for which call.
 */
import type * as MessageStorage from "effect/cluster/MessageStorage"
import type * as Sharding from "effect/cluster/Sharding"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { RpcTransportError } from "../../Status.ts"
import { CallEntity, shardOf } from "./entity.ts"
import { gather } from "./gather.ts"
import type { Mac } from "./handles.ts"
import { batch, type CallTable, type Progress, type Row, type Tables } from "./record.ts"
import type { Seal } from "./values.ts"

/** Why a call is lost to whoever waits for it: there is no such call, or the layer has closed. */
export type Gone = "rolled back" | "removed" | "closed"

/** One who waits for the end of a call in this process. */
export interface Watch {
  readonly id: string
  /** The transaction in which the call was begun, until it is known to be over. */
  transaction: string | undefined
  /** When the call ends by itself, in milliseconds. */
  readonly deadline: number | undefined
  /** Learns the text of the outcome. */
  ended(outcome: string): void
  /** Learns that nothing more will be told of the call. */
  gone(why: Gone): void
}

/** The failure of an operation on the database. */
export const unsure = (what: string, error: unknown): RpcTransportError =>
  new RpcTransportError({
    status: 1726,
    detail: `${what}: ${error instanceof Error ? error.message : String(error)}`
  })

interface Ending {
  readonly id: string
  readonly outcome: string
  readonly now: number
}

/** An evidence that takes a result. */
interface Taker {
  readonly id: string
  /** Names it in the record. */
  readonly name: string
  /** The transaction in which it took the result last, or `"committed"` when that is known to be so. */
  takenIn: string | undefined
}

interface Taking {
  readonly id: string
  readonly evidence: string
  readonly now: number
}

interface Fields {
  readonly sql: SqlClient.SqlClient
  readonly record: CallTable
  readonly tables: Tables
  readonly sharding: Sharding.Sharding["Service"]
  readonly storage: MessageStorage.MessageStorage["Service"]
  readonly mac: Mac
  readonly seal: Seal | undefined
  readonly mayHoldSecrets: boolean
  /** How long the engine lets a process that is gone keep its calls, in milliseconds. */
  readonly lease: number
  readonly scope: Scope.Scope
  /** The context of the layer: fibers in it are outside of every transaction of the program. */
  readonly context: Context.Context<never>
}

/** A client of the entity of a call. */
type EntityClient = (id: string) => {
  readonly Wait: () => Effect.Effect<void, unknown>
  readonly Wake: (payload: undefined, options: { readonly discard: true }) => Effect.Effect<void, unknown>
}

/** The watchers of one call, and when the next look at it is due. */
interface Watched {
  readonly all: Set<Watch>
  due: number
  pause: number
}

/** Pauses between two looks at a call, in milliseconds: they grow. */
const shortest = 50
const longest = 2_000

/** How long a look may take, in milliseconds. */
const longestLook = 10_000

/** The first pause where runners answer, so that looking is seldom of use. */
const answeredPause = 250

/** Looks that are due within this time are one. */
const together = 25

/** How many calls a runner is asked to tell of, and how many while none answers: each asks again and again. */
const mostWaits = 1_000
const mostUnanswered = 32

export interface CallsImpl extends Fields {}

export class CallsImpl {
  readonly "~callisto/Durable/Calls" = "~callisto/Durable/Calls"
  readonly watches: Map<string, Watched> = new Map()
  /** Told of each call that may have ended, for the server in this process. */
  readonly listeners: Set<(id: string) => void> = new Set()
  readonly fibers: Set<Fiber.Fiber<unknown, unknown>> = new Set()
  private isClosed = false
  /** Whether a server in this process has been made. */
  serves = false
  private readonly client: EntityClient
  private readonly poked = new Set<string>()
  private readonly work = Latch.makeUnsafe(false)
  private nextLook = Infinity
  /** The transactions that are being asked whether they are over. */
  private readonly checking = new Set<string>()
  /** The shards that a waker is on its way to, and whether it has to go again. */
  private readonly waking = new Map<string, boolean>()
  /** The calls whose runner has been asked to tell of their end. */
  private readonly asked = new Set<string>()
  private lastAnswer = -Infinity

  /** Counts the first attempt of a new call, outside of every transaction, and gives it. */
  readonly claim: (item: { readonly id: string; readonly now: number }) => Effect.Effect<Row | undefined, SqlError>
  private readonly endOutside: (item: Ending) => Effect.Effect<boolean, SqlError>
  private readonly takeOutside: (item: Taking) => Effect.Effect<boolean, SqlError>

  constructor(fields: Fields, client: EntityClient) {
    Object.assign(this, fields)
    this.client = client
    const { record } = fields
    const fork = (effect: Effect.Effect<void>) => this.fork(effect)
    const latest = (items: ReadonlyArray<{ readonly now: number }>) => Math.max(...items.map(({ now }) => now))
    this.claim = gather(
      fork,
      (items) => record.claimAll(items.map(({ id }) => id), latest(items)),
      ({ id, now }) => record.claim(id, 0, now)
    )
    this.endOutside = gather<Ending, boolean, SqlError>(
      fork,
      (items) => record.endAll(items, latest(items)),
      ({ id, now, outcome }, isUnsure) =>
        Effect.flatMap(record.end(id, outcome, now), (isFirst) => {
          if (isFirst || !isUnsure) return Effect.succeed(isFirst)
          // The statement that failed may have ended the call with this very outcome.
          return Effect.map(record.progress([id]), ([row]) => row?.outcome === outcome)
        })
    )
    this.takeOutside = gather<Taking, boolean, SqlError>(
      fork,
      (items) => record.takeAll(items, latest(items)),
      ({ evidence, id, now }) => record.take(id, evidence, now)
    )
  }

  /** Ends a call. The first outcome wins. */
  end(id: string, outcome: string): Effect.Effect<boolean, SqlError> {
    return Effect.gen({ self: this }, function* () {
      const now = yield* this.now
      return yield* ((yield* this.inTransaction)
        ? this.record.end(id, outcome, now)
        : this.endOutside({ id, outcome, now }))
    })
  }

  /**
   * Takes the result. It can be repeated by the same evidence, but not in a transaction of the program when an earlier one was committed:
   * what the program writes there would come twice.
   */
  take(evidence: Taker): Effect.Effect<boolean, SqlError> {
    const { id, name, takenIn } = evidence
    return Effect.gen({ self: this }, function* () {
      const now = yield* this.now
      if (!(yield* this.inTransaction)) return yield* this.takeOutside({ id, evidence: name, now })
      const transaction = yield* this.record.takeWithin(id, name, takenIn, now)
      if (transaction === undefined) return false
      evidence.takenIn = transaction
      yield* this.sql.afterCommit(Effect.sync(() => void (evidence.takenIn = "committed")))
      return true
    })
  }

  // --- fibers

  /** Runs an effect outside of the caller's transaction, until the layer closes; `false` where it has closed. */
  fork(effect: Effect.Effect<unknown, unknown>): boolean {
    if (this.isClosed) return false
    const fiber = Effect.runForkWith(this.context)(effect)
    this.fibers.add(fiber)
    fiber.addObserver(() => void this.fibers.delete(fiber))
    return true
  }

  /** Ends all fibers together: one after the other they would take long. Whoever waits is told. */
  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.isClosed = true
      const waiting = [...this.watches.values()].flatMap(({ all }) => [...all])
      this.watches.clear()
      for (const watch of waiting) watch.gone("closed")
      return Fiber.interruptAll(this.fibers)
    })
  }

  get now(): Effect.Effect<number> {
    return Clock.currentTimeMillis
  }

  get inTransaction(): Effect.Effect<boolean> {
    return Effect.map(Effect.serviceOption(this.sql.transactionService), Option.isSome)
  }

  /** Runs an effect outside of the caller's transaction. */
  outside<A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.updateContext(effect, Context.omit(this.sql.transactionService) as never)
  }

  // --- hints

  /** Looks at a call soon, on behalf of whoever waits for it here. */
  poke(id: string): void {
    for (const listener of this.listeners) listener(id)
    if (!this.watches.has(id)) return
    this.poked.add(id)
    this.work.openUnsafe()
  }

  /** Tells whoever runs a call that its record has changed. */
  wake(id: string): void {
    this.poke(id)
    if (this.isLocal(id)) return
    this.fork(Effect.ignoreCause(Effect.timeout(this.client(id).Wake(undefined, { discard: true }), 2_000)))
  }

  /** Lets the owner of a call's shard read what was stored, and tell of the end where somebody waits here for that. */
  deliver(id: string): void {
    if (this.isLocal(id)) return void this.fork(this.sharding.pollStorage)
    if (this.ask(id)) return
    // One at a time goes to each shard.
    const shard = String(shardOf(this.sharding, id))
    if (this.waking.has(shard)) return void this.waking.set(shard, true)
    this.waking.set(shard, false)
    const go: Effect.Effect<void> = Effect.suspend(() =>
      Effect.flatMap(
        Effect.ignoreCause(Effect.timeout(this.client(id).Wake(undefined, { discard: true }), 1_000)),
        () => {
          const again = this.waking.get(shard)
          this.waking.set(shard, false)
          return again ? go : Effect.sync(() => void this.waking.delete(shard))
        }
      )
    )
    this.fork(go)
  }

  private isLocal(id: string): boolean {
    return this.serves && this.sharding.hasShardId(shardOf(this.sharding, id))
  }

  // --- who waits

  watch(watch: Watch, now: number): void {
    const { id } = watch
    if (this.isClosed) return watch.gone("closed")
    const watched = this.watches.get(id)
    if (watched !== undefined) return void watched.all.add(watch)
    const pause = now - this.lastAnswer < 10_000 ? answeredPause : shortest
    this.watches.set(id, { all: new Set([watch]), due: now + pause, pause })
    if (now + pause >= this.nextLook) return
    this.nextLook = now + pause
    this.work.openUnsafe()
  }

  unwatch(watch: Watch): void {
    const all = this.watches.get(watch.id)?.all
    if (all === undefined) return
    all.delete(watch)
    if (all.size === 0) this.watches.delete(watch.id)
  }

  /** Asks the runner of a call to answer when it has ended. Without an answer the call is found by looking. */
  ask(id: string): boolean {
    const { asked } = this
    if (!this.watches.has(id) || asked.has(id) || this.isLocal(id) || asked.size >= mostWaits) return false
    if (asked.size >= mostUnanswered && this.lastAnswer === -Infinity) return false
    asked.add(id)
    const wait: Effect.Effect<void> = Effect.suspend(() => {
      if (!this.watches.has(id)) return Effect.void
      return Effect.flatMap(
        Effect.exit(Effect.timeout(this.client(id).Wait(), 30_000)),
        (exit) => {
          if (exit._tag === "Failure" && Cause.hasInterruptsOnly(exit.cause)) return Effect.void
          return Effect.flatMap(this.now, (now) => {
            this.lastAnswer = exit._tag === "Success" ? now : -Infinity
            this.poke(id)
            return Effect.andThen(Effect.sleep(exit._tag === "Success" ? 250 : 5_000), wait)
          })
        }
      )
    })
    this.fork(Effect.ensuring(wait, Effect.sync(() => void asked.delete(id))))
    return true
  }

  /** Tells whoever waits here of an outcome that the record has. */
  ended(id: string, outcome: string): void {
    const watched = this.watches.get(id)
    this.watches.delete(id)
    for (const watch of watched?.all ?? []) watch.ended(outcome)
  }

  /** Looks at the calls for which somebody waits here: those of hints at once, the others with growing pauses. */
  get loop(): Effect.Effect<never> {
    const { work } = this
    return Effect.forever(Effect.flatMap(this.now, (now) =>
      Effect.andThen(
        this.nextLook === Infinity
          ? work.await
          : Effect.raceFirst(Effect.sleep(Math.max(0, this.nextLook - now)), work.await),
        this.look
      )))
  }

  private get look(): Effect.Effect<void> {
    return Effect.flatMap(this.now, (now) => {
      this.work.closeUnsafe()
      const found = new Set(Array.from(this.poked).filter((id) => this.watches.has(id)))
      this.poked.clear()
      if (now >= this.nextLook) {
        let next = Infinity
        for (const [id, watched] of this.watches) {
          if (watched.due <= now + together) {
            found.add(id)
            watched.due = now + watched.pause
            watched.pause = Math.min(longest, watched.pause * 1.5)
          }
          next = Math.min(next, watched.due)
        }
        this.nextLook = next
      }
      const ids = Array.from(found)
      const batches = Array.from(
        { length: Math.ceil(ids.length / batch) },
        (_, n) => ids.slice(n * batch, (n + 1) * batch)
      )
      // A database that is down says nothing of the calls: they are looked at again. A connection may be silent for ever.
      return Effect.ignoreCause(
        Effect.forEach(batches, (some) => Effect.timeout(this.lookAt(some, now), longestLook), { discard: true })
      )
    })
  }

  private lookAt(ids: ReadonlyArray<string>, now: number): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function* () {
      const overdue = ids.filter((id) => this.anyOf(id, ({ deadline }) => deadline !== undefined && deadline <= now))
      if (overdue.length > 0) { for (const id of yield* this.record.expire(now, overdue)) this.wake(id) }
      const rows = new Map<string, Progress>()
      for (const row of yield* this.record.progress(ids)) rows.set(row.id, row)
      const missing: Array<Watch> = []
      for (const id of ids) {
        const row = rows.get(id)
        const all = this.watches.get(id)?.all ?? []
        if (row === undefined) missing.push(...all)
        else if (row.outcome !== null) this.ended(id, row.outcome)
        else for (const watch of all) watch.transaction = undefined
      }
      if (missing.length > 0) yield* this.missing(missing)
    })
  }

  /** There is no such row. A call whose transaction is not over may still come. */
  private missing(watches: ReadonlyArray<Watch>): Effect.Effect<void, unknown> {
    const settle = (some: ReadonlyArray<Watch>, why: Gone) =>
      Effect.map(this.record.progress(some.map(({ id }) => id)), (rows) => {
        const there = new Set(rows.map(({ id }) => id))
        for (const watch of some) {
          if (there.has(watch.id)) watch.transaction = undefined
          else this.goneFrom(watch, why)
        }
      })
    const begun = new Map<string, Array<Watch>>()
    const settled: Array<Watch> = []
    for (const watch of watches) {
      const { transaction } = watch
      if (transaction === undefined) settled.push(watch)
      else if (!this.checking.has(transaction)) {
        const others = begun.get(transaction)
        if (others === undefined) begun.set(transaction, [watch])
        else others.push(watch)
      }
    }
    for (const [transaction, some] of begun) {
      this.checking.add(transaction)
      // On SQLite the answer comes when the transaction is over: nobody else waits for that.
      const check = Effect.flatMap(
        this.record.isOver(transaction),
        (isOver) => isOver ? settle(some, "rolled back") : Effect.void
      )
      this.fork(Effect.ensuring(Effect.ignoreCause(check), Effect.sync(() => void this.checking.delete(transaction))))
    }
    // A row may have come since the look: its transaction was committed in between.
    return settled.length === 0 ? Effect.void : settle(settled, "removed")
  }

  private goneFrom(watch: Watch, why: Gone): void {
    this.unwatch(watch)
    watch.gone(why)
  }

  private anyOf(id: string, test: (watch: Watch) => boolean): boolean {
    for (const watch of this.watches.get(id)?.all ?? []) if (test(watch)) return true
    return false
  }

  // --- sealed text

  sealed(text: string): Effect.Effect<string> {
    return this.seal === undefined ? Effect.succeed(text) : this.seal.encode(text)
  }

  /** A text that does not open counts as one of another version. */
  opened(text: string): Effect.Effect<string> {
    return this.seal === undefined
      ? Effect.succeed(text)
      : Effect.catchCause(this.seal.decode(text), () => Effect.succeed(""))
  }

  sealedOutcome(text: string): Effect.Effect<string> {
    return this.seal === undefined || !/^\{"t":"(ok|abort)"/.test(text)
      ? Effect.succeed(text)
      : Effect.map(this.seal.encode(text), (v) => JSON.stringify({ t: "sealed", v }))
  }

  openedOutcome(text: string): Effect.Effect<string> {
    if (!text.startsWith(`{"t":"sealed"`)) return Effect.succeed(text)
    return this.seal === undefined ? Effect.succeed(text) : Effect.catchCause(
      Effect.suspend(() => this.seal!.decode(JSON.parse(text).v)),
      () => Effect.succeed("")
    )
  }
}

export const makeCalls = (fields: Fields): Effect.Effect<CallsImpl> =>
  Effect.flatMap(fields.sharding.makeClient(CallEntity), (client) => {
    const calls = new CallsImpl(fields, client)
    calls.fork(calls.loop)
    return Effect.as(Scope.addFinalizer(fields.scope, calls.close), calls)
  })
