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
const worthATurn = "setImmediate" in globalThis ? maximumSize : 16 * maximumSize

// The least that a chunk counts for.
const leastWeight = 64

export const part = (chunk: AnyChunk, from: number, to?: number): AnyChunk =>
  chunk instanceof Uint8Array ? chunk.subarray(from, to) : chunk.slice(from, to)

/** The chunks between the two ends of a pipe: pushed, and not pulled yet. */
export class ChunkBuffer {
  readonly isBytes: boolean
  private chunks: Array<AnyChunk> = []
  private size = 0
  /** The size that was pushed since the writer left a turn. */
  private sinceTurn = 0
  /** The writer pushes no more. */
  ended = false
  /** The reader pulls no more: later chunks are dropped. */
  abandoned = false
  /** Told when there is a chunk to take, or the end. */
  private readonly readers = new Waiting()
  /** Told when there is room. */
  private readonly writers = new Waiting()

  constructor(isBytes: boolean) {
    this.isBytes = isBytes
  }

  get hasRoom(): boolean {
    return this.chunks.length < maximumChunks && this.size < maximumSize
  }

  /** Whether a writer need not wait. */
  get isWritable(): boolean {
    return this.hasRoom && this.sinceTurn < worthATurn
  }

  get isEmpty(): boolean {
    return this.chunks.length === 0
  }

  /** Whether a reader need not wait. */
  get isReadable(): boolean {
    return this.chunks.length > 0 || this.ended || this.abandoned
  }

  put(chunk: AnyChunk): void {
    if (chunk.length === 0 || this.abandoned) return
    this.chunks.push(chunk)
    this.size += chunk.length
    this.sinceTurn += Math.max(chunk.length, leastWeight)
    this.tellReaders()
  }

  end(): void {
    this.ended = true
    this.tellReaders()
  }

  /** Takes at most so many elements of the oldest chunk. */
  take(maximum: number): AnyChunk {
    const chunk = this.chunks[0]!
    if (chunk.length <= maximum) {
      this.chunks.shift()
      this.taken(chunk.length)
      return chunk
    }
    this.chunks[0] = part(chunk, maximum)
    this.taken(maximum)
    return part(chunk, 0, maximum)
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

  /** Waits until there is a chunk, or until there never will be. */
  awaitReadable(): Effect.Effect<void> {
    return this.readers.wait(() => this.isReadable)
  }

  /** Waits for room, or else for a turn of the event loop. */
  awaitWritable(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!this.hasRoom) return this.awaitRoom(() => this.hasRoom)
      this.sinceTurn = 0
      return Effect.yieldNow
    })
  }

  /** Waits for room, unless there is enough. */
  awaitRoom(isEnough: () => boolean): Effect.Effect<void> {
    return this.writers.wait(isEnough)
  }

  /** Readers have to go on when no writer can. */
  private tellReaders(): void {
    this.readers.tell(() => this.isReadable, !this.hasRoom)
  }

  /** Writers have to go on when no reader can. */
  private taken(size: number): void {
    this.size -= size
    this.writers.tell(() => this.hasRoom, this.isEmpty)
  }
}

/** The fibers that wait for the other end. */
class Waiting {
  private readonly waiting = new Set<() => void>()
  private dispatcher: SchedulerDispatcher | undefined
  private isScheduled = false

  /** Waits until it is told, unless the condition holds already. */
  wait(holds: () => boolean): Effect.Effect<void> {
    return Effect.withFiber(({ currentDispatcher }) =>
      Effect.callback((resume) => {
        if (holds()) return resume(Effect.void)
        const one = () => resume(Effect.void)
        this.dispatcher = currentDispatcher
        this.waiting.add(one)
        return Effect.sync(() => this.waiting.delete(one))
      })
    )
  }

  /**
   * Tells one fiber after another, in the order in which they came, while the condition holds. Not at once where the other end may
   * go on: small chunks that are pushed or pulled in one go cost one turn.
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
        // It may have been forgotten meanwhile.
        if (this.waiting.delete(one)) one()
      }
    })
  }
}
