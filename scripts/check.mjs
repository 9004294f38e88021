// Everything about the sources that is not a test: types, style, documentation, what gets published, layers.
// `npm run check` runs all steps, `npm run check -- NAME` one of them, `npm run check -- --list` names them.
import { spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, posix, relative } from "node:path"
import process from "node:process"
import { core, modules, modulesOfWings, problemsOfExports } from "./exports.mjs"
import { problemsOfPrints } from "./prints.mjs"
import { findRuntime, leftOut, local, requireDependencies, root } from "./runtimes.mjs"
import { problemsOfShop } from "./shop.mjs"

requireDependencies()

const read = (path) => readFileSync(join(root, path), "utf8")

const start = (program, ...args) =>
  spawnSync(program, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: Infinity,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" }
  })

/** A step gives the description of what is wrong; an empty one means nothing. */
const command = (program, ...args) => {
  const { status, stdout, stderr } = start(program, ...args)
  return status === 0 ? "" : `${stdout}${stderr}exit code ${status}`
}

const tsc = (...args) => command(process.execPath, local("typescript", "bin", "tsc"), "--noEmit", ...args)

const denoRuntime = findRuntime("deno")
const deno = (...args) => denoRuntime === undefined ? leftOut("deno") : command(denoRuntime.command, ...args)

const pages = [
  "README.md",
  ...["docs", "site/pages"].flatMap((folder) => readdirSync(join(root, folder)).map((file) => `${folder}/${file}`))
].filter((file) => file.endsWith(".md"))

const difference = (title, expected, actual) => [
  ...expected.filter((item) => !actual.includes(item)).map((item) => `${title} lacks ${item}`),
  ...actual.filter((item) => !expected.includes(item)).map((item) => `${title} has ${item}, which src does not`)
]

const exportsStep = () => {
  const { version } = JSON.parse(read("package.json"))
  const reexported = (file) => [...read(file).matchAll(/^export .*$/gm)].map(([line]) => line)
  return [
    ...problemsOfExports(),
    ...difference("mod.ts", core.map((name) => `export * as ${name} from "./src/${name}.ts"`), reexported("mod.ts")),
    // A wing whose modules are all edges is a module itself.
    ...Object.entries(modulesOfWings).filter(([wing, names]) =>
      modules.includes(wing) && names.some((name) => /^[A-Z]/.test(name))
    ).flatMap(([wing, names]) =>
      difference(
        `src/${wing}.ts`,
        names.filter((name) => /^[A-Z]/.test(name)).map((name) => `export * as ${name} from "./${wing}/${name}.ts"`),
        reexported(`src/${wing}.ts`)
      )
    ),
    ...(JSON.parse(read("deno.json")).version === version ? [] : ["deno.json and package.json differ in the version"]),
    ...(read("src/internal/version.ts").includes(`version: string = "${version}"`)
      ? []
      : ["src/internal/version.ts and package.json differ in the version"])
  ].join("\n")
}

const exported =
  /^export (?:declare )?(?:abstract )?(?:const|let|class|function|interface|type|namespace) (\w+)|^export (?:type )?\{([^}]*)\}/gm

const exportsOf = (source) =>
  [...source.matchAll(exported)].flatMap(([, name, list]) => name ?? list.match(/\w+(?=\s*(?:,|$))/g) ?? [])

/** What is the library's own is in an internal folder: `@internal` hides nothing where sources are published. */
const surface = () =>
  readdirSync(join(root, "src"), { recursive: true })
    .map((file) => `src/${file.replaceAll("\\", "/")}`)
    .filter((file) => file.endsWith(".ts") && !file.includes("/internal/"))
    .flatMap((file) => {
      const source = read(file)
      const names = exportsOf(source)
      return [
        ...(source.includes("@internal") ? [`${file}: @internal outside of an internal folder`] : []),
        ...names.filter((name) => /(?:Impl|Unsafe)$/.test(name)).map((name) =>
          `${file}: exports ${name}, which belongs in an internal folder`
        )
      ]
    })
    .join("\n")

const importsOf = (file) =>
  [
    // At the begin of a line, for a module may also hold the text of one.
    ...read(`src/${file}`).replace(/\/\*[^]*?\*\//g, "").matchAll(
      /^(?:import|export)\b[^"`;]*?\bfrom\s*"([^"]+)"|^import\s*"([^"]+)"|\bimport\(\s*"([^"]+)"/gm
    )
  ].map(([, from, bare, dynamic]) => from ?? bare ?? dynamic)

/**
 * The allowed imports, a row a wing: the wings it stands on, and the files of `src/internal` it shares with the core.
 * `borrows` names further files of `src/internal` that a wing reaches today: the check refuses those no longer imported.
 * `opens` names the files of a wing's internal folder that the wings above it share.
 * The wings `smb` and `com` do not exist yet.
 */
const shared = [
  "access",
  "badInput",
  "binding",
  "chunkBuffer",
  "clock",
  "depth",
  "failures",
  "faultTable",
  "handleSchema",
  "handleTable",
  "inspectable",
  "inspecting",
  "methodPipes",
  "metrics",
  "named",
  "options",
  "pipeEnds",
  "seams",
  "statusTable",
  "uuid",
  "version"
]
const wire = ["core", "ndr", "transport", "security"]
const allowed = {
  core: { on: [] },
  ndr: { on: ["core"], shares: shared, opens: ["ndrCodec", "ndrErrors", "ndrForm", "ndrPipe", "ndrStream"] },
  transport: {
    on: ["core", "ndr"],
    shares: shared,
    opens: ["flow", "networkAddress", "outbox", "sockets", "transportErrors"]
  },
  security: { on: ["core", "ndr", "transport"], shares: shared, opens: ["channelBindings"] },
  smb: { on: wire, shares: shared },
  dcerpc: {
    on: wire,
    shares: shared,
    borrows: ["server", "serverCall"]
  },
  com: { on: [...wire, "dcerpc"], shares: shared },
  idl: { on: [...wire, "dcerpc"], shares: shared },
  durable: {
    on: ["core"],
    shares: shared,
    borrows: ["clientCall", "manager"],
    opens: ["handles", "record", "values"],
    packages: ["effect/cluster"]
  },
  "durable/node.ts": {
    on: ["core", "durable"],
    shares: shared,
    packages: ["effect/cluster", "@effect/platform-node-shared/", "node:"],
    opens: ["sqlite"]
  },
  web: { on: [...wire, "dcerpc"], shares: ["named"] },
  node: { on: [...wire, "dcerpc", "durable"], shares: ["named"], packages: ["node:"] },
  inspector: { on: ["core"], shares: shared, packages: ["node:"], opens: ["feed", "palette"] },
  cli: { on: [...wire, "smb", "dcerpc", "com", "idl", "durable", "node", "inspector"], shares: ["named", "version"] },
  "cli.ts": { on: ["cli", "node", "durable/node.ts"], packages: ["node:"] },
  "demo.ts": { on: ["cli.ts"], packages: ["node:"] }
}

/** Whether a file of a wing's internal folder is there for other wings too. */
const isOpen = (file, wing) =>
  (allowed[wing].opens ?? []).some((name) => file === `${wing.split("/")[0]}/internal/${name}.ts`)

/** Packages that the row of a wing has to name; the rest of effect is free for all. */
const restricted = ["node:", "effect/cluster", "@effect/platform-node-shared/"]

const isIn = (specifier, names) => names.some((name) => specifier === name || specifier.startsWith(name))

const mayImport = (specifier, packages) =>
  isIn(specifier, restricted) ? isIn(specifier, packages) : specifier === "effect" || specifier.startsWith("effect/")

/** The wing of a file in src/. The edges of the tool and of `durable` have rows of their own, because they alone name a platform. */
const wingOf = (file) => {
  if (["cli.ts", "demo.ts"].includes(file)) return file
  if (/^durable\/(?:node|internal\/(?:sockets|sqlite))\.ts$/.test(file)) return "durable/node.ts"
  const [first] = file.replace(/\.ts$/, "").split("/")
  return first in allowed ? first : "core"
}

const layers = () => {
  const files = readdirSync(join(root, "src"), { recursive: true })
    .map((file) => file.replaceAll("\\", "/"))
    .filter((file) => file.endsWith(".ts"))
  const graph = new Map(files.map((file) => [file, []]))
  const problems = []
  const borrowed = new Set()
  for (const file of files) {
    const wing = wingOf(file)
    const { on, shares = [], borrows = [], packages = [] } = allowed[wing]
    for (const specifier of importsOf(file)) {
      const target = specifier.startsWith(".") ? posix.join(file, "..", specifier) : specifier
      const internal = /^internal\/(.*)\.ts$/.exec(target)?.[1]
      if (!graph.has(target)) {
        if (!mayImport(specifier, packages)) problems.push(`src/${file}: ${wing} may not import ${specifier}`)
        continue
      }
      graph.get(file).push(target)
      const other = wingOf(target)
      if (other === wing) continue
      if (!on.includes(other)) problems.push(`src/${file}: ${wing} may not import ${other}, imports ${specifier}`)
      else if (internal !== undefined && borrows.includes(internal)) borrowed.add(`${wing} ${internal}`)
      else if (internal !== undefined && !shares.includes(internal)) {
        problems.push(`src/${file}: ${wing} may not import the core's src/${target}`)
      } else if (internal === undefined && target.includes("/internal/") && !isOpen(target, other)) {
        problems.push(`src/${file}: ${wing} may not import what is internal to ${other}, imports ${specifier}`)
      }
    }
  }
  for (const [wing, { borrows = [] }] of Object.entries(allowed)) {
    for (const name of borrows.filter((name) => !borrowed.has(`${wing} ${name}`))) {
      problems.push(`scripts/check.mjs: ${wing} no longer imports src/internal/${name}.ts. Remove it from the table.`)
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

/** Every entry point has its `@module`, and `deno doc --lint` finds nothing but references to types of effect. */
const docLint = () => {
  if (denoRuntime === undefined) return leftOut("deno")
  const files = ["mod.ts", ...modules.map((name) => `src/${name}.ts`)]
  const problems = files
    .filter((file) => !/\/\*\*[^]*?\*\//.exec(read(file))?.[0].includes("\n * @module\n"))
    .map((file) => `${file}: the head comment has no @module`)
  const { stdout, stderr } = spawnSync(denoRuntime.command, ["doc", "--lint", ...files], {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" }
  })
  const errors = [...`${stdout}${stderr}`.matchAll(/^error\[([\w-]+)\]: (.*)\n +--> (.*?):(\d+):\d+$/gm)]
    .map(([, rule, text, path, line]) => ({ rule, text, line, file: relative(root, path).replaceAll("\\", "/") }))
    // Types of effect are not part of these modules, and count as private for deno doc.
    .filter(({ file, rule, text }) =>
      rule !== "private-type-ref" || isOurs(/private type '([^'.]*)/.exec(text)[1], file)
    )
  if (errors.length === 0 && !/Checked \d+ files|documentation lint errors/.test(`${stdout}${stderr}`)) {
    problems.push(`deno doc --lint: ${stdout}${stderr}`)
  }
  for (const { file, line, text } of errors) problems.push(`${file}:${line}: ${text}`)
  return problems.join("\n")
}

/** Whether a file takes the type of that name from our sources. Private constants are keys and bases of public types. */
const isOurs = (name, file) => {
  if (name.endsWith("TypeId")) return false
  const source = read(file)
  const id = name.replaceAll("$", "\\$")
  const has = (pattern) => new RegExp(`^${pattern}`, "m").test(source)
  return !has(`export .*\\b(?:type|interface|class|namespace) ${id}\\b`) &&
    (has(`(?:declare )?(?:type|interface|class|namespace) ${id}\\b`) ||
      has(`import [^"]*\\b${id}\\b[^"]*from "\\.`))
}

/** The pages of the reference: each export has a heading, links lead to one, and Vue finds no tags and mustaches in the text. */
const reference = async () => {
  if (denoRuntime === undefined) return leftOut("deno")
  const { writeReference } = await import("../site/reference.mjs")
  const folder = mkdtempSync(join(tmpdir(), "callisto-reference-"))
  try {
    writeReference(folder)
    const texts = new Map(
      ["index", ...modules].map((name) => [`${name}.md`, readFileSync(join(folder, `${name}.md`), "utf8")])
    )
    const anchors = new Map(
      [...texts].map(([page, text]) => [page, [...text.matchAll(/^#.*\{#(\S+)\}$/gm)].map(([, anchor]) => anchor)])
    )
    const problemsOf = (page, text) => {
      const own = anchors.get(page)
      const prose = text.replace(/^ *```[^]*?^ *```$/gm, "").replace(/(`+)(?!`)[^]*?(?<!`)\1(?!`)/g, "code")
      const isDead = ([, path, anchor]) => {
        const target = anchors.get(path === "" ? page : posix.join(page, "..", path))
        return target === undefined || (anchor !== undefined && !target.includes(anchor))
      }
      const links = [...prose.matchAll(/\]\(([^)#:\s]*)(?:#([^)\s]+))?\)/g)]
      const names = page === "index.md" ? [] : exportsOf(read(`src/${page.slice(0, -3)}.ts`))
      return [
        ...names.filter((name) => !own.includes(name)).map((name) => `no heading for ${name}`),
        ...own.filter((anchor, index) => own.indexOf(anchor) < index).map((anchor) => `two headings for ${anchor}`),
        ...links.filter(isDead).map(([link]) => `dead link ${link}`),
        ...(prose.replaceAll("<span v-pre>{{</span>", "").match(/^.*(?:<|\{\{).*$/gm) ?? [])
      ].map((problem) => `reference/${page}: ${problem}`)
    }
    return [...texts].flatMap(([page, text]) => problemsOf(page, text)).join("\n")
  } catch (error) {
    return error.message
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Runs by its name alone until the client object of `Call` is there. */
const notYet = []

const editor = async () => {
  const { askEditors } = await import("../test/editor/editor.mjs")
  return (await askEditors()).problems.join("\n")
}

const examples = async () => {
  if (denoRuntime === undefined) return leftOut("deno")
  const { status, stdout, stderr } = start(denoRuntime.command, "test", "--doc", "-A", ...pages, "mod.ts", "src")
  if (status !== 0) return `${stdout}${stderr}exit code ${status}`
  const shop = await problemsOfShop(["node", "deno", "bun"])
  return [...problemsOfPrints(stdout), ...shop].join("\n")
}

const links = async () => {
  const { problemsOfLinks } = await import("./links.mjs")
  return problemsOfLinks().join("\n")
}

const tutorial = async () => {
  const { problemsOfTutorial } = await import("./tutorial.mjs")
  return (await problemsOfTutorial()).join("\n")
}

const size = async () => {
  const { measureSize } = await import("./size.mjs")
  return (await measureSize()).problems.join("\n")
}

const steps = {
  tsc: ["types of everything (tsc)", () => tsc("-p", "tsconfig.json") || tsc("-p", "site/tsconfig.json")],
  build: ["types of the library alone, declarations isolated (tsc)", () => tsc("-p", "tsconfig.build.json")],
  deno: ["types of everything (deno check)", () => deno("check", ".")],
  lint: ["lint (deno lint)", () => deno("lint")],
  format: ["format (deno fmt)", () => deno("fmt", "--check")],
  examples: [
    "examples in the documentation and the shop run, and print what they say (deno test --doc, prints.mjs, shop.mjs)",
    examples
  ],
  tutorial: ["the tutorial does what it says, on each runtime (tutorial.mjs)", tutorial],
  links: ["links of the pages resolve in the npm package (npm pack)", links],
  doc: ["every export is documented, entry points have @module (deno doc --lint)", docLint],
  jsr: ["ready for JSR, no slow types (deno publish)", () => deno("publish", "--dry-run", "--allow-dirty")],
  reference: ["every export is in the reference of the site, no dead links (site/reference.mjs)", reference],
  exports: ["the package exports the modules of src (exports.mjs)", exportsStep],
  surface: ["public modules export nothing internal", surface],
  layers: ["a wing imports what its row allows, no cycles", layers],
  editor: ["editors complete names and fields and show short types (TypeScript 5.9 and 7)", editor],
  size: ["no program weighs more than its budget (esbuild, gzip)", size]
}

const args = process.argv.slice(2)
if (args.includes("--list")) {
  for (const [name, [title]] of Object.entries(steps)) console.log(`${name.padEnd(10)} ${title}`)
  process.exit(0)
}
const unknown = args.filter((name) => !(name in steps))
if (unknown.length > 0) {
  console.error(`check: unknown step, got ${unknown.join(" ")}, expected ${Object.keys(steps).join(", ")}`)
  process.exit(1)
}

const names = args.length > 0 ? args : Object.keys(steps).filter((name) => !notYet.includes(name))
let failed = 0
for (const name of names) {
  const [title, run] = steps[name]
  const begun = performance.now()
  const problem = await run()
  const seconds = ((performance.now() - begun) / 1000).toFixed(1)
  console.log(`${problem === "" ? "ok    " : "FAILED"} ${name}: ${title}, ${seconds} s`)
  if (problem !== "") {
    failed++
    console.log(problem)
  }
}
console.log(`${names.length - failed} passed, ${failed} failed`)
process.exit(failed > 0 ? 1 : 0)
