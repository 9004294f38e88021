import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Schedule, Scope, Stream } from "effect"
import { HttpRouter } from "effect/http"
import { Buffer } from "node:buffer"
import * as net from "node:net"
import { Call, Server } from "../../mod.ts"
import * as Web from "../../src/web.ts"
import { ask, bind, clientWith, closeCode, closeCodeOf, frame, proxyTo, serve } from "./serving.ts"

const users = new Map([["4f2a", "alice"]])

const caller: Web.Options["caller"] = ({ cookies }) => {
  const session = cookies["session"]
  const name = users.get(session ?? "")
  return name === undefined
    ? Effect.fail(new Web.Refused({ status: session === undefined ? 401 : 403, detail: "log in first" }))
    : Effect.succeed({ name, level: "connect" })
}

const works = Effect.fnUntraced(function* (place: Effect.Success<ReturnType<typeof serve>>) {
  const binding = yield* bind(place)
  assert.strictEqual(yield* Call.invoke(binding, "Double", 21), 42)
}, Effect.provide(Web.layer))

describe("calls", () => {
  it.live("a client over the global WebSocket: results, aborts, and pipes both ways", () =>
    Effect.gen(function* () {
      const client = Call.client(yield* bind(yield* serve()))
      assert.strictEqual(yield* client.Double(21), 42)
      const abort = yield* Effect.flip(client.Double(-1))
      assert.deepInclude({ ...abort }, { _tag: "Unwilling", why: "too small" })
      assert.strictEqual(yield* Stream.run(Stream.make("a", "b"), client.Join.sink()), "a b")
      assert.deepStrictEqual(yield* Stream.runCollect(client.Split.stream("c d")), ["c", "d"])
      const large = yield* client.Large(3_000_000)
      assert.strictEqual(large.length, 3_000_000)
    }).pipe(Effect.provide(Web.layer)))

  it.live("1,000 calls at once on one connection: each has its result", () =>
    Effect.gen(function* () {
      const client = Call.client(yield* bind(yield* serve()))
      const results = yield* Effect.forEach(Array.from({ length: 1000 }, (_, n) => n), (n) => client.Double(n), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(results, results.map((_, n) => n * 2))
    }).pipe(Effect.provide(Web.layer)))

  it.live("no caller given: calls have no name and level none, and the address of the client", () =>
    Effect.gen(function* () {
      const { level, name, peer } = yield* Call.invoke(yield* bind(yield* serve()), "Caller")
      assert.deepStrictEqual({ level, name }, { level: "none", name: "nobody" })
      assert.match(peer, /^ncacn_ws:127\.0\.0\.1\[\d+\]$/)
    }).pipe(Effect.provide(Web.layer)))
})

describe("callers", () => {
  it.live("a cookie names the user: the calls have its name and level", () =>
    Effect.gen(function* () {
      const place = yield* serve({ caller })
      const binding = yield* Effect.provide(bind(place), clientWith({ cookie: "a=b; session=4f2a" }))
      const { level, name } = yield* Call.invoke(binding, "Caller")
      assert.deepStrictEqual({ level, name }, { level: "connect", name: "alice" })
    }))

  it.live("the caller is refused: the answer has the status and the text, and nothing is upgraded", () =>
    Effect.gen(function* () {
      const place = yield* serve({ caller })
      for (const [cookie, expected] of [["", 401], ["session=none", 403]] as const) {
        const { status, text } = yield* ask(place, { cookie, connection: "close, Upgrade" })
        assert.strictEqual(status, expected)
        assert.include(yield* text, "log in first")
      }
      const error = yield* Effect.flip(Effect.provide(bind(place), Web.layer))
      assert.deepInclude({ ...error }, { _tag: "RpcTransportError", status: 1722 })
    }))

  it.live("the caller dies: 500, and the server goes on", () =>
    Effect.gen(function* () {
      const place = yield* serve({
        caller: ({ cookies }) => cookies["bad"] === undefined ? Effect.succeed({}) : Effect.die(new Error("a secret"))
      })
      const { status, text } = yield* ask(place, { cookie: "bad=1" })
      assert.strictEqual(status, 500)
      assert.notInclude(yield* text, "secret")
      yield* works(place)
    }))

  it.live("the caller is not known within bindTimeout: 503, its effect is interrupted, and the server goes on", () =>
    Effect.gen(function* () {
      const left = yield* Deferred.make<void>()
      const place = yield* serve({
        bindTimeout: "200 millis",
        caller: ({ cookies }) =>
          cookies["slow"] === undefined
            ? Effect.succeed({})
            : Effect.onInterrupt(Effect.never, () => Deferred.succeed(left, undefined))
      })
      assert.strictEqual((yield* ask(place, { cookie: "slow=1" })).status, 503)
      yield* Deferred.await(left)
      yield* works(place)
    }))

  it.live("the caller is no identity: 500, and nothing is upgraded", () =>
    Effect.gen(function* () {
      const place = yield* serve({ caller: () => Effect.succeed({ level: "highest" as never }) })
      assert.strictEqual((yield* ask(place)).status, 500)
    }))
})

describe("requests", () => {
  it.live("a request that is no upgrade: 426, and the other routes are there", () =>
    Effect.gen(function* () {
      const place = yield* serve()
      const plain = yield* ask(place, { upgrade: "", connection: "close" })
      assert.strictEqual(plain.status, 426)
      assert.include(plain.head, "upgrade: websocket")
      assert.strictEqual((yield* ask(place, { upgrade: "h2c" })).status, 426)
      assert.strictEqual((yield* ask(place, { upgrade: "", connection: "close" }, "/")).status, 200)
      assert.strictEqual((yield* ask(place, { connection: "close, Upgrade" }, "/other")).status, 404)
    }))

  it.live("an upgrade without a key: 400, and the server goes on", () =>
    Effect.gen(function* () {
      const place = yield* serve()
      const { closed, status } = yield* ask(place, { "sec-websocket-key": "" })
      assert.strictEqual(status, 400)
      yield* closed
      yield* works(place)
    }))

  it.live("no place for one more connection: 503", () =>
    Effect.gen(function* () {
      const place = yield* serve({ maximumConnections: 0 })
      assert.strictEqual((yield* ask(place)).status, 503)
    }))
})

describe("origins", () => {
  const statusOf = (options: Web.Options, headers: Readonly<Record<string, string>>) =>
    Effect.scoped(Effect.gen(function* () {
      const { conn, status } = yield* ask(yield* serve(options), { connection: "close, Upgrade", ...headers })
      conn.destroy()
      return status
    }))
  const host = "app.example"

  for (
    const [title, origin, options, expected] of [
      ["none", "", {}, 101],
      ["the host of the request", "https://app.example", {}, 101],
      ["the host of the request, in other letters", "https://APP.example:443", {}, 101],
      ["another host", "https://evil.example", {}, 403],
      ["another port", "https://app.example:8443", {}, 403],
      ["a host that begins the same", "https://app.example.evil.example", {}, 403],
      ["the host as a user", "https://app.example@evil.example", {}, 403],
      ["null, of a sandboxed page", "null", {}, 403],
      ["no URL", "%", {}, 403],
      [
        "one of those allowed",
        "https://other.example",
        { origins: ["https://a.example", "https://other.example"] },
        101
      ],
      [
        "the host of the request, not among those allowed",
        "https://app.example",
        { origins: ["https://a.example"] },
        403
      ],
      ["an application that is allowed", "tauri://localhost", { origins: ["tauri://localhost"] }, 101],
      ["another scheme, the host of the request", "tauri://app.example", {}, 403],
      ["another host, any allowed", "https://evil.example", { origins: "any" }, 101]
    ] as const
  ) {
    it.live(`${title}: ${expected}`, () =>
      Effect.map(statusOf(options, { host, origin }), (status) => assert.strictEqual(status, expected)))
  }

  it.live("a page of another origin: 403 names both, and the caller is not asked", () =>
    Effect.gen(function* () {
      let asked = 0
      const place = yield* serve({ caller: () => Effect.sync(() => ({ name: `${++asked}` })) })
      const { text } = yield* ask(place, { origin: "https://evil.example", connection: "close, Upgrade" })
      assert.include(yield* text, `got https://evil.example, expected the host of the request, 127.0.0.1:${place.port}`)
      assert.strictEqual(asked, 0)
    }))

  for (
    const [title, origins, shown] of [
      ["an origin with a path", ["https://app.example/"], '"https://app.example/"'],
      ["text in place of an array", "https://app.example" as never, '"https://app.example"'],
      ["null", ["null"], '"null"']
    ] as const
  ) {
    it.effect(`${title}: refused when the layer is made`, () =>
      Effect.gen(function* () {
        const live = Web.httpRouter("/rpc", { origins }).pipe(
          Layer.provide([HttpRouter.layer, Layer.effect(Server.Server, Server.make([]))])
        )
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(live)))
        const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        assert.instanceOf(defect, TypeError)
        assert.include(defect.message, `Web.httpRouter: origins has no origin, got ${shown}`)
      }))
  }
})

describe("hostile clients", () => {
  it.live("a text frame: closed with 1003", () =>
    Effect.gen(function* () {
      const place = yield* serve()
      const client = yield* ask(place)
      client.conn.write(frame(1, new TextEncoder().encode("hello")))
      assert.strictEqual(yield* closeCodeOf(client), 1003)
      yield* works(place)
    }))

  it.live("bytes that are no PDU: closed", () =>
    Effect.gen(function* () {
      const place = yield* serve()
      const client = yield* ask(place)
      client.conn.write(frame(2, new Uint8Array(64).fill(255)))
      assert.isDefined(yield* closeCodeOf(client))
      yield* works(place)
    }))

  it.live("a frame larger than the server takes: closed before its bytes arrive", () =>
    Effect.gen(function* () {
      const place = yield* serve({}, { websocket: { maxPayload: 0x100000 } })
      const { closed, conn } = yield* ask(place)
      conn.write(frame(2, new Uint8Array(16), 0x40000000))
      yield* closed
      yield* works(place)
    }))

  it.live("a client that never binds: closed after bindTimeout", () =>
    Effect.gen(function* () {
      assert.isDefined(yield* closeCodeOf(yield* ask(yield* serve({ bindTimeout: 50 }))))
    }))

  it.live("a client that does not read: its calls wait, and the others go on", () =>
    Effect.gen(function* () {
      const place = yield* serve()
      const proxy = yield* proxyTo(place)
      const client = Call.client(yield* bind(proxy.place))
      yield* client.Double(1)
      yield* proxy.pause
      const calls = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 64 }), () => client.Large(1_000_000), { concurrency: "unbounded" })
      )
      for (let quiet = 0, before = 0; quiet < 5; quiet++) {
        yield* works(place)
        if (place.large() !== before || before === 0) quiet = 0
        before = place.large()
      }
      assert.isBelow(place.large(), 32)
      yield* proxy.resume
      yield* Fiber.join(calls)
      assert.strictEqual(place.large(), 64)
    }).pipe(Effect.provide(Web.layer)))
})

const isNode = !("Deno" in globalThis) && !("Bun" in globalThis)

describe("many clients", () => {
  // On Deno and Bun Effect's HTTP server takes 30 seconds to close behind connections that were evicted.
  it.live.skipIf(!isNode)(
    "a storm of 300 upgrades, of which 5 have a place: the oldest are closed, and a client that calls gets in",
    () =>
      Effect.gen(function* () {
        const place = yield* serve({ maximumConnections: 5 })
        const answers = yield* Effect.forEach(Array.from({ length: 300 }), () => ask(place), { concurrency: 50 })
        assert.isTrue(answers.every(({ status }) => status === 101 || status === 503))
        yield* works(place)
        const closing = yield* Effect.forEach(answers, ({ received }) => Effect.sync(() => closeCode(received())))
        assert.isAtLeast(closing.filter((code) => code !== undefined).length, 290)
        for (const { conn } of answers) conn.destroy()
      })
  )

  it.live("pings and pongs that nobody asked for: the connection goes on", () =>
    Effect.gen(function* () {
      const place = yield* serve({ bindTimeout: "1 second" })
      const raw = yield* ask(place)
      for (let i = 0; i < 100; i++) {
        raw.conn.write(Buffer.concat([frame(9, Buffer.from("a")), frame(10, Buffer.from("b"))]))
      }
      const code = yield* closeCodeOf(raw)
      assert.notStrictEqual(code, 1002)
      yield* works(place)
    }))
})

describe("ends", () => {
  // The connections of Bun's HTTP server have a prototype of their own.
  it.live.skipIf("Bun" in globalThis)(
    "client that vanishes: a probe of its connection notices it",
    () =>
      Effect.gen(function* () {
        const original = net.Socket.prototype.setKeepAlive
        const probed: Array<ReadonlyArray<unknown>> = []
        yield* Effect.acquireRelease(
          Effect.sync(() => {
            net.Socket.prototype.setKeepAlive = function (this: net.Socket, ...args: []) {
              probed.push(args)
              return original.apply(this, args)
            }
          }),
          () => Effect.sync(() => (net.Socket.prototype.setKeepAlive = original))
        )
        yield* works(yield* serve())
        assert.deepInclude(probed, [true, 30_000, 10_000, 3])
      })
  )

  it.live("the client goes away mid-call: its routine is interrupted", () =>
    Effect.gen(function* () {
      const place = yield* serve()
      const scope = yield* Scope.make()
      const binding = yield* Scope.provide(bind(place), scope)
      yield* Effect.forkChild(Effect.exit(Call.invoke(binding, "Wait")))
      yield* place.begun
      yield* Scope.close(scope, Exit.void)
      yield* place.interrupted
    }).pipe(Effect.provide(Web.layer)))

  it.live("the connection breaks mid-call: its routine is interrupted, and the next call connects again", () =>
    Effect.gen(function* () {
      const place = yield* serve()
      const proxy = yield* proxyTo(place)
      const client = Call.client(yield* bind(proxy.place))
      const waiting = yield* Effect.forkChild(Effect.flip(client.Wait()))
      yield* place.begun
      yield* proxy.cut
      yield* place.interrupted
      assert.deepInclude({ ...yield* Fiber.join(waiting) }, { status: 1726 })
      assert.strictEqual(yield* client.Double(21), 42)
    }).pipe(Effect.provide(Web.layer)))

  it.live("the server ends: a call in progress replies, new ones are refused", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const place = yield* Scope.provide(serve({}, { grace: "20 seconds" }), scope)
      const binding = yield* bind(place)
      const waiting = yield* Effect.forkChild(Call.invoke(binding, "Wait"))
      yield* place.begun
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      // The connection takes calls until the client has heard of the end.
      yield* Effect.retry(Effect.flip(Call.invoke(binding, "Double", 1)), Schedule.spaced(5))
      yield* place.go
      assert.strictEqual(yield* Fiber.join(waiting), "done")
      yield* Fiber.join(closing)
    }).pipe(Effect.provide(Web.layer)))

  it.live("the server ends and a call does not: it fails with 1726 after the period of grace", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const place = yield* Scope.provide(serve({}, { grace: 50 }), scope)
      const binding = yield* bind(place)
      const waiting = yield* Effect.forkChild(Effect.flip(Call.invoke(binding, "Wait")))
      yield* place.begun
      yield* Scope.close(scope, Exit.void)
      assert.deepInclude({ ...yield* Fiber.join(waiting) }, { status: 1726 })
    }).pipe(Effect.provide(Web.layer)))
})
