// The npm package as its users get it: packed, installed into an empty project with effect, compiled and run there.
import { spawnSync } from "node:child_process"
import { cpSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs"
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

const compilerOptions = { strict: true, target: "es2024", module: "nodenext", noEmit: true, types: [] }

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
    writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module" }))
    writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["program.ts"] }))
    writeFileSync(join(project, "subpaths.mjs"), subpaths)
    cpSync(join(root, "test", "package", "program.ts"), join(project, "program.ts"))

    if (!step("npm pack", run(root, "npm", "pack", `--pack-destination=${project}`))) return counts
    if (!step("npm install", install())) return counts
    step(
      "the command callisto",
      run(project, "npm", "exec", "--offline", "--", "callisto", "--version"),
      /^\d+\.\d+\.\d+$/m
    )
    step("tsc --strict", run(project, process.execPath, local("typescript", "bin", "tsc"), "-p", "."))
    for (const name of ["node", "deno", "bun"]) {
      const runtime = findRuntime(name)
      if (runtime === undefined) {
        console.log(leftOut(name))
        continue
      }
      step(
        `program on ${runtime.title}`,
        run(project, runtime.command, ...runtime.tool, "program.ts"),
        /^Hello, world$/m
      )
      step(
        `callisto on ${runtime.title}`,
        run(project, runtime.command, ...runtime.tool, "node_modules/@callisto/rpc/dist/src/cli.js", "--help"),
        /callisto <subcommand>/
      )
      step(`every subpath on ${runtime.title}`, run(project, runtime.command, ...runtime.tool, "subpaths.mjs"))
    }
    return counts
  } finally {
    rmSync(project, { recursive: true, force: true })
  }
}
