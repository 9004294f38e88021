/** The commands of the tool that read IDL: import, describe, call, check. */
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Console, Deferred, Effect, Layer, Redacted, type Scope, Sink, Stdio, Stream } from "effect"
import { spawn, spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { ContextHandle, Interface, Manager, Pipe, Server, ServerCall } from "../../mod.ts"
import { Files } from "../../src/cli/Files.ts"
import { withPermission } from "../../src/cli/Failure.ts"
import { Values } from "../../src/cli/JsonValues.ts"
import { Passwords } from "../../src/cli/Login.ts"
import { run } from "../../src/cli/Program.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import { Idl } from "../../src/idl.ts"
import * as NodeTransport from "../../src/node.ts"
import * as Ntlm from "../../src/security/Ntlm.ts"
import * as Memory from "../../src/transport/Memory.ts"
import * as StringBinding from "../../src/transport/StringBinding.ts"
import type { Transport } from "../../src/transport/Transport.ts"

const library = readFileSync(fileURLToPath(new URL("../idl/files/library.idl", import.meta.url)), "utf8")
const golden = readFileSync(fileURLToPath(new URL("../idl/golden/library.ts", import.meta.url)), "utf8")

/** A file system in memory: texts by their paths. */
const filesOf = (texts: { readonly [path: string]: string }, stdin = "") => {
  const written: Record<string, string> = {}
  const asked: Array<string> = []
  return {
    written,
    asked,
    files: {
      read: (path: string) => {
        asked.push(path)
        const text = texts[path]
        return text === undefined
          ? Effect.fail(`${path}: it does not exist`)
          : Effect.succeed(new TextEncoder().encode(text))
      },
      find: (folder: string, name: string) => {
        asked.push(folder + name)
        return Effect.succeed(Object.keys(texts).find((path) => path.toLowerCase() === (folder + name).toLowerCase()))
      },
      write: (path: string, text: string) =>
        path.startsWith("closed/")
          ? Effect.fail(`${path}: no permission`)
          : Effect.sync(() => void (written[path] = text)),
      stdin: Effect.succeed(new TextEncoder().encode(stdin)),
      load: (path: string) =>
        path === "shapes.ts" ? Effect.succeed({ Shapes }) : Effect.fail(`${path}: it does not exist`)
    }
  }
}

const Shapes = Interface.make("Shapes", {
  uuid: "7b9d8d0e-1d55-4b0c-9a64-0f4a3c3c9d10",
  methods: { Draw: Interface.method({}) }
})

/** Runs the tool with these files. */
const callisto = (args: ReadonlyArray<string>, texts: { readonly [path: string]: string } = {}, stdin = "") =>
  Effect.gen(function* () {
    const output = { stdout: "", stderr: "" }
    const capture = (name: "stdout" | "stderr") => () =>
      Sink.forEach((chunk: string | Uint8Array) => Effect.sync(() => output[name] += String(chunk)))
    const { asked, files, written } = filesOf({ "library.idl": library, ...texts }, stdin)
    const console = {
      ...globalThis.console,
      error: (line: unknown) => output.stderr += `${line}\n`,
      log: (line: unknown) => output.stdout += `${line}\n`
    }
    const code = yield* run(args).pipe(
      Effect.provideService(Console.Console, console),
      Effect.provideService(Files, files),
      Effect.provideService(Passwords, {
        file: () => Effect.succeed(new TextEncoder().encode("correct horse")),
        prompt: () => Effect.fail("nobody")
      }),
      Effect.provide(Layer.merge(
        Stdio.layerTest({ stdout: capture("stdout"), stderr: capture("stderr") }),
        ConfigProvider.layer(ConfigProvider.fromEnv({ env: {} }))
      ))
    )
    return { code, asked, written, ...output }
  })

const inMemory = <A, E>(name: string, test: Effect.Effect<A, E, Scope.Scope | Transport>) =>
  it.effect(name, () => Effect.provide(test, Memory.layer))

const broken = `
  import "shared.idl";
  [uuid(0d3c5f3e-51ab-4c4f-a0d7-6f5d0a8b7c21), version(2.1)] interface broken {
    void Good([in] COUNT n);
    void Bad([in] NOBODY n);
  }`

const good = `[uuid(0d3c5f3e-51ab-4c4f-a0d7-6f5d0a8b7c21)] interface good { void Go([in] long *n); }`

const shared = "typedef unsigned long COUNT;"

describe("callisto import", () => {
  inMemory(
    "a file: its module is written beside it, and a summary",
    Effect.gen(function* () {
      const { code, stderr, stdout, written } = yield* callisto(["import", "library.idl"])
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.strictEqual(stdout, "library 1.10: 10 of 10 operations (1 number unused), 10 types. Left out: none.\n")
      assert.deepStrictEqual(written, { "library.ts": golden })
    })
  )

  inMemory(
    "a module of somebody else in its place: is kept, and an older one of its own is not",
    Effect.gen(function* () {
      const kept = yield* callisto(["import", "library.idl"], { "library.ts": "export const mine = 1" })
      assert.deepStrictEqual([kept.code, kept.written], [2, {}])
      assert.match(kept.stderr, /library\.ts: it was not written by callisto import\./)
      const again = yield* callisto(["import", "library.idl"], { "library.ts": golden.replace("0.1.0", "0.0.9") })
      assert.deepStrictEqual([again.code, again.written], [0, { "library.ts": golden }])
    })
  )

  inMemory(
    "a file without a declaration: no module, and exit code 1",
    Effect.gen(function* () {
      for (const text of ["", "not IDL at all"]) {
        for (const command of ["import", "describe"]) {
          const { code, stderr, stdout, written } = yield* callisto([command, "no.idl"], { "no.idl": text })
          assert.deepStrictEqual([code, stdout, written], [1, "", {}])
          assert.match(stderr, /no\.idl: there is no interface, type or constant in it\./)
        }
      }
    })
  )

  inMemory(
    "--out -: the module alone on standard output",
    Effect.gen(function* () {
      const { code, stderr, stdout, written } = yield* callisto(["import", "library.idl", "--out", "-"])
      assert.deepStrictEqual([code, stdout, written], [0, golden, {}])
      assert.match(stderr, /^library 1\.10: 10 of 10 operations/)
    })
  )

  inMemory(
    "an operation that can't be called: is told with line and reason, and --check ends with 1",
    Effect.gen(function* () {
      const texts = { "a/broken.idl": broken, "inc/Shared.IDL": shared }
      const written = yield* callisto(["import", "a/broken.idl", "--include", "inc"], texts)
      assert.strictEqual(written.code, 0)
      const [first, second] = written.stdout.split("\n")
      assert.strictEqual(first, "broken 2.1: 1 of 2 operations, 0 types. Left out: 1:")
      assert.match(second!, /^ {2}Bad \(1\), line 5: .*NOBODY.*\.$/)
      assert.match(written.stderr, /^a\/broken\.idl:5:\d+: error: .*NOBODY/m)
      assert.deepStrictEqual(Object.keys(written.written), ["a/broken.ts"])

      const checked = yield* callisto(["import", "a/broken.idl", "--include", "inc", "--check"], texts)
      assert.deepStrictEqual([checked.code, checked.written], [1, {}])
      assert.include(checked.stderr, "error: a/broken.idl: 1 operation is left out.")
      const good = yield* callisto(["import", "library.idl", "--check"])
      assert.deepStrictEqual([good.code, good.written], [0, {}])
    })
  )

  inMemory(
    "--only: these operations and their types, and a wrong name is refused",
    Effect.gen(function* () {
      const { code, stdout, written } = yield* callisto(["import", "library.idl", "--only", "OpenDesk, CloseDesk"])
      assert.deepStrictEqual([code, stdout.split("\n")[0]], [
        0,
        "library 1.10: 2 of 2 operations (1 number unused), 0 types. Left out: none."
      ])
      assert.include(written["library.ts"], "OpenDesk")
      assert.notInclude(written["library.ts"], "ITEM")
      const wrong = yield* callisto(["import", "library.idl", "--only", "opendesk"])
      assert.deepStrictEqual([wrong.code, wrong.written], [2, {}])
      assert.include(wrong.stderr, 'library.idl: no operation "opendesk", it has OpenDesk, ')
    })
  )

  inMemory(
    "--json: the summary and the problems as lines of JSON",
    Effect.gen(function* () {
      const { stderr, stdout } = yield* callisto(["import", "b.idl", "--json"], {
        "b.idl": broken,
        "shared.idl": shared
      })
      const { interfaces, written } = JSON.parse(stdout)
      assert.strictEqual(written, "b.ts")
      assert.deepInclude(interfaces[0], { name: "broken", version: "2.1", operations: 1 })
      assert.deepInclude(interfaces[0].leftOut[0], { name: "Bad", opnum: 1, line: 5 })
      assert.deepInclude(JSON.parse(stderr.split("\n")[0]!).problem, { file: "b.idl", severity: "error" })
    })
  )

  inMemory(
    "imports of a stranger's file: no file outside of the folders is read",
    Effect.gen(function* () {
      const text = `import "/etc/passwd", "../../secret.idl", "C:\\\\x\\\\boot.idl", "sub/deep.idl"; ${broken}`
      const { asked, stderr, stdout } = yield* callisto(
        ["import", "d/evil.idl"],
        {
          "d/evil.idl": text,
          "../../secret.idl": "",
          "/etc/passwd": "",
          "d/shared.idl": shared,
          "d/sub/Deep.idl": "typedef long NOBODY;"
        }
      )
      assert.deepStrictEqual(asked.filter((path) => !path.startsWith("d/") || path.includes("..")), [])
      assert.include(stdout, "2 of 2 operations")
      assert.include(stdout, "Not found: /etc/passwd, ../../secret.idl, C:")
      assert.notMatch(stderr, /error/)
    })
  )

  inMemory(
    "an import that is not found: is told with its place, and --check ends with 1",
    Effect.gen(function* () {
      const texts = { "d/a.idl": `import "gone.idl"; ${good}` }
      const written = yield* callisto(["import", "d/a.idl"], texts)
      assert.deepStrictEqual([written.code, Object.keys(written.written)], [0, ["d/a.ts"]])
      assert.match(written.stderr, /^d\/a\.idl:1:8: warning: import gone\.idl: not found\. .*--include DIR/)
      const checked = yield* callisto(["import", "d/a.idl", "--check"], texts)
      assert.strictEqual(checked.code, 1)
      assert.include(checked.stderr, "error: d/a.idl: 1 imported file was not found.")
    })
  )

  inMemory(
    "an attribute that is not known: the module is written, and --check ends with 1",
    Effect.gen(function* () {
      const texts = { "a.idl": good.replace("[in]", "[in, strng]") }
      const written = yield* callisto(["import", "a.idl"], texts)
      assert.deepStrictEqual([written.code, Object.keys(written.written)], [0, ["a.ts"]])
      assert.match(written.stderr, /^a\.idl:1:\d+: error: attribute strng: .*Do you mean \[string\]\?/)
      const checked = yield* callisto(["import", "a.idl", "--check"], texts)
      assert.strictEqual(checked.code, 1)
    })
  )

  inMemory(
    "an interface that cannot be made: exit code 1, and the others are written",
    Effect.gen(function* () {
      const texts = { "a.idl": `${good} [uuid(1)] interface lost { void f(); }` }
      const { code, stderr, written } = yield* callisto(["import", "a.idl"], texts)
      assert.deepStrictEqual([code, Object.keys(written)], [1, ["a.ts"]])
      assert.match(stderr, /^a\.idl:1:\d+: error: interface lost is left out: its uuid is no UUID/)
      assert.include(stderr, "error: a.idl: 1 interface left out.")
      const described = yield* callisto(["describe", "a.idl"], texts)
      assert.include(described.stderr, "interface lost is left out")
    })
  )

  inMemory(
    "an operation that is left out: its reason is printed once",
    Effect.gen(function* () {
      const { stderr, stdout } = yield* callisto(["import", "b.idl"], { "b.idl": broken, "shared.idl": shared })
      assert.strictEqual(`${stdout}${stderr}`.split("n: the type NOBODY is not known").length, 2)
      assert.strictEqual(stderr.trim().split("\n").length, 1)
    })
  )

  inMemory(
    "a problem in an imported file: names that file",
    Effect.gen(function* () {
      const { stderr } = yield* callisto(["import", "b.idl", "--include", "inc/"], {
        "b.idl": broken,
        "inc/shared.idl": "typedef struct {"
      })
      assert.match(stderr, /^inc\/shared\.idl:1:\d+: error: /m)
    })
  )

  for (
    const [name, args, said] of [
      ["a file that is not there", ["import", "gone.idl"], "gone.idl: it does not exist."],
      [
        "a module that can't be written",
        ["import", "library.idl", "--out", "closed/x.ts"],
        "closed/x.ts: no permission."
      ],
      ["a name without .idl", ["import", "library.h"], "library.h: its name does not end in .idl."],
      [
        "a method that is not there",
        ["describe", "library.idl", "Fnd"],
        'library.idl: no method "Fnd", it has OpenDesk'
      ],
      ["a module without an interface", ["describe", "other.ts"], "other.ts: it does not exist."],
      [
        "no method to show a sample of",
        ["describe", "library.idl", "--template"],
        "--template shows the input of one method."
      ],
      [
        "an interface that is not there",
        ["describe", "library.idl", "--interface", "x"],
        'library.idl: no interface "x", it has library.'
      ],
      ["a method that is left out", ["call", "ncacn_memory:[x]", "b.idl", "Bad"], "b.idl: Bad is left out: "],
      [
        "an input before the method",
        ["call", "ncacn_memory:[x]", "library.idl", "{}"],
        "METHOD is missing: {} is an input."
      ],
      [
        "an input that is no JSON",
        ["call", "ncacn_memory:[x]", "library.idl", "Fill", "{size: 1}"],
        "The input is no JSON: "
      ],
      [
        "a file of input that is not there",
        ["call", "ncacn_memory:[x]", "library.idl", "Fill", "@in.json"],
        "in.json: it does not exist."
      ]
    ] as ReadonlyArray<[string, ReadonlyArray<string>, string]>
  ) {
    inMemory(
      `${name}: a sentence, and exit code 2`,
      Effect.gen(function* () {
        const { code, stderr, stdout, written } = yield* callisto(args, { "b.idl": broken, "shared.idl": shared })
        assert.deepStrictEqual([code, stdout, written], [2, "", {}])
        assert.include(stderr, `error: ${said}`)
      })
    )
  }
})

describe("callisto describe", () => {
  inMemory(
    "a file: its interfaces, endpoints, methods and numbers",
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* callisto(["describe", "library.idl"])
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.deepStrictEqual(stdout.split("\n").slice(0, 6), [
        "library 1.10  5d0c1a8e-7f6b-4b0e-9c3e-1d2f3a4b5c6d",
        "endpoint ncacn_ip_tcp:[4711]",
        "endpoint ncacn_np:[\\pipe\\library]",
        "OPNUM  METHOD",
        "    0  OpenDesk(server: WString | null, access: Uint32): (desk: DESK | null, result: Uint32)",
        "    1  CloseDesk(desk: DESK): (desk: DESK | null, result: Uint32)"
      ])
      assert.include(
        stdout,
        "    8  Copy(options: (String | null)[], pipe content: bytes): (result: Int32, pipe numbers: Int32)\n"
      )
    })
  )

  inMemory(
    "what is left out: its line and reason",
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* callisto(["describe", "b.idl"], { "b.idl": broken, "shared.idl": shared })
      assert.strictEqual(code, 0)
      assert.match(stderr, /^b\.idl:5:19: error: type NOBODY: not known\..*\n$/)
      assert.match(stdout, /\nLeft out:\n {2}Bad \(1\), line 5: .*NOBODY.*\.\n$/)
    })
  )

  inMemory(
    "one method, by its number too: its types and a sample of its input",
    Effect.gen(function* () {
      const { stdout } = yield* callisto(["describe", "library.idl", "2"])
      assert.include(stdout, "library.Find, number 2\n")
      assert.include(stdout, "\nKIND: Book = 1, Map = 2, Record = 16, Last = 16\n")
      assert.include(stdout, "Dates: Int32[3][2]")
      assert.deepStrictEqual(JSON.parse(stdout.slice(stdout.indexOf("\n{\n"))), { pattern: "", count: 0 })
    })
  )

  inMemory(
    "built-in interfaces and modules: are described by the same command",
    Effect.gen(function* () {
      assert.include(
        (yield* callisto(["describe", "mgmt"])).stdout,
        "    1  inq_stats(count: Uint32): (statistics: Uint32[], status: Uint32)\n"
      )
      assert.include((yield* callisto(["describe", "epmapper"])).stdout, "e1af8308-5d1f-11c9-91a4-08002b14a0fa")
      assert.strictEqual((yield* callisto(["describe", "shapes.ts", "--names"])).stdout, "Draw\n")
    })
  )

  inMemory(
    "--json: the same for programs",
    Effect.gen(function* () {
      const { interfaces: [{ endpoints, operations }], types } = JSON.parse(
        (yield* callisto(["describe", "library.idl", "--json"])).stdout
      )
      assert.deepStrictEqual(endpoints, ["ncacn_ip_tcp:[4711]", "ncacn_np:[\\pipe\\library]"])
      assert.deepInclude(operations[0], { name: "OpenDesk", opnum: 0, returns: "DWORD", comment: "Opens a desk." })
      assert.strictEqual(types.length, 10)
    })
  )
})

// ----------------------------------------------------------------------------
// calls
// ----------------------------------------------------------------------------

const described = Idl.describe({ "library.idl": library }, "library.idl").interfaces["library"]!

/** What the server got, by method. */
const makeLibrary = () => {
  const got: Record<string, unknown> = {}
  const desks = ContextHandle.states<{ readonly access: number }>()(ContextHandle.make("DESK"))
  const routine =
    (name: string, answer: (input: any, call: any) => Effect.Effect<unknown, unknown, Scope.Scope>) =>
    (input: unknown, call: unknown) => {
      got[name] = input
      return answer(input, call)
    }
  const refused = () => Effect.die("not called")
  const manager = Manager.make(described, {
    OpenDesk: routine(
      "OpenDesk",
      ({ access }, call) =>
        access === 0
          ? Effect.succeed({ desk: null, result: 5 })
          : Effect.map(desks.open(call, Effect.succeed({ access })), (desk) => ({ desk, result: 0 }))
    ),
    CloseDesk: routine(
      "CloseDesk",
      ({ desk }, call) => Effect.map(desks.close(call, desk), (desk) => ({ desk, result: 0 }))
    ),
    Find: refused,
    Describe: routine(
      "Describe",
      ({ details }) => Effect.succeed({ entry: { Details: details, u: { case: 2, value: "two" } }, result: 0 })
    ),
    GetName: routine(
      "GetName",
      ({ size }) =>
        Effect.succeed({
          size,
          name: { size: size + 1, text: "A\x1b[2J\u009b\u202e" },
          names: { Names: ["a", null] },
          result: 234
        })
    ),
    Fill: routine(
      "Fill",
      ({ size }) => Effect.succeed({ buffer: { size, bytes: Uint8Array.of(1, 2, 255) }, result: 0 })
    ),
    Compare: routine("Compare", () => Effect.succeed({ measure: { case: 3, value: 1.5 } })),
    Copy: routine("Copy", (_, call) =>
      Effect.gen(function* () {
        const bytes = yield* Stream.runCollect(Pipe.toStream(ServerCall.inPipe(call, "content" as never) as never))
        const numbers = (bytes as Array<Uint8Array>).flatMap((chunk) => [...chunk])
        const writer = ServerCall.outPipe(call, "numbers" as never) as never as Pipe.Writer<
          ReadonlyArray<number>,
          never
        >
        yield* Pipe.push(writer, numbers.map((byte) => -byte))
        yield* Pipe.end(writer)
        return { result: numbers.length }
      })),
    Lend: refused,
    Notify: refused
  } as never) as unknown as Manager.Manager<any, Scope.Scope>
  return { got, manager }
}

const place = "ncacn_memory:[library]"

const serve = (manager: Manager.Manager<any, Scope.Scope>, binding = place, options?: Endpoint.Options) =>
  Effect.gen(function* () {
    const server = yield* Server.make([manager], { grace: 0 })
    return yield* Endpoint.serve(server, binding, options)
  })

/** The documents on standard output, one a line. */
const documents = (stdout: string): ReadonlyArray<unknown> => stdout.trim().split("\n").map((line) => JSON.parse(line))

const details = {
  case: "Map",
  value: "-9007199254740993"
}

describe("callisto call", () => {
  inMemory(
    "bytes and sizes: are base64 and numbers",
    Effect.gen(function* () {
      const { manager } = makeLibrary()
      yield* serve(manager)
      const { code, stderr, stdout } = yield* callisto(["call", place, "library.idl", "Fill", '{"size": 8}'])
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.strictEqual(stdout, '{\n  "buffer": {\n    "size": 8,\n    "bytes": "AQL/"\n  },\n  "result": 0\n}\n')
      const byNumber = yield* callisto(["call", place, "library.idl", "6", "-", "--json"], {}, '{"size": "0x8"}')
      assert.strictEqual(byNumber.stdout, '{"buffer":{"size":8,"bytes":"AQL/"},"result":0}\n')
      const fromFile = yield* callisto(["call", place, "library.idl", "Fill", "@in.json", "--json"], {
        "in.json": '{"size": 9}'
      })
      assert.include(fromFile.stdout, '"size":9')
    })
  )

  inMemory(
    "several methods: the later ones take the handle of an earlier one",
    Effect.gen(function* () {
      const { got, manager } = makeLibrary()
      yield* serve(manager)
      const { code, stderr, stdout } = yield* callisto([
        "call",
        place,
        "library.idl",
        "OpenDesk",
        '{"access": 5}',
        "Describe",
        JSON.stringify({ level: 2, details }),
        "CloseDesk",
        '{"desk": {"handle": "DESK"}}',
        "--json"
      ])
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.deepStrictEqual(documents(stdout), [
        { desk: { handle: "DESK" }, result: 0 },
        { entry: { Details: details, u: { case: 2, value: "two" } }, result: 0 },
        { desk: null, result: 0 }
      ])
      assert.deepStrictEqual((got["Describe"] as { readonly details: unknown }).details, {
        case: "Map",
        value: -9007199254740993n
      })
      const closed = yield* callisto(["call", place, "library.idl", "CloseDesk"])
      assert.strictEqual(closed.code, 2)
      assert.include(closed.stderr, "CloseDesk.desk: no call before has given a DESK.")
    })
  )

  inMemory(
    "a result that is an error: is named, and ends with 1 under --fail",
    Effect.gen(function* () {
      const { manager } = makeLibrary()
      yield* serve(manager)
      const plain = yield* callisto(["call", place, "library.idl", "OpenDesk", '{"access": 0}', "--json"])
      assert.deepStrictEqual([plain.code, plain.stdout], [0, '{"desk":null,"result":5}\n'])
      assert.deepStrictEqual(JSON.parse(plain.stderr), {
        warn: "OpenDesk: The function returned 5 (ERROR_ACCESS_DENIED). (Win32Error)"
      })
      const failed = yield* callisto(["call", place, "library.idl", "OpenDesk", '{"access": 0}', "--fail"])
      assert.strictEqual(failed.code, 1)
      assert.match(failed.stderr, /^error: OpenDesk: .*ERROR_ACCESS_DENIED/)
      assert.include(failed.stdout, '"result": 5')
    })
  )

  inMemory(
    "pipes: go in and come out under their names",
    Effect.gen(function* () {
      const { got, manager } = makeLibrary()
      yield* serve(manager)
      const { code, stderr, stdout } = yield* callisto(
        ["call", place, "library.idl", "Copy", '{"options": ["a", null], "content": "AQID"}', "--json"]
      )
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.deepStrictEqual(documents(stdout), [{ result: 3, numbers: [-1, -2, -3] }])
      assert.deepStrictEqual(got["Copy"], { options: ["a", null] })
    })
  )

  inMemory(
    "text of a server: can't move the cursor",
    Effect.gen(function* () {
      const { manager } = makeLibrary()
      yield* serve(manager)
      const { stdout } = yield* callisto([
        "call",
        place,
        "library.idl",
        "OpenDesk",
        '{"access": 1}',
        "GetName",
        '{"size": 9}'
      ])
      assert.notMatch(stdout, /(?!\n)\p{Cc}/u)
      assert.include(stdout, '"text": "A\\u001b[2J\\u009b\\u202e"')
    })
  )

  inMemory(
    "a value that NDR refuses: names the place, and no call is made",
    Effect.gen(function* () {
      const { got, manager } = makeLibrary()
      yield* serve(manager)
      const { code, stderr } = yield* callisto([
        "call",
        place,
        "library.idl",
        "OpenDesk",
        '{"server": "a\\u0000b", "access": 1}'
      ])
      assert.deepStrictEqual([code, got], [2, {}])
      assert.match(stderr, /^error: OpenDesk: .*server.*NUL/)
      assert.include(stderr, "callisto describe library.idl OpenDesk shows what it takes.")
    })
  )

  inMemory(
    "input that is nested without end: a sentence",
    Effect.gen(function* () {
      const deep =
        "[uuid(6bffd098-a112-3610-9833-46c3f874532e)] interface deep { typedef struct T { [unique] struct T *next; } T; void f([in] T *t); }"
      const input = `{"t":${'{"next":'.repeat(50_000)}null${"}".repeat(50_001)}`
      const { code, stderr } = yield* callisto(["call", place, "deep.idl", "f", "-"], { "deep.idl": deep }, input)
      assert.strictEqual(code, 2)
      assert.match(stderr, /nested too deeply|no JSON/)
    })
  )

  inMemory(
    "a built-in interface: needs no file",
    Effect.gen(function* () {
      const { manager } = makeLibrary()
      yield* serve(manager)
      const { code, stdout } = yield* callisto(["call", place, "mgmt", "is_server_listening", "--json"])
      assert.deepStrictEqual([code, stdout], [0, '{"status":0,"listening":1}\n'])
    })
  )

  for (
    const [name, json, said] of [
      ["text for a number", '{"desk": null, "size": "eight"}', 'Fill: no "desk" is there, expected size.'],
      [
        "text for a number",
        '{"size": "eight"}',
        'Fill.size: got "eight", expected Uint32: an integer from 0 to 4294967295.'
      ],
      ["a number that is too large", '{"size": 4294967296}', "Fill.size: got 4294967296, expected Uint32"],
      ["nothing", "{}", "Fill.size: got nothing, expected Uint32"],
      ["a list", "[1]", "Fill: got [1], expected an object."]
    ] as const
  ) {
    inMemory(
      `${name} (${json}): a sentence that names the place, and exit code 2`,
      Effect.gen(function* () {
        const { code, stderr, stdout } = yield* callisto(["call", place, "library.idl", "Fill", json])
        assert.deepStrictEqual([code, stdout], [2, ""])
        assert.include(stderr, `error: ${said}`)
        assert.include(stderr, "callisto describe library.idl Fill shows what it takes.")
      })
    )
  }

  for (
    const [json, said] of [
      [
        '{"details": {"case": "Lost"}}',
        'Describe.details.case: got "Lost", expected one of Book, Map, Record, or a default'
      ],
      ['{"details": {"case": "Book", "value": {"Id": "x"}}}', 'Describe.details.value.Id: got "x", expected a UUID.'],
      [
        '{"details": {"case": "Map", "value": 9007199254740993}}',
        "Describe.details.value: got 9007199254740993, and JSON numbers of this size are not exact."
      ],
      [
        '{"details": {"case": "Book", "value": {"Pages": 1}}}',
        "Describe.details.value.Pages: it follows from PageNumbers. Leave it out."
      ]
    ] as const
  ) {
    inMemory(
      `a wrong value inside (${json}): a sentence that names the place`,
      Effect.gen(function* () {
        const { manager } = makeLibrary()
        yield* serve(manager)
        const input = JSON.stringify({ level: 1, ...JSON.parse(json) }).replace("9007199254740992", "9007199254740993")
        const { code, stderr } = yield* callisto([
          "call",
          place,
          "library.idl",
          "OpenDesk",
          '{"access":1}',
          "Describe",
          input,
          "--json"
        ])
        assert.strictEqual(code, 2)
        assert.include(JSON.parse(stderr).error.message, said)
      })
    )
  }

  inMemory(
    "a server that is not there: exit code 3; an interface that it does not have: 1",
    Effect.gen(function* () {
      assert.strictEqual(
        (yield* callisto(["call", "ncacn_memory:[nobody]", "library.idl", "Fill", '{"size": 1}'])).code,
        3
      )
      const { manager } = makeLibrary()
      yield* serve(manager)
      const { code, stderr } = yield* callisto(["call", place, "b.idl", "Good", '{"n": 1}'], {
        "b.idl": broken,
        "shared.idl": shared
      })
      assert.deepStrictEqual([code, stderr.slice(0, 11)], [1, "error: 1717"])
    })
  )

  it.live("over TCP, with a login: the endpoint of the IDL stands in, and the server knows the caller", () =>
    Effect.gen(function* () {
      const callers: Array<string | undefined> = []
      const Echo = Idl.describe({ "e.idl": echo("4") }, "e.idl").interfaces["echo"]!
      const manager = Manager.make(Echo, {
        Twice: ({ n }: { readonly n: number }, call: never) =>
          Effect.sync(() => {
            callers.push(`${ServerCall.caller(call).name}, ${ServerCall.caller(call).level}`)
            return { result: 2 * n }
          })
      } as never) as unknown as Manager.Manager<any, Scope.Scope>
      const accounts: Ntlm.Accounts = ({ user }) =>
        user === "alice" ? { ntHash: Ntlm.hash(Redacted.make("correct horse")) } : undefined
      const { address } = yield* serve(manager, "ncacn_ip_tcp:127.0.0.1[0]", { security: [Ntlm.server(accounts)] })
      const texts = { "e.idl": echo(address.endpoint!) }
      const login = ["--user", "alice", "--password-file", "p", "--level", "privacy", "--provider", "ntlm"]
      const { code, stderr, stdout } = yield* callisto([
        "call",
        ...login,
        "ncacn_ip_tcp:127.0.0.1",
        "e.idl",
        "Twice",
        '{"n": 21}',
        "--json"
      ], texts)
      assert.deepStrictEqual([code, stderr, stdout], [0, "", '{"result":42}\n'])
      assert.deepStrictEqual(callers, ["alice, privacy"])
    }).pipe(Effect.scoped, Effect.provide(NodeTransport.layer)))
})

const numbersIdl = `[uuid(6bffd098-a112-3610-9833-46c3f8745330)] interface numbers {
  void Signed([in] small a, [in] short b, [in] long c, [in] hyper d);
  void Real([in] double r);
}`

describe("callisto call, before the first call", () => {
  const later: ReadonlyArray<readonly [name: string, said: string, ...words: ReadonlyArray<string>]> = [
    ["a wrong input", 'Fill.size: got "x", expected Uint32', "Fill", '{"size": "x"}'],
    ["an input that is no JSON", "The input is no JSON: ", "Fill", "{size: 1}"],
    ["a method that is not there", 'library.idl: no method "Fil"', "Fil"],
    ["a number out of its range", "Lend: count: 0, and the range is 1 to 8", "Lend"],
    ["a value that NDR refuses", "OpenDesk: ", "OpenDesk", '{"server": "a\\u0000b", "access": 1}']
  ]
  for (const [name, said, ...words] of later) {
    inMemory(
      `${name} of a later method: no method is called`,
      Effect.gen(function* () {
        const { got, manager } = makeLibrary()
        yield* serve(manager)
        const opened = ["OpenDesk", '{"access": 1}', "CloseDesk"]
        const { code, stderr, stdout } = yield* callisto(["call", place, "library.idl", ...opened, ...words])
        assert.deepStrictEqual([code, stdout, got], [2, "", {}])
        assert.include(stderr, said)
      })
    )
  }
})

describe("numbers of JSON", () => {
  const numbers = (method: string, json: string) =>
    callisto(["call", "ncacn_memory:[nobody]", "n.idl", method, json], { "n.idl": numbersIdl })

  inMemory(
    "a number out of range: is shown as it was written",
    Effect.gen(function* () {
      const of = (c: string, d = "0") => `{"a": 0, "b": 0, "c": ${c}, "d": ${d}}`
      for (
        const [json, said] of [
          [of("1e400"), "Signed.c: got 1e400, expected Int32: an integer from -2147483648 to 2147483647."],
          [of("-1e400"), "Signed.c: got -1e400, expected Int32"],
          [of("100000000000000000000001"), "Signed.c: got 100000000000000000000001, expected Int32"],
          [of("0", "1e400"), "Signed.d: got 1e400, expected Int64"],
          [of("0", "9007199254740993"), "Signed.d: got 9007199254740993, and JSON numbers of this size are not exact."]
        ] as const
      ) {
        const { code, stderr } = yield* numbers("Signed", json)
        assert.strictEqual(code, 2)
        assert.include(stderr, `error: ${said}`)
      }
      const real = yield* numbers("Real", '{"r": 1e400}')
      assert.include(real.stderr, 'error: Real.r: got 1e400, expected Double: a number, or "Infinity", "-Infinity" or')
      assert.strictEqual((yield* numbers("Real", '{"r": 1e300}')).code, 3)
    })
  )

  it("hexadecimal text of the whole width: is the bits of a signed number", () => {
    const { document } = Idl.parse({ "n.idl": numbersIdl }, "n.idl")
    const [signed] = document.interfaces[0]!.operations
    const read = (input: unknown) => new Values(document, new Map()).input(signed!, input).input
    assert.deepStrictEqual(read({ a: "0xff", b: "0x8000", c: "0x80070005", d: "0xffffffffffffffff" }), {
      a: -1,
      b: -32768,
      c: -2147024891,
      d: -1n
    })
    assert.deepStrictEqual(read({ a: "0x7f", b: "0xff", c: "0xffff", d: "0xffffffff" }), {
      a: 127,
      b: 255,
      c: 65535,
      d: 0xffffffffn
    })
    for (const c of ["0x180070005", "-0x80070005", "0x080070005"]) {
      assert.throws(() => read({ a: 0, b: 0, c, d: 0 }), "Signed.c: got ")
    }
  })
})

describe("what is missing or mistyped", () => {
  const words: ReadonlyArray<readonly [said: string, advice: string, ...args: ReadonlyArray<string>]> = [
    [
      "BINDING is missing: library.idl is no string binding.",
      "callisto call BINDING FILE METHOD",
      "call",
      "library.idl",
      "Fill",
      "{}"
    ],
    [
      "BINDING is missing: mgmt is no string binding.",
      "callisto call BINDING FILE METHOD",
      "call",
      "mgmt",
      "inq_if_ids"
    ],
    ["FILE is missing: Fill is no IDL file", "callisto call BINDING FILE METHOD", "call", place, "Fill", "{}"],
    ["METHOD is missing: nothing stands behind mgmt.", "callisto call BINDING FILE METHOD", "call", place, "mgmt"],
    [
      'METHOD is missing: {} stands behind {"size":1}',
      "callisto call BINDING FILE METHOD",
      "call",
      place,
      "library.idl",
      "Fill",
      '{"size":1}',
      "{}"
    ],
    ["shapes.ts: it is a module already.", "takes an IDL file", "import", "shapes.ts"],
    ["mgmt: it is a built-in interface already.", "takes an IDL file", "import", "mgmt"],
    ["It is an option of callisto ping.", "callisto stats", "stats", place, "--count", "1"],
    ["Did you mean this? --timeout.", "callisto stats", "stats", place, "--timeot", "1s"],
    ["Did you mean this? --include.", "callisto check", "check", "a", "b", "--includ", "x"],
    ["Did you mean this? describe.", "callisto", "descirbe", "library.idl"],
    ["The commands are dump, map, ", "callisto", "list"],
    [
      'the protocol sequence "ncacn_np" is not one of ncacn_ip_tcp, ',
      'Named pipes are not supported yet: use ncacn_ip_tcp or ncalrpc. callisto dump "ncacn_ip_tcp:files" lists',
      "stats",
      "ncacn_np:\\\\files[\\pipe\\srvsvc]"
    ]
  ]
  for (const [said, advice, ...args] of words) {
    inMemory(
      `callisto ${args.join(" ")}: ${said}`,
      Effect.gen(function* () {
        const { code, stderr, stdout, written } = yield* callisto([...args, "--json"])
        assert.deepStrictEqual([code, stdout, written], [2, "", {}])
        const { error } = JSON.parse(stderr)
        assert.include(error.message, said)
        assert.include(error.advice, advice)
      })
    )
  }

  inMemory(
    "callisto call --help: METHOD is shown as needed",
    Effect.gen(function* () {
      const { stdout } = yield* callisto(["call", "--help"])
      assert.include(stdout, "<BINDING> <FILE> <METHOD [JSON]...>")
      assert.notInclude(stdout, "(optional)")
      const { stderr } = yield* callisto(["call"])
      assert.include(stderr, "<BINDING> <FILE> <METHOD [JSON]...>, which")
    })
  )

  inMemory(
    "parameters that the server reads otherwise: the advice is about the method and its file",
    Effect.gen(function* () {
      const { manager } = makeLibrary()
      yield* serve(manager)
      const other = library.replace(/DWORD Fill\([^;]*;/, "DWORD Fill();").replace(
        /long Lend\([^;]*;/,
        "DWORD Lend(); DWORD More();"
      )
      const { stderr } = yield* callisto(["call", place, "other.idl", "Fill"], { "other.idl": other })
      assert.match(stderr, /^error: 1783 [^\n]*\ntry: {3}The server and other\.idl describe Fill differently/)
      const last = yield* callisto(["call", place, "other.idl", "More"], { "other.idl": other })
      assert.match(last.stderr, /^error: 1745 [^\n]*\ntry: {3}The server has no method \d+: look whether other\.idl is/)
    })
  )

  it("what Deno does not allow: names the flag, and is wrong usage", () => {
    const denied = { _tag: "Failure" as const, exitCode: 3, status: { number: 1722 }, advice: "Look." }
    const tcp = withPermission({
      ...denied,
      message: 'ncacn_ip_tcp:h[1]: Requires net access to "h:1", run again with the --allow-net flag.'
    })
    assert.deepStrictEqual(tcp, {
      _tag: "Failure",
      exitCode: 2,
      message: 'ncacn_ip_tcp:h[1]: Requires net access to "h:1".',
      advice: "Add --allow-net behind deno run."
    })
    const socket = withPermission({
      ...denied,
      message: 'ncalrpc:[s]: Requires read access to "s", run again with the --allow-read flag.'
    })
    assert.include(socket.advice, "A Unix socket needs --allow-read, --allow-write and --allow-net.")
    assert.deepStrictEqual(withPermission({ ...denied, message: "nobody listens." }).exitCode, 3)
  })
})

const echo = (port: string): string => `
  [uuid(a1b8f3d0-55c1-4d2e-8a67-3d0f0f1c2b90), version(1.0), endpoint("ncacn_ip_tcp:[${port}]")]
  interface echo { long Twice([in] long n); }`

describe("callisto check", () => {
  const texts = { "new.idl": library.replace("Lent } STATE", "Gone = 7 } STATE") }

  inMemory(
    "no change: exit code 0",
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* callisto(["check", "library.idl", "library.idl"])
      assert.deepStrictEqual([code, stderr, stdout], [0, "", "Nothing changed on the wire.\n"])
    })
  )

  inMemory(
    "a member that is gone: exit code 1, and the place",
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* callisto(["check", "library.idl", "new.idl"], texts)
      assert.strictEqual(code, 1)
      assert.include(stdout, "breaking    library.Find, out.items[].State: Lent of STATE was removed; it was 1.\n")
      assert.match(stderr, /^error: new\.idl breaks clients of library\.idl: \d breaking changes?\. \(ExitCode1\)\n/)
      const { breaking, changes } = JSON.parse(
        (yield* callisto(["check", "library.idl", "new.idl", "--json"], texts)).stdout
      )
      assert.strictEqual(breaking, changes.filter((change: { readonly breaks: boolean }) => change.breaks).length)
    })
  )

  inMemory(
    "a module against IDL: is compared too",
    Effect.gen(function* () {
      const shapes =
        "[uuid(7b9d8d0e-1d55-4b0c-9a64-0f4a3c3c9d10), version(1.1)] interface Shapes { void Draw(); void Erase(); }"
      const { code, stdout } = yield* callisto(["check", "shapes.ts", "s.idl"], { "s.idl": shapes })
      assert.strictEqual(code, 0)
      assert.include(stdout, "compatible  Shapes: its minor version was raised from 1.0 to 1.1.\n")
      assert.include(stdout, "compatible  Shapes.Erase: the method was added with the number 1.\n")
    })
  )
})

describe("the last line of callisto check", () => {
  const of = (body: string) => `[uuid(0d3c5f3e-51ab-4c4f-a0d7-6f5d0a8b7c22), version(1.0)] interface i { ${body} }`
  for (
    const [now, said] of [
      ["void A([in] long a); void B([in] long b); void C();", "1 change, which breaks no old client."],
      ["void A([in] short a); void B([in] long b);", "1 change, which breaks old clients."],
      ["void A([in] short a); void B([in] short b);", "2 changes, which all break old clients."],
      ["void A([in] short a); void B([in] long b); void C();", "2 changes, of which 1 breaks old clients."],
      ["void A([in] long x); void B([in] long y);", "2 changes, of which none breaks old clients."],
      ["void A([in] short a); void B([in] short b); void C();", "3 changes, of which 2 break old clients."]
    ] as const
  ) {
    inMemory(
      `${now}: ${said}`,
      Effect.gen(function* () {
        const { stdout } = yield* callisto(["check", "old.idl", "new.idl"], {
          "old.idl": of("void A([in] long a); void B([in] long b);"),
          "new.idl": of(now)
        })
        assert.strictEqual(stdout.trimEnd().split("\n").at(-1), said)
      })
    )
  }
})

describe("completions", () => {
  for (
    const [shell, said] of [["bash", "complete -F _callisto_with_methods callisto"], ["zsh", ":_callisto_methods'"], [
      "fish",
      "(__callisto_methods)"
    ]] as const
  ) {
    inMemory(
      `${shell}: asks for the methods of the file`,
      Effect.gen(function* () {
        const { code, stdout } = yield* callisto(["--completions", shell])
        assert.strictEqual(code, 0)
        assert.include(stdout, said)
        assert.include(stdout, "--names 2>/dev/null")
      })
    )
  }

  inMemory(
    "--names: the methods, one a line",
    Effect.gen(function* () {
      const { stdout } = yield* callisto(["describe", "library.idl", "--names"])
      assert.strictEqual(stdout, "OpenDesk\nCloseDesk\nFind\nDescribe\nGetName\nFill\nCompare\nCopy\nNotify\nLend\n")
    })
  )
})

describe("completions in a shell", () => {
  const has = (shell: string) => process.platform !== "win32" && spawnSync(shell, ["-c", "exit 0"]).status === 0

  /** What a shell offers behind these words, in a folder with a file of each kind. */
  const offered = (shell: string, script: string, line: ReadonlyArray<string>): ReadonlyArray<string> => {
    // fish offers flags behind a space too.
    const isMeant = (word: string): boolean => word !== "" && (!word.startsWith("-") || !line.at(-1)!.endsWith(" "))
    const folder = mkdtempSync(join(tmpdir(), "callisto-"))
    try {
      mkdirSync(join(folder, "sub"))
      for (const name of ["a.idl", "B.IDL", "c.txt", "d.ts"]) writeFileSync(join(folder, name), "")
      writeFileSync(join(folder, ".script"), script)
      const text = shell === "fish" ? 'source .script; complete -C "$argv"' : `source .script
          complete -p callisto > .registered && grep -q _callisto .registered || exit 1
          COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=\${#COMP_LINE}
          _callisto_with_methods callisto "\${COMP_WORDS[COMP_CWORD]}" "\${COMP_WORDS[COMP_CWORD - 1]}"
          printf '%s\\n' "\${COMPREPLY[@]}"`
      const { stderr, stdout } = spawnSync(shell, ["-c", text, ...(shell === "bash" ? ["bash"] : []), ...line], {
        cwd: folder,
        encoding: "utf8"
      })
      assert.strictEqual(stderr, "")
      return stdout.split("\n").map((word) => word.split("\t")[0]!.replace(/\/$/, "")).filter(isMeant).sort()
    } finally {
      rmSync(folder, { recursive: true })
    }
  }

  const commands = [
    "call",
    "calls",
    "check",
    "demo",
    "describe",
    "dump",
    "import",
    "interfaces",
    "map",
    "ping",
    "stats",
    "watch"
  ]
  const levels = ["connect", "integrity", "packet", "privacy"]
  for (
    const [line, expected] of [
      [["--level", ""], levels],
      [["ping", "--level", ""], levels],
      [["--completions", "z"], ["zsh"]],
      [["--level", "privacy", ""], commands],
      [["import", ""], ["B.IDL", "a.idl", "sub"]],
      [["call", "b", ""], ["B.IDL", "a.idl", "d.ts", "sub"]],
      [["stats", "--k"], ["--kdc"]],
      [["import", "--ti"], ["--timeout"]],
      [["calls", ""], ["cancel", "forget", "list", "show"]],
      [["calls", "list", "--state", ""], ["ended", "finished", "handed-off", "ready", "running"]],
      [["calls", "list", "--database", "c"], ["c.txt"]],
      [["calls", "show", "--ti"], ["--timeout"]]
    ] as ReadonlyArray<[ReadonlyArray<string>, ReadonlyArray<string>]>
  ) {
    for (const shell of ["bash", "fish"]) {
      it.effect.skipIf(!has(shell))(
        `${shell}, behind callisto ${line.join(" ")}: ${expected.join(", ")}`,
        () =>
          Effect.gen(function* () {
            const { stdout } = yield* callisto(["--completions", shell])
            const words = ["callisto", ...line]
            assert.deepStrictEqual(offered(shell, stdout, shell === "fish" ? [words.join(" ")] : words), expected)
          }).pipe(Effect.provide(Memory.layer))
      )
    }
  }

  it.effect.skipIf(!has("zsh"))("zsh: the script is one, with global flags and filters", () =>
    Effect.gen(function* () {
      const { stdout } = yield* callisto(["--completions", "zsh"])
      assert.strictEqual(spawnSync("zsh", ["-n"], { input: stdout, encoding: "utf8" }).stderr, "")
      assert.match(stdout, /--level\[[^\n]*:value:\(connect packet integrity privacy\)/)
      assert.include(stdout, `:The IDL file:_files -g "*.(#i)idl"'`)
    }).pipe(Effect.provide(Memory.layer)))
})

// ----------------------------------------------------------------------------
// the tool as a process
// ----------------------------------------------------------------------------

const program = fileURLToPath(new URL("../../src/cli.ts", import.meta.url))
const command = process.versions["deno"] ? ["run", "-A", program] : [program]

/** Starts the entry point on this runtime. */
const start = (args: ReadonlyArray<string>, stdin = "") => {
  const child = spawn(process.execPath, [...command, ...args], { stdio: ["pipe", "pipe", "pipe"] })
  const written = { stdout: "", stderr: "" }
  child.stdout.on("data", (data) => written.stdout += data)
  child.stderr.on("data", (data) => written.stderr += data)
  child.stdin.end(stdin)
  const ended = new Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>((
    resolve
  ) => child.once("close", (code) => resolve({ code, ...written })))
  return { child, ended: Effect.promise(() => ended) }
}

describe("callisto with files, as a process", () => {
  const inFolder = (name: string, test: (folder: string) => Effect.Effect<void, unknown, Scope.Scope | Transport>) =>
    it.live(name, () =>
      Effect.gen(function* () {
        const folder = mkdtempSync(join(tmpdir(), "callisto-"))
        yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
        yield* test(folder)
      }).pipe(Effect.scoped, Effect.provide(NodeTransport.layer)), 60_000)

  inFolder("an import in another case: is found, and the module is written", (folder) =>
    Effect.gen(function* () {
      mkdirSync(join(folder, "inc"))
      writeFileSync(join(folder, "b.idl"), broken)
      writeFileSync(join(folder, "inc", "SHARED.IDL"), `${shared} typedef long NOBODY;`)
      const { code, stderr, stdout } = yield* start(["import", join(folder, "b.idl"), "--include", join(folder, "inc")])
        .ended
      assert.deepStrictEqual([code, stderr, stdout], [
        0,
        "",
        "broken 2.1: 2 of 2 operations, 0 types. Left out: none.\n"
      ])
      assert.include(readFileSync(join(folder, "b.ts"), "utf8"), "Bad: Interface.method")
    }))

  inFolder("a folder, and a file that is too large: a sentence", (folder) =>
    Effect.gen(function* () {
      const asFolder = yield* start(["describe", folder]).ended
      assert.deepStrictEqual([asFolder.code, asFolder.stderr.split("\n")[0]], [
        2,
        `error: ${folder}: it is a folder. (ExitCode2)`
      ])
      const large = join(folder, "large.idl")
      writeFileSync(large, new Uint8Array(16 * 1024 * 1024 + 1))
      const asLarge = yield* start(["describe", large]).ended
      assert.deepStrictEqual([asLarge.code, asLarge.stderr.split("\n")[0]], [
        2,
        `error: ${large}: more than 16 MiB. (ExitCode2)`
      ])
    }))

  inFolder("SIGINT: cancels the call on the server", (folder) =>
    Effect.gen(function* () {
      const [begun, cancelled] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const Echo = Idl.describe({ "e.idl": echo("4") }, "e.idl").interfaces["echo"]!
      const manager = Manager.make(Echo, {
        Twice: () =>
          Deferred.succeed(begun, undefined).pipe(
            Effect.andThen(Effect.never),
            Effect.onInterrupt(() => Deferred.succeed(cancelled, undefined))
          )
      } as never) as unknown as Manager.Manager<any, Scope.Scope>
      const { address } = yield* serve(manager, "ncacn_ip_tcp:127.0.0.1[0]")
      writeFileSync(join(folder, "e.idl"), echo("4"))
      const { child, ended } = start(
        ["call", StringBinding.print(address), join(folder, "e.idl"), "Twice", "-"],
        '{"n": 1}'
      )
      yield* Deferred.await(begun)
      process.kill(child.pid!, "SIGINT")
      yield* Deferred.await(cancelled)
      assert.deepStrictEqual(yield* ended, {
        code: 130,
        stdout: "",
        stderr: "warn: Interrupted: the call of Twice was cancelled.\n"
      })
    }))
})
