// Compiles mod.ts and src/ into dist/, for npm. With --prepare, after `npm install` in a clone, a failure does not fail the
// installation: without dist/ only `node examples/first_call.ts` and its like do not run.
import { spawnSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { markPure } from "./pure.mjs"
import { local, requireDependencies, root } from "./runtimes.mjs"

const prepares = process.argv.includes("--prepare")
// `npm pack` and `npm publish` run prepack as well.
if (prepares && (["pack", "publish"].includes(process.env.npm_command) || !existsSync(local("typescript")))) {
  process.exit()
}

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
if (status !== 0 && prepares) console.error("dist/ is incomplete. Run npm run build to see why.")
process.exit(prepares ? 0 : status ?? 1)
