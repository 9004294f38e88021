/**
 * Makes the model of interfaces that a program holds as values: of modules, and of the library itself.
 */
import type * as SchemaAST from "effect/SchemaAST"
import { declaredIn } from "../../internal/handleSchema.ts"
import type * as Interface from "../../Interface.ts"
import { ndr20 } from "../../dcerpc/TransferSyntax.ts"
import { encodedSideOf, type Form, representationOf, type Shape } from "../../ndr/internal/ndrCodec.ts"
import type {
  ConstantName,
  Definition,
  Document,
  InterfaceModel,
  LeftOut,
  Member,
  Operation,
  Type
} from "./idlModel.ts"

/** The document of some interfaces. Types are named as they are exported, and else by where they stand first. */
export const fromInterfaces = (
  main: string,
  interfaces: ReadonlyArray<Interface.Interface.Any>,
  names: ReadonlyMap<SchemaAST.AST, string>
): Document => new Describer(main, names).document(interfaces)

class Describer {
  private readonly main: string
  private readonly names: ReadonlyMap<SchemaAST.AST, string>
  private readonly made: Map<SchemaAST.AST, string> = new Map()
  private readonly taken: Set<string>
  private readonly types: Array<Definition> = []
  private readonly handles: Set<string> = new Set()

  constructor(main: string, names: ReadonlyMap<SchemaAST.AST, string>) {
    this.main = main
    this.names = names
    this.taken = new Set(names.values())
  }

  document(interfaces: ReadonlyArray<Interface.Interface.Any>): Document {
    const models = interfaces.map((each) => this.interface(each))
    return {
      main: this.main,
      constants: [],
      handles: [...this.handles],
      types: this.types,
      skipped: [],
      lost: [],
      interfaces: models,
      objects: [],
      classes: [],
      missing: []
    }
  }

  private get place(): Definition["place"] {
    return { file: this.main, line: 1, column: 1 }
  }

  private interface({ name, operations: all, uuid, version }: Interface.Interface.Any): InterfaceModel {
    const operations: Array<Operation> = []
    const leftOut: Array<LeftOut> = []
    for (const { method, name, opnum } of Object.values(all).sort((a, b) => a.opnum - b.opnum)) {
      if (ndr20.codec(method, name) === undefined) {
        leftOut.push({
          name,
          opnum,
          reason: "not all of its types are of Ndr: call it from a program",
          form: formOf(method),
          place: this.place
        })
      } else {
        operations.push(this.operation(name, opnum, method))
      }
    }
    return {
      name,
      idlName: name,
      uuid,
      version,
      endpoints: [],
      operations,
      leftOut,
      unused: 0,
      comment: undefined,
      place: this.place
    }
  }

  private operation(name: string, opnum: number, method: Interface.Method.Any): Operation {
    const pipes = (elements: Interface.Method.Any["inPipe"]): Operation["inPipe"] =>
      Object.entries(elements).map(([pipe, element]) => ({
        name: pipe,
        element: "ast" in element ? this.type(element.ast, `${name}_${pipe}`) : undefined
      }))
    return {
      name,
      opnum,
      in: this.parameters(method.in.ast, name, "input"),
      out: this.parameters(method.out.ast, name, "output"),
      inPipe: pipes(method.inPipe),
      outPipe: pipes(method.outPipe),
      returns: undefined,
      idempotent: method.idempotent,
      maybe: method.maybe,
      comment: undefined,
      place: this.place
    }
  }

  private parameters(outer: SchemaAST.AST, method: string, alone: string): ReadonlyArray<Member> {
    const ast = travels(outer)
    if (ast._tag === "Void") return []
    return ast._tag === "Objects" && representationOf(ast) === undefined
      ? this.members(ast, method)
      : [{ name: alone, type: this.type(ast, `${method}_${alone}`), note: undefined }]
  }

  private members(ast: SchemaAST.Objects, owner: string): ReadonlyArray<Member> {
    return ast.propertySignatures.map(({ name, type }): Member => {
      const path = `${owner}_${String(name)}`
      const derived = representationOf(type)?.derived
      if (derived === undefined) return { name: String(name), type: this.type(type, path), note: undefined }
      const { fields, unit, what } = derived
      const of = derived.type === undefined ? undefined : this.type(derived.type, path)
      return { name: String(name), type: { _tag: "Derived", what, fields, type: of, unit }, note: undefined }
    })
  }

  private type(outer: SchemaAST.AST, path: string): Type {
    const ast = travels(outer)
    const handle = declaredIn(ast)
    if (handle !== undefined) {
      this.handles.add(handle.type)
      return { _tag: "Handle", name: handle.type, nullable: handle.nullable }
    }
    const { form, pointer } = representationOf(ast) ?? {}
    if (pointer !== undefined) return { _tag: "Pointer", kind: pointer.kind, target: this.type(pointer.target, path) }
    if (form === undefined || form[0] === "enum" || form[0] === "union") {
      return { _tag: "Reference", name: this.made.get(ast) ?? this.define(ast, form, path) }
    }
    return this.formed(form, path)
  }

  private formed(form: Exclude<Form, readonly ["enum" | "union", ...ReadonlyArray<unknown>]>, path: string): Type {
    switch (form[0]) {
      case "scalar":
        return constant(form[1])
      case "string":
        return text(form[1] ? "WString" : "String", form[1] ? "varyingWString" : "varyingString", form[2])
      case "text":
        return form[1].conformant
          ? constant(form[1].varying ? "VaryingWChars" : "WChars")
          : { _tag: "Bounded", name: form[1].varying ? "varyingWChars" : "fixedWChars", count: form[1].bound! }
      case "counted":
        return constant(form[1] ? "UnicodeString" : "CountedString")
      case "bytes":
        return form[1].conformant
          ? constant(form[1].varying ? "VaryingBytes" : "Bytes")
          : { _tag: "Bounded", name: form[1].varying ? "varyingBytes" : "fixedBytes", count: form[1].bound! }
      case "array":
        return arrayOf(this.type(form[1], path), form[2])
      case "sized":
        return sizedOf(this.type(form[1], path))
      case "range":
        return { _tag: "Range", type: this.type(form[1], path), minimum: Number(form[2]), maximum: Number(form[3]) }
    }
  }

  private define(ast: SchemaAST.AST, form: Form | undefined, path: string): string {
    const name = this.names.get(ast) ?? this.claim(path)
    this.made.set(ast, name)
    const definition = this.definition(ast, name, form)
    this.types.push(definition)
    return name
  }

  private definition(ast: SchemaAST.AST, name: string, form: Form | undefined): Definition {
    const common = { name, comment: undefined, place: this.place }
    if (form?.[0] === "enum") {
      const members = [...form[2]].map(([member, value]) => ({ name: String(member), value }))
      return { _tag: "Enum", size: form[1], members, ...common }
    }
    if (form?.[0] !== "union") {
      return { _tag: "Struct", fields: this.members(ast as SchemaAST.Objects, name), ...common }
    }
    const [, discriminant, arms, msUnion] = form
    return {
      _tag: "Union",
      discriminant: this.type(discriminant, `${name}_case`),
      arms: arms.map(({ label, type }) => ({
        label,
        type: type._tag === "Void" ? undefined : this.type(type, `${name}_${label ?? "default"}`)
      })),
      msUnion,
      ...common
    }
  }

  private claim(path: string): string {
    let name = path.replace(/\W/g, "_")
    while (this.taken.has(name)) name += "_"
    this.taken.add(name)
    return name
  }
}

const constant = (name: ConstantName): Type => ({ _tag: "Constant", name })

const text = (open: ConstantName, bounded: "varyingWString" | "varyingString", { bound }: Shape): Type =>
  bound === undefined ? constant(open) : { _tag: "Bounded", name: bounded, count: bound }

const arrayOf = (element: Type, { bound, conformant, varying }: Shape): Type =>
  conformant
    ? { _tag: "Open", name: varying ? "conformantVarying" : "conformant", element }
    : { _tag: varying ? "Varying" : "Fixed", element, count: bound ?? 0xffffffff }

const sizedConstants: { readonly [name: string]: ConstantName } = {
  WString: "SizedWString",
  String: "SizedString",
  VaryingBytes: "SizedVaryingBytes",
  VaryingWChars: "SizedVaryingWChars"
}

const sizedOf = (type: Type): Type =>
  type._tag === "Constant"
    ? constant(sizedConstants[type.name] ?? type.name)
    : type._tag === "Open"
    ? { ...type, name: "sizedVarying" }
    : type

/** What travels for a schema. */
const travels = (ast: SchemaAST.AST): SchemaAST.AST => {
  const encoded = encodedSideOf(ast)
  if (encoded !== undefined) return travels(encoded)
  return ast._tag === "Suspend" && representationOf(ast) === undefined ? travels(ast.thunk()) : ast
}

/** The schemas of a method without an NDR form, as text: they travel in the syntax of Callisto, by the names of their fields. */
const formOf = ({ in: input, inPipe, out, outPipe }: Interface.Method.Any): string => {
  const pipes = (direction: string, elements: Interface.Method.Any["inPipe"]): string =>
    Object.entries(elements)
      .map(([name, element]) => `, ${direction} ${name}: ${"ast" in element ? shown(element.ast) : "bytes"}`)
      .join("")
  return `in ${shown(input.ast)}, out ${shown(out.ast)}${pipes("in pipe", inPipe)}${pipes("out pipe", outPipe)}`
}

/** A schema as text. A schema within itself shows as the number of levels up to it. */
const shown = (outer: SchemaAST.AST, above: ReadonlyArray<SchemaAST.AST> = []): string => {
  let ast = outer
  while (ast.encoding !== undefined) ast = ast.encoding[ast.encoding.length - 1]!.to
  if (above.includes(ast)) return `^${above.length - above.indexOf(ast)}`
  const inside = [...above, ast]
  switch (ast._tag) {
    case "Suspend":
      return shown(ast.thunk(), inside)
    case "Objects":
      return `{ ${
        [
          ...ast.propertySignatures.map(({ name, type }) =>
            `${String(name)}${type.context?.isOptional ? "?" : ""}: ${shown(type, inside)}`
          ),
          ...ast.indexSignatures.map(({ parameter, type }) => `[${shown(parameter, inside)}]: ${shown(type, inside)}`)
        ].join(", ")
      } }`
    case "Arrays":
      return `[${[...ast.elements, ...ast.rest.map((type) => type)].map((type) => shown(type, inside)).join(", ")}${
        ast.rest.length > 0 ? "..." : ""
      }]`
    case "Union":
      return ast.types.map((type) => shown(type, inside)).join(" | ")
    case "Literal":
      return JSON.stringify(ast.literal, (_, value) => typeof value === "bigint" ? `${value}n` : value)
    case "Declaration": {
      const tag = (ast.annotations?.["typeConstructor"] as { readonly _tag?: string } | undefined)?._tag
      return [String(tag ?? "Declaration"), ...ast.typeParameters.map((type) => shown(type, inside))].join(" of ")
    }
    default:
      return ast._tag
  }
}
