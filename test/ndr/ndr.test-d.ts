// Compiled by the type check of the tests; it never runs.
import { type Result, Schema } from "effect"
import { Interface } from "../../mod.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import type * as Pdu from "../../src/dcerpc/Pdu.ts"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** Accepts only the literal `true` that its type argument stands for. */
declare const check: <T extends true>() => T

// -- values of the types -----------------------------------------------------------------------------------------------

const Row = Ndr.struct({
  id: Ndr.Uint32,
  big: Ndr.Int64,
  name: Ndr.unique(Ndr.WString),
  owner: Ndr.ref(Ndr.Uuid),
  kind: Ndr.enum16({ File: 1, Folder: 2 }),
  level: Ndr.enum32([1, 2]),
  hash: Ndr.fixedBytes(16),
  flags: Ndr.fixed(Ndr.Boolean, 4),
  data: Ndr.Bytes
})
check<
  Equal<typeof Row.Type, {
    readonly id: number
    readonly big: bigint
    readonly name: string | null
    readonly owner: string
    readonly kind: "File" | "Folder" | number
    readonly level: number
    readonly hash: Uint8Array<ArrayBufferLike>
    readonly flags: ReadonlyArray<boolean>
    readonly data: Uint8Array<ArrayBufferLike>
  }>
>()

const Some = Ndr.sizedVarying(Ndr.unique(Ndr.WString))
check<Equal<typeof Some.Type, { readonly size: number; readonly elements: ReadonlyArray<string | null> }>>()

const Rows = Ndr.unique(Ndr.conformant(Row))
check<Equal<typeof Rows.Type, ReadonlyArray<typeof Row.Type> | null>>()

// -- unions ------------------------------------------------------------------------------------------------------------

const Info = Ndr.union(Ndr.Uint16, { 1: Ndr.Uint32, 2: Schema.Void, "-1": Ndr.WString })
check<
  Equal<
    typeof Info.Type,
    | { readonly case: 1; readonly value: number }
    | { readonly case: 2 }
    | { readonly case: -1; readonly value: string }
  >
>()

const Open = Ndr.union(Ndr.enum16({ A: 0, B: 1, C: 2 }), { A: Ndr.Uint32 }, { default: Ndr.Boolean })
check<
  Equal<
    typeof Open.Type,
    { readonly case: "A"; readonly value: number } | { readonly default: number | string; readonly value: boolean }
  >
>()

declare const info: typeof Info.Type
if (info.case === -1) check<Equal<typeof info.value, string>>()

// -- derived fields are no part of the value ---------------------------------------------------------------------------

const Echo = Interface.method({
  in: { len: Ndr.sizeIs("data"), level: Ndr.switchIs("info"), data: Ndr.Bytes, info: Info },
  out: { data: Ndr.Bytes, result: Ndr.Uint32 }
})
type Input = Interface.Method.In<typeof Echo>

check<Equal<Input["len"], undefined>>()
export const input: Input = { data: new Uint8Array(1), info: { case: 2 } }
// @ts-expect-error: the size is that of the data
export const withLength: Input = { len: 1, data: new Uint8Array(1), info: { case: 2 } }
// @ts-expect-error: the data is not derived
export const withoutData: Input = { info: { case: 2 } }

check<
  Equal<
    Interface.Method.Out<typeof Echo>,
    { readonly data: Uint8Array<ArrayBufferLike>; readonly result: number }
  >
>()

// -- schemas of Effect -------------------------------------------------------------------------------------------------

const Even = Ndr.Uint32.check(Schema.isMultipleOf(2)).pipe(Schema.brand("Even"))
const Evens = Ndr.conformant(Even)
check<Equal<typeof Evens.Type, ReadonlyArray<typeof Even.Type>>>()

class Point extends Schema.Class<Point>("Point")({ x: Ndr.Int32, y: Ndr.Int32 }) {}
const Points = Ndr.full(Point)
check<Equal<typeof Points.Type, Point | null>>()

// @ts-expect-error: only what needs no services to encode and decode
Ndr.unique(5)

// -- codecs ------------------------------------------------------------------------------------------------------------

const codec = Ndr.codecOf(Echo.in)
check<Equal<typeof codec, Ndr.Codec<Input> | undefined>>()

declare const writer: Pdu.Writer
const encoded = codec!.encode(writer, input)
check<Equal<typeof encoded, Result.Result<void, Ndr.NdrError>>>()
const decoded = codec!.decode(Ndr.makeReader(new Uint8Array(0)))
check<Equal<typeof decoded, Result.Result<Input, Ndr.NdrError>>>()

// -- ranges, sizes and text --------------------------------------------------------------------------------------------

const Small = Ndr.range(Ndr.Uint32, 0, 10)
check<Equal<typeof Small, typeof Ndr.Uint32>>()
const Few = Ndr.range(Ndr.conformant(Row), 0, 10)
check<Equal<typeof Few.Type, ReadonlyArray<typeof Row.Type>>>()

check<Equal<typeof Ndr.SizedWString.Type, Ndr.SizedText>>()
check<Equal<typeof Ndr.SizedVaryingBytes.Type, Ndr.SizedBytes>>()
check<Equal<typeof Ndr.WChars.Type, string>>()
check<Equal<typeof Ndr.UnicodeString.Type, Ndr.CountedText>>()
export const texts: ReadonlyArray<Ndr.CountedText> = ["a", null, { text: "a", size: 2 }, { text: null, size: 1 }]
// @ts-expect-error: a text in a buffer has the size of the buffer
export const withoutSize: Ndr.CountedText = { text: "a" }

const Both = Ndr.struct({
  count: Ndr.sizeIs(["ids", "names"], Ndr.unique(Ndr.Uint16), { unit: 2 }),
  ids: Ndr.unique(Ndr.conformant(Ndr.Uint32)),
  names: Ndr.unique(Ndr.conformant(Ndr.unique(Ndr.WString)))
})
export const both: typeof Both.Type = { ids: [1], names: ["a"] }
// @ts-expect-error: the count is that of the arrays
export const withCount: typeof Both.Type = { count: 1, ids: [1], names: ["a"] }

const Job = Ndr.union(Ndr.Uint16, { 1: Ndr.Int64, 2: Schema.Void }, { msUnion: true })
check<Equal<typeof Job.Type, { readonly case: 1; readonly value: bigint } | { readonly case: 2 }>>()
// @ts-expect-error: nothing else is an option
Ndr.union(Ndr.Uint16, { 1: Ndr.Int64 }, { msUnions: true })
