// Looks at the memory of pipes on each runtime, one after another: node scripts/memory.mjs [--quick]
import { spawnSync } from "node:child_process"
import process from "node:process"
import { findRuntime, leftOut, requireDependencies, root } from "./runtimes.mjs"

requireDependencies()

let good = true
for (const name of ["node", "deno", "bun"]) {
  const runtime = findRuntime(name)
  if (runtime === undefined) {
    console.log(`\n== ${leftOut(name)}`)
    continue
  }
  for (const [task, title] of [["schemas", "Callisto's own syntax"], ["NDR", "NDR"]]) {
    console.log(`\n== ${runtime.title}, ${title}`)
    const { status } = spawnSync(
      runtime.command,
      [...runtime.program, "bench/pipeMemory.ts", task, ...process.argv.slice(2)],
      { cwd: root, stdio: "inherit" }
    )
    good &&= status === 0
  }
}
process.exit(good ? 0 : 1)
