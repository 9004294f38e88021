/**
 * What an IDL file means: constants, types and operations in terms of `Ndr`. What is printed and what is made at run time
 * come from this one tree.
 */
import type { Place } from "./idlSyntax.ts"

// ----------------------------------------------------------------------------
// types
// ----------------------------------------------------------------------------

/** The integers. */
export type IntegerName = "Int8" | "Uint8" | "Int16" | "Uint16" | "Int32" | "Uint32" | "Int64" | "Uint64"

/** The types of `Ndr` that are constants. */
export type ConstantName =
  | IntegerName
  | "Boolean"
  | "Char"
  | "WChar"
  | "Float"
  | "Double"
  | "Uuid"
  | "WString"
  | "String"
  | "SizedWString"
  | "SizedString"
  | "Bytes"
  | "VaryingBytes"
  | "SizedVaryingBytes"
  | "WChars"
  | "VaryingWChars"
  | "SizedVaryingWChars"
  | "UnicodeString"
  | "CountedString"

/** The types of `Ndr` that take a number of elements and nothing else. */
export type BoundedName =
  | "fixedBytes"
  | "varyingBytes"
  | "fixedWChars"
  | "varyingWChars"
  | "varyingWString"
  | "varyingString"

/** How a value travels. */
export type Type =
  | { readonly _tag: "Constant"; readonly name: ConstantName }
  | { readonly _tag: "Bounded"; readonly name: BoundedName; readonly count: number }
  | { readonly _tag: "Fixed"; readonly element: Type; readonly count: number }
  | { readonly _tag: "Varying"; readonly element: Type; readonly count: number }
  | {
    readonly _tag: "Open"
    readonly name: "conformant" | "conformantVarying" | "sizedVarying"
    readonly element: Type
  }
  | { readonly _tag: "Pointer"; readonly kind: "ref" | "unique" | "full"; readonly target: Type }
  | { readonly _tag: "Range"; readonly type: Type; readonly minimum: number; readonly maximum: number }
  /** A structure of the one field `value`: it keeps a null pointer behind a pointer apart from a null pointer. */
  | { readonly _tag: "Box"; readonly type: Type }
  /** A definition, by its name. */
  | { readonly _tag: "Reference"; readonly name: string }
  | { readonly _tag: "Handle"; readonly name: string; readonly nullable: boolean }
  | {
    readonly _tag: "Derived"
    readonly what: "size" | "length" | "switch"
    readonly fields: ReadonlyArray<string>
    /** `undefined` where it is the default. */
    readonly type: Type | undefined
    /** How many of it stand for one element. */
    readonly unit: number
  }

/** A field of a structure, or a parameter. */
export interface Member {
  /** The name in the IDL. */
  readonly name: string
  /** How it travels. */
  readonly type: Type
  /** What the IDL says of it and the type does not show, such as `size_is(*n + 1)`. */
  readonly note: string | undefined
}

/** An arm of a union. */
export interface UnionArm {
  /** `undefined` for the default arm. */
  readonly label: string | number | undefined
  /** `undefined` for an empty arm. */
  readonly type: Type | undefined
}

/** A type with a name. */
export type Definition =
  | {
    readonly _tag: "Enum"
    readonly name: string
    /** In bytes. */
    readonly size: 2 | 4
    readonly members: ReadonlyArray<{ readonly name: string; readonly value: number }>
    readonly comment: string | undefined
    readonly place: Place
  }
  | {
    readonly _tag: "Struct"
    readonly name: string
    readonly fields: ReadonlyArray<Member>
    readonly comment: string | undefined
    readonly place: Place
  }
  | {
    readonly _tag: "Union"
    readonly name: string
    readonly discriminant: Type
    readonly arms: ReadonlyArray<UnionArm>
    readonly msUnion: boolean
    readonly comment: string | undefined
    readonly place: Place
  }

// ----------------------------------------------------------------------------
// documents
// ----------------------------------------------------------------------------

/** A named number or text. */
export interface Constant {
  /** The name in the IDL. */
  readonly name: string
  /** A bigint where a number would lose digits. */
  readonly value: number | bigint | string
  /** The comment in front of it. */
  readonly comment: string | undefined
}

/** An operation that can be called. */
export interface Operation {
  /** The name in the IDL. */
  readonly name: string
  /** The number of the operation. */
  readonly opnum: number
  /** The in parameters, in their order on the wire. */
  readonly in: ReadonlyArray<Member>
  /** The out parameters, in their order on the wire; the return value is the last. */
  readonly out: ReadonlyArray<Member>
  /** The elements of the pipes; `undefined` for bytes. */
  readonly inPipe: ReadonlyArray<{ readonly name: string; readonly element: Type | undefined }>
  /** The same for the pipes that the server pushes. */
  readonly outPipe: ReadonlyArray<{ readonly name: string; readonly element: Type | undefined }>
  /** The type of the return value as the IDL names it, such as `NTSTATUS`; `undefined` without one. */
  readonly returns: string | undefined
  /** Whether a lost call may be repeated. */
  readonly idempotent: boolean
  /** Whether there is no reply. */
  readonly maybe: boolean
  /** The comment in front of it. */
  readonly comment: string | undefined
  /** Where it stands. */
  readonly place: Place
}

/** An operation that cannot be called, and why. */
export interface LeftOut {
  /** The name in the IDL. */
  readonly name: string
  /** Its number; `undefined` for one that has none. */
  readonly opnum: number | undefined
  /** Why it cannot be called, without a full stop. */
  readonly reason: string
  /** Its schemas as text, for an operation of a module that travels in the syntax of Callisto alone. */
  readonly form?: string | undefined
  /** Where it stands. */
  readonly place: Place
}

/** An interface of remote procedures. */
export interface InterfaceModel {
  /** Its name in programs: with its version where another one has the same name. */
  readonly name: string
  /** Its name in the IDL. */
  readonly idlName: string
  /** In the canonical form. */
  readonly uuid: string
  /** 0.0 where the IDL says none. */
  readonly version: readonly [major: number, minor: number]
  /** The endpoints in the IDL, as string bindings without a host. */
  readonly endpoints: ReadonlyArray<string>
  /** Those that can be called, by their numbers. */
  readonly operations: ReadonlyArray<Operation>
  /** Those that cannot be called. */
  readonly leftOut: ReadonlyArray<LeftOut>
  /** How many numbers are kept free on purpose. */
  readonly unused: number
  /** The comment in front of it. */
  readonly comment: string | undefined
  /** Where it stands. */
  readonly place: Place
}

/** An `[object]` interface: calling it needs ORPC. */
export interface ObjectInterface {
  /** The name in the IDL. */
  readonly name: string
  /** The IID. */
  readonly uuid: string
  /** The interface that it derives from. */
  readonly base: string | undefined
  /** The methods that an object of it has of its own, with their numbers; `undefined` where these are not known. */
  readonly methods: ReadonlyArray<{ readonly name: string; readonly opnum: number }> | undefined
  /** The comment in front of it. */
  readonly comment: string | undefined
  /** Where it stands. */
  readonly place: Place
}

/** A coclass, dispinterface, library or module with a UUID. */
export interface ClassModel {
  /** What it is in the IDL. */
  readonly kind: "coclass" | "dispinterface" | "library" | "module"
  /** The name in the IDL. */
  readonly name: string
  /** The CLSID, or what identifies it else. */
  readonly uuid: string
}

/** What an IDL file and its imports mean. */
export interface Document {
  /** The name of the file. */
  readonly main: string
  /** Constants of the main file, and the numbers that it `#define`s. */
  readonly constants: ReadonlyArray<Constant>
  /** The types of context handles. */
  readonly handles: ReadonlyArray<string>
  /** Each definition stands behind the definitions that it needs; only recursive types name a later one. */
  readonly types: ReadonlyArray<Definition>
  /** Types of the main file that cannot travel; no operation that stands in `interfaces` needs them. */
  readonly skipped: ReadonlyArray<{ readonly name: string; readonly reason: string; readonly place: Place }>
  /** Interfaces of the main file without an identity, or with a base that is not known: these stay without operations. */
  readonly lost: ReadonlyArray<{ readonly name: string; readonly reason: string; readonly place: Place }>
  /** The interfaces of remote procedures. */
  readonly interfaces: ReadonlyArray<InterfaceModel>
  /** The interfaces of objects. */
  readonly objects: ReadonlyArray<ObjectInterface>
  /** What else has a UUID. */
  readonly classes: ReadonlyArray<ClassModel>
  /** Files that are imported and were not given; built-in types stand in for some of them. */
  readonly missing: ReadonlyArray<string>
}

/** The name of a definition in a type, or of several. */
export const referencesIn = (type: Type): ReadonlyArray<string> => {
  switch (type._tag) {
    case "Reference":
      return [type.name]
    case "Fixed":
    case "Varying":
    case "Open":
      return referencesIn(type.element)
    case "Pointer":
      return referencesIn(type.target)
    case "Range":
    case "Box":
      return referencesIn(type.type)
    case "Derived":
      return type.type === undefined ? [] : referencesIn(type.type)
    default:
      return []
  }
}

/** The types in a definition. */
export const typesIn = (definition: Definition): ReadonlyArray<Type> => {
  switch (definition._tag) {
    case "Enum":
      return []
    case "Struct":
      return definition.fields.map(({ type }) => type)
    case "Union":
      return [definition.discriminant, ...definition.arms.flatMap(({ type }) => type === undefined ? [] : [type])]
  }
}

/** The types in an operation. */
export const typesOf = ({ in: input, inPipe, out, outPipe }: Operation): ReadonlyArray<Type> => [
  ...input.map(({ type }) => type),
  ...out.map(({ type }) => type),
  ...[...inPipe, ...outPipe].flatMap(({ element }) => element === undefined ? [] : [element])
]
