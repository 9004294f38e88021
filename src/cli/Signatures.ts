/**
 * How descriptions look: types and signatures in a line, and samples of values as JSON.
 */
import type * as Idl from "../idl/Idl.ts"

/** A type in a few words, such as `ITEM[] | null`. */
export const showType = (type: Idl.Type): string => {
  switch (type._tag) {
    case "Constant":
      return type.name
    case "Bounded":
      return `${type.name}(${type.count})`
    case "Fixed":
    case "Varying":
    case "Open":
      return showArray(type, "")
    case "Pointer":
      return type.kind === "ref" ? showType(type.target) : `${showType(type.target)} | null`
    case "Range":
      return `${showType(type.type)} ${type.minimum}..${type.maximum}`
    case "Box":
      return `{ value: ${showType(type.type)} }`
    case "Reference":
      return type.name
    case "Handle":
      return type.nullable ? `${type.name} | null` : type.name
    case "Derived":
      return type.type === undefined ? "Uint32" : showType(type.type)
  }
}

/** The outermost dimension comes first, as in IDL. */
const showArray = (type: Idl.Type, dimensions: string): string => {
  switch (type._tag) {
    case "Fixed":
      return showArray(type.element, `${dimensions}[${type.count}]`)
    case "Varying":
      return showArray(type.element, `${dimensions}[0..${type.count}]`)
    case "Open":
      return `${type.name === "sizedVarying" ? "sized " : ""}${showArray(type.element, `${dimensions}[]`)}`
    default:
      return grouped(type) + dimensions
  }
}

const grouped = (type: Idl.Type): string => {
  const shown = showType(type)
  return shown.includes(" ") ? `(${shown})` : shown
}

/** The members that values have: counts and switches follow from the others. */
export const visible = (members: ReadonlyArray<Idl.Member>): ReadonlyArray<Idl.Member> =>
  members.filter(({ type }) => type._tag !== "Derived")

const showMembers = (members: ReadonlyArray<Idl.Member>): string =>
  visible(members).map(({ name, type }) => `${name}: ${showType(type)}`).join(", ")

/** An operation in a line. */
export const showOperation = ({ in: input, inPipe, name, out, outPipe }: Idl.Operation): string => {
  const pipes = (elements: Idl.Operation["inPipe"]): ReadonlyArray<string> =>
    elements.map(({ element, name }) => `pipe ${name}: ${element === undefined ? "bytes" : showType(element)}`)
  const side = (members: ReadonlyArray<Idl.Member>, elements: Idl.Operation["inPipe"]): string =>
    [showMembers(members), ...pipes(elements)].filter((part) => part !== "").join(", ")
  const [given, got] = [side(input, inPipe), side(out, outPipe)]
  return `${name}(${given})${got === "" ? "" : `: (${got})`}`
}

/** A definition in a few lines. */
export const showDefinition = (definition: Idl.Definition): string => {
  const { name } = definition
  switch (definition._tag) {
    case "Enum":
      return `${name}: ${definition.members.map(({ name, value }) => `${name} = ${value}`).join(", ")}`
    case "Struct":
      return `${name}: { ${showMembers(definition.fields)} }`
    case "Union": {
      const arms = definition.arms.map(({ label, type }) => {
        const which = label === undefined
          ? `default: ${showType(definition.discriminant)}`
          : `case: ${JSON.stringify(label)}`
        return `{ ${which}${type === undefined ? "" : `, value: ${showType(type)}`} }`
      })
      return `${name}: ${arms.join(" | ")}`
    }
  }
}

/** The types that operations need, those first that they name. */
export const typesOf = (
  document: Idl.Document,
  operations: ReadonlyArray<Idl.Operation>
): ReadonlyArray<Idl.Definition> => {
  const definitions = new Map(document.types.map((definition) => [definition.name, definition]))
  const found = new Set<Idl.Definition>()
  const take = (type: Idl.Type | undefined): void => {
    if (type === undefined) return
    if (type._tag === "Reference") found.add(definitions.get(type.name)!)
    else if ("element" in type) take(type.element)
    else if ("target" in type) take(type.target)
    else if (type._tag === "Range" || type._tag === "Box") take(type.type)
  }
  for (const operation of operations) {
    for (const { type } of [...visible(operation.in), ...visible(operation.out)]) take(type)
    for (const { element } of [...operation.inPipe, ...operation.outPipe]) take(element)
  }
  // A set goes on with what is added to it.
  for (const definition of found) {
    if (definition._tag === "Struct") { for (const { type } of visible(definition.fields)) take(type) }
    if (definition._tag === "Union") {
      for (const { type } of [{ type: definition.discriminant }, ...definition.arms]) take(type)
    }
  }
  return [...found]
}

// ----------------------------------------------------------------------------
// samples
// ----------------------------------------------------------------------------

/** Makes samples of the types of a document, as JSON. */
export class Samples {
  private readonly definitions: ReadonlyMap<string, Idl.Definition>
  private readonly open: Set<string> = new Set()

  constructor(document: Idl.Document) {
    this.definitions = new Map(document.types.map((definition) => [definition.name, definition]))
  }

  /** What a call of an operation takes. A handle that has to be there comes from an earlier call. */
  input({ in: input, inPipe }: Idl.Operation): object {
    return Object.fromEntries([
      ...visible(input).flatMap(({ name, type }) => type._tag === "Handle" ? [] : [[name, this.sample(type)]]),
      ...inPipe.map(({ element, name }) => [name, element === undefined ? "" : [this.sample(element)]])
    ])
  }

  private sample(type: Idl.Type): unknown {
    switch (type._tag) {
      case "Constant":
        return constants[type.name] ?? 0
      case "Bounded":
        return type.name === "fixedBytes" ? btoa("\0".repeat(Math.min(type.count, 4096))) : ""
      case "Fixed":
        return Array.from({ length: Math.min(type.count, 64) }, () => this.sample(type.element))
      case "Varying":
        return [this.sample(type.element)]
      case "Open": {
        const elements = [this.sample(type.element)]
        return type.name === "sizedVarying" ? { size: 1, elements } : elements
      }
      case "Pointer":
        return this.recurs(type.target) ? null : this.sample(type.target)
      case "Range": {
        const sample = this.sample(type.type)
        if (typeof sample === "string" && sample !== "0") return sample
        if (typeof sample !== "number" && typeof sample !== "string") return sample
        const within = Math.min(Math.max(0, type.minimum), type.maximum)
        return typeof sample === "string" ? String(within) : within
      }
      case "Box":
        return { value: this.sample(type.type) }
      case "Reference":
        return this.defined(type.name)
      case "Handle":
      case "Derived":
        return null
    }
  }

  private recurs(type: Idl.Type): boolean {
    return type._tag === "Reference"
      ? this.open.has(type.name)
      : type._tag === "Pointer"
      ? this.recurs(type.target)
      : type._tag === "Open" && this.recurs(type.element)
  }

  private defined(name: string): unknown {
    const definition = this.definitions.get(name)!
    if (this.open.has(name)) return null
    this.open.add(name)
    const made = this.of(definition)
    this.open.delete(name)
    return made
  }

  private of(definition: Idl.Definition): unknown {
    switch (definition._tag) {
      case "Enum":
        return definition.members[0]?.name ?? 0
      case "Struct":
        return Object.fromEntries(visible(definition.fields).map(({ name, type }) => [name, this.sample(type)]))
      case "Union": {
        const { label, type } = definition.arms[0] ?? { label: undefined, type: undefined }
        const which = label === undefined ? { default: this.sample(definition.discriminant) } : { case: label }
        return type === undefined ? which : { ...which, value: this.sample(type) }
      }
    }
  }
}

const sized = { size: 1, text: "" }

const constants: { readonly [name: string]: unknown } = {
  Boolean: false,
  Char: "a",
  WChar: "a",
  Int64: "0",
  Uint64: "0",
  Uuid: "00000000-0000-0000-0000-000000000000",
  WString: "",
  String: "",
  SizedWString: sized,
  SizedString: sized,
  Bytes: "",
  VaryingBytes: "",
  SizedVaryingBytes: { size: 0, bytes: "" },
  WChars: "",
  VaryingWChars: "",
  SizedVaryingWChars: { size: 0, text: "" },
  UnicodeString: "",
  CountedString: ""
}
