import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Pipe } from "../../mod.ts"
import * as Chunks from "../../src/internal/chunkBuffer.ts"
import { Ends, onFailure } from "../../src/internal/pipeEnds.ts"
import { start } from "../fixtures.ts"

const length = 800

describe("a chain of 800 that wake each other", () => {
  it.effect("a buffer filled by each reader of the one before: reaches the last one", () =>
    Effect.gen(function* () {
      const large = new Uint8Array(262144)
      const buffers = Array.from({ length: length + 1 }, () => new Chunks.ChunkBuffer(true))
      const links = yield* Effect.forEach(buffers.slice(0, length), (buffer, i) =>
        start(Effect.andThen(
          Chunks.awaitReadable(buffer),
          Effect.sync(() => Chunks.put(buffers[i + 1]!, large))
        )))
      Chunks.put(buffers[0]!, large)
      yield* Effect.forEach(links, Fiber.join)
      assert.isFalse(buffers[length]!.isEmpty)
    }))

  it("the pipes of 20,000 calls, each failing with the one before: all fail", () => {
    const pipes = [{ name: "file", isIn: true, element: Pipe.bytes }]
    const calls = Array.from({ length: 20_000 }, () => new Ends(pipes, true))
    for (const [i, call] of calls.entries()) onFailure(call, () => calls[i + 1]?.fail(new Error("lost")))
    calls[0]!.fail(new Error("lost"))
    assert.isTrue(calls.every(({ current }) => current === undefined))
  })
})

describe("what an end prints", () => {
  it("an end of a pipe in each state: its kind, name and state", () => {
    const pipes = [
      { name: "file", isIn: true, element: Pipe.bytes },
      { name: "echo", isIn: false, element: Pipe.bytes }
    ]
    const ends = new Ends(pipes, true)
    const [file, echo] = ends.list
    assert.deepStrictEqual(file!.toJSON(), { _id: "callisto/Pipe/Writer", pipe: "file", state: "open" })
    assert.deepStrictEqual(echo!.toJSON(), { _id: "callisto/Pipe/Reader", pipe: "echo", state: "open" })
    file!.move("end")
    assert.strictEqual(String(file), `{"_id":"callisto/Pipe/Writer","pipe":"file","state":"ended"}`)
    ends.fail({ password: "open sesame" })
    assert.strictEqual(JSON.stringify([echo]), `[{"_id":"callisto/Pipe/Reader","pipe":"echo","state":"failed"}]`)
  })
})
