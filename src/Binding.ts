/**
 * Bindings: what a client calls through. A binding names one interface of one server object, in this process
 * ({@link local}) or, over a channel, anywhere.
 *
 * Windows: the binding handle, or the interface pointer.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type { Pipeable } from "effect/Pipeable"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Types from "effect/Types"
import type { Caller, Channel, Outcome, Outgoing, Remote } from "./Channel.ts"
import {
  type Abort,
  abortOf,
  canonicalUuid,
  type Interface,
  type Method,
  type Operation,
  type Parameters
} from "./Interface.ts"
import { Handles } from "./internal/contextHandle.ts"
import { BindingImpl } from "./internal/binding.ts"
import * as Depth from "./internal/depth.ts"
import { durationOption } from "./internal/options.ts"
import { Ends, isBytes } from "./internal/pipeEnds.ts"
import { watching } from "./internal/watch.ts"
import * as Server from "./Server.ts"
import { type Client, type Dispatch, ServerCallImpl } from "./ServerCall.ts"
import { BadStubData, NoInterface, RpcFault, RpcTransportError } from "./Status.ts"
import { cancelled } from "./internal/failures.ts"

const TypeId = "~callisto/Binding"

// ----------------------------------------------------------------------------
// bindings
// ----------------------------------------------------------------------------

/**
 * A binding to interface `I`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Binding<in out I extends Interface.Any> extends Pipeable {
  /** Brands the type. */
  readonly [TypeId]: Types.Invariant<I>
  /** The interface, as the client describes it. */
  readonly interface: I
  /** What carries the calls to the server. */
  readonly channel: Channel
  /** How long a cancel waits for the server's answer, unless it says otherwise. */
  readonly cancelTimeout: Duration.Duration
}

/**
 * Types that belong to {@link Binding}.
 *
 * @category models
 * @since 0.1.0
 */
export declare namespace Binding {
  /** Any binding. */
  export type Any = Binding<any>
}

/**
 * The options of every binding.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The UUID of the object that is called, in any case. By default none. */
  readonly object?: string | undefined
  /**
   * How long a cancel waits for the server's answer before the client completes the call itself: 0 (the default) completes it at
   * once, infinity never does.
   */
  readonly cancelTimeout?: Duration.Input | undefined
}

/**
 * Makes a binding over a channel: for those who write a transport.
 *
 * Dies with a `TypeError` for a `cancelTimeout` out of range.
 *
 * **Example** (A channel that adds up by itself)
 *
 * ```ts
 * import { Binding, Call, type Channel, Interface, Status } from "@callisto/rpc"
 * import { Effect, Exit, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 *
 * const channel: Channel.Channel = {
 *   callObjects: true,
 *   issue: (call, input) => {
 *     const sum = (input as Array<number>).reduce((a, b) => a + b, 0)
 *     const timer = setTimeout(() => call.reply(Exit.succeed(sum)), 10)
 *     const cancel = () => {
 *       clearTimeout(timer)
 *       call.reply(Exit.fail(new Status.CallCancelled()))
 *     }
 *     const forget = () => clearTimeout(timer)
 *     call.remote = { dispatched: true, cancelDisabled: false, cancel, discard: forget, orphan: forget, goOn: () => {} }
 *     return undefined
 *   }
 * }
 *
 * const program = Effect.gen(function*() {
 *   const sums = yield* Binding.make(Sums, channel)
 *   return yield* Call.invoke(sums, "Add", [1, 2, 3]) // => 6
 * })
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <I extends Interface.Any>(
  iface: I,
  channel: Channel,
  options?: Pick<Options, "cancelTimeout">
): Effect.Effect<Binding<I>> =>
  Effect.map(Effect.context<never>(), (context) => {
    const millis = durationOption(`Binding to ${iface.name}`, "cancelTimeout", options?.cancelTimeout, 0)
    return new BindingImpl(iface, channel, Duration.millis(millis), watching(context, "client"))
  })

// ----------------------------------------------------------------------------
// in the same process
// ----------------------------------------------------------------------------

const localCaller: Caller = { name: undefined, level: "privacy" }

const gone = (detail: string): RpcTransportError => new RpcTransportError({ status: 1722, detail })

/** A call that waits to be dispatched, because calls are nested too deeply at the moment. */
class Undispatched implements Remote {
  readonly dispatched = false
  readonly cancelDisabled: boolean
  readonly channel: LocalChannel
  readonly dispatch: Dispatch
  readonly client: Client
  readonly call: Outgoing
  readonly input: unknown

  constructor(channel: LocalChannel, dispatch: Dispatch, client: Client, call: Outgoing, input: unknown) {
    this.channel = channel
    this.dispatch = dispatch
    this.client = client
    this.call = call
    this.input = input
    this.cancelDisabled = dispatch.cancellation === "disabled"
  }

  cancel(): void {
    if (this.channel.undispatched.delete(this)) this.client.reply(Exit.fail(cancelled(true)))
  }

  discard(): void {
    // A cancelled call is in the queue no more.
  }

  orphan(): void {
    this.channel.undispatched.delete(this)
  }

  goOn(): void {
    // It runs in its turn.
  }
}

class LocalChannel implements Channel, Client.Origin {
  readonly caller = localCaller
  readonly peer = "local"
  readonly address = "local"
  readonly handles = new Handles(Infinity)
  readonly server: Server.ServerImpl
  readonly callObjects: boolean
  readonly dispatches: { readonly [name: string]: Dispatch | undefined }
  readonly crossings: { readonly [name: string]: Crossing | undefined } | undefined
  readonly object: string | undefined
  readonly causal: boolean
  readonly undispatched = new Set<Undispatched>()
  open = true

  constructor(
    server: Server.ServerImpl,
    registration: Server.Registration,
    wanted: Interface.Any,
    options: { readonly object: string | undefined; readonly causal: boolean; readonly validate: boolean }
  ) {
    this.server = server
    this.callObjects = registration.manager.callObjects
    this.object = options.object
    this.causal = options.causal
    const shared = registration.manager.interface === wanted
    this.dispatches = shared
      ? registration.byName
      : mapOperations(wanted, ({ opnum }) => registration.byOpnum.get(opnum))
    this.crossings = shared && !options.validate ? undefined : mapOperations(wanted, ({ method, name }) => {
      const theirs = this.dispatches[name]?.operation.method
      if (theirs === undefined || (theirs === method && !options.validate)) return undefined
      return { ours: method, theirs, ...(options.validate ? makeChecks(method, theirs) : unchecked) }
    })
  }

  issue(call: Outgoing, input: unknown): Effect.Effect<void, BadStubData | RpcTransportError> | undefined {
    if (!this.open) return Effect.fail(gone("the binding was closed with its scope"))
    if (!this.server.accepting) return Effect.fail(gone("the server in this process was shut down"))
    const dispatch = this.dispatches[call.operation.name]
    if (dispatch === undefined) {
      call.reply(Exit.fail(new RpcFault({ code: 1745, didNotExecute: true })))
      return undefined
    }
    if (dispatch.operation !== call.operation && !samePipes(dispatch.operation, call.operation)) {
      return Effect.fail(badInput(call.operation, "the server describes its pipes in another way"))
    }
    let client: Client = call
    const crossing = this.crossings?.[call.operation.name]
    if (crossing !== undefined) {
      const problem = crossing.in(input)
      if (problem !== undefined) return Effect.fail(badInput(call.operation, problem))
      client = new CrossingClient(call, crossing, call.operation)
    }
    if ((this.causal && this.undispatched.size > 0) || !Depth.enter()) {
      const waiting = call.remote = new Undispatched(this, dispatch, client, call, input)
      this.undispatched.add(waiting)
      Depth.defer(() => this.release(waiting))
      return undefined
    }
    try {
      this.dispatch(dispatch, client, call, input)
    } finally {
      Depth.leave()
    }
    return undefined
  }

  close(): void {
    this.open = false
    const lost = Exit.fail(
      new RpcTransportError({ status: 1726, detail: "the binding was closed while the call was in progress" })
    )
    for (const call of this.server.newestFirst()) {
      if (call.origin !== this) continue
      const client = call.client
      call.gone("Disconnected")
      client?.reply(lost)
    }
    this.handles.end()
  }

  private dispatch(dispatch: Dispatch, client: Client, call: Outgoing, input: unknown): void {
    const serverCall = new ServerCallImpl(dispatch, client, this, this.object)
    const { pipes } = dispatch.operation
    if (pipes !== undefined) serverCall.pipes = new Ends(pipes, false, call.pipes!.buffers)
    call.remote = serverCall
    this.server.run(serverCall, input, call.span)
  }

  private release(waiting: Undispatched): void {
    if (!this.undispatched.delete(waiting)) return
    if (this.open && this.server.accepting) {
      return this.dispatch(waiting.dispatch, waiting.client, waiting.call, waiting.input)
    }
    waiting.client.reply(Exit.fail(gone("the server was gone before it dispatched the call")))
  }
}

const mapOperations = <A>(iface: Interface.Any, f: (operation: Operation) => A): { readonly [name: string]: A } =>
  Object.fromEntries(Object.entries(iface.operations).map(([name, operation]) => [name, f(operation)]))

// ----------------------------------------------------------------------------
// between two descriptions, and checked
// ----------------------------------------------------------------------------

/** Says what is wrong with a value. */
type Check = (value: unknown) => string | undefined

interface Checks {
  readonly in: Check
  /** On the server's side. */
  readonly out: Check
  /** On the client's side, where its description is another one. */
  readonly received: Check
}

/** A method as the client and as the server describe it, with what is checked between them. */
interface Crossing extends Checks {
  readonly ours: Method.Any
  readonly theirs: Method.Any
}

const accept: Check = () => undefined

const unchecked: Checks = { in: accept, out: accept, received: accept }

const makeCheck = (schema: Parameters): Check => {
  const decode = Schema.decodeUnknownResult(Schema.toType(schema))
  return (value) => {
    try {
      const result = decode(value)
      return Result.isSuccess(result) ? undefined : result.failure.message
    } catch (defect) {
      return String(defect)
    }
  }
}

const makeChecks = (ours: Method.Any, theirs: Method.Any): Checks => {
  const checkIn = makeCheck(ours.in)
  if (theirs === ours) return { in: checkIn, out: makeCheck(ours.out), received: accept }
  const checkInThere = makeCheck(theirs.in)
  return {
    in: (value) => checkIn(value) ?? checkInThere(value),
    out: makeCheck(theirs.out),
    received: makeCheck(ours.out)
  }
}

const samePipes = ({ pipes: ours = [] }: Operation, { pipes: theirs = [] }: Operation): boolean =>
  ours.length === theirs.length &&
  ours.every(({ element, isIn }, index) =>
    theirs[index]!.isIn === isIn && isBytes(theirs[index]!.element) === isBytes(element)
  )

const badInput = ({ interface: { name }, name: method }: Operation, problem: string): BadStubData =>
  new BadStubData({ detail: `The arguments of ${name}.${method} were refused: ${problem}` })

/** The abort as the client declares it: found by its code, with its fields where the client's error takes them. */
const translate = (outcome: Exit.Failure<unknown, Abort.Error>, { ours, theirs }: Crossing): Outcome => {
  const error = outcome.cause.reasons.find(Cause.isFailReason)?.error
  const code = abortOf(theirs, error)?.code
  if (code === undefined || abortOf(ours, error)?.code === code) return outcome as Outcome
  const declared = ours.aborts.find((abort) => abort.code === code)?.error as
    | (new (fields: unknown) => Abort.Error)
    | undefined
  const { _tag, ...fields } = { ...error }
  try {
    if (declared !== undefined) return Exit.fail(new declared(fields))
  } catch {
    // Its fields are others: the number is all that both sides know.
  }
  return Exit.fail(new RpcFault({ code }))
}

class CrossingClient implements Client {
  readonly client: Client
  readonly crossing: Crossing
  readonly operation: Operation

  constructor(client: Client, crossing: Crossing, operation: Operation) {
    this.client = client
    this.crossing = crossing
    this.operation = operation
  }

  reply(outcome: Outcome): BadStubData | undefined | void {
    if (outcome._tag === "Failure") return this.client.reply(translate(outcome, this.crossing))
    const refused = this.crossing.out(outcome.value)
    if (refused === undefined && this.crossing.received(outcome.value) === undefined) return this.client.reply(outcome)
    this.client.reply(Exit.fail(new RpcFault({ code: 1783 })))
    if (refused === undefined) return undefined
    const { interface: { name }, name: method } = this.operation
    return new BadStubData({ detail: `The out parameters of ${name}.${method} were refused: ${refused}` })
  }
}

/**
 * What a binding in the same process can be told besides {@link Options}.
 *
 * @category in the same process
 * @since 0.1.0
 */
export interface LocalOptions extends Options {
  /**
   * Whether the server dispatches the calls of this binding in the order in which they were begun; by default it does.
   */
  readonly causal?: boolean
  /**
   * Whether arguments and results, which pass by reference, are checked against the schemas; by default they are not.
   */
  readonly validate?: boolean
}

/**
 * Binds to an interface of a server in the same process.
 *
 * **Details**
 *
 * Arguments and results pass by reference: after `begin`, and after `complete`, they belong to the other side. The
 * manager runs in the server's scope, so a client that goes away never ends the server. When the binding's scope
 * closes, its pending calls end with 1726, the server is told that the client disconnected, and the context handles that
 * it has opened are run down.
 *
 * Fails with `NoInterface` when the server has no manager for the object that implements the interface: the same UUID,
 * the same major version and at least the same minor version. Dies with a `TypeError` for an `object` that is not a
 * UUID.
 *
 * Windows: obtaining an interface pointer in process; `causal: false` is `RPC_C_OPT_BINDING_NONCAUSAL`.
 *
 * **Example** (Checked arguments)
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
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums, { validate: true })
 *   return yield* Effect.flip(Call.invoke(sums, "Add", [1.5])) // => BadStubData
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category in the same process
 * @since 0.1.0
 */
export const local = <I extends Interface.Any>(
  server: Server.Server,
  iface: I,
  options?: LocalOptions
): Effect.Effect<Binding<I>, NoInterface, Scope.Scope> =>
  Effect.suspend(() => {
    const object = options?.object === undefined ? undefined : canonicalUuid(options.object)
    if (options?.object !== undefined && object === undefined) {
      throw new TypeError(`Binding to ${iface.name}: object ${JSON.stringify(options.object)} is not a UUID.`)
    }
    const impl = Server.toImpl(server)
    const registration = Server.resolve(impl, iface, object)
    if (registration === undefined) {
      return Effect.fail(
        new NoInterface({
          interface: `${iface.name} ${iface.version.join(".")}`,
          uuid: iface.uuid,
          detail: `the server offers no compatible version of it for ${
            object === undefined ? "no object" : `object ${object}`
          }`
        })
      )
    }
    const channel = new LocalChannel(impl, registration, iface, {
      object,
      causal: options?.causal ?? true,
      validate: options?.validate ?? false
    })
    return Effect.acquireRelease(make(iface, channel, options), () => Effect.sync(() => channel.close()))
  })

// ----------------------------------------------------------------------------
// services
// ----------------------------------------------------------------------------

/**
 * The identifier under which a binding is found in the context.
 *
 * @category services
 * @since 0.1.0
 */
export interface Bound<in out Key extends string, in out I extends Interface.Any> {
  /** The key of the service. */
  readonly key: Key
  /** The type of its binding. */
  readonly binding: Binding<I>
}

/**
 * A binding as a service of the context.
 *
 * @category services
 * @since 0.1.0
 */
export interface Service<in out Key extends string, in out I extends Interface.Any>
  extends Context.Service<Bound<Key, I>, Binding<I>> {
  /** The interface of its bindings. */
  readonly interface: I
  /** Binds to a server in the same process. */
  readonly local: (server: Server.Server, options?: LocalOptions) => Layer.Layer<Bound<Key, I>, NoInterface>
  /** Binds to the server of the context. */
  readonly layer: Layer.Layer<Bound<Key, I>, NoInterface, Server.Server>
}

/**
 * Makes a service for bindings to an interface, for programs that use `Context` and `Layer`.
 *
 * **Example** (A client and its layer)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Layer, Schema } from "effect"
 *
 * const ISums = Interface.make("ISums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const Sums = Binding.Service("app/Sums", ISums)
 *
 * const program = Effect.gen(function*() {
 *   return yield* Call.invoke(yield* Sums, "Add", [1, 2, 3]) // => 6
 * })
 *
 * const manager = Manager.make(ISums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 * const live = Sums.layer.pipe(Layer.provide(Server.layer([manager])))
 *
 * await Effect.runPromise(Effect.provide(program, live))
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export const Service = <const Key extends string, I extends Interface.Any>(key: Key, iface: I): Service<Key, I> => {
  const service = Context.Service<Bound<Key, I>, Binding<I>>(key)
  const fromServer = (server: Server.Server, options?: LocalOptions) =>
    Layer.effect(service, local(server, iface, options))
  return Object.assign(service, {
    interface: iface,
    local: fromServer,
    layer: Layer.unwrap(Effect.map(Server.Server, (server) => fromServer(server)))
  })
}
