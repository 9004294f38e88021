/**
 * The outbox of a connection: it gathers what is written in one turn of the event loop.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import { Outstanding, Room } from "./flow.ts"
import { endOf } from "./sockets.ts"
import { closed } from "./transportErrors.ts"

// How many bytes an outbox hands over at once. Of what is handed over nobody knows how much has left.
const handedAtOnce = 0x40000

// So many bytes are worth a system call of their own: the peer works on them while more of the same turn follow.
const worthWriting = 16384

/** A connection ends when the transport takes nothing of a write for so long, in milliseconds. */
export const writeTimeout = 60_000

const isNonEmpty = <A>(array: ReadonlyArray<A>): array is NonEmptyReadonlyArray<A> => array.length > 0

/**
 * Gathers what is written in one turn of the event loop and gives it to a connection together, so that many small
 * messages cost one system call.
 */
export interface Outbox {
  /** The bytes that were sent here and for which the transport had no room yet: how far the peer is behind. */
  readonly queuedUnsafe: () => number
  /**
   * Queues bytes, in order. Never waits; the bytes are not changed any more. After a failure it does nothing.
   *
   * They leave at the end of the turn, and before when 16 KiB are queued: the peer begins with those.
   */
  readonly sendUnsafe: (chunk: Uint8Array) => void
  /** The same for a part of something large, of which up to 256 KiB leave together at the end of the turn. */
  readonly sendPartUnsafe: (chunk: Uint8Array) => void
  /** Whether less than 64 KiB are queued, on a connection that can be written. */
  readonly hasRoomUnsafe: () => boolean
  /** Waits until less than 64 KiB are queued, and fails once the connection can't be written any more. */
  readonly room: Effect.Effect<void, Socket.SocketError>
  /** Waits until the transport has taken everything. */
  readonly drained: Effect.Effect<void, Socket.SocketError>
  /** All bytes that were ever sent here. */
  readonly sentUnsafe: () => number
  /** Those of them that were handed to the socket and may have left: the rest certainly has not. */
  readonly handedUnsafe: () => number
  /** Whether a write waits for the socket: what is sent now may stay here for long. */
  readonly isWaitingUnsafe: () => boolean
  /** Hands nothing more to the socket. */
  readonly stopUnsafe: () => void
  /** Whether it has stopped: it was told to, or a write failed. */
  readonly isStoppedUnsafe: () => boolean
}

declare const queueMicrotask: (task: () => void) => void

/**
 * Makes the outbox of a socket. It stops with the scope; what is queued then is not written: wait for `drained` before.
 * `onFailure` runs when a write has failed.
 *
 * A peer that vanished, or that does not read, is noticed here: the connection is reset when a write, of up to 256 KiB,
 * takes longer than a minute.
 */
export const makeOutbox = (
  socket: Socket.Socket,
  onFailure: () => void = () => {}
): Effect.Effect<Outbox, never, Scope.Scope> =>
  Effect.gen(function* () {
    const writer = yield* socket.writer
    const writeAll = endOf(socket)?.write ?? writer.writeAll
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const stalled = Effect.andThen(
      writer.write(new Socket.CloseEvent(1006)),
      Effect.fail(closed(1006))
    )
    const outstanding = new Outstanding()
    const empty = new Room()
    let chunks: Array<Uint8Array> = []
    let sent = 0
    let handed = 0
    let stopped = false
    let scheduled = false
    let writing: Fiber.Fiber<void, Socket.SocketError> | undefined

    const queue = (chunk: Uint8Array) => {
      sent += chunk.length
      if (outstanding.room.error !== undefined || chunk.length === 0) return
      outstanding.bytes += chunk.length
      chunks.push(chunk)
    }

    // The rest of the turn may add to what is written.
    const schedule = () => {
      if (scheduled || writing !== undefined || chunks.length === 0) return
      scheduled = true
      queueMicrotask(() => {
        scheduled = false
        write(false)
      })
    }

    // Most writes end at once and need no fiber; one for each of the others costs less than one that waits for the next.
    const write = (isSending: boolean) => {
      if (writing !== undefined) return
      if (stopped) return stop(closed(1000))
      const size = Math.min(sent - handed, handedAtOnce)
      const batch = mergeAdjacent(takeFirst(chunks, size))
      if (!isNonEmpty(batch)) return
      handed += size
      const written = (exit: Exit.Exit<void, Socket.SocketError>) => {
        if (Exit.isFailure(exit)) {
          stop(Option.getOrElse(Exit.findErrorOption(exit), () => closed(1000)))
          return onFailure()
        }
        outstanding.taken(size)
        if (outstanding.bytes === 0) empty.open()
        schedule()
      }
      const effect = writeAll(batch)
      if (Exit.isExit(effect)) {
        const exit = effect as Exit.Exit<void, Socket.SocketError>
        // Those who are told may send themselves, or close the connection: not in the middle of what another one sends.
        return isSending ? queueMicrotask(() => written(exit)) : written(exit)
      }
      writing = run(Effect.timeoutOrElse(effect, { duration: writeTimeout, orElse: () => stalled }))
      writing.addObserver((exit) => {
        writing = undefined
        written(exit)
      })
    }

    const stop = (error: Socket.SocketError) => {
      stopped = true
      chunks = []
      outstanding.room.fail(error)
      empty.fail(error)
    }

    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        stop(closed(1000))
        writing?.interruptUnsafe()
        return writing === undefined ? Effect.void : Fiber.await(writing)
      })
    )

    return {
      queuedUnsafe: () => outstanding.bytes,
      sendUnsafe: (chunk) => {
        queue(chunk)
        if (sent - handed < worthWriting || stopped) schedule()
        else write(true)
      },
      sendPartUnsafe: (chunk) => {
        queue(chunk)
        schedule()
      },
      hasRoomUnsafe: () => outstanding.hasRoom,
      room: outstanding.wait,
      drained: Effect.suspend(() => empty.error === undefined && outstanding.bytes === 0 ? Effect.void : empty.wait),
      sentUnsafe: () => sent,
      handedUnsafe: () => handed,
      isWaitingUnsafe: () => writing !== undefined,
      stopUnsafe: () => {
        stopped = true
      },
      isStoppedUnsafe: () => stopped
    }
  })

/** Takes bytes from the front of the chunks. */
const takeFirst = (chunks: Array<Uint8Array>, size: number): Array<Uint8Array> => {
  let rest = size
  let count = 0
  while (count < chunks.length && chunks[count]!.length <= rest) rest -= chunks[count++]!.length
  const taken = chunks.splice(0, count)
  if (rest > 0) {
    const cut = chunks[0]!
    taken.push(cut.subarray(0, rest))
    chunks[0] = cut.subarray(rest)
  }
  return taken
}

/** Those that stand one behind the other in memory as one: what one writer has written needs no copy. */
const mergeAdjacent = (chunks: ReadonlyArray<Uint8Array>): Array<Uint8Array> => {
  const merged: Array<Uint8Array> = []
  for (let i = 0; i < chunks.length;) {
    const first = chunks[i]!
    const { buffer, byteOffset } = first
    let end = byteOffset + first.length
    let next = i + 1
    for (; next < chunks.length && chunks[next]!.buffer === buffer && chunks[next]!.byteOffset === end; next++) {
      end += chunks[next]!.length
    }
    merged.push(next === i + 1 ? first : new Uint8Array(buffer, byteOffset, end - byteOffset))
    i = next
  }
  return merged
}
