import { assert, describe, it } from "@effect/vitest"
import { type Cause, ConfigProvider, Console, Effect, Fiber, Layer, Queue, Sink, Stdio, Stream } from "effect"
import { TestClock } from "effect/testing"
import { spawn } from "node:child_process"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { Call } from "../../mod.ts"
import { type FeedFailure, Feeds } from "../../src/cli/Feeds.ts"
import { run } from "../../src/cli/Program.ts"
import type { Message, Row, Totals } from "../../src/inspector/internal/feed.ts"
import * as Memory from "../../src/transport/Memory.ts"
import { makeDesk } from "../fixtures.ts"
import { inspect } from "./feed.ts"

const url = "http://127.0.0.1:7777/#token=a-token-of-the-tests"

// ----------------------------------------------------------------------------
// an inspector that says what a test wants
// ----------------------------------------------------------------------------

const totals: Totals = {
  begun: 3,
  inProgress: 1,
  notShown: 0,
  ended: { replied: 1, aborted: 1, cancelled: 0, lost: 0, abandoned: 0, refused: 0 }
}

const hello: Message = {
  type: "hello",
  version: 1,
  program: { name: "kitchen.ts", pid: 42, runtime: "Node" },
  cancel: false,
  values: false,
  maximumEnded: 1000
}

const call = (id: number, more: Partial<Row> = {}): Row => ({
  id,
  side: "server",
  interface: "IKitchen",
  method: "Cook",
  state: "running",
  caller: "alice",
  level: "privacy",
  address: "local",
  begunAt: 0,
  millis: null,
  code: null,
  status: null,
  bytesIn: 0,
  bytesOut: 0,
  changes: [],
  traceId: null,
  spanId: null,
  input: null,
  ...more
})

const replied = (id: number, more: Partial<Row> = {}) => call(id, { state: "replied", millis: 1500, code: 0, ...more })

const calls = (rows: ReadonlyArray<Row>, all = false, skipped = 0): Message => ({
  type: "calls",
  now: 0,
  all,
  calls: rows,
  skipped,
  totals
})

interface Around {
  readonly terminal?: { readonly columns: number; readonly rows: number }
}

/** The tool with feeds that the test writes, one for each connection, and what it has printed. */
const makeTool = (args: ReadonlyArray<string>, { terminal }: Around = {}) =>
  Effect.gen(function* () {
    const connections = yield* Queue.unbounded<Queue.Queue<string, FeedFailure | Cause.Done>>()
    const written = { stdout: "", stderr: "" }
    const capture = (output: "stdout" | "stderr") => () =>
      Sink.forEach((chunk: string | Uint8Array) => Effect.sync(() => written[output] += String(chunk)))
    const services = Layer.mergeAll(
      Stdio.layerTest({
        stdoutIsTerminal: Effect.succeed(terminal !== undefined),
        stderrIsTerminal: Effect.succeed(false),
        stdout: capture("stdout"),
        stderr: capture("stderr")
      }),
      ConfigProvider.layer(ConfigProvider.fromEnv({ env: { TERM: "xterm", NO_COLOR: "1" } })),
      Memory.layer,
      Layer.succeed(Feeds, {
        open: () =>
          Stream.unwrap(Effect.map(Queue.take(connections), (lines) =>
            Stream.map(Stream.fromQueue(lines), (line) =>
              new TextEncoder().encode(line)))),
        size: Effect.succeed(terminal ?? { columns: 80, rows: 24 })
      })
    )
    const console = {
      ...globalThis.console,
      error: (line: unknown) =>
        written.stderr += `${line}\n`
    }
    const connect = Effect.gen(function* () {
      const lines = yield* Queue.unbounded<string, FeedFailure | Cause.Done>()
      yield* Queue.offer(connections, lines)
      const tell = (...messages: ReadonlyArray<Message | string>) =>
        Effect.andThen(
          Queue.offerAll(lines, messages.map((one) => typeof one === "string" ? one : `${JSON.stringify(one)}\n`)),
          TestClock.adjust(1)
        )
      return {
        tell,
        lose: Effect.andThen(Queue.end(lines), TestClock.adjust(1)),
        fail: (failure: FeedFailure) => Queue.fail(lines, failure)
      }
    })
    const fiber = yield* Effect.forkScoped(
      Effect.provide(Effect.provideService(run(["watch", ...args]), Console.Console, console), services)
    )
    return { written, connect, fiber, ended: Effect.map(Fiber.join(fiber), (code) => ({ code, ...written })) }
  })

// ----------------------------------------------------------------------------
// lines
// ----------------------------------------------------------------------------

describe("callisto watch, not on a terminal", () => {
  it.effect("events of calls: a line each, and none for calls that had ended before or for bytes", () =>
    Effect.gen(function* () {
      const { connect, written } = yield* makeTool([url])
      const { tell } = yield* connect
      yield* tell(hello, calls([call(1), replied(2)], true))
      yield* tell(calls([call(1, { bytesIn: 5 })]))
      yield* tell(calls([call(1, { changes: [["CancelRequested", 700]] })]))
      yield* tell(calls(
        [
          call(1, {
            state: "cancelled",
            millis: 1000,
            code: 1818,
            status: "RPC_S_CALL_CANCELLED",
            changes: [["CancelRequested", 700]]
          }),
          replied(3, { side: "client", caller: null, bytesIn: 2000, bytesOut: 7 })
        ],
        false,
        12
      ))
      assert.deepStrictEqual(written.stdout.trim().split("\n"), [
        "1970-01-01T00:00:00.000Z #1 server IKitchen.Cook running, alice local",
        "1970-01-01T00:00:00.700Z #1 server IKitchen.Cook running, cancel requested, alice local",
        "12 ended calls were too fast to be shown",
        "1970-01-01T00:00:01.000Z #1 server IKitchen.Cook cancelled, 1818 RPC_S_CALL_CANCELLED, 1 s, in 0 B, out 0 B, alice local",
        "1970-01-01T00:00:01.500Z #3 client IKitchen.Cook replied, 1.5 s, in 2.00 KB, out 7 B, local"
      ])
      assert.strictEqual(written.stderr, "")
    }))

  it.effect("--json: the calls as JSON", () =>
    Effect.gen(function* () {
      const { connect, written } = yield* makeTool([url, "--json"])
      const { tell } = yield* connect
      yield* tell(hello, calls([call(1)], true), calls([replied(1)], false, 3))
      assert.deepStrictEqual(written.stdout.trim().split("\n").map((line) => JSON.parse(line)), [call(1), {
        skipped: 3
      }, replied(1)])
    }))

  it.effect("--filter and --side: show only the calls that are wanted", () =>
    Effect.gen(function* () {
      const { connect, written } = yield* makeTool([url, "--filter", "COOK alice", "--side", "server"])
      const { tell } = yield* connect
      yield* tell(
        hello,
        calls([call(1), call(2, { method: "Menu" }), call(3, { side: "client" }), call(4, { caller: "bob" })], true)
      )
      assert.match(written.stdout, /^\S+ #1 [^\n]*\n$/)
    }))

  it.effect("names with control characters: are printed harmless", () =>
    Effect.gen(function* () {
      const { connect, written } = yield* makeTool([url])
      const { tell } = yield* connect
      yield* tell(
        hello,
        calls([call(1, { method: "\u001b[2J\u0007\r\n", caller: "\u202ealice\u2028", address: "\u009b1m" })], true)
      )
      const [line, ...rest] = written.stdout.split("\n")
      assert.deepStrictEqual(rest, [""])
      assert.notMatch(line!, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
      assert.include(line, "\\u{1b}[2J\\u{7}\\u{d}\\u{a}")
    }))
})

// ----------------------------------------------------------------------------
// the end
// ----------------------------------------------------------------------------

describe("callisto watch, when it ends", () => {
  it.effect("a program that comes back: its calls are shown, without those that are known", () =>
    Effect.gen(function* () {
      const { connect, written } = yield* makeTool([url])
      const one = yield* connect
      yield* one.tell(hello, calls([call(1)], true))
      yield* one.lose
      const two = yield* connect
      yield* TestClock.adjust("1 second")
      yield* two.tell(hello, calls([call(1), call(2)], true))
      assert.deepStrictEqual(written.stdout.match(/#\d/g), ["#1", "#2"])
    }))

  for (
    const [says, messages] of [["The program has ended.", [{ type: "end" } as const]], [
      "The inspector at http://127.0.0.1:7777 is gone.",
      []
    ]] as const
  ) {
    it.effect(`a program that stays away: ends with 3 after ten seconds, and says: ${says}`, () =>
      Effect.gen(function* () {
        const { connect, ended } = yield* makeTool([url])
        const one = yield* connect
        yield* one.tell(hello, calls([], true), ...messages)
        yield* one.lose
        for (let i = 0; i < 22; i++) {
          const next = yield* connect
          yield* next.fail({ status: undefined, reason: "connect ECONNREFUSED" })
          yield* TestClock.adjust(500)
        }
        const { code, stderr } = yield* ended
        assert.strictEqual(code, 3)
        assert.include(stderr, says)
        assert.include(stderr, "options port and token")
      }))
  }

  for (
    const [status, reason, expected, says] of [
      [undefined, "connect ECONNREFUSED", 3, "No inspector answers at http://127.0.0.1:7777: connect ECONNREFUSED"],
      [401, "The token is missing", 1, "The token is wrong."],
      [503, "Too many look already", 1, "Too many look already"],
      [404, "\u001b[31m", 1, "answers 404: \\u{1b}[31m"]
    ] as const
  ) {
    it.effect(`the first answer is ${status ?? "none"}: ends with ${expected}`, () =>
      Effect.gen(function* () {
        const { connect, ended } = yield* makeTool([url])
        yield* (yield* connect).fail({ status, reason })
        const { code, stderr } = yield* ended
        assert.strictEqual(code, expected)
        assert.include(stderr, says)
        assert.notInclude(stderr, "a-token-of-the-tests")
      }))
  }

  it.effect("another token after a restart: ends with 1, and says so", () =>
    Effect.gen(function* () {
      const { connect, ended } = yield* makeTool([url])
      const one = yield* connect
      yield* one.tell(hello, calls([], true))
      yield* one.lose
      yield* (yield* connect).fail({ status: 401, reason: "" })
      yield* TestClock.adjust("1 second")
      const { code, stderr } = yield* ended
      assert.strictEqual(code, 1)
      assert.include(stderr, "was started again and has another token")
    }))

  for (
    const line of [
      "<html>\n",
      "null\n",
      "{}\n",
      '{"type":"hello"}\n',
      '{"type":"calls","calls":[{}]}\n',
      `${JSON.stringify(calls([{ ...call(1), changes: [[1]] } as never]))}\n`,
      `${JSON.stringify({ ...calls([]), totals: null })}\n`
    ]
  ) {
    it.effect(`something that is no inspector and sends ${line.trim().slice(0, 40)}: ends with 1`, () =>
      Effect.gen(function* () {
        const { connect, ended } = yield* makeTool([url, "--json"])
        yield* (yield* connect).tell(line)
        const { code, stderr } = yield* ended
        assert.strictEqual(code, 1)
        assert.include(JSON.parse(stderr).error.message, "is not an inspector")
      }))
  }

  for (
    const wrong of [
      "http://127.0.0.1:7777",
      "http://evil.example/#token=a",
      "https://127.0.0.1/#token=a",
      "http://127.0.0.1.evil.example/#token=a",
      "http://127.0.0.1@evil.example/#token=a",
      "ncacn_ip_tcp:127.0.0.1[1]",
      "http://127.0.0.1:7777/x#token=a"
    ]
  ) {
    it.effect(`the URL ${wrong}: is refused with 2, and nothing is sent`, () =>
      Effect.gen(function* () {
        const { ended } = yield* makeTool([wrong])
        const { code, stderr } = yield* ended
        assert.strictEqual(code, 2)
        assert.include(stderr, "http://127.0.0.1:PORT/#token=TOKEN")
      }))
  }
})

describe("callisto watch, used wrongly", () => {
  for (
    const [title, args] of [
      ["a URL that is wrong", ["http://127.0.0.1:7777/x#token=a-known-secret"]],
      ["a token in place of the URL", ["a-known-secret"]],
      ["the URL twice", [url, "http://127.0.0.1:7777/#token=a-known-secret"]],
      ["the URL as another option", [url, "--side", "http://127.0.0.1:7777/#token=a-known-secret"]]
    ] as const
  ) {
    for (const flags of [[], ["--json"]]) {
      it.effect(`${[title, ...flags].join(", ")}: the token is not repeated`, () =>
        Effect.gen(function* () {
          const { ended } = yield* makeTool([...args, ...flags])
          const { code, stderr, stdout } = yield* ended
          assert.strictEqual(code, 2)
          assert.notInclude(stderr + stdout, "a-known-secret")
        }))
    }
  }
})

// ----------------------------------------------------------------------------
// the picture
// ----------------------------------------------------------------------------

describe("callisto watch, on a terminal", () => {
  for (const [columns, rows] of [[200, 30], [120, 12], [80, 24], [40, 6], [1, 1]] as const) {
    it.effect(`${columns} columns and ${rows} rows: the picture fits, and shows the state of the call`, () =>
      Effect.gen(function* () {
        const { connect, written } = yield* makeTool([url], { terminal: { columns, rows } })
        const { tell } = yield* connect
        yield* tell(
          hello,
          calls([...Array.from({ length: 50 }, (_, i) => replied(i + 2)), call(1, { method: "Cook\u001b[2J" })], true)
        )
        yield* TestClock.adjust("3 seconds")
        const frame = written.stdout.split("\u001b[J").at(-1)!.replaceAll("\u001b[?7l", "").replaceAll("\u001b[?7h", "")
        const lines = frame.trimEnd().split("\n")
        assert.notInclude(frame, "\u001b[2J")
        if (columns < 40) return
        assert.isAtMost(lines.length, rows)
        for (const line of lines) assert.isAtMost(line.length, columns)
        assert.match(frame, /running .* 3\.0 s/)
        assert.include(frame, "replied")
      }))
  }
})

describe("callisto watch, at something that is no inspector", () => {
  it.effect("states and changes with the names of an object's own functions: are shown as they are", () =>
    Effect.gen(function* () {
      const { connect, fiber, written } = yield* makeTool([url], { terminal: { columns: 120, rows: 12 } })
      const { tell } = yield* connect
      const odd = { state: "constructor", changes: [["toString", 1]] } as unknown as Partial<Row>
      yield* tell(hello, calls([call(1, odd)], true))
      yield* TestClock.adjust("1 second")
      assert.isUndefined(fiber.pollUnsafe())
      assert.match(written.stdout, /construc… .* toString/)
    }))

  it.effect("a line of 32 MiB in small pieces: costs no more than its bytes", () =>
    Effect.gen(function* () {
      const { connect, ended } = yield* makeTool([url])
      const { fail, tell } = yield* connect
      const before = performance.now()
      const piece = "x".repeat(4096)
      yield* tell(...Array.from({ length: 8192 }, () => piece))
      yield* fail({ status: 400, reason: "enough" })
      assert.strictEqual((yield* ended).code, 1)
      assert.isBelow(performance.now() - before, 20_000)
    }))
})

// ----------------------------------------------------------------------------
// a real one
// ----------------------------------------------------------------------------

describe("the tool and a real inspector", () => {
  it.live("a call: is printed, and SIGINT ends the tool with 130", () =>
    Effect.gen(function* () {
      const { context, url } = yield* inspect()
      const { desk } = yield* Effect.provideContext(makeDesk(), context)
      const cli = fileURLToPath(new URL("../../src/cli.ts", import.meta.url))
      const flags = "deno" in process.versions ? ["run", "-A", "--no-check"] : []
      const child = spawn(process.execPath, [...flags, cli, "watch", url])
      yield* Effect.addFinalizer(() => Effect.sync(() => child.kill("SIGKILL")))
      let stdout = ""
      const read = Effect.callback<void>((resume) => {
        child.stdout.on("data", (chunk) => {
          stdout += chunk
          if (stdout.includes("Desk.Hold")) resume(Effect.void)
        })
      })
      yield* Call.begin(yield* Call.make(desk), "Hold", "secret")
      yield* read
      const code = yield* Effect.callback<number | null>((resume) => {
        child.on("close", (code) => resume(Effect.succeed(code)))
        process.kill(child.pid!, "SIGINT")
      })
      assert.strictEqual(code, 130)
      assert.notInclude(stdout, "secret")
    }), 30_000)
})
