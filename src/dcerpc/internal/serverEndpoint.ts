/**
 * An endpoint at work: its connections, the groups that they form, and its end.
 */
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { Socket, SocketError } from "effect/socket/Socket"
import type { Caller } from "../../Channel.ts"
import type { Interface } from "../../Interface.ts"
import { Handles } from "../../internal/handleTable.ts"
import { nowOf } from "../../internal/serverCall.ts"
import * as Server from "../../Server.ts"
import { makeOutbox } from "../../transport/internal/outbox.ts"
import { makeReadWhile } from "../../transport/internal/sockets.ts"
import type * as Transport from "../../transport/Transport.ts"
import * as Pdu from "../Pdu.ts"
import type { TransferSyntax } from "../TransferSyntax.ts"
import { type Group, type Host, type Limits, ServerConnection, type Tally } from "./serverConnection.ts"

/** For so long a connection that is over may take to send its last bytes. */
const lingering = 1000

const anonymous: Caller = { name: undefined, level: "none" }

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
  nextGroup = 1
  callsIn = 0
  packetsIn = 0
  packetsOut = 0
  stopping = false
  /** Told when the last connection has gone. */
  private quiet: (() => void) | undefined = undefined

  constructor(server: Server.Server, clock: Clock.Clock, limits: Limits, syntaxes: ReadonlyArray<TransferSyntax>) {
    this.server = server
    this.clock = clock
    this.limits = limits
    this.total = { count: 0, maximum: limits.totalCalls }
    this.syntaxes = syntaxes
  }

  /** Who offers an interface: the server, or the endpoint itself with its management interface. */
  find(wanted: Interface.Identity): readonly [Server.Server, Interface.Any | undefined] {
    const offered = Server.offers(this.server, wanted)?.interface
    return offered === undefined
      ? [this.management, Server.offers(this.management, wanted)?.interface]
      : [this.server, offered]
  }

  /** The group that a connection joins: a new one, or a known one by its id. */
  join(id: number): Group | undefined {
    if (id !== 0) {
      const known = this.groups.get(id)
      if (known !== undefined) known.connections++
      return known
    }
    while (this.groups.has(this.nextGroup)) this.nextGroup = this.nextGroup % 0xffffffff + 1
    const group: Group = { id: this.nextGroup, handles: new Handles(this.limits.handles), connections: 1 }
    this.groups.set(group.id, group)
    this.nextGroup = this.nextGroup % 0xffffffff + 1
    return group
  }

  leave(group: Group): void {
    if (--group.connections > 0) return
    this.groups.delete(group.id)
    group.handles.end()
  }

  readonly handle = (
    connection: Transport.Connection,
    caller: Caller = anonymous
  ): Effect.Effect<void, never, Scope.Scope> =>
    Effect.gen({ self: this }, function* () {
      if (this.stopping || this.connections.size >= this.limits.connections) return
      const outbox = yield* makeOutbox(connection.socket)
      const served = new ServerConnection(this, connection, outbox, caller)
      this.connections.add(served)
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          this.connections.delete(served)
          served.settle()
          if (this.connections.size === 0) this.quiet?.()
        })
      )
      yield* Effect.forkScoped(this.watchBind(served))
      if (this.limits.idleTimeout !== Infinity) yield* Effect.forkScoped(this.watchIdle(served))
      const read = Effect.ignore(this.read(served, connection.socket))
      yield* Effect.raceFirst(read, Deferred.await(served.over)).pipe(
        Effect.ensuring(Effect.sync(() => {
          if (!served.isOver) served.move("closedByPeer")
          served.end()
        }))
      )
      // What is left to say, to a client that listens. At the end of the server the period of grace bounds it.
      if (!served.isClosed) {
        const left = Effect.timeoutOption(outbox.drained, this.stopping ? Infinity : lingering)
        yield* Effect.raceFirst(Effect.ignore(left), Deferred.await(served.gone))
      }
      served.move("lastHandleGone")
    })

  private read(served: ServerConnection, socket: Socket): Effect.Effect<void, SocketError, Scope.Scope> {
    return Effect.gen(function* () {
      const readWhile = yield* makeReadWhile(socket)
      while (true) {
        yield* readWhile(served.take)
        do {
          if (served.isOver) return
          yield* served.ready
        } while (!served.resume())
      }
    })
  }

  private watchBind(served: ServerConnection): Effect.Effect<void> {
    return Effect.delay(Effect.sync(() => served.group === undefined && served.move("silent")), this.limits.bindTimeout)
  }

  private watchIdle(served: ServerConnection): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (served.calls.size > 0) served.touch()
      const left = served.activeAt + this.limits.idleTimeout - nowOf(this.clock)
      return left > 0 ? Effect.delay(this.watchIdle(served), left) : Effect.sync(() => served.move("silent"))
    })
  }

  /** Lets the calls in progress reply, within the period of grace. */
  shutdown(grace: number): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      this.stopping = true
      for (const { stop } of this.listeners) yield* stop
      for (const served of this.connections) served.shutdown()
      yield* Effect.timeoutOption(this.awaitQuiet, grace)
      for (const served of this.connections) served.move("outOfTime")
      yield* Scope.close(this.scope, Exit.void)
    })
  }

  private readonly awaitQuiet: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.connections.size === 0) return resume(Effect.void)
    this.quiet = () => resume(Effect.void)
  })
}
