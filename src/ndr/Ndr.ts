/**
 * Schemas that say how their values travel to any DCE/RPC peer: in the network data representation, NDR 2.0.
 *
 * A type of this module is an Effect schema that also carries an NDR representation. An interface whose methods are
 * described with such types, in the order of the parameters on the wire, speaks NDR; {@link codecOf} makes the encoder and
 * the decoder of one direction of a method. The names of the types are those of MIDL: `long` is {@link Int32}, `[string]
 * wchar_t*` is {@link WString}, `[unique]` is {@link unique}.
 *
 * @module
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import type { Parameters } from "../Interface.ts"
import * as arrays from "./internal/ndrArrays.ts"
import {
  annotationOf,
  type Bounded,
  compile,
  type Program,
  type Representation,
  representationOf,
  type Shape,
  structure
} from "./internal/ndrCodec.ts"
import { lackIn } from "./internal/ndrForm.ts"
import { guarded, ndrError, refused } from "./internal/ndrErrors.ts"
import { pointer } from "./internal/ndrPointers.ts"
import { ranged } from "./internal/ndrRange.ts"
import * as scalars from "./internal/ndrScalars.ts"
import { Decoder, Encoder, status as statuses } from "./internal/ndrStream.ts"
import { refuseDefinition } from "./internal/ndrValues.ts"
import * as strings from "./internal/ndrStrings.ts"
import * as unions from "./internal/ndrUnions.ts"
import { refuseArgument } from "../internal/named.ts"

const represent = <S extends Schema.Constraint>(schema: S, representation: Representation): S =>
  (schema as unknown as Schema.Top).annotate(annotationOf(schema.ast, representation)) as unknown as S

/** A constant that bundlers drop where nobody uses it, with the calls that make it. */
const constant = <A>(make: () => A): A => make()

const integer = (scalar: scalars.Scalar, minimum: number, maximum: number): Schema.Int =>
  represent(Schema.Int.check(Schema.isBetween({ minimum, maximum })), scalars.integer(scalar))

// ----------------------------------------------------------------------------
// scalars
// ----------------------------------------------------------------------------

/**
 * `boolean`: one byte, 0 or 1. Any other number is read as `true`.
 *
 * @category scalars
 * @since 0.1.0
 */
export const Boolean: Schema.Boolean = constant(() => represent(Schema.Boolean, scalars.plain(scalars.boolean)))

/**
 * `char`: one byte, as a string of one character from U+0000 to U+00FF.
 *
 * @category scalars
 * @since 0.1.0
 */
export const Char: Schema.Char = constant(() =>
  represent(
    Schema.Char.check(Schema.isPattern(/^[\0-\xff]$/)),
    scalars.plain(scalars.char)
  )
)

/**
 * `wchar_t`: one UTF-16 code unit, as a string of length 1.
 *
 * @category scalars
 * @since 0.1.0
 */
export const WChar: Schema.Char = constant(() => represent(Schema.Char, scalars.plain(scalars.wchar)))

/**
 * `byte`: an opaque byte, 0 to 255. Arrays of it are better declared as {@link Bytes}.
 *
 * @category scalars
 * @since 0.1.0
 */
export const Byte: Schema.Int = integer(scalars.uint8, 0, 0xff)

/**
 * `small`: a signed 8-bit integer.
 *
 * @category scalars
 * @since 0.1.0
 */
export const Int8: Schema.Int = integer(scalars.int8, -0x80, 0x7f)

/**
 * `unsigned small`: an 8-bit integer.
 *
 * @category scalars
 * @since 0.1.0
 */
export const Uint8: Schema.Int = integer(scalars.uint8, 0, 0xff)

/**
 * `short`: a signed 16-bit integer.
 *
 * @category scalars
 * @since 0.1.0
 */
export const Int16: Schema.Int = integer(scalars.int16, -0x8000, 0x7fff)

/**
 * `unsigned short`: a 16-bit integer.
 *
 * @category scalars
 * @since 0.1.0
 */
export const Uint16: Schema.Int = integer(scalars.uint16, 0, 0xffff)

/**
 * `long`: a signed 32-bit integer.
 *
 * @category scalars
 * @since 0.1.0
 */
export const Int32: Schema.Int = integer(scalars.int32, -0x80000000, 0x7fffffff)

/**
 * `unsigned long`, and `error_status_t`: a 32-bit integer.
 *
 * @category scalars
 * @since 0.1.0
 */
export const Uint32: Schema.Int = integer(scalars.uint32, 0, 0xffffffff)

/**
 * `hyper`: a signed 64-bit integer, as a `bigint`.
 *
 * @category scalars
 * @since 0.1.0
 */
export const Int64: Schema.BigInt = constant(() =>
  represent(
    Schema.BigInt.check(Schema.isBetweenBigInt({ minimum: -(2n ** 63n), maximum: 2n ** 63n - 1n })),
    scalars.large(scalars.int64)
  )
)

/**
 * `unsigned hyper`: a 64-bit integer, as a `bigint`.
 *
 * @category scalars
 * @since 0.1.0
 */
export const Uint64: Schema.BigInt = constant(() =>
  represent(
    Schema.BigInt.check(Schema.isBetweenBigInt({ minimum: 0n, maximum: 2n ** 64n - 1n })),
    scalars.large(scalars.uint64)
  )
)

/**
 * `float`: an IEEE number of 32 bits. Numbers are rounded to it; one beyond its range is refused.
 *
 * @category scalars
 * @since 0.1.0
 */
export const Float: Schema.Number = constant(() => represent(Schema.Number, scalars.plain(scalars.float)))

/**
 * `double`: an IEEE number of 64 bits.
 *
 * @category scalars
 * @since 0.1.0
 */
export const Double: Schema.Number = constant(() => represent(Schema.Number, scalars.plain(scalars.double)))

/**
 * `GUID`: a UUID, as text in the canonical form. It is read in lower case.
 *
 * @category scalars
 * @since 0.1.0
 */
export const Uuid: Schema.String = constant(() =>
  represent(
    Schema.String.check(Schema.isPattern(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i)),
    scalars.uuid
  )
)

/**
 * The schema of an enumeration with names: one of them, or a number that the definition does not name.
 *
 * @category models
 * @since 0.1.0
 */
export type NamedEnum<Names extends string> = Schema.Union<readonly [Schema.Literals<ReadonlyArray<Names>>, Schema.Int]>

/**
 * Makes an enumeration: of the names in a record, or of bare numbers.
 *
 * @category models
 * @since 0.1.0
 */
export interface MakeEnum {
  (numbers: ReadonlyArray<number>): Schema.Int
  <const Names extends { readonly [name: string]: number }>(names: Names): NamedEnum<keyof Names & string>
}

const makeEnum = (title: string, size: 2 | 4): MakeEnum => {
  const make = (definition: ReadonlyArray<number> | { readonly [name: string]: number }): Parameters => {
    const isNamed = !Array.isArray(definition)
    const numbers = new Map<string | number, number>(
      isNamed ? Object.entries(definition) : definition.map((number) => [number, number])
    )
    for (const number of numbers.values()) {
      if (!Number.isInteger(number) || number < -0x80000000 || number > 0xffffffff) {
        refuseArgument(`Ndr.${title}`, `${number} is not an integer from -2147483648 to 4294967295`)
      }
    }
    const [minimum, maximum] = [size === 2 ? 0 : -0x80000000, scalars.largestOfEnum[size]]
    const number = Schema.Int.check(Schema.isBetween({ minimum, maximum }))
    const schema = isNamed ? Schema.Union([Schema.Literals([...numbers.keys()]), number]) : number
    return represent(schema, scalars.enumeration(size, numbers, isNamed))
  }
  return make as MakeEnum
}

/**
 * `enum`: 16 bits on the wire, of which 0 to 0x7FFF are used.
 *
 * **Details**
 *
 * A record makes an enumeration of its names, an array one of bare numbers. A number that is not declared passes as a
 * number in both directions, so that a peer of a later version may send it. Of names with the same number all are written,
 * and the first one is read.
 *
 * Numbers from -2147483648 to 4294967295 may be declared, as in C. One below 0 or above 0x7FFF does not travel: it is
 * refused with 1781, and so is a name that is not declared.
 *
 * **Example** (Names, and bare numbers)
 *
 * ```ts
 * import * as Ndr from "@callisto/rpc/ndr/Ndr"
 *
 * const Color = Ndr.enum16({ Red: 1, Green: 2 }) // values "Red", "Green", and any other number
 * const Level = Ndr.enum16([1, 2, 5]) //            values are numbers
 * ```
 *
 * @category enumerations
 * @since 0.1.0
 */
export const enum16: MakeEnum = makeEnum("enum16", 2)

/**
 * `[v1_enum] enum`: 32 bits on the wire. Like {@link enum16} otherwise.
 *
 * **Details**
 *
 * All numbers that may be declared travel; a negative one and the one 2^32 above it are the same on the wire.
 * A number that is not declared is read as one from 0 on.
 *
 * @category enumerations
 * @since 0.1.0
 */
export const enum32: MakeEnum = makeEnum("enum32", 4)

// ----------------------------------------------------------------------------
// strings
// ----------------------------------------------------------------------------

const boundOf = (title: string, bound: number, least: number): number => {
  if (Number.isInteger(bound) && bound >= least && bound <= 0xffffffff) return bound
  return refuseArgument(`Ndr.${title}`, `${bound} is not a number of elements`)
}

/**
 * `[string] wchar_t*`: text in UTF-16, with its length on the wire. It may hold lone surrogates but not NUL, which ends it
 * on the wire.
 *
 * @category strings
 * @since 0.1.0
 */
export const WString: Schema.String = constant(() =>
  represent(Schema.String, strings.string(true, arrays.conformantVarying))
)

/**
 * `[string] char*`: text of one byte a character, U+0001 to U+00FF.
 *
 * @category strings
 * @since 0.1.0
 */
export const String: Schema.String = constant(() =>
  represent(Schema.String, strings.string(false, arrays.conformantVarying))
)

const varyingText = (title: string, wide: boolean, bound: number): Schema.String =>
  represent(
    Schema.String.check(Schema.isMaxLength(boundOf(title, bound, 1) - 1)),
    strings.string(wide, arrays.varying(bound))
  )

/**
 * `[string] wchar_t[bound]`: a {@link WString} whose greatest length is declared, its final NUL included.
 *
 * @category strings
 * @since 0.1.0
 */
export const varyingWString = (bound: number): Schema.String => varyingText("varyingWString", true, bound)

/**
 * `[string] char[bound]`: a {@link String} whose greatest length is declared, its final NUL included.
 *
 * @category strings
 * @since 0.1.0
 */
export const varyingString = (bound: number): Schema.String => varyingText("varyingString", false, bound)

/**
 * Text, and the number of characters in the buffer that holds it.
 *
 * @category models
 * @since 0.1.0
 */
export interface SizedText {
  /** The size of the buffer in characters, at least that of the text; the NUL of a string included. */
  readonly size: number
  /** The text, without its NUL. */
  readonly text: string
}

const sizedText = (text: Schema.String): Schema.Codec<SizedText> =>
  represent(Schema.Struct({ size: Uint32, text }), arrays.sized(text.ast, "text"))

/**
 * `[string, size_is(n)] wchar_t*`, where `n` is more than the text needs: a buffer whose size the client has chosen.
 *
 * **Details**
 *
 * A value is `{ size, text }`. A size below `text.length + 1` is refused with 1734 (`RPC_S_INVALID_BOUND`). Where the size
 * does not matter, {@link WString} is simpler: it is read from a buffer of any size, and written with the size that it needs.
 *
 * **Example** (A name in the buffer of the client)
 *
 * ```ts
 * import { Interface } from "@callisto/rpc"
 * import * as Ndr from "@callisto/rpc/ndr/Ndr"
 *
 * const GetName = Interface.method({
 *   in: { size: Ndr.sizeIs("name"), name: Ndr.SizedWString },
 *   out: { size: Ndr.sizeIs("name"), name: Ndr.SizedWString }
 * })
 *
 * const input: Interface.Method.In<typeof GetName> = { name: { size: 256, text: "" } }
 * ```
 *
 * @category strings
 * @since 0.1.0
 */
export const SizedWString: Schema.Codec<SizedText> = sizedText(WString)

/**
 * `[string, size_is(n)] char*`: like {@link SizedWString}, of one byte a character.
 *
 * @category strings
 * @since 0.1.0
 */
export const SizedString: Schema.Codec<SizedText> = sizedText(String)

// ----------------------------------------------------------------------------
// text without NUL
// ----------------------------------------------------------------------------

/**
 * `[size_is(n)] wchar_t[]`: text that is counted and does not end in NUL. NULs in it are part of the text.
 *
 * @category text without NUL
 * @since 0.1.0
 */
export const WChars: Schema.String = constant(() => represent(Schema.String, strings.characters(arrays.conformant)))

/**
 * `[size_is(n), length_is(m)] wchar_t[]`: like {@link WChars}, conformant and varying.
 *
 * **Details**
 *
 * It is sent with a size equal to its length; one that is larger is accepted.
 *
 * @category text without NUL
 * @since 0.1.0
 */
export const VaryingWChars: Schema.String = constant(() =>
  represent(Schema.String, strings.characters(arrays.conformantVarying))
)

/**
 * `[length_is(n)] wchar_t[bound]`: like {@link WChars}, with a greatest length that is declared.
 *
 * @category text without NUL
 * @since 0.1.0
 */
export const varyingWChars = (bound: number): Schema.String =>
  represent(
    Schema.String.check(Schema.isMaxLength(boundOf("varyingWChars", bound, 0))),
    strings.characters(arrays.varying(bound))
  )

/**
 * `wchar_t[count]`: text in a declared number of characters, of which those behind the text are zeros.
 *
 * **Details**
 *
 * It is read up to the first NUL. Longer text is refused with 1734 (`RPC_S_INVALID_BOUND`), and text that holds a NUL with
 * 1783.
 *
 * @category text without NUL
 * @since 0.1.0
 */
export const fixedWChars = (count: number): Schema.String =>
  represent(
    Schema.String.check(Schema.isMaxLength(boundOf("fixedWChars", count, 0)), Schema.isPattern(/^[^\0]*$/)),
    strings.characters(arrays.fixed(count))
  )

/**
 * `[size_is(n), length_is(m)] wchar_t[]`, where `n` is more than the length of the text: a buffer whose size the client has
 * chosen. A value is `{ size, text }`; a size below `text.length` is refused with 1734 (`RPC_S_INVALID_BOUND`).
 *
 * @category text without NUL
 * @since 0.1.0
 */
export const SizedVaryingWChars: Schema.Codec<SizedText> = sizedText(VaryingWChars)

/**
 * The text of a {@link UnicodeString} or {@link CountedString}: a string, or `null` for a null pointer, or either in a buffer
 * that is larger, whose size in characters goes along.
 *
 * @category models
 * @since 0.1.0
 */
export type CountedText = string | null | {
  /** The text in the buffer; `null` where there is none, though a size is told. */
  readonly text: string | null
  /** How many characters the buffer holds. */
  readonly size: number
}

const countedText = (wide: boolean): Schema.Codec<CountedText> => {
  const most = strings.mostCharacters(wide)
  const text = Schema.NullOr(Schema.String.check(Schema.isMaxLength(most)))
  const size = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: most }))
  const larger = Schema.Struct({ text, size }).check(
    Schema.makeFilter(({ size, text }) => size > (text?.length ?? 0), {
      expected: "a size above the length of the text"
    })
  )
  return represent(Schema.Union([text, larger]), strings.countedString(wide))
}

/**
 * `RPC_UNICODE_STRING`: a length and a size in bytes, of 16 bits each, and a pointer to text that does not end in NUL.
 *
 * **Details**
 *
 * A value is a string, or `null` for a null pointer. Where the buffer is larger than its text it is `{ text, size }`, with the
 * size in characters: a client that offers a buffer to be filled writes `{ text: "", size: 256 }`. {@link textOf} gives the
 * text of all of them. A plain string is written into a buffer of its own length.
 *
 * More than 65,535 bytes, and a size below the length, are refused with 1734 (`RPC_S_INVALID_BOUND`).
 *
 * **Gotchas**
 *
 * Behind a pointer that may be null itself, a null buffer of size 0 is read as `{ text: null, size: 0 }`: `null` is the null
 * pointer there.
 *
 * **Example** (A name, and a buffer for one)
 *
 * ```ts
 * import * as Ndr from "@callisto/rpc/ndr/Ndr"
 *
 * const Row = Ndr.struct({ name: Ndr.UnicodeString, class: Ndr.UnicodeString })
 *
 * const row: typeof Row.Type = { name: "Alice", class: { text: "", size: 256 } }
 * Ndr.textOf(row.class) // => ""
 * ```
 *
 * @category text without NUL
 * @since 0.1.0
 */
export const UnicodeString: Schema.Codec<CountedText> = countedText(true)

/**
 * `STRING`, the structure of a length, a size and a `char *`: like {@link UnicodeString}, of one byte a character.
 *
 * @category text without NUL
 * @since 0.1.0
 */
export const CountedString: Schema.Codec<CountedText> = countedText(false)

/**
 * The text of a {@link UnicodeString} or {@link CountedString}, without the size of its buffer.
 *
 * @category text without NUL
 * @since 0.1.0
 */
export const textOf = (value: CountedText): string | null =>
  typeof value === "string" || value === null ? value : value.text

// ----------------------------------------------------------------------------
// arrays
// ----------------------------------------------------------------------------

const array = <T extends Parameters>(element: T, shape: Shape): Schema.$Array<T> =>
  represent(Schema.Array(element), arrays.array(shape, element.ast))

/**
 * `T[count]`: an array of a declared number of elements, which does not travel.
 *
 * @category arrays
 * @since 0.1.0
 */
export const fixed = <T extends Parameters>(element: T, count: number): Schema.$Array<T> =>
  represent(
    Schema.Array(element).check(Schema.isBetweenLength(count, count)),
    arrays.array(arrays.fixed(boundOf("fixed", count, 0)), element.ast)
  )

/**
 * `[size_is(n)] T[]`: an array that travels with its size.
 *
 * **Details**
 *
 * A parameter, the target of a pointer, or the last field of a structure. Where the size is also a field or parameter of
 * its own, declare that with {@link sizeIs}. For bytes there is {@link Bytes}.
 *
 * @category arrays
 * @since 0.1.0
 */
export const conformant = <T extends Parameters>(element: T): Schema.$Array<T> => array(element, arrays.conformant)

/**
 * `[length_is(n)] T[bound]`: an array of which a part travels, with its length. The elements that travel are the value.
 *
 * @category arrays
 * @since 0.1.0
 */
export const varying = <T extends Parameters>(element: T, bound?: number): Schema.$Array<T> => {
  if (bound === undefined) return array(element, arrays.varying(undefined))
  return represent(
    Schema.Array(element).check(Schema.isMaxLength(boundOf("varying", bound, 0))),
    arrays.array(arrays.varying(bound), element.ast)
  )
}

/**
 * `[size_is(n), length_is(m)] T[]`: an array of which a part travels, with its size and its length.
 *
 * **Details**
 *
 * The elements that travel are the value. They are sent with a size equal to their number; one that is larger is accepted.
 *
 * @category arrays
 * @since 0.1.0
 */
export const conformantVarying = <T extends Parameters>(element: T): Schema.$Array<T> =>
  array(element, arrays.conformantVarying)

/**
 * An array of which a part travels: its size, and the elements that do.
 *
 * @category models
 * @since 0.1.0
 */
export type SizedArray<T extends Parameters> = Schema.Struct<{
  readonly size: Schema.Int
  readonly elements: Schema.$Array<T>
}>

/**
 * `[size_is(n), length_is(m)] T[]`, where `n` is more than the number of elements that travel: a buffer whose size the
 * client has chosen, and which the server fills in part.
 *
 * **Details**
 *
 * A value is `{ size, elements }`. More elements than the size says are refused with 1734 (`RPC_S_INVALID_BOUND`). Where the
 * size does not matter, {@link conformantVarying} is simpler.
 *
 * **Example** (At most as many names as were asked for)
 *
 * ```ts
 * import { Interface } from "@callisto/rpc"
 * import * as Ndr from "@callisto/rpc/ndr/Ndr"
 *
 * const Names = Interface.method({
 *   in: { max: Ndr.Uint32 },
 *   out: { count: Ndr.lengthIs("names"), names: Ndr.sizedVarying(Ndr.unique(Ndr.WString)) }
 * })
 *
 * const output: Interface.Method.Out<typeof Names> = { names: { size: 10, elements: ["a", "b"] } }
 * ```
 *
 * @category arrays
 * @since 0.1.0
 */
export const sizedVarying = <T extends Parameters>(element: T): SizedArray<T> =>
  represent(
    Schema.Struct({ size: Uint32, elements: Schema.Array(element) }),
    arrays.sized(conformantVarying(element).ast, "elements")
  )

const bytes = (shape: Shape): Schema.Uint8Array => represent(Schema.Uint8Array, arrays.bytes(shape))

/**
 * `[size_is(n)] byte[]`: {@link conformant} bytes.
 *
 * **Details**
 *
 * Read from a stub that is owned they are a view of it, otherwise a copy; see {@link Reader}.
 *
 * @category arrays
 * @since 0.1.0
 */
export const Bytes: Schema.Uint8Array = bytes(arrays.conformant)

/**
 * `[size_is(n), length_is(m)] byte[]`: {@link conformantVarying} bytes.
 *
 * @category arrays
 * @since 0.1.0
 */
export const VaryingBytes: Schema.Uint8Array = bytes(arrays.conformantVarying)

/**
 * `[length_is(n)] byte[bound]`: {@link varying} bytes.
 *
 * @category arrays
 * @since 0.1.0
 */
export const varyingBytes = (bound: number): Schema.Uint8Array =>
  represent(
    Schema.Uint8Array.check(Schema.isMaxLength(boundOf("varyingBytes", bound, 0))),
    arrays.bytes(arrays.varying(bound))
  )

/**
 * `byte[count]`: {@link fixed} bytes.
 *
 * @category arrays
 * @since 0.1.0
 */
export const fixedBytes = (count: number): Schema.Uint8Array =>
  represent(
    Schema.Uint8Array.check(Schema.isBetweenLength(boundOf("fixedBytes", count, 0), count)),
    arrays.bytes(arrays.fixed(count))
  )

/**
 * Bytes, and the size of the buffer that holds them.
 *
 * @category models
 * @since 0.1.0
 */
export interface SizedBytes {
  /** The size of the buffer, at least the number of bytes. */
  readonly size: number
  /** The bytes. */
  readonly bytes: Uint8Array
}

/**
 * `[size_is(n), length_is(m)] byte[]`, where `n` is more than the number of bytes that travel: a buffer whose size the client
 * has chosen, and which the server fills in part.
 *
 * **Details**
 *
 * A value is `{ size, bytes }`. More bytes than the size says are refused with 1734 (`RPC_S_INVALID_BOUND`). Where the size
 * does not matter, {@link VaryingBytes} is simpler.
 *
 * @category arrays
 * @since 0.1.0
 */
export const SizedVaryingBytes: Schema.Codec<SizedBytes> = constant(() =>
  represent(
    Schema.Struct({ size: Uint32, bytes: Schema.Uint8Array }),
    arrays.sized(VaryingBytes.ast, "bytes")
  )
)

// ----------------------------------------------------------------------------
// ranges
// ----------------------------------------------------------------------------

/**
 * `[range(minimum, maximum)]`: bounds an integer, or the number of elements of an array, of bytes or of text.
 *
 * **Details**
 *
 * A string's NUL counts as an element. Of an array with a size of its own it is the size that is bounded. A value out of the
 * range is refused with 1783 (`RPC_X_BAD_STUB_DATA`) where it is written and where it is read. The range changes no byte, and
 * unlike a check that is added to a schema it may stand beside {@link full} pointers.
 *
 * **Gotchas**
 *
 * The target of a pointer has the range, not the pointer: `unique(range(WString, 1, 256))`.
 *
 * **Example** (At most 1,024 bytes)
 *
 * ```ts
 * import * as Ndr from "@callisto/rpc/ndr/Ndr"
 *
 * const Buffer = Ndr.struct({
 *   size: Ndr.sizeIs("data", Ndr.range(Ndr.Uint32, 0, 1024)),
 *   data: Ndr.unique(Ndr.range(Ndr.Bytes, 0, 1024))
 * })
 * ```
 *
 * @category ranges
 * @since 0.1.0
 */
export const range = <T extends Parameters>(type: T, minimum: number | bigint, maximum: number | bigint): T => {
  const representation = representationOf(type.ast)
  const bounded = representation?.bounded
  if (representation === undefined || bounded === undefined || type.ast.encoding !== undefined) {
    return refuseArgument(
      "Ndr.range",
      "the type is not an integer, an array, bytes or text of Ndr. Give it what a pointer points to"
    )
  }
  for (const [name, bound] of Object.entries({ minimum, maximum })) {
    if (typeof bound !== "bigint" && !Number.isInteger(bound)) {
      refuseArgument("Ndr.range", `${name}: ${bound} is not an integer`)
    }
  }
  if (!(minimum <= maximum)) refuseArgument("Ndr.range", `${minimum} to ${maximum} is no range`)
  const checked = (type as unknown as Schema.Schema<any>).check(checkOf(bounded, minimum, maximum))
  return represent(checked, ranged(type.ast, { ...representation, bounded }, minimum, maximum)) as unknown as T
}

const checkOf = ({ by, more = 0, of }: Bounded, minimum: number | bigint, maximum: number | bigint) => {
  if (by === "length") return Schema.isBetweenLength(Number(minimum) - more, Number(maximum) - more)
  if (by === "value") {
    return typeof minimum === "bigint" && typeof maximum === "bigint"
      ? Schema.isBetweenBigInt({ minimum, maximum })
      : Schema.isBetween({ minimum: Number(minimum), maximum: Number(maximum) })
  }
  const isWithin = (value: unknown): boolean => of(value) >= minimum && of(value) <= maximum
  return Schema.makeFilter(isWithin, { expected: `a number from ${minimum} to ${maximum}` })
}

// ----------------------------------------------------------------------------
// structures
// ----------------------------------------------------------------------------

/**
 * `struct`: its fields in the order of declaration, aligned as the largest of them.
 *
 * **Details**
 *
 * The last field may be a conformant array. A `Schema.Struct` of NDR types is a structure too, except as the whole of a
 * method's parameters: there its fields are the parameters.
 *
 * **Example** (A structure with a counted array)
 *
 * ```ts
 * import * as Ndr from "@callisto/rpc/ndr/Ndr"
 *
 * const Surrounding = Ndr.struct({
 *   count: Ndr.sizeIs("numbers"),
 *   numbers: Ndr.conformant(Ndr.Uint16)
 * })
 *
 * const value: typeof Surrounding.Type = { numbers: [1, 2, 3] } // the count goes along
 * ```
 *
 * @category structures
 * @since 0.1.0
 */
export const struct = <const F extends { readonly [name: string]: Parameters }>(fields: F): Schema.Struct<F> =>
  represent(Schema.Struct(fields), structure)

/**
 * A field or parameter that another one determines. It is no part of the value: it is written from the other and checked
 * against it when it is read.
 *
 * @category models
 * @since 0.1.0
 */
export type Derived = Schema.optionalKey<Schema.Never>

const derived = (
  what: "size" | "length" | "switch",
  fields: string | ReadonlyArray<string>,
  type: Parameters | undefined,
  unit = 1
): Derived => {
  if (!(Number.isInteger(unit) && unit > 0)) {
    refuseArgument(`Ndr.${what}Is`, `the unit is ${unit}, not a positive integer`)
  }
  const names = typeof fields === "string" ? [fields] : [...fields]
  if (names.length === 0) refuseArgument(`Ndr.${what}Is`, "it names no field")
  return Schema.optionalKey(represent(Schema.Never, {
    flows: true,
    make: () => refuseDefinition("a derived field stands in a structure or among parameters"),
    parts: type === undefined ? [] : [type.ast],
    derived: { what, fields: names, type: type?.ast, unit }
  }))
}

/**
 * How a count is told.
 *
 * @category models
 * @since 0.1.0
 */
export interface CountOptions {
  /** The units that the field counts for each element, by default 1: 2 where it is the size of UTF-16 text in bytes. A positive integer. */
  readonly unit?: number | undefined
}

/**
 * The number of elements of another field or parameter, which MIDL declares there as `size_is`.
 *
 * **Details**
 *
 * The other is a conformant array, a string, or a pointer to one; for a null pointer the size is written as 0, and not
 * checked. `type` is an integer of at most 32 bits, by default {@link Uint32}. A size that differs from that of the array
 * is refused with 1734 (`RPC_S_INVALID_BOUND`).
 *
 * Where one size holds for several arrays it names them all, and they must have the same; of a varying array among them, which
 * has no size of its own, the length counts. With a `unit` it is written as so
 * many times the number of elements, and read as a multiple, rounded down. `type` may be a {@link unique} pointer to an
 * integer: it is null where the array is null, and refused with 1734 where it alone is.
 *
 * **Example** (A size among parameters)
 *
 * ```ts
 * import { Interface } from "@callisto/rpc"
 * import * as Ndr from "@callisto/rpc/ndr/Ndr"
 *
 * const SinkData = Interface.method({ in: { len: Ndr.sizeIs("data"), data: Ndr.Bytes } })
 *
 * const input: Interface.Method.In<typeof SinkData> = { data: new Uint8Array(16) }
 * ```
 *
 * **Example** (A size in bytes, and one for two arrays)
 *
 * ```ts
 * import * as Ndr from "@callisto/rpc/ndr/Ndr"
 *
 * const Text = Ndr.struct({
 *   bytes: Ndr.sizeIs("text", Ndr.Uint16, { unit: 2 }),
 *   text: Ndr.unique(Ndr.WChars)
 * })
 * const Both = Ndr.struct({
 *   count: Ndr.sizeIs(["ids", "names"]),
 *   ids: Ndr.unique(Ndr.conformant(Ndr.Uint32)),
 *   names: Ndr.unique(Ndr.conformant(Ndr.unique(Ndr.WString)))
 * })
 *
 * const both: typeof Both.Type = { ids: [1, 2], names: ["a", "b"] }
 * ```
 *
 * @category structures
 * @since 0.1.0
 */
export const sizeIs = (
  field: string | ReadonlyArray<string>,
  type: Parameters = Uint32,
  options?: CountOptions
): Derived => derived("size", field, type, options?.unit)

/**
 * The number of elements that travel of another field or parameter, which MIDL declares there as `length_is`. The other is
 * a varying array, a string, or a pointer to one; otherwise like {@link sizeIs}.
 *
 * @category structures
 * @since 0.1.0
 */
export const lengthIs = (
  field: string | ReadonlyArray<string>,
  type: Parameters = Uint32,
  options?: CountOptions
): Derived => derived("length", field, type, options?.unit)

/**
 * The discriminant of another field or parameter that is a {@link union}, which MIDL declares there as `switch_is`.
 *
 * **Details**
 *
 * `type` is by default that of the union's discriminant, which stands in front of the union as well. Two that differ are
 * refused with 1733 (`RPC_S_INVALID_TAG`).
 *
 * @category structures
 * @since 0.1.0
 */
export const switchIs = (field: string, type?: Parameters): Derived => derived("switch", field, type)

// ----------------------------------------------------------------------------
// unions
// ----------------------------------------------------------------------------

/**
 * The arms of a union by the value of its discriminant. An arm without contents is `Schema.Void`.
 *
 * @category models
 * @since 0.1.0
 */
export type Cases = { readonly [label: string | number]: Parameters }

/**
 * Types that belong to unions.
 *
 * @category models
 * @since 0.1.0
 */
export declare namespace Union {
  /** The value of a union: which case it is, and its contents. */
  export type Value<C extends Cases, Default extends Parameters | undefined, Side extends "Type" | "Encoded"> =
    | { readonly [K in keyof C]: Contents<{ readonly case: Label<K> }, C[K], Side> }[keyof C]
    | (Default extends Parameters ? Contents<{ readonly default: number | string }, Default, Side> : never)

  /** The contents of an arm beside its case; none for an empty arm. */
  export type Contents<Case, Arm extends Parameters, Side extends "Type" | "Encoded"> = Arm extends Schema.Void ? Case
    : { readonly [K in keyof Case | "value"]: K extends keyof Case ? Case[K] : Arm[Side] }

  /** The case under which an arm is declared. */
  export type Label<K> = K extends `${infer N extends number}` ? N : K
}

/**
 * `union`: one of several types, with a discriminant that says which.
 *
 * **Details**
 *
 * - The discriminant is an integer of at most 32 bits or an enumeration, whose numbers or names are the labels of `cases`.
 *   It is written in front of the arm, in unions that MIDL calls encapsulated and in those that it does not; for the latter
 *   it stands once more in the field or parameter that is declared with {@link switchIs}.
 * - A value is `{ case, value }`, for an empty arm `{ case }`. One of the `default` arm is `{ default, value }`, where
 *   `default` is the discriminant, none of the cases.
 * - A discriminant without an arm is refused with 1733 (`RPC_S_INVALID_TAG`).
 * - `msUnion` is for unions that MIDL declares with `ms_union` and that are not encapsulated: there each arm, also an empty
 *   one, begins at the largest alignment of all arms, and so does the union as the element of an array.
 *
 * **Example** (Information in two levels)
 *
 * ```ts
 * import * as Ndr from "@callisto/rpc/ndr/Ndr"
 *
 * const Info = Ndr.union(Ndr.Uint16, { 1: Ndr.Uint32, 2: Ndr.struct({ name: Ndr.unique(Ndr.WString) }) })
 *
 * const value: typeof Info.Type = { case: 2, value: { name: "a" } }
 * ```
 *
 * @category unions
 * @since 0.1.0
 */
export const union = <const C extends Cases, Default extends Parameters | undefined = undefined>(
  discriminant: Parameters,
  cases: C,
  options?: {
    /** The type of the arm for all other discriminants; without it they are refused. */
    readonly default?: Default
    /** Whether arms are aligned as `ms_union` says; by default `false`. */
    readonly msUnion?: boolean | undefined
  }
): Schema.Codec<Union.Value<C, Default, "Type">, Union.Value<C, Default, "Encoded">> => {
  const isNamed = representationOf(discriminant.ast)?.named === true
  const arms = Object.entries(cases).map(([key, type]) => {
    const label = isNamed ? key : Number(key)
    if (!isNamed && (!Number.isInteger(label) || `${label}` !== key)) {
      refuseArgument("Ndr.union", `a label is ${JSON.stringify(key)}, not a decimal integer`)
    }
    return { label, type }
  })
  const rest = options?.default
  const members = [
    ...arms.map(({ label, type }) => armSchema({ case: Schema.Literal(label) }, type)),
    ...(rest === undefined ? [] : [armSchema({ default: discriminant }, rest)])
  ]
  const all = [
    ...arms.map(({ label, type }) => ({ label, type: type.ast })),
    ...(rest === undefined ? [] : [{ label: undefined, type: rest.ast }])
  ]
  return represent(
    Schema.Union(members),
    unions.union(discriminant.ast, all, options?.msUnion === true)
  ) as never
}

const armSchema = (label: { readonly [name: string]: Parameters }, type: Parameters): Schema.Constraint =>
  Schema.Struct(type.ast._tag === "Void" ? label : { ...label, value: type })

// ----------------------------------------------------------------------------
// pointers
// ----------------------------------------------------------------------------

/**
 * `[ref]`: a pointer that is never null. As a parameter it leaves no trace on the wire; in a structure, union or array it has
 * a place there, and its target follows.
 *
 * @category pointers
 * @since 0.1.0
 */
export const ref = <T extends Parameters>(target: T): T => represent(target, pointer("ref", target.ast))

/**
 * `[unique]`: a pointer that may be null.
 *
 * **Gotchas**
 *
 * Of a pointer to a pointer that may be null, `null` is the null pointer: a pointer to a null one is refused with 1783 where it
 * is read. A structure of one field between, `unique(struct({ value: unique(T) }))`, travels alike and keeps both.
 *
 * **Example** (A list)
 *
 * ```ts
 * import * as Ndr from "@callisto/rpc/ndr/Ndr"
 * import { Schema } from "effect"
 *
 * interface Item {
 *   readonly name: string
 *   readonly next: Item | null
 * }
 *
 * const Item = Ndr.struct({
 *   name: Ndr.unique(Ndr.WString),
 *   next: Ndr.unique(Schema.suspend((): Schema.Codec<Item> => Item as never))
 * })
 * ```
 *
 * @category pointers
 * @since 0.1.0
 */
export const unique = <T extends Parameters>(target: T): Schema.NullOr<T> =>
  represent(Schema.NullOr(target), pointer("unique", target.ast))

/**
 * `[ptr]`: a pointer that may be null and may point to what another one of the same message points to. Objects that are
 * one object on the one side are one object on the other.
 *
 * **Details**
 *
 * A parameter beside it must not have a transformation, or a check that was added to its type: they copy objects.
 *
 * @category pointers
 * @since 0.1.0
 */
export const full = <T extends Parameters>(target: T): Schema.NullOr<T> =>
  represent(Schema.NullOr(target), pointer("full", target.ast))

// ----------------------------------------------------------------------------
// codecs
// ----------------------------------------------------------------------------

/**
 * Why a value could not be encoded or a stub not be decoded.
 *
 * **Details**
 *
 * `status` is the documented Win32 code:
 *
 * - 1733 `RPC_S_INVALID_TAG`: a union has no arm for its discriminant, or two discriminants differ
 * - 1734 `RPC_S_INVALID_BOUND`: a count that its declaration, another count or the array itself contradicts
 * - 1780 `RPC_X_NULL_REF_POINTER`: a reference pointer is null
 * - 1781 `RPC_X_ENUM_VALUE_OUT_OF_RANGE`: a number that the enumeration can't have, or a name that it does not have
 * - 1783 `RPC_X_BAD_STUB_DATA`: everything else: the stub is too short, a value is not of its type
 *
 * @category models
 * @since 0.1.0
 */
export interface NdrError {
  /** Tells it from other errors. */
  readonly _tag: "NdrError"
  /** The Win32 code. */
  readonly status: 1733 | 1734 | 1780 | 1781 | 1783
  /** The parameter and the field, like `info.names[2]`; empty where it is the whole. */
  readonly path: string
  /** The problem, in words for a person. */
  readonly message: string
  /** Whether the stub ended before the value did, so that more bytes may help. */
  readonly truncated: boolean
}

/**
 * Where an encoder writes: a buffer with room that grows, such as `Pdu.Writer`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Writer {
  /** The buffer. */
  readonly bytes: Uint8Array
  /** The same bytes. */
  readonly view: DataView
  /** Where the next byte goes. */
  position: number
  /** Where the stub begins. Alignment counts from here. */
  readonly stub: number
  /** The byte order of numbers. */
  readonly littleEndian: boolean
  /** Makes room for `size` bytes at `position`. It may replace `bytes` and `view`, and move `position` and `stub` alike. */
  ensure(size: number): void
}

/**
 * A stub to be read.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reader {
  /** The whole stub, from where alignment counts. */
  readonly bytes: Uint8Array
  /** The byte order of numbers. */
  readonly littleEndian: boolean
  /** Whether nobody will write to the bytes any more, so that byte arrays may be views of them. */
  readonly owned: boolean
  /** How many values the stub may hold: numbers, strings, byte arrays and nulls; by default 262,144. More are refused with 1783. */
  readonly maximumElements?: number | undefined
  /** Where to read next. After decoding, behind the value. */
  position: number
}

/**
 * The encoder and the decoder of a schema.
 *
 * **Details**
 *
 * A codec never throws, for any value or stub. After a failure the position of the writer or reader is as it was before. Bytes
 * behind the value in a stub are left alone.
 *
 * @category models
 * @since 0.1.0
 */
export interface Codec<A> {
  /** Writes a value at the writer's position. */
  encode(writer: Writer, value: A): Result.Result<void, NdrError>
  /** Reads a value. */
  decode(reader: Reader): Result.Result<A, NdrError>
}

/**
 * Makes a writer for one stub: a little-endian buffer that grows.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeWriter = (): Writer => {
  let bytes = new Uint8Array(256)
  let view = new DataView(bytes.buffer)
  return {
    position: 0,
    stub: 0,
    littleEndian: true,
    get bytes() {
      return bytes
    },
    get view() {
      return view
    },
    ensure(size) {
      if (this.position + size <= bytes.length) return
      const larger = new Uint8Array(Math.max(2 * bytes.length, this.position + size))
      larger.set(bytes)
      bytes = larger
      view = new DataView(bytes.buffer)
    }
  }
}

/**
 * Makes a reader of a stub. Without options it is little-endian and not owned.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeReader = (
  bytes: Uint8Array,
  options?: {
    /** The byte order of numbers; by default `true`. */
    readonly littleEndian?: boolean | undefined
    /** See {@link Reader}; by default `false`. */
    readonly owned?: boolean | undefined
    /** See {@link Reader}; by default 262,144. */
    readonly maximumElements?: number | undefined
  }
): Reader => ({
  bytes,
  littleEndian: options?.littleEndian ?? true,
  owned: options?.owned ?? false,
  maximumElements: options?.maximumElements,
  position: 0
})

const programs = new WeakMap<SchemaAST.AST, Codec<any> | undefined>()

/**
 * The codec of a schema, or `undefined` for one that has no NDR form. It is compiled once.
 *
 * **Details**
 *
 * The schema is that of a method's parameters in one direction, `method.in` or `method.out`. A schema made of fields is a
 * list of parameters, each of them aligned as it needs, the return value being the last one of `out`; any other is the one
 * parameter. Transformations to an NDR type and checks that were added to one are applied.
 *
 * Throws a `TypeError` that says where for a definition that NDR does not have, such as a conformant array that is not the
 * last field, or a size of a field that is none.
 *
 * **Example** (A request and its bytes)
 *
 * ```ts
 * import { Interface } from "@callisto/rpc"
 * import * as Ndr from "@callisto/rpc/ndr/Ndr"
 *
 * const AddOne = Interface.method({ in: { value: Ndr.Uint32 }, out: { value: Ndr.Uint32 } })
 *
 * const writer = Ndr.makeWriter()
 * Ndr.codecOf(AddOne.in)?.encode(writer, { value: 7 })
 * writer.bytes.subarray(0, writer.position) // => Uint8Array [7, 0, 0, 0]
 * ```
 *
 * @category codecs
 * @since 0.1.0
 */
export const codecOf = <S extends Parameters>(schema: S): Codec<S["Type"]> | undefined => {
  if (programs.has(schema.ast)) return programs.get(schema.ast)
  const program = lackIn("", schema.ast) === undefined ? compile(schema.ast) : undefined
  const codec = program && (program.transforms ? throughSchema(schema, makeCodec(program)) : makeCodec(program))
  programs.set(schema.ast, codec)
  return codec
}

const makeCodec = (program: Program): Codec<unknown> => ({
  encode: (writer, value) => {
    const written = writer.position - writer.stub
    try {
      const encoder = new Encoder(writer)
      program.write(encoder, value)
      encoder.finish()
      return Result.void
    } catch (error) {
      writer.position = writer.stub + written
      return refused(error)
    }
  },
  decode: (reader) => {
    try {
      const decoder = new Decoder(reader)
      const value = program.read(decoder)
      reader.position = decoder.position
      return Result.succeed(value)
    } catch (error) {
      return refused(error)
    }
  }
})

const throughSchema = (schema: Parameters, codec: Codec<unknown>): Codec<unknown> => {
  const bySchema = (message: string): NdrError => ndrError(statuses.badStubData, "", message)
  const encode = guarded(Schema.encodeUnknownExit(schema))
  const decode = guarded(Schema.decodeUnknownExit(schema))
  const toWire = (value: unknown) => Result.mapError(encode(value), bySchema)
  const fromWire = (value: unknown) => Result.mapError(decode(value), bySchema)
  return {
    encode: (writer, value) => Result.flatMap(toWire(value), (encoded) => codec.encode(writer, encoded)),
    decode: (reader) => {
      const { position } = reader
      const decoded = Result.flatMap(codec.decode(reader), fromWire)
      if (Result.isFailure(decoded)) reader.position = position
      return decoded
    }
  }
}
