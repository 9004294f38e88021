/**
 * Interface definitions in IDL, the language of MIDL and of Microsoft's open specifications: read, described as interfaces
 * that can be called at once, and printed as TypeScript modules.
 *
 * `callisto import file.idl` writes such a module; `callisto call` calls a service by its IDL.
 *
 * @module
 * @since 0.1.0
 */
import type * as Schema from "effect/Schema"
import type { AST } from "effect/SchemaAST"
import type * as Interface from "../Interface.ts"
import { version } from "../internal/version.ts"
import { type Change, compare as compareDocuments } from "./internal/idlCompare.ts"
import { fromInterfaces } from "./internal/idlFromInterface.ts"
import { toDocument } from "./internal/idlInterfaces.ts"
import { maximumProblemsOfAll } from "./internal/idlLexer.ts"
import type { Document } from "./internal/idlModel.ts"
import { parseFiles } from "./internal/idlParser.ts"
import type { Problem, SyntaxFile } from "./internal/idlSyntax.ts"
import { Builder } from "./internal/idlToNdr.ts"
import { onlyOperations, printModule } from "./internal/idlToTypeScript.ts"
import { comFiles, comTypes, pidlTypes, wellKnown } from "./internal/idlWellKnown.ts"

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

export type {
  ClassModel,
  Constant,
  Definition,
  Document,
  InterfaceModel,
  LeftOut,
  Member,
  ObjectInterface,
  Operation,
  Type,
  UnionArm
} from "./internal/idlModel.ts"
export type { Change } from "./internal/idlCompare.ts"
export type { Place, Problem } from "./internal/idlSyntax.ts"

/**
 * IDL files by name: as text, or as bytes in Windows-1252, UTF-8 or UTF-16.
 *
 * **Details**
 *
 * The name of a file that another one imports is found in any case, and by its last part. Files that are not there are listed
 * in {@link Document}; the types of MS-DTYP and the base interfaces of COM are built in.
 *
 * @category models
 * @since 0.1.0
 */
export interface Sources {
  /** A file by its name. */
  readonly [name: string]: string | Uint8Array
}

/**
 * What {@link parse} gives: what the file means, as far as it could be read, and everything that is wrong with it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Parsed {
  /** Constants, types and operations. What could not be read or cannot travel is not among them. */
  readonly document: Document
  /** Where something is wrong, and what to do; in the order of the files and lines. */
  readonly problems: ReadonlyArray<Problem>
}

/**
 * An interface whose methods the compiler does not know: any name, any values.
 *
 * @category models
 * @since 0.1.0
 */
export type Untyped = Interface.Interface<string, {
  readonly [method: string]: Interface.Method<
    Schema.Codec<any, any>,
    Schema.Codec<any, any>,
    never,
    { readonly [pipe: string]: Schema.Codec<any, any> },
    { readonly [pipe: string]: Schema.Codec<any, any> }
  >
}>

/**
 * What {@link describe} gives.
 *
 * @category models
 * @since 0.1.0
 */
export interface Described extends Parsed {
  /** The interfaces by name. */
  readonly interfaces: { readonly [name: string]: Untyped }
}

// ----------------------------------------------------------------------------
// functions
// ----------------------------------------------------------------------------

const parsedOnce = new Map<string, ReadonlyArray<SyntaxFile>>()

const builtInFile = ([name, text]: readonly [string, string]): ReadonlyArray<SyntaxFile> => {
  const files = parsedOnce.get(name) ?? parseFiles({ [name]: text }, name).files
  parsedOnce.set(name, files)
  return files
}

/** Other files come first, so that what they declare counts. COM gives some names another meaning. */
const builtInFiles = (usesCom: boolean): ReadonlyArray<SyntaxFile> =>
  Object.entries({ ...(usesCom ? { "com": comTypes } : {}), ...wellKnown, "pidl": pidlTypes }).flatMap(builtInFile)

const lastPart = (name: string): string => name.split(/[\\/]/).pop()!.toLowerCase()

/**
 * Reads an IDL file and what it imports.
 *
 * **Details**
 *
 * A pure function of the texts. Nothing is thrown for any text, and time and memory are in proportion to it. After an error
 * the next declaration is read, so that all problems come out at once. An operation that cannot be called is among the
 * problems, and in `leftOut` of its interface, with its reason.
 *
 * Windows: what MIDL reads, without type libraries.
 *
 * **Example** (An interface of one operation)
 *
 * ```ts
 * import { Idl } from "@callisto/rpc/idl"
 *
 * const text = `
 *   [uuid(6bffd098-a112-3610-9833-46c3f874532d), version(1.0)]
 *   interface clock {
 *     long Read([in, string] wchar_t *zone, [out] hyper *time);
 *   }`
 *
 * const { document, problems } = Idl.parse({ "clock.idl": text }, "clock.idl")
 * document.interfaces[0]?.operations[0]?.name // => "Read"
 * problems.length // => 0
 * ```
 *
 * @category functions
 * @since 0.1.0
 */
export const parse = (sources: Sources, main: string): Parsed => {
  const parsed = parseFiles(sources, main, isBuiltIn)
  const usesCom = parsed.missing.some((name) => lastPart(name) !== "ms-dtyp.idl" && isBuiltIn(name))
  const { document, problems } = toDocument(parsed.files, builtInFiles(usesCom), parsed.missing, main, isBuiltIn)
  return { document, problems: first([...parsed.problems, ...problems]) }
}

/** The first thousand. */
const first = (problems: ReadonlyArray<Problem>): ReadonlyArray<Problem> => {
  const next = problems[maximumProblemsOfAll]
  if (next === undefined) return problems
  const message = `files: more than ${maximumProblemsOfAll} problems. Correct those above first.`
  return [...problems.slice(0, maximumProblemsOfAll), { ...next, severity: "error", message }]
}

/**
 * Reads an IDL file and makes its interfaces, to call them without generated code.
 *
 * **Details**
 *
 * Values are untyped: a call by name takes and gives any. What {@link print} writes describes the same interfaces with their types.
 *
 * **Example** (A call to an interface from its IDL)
 *
 * ```ts
 * import { Binding, Call, Manager, Server } from "@callisto/rpc"
 * import { Idl } from "@callisto/rpc/idl"
 * import { Effect } from "effect"
 *
 * const text = `
 *   [uuid(5f7a2a3e-6f0c-4b7e-9d55-0f9f3f0a4c11), version(1.0)]
 *   interface adder { long Add([in] long a, [in] long b); }`
 *
 * const adder = Idl.describe({ "adder.idl": text }, "adder.idl").interfaces["adder"]!
 *
 * const program = Effect.gen(function* () {
 *   const manager = Manager.make(adder, { Add: ({ a, b }) => Effect.succeed({ result: a + b }) })
 *   const binding = yield* Binding.local(yield* Server.make([manager]), adder)
 *   return yield* Call.invoke(binding, "Add", { a: 2, b: 3 })
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program) // => { result: 5 }
 * ```
 *
 * @category functions
 * @since 0.1.0
 */
export const describe = (sources: Sources, main: string): Described => {
  const parsed = parse(sources, main)
  return { ...parsed, interfaces: interfacesOf(parsed.document) }
}

/**
 * Makes the interfaces of a document.
 *
 * @category functions
 * @since 0.1.0
 */
export const interfacesOf = (document: Document): { readonly [name: string]: Untyped } => {
  const definitions = new Map(document.types.map((definition) => [definition.name, definition]))
  const builder = new Builder((name) => definitions.get(name))
  return Object.fromEntries(document.interfaces.map((each) => [each.name, builder.interface(each) as Untyped]))
}

/**
 * Prints a document as a TypeScript module, with the types of all values.
 *
 * **Details**
 *
 * The same document gives the same text. Names stay those of the IDL; one that is taken gets a `_` behind it.
 *
 * **Example** (A module)
 *
 * ```ts
 * import { Idl } from "@callisto/rpc/idl"
 *
 * const { document } = Idl.parse({ "a.idl": "[uuid(9a4f6a8e-5c55-4f0f-8f0b-0c7f0f6d8e11)] interface a { void f(); }" }, "a.idl")
 * Idl.print(document).includes("export const a = Interface.make") // => true
 * ```
 *
 * @category functions
 * @since 0.1.0
 */
export const print = (
  document: Document,
  options?: {
    /** The operations to print, with the types that they need; by default all, and all types of the file. */
    readonly only?: ReadonlyArray<string> | undefined
  }
): string =>
  printModule(options?.only === undefined ? document : onlyOperations(document, new Set(options.only)), version)

/**
 * Whether an imported file need not be given, because its types are built in.
 *
 * **Example** (A file that every document imports)
 *
 * ```ts
 * import { Idl } from "@callisto/rpc/idl"
 *
 * Idl.isBuiltIn("ms-dtyp.idl") // => true
 * ```
 *
 * @category functions
 * @since 0.1.0
 */
export const isBuiltIn = (name: string): boolean =>
  Object.hasOwn(wellKnown, lastPart(name)) || comFiles.has(lastPart(name))

/**
 * Describes interfaces that a program has as values, in the form that {@link parse} gives.
 *
 * **Details**
 *
 * `exports` are values by their names, as a module exports them: interfaces, and the schemas after which types are named.
 * A method that has no NDR form is in `leftOut`, with its schemas as text.
 *
 * **Example** (The document of the management interface)
 *
 * ```ts
 * import { IManagement } from "@callisto/rpc/dcerpc/Management"
 * import { Idl } from "@callisto/rpc/idl"
 *
 * Idl.fromExports("management", { IManagement }).interfaces[0]?.operations.length // => 5
 * ```
 *
 * @category functions
 * @since 0.1.0
 */
export const fromExports = (main: string, exports: { readonly [name: string]: unknown }): Document => {
  const names = new Map<AST, string>()
  const interfaces = new Set<Interface.Interface.Any>()
  for (const [name, value] of Object.entries(exports)) {
    if (isInterface(value)) interfaces.add(value)
    const { ast } = Object(value) as { readonly ast?: AST }
    if (typeof ast?._tag === "string" && !names.has(ast)) names.set(ast, name)
  }
  return fromInterfaces(main, [...interfaces], names)
}

const isInterface = (value: unknown): value is Interface.Interface.Any => {
  const { methods, operations, uuid, version } = Object(value) as Partial<Interface.Interface.Any>
  return typeof uuid === "string" && Array.isArray(version) && typeof methods === "object" &&
    typeof operations === "object"
}

/**
 * Says what changed between two descriptions, and what of it breaks clients that know the old one.
 *
 * **Details**
 *
 * Descriptions are compared by what travels: methods by their numbers, parameters and fields by their order. Names are compared
 * for enumerations alone; other names that changed are reported. An interface is found by its UUID, or else by its name.
 *
 * What old clients send has to be taken: a narrower range, a member or an arm that is gone break them. What they get has to be
 * understood: new members, new arms and wider ranges do not break them by themselves, and the change says so.
 *
 * **Example** (A method in the middle)
 *
 * ```ts
 * import { Idl } from "@callisto/rpc/idl"
 *
 * const read = (methods: string) =>
 *   Idl.parse({ "a.idl": `[uuid(9a4f6a8e-5c55-4f0f-8f0b-0c7f0f6d8e11)] interface a { ${methods} }` }, "a.idl").document
 *
 * const changes = Idl.compare(read("void f(); void g();"), read("void f(); void h(); void g();"))
 * changes[0]?.message // => "its number was changed from 1 to 2"
 * changes[0]?.breaks // => true
 * ```
 *
 * @category functions
 * @since 0.1.0
 */
export const compare = (old: Document, now: Document): ReadonlyArray<Change> => compareDocuments(old, now)
