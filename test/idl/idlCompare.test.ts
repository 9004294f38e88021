/** Which changes between two descriptions break clients. */
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { Interface } from "../../mod.ts"
import * as EndpointMapper from "../../src/dcerpc/EndpointMapper.ts"
import * as Management from "../../src/dcerpc/Management.ts"
import { Idl } from "../../src/idl.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import * as library from "./golden/library.ts"

const text = readFileSync(fileURLToPath(new URL("files/library.idl", import.meta.url)), "utf8")

const read = (source: string): Idl.Document => {
  const { document, problems } = Idl.parse({ "a.idl": source }, "a.idl")
  assert.deepStrictEqual(problems, [])
  return document
}

/** An interface around declarations. */
const around = (body: string, version = "1.1"): string =>
  `[uuid(9a4f6a8e-5c55-4f0f-8f0b-0c7f0f6d8e11), version(${version}), pointer_default(unique)] interface files { ${body} }`

const show = ({ breaks, message, method, path }: Idl.Change): string =>
  `${breaks ? "!" : " "} ${method ?? ""}${path === "" ? "" : ` ${path}`}: ${message}`

const changes = (old: string, now: string): ReadonlyArray<string> =>
  Idl.compare(read(around(old)), read(around(now))).map(show)

/** A change of one declaration in front of a method that takes and gives it. */
const within = (type: string) => (declaration: string): string =>
  `${declaration} void Use([in] ${type} *given, [out] ${type} *got);`

const both = within("T")

interface Case {
  readonly what: string
  readonly old: string
  readonly now: string
  readonly said: ReadonlyArray<string>
}

const cases: ReadonlyArray<Case> = [
  {
    what: "a method that is gone",
    old: "void f(); void g();",
    now: "void f();",
    said: ["! g: the method was removed; it had the number 1"]
  },
  {
    what: "methods in another order",
    old: "void f(); void g([in] long n);",
    now: "void g([in] long n); void f();",
    said: ["! f: its number was changed from 0 to 1", "! g: its number was changed from 1 to 0"]
  },
  {
    what: "a method at the end",
    old: "void f();",
    now: "void f(); void g();",
    said: [
      "  g: the method was added with the number 1; raise the minor version, so that servers without it refuse clients that need it"
    ]
  },
  {
    what: "a method with another name",
    old: "void f();",
    now: "void g();",
    said: ["  f: the method was renamed to g"]
  },
  {
    what: "a method for one that is gone, in its place",
    old: "void f(); void g();",
    now: "void g();",
    said: ["! f: the method was removed: g has its number 0", "! g: its number was changed from 1 to 0"]
  },
  {
    what: "a method without a reply",
    old: "void f([in] long n);",
    now: "[maybe] void f([in] long n);",
    said: ["! f: it became [maybe]: it gives no reply any more"]
  },
  {
    what: "an idempotent method",
    old: "void f();",
    now: "[idempotent] void f();",
    said: ["  f: it became [idempotent]"]
  },
  {
    what: "a parameter with another name",
    old: "void f([in] long n);",
    now: "void f([in] long count);",
    said: ["  f in.n: the parameter was renamed to count"]
  },
  {
    what: "a parameter of another type",
    old: "void f([in] long n);",
    now: "void f([in] hyper n);",
    said: ["! f in.n: its type was changed from Int32 to Int64"]
  },
  {
    what: "a parameter more",
    old: "void f([in] long n);",
    now: "void f([in] long n, [in] long m);",
    said: ["! f in.m: the parameter was added"]
  },
  {
    what: "parameters in another order",
    old: "void f([in] long n, [in] hyper m);",
    now: "void f([in] hyper m, [in] long n);",
    said: ["! f in: the parameters were reordered from n, m to m, n"]
  },
  {
    what: "another kind of pointer",
    old: "void f([in, unique] long *p);",
    now: "void f([in, ptr] long *p);",
    said: ["! f in.p: its pointer was changed from [unique] to [ptr]"]
  },
  {
    what: "a count that is shown",
    old: "void f([in] long n, [in, size_is(n)] long a[]);",
    now: "void f([in] long n, [in, size_is(n + 0)] long a[]);",
    said: []
  },
  {
    what: "another length of an array",
    old: both("typedef struct { long a[4]; } T;"),
    now: both("typedef struct { long a[5]; } T;"),
    said: ["in", "out"].map((side) =>
      `! Use ${side}.${side === "in" ? "given" : "got"}.a: its number of elements was changed from 4 to 5`
    )
  },
  {
    what: "a field of another name, and one that is gone",
    old: both("typedef struct { long a; } S; typedef struct { S s; short b; } T;"),
    now: both("typedef struct { long z; } S; typedef struct { S s; } T;"),
    said: ["! Use in.given.b: the field was removed", "! Use out.got.b: the field was removed"]
  },
  {
    what: "a range that is narrower",
    old: "void f([in, range(0, 9)] long n);",
    now: "void f([in, range(0, 5)] long n);",
    said: ["! f in.n: its range was narrowed from 0 to 9 to 0 to 5"]
  },
  {
    what: "a range that is wider",
    old: "void f([in, range(0, 9)] long n);",
    now: "void f([in, range(0, 20)] long n);",
    said: ["  f in.n: its range was widened from 0 to 9 to 0 to 20"]
  },
  {
    what: "a range where there was none",
    old: "void f([in] long n);",
    now: "void f([in, range(0, 20)] long n);",
    said: ["! f in.n: its range was narrowed from any to 0 to 20"]
  },
  {
    what: "a range of a result that is wider",
    old: "void f([out] struct { [range(0, 9)] long n; } *s);",
    now: "void f([out] struct { [range(0, 20)] long n; } *s);",
    said: [
      "  f out.s.n: its range was widened from 0 to 9 to 0 to 20; do not send more than 0 to 9 to old clients, which refuse it"
    ]
  },
  {
    what: "members of an enumeration",
    old: "typedef enum { A, B, C, D } E; void f([in] E e);",
    now: "typedef enum { A, B = 7, X = 2, F = 9 } E; void f([in] E e);",
    said: [
      "! f in.e: B of E was renumbered from 1 to 7",
      "  f in.e: C of E was renamed to X",
      "! f in.e: D of E was removed; it was 3",
      "  f in.e: F was added to E as 9"
    ]
  },
  {
    what: "an enumeration of another size",
    old: "typedef enum { A } E; void f([in] E e);",
    now: "typedef [v1_enum] enum { A } E; void f([in] E e);",
    said: ["! f in.e: E was changed from 2 to 4 bytes"]
  },
  {
    what: "an enumeration in place of its number",
    old: "void f([in] unsigned long e);",
    now: "typedef [v1_enum] enum { A } E; void f([in] E e);",
    said: ["  f in.e: its type was changed from Uint32 to enum E, of the same bytes"]
  },
  {
    what: "arms of a union",
    old:
      "typedef [switch_type(long)] union { [case(1)] long a; [case(2)] short b; [case(3)]; } U; void f([in] long n, [in, switch_is(n)] U *u);",
    now:
      "typedef [switch_type(long)] union { [case(1)] hyper a; [case(3)]; [case(4)] long d; } U; void f([in] long n, [in, switch_is(n)] U *u);",
    said: [
      "! f in.u.1: its type was changed from Int32 to Int64",
      "! f in.u: its arm 2 was removed",
      "  f in.u: its arm 4 was added"
    ]
  },
  {
    what: "an arm that was the default",
    old:
      "typedef [switch_type(long)] union { [case(1)] long a; [default]; } U; void f([in] long n, [in, switch_is(n)] U *u);",
    now:
      "typedef [switch_type(long)] union { [case(1)] long a; [case(2)] long b; [default]; } U; void f([in] long n, [in, switch_is(n)] U *u);",
    said: ["! f in.u: its arm 2 is not empty any more"]
  },
  {
    what: "a list that has another element",
    old: both("typedef struct T { long n; struct T *next; } T;"),
    now: both("typedef struct T { short n; struct T *next; } T;"),
    said: [
      "! Use in.given.n: its type was changed from Int32 to Int16",
      "! Use out.got.n: its type was changed from Int32 to Int16"
    ]
  },
  {
    what: "characters in place of their numbers",
    old: "void f([in] long n, [in, size_is(n)] unsigned short a[]);",
    now: "void f([in] long n, [in, size_is(n)] wchar_t a[]);",
    said: []
  },
  {
    what: "text in place of characters",
    old: "void f([in] long n, [in, size_is(n)] wchar_t a[]);",
    now: "void f([in] long n, [in, size_is(n), string] wchar_t a[]);",
    said: ["! f in.a: its type was changed from WChars to SizedWString"]
  },
  {
    what: "a handle of another name",
    old: "typedef [context_handle] void *H; void f([in] H h);",
    now: "typedef [context_handle] void *G; void f([in] G h);",
    said: ["  f in.h: its handle was renamed from H to G"]
  },
  {
    what: "a pipe of another element",
    old: "typedef pipe long P; void f([in] P p);",
    now: "typedef pipe hyper P; void f([in] P p);",
    said: ["! f in pipe.p: its type was changed from Int32 to Int64"]
  }
]

describe("changes of a method and its types", () => {
  for (const { now, old, said, what } of cases) {
    it(`${what}: ${said.some((line) => line.startsWith("!")) ? "breaks" : "does not break"}`, () => {
      assert.deepStrictEqual(changes(old, now), said)
      assert.deepStrictEqual(changes(now, now), [])
      assert.deepStrictEqual(changes(old, old), [])
    })
  }
})

describe("changes of an interface", () => {
  const compare = (old: string, now: string): ReadonlyArray<string> => Idl.compare(read(old), read(now)).map(show)
  const other = around("void f();").replace("9a4f", "9a50")

  it("another minor version: a lower one breaks", () => {
    assert.deepStrictEqual(compare(around("void f();"), around("void f();", "1.2")), [
      "  : its minor version was raised from 1.1 to 1.2"
    ])
    assert.match(
      compare(around("void f();"), around("void f();", "1.0"))[0]!,
      /^! : its version was changed from 1\.1 to 1\.0/
    )
    assert.match(
      compare(around("void f();"), around("void f();", "2.1"))[0]!,
      /^! : its version was changed from 1\.1 to 2\.1/
    )
  })

  it("another UUID: breaks", () => {
    assert.match(compare(around("void f();"), other)[0]!, /^! : its UUID was changed from 9a4f\S+ to 9a50\S+$/)
  })

  it("a second version beside the first: does not break", () => {
    const document = read(around("void f();"))
    const next = read(around("void g();", "2.0"))
    const two: Idl.Document = { ...document, interfaces: [...next.interfaces, ...document.interfaces] }
    assert.deepStrictEqual(Idl.compare(document, two).map(show), ["  : the interface was added with version 2.0"])
    assert.deepStrictEqual(Idl.compare(two, document).map(show), ["! : the interface was removed"])
  })

  it("an operation that is left out: is told, and breaks nothing", () => {
    const document = Idl.parse({ "a.idl": around("void f([in] NOBODY n);") }, "a.idl").document
    const [change] = Idl.compare(read(around("void f();")), document)
    assert.isFalse(change!.breaks)
    assert.match(change!.message, /^it was not compared, because the new description leaves it out: .*NOBODY/)
  })
})

describe("interfaces that are values", () => {
  it("the printed module of an IDL file: is the same on the wire", () => {
    const module = Idl.fromExports("library.ts", library)
    const document = read(text)
    assert.deepStrictEqual(Idl.compare(document, module), [])
    assert.deepStrictEqual(Idl.compare(module, document), [])
    assert.deepStrictEqual(module.types.map(({ name }) => name).sort(), document.types.map(({ name }) => name).sort())
  })

  for (const [name, exports] of [["epmapper", EndpointMapper], ["mgmt", Management]] as const) {
    it(`${name}: its document makes the same interface again`, () => {
      const document = Idl.fromExports(name, { ...exports })
      const again = Idl.fromExports(name, Idl.interfacesOf(document))
      assert.isAbove(document.interfaces[0]!.operations.length, 4)
      assert.deepStrictEqual(document.interfaces[0]!.leftOut, [])
      assert.deepStrictEqual(Idl.compare(document, again), [])
    })
  }

  it("each kind of type: comes out as it went in", () => {
    const kinds = {
      b: Ndr.Boolean,
      c: Ndr.Char,
      w: Ndr.WChar,
      f: Ndr.Float,
      d: Ndr.Double,
      u: Ndr.Uint64,
      s: Ndr.CountedString,
      e: Ndr.enum32([1, 2]),
      v: Ndr.varying(Ndr.Int8, 7),
      t: Ndr.varyingWChars(3),
      x: Ndr.full(Ndr.SizedString),
      r: Ndr.unique(Ndr.range(Ndr.SizedVaryingBytes, 1, 5)),
      n: Ndr.ref(Ndr.ref(Ndr.Uint16))
    }
    const methods = { Take: Interface.method({ in: kinds, out: { kinds: Ndr.struct(kinds) } }) }
    const Kinds = Interface.make("Kinds", { methods })
    const document = Idl.fromExports("kinds", { Kinds })
    const again = Idl.fromExports("kinds", Idl.interfacesOf(document))
    assert.deepStrictEqual(again, document)
  })

  it("methods without an NDR form: are compared by their schemas", () => {
    const make = (fields: Schema.Struct.Fields) =>
      Idl.fromExports("own", {
        Own: Interface.make("Own", {
          methods: { Say: Interface.method({ in: Schema.Struct(fields) as Schema.Struct<{}> }) }
        })
      })
    const old = make({ text: Schema.String })
    assert.deepStrictEqual(Idl.compare(old, make({ text: Schema.String })), [])
    const [change] = Idl.compare(old, make({ words: Schema.Array(Schema.String) }))
    assert.isTrue(change!.breaks)
    assert.strictEqual(
      change!.message,
      "its form was changed from in { text: String }, out Void to in { words: [String...] }, out Void"
    )
  })
})
