// Runs the test files on Node, Deno and Bun, one after another, then the type tests and the test of the npm package.
// Arguments go to vitest: `npm test -- test/Call.test.ts` runs one file on each runtime, and nothing else.
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { testPackage } from "../test/package.mjs"
import { findRuntime, leftOut, local, requireDependencies, root } from "./runtimes.mjs"

requireDependencies()

const reports = mkdtempSync(join(tmpdir(), "callisto-test-"))
const filters = process.argv.slice(2)
const lines = []
let passed = 0
let failed = 0

const add = (title, counts) => {
  passed += counts.passed
  failed += counts.failed
  const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : ""
  lines.push(`${title}: ${counts.passed} passed, ${counts.failed} failed${skipped}`)
}

/** What vitest counted. A file that did not load, and a run that ended badly without a failed test, count as failures. */
const countsOf = (file, status) => {
  let report
  try {
    report = JSON.parse(readFileSync(file, "utf8"))
  } catch {
    return { passed: 0, failed: 1, skipped: 0 }
  }
  const notLoaded =
    report.testResults.filter((result) =>
      result.status === "failed" && result.assertionResults.every((test) => test.status !== "failed")
    ).length
  const failures = report.numFailedTests + notLoaded
  const nothingRan = report.numPassedTests === 0
  return {
    passed: report.numPassedTests,
    failed: failures === 0 && (status !== 0 || nothingRan) ? 1 : failures,
    skipped: report.numPendingTests + report.numTodoTests
  }
}

const test = (runtime, steps) => {
  console.log(`\n== ${runtime.title}`)
  const report = join(reports, `${runtime.name}.json`)
  const { status } = spawnSync(
    runtime.command,
    [
      ...runtime.tool,
      local("vitest", "vitest.mjs"),
      "run",
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${report}`,
      ...filters
    ],
    {
      cwd: root,
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, CALLISTO_RUNTIME: runtime.name, CALLISTO_STEPS: steps }
    }
  )
  add(runtime.title, countsOf(report, status))
}

let steps = "full"
for (const name of ["node", "deno", "bun"]) {
  const runtime = findRuntime(name)
  if (runtime === undefined) {
    lines.push(leftOut(name))
  } else {
    test(runtime, steps)
    steps = "tenth"
  }
}

if (filters.length === 0) {
  console.log("\n== Types")
  const { status } = spawnSync(process.execPath, [local("typescript", "bin", "tsc"), "-p", "tsconfig.json"], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"]
  })
  add("Types", { passed: status === 0 ? 1 : 0, failed: status === 0 ? 0 : 1, skipped: 0 })

  console.log("\n== npm package")
  const counts = testPackage()
  if (counts === undefined) lines.push("npm package: left out, no npm here")
  else add("npm package", counts)
}

rmSync(reports, { recursive: true, force: true })
console.log(`\n${lines.join("\n")}\n${passed} passed, ${failed} failed`)
process.exit(failed > 0 || passed === 0 ? 1 : 0)
