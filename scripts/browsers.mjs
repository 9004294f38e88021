// The page of examples/web in real browsers: headless Chromium and Firefox, driven by puppeteer-core, which needs Node 22.
// Needs the Debian packages chromium and firefox-esr. `npm run browsers -- firefox` runs one of them.
import { spawnSync } from "node:child_process"
import process from "node:process"
import { findRuntime, leftOut, requireDependencies, root } from "./runtimes.mjs"

requireDependencies()

const node = findRuntime("node")
if (node === undefined) {
  console.log(leftOut("node"))
  console.log("0 passed, 1 failed")
  process.exit(1)
}
const { status } = spawnSync(node.command, [...node.program, "test/web/browsers.mjs", ...process.argv.slice(2)], {
  cwd: root,
  stdio: ["ignore", "inherit", "inherit"]
})
process.exit(status ?? 1)
