/** Random values of the types of an IDL document, from a seed. */
import { integers } from "../../src/cli/JsonValues.ts"
import type { Idl } from "../../src/idl.ts"

/** Numbers from a seed, each below `limit`. */
export const random = (seed: number): (limit: number) => number => {
  let state = seed >>> 0 || 1
  return (limit) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % limit
  }
}

/** Makes values of the types of a document. */
export const valuesOf = (document: Idl.Document, below: (limit: number) => number) => {
  const definitions = new Map(document.types.map((definition) => [definition.name, definition]))

  const integer = (minimum: number, maximum: number): number => {
    const edge = below(6)
    return edge === 0 ? minimum : edge === 1 ? maximum : minimum + below(Math.min(maximum - minimum, 0xfffffffe) + 1)
  }
  const text = (length: number, largest: number, smallest = 1): string =>
    String.fromCharCode(...Array.from({ length }, () => integer(smallest, largest)))
  const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, () => below(256))
  const list = (count: number, element: Idl.Type, depth: number): ReadonlyArray<unknown> =>
    Array.from({ length: count }, () => value(element, depth))

  const constant = (name: string, length: number): unknown => {
    const range = integers[name]
    if (range !== undefined) return integer(...range)
    switch (name) {
      case "Boolean":
        return below(2) === 1
      case "Char":
        return text(1, 0xff, 0)
      case "WChar":
        return text(1, 0xffff, 0)
      case "Int64":
        return BigInt.asIntN(64, (BigInt(integer(0, 0xffffffff)) << 32n) | BigInt(integer(0, 0xffffffff)))
      case "Uint64":
        return (BigInt(integer(0, 0xffffffff)) << 32n) | BigInt(integer(0, 0xffffffff))
      case "Float":
        return Math.fround(below(1000) / 8 - 60)
      case "Double":
        return below(1_000_000) / 64 - 5000
      case "Uuid":
        return "6bffd098-a112-3610-9833-46c3f87".padEnd(31, "0") + below(0xfffff).toString(16).padStart(5, "0")
      case "WString":
        return text(length, 0xffff)
      case "String":
        return text(length, 0xff)
      case "SizedWString":
      case "SizedString":
        return { size: length + 1 + below(3), text: text(length, 0xff) }
      case "Bytes":
      case "VaryingBytes":
        return bytes(length)
      case "SizedVaryingBytes":
        return { size: length + below(3), bytes: bytes(length) }
      case "WChars":
      case "VaryingWChars":
        return text(length, 0xffff, 0)
      case "SizedVaryingWChars":
        return { size: length + below(3), text: text(length, 0xffff, 0) }
      case "UnicodeString":
        return [null, text(length, 0xffff), { text: text(length, 0xff), size: length + 1 + below(4) }][below(3)]
      default:
        throw new Error(`no values of ${name}`)
    }
  }

  const bounded = (name: string, count: number): unknown => {
    switch (name) {
      case "fixedBytes":
        return bytes(count)
      case "varyingBytes":
        return bytes(below(count + 1))
      case "varyingWString":
      case "varyingString":
        return text(below(count), 0xff)
      default:
        return text(below(count + 1), 0xff)
    }
  }

  const value = (type: Idl.Type, depth: number): unknown => {
    switch (type._tag) {
      case "Constant":
        return constant(type.name, below(5))
      case "Bounded":
        return bounded(type.name, type.count)
      case "Fixed":
        return list(type.count, type.element, depth + 1)
      case "Varying":
        return list(below(type.count + 1), type.element, depth + 1)
      case "Open": {
        const elements = list(depth > 4 ? 0 : below(3), type.element, depth + 1)
        return type.name === "sizedVarying" ? { size: elements.length + below(3), elements } : elements
      }
      case "Pointer":
        return type.kind !== "ref" && (depth > 6 || below(4) === 0) ? null : value(type.target, depth + 1)
      case "Range":
        return inRange(type.type, type.minimum, type.maximum, depth)
      case "Box":
        return { value: value(type.type, depth + 1) }
      case "Reference":
        return defined(definitions.get(type.name)!, depth + 1)
      case "Handle":
      case "Derived":
        throw new Error(`no values of ${type._tag}`)
    }
  }

  /** A number in the range, or an array with so many elements. */
  const inRange = (type: Idl.Type, minimum: number, maximum: number, depth: number): unknown => {
    if (type._tag === "Constant" && type.name.endsWith("Int64")) {
      return BigInt(minimum) + BigInt(below(Math.min(maximum - minimum, 1000) + 1))
    }
    if (type._tag === "Constant" && integers[type.name] !== undefined) return integer(minimum, maximum)
    if (type._tag !== "Constant") {
      return list(Math.min(maximum, minimum + below(3)), (type as { element: Idl.Type }).element, depth)
    }
    const least = type.name.endsWith("String") ? Math.max(minimum, 1) - 1 : minimum
    const most = type.name.endsWith("String") ? maximum - 1 : maximum
    const made = constant(type.name, Math.max(0, Math.min(most, least + below(4))))
    return typeof made === "object" && made !== null && "size" in made
      ? { ...made, size: Math.min(maximum, made.size as number) }
      : made
  }

  const defined = (definition: Idl.Definition, depth: number): unknown => {
    switch (definition._tag) {
      case "Enum": {
        const { members, size } = definition
        const usable = members.filter(({ value }, i) =>
          members.findIndex((other) => other.value === value) === i && (size === 4 || value <= 0x7fff && value >= 0)
        )
        return usable.length === 0 ? 0x7ffe : usable[below(usable.length)]!.name
      }
      case "Struct":
        return members(definition.fields, depth)
      case "Union": {
        const labels = definition.arms.flatMap(({ label }) => label === undefined ? [] : [String(label)])
        let arm = definition.arms[below(definition.arms.length)]!
        if (arm.label === undefined) {
          // A tag of the default arm is none of the labels; where all members are labels there is none.
          for (let tries = 0; tries < 30; tries++) {
            const tag = value(definition.discriminant, depth)
            if (labels.includes(String(tag))) continue
            return { default: tag, ...(arm.type === undefined ? {} : { value: value(arm.type, depth + 1) }) }
          }
          arm = definition.arms.find(({ label }) => label !== undefined)!
        }
        return { case: arm.label, ...(arm.type === undefined ? {} : { value: value(arm.type, depth + 1) }) }
      }
    }
  }

  /** The fields of a structure, or parameters without handles. */
  const members = (all: ReadonlyArray<Idl.Member>, depth = 0): { readonly [name: string]: unknown } | undefined => {
    const visible = all.filter(({ type }) => type._tag !== "Derived")
    if (visible.some(({ type }) => type._tag === "Handle" && !type.nullable)) return undefined
    const made = Object.fromEntries(
      visible.map(({ name, type }) => [name, type._tag === "Handle" ? null : value(type, depth)])
    )
    return align(all, made, depth)
  }

  /** Arrays that share a count are all empty, or as long as the range of the count demands. */
  const align = (
    all: ReadonlyArray<Idl.Member>,
    made: { [name: string]: unknown },
    depth: number
  ): { [name: string]: unknown } => {
    for (const { type } of all) {
      if (type._tag !== "Derived" || type.what === "switch") continue
      const least = type.type?._tag === "Range" ? Math.ceil(Math.max(type.type.minimum, 0) / type.unit) : 0
      if (least === 0 && type.fields.length < 2) continue
      for (const field of type.fields) {
        const member = all.find(({ name }) => name === field)!
        made[field] = least === 0 ? emptied(made[field]) : counted(member.type, least, depth + 1)
      }
    }
    return made
  }
  /** A value of so many elements. */
  const counted = (type: Idl.Type, count: number, depth: number): unknown => {
    switch (type._tag) {
      case "Pointer":
        return counted(type.target, count, depth)
      case "Open":
        return list(count, type.element, depth)
      case "Constant":
        return constant(type.name, count)
      default:
        throw new Error(`no count of ${type._tag}`)
    }
  }
  const emptied = (some: unknown): unknown =>
    some === null
      ? null
      : typeof some === "string"
      ? ""
      : some instanceof Uint8Array
      ? new Uint8Array(0)
      : Array.isArray(some)
      ? []
      : { ...(some as object), size: 0, ...("elements" in (some as object) ? { elements: [] } : {}) }

  return { value, members }
}
