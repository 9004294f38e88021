// Finds the runtimes: the packages of scripts/runtimes first, then the runtime of this script, then the one on PATH.
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { delimiter, dirname, join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

export const local = (...path) => join(root, "node_modules", ...path)

const exe = process.platform === "win32" ? ".exe" : ""

const onPath = (program) => (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, program + exe))

const running = (name) => {
  const current = process.versions.deno ? "deno" : process.versions.bun ? "bun" : "node"
  return current === name ? [process.execPath] : []
}

const bunCpu = process.arch === "arm64" ? "aarch64" : process.arch
const bunSystem = process.platform === "win32" ? "windows" : process.platform
const denoSystem = process.platform === "linux" ? `linux-${process.arch}-glibc` : `${process.platform}-${process.arch}`
const nodeSystem = `${process.platform === "win32" ? "win" : process.platform}-${process.arch}`

const runtimes = {
  node: {
    title: "Node",
    atLeast: [22, 18],
    candidates: () => [
      local(`node-${nodeSystem}`, "bin", `node${exe}`),
      ...running("node"),
      ...onPath("node")
    ],
    program: ["--conditions=@callisto/source"],
    tool: []
  },
  // The oldest one that the package supports. It does not run TypeScript.
  oldest: {
    title: "Node",
    atLeast: [22, 0],
    candidates: () => [local(`node-oldest-${nodeSystem}`, "bin", `node${exe}`)],
    program: [],
    tool: []
  },
  deno: {
    title: "Deno",
    atLeast: [2, 0],
    candidates: () => [
      ...running("deno"),
      local("@deno", denoSystem, `deno${exe}`),
      ...onPath("deno")
    ],
    // The examples have a configuration of their own, for clones where nothing is installed.
    program: ["run", "-A", "--config", join(root, "deno.json")],
    tool: ["run", "-A"]
  },
  bun: {
    title: "Bun",
    atLeast: [1, 0],
    candidates: () => [
      local("@oven", `bun-${bunSystem}-${bunCpu}`, "bin", `bun${exe}`),
      ...onPath("bun")
    ],
    program: [],
    tool: ["--bun"]
  }
}

const versionOf = (command) => {
  const { stdout, status } = spawnSync(command, ["--version"], { encoding: "utf8" })
  return status === 0 ? /\d+\.\d+\.\d+/.exec(stdout)?.[0] : undefined
}

const recentEnough = (version, [major, minor]) => {
  const [ownMajor, ownMinor] = version.split(".").map(Number)
  return ownMajor > major || (ownMajor === major && ownMinor >= minor)
}

/** The runtime of that name, or `undefined` where there is none. `program` starts one of ours, `tool` one in node_modules. */
export const findRuntime = (name) => {
  const { title, atLeast, candidates, program, tool } = runtimes[name]
  for (const command of candidates()) {
    if (!existsSync(command)) continue
    const version = versionOf(command)
    if (version !== undefined && recentEnough(version, atLeast)) {
      return { name, title: `${title} ${version}`, command, program, tool }
    }
  }
  return undefined
}

export const leftOut = (name) => {
  const { title, atLeast } = runtimes[name]
  return `${title}: left out, no ${title} ${atLeast.join(".")} or later here`
}

/** The dependencies: who has only Deno gets them installed, who has npm is told the command. */
export const requireDependencies = () => {
  if (existsSync(local("effect"))) return
  if (process.versions.deno) {
    const { status } = spawnSync(process.execPath, ["install"], { cwd: root, stdio: "inherit" })
    if (status === 0) return
  }
  console.error("The dependencies are missing: run `npm ci` (or `deno install`) first.")
  process.exit(1)
}
