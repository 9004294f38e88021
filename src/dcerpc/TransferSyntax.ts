/**
 * Transfer syntaxes: how the parameters of an interface become the bytes of a call.
 *
 * Client and server agree on one for each interface when they bind. {@link binary} is Callisto's own, for any schema; it
 * carries the fields of declared aborts and the trace context too.
 *
 * @since 0.1.0
 */
import * as SchemaBinary from "effect/encoding/SchemaBinary"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Tracer from "effect/Tracer"
import { type Abort, type Interface, type Method, type Parameters, pipesOf } from "../Interface.ts"
import { type AnyChunk, type Element, isBytes } from "../Pipe.ts"
import type { Outcome } from "../ServerCall.ts"
import { RpcFault } from "../Status.ts"
import * as Ndr from "./Ndr.ts"
import { ndr20 as ndr20Id, type SyntaxId, type Writer } from "./Pdu.ts"

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
  readonly problem: string
  readonly status: number
}

/**
 * What was read, or why it can't be.
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
  readonly input: unknown
  /** The span of the client's call, where the syntax carries it. */
  readonly parent: Tracer.ExternalSpan | undefined
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
  readonly writeArguments: (writer: Writer, input: unknown, parent: Tracer.AnySpan | undefined) => Problem | undefined
  readonly readArguments: (stub: Uint8Array, littleEndian: boolean) => Read<Arguments>
  readonly writeResults: (writer: Writer, out: unknown) => Problem | undefined
  /** Writes a declared abort with its fields. Missing where only its code can travel, as a fault. */
  readonly writeAbort?: (writer: Writer, abort: Abort.Any, error: Abort.Error) => Problem | undefined
  readonly readResults: (stub: Uint8Array, littleEndian: boolean, start?: number) => Read<Outcome>
  /**
   * Reads arguments that in pipes follow, from what has arrived of the stub. Where that may not be all of them it gives how many bytes
   * they take at least.
   */
  readonly readArgumentsBeforePipes: (stub: Uint8Array, littleEndian: boolean) => Read<ArgumentsBeforePipes> | number
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
export interface PipeInput {
  /** They begin where alignment counts from, or at a multiple of 8 bytes from there. */
  bytes: Uint8Array
  position: number
  readonly littleEndian: boolean
  /** What is left of the current chunk: elements, or bytes. */
  remaining: number
}

/**
 * A transfer syntax.
 *
 * @category models
 * @since 0.1.0
 */
export interface TransferSyntax {
  readonly id: SyntaxId
  /** The largest fragment that both peers use where they have chosen this syntax. */
  readonly maxFragment: number
  /** The codec of a method; `undefined` where its parameters have no form in this syntax. */
  readonly codec: (method: Method.Any) => MethodCodec | undefined
}

// ----------------------------------------------------------------------------
// NDR
// ----------------------------------------------------------------------------

/**
 * NDR 2.0, the transfer syntax that every DCE/RPC peer knows, for interfaces that are described with `Ndr` types. Of a declared
 * abort the code travels, as a fault.
 *
 * @category syntaxes
 * @since 0.1.0
 */
export const ndr20: TransferSyntax = {
  id: ndr20Id,
  maxFragment: 5840,
  codec: (method) => {
    if (ndrCodecs.has(method)) return ndrCodecs.get(method)
    const codec = makeNdrCodec(method)
    ndrCodecs.set(method, codec)
    return codec
  }
}

const ndrCodecs = new WeakMap<Method.Any, MethodCodec | undefined>()

const makeNdrCodec = (method: Method.Any): MethodCodec | undefined => {
  const input = Ndr.codecOf(method.in)
  const output = Ndr.codecOf(method.out)
  const pipes: Array<PipeCodec> = []
  for (const { element, name } of pipesOf(method) ?? []) {
    const codec = makeNdrPipe(element, name)
    if (codec === undefined) return undefined
    pipes.push(codec)
  }
  if (input === undefined || output === undefined) return undefined
  const takesPipe = Object.keys(method.inPipe).length > 0
  const readArguments: MethodCodec["readArgumentsBeforePipes"] = (stub, littleEndian) => {
    const reader = Ndr.makeReader(stub, { littleEndian, owned: true })
    const decoded = input.decode(reader)
    if (Result.isSuccess(decoded)) {
      return { value: { input: decoded.success, parent: undefined, size: reader.position } }
    }
    return decoded.failure.needed ?? ndrProblem(decoded.failure)
  }
  return {
    writeArguments: (writer, value) => {
      const problem = writeNdr(input.encode(writer, value))
      // As with a chunk, see below.
      if (takesPipe) writer.align(4)
      return problem
    },
    readArguments: (stub, littleEndian) => {
      const decoded = input.decode(Ndr.makeReader(stub, { littleEndian, owned: true }))
      return Result.isFailure(decoded)
        ? ndrProblem(decoded.failure)
        : { value: { input: decoded.success, parent: undefined } }
    },
    readArgumentsBeforePipes: readArguments,
    writeResults: (writer, out) => writeNdr(output.encode(writer, out)),
    readResults: (stub, littleEndian, start = 0) => {
      const reader = Ndr.makeReader(stub, { littleEndian, owned: true })
      reader.position = start
      const decoded = output.decode(reader)
      return Result.isFailure(decoded) ? ndrProblem(decoded.failure) : { value: Exit.succeed(decoded.success) }
    },
    pipes
  }
}

const ndrProblem = ({ message, status }: Ndr.NdrError): Problem => ({ problem: message, status })

const writeNdr = (written: Result.Result<void, Ndr.NdrError>): Problem | undefined =>
  Result.isFailure(written) ? ndrProblem(written.failure) : undefined

/** A chunk is a count and so many elements; the count 0 ends the pipe. */
const makeNdrPipe = (element: Element, name: string): PipeCodec | undefined => {
  const elements = isBytes(element) ? undefined : Ndr.elementsCodecOf(element, name)
  if (elements === undefined && !isBytes(element)) return undefined
  return {
    write: (output, chunk) => {
      const { writer } = output
      let problem: Problem | undefined
      writeCount(writer, chunk.length)
      if (elements === undefined) output.writeBytes(chunk as Uint8Array, 4)
      else problem = writeNdr(elements.encode(writer, chunk as ReadonlyArray<unknown>))
      // What follows is a count, so that its padding can leave with the chunk.
      writer.align(4)
      return problem
    },
    end: (writer) => writeCount(writer, 0),
    read: (input) => {
      if (input.remaining === 0) return readCount(input, input.position + 3 & ~3, input.littleEndian)
      if (elements === undefined) return readBytes(input)
      const reader = Ndr.makeReader(input.bytes, { littleEndian: input.littleEndian, owned: true })
      reader.position = input.position
      const decoded = elements.decode(reader, input.remaining)
      if (Result.isFailure(decoded)) return ndrProblem(decoded.failure)
      if (decoded.success.length === 0) return "more"
      input.position = reader.position
      input.remaining -= decoded.success.length
      return decoded.success
    }
  }
}

const writeCount = (writer: Writer, count: number): void => {
  writer.align(4)
  writer.ensure(4)
  writer.view.setUint32(writer.position, count, writer.littleEndian)
  writer.position += 4
}

const readCount = (input: PipeInput, at: number, littleEndian: boolean): "count" | "more" | "end" => {
  const { bytes } = input
  if (at + 4 > bytes.length) return "more"
  input.remaining = new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, littleEndian)
  input.position = at + 4
  return input.remaining === 0 ? "end" : "count"
}

const readBytes = (input: PipeInput): Uint8Array | "more" => {
  const { bytes, position, remaining } = input
  const part = bytes.subarray(position, position + remaining)
  if (part.length === 0) return "more"
  input.position += part.length
  input.remaining -= part.length
  return part
}

// ----------------------------------------------------------------------------
// Callisto's own
// ----------------------------------------------------------------------------

const hasTrace = 1
const traceSize = 25
const replied = 0
const aborted = 1

/** In place of the length of a chunk: no out pipe goes on, and an abort follows. */
const brokenOff = 0xffffffff

/**
 * Callisto's own transfer syntax: Effect's binary schema codec, for interfaces that are described with any schemas.
 *
 * **Details**
 *
 * A request's stub is a byte of flags, the trace context where flag 1 says so (trace id 16 bytes, span id 8, sampled 1), and
 * the arguments. A response's stub is a byte, 0 for out parameters or 1 for a declared abort with its code as a 32-bit
 * little-endian number, and then the out parameters or the fields of the abort. Everything else is a fault.
 *
 * Where in pipes follow the arguments, their length goes in front of them as a 32-bit little-endian number; out pipes go in front
 * of everything else. A chunk is its length in bytes as such a number, and the bytes, or the elements as an array; the length 0
 * ends the pipe. Where the method aborts, out pipes are broken off by the length 0xFFFFFFFF, and the abort follows.
 *
 * @category syntaxes
 * @since 0.1.0
 */
export const binary: TransferSyntax = {
  id: { uuid: "b6a1f1c0-7c1e-4f4c-9d51-7d6a3e0f2a95", major: 1, minor: 0 },
  maxFragment: 65528,
  codec: (method) => {
    const known = binaryCodecs.get(method)
    if (known !== undefined) return known
    const codec = makeBinaryCodec(method)
    binaryCodecs.set(method, codec)
    return codec
  }
}

const binaryCodecs = new WeakMap<Method.Any, MethodCodec>()

interface Both {
  readonly write: (writer: Writer, value: unknown) => Problem | undefined
  readonly read: (bytes: Uint8Array) => Read<unknown>
}

const makeBoth = (schema: Parameters): Both => {
  // Nothing is nothing: most methods without parameters send not a byte for them.
  if (schema.ast._tag === "Void") return { write: () => undefined, read: () => ({ value: undefined }) }
  const codec = SchemaBinary.toCodec(schema)
  const encode = Schema.encodeUnknownSync(codec)
  const decode = Schema.decodeUnknownSync(codec)
  return {
    write: (writer, value) => {
      try {
        const bytes = encode(value)
        writer.ensure(bytes.length)
        writer.bytes.set(bytes, writer.position)
        writer.position += bytes.length
        return undefined
      } catch (error) {
        return problemOf(error)
      }
    },
    read: (bytes) => {
      try {
        return { value: decode(bytes) }
      } catch (error) {
        return problemOf(error)
      }
    }
  }
}

const badStubData = (problem: string): Problem => ({ problem, status: 1783 })

const problemOf = (error: unknown): Problem => badStubData(error instanceof Error ? error.message : String(error))

const writeByte = (writer: Writer, byte: number): void => {
  writer.ensure(1)
  writer.bytes[writer.position++] = byte
}

const makeBinaryCodec = (method: Method.Any): MethodCodec => {
  const input = makeBoth(method.in)
  const output = makeBoth(method.out)
  const aborts = new Map(method.aborts.map(({ code, error }) => [code, makeBoth(error)]))
  const pipes = (pipesOf(method) ?? []).map(({ element, isIn }) =>
    makeBinaryPipe(element, isIn ? readChunkLength : readOutLength)
  )
  const hasInPipes = Object.keys(method.inPipe).length > 0
  const hasOutPipes = Object.keys(method.outPipe).length > 0
  const readArguments: MethodCodec["readArguments"] = (stub) => {
    const traced = stub.length > 0 && (stub[0]! & hasTrace) !== 0
    const start = traced ? 1 + traceSize : 1
    if (stub.length < start) return badStubData("the stub is too short")
    const read = input.read(stub.subarray(start))
    return "problem" in read ? read : { value: { input: read.value, parent: traced ? readTrace(stub) : undefined } }
  }
  return {
    writeArguments: (writer, value, parent) => {
      const length = hasInPipes ? leaveLength(writer) : undefined
      writeByte(writer, parent === undefined ? 0 : hasTrace)
      if (parent !== undefined) writeTrace(writer, parent)
      const problem = input.write(writer, value)
      if (length !== undefined) fillLength(writer, length)
      return problem
    },
    readArguments,
    readArgumentsBeforePipes: (stub, littleEndian) => {
      const size = stub.length < 4 ? 4 : 4 + readLength(stub, 0)
      if (size > stub.length) return size
      const read = readArguments(stub.subarray(4, size), littleEndian)
      return "problem" in read ? read : { value: { ...read.value, size } }
    },
    pipes,
    writeResults: (writer, out) => {
      writeByte(writer, replied)
      return output.write(writer, out)
    },
    writeAbort: (writer, { code }, error) => {
      if (hasOutPipes) fillLength(writer, leaveLength(writer), brokenOff)
      writeByte(writer, aborted)
      writer.ensure(4)
      writer.view.setUint32(writer.position, code, true)
      writer.position += 4
      return aborts.get(code)!.write(writer, error)
    },
    readResults: (whole, _, start = 0) => {
      const isBroken = hasOutPipes && isBrokenOff(whole, start)
      const stub = whole.subarray(isBroken ? start + 4 : start)
      if (stub[0] === replied && !isBroken) {
        const read = output.read(stub.subarray(1))
        return "problem" in read ? read : { value: Exit.succeed(read.value) }
      }
      if (stub[0] !== aborted || stub.length < 5) return badStubData("the stub is no reply")
      const code = new DataView(stub.buffer, stub.byteOffset).getUint32(1, true)
      const read = aborts.get(code)?.read(stub.subarray(5))
      // An abort that the client does not declare, or with fields that it does not know, is known by its code.
      if (read === undefined || "problem" in read) return { value: Exit.fail(new RpcFault({ code })) }
      return { value: Exit.fail(read.value as Abort.Error) }
    }
  }
}

/** The largest chunk of elements, in bytes: it is read when all of it is there. */
const largestChunk = 0x400000

const isBrokenOff = (bytes: Uint8Array, at: number): boolean =>
  at + 4 <= bytes.length && readLength(bytes, at) === brokenOff

const readChunkLength = (input: PipeInput): "count" | "more" | "end" => readCount(input, input.position, true)

const readOutLength = (input: PipeInput): "count" | "more" | "end" | "broken" =>
  isBrokenOff(input.bytes, input.position) ? "broken" : readChunkLength(input)

const makeBinaryPipe = (element: Element, readLengthOf: typeof readOutLength): PipeCodec => {
  if (isBytes(element)) {
    return {
      write: (output, chunk) => {
        const { writer } = output
        fillLength(writer, leaveLength(writer), chunk.length)
        output.writeBytes(chunk as Uint8Array, 1)
        return undefined
      },
      end: (writer) => fillLength(writer, leaveLength(writer), 0),
      read: (input) => input.remaining === 0 ? readLengthOf(input) : readBytes(input)
    }
  }
  const codec = makeBoth(Schema.Array(element as Parameters as never))
  const write = (writer: Writer, chunk: AnyChunk): Problem | undefined => {
    const length = leaveLength(writer)
    const problem = codec.write(writer, chunk)
    if (problem !== undefined) return problem
    const size = writer.position - writer.stub - length - 4
    if (size <= largestChunk) {
      fillLength(writer, length)
      return undefined
    }
    if (chunk.length === 1) return badStubData(`an element of a pipe takes ${size} bytes, the limit is ${largestChunk}`)
    // In two halves.
    writer.position = writer.stub + length
    const half = chunk.length >>> 1
    return write(writer, chunk.slice(0, half)) ?? write(writer, chunk.slice(half))
  }
  return {
    write: ({ writer }, chunk) => write(writer, chunk),
    end: (writer) => fillLength(writer, leaveLength(writer), 0),
    read: (input) => {
      const { bytes, position, remaining } = input
      if (remaining === 0) return readLengthOf(input)
      if (remaining > largestChunk) return badStubData(`a chunk of ${remaining} bytes, the limit is ${largestChunk}`)
      if (bytes.length - position < remaining) return "more"
      const read = codec.read(bytes.subarray(position, position + remaining))
      if ("problem" in read) return read
      input.position += remaining
      input.remaining = 0
      return read.value as ReadonlyArray<unknown>
    }
  }
}

/** Leaves room for a length, and gives where it is in the stub. */
const leaveLength = (writer: Writer): number => {
  writer.ensure(4)
  writer.position += 4
  return writer.position - writer.stub - 4
}

/** Fills in the length of what was written behind it. */
const fillLength = (writer: Writer, at: number, length: number = writer.position - writer.stub - at - 4): void =>
  writer.view.setUint32(writer.stub + at, length, true)

const readLength = (bytes: Uint8Array, at: number): number =>
  new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true)

// ----------------------------------------------------------------------------
// the trace context
// ----------------------------------------------------------------------------

/** The value of a hexadecimal digit; of what is none, anything. */
const digitAt = (hex: string, i: number): number => {
  const code = hex.charCodeAt(i)
  return (code & 15) + 9 * (code >> 6)
}

const writeHex = (writer: Writer, hex: string, size: number): void => {
  const { bytes } = writer
  for (let i = 0; i < 2 * size; i += 2) bytes[writer.position++] = digitAt(hex, i) << 4 | digitAt(hex, i + 1)
}

const writeTrace = (writer: Writer, { sampled, spanId, traceId }: Tracer.AnySpan): void => {
  writer.ensure(traceSize)
  writeHex(writer, traceId, 16)
  writeHex(writer, spanId, 8)
  writer.bytes[writer.position++] = sampled ? 1 : 0
}

const hexOf = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"))

const readHex = (bytes: Uint8Array, start: number, end: number): string => {
  let hex = ""
  for (let i = start; i < end; i++) hex += hexOf[bytes[i]!]!
  return hex
}

const readTrace = (stub: Uint8Array): Tracer.ExternalSpan =>
  Tracer.externalSpan({
    traceId: readHex(stub, 1, 17),
    spanId: readHex(stub, 17, 25),
    sampled: stub[25] === 1
  })

// ----------------------------------------------------------------------------
// of an interface
// ----------------------------------------------------------------------------

/**
 * Whether all methods of an interface have a form in a transfer syntax.
 *
 * @category of an interface
 * @since 0.1.0
 */
export const carries = (syntax: TransferSyntax, iface: Interface.Any): boolean =>
  Object.values(iface.methods).every((method) => syntax.codec(method) !== undefined)

/**
 * The transfer syntax in which a client proposes an interface: NDR where all its methods have that form, else Callisto's own.
 *
 * @category of an interface
 * @since 0.1.0
 */
export const proposed = (iface: Interface.Any): TransferSyntax => carries(ndr20, iface) ? ndr20 : binary

// ----------------------------------------------------------------------------
// faults
// ----------------------------------------------------------------------------

/**
 * The error that the client's method declares for the status of a fault, made from no fields.
 *
 * @internal
 */
export const abortFromCode = (method: Method.Any, code: number): Option.Option<Abort.Error> => {
  const declared = method.aborts.find((abort) => abort.code === code)
  if (declared === undefined) return Option.none()
  try {
    return Option.some(new (declared.error as unknown as new (fields: object) => Abort.Error)({}))
  } catch {
    return Option.none()
  }
}
