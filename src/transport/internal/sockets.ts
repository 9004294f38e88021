/**
 * The sockets of the library's own transports: they can be read and written without a fiber.
 */
import { map, type NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import type { Incoming, ReadWhile } from "./flow.ts"

/** One end of a connection. */
export interface End {
  readonly incoming: Incoming
  readonly write: (chunks: NonEmptyReadonlyArray<Uint8Array>) => Effect.Effect<void, Socket.SocketError>
  /** Ends the sending direction. */
  readonly end: () => void
  /** Closes the connection; with a code above 1000 it is reset. Once is enough. */
  readonly close: (event: Socket.CloseEvent) => void
}

export const makeSocket = (end: End): Socket.Socket => {
  const reader: Socket.Reader = {
    get pull() {
      return end.incoming.pull
    },
    upgrade: Socket.SocketUpgradeError.unsupported
  }
  const writer: Socket.Writer = {
    write: (chunk) =>
      Effect.suspend(() =>
        Socket.isCloseEvent(chunk) ? Effect.sync(() => end.close(chunk)) : end.write([toBytes(chunk)])
      ),
    writeAll: (chunks) => Effect.suspend(() => end.write(map(chunks, toBytes)))
  }
  const socket = Socket.make({
    reader: Effect.acquireRelease(Effect.succeed(reader), () => Effect.sync(() => end.close(new Socket.CloseEvent()))),
    writer: Effect.acquireRelease(Effect.succeed(writer), () => Effect.sync(end.end))
  })
  ends.set(socket, end)
  return socket
}

/** An end that is closed with the scope. */
export const scopedEnd = <A extends Pick<End, "close">, E, R>(
  make: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R | Scope.Scope> =>
  Effect.acquireRelease(make, (end) => Effect.sync(() => end.close(new Socket.CloseEvent())), { interruptible: true })

const ends = new WeakMap<Socket.Socket, End>()

/** The end behind a socket that was made here. */
export const endOf = (socket: Socket.Socket): End | undefined => ends.get(socket)

/** Acquires the reader of a socket. The connection is closed with the scope. */
export const makeReadWhile = (
  socket: Socket.Socket
): Effect.Effect<ReadWhile, Socket.SocketError, Scope.Scope> =>
  Effect.map(socket.reader, (reader) => {
    const incoming = endOf(socket)?.incoming
    return incoming === undefined ? readWhilePulling(reader.pull) : (accept) => incoming.readWhile(accept)
  })

const readWhilePulling = (pull: Socket.Reader["pull"]): ReadWhile => {
  let held: Array<Uint8Array> = []
  return (accept) =>
    Effect.gen(function* () {
      while (true) {
        for (let chunk = held.shift(); chunk !== undefined; chunk = held.shift()) if (!accept(chunk)) return
        held = map(yield* pull, toBytes)
      }
    })
}

declare const TextEncoder: new () => { encode(text: string): Uint8Array }

const encoder = new TextEncoder()

const toBytes = (chunk: Uint8Array | string): Uint8Array => typeof chunk === "string" ? encoder.encode(chunk) : chunk

/** Runs the handlers of a listener; the connections that they get are closed when they end. */
export const handlers = <Connection extends { readonly peer: string }, R>(
  handler: (connection: Connection) => Effect.Effect<unknown, never, R>
): Effect.Effect<(connection: Connection, end: End) => void, never, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.map(FiberSet.makeRuntime<Exclude<R, Scope.Scope>>(), (run) => (connection, end) => {
    const fiber = run(
      handler(connection).pipe(
        Effect.scoped,
        Effect.ignoreCause({ log: "Error", message: `The handler of the connection from ${connection.peer} died` })
      )
    )
    // Also where the fiber was interrupted before it began.
    fiber.addObserver(() => end.close(new Socket.CloseEvent()))
  })
