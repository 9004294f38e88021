// What the package exports, as the modules of src/ say it: `node scripts/exports.mjs` writes it into deno.json (the exports),
// package.json (the folders that stay closed) and examples/deno.json (the imports). `npm run check -- exports` compares.
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { pathToFileURL } from "node:url"
import { root } from "./runtimes.mjs"

const read = (path) => JSON.parse(readFileSync(join(root, path), "utf8"))

const entriesOf = (folder) => readdirSync(join(root, folder), { withFileTypes: true })

const modulesIn = (folder) =>
  entriesOf(folder).filter(({ name }) => name.endsWith(".ts")).map(({ name }) => name.slice(0, -3)).sort()

const foldersIn = (folder) => entriesOf(folder).filter((entry) => entry.isDirectory()).map(({ name }) => name).sort()

/** The entry points beside the core, which is all other modules in src/. */
const edges = ["cli", "demo", "inspector", "node", "web"]

const inSrc = modulesIn("src")

/** A wing is a folder of src/, with an entry point of the same name. The parts of an edge are not public. */
const wings = foldersIn("src").filter((name) => name !== "internal" && !edges.includes(name))

/** The modules that `mod.ts` exports again. */
export const core = inSrc.filter((name) => !edges.includes(name) && !wings.includes(name))

/** The modules of each wing. Its entry point exports those again that begin with a capital letter; others are edges. */
export const modulesOfWings = Object.fromEntries(wings.map((wing) => [wing, modulesIn(`src/${wing}`)]))

/** The names of all public modules, as in `@callisto/rpc/NAME`. */
export const modules = [
  ...core,
  ...inSrc.filter((name) => !core.includes(name)),
  ...wings.flatMap((wing) => modulesOfWings[wing].map((name) => `${wing}/${name}`))
]

const folders = foldersIn("src")

/** Subpaths that `./*` would open otherwise. */
const closed = [
  ...folders.filter((name) => !wings.includes(name)),
  ...wings.flatMap((wing) => foldersIn(`src/${wing}`).map((name) => `${wing}/${name}`))
]

/** What each file has to say: a path, where in it, and the value. */
const wanted = () => {
  const { devDependencies, exports: { ".": main, "./*": each } } = read("package.json")
  const deno = read("deno.json")
  return [
    ["deno.json", "exports", {
      ".": "./mod.ts",
      ...Object.fromEntries(modules.map((name) => [`./${name}`, `./src/${name}.ts`]))
    }],
    ["package.json", "exports", {
      ".": main,
      "./*": each,
      ...Object.fromEntries(closed.map((folder) => [`./${folder}/*`, null]))
    }],
    ["examples/deno.json", "imports", {
      "@callisto/rpc": "../mod.ts",
      ...Object.fromEntries(modules.map((name) => [`@callisto/rpc/${name}`, `../src/${name}.ts`])),
      ...deno.imports,
      "@effect/sql-pg": `npm:@effect/sql-pg@${devDependencies["@effect/sql-pg"]}`
    }]
  ]
}

/** One line for each file that says something else. */
export const problemsOfExports = () => [
  ...wings.filter((wing) => !inSrc.includes(wing)).map((wing) =>
    `src/${wing}.ts: the entry point of src/${wing} is missing`
  ),
  ...wanted().flatMap(([file, key, value]) =>
    JSON.stringify(read(file)[key]) === JSON.stringify(value)
      ? []
      : [`${file}: "${key}" does not match the modules of src. Run node scripts/exports.mjs.`]
  )
]

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  for (const [file, key, value] of wanted()) {
    writeFileSync(join(root, file), `${JSON.stringify({ ...read(file), [key]: value }, null, 2)}\n`)
  }
}
