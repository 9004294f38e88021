/**
 * The NDR representation that a schema carries as an annotation, and the compiler that makes a writer and a reader of it.
 */
import type * as SchemaAST from "effect/SchemaAST"
import { declaredIn, fromParts, Handle, partsOf } from "../../internal/handleSchema.ts"
import { named } from "../../internal/named.ts"
import { extentOf } from "./ndrExtent.ts"
import {
  complete,
  type Count,
  type Decoder,
  type Encoder,
  type Integer,
  type Link,
  makeLink,
  makeMakeup,
  makeNode,
  type Makeup,
  type Node,
  type Pointer,
  receiver,
  verify,
  within
} from "./ndrStream.ts"
import { readUuid, writeUuid } from "./ndrUuid.ts"
import { object, referent, refuseBound, refuseDefinition, refusePointerToNull, refuseValue } from "./ndrValues.ts"

// ----------------------------------------------------------------------------
// representations
// ----------------------------------------------------------------------------

/** How the values of a schema travel: each kind makes its own node, so that bundlers drop the kinds that nobody uses. */
export interface Representation {
  /** Whether values flow through pipes: they travel without counts and without anything that follows them. */
  readonly flows: boolean
  /** Makes the node. */
  readonly make: (compiler: Compiler, ast: SchemaAST.AST) => Partial<Node>
  /** The types that it is made of, other than the fields of a structure. */
  readonly parts?: ReadonlyArray<SchemaAST.AST>
  /** For a pointer: its kind and its target. */
  readonly pointer?: { readonly kind: PointerKind; readonly target: SchemaAST.AST }
  /** For a field that others determine. */
  readonly derived?: DerivedFrom
  /** For a union: the type of its discriminant. */
  readonly discriminant?: SchemaAST.AST
  /** For an enumeration: whether its values are names. */
  readonly named?: boolean
  /** For what may have a range. */
  readonly bounded?: Bounded
  /** What it is, as data, for those who describe interfaces. Missing for structures, pointers and derived fields. */
  readonly form?: Form
}

/** A kind of representation, and what it was made of. */
export type Form =
  | readonly [kind: "scalar", name: ScalarName]
  | readonly [kind: "enum", size: 2 | 4, numbers: ReadonlyMap<string | number, number>]
  | readonly [kind: "string", wide: boolean, shape: Shape]
  | readonly [kind: "text", shape: Shape]
  | readonly [kind: "counted", wide: boolean]
  | readonly [kind: "bytes", shape: Shape]
  | readonly [kind: "array", element: SchemaAST.AST, shape: Shape]
  | readonly [kind: "sized", of: SchemaAST.AST]
  | readonly [kind: "range", of: SchemaAST.AST, minimum: number | bigint, maximum: number | bigint]
  | readonly [
    kind: "union",
    discriminant: SchemaAST.AST,
    arms: ReadonlyArray<{ readonly label: string | number | undefined; readonly type: SchemaAST.AST }>,
    aligned: boolean
  ]

/** The names of the scalars. */
export type ScalarName =
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
  | "Uuid"

/** Which counts an array has on the wire, and what the definition says of them. */
export interface Shape {
  readonly conformant: boolean
  readonly varying: boolean
  /** The number of elements, or the most of them where the array is varying. */
  readonly bound: number | undefined
}

/** The three kinds of pointers. */
export type PointerKind = "ref" | "unique" | "full"

/** What a field says of which others, and by which type; a count is multiplied by the unit. */
export interface DerivedFrom {
  readonly what: "size" | "length" | "switch"
  readonly fields: ReadonlyArray<string>
  readonly type: SchemaAST.AST | undefined
  readonly unit: number
}

/** What the range of a type bounds, and that of a value; a string has `more` elements than characters. */
export interface Bounded {
  readonly by: "value" | "name" | "length" | "size"
  readonly more?: number
  readonly of: (value: unknown) => number | bigint
}

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

/** The representation that a schema carries itself. */
export const annotationIn = (ast: SchemaAST.AST): Annotation | undefined => {
  // Annotations stand on the last check where there is one; the latest is the outermost.
  for (const check of (ast.checks ?? []).toReversed()) {
    const found = check.annotations?.[annotationKey]
    if (found !== undefined) return found as Annotation
  }
  const handle = declaredIn(ast)
  if (handle !== undefined) return { representation: contextHandle(handle.type), checks: 0 }
  return ast.annotations?.[annotationKey] as Annotation | undefined
}

/** The encoded side of a schema that transforms; `undefined` for one that travels as it is. */
export const encodedSideOf = (ast: SchemaAST.AST): SchemaAST.AST | undefined => {
  if (ast.encoding === undefined) return undefined
  // A reference pointer to a schema that transforms: its target transforms, not the pointer.
  if (annotationIn(ast)?.representation.pointer?.target.encoding === ast.encoding) return undefined
  return ast.encoding[ast.encoding.length - 1]!.to
}

/** What a schema travels as. It tells of each transformation on the way. */
export const wireOf = (ast: SchemaAST.AST, transforms?: () => void): SchemaAST.AST => {
  const encoded = encodedSideOf(ast)
  if (encoded !== undefined) {
    transforms?.()
    return wireOf(encoded, transforms)
  }
  return ast._tag === "Suspend" && annotationIn(ast) === undefined ? wireOf(ast.thunk(), transforms) : ast
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

/**
 * Compiles the parameters of one direction of a method, which have an NDR form. Throws a `TypeError` for a definition that NDR does
 * not have.
 */
export const compile = (ast: SchemaAST.AST): Program => compileWith(new Compiler(false), ast)

/** Compiles what flows through a pipe of that name, as the one field of a structure. */
export const compileElement = (ast: SchemaAST.AST, pipe: string): Program => compileWith(new Compiler(true), ast, pipe)

const compileWith = (compiler: Compiler, ast: SchemaAST.AST, pipe?: string): Program => {
  try {
    return compiler.program(ast)
  } catch (error) {
    if (error instanceof TypeError) {
      const path = pipe === undefined ? compiler.path : [pipe, ...compiler.path.slice(1)]
      error.message = named(`NDR, ${formatPath(path) || "as a whole"}: ${error.message}.`, "InvalidArgument")
    }
    throw error
  }
}

/** Writes a path as a program would: `info.names[2]`. Of a long one the middle is left out. */
export const formatPath = (path: ReadonlyArray<string | number>): string => {
  const steps = path.length > 64 ? [...path.slice(0, 16), `(${path.length - 32} more)`, ...path.slice(-16)] : path
  return steps.map((key, i) => typeof key === "number" ? `[${key}]` : i === 0 ? key : `.${key}`).join("")
}

/** The target of a reference pointer that takes no place. */
const required = (node: Node): Node => ({
  ...node,
  maxCount: node.maxCount && ((value) => node.maxCount!(referent(value))),
  counts: node.counts && { size: throughReferent(node.counts.size), length: throughReferent(node.counts.length) },
  write: (to, value) => node.write(to, referent(value))
})

const throughReferent = (count: Count | undefined): Count | undefined => count && ((value) => count(referent(value)))

/** The nodes of schemas, which all methods of a program share. */
const nodes = new WeakMap<SchemaAST.AST, Node>()

/** Gathers what a node and its parts do. */
const gather = (root: Makeup): Makeup => {
  const found = makeMakeup()
  const all = new Set([root])
  for (const makeup of all) {
    found.transforms ||= makeup.transforms
    found.shares ||= makeup.shares
    for (const part of makeup.parts) all.add(part)
  }
  return found
}

/** Compiles the schemas of one program. */
export class Compiler {
  readonly path: Array<string> = []
  private readonly made = new Map<SchemaAST.AST, Node>()
  // What pointers point to is compiled when the construct that holds them is, so that types may be recursive; then
  // derived fields find what they are derived from.
  private readonly targets: Array<() => void> = []
  private readonly derivations: Array<() => void> = []
  /** That of the node in the making. */
  private makeup = makeMakeup()
  private readonly inPipe: boolean

  constructor(inPipe: boolean) {
    this.inPipe = inPipe
  }

  program(ast: SchemaAST.AST): Program {
    const { makeup } = this
    const { minimum, node, read, write } = this.parameters(ast)
    // Elements of no size would let four bytes announce any number of them.
    if (this.inPipe && minimum === 0) refuseDefinition("the elements of a pipe take at least one byte")
    for (let i = 0; i < this.targets.length; i++) this.targets[i]!()
    for (const derive of this.derivations) derive()
    const { shares, transforms } = gather(makeup)
    if (transforms && shares) {
      return refuseDefinition("full pointers can't be among schemas that transform or check, which copy the objects")
    }
    // Those for pipes were held against more rules, and others against fewer.
    if (!this.inPipe) { for (const [ast, node] of this.made) nodes.set(ast, node) }
    return { write, read, minimum, node, transforms }
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
    return wireOf(ast, () => {
      this.makeup.transforms = true
    })
  }

  /** Keeps a step for later, which then fails under the path of now and adds to the node of now. */
  private later(steps: Array<() => void>, step: () => void): void {
    const path = [...this.path]
    const { makeup } = this
    steps.push(() => {
      this.path.splice(0, Infinity, ...path)
      this.makeup = makeup
      step()
      this.path.length = 0
    })
  }

  /** Compiles the target of a pointer, when the construct around the pointer is ready. */
  behind(ast: SchemaAST.AST, use: (target: Node) => void): void {
    this.later(this.targets, () => use(this.node(ast)))
  }

  /** Notes that full pointers share objects. */
  shares(): void {
    this.makeup.shares = true
  }

  /** A parameter: a reference pointer takes no place there. */
  private parameter(ast: SchemaAST.AST): Node {
    const annotation = annotationIn(ast)
    const pointer = annotation?.representation.pointer
    if (this.inPipe) {
      // No parameter, and so no reference pointer that takes no place, is an element of a pipe.
      const node = this.whole(ast)
      return node.inArray ?? node
    }
    if (pointer?.kind !== "ref") return this.whole(ast)
    this.noteChecks(ast, annotation)
    const target = this.parameter(this.encodedSide(pointer.target))
    return target.nested === undefined ? required(target) : target
  }

  private noteChecks(ast: SchemaAST.AST, annotation: Annotation | undefined): void {
    if ((ast.checks?.length ?? 0) > (annotation?.checks ?? 0)) this.makeup.transforms = true
  }

  /** The node of a schema, which may be in the making: only a pointer may take it before it is ready. */
  private node(outer: SchemaAST.AST): Node {
    const ast = this.encodedSide(outer)
    const node = this.made.get(ast) ?? (this.inPipe ? undefined : nodes.get(ast)) ?? this.make(ast)
    this.makeup.parts.push(node.makeup)
    return node
  }

  private make(ast: SchemaAST.AST): Node {
    const node = makeNode()
    this.made.set(ast, node)
    const annotation = annotationIn(ast)
    const representation = annotation?.representation ?? structure
    if (this.inPipe && !representation.flows) {
      refuseDefinition("pointers, strings, and conformant or varying arrays do not flow through pipes")
    }
    const { makeup } = this
    this.makeup = node.makeup
    this.noteChecks(ast, annotation)
    Object.assign(node, representation.make(this, ast), { ready: true, makeup: node.makeup })
    this.makeup = makeup
    return node
  }

  /** The node of what stands alone or at the end. */
  whole(ast: SchemaAST.AST): Node {
    return complete(this.node(ast))
  }

  /** The node of a part, which may not hold a conformant array: that is allowed at the end of a structure alone. */
  part(ast: SchemaAST.AST): Node {
    const node = this.whole(ast)
    if (node.maxCount !== undefined) {
      refuseDefinition("a conformant array stands at the end of a structure or behind a pointer")
    }
    return node
  }

  /** The node of an array's elements. */
  element(ast: SchemaAST.AST): Node {
    const element = this.part(ast)
    if (element.minimum === 0) refuseDefinition("the elements of an array take at least one byte")
    return element.inArray ?? element
  }

  struct(ast: SchemaAST.AST): Partial<Node> {
    if (ast._tag !== "Objects") return refuseDefinition("it is not a structure")
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
    if (top) this.noteChecks(ast, annotationIn(ast))

    const properties = ast.propertySignatures.map(({ name, type }) => (
      { name: name as string, type, derived: representationOf(type)?.derived }
    ))
    const fields = properties.map(({ name, type, derived }, i): Field => {
      if (derived !== undefined) return { name, type, node: makeNode(), derived: undefined, linked: false }
      return this.at(name, () => {
        if (name === "__proto__") refuseDefinition("a field can't have this name")
        const node = top
          ? this.parameter(this.encodedSide(type))
          : i === properties.length - 1
          ? this.whole(type)
          : this.part(type)
        return { name, type, node, derived: undefined, linked: false }
      })
    })
    for (const [i, { name, derived }] of properties.entries()) {
      if (derived !== undefined) fields[i] = this.at(name, () => this.derived(fields[i]!, derived, fields, top))
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
    { fields: names, type, unit, what }: DerivedFrom,
    fields: Array<Field>,
    top: boolean
  ): Field {
    const sources = names.map((name): Source => {
      const index = fields.findIndex((candidate) => candidate.name === name && candidate.node.ready)
      if (index < 0) return refuseDefinition(`there is no field ${JSON.stringify(name)}`)
      const described = fields[index] = { ...fields[index]!, linked: true }
      const source: Source = { index, what, of: () => null }
      this.later(this.derivations, () => {
        let of = sourceOf(described.node, what)
        // Beside an array with that size, it is the length of one that has no size.
        if (of === undefined && what === "size" && names.length > 1) {
          of = sourceOf(described.node, "length")
          source.what = "length"
        }
        source.of = of ?? refuseDefinition(`the field ${JSON.stringify(name)} has no ${what} on the wire`)
      })
      return source
    })
    const outer = type ?? discriminantOf(fields[sources[0]!.index]!.type)
    const node = top ? this.parameter(this.encodedSide(outer)) : this.part(outer)
    const derived: Derived = { what, unit, sources, integer: undefined }
    this.later(this.derivations, () => {
      derived.integer = (node.pointer?.target ?? node).integer
      if (derived.integer === undefined) refuseDefinition("its type is not an integer of at most 32 bits")
    })
    return { ...self, node: node.pointer === undefined ? node : countPointer(node, node.pointer), derived }
  }

  /** Compiles something under a key, which the message of a refusal then names. */
  at<A>(key: string, make: () => A): A {
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
  readonly unit: number
  readonly sources: ReadonlyArray<Source>
  /** Known once everything is compiled. */
  integer: Integer | undefined
}

/** A field that another is derived from. */
interface Source {
  readonly index: number
  what: Derived["what"]
  of: Count
}

interface Fields {
  readonly all: ReadonlyArray<Field>
  readonly align: number
  readonly minimum: number
  readonly values: number
  readonly write: (to: Encoder, value: unknown) => void
  readonly read: (from: Decoder) => unknown
}

/** A pointer to a count: what it points to is not stored before it is read. */
const countPointer = (node: Node, pointer: Pointer): Node => ({
  ...node,
  readInto: (from, out, key, link) => {
    if (!pointer.read(from, out, key, link, false)) out[key] = null
  }
})

const fieldsWriter = (fields: ReadonlyArray<Field>, top: boolean) => (to: Encoder, value: unknown): void => {
  const values = object(value)
  const { path } = to
  let at = 0
  const countOf = ({ sources, what }: Derived): number | null => {
    const self = at
    let count: number | null = null
    for (const { index, of } of sources) {
      at = index
      const next = of(values[fields[index]!.name])
      if (next !== null && count !== null && next !== count) {
        refuseBound(`the ${what} is ${next}, and that of a field beside it is ${count}`)
      }
      count = next ?? count
    }
    at = self
    return count
  }
  try {
    for (let i = 0; i < fields.length; i++) {
      const { name, node, derived } = fields[i]!
      at = i
      if (derived === undefined) {
        if (top) to.construct(node, values[name])
        else {
          if (node.pointers) to.path = { key: name, parent: path }
          node.write(to, values[name])
        }
        continue
      }
      const count = countOf(derived)
      const number = (count ?? 0) * derived.unit
      if (node.pointer === undefined) {
        derived.integer!.write(to, number)
        continue
      }
      const target = count === null ? null : derived.integer!.valueOf(number)
      if (node.pointers) to.path = { key: name, parent: path }
      if (top) to.construct(node, target)
      else node.write(to, target)
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
        if (derived !== undefined && node.pointer === undefined) {
          note(derived, links!, derived.integer!.read(from))
          continue
        }
        const link = linked ? links![i] : undefined
        const target = derived === undefined
          ? out
          : receiver(name, (value) => note(derived, links!, value === null ? null : derived.integer!.numberOf(value)))
        if (top) {
          from.construct(node, target, name, link)
        } else {
          if (node.pointers) from.path = { key: name, parent: path }
          from.part(node, target, name, link)
        }
      }
    } catch (error) {
      throw within(error, fields[i]!.name)
    }
    from.path = path
    return out
  }
}

/** Notes what a field says of others. */
const note = ({ sources, unit }: Derived, links: ReadonlyArray<Link>, number: number | null): void => {
  for (const { index, what } of sources) {
    const link = links[index]!
    const said = number === null ? null : Math.floor(number / unit)
    link[what] = link[what] === undefined || link[what] === said ? said : NaN
    verify(link)
  }
}

/** What a field derives from another, through the pointers of that field; nothing of what is null. */
const sourceOf = (node: Node, what: Derived["what"]): Count | undefined => {
  if (node.pointer === undefined) {
    return what === "switch" ? node.discriminant : node.counts?.[what]
  }
  const { optional, target } = node.pointer
  const of = sourceOf(target!, what)
  if (of === undefined || !optional) return of && (target!.nested === undefined ? (value) => of(referent(value)) : of)
  return what === "switch" ? undefined : (value) => value == null ? null : of(value)
}

/** The type of a union's discriminant, through the pointers to the union. */
const discriminantOf = (ast: SchemaAST.AST): SchemaAST.AST => {
  const representation = representationOf(ast)
  if (representation?.pointer !== undefined) return discriminantOf(representation.pointer.target)
  return representation?.discriminant ?? refuseDefinition("its field is not a union")
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

const contextHandle = (type: string): Representation => ({
  flows: true,
  make: () => {
    const node: Node = {
      ...makeNode(),
      ready: true,
      align: 4,
      minimum: 20,
      extent: 20,
      write: writeHandle,
      read: (from) => fromParts(type, from.uint32(), readUuid(from))
    }
    const nested: Node = { ...node, read: (from) => node.read(from) ?? refusePointerToNull() }
    return { ...node, nested }
  }
})

/** A structure, of `Ndr` or of Effect. */
export const structure: Representation = { flows: true, make: (compiler, ast) => compiler.struct(ast) }
