import { assert, describe, it } from "@effect/vitest"
import {
  ConfigProvider,
  Console,
  Deferred,
  type Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Redacted,
  Result,
  Schema,
  type Scope,
  Sink,
  Stdio
} from "effect"
import { systemError } from "effect/PlatformError"
import { TestClock } from "effect/testing"
import { Buffer } from "node:buffer"
import { spawn, spawnSync, type StdioOptions } from "node:child_process"
import { closeSync, existsSync, openSync } from "node:fs"
import net from "node:net"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { Binding, ContextHandle, Interface, Manager, Server, ServerCall, Status } from "../mod.ts"
import { Passwords } from "../src/cli/Login.ts"
import { barStart, Latency, showMillis } from "../src/cli/Latency.ts"
import { run } from "../src/cli/Program.ts"
import { harmless } from "../src/cli/Screen.ts"
import * as Endpoint from "../src/dcerpc/Endpoint.ts"
import * as EndpointMapper from "../src/dcerpc/EndpointMapper.ts"
import * as Management from "../src/dcerpc/Management.ts"
import * as Ndr from "../src/ndr/Ndr.ts"
import * as Negotiate from "../src/security/Negotiate.ts"
import * as Ntlm from "../src/security/Ntlm.ts"
import * as StringBinding from "../src/transport/StringBinding.ts"
import * as Tower from "../src/dcerpc/Tower.ts"
import * as Memory from "../src/transport/Memory.ts"
import type * as Transport from "../src/transport/Transport.ts"
import * as NodeTransport from "../src/node.ts"
import { IRpcEcho, rpcEcho } from "../examples/rpcecho.ts"

// ----------------------------------------------------------------------------
// the tool in this process
// ----------------------------------------------------------------------------

interface Around {
  /** Which outputs are terminals. */
  readonly terminal?: "stdout" | "stderr"
  readonly env?: { readonly [name: string]: string }
}

/** The tool with what it has written so far. */
const makeTool = (args: ReadonlyArray<string>, { env = {}, terminal }: Around = {}) => {
  const written = { stdout: "", stderr: "" }
  const capture = (output: "stdout" | "stderr") => () =>
    Sink.forEach((chunk: string | Uint8Array) => Effect.sync(() => written[output] += String(chunk)))
  const services = Layer.merge(
    Stdio.layerTest({
      stdoutIsTerminal: Effect.succeed(terminal === "stdout"),
      stderrIsTerminal: Effect.succeed(terminal === "stderr"),
      stdout: capture("stdout"),
      stderr: capture("stderr")
    }),
    ConfigProvider.layer(ConfigProvider.fromEnv({ env }))
  )
  const console = { ...globalThis.console, error: (line: unknown) => written.stderr += `${line}\n` }
  return { written, run: Effect.provide(Effect.provideService(run(args), Console.Console, console), services) }
}

const callisto = (args: ReadonlyArray<string>, around?: Around) => {
  const tool = makeTool(args, around)
  return Effect.map(tool.run, (code) => ({ code, ...tool.written }))
}

const place = "ncacn_memory:[cli]"

type Routines = {
  readonly [K in keyof Management.Methods]: Manager.Routine<Management.Methods[K], Scope.Scope>
}

/** A management interface of which some routines are special. */
const management = (special: Partial<Routines>) =>
  Manager.make(Management.IManagement, {
    inq_if_ids: () => Effect.succeed({ if_id_vector: null, status: 0 }),
    inq_stats: () => Effect.succeed({ statistics: [], status: 0 }),
    is_server_listening: () => Effect.succeed({ status: 0, listening: 1 }),
    stop_server_listening: () => Effect.fail(new Status.RpcFault({ code: 5 })),
    inq_princ_name: () => Effect.succeed({ princ_name: "", status: 0 }),
    ...special
  } as Routines)

const serve = (manager: Manager.Manager<any, Scope.Scope> = rpcEcho, binding = place) =>
  Effect.gen(function* () {
    const server = yield* Server.make([manager], { grace: 0 })
    return yield* Endpoint.serve(server, binding)
  })

const inMemory = <A, E>(name: string, test: Effect.Effect<A, E, Scope.Scope | Transport.Transport>) =>
  it.effect(name, () => Effect.provide(test, Memory.layer))

/** Runs what is ready, on both sides. */
const settle = Effect.repeat(Effect.yieldNow, { times: 100 })

describe("callisto interfaces", () => {
  inMemory(
    "interfaces: lists them with the names and the documents of the known ones",
    Effect.gen(function* () {
      yield* serve()
      const { code, stderr, stdout } = yield* callisto(["interfaces", place])
      assert.deepStrictEqual(stdout.split("\n"), [
        "INTERFACE                             VERSION  NAME     DOCUMENT",
        `${IRpcEcho.uuid}  1.0      rpcecho`,
        `${Management.IManagement.uuid}  1.0      mgmt     C706`,
        ""
      ])
      assert.deepStrictEqual([code, stderr], [0, ""])
    })
  )

  inMemory(
    "interfaces --json: prints JSON, wherever the flag stands",
    Effect.gen(function* () {
      yield* serve()
      const expected = {
        binding: place,
        interfaces: [
          { uuid: IRpcEcho.uuid, version: "1.0", name: "rpcecho", document: null },
          { uuid: Management.IManagement.uuid, version: "1.0", name: "mgmt", document: "C706" }
        ]
      }
      for (const args of [["interfaces", place, "--json"], ["--json", "interfaces", place]]) {
        assert.deepStrictEqual(JSON.parse((yield* callisto(args)).stdout), expected)
      }
    })
  )
})

describe("callisto dump", () => {
  const parse = (text: string) => Result.getOrThrow(StringBinding.parse(text))

  /** Serves a mapper at which rpcecho is registered: at a host, at that of the mapper, and on this machine. */
  const serveMapper = Effect.fnUntraced(function* (binding: string) {
    const mappers = yield* Server.make([yield* EndpointMapper.makeManager()], { grace: 0 })
    const mapper = yield* Binding.local(mappers, EndpointMapper.IEndpointMapper)
    const server = yield* Server.make([rpcEcho], { grace: 0 })
    for (const address of ["ncacn_ip_tcp:10.0.0.1[8765]", "ncacn_ip_tcp:[8766]", "ncalrpc:[echo]"]) {
      yield* EndpointMapper.register(mapper, server, parse(address), { annotation: `at ${address}` })
    }
    return StringBinding.print((yield* Endpoint.serve(mappers, binding)).address)
  })

  it.effect("dump: lists the entries, those without a host at that of the mapper", () =>
    Effect.gen(function* () {
      const mapper = yield* serveMapper("ncacn_ip_tcp:127.0.0.1[0]")
      const { code, stderr, stdout } = yield* callisto(["dump", mapper])
      assert.deepStrictEqual(stdout.split("\n"), [
        "PROCESS  INTERFACE                             VERSION  NAME     DOCUMENT  BINDING                       ANNOTATION",
        `      1  ${IRpcEcho.uuid}  1.0      rpcecho            ncacn_ip_tcp:10.0.0.1[8765]   at ncacn_ip_tcp:10.0.0.1[8765]`,
        `      2  ${IRpcEcho.uuid}  1.0      rpcecho            ncacn_ip_tcp:127.0.0.1[8766]  at ncacn_ip_tcp:[8766]`,
        `      3  ${IRpcEcho.uuid}  1.0      rpcecho            ncalrpc:[echo]                at ncalrpc:[echo]`,
        ""
      ])
      assert.deepStrictEqual([code, stderr], [0, ""])
      const { binding, entries } = JSON.parse((yield* callisto(["dump", mapper, "--json"])).stdout)
      assert.deepStrictEqual([binding, entries.length], [mapper, 3])
      assert.deepStrictEqual(entries[1], {
        process: 2,
        uuid: IRpcEcho.uuid,
        version: "1.0",
        name: "rpcecho",
        document: null,
        binding: "ncacn_ip_tcp:127.0.0.1[8766]",
        object: null,
        annotation: "at ncacn_ip_tcp:[8766]"
      })
    }).pipe(Effect.scoped, Effect.provide(NodeTransport.layer)))

  type WireEntry = Interface.Method.Out<EndpointMapper.Methods["ept_lookup"]>["entries"]["elements"][number]

  const towerOf = (uuid: string) =>
    Tower.encode(Result.getOrThrow(Tower.make({
      interface: { uuid, version: [1, 0] },
      binding: parse("ncacn_ip_tcp:10.0.0.1[1]")
    })))

  const entry = (fields: Partial<WireEntry>): WireEntry => ({
    object: "00000000-0000-0000-0000-000000000000",
    tower: { tower_octet_string: towerOf("00000000-0000-0000-0000-00000000000a") },
    annotation: "",
    ...fields
  })

  /** A mapper that always has these entries, and them again and again if it is endless, after a pause. */
  const mapperWith = (elements: ReadonlyArray<WireEntry>, endless = false, pause: Duration.Input = 0) => {
    const refuse = () => Effect.fail(new Status.RpcFault({ code: 5 }))
    const lookups = ContextHandle.states<void>()(ContextHandle.make("ept_lookup_handle_t"))
    return Manager.make(EndpointMapper.IEndpointMapper, {
      ept_insert: refuse,
      ept_delete: refuse,
      ept_lookup: Effect.fnUntraced(function* ({ entry_handle, max_ents }, call) {
        if (entry_handle !== null) yield* Effect.sleep(pause)
        return {
          entry_handle: endless ? entry_handle ?? (yield* lookups.open(call, Effect.void)) : null,
          entries: { size: max_ents, elements },
          status: 0
        }
      }),
      ept_map: refuse,
      ept_lookup_handle_free: refuse,
      ept_inq_object: refuse,
      ept_mgmt_delete: refuse
    })
  }

  inMemory(
    "dump: shows objects where there are some",
    Effect.gen(function* () {
      const object = "00000000-0000-0000-0000-0000000000aa"
      const tower = { tower_octet_string: towerOf("00000000-0000-0000-0000-00000000000b") }
      yield* serve(mapperWith([entry({ object, tower }), entry({ annotation: "all" })]))
      assert.deepStrictEqual((yield* callisto(["dump", place])).stdout.split("\n"), [
        `PROCESS  INTERFACE                             VERSION  NAME  DOCUMENT  BINDING                   ${
          "OBJECT".padEnd(36)
        }  ANNOTATION`,
        `      1  00000000-0000-0000-0000-00000000000a  1.0                      ncacn_ip_tcp:10.0.0.1[1]  ${
          "".padEnd(36)
        }  all`,
        `      1  00000000-0000-0000-0000-00000000000b  1.0                      ncacn_ip_tcp:10.0.0.1[1]  ${object}`,
        ""
      ])
    })
  )

  inMemory(
    "dump: numbers the processes: those that share an endpoint, or differ in it alone, are one",
    Effect.gen(function* () {
      const at = (digit: string, where: string, annotation = "") =>
        entry({
          annotation,
          tower: {
            tower_octet_string: Tower.encode(Result.getOrThrow(Tower.make({
              interface: { uuid: `00000000-0000-0000-0000-00000000000${digit}`, version: [1, 0] },
              binding: parse(where)
            })))
          }
        })
      yield* serve(mapperWith([
        at("c", "ncalrpc:[three]"),
        at("a", "ncalrpc:[one]"),
        at("b", "ncalrpc:[two]"),
        at("d", "ncalrpc:[one]"),
        // Another instance of the second.
        at("b", "ncalrpc:[four]", "again"),
        // These two make one of what was known as two.
        at("e", "ncalrpc:[one]"),
        at("e", "ncalrpc:[three]")
      ]))
      const { entries } = JSON.parse((yield* callisto(["dump", place, "--json"])).stdout)
      assert.deepStrictEqual(
        entries.map(({ binding, process, uuid }: { readonly [key: string]: string }) =>
          `${process} ${uuid!.at(-1)} ${binding}`
        ),
        [
          "1 a ncalrpc:[one]",
          "1 c ncalrpc:[three]",
          "1 d ncalrpc:[one]",
          "1 e ncalrpc:[one]",
          "1 e ncalrpc:[three]",
          "2 b ncalrpc:[four]",
          "3 b ncalrpc:[two]"
        ]
      )
    })
  )

  inMemory(
    "dump: names the document of an interface of Windows",
    Effect.gen(function* () {
      const tower = { tower_octet_string: towerOf("12345778-1234-abcd-ef00-0123456789ac") }
      yield* serve(mapperWith([entry({ tower })]))
      const { entries } = JSON.parse((yield* callisto(["dump", place, "--json"])).stdout)
      assert.deepInclude(entries[0], { name: "samr", document: "MS-SAMR" })
    })
  )

  inMemory(
    "text of a server: can't touch the terminal",
    Effect.gen(function* () {
      yield* serve(mapperWith([entry({ annotation: "\x1b[2J\rnice\u009b" })]))
      const { stdout } = yield* callisto(["dump", place], { terminal: "stdout", env: { NO_COLOR: "1" } })
      assert.include(stdout, "\\u{1b}[2J\\u{d}nice\\u{9b}\n")
      assert.notMatch(stdout, /(?!\n)\p{Cc}/u)
    })
  )

  inMemory(
    "dump, an unreadable entry: warns of it, and shows the others",
    Effect.gen(function* () {
      yield* serve(mapperWith([entry({ tower: null, annotation: "broken" }), entry({ annotation: "whole" })]))
      const people = yield* callisto(["dump", place])
      assert.deepStrictEqual([people.code, people.stdout.split("\n").length], [0, 3])
      assert.match(people.stderr, /^warn: .*"broken".*\n$/)
      const programs = yield* callisto(["dump", place, "--json"])
      assert.strictEqual(JSON.parse(programs.stdout).entries.length, 1)
      assert.include(JSON.parse(programs.stderr).warn, "broken")
    })
  )

  inMemory(
    "dump, a mapper that goes on for ever: stops listening to it",
    Effect.gen(function* () {
      yield* serve(mapperWith(Array.from({ length: 100 }, () => entry({})), true))
      const { code, stderr, stdout } = yield* callisto(["dump", place])
      assert.deepStrictEqual([code, stdout.split("\n").length], [0, 20_002])
      assert.strictEqual(stderr, "warn: There are more entries: these are the first 20000.\n")
    })
  )

  inMemory(
    "dump on a terminal: says how far it is",
    Effect.gen(function* () {
      yield* serve(mapperWith([entry({}), entry({})], true, "10 seconds"))
      const tool = makeTool(["dump", place], { terminal: "stderr", env: { NO_COLOR: "1" } })
      yield* Effect.forkScoped(tool.run)
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(onScreen(tool.written.stderr), [
        `Asking ${place} for its entries, 2 so far, 2 s. Ctrl-C cancels.`,
        ""
      ])
    })
  )

  inMemory(
    "dump, no endpoint mapper: advises callisto interfaces",
    Effect.gen(function* () {
      yield* serve()
      const { code, stderr } = yield* callisto(["dump", place])
      assert.strictEqual(code, 1)
      assert.match(stderr, /^error: 1717 RPC_S_UNKNOWN_IF: .*\ntry: {3}callisto interfaces "ncacn_memory:\[cli\]" /)
    })
  )
})

describe("callisto map", () => {
  const parse = (text: string) => Result.getOrThrow(StringBinding.parse(text))
  const ordinary = (version: readonly [number, number]) =>
    Interface.make("Notes", { version, methods: { Add: Interface.method({ in: Schema.String }) } })
  const nobody = () => Effect.die("nobody calls")

  /** Serves a mapper at which an interface in NDR and two versions of one with ordinary schemas are registered. */
  const serveMapper = Effect.gen(function* () {
    const mappers = yield* Server.make([yield* EndpointMapper.makeManager()], { grace: 0 })
    const mapper = yield* Binding.local(mappers, EndpointMapper.IEndpointMapper)
    const register = Effect.fnUntraced(function* (manager: Manager.Manager<any, Scope.Scope>, address: string) {
      yield* EndpointMapper.register(mapper, yield* Server.make([manager], { grace: 0 }), parse(address))
    })
    yield* register(rpcEcho, "ncacn_ip_tcp:10.0.0.1[8765]")
    yield* register(rpcEcho, "ncalrpc:[echo]")
    yield* register(Manager.make(ordinary([1, 0]), { Add: nobody }), "ncacn_ip_tcp:10.0.0.1[1]")
    yield* register(Manager.make(ordinary([1, 2]), { Add: nobody }), "ncacn_ip_tcp:10.0.0.1[2]")
    yield* Endpoint.serve(mappers, place)
  })

  inMemory(
    "map: shows where an interface is served, in each version that the mapper knows",
    Effect.gen(function* () {
      yield* serveMapper
      const { code, stderr, stdout } = yield* callisto(["map", place, IRpcEcho.uuid.toUpperCase()])
      assert.deepStrictEqual(stdout.split("\n"), [
        "VERSION  BINDING",
        "1.0      ncacn_ip_tcp:10.0.0.1[8765]",
        ""
      ])
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.deepStrictEqual(
        JSON.parse((yield* callisto(["map", place, IRpcEcho.uuid, "--protocol", "ncalrpc", "--json"])).stdout),
        {
          binding: place,
          uuid: IRpcEcho.uuid,
          name: "rpcecho",
          document: null,
          endpoints: [{ version: "1.0", binding: "ncalrpc:[echo]" }]
        }
      )
    })
  )

  inMemory(
    "map: shows the servers that are compatible with a version, in Callisto's own syntax too",
    Effect.gen(function* () {
      yield* serveMapper
      const { uuid } = ordinary([1, 0])
      const endpointsOf = (sought: string) =>
        Effect.map(
          callisto(["map", place, sought, "--json"]),
          ({ stdout }) =>
            JSON.parse(stdout).endpoints.map(({ binding, version }: { readonly [key: string]: string }) =>
              `${version} ${binding}`
            )
        )
      const [first, second] = ["ncacn_ip_tcp:10.0.0.1[1]", "ncacn_ip_tcp:10.0.0.1[2]"]
      assert.deepStrictEqual(yield* endpointsOf(`${uuid}/1.1`), [`1.1 ${second}`])
      assert.deepStrictEqual(yield* endpointsOf(uuid), [`1.0 ${first}`, `1.0 ${second}`, `1.2 ${second}`])
    })
  )

  inMemory(
    "nobody serves the interface: fails with 1753",
    Effect.gen(function* () {
      yield* serveMapper
      for (
        const [sought, told] of [
          [`${IRpcEcho.uuid}/2.0`, "no server of version 2.0 for ncacn_ip_tcp"],
          [
            "00000000-0000-0000-0000-00000000000a",
            "for the interface without a name (00000000-0000-0000-0000-00000000000a): the endpoint mapper knows no server of any version for ncacn_ip_tcp"
          ]
        ] as const
      ) {
        const { code, stderr, stdout } = yield* callisto(["map", place, sought])
        assert.deepStrictEqual([code, stdout], [1, ""])
        assert.include(stderr, "error: 1753 EPT_S_NOT_REGISTERED: ")
        assert.include(stderr, told)
      }
    })
  )

  inMemory(
    "map, no UUID or no version behind it: is wrong usage",
    Effect.gen(function* () {
      for (const sought of ["rpcecho", `${IRpcEcho.uuid}/1`, `${IRpcEcho.uuid}/1.99999`]) {
        const { code, stderr } = yield* callisto(["map", place, sought])
        assert.strictEqual(code, 2)
        assert.include(stderr, `Expected a UUID, or a UUID with a version like /1.0, got "${sought}"`)
      }
    })
  )
})

describe("callisto stats", () => {
  inMemory(
    "stats: shows how much a server has received and sent, the question included",
    Effect.gen(function* () {
      yield* serve()
      const { code, stderr, stdout } = yield* callisto(["stats", place])
      assert.deepStrictEqual(stdout.split("\n"), [
        "STATISTIC         COUNT",
        "calls received        1",
        "calls made            0",
        "packets received      2",
        "packets sent          1",
        ""
      ])
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.deepStrictEqual(JSON.parse((yield* callisto(["stats", place, "--json"])).stdout), {
        binding: place,
        callsIn: 2,
        callsOut: 0,
        packetsIn: 4,
        packetsOut: 3
      })
    })
  )

  inMemory(
    "stats, a number that a server does not count: null",
    Effect.gen(function* () {
      yield* serve(management({ inq_stats: () => Effect.succeed({ statistics: [7], status: 0 }) }))
      const { stdout } = yield* callisto(["stats", place, "--json"])
      assert.deepStrictEqual(JSON.parse(stdout), {
        binding: place,
        callsIn: 7,
        callsOut: null,
        packetsIn: null,
        packetsOut: null
      })
      assert.strictEqual((yield* callisto(["stats", place])).stdout.split("\n").length, 3)
    })
  )

  inMemory(
    "the server refuses the standard form with 1783: asks in that of Samba, with four bytes more",
    Effect.gen(function* () {
      const Samba = Interface.make("mgmt", {
        uuid: Management.IManagement.uuid,
        version: [1, 0],
        methods: {
          inq_stats: Interface.method({
            opnum: 1,
            in: { count: Ndr.Uint32, unknown: Ndr.Uint32 },
            out: { count: Ndr.sizeIs("statistics"), statistics: Ndr.conformant(Ndr.Uint32), status: Ndr.Uint32 }
          })
        }
      })
      yield* serve(Manager.make(Samba, {
        inq_stats: ({ count }) => Effect.succeed({ statistics: [1, 2, 3, 4].slice(0, count), status: 0 })
      }))
      const { code, stderr, stdout } = yield* callisto(["stats", place, "--json"])
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.deepStrictEqual(JSON.parse(stdout), {
        binding: place,
        callsIn: 1,
        callsOut: 2,
        packetsIn: 3,
        packetsOut: 4
      })
    })
  )
})

describe("a login", () => {
  const password = Redacted.make("correct horse")
  const accounts: Ntlm.Accounts = ({ user }) => user === "alice" ? { ntHash: Ntlm.hash(password) } : undefined

  const files: { readonly [path: string]: string | Uint8Array } = {
    right: "correct horse\n",
    bare: "correct horse",
    ofWindows: "\ufeffcorrect horse\r\n",
    empty: "",
    blank: "\r\n",
    lines: "correct horse\nbattery staple\n",
    utf16: Buffer.from("\ufeffcorrect horse\r\n", "utf16le"),
    unmarked: Buffer.from("correct horse", "utf16le"),
    latin: Uint8Array.of(0x63, 0xe9)
  }

  const passwords = {
    file: (path: string) =>
      path in files ? Effect.succeed(Buffer.from(files[path]!)) : Effect.fail(`${path} can't be read`),
    prompt: (question: string) => Effect.succeed(question === "Password of alice: " ? "correct horse" : "wrong")
  }

  const asAlice = (...options: ReadonlyArray<string>) =>
    Effect.provideService(
      callisto(["ping", "--count", "1", "--user", "alice", ...options, place]),
      Passwords,
      passwords
    )

  const serveAccounts = Effect.gen(function* () {
    const server = yield* Server.make([rpcEcho], { grace: 0 })
    yield* Endpoint.serve(server, place, { security: [Ntlm.server(accounts), Negotiate.server({ ntlm: accounts })] })
  })

  for (
    const [options, as] of [
      [[], "as alice, integrity, NTLM"],
      [["--domain", "CORP", "--level", "privacy"], "as CORP\\alice, privacy, NTLM"],
      [["--provider", "ntlm", "--password-file", "right"], "as alice, integrity, NTLM"],
      [["--password-file", "bare"], "as alice, integrity, NTLM"],
      [["--password-file", "ofWindows"], "as alice, integrity, NTLM"],
      [["--level", "connect"], "as alice, connect, NTLM"]
    ] as ReadonlyArray<[ReadonlyArray<string>, string]>
  ) {
    inMemory(
      `ping --user alice ${options.join(" ")}: tells who it was, and the level`,
      Effect.gen(function* () {
        yield* serveAccounts
        const { code, stderr, stdout } = yield* asAlice(...options)
        assert.deepStrictEqual([code, stderr], [0, ""])
        assert.strictEqual(stdout.split("\n")[0], as)
      })
    )
  }

  inMemory(
    "ping --json: has the caller",
    Effect.gen(function* () {
      yield* serveAccounts
      const { stdout } = yield* asAlice("--json")
      const { caller } = JSON.parse(stdout.trim().split("\n").at(-1)!)
      assert.deepStrictEqual(caller, { user: "alice", domain: null, level: "integrity", provider: "NTLM" })
    })
  )

  for (
    const [name, options, code, said] of [
      [
        "a password file that is not there",
        ["--password-file", "gone"],
        2,
        "The password is missing: gone can't be read."
      ],
      ["an empty password file", ["--password-file", "empty"], 2, "The password is missing: empty is empty."],
      ["a password file with an empty line", ["--password-file", "blank"], 2, "blank is empty."],
      ["a password file of two lines", ["--password-file", "lines"], 2, "lines has more than one line."],
      ["a password file in UTF-16", ["--password-file", "utf16"], 2, "utf16 is no text in UTF-8."],
      ["a password file in UTF-16 without its mark", ["--password-file", "unmarked"], 2, "is no text in UTF-8."],
      ["a password file in Latin 1", ["--password-file", "latin"], 2, "latin is no text in UTF-8."],
      ["Kerberos without a KDC", ["--provider", "kerberos"], 2, "Kerberos needs its key distribution centre."],
      ["a KDC for NTLM", ["--provider", "ntlm", "--kdc", "ncacn_ip_tcp:dc"], 2, "--kdc has no effect on NTLM."],
      ["a KDC without a realm", ["--kdc", "ncacn_ip_tcp:dc"], 2, "Kerberos needs the realm of the user."]
    ] as ReadonlyArray<[string, ReadonlyArray<string>, number, string]>
  ) {
    inMemory(
      `${name}: exits with ${code} and says so`,
      Effect.gen(function* () {
        yield* serveAccounts
        const answer = yield* asAlice(...options)
        assert.strictEqual(answer.code, code)
        assert.include(answer.stderr, said)
        assert.notInclude(answer.stderr, "correct horse")
      })
    )
  }

  inMemory(
    "a wrong password: exits with 1, with 5 and what to try",
    Effect.gen(function* () {
      yield* serveAccounts
      const { code, stderr } = yield* Effect.provideService(
        callisto(["interfaces", "--user", "bob", place]),
        Passwords,
        passwords
      )
      assert.strictEqual(code, 1)
      assert.include(stderr, "5 ERROR_ACCESS_DENIED")
      assert.include(stderr, "Check --user and --domain, and the password.")
    })
  )

  inMemory(
    "options of a login without a user: exit with 2",
    Effect.gen(function* () {
      const { code, stderr } = yield* callisto(["stats", "--level", "privacy", place])
      assert.strictEqual(code, 2)
      assert.include(stderr, "--level has no effect without --user.")
    })
  )
})

describe("callisto ping", () => {
  /** Answers its calls after so many milliseconds, then refuses. */
  const slow = (millis: ReadonlyArray<number>) => {
    let call = 0
    return management({
      is_server_listening: () => {
        const delay = millis[call++]
        return delay === undefined
          ? Effect.fail(new Status.RpcFault({ code: 5 }))
          : Effect.delay(Effect.succeed({ status: 0, listening: 1 }), delay)
      }
    })
  }

  /** Starts the tool, and lets so many milliseconds pass, one after another. */
  const runFor = Effect.fnUntraced(function* (
    tool: { readonly run: Effect.Effect<number, never, Transport.Transport> },
    millis: ReadonlyArray<number>
  ) {
    const fiber = yield* Effect.forkScoped(tool.run)
    for (const step of millis) {
      yield* settle
      yield* TestClock.adjust(step)
    }
    yield* settle
    return fiber
  })

  inMemory(
    "ping: measures rounds, and ends after --count of them",
    Effect.gen(function* () {
      yield* serve(slow([10, 20, 30, 40]))
      const tool = makeTool(["ping", "--count", "4", "--interval", "0", place])
      const fiber = yield* runFor(tool, [10, 0, 20, 0, 30, 0, 40])
      assert.strictEqual(yield* Fiber.join(fiber), 0)
      assert.deepStrictEqual(tool.written.stdout.split("\n"), [
        "4 rounds            MIN  MEDIAN    P95    P99    MAX",
        "connect and bind   0 µs    0 µs   0 µs   0 µs   0 µs",
        "call              10 ms   20 ms  40 ms  40 ms  40 ms",
        ""
      ])
      assert.strictEqual(tool.written.stderr, "")
    })
  )

  inMemory(
    "ping: pauses between rounds, for a second or as long as asked",
    Effect.gen(function* () {
      for (
        const [interval, millis] of [[[], 1000], [["--interval", "250ms"], 250], [
          ["--interval", "2m"],
          120_000
        ]] as const
      ) {
        let calls = 0
        const server = management({
          is_server_listening: () => Effect.sync(() => (calls++, { status: 0, listening: 1 }))
        })
        yield* Effect.scoped(Effect.gen(function* () {
          yield* serve(server)
          const fiber = yield* runFor(makeTool(["ping", place, "--count", "2", ...interval]), [millis - 1])
          assert.strictEqual(calls, 1)
          yield* TestClock.adjust(1)
          assert.strictEqual(yield* Fiber.join(fiber), 0)
          assert.strictEqual(calls, 2)
        }))
      }
    })
  )

  inMemory(
    "ping --json: a line for each round, and one for the summary",
    Effect.gen(function* () {
      yield* serve(slow([10]))
      const tool = makeTool(["ping", "--count", "2", "--json", "--interval", "1s", place])
      const fiber = yield* runFor(tool, [10])
      const answered = { binding: place, round: 1, bindMillis: 0, callMillis: 10, error: null }
      assert.deepStrictEqual(JSON.parse(tool.written.stdout), answered)
      yield* TestClock.adjust(1000)
      assert.strictEqual(yield* Fiber.join(fiber), 1)
      const lines = tool.written.stdout.trim().split("\n").map((line) => JSON.parse(line))
      assert.deepStrictEqual(lines.length, 3)
      assert.deepStrictEqual([lines[1].round, lines[1].bindMillis, lines[1].callMillis], [2, null, null])
      assert.deepStrictEqual(lines[1].error.status, { number: 5, name: "ERROR_ACCESS_DENIED" })
      const zero = { min: 0, median: 0, p95: 0, p99: 0, max: 0 }
      const ten = { min: 10, median: 10, p95: 10, p99: 10, max: 10 }
      assert.deepStrictEqual(lines[2], {
        binding: place,
        caller: null,
        rounds: 2,
        failed: 1,
        bindMillis: zero,
        callMillis: ten
      })
    })
  )

  inMemory(
    "ping, first round fails: fails at once",
    Effect.gen(function* () {
      yield* serve(slow([]))
      const { code, stderr, stdout } = yield* callisto(["ping", place])
      assert.deepStrictEqual([code, stdout], [1, ""])
      assert.include(stderr, "error: 5 ERROR_ACCESS_DENIED: ")
    })
  )

  inMemory(
    "ping, later round fails: goes on, and fails at the end",
    Effect.gen(function* () {
      yield* serve(slow([0]))
      const tool = makeTool(["ping", "--count", "3", "--interval", "0", place])
      const fiber = yield* runFor(tool, [0, 0, 0])
      assert.strictEqual(yield* Fiber.join(fiber), 1)
      assert.match(tool.written.stdout, /^3 rounds, 2 failed /)
      assert.include(tool.written.stderr, "error: 5 ERROR_ACCESS_DENIED: 2 of 3 rounds failed, the last one so: ")
    })
  )

  inMemory(
    "ping interrupted: prints its summary",
    Effect.gen(function* () {
      yield* serve(slow([10, 10, 10]))
      const tool = makeTool(["ping", place])
      const fiber = yield* runFor(tool, [10, 1000, 10])
      assert.strictEqual(tool.written.stdout, "")
      yield* Fiber.interrupt(fiber)
      assert.match(tool.written.stdout, /^2 rounds .*\nconnect and bind .*\ncall +10 ms +10 ms +10 ms +10 ms +10 ms\n$/)
    })
  )

  inMemory(
    "ping on a terminal: draws a histogram, and leaves it there",
    Effect.gen(function* () {
      yield* serve(slow([10, 10, 30]))
      const tool = makeTool(["ping", "--count", "3", "--interval", "0", place], {
        terminal: "stderr",
        env: { NO_COLOR: "1" }
      })
      const fiber = yield* runFor(tool, [10, 0, 10, 0, 30])
      assert.strictEqual(yield* Fiber.join(fiber), 0)
      assert.match(tool.written.stdout, /^3 rounds /)
      const shown = onScreen(tool.written.stderr)
      assert.deepStrictEqual(shown.slice(0, 3), [
        `${place}  3 of 3 rounds`,
        "                   connect and bind              call",
        " 0.1 µs -  0.2 µs  ████████████████████ 3"
      ])
      assert.deepStrictEqual(shown.slice(-3), [
        "  10 ms -   20 ms                                ████████████████████ 2",
        "  20 ms -   50 ms                                ██████████ 1",
        ""
      ])
      const widest = Math.max(...shown.map(({ length }) => length))
      assert.isAtMost(widest - "3".length + "999999".length, 80)
    })
  )

  inMemory(
    "ping on a terminal, no answer: says so",
    Effect.gen(function* () {
      yield* serve(slow([5000]))
      const tool = makeTool(["ping", "--count", "1", place], { terminal: "stderr", env: { NO_COLOR: "1" } })
      yield* runFor(tool, [3000, 0])
      assert.deepStrictEqual(onScreen(tool.written.stderr), [`${place}  0 of 1 rounds, no answer for 3 s`, ""])
    })
  )

  inMemory(
    "ping: takes whole numbers of rounds from 1 on, and durations with a unit",
    Effect.gen(function* () {
      const wrong = [["--count", "0"], ["--count", "many"], ["--count", "1.5"], ["--interval", "soon"], [
        "--interval",
        "5"
      ]]
      for (const flags of wrong) {
        const { code, stderr } = yield* callisto(["ping", ...flags, place])
        assert.strictEqual(code, 2)
        assert.include(stderr, `error: Invalid value for flag ${flags[0]}: "${flags[1]}". `)
      }
    })
  )
})

/** What a terminal shows after this was written to it. */
const onScreen = (written: string): ReadonlyArray<string> => {
  const lines = [""]
  const parts = written.replaceAll("\x1b[", "␛").matchAll(/(␛[0-9?;]*[A-Za-z]|\n)|([^␛\n]+)/g)
  for (const [, sequence, text] of parts) {
    const up = /^␛(\d+)F$/.exec(sequence ?? "")?.[1]
    if (sequence === "\n") lines.push("")
    else if (up !== undefined) lines.splice(lines.length - 1 - Number(up), Number(up) + 1, "")
    else if (text !== undefined) lines[lines.length - 1] += text
  }
  return lines
}

describe("what callisto says while people wait", () => {
  const never = management({ inq_stats: () => Effect.never })

  inMemory(
    "waiting on a terminal for a second: the awaited step is shown, and is gone at the end",
    Effect.gen(function* () {
      yield* serve(never)
      const tool = makeTool(["stats", place], { terminal: "stderr", env: { NO_COLOR: "1" } })
      const fiber = yield* Effect.forkScoped(tool.run)
      yield* settle
      yield* TestClock.adjust(999)
      assert.strictEqual(tool.written.stderr, "")
      yield* TestClock.adjust(2001)
      assert.deepStrictEqual(onScreen(tool.written.stderr), [
        `Asking ${place} for its statistics, 3 s. Ctrl-C cancels.`,
        ""
      ])
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(onScreen(tool.written.stderr), [""])
    })
  )

  inMemory(
    "waiting without a terminal: shows nothing",
    Effect.gen(function* () {
      yield* serve(never)
      const tool = makeTool(["stats", place], { terminal: "stdout" })
      yield* Effect.forkScoped(tool.run)
      yield* settle
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(tool.written, { stdout: "", stderr: "" })
    })
  )

  inMemory(
    "no answer for 30 seconds: the tool ends, and so does the call on the server",
    Effect.gen(function* () {
      const held = yield* makeHeld
      yield* serve(management({ inq_stats: hold(held) }))
      const tool = makeTool(["stats", place])
      const fiber = yield* Effect.forkScoped(tool.run)
      yield* settle
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), 3)
      assert.include(tool.written.stderr, "error: 1818 RPC_S_CALL_CANCELLED: No answer came within 30 s, ")
      assert.notStrictEqual(yield* Deferred.await(held.reason), "Ended")
    })
  )

  inMemory(
    "--timeout over, wherever the flag stands: the tool ends",
    Effect.gen(function* () {
      yield* serve(never)
      for (const args of [["stats", place, "--timeout", "250ms"], ["--timeout", "250ms", "stats", place]]) {
        const tool = makeTool(args)
        const fiber = yield* Effect.forkScoped(tool.run)
        yield* settle
        yield* TestClock.adjust(249)
        assert.strictEqual(tool.written.stderr, "")
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* Fiber.join(fiber), 3)
        assert.include(tool.written.stderr, "No answer came within 250 ms, ")
      }
    })
  )

  inMemory(
    "--timeout is no duration above zero: is wrong usage",
    Effect.gen(function* () {
      for (const timeout of ["0", "0s", "5", "soon"]) {
        const { code, stderr } = yield* callisto(["stats", place, "--timeout", timeout])
        assert.strictEqual(code, 2)
        assert.include(stderr, `Invalid value for flag --timeout: "${timeout}". `)
      }
    })
  )

  it.effect("a server that accepts and stays silent: --timeout bounds connecting too", () =>
    Effect.gen(function* () {
      const silent = yield* Effect.acquireRelease(
        Effect.callback<net.Server>((resume) => {
          const server = net.createServer(() => {}).listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => server.close())
      )
      const { port } = silent.address() as net.AddressInfo
      const tool = makeTool(["stats", `ncacn_ip_tcp:127.0.0.1[${port}]`, "--timeout", "100ms"])
      assert.strictEqual(yield* TestClock.withLive(tool.run), 3)
      assert.include(tool.written.stderr, "error: 1722 ")
    }).pipe(Effect.scoped, Effect.provide(NodeTransport.layer)))
})

/** What somebody has seen who keeps a call: that it began, and how its client ended it. */
const makeHeld = Effect.gen(function* () {
  return { begun: yield* Deferred.make<void>(), reason: yield* Deferred.make<string>() }
})

type Held = Effect.Success<typeof makeHeld>

const hold = <M extends Interface.Method.Any>({ begun, reason }: Held): Manager.HandOff<M, Scope.Scope> =>
  Manager.handOff((_, call: ServerCall.ServerCall<M>) =>
    Effect.gen(function* () {
      yield* Deferred.succeed(begun, undefined)
      yield* Effect.forkScoped(Effect.flatMap(ServerCall.awaitCancel(call), (why) => Deferred.succeed(reason, why)))
    })
  )

describe("interrupting callisto", () => {
  inMemory(
    "interrupting callisto: cancels the call on the server",
    Effect.gen(function* () {
      const held = yield* makeHeld
      yield* serve(management({ inq_if_ids: hold(held) }))
      const tool = makeTool(["interfaces", place])
      const fiber = yield* Effect.forkScoped(tool.run)
      yield* settle
      yield* Fiber.interrupt(fiber)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
      assert.strictEqual(yield* Deferred.await(held.reason), "Cancelled")
      assert.deepStrictEqual(tool.written, { stdout: "", stderr: "" })
    })
  )
})

describe("the errors of callisto", () => {
  const errorOf = Effect.fnUntraced(function* (...args: ReadonlyArray<string>) {
    const people = yield* callisto(args)
    assert.strictEqual(people.stdout, "")
    const programs = yield* callisto([...args, "--json"])
    assert.strictEqual(programs.stdout, "")
    assert.strictEqual(programs.code, people.code)
    const { error } = JSON.parse(programs.stderr)
    assert.strictEqual(error.exitCode, people.code)
    const status = error.status === null ? "" : `${error.status.number} ${error.status.name}: `
    assert.strictEqual(people.stderr, `error: ${status}${error.message}\ntry:   ${error.advice}\n`)
    return error
  })

  inMemory(
    "nobody listens: names the status and what to try, exit code 3",
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* errorOf("stats", "ncacn_memory:[nobody]"), {
        exitCode: 3,
        status: { number: 1722, name: "RPC_S_SERVER_UNAVAILABLE" },
        message: "nobody listens on ncacn_memory:[nobody]. (RpcTransportError)",
        advice: "Check that the server runs there. Check its address."
      })
    })
  )

  it.effect("send to the endpoint mapper where the endpoint is wrong", () =>
    Effect.gen(function* () {
      const error = yield* errorOf("ping", "ncacn_ip_tcp:127.0.0.1[1]")
      assert.deepStrictEqual([error.exitCode, error.status.number], [3, 1722])
      assert.include(error.advice, 'callisto dump "ncacn_ip_tcp:127.0.0.1" ')
    }).pipe(Effect.provide(NodeTransport.layer)))

  inMemory(
    "server refuses: names the status, exit code 1",
    Effect.gen(function* () {
      for (
        const refuse of [
          management({ inq_stats: () => Effect.fail(new Status.RpcFault({ code: 5 })) }),
          management({ inq_stats: () => Effect.succeed({ statistics: [], status: 5 }) })
        ]
      ) {
        yield* Effect.scoped(Effect.gen(function* () {
          yield* serve(refuse)
          const error = yield* errorOf("stats", place)
          assert.deepStrictEqual([error.exitCode, error.status], [1, { number: 5, name: "ERROR_ACCESS_DENIED" }])
          assert.include(error.advice, "add --user NAME")
        }))
      }
    })
  )

  inMemory(
    "server failed, or connection lost: the error tells them apart",
    Effect.gen(function* () {
      yield* serve(management({ inq_stats: () => Effect.fail(new Status.RpcFault({ code: 1726 })) }))
      const error = yield* errorOf("stats", place)
      assert.deepStrictEqual([error.exitCode, error.status], [1, { number: 1726, name: "RPC_S_CALL_FAILED" }])
      assert.strictEqual(error.advice, "The server failed at this call: look into its log.")
    })
  )

  inMemory(
    "status without a name: is shown as a number",
    Effect.gen(function* () {
      yield* serve(management({ inq_stats: () => Effect.fail(new Status.RpcFault({ code: 12345 })) }))
      assert.match(
        (yield* callisto(["stats", place])).stderr,
        /^error: 12345: mgmt.inq_stats at \S+: The server ended the call/
      )
      const { error } = JSON.parse((yield* callisto(["stats", place, "--json"])).stderr)
      assert.deepStrictEqual(error.status, { number: 12345, name: null })
    })
  )

  inMemory(
    "wrong string binding: the error shows how to write one, exit code 2",
    Effect.gen(function* () {
      const meant = {
        "localhost:8765": "ncacn_ip_tcp:localhost[8765]",
        "tcp://10.0.0.1:135": "ncacn_ip_tcp:10.0.0.1[135]",
        "[::1]:8765": "ncacn_ip_tcp:::1[8765]",
        "ncacn_ip_tcp:10.0.0.1:135": "ncacn_ip_tcp:10.0.0.1[135]",
        "server": "ncacn_ip_tcp:server",
        "ncacn_ip_tcp:host[99999]": "ncacn_ip_tcp:127.0.0.1[8765]"
      }
      for (const [text, binding] of Object.entries(meant)) {
        const error = yield* errorOf("stats", text)
        assert.strictEqual(error.exitCode, 2)
        assert.match(error.status.name, /^RPC_S_/)
        assert.strictEqual(error.advice, `Write "${binding}", for instance.`)
      }
    })
  )

  inMemory(
    "wrong command line: the error tells the problem, exit code 2",
    Effect.gen(function* () {
      const wrong: ReadonlyArray<readonly [message: string, ...args: ReadonlyArray<string>]> = [
        ["Missing required argument: BINDING.", "stats"],
        ['Unexpected positional argument: "more".', "stats", place, "more"],
        ["Unrecognized flag: --fast in command callisto ping.", "ping", place, "--fast"],
        ['Unknown subcommand "pin" for "callisto". Did you mean this? ping.', "pin"]
      ]
      for (const [message, ...args] of wrong) {
        const error = yield* errorOf(...args)
        assert.deepStrictEqual([error.exitCode, error.message, error.status], [2, `${message} (ExitCode2)`, null])
        assert.match(error.advice, /^callisto .* --help explains\.$/)
      }
    })
  )

  inMemory(
    "output that can't be written: the error tells it, exit code 70",
    Effect.gen(function* () {
      yield* serve()
      let stderr = ""
      const stdio = Stdio.layerTest({
        stdout: () =>
          Sink.fail(systemError({ _tag: "Unknown", module: "Stdio", method: "stdout", description: "full" })),
        stderr: () => Sink.forEach((chunk) => Effect.sync(() => stderr += String(chunk)))
      })
      assert.strictEqual(yield* Effect.provide(run(["stats", place]), stdio), 70)
      assert.match(stderr, /^error: The output can't be written: .*full/)
    })
  )

  inMemory(
    "error that can't be written: the exit code stays",
    Effect.gen(function* () {
      const stdio = Stdio.layerTest({
        stderr: () => Sink.fail(systemError({ _tag: "Unknown", module: "Stdio", method: "stderr" }))
      })
      assert.strictEqual(yield* Effect.provide(run(["stats", "ncacn_memory:[nobody]"]), stdio), 3)
    })
  )

  inMemory(
    "command missing, --json in any form: the error is JSON",
    Effect.gen(function* () {
      for (const flag of ["--json", "--json=true", "--json=1", "--json=yes"]) {
        for (const args of [[flag], ["stats", "nothing", flag]]) {
          const { code, stderr, stdout } = yield* callisto(args)
          assert.deepStrictEqual([code, stdout, JSON.parse(stderr).error.exitCode], [2, "", 2])
        }
      }
      const { error } = JSON.parse((yield* callisto(["--json"])).stderr)
      assert.deepStrictEqual(error, {
        exitCode: 2,
        status: null,
        message: "A command is missing. (ExitCode2)",
        advice: "callisto <subcommand> [flags], which callisto --help explains."
      })
    })
  )
})

describe("the colours of callisto", () => {
  inMemory(
    "colours: are for terminals, and not with NO_COLOR",
    Effect.gen(function* () {
      yield* serve()
      const coloured = (args: ReadonlyArray<string>, around: Around) =>
        Effect.map(callisto(args, around), ({ stderr, stdout }) => [stdout.includes("\x1b"), stderr.includes("\x1b")])
      const env = { NO_COLOR: "1" }
      for (const args of [["stats", place], ["--help"]]) {
        assert.deepStrictEqual(yield* coloured(args, {}), [false, false])
        assert.deepStrictEqual(yield* coloured(args, { terminal: "stderr" }), [false, false])
        assert.deepStrictEqual(yield* coloured(args, { terminal: "stdout" }), [true, false])
        assert.deepStrictEqual(yield* coloured(args, { terminal: "stdout", env }), [false, false])
        assert.deepStrictEqual(yield* coloured(args, { terminal: "stdout", env: { TERM: "dumb" } }), [false, false])
      }
      for (const args of [["stats", "ncacn_memory:[nobody]"], ["wrong"], []]) {
        assert.deepStrictEqual(yield* coloured(args, { terminal: "stdout" }), [false, false])
        assert.deepStrictEqual(yield* coloured(args, { terminal: "stderr" }), [false, true])
        assert.deepStrictEqual(yield* coloured(args, { terminal: "stderr", env }), [false, false])
      }
      assert.deepStrictEqual(yield* coloured(["stats", place, "--json"], { terminal: "stdout" }), [false, false])
    })
  )

  it("text of a server: has no colours of its own", () => {
    assert.strictEqual(harmless("\x1b[31mred\u009b\u202e\nline"), "\\u{1b}[31mred\\u{9b}\\u{202e}\\u{a}line")
    assert.strictEqual(harmless("Größe 漢字 🙂"), "Größe 漢字 🙂")
  })
})

describe("the help of callisto", () => {
  inMemory(
    "--help: is on standard output, and names the commands and the exit codes",
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* callisto(["--help"])
      assert.deepStrictEqual([code, stderr], [0, ""])
      for (
        const command of [
          "dump",
          "map",
          "interfaces",
          "stats",
          "ping",
          "import",
          "describe",
          "call",
          "check",
          "watch",
          "calls"
        ]
      ) {
        assert.match(stdout, new RegExp(`^  ${command} `, "m"))
      }
      for (const exitCode of [0, 1, 2, 3, 70, 130, 141, 143]) {
        assert.match(stdout, new RegExp(`\\b${exitCode} [a-zC-S]`))
      }
    })
  )

  inMemory(
    "command missing: help is on standard error, and it is wrong usage",
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* callisto([])
      assert.deepStrictEqual([code, stdout], [2, ""])
      assert.include(stderr, "callisto <subcommand> [flags]")
    })
  )
})

describe("latencies", () => {
  it("latencies: have quantiles within one percent of the measured ones", () => {
    const latency = new Latency()
    const measured = Array.from({ length: 10_000 }, (_, i) => 0.001 * 1.0015 ** i)
    for (const millis of measured) latency.add(millis)
    assert.deepStrictEqual([latency.quantile(0), latency.quantile(1)], [measured[0], measured.at(-1)])
    for (const part of [0.01, 0.25, 0.5, 0.95, 0.99, 0.9999]) {
      const exact = measured[Math.ceil(part * measured.length) - 1]!
      assert.isBelow(Math.abs(latency.quantile(part) / exact - 1), 0.01, `${part}`)
    }
  })

  it("latencies: are counted in bars of 1, 2 and 5", () => {
    assert.deepStrictEqual([-4, -3, -2, -1, 0, 1, 2, 3].map(barStart), [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10])
    const latency = new Latency()
    for (let bar = -12; bar <= 15; bar++) latency.add(barStart(bar))
    for (let bar = -12; bar <= 15; bar++) assert.strictEqual(latency.in(bar), 1, `bar ${bar}`)
    latency.add(0)
    assert.strictEqual(latency.in(-12), 2)
  })

  it("latencies: are shown with three digits and a unit", () => {
    assert.deepStrictEqual([0.000123, 0.0456, 0.5, 1, 1.2345, 123.4, 1000, 65_432].map(showMillis), [
      "0.123 µs",
      "45.6 µs",
      "500 µs",
      "1 ms",
      "1.23 ms",
      "123 ms",
      "1 s",
      "65.4 s"
    ])
  })
})

// ----------------------------------------------------------------------------
// the tool as a process
// ----------------------------------------------------------------------------

const program = fileURLToPath(new URL("../src/cli.ts", import.meta.url))

const command = process.versions["deno"] ? ["run", "--allow-net", "--allow-env", program] : [program]

/** Starts the entry point on this runtime. */
const start = (...args: ReadonlyArray<string>) => {
  const child = spawn(process.execPath, [...command, ...args], { stdio: ["ignore", "pipe", "pipe"] })
  const written = { stdout: "", stderr: "" }
  child.stdout.on("data", (data) => written.stdout += data)
  child.stderr.on("data", (data) => written.stderr += data)
  const killer = setTimeout(() => child.kill("SIGKILL"), 15_000)
  const ended = new Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>(
    (resolve) =>
      child.once("close", (code) => {
        clearTimeout(killer)
        resolve({ code, ...written })
      })
  )
  return { child, ended: Effect.promise(() => ended) }
}

const full = "/dev/full"

/** Runs the entry point with an output to a device on which there is no room, where there is one. */
const callistoTo = (output: "stdout" | "stderr", ...args: ReadonlyArray<string>) => {
  const device = openSync(full, "w")
  const stdio: StdioOptions = output === "stdout" ? ["ignore", device, "pipe"] : ["ignore", "pipe", device]
  try {
    return spawnSync(process.execPath, [...command, ...args], { stdio, encoding: "utf8", timeout: 15_000 })
  } finally {
    closeSync(device)
  }
}

describe("callisto as a process", () => {
  const overTcp = (name: string, test: Effect.Effect<void, unknown, Scope.Scope | Transport.Transport>) =>
    it.live(name, () => Effect.provide(test, NodeTransport.layer), 20_000)

  const tcp = "ncacn_ip_tcp:127.0.0.1[0]"

  overTcp(
    "callisto as a process: asks a server and ends",
    Effect.gen(function* () {
      const { address } = yield* serve(rpcEcho, tcp)
      const { code, stderr, stdout } = yield* start("interfaces", StringBinding.print(address)).ended
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.include(stdout, "rpcecho")
    })
  )

  overTcp(
    "callisto as a process, failure: ends with its exit code",
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* start("stats", "--json", "ncacn_ip_tcp:127.0.0.1[1]").ended
      assert.deepStrictEqual([code, stdout, JSON.parse(stderr).error.status.number], [3, "", 1722])
    })
  )

  it.skipIf(!existsSync(full))("output that can't be written: says why, and ends with 70", () => {
    for (const args of [["--help"], ["interfaces", "--help"]]) {
      const { status, stderr } = callistoTo("stdout", ...args)
      assert.strictEqual(status, 70)
      assert.match(stderr, /^error: The output can't be written: .*No space left.*\ntry: .*\n$/i)
    }
  }, 20_000)

  it.skipIf(!existsSync(full))("failure that can't be written: ends with its exit code", () => {
    for (const args of [["frobnicate"], []]) {
      const { status, stdout } = callistoTo("stderr", ...args)
      assert.deepStrictEqual([status, stdout], [2, ""])
    }
  }, 20_000)

  for (const [signal, expected] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    overTcp(
      `${signal}: cancels the call on the server, and ends with ${expected}`,
      Effect.gen(function* () {
        const held = yield* makeHeld
        const { address } = yield* serve(management({ inq_stats: hold(held) }), tcp)
        const { child, ended } = start("stats", StringBinding.print(address))
        yield* Deferred.await(held.begun)
        process.kill(child.pid!, signal)
        assert.strictEqual(yield* Deferred.await(held.reason), "Cancelled")
        assert.deepStrictEqual(yield* ended, { code: expected, stdout: "", stderr: "" })
      })
    )
  }

  /** Starts a ping, and waits until a server has answered it a few times. */
  const startPing = Effect.fnUntraced(function* (...flags: ReadonlyArray<string>) {
    const answered = yield* Deferred.make<void>()
    let calls = 0
    const { address } = yield* serve(
      management({
        is_server_listening: () =>
          Effect.as(++calls === 3 ? Deferred.succeed(answered, undefined) : Effect.void, { status: 0, listening: 1 })
      }),
      tcp
    )
    const started = start("ping", "--interval", "10ms", ...flags, StringBinding.print(address))
    yield* Deferred.await(answered)
    return started
  })

  overTcp(
    "SIGINT during a ping: prints the summary",
    Effect.gen(function* () {
      const { child, ended } = yield* startPing("--json")
      process.kill(child.pid!, "SIGINT")
      const { code, stderr, stdout } = yield* ended
      assert.deepStrictEqual([code, stderr], [130, ""])
      const lines = stdout.trim().split("\n").map((line) => JSON.parse(line))
      assert.strictEqual(lines.at(-1).rounds, lines.length - 1)
      assert.isAtLeast(lines.length, 3)
    })
  )

  overTcp(
    "SIGINT during a ping, nobody reads the summary: ends",
    Effect.gen(function* () {
      const { child, ended } = yield* startPing()
      child.stdout.destroy()
      process.kill(child.pid!, "SIGINT")
      const { code, stderr } = yield* ended
      assert.deepStrictEqual([code, stderr], [130, ""])
    })
  )

  overTcp(
    "nobody reads the output any more: ends without a word",
    Effect.gen(function* () {
      const [begun, reply] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const { address } = yield* serve(
        management({
          inq_stats: () =>
            Effect.as(
              Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(reply)),
              { statistics: [1, 2, 3, 4], status: 0 }
            )
        }),
        tcp
      )
      const { child, ended } = start("stats", StringBinding.print(address))
      yield* Deferred.await(begun)
      child.stdout.destroy()
      yield* Effect.sleep("100 millis")
      yield* Deferred.succeed(reply, undefined)
      const { code, stderr } = yield* ended
      assert.deepStrictEqual([code, stderr], [141, ""])
    })
  )
})
