/**
 * An endpoint at work: its connections, the groups that they form, and its end.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { Socket, SocketError } from "effect/socket/Socket"
import type { Caller } from "../../Channel.ts"
import type { Interface } from "../../Interface.ts"
import { callerOf } from "../../internal/access.ts"
import { Handles } from "../../internal/handleTable.ts"
import { serverImpl } from "../../internal/server.ts"
import { nowOf } from "../../internal/clock.ts"
import * as Server from "../../Server.ts"
import type { ReadWhile } from "../../transport/internal/flow.ts"
import { makeOutbox, type Outbox } from "../../transport/internal/outbox.ts"
import { makeReadWhile } from "../../transport/internal/sockets.ts"
import type * as Transport from "../../transport/Transport.ts"
import * as Pdu from "../Pdu.ts"
import type { TransferSyntax } from "../TransferSyntax.ts"
import type { Group } from "./agreement.ts"
import { type Host, type Limits, ServerConnection, type Tally } from "./serverConnection.ts"
import type { Securing } from "./serverSecurity.ts"

declare const crypto: { getRandomValues(array: Uint32Array): Uint32Array }

/** For so long a connection that is over may take to send its last bytes. */
const lingering = 1000

export class EndpointImpl implements Host {
  readonly "~callisto/dcerpc/Endpoint" = "~callisto/dcerpc/Endpoint"
  management!: Server.Server
  /** The scope of the listeners. It closes behind the period of grace, and with it the connections that are left. */
  readonly scope: Scope.Closeable = Scope.makeUnsafe()
  readonly listeners: Set<Transport.Listener> = new Set()
  // Replies are written one after another, so one writer serves all connections.
  readonly writer: Pdu.Writer = new Pdu.Writer()
  readonly server: Server.Server
  readonly clock: Clock.Clock
  readonly limits: Limits
  /** The calls of all connections to the server. */
  readonly total: Tally
  readonly syntaxes: ReadonlyArray<TransferSyntax>
  readonly connections: Set<ServerConnection> = new Set()
  readonly groups: Map<number, Group> = new Map()
  uses = 0
  partBytes = 0
  queuedBytes = 0
  callsIn = 0
  packetsIn = 0
  packetsOut = 0
  stopping = false
  private makingRoom = false
  /** Looks at the connections again then. */
  private wakesAt = Infinity
  private watching: Fiber.Fiber<void> | undefined = undefined
  readonly run: <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
  readonly security: Securing | undefined
  /** No more often than this it looks, however many times come. */
  private readonly shortest: number
  /** Told when the last connection has gone. */
  private quiet: (() => void) | undefined = undefined

  constructor(
    server: Server.Server,
    context: Context.Context<never>,
    limits: Limits,
    syntaxes: ReadonlyArray<TransferSyntax>,
    security: Securing | undefined
  ) {
    this.server = server
    this.clock = Context.get(context, Clock.Clock)
    this.run = Effect.runForkWith(context)
    this.shortest = Math.min(100, limits.bindTimeout, limits.requestTimeout, limits.idleTimeout)
    this.limits = limits
    this.total = { count: 0, maximum: limits.totalCalls }
    this.syntaxes = syntaxes
    this.security = security
    serverImpl(server).endpoints.add(this.stop)
  }

  /** The owner of an offered interface: the server, or the endpoint itself with its management interface. */
  find(wanted: Interface.Identity): readonly [Server.Server, Interface.Any | undefined] {
    const offered = Server.offers(this.server, wanted)?.interface
    return offered === undefined
      ? [this.management, Server.offers(this.management, wanted)?.interface]
      : [this.server, offered]
  }

  /** The group that a connection joins: a new one, or a known one by its id. */
  join(id: number, place: string, caller?: Pick<Caller, "name">): Group | undefined {
    if (id !== 0) {
      const known = this.groups.get(id)
      if (known === undefined || known.place !== place) return undefined
      if (caller !== undefined && known.caller !== caller.name) return undefined
      known.connections++
      return known
    }
    const group: Group = {
      id: this.newId(),
      place,
      caller: caller?.name,
      handles: new Handles(Infinity),
      connections: 1
    }
    this.groups.set(group.id, group)
    return group
  }

  /** Ids that nobody can guess: who knows one can use the handles of its group. */
  private newId(): number {
    const ids = new Uint32Array(1)
    do crypto.getRandomValues(ids)
    while (ids[0] === 0 || this.groups.has(ids[0]!))
    return ids[0]!
  }

  leave(group: Group): void {
    if (--group.connections > 0) return
    this.groups.delete(group.id)
    group.handles.end()
  }

  readonly handle = (
    connection: Transport.Connection,
    caller: Caller.Input = {}
  ): Effect.Effect<void, never, Scope.Scope> =>
    // Neither closures nor generators of its own: thousands of connections have nothing to do.
    Effect.gen(() => this.serving(connection, callerOf("Endpoint.handle", caller)))

  private *serving(
    connection: Transport.Connection,
    caller: Caller
  ): Generator<Effect.Effect<unknown, never, Scope.Scope>, void, never> {
    if (this.stopping || !this.hasPlace()) return
    const outbox: Outbox = yield* makeOutbox(connection.socket)
    const served = new ServerConnection(this, connection, outbox, caller)
    this.connections.add(served)
    yield* Effect.addFinalizer(() => Effect.sync(() => this.forget(served)))
    const reading: Fiber.Fiber<void> = yield* Effect.forkScoped(
      Effect.ignore(Effect.gen(() => this.reading(served, connection.socket)))
    )
    served.stopReading = () => reading.interruptUnsafe()
    if (served.isOver) reading.interruptUnsafe()
    yield* Effect.ensuring(
      Fiber.await(reading),
      Effect.sync(() => {
        if (!served.isOver) served.move("closedByPeer")
        served.end()
      })
    )
    // What is left to say, to a client that listens. At the end of the server the period of grace bounds it.
    if (!served.isClosed && outbox.queuedUnsafe() > 0) {
      const left = Effect.timeoutOption(outbox.drained, this.stopping ? Infinity : lingering)
      yield* Effect.raceFirst(Effect.ignore(left), Deferred.await(served.gone))
    }
    served.move("lastHandleGone")
  }

  private forget(served: ServerConnection): void {
    this.connections.delete(served)
    served.settle()
    served.countQueued()
    if (this.connections.size === 0) this.quiet?.()
  }

  private *reading(
    served: ServerConnection,
    socket: Socket
  ): Generator<Effect.Effect<unknown, SocketError, Scope.Scope>, void, never> {
    const readWhile: ReadWhile = yield* makeReadWhile(socket)
    while (true) {
      yield* readWhile(served.take)
      do {
        if (served.isOver) return
        yield* served.ready
      } while (!served.resume())
    }
  }

  // --- limits

  /** Whether one more connection has a place. For it the connection goes that was idle for longest, if there is one. */
  private hasPlace(): boolean {
    let count = 0
    let idle: ServerConnection | undefined
    if (this.connections.size < this.limits.connections) return true
    for (const served of this.connections) {
      // One that is closed is about to leave its place.
      if (!served.isClosed) count++
      if (served.isIdle && (idle === undefined || served.usedAt < idle.usedAt)) idle = served
    }
    return count < this.limits.connections || this.limits.connections > 0 && idle?.move("idle") === true
  }

  /** Closes the connections whose requests have made no progress for longest. */
  tooManyParts(): void {
    this.makeRoom(() => {
      if (this.partBytes <= this.limits.totalRequest) return undefined
      let slowest: ServerConnection | undefined
      for (const served of this.connections) {
        if (served.progressAt < (slowest?.progressAt ?? Infinity)) slowest = served
      }
      return slowest
    })
  }

  /** Closes the connections for which most replies wait. */
  tooManyQueued(): void {
    this.makeRoom(() => {
      let largest: ServerConnection | undefined
      let most = 0
      for (const served of this.connections) {
        const bytes = served.countQueued()
        if (bytes > most) {
          largest = served
          most = bytes
        }
      }
      return this.queuedBytes > this.limits.totalQueued ? largest : undefined
    })
  }

  /** Closes one connection after another. What that ends may call it again, which would go as deep as there are connections. */
  private makeRoom(next: () => ServerConnection | undefined): void {
    if (this.makingRoom) return
    this.makingRoom = true
    try {
      for (let served = next(); served !== undefined; served = next()) {
        served.move("silent")
        served.end()
        served.countQueued()
      }
    } finally {
      this.makingRoom = false
    }
  }

  watchUntil(time: number): void {
    if (time >= this.wakesAt) return
    this.wakesAt = time
    this.watching?.interruptUnsafe()
    const wait = Effect.sleep(Math.max(time - nowOf(this.clock), this.shortest))
    this.watching = this.run(Effect.flatMap(wait, () => Effect.sync(() => this.watch())))
  }

  /** Closes the connections whose time has come. */
  private watch(): void {
    const now = nowOf(this.clock)
    let next = Infinity
    this.watching = undefined
    this.wakesAt = Infinity
    for (const served of this.connections) {
      const due = served.dueAt(now)
      if (due <= now) served.move("silent")
      else next = Math.min(next, due)
    }
    this.watchUntil(next)
  }

  /** Takes no more calls, and tells the clients. */
  readonly stop = (): void => {
    if (this.stopping) return
    this.stopping = true
    for (const { stop } of this.listeners) this.run(stop)
    for (const served of this.connections) served.shutdown()
  }

  /** Lets the calls in progress reply, and the replies leave, within the rest of the server's period of grace. */
  readonly shutdown: Effect.Effect<void> = Effect.gen({ self: this }, function* () {
    const server = serverImpl(this.server)
    this.stop()
    for (const { stop } of this.listeners) yield* stop
    yield* Effect.timeoutOption(this.awaitQuiet, Math.max(0, server.graceLeft()))
    for (const served of this.connections) served.move("outOfTime")
    this.watching?.interruptUnsafe()
    // Nothing is watched any more.
    this.wakesAt = -Infinity
    server.endpoints.delete(this.stop)
    yield* Scope.close(this.scope, Exit.void)
  })

  private readonly awaitQuiet: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.connections.size === 0) return resume(Effect.void)
    this.quiet = () => resume(Effect.void)
  })
}
