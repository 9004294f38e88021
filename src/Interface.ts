/**
 * Descriptions of interfaces: a named set of methods, their parameters, and their declared aborts. A UUID and a version
 * identify an interface. A description is a plain value that client and server share; it runs nothing.
 *
 * @module
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { BaseProto } from "effect/Inspectable"
import * as SchemaAST from "effect/SchemaAST"
import * as SchemaParser from "effect/SchemaParser"
import type * as Types from "effect/Types"
import { badInput, issueIn } from "./internal/badInput.ts"
import { type Carried, type Rules, rulesIn } from "./internal/handleRules.ts"
import { finder } from "./internal/handleSchema.ts"
import { pipesOf } from "./internal/methodPipes.ts"
import { refuseArgument } from "./internal/named.ts"
import { flagOption } from "./internal/options.ts"
import { refuseCode as refusalOf, toHex } from "./internal/statusTable.ts"
import * as Uuid from "./internal/uuid.ts"
import type { Chunk, Element, Elements } from "./Pipe.ts"
import { codes } from "./Status.ts"

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
  /** The error of an abort: it has a tag. */
  export interface Error extends globalThis.Error {
    /** The tag, as `Effect.catchTag` takes it. */
    readonly _tag: string
  }
  /** Any declared abort. */
  export type Any = Abort<Abort.Error>
  /** An abort whose class takes the codes that are not declared one by one, see {@link openAbort}. */
  export interface Open<out E extends Abort.Error> {
    /** The class of the error. */
    readonly error: AbortClass<E>
    /** The field of the error that holds the exception code. */
    readonly field: string
  }
  /** An entry in the `aborts` of {@link method}. */
  export type Entry = Any | Open<Abort.Error> | AbortClass
  /** The error of such an entry. */
  export type ErrorOf<A> = A extends { readonly error: AbortClass<infer E> } ? E
    : A extends AbortClass<infer E> ? E
    : never
}

/**
 * Says why a number can't be the exception code of an abort, or gives `undefined` if it can.
 *
 * **Details**
 *
 * An exception code is an unsigned 32-bit number other than 0. Refused are also:
 *
 * - 14, 1715, 1778 and 0x1C000000 to 0x1CFFFFFF: they reach the client as another number.
 * - 1728 and 1825: a Windows client closes its connection.
 * - 1722, 1726, 1727 and 1818: they have a meaning of their own.
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
export const refuseCode: (code: number) => string | undefined = refusalOf

/**
 * Declares that a method may abort with an error under a given exception code, for peers that know the code.
 *
 * **Details**
 *
 * A manager that fails with the error ends the call with the code, and the client's `finish` fails with the error
 * again. The fields of the error travel in process and between Callisto peers; through NDR only the code travels.
 *
 * Between Callisto peers the code may be left out: `aborts: [EndOfFile]`. It is then derived from the tag of the error.
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
  const reason = refusalOf(code)
  if (reason !== undefined) {
    refuseArgument(`Interface.abort(${code}, ${error.name})`, `code ${code} is refused: ${reason}`)
  }
  return { code, error }
}

/**
 * Declares one error for all exception codes that the method does not declare one by one, for instance HRESULTs. The
 * error travels in both directions with its code.
 *
 * **Details**
 *
 * `field` names the field of the error that holds the code, an unsigned 32-bit number. Through NDR only the code
 * travels, so there the class must be constructible from that field alone.
 *
 * A method has at most one open abort. It never takes a code that {@link refuseCode} refuses, nor a fault that says the
 * call did not execute: the client sees these as `RpcFault`. A code that the method declares reaches the client as the
 * declared error.
 *
 * Throws a `TypeError` where the schema of the class has no such field.
 *
 * Windows: a method that returns any HRESULT.
 *
 * **Example** (Any HRESULT)
 *
 * ```ts
 * import { Interface } from "@callisto/rpc"
 * import { Schema } from "effect"
 *
 * class HResult extends Schema.TaggedError<HResult>()("HResult", { hresult: Schema.Int }) {}
 *
 * const Activate = Interface.method({ aborts: [Interface.openAbort(HResult, "hresult")] })
 *
 * Interface.abortOf(Activate, new HResult({ hresult: 0x80004005 }))?.code // => 2147500037
 * Interface.abortFromCode(Activate, 0x80004005) // => HResult
 * ```
 *
 * @category aborts
 * @since 0.1.0
 */
export const openAbort = <E extends Abort.Error>(
  error: AbortClass<E>,
  field: { [K in keyof E]-?: E[K] extends number ? K : never }[keyof E] & string
): Abort.Open<E> => {
  const { fields } = error as { readonly fields?: object }
  if (fields !== undefined && !Object.hasOwn(fields, field)) {
    refuseArgument(
      "Interface.openAbort",
      `class ${error.name} has no field ${field}. Name the field that holds the code`
    )
  }
  return { error, field }
}

/** The literal tag in the schema of an error. */
const tagOf = (error: AbortClass): string => {
  const { fields } = error as { readonly fields?: { readonly _tag?: { readonly ast: SchemaAST.AST } } }
  const ast = fields?._tag?.ast
  if (ast?._tag === "Literal" && typeof ast.literal === "string") return ast.literal
  return refuseArgument(`Abort ${error.name}`, "its schema has no literal _tag. Make the class with Schema.TaggedError")
}

/** The code of an abort that is declared without one: 0xE0000000 with the last 28 of the first 32 bits of SHA-1 of the tag. */
const derivedCode = (tag: string): number => (0xe0000000 | Uuid.hash(tag) & 0x0fffffff) >>> 0

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
 * The schema of parameters: fields become a struct, a schema stays as it is.
 *
 * @category models
 * @since 0.1.0
 */
// `infer` keeps an expected type from deciding what `P` is.
export type ToSchema<P extends Fields | Parameters> = P extends infer S extends Parameters ? S
  : P extends infer F extends Schema.Struct.Fields ? Schema.Struct<F>
  : never

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
  /** The aborts that the method declares, each with its code. */
  readonly aborts: ReadonlyArray<Abort<E>>
  /** The abort that takes the codes that are not declared, if the method has one. */
  readonly openAbort: Abort.Open<E> | undefined
  /** The number of the operation, if the method gives one. Otherwise the interface numbers its methods in order. */
  readonly opnum: number | undefined
  /** Whether a second call changes nothing more than the first, so that a lost call may be repeated. */
  readonly idempotent: boolean
  /** Whether the client gets no reply: a call completes when it was sent. */
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
  /** The method without aborts and pipes that {@link method} makes of these parameters. */
  export type Of<In extends Fields | Parameters, Out extends Fields | Parameters> = Method<
    ToSchema<In>,
    ToSchema<Out>,
    never
  >
  /** The type of the in parameters, as the routine receives them. */
  export type In<M extends Any> = M["in"]["Type"]
  /** The in parameters that a caller passes: fields with a constructor default may be missing. */
  export type Input<M extends Any> = M["in"]["~type.make.in"]
  /** The type of the out parameters. */
  export type Out<M extends Any> = M["out"]["Type"]
  /** The declared aborts. */
  export type Abort<M extends Any> = M extends Method<infer _In, infer _Out, infer E, infer _InPipe, infer _OutPipe> ? E
    : never
  /** The chunks of the pipes that the client pushes, by name. */
  export type InPipe<M extends Any> = { readonly [K in keyof M["inPipe"] & string]: Chunk<M["inPipe"][K]> }
  /** The chunks of the pipes that the client pulls, by name. */
  export type OutPipe<M extends Any> = { readonly [K in keyof M["outPipe"] & string]: Chunk<M["outPipe"][K]> }
  /** `A` for a method that has pipes, else `never`. */
  export type IfPipes<M extends Any, A> = M extends Any
    ? [keyof M["inPipe"] | keyof M["outPipe"]] extends [never] ? never : A
    : never
  /**
   * How a method is called, see {@link Interface.MethodName}; `never` for one with more than one pipe. The pipes of any method are not
   * known, so it is of each kind.
   */
  export type Kind<M extends Any> = string extends keyof M["inPipe"] | keyof M["outPipe"] ? "plain" | "stream" | "sink"
    : [keyof M["inPipe"] | keyof M["outPipe"]] extends [never] ? "plain"
    : [keyof M["inPipe"]] extends [never]
      ? [keyof M["outPipe"]] extends [Types.UnionToIntersection<keyof M["outPipe"]>] ? "stream" : never
    : [keyof M["outPipe"]] extends [never]
      ? [keyof M["inPipe"]] extends [Types.UnionToIntersection<keyof M["inPipe"]>] ? "sink" : never
    : never
  /** Whether a context handle is among the in parameters. Of parameters of type `any` that is not known, and none is one. */
  export type TakesHandle<M extends Any> = 0 extends 1 & In<M> ? false
    : [
      Extract<
        { [K in keyof In<M>]: 0 extends 1 & In<M>[K] ? never : In<M>[K] }[keyof In<M>],
        { readonly "~callisto/ContextHandle": unknown }
      >
    ] extends [never] ? false
    : true
  /** The argument list with which the in parameters are passed: empty for a method without parameters. */
  export type Args<M extends Any> = 0 extends 1 & Input<M> ? [value?: Input<M>]
    : [Input<M>] extends [void] ? []
    : [value: Input<M>]
  /** The argument list with which the out parameters are passed: empty for a method without results. */
  export type Results<M extends Any> = 0 extends 1 & Out<M> ? [value?: Out<M>]
    : [Out<M>] extends [void] ? []
    : [value: Out<M>]
  /** How a method is described, see {@link method}. */
  export interface Options<In, Out, Aborts, InPipe, OutPipe> {
    /** The in parameters, as fields or as any schema. By default the method takes none. */
    readonly in?: In | undefined
    /** The out parameters, as fields or as any schema. By default the method gives none. */
    readonly out?: Out | undefined
    /** The tagged errors with which the method may end: classes, {@link abort}, {@link openAbort}. By default the method declares none. */
    readonly aborts?: Aborts | undefined
    /** The number of the operation, 0 to 65535. By default the next one after the method declared before. */
    readonly opnum?: number | undefined
    /** Whether a call may be repeated when its outcome is unknown. By default `false`. */
    readonly idempotent?: boolean | undefined
    /** `true` for a method without a reply, see {@link MaybeOptions}. By default `false`. */
    readonly maybe?: false | undefined
    /** The pipes from the client to the server, by name in the order of their use. By default the method has none. */
    readonly inPipe?: InPipe | undefined
    /** The pipes from the server to the client, by name in the order of their use. By default the method has none. */
    readonly outPipe?: OutPipe | undefined
  }
  /** How a method without a reply is described, see {@link method}. */
  export interface MaybeOptions<In> {
    /** The in parameters, as fields or as any schema. By default the method takes none. */
    readonly in?: In | undefined
    /** The number of the operation, 0 to 65535. By default the next one after the method declared before. */
    readonly opnum?: number | undefined
    /** Whether a call may be repeated when its outcome is unknown. By default `false`. */
    readonly idempotent?: boolean | undefined
    /** The client gets no reply: a call completes when it was sent, without results, aborts and pipes. */
    readonly maybe: true
  }
}

/**
 * Describes a method.
 *
 * **Details**
 *
 * A method without in parameters takes no input, one without out parameters gives nothing. Pipes are streams of chunks
 * beside the parameters, see `Pipe`; an in-out pipe has its name in both directions.
 *
 * Throws a `TypeError` for an abort class without a literal tag, for a second open abort, and for an option out of its range.
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
 *   aborts: [EndOfFile]
 * })
 *
 * Read.aborts[0]?.code // => 3876107258
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const method: {
  // The general form comes last: its error tells best why no form fits.
  <const In extends Fields | Parameters = Schema.Void>(
    options: Method.MaybeOptions<In>
  ): Method<ToSchema<In>, Schema.Void, never>
  <
    const In extends Fields | Parameters = Schema.Void,
    const Out extends Fields | Parameters = Schema.Void,
    const Aborts extends ReadonlyArray<Abort.Entry> = [],
    const InPipe extends Elements = {},
    const OutPipe extends Elements = {}
  >(
    options: Method.Options<In, Out, Aborts, InPipe, OutPipe>
  ): Method<
    ToSchema<In>,
    ToSchema<Out>,
    Abort.ErrorOf<Aborts[number]>,
    // `infer` keeps an expected type from deciding, as in `ToSchema`.
    InPipe extends infer E extends Elements ? E : never,
    OutPipe extends infer E extends Elements ? E : never
  >
} = (
  options:
    & Omit<Method.Options<Parameters, Parameters, ReadonlyArray<Abort.Entry>, Elements, Elements>, "maybe">
    & { readonly maybe?: boolean | undefined }
): Method<never, never, never, never, never> => {
  const aborts: Array<Abort.Any> = []
  let open: Abort.Open<Abort.Error> | undefined
  for (const entry of options.aborts ?? []) {
    if (typeof entry === "function") aborts.push({ code: derivedCode(tagOf(entry)), error: entry })
    else if ("code" in entry) aborts.push(entry)
    else if (open === undefined) open = entry
    else {
      refuseArgument(
        "Interface.method",
        `open aborts ${tagOf(open.error)} and ${tagOf(entry.error)}: a method has at most one`
      )
    }
  }
  return {
    in: toSchema(options.in) as never,
    out: toSchema(options.out) as never,
    aborts: aborts as ReadonlyArray<Abort.Any> as never,
    openAbort: open as never,
    opnum: options.opnum,
    idempotent: flagOption("Interface.method", "idempotent", options.idempotent, false),
    maybe: flagOption("Interface.method", "maybe", options.maybe, false),
    inPipe: (options.inPipe ?? {}) as never,
    outPipe: (options.outPipe ?? {}) as never
  }
}

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
 * A method of an interface, with its name and its number.
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
  /**
   * Makes the in parameters from the caller's value, or throws `BadStubData`. `undefined` where the value passes as it
   * is: the schema is no class and has no constructor defaults.
   */
  readonly makeInput: ((input: unknown) => unknown) | undefined
  /** The pipes in their order; `undefined` where the method has none. */
  readonly pipes:
    | ReadonlyArray<{ readonly name: string; readonly isIn: boolean; readonly element: Element }>
    | undefined
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
  /** The methods by name. Look names up among its own keys alone: a method may be called `toString`. */
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
  /** The identity of an interface. */
  export type Identity = Pick<Any, "uuid" | "version">
  /** How an interface is described, see {@link make}. */
  export interface Options<Methods> {
    /** The UUID, in any case. By default one that follows from the name and the major version. */
    readonly uuid?: string | undefined
    /** The major and minor version, each 0 to 65535. By default [1, 0]. */
    readonly version?: readonly [major: number, minor: number] | undefined
    /** The methods by name, in the order of their numbers. */
    readonly methods: Methods
  }
  /**
   * The names of the methods: of those without pipes (`plain`), of those with one out pipe alone (`stream`), of those with one in
   * pipe alone (`sink`), or of all (`any`).
   */
  export type MethodName<I extends Any, Kind extends "plain" | "stream" | "sink" | "any" = "plain"> = Kind extends "any"
    ? keyof I["methods"] & string
    :
      & keyof { [K in keyof I["methods"] & string as Kind extends Method.Kind<I["methods"][K]> ? K : never]: unknown }
      & string
  /** An argument list for one method: a union of names is refused. */
  export type One<K, Args extends ReadonlyArray<unknown>> = [K] extends [Types.UnionToIntersection<K>] ? Args
    : [never: "a union of methods is no method"]
  /** One method by name. */
  export type MethodOf<I extends Any, K extends keyof I["methods"]> = I["methods"][K]
  /** The declared aborts of all methods. */
  export type Aborts<I extends Any> = Method.Abort<I["methods"][keyof I["methods"]]>
}

// An operation knows its interface, so an interface prints without its operations.
const printed = {
  ...BaseProto,
  toJSON(this: Interface.Any) {
    const { methods, name, uuid, version } = this
    return { _id: "callisto/Interface", name, uuid, version, methods: Object.keys(methods) }
  }
}

const namePattern = /^(?!__proto__$)[A-Za-z_]\w*$/

const noIdentifier = "its name is not an identifier (a letter or _, then letters, digits and _)"
const isUint16 = (n: number): boolean => Number.isInteger(n) && n >= 0 && n <= 0xffff

const noHandles: Carried = { handlesIn: undefined, handlesOut: undefined }

// The name space for the UUIDs of interfaces that are described without one.
const interfaces = "945afeeb-eb6f-53ec-922d-01fdca545c35"

/**
 * Describes an interface.
 *
 * **Details**
 *
 * The UUID and the version identify the interface; {@link isCompatible} says which versions work together. Without a
 * UUID the interface gets one that follows from its name and major version, which is the same for every Callisto peer.
 * An interface for foreign peers gives its own.
 *
 * Throws a `TypeError` with the problem and its place: a malformed or nil UUID, a version or opnum out of range, two
 * methods with one opnum, a name that is no identifier, two aborts of one method with the same code or tag, a `maybe`
 * method with out parameters, aborts or pipes, and a context handle that is not a parameter itself.
 *
 * **Gotchas**
 *
 * An inferred interface shows all its methods wherever an editor or a declaration file prints its type. Give it a name
 * of its own with an empty `interface` that extends the inferred type, as in the second example. A package on JSR must
 * write the type out: `interface IFiles extends Interface.Interface<"Files", { ... }> {}`.
 *
 * **Example** (An interface with one method)
 *
 * ```ts
 * import { Interface } from "@callisto/rpc"
 * import { Schema } from "effect"
 *
 * const Files = Interface.make("Files", {
 *   methods: {
 *     Read: Interface.method({ in: { count: Schema.Int }, out: { data: Schema.Uint8Array } })
 *   }
 * })
 *
 * Files.uuid // => "253a61da-958e-5e25-821e-7a2584d9dd33"
 * Files.version // => [1, 0]
 * Files.operations.Read.opnum // => 0
 * ```
 *
 * **Example** (A named interface for foreign peers)
 *
 * ```ts
 * import { Binding, Interface } from "@callisto/rpc"
 * import { Schema } from "effect"
 *
 * const simpleStream = Interface.make("ISimpleStream", {
 *   uuid: "4f2c8ea6-6a3d-4f0e-9d1e-6a4f0b1d2c3e",
 *   version: [1, 0],
 *   methods: { Read: Interface.method({ in: { count: Schema.Int }, out: { data: Schema.Uint8Array } }) }
 * })
 * type SimpleStream = typeof simpleStream
 * interface ISimpleStream extends SimpleStream {}
 * const ISimpleStream: ISimpleStream = simpleStream
 *
 * type Stream = Binding.Binding<ISimpleStream>
 * ISimpleStream.name // => "ISimpleStream"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <const Name extends string, const Methods extends Interface.Methods>(
  name: Name,
  options: Interface.Options<Methods>
): Interface<Name, Methods> => {
  const owner = `Interface ${JSON.stringify(name)}`
  if (!namePattern.test(name)) refuseArgument(owner, noIdentifier)

  const version = options.version ?? [1, 0]
  const [major, minor] = version
  if (version.length !== 2 || !isUint16(major) || !isUint16(minor)) {
    refuseArgument(owner, `version [${version}] is not [major, minor], each an integer from 0 to 65535`)
  }

  const uuid = options.uuid === undefined ? Uuid.v5(interfaces, `${name}/${major}`) : Uuid.canonical(options.uuid)
  if (uuid === undefined) {
    return refuseArgument(
      owner,
      `uuid ${JSON.stringify(options.uuid)} is not a UUID (like "4f2c8ea6-6a3d-4f0e-9d1e-6a4f0b1d2c3e")`
    )
  }
  if (uuid === Uuid.nil) refuseArgument(owner, "uuid is the nil UUID, which identifies no interface")

  const operations: Record<string, Operation> = {}
  const self: Interface<Name, Methods> = Object.assign(Object.create(printed), {
    name,
    uuid,
    version: [major, minor],
    methods: options.methods,
    operations
  })

  const byOpnum = new Map<number, string>()
  let next = 0
  for (const [key, method] of Object.entries(options.methods)) {
    if (!namePattern.test(key)) {
      refuseArgument(owner, `method ${JSON.stringify(key)}: ${noIdentifier}`)
    }
    const opnum = method.opnum ?? next
    if (!isUint16(opnum)) refuseArgument(owner, `method ${key}: opnum ${opnum} is not an integer from 0 to 65535`)
    const other = byOpnum.get(opnum)
    if (other !== undefined) refuseArgument(owner, `methods ${other} and ${key} both have opnum ${opnum}`)
    const problem = refuseMethod(method)
    if (problem !== undefined) refuseArgument(owner, `method ${key}: ${problem}`)
    byOpnum.set(opnum, key)
    const rules = rulesIn(method.in.ast) ?? rulesIn(method.out.ast)
    const carried = rules === undefined ? noHandles : rules.carriedBy(method)
    if (typeof carried === "string") return refuseArgument(owner, `method ${key}${carried}`)
    const operation: Operation & Carried & { readonly rules: Rules | undefined } = {
      interface: self,
      name: key,
      opnum,
      method,
      takesInput: !["Void", "Undefined"].includes(method.in.ast._tag),
      makeInput: makerOf(method.in),
      pipes: pipesOf(method),
      rules,
      ...carried
    }
    operations[key] = operation
    next = opnum + 1
  }
  return self
}

// ----------------------------------------------------------------------------
// inputs
// ----------------------------------------------------------------------------

/** The constructor of parameters that are a class or have defaults. */
const makerOf = (schema: Parameters): ((input: unknown) => unknown) | undefined => {
  const ast = SchemaAST.toType(schema.ast)
  // Effect finds the constructor of a class by this annotation.
  const isClass = ast.annotations?.["~constructor"] !== undefined
  if (!isClass && !hasDefaults(ast)) return undefined
  const make = SchemaParser.make(schema)
  return (input) => {
    try {
      return make(isClass ? input ?? {} : input)
    } catch (error) {
      const { cause, message } = error as Error
      throw badInput(issueIn(cause) ?? message)
    }
  }
}

/** Whether a schema constructs a part of its value. The instances of a nested class are made by the caller. */
const hasDefaults: (ast: SchemaAST.AST) => boolean | undefined = finder(({ _tag, context }) =>
  context?.constructorDefault !== undefined || (_tag === "Declaration" ? false : undefined)
)

const mismatch = codes.ContextMismatch.rpcStatus!.number

const refuseMethod = (method: Method.Any): string | undefined => {
  const { aborts, maybe, openAbort, out } = method
  const replied = out.ast._tag !== "Void"
    ? "out parameters"
    : aborts.length > 0 || openAbort !== undefined
    ? "aborts"
    : pipesOf(method) && "pipes"
  if (maybe && replied !== undefined) return `a maybe method gets no reply, so it has no ${replied}`
  const byCode = new Map<number, string>()
  const byTag = new Map<string, AbortClass>()
  const declared: ReadonlyArray<{ readonly error: AbortClass; readonly code?: number }> = [
    ...aborts,
    ...openAbort ? [openAbort] : []
  ]
  for (const { code, error } of declared) {
    const tag = tagOf(error)
    const same = byTag.get(tag)
    if (same === error) return `abort ${tag} is declared twice`
    if (same !== undefined) return `two classes of aborts have the tag ${tag}. Give one of them another tag`
    byTag.set(tag, error)
    if (rulesIn(error.ast) !== undefined) return `abort ${tag} contains a context handle, which must be a parameter`
    if (code === undefined) continue
    const reason = refusalOf(code)
    if (reason !== undefined) return `abort ${tag} has code ${code}, which is refused: ${reason}`
    const other = byCode.get(code)
    if (other !== undefined) {
      return `aborts ${other} and ${tag} both have code ${code} (${
        toHex(code)
      }). Give one of them another with Interface.abort`
    }
    byCode.set(code, tag)
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
 * The abort that a method declares for an error, with its code; `undefined` where the method declares none.
 *
 * **Details**
 *
 * The class of the error decides; where one declared class extends another, the closest wins. For the open abort the
 * code is that of the error.
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
export const abortOf = (method: Method.Any, error: unknown): Abort.Any | undefined => {
  const { openAbort } = method
  let found: Abort.Any | undefined
  for (const abort of method.aborts) if (isCloser(error, abort, found)) found = abort
  if (openAbort === undefined || !isCloser(error, openAbort, found)) return found
  return byCode(method, (error as Record<string, unknown>)[openAbort.field] as number)
}

const isCloser = (error: unknown, { error: candidate }: Pick<Abort.Any, "error">, found: Abort.Any | undefined) =>
  error instanceof candidate && (found === undefined || candidate.prototype instanceof found.error)

/** The abort with a code: the declared one, else the open one. */
const byCode = (method: Method.Any, code: number): Abort.Any | undefined => {
  const declared = method.aborts.find((abort) => abort.code === code)
  if (declared !== undefined || method.openAbort === undefined || refusalOf(code) !== undefined) return declared
  if (code === mismatch && rulesIn(method.in.ast) !== undefined) return undefined
  return { code, error: method.openAbort.error }
}

/**
 * The error that a method declares for an exception code, made from fields; `undefined` where the method declares none,
 * or its class can't be made from the fields.
 *
 * **Details**
 *
 * A declared abort goes before the open one, which gets the code as a field. By default there are no other fields.
 *
 * **Example** (From exception code to error)
 *
 * ```ts
 * import { Interface } from "@callisto/rpc"
 * import { Schema } from "effect"
 *
 * class Overflow extends Schema.TaggedError<Overflow>()("Overflow", {}) {}
 *
 * const Add = Interface.method({ aborts: [Interface.abort(534, Overflow)] })
 *
 * Interface.abortFromCode(Add, 534)?._tag // => "Overflow"
 * Interface.abortFromCode(Add, 535) // => undefined
 * ```
 *
 * @category aborts
 * @since 0.1.0
 */
export const abortFromCode = (method: Method.Any, code: number, fields: object = {}): Abort.Error | undefined => {
  const { openAbort } = method
  const error = byCode(method, code)?.error
  if (error === undefined) return undefined
  try {
    return new (error as unknown as new (fields: object) => Abort.Error)(
      error === openAbort?.error ? { ...fields, [openAbort.field]: code } : fields
    )
  } catch {
    return undefined
  }
}
