/**
 * Text: strings that end in NUL, characters that are counted, and structures that count them in bytes.
 */
import { conformantVarying, countedNode, noteCounts, readCounts, sizedNode, writeCounts } from "./ndrArrays.ts"
import type { Representation, Shape } from "./ndrCodec.ts"
import { uint16 } from "./ndrScalars.ts"
import { makeLink, makeNode, type Node, Refusal, status } from "./ndrStream.ts"
import { readText, readUnits, writeNarrow, writeUnits, writeWide } from "./ndrText.ts"
import { isNumber, refuseBound, refuseValue, show } from "./ndrValues.ts"

const text = (value: unknown): string => typeof value === "string" ? value : refuseValue(value, "a string")

const stringNode = (wide: boolean, shape: Shape): Partial<Node> => {
  const unit = wide ? 2 : 1
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

/** A string that ends in NUL. */
export const string = (wide: boolean, shape: Shape): Representation => ({
  form: ["string", wide, shape],
  flows: false,
  bounded: { by: "length", more: 1, of: (value) => (value as string).length + 1 },
  make: () => stringNode(wide, shape)
})

/** Characters without a NUL at the end. In an array of a declared size they end at the first NUL, and zeros follow. */
const charactersNode = (wide: boolean, shape: Shape): Partial<Node> => {
  const unit = wide ? 2 : 1
  const isFixed = !shape.conformant && !shape.varying
  return {
    ...countedNode(shape, unit, unit, (value) => text(value).length),
    extent: unit * (shape.bound ?? 0),
    write: (to, value) => {
      const string = text(value)
      if (isFixed && string.length > shape.bound!) {
        refuseBound(`${string.length} characters, and there is room for ${shape.bound}`)
      }
      if (isFixed && string.includes("\0")) refuseValue(value, "text without NUL, which ends it for its reader")
      const count = isFixed ? shape.bound! : string.length
      writeCounts(to, shape, count)
      to.align(unit)
      to.reserve(count * unit)
      const end = to.position + count * unit
      to.bytes.fill(0, writeUnits(string, to.bytes, to.position, wide, to.littleEndian), end)
      to.position = end
    },
    read: (from) => {
      const max = from.hoisted
      const count = readCounts(from, shape)
      from.align(unit)
      from.require(count, unit)
      const at = from.position
      from.position = at + count * unit
      noteCounts(from, max, count)
      return isFixed
        ? readText(from.bytes, at, count, wide, from.littleEndian)
        : readUnits(from.bytes, at, count, wide, from.littleEndian)
    }
  }
}

/** UTF-16 code units that are text. */
export const characters = (shape: Shape): Representation => ({
  form: ["text", shape],
  flows: !shape.conformant && !shape.varying,
  bounded: { by: "length", of: (value) => (value as string).length },
  make: () => charactersNode(true, shape)
})

/** The most bytes that a counted string takes. */
const mostBytes = 0xffff

/** The most characters of a counted string. */
export const mostCharacters = (wide: boolean): number => wide ? mostBytes >> 1 : mostBytes

/** A structure of a length and a size in bytes, and a pointer to so many characters. */
export const countedString = (wide: boolean): Representation => {
  const unit = wide ? 2 : 1
  return {
    form: ["counted", wide],
    flows: false,
    make: () => {
      const { read, ...sized } = sizedNode(charactersNode(wide, conformantVarying), "text")
      const buffer: Node = {
        ...makeNode(),
        ...sized,
        read: (from) => {
          const value = read!(from) as { readonly size: number; readonly text: string }
          return value.size === value.text.length ? value.text : value
        }
      }
      const readOr = (whenNull: unknown): Node["readInto"] => (from, out, key) => {
        from.align(4)
        const length = Math.floor(uint16.read(from) as number / unit)
        const size = Math.floor(uint16.read(from) as number / unit)
        if (from.uint32() !== 0) return from.refer(buffer, out, key, { ...makeLink(), size, length })
        if (length !== 0) refuseBound(`the pointer to the text is null, and its length is ${length}`)
        out[key] = size === 0 ? whenNull : { text: null, size }
      }
      const node: Partial<Node> = {
        align: 4,
        minimum: 8,
        pointers: true,
        write: (to, value) => {
          const { size, text: characters } = typeof value === "string" || value === null
            ? { text: value, size: value?.length ?? 0 }
            : value
          const length = characters === null ? 0 : text(characters).length
          if (!isNumber(size) || size >>> 0 !== size || size < length) {
            refuseBound(`${length} characters, and the size is ${show(size)}`)
          }
          if (size * unit > mostBytes) {
            refuseBound(`${size * unit} bytes, and a counted string has at most ${mostBytes}`)
          }
          to.align(4)
          uint16.write(to, length * unit)
          uint16.write(to, size * unit)
          if (characters === null) to.uint32(0)
          else to.refer(buffer, { text: characters, size })
        }
      }
      const readInto = readOr(null)
      return {
        ...node,
        readInto: (from, out, key, link) => {
          out[key] = null
          readInto!(from, out, key, link)
        },
        // Behind a pointer that may be null itself.
        nested: { ...makeNode(), ...node, ready: true, readInto: readOr({ text: null, size: 0 }) }
      }
    }
  }
}
