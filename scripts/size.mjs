// What Callisto weighs in a program that imports its modules by subpath, minified and compressed, beyond the same program of Effect and
// Schema: node scripts/size.mjs. What the program loads on demand is not counted.
import { build } from "esbuild"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { pathToFileURL } from "node:url"
import { gzipSync } from "node:zlib"
import { pureSources } from "./pure.mjs"
import { root } from "./runtimes.mjs"

const folder = join(root, "bench", "size")

/** The public names mean the sources. */
const publicNames = {
  name: "public names",
  setup: ({ onResolve }) => {
    onResolve({ filter: /^@callisto\/rpc\// }, ({ path }) => ({
      path: join(root, "src", `${path.slice("@callisto/rpc/".length)}.ts`),
      sideEffects: false
    }))
  }
}

const weigh = async (program) => {
  const { metafile: { outputs }, outputFiles } = await build({
    entryPoints: [join(folder, program)],
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2024",
    splitting: true,
    absWorkingDir: root,
    outdir: root,
    write: false,
    metafile: true,
    plugins: [publicNames, pureSources]
  })
  const [entry] = Object.keys(outputs).filter((file) => outputs[file].entryPoint?.endsWith(program))
  const weights = Array.from(loadedWith(entry, outputs), (file) => {
    const { contents } = outputFiles.find(({ path }) => path === join(root, file))
    return gzipSync(contents, { level: 9 }).length
  })
  return weights.reduce((sum, weight) => sum + weight, 0)
}

/** A file and what it imports, other than on demand. */
const loadedWith = (file, outputs, found = new Set()) => {
  if (found.has(file)) return found
  found.add(file)
  for (const { kind, path } of outputs[file].imports) if (kind === "import-statement") loadedWith(path, outputs, found)
  return found
}

const inWords = (bytes) => `${bytes.toLocaleString("en-US")} bytes`

/** The weights in bytes and as lines, and those that are above their budget. */
export const measureSize = async () => {
  const budgets = JSON.parse(readFileSync(join(folder, "budget.json"), "utf8"))
  const base = await weigh("effect.ts")
  const lines = [`effect.ts: ${inWords(base)}`]
  const problems = []
  const weights = {}
  for (const [program, budget] of Object.entries(budgets)) {
    const weight = weights[program] = await weigh(program) - base
    const line = `${program}: ${inWords(weight)} more, its budget is ${inWords(budget)}`
    lines.push(line)
    if (weight > budget) problems.push(`${line} (bench/size/budget.json)`)
  }
  return { weights, lines, problems }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { lines, problems } = await measureSize()
  console.log(lines.join("\n"))
  process.exit(problems.length > 0 ? 1 : 0)
}
