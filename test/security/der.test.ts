import { assert, describe, it } from "@effect/vitest"
import * as Der from "../../src/security/internal/der.ts"
import { bytesOf, hex } from "./bytes.ts"

const read = <A>(text: string, read: (reader: Der.DerReader) => A, levels?: number): A | string => {
  const result = Der.decode(bytesOf(text), read, levels)
  return result instanceof Der.DerFailure ? result.message : result
}

describe("der", () => {
  it("integers, written and read again: the same number in the shortest form", () => {
    for (
      const [value, text] of [
        [0, "020100"],
        [127, "02017f"],
        [128, "02020080"],
        [-1, "0201ff"],
        [-128, "020180"],
        [-129, "0202ff7f"],
        [-138, "0202ff76"],
        [0xffffffff, "020500ffffffff"],
        [0x7fffffff, "02047fffffff"]
      ] as const
    ) {
      assert.strictEqual(hex(Der.integer(value)), text)
      assert.strictEqual(read(text, (reader) => reader.integer()), value)
    }
  })

  it("an unsigned number that the peer wrote as a negative one: is read", () => {
    assert.strictEqual(read("0204ffffffff", (reader) => reader.uint32()), "DER: an integer with surplus bytes")
    assert.strictEqual(read("020480000001", (reader) => reader.uint32()), 0x80000001)
    assert.strictEqual(read("0201ff", (reader) => reader.uint32()), 0xffffffff)
    assert.strictEqual(read("02050100000000", (reader) => reader.uint32()), "DER: 4294967296 does not fit into 32 bits")
  })

  it("object identifiers, written and read again: the same", () => {
    for (
      const [value, text] of [
        ["1.3.6.1.5.5.2", "06062b0601050502"],
        ["1.2.840.113554.1.2.2", "06092a864886f712010202"],
        ["1.2.840.48018.1.2.2", "06092a864882f712010202"],
        ["1.3.6.1.4.1.311.2.2.10", "060a2b06010401823702020a"],
        ["2.999.1", "0603883701"]
      ] as const
    ) {
      assert.strictEqual(hex(Der.oid(value)), text)
      assert.strictEqual(read(text, (reader) => reader.oid()), value)
    }
    assert.strictEqual(read("06022b86", (reader) => reader.oid()), "DER: an object identifier that ends in the middle")
    assert.strictEqual(read("06032b8001", (reader) => reader.oid()), "DER: an object identifier with surplus bytes")
  })

  it("lengths at the edges of their forms: written and read again", () => {
    for (const size of [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000]) {
      const bytes = Der.octets(new Uint8Array(size))
      const result = Der.decode(bytes, (reader) => reader.octets().length)
      assert.strictEqual(result, size)
    }
  })

  it("lengths in other forms: refused", () => {
    const octets = (text: string) => read(text, (reader) => hex(reader.octets()))
    assert.strictEqual(octets("0480aa0000"), "DER: a length without limit")
    assert.strictEqual(octets("048101aa"), "DER: a length with surplus bytes")
    assert.strictEqual(octets(`048200ff${"aa".repeat(255)}`), "DER: a length with surplus bytes")
    assert.strictEqual(octets("0402aa"), "DER: an element is longer than what contains it")
    assert.strictEqual(octets("0484ffffffff"), "DER: an element is longer than what contains it")
    assert.strictEqual(octets("0485010000000000"), "DER: a length of 5 bytes, expected at most 4")
    assert.strictEqual(octets("04"), "DER: the data ends within an element")
    assert.strictEqual(octets(""), "DER: the data ends within an element")
    assert.strictEqual(read("1f8101", (reader) => hex(reader.element())), "DER: a tag of several bytes")
  })

  it("surplus data, behind an element or in it: refused", () => {
    assert.strictEqual(read("02010000", (reader) => reader.integer()), "DER: surplus data at the end")
    assert.strictEqual(
      read("3006020100020100", (reader) => reader.sequence((reader) => reader.integer())),
      "DER: surplus data in the element with tag 0x30"
    )
  })

  it("nested more deeply than allowed: refused", () => {
    const nested = (reader: Der.DerReader): number => reader.atEnd ? 0 : 1 + reader.sequence(nested)
    assert.strictEqual(read("300430023000", nested, 3), 3)
    assert.strictEqual(read("300430023000", nested, 2), "DER: the elements are nested too deeply")
  })

  it("more elements than a list may have: refused", () => {
    const list = (limit: number) =>
      read("3006020101020102", (reader) => reader.list((reader) => reader.integer(), limit))
    assert.deepStrictEqual(list(2), [1, 2])
    assert.strictEqual(list(1), "DER: a list of more than 1 elements")
  })

  it("optional fields: absent in both directions", () => {
    const bytes = Der.sequence(Der.field(0, Der.integer(5)), Der.field(1, undefined), Der.field(2, Der.text("x")))
    assert.strictEqual(hex(bytes), "300aa003020105a2031b0178")
    const result = read(hex(bytes), (reader) =>
      reader.sequence((reader) => [
        reader.field(0, (reader) => reader.integer()),
        reader.optionalField(1, (reader) => reader.integer()),
        reader.field(2, (reader) => reader.text())
      ]))
    assert.deepStrictEqual(result, [5, undefined, "x"])
  })

  it("times: only the one form, and only days that exist", () => {
    const time = Date.UTC(2026, 10, 27, 22, 5, 9)
    assert.strictEqual(hex(Der.time(time)), "180f32303236313132373232303530395a")
    assert.strictEqual(read("180f32303236313132373232303530395a", (reader) => reader.time()), time)
    const ascii = (text: string) => hex(Der.element(0x18, new TextEncoder().encode(text)))
    for (
      const text of ["20260231000000Z", "20261127220509", "20261127220509.5Z", "20261127220509+0100", "202611272205Z"]
    ) {
      assert.strictEqual(read(ascii(text), (reader) => reader.time()), "DER: a time is not YYYYMMDDHHMMSSZ")
    }
  })

  it("flags of 32 bits: the first bit is the highest", () => {
    assert.strictEqual(hex(Der.flags(0x40810010)), "03050040810010")
    assert.strictEqual(read("03050040810010", (reader) => reader.flags()), 0x40810010)
    assert.strictEqual(read("030204c0", (reader) => reader.flags()), "DER: flags must have 32 bits or more")
  })
})
