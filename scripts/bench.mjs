// Measures on Node, Deno and Bun beside peers, which are installed into bench/ when they are missing: see `usage`.
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { findRuntime, leftOut, requireDependencies, root } from "./runtimes.mjs"

const usage = `node scripts/bench.mjs [--runtime node|deno|bun] [--only local|network|durable] [--quick] [--write]

--runtime  one runtime in place of all three
--only     what runs in one process, what runs over TCP, or durable calls, which a whole run leaves out and which need PostgreSQL
--quick    measures next to nothing: it shows that everything runs
--write    of a whole run, or of durable calls: writes bench/results.md, bench/results.json and the tables of README.md and docs/speed.md`

const args = process.argv.slice(2)
if (args.includes("--help")) {
  console.log(usage)
  process.exit()
}
requireDependencies()

const writes = args.includes("--write")
const isDurable = args[args.indexOf("--only") + 1] === "durable"
if (writes && args.length > (isDurable ? 3 : 1)) {
  console.error("--write needs a whole run")
  process.exit(1)
}
const own = isDurable ? ["--only", "durable", "--runtime", "--write"] : ["--runtime", "--write"]
const chosen = args.includes("--runtime") ? args[args.indexOf("--runtime") + 1] : isDurable ? "node" : undefined
const passed = args.filter((arg, i) => !own.includes(arg) && args[i - 1] !== "--runtime")

const run = (command, args, cwd = root) => spawnSync(command, args, { cwd, stdio: "inherit" }).status === 0

const bench = join(root, "bench")
if (!isDurable && !existsSync(join(bench, "node_modules"))) {
  console.log("Installing the peers into bench/node_modules: npm ci")
  if (!run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], bench)) {
    console.log("The peers could not be installed: they will be missing.")
  }
}

const runtimes = (chosen === undefined ? ["node", "deno", "bun"] : [chosen]).flatMap((name) => {
  const found = findRuntime(name)
  if (found === undefined) console.log(leftOut(name))
  return found === undefined ? [] : [found]
})
if (runtimes.length === 0) process.exit(1)

const build = join(bench, ".build")
mkdirSync(build, { recursive: true })
const files = []
for (const { command, name, program, title } of runtimes) {
  const file = join(build, isDurable ? "durable.json" : `${name}.json`)
  console.log(`\n${title}: this takes ${args.includes("--quick") ? "a minute" : "some minutes"}`)
  if (run(command, [...program, join(bench, isDurable ? "durable.ts" : "main.ts"), ...passed, "--json", file])) {
    files.push(file)
  } else process.exitCode = 1
}

if (writes && process.exitCode === undefined) {
  if (!isDurable) {
    const { measureSize } = await import("./size.mjs")
    writeFileSync(join(build, "weights.json"), JSON.stringify((await measureSize()).weights))
  }
  const { command, program } = runtimes[0]
  const written = run(command, [...program, join(bench, "report.ts"), ...(isDurable ? ["--durable"] : []), ...files])
  const deno = findRuntime("deno")
  if (written && deno !== undefined) {
    run(deno.command, [
      "fmt",
      "--quiet",
      "--config",
      "deno.json",
      "README.md",
      "docs/speed.md",
      "bench/results.md",
      "bench/results.json"
    ])
  }
  if (!written) process.exitCode = 1
}
