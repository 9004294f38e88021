// The npm package as its users get it: packed, installed into an empty project with effect, compiled and run there.
import { spawnSync } from "node:child_process"
import { cpSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { findRuntime, leftOut, local, root } from "../scripts/runtimes.mjs"

const subpaths = `
import * as rpc from "@callisto/rpc"
for (const name of Object.keys(rpc)) {
  if (rpc[name] !== await import("@callisto/rpc/" + name)) throw new Error(name)
}
`

const compilerOptions = { strict: true, target: "es2024", module: "nodenext", types: [] }

/** The first program of the README, which newcomers copy. */
const firstProgram = () => /^```ts\n([^]*?)^```$/m.exec(readFileSync(join(root, "README.md"), "utf8"))[1]

/** How many of its steps passed and failed; `undefined` where there is no npm. */
export const testPackage = () => {
  const counts = { passed: 0, failed: 0, skipped: 0 }
  const project = mkdtempSync(join(tmpdir(), "callisto-package-"))

  const run = (cwd, command, ...args) =>
    spawnSync(command, args, {
      cwd,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      shell: command === "npm" && process.platform === "win32"
    })

  const step = (name, { status, stdout, stderr }, expected = /(?:)/) => {
    const ok = status === 0 && expected.test(stdout)
    ok ? counts.passed++ : counts.failed++
    console.log(`${ok ? "ok    " : "FAILED"} ${name}`)
    if (!ok) console.log(`${stdout}${stderr}exit code ${status}`)
    return ok
  }

  const install = () =>
    run(
      project,
      "npm",
      "install",
      "--prefix=.",
      "--offline",
      "--install-links",
      "--no-audit",
      "--no-fund",
      `./${readdirSync(project).find((file) => file.endsWith(".tgz"))}`,
      realpathSync(local("effect"))
    )

  try {
    if (run(root, "npm", "--version").status !== 0) return undefined
    // This makes a CommonJS package. Top-level await in a file of it needs the ending .mts.
    if (!step("npm init", run(project, "npm", "init", "-y"))) return counts
    writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["program.mts"] }))
    writeFileSync(join(project, "subpaths.mjs"), subpaths)
    writeFileSync(join(project, "first.mts"), firstProgram())
    for (const name of ["program.mts", "durable.mts"]) {
      cpSync(join(root, "test", "package", name), join(project, name))
    }

    if (!step("npm pack", run(root, "npm", "pack", `--pack-destination=${project}`))) return counts
    if (!step("npm install", install())) return counts
    step(
      "the command callisto",
      run(project, "npm", "exec", "--offline", "--", "callisto", "--version"),
      /^\d+\.\d+\.\d+$/m
    )
    step("tsc --strict", run(project, process.execPath, local("typescript", "bin", "tsc"), "-p", "."))
    for (const name of ["node", "deno", "bun", "oldest"]) {
      const runtime = findRuntime(name)
      if (runtime === undefined) {
        console.log(leftOut(name))
        continue
      }
      const program = (file) => run(project, runtime.command, ...runtime.tool, file)
      const compiled = name === "oldest"
      step(`program on ${runtime.title}`, program(compiled ? "program.mjs" : "program.mts"), /^Hello, world$/m)
      if (!compiled) step(`durable calls without another package on ${runtime.title}`, program("durable.mts"), /^6$/m)
      if (!compiled) step(`the README's first program on ${runtime.title}`, program("first.mts"))
      step(
        `callisto on ${runtime.title}`,
        run(project, runtime.command, ...runtime.tool, "node_modules/@callisto/rpc/dist/src/cli.js", "--help"),
        /callisto <subcommand>/
      )
      step(`every subpath on ${runtime.title}`, program("subpaths.mjs"))
    }
    return counts
  } finally {
    rmSync(project, { recursive: true, force: true })
  }
}
