// Runs one of our programs: node scripts/run.mjs src/demo.ts [arguments]
import { spawnSync } from "node:child_process"
import process from "node:process"
import { findRuntime, requireDependencies, root } from "./runtimes.mjs"

requireDependencies()

const order = process.versions.deno ? ["deno"] : ["node", "deno", "bun"]
const runtime = order.map(findRuntime).find((found) => found !== undefined)
if (runtime === undefined) {
  console.error("Node 22.18 or later, Deno 2 or Bun 1 is needed.")
  process.exit(1)
}
const { status } = spawnSync(runtime.command, [...runtime.program, ...process.argv.slice(2)], {
  cwd: root,
  stdio: "inherit"
})
process.exit(status ?? 1)
