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
import type { Abort, Interface, Method, Parameters } from "../Interface.ts"
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
  readonly readResults: (stub: Uint8Array, littleEndian: boolean) => Read<Outcome>
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
  if (input === undefined || output === undefined) return undefined
  const write = (codec: Ndr.Codec<unknown>, writer: Writer, value: unknown): Problem | undefined => {
    const written = codec.encode(writer, value)
    return Result.isFailure(written) ? { problem: written.failure.message, status: written.failure.status } : undefined
  }
  const read = (codec: Ndr.Codec<unknown>, bytes: Uint8Array, littleEndian: boolean): Read<unknown> => {
    const decoded = codec.decode(Ndr.makeReader(bytes, { littleEndian, owned: true }))
    return Result.isFailure(decoded)
      ? { problem: decoded.failure.message, status: decoded.failure.status }
      : { value: decoded.success }
  }
  return {
    writeArguments: (writer, value) => write(input, writer, value),
    readArguments: (stub, littleEndian) => {
      const decoded = read(input, stub, littleEndian)
      return "problem" in decoded ? decoded : { value: { input: decoded.value, parent: undefined } }
    },
    writeResults: (writer, out) => write(output, writer, out),
    readResults: (stub, littleEndian) => {
      const decoded = read(output, stub, littleEndian)
      return "problem" in decoded ? decoded : { value: Exit.succeed(decoded.value) }
    }
  }
}

// ----------------------------------------------------------------------------
// Callisto's own
// ----------------------------------------------------------------------------

const hasTrace = 1
const traceSize = 25
const replied = 0
const aborted = 1

/**
 * Callisto's own transfer syntax: Effect's binary schema codec, for interfaces that are described with any schemas.
 *
 * **Details**
 *
 * A request's stub is a byte of flags, the trace context where flag 1 says so (trace id 16 bytes, span id 8, sampled 1), and
 * the arguments. A response's stub is a byte, 0 for out parameters or 1 for a declared abort with its code as a 32-bit
 * little-endian number, and then the out parameters or the fields of the abort. Everything else is a fault.
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
  return {
    writeArguments: (writer, value, parent) => {
      writeByte(writer, parent === undefined ? 0 : hasTrace)
      if (parent !== undefined) writeTrace(writer, parent)
      return input.write(writer, value)
    },
    readArguments: (stub) => {
      const traced = stub.length > 0 && (stub[0]! & hasTrace) !== 0
      const start = traced ? 1 + traceSize : 1
      if (stub.length < start) return badStubData("the stub is too short")
      const read = input.read(stub.subarray(start))
      return "problem" in read ? read : { value: { input: read.value, parent: traced ? readTrace(stub) : undefined } }
    },
    writeResults: (writer, out) => {
      writeByte(writer, replied)
      return output.write(writer, out)
    },
    writeAbort: (writer, { code }, error) => {
      writeByte(writer, aborted)
      writer.ensure(4)
      writer.view.setUint32(writer.position, code, true)
      writer.position += 4
      return aborts.get(code)!.write(writer, error)
    },
    readResults: (stub) => {
      if (stub[0] === replied) {
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

// ----------------------------------------------------------------------------
// the trace context
// ----------------------------------------------------------------------------

const writeHex = (writer: Writer, hex: string, size: number): void => {
  for (let i = 0; i < size; i++) writer.bytes[writer.position++] = parseInt(hex.substring(2 * i, 2 * i + 2), 16) || 0
}

const writeTrace = (writer: Writer, { sampled, spanId, traceId }: Tracer.AnySpan): void => {
  writer.ensure(traceSize)
  writeHex(writer, traceId, 16)
  writeHex(writer, spanId, 8)
  writer.bytes[writer.position++] = sampled ? 1 : 0
}

const readHex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

const readTrace = (stub: Uint8Array): Tracer.ExternalSpan =>
  Tracer.externalSpan({
    traceId: readHex(stub.subarray(1, 17)),
    spanId: readHex(stub.subarray(17, 25)),
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
