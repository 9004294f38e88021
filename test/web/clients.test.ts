import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Layer } from "effect"
import { Call, Server } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as MessagePort from "../../src/transport/MessagePort.ts"
import { parse } from "../../src/transport/StringBinding.ts"
import * as Web from "../../src/web.ts"
import { bind, serve } from "./serving.ts"
import { ISums, sums } from "./sums.ts"

describe("string bindings of URLs", () => {
  for (
    const [url, binding] of [
      ["ws://localhost:8080/rpc", "ncacn_ws:localhost[8080,path=/rpc]"],
      ["http://localhost:8080/rpc", "ncacn_ws:localhost[8080,path=/rpc]"],
      ["https://app.example", "ncacn_wss:app.example[,path=/]"],
      ["wss://app.example:443/a/b", "ncacn_wss:app.example[,path=/a/b]"],
      ["ws://[::1]:81/", "ncacn_ws:::1[81,path=/]"],
      ["wss://app.example/rpc?token=a,b]c", "ncacn_wss:app.example[,path=/rpc?token\\=a\\,b\\]c]"]
    ] as const
  ) {
    it(`${url}: ${binding}`, () => {
      assert.strictEqual(Web.bindingOf(url), binding)
      assert.strictEqual(Web.bindingOf(new URL(url)), binding)
      assert.strictEqual(parse(binding)._tag, "Success")
    })
  }

  for (const url of ["ftp://localhost/", "/rpc", ""]) {
    it(`${JSON.stringify(url)}: refused by name`, () => {
      assert.throws(
        () => Web.bindingOf(url),
        /Web\.bindingOf: url is no URL of a WebSocket, got ".*", expected ws: or wss:/
      )
    })
  }
})

describe("string bindings of URLs with secrets", () => {
  for (
    const url of ["wss://bob:s3cret@app.example/rpc", "ftp://bob:s3cret@app.example/", "wss://s3cret@app.example/"]
  ) {
    it(`${url}: refused, and the secret is not repeated`, () => {
      assert.throws(() => Web.bindingOf(url), /^Web\.bindingOf: url (?!.*s3cret)/)
    })
  }
})

describe("pages", () => {
  it.live("the user leaves the page: its calls are lost, and the server ends them", () =>
    Effect.gen(function* () {
      const page = new EventTarget()
      for (const name of ["addEventListener", "removeEventListener"] as const) {
        const own = Object.getOwnPropertyDescriptor(globalThis, name)
        Object.defineProperty(globalThis, name, { value: page[name].bind(page), configurable: true })
        yield* Effect.addFinalizer(() =>
          Effect.sync(() => {
            Reflect.deleteProperty(globalThis, name)
            if (own !== undefined) Object.defineProperty(globalThis, name, own)
          })
        )
      }
      const place = yield* serve()
      const context = yield* Layer.build(Web.layer)
      const client = Call.client(yield* Effect.provide(bind(place), context))
      const waiting = yield* Effect.forkChild(Effect.flip(client.Wait()))
      yield* place.begun
      page.dispatchEvent(new Event("pagehide"))
      yield* place.interrupted
      assert.deepInclude({ ...yield* Fiber.join(waiting) }, { _tag: "RpcTransportError", status: 1726 })
      // The user comes back.
      assert.strictEqual(yield* client.Double(21), 42)
    }))
})

/** A page's side of a worker in memory. */
class FakeWorker extends EventTarget implements Web.WorkerLike {
  other!: FakeWorker
  terminated = 0
  postMessage(data: unknown) {
    queueMicrotask(() => this.other.dispatchEvent(Object.assign(new Event("message"), { data })))
  }
  terminate() {
    this.terminated++
  }
}

const makeWorker = () => {
  const [page, self] = [new FakeWorker(), new FakeWorker()]
  page.other = self
  self.other = page
  return { page, self }
}

const binding = "ncacn_messageport:[sums]"

describe("workers", () => {
  it.live("page calls its worker: the worker answers, and ends with the layer", () =>
    Effect.gen(function* () {
      const { page, self } = makeWorker()
      const serving = Layer.provide(
        Endpoint.layer(binding),
        [Layer.effect(Server.Server, sums), MessagePort.layer(self)]
      )
      yield* Layer.build(serving)
      const program = Effect.scoped(Effect.gen(function* () {
        return yield* Call.invoke(yield* Association.bind(ISums, binding), "Add", [1, 2, 3])
      }))
      assert.strictEqual(yield* Effect.provide(program, Web.layerWorker(() => page)), 6)
      assert.strictEqual(page.terminated, 1)
    }))

  // Node has none.
  const Worker: (new (url: URL, options: { readonly type: "module" }) => Web.WorkerLike) | undefined =
    (globalThis as Record<string, any>)["Worker"]

  it.live.skipIf(Worker === undefined)("worker of the runtime: is called", () =>
    Effect.gen(function* () {
      const program = Effect.scoped(Effect.gen(function* () {
        return yield* Call.invoke(yield* Association.bind(ISums, binding), "Add", [1, 2, 3])
      }))
      const transport = Web.layerWorker(() => new Worker!(new URL("worker.ts", import.meta.url), { type: "module" }))
      assert.strictEqual(yield* Effect.provide(program, transport), 6)
    }))

  it.live("the program of a worker does not load: bind fails with 1722 at once", () =>
    Effect.gen(function* () {
      const { page } = makeWorker()
      const bound = Association.bind(ISums, binding, { connectTimeout: "20 seconds" })
      const failing = yield* Effect.forkChild(
        Effect.flip(Effect.provide(Effect.scoped(bound), Web.layerWorker(() => page))),
        { startImmediately: true }
      )
      page.dispatchEvent(new Event("error"))
      const error = yield* Fiber.join(failing)
      assert.deepInclude({ ...error }, { _tag: "RpcTransportError", status: 1722 })
    }))

  it.live("an error of a worker that runs: its calls go on", () =>
    Effect.gen(function* () {
      const { page, self } = makeWorker()
      yield* Layer.build(
        Layer.provide(Endpoint.layer(binding), [Layer.effect(Server.Server, sums), MessagePort.layer(self)])
      )
      const program = Effect.scoped(Effect.gen(function* () {
        const client = Call.client(yield* Association.bind(ISums, binding))
        page.dispatchEvent(new Event("error"))
        const other = Call.client(yield* Association.bind(ISums, binding))
        return [yield* client.Add([1]), yield* other.Add([2])]
      }))
      assert.deepStrictEqual(yield* Effect.provide(program, Web.layerWorker(() => page)), [1, 2])
    }))

  it.effect("layerSelf outside of a worker: refused by name", () =>
    Effect.gen(function* () {
      const document = Object.getOwnPropertyDescriptor(globalThis, "document")
      Object.defineProperty(globalThis, "document", { value: {}, configurable: true })
      const exit = yield* Effect.exit(Effect.scoped(Layer.build(Web.layerSelf)))
      if (document === undefined) Reflect.deleteProperty(globalThis, "document")
      const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      assert.instanceOf(defect, TypeError)
      assert.include(defect.message, "Web.layerSelf: this is no worker")
    }))
})
