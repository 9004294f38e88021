import { afterEach, assert, beforeEach, describe, it, vi } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { IEcho } from "./rawServer.ts"

const codecModule = "../../src/dcerpc/internal/binaryCodec.ts"

/** The library as it is before the codec was needed. */
const library = Effect.promise(async () => ({
  Association: await import("../../src/dcerpc/Association.ts"),
  Memory: await import("../../src/transport/Memory.ts"),
  ...await import("../../src/dcerpc/TransferSyntax.ts")
}))

const failToLoad = () => {
  throw new Error("no such file")
}

describe("the codec of Callisto's own syntax", () => {
  beforeEach(() => {
    vi.resetModules()
  })
  afterEach(() => {
    vi.doUnmock(codecModule)
  })

  it.effect("codec not loaded: it can't be used", () =>
    Effect.gen(function* () {
      const { binary } = yield* library
      assert.throws(() => binary.codec(IEcho.methods.Echo, "Echo"), "`binary.load` has to run before")
      yield* binary.load
      assert.isDefined(binary.codec(IEcho.methods.Echo, "Echo"))
    }))

  it.effect("codec could not be loaded: it is asked for again", () =>
    Effect.gen(function* () {
      vi.doMock(codecModule, failToLoad)
      const { binary } = yield* library
      const { detail, status } = yield* Effect.flip(binary.load)
      assert.strictEqual(status, 1722)
      assert.include(detail, "the codec of Callisto's transfer syntax can't be loaded")
      vi.doUnmock(codecModule)
      yield* binary.load
      assert.isDefined(binary.codec(IEcho.methods.Echo, "Echo"))
    }))

  it.effect("codec can't be loaded: the bind that needs it ends", () =>
    Effect.gen(function* () {
      vi.doMock(codecModule, failToLoad)
      const { Association, Memory } = yield* library
      const binding = Effect.provide(Association.bind(IEcho, "ncacn_memory:[nowhere]"), Memory.layer)
      const error = yield* Effect.flip(binding)
      assert.strictEqual(error._tag, "RpcTransportError")
      assert.include(error.message, "the codec of Callisto's transfer syntax can't be loaded")
    }))

  it.effect("bind interrupted: does not wait for the codec", () =>
    Effect.gen(function* () {
      vi.doMock(codecModule, () => new Promise(() => {}))
      const { binary } = yield* library
      const loading = yield* Effect.forkChild(binary.load, { startImmediately: true })
      yield* Fiber.interrupt(loading)
    }))
})
