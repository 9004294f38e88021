/**
 * Spans, metrics and observers of calls.
 *
 * A client call has a span when the calling fiber has a tracer of its own; a server call, when the fiber that made the
 * server had one. Metrics count the calls of servers and bindings that were made with {@link layer}; an {@link Observer} sees
 * each of their calls.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import type * as Tracer from "effect/Tracer"
import type { Caller } from "./Channel.ts"
import { counting } from "./internal/metrics.ts"

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

/**
 * How a call ended for one side: a {@link Kind}; `abandoned` where its client was gone first; `refused` where the server did not
 * dispatch it.
 *
 * @category models
 * @since 0.1.0
 */
export type Ending = Kind | "abandoned" | "refused"

// ----------------------------------------------------------------------------
// observers
// ----------------------------------------------------------------------------

/**
 * A call as an {@link Observer} sees it. All its events carry the same object.
 *
 * @category observers
 * @since 0.1.0
 */
export interface Observed {
  /** The side that sees the call. A call within one process is seen by both. */
  readonly side: "client" | "server"
  /** The name of the interface. */
  readonly interface: string
  /** The name of the method. */
  readonly method: string
  /** The address of the other side: a string binding, or `"local"` in one process; `undefined` where it is not known. */
  readonly address: string | undefined
  /** The identity with which the client calls; `undefined` on the client. */
  readonly caller: Caller | undefined
  /** The span of the call; `undefined` without a tracer. */
  readonly span: Tracer.Span | undefined
  /** When the call began, in milliseconds of the clock. */
  readonly begunAt: number
  /**
   * The in parameters, from the begin to `ended`; afterwards `undefined`. On the server they are `undefined` for a call that is refused, and
   * until the manager's access check has admitted the call. They may be secret: an observer should not print them.
   */
  readonly input: unknown
  /**
   * Asks the call to end: on the client as an abortive cancel, on the server as a cancel of its client. A call that is not issued or
   * not accepted yet is cancelled as soon as it is.
   */
  readonly cancel: () => void
}

/**
 * A change of a call in progress: a cancel was requested, its routine handed it off, or its client is gone.
 *
 * @category observers
 * @since 0.1.0
 */
export type Change =
  | "CancelRequested"
  | "HandedOff"
  | "Orphaned"
  | "Disconnected"

/**
 * The functions that run at the events of each call. They run within the call, so they should return soon. One that throws is
 * logged, and changes nothing for the call.
 *
 * @category observers
 * @since 0.1.0
 */
export interface Observer {
  /** A call begins: it is issued on the client, or dispatched or refused on the server. */
  readonly begun?: ((call: Observed) => void) | undefined
  /** A call in progress changes. */
  readonly changed?: ((call: Observed, change: Change) => void) | undefined
  /**
   * The channel has sent (`out`) or received (`in`) bytes of arguments, results or pipes. A call within one process has no bytes. On the
   * server the bytes of a short call may come after its end.
   */
  readonly transferred?: ((call: Observed, direction: "in" | "out", bytes: number) => void) | undefined
  /** A call ends, after so many milliseconds. The code is 0 for a reply, else the exception code or status. */
  readonly ended?: ((call: Observed, ending: Ending, code: number, millis: number) => void) | undefined
}

/**
 * The observer of the calls of servers, bindings and associations that are made with it; by default none.
 *
 * **Details**
 *
 * It is read when the server, binding or association is made. Without one nothing is spent on it.
 *
 * **Example** (Calls by method and ending)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Observability, Server } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *
 * const counts = new Map<string, number>()
 * const observer: Observability.Observer = {
 *   ended: ({ interface: name, method, side }, ending) => {
 *     const key = `${side} ${name}.${method} ${ending}`
 *     counts.set(key, (counts.get(key) ?? 0) + 1)
 *   }
 * }
 *
 * const program = Effect.gen(function*() {
 *   const sums = yield* Binding.local(yield* Server.make([manager]), Sums)
 *   yield* Call.invoke(sums, "Add", [1, 2, 3])
 *   yield* Call.invoke(sums, "Add", [4, 5])
 *   return counts.get("server Sums.Add replied") // => 2
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provideService(program, Observability.observer, observer))
 * ```
 *
 * @category observers
 * @since 0.1.0
 */
export const observer: Context.Reference<Observer | undefined> = Context.Reference<Observer | undefined>(
  "@callisto/rpc/Observability/observer",
  { defaultValue: () => undefined }
)

// ----------------------------------------------------------------------------
// metrics
// ----------------------------------------------------------------------------

// The metrics are made with their attributes: adding them later would make a new key for each update.
const count = (context: Context.Context<never>, side: "client" | "server"): Observer => {
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
  const makeCompleted = (iface: string, method: string, outcome: Ending) =>
    Metric.counter("callisto_calls_completed", {
      description: "Calls ended, by method and outcome",
      incremental: true,
      attributes: { side, interface: iface, method, outcome }
    })
  const completed = new Map<string, ReturnType<typeof makeCompleted>>()
  const completedWith = (iface: string, method: string, outcome: Ending) => {
    const key = `${iface}.${method} ${outcome}`
    let metric = completed.get(key)
    if (metric === undefined) completed.set(key, metric = makeCompleted(iface, method, outcome))
    return metric
  }
  return {
    begun: () => {
      begun.updateUnsafe(1, context)
      inProgress.modifyUnsafe(1, context)
    },
    ended: (call, ending, _code, millis) => {
      inProgress.modifyUnsafe(-1, context)
      completedWith(call.interface, call.method, ending).updateUnsafe(1, context)
      duration.updateUnsafe(millis, context)
    }
  }
}

const countRefused = (context: Context.Context<never>, refused: "login" | "message", provider: string): void => {
  const description = refused === "login"
    ? "Logins refused by servers"
    : "Messages refused by servers for their signatures"
  // Seldom enough to be made each time: Effect knows the same metric by its name and attributes.
  Metric.counter(`callisto_${refused}s_refused`, { description, incremental: true, attributes: { provider } })
    .updateUnsafe(1, context)
}

/**
 * Switches metrics on for the servers, bindings and endpoints that are made with it; without it nothing is counted.
 *
 * **Details**
 *
 * Each metric of calls has the attribute `side` (`client` or `server`):
 *
 * - `callisto_calls_begun`, a counter;
 * - `callisto_calls_in_progress`, a gauge;
 * - `callisto_calls_completed`, a counter, with the attributes `interface`, `method` and `outcome` (`replied`, `aborted`,
 *   `cancelled`, `lost`; `abandoned` for a call whose client is gone, `refused` for one that the server did not dispatch);
 * - `callisto_call_duration`, a histogram in milliseconds.
 *
 * The refusals of endpoints with security, with the name of the security provider as the attribute `provider`:
 *
 * - `callisto_logins_refused`, a counter;
 * - `callisto_messages_refused`, a counter: requests whose signature is wrong.
 *
 * What is in the database of durable calls, by one of the processes that serve them:
 *
 * - `callisto_durable_calls`, a gauge, with the attribute `state`;
 * - `callisto_durable_oldest_ready`, a gauge: the age of the oldest call that nobody has run, in milliseconds.
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
export const layer: Layer.Layer<never> = Layer.succeed(counting, { calls: count, refused: countRefused })
