/** What declarations mean: pointers, arrays, text, counts, unions, handles, and what is left out with its reason. */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { Idl } from "../../src/idl.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"

const interfaceOf = (body: string, attributes = "pointer_default(unique)"): Idl.Parsed =>
  Idl.parse({
    "a.idl": `[uuid(0d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e5f), ${attributes}] interface a {\n${body}\n}`
  }, "a.idl")

/** The schemas of a direction of the first operation, as they are printed. */
const printed = (body: string, attributes?: string): string => {
  const parsed = interfaceOf(body, attributes)
  assert.deepStrictEqual(parsed.problems, [])
  return Idl.print(parsed.document)
}

/** The expression behind a field, a parameter or a definition, in one line. */
const schemaOf = (text: string, name: string): string => {
  const flat = text.replace(/\n\s*/g, " ").replace(/\{ /g, "{ ").replaceAll("  ", " ")
  const start = flat.lastIndexOf(` ${name}: `) + name.length + 3
  let depth = 0
  for (let i = start; i < flat.length; i++) {
    if ("({[".includes(flat[i]!)) depth++
    if (")}]".includes(flat[i]!) && depth-- === 0 || flat[i] === "," && depth === 0) return flat.slice(start, i).trim()
  }
  return ""
}

const parameter = (declaration: string, types = "", attributes?: string): string =>
  schemaOf(printed(`${types}\nvoid f(${declaration});`, attributes), "p")

const field = (declaration: string, types = "", attributes?: string): string =>
  schemaOf(
    printed(`${types}\ntypedef struct { long first; ${declaration}; long last; } S;\nvoid f([in] S *s);`, attributes),
    "p"
  )

/** Why the operation `f` is left out. */
const reason = (body: string, attributes?: string): string =>
  interfaceOf(body, attributes).document.interfaces[0]!.leftOut.map(({ reason }) => reason).join("; ")

describe("base types", () => {
  const cases: ReadonlyArray<readonly [idl: string, ndr: string]> = [
    ["boolean", "Boolean"],
    ["byte", "Uint8"],
    ["char", "Char"],
    ["unsigned char", "Uint8"],
    ["signed char", "Int8"],
    ["small", "Int8"],
    ["unsigned small", "Uint8"],
    ["short", "Int16"],
    ["unsigned short int", "Uint16"],
    ["wchar_t", "WChar"],
    ["int", "Int32"],
    ["long unsigned", "Uint32"],
    ["signed __int32", "Int32"],
    ["error_status_t", "Uint32"],
    ["__int3264", "Int32"],
    ["unsigned __int3264", "Uint32"],
    ["hyper", "Int64"],
    ["unsigned __int64", "Uint64"],
    ["long long", "Int64"],
    ["float", "Float"],
    ["double", "Double"],
    ["DWORD", "Uint32"],
    ["BOOL", "Int32"],
    ["BOOLEAN", "Uint8"],
    ["NTSTATUS", "Int32"],
    ["ULONG_PTR", "Uint32"],
    ["GUID", "Uuid"],
    ["RPC_UNICODE_STRING", "UnicodeString"]
  ]
  for (const [idl, ndr] of cases) {
    it(`${idl}: ${ndr}`, () => assert.strictEqual(parameter(`[in] ${idl} p`), `Ndr.${ndr}`))
  }

  it("a status that is returned: an unsigned number", () => {
    for (const type of ["NTSTATUS", "HRESULT", "DWORD"]) {
      assert.strictEqual(schemaOf(printed(`${type} f([in] long n);`), "result"), "Ndr.Uint32")
    }
    assert.strictEqual(schemaOf(printed("long f([in] long n);"), "result"), "Ndr.Int32")
  })

  it("a size or switch by a name that is not there: left out, with the name", () => {
    for (const attribute of ["size_is", "length_is", "max_is", "switch_is"]) {
      const expected = `b: ${attribute} names m, which is neither beside it nor a constant`
      const type = attribute === "switch_is" ? "union { [case(1)] long a; }" : "long"
      const declaration = `[in, ${attribute}(m + 1)] ${type} *b`
      assert.include(reason(`long f([in] long n, ${declaration});`), expected)
    }
    const inStruct = "typedef struct { long count; [size_is(cuont)] long *b; } S; long f([in] S *s);"
    assert.include(reason(inStruct), "b: size_is names cuont")
    assert.strictEqual(
      schemaOf(printed("const long MAX = 3; long f([in, size_is(MAX)] long b[]);"), "b"),
      "Ndr.conformant(Ndr.Int32)"
    )
  })
  it("a returned pointer: text and full where the operation says so", () => {
    const result = (attributes: string): string => schemaOf(printed(`[${attributes}] wchar_t *f(void);`), "result")
    assert.strictEqual(result("string"), "Ndr.unique(Ndr.WString)")
    assert.strictEqual(result("string, ptr"), "Ndr.full(Ndr.WString)")
  })

  it("a range of a typedef: limits the elements of an array, not their number", () => {
    const types = "typedef [range(0, 5)] long R; typedef [range(1, 2), string] wchar_t *T;"
    assert.strictEqual(field("R p[3]", types), "Ndr.fixed(Ndr.range(Ndr.Int32, 0, 5), 3)")
    assert.strictEqual(
      field("[size_is(first)] R *p", types),
      "Ndr.unique(Ndr.conformant(Ndr.range(Ndr.Int32, 0, 5)))"
    )
    assert.strictEqual(
      field("[size_is(first)] T *p", types),
      "Ndr.unique(Ndr.conformant(Ndr.unique(Ndr.range(Ndr.WString, 1, 2))))"
    )
    assert.strictEqual(parameter("[in] R *p", types), "Ndr.range(Ndr.Int32, 0, 5)")
    assert.strictEqual(parameter("[in, unique] R *p", types), "Ndr.unique(Ndr.range(Ndr.Int32, 0, 5))")
    assert.strictEqual(
      parameter("[in] long n, [in, range(1, 9), size_is(n)] R *p", types),
      "Ndr.range(Ndr.conformant(Ndr.Int32), 1, 9)"
    )
  })

  it("an out parameter named result: the returned value is result_", () => {
    assert.strictEqual(schemaOf(printed("DWORD f([out] long *result);"), "result_"), "Ndr.Uint32")
  })
})

describe("pointers", () => {
  it("outermost pointer of a parameter: is a reference, and leaves no trace", () => {
    assert.strictEqual(parameter("[in] long *p"), "Ndr.Int32")
    assert.strictEqual(parameter("[out] long **p"), "Ndr.unique(Ndr.Int32)")
    assert.strictEqual(parameter("[in] LPDWORD p"), "Ndr.Uint32")
  })

  it("unique, ptr or ref at the use: holds for the outermost pointer, also one of a typedef", () => {
    assert.strictEqual(parameter("[in, unique] LPDWORD p"), "Ndr.unique(Ndr.Uint32)")
    assert.strictEqual(parameter("[in, ptr] LPDWORD p"), "Ndr.full(Ndr.Uint32)")
    assert.strictEqual(field("[ref] long *p"), "Ndr.ref(Ndr.Int32)")
  })

  it("attribute of a typedef: holds for that typedef's pointer", () => {
    assert.strictEqual(field("PX p", "typedef [ptr] long *PX;"), "Ndr.full(Ndr.Int32)")
    assert.strictEqual(field("[unique] PX p", "typedef [ptr] long *PX;"), "Ndr.unique(Ndr.Int32)")
  })

  it("pointer without an attribute: the default of the interface in which the type stands, then unique", () => {
    assert.strictEqual(field("long *p", "", "pointer_default(ptr)"), "Ndr.full(Ndr.Int32)")
    assert.strictEqual(field("long *p", "", "pointer_default(ref)"), "Ndr.ref(Ndr.Int32)")
    assert.strictEqual(field("long *p", "", "version(1.0)"), "Ndr.unique(Ndr.Int32)")
  })

  it("pointer to a pointer that may be null: a structure of one field between", () => {
    assert.strictEqual(parameter("[in, unique] long **p"), "Ndr.unique(Ndr.struct({ value: Ndr.unique(Ndr.Int32) }))")
    assert.strictEqual(field("long **p"), "Ndr.unique(Ndr.struct({ value: Ndr.unique(Ndr.Int32) }))")
  })

  it("T *p[3] and T (*p)[3]: an array of pointers, and a pointer to an array", () => {
    assert.strictEqual(field("long *p[3]"), "Ndr.fixed(Ndr.unique(Ndr.Int32), 3)")
    assert.strictEqual(field("long (*p)[3]"), "Ndr.unique(Ndr.fixed(Ndr.Int32, 3))")
  })

  it("a structure that points to itself: suspended", () => {
    assert.include(
      printed("typedef struct _L { long v; struct _L *next; } L; void f([in, unique] L *p);"),
      "next: Ndr.unique(Schema.suspend(() => L))"
    )
  })
})

describe("arrays and text", () => {
  const cases: ReadonlyArray<readonly [idl: string, ndr: string]> = [
    ["long p[4]", "Ndr.fixed(Ndr.Int32, 4)"],
    ["long p[2][3]", "Ndr.fixed(Ndr.fixed(Ndr.Int32, 3), 2)"],
    ["BYTE p[16]", "Ndr.fixedBytes(16)"],
    ["char p[16]", "Ndr.fixedBytes(16)"],
    ["wchar_t p[16]", "Ndr.fixedWChars(16)"],
    ["[string] wchar_t p[16]", "Ndr.varyingWString(16)"],
    ["[string] char p[16]", "Ndr.varyingString(16)"],
    ["[string] wchar_t *p", "Ndr.unique(Ndr.WString)"],
    ["[string] LPSTR p", "Ndr.unique(Ndr.String)"],
    ["wchar_t *p", "Ndr.unique(Ndr.WChar)"],
    ["[size_is(first)] BYTE *p", "Ndr.unique(Ndr.Bytes)"],
    ["[size_is(first)] wchar_t *p", "Ndr.unique(Ndr.WChars)"],
    ["[size_is(first)] long *p", "Ndr.unique(Ndr.conformant(Ndr.Int32))"],
    ["[size_is(first), length_is(first)] long *p", "Ndr.unique(Ndr.conformantVarying(Ndr.Int32))"],
    ["[size_is(first), length_is(last)] long *p", "Ndr.unique(Ndr.sizedVarying(Ndr.Int32))"],
    ["[size_is(first), length_is(last)] BYTE *p", "Ndr.unique(Ndr.SizedVaryingBytes)"],
    ["[size_is(first), length_is(last)] wchar_t *p", "Ndr.unique(Ndr.SizedVaryingWChars)"],
    ["[length_is(first)] long p[8]", "Ndr.varying(Ndr.Int32, 8)"],
    ["[length_is(first)] BYTE p[8]", "Ndr.varyingBytes(8)"],
    ["[size_is(first), string] wchar_t *p", "Ndr.unique(Ndr.SizedWString)"],
    ["[size_is(first), string] wchar_t **p", "Ndr.unique(Ndr.conformant(Ndr.unique(Ndr.WString)))"],
    ["[range(1, 9)] long p", "Ndr.range(Ndr.Int32, 1, 9)"],
    ["[string, range(0, 260)] wchar_t *p", "Ndr.unique(Ndr.range(Ndr.WString, 0, 260))"],
    ["[ignore] void *p", "Ndr.Uint32"]
  ]
  for (const [idl, ndr] of cases) it(`${idl}: ${ndr}`, () => assert.strictEqual(field(idl), ndr))

  it("size_is on two levels: hands its expressions out, outermost first", () => {
    assert.strictEqual(parameter("[in] long m, [in, size_is(, m)] long **p"), "Ndr.unique(Ndr.conformant(Ndr.Int32))")
    assert.strictEqual(parameter("[in] long m, [in, size_is(m)] long **p"), "Ndr.conformant(Ndr.unique(Ndr.Int32))")
    assert.strictEqual(
      parameter("[in] long m, [in] long n, [in, size_is(m, n)] long **p"),
      "Ndr.conformant(Ndr.unique(Ndr.conformant(Ndr.Int32)))"
    )
  })
})

describe("counts", () => {
  const count = (declaration: string): string => schemaOf(printed(`void f(${declaration});`), "n")

  it("a plain name, or a name behind a star where the parameter is a pointer: derived", () => {
    assert.strictEqual(count("[in] unsigned long n, [in, size_is(n)] long *p"), `Ndr.sizeIs("p")`)
    assert.strictEqual(count("[in] short n, [in, size_is(n)] long *p"), `Ndr.sizeIs("p", Ndr.Int16)`)
    assert.strictEqual(count("[out] unsigned long *n, [out, size_is(, *n)] long **p"), `Ndr.sizeIs("p")`)
    assert.strictEqual(
      count("[in, range(0, 9)] unsigned long n, [in, size_is(n)] long *p"),
      `Ndr.sizeIs("p", Ndr.range(Ndr.Uint32, 0, 9))`
    )
  })

  it("in units: derived with the unit", () => {
    assert.strictEqual(
      count("[in] unsigned long n, [in, size_is(n / 2)] wchar_t *p"),
      `Ndr.sizeIs("p", Ndr.Uint32, { unit: 2 })`
    )
    assert.strictEqual(
      count("[in] unsigned long n, [in, size_is(n / sizeof(DWORD))] DWORD *p"),
      `Ndr.sizeIs("p", Ndr.Uint32, { unit: 4 })`
    )
  })

  it("of several arrays: derived from all", () => {
    assert.strictEqual(
      count("[in] unsigned long n, [in, size_is(n)] long *p, [in, size_is(n)] short *q"),
      `Ndr.sizeIs(["p", "q"])`
    )
  })

  it("of the other direction, by another expression, or behind a pointer that may be null: stays", () => {
    assert.strictEqual(count("[in] unsigned long n, [out, size_is(n)] BYTE *p"), "Ndr.Uint32")
    assert.strictEqual(count("[in] unsigned long n, [in, size_is(n + 1)] BYTE *p"), "Ndr.Uint32")
    assert.strictEqual(count("[in, unique] unsigned long *n, [in, size_is(*n)] BYTE *p"), "Ndr.unique(Ndr.Uint32)")
    assert.strictEqual(
      count("[in, unique] DWORD *n, [in, unique, size_is(n ? *n : 0)] BYTE *p"),
      "Ndr.unique(Ndr.Uint32)"
    )
  })

  it("count that stays: is explained", () => {
    assert.include(
      printed("void f([in] unsigned long n, [out, size_is(n)] BYTE *p);"),
      "/** `[out, size_is(n)] p` */"
    )
  })

  it("max_is: one more element, so that the count stays", () => {
    assert.strictEqual(count("[in] unsigned long n, [in, max_is(n)] long *p"), "Ndr.Uint32")
    assert.strictEqual(count("[in] unsigned long n, [in, max_is(n - 1)] long *p"), `Ndr.sizeIs("p")`)
  })
})

describe("unions", () => {
  const union = (attributes: string, tag: string): string =>
    printed(`typedef ${attributes} union { [case(1)] long a; [case(2, 3)] hyper b; [default] ; } U;
      void f([in] ${tag} t, [in, switch_is(t)] U *u);`)

  it("switch_is by name: the tag is derived, with its own type where that differs", () => {
    assert.strictEqual(schemaOf(union("[switch_type(short)]", "short"), "t"), `Ndr.switchIs("u")`)
    assert.strictEqual(schemaOf(union("[switch_type(short)]", "long"), "t"), `Ndr.switchIs("u", Ndr.Int32)`)
  })

  it("without switch_type: the type of the tag", () => {
    assert.include(union("", "unsigned short"), "Ndr.union(Ndr.Uint16,")
  })

  it("two labels of one arm, and an empty default arm", () => {
    const text = union("[switch_type(short)]", "short").replace(/\s+/g, " ")
    assert.include(text, "{ 1: Ndr.Int32, 2: Ndr.Int64, 3: Ndr.Int64 }, { default: Schema.Void }")
  })

  it("ms_union: holds for the interface, or for one union", () => {
    const types = (attribute: string): string =>
      `typedef [switch_type(short)${attribute}] union { [case(1)] hyper a; } U;
       typedef [switch_type(short)] union { [case(1)] hyper a; } V;
       void f([in] short t, [in, switch_is(t)] U *u, [in] short s, [in, switch_is(s)] V *v);`
    assert.strictEqual(printed(types(", ms_union")).split("msUnion: true").length - 1, 1)
    assert.strictEqual(printed(types(""), "ms_union").split("msUnion: true").length - 1, 2)
  })

  it("tags that are characters or booleans: are numbers", () => {
    const text = printed(`typedef [switch_type(char)] union { [case('a')] long l; [case('b')] char c; } U;
      typedef struct { char k; [switch_is(k)] U u; } S;
      void f([in] S *s);`)
    assert.include(text.replace(/\s+/g, " "), "Ndr.union(Ndr.Uint8, { 97: Ndr.Int32, 98: Ndr.Char })")
    assert.include(text, `k: Ndr.switchIs("u")`)
  })

  it("a masked switch_is, one of the other direction, and one through a pointer: the tag stays", () => {
    const types = "typedef [switch_type(long)] union { [case(1)] long a; } U;"
    assert.strictEqual(
      schemaOf(printed(`${types} void f([in] long t, [in, switch_is(t & 0xff)] U *u);`), "t"),
      "Ndr.Int32"
    )
    assert.strictEqual(schemaOf(printed(`${types} void f([in] long t, [out, switch_is(t)] U *u);`), "t"), "Ndr.Int32")
    assert.strictEqual(
      schemaOf(printed(`${types} void f([in] long t, [in, unique, switch_is(t)] U *u);`), "t"),
      "Ndr.Int32"
    )
  })

  it("labels named by an enumeration: keep their names", () => {
    const text = printed(`typedef enum { A = 1, B } E;
      typedef [switch_type(E)] union { [case(A)] long a; [case(B)] ; } U;
      void f([in] E t, [in, switch_is(t)] U *u);`)
    assert.include(text.replace(/\s+/g, " "), "Ndr.union(E, { A: Ndr.Int32, B: Schema.Void })")
  })
})

describe("context handles", () => {
  it("context handles: in is not null, out may be; one handle for each typedef", () => {
    const text = printed("typedef [context_handle] void *H, **PH; void f([in] H h, [in, out] H *g, [out] PH p);")
    assert.strictEqual(text.split("ContextHandle.make").length - 1, 1)
    assert.strictEqual(schemaOf(text, "p"), "ContextHandle.nullable(H)")
    assert.include(text.replace(/\s+/g, " "), "in: { h: H, g: H }")
  })

  it("pointer to a structure without a body: a handle", () => {
    const types = "typedef [context_handle] struct hidden *H;"
    assert.strictEqual(parameter("[in] H p", types), "H")
    assert.strictEqual(parameter("[out] H *p", types), "ContextHandle.nullable(H)")
  })

  it("context handle through HANDLE, and on the parameter alone: a handle", () => {
    assert.strictEqual(schemaOf(printed("typedef [context_handle] HANDLE H; void f([in] H p);"), "p"), "H")
    assert.strictEqual(
      schemaOf(printed("void f([in, context_handle] PCONTEXT_HANDLE p);"), "p"),
      "PCONTEXT_HANDLE"
    )
  })
})

describe("operations", () => {
  it("numbers: local and callback operations have none, NotUsedOnWire keeps one free", () => {
    const { document } = interfaceOf(
      "void a(); [local] void b(); void Opnum1NotUsedOnWire(void); [callback] void c(); void d();"
    )
    const [made] = document.interfaces
    assert.deepStrictEqual(made!.operations.map(({ name, opnum }) => [name, opnum]), [["a", 0], ["d", 2]])
    assert.strictEqual(made!.unused, 1)
    assert.deepStrictEqual(made!.leftOut.map(({ name, opnum }) => [name, opnum]), [["c", undefined]])
  })

  it("handle_t, and a parameter without a direction: the first does not travel, the second is in", () => {
    assert.strictEqual(
      printed("void f(handle_t h, long n);").replace(/\s+/g, " ").includes("in: { n: Ndr.Int32 }"),
      true
    )
  })

  it("pipes: beside the parameters, of bytes or of elements", () => {
    const text = printed("typedef pipe char C; typedef pipe long N; void f([in] C c, [out] N *n, [in] long m);")
    const flat = text.replace(/\s+/g, " ")
    assert.include(flat, "in: { m: Ndr.Int32 }")
    assert.include(flat, "inPipe: { c: Pipe.bytes }")
    assert.include(flat, "outPipe: { n: Ndr.Int32 }")
  })

  it("interface with a base: the operations of the base come first", () => {
    const { document } = Idl.parse({
      "a.idl": `[uuid(0d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e5f)] interface b { void x(); }
        [uuid(1d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e5f)] interface c : b { void y(); }`
    }, "a.idl")
    assert.deepStrictEqual(document.interfaces[1]!.operations.map(({ name, opnum }) => [name, opnum]), [["x", 0], [
      "y",
      1
    ]])
  })

  it("two interfaces of one name: with their versions", () => {
    const { document } = Idl.parse({
      "a.idl": `[uuid(0d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e5f), version(2.0)] interface a { void x(); }
        [uuid(0d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e5f), version(3.0)] interface a { void x(); }`
    }, "a.idl")
    assert.deepStrictEqual(document.interfaces.map(({ name }) => name), ["a_2_0", "a_3_0"])
  })

  it("names that are taken: get an underscore", () => {
    const text = printed(
      "typedef struct { long v; } Error; typedef struct { long v; } Ndr; void f([in] Error *p, [in] Ndr *q);"
    )
    assert.include(text, "export const Error_: Schema.Codec<Error_>")
    assert.include(text, "export const Ndr_: Schema.Codec<Ndr_>")
    for (const word of ["keyof", "unique", "readonly", "infer", "asserts", "is"]) {
      assert.include(printed(`typedef struct { long v; } ${word}; void f([in] ${word} *p);`), `interface ${word}_ {`)
    }
  })
})

describe("what is left out, with its reason", () => {
  const cases: ReadonlyArray<readonly [title: string, body: string, reason: string]> = [
    ["an unknown type", "void f([in] WIDGET *w);", "w: the type WIDGET is not known"],
    ["a pointer to void", "void f([in] void *w);", "w: void * travels as a context handle alone"],
    ["bit fields", "typedef struct { long a : 3; } S; void f([in] S *s);", "S: a: bit fields cannot travel"],
    [
      "a plain union",
      "typedef union { long a; char b; } U; void f([in] U *u);",
      "U: a plain C union has no discriminant"
    ],
    [
      "first_is",
      "void f([in] long n, [in, first_is(n), length_is(n)] long p[4]);",
      "p: first_is is not supported: arrays start at 0"
    ],
    ["a pointer to a function", "void f([in] long (*p)(long));", "p: a pointer to a function cannot travel"],
    ["an out parameter that is no pointer", "void f([out] long n);", "n: an [out] parameter is a pointer or an array"],
    [
      "a maybe operation with results",
      "[maybe] void f([out] long *n);",
      "a [maybe] operation has no results and no pipes"
    ],
    ["a callback", "[callback] void f();", "the server calls it on the client, which is not supported"]
  ]
  for (const [title, body, expected] of cases) {
    it(`${title}: ${expected}`, () => assert.strictEqual(reason(body), expected))
  }

  it("an operation that is left out: an error with its place", () => {
    const { problems } = interfaceOf("void g();\nvoid f([in] WIDGET *w);")
    assert.deepStrictEqual(
      problems.map(({ column, file, line, severity }) => ({ column, file, line, severity })),
      [
        { column: 13, file: "a.idl", line: 3, severity: "error" },
        { column: 1, file: "a.idl", line: 3, severity: "error" }
      ]
    )
  })

  it("a type that no operation needs: skipped, with its reason", () => {
    const { document, problems } = interfaceOf("typedef union { long a; } U; void f();")
    assert.deepStrictEqual(problems, [])
    assert.deepStrictEqual(document.skipped.map(({ name, reason }) => [name, reason]), [
      ["U", "a plain C union has no discriminant"]
    ])
  })
})

describe("what contradicts itself or was lost without a word", () => {
  const union = (discriminant: string, arms: string): string =>
    `typedef [switch_type(${discriminant})] union { ${arms} } U; void f([in] ${discriminant} k, [in, switch_is(k)] U *u);`

  it("a label that its discriminant cannot have: left out", () => {
    assert.strictEqual(
      reason(union("byte", "[case(300)] long a; [default];")),
      "U: the label 300 does not fit its discriminant of 8 bits"
    )
    assert.include(reason(union("short", "[case(-32769)] long a;")), "the label -32769 does not fit")
  })

  it("labels of the same bits: left out", () => {
    assert.strictEqual(
      reason(union("unsigned short", "[case(-1)] long a; [case(65535)] long b;")),
      "U: two arms have one label"
    )
  })

  it("a parameter that is an array with a kind of pointer: a pointer to the array, which its size describes", () => {
    assert.strictEqual(
      parameter("[in] long n, [in, unique, size_is(n)] long p[]"),
      "Ndr.unique(Ndr.conformant(Ndr.Int32))"
    )
    assert.strictEqual(parameter("[in, ptr] long p[3]"), "Ndr.full(Ndr.fixed(Ndr.Int32, 3))")
    assert.strictEqual(parameter("[in, ref] long p[3]"), "Ndr.fixed(Ndr.Int32, 3)")
    assert.strictEqual(parameter("[in, unique, string] wchar_t p[]"), "Ndr.unique(Ndr.WString)")
    assert.strictEqual(
      schemaOf(printed("void f([in] long n, [in, unique, size_is(n)] long p[]);"), "n"),
      'Ndr.sizeIs("p", Ndr.Int32)'
    )
  })

  it("an operation of a base: pointers are of the kind that the base says", () => {
    const { document } = Idl.parse({
      "a.idl": `import "b.idl"; [uuid(0d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e5f), pointer_default(unique)]
        interface a : b { void g([in] long **q); }`,
      "b.idl":
        `[uuid(0d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e60), pointer_default(ptr)] interface b { void f([in] long **p); }`
    }, "a.idl")
    const module = Idl.print(document)
    assert.strictEqual(schemaOf(module, "p"), "Ndr.full(Ndr.Int32)")
    assert.strictEqual(schemaOf(module, "q"), "Ndr.unique(Ndr.Int32)")
  })

  it("interface of objects, or a class, whose uuid is no UUID: left out with its reason", () => {
    const { document, problems } = Idl.parse({
      "a.idl": `[object, uuid(12)] interface IThing : IUnknown { HRESULT f(); } [uuid(13)] coclass Thing { }`
    }, "a.idl")
    assert.deepStrictEqual(document.objects, [])
    assert.deepStrictEqual(document.lost.map(({ name }) => name), ["IThing"])
    const messages = problems.filter(({ severity }) => severity === "error").map(({ message }) => message).join("\n")
    assert.match(messages, /interface IThing is left out: its uuid is no UUID/)
    assert.match(messages, /coclass Thing is left out: its uuid is no UUID/)
  })

  it("call_as of a method that is not there: it keeps its number", () => {
    const { document } = Idl.parse({
      "a.idl": `[object, uuid(0d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e5f)] interface I : IUnknown {
        [call_as(Gone)] HRESULT A(); HRESULT B(); }`
    }, "a.idl")
    assert.deepStrictEqual(document.objects[0]?.methods, [{ name: "A", opnum: 3 }, { name: "B", opnum: 4 }])
  })

  it("an encapsulated union in an array: the bytes of C706, each member aligned by itself", () => {
    const { interfaces, problems } = Idl.describe({
      "a.idl": `[uuid(0d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e5f)] interface a {
        typedef union switch (byte tag) { case 1: hyper h; case 2: ; default: short s; } U;
        void f([in] U all[3]); }`
    }, "a.idl")
    assert.deepStrictEqual(problems, [])
    const writer = Ndr.makeWriter()
    const all = [{ case: 1, value: 5n }, { case: 2 }, { default: 9, value: 7 }]
    Result.getOrThrow(Ndr.codecOf(interfaces["a"]!.methods["f"]!.in)!.encode(writer, { all } as never))
    assert.strictEqual(
      Array.from(writer.bytes.subarray(0, writer.position), (byte) => byte.toString(16).padStart(2, "0")).join(""),
      "01000000000000000500000000000000" + "02" + "09" + "0700"
    )
  })
})

describe("interfaces of objects", () => {
  it("interfaces of objects: methods count from those of the base, local ones take a number and call_as methods do not", () => {
    const { document } = Idl.parse({
      "a.idl": `import "unknwn.idl";
        [object, uuid(0d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e5f)] interface IA : IUnknown {
          HRESULT A(); [local] HRESULT B(); [call_as(B)] HRESULT RemoteB(); [propget] HRESULT C([out, retval] long *v);
        }
        [object, uuid(1d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e5f)] interface IB : IA { HRESULT D(); }
        [object, uuid(2d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e5f)] interface IC : IDispatch { HRESULT E(); }`
    }, "a.idl")
    assert.deepStrictEqual(
      document.objects.map(({ methods, name }) => [name, methods?.map((method) => `${method.name} ${method.opnum}`)]),
      [["IA", ["A 3", "RemoteB 4", "get_C 5"]], ["IB", ["D 6"]], ["IC", ["E 7"]]]
    )
  })
})

/** The problems as `severity line:column message`. */
const told = ({ problems }: Idl.Parsed): ReadonlyArray<string> =>
  problems.map(({ column, line, message, severity }) => `${severity} ${line}:${column} ${message}`)

const numbers = ({ document }: Idl.Parsed): ReadonlyArray<string> =>
  document.interfaces[0]!.operations.map(({ name, opnum }) => `${name} ${opnum}`)

describe("operations that cannot be read", () => {
  const cases: ReadonlyArray<readonly [title: string, body: string, numbers: ReadonlyArray<string>]> = [
    ["a parameter", "void a(); void b([in] long 5x); void c();", ["a 0", "c 2"]],
    ["a missing semicolon", "void a() void b(); void c();", ["a 0", "c 2"]],
    ["a missing result", "void a(); b(); void c();", ["a 0", "c 2"]],
    ["a missing bracket of attributes", "void a(); [in, range(1 ] void b(); void c();", ["a 0", "c 2"]],
    ["a local one", "void a(); [local] void b([in] long 5x); void c();", ["a 0", "c 1"]],
    ["stray words", "void a(); stray words; void c();", ["a 0", "c 1"]],
    ["a type", "void a(); typedef struct { long f(5x; } S; void c();", ["a 0", "c 1"]],
    ["a constant", "void a(); const long X = sizeof(5x); void c();", ["a 0", "c 1"]],
    ["a missing parenthesis, behind which no number is known", "void a(); void b([in long x; void c();", ["a 0"]]
  ]
  for (const [title, body, expected] of cases) {
    it(`${title}: those behind it keep their numbers`, () => {
      const parsed = interfaceOf(body)
      assert.isNotEmpty(parsed.problems)
      assert.deepStrictEqual(numbers(parsed), expected)
    })
  }

  it("unreadable operation of an interface of objects: its methods keep their numbers", () => {
    const { document } = interfaceOf("HRESULT a(); HRESULT b([in] long 5x); HRESULT c();", "object")
    assert.deepStrictEqual(document.objects[0]?.methods, [{ name: "a", opnum: 0 }, { name: "c", opnum: 2 }])
    const unknown = interfaceOf("HRESULT a(); HRESULT b([in long x; HRESULT c();", "object")
    assert.isUndefined(unknown.document.objects[0]!.methods)
  })
})

describe("attributes that would change the bytes", () => {
  const cases: ReadonlyArray<readonly [body: string, reason: string]> = [
    ["long f([in, size_is] long *p);", "p: its size_is names nothing"],
    ["long f([in, size_is(n +)] long *p);", "p: its size_is names nothing"],
    [
      "typedef [switch_type] union { [case(1)] long a; } U; long f([in] long n, [in, switch_is(n)] U *u);",
      "U: its switch_type names no type"
    ],
    ["long f([in, relative] long *p);", "p: [relative] describes bytes that are not NDR"],
    ["typedef [nopush] struct { long a; } S; long f([in] S *s);", "[nopush] describes bytes that are not NDR"],
    ["long f([in, flag(NDR_BIG_ENDIAN)] long *p);", "p: [flag] describes bytes that are not NDR"],
    ["[nopull] long f([in] long p);", "[nopull] describes bytes that are not NDR"]
  ]
  for (const [body, expected] of cases) it(`${body} left out`, () => assert.include(reason(body), expected))

  it("an enumeration of 8 bits: a byte", () =>
    assert.strictEqual(parameter("[in] E p", "typedef [enum8bit] enum { A, B } E;"), "Ndr.Uint8"))

  it("a flag for printing: nothing", () => assert.strictEqual(parameter("[in, flag(NDR_PAHEX)] long p"), "Ndr.Int32"))
})

describe("ranges", () => {
  it("range of an enumeration: limits its numbers", () =>
    assert.strictEqual(parameter("[in, range(0, 1)] E p", "typedef enum { A, B, C } E;"), "Ndr.range(E, 0, 1)"))

  for (
    const [declaration, why] of [
      ["[range(0, 1)] boolean p", "it stands on no integer, enumeration, text or open array"],
      ["[range(0, 1)] float p", "it stands on no integer, enumeration, text or open array"],
      ["[range(0, MOST)] long p", "it is not two constants"],
      ["[range(2, 1)] long p", "it is empty"]
    ] as const
  ) {
    it(`${declaration}: kept as a note, with a warning at its place`, () => {
      const parsed = interfaceOf(`void f([in] long n,\n  [in, ${declaration.slice(1)});`)
      const range = /range\([^)]*\)/.exec(declaration)![0]
      assert.deepStrictEqual(told(parsed), [
        `warning 3:8 ${range}: nothing checks it, because ${why}. Correct it, or check the values yourself.`
      ])
      assert.strictEqual(parsed.document.interfaces[0]!.operations[0]!.in[1]!.note, range)
    })
  }
})

describe("names that nothing declares", () => {
  it("a type: told once, at its first place, with the name that was meant", () => {
    const parsed = interfaceOf("typedef struct {\n  hypr a; } S;\nvoid f([in] S *s);\nvoid g([in] hypr x);")
    assert.deepStrictEqual(told(parsed), [
      "error 3:3 type hypr: not known. Do you mean hyper? Correct it, or give the file that declares it.",
      "error 4:1 f is left out: S: a: the type hypr is not known.",
      "error 5:1 g is left out: x: the type hypr is not known."
    ])
  })

  it("a type of the file: its name is meant", () =>
    assert.include(told(interfaceOf("typedef long COUNT; void f([in] CUONT n);"))[0], "Do you mean COUNT?"))

  it("a type that no operation needs: a warning", () =>
    assert.deepStrictEqual(told(interfaceOf("typedef hypr T; void f();")), [
      "warning 2:9 type hypr: not known. Do you mean hyper? Correct it, or give the file that declares it."
    ]))

  it("a structure without a body: told at its place", () =>
    assert.include(told(interfaceOf("void f([in] struct X *x);"))[0], "error 2:13 struct X: it has no body."))

  it("an imported file: a warning at its place, and types may stand in it", () => {
    const text = `import "ms-dtyp.idl",\n  "gone.idl";
      [uuid(0d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e5f)] interface a { void f([in] NOBODY n); }`
    const problems = told(Idl.parse({ "a.idl": text }, "a.idl"))
    assert.deepStrictEqual(problems.slice(0, 2), [
      "warning 2:3 import gone.idl: not found. Give the file; the command line takes its folder as --include DIR.",
      "error 3:78 type NOBODY: not known. Correct it, or give the file that declares it, perhaps gone.idl, which was not found."
    ])
    assert.match(
      told(Idl.parse({ "a.idl": "#include <gone.h>\n" }, "a.idl"))[0]!,
      /^warning 1:\d+ #include gone\.h: not found\./
    )
  })

  it("10,000 unknown types: told in time", () => {
    const body = Array.from({ length: 10_000 }, (_, i) => `typedef long T${i}; void f${i}([in] Tx${i} p);`).join("\n")
    assert.isAtLeast(interfaceOf(body).problems.length, 1000)
  })
})

describe("names that promise text", () => {
  for (const name of ["BSTR", "STRING", "LPWSTR", "LPSTR"]) {
    it(`${name} alone: one character, with a warning at its place`, () => {
      assert.match(
        told(interfaceOf(`void f([in] ${name} p);`))[0]!,
        new RegExp(`^warning 2:13 type ${name}: one character`)
      )
      assert.deepStrictEqual(told(interfaceOf(`void f([in, string] ${name} p);`)), [])
      assert.deepStrictEqual(told(interfaceOf(`void f([in] long n, [in, size_is(n)] ${name} p);`)), [])
    })
  }
})

describe("types of COM", () => {
  const com = (file: string, body: string): Idl.Parsed =>
    Idl.parse({
      "a.idl": `import "${file}";
        [uuid(0d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e5f), pointer_default(unique)] interface a { ${body} }`
    }, "a.idl")

  for (const file of ["objidl.idl", "oaidl.idl", "wtypes.idl", "wtypesbase.idl", "objbase/objbase.idl", "UNKNWN.IDL"]) {
    it(`${file}: is built in`, () => {
      const parsed = com(
        file,
        "HRESULT f([in] VARIANT_BOOL b, [in] DATE d, [in] CLSID c, [in] FILETIME t, [in] IStream *s);"
      )
      assert.deepStrictEqual(told(parsed), [])
      assert.isTrue(Idl.isBuiltIn(file))
      const text = Idl.print(parsed.document)
      assert.deepStrictEqual(["b", "d", "c"].map((name) => schemaOf(text, name)), [
        "Ndr.Int16",
        "Ndr.Double",
        "Ndr.Uuid"
      ])
    })
  }

  it("BSTR, CY, DECIMAL: as COM has them", () => {
    const parsed = com("oaidl.idl", "HRESULT f([in] BSTR s, [in] CY c, [in] DECIMAL d, [in] LARGE_INTEGER l);")
    assert.deepStrictEqual(told(parsed), [])
    const text = Idl.print(parsed.document)
    assert.strictEqual(schemaOf(text, "s"), "Ndr.unique(FLAGGED_WORD_BLOB)")
    assert.include(text, "int64: Ndr.Int64")
    assert.include(text, "Hi32: Ndr.Uint32")
  })

  it("VARIANT and SAFEARRAY: left out by name, unless the file declares them", () => {
    for (const [type, said] of [["VARIANT", "VARIANT"], ["SAFEARRAY(long)", "SAFEARRAY(long)"]]) {
      const { document, problems } = com("oaidl.idl", `HRESULT f([in] ${type} v);`)
      assert.deepStrictEqual(document.interfaces[0]!.leftOut.map(({ reason }) => reason), [`v: ${said} needs COM`])
      assert.strictEqual(problems.length, 1)
    }
    assert.deepStrictEqual(told(com("oaidl.idl", "typedef long VARIANT; HRESULT f([in] VARIANT v);")), [])
  })

  it("interfaces that are derived from those of built-in files: numbered behind them", () => {
    for (
      const [base, first] of [["IUnknown", 3], ["IDispatch", 7], ["IStream", 14], ["IPersistStorage", 10]] as const
    ) {
      const text =
        `import "oaidl.idl"; [object, uuid(0d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e5f)] interface I : ${base} { HRESULT f(); }`
      const { document, problems } = Idl.parse({ "a.idl": text }, "a.idl")
      assert.deepStrictEqual(problems, [])
      assert.deepStrictEqual(document.objects[0]?.methods, [{ name: "f", opnum: first }])
    }
  })
})

describe("files that declare a name anew", () => {
  it("a typedef of the file itself: comes before that of its import", () => {
    const text = `import "b.idl"; typedef short T; const long N = M + 1;
      [uuid(0d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e5f)] interface a { void f([in] T p); }`
    const { document, problems } = Idl.parse({ "a.idl": text, "b.idl": "typedef long T; const long M = 4;" }, "a.idl")
    assert.deepStrictEqual(problems, [])
    assert.strictEqual(schemaOf(Idl.print(document), "p"), "Ndr.Int16")
    assert.deepStrictEqual(document.constants.map(({ name, value }) => [name, value]), [["N", 5]])
  })
})

describe("results", () => {
  it("a context handle that is returned: a handle that may be null", () =>
    assert.strictEqual(
      schemaOf(printed("[context_handle] void *f([in] long n);"), "result"),
      "ContextHandle.nullable(CONTEXT_HANDLE)"
    ))
})

describe("one count for a size and a length", () => {
  const body = "typedef struct { long n; [size_is(n)] long *b; [length_is(n)] long c[8]; } S; void f([in] S *s);"

  it("a sized array beside a varying one: the count is that of both", () => {
    assert.strictEqual(schemaOf(printed(body), "n"), 'Ndr.sizeIs(["b", "c"], Ndr.Int32)')
  })

  it("two that differ: refused where they are written, and where they are read", () => {
    const sources = {
      "a.idl": `[uuid(0d2d6a5e-2f3c-4c1b-9f0d-6a1b2c3d4e5f), pointer_default(unique)] interface a { ${body} }`
    }
    const codec = Ndr.codecOf(Idl.describe(sources, "a.idl").interfaces["a"]!.methods["f"]!.in)!
    const write = (b: ReadonlyArray<number>, c: ReadonlyArray<number>) => {
      const writer = Ndr.makeWriter()
      const isWritten = Result.isSuccess(codec.encode(writer, { s: { b, c } }))
      return isWritten ? writer.bytes.slice(0, writer.position) : undefined
    }
    const bytes = write([1, 2], [3, 4])!
    assert.deepStrictEqual(Result.getOrThrow(codec.decode(Ndr.makeReader(bytes))), { s: { b: [1, 2], c: [3, 4] } })
    assert.isUndefined(write([1, 2], [3]))
    // The number of elements of the varying array, behind n, the pointer and the offset.
    const other = bytes.slice()
    other[12] = 1
    const refused = codec.decode(Ndr.makeReader(other))
    assert.match(
      String(Result.isFailure(refused) && refused.failure.message),
      /the length is 1, and the field that says it has 2/
    )
  })
})
