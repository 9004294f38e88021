/** What the release of a call object does over a connection. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Schema } from "effect"
import { Call, Interface, Manager, Server } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Memory from "../../src/transport/Memory.ts"

const IJobs = Interface.make("IJobs", {
  uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1a32",
  version: [1, 0],
  methods: {
    Run: Interface.method({ out: Schema.String }),
    Echo: Interface.method({ in: Schema.String, out: Schema.String })
  }
})

const makeJobs = Effect.gen(function* () {
  const started = yield* Deferred.make<void>()
  const gate = yield* Deferred.make<string>()
  const ended = yield* Deferred.make<string>()
  const manager = Manager.make(IJobs, {
    Run: () =>
      Effect.andThen(Deferred.succeed(started, undefined), Deferred.await(gate)).pipe(
        Effect.tap((text) => Deferred.succeed(ended, text)),
        Effect.onInterrupt(() => Deferred.succeed(ended, "interrupted"))
      ),
    Echo: (text) => Effect.succeed(text)
  })
  yield* Endpoint.serve(yield* Server.make([manager], { grace: 0 }), "ncacn_memory:[jobs]")
  return { jobs: yield* Association.bind(IJobs, "ncacn_memory:[jobs]"), started, gate, ended }
}).pipe(Effect.provide(Memory.layer))

describe("a call released over a connection", () => {
  it.live("stop: the server interrupts the routine, and the next call is answered", () =>
    Effect.gen(function* () {
      const { ended, jobs, started } = yield* makeJobs
      const running = yield* Call.start(jobs, "Run")
      yield* Deferred.await(started)
      yield* Call.release(running)
      assert.strictEqual(yield* Deferred.await(ended), "interrupted")
      assert.strictEqual(yield* Call.invoke(jobs, "Echo", "a"), "a")
    }))

  it.live("goOn: the routine runs to its end, and the next call is answered", () =>
    Effect.gen(function* () {
      const { ended, gate, jobs, started } = yield* makeJobs
      const running = yield* Call.start(jobs, "Run")
      yield* Deferred.await(started)
      yield* Call.release(running, { server: "goOn" })
      assert.strictEqual(yield* Call.invoke(jobs, "Echo", "a"), "a")
      yield* Deferred.succeed(gate, "ran to its end")
      assert.strictEqual(yield* Deferred.await(ended), "ran to its end")
      assert.strictEqual(yield* Call.invoke(jobs, "Echo", "b"), "b")
    }))
})
