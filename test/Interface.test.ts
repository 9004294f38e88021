import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Schema } from "effect"
import { Binding, Call, ContextHandle, Interface, Manager, Server, Status } from "../mod.ts"
import * as Association from "../src/dcerpc/Association.ts"
import * as Endpoint from "../src/dcerpc/Endpoint.ts"
import * as Ndr from "../src/ndr/Ndr.ts"
import * as Memory from "../src/transport/Memory.ts"
import { Denied, refuses } from "./fixtures.ts"

class EndOfFile extends Schema.TaggedError<EndOfFile>()("EndOfFile", {}) {}
class HResult
  extends Schema.TaggedError<HResult>()("HResult", { hresult: Schema.Int, why: Schema.optionalKey(Schema.String) }) {}
class Win32 extends Schema.TaggedError<Win32>()("Win32", { status: Schema.Int }) {}

/** A class that extends another, with a tag of its own. */
const extend = <C extends abstract new (...args: never) => unknown>(base: C, tag: string): C =>
  (base as any).extend(tag)({ _tag: Schema.tag(tag) })

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

describe("an interface that is printed", () => {
  const Printed = Interface.make("Printed", { methods: { Read: Interface.method({}), Write: Interface.method({}) } })

  it("interface as JSON and as text: name, identity and methods, nothing circular", () => {
    assert.deepStrictEqual(JSON.parse(JSON.stringify(Printed)), {
      _id: "callisto/Interface",
      name: "Printed",
      uuid: Printed.uuid,
      version: [1, 0],
      methods: ["Read", "Write"]
    })
    assert.include(String(Printed), "Printed")
  })
})

describe("an interface", () => {
  it("interface: has the name, UUID, version and methods that it was given", () => {
    const Read = Interface.method({ in: { count: Schema.Int }, out: Schema.String })
    const Desk = make({ version: [3, 7], methods: { Read } })
    assert.strictEqual(Desk.name, "Desk")
    assert.strictEqual(Desk.uuid, uuid)
    assert.deepStrictEqual(Desk.version, [3, 7])
    assert.strictEqual(Desk.methods["Read"], Read)
  })

  it("interface with an upper-case UUID: has it in lower case", () => {
    assert.strictEqual(make({ uuid: uuid.toUpperCase() }).uuid, uuid)
  })

  it("methods without opnums: are numbered in the order of their declaration", () => {
    const Desk = make({ methods: { C: Interface.method({}), A: Interface.method({}), B: Interface.method({}) } })
    assert.deepStrictEqual(Object.values(Desk.operations).map(({ name, opnum }) => [name, opnum]), [
      ["C", 0],
      ["A", 1],
      ["B", 2]
    ])
  })

  it("method behind a given opnum: the numbering goes on from there", () => {
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

  it("interface version: from 0 to 65535 is accepted", () => {
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
    it(`interface with a UUID that is ${what}: is refused`, () =>
      refuses(() => make({ uuid: wrong }), "Desk", `"${wrong}"`, "UUID"))
  }

  it("interface with the nil UUID: is refused", () => {
    refuses(() => make({ uuid: "00000000-0000-0000-0000-000000000000" }), "Desk", "nil UUID")
  })

  for (const version of [[-1, 0], [0, -1], [65536, 0], [0, 65536], [1.5, 0], [0, NaN], [1], [1, 2, 3]]) {
    it(`interface with version [${version}]: is refused`, () => {
      refuses(() => make({ version: version as never }), "Desk", `[${version}]`, "65535")
    })
  }

  for (const name of ["", "1st", "two words", "a-b", "a.b", "naïve"]) {
    it(`interface with the name ${JSON.stringify(name)}: is refused`, () =>
      refuses(() => make({ name }), JSON.stringify(name), "identifier"))
    it(`method with the name ${JSON.stringify(name)}: is refused`, () => {
      refuses(() => make({ methods: { [name]: Interface.method({}) } }), "Desk", JSON.stringify(name), "identifier")
    })
  }

  for (const name of ["toString", "constructor", "hasOwnProperty"]) {
    it(`method with the name ${name}: is accepted`, () => {
      assert.deepInclude(make({ methods: { [name]: Interface.method({}) } }).operations[name], { name, opnum: 0 })
    })
  }

  it("method with the name __proto__: is refused", () => {
    const methods = { ["__proto__"]: Interface.method({}) }
    refuses(() => make({ methods }), "Desk", `"__proto__"`)
  })

  it("one opnum for two methods: is refused", () => {
    const [a, b] = [Interface.method({ opnum: 3 }), Interface.method({ opnum: 3 })]
    refuses(() => make({ methods: { Read: a, Write: b } }), "Desk", "Read", "Write", "opnum 3")
  })

  it("opnum that an unnumbered method has already: is refused", () => {
    const [a, b] = [Interface.method({}), Interface.method({ opnum: 0 })]
    refuses(() => make({ methods: { Read: a, Write: b } }), "Desk", "Read", "Write", "opnum 0")
  })

  for (const opnum of [-1, 65536, 0.5, NaN]) {
    it(`opnum ${opnum}: is refused`, () => {
      refuses(() => make({ methods: { Read: Interface.method({ opnum }) } }), "Desk", "Read", String(opnum), "65535")
    })
  }

  it("numbering beyond opnum 65535: is refused", () => {
    const methods = { Read: Interface.method({ opnum: 65535 }), Write: Interface.method({}) }
    refuses(() => make({ methods }), "Desk", "Write", "65536")
  })

  it("one code for two aborts of a method: is refused", () => {
    const aborts = [Interface.abort(5000, EndOfFile), Interface.abort<EndOfFile | Denied>(5000, Denied as never)]
    const methods = { Read: Interface.method({ aborts }) }
    refuses(() => make({ methods }), "Desk", "Read", "EndOfFile", "Denied", "5000")
  })

  it("derived code equals a given code: refused with both names", () => {
    const aborts = [Interface.abort(0xe708b3fa, Denied), EndOfFile]
    refuses(
      () => make({ methods: { Read: Interface.method({ aborts }) } }),
      "Read",
      "EndOfFile",
      "Denied",
      "0xE708B3FA"
    )
  })

  it("two classes with one tag: refused with the tag", () => {
    class Other extends Schema.TaggedError<Other>("Other")("EndOfFile", {}) {}
    const aborts = [Interface.abort(38, EndOfFile), Interface.abort(39, Other)]
    refuses(() => make({ methods: { Read: Interface.method({ aborts }) } }), "Read", "two classes", "tag EndOfFile")
    const open = [
      EndOfFile,
      Interface.openAbort(class extends Schema.TaggedError<any>("C")("EndOfFile", { n: Schema.Int }) {}, "n")
    ]
    refuses(
      () => make({ methods: { Read: Interface.method({ aborts: open }) } }),
      "Read",
      "two classes",
      "tag EndOfFile"
    )
  })

  it("two classes with one JavaScript name and two tags: both are declared", () => {
    const [first, second] = ["a/NotFound", "b/NotFound"].map((tag) => {
      class NotFound extends Schema.TaggedError<NotFound>(tag)(tag, {}) {}
      return NotFound
    })
    const Find = Interface.method({ aborts: [Interface.abort(2, first!), Interface.abort(3, second!)] })
    make({ methods: { Find } })
    assert.strictEqual(Interface.abortOf(Find, new first!())?.code, 2)
    assert.strictEqual(Interface.abortOf(Find, new second!())?.code, 3)
  })

  for (const tag of ["constructor", "toString", "__proto__"]) {
    it(`abort with the tag ${tag}: is found by its class and its code`, () => {
      class Odd extends Schema.TaggedError<Odd>(tag)(tag, {}) {}
      const Read = Interface.method({ aborts: [Odd, EndOfFile] })
      make({ methods: { Read } })
      const code = Interface.abortOf(Read, new Odd())!.code
      assert.notStrictEqual(code, Interface.abortOf(Read, new EndOfFile())!.code)
      assert.instanceOf(Interface.abortFromCode(Read, code), Odd)
    })
  }

  it("abort class without a literal tag: refused with its name", () => {
    class Untagged extends Schema.Class<Untagged>("Untagged")({
      _tag: Schema.String,
      message: Schema.String,
      name: Schema.String
    }) {}
    refuses(() => Interface.method({ aborts: [Untagged as never] }), "Untagged", "_tag")
  })

  it("two open aborts in a method: refused with both names", () => {
    const aborts = [Interface.openAbort(HResult, "hresult"), Interface.openAbort(Win32, "status")]
    refuses(() => Interface.method({ aborts }), "HResult", "Win32", "at most one")
  })

  it("maybe method with an open abort: refused", () => {
    const method = { ...Interface.method({ aborts: [Interface.openAbort(HResult, "hresult")] }), maybe: true }
    refuses(() => make({ methods: { Note: method } }), "Desk", "Note", "aborts")
  })

  it("one error for two codes of a method: is refused", () => {
    const aborts = [Interface.abort(38, EndOfFile), Interface.abort(39, EndOfFile)]
    refuses(() => make({ methods: { Read: Interface.method({ aborts }) } }), "Desk", "Read", "EndOfFile")
  })

  it("one code in two methods: is accepted", () => {
    const Read = Interface.method({ aborts: [Interface.abort(38, EndOfFile)] })
    assert.strictEqual(Object.keys(make({ methods: { Read, Peek: Read } }).operations).length, 2)
  })

  it("maybe method with out parameters or aborts: is refused", () => {
    const out = { ...Interface.method({ out: Schema.String }), maybe: true }
    refuses(() => make({ methods: { Note: out } }), "Desk", "Note", "out parameters")
    const aborts = { ...Interface.method({ aborts: [Interface.abort(38, EndOfFile)] }), maybe: true }
    refuses(() => make({ methods: { Note: aborts } }), "Desk", "Note", "aborts")
  })

  it("reserved code in an abort that abort did not make: is refused", () => {
    const aborts = [{ code: 1818, error: EndOfFile }]
    refuses(() => make({ methods: { Read: Interface.method({ aborts }) } }), "Desk", "Read", "EndOfFile", "1818")
  })
})

describe("an interface without a UUID", () => {
  const files = (version?: readonly [number, number], name = "Files") => Interface.make(name, { version, methods: {} })

  it("UUID and version left out: the version is 1.0", () => assert.deepStrictEqual(files().version, [1, 0]))

  it("Files, version 1: has the UUID that every Callisto peer derives", () => {
    assert.strictEqual(files().uuid, "253a61da-958e-5e25-821e-7a2584d9dd33")
    assert.strictEqual(files([1, 7]).uuid, "253a61da-958e-5e25-821e-7a2584d9dd33")
  })

  it("another major version or name: has another UUID", () => {
    const uuids = [files(), files([2, 0]), files([1, 0], "File"), files([1, 0], "files")].map(({ uuid }) => uuid)
    assert.strictEqual(new Set(uuids).size, 4)
  })

  it("uuid and version undefined: are left out", () => {
    assert.deepInclude(Interface.make("Files", { uuid: undefined, version: undefined, methods: {} }), {
      uuid: files().uuid,
      version: [1, 0]
    })
  })
})

describe("a named interface", () => {
  const files = Interface.make("Files", { methods: { Read: Interface.method({ out: Schema.String }) } })
  type Files = typeof files
  interface IFiles extends Files {}
  const IFiles: IFiles = files

  it.effect(
    "served and called under its name: has the name, the keys and the identity of what make gave",
    () =>
      Effect.gen(function* () {
        assert.strictEqual(IFiles.name, "Files")
        assert.deepStrictEqual(Object.keys(IFiles), ["name", "uuid", "version", "methods", "operations"])
        assert.strictEqual(IFiles.operations.Read.interface, IFiles)
        const server = yield* Server.make([Manager.make(IFiles, { Read: () => Effect.succeed("read") })])
        const binding: Binding.Binding<IFiles> = yield* Binding.local(server, IFiles)
        assert.strictEqual(yield* Call.invoke(binding, "Read"), "read")
      })
  )
})

describe("an abort", () => {
  it("abort: has its code and its error", () => {
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
    it(`abort with code ${code}: is accepted`, () => assert.strictEqual(Interface.abort(code, EndOfFile).code, code))
  }

  it("code left out: is derived from the tag", () => {
    assert.deepStrictEqual(Interface.method({ aborts: [EndOfFile] }).aborts, [{ code: 0xe708b3fa, error: EndOfFile }])
  })

  it("code left out: 28 bits of the tag's hash count", () => {
    class Gone extends Schema.TaggedError<Gone>()("Gone", {}) {}
    // SHA-1 of the tag begins with 149ecfc7.
    assert.strictEqual(Interface.method({ aborts: [Gone] }).aborts[0]?.code, 0xe49ecfc7)
  })

  it("one class extends another: the closest class decides, in either order", () => {
    class Base extends Schema.TaggedError<Base>()("Base", {}) {}
    const Near = extend(Base, "Near")
    class Nearest extends Near {}
    const aborts = [Interface.abort(1, Base), Interface.abort(2, Near)]
    for (const method of [Interface.method({ aborts }), Interface.method({ aborts: aborts.toReversed() })]) {
      make({ methods: { method } })
      assert.strictEqual(Interface.abortOf(method, new Base())?.code, 1)
      assert.strictEqual(Interface.abortOf(method, new Near())?.code, 2)
      assert.strictEqual(Interface.abortOf(method, new Nearest())?.code, 2)
    }
  })

  it("code of a method: gives the error with the fields", () => {
    const method = Interface.method({ aborts: [Interface.abort(38, EndOfFile), Interface.abort(5000, Denied)] })
    assert.deepStrictEqual(Interface.abortFromCode(method, 38), new EndOfFile())
    assert.deepStrictEqual(Interface.abortFromCode(method, 5000, { who: "me" }), new Denied({ who: "me" }))
    assert.isUndefined(Interface.abortFromCode(method, 5000))
    assert.isUndefined(Interface.abortFromCode(method, 39))
  })

  const refused: ReadonlyArray<readonly [number, string]> = [
    [0, "success"],
    [14, "Windows"],
    [1715, "Windows"],
    [1778, "Windows"],
    [0x1c000000, "protocol"],
    [0x1c000012, "protocol"],
    [0x1c010003, "protocol"],
    [0x1cffffff, "protocol"],
    [1728, "ends the connection"],
    [1825, "ends the connection"],
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
    it(`abort with code ${code}: is refused with the reason`, () => {
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

// ----------------------------------------------------------------------------
// open aborts
// ----------------------------------------------------------------------------

describe("an open abort", () => {
  const box = ContextHandle.make("Box")
  const openAbort = Interface.openAbort(HResult, "hresult")
  const method = Interface.method({ aborts: [Interface.abort(38, EndOfFile), openAbort] })

  it("error with an undeclared code: has its code and its class", () => {
    assert.deepStrictEqual(Interface.abortOf(method, new HResult({ hresult: 0x80004005 })), {
      code: 0x80004005,
      error: HResult
    })
  })

  it("error with a declared code: is the declared abort", () => {
    assert.deepStrictEqual(Interface.abortOf(method, new HResult({ hresult: 38 })), { code: 38, error: EndOfFile })
  })

  it("declared class extends the open one: the declared code wins", () => {
    const AccessDenied = extend(HResult, "AccessDenied")
    const both = Interface.method({ aborts: [openAbort, Interface.abort(5, AccessDenied)] })
    assert.strictEqual(Interface.abortOf(both, new AccessDenied({ hresult: 77 }))?.code, 5)
    assert.strictEqual(Interface.abortOf(both, new HResult({ hresult: 77 }))?.code, 77)
  })

  it("received code: gives the declared error first, else the open one with the code", () => {
    assert.deepStrictEqual(Interface.abortFromCode(method, 38), new EndOfFile())
    assert.deepStrictEqual(Interface.abortFromCode(method, 5), new HResult({ hresult: 5 }))
    assert.deepStrictEqual(
      Interface.abortFromCode(method, 5, { hresult: 6, why: "because" }),
      new HResult({ hresult: 5, why: "because" })
    )
  })

  for (const code of [0, 14, 1715, 1722, 1726, 1727, 1728, 1778, 1818, 1825, 0x1c000012, -1, 0.5, NaN]) {
    it(`code ${code}: is never taken`, () => {
      assert.isUndefined(Interface.abortOf(method, new HResult({ hresult: code }, { disableChecks: true })))
      assert.isUndefined(Interface.abortFromCode(method, code))
    })
  }

  it("code 6 of a method with a context handle: is never taken", () => {
    const close = Interface.method({ in: { box }, aborts: [openAbort] })
    assert.isUndefined(Interface.abortOf(close, new HResult({ hresult: 6 })))
    assert.isUndefined(Interface.abortFromCode(close, 6))
    assert.strictEqual(Interface.abortOf(method, new HResult({ hresult: 6 }))?.code, 6)
  })
})

describe("the field of an open abort", () => {
  it("a field that the class does not have: is refused by name", () => {
    class HResult extends Schema.TaggedError<HResult>()("HResult", { hresult: Schema.Int }) {}
    class Special extends HResult.extend<Special>("Special")({ more: Schema.Int }) {}
    refuses(() => Interface.openAbort(HResult, "code" as never), "Interface.openAbort", "HResult", "no field code")
    refuses(() => Interface.openAbort(HResult, "toString" as never), "no field toString")
    assert.strictEqual(Interface.openAbort(Special, "hresult").field, "hresult")
  })
})

describe("an open abort of a call", () => {
  // Fields that NDR can carry decide the syntax.
  const storeOf = (code: Schema.Int) =>
    Interface.make("Store", {
      methods: {
        Get: Interface.method({
          in: { code },
          aborts: [Interface.abort(38, EndOfFile), Interface.openAbort(HResult, "hresult")]
        })
      }
    })
  const IStore = storeOf(Schema.Int)
  // The same methods without the open abort, in another program.
  const IPlain = Interface.make("Store", { methods: { Get: Interface.method({ in: { code: Schema.Int } }) } })
  const serve = (iface: typeof IStore) =>
    Server.make([
      Manager.make(iface, { Get: ({ code }) => Effect.fail(new HResult({ hresult: code, why: "because" })) })
    ])
  const overNetwork = Effect.fnUntraced(function* (iface: typeof IStore) {
    yield* Endpoint.serve(yield* serve(iface), "ncacn_memory:[store]")
    return yield* Association.bind(iface, "ncacn_memory:[store]")
  })
  const ways = {
    "in process": Effect.flatMap(serve(IStore), (server) => Binding.local(server, IStore)),
    "Callisto's syntax": overNetwork(IStore),
    NDR: overNetwork(storeOf(Ndr.Uint32))
  }

  for (const [way, bind] of Object.entries(ways)) {
    it.effect(`${way}: fails with the open error, its code and the fields that travel`, () =>
      Effect.gen(function* () {
        const store = yield* bind
        for (const code of [5, 0x80004005, 0xc0000022]) {
          const error = yield* Effect.flip(Call.invoke(store, "Get", { code }))
          const fields = way === "NDR" ? { hresult: code } : { hresult: code, why: "because" }
          assert.deepStrictEqual(error, new HResult(fields))
        }
      }).pipe(Effect.provide(Memory.layer)))

    it.effect(`${way}, declared code: fails with the declared error`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* Effect.flip(Call.invoke(yield* bind, "Get", { code: 38 })), new EndOfFile())
      }).pipe(Effect.provide(Memory.layer)))

    it.effect(`${way}, refused code: fails with RpcFault`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Call.invoke(yield* bind, "Get", { code: 1722 }))
        assert.instanceOf(error, Status.RpcFault)
      }).pipe(Effect.provide(Memory.layer)))
  }

  it.effect("client without the open abort: fails with RpcFault and the code", () =>
    Effect.gen(function* () {
      const store = yield* Binding.local(yield* serve(IStore), IPlain)
      const error = yield* Effect.flip(Call.invoke(store, "Get", { code: 5 }))
      assert.deepInclude(error, { _tag: "RpcFault", code: 5 })
    }))
})

// ----------------------------------------------------------------------------
// inputs
// ----------------------------------------------------------------------------

describe("the input of a method", () => {
  const ten = Schema.Int.pipe(Schema.withConstructorDefault(Effect.succeed(10)))
  class Query extends Schema.Class<Query>("Query")({ text: Schema.String, limit: ten }) {}
  const nested = Schema.Struct({ limit: ten })
  const makerOf = (schema: Interface.Fields | Interface.Parameters) =>
    make({ methods: { M: Interface.method({ in: schema }) } }).operations["M"]!.makeInput

  for (
    const [name, schema, input, made] of [
      ["field with a default", { count: Schema.Int, limit: ten }, { count: 1 }, { count: 1, limit: 10 }],
      ["nested struct", { page: nested }, { page: {} }, { page: { limit: 10 } }],
      ["element of an array", Schema.Array(nested), [{}, { limit: 2 }], [{ limit: 10 }, { limit: 2 }]],
      ["element of a tuple", Schema.Tuple([nested]), [{}], [{ limit: 10 }]],
      ["value of a record", Schema.Record(Schema.String, nested), { a: {} }, { a: { limit: 10 } }],
      ["member of a union", Schema.Union([Schema.String, nested]), {}, { limit: 10 }],
      ["suspended struct", Schema.suspend(() => nested), {}, { limit: 10 }],
      ["optional struct", { page: Schema.optional(nested) }, { page: {} }, { page: { limit: 10 } }],
      ["tagged struct", Schema.TaggedStruct("A", {}), {}, { _tag: "A" }],
      ["class", Query, { text: "a" }, new Query({ text: "a" })],
      ["annotated class", Query.annotate({ title: "q" }), { text: "a" }, new Query({ text: "a" })]
    ] as ReadonlyArray<readonly [string, Interface.Fields | Interface.Parameters, unknown, unknown]>
  ) {
    it(`${name}: is made by the constructor`, () => assert.deepStrictEqual(makerOf(schema)!(input), made))
  }

  it("class with defaults alone, no input: the constructor runs", () => {
    class Page extends Schema.Class<Page>("Page")({ limit: ten }) {}
    assert.deepStrictEqual(makerOf(Page)!(undefined), new Page())
  })

  for (
    const [name, schema] of [
      ["nothing", Schema.Void],
      ["fields without defaults", { count: Schema.Int, more: Schema.optionalKey(Schema.String) }],
      ["an instance of a nested class", { query: Query }],
      ["a recursive schema", {
        more: Schema.suspend((): Schema.Codec<unknown> => Schema.Array(Schema.Unknown) as never)
      }],
      ["a context handle", { box: ContextHandle.make("Box") }]
    ] as ReadonlyArray<readonly [string, Interface.Fields | Interface.Parameters]>
  ) {
    it(`${name}: passes as it is`, () => assert.isUndefined(makerOf(schema)))
  }

  it("schema that holds itself: its defaults are found", () => {
    interface Tree {
      readonly limit: number
      readonly trees: ReadonlyArray<Tree>
    }
    const Tree = Schema.Struct({
      trees: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree as never)),
      limit: ten
    })
    assert.deepStrictEqual(makerOf(Tree)!({ trees: [{ trees: [] }] }), { trees: [{ trees: [], limit: 10 }], limit: 10 })
  })

  const ISearch = Interface.make("Search", {
    methods: {
      Find: Interface.method({ in: { count: Schema.Int, limit: ten }, out: Schema.Unknown }),
      Ask: Interface.method({ in: Query, out: Schema.Unknown }),
      Pass: Interface.method({ in: { list: Schema.Array(Schema.Int) }, out: Schema.Unknown })
    }
  })
  const bind = Effect.gen(function* () {
    const server = yield* Server.make([
      Manager.make(ISearch, {
        Find: (input) => Effect.succeed(input),
        Ask: (query) => Effect.succeed(query),
        Pass: (input) => Effect.succeed(input)
      })
    ])
    return yield* Binding.local(server, ISearch)
  })

  it.effect("field left out of a call: the routine gets its default", () =>
    Effect.gen(function* () {
      const search = yield* bind
      assert.deepStrictEqual(yield* Call.invoke(search, "Find", { count: 1 }), { count: 1, limit: 10 })
      const call = yield* Call.make(search)
      const pending = yield* Call.begin(call, "Find", { count: 2 })
      assert.deepStrictEqual(yield* Call.join(pending), { count: 2, limit: 10 })
    }))

  it.effect("fields of a class in a call: the routine gets an instance", () =>
    Effect.gen(function* () {
      const search = yield* bind
      assert.instanceOf(yield* Call.invoke(search, "Ask", { text: "a" }), Query)
      const query = new Query({ text: "b" })
      assert.strictEqual(yield* Call.invoke(search, "Ask", query), query)
    }))

  it.effect("nothing to make: the routine gets the value itself", () =>
    Effect.gen(function* () {
      const input = { list: [1, 2] }
      assert.strictEqual(yield* Call.invoke(yield* bind, "Pass", input), input)
    }))

  it.effect("constructor refuses the input: begin fails with BadStubData and leaves the object idle", () =>
    Effect.gen(function* () {
      const call = yield* Call.make(yield* bind)
      const error = yield* Effect.flip(Call.begin(call, "Find", { count: 0.5 }))
      assert.instanceOf(error, Status.BadStubData)
      assert.include((error as Status.BadStubData).message, "Search.Find")
      assert.include((error as Status.BadStubData).detail, "count")
      assert.deepStrictEqual(yield* Call.join(yield* Call.begin(call, "Find", { count: 1 })), { count: 1, limit: 10 })
    }))
})

// ----------------------------------------------------------------------------
// names
// ----------------------------------------------------------------------------

describe("a method with a name that objects have", () => {
  for (const name of ["constructor", "toString", "hasOwnProperty", "valueOf", "then"]) {
    const iface = Interface.make("Odd", {
      methods: { [name]: Interface.method({ in: { [name]: Schema.String }, out: Schema.String }) }
    })

    it.effect(`${name}: is called with its field of that name`, () =>
      Effect.gen(function* () {
        const server = yield* Server.make([
          Manager.make(iface, { [name]: (input: any) => Effect.succeed(input[name]) } as never)
        ])
        const odd = yield* Binding.local(server, iface)
        assert.strictEqual(yield* Call.invoke(odd, name, { [name]: "a" }), "a")
      }))

    it.effect(`${name}, cancellation for other methods: is interrupted by a cancel`, () =>
      Effect.gen(function* () {
        const started = yield* Deferred.make<void>()
        const interrupted = yield* Deferred.make<void>()
        const routine = () =>
          Effect.andThen(Deferred.succeed(started, undefined), Effect.never).pipe(
            Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
          )
        const server = yield* Server.make([Manager.make(iface, { [name]: routine } as never, { cancellation: {} })])
        const odd = yield* Binding.local(server, iface)
        const fiber = yield* Effect.forkChild(Call.invoke(odd, name, { [name]: "a" }))
        yield* Deferred.await(started)
        yield* Fiber.interrupt(fiber)
        yield* Deferred.await(interrupted)
      }))

    it.effect(`${name}, not in the interface: begin fails with BadStubData`, () =>
      Effect.gen(function* () {
        const empty = Interface.make("Empty", { methods: {} })
        const server = yield* Server.make([Manager.make(empty, {})])
        const call = yield* Call.make(yield* Binding.local(server, empty))
        assert.instanceOf(yield* Effect.flip(Call.begin(call, name as never)), Status.BadStubData)
      }))
  }
})
