import { assert, describe, it } from "@effect/vitest"
import process from "node:process"

const atLeast = { node: [22, 0], deno: [2, 0], bun: [1, 0] } as const

const isRuntime = (name: string | undefined): name is keyof typeof atLeast => name !== undefined && name in atLeast

const runtime = process.versions["deno"] ? "deno" : process.versions["bun"] ? "bun" : "node"

describe("the runtime of the tests", () => {
  it("runtime of the tests: is the requested one", () => {
    const asked = process.env["CALLISTO_RUNTIME"] ?? runtime
    assert.isTrue(isRuntime(asked), `unknown runtime ${asked}`)
    assert.strictEqual(runtime, asked)
    assert.strictEqual("Deno" in globalThis, asked === "deno")
    assert.strictEqual("Bun" in globalThis, asked === "bun")
  })

  it("runtime of the tests: is recent enough", () => {
    const [major, minor] = atLeast[runtime]
    const [ownMajor = 0, ownMinor = 0] = (process.versions[runtime] ?? "").split(".").map(Number)
    assert.isTrue(
      ownMajor > major || (ownMajor === major && ownMinor >= minor),
      `${runtime} ${ownMajor}.${ownMinor} is older than ${major}.${minor}`
    )
  })
})
