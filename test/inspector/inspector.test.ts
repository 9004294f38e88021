import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Layer, Queue, Redacted, Schema, Scope } from "effect"
import { Buffer } from "node:buffer"
import net from "node:net"
import process from "node:process"
import { Binding, Call, Interface, Manager, Observability, Server } from "../../mod.ts"
import * as Inspector from "../../src/inspector.ts"
import type { Message, Row } from "../../src/inspector/internal/feed.ts"
import { makeDesk } from "../fixtures.ts"
import { ask, bearer, inspect, look } from "./feed.ts"

const known = "a-token-of-the-tests"
const token = Redacted.make(known)

/** A desk whose calls an inspector shows. */
const inspectedDesk = (options?: Inspector.Options) =>
  Effect.gen(function* () {
    const inspector = yield* inspect(options)
    const made = yield* Effect.provideContext(makeDesk(), inspector.context)
    return { ...inspector, ...made }
  })

const portOf = (origin: string) => Number(new URL(origin).port)

const defectOf = <A, E>(layer: Layer.Layer<A, E>) =>
  Effect.map(
    Effect.exit(Effect.scoped(Layer.build(layer))),
    (exit) =>
      Exit.isFailure(exit)
        ? exit.cause.reasons.map((reason) => reason._tag === "Die" ? String(reason.defect) : reason._tag)
        : []
  )

const short = ({ code, interface: name, method, side, state }: Row) => `${side} ${name}.${method} ${state} ${code}`

// ----------------------------------------------------------------------------
// what is shown
// ----------------------------------------------------------------------------

describe("calls", () => {
  it.live("calls of both sides: are shown with their state, code and changes", () =>
    Effect.gen(function* () {
      const { desk, origin, token } = yield* inspectedDesk()
      yield* Call.invoke(desk, "Answer", "a")
      yield* Effect.exit(Call.invoke(desk, "Answer", "deny"))
      const held = yield* Call.begin(yield* Call.make(desk), "Hold", "secret")
      const viewer = yield* look(origin, token)
      assert.strictEqual(viewer.status, 200)
      const hello = yield* Queue.take(viewer.messages)
      assert.deepInclude(hello, { type: "hello", version: 1, cancel: false, values: false })
      const all = yield* viewer.until((_, message) => message.type === "calls" && message.all)
      assert.sameMembers(all.map(short), [
        "client Desk.Hold waiting null",
        "server Desk.Hold running null",
        "server Desk.Answer replied 0",
        "client Desk.Answer replied 0",
        "server Desk.Answer aborted 5000",
        "client Desk.Answer aborted 5000"
      ])
      const running = all.find(({ state }) => state === "running")!
      assert.deepStrictEqual(running.changes.map(([change]) => change), ["HandedOff"])
      assert.strictEqual(running.address, "local")
      assert.strictEqual(running.level, "privacy")
      yield* Call.cancel(held)
      const after = yield* viewer.until((calls) => calls.some(({ state }) => state === "cancelled"))
      const cancelled = after.find(({ state }) => state === "cancelled")!
      assert.deepInclude(cancelled, { side: "client", code: 1818, status: "RPC_S_CALL_CANCELLED" })
      assert.notInclude(JSON.stringify(after), "secret")
    }))

  it.live("values: arguments are shown, and cut where they are long", () =>
    Effect.gen(function* () {
      const { desk, origin, token } = yield* inspectedDesk({ values: true })
      yield* Call.invoke(desk, "Answer", "x".repeat(100_000))
      yield* Call.begin(yield* Call.make(desk), "Hold", "short")
      const viewer = yield* look(origin, token)
      const all = yield* viewer.until((calls) => calls.length === 4)
      for (const { input, method } of all) {
        if (method === "Hold") assert.strictEqual(input, '"short"')
        else assert.strictEqual(input!.length, 2000)
      }
    }))

  it.live("an observer of the program: runs beside the inspector, wherever it was provided", () =>
    Effect.gen(function* () {
      for (const inside of [true, false]) {
        const seen: Array<string> = []
        const observer: Observability.Observer = { ended: ({ side }) => void seen.push(side) }
        const observing = Effect.provideService(Observability.observer, observer)
        const { context, origin, token } = yield* inspect()
        const making = makeDesk()
        const { desk } = yield* inside
          ? Effect.provideContext(observing(making), context)
          : observing(Effect.provideContext(making, context))
        yield* Call.invoke(desk, "Answer", "a")
        assert.deepStrictEqual(seen, ["server", "client"])
        const viewer = yield* look(origin, token)
        yield* viewer.until((calls) => calls.length === 2)
      }
    }))

  it.live("more than a thousand calls: the last thousand ended ones and the first thousand in progress are shown", () =>
    Effect.gen(function* () {
      const { desk, held, origin, token } = yield* inspectedDesk()
      for (let i = 0; i < 1100; i++) yield* Call.invoke(desk, "Answer", "a")
      for (let i = 0; i < 600; i++) yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      const viewer = yield* look(origin, token)
      let totals: unknown
      const all = yield* viewer.until((_, message) => {
        if (message.type !== "calls") return false
        totals = message.totals
        return true
      })
      assert.strictEqual(all.filter(({ millis }) => millis !== null).length, 1000)
      assert.strictEqual(all.filter(({ millis }) => millis === null).length, 1000)
      assert.strictEqual(new Set(all.map(({ id }) => id)).size, 2000)
      assert.deepInclude(totals, { begun: 3400, inProgress: 1200, notShown: 200 })
      assert.strictEqual(yield* Queue.size(held), 600)
    }))

  it.live("names that are hostile or long: are shown as JSON, and cut", () =>
    Effect.gen(function* () {
      const text = `<img src=x onerror=alert(1)>\u202e\u001b[31m${"x".repeat(5000)}`
      const Long = Interface.make(`I${"x".repeat(5000)}`, { methods: { Run: Interface.method({ in: Schema.String }) } })
      const { context, origin, token } = yield* inspect()
      const server = yield* Effect.provideContext(
        Server.make([Manager.make(Long, { Run: () => Effect.void })]),
        context
      )
      const binding = yield* Binding.local(server, Long, { caller: { name: `${text}\n`, domain: text } })
      yield* Call.invoke(binding, "Run", "a")
      const viewer = yield* look(origin, token)
      const [row] = yield* viewer.until((calls) => calls.length === 1)
      assert.strictEqual(row!.interface.length, 200)
      assert.strictEqual(row!.caller!.length, 400)
      assert.isTrue(row!.caller!.startsWith("<img src=x onerror=alert(1)>\u202e\u001b[31m"))
    }))
})

// ----------------------------------------------------------------------------
// who may look
// ----------------------------------------------------------------------------

describe("requests", () => {
  it.live("the page and its files: hold no data, and have headers that keep other pages out", () =>
    Effect.gen(function* () {
      const { origin, token } = yield* inspect()
      for (
        const [path, type] of [
          ["/", "text/html"],
          ["/inspector.css", "text/css"],
          ["/inspector.js", "text/javascript"],
          ["/icon.svg", "image/svg+xml"]
        ] as const
      ) {
        const { headers, status, text } = yield* ask(origin + path)
        assert.strictEqual(status, 200)
        assert.include(headers["content-type"], type)
        assert.include(headers["content-security-policy"], "default-src 'none'; script-src 'self'; style-src 'self'")
        assert.include(headers["content-security-policy"], "frame-ancestors 'none'")
        assert.strictEqual(headers["referrer-policy"], "no-referrer")
        assert.strictEqual(headers["cache-control"], "no-store")
        assert.strictEqual(headers["x-content-type-options"], "nosniff")
        assert.isUndefined(headers["access-control-allow-origin"])
        assert.notInclude(text, token)
        if (path === "/") assert.notMatch(text, /<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|https?:/)
      }
    }))

  it.live("no token, a wrong one or one in the query: 401, and nothing is told", () =>
    Effect.gen(function* () {
      const { origin, token } = yield* inspect({ cancel: true })
      for (
        const headers of [
          {},
          bearer("wrong"),
          bearer(token.slice(1)),
          bearer(`${token}x`),
          { authorization: `Basic ${token}` },
          { cookie: `token=${token}` }
        ]
      ) {
        for (const [method, path] of [["GET", `/calls?token=${token}`], ["POST", "/calls/1/cancel"]] as const) {
          const { status, text } = yield* ask(origin + path, { method, headers })
          assert.strictEqual(status, 401)
          assert.notInclude(text, token)
        }
      }
    }))

  it.live("a Host of elsewhere: 403, for the page too, since a name of another owner may lead here", () =>
    Effect.gen(function* () {
      const { origin, token } = yield* inspect({ cancel: true })
      const port = portOf(origin)
      for (
        const host of [
          "evil.example",
          `evil.example:${port}`,
          "127.0.0.1.evil.example",
          "localhost.evil.example",
          "[::2]",
          "0.0.0.0"
        ]
      ) {
        for (const path of ["/", "/calls", "/nothing"]) {
          const { status } = yield* ask(origin + path, { headers: { ...bearer(token), host } })
          assert.strictEqual(status, 403, `${host} ${path}`)
        }
        const headers = { ...bearer(token), host }
        assert.strictEqual((yield* ask(`${origin}/calls/1/cancel`, { method: "POST", headers })).status, 403)
      }
      for (const host of ["localhost", `localhost:${port}`, `127.0.0.1:${port}`, "127.0.0.1:9999", `[::1]:${port}`]) {
        assert.strictEqual((yield* ask(origin, { headers: { host } })).status, 200, host)
      }
    }))

  it.live("an Origin of elsewhere: 403, even with the token", () =>
    Effect.gen(function* () {
      const { origin, token } = yield* inspect({ cancel: true })
      for (
        const other of [
          "https://evil.example",
          "null",
          origin.replace("http", "https"),
          "http://127.0.0.1:1",
          `${origin}.evil.example`
        ]
      ) {
        for (
          const [method, path] of [["GET", "/"], ["GET", "/calls"], ["POST", "/calls/1/cancel"], [
            "OPTIONS",
            "/calls"
          ]] as const
        ) {
          const { headers, status } = yield* ask(origin + path, {
            method,
            headers: { ...bearer(token), origin: other }
          })
          assert.strictEqual(status, 403, `${other} ${method} ${path}`)
          assert.isUndefined(headers["access-control-allow-origin"])
        }
      }
      assert.strictEqual((yield* ask(origin, { headers: { origin } })).status, 200)
    }))

  it.live("other paths and methods, and bodies: are refused", () =>
    Effect.gen(function* () {
      const { origin, token } = yield* inspect({ cancel: true })
      const headers = bearer(token)
      for (
        const path of [
          "/calls/",
          "/calls/x/cancel",
          "/calls/1",
          "/__proto__",
          "/constructor",
          "/../package.json",
          "/%2e%2e/x"
        ]
      ) {
        assert.strictEqual((yield* ask(origin + path, { headers })).status, 404, path)
      }
      for (
        const [method, path] of [["POST", "/"], ["POST", "/calls"], ["DELETE", "/inspector.js"], [
          "GET",
          "/calls/1/cancel"
        ], ["HEAD", "/calls/1/cancel"]] as const
      ) {
        const { headers: { allow }, status } = yield* ask(origin + path, { method, headers })
        assert.strictEqual(status, 405, `${method} ${path}`)
        assert.isString(allow)
      }
      assert.strictEqual((yield* ask(`${origin}/calls/1/cancel`, { method: "POST", headers, body: "x" })).status, 413)
    }))

  it.live("many viewers: sixteen may look, and a place is free again when one leaves", () =>
    Effect.gen(function* () {
      const { desk, origin, token } = yield* inspectedDesk()
      const scope = yield* Scope.fork(yield* Effect.scope)
      const viewers = yield* Effect.forEach(
        Array.from({ length: 16 }),
        (_, i) => i === 0 ? Scope.provide(look(origin, token), scope) : look(origin, token)
      )
      assert.deepStrictEqual(viewers.map(({ status }) => status), Array(16).fill(200))
      const { status, text } = yield* ask(`${origin}/calls`, { headers: bearer(token) })
      assert.strictEqual(status, 503)
      assert.include(text, "at most 16")
      yield* Call.invoke(desk, "Answer", "a")
      yield* Effect.forEach(viewers, ({ until }) => until((calls) => calls.length === 2), { concurrency: "unbounded" })
      yield* Scope.close(scope, Exit.void)
      let next = yield* look(origin, token)
      while (next.status !== 200) next = yield* Effect.delay(look(origin, token), 10)
    }))

  it.live(
    "a viewer that does not read: keeps no news, and gets all calls once it reads again",
    () =>
      Effect.gen(function* () {
        const { desk, origin, token } = yield* inspectedDesk({ values: true })
        const socket = net.connect(portOf(origin), "127.0.0.1")
        yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
        socket.on("error", () => {})
        socket.pause()
        socket.write(`GET /calls HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${token}\r\n\r\n`)
        const viewer = yield* look(origin, token)
        // Far more than sockets hold, so that a server that kept it would be seen.
        let ids = 0
        const turns = 16
        for (let turn = 0; turn < turns; turn++) {
          for (let i = 0; i < 125; i++) yield* Call.invoke(desk, "Answer", "x".repeat(2000))
          const from = ids
          yield* viewer.until((calls) => (ids = Math.max(...calls.map(({ id }) => id))) >= from + 250)
        }
        let news = 0
        let rest = ""
        yield* Effect.callback<void>((resume) => {
          socket.setEncoding("utf8")
          socket.on("data", (chunk: string) => {
            const text = rest + chunk
            news += text.split('"all":false').length - 1
            rest = text.slice(text.lastIndexOf("\n") + 1).slice(-10)
            if (text.includes(`"id":${ids},`)) resume(Effect.void)
          })
          socket.resume()
        })
        assert.isBelow(news, turns)
      }),
    30_000
  )
})

// ----------------------------------------------------------------------------
// cancel
// ----------------------------------------------------------------------------

describe("cancel", () => {
  const post = (origin: string, token: string, id: number) =>
    ask(`${origin}/calls/${id}/cancel`, { method: "POST", headers: bearer(token) })

  for (const side of ["client", "server"] as const) {
    it.live(`allowed, on the ${side}: ends the call`, () =>
      Effect.gen(function* () {
        const { desk, origin, token } = yield* inspectedDesk({ cancel: true })
        const pending = yield* Call.begin(yield* Call.make(desk), "Stay", "a")
        const viewer = yield* look(origin, token)
        const rows = yield* viewer.until((calls) => calls.length === 2)
        const { id } = rows.find((row) => row.side === side)!
        assert.strictEqual((yield* ask(`${origin}/calls/${id}/cancel`, { headers: bearer(token) })).status, 405)
        assert.strictEqual((yield* post(origin, token, id)).status, 202)
        assert.strictEqual((yield* Effect.flip(Call.join(pending)))._tag, "CallCancelled")
        yield* viewer.until((calls) => calls.every(({ millis }) => millis !== null))
        assert.strictEqual((yield* post(origin, token, id)).status, 404)
      }))
  }

  it.live("not allowed: 403, and the call goes on", () =>
    Effect.gen(function* () {
      const { desk, gate, origin, token } = yield* inspectedDesk()
      const pending = yield* Call.begin(yield* Call.make(desk), "Stay", "a")
      const { status, text } = yield* post(origin, token, 1)
      assert.strictEqual(status, 403)
      assert.include(text, "the option cancel")
      yield* Deferred.succeed(gate, "done")
      assert.strictEqual(yield* Call.join(pending), "done")
    }))
})

// ----------------------------------------------------------------------------
// the layer
// ----------------------------------------------------------------------------

describe("the layer", () => {
  it.live("its URL: is logged once, with a token that differs from run to run", () =>
    Effect.gen(function* () {
      const [one, two] = [yield* inspect(), yield* inspect()]
      assert.deepStrictEqual(one.logged, [`Inspector of calls: ${one.url}`])
      assert.match(one.url, /^http:\/\/127\.0\.0\.1:\d+\/#token=[\w-]{32}$/)
      assert.notStrictEqual(one.token, two.token)
    }))

  it.live("a token of the program: opens the inspector, and is not logged", () =>
    Effect.gen(function* () {
      const { logged, origin } = yield* inspect({ token })
      assert.strictEqual((yield* look(origin, known)).status, 200)
      assert.strictEqual(logged.length, 1)
      assert.notInclude(logged[0], known)
    }))

  it.live("::1: listens there alone", () =>
    Effect.gen(function* () {
      const { origin, token } = yield* inspect({ host: "::1" })
      assert.match(origin, /^http:\/\/\[::1\]:\d+$/)
      assert.strictEqual((yield* look(origin, token)).status, 200)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(ask(origin.replace("[::1]", "127.0.0.1")))))
    }))

  it.live("options that are wrong: are refused by name", () =>
    Effect.gen(function* () {
      const wrong: ReadonlyArray<readonly [object, string]> = [
        [{ host: "0.0.0.0" }, "host is out of range"],
        [{ host: "localhost" }, "host is out of range"],
        [{ host: "192.168.0.1" }, "host is out of range"],
        [{ port: 65536 }, "port is out of range"],
        [{ port: -1 }, "port is out of range"],
        [{ cancel: "yes" }, "cancel is out of range"],
        [{ values: 1 }, "values is out of range"],
        [{ token: Redacted.make("short") }, "token is wrong"],
        [{ token: known }, "token is wrong"],
        [{ token: Redacted.make(`${known}\r\n`) }, "token is wrong"]
      ]
      for (const [options, problem] of wrong) {
        const [defect] = yield* defectOf(Inspector.layer(options as Inspector.Options))
        assert.include(defect, `TypeError: Inspector.layer: ${problem}`)
        assert.notInclude(defect, known)
      }
    }))

  it.live("a port that is in use: CantCreateEndpoint 1740 that names it", () =>
    Effect.gen(function* () {
      const { origin } = yield* inspect()
      const port = portOf(origin)
      const failure = yield* Effect.flip(Effect.scoped(Layer.build(Inspector.layer({ port }))))
      assert.strictEqual(failure.status, 1740)
      assert.include(failure.message, `port ${port} of 127.0.0.1 is in use`)
    }))

  it.live("the end of the program: tells the viewers, closes the port and every connection", () =>
    Effect.gen(function* () {
      const { close, origin, token } = yield* inspect()
      const viewer = yield* look(origin, token)
      // One that has sent half a request, and one that has sent nothing: Bun does not tell of that.
      const begun = "bun" in process.versions ? ["GET / HT"] : ["GET / HT", ""]
      const idle = yield* Effect.forEach(begun, (text) =>
        Effect.callback<net.Socket>((resume) => {
          const socket = net.connect(portOf(origin), "127.0.0.1", () => {
            socket.write(text)
            resume(Effect.succeed(socket))
          })
          socket.on("error", () => {})
        }))
      const gone = Effect.forEach(idle, (socket) =>
        Effect.callback<void>((resume) => {
          if (socket.closed) resume(Effect.void)
          socket.on("close", () => resume(Effect.void))
          socket.resume()
        }), { concurrency: "unbounded" })
      yield* Effect.all([close, gone], { concurrency: "unbounded" })
      yield* viewer.ended
      const messages: ReadonlyArray<Message> = yield* Queue.takeAll(viewer.messages)
      assert.deepStrictEqual(messages.at(-1), { type: "end" })
      assert.isTrue(Exit.isFailure(yield* Effect.exit(ask(origin))))
    }))

  it.live("requests that are no HTTP: end their connections alone", () =>
    Effect.gen(function* () {
      const { origin } = yield* inspect()
      for (
        const bytes of ["\0\0\0\0\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", `GET /${"x".repeat(200_000)} HTTP/1.1\r\n\r\n`]
      ) {
        yield* Effect.callback<void>((resume) => {
          const socket = net.connect(portOf(origin), "127.0.0.1", () => socket.write(Buffer.from(bytes)))
          socket.on("error", () => {})
          socket.on("close", () => resume(Effect.void))
          socket.resume()
        })
      }
      assert.strictEqual((yield* ask(origin)).status, 200)
    }))
})
