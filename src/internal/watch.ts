/**
 * The watch of a call: its span, its metrics and its observer. Calls that nobody looks at have none.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Tracer from "effect/Tracer"
import type { Origin } from "../Channel.ts"
import { abortOf, type Operation } from "../Interface.ts"
import { type Change, type Ending, type Kind, type Observed, type Observer, observer } from "../Observability.ts"
import { RpcFault } from "../Status.ts"
import { cancelled, errorOf } from "./failures.ts"
import { PipeInspectable } from "./inspectable.ts"
import { inspecting } from "./inspecting.ts"
import { counting } from "./metrics.ts"

// ----------------------------------------------------------------------------
// outcomes
// ----------------------------------------------------------------------------

export const kindOf = (outcome: Exit.Exit<unknown, unknown>): Kind => {
  if (outcome._tag === "Success") return "replied"
  const tag = (errorOf(outcome.cause) as Failure | undefined)?._tag
  return tag === "CallCancelled" ? "cancelled" : tag === "RpcTransportError" ? "lost" : "aborted"
}

interface Failure {
  readonly _tag: string
  readonly code?: number
  readonly status?: number
  readonly codes?: { readonly rpcStatus?: { readonly number: number } }
}

/** The number that tells one outcome from another: 0 for a reply, else the exception code or status. */
const codeOf = (operation: Operation, outcome: Exit.Exit<unknown, unknown>): number => {
  if (outcome._tag === "Success") return 0
  const failure = errorOf(outcome.cause) as Failure | undefined
  return abortOf(operation.method, failure)?.code ?? failure?.code ?? failure?.status ??
    failure?.codes?.rpcStatus?.number ?? 1818
}

// ----------------------------------------------------------------------------
// who watches
// ----------------------------------------------------------------------------

/** The observers of the calls of a server or binding; the metrics are one of them. */
export class Watching {
  readonly #observers: ReadonlyArray<Observer>
  readonly #context: Context.Context<never>

  constructor(observers: ReadonlyArray<Observer>, context: Context.Context<never>) {
    this.#observers = observers
    this.#context = context
  }

  /** Runs a function of each observer. A failure of it is logged, and is nothing to the call. */
  tell<K extends keyof Observer>(event: K, ...args: Parameters<NonNullable<Observer[K]>>): void {
    for (const observer of this.#observers) {
      try {
        ;(observer[event] as ((...args: ReadonlyArray<unknown>) => void) | undefined)?.(...args)
      } catch (defect) {
        Effect.runForkWith(this.#context)(Effect.logError("An observer of calls threw", Cause.die(defect)))
      }
    }
  }
}

/** The observers in a context; `undefined` where there is none, so that calls cost nothing more. */
export const watching = (context: Context.Context<never>, side: "client" | "server"): Watching | undefined => {
  const found = [
    Context.get(context, counting)?.calls(context, side) as Observer | undefined,
    Context.get(context, inspecting),
    Context.get(context, observer)
  ]
  const observers = found.filter((one) => one !== undefined)
  return observers.length === 0 ? undefined : new Watching(observers, context)
}

// ----------------------------------------------------------------------------
// watching a call
// ----------------------------------------------------------------------------

const nothing = () => {}

/** Watches one call on one side, from its begin or its dispatch to its end. */
export class Watch extends PipeInspectable implements Observed {
  declare readonly side: "client" | "server"
  declare readonly address: string | undefined
  declare readonly caller: Observed["caller"]
  declare readonly span: Tracer.Span | undefined
  declare readonly begunAt: number
  /** Let go of at the end, as is `#cancel`: an observer who keeps a call keeps neither arguments nor results. */
  input: unknown
  /** The inspector's notes on the call. */
  declare note: unknown
  readonly cancel: () => void = () => {
    if (this.#isIssued) this.#cancel()
    else this.#isCancelled = true
  }
  #cancel: () => void
  #isIssued = false
  #isCancelled = false
  readonly #operation: Operation
  readonly #clock: Clock.Clock
  readonly #watching: Watching | undefined

  constructor(
    side: "client" | "server",
    operation: Operation,
    { clock, tracer, watching }: Watched,
    parent: Tracer.AnySpan | undefined,
    address: string | undefined,
    caller: Observed["caller"],
    input: unknown,
    cancel: () => void
  ) {
    super()
    this.side = side
    this.address = address
    this.caller = caller
    this.input = input
    this.#cancel = cancel
    this.#operation = operation
    this.#clock = clock
    this.#watching = watching
    this.begunAt = watching === undefined ? 0 : clock.currentTimeMillisUnsafe()
    this.span = tracer === undefined ? undefined : makeSpan(tracer, clock, operation, side, parent)
  }

  /** Tells of the begin, once the call knows its watch: an observer may end it at once. */
  begin(): void {
    this.#watching?.tell("begun", this)
  }

  /** From now on a cancel reaches the call; one that came before does so now. */
  issued(): void {
    this.#isIssued = true
    if (this.#isCancelled) this.#cancel()
  }

  get interface(): string {
    return this.#operation.interface.name
  }

  get method(): string {
    return this.#operation.name
  }

  toJSON(): { readonly _id: string } & Pick<Observed, "side" | "interface" | "method" | "address"> {
    const { address, interface: iface, method, side } = this
    return { _id: "callisto/Observed", side, interface: iface, method, address }
  }

  /** Tells of a change. The span gets an event of another name where that is given. */
  changed(change: Change, event: string = change, attributes?: Record<string, unknown>): void {
    this.span?.event(event, this.#clock.currentTimeNanosUnsafe(), attributes)
    this.#watching?.tell("changed", this, change)
  }

  /** The channel has sent or received bytes of the call. */
  transferred(direction: "in" | "out", bytes: number): void {
    this.#watching?.tell("transferred", this, direction, bytes)
  }

  /** Ends with an outcome, which is missing for a call whose client is gone. The span ends with `exit`. */
  end(
    outcome: Exit.Exit<unknown, unknown> | undefined,
    exit: Exit.Exit<unknown, unknown> = outcome ?? Exit.fail(cancelled(false)),
    ending: Ending = outcome === undefined ? "abandoned" : kindOf(outcome)
  ): void {
    const { span } = this
    const clock = this.#clock
    const code = codeOf(this.#operation, outcome ?? exit)
    if (span !== undefined) {
      span.attribute("callisto.outcome", ending)
      span.attribute("callisto.code", code)
      span.end(clock.currentTimeNanosUnsafe(), exit)
    }
    this.#watching?.tell("ended", this, ending, code, clock.currentTimeMillisUnsafe() - this.begunAt)
    this.input = undefined
    this.#cancel = nothing
  }
}

/** The watch of a client's call, whose fiber has a tracer of its own or whose binding is watched. */
export const watchClient = (
  fiber: Fiber.Fiber<unknown, unknown>,
  operation: Operation,
  watching: Watching | undefined,
  address: string | undefined,
  input: unknown,
  cancel: () => void
): Watch => {
  const { span, tracer, tracerEnabled } = fiber.cache
  const host = { clock: fiber.getRef(Clock.Clock), tracer: tracerEnabled ? tracer : undefined, watching }
  return new Watch("client", operation, host, span, address, undefined, input, cancel)
}

/** The watcher of one side's calls. */
export interface Watched {
  readonly clock: Clock.Clock
  readonly tracer: Tracer.Tracer | undefined
  readonly watching: Watching | undefined
}

/** The watch of a server's call, whose server has a tracer or is watched. */
export const watchServer = (
  server: Watched,
  operation: Operation,
  parent: Tracer.AnySpan | undefined,
  { caller, peer }: Origin,
  input: unknown,
  cancel: () => void
): Watch => new Watch("server", operation, server, parent, peer, caller, input, cancel)

/** Counts, traces and shows a call that the server refuses, with a code, before it dispatches it. */
export const refused = (
  server: Watched,
  operation: Operation,
  parent: Tracer.AnySpan | undefined,
  origin: Origin,
  code: number
): void => {
  const exit = Exit.fail(new RpcFault({ code, didNotExecute: true }))
  const watch = watchServer(server, operation, parent, origin, undefined, nothing)
  watch.begin()
  watch.end(exit, exit, "refused")
}

const makeSpan = (
  tracer: Tracer.Tracer,
  clock: Clock.Clock,
  operation: Operation,
  kind: "client" | "server",
  parent: Tracer.AnySpan | undefined
): Tracer.Span => {
  const span = tracer.span({
    name: `${operation.interface.name}.${operation.name}`,
    parent: Option.fromUndefinedOr(parent),
    annotations: Context.empty(),
    links: [],
    startTime: clock.currentTimeNanosUnsafe(),
    kind,
    root: false,
    sampled: parent?.sampled ?? true
  })
  span.attribute("rpc.system", "dce_rpc")
  span.attribute("rpc.service", operation.interface.name)
  span.attribute("rpc.method", operation.name)
  span.attribute("callisto.uuid", operation.interface.uuid)
  span.attribute("callisto.opnum", operation.opnum)
  return span
}
