/**
 * The codec of a method in a transfer syntax: the models, and the parts that the syntaxes share.
 */
import type * as Tracer from "effect/Tracer"
import type { Outcome } from "../../Channel.ts"
import type { Abort, Method, Operation } from "../../Interface.ts"
import type { AnyChunk } from "../../internal/chunkBuffer.ts"
import { clauseOf } from "../../internal/named.ts"
import type { ElementsInput } from "../../ndr/internal/ndrPipe.ts"
import { compact } from "../../ndr/internal/ndrStream.ts"
import type { Writer } from "../Pdu.ts"

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

/**
 * Why something can't be written or read: a sentence, and the Win32 status that a fault carries.
 *
 * @category models
 * @since 0.1.0
 */
export interface Problem {
  /** The problem, in words for a person. */
  readonly problem: string
  /** The Win32 status. */
  readonly status: number
}

/**
 * The value read, or the reason why it can't be read.
 *
 * @category models
 * @since 0.1.0
 */
export type Read<A> = { readonly value: A } | Problem

/**
 * The stub of a request.
 *
 * @category models
 * @since 0.1.0
 */
export interface Arguments {
  /** The in parameters. */
  readonly input: unknown
  /** The span of the client's call, where the syntax carries it. */
  readonly parent: Tracer.ExternalSpan | undefined
  /** Where in the stub they end, if a verification trailer may follow. */
  readonly end?: number | undefined
}

/**
 * The stub of a request as far as it is known, where pipes follow the arguments.
 *
 * @category models
 * @since 0.1.0
 */
export interface ArgumentsBeforePipes extends Arguments {
  /** Where in the stub the pipes begin. */
  readonly size: number
}

/**
 * One method in a transfer syntax. The functions that write give what is wrong, or `undefined`; what they have written until
 * then is to be discarded.
 *
 * @category models
 * @since 0.1.0
 */
export interface MethodCodec {
  /** Writes the stub of a request. */
  readonly writeArguments: (writer: Writer, input: unknown, parent: Tracer.AnySpan | undefined) => Problem | undefined
  /** Reads the stub of a request. More than `maximumElements` values are refused with 1783. */
  readonly readArguments: (stub: Uint8Array, littleEndian: boolean, maximumElements: number) => Read<Arguments>
  /** Writes the stub of a response. */
  readonly writeResults: (writer: Writer, out: unknown) => Problem | undefined
  /** Writes a declared abort with its fields. Missing where only its code can travel, as a fault. */
  readonly writeAbort?: (writer: Writer, abort: Abort.Any, error: Abort.Error) => Problem | undefined
  /** Reads the stub of a response, from `start` on. More than `maximumElements` values are refused with 1783. */
  readonly readResults: (
    stub: Uint8Array,
    littleEndian: boolean,
    maximumElements: number,
    start?: number
  ) => Read<Outcome>
  /**
   * Reads arguments that in pipes follow, from what has arrived of the stub. Where that may not be all of them it gives how many bytes
   * they take at least.
   */
  readonly readArgumentsBeforePipes: (
    stub: Uint8Array,
    littleEndian: boolean,
    maximumElements: number
  ) => Read<ArgumentsBeforePipes> | number
  /** @internal The pipes of the method, in their order. */
  readonly pipes: ReadonlyArray<PipeCodec>
}

/**
 * A pipe in a transfer syntax.
 *
 * @internal
 */
export interface PipeCodec {
  /** Writes a chunk that is not empty. */
  readonly write: (output: PipeOutput, chunk: AnyChunk) => Problem | undefined
  /** Writes the empty chunk, which ends the pipe. */
  readonly end: (writer: Writer) => void
  /**
   * Reads one thing from the stub, a count or what elements there are, and leaves the input behind it. Gives what elements it
   * read, `more` where that needs more bytes, `end` for the empty chunk, and `broken`, leaving the input in front of it, where
   * an abort stands in place of the rest of all pipes.
   */
  readonly read: (input: PipeInput) => AnyChunk | Problem | "count" | "more" | "end" | "broken"
}

/**
 * Where chunks are written.
 *
 * @internal
 */
export interface PipeOutput {
  readonly writer: Writer
  /** Writes bytes, which nobody changes any more. Many of them are not copied, but for the last that are less than a unit. */
  writeBytes(bytes: Uint8Array, unit: number): void
}

/**
 * The bytes of the stub that were not read yet.
 *
 * @internal
 */
export interface PipeInput extends ElementsInput {
  /** They begin where alignment counts from, or at a multiple of 8 bytes from there. */
  bytes: Uint8Array
  position: number
  readonly littleEndian: boolean
  readonly owned: true
  /** The values that a chunk may hold which is read as a whole. */
  readonly maximumElements: number
  /** The rest of the current chunk: elements, or bytes. */
  remaining: number
}

// ----------------------------------------------------------------------------
// definitions
// ----------------------------------------------------------------------------

/** A method whose definition its transfer syntax does not have: nothing of it can be written or read. */
const refusing = (error: unknown): MethodCodec => {
  const refuse = (): Problem => ({ problem: clauseOf((error as Error).message), status: 1783 })
  return {
    writeArguments: refuse,
    readArguments: refuse,
    readArgumentsBeforePipes: refuse,
    writeResults: refuse,
    readResults: refuse,
    pipes: []
  }
}

/** Gives the codec for calls of a method. Never throws: the first call compiles it, and must not end calls of other methods. */
export const codecFor = (
  { codec }: { readonly codec: (method: Method.Any, name: string) => MethodCodec | undefined },
  { method, name }: Pick<Operation, "method" | "name">
): MethodCodec => {
  try {
    return codec(method, name)!
  } catch (error) {
    return refusing(error)
  }
}

// ----------------------------------------------------------------------------
// reading pipes
// ----------------------------------------------------------------------------

/** So many elements are written at a time at most. */
export const largestChunk = 256

/** Reads how many elements or bytes follow. */
export const readCount = (input: PipeInput, at: number, littleEndian: boolean): "count" | "more" | "end" => {
  const { bytes } = input
  if (at + 4 > bytes.length) return "more"
  input.remaining = new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, littleEndian)
  input.position = at + 4
  return input.remaining === 0 ? "end" : "count"
}

/** Reads what there is of the bytes of a chunk. */
export const readBytes = (input: PipeInput): Uint8Array | "more" => {
  const { bytes, position, remaining } = input
  const size = Math.min(remaining, bytes.length - position)
  if (size === 0) return "more"
  input.position += size
  input.remaining -= size
  return compact(new Uint8Array(bytes.buffer, bytes.byteOffset + position, size))
}
