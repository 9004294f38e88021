/** The demo: as a command in this process, and as an entry point. */
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Console, Effect, Fiber, Layer, Sink, Stdio } from "effect"
import { TestClock } from "effect/testing"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { run } from "../../src/cli/Program.ts"
import { Surroundings } from "../../src/cli/Surroundings.ts"
import * as Memory from "../../src/transport/Memory.ts"

// ----------------------------------------------------------------------------
// the command in this process
// ----------------------------------------------------------------------------

/** A folder with files of these sizes. Each gives its bytes at once. */
const folderOf = (sizes: { readonly [path: string]: number }): Surroundings => ({
  columns: 80,
  nameOf: (folder) => `name of ${folder}`,
  list: () => Effect.succeed(Object.entries(sizes).map(([path, size]) => ({ path, size }))),
  open: (_folder, path) =>
    Effect.suspend(() => {
      const size = sizes[path]
      if (size === undefined) return Effect.fail("ENOENT")
      let left = size
      return Effect.succeed({
        next: (atMost: number) =>
          Effect.sync(() => {
            const count = Math.min(atMost, left)
            left -= count
            return count
          }),
        digest: Effect.succeed("0123456789abcdef")
      })
    })
})

const demo = (
  args: ReadonlyArray<string>,
  surroundings: Surroundings,
  { terminal = false }: { readonly terminal?: boolean } = {}
) =>
  Effect.gen(function* () {
    const written = { stdout: "", stderr: "" }
    const capture = (output: "stdout" | "stderr") => () =>
      Sink.forEach((chunk: string | Uint8Array) => Effect.sync(() => written[output] += String(chunk)))
    const services = Layer.mergeAll(
      Stdio.layerTest({
        stdoutIsTerminal: Effect.succeed(terminal),
        stderrIsTerminal: Effect.succeed(terminal),
        stdout: capture("stdout"),
        stderr: capture("stderr")
      }),
      ConfigProvider.layer(ConfigProvider.fromEnv({ env: {} })),
      Layer.succeed(Surroundings, surroundings),
      Layer.succeed(Console.Console, { ...globalThis.console, error: (line) => written.stderr += `${line}\n` }),
      Memory.layer
    )
    const running = yield* Effect.forkChild(Effect.provide(run(["demo", ...args]), services))
    while (running.pollUnsafe() === undefined) {
      yield* TestClock.adjust("10 millis")
      // Hashes and modules come in time of their own.
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
    }
    return { code: yield* Fiber.join(running), ...written }
  })

const sizes = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`file-${10 + i}`, 1000 + i]))

describe("callisto demo", () => {
  it.effect("a folder with many files: hashes the 24 largest, and each call ends", () =>
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* demo(["pictures"], folderOf(sizes))
      assert.deepStrictEqual([code, stderr], [0, ""])
      const lines = stdout.trimEnd().split("\n")
      assert.strictEqual(
        lines[0],
        "25 asynchronous calls hash files of name of pictures. One of the files does not exist."
      )
      assert.deepStrictEqual(
        lines.filter((line) => /^file-/.test(line)).map((line) => line.slice(0, 7)),
        Object.keys(sizes).slice(6)
      )
      assert.match(lines[4]!, /^file-16 +1\.0 kB {2}·*█+ +sha256 012345678…$/)
      const [, hashed, cancelled, aborted] = /^(\d+) hashed, (\d+) cancelled, (\d+) aborted in \d\.\d s\.$/
        .exec(lines.at(-1)!)!.map(Number)
      assert.deepStrictEqual([hashed! + cancelled!, aborted], [24, 1])
      assert.isAtLeast(hashed!, 4)
      assert.isAtLeast(cancelled!, 1)
    }))

  it.effect("no folder named, too few files here: the files are made up, and the first line says so", () =>
    Effect.gen(function* () {
      for (const [files, found] of [[{}, "no files"], [{ a: 1 }, "1 file"], [{ a: 1, b: 2 }, "2 files"]] as const) {
        const { code, stderr, stdout } = yield* demo([], folderOf(files))
        assert.deepStrictEqual([code, stderr], [0, ""])
        assert.include(stdout, `25 asynchronous calls hash made-up files, because name of . has ${found}.`)
        assert.strictEqual(stdout.match(/^made-up-\d\d\.bin/gm)!.length, 24)
        assert.match(stdout, /^no-such-file +·*! +NotReadable ENOENT$/m)
        // The SHA-256 of 38,000 zeros.
        assert.match(stdout, /^made-up-01.* sha256 7ada6339e…$/m)
      }
    }))

  it.effect("no folder named, 8 files here: hashes them", () =>
    Effect.gen(function* () {
      const eight = Object.fromEntries(Object.entries(sizes).slice(0, 8))
      assert.include((yield* demo([], folderOf(eight))).stdout, "9 asynchronous calls hash files of name of .")
    }))

  it.effect("a named folder with one file: hashes it", () =>
    Effect.gen(function* () {
      const { code, stdout } = yield* demo(["one"], folderOf({ alone: 10 }))
      assert.strictEqual(code, 0)
      assert.match(stdout, /^alone .* sha256 012345678…$/m)
    }))

  it.effect("a named folder without files, or that can't be read: ends with 1 and says why", () =>
    Effect.gen(function* () {
      const empty = yield* demo(["empty"], folderOf({}))
      assert.deepStrictEqual(empty, {
        code: 1,
        stdout: "",
        stderr: "error: empty: the folder has no files. (ExitCode1)\ntry:   Name another folder.\n"
      })
      const unreadable = { ...folderOf({}), list: () => Effect.fail("closed: no permission") }
      assert.deepStrictEqual(yield* demo(["closed"], unreadable), {
        code: 1,
        stdout: "",
        stderr: "error: closed: no permission. (ExitCode1)\ntry:   Name another folder.\n"
      })
    }))

  it.effect("names that would move the cursor: shown as numbers", () =>
    Effect.gen(function* () {
      const { stdout } = yield* demo(["x"], folderOf({ "a\x1b[2Jb": 10 }))
      assert.notInclude(stdout, "\x1b")
      assert.include(stdout, "a\\u{1b}[2Jb")
    }))

  it.effect("a terminal: colours the timeline, and shows how many calls have ended until then", () =>
    Effect.gen(function* () {
      const { stderr, stdout } = yield* demo(["pictures"], folderOf(sizes), { terminal: true })
      assert.include(stdout, "\x1b[32m█")
      assert.include(stderr, "running")
      assert.isTrue(stderr.endsWith("\x1b[1F\x1b[J\x1b[?7l\x1b[?7h"), JSON.stringify(stderr.slice(-40)))
    }))

  it.effect("--json: one document with the times of each call", () =>
    Effect.gen(function* () {
      const { stdout } = yield* demo(["--json", "one"], folderOf({ alone: 16 }))
      const { calls } = JSON.parse(stdout)
      assert.deepStrictEqual(calls.map(({ path }: { path: string }) => path), ["alone", "no-such-file"])
      const [{ begunMillis, endedMillis, outcome, ranMillis, size }] = calls
      assert.deepStrictEqual([size, outcome, begunMillis], [16, "hashed", 0])
      assert.isAtLeast(endedMillis, ranMillis)
    }))
})

// ----------------------------------------------------------------------------
// the entry point
// ----------------------------------------------------------------------------

const program = fileURLToPath(new URL("../../src/demo.ts", import.meta.url))
const command = process.versions["deno"] ? ["run", "-A", program] : [program]

const start = (folder: string) => {
  const child = spawn(process.execPath, [...command, folder], { stdio: ["ignore", "pipe", "pipe"] })
  const written = { stdout: "", stderr: "" }
  child.stdout.on("data", (data) => written.stdout += data)
  child.stderr.on("data", (data) => written.stderr += data)
  const killer = setTimeout(() => child.kill("SIGKILL"), 20_000)
  const ended = new Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>(
    (resolve) =>
      child.once("close", (code) => {
        clearTimeout(killer)
        resolve({ code, ...written })
      })
  )
  return { child, ended }
}

const withFolder = async (use: (folder: string) => Promise<void>) => {
  const folder = mkdtempSync(join(tmpdir(), "callisto-demo-"))
  try {
    for (const [name, times] of [["one", 20], ["two", 20], ["three", 200]] as const) {
      writeFileSync(join(folder, name), name.repeat(times))
    }
    await use(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

describe("@callisto/rpc/demo", () => {
  it(
    "a small folder, no terminal: draws the timeline without colours and ends with 0",
    () =>
      withFolder(async (folder) => {
        const { code, stderr, stdout } = await start(folder).ended
        assert.deepStrictEqual([code, stderr], [0, ""])
        assert.notInclude(stdout, "\x1b")
        assert.include(stdout, `4 asynchronous calls hash files of ${basename(folder)}.`)
        // The SHA-256 of "one" 20 times.
        assert.match(stdout, /^one .* sha256 6c14e14ac…$/m)
        assert.match(stdout, /\n2 hashed, 1 cancelled, 1 aborted in \d\.\d s\.\n$/)
      }),
    30_000
  )

  it.skipIf(process.platform === "win32")(
    "Ctrl-C: ends with 130 without a timeline",
    () =>
      withFolder(async (folder) => {
        const { child, ended } = start(folder)
        await new Promise((resolve) => child.stdout.once("data", resolve))
        process.kill(child.pid!, "SIGINT")
        const { code, stderr, stdout } = await ended
        assert.deepStrictEqual([code, stderr], [130, ""])
        assert.notInclude(stdout, "hashed,")
      }),
    30_000
  )
})
