/**
 * Arrays, and bytes.
 */
import type * as SchemaAST from "effect/SchemaAST"
import type { Representation, Shape } from "./ndrCodec.ts"
import { pass } from "./ndrExtent.ts"
import { compact, type Decoder, type Encoder, type Node, within } from "./ndrStream.ts"
import { isNumber, object, refuseBound, refuseValue, show } from "./ndrValues.ts"

/** `[size_is(n)]` */
export const conformant: Shape = { conformant: true, varying: false, bound: undefined }

/** `[size_is(n), length_is(m)]` */
export const conformantVarying: Shape = { conformant: true, varying: true, bound: undefined }

/** `[length_is(n)]` of a declared number of elements at most. */
export const varying = (bound: number | undefined): Shape => ({ conformant: false, varying: true, bound })

/** A declared number of elements. */
export const fixed = (count: number): Shape => ({ conformant: false, varying: false, bound: count })

const flows = ({ conformant, varying }: Shape): boolean => !conformant && !varying

/** What all arrays have in common. A hoisted count is no part of what it stands before, so it does not align it. */
export const countedNode = (
  { conformant, varying, bound }: Shape,
  align: number,
  minimum: number,
  of: (value: unknown) => number
): Partial<Node> => ({
  align: varying ? Math.max(align, 4) : align,
  minimum: varying ? 8 : conformant ? 0 : minimum * bound!,
  values: 1,
  maxCount: conformant ? of : undefined,
  counts: { size: conformant ? of : undefined, length: varying ? of : undefined }
})

/** Writes the counts that stand with the elements. */
export const writeCounts = (to: Encoder, { varying, bound }: Shape, count: number): void => {
  if (bound !== undefined && (varying ? count > bound : count !== bound)) {
    refuseBound(`${count} elements, and the bound is ${bound}`)
  }
  if (varying) {
    to.uint32(0)
    to.uint32(count)
  }
}

/** Reads the counts that stand with the elements, and gives the number of elements. */
export const readCounts = (from: Decoder, { conformant, varying, bound }: Shape): number => {
  const max = conformant ? from.hoisted : bound
  if (!varying) return max!
  const offset = from.uint32()
  const actual = from.uint32()
  if (offset !== 0) refuseBound(`the elements start at offset ${offset}: only offset 0 is supported`)
  if (max !== undefined && actual > max) refuseBound(`${actual} elements, and the bound is ${max}`)
  return actual
}

export const noteCounts = (from: Decoder, max: number, actual: number): void => {
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
  const isFixed = flows(shape)
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
          from.part(element, out, i, undefined)
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

/** An array of a shape. */
export const array = (shape: Shape, element: SchemaAST.AST): Representation => ({
  form: ["array", element, shape],
  flows: flows(shape),
  bounded: { by: "length", of: (value) => (value as ReadonlyArray<unknown>).length },
  parts: [element],
  make: (compiler) => arrayNode(shape, compiler.element(element))
})

/** A value of which a part travels, with a size of its own: `{ size, [key]: value }`. */
export const sizedNode = (node: Partial<Node>, key: string): Partial<Node> => {
  const { counts, pointers, read, write } = node
  const lengthOf = (value: unknown): number => counts!.length!(object(value)[key]) as number
  const sizeOf = (value: unknown): number => {
    const { size } = object(value)
    const length = lengthOf(value)
    if (isNumber(size) && size >>> 0 === size && size >= length) return size
    return refuseBound(`${length} elements, and the size is ${show(size)}`)
  }
  return {
    ...node,
    maxCount: sizeOf,
    counts: { size: sizeOf, length: lengthOf },
    write: (to, value) => {
      const { path } = to
      if (pointers) to.path = { key, parent: path }
      try {
        write!(to, value[key])
      } catch (error) {
        throw within(error, key)
      }
      to.path = path
    },
    read: (from) => {
      const { hoisted: size, path } = from
      if (pointers) from.path = { key, parent: path }
      try {
        return { size, [key]: read!(from) }
      } catch (error) {
        throw within(error, key)
      } finally {
        from.path = path
      }
    }
  }
}

/** The same for a schema that is conformant and varying. */
export const sized = (of: SchemaAST.AST, key: string): Representation => ({
  form: ["sized", of],
  flows: false,
  bounded: { by: "size", of: (value) => (value as { readonly size: number }).size },
  parts: [of],
  make: (compiler) => sizedNode(compiler.whole(of), key)
})

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

/** Bytes in an array of a shape. */
export const bytes = (shape: Shape): Representation => ({
  form: ["bytes", shape],
  flows: flows(shape),
  bounded: { by: "length", of: (value) => (value as Uint8Array).length },
  make: () => bytesNode(shape)
})
