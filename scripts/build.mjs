// Compiles mod.ts and src/ into dist/, for npm.
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { markPure } from "./pure.mjs"
import { local, requireDependencies, root } from "./runtimes.mjs"

requireDependencies()

const dist = join(root, "dist")
rmSync(dist, { recursive: true, force: true })
const { status } = spawnSync(process.execPath, [local("typescript", "bin", "tsc"), "-p", "tsconfig.build.json"], {
  cwd: root,
  stdio: "inherit"
})
const { sideEffects } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
const isLoadedForItself = (file) => sideEffects.some((name) => join(root, name) === file)

for (const name of status === 0 ? readdirSync(dist, { recursive: true }) : []) {
  const file = join(dist, name)
  if (!name.endsWith(".js") || isLoadedForItself(file)) continue
  writeFileSync(file, markPure(readFileSync(file, "utf8")))
}
process.exit(status ?? 1)
