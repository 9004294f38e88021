/**
 * Bounds what Effect's binary codec does for a stub, before it decodes: the number of values, the length of integers, and what
 * repeated strings expand to. It follows the codec's layout and reads nothing but lengths.
 */
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import type { Parameters } from "../../Interface.ts"

// ----------------------------------------------------------------------------
// limits
// ----------------------------------------------------------------------------

/** The bytes of the longest integer that fits a number. */
const longestNumber = 10

/** The bytes of the longest `bigint`: Effect reads one in quadratic time. */
const longestBigint = 1024

/** The bytes of the longest scale of a `BigDecimal`: a comparison raises 10 to that power. */
const longestScale = 3

/** The time zones that one message may name: the first use of each is slow. */
const mostZones = 1024

/** How deep values may nest, as in Effect's codec. */
const deepest = 512

/** The count of a record's key: an object with many keys is slow to make. */
const keyValues = 7

/** The count of an entry of a map or a set, beside its values. */
const entryValues = 4

/** So few bytes are harmless, where none of them may stand for much. */
const harmless = 256

/** So many bytes may repeated strings stand for, beside 16 for each byte of the stub. */
const leastExpansion = 0x400000

// ----------------------------------------------------------------------------
// scanning
// ----------------------------------------------------------------------------

/** Why a stub is refused. */
class Refused {
  readonly problem: string
  constructor(problem: string) {
    this.problem = problem
  }
}

const malformed = (): never => {
  throw new Refused("the stub does not have the form of its schema")
}

const tooLong = (what: string, size: number, limit: number): never => {
  throw new Refused(`${what} takes ${size} bytes, the limit is ${limit}`)
}

/** The strings that a later row may refer to: where they begin, and their lengths. */
interface Table {
  readonly starts: Array<number>
  readonly sizes: Array<number>
}

const makeTable = (): Table => ({ starts: [], sizes: [] })

/** The rest of a region of the stub. */
class Scan {
  readonly bytes: Uint8Array
  readonly maximumElements: number
  position = 0
  end: number
  left: number
  expansion: number
  depth = 0
  /** The table of the field whose value is scanned next. */
  table: Table | undefined = undefined
  zones: Set<string> | undefined = undefined

  constructor(bytes: Uint8Array, maximumElements: number) {
    this.bytes = bytes
    this.end = bytes.length
    this.left = this.maximumElements = maximumElements
    this.expansion = leastExpansion + 16 * bytes.length
  }

  charge(values: number): void {
    this.left -= values
    if (this.left >= 0) return
    throw new Refused(`the message holds more than ${this.maximumElements} values. Raise maximumElements to read it`)
  }

  /** Skips a string that a later row may refer to. */
  string(size: number, table: Table | undefined): void {
    table?.starts.push(this.position)
    table?.sizes.push(size)
    this.skip(size)
  }

  /** Charges a string that is not sent again. */
  repeat(table: Table | undefined, index: number): void {
    const size = table?.sizes[index] ?? malformed()
    this.charge(1)
    this.expansion -= size
    if (this.expansion < 0) throw new Refused("the repeated strings of the message are too long")
  }

  byte(): number {
    return this.position < this.end ? this.bytes[this.position++]! : malformed()
  }

  skip(size: number): void {
    if (size > this.end - this.position) malformed()
    this.position += size
  }

  /** A length or an index. */
  count(): number {
    let value = 0
    let scale = 1
    for (let i = 0; i < longestNumber; i++) {
      const byte = this.byte()
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value <= Number.MAX_SAFE_INTEGER ? value : malformed()
      scale *= 128
    }
    return malformed()
  }

  /** Skips an integer. */
  integer(limit: number, what = "an integer"): void {
    const { bytes, end, position } = this
    let at = position
    while (at < end && bytes[at]! >= 0x80) at++
    if (at === end) malformed()
    this.position = at + 1
    if (this.position - position > limit) tooLong(what, this.position - position, limit)
  }

  /** Scans a region of its own, all of it. */
  region(size: number, layout: Layout): void {
    const { end } = this
    if (size > end - this.position) malformed()
    const last = this.end = this.position + size
    this.value(layout)
    // What follows the value is refused by the codec, but for parts that the schema does not know.
    this.position = last
    this.end = end
  }

  value(layout: Layout): void {
    if (++this.depth > deepest) throw new Refused(`values nest deeper than ${deepest}`)
    layout.scan(this)
    this.depth--
  }
}

/** How the values of a schema travel. */
interface Layout {
  /** Which member of a union it is. */
  readonly kind: number
  /** How long a value is in an array: its own length, so many bytes, or a length in front of it. */
  readonly size: "own" | "sized" | number
  /** Whether it is a number that is no integer, a string, strings, or a structure: arrays of them have forms of their own. */
  readonly role?: "number" | "string" | "strings" | Fields | undefined
  /** Whether a field has a length in front of it. */
  readonly isRegion: boolean
  /** Scans a value up to the end of its region. */
  scan(scan: Scan): void
}

/** The fields of a structure by their numbers, and what other keys have. */
interface Fields {
  readonly byId: ReadonlyMap<number, Layout>
  readonly count: number
  readonly extra: ReadonlyArray<Extra>
}

/** Keys that are no fields. */
interface Extra {
  readonly layout: Layout
  /** Whether it is for a key; `undefined` where it is for all. */
  readonly matches: ((key: string) => boolean) | undefined
}

const kinds = {
  bool: 1,
  null: 2,
  undefined: 3,
  number: 4,
  string: 5,
  bytes: 6,
  bigint: 7,
  int64: 8,
  struct: 9,
  variant: 10,
  array: 11,
  option: 12,
  result: 13,
  duration: 14,
  bigDecimal: 15,
  dateTimeZoned: 16,
  json: 17,
  exit: 18,
  cause: 19,
  causeReason: 20
} as const

const rest = (scan: Scan): void => {
  scan.charge(1)
  scan.position = scan.end
}

const leaf = (
  kind: number,
  size: Layout["size"] = "sized",
  scan: (scan: Scan) => void = rest,
  isRegion = true,
  role?: "number" | "string"
): Layout => ({ kind, size, scan, isRegion, role })

/** Something that takes no bytes still counts. */
const empty = (kind: number): Layout => leaf(kind, 0)

const bigint = (scan: Scan): void => {
  scan.charge(1)
  scan.integer(longestBigint)
}

const leaves = {
  bool: leaf(kinds.bool, 1, rest, false),
  null: empty(kinds.null),
  undefined: empty(kinds.undefined),
  // A number that is no integer takes 8 bytes at most, or is refused.
  number: leaf(kinds.number, "sized", rest, false, "number"),
  int: leaf(kinds.number, "own", (scan) => {
    scan.charge(1)
    scan.integer(longestNumber)
  }, false),
  string: leaf(kinds.string, "sized", rest, true, "string"),
  text: leaf(kinds.string),
  bytes: leaf(kinds.bytes),
  bigint: leaf(kinds.bigint, "sized", bigint),
  int64: leaf(kinds.int64, 8),
  zoned: leaf(kinds.dateTimeZoned, "sized", (scan) => {
    const start = scan.position
    rest(scan)
    if (scan.bytes[start + 8] !== 1) return
    const zones = scan.zones ??= new Set()
    zones.add(String.fromCharCode(...scan.bytes.subarray(start + 9, Math.min(scan.end, start + 73))))
    if (zones.size > mostZones) throw new Refused(`the message names more than ${mostZones} time zones`)
  }),
  duration: leaf(kinds.duration, "sized", (scan) => scan.byte() === 0 ? bigint(scan) : scan.charge(1)),
  bigDecimal: leaf(kinds.bigDecimal, "sized", (scan) => {
    bigint(scan)
    scan.integer(longestScale, "the scale of a decimal number")
  }),
  json: leaf(kinds.json, "sized", (scan) => {
    const { bytes, end } = scan
    scan.charge(1)
    let depth = scan.depth
    for (let at = scan.position; at < end; at++) {
      switch (bytes[at]) {
        // "
        case 0x22:
          for (at++; at < end && bytes[at] !== 0x22; at++) if (bytes[at] === 0x5c) at++
          break
        // [ {
        case 0x5b:
        case 0x7b:
          if (++depth > deepest) throw new Refused(`values nest deeper than ${deepest}`)
          scan.charge(1)
          break
        // ] }
        case 0x5d:
        case 0x7d:
          depth--
          break
        // ,
        case 0x2c:
          scan.charge(1)
      }
    }
    scan.position = end
  }),
  never: leaf(0)
}

// ----------------------------------------------------------------------------
// structures
// ----------------------------------------------------------------------------

/** Skips or scans the value of a field or key, as its tag says. */
const payload = (scan: Scan, kind: number, layout: Layout | undefined): void => {
  switch (kind) {
    case 0: {
      const size = scan.count()
      if (layout?.isRegion === true) return scan.region(size, layout)
      scan.charge(1)
      return scan.skip(size)
    }
    case 1:
      scan.charge(1)
      return scan.integer(longestNumber)
    case 2:
      scan.charge(1)
      return scan.skip(8)
    case 5:
      scan.charge(1)
      scan.integer(longestNumber)
      return scan.integer(longestNumber)
    case 6:
      scan.charge(1)
      return scan.skip(4)
    default:
      return scan.charge(1)
  }
}

const decoder = new TextDecoder()

/** Scans keys that are no fields, and their values. */
const keys = (scan: Scan, extra: ReadonlyArray<Extra>, table: Table | undefined): void => {
  while (scan.position < scan.end) {
    const code = scan.count()
    const kind = table === undefined ? code % 8 : Math.floor(code % 16 / 2)
    let size = Math.floor(code / (table === undefined ? 8 : 16))
    let start = scan.position
    scan.charge(keyValues)
    if (table !== undefined && code % 2 === 1) {
      scan.repeat(table, size)
      start = table.starts[size]!
      size = table.sizes[size]!
    } else scan.string(size, table)
    const key = (): string => decoder.decode(scan.bytes.subarray(start, start + size))
    payload(scan, kind, extra.find(({ matches }) => matches === undefined || matches(key()))?.layout)
  }
}

const scanFields = (scan: Scan, { byId, extra }: Fields): void => {
  const table = extra.length > 0 ? scan.table : undefined
  scan.table = undefined
  scan.charge(scan.position === scan.end ? 1 : 0)
  while (scan.position < scan.end) {
    const tag = scan.count()
    const id = Math.floor(tag / 8)
    if (id === 0) {
      const { end } = scan
      const size = scan.count()
      if (size > end - scan.position) malformed()
      scan.end = scan.position + size
      keys(scan, extra, table)
      scan.end = end
    } else {
      payload(scan, tag % 8, byId.get(id))
    }
  }
}

// ----------------------------------------------------------------------------
// arrays of structures
// ----------------------------------------------------------------------------

/** So many fields at most: then rows refer to the fields of an earlier row. */
const mostShared = 30

const scanRows = (scan: Scan, count: number, fields: Fields): void => {
  const shapes: Array<ReadonlyArray<number>> = []
  const tables = new Map<number, Table>()
  const { end } = scan
  for (let i = 0; i < count; i++) {
    const size = scan.count()
    if (size > end - scan.position) malformed()
    scan.end = scan.position + size
    scanRow(scan, fields, shapes, tables)
    scan.end = end
  }
}

const scanRow = (
  scan: Scan,
  fields: Fields,
  shapes: Array<ReadonlyArray<number>>,
  tables: Map<number, Table>
): void => {
  const code = scan.count()
  // An object without a field counts too.
  scan.charge(scan.position === scan.end ? 1 : 0)
  if (code > 0) {
    for (const id of shapes[code - 1] ?? malformed()) scanSlot(scan, fields, id, tables)
    return
  }
  const shape: Array<number> = []
  while (scan.position < scan.end) {
    const id = scan.count()
    shape.push(id)
    scanSlot(scan, fields, id, tables)
  }
  if (fields.count <= mostShared) shapes.push(shape)
}

const scanSlot = (scan: Scan, { byId, extra }: Fields, id: number, tables: Map<number, Table>): void => {
  const code = scan.count()
  const layout = byId.get(id)
  if (code % 2 === 1) {
    return layout === undefined ? scan.charge(1) : scan.repeat(tables.get(id), (code - 1) / 2)
  }
  const size = code / 2
  const { end } = scan
  if (size > end - scan.position) malformed()
  if (id === 0) {
    scan.end = scan.position + size
    keys(scan, extra, undefined)
    scan.end = end
    return
  }
  if (layout === undefined) {
    scan.charge(1)
    return scan.skip(size)
  }
  const { role } = layout
  if (role === "string" || role === "strings" || typeof role === "object" && role.extra.length > 0) {
    let table = tables.get(id)
    if (table === undefined) tables.set(id, table = makeTable())
    if (role === "string") {
      scan.charge(1)
      return scan.string(size, table)
    }
    scan.table = table
  }
  scan.region(size, layout)
  scan.table = undefined
}

// ----------------------------------------------------------------------------
// arrays
// ----------------------------------------------------------------------------

interface Slots {
  readonly elements: ReadonlyArray<Layout>
  readonly rest: ReadonlyArray<Layout>
  readonly hasCount: boolean
  /** All elements have one layout, and no other elements are declared. */
  readonly isUniform: boolean
  /** All elements are structures of one layout. */
  readonly rows: Fields | undefined
  /** The count of an element, beside its values. */
  readonly cost: number
}

const scanSlotOf = (scan: Scan, layout: Layout): void => {
  if (layout.size === "own") return scan.value(layout)
  return scan.region(layout.size === "sized" ? scan.count() : layout.size, layout)
}

const scanArray = (scan: Scan, { cost, elements, hasCount, isUniform, rest, rows }: Slots): void => {
  const { table } = scan
  scan.table = undefined
  const count = hasCount ? scan.count() : elements.length
  if (rest.length === 0 && count > elements.length) malformed()
  // Nothing takes less than one, so that more need not be looked at.
  if (count > scan.left) scan.charge(count)
  scan.charge(count * cost)
  if (count === 0) return scan.charge(1)
  if (rows !== undefined) return scanRows(scan, count, rows)
  const first = rest[0]
  if (isUniform && first!.role === "number") return scanNumbers(scan, count)
  if (isUniform && first!.role === "string" && table !== undefined) {
    for (let i = 0; i < count; i++) {
      const code = scan.count()
      if (code % 2 === 1) scan.repeat(table, (code - 1) / 2)
      else {
        scan.charge(1)
        scan.string(code / 2, table)
      }
    }
    return
  }
  if (isUniform && first!.size === 0) return scan.charge(count)
  const tail = Math.max(elements.length, count - Math.max(0, rest.length - 1))
  for (let i = 0; i < count; i++) {
    scanSlotOf(scan, i < elements.length ? elements[i]! : i < tail ? first! : rest[i - tail + 1]!)
  }
}

const scanNumbers = (scan: Scan, count: number): void => {
  scan.charge(count)
  const mode = scan.byte()
  if (mode === 0) return scan.skip(8 * count)
  for (let i = 0; i < count; i++) scan.integer(longestNumber)
}

// ----------------------------------------------------------------------------
// from schemas
// ----------------------------------------------------------------------------

const utf8 = new TextEncoder()

const fnv32 = (bytes: ArrayLike<number>): number => {
  let hash = 0x811c9dc5
  for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
  return hash >>> 0
}

interface Sentinel {
  readonly key: string | number
  readonly literal: SchemaAST.LiteralValue | symbol
}

const order = (a: Uint8Array, b: Uint8Array): number => {
  for (let i = 0; i < a.length && i < b.length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!
  return a.length - b.length
}

/** The number of a variant in the codec: a hash of the fields that tell it from others. */
const tagOf = (sentinels: ReadonlyArray<Sentinel>): number => {
  const sorted = [...sentinels].sort((a, b) =>
    typeof a.key === "number" && typeof b.key === "number"
      ? a.key - b.key
      : typeof a.key === "number"
      ? -1
      : typeof b.key === "number"
      ? 1
      : order(utf8.encode(a.key), utf8.encode(b.key))
  )
  const out: Array<number> = []
  const text = (value: string): void => {
    const bytes = utf8.encode(value)
    out.push(bytes.length & 255, bytes.length >> 8 & 255, bytes.length >> 16 & 255, bytes.length >>> 24, ...bytes)
  }
  const kindsOf: Record<string, number> = { string: 1, number: 2, boolean: 3, bigint: 4, symbol: 5 }
  for (const { key, literal } of sorted) {
    out.push(typeof key === "number" ? 0 : 1)
    text(String(key))
    out.push(kindsOf[typeof literal]!)
    text(typeof literal === "symbol" ? Symbol.keyFor(literal) ?? "" : String(literal))
  }
  return fnv32(out)
}

const idOf = (ast: SchemaAST.AST): string | undefined => {
  const { representation } = (ast.annotations ?? {}) as { readonly representation?: { readonly id?: unknown } }
  return typeof representation?.id === "string" ? representation.id : undefined
}

const isInteger = (ast: SchemaAST.AST): boolean => {
  const proves = (check: SchemaAST.Check<never>): boolean =>
    (check.annotations as { readonly representation?: { readonly id?: unknown } } | undefined)?.representation?.id ===
      "effect/schema/isInt" || check._tag === "FilterGroup" && check.checks.some(proves)
  return ast.checks?.some((check) => proves(check as SchemaAST.Check<never>)) ?? false
}

const simple: { readonly [tag: string]: Layout } = {
  String: leaves.string,
  TemplateLiteral: leaves.string,
  Symbol: leaves.text,
  UniqueSymbol: leaves.text,
  Boolean: leaves.bool,
  Null: leaves.null,
  Undefined: leaves.undefined,
  Void: leaves.undefined,
  BigInt: leaves.bigint,
  Unknown: leaves.json,
  Any: leaves.json,
  ObjectKeyword: leaves.json
}

const literals: { readonly [type: string]: Layout } = {
  string: leaves.text,
  number: { ...leaves.number, role: undefined },
  boolean: leaves.bool
}

const natives: { readonly [id: string]: Layout } = {
  "effect/schema/Date": leaves.int64,
  "effect/schema/DateTimeUtc": leaves.int64,
  "effect/schema/DateTimeZoned": leaves.zoned,
  "effect/schema/Duration": leaves.duration,
  "effect/schema/BigDecimal": leaves.bigDecimal,
  "effect/schema/Uint8Array": leaves.bytes,
  "effect/schema/Json": leaves.json,
  "effect/schema/MutableJson": leaves.json
}

const generics: { readonly [id: string]: number } = {
  "effect/schema/Option": kinds.option,
  "effect/schema/Result": kinds.result,
  "effect/schema/Exit": kinds.exit,
  "effect/schema/Cause": kinds.cause,
  "effect/schema/CauseReason": kinds.causeReason
}

type ToLink = (typeParameters: ReadonlyArray<Schema.Constraint>) => SchemaAST.Link | undefined

class Compiler {
  /** Whether a few bytes may stand for much: any number of elements, or a decimal of any scale. */
  alwaysLooks = false
  /** Whether a value may nest too deep, or hold too long an integer, so that its writer should look too. */
  isUnbounded = false
  private readonly ends = new Map<SchemaAST.AST, SchemaAST.AST>()
  private readonly layouts = new Map<SchemaAST.AST, Layout>()
  /** The arrays as which maps and sets travel. */
  private readonly collections = new Set<SchemaAST.AST>()
  private readonly making = new Set<SchemaAST.AST>()

  /** The end of a schema: the part that travels. */
  private end(ast: SchemaAST.AST): SchemaAST.AST {
    const known = this.ends.get(ast)
    if (known !== undefined) return known
    let at = ast
    for (;;) {
      if (at.encoding !== undefined) at = at.encoding[at.encoding.length - 1]!.to
      else if (at._tag === "Suspend") at = at.thunk()
      else if (at._tag === "Enum") {
        at = new SchemaAST.Union(at.enums.map(([, value]) => new SchemaAST.Literal(value)), "anyOf" as never)
      } else {
        const link = at._tag === "Declaration" ? this.linkOf(at) : undefined
        if (link === undefined) break
        at = link.to
        this.collections.add(at)
      }
    }
    this.ends.set(ast, at)
    return at
  }

  private linkOf(ast: SchemaAST.Declaration): SchemaAST.Link | undefined {
    const id = idOf(ast)
    if (id !== undefined && (id in natives || id in generics)) return undefined
    const { toCodec, toCodecJson } = (ast.annotations ?? {}) as {
      readonly toCodec?: ToLink
      readonly toCodecJson?: ToLink
    }
    const parameters = ast.typeParameters.map((parameter) =>
      Schema.make<Schema.Constraint>(SchemaAST.toEncoded(parameter))
    )
    return toCodecJson?.(parameters) ?? toCodec?.(parameters)
  }

  /** Whether a field or an element may be missing. */
  private isOptional(ast: SchemaAST.AST): boolean {
    let at = ast
    while (at.encoding !== undefined) at = at.encoding[at.encoding.length - 1]!.to
    return at.context?.isOptional === true
  }

  layout(ast: SchemaAST.AST): Layout {
    const end = this.end(ast)
    const known = this.layouts.get(end)
    if (known !== undefined) {
      this.isUnbounded ||= this.making.has(end)
      return known
    }
    if (end._tag !== "Objects" && end._tag !== "Arrays" && end._tag !== "Union" && end._tag !== "Declaration") {
      return this.simple(end)
    }
    // It may contain itself.
    const made: { -readonly [K in keyof Layout]: Layout[K] } = { kind: 0, size: "sized", isRegion: true, scan: rest }
    this.layouts.set(end, made)
    this.making.add(end)
    Object.assign(made, this.composite(end))
    this.making.delete(end)
    return made
  }

  private simple(ast: SchemaAST.AST): Layout {
    if (ast._tag === "Number") return isInteger(ast) ? leaves.int : leaves.number
    if (ast._tag === "Literal") return literals[typeof ast.literal] ?? leaves.bigint
    this.isUnbounded ||= ast._tag === "BigInt"
    return simple[ast._tag] ?? leaves.never
  }

  private composite(ast: SchemaAST.Objects | SchemaAST.Arrays | SchemaAST.Union | SchemaAST.Declaration): Layout {
    if (ast._tag === "Arrays") return this.array(ast)
    if (ast._tag === "Union") return this.union(ast)
    if (ast._tag === "Declaration") return this.declaration(ast)
    const fields = this.fields(ast, new Set())
    return { ...leaf(kinds.struct, "sized", (scan) => scanFields(scan, fields)), role: fields }
  }

  private fields(ast: SchemaAST.Objects, without: ReadonlySet<string | number>): Fields {
    const byId = new Map<number, Layout>()
    for (const { name, type } of ast.propertySignatures) {
      if (without.has(name as string)) continue
      const id = type.context?.annotations?.["~effect/encoding/SchemaBinary/fieldId"]
      byId.set(typeof id === "number" ? id : fnv32(utf8.encode(String(name))), this.layout(type))
    }
    const extra = ast.indexSignatures.map(({ parameter, type }): Extra => ({
      layout: this.layout(type),
      matches: parameter._tag === "String" && parameter.checks === undefined
        ? undefined
        : matcherOf(SchemaAST.toEncoded(parameter))
    }))
    return { byId, count: byId.size, extra }
  }

  private array(ast: SchemaAST.Arrays): Layout {
    const elements = ast.elements.map((element) => this.layout(element))
    const rest = ast.rest.map((element) => this.layout(element))
    const isUniform = elements.length === 0 && rest.length === 1
    const hasOptional = ast.elements.some((element) => this.isOptional(element))
    const slots: { -readonly [K in keyof Slots]: Slots[K] } = {
      elements,
      rest,
      hasCount: rest.length > 0 || hasOptional,
      isUniform,
      rows: undefined,
      cost: this.collections.has(ast) ? entryValues : 0
    }
    // The layout of an element that contains this array is not made yet.
    const rows = (): Fields | undefined =>
      rest.length === 1 && !hasOptional && elements.every((element) => element === rest[0]) &&
        typeof rest[0]!.role === "object"
        ? rest[0]!.role
        : undefined
    let known = false
    this.alwaysLooks ||= slots.hasCount
    const layout = leaf(kinds.array, "sized", (scan) => {
      if (!known) {
        slots.rows = rows()
        known = true
      }
      scanArray(scan, slots)
    })
    return { ...layout, role: isUniform && rest[0]!.role === "string" ? "strings" : undefined }
  }

  private declaration(ast: SchemaAST.Declaration): Layout {
    const id = idOf(ast) ?? ""
    this.alwaysLooks ||= natives[id] === leaves.bigDecimal
    if (id in natives) return natives[id]!
    const [first = leaves.never, second = leaves.never, third = leaves.never] = id in generics
      ? ast.typeParameters.map((parameter) => this.layout(parameter))
      : []
    const inside = (scan: Scan, layout: Layout): void => scan.region(scan.end - scan.position, layout)
    const reason = (error: Layout, defect: Layout) => (scan: Scan): void => {
      const tag = scan.byte()
      if (tag === 0) inside(scan, error)
      else if (tag === 1) inside(scan, defect)
      else rest(scan)
    }
    const cause = (error: Layout, defect: Layout) => (scan: Scan): void => {
      const count = scan.count()
      const one = leaf(kinds.causeReason, "sized", reason(error, defect))
      scan.charge(1)
      for (let i = 0; i < count; i++) scan.region(scan.count(), one)
    }
    switch (id) {
      case "effect/schema/Option":
        return leaf(kinds.option, "sized", (scan) => scan.byte() === 1 ? inside(scan, first) : rest(scan))
      case "effect/schema/Result":
        return leaf(kinds.result, "sized", (scan) => inside(scan, scan.byte() === 0 ? first : second))
      case "effect/schema/Exit": {
        const causes = leaf(kinds.cause, "sized", cause(second, third))
        return leaf(kinds.exit, "sized", (scan) => inside(scan, scan.byte() === 0 ? first : causes))
      }
      case "effect/schema/Cause":
        return leaf(kinds.cause, "sized", cause(first, second))
      case "effect/schema/CauseReason":
        return leaf(kinds.causeReason, "sized", reason(first, second))
      default:
        return leaves.json
    }
  }

  private union(ast: SchemaAST.Union): Layout {
    const members = new Set<SchemaAST.AST>()
    const flatten = (ast: SchemaAST.AST): void => {
      const end = this.end(ast)
      if (end._tag === "Union") end.types.forEach(flatten)
      else if (end._tag !== "Never") members.add(end)
    }
    ast.types.forEach(flatten)
    const byKind = new Map<number, Layout>()
    const byTag = new Map<number, () => Layout>()
    for (const member of members) {
      const sentinels = this.sentinelsOf(member)
      if (sentinels.length > 0) {
        let made: Layout | undefined
        byTag.set(tagOf(sentinels), () => made ??= this.variant(member, sentinels))
        continue
      }
      byKind.set(this.kindOf(member), this.layout(member))
    }
    const [only] = byKind.values()
    // One member alone has no kind in front of it.
    if (byTag.size === 0 && byKind.size === 1) return only!
    if (byTag.size + byKind.size === 0) return leaves.never
    return leaf(0, "sized", (scan) => {
      const kind = scan.byte()
      let layout = byKind.get(kind)
      if (kind === kinds.variant) {
        const start = scan.position
        scan.skip(4)
        const { bytes } = scan
        const tag = bytes[start]! | bytes[start + 1]! << 8 | bytes[start + 2]! << 16 | bytes[start + 3]! << 24
        layout = byTag.get(tag >>> 0)?.()
      }
      if (layout === undefined) rest(scan)
      else scan.region(scan.end - scan.position, layout)
    })
  }

  /** The kind of a member, which may be a layout that is not made yet. */
  private kindOf(ast: SchemaAST.AST): number {
    if (ast._tag === "Objects") return kinds.struct
    if (ast._tag === "Arrays") return kinds.array
    return ast._tag === "Declaration" ? (generics[idOf(ast) ?? ""] ?? this.layout(ast).kind) : this.layout(ast).kind
  }

  private sentinelsOf(ast: SchemaAST.AST): ReadonlyArray<Sentinel> {
    const of = (key: string | number, type: SchemaAST.AST): ReadonlyArray<Sentinel> => {
      if (this.isOptional(type)) return []
      const end = type.encoding === undefined ? type : type.encoding[type.encoding.length - 1]!.to
      if (end._tag === "Literal") return [{ key, literal: end.literal }]
      return end._tag === "UniqueSymbol" ? [{ key, literal: end.symbol }] : []
    }
    if (ast._tag === "Objects") return ast.propertySignatures.flatMap(({ name, type }) => of(name as string, type))
    return ast._tag === "Arrays" ? ast.elements.flatMap((type, index) => of(index, type)) : []
  }

  private variant(ast: SchemaAST.AST, sentinels: ReadonlyArray<Sentinel>): Layout {
    if (ast._tag !== "Objects") return this.layout(ast)
    const fields = this.fields(ast, new Set(sentinels.map(({ key }) => key)))
    return leaf(kinds.struct, "sized", (scan) => scanFields(scan, fields))
  }
}

/** Whether a key is one of an index signature: a record of them says. */
const matcherOf = (parameter: SchemaAST.AST): (key: string) => boolean => {
  const record = Schema.Record(Schema.make<Schema.String>(parameter as Schema.String["ast"]), Schema.Null)
  const decode = Schema.decodeUnknownExit(record, { onExcessProperty: "error" })
  return (key) => decode({ [key]: null })._tag === "Success"
}

/** Looks at a stub, and tells its problem. */
export interface Guard {
  /** The problem of a stub that arrived. */
  readonly read: (bytes: Uint8Array, maximumElements: number) => string | undefined
  /** The reason why no peer would read the written stub. */
  readonly written: (bytes: Uint8Array) => string | undefined
}

/** The guard of the bytes that a codec of Effect writes for a schema. */
export const makeGuard = (schema: Parameters): Guard => {
  let compiled: { readonly layout: Layout; readonly alwaysLooks: boolean; readonly isUnbounded: boolean } | undefined
  // Compiled when it is needed first: the schema may refer to one that is declared later.
  const compile = () => {
    const compiler = new Compiler()
    const layout = compiler.layout(schema.ast)
    const { alwaysLooks, isUnbounded } = compiler
    return compiled = { layout, alwaysLooks, isUnbounded }
  }
  const look = (bytes: Uint8Array, maximumElements: number, layout: Layout): string | undefined => {
    try {
      const scan = new Scan(bytes, maximumElements)
      const size = scan.count()
      scan.skip(1)
      scan.region(size - 1, layout)
      return undefined
    } catch (error) {
      if (error instanceof Refused) return error.problem
      throw error
    }
  }
  return {
    read: (bytes, maximumElements) => {
      const { alwaysLooks, layout } = compiled ?? compile()
      if (!alwaysLooks && bytes.length <= Math.min(harmless, maximumElements)) return undefined
      return look(bytes, maximumElements, layout)
    },
    written: (bytes) => {
      if (bytes.length <= deepest) return undefined
      const { isUnbounded, layout } = compiled ?? compile()
      return isUnbounded ? look(bytes, Infinity, layout) : undefined
    }
  }
}
