/**
 * Values of IDL types from JSON and as JSON: bytes in base64, 64-bit numbers as text, counts left out.
 */
import type * as Idl from "../idl/Idl.ts"
import { showType, visible } from "./Signatures.ts"

/** What is wrong with a JSON value, and where. */
export class Mismatch extends Error {}

/** The context handles that calls have given so far, by their types. */
export type Handles = Map<string, unknown>

/** What the integers of at most 32 bits can be. */
export const integers: { readonly [name: string]: readonly [minimum: number, maximum: number] } = {
  Int8: [-0x80, 0x7f],
  Uint8: [0, 0xff],
  Int16: [-0x8000, 0x7fff],
  Uint16: [0, 0xffff],
  Int32: [-0x80000000, 0x7fffffff],
  Uint32: [0, 0xffffffff]
}

const large: { readonly [name: string]: readonly [minimum: bigint, maximum: bigint] } = {
  Int64: [-(2n ** 63n), 2n ** 63n - 1n],
  Uint64: [0n, 2n ** 64n - 1n]
}

const numeral = /^-?(?:\d{1,20}|0x[\da-f]{1,16})$/i

const bigintOf = (text: string): bigint => text.startsWith("-") ? -BigInt(text.slice(1)) : BigInt(text)

/** The integer that text stands for. Hexadecimal digits of a signed type are its bits, as results print them. */
const integerOf = (text: string, type: string): bigint => {
  const bits = /^Int(\d+)$/.exec(type)?.[1]
  const isBits = bits !== undefined && new RegExp(`^0x[\\da-f]{${Number(bits) / 4}}$`, "i").test(text)
  return isBits ? BigInt.asIntN(Number(bits), BigInt(text)) : bigintOf(text)
}

const isObject = (json: unknown): json is { readonly [key: string]: unknown } =>
  typeof json === "object" && json !== null && !Array.isArray(json) && !(json instanceof WrittenNumber)

/** A number of JSON that is too large to be exact, as it was written. */
class WrittenNumber {
  readonly value: number
  readonly written: string
  constructor(value: number, written: string) {
    this.value = value
    this.written = written
  }
  toJSON(): string {
    return this.written
  }
}

type Reviver = (key: string, value: unknown, context?: { readonly source?: string }) => unknown

/** Reads JSON, and keeps how numbers were written that are too large to be exact. */
export const readJson = (text: string): unknown => {
  // Most inputs have none, and are read without a function for each value.
  if (!/\d{16}|[eE]\+?\d{2}/.test(text)) return JSON.parse(text)
  const parse: (text: string, reviver: Reviver) => unknown = JSON.parse
  return parse(text, (_, value, context) => {
    if (typeof value !== "number" || Number.isSafeInteger(value)) return value
    return Number.isFinite(value) && !Number.isInteger(value)
      ? value
      : new WrittenNumber(value, context?.source ?? String(value))
  })
}

/** What was written, short enough for a message. */
const shown = (json: unknown): string => {
  if (json === undefined) return "nothing"
  const text = json instanceof WrittenNumber ? json.written : JSON.stringify(json)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

/** Translates the values of a document. */
export class Values {
  private readonly definitions: ReadonlyMap<string, Idl.Definition>
  private readonly handles: Handles

  constructor(document: Idl.Document, handles: Handles) {
    this.definitions = new Map(document.types.map((definition) => [definition.name, definition]))
    this.handles = handles
  }

  // --------------------------------------------------------------------------
  // from JSON
  // --------------------------------------------------------------------------

  /** The in parameters and the chunks of the in pipes. Throws a `Mismatch` that names the place. */
  input(operation: Idl.Operation, json: unknown): {
    readonly input: { readonly [name: string]: unknown } | undefined
    readonly pipes: ReadonlyArray<{ readonly name: string; readonly chunk: Uint8Array | ReadonlyArray<unknown> }>
  } {
    const { in: members, inPipe, name } = operation
    const pipeNames = inPipe.map((pipe) => pipe.name)
    const fields = this.fields(members, json, name, pipeNames)
    const pipes = inPipe.map(({ element, name: pipe }) => {
      const given = (json as { readonly [key: string]: unknown })[pipe]
      const path = `${name}.${pipe}`
      const chunk = element === undefined ? bytesOf(given, path) : this.list(element, given, path)
      return { name: pipe, chunk }
    })
    return { input: members.length === 0 ? undefined : fields, pipes }
  }

  private fields(
    members: ReadonlyArray<Idl.Member>,
    json: unknown,
    path: string,
    others: ReadonlyArray<string> = []
  ): { readonly [name: string]: unknown } {
    if (!isObject(json)) return refuse(path, json, "an object")
    const seen = visible(members)
    for (const key of Object.keys(json)) {
      if (others.includes(key) || seen.some(({ name }) => name === key)) continue
      const derived = members.find(({ name }) => name === key)?.type
      if (derived?._tag === "Derived") {
        throw new Mismatch(`${path}.${key}: it follows from ${derived.fields.join(" and ")}. Leave it out`)
      }
      const names = [...seen.map(({ name }) => name), ...others]
      throw new Mismatch(`${path}: no ${JSON.stringify(key)} is there, expected ${names.join(", ") || "no names"}`)
    }
    return Object.fromEntries(seen.map(({ name, type }) => {
      const given = Object.hasOwn(json, name) ? json[name] : undefined
      return [name, this.value(type, given, `${path}.${name}`)]
    }))
  }

  private list(element: Idl.Type, json: unknown, path: string): ReadonlyArray<unknown> {
    if (!Array.isArray(json)) return refuse(path, json, `an array of ${showType(element)}`)
    return json.map((item, i) => this.value(element, item, `${path}[${i}]`))
  }

  private value(type: Idl.Type, json: unknown, path: string): unknown {
    switch (type._tag) {
      case "Constant":
        return this.constant(type.name, json, path)
      case "Bounded":
        return type.name.endsWith("Bytes")
          ? counted(bytesOf(json, path), type, path, "bytes")
          : counted(textOf(json, path), type, path, "characters")
      case "Fixed":
      case "Varying":
        return counted(this.list(type.element, json, path), type, path, "elements")
      case "Open": {
        if (type.name !== "sizedVarying") return this.list(type.element, json, path)
        const { of, size } = sizedOf(json, "elements", path)
        const elements = this.list(type.element, of, path)
        return { size: sizeOf(size, elements.length, path), elements }
      }
      case "Pointer":
        if (json === undefined || json === null) {
          return type.kind === "ref" ? this.value(type.target, json, path) : null
        }
        return this.value(type.target, json, path)
      case "Range":
        return this.ranged(type, json, path)
      case "Box": {
        if (!isObject(json) || !Object.hasOwn(json, "value")) return refuse(path, json, "an object with a value")
        return { value: this.value(type.type, json["value"], `${path}.value`) }
      }
      case "Reference":
        return this.defined(this.definitions.get(type.name)!, json, path)
      case "Handle":
        return this.handle(type.name, type.nullable, json, path)
      case "Derived":
        return undefined
    }
  }

  private handle(name: string, nullable: boolean, json: unknown, path: string): unknown {
    if (json === null && nullable) return null
    if (json !== undefined && json !== null && !(isObject(json) && json["handle"] === name)) {
      return refuse(path, json, `nothing, or {"handle":"${name}"}: the last ${name} that a call before has given`)
    }
    const last = this.handles.get(name)
    if (last === undefined && !(nullable && json === undefined)) {
      throw new Mismatch(
        `${path}: no call before has given a ${name}. Call the method that opens one in the same command`
      )
    }
    return last ?? null
  }

  private ranged(
    { maximum, minimum, type }: Extract<Idl.Type, { readonly _tag: "Range" }>,
    json: unknown,
    path: string
  ): unknown {
    const value = this.value(type, json, path)
    const number = typeof value === "bigint" || typeof value === "number"
      ? Number(value)
      : typeof value === "string" && type._tag === "Reference"
      ? this.numberOf(type.name, value)
      : lengthOf(value) +
        (type._tag === "Constant" && type.name.endsWith("String") && typeof value === "string" ? 1 : 0)
    if (number >= minimum && number <= maximum) return value
    const what = typeof value === "object" || typeof value === "string" && type._tag === "Constant"
      ? `${number} elements`
      : `${number}`
    throw new Mismatch(`${path}: got ${what}, expected ${minimum} to ${maximum}`)
  }

  private numberOf(name: string, member: string): number {
    const definition = this.definitions.get(name)
    return definition?._tag === "Enum" ? definition.members.find(({ name }) => name === member)?.value ?? 0 : 0
  }

  private defined(definition: Idl.Definition, json: unknown, path: string): unknown {
    switch (definition._tag) {
      case "Enum": {
        if (typeof json === "number" && Number.isInteger(json)) return json
        if (typeof json === "string" && definition.members.some(({ name }) => name === json)) return json
        return refuse(path, json, `a number or one of ${definition.members.map(({ name }) => name).join(", ")}`)
      }
      case "Struct":
        return this.fields(definition.fields, json, path)
      case "Union":
        return this.union(definition, json, path)
    }
  }

  private union(
    { arms, discriminant }: Extract<Idl.Definition, { readonly _tag: "Union" }>,
    json: unknown,
    path: string
  ): unknown {
    if (!isObject(json)) return refuse(path, json, "an object with a case and a value")
    const unknown = Object.keys(json).find((key) => !["case", "default", "value"].includes(key))
    if (unknown !== undefined) {
      throw new Mismatch(`${path}: no ${JSON.stringify(unknown)} is there, expected a case and a value`)
    }
    const labels = arms.flatMap(({ label }) => label === undefined ? [] : [label])
    const given = json["case"]
    const arm = given === undefined
      ? arms.find(({ label }) => label === undefined && json["default"] !== undefined)
      : arms.find(({ label }) => label !== undefined && (label === given || String(label) === given))
    if (arm === undefined) {
      const rest = arms.length > labels.length ? ", or a default with another number" : ""
      throw new Mismatch(
        `${path}.case: got ${shown(given ?? json["default"])}, expected one of ${labels.map(String).join(", ")}${rest}`
      )
    }
    const which = arm.label === undefined
      ? { default: this.value(discriminant, json["default"], `${path}.default`) }
      : { case: arm.label }
    if (arm.type !== undefined) return { ...which, value: this.value(arm.type, json["value"], `${path}.value`) }
    if (json["value"] !== undefined) throw new Mismatch(`${path}.value: this case has none. Leave it out`)
    return which
  }

  private constant(name: string, json: unknown, path: string): unknown {
    const limits = integers[name]
    if (limits !== undefined) {
      const number = typeof json === "string" && numeral.test(json) ? Number(integerOf(json, name)) : json
      if (typeof number === "number" && Number.isInteger(number) && number >= limits[0] && number <= limits[1]) {
        return number
      }
      return refuse(path, json, `${name}: an integer from ${limits[0]} to ${limits[1]}`)
    }
    const wide = large[name]
    if (wide !== undefined) {
      if (json instanceof WrittenNumber && Number.isFinite(json.value)) {
        throw new Mismatch(
          `${path}: got ${shown(json)}, and JSON numbers of this size are not exact. Write it as text, in quotes`
        )
      }
      const number = typeof json === "number" && Number.isInteger(json)
        ? BigInt(json)
        : typeof json === "string" && numeral.test(json)
        ? integerOf(json, name)
        : undefined
      if (number !== undefined && number >= wide[0] && number <= wide[1]) return number
      return refuse(path, json, `${name}: an integer as text, from ${wide[0]} to ${wide[1]}`)
    }
    switch (name) {
      case "Boolean":
        return typeof json === "boolean" ? json : refuse(path, json, "true or false")
      case "Char":
      case "WChar":
        return typeof json === "string" && json.length === 1 ? json : refuse(path, json, "text of one character")
      case "Float":
      case "Double":
        if (typeof json === "number") return json
        if (json instanceof WrittenNumber && Number.isFinite(json.value)) return json.value
        return typeof json === "string" && /^(?:NaN|-?Infinity)$/.test(json)
          ? Number(json)
          : refuse(path, json, `${name}: a number, or "Infinity", "-Infinity" or "NaN"`)
      case "Uuid":
        return typeof json === "string" && /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i.test(json)
          ? json.toLowerCase()
          : refuse(path, json, "a UUID")
      case "Bytes":
      case "VaryingBytes":
        return bytesOf(json, path)
      case "SizedVaryingBytes": {
        const { of, size } = sizedOf(json, "bytes", path)
        const bytes = bytesOf(of, path)
        return { size: sizeOf(size, bytes.length, path), bytes }
      }
      case "SizedWString":
      case "SizedString":
      case "SizedVaryingWChars": {
        const { of, size } = sizedOf(json, "text", path)
        const text = textOf(of, path)
        return { size: sizeOf(size, text.length + (name.endsWith("String") ? 1 : 0), path), text }
      }
      case "UnicodeString":
      case "CountedString": {
        if (json === null || json === undefined) return null
        if (!isObject(json)) return textOf(json, path)
        const { of, size } = sizedOf(json, "text", path)
        const text = of === null ? null : textOf(of, path)
        const length = text?.length ?? 0
        const room = sizeOf(size, length, path)
        // A buffer of the size of its text is the text.
        return room === length ? text : { size: room, text }
      }
      default:
        return textOf(json, path)
    }
  }

  /** The types of the handles that a method may give. */
  handlesOf({ out }: Idl.Operation): ReadonlySet<string> {
    const handles = new Set<string>()
    const seen = new Set<string>()
    const walk = (type: Idl.Type | undefined): void => {
      switch (type?._tag) {
        case "Handle":
          handles.add(type.name)
          return
        case "Reference": {
          if (seen.has(type.name)) return
          seen.add(type.name)
          const definition = this.definitions.get(type.name)
          if (definition?._tag === "Struct") definition.fields.forEach((field) => walk(field.type))
          if (definition?._tag === "Union") definition.arms.forEach((arm) => walk(arm.type))
          return
        }
        case "Pointer":
          return walk(type.target)
        case "Fixed":
        case "Varying":
        case "Open":
          return walk(type.element)
        case "Box":
        case "Range":
          return walk(type.type)
        default:
      }
    }
    out.forEach(({ type }) => walk(type))
    return handles
  }

  // --------------------------------------------------------------------------
  // to JSON
  // --------------------------------------------------------------------------

  /** Writes the out parameters as JSON. Keeps the handles in them for later calls, and forgets a handle that became null. */
  output({ out }: Idl.Operation, value: unknown): { readonly [name: string]: unknown } {
    return this.shownFields(out, value)
  }

  /** What came out of a pipe of such elements, or of bytes. */
  chunks(element: Idl.Type | undefined, items: ReadonlyArray<unknown>): unknown {
    return element === undefined
      ? toBase64(joined(items as ReadonlyArray<Uint8Array>))
      : items.map((item) => this.shown(element, item))
  }

  private shownFields(members: ReadonlyArray<Idl.Member>, value: unknown): { readonly [name: string]: unknown } {
    return Object.fromEntries(
      visible(members).map(({ name, type }) => [name, this.shown(type, (value as Record<string, unknown>)[name])])
    )
  }

  private shown(type: Idl.Type, value: unknown): unknown {
    switch (type._tag) {
      case "Fixed":
      case "Varying":
        return (value as ReadonlyArray<unknown>).map((element) => this.shown(type.element, element))
      case "Open": {
        const list = (elements: unknown): ReadonlyArray<unknown> =>
          (elements as ReadonlyArray<unknown>).map((element) => this.shown(type.element, element))
        if (type.name !== "sizedVarying") return list(value)
        const { elements, size } = value as { readonly size: number; readonly elements: unknown }
        return { size, elements: list(elements) }
      }
      case "Pointer":
        return value === null ? null : this.shown(type.target, value)
      case "Range":
        return this.shown(type.type, value)
      case "Box":
        return { value: this.shown(type.type, (value as { readonly value: unknown }).value) }
      case "Handle":
        if (value === null) {
          this.handles.delete(type.name)
          return null
        }
        this.handles.set(type.name, value)
        return { handle: type.name }
      case "Reference": {
        const definition = this.definitions.get(type.name)!
        if (definition._tag === "Enum") return value
        if (definition._tag === "Struct") return this.shownFields(definition.fields, value)
        const given = value as { readonly case?: unknown; readonly default?: unknown; readonly value?: unknown }
        const arm = definition.arms.find(({ label }) => label === given.case)
        const which = given.case === undefined ? { default: given.default } : { case: given.case }
        return arm?.type === undefined ? which : { ...which, value: this.shown(arm.type, given.value) }
      }
      default:
        return simple(value)
    }
  }
}

/** Numbers, text and bytes as JSON. */
const simple = (value: unknown): unknown => {
  if (typeof value === "bigint") return String(value)
  if (typeof value === "number" && !Number.isFinite(value)) return String(value)
  if (value instanceof Uint8Array) return toBase64(value)
  if (isObject(value)) return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, simple(part)]))
  return value
}

// ----------------------------------------------------------------------------
// parts
// ----------------------------------------------------------------------------

const refuse = (path: string, json: unknown, expected: string): never => {
  throw new Mismatch(`${path}: got ${shown(json)}, expected ${expected}`)
}

const textOf = (json: unknown, path: string): string => typeof json === "string" ? json : refuse(path, json, "text")

const bytesOf = (json: unknown, path: string): Uint8Array => {
  if (typeof json !== "string" || !/^[A-Za-z\d+/]*={0,2}$/.test(json)) return refuse(path, json, "bytes in base64")
  try {
    return Uint8Array.from(atob(json), (char) => char.charCodeAt(0))
  } catch {
    return refuse(path, json, "bytes in base64")
  }
}

const joined = (chunks: ReadonlyArray<Uint8Array>): Uint8Array => {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

const toBase64 = (bytes: Uint8Array): string => {
  let text = ""
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000))
  return btoa(text)
}

const lengthOf = (value: unknown): number => {
  const { length, size } = Object(value) as { readonly length?: number; readonly size?: number }
  return size ?? length ?? 0
}

/** Holds the number of elements against the declared one. */
const counted = <A extends { readonly length: number }>(
  value: A,
  type: { readonly _tag: "Bounded" | "Fixed" | "Varying"; readonly count: number; readonly name?: string },
  path: string,
  unit: string
): A => {
  const isExact = type._tag === "Fixed" || type.name === "fixedBytes"
  const most = type.name?.endsWith("String") ? type.count - 1 : type.count
  if (isExact ? value.length === most : value.length <= most) return value
  throw new Mismatch(`${path}: got ${value.length} ${unit}, expected ${isExact ? "" : "at most "}${most}`)
}

/** A value in a buffer with a size, or the value alone. */
const sizedOf = (json: unknown, key: string, path: string): { readonly of: unknown; readonly size: unknown } => {
  if (!isObject(json)) return { of: json, size: undefined }
  const unknown = Object.keys(json).find((name) => name !== key && name !== "size")
  if (unknown !== undefined) {
    throw new Mismatch(`${path}: no ${JSON.stringify(unknown)} is there, expected ${key} and size`)
  }
  return { of: json[key], size: json["size"] }
}

const sizeOf = (size: unknown, least: number, path: string): number => {
  if (size === undefined) return least
  if (typeof size === "number" && Number.isInteger(size) && size >= least && size <= 0xffffffff) return size
  return refuse(`${path}.size`, size, `an integer, at least ${least}`)
}
