// Compiles mod.ts and src/ into dist/, for npm.
import { spawnSync } from "node:child_process"
import { rmSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { local, requireDependencies, root } from "./runtimes.mjs"

requireDependencies()

rmSync(join(root, "dist"), { recursive: true, force: true })
const { status } = spawnSync(process.execPath, [local("typescript", "bin", "tsc"), "-p", "tsconfig.build.json"], {
  cwd: root,
  stdio: "inherit"
})
process.exit(status ?? 1)
