/**
 * The client's side of a call: the call object, the evidence, and the only places where their state changes.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as References from "effect/References"
import type * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import type * as Types from "effect/Types"
import { Client as State, type ClientRow, clientTable, type Refusal } from "../CallState.ts"
import type { Outcome, Remote, Secured, Security } from "../Channel.ts"
import type { Interface, Operation } from "../Interface.ts"
import {
  type BadStubData,
  CallCancelled,
  CallComplete,
  CallPending,
  CancelDisabled,
  InvalidAsyncHandle,
  type NullContext,
  PipeDisciplineError,
  type RpcFault,
  type RpcTransportError
} from "../Status.ts"
import type { BindingImpl, Named } from "./binding.ts"
import type { FailedCall } from "./callFields.ts"
import { nowOf } from "./clock.ts"
import { cancelled, errorOf, located } from "./failures.ts"
import { PipeInspectable } from "./inspectable.ts"
import { durationOption } from "./options.ts"
import { Ends } from "./pipeEnds.ts"
import { addFinalizer, removeFinalizer } from "./scope.ts"
import { type FullOperation, fullOperation, type FullOutgoing } from "./seams.ts"
import { Waiters } from "./waiters.ts"
import { type Watch, watchClient } from "./watch.ts"

// ----------------------------------------------------------------------------
// the objects
// ----------------------------------------------------------------------------

export class CallImpl extends PipeInspectable {
  declare readonly "~callisto/Call": Types.Invariant<any>
  declare readonly binding: BindingImpl<Interface.Any>
  declare readonly scope: Scope.Scope | undefined
  /** Made for one call: it leaves its scope when that is finished. */
  declare readonly single: boolean
  state: State = State.idle
  current: PendingImpl | undefined = undefined
  /** The evidence that took its result through the channel, and may take it again. */
  declare taken: PendingImpl | undefined
  /** Whether it was released so that the server goes on. */
  declare goesOn: boolean
  /** The security that `Call.setSecurity` has set. */
  declare security: Security | undefined
  /** Told of each change of the state. */
  watchers: Set<() => void> | undefined = undefined

  constructor(binding: object, scope: Scope.Scope | undefined, single: boolean) {
    super()
    this.binding = binding as BindingImpl<Interface.Any>
    this.scope = scope
    this.single = single
  }

  /** Made by `Call.invoke`: nobody else can wait for it. */
  get isOneShot(): boolean {
    return this.scope === undefined
  }

  toJSON(): { readonly _id: string; readonly [name: string]: string } {
    return { _id: "callisto/Call", interface: this.binding.interface.name, state: clientTable[this.state].state }
  }
}

// Few calls have these, so an object has them only when they are set.
CallImpl.prototype.taken = undefined
CallImpl.prototype.goesOn = false
CallImpl.prototype.security = undefined

export class PendingImpl extends Waiters<CallComplete | InvalidAsyncHandle> implements FullOutgoing {
  declare readonly "~callisto/Call/Pending": { readonly _I: Types.Invariant<any>; readonly _K: Types.Invariant<any> }
  declare readonly call: CallImpl
  declare readonly operation: FullOperation
  declare context: Context.Context<never>
  /** Where the caller stands, as far as the tracer of Effect knows. */
  declare frame: References.StackFrame | undefined
  remote: Remote | undefined = undefined
  outcome: Outcome | undefined = undefined
  cancelling: { readonly deadline: number; timer: Fiber.Fiber<void, unknown> | undefined } | undefined = undefined
  watch: Watch | undefined = undefined
  declare readonly pipes: Ends | undefined
  declare secured?: Secured

  constructor(call: CallImpl, operation: Operation) {
    super()
    this.call = call
    this.operation = fullOperation(operation)
    this.pipes = operation.pipes === undefined ? undefined : new Ends(operation.pipes, true)
  }

  get interface(): Interface.Any {
    return this.operation.interface
  }

  get method(): string {
    return this.operation.name
  }

  get security(): Security | undefined {
    return this.call.security
  }

  get span(): Tracer.Span | undefined {
    return this.watch?.span
  }

  get awaited(): Effect.Effect<void> | undefined {
    return this.remote?.awaited
  }

  reply(outcome: Outcome): void {
    const { pipes } = this
    // The first reply wins, also while its out parameters wait for the pipes.
    if (pipes?.onThrough !== undefined) return
    // The out parameters come behind the pipes: they wait until those are pulled to their end.
    if (pipes?.current !== undefined && outcome._tag === "Success") pipes.onThrough = () => complete(this, outcome)
    // A maybe call gets no reply at all.
    else if (!this.operation.method.maybe) complete(this, outcome)
  }

  transferred(direction: "in" | "out", bytes: number): void {
    this.watch?.transferred(direction, bytes)
  }

  toJSON(): { readonly _id: string; readonly [name: string]: string } {
    return { _id: "callisto/Pending", interface: this.interface.name, method: this.method, state: rowOf(this).state }
  }

  pollUnsafe(): boolean | CallComplete | InvalidAsyncHandle {
    const { wait } = rowOf(this)
    return wait === "waits" ? false : wait === "returns" ? true : refusal(wait) as CallComplete | InvalidAsyncHandle
  }
}

PendingImpl.prototype.context = Context.empty()
PendingImpl.prototype.frame = undefined

export const callImpl = (call: object): CallImpl => call as CallImpl
export const pendingImpl = (pending: object): PendingImpl => pending as PendingImpl

// ----------------------------------------------------------------------------
// refusals
// ----------------------------------------------------------------------------

const refusals = {
  CallPending: () => new CallPending(),
  CallComplete: () => new CallComplete(),
  // Not the shared one: a program may mark the errors that it has seen.
  CallCancelled: () => new CallCancelled({ didNotExecute: false }),
  InvalidAsyncHandle: () => new InvalidAsyncHandle({ handle: "call object" })
}

const refusal = (tag: Refusal): CallPending | CallComplete | CallCancelled | InvalidAsyncHandle => refusals[tag]()

export const refuse = (tag: Refusal): Effect.Effect<never, never> => Effect.fail(refusal(tag) as never)

/** The context that travels with a call: the references that the caller has set. */
const pick = (references: ReadonlyArray<Context.Reference<any>>, { mapUnsafe }: Context.Context<never>) =>
  Context.makeUnsafe<never>(
    new Map(references.filter(({ key }) => mapUnsafe.has(key)).map(({ key }) => [key, mapUnsafe.get(key)]))
  )

/** Like `Effect.ignore`, without its logging, which would come into every program. */
export const ignoreFailure = (effect: Effect.Effect<void, unknown>): Effect.Effect<void> =>
  Effect.catchCause(
    effect,
    (cause) => errorOf(cause) === undefined ? Exit.failCause(cause as Cause.Cause<never>) : Effect.void
  )

/** The row for operations that take the evidence: stale evidence finds its object as idle. */
export const rowOf = (pending: PendingImpl): ClientRow => {
  const { call } = pending
  return clientTable[call.current === pending || call.state === State.released ? call.state : State.idle]
}

// ----------------------------------------------------------------------------
// changes of state
// ----------------------------------------------------------------------------

/** The one place where a call object changes its state. Gives `false` when the event can't happen in its state. */
const move = (call: CallImpl, event: keyof ClientRow["next"]): boolean => {
  const next = clientTable[call.state].next[event]
  if (next === undefined) return false
  call.state = next
  call.watchers?.forEach((notice) => notice())
  return true
}

/** Ties a call object to its scope; `false` where that is closed. */
export const attach = (call: CallImpl): boolean =>
  addFinalizer(call.scope!, call, () => {
    release(call)
    return Effect.void
  })

const detach = (call: CallImpl): void => {
  if (call.scope !== undefined) removeFinalizer(call.scope, call)
}

export type BeginError = CallPending | InvalidAsyncHandle | BadStubData | NullContext | RpcFault | RpcTransportError

/** Issues a call. Gives `undefined` when that is done, else what must be waited for. */
export const issue = (
  pending: PendingImpl,
  input: unknown,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<void, BeginError> | undefined => {
  const { call, operation } = pending
  const { channel, watching } = call.binding
  if (operation.handlesIn !== undefined) {
    const refused = operation.rules!.refuseIn(operation.handlesIn, input)
    if (refused !== undefined) return Effect.fail(located(refused, named(pending).call))
  }
  if (operation.makeInput !== undefined) {
    try {
      input = operation.makeInput(input)
    } catch (refused) {
      return Effect.fail(located(refused as BadStubData, named(pending).call))
    }
  }
  move(call, "begin")
  call.current = pending
  if (fiber.cache.stackFrame !== undefined) pending.frame = fiber.cache.stackFrame
  if (call.taken !== undefined) call.taken = undefined
  let issuing: Effect.Effect<void, BadStubData | RpcFault | RpcTransportError> | undefined
  try {
    if (channel.references !== undefined) pending.context = pick(channel.references, fiber.context)
    if (watching !== undefined || fiber.cache.tracer !== undefined) {
      pending.watch = watchClient(fiber, operation, watching, channel.address, input, () => {
        // An observer may cancel while the call changes its state, so the cancel comes after that.
        const cancel = Effect.flatMap(Effect.yieldNow, () => requestCancel(pending, 0, true))
        Effect.runForkWith(fiber.context)(ignoreFailure(cancel))
      })
      pending.watch.begin()
    }
    issuing = channel.issue(pending, input, fiber)
  } catch (defect) {
    const died = Exit.die(defect)
    unissue(pending, died)
    return died
  }
  if (issuing === undefined) {
    issued(pending)
    return undefined
  }
  const locating = Effect.mapError(issuing, (error) => located(error, named(pending).call))
  // The fiber may be interrupted before it comes to the effect.
  const forget = fiber.addObserver((exit) => {
    unissue(pending, exit)
    if (call.single) release(call)
  })
  return Effect.onExit(locating, (exit): Effect.Effect<void, InvalidAsyncHandle> => {
    forget()
    if (call.state === State.released) {
      letGo(call, pending.remote)
      return refuse("InvalidAsyncHandle")
    }
    if (exit._tag === "Success") issued(pending)
    else unissue(pending, exit)
    return Effect.void
  })
}

const issued = (pending: PendingImpl): void => {
  if (pending.operation.method.maybe) complete(pending, Exit.void)
  pending.watch?.issued()
}

/** Issuing the call failed: the object is idle, whatever the channel had done by then. */
const unissue = (pending: PendingImpl, exit: Exit.Exit<unknown, unknown>): void => {
  const { call, remote } = pending
  if (call.current !== pending) return
  if (move(call, "fail")) leave(pending, exit)
  else move(call, "finish")
  call.current = undefined
  pending.outcome = undefined
  // The begin may have been interrupted just when the call was issued.
  remote?.orphan()
  pending.wakeUnsafe(new CallComplete())
}

/** The one place where a call completes. The first completion wins; whatever comes later is discarded. */
const complete = (pending: PendingImpl, outcome: Outcome): void => {
  const { call } = pending
  if (call.current !== pending || clientTable[call.state].next.complete === undefined) return
  pending.outcome = outcome._tag === "Success" ? outcome : locate(pending, outcome)
  leave(pending, pending.outcome)
  move(call, "complete")
  pending.wakeUnsafe(undefined)
}

/** The key of the annotation that names the call of a failure. */
export const failedCall: Context.Service<FailedCall, FailedCall> = Context.Service<FailedCall>(
  "@callisto/rpc/Call/FailedCall"
)

const named = ({ call: { binding }, operation }: PendingImpl): Named => {
  const { address } = binding.channel
  const all = binding.named ??= new Map()
  const known = all.get(operation)
  if (known !== undefined && known.call.address === address) return known
  const { interface: { name }, name: method } = operation
  const call: FailedCall = { interface: name, method, ...(address !== undefined && { address }) }
  const made = {
    call,
    annotations: Context.add(Context.make(failedCall, call), Cause.StackTrace, frameOf(call, undefined))
  }
  all.set(operation, made)
  return made
}

const frameOf = ({ address, interface: name, method }: FailedCall, parent: References.StackFrame | undefined) => ({
  name: `${name}.${method}`,
  stack: () => address,
  parent
})

/** A failure that names its call. Its stack begins at the caller where the tracer of Effect knows that. */
const locate = (pending: PendingImpl, outcome: Exit.Failure<unknown, unknown>): Outcome => {
  const reason = outcome.cause.reasons[0]
  if (reason?._tag !== "Fail") return outcome as Outcome
  const { frame } = pending
  const { annotations, call } = named(pending)
  const error = located(reason.error, call)
  if (error === reason.error) {
    const ofCaller = frame === undefined
      ? annotations
      : Context.add(annotations, Cause.StackTrace, frameOf(call, frame))
    return annotate(outcome.cause, ofCaller)
  }
  return frame === undefined
    ? Exit.fail(error as never)
    : annotate(Cause.fail(error), Context.make(Cause.StackTrace, frame))
}

const annotate = (cause: Cause.Cause<unknown>, annotations: Context.Context<never>): Outcome =>
  Exit.failCause(Cause.annotate(cause as Cause.Cause<never>, annotations, { overwrite: true }))

/** Lets go of everything that belongs to a call in progress. */
const leave = (pending: PendingImpl, outcome: Exit.Exit<unknown, unknown> | undefined): void => {
  pending.remote = undefined
  pending.cancelling?.timer?.interruptUnsafe()
  pending.cancelling = undefined
  if (pending.watch !== undefined) pending.watch.end(outcome)
  if (pending.pipes !== undefined) endPipes(pending.pipes, outcome)
}

/** Fails the pushes and pulls of a call with its failure. */
const endPipes = (pipes: Ends, outcome: Exit.Exit<unknown, unknown> | undefined): void => {
  pipes.onThrough = undefined
  const failure = outcome?._tag === "Failure" ? errorOf(outcome.cause) : undefined
  pipes.fail(failure ?? refusal("InvalidAsyncHandle"))
}

/** Releases a call object. */
export const release = (call: CallImpl): void => {
  const { current: pending, state } = call
  if (!move(call, "release")) return
  detach(call)
  call.current = undefined
  if (call.taken !== undefined) call.taken = undefined
  if (pending === undefined) return
  try {
    if (clientTable[state].release === "orphans") {
      const { remote } = pending
      leave(pending, undefined)
      letGo(call, remote)
    }
  } finally {
    pending.wakeUnsafe(new InvalidAsyncHandle({ handle: "call object" }))
  }
}

/** Tells the server that its client is gone, or that the call goes on without it. */
const letGo = ({ goesOn }: CallImpl, remote: Remote | undefined): void => goesOn ? remote?.goOn() : remote?.orphan()

// ----------------------------------------------------------------------------
// taking the result
// ----------------------------------------------------------------------------

/** Takes the result of a completed call: the object is idle again. */
export const take = (pending: PendingImpl): Effect.Effect<unknown, unknown> => {
  const { through } = pending.call.binding
  return through === undefined ? consume(pending) : through(pending)
}

/** Whether the evidence has taken its result through the channel, and may take it again. */
export const hasTaken = (pending: PendingImpl): boolean => pending.call.taken === pending

const consume = (pending: PendingImpl): Outcome => {
  const { finish } = rowOf(pending)
  const unfinished = pending.pipes?.current
  if (finish === "CallPending" && unfinished !== undefined) {
    return Exit.fail(new PipeDisciplineError({ pipe: unfinished.name }))
  }
  if (finish !== "consumes") return Exit.fail(refusal(finish) as never)
  const { call, outcome } = pending
  move(call, "finish")
  call.current = undefined
  if (call.single) detach(call)
  return outcome!
}

/** Takes a result through the channel. Only a binding whose channel has a `take` comes here. */
export const takeThrough = (pending: PendingImpl): Effect.Effect<unknown, unknown> => {
  const { call } = pending
  if (!hasTaken(pending) && rowOf(pending).finish !== "consumes") return consume(pending)
  return Effect.matchEffect(Effect.suspend(() => call.binding.channel.take!(pending)), {
    onFailure: (error) => {
      // Another evidence has the result, so nothing is left to take.
      if (error._tag === "CallComplete") {
        consume(pending)
        if (hasTaken(pending)) call.taken = undefined
      }
      return Effect.fail(located(error, named(pending).call))
    },
    onSuccess: () => {
      if (hasTaken(pending)) return pending.outcome!
      const outcome = consume(pending)
      if (outcome === pending.outcome) call.taken = pending
      return outcome
    }
  })
}

// ----------------------------------------------------------------------------
// cancel
// ----------------------------------------------------------------------------

export type CancelError = CallCancelled | CallComplete | CancelDisabled | InvalidAsyncHandle | RpcTransportError

/** Asks for a call to be cancelled, and gives it up after a time. Only where it `records` does it wait until the server is told. */
export const requestCancel = (
  pending: PendingImpl,
  timeout: Duration.Input | undefined,
  records: boolean
): Effect.Effect<void, CancelError> =>
  Effect.withFiber((fiber) => {
    const inherited = Duration.toMillis(pending.call.binding.cancelTimeout)
    const millis = durationOption("Call.cancel", "timeout", timeout, inherited)
    const deadline = millis === 0 ? 0 : nowOf(fiber.getRef(Clock.Clock)) + millis
    return cancelUntil(pending, millis, deadline, fiber, records)
  })

const cancelUntil = (
  pending: PendingImpl,
  millis: number,
  deadline: number,
  fiber: Fiber.Fiber<unknown, unknown>,
  records: boolean
): Effect.Effect<void, CancelError> => {
  const { cancel } = rowOf(pending)
  if (cancel !== "issues" && cancel !== "shortens") return refuse(cancel)

  const { call, operation, remote } = pending
  if (remote?.cancelDisabled) {
    return Effect.fail(new CancelDisabled({ interface: operation.interface.name, method: operation.name }))
  }
  // The time of an earlier cancel may be over, and its timer late.
  if (millis > 0 && pending.cancelling !== undefined && deadline >= pending.cancelling.deadline) {
    return refuse("CallCancelled")
  }
  pending.watch?.changed("CancelRequested", "cancel", { timeout: millis })
  const isNew = cancel === "issues"
  if (isNew) move(call, "cancel")

  // Where the server has answered already and only the pipes were missing, nobody is left to wait for.
  if (millis === 0 || pending.pipes?.onThrough !== undefined) {
    return toldTo(fiber, giveUp(pending, isNew), records)
  }

  if (pending.pipes !== undefined) endPipes(pending.pipes, Exit.fail(cancelled(false)))
  pending.cancelling?.timer?.interruptUnsafe()
  const cancelling: typeof pending.cancelling = { deadline, timer: undefined }
  pending.cancelling = cancelling
  const telling = isNew ? tell(remote) : undefined
  if (pending.cancelling === cancelling && millis !== Infinity) {
    const expire = Effect.flatMap(Effect.sleep(millis), () => giveUp(pending, false))
    cancelling.timer = Effect.runForkWith(fiber.context)(expire)
  }
  if (telling === undefined) return Effect.void
  const undone = Effect.onExit(telling, (exit): Effect.Effect<void, RpcTransportError> => {
    if (exit._tag === "Success" || pending.cancelling !== cancelling) return Effect.void
    // An interrupted caller can't cancel again, and the server, which does not know of it, may never answer.
    if (!records) return giveUp(pending, false)
    cancelling.timer?.interruptUnsafe()
    pending.cancelling = undefined
    move(call, "cancelFail")
    return Effect.void
  })
  return toldTo(fiber, undone, records)
}

/** A server may take long to be told: an interruption does not wait for that. */
const toldTo = (
  fiber: Fiber.Fiber<unknown, unknown>,
  telling: Effect.Effect<void, RpcTransportError>,
  records: boolean
): Effect.Effect<void, RpcTransportError> => {
  if (records || telling === Effect.void) return telling
  Effect.runForkWith(fiber.context)(ignoreFailure(telling))
  return Effect.void
}

/** Completes a call without the server's answer, and tells the server: also of the cancel, if it is new. */
const giveUp = (pending: PendingImpl, isNew: boolean): Effect.Effect<void, RpcTransportError> => {
  const { remote } = pending
  // The client first: what the server still answers is too late.
  complete(pending, Exit.fail(cancelled(remote?.dispatched === false)))
  const telling = isNew ? tell(remote) : undefined
  remote?.discard()
  return telling ?? Effect.void
}

/** Tells the server of a cancel. Gives `undefined` when that is done. */
const tell = (remote: Remote | undefined): Effect.Effect<void, RpcTransportError> | undefined => {
  try {
    return remote?.cancel() ?? undefined
  } catch (defect) {
    return Exit.die(defect)
  }
}
