import { assert, describe, it, vi } from "@effect/vitest"

describe("text in a browser, which has no Buffer", () => {
  it("any text: is read as it was written, lone surrogates too", async () => {
    const { Buffer } = globalThis
    vi.resetModules()
    // Only while the module is evaluated: the test runner needs it.
    vi.doMock("../../src/ndr/internal/ndrStream.ts", async (original) => {
      const module = await original()
      Reflect.set(globalThis, "Buffer", undefined)
      return module as object
    })
    const { readText, writeNarrow, writeWide } = await import("../../src/ndr/internal/ndrText.ts")
    Reflect.set(globalThis, "Buffer", Buffer)
    vi.doUnmock("../../src/ndr/internal/ndrStream.ts")
    const decode = vi.spyOn(TextDecoder.prototype, "decode")
    for (
      const text of ["", "short", "x".repeat(100), "\u{1f642}".repeat(50), "\ud800x".repeat(50), "\ufeffa".repeat(50)]
    ) {
      for (const start of [0, 1]) {
        const bytes = new Uint8Array(2 * text.length + 2 + start)
        assert.strictEqual(writeWide(text, bytes, start, true), bytes.length)
        assert.strictEqual(readText(bytes, start, text.length, true, true), text)
      }
    }
    assert.isAbove(decode.mock.calls.length, 0)
    decode.mockRestore()
    const narrow = "\u0001\u00ff".repeat(50)
    const bytes = new Uint8Array(101)
    writeNarrow(narrow, bytes, 0)
    assert.strictEqual(readText(bytes, 0, 100, false, true), narrow)
    assert.strictEqual(readText(bytes.fill(0, 40), 0, 100, false, true), narrow.slice(0, 40))
  })
})
