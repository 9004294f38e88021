/**
 * The flow of bytes in one direction of a connection: received bytes wait for their reader, a writer waits for room.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as MutableList from "effect/MutableList"
import type * as Socket from "effect/socket/Socket"

/** How many bytes one direction of a connection holds before it makes the writer wait. */
export const highWaterMark = 65536

// So many chunks are held at most, however small they are.
const maximumChunks = 64

type Resume<A> = (effect: Effect.Effect<A, Socket.SocketError>) => void

/**
 * Gives each chunk to a function as soon as it arrives, until that answers `false`; the next one is then kept. Fails when
 * the connection ends, and dies of what the function throws.
 */
export type ReadWhile = (accept: (chunk: Uint8Array) => boolean) => Effect.Effect<void, Socket.SocketError>

/** The bytes that have arrived and were not read yet. */
export class Incoming {
  /** The bytes held. */
  size = 0
  readonly #chunks: MutableList.MutableList<Uint8Array> = MutableList.make()
  #error: Socket.SocketError | undefined = undefined
  /** Told when what arrives is held, because nobody reads. */
  holder: { readonly countHeld: () => void } | undefined = undefined
  /** Tells who reads that there is something new. */
  #notify: (() => void) | undefined = undefined
  readonly #taken: (bytes: number) => void

  /** `taken` is told how many bytes the reader has taken. */
  constructor(taken: (bytes: number) => void) {
    this.#taken = taken
  }

  push(chunk: Uint8Array): void {
    if (this.#error !== undefined || chunk.length === 0) return
    MutableList.append(this.#chunks, chunk)
    this.size += chunk.length
    if (this.#notify !== undefined) this.#notify()
    else this.holder?.countHeld()
  }

  /** Whether nothing more should arrive until some was read. A chunk costs more than its bytes where those are few. */
  get isFull(): boolean {
    return this.size >= highWaterMark || this.#chunks.length >= maximumChunks
  }

  /** Nothing more arrives; held bytes can still be read. */
  end(error: Socket.SocketError): void {
    this.#error ??= error
    this.#notify?.()
  }

  /** The connection is gone, and so are the held bytes. */
  fail(error: Socket.SocketError): void {
    MutableList.clear(this.#chunks)
    this.size = 0
    this.end(error)
  }

  get pull(): Effect.Effect<NonEmptyReadonlyArray<Uint8Array>, Socket.SocketError> {
    return this.#read(() => {
      const chunks = MutableList.takeAll(this.#chunks) as [Uint8Array, ...Array<Uint8Array>]
      const { size } = this
      this.size = 0
      this.#taken(size)
      return Effect.succeed(chunks)
    })
  }

  /** See {@link ReadWhile}. */
  readWhile(accept: (chunk: Uint8Array) => boolean): Effect.Effect<void, Socket.SocketError> {
    return this.#read(() => {
      const chunk = MutableList.take(this.#chunks) as Uint8Array
      this.size -= chunk.length
      this.#taken(chunk.length)
      return accept(chunk) ? undefined : Effect.void
    })
  }

  /** Takes a step whenever something is held, until one gives the effect to go on with. */
  #read<A>(step: () => Effect.Effect<A> | undefined): Effect.Effect<A, Socket.SocketError> {
    return Effect.callback((resume) => {
      let reading = true
      const takeStep = () => {
        try {
          return step()
        } catch (defect) {
          return Effect.die(defect)
        }
      }
      const read = () => {
        // A step may close the connection, end the reading, or let something arrive, which is then read after it.
        this.#notify = undefined
        while (reading && this.#chunks.length > 0) {
          const next = takeStep()
          if (next !== undefined) return resume(next)
        }
        if (!reading) return
        if (this.#error !== undefined) return resume(Effect.fail(this.#error))
        this.#notify = read
      }
      read()
      return Effect.sync(() => {
        reading = false
        if (this.#notify === read) this.#notify = undefined
      })
    })
  }
}

/** The writers that wait for room. */
export class Room {
  error: Socket.SocketError | undefined = undefined
  #waiters: Set<Resume<void>> | undefined = undefined

  open(): void {
    this.#wake(Effect.void)
  }

  fail(error: Socket.SocketError): void {
    this.error ??= error
    this.#wake(Effect.fail(this.error))
  }

  #wake(effect: Effect.Effect<void, Socket.SocketError>): void {
    const waiters = this.#waiters
    if (waiters === undefined) return
    this.#waiters = undefined
    for (const resume of [...waiters]) resume(effect)
  }

  /** Waits for `open`. */
  get wait(): Effect.Effect<void, Socket.SocketError> {
    return Effect.callback((resume) => {
      if (this.error !== undefined) return resume(Effect.fail(this.error))
      const waiters = this.#waiters ??= new Set()
      waiters.add(resume)
      return Effect.sync(() => waiters.delete(resume))
    })
  }
}

/** The bytes that were written and that the other side has not taken yet. */
export class Outstanding {
  bytes = 0
  readonly room: Room = new Room()

  taken(bytes: number): void {
    this.bytes -= bytes
    if (this.bytes < highWaterMark) this.room.open()
  }

  get hasRoom(): boolean {
    return this.room.error === undefined && this.bytes < highWaterMark
  }

  get wait(): Effect.Effect<void, Socket.SocketError> {
    return Effect.suspend(() => this.hasRoom ? Effect.void : Effect.andThen(this.room.wait, this.wait))
  }
}

/** The chunks as one; a chunk alone stays as it is. */
export const gather = (chunks: NonEmptyReadonlyArray<Uint8Array>): Uint8Array => {
  if (chunks.length === 1) return chunks[0]
  const all = new Uint8Array(chunks.reduce((bytes, chunk) => bytes + chunk.length, 0))
  let offset = 0
  for (const chunk of chunks) {
    all.set(chunk, offset)
    offset += chunk.length
  }
  return all
}
