/**
 * Methods in Callisto's own transfer syntax: Effect's binary schema codec, and what goes around its bytes. It is loaded by those
 * who call or serve in this syntax.
 */
import * as SchemaBinary from "effect/encoding/SchemaBinary"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Tracer from "effect/Tracer"
import { type Abort, abortOf, type Method, type Parameters } from "../../Interface.ts"
import type { AnyChunk } from "../../internal/chunkBuffer.ts"
import { pipesOf } from "../../internal/methodPipes.ts"
import * as Uuid from "../../internal/uuid.ts"
import { guarded } from "../../ndr/internal/ndrErrors.ts"
import { isBytes } from "../../internal/pipeEnds.ts"
import type { Element } from "../../Pipe.ts"
import { RpcFault } from "../../Status.ts"
import type { Writer } from "../Pdu.ts"
import { makeGuard } from "./binaryGuard.ts"
import {
  type MethodCodec,
  type PipeCodec,
  type PipeInput,
  type Problem,
  type Read,
  readBytes,
  readCount
} from "./methodCodec.ts"

const hasTrace = 1
const traceSize = 25
const replied = 0
const aborted = 1

/** In place of the length of a chunk: no out pipe goes on, and an abort follows. */
const brokenOff = 0xffffffff

interface Both {
  readonly write: (writer: Writer, value: unknown) => Problem | undefined
  readonly read: (bytes: Uint8Array, maximumElements: number) => Read<unknown>
}

const makeBoth = (schema: Parameters): Both => {
  // Nothing is nothing: most methods without parameters send not a byte for them.
  if (schema.ast._tag === "Void") return { write: () => undefined, read: () => ({ value: undefined }) }
  const codec = SchemaBinary.toCodec(schema)
  const guard = makeGuard(schema)
  const encode = guarded(Schema.encodeUnknownExit(codec))
  const decode = guarded(Schema.decodeUnknownExit(codec))
  return {
    write: (writer, value) => {
      const encoded = encode(value)
      if (Result.isFailure(encoded)) return badStubData(encoded.failure)
      const bytes = encoded.success
      const problem = guard.written(bytes) ?? (mayReplace(bytes) ? surrogateIn(value, "") : undefined)
      if (problem !== undefined) return badStubData(problem)
      writer.ensure(bytes.length)
      writer.bytes.set(bytes, writer.position)
      writer.position += bytes.length
      return undefined
    },
    read: (bytes, maximumElements) => {
      const problem = guard.read(bytes, maximumElements)
      if (problem !== undefined) return badStubData(problem)
      const decoded = decode(bytes)
      return Result.isFailure(decoded) ? badStubData(decoded.failure) : { value: decoded.success }
    }
  }
}

/** Whether U+FFFD is among the bytes, which stands for a lone surrogate too. */
const mayReplace = (bytes: Uint8Array): boolean => {
  for (let at = bytes.indexOf(0xef); at >= 0; at = bytes.indexOf(0xef, at + 1)) {
    if (bytes[at + 1] === 0xbf && bytes[at + 2] === 0xbd) return true
  }
  return false
}

/** Says where a value holds a lone surrogate, which UTF-8 does not have. */
const surrogateIn = (value: unknown, path: string): string | undefined => {
  if (typeof value === "string") {
    return value.isWellFormed()
      ? undefined
      : `${path || "the text"} holds a lone surrogate, which UTF-8 can't carry. Use Ndr.WString or bytes for such text`
  }
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return undefined
  // A Map, a Set and a HashMap have no keys of their own.
  const entries = Symbol.iterator in value && !Array.isArray(value)
    ? [...value as Iterable<unknown>].entries()
    : Object.entries(value)
  for (const [key, part] of entries) {
    const found = surrogateIn(key, "a key") ?? surrogateIn(part, path === "" ? String(key) : `${path}.${key}`)
    if (found !== undefined) return found
  }
  return undefined
}

const badStubData = (problem: string): Problem => ({ problem, status: 1783 })

const viewOf = ({ buffer, byteOffset }: Uint8Array): DataView => new DataView(buffer, byteOffset)

const writeByte = (writer: Writer, byte: number): void => {
  writer.ensure(1)
  writer.bytes[writer.position++] = byte
}

/** The codec of a method, which may have any schemas, under its name. */
export const makeBinaryCodec = (method: Method.Any, name: string): MethodCodec => {
  const nameHash = Uuid.hash(name)
  const input = makeBoth(method.in)
  const output = makeBoth(method.out)
  const aborts = new Map(method.aborts.map(({ code, error }) => [code, makeBoth(error)]))
  const openAbort = method.openAbort === undefined ? undefined : makeBoth(method.openAbort.error)
  const pipes = (pipesOf(method) ?? []).map(({ element, isIn }) =>
    makeBinaryPipe(element, isIn ? readChunkLength : readOutLength)
  )
  const hasInPipes = Object.keys(method.inPipe).length > 0
  const hasOutPipes = Object.keys(method.outPipe).length > 0
  const readArguments: MethodCodec["readArguments"] = (stub, _, maximumElements) => {
    if (stub.length < 5) return badStubData("the stub is too short")
    if (viewOf(stub).getUint32(0) !== nameHash) {
      return {
        problem: `the client means a method of another name than ${
          JSON.stringify(name)
        }. Bind it to the same version of the interface`,
        status: 1745
      }
    }
    const traced = (stub[4]! & hasTrace) !== 0
    const start = traced ? 5 + traceSize : 5
    if (stub.length < start) return badStubData("the stub is too short")
    const read = input.read(stub.subarray(start), maximumElements)
    return "problem" in read
      ? read
      : { value: { input: read.value, parent: traced ? readTrace(stub.subarray(4)) : undefined } }
  }
  return {
    writeArguments: (writer, value, parent) => {
      const length = hasInPipes ? leaveLength(writer) : undefined
      writer.ensure(5)
      writer.view.setUint32(writer.position, nameHash)
      writer.position += 4
      writeByte(writer, parent === undefined ? 0 : hasTrace)
      if (parent !== undefined) writeTrace(writer, parent)
      const problem = input.write(writer, value)
      if (length !== undefined) fillLength(writer, length)
      return problem
    },
    readArguments,
    readArgumentsBeforePipes: (stub, littleEndian, maximumElements) => {
      const size = stub.length < 4 ? 4 : 4 + readLength(stub, 0)
      if (size > stub.length) return size
      const read = readArguments(stub.subarray(4, size), littleEndian, maximumElements)
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
      return (aborts.get(code) ?? openAbort)!.write(writer, error)
    },
    readResults: (whole, _, maximumElements, start = 0) => {
      const isBroken = hasOutPipes && isBrokenOff(whole, start)
      const stub = whole.subarray(isBroken ? start + 4 : start)
      if (stub[0] === replied && !isBroken) {
        const read = output.read(stub.subarray(1), maximumElements)
        return "problem" in read ? read : { value: Exit.succeed(read.value) }
      }
      if (stub[0] !== aborted || stub.length < 5) return badStubData("the stub is no reply")
      const code = viewOf(stub).getUint32(1, true)
      const declared = aborts.get(code)
      const read = (declared ?? openAbort)?.read(stub.subarray(5), maximumElements)
      // The client knows an undeclared abort, or one with other fields, by its code alone.
      if (read === undefined || "problem" in read) return { value: Exit.fail(new RpcFault({ code })) }
      if (declared === undefined && abortOf(method, read.value)?.code !== code) {
        return { value: Exit.fail(new RpcFault({ code })) }
      }
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
      const read = codec.read(bytes.subarray(position, position + remaining), input.maximumElements)
      if ("problem" in read) return read
      const elements = read.value as ReadonlyArray<unknown>
      input.position += remaining
      input.remaining = 0
      return elements
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

const readLength = (bytes: Uint8Array, at: number): number => viewOf(bytes).getUint32(at, true)

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
