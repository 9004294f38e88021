/**
 * The names of an IDL file and its imports: typedefs, tags, interfaces, and constants with their values.
 */
import type {
  Attribute,
  Declaration,
  EnumSpecifier,
  Expression,
  InterfaceDeclaration,
  Level,
  OperationDeclaration,
  Place,
  Specifier,
  StructSpecifier,
  SyntaxFile,
  TypeName,
  UnionSpecifier
} from "./idlSyntax.ts"

/** What an interface says of all that is declared in it. */
export interface Surroundings {
  /** `undefined` where the interface does not say, and outside of interfaces. */
  readonly pointerDefault: "ref" | "unique" | "full" | undefined
  readonly msUnion: boolean
}

/** A typedef of one name. */
export interface Typedef {
  readonly name: string
  readonly attributes: ReadonlyArray<Attribute>
  readonly specifier: Specifier
  readonly levels: ReadonlyArray<Level>
  readonly surroundings: Surroundings
  readonly place: Place
}

/** A structure, union or enumeration with a body. */
export interface Body {
  readonly specifier: StructSpecifier | UnionSpecifier | EnumSpecifier
  /** Of the typedef and of the type. */
  readonly attributes: ReadonlyArray<Attribute>
  readonly surroundings: Surroundings
  readonly name: string | undefined
  readonly comment: string | undefined
  readonly isMain: boolean
}

/** A constant, with how its value is found. */
interface ConstantEntry {
  readonly value: () => Value | undefined
  readonly comment: string | undefined
  readonly isMain: boolean
  readonly isMember: boolean
}

/** The value of a constant expression. */
export type Value = bigint | number | string

/** What is thrown where something cannot travel; it is caught for each operation and each type. */
export class Unsupported {
  readonly reason: string
  constructor(reason: string) {
    this.reason = reason
  }
}

/** Throws {@link Unsupported}. */
export const unsupported = (reason: string): never => {
  throw new Unsupported(reason)
}

/** The attribute of a name, if it is there. */
export const attributeOf = (attributes: ReadonlyArray<Attribute>, name: string): Attribute | undefined =>
  attributes.find((attribute) => attribute.name === name)

/** Whether an attribute is there. */
export const has = (attributes: ReadonlyArray<Attribute>, name: string): boolean =>
  attributes.some((attribute) => attribute.name === name)

/** The kind of pointer that attributes name. */
export const pointerKindIn = (attributes: ReadonlyArray<Attribute>): "ref" | "unique" | "full" | undefined =>
  has(attributes, "ref") ? "ref" : has(attributes, "unique") ? "unique" : has(attributes, "ptr") ? "full" : undefined

const outside: Surroundings = { pointerDefault: undefined, msUnion: false }

const surroundingsOf = (attributes: ReadonlyArray<Attribute>): Surroundings => {
  const argument = attributeOf(attributes, "pointer_default")?.arguments[0]
  const kind = argument?._tag === "Name" ? argument.name : undefined
  return {
    pointerDefault: kind === "ptr" ? "full" : kind === "ref" || kind === "unique" ? kind : undefined,
    msUnion: has(attributes, "ms_union")
  }
}

/** The deepest nesting of constants that name each other. */
const maximumDepth = 64

/**
 * All names that a file can use. What is taken in first counts: a file comes before its imports, whose names it may declare
 * anew, and built-in types come last.
 */
export class Scope {
  readonly typedefs: Map<string, Typedef> = new Map()
  /** By `struct X`, `union X`, `enum X`. */
  readonly tags: Map<string, Body> = new Map()
  readonly bodies: Map<Specifier, Body> = new Map()
  readonly interfaces: Map<string, InterfaceDeclaration> = new Map()
  readonly constants: Map<string, ConstantEntry> = new Map()
  /** The interfaces of the main file, in order. */
  readonly own: Array<InterfaceDeclaration> = []
  readonly classes: Array<Extract<Declaration, { _tag: "Class" | "Library" }>> = []
  private readonly surroundings: Map<InterfaceDeclaration, Surroundings> = new Map()
  /** The constants of each file. */
  private readonly unread: Array<Array<() => Value | undefined>> = []
  private depth = 0

  /** Takes in a file: the main one, an import, or built-in types. */
  add(file: SyntaxFile, isMain: boolean): void {
    this.unread.push([])
    this.takeIn(file.declarations, outside, isMain)
  }

  /** Finds the values of all constants, when all files are in. */
  evaluateAll(): void {
    // In order, for each member of an enumeration needs the one before it, and a file its imports.
    for (const values of this.unread.splice(0).reverse()) {
      for (const value of values) value()
    }
  }

  /** What an interface says of its types. */
  surroundingsOf(declaration: InterfaceDeclaration): Surroundings {
    return this.surroundings.get(declaration) ?? outside
  }

  private takeIn(declarations: ReadonlyArray<Declaration>, surroundings: Surroundings, isMain: boolean): void {
    for (const declaration of declarations) {
      switch (declaration._tag) {
        case "Typedef":
          this.typedef(declaration, surroundings, isMain)
          break
        case "Type":
          this.body(declaration.specifier, [], surroundings, undefined, declaration.comment, isMain)
          break
        case "Const":
        case "Define":
          this.constant(declaration.name, () => this.evaluate(declaration.value), {
            comment: declaration._tag === "Const" ? declaration.comment : undefined,
            isMain,
            isMember: false
          })
          break
        case "Interface": {
          if (declaration.isForward) {
            if (!this.interfaces.has(declaration.name)) this.interfaces.set(declaration.name, declaration)
            break
          }
          const within = surroundingsOf(declaration.attributes)
          this.surroundings.set(declaration, within)
          const known = this.interfaces.get(declaration.name)
          if (known === undefined || known.isForward) this.interfaces.set(declaration.name, declaration)
          if (isMain) this.own.push(declaration)
          this.takeIn(declaration.declarations, within, isMain)
          break
        }
        case "Library":
        case "Class":
          if (isMain) this.classes.push(declaration)
          this.takeIn(declaration.declarations, surroundings, isMain)
          break
        case "Operation":
          for (const { specifier } of [declaration.result, ...declaration.parameters]) {
            this.body(specifier, [], surroundings, undefined, undefined, isMain)
          }
      }
    }
  }

  private typedef(
    { attributes, comment, declarators, specifier }: Extract<Declaration, { _tag: "Typedef" }>,
    surroundings: Surroundings,
    isMain: boolean
  ): void {
    const plain = declarators.find(({ levels }) => levels.length === 0)
    this.body(specifier, attributes, surroundings, plain?.name, comment, isMain)
    for (const { levels, name, place } of declarators) {
      if (this.typedefs.has(name)) continue
      this.typedefs.set(name, { name, attributes, specifier, levels, surroundings, place })
    }
  }

  /** Notes a body, those within it, and the members of an enumeration. */
  private body(
    specifier: Specifier,
    attributes: ReadonlyArray<Attribute>,
    surroundings: Surroundings,
    name: string | undefined,
    comment: string | undefined,
    isMain: boolean
  ): void {
    if (specifier._tag !== "Struct" && specifier._tag !== "Union" && specifier._tag !== "Enum") return
    const key = specifier.tag === undefined ? undefined : `${specifier._tag} ${specifier.tag}`
    const contents = specifier._tag === "Struct"
      ? specifier.fields
      : specifier._tag === "Union"
      ? specifier.arms
      : specifier.members
    if (contents === undefined) {
      // `typedef struct _X X;` names a structure whose body comes elsewhere.
      if (key !== undefined && name !== undefined && !this.names.has(key)) this.names.set(key, name)
      return
    }
    const body = {
      specifier,
      attributes: [...attributes, ...specifier.attributes],
      surroundings,
      name,
      comment,
      isMain
    }
    this.bodies.set(specifier, body)
    if (key !== undefined && !this.tags.has(key)) this.tags.set(key, body)
    if (specifier._tag === "Struct") {
      for (const field of specifier.fields!) this.body(field.specifier, [], surroundings, undefined, undefined, isMain)
    } else if (specifier._tag === "Union") {
      for (const { field } of specifier.arms!) {
        if (field !== undefined) this.body(field.specifier, [], surroundings, undefined, undefined, isMain)
      }
    } else {
      this.members(specifier, isMain)
    }
  }

  /** The names that typedefs give to tags. */
  readonly names: Map<string, string> = new Map()

  private members({ members }: EnumSpecifier, isMain: boolean): void {
    let previous: string | undefined
    for (const { name, value } of members!) {
      const before = previous
      const find = value !== undefined ? () => this.evaluate(value) : before === undefined ? () => 0n : () => {
        const last = this.valueOf(before)
        return typeof last === "bigint" ? last + 1n : undefined
      }
      this.constant(name, find, { comment: undefined, isMain, isMember: true })
      previous = name
    }
  }

  private constant(
    name: string,
    find: () => Value | undefined,
    rest: Omit<ConstantEntry, "value">
  ): void {
    if (this.constants.has(name)) return
    let known: { readonly value: Value | undefined } | undefined
    const value = (): Value | undefined => {
      if (known === undefined) {
        known = { value: undefined }
        known = { value: find() }
      }
      return known.value
    }
    this.constants.set(name, { value, ...rest })
    this.unread.at(-1)!.push(value)
  }

  /** The value of a constant or of a member of an enumeration. */
  valueOf(name: string): Value | undefined {
    if (name === "TRUE") return 1n
    if (name === "FALSE" || name === "NULL") return 0n
    const entry = this.constants.get(name)
    if (entry === undefined || this.depth >= maximumDepth) return undefined
    this.depth++
    try {
      return entry.value()
    } finally {
      this.depth--
    }
  }

  /** The value of a constant expression; `undefined` where it has none. */
  evaluate(expression: Expression): Value | undefined {
    switch (expression._tag) {
      case "Integer":
      case "Real":
        return expression.value
      case "Text":
        return expression.value
      case "Character":
        return BigInt(expression.value.charCodeAt(0) || 0)
      case "Name":
        return this.valueOf(expression.name)
      case "Cast":
        return truncated(this.evaluate(expression.operand), expression.type)
      case "SizeOf": {
        const size = this.sizeOf(expression.type)
        return size === undefined ? undefined : BigInt(size)
      }
      case "Conditional": {
        const test = this.integer(expression.test)
        return test === undefined ? undefined : this.evaluate(test === 0n ? expression.no : expression.yes)
      }
      case "Unary": {
        const operand = this.evaluate(expression.operand)
        if (typeof operand === "number") return expression.operator === "-" ? -operand : operand
        return typeof operand === "bigint" ? unary(expression.operator, operand) : undefined
      }
      case "Binary": {
        const left = this.integer(expression.left)
        const right = this.integer(expression.right)
        return left === undefined || right === undefined ? undefined : binary(expression.operator, left, right)
      }
      case "Member":
        return undefined
    }
  }

  /** The value of a constant expression that is an integer. */
  integer(expression: Expression): bigint | undefined {
    const value = this.evaluate(expression)
    return typeof value === "bigint" ? value : undefined
  }

  /** The size of a type in bytes, where it is a base type by any name. */
  sizeOf({ levels, specifier }: TypeName, depth = 0): number | undefined {
    if (levels.length > 0 || depth > maximumDepth) return undefined
    if (specifier._tag === "Base") return baseSizes[specifier.name]
    if (specifier._tag === "Enum") return 4
    if (specifier._tag !== "Named") return undefined
    const typedef = this.typedefs.get(specifier.name)
    return typedef && this.sizeOf(typedef, depth + 1)
  }
}

const baseSizes: { readonly [name: string]: number | undefined } = {
  boolean: 1,
  byte: 1,
  char: 1,
  small: 1,
  short: 2,
  wchar_t: 2,
  long: 4,
  error_status_t: 4,
  float: 4,
  int3264: 4,
  hyper: 8,
  double: 8
}

const truncated = (value: Value | undefined, { levels, specifier }: TypeName): Value | undefined => {
  if (typeof value !== "bigint" || levels.length > 0 || specifier._tag !== "Base") return value
  const bits = 8 * (baseSizes[specifier.name] ?? 8)
  const isUnsigned = specifier.signed === false || specifier.name === "byte" || specifier.name === "error_status_t"
  return isUnsigned ? BigInt.asUintN(bits, value) : BigInt.asIntN(bits, value)
}

const unary = (operator: string, operand: bigint): bigint | undefined => {
  switch (operator) {
    case "-":
      return -operand
    case "+":
      return operand
    case "~":
      return ~operand
    case "!":
      return operand === 0n ? 1n : 0n
    default:
      return undefined
  }
}

/** Numbers of constants have 64 bits. */
const wrap = (value: bigint): bigint => value >= -(2n ** 63n) && value < 2n ** 64n ? value : BigInt.asIntN(64, value)

const toBigInt = (value: boolean): bigint => value ? 1n : 0n

const binary = (operator: string, left: bigint, right: bigint): bigint | undefined => {
  switch (operator) {
    case "+":
      return wrap(left + right)
    case "-":
      return wrap(left - right)
    case "*":
      return wrap(left * right)
    case "/":
      return right === 0n ? undefined : left / right
    case "%":
      return right === 0n ? undefined : left % right
    case "&":
      return left & right
    case "|":
      return left | right
    case "^":
      return left ^ right
    case "<<":
      return right < 0n || right > 63n ? undefined : wrap(left << right)
    case ">>":
      return right < 0n || right > 63n ? undefined : left >> right
    case "<":
      return toBigInt(left < right)
    case ">":
      return toBigInt(left > right)
    case "<=":
      return toBigInt(left <= right)
    case ">=":
      return toBigInt(left >= right)
    case "==":
      return toBigInt(left === right)
    case "!=":
      return toBigInt(left !== right)
    case "&&":
      return toBigInt(left !== 0n && right !== 0n)
    case "||":
      return toBigInt(left !== 0n || right !== 0n)
    default:
      return undefined
  }
}

// ----------------------------------------------------------------------------
// text
// ----------------------------------------------------------------------------

/** Writes an expression as it stands in IDL. */
export const formatExpression = (expression: Expression): string => {
  switch (expression._tag) {
    case "Integer":
      return expression.value > 0xffffn ? `0x${expression.value.toString(16).toUpperCase()}` : `${expression.value}`
    case "Real":
      return `${expression.value}`
    case "Text":
      return JSON.stringify(expression.value)
    case "Character":
      return `'${expression.value}'`
    case "Name":
      return expression.name
    case "Unary":
      return `${expression.operator}${operand(expression.operand)}`
    case "Binary":
      return `${operand(expression.left)} ${expression.operator} ${operand(expression.right)}`
    case "Conditional":
      return `${operand(expression.test)} ? ${operand(expression.yes)} : ${operand(expression.no)}`
    case "Cast":
      return `(${formatTypeName(expression.type)}) ${operand(expression.operand)}`
    case "SizeOf":
      return `sizeof(${formatTypeName(expression.type)})`
    case "Member":
      return `${operand(expression.object)}${expression.arrow ? "->" : "."}${expression.name}`
  }
}

const operand = (expression: Expression): string =>
  expression._tag === "Binary" || expression._tag === "Conditional"
    ? `(${formatExpression(expression)})`
    : formatExpression(expression)

/** Writes a type as it stands in IDL, without its body. */
export const formatTypeName = ({ levels, specifier }: TypeName): string => {
  const stars = levels.map(({ _tag }) => _tag === "Pointer" ? "*" : "[]").join("")
  return `${formatSpecifier(specifier)}${stars === "" ? "" : ` ${stars}`}`
}

const formatSpecifier = (specifier: Specifier): string => {
  switch (specifier._tag) {
    case "Base":
      return `${specifier.signed === undefined ? "" : specifier.signed ? "signed " : "unsigned "}${specifier.name}`
    case "Named":
      return specifier.name
    case "Pipe":
      return `pipe ${formatTypeName(specifier.element)}`
    case "SafeArray":
      return `SAFEARRAY(${formatTypeName(specifier.element)})`
    default:
      return `${specifier._tag.toLowerCase()} ${specifier.tag ?? ""}`.trim()
  }
}

/** An operation of a declaration list. */
export const operationsIn = (declarations: ReadonlyArray<Declaration>): ReadonlyArray<OperationDeclaration> =>
  declarations.filter((declaration) => declaration._tag === "Operation")
