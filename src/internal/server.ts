/**
 * A server: the table of its managers, the calls in progress, and the one way in.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type { Caller, Incoming, Origin, Refusal } from "../Channel.ts"
import { type Interface, isCompatible, type Operation } from "../Interface.ts"
import { BadStubData, RpcFault, RpcTransportError } from "../Status.ts"
import type { Entry, Handles } from "./handleTable.ts"
import { contextMismatch } from "./failures.ts"
import { PipeInspectable } from "./inspectable.ts"
import { isHandOff, type ManagerImpl, runnable } from "./manager.ts"
import { CurrentCall, type Dispatch, type Host, nowOf, ServerCallImpl } from "./serverCall.ts"
import { refused, type WatchedServer, type Watching, watching, watchServer } from "./watch.ts"

// ----------------------------------------------------------------------------
// managers
// ----------------------------------------------------------------------------

/** A manager as one server runs it. */
export interface Registration {
  readonly manager: ManagerImpl
  readonly dispatches: ReadonlyMap<number, Dispatch>
  /** The calls of a manager that may go before its server does. */
  readonly calls: Set<ServerCallImpl> | undefined
}

/** The managers of one version of an interface, by the object that they serve. */
interface Version {
  readonly interface: Interface.Identity
  readonly objects: Map<string | undefined, Registration>
}

/** The managers of a server, found by interface and object in constant time. */
class Managers {
  /** In the order in which they were added. */
  readonly all: Set<Registration> = new Set()
  /** By UUID: the versions, highest minor version first. */
  private readonly versions = new Map<string, Array<Version>>()

  add(registration: Registration): void {
    const { interface: iface, object } = registration.manager
    const { name, uuid, version: [major, minor] } = iface
    const versions = this.versions.get(uuid) ?? []
    let version = versions.find(({ interface: { version } }) => version[0] === major && version[1] === minor)
    if (version?.objects.has(object)) {
      throw new TypeError(
        `Server: two managers serve ${name} ${major}.${minor} for ${object ?? "all objects"}. Leave one out.`
      )
    }
    if (version === undefined) {
      version = { interface: iface, objects: new Map() }
      versions.push(version)
      versions.sort((a, b) => b.interface.version[1] - a.interface.version[1])
      this.versions.set(uuid, versions)
    }
    version.objects.set(object, registration)
    this.all.add(registration)
  }

  remove(registration: Registration): void {
    const { interface: { uuid }, object } = registration.manager
    this.all.delete(registration)
    const versions = this.versions.get(uuid) ?? []
    for (const [index, { objects }] of versions.entries()) {
      if (objects.get(object) !== registration) continue
      objects.delete(object)
      if (objects.size === 0) versions.splice(index, 1)
      break
    }
    if (versions.length === 0) this.versions.delete(uuid)
  }

  /** The manager of an object, else the one for all; of several compatible versions the highest. */
  resolve(wanted: Interface.Identity, object: string | undefined): Registration | undefined {
    const versions = this.versions.get(wanted.uuid)
    if (versions === undefined) return undefined
    if (object !== undefined) {
      for (const version of versions) {
        const found = version.objects.get(object)
        if (found !== undefined && isCompatible(version.interface, wanted)) return found
      }
    }
    for (const version of versions) {
      const found = version.objects.get(undefined)
      if (found !== undefined && isCompatible(version.interface, wanted)) return found
    }
    return undefined
  }

  /** A manager of the highest compatible version, for whichever object. */
  any(wanted: Interface.Identity): Registration | undefined {
    const version = this.versions.get(wanted.uuid)?.find((version) => isCompatible(version.interface, wanted))
    for (const registration of version?.objects.values() ?? []) return registration
    return undefined
  }
}

// ----------------------------------------------------------------------------
// lists of calls
// ----------------------------------------------------------------------------

/** Counts the calls that several clients have in progress together. */
export interface Tally {
  count: number
  readonly maximum: number
}

/** One client of a server: the origin of its calls and the owner of its context handles. */
export class ClientImpl extends PipeInspectable implements Origin {
  readonly caller: Caller
  readonly peer: string
  readonly server: ServerImpl
  readonly handles: Handles
  readonly maximumCalls: number
  readonly total: Tally | undefined
  isOpen = true
  count = 0
  // Its calls in progress, oldest first.
  first: ServerCallImpl | undefined = undefined
  last: ServerCallImpl | undefined = undefined

  constructor(
    server: ServerImpl,
    fields: Pick<ClientImpl, "caller" | "peer" | "handles"> & Partial<Pick<ClientImpl, "maximumCalls" | "total">>
  ) {
    super()
    this.server = server
    this.caller = fields.caller
    this.peer = fields.peer
    this.handles = fields.handles
    this.maximumCalls = fields.maximumCalls ?? Infinity
    this.total = fields.total
  }

  /** Whether it may have one more call in progress. */
  get hasRoom(): boolean {
    return this.count < this.maximumCalls && (this.total === undefined || this.total.count < this.total.maximum)
  }

  add(call: ServerCallImpl): void {
    const { last } = this
    if (last === undefined) this.first = call
    else {
      last.nextOfClient = call
      call.previousOfClient = last
    }
    this.last = call
    this.count++
    if (this.total !== undefined) this.total.count++
  }

  remove(call: ServerCallImpl): void {
    const { nextOfClient: next, previousOfClient: previous } = call
    if (previous === undefined) this.first = next
    else previous.nextOfClient = next
    if (next === undefined) this.last = previous
    else next.previousOfClient = previous
    call.previousOfClient = call.nextOfClient = undefined
    this.count--
    if (this.total !== undefined) this.total.count--
  }

  /** The client has gone: its calls end. The newest first, so that ending one never starts a waiting call. */
  end(): void {
    this.isOpen = false
    const calls: Array<ServerCallImpl> = []
    for (let call = this.last; call !== undefined; call = call.previousOfClient) calls.push(call)
    for (const call of calls) {
      const { incoming } = call
      call.gone("Disconnected")
      incoming?.disconnected?.()
    }
  }

  toJSON(): { readonly _id: string; readonly caller: Caller; readonly peer: string } {
    return { _id: "callisto/Client", caller: this.caller, peer: this.peer }
  }
}

// ----------------------------------------------------------------------------
// the server
// ----------------------------------------------------------------------------

export interface ServerOptions {
  readonly grace: number
  readonly maximumAge: number
  readonly maximumCalls: number
}

/** A routine runs in the scope and the span of its call, and never in those in which its server was made. */
const withoutCall: (context: Context.Context<never>) => Context.Context<never> = Context.omit(
  Scope.Scope,
  Tracer.ParentSpan,
  CurrentCall
) as never

const unavailable = (detail: string): RpcTransportError => new RpcTransportError({ status: 1722, detail })

export class ServerImpl extends PipeInspectable implements Host, WatchedServer {
  readonly "~callisto/Server" = "~callisto/Server"
  readonly clock: Clock.Clock
  readonly watching: Watching | undefined
  readonly tracer: Tracer.Tracer | undefined
  readonly managers: Managers = new Managers()
  readonly context: Context.Context<never>
  /** The scope of what outlives its call. It closes behind the period of grace. */
  readonly scope: Scope.Closeable = Scope.makeUnsafe()
  readonly grace: number
  readonly maximumCalls: number
  readonly maximumAge: number
  readonly watches: boolean
  accepting = true
  // The calls in progress, oldest first; and those that have ended while their routine still runs.
  count = 0
  first: ServerCallImpl | undefined = undefined
  last: ServerCallImpl | undefined = undefined
  /** Open scopes of calls, and replies that are on the way. */
  private held = 0
  readonly closings: Map<ServerCallImpl, Fiber.Fiber<void>> = new Map()
  readonly handles: Set<Entry> = new Set()
  private readonly waits = new Set<{ readonly isQuiet: () => boolean; readonly deferred: Deferred.Deferred<void> }>()
  private ageWatch: Fiber.Fiber<void> | undefined = undefined

  constructor(context: Context.Context<never>, options: ServerOptions) {
    super()
    this.context = Context.add(withoutCall(context), Scope.Scope, this.scope)
    this.clock = Context.get(context, Clock.Clock)
    this.watching = watching(context, "server")
    // By the name of its key: the key itself brings a default, Effect's own tracer, into every program.
    this.tracer = context.mapUnsafe.get(Tracer.TracerKey)
    this.grace = options.grace
    this.maximumCalls = options.maximumCalls
    this.maximumAge = options.maximumAge
    this.watches = this.watching !== undefined || this.tracer !== undefined
  }

  toJSON(): { readonly _id: string; readonly accepting: boolean; readonly calls: number } {
    return { _id: "callisto/Server", accepting: this.accepting, calls: this.count }
  }

  // --- managers

  /** Serves a manager. With `services` it may go before the server does. */
  register(manager: ManagerImpl, services?: Context.Context<never>): Registration {
    const calls = services === undefined ? undefined : new Set<ServerCallImpl>()
    const context = [services, manager.services].reduce<Context.Context<never>>(
      (context, services) => services === undefined ? context : Context.merge(context, withoutCall(services)),
      this.context
    )
    const dispatches = new Map<number, Dispatch>()
    for (const operation of Object.values<Operation>(manager.interface.operations)) {
      dispatches.set(operation.opnum, this.dispatch(manager, operation, context, calls))
    }
    const registration: Registration = { manager, dispatches, calls }
    this.managers.add(registration)
    return registration
  }

  private dispatch(
    manager: ManagerImpl,
    operation: Operation,
    context: Context.Context<never>,
    calls: Set<ServerCallImpl> | undefined
  ): Dispatch {
    const routine = manager.routines[operation.name]!
    const run = runnable(routine)
    const { middleware } = manager
    return {
      host: this,
      operation,
      routine: middleware === undefined
        ? run
        : (input, call) => middleware(Effect.suspend(() => run(input, call)), call),
      handOff: isHandOff(routine),
      cancellation: manager.cancellation(operation.name),
      context: Context.add(context, References.CurrentLogAnnotations, {
        ...Context.get(context, References.CurrentLogAnnotations),
        "rpc.service": operation.interface.name,
        "rpc.method": operation.name
      }),
      calls
    }
  }

  /** Serves a manager no more: its calls have the period of grace, then they end with 1726. */
  unregister(registration: Registration): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.managers.remove(registration)
      const { calls } = registration
      if (calls === undefined) return Effect.void
      // A call that removes its own manager still replies.
      return this.drain(
        (self) => [...calls].filter((call) => call !== self),
        (self) => calls.size === (self !== undefined && calls.has(self) ? 1 : 0)
      )
    })
  }

  // --- the one way in

  /** Takes a call in, or gives the reason why not. */
  accept(incoming: Incoming): Refusal | undefined {
    const client = incoming.origin as ClientImpl
    if (client.server !== this) {
      throw new TypeError("Server.accept: origin is of another server. Make it with Server.client.")
    }
    const registration = this.managers.resolve(incoming.interface, incoming.object)
    if (registration === undefined) {
      const code = this.managers.any(incoming.interface) === undefined ? 1717 : 1732
      return new RpcFault({ code, didNotExecute: true })
    }
    const dispatch = registration.dispatches.get(incoming.opnum)
    if (dispatch === undefined) return new RpcFault({ code: 1745, didNotExecute: true })
    const { operation } = dispatch
    if (!this.accepting) return this.refuse(incoming, dispatch, unavailable("the server was shut down"))
    if (!client.isOpen) return this.refuse(incoming, dispatch, unavailable("the client has gone"))
    if (this.count >= this.maximumCalls || !client.hasRoom) {
      return this.refuse(incoming, dispatch, new RpcFault({ code: 1723, didNotExecute: true }))
    }
    const problem = incoming.decode?.(operation)
    if (problem !== undefined) return this.refuse(incoming, dispatch, problem)

    const call = new ServerCallImpl(dispatch, incoming, client)
    const { input } = incoming
    if (operation.handlesIn !== undefined && !call.claimHandles(input, operation.handlesIn)) {
      return this.refuse(incoming, dispatch, contextMismatch(true))
    }
    if (this.watches) this.watch(call, incoming.span)
    this.add(call)
    incoming.accepted?.(call)
    if (call.isOpen && call.dispatched) call.start(input)
    // Reading the clock costs as much as the rest of a short call: only those that go on need it.
    if (!call.isOpen) return undefined
    call.startedAt = nowOf(this.clock)
    if (this.maximumAge !== Infinity && this.ageWatch === undefined) this.watchAge()
    return undefined
  }

  /** A call that is not taken in. The server's log has the reason for arguments that it can't decode. */
  private refuse(incoming: Incoming, { context, operation }: Dispatch, refusal: Refusal): Refusal {
    refused(this, operation, incoming.span, incoming.origin, numberOf(refusal))
    if (refusal instanceof BadStubData) {
      const warning = Effect.logWarning(`Refused a request from ${incoming.origin.peer}: ${refusal.message}`)
      Effect.runForkWith(context)(warning)
    }
    return refusal
  }

  private watch(call: ServerCallImpl, parent: Tracer.AnySpan | undefined): void {
    call.watch = watchServer(this, call.dispatch.operation, parent, call.origin, () => call.cancel())
  }

  // --- the calls in progress

  private add(call: ServerCallImpl): void {
    const { last } = this
    if (last === undefined) this.first = call
    else {
      last.next = call
      call.previous = last
    }
    this.last = call
    this.count++
    call.origin.add(call)
    call.dispatch.calls?.add(call)
  }

  private lists(call: ServerCallImpl): boolean {
    return call.previous !== undefined || this.first === call
  }

  remove(call: ServerCallImpl): void {
    const { next, previous } = call
    if (!this.lists(call)) return
    if (previous === undefined) this.first = next
    else previous.next = next
    if (next === undefined) this.last = previous
    else next.previous = previous
    call.previous = call.next = undefined
    this.count--
    call.origin.remove(call)
    this.look()
  }

  hold(call: ServerCallImpl): void {
    call.held++
    this.held++
  }

  letGo(call: ServerCallImpl): void {
    call.held--
    this.held--
    this.look()
  }

  over(call: ServerCallImpl): void {
    if (call.dispatch.calls?.delete(call)) this.look()
  }

  private look(): void {
    for (const { deferred, isQuiet } of this.waits) if (isQuiet()) Deferred.doneUnsafe(deferred, Exit.void)
  }

  /** The calls in the list, as they are now: the list may change while they are looked at. */
  snapshot(): Array<ServerCallImpl> {
    const calls: Array<ServerCallImpl> = []
    for (let call = this.first; call !== undefined; call = call.next) calls.push(call)
    return calls
  }

  /** Ends what is too old. Calls are listed oldest first, so one sleeper for the first is enough. */
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
      for (const call of this.snapshot().reverse()) {
        if (call.isOpen && call.age() >= this.maximumAge) call.stop(new RpcFault({ code: 1460 }))
      }
      return watch
    })
    // It starts with a sleep, so it never ends before it is known.
    this.ageWatch = Effect.runForkWith(this.context)(Effect.andThen(Effect.yieldNow, watch))
  }

  // --- its end

  /** The call of this server in whose routine a fiber runs. */
  private callOf(fiber: Fiber.Fiber<unknown, unknown>): ServerCallImpl | undefined {
    const current = fiber.getRef(CurrentCall)
    return current?.dispatch.host === this ? current : undefined
  }

  /** Gives calls the period of grace, then ends the others. A call never waits for itself. */
  private drain(
    calls: (self: ServerCallImpl | undefined) => Array<ServerCallImpl>,
    isQuiet: (self: ServerCallImpl | undefined) => boolean
  ): Effect.Effect<void> {
    return Effect.withFiber((fiber) => {
      const self = this.callOf(fiber)
      if (isQuiet(self) && calls(self).length === 0) return Effect.void
      const wait = { isQuiet: () => isQuiet(self), deferred: Deferred.makeUnsafe<void>() }
      this.waits.add(wait)
      this.look()
      return Deferred.await(wait.deferred).pipe(
        Effect.timeoutOption(this.grace),
        Effect.ensuring(Effect.sync(() => this.waits.delete(wait))),
        Effect.andThen(Effect.suspend(() => {
          const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
          // The newest first, so that ending one never starts a waiting call.
          for (const call of calls(self).reverse()) {
            call.stop(call.dispatched ? lost() : neverDispatched())
            if (call !== self && typeof call.fiber === "object") fibers.push(call.fiber)
          }
          return Fiber.awaitAll(fibers)
        })),
        Effect.andThen(
          Effect.suspend(() =>
            Fiber.awaitAll([...this.closings].flatMap(([call, closing]) => call === self ? [] : closing))
          )
        ),
        Effect.asVoid
      )
    })
  }

  private readonly runDownHandles: Effect.Effect<void> = Effect.withFiber((fiber) => {
    // Their finalizers wait for no call that waits for them.
    this.callOf(fiber)?.holding?.release()
    const handles = [...this.handles]
    for (const handle of handles) handle.lose()
    return Effect.forEach(handles, ({ gone }) => Deferred.await(gone), { discard: true })
  })

  readonly shutdown: Effect.Effect<void> = Effect.suspend(() => {
    this.accepting = false
    return this.drain(
      () => this.snapshot(),
      (self) => this.count === (self !== undefined && this.lists(self) ? 1 : 0) && this.held === (self?.held ?? 0)
    )
  }).pipe(
    Effect.andThen(Effect.suspend(() => this.ageWatch === undefined ? Effect.void : Fiber.interrupt(this.ageWatch))),
    Effect.andThen(this.runDownHandles),
    Effect.andThen(Effect.suspend(() => Scope.close(this.scope, Exit.void))),
    (shutdown) => Effect.suspend(() => Effect.provideContext(shutdown, this.context))
  )
}

const numberOf = (refusal: Refusal): number => "code" in refusal ? refusal.code : refusal.codes.rpcStatus!.number

const lost = (): RpcTransportError =>
  new RpcTransportError({ status: 1726, detail: "the server was shut down while the call was in progress" })

const neverDispatched = (): RpcTransportError => unavailable("the server was shut down before it dispatched the call")
