// What the pages say agrees with the sources.
import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { Status } from "@callisto/rpc"
import { Tower } from "@callisto/rpc/dcerpc"
import { Security } from "@callisto/rpc/security"
import { StringBinding } from "@callisto/rpc/transport"
import { between, forReadme, forSpeed, readResults } from "../bench/figures.ts"

const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), "utf8")

/** Without the layout that the formatter gives to tables. */
const plain = (text: string | undefined): string | undefined =>
  text?.replace(/ +/g, " ").replace(/-{3,}/g, "---").trim()

describe("documentation", () => {
  it("docs/error_reference.md: has an entry for each class of errors", () => {
    const entries = new Set(read("docs/error_reference.md").match(/(?<=^##+ ).*$/gm))
    const classes = Object.entries({ ...Status, ...StringBinding, ...Security, ...Tower })
      .filter(([, value]) => typeof value === "function" && value.prototype instanceof Error)
      .map(([name]) => name)
    assert.isAbove(classes.length, 20)
    assert.deepStrictEqual(classes.filter((name) => !entries.has(name)), [])
  })

  it("README.md: its figures are those of bench/results.json", () => {
    assert.strictEqual(plain(between(read("README.md"))), plain(forReadme(readResults())))
  })

  it("docs/speed.md: its figures are those of bench/results.json", () => {
    assert.strictEqual(plain(between(read("docs/speed.md"))), plain(forSpeed(readResults())))
  })
})
