/**
 * Prints the model as a TypeScript module.
 */
import { formatVersion } from "./idlIdentity.ts"
import type {
  Constant,
  Definition,
  Document,
  InterfaceModel,
  Member,
  ObjectInterface,
  Operation,
  Type
} from "./idlModel.ts"
import { referencesIn, typesIn, typesOf } from "./idlModel.ts"

/** The widest line that is kept in one piece. */
const width = 110

/** Prints a module: the same document gives the same text. */
export const printModule = (document: Document, version: string): string => {
  const printer = new Printer(document)
  const body = printer.body()
  return [header(document, version), ...printer.imports(body), "", body].join("\n")
}

const header = ({ interfaces, main, objects }: Document, version: string): string => {
  const names = interfaces.map((each) => `${each.idlName} ${formatVersion(each.version)}`)
  const what = names.length > 0 ? names.join(", ") : objects.length > 0 ? "Interfaces of objects" : "Types"
  return comment([
    `${what}, from ${baseName(main)}.`,
    "",
    `Written by callisto import ${version}. Do not edit it: import again.`
  ])
}

const baseName = (path: string): string => path.split(/[\\/]/).pop()!

const comment = (lines: ReadonlyArray<string>, indent = ""): string => {
  const safe = lines.map((line) => line.replaceAll("*/", "*\\/"))
  return safe.length === 1
    ? `${indent}/** ${safe[0]} */`
    : [`${indent}/**`, ...safe.map((line) => `${indent} *${line === "" ? "" : ` ${line}`}`), `${indent} */`].join("\n")
}

class Printer {
  private readonly document: Document
  private readonly printed: Set<string> = new Set()

  constructor(document: Document) {
    this.document = document
  }

  imports(body: string): ReadonlyArray<string> {
    const core = ["ContextHandle", "Interface", "Pipe"].filter((name) => new RegExp(`\\b${name}\\.`).test(body))
    const usesNdr = /\bNdr\./.test(body)
    const isSchemaValue = /\bSchema\.(?:Void|suspend)\b/.test(body)
    return [
      ...(core.length === 0 ? [] : [`import { ${core.join(", ")} } from "@callisto/rpc"`]),
      ...(usesNdr ? [`import * as Ndr from "@callisto/rpc/ndr/Ndr"`] : []),
      ...(/\bSchema\./.test(body) ? [`import ${isSchemaValue ? "" : "type "}{ Schema } from "effect"`] : [])
    ]
  }

  body(): string {
    const { classes, constants, handles, interfaces, objects, types } = this.document
    const enums = types.filter(({ _tag }) => _tag === "Enum")
    const others = types.filter(({ _tag }) => _tag !== "Enum")
    return [
      ...section("constants", constants.map(constant)),
      ...section("handles", handles.map(handle), "\n"),
      ...section("enumerations", enums.map((definition) => this.definition(definition)), "\n"),
      ...section("structures and unions", others.map((definition) => this.definition(definition)), "\n"),
      ...section(
        interfaces.length === 1 ? "the interface" : "interfaces",
        interfaces.map((each) => this.interface(each)),
        "\n"
      ),
      ...section("interfaces of objects", objects.map(object), "\n"),
      ...section(
        "classes",
        classes.map(({ kind, name, uuid }) => `/** \`${kind}\` */\nexport const ${name} = "${uuid}"`)
      )
    ].join("\n\n") + "\n"
  }

  // --------------------------------------------------------------------------
  // definitions
  // --------------------------------------------------------------------------

  private definition(definition: Definition): string {
    const text = this.declaration(definition)
    this.printed.add(definition.name)
    return text
  }

  private declaration(definition: Definition): string {
    const { name } = definition
    const codec = `export const ${name}: Schema.Codec<${name}> = `
    switch (definition._tag) {
      case "Enum": {
        const names = definition.members.map((member) => JSON.stringify(member.name))
        const form = definition.size === 2 ? "enum" : "[v1_enum] enum"
        const members = definition.members.map((member) => `${key(member.name)}: ${numeral(member.value)}`)
        return [
          documented(definition.comment, [`\`${form}\``]),
          `export type ${name} =${alternatives([...names, "number"])}`,
          `${codec}Ndr.enum${8 * definition.size}(${braces(members, codec.length + 12)})`
        ].join("\n")
      }
      case "Struct": {
        const fields = visible(definition.fields)
        return [
          documented(definition.comment, []),
          fields.length === 0
            ? `export interface ${name} {}`
            : `export interface ${name} {\n${fields.map((field) => this.property(field)).join("\n")}\n}`,
          `${codec}Ndr.struct(${this.members(definition.fields, codec.length + 12)})`
        ].filter((line) => line !== "").join("\n")
      }
      case "Union": {
        const { arms, discriminant, msUnion } = definition
        const rest = arms.find(({ label }) => label === undefined)
        const labelled = arms.filter(({ label }) => label !== undefined)
        const arm = (type: Type | undefined): string => type === undefined ? "Schema.Void" : this.schema(type)
        const options = [
          ...(rest === undefined ? [] : [`default: ${arm(rest.type)}`]),
          ...(msUnion ? ["msUnion: true"] : [])
        ]
        const cases = braces(labelled.map(({ label, type }) => `${key(`${label}`)}: ${arm(type)}`), codec.length + 30)
        return [
          documented(definition.comment, [
            `\`[switch_type(${this.typeScriptless(discriminant)})] union\`${
              rest?.type === undefined && rest ? ", with an empty default arm." : ""
            }`
          ]),
          `export type ${name} =${
            alternatives(arms.map(({ label, type }) => {
              const which = label === undefined ? "default: number | string" : `case: ${JSON.stringify(label)}`
              return `{ readonly ${which}${type === undefined ? "" : `; readonly value: ${this.typeScript(type)}`} }`
            }))
          }`,
          `${codec}Ndr.union(${this.schema(discriminant)}, ${cases}${
            options.length === 0 ? "" : `, { ${options.join(", ")} }`
          })`
        ].join("\n")
      }
    }
  }

  private typeScriptless(type: Type): string {
    return type._tag === "Reference" ? `enum ${type.name}` : type._tag === "Constant" ? type.name : this.schema(type)
  }

  private property({ name, note, type }: Member): string {
    const line = `  readonly ${key(name)}: ${this.typeScript(type)}`
    return note === undefined ? line : `${comment([`\`${note}\``], "  ")}\n${line}`
  }

  private members(members: ReadonlyArray<Member>, column: number, indent = ""): string {
    return braces(members.map(({ name, type }) => `${key(name)}: ${this.schema(type)}`), column, indent)
  }

  // --------------------------------------------------------------------------
  // types
  // --------------------------------------------------------------------------

  /** The expression that makes the schema. */
  private schema(type: Type): string {
    switch (type._tag) {
      case "Constant":
        return `Ndr.${type.name}`
      case "Bounded":
        return `Ndr.${type.name}(${type.count})`
      case "Fixed":
        return `Ndr.fixed(${this.schema(type.element)}, ${type.count})`
      case "Varying":
        return `Ndr.varying(${this.schema(type.element)}, ${type.count})`
      case "Open":
        return `Ndr.${type.name}(${this.schema(type.element)})`
      case "Pointer":
        return `Ndr.${type.kind}(${this.schema(type.target)})`
      case "Range":
        return `Ndr.range(${this.schema(type.type)}, ${type.minimum}, ${type.maximum})`
      case "Box":
        return `Ndr.struct({ value: ${this.schema(type.type)} })`
      case "Reference":
        return this.printed.has(type.name) ? type.name : `Schema.suspend(() => ${type.name})`
      case "Handle":
        return type.nullable ? `ContextHandle.nullable(${type.name})` : type.name
      case "Derived": {
        const names = type.fields.map((field) => JSON.stringify(field))
        const of = type.type && this.schema(type.type)
        const unit = type.unit === 1 ? undefined : `{ unit: ${type.unit} }`
        const rest = unit === undefined ? of === undefined ? [] : [of] : [of ?? "Ndr.Uint32", unit]
        return `Ndr.${type.what}Is(${[names.length === 1 ? names[0]! : `[${names.join(", ")}]`, ...rest].join(", ")})`
      }
    }
  }

  /** The type of its values. */
  private typeScript(type: Type): string {
    switch (type._tag) {
      case "Constant":
        return constantTypes[type.name] ?? "number"
      case "Bounded":
        return type.name.endsWith("Bytes") ? "Uint8Array" : "string"
      case "Fixed":
      case "Varying":
        return `ReadonlyArray<${this.typeScript(type.element)}>`
      case "Open":
        return type.name === "sizedVarying"
          ? `{ readonly size: number; readonly elements: ReadonlyArray<${this.typeScript(type.element)}> }`
          : `ReadonlyArray<${this.typeScript(type.element)}>`
      case "Pointer":
        return type.kind === "ref" ? this.typeScript(type.target) : `${this.typeScript(type.target)} | null`
      case "Range":
        return this.typeScript(type.type)
      case "Box":
        return `{ readonly value: ${this.typeScript(type.type)} }`
      case "Reference":
        return type.name
      case "Handle":
        return `ContextHandle.ContextHandle<${JSON.stringify(type.name)}>${type.nullable ? " | null" : ""}`
      case "Derived":
        return "never"
    }
  }

  // --------------------------------------------------------------------------
  // interfaces
  // --------------------------------------------------------------------------

  private interface(
    { comment: text, idlName, leftOut, name, operations, uuid, version, endpoints }: InterfaceModel
  ): string {
    const notes = [
      ...endpoints.map((endpoint) => `Endpoint: \`${endpoint}\``),
      ...leftOut.map(({ name, opnum, reason }) =>
        `Left out: ${name}${opnum === undefined ? "" : ` (${opnum})`}: ${reason}.`
      )
    ]
    return [
      ...(text === undefined && notes.length === 0 ? [] : [documented(text, notes)]),
      `export const ${name} = Interface.make(${JSON.stringify(idlName)}, {`,
      `  uuid: "${uuid}",`,
      `  version: [${version.join(", ")}],`,
      operations.length === 0
        ? "  methods: {}"
        : `  methods: {\n${operations.map((operation) => this.operation(operation)).join(",\n")}\n  }`,
      "})"
    ].join("\n")
  }

  private operation(operation: Operation): string {
    const { idempotent, maybe, name, opnum } = operation
    const pipes = (elements: Operation["inPipe"]): string =>
      `{ ${
        elements.map(({ element, name }) =>
          `${key(name)}: ${element === undefined ? "Pipe.bytes" : this.schema(element)}`
        ).join(", ")
      } }`
    const entries = [
      `opnum: ${opnum}`,
      ...(operation.in.length === 0 ? [] : [`in: ${this.members(operation.in, 10, "      ")}`]),
      ...(operation.out.length === 0 ? [] : [`out: ${this.members(operation.out, 11, "      ")}`]),
      ...(operation.inPipe.length === 0 ? [] : [`inPipe: ${pipes(operation.inPipe)}`]),
      ...(operation.outPipe.length === 0 ? [] : [`outPipe: ${pipes(operation.outPipe)}`]),
      ...(idempotent ? ["idempotent: true"] : []),
      ...(maybe ? ["maybe: true"] : [])
    ]
    const noted = new Map(operation.in.map(({ name, note }) => [name, note]))
    const notes = [
      ...notesOf("in", operation.in),
      ...notesOf("out", operation.out.filter(({ name, note }) => noted.get(name) !== note))
    ]
    const text = documented(operation.comment, notes, "    ")
    return `${text === "" ? "" : `${text}\n`}    ${key(name)}: Interface.method({\n${
      entries.map((entry) => `      ${entry}`).join(",\n")
    }\n    })`
  }
}

const notesOf = (direction: string, members: ReadonlyArray<Member>): ReadonlyArray<string> =>
  members.flatMap(({ name, note }) => note === undefined ? [] : [`\`[${direction}, ${note}] ${name}\``])

/** A comment of the IDL's own, and what the types do not show. */
const documented = (text: string | undefined, notes: ReadonlyArray<string>, indent = ""): string => {
  const own = text === undefined ? [] : text.split("\n").map((line) => line.trim())
  const lines = [...own, ...(own.length > 0 && notes.length > 0 ? [""] : []), ...notes]
  return lines.length === 0 ? "" : comment(lines, indent)
}

const visible = (members: ReadonlyArray<Member>): ReadonlyArray<Member> =>
  members.filter(({ type }) => type._tag !== "Derived")

const section = (title: string, parts: ReadonlyArray<string>, between = ""): ReadonlyArray<string> =>
  parts.length === 0 ? [] : [`// ---- ${title} ----`, parts.join(`\n${between}`)]

const constant = ({ comment: text, name, value }: Constant): string => {
  const literal = typeof value === "bigint"
    ? `${value}n`
    : typeof value === "string"
    ? JSON.stringify(value)
    : numeral(value)
  const documentation = documented(text, [])
  return `${documentation === "" ? "" : `${documentation}\n`}export const ${name} = ${literal}`
}

const handle = (name: string): string => {
  const type = JSON.stringify(name)
  return [
    `export type ${name} = ContextHandle.ContextHandle<${type}>`,
    `export const ${name}: ContextHandle.Type<${type}> = ContextHandle.make(${type})`
  ].join("\n")
}

const numeral = (value: number): string =>
  Number.isInteger(value) && value > 0xffff ? `0x${value.toString(16).toUpperCase()}` : `${value}`

const object = ({ base, comment: text, methods, name, uuid }: ObjectInterface): string => {
  const numbers = methods?.map((method) => `${key(method.name)}: ${method.opnum}`)
  const notes = [`\`[object] interface\`${base === undefined ? "" : ` of ${base}`}: calls of its methods need ORPC.`]
  return [
    documented(text, notes),
    `export const ${name} = {`,
    `  object: true,`,
    `  uuid: "${uuid}",`,
    numbers === undefined
      ? "  methods: undefined // the numbers of the base are not known"
      : `  methods: ${braces(numbers, 11, "  ")}`,
    "} as const"
  ].join("\n")
}

const key = (name: string): string =>
  name === "__proto__"
    ? `["__proto__"]`
    : /^[A-Za-z_$][\w$]*$|^(?:0|[1-9]\d{0,8})$/.test(name)
    ? name
    : JSON.stringify(name)

const braces = (entries: ReadonlyArray<string>, column: number, indent = ""): string => {
  if (entries.length === 0) return "{}"
  const flat = `{ ${entries.join(", ")} }`
  if (flat.length + column + indent.length <= width) return flat
  return `{\n${entries.map((entry) => `${indent}  ${entry}`).join(",\n")}\n${indent}}`
}

const alternatives = (parts: ReadonlyArray<string>): string => {
  if (parts.length === 0) return " never"
  const flat = ` ${parts.join(" | ")}`
  return flat.length <= 90 ? flat : parts.map((part) => `\n  | ${part}`).join("")
}

const constantTypes: { readonly [name: string]: string | undefined } = {
  Boolean: "boolean",
  Char: "string",
  WChar: "string",
  Int64: "bigint",
  Uint64: "bigint",
  Uuid: "string",
  WString: "string",
  String: "string",
  SizedWString: "{ readonly size: number; readonly text: string }",
  SizedString: "{ readonly size: number; readonly text: string }",
  Bytes: "Uint8Array",
  VaryingBytes: "Uint8Array",
  SizedVaryingBytes: "{ readonly size: number; readonly bytes: Uint8Array }",
  WChars: "string",
  VaryingWChars: "string",
  SizedVaryingWChars: "{ readonly size: number; readonly text: string }",
  UnicodeString: "string | { readonly text: string | null; readonly size: number } | null",
  CountedString: "string | { readonly text: string | null; readonly size: number } | null"
}

/** The document with some of its operations, and the types that those need. */
export const onlyOperations = (document: Document, names: ReadonlySet<string>): Document => {
  const interfaces = document.interfaces
    .map((each) => ({
      ...each,
      operations: each.operations.filter(({ name }) => names.has(name)),
      leftOut: each.leftOut.filter(({ name }) => names.has(name))
    }))
    .filter(({ leftOut, operations }) => operations.length + leftOut.length > 0)
  const needed = new Set<string>()
  const handles = new Set<string>()
  const definitions = new Map(document.types.map((definition) => [definition.name, definition]))
  const pending = interfaces.flatMap(({ operations }) => operations.flatMap(typesOf))
  for (let type = pending.pop(); type !== undefined; type = pending.pop()) {
    for (const handle of handlesIn(type)) handles.add(handle)
    for (const name of referencesIn(type)) {
      const definition = definitions.get(name)
      if (needed.has(name) || definition === undefined) continue
      needed.add(name)
      for (const inner of typesIn(definition)) pending.push(inner)
    }
  }
  return {
    ...document,
    interfaces,
    types: document.types.filter(({ name }) => needed.has(name)),
    handles: document.handles.filter((name) => handles.has(name)),
    objects: [],
    classes: [],
    skipped: [],
    lost: []
  }
}

const handlesIn = (type: Type): ReadonlyArray<string> => {
  switch (type._tag) {
    case "Handle":
      return [type.name]
    case "Fixed":
    case "Varying":
    case "Open":
      return handlesIn(type.element)
    case "Pointer":
      return handlesIn(type.target)
    case "Range":
    case "Box":
      return handlesIn(type.type)
    default:
      return []
  }
}
