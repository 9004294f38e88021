/**
 * Spans and metrics of calls.
 *
 * A client call has a span when the calling fiber has a tracer of its own; a server call, when the fiber that made the
 * server had one. Metrics count the calls of servers and bindings that were made with {@link layer}.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Tracer from "effect/Tracer"
import type { Operation } from "./Interface.ts"
import { cancelled } from "./Status.ts"

// ----------------------------------------------------------------------------
// outcomes
// ----------------------------------------------------------------------------

/**
 * How a call ended: `replied` with out parameters, `aborted` with an exception code, `cancelled`, or `lost` with the
 * connection.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind = "replied" | "aborted" | "cancelled" | "lost"

/** @internal */
export const kindOf = (outcome: Exit.Exit<unknown, unknown>): Kind => {
  if (outcome._tag === "Success") return "replied"
  const tag = failureOf(outcome)?._tag
  return tag === "CallCancelled" ? "cancelled" : tag === "RpcTransportError" ? "lost" : "aborted"
}

interface Failure {
  readonly _tag: string
  readonly code?: number
  readonly status?: number
  readonly codes?: { readonly rpcStatus?: { readonly number: number } }
}

const failureOf = (outcome: Exit.Failure<unknown, unknown>): Failure | undefined => {
  for (const reason of outcome.cause.reasons) {
    if (reason._tag === "Fail") return reason.error as Failure
  }
  return undefined
}

/** The number that tells one outcome from another: 0 for a reply, else the exception code or status. */
const codeOf = (operation: Operation, outcome: Exit.Exit<unknown, unknown>): number => {
  if (outcome._tag === "Success") return 0
  const failure = failureOf(outcome)
  const abort = operation.method.aborts.find((abort) => failure instanceof abort.error)
  return abort?.code ?? failure?.code ?? failure?.status ?? failure?.codes?.rpcStatus?.number ?? 1818
}

// ----------------------------------------------------------------------------
// watching a call
// ----------------------------------------------------------------------------

/**
 * Looks at one call, from its begin or its dispatch to its end. Calls that nobody looks at have none.
 *
 * @internal
 */
export class Watch {
  readonly span: Tracer.Span | undefined
  readonly operation: Operation
  readonly clock: Clock.Clock
  readonly metrics: Metrics | undefined
  readonly begunAt: number

  constructor(
    operation: Operation,
    clock: Clock.Clock,
    tracer: Tracer.Tracer | undefined,
    metrics: Metrics | undefined,
    kind: "client" | "server",
    parent: Tracer.AnySpan | undefined
  ) {
    this.operation = operation
    this.clock = clock
    this.metrics = metrics
    this.begunAt = metrics === undefined ? 0 : clock.currentTimeMillisUnsafe()
    this.span = tracer === undefined ? undefined : makeSpan(tracer, clock, operation, kind, parent)
    metrics?.begun()
  }

  cancel(reason: string, attributes?: Record<string, unknown>): void {
    this.span?.event(reason, this.clock.currentTimeNanosUnsafe(), attributes)
  }

  /**
   * `outcome` is missing for a call whose client is gone; `exit` is what the span ends with, where it is something
   * else.
   */
  end(
    outcome: Exit.Exit<unknown, unknown> | undefined,
    exit: Exit.Exit<unknown, unknown> = outcome ?? Exit.fail(cancelled(false))
  ): void {
    const { begunAt, clock, metrics, operation, span } = this
    if (span !== undefined) {
      span.attribute("callisto.outcome", outcome === undefined ? "abandoned" : kindOf(outcome))
      span.attribute("callisto.code", codeOf(operation, outcome ?? exit))
      span.end(clock.currentTimeNanosUnsafe(), exit)
    }
    metrics?.completed(outcome === undefined ? "abandoned" : kindOf(outcome), clock.currentTimeMillisUnsafe() - begunAt)
  }
}

/**
 * The watch of a client's call, whose fiber has a tracer of its own or whose binding counts calls.
 *
 * @internal
 */
export const watchClient = (
  fiber: Fiber.Fiber<unknown, unknown>,
  operation: Operation,
  metrics: Metrics | undefined
): Watch => {
  const { span, tracer, tracerEnabled } = fiber.cache
  return new Watch(operation, fiber.getRef(Clock.Clock), tracerEnabled ? tracer : undefined, metrics, "client", span)
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

// ----------------------------------------------------------------------------
// metrics
// ----------------------------------------------------------------------------

/** @internal */
export interface Metrics {
  readonly begun: () => void
  readonly completed: (outcome: Kind | "abandoned", millis: number) => void
}

/** Makes what counts the calls of one side. Only programs that switch it on contain it. */
const counting: Context.Reference<typeof count | undefined> = Context.Reference<typeof count | undefined>(
  "@callisto/rpc/Observability/counting",
  { defaultValue: () => undefined }
)

/** @internal */
export const metrics = (context: Context.Context<never>, side: "client" | "server"): Metrics | undefined =>
  Context.get(context, counting)?.(context, side)

// Made for their attributes: what gives attributes to a metric later makes its key anew with each update.
const count = (context: Context.Context<never>, side: "client" | "server"): Metrics => {
  const begun = Metric.counter("callisto_calls_begun", {
    description: "Calls begun",
    incremental: true,
    attributes: { side }
  })
  const inProgress = Metric.gauge("callisto_calls_in_progress", {
    description: "Calls in progress",
    attributes: { side }
  })
  const duration = Metric.histogram("callisto_call_duration", {
    description: "Time from begin to the end of a call, in milliseconds",
    boundaries: Metric.exponentialBoundaries({ start: 0.5, factor: 2, count: 16 }),
    attributes: { side }
  })
  const completedWith = (outcome: Kind | "abandoned") =>
    Metric.counter("callisto_calls_completed", {
      description: "Calls ended, by outcome",
      incremental: true,
      attributes: { side, outcome }
    })
  const completed = {
    replied: completedWith("replied"),
    aborted: completedWith("aborted"),
    cancelled: completedWith("cancelled"),
    lost: completedWith("lost"),
    abandoned: completedWith("abandoned")
  }
  return {
    begun: () => {
      begun.updateUnsafe(1, context)
      inProgress.modifyUnsafe(1, context)
    },
    completed: (outcome, millis) => {
      inProgress.modifyUnsafe(-1, context)
      completed[outcome].updateUnsafe(1, context)
      duration.updateUnsafe(millis, context)
    }
  }
}

/**
 * Switches metrics on for the servers and bindings that are made with it; without it no calls are counted.
 *
 * **Details**
 *
 * Each metric has the attribute `side` (`client` or `server`):
 *
 * - `callisto_calls_begun`, a counter;
 * - `callisto_calls_in_progress`, a gauge;
 * - `callisto_calls_completed`, a counter, with the attribute `outcome` (`replied`, `aborted`, `cancelled`, `lost`, and
 *   `abandoned` for a call whose client is gone);
 * - `callisto_call_duration`, a histogram in milliseconds.
 *
 * **Example** (Counting calls)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Observability, Server } from "@callisto/rpc"
 * import { Effect, Metric, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *
 * const program = Effect.gen(function*() {
 *   const sums = yield* Binding.local(yield* Server.make([manager]), Sums)
 *   yield* Call.invoke(sums, "Add", [1, 2, 3])
 *   const metrics = yield* Metric.snapshot
 *   return metrics.filter(({ id }) => id === "callisto_calls_begun").length // => 2, one for each side
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provide(program, Observability.layer))
 * ```
 *
 * @category metrics
 * @since 0.1.0
 */
export const layer: Layer.Layer<never> = Layer.succeed(counting, count)
