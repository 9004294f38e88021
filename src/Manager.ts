/**
 * Managers: a manager is the server's implementation of one interface, for one object or for all objects.
 *
 * Windows: the manager routines and entry-point vector of an interface, or the server object behind an interface
 * pointer.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type { Pipeable } from "effect/Pipeable"
import type * as Scope from "effect/Scope"
import type { AuthenticationLevel, Caller } from "./Channel.ts"
import type { Interface, Method } from "./Interface.ts"
import { type Guard, levels } from "./internal/access.ts"
import * as Internal from "./internal/manager.ts"
import { refuseArgument } from "./internal/named.ts"
import { choiceOption, flagOption, objectOption } from "./internal/options.ts"
import type { Cancellation, Failure, ServerCall } from "./ServerCall.ts"

const TypeId = "~callisto/Manager"

// ----------------------------------------------------------------------------
// routines
// ----------------------------------------------------------------------------

/**
 * A routine that answers at once: the exit of its effect is the reply.
 *
 * @category routines
 * @since 0.1.0
 */
export type Plain<in out M extends Method.Any, out R> = (
  input: Method.In<M>,
  call: ServerCall<M>
) => Effect.Effect<Method.Out<M>, Failure<M>, R>

/**
 * A routine whose successful return leaves the call open, to be completed or aborted later. Made with {@link handOff}.
 *
 * @category routines
 * @since 0.1.0
 */
export interface HandOff<in out M extends Method.Any, out R> {
  /** The routine. */
  readonly [Internal.HandOffTypeId]: (
    input: Method.In<M>,
    call: ServerCall<M>
  ) => Effect.Effect<unknown, Failure<M>, R>
}

/**
 * A routine of either kind.
 *
 * @category routines
 * @since 0.1.0
 */
export type Routine<M extends Method.Any, R> = Plain<M, R> | HandOff<M, R>

/**
 * Types that belong to {@link Routine}.
 *
 * @category routines
 * @since 0.1.0
 */
export declare namespace Routine {
  /** The services that a routine needs. */
  export type Services<T> = T extends HandOff<any, infer R> ? R
    : T extends (...args: any) => infer E
      ? [E] extends [Effect.Effect<any, any, infer R>] ? [E] extends [never] ? never : R
      : never
    : never
}

/**
 * Makes a hand-off routine: its successful return leaves the call open, and `ServerCall.complete`, `abort` or `run`
 * ends it later, from any fiber.
 *
 * **Details**
 *
 * A failure before the return is the call's failure. After it a cancel only sets the call's flag, unless work is tied
 * to the call with `ServerCall.run`.
 *
 * Windows: a manager routine that returns before `RpcAsyncCompleteCall`.
 *
 * **Example** (A worker that completes the calls)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Queue, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const jobs = yield* Queue.unbounded<[numbers: ReadonlyArray<number>, call: ServerCall.Of<typeof Sums, "Add">]>()
 *   const manager = Manager.make(Sums, {
 *     Add: Manager.handOff((numbers, call) => Queue.offer(jobs, [numbers, call]))
 *   })
 *   const sums = yield* Binding.local(yield* Server.make([manager]), Sums)
 *   const adding = yield* Call.begin(yield* Call.make(sums), "Add", [1, 2, 3])
 *   const [numbers, call] = yield* Queue.take(jobs)
 *   yield* ServerCall.complete(call, numbers.reduce((a, b) => a + b, 0))
 *   return yield* Call.join(adding) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category routines
 * @since 0.1.0
 */
export const handOff = <M extends Method.Any, R>(
  routine: (input: Method.In<M>, call: ServerCall<M>) => Effect.Effect<unknown, Failure<M>, R>
): HandOff<M, R> => ({ [Internal.HandOffTypeId]: routine, returned: Internal.handOff }) as HandOff<M, R>

// ----------------------------------------------------------------------------
// managers
// ----------------------------------------------------------------------------

/**
 * A manager of interface `I`, whose routines need the services `R`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Manager<out I extends Interface.Any, out R> extends Pipeable {
  /** Brands the type. */
  readonly [TypeId]: { readonly _R: (_: never) => R }
  /** The interface that it implements. */
  readonly interface: I
  /** The UUID of the one object that it serves, or `undefined` for all. */
  readonly object: string | undefined
  /** Whether clients in this process can make call objects. */
  readonly callObjects: boolean
}

/**
 * Types that belong to {@link Manager}.
 *
 * @category models
 * @since 0.1.0
 */
export declare namespace Manager {
  /** Any manager. */
  export type Any = Manager<any, any>
  /** The services that the routines of a manager need. */
  export type Services<T> = T extends Manager<infer _I, infer R> ? R : never
  /** The routines for an interface: one for each method. */
  export type Routines<I extends Interface.Any> = {
    readonly [K in Interface.MethodName<I, "any">]: Routine<I["methods"][K], any>
  }
}

/**
 * The failures of the routines of an interface, as a {@link Middleware} sees them.
 *
 * @category middleware
 * @since 0.1.0
 */
export type Failures<I extends Interface.Any> = Failure<I["methods"][keyof I["methods"]]>

/**
 * A function that runs around each routine of a manager. `E` are the {@link Failures} of its routines.
 *
 * @category middleware
 * @since 0.1.0
 */
export type Middleware<in out E, in R, out R2> = <A>(
  routine: Effect.Effect<A, E, R>,
  call: ServerCall.Any
) => Effect.Effect<A, E, R2>

/**
 * The options of a manager of interface `I`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<I extends Interface.Any> {
  /** The UUID of the one object that the manager serves; by default it serves all. */
  readonly object?: string | undefined
  /**
   * Whether it offers call objects to clients in this process; by default it does. Without them the one-shot form still works.
   */
  readonly callObjects?: boolean | undefined
  /** The effect of a cancel, for all methods or for each by name; by default `interrupt`. */
  readonly cancellation?:
    | Cancellation
    | { readonly [K in Interface.MethodName<I, "any">]?: Cancellation | undefined }
    | undefined
  /**
   * The lowest level that the manager takes; by default `integrity` at an endpoint with security providers, and `none` elsewhere.
   * A call below it gets 5 (access denied), and its arguments are not decoded. `packet` and `call` count as `integrity`.
   *
   * Windows: `RPC_IF_ALLOW_SECURE_ONLY`, and the level that a security callback demands.
   */
  readonly minimumLevel?: AuthenticationLevel | undefined
  /**
   * Whether callers whom nobody has authenticated may call; by default only where the minimum is `none` and there is no `access`. Others
   * get 5.
   *
   * Windows: `RPC_IF_ALLOW_CALLBACKS_WITH_NO_AUTH`.
   */
  readonly allowAnonymous?: boolean | undefined
  /**
   * Decides whether a caller may make a call, after the level was looked at and before the arguments are decoded. `false`, a failure and a
   * defect refuse it with 5. The answer is not kept. While an effect runs, later calls of the client to this manager wait.
   *
   * Windows: the security callback of `RpcServerRegisterIf3`, with `RPC_IF_SEC_NO_CACHE`.
   */
  readonly access?: ((request: AccessRequest<I>) => boolean | Effect.Effect<boolean, unknown>) | undefined
}

/**
 * The part of a call that an access check sees.
 *
 * @category models
 * @since 0.1.0
 */
export interface AccessRequest<I extends Interface.Any> {
  /** The caller. */
  readonly caller: Caller
  /** The name of the method. */
  readonly method: Interface.MethodName<I, "any">
  /** The UUID of the object that is called, if the client names one. */
  readonly object: string | undefined
}

/**
 * Makes the manager of an interface: one routine for each method.
 *
 * **Details**
 *
 * A plain routine gets the in parameters and the server call; its effect succeeds with the out parameters, or fails
 * with a declared abort or an `RpcFault`. A defect ends that one call with 1726 and is logged on the
 * server. The services that the routines need come from the context in which the server is made. The `Scope` that a routine
 * finds is that of its call: it closes when the call has ended and its reply has left.
 *
 * Throws a `TypeError` for a method without a routine, a routine without a method, a routine that is neither a function nor made with
 * {@link handOff}, and an option out of its range.
 *
 * **Example** (A manager with one routine)
 *
 * ```ts
 * import { Interface, Manager } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 *
 * Manager.make(Sums, {
 *   Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0))
 * })
 * ```
 *
 * **Example** (A method that cannot be cancelled)
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
 * const manager = Manager.make(Sums, {
 *   Add: (numbers) => Effect.delay(Effect.succeed(numbers.reduce((a, b) => a + b, 0)), "10 millis")
 * }, { cancellation: { Add: "disabled" } })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *   const call = yield* Call.make(sums)
 *
 *   const adding = yield* Call.begin(call, "Add", [1, 2, 3])
 *   yield* Effect.flip(Call.cancel(adding)) // => CancelDisabled
 *   return yield* Call.join(adding) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * **Example** (A manager without call objects)
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
 * const manager = Manager.make(Sums, {
 *   Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0))
 * }, { callObjects: false })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *
 *   yield* Effect.flip(Call.make(sums)) // => NoInterface
 *   return yield* Call.invoke(sums, "Add", [1, 2, 3]) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <I extends Interface.Any, const T extends Manager.Routines<I>>(
  iface: I,
  routines: T & { readonly [K in Exclude<keyof T, Interface.MethodName<I, "any">>]: never },
  options?: Options<I>
): Manager<I, Exclude<Routine.Services<T[keyof T]>, Scope.Scope>> => {
  const owner = `Manager of ${iface.name}`
  for (const name of Object.keys(iface.methods)) {
    if (!Object.hasOwn(routines, name)) refuseArgument(owner, `method ${name} has no routine`)
    if (Internal.runOf(routines[name as keyof T]) === undefined) {
      refuseArgument(owner, `routine ${name} is no function`)
    }
  }
  for (const name of Object.keys(routines)) {
    if (!Object.hasOwn(iface.methods, name)) refuseArgument(owner, `routine ${name} has no method in the interface`)
  }
  const readCancellation = (name: string, kind: unknown): Cancellation =>
    choiceOption(owner, name, kind, cancellations, "interrupt")
  const cancellation: unknown = options?.cancellation
  const kinds = new Map<string, Cancellation>()
  const isByName = typeof cancellation === "object" && cancellation !== null
  for (const [method, kind] of Object.entries(isByName ? cancellation : {})) {
    const name = `cancellation.${method}`
    if (!Object.hasOwn(iface.methods, method)) refuseArgument(owner, `${name} has no method in the interface`)
    kinds.set(method, readCancellation(name, kind))
  }
  const others = readCancellation("cancellation", isByName ? undefined : cancellation)
  return toManager({
    interface: iface,
    routines: routines as Internal.ManagerImpl["routines"],
    object: objectOption(owner, options?.object),
    callObjects: flagOption(owner, "callObjects", options?.callObjects, true),
    guard: guardOf(owner, options),
    cancellation: (method) => kinds.get(method) ?? others
  })
}

/** The guard of a manager; `undefined` where the options set none of its checks. */
const guardOf = (owner: string, options: Options<any> = {}): Guard | undefined => {
  const { access, allowAnonymous, minimumLevel } = options
  if (access === undefined && allowAnonymous === undefined && minimumLevel === undefined) return undefined
  if (access !== undefined && typeof access !== "function") {
    refuseArgument(owner, "access is no function")
  }
  return {
    access: access as Guard["access"],
    allowAnonymous: allowAnonymous === undefined
      ? undefined
      : flagOption(owner, "allowAnonymous", allowAnonymous, false),
    minimumLevel: minimumLevel === undefined ? undefined : choiceOption(owner, "minimumLevel", minimumLevel, levels)
  }
}

const cancellations: ReadonlyArray<Cancellation> = ["interrupt", "cooperative", "disabled"]

const toManager = <I extends Interface.Any>(
  fields: ConstructorParameters<typeof Internal.ManagerImpl>[0]
): Manager<I, never> => new Internal.ManagerImpl(fields) as unknown as Manager<I, never>

/**
 * Runs a function around each routine of a manager: for authorization, rate limits, logging, or to provide services.
 *
 * **Details**
 *
 * The function gets the routine's effect and the server call. Around a hand-off routine it sees the part up to the
 * hand-off. Of several the last one added runs outermost. To refuse a call, fail with an `RpcFault`, for instance with
 * code 5 (access denied).
 *
 * **Example** (Refuse calls from other machines)
 *
 * ```ts
 * import { Interface, Manager, ServerCall, Status } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * const Clock = Interface.make("Clock", {
 *   uuid: "b5d3f7c1-2f64-4c46-8d55-0f3a9c1e7a21",
 *   version: [1, 0],
 *   methods: { Reset: Interface.method({}) }
 * })
 *
 * Manager.make(Clock, { Reset: () => Effect.void }).pipe(
 *   Manager.middleware((routine, call) =>
 *     ServerCall.peer(call) === "local" ? routine : Effect.fail(new Status.RpcFault({ code: 5 }))
 *   )
 * )
 * ```
 *
 * @category middleware
 * @since 0.1.0
 */
export const middleware: {
  <I extends Interface.Any, R, R2>(
    middleware: Middleware<Failures<I>, R, R2>
  ): (self: Manager<I, R>) => Manager<I, Exclude<R2, Scope.Scope>>
  <I extends Interface.Any, R, R2>(
    self: Manager<I, R>,
    middleware: Middleware<Failures<I>, R, R2>
  ): Manager<I, Exclude<R2, Scope.Scope>>
} = dual(2, (self: Manager.Any, outer: Internal.Middleware): Manager.Any => {
  const manager = Internal.implOf(self)
  if (typeof outer !== "function") {
    refuseArgument(`Manager of ${manager.interface.name}`, "the middleware is no function")
  }
  const inner = manager.middleware
  return toManager<any>({
    ...manager,
    middleware: inner === undefined ? outer : (routine, call) => outer(inner(routine, call), call)
  })
})

// ----------------------------------------------------------------------------
// layers
// ----------------------------------------------------------------------------

/**
 * The identifier under which the manager of interface `I` is found in the context.
 *
 * @category layers
 * @since 0.1.0
 */
export interface For<in out I extends Interface.Any> {
  /** The interface. */
  readonly interface: I
}

/**
 * The key of the manager of an interface in the context, for `Server.layer`.
 *
 * @category layers
 * @since 0.1.0
 */
export const service = <I extends Interface.Any>(iface: I): Context.Service<For<I>, Manager<I, never>> =>
  Context.Service<For<I>, Manager<I, never>>(`@callisto/rpc/Manager/${iface.uuid}/${iface.version.join(".")}`)

/**
 * The manager of an interface as a layer, made by an effect that gives its routines.
 *
 * **Details**
 *
 * Resources of the effect are released with the layer. The services that the effect and the routines need are requirements of the
 * layer. `Server.layer` serves the manager.
 *
 * **Example** (Routines that share a counter)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Layer, Ref, Schema } from "effect"
 *
 * const ICounter = Interface.make("ICounter", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Next: Interface.method({ out: Schema.Int }) }
 * })
 * const Counter = Binding.Service("app/Counter", ICounter)
 *
 * const manager = Manager.layer(ICounter, Effect.gen(function*() {
 *   const count = yield* Ref.make(0)
 *   return { Next: () => Ref.updateAndGet(count, (n) => n + 1) }
 * }))
 *
 * const live = Counter.layer.pipe(Layer.provide(Server.layer([ICounter])), Layer.provide(manager))
 *
 * const program = Effect.gen(function*() {
 *   const counter = yield* Counter
 *   yield* Call.invoke(counter, "Next") // => 1
 *   return yield* Call.invoke(counter, "Next") // => 2
 * })
 *
 * await Effect.runPromise(Effect.provide(program, live))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I extends Interface.Any, const T extends Manager.Routines<I>, E = never, R = never>(
  iface: I,
  routines: Effect.Effect<T & { readonly [K in Exclude<keyof T, Interface.MethodName<I, "any">>]: never }, E, R>,
  options?: Options<I>
): Layer.Layer<For<I>, E, Exclude<R | Routine.Services<T[keyof T]>, Scope.Scope>> =>
  Layer.effect(
    service(iface),
    Effect.flatMap(Effect.context<never>(), (services) =>
      Effect.map(routines, (routines) =>
        toManager<I>({ ...Internal.implOf(make(iface, routines as never, options)), services })))
  ) as never
