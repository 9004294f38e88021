import { assert, describe, it } from "@effect/vitest"
import { createHash } from "node:crypto"
import * as Uuid from "../src/internal/uuid.ts"

const uuid = "12345678-1234-abcd-ef01-23456789abcd"

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

const malformed = [
  "",
  uuid.slice(1),
  `${uuid}0`,
  uuid.replaceAll("-", "0"),
  uuid.replaceAll("-", ""),
  uuid.replace("1", "g"),
  uuid.replace("1", " "),
  uuid.replace("1", "\u0661"),
  `{${uuid.slice(2)}}`,
  `{${uuid}}`,
  `${uuid}\n`,
  uuid.slice(0, 35) + "\u2603"
]

describe("the text of a UUID", () => {
  it("any case: canonical is lower case", () => assert.strictEqual(Uuid.canonical(uuid.toUpperCase()), uuid))

  for (const text of malformed) {
    it(`${JSON.stringify(text)}: has no canonical form`, () => assert.isUndefined(Uuid.canonical(text)))
  }
})

describe("the bytes of a UUID", () => {
  it("little-endian: the first three numbers are swapped", () => {
    const bytes = new Uint8Array(18)
    Uuid.write(bytes, 1, uuid, true)
    assert.strictEqual(hex(bytes), "00785634123412cdabef0123456789abcd00")
    assert.strictEqual(Uuid.read(bytes, 1, true), uuid)
  })

  it("big-endian: the bytes stand in the order of the text", () => {
    const bytes = new Uint8Array(18)
    Uuid.write(bytes, 1, uuid, false)
    assert.strictEqual(hex(bytes), "00123456781234abcdef0123456789abcd00")
    assert.strictEqual(Uuid.read(bytes, 1, false), uuid)
  })

  for (const text of [...malformed, uuid.toUpperCase()]) {
    it(`${JSON.stringify(text)}: write throws and writes nothing`, () => {
      const bytes = new Uint8Array(16)
      assert.throws(() => Uuid.write(bytes, 0, text, true), TypeError)
      assert.deepStrictEqual(bytes, new Uint8Array(16))
    })
  }
})

describe("a new UUID", () => {
  it("random: has version 4, and no two are equal", () => {
    const uuids = Array.from({ length: 1000 }, Uuid.v4)
    for (const uuid of uuids) assert.match(uuid, /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/)
    assert.strictEqual(new Set(uuids).size, uuids.length)
  })

  it("of a name in a name space: is that of RFC 9562", () => {
    const dns = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    assert.strictEqual(Uuid.v5(dns, "www.example.com"), "2ed6657d-e927-568b-95e1-2665a8aea6a2")
  })
})

describe("the hash of a text", () => {
  it("any length up to three blocks: the first 32 bits of SHA-1", () => {
    for (let length = 0; length < 200; length++) {
      const text = "é".repeat(length % 3) + "x".repeat(length)
      assert.strictEqual(Uuid.hash(text), createHash("sha1").update(text).digest().readUInt32BE(0), String(length))
    }
  })
})
