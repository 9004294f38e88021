/**
 * The NDR representation that a schema carries as an annotation, and the compiler that makes a writer and a reader of it.
 */
import type * as SchemaAST from "effect/SchemaAST"
import { declaredIn, fromParts, Handle, partsOf } from "../../internal/handleSchema.ts"
import * as Uuid from "../../internal/uuid.ts"
import {
  compact,
  type Count,
  type Cursor,
  type Decoder,
  type Encoder,
  type Integer,
  type Link,
  makeLink,
  type Node,
  Refusal,
  status,
  verify,
  within
} from "./ndrStream.ts"
import { readText, writeNarrow, writeWide } from "./ndrText.ts"

// ----------------------------------------------------------------------------
// representations
// ----------------------------------------------------------------------------

/** How the values of a schema travel. */
export type Representation =
  | { readonly _tag: "Scalar"; readonly scalar: Scalar }
  | { readonly _tag: "Enum"; readonly size: 2 | 4; readonly numbers: ReadonlyMap<string | number, number> }
  | { readonly _tag: "Uuid" }
  | { readonly _tag: "ContextHandle"; readonly type: string }
  | { readonly _tag: "String"; readonly wide: boolean; readonly bound: number | undefined }
  | { readonly _tag: "Array"; readonly shape: Shape; readonly element: SchemaAST.AST }
  | { readonly _tag: "SizedArray"; readonly element: SchemaAST.AST }
  | { readonly _tag: "Bytes"; readonly shape: Shape }
  | { readonly _tag: "Struct" }
  | { readonly _tag: "Union"; readonly discriminant: SchemaAST.AST; readonly arms: ReadonlyArray<Arm> }
  | { readonly _tag: "Pointer"; readonly kind: "ref" | "unique" | "full"; readonly target: SchemaAST.AST }
  | {
    readonly _tag: "Derived"
    readonly what: "size" | "length" | "switch"
    readonly field: string
    readonly type: SchemaAST.AST | undefined
  }

/** One arm of a union. The default arm has no label; an empty arm has the type `Void`. */
export interface Arm {
  readonly label: string | number | undefined
  readonly type: SchemaAST.AST
}

/** Which counts an array has on the wire, and what the definition says of them. */
export interface Shape {
  readonly conformant: boolean
  readonly varying: boolean
  /** The number of elements, or the most of them where the array is varying. */
  readonly bound: number | undefined
}

/** The types of which everything else is made. */
export type Scalar =
  | "Boolean"
  | "Char"
  | "WChar"
  | "Int8"
  | "Uint8"
  | "Int16"
  | "Uint16"
  | "Int32"
  | "Uint32"
  | "Int64"
  | "Uint64"
  | "Float"
  | "Double"

interface Annotation {
  readonly representation: Representation
  /** How many checks the schema had when it got its representation. Those behind them are the user's. */
  readonly checks: number
}

const annotationKey = "~callisto/Ndr"

/** The annotation that gives a schema its representation. */
export const annotationOf = (ast: SchemaAST.AST, representation: Representation): Record<string, Annotation> => ({
  [annotationKey]: { representation, checks: ast.checks?.length ?? 0 }
})

const annotationIn = (ast: SchemaAST.AST): Annotation | undefined => {
  // Annotations stand on the last check where there is one; the latest is the outermost.
  for (const check of (ast.checks ?? []).toReversed()) {
    const found = check.annotations?.[annotationKey]
    if (found !== undefined) return found as Annotation
  }
  const handle = declaredIn(ast)
  if (handle !== undefined) return { representation: { _tag: "ContextHandle", type: handle.type }, checks: 0 }
  return ast.annotations?.[annotationKey] as Annotation | undefined
}

/** The encoded side of a schema that transforms; `undefined` for one that travels as it is. */
const encodedSideOf = (ast: SchemaAST.AST): SchemaAST.AST | undefined => {
  if (ast.encoding === undefined) return undefined
  // A reference pointer to a schema that transforms: its target transforms, not the pointer.
  const representation = annotationIn(ast)?.representation
  if (representation?._tag === "Pointer" && representation.target.encoding === ast.encoding) return undefined
  return ast.encoding[ast.encoding.length - 1]!.to
}

/** The representation of what a schema travels as. */
export const representationOf = (ast: SchemaAST.AST): Representation | undefined => {
  const encoded = encodedSideOf(ast)
  return encoded === undefined ? annotationIn(ast)?.representation : representationOf(encoded)
}

// ----------------------------------------------------------------------------
// the compiler
// ----------------------------------------------------------------------------

/** A compiled schema. */
export interface Program {
  readonly write: (to: Encoder, value: unknown) => void
  readonly read: (from: Decoder) => unknown
  /** The least number of bytes that a value takes. */
  readonly minimum: number
  /** Whether values go through the schema too, because it transforms them or has checks of its own. */
  readonly transforms: boolean
  /** The one parameter, where there is one. */
  readonly node: Node | undefined
}

/** Thrown for a schema that has no NDR form. */
const noForm = Symbol("no NDR form")

/**
 * Compiles the parameters of one direction of a method; `undefined` where the schema has no NDR form. Throws a
 * `TypeError` for a definition that NDR does not have.
 */
export const compile = (ast: SchemaAST.AST): Program | undefined => compileWith(new Compiler(false), ast)

/** Compiles what flows through a pipe of that name, as the one field of a structure. */
export const compileElement = (ast: SchemaAST.AST, pipe: string): Program | undefined =>
  compileWith(new Compiler(true), ast, pipe)

const compileWith = (compiler: Compiler, ast: SchemaAST.AST, pipe?: string): Program | undefined => {
  try {
    return compiler.program(ast)
  } catch (error) {
    if (error === noForm) return undefined
    if (error instanceof TypeError) {
      const path = pipe === undefined ? compiler.path : [pipe, ...compiler.path.slice(1)]
      error.message = `NDR, ${formatPath(path) || "as a whole"}: ${error.message}`
    }
    throw error
  }
}

/** Writes a path as a program would: `info.names[2]`. Of a long one the middle is left out. */
export const formatPath = (path: ReadonlyArray<string | number>): string => {
  const steps = path.length > 64 ? [...path.slice(0, 16), `(${path.length - 32} more)`, ...path.slice(-16)] : path
  return steps.map((key, i) => typeof key === "number" ? `[${key}]` : i === 0 ? key : `.${key}`).join("")
}

const refuseDefinition = (problem: string): never => {
  throw new TypeError(problem)
}

/** Whether it travels without counts and without anything that follows it. */
const isForPipes = (representation: Representation): boolean => {
  switch (representation._tag) {
    case "Array":
    case "Bytes":
      return !representation.shape.conformant && !representation.shape.varying
    case "String":
    case "SizedArray":
    case "Pointer":
      return false
    default:
      return true
  }
}

/** What a reference pointer that takes no place points to. */
const required = (node: Node): Node => ({
  ...node,
  maxCount: node.maxCount && ((value) => node.maxCount!(referent(value))),
  counts: node.counts && { size: throughReferent(node.counts.size), length: throughReferent(node.counts.length) },
  write: (to, value) => node.write(to, referent(value))
})

const throughReferent = (count: Count | undefined): Count | undefined => count && ((value) => count(referent(value)))

const unready = (): never => {
  throw new TypeError("it contains itself without a pointer between")
}

const makeNode = (): Node => ({
  ready: false,
  align: 1,
  minimum: 0,
  extent: 0,
  values: 1,
  pointers: false,
  pointer: undefined,
  maxCount: undefined,
  counts: undefined,
  discriminant: undefined,
  integer: undefined,
  write: unready,
  read: unready,
  readInto: unready
})

class Compiler {
  private transforms = false
  private shares = false
  readonly path: Array<string> = []
  private readonly nodes = new Map<SchemaAST.AST, Node>()
  // What pointers point to is compiled when the construct that holds them is, so that types may be recursive; then
  // derived fields find what they are derived from.
  private readonly targets: Array<() => void> = []
  private readonly derivations: Array<() => void> = []
  private readonly inPipe: boolean

  constructor(inPipe: boolean) {
    this.inPipe = inPipe
  }

  program(ast: SchemaAST.AST): Program {
    const { minimum, node, read, write } = this.parameters(ast)
    // Elements of no size would let four bytes announce any number of them.
    if (this.inPipe && minimum === 0) throw noForm
    for (let i = 0; i < this.targets.length; i++) this.targets[i]!()
    for (const derive of this.derivations) derive()
    if (this.transforms && this.shares) {
      return refuseDefinition("full pointers can't be among schemas that transform or check, which copy the objects")
    }
    return { write, read, minimum, node, transforms: this.transforms }
  }

  private parameters(ast: SchemaAST.AST): Omit<Program, "transforms"> {
    const inner = this.encodedSide(ast)
    if (inner._tag === "Void") return { minimum: 0, node: undefined, write: () => {}, read: () => undefined }
    if (inner._tag === "Objects" && annotationIn(inner) === undefined) {
      const fields = this.fields(inner, true)
      return { ...fields, node: fields.all.length === 1 ? fields.all[0]!.node : undefined }
    }
    const node = this.parameter(inner)
    return {
      minimum: node.minimum,
      node,
      write: (to, value) => to.construct(node, value),
      read: (from) => {
        const box = { value: undefined }
        from.construct(node, box, "value", undefined)
        return box.value
      }
    }
  }

  /** Goes through transformations, which it notes, to what travels. */
  private encodedSide(ast: SchemaAST.AST): SchemaAST.AST {
    const encoded = encodedSideOf(ast)
    if (encoded !== undefined) {
      this.transforms = true
      return this.encodedSide(encoded)
    }
    return ast._tag === "Suspend" && annotationIn(ast) === undefined ? this.encodedSide(ast.thunk()) : ast
  }

  /** Keeps a step for later, which then fails under the path of now. */
  private later(steps: Array<() => void>, step: () => void): void {
    const path = [...this.path]
    steps.push(() => {
      this.path.splice(0, Infinity, ...path)
      step()
      this.path.length = 0
    })
  }

  /** A parameter: a reference pointer takes no place there. */
  private parameter(ast: SchemaAST.AST): Node {
    const annotation = annotationIn(ast)
    // No parameter, and so no reference pointer that takes no place, is an element of a pipe.
    if (this.inPipe || annotation?.representation._tag !== "Pointer" || annotation.representation.kind !== "ref") {
      return this.complete(this.node(ast))
    }
    if ((ast.checks?.length ?? 0) > annotation.checks) this.transforms = true
    const target = this.parameter(this.encodedSide(annotation.representation.target))
    return target.pointer === undefined ? required(target) : target
  }

  private complete(node: Node): Node {
    return node.ready ? node : unready()
  }

  /** The node of a schema, which may be in the making: only a pointer may take it before it is ready. */
  private node(outer: SchemaAST.AST): Node {
    const ast = this.encodedSide(outer)
    const known = this.nodes.get(ast)
    if (known !== undefined) return known
    const node = makeNode()
    this.nodes.set(ast, node)
    const annotation = annotationIn(ast)
    if (annotation === undefined && ast._tag !== "Objects") throw noForm
    if ((ast.checks?.length ?? 0) > (annotation?.checks ?? 0)) this.transforms = true
    Object.assign(node, this.representation(annotation?.representation ?? { _tag: "Struct" }, ast))
    node.ready = true
    return node
  }

  /** The node of a part, which may not hold a conformant array: that is allowed at the end of a structure alone. */
  private part(ast: SchemaAST.AST): Node {
    const node = this.complete(this.node(ast))
    if (node.maxCount !== undefined) {
      refuseDefinition("a conformant array stands at the end of a structure or behind a pointer")
    }
    return node
  }

  private representation(representation: Representation, ast: SchemaAST.AST): Partial<Node> {
    if (this.inPipe && !isForPipes(representation)) {
      refuseDefinition("pointers, strings, and conformant or varying arrays do not flow through pipes")
    }
    switch (representation._tag) {
      case "Scalar":
        return scalarNode(representation.scalar)
      case "Enum":
        return enumNode(representation.size, representation.numbers)
      case "Uuid":
        return { align: 4, minimum: 16, extent: 16, write: writeUuid, read: readUuid }
      case "ContextHandle":
        return { align: 4, minimum: 20, extent: 20, write: writeHandle, read: handleReader(representation.type) }
      case "String":
        return stringNode(representation.wide, representation.bound)
      case "Bytes":
        return bytesNode(representation.shape)
      case "Array":
        return arrayNode(representation.shape, this.element(representation.element))
      case "SizedArray":
        return sizedArrayNode(this.element(representation.element))
      case "Struct":
        return ast._tag === "Objects" ? this.struct(ast) : refuseDefinition("it is not a structure")
      case "Union":
        return this.union(representation.discriminant, representation.arms)
      case "Pointer":
        return this.pointer(representation.kind, representation.target)
      case "Derived":
        return refuseDefinition("a derived field stands in a structure or among parameters")
    }
  }

  private element(ast: SchemaAST.AST): Node {
    const element = this.part(ast)
    if (element.counts?.length !== undefined) {
      refuseDefinition(
        "the elements of an array can't be varying arrays or strings: put a pointer or a structure between"
      )
    }
    if (element.minimum === 0) refuseDefinition("the elements of an array take at least one byte")
    return element
  }

  private struct(ast: SchemaAST.Objects): Partial<Node> {
    const { all, align, minimum, values, write, read } = this.fields(ast, false)
    const last = all[all.length - 1]
    const maxCount = last?.node.maxCount
    return {
      align,
      minimum,
      values,
      extent: extentOf(align, all.map(({ node }) => node)),
      pointers: all.some(({ node }) => node.pointers),
      maxCount: maxCount && ((value) => {
        const values = object(value)
        try {
          return maxCount(values[last!.name])
        } catch (error) {
          throw within(error, last!.name)
        }
      }),
      write: (to, value) => {
        to.align(align)
        write(to, value)
      },
      read: (from) => {
        from.align(align)
        return read(from)
      }
    }
  }

  /** The fields of a structure, or the parameters of a method. */
  private fields(ast: SchemaAST.Objects, top: boolean): Fields {
    if (ast.indexSignatures.length > 0) throw noForm
    if (ast.checks !== undefined && annotationIn(ast) === undefined) this.transforms = true

    const properties = ast.propertySignatures.map(({ name, type }) => {
      if (typeof name !== "string") throw noForm
      const representation = representationOf(type)
      return { name, type, derived: representation?._tag === "Derived" ? representation : undefined }
    })
    const fields = properties.map(({ name, type, derived }, i): Field => {
      if (derived !== undefined) return { name, type, node: makeNode(), derived: undefined, linked: false }
      if (type.context?.isOptional) throw noForm
      return this.at(name, () => {
        if (name === "__proto__") refuseDefinition("a field can't have this name")
        const node = top
          ? this.parameter(this.encodedSide(type))
          : i === properties.length - 1
          ? this.complete(this.node(type))
          : this.part(type)
        return { name, type, node, derived: undefined, linked: false }
      })
    })
    for (const [i, { name, derived }] of properties.entries()) {
      if (derived !== undefined) fields[i] = this.at(name, () => this.derived(fields[i]!, derived, fields))
    }
    return {
      all: fields,
      align: fields.reduce((most, { node }) => Math.max(most, node.align), 1),
      minimum: fields.reduce((sum, { node }) => sum + node.minimum, 0),
      values: Math.max(1, fields.reduce((sum, { node }) => sum + node.values, 0)),
      write: fieldsWriter(fields, top),
      read: fieldsReader(fields, top)
    }
  }

  private derived(
    self: Field,
    { what, field, type }: Extract<Representation, { _tag: "Derived" }>,
    fields: Array<Field>
  ): Field {
    const source = fields.findIndex((candidate) => candidate.name === field && candidate.node.ready)
    if (source < 0) return refuseDefinition(`there is no field ${JSON.stringify(field)}`)
    const described = fields[source]!
    fields[source] = { ...described, linked: true }
    const node = this.part(type ?? discriminantOf(described.type))
    const { integer } = node
    if (integer === undefined) return refuseDefinition("its type is not an integer of at most 32 bits")
    const derived: Derived = { what, source, integer, of: unready }
    this.later(this.derivations, () => {
      const of = sourceOf(described.node, what)
      if (of === undefined) return refuseDefinition(`the field ${JSON.stringify(field)} has no ${what} on the wire`)
      derived.of = of
    })
    return { ...self, node, derived }
  }

  private union(discriminant: SchemaAST.AST, arms: ReadonlyArray<Arm>): Partial<Node> {
    const type = this.at("case", () => this.part(discriminant))
    const { integer } = type
    if (integer === undefined) return refuseDefinition("its discriminant is not an integer of at most 32 bits")
    const byNumber = new Map<number, UnionArm>()
    let rest: UnionArm | undefined
    let align = type.align
    let pointers = false
    for (const { label, type } of arms) {
      const empty = type._tag === "Void"
      const node = empty ? undefined : this.at(String(label ?? "default"), () => this.part(type))
      if (node !== undefined) {
        align = Math.max(align, node.align)
        pointers ||= node.pointers
      }
      if (label === undefined) rest = { label, node }
      else byNumber.set(labelNumber(integer, label), { label, node })
    }
    const numberOf = (value: unknown): number => {
      const fields = object(value)
      const label = rest !== undefined && fields["case"] === undefined ? fields["default"] : fields["case"]
      const number = integer.numberOf(label)
      if (byNumber.has(number) ? fields["case"] === undefined : fields["case"] !== undefined || rest === undefined) {
        throw new Refusal(status.invalidTag, `the union has no such arm: ${show(label)}`)
      }
      return number
    }
    return {
      align,
      minimum: type.minimum,
      extent: function* (cursor) {
        advance(cursor, type.align, type.minimum)
        while (cursor.start + cursor.position > cursor.from.end) yield
        cursor.from.position = cursor.start + cursor.position - type.minimum
        const arm = byNumber.get(integer.read(cursor.from)) ?? rest
        // A discriminant without an arm is refused when the value is read.
        if (arm?.node !== undefined) yield* pass(arm.node, 1, cursor)
      },
      pointers,
      discriminant: numberOf,
      write: (to, value) => {
        const number = numberOf(value)
        integer.write(to, number)
        const { node } = byNumber.get(number) ?? rest!
        if (node === undefined) return
        const { path } = to
        if (node.pointers) to.path = { key: "value", parent: path }
        try {
          node.write(to, value.value)
        } catch (error) {
          throw within(error, "value")
        }
        to.path = path
      },
      read: (from) => {
        const number = integer.read(from)
        const arm = byNumber.get(number) ?? rest
        if (arm === undefined) throw new Refusal(status.invalidTag, `the union has no arm for ${number}`)
        const out: Record<string, unknown> = arm.label === undefined
          ? { default: integer.valueOf(number) }
          : { case: arm.label }
        if (arm.node !== undefined) {
          from.charge(arm.node.values)
          const { path } = from
          if (arm.node.pointers) from.path = { key: "value", parent: path }
          try {
            readPart(from, arm.node, out, "value", undefined)
          } catch (error) {
            throw within(error, "value")
          }
          from.path = path
        }
        from.discriminant = number
        return out
      }
    }
  }

  private pointer(kind: "ref" | "unique" | "full", ast: SchemaAST.AST): Partial<Node> {
    const pointer: { optional: boolean; target: Node | undefined } = { optional: kind !== "ref", target: undefined }
    if (kind === "full") this.shares = true
    this.later(this.targets, () => {
      pointer.target = this.node(ast)
      if (kind === "full" && pointer.target.pointer !== undefined) {
        refuseDefinition("a full pointer can't point to a pointer")
      }
    })
    return {
      align: 4,
      minimum: 4,
      pointers: true,
      pointer,
      write: kind === "ref"
        ? (to, value) => to.refer(pointer.target!, pointer.target!.pointer === undefined ? referent(value) : value)
        : (to, value) => {
          if (value == null) to.uint32(0)
          else if (kind === "full") to.share(pointer.target!, value)
          else to.refer(pointer.target!, value)
        },
      readInto: (from, out, key, link) => {
        out[key] = null
        const id = from.uint32()
        if (id === 0 && pointer.optional) return
        if (kind === "full") from.share(id, pointer.target!, out, key, link)
        else from.refer(pointer.target!, out, key, link)
      }
    }
  }

  /** Compiles something under a key, which the message of a refusal then names. */
  private at<A>(key: string, make: () => A): A {
    this.path.push(key)
    const made = make()
    this.path.pop()
    return made
  }
}

// ----------------------------------------------------------------------------
// fields
// ----------------------------------------------------------------------------

interface Field {
  readonly name: string
  readonly type: SchemaAST.AST
  readonly node: Node
  /** For a field whose value another field determines: which field, and what of it. */
  readonly derived: Derived | undefined
  /** Whether another field is derived from it. */
  readonly linked: boolean
}

interface Derived {
  readonly what: "size" | "length" | "switch"
  readonly source: number
  readonly integer: Integer
  of: (value: unknown) => number
}

interface Fields {
  readonly all: ReadonlyArray<Field>
  readonly align: number
  readonly minimum: number
  readonly values: number
  readonly write: (to: Encoder, value: unknown) => void
  readonly read: (from: Decoder) => unknown
}

/** Moves a cursor behind `size` bytes that are aligned. */
const advance = (cursor: Cursor, align: number, size: number): void => {
  cursor.position = ((cursor.start + cursor.position + align - 1) & -align) - cursor.start + size
}

/** Moves a cursor behind so many values. */
const pass = function* ({ align, extent }: Node, count: number, cursor: Cursor): Generator<undefined, void> {
  if (typeof extent === "number") {
    if (count > 0) advance(cursor, align, (count - 1) * (extent + align - 1 & -align) + extent)
  } else {
    for (let i = 0; i < count; i++) yield* extent(cursor)
  }
}

/** The extent of a structure. */
const extentOf = (align: number, nodes: ReadonlyArray<Node>): Node["extent"] => {
  let size = 0
  for (const node of nodes) {
    if (typeof node.extent !== "number") {
      return function* (cursor) {
        advance(cursor, align, 0)
        for (const node of nodes) yield* pass(node, 1, cursor)
      }
    }
    size = (size + node.align - 1 & -node.align) + node.extent
  }
  return size
}

/** Measures a value as far as its bytes are there, and gives its size when that is known. */
export type Measure = (from: Decoder, start: number) => number | undefined

/** Begins to measure a value. */
export const measureOf = (node: Node): Measure => {
  const cursor: Cursor = { from: undefined as never, start: 0, position: 0 }
  let steps: Generator<undefined, void> | undefined
  return (from, start) => {
    cursor.from = from
    cursor.start = start
    steps ??= pass(node, 1, cursor)
    return steps.next().done ? cursor.position : undefined
  }
}

interface UnionArm {
  readonly label: string | number | undefined
  readonly node: Node | undefined
}

const fieldsWriter = (fields: ReadonlyArray<Field>, top: boolean) => (to: Encoder, value: unknown): void => {
  const values = object(value)
  const { path } = to
  let at = 0
  try {
    for (let i = 0; i < fields.length; i++) {
      const { name, node, derived } = fields[i]!
      at = i
      if (derived !== undefined) {
        at = derived.source
        const count = derived.of(values[fields[at]!.name])
        at = i
        derived.integer.write(to, count)
      } else if (top) {
        to.construct(node, values[name])
      } else {
        if (node.pointers) to.path = { key: name, parent: path }
        node.write(to, values[name])
      }
    }
  } catch (error) {
    throw within(error, fields[at]!.name)
  }
  to.path = path
}

const fieldsReader = (fields: ReadonlyArray<Field>, top: boolean) => {
  const correlated = fields.some(({ linked }) => linked)
  return (from: Decoder): unknown => {
    const out: Record<string, unknown> = {}
    const links: Array<Link> | undefined = correlated ? fields.map(makeLink) : undefined
    const { path } = from
    let i = 0
    try {
      for (; i < fields.length; i++) {
        const { name, node, derived, linked } = fields[i]!
        const link = linked ? links![i] : undefined
        if (derived !== undefined) {
          const described = links![derived.source]!
          described[derived.what] = derived.integer.read(from)
          verify(described)
        } else if (top) {
          from.construct(node, out, name, link)
        } else {
          if (node.pointers) from.path = { key: name, parent: path }
          readPart(from, node, out, name, link)
        }
      }
    } catch (error) {
      throw within(error, fields[i]!.name)
    }
    from.path = path
    return out
  }
}

/** What a field derives from another, through the pointers of that field; nothing of what is null. */
const sourceOf = (node: Node, what: Derived["what"]): Derived["of"] | undefined => {
  if (node.pointer === undefined) {
    return what === "switch" ? node.discriminant : node.counts?.[what]
  }
  const { optional, target } = node.pointer
  const of = sourceOf(target!, what)
  if (of === undefined || !optional) return of && (target!.pointer === undefined ? (value) => of(referent(value)) : of)
  return what === "switch" ? undefined : (value) => value == null ? 0 : of(value)
}

/** The type of a union's discriminant, through the pointers to the union. */
const discriminantOf = (ast: SchemaAST.AST): SchemaAST.AST => {
  const representation = representationOf(ast)
  if (representation?._tag === "Pointer") return discriminantOf(representation.target)
  return representation?._tag === "Union" ? representation.discriminant : refuseDefinition("its field is not a union")
}

const labelNumber = (integer: Integer, label: string | number): number =>
  integer.isLabel(label)
    ? integer.numberOf(label)
    : refuseDefinition(`the label ${show(label)} is not in the enumeration of its discriminant`)

const readPart = (from: Decoder, node: Node, target: any, key: string | number, link: Link | undefined): void => {
  if (node.pointer !== undefined) return node.readInto(from, target, key, link)
  target[key] = node.read(from)
  if (link !== undefined) from.note(link)
}

// ----------------------------------------------------------------------------
// values
// ----------------------------------------------------------------------------

const show = (value: unknown): string => {
  const text = typeof value === "string"
    ? JSON.stringify(value)
    : typeof value === "object"
    ? "an object"
    : String(value)
  return text.length > 60 ? `${text.slice(0, 60)}...` : text
}

const refuseValue = (value: unknown, expected: string): never => {
  throw new Refusal(status.badStubData, `${value === null ? "null" : show(value)} is not ${expected}`)
}

const object = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null ? value as Record<string, unknown> : refuseValue(value, "an object")

const referent = (value: unknown): unknown => {
  if (value == null) throw new Refusal(status.nullReference, "a reference pointer can't be null")
  return value
}

// ----------------------------------------------------------------------------
// scalars
// ----------------------------------------------------------------------------

interface ScalarCodec {
  readonly size: 1 | 2 | 4 | 8
  readonly write: (to: Encoder, value: unknown) => void
  readonly read: (from: Decoder) => unknown
}

const scalar = (
  size: 1 | 2 | 4 | 8,
  expected: string,
  is: (value: any) => boolean,
  put: (view: DataView, at: number, value: any, littleEndian: boolean) => void,
  get: (view: DataView, at: number, littleEndian: boolean) => unknown
): ScalarCodec => ({
  size,
  write: (to, value) => {
    if (!is(value)) refuseValue(value, expected)
    const at = to.slot(size)
    put(to.view, at, value, to.littleEndian)
  },
  read: (from) => {
    const at = from.slot(size)
    return get(from.buffer, from.offset + at, from.littleEndian)
  }
})

const isNumber = (value: unknown): value is number => typeof value === "number"
const character = (max: number) => (value: unknown): boolean =>
  typeof value === "string" && value.length === 1 && value.charCodeAt(0) <= max

const scalars: { readonly [S in Scalar]: ScalarCodec } = {
  Boolean: scalar(
    1,
    "a boolean",
    (value) => typeof value === "boolean",
    (view, at, value) => view.setUint8(at, value ? 1 : 0),
    (view, at) => view.getUint8(at) !== 0
  ),
  Char: scalar(
    1,
    "a character from U+0000 to U+00FF",
    character(0xff),
    (view, at, value) => view.setUint8(at, value.charCodeAt(0)),
    (view, at) => String.fromCharCode(view.getUint8(at))
  ),
  WChar: scalar(
    2,
    "one UTF-16 code unit",
    character(0xffff),
    (view, at, value, littleEndian) => view.setUint16(at, value.charCodeAt(0), littleEndian),
    (view, at, littleEndian) => String.fromCharCode(view.getUint16(at, littleEndian))
  ),
  Int8: scalar(
    1,
    "an integer from -128 to 127",
    (value) => isNumber(value) && (value << 24) >> 24 === value,
    (view, at, value) => view.setInt8(at, value),
    (view, at) => view.getInt8(at)
  ),
  Uint8: scalar(
    1,
    "an integer from 0 to 255",
    (value) => isNumber(value) && (value & 0xff) === value,
    (view, at, value) => view.setUint8(at, value),
    (view, at) => view.getUint8(at)
  ),
  Int16: scalar(
    2,
    "an integer from -32768 to 32767",
    (value) => isNumber(value) && (value << 16) >> 16 === value,
    (view, at, value, littleEndian) => view.setInt16(at, value, littleEndian),
    (view, at, littleEndian) => view.getInt16(at, littleEndian)
  ),
  Uint16: scalar(
    2,
    "an integer from 0 to 65535",
    (value) => isNumber(value) && (value & 0xffff) === value,
    (view, at, value, littleEndian) => view.setUint16(at, value, littleEndian),
    (view, at, littleEndian) => view.getUint16(at, littleEndian)
  ),
  Int32: scalar(
    4,
    "a signed 32-bit integer",
    (value) => isNumber(value) && (value | 0) === value,
    (view, at, value, littleEndian) => view.setInt32(at, value, littleEndian),
    (view, at, littleEndian) => view.getInt32(at, littleEndian)
  ),
  Uint32: scalar(
    4,
    "an unsigned 32-bit integer",
    (value) => isNumber(value) && value >>> 0 === value,
    (view, at, value, littleEndian) => view.setUint32(at, value, littleEndian),
    (view, at, littleEndian) => view.getUint32(at, littleEndian)
  ),
  Int64: scalar(
    8,
    "a signed 64-bit bigint",
    (value) => typeof value === "bigint" && BigInt.asIntN(64, value) === value,
    (view, at, value, littleEndian) => view.setBigInt64(at, value, littleEndian),
    (view, at, littleEndian) => view.getBigInt64(at, littleEndian)
  ),
  Uint64: scalar(
    8,
    "an unsigned 64-bit bigint",
    (value) => typeof value === "bigint" && BigInt.asUintN(64, value) === value,
    (view, at, value, littleEndian) => view.setBigUint64(at, value, littleEndian),
    (view, at, littleEndian) => view.getBigUint64(at, littleEndian)
  ),
  Float: scalar(
    4,
    "a number in the range of a float",
    (value) => isNumber(value) && (Number.isFinite(Math.fround(value)) || !Number.isFinite(value)),
    (view, at, value, littleEndian) => view.setFloat32(at, value, littleEndian),
    (view, at, littleEndian) => view.getFloat32(at, littleEndian)
  ),
  Double: scalar(
    8,
    "a number",
    isNumber,
    (view, at, value, littleEndian) => view.setFloat64(at, value, littleEndian),
    (view, at, littleEndian) => view.getFloat64(at, littleEndian)
  )
}

const integers: ReadonlySet<Scalar> = new Set(["Int8", "Uint8", "Int16", "Uint16", "Int32", "Uint32"])

const scalarNode = (name: Scalar): Partial<Node> => {
  const { size, write, read } = scalars[name]
  return {
    align: size,
    minimum: size,
    extent: size,
    write,
    read,
    integer: integers.has(name)
      ? {
        write,
        read: read as (from: Decoder) => number,
        numberOf: (value) => value as number,
        valueOf: (number) => number,
        isLabel: () => true
      }
      : undefined
  }
}

/** The largest number that an enumeration of a size takes on the wire. */
export const largestOfEnum = { 2: 0x7fff, 4: 0xffffffff } as const

const enumNode = (size: 2 | 4, numbers: ReadonlyMap<string | number, number>): Partial<Node> => {
  const { write, read } = scalars[size === 2 ? "Uint16" : "Uint32"]
  const values = new Map([...numbers].map(([value, number]) => [number >>> 0, value]))
  const largest = largestOfEnum[size]
  const refuse = (value: unknown): never => {
    throw new Refusal(status.enumRange, `${show(value)} is not in the enumeration, nor a number up to ${largest}`)
  }
  const integer: Integer = {
    write,
    read: read as (from: Decoder) => number,
    numberOf: (value) => {
      const number = numbers.get(value as string | number)
      if (number !== undefined) return number >>> 0
      return isNumber(value) && value >>> 0 === value && value <= largest ? value : refuse(value)
    },
    // A later version of the peer may know more numbers.
    valueOf: (number) => values.get(number) ?? (number > largest ? refuse(number) : number),
    isLabel: (label) => numbers.has(label)
  }
  return {
    align: size,
    minimum: size,
    extent: size,
    integer,
    write: (to, value) => integer.write(to, integer.numberOf(value)),
    read: (from) => integer.valueOf(integer.read(from))
  }
}

// ----------------------------------------------------------------------------
// UUIDs
// ----------------------------------------------------------------------------

const writeUuid = (to: Encoder, value: unknown): void => {
  const uuid = typeof value === "string" ? Uuid.canonical(value) : undefined
  if (uuid === undefined) return refuseValue(value, "a UUID")
  to.align(4)
  to.reserve(16)
  Uuid.write(to.bytes, to.position, uuid, to.littleEndian)
  to.position += 16
}

const readUuid = (from: Decoder): string => {
  from.align(4)
  from.require(1, 16)
  from.position += 16
  return Uuid.read(from.bytes, from.position - 16, from.littleEndian)
}

// ----------------------------------------------------------------------------
// context handles
// ----------------------------------------------------------------------------

const writeHandle = (to: Encoder, value: unknown): void => {
  if (value !== null && !(value instanceof Handle)) return refuseValue(value, "a context handle")
  const { attributes, uuid } = partsOf(value)
  to.uint32(attributes)
  writeUuid(to, uuid)
}

const handleReader = (type: string) => (from: Decoder): unknown => fromParts(type, from.uint32(), readUuid(from))

// ----------------------------------------------------------------------------
// arrays
// ----------------------------------------------------------------------------

/** What all arrays have in common. A hoisted count is no part of what it stands before, so it does not align it. */
const countedNode = (
  { conformant, varying, bound }: Shape,
  align: number,
  minimum: number,
  of: Count
): Partial<Node> => ({
  align: varying ? Math.max(align, 4) : align,
  minimum: varying ? 8 : conformant ? 0 : minimum * bound!,
  values: 1,
  maxCount: conformant ? of : undefined,
  counts: { size: conformant ? of : undefined, length: varying ? of : undefined }
})

/** Writes the counts that stand with the elements. */
const writeCounts = (to: Encoder, { varying, bound }: Shape, count: number): void => {
  if (bound !== undefined && (varying ? count > bound : count !== bound)) {
    throw new Refusal(status.invalidBound, `${count} elements, and the bound is ${bound}`)
  }
  if (varying) {
    to.uint32(0)
    to.uint32(count)
  }
}

/** Reads the counts that stand with the elements, and gives the number of elements. */
const readCounts = (from: Decoder, { conformant, varying, bound }: Shape): number => {
  const max = conformant ? from.hoisted : bound
  if (!varying) return max!
  const offset = from.uint32()
  const actual = from.uint32()
  if (offset !== 0) {
    throw new Refusal(status.invalidBound, `the elements start at offset ${offset}: only offset 0 is supported`)
  }
  if (max !== undefined && actual > max) {
    throw new Refusal(status.invalidBound, `${actual} elements, and the bound is ${max}`)
  }
  return actual
}

const noteCounts = (from: Decoder, max: number, actual: number): void => {
  from.maxCount = max
  from.actualCount = actual
}

const arrayExtent = (element: Node, count: number): Node["extent"] => {
  const { align, extent } = element
  if (typeof extent !== "number") return (cursor) => pass(element, count, cursor)
  return count === 0 ? 0 : (count - 1) * ((extent + align - 1) & -align) + extent
}

const arrayNode = (shape: Shape, element: Node): Partial<Node> => {
  const elements = (value: unknown): ReadonlyArray<unknown> =>
    Array.isArray(value) ? value : refuseValue(value, "an array")
  const isFixed = !shape.conformant && !shape.varying
  return {
    ...countedNode(shape, element.align, element.minimum, (value) => elements(value).length),
    values: isFixed ? Math.max(1, shape.bound! * element.values) : 1,
    extent: isFixed ? arrayExtent(element, shape.bound!) : 0,
    pointers: element.pointers,
    write: (to, value) => {
      const all = elements(value)
      writeCounts(to, shape, all.length)
      const { path } = to
      let i = 0
      try {
        for (; i < all.length; i++) {
          if (element.pointers) to.path = { key: i, parent: path }
          element.write(to, all[i])
        }
      } catch (error) {
        throw within(error, i)
      }
      to.path = path
    },
    read: (from) => {
      const max = from.hoisted
      const count = readCounts(from, shape)
      from.require(count, element.minimum)
      // The elements of a fixed array were counted with what holds it.
      if (!isFixed) from.charge(count * element.values)
      const { path } = from
      const out: Array<unknown> = []
      let i = 0
      try {
        for (; i < count; i++) {
          if (element.pointers) from.path = { key: i, parent: path }
          readPart(from, element, out, i, undefined)
        }
      } catch (error) {
        throw within(error, i)
      }
      from.path = path
      noteCounts(from, max, count)
      return out
    }
  }
}

/** An array of which a part travels: `{ size, elements }`. */
const sizedArrayNode = (element: Node): Partial<Node> => {
  const { write, read, ...array } = arrayNode({ conformant: true, varying: true, bound: undefined }, element)
  const lengthOf: Count = (value) => {
    const { elements } = object(value)
    return Array.isArray(elements) ? elements.length : refuseValue(elements, "an array")
  }
  const sizeOf: Count = (value) => {
    const { size } = object(value)
    const length = lengthOf(value)
    if (isNumber(size) && size >>> 0 === size && size >= length) return size
    throw new Refusal(status.invalidBound, `${length} elements, and the size is ${show(size)}`)
  }
  return {
    ...array,
    maxCount: sizeOf,
    counts: { size: sizeOf, length: lengthOf },
    write: (to, value) => {
      const { path } = to
      if (element.pointers) to.path = { key: "elements", parent: path }
      try {
        write!(to, value.elements)
      } catch (error) {
        throw within(error, "elements")
      }
      to.path = path
    },
    read: (from) => {
      const { hoisted: size, path } = from
      if (element.pointers) from.path = { key: "elements", parent: path }
      try {
        return { size, elements: read!(from) }
      } catch (error) {
        throw within(error, "elements")
      } finally {
        from.path = path
      }
    }
  }
}

const bytesNode = (shape: Shape): Partial<Node> => {
  const bytes = (value: unknown): Uint8Array => value instanceof Uint8Array ? value : refuseValue(value, "a Uint8Array")
  return {
    ...countedNode(shape, 1, 1, (value) => bytes(value).length),
    extent: shape.bound ?? 0,
    write: (to, value) => {
      const all = bytes(value)
      writeCounts(to, shape, all.length)
      to.reserve(all.length)
      to.bytes.set(all, to.position)
      to.position += all.length
    },
    read: (from) => {
      const max = from.hoisted
      const count = readCounts(from, shape)
      from.require(count, 1)
      const at = from.position
      from.position = at + count
      noteCounts(from, max, count)
      return from.owned ? compact(from.bytes.subarray(at, at + count)) : from.bytes.slice(at, at + count)
    }
  }
}

// ----------------------------------------------------------------------------
// strings
// ----------------------------------------------------------------------------

const stringNode = (wide: boolean, bound: number | undefined): Partial<Node> => {
  const shape: Shape = { conformant: bound === undefined, varying: true, bound }
  const unit = wide ? 2 : 1
  const text = (value: unknown): string => typeof value === "string" ? value : refuseValue(value, "a string")
  return {
    ...countedNode(shape, unit, unit, (value) => text(value).length + 1),
    write: (to, value) => {
      const string = text(value)
      writeCounts(to, shape, string.length + 1)
      to.reserve((string.length + 1) * unit)
      to.position = wide
        ? writeWide(string, to.bytes, to.position, to.littleEndian)
        : writeNarrow(string, to.bytes, to.position)
    },
    read: (from) => {
      const max = from.hoisted
      const count = readCounts(from, shape)
      from.require(count, unit)
      const at = from.position
      const end = at + count * unit
      if (count === 0 || from.bytes[end - 1] !== 0 || from.bytes[end - unit] !== 0) {
        throw new Refusal(status.invalidBound, "a string does not end in NUL")
      }
      from.position = end
      noteCounts(from, max, count)
      return readText(from.bytes, at, count - 1, wide, from.littleEndian)
    }
  }
}
