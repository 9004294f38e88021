/**
 * Bindings: a client calls through a binding. It names one interface of one server object, in this process ({@link local}) or, over a
 * channel, anywhere.
 *
 * Windows: the binding handle, or the interface pointer.
 *
 * @module
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type { Pipeable } from "effect/Pipeable"
import * as Schema from "effect/Schema"
import * as SchemaParser from "effect/SchemaParser"
import type * as Scope from "effect/Scope"
import type * as Types from "effect/Types"
import type { Caller, Channel, Incoming, Origin, Outcome, Outgoing, Remote, Secured } from "./Channel.ts"
import {
  type Abort,
  abortFromCode,
  abortOf,
  type Interface,
  type Method,
  type Operation,
  type Parameters
} from "./Interface.ts"
import { localCaller } from "./internal/access.ts"
import { badInput, issueIn } from "./internal/badInput.ts"
import { bind, makeBinding } from "./internal/binding.ts"
import { takeThrough } from "./internal/clientCall.ts"
import * as Depth from "./internal/depth.ts"
import { cancelled, errorOf, unavailable, unreadable } from "./internal/failures.ts"
import { flagOption, objectOption } from "./internal/options.ts"
import { Ends, isBytes } from "./internal/pipeEnds.ts"
import { scoped } from "./internal/scope.ts"
import { type FullIncoming, fullOutgoing } from "./internal/seams.ts"
import * as Server from "./Server.ts"
import { BadStubData, NoInterface, RpcFault, RpcTransportError } from "./Status.ts"

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
  /** The channel that carries the calls to the server. */
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
  /** The UUID of the object to call, in upper or lower case. By default no object. */
  readonly object?: string | undefined
  /**
   * How long a cancel waits for the server's answer before the client completes the call itself: 0 (the default) completes it at
   * once, infinity never does.
   */
  readonly cancelTimeout?: Duration.Input | undefined
}

/**
 * Makes a binding over a channel, for transports and hosts.
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
): Effect.Effect<Binding<I>> => bind(iface, channel, options, channel.take === undefined ? undefined : takeThrough)

// ----------------------------------------------------------------------------
// in the same process
// ----------------------------------------------------------------------------

/** A call within one process, as its server sees it. While it waits because calls nest too deeply, its client sees it as well. */
class LocalCall implements FullIncoming, Remote {
  declare readonly channel: LocalChannel
  declare readonly call: Outgoing
  declare input: unknown
  /** The two descriptions of the method, where they differ or are checked. */
  crossing: Crossing | undefined = undefined

  constructor(channel: LocalChannel, call: Outgoing, input: unknown) {
    this.channel = channel
    this.call = call
    this.input = input
  }

  // --- as the server sees it

  get origin(): Origin {
    return this.channel.origin
  }

  get interface(): Interface.Identity {
    return this.channel.interface
  }

  get object(): string | undefined {
    return this.channel.object
  }

  get opnum(): number {
    return this.call.operation.opnum
  }

  get span(): Outgoing["span"] {
    return this.call.span
  }

  get context(): Incoming["context"] {
    const { context } = this.call
    return context === Context.empty() ? undefined : context
  }

  get pipes(): FullIncoming["pipes"] {
    const { operation: { pipes: kinds }, pipes } = fullOutgoing(this.call)
    return kinds === undefined ? undefined : new Ends(kinds, false, pipes!.slots)
  }

  decode(operation: Operation): BadStubData | undefined {
    const { call, channel } = this
    if (operation === call.operation && !channel.validate) return undefined
    if (operation !== call.operation && !samePipes(operation, call.operation)) {
      return badInput("the server describes its pipes in another way")
    }
    const crossing = this.crossing = channel.crossing(call.operation, operation)
    const checked = crossing.in(this.input)
    if (checked._tag === "Failure") return badInput(errorOf(checked.cause) as string)
    this.input = checked.value
    return undefined
  }

  accepted(remote: Remote): void {
    this.call.remote = remote
  }

  reply(outcome: Outcome): BadStubData | undefined {
    const { call, crossing } = this
    if (crossing === undefined) call.reply(outcome)
    else if (outcome._tag === "Failure") call.reply(translate(outcome, crossing))
    else return replyChecked(call, outcome.value, crossing)
    return undefined
  }

  disconnected(): void {
    this.call.reply(Exit.fail(
      new RpcTransportError({ status: 1726, detail: "the binding was closed while the call was in progress" })
    ))
  }

  // --- as the client sees it while it waits to be dispatched

  get dispatched(): boolean {
    return false
  }

  get cancelDisabled(): boolean {
    return false
  }

  cancel(): void {
    if (this.channel.waiting.delete(this)) this.call.reply(Exit.fail(cancelled(true)))
  }

  discard(): void {
    // A cancelled call has left the queue.
  }

  goOn(): void {
    // The call runs in its turn.
  }

  orphan(): void {
    this.channel.waiting.delete(this)
  }
}

interface LocalFields {
  readonly server: Server.Server
  readonly origin: Origin
  readonly interface: Interface.Any
  readonly callObjects: boolean
  readonly object: string | undefined
  readonly causal: boolean
  readonly validate: boolean
}

interface LocalChannel extends LocalFields {}

class LocalChannel implements Channel {
  readonly address = "local"
  readonly security: Secured = { level: "privacy", mutual: true, provider: undefined, headerSigning: false }
  /** The calls that wait to be dispatched, because calls nest too deeply. */
  readonly waiting = new Set<LocalCall>()
  readonly #crossings = new Map<Operation, Crossing>()
  open = true

  constructor(fields: LocalFields) {
    Object.assign(this, fields)
  }

  issue(outgoing: Outgoing, input: unknown): Effect.Effect<void, BadStubData | RpcTransportError> | undefined {
    if (!this.open) return Effect.fail(unavailable("the binding was closed with its scope"))
    const call = new LocalCall(this, outgoing, input)
    if ((this.causal && this.waiting.size > 0) || !Depth.enter()) {
      outgoing.remote = call
      this.waiting.add(call)
      Depth.defer(() => this.release(call))
      return undefined
    }
    try {
      const refusal = Server.accept(this.server, call)
      if (refusal === undefined) return undefined
      // A call that is refused before anybody looked at it was never issued.
      if (refusal._tag === "BadStubData" || refusal._tag === "RpcTransportError") return Effect.fail(refusal)
      outgoing.reply(Exit.fail(refusal))
      return undefined
    } finally {
      Depth.leave()
    }
  }

  toJSON(): { readonly _id: string } {
    return { _id: "callisto/Channel" }
  }

  crossing(ours: Operation, theirs: Operation): Crossing {
    const known = this.#crossings.get(theirs)
    if (known !== undefined) return known
    const checks = this.validate ? makeChecks(ours.method, theirs.method) : unchecked
    const crossing: Crossing = { ours: ours.method, theirs: theirs.method, ...checks }
    this.#crossings.set(theirs, crossing)
    return crossing
  }

  private release(call: LocalCall): void {
    if (!this.waiting.delete(call)) return
    const refusal = this.open ? Server.accept(this.server, call) : unavailable("the binding was closed with its scope")
    if (refusal === undefined) return
    call.call.reply(
      refusal._tag === "BadStubData" ? Exit.fail(new RpcFault({ code: 1783, didNotExecute: true })) : Exit.fail(refusal)
    )
  }
}

// ----------------------------------------------------------------------------
// between two descriptions, and checked
// ----------------------------------------------------------------------------

/** Gives a value as its schema declares it, without other fields, or the reason against it. */
type Check = (value: unknown) => Checked

type Checked = Exit.Exit<unknown, string>

interface Checks {
  readonly in: Check
  /** Checks out parameters on the server's side. */
  readonly out: Check
  /** Checks out parameters on the client's side, where its description is another one. */
  readonly received: Check
}

/** A method as the client and as the server describe it, with the checks between them. */
interface Crossing extends Checks {
  readonly ours: Method.Any
  readonly theirs: Method.Any
}

const accept: Check = Exit.succeed

const unchecked: Checks = { in: accept, out: accept, received: accept }

const andCheck = (checked: Checked, check: Check): Checked =>
  checked._tag === "Success" ? check(checked.value) : checked

const makeCheck = (schema: Parameters): Check => {
  const decode = SchemaParser.decodeUnknownExit(Schema.toType(schema))
  return (value) => {
    try {
      const decoded = decode(value)
      if (decoded._tag === "Success") return decoded as Exit.Success<unknown, never>
      const failure = Cause.squash(decoded.cause)
      return Exit.fail(issueIn(failure) ?? String(failure))
    } catch (defect) {
      return Exit.fail(String(defect))
    }
  }
}

const makeChecks = (ours: Method.Any, theirs: Method.Any): Checks => {
  const checkIn = makeCheck(ours.in)
  if (theirs === ours) return { in: checkIn, out: makeCheck(ours.out), received: accept }
  const checkInThere = makeCheck(theirs.in)
  return {
    in: (value) => andCheck(checkIn(value), checkInThere),
    out: makeCheck(theirs.out),
    received: makeCheck(ours.out)
  }
}

const replyChecked = (call: Outgoing, value: unknown, crossing: Crossing): BadStubData | undefined => {
  const sent = crossing.out(value)
  if (sent._tag === "Success") {
    const received = crossing.received(sent.value)
    call.reply(
      received._tag === "Success"
        ? received as Exit.Success<unknown, never>
        : Exit.fail(unreadable(String(errorOf(received.cause))))
    )
    return undefined
  }
  call.reply(Exit.fail(new RpcFault({ code: 1783 })))
  const { interface: { name }, name: method } = call.operation
  const detail = `The out parameters were refused: ${errorOf(sent.cause)}`
  return new BadStubData({ detail, interface: name, method })
}

const samePipes = ({ pipes: ours = [] }: Operation, { pipes: theirs = [] }: Operation): boolean =>
  ours.length === theirs.length &&
  ours.every(({ element, isIn }, index) =>
    theirs[index]!.isIn === isIn && isBytes(theirs[index]!.element) === isBytes(element)
  )

/** The abort as the client declares it: found by its code, with its fields where the client's error takes them. */
const translate = (outcome: Exit.Failure<unknown, Abort.Error>, { ours, theirs }: Crossing): Outcome => {
  const error = errorOf(outcome.cause) as Abort.Error | undefined
  const code = abortOf(theirs, error)?.code
  if (code === undefined || abortOf(ours, error)?.code === code) return outcome as Outcome
  const { _tag, ...fields } = { ...error }
  // Without the fields that the client's class needs, both sides know the number alone.
  return Exit.fail(abortFromCode(ours, code, fields) ?? new RpcFault({ code }))
}

/**
 * The options of a binding in the same process, besides {@link Options}.
 *
 * @category in the same process
 * @since 0.1.0
 */
export interface LocalOptions extends Options {
  /**
   * Whether the server dispatches the calls of this binding in the order in which they were begun; by default it does.
   */
  readonly causal?: boolean | undefined
  /**
   * Whether arguments and results, which pass by reference, are checked against the schemas; by default they are not.
   */
  readonly validate?: boolean | undefined
  /**
   * The caller that the server sees: another one tries access checks without a network. By default the program itself: no name, not
   * anonymous. The level is `privacy` unless the caller states a lower one.
   */
  readonly caller?: Caller.Input | undefined
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
 * the same major version and at least the same minor version. Dies with a `TypeError` for an option out of its range.
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
    const owner = `Binding to ${iface.name}`
    const object = objectOption(owner, options?.object)
    const causal = flagOption(owner, "causal", options?.causal, true)
    const validate = flagOption(owner, "validate", options?.validate, false)
    const offer = Server.offers(server, iface, { object: object ?? null })
    if (offer === undefined) {
      return Effect.fail(
        new NoInterface({
          interface: `${iface.name} ${iface.version.join(".")}`,
          uuid: iface.uuid,
          detail: `the server has no compatible version${object === undefined ? "" : ` for object ${object}`}`
        })
      )
    }
    const caller = options?.caller === undefined ? localCaller : { level: "privacy" as const, ...options.caller }
    return Effect.flatMap(Server.client(server, { caller, peer: "local" }), (origin) => {
      const channel = new LocalChannel({
        server,
        origin,
        interface: iface,
        callObjects: offer.callObjects,
        object,
        causal,
        validate
      })
      const close = Effect.sync(() => {
        channel.open = false
      })
      return scoped((context) => makeBinding(context, iface, channel, options), () => close)
    })
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
 * const manager = Manager.layer(ISums, Effect.succeed({
 *   Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0))
 * }))
 * const live = Sums.layer.pipe(Layer.provide(Server.layer([ISums])), Layer.provide(manager))
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
