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
import { RpcTransportError } from "../../Status.ts"
import { CallEntity, shardOf } from "./entity.ts"
import type { Mac } from "./handles.ts"
import { batch, type CallTable, type Progress, type Tables } from "./record.ts"
import type { Seal } from "./values.ts"

/** Why a call is lost to whoever waits for it: there is no such call, or the layer has closed. */
export type Gone = "rolled back" | "removed" | "closed"

/** One who waits for the end of a call in this process. */
export interface Watch {
  readonly id: string
  /** The transaction in which the call was begun, until it is known to be over. */
  transaction: string | undefined
  checking: boolean
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

const shortest = 50
const longest = 2_000

export interface CallsImpl extends Fields {}

export class CallsImpl {
  readonly "~callisto/Durable/Calls" = "~callisto/Durable/Calls"
  readonly watches: Map<string, Set<Watch>> = new Map()
  /** Told of each call that may have ended, for the server in this process. */
  readonly listeners: Set<(id: string) => void> = new Set()
  readonly fibers: Set<Fiber.Fiber<unknown, unknown>> = new Set()
  private isClosed = false
  /** Whether a server in this process has been made. */
  serves = false
  private readonly client: EntityClient
  private readonly poked = new Set<string>()
  private readonly work = Latch.makeUnsafe(false)
  private pause = shortest
  private nextLook = 0
  /** The shards that a waker is on its way to, and whether it has to go again. */
  private readonly waking = new Map<string, boolean>()
  private waits = 0

  constructor(fields: Fields, client: EntityClient) {
    Object.assign(this, fields)
    this.client = client
  }

  // --- fibers

  /** Runs an effect outside of the caller's transaction, until the layer closes. */
  fork(effect: Effect.Effect<unknown, unknown>): void {
    if (this.isClosed) return
    const fiber = Effect.runForkWith(this.context)(effect)
    this.fibers.add(fiber)
    fiber.addObserver(() => void this.fibers.delete(fiber))
  }

  /** Ends all fibers together: one after the other they would take long. Whoever waits is told. */
  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.isClosed = true
      for (const id of [...this.watches.keys()]) {
        for (const watch of this.take(id)) watch.gone("closed")
      }
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

  /** Lets the owner of a call's shard read what was stored. One at a time goes to each shard. */
  deliver(id: string): void {
    if (this.isLocal(id)) return void this.fork(this.sharding.pollStorage)
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

  watch(watch: Watch): void {
    const { id } = watch
    if (this.isClosed) return watch.gone("closed")
    const others = this.watches.get(id)
    if (others !== undefined) others.add(watch)
    else {
      this.watches.set(id, new Set([watch]))
      this.ask(id)
    }
    this.pause = shortest
    this.nextLook = 0
    this.work.openUnsafe()
  }

  unwatch(watch: Watch): void {
    const all = this.watches.get(watch.id)
    if (all === undefined) return
    all.delete(watch)
    if (all.size === 0) this.watches.delete(watch.id)
  }

  /** Asks the runner of a call to answer when it has ended. Without an answer the call is found by looking. */
  private ask(id: string): void {
    if (this.isLocal(id) || this.waits >= 1_000) return
    this.waits++
    const wait: Effect.Effect<void> = Effect.suspend(() => {
      if (!this.watches.has(id)) return Effect.void
      return Effect.flatMap(
        Effect.exit(Effect.timeout(this.client(id).Wait(), 30_000)),
        (exit) => {
          if (exit._tag === "Failure" && Cause.hasInterruptsOnly(exit.cause)) return Effect.void
          this.poke(id)
          return Effect.andThen(Effect.sleep(exit._tag === "Success" ? 250 : 5_000), wait)
        }
      )
    })
    this.fork(Effect.ensuring(wait, Effect.sync(() => void this.waits--)))
  }

  /** Looks at the calls for which somebody waits here: those of hints at once, the others with growing pauses. */
  get loop(): Effect.Effect<never> {
    return Effect.forever(Effect.suspend(() => {
      if (this.watches.size === 0) {
        this.work.closeUnsafe()
        return this.work.await
      }
      return Effect.andThen(
        Effect.flatMap(
          this.now,
          (now) => Effect.raceFirst(Effect.sleep(Math.max(0, this.nextLook - now)), this.work.await)
        ),
        this.look
      )
    }))
  }

  private get look(): Effect.Effect<void> {
    return Effect.flatMap(this.now, (now) => {
      this.work.closeUnsafe()
      const all = now >= this.nextLook
      if (all) {
        this.nextLook = now + this.pause
        this.pause = Math.min(longest, this.pause * 1.5)
      }
      const ids = Array.from(all ? this.watches.keys() : this.poked).filter((id) => this.watches.has(id))
      this.poked.clear()
      const batches = Array.from(
        { length: Math.ceil(ids.length / batch) },
        (_, n) => ids.slice(n * batch, (n + 1) * batch)
      )
      // A database that is down says nothing of the calls: they are looked at again.
      return Effect.ignoreCause(Effect.forEach(batches, (some) => this.lookAt(some, now), { discard: true }))
    })
  }

  private lookAt(ids: ReadonlyArray<string>, now: number): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function* () {
      const overdue = ids.filter((id) => this.anyOf(id, ({ deadline }) => deadline !== undefined && deadline <= now))
      if (overdue.length > 0) { for (const id of yield* this.record.expire(now, overdue)) this.wake(id) }
      const rows = new Map<string, Progress>()
      for (const row of yield* this.record.progress(ids)) rows.set(row.id, row)
      for (const id of ids) {
        const row = rows.get(id)
        if (row === undefined) yield* this.missing(id)
        else if (row.outcome !== null) {
          this.pause = shortest
          for (const watch of this.take(id)) watch.ended(row.outcome)
        } else for (const watch of this.watches.get(id) ?? []) watch.transaction = undefined
      }
    })
  }

  /** There is no such row. A call whose transaction is not over may still come. */
  private missing(id: string): Effect.Effect<void, unknown> {
    const all = Array.from(this.watches.get(id) ?? [])
    return Effect.forEach(all, (watch) => {
      const { transaction } = watch
      // The row may have come since the look: its transaction was committed in between.
      if (transaction === undefined) {
        return Effect.map(this.record.load(id), (row) => {
          if (row === undefined) this.goneFrom(watch, "removed")
        })
      }
      if (watch.checking) return Effect.void
      watch.checking = true
      // On SQLite the answer comes when the transaction is over: nobody else waits for that.
      const check = Effect.gen({ self: this }, function* () {
        if (!(yield* this.record.isOver(transaction))) return
        if ((yield* this.record.load(id)) === undefined) this.goneFrom(watch, "rolled back")
        else watch.transaction = undefined
      })
      this.fork(Effect.ensuring(Effect.ignoreCause(check), Effect.sync(() => void (watch.checking = false))))
      return Effect.void
    }, { discard: true })
  }

  private goneFrom(watch: Watch, why: Gone): void {
    this.unwatch(watch)
    watch.gone(why)
  }

  private anyOf(id: string, test: (watch: Watch) => boolean): boolean {
    for (const watch of this.watches.get(id) ?? []) if (test(watch)) return true
    return false
  }

  private take(id: string): ReadonlyArray<Watch> {
    const all = Array.from(this.watches.get(id) ?? [])
    this.watches.delete(id)
    return all
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
