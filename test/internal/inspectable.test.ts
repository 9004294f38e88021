import { assert, it } from "@effect/vitest"
import type { Pipeable } from "effect"
import { inspect } from "node:util"
import { PipeInspectable } from "../../src/internal/inspectable.ts"

class Kettle extends PipeInspectable {
  readonly context = { password: "open sesame" }

  toJSON() {
    return { _id: "callisto/Kettle", state: "boiling" }
  }
}

declare const Deno: { inspect(value: unknown): string }
declare const Bun: { inspect(value: unknown): string }

it("object with secrets in its fields: prints its kind and state in every way", () => {
  const kettle = new Kettle()
  const json = `{"_id":"callisto/Kettle","state":"boiling"}`
  assert.strictEqual(String(kettle), json)
  assert.strictEqual(JSON.stringify(kettle), json)
  const printed = [inspect(kettle, { depth: 9 }), inspect({ in: [kettle] }, { depth: 9 })]
  if ("Deno" in globalThis) printed.push(Deno.inspect(kettle))
  if ("Bun" in globalThis) printed.push(Bun.inspect(kettle))
  for (const text of printed) {
    assert.include(text, "callisto/Kettle")
    assert.include(text, "boiling")
    assert.notInclude(text, "sesame")
    assert.notInclude(text, "context")
  }
})

it("object: has pipe, and no fields but its own", () => {
  const kettle = new Kettle()
  const pipeable: Pipeable.Pipeable = kettle
  assert.strictEqual(pipeable.pipe((self) => self === kettle), true)
  assert.deepStrictEqual(Object.keys(kettle), ["context"])
})
