/**
 * A server: the table of its managers, the calls in progress, and the one way in.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type { AuthenticationLevel, Caller, Incoming, Origin, Refusal } from "../Channel.ts"
import { type Interface, isCompatible, type Operation } from "../Interface.ts"
import { BadStubData, RpcFault, RpcTransportError } from "../Status.ts"
import { unavailable } from "./failures.ts"
import type { Entry, Handles } from "./handleTable.ts"
import { PipeInspectable } from "./inspectable.ts"
import { type ManagerImpl, runOf } from "./manager.ts"
import { fullIncoming, fullOperation } from "./seams.ts"
import { CurrentCall, type Dispatch, type Host, ServerCallImpl } from "./serverCall.ts"
import { asEffect, ask, below, type Guard, unguarded } from "./access.ts"
import { nowOf } from "./clock.ts"
import { refuseArgument } from "./named.ts"
import { refused, type Watched, type Watching, watching, watchServer } from "./watch.ts"

// ----------------------------------------------------------------------------
// managers
// ----------------------------------------------------------------------------

/** A manager as one server runs it. */
export interface Registration {
  readonly manager: ManagerImpl
  /** The routine of each method, by its number. */
  readonly dispatches: { readonly [opnum: number]: Dispatch | undefined }
  /** The calls in progress, where the manager may go before its server does. */
  readonly calls: Set<ServerCallImpl> | undefined
}

/** The managers of one version of an interface, by the object that they serve. */
interface Version {
  readonly interface: Interface.Identity
  readonly objects: Map<string | undefined, Registration>
}

/** The managers of a server by the UUID of their interface, the highest minor version first. */
export type Managers = Map<string, Array<Version>>

const find = (
  versions: ReadonlyArray<Version>,
  wanted: Interface.Identity,
  object: string | undefined
): Registration | undefined => {
  for (const { interface: offered, objects } of versions) {
    const found = objects.get(object)
    if (found !== undefined && isCompatible(offered, wanted)) return found
  }
  return undefined
}

/** The manager of an object, else the one for all; of several compatible versions the highest. */
export const resolve = (
  managers: Managers,
  wanted: Interface.Identity,
  object: string | undefined
): Registration | undefined => {
  const versions = managers.get(wanted.uuid)
  return versions &&
    ((object === undefined ? undefined : find(versions, wanted, object)) ?? find(versions, wanted, undefined))
}

/** A manager of the highest compatible version, for whichever object. */
export const resolveAny = (managers: Managers, wanted: Interface.Identity): Registration | undefined =>
  managers.get(wanted.uuid)?.find((version) => isCompatible(version.interface, wanted))?.objects.values().next().value

// ----------------------------------------------------------------------------
// lists of calls
// ----------------------------------------------------------------------------

export interface ClientFields extends Origin {
  /** Where several clients share their context handles. */
  readonly handles?: Handles | undefined
  /** The least level for managers that name none; by default `none`. */
  readonly usualLevel?: AuthenticationLevel | undefined
}

/** One client of a server: the origin of its calls and the owner of its context handles. */
export class ClientImpl extends PipeInspectable implements Origin {
  declare readonly caller: Caller
  declare readonly peer: string
  declare readonly server: ServerImpl
  declare handles: Handles | undefined
  declare readonly usualLevel: AuthenticationLevel
  /** The last of the access checks that take time, by the rules of their manager. */
  declare checks: Map<Guard, Fiber.Fiber<boolean, unknown>> | undefined
  isOpen = true
  count = 0
  // The manager that the client called last. It is looked up again when a manager comes or goes.
  private known: Registration | undefined = undefined
  private knownInterface: Interface.Identity | undefined = undefined
  private knownObject: string | undefined = undefined
  private knownChanges = -1
  // Its calls in progress, oldest first.
  first: ServerCallImpl | undefined = undefined
  last: ServerCallImpl | undefined = undefined

  constructor(server: ServerImpl, { caller, handles, peer, usualLevel = "none" }: ClientFields) {
    super()
    this.server = server
    this.caller = caller
    this.peer = peer
    this.handles = handles
    this.usualLevel = usualLevel
    server.clients.add(this)
  }

  /** The manager that serves an object of an interface. */
  resolve(wanted: Interface.Identity, object: string | undefined): Registration | undefined {
    const { changes, managers } = this.server
    if (this.knownChanges !== changes || this.knownInterface !== wanted || this.knownObject !== object) {
      this.known = resolve(managers, wanted, object)
      this.knownInterface = wanted
      this.knownObject = object
      this.knownChanges = changes
    }
    return this.known
  }

  /** Whether it may have one more call in progress. */
  get hasRoom(): boolean {
    return this.isOpen
  }

  add(call: ServerCallImpl): void {
    const { last } = this
    if (last === undefined) this.first = call
    else {
      last.next = call
      call.previous = last
    }
    this.last = call
    call.isListed = true
    this.count++
  }

  remove(call: ServerCallImpl): void {
    const { next, previous } = call
    if (previous === undefined) this.first = next
    else previous.next = next
    if (next === undefined) this.last = previous
    else next.previous = previous
    call.previous = call.next = undefined
    call.isListed = false
    this.count--
    if (!this.isOpen && this.count === 0) this.server.clients.delete(this)
  }

  /** The client has gone: its calls end. The newest first, so that ending one never starts a waiting call. */
  end(): void {
    this.isOpen = false
    if (this.count === 0) this.server.clients.delete(this)
    const calls: Array<ServerCallImpl> = []
    for (let call = this.last; call !== undefined; call = call.previous) calls.push(call)
    for (const call of calls) {
      const { incoming } = call
      call.gone("Disconnected")
      try {
        incoming?.disconnected?.()
      } catch (defect) {
        call.log("The host could not tell that the client has gone", Cause.die(defect))
      }
    }
  }

  toJSON(): { readonly _id: string; readonly caller: Pick<Caller, "name" | "level">; readonly peer: string } {
    const { caller: { level, name }, peer } = this
    return { _id: "callisto/Client", caller: { name, level }, peer }
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

const checkFailed = "its access check says no"

const notExecuted = (code: number): RpcFault => new RpcFault({ code, didNotExecute: true })

export class ServerImpl extends PipeInspectable implements Host, Watched {
  readonly "~callisto/Server" = "~callisto/Server"
  declare readonly clock: Clock.Clock
  declare readonly watching: Watching | undefined
  declare readonly tracer: Tracer.Tracer | undefined
  readonly managers: Managers = new Map()
  /** Counts the managers that came and went. */
  changes = 0
  /** In the order in which they were added. */
  readonly registrations: Set<Registration> = new Set()
  declare readonly context: Context.Context<never>
  /** The scope of work that outlives its call. It closes at the end of the shutdown. */
  readonly scope: Scope.Closeable = Scope.makeUnsafe()
  declare readonly grace: number
  declare readonly maximumCalls: number
  declare readonly maximumAge: number
  declare readonly watches: boolean
  accepting = true
  readonly clients: Set<ClientImpl> = new Set()
  /** The number of calls in progress, ended calls whose routine still runs among them. */
  count = 0
  private order = 0
  /** The calls in progress, oldest first, where they have a maximum age. */
  declare private readonly aging: Set<ServerCallImpl> | undefined
  held = 0
  readonly endings: Map<Fiber.Fiber<unknown, unknown>, ServerCallImpl> = new Map()
  readonly handles: Set<Entry> = new Set()
  /** Told when the server ends. */
  readonly endpoints: Set<() => void> = new Set()
  private graceEnds = -Infinity
  /** Told whenever something has ended that a shutdown may wait for. */
  private readonly waits = new Set<() => void>()
  private ageWatch: Fiber.Fiber<void> | undefined = undefined

  constructor(context: Context.Context<never>, options: ServerOptions) {
    super()
    this.context = Context.add(withoutCall(context), Scope.Scope, this.scope)
    this.clock = Context.get(context, Clock.Clock)
    this.watching = watching(context, "server")
    // Looked up by the name of its key: the key itself would bring its default, Effect's own tracer, into every program.
    this.tracer = context.mapUnsafe.get(Tracer.TracerKey)
    this.grace = options.grace
    this.maximumCalls = options.maximumCalls
    this.maximumAge = options.maximumAge
    this.aging = options.maximumAge === Infinity ? undefined : new Set()
    this.watches = this.watching !== undefined || this.tracer !== undefined
  }

  toJSON(): { readonly _id: string; readonly accepting: boolean; readonly calls: number } {
    return { _id: "callisto/Server", accepting: this.accepting, calls: this.count }
  }

  // --- managers

  /** Serves a manager. One that may go before the server does has a context and a set of calls of its own. */
  register(
    manager: ManagerImpl,
    context: Context.Context<never> = this.context,
    calls?: Set<ServerCallImpl>
  ): Registration {
    const { interface: { name, operations, uuid, version: [major, minor] }, object, services } = manager
    if (services !== undefined) context = Context.merge(context, withoutCall(services))
    const dispatches: { [opnum: number]: Dispatch } = {}
    for (const operation of Object.values<Operation>(operations)) {
      dispatches[operation.opnum] = this.dispatch(manager, operation, context, calls)
    }
    const registration: Registration = { manager, dispatches, calls }
    const versions = this.managers.get(uuid) ?? []
    let version = versions.find(({ interface: { version } }) => version[0] === major && version[1] === minor)
    if (version?.objects.has(object)) {
      refuseArgument(
        "Server",
        `two managers serve ${name} ${major}.${minor} for ${object ?? "all objects"}. Leave one out`
      )
    }
    if (version === undefined) {
      version = { interface: manager.interface, objects: new Map() }
      versions.push(version)
      versions.sort((a, b) => b.interface.version[1] - a.interface.version[1])
      this.managers.set(uuid, versions)
    }
    version.objects.set(object, registration)
    this.registrations.add(registration)
    this.changes++
    return registration
  }

  private dispatch(
    manager: ManagerImpl,
    operation: Operation,
    context: Context.Context<never>,
    calls: Set<ServerCallImpl> | undefined
  ): Dispatch {
    const routine = manager.routines[operation.name]!
    const run = runOf(routine)!
    const { middleware } = manager
    return {
      host: this,
      operation: fullOperation(operation),
      routine: middleware === undefined
        ? run
        : (input, call) => middleware(Effect.suspend(() => run(input, call)), call),
      handOff: typeof routine === "object" ? routine.returned : undefined,
      cancellation: manager.cancellation(operation.name),
      guard: manager.guard,
      context: Context.add(context, References.CurrentLogAnnotations, {
        ...Context.get(context, References.CurrentLogAnnotations),
        "rpc.service": operation.interface.name,
        "rpc.method": operation.name
      }),
      calls
    }
  }

  // --- the one way in

  /** Takes a call in, or gives the reason why not. */
  accept(incoming: Incoming): Refusal | undefined {
    const client = incoming.origin as ClientImpl
    const dispatch = client.server === this
      ? client.resolve(incoming.interface, incoming.object)?.dispatches[incoming.opnum]
      : undefined
    if (dispatch === undefined || !this.accepting || this.count >= this.maximumCalls || !client.hasRoom) {
      return this.#refuseEarly(incoming, client, dispatch)
    }
    const { operation } = dispatch
    if (dispatch.guard !== undefined || client.usualLevel !== "none") {
      const answer = this.#check(incoming, client, dispatch)
      if (answer !== true) return answer
    }
    const problem = incoming.decode?.(operation)
    if (problem !== undefined) return this.refuse(incoming, dispatch, problem)
    // The host may have closed the client while it decoded.
    if (!client.isOpen || !this.accepting) return this.#refuseEarly(incoming, client, dispatch)

    const call = new ServerCallImpl(dispatch, incoming, client, ++this.order)
    const { input } = incoming
    const mismatch = operation.handlesIn && operation.rules!.claim(call, input)
    if (mismatch !== undefined) return this.refuse(incoming, dispatch, mismatch)
    this.#takeIn(call, incoming, input)
    if (call.isOpen && call.dispatched) call.start(input)
    if (call.isOpen) this.goesOn(call)
    return undefined
  }

  #takeIn(call: ServerCallImpl, incoming: Incoming, input: unknown): void {
    this.add(call)
    try {
      if (this.watches) this.watch(call, incoming.span, input)
      incoming.accepted?.(call)
    } catch (defect) {
      call.gone("Disconnected")
      throw defect
    }
    call.watch?.issued()
  }

  // --- who may call

  /** Gives `true` for a call that may be taken in now, `undefined` for one whose access check takes time, and else the refusal. */
  #check(incoming: Incoming, client: ClientImpl, dispatch: Dispatch): true | Refusal | undefined {
    const { caller } = client
    const { guard = unguarded, operation } = dispatch
    const problem = below(guard, client.usualLevel, caller)
    if (problem !== undefined) {
      fullIncoming(incoming).belowLevel?.()
      return this.#deny(incoming, dispatch, problem)
    }
    const checks = client.checks ??= new Map()
    const before = checks.get(guard)
    const check = () => ask(guard, { caller, method: operation.name, object: incoming.object })
    // Only after the one before, even where the client cancels: else a later call would overtake.
    const answer = before === undefined
      ? check()
      : Effect.andThen(Effect.uninterruptible(Fiber.await(before)), Effect.suspend(() => asEffect(check())))
    if (typeof answer === "boolean") return answer || this.#deny(incoming, dispatch, checkFailed)
    const call = new ServerCallImpl(dispatch, incoming, client, ++this.order)
    const checking = call.checking = Effect.runForkWith(dispatch.context)(answer)
    checks.set(guard, checking)
    // Its arguments are decoded once it is admitted.
    this.#takeIn(call, incoming, undefined)
    this.goesOn(call)
    checking.addObserver((exit) => {
      if (checks.get(guard) === checking) checks.delete(guard)
      this.#admit(call, exit)
    })
    return undefined
  }

  /** The access check of a call has ended: the call is refused, or goes the way of every call. */
  #admit(call: ServerCallImpl, answer: Exit.Exit<boolean, unknown>): void {
    call.checking = undefined
    const { dispatch, incoming, origin } = call
    if (incoming === undefined) return
    if (answer._tag === "Failure" || answer.value !== true) {
      if (answer._tag === "Failure") call.log("The access check of the manager failed", answer.cause)
      this.#warn(dispatch, origin, checkFailed)
      return void call.end(Exit.fail(new RpcFault({ code: 5 })))
    }
    const { operation } = dispatch
    const problem = incoming.decode?.(operation)
    if (problem !== undefined) {
      this.#warn(dispatch, origin, problem.detail)
      return void call.end(Exit.fail(notExecuted(1783)))
    }
    const { pipes } = fullIncoming(incoming)
    if (pipes !== undefined) call.pipes = pipes
    const { input } = incoming
    if (call.watch !== undefined) call.watch.input = input
    const mismatch = operation.handlesIn && operation.rules!.claim(call, input)
    if (mismatch !== undefined) call.end(Exit.fail(mismatch))
    else if (call.isOpen && call.dispatched) call.start(input)
  }

  #deny(incoming: Incoming, dispatch: Dispatch, problem: string): Refusal {
    this.#warn(dispatch, incoming.origin, problem)
    return this.refuse(incoming, dispatch, new RpcFault({ code: 5 }))
  }

  /** Tells the operators of a request that was refused. */
  #warn({ context, operation }: Dispatch, { caller: { name }, peer }: Origin, problem: string): void {
    const from = name === undefined ? peer : `${name} at ${peer}`
    const warning = `Refused a request of ${operation.interface.name}.${operation.name} from ${from}: ${problem}`
    Effect.runForkWith(context)(Effect.logWarning(warning))
  }

  /** Notes when a call began that goes on. A short call would spend as much on the clock as on the rest. */
  private goesOn(call: ServerCallImpl): void {
    call.startedAt = nowOf(this.clock)
    if (this.aging !== undefined && this.ageWatch === undefined) this.#watchAge(this.aging)
  }

  /** Finds the first reason, in the documented order, against taking a call in. */
  #refuseEarly(incoming: Incoming, client: ClientImpl, dispatch: Dispatch | undefined): Refusal {
    if (client.server !== this) {
      refuseArgument("Server.accept", "origin is of another server. Make it with Server.client")
    }
    if (dispatch === undefined) {
      const { interface: wanted, object } = incoming
      return notExecuted(client.resolve(wanted, object) ? 1745 : resolveAny(this.managers, wanted) ? 1732 : 1717)
    }
    const refusal = !this.accepting
      ? unavailable("the server was shut down")
      : !client.isOpen
      ? unavailable("the client has gone")
      : notExecuted(1723)
    return this.refuse(incoming, dispatch, refusal)
  }

  /** Tells observers of a call that is not taken in, and the log of arguments that can't be decoded. */
  private refuse(incoming: Incoming, dispatch: Dispatch, refusal: Refusal): Refusal {
    const { operation } = dispatch
    if (this.watches) refused(this, operation, incoming.span, incoming.origin, refusal.codes.rpcStatus!.number)
    if (refusal instanceof BadStubData) this.#warn(dispatch, incoming.origin, refusal.detail)
    return refusal
  }

  private watch(call: ServerCallImpl, parent: Tracer.AnySpan | undefined, input: unknown): void {
    call.watch = watchServer(this, call.dispatch.operation, parent, call.origin, input, () => call.cancel())
    call.watch.begin()
  }

  // --- the calls in progress

  private add(call: ServerCallImpl): void {
    this.count++
    call.origin.add(call)
    this.aging?.add(call)
    call.dispatch.calls?.add(call)
  }

  remove(call: ServerCallImpl): void {
    if (!call.isListed) return
    this.count--
    call.origin.remove(call)
    this.aging?.delete(call)
  }

  over(call: ServerCallImpl): void {
    call.dispatch.calls?.delete(call)
    if (this.waits.size > 0) this.look()
  }

  look(): void {
    for (const wait of this.waits) wait()
  }

  /** The rest of the period of grace, perhaps negative. The first that asks starts it; a later end starts another one. */
  graceLeft(): number {
    const now = nowOf(this.clock)
    if (!(now <= this.graceEnds + this.grace)) this.graceEnds = now + this.grace
    return this.graceEnds - now
  }

  /** Waits until it is quiet, at most for the period of grace. */
  #awaitQuiet(isQuiet: () => boolean, grace = this.grace): Effect.Effect<void> {
    return Effect.callback((resume) => {
      let timer: Fiber.Fiber<void> | undefined
      const wait = () => {
        if (isQuiet()) done()
      }
      const done = () => {
        this.waits.delete(wait)
        timer?.interruptUnsafe()
        resume(Effect.void)
      }
      this.waits.add(wait)
      if (grace < Infinity) {
        timer = Effect.runForkWith(this.context)(Effect.flatMap(Effect.sleep(grace), () => Effect.sync(done)))
      }
      wait()
      return Effect.sync(done)
    })
  }

  /** The calls as they are now, oldest first. */
  snapshot(): Array<ServerCallImpl> {
    const calls: Array<ServerCallImpl> = []
    for (const { first } of this.clients) {
      for (let call = first; call !== undefined; call = call.next) calls.push(call)
    }
    return calls.sort((a, b) => a.order - b.order)
  }

  /** Ends calls that are too old. Calls are listed oldest first, so one sleeper for the first is enough. */
  #watchAge(aging: ReadonlySet<ServerCallImpl>): void {
    const watch: Effect.Effect<void> = Effect.suspend(() => {
      let oldest: ServerCallImpl | undefined
      for (const call of aging) {
        if (call.isOpen) {
          oldest = call
          break
        }
      }
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
    // The fiber yields first, so it never ends before this field is set.
    this.ageWatch = Effect.runForkWith(this.context)(Effect.flatMap(Effect.yieldNow, () => watch))
  }

  // --- its end

  /** The call of this server in whose routine a fiber runs. */
  #callOf(fiber: Fiber.Fiber<unknown, unknown>): ServerCallImpl | undefined {
    const current = fiber.getRef(CurrentCall)
    return current?.dispatch.host === this ? current : undefined
  }

  /**
   * Gives calls the period of grace, then ends the others. What they leave behind has the same period once more: work that
   * does not let itself be interrupted, finalizers, and replies on their way. A call never waits for itself.
   */
  drain(
    calls: (self: ServerCallImpl | undefined) => Array<ServerCallImpl>,
    isOne: (call: ServerCallImpl) => boolean,
    isQuiet: (self: ServerCallImpl | undefined) => boolean,
    grace?: number
  ): Effect.Effect<unknown> {
    return Effect.withFiber((fiber) => {
      const self = this.#callOf(fiber)
      const quiet = this.#awaitQuiet(() => isQuiet(self))
      return Effect.flatMap(this.#awaitQuiet(() => isQuiet(self), grace), () => {
        // The replies that are late: on their way before the calls below are stopped and reply.
        const late = [...this.endings].filter(([fiber, call]) =>
          call !== self && isOne(call) && call.sending?.has(fiber)
        )
        // The newest first, so that ending one never starts a waiting call.
        for (const call of calls(self).reverse()) call.stop(call.dispatched ? lost() : neverDispatched())
        for (const [fiber] of late) fiber.interruptUnsafe()
        return quiet
      })
    })
  }

  readonly #runDownHandles: Effect.Effect<void> = Effect.withFiber((fiber) => {
    // The call in whose routine the shutdown runs lets its handles go: their finalizers wait until no call has them.
    this.#callOf(fiber)?.holding?.release()
    for (const handle of [...this.handles]) handle.lose()
    return this.#awaitQuiet(() => this.handles.size === 0)
  })

  readonly shutdown: Effect.Effect<void> = Effect.suspend(() => {
    this.accepting = false
    for (const end of this.endpoints) end()
    return this.drain(
      () => this.snapshot(),
      () => true,
      (self) => this.count === (self?.isListed ? 1 : 0) && this.held === (self?.held ?? 0),
      this.graceLeft()
    )
  }).pipe(
    Effect.flatMap(() => {
      this.ageWatch?.interruptUnsafe()
      return this.#runDownHandles
    }),
    Effect.flatMap(() => Scope.close(this.scope, Exit.void)),
    (shutdown) => Effect.suspend(() => Effect.provideContext(shutdown, this.context))
  )
}

/** Serves a manager for a while, with services of its own. */
export const add = (server: ServerImpl, manager: ManagerImpl, services: Context.Context<never>): Registration =>
  server.register(manager, Context.merge(server.context, withoutCall(services)), new Set())

/** Serves a manager no more: its calls have the period of grace, then they end with 1726. */
export const remove = (server: ServerImpl, registration: Registration): Effect.Effect<unknown> =>
  Effect.suspend(() => {
    const { calls, manager: { interface: { uuid }, object } } = registration
    const versions = server.managers.get(uuid)!
    const at = versions.findIndex(({ objects }) => objects.get(object) === registration)
    versions[at]!.objects.delete(object)
    if (versions[at]!.objects.size === 0) versions.splice(at, 1)
    if (versions.length === 0) server.managers.delete(uuid)
    server.registrations.delete(registration)
    server.changes++
    // A call that removes its own manager still replies.
    return server.drain(
      (self) => [...calls!].filter((call) => call !== self),
      ({ dispatch }) => dispatch.calls === calls,
      (self) => calls!.size === (self !== undefined && calls!.has(self) ? 1 : 0)
    )
  })

/** Refuses a call because the way on which it came is closing. It is seen and counted as a refusal of the server. */
export const refuseLate = (server: ServerImpl, incoming: Incoming): Refusal => {
  const { interface: wanted, object, opnum, origin, span } = incoming
  const refusal = unavailable("the endpoint is closing")
  const dispatch = (origin as ClientImpl).resolve(wanted, object)?.dispatches[opnum]
  if (dispatch !== undefined && server.watches) refused(server, dispatch.operation, span, origin, 1722)
  return refusal
}

const lost = (): RpcTransportError =>
  new RpcTransportError({ status: 1726, detail: "the server was shut down while the call was in progress" })

const neverDispatched = (): RpcTransportError => unavailable("the server was shut down before it dispatched the call")

export const serverImpl = (server: object): ServerImpl => server as ServerImpl
