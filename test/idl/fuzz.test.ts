/**
 * Damaged IDL of at most 4 KB, through all that strangers' files go through: nothing throws, work is in proportion to the
 * text, and what is printed has the operations that are described.
 */
import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { Idl } from "../../src/idl.ts"
import { maximumExpansion } from "../../src/idl/internal/idlLexer.ts"
import { parseFiles } from "../../src/idl/internal/idlParser.ts"
import { budgetOf, report, seed } from "../budget.ts"
import { below, makeRandom, pick, type Random } from "../dcerpc/random.ts"

const folder = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

const vectors = readdirSync(folder("../ndr/vectors")).filter((name) => name.endsWith(".json")).sort().map((name) =>
  (JSON.parse(readFileSync(folder(`../ndr/vectors/${name}`), "utf8")) as { readonly idl: string }).idl
)

const files = readdirSync(folder("files")).filter((name) => name.endsWith(".idl")).sort().map((name) =>
  readFileSync(folder(`files/${name}`), "utf8")
)

/** What the others lack: macros, includes, objects, lists, the dialect of pidl. */
const own = [
  `#define ID(n) [uuid(5f7a2a3e-6f0c-4b7e-9d55-0f9f3f0a4c##n), version(1.0)]
#define LIMIT 0x10
#define TWICE(x) ((x) * 2)
#define TEXT(x) #x
#if defined(LIMIT) && TWICE(LIMIT) > 31 || __midl < 700
const long MAX = TWICE(LIMIT) - 1;
#elif LIMIT == 3
#error no
#else
const char *NAME = TEXT(a b);
#endif
#include "b.idl"
import "c.idl", "none.idl";
cpp_quote("#define QUOTED 3")
ID(11) interface first {
  typedef struct _NODE { long value; [unique] struct _NODE *next; [size_is(MAX)] byte data[]; } NODE, *PNODE;
  long Walk([in, ref] PNODE list, [in, range(0, LIMIT)] long depth, [out] long *sum);
}`,
  `[object, uuid(6bffd098-a112-3610-9833-46c3f874532d), pointer_default(unique)] interface IThing : IUnknown {
  [propget, id(1)] HRESULT Size([out, retval] long *size);
  [local] HRESULT Look([in] REFIID riid, [out, iid_is(riid)] void **found);
  [call_as(Look)] HRESULT RemoteLook([in] REFIID riid, [out, iid_is(riid)] IUnknown **found);
}
[uuid(6bffd098-a112-3610-9833-46c3f874532e)] library Things {
  importlib("stdole2.tlb");
  enum Kind { A = 1, B = A << 2, C, D = -1 };
  [uuid(6bffd098-a112-3610-9833-46c3f874532f)] coclass Thing { [default] interface IThing; };
  [uuid(6bffd098-a112-3610-9833-46c3f8745330)] dispinterface Events { properties: methods: [id(1)] void f(enum Kind k); };
}`,
  `[uuid(8b2f4a0c-1d3e-4f5a-9b6c-7d8e9f0a1b2c), version(3.1), endpoint("ncacn_np:[\\\\pipe\\\\x]"), ms_union]
interface store {
  typedef [context_handle] void *STORE;
  typedef [v1_enum] enum { small = 0, large = 0x7fff0000, other } SIZE;
  typedef union switch (short kind) body { case 1: case 2: long a; case 3: [string, unique] wchar_t *b; default: ; } BODY;
  typedef struct { SIZE kind; [switch_is(kind)] union { [case(small)] hyper a; [case(large, other)] double b[2][3]; [default]; } u;
    unsigned short Length, MaximumLength; [size_is(MaximumLength / 2), length_is(Length / 2)] wchar_t *Buffer; } ITEM;
  error_status_t Open([in] handle_t h, [in, string] const wchar_t *name, [out] STORE *store);
  [idempotent] long List([in] STORE store, [in] unsigned long max, [out] unsigned long *count,
    [out, size_is(max), length_is(*count)] ITEM items[], [in, out, unique] BODY *body);
  long All([out] long *n, [out, size_is(, *n)] ITEM **items, [in, max_is(7)] char bytes[]);
  void Pour([in] pipe byte data, [out] pipe ITEM *items);
  [maybe] void Ring([in] long count);
  void Opnum5NotUsedOnWire(void);
}`,
  `[uuid("8b2f4a0c-1d3e-4f5a-9b6c-7d8e9f0a1b2d"), version(1.0), helper("x.h"), pointer_default(unique)]
interface dialect {
  typedef [public, bitmap32bit] bitmap { F_A = 0x1, F_B = 0x2 } Flags;
  typedef [enum16bit] enum { E_A = 3, E_B } Level;
  [switch_type(uint32)] union Info { [case(1)] uint32 a; [case(2)] Flags *b; [default]; };
  WERROR dialect_Get([in, unique, string, charset(UTF16)] uint16 *name, [in] uint32 level,
    [out, ref, switch_is(level)] union Info *info, [in, value(3)] Level l, [in, out, ref] policy_handle *handle);
}`
]

const bases = [...vectors, ...files, ...own]

const words = [
  ...bases.flatMap((text) => text.match(/[A-Za-z_]\w*|0x\w+|\d+|"[^"\n]*"|[^\s\w]/g) ?? []),
  ..."[ ] { } ( ) , ; : * # ## . -> ? / // /* */ \\ \" ' < << 0 -1 0xffffffff 99999999999999999999 1e9 08 \n \0 \u00a0 \ud800 é"
    .split(" "),
  ..."__proto__ constructor toString hasOwnProperty void long hyper handle_t pipe struct union enum interface typedef"
    .split(" "),
  ..."switch_is size_is length_is max_is last_is first_is context_handle ref ptr ignore string range ms_union callback local"
    .split(" "),
  ..."sizeof(long) #define #undef #if #ifdef #else #endif #include import Interface Ndr Schema default case IUnknown IDispatch"
    .split(" "),
  ..."byte wchar_t char boolean GUID BSTR VARIANT SAFEARRAY(long) 2147483647 0x7fffffff [0..*] [*] =".split(" ")
]

const pieces = /[A-Za-z_]\w*|\d\w*|\s+|[^\s\w]/g

const damages: ReadonlyArray<(text: string, random: Random) => string> = [
  // bytes
  (text, random) => splice(text, below(random, text.length + 1), 1, String.fromCharCode(below(random, 128))),
  (text, random) => splice(text, below(random, text.length + 1), 0, String.fromCharCode(below(random, 256))),
  (text, random) => splice(text, below(random, text.length + 1), below(random, 30), ""),
  (text, random) => text.slice(0, below(random, text.length + 1)),
  (text, random) => {
    const from = below(random, text.length + 1)
    return splice(text, below(random, text.length + 1), 0, text.slice(from, from + below(random, 200)))
  },
  // tokens
  (text, random) => atToken(text, random, 1, pick(random, words)),
  (text, random) => atToken(text, random, 1, pick(random, words)),
  (text, random) => atToken(text, random, 0, ` ${pick(random, words)} `),
  (text, random) => atToken(text, random, 1, ""),
  (text, random) => atToken(text, random, 1 + below(random, 8), ""),
  (text, random) => atToken(text, random, 0, pick(random, words).repeat(1 + below(random, 300))),
  (text, random) => {
    const names = text.match(/[A-Za-z_]\w*/g) ?? []
    return names.length === 0 ? text : text.replaceAll(pick(random, names), pick(random, words))
  },
  // lines
  (text, random) => atLine(text, random, 1, []),
  (text, random) => atLine(text, random, 0, [pick(random, text.split("\n"))]),
  (text, random) => atLine(text, random, 0, [pick(random, pick(random, bases).split("\n"))]),
  (text, random) => {
    const lines = pick(random, bases).split("\n")
    const from = below(random, lines.length)
    return atLine(text, random, below(random, 4), lines.slice(from, from + 1 + below(random, 6)))
  },
  (text, random) => {
    const other = pick(random, bases)
    return text.slice(0, below(random, text.length + 1)) + other.slice(below(random, other.length))
  }
]

const splice = (text: string, at: number, removed: number, added: string): string =>
  text.slice(0, at) + added + text.slice(at + removed)

const atToken = (text: string, random: Random, removed: number, added: string): string => {
  const parts = text.match(pieces) ?? []
  parts.splice(below(random, parts.length + 1), removed, added)
  return parts.join("")
}

const atLine = (text: string, random: Random, removed: number, added: ReadonlyArray<string>): string => {
  const lines = text.split("\n")
  lines.splice(below(random, lines.length + 1), removed, ...added)
  return lines.join("\n")
}

const damaged = (random: Random): string => {
  let text = pick(random, bases)
  for (let times = 1 + below(random, 1 + below(random, 4)); times > 0; times--) {
    text = pick(random, damages)(text, random).slice(0, 4096)
  }
  return text
}

/** The operations that a printed module has, as `interface.operation number`. */
const printedOperations = (module: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  let name = ""
  for (
    const line of module.matchAll(
      /^export const (\S+) = Interface\.make\(|^ {4}(\S+): Interface\.method\(\{\n {6}opnum: (\d+)/gm
    )
  ) {
    if (line[1] !== undefined) name = line[1]
    else found.push(`${name}.${line[2]} ${line[3]}`)
  }
  return found
}

/** The importer is the same everywhere: the slower runtimes try fewer texts. */
const portion = process.versions["bun"] !== undefined ? 1 / 20 : process.versions["deno"] !== undefined ? 1 / 4 : 1

/** What an import may spend on the text, in tokens that macros make and steps of the parser. */
const assertBounded = (sources: Idl.Sources): void => {
  const { spent } = parseFiles(sources, "a.idl")
  const size = Object.values(sources).reduce((sum, { length }) => sum + length, 0)
  assert.isAtMost(spent.expanded, 2 * maximumExpansion(size))
  assert.isAtMost(spent.steps, 600 * (spent.tokens + size + 100))
}

const through = (sources: Idl.Sources): "whole" | "problems" => {
  const { document, interfaces, problems } = Idl.describe(sources, "a.idl")
  for (const { column, file, line, message } of problems) {
    assert.isTrue(line >= 1 && column >= 1 && message.length > 0 && message.length < 4000, `${file}:${line}:${column}`)
  }
  const module = Idl.print(document)
  assert.deepStrictEqual(
    printedOperations(module),
    document.interfaces.flatMap(({ name }) =>
      Object.entries(interfaces[name]!.operations).map(([operation, { opnum }]) => `${name}.${operation} ${opnum}`)
    )
  )
  const operation = document.interfaces[0]?.operations[0]?.name
  if (operation !== undefined) Idl.print(document, { only: [operation] })
  return problems.some(({ severity }) => severity === "error") ? "problems" : "whole"
}

describe("damaged IDL", () => {
  it("mutated texts: no throw, bounded steps, the module has the described operations", () => {
    const random = makeRandom(seed)
    const times = budgetOf(1_000_000 * portion)
    const counts = { whole: 0, problems: 0 }
    for (let i = 0; i < times; i++) {
      const text = damaged(random)
      const bytes = below(random, 16) === 0 ? new TextEncoder().encode(text) : undefined
      if (bytes !== undefined && bytes.length > 0) bytes[below(random, bytes.length)] = below(random, 256)
      const sources: Idl.Sources = {
        "a.idl": bytes ?? text,
        ...(text.includes("b.idl") || text.includes("c.idl")
          ? { "b.idl": pick(random, own), "c.idl": pick(random, vectors) }
          : {})
      }
      try {
        if (i % 4 === 0) assertBounded(sources)
        counts[through(sources)]++
      } catch (error) {
        console.log(`text ${i} of seed ${seed}: ${JSON.stringify(sources)}`)
        throw error
      }
    }
    report("damaged IDL", `${times} texts, ${counts.whole} of them without an error`)
  }, 3_600_000)
})
