/** One change at a time between two descriptions, and whether it breaks old clients. */
import { assert, describe, it } from "@effect/vitest"
import { Idl } from "../../src/idl.ts"

const of = (types: string, body: string, v = "1.0"): string =>
  `[uuid(0d3c5f3e-51ab-4c4f-a0d7-6f5d0a8b7c22), version(${v}), pointer_default(unique)] interface i { ${types} ${body} }`
const types =
  "typedef enum { A = 0, B = 1, C = 2 } E; typedef struct { long x; short y; } S; typedef [switch_type(long)] union { [case(1)] long a; [case(2)] short b; } U;"
const methods =
  "long One([in] long a, [in] hyper b, [out] long *c); void Two([in] S *s, [out] E *e); void Three([in] long n, [in, size_is(n)] long *p); void Four([in] long t, [in, switch_is(t)] U *u); void Five([in, range(0, 10)] long r, [in, string] wchar_t *s);"
const base = of(types, methods)
const replaced = (part: string, other: string): string => {
  assert.include(base, part)
  return base.replace(part, other)
}
const cases: ReadonlyArray<readonly [change: string, text: string, breaks: boolean]> = [
  ["same", base, false],
  ["reorder methods", of(types, methods.replace(/(long One[^;]*;) (void Two[^;]*;)/, "$2 $1")), true],
  ["reorder params", replaced("[in] long a, [in] hyper b", "[in] hyper b, [in] long a"), true],
  ["type", replaced("[in] hyper b", "[in] long b"), true],
  ["sign", replaced("[in] long a", "[in] unsigned long a"), true],
  ["rename param", replaced("[in] long a,", "[in] long aa,"), false],
  ["added param", replaced("[out] long *c", "[out] long *c, [in] long d"), true],
  ["removed out", replaced(", [out] long *c", ""), true],
  ["result type", replaced("long One", "hyper One"), true],
  ["result gone", replaced("long One", "void One"), true],
  ["direction", replaced("[out] long *c", "[in] long *c"), true],
  ["inout", replaced("[out] long *c", "[in, out] long *c"), true],
  ["enum member removed", replaced(", C = 2", ""), true],
  ["enum renumber", replaced("C = 2", "C = 3"), true],
  ["enum added", replaced("C = 2", "C = 2, D = 3"), false],
  ["enum rename", replaced("C = 2", "CC = 2"), false],
  ["enum v1", replaced("typedef enum", "typedef [v1_enum] enum"), true],
  ["struct add", replaced("short y;", "short y; long z;"), true],
  ["struct reorder", replaced("long x; short y;", "short y; long x;"), true],
  ["struct rename field", replaced("short y;", "short yy;"), false],
  ["struct rename", base.replaceAll("S;", "SS;").replaceAll("S *s", "SS *s"), false],
  ["union arm removed", replaced(" [case(2)] short b;", ""), true],
  ["union arm added", replaced("[case(2)] short b;", "[case(2)] short b; [case(3)] long d;"), false],
  ["union arm type", replaced("[case(2)] short b;", "[case(2)] long b;"), true],
  ["union label", replaced("[case(2)] short b;", "[case(4)] short b;"), true],
  [
    "union tag type",
    base.replace("switch_type(long)", "switch_type(short)").replace("[in] long t", "[in] short t"),
    true
  ],
  ["range narrower", replaced("range(0, 10)", "range(0, 9)"), true],
  ["range wider", replaced("range(0, 10)", "range(0, 11)"), false],
  ["range gone", replaced("[in, range(0, 10)]", "[in]"), false],
  ["range added", replaced("[in] long a,", "[in, range(0, 5)] long a,"), true],
  ["string char", replaced("[in, string] wchar_t *s", "[in, string] char *s"), true],
  ["string unique", replaced("[in, string] wchar_t *s", "[in, string, unique] wchar_t *s"), true],
  ["ptr ptr", replaced("[in] S *s", "[in, ptr] S *s"), true],
  ["elem", replaced("size_is(n)] long *p", "size_is(n)] short *p"), true],
  ["method removed", base.replace(/void Five[^;]*;/, ""), true],
  ["method added", base.replace(/ }$/, " void Six(); }"), false],
  ["method renamed", replaced("void Five", "void Fiver"), false],
  ["minor up", of(types, methods, "1.1"), false],
  ["major up", of(types, methods, "2.0"), true],
  ["uuid", replaced("7c22", "7c23"), true],
  ["maybe", replaced("void Five", "[maybe] void Five"), true],
  ["idempotent", replaced("void Five", "[idempotent] void Five"), false],
  ["array fixed", replaced("[in] hyper b", "[in] long b[2]"), true]
]

const read = (text: string) => {
  const { document, problems } = Idl.parse({ "i.idl": text }, "i.idl")
  assert.deepStrictEqual(problems.filter(({ severity }) => severity === "error"), [])
  return document
}

describe("a single change", () => {
  for (const [change, text, breaks] of cases) {
    it(`${change}: ${breaks ? "breaks" : "does not break"} old clients`, () => {
      assert.strictEqual(Idl.compare(read(base), read(text)).some((each) => each.breaks), breaks)
    })
  }
})
