// Everything about the sources that is not a test: types, style, documentation, what gets published, layers.
import { spawnSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { findRuntime, leftOut, local, requireDependencies, root } from "./runtimes.mjs"

requireDependencies()

const read = (path) => readFileSync(join(root, path), "utf8")

/** A step gives the description of what is wrong; an empty one means nothing. */
const command = (program, ...args) => {
  const { status, stdout, stderr } = spawnSync(program, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: Infinity,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" }
  })
  return status === 0 ? "" : `${stdout}${stderr}exit code ${status}`
}

const tsc = (...args) => command(process.execPath, local("typescript", "bin", "tsc"), "--noEmit", ...args)

const denoRuntime = findRuntime("deno")
const deno = (...args) => denoRuntime === undefined ? leftOut("deno") : command(denoRuntime.command, ...args)

const modulesIn = (folder) =>
  readdirSync(join(root, folder)).filter((file) => file.endsWith(".ts")).map((file) => file.slice(0, -3))

// Beside the core, which runs everywhere: the network, the sockets of Deno, Bun and Node, and the command-line tool.
const entryPoints = ["dcerpc", "node", "cli"]
const core = modulesIn("src").filter((name) => !entryPoints.includes(name))
const network = modulesIn("src/dcerpc")
const modules = [...core, ...entryPoints, ...network.map((name) => `dcerpc/${name}`)]

const pages = [
  "README.md",
  ...(existsSync(join(root, "docs")) ? readdirSync(join(root, "docs")).map((file) => `docs/${file}`) : [])
].filter((file) => file.endsWith(".md"))

const difference = (title, expected, actual) => [
  ...expected.filter((item) => !actual.includes(item)).map((item) => `${title} lacks ${item}`),
  ...actual.filter((item) => !expected.includes(item)).map((item) => `${title} has ${item}, which src does not`)
]

const publicModules = () => {
  const config = JSON.parse(read("deno.json"))
  const manifest = JSON.parse(read("package.json"))
  const exported = Object.entries(config.exports).map(([name, file]) => `${name} -> ${file}`)
  const reexported = (file) => [...read(file).matchAll(/^export .*$/gm)].map(([line]) => line)
  return [
    ...difference(
      "deno.json",
      [". -> ./mod.ts", ...modules.map((name) => `./${name} -> ./src/${name}.ts`)],
      exported
    ),
    ...difference("mod.ts", core.map((name) => `export * as ${name} from "./src/${name}.ts"`), reexported("mod.ts")),
    ...difference(
      "src/dcerpc.ts",
      network.map((name) => `export * as ${name} from "./dcerpc/${name}.ts"`),
      reexported("src/dcerpc.ts")
    ),
    ...(config.version === manifest.version ? [] : ["deno.json and package.json differ in the version"]),
    ...(read("src/cli/Program.ts").includes(`version: string = "${manifest.version}"`)
      ? []
      : ["src/cli/Program.ts and package.json differ in the version"])
  ].join("\n")
}

const importsOf = (file) =>
  [
    ...read(`src/${file}`).replace(/\/\*[^]*?\*\//g, "").matchAll(/\b(?:from|import)\s*\(?\s*"([^"]+)"/g)
  ].map(([, specifier]) => specifier)

const layerNames = ["the core", "the network", "the platform", "the tool"]

const layerOf = (file) => /^cli\b/.test(file) ? 3 : file === "node.ts" ? 2 : /^dcerpc\b/.test(file) ? 1 : 0

// Only these name a platform.
const platform = ["node.ts", "cli.ts"]

const layers = () => {
  const files = readdirSync(join(root, "src"), { recursive: true }).filter((file) => file.endsWith(".ts"))
  const graph = new Map(files.map((file) => [file, []]))
  const problems = []
  for (const file of files) {
    for (const specifier of importsOf(file)) {
      if (specifier === "effect" || specifier.startsWith("effect/")) continue
      if (platform.includes(file) && specifier.startsWith("node:")) continue
      const target = specifier.startsWith(".") ? join(file, "..", specifier) : specifier
      if (graph.has(target) && layerOf(target) > layerOf(file)) {
        problems.push(`${layerNames[layerOf(file)]}, src/${file}, imports ${specifier}`)
      }
      if (graph.has(target)) graph.get(file).push(target)
      else problems.push(`src/${file} imports ${specifier}`)
    }
  }
  const finished = new Set()
  const visit = (file, path) => {
    if (path.includes(file)) problems.push(`cycle: ${[...path.slice(path.indexOf(file)), file].join(" -> ")}`)
    else if (!finished.has(file)) {
      for (const target of graph.get(file)) visit(target, [...path, file])
      finished.add(file)
    }
  }
  for (const file of files) visit(file, [])
  return problems.join("\n")
}

const size = async () => {
  const { measureSize } = await import("./size.mjs")
  return (await measureSize()).problems.join("\n")
}

const steps = [
  ["types of everything (tsc)", () => tsc("-p", "tsconfig.json")],
  ["types of the library alone, declarations isolated (tsc)", () => tsc("-p", "tsconfig.build.json")],
  ["types of everything (deno check)", () => deno("check", ".")],
  ["lint (deno lint)", () => deno("lint")],
  ["format (deno fmt)", () => deno("fmt", "--check")],
  ["examples in the documentation run (deno test --doc)", () => deno("test", "--doc", "-A", ...pages, "mod.ts", "src")],
  ["ready for JSR, no slow types (deno publish)", () => deno("publish", "--dry-run", "--allow-dirty")],
  ["deno.json and mod.ts export the modules of src", publicModules],
  [
    "the core imports effect and itself alone, the network the core, only node.ts and cli.ts a platform, no cycles",
    layers
  ],
  ["no program weighs more than its budget (esbuild, gzip)", size]
]

let failed = 0
for (const [name, run] of steps) {
  const start = performance.now()
  const problem = await run()
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  console.log(`${problem === "" ? "ok    " : "FAILED"} ${name}, ${seconds} s`)
  if (problem !== "") {
    failed++
    console.log(problem)
  }
}
console.log(`${steps.length - failed} passed, ${failed} failed`)
process.exit(failed > 0 ? 1 : 0)
