/**
 * The buffer between the two ends of a pipe, with its backpressure.
 */
import * as Effect from "effect/Effect"
import type { SchedulerDispatcher } from "effect/Scheduler"
import * as Depth from "./depth.ts"

export type AnyChunk = Uint8Array | ReadonlyArray<unknown>

// Above so many chunks, or so many bytes or elements, the writer waits for the reader.
const maximumChunks = 64
const maximumSize = 262144

// After so much the writer leaves a turn to the event loop, though there is room: two ends that hardly wait would block it.
// Browsers have no setImmediate: there a turn takes up to 4 ms.
const turn = (): number => "setImmediate" in globalThis ? maximumSize : 16 * maximumSize
const worthATurn = turn()

// A smaller chunk counts as much as one of this size.
const leastWeight = 64

export const part = (chunk: AnyChunk, from: number, to?: number): AnyChunk =>
  chunk instanceof Uint8Array ? chunk.subarray(from, to) : chunk.slice(from, to)

/** The place of a buffer, which is made when an end needs it: programs without pipes do not load it. */
export interface Slot {
  readonly isBytes: boolean
  buffer: ChunkBuffer | undefined
  /** The reader has gone. */
  isAbandoned: boolean
}

export const bufferOf = (slot: Slot): ChunkBuffer => slot.buffer ??= new ChunkBuffer(slot.isBytes, slot.isAbandoned)

/** The chunks between the two ends of a pipe: pushed, and not pulled yet. */
export class ChunkBuffer {
  readonly isBytes: boolean
  chunks: Array<AnyChunk> = []
  size = 0
  /** The size that was pushed since the writer left a turn. */
  sinceTurn = 0
  /** The writer pushes no more. */
  ended = false
  /** The reader pulls no more: later chunks are dropped. */
  abandoned: boolean
  /** Told when there is a chunk to take, or the end. */
  readonly readers: Waiting = new Waiting()
  /** Told when there is room. */
  readonly writers: Waiting = new Waiting()

  constructor(isBytes: boolean, abandoned = false) {
    this.isBytes = isBytes
    this.abandoned = abandoned
  }

  get hasRoom(): boolean {
    return this.chunks.length < maximumChunks && this.size < maximumSize
  }

  get isEmpty(): boolean {
    return this.chunks.length === 0
  }

  /** Whether a reader need not wait. */
  get isReadable(): boolean {
    return this.chunks.length > 0 || this.ended || this.abandoned
  }

  takeAll(): Array<AnyChunk> {
    const { chunks, size } = this
    this.chunks = []
    this.taken(size)
    return chunks
  }

  /** Drops all chunks. */
  clear(): void {
    if (this.chunks.length > 0) this.takeAll()
  }

  abandon(): void {
    this.abandoned = true
    this.clear()
    this.tellReaders()
  }

  /** Readers have to go on when no writer can. */
  tellReaders(): void {
    this.readers.tell(() => this.isReadable, !this.hasRoom)
  }

  /** Writers have to go on when no reader can. */
  taken(size: number): void {
    this.size -= size
    this.writers.tell(() => this.hasRoom, this.isEmpty)
  }
}

/** The fibers that wait for the other end. */
class Waiting {
  readonly waiting: Set<() => void> = new Set()
  dispatcher: SchedulerDispatcher | undefined
  private isScheduled = false

  /**
   * Tells one fiber after another, in the order in which they came, while the condition holds. While the other end may go on, that
   * waits for the end of its turn: small chunks that are pushed or pulled in one go cost one turn.
   */
  tell(holds: () => boolean, atOnce: boolean): void {
    if (this.waiting.size === 0) return
    if (atOnce) return this.tellAll(holds)
    if (this.isScheduled) return
    this.isScheduled = true
    this.dispatcher!.scheduleTask(() => {
      this.isScheduled = false
      this.tellAll(holds)
    }, 0)
  }

  private tellAll(holds: () => boolean): void {
    Depth.run(() => {
      for (const one of [...this.waiting]) {
        if (!holds()) return
        // A fiber may have stopped waiting meanwhile.
        if (this.waiting.delete(one)) one()
      }
    })
  }
}

// ----------------------------------------------------------------------------
// the writer
// ----------------------------------------------------------------------------

export const put = (buffer: ChunkBuffer, chunk: AnyChunk): void => {
  if (chunk.length === 0 || buffer.abandoned) return
  buffer.chunks.push(chunk)
  buffer.size += chunk.length
  buffer.sinceTurn += Math.max(chunk.length, leastWeight)
  buffer.tellReaders()
}

export const end = (buffer: ChunkBuffer): void => {
  buffer.ended = true
  buffer.tellReaders()
}

/** Whether a writer need not wait. */
export const isWritable = (buffer: ChunkBuffer): boolean => buffer.hasRoom && buffer.sinceTurn < worthATurn

/** Waits for room, or else for a turn of the event loop. */
export const awaitWritable = (buffer: ChunkBuffer): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (!buffer.hasRoom) return awaitRoom(buffer, () => buffer.hasRoom)
    buffer.sinceTurn = 0
    return Effect.yieldNow
  })

/** Waits for room, unless there is enough. */
export const awaitRoom = (buffer: ChunkBuffer, isEnough: () => boolean): Effect.Effect<void> =>
  wait(buffer.writers, isEnough)

// ----------------------------------------------------------------------------
// the reader
// ----------------------------------------------------------------------------

/** Takes at most so many elements of the oldest chunk. */
export const take = (buffer: ChunkBuffer, maximum: number): AnyChunk => {
  const chunk = buffer.chunks[0]!
  if (chunk.length <= maximum) {
    buffer.chunks.shift()
    buffer.taken(chunk.length)
    return chunk
  }
  buffer.chunks[0] = part(chunk, maximum)
  buffer.taken(maximum)
  return part(chunk, 0, maximum)
}

/** Waits until there is a chunk, or until there never will be. */
export const awaitReadable = (buffer: ChunkBuffer): Effect.Effect<void> => wait(buffer.readers, () => buffer.isReadable)

/** Waits until it is told, unless the condition holds already. */
const wait = (self: Waiting, holds: () => boolean): Effect.Effect<void> =>
  Effect.withFiber(({ currentDispatcher }) =>
    Effect.callback((resume) => {
      if (holds()) return resume(Effect.void)
      const one = () => resume(Effect.void)
      self.dispatcher = currentDispatcher
      self.waiting.add(one)
      return Effect.sync(() => self.waiting.delete(one))
    })
  )
