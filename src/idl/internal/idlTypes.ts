/**
 * Types of IDL in terms of `Ndr`: declarators by levels, kinds of pointers, arrays and text, structures and unions.
 */
import { shortened } from "./idlLexer.ts"
import { corrections } from "./idlWellKnown.ts"
import type { BoundedName, Definition, IntegerName, Member, Type, UnionArm } from "./idlModel.ts"
import { referencesIn, typesIn } from "./idlModel.ts"
import {
  attributeOf,
  type Body,
  formatExpression,
  formatTypeName,
  has,
  pointerKindIn,
  type Scope,
  type Surroundings,
  type Typedef,
  Unsupported,
  unsupported
} from "./idlScope.ts"
import type {
  Attribute,
  EnumSpecifier,
  Expression,
  Field,
  Level,
  Place,
  Problem,
  Specifier,
  StructSpecifier,
  TypeName,
  UnionSpecifier
} from "./idlSyntax.ts"

type PointerKind = "ref" | "unique" | "full"

/** A level of a declarator, with all that is said of it. */
interface FlatLevel {
  readonly level: Level
  kind: PointerKind | undefined
  readonly defaultKind: PointerKind | undefined
  size: Expression | undefined
  length: Expression | undefined
}

/** What stands behind the levels. */
type Base =
  | { readonly _tag: "Scalar"; readonly name: ScalarName }
  | { readonly _tag: "Body"; readonly body: Body }
  | { readonly _tag: "Uuid" }
  | { readonly _tag: "Handle"; readonly name: string }
  | { readonly _tag: "InterfacePointer"; readonly name: string }
  | { readonly _tag: "Pipe"; readonly element: TypeName; readonly surroundings: Surroundings }
  | { readonly _tag: "BindingHandle" }
  | { readonly _tag: "Void" }

type ScalarName = IntegerName | "Byte" | "Boolean" | "Char" | "WChar" | "Float" | "Double"

/** A declaration with its typedefs dissolved. */
export interface Flat {
  readonly levels: Array<FlatLevel>
  base: Base
  /** Those of the declaration and of its typedefs. */
  readonly attributes: ReadonlyArray<Attribute>
  /** How many levels stand in front of what a range of them limits. */
  readonly rangeAt: number
  /** A range of them that nothing checks, as it stands in the file. */
  lostRange?: string
}

/** An array in a type, whose counts may stand elsewhere. */
export interface Counted {
  readonly size: Expression | undefined
  readonly length: Expression | undefined
  /** Whether `Ndr.sizeIs` finds it: the array itself, or behind one pointer. */
  readonly isOutermost: boolean
}

/** A field or parameter, before the counts and tags that others determine are hidden. */
export interface Resolved {
  readonly name: string
  readonly field: Field
  readonly type: Type
  readonly counted: ReadonlyArray<Counted>
  readonly switchIs: Expression | undefined
  /** Whether a pointer that takes no place was left out in front of the type. */
  readonly isReferent: boolean
  /** A range that nothing checks. */
  readonly lostRange?: string | undefined
}

/** Names that mean a UUID, by whatever structure. */
const uuidNames: ReadonlySet<string> = new Set(["GUID", "UUID", "IID", "CLSID", "FMTID", "uuid_t", "_GUID", "LCLSID"])

/** Typedefs of results that are signed in IDL and that people write as unsigned numbers. */
const statusNames: ReadonlySet<string> = new Set(["NTSTATUS", "HRESULT"])

/** Types of COM that have no form here; files that declare them themselves say what travels. */
const automationNames: ReadonlySet<string> = new Set(
  `VARIANT VARIANTARG LPVARIANT LPVARIANTARG SAFEARRAY LPSAFEARRAY PROPVARIANT LPPROPVARIANT EXCEPINFO DISPPARAMS
  STGMEDIUM FORMATETC CLIPFORMAT HWND HMENU HDC HBITMAP HICON HCURSOR HPALETTE HMETAFILE HENHMETAFILE HGLOBAL HACCEL
  HBRUSH HRGN HMONITOR`.split(/\s+/)
)

const nowhere: Place = { file: "", line: 1, column: 1 }

/** Attributes of an operation that are those of its result. */
const resultAttributes: ReadonlySet<string> = new Set(["string", "unique", "ptr", "context_handle"])

/** Typedefs of pointers to characters, whose names promise text. */
const textNames: ReadonlySet<string> = new Set(
  "LPSTR PSTR LPCSTR PCSTR LPWSTR PWSTR LPCWSTR PCWSTR LMSTR LMCSTR LPOLESTR LPCOLESTR BSTR STRING".split(" ")
)

const globals: ReadonlySet<string> = new Set(
  [
    ..."Interface Ndr Schema ContextHandle Pipe".split(" "),
    ..."Object Function Array Number Boolean String Symbol BigInt Math Date RegExp Map Set WeakMap WeakSet Promise"
      .split(" "),
    ..."Error EvalError RangeError ReferenceError SyntaxError TypeError URIError AggregateError JSON Reflect Proxy"
      .split(" "),
    ..."ArrayBuffer DataView Uint8Array Infinity NaN undefined globalThis Record ReadonlyArray Readonly".split(" "),
    ..."break case catch class const continue debugger default delete do else enum export extends false finally".split(
      " "
    ),
    ..."for function if import in instanceof new null return super switch this throw true try typeof var void".split(
      " "
    ),
    ..."while with yield let static implements interface package private protected public await async".split(" "),
    ..."keyof unique readonly infer asserts is eval arguments any unknown never string number bigint boolean object symbol"
      .split(" ")
  ]
)

/** The deepest nesting of typedefs and of anonymous types. */
const maximumDepth = 64

/** The most pointers and dimensions of one declaration, with those of its typedefs. */
const maximumLevels = 64

/** How deep types may stand in each other, with the levels between them. */
const maximumNesting = 128

/** The largest value that travels, in bytes. */
const maximumSize = 0x7fffffff

/** Makes types, and collects the definitions that they need. */
export class Types {
  readonly scope: Scope
  private readonly fallback: PointerKind
  private readonly definitions: Map<string, Definition> = new Map()
  private readonly failures: Map<string, string> = new Map()
  /** The reason for each definition that cannot travel, and for each definition that refers to one. */
  private readonly broken: Map<string, string> = new Map()
  /** The definitions that refer to each. */
  private readonly users: Map<string, Array<string>> = new Map()
  private readonly sizes: Map<string, number> = new Map()
  private readonly depths: Map<string, number> = new Map()
  private nesting = 0
  /** The typedefs of one declaration, by their number of levels. */
  private readonly siblings: Map<ReadonlyArray<Attribute>, Map<number, string>> = new Map()
  private readonly names: Map<object, string> = new Map()
  /** The types of what switches unions that have no switch_type. */
  private readonly hints: Map<Specifier, Type> = new Map()
  private readonly taken: Names = new Names(globals)
  readonly handles: Map<string, string> = new Map()
  /** UUIDs of the interfaces of the main file, for corrections. */
  private readonly uuids: ReadonlySet<string>
  readonly corrected: Array<string> = []
  /** The names that nothing declares, with the first place of each. */
  readonly unknown: Map<string, { readonly place: Place; readonly isBody: boolean }> = new Map()
  /** One for each place. */
  readonly warnings: Map<string, Problem> = new Map()

  constructor(scope: Scope, fallback: PointerKind | undefined, uuids: ReadonlySet<string>) {
    this.scope = scope
    this.fallback = fallback ?? "unique"
    this.uuids = uuids
  }

  /** A name that nothing else has: with underscores behind it where it is taken. */
  claim(wanted: string): string {
    return this.taken.claim(
      /^[A-Za-z_$]/.test(wanted) ? wanted.replace(/[^\w$]/g, "_") : `_${wanted.replace(/[^\w$]/g, "_")}`
    )
  }

  // --------------------------------------------------------------------------
  // levels
  // --------------------------------------------------------------------------

  /** Dissolves the typedefs of a declaration. */
  flatten(
    specifier: Specifier,
    levels: ReadonlyArray<Level>,
    attributes: ReadonlyArray<Attribute>,
    surroundings: Surroundings,
    alias?: string,
    depth = 0
  ): Flat {
    if (depth > maximumDepth) return unsupported("its typedefs nest too deep")
    refuseForeign(attributes)
    const own = levels.map((level): FlatLevel => ({
      level,
      kind: undefined,
      defaultKind: surroundings.pointerDefault,
      size: undefined,
      length: undefined
    }))
    if (has(attributes, "context_handle")) {
      return this.contextHandle(specifier, own, attributes, surroundings, alias, depth)
    }
    const inner = this.behind(specifier, surroundings, depth)
    const flat: Flat = {
      levels: [...own, ...inner.levels],
      base: inner.base,
      attributes: [...attributes, ...inner.attributes],
      rangeAt: has(attributes, "range") ? 0 : own.length + inner.rangeAt
    }
    if (flat.levels.length > maximumLevels) return unsupported(`it has more than ${maximumLevels} levels`)
    const kind = pointerKindIn(attributes)
    const outermost = flat.levels.find(({ level }) => level._tag === "Pointer")
    if (kind !== undefined && outermost !== undefined) outermost.kind = kind
    distribute(flat.levels, attributes)
    return flat
  }

  private behind(specifier: Specifier, surroundings: Surroundings, depth: number): Flat {
    const nothing = { levels: [], attributes: [], rangeAt: 0 }
    switch (specifier._tag) {
      case "Base":
        if (specifier.name === "handle_t") return { ...nothing, base: { _tag: "BindingHandle" } }
        if (specifier.name === "void") return { ...nothing, base: { _tag: "Void" } }
        return { ...nothing, base: { _tag: "Scalar", name: scalarOf(specifier.name, specifier.signed) } }
      case "Pipe":
        return { ...nothing, base: { _tag: "Pipe", element: specifier.element, surroundings } }
      case "SafeArray":
        return unsupported(`${formatTypeName({ specifier, levels: [] })} needs COM`)
      case "Named":
        return this.named(specifier.name, depth, specifier.place)
      default: {
        const key = `${specifier._tag} ${specifier.tag}`
        const body = this.scope.bodies.get(specifier) ?? this.scope.tags.get(key)
        if (specifier.tag !== undefined && uuidNames.has(specifier.tag)) return { ...nothing, base: { _tag: "Uuid" } }
        if (body === undefined) {
          const what = `${specifier._tag.toLowerCase()} ${shortened(specifier.tag ?? "")}`
          this.noteUnknown(what, specifier.place, true)
          return unsupported(`the ${what} has no body`)
        }
        return { ...nothing, base: { _tag: "Body", body } }
      }
    }
  }

  private named(name: string, depth: number, place: Place): Flat {
    const nothing = { levels: [], attributes: [], rangeAt: 0 }
    if (uuidNames.has(name)) return { ...nothing, base: { _tag: "Uuid" } }
    const typedef = this.scope.typedefs.get(name)
    if (typedef !== undefined) {
      const marshalled = onTheWire(typedef)
      return this.flatten(
        marshalled.specifier,
        marshalled.levels,
        typedef.attributes,
        typedef.surroundings,
        name,
        depth + 1
      )
    }
    if (this.scope.interfaces.has(name)) return { ...nothing, base: { _tag: "InterfacePointer", name } }
    const tagged = this.scope.tags.get(`Struct ${name}`) ?? this.scope.tags.get(`Union ${name}`) ??
      this.scope.tags.get(`Enum ${name}`)
    if (tagged !== undefined) return { ...nothing, base: { _tag: "Body", body: tagged } }
    if (automationNames.has(name)) return unsupported(`${name} needs COM`)
    this.noteUnknown(shortened(name), place, false)
    return unsupported(`the type ${shortened(name)} is not known`)
  }

  /** Of several places in a file the first one is told. */
  private noteUnknown(name: string, { column, file, line }: Place, isBody: boolean): void {
    const known = this.unknown.get(name)
    const isEarlier = known === undefined || known.place.file === file &&
        (line < known.place.line || line === known.place.line && column < known.place.column)
    if (isEarlier) this.unknown.set(name, { place: { file, line, column }, isBody })
  }

  /** All names that a type can have. */
  *typeNames(): Iterable<string> {
    yield* this.scope.typedefs.keys()
    yield* this.scope.interfaces.keys()
    for (const key of this.scope.tags.keys()) yield key.slice(key.indexOf(" ") + 1)
  }

  /** Notes the unknown names in the typedefs of a file, which nothing else needs. */
  checkTypedefs(file: string): void {
    for (const { levels, place, specifier, surroundings } of this.scope.typedefs.values()) {
      if (place.file !== file || specifier._tag !== "Named") continue
      try {
        this.flatten(specifier, levels, [], surroundings)
      } catch (error) {
        if (!(error instanceof Unsupported)) throw error
      }
    }
  }

  /** A context handle swallows the pointer to void that stands for it. */
  private contextHandle(
    specifier: Specifier,
    own: Array<FlatLevel>,
    attributes: ReadonlyArray<Attribute>,
    surroundings: Surroundings,
    alias: string | undefined,
    depth: number
  ): Flat {
    // What a handle points to does not matter: `struct X *` without a body is common.
    const inner: Flat = specifier._tag === "Struct"
      ? { levels: [], base: { _tag: "Void" }, attributes: [], rangeAt: 0 }
      : this.behind(specifier, surroundings, depth)
    const levels = [...own, ...inner.levels]
    if (inner.base._tag !== "Handle") {
      if (levels.pop()?.level._tag !== "Pointer") return unsupported("a context handle is a pointer")
      // What is left of a declarator such as `void **PX` points to the handle.
      const isPointer = alias !== undefined && levels.length > 0
      const own = isPointer ? this.sibling(alias) ?? alias : alias
      const name = own ?? (specifier._tag === "Named" ? specifier.name : "CONTEXT_HANDLE")
      inner.base = { _tag: "Handle", name: this.handle(name) }
    }
    const kind = pointerKindIn(attributes)
    if (kind !== undefined && levels[0] !== undefined) levels[0].kind = kind
    return { levels, base: inner.base, attributes: alias === undefined ? attributes : [], rangeAt: 0 }
  }

  /** The name that the same typedef gives to the handle itself. */
  private sibling(name: string): string | undefined {
    const { attributes, levels } = this.scope.typedefs.get(name)!
    if (this.siblings.size === 0) {
      for (const other of this.scope.typedefs.values()) {
        const names = this.siblings.get(other.attributes) ?? new Map<number, string>()
        if (!names.has(other.levels.length)) names.set(other.levels.length, other.name)
        this.siblings.set(other.attributes, names)
      }
    }
    return this.siblings.get(attributes)?.get(levels.length - 1)
  }

  private handle(name: string): string {
    const known = this.handles.get(name)
    if (known !== undefined) return known
    const claimed = this.claim(name)
    this.handles.set(name, claimed)
    return claimed
  }

  // --------------------------------------------------------------------------
  // fields and parameters
  // --------------------------------------------------------------------------

  /** A field of a structure, an arm, or an element of a pipe. */
  field(field: Field, surroundings: Surroundings, owner: string, nameOf: (field: Field) => string): Resolved {
    if (field.bits !== undefined) return unsupported("bit fields cannot travel")
    const name = nameOf(field)
    const flat = this.flatten(field.specifier, field.levels, field.attributes, surroundings)
    this.nameAnonymous(flat.base, `${owner}_${name}`)
    return this.resolve(name, field, flat, false)
  }

  /** A parameter, in a direction. */
  parameter(field: Field, name: string, flat: Flat, owner: string): Resolved {
    this.nameAnonymous(flat.base, `${owner}_${name}`)
    return this.resolve(name, field, { ...flat, ...asPointer(flat, pointerKindIn(field.attributes)) }, true)
  }

  /** The result of an operation. */
  result(type: TypeName, surroundings: Surroundings, attributes: ReadonlyArray<Attribute>): Type | undefined {
    const own = attributes.filter(({ name }) => resultAttributes.has(name))
    const flat = this.flatten(type.specifier, type.levels, own, surroundings)
    this.warnOfText(type.specifier, flat)
    if (flat.base._tag === "Void" && flat.levels.length === 0) return undefined
    if (flat.levels.length === 0 && this.isStatus(type.specifier)) return { _tag: "Constant", name: "Uint32" }
    return this.build(flat, false).type
  }

  /** Whether a type is an NTSTATUS or an HRESULT, through typedefs. */
  private isStatus(specifier: Specifier, depth = 0): boolean {
    if (specifier._tag !== "Named" || depth > maximumDepth) return false
    if (statusNames.has(specifier.name)) return true
    const typedef = this.scope.typedefs.get(specifier.name)
    return typedef !== undefined && this.isStatus(typedef.specifier, depth + 1)
  }

  /** The element of a pipe; `undefined` for bytes. */
  pipeElement(element: TypeName, surroundings: Surroundings): Type | undefined {
    const flat = this.flatten(element.specifier, element.levels, [], surroundings)
    if (flat.levels.length === 0 && flat.base._tag === "Scalar" && isByte(flat.base.name)) return undefined
    return this.build(flat, false).type
  }

  private resolve(name: string, field: Field, flat: Flat, isParameter: boolean): Resolved {
    if (has(field.attributes, "ignore") && flat.levels[0]?.level._tag === "Pointer" && !isParameter) {
      const type: Type = { _tag: "Constant", name: "Uint32" }
      return { name, field, type, counted: [], switchIs: undefined, isReferent: false }
    }
    this.warnOfText(field.specifier, flat)
    const { counted, isReferent, type } = this.build(flat, isParameter)
    return {
      name,
      field,
      type,
      counted,
      isReferent,
      lostRange: flat.lostRange,
      switchIs: attributeOf(field.attributes, "switch_is")?.arguments[0]
    }
  }

  /** From the innermost level outwards. */
  private build(
    flat: Flat,
    isParameter: boolean
  ): { readonly type: Type; readonly counted: ReadonlyArray<Counted>; readonly isReferent: boolean } {
    const { attributes, base, rangeAt } = flat
    const levels = [...flat.levels]
    const counted: Array<Counted> = []
    const isText = has(attributes, "string")
    const start = levels.length - 1
    const isElement = rangeAt > start && rangeAt > 0 && has(attributes, "range")
    let type = isElement ? this.ranged(this.base(base), flat) : undefined
    const takesText = isText && base._tag === "Scalar" && textUnit(base.name) !== undefined
    if (isText && !takesText && base._tag !== "Body") return unsupported("[string] stands on an array of characters")
    if (isText && base._tag === "Body") return unsupported("[string] on an array of structures is not supported")
    for (let i = start; i >= 0; i--) {
      const at = levels[i]!
      const isInnermost = i === start
      const element = isInnermost ? base : undefined
      if (at.level._tag === "Function") return unsupported("a pointer to a function cannot travel")
      const bound = this.boundOf(at.level)
      const isSized = at.size !== undefined || at.level._tag === "Dimension" && bound === undefined
      const isOutermost = i === 0 || i === 1 && isParameter && levels[0]!.level._tag === "Pointer" &&
          levels[0]!.size === undefined &&
          (at.level._tag === "Dimension" || kindOf(levels[0]!, true, this.fallback) === "ref")
      const count = (): void => {
        counted.push({ size: at.size, length: at.length, isOutermost })
      }
      let array: Type | undefined
      if (takesText && isInnermost) {
        const isWide = textUnit((base as Extract<Base, { _tag: "Scalar" }>).name) === 2
        if (isSized && at.size !== undefined) count()
        array = bound !== undefined && at.size === undefined
          ? { _tag: "Bounded", name: isWide ? "varyingWString" : "varyingString", count: bound }
          : { _tag: "Constant", name: `${at.size === undefined ? "" : "Sized"}${isWide ? "WString" : "String"}` }
      } else if (isSized) {
        if (at.size === undefined && at.length !== undefined) {
          return unsupported("an open array with length_is has no size_is")
        }
        count()
        array = this.open(type, element, at)
      } else if (bound !== undefined) {
        if (at.length !== undefined) count()
        array = this.bounded(type, element, bound, at.length !== undefined)
      }
      const target = array ?? type ?? this.base(base)
      if (at.level._tag === "Dimension") {
        type = i > 0 && i === rangeAt ? this.ranged(target, flat) : target
        continue
      }
      const kind = kindOf(at, isParameter && i === 0, this.fallback)
      // The outermost reference pointer of a parameter takes no place.
      if (isParameter && i === 0 && kind === "ref") {
        return { type: rangeAt === 0 ? this.ranged(target, flat) : target, counted, isReferent: true }
      }
      if (kind === "ref") type = { _tag: "Pointer", kind, target }
      else type = { _tag: "Pointer", kind, target: isNullable(target) ? { _tag: "Box", type: target } : target }
      if (i > 0 && i === rangeAt) type = this.ranged(type, flat)
    }
    const whole = type ?? this.base(base)
    return { type: rangeAt === 0 ? this.ranged(whole, flat) : whole, counted, isReferent: false }
  }

  /** Tells where a name promises text, and one character travels. */
  private warnOfText(specifier: Specifier, { attributes, base, levels }: Flat): void {
    const last = levels.at(-1)
    if (base._tag !== "Scalar" || last?.level._tag !== "Pointer" || last.size !== undefined) return
    if (has(attributes, "string") || has(attributes, "ignore")) return
    let at: Specifier | undefined = specifier
    for (let depth = 0; at?._tag === "Named" && depth < maximumDepth; depth++) {
      const { name, place }: Extract<Specifier, { _tag: "Named" }> = at
      if (textNames.has(name)) {
        const next = name === "BSTR"
          ? "Import oaidl.idl for the BSTR of COM, or add [string]."
          : name === "STRING"
          ? "Declare it if it is a counted string, or add [string] or size_is."
          : "Add [string] or size_is if it is text."
        return this.warn(depth === 0 ? place : specifier.place, `type ${name}: one character travels here. ${next}`)
      }
      at = this.scope.typedefs.get(name)?.specifier
    }
  }

  private boundOf(level: Level): number | undefined {
    if (level._tag !== "Dimension" || level.bound === undefined) return undefined
    const bound = this.scope.integer(level.bound)
    if (bound === undefined) {
      return unsupported(`the dimension ${shortened(formatExpression(level.bound))} is not a constant`)
    }
    const lower = level.lower === undefined ? 0n : this.scope.integer(level.lower)
    if (lower !== 0n) return unsupported("arrays that do not start at 0 are not supported")
    const count = level.isRange ? bound + 1n : bound
    if (count < 0n || count > 0xffffffffn) return unsupported(`the dimension ${count} is out of range`)
    return Number(count)
  }

  private open(inner: Type | undefined, base: Base | undefined, { length, size }: FlatLevel): Type {
    const isSame = length !== undefined && size !== undefined && formatExpression(length) === formatExpression(size)
    const form = length === undefined ? "" : isSame ? "Varying" : "SizedVarying"
    if (base?._tag === "Scalar" && isByte(base.name)) return { _tag: "Constant", name: `${form}Bytes` }
    if (base?._tag === "Scalar" && base.name === "WChar") return { _tag: "Constant", name: `${form}WChars` }
    const name = form === "" ? "conformant" : form === "Varying" ? "conformantVarying" : "sizedVarying"
    return { _tag: "Open", name, element: inner ?? this.base(base!) }
  }

  private bounded(inner: Type | undefined, base: Base | undefined, count: number, isVarying: boolean): Type {
    const form = isVarying ? "varying" : "fixed"
    const family = base?._tag !== "Scalar"
      ? undefined
      : isByte(base.name)
      ? "Bytes"
      : base.name === "WChar"
      ? "WChars"
      : undefined
    if (family !== undefined) return { _tag: "Bounded", name: `${form}${family}` satisfies BoundedName, count }
    return { _tag: isVarying ? "Varying" : "Fixed", element: inner ?? this.base(base!), count }
  }

  private base(base: Base): Type {
    switch (base._tag) {
      case "Scalar":
        return { _tag: "Constant", name: base.name === "Byte" ? "Uint8" : base.name }
      case "Uuid":
        return { _tag: "Constant", name: "Uuid" }
      case "Handle":
        return { _tag: "Handle", name: base.name, nullable: false }
      case "InterfacePointer":
        return this.base(this.named("MInterfacePointer", 0, nowhere).base)
      case "Body":
        return this.definition(base.body)
      case "Pipe":
        return unsupported("a pipe is a parameter")
      case "BindingHandle":
        return unsupported("handle_t does not travel")
      case "Void":
        return unsupported("void * travels as a context handle alone")
    }
  }

  private ranged(type: Type, flat: Flat): Type {
    const range = attributeOf(flat.attributes, "range")
    if (range === undefined) return type
    const [minimum, maximum] = range.arguments.map((bound) => bound && this.scope.integer(bound))
    const isEnum = (name: string): boolean => this.enumOf(name) !== undefined
    const limited = minimum === undefined || maximum === undefined || minimum > maximum
      ? undefined
      : withRange(type, Number(minimum), Number(maximum), isEnum)
    if (limited !== undefined) return limited
    // It changes no byte, so what it stands on is kept.
    const bounds = range.arguments.map((bound) => bound === undefined ? "" : shortened(formatExpression(bound)))
    flat.lostRange = `range(${bounds.join(", ")})`
    const why = minimum === undefined || maximum === undefined
      ? "it is not two constants"
      : minimum > maximum
      ? "it is empty"
      : "it stands on no integer, enumeration, text or open array"
    this.warn(
      range.place,
      `${flat.lostRange}: nothing checks it, because ${why}. Correct it, or check the values yourself.`
    )
    return type
  }

  private warn(place: Place, message: string): void {
    const { column, file, line } = place
    this.warnings.set(`${file}:${line}:${column}`, { file, line, column, severity: "warning", message })
  }

  // --------------------------------------------------------------------------
  // definitions
  // --------------------------------------------------------------------------

  private nameAnonymous(base: Base, name: string): void {
    if (base._tag !== "Body" || base.body.name !== undefined || base.body.specifier.tag !== undefined) return
    if (!this.names.has(base.body.specifier)) this.names.set(base.body.specifier, this.claim(name))
  }

  private definition(body: Body): Type {
    const { specifier } = body
    if (specifier._tag === "Enum" && has(body.attributes, "enum8bit")) return { _tag: "Constant", name: "Uint8" }
    if (specifier._tag === "Enum" && specifier.isBitmap) return { _tag: "Constant", name: bitmapOf(body.attributes) }
    if (specifier._tag === "Struct" && this.isUnicodeString(body)) return { _tag: "Constant", name: "UnicodeString" }
    const name = this.nameOf(body)
    if (!this.definitions.has(name) && !this.failures.has(name)) {
      // In the making: it may refer to itself.
      this.failures.set(name, "")
      this.nesting++
      try {
        if (this.nesting > maximumNesting) return unsupported("its types nest too deep")
        const definition = this.define(name, body)
        this.measure(definition)
        this.failures.delete(name)
        this.definitions.set(name, definition)
        for (const used of new Set(typesIn(definition).flatMap(referencesIn))) {
          const reason = this.broken.get(used)
          if (reason !== undefined) this.breakAll(name, reason)
          else {
            const users = this.users.get(used)
            if (users === undefined) this.users.set(used, [name])
            else users.push(name)
          }
        }
      } catch (error) {
        if (!(error instanceof Unsupported)) throw error
        this.failures.set(name, error.reason)
        this.breakAll(name, `${name}: ${error.reason}`)
      } finally {
        this.nesting--
      }
    }
    return { _tag: "Reference", name }
  }

  /** Refuses what is too deep to be read, and too large to be sent. */
  private measure(definition: Definition): void {
    const sizes = typesIn(definition).map((type) => this.sizeOf(type))
    const size = definition._tag === "Union"
      ? sizes.reduce((most, one) => Math.max(most, one), 0)
      : sizes.reduce((sum, one) => sum + one, 0)
    const depth = 1 + typesIn(definition).reduce((most, type) => Math.max(most, this.depthOf(type)), 0)
    if (size > maximumSize) unsupported(`it has more than ${maximumSize} bytes`)
    if (depth > maximumNesting) unsupported("its types nest too deep")
    this.sizes.set(definition.name, size)
    this.depths.set(definition.name, depth)
  }

  /** How many bytes a type has at least. */
  private sizeOf(type: Type): number {
    switch (type._tag) {
      case "Bounded":
        return type.name.startsWith("fixed") ? type.count * (type.name === "fixedWChars" ? 2 : 1) : 0
      case "Fixed":
        return type.count * Math.max(1, this.sizeOf(type.element))
      case "Range":
      case "Box":
        return this.sizeOf(type.type)
      case "Reference":
        if (this.failures.get(type.name) === "") return unsupported(`${type.name} stands within itself`)
        return this.sizes.get(type.name) ?? 1
      default:
        return 1
    }
  }

  private depthOf(type: Type): number {
    switch (type._tag) {
      case "Fixed":
      case "Varying":
      case "Open":
        return 1 + this.depthOf(type.element)
      case "Pointer":
        return 1 + this.depthOf(type.target)
      case "Range":
      case "Box":
        return 1 + this.depthOf(type.type)
      case "Reference":
        return this.depths.get(type.name) ?? 0
      default:
        return 0
    }
  }

  /** Notes that a definition cannot travel, and all that refers to it. */
  private breakAll(first: string, reason: string): void {
    const pending = [first]
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (this.broken.has(name)) continue
      this.broken.set(name, reason)
      for (const user of this.users.get(name) ?? []) pending.push(user)
    }
  }

  private nameOf(body: Body): string {
    const known = this.names.get(body.specifier)
    if (known !== undefined) return known
    const { tag } = body.specifier
    const typedef = body.name ?? (tag && this.scope.names.get(`${body.specifier._tag} ${tag}`)) ?? tag
    const name = this.claim(typedef ?? `anonymous_${this.names.size + 1}`)
    this.names.set(body.specifier, name)
    return name
  }

  private define(name: string, body: Body): Definition {
    const { specifier } = body
    refuseForeign(body.attributes)
    const common = { name, comment: body.comment, place: specifier.place }
    switch (specifier._tag) {
      case "Enum":
        return { _tag: "Enum", ...common, ...this.enumeration(specifier, body.attributes) }
      case "Struct":
        return { _tag: "Struct", ...common, fields: this.struct(name, specifier, body.surroundings) }
      case "Union":
        return { _tag: "Union", ...common, ...this.union(name, specifier, body) }
    }
  }

  private enumeration(
    { members }: EnumSpecifier,
    attributes: ReadonlyArray<Attribute>
  ): Pick<Extract<Definition, { _tag: "Enum" }>, "size" | "members"> {
    const values = members!.map(({ name }) => {
      const value = this.scope.valueOf(name)
      if (typeof value !== "bigint" || value < -0x80000000n || value > 0xffffffffn) {
        return unsupported(`the member ${name} has no value of 32 bits`)
      }
      return { name, value: Number(value) }
    })
    if (values.length === 0) return unsupported("an enumeration has members")
    if (new Set(values.map(({ name }) => name)).size < values.length) return unsupported("two members have one name")
    return { size: has(attributes, "v1_enum") || has(attributes, "enum32bit") ? 4 : 2, members: values }
  }

  private struct(name: string, { fields }: StructSpecifier, surroundings: Surroundings): ReadonlyArray<Member> {
    if (fields!.length === 0) return unsupported("an empty structure has no NDR form")
    const nameField = namer("field")
    this.checkNames(fields!)
    this.hintTags(fields!, surroundings)
    const resolved = fields!.map((field) =>
      inside(nameLess(field), () => this.field(this.correct(name, field), surroundings, name, nameField))
    )
    return this.hideDerived(resolved)
  }

  /** Errors of published IDL are corrected here rather than in the files of users. */
  private correct(type: string, field: Field): Field {
    const correction = corrections.find((entry) =>
      entry.type === type && entry.field === field.name && this.uuids.has(entry.uuid)
    )
    if (correction === undefined || has(field.attributes, correction.add)) return field
    this.corrected.push(`${type}.${field.name}: [${correction.add}] added`)
    const added = { name: correction.add, arguments: [], type: undefined, text: undefined, place: field.place }
    return { ...field, attributes: [...field.attributes, added] }
  }

  private union(
    name: string,
    { arms, switch: encapsulated }: UnionSpecifier,
    { attributes, specifier, surroundings }: Body
  ): Pick<Extract<Definition, { _tag: "Union" }>, "arms" | "discriminant" | "msUnion"> {
    const attribute = attributeOf(attributes, "switch_type")
    const switchType = encapsulated?.type ?? attribute?.type
    if (attribute !== undefined && attribute.type === undefined) return unsupported("its switch_type names no type")
    if (arms!.some(({ isDefault, labels }) => !isDefault && labels.length === 0)) {
      return unsupported("a plain C union has no discriminant")
    }
    const declared = switchType === undefined
      ? this.hints.get(specifier)
      : this.build(this.flatten(switchType.specifier, switchType.levels, [], surroundings), false).type
    const tag = tagType(declared ?? { _tag: "Constant", name: "Uint32" })
    const labels = arms!.flatMap((arm) => arm.labels.map((label) => this.label(label)))
    const members = tag._tag === "Reference" ? this.enumOf(tag.name) : undefined
    if (tag._tag === "Reference" && members === undefined) {
      return unsupported("its discriminant is no integer of at most 32 bits")
    }
    const namesOf = new Map(members?.members.map(({ name, value }) => [value, name] as const).reverse())
    const named = members !== undefined && labels.every((label) => namesOf.has(label))
    const discriminant: Type = members === undefined || named
      ? tag
      : { _tag: "Constant", name: members.size === 2 ? "Uint16" : "Uint32" }
    const nameOf = (label: number): string | number => named ? namesOf.get(label)! : wrapLabel(discriminant, label)
    if (new Set(labels.map(nameOf)).size !== labels.length) return unsupported("two arms have one label")
    const nameArm = namer("arm")
    const out: Array<UnionArm> = []
    for (const arm of arms!) {
      const type = arm.field === undefined
        ? undefined
        : inside(nameLess(arm.field), () => this.field(arm.field!, surroundings, name, nameArm).type)
      for (const label of arm.labels) out.push({ label: nameOf(this.label(label)), type })
      if (arm.isDefault) out.push({ label: undefined, type })
    }
    return {
      discriminant,
      arms: [...out.filter(({ label }) => label !== undefined), ...out.filter(({ label }) => label === undefined)],
      msUnion: encapsulated === undefined && (surroundings.msUnion || has(attributes, "ms_union"))
    }
  }

  private label(expression: Expression): number {
    const value = this.scope.integer(expression)
    if (value === undefined || value < -0x80000000n || value > 0xffffffffn) {
      return unsupported(`the label ${shortened(formatExpression(expression))} is no number of 32 bits`)
    }
    return Number(value)
  }

  private enumOf(name: string): Extract<Definition, { _tag: "Enum" }> | undefined {
    const definition = this.definitions.get(name)
    return definition?._tag === "Enum" ? definition : undefined
  }

  /** `{ USHORT Length, MaximumLength; [size_is(MaximumLength / 2), length_is(Length / 2)] WCHAR *Buffer }`. */
  private isUnicodeString({ specifier, surroundings }: Body): boolean {
    const [length, maximum, buffer] = specifier._tag === "Struct" && specifier.fields!.length === 3
      ? specifier.fields!
      : []
    if (length === undefined || maximum === undefined || buffer === undefined) return false
    const half = (name: string, of: Field): boolean => {
      const expression = attributeOf(buffer.attributes, name)?.arguments[0]
      return expression?._tag === "Binary" && expression.operator === "/" && expression.left._tag === "Name" &&
        expression.left.name === of.name && expression.right._tag === "Integer" && expression.right.value === 2n
    }
    if (!half("size_is", maximum) || !half("length_is", length)) return false
    try {
      const isShort = (field: Field): boolean => {
        const { base, levels } = this.flatten(field.specifier, field.levels, field.attributes, surroundings)
        return levels.length === 0 && base._tag === "Scalar" && base.name === "Uint16"
      }
      const { base, levels } = this.flatten(buffer.specifier, buffer.levels, buffer.attributes, surroundings)
      return isShort(length) && isShort(maximum) && levels.length === 1 && base._tag === "Scalar" &&
        (base.name === "WChar" || base.name === "Uint16") && levels[0]!.level._tag === "Pointer" &&
        kindOf(levels[0]!, false, this.fallback) === "unique"
    } catch (error) {
      if (error instanceof Unsupported) return false
      throw error
    }
  }

  // --------------------------------------------------------------------------
  // counts and tags
  // --------------------------------------------------------------------------

  /** Hides each count and tag that another member determines. For the others, notes the rule that the IDL gives. */
  hideDerived(members: ReadonlyArray<Resolved>): ReadonlyArray<Member> {
    const types = new Map(members.map(({ name, type }) => [name, type]))
    const derived = new Map<string, Extract<Type, { _tag: "Derived" }>>()
    const fieldsOf = new Map<string, Array<string>>()
    const explained = new Set<Expression>()
    const byName = new Map(members.map((member) => [member.field.name ?? member.name, member]))
    const offer = (
      what: "size" | "length",
      { name }: Resolved,
      expression: Expression | undefined,
      isSized = true
    ): void => {
      const target = expression && this.countIn(expression)
      const source = target && byName.get(target.name)
      if (source === undefined || source.name === name || !isInteger(source.type)) return
      if (target!.isReferent !== source.isReferent) return
      const known = derived.get(source.name)
      if (known === undefined) {
        const type = isUint32(source.type) ? undefined : source.type
        const fields = [name]
        fieldsOf.set(source.name, fields)
        derived.set(source.name, { _tag: "Derived", what, fields, type, unit: target!.unit })
      } else if ((known.what === what || known.what === "size" && !isSized) && known.unit === target!.unit) {
        fieldsOf.get(source.name)!.push(name)
      } else {
        return
      }
      explained.add(expression!)
    }
    // All sizes come before any length, so that a count of both is the size.
    for (const member of members) {
      for (const counted of member.counted) {
        if (counted.isOutermost) offer("size", member, counted.size)
      }
    }
    for (const member of members) {
      for (const counted of member.counted) {
        const isSame = counted.length !== undefined && counted.size !== undefined &&
          formatExpression(counted.length) === formatExpression(counted.size)
        if (isSame && explained.has(counted.size!)) explained.add(counted.length!)
        else if (counted.isOutermost) offer("length", member, counted.length, counted.size !== undefined)
      }
    }
    for (const member of members) {
      const target = member.switchIs && this.countIn(member.switchIs)
      const source = target && target.unit === 1 ? byName.get(target.name) : undefined
      const union = types.get(member.name)!
      if (union._tag !== "Reference" || member.switchIs === undefined) continue
      const definition = this.unionOf(union.name)
      if (definition === undefined || source === undefined || derived.has(source.name) || source === member) continue
      if (target!.isReferent !== source.isReferent) continue
      const tag = tagType(source.type)
      if (!isTag(tag, (name) => this.enumOf(name) !== undefined)) continue
      derived.set(source.name, {
        _tag: "Derived",
        what: "switch",
        fields: [member.name],
        type: this.isSameTag(tag, definition.discriminant) ? undefined : this.asInteger(tag),
        unit: 1
      })
      explained.add(member.switchIs)
    }
    return members.map((member) => {
      const { counted, field, lostRange, name, switchIs, type } = member
      const notes: Array<string> = []
      for (const { length, size } of counted) {
        if (size !== undefined && !explained.has(size)) {
          notes.push(`size_is(${formatExpression(size)})`)
        }
        if (length !== undefined && !explained.has(length)) notes.push(`length_is(${formatExpression(length)})`)
      }
      if (switchIs !== undefined && !explained.has(switchIs)) notes.push(`switch_is(${formatExpression(switchIs)})`)
      if (lostRange !== undefined) notes.push(lostRange)
      if (has(field.attributes, "ignore")) notes.push("ignore")
      return { name, type: derived.get(name) ?? type, note: notes.length === 0 ? undefined : notes.join(", ") }
    })
  }

  /** A definition that was made. */
  definitionOf(name: string): Definition | undefined {
    return this.definitions.get(name)
  }

  private unionOf(name: string): Extract<Definition, { _tag: "Union" }> | undefined {
    const definition = this.definitions.get(name)
    return definition?._tag === "Union" ? definition : undefined
  }

  /** Refuses sizes and switches of something that is no field beside them, and no constant. */
  checkNames(fields: ReadonlyArray<Field>): void {
    const known = new Set(fields.map(({ name }) => name))
    for (const field of fields) {
      for (const { arguments: all, name: attribute } of field.attributes) {
        if (!sizing.has(attribute)) continue
        if (all.every((expression) => expression === undefined)) {
          inside(nameLess(field), () => unsupported(`its ${attribute} names nothing`))
        }
        for (const name of all.flatMap((expression) => expression === undefined ? [] : namesIn(expression))) {
          if (known.has(name) || this.scope.valueOf(name) !== undefined) continue
          inside(nameLess(field), () => {
            throw new Unsupported(`${attribute} names ${name}, which is neither beside it nor a constant`)
          })
        }
      }
    }
  }

  /** A union without switch_type is switched by the type of the member that switch_is names. */
  hintTags(fields: ReadonlyArray<Field>, surroundings: Surroundings): void {
    const byName = new Map(fields.map((field) => [field.name, field] as const).reverse())
    for (const { attributes, levels, specifier } of fields) {
      const expression = attributeOf(attributes, "switch_is")?.arguments[0]
      const names = expression === undefined ? [] : namesIn(expression)
      const source = byName.get(names.find((name) => byName.has(name)) ?? "")
      if (source === undefined) continue
      try {
        const { base } = this.flatten(specifier, levels, attributes, surroundings)
        if (base._tag !== "Body" || this.hints.has(base.body.specifier)) continue
        const tag = this.flatten(source.specifier, source.levels, source.attributes, surroundings)
        this.hints.set(base.body.specifier, this.base(tag.base))
      } catch (error) {
        // The field itself says what is wrong with it.
        if (!(error instanceof Unsupported)) throw error
      }
    }
  }

  private isSameTag(tag: Type, discriminant: Type): boolean {
    return JSON.stringify(tag) === JSON.stringify(discriminant)
  }

  private asInteger(tag: Type): Type {
    const members = tag._tag === "Reference" ? this.enumOf(tag.name) : undefined
    return members === undefined ? tag : { _tag: "Constant", name: members.size === 2 ? "Uint16" : "Uint32" }
  }

  /** `n`, `*n`, `n / 2`, `n / sizeof(T)`: the member that a count is, and what it counts. */
  private countIn(
    expression: Expression
  ): { readonly name: string; readonly isReferent: boolean; readonly unit: number } | undefined {
    if (expression._tag === "Name") return { name: expression.name, isReferent: false, unit: 1 }
    if (expression._tag === "Cast") return this.countIn(expression.operand)
    if (expression._tag === "Unary" && expression.operator === "*" && expression.operand._tag === "Name") {
      return { name: expression.operand.name, isReferent: true, unit: 1 }
    }
    if (expression._tag !== "Binary" || expression.operator !== "/") return undefined
    const unit = this.scope.integer(expression.right)
    const inner = this.countIn(expression.left)
    if (inner === undefined || inner.unit !== 1 || unit === undefined || unit < 1n || unit > 0xffffn) return undefined
    return { ...inner, unit: Number(unit) }
  }

  // --------------------------------------------------------------------------
  // what is whole
  // --------------------------------------------------------------------------

  /** Why a type cannot travel, through all that it refers to; `undefined` where it can. */
  problemIn(types: ReadonlyArray<Type>): string | undefined {
    for (const name of types.flatMap(referencesIn)) {
      const reason = this.broken.get(name)
      if (reason !== undefined) return reason
      if (!this.definitions.has(name)) return `${name}: it is not known`
    }
    return undefined
  }

  /** Makes the definition of a body that nothing may refer to, and gives its name, or why it can't travel. */
  attempt(body: Body): { readonly name: string; readonly problem: string | undefined } {
    const name = body.name ?? body.specifier.tag ?? "an anonymous type"
    try {
      const type = this.definition(body)
      if (type._tag !== "Reference") return { name, problem: undefined }
      const problem = this.failures.get(type.name) ?? this.problemIn([type])
      return { name: type.name, problem }
    } catch (error) {
      if (!(error instanceof Unsupported)) throw error
      return { name, problem: error.reason }
    }
  }

  /** The definitions that types need, each behind those that it needs. */
  ordered(types: ReadonlyArray<Type>): ReadonlyArray<Definition> {
    const out = new Map<string, Definition>()
    const entered = new Set<string>()
    const stack = types.flatMap(referencesIn).reverse().map((name) => ({ name, isDone: false }))
    for (let entry = stack.pop(); entry !== undefined; entry = stack.pop()) {
      const { isDone, name } = entry
      const definition = this.definitions.get(name)
      if (definition === undefined || out.has(name)) continue
      if (isDone) {
        out.set(name, definition)
        continue
      }
      if (entered.has(name)) continue
      entered.add(name)
      stack.push({ name, isDone: true })
      for (const type of typesIn(definition).toReversed()) {
        for (const inner of referencesIn(type)) stack.push({ name: inner, isDone: false })
      }
    }
    return [...out.values()]
  }
}

// ----------------------------------------------------------------------------
// rules
// ----------------------------------------------------------------------------

const sizeNames: ReadonlySet<string> = new Set(["size_is", "max_is", "length_is", "last_is"])

/** Hands the expressions of a declaration out to its levels, outermost first. */
const distribute = (levels: ReadonlyArray<FlatLevel>, attributes: ReadonlyArray<Attribute>): void => {
  for (const { arguments: expressions, name } of attributes) {
    if (expressions.length > maximumLevels && sizeNames.has(name)) {
      unsupported(`${name} has more than ${maximumLevels} expressions`)
    }
    if (name === "first_is" && expressions.some((expression) => expression !== undefined)) {
      unsupported("first_is is not supported: arrays start at 0")
    }
    if (!sizeNames.has(name)) continue
    for (const [i, expression] of expressions.entries()) {
      const level = levels[i]
      if (expression === undefined) continue
      if (level === undefined) unsupported(`${name} has more expressions than the declaration has levels`)
      else if (name === "length_is") level.length = expression
      else if (name === "last_is") level.length = plusOne(expression)
      else {
        level.size = name === "max_is" ? plusOne(expression) : expression
      }
    }
  }
}

/** The number of elements that a last index means. */
const plusOne = (expression: Expression): Expression =>
  expression._tag === "Binary" && expression.operator === "-" && expression.right._tag === "Integer" &&
    expression.right.value === 1n
    ? expression.left
    : { _tag: "Binary", operator: "+", left: expression, right: { _tag: "Integer", value: 1n } }

/** The attributes that name a field or parameter. */
const sizing: ReadonlySet<string> = new Set([
  "size_is",
  "length_is",
  "max_is",
  "first_is",
  "last_is",
  "switch_is"
])

const namesIn = (expression: Expression): ReadonlyArray<string> => {
  switch (expression._tag) {
    case "Name":
      return [expression.name]
    case "Unary":
    case "Cast":
      return namesIn(expression.operand)
    case "Binary":
      return [...namesIn(expression.left), ...namesIn(expression.right)]
    case "Conditional":
      return [expression.test, expression.yes, expression.no].flatMap(namesIn)
    default:
      return []
  }
}

/** A parameter that is an array is a pointer to it where it says of which kind; of an array of pointers these have the kind. */
const asPointer = (
  { levels, rangeAt }: Flat,
  kind: PointerKind | undefined
): Partial<Pick<Flat, "levels" | "rangeAt">> => {
  const isArray = levels.length > 0 && levels.every(({ level }) => level._tag === "Dimension")
  if (kind === undefined || kind === "ref" || !isArray) return {}
  const pointer: FlatLevel = {
    level: { _tag: "Pointer" },
    kind,
    defaultKind: undefined,
    size: undefined,
    length: undefined
  }
  return { levels: [pointer, ...levels], rangeAt: rangeAt + 1 }
}

const kindOf = (
  { defaultKind, kind }: FlatLevel,
  isOutermostOfParameter: boolean,
  fallback: PointerKind
): PointerKind => kind ?? (isOutermostOfParameter ? "ref" : defaultKind ?? fallback)

/** On the wire `wire_marshal`, `transmit_as` and `represent_as` are the type that they name. */
const onTheWire = ({ attributes, levels, specifier }: Typedef): TypeName =>
  attributeOf(attributes, "wire_marshal")?.type ?? attributeOf(attributes, "transmit_as")?.type ?? { specifier, levels }

const scalarOf = (name: string, signed: boolean | undefined): ScalarName => {
  switch (name) {
    case "boolean":
      return "Boolean"
    case "byte":
      return "Byte"
    case "char":
      return signed === undefined ? "Char" : signed ? "Int8" : "Byte"
    case "small":
      return signed === false ? "Uint8" : "Int8"
    case "short":
      return signed === false ? "Uint16" : "Int16"
    case "long":
    case "int3264":
      return signed === false ? "Uint32" : "Int32"
    case "error_status_t":
      return "Uint32"
    case "hyper":
      return signed === false ? "Uint64" : "Int64"
    case "wchar_t":
      return "WChar"
    case "float":
      return "Float"
    default:
      return "Double"
  }
}

const isByte = (name: ScalarName): boolean => name === "Byte" || name === "Char"

const textUnit = (name: ScalarName): 1 | 2 | undefined =>
  isByte(name) || name === "Uint8" ? 1 : name === "WChar" || name === "Uint16" ? 2 : undefined

/** Attributes of pidl that describe other bytes than those of NDR. */
const foreign: ReadonlySet<string> = new Set(
  `relative relative_short relative_base subcontext subcontext_size compression nodiscriminant gensize skip skip_noinit
  nopush nopull noheader to_null null_is_ffffffff`.split(/\s+/)
)

/** Flags of pidl that change how a value is printed. */
const harmlessFlag = /^(?:NDR_PAHEX|NDR_SECRET|LIBNDR_FLAG_IS_SECRET|LIBNDR_PRINT_\w+)$/

/** Refuses what is not NDR, by name. */
export const refuseForeign = (attributes: ReadonlyArray<Attribute>): void => {
  for (const { arguments: all, name } of attributes) {
    const isFlag = name === "flag" &&
      !all.every((flag) => flag !== undefined && namesIn(flag).every((name) => harmlessFlag.test(name)))
    if (isFlag || foreign.has(name)) unsupported(`[${name}] describes bytes that are not NDR`)
  }
}

const isNullable = (type: Type): boolean => type._tag === "Pointer" && type.kind !== "ref"

/** The type within a range; `undefined` where it has none. */
const withRange = (
  type: Type,
  minimum: number,
  maximum: number,
  isEnum: (name: string) => boolean
): Type | undefined => {
  switch (type._tag) {
    case "Pointer": {
      const target = withRange(type.target, minimum, maximum, isEnum)
      return target && { ...type, target }
    }
    case "Constant":
      return rangeable.has(type.name) ? { _tag: "Range", type, minimum, maximum } : undefined
    case "Open":
      return { _tag: "Range", type, minimum, maximum }
    case "Bounded":
      return type.name.startsWith("varying") ? { _tag: "Range", type, minimum, maximum } : undefined
    case "Reference":
      return isEnum(type.name) ? { _tag: "Range", type, minimum, maximum } : undefined
    case "Range":
      // The range at the use stands in front of that of the typedef.
      return type
    default:
      return undefined
  }
}

const integerNames: ReadonlySet<string> = new Set(["Int8", "Uint8", "Int16", "Uint16", "Int32", "Uint32"])

const rangeable: ReadonlySet<string> = new Set([
  ...integerNames,
  ..."Int64 Uint64 WString String SizedWString SizedString Bytes VaryingBytes SizedVaryingBytes".split(" "),
  ..."WChars VaryingWChars SizedVaryingWChars".split(" ")
])

const bare = (type: Type): Type => type._tag === "Range" ? type.type : type

const isInteger = (type: Type): boolean => {
  const inner = bare(type)
  return inner._tag === "Constant" && integerNames.has(inner.name)
}

const isUint32 = (type: Type): boolean => type._tag === "Constant" && type.name === "Uint32"

/** A tag that is a character or a boolean is a number here. */
const tagType = (type: Type): Type => {
  const inner = bare(type)
  if (inner._tag !== "Constant") return inner
  if (inner.name === "Boolean" || inner.name === "Char") return { _tag: "Constant", name: "Uint8" }
  if (inner.name === "WChar") return { _tag: "Constant", name: "Uint16" }
  if (!integerNames.has(inner.name)) return unsupported("a discriminant is an integer of at most 32 bits")
  return inner
}

const isTag = (type: Type, isEnum: (name: string) => boolean): boolean =>
  type._tag === "Constant" ? integerNames.has(type.name) : type._tag === "Reference" && isEnum(type.name)

/** A label as a number that the discriminant can have. */
const wrapLabel = (discriminant: Type, label: number): number => {
  if (discriminant._tag !== "Constant") return label
  const bits = Number(/\d+$/.exec(discriminant.name)?.[0] ?? 32)
  // A sign or its lack is another way to write the same bits; more bits are another number.
  if (label < -(2 ** (bits - 1)) || label >= 2 ** bits) {
    return unsupported(`the label ${label} does not fit its discriminant of ${bits} bits`)
  }
  const wrapped = discriminant.name.startsWith("U")
    ? BigInt.asUintN(bits, BigInt(label))
    : BigInt.asIntN(bits, BigInt(label))
  return Number(wrapped)
}

const bitmapOf = (attributes: ReadonlyArray<Attribute>): IntegerName =>
  has(attributes, "bitmap8bit")
    ? "Uint8"
    : has(attributes, "bitmap16bit")
    ? "Uint16"
    : has(attributes, "bitmap64bit")
    ? "Uint64"
    : "Uint32"

/** Names of which each is given once. */
export class Names {
  private readonly taken: Set<string>
  private readonly numbers: Map<string, number> = new Map()

  constructor(taken: Iterable<string> = []) {
    this.taken = new Set(taken)
  }

  /** The name, with a `_` behind it where it is taken, and a number where that is taken too. */
  claim(wanted: string, separator = "_"): string {
    let name = wanted
    if (separator !== "" && this.taken.has(name)) name += separator
    for (let next = this.numbers.get(wanted) ?? 2; this.taken.has(name); next++) {
      name = `${wanted}${separator}${next}`
      this.numbers.set(wanted, next + 1)
    }
    this.taken.add(name)
    return name
  }
}

/** Gives each field a name of its own; anonymous unions and structures are `u` and `s`, as in C headers. */
export const namer = (word: string): (field: Field) => string => {
  const taken = new Names()
  let count = 0
  return ({ name, specifier }) => {
    count++
    const nameless = specifier._tag === "Union" ? "u" : specifier._tag === "Struct" ? "s" : `${word}${count}`
    if (name === undefined) return taken.claim(nameless, "")
    return taken.claim(name === "__proto__" ? nameless : name)
  }
}

const nameLess = ({ name }: Field): string => name ?? "a field without a name"

/** Says where something unsupported stands. */
export const inside = <A>(name: string, make: () => A): A => {
  try {
    return make()
  } catch (error) {
    throw error instanceof Unsupported ? new Unsupported(`${name}: ${error.reason}`) : error
  }
}
