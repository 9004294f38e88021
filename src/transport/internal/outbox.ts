/**
 * The outbox of a connection: it gathers the writes of one turn of the event loop.
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

// How many bytes an outbox hands over at once. The outbox can't know how many of those bytes have left.
const handedAtOnce = 0x40000

// So many bytes are worth a system call of their own: the peer works on them while more of the same turn follow.
const worthWriting = 16384

/** A connection ends when the transport takes nothing of a write for so long, in milliseconds. */
export const writeTimeout = 60_000

const isNonEmpty = <A>(array: ReadonlyArray<A>): array is NonEmptyReadonlyArray<A> => array.length > 0

declare const queueMicrotask: (task: () => void) => void

type Exiting = Exit.Exit<void, Socket.SocketError>

/**
 * Gathers the writes of one turn of the event loop and gives them to a connection together, so that many small
 * messages cost one system call.
 */
export class Outbox {
  readonly #write: Socket.Writer["write"]
  readonly #writeAll: (chunks: NonEmptyReadonlyArray<Uint8Array>) => Effect.Effect<void, Socket.SocketError>
  readonly #run: (effect: Effect.Effect<void, Socket.SocketError>) => Fiber.Fiber<void, Socket.SocketError>
  readonly #onFailure: () => void
  readonly #outstanding = new Outstanding()
  readonly #empty = new Room()
  #chunks: Array<Uint8Array> = []
  #sent = 0
  #handed = 0
  #stopped = false
  #scheduled = false
  #writing: Fiber.Fiber<void, Socket.SocketError> | undefined

  constructor(
    write: Socket.Writer["write"],
    writeAll: (chunks: NonEmptyReadonlyArray<Uint8Array>) => Effect.Effect<void, Socket.SocketError>,
    run: (effect: Effect.Effect<void, Socket.SocketError>) => Fiber.Fiber<void, Socket.SocketError>,
    onFailure: () => void
  ) {
    this.#write = write
    this.#writeAll = writeAll
    this.#run = run
    this.#onFailure = onFailure
  }

  /** The bytes that were sent here and for which the transport had no room yet: how far the peer is behind. */
  queuedUnsafe(): number {
    return this.#outstanding.bytes
  }

  /**
   * Queues bytes, in order. Never waits; the bytes are not changed any more. After a failure it does nothing.
   *
   * They leave at the end of the turn, and before when 16 KiB are queued: the peer begins with those.
   */
  sendUnsafe(chunk: Uint8Array): void {
    this.#queue(chunk)
    if (this.#sent - this.#handed < worthWriting || this.#stopped) this.#schedule()
    else this.#hand(true)
  }

  /** The same for a part of something large, of which up to 256 KiB leave together at the end of the turn. */
  sendPartUnsafe(chunk: Uint8Array): void {
    this.#queue(chunk)
    this.#schedule()
  }

  /** Whether less than 64 KiB are queued, on a connection that can be written. */
  hasRoomUnsafe(): boolean {
    return this.#outstanding.hasRoom
  }

  /** Waits until less than 64 KiB are queued, and fails once the connection can't be written any more. */
  get room(): Effect.Effect<void, Socket.SocketError> {
    return this.#outstanding.wait
  }

  /** Waits until the transport has taken everything. */
  get drained(): Effect.Effect<void, Socket.SocketError> {
    return Effect.suspend(() =>
      this.#empty.error === undefined && this.#outstanding.bytes === 0 ? Effect.void : this.#empty.wait
    )
  }

  /** All bytes that were ever sent here. */
  sentUnsafe(): number {
    return this.#sent
  }

  /** Those of them that were handed to the socket and may have left: the rest certainly has not. */
  handedUnsafe(): number {
    return this.#handed
  }

  /** Whether a write waits for the socket: what is sent now may stay here for long. */
  isWaitingUnsafe(): boolean {
    return this.#writing !== undefined
  }

  /** Hands nothing more to the socket. */
  stopUnsafe(): void {
    this.#stopped = true
  }

  /** Whether it has stopped: it was told to, or a write failed. */
  isStoppedUnsafe(): boolean {
    return this.#stopped
  }

  /** Drops the bytes that have not left, and waits until the socket has let go of the rest. */
  close(): Effect.Effect<unknown> {
    this.#stop(closed(1000))
    this.#writing?.interruptUnsafe()
    return this.#writing === undefined ? Effect.void : Fiber.await(this.#writing)
  }

  #queue(chunk: Uint8Array): void {
    this.#sent += chunk.length
    if (this.#outstanding.room.error !== undefined || chunk.length === 0) return
    this.#outstanding.bytes += chunk.length
    this.#chunks.push(chunk)
  }

  /** The rest of the turn may add to what is written. */
  #schedule(): void {
    if (this.#scheduled || this.#writing !== undefined || this.#chunks.length === 0) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#hand(false)
    })
  }

  /** Most writes end at once and need no fiber; one for each of the others costs less than one that waits for the next. */
  #hand(isSending: boolean): void {
    if (this.#writing !== undefined) return
    if (this.#stopped) return this.#stop(closed(1000))
    const size = Math.min(this.#sent - this.#handed, handedAtOnce)
    const batch = mergeAdjacent(takeFirst(this.#chunks, size))
    if (!isNonEmpty(batch)) return
    this.#handed += size
    const effect = this.#writeAll(batch)
    if (Exit.isExit(effect)) {
      const exit = effect as Exiting
      // Those who are told may send themselves, or close the connection: not in the middle of what another one sends.
      return isSending ? queueMicrotask(() => this.#written(size, exit)) : this.#written(size, exit)
    }
    const stalled = Effect.suspend(() =>
      Effect.andThen(this.#write(new Socket.CloseEvent(1006)), Effect.fail(closed(1006)))
    )
    this.#writing = this.#run(Effect.timeoutOrElse(effect, { duration: writeTimeout, orElse: () => stalled }))
    this.#writing.addObserver((exit) => {
      this.#writing = undefined
      this.#written(size, exit)
    })
  }

  #written(size: number, exit: Exiting): void {
    if (Exit.isFailure(exit)) {
      this.#stop(Option.getOrElse(Exit.findErrorOption(exit), () => closed(1000)))
      return this.#onFailure()
    }
    this.#outstanding.taken(size)
    if (this.#outstanding.bytes === 0) this.#empty.open()
    this.#schedule()
  }

  #stop(error: Socket.SocketError): void {
    this.#stopped = true
    this.#chunks = []
    this.#outstanding.room.fail(error)
    this.#empty.fail(error)
  }
}

const nothing = (): void => {}

/**
 * Makes the outbox of a socket. It stops with the scope; what is queued then is not written: wait for `drained` before.
 * `onFailure` runs when a write has failed.
 *
 * A peer that vanished, or that does not read, is noticed here: the connection is reset when a write, of up to 256 KiB,
 * takes longer than a minute.
 */
export const makeOutbox = (
  socket: Socket.Socket,
  onFailure: () => void = nothing
): Effect.Effect<Outbox, never, Scope.Scope> =>
  Effect.flatMap(socket.writer, ({ write, writeAll }) =>
    Effect.flatMap(Effect.context<never>(), (context) => {
      const run = Effect.runForkWith(context)
      const outbox = new Outbox(write, endOf(socket)?.write ?? writeAll, run, onFailure)
      return Effect.as(Effect.addFinalizer(() => outbox.close()), outbox)
    }))

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
