/**
 * Context handles: state that a server keeps for one client, and the opaque handle with which the client refers to it.
 *
 * A method opens the state and gives the handle, later calls carry it back, and another method closes it. When the
 * client is gone its handles are *run down*: the finalizers of their states run, exactly once, after the calls on them
 * have ended.
 *
 * Windows: context handles (`[context_handle]`), their run-down routines, strict context handles.
 *
 * @module
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as Scope from "effect/Scope"
import type * as Types from "effect/Types"
import { type Declared, declaredIn, fromParts, Handle, partsOf, TypeId } from "./internal/handleSchema.ts"
import { rules } from "./internal/handleCalls.ts"
import { RulesId } from "./internal/handleRules.ts"
import { Entry, handlesOf, Holding } from "./internal/handleTable.ts"
import { PipeInspectable } from "./internal/inspectable.ts"
import { refuseArgument } from "./internal/named.ts"
import type { ServerCallImpl } from "./internal/serverCall.ts"
import * as Uuid from "./internal/uuid.ts"
import type { ServerCall } from "./ServerCall.ts"
import { RpcFault } from "./Status.ts"

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

/**
 * The client's side of a context handle: an opaque value, branded by the name of its type.
 *
 * **Details**
 *
 * It means something to the server that gave it, on the association on which it was given, and to nobody else: in
 * process that is the binding, on the network all connections of one client that belong together. A call that carries
 * any other fails with `ContextMismatch`.
 *
 * @category models
 * @since 0.1.0
 */
export interface ContextHandle<in out Name extends string> {
  /** Brands the type. */
  readonly [TypeId]: Types.Invariant<Name>
}

/**
 * Types that belong to {@link ContextHandle}.
 *
 * @category models
 * @since 0.1.0
 */
export declare namespace ContextHandle {
  /** A context handle of any type. */
  export type Any = ContextHandle<any>
}

/**
 * The schema of a context handle, for parameters of methods.
 *
 * @category models
 * @since 0.1.0
 */
export interface Type<in out Name extends string> extends Schema.declare<ContextHandle<Name>> {
  /** The schema that its own operations give. */
  readonly Rebuild: Type<Name>
}

/**
 * The schema of a context handle that may be null.
 *
 * @category models
 * @since 0.1.0
 */
export interface Nullable<in out Name extends string> extends Schema.declare<ContextHandle<Name> | null> {
  /** The schema that its own operations give. */
  readonly Rebuild: Nullable<Name>
}

const isHandle = (u: unknown): u is ContextHandle.Any => u instanceof Handle

// ----------------------------------------------------------------------------
// types of handles
// ----------------------------------------------------------------------------

const namePattern = /^[A-Za-z_]\w*$/

const toBytes = (handle: Handle | null): Uint8Array => {
  const { attributes, uuid } = partsOf(handle)
  const bytes = new Uint8Array(20)
  new DataView(bytes.buffer).setUint32(0, attributes, true)
  Uuid.write(bytes, 4, uuid, true)
  return bytes
}

const fromBytes = (type: string, bytes: Uint8Array): Handle | null => {
  const attributes = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)
  return fromParts(type, attributes, Uuid.read(bytes, 4, true))
}

const declare = (declared: Declared): Schema.Constraint =>
  Schema.declare<Handle | null>(
    // Null is refused by its own codes, where the handle is used: 1775 on the client and 6 on the server.
    (u): u is Handle | null => u === null || u instanceof Handle,
    {
      [TypeId]: declared,
      [RulesId]: rules,
      expected: `a context handle of the type ${declared.type}`,
      toCodec: () =>
        Schema.link<Handle | null>()(Schema.Uint8Array.check(Schema.isBetweenLength(20, 20)), {
          decode: SchemaGetter.transform((bytes) => fromBytes(declared.type, bytes)),
          encode: SchemaGetter.transform(toBytes)
        })
    }
  )

/**
 * Makes a type of context handles: a schema that stands as a field of a method's parameters, and nowhere else.
 *
 * **Details**
 *
 * In `out` it gives a handle to the client, in `in` it takes one back; under the same name in both it is an in-out
 * handle. Calls that carry the same handle run one after the other, in the order in which they arrive; see
 * {@link shared}. A handle travels as the 20 bytes of MIDL's `[context_handle]`, beside `Ndr` types and others.
 *
 * The name of the type is its identity: for both sides, and within one interface. Throws a `TypeError` for a name that
 * is no identifier.
 *
 * Windows: `typedef [context_handle] void* CURSOR`.
 *
 * **Example** (An interface with cursors)
 *
 * ```ts
 * import { ContextHandle, Interface } from "@callisto/rpc"
 * import { Schema } from "effect"
 *
 * const Cursor = ContextHandle.make("Cursor")
 *
 * const ITable = Interface.make("ITable", {
 *   uuid: "3f0c6a52-8b7e-4d19-9a40-7c2e5d1b6f83",
 *   version: [1, 0],
 *   methods: {
 *     Open: Interface.method({ in: { table: Schema.String }, out: { cursor: Cursor } }),
 *     Fetch: Interface.method({ in: { cursor: Cursor }, out: { row: Schema.Option(Schema.String) } }),
 *     Close: Interface.method({ in: { cursor: Cursor }, out: { cursor: ContextHandle.nullable(Cursor) } })
 *   }
 * })
 * ```
 *
 * @category types of handles
 * @since 0.1.0
 */
export const make = <const Name extends string>(name: Name): Type<Name> => {
  if (!namePattern.test(name)) refuseArgument(`ContextHandle ${JSON.stringify(name)}`, "its name is not an identifier")
  return declare({ type: name, nullable: false, shared: false }) as Type<Name>
}

/**
 * The same type of handles where null is allowed: for a method that closes the handle and gives null for it, or that
 * takes null to open one.
 *
 * **Details**
 *
 * Null for any other parameter fails `begin` with `NullContext`, and nothing is sent.
 *
 * **Example** (A handle that the first call opens and the last one closes)
 *
 * ```ts
 * import { ContextHandle, Interface } from "@callisto/rpc"
 * import { Schema } from "effect"
 *
 * const Inquiry = ContextHandle.nullable(ContextHandle.make("Inquiry"))
 *
 * Interface.method({ in: { inquiry: Inquiry }, out: { inquiry: Inquiry, names: Schema.Array(Schema.String) } })
 * ```
 *
 * @category types of handles
 * @since 0.1.0
 */
export const nullable = <Name extends string>(type: Type<Name>): Nullable<Name> =>
  declare({ ...declaredIn(type.ast)!, nullable: true }) as Nullable<Name>

/**
 * Declares on the parameter of a method that its calls share the handle: they run beside each other, though not beside
 * calls of methods that don't.
 *
 * Windows: `[context_handle_noserialize]`; a parameter that is not shared is `[context_handle_serialize]`.
 *
 * **Example** (Many readers at once)
 *
 * ```ts
 * import { ContextHandle, Interface } from "@callisto/rpc"
 * import { Schema } from "effect"
 *
 * const File = ContextHandle.make("File")
 *
 * Interface.method({ in: { file: ContextHandle.shared(File), at: Schema.Int }, out: { bytes: Schema.Uint8Array } })
 * ```
 *
 * @category types of handles
 * @since 0.1.0
 */
export const shared = <T extends Type<any> | Nullable<any>>(type: T): T =>
  declare({ ...declaredIn(type.ast)!, shared: true }) as unknown as T

// ----------------------------------------------------------------------------
// on the server
// ----------------------------------------------------------------------------

/**
 * The states behind the handles of one type, on their server.
 *
 * @category on the server
 * @since 0.1.0
 */
export interface States<in out Name extends string, in out State> {
  /**
   * Makes a state in a scope of its own, and gives the handle to it, for the out parameters of the call.
   *
   * When the handle is closed or run down the scope closes. Its finalizers see a success where a method has closed the
   * handle, and an interruption where it is run down. A handle that the client does not receive, because the call fails
   * or gives it not, or because its reply can't be sent, is run down at once.
   *
   * Fails as `acquire` does; with `RpcFault` 1725 (`RPC_S_NO_CALL_ACTIVE`) when the call has ended already: then nobody
   * would receive the handle; and with `RpcFault` 1130 (`RPC_S_SERVER_OUT_OF_MEMORY`), before anything is made, when
   * the client has as many handles open as its endpoint allows (`maximumHandles`).
   */
  readonly open: <E, R>(
    call: ServerCall.Any,
    acquire: Effect.Effect<State, E, R>
  ) => Effect.Effect<ContextHandle<Name>, E | RpcFault, Exclude<R, Scope.Scope>>
  /**
   * The state behind a handle that the call carries, or that it has opened.
   *
   * Fails with `RpcFault` 6, which the client gets as `ContextMismatch`, when the call has closed it, when it is of
   * other `States`, and when the call is over.
   */
  readonly get: (call: ServerCall.Any, handle: ContextHandle<Name> | null) => Effect.Effect<State, RpcFault>
  /**
   * Closes a handle that the call carries or has opened, and gives null, for the out parameters of the call.
   *
   * From now on the handle is not known any more; calls that wait for it fail with `ContextMismatch`. The scope of the
   * state closes when the other calls on the handle have ended, and this waits for it. It does so even if the call is
   * interrupted or fails meanwhile. Fails as {@link States.get} does.
   */
  readonly close: (call: ServerCall.Any, handle: ContextHandle<Name> | null) => Effect.Effect<null, RpcFault>
}

const impl = (call: ServerCall.Any): ServerCallImpl => call as never

const mismatch = Effect.suspend(() => Effect.fail(new RpcFault({ code: 6 })))

const noCallActive = Effect.suspend(() => Effect.fail(new RpcFault({ code: 1725 })))

const tooMany = Effect.suspend(() => Effect.fail(new RpcFault({ code: 1130 })))

class StatesImpl<Name extends string, State> extends PipeInspectable implements States<Name, State> {
  readonly type: string

  constructor(type: string) {
    super()
    this.type = type
  }

  toJSON() {
    return { _id: "callisto/ContextHandle/States", type: this.type }
  }

  readonly open = <E, R>(
    self: ServerCall.Any,
    acquire: Effect.Effect<State, E, R>
  ): Effect.Effect<ContextHandle<Name>, E | RpcFault, Exclude<R, Scope.Scope>> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        const call = impl(self)
        if (!call.isOpen) return noCallActive
        const handles = handlesOf(call.origin)
        if (handles.isFull) return tooMany
        handles.count++
        const scope = Scope.makeUnsafe()
        return Effect.flatMap(
          Effect.exit(restore(Scope.provide(acquire, scope))),
          (exit): Effect.Effect<ContextHandle<Name>, E | RpcFault> => {
            handles.count--
            // While the state was made, the client may have gone.
            if (exit._tag === "Success" && call.isOpen) return Effect.succeed(this.register(call, exit.value, scope))
            return exit._tag === "Success"
              ? Effect.andThen(Scope.close(scope, Exit.interrupt()), noCallActive)
              : Effect.andThen(Scope.close(scope, exit), Effect.failCause(exit.cause))
          }
        )
      })
    )

  private register(call: ServerCallImpl, value: State, scope: Scope.Closeable): ContextHandle<Name> {
    const { host, operation } = call.dispatch
    const entry = new Entry({
      type: this.type,
      interface: operation.interface,
      owner: this,
      value,
      scope,
      association: handlesOf(call.origin),
      host: { handles: host.handles, look: () => host.look(), fork: (effect) => call.aside(effect) }
    })
    call.holding ??= new Holding(() => {}, () => {})
    call.holding.hold(entry)
    return entry.handle as ContextHandle<any>
  }

  private find(self: ServerCall.Any, handle: ContextHandle.Any | null): Entry | undefined {
    const { holding } = impl(self)
    const entry = isHandle(handle) ? holding?.find(handle as Handle) : undefined
    return entry?.owner === this && !entry.isClosedBy(holding) ? entry : undefined
  }

  readonly get = (call: ServerCall.Any, handle: ContextHandle<Name> | null): Effect.Effect<State, RpcFault> =>
    Effect.suspend(() => {
      const entry = this.find(call, handle)
      return entry === undefined ? mismatch : Effect.succeed(entry.value as State)
    })

  readonly close = (call: ServerCall.Any, handle: ContextHandle<Name> | null): Effect.Effect<null, RpcFault> =>
    Effect.suspend(() => {
      const entry = this.find(call, handle)
      return entry?.close(impl(call).holding!) ? Effect.as(Deferred.await(entry.gone), null) : mismatch
    })
}

/**
 * The server's side of a type of handles: what opens, finds and closes the states behind them. The finalizers of a state are
 * its run-down routine.
 *
 * **Example** (A cursor whose client leaves without closing it)
 *
 * ```ts
 * import { Binding, Call, ContextHandle, Interface, Manager, Server } from "@callisto/rpc"
 * import { Deferred, Effect, Option, Schema } from "effect"
 *
 * const Cursor = ContextHandle.make("Cursor")
 *
 * const ITable = Interface.make("ITable", {
 *   uuid: "3f0c6a52-8b7e-4d19-9a40-7c2e5d1b6f83",
 *   version: [1, 0],
 *   methods: {
 *     Open: Interface.method({ in: { table: Schema.String }, out: { cursor: Cursor } }),
 *     Fetch: Interface.method({ in: { cursor: Cursor }, out: { row: Schema.Option(Schema.String) } }),
 *     Close: Interface.method({ in: { cursor: Cursor }, out: { cursor: ContextHandle.nullable(Cursor) } })
 *   }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const released = yield* Deferred.make<string>()
 *   const read = (table: string) =>
 *     Effect.acquireRelease(
 *       Effect.succeed(["one", "two"].map((row) => `${table} ${row}`).values()),
 *       () => Deferred.succeed(released, table)
 *     )
 *
 *   const cursors = ContextHandle.states<Iterator<string>>()(Cursor)
 *   const manager = Manager.make(ITable, {
 *     Open: ({ table }, call) => Effect.map(cursors.open(call, read(table)), (cursor) => ({ cursor })),
 *     Fetch: ({ cursor }, call) =>
 *       Effect.map(cursors.get(call, cursor), (rows) => ({ row: Option.fromUndefinedOr(rows.next().value) })),
 *     Close: ({ cursor }, call) => Effect.map(cursors.close(call, cursor), (cursor) => ({ cursor }))
 *   })
 *   const server = yield* Server.make([manager])
 *
 *   const client = Effect.gen(function*() {
 *     const table = yield* Binding.local(server, ITable)
 *     const { cursor } = yield* Call.invoke(table, "Open", { table: "books" })
 *     return yield* Call.invoke(table, "Fetch", { cursor }) // => { row: Some("books one") }
 *   })
 *   yield* Effect.scoped(client) // the end of the binding's scope is the end of the association
 *   return yield* Deferred.await(released) // => "books"
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category on the server
 * @since 0.1.0
 */
export const states = <State>(): <Name extends string>(type: Type<Name>) => States<Name, State> => ({ ast }) =>
  new StatesImpl(declaredIn(ast)!.type)

// ----------------------------------------------------------------------------
// on the client
// ----------------------------------------------------------------------------

/**
 * Forgets a handle on the client, without telling the server: for one whose server is gone. A call that carries it fails with
 * `NullContext` from now on.
 *
 * **Details**
 *
 * The server runs the handle down when the association ends. To close a handle of a server that is there, call the
 * method that closes it.
 *
 * Windows: `RpcSsDestroyClientContext`.
 *
 * **Example** (A cursor of a server that does not answer any more)
 *
 * ```ts
 * import { Call, ContextHandle, Interface, Manager, TestKit } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * const Cursor = ContextHandle.make("Cursor")
 * const ITable = Interface.make("ITable", {
 *   uuid: "3f0c6a52-8b7e-4d19-9a40-7c2e5d1b6f83",
 *   version: [1, 0],
 *   methods: {
 *     Open: Interface.method({ out: { cursor: Cursor } }),
 *     Close: Interface.method({ in: { cursor: Cursor }, out: { cursor: ContextHandle.nullable(Cursor) } })
 *   }
 * })
 * const cursors = ContextHandle.states<number>()(Cursor)
 * const manager = Manager.make(ITable, {
 *   Open: (_, call) => Effect.map(cursors.open(call, Effect.succeed(1)), (cursor) => ({ cursor })),
 *   Close: ({ cursor }, call) => Effect.map(cursors.close(call, cursor), (cursor) => ({ cursor }))
 * })
 *
 * const program = Effect.gen(function*() {
 *   const { binding, inject } = yield* TestKit.make(manager)
 *   const { cursor } = yield* Call.invoke(binding, "Open")
 *   yield* inject("Close", TestKit.unreachable)
 *   const close = Call.invoke(binding, "Close", { cursor })
 *   yield* Effect.catchTag(close, "RpcTransportError", () => ContextHandle.destroy(cursor))
 *   return yield* Effect.flip(Call.invoke(binding, "Close", { cursor })) // => NullContext
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category on the client
 * @since 0.1.0
 */
export const destroy = (handle: ContextHandle.Any): Effect.Effect<void> =>
  Effect.sync(() => (handle as unknown as Handle).destroy())
