import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { Interface } from "../mod.ts"
import { Denied, refuses } from "./fixtures.ts"

class EndOfFile extends Schema.TaggedError<EndOfFile>()("EndOfFile", {}) {}

const uuid = "4f2c8ea6-6a3d-4f0e-9d1e-6a4f0b1d2c3e"

const make = (changes: {
  readonly name?: string
  readonly uuid?: string
  readonly version?: readonly [number, number]
  readonly methods?: Interface.Interface.Methods
}) =>
  Interface.make(changes.name ?? "Desk", {
    uuid: changes.uuid ?? uuid,
    version: changes.version ?? [1, 0],
    methods: changes.methods ?? {}
  })

describe("an interface", () => {
  it("has the name, UUID, version and methods that it was given", () => {
    const Read = Interface.method({ in: { count: Schema.Int }, out: Schema.String })
    const Desk = make({ version: [3, 7], methods: { Read } })
    assert.strictEqual(Desk.name, "Desk")
    assert.strictEqual(Desk.uuid, uuid)
    assert.deepStrictEqual(Desk.version, [3, 7])
    assert.strictEqual(Desk.methods["Read"], Read)
  })

  it("has its UUID in lower case", () => {
    assert.strictEqual(make({ uuid: uuid.toUpperCase() }).uuid, uuid)
  })

  it("numbers its methods in the order of their declaration", () => {
    const Desk = make({ methods: { C: Interface.method({}), A: Interface.method({}), B: Interface.method({}) } })
    assert.deepStrictEqual(Object.values(Desk.operations).map(({ name, opnum }) => [name, opnum]), [
      ["C", 0],
      ["A", 1],
      ["B", 2]
    ])
  })

  it("goes on numbering after an opnum that was given", () => {
    const Desk = make({
      methods: {
        A: Interface.method({}),
        B: Interface.method({ opnum: 7 }),
        C: Interface.method({}),
        D: Interface.method({ opnum: 65535 })
      }
    })
    assert.deepStrictEqual(Object.values(Desk.operations).map(({ opnum }) => opnum), [0, 7, 8, 65535])
  })

  it("takes versions from 0 to 65535", () => {
    assert.deepStrictEqual(make({ version: [0, 65535] }).version, [0, 65535])
  })

  for (
    const [what, wrong] of Object.entries({
      "too short": uuid.slice(1),
      "too long": `${uuid}0`,
      "without hyphens": uuid.replaceAll("-", ""),
      "with a letter that is no hexadecimal digit": uuid.replace("f", "g"),
      "in braces": `{${uuid}}`,
      "with spaces": ` ${uuid}`,
      empty: ""
    })
  ) {
    it(`is refused with a UUID that is ${what}`, () =>
      refuses(() => make({ uuid: wrong }), "Desk", `"${wrong}"`, "UUID"))
  }

  it("is refused with the nil UUID", () => {
    refuses(() => make({ uuid: "00000000-0000-0000-0000-000000000000" }), "Desk", "nil UUID")
  })

  for (const version of [[-1, 0], [0, -1], [65536, 0], [0, 65536], [1.5, 0], [0, NaN], [1], [1, 2, 3]]) {
    it(`is refused with version [${version}]`, () => {
      refuses(() => make({ version: version as never }), "Desk", `[${version}]`, "65535")
    })
  }

  for (const name of ["", "1st", "two words", "a-b", "a.b", "naïve"]) {
    it(`is refused with the name ${JSON.stringify(name)}`, () =>
      refuses(() => make({ name }), JSON.stringify(name), "identifier"))
    it(`is refused with a method of the name ${JSON.stringify(name)}`, () => {
      refuses(() => make({ methods: { [name]: Interface.method({}) } }), "Desk", JSON.stringify(name), "identifier")
    })
  }

  for (const name of ["toString", "constructor", "hasOwnProperty"]) {
    it(`may have a method of the name ${name}`, () => {
      assert.deepInclude(make({ methods: { [name]: Interface.method({}) } }).operations[name], { name, opnum: 0 })
    })
  }

  it("is refused with a method of the name __proto__", () => {
    const methods = { ["__proto__"]: Interface.method({}) }
    refuses(() => make({ methods }), "Desk", `"__proto__"`)
  })

  it("is refused with one opnum for two methods", () => {
    const [a, b] = [Interface.method({ opnum: 3 }), Interface.method({ opnum: 3 })]
    refuses(() => make({ methods: { Read: a, Write: b } }), "Desk", "Read", "Write", "opnum 3")
  })

  it("is refused with an opnum that a method without one has already", () => {
    const [a, b] = [Interface.method({}), Interface.method({ opnum: 0 })]
    refuses(() => make({ methods: { Read: a, Write: b } }), "Desk", "Read", "Write", "opnum 0")
  })

  for (const opnum of [-1, 65536, 0.5, NaN]) {
    it(`is refused with opnum ${opnum}`, () => {
      refuses(() => make({ methods: { Read: Interface.method({ opnum }) } }), "Desk", "Read", String(opnum), "65535")
    })
  }

  it("is refused when the numbering goes on past 65535", () => {
    const methods = { Read: Interface.method({ opnum: 65535 }), Write: Interface.method({}) }
    refuses(() => make({ methods }), "Desk", "Write", "65536")
  })

  it("is refused with one code for two aborts of a method", () => {
    const aborts = [Interface.abort(5000, EndOfFile), Interface.abort<EndOfFile | Denied>(5000, Denied as never)]
    const methods = { Read: Interface.method({ aborts }) }
    refuses(() => make({ methods }), "Desk", "Read", "EndOfFile", "Denied", "5000")
  })

  it("is refused with one error for two codes of a method", () => {
    const aborts = [Interface.abort(38, EndOfFile), Interface.abort(39, EndOfFile)]
    refuses(() => make({ methods: { Read: Interface.method({ aborts }) } }), "Desk", "Read", "EndOfFile")
  })

  it("may have one code in two methods", () => {
    const Read = Interface.method({ aborts: [Interface.abort(38, EndOfFile)] })
    assert.strictEqual(Object.keys(make({ methods: { Read, Peek: Read } }).operations).length, 2)
  })

  it("is refused with a maybe method that has out parameters or aborts", () => {
    const out = { ...Interface.method({ out: Schema.String }), maybe: true }
    refuses(() => make({ methods: { Note: out } }), "Desk", "Note", "out parameters")
    const aborts = { ...Interface.method({ aborts: [Interface.abort(38, EndOfFile)] }), maybe: true }
    refuses(() => make({ methods: { Note: aborts } }), "Desk", "Note", "aborts")
  })

  it("is refused with an abort that was not made by abort and has a reserved code", () => {
    const aborts = [{ code: 1818, error: EndOfFile }]
    refuses(() => make({ methods: { Read: Interface.method({ aborts }) } }), "Desk", "Read", "EndOfFile", "1818")
  })
})

describe("an abort", () => {
  it("has its code and its error", () => {
    assert.deepStrictEqual(Interface.abort(38, EndOfFile), { code: 38, error: EndOfFile })
  })

  for (
    const code of [
      1,
      5,
      6,
      13,
      15,
      1460,
      1714,
      1716,
      1723,
      1777,
      1779,
      1783,
      1817,
      0x1bffffff,
      0x1d000000,
      0x80004005,
      0xffffffff
    ]
  ) {
    it(`may have code ${code}`, () => assert.strictEqual(Interface.abort(code, EndOfFile).code, code))
  }

  const refused: ReadonlyArray<readonly [number, string]> = [
    [0, "success"],
    [14, "Windows"],
    [1715, "Windows"],
    [1778, "Windows"],
    [0x1c000000, "protocol"],
    [0x1c000012, "protocol"],
    [0x1c010003, "protocol"],
    [0x1cffffff, "protocol"],
    [1818, "cancelled"],
    [1722, "unavailable"],
    [1726, "failed"],
    [1727, "did not execute"],
    [-1, "unsigned 32-bit"],
    [0x100000000, "unsigned 32-bit"],
    [1.5, "unsigned 32-bit"],
    [NaN, "unsigned 32-bit"]
  ]
  for (const [code, reason] of refused) {
    it(`is refused with code ${code}, with the reason`, () => {
      refuses(() => Interface.abort(code, EndOfFile), "EndOfFile", String(code), reason)
      assert.include(Interface.refuseCode(code), reason)
    })
  }
})

describe("a server's interface", () => {
  const offered = make({ version: [2, 5] })
  const wanted: ReadonlyArray<readonly [string, Interface.Interface.Any, boolean]> = [
    ["serves the same version", make({ version: [2, 5] }), true],
    ["serves a lower minor version", make({ version: [2, 4] }), true],
    ["serves a client that calls it by another name", make({ name: "Table", version: [2, 0] }), true],
    ["does not serve a higher minor version", make({ version: [2, 6] }), false],
    ["does not serve a lower major version", make({ version: [1, 5] }), false],
    ["does not serve a higher major version", make({ version: [3, 0] }), false],
    ["does not serve another UUID", make({ uuid: uuid.replace("4", "5"), version: [2, 5] }), false]
  ]
  for (const [name, client, compatible] of wanted) {
    it(name, () => assert.strictEqual(Interface.isCompatible(offered, client), compatible))
  }
})
