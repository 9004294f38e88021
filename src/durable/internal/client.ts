/**
 * The client's side: the channel of a durable binding, and calls that are found again.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { Binding } from "../../Binding.ts"
import * as Call from "../../Call.ts"
import type { Channel, Outgoing, Remote } from "../../Channel.ts"
import type { Interface, Operation } from "../../Interface.ts"
import { badInput } from "../../internal/badInput.ts"
import { bind } from "../../internal/binding.ts"
import { callImpl, issue as issueCall, PendingImpl, pendingImpl, takeThrough } from "../../internal/clientCall.ts"
import { unavailable } from "../../internal/failures.ts"
import { refuseArgument } from "../../internal/named.ts"
import { v4 } from "../../internal/uuid.ts"
import { type BadStubData, CallComplete, InvalidAsyncHandle, RpcTransportError } from "../../Status.ts"
import { type CallsImpl, type Gone, unsure, type Watch } from "./calls.ts"
import { dispatchOf } from "./entity.ts"
import { isHandle } from "./handles.ts"
import type { Row } from "./record.ts"
import { decodeOutcome, encodeInput, rewrite, unfit } from "./values.ts"

/** The key under which the calling fiber begins its next call. */
export const CurrentKey: Context.Reference<string | undefined> = Context.Reference<string | undefined>(
  "@callisto/rpc/Durable/Key",
  { defaultValue: () => undefined }
)

export interface BindingOptions {
  readonly object: string | undefined
  readonly caller: string | undefined
  readonly keepInput: boolean
  readonly maximumAge: (method: string) => number
}

/** The identity of an interface as the record keeps it. */
export const interfaceOf = ({ uuid, version: [major] }: Interface.Identity): string => `${uuid} ${major}`

/** What takes the place of the input when an evidence is made for a call that is there. */
class Found {
  declare readonly row: Row
  declare readonly now: number

  constructor(row: Row, now: number) {
    this.row = row
    this.now = now
  }
}

const lost = {
  removed: "the record of the call is no longer kept",
  closed: "the layer of Durable.Calls has closed. The call goes on: resume it"
}

/** The evidence of a durable call: who takes with it, and what it has asked for. */
class Evidence implements Remote, Watch {
  declare readonly calls: CallsImpl
  declare readonly call: Outgoing
  declare readonly id: string
  declare readonly deadline: number | undefined
  /** Names this evidence in the record. */
  readonly name: string = v4()
  takenIn: string | undefined = undefined
  transaction: string | undefined
  /** The client has given the call up: its result is taken by nobody. */
  isAbandoned = false
  /** There is no record to take from. */
  isGone = false
  private isCancelRecorded = false

  constructor(calls: CallsImpl, call: Outgoing, id: string, deadline: number | null, transaction: string | undefined) {
    this.calls = calls
    this.call = call
    this.id = id
    this.deadline = deadline ?? undefined
    this.transaction = transaction
  }

  // --- as its watcher sees it

  ended(outcome: string): void {
    // The layer may close while the outcome is being opened.
    this.calls.fork(Effect.onError(this.told(outcome), () => Effect.sync(() => this.gone("closed"))))
  }

  told(outcome: string): Effect.Effect<void> {
    const { call, calls } = this
    return Effect.map(calls.openedOutcome(outcome), (text) => call.reply(decodeOutcome(call.operation, text)))
  }

  gone(why: Gone): void {
    this.isGone = true
    this.call.reply(Exit.fail(
      why === "rolled back"
        ? unavailable("the transaction in which the call was begun was rolled back")
        : new RpcTransportError({ status: 1726, detail: lost[why] })
    ))
  }

  // --- as the call sees its server

  readonly dispatched = true
  readonly cancelDisabled = false

  cancel(): Effect.Effect<void, RpcTransportError> {
    const { calls, id } = this
    return Effect.gen({ self: this }, function* () {
      this.isCancelRecorded = true
      const row = yield* calls.record.cancel(id, yield* calls.now, this.isAbandoned)
      yield* calls.sql.afterCommit(Effect.sync(() => {
        // The statement gives the outcome of a call that it has ended.
        if (typeof row?.outcome === "string") calls.ended(id, row.outcome)
        calls.wake(id)
      }))
    }).pipe(Effect.mapError((error) => unsure("the cancel could not be recorded", error)))
  }

  discard(): void {
    this.isAbandoned = true
    this.calls.unwatch(this)
    // A cancel that is still to be recorded says it too.
    if (this.isCancelRecorded) this.calls.fork(Effect.ignoreCause(this.calls.record.abandon(this.id)))
  }

  orphan(): void {
    this.calls.unwatch(this)
  }

  goOn(): void {
    this.calls.unwatch(this)
  }

  giveUp(): Effect.Effect<void> {
    return Effect.ignoreCause(this.cancel())
  }

  /** Refuses a wait that can't end: inside of the transaction of the begin, and inside of any on SQLite, where nobody else can write. */
  get awaited(): Effect.Effect<void> | undefined {
    const { calls, id, transaction } = this
    const { isPg } = calls.record
    if (isPg && transaction === undefined) return undefined
    const refused = Effect.sync(() => refuseWait(this.call.operation, isPg))
    const look = Effect.flatMap(calls.record.transactionId, (current): Effect.Effect<void, unknown> => {
      if (current !== transaction) return Effect.void
      // A key may have attached to a call that was there before.
      return Effect.flatMap(calls.outside(calls.record.load(id)), (row) => {
        if (row === undefined) return refused
        this.transaction = undefined
        return Effect.void
      })
    })
    return Effect.flatMap(
      calls.inTransaction,
      (isInside): Effect.Effect<void> =>
        !isInside ? Effect.void : isPg ? Effect.catchCause(look, () => refused) : refused
    )
  }
}

const refuseWait = ({ interface: { name }, name: method }: Operation, isPg: boolean): never =>
  refuseArgument(
    `${name}.${method}`,
    isPg
      ? "the call was begun in this transaction, and starts after its commit. Wait for it outside of the transaction"
      : "a call can't end while a transaction on SQLite waits for it. Wait for it outside of the transaction"
  )

const evidences = new WeakMap<object, Evidence>()

/** The handle of an evidence; `undefined` where it is not one of a durable call. */
export const handleOf = (pending: object): string | undefined => evidences.get(pending)?.id

/** Ties an evidence to the record of its call. */
const follow = (
  calls: CallsImpl,
  call: Outgoing,
  row: Pick<Row, "id" | "deadline" | "outcome">,
  isNew: boolean,
  now: number
): Effect.Effect<void, RpcTransportError> =>
  Effect.gen(function* () {
    const isInside = yield* calls.inTransaction
    const transaction = isInside
      ? yield* Effect.mapError(calls.record.transactionId, (error) => unsure("the transaction has no name", error))
      : undefined
    const { deadline, id, outcome } = row
    const evidence = new Evidence(calls, call, id, deadline, transaction)
    evidences.set(call, evidence)
    call.remote = evidence
    // A maybe call is complete when it is stored.
    if (call.operation.method.maybe) {
      return isNew ? yield* calls.sql.afterCommit(Effect.sync(() => calls.deliver(id))) : undefined
    }
    // Should this be undone with the transaction, then there is nothing to take.
    if (outcome !== null) return yield* evidence.told(outcome)
    calls.watch(evidence, now)
    yield* calls.sql.afterCommit(Effect.sync(() => {
      evidence.transaction = undefined
      if (isNew) calls.deliver(id)
      else calls.ask(id)
    }))
  })

/** The channel of a durable binding. */
const channelOf = (calls: CallsImpl, iface: Interface.Any, options: BindingOptions): Channel => ({
  callObjects: true,
  address: "durable",
  references: [CurrentKey],
  issue: (call, input) => {
    if (!(input instanceof Found)) return begin(calls, iface, options, call, input)
    const { now, row } = input
    return follow(calls, call, row, false, now)
  },
  take: (call) => {
    const evidence = evidences.get(call)
    if (evidence === undefined || evidence.isAbandoned || evidence.isGone || call.operation.method.maybe) {
      return Effect.void
    }
    return Effect.flatMap(
      Effect.mapError(
        calls.take(evidence),
        (error) => unsure("the result could not be taken", error)
      ),
      (isTaken) => isTaken ? Effect.void : Effect.fail(new CallComplete())
    )
  }
})

const begin = (
  calls: CallsImpl,
  iface: Interface.Any,
  options: BindingOptions,
  call: Outgoing,
  input: unknown
): Effect.Effect<void, BadStubData | RpcTransportError> =>
  Effect.gen(function* () {
    const { operation } = call
    const { name: method } = operation
    const isInside = yield* calls.inTransaction
    // The call object of `Call.invoke` belongs to no scope: nobody but it waits for the call.
    if (isInside && !operation.method.maybe && pendingImpl(call).call.scope === undefined) {
      refuseWait(operation, calls.record.isPg)
    }
    const text = encodeInput(operation, input)
    if (typeof text !== "string") return yield* Effect.fail(text)
    const key = Context.get(call.context, CurrentKey)
    const identity = interfaceOf(iface)
    const id = key === undefined ? v4() : yield* calls.mac("key", identity, method, options.object ?? "", key)
    const now = yield* calls.now
    const age = options.maximumAge(method)
    const { span } = call
    const row = {
      id,
      interface: identity,
      method,
      object: options.object ?? null,
      input: yield* calls.sealed(text),
      input_hash: options.keepInput ? null : yield* calls.mac("input", text),
      caller: options.caller ?? null,
      trace: span === undefined
        ? null
        : JSON.stringify({ traceId: span.traceId, spanId: span.spanId, sampled: span.sampled }),
      begun_at: now,
      deadline: deadlineOf(now + age)
    }
    const store = Effect.gen(function* () {
      if (!(yield* calls.record.insert(row))) return false
      yield* calls.storage.saveRequest(yield* dispatchOf(calls.sharding, id))
      return true
    })
    const begun = Effect.mapError(
      isInside ? store : calls.sql.withTransaction(store),
      (error) => unsure("the call could not be stored", error)
    )
    let followed: Pick<Row, "id" | "deadline" | "outcome"> = { id, deadline: row.deadline, outcome: null }
    const isFirst = yield* begun
    if (!isFirst) {
      const there = yield* Effect.mapError(
        calls.record.load(id),
        (error) => unsure("the call could not be found", error)
      )
      if (there === undefined) {
        return yield* Effect.fail(unsure("the call could not be found", "it was just removed. Begin it again"))
      }
      const refused = yield* differs(calls, operation, there, text)
      if (refused !== undefined) return yield* Effect.fail(refused)
      followed = there
    }
    yield* follow(calls, call, followed, isFirst, now)
  })

/** A deadline in whole milliseconds; none where no date is that late. */
const deadlineOf = (time: number): number | null => time > 8.64e15 ? null : Math.ceil(time)

/** Whether a call that was begun under the same key has other arguments. */
const differs = (
  calls: CallsImpl,
  operation: Operation,
  row: Row,
  text: string
): Effect.Effect<BadStubData | undefined> =>
  Effect.gen(function* () {
    const hash = row.input_hash
    const isSame = hash !== null && row.input === ""
      ? hash === (yield* calls.mac("input", text))
      : rewrite(operation, yield* calls.opened(row.input)) === text
    return isSame ? undefined : badInput("a call with this key was begun with other arguments")
  })

/** A binding whose calls are kept in the database. */
export const makeBinding = <I extends Interface.Any>(
  calls: CallsImpl,
  iface: I,
  options: BindingOptions
): Effect.Effect<Binding<I>> => {
  const problem = unfit(iface, calls.mayHoldSecrets || calls.seal !== undefined)
  if (problem !== undefined) {
    return Effect.sync(() => refuseArgument(`Durable.binding(${iface.name})`, `the interface is refused: ${problem}`))
  }
  return bind(iface, channelOf(calls, iface, options), undefined, takeThrough) as never
}

// ----------------------------------------------------------------------------
// calls that are found again
// ----------------------------------------------------------------------------

export const noSuchCall = (): InvalidAsyncHandle => new InvalidAsyncHandle({ handle: "durable call" })

/** The record of a handle, as a call of a method. */
export const find = (
  calls: CallsImpl,
  iface: Interface.Any,
  method: string,
  handle: string
): Effect.Effect<Row, InvalidAsyncHandle | RpcTransportError> => {
  if (!isHandle(handle)) return Effect.fail(noSuchCall())
  return Effect.flatMap(
    Effect.mapError(calls.record.load(handle), (error) => unsure("the call could not be looked up", error)),
    (row) =>
      row === undefined || row.interface !== interfaceOf(iface) || row.method !== method
        ? Effect.fail(noSuchCall())
        : Effect.succeed(row)
  )
}

const plain: BindingOptions = {
  object: undefined,
  caller: undefined,
  keepInput: true,
  maximumAge: () => Infinity
}

export const resume = <I extends Interface.Any>(
  calls: CallsImpl,
  iface: I,
  operation: Operation,
  handle: string
): Effect.Effect<PendingImpl, InvalidAsyncHandle | RpcTransportError, Scope.Scope> =>
  Effect.gen(function* () {
    const row = yield* find(calls, iface, operation.name, handle)
    const now = yield* calls.now
    const call = yield* Effect.orDie(Call.make(yield* makeBinding(calls, iface, plain)))
    // The arguments are those of the record: nothing is made of them here.
    const found = { ...operation, makeInput: undefined, handlesIn: undefined }
    const pending = new PendingImpl(callImpl(call), found as never)
    yield* Effect.withFiber((fiber) => Effect.orDie(issueCall(pending, new Found(row, now), fiber) ?? Effect.void))
    return pending
  })
