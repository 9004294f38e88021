/** From tokens to the syntax tree: each construct of the language, and each kind of problem. */
import { assert, describe, it } from "@effect/vitest"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { basename, delimiter, join } from "node:path"
import process from "node:process"
import { parseFiles } from "../../src/idl/internal/idlParser.ts"
import type {
  Attribute,
  Declaration,
  Expression,
  Field,
  Level,
  Specifier,
  TypeName
} from "../../src/idl/internal/idlSyntax.ts"

// ----------------------------------------------------------------------------
// the tree in short
// ----------------------------------------------------------------------------

const expression = (e: Expression): string => {
  switch (e._tag) {
    case "Integer":
    case "Real":
      return `${e.value}`
    case "Text":
      return `${e.wide ? "L" : ""}${JSON.stringify(e.value)}`
    case "Character":
      return `'${e.value}'`
    case "Name":
      return e.name
    case "Unary":
      return `${e.operator}${expression(e.operand)}`
    case "Binary":
      return `(${expression(e.left)} ${e.operator} ${expression(e.right)})`
    case "Conditional":
      return `(${expression(e.test)} ? ${expression(e.yes)} : ${expression(e.no)})`
    case "Cast":
      return `<${typeName(e.type)}>${expression(e.operand)}`
    case "SizeOf":
      return `sizeof<${typeName(e.type)}>`
    case "Member":
      return `${expression(e.object)}${e.arrow ? "->" : "."}${e.name}`
  }
}

const attribute = ({ arguments: args, name, text, type }: Attribute): string => {
  if (text !== undefined) return `${name}{${text}}`
  if (type !== undefined) return `${name}<${typeName(type)}>`
  return args.length === 0 ? name : `${name}(${args.map((arg) => arg === undefined ? "" : expression(arg)).join(", ")})`
}

const attributes = (list: ReadonlyArray<Attribute>): string =>
  list.length === 0 ? "" : `[${list.map(attribute).join(", ")}] `

const level = (l: Level): string => {
  if (l._tag !== "Dimension") return l._tag === "Pointer" ? "*" : "()"
  const bound = l.bound === undefined ? "" : expression(l.bound)
  return l.isRange ? `[${l.lower === undefined ? "*" : expression(l.lower)}..${bound || "*"}]` : `[${bound}]`
}

const levels = (list: ReadonlyArray<Level>): string => list.map(level).join("")

const typeName = (t: TypeName): string => `${levels(t.levels)}${specifier(t.specifier)}`

const field = (f: Field): string =>
  `${attributes(f.attributes)}${f.name ?? "_"}: ${levels(f.levels)}${specifier(f.specifier)}` +
  (f.bits === undefined ? "" : ` : ${expression(f.bits)}`)

const specifier = (s: Specifier): string => {
  switch (s._tag) {
    case "Base":
      return `${s.signed === undefined ? "" : s.signed ? "signed " : "unsigned "}${s.name}`
    case "Named":
      return s.name
    case "Pipe":
      return `pipe<${typeName(s.element)}>`
    case "SafeArray":
      return `SAFEARRAY<${typeName(s.element)}>`
    case "Struct":
      return `struct ${attributes(s.attributes)}${s.tag ?? "_"}${
        s.fields ? ` { ${s.fields.map(field).join("; ")} }` : ""
      }`
    case "Enum": {
      const members = s.members?.map((m) => m.value === undefined ? m.name : `${m.name} = ${expression(m.value)}`).join(
        ", "
      )
      const body = members === undefined ? "" : ` { ${members} }`
      return `${s.isBitmap ? "bitmap" : "enum"} ${attributes(s.attributes)}${s.tag ?? "_"}${body}`
    }
    case "Union": {
      const on = s.switch === undefined
        ? ""
        : ` switch(${typeName(s.switch.type)} ${s.switch.name}) ${s.switch.union ?? "_"}`
      const arms = s.arms?.map((arm) => {
        const labels = [...arm.labels.map(expression), ...(arm.isDefault ? ["default"] : [])].join(", ")
        return `${labels} -> ${arm.field === undefined ? "nothing" : field(arm.field)}`
      }).join("; ")
      return `union ${attributes(s.attributes)}${s.tag ?? "_"}${on}${arms === undefined ? "" : ` { ${arms} }`}`
    }
  }
}

const declaration = (d: Declaration): string => {
  switch (d._tag) {
    case "Typedef":
      return `${attributes(d.attributes)}typedef ${
        d.declarators.map(({ levels: l, name }) => `${name}: ${levels(l)}`).join(", ")
      }${specifier(d.specifier)}`
    case "Type":
      return specifier(d.specifier)
    case "Const":
      return `const ${d.name}${d.type === undefined ? "" : `: ${typeName(d.type)}`} = ${expression(d.value)}`
    case "Define":
      return `#define ${d.name} ${expression(d.value)}`
    case "Operation":
      return `${attributes(d.attributes)}${d.name}(${d.parameters.map(field).join("; ")}) -> ${typeName(d.result)}`
    case "Interface": {
      const head = `${attributes(d.attributes)}interface ${d.name}${d.base === undefined ? "" : ` : ${d.base}`}`
      return d.isForward ? head : `${head} { ${d.declarations.map(declaration).join(" | ")} }`
    }
    case "Library":
      return `${attributes(d.attributes)}library ${d.name} { ${d.declarations.map(declaration).join(" | ")} }`
    case "Class":
      return `${attributes(d.attributes)}${d.kind} ${d.name} { ${d.declarations.map(declaration).join(" | ")} }`
  }
}

const parse = (text: string) => parseFiles({ "a.idl": text }, "a.idl")

const problemsOf = (text: string): ReadonlyArray<string> =>
  parse(text).problems.map(({ column, line, message, severity }) => `${severity} ${line}:${column} ${message}`)

/** The tree of a text that has no problem. */
const tree = (text: string): ReadonlyArray<string> => {
  const { files, problems } = parse(text)
  assert.deepStrictEqual(problems.filter(({ message }) => !message.startsWith("import ")), [])
  return files[0]!.declarations.map(declaration)
}

/** What is there in spite of problems. */
const rest = (text: string): ReadonlyArray<string> => parse(text).files[0]!.declarations.map(declaration)

const rows = (all: ReadonlyArray<readonly [text: string, ...tree: ReadonlyArray<string>]>) => {
  for (const [text, ...expected] of all) it(`${text}: its tree`, () => assert.deepStrictEqual(tree(text), expected))
}

// ----------------------------------------------------------------------------
// the language
// ----------------------------------------------------------------------------

describe("declarations", () => {
  rows([
    ["typedef struct _P { long x; } P, *PP, **PPP;", "typedef P: , PP: *, PPP: **struct _P { x: long }"],
    ["typedef struct _N { struct _N *next; } N;", "typedef N: struct _N { next: *struct _N }"],
    ["[handle] typedef [string, unique] wchar_t *S;", "[handle, string, unique] typedef S: *wchar_t"],
    [
      "typedef [v1_enum] enum { A = -1, B, C = A | 0x10, } E;",
      "[v1_enum] typedef E: enum [v1_enum] _ { A = -1, B, C = (A | 16) }"
    ],
    ["enum [v1_enum] E { A, };", "enum [v1_enum] E { A }"],
    ["struct S; union U; enum E;", "struct S", "union U", "enum E"],
    [
      "struct {long a, *b; union {char c;}; struct {int d : 3;} e;};",
      "struct _ { a: long; b: *long; _: union _ {  -> c: char }; e: struct _ { d: long : 3 } }"
    ],
    ["const long A = 1, B = 2;", "const A: long = 1", "const B: long = 2"],
    ["const MAX = 128;", "const MAX = 128"],
    ['const wchar_t *S = L"a\\\\b\\x41" "\\pipe";', 'const S: *wchar_t = L"a\\\\bA\\\\pipe"'],
    ["const double D = 1.5e3; const char C = '\\n';", "const D: double = 1500", "const C: char = '\n'"],
    ["extern const long X;"],
    [";;", ...[]],
    ['midl_pragma warning( disable: 2362 )\ncpp_quote("int x;") cpp_quote("");'],
    ['cpp_quote("#define X (1 | Y)")\ncpp_quote("#define F(x) x") cpp_quote("#define Z f(1)")', "#define X (1 | Y)"],
    [
      '#define N 0x10\n#define T L"t"\n#define TWICE (2*N)\n#define REF const GUID *\n#define G\n',
      "#define N 16",
      '#define T L"t"',
      "#define TWICE (2 * 16)"
    ],
    [
      "typedef bitmap F F; typedef [bitmap32bit] bitmap { F1 = 1 } G;",
      "typedef F: bitmap F",
      "[bitmap32bit] typedef G: bitmap [bitmap32bit] _ { F1 = 1 }"
    ],
    [
      "declare [v1_enum] enum E; struct { uint8 data[count(r, 2) + 1]; };",
      "enum [v1_enum] E",
      "struct _ { data: [(count(r, 2) + 1)]uint8 }"
    ]
  ])
})

describe("types and declarators", () => {
  const types = (all: ReadonlyArray<readonly [type: string, tree: string]>) => {
    for (const [type, expected] of all) {
      it(`${type}: ${expected}`, () => assert.deepStrictEqual(tree(`typedef ${type};`), [`typedef ${expected}`]))
    }
  }
  types([
    ["boolean x", "x: boolean"],
    ["unsigned x", "x: unsigned long"],
    ["unsigned short int x", "x: unsigned short"],
    ["long unsigned x", "x: unsigned long"],
    ["int long unsigned x", "x: unsigned long"],
    ["signed __int32 x", "x: signed long"],
    ["unsigned long long x", "x: unsigned hyper"],
    ["unsigned __int64 x", "x: unsigned hyper"],
    ["__int3264 x", "x: int3264"],
    ["unsigned char x", "x: unsigned char"],
    ["__int8 x", "x: small"],
    ["const volatile wchar_t * const x", "x: *wchar_t"],
    ["T *p[3]", "p: [3]*T"],
    ["T (*p)[3]", "p: *[3]T"],
    ["T (*(*p)[2])[3]", "p: *[2]*[3]T"],
    ["T x[], y[*], z[N+1][2]", "x: [], y: [], z: [(N + 1)][2]T"],
    ["T x[1..9], y[0..*], z[*..n]", "x: [1..9], y: [0..*], z: [*..n]T"],
    ["void (__stdcall *f)(int, T *x)", "f: *()void"],
    ['DECLSPEC_UUID("x") T __RPC_FAR * far *x', "x: **T"],
    ["__declspec(align(8)) long x", "x: long"],
    ["pipe char x", "x: pipe<char>"],
    ["pipe struct _S *x", "x: pipe<*struct _S>"],
    ["SAFEARRAY(BSTR) *x", "x: *SAFEARRAY<BSTR>"],
    ["SAFEARRAY(interface I *) x", "x: SAFEARRAY<*I>"],
    ["interface I *x", "x: *I"],
    ["long size, value, string, uuid, far, version", "size: , value: , string: , uuid: , far: , version: long"],
    ["char small", "small: char"]
  ])
})

describe("attributes", () => {
  const of = (text: string) => tree(`${text} struct S;`)[0]!.replace(/^struct /, "").replace(/ ?S$/, "")
  for (
    const [text, expected] of [
      ["[in, ][out,,ref]", "[in, out, ref]"],
      [
        "[uuid(12e34567-1e2d-11c9-91a4-08002b14a0fa)][version(1.10)]",
        "[uuid{12e34567-1e2d-11c9-91a4-08002b14a0fa}, version{1.10}]"
      ],
      ['[uuid("12e34567-1e2d-11c9-91a4-08002b14a0fa")]', '[uuid{"12e34567-1e2d-11c9-91a4-08002b14a0fa"}]'],
      ["[uuid({ 0AE1F000-1e2d-11c9-91a4-08002b14a0fa })]", "[uuid{{ 0AE1F000-1e2d-11c9-91a4-08002b14a0fa }}]"],
      ["[version( 3 /* three */ )]", "[version{3}]"],
      ["[size_is(n), length_is(,*m), max_is(a,b,)]", "[size_is(n), length_is(, *m), max_is(a, b, )]"],
      ["[size_is((n+7)&~7), switch_is(x->y.z)]", "[size_is(((n + 7) & ~7)), switch_is(x->y.z)]"],
      ["[size_is(p ? *p : 0)]", "[size_is((p ? *p : 0))]"],
      ["[size_is(n / sizeof(T *)), switch_is((long)rt)]", "[size_is((n / sizeof<*T>)), switch_is(<long>rt)]"],
      ["[size_is((n) - 1), max_is((n) & x), first_is((T) x)]", "[size_is((n - 1)), max_is((n & x)), first_is(<T>x)]"],
      [
        "[switch_type(unsigned short), wire_marshal(struct _X *)]",
        "[switch_type<unsigned short>, wire_marshal<*struct _X>]"
      ],
      ['[endpoint("ncacn_np:[\\\\pipe\\\\x]", "ncalrpc:")]', '[endpoint("ncacn_np:[\\\\pipe\\\\x]", "ncalrpc:")]'],
      ["[pointer_default(unique) /* a */ , // b\n ms_union]", "[pointer_default(unique), ms_union]"],
      ['[custom(12e34567-1e2d-11c9-91a4-08002b14a0fa, "x")]', '[custom{12e34567-1e2d-11c9-91a4-08002b14a0fa, "x"}]'],
      [
        '[case(\'a\', TRUE), default, id(0x60), helpstring("a" "b")]',
        "[case('a', TRUE), default, id(96), helpstring(\"ab\")]"
      ]
    ] as const
  ) it(`${text}: ${expected}`, () => assert.strictEqual(of(text), expected))
  it("attribute, unknown: kept, with an error and the name that was meant", () => {
    assert.deepStrictEqual(rest("[frob(1 + (x))] struct S;"), ["struct [frob{1 + (x)}] S"])
    assert.deepStrictEqual(problemsOf("[frob(1 + (x))] struct S;"), [
      "error 1:2 attribute frob: not known, so other bytes may travel. Correct it, or remove it."
    ])
    for (const [written, meant] of [["strng", "string"], ["Size_Is", "size_is"], ["lenght_is", "length_is"]]) {
      assert.deepStrictEqual(problemsOf(`[in, ${written}(n)] struct S;`), [
        `error 1:6 attribute ${written}: not known, so other bytes may travel. Do you mean [${meant}]? Correct it, or remove it.`
      ])
    }
  })
  it("attribute of MIDL without a meaning for the wire: known", () => {
    const silent = 'helpstring("a"), dual, hidden, uidefault, nocode, notify, in_line, nosize, async, message'
    assert.deepStrictEqual(problemsOf(`[${silent}] struct S;`), [])
  })
  it("attributes without the end of their list: no other problem", () => {
    assert.deepStrictEqual(problemsOf("interface I { void f([in long x; }"), [
      'error 1:22 attributes: no "]" for this "[", expected one. Add it.'
    ])
  })
  it("pointer_default of no kind: says so", () => {
    assert.deepStrictEqual(problemsOf("[pointer_default(uniqe)] interface I { }"), [
      "error 1:2 interface I: pointer_default says no kind, expected ref, unique or ptr. Correct it."
    ])
  })
  it("expressions that cannot be read: text, with an error where other bytes would travel", () => {
    assert.deepStrictEqual(rest("[size_is(*)] struct S;"), ["struct [size_is{*}] S"])
    assert.deepStrictEqual(problemsOf("[size_is(*)] struct S;"), [
      'error 1:2 attribute size_is: cannot read "*", expected expressions. Correct it.'
    ])
    assert.deepStrictEqual(problemsOf("[helpcontext(*)] struct S;"), [
      'warning 1:2 attribute helpcontext: cannot read "*", expected expressions. It stays text.'
    ])
  })
})

describe("unions", () => {
  rows([
    [
      "typedef [switch_type(long)] union { [case(1, 2)] long a; [case(X)] [string] char *b; [case(3)]; [default]; } U;",
      "[switch_type<long>] typedef U: union [switch_type<long>] _ { 1, 2 -> a: long; X -> [string] b: *char; 3 -> nothing; default -> nothing }"
    ],
    [
      "typedef union _U switch (unsigned long tag) value { case 1: case 2: long a; case 'c': ; default: char b; } U;",
      "typedef U: union _U switch(unsigned long tag) value { 1, 2 -> a: long; 'c' -> nothing; default -> b: char }"
    ],
    ["union switch (long t) { default: } ;", "union _ switch(long t) _ { default -> nothing }"],
    [
      "struct { [switch_is(n & 0xff)] union { [case(0)] long a; } u; };",
      "struct _ { [switch_is((n & 255))] u: union _ { 0 -> a: long } }"
    ]
  ])
})

describe("interfaces", () => {
  rows([
    ["interface A; interface A : B { }", "interface A", "interface A : B {  }"],
    [
      "[object, uuid(0-1)] interface I : IUnknown { [id(1)] HRESULT f([in] handle_t h, [in, out, size_is(n)] long *a[]); };",
      "[object, uuid{0-1}] interface I : IUnknown { [id(1)] f([in] h: handle_t; [in, out, size_is(n)] a: []*long) -> HRESULT }"
    ],
    [
      "interface I { void a(void); void b(); unsigned short *c(long, [in] T, ...); }",
      "interface I { a() -> void | b() -> void | c(_: long; [in] _: T) -> *unsigned short }"
    ],
    [
      "interface I { HRESULT __stdcall f([in] long x) const; const wchar_t *g(void); long (h)(void); }",
      "interface I { f([in] x: long) -> HRESULT | g() -> *wchar_t | h() -> long }"
    ],
    [
      'interface I { import "b.idl"; typedef long T; T f(void (*callback)(T), T x[2]); }',
      "interface I { typedef T: long | f(callback: *()void; x: [2]T) -> T }"
    ],
    [
      '[uuid(1)] library L { importlib("std.tlb"); interface I; [default] dispinterface D; enum E { A }; };',
      "[uuid{1}] library L { interface I | [default] interface D | enum E { A } }"
    ],
    ["[uuid(1)] coclass C { [default] interface I; [source] dispinterface D; }", "[uuid{1}] coclass C {  }"],
    [
      "[uuid(1)] dispinterface D { properties: [id(1)] long x; methods: [id(2)] void f([in] long y); typedef long T; }",
      "[uuid{1}] dispinterface D { typedef T: long }"
    ],
    ["dispinterface D { interface I; }", "dispinterface D {  }"],
    ['module M { const long A = 1; [entry("f")] long f(); }', "module M { const A: long = 1 }"]
  ])
  it("comments in front: those of declarations, fields, parameters and members", () => {
    const [all] = parse(
      "/** I\n * and more */\ninterface I {\n// f\nvoid f(\n// x\n[in] long x);\n/* S */\nstruct S {\n// a\nlong a; };\nenum {\n/* A */\nA };\n}"
    ).files[0]!.declarations
    assert(all?._tag === "Interface")
    assert.strictEqual(all.comment, "I\nand more")
    const [f, s, e] = all.declarations
    assert(f?._tag === "Operation" && s?._tag === "Type" && e?._tag === "Type")
    assert(s.specifier._tag === "Struct" && e.specifier._tag === "Enum")
    assert.deepStrictEqual(
      [
        f.comment,
        f.parameters[0]!.comment,
        s.comment,
        s.specifier.fields![0]!.comment,
        e.specifier.members![0]!.comment
      ],
      ["f", "x", "S", "a", "A"]
    )
  })
  it("places: where a declaration begins, with its attributes", () => {
    const [first] = parse("\n  [uuid(1)]\ninterface I {}").files[0]!.declarations
    assert.deepStrictEqual(first!.place, { file: "a.idl", line: 2, column: 3 })
  })
})

describe("expressions", () => {
  const of = (text: string) => tree(`const long X = ${text};`)[0]!.replace("const X: long = ", "")
  for (
    const [text, expected] of [
      ["1 + 2 * 3 - 4", "((1 + (2 * 3)) - 4)"],
      ["a || b && c | d ^ e & f == g < h << i", "(a || (b && (c | (d ^ (e & (f == (g < (h << i))))))))"],
      ["a ? b : c ? d : e", "(a ? b : (c ? d : e))"],
      ["-~!+1", "-~!+1"],
      ["(unsigned long) -1", "<unsigned long>-1"],
      ["(T) 1 + (T)(2)", "(<T>1 + <T>2)"],
      ["0x7FFFFFFFFFFFFFFFull + 010 + 0b11 + 5i64", "(((9223372036854775807 + 8) + 3) + 5)"]
    ] as const
  ) it(`${text}: ${expected}`, () => assert.strictEqual(of(text), expected))
})

// ----------------------------------------------------------------------------
// files
// ----------------------------------------------------------------------------

describe("files", () => {
  it("imports: each file once, in their order, by name without case and folders", () => {
    const { files, missing, problems } = parseFiles({
      "main.idl": 'import "B.IDL", "dir/c.idl"; import "none.idl"; interface M {}',
      "b.idl": 'import "c.idl"; typedef long B;',
      "other\\C.idl": 'import "main.idl";\n#include "x.h"\ntypedef long C;'
    }, "main.idl")
    assert.deepStrictEqual(files.map(({ name }) => name), ["other\\C.idl", "b.idl", "main.idl"])
    assert.deepStrictEqual(files[2]!.imports.map(({ name, place }) => [name, place.column]), [
      ["B.IDL", 8],
      ["dir/c.idl", 17],
      ["none.idl", 37]
    ])
    assert.deepStrictEqual(missing, ["x.h", "none.idl"])
    assert.deepStrictEqual(
      problems.map(({ column, file, line, message }) => [file, line, column, message.slice(0, 16)]),
      [
        ["other\\C.idl", 2, 2, "#include x.h: no"],
        ["main.idl", 1, 37, "import none.idl:"]
      ]
    )
  })
  it("#define: does not cross an import, in either direction", () => {
    const { files } = parseFiles({
      "a.idl": '#define A 1\nimport "b.idl";\nconst long X = B;',
      "b.idl": "#define B 2\nconst long Y = A;"
    }, "a.idl")
    assert.deepStrictEqual(files.map((file) => file.declarations.map(declaration)), [
      ["#define B 2", "const Y: long = A"],
      ["#define A 1", "const X: long = B"]
    ])
  })
  it("bytes: decoded", () => {
    const { files } = parseFiles({ "a.idl": Uint8Array.from([0xff, 0xfe, 0x3b, 0]) }, "a.idl")
    assert.deepStrictEqual(files, [{ name: "a.idl", imports: [], declarations: [] }])
  })
  it("no such file: says so", () => {
    assert.deepStrictEqual(parseFiles({ toString: "" }, "valueOf").problems, [{
      severity: "error",
      file: "valueOf",
      line: 1,
      column: 1,
      message: "file valueOf: not among the sources. Give its text under this name."
    }])
  })
  it("a chain of 20,000 imports: read", () => {
    const sources: { [name: string]: string } = {}
    for (let i = 0; i < 20_000; i++) sources[`${i}.idl`] = `import "${i + 1}.idl";`
    const { files, missing } = parseFiles(sources, "0.idl")
    assert.strictEqual(files.length, 20_000)
    assert.deepStrictEqual(missing, ["20000.idl"])
  })
})

// ----------------------------------------------------------------------------
// problems
// ----------------------------------------------------------------------------

describe("problems", () => {
  const problems = (
    all: ReadonlyArray<readonly [text: string, problems: ReadonlyArray<string>, rest?: ReadonlyArray<string>]>
  ) => {
    for (const [text, expected, left] of all) {
      it(`${JSON.stringify(text)}: its place`, () => {
        assert.deepStrictEqual(problemsOf(text), expected)
        if (left !== undefined) assert.deepStrictEqual(rest(text), left)
      })
    }
  }
  problems([
    ["typedef long A\ntypedef long B;", ['warning 1:14 typedef: no ";" behind "A", expected one. Add it.'], [
      "typedef A: long",
      "typedef B: long"
    ]],
    ["typedef long A B; typedef long C;", [
      'error 1:16 typedef: got "B", expected ";". Correct the typedef, or remove it.'
    ]],
    ["typedef long;;const long X=1;", [], ["long", "const X: long = 1"]],
    ["struct S { long a; 5; long b; };", [
      'error 1:20 field: got "5", expected a type. Correct the field, or remove it.'
    ], ["struct S { a: long; b: long }"]],
    ["struct S { long; long b; };", ['error 1:16 field: got ";", expected a name. Correct the field, or remove it.'], [
      "struct S { b: long }"
    ]],
    ["struct S { long a\n long b; };", ['warning 1:17 field: no ";" behind "a", expected one. Add it.'], [
      "struct S { a: long; b: long }"
    ]],
    ["struct S { long a;\ntypedef long B;", ['error 1:10 struct: no "}" for this "{", expected one. Add it.'], [
      "typedef B: long"
    ]],
    ["enum E { A\n B, 3, C };", [
      'warning 2:2 enum: no "," in front of "B", expected one. Add it.',
      'error 2:5 member of enum: got "3", expected a name. Correct the member of enum, or remove it.'
    ]],
    [
      "interface I { long f(long a; void g(); }",
      ['error 1:28 parameter: got ";", expected "," or ")". Correct the parameter, or remove it.'],
      ["interface I { f() -> void | g() -> void }"]
    ],
    ["interface I { f(long a); void g(long a b); }", [
      'error 1:24 operation: got ";", expected the type of its result and its name. Write void in front of it if it returns nothing.',
      'error 1:40 parameter: got "b", expected "," or ")". Correct the parameter, or remove it.'
    ]],
    ["void f([in] long a\n[in] long b, long c = 1);", [
      'warning 2:1 parameter: no "," in front of "[", expected one. Add it.',
      "warning 2:21 parameter: has a default value. It is ignored."
    ], ["f([in] a: long; [in] b: long; c: long) -> void"]],
    ["interface I { void f();", ['error 1:13 interface I: no "}" for this "{", expected one. Add it.'], [
      "interface I { f() -> void }"
    ]],
    ["} typedef long A;", ['error 1:1 file: got "}" without "{" in front of it. Remove it.'], ["typedef A: long"]],
    ["XYZ: see below\ntypedef long A;", [
      'error 1:4 declaration: got ":", expected a declaration. Correct the declaration, or remove it.'
    ], ["typedef A: long"]],
    ["long x;", [
      'error 1:7 declaration of x: got ";", expected "(" or "=". Only operations, types and constants can stand here.'
    ]],
    ["[in;", ['error 1:1 attributes: no "]" for this "[", expected one. Add it.']],
    ["[size_is(1] struct S;", ['error 1:9 size_is: no ")" behind it, expected one. Add it.']],
    ["import x;", [
      'error 1:8 import: got "x", expected the name of a file in quotes. Correct the import, or remove it.'
    ]],
    ["const long X = 09; const long Y = 1;", [
      'error 1:16 number: got "09", expected an integer or a real. Correct it.'
    ], ["const Y: long = 1"]],
    ["const long X = {1, 2};", ["warning 1:16 const X: got a list, expected one value. It is left out."], []],
    [`const long X = ${"9".repeat(81)};`, [
      `error 1:16 number: got "${"9".repeat(60)}...", expected an integer or a real. Correct it.`
    ]],
    ["interface I : A, B {}", [
      "warning 1:18 interface I: got more than one base, expected one. Those behind the first are ignored."
    ]],
    ["unsigned DWORD f();", [
      "warning 1:10 type DWORD: unsigned stands in front of it. Only base types have a sign; it is ignored."
    ], ["f() -> DWORD"]],
    ["namespace N { interface I {} } typedef long A;", [
      'error 1:1 file: got "namespace", expected IDL of RPC or COM. The language of the Windows Runtime cannot be imported.'
    ], ["typedef A: long"]]
  ])
  it("more than 100: the first 100, and that there are more", () => {
    const found = problemsOf("long x;\n".repeat(200))
    assert.strictEqual(found.length, 101)
    assert.strictEqual(found[100], "error 101:7 file: more than 100 problems. Correct those above first.")
  })
})

// ----------------------------------------------------------------------------
// files that mean harm
// ----------------------------------------------------------------------------

describe("limits", () => {
  const deep = (title: string, text: string, message: RegExp) =>
    it(`${title}: refused at a depth`, () => {
      const { problems, spent } = parse(text)
      assert.isTrue(problems.some((problem) => message.test(problem.message)), JSON.stringify(problems.slice(0, 3)))
      assert.isAtMost(spent.steps, 300 * text.length)
    })
  const many = 50_000
  deep(
    "parentheses in an expression",
    `const long X = ${"(".repeat(many)}1${")".repeat(many)};`,
    /^expression: .* at most 128/
  )
  deep("signs", `const long X = ${"-".repeat(many)}1;`.replaceAll("--", "- -"), /^expression: .* at most 128/)
  deep("a chain of operators", `const long X = 1${"+1".repeat(many)};`, /^expression: .* at most 256 operators/)
  deep("casts", `const long X = ${"(long)".repeat(many)}1;`, /^expression: .* at most 128/)
  deep("conditions", `const long X = ${"1?1:".repeat(many)}1;`, /^expression: .* at most 128/)
  deep("structures", `${"struct{".repeat(many)}long x;${"};".repeat(many)}`, /^struct: .* at most 128/)
  deep("unions", "union{".repeat(many), /^union: .* at most 128/)
  deep("libraries", "library L{".repeat(many), /^library: .* at most 128/)
  deep("pipes", `typedef ${"pipe ".repeat(many)}long x;`, /^pipe: .* at most 128/)
  deep("declarators", `typedef long ${"(".repeat(many)}x${")".repeat(many)};`, /^declarator: .* at most 128/)
  deep("functions", `long f(${"long(*)(".repeat(many)});`, /^declarator: .* at most 128/)
  deep("stars", `typedef long ${"*".repeat(many)}x;`, /^declarator: .* at most 32 stars/)
  deep("dimensions", `typedef long x${"[1]".repeat(many)};`, /^declarator: .* at most 32 dimensions/)
  deep("attributes", "[wire_marshal(struct{".repeat(many), /^wire_marshal: no|^attributes: no/)
  it("a file above 16 MiB: refused by its size", () => {
    const size = 16 * 1024 * 1024 + 1
    for (const source of [" ".repeat(size), new Uint8Array(size)]) {
      assert.deepStrictEqual(parseFiles({ a: source }, "a").problems.map(({ message }) => message), [
        "file: 16777217 bytes, expected at most 16777216. Split it."
      ])
    }
  })
  it("more than two million tokens: what is read so far", () => {
    const { problems, spent } = parse("typedef long A;\n".repeat(500_001))
    assert.deepStrictEqual(problems.map(({ message }) => message), [
      "file: more than 2000000 tokens with its includes and macros. Split the file."
    ])
    assert.isAtMost(spent.tokens, 2_000_001)
  })
})

// ----------------------------------------------------------------------------
// files of others
// ----------------------------------------------------------------------------

const corpus = process.env["IDL_CORPUS"]

describe("files of others", () => {
  const names = (corpus?.split(delimiter) ?? []).filter(existsSync).flatMap((folder) =>
    readdirSync(folder).filter((name) => /\.idl$/i.test(name)).map((name) => join(folder, name))
  ).filter((path) => !/^namespace\s/m.test(readFileSync(path, "utf8")))
  for (const path of names) {
    const name = basename(path)
    it(`${name}: no error`, () => {
      const { problems } = parseFiles({ [name]: readFileSync(path) }, name)
      assert.deepStrictEqual(problems.filter(({ severity }) => severity === "error"), [])
    })
  }
  it.skipIf(names.length > 0)("left out: IDL_CORPUS names no folder with .idl files", () => {
    console.log("idlParser: files of others left out, IDL_CORPUS names no folder with .idl files")
  })
})
