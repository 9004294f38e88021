// Runs the test files on Node, Deno and Bun, one after another, then the type tests and the test of the npm package:
//
//   node scripts/test.mjs [--quick | --fuzz | --watch] [FILE ...]
//
// With files it runs them on each runtime, and nothing else. The rest of the arguments goes to vitest.
// --quick: on Node alone, with few random steps and without the slowest files.
// --fuzz: the random tests alone, on the first runtime, with their whole budgets.
// --watch: on Node, again after each change.
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { testPackage } from "../test/package.mjs"
import { findRuntime, leftOut, local, requireDependencies, root } from "./runtimes.mjs"

requireDependencies()

const reports = mkdtempSync(join(tmpdir(), "callisto-test-"))
const args = process.argv.slice(2)
const modes = ["--quick", "--fuzz", "--watch"]
const mode = args.find((arg) => modes.includes(arg))
const filters = args.filter((arg) => !modes.includes(arg))
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

const vitest = ({ command, name, tool }, options, share, stdio) =>
  spawnSync(command, [...tool, local("vitest", "vitest.mjs"), ...options], {
    cwd: root,
    stdio,
    env: { ...process.env, CALLISTO_RUNTIME: name, CALLISTO_SHARE: share, CALLISTO_REPORT: randomReport }
  })

/** What the random tests say that they did. */
const randomReport = join(reports, "random.txt")

const test = (runtime, share, files) => {
  console.log(`\n== ${runtime.title}`)
  const report = join(reports, `${runtime.name}.json`)
  const options = [
    "run",
    "--maxWorkers=100%",
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
    ...files
  ]
  // One process for several files saves most of the time. The whole run keeps them apart.
  if (mode === "--quick") options.push("--no-isolate")
  const { status } = vitest(runtime, options, share, ["ignore", "inherit", "inherit"])
  add(runtime.title, countsOf(report, status))
}

const runtimeNames = ["node", "deno", "bun"]

const firstRuntime = () => {
  const found = runtimeNames.map(findRuntime).find((runtime) => runtime !== undefined)
  if (found !== undefined) return found
  console.error("test: no runtime, expected Node 22.18, Deno 2 or Bun 1. Run npm ci.")
  process.exit(1)
}

const randomTests = () =>
  readdirSync(join(root, "test"), { recursive: true })
    .filter((file) => file.endsWith(".test.ts"))
    .filter((file) => /budget\.ts"$/m.test(readFileSync(join(root, "test", file), "utf8")))
    .map((file) => join("test", file))

const twentieth = "0.05"

/** These start programs and open real sockets: more than half of a quick run's time. */
const slow = ["test/cli.test.ts", "test/cli/calls.test.ts", "test/durable/*", "test/transport/Transport.test.ts"]

/** These start processes on each runtime, so one runtime to start them from is enough. */
const onOneHost = ["test/durable/*{Processes,Poison}.test.ts", "test/durable/load.test.ts"]

const except = (files) => files.flatMap((file) => ["--exclude", file])

if (mode === "--watch") {
  const { status } = vitest(firstRuntime(), ["watch", ...filters], "0.01", "inherit")
  rmSync(reports, { recursive: true, force: true })
  process.exit(status ?? 1)
} else if (mode === "--fuzz") {
  console.log("The random tests with their whole budgets: about half an hour on two cores.")
  test(firstRuntime(), "1", filters.length > 0 ? filters : randomTests())
} else if (mode === "--quick") {
  console.log(
    `${firstRuntime().title} alone, a hundredth of the random steps, no programs and sockets: under a minute on two cores.`
  )
  test(firstRuntime(), "0.01", filters.length > 0 ? filters : except(slow))
} else {
  if (filters.length === 0) {
    console.log(
      "All tests on Node, Deno and Bun: about 20 minutes on two cores. `npm test -- --quick` takes under one."
    )
  }
  const first = firstRuntime().name
  for (const name of runtimeNames) {
    const runtime = findRuntime(name)
    if (runtime === undefined) lines.push(leftOut(name))
    else test(runtime, twentieth, filters.length > 0 || name === first ? filters : except(onOneHost))
  }
}

if (mode === undefined && filters.length === 0) {
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

if (existsSync(randomReport)) console.log(`\n${readFileSync(randomReport, "utf8").trimEnd()}`)
rmSync(reports, { recursive: true, force: true })
console.log(`\n${lines.join("\n")}\n${passed} passed, ${failed} failed`)
process.exit(failed > 0 || passed === 0 ? 1 : 0)
