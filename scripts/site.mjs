// Builds the site, without a network: npm run site. Its pages are those of docs/, the first page and the live figure of site/, the
// examples, and the reference, which comes from the doc comments. `-- --base /callisto/` builds it for a folder of a host.
import { build } from "esbuild"
import { spawnSync } from "node:child_process"
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import process from "node:process"
import { pathToFileURL } from "node:url"
import { parseArgs } from "node:util"
import { gzipSync } from "node:zlib"
import { pureSources } from "./pure.mjs"
import { findRuntime, requireDependencies, root } from "./runtimes.mjs"

const site = join(root, "site")
const built = join(site, ".build")
const pages = join(built, "pages")

const read = (...path) => readFileSync(join(...path), "utf8")
const write = (path, text) => {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
}

/** The sections of the side bar, and their pages in docs/. */
const sections = [
  ["Start", ["tutorial", "coming_from_effect_rpc"]],
  ["How to", [
    "network",
    "server",
    "web",
    "idl",
    "security",
    "errors",
    "pipes",
    "context_handles",
    "durable",
    "finding_servers",
    "versions",
    "production",
    "testing",
    "layers",
    "inspector",
    "hosts"
  ]],
  ["Explanation", ["calls", "cancel", "failures", "windows", "why_dcerpc", "when_not"]],
  ["Reference", [
    "cli",
    "error_reference",
    "speed",
    "figures_of_speed",
    "examples",
    "changes",
    "contributing",
    "reporting",
    "notices"
  ]]
]

// ----------------------------------------------------------------------------
// pages
// ----------------------------------------------------------------------------

const titleOf = (text) => /^# (.+)$/m.exec(text)?.[1].replaceAll("`", "")

/** The pages beside docs/, and their names on the site. */
const others = {
  "CHANGELOG.md": "changes",
  "CONTRIBUTING.md": "contributing",
  "SECURITY.md": "reporting",
  "bench/results.md": "figures_of_speed"
}

/** A link of a page of docs/ as one of the site: other pages, the examples and the modules are pages there. */
const linkOnSite = (link) => {
  const [path, fragment] = link.split("#")
  const hash = fragment === undefined ? "" : `#${fragment}`
  const example = /^(?:\.\.\/)?examples(?:\/(.*))?$/.exec(path)
  if (example !== null) return `/examples${example[1] ? `#${anchorOf(example[1])}` : ""}`
  const module = /^(?:\.\.\/)?src\/(.+)\.ts$/.exec(path)
  if (module !== null) return `/reference/${module[1]}${hash}`
  if (path === "../bench/results.json") return "/results.json"
  const other = others[path.replace(/^\.\.\//, "")]
  if (other !== undefined) return `/${other}${hash}`
  const page = /^docs\/(.+)\.md$/.exec(path)
  if (page !== null) return `/${page[1]}${hash}`
  if (/^(?:\.\.\/)?README\.md$/.test(path)) return `/${hash}`
  return link
}

const anchorOf = (file) => file.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-")

/** A figure as a part of its page, so that it follows the page's colours. */
const figure = (name) =>
  `<div class="figure" tabindex="0" role="group" aria-label="Figure">${
    read(root, "docs", "figures", name).replace(/<style>.*<\/style>/s, "").trim()
  }</div>`

const onSite = (text) =>
  text.replaceAll(/^!\[[^\]]*\]\((?:docs\/)?figures\/([\w.]+)\)$/gm, (_, name) => figure(name)).replaceAll(
    /\]\(([^)\s]+)\)/g,
    (whole, link) => /^[a-z]+:/.test(link) ? whole : `](${linkOnSite(link)})`
  )

/** All examples on one page, each with its first comment as its text. */
const examplesPage = () => {
  const files = readdirSync(join(root, "examples"), { recursive: true }).map((file) => file.replaceAll("\\", "/"))
    .filter((file) => /\.(?:ts|idl|html)$/.test(file)).sort()
  const parts = files.map((file) =>
    `## ${file} {#${anchorOf(file)}}\n\n\`\`\`${file.split(".").at(-1)}\n${
      read(root, "examples", file).trimEnd()
    }\n\`\`\`\n`
  )
  return `# Examples\n\nEach is a program of its own. The first lines say what it shows and how to run it in a clone.\n\n${
    parts.join("\n")
  }`
}

/** The licences of what a visitor's browser loads beside the library. */
const notices = () => {
  const require = createRequire(join(site, "package.json"))
  const folderOf = (name) => {
    for (let folder = dirname(require.resolve(name)); folder !== dirname(folder); folder = dirname(folder)) {
      if (existsSync(join(folder, "package.json")) && JSON.parse(read(folder, "package.json")).name === name) {
        return folder
      }
    }
    throw new Error(`${name} is not installed`)
  }
  const loaded = [
    "effect",
    "vue",
    "vitepress",
    "@vueuse/core",
    "@vueuse/integrations",
    "minisearch",
    "mark.js",
    "focus-trap",
    "tabbable"
  ]
  const parts = loaded.map((name) => {
    const folder = folderOf(name)
    const { license, version } = JSON.parse(read(folder, "package.json"))
    const file = readdirSync(folder).find((file) => /^licen[cs]e(?:\.|$)/i.test(file))
    const text = file === undefined ? `Licence: ${license}` : read(folder, file).trim()
    return `## ${name} ${version}\n\n\`\`\`text\n${text}\n\`\`\`\n`
  })
  return `# Third-party notices\n\nThe pages of this site load these programs of others, under their licences.\n\n${
    parts.join("\n")
  }`
}

const gatherPages = async () => {
  const titles = {}
  const add = (name, text) => {
    titles[name] = titleOf(text)
    write(join(pages, `${name}.md`), text)
  }
  for (const file of readdirSync(join(root, "docs")).filter((file) => file.endsWith(".md"))) {
    add(file.slice(0, -3), onSite(read(root, "docs", file)))
  }
  for (const [file, name] of Object.entries(others)) add(name, onSite(read(root, file)))
  add("examples", examplesPage())
  add("notices", notices())
  mkdirSync(join(pages, "public"), { recursive: true })
  cpSync(join(root, "bench", "results.json"), join(pages, "public", "results.json"))
  cpSync(join(site, "pages"), pages, { recursive: true })

  const { writeReference } = await import(pathToFileURL(join(site, "reference.mjs")).href)
  const modules = await writeReference(join(pages, "reference"))

  const named = sections.flatMap(([, names]) => names)
  const missing = named.filter((name) => titles[name] === undefined)
  const unnamed = Object.keys(titles).filter((name) => !named.includes(name))
  if (missing.length + unnamed.length > 0) {
    throw new Error(
      `The side bar lacks ${unnamed.join(", ") || "nothing"}; it names pages that are not there: ${
        missing.join(", ") || "none"
      }.`
    )
  }
  write(
    join(built, "contents.json"),
    JSON.stringify({
      titles,
      sections: sections.map(([name, pages]) => ({ name, pages, ...(name === "Reference" ? { modules } : {}) }))
    })
  )
}

// ----------------------------------------------------------------------------
// the live figure
// ----------------------------------------------------------------------------

/** The most that page and worker may weigh together, compressed. */
const liveBudget = 250_000

const bundleLive = async () => {
  const { outputFiles } = await build({
    entryPoints: ["page.ts", "worker.ts"].map((file) => join(site, "live", file)),
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    splitting: true,
    outdir: join(pages, "public", "live"),
    write: false,
    plugins: [pureSources],
    absWorkingDir: root,
    tsconfigRaw: {}
  })
  let weight = 0
  for (const { contents, path } of outputFiles) {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, contents)
    weight += gzipSync(contents, { level: 9 }).length
  }
  if (weight > liveBudget) {
    throw new Error(`The live figure weighs ${weight} bytes compressed, its budget is ${liveBudget}.`)
  }
  return weight
}

/** The site's own packages; only this needs a network, once. */
const installPackages = () => {
  if (existsSync(join(site, "node_modules"))) return
  console.log("Installing the packages of site/ (npm ci).")
  const options = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"]
  const { status } = spawnSync("npm", options, { cwd: site, stdio: "inherit", shell: process.platform === "win32" })
  if (status !== 0) throw new Error("The packages of site/ could not be installed. Run npm ci there.")
}

/** Builds the site; gives the folder, and the weight of the live figure in bytes. */
export const buildSite = async ({ base = "/" } = {}) => {
  installPackages()
  rmSync(built, { recursive: true, force: true })
  const weight = await bundleLive()
  await gatherPages()
  const { style } = await import(pathToFileURL(join(site, "live", "drawing.ts")).href)
  write(join(built, "calls.css"), style)
  const { status } = spawnSync(process.execPath, [
    join(site, "node_modules", "vitepress", "bin", "vitepress.js"),
    "build",
    site
  ], {
    cwd: site,
    stdio: "inherit",
    env: { ...process.env, CALLISTO_BASE: base }
  })
  if (status !== 0) throw new Error("VitePress could not build the site.")
  return { folder: join(built, "dist"), weight }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  requireDependencies()
  // The drawing and the reference are TypeScript, which older versions of Node do not read.
  const [major, minor] = process.versions.node.split(".").map(Number)
  if (major < 22 || (major === 22 && minor < 18)) {
    const node = findRuntime("node")
    if (node === undefined) console.error("Node 22.18 or later is needed.")
    const again = node && spawnSync(node.command, process.argv.slice(1), { stdio: "inherit" })
    process.exit(again?.status ?? 1)
  }
  const { values } = parseArgs({
    options: { base: { type: "string", default: "/" }, test: { type: "boolean" }, shots: { type: "boolean" } }
  })
  try {
    const { folder, weight } = await buildSite(values)
    console.log(`The site is in ${folder}. Its live figure weighs ${weight} bytes compressed.`)
    if (values.test || values.shots) {
      const { shootSite, testSite } = await import(pathToFileURL(join(site, "test.mjs")).href)
      if (values.shots) {
        const shots = join(built, "shots")
        mkdirSync(shots)
        await shootSite(folder, values.base, shots)
        console.log(`The screenshots are in ${shots}.`)
      }
      if (values.test && !await testSite(folder, values.base, JSON.parse(read(root, "package.json")).version)) {
        process.exitCode = 1
      }
    }
  } catch (error) {
    console.error(error.message)
    process.exitCode = 1
  }
}
