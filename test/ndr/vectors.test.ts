import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import type { Interface } from "../../mod.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { elementsCodecOf } from "../../src/ndr/internal/ndrPipe.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"

// Each vector holds a definition in IDL, bytes from another implementation or made by the rules, and their reading.
interface Vector {
  readonly name: string
  readonly idl: string
  readonly bytes: string
  readonly reading: unknown
  readonly refuse?: number
  readonly pipes?: boolean
}

const folder = new URL("./vectors/", import.meta.url)
const vectors = new Map(
  readdirSync(folder).map((file) => JSON.parse(readFileSync(new URL(file, folder), "utf8")) as Vector)
    .map((vector) => [vector.name, vector])
)

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g)!, (byte) => parseInt(byte, 16))
const hexOf = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

/** The parameters as they are written by hand, their values, and how the vector writes these down. */
interface Case {
  readonly schema: Schema.Struct<Interface.Fields>
  readonly value: unknown
  readonly reading: unknown
}

const described = <const F extends Interface.Fields>(
  fields: F,
  value: Schema.Struct<F>["Type"],
  reading: unknown = value
): Case => ({ schema: Schema.Struct(fields) as never, value, reading })

const Level = Ndr.enum16({ ZERO: 0, ONE: 1, TWO: 2, FOUR: 4, EIGHT: 8 })
const arms = { ZERO: Schema.Void, ONE: Ndr.Uint8, TWO: Ndr.Int16, FOUR: Ndr.Int32, EIGHT: Ndr.Int64 }
const Leveled = { level: Ndr.switchIs("u"), u: Ndr.union(Level, arms, { msUnion: true }), c: Ndr.Char }

interface List {
  readonly v: number
  readonly next: List | null
}
const List: Schema.Codec<List> = Ndr.struct({
  v: Ndr.Int32,
  next: Ndr.unique(Schema.suspend((): Schema.Codec<List> => List))
})
const listFrom = (v: number): List | null => {
  let list: List | null = null
  for (let i = 299; i >= v; i--) list = { v: i, next: list }
  return list
}

const cases: { readonly [name: string]: Case } = {
  array_of_strings: described({ a: Ndr.fixed(Ndr.varyingWString(8), 4) }, { a: ["a", "bc", "", "d"] }),
  bytes_size_and_length: described(
    { n: Ndr.sizeIs("p", Ndr.Int32), m: Ndr.lengthIs("p", Ndr.Int32), p: Ndr.SizedVaryingBytes },
    { p: { size: 3, bytes: Uint8Array.of(1, 2) } },
    { n: 3, m: 2, p: "0102, size 3" }
  ),
  enum_alias: described(
    {
      HighestRecordType: Ndr.enum16({
        ForestTrustTopLevelName: 0,
        ForestTrustTopLevelNameEx: 1,
        ForestTrustDomainInfo: 2,
        ForestTrustRecordTypeLast: 2
      })
    },
    { HighestRecordType: "ForestTrustDomainInfo" }
  ),
  enum_undeclared: described({ flags: Ndr.enum32({ A: 1, B: 2 }) }, { flags: 3 }, { flags: "3 (A|B)" }),
  full_beside_range: described(
    { obj: Ndr.full(Ndr.Int32), max: Ndr.range(Ndr.Uint32, 0, 500) },
    { obj: null, max: 4 }
  ),
  full_to_pointer: described({ name: Ndr.full(Ndr.unique(Ndr.WString)) }, { name: "a" }),
  list_of_300: described({ p: Ndr.unique(List) }, { p: listFrom(0) }, vectors.get("list_of_300")!.reading),
  masked_switch: described(
    { Level: Ndr.Uint32, u: Ndr.ref(Ndr.union(Ndr.Uint32, { 1: Ndr.Int32, 2: Ndr.Int64 })) },
    { Level: 0x80000002, u: { case: 2, value: 5n } },
    { Level: "0x80000002", u: { case: 2, value: 5 } }
  ),
  ms_union_array: described(
    {
      p: Ndr.ref(Ndr.struct({
        n: Ndr.sizeIs("s", Ndr.Int32),
        s: Ndr.unique(Ndr.conformant(Ndr.struct({
          t: Ndr.switchIs("u"),
          u: Ndr.union(Ndr.Int16, { 1: Ndr.Int64, 2: Ndr.Char }, { msUnion: true })
        })))
      }))
    },
    { p: { s: [{ u: { case: 2, value: "c" } }, { u: { case: 1, value: 7n } }] } },
    { p: { s: [{ u: { case: 2, value: "c" } }, { u: { case: 1, value: 7 } }] } }
  ),
  ms_union_empty_arm: described(Leveled, { u: { case: "ZERO" }, c: "c" }, { level: 0, u: { case: 0 }, c: "c" }),
  ms_union_enum16: described(
    Leveled,
    { u: { case: "ONE", value: 0xff }, c: "c" },
    { level: 1, u: { case: 1, value: "0xff" }, c: "c" }
  ),
  ms_union_scope: described(
    {
      us: Ndr.ref(Ndr.struct({
        level: Ndr.switchIs("u"),
        u: Ndr.union(Level, { ZERO: Schema.Void, ONE: Ndr.Uint8, EIGHT: Ndr.Int64 })
      })),
      c: Ndr.ref(Ndr.Char)
    },
    { us: { u: { case: "ONE", value: 0xff } }, c: "c" },
    { us: { u: { case: 1, value: "0xff" } }, c: "c" }
  ),
  pointer_to_null: described(
    { pp: Ndr.unique(Ndr.struct({ value: Ndr.unique(Ndr.Int32) })) },
    { pp: { value: null } },
    { pp: "a pointer to a null pointer" }
  ),
  size_in_bytes: described(
    {
      p: Ndr.ref(Ndr.struct({
        Length: Ndr.lengthIs("Buffer", Ndr.Uint16, { unit: 2 }),
        MaximumLength: Ndr.sizeIs("Buffer", Ndr.Uint16, { unit: 2 }),
        Buffer: Ndr.unique(Ndr.SizedVaryingWChars)
      }))
    },
    { p: { Buffer: { size: 3, text: "ab" } } },
    { p: { Length: 4, MaximumLength: 6, Buffer: "ab" } }
  ),
  size_through_pointer: described(
    { pn: Ndr.sizeIs("p", Ndr.unique(Ndr.Int32)), p: Ndr.unique(Ndr.Bytes) },
    { p: Uint8Array.of(1, 2, 3) },
    { pn: 3, p: "010203" }
  ),
  string_size_is: described(
    { n: Ndr.sizeIs("s", Ndr.Int32), s: Ndr.SizedWString },
    { s: { size: 6, text: "abc" } },
    { n: 6, s: "abc" }
  ),
  switch_through_unique: described(
    {
      p: Ndr.ref(Ndr.struct({
        t: Ndr.Int16,
        u: Ndr.unique(Ndr.union(Ndr.Int16, { 1: Ndr.Int64, 2: Ndr.Char }, { default: Schema.Void }))
      }))
    },
    { p: { t: 2, u: { case: 2, value: "n" } } }
  ),
  union_boolean: described(
    { p: Ndr.ref(Ndr.struct({ b: Ndr.switchIs("u"), u: Ndr.union(Ndr.Uint8, { 0: Ndr.Int32, 1: Ndr.Char }) })) },
    { p: { u: { case: 1, value: "z" } } }
  ),
  union_char: described(
    { p: Ndr.ref(Ndr.struct({ k: Ndr.switchIs("u"), u: Ndr.union(Ndr.Uint8, { 97: Ndr.Int32, 98: Ndr.Char }) })) },
    { p: { u: { case: 97, value: 77 } } },
    { p: { u: { case: "'a'", value: 77 } } }
  ),
  v1_enum_negative: described({ v: Ndr.enum32({ value1: -1 }) }, { v: "value1" }, { v: "value1 (-1)" })
}

const decode = (schema: Interface.Parameters, bytes: Uint8Array, littleEndian = true): unknown => {
  const reader = Ndr.makeReader(bytes, { littleEndian })
  const value = Result.getOrThrowWith(Ndr.codecOf(schema)!.decode(reader), ({ message }) => new Error(message))
  assert.strictEqual(reader.position, bytes.length, "the exact end")
  return value
}

const encode = (schema: Interface.Parameters, value: unknown, littleEndian = true): Uint8Array => {
  const writer = littleEndian ? Ndr.makeWriter() : new Pdu.Writer({ littleEndian })
  Result.getOrThrowWith(Ndr.codecOf(schema)!.encode(writer, value), ({ message }) => new Error(message))
  return writer.bytes.slice(writer.stub, writer.position)
}

/** The status under which bytes or a value are refused. */
const refused = (result: Result.Result<unknown, Ndr.NdrError> | undefined): number | undefined =>
  result !== undefined && Result.isFailure(result) ? result.failure.status : undefined

describe("vectors", () => {
  for (const [name, { reading, schema, value }] of Object.entries(cases)) {
    it(`${name}: is read and written back identically, and goes in big-endian order too`, () => {
      const vector = vectors.get(name)!
      assert.deepStrictEqual(reading, vector.reading)
      const bytes = bytesOf(vector.bytes)
      assert.deepStrictEqual(decode(schema, bytes), value)
      const written = hexOf(encode(schema, value))
      // Referent ids mean nothing: other peers count them from another number.
      assert.strictEqual(written, hexOf(encode(schema, decode(schema, bytes))))
      assert.strictEqual(written, vector.bytes)
      assert.deepStrictEqual(decode(schema, encode(schema, value, false), false), value)
      for (let length = 0; length < bytes.length; length++) {
        const cut = Ndr.codecOf(schema)!.decode(Ndr.makeReader(bytes.subarray(0, length)))
        assert.include([1734, 1783], refused(cut), `cut at ${length}`)
      }
    })
  }

  it("pointer_to_null, as a pointer to a pointer: refused with 1783, since null would stand for both", () => {
    const codec = Ndr.codecOf(Schema.Struct({ pp: Ndr.unique(Ndr.unique(Ndr.Int32)) }))
    assert.strictEqual(refused(codec?.decode(Ndr.makeReader(bytesOf(vectors.get("pointer_to_null")!.bytes)))), 1783)
  })

  it("shared_size: refused with 1734 in both directions where the sizes differ", () => {
    const { bytes, refuse } = vectors.get("shared_size")!
    const array = Ndr.conformant(Ndr.Int32)
    const codec = Ndr.codecOf(Schema.Struct({ n: Ndr.sizeIs(["a", "b"]), a: array, b: array }))
    assert.strictEqual(refused(codec?.decode(Ndr.makeReader(bytesOf(bytes)))), refuse)
    assert.strictEqual(refused(codec?.encode(Ndr.makeWriter(), { a: [1, 2], b: [3] })), refuse)
  })

  it("first_is: refused with 1734, since an offset is not kept", () => {
    const a = Ndr.varying(Ndr.Int32, 6)
    const codec = Ndr.codecOf(Schema.Struct({ first: Ndr.Int32, n: Ndr.lengthIs("a"), a }))
    assert.strictEqual(refused(codec?.decode(Ndr.makeReader(bytesOf(vectors.get("first_is")!.bytes)))), 1734)
  })

  it("pipe_of_structs: its chunks and what follows them are read and written back identically", () => {
    const { bytes } = vectors.get("pipe_of_structs")!
    const out = Schema.Struct({
      out1: Ndr.ref(Ndr.struct({ l: Ndr.sizeIs("m", Ndr.Int32), m: Ndr.unique(Ndr.Bytes) })),
      result: Ndr.Int32
    })
    const elements = elementsCodecOf(Ndr.struct({ l: Ndr.Int32, s: Ndr.Int16 }), "outp")!
    const stub = bytesOf(bytes)
    const writer = Ndr.makeWriter()
    const count = Schema.Struct({ count: Ndr.Uint32 })
    const counts: Array<number> = []
    let position = 0
    for (let left = -1; left !== 0;) {
      const reader = { ...Ndr.makeReader(stub), position, partial: undefined }
      left = (Result.getOrThrow(Ndr.codecOf(count)!.decode(reader)) as { readonly count: number }).count
      counts.push(left)
      const chunk = Result.getOrThrow(elements.decode(reader, left))
      assert.lengthOf(chunk, left)
      Result.getOrThrow(Ndr.codecOf(count)!.encode(writer, { count: left }))
      Result.getOrThrow(elements.encode(writer, chunk))
      writer.ensure(2)
      while (writer.position % 4 !== 0) writer.bytes[writer.position++] = 0
      position = reader.position + 3 & ~3
    }
    assert.deepStrictEqual(counts, [5, 4, 3, 2, 1, 0])
    const reader = { ...Ndr.makeReader(stub), position }
    const value = Result.getOrThrow(Ndr.codecOf(out)!.decode(reader))
    assert.deepStrictEqual(value, { out1: { m: Uint8Array.of(0xbb, 0xbb, 0xbb) }, result: 0x65757254 })
    assert.strictEqual(reader.position, stub.length)
    Result.getOrThrow(Ndr.codecOf(out)!.encode(writer, value))
    // Windows leaves garbage in the two bytes behind each element; here they are zero.
    const expected = stub.slice()
    let chunk = 0
    for (const count of counts) {
      for (let i = 0; i < count; i++) expected.fill(0, chunk + 10 + 8 * i, chunk + 12 + 8 * i)
      chunk += 4 + 8 * count
    }
    assert.strictEqual(hexOf(writer.bytes.slice(0, writer.position)), hexOf(expected))
  })

  it("all of them are tried", () => {
    const others = ["first_is", "pipe_of_structs", "shared_size"]
    assert.deepStrictEqual([...vectors.keys()].sort(), [...Object.keys(cases), ...others].sort())
    assert.lengthOf([...vectors], 23)
  })
})
