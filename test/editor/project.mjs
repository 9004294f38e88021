// A project on disk that both language servers open: the fixture and a file for each case.
import { mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { root } from "../../scripts/runtimes.mjs"

/** Stands in a case's code where the question is asked. */
const mark = "¦"

const heading = `import { Effect, Schema } from "effect"
import { Call } from "@callisto/rpc"
import { binding, call, client, either, read, unionName } from "./fixture.ts"
`

/** Writes the files. Each gets a path, its text, and the offset of the question. */
export const writeProject = (fixture, cases) => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "callisto-editor-")))
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"), "junction")
  const write = (name, text) => {
    const path = join(folder, name)
    writeFileSync(path, text)
    return path
  }
  const fixtureFile = { path: write("fixture.ts", fixture), text: fixture, offset: 0 }
  const files = cases.map(({ code }, i) => {
    const text = heading + code.replace(mark, "") + "\n"
    const offset = heading.length + Math.max(code.indexOf(mark), 0)
    return { path: write(`case${i + 1}.ts`, text), text, offset }
  })
  write("package.json", JSON.stringify({ type: "module" }))
  const configPath = write(
    "tsconfig.json",
    JSON.stringify({
      extends: join(root, "tsconfig.json"),
      compilerOptions: { noUnusedLocals: false },
      files: [fixtureFile, ...files].map(({ path }) => path)
    })
  )
  return { folder, configPath, fixtureFile, files, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

/** A line and a column, both from 0. */
export const positionOf = ({ text, offset }) => {
  const before = text.slice(0, offset).split("\n")
  return { line: before.length - 1, character: before.at(-1).length }
}
