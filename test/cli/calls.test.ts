import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Call } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import * as PgClient from "@effect/sql-pg/PgClient"
import { Console, Context, Duration, Effect, Exit, Fiber, Layer, Scope, Sink, Stdio } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { Databases } from "../../src/cli/Databases.ts"
import { run } from "../../src/cli/Program.ts"
import { sqliteLayer } from "../../src/durable/internal/sqlite.ts"
import { glanceAt } from "../../src/durable/internal/values.ts"
import { layer as transport } from "../../src/node.ts"
import { IBank, rowOf } from "../durable/fixtures.ts"
import { IWork } from "../durable/process.ts"
import { spawnWork } from "../durable/spawned.ts"
import { build, type Kind, postgres, type Provided, sqlite, type World } from "../durable/worlds.ts"

// ----------------------------------------------------------------------------
// the tool
// ----------------------------------------------------------------------------

/** The databases as src/cli.ts has them, without its checks. */
const databases = {
  sqlite: (file: string) => Effect.succeed(sqliteLayer(file, { isThere: true })),
  postgres: (options: object) => Effect.succeed(PgClient.layer({ ...options, maxConnections: 1 }))
}

/** The tool in this process. */
const callisto = (...args: ReadonlyArray<string>) => {
  const written = { stdout: "", stderr: "" }
  const capture = (output: "stdout" | "stderr") => () =>
    Sink.forEach((chunk: string | Uint8Array) => Effect.sync(() => void (written[output] += String(chunk))))
  const console = { ...globalThis.console, error: (line: unknown) => void (written.stderr += `${line}\n`) }
  return run(["calls", ...args]).pipe(
    Effect.provideService(Console.Console, console),
    Effect.provideService(Databases, databases),
    Effect.provide(Layer.merge(Stdio.layerTest({ stdout: capture("stdout"), stderr: capture("stderr") }), transport)),
    Effect.map((code) => ({ code, ...written }))
  )
}

const program = fileURLToPath(new URL("../../src/cli.ts", import.meta.url))

/** The tool as a process on this runtime. */
const start = (before: ReadonlyArray<string>, ...args: ReadonlyArray<string>) =>
  Effect.callback<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>((resume) => {
    const command = process.versions["deno"] ? ["run", "-A", program] : [...before, program]
    const child = spawn(process.execPath, [...command, "calls", ...args], { stdio: ["ignore", "pipe", "pipe"] })
    const written = { stdout: "", stderr: "" }
    child.stdout.on("data", (data) => void (written.stdout += data))
    child.stderr.on("data", (data) => void (written.stderr += data))
    const killer = setTimeout(() => child.kill("SIGKILL"), 30_000)
    child.once("close", (code) => {
      clearTimeout(killer)
      resume(Effect.succeed({ code, ...written }))
    })
  })

const control = /(?!\n)\p{Cc}/u

// ----------------------------------------------------------------------------
// on both databases
// ----------------------------------------------------------------------------

const calls = (kind: Kind) =>
  describe(`callisto calls on ${kind.name}`, () => {
    const scope = Scope.makeUnsafe()
    let world: World
    let client: Context.Context<Provided>
    let worlds: Effect.Effect<World>

    beforeAll(() =>
      Effect.runPromise(Scope.provide(
        Effect.gen(function* () {
          worlds = yield* kind.worlds
          world = yield* worlds
          client = yield* build(world.client())
        }),
        scope
      )), 60_000)
    afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)), 60_000)

    const test = <E>(name: string, effect: Effect.Effect<void, E, Provided | Scope.Scope>) =>
      it.live(name, () => Effect.scoped(Effect.suspend(() => Effect.provideContext(effect, client))), 90_000)

    const at = (place: World) =>
      Effect.map(
        place.work,
        ({ file, postgres }) =>
          file ?? `postgres://callisto:not%20asked@${postgres!.host}:${postgres!.port}/${postgres!.name}`
      )

    /** The tool on the database of these tests. */
    const tool = (...args: ReadonlyArray<string>) =>
      Effect.flatMap(at(world), (database) => callisto(...args, "--database", database))

    const json = (...args: ReadonlyArray<string>) =>
      Effect.map(tool(...args, "--json"), ({ stderr, stdout }) => JSON.parse(stdout || stderr))

    const begin = (numbers: ReadonlyArray<number>) =>
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank, { caller: { name: "alice" } })
        return yield* Call.start(bank, "Add", numbers)
      })

    /** Sets columns of a row, as a stranger could. */
    const change = (handle: string, columns: object) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`UPDATE callisto_calls SET ${sql.update(columns as never)} WHERE id = ${handle}`
      })

    const clear = Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`DELETE FROM callisto_calls`
    })

    test(
      "list: shows the calls, oldest first, of one state and interface where that is wanted",
      Effect.gen(function* () {
        yield* clear
        const handles: Array<string> = []
        for (let i = 0; i < 4; i++) handles.push(Durable.handle(yield* begin([i])))
        const begun = Date.now() - 3 * 3_600_000
        for (const [i, handle] of handles.entries()) yield* change(handle, { begun_at: begun + i })
        yield* change(handles[1]!, { attempts: 2, cancel_at: begun })
        yield* change(handles[2]!, { interface: "00000000-0000-0000-0000-0000000000aa 7", handed_off: 1 })
        yield* change(handles[3]!, { outcome: `{"t":"ok","v":1}`, finished_by: "somebody" })
        const { code, stderr, stdout } = yield* tool("list")
        assert.deepStrictEqual([code, stderr], [0, ""])
        assert.deepStrictEqual(stdout.trimEnd().split("\n").map((line) => line.split(/ {2,}/)), [
          ["HANDLE", "INTERFACE", "METHOD", "STATE", "AGE", "ATTEMPTS", "CANCELLED"],
          [handles[0], `${IBank.uuid}/1`, "Add", "ready", "3 h", "0"],
          [handles[1], `${IBank.uuid}/1`, "Add", "running", "3 h", "2", "yes"],
          [handles[2], "00000000-0000-0000-0000-0000000000aa/7", "Add", "handed off", "3 h", "0"],
          [handles[3], `${IBank.uuid}/1`, "Add", "finished", "3 h", "0"]
        ])
        const document = yield* json("list", "--limit", "2")
        assert.deepStrictEqual(document, {
          calls: [0, 1].map((i) => ({
            handle: handles[i],
            uuid: IBank.uuid,
            major: 1,
            name: null,
            method: "Add",
            state: i === 0 ? "ready" : "running",
            begun: new Date(begun + i).toISOString(),
            attempts: i * 2,
            cancelled: i === 1
          })),
          more: true
        })
        const found = (...args: ReadonlyArray<string>) =>
          Effect.map(json("list", ...args), (document) => document.calls.map((call: { handle: string }) => call.handle))
        assert.deepStrictEqual(yield* found("--state", "handed-off"), [handles[2]])
        assert.deepStrictEqual(yield* found("--interface", IBank.uuid), [handles[0], handles[1], handles[3]])
        assert.deepStrictEqual(yield* found("--interface", `${IBank.uuid.toUpperCase()}/1`, "--state", "ready"), [
          handles[0]
        ])
        assert.deepStrictEqual(yield* found("--interface", `${IBank.uuid}/2`), [])
        const lines = (yield* tool("list", "--limit", "1")).stdout.trimEnd().split("\n")
        assert.deepStrictEqual([lines.length, lines.at(-1)], [
          3,
          "There are more than 1: these are the oldest. --limit shows more."
        ])
        assert.strictEqual((yield* tool("list", "--state", "ended")).stdout, "There is no such call.\n")
      })
    )

    test(
      "show: tells everything but the values, and those with --values",
      Effect.gen(function* () {
        const handle = Durable.handle(yield* begin([17, 4]))
        const before = yield* json("show", handle)
        assert.deepInclude(before, {
          handle,
          uuid: IBank.uuid,
          major: 1,
          method: "Add",
          state: "ready",
          attempts: 0,
          outcome: null,
          caller: { name: "alice", level: "privacy" }
        })
        assert.notProperty(before, "input")
        // A handle or a time may hold 17 too.
        assert.match((yield* tool("show", handle, "--values")).stdout, /17,\s*4/)
        assert.notMatch((yield* tool("show", handle)).stdout, /17,\s*4/)
        yield* change(handle, {
          attempts: 1,
          outcome: `{"t":"abort","c":131073,"v":{"balance":3}}`,
          ended_at: Date.now()
        })
        const { input, outcome, result } = yield* json("show", handle.slice(0, 13), "--values")
        assert.deepStrictEqual([input, result], [
          { form: "json", value: [17, 4] },
          { form: "json", value: { balance: 3 } }
        ])
        assert.deepStrictEqual(outcome, {
          kind: "aborted",
          status: { number: 131073, name: null },
          message: "The server ended the call with exception code 131073 (0x00020001). (RpcFault)",
          didNotExecute: false
        })
        yield* change(handle, { outcome: `{"t":"fault","c":1460,"n":1}` })
        assert.include(
          (yield* tool("show", handle)).stdout,
          "outcome     aborted, 1460 RPC_S_TIMEOUT: The server ended the call before executing it with exception code 1460"
        )
      })
    )

    test(
      "show, sealed values: says that they are sealed",
      Effect.gen(function* () {
        const sealed = yield* build(world.client({
          seal: { encode: (text) => Effect.succeed(`sealed ${btoa(text)}`), decode: (text) => Effect.succeed(text) }
        }))
        const handle = Durable.handle(yield* Effect.provideContext(begin([1]), sealed))
        yield* change(handle, { outcome: `{"t":"sealed","v":"abcdef"}`, ended_at: Date.now() })
        const { input, outcome, result } = yield* json("show", handle, "--values")
        assert.deepStrictEqual([outcome.kind, input, result], [
          "sealed",
          { form: "sealed", value: null },
          { form: "sealed", value: null }
        ])
        const { stdout } = yield* tool("show", handle, "--values")
        assert.include(stdout, "sealed: only the program can open it")
        assert.notInclude(stdout, "abcdef")
      })
    )

    test(
      "broken rows: are shown without harm to the terminal, and removed",
      Effect.gen(function* () {
        yield* clear
        const bad = "\x1b[2J\u009b31m\r\u202e"
        const handle = Durable.handle(yield* begin([1]))
        yield* change(handle, {
          method: bad + "x".repeat(100),
          interface: `${bad}`,
          caller: `{"name": 7, "level"`,
          trace: "[]",
          input: `{"name":"${bad}`,
          outcome: `{"t":"ok","v":${bad}`,
          finished_by: bad,
          ended_at: 9e15
        })
        for (const args of [["list"], ["show", handle], ["show", handle, "--values"]]) {
          const { code, stderr, stdout } = yield* tool(...args)
          assert.deepStrictEqual([code, stderr], [0, ""])
          assert.notMatch(stdout, control)
          assert.notInclude(stdout, "\u202e")
          for (const line of stdout.split("\n")) assert.isBelow(line.length, 300)
        }
        const { outcome, result, state } = yield* json("show", handle, "--values")
        assert.deepStrictEqual([outcome.kind, result.form, state], ["unreadable", "text", "finished"])
        const deep = `${"[".repeat(50_000)}${"]".repeat(50_000)}`
        yield* change(handle, { input: deep, outcome: `{"t":"ok","v":${deep}}` })
        assert.strictEqual((yield* tool("show", handle, "--values")).code, 0)
        assert.strictEqual((yield* json("show", handle, "--values")).input.value, deep)
        assert.deepStrictEqual(yield* json("forget", handle), { handle, forgotten: true })
        for (const stored of ["", "null", "7", `{"t":"abort"}`, `{"t":"fault","c":1e300}`, `{"t":"lost","s":5}`]) {
          assert.strictEqual(glanceAt(stored).kind, "unreadable", stored)
        }
      })
    )

    test(
      "cancel, nobody has run the call: it ends at once, and who waits for it sees that",
      Effect.gen(function* () {
        const call = yield* begin([1])
        const waiting = yield* Effect.forkChild(Effect.flip(Call.join(call)))
        const handle = Durable.handle(call)
        assert.deepStrictEqual(yield* json("cancel", handle), { handle, state: "ended", didNotExecute: true })
        const [took, error] = yield* Effect.timed(Fiber.join(waiting))
        assert.deepInclude(error, { _tag: "CallCancelled", didNotExecute: true })
        assert.isBelow(Duration.toMillis(took), 5_000)
        const { code, stderr, stdout } = yield* tool("cancel", handle)
        assert.deepStrictEqual([code, stdout], [1, ""])
        assert.match(stderr, /^error: 2147549463 RPC_E_CALL_COMPLETE: .* has ended: .* \(CallComplete\)\ntry: /)
      })
    )

    test(
      "cancel from a process of its own: reaches a routine that runs in another process",
      Effect.gen(function* () {
        const served = { ...(yield* world.work), role: "server" as const, lease: 2_000 }
        const server = yield* spawnWork("node", served)
        yield* server.until("ready")
        const work = yield* Durable.binding(IWork)
        const call = yield* Call.start(work, "Once", { name: "long", millis: 60_000 })
        yield* server.until("started long")
        const handle = Durable.handle(call)
        const { code, stderr, stdout } = yield* start([], "cancel", handle, "--database", yield* at(world), "--json")
        assert.deepStrictEqual([code, stderr, JSON.parse(stdout)], [0, "", {
          handle,
          state: "running",
          didNotExecute: false
        }])
        const [took] = yield* Effect.timed(server.until("interrupted long"))
        assert.isBelow(Duration.toMillis(took), 10_000)
        assert.deepInclude(yield* Effect.flip(Call.join(call)), { _tag: "CallCancelled", didNotExecute: false })
      })
    )

    test(
      "forget: removes what has ended with the rows of the engine, and refuses what is pending",
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const handle = Durable.handle(yield* begin([1]))
        const pending = yield* json("forget", handle)
        assert.deepStrictEqual([pending.error.exitCode, pending.error.status.number], [1, 997])
        yield* tool("cancel", handle)
        assert.deepStrictEqual(yield* json("forget", handle), { handle, forgotten: true })
        assert.isUndefined(yield* rowOf(handle))
        assert.lengthOf(yield* sql`SELECT id FROM cluster_messages WHERE entity_id = ${handle}`, 0)
        for (const command of ["show", "cancel", "forget"]) {
          const { error } = yield* json(command, handle)
          assert.deepStrictEqual([error.exitCode, error.status.name], [1, "RPC_S_INVALID_ASYNC_HANDLE"])
          assert.include(error.message, handle)
        }
      })
    )

    test(
      "a handle that is none, or the begin of several: is refused, and a token is not repeated",
      Effect.gen(function* () {
        yield* clear
        const [first, second] = [Durable.handle(yield* begin([1])), Durable.handle(yield* begin([2]))]
        yield* change(second, { id: `${first.slice(0, -4)}ffff` })
        const several = yield* json("show", first.slice(0, 8))
        assert.deepStrictEqual([several.error.exitCode, several.error.status], [2, null])
        assert.strictEqual((yield* json("show", first)).handle, first)
        for (const wrong of ["abc", "%", "nothing", `${first}.5ec2e7`]) {
          const { code, stderr } = yield* tool("cancel", wrong)
          assert.strictEqual(code, 2)
          assert.notInclude(stderr, "5ec2e7")
        }
      })
    )

    test(
      "a database without calls: is refused, and nothing is made in it",
      Effect.gen(function* () {
        const empty = yield* worlds
        const place = yield* at(empty)
        const { file } = yield* empty.work
        const layer = file === undefined
          ? databases.postgres({
            ...(yield* empty.work).postgres,
            database: (yield* empty.work).postgres!.name,
            username: "callisto"
          })
          : Effect.succeed(sqliteLayer(file))
        const sql = Context.get(yield* build(yield* layer), SqlClient.SqlClient)
        const tables = file === undefined
          ? sql`SELECT tablename FROM pg_tables WHERE schemaname = 'public'`
          : sql`SELECT name FROM sqlite_master`
        yield* sql`CREATE TABLE other (id INTEGER)`
        for (const args of [["list"], ["show", "abcdef01"], ["cancel", "0".repeat(64)], ["forget", "0".repeat(64)]]) {
          const { code, stderr } = yield* callisto(...args, "--database", place)
          assert.strictEqual(code, 2)
          assert.include(
            stderr,
            "there is no table callisto_calls, so no durable calls. (ExitCode2)\ntry:   Check --database and --prefix."
          )
        }
        assert.lengthOf(yield* tables, 1)
        const prefixed = yield* build(empty.client({ prefix: "shop" }))
        const handle = Durable.handle(yield* Effect.provideContext(begin([1]), prefixed))
        const { stdout } = yield* callisto("list", "--database", place, "--prefix", "shop", "--json")
        assert.strictEqual(JSON.parse(stdout).calls[0].handle, handle)
        const ended = yield* callisto("cancel", handle, "--database", place, "--prefix", "shop")
        assert.strictEqual(ended.code, 0)
        assert.strictEqual((yield* callisto("forget", handle, "--database", place, "--prefix", "shop")).code, 0)
        assert.strictEqual((yield* callisto("list", "--database", place, "--prefix", "No")).code, 2)
      })
    )
  })

calls(sqlite)
calls(postgres)

// ----------------------------------------------------------------------------
// the tool as a process
// ----------------------------------------------------------------------------

const isNode = process.versions["deno"] === undefined && process.versions["bun"] === undefined

/** Arguments of Node under which a package is not there. */
const without = (name: string): ReadonlyArray<string> => [
  "--import",
  `data:text/javascript,${
    encodeURIComponent(
      `import { registerHooks } from "node:module"
      const resolve = (name, context, next) => {
        if (name.startsWith(${JSON.stringify(name)})) throw new Error("Cannot find package '@effect/sql-pg'")
        return next(name, context)
      }
      registerHooks({ resolve })`
    )
  }`
]

describe("the databases of callisto calls", () => {
  const inFolder = (name: string, test: (folder: string) => Effect.Effect<void, unknown>) =>
    it.live(name, () =>
      Effect.acquireUseRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "callisto-calls-"))),
        test,
        (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
      ), 90_000)

  inFolder("a file that is no database: is refused in words, and not made", (folder) =>
    Effect.gen(function* () {
      const [missing, text, old] = ["missing.db", "text.db", "old.db"].map((name) => join(folder, name)) as [
        string,
        string,
        string
      ]
      writeFileSync(text, "no database")
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* sql`CREATE TABLE other (id INTEGER)`
        }).pipe(Effect.provide(sqliteLayer(old, { isThere: true })))
      )
      for (
        const [file, problem] of [
          [missing, "it does not exist"],
          [folder, "it is a folder"],
          [text, "it is no SQLite database"],
          [old, "there is no table callisto_calls, so no durable calls"]
        ] as const
      ) {
        const { code, stderr, stdout } = yield* start([], "list", "--database", file)
        assert.deepStrictEqual([code, stdout], [2, ""])
        assert.include(stderr, `error: ${file}: ${problem}. (ExitCode2)\ntry:   `)
      }
      assert.isFalse(existsSync(missing))
      // WAL is a property of the file: it is left as it was.
      assert.deepStrictEqual(Array.from(readFileSync(old).subarray(18, 20)), [1, 1])
    }))

  inFolder("the password of a URL: is in no output", (folder) =>
    Effect.gen(function* () {
      const file = join(folder, "password")
      writeFileSync(file, "s3cret-file\n")
      const url = "postgres://app:s3cret%2Durl@127.0.0.1:1/shop"
      const { code, stderr, stdout } = yield* start(
        [],
        ...["list", "--database", url, "--user", "app", "--password-file", file]
      )
      assert.deepStrictEqual([code, stdout], [3, ""])
      assert.match(stderr, /^error: postgres:\/\/127\.0\.0\.1:1\/shop: connect ECONNREFUSED/)
      assert.notInclude(stderr, "s3cret")
      for (
        const [args, expected] of [
          [["list", "--database", url], 3],
          [["list", "--database", url, "--json"], 3],
          [["list", "--database", "postgres://127.0.0.1:1/shop?user=app&password=s3cret-url"], 3],
          [["list", "--database", "postgres://app:s3cret-url@127.0.0.1:99999/shop"], 2],
          [["list", "--database", "mysql://app:s3cret-url@127.0.0.1/shop"], 2],
          [["list", "--database", file, "--password-file", file], 2],
          [["list", url], 2],
          [[url], 2],
          [["lost", url], 2],
          [["list", "--database", url, "--limit", url], 2]
        ] as const
      ) {
        const { code, stderr, stdout } = yield* callisto(...args)
        assert.strictEqual(code, expected, args.join(" "))
        assert.notInclude(stdout + stderr, "s3cret", args.join(" "))
      }
    }))

  for (
    const [name, args, problem, advice] of [
      [
        "@effect/sql-pg",
        ["--database", "postgres://127.0.0.1:1/shop"],
        "PostgreSQL needs the package @effect/sql-pg, which is not installed.",
        "npm install @effect/sql-pg"
      ],
      ["node:sqlite", ["--database"], "This runtime has no node:sqlite.", "Node 22.13"]
    ] as const
  ) {
    inFolder(`${name} is missing: says what to install`, (folder) =>
      Effect.gen(function* () {
        // The hooks that hide a module are those of Node.
        if (!isNode) return
        const file = join(folder, "calls.db")
        yield* Effect.scoped(Effect.provide(Durable.migrations(), sqliteLayer(file)))
        const { code, stderr } = yield* start(without(name), "list", ...args, ...(args.length === 1 ? [file] : []))
        assert.strictEqual(code, 2)
        assert.include(stderr, problem)
        assert.include(stderr, advice)
      }))
  }

  it.live("a wrong command: the hint names those of callisto calls", () =>
    Effect.gen(function* () {
      assert.include((yield* callisto("frobnicate")).stderr, "The commands are list, show, cancel, forget.")
      assert.include(
        (yield* callisto("forget", "abcdef01", "--values", "--database", "x")).stderr,
        "It is an option of callisto calls show"
      )
    }))
})
