/** IDL that means harm: a list of problems with their places, in time and memory in proportion to the text. */
import { assert, describe, it } from "@effect/vitest"
import { Idl } from "../../src/idl.ts"
import { maximumProblemsOfAll, maximumSize, maximumSizeOfAll } from "../../src/idl/internal/idlLexer.ts"

const uuid = (n: number): string => `[uuid(5f7a2a3e-6f0c-4b7e-9d55-${n.toString(16).padStart(12, "0")}), version(1.0)]`

/** Everything that is public, one after another. */
const through = (sources: Idl.Sources, main = "a.idl"): Idl.Described & { readonly module: string } => {
  const described = Idl.describe(sources, main)
  assert.isAtMost(described.problems.length, maximumProblemsOfAll + 1)
  for (const { column, file, line, message } of described.problems) {
    assert.isTrue(file !== "" && line >= 1 && column >= 1, `${file}:${line}:${column} ${message}`)
    assert.isAtMost(message.length, 4000)
  }
  return { ...described, module: Idl.print(described.document) }
}

const of = (text: string | Uint8Array) => through({ "a.idl": text })

const messages = ({ problems }: Idl.Parsed): ReadonlyArray<string> => problems.map(({ message }) => message)

const assertSays = (parsed: Idl.Parsed, pattern: RegExp): void =>
  assert.isTrue(messages(parsed).some((message) => pattern.test(message)), JSON.stringify(messages(parsed).slice(0, 4)))

const inInterface = (text: string): string => `${uuid(1)} interface i { ${text} }`

const milliseconds = (text: string): number => {
  const begin = performance.now()
  of(text)
  return performance.now() - begin
}

/** 32 times the text takes about 32 times as long; ten times that is allowed, and 1,024 times would be quadratic. */
const assertLinear = (make: (count: number) => string, count: number): void => {
  of(make(count))
  const small = Math.max(1, Math.min(milliseconds(make(count)), milliseconds(make(count))))
  const large = milliseconds(make(32 * count))
  assert.isAtMost(large, 10 * 32 * small, `${small} ms, then ${large} ms for 32 times the text`)
}

const repeat = (count: number, line: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => line(i)).join("\n")

describe("deep nesting, 100,000 levels", () => {
  const many = 100_000
  const deep: { readonly [title: string]: readonly [text: string, pattern: RegExp] } = {
    "parentheses of expressions": [`const long X = ${"(".repeat(many)}1${")".repeat(many)};`, /at most 128/],
    "parentheses that stay open": [`const long X = ${"(".repeat(many)}`, /at most 128/],
    "signs": [`const long X = ${"- ".repeat(many)}1;`, /at most 128/],
    "structures": [`${"struct {".repeat(many)}long x;${"} y;".repeat(many)}`, /at most 128/],
    "structures with unions": [inInterface("struct { union {".repeat(many)), /at most 128/],
    "braces": ["{".repeat(many), /expected/],
    "closing braces": ["}".repeat(many), /without "{"/],
    "attribute lists": [`${"[in".repeat(many)}`, /attributes/],
    "attributes in attributes": [`${"[size_is(".repeat(many)}`, /expected/],
    "types in attributes": ["[wire_marshal(struct {".repeat(many), /expected/],
    "pointers": [inInterface(`void f(long ${"*".repeat(many)}x);`), /at most 32 stars/],
    "dimensions": [inInterface(`void f(long x${"[2]".repeat(many)});`), /at most 32 dimensions/],
    "functions": [inInterface(`void f(${"long (*)(".repeat(many)});`), /at most 128/],
    "#if": ["#if 1\n".repeat(many), /no #endif/],
    "#if in an expression": [`#if ${"(".repeat(many)}1${")".repeat(many)}\n#endif`, /cannot evaluate/],
    "#if with signs": [`#if ${"!".repeat(many)}1\n#endif`, /cannot evaluate/],
    "libraries": [`${uuid(1)} library L {`.repeat(many / 10), /at most 128/],
    "pipes": [inInterface(`void f(${"pipe ".repeat(many)}long x);`), /at most 128/]
  }
  for (const [title, [text, pattern]] of Object.entries(deep)) it(title, () => assertSays(of(text), pattern))

  it("typedefs of typedefs", () => {
    const text = repeat(many / 10, (i) => `typedef ${i === 0 ? "long" : `T${i - 1}`} *T${i};`)
    assertSays(of(`${text}\n${inInterface(`void f([in] T${many / 10 - 1} x);`)}`), /nest too deep|more than 64 levels/)
  })
  it("structures in structures, by name", () => {
    const types = repeat(many / 10, (i) => `typedef struct { ${i === 0 ? "long" : `S${i - 1}`} x; } S${i};`)
    const reversed = types.split("\n").reverse().join("\n")
    for (const text of [types, reversed]) {
      assertSays(of(`${inInterface(`void f([in] S${many / 10 - 1} *x);`)}\n${text}`), /nest too deep/)
    }
  })
  it("pointers to structures, by name", () => {
    const types = repeat(many / 10, (i) => `typedef struct _S${i} { [unique] struct _S${i + 1} *x; } S${i};`)
    assertSays(of(`${types}\n${inInterface(`void f([in] S0 *x);`)}`), /nest too deep|has no body/)
  })
})

describe("macro bombs", () => {
  const doubling = (step: (i: number) => string): string => repeat(60, step)
  const bombs: { readonly [title: string]: string } = {
    "objects, 2 to the power of 60": `#define a0 x\n${doubling((i) => `#define a${i + 1} a${i} a${i}`)}\na60 a60`,
    "functions, 2 to the power of 60": `#define f0(x) x x\n${
      doubling((i) => `#define f${i + 1}(x) f${i}(x) f${i}(x)`)
    }\nf60(y)`,
    "## that doubles": `${doubling((i) => `#define g${i}(x) g${i + 1}(x##x)`)}\ng0(ab)`,
    "## in a long chain": `#define p(a) ${"a##".repeat(20_000)}a\n${"p(b)\n".repeat(1000)}`,
    "# of a long argument": `#define q(a) ${"#a ".repeat(10_000)}\nq(${"x ".repeat(10_000)})`,
    "arguments in arguments": `#define h(x) x x\n${"h(".repeat(10_000)}y${")".repeat(10_000)}`,
    "many parameters": `#define k(${repeat(20_000, (i) => `a${i},`).replaceAll("\n", "")}z) ${
      "z ".repeat(20_000)
    }\nk(1)`,
    "a chain of 10,000": `#define c0 1\n${repeat(10_000, (i) => `#define c${i + 1} (c${i} + 1)`)}`
  }
  for (const [title, text] of Object.entries(bombs)) {
    it(title, () => assertSays(of(text), /^macro|cannot evaluate|^declaration|expected/))
  }
  it("macros that name themselves and each other: end", () => {
    const { interfaces } = of(
      `#define f f\n#define a b\n#define b a\n#define g(x) g(g(x))\n${inInterface("void f(); void a(long g);")}`
    )
    assert.deepStrictEqual(Object.keys(interfaces["i"]!.methods), ["f", "a"])
  })
})

describe("files", () => {
  it("imports in cycles: each once", () => {
    const sources = { "a.idl": 'import "b.idl", "a.idl";', "b.idl": `import "a.idl", "b.idl";\ntypedef long T;` }
    assert.deepStrictEqual(messages(through(sources)), [])
  })
  it("includes in cycles: refused, with the place", () => {
    const parsed = through({ "a.idl": '#include "b.idl"', "b.idl": '#include "a.idl"\n#include "b.idl"' })
    assertSays(parsed, /^#include: more than/)
    assert.isAtMost(parsed.problems.length, 250)
  })
  it("1,000 imports of 20 constants each: read", () => {
    const sources: { [name: string]: string } = { "a.idl": repeat(1000, (i) => `import "${i}.idl";`) }
    for (let i = 0; i < 1000; i++) sources[`${i}.idl`] = repeat(20, (k) => `const long C${i}_${k} = ${k};`)
    assert.deepStrictEqual(messages(through(sources)), [])
  })
  it("more than 16 MiB in one file: refused by its size", () =>
    assert.deepStrictEqual(messages(of(new Uint8Array(maximumSize + 1))), [
      `file: ${maximumSize + 1} bytes, expected at most ${maximumSize}. Split it.`
    ]))
  it("more than 64 MiB in all: refused by their size", () => {
    const blank = " ".repeat(maximumSize - 100)
    const sources: { [name: string]: string } = { "a.idl": 'import "0", "1", "2", "3", "4", "5";' }
    for (let i = 0; i < 6; i++) sources[i] = blank
    const found = messages(through(sources))
    assert.strictEqual(found.length, 2)
    assert.include(found[0]!, `expected at most ${maximumSizeOfAll}`)
  })
  it("thousands of problems in many files: the first thousand, and a sentence", () => {
    const sources: { [name: string]: string } = { "a.idl": repeat(200, (i) => `import "${i}.idl";`) }
    for (let i = 0; i < 200; i++) sources[`${i}.idl`] = "long x;\n".repeat(50)
    const found = messages(through(sources))
    assert.strictEqual(found.length, maximumProblemsOfAll + 1)
    assert.strictEqual(found[maximumProblemsOfAll], "files: more than 1000 problems. Correct those above first.")
  })
  it("thousands of operations left out: the first thousand problems, and a sentence", () => {
    const parsed = of(inInterface(repeat(5000, (i) => `void f${i}(unknown x);`)))
    assert.strictEqual(parsed.problems.length, maximumProblemsOfAll + 1)
    assert.strictEqual(parsed.document.interfaces[0]!.leftOut.length, 5000)
  })
})

describe("characters", () => {
  const odd: { readonly [title: string]: string | Uint8Array } = {
    "nothing": "",
    "NUL bytes": "\0typedef\0long\0A;\0",
    "lone surrogates": 'typedef long \ud800; const char *\udc00 = "\ud800"; \udbff',
    "a mark of UTF-16LE and an odd number of bytes": Uint8Array.from([0xff, 0xfe, 0x3b, 0, 0x3b]),
    "a mark of UTF-16BE": Uint8Array.from([0xfe, 0xff, 0, 0x3b]),
    "bytes that are no UTF-8": Uint8Array.from([0xc3, 0x28, 0x80, 0xff]),
    "an unterminated comment": "typedef long A; /* ",
    "an unterminated string": 'const char *X = "abc',
    "an unterminated character": "const char X = 'a",
    "an unterminated attribute list": "[uuid(",
    "an unterminated interface": "interface i {",
    "an unterminated escape": 'const char *X = "\\',
    "a backslash at the end": "typedef long A; \\",
    "a directive at the end": "#",
    "an unterminated #if": "#if",
    "an unterminated #include": '#include "',
    "an unterminated #define": "#define f("
  }
  for (const [title, text] of Object.entries(odd)) it(`${title}: no throw`, () => assert.isString(of(text).module))

  it("tokens of a million characters: no throw, short messages", () => {
    const million = 1_000_000
    for (
      const text of [
        `typedef long ${"x".repeat(million)};`,
        `const char *X = "${"x".repeat(million)}";`,
        `const long X = ${"9".repeat(million)};`,
        `const double X = 1.${"9".repeat(million)}e${"9".repeat(million)};`,
        `const long X = 0x${"f".repeat(million)};`,
        `// ${"x".repeat(million)}\ntypedef long A;`,
        `/* ${"*\n".repeat(million / 2)} */ typedef long A;`,
        `[helpstring("${"x".repeat(million)}")] typedef long A;`,
        "'".repeat(million),
        '"'.repeat(million),
        "\\\n".repeat(million / 2),
        " ".repeat(million)
      ]
    ) assert.isString(of(text).module)
  })
})

describe("numbers", () => {
  const constants = (text: string) => of(text).document.constants.map(({ name, value }) => [name, value])
  it("division by zero, shifts too far: no constant", () =>
    assert.deepStrictEqual(
      constants(
        "const long A = 1 / 0; const long B = 1 % 0; const long C = 1 << 64; const long D = 1 >> -1; const long E = A + 1; const long F = 2;"
      ),
      [["F", 2]]
    ))
  it("overflow: 64 bits", () => {
    assert.deepStrictEqual(
      constants("const hyper A = 0xffffffffffffffff + 1; const hyper B = 0x7fffffffffffffff * 4;"),
      [
        ["A", 0],
        ["B", -4]
      ]
    )
    assert.isString(of(`const long X = ${"0xffffffffffffffff * ".repeat(200)} 1;`).module)
  })
  it("constants in cycles, sizeof of cycles: no value", () =>
    assert.deepStrictEqual(
      constants(
        "const long A = B; const long B = A; const long C = C + 1; typedef T T; typedef U V; typedef V U; const long D = sizeof(T); const long E = sizeof(U); struct S { struct S x; }; const long G = sizeof(struct S);"
      ),
      []
    ))
  it("an enumeration of 100,000 members: read, and a union with as many arms", () => {
    const members = repeat(100_000, (i) => `M${i},`)
    const { document } = of(`typedef [v1_enum] enum { ${members} } E;`)
    const [type] = document.types
    assert(type?._tag === "Enum")
    assert.strictEqual(type.members[99_999]!.value, 99_999)
    const arms = repeat(20_000, (i) => `[case(M${i})] long a${i};`)
    assert.isString(of(`typedef [v1_enum] enum { ${members} } E; typedef [switch_type(E)] union { ${arms} } U;`).module)
  })
  it("arrays larger than memory: refused, whatever makes them", () => {
    for (
      const text of [
        "typedef struct { long x[2147483647][2147483647]; } S;",
        "typedef struct { byte x[2147483647][2]; } S;",
        "typedef struct { byte x[65536]; } A; typedef struct { A x[65536]; } S;",
        "typedef struct { wchar_t x[0xffffffff]; } S;",
        `typedef struct { byte x[1024]; } S0; ${
          repeat(30, (i) => `typedef struct { S${i} x, y; } S${i + 1};`)
        } typedef S30 S;`
      ]
    ) assertSays(of(`${text} ${inInterface("void f([in] S *x);")}`), /^f is left out: .*2147483647 bytes/)
  })
  it("dimensions that are no numbers of elements: refused", () => {
    for (const bound of ["-1", "0x100000000", "1.5", '"x"', "UNKNOWN", "99999999999999999999999999"]) {
      assertSays(of(inInterface(`void f([in] long x[${bound}]);`)), /^f is left out/)
    }
  })
})

describe("cycles of types", () => {
  it("typedefs of themselves: refused", () => {
    assertSays(of(`typedef T T; ${inInterface("void f([in] T x);")}`), /^f is left out: x: its typedefs nest too deep/)
    assertSays(of(`typedef B *A; typedef A *B; ${inInterface("void f([in] A x);")}`), /^f is left out: x: /)
  })
  it("structures within themselves by value: refused", () => {
    for (
      const text of [
        "typedef struct S { struct S x; } S;",
        "typedef struct S { struct S x[2]; } S;",
        "typedef struct S { long n; [size_is(n)] struct S x[]; } S;",
        "typedef struct S { struct T { struct S x; } t; } S;",
        "typedef struct S { [switch_is(1)] union { [case(1)] struct S x; } u; } S;"
      ]
    ) assertSays(of(`${text} ${inInterface("void f([in] S *x);")}`), /^f is left out: /)
  })
  it("structures that point to themselves: whole", () => {
    const { interfaces, problems } = of(
      `typedef struct S { [unique] struct S *next; struct T *t; } S; typedef struct T { S *s; struct T *t; } T; ${
        inInterface("void f([in] S *x, [in] T *t);")
      }`
    )
    assert.deepStrictEqual(problems, [])
    assert.deepStrictEqual(Object.keys(interfaces["i"]!.methods), ["f"])
  })
  it("interfaces derived from themselves: refused", () => {
    const { document, interfaces, problems } = of(
      `${uuid(1)} interface a : b { void f(); } ${uuid(2)} interface b : a { void g(); } ${
        uuid(3)
      } interface c : c { void h(); }`
    )
    assert.strictEqual(problems.length, 3)
    assert.deepStrictEqual(document.interfaces.map(({ operations }) => operations.length), [0, 0, 0])
    assert.deepStrictEqual(Object.keys(interfaces), ["a", "b", "c"])
    assert.strictEqual(
      of(`[object, uuid(5f7a2a3e-6f0c-4b7e-9d55-000000000001)] interface o : o { HRESULT f(); }`).document.objects[0]!
        .methods,
      undefined
    )
  })
  it("10,000 interfaces derived from one of 1,000 operations: refused from a number on", () => {
    const parsed = of(
      `${uuid(0)} interface base { ${repeat(1000, (i) => `void f${i}();`)} }\n${
        repeat(10_000, (i) => `${uuid(i + 1)} interface d${i} : base {}`)
      }`
    )
    assertSays(parsed, /too many operations come from other interfaces/)
  }, 60_000)
})

describe("names of every object", () => {
  const names = [
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "valueOf",
    "prototype",
    "then",
    "default",
    "length",
    "name"
  ]
  for (const name of names) {
    it(`${name}: as any name of IDL`, () => {
      for (
        const text of [
          inInterface(`long ${name}([in] long x, [out] long *y);`),
          inInterface(`long f([in] long ${name}, [out] long *result);`),
          inInterface(`typedef struct { long ${name}; long x; } S; long f([in] S *s);`),
          inInterface(`typedef struct ${name} { long x; } ${name}; long f([in] ${name} *s, [in] struct ${name} *t);`),
          inInterface(`typedef enum { ${name} = 3, B } E; long f([in] E *s);`),
          inInterface(`typedef [context_handle] void *${name}; long f([in] ${name} s, [out] ${name} *t);`),
          inInterface(
            `typedef [switch_type(long)] union { [case(1)] long ${name}; } U; long f([in] long ${name}_, [in, switch_is(${name}_)] U *s);`
          ),
          inInterface(`long f([in] long ${name}, [in, size_is(${name})] byte x[]);`),
          `#define ${name} 3\n${inInterface("long f([in] long x);")}`,
          `#define f(${name}) ${name}\n#ifdef ${name}\n#endif\n${inInterface("long f([in] long x);")}`,
          `const long ${name} = 3; ${inInterface("long f([in] long x);")}`,
          `import "${name}"; #include "${name}"\n${inInterface("long f([in] long x);")}`,
          `[${name}(1)] typedef long T; ${inInterface("long f([in] T x);")}`,
          `${uuid(1)} interface ${name} { long f([in] long x); }`,
          `${uuid(1)} interface i : ${name} { long f([in] long x); }`,
          `[object, uuid(5f7a2a3e-6f0c-4b7e-9d55-000000000001)] interface ${name} : ${name} { HRESULT ${name}(); }`
        ]
      ) {
        const { document, interfaces } = of(text)
        for (const each of document.interfaces) {
          assert.strictEqual(Object.keys(interfaces[each.name]!.operations).length, each.operations.length, text)
        }
      }
    })
  }
})

describe("work in proportion to the text", () => {
  const growing: { readonly [title: string]: readonly [make: (count: number) => string, count: number] } = {
    "operations": [(n) => inInterface(repeat(n, (i) => `long f${i}([in] long x);`)), 100],
    "interfaces": [(n) => repeat(n, (i) => `${uuid(i + 1)} interface i${i} { long f([in] long x); }`), 100],
    "interfaces of one name": [(n) => repeat(n, (i) => `${uuid(i + 1)} interface i { }`), 200],
    "operations of one name": [(n) => inInterface(repeat(n, () => "void f();")), 100],
    "parameters of one name": [(n) => inInterface(`void f(${repeat(n, () => "long x,")} long y);`), 100],
    "fields without a name": [(n) => `struct S { ${repeat(n, () => "struct { long x; };")} };`, 100],
    "arrays of one size": [
      (n) => inInterface(`void f(long n, ${repeat(n, (i) => `[size_is(n)] long x${i}[],`)} long y);`),
      100
    ],
    "types of a chain that is broken": [
      (n) =>
        `${repeat(n, (i) => `typedef struct _S${i} { struct _S${Math.max(0, i - 1)} *x; unknown y; } S${i};`)}\n${
          inInterface(repeat(n, (i) => `void f${i}([in] S${i} *x);`))
        }`,
      100
    ],
    "unions switched in one structure": [
      (n) => `struct S { ${repeat(n, (i) => `long n${i}; [switch_is(n${i})] union { [case(1)] long a; } u${i};`)} };`,
      50
    ],
    "context handles and pointers to them": [
      (n) =>
        `${repeat(n, (i) => `typedef [context_handle] void *H${i}, **P${i};`)}\n${
          inInterface(repeat(n, (i) => `void f${i}([in] P${i} x);`))
        }`,
      50
    ],
    "lines without an end": [(n) => "typedef [x(\n".repeat(n), 500],
    "attributes without an end": [(n) => "[size_is(1] struct S;".repeat(n), 500],
    "members without a comma": [(n) => `enum { ${repeat(n, (i) => `A${i}`)} };`, 500],
    "comments": [(n) => "// a\n/* b */ /* c */\n".repeat(n), 1000],
    "objects derived one from another": [
      (n) =>
        repeat(
          n,
          (i) =>
            `[object, uuid(5f7a2a3e-6f0c-4b7e-9d55-${(i + 1).toString(16).padStart(12, "0")})] interface I${i} : ${
              i === 0 ? "IUnknown" : `I${i - 1}`
            } { HRESULT f(); }`
        ),
      100
    ]
  }
  for (const [title, [make, count]] of Object.entries(growing)) {
    it(`${title}: 32 times as many take about 32 times as long`, () => assertLinear(make, count), 60_000)
  }
})
