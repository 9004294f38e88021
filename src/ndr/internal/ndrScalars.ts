/**
 * Numbers, characters, enumerations and UUIDs.
 */
import type { Bounded, Representation, ScalarName } from "./ndrCodec.ts"
import { type Decoder, type Encoder, type Integer, Refusal, status } from "./ndrStream.ts"
import { readUuid, writeUuid } from "./ndrUuid.ts"
import { isNumber, refuseValue, show } from "./ndrValues.ts"

// ----------------------------------------------------------------------------
// scalars
// ----------------------------------------------------------------------------

/** A number or a character: its size, and how it is written and read. */
export interface Scalar {
  readonly name: ScalarName
  readonly align: number
  readonly minimum: number
  readonly extent: number
  readonly is: (value: unknown) => boolean
  readonly write: (to: Encoder, value: unknown) => void
  readonly read: (from: Decoder) => unknown
}

const scalar = (
  name: ScalarName,
  size: 1 | 2 | 4 | 8,
  expected: string,
  is: (value: any) => boolean,
  put: (view: DataView, at: number, value: any, littleEndian: boolean) => void,
  get: (view: DataView, at: number, littleEndian: boolean) => unknown
): Scalar => ({
  name,
  align: size,
  minimum: size,
  extent: size,
  is,
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

/** How the values of a scalar travel. */
export const plain = (scalar: Scalar): Representation => ({
  form: ["scalar", scalar.name],
  flows: true,
  make: () => scalar
})

const itself: Bounded = { by: "value", of: (value) => value as number | bigint }

/** The same for 64-bit numbers, which may be bounded. */
export const large = (scalar: Scalar): Representation => ({ ...plain(scalar), bounded: itself })

/** The same for numbers of at most 32 bits, which may be counts and discriminants too. */
export const integer = (scalar: Scalar): Representation => {
  const integer: Integer = {
    write: scalar.write,
    read: scalar.read as (from: Decoder) => number,
    numberOf: (value) => value as number,
    valueOf: (number) => number,
    labelOf: (label) => scalar.is(label) ? label as number : undefined
  }
  return { ...plain(scalar), bounded: itself, make: () => ({ ...scalar, integer }) }
}

const isCharacter = (value: unknown, max: number): boolean =>
  typeof value === "string" && value.length === 1 && value.charCodeAt(0) <= max

export const boolean: Scalar = scalar(
  "Boolean",
  1,
  "a boolean",
  (value) => typeof value === "boolean",
  (view, at, value) => view.setUint8(at, value ? 1 : 0),
  (view, at) => view.getUint8(at) !== 0
)

export const char: Scalar = scalar(
  "Char",
  1,
  "a character from U+0000 to U+00FF",
  (value) => isCharacter(value, 0xff),
  (view, at, value) => view.setUint8(at, value.charCodeAt(0)),
  (view, at) => String.fromCharCode(view.getUint8(at))
)

export const wchar: Scalar = scalar(
  "WChar",
  2,
  "one UTF-16 code unit",
  (value) => isCharacter(value, 0xffff),
  (view, at, value, littleEndian) => view.setUint16(at, value.charCodeAt(0), littleEndian),
  (view, at, littleEndian) => String.fromCharCode(view.getUint16(at, littleEndian))
)

export const int8: Scalar = scalar(
  "Int8",
  1,
  "an integer from -128 to 127",
  (value) => isNumber(value) && (value << 24) >> 24 === value,
  (view, at, value) => view.setInt8(at, value),
  (view, at) => view.getInt8(at)
)

export const uint8: Scalar = scalar(
  "Uint8",
  1,
  "an integer from 0 to 255",
  (value) => isNumber(value) && (value & 0xff) === value,
  (view, at, value) => view.setUint8(at, value),
  (view, at) => view.getUint8(at)
)

export const int16: Scalar = scalar(
  "Int16",
  2,
  "an integer from -32768 to 32767",
  (value) => isNumber(value) && (value << 16) >> 16 === value,
  (view, at, value, littleEndian) => view.setInt16(at, value, littleEndian),
  (view, at, littleEndian) => view.getInt16(at, littleEndian)
)

export const uint16: Scalar = scalar(
  "Uint16",
  2,
  "an integer from 0 to 65535",
  (value) => isNumber(value) && (value & 0xffff) === value,
  (view, at, value, littleEndian) => view.setUint16(at, value, littleEndian),
  (view, at, littleEndian) => view.getUint16(at, littleEndian)
)

export const int32: Scalar = scalar(
  "Int32",
  4,
  "a signed 32-bit integer",
  (value) => isNumber(value) && (value | 0) === value,
  (view, at, value, littleEndian) => view.setInt32(at, value, littleEndian),
  (view, at, littleEndian) => view.getInt32(at, littleEndian)
)

export const uint32: Scalar = scalar(
  "Uint32",
  4,
  "an unsigned 32-bit integer",
  (value) => isNumber(value) && value >>> 0 === value,
  (view, at, value, littleEndian) => view.setUint32(at, value, littleEndian),
  (view, at, littleEndian) => view.getUint32(at, littleEndian)
)

export const int64: Scalar = scalar(
  "Int64",
  8,
  "a signed 64-bit bigint",
  (value) => typeof value === "bigint" && BigInt.asIntN(64, value) === value,
  (view, at, value, littleEndian) => view.setBigInt64(at, value, littleEndian),
  (view, at, littleEndian) => view.getBigInt64(at, littleEndian)
)

export const uint64: Scalar = scalar(
  "Uint64",
  8,
  "an unsigned 64-bit bigint",
  (value) => typeof value === "bigint" && BigInt.asUintN(64, value) === value,
  (view, at, value, littleEndian) => view.setBigUint64(at, value, littleEndian),
  (view, at, littleEndian) => view.getBigUint64(at, littleEndian)
)

export const float: Scalar = scalar(
  "Float",
  4,
  "a number in the range of a float",
  (value) => isNumber(value) && (Number.isFinite(Math.fround(value)) || !Number.isFinite(value)),
  (view, at, value, littleEndian) => view.setFloat32(at, value, littleEndian),
  (view, at, littleEndian) => view.getFloat32(at, littleEndian)
)

export const double: Scalar = scalar(
  "Double",
  8,
  "a number",
  isNumber,
  (view, at, value, littleEndian) => view.setFloat64(at, value, littleEndian),
  (view, at, littleEndian) => view.getFloat64(at, littleEndian)
)

// ----------------------------------------------------------------------------
// enumerations
// ----------------------------------------------------------------------------

/** The largest number that an enumeration of a size takes on the wire. */
export const largestOfEnum = { 2: 0x7fff, 4: 0xffffffff } as const

/** An enumeration of names, or of numbers that stand for themselves. Of two names of a number the first is read. */
export const enumeration = (
  size: 2 | 4,
  numbers: ReadonlyMap<string | number, number>,
  named: boolean
): Representation => {
  const { align, extent, minimum, read, write } = size === 2 ? uint16 : uint32
  const values = new Map([...numbers].reverse().map(([value, number]) => [number >>> 0, value]))
  const largest = largestOfEnum[size]
  const refuse = (value: unknown): never => {
    throw new Refusal(status.enumRange, `${show(value)} is not in the enumeration, nor a number up to ${largest}`)
  }
  const labelOf = (label: unknown): number | undefined => {
    const number = numbers.get(label as string | number)
    return number === undefined ? undefined : number >>> 0
  }
  const integer: Integer = {
    write,
    read: read as (from: Decoder) => number,
    numberOf: (value) => {
      const number = labelOf(value) ?? value
      return isNumber(number) && number >>> 0 === number && number <= largest ? number : refuse(value)
    },
    // A later version of the peer may know more numbers.
    valueOf: (number) => number > largest ? refuse(number) : values.get(number) ?? number,
    labelOf
  }
  const node = {
    align,
    minimum,
    extent,
    integer,
    write: (to: Encoder, value: unknown) => integer.write(to, integer.numberOf(value)),
    read: (from: Decoder) => integer.valueOf(integer.read(from))
  }
  return {
    form: ["enum", size, numbers],
    flows: true,
    named,
    bounded: { by: "name", of: (value) => numbers.get(value as string | number) ?? value as number },
    make: () => node
  }
}

// ----------------------------------------------------------------------------
// UUIDs
// ----------------------------------------------------------------------------

export const uuid: Representation = {
  form: ["scalar", "Uuid"],
  flows: true,
  make: () => ({ align: 4, minimum: 16, extent: 16, write: writeUuid, read: readUuid })
}
