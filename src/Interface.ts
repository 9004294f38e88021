/**
 * Descriptions of interfaces: a named set of methods with their parameters and the aborts that they declare, identified
 * by a UUID and a version. A description is a plain value that client and server share; it runs nothing.
 *
 * @module
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as ContextHandle from "./internal/contextHandle.ts"
import type { Chunk, Elements, Pipes } from "./Pipe.ts"
import { codes, toHex } from "./Status.ts"

// ----------------------------------------------------------------------------
// aborts
// ----------------------------------------------------------------------------

/**
 * A class of tagged errors that a method can declare as an abort, for instance one made with `Schema.TaggedError`.
 *
 * @category models
 * @since 0.1.0
 */
export type AbortClass<E extends Abort.Error = Abort.Error> =
  & Schema.ConstraintCodec<E, unknown>
  & (abstract new (...args: Array<never>) => E)

/**
 * A declared abort: an exception code together with the tagged error that stands for it in programs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Abort<out E extends Abort.Error> {
  /** The exception code, an unsigned 32-bit number. */
  readonly code: number
  /** The class of the error. */
  readonly error: AbortClass<E>
}

/**
 * Types that belong to {@link Abort}.
 *
 * @category models
 * @since 0.1.0
 */
export declare namespace Abort {
  /** What every declared abort is: an error with a tag. */
  export interface Error extends globalThis.Error {
    /** The tag, as `Effect.catchTag` takes it. */
    readonly _tag: string
  }
  /** Any declared abort. */
  export type Any = Abort<Abort.Error>
  /** The error of a declared abort. */
  export type ErrorOf<A> = A extends Abort<infer E> ? E : never
}

// Codes that a peer's mapping changes on the way, and codes to which Callisto itself gives a meaning.
const reservedCodes: ReadonlyMap<number, string> = new Map([
  [14, "Windows sends it as another number (out of memory), so the client would see something else"],
  [1715, "Windows sends it as another number (server too busy), so the client would see something else"],
  [1778, "Windows sends it as another number (context mismatch), so the client would see something else"],
  [codes.CallCancelled.rpcStatus!.number, "it means that the call was cancelled; let the cancel interrupt the manager"],
  [1722, "it means that the server is unavailable"],
  [1726, "it means that the call failed"],
  [1727, "it means that the call failed and did not execute"]
])

/**
 * Says why a number can't be the exception code of an abort, or gives `undefined` if it can.
 *
 * **Details**
 *
 * An exception code is an unsigned 32-bit number other than 0. Refused with it are the codes that a peer's mapping
 * changes on the way (14, 1715, 1778 and 0x1C000000 to 0x1CFFFFFF), and those that mean something else here (1722,
 * 1726, 1727, 1818).
 *
 * **Example** (Codes that can and that cannot be aborts)
 *
 * ```ts
 * import { Interface } from "@callisto/rpc"
 *
 * Interface.refuseCode(38) // => undefined
 * Interface.refuseCode(0) // => "0 means success"
 * ```
 *
 * @category aborts
 * @since 0.1.0
 */
export const refuseCode = (code: number): string | undefined => {
  if (!Number.isInteger(code) || code < 0 || code > 0xffffffff) return "an exception code is an unsigned 32-bit integer"
  if (code === 0) return "0 means success"
  if (code >>> 24 === 0x1c) return "0x1C000000 to 0x1CFFFFFF are statuses of the protocol itself"
  return reservedCodes.get(code)
}

/**
 * Declares that a method may abort with an error, which travels as an exception code.
 *
 * **Details**
 *
 * A manager that fails with the error ends the call with the code, and the client's `finish` fails with the error
 * again. In process and between Callisto peers it keeps its fields; through NDR only the code travels.
 *
 * Throws a `TypeError` for a code that {@link refuseCode} refuses.
 *
 * Windows: the exception code given to `RpcAsyncAbortCall`.
 *
 * **Example** (An end of file that travels as 38)
 *
 * ```ts
 * import { Interface } from "@callisto/rpc"
 * import { Schema } from "effect"
 *
 * class EndOfFile extends Schema.TaggedError<EndOfFile>()("EndOfFile", {}) {}
 *
 * Interface.abort(38, EndOfFile).code // => 38
 * ```
 *
 * @category aborts
 * @since 0.1.0
 */
export const abort = <E extends Abort.Error>(code: number, error: AbortClass<E>): Abort<E> => {
  const reason = refuseCode(code)
  if (reason !== undefined) {
    throw new TypeError(`Interface.abort(${code}, ${error.name}): code ${code} is refused: ${reason}.`)
  }
  return { code, error }
}

// ----------------------------------------------------------------------------
// methods
// ----------------------------------------------------------------------------

/**
 * A schema for the parameters of a method, in either direction. It needs no services to encode and decode.
 *
 * @category models
 * @since 0.1.0
 */
export type Parameters = Schema.Constraint & { readonly DecodingServices: never; readonly EncodingServices: never }

/**
 * The fields of a method's parameters.
 *
 * @category models
 * @since 0.1.0
 */
export type Fields = { readonly [name: string]: Parameters }

/**
 * The schema for what was given as parameters: fields become a struct.
 *
 * @category models
 * @since 0.1.0
 */
// With `infer`, so that an expected type never decides what `P` is.
export type ToSchema<P extends Fields | Parameters> = P extends infer S extends Parameters ? S
  : P extends infer F extends Schema.Struct.Fields ? Schema.Struct<F>
  : never

/** The same: an expected type never decides what `P` is either. */
type Given<P extends Elements> = P extends infer E extends Elements ? E : never

// Of `any` method it is not known whether it has parameters.
type HasHandle<A> = [Extract<{ [K in keyof A]: 0 extends 1 & A[K] ? never : A[K] }[keyof A], HandleLike>] extends
  [never] ? false : true

interface HandleLike {
  readonly "~callisto/ContextHandle": unknown
}

type ArgumentList<A> = 0 extends 1 & A ? [value?: A] : [A] extends [void] ? [] : [value: A]

/**
 * One remote procedure: its parameters in both directions, and the aborts that it declares.
 *
 * Windows: an operation of a MIDL interface.
 *
 * @category models
 * @since 0.1.0
 */
export interface Method<
  out In extends Parameters,
  out Out extends Parameters,
  out E extends Abort.Error,
  out InPipe extends Elements = {},
  out OutPipe extends Elements = {}
> {
  /** The in parameters. */
  readonly in: In
  /** The out parameters. */
  readonly out: Out
  /** The aborts that the method declares. */
  readonly aborts: ReadonlyArray<Abort<E>>
  /** The number of the operation where one was given; otherwise the interface numbers its methods in order. */
  readonly opnum: number | undefined
  /** Whether calling it twice does the same as calling it once, so that a lost call may be retried. */
  readonly idempotent: boolean
  /** Whether the client gets no reply at all: a call completes when it was sent. */
  readonly maybe: boolean
  /** The pipes that the client pushes, in their order. */
  readonly inPipe: InPipe
  /** The pipes that the client pulls, in their order. */
  readonly outPipe: OutPipe
}

/**
 * Types that belong to {@link Method}.
 *
 * @category models
 * @since 0.1.0
 */
export declare namespace Method {
  /** Any method. */
  export type Any = Method<Parameters, Parameters, Abort.Error, Elements, Elements>
  /** The type of the in parameters. */
  export type In<M extends Any> = M["in"]["Type"]
  /** The type of the out parameters. */
  export type Out<M extends Any> = M["out"]["Type"]
  /** The declared aborts. */
  export type Abort<M extends Any> = M extends Method<infer _In, infer _Out, infer E, infer _InPipe, infer _OutPipe> ? E
    : never
  /** The chunks of the pipes that the client pushes, by name. */
  export type InPipe<M extends Any> = { readonly [K in keyof M["inPipe"] & string]: Chunk<M["inPipe"][K]> }
  /** The chunks of the pipes that the client pulls, by name. */
  export type OutPipe<M extends Any> = { readonly [K in keyof M["outPipe"] & string]: Chunk<M["outPipe"][K]> }
  /** `A` for a method that has pipes, else nothing. */
  export type IfPipes<M extends Any, A> = M extends Any
    ? [keyof M["inPipe"] | keyof M["outPipe"]] extends [never] ? never : A
    : never
  /** Whether a context handle is among the in parameters. */
  export type TakesHandle<M extends Any> = 0 extends 1 & In<M> ? false : HasHandle<In<M>>
  /** The argument list with which the in parameters are passed: empty for a method without parameters. */
  export type Args<M extends Any> = ArgumentList<In<M>>
  /** The argument list with which the out parameters are passed: empty for a method without results. */
  export type Results<M extends Any> = ArgumentList<Out<M>>
}

/**
 * Describes a method.
 *
 * **Details**
 *
 * - `in` and `out`: the parameters in each direction, as fields or as any schema; a method without them takes or gives
 *   nothing.
 * - `aborts`: the tagged errors with which the method may end, each with its exception code; see {@link abort}.
 * - `opnum`: the number of the operation, 0 to 65535. By default one more than that of the method declared before it.
 * - `idempotent`: a call may be repeated when its outcome is unknown; by default it may not.
 * - `maybe`: the client gets no reply at all, so the method has neither out parameters nor aborts nor pipes.
 * - `inPipe` and `outPipe`: streams of chunks that go beside the parameters, to the server and to the client, by name and in
 *   the order in which they are used; see `Pipe`. An in-out pipe has its name in both.
 *
 * **Example** (A method with parameters and an abort)
 *
 * ```ts
 * import { Interface } from "@callisto/rpc"
 * import { Schema } from "effect"
 *
 * class EndOfFile extends Schema.TaggedError<EndOfFile>()("EndOfFile", {}) {}
 *
 * const Read = Interface.method({
 *   in: { count: Schema.Int },
 *   out: { data: Schema.Uint8Array },
 *   aborts: [Interface.abort(38, EndOfFile)]
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const method: {
  // The general form last: of what no form takes it tells best what is wrong.
  <const In extends Fields | Parameters = Schema.Void>(options: {
    readonly in?: In
    readonly opnum?: number
    readonly idempotent?: boolean
    readonly maybe: true
  }): Method<ToSchema<In>, Schema.Void, never>
  <
    const In extends Fields | Parameters = Schema.Void,
    const Out extends Fields | Parameters = Schema.Void,
    const Aborts extends ReadonlyArray<Abort.Any> = [],
    const InPipe extends Elements = {},
    const OutPipe extends Elements = {}
  >(options: {
    readonly in?: In
    readonly out?: Out
    readonly aborts?: Aborts
    readonly opnum?: number
    readonly idempotent?: boolean
    readonly maybe?: false
    readonly inPipe?: InPipe
    readonly outPipe?: OutPipe
  }): Method<ToSchema<In>, ToSchema<Out>, Abort.ErrorOf<Aborts[number]>, Given<InPipe>, Given<OutPipe>>
} = (options: {
  readonly in?: Fields | Parameters
  readonly out?: Fields | Parameters
  readonly aborts?: ReadonlyArray<Abort.Any>
  readonly opnum?: number
  readonly idempotent?: boolean
  readonly maybe?: boolean
  readonly inPipe?: Elements
  readonly outPipe?: Elements
}): Method<never, never, never, never, never> => ({
  in: toSchema(options.in) as never,
  out: toSchema(options.out) as never,
  aborts: (options.aborts ?? []) as ReadonlyArray<Abort<never>>,
  opnum: options.opnum,
  idempotent: options.idempotent ?? false,
  maybe: options.maybe ?? false,
  inPipe: (options.inPipe ?? {}) as never,
  outPipe: (options.outPipe ?? {}) as never
})

const toSchema = (parameters: Fields | Parameters | undefined): Schema.Constraint =>
  parameters === undefined
    ? Schema.Void
    : Schema.isSchema(parameters)
    ? parameters
    : Schema.Struct(parameters as Fields)

// ----------------------------------------------------------------------------
// interfaces
// ----------------------------------------------------------------------------

/**
 * A method in its place: with its name and the number under which it is called.
 *
 * @category models
 * @since 0.1.0
 */
export interface Operation {
  /** The interface to which the method belongs. */
  readonly interface: Interface.Any
  /** The name of the method. */
  readonly name: string
  /** The number of the operation, 0 to 65535. */
  readonly opnum: number
  /** The description of the method. */
  readonly method: Method.Any
  /** Whether the method has in parameters, and so takes an input. */
  readonly takesInput: boolean
  /** The pipes in their order; `undefined` where the method has none. */
  readonly pipes: Pipes | undefined
  /** @internal The context handles among the in parameters. */
  readonly handlesIn: ReadonlyArray<ContextHandle.Parameter> | undefined
  /** @internal The context handles among the out parameters. */
  readonly handlesOut: ReadonlyArray<ContextHandle.Parameter> | undefined
}

/**
 * A named set of methods, identified by a UUID and a version.
 *
 * @category models
 * @since 0.1.0
 */
export interface Interface<out Name extends string, out Methods extends Interface.Methods> {
  /** The name of the interface, for logs and spans; the UUID is its identity. */
  readonly name: Name
  /** The UUID in its canonical form: lower case, with hyphens. */
  readonly uuid: string
  /** The major and minor version. */
  readonly version: readonly [major: number, minor: number]
  /** The methods by name. */
  readonly methods: Methods
  /** The methods by name, each as an {@link Operation} with its number. */
  readonly operations: { readonly [K in keyof Methods]: Operation }
}

/**
 * Types that belong to {@link Interface}.
 *
 * @category models
 * @since 0.1.0
 */
export declare namespace Interface {
  /** The methods of an interface by name. */
  export type Methods = { readonly [name: string]: Method.Any }
  /** Any interface. */
  export type Any = Interface<string, Methods>
  /** What identifies an interface. */
  export type Identity = Pick<Any, "uuid" | "version">
  /** The names of the methods. */
  export type MethodName<I extends Any> = keyof I["methods"] & string
  /** One method by name. */
  export type MethodOf<I extends Any, K extends keyof I["methods"]> = I["methods"][K]
  /** The declared aborts of all methods. */
  export type Aborts<I extends Any> = Method.Abort<I["methods"][keyof I["methods"]]>
}

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const namePattern = /^(?!__proto__$)[A-Za-z_]\w*$/
const isUint16 = (n: number): boolean => Number.isInteger(n) && n >= 0 && n <= 0xffff

/**
 * The canonical form of a UUID: lower case, with hyphens. `undefined` for what is not a UUID, one in braces included.
 *
 * **Example** (From any case to lower case)
 *
 * ```ts
 * import { Interface } from "@callisto/rpc"
 *
 * Interface.canonicalUuid("7B3C6F0E-7D0A-4A53-9D6A-0D9F1F1F6B11") // => "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11"
 * Interface.canonicalUuid("Sums") // => undefined
 * ```
 *
 * @category uuid
 * @since 0.1.0
 */
export const canonicalUuid = (uuid: string): string | undefined => {
  const canonical = uuid.toLowerCase()
  return uuidPattern.test(canonical) ? canonical : undefined
}

/**
 * Describes an interface.
 *
 * **Details**
 *
 * `uuid` is the identity of the interface, `version` its major and minor version, each 0 to 65535. {@link isCompatible}
 * says which versions work together.
 *
 * Throws a `TypeError`, which says what is wrong and where, for a malformed or nil UUID, a version or opnum out of
 * range, two methods with one opnum, a name that is no identifier, two aborts of one method with the same code or class
 * name, a `maybe` method with out parameters, aborts or pipes, and a context handle that is not a parameter itself.
 *
 * **Example** (An interface with one method)
 *
 * ```ts
 * import { Interface } from "@callisto/rpc"
 * import { Schema } from "effect"
 *
 * const ISimpleStream = Interface.make("ISimpleStream", {
 *   uuid: "4f2c8ea6-6a3d-4f0e-9d1e-6a4f0b1d2c3e",
 *   version: [1, 0],
 *   methods: {
 *     Read: Interface.method({ in: { count: Schema.Int }, out: { data: Schema.Uint8Array } })
 *   }
 * })
 *
 * ISimpleStream.operations.Read.opnum // => 0
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <const Name extends string, const Methods extends Interface.Methods>(
  name: Name,
  options: {
    readonly uuid: string
    readonly version: readonly [major: number, minor: number]
    readonly methods: Methods
  }
): Interface<Name, Methods> => {
  const refuse = (problem: string): never => {
    throw new TypeError(`Interface ${JSON.stringify(name)}: ${problem}.`)
  }
  if (!namePattern.test(name)) refuse("its name is not an identifier (a letter or _, then letters, digits and _)")

  const uuid = canonicalUuid(options.uuid)
  if (uuid === undefined) {
    return refuse(
      `uuid ${JSON.stringify(options.uuid)} is not a UUID (like "4f2c8ea6-6a3d-4f0e-9d1e-6a4f0b1d2c3e")`
    )
  }
  if (/^[0-]+$/.test(uuid)) refuse("uuid is the nil UUID, which identifies no interface")

  const [major, minor] = options.version
  if (options.version.length !== 2 || !isUint16(major) || !isUint16(minor)) {
    refuse(`version [${options.version}] is not [major, minor], each an integer from 0 to 65535`)
  }

  const operations: Record<string, Operation> = {}
  const self: Interface<Name, Methods> = {
    name,
    uuid,
    version: [major, minor],
    methods: options.methods,
    operations: operations as Interface<Name, Methods>["operations"]
  }

  const byOpnum = new Map<number, string>()
  let next = 0
  for (const [key, method] of Object.entries(options.methods)) {
    if (!namePattern.test(key)) refuse(`method ${JSON.stringify(key)}: its name is not an identifier`)
    const opnum = method.opnum ?? next
    if (!isUint16(opnum)) refuse(`method ${key}: opnum ${opnum} is not an integer from 0 to 65535`)
    const other = byOpnum.get(opnum)
    if (other !== undefined) refuse(`methods ${other} and ${key} both have opnum ${opnum}`)
    const problem = refuseMethod(method)
    if (problem !== undefined) refuse(`method ${key}: ${problem}`)
    byOpnum.set(opnum, key)
    const takesInput = !["Void", "Undefined"].includes(method.in.ast._tag)
    const handlesIn = ContextHandle.parametersOf(method.in.ast)
    const handlesOut = ContextHandle.parametersOf(method.out.ast)
    if (typeof handlesIn === "string") return refuse(`method ${key}, in: ${handlesIn}`)
    if (typeof handlesOut === "string") return refuse(`method ${key}, out: ${handlesOut}`)
    if (handlesIn !== undefined && method.aborts.some(({ code }) => code === mismatch)) {
      refuse(`method ${key}: an abort has code ${mismatch}, which means that a context handle is not known`)
    }
    const pipes = pipesOf(method)
    operations[key] = { interface: self, name: key, opnum, method, takesInput, pipes, handlesIn, handlesOut }
    next = opnum + 1
  }
  return self
}

/**
 * The pipes of a method in their order; `undefined` where it has none.
 *
 * @internal
 */
export const pipesOf = ({ inPipe, outPipe }: Method.Any): Pipes | undefined => {
  const pipes = [
    ...Object.entries(inPipe).map(([name, element]) => ({ name, element, isIn: true })),
    ...Object.entries(outPipe).map(([name, element]) => ({ name, element, isIn: false }))
  ]
  return pipes.length === 0 ? undefined : pipes
}
const mismatch = codes.ContextMismatch.rpcStatus!.number

const refuseMethod = (method: Method.Any): string | undefined => {
  if (method.maybe && method.out.ast._tag !== "Void") return "a maybe method gets no reply, so it has no out parameters"
  if (method.maybe && method.aborts.length > 0) return "a maybe method gets no reply, so it has no aborts"
  if (method.maybe && pipesOf(method) !== undefined) return "a maybe method gets no reply, so it has no pipes"
  const byCode = new Map<number, string>()
  const tags = new Set<string>()
  for (const { code, error } of method.aborts) {
    const reason = refuseCode(code)
    if (reason !== undefined) return `abort ${error.name} has code ${code}, which is refused: ${reason}`
    const other = byCode.get(code)
    if (other !== undefined) return `aborts ${other} and ${error.name} both have code ${code} (${toHex(code)})`
    if (tags.has(error.name)) return `abort ${error.name} is declared twice`
    byCode.set(code, error.name)
    if (ContextHandle.contains(error.ast)) return `abort ${error.name} has a context handle, which is a parameter alone`
    tags.add(error.name)
  }
  return undefined
}

/**
 * Whether a server that offers `offered` serves a client that asks for `wanted`: the same UUID, the same major version,
 * and a minor version at least the client's.
 *
 * **Example** (A newer server serves an older client)
 *
 * ```ts
 * import { Interface } from "@callisto/rpc"
 *
 * const version = (major: number, minor: number) =>
 *   Interface.make("Sums", { uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11", version: [major, minor], methods: {} })
 *
 * Interface.isCompatible(version(1, 2), version(1, 0)) // => true
 * Interface.isCompatible(version(1, 0), version(1, 2)) // => false
 * Interface.isCompatible(version(2, 0), version(1, 0)) // => false
 * ```
 *
 * @category predicates
 * @since 0.1.0
 */
export const isCompatible = (offered: Interface.Identity, wanted: Interface.Identity): boolean =>
  offered.uuid === wanted.uuid && offered.version[0] === wanted.version[0] && offered.version[1] >= wanted.version[1]

/**
 * The abort that a method declares for an error, found by the error's class; `undefined` where it declares none.
 *
 * **Example** (From error to exception code)
 *
 * ```ts
 * import { Interface } from "@callisto/rpc"
 * import { Schema } from "effect"
 *
 * class Overflow extends Schema.TaggedError<Overflow>()("Overflow", {}) {}
 *
 * const Add = Interface.method({
 *   in: Schema.Array(Schema.Int),
 *   out: Schema.Int,
 *   aborts: [Interface.abort(534, Overflow)]
 * })
 *
 * Interface.abortOf(Add, new Overflow())?.code // => 534
 * Interface.abortOf(Add, new Error("another")) // => undefined
 * ```
 *
 * @category aborts
 * @since 0.1.0
 */
export const abortOf = (method: Method.Any, error: unknown): Abort.Any | undefined =>
  method.aborts.find((abort) => error instanceof abort.error)
