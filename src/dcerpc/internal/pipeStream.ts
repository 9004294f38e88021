/**
 * Pipes on the wire: chunks in the stub of a message that is sent and received part by part.
 */
import * as Effect from "effect/Effect"
import type { AnyChunk, ChunkBuffer } from "../../internal/chunkBuffer.ts"
import * as Chunks from "../../internal/chunkBuffer.ts"
import * as Pdu from "../Pdu.ts"
import { largestChunk, type PipeCodec, type PipeInput, type PipeOutput, type Problem } from "./methodCodec.ts"

// ----------------------------------------------------------------------------
// sending
// ----------------------------------------------------------------------------

// From here on bytes are worth fragments of their own, in which they need not be copied.
const worthReferring = 4096

// Sockets give 64 KiB at a time, and the receiver puts together what is cut there: of smaller fragments that is less.
const largestReferring = 12288

/**
 * The message of a call with pipes, as it is sent.
 *
 * The standard wants the stub of each fragment but the last to be a multiple of 8. What is pushed leaves at once, though, and in NDR what
 * follows it has its place at the next multiple of 4: there the fragment ends where that is the end of what was pushed.
 */
export class OutgoingStub implements PipeOutput {
  readonly writer: Pdu.Writer
  /** Begins a fragment of the message. */
  private readonly begin: () => void
  /** Sends the bytes of the writer and then `following`; together they hold `size` bytes of the stub. */
  private readonly flush: (following: Uint8Array, size: number) => void
  private readonly maxFragment: number
  /** The trailer of each fragment, where messages are protected. */
  private readonly trailer: Pdu.AuthTrailer | undefined
  /** How much of the stub is in front of the present fragment. */
  private size = 0
  private isFirst = true
  /** Its last part was sent. */
  isWhole = false
  /** Nothing more flows through its pipes. */
  isCut = false

  constructor(
    writer: Pdu.Writer,
    maxFragment: number,
    begin: () => void,
    flush: OutgoingStub["flush"],
    trailer?: Pdu.AuthTrailer | undefined
  ) {
    this.writer = writer
    this.maxFragment = maxFragment
    this.begin = begin
    this.flush = flush
    this.trailer = trailer
  }

  /** Sends the next part of the stub. Whether it is the last is asked when it was written. */
  send(write: (writer: Pdu.Writer) => Problem | undefined, isLast: () => boolean): Problem | undefined {
    this.beginFragment()
    const problem = write(this.writer)
    if (problem !== undefined) Pdu.discardMessage(this.writer)
    else this.endFragment(noBytes, isLast())
    return problem
  }

  /** How much of the stub was written. */
  get length(): number {
    return (this.size & ~7) + this.writer.position - this.writer.stub
  }

  /** Writes bytes, which belong to the stub from now on. */
  writeBytes({ buffer, byteLength, byteOffset }: Uint8Array, unit: number): void {
    const { writer } = this
    // What does not fill a unit leaves with the padding that follows. Bytes that are encrypted in place have to be copied.
    const referred = byteLength < worthReferring || this.trailer !== undefined ? 0 : byteLength - byteLength % unit
    for (let at = 0; at < referred;) {
      const part = new Uint8Array(buffer, byteOffset + at, Math.min(this.room(), referred - at))
      this.endFragment(part, false)
      this.beginFragment()
      at += part.length
    }
    const copied = byteLength - referred
    if (copied === 0) return
    writer.ensure(copied)
    writer.bytes.set(new Uint8Array(buffer, byteOffset + referred, copied), writer.position)
    writer.position += copied
  }

  /** How many bytes fill the present fragment, whose stub is a multiple of 8 then. */
  private room(): number {
    const { writer } = this
    const room = Math.min(this.maxFragment, largestReferring) - (writer.position - writer.message)
    return Math.max(0, room - (writer.position - writer.stub - (this.size & 7) + room & 7))
  }

  private beginFragment(): void {
    this.begin()
    // Alignment counts from the start of the whole stub.
    this.writer.stub -= this.size & 7
  }

  private endFragment(following: Uint8Array, isLast: boolean): void {
    const { writer } = this
    writer.stub += this.size & 7
    const size = writer.position - writer.stub + following.length
    // Nothing was written behind bytes that left in a fragment of their own.
    if (size === 0 && !isLast && !this.isFirst) return Pdu.discardMessage(writer)
    this.size += size
    const part = (this.isFirst ? Pdu.flags.firstFrag : 0) | (isLast ? Pdu.flags.lastFrag : 0)
    if (following.length > 0) endInFront(writer, part, following.length)
    else Pdu.endMessage(writer, this.maxFragment, this.trailer, part)
    this.isFirst = false
    this.isWhole = isLast
    this.flush(following, size)
  }
}

const noBytes = new Uint8Array(0)

/** Ends a fragment whose stub goes on with `following` bytes, which are sent behind what is taken from the writer. */
const endInFront = (writer: Pdu.Writer, part: number, following: number): void => {
  const { bytes, littleEndian, message: start, position: end, stub, view } = writer
  bytes[start + 3] = bytes[start + 3]! & ~(Pdu.flags.firstFrag | Pdu.flags.lastFrag) | part
  view.setUint16(start + 8, end - start + following, littleEndian)
  view.setUint16(start + 10, 0)
  view.setUint32(start + 16, end - stub + following, littleEndian)
  writer.message = -1
  writer.stub = end
}

/** One pipe of a call, and how it travels. */
export interface Piped {
  readonly codec: PipeCodec
  readonly buffer: ChunkBuffer
}

// About so many bytes are sent before it is looked whether there is room for more.
const worthALook = 0x40000

// So many elements are written at a time at first, when nobody knows how large they are, and about so many bytes of them later.
const firstElements = 16
const maximumBytes = 0x8000

/** Sends the pushed elements, one pipe after another, as fast as there is room. Ends with the last pipe's end. */
export const sendPipes = <E>(
  pipes: ReadonlyArray<Piped>,
  stub: OutgoingStub,
  room: Effect.Effect<void, E>,
  /** Whether the message ends with the last pipe. */
  endsMessage: boolean
): Effect.Effect<Problem | undefined, E> =>
  Effect.gen(function* () {
    for (const [index, { buffer, codec }] of pipes.entries()) {
      let ended = false
      let chunks: Array<AnyChunk> = []
      let from = 0
      let most = buffer.isBytes ? worthALook : firstElements
      const write = (writer: Pdu.Writer): Problem | undefined => {
        const start = stub.length
        let sent = 0
        while (sent < chunks.length && stub.length - start < worthALook) {
          const chunk = chunks[sent]!
          const count = Math.min(chunk.length - from, most)
          const before = stub.length
          const problem = codec.write(stub, count === chunk.length ? chunk : Chunks.part(chunk, from, from + count))
          if (problem !== undefined) return problem
          from += count
          if (from === chunk.length) {
            from = 0
            sent++
          }
          if (buffer.isBytes) continue
          // Those that follow may be as large.
          const fitting = Math.floor(count * maximumBytes / (stub.length - before))
          most = Math.max(1, Math.min(fitting, 4 * most, largestChunk))
        }
        chunks.splice(0, sent)
        ended = chunks.length === 0 && buffer.ended && buffer.isEmpty
        if (ended) codec.end(writer)
        return undefined
      }
      const isLast = endsMessage && index === pipes.length - 1
      while (!ended) {
        if (chunks.length === 0) yield* Chunks.awaitReadable(buffer)
        yield* room
        if (chunks.length === 0) chunks = buffer.takeAll()
        // Taking may have let the writer push more, or end the call.
        if (stub.isCut) return undefined
        const problem = stub.send(write, () => isLast && ended)
        if (problem !== undefined) return problem
      }
    }
    return undefined
  })

// ----------------------------------------------------------------------------
// receiving
// ----------------------------------------------------------------------------

/** So much of the stub, and one chunk, is held for a reader who does not keep up, whatever its elements take there. */
const maximumHeld = 0x40000

/** The pipes of a message, as it arrives. */
export class IncomingPipes {
  private readonly pipes: ReadonlyArray<Piped>
  private readonly input: PipeInput
  private index = 0
  /** How much of the stub was read since the present pipe was empty. */
  private held = 0
  /** How many bytes behind the input are free for what follows. */
  private free = 0

  /** `offset`: how much of the stub was in front of the pipes. */
  constructor(pipes: ReadonlyArray<Piped>, littleEndian: boolean, maximumElements: number, offset: number) {
    this.pipes = pipes
    const before = offset & 7
    this.input = {
      bytes: new Uint8Array(before),
      position: before,
      littleEndian,
      owned: true,
      maximumElements,
      remaining: 0,
      partial: undefined
    }
  }

  get isThrough(): boolean {
    return this.index === this.pipes.length
  }

  /** Whether the reader of the present pipe keeps up. */
  get hasRoom(): boolean {
    if (this.isThrough) return true
    const { buffer } = this.pipes[this.index]!
    return buffer.isEmpty || buffer.hasRoom && this.held < maximumHeld
  }

  /** Waits until the reader of the present pipe has made room. */
  readonly room: Effect.Effect<void> = Effect.suspend(() =>
    this.hasRoom ? Effect.void : Chunks.awaitRoom(this.pipes[this.index]!.buffer, () => this.hasRoom)
  )

  /** The bytes behind the pipes in the stub: the input from its position on. */
  get rest(): PipeInput {
    return this.input
  }

  /** Takes the next bytes of the stub. Nobody changes them any more. */
  push(bytes: Uint8Array): Problem | undefined {
    this.append(bytes)
    while (!this.isThrough) {
      const { buffer, codec } = this.pipes[this.index]!
      const { position } = this.input
      const read = codec.read(this.input)
      if (read === "more") return undefined
      if (buffer.isEmpty) this.held = 0
      this.held += this.input.position - position
      if (read === "broken") {
        this.index = this.pipes.length
      } else if (read === "end") {
        Chunks.end(buffer)
        this.index++
      } else if (read !== "count") {
        if ("problem" in read) return read
        Chunks.put(buffer, read)
      }
    }
    return undefined
  }

  private append(bytes: Uint8Array): void {
    const { input } = this
    // The bytes already read are dropped, up to a multiple of 8.
    const from = input.position & ~7
    const left = input.bytes.length - from
    input.position -= from
    // What was read is not looked at again: whatever is in front of the bytes can stand for it.
    if (input.position === left && left <= bytes.byteOffset) {
      input.bytes = new Uint8Array(bytes.buffer, bytes.byteOffset - left, left + bytes.length)
      this.free = 0
      return
    }
    const size = left + bytes.length
    const kept = input.bytes.subarray(from)
    if (bytes.length > this.free) {
      // Something large in many small fragments is not copied with each of them.
      const larger = new Uint8Array(left > bytes.length ? 2 * size : size)
      larger.set(kept)
      input.bytes = larger.subarray(0, size)
      this.free = larger.length - size
    } else {
      input.bytes = new Uint8Array(kept.buffer, kept.byteOffset, size)
      this.free -= bytes.length
    }
    input.bytes.set(bytes, left)
  }
}
