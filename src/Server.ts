/**
 * Servers: managers that are served together, with the calls in progress.
 *
 * A server is a value in a scope. In-process bindings call it directly; on the network the same server is served by
 * endpoints.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import { type Interface, isCompatible, type Operation } from "./Interface.ts"
import type * as ContextHandle from "./internal/contextHandle.ts"
import * as Manager from "./Manager.ts"
import * as Observability from "./Observability.ts"
import type { Dispatch, Host, ServerCall, ServerCallImpl } from "./ServerCall.ts"
import { contextMismatch, RpcFault, RpcTransportError } from "./Status.ts"

const TypeId = "~callisto/Server"

/**
 * A server: what bindings and endpoints dispatch calls to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Server {
  /** Brands the type. */
  readonly [TypeId]: typeof TypeId
}

/**
 * The server of the context, as {@link layer} provides it. The example is there.
 *
 * @category models
 * @since 0.1.0
 */
export const Server: Context.Service<Server, Server> = Context.Service<Server>("@callisto/rpc/Server")

/**
 * How a server treats its calls.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * How long calls in progress may go on when the server's scope closes; by default 5 seconds. Then they end with 1726,
   * and their work is interrupted.
   */
  readonly grace?: Duration.Input
  /**
   * How long a call may be in progress; an older one is aborted with 1460 `RPC_S_TIMEOUT`, and its work is interrupted.
   * By default there is no limit.
   */
  readonly maximumAge?: Duration.Input
  /**
   * How many calls may be in progress at once; one more is refused with 1723 `RPC_S_SERVER_TOO_BUSY`, and does not
   * execute. By default there is no limit.
   */
  readonly maximumCalls?: number
}

/**
 * A manager as one server runs it.
 *
 * @internal
 */
export interface Registration {
  readonly manager: Manager.Manager.Any
  readonly byName: { readonly [name: string]: Dispatch }
  readonly byOpnum: ReadonlyMap<number, Dispatch>
}

/** @internal */
export class ServerImpl implements Server, Host {
  readonly "~callisto/Server": typeof TypeId = TypeId
  readonly clock: Clock.Clock
  readonly metrics: Observability.Metrics | undefined
  readonly tracer: Tracer.Tracer | undefined
  readonly registrations: ReadonlyArray<Registration>
  readonly context: Context.Context<never>
  /** The scope of the routines. It closes behind the period of grace, so that what they forked can still reply in it. */
  readonly scope: Scope.Closeable = Scope.makeUnsafe()
  readonly maximumCalls: number
  readonly maximumAge: number
  readonly watches: boolean
  accepting = true
  // The calls in progress, oldest first; and those that have ended while their routine still runs.
  count = 0
  first: ServerCallImpl | undefined = undefined
  last: ServerCallImpl | undefined = undefined
  /** The context handles of all clients, until their finalizers have run. */
  readonly handles: Set<ContextHandle.Entry> = new Set()
  idle: Deferred.Deferred<void> | undefined = undefined
  ageWatch: Fiber.Fiber<void> | undefined = undefined

  constructor(context: Context.Context<never>, managers: ReadonlyArray<Manager.Manager.Any>, options: Options) {
    this.context = Context.add(context, Scope.Scope, this.scope)
    this.clock = Context.get(context, Clock.Clock)
    this.metrics = Observability.metrics(context, "server")
    // By the name of its key: the key itself brings a default, Effect's own tracer, into every program.
    this.tracer = context.mapUnsafe.get(Tracer.TracerKey)
    this.maximumCalls = options.maximumCalls ?? Infinity
    this.maximumAge = options.maximumAge === undefined
      ? Infinity
      : Duration.toMillis(Duration.fromInputUnsafe(options.maximumAge))
    this.watches = this.metrics !== undefined || this.tracer !== undefined
    this.registrations = managers.map((manager) => this.register(manager))
    refuseDuplicates(this.registrations)
  }

  /** Runs a call: it ends with the exit of its routine, or later, after a hand-off. */
  run(call: ServerCallImpl, input: unknown, parent: Tracer.AnySpan | undefined): void {
    if (this.count >= this.maximumCalls) {
      call.client!.reply(Exit.fail(new RpcFault({ code: 1723, didNotExecute: true })))
      return
    }
    const { handlesIn } = call.dispatch.operation
    if (handlesIn !== undefined && !call.claimHandles(input, handlesIn, () => this.start(call, input))) {
      call.client!.reply(Exit.fail(contextMismatch(true)))
      return
    }
    if (this.watches) this.watch(call, parent)
    this.add(call)
    if (call.dispatched) this.start(call, input)
    // Reading the clock costs as much as the rest of a short call: only those that go on need it.
    if (!call.isOpen) return
    call.startedAt = this.clock.currentTimeMillisUnsafe()
    if (this.maximumAge !== Infinity && this.ageWatch === undefined) this.watchAge()
  }

  private watch(call: ServerCallImpl, parent: Tracer.AnySpan | undefined): void {
    const { operation } = call.dispatch
    call.watch = new Observability.Watch(operation, this.clock, this.tracer, this.metrics, "server", parent)
  }

  private start(call: ServerCallImpl, input: unknown): void {
    const { dispatch } = call
    call.fiber = "starting"
    const effect = evaluate(dispatch, input, call)
    if (Exit.isExit(effect)) return call.returned(effect)
    const fiber = dispatch.fork(effect, call.watch?.span)
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return call.returned(exit)
    call.fiber = fiber
    fiber.addObserver((exit) => call.returned(exit))
    // While the routine started, the client may have cancelled or gone.
    if (call.reason !== undefined && (call.reason !== "Cancelled" || dispatch.cancellation === "interrupt")) {
      fiber.interruptUnsafe()
    }
  }

  add(call: ServerCallImpl): void {
    const { last } = this
    if (last === undefined) this.first = call
    else {
      last.next = call
      call.previous = last
    }
    this.last = call
    this.count++
  }

  remove(call: ServerCallImpl): void {
    const { next, previous } = call
    if (previous === undefined && this.first !== call) return
    if (previous === undefined) this.first = next
    else previous.next = next
    if (next === undefined) this.last = previous
    else next.previous = previous
    call.previous = call.next = undefined
    if (--this.count === 0 && this.idle !== undefined) Deferred.doneUnsafe(this.idle, Exit.void)
  }

  /** The calls in the list, as they are now: the list may change while they are looked at. */
  snapshot(): Array<ServerCallImpl> {
    const calls: Array<ServerCallImpl> = []
    for (let call = this.first; call !== undefined; call = call.next) calls.push(call)
    return calls
  }

  /** The calls in the order in which they can be ended: none that ends lets one run that waits for its context handle. */
  newestFirst(): Array<ServerCallImpl> {
    return this.snapshot().reverse()
  }

  private register(manager: Manager.Manager.Any): Registration {
    const byName: Record<string, Dispatch> = {}
    const byOpnum = new Map<number, Dispatch>()
    for (const operation of Object.values<Operation>(manager.interface.operations)) {
      const dispatch = this.dispatch(manager, operation)
      byName[operation.name] = dispatch
      byOpnum.set(operation.opnum, dispatch)
    }
    return { manager, byName, byOpnum }
  }

  private dispatch(manager: Manager.Manager.Any, operation: Operation): Dispatch {
    // The services that it needs are in the server's context.
    const routine = manager.routines[operation.name] as Manager.Routine<any, never>
    const run = Manager.runnable(routine)
    const { middleware } = manager
    const context = Context.add(this.context, References.CurrentLogAnnotations, {
      ...Context.get(this.context, References.CurrentLogAnnotations),
      "rpc.service": operation.interface.name,
      "rpc.method": operation.name
    })
    const fork = Effect.runForkWith(context)
    return {
      host: this,
      operation,
      routine: middleware === undefined ? run : (input, call) => middleware(run(input, call), call),
      handOff: Manager.isHandOff(routine),
      cancellation: manager.cancellation(operation.name),
      fork: (effect, span) =>
        span === undefined ? fork(effect) : Effect.runForkWith(Context.add(context, Tracer.ParentSpan, span))(effect)
    }
  }

  /** Aborts what is too old. Calls are listed oldest first, so one sleeper for the first is enough. */
  private watchAge(): void {
    const watch: Effect.Effect<void> = Effect.suspend(() => {
      let oldest = this.first
      while (oldest !== undefined && !oldest.isOpen) oldest = oldest.next
      if (oldest === undefined) {
        this.ageWatch = undefined
        return Effect.void
      }
      const left = this.maximumAge - oldest.age()
      if (left > 0) return Effect.flatMap(Effect.sleep(left), () => watch)
      return Effect.suspend(() => {
        this.expire()
        return watch
      })
    })
    this.ageWatch = Effect.runForkWith(this.context)(watch)
  }

  private expire(): void {
    for (const call of this.newestFirst()) {
      if (call.age() >= this.maximumAge) end(call, new RpcFault({ code: 1460 }))
    }
  }

  private readonly runDownHandles: Effect.Effect<void> = Effect.suspend(() => {
    const handles = [...this.handles]
    for (const handle of handles) handle.lose()
    return Effect.forEach(handles, ({ gone }) => Deferred.await(gone), { discard: true })
  })

  readonly shutdown = (grace: Duration.Input): Effect.Effect<void> =>
    Effect.suspend(() => {
      this.accepting = false
      if (this.count === 0) return Effect.void
      const idle = this.idle = Deferred.makeUnsafe<void>()
      return Deferred.await(idle).pipe(
        Effect.timeoutOption(grace),
        Effect.andThen(Effect.suspend(() => {
          const lost = new RpcTransportError({
            status: 1726,
            detail: "the server was shut down while the call was in progress"
          })
          const fibers = this.newestFirst().flatMap((call) => {
            end(call, call.dispatched ? lost : neverDispatched())
            return typeof call.fiber === "object" ? [call.fiber] : []
          })
          return Fiber.interruptAll(fibers)
        }))
      )
    }).pipe(
      Effect.andThen(Effect.suspend(() => this.ageWatch === undefined ? Effect.void : Fiber.interrupt(this.ageWatch))),
      Effect.andThen(this.runDownHandles),
      Effect.andThen(Scope.close(this.scope, Exit.void)),
      Effect.provideContext(this.context)
    )
}

const neverDispatched = () =>
  new RpcTransportError({ status: 1722, detail: "the server was shut down before it dispatched the call" })

/**
 * Ends a call from the server's side, and the work that belongs to it.
 *
 * @internal
 */
export const end = (call: ServerCallImpl, failure: RpcFault | RpcTransportError): void => {
  if (call.isOpen) call.end(Exit.fail(failure))
  call.interrupt()
}

const evaluate = (dispatch: Dispatch, input: unknown, call: ServerCallImpl): Effect.Effect<unknown, unknown> => {
  try {
    return dispatch.routine(input, call)
  } catch (defect) {
    return Effect.die(defect)
  }
}

const refuseDuplicates = (registrations: ReadonlyArray<Registration>): void => {
  const seen = new Set<string>()
  for (const { manager } of registrations) {
    const { name, uuid, version } = manager.interface
    const key = `${uuid} ${version} ${manager.object}`
    if (seen.has(key)) {
      throw new TypeError(
        `Server: two managers serve ${name} ${version.join(".")} for ${manager.object ?? "all objects"}.`
      )
    }
    seen.add(key)
  }
}

/** @internal */
export const toImpl = (self: Server): ServerImpl => self as ServerImpl

const compatible = (self: ServerImpl, wanted: Interface.Identity): Array<Registration> =>
  self.registrations
    .filter(({ manager }) => isCompatible(manager.interface, wanted))
    .sort((a, b) => b.manager.interface.version[1] - a.manager.interface.version[1])

/**
 * The manager that serves an interface for an object: one for that object, else one for all; of several compatible
 * versions the highest.
 *
 * @internal
 */
export const resolve = (
  self: ServerImpl,
  wanted: Interface.Identity,
  object: string | undefined
): Registration | undefined => {
  const registrations = compatible(self, wanted)
  return registrations.find(({ manager }) => manager.object === object) ??
    registrations.find(({ manager }) => manager.object === undefined)
}

/**
 * The interface as the server describes it, for whichever objects: what a client on the network binds to before it names
 * an object.
 *
 * @internal
 */
export const offered = (self: ServerImpl, wanted: Interface.Identity): Interface.Any | undefined =>
  compatible(self, wanted)[0]?.manager.interface

// ----------------------------------------------------------------------------
// constructors
// ----------------------------------------------------------------------------

type Services<Managers extends ReadonlyArray<Manager.Manager.Any>> = Manager.Manager.Services<Managers[number]>

/**
 * Makes a server of several managers. It serves until its scope closes.
 *
 * **Details**
 *
 * When the scope closes the server accepts no more calls, lets those in progress reply within the `grace` period of its
 * {@link Options}, ends what is left with 1726, and runs the context handles down. The fibers of the routines belong to the server, not to its
 * clients. The `Scope` that a routine finds in its context is the server's: it closes when the grace period is over.
 *
 * Dies with a `TypeError` for two managers of the same interface version for the same object.
 *
 * Windows: `RpcServerRegisterIf` and `RpcServerListen`; the limit on calls is `MaxCalls`.
 *
 * **Example** (A server of one manager)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager], { grace: "1 second" })
 *   const sums = yield* Binding.local(server, Sums)
 *   return yield* Call.invoke(sums, "Add", [1, 2, 3]) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <const Managers extends ReadonlyArray<Manager.Manager.Any>>(
  managers: Managers,
  options: Options = {}
): Effect.Effect<Server, never, Services<Managers> | Scope.Scope> =>
  Effect.acquireRelease(
    Effect.map(Effect.context<Services<Managers>>(), (context): ServerImpl =>
      new ServerImpl(context as Context.Context<never>, managers, options)),
    (server) =>
      server.shutdown(options.grace ?? "5 seconds")
  )

/**
 * Makes a server as {@link make} does, and provides it as {@link Server}.
 *
 * **Example** (A server in the context)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *
 * const program = Effect.gen(function*() {
 *   const sums = yield* Binding.local(yield* Server.Server, Sums)
 *   return yield* Call.invoke(sums, "Add", [1, 2, 3]) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provide(program, Server.layer([manager])))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const layer = <const Managers extends ReadonlyArray<Manager.Manager.Any>>(
  managers: Managers,
  options?: Options
): Layer.Layer<Server, never, Exclude<Services<Managers>, Scope.Scope>> => Layer.effect(Server, make(managers, options))

// ----------------------------------------------------------------------------
// calls in progress
// ----------------------------------------------------------------------------

/**
 * The calls in progress, oldest first. A call that was handed off is among them until it ends.
 *
 * **Example** (What the server is working on)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (numbers) => Effect.delay(Effect.succeed(numbers.reduce((a, b) => a + b, 0)), "10 millis")
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *   const call = yield* Call.make(sums)
 *
 *   yield* Call.begin(call, "Add", [1, 2, 3])
 *   const calls = yield* Server.calls(server)
 *   return calls.map((call) => ServerCall.operation(call).name) // => ["Add"]
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category calls in progress
 * @since 0.1.0
 */
export const calls = (self: Server): Effect.Effect<ReadonlyArray<ServerCall.Any>> =>
  Effect.sync(() => toImpl(self).snapshot().filter((call) => call.isOpen))
