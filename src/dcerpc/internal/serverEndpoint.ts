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
import { binary, type TransferSyntax } from "../TransferSyntax.ts"
import { type Group, type Host, type Limits, ServerConnection, type Tally } from "./serverConnection.ts"

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
        })
      )
      yield* Effect.forkScoped(this.watchBind(served))
      if (this.limits.idleTimeout !== Infinity) yield* Effect.forkScoped(this.watchIdle(served))
      yield* Effect.raceFirst(Effect.ignore(this.read(served, connection.socket)), Deferred.await(served.closed)).pipe(
        Effect.ensuring(Effect.sync(() => served.end()))
      )
      // What is left to say, to a client that listens.
      if (!served.failed) yield* outbox.drained.pipe(Effect.timeoutOption("1 second"), Effect.ignore)
    })

  private read(served: ServerConnection, socket: Socket): Effect.Effect<void, SocketError, Scope.Scope> {
    return Effect.gen({ self: this }, function* () {
      const readWhile = yield* makeReadWhile(socket)
      const parser = Pdu.makeParser({ maxFragment: binary.maxFragment, owned: true })
      let isOver = false
      const accept = (chunk: Uint8Array): boolean => {
        served.touch()
        const closes = parser.push(chunk).some((pdu) => served.receive(pdu) === "close" || served.failed)
        isOver = closes || served.refused
        return !isOver && served.outbox.hasRoomUnsafe() && served.hasRoom
      }
      while (true) {
        yield* readWhile(accept)
        if (isOver) return
        // Who doesn't read replies gets no more requests read; and a slow manager slows the pipe that it pulls.
        yield* served.outbox.room
        yield* served.room
      }
    })
  }

  private watchBind(served: ServerConnection): Effect.Effect<void> {
    return Effect.delay(Effect.sync(() => served.group === undefined && served.fail()), this.limits.bindTimeout)
  }

  private watchIdle(served: ServerConnection): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (served.calls.size > 0) served.touch()
      const left = served.activeAt + this.limits.idleTimeout - nowOf(this.clock)
      return left > 0 ? Effect.delay(this.watchIdle(served), left) : Effect.sync(() => served.fail())
    })
  }

  /** Lets the calls in progress reply, within the period of grace. */
  shutdown(grace: number): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      this.stopping = true
      for (const { stop } of this.listeners) yield* stop
      const waits: Array<Effect.Effect<void>> = []
      for (const served of this.connections) {
        if (served.group === undefined) continue
        Pdu.encodeShutdown(this.writer, { callId: 0 })
        served.send()
        const quiet = served.quiet = Deferred.makeUnsafe<void>()
        if (served.calls.size === 0) Deferred.doneUnsafe(quiet, Exit.void)
        // The last reply must be out before the connection goes.
        waits.push(Effect.andThen(Deferred.await(quiet), Effect.ignore(served.outbox.drained)))
      }
      yield* Effect.all(waits, { concurrency: "unbounded", discard: true }).pipe(Effect.timeoutOption(grace))
      for (const served of this.connections) served.fail()
      yield* Scope.close(this.scope, Exit.void)
    })
  }
}
