/**
 * Transfer syntaxes: how the parameters of an interface become the bytes of a call.
 *
 * Client and server agree on one for each interface when they bind. {@link binary} is Callisto's own, for any schema; it
 * carries the fields of declared aborts and the trace context too.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type * as SchemaAST from "effect/SchemaAST"
import type { Interface, Method } from "../Interface.ts"
import { pipesOf } from "../internal/methodPipes.ts"
import { isBytes } from "../internal/pipeEnds.ts"
import type { Element } from "../Pipe.ts"
import { RpcFault, type RpcTransportError } from "../Status.ts"
import { type MethodCodec, type PipeCodec, type Problem, readBytes, readCount } from "./internal/methodCodec.ts"
import { lackIn, usesNdr } from "../ndr/internal/ndrForm.ts"
import { neededOf } from "../ndr/internal/ndrErrors.ts"
import { elementsCodecOf } from "../ndr/internal/ndrPipe.ts"
import { onDemand } from "./internal/onDemand.ts"
import * as Ndr from "../ndr/Ndr.ts"
import { ndr20 as ndr20Id, type SyntaxId, type Writer } from "./Pdu.ts"

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

export type { Arguments, ArgumentsBeforePipes, MethodCodec, Problem, Read } from "./internal/methodCodec.ts"

/**
 * A transfer syntax.
 *
 * @category models
 * @since 0.1.0
 */
export interface TransferSyntax {
  /** The UUID and the version. */
  readonly id: SyntaxId
  /** The largest fragment that both peers use where they have chosen this syntax. */
  readonly maxFragment: number
  /** Loads what the codecs need, once; fails with 1722 where that can't be done. A client runs it before it binds. */
  readonly load: Effect.Effect<void, RpcTransportError>
  /**
   * The codec of a method under its name in an interface, after `load`; `undefined` where its parameters have no form in this syntax.
   * NDR throws a `TypeError` for a definition that it does not have; a call of such a method fails with 1783.
   */
  readonly codec: (method: Method.Any, name: string) => MethodCodec | undefined
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
  load: Effect.void,
  codec: (method) => {
    if (!ndrCodecs.has(method)) ndrCodecs.set(method, Result.try(() => makeNdrCodec(method)))
    return Result.getOrThrow(ndrCodecs.get(method)!)
  }
}

const ndrCodecs = new WeakMap<Method.Any, Result.Result<MethodCodec | undefined, unknown>>()

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
  const readArguments: MethodCodec["readArgumentsBeforePipes"] = (stub, littleEndian, maximumElements) => {
    const reader = readerOf(stub, littleEndian, maximumElements)
    const decoded = input.decode(reader)
    if (Result.isSuccess(decoded)) {
      return { value: { input: decoded.success, parent: undefined, size: reader.position } }
    }
    return neededOf(decoded.failure) ?? ndrProblem(decoded.failure)
  }
  return {
    writeArguments: (writer, value) => {
      const problem = writeNdr(input.encode(writer, value))
      // As with a chunk, see below.
      if (takesPipe) writer.align(4)
      return problem
    },
    readArguments: (stub, littleEndian, maximumElements) => {
      const reader = readerOf(stub, littleEndian, maximumElements)
      const decoded = input.decode(reader)
      return Result.isFailure(decoded)
        ? ndrProblem(decoded.failure)
        : { value: { input: decoded.success, parent: undefined, end: reader.position } }
    },
    readArgumentsBeforePipes: readArguments,
    writeResults: (writer, out) => writeNdr(output.encode(writer, out)),
    readResults: (stub, littleEndian, maximumElements, start = 0) => {
      const reader = readerOf(stub, littleEndian, maximumElements)
      reader.position = start
      const decoded = output.decode(reader)
      return Result.isFailure(decoded) ? ndrProblem(decoded.failure) : { value: Exit.succeed(decoded.success) }
    },
    pipes
  }
}

const readerOf = (bytes: Uint8Array, littleEndian: boolean, maximumElements: number): Ndr.Reader => ({
  bytes,
  littleEndian,
  owned: true,
  maximumElements,
  position: 0
})

const ndrProblem = ({ message, status }: Ndr.NdrError): Problem => ({ problem: message, status })

const writeNdr = (written: Result.Result<void, Ndr.NdrError>): Problem | undefined =>
  Result.isFailure(written) ? ndrProblem(written.failure) : undefined

/** A chunk is a count and so many elements; the count 0 ends the pipe. */
const makeNdrPipe = (element: Element, name: string): PipeCodec | undefined => {
  const elements = isBytes(element) ? undefined : elementsCodecOf(element, name)
  if (elements === undefined && !isBytes(element)) return undefined
  return {
    write: (output, chunk) => {
      const { writer } = output
      let problem: Problem | undefined
      writeCount(writer, chunk.length)
      if (elements === undefined) output.writeBytes(chunk as Uint8Array, 4)
      else problem = writeNdr(elements.encode(writer, chunk as ReadonlyArray<unknown>))
      // A count follows, so that its padding can leave with the chunk.
      writer.align(4)
      return problem
    },
    end: (writer) => writeCount(writer, 0),
    read: (input) => {
      if (input.remaining === 0) return readCount(input, input.position + 3 & ~3, input.littleEndian)
      if (elements === undefined) return readBytes(input)
      const decoded = elements.decode(input, input.remaining)
      if (Result.isFailure(decoded)) return ndrProblem(decoded.failure)
      if (decoded.success.length === 0) return "more"
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

// ----------------------------------------------------------------------------
// Callisto's own
// ----------------------------------------------------------------------------

let makeBinaryCodec: ((method: Method.Any, name: string) => MethodCodec) | undefined

const loadBinaryCodec: Effect.Effect<void, RpcTransportError> = Effect.map(
  onDemand("the codec of Callisto's transfer syntax", () => import("./internal/binaryCodec.ts")),
  (part) => {
    makeBinaryCodec = part.makeBinaryCodec
  }
)

/**
 * Callisto's own transfer syntax: Effect's binary schema codec, for interfaces that are described with any schemas.
 *
 * **Details**
 *
 * This is its version 2.0. A request's stub is the first 4 bytes of SHA-1 of the method's name in UTF-8, a byte of flags, the
 * trace context where flag 1 says so (trace id 16 bytes, span id 8, sampled 1), and the arguments. A response's stub is a byte, 0 for out parameters or 1 for a declared abort with its code as a 32-bit
 * little-endian number, and then the out parameters or the fields of the abort. Everything else is a fault.
 *
 * Where in pipes follow the arguments, their length goes in front of them as a 32-bit little-endian number; out pipes go in front
 * of everything else. A chunk is its length in bytes as such a number, and the bytes, or the elements as an array; the length 0
 * ends the pipe. Where the method aborts, out pipes are broken off by the length 0xFFFFFFFF, and the abort follows.
 *
 * A server refuses a request whose method has another name than the one under its number with 1745, and nothing runs: an
 * old client can't run another method than it means where methods were reordered.
 *
 * **Gotchas**
 *
 * Renaming a method breaks older clients. Keep the name, or offer the method under both names.
 *
 * A message of more values than `maximumElements` is refused with 1783 before anything is allocated, and so are a `bigint`
 * of more than 1,024 bytes and values that nest more than 512 deep.
 *
 * Its codec is a module of its own, which is imported when a client binds to an interface that needs it or a server makes an endpoint: a
 * bundler that splits code keeps it out of what a client in NDR loads.
 *
 * @category syntaxes
 * @since 0.1.0
 */
export const binary: TransferSyntax = {
  id: { uuid: "b6a1f1c0-7c1e-4f4c-9d51-7d6a3e0f2a95", major: 2, minor: 0 },
  maxFragment: 65528,
  load: loadBinaryCodec,
  codec: (method, name) => {
    let codecs = binaryCodecs.get(method)
    const known = codecs?.get(name)
    if (known !== undefined) return known
    if (makeBinaryCodec === undefined) {
      throw new Error("TransferSyntax: `binary.load` has to run before `binary.codec`.")
    }
    if (codecs === undefined) binaryCodecs.set(method, codecs = new Map())
    const codec = makeBinaryCodec(method, name)
    codecs.set(name, codec)
    return codec
  }
}

/** By the name of the method too: one method may stand in several interfaces. */
const binaryCodecs = new WeakMap<Method.Any, Map<string, MethodCodec>>()

// ----------------------------------------------------------------------------
// of an interface
// ----------------------------------------------------------------------------

/** The schemas of a method, and whether they are those of pipes. */
const schemasOf = (
  method: Method.Any
): ReadonlyArray<readonly [name: string, ast: SchemaAST.AST, inPipe?: boolean]> => [
  ["in", method.in.ast],
  ["out", method.out.ast],
  ...(pipesOf(method) ?? []).flatMap(({ element, name }) =>
    isBytes(element) ? [] : [[name, element.ast, true] as const]
  )
]

/** Chooses the transfer syntax of an interface, or says why the interface has none. */
const choose = ({ methods, name }: Interface.Any): TransferSyntax | string => {
  const all = Object.entries(methods).flatMap(([method, description]) =>
    schemasOf(description).map((schema) => [method, schema] as const)
  )
  for (const [method, schema] of all) {
    const lack = lackIn(...schema)
    if (lack === undefined) continue
    if (!all.some(([, [, ast]]) => usesNdr(ast))) return binary
    return `method ${method} of interface ${name} has no form in NDR: ${lack} is no type of Ndr. Give it one, or use none in the interface`
  }
  return ndr20
}

const choices = new WeakMap<Interface.Any, TransferSyntax | string>()

const choiceOf = (iface: Interface.Any): TransferSyntax | string => {
  let choice = choices.get(iface)
  if (choice === undefined) choices.set(iface, choice = choose(iface))
  return choice
}

/**
 * Whether a server offers an interface in a transfer syntax: one that has a form in NDR in both, any other in Callisto's own alone,
 * and one that has no transfer syntax (see {@link proposed}) in none.
 *
 * @category of an interface
 * @since 0.1.0
 */
export const carries = (syntax: TransferSyntax, iface: Interface.Any): boolean => {
  const choice = choiceOf(iface)
  return choice === ndr20 || choice === syntax
}

/**
 * The transfer syntax in which a client proposes an interface: NDR where all its methods have that form, and Callisto's own where the
 * interface has no type of `Ndr`.
 *
 * **Details**
 *
 * An interface with types of `Ndr` of which one method has no form in NDR has no transfer syntax. It is meant for peers that know
 * nothing else, so Callisto's own would help nobody: it fails with `RpcFault` 1730 (`RPC_S_UNSUPPORTED_TRANS_SYN`), whose `detail` names the method and
 * what has no form. Context handles, and methods without parameters, have a form in both.
 *
 * Nothing is compiled for the choice. A method is compiled when it is first called.
 *
 * @category of an interface
 * @since 0.1.0
 */
export const proposed = (iface: Interface.Any): Result.Result<TransferSyntax, RpcFault> => {
  const choice = choiceOf(iface)
  return typeof choice === "string"
    ? Result.fail(new RpcFault({ code: 1730, detail: choice, interface: iface.name, didNotExecute: true }))
    : Result.succeed(choice)
}
