import { afterAll, assert, describe, it, vi } from "@effect/vitest"
import { Effect } from "effect"
import { IEcho } from "./rawServer.ts"

const codecModule = "../../src/dcerpc/internal/binaryCodec.ts"

describe("the codec of Callisto's own syntax", () => {
  afterAll(() => vi.doUnmock(codecModule))

  it.effect("can't be used before it is loaded, and is asked for again where it could not be", () =>
    Effect.gen(function* () {
      vi.resetModules()
      vi.doMock(codecModule, () => {
        throw new Error("offline")
      })
      const { binary } = yield* Effect.promise(() => import("../../src/dcerpc/TransferSyntax.ts"))
      assert.throws(() => binary.codec(IEcho.methods.Echo), "has to run")
      const error = yield* Effect.flip(binary.load)
      assert.strictEqual(error.status, 1722)
      assert.include(error.detail, "the codec of Callisto's transfer syntax can't be loaded")
      vi.doUnmock(codecModule)
      yield* binary.load
      assert.isDefined(binary.codec(IEcho.methods.Echo))
    }))
})
