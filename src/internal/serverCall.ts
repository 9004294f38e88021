/**
 * A dispatched call on its server: its state, its routine, the work and the resources that belong to it.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import { Server as State, serverTable } from "../CallState.ts"
import type { Incoming, Outcome, Remote } from "../Channel.ts"
import { type Abort, abortFromCode, abortOf } from "../Interface.ts"
import {
  BadStubData,
  CallCancelled,
  InvalidAsyncHandle,
  PipeDisciplineError,
  RpcFault,
  RpcTransportError
} from "../Status.ts"
import type { Guard } from "./access.ts"
import { nowOf } from "./clock.ts"
import * as Depth from "./depth.ts"
import { answerOf, cancelled, errorOf, isPipeError } from "./failures.ts"
import type { Entry, Holding, Owner } from "./handleTable.ts"
import { type FullIncoming, fullIncoming, type FullOperation } from "./seams.ts"
import { Waiters } from "./waiters.ts"
import type { Watch } from "./watch.ts"

export type CancelReason = "Cancelled" | "Orphaned" | "Disconnected" | "Ended"

export type Cancellation = "interrupt" | "cooperative" | "disabled"

/** One method of one manager, as a server runs it. */
export interface Dispatch {
  readonly operation: FullOperation
  readonly routine: (input: any, call: any) => Effect.Effect<unknown, unknown>
  /** The effect of a hand-off routine's return; `undefined` for a plain routine. */
  readonly handOff: ((call: ServerCallImpl) => void) | undefined
  readonly cancellation: Cancellation
  /** The check of callers; `undefined` where the manager has none. */
  readonly guard: Guard | undefined
  /** The context of the server, with the method in its log annotations. */
  readonly context: Context.Context<never>
  /** The calls of a manager that can go before its server does. */
  readonly calls: Set<ServerCallImpl> | undefined
  readonly host: Host
}

/** The server of a call, as the call sees it. */
export interface Host {
  readonly clock: Clock.Clock
  readonly scope: Scope.Scope
  remove(call: ServerCallImpl): void
  /** The open scopes of calls and the replies on their way: its shutdown waits for them. */
  held: number
  /** No work of the call is left. */
  over(call: ServerCallImpl): void
  /** The fibers that send replies, announce hand-offs or run the finalizers of a call's scope. */
  readonly endings: Map<Fiber.Fiber<unknown, unknown>, ServerCallImpl>
  /** The context handles of all clients, until their finalizers have run. */
  readonly handles: Set<Entry>
  /** Lets its shutdown look whether all is over. */
  look(): void
}

/** The client of a call, as the call sees it. */
export interface CallOrigin extends Owner {
  add(call: ServerCallImpl): void
  remove(call: ServerCallImpl): void
}

/** The call in whose routine a fiber runs. */
export const CurrentCall: Context.Reference<ServerCallImpl | undefined> = Context.Reference<ServerCallImpl | undefined>(
  "@callisto/rpc/CurrentCall",
  { defaultValue: () => undefined }
)

const unspecified = () => Exit.fail(new RpcFault({ code: 1726 }))

// Looks for the mark of Effect itself: that costs a tenth of `Exit.isExit`.
const isExit = (effect: Effect.Effect<unknown, unknown>): effect is Exit.Exit<unknown, unknown> =>
  (effect as { readonly "~effect/Exit"?: unknown } | undefined)?.["~effect/Exit"] !== undefined

type Replying = Effect.Effect<void, BadStubData | RpcTransportError>

/** The rest of an ended call: nothing, the reason against its out parameters, or a reply that takes time. */
export type Ending = BadStubData | Replying | undefined

export const isRefused = (ending: Ending | PipeDisciplineError): ending is BadStubData | PipeDisciplineError =>
  ending instanceof BadStubData || ending instanceof PipeDisciplineError

export class ServerCallImpl extends Waiters<never> implements Remote {
  declare readonly dispatch: Dispatch
  declare readonly origin: Incoming["origin"] & CallOrigin
  declare readonly object: string | undefined
  /** The reply owed to the client; `undefined` when the call has ended. */
  declare incoming: Incoming | undefined
  state: State = State.dispatched
  reason: Exclude<CancelReason, "Ended"> | undefined = undefined
  /** A cancel arrived before the whole request: `testCancel` tells of it, and nothing else happens. */
  declare cancelledEarly: boolean
  /** When it was dispatched, in monotonic milliseconds; for a call that is not watched, when its start was over. */
  startedAt: number | undefined = undefined
  watch: Watch | undefined = undefined
  /** The fiber of the routine while it runs; `starting` until it is known. */
  fiber: Fiber.Fiber<unknown, unknown> | "starting" | undefined = undefined
  declare tied: Set<Fiber.Fiber<unknown, unknown>> | undefined
  /** Those that send the reply or announce the hand-off, where that takes time. */
  declare sending: Set<Fiber.Fiber<unknown, unknown>> | undefined
  /** Its work was interrupted, whatever the cancellation: the server has ended the call, or its client is gone. */
  declare isStopped: boolean
  /** Its access check, while that runs or waits for the one before. */
  declare checking: Fiber.Fiber<unknown, unknown> | undefined
  /** The context handles that it carries or has made. */
  declare holding: Holding | undefined
  /** The ends of its pipes on this side. */
  declare pipes: FullIncoming["pipes"]
  #scope: Scope.Closeable | undefined = undefined
  #isFinished = false
  /** How the call ended, for the finalizers of its scope. */
  #exit: Exit.Exit<unknown, unknown> = Exit.void
  /** Its part of what its server's shutdown waits for. */
  held = 0
  /** Its place in the order in which the server has taken calls in. */
  declare readonly order: number
  // The list of its client's calls.
  isListed = false
  previous: ServerCallImpl | undefined = undefined
  next: ServerCallImpl | undefined = undefined

  constructor(dispatch: Dispatch, incoming: Incoming, origin: Incoming["origin"] & CallOrigin, order: number) {
    super()
    this.dispatch = dispatch
    this.incoming = incoming
    this.origin = origin
    this.object = incoming.object
    this.order = order
    const { cancelledEarly, pipes } = fullIncoming(incoming)
    if (pipes !== undefined) this.pipes = pipes
    if (cancelledEarly) this.cancelledEarly = true
  }

  toJSON(): { readonly _id: string; readonly interface: string; readonly method: string; readonly state: string } {
    const { interface: { name }, name: method } = this.dispatch.operation
    return { _id: "callisto/ServerCall", interface: name, method, state: serverTable[this.state].state }
  }

  // --- its routine

  start(input: unknown): void {
    const { dispatch } = this
    this.fiber = "starting"
    const effect = this.evaluate(input)
    if (isExit(effect)) return this.returned(effect)
    let fiber: Fiber.Fiber<unknown, unknown>
    try {
      fiber = this.fork(effect)
    } catch (defect) {
      // The host could not give the context of the call.
      return this.returned(Exit.die(defect))
    }
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return this.returned(exit)
    this.fiber = fiber
    fiber.addObserver((exit) => this.returned(exit))
    // While the routine started, the client may have cancelled or gone, or the server have stopped it.
    if (this.isStopped || this.reason !== undefined && dispatch.cancellation === "interrupt") {
      fiber.interruptUnsafe()
    }
  }

  private evaluate(input: unknown): Effect.Effect<unknown, unknown> {
    try {
      return this.dispatch.routine(input, this)
    } catch (defect) {
      return Exit.die(defect)
    }
  }

  /** Runs the routine in the context of the server, with the scope and the span of this call. */
  private fork(effect: Effect.Effect<unknown, unknown>): Fiber.Fiber<unknown, unknown> {
    let context = Context.add(Context.add(this.dispatch.context, Scope.Scope, this.scope), CurrentCall, this)
    const span = this.watch?.span
    if (span !== undefined) context = Context.add(context, Tracer.ParentSpan, span)
    const travelled = this.incoming?.context
    if (travelled !== undefined) context = Context.merge(context, travelled)
    return Effect.runForkWith(context)(effect)
  }

  /** Runs an effect of the library beside the call. */
  aside<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    const context = Context.add(this.dispatch.context, CurrentCall, this)
    const span = this.watch?.span
    return Effect.runForkWith(span === undefined ? context : Context.add(context, Tracer.ParentSpan, span))(effect)
  }

  /** The routine has ended. The return of a hand-off routine leaves the call open. */
  returned(exit: Exit.Exit<unknown, unknown>): void {
    this.fiber = undefined
    if (!this.isOpen) this.dispatch.host.remove(this)
    const { handOff } = this.dispatch
    if (exit._tag === "Failure" || handOff === undefined) this.settle(exit)
    else handOff(this)
    this.over()
  }

  // --- its end

  get cancelDisabled(): boolean {
    return this.dispatch.cancellation === "disabled"
  }

  /** `false` while it waits for its access check, or for its turn at a context handle. */
  get dispatched(): boolean {
    return this.checking === undefined && (this.holding === undefined || !this.holding.isWaiting)
  }

  get isOpen(): boolean {
    return this.state !== State.ended
  }

  /** Replies with an exit, unless the call was answered already. */
  settle(exit: Exit.Exit<unknown, unknown>): Ending | PipeDisciplineError {
    if (exit._tag === "Failure") {
      if (this.reason === undefined || Cause.hasDies(exit.cause)) this.logUnexpected(exit.cause)
      return serverTable[this.state].abort === "replies" ? this.end(this.failure(exit.cause), exit) : undefined
    }
    if (serverTable[this.state].complete !== "replies") return undefined
    const ending = this.complete(exit as Exit.Success<unknown, never>)
    if (isRefused(ending)) this.log("The out parameters of the routine were refused", Cause.fail(ending))
    return ending
  }

  /** Ends the call with the out parameters, if all pipes are through. */
  complete(exit: Exit.Success<unknown, never>): Ending | PipeDisciplineError {
    const unfinished = this.pipes?.current
    if (unfinished === undefined) return this.end(exit)
    const error = new PipeDisciplineError({ pipe: unfinished.name })
    this.end(Exit.fail(error))
    return error
  }

  /** Ends the call with a reply. The call leaves its server first, so that fibers woken by the reply find it ended. */
  end(outcome: Outcome, exit: Exit.Exit<unknown, unknown> = outcome): Ending {
    const { dispatch: { operation }, holding, incoming } = this
    const holds = holding !== undefined || operation.handlesOut !== undefined
    const problem = holds && outcome._tag === "Success" ? operation.rules?.refuseOut(this, outcome.value) : undefined
    const sent: Outcome = problem === undefined ? outcome : Exit.fail(new RpcFault({ code: 1783 }))
    this.leave(sent, exit)
    this.pipes?.fail(new InvalidAsyncHandle({ handle: "server call" }))
    let replied: ReturnType<Incoming["reply"]> | undefined
    try {
      replied = incoming?.reply(sent)
    } catch (defect) {
      replied = Exit.die(defect)
    }
    const refused = replied instanceof BadStubData ? replied : problem
    if (holds) {
      const isReceived = sent._tag === "Success" && refused === undefined && incoming !== undefined
      if (isReceived) this.holding?.answered(sent.value, operation.handlesOut)
      else this.holding?.answered()
    }
    if (refused === undefined && replied !== undefined) {
      return this.awaitReply(replied as Replying)
    }
    this.over()
    return refused
  }

  /** The reply takes time: the call's scope and its server wait for it, and so does the fiber that has ended the call. */
  private awaitReply(replying: Replying): Replying {
    const fiber = this.send(replying, (exit) => {
      if (exit._tag === "Failure") this.log("The reply could not be sent", exit.cause)
    })
    return Effect.callback((resume) => void fiber.addObserver(resume))
  }

  send<A, E>(effect: Effect.Effect<A, E>, then: (exit: Exit.Exit<A, E>) => void): Fiber.Fiber<A, E> {
    const { endings } = this.dispatch.host
    this.hold(1)
    const fiber = this.aside(effect)
    const sending = this.sending ??= new Set()
    sending.add(fiber)
    endings.set(fiber, this)
    fiber.addObserver((exit) => {
      sending.delete(fiber)
      endings.delete(fiber)
      then(exit)
      this.hold(-1)
      this.over()
    })
    return fiber
  }

  /** Ends the call from the server's side, and the work that belongs to it. */
  stop(failure: RpcFault | RpcTransportError): void {
    if (this.isOpen) this.end(Exit.fail(failure))
    this.interrupt()
  }

  /** Ends the call for a client that is gone. */
  gone(reason: "Orphaned" | "Disconnected"): void {
    if (serverTable[this.state].gone === "nothing") return
    this.reason = reason
    this.watch?.changed(reason)
    this.leave(undefined, Exit.interrupt())
    // Interrupted before its pipes fail: a routine that waits at a pipe must not go on with that failure.
    this.interrupt()
    this.pipes?.fail(new InvalidAsyncHandle({ handle: "server call" }))
    this.holding?.answered()
    this.over()
  }

  /** The end of every call: `outcome` is missing when its client is gone. */
  private leave(outcome: Outcome | undefined, exit: Exit.Exit<unknown, unknown>): void {
    this.state = serverTable[this.state].next.end ?? this.state
    this.incoming = undefined
    this.#exit = exit
    this.checking?.interruptUnsafe()
    if (this.fiber === undefined) this.dispatch.host.remove(this)
    if (this.watch !== undefined) this.watch.end(outcome, outcome === undefined ? undefined : exit)
    this.wakeUnsafe(undefined)
  }

  // --- the scope of the call

  /** Closes when the call has ended, its reply has left, and no work of it runs any more. */
  get scope(): Scope.Scope {
    if (this.#scope !== undefined) return this.#scope
    const scope = this.#scope = Scope.makeUnsafe()
    if (this.isOver) Scope.closeUnsafe(scope, this.#exit)
    else this.hold(1)
    return scope
  }

  private hold(change: 1 | -1): void {
    this.held += change
    this.dispatch.host.held += change
  }

  private get isOver(): boolean {
    return !this.isOpen && this.fiber === undefined && !this.tied?.size && !this.sending?.size
  }

  /** When all work of the call is over, its scope closes; then the next call may have its handles. */
  over(): void {
    if (this.#isFinished || !this.isOver) return
    this.#isFinished = true
    const scope = this.#scope
    if (scope === undefined) return this.free()
    const closing = Scope.closeUnsafe(scope, this.#exit)
    if (closing === undefined) return this.scopeClosed()
    const { endings } = this.dispatch.host
    const fiber = this.aside(
      Effect.catchCause(closing, (cause) => Effect.logError("A finalizer of the call died", cause))
    )
    endings.set(fiber, this)
    fiber.addObserver(() => {
      endings.delete(fiber)
      this.scopeClosed()
    })
  }

  private scopeClosed(): void {
    this.hold(-1)
    this.free()
  }

  private free(): void {
    this.holding?.release()
    this.dispatch.host.over(this)
  }

  // --- the client's requests

  discard(): void {
    // The cancel was all that the server has to know: its reply finds no waiting client.
  }

  goOn(): void {
    // The reply finds no waiting client.
  }

  orphan(): void {
    this.gone("Orphaned")
  }

  cancel(): void {
    if (serverTable[this.state].cancel === "nothing" || this.reason !== undefined) return
    this.reason = "Cancelled"
    this.watch?.changed("CancelRequested", "Cancelled")
    this.wakeUnsafe(undefined)
    const { cancellation } = this.dispatch
    // A call that waits for its turn at a context handle ends at once.
    if (!this.dispatched && cancellation !== "disabled") return void this.end(Exit.fail(cancelled(true)))
    if (cancellation === "interrupt") this.interruptRoutine()
    if (cancellation !== "disabled") this.interruptTied()
    // The client neither pushes nor pulls any more.
    this.pipes?.fail(cancelled(false))
  }

  /** In milliseconds. */
  age(): number {
    const now = nowOf(this.dispatch.host.clock)
    return now - (this.startedAt ?? now)
  }

  /** Interrupts all work that belongs to the call. */
  interrupt(): void {
    this.isStopped = true
    this.interruptRoutine()
    this.interruptTied()
  }

  private interruptRoutine(): void {
    const { fiber } = this
    if (typeof fiber === "object") Depth.run(() => fiber.interruptUnsafe())
  }

  private interruptTied(): void {
    // Settling a fiber takes it out of the set.
    for (const fiber of [...this.tied ?? []]) Depth.run(() => fiber.interruptUnsafe())
  }

  // --- outcomes

  private logUnexpected(cause: Cause.Cause<unknown>): void {
    if (Cause.hasDies(cause)) this.log("The routine died", cause)
    else if (Cause.hasInterruptsOnly(cause) && this.state !== State.ended) {
      this.log("The routine was interrupted", cause)
    }
  }

  log(message: string, cause: Cause.Cause<unknown>): void {
    this.aside(Effect.logError(message, cause))
  }

  /** The outcome for a routine that failed, died or was interrupted. */
  failure(cause: Cause.Cause<unknown>): Outcome {
    if (cause.reasons.some(Cause.isFailReason)) return this.abortion(errorOf(cause))
    if (Cause.hasDies(cause)) return unspecified()
    return this.reason === undefined ? unspecified() : Exit.fail(cancelled(false))
  }

  /** The outcome for an abort with an error. The routine ran, whatever the error says of another call. */
  abortion(error: unknown): Outcome {
    const { method, name, interface: { name: interfaceName } } = this.dispatch.operation
    const abort = abortOf(method, error)
    // An open abort with a declared code reaches the client as the declared error, as it does over NDR.
    if (abort !== undefined) {
      return Exit.fail((error instanceof abort.error ? error : abortFromCode(method, abort.code)) as Abort.Error)
    }
    if (error instanceof CallCancelled && this.reason !== undefined) return Exit.fail(cancelled(false))
    if (isPipeError(error)) {
      if (this.dispatch.operation.pipes !== undefined) return Exit.fail(error)
      error = new RpcFault({ code: error.codes.rpcStatus!.number })
    }
    if (error instanceof RpcFault) {
      const answer = answerOf(this.dispatch.operation, error)
      if (typeof answer !== "string") return Exit.fail(answer)
      this.log(
        `${interfaceName}.${name}: the routine failed with RpcFault ${error.code}, which can't be sent: ${answer}`,
        Cause.fail(error)
      )
      return unspecified()
    }
    const passedOn = error instanceof CallCancelled || error instanceof RpcTransportError
    this.log(
      `${interfaceName}.${name}: the routine ${
        passedOn
          ? "passed on the failure of a call of its own"
          : "failed with an error that the method does not declare"
      }`,
      Cause.fail(error)
    )
    return unspecified()
  }
}

// Few calls have these, so an object has them only when they are set.
Object.assign(ServerCallImpl.prototype, {
  cancelledEarly: false,
  tied: undefined,
  sending: undefined,
  isStopped: false,
  checking: undefined,
  holding: undefined,
  pipes: undefined
})
