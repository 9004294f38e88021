import { assert, describe, it } from "@effect/vitest"
import { Result, Schema, SchemaTransformation } from "effect"
import fc from "fast-check"
import { Interface } from "../../mod.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { readText, writeWide } from "../../src/ndr/internal/ndrText.ts"
import { ndr20 } from "../../src/dcerpc/TransferSyntax.ts"
import { budgetOf, report, seed } from "../budget.ts"

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

/** Bytes from hexadecimal lines; what follows a `|` is a comment. They lie in a larger buffer, as a stub does that arrives. */
const bytesOf = (text: string): Uint8Array => {
  const pairs = text.replace(/\|.*$/gm, "").match(/[0-9a-f]{2}/g) ?? []
  const bytes = new Uint8Array(pairs.length + 10).fill(0xee).subarray(5, -5)
  bytes.set(pairs.map((pair) => Number.parseInt(pair, 16)))
  return bytes
}

const codecOf = <S extends Interface.Parameters>(schema: S): Ndr.Codec<S["Type"]> => {
  const codec = Ndr.codecOf(schema)
  if (codec === undefined) throw new Error("no NDR form")
  return codec
}

const written = (writer: Ndr.Writer): Uint8Array => writer.bytes.slice(writer.stub, writer.position)

const encode = <S extends Interface.Parameters>(schema: S, value: S["Type"]): Uint8Array => {
  const writer = Ndr.makeWriter()
  Result.getOrThrowWith(codecOf(schema).encode(writer, value), ({ message }) => new Error(message))
  return written(writer)
}

const decode = <S extends Interface.Parameters>(schema: S, bytes: Uint8Array, littleEndian = true): S["Type"] =>
  Result.getOrThrowWith(
    codecOf(schema).decode(Ndr.makeReader(bytes, { littleEndian })),
    ({ message }) => new Error(message)
  )

/** Status and path of a refusal. */
const refusal = (result: Result.Result<unknown, Ndr.NdrError>): string =>
  Result.isFailure(result) ? `${result.failure.status} ${result.failure.path}`.trim() : "not refused"

const refusedValue = (schema: Interface.Parameters, value: unknown): string =>
  refusal(codecOf(schema).encode(Ndr.makeWriter(), value))

const refusedBytes = (schema: Interface.Parameters, text: string): string =>
  refusal(codecOf(schema).decode(Ndr.makeReader(bytesOf(text))))

/** The value has exactly these bytes, the bytes have this value, and each truncation of them is refused. */
const travels = <S extends Interface.Parameters>(schema: S, value: S["Type"], text: string): void => {
  const bytes = bytesOf(text)
  assert.strictEqual(hex(encode(schema, value)), hex(bytes))
  assert.deepStrictEqual(decode(schema, bytes), value)
  for (let length = 0; length < bytes.length; length++) {
    const result = codecOf(schema).decode(Ndr.makeReader(bytes.subarray(0, length)))
    if (Result.isSuccess(result)) assert.fail(`${length} of ${bytes.length} bytes were enough`)
    assert.strictEqual(result.failure.status, 1783)
  }
}

/** These bytes in big-endian order have this value. */
const readsBig = <S extends Interface.Parameters>(schema: S, value: S["Type"], text: string): void =>
  assert.deepStrictEqual(decode(schema, bytesOf(text), false), value)

const parameters = <const F extends Interface.Fields>(fields: F): Schema.Struct<F> => Schema.Struct(fields)

// ----------------------------------------------------------------------------
// constructs
// ----------------------------------------------------------------------------

describe("scalars", () => {
  it("scalars: have the size of their type, and are aligned to it", () => {
    const all = parameters({
      boolean: Ndr.Boolean,
      wchar: Ndr.WChar,
      char: Ndr.Char,
      int32: Ndr.Int32,
      byte: Ndr.Byte,
      uint64: Ndr.Uint64,
      int8: Ndr.Int8,
      uint16: Ndr.Uint16,
      uint8: Ndr.Uint8,
      float: Ndr.Float,
      int16: Ndr.Int16,
      double: Ndr.Double,
      uint32: Ndr.Uint32,
      int64: Ndr.Int64
    })
    const value: typeof all.Type = {
      boolean: true,
      wchar: "\u20ac",
      char: "\u00e9",
      int32: -2,
      byte: 0xab,
      uint64: 0x1122334455667788n,
      int8: -3,
      uint16: 0xfffe,
      uint8: 7,
      float: 1.5,
      int16: -4,
      double: -0.1,
      uint32: 0xfffffffd,
      int64: -5n
    }
    travels(
      all,
      value,
      `01 00 ac20          | boolean, 1 byte of padding, wchar
       e9 000000           | char, 3 of padding
       feffffff            | int32
       ab 000000           | byte, 3 of padding
       8877665544332211    | uint64 at 16
       fd 00 feff          | int8, padding, uint16
       07 000000 0000c03f  | uint8, 3 of padding, float at 32
       fcff 0000           | int16, 2 of padding
       9a9999999999b9bf    | double at 40
       fdffffff 00000000   | uint32, 4 of padding
       fbffffffffffffff    | int64 at 56`
    )
    readsBig(
      all,
      value,
      `01 00 20ac  e9 000000  fffffffe  ab 000000  1122334455667788  fd 00 fffe  07 000000 3fc00000
       fffc 0000  bfb999999999999a  fffffffd 00000000  fffffffffffffffb`
    )
  })

  it("padding and booleans: padding is ignored, and any number but 0 is true", () => {
    assert.deepStrictEqual(
      decode(parameters({ flag: Ndr.Boolean, n: Ndr.Uint16 }), bytesOf("80 ff 0100")),
      { flag: true, n: 1 }
    )
  })

  it("scalar out of its range: is refused with the name of the field", () => {
    const refuse = (schema: Interface.Parameters, ...values: ReadonlyArray<unknown>) => {
      for (const value of values) assert.strictEqual(refusedValue(parameters({ x: schema }), { x: value }), "1783 x")
    }
    refuse(Ndr.Uint8, -1, 256, 0.5, NaN, "1", 1n, undefined, null, {})
    refuse(Ndr.Int8, -129, 128)
    refuse(Ndr.Uint16, -1, 65536)
    refuse(Ndr.Int16, -32769, 32768)
    refuse(Ndr.Uint32, -1, 2 ** 32)
    refuse(Ndr.Int32, -(2 ** 31) - 1, 2 ** 31)
    refuse(Ndr.Uint64, -1n, 2n ** 64n, 1)
    refuse(Ndr.Int64, -(2n ** 63n) - 1n, 2n ** 63n)
    refuse(Ndr.Float, 1e39, "1")
    refuse(Ndr.Boolean, 1, "true")
    refuse(Ndr.Char, "", "ab", "\u0100", 65)
    refuse(Ndr.WChar, "", "ab", 65)
    refuse(Ndr.Uuid, "", "60a15ec5-4de8-11d7-a637-005056a2018", 5)
  })

  it("floats: are rounded, and keep infinities and NaN", () => {
    assert.strictEqual(hex(encode(Ndr.Float, 0.1)), "cdcccc3d")
    for (const value of [NaN, Infinity, -Infinity, -0]) {
      assert.deepStrictEqual(decode(Ndr.Float, encode(Ndr.Float, value)), value)
    }
  })

  it("UUID: is written as a structure", () => {
    const schema = parameters({ before: Ndr.Uint8, id: Ndr.Uuid })
    const value = { before: 1, id: "60a15ec5-4de8-11d7-a637-005056a20182" }
    travels(schema, value, "01 000000  c55ea160 e84d d711 a637 005056a20182")
    readsBig(schema, value, "01 000000  60a15ec5 4de8 11d7 a637 005056a20182")
    assert.strictEqual(hex(encode(Ndr.Uuid, value.id.toUpperCase())), hex(encode(Ndr.Uuid, value.id)))
  })
})

describe("enumerations", () => {
  const both = parameters({ color: Ndr.enum16({ Red: 1, Green: 2 }), level: Ndr.enum32([1, 0xffffffff]) })

  it("enumerations: have 16 or 32 bits", () => {
    travels(both, { color: "Green", level: 0xffffffff }, "0200 0000 ffffffff")
  })

  it("an undeclared number: passes as a number in both directions", () => {
    travels(both, { color: 3, level: 2 }, "0300 0000 02000000")
    travels(both, { color: 0x7fff, level: 0xfffffffe }, "ff7f 0000 feffffff")
  })

  it("a declared number in place of its name: is written, and read as the name", () => {
    assert.strictEqual(hex(encode(both, { color: 1, level: 1 })), "0100000001000000")
    assert.deepStrictEqual(decode(both, bytesOf("0100 0000 01000000")), { color: "Red", level: 1 })
  })

  it("a negative number of 32 bits: may be declared", () => {
    travels(parameters({ v: Ndr.enum32({ none: -1 }) }), { v: "none" }, "ffffffff")
    travels(parameters({ v: Ndr.enum32([-1]) }), { v: -1 }, "ffffffff")
  })

  it("an unknown name, or a number above 0x7fff in 16 bits: refused with 1781", () => {
    assert.strictEqual(refusedValue(both, { color: "Blue", level: 1 }), "1781 color")
    assert.strictEqual(refusedValue(both, { color: 0x8000, level: 1 }), "1781 color")
    assert.strictEqual(refusedValue(both, { color: 1.5, level: 1 }), "1781 color")
    assert.strictEqual(refusedValue(both, { color: "Red", level: 2 ** 32 }), "1781 level")
    assert.strictEqual(refusedBytes(both, "0080 0000 01000000"), "1781 color")
  })

  it("two names for one number: both are written, the first is read", () => {
    for (const make of [Ndr.enum16, Ndr.enum32]) {
      const schema = parameters({ v: make({ One: 1, Two: 2, Last: 2 }) })
      travels(schema, { v: "Two" }, make === Ndr.enum16 ? "0200" : "02000000")
      assert.deepStrictEqual(decode(schema, encode(schema, { v: "Last" })), { v: "Two" })
    }
    const Kind = Ndr.enum16({ One: 1, Two: 2, Last: 2 })
    const schema = parameters({ u: Ndr.union(Kind, { Last: Ndr.Uint8, One: Schema.Void }) })
    travels(schema, { u: { case: "Last", value: 7 } }, "0200 07")
    assert.strictEqual(hex(encode(schema, { u: { case: "Two", value: 7 } as never })), "020007")
  })

  it("a member of 16 bits that does not fit: may be declared, refused with 1781 when written or read", () => {
    const schema = parameters({ v: Ndr.enum16({ Fits: 0x7fff, Large: 0x8000, Negative: -1 }) })
    travels(schema, { v: "Fits" }, "ff7f")
    for (const v of ["Large", "Negative"] as const) assert.strictEqual(refusedValue(schema, { v }), "1781 v")
    for (const bytes of ["0080", "ffff"]) assert.strictEqual(refusedBytes(schema, bytes), "1781 v")
    const union = parameters({ u: Ndr.union(Ndr.enum16({ Large: 0x8000, A: 1 }), { Large: Ndr.Uint8, A: Ndr.Uint8 }) })
    assert.strictEqual(refusedValue(union, { u: { case: "Large", value: 1 } }), "1781 u")
    travels(union, { u: { case: "A", value: 1 } }, "0100 01")
  })

  it("numbers of more than 32 bits: can't be declared", () => {
    for (const make of [Ndr.enum16, Ndr.enum32]) {
      assert.throws(() => make([2 ** 32]), TypeError, /4294967296/)
      assert.throws(() => make({ A: -(2 ** 31) - 1 }), TypeError)
      assert.throws(() => make([0.5]), TypeError)
    }
  })
})

describe("strings", () => {
  it("strings: count their units with the NUL", () => {
    travels(
      parameters({ wide: Ndr.WString, byte: Ndr.Uint8, narrow: Ndr.String }),
      { wide: "a\u20ac", byte: 7, narrow: "\u00e9t" },
      `03000000 00000000 03000000  6100 ac20 0000  | max, offset, actual, the units
       07 00                                       | byte, padding
       03000000 00000000 03000000  e9 74 00`
    )
    readsBig(Ndr.WString, "a\u20ac", "00000003 00000000 00000003  0061 20ac 0000")
    travels(Ndr.WString, "", "01000000 00000000 01000000 0000")
  })

  it("strings of a declared bound: have no size on the wire", () => {
    const schema = parameters({ wide: Ndr.varyingWString(3), narrow: Ndr.varyingString(2) })
    travels(schema, { wide: "ab", narrow: "c" }, "00000000 03000000 6100 6200 0000 0000  00000000 02000000 63 00")
    assert.strictEqual(refusedValue(schema, { wide: "abc", narrow: "" }), "1734 wide")
    assert.strictEqual(refusedBytes(schema, "00000000 04000000 6100 6200 6200 0000"), "1734 wide")
  })

  it("strings in both byte orders: keep lone surrogates and everything else but NUL, at any length and place", () => {
    for (const length of [0, 1, 22, 23, 24, 25, 31, 32, 33, 4095, 4096, 4097, 10000]) {
      const text = "\ud800x\udfff\ufeff\uffff".repeat(length).slice(0, length)
      assert.strictEqual(decode(Ndr.WString, encode(Ndr.WString, text)), text)
      const bytes = encode(Ndr.WString, text)
      const moved = new Uint8Array(bytes.length + 1).subarray(1)
      moved.set(bytes)
      assert.strictEqual(decode(Ndr.WString, moved), text)
      const odd = new Uint8Array(2 * length + 3)
      assert.strictEqual(writeWide(text, odd, 1, true), 2 * length + 3)
      assert.strictEqual(hex(odd.subarray(1)), hex(bytes.subarray(12)))
      const big = new Uint8Array(2 * length + 2)
      writeWide(text, big, 0, false)
      assert.strictEqual(readText(big, 0, length, true, false), text)
      const narrow = "\u0001\u00ff".repeat(length).slice(0, length)
      assert.strictEqual(decode(Ndr.String, encode(Ndr.String, narrow)), narrow)
    }
    assert.strictEqual(refusedValue(parameters({ s: Ndr.WString }), { s: "a\0b" }), "1783 s")
    assert.strictEqual(refusedValue(parameters({ s: Ndr.String }), { s: "a\0" }), "1783 s")
    assert.strictEqual(refusedValue(parameters({ s: Ndr.String }), { s: "\u0100" }), "1783 s")
  })

  it("string: ends at its first NUL", () => {
    assert.strictEqual(decode(Ndr.WString, bytesOf("04000000 00000000 04000000 6100 0000 6200 0000")), "a")
  })

  it("string without a NUL at the end, at an offset, or longer than its size: is refused", () => {
    assert.strictEqual(refusedBytes(Ndr.WString, "02000000 00000000 02000000 6100 6200"), "1734")
    assert.strictEqual(refusedBytes(Ndr.WString, "02000000 00000000 02000000 6100 0001"), "1734")
    assert.strictEqual(refusedBytes(Ndr.String, "01000000 00000000 01000000 61"), "1734")
    assert.strictEqual(refusedBytes(Ndr.WString, "00000000 00000000 00000000"), "1734")
    assert.strictEqual(refusedBytes(Ndr.WString, "02000000 01000000 01000000 0000"), "1734")
    assert.strictEqual(refusedBytes(Ndr.WString, "01000000 00000000 02000000 6100 0000"), "1734")
  })
})

describe("arrays", () => {
  it("arrays: have the counts of their kind", () => {
    travels(parameters({ a: Ndr.fixed(Ndr.Uint16, 2) }), { a: [1, 2] }, "0100 0200")
    travels(parameters({ a: Ndr.conformant(Ndr.Uint16) }), { a: [1, 2] }, "02000000 0100 0200")
    travels(parameters({ a: Ndr.varying(Ndr.Uint16, 4) }), { a: [1, 2] }, "00000000 02000000 0100 0200")
    travels(
      parameters({ a: Ndr.conformantVarying(Ndr.Uint16) }),
      { a: [1, 2] },
      "02000000 00000000 02000000 0100 0200"
    )
    travels(parameters({ a: Ndr.fixed(Ndr.fixed(Ndr.Uint8, 2), 2) }), { a: [[1, 2], [3, 4]] }, "01 02 03 04")
    readsBig(
      parameters({ a: Ndr.conformantVarying(Ndr.Uint16) }),
      { a: [1, 2] },
      "00000002 00000000 00000002 0001 0002"
    )
  })

  it("arrays of bytes: are Uint8Arrays", () => {
    travels(
      parameters({ a: Ndr.Bytes, b: Ndr.fixedBytes(2), c: Ndr.VaryingBytes }),
      { a: bytesOf("aabbcc"), b: bytesOf("dd ee"), c: bytesOf("ff") },
      "03000000 aabbcc  ddee  000000  01000000 00000000 01000000 ff"
    )
  })

  it("arrays of bytes: are copies, or views of a stub that is owned", () => {
    const stub = bytesOf("02000000 aabb")
    const copy = Result.getOrThrow(codecOf(Ndr.Bytes).decode(Ndr.makeReader(stub)))
    const view = Result.getOrThrow(codecOf(Ndr.Bytes).decode(Ndr.makeReader(stub, { owned: true })))
    stub.fill(0)
    assert.strictEqual(hex(copy), "aabb")
    assert.strictEqual(hex(view), "0000")
    // A subclass of Uint8Array may have a slice that does not copy.
    class Aliasing extends Uint8Array<ArrayBuffer> {
      override slice(start?: number, end?: number): Aliasing {
        return this.subarray(start, end) as Aliasing
      }
    }
    const aliasing = Aliasing.from(bytesOf("02000000 aabb"))
    const safe = Result.getOrThrow(codecOf(Ndr.Bytes).decode(Ndr.makeReader(aliasing)))
    aliasing.fill(0)
    assert.strictEqual(hex(safe), "aabb")
  })

  it("elements at an offset that is not 0: refused with 1734", () => {
    const schema = parameters({ a: Ndr.conformantVarying(Ndr.Uint8) })
    assert.deepStrictEqual(decode(schema, bytesOf("05000000 00000000 02000000 0a 0b")), { a: [10, 11] })
    for (const offset of ["01000000", "03000000", "ffffffff"]) {
      assert.strictEqual(refusedBytes(schema, `05000000 ${offset} 02000000 0a 0b`), "1734 a")
      assert.strictEqual(
        refusedBytes(parameters({ a: Ndr.VaryingBytes }), `05000000 ${offset} 02000000 0a 0b`),
        "1734 a"
      )
    }
  })

  it("arrays that travel in part: tell their size", () => {
    const schema = parameters({ n: Ndr.lengthIs("a"), max: Ndr.sizeIs("a"), a: Ndr.sizedVarying(Ndr.Uint16) })
    travels(
      schema,
      { a: { size: 5, elements: [1, 2] } },
      "02000000 05000000 | the length, the size\n 05000000 00000000 02000000 0100 0200"
    )
    travels(
      parameters({ a: Ndr.sizedVarying(Ndr.unique(Ndr.Uint16)) }),
      { a: { size: 2, elements: [7] } },
      "02000000 00000000 01000000 00000200 0700"
    )
    const value = (size: unknown, elements: unknown) => refusedValue(schema, { a: { size, elements } })
    assert.deepStrictEqual(
      [value(1, [1, 2]), value(-1, []), value(0.5, []), value(2 ** 32, []), value("2", [])],
      Array(5).fill("1734 a")
    )
    assert.deepStrictEqual(
      [value(2, [1, 70000]), value(2, 7), refusedValue(schema, { a: null }), refusedValue(schema, { a: [1] })],
      ["1783 a.elements[1]", "1783 a", "1783 a", "1783 a"]
    )
    assert.strictEqual(refusedBytes(schema, "02000000 04000000 05000000 00000000 02000000 0100 0200"), "1734 a")
    assert.strictEqual(refusedBytes(schema, "01000000 05000000 05000000 00000000 02000000 0100 0200"), "1734 a")
    assert.strictEqual(
      refusedBytes(schema, "06000000 05000000 05000000 00000000 06000000 0100 0200"),
      "1734 a.elements"
    )
  })

  it("array with another number of elements than declared: is refused", () => {
    assert.strictEqual(refusedValue(parameters({ a: Ndr.fixed(Ndr.Uint8, 2) }), { a: [1] }), "1734 a")
    assert.strictEqual(refusedValue(parameters({ a: Ndr.fixedBytes(2) }), { a: bytesOf("aabbcc") }), "1734 a")
    assert.strictEqual(refusedValue(parameters({ a: Ndr.varying(Ndr.Uint8, 1) }), { a: [1, 2] }), "1734 a")
    assert.strictEqual(refusedBytes(parameters({ a: Ndr.varying(Ndr.Uint8, 1) }), "00000000 02000000 0102"), "1734 a")
    assert.strictEqual(refusedValue(parameters({ a: Ndr.Bytes }), { a: [1] }), "1783 a")
    assert.strictEqual(refusedValue(parameters({ a: Ndr.conformant(Ndr.Uint8) }), { a: bytesOf("01") }), "1783 a")
    assert.strictEqual(refusedValue(parameters({ a: Ndr.conformant(Ndr.Uint8) }), { a: [1, 2, 300] }), "1783 a[2]")
  })

  it("counts beyond the stub: are refused before anything is allocated", () => {
    const element = Ndr.struct({ a: Ndr.Uint32, b: Ndr.unique(Ndr.Uint32) })
    for (const count of ["ffffffff", "ffffff7f", "00000040", "03000000"]) {
      for (const schema of [Ndr.Bytes, Ndr.conformant(Ndr.Uint16), Ndr.conformant(element)]) {
        assert.strictEqual(refusedBytes(parameters({ a: schema }), `${count} 0102`), "1783 a")
      }
      assert.strictEqual(refusedBytes(parameters({ a: Ndr.WString }), `${count} 00000000 ${count} 0102`), "1783 a")
      assert.strictEqual(refusedBytes(parameters({ a: Ndr.varying(Ndr.Uint64) }), `00000000 ${count} 01`), "1783 a")
    }
  })
})

describe("structures", () => {
  it("structures: are aligned as their largest field, without padding behind", () => {
    travels(
      parameters({ a: Ndr.Uint8, s: Ndr.struct({ b: Ndr.Uint8, c: Ndr.Uint64 }), d: Ndr.Uint8, e: Ndr.Uint16 }),
      { a: 1, s: { b: 2, c: 3n }, d: 4, e: 5 },
      "01 00000000000000  02 00000000000000  0300000000000000  04 00  0500"
    )
    travels(
      parameters({ a: Ndr.fixed(Ndr.struct({ n: Ndr.Uint32, b: Ndr.Uint8 }), 2), c: Ndr.Uint8 }),
      { a: [{ n: 1, b: 2 }, { n: 3, b: 4 }], c: 5 },
      "01000000 02 000000 03000000 04 05"
    )
  })

  it("array at the end of a structure: its size stands in front of the outermost structure", () => {
    const inner = Ndr.struct({ b: Ndr.Uint8, data: Ndr.conformant(Ndr.Uint64) })
    travels(
      parameters({ a: Ndr.Uint8, s: Ndr.struct({ n: Ndr.Uint8, inner }) }),
      { a: 1, s: { n: 2, inner: { b: 3, data: [4n] } } },
      `01 000000 01000000   | a, padding, the size of data
       02 00000000000000    | n, padding
       03 00000000000000    | b, padding
       0400000000000000`
    )
    // The size is aligned to 4, the structure only as its fields are.
    travels(
      parameters({ s: Ndr.struct({ n: Ndr.Uint8, inner: Ndr.struct({ b: Ndr.Uint8, data: Ndr.Bytes }) }) }),
      { s: { n: 1, inner: { b: 2, data: bytesOf("0a 0b") } } },
      "02000000 01 02 0a0b"
    )
    travels(
      parameters({ s: Ndr.struct({ n: Ndr.Uint16, text: Ndr.WString }) }),
      { s: { n: 1, text: "a" } },
      "02000000  0100 0000  00000000 02000000 6100 0000"
    )
  })

  it("structures: may be schemas of Effect", () => {
    travels(
      parameters({ s: Schema.Struct({ a: Ndr.Uint8, t: Schema.Struct({ b: Ndr.Uint16 }) }) }),
      { s: { a: 1, t: { b: 2 } } },
      "01 00 0200"
    )
  })

  it("value that is no structure: is refused", () => {
    const schema = parameters({ s: Ndr.struct({ t: Ndr.struct({ data: Ndr.Bytes }) }) })
    for (const value of [null, undefined, 5, "s"]) {
      assert.strictEqual(refusedValue(schema, { s: value }), "1783 s")
      assert.strictEqual(refusedValue(schema, { s: { t: value } }), "1783 s.t")
      assert.strictEqual(refusedValue(schema, { s: { t: { data: value } } }), "1783 s.t.data")
      assert.strictEqual(refusedValue(schema, value), "1783")
    }
  })
})

describe("pointers", () => {
  it("pointer parameters: a reference leaves no trace, the target of a unique one follows at once", () => {
    travels(
      parameters({ a: Ndr.ref(Ndr.Uint8), b: Ndr.unique(Ndr.Uint16), c: Ndr.Uint8, d: Ndr.unique(Ndr.Uint8) }),
      { a: 1, b: 2, c: 3, d: null },
      `01 000000              | a, padding
       00000200 0200 03 00    | the id of b, b, c, padding
       00000000               | null`
    )
  })

  it("pointers in structures: have a place there, and their targets stand behind the outermost one", () => {
    const pair = Ndr.struct({ x: Ndr.ref(Ndr.Uint8), y: Ndr.unique(Ndr.Uint16) })
    travels(
      parameters({ p: Ndr.struct({ first: pair, n: Ndr.Uint8, second: Ndr.unique(pair) }), last: Ndr.Uint8 }),
      { p: { first: { x: 1, y: 2 }, n: 3, second: { x: 4, y: null } }, last: 5 },
      `00000200 04000200    | first: x, y
       03 000000            | n
       08000200             | second
       01 00 0200           | first.x, first.y
       0c000200 00000000    | what second points to: x, y
       04                   | second.x
       05                   | last`
    )
  })

  it("pointers in the elements of an array: their targets stand behind all elements, depth first", () => {
    interface Tree {
      readonly name: string | null
      readonly children: ReadonlyArray<Tree> | null
    }
    const Tree = Ndr.struct({
      name: Ndr.unique(Ndr.String),
      children: Ndr.unique(Ndr.conformant(Schema.suspend((): Schema.Codec<Tree> => Tree as never)))
    })
    const leaf = (name: string): Tree => ({ name, children: null })
    travels(
      parameters({ tree: Tree }),
      { tree: { name: "r", children: [{ name: "a", children: [leaf("b")] }, leaf("c")] } },
      `00000200 04000200                           | name, children of the root
       02000000 00000000 02000000 72 00  0000      | r
       02000000                                    | two children
       08000200 0c000200                           | name, children of the first
       10000200 00000000                           | of the second
       02000000 00000000 02000000 61 00  0000      | a
       01000000 14000200 00000000                  | the children of the first
       02000000 00000000 02000000 62 00  0000      | b
       02000000 00000000 02000000 63 00            | c`
    )
  })

  it("pointers in arrays and unions: have a place there", () => {
    travels(
      parameters({
        a: Ndr.fixed(Ndr.unique(Ndr.Uint8), 3),
        u: Ndr.union(Ndr.Uint8, { 1: Ndr.ref(Ndr.Uint16) })
      }),
      { a: [1, null, 2], u: { case: 1, value: 3 } },
      "00000200 00000000 04000200 01 02  01 00  08000200 0300"
    )
  })

  it("pointers to pointers: null is null at once, and a pointer to a null one is refused", () => {
    const schema = parameters({ p: Ndr.ref(Ndr.unique(Ndr.unique(Ndr.Uint16))) })
    travels(schema, { p: 5 }, "00000200 04000200 0500")
    travels(schema, { p: null }, "00000000")
    const outer = [Ndr.unique, Ndr.full, <T extends Interface.Parameters>(type: T) => Ndr.unique(Ndr.ref(type))]
    for (const make of outer) {
      for (const inner of [Ndr.unique(Ndr.Uint16), Ndr.full(Ndr.Uint16)]) {
        const nested = parameters({ s: Ndr.struct({ p: make(inner) }) })
        const ids = make === outer[2] ? "01000000 01000000 00000000" : "01000000 00000000"
        assert.strictEqual(refusedBytes(nested, ids), "1783 s.p")
      }
    }
  })

  it("pointers to pointers, a structure of one field between: keep a pointer to a null one", () => {
    const schema = parameters({ p: Ndr.unique(Ndr.struct({ value: Ndr.unique(Ndr.Uint16) })) })
    travels(schema, { p: { value: null } }, "00000200 00000000")
    travels(schema, { p: { value: 5 } }, "00000200 04000200 0500")
    travels(schema, { p: null }, "00000000")
  })

  it("full pointers to pointers: share objects through both", () => {
    const Row = Ndr.struct({ n: Ndr.Uint16 })
    const row = { n: 7 }
    for (const make of [Ndr.unique, Ndr.full]) {
      const Pointer = Ndr.full(make(Row))
      const schema = parameters({ a: Pointer, b: Pointer, c: Pointer })
      const read = decode(schema, encode(schema, { a: row, b: row, c: null }))
      assert.deepStrictEqual(read, { a: row, b: row, c: null })
      assert.strictEqual(read.a, read.b)
    }
    // Both pointers stand in front of what they point to.
    const Pointer = Ndr.full(Ndr.unique(Row))
    const Pair = Ndr.struct({ a: Pointer, b: Pointer })
    const pair = decode(parameters({ pair: Pair }), bytesOf("01000000 01000000 02000000 0700")).pair
    assert.deepStrictEqual(pair, { a: row, b: row })
    assert.strictEqual(pair.a, pair.b)
    travels(parameters({ p: Ndr.full(Ndr.unique(Ndr.WString)) }), { p: null }, "00000000")
  })

  it("null reference: is refused with 1780", () => {
    assert.strictEqual(refusedValue(parameters({ a: Ndr.ref(Ndr.Uint8) }), { a: null }), "1780 a")
    assert.strictEqual(refusedValue(parameters({ a: Ndr.ref(Ndr.Bytes) }), {}), "1780 a")
    assert.strictEqual(
      refusedValue(parameters({ n: Ndr.sizeIs("a"), a: Ndr.ref(Ndr.Bytes) }), { a: null }),
      "1780 a"
    )
    assert.strictEqual(refusedValue(Ndr.struct({ a: Ndr.ref(Ndr.Uint8) }), { a: null }), "1780 a")
    assert.strictEqual(refusedValue(Ndr.struct({ a: Ndr.ref(Ndr.ref(Ndr.Uint8)) }), { a: null }), "1780 a")
    travels(Ndr.struct({ a: Ndr.ref(Ndr.unique(Ndr.Uint8)) }), { a: null }, "00000200 00000000")
    // Whatever stands in the place of a reference, it is not null.
    assert.deepStrictEqual(decode(Ndr.struct({ a: Ndr.ref(Ndr.Uint8) }), bytesOf("00000000 07")), { a: 7 })
  })

  it("wrong value behind a pointer: the refusal tells its place", () => {
    const row = Ndr.struct({ name: Ndr.unique(Ndr.struct({ text: Ndr.WString })) })
    const schema = parameters({ n: Ndr.Uint8, rows: Ndr.unique(Ndr.conformant(row)) })
    const value = { n: 1, rows: [{ name: null }, { name: { text: 5 } }] }
    assert.strictEqual(refusedValue(schema, value), "1783 rows[1].name.text")
    assert.strictEqual(
      refusedBytes(
        schema,
        "01 000000 00000200 02000000 00000000 04000200 02000000 00000000 02000000 61006200"
      ),
      "1734 rows[1].name.text"
    )
  })

  interface Item {
    readonly value: number
    readonly next: Item | null
    readonly name: string | null
  }
  const ItemRef = Schema.suspend((): Schema.Codec<Item> => Item as never)
  // As in REPLENTINFLIST of MS-DRSR, other pointers follow the one to the next item.
  const Item = Ndr.struct({ value: Ndr.Uint8, next: Ndr.unique(ItemRef), name: Ndr.unique(Ndr.WString) })
  const list = (length: number): Item => {
    let first: Item = { value: 0, next: null, name: null }
    for (let i = 1; i < length; i++) first = { value: i & 255, next: first, name: i % 1000 === 0 ? "x" : null }
    return first
  }
  // Assertions of equality nest too.
  const flat = (item: Item): ReadonlyArray<unknown> => {
    const out: Array<unknown> = []
    for (let at: Item | null = item; at !== null; at = at.next) out.push([at.value, at.name])
    return out
  }

  it("a list of 100,000 items, other pointers behind the next one: written and read", () => {
    const bytes = encode(Item, list(100_000))
    const read = codecOf(Item).decode(Ndr.makeReader(bytes, { maximumElements: 300_000 }))
    assert.deepStrictEqual(flat(Result.getOrThrow(read) as Item), flat(list(100_000)))
  })

  it("a list of 100,000 items of two fields: fits the default of maximumElements", () => {
    interface Short {
      readonly value: number
      readonly next: Short | null
    }
    const Short = Ndr.struct({
      value: Ndr.Uint32,
      next: Ndr.unique(Schema.suspend((): Schema.Codec<Short> => Short as never))
    })
    const writer = Ndr.makeWriter()
    for (let i = 0; i < 100_000; i++) {
      writer.ensure(8)
      writer.view.setUint32(writer.position, i, true)
      writer.view.setUint32(writer.position + 4, i === 99_999 ? 0 : 1, true)
      writer.position += 8
    }
    let at = decode(Short, writer.bytes.slice(0, writer.position)) as Short | null
    let length = 0
    for (; at !== null; at = at.next) assert.strictEqual(at.value, length++)
    assert.strictEqual(length, 100_000)
  })

  it("a fault deep in a list: its path leaves out the middle", () => {
    const bytes = encode(Item, list(1000))
    const refused = codecOf(Item).decode(Ndr.makeReader(bytes.subarray(0, 8000)))
    assert.match(refusal(refused), /^1783 (next\.){16}\(\d+ more\)(\.next){15}\.\w+$/)
  })

  it("a value that contains itself, in whichever field: refused", () => {
    for (const chain of [1, 2, 400]) {
      const last = { value: 0, next: null as unknown, name: null }
      let first: unknown = last
      for (let i = 1; i < chain; i++) first = { value: 0, next: first, name: null }
      last.next = first
      assert.match(refusedValue(Item, first), /^1783 next\.next/)
    }
    interface Tree {
      readonly left: Tree | null
      readonly right: Tree | null
    }
    const TreeRef = Schema.suspend((): Schema.Codec<Tree> => Tree as never)
    const Tree = Ndr.struct({ left: Ndr.unique(TreeRef), right: Ndr.unique(TreeRef) })
    for (const field of ["left", "right"]) {
      const tree: Record<string, unknown> = { left: null, right: null }
      tree[field] = tree
      assert.match(refusedValue(Tree, tree), /^1783 (left|right)\./)
    }
  })

  it("a list with a check, too long for the stack: refused in words", () => {
    interface Checked {
      readonly next: Checked | null
      readonly value: number
    }
    const Checked = Ndr.struct({
      next: Ndr.unique(Schema.suspend((): Schema.Codec<Checked> => Checked as never)),
      value: Ndr.Uint8.check(Schema.isLessThan(10))
    })
    let value: Checked = { next: null, value: 1 }
    for (let i = 1; i < 100_000; i++) value = { next: value, value: 1 }
    const refused = codecOf(Checked).encode(Ndr.makeWriter(), value)
    assert.include(Result.getOrThrow(Result.flip(refused)).message, "nests too deep for its schema")
  })

  it("a getter that throws: the refusal names its error", () => {
    const value = {
      get value(): number {
        throw new Error("no value today")
      },
      next: null,
      name: null
    }
    const refused = codecOf(Item).encode(Ndr.makeWriter(), value)
    assert.include(Result.getOrThrow(Result.flip(refused)).message, "Error: no value today")
  })

  it("full pointers with equal ids: are one object", () => {
    const node = Ndr.struct({ n: Ndr.Uint32 })
    const schema = parameters({ a: Ndr.full(node), b: Ndr.struct({ c: Ndr.full(node), d: Ndr.full(node) }) })
    const one = { n: 1 }
    const bytes = "00000200 01000000  00000200 04000200  02000000"
    travels(schema, { a: one, b: { c: one, d: { n: 2 } } }, bytes)
    const read = decode(schema, bytesOf(bytes))
    assert.strictEqual(read.a, read.b.c)
    assert.notStrictEqual(read.a, read.b.d)
    // Two pointers in one structure: the second stands there before the object does.
    const twice = parameters({ b: Ndr.struct({ c: Ndr.full(node), d: Ndr.full(node) }) })
    travels(twice, { b: { c: one, d: one } }, "00000200 00000200 01000000")
    const both = decode(twice, bytesOf("00000200 00000200 01000000"))
    assert.strictEqual(both.b.c, both.b.d)
    travels(parameters({ a: Ndr.full(node) }), { a: null }, "00000000")
  })

  it("full pointers: may go in a circle", () => {
    interface Ring {
      next: Ring | null
    }
    const Ring = Ndr.struct({ next: Ndr.full(Schema.suspend((): Schema.Codec<Ring> => Ring as never)) })
    const schema = parameters({ ring: Ndr.full(Ring) })
    const ring: Ring = { next: { next: null } }
    ring.next!.next = ring
    const bytes = encode(schema, { ring: ring as typeof Ring.Type })
    assert.strictEqual(hex(bytes), hex(bytesOf("00000200 04000200 00000200")))
    const read = decode(schema, bytes).ring as Ring
    assert.strictEqual(read.next!.next, read)
    assert.notStrictEqual(read.next, read)
  })

  it("full pointers: refuse an id of another type, and share nothing but objects", () => {
    const schema = parameters({ a: Ndr.full(Ndr.Uint32), b: Ndr.full(Ndr.Uint8) })
    assert.strictEqual(refusedBytes(schema, "01000000 05000000 01000000"), "1783 b")
    travels(
      parameters({ a: Ndr.full(Ndr.Uint8), b: Ndr.full(Ndr.Uint8) }),
      { a: 1, b: 1 },
      "00000200 01 000000 04000200 01"
    )
  })
})

describe("full pointers to equal types that separate calls made", () => {
  interface Ring {
    next: Ring | null
  }
  const ring = () => {
    const Ring = Ndr.struct({ next: Ndr.full(Schema.suspend((): Schema.Codec<Ring> => Ring as never)) })
    return Ring as unknown as Schema.Codec<Ring>
  }
  const alike: ReadonlyArray<readonly [name: string, make: () => Interface.Parameters, object: unknown]> = [
    ["structures", () => Ndr.struct({ n: Ndr.Uint32, s: Ndr.unique(Ndr.WString) }), { n: 1, s: "a" }],
    ["arrays", () => Ndr.conformant(Ndr.Uint16), [1, 2]],
    ["unions", () => Ndr.union(Ndr.enum16({ A: 1, B: 2 }), { A: Ndr.Uint8, B: Schema.Void }), { case: "B" }],
    ["ranges", () => Ndr.struct({ n: Ndr.range(Ndr.Int64, -1n, 5n) }), { n: 3n }],
    ["counts", () => Ndr.struct({ n: Ndr.sizeIs("b", undefined, { unit: 2 }), b: Ndr.unique(Ndr.Bytes) }), { b: null }],
    ["types within themselves", ring, { next: null }]
  ]

  it("an id comes again: it is one object, in both directions", () => {
    for (const [name, make, object] of alike) {
      const schema = parameters({ a: Ndr.full(make()), b: Ndr.full(make()) })
      const bytes = encode(schema, { a: object as never, b: object as never })
      assert.strictEqual(hex(bytes.slice(-4)), "00000200", name)
      const read = decode(schema, bytes)
      assert.deepStrictEqual<unknown>(read, { a: object, b: object }, name)
      assert.strictEqual<unknown>(read.a, read.b, name)
    }
  })

  it("an id comes again for a type that differs in one part: refused", () => {
    const others: ReadonlyArray<readonly [Interface.Parameters, Interface.Parameters]> = [
      [Ndr.struct({ n: Ndr.Uint32 }), Ndr.struct({ n: Ndr.Int32 })],
      [Ndr.struct({ n: Ndr.Uint32 }), Ndr.struct({ m: Ndr.Uint32 })],
      [Ndr.struct({ n: Ndr.Uint32 }), Ndr.struct({ n: Ndr.Uint32, m: Ndr.fixed(Ndr.Uint8, 0) })],
      [Ndr.struct({ n: Ndr.enum32({ A: 0 }) }), Ndr.struct({ n: Ndr.enum32({ B: 0 }) })],
      [Ndr.struct({ n: Ndr.range(Ndr.Uint32, 0, 1) }), Ndr.struct({ n: Ndr.range(Ndr.Uint32, 0, 2) })],
      [Ndr.struct({ n: Ndr.unique(Ndr.Uint32) }), Ndr.struct({ n: Ndr.full(Ndr.Uint32) })]
    ]
    for (const [one, other] of others) {
      const schema = parameters({ a: Ndr.full(one), b: Ndr.full(other) })
      assert.strictEqual(refusedBytes(schema, "01000000 00000000 01000000"), "1783 b")
    }
  })

  it("an id comes again where the count beside it is another: refused", () => {
    const Numbers = () => Ndr.full(Ndr.conformant(Ndr.Uint8))
    const schema = parameters({ a: Numbers(), n: Ndr.sizeIs("b"), b: Numbers() })
    assert.deepStrictEqual<unknown>(decode(schema, bytesOf("01000000 01000000 07000000 01000000 01000000")), {
      a: [7],
      b: [7]
    })
    assert.strictEqual(refusedBytes(schema, "01000000 01000000 07000000 09000000 01000000"), "1734 b")
    // The second pointer stands there before the object does.
    const together = parameters({ all: Ndr.struct({ a: Numbers(), n: Ndr.sizeIs("b"), b: Numbers() }) })
    assert.strictEqual(refusedBytes(together, "01000000 09000000 01000000 01000000 07000000"), "1734 all.a")
  })
})

describe("long chains", () => {
  it("twice as many nodes: about twice the time", () => {
    interface Link {
      readonly u: { readonly case: 0 } | { readonly case: 1; readonly value: Link }
    }
    const Link: Schema.Codec<Link> = Ndr.struct({
      kind: Ndr.switchIs("u"),
      u: Ndr.union(Ndr.Uint8, { 0: Schema.Void, 1: Ndr.ref(Schema.suspend((): Schema.Codec<Link> => Link)) })
    }) as never
    interface Item {
      readonly next: Item | null
    }
    const Item: Schema.Codec<Item> = Ndr.struct({
      next: Ndr.unique(Schema.suspend((): Schema.Codec<Item> => Item))
    }) as never
    const links = (count: number): Link => {
      let link: Link = { u: { case: 0 } }
      for (let i = 0; i < count; i++) link = { u: { case: 1, value: link } }
      return link
    }
    const items = (count: number): Item => {
      let item: Item = { next: null }
      for (let i = 1; i < count; i++) item = { next: item }
      return item
    }
    const timeOf = (schema: Interface.Parameters, value: unknown): number => {
      const codec = codecOf(schema)
      let best = Infinity
      for (let i = 0; i < 3; i++) {
        const start = performance.now()
        const writer = Ndr.makeWriter()
        Result.getOrThrow(codec.encode(writer, value))
        const read = codec.decode(Ndr.makeReader(written(writer), { maximumElements: 10_000_000 }))
        best = Math.min(best, performance.now() - start)
        assert.isTrue(Result.isSuccess(read))
      }
      return best
    }
    // Of the square it would be 64 times as much.
    const isLinear = (few: number, many: number) => many < 30 * few + 50
    assert.isTrue(isLinear(timeOf(Link, links(25_000)), timeOf(Link, links(200_000))), "reference pointers")
    assert.isTrue(isLinear(timeOf(Item, items(125_000)), timeOf(Item, items(1_000_000))), "a list")
  }, 120_000)
})

describe("two counts of one array", () => {
  const Twice = Schema.Struct({ first: Ndr.sizeIs("data"), second: Ndr.sizeIs("data"), data: Ndr.unique(Ndr.Bytes) })

  it("two counts that agree: both are written and read", () => {
    travels(Twice, { data: Uint8Array.of(5) }, "01000000 01000000 00000200 01000000 05")
  })

  it("two counts that differ: are refused, whichever of them is wrong", () => {
    assert.strictEqual(refusedBytes(Twice, "02000000 01000000 00000200 01000000 05"), "1734 data")
    assert.strictEqual(refusedBytes(Twice, "01000000 02000000 00000200 01000000 05"), "1734 data")
  })

  it("two counts that differ beside a null pointer: are not checked", () => {
    assert.deepStrictEqual(decode(Twice, bytesOf("02000000 01000000 00000000")), { data: null })
  })
})

describe("unions", () => {
  it("union with two labels of one number: is refused when it is compiled", () => {
    const aliases = Ndr.union(Ndr.enum16({ A: 1, B: 1 }), { A: Ndr.Uint8, B: Ndr.Uint16 })
    assert.throws(() => Ndr.codecOf(aliases), /the labels "A" and "B" are the same number/)
    const wrapped = Ndr.union(Ndr.enum32({ A: -1, B: 0xffffffff }), { A: Ndr.Uint8, B: Ndr.Uint16 })
    assert.throws(() => Ndr.codecOf(wrapped), /the labels "A" and "B" are the same number/)
  })

  it("union with a label that is no decimal integer: is refused when it is made", () => {
    for (const label of ["", " ", "0x1", "1.5", "01", "a"]) {
      assert.throws(() => Ndr.union(Ndr.Uint32, { [label]: Ndr.Uint8 }), /not a decimal integer/, label)
    }
  })

  const union = Ndr.union(
    Ndr.Uint16,
    { 1: Ndr.Uint8, 2: Ndr.Uint64, 3: Schema.Void, 4: Ndr.struct({ a: Ndr.Uint32 }) },
    { default: Ndr.Uint16 }
  )

  it("union: aligns the discriminant, then the arm", () => {
    const schema = parameters({ before: Ndr.Uint8, u: union, after: Ndr.Uint8 })
    travels(schema, { before: 1, u: { case: 1, value: 5 }, after: 9 }, "01 00 0100 05 09")
    travels(schema, { before: 1, u: { case: 2, value: 5n }, after: 9 }, "01 00 0200 00000000 0500000000000000 09")
    travels(schema, { before: 1, u: { case: 3 }, after: 9 }, "01 00 0300 09")
    travels(schema, { before: 1, u: { case: 4, value: { a: 5 } }, after: 9 }, "01 00 0400 05000000 09")
    travels(schema, { before: 1, u: { default: 7, value: 5 }, after: 9 }, "01 00 0700 0500 09")
    readsBig(schema, { before: 1, u: { case: 2, value: 5n }, after: 9 }, "01 00 0002 00000000 0000000000000005 09")
  })

  it("union in a structure: gives it its alignment", () => {
    travels(
      parameters({ n: Ndr.Uint8, s: Ndr.struct({ u: union }) }),
      { n: 1, s: { u: { case: 1, value: 5 } } },
      "01 00000000000000 0100 05"
    )
  })

  it("union: takes its cases from an enumeration", () => {
    const schema = parameters({
      u: Ndr.union(Ndr.enum32({ None: 0, Some: 7 }), { None: Schema.Void, Some: Ndr.Uint8 })
    })
    travels(schema, { u: { case: "Some", value: 5 } }, "07000000 05")
    travels(schema, { u: { case: "None" } }, "00000000")
    assert.strictEqual(refusedValue(schema, { u: { case: "All" } }), "1781 u")
    assert.strictEqual(refusedBytes(schema, "01000000"), "1733 u")
  })

  it("union without an arm for the value: is refused with 1733", () => {
    const closed = parameters({ u: Ndr.union(Ndr.Uint16, { 1: Ndr.Uint8 }) })
    assert.strictEqual(refusedValue(closed, { u: { case: 2, value: 5 } }), "1733 u")
    assert.strictEqual(refusedValue(closed, { u: { default: 2, value: 5 } }), "1733 u")
    assert.strictEqual(refusedValue(closed, { u: {} }), "1733 u")
    assert.strictEqual(refusedBytes(closed, "0200 05"), "1733 u")
    const open = parameters({ u: union })
    assert.strictEqual(refusedValue(open, { u: { case: 9, value: 5 } }), "1733 u")
    assert.strictEqual(refusedValue(open, { u: { default: 1, value: 5 } }), "1733 u")
    assert.strictEqual(refusedValue(open, { u: { default: 70000, value: 5 } }), "1783 u")
    assert.strictEqual(refusedValue(open, { u: { case: 1, value: 500 } }), "1783 u.value")
    assert.strictEqual(refusedValue(open, { u: null }), "1783 u")
  })
})

describe("derived fields", () => {
  it("derived fields: are written from what they describe, and are no part of the value", () => {
    travels(
      parameters({
        s: Ndr.struct({
          size: Ndr.sizeIs("data"),
          length: Ndr.lengthIs("data", Ndr.Uint16),
          level: Ndr.switchIs("info"),
          info: Ndr.union(Ndr.Uint16, { 5: Ndr.Uint8 }),
          data: Ndr.conformantVarying(Ndr.Uint8)
        })
      }),
      { s: { info: { case: 5, value: 6 }, data: [7, 8] } },
      `02000000                | the size in front
       02000000 0200 0500      | size, length, level
       0500 06 00              | info
       00000000 02000000 0708  | offset, length, data`
    )
  })

  it("derived fields: look through pointers, and are 0 for null", () => {
    const schema = parameters({ n: Ndr.sizeIs("data"), data: Ndr.unique(Ndr.unique(Ndr.Bytes)) })
    travels(schema, { data: bytesOf("07") }, "01000000 00000200 04000200 01000000 07")
    travels(schema, { data: null }, "00000000 00000000")
    // Of nothing the size is not checked.
    assert.deepStrictEqual(decode(schema, bytesOf("05000000 00000000")), { data: null })
  })

  it("derived fields: may stand behind what they describe", () => {
    const struct = Ndr.struct({ data: Ndr.unique(Ndr.WString), n: Ndr.sizeIs("data") })
    const schema = parameters({ data: Ndr.Bytes, n: Ndr.sizeIs("data", Ndr.Uint8), s: struct })
    travels(
      schema,
      { data: bytesOf("0a"), s: { data: "a" } },
      "01000000 0a 01 0000  00000200 02000000  02000000 00000000 02000000 6100 0000"
    )
    assert.strictEqual(refusedBytes(schema, "01000000 0a 02 0000"), "1734 n")
    assert.strictEqual(
      refusedBytes(schema, "01000000 0a 01 0000  00000200 03000000  02000000 00000000 02000000 6100 0000"),
      "1734 s.data"
    )
  })

  it("derived fields that differ from what they describe: are refused with 1734 or 1733", () => {
    const schema = parameters({
      n: Ndr.sizeIs("data"),
      m: Ndr.lengthIs("data"),
      data: Ndr.unique(Ndr.conformantVarying(Ndr.Uint8))
    })
    assert.deepStrictEqual(
      decode(schema, bytesOf("05000000 01000000 00000200 05000000 00000000 01000000 0a")),
      { data: [10] }
    )
    assert.strictEqual(
      refusedBytes(schema, "04000000 01000000 00000200 05000000 00000000 01000000 0a"),
      "1734 data"
    )
    assert.strictEqual(
      refusedBytes(schema, "05000000 02000000 00000200 05000000 00000000 01000000 0a"),
      "1734 data"
    )
    const union = parameters({ level: Ndr.switchIs("u", Ndr.Uint32), u: Ndr.union(Ndr.Uint16, { 1: Ndr.Uint8 }) })
    assert.deepStrictEqual(decode(union, bytesOf("01000000 0100 05")), { u: { case: 1, value: 5 } })
    assert.strictEqual(refusedBytes(union, "02000000 0100 05"), "1733 u")
  })

  it("derived fields, value out of their type's range: is refused", () => {
    const schema = parameters({ n: Ndr.sizeIs("data", Ndr.Uint8), data: Ndr.Bytes })
    assert.strictEqual(refusedValue(schema, { data: new Uint8Array(256) }), "1783 n")
    assert.strictEqual(refusedValue(schema, { data: 5 }), "1783 data")
  })

  it("derived fields in the elements of an array: each describes its own element", () => {
    const row = Ndr.struct({ n: Ndr.sizeIs("data", Ndr.Uint8), data: Ndr.unique(Ndr.Bytes) })
    const schema = parameters({ rows: Ndr.fixed(row, 2) })
    travels(
      schema,
      { rows: [{ data: bytesOf("0a") }, { data: bytesOf("0b0c") }] },
      `01 000000 00000200  02 000000 04000200
       01000000 0a 000000  02000000 0b0c`
    )
    assert.strictEqual(
      refusedBytes(schema, "01 000000 00000200  03 000000 04000200  01000000 0a 000000  02000000 0b0c"),
      "1734 rows[1].data"
    )
  })
})

describe("codecs", () => {
  it("codec: takes nothing, one value, or parameters", () => {
    assert.strictEqual(hex(encode(Schema.Void, undefined)), "")
    assert.strictEqual(decode(Schema.Void, new Uint8Array(0)), undefined)
    travels(Ndr.Uint32, 7, "07000000")
    travels(Ndr.ref(Ndr.WString), "a", "02000000 00000000 02000000 6100 0000")
    // A structure is one parameter, fields are several.
    travels(
      Ndr.struct({ a: Ndr.Uint8, b: Ndr.unique(Ndr.Uint8), c: Ndr.Uint8 }),
      { a: 1, b: 2, c: 3 },
      "01000000 00000200 03 02"
    )
    travels(
      parameters({ a: Ndr.Uint8, b: Ndr.unique(Ndr.Uint8), c: Ndr.Uint8 }),
      { a: 1, b: 2, c: 3 },
      "01000000 00000200 02 03"
    )
  })

  it("codec: is made once", () => {
    const schema = parameters({ a: Ndr.Uint8 })
    assert.strictEqual(Ndr.codecOf(schema), Ndr.codecOf(schema))
  })

  it("schema without an NDR form: has no codec", () => {
    for (
      const schema of [
        Schema.String,
        Schema.Struct({ a: Ndr.Uint8, b: Schema.Number }),
        Schema.Struct({ a: Schema.optionalKey(Ndr.Uint8) }),
        Schema.Struct({ a: Ndr.unique(Schema.String) }),
        Schema.Array(Ndr.Uint8),
        Schema.NullOr(Ndr.Uint8),
        Schema.Record(Schema.String, Ndr.Uint8)
      ]
    ) assert.strictEqual(Ndr.codecOf(schema), undefined)
  })

  it("wrong definition: the refusal tells the problem and its place", () => {
    const refuse = (message: RegExp, fields: Interface.Fields) =>
      assert.throws(() => Ndr.codecOf(parameters({ p: Ndr.struct(fields) })), TypeError, message)
    refuse(/NDR, p\.a: a conformant array/, { a: Ndr.Bytes, b: Ndr.Uint8 })
    refuse(/NDR, p\.a: a conformant array/, { a: Ndr.fixed(Ndr.Bytes, 2) })
    refuse(/NDR, p\.a: the elements/, { a: Ndr.fixed(Ndr.struct({}), 2) })
    refuse(/NDR, p\.a: a conformant array/, { a: Ndr.unique(Ndr.conformant(Ndr.WString)) })
    refuse(/NDR, p\.a\.1: a conformant array/, { a: Ndr.union(Ndr.Uint8, { 1: Ndr.Bytes }) })
    refuse(/NDR, p\.a\.case: its discriminant|NDR, p\.a: its discriminant/, {
      a: Ndr.union(Ndr.Uint64, { 1: Ndr.Uint8 })
    })
    refuse(/NDR, p\.a: there is no field "b"/, { a: Ndr.sizeIs("b") })
    refuse(/NDR, p\.a: there is no field "b"/, { a: Ndr.sizeIs("b"), b: Ndr.sizeIs("a") })
    refuse(/NDR, p\.a: the field "b" has no size/, { a: Ndr.sizeIs("b"), b: Ndr.fixed(Ndr.Uint8, 2) })
    refuse(/NDR, p\.a: the field "b" has no length/, { a: Ndr.lengthIs("b"), b: Ndr.unique(Ndr.Bytes) })
    refuse(/NDR, p\.a: its field is not a union/, { a: Ndr.switchIs("b"), b: Ndr.Uint8 })
    refuse(/NDR, p\.a: its type/, { a: Ndr.sizeIs("b", Ndr.Uint64), b: Ndr.Bytes })
    refuse(/NDR, p\.__proto__: /, { ["__proto__"]: Ndr.Uint8 })

    interface Endless {
      readonly self: Endless
    }
    const Endless = Ndr.struct({ self: Schema.suspend((): Schema.Codec<Endless> => Endless as never) })
    refuse(/contains itself/, { a: Endless })

    const even = Ndr.Uint8.check(Schema.isMultipleOf(2))
    refuse(/NDR, as a whole: full pointers/, { a: Ndr.full(Ndr.struct({ n: Ndr.Uint8 })), b: even })
    assert.throws(() => Ndr.union(Ndr.Uint8, { one: Ndr.Uint8 }), TypeError, /label/)
    assert.throws(() => Ndr.codecOf(Ndr.union(Ndr.enum16({ A: 1 }), { B: Ndr.Uint8 })), TypeError, /"B"/)
    const label = (discriminant: Interface.Parameters, label: number) =>
      assert.throws(
        () => Ndr.codecOf(Ndr.union(discriminant, { [label]: Ndr.Uint8 })),
        TypeError,
        new RegExp(`the label "?${label}"? is no value of its discriminant`)
      )
    label(Ndr.Uint8, 300)
    label(Ndr.Uint16, -1)
    label(Ndr.Int8, 128)
    label(Ndr.Int32, 2 ** 31)
    label(Ndr.enum16({ A: 1 }), 7)
    label(Ndr.range(Ndr.Uint8, 1, 3), 4)
    Ndr.codecOf(Ndr.union(Ndr.range(Ndr.Int8, -1, 3), { [-1]: Ndr.Uint8, 3: Ndr.Uint8 }))
    for (const bound of [-1, 0.5, 2 ** 32]) assert.throws(() => Ndr.fixed(Ndr.Uint8, bound), TypeError)
    assert.throws(() => Ndr.varyingWString(0), TypeError)
    assert.throws(() => Ndr.range(Ndr.Uint32, 0.5, 1.5), TypeError, /minimum: 0\.5 is not an integer/)
    assert.throws(() => Ndr.range(Ndr.WString, 0, Infinity), TypeError, /maximum: Infinity is not an integer/)
    assert.throws(() => Ndr.range(Ndr.Int64, NaN, 3n), TypeError, /minimum: NaN is not an integer/)
  })

  it("pipe of elements that can't flow: is refused", () => {
    const refuse = (message: RegExp, element: Interface.Parameters) => {
      const method = Interface.method({ inPipe: { items: element as never } })
      assert.throws(() => ndr20.codec(method, "Flow"), TypeError, message)
    }
    const what = "pointers, strings, and conformant or varying arrays do not flow through pipes"
    const { Uint8 } = Ndr
    const elements = [
      Ndr.WString,
      Ndr.varyingString(3),
      Ndr.Bytes,
      Ndr.conformant(Uint8),
      Ndr.varying(Uint8, 3),
      Ndr.conformantVarying(Uint8),
      Ndr.sizedVarying(Uint8),
      Ndr.ref(Uint8),
      Ndr.unique(Uint8),
      Ndr.full(Uint8)
    ]
    for (const element of elements) {
      refuse(new RegExp(`NDR, items: ${what}`), element)
      refuse(new RegExp(`NDR, items.last: ${what}`), Ndr.struct({ first: Uint8, last: element }))
      refuse(new RegExp(`NDR, items.pair.2: ${what}`), Ndr.struct({ pair: Ndr.union(Uint8, { 1: Uint8, 2: element }) }))
    }
    const fixed = Ndr.struct({ tag: Ndr.Uint16, name: Ndr.fixedBytes(3), at: Ndr.fixed(Ndr.Double, 2), id: Ndr.Uuid })
    for (const element of [Uint8, fixed, Ndr.union(Uint8, { 1: fixed }), Ndr.enum16([1, 2])]) {
      assert.isDefined(ndr20.codec(Interface.method({ outPipe: { items: element as never } }), "Flow"))
    }
    // Without a form, as any other schema.
    assert.isUndefined(ndr20.codec(Interface.method({ outPipe: { items: Schema.Struct({}) } }), "Flow"))
    assert.isUndefined(ndr20.codec(Interface.method({ outPipe: { items: Schema.String } }), "Flow"))
  })

  it("schema with transformations and checks: the codec applies them", () => {
    class Point extends Schema.Class<Point>("Point")({ x: Ndr.Int32, y: Ndr.Int32 }) {}
    const Flags = Ndr.Uint32.pipe(Schema.decodeTo(
      Schema.Array(Schema.Int),
      SchemaTransformation.transform<ReadonlyArray<number>, number>({
        decode: (bits) => [0, 1, 2].filter((bit) => bits & (1 << bit)),
        encode: (flags) => flags.reduce((bits, bit) => bits | (1 << bit), 0)
      })
    ))
    travels(
      parameters({ point: Ndr.ref(Point), flags: Flags, inner: Ndr.struct({ point: Ndr.ref(Point) }) }),
      { point: new Point({ x: 1, y: -1 }), flags: [0, 2], inner: { point: new Point({ x: 2, y: 3 }) } },
      "01000000 ffffffff  05000000  00000200 02000000 03000000"
    )
    const even = parameters({ n: Ndr.Uint32.check(Schema.isMultipleOf(2)), ids: Ndr.conformant(Ndr.Uint8) })
    travels(even, { n: 2, ids: [] }, "02000000 00000000")
    assert.strictEqual(refusedValue(even, { n: 3, ids: [] }), "1783")
    assert.strictEqual(refusedBytes(even, "03000000 00000000"), "1783")
  })

  it("schema annotated, branded or checked: keeps its representation", () => {
    const id = Ndr.Uint16.annotate({ title: "id" }).pipe(Schema.brand("Id"))
    assert.strictEqual(hex(encode(parameters({ id }), { id: id.make(5) })), "0500")
    assert.strictEqual(hex(encode(Ndr.unique(Ndr.Uint8).annotate({ title: "p" }), 5)), "0000020005")
    const list = Ndr.conformant(Ndr.Uint8).check(Schema.isMinLength(1))
    travels(list, [1], "01000000 01")
    assert.strictEqual(refusedValue(list, []), "1783")
  })

  it("codec fails: writer and reader are where they were before", () => {
    const schema = parameters({ a: Ndr.Uint32, b: Ndr.Uint8 })
    const writer = Ndr.makeWriter()
    Result.getOrThrow(codecOf(Ndr.Uint32).encode(writer, 1))
    assert.strictEqual(refusal(codecOf(schema).encode(writer, { a: 1, b: 300 })), "1783 b")
    assert.strictEqual(writer.position, 4)
    const reader = Ndr.makeReader(bytesOf("01000000 02"))
    assert.strictEqual(refusal(codecOf(parameters({ a: Ndr.Uint32, b: Ndr.Uint32 })).decode(reader)), "1783 b")
    assert.strictEqual(reader.position, 0)
  })

  it("codec: goes on where the last one stopped, aligned from the start of the stub", () => {
    const writer = Ndr.makeWriter()
    Result.getOrThrow(codecOf(Ndr.Uint8).encode(writer, 1))
    Result.getOrThrow(codecOf(Ndr.Uint32).encode(writer, 2))
    assert.strictEqual(hex(written(writer)), "0100000002000000")
    const reader = Ndr.makeReader(bytesOf("01000000 02000000 ff"))
    assert.strictEqual(Result.getOrThrow(codecOf(Ndr.Uint8).decode(reader)), 1)
    assert.strictEqual(Result.getOrThrow(codecOf(Ndr.Uint32).decode(reader)), 2)
    assert.strictEqual(reader.position, 8)
  })

  it("codec: writes into the PDU that a PDU writer began, at any size", () => {
    const codec = codecOf(parameters({ n: Ndr.Uint8, len: Ndr.sizeIs("data"), data: Ndr.Bytes, end: Ndr.Uint64 }))
    for (const size of [0, 5, 200_000]) {
      const writer = new Pdu.Writer()
      Pdu.encodeCoCancel(writer, { callId: 1 })
      Pdu.beginRequest(writer, { callId: 2, contextId: 0, opnum: 1 })
      Result.getOrThrow(codec.encode(writer, { n: 1, data: new Uint8Array(size).fill(7), end: 9n }))
      const own = Ndr.makeWriter()
      Result.getOrThrow(codec.encode(own, { n: 1, data: new Uint8Array(size).fill(7), end: 9n }))
      assert.deepStrictEqual(writer.bytes.slice(writer.stub, writer.position), written(own))
    }
  })
})

// ----------------------------------------------------------------------------
// against other implementations
// ----------------------------------------------------------------------------

/** rpcecho, a test interface that other implementations serve and call. */
const RpcEcho = (() => {
  const Enum1 = Ndr.enum16([1, 2])
  const Enum2 = Ndr.struct({ e1: Enum1, e2: Ndr.enum32([1, 2]) })
  const info1 = Ndr.struct({ v: Ndr.Uint8 })
  const info4 = Ndr.struct({ v: Ndr.Uint64 })
  const Info = Ndr.union(Ndr.Uint16, {
    1: info1,
    2: Ndr.struct({ v: Ndr.Uint16 }),
    3: Ndr.struct({ v: Ndr.Uint32 }),
    4: info4,
    5: Ndr.struct({ v1: Ndr.Uint8, v2: Ndr.Uint64 }),
    6: Ndr.struct({ v1: Ndr.Uint8, info1 }),
    7: Ndr.struct({ v1: Ndr.Uint8, info4 })
  })
  const Enums = {
    foo1: Ndr.switchIs("foo3", Enum1),
    foo2: Enum2,
    foo3: Ndr.union(Ndr.Uint16, { 1: Ndr.struct({ e1: Enum1 }), 2: Enum2 })
  }
  const Surrounding = {
    data: Ndr.struct({ x: Ndr.sizeIs("surrounding"), surrounding: Ndr.conformant(Ndr.Uint16) })
  }
  return Interface.make("rpcecho", {
    uuid: "60a15ec5-4de8-11d7-a637-005056a20182",
    version: [1, 0],
    methods: {
      AddOne: Interface.method({ in: { inData: Ndr.Uint32 }, out: { outData: Ndr.Uint32 } }),
      EchoData: Interface.method({
        in: { len: Ndr.sizeIs("inData"), inData: Ndr.Bytes },
        out: { outData: Ndr.Bytes }
      }),
      SinkData: Interface.method({ in: { len: Ndr.sizeIs("data"), data: Ndr.Bytes } }),
      SourceData: Interface.method({ in: { len: Ndr.Uint32 }, out: { data: Ndr.Bytes } }),
      TestCall: Interface.method({ in: { s1: Ndr.ref(Ndr.WString) }, out: { s2: Ndr.unique(Ndr.WString) } }),
      TestCall2: Interface.method({ in: { level: Ndr.Uint16 }, out: { info: Info, result: Ndr.Uint32 } }),
      TestSleep: Interface.method({ in: { seconds: Ndr.Uint32 }, out: { result: Ndr.Uint32 } }),
      TestEnum: Interface.method({ in: Enums, out: Enums }),
      TestSurrounding: Interface.method({ in: Surrounding, out: Surrounding }),
      TestDoublePointer: Interface.method({
        in: { data: Ndr.ref(Ndr.unique(Ndr.unique(Ndr.Uint16))) },
        out: { result: Ndr.Uint16 }
      })
    }
  })
})()

describe("rpcecho", () => {
  const { methods } = RpcEcho

  it("rpcecho: has all its parameters in NDR", () => {
    travels(methods.AddOne.in, { inData: 41 }, "29000000")
    travels(methods.AddOne.out, { outData: 42 }, "2a000000")
    travels(methods.EchoData.in, { inData: bytesOf("010203") }, "03000000 03000000 010203")
    travels(methods.EchoData.out, { outData: bytesOf("010203") }, "03000000 010203")
    travels(methods.SinkData.in, { data: bytesOf("ff") }, "01000000 01000000 ff")
    travels(methods.SinkData.out, undefined, "")
    travels(methods.SourceData.in, { len: 3 }, "03000000")
    travels(methods.SourceData.out, { data: bytesOf("000102") }, "03000000 000102")
    travels(methods.TestCall.in, { s1: "hi" }, "03000000 00000000 03000000 6800 6900 0000")
    travels(methods.TestCall.out, { s2: "hi" }, "00000200  03000000 00000000 03000000 6800 6900 0000")
    travels(methods.TestCall.out, { s2: null }, "00000000")
    travels(methods.TestSleep.in, { seconds: 5 }, "05000000")
    travels(methods.TestSleep.out, { result: 5 }, "05000000")
    travels(methods.TestSurrounding.in, { data: { surrounding: [1, 2] } }, "02000000 02000000 0100 0200")
    travels(methods.TestDoublePointer.in, { data: 7 }, "00000200 04000200 0700")
    travels(methods.TestDoublePointer.in, { data: null }, "00000000")
    travels(methods.TestDoublePointer.out, { result: 7 }, "0700")
  })

  it("rpcecho: has a union of seven levels", () => {
    const { in: input, out } = methods.TestCall2
    travels(input, { level: 3 }, "0300")
    travels(out, { info: { case: 1, value: { v: 10 } }, result: 0 }, "0100 0a 00 00000000")
    travels(out, { info: { case: 2, value: { v: 20 } }, result: 0 }, "0200 1400 00000000")
    travels(out, { info: { case: 3, value: { v: 30 } }, result: 0 }, "0300 0000 1e000000 00000000")
    travels(out, { info: { case: 4, value: { v: 40n } }, result: 0 }, "0400 000000000000 2800000000000000 00000000")
    travels(
      out,
      { info: { case: 5, value: { v1: 50, v2: 60n } }, result: 0 },
      "0500 000000000000 32 00000000000000 3c00000000000000 00000000"
    )
    travels(out, { info: { case: 6, value: { v1: 70, info1: { v: 80 } } }, result: 0 }, "0600 46 50 00000000")
    travels(
      out,
      { info: { case: 7, value: { v1: 80, info4: { v: 90n } } }, result: 1 },
      "0700 000000000000 50 00000000000000 5a00000000000000 01000000"
    )
  })

  it("rpcecho: has enumerations, and a union that one of them switches", () => {
    travels(
      methods.TestEnum.in,
      { foo2: { e1: 1, e2: 2 }, foo3: { case: 1, value: { e1: 2 } } },
      "0100 0000  0100 0000 02000000  0100 0200"
    )
    travels(
      methods.TestEnum.in,
      { foo2: { e1: 1, e2: 2 }, foo3: { case: 2, value: { e1: 2, e2: 1 } } },
      "0200 0000  0100 0000 02000000  0200 0000 0200 0000 01000000"
    )
    assert.strictEqual(refusedBytes(methods.TestEnum.in, "0200 0000  0100 0000 02000000  0100 0200"), "1733 foo3")
  })
})

/**
 * Stubs written by impacket 0.10, which pads with arbitrary bytes and has random referent ids, and the same with the
 * padding and the ids of this library.
 */
const foreign = <S extends Interface.Parameters>(schema: S, value: S["Type"], theirs: string, ours: string): void => {
  assert.deepStrictEqual(decode(schema, bytesOf(theirs)), value)
  assert.strictEqual(hex(encode(schema, value)), hex(bytesOf(ours)))
}

describe("stubs of impacket", () => {
  it("stubs of impacket, counted bytes and strings: are read as they were written", () => {
    foreign(
      parameters({ len: Ndr.sizeIs("data"), data: Ndr.Bytes }),
      { data: new TextEncoder().encode("hello") },
      "050000000500000068656c6c6f",
      "050000000500000068656c6c6f"
    )
    foreign(
      parameters({
        a: Ndr.WString,
        b: Ndr.Uint8,
        c: Ndr.unique(Ndr.WString),
        d: Ndr.Uint16,
        e: Ndr.unique(Ndr.WString)
      }),
      { a: "abc", b: 0x7f, c: "de", d: 0x1234, e: null },
      "04000000000000000400000061006200630000007faaaaaabc9c0000030000000000000003000000640065000000341200000000",
      "04000000000000000400000061006200630000007f00000000000200030000000000000003000000640065000000341200000000"
    )
  })

  it("stubs of impacket, an array of structures with pointers: is read as it was written", () => {
    const row = Ndr.struct({ id: Ndr.Uint32, name: Ndr.unique(Ndr.WString), flag: Ndr.Uint8 })
    foreign(
      parameters({
        info: Ndr.struct({ count: Ndr.sizeIs("rows"), rows: Ndr.unique(Ndr.conformant(row)) }),
        status: Ndr.Uint32
      }),
      { info: { rows: [{ id: 1, name: "a", flag: 1 }, { id: 2, name: "bcd", flag: 2 }] }, status: 0 },
      `02000000 af540000 02000000
       01000000 a80d0000 01ababab  02000000 a5d50000 02ababab
       02000000 00000000 02000000 6100 0000  04000000 00000000 04000000 6200 6300 6400 0000  00000000`,
      `02000000 00000200 02000000
       01000000 04000200 01000000  02000000 08000200 02000000
       02000000 00000000 02000000 6100 0000  04000000 00000000 04000000 6200 6300 6400 0000  00000000`
    )
  })

  it("stubs of impacket, a conformant structure, and a unicode string with a UUID: are read as they were written", () => {
    foreign(
      parameters({ data: Ndr.struct({ x: Ndr.sizeIs("numbers"), numbers: Ndr.conformant(Ndr.Uint16) }) }),
      { data: { numbers: [1, 2, 3] } },
      "0300000003000000010002000300",
      "0300000003000000010002000300"
    )
    foreign(
      parameters({
        h: Ndr.Uint8,
        name: Ndr.struct({
          length: Ndr.Uint16,
          maximumLength: Ndr.Uint16,
          buffer: Ndr.unique(Ndr.conformantVarying(Ndr.WChar))
        }),
        id: Ndr.Uuid,
        b: Ndr.Uint8,
        big: Ndr.Uint64
      }),
      {
        h: 1,
        name: { length: 6, maximumLength: 6, buffer: ["x", "y", "z"] },
        id: "60a15ec5-4de8-11d7-a637-005056a20182",
        b: 9,
        big: 0x1122334455667788n
      },
      `01ababab0600060012cb0000030000000000000003000000780079007a00ababc55ea160e84dd711a637005056a20182
       09bfbfbfbfbfbfbf8877665544332211`,
      `010000000600060000000200030000000000000003000000780079007a000000c55ea160e84dd711a637005056a20182
       09000000000000008877665544332211`
    )
  })

  it("stubs of impacket, a union with a pointer, and varying bytes: are read as they were written", () => {
    const info = Ndr.struct({
      level: Ndr.switchIs("info"),
      info: Ndr.union(Ndr.Uint32, { 1: Ndr.Uint32, 2: Ndr.unique(Ndr.WString) })
    })
    foreign(
      parameters({ info }),
      { info: { info: { case: 2, value: "hey" } } },
      "0200000002000000d38b00000400000000000000040000006800650079000000",
      "0200000002000000000002000400000000000000040000006800650079000000"
    )
    foreign(
      parameters({ info }),
      { info: { info: { case: 1, value: 7 } } },
      "010000000100000007000000",
      "010000000100000007000000"
    )
    foreign(
      parameters({ k: Ndr.Uint16, p: Ndr.unique(Ndr.VaryingBytes), n: Ndr.lengthIs("p") }),
      { k: 1, p: new TextEncoder().encode("abcde") },
      "0100aaaa123700000500000000000000050000006162636465bfbfbf05000000",
      "0100000000000200050000000000000005000000616263646500000005000000"
    )
  })
})

// ----------------------------------------------------------------------------
// random definitions
// ----------------------------------------------------------------------------

const arrayKinds = ["fixed", "conformant", "varying", "both", "sized"] as const

type ArrayKind = (typeof arrayKinds)[number]

/** A definition, from which the schema, its values and their bytes are made each in its own way. */
type Definition =
  | { readonly _: "scalar"; readonly name: keyof typeof scalarTypes }
  | { readonly _: "string"; readonly wide: boolean; readonly bound: boolean }
  | { readonly _: "bytes" }
  | { readonly _: "array"; readonly kind: ArrayKind; readonly of: Definition }
  | { readonly _: "struct"; readonly fields: ReadonlyArray<Definition> }
  | { readonly _: "union"; readonly arms: ReadonlyArray<Definition | undefined> }
  | { readonly _: "pointer"; readonly kind: "ref" | "unique" | "full"; readonly to: Definition }

const scalarTypes = {
  Uint8: { size: 1, values: fc.integer({ min: 0, max: 0xff }) },
  Int16: { size: 2, values: fc.integer({ min: -0x8000, max: 0x7fff }) },
  Uint32: { size: 4, values: fc.integer({ min: 0, max: 0xffffffff }) },
  Int64: { size: 8, values: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }) },
  Double: { size: 8, values: fc.double({ noNaN: true }) }
} as const

const fixedCount = 3
const wideText = fc.string({ unit: fc.integer({ min: 1, max: 0xffff }).map((unit) => String.fromCharCode(unit)) })
const narrowText = fc.string({ unit: fc.integer({ min: 1, max: 0xff }).map((unit) => String.fromCharCode(unit)) })

const isConformant = (type: Definition): boolean =>
  type._ === "bytes" || (type._ === "string" && !type.bound) ||
  (type._ === "array" && ["conformant", "both", "sized"].includes(type.kind)) ||
  (type._ === "struct" && isConformant(type.fields.at(-1)!))

const isVarying = (type: Definition): boolean =>
  type._ === "string" || (type._ === "array" && ["varying", "both", "sized"].includes(type.kind))

const definitions = fc.letrec<{ any: Definition; part: Definition }>((tie) => ({
  part: tie("any").map((type) => isConformant(type) ? { _: "pointer", kind: "unique", to: type } : type),
  any: fc.oneof(
    { maxDepth: 4, depthSize: "medium" },
    fc.record({ _: fc.constant("scalar" as const), name: fc.constantFrom(...Object.keys(scalarTypes) as never[]) }),
    fc.record({ _: fc.constant("string" as const), wide: fc.boolean(), bound: fc.boolean() }),
    fc.record({ _: fc.constant("bytes" as const) }),
    fc.record({
      _: fc.constant("array" as const),
      kind: fc.constantFrom(...arrayKinds),
      of: tie("part").map((type): Definition => isVarying(type) ? { _: "struct", fields: [type] } : type)
    }),
    fc.tuple(fc.array(tie("part"), { maxLength: 3 }), tie("any"))
      .map(([fields, last]): Definition => ({ _: "struct", fields: [...fields, last] })),
    fc.record({
      _: fc.constant("union" as const),
      arms: fc.array(fc.option(tie("part"), { nil: undefined }), { minLength: 1, maxLength: 3 })
    }),
    fc.record({
      _: fc.constant("pointer" as const),
      kind: fc.constantFrom("ref" as const, "unique" as const, "full" as const),
      to: tie("any")
    }).map((pointer): Definition => pointer.to._ === "pointer" && pointer.kind === "full" ? pointer.to : pointer)
  )
}))

const name = (index: number): string => `f${index}`

const schemaOf = (type: Definition): Interface.Parameters => {
  switch (type._) {
    case "scalar":
      return Ndr[type.name]
    case "string":
      return type.bound
        ? type.wide ? Ndr.varyingWString(1000) : Ndr.varyingString(1000)
        : type.wide
        ? Ndr.WString
        : Ndr.String
    case "bytes":
      return Ndr.Bytes
    case "array": {
      const element = schemaOf(type.of)
      if (type.kind === "fixed") return Ndr.fixed(element, fixedCount)
      if (type.kind === "sized") return Ndr.sizedVarying(element)
      return type.kind === "varying"
        ? Ndr.varying(element)
        : type.kind === "both"
        ? Ndr.conformantVarying(element)
        : Ndr.conformant(element)
    }
    case "struct":
      return Ndr.struct(Object.fromEntries(type.fields.map((field, i) => [name(i), schemaOf(field)])))
    case "union":
      return Ndr.union(
        Ndr.Uint16,
        Object.fromEntries(type.arms.map((arm, i) => [i, arm === undefined ? Schema.Void : schemaOf(arm)]))
      )
    case "pointer":
      return Ndr[type.kind](schemaOf(type.to))
  }
}

const valuesOf = (type: Definition): fc.Arbitrary<unknown> => {
  switch (type._) {
    case "scalar":
      return scalarTypes[type.name].values
    case "string":
      return type.wide ? wideText : narrowText
    case "bytes":
      return fc.uint8Array()
    case "array": {
      const length = type.kind === "fixed" ? { minLength: fixedCount, maxLength: fixedCount } : { maxLength: 4 }
      const elements = fc.array(valuesOf(type.of), length)
      return type.kind !== "sized"
        ? elements
        : fc.tuple(elements, fc.nat(3)).map(([elements, rest]) => ({ size: elements.length + rest, elements }))
    }
    case "struct":
      return fc.record(Object.fromEntries(type.fields.map((field, i) => [name(i), valuesOf(field)])), {
        noNullPrototype: true
      })
    case "union":
      return fc.oneof(
        ...type.arms.map((arm, i) =>
          arm === undefined
            ? fc.constant(i).map((i) => ({ case: i }))
            : valuesOf(arm).map((value) => ({ case: i, value }))
        )
      )
    case "pointer":
      return type.kind === "ref" ? valuesOf(type.to) : fc.option(valuesOf(type.to))
  }
}

/** Writes values the plain way, to compare with. It shares nothing with the library. */
class Reference {
  readonly out: Array<number> = []
  id = 0x20000
  readonly littleEndian: boolean

  constructor(littleEndian: boolean) {
    this.littleEndian = littleEndian
  }

  align(size: number): void {
    while (this.out.length % size !== 0) this.out.push(0)
  }

  number(size: number, put: (view: DataView) => void): void {
    this.align(size)
    const bytes = new Uint8Array(size)
    put(new DataView(bytes.buffer))
    this.out.push(...bytes)
  }

  uint(size: 1 | 2 | 4, value: number): void {
    this.number(size, (view) => view[`setUint${8 * size as 8 | 16 | 32}`](0, value, this.littleEndian))
  }

  alignmentOf(type: Definition): number {
    switch (type._) {
      case "scalar":
        return scalarTypes[type.name].size
      case "bytes":
        return 1
      case "string":
      case "pointer":
        return 4
      case "array":
        return Math.max(this.alignmentOf(type.of), isVarying(type) ? 4 : 1)
      case "struct":
        return Math.max(...type.fields.map((field) => this.alignmentOf(field)))
      case "union":
        return Math.max(2, ...type.arms.map((arm) => arm === undefined ? 1 : this.alignmentOf(arm)))
    }
  }

  sizeOf(type: Definition, value: any): number | undefined {
    if (!isConformant(type)) return undefined
    if (type._ === "struct") return this.sizeOf(type.fields.at(-1)!, value[name(type.fields.length - 1)])
    if (type._ === "array" && type.kind === "sized") return value.size
    return value.length + (type._ === "string" ? 1 : 0)
  }

  /** A parameter, or what a pointer points to, with everything that hangs on it. */
  whole(type: Definition, value: unknown): void {
    const size = this.sizeOf(type, value)
    if (size !== undefined) this.uint(4, size)
    const hanging: Array<() => void> = []
    this.flat(type, value, hanging)
    for (const write of hanging) write()
  }

  parameter(type: Definition, value: unknown): void {
    if (type._ === "pointer" && type.kind === "ref") this.parameter(type.to, value)
    else this.whole(type, value)
  }

  flat(type: Definition, value: any, hanging: Array<() => void>): void {
    switch (type._) {
      case "scalar": {
        const { littleEndian } = this
        const put = `set${type.name === "Double" ? "Float64" : type.name === "Int64" ? "BigInt64" : type.name}` as never
        return this.number(scalarTypes[type.name].size, (view) => (view[put] as any)(0, value, littleEndian))
      }
      case "string":
        this.uint(4, 0)
        this.uint(4, value.length + 1)
        for (let i = 0; i < value.length; i++) this.uint(type.wide ? 2 : 1, value.charCodeAt(i))
        return this.uint(type.wide ? 2 : 1, 0)
      case "bytes":
        return void this.out.push(...value)
      case "array": {
        const elements = type.kind === "sized" ? value.elements : value
        if (isVarying(type)) {
          this.uint(4, 0)
          this.uint(4, elements.length)
        }
        for (const element of elements) this.flat(type.of, element, hanging)
        return
      }
      case "struct":
        this.align(this.alignmentOf(type))
        return type.fields.forEach((field, i) => this.flat(field, value[name(i)], hanging))
      case "union": {
        this.uint(2, value.case)
        const arm = type.arms[value.case]
        if (arm !== undefined) this.flat(arm, value.value, hanging)
        return
      }
      case "pointer":
        if (value === null && type.kind !== "ref") return this.uint(4, 0)
        this.uint(4, this.id)
        this.id += 4
        hanging.push(() => this.whole(type.to, value))
    }
  }
}

const cases = fc.array(definitions.any, { minLength: 1, maxLength: 3 }).chain((types) =>
  fc.tuple(...types.map(valuesOf)).map((values) => ({
    types,
    schema: Schema.Struct(Object.fromEntries(types.map((type, i) => [name(i), schemaOf(type)]))),
    value: Object.fromEntries(values.map((value, i) => [name(i), value]))
  }))
)

const reference = (types: ReadonlyArray<Definition>, value: Record<string, unknown>, littleEndian: boolean) => {
  const writer = new Reference(littleEndian)
  types.forEach((type, i) => writer.parameter(type, value[name(i)]))
  return Uint8Array.from(writer.out)
}

describe("random definitions", () => {
  const numRuns = budgetOf(5000)

  it(`random definitions, both byte orders: have the bytes of a plain implementation, and come back, seed ${seed}`, () => {
    fc.assert(
      fc.property(cases, ({ types, schema, value }) => {
        for (const littleEndian of [true, false]) {
          const expected = reference(types, value, littleEndian)
          const writer = littleEndian ? Ndr.makeWriter() : new Pdu.Writer({ littleEndian })
          Result.getOrThrow(codecOf(schema).encode(writer, value))
          assert.strictEqual(hex(written(writer)), hex(expected))
          assert.deepStrictEqual(decode(schema, expected, littleEndian), value)
        }
      }),
      { seed, numRuns }
    )
    report("NDR", `${numRuns} definitions`)
  })

  it(`random definitions, truncated: are refused, seed ${seed}`, () => {
    fc.assert(
      fc.property(cases, ({ types, schema, value }) => {
        const bytes = reference(types, value, true)
        for (let length = 0; length < bytes.length; length++) {
          assert.isTrue(Result.isFailure(codecOf(schema).decode(Ndr.makeReader(bytes.subarray(0, length)))))
        }
      }),
      { seed, numRuns: budgetOf(500) }
    )
  })

  it(`random definitions, damaged stubs: are refused, or read as values that can be written again, seed ${seed}`, () => {
    const damage = fc.array(
      fc.record({
        at: fc.nat(),
        byte: fc.constantFrom(0, 1, 2, 4, 0x7f, 0x80, 0xff),
        size: fc.constantFrom(1, 4)
      }),
      { minLength: 1, maxLength: 4 }
    )
    fc.assert(
      fc.property(cases, damage, ({ types, schema, value }, changes) => {
        const bytes = reference(types, value, true)
        for (const { at, byte, size } of changes) {
          if (bytes.length > 0) bytes.fill(byte, at % bytes.length, at % bytes.length + size)
        }
        const result = codecOf(schema).decode(Ndr.makeReader(bytes))
        if (Result.isFailure(result)) {
          assert.include([1733, 1734, 1780, 1781, 1783], result.failure.status)
        } else {
          assert.deepStrictEqual(decode(schema, encode(schema, result.success)), result.success)
        }
      }),
      { seed, numRuns }
    )
  })
})

// ----------------------------------------------------------------------------
// random compositions
// ----------------------------------------------------------------------------

interface Piece {
  readonly type: Interface.Parameters
  readonly values: fc.Arbitrary<unknown>
}

const piece = (type: Interface.Parameters, values: fc.Arbitrary<unknown>): Piece => ({ type, values })

// Characters of two units among them.
const anyText = fc.string({ unit: "binary", maxLength: 3 })
const plainText = anyText.map((text) => text.replaceAll("\0", "0"))
const roomy = (text: fc.Arbitrary<string>, least: number) =>
  fc.tuple(text, fc.nat(9)).map(([text, more]) => ({ text, size: text.length + least + more }))

const { Uint16, Uint32, Uint8 } = Ndr

const smallPieces: ReadonlyArray<Piece> = [
  piece(Ndr.range(Uint32, 10, 1000), fc.integer({ min: 10, max: 1000 })),
  piece(Ndr.range(Ndr.Int64, -5n, 5n), fc.bigInt({ min: -5n, max: 5n })),
  piece(Ndr.unique(Ndr.range(Ndr.Bytes, 1, 4)), fc.option(fc.uint8Array({ minLength: 1, maxLength: 4 }))),
  piece(Ndr.unique(Ndr.range(Ndr.WString, 1, 7)), fc.option(plainText)),
  piece(Ndr.enum16({ A: 1, B: 1, C: 2, Far: 0x8000 }), fc.constantFrom("A", "C", 7)),
  piece(Ndr.enum32({ Low: -1, Zero: 0, None: 0 }), fc.constantFrom("Low", "Zero", 7)),
  piece(Ndr.fixedWChars(6), plainText),
  piece(Ndr.varyingWChars(6), anyText),
  piece(Ndr.fixed(Ndr.varyingWString(7), 2), fc.array(plainText, { minLength: 2, maxLength: 2 })),
  piece(Ndr.unique(Ndr.SizedWString), fc.option(roomy(plainText, 1))),
  piece(Ndr.unique(Ndr.SizedVaryingWChars), fc.option(roomy(anyText, 0))),
  piece(
    Ndr.UnicodeString,
    fc.oneof(anyText, fc.constant(null), roomy(anyText, 1), fc.constant({ text: null, size: 3 }))
  ),
  piece(
    Ndr.unique(Ndr.SizedVaryingBytes),
    fc.option(fc.uint8Array({ maxLength: 5 }).map((bytes) => ({ bytes, size: bytes.length + 2 })))
  ),
  piece(
    Ndr.struct({ bytes: Ndr.sizeIs("text", Uint16, { unit: 2 }), text: Ndr.unique(Ndr.WChars) }),
    fc.record({ text: anyText })
  )
]

const composed = (depth: number): fc.Arbitrary<Piece> => {
  const small = fc.constantFrom(...smallPieces)
  if (depth === 0) return small
  const inner = composed(depth - 1)
  return fc.oneof(
    small,
    fc.tuple(inner, inner).map(([a, b]) =>
      piece(Ndr.struct({ a: a.type, b: b.type }), fc.record({ a: a.values, b: b.values }))
    ),
    fc.tuple(inner, inner, fc.boolean()).map(([a, b, msUnion]) =>
      piece(
        Ndr.union(Uint16, { 1: a.type, 2: b.type, 3: Schema.Void }, { msUnion }),
        fc.oneof(
          a.values.map((value) => ({ case: 1, value })),
          b.values.map((value) => ({ case: 2, value })),
          fc.constant({ case: 3 })
        )
      )
    ),
    fc.tuple(inner, fc.constantFrom(Ndr.unique, Ndr.full)).map(([{ type, values }, pointer]) =>
      piece(pointer(Ndr.struct({ value: type })), fc.option(fc.record({ value: values })))
    ),
    inner.map(({ type, values }) =>
      piece(
        Ndr.struct({
          count: Ndr.sizeIs(["ids", "all"]),
          ids: Ndr.unique(Ndr.conformant(Uint8)),
          all: Ndr.unique(Ndr.conformant(Ndr.struct({ value: type })))
        }),
        fc.array(fc.record({ value: values }), { maxLength: 3 }).map((all) => ({ ids: all.map((_, i) => i), all }))
      )
    )
  )
}

const compositions = composed(3).chain(({ type, values }) =>
  values.map((value) => ({ schema: parameters({ value: type, last: Uint8 }), value: { value, last: 255 } }))
)

/** How many characters and elements a value holds. What full pointers share counts once. */
const sizeOf = (value: unknown, seen = new Set<unknown>()): number => {
  if (typeof value === "string" || value instanceof Uint8Array) return value.length
  if (typeof value !== "object" || value === null || seen.has(value)) return 0
  seen.add(value)
  return Object.values(value).reduce((sum, part) => sum + sizeOf(part, seen), Array.isArray(value) ? value.length : 0)
}

describe("random compositions", () => {
  const numRuns = budgetOf(10_000)

  it(`random compositions, both byte orders: come back, seed ${seed}`, () => {
    fc.assert(
      fc.property(compositions, ({ schema, value }) => {
        for (const littleEndian of [true, false]) {
          const writer = littleEndian ? Ndr.makeWriter() : new Pdu.Writer({ littleEndian })
          Result.getOrThrow(codecOf(schema).encode(writer, value as never))
          assert.deepStrictEqual(decode(schema, written(writer), littleEndian) as unknown, value)
        }
      }),
      { seed, numRuns }
    )
    report("NDR compositions", `${numRuns} descriptions`)
  })

  it(`damaged bytes: are read or refused, into no more than there are bytes, seed ${seed}`, () => {
    const damage = fc.array(fc.tuple(fc.nat(), fc.constantFrom(0, 1, 2, 0x7f, 0x80, 0xff)), {
      minLength: 1,
      maxLength: 6
    })
    fc.assert(
      fc.property(compositions, damage, fc.nat(), ({ schema, value }, changes, end) => {
        const writer = Ndr.makeWriter()
        Result.getOrThrow(codecOf(schema).encode(writer, value as never))
        const bytes = written(writer).slice()
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte
        const stub = end % 4 === 0 ? bytes.subarray(0, end % bytes.length) : bytes
        const read = codecOf(schema).decode(Ndr.makeReader(stub))
        if (Result.isFailure(read)) assert.strictEqual(read.failure._tag, "NdrError")
        // The fixed arrays of two strings are no part of the bytes.
        else assert.isAtMost(sizeOf(read.success), 2 * stub.length)
      }),
      { seed, numRuns }
    )
  })
})
