/**
 * The syntax tree of an IDL file: what the parser makes, before names are looked up.
 */

/** A place in a file; lines and columns count from 1. */
export interface Place {
  /** The name of the file among the sources. */
  readonly file: string
  /** The line, from 1. */
  readonly line: number
  /** The column, from 1, in UTF-16 units. */
  readonly column: number
}

/** What is wrong at a place. */
export interface Problem extends Place {
  /** An error leaves something out, or lets other bytes travel; a warning does not. */
  readonly severity: "error" | "warning"
  /** What is wrong, and what to do. */
  readonly message: string
}

// ----------------------------------------------------------------------------
// expressions and attributes
// ----------------------------------------------------------------------------

/** An expression of a constant, a size, a switch. */
export type Expression =
  | { readonly _tag: "Integer"; readonly value: bigint }
  | { readonly _tag: "Real"; readonly value: number }
  | { readonly _tag: "Text"; readonly value: string; readonly wide: boolean }
  | { readonly _tag: "Character"; readonly value: string }
  | { readonly _tag: "Name"; readonly name: string }
  | { readonly _tag: "Unary"; readonly operator: "-" | "+" | "~" | "!" | "*" | "&"; readonly operand: Expression }
  | { readonly _tag: "Binary"; readonly operator: string; readonly left: Expression; readonly right: Expression }
  | {
    readonly _tag: "Conditional"
    readonly test: Expression
    readonly yes: Expression
    readonly no: Expression
  }
  | { readonly _tag: "Cast"; readonly type: TypeName; readonly operand: Expression }
  | { readonly _tag: "SizeOf"; readonly type: TypeName }
  | { readonly _tag: "Member"; readonly object: Expression; readonly arrow: boolean; readonly name: string }

/** One attribute, such as `size_is(n)`. */
export interface Attribute {
  readonly name: string
  /** What stands in the parentheses; `undefined` for a level that is left out, as in `size_is(, n)`. */
  readonly arguments: ReadonlyArray<Expression | undefined>
  /** The type in `switch_type`, `wire_marshal`, `transmit_as`, `represent_as`. */
  readonly type: TypeName | undefined
  /** The raw text in the parentheses of `uuid`, `async_uuid` and `version`, and of attributes that we do not know. */
  readonly text: string | undefined
  readonly place: Place
}

// ----------------------------------------------------------------------------
// types
// ----------------------------------------------------------------------------

/** The base types, in one spelling for each. */
export type BaseName =
  | "boolean"
  | "byte"
  | "char"
  | "small"
  | "short"
  | "long"
  | "hyper"
  | "int3264"
  | "float"
  | "double"
  | "wchar_t"
  | "void"
  | "handle_t"
  | "error_status_t"

/** A type as it stands in front of declarators. */
export type Specifier =
  | { readonly _tag: "Base"; readonly name: BaseName; readonly signed: boolean | undefined; readonly place: Place }
  | { readonly _tag: "Named"; readonly name: string; readonly place: Place }
  | StructSpecifier
  | UnionSpecifier
  | EnumSpecifier
  | { readonly _tag: "Pipe"; readonly element: TypeName; readonly place: Place }
  | { readonly _tag: "SafeArray"; readonly element: TypeName; readonly place: Place }

/** `struct`; without fields it names one that is declared elsewhere. */
export interface StructSpecifier {
  readonly _tag: "Struct"
  readonly tag: string | undefined
  readonly attributes: ReadonlyArray<Attribute>
  readonly fields: ReadonlyArray<Field> | undefined
  readonly place: Place
}

/** `union`; without arms it names one that is declared elsewhere. */
export interface UnionSpecifier {
  readonly _tag: "Union"
  readonly tag: string | undefined
  readonly attributes: ReadonlyArray<Attribute>
  /** `switch (long tag) name` of an encapsulated union. */
  readonly switch: { readonly type: TypeName; readonly name: string; readonly union: string | undefined } | undefined
  readonly arms: ReadonlyArray<Arm> | undefined
  readonly place: Place
}

/** An arm: `[case(1, 2)] long x;`, `[default] ;`, `case 1: long x;`. A plain C union has arms with no label. */
export interface Arm {
  readonly labels: ReadonlyArray<Expression>
  readonly isDefault: boolean
  readonly field: Field | undefined
  readonly place: Place
}

/** `enum`, and pidl's `bitmap`; without members it names one that is declared elsewhere. */
export interface EnumSpecifier {
  readonly _tag: "Enum"
  readonly tag: string | undefined
  readonly attributes: ReadonlyArray<Attribute>
  readonly isBitmap: boolean
  readonly members: ReadonlyArray<Member> | undefined
  readonly place: Place
}

/** A member of an enumeration. */
export interface Member {
  readonly name: string
  readonly value: Expression | undefined
  readonly comment: string | undefined
  readonly place: Place
}

/** One level of a declarator: a star, a dimension, or a function (which cannot be remote). */
export type Level =
  | { readonly _tag: "Pointer" }
  | { readonly _tag: "Function" }
  | {
    readonly _tag: "Dimension"
    /** `undefined` for `[]` and `[*]`; for `[lower..upper]` the upper bound, where `*` is `undefined` too. */
    readonly bound: Expression | undefined
    readonly lower: Expression | undefined
    /** Whether `bound` is an upper bound, as in `[lower..upper]`, rather than a number of elements. */
    readonly isRange: boolean
  }

/** A type with the levels of an abstract declarator, as in casts, `sizeof`, and for the result of an operation. */
export interface TypeName {
  readonly specifier: Specifier
  /** Outermost first. */
  readonly levels: ReadonlyArray<Level>
}

/** A field or a parameter. */
export interface Field {
  readonly attributes: ReadonlyArray<Attribute>
  readonly specifier: Specifier
  /** Outermost first: `long *p[3]` is a dimension, then a pointer. */
  readonly levels: ReadonlyArray<Level>
  /** `undefined` for an anonymous structure or union, and for a parameter without a name. */
  readonly name: string | undefined
  /** The width of a bit field. */
  readonly bits: Expression | undefined
  readonly comment: string | undefined
  readonly place: Place
}

// ----------------------------------------------------------------------------
// declarations
// ----------------------------------------------------------------------------

/** What stands in a file, an interface or a library. */
export type Declaration =
  | {
    readonly _tag: "Typedef"
    readonly attributes: ReadonlyArray<Attribute>
    readonly specifier: Specifier
    readonly declarators: ReadonlyArray<{
      readonly name: string
      readonly levels: ReadonlyArray<Level>
      readonly place: Place
    }>
    readonly comment: string | undefined
    readonly place: Place
  }
  /** A structure, union or enumeration without a typedef. */
  | {
    readonly _tag: "Type"
    readonly specifier: Specifier
    readonly comment: string | undefined
    readonly place: Place
  }
  | {
    readonly _tag: "Const"
    readonly name: string
    readonly type: TypeName | undefined
    readonly value: Expression
    readonly comment: string | undefined
    readonly place: Place
  }
  /** `#define NAME expression`, where it is a number or text; also from `cpp_quote`. */
  | { readonly _tag: "Define"; readonly name: string; readonly value: Expression; readonly place: Place }
  | InterfaceDeclaration
  /** A library, whose declarations count as if they stood outside of it. */
  | {
    readonly _tag: "Library"
    readonly name: string
    readonly attributes: ReadonlyArray<Attribute>
    readonly declarations: ReadonlyArray<Declaration>
    readonly place: Place
  }
  /** A coclass, dispinterface or module: its UUID is all that is kept, and its types. */
  | {
    readonly _tag: "Class"
    readonly kind: "coclass" | "dispinterface" | "module"
    readonly name: string
    readonly attributes: ReadonlyArray<Attribute>
    readonly declarations: ReadonlyArray<Declaration>
    readonly place: Place
  }
  | OperationDeclaration

/** An interface; `isForward` for `interface Name;`. */
export interface InterfaceDeclaration {
  readonly _tag: "Interface"
  readonly name: string
  readonly base: string | undefined
  readonly attributes: ReadonlyArray<Attribute>
  readonly isForward: boolean
  readonly declarations: ReadonlyArray<Declaration>
  readonly comment: string | undefined
  readonly place: Place
}

/** An operation of an interface. */
export interface OperationDeclaration {
  readonly _tag: "Operation"
  readonly name: string
  readonly attributes: ReadonlyArray<Attribute>
  readonly result: TypeName
  readonly parameters: ReadonlyArray<Field>
  /** It stands for an operation that could not be read, to keep its number, or for an unknown number of them. */
  readonly unread: "one" | "several" | undefined
  readonly comment: string | undefined
  readonly place: Place
}

/** A file, without what it imports. */
export interface SyntaxFile {
  readonly name: string
  /** The names in its `import`s, in order. */
  readonly imports: ReadonlyArray<{ readonly name: string; readonly place: Place }>
  readonly declarations: ReadonlyArray<Declaration>
}
