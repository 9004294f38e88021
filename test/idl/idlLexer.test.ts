/** From bytes to tokens: decoding, comments, and the preprocessor. */
import { assert, describe, it } from "@effect/vitest"
import {
  decode,
  maximumExpansion,
  maximumTokens,
  preprocess,
  Problems,
  type Token
} from "../../src/idl/internal/idlLexer.ts"

const run = (text: string, others: { readonly [name: string]: string } = {}) => {
  const problems = new Problems()
  const budget = { size: text.length, tokens: 0, expanded: 0, included: 0 }
  const include = (name: string) => {
    const text = others[name]
    return text === undefined ? undefined : { name, text }
  }
  const { defines, tokens } = preprocess("a.idl", text, include, problems, budget)
  return { tokens: tokens.slice(0, -1), defines, problems: problems.all, budget }
}

const texts = (text: string, others?: { readonly [name: string]: string }): string => {
  const { problems, tokens } = run(text, others)
  assert.deepStrictEqual(problems, [])
  return tokens.map((token) => token.text).join(" ")
}

const problemsOf = (text: string, others?: { readonly [name: string]: string }): ReadonlyArray<string> =>
  run(text, others).problems.map(({ column, file, line, message }) => `${file}:${line}:${column} ${message}`)

const bytes = (...values: ReadonlyArray<number>) => Uint8Array.from(values)

describe("decode", () => {
  it("UTF-8 with and without a mark: the same text", () => {
    const text = 'const wchar_t *x = "grün";'
    const encoded = new TextEncoder().encode(text)
    assert.strictEqual(decode(encoded), text)
    assert.strictEqual(decode(bytes(0xef, 0xbb, 0xbf, ...encoded)), text)
  })
  it("UTF-16LE with a mark: its text", () => {
    assert.strictEqual(decode(bytes(0xff, 0xfe, 0x6c, 0, 0x6f, 0)), "lo")
  })
  it("bytes that are no UTF-8: Windows-1252", () => {
    assert.strictEqual(decode(bytes(0x80, 0xfc)), "€ü")
  })
})

describe("tokens", () => {
  it("each kind of token: its text and kind", () => {
    const { problems, tokens } = run('long x = 0x1Ful + .5e-3 \'a\' L"b\\"c" ->')
    assert.deepStrictEqual(problems, [])
    assert.deepStrictEqual(tokens.map(({ kind, text }) => `${kind} ${text}`), [
      "Name long",
      "Name x",
      "Punctuator =",
      "Number 0x1Ful",
      "Punctuator +",
      "Number .5e-3",
      "Character 'a'",
      'String L"b\\"c"',
      "Punctuator ->"
    ])
  })
  it("a range: two numbers and two dots between", () => {
    assert.strictEqual(texts("[0..9][1..*]"), "[ 0 .. 9 ] [ 1 .. * ]")
  })
  it("CR LF, CR, a no-break space and a trailing 0x1A: white space, and lines are counted once", () => {
    const { tokens } = run("a\r\nb\rc\u00a0d\n\u001a")
    assert.deepStrictEqual(tokens.map(({ column, line, text }) => [text, line, column]), [
      ["a", 1, 1],
      ["b", 2, 1],
      ["c", 3, 1],
      ["d", 3, 3]
    ])
  })
  it("quotes and dashes of a word processor: plain ones", () => {
    assert.strictEqual(texts("“a” 1–2"), '"a" 1 - 2')
  })
  it("a comment directly in front, on its own lines: kept for the token", () => {
    const comments = (text: string) => run(text).tokens.map((token: Token) => token.comment)
    assert.deepStrictEqual(comments("// one\n// two\na /* no */ b\n/* x\n   y */\nc\n// far\n\nd"), [
      "// one\n// two",
      undefined,
      "/* x\n   y */",
      undefined
    ])
  })
  it("comment in a comment: does not nest", () => {
    assert.strictEqual(texts("/* /* */ a"), "a")
  })
  it("a comment, string or character that is not closed: its place", () => {
    assert.deepStrictEqual(problemsOf("a\n  /* b"), ["a.idl:2:3 comment: not closed, expected */. Close it."])
    assert.deepStrictEqual(problemsOf('a "b\nc'), [
      'a.idl:1:3 string: not closed on its line, expected ". Close it, or remove it.'
    ])
    assert.deepStrictEqual(problemsOf("don't"), [
      "a.idl:1:4 character: not closed on its line, expected '. Close it, or remove it."
    ])
  })
  it("a character that C does not know: its place", () => {
    assert.deepStrictEqual(problemsOf("a @ b"), [
      'a.idl:1:3 text: got the character "@", expected IDL. Remove it.'
    ])
  })
})

describe("macros", () => {
  it("objects and functions: expanded, their names and arguments too", () => {
    assert.strictEqual(
      texts("#define A B + 1\n#define B 2\n#define F(x, y) (x * y)\nA F(A, (1, 2)) F"),
      "2 + 1 ( 2 + 1 * ( 1 , 2 ) ) F"
    )
  })
  it("a token of a macro: the place of its use", () => {
    const { tokens } = run("#define A 1 2\n\n  A")
    assert.deepStrictEqual(tokens.map(({ column, line }) => [line, column]), [[3, 3], [3, 3]])
  })
  it("## joins, # quotes", () => {
    assert.strictEqual(
      texts("#define T(x) typedef x##_t p##x; #x\n#define L l\nT(L) T()"),
      'typedef L_t pL ; "L" typedef _t p ; ""'
    )
  })
  it("a variable number of arguments: __VA_ARGS__", () => {
    assert.strictEqual(texts("#define F(a, ...) a(__VA_ARGS__)\nF(x, 1, 2) F(y)"), "x ( 1 , 2 ) y ( )")
  })
  it("a macro that names itself: expanded once", () => {
    assert.strictEqual(texts("#define A B\n#define B A + B\n#define I(x) x\nA I(A)"), "A + B A + B")
  })
  it("#undef: no macro any more", () => {
    assert.strictEqual(texts("#define A 1\n#undef A\nA"), "A")
  })
  it("a line that goes on: one directive", () => {
    assert.strictEqual(texts("#define A 1 + \\\n  2\nA"), "1 + 2")
  })
  it("__midl: 801", () => {
    assert.strictEqual(texts("__midl\n#if __midl < 700\nold\n#endif"), "801")
  })
  it("macros without parameters: listed, expanded, in order", () => {
    const { defines } = run("#define A (B+1)\n#define F(x) x\n#define GUARD\n#define B 2\n#define C 3\n#undef C")
    assert.deepStrictEqual(
      defines.map(({ body, name, place }) => [name, body.map((token) => token.text).join(""), place.line]),
      [["A", "(2+1)", 1], ["B", "2", 4]]
    )
  })
  it("wrong uses: each its place", () => {
    assert.deepStrictEqual(problemsOf("#define F(x) x\n F(1, 2)\nF(1"), [
      "a.idl:2:2 macro F: got 2 arguments, expected 1. Correct its use.",
      'a.idl:3:1 macro F: no ")" behind its arguments, expected one. Add it.'
    ])
    assert.deepStrictEqual(problemsOf("#define\n#define F(x"), [
      "a.idl:1:2 #define: no name, expected one. Add it.",
      'a.idl:2:9 #define F: no ")" behind its parameters, expected one. Add it.'
    ])
  })
})

describe("conditions", () => {
  const branch = (condition: string) => texts(`#define N 3\n#if ${condition}\nyes\n#else\nno\n#endif`)
  for (
    const [condition, expected] of [
      ["defined(N) && N >= 3", "yes"],
      ["defined N && !defined(M)", "yes"],
      ["M", "no"],
      ["1 + 2 * 3 == 7 && (1 << 4) == 0x10", "yes"],
      ["-1 < 0 ? ~0 : 0", "yes"],
      ["N / 0", "no"],
      ["UNKNOWN(1, (2)) || 0", "no"],
      ["WINAPI_FAMILY_PARTITION(WINAPI_PARTITION_DESKTOP)", "yes"]
    ] as const
  ) it(`#if ${condition}: ${expected}`, () => assert.strictEqual(branch(condition), expected))
  it("#ifdef, #ifndef, #elif, one in another: the first branch that holds", () => {
    assert.strictEqual(
      texts(
        "#ifdef X\na\n#ifdef __midl\nb\n#endif\n#elif 1\nc\n#ifndef X\nd\n#else\ne\n#endif\n#elif 1\nf\n#else\ng\n#endif\nh"
      ),
      "c d h"
    )
  })
  it("what is left out: no problem in its text", () => {
    assert.strictEqual(texts("#if 0\ndon't @ \"\n#error no\n#endif\na"), "a")
  })
  it("wrong conditions: each its place", () => {
    assert.deepStrictEqual(problemsOf("#endif\n#if 1 +\n#endif\n#else\n#ifdef\n#endif\n#ifdef A"), [
      "a.idl:1:1 #endif: no #if in front of it, expected one. Add it, or remove #endif.",
      'a.idl:2:2 #if: cannot evaluate "1 +", expected a constant expression. It counts as 0.',
      "a.idl:4:1 #else: no #if in front of it, expected one. Add it, or remove #else.",
      "a.idl:5:2 #ifdef: no name, expected one. Add it.",
      "a.idl:7:1 #if: no #endif, expected one. Add it, or remove #if."
    ])
    assert.deepStrictEqual(problemsOf("#if 0\n#else\n#else\n#endif"), [
      "a.idl:3:1 #else: stands behind #else, expected #endif. Remove it."
    ])
  })
  it("#error and #warning: their text", () => {
    assert.deepStrictEqual(problemsOf("#error use the other file\n#warning old\n#foo"), [
      "a.idl:1:1 #error: use the other file. Remove it, or the condition that leads to it.",
      "a.idl:2:1 #warning: old.",
      "a.idl:3:1 #foo: no known directive. The line is left out."
    ])
  })
  it("#pragma and #line: skipped", () => assert.strictEqual(texts('#pragma pack(1)\n#line 3 "x"\n# 4\n#\na'), "a"))
})

describe("includes", () => {
  it("a file in quotes or angle brackets: its text and its macros", () => {
    assert.strictEqual(
      texts('#include "b.h"\nX\n#include <dir/c.h>\n', { "b.h": "#define X b\nX", "dir/c.h": "c X" }),
      "b b c b"
    )
  })
  it("a token of a file: the name of the file", () => {
    assert.deepStrictEqual(run('#include "b.h"\na', { "b.h": "\nb" }).tokens.map(({ file, line }) => [file, line]), [
      ["b.h", 2],
      ["a.idl", 2]
    ])
  })
  it("a file that includes itself: refused at a depth", () => {
    const { problems, tokens } = run('#include "b.h"', { "b.h": 'x\n#include "b.h"' })
    assert.strictEqual(tokens.length, 32)
    assert.deepStrictEqual(problems.map(({ line, message }) => [line, message]), [
      [2, "#include: more than 32 files in each other, expected fewer. Remove the cycle."]
    ])
  })
  it("a file that includes itself twice, 2 to the power of 32 files: ends", () => {
    const { budget, problems } = run('#include "b.h"', { "b.h": '#include "b.h"\n#include "b.h"\n' })
    assert.isAtLeast(budget.included, 4 * 1024 * 1024)
    assert.strictEqual(problems.length, 101)
    assert.strictEqual(problems[100]!.message, "file: more than 100 problems. Correct those above first.")
  })
  it("includes out of proportion to the file: refused", () => {
    const text = `#include "b.h"\n`.repeat(5)
    assert.deepStrictEqual(problemsOf(text, { "b.h": " ".repeat(1024 * 1024) }), [
      `a.idl:5:2 #include: more than ${
        4 * 1024 * 1024 + 32 * text.length
      } characters in all, expected fewer. Include less.`
    ])
  })
  it("no name: its place", () => {
    assert.deepStrictEqual(problemsOf("#include b"), [
      'a.idl:1:2 #include: got no file name, expected "name" or <name>. Add it.'
    ])
  })
})

describe("macro bombs", () => {
  const doubling = (name: string) =>
    Array.from({ length: 40 }, (_, i) => `#define ${name}${i + 1} ${name}${i} ${name}${i}`).join("\n")
  it("2 to the power of 40 tokens: ends, with its place", () => {
    const { budget, problems } = run(`#define a0 x\n${doubling("a")}\n\n a40 a40`)
    const most = maximumExpansion(budget.size)
    assert.deepStrictEqual(problems.map(({ line, message }) => [line, message]), [
      [43, `macro: more than ${most} tokens, expected fewer. Macros from here on stay unexpanded.`]
    ])
    assert.isAtMost(budget.tokens, maximumTokens)
  })
  it("names of 2 to the power of 40 letters: ends", () => {
    const steps = Array.from({ length: 40 }, (_, i) => `#define f${i}(x) f${i + 1}(x##x)`).join("\n")
    const { problems } = run(`${steps}\nf0(abc)`)
    assert.match(problems[0]!.message, /^macro f\d+: ## makes a token of \d+ characters, expected at most 255/)
  })
  it("uses in arguments, 200 deep: ends", () => {
    const { problems } = run(`#define f(x) x\n${"f(".repeat(200)}${")".repeat(200)}`)
    assert.match(problems[0]!.message, /^macro: more than 64 uses in arguments of others/)
  })
})
