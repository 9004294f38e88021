// The reference of the site: a page for each public module. Deno reads the exports and their comments (`deno doc --json`), and the
// parser of TypeScript 5.9 the text of their signatures, for TypeScript 7 has no parser for programs.
import { spawnSync } from "node:child_process"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join, posix, relative } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import ts from "typescript-5.9"
import { core, modules, modulesOfWings } from "../scripts/exports.mjs"
import { findRuntime, leftOut, root } from "../scripts/runtimes.mjs"

const fileOf = (module) => `src/${module}.ts`

/** What `deno doc` knows of a public module: its comment, and its exports by name. */
const readModules = () => {
  const deno = findRuntime("deno")
  if (deno === undefined) throw new Error(leftOut("deno"))
  const { status, stderr, stdout } = spawnSync(deno.command, ["doc", "--json", ...modules.map(fileOf)], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: Infinity,
    env: { ...process.env, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" }
  })
  if (status !== 0) throw new Error(`deno doc: ${stderr}`)
  const found = Object.entries(JSON.parse(stdout).nodes).map(([url, node]) => [pathOf(url), node])
  const nodes = new Map(found)
  return new Map(modules.map((name) => [name, toModule(name, nodes.get(fileOf(name)))]))
}

const pathOf = (url) => relative(root, fileURLToPath(url)).replaceAll("\\", "/")

const toModule = (name, { module_doc, symbols }) => ({
  name,
  title: name.split("/").at(-1),
  file: fileOf(name),
  doc: module_doc?.doc ?? "",
  symbols: exportsParts(name) ? [] : toSymbols(symbols),
  /** The modules that the entry point of a wing exports. */
  parts: (modulesOfWings[name] ?? []).map((part) => `${name}/${part}`)
})

/** Whether a module is the entry point of a wing and exports its modules again. Those with a small letter are edges. */
const exportsParts = (name) => (modulesOfWings[name] ?? []).some((part) => /^[A-Z]/.test(part))

/** The exports, each with its declarations: an interface, its namespace and its constant share a name. */
const toSymbols = (symbols) =>
  symbols.flatMap(({ name, declarations }) => {
    const all = declarations.filter(({ declarationKind }) => declarationKind === "export").map((declaration) => ({
      file: pathOf(declaration.location.filename),
      at: declaration.location.byteIndex,
      doc: declaration.jsDoc?.doc ?? "",
      tags: Object.fromEntries((declaration.jsDoc?.tags ?? []).map(({ doc, kind }) => [kind, doc])),
      members: declaration.kind === "namespace" ? toSymbols(declaration.def.elements) : []
    }))
    return all.length === 0 ? [] : [{
      name,
      category: all.map(({ tags }) => tags.category).find((category) => category !== undefined) ?? "other",
      since: all.map(({ tags }) => tags.since).find((since) => since !== undefined),
      declarations: all,
      members: all.flatMap(({ members }) => members)
    }]
  })

// ----------------------------------------------------------------------------
// signatures
// ----------------------------------------------------------------------------

const isExported = (node) => (ts.getCombinedModifierFlags(node) & ts.ModifierFlags.Export) !== 0

const sources = new Map()

/** A source file: its tree, its declarations by where Deno says they begin, and what it imports from our modules. */
const sourceOf = (file) => {
  if (sources.has(file)) return sources.get(file)
  const bytes = readFileSync(join(root, file))
  const tree = ts.createSourceFile(file, bytes.toString(), ts.ScriptTarget.Latest, true)
  const declarations = new Map()
  const locals = new Map()
  const imports = new Map()
  const add = (node, named = node) =>
    declarations.set(Buffer.byteLength(tree.text.slice(0, named.getStart(tree))), node)
  const visit = (statements) => {
    for (const statement of statements) {
      if (ts.isVariableStatement(statement)) {
        for (const each of statement.declarationList.declarations) {
          add(each)
          locals.set(each.name.getText(tree), each)
        }
      } else if (ts.isImportDeclaration(statement)) addImports(imports, file, statement)
      else {
        add(statement)
        if (statement.name !== undefined && !isExported(statement)) locals.set(statement.name.text, statement)
      }
      if (ts.isModuleDeclaration(statement)) visit(statement.body.statements)
    }
  }
  visit(tree.statements)
  const source = { tree, declarations, locals, imports }
  sources.set(file, source)
  return source
}

const addImports = (imports, file, { importClause, moduleSpecifier }) => {
  const target = /^src\/(.*)\.ts$/.exec(posix.join(file, "..", moduleSpecifier.text))?.[1]
  if (!moduleSpecifier.text.startsWith(".") || !modules.includes(target)) return
  const bindings = importClause?.namedBindings
  if (bindings === undefined) return
  if (ts.isNamespaceImport(bindings)) imports.set(bindings.name.text, [target])
  else {for (const { name, propertyName } of bindings.elements) {
      imports.set(name.text, [target, (propertyName ?? name).text])
    }}
}

/** Private members, and the brands of types, which nobody reads. */
const isHidden = (node, tree) =>
  node.name !== undefined && (ts.isPrivateIdentifier(node.name) || /TypeId\]$|^"~/.test(node.name.getText(tree)) ||
    (ts.getCombinedModifierFlags(node) & ts.ModifierFlags.Private) !== 0)

/** What a signature leaves out of the text of a node: comments, bodies, values, hidden members, `export`. */
const cutsOf = (node, tree) => {
  const cuts = []
  const visit = (child) => {
    if (isHidden(child, tree)) return cuts.push([child.getFullStart(), child.end])
    for (const { end, pos } of ts.getLeadingCommentRanges(tree.text, child.getFullStart()) ?? []) cuts.push([pos, end])
    if (child.kind === ts.SyntaxKind.ExportKeyword || child.kind === ts.SyntaxKind.DeclareKeyword) {
      return cuts.push([child.getStart(tree), child.end + 1])
    }
    if (ts.isParameter(child) && child.initializer !== undefined) {
      // A default makes it optional, and is no part of the type.
      cuts.push([child.name.end, child.name.end, "?"], [(child.type ?? child.name).end, child.end])
    }
    const value = ts.isPropertyDeclaration(child) && child.type !== undefined ? child.initializer : child.body
    if (value !== undefined) cuts.push([(child.type ?? value).end, value.end])
    for (const each of child.getChildren(tree)) if (each !== value) visit(each)
  }
  visit(node)
  return cuts.sort(([a], [b]) => a - b)
}

/** The text of a node, or a stretch of it, as a signature has it: moved to the left margin. */
const textOf = (node, { tree }, from = node.getStart(tree), to = node.end) => {
  let text = ""
  let at = from
  for (const [start, end, instead = ""] of cutsOf(node, tree)) {
    if (start < at || start >= to) continue
    text += tree.text.slice(at, start) + instead
    at = end
  }
  text += tree.text.slice(at, Math.max(to, at))
  const statement = ts.findAncestor(node, (each) => ts.isSourceFile(each.parent) || ts.isModuleBlock(each.parent)) ??
    node
  const margin = new RegExp(`^ {0,${tree.getLineAndCharacterOfPosition(statement.getStart(tree)).character}}`)
  return text.split("\n").filter((line) => line.trim() !== "").map((line) => line.replace(margin, "").trimEnd()).join(
    "\n"
  )
    .replaceAll(/\{\n\}/g, "{}")
}

/** The signature of a declaration; that of a class begins with its base, which has the fields of an error. */
const signatureOf = (node, source) => {
  const { tree } = source
  if (ts.isVariableDeclaration(node)) {
    const { initializer, name, type } = node
    if (type !== undefined) return `const ${textOf(node, source, name.getStart(tree), type.end)}`
    if (!ts.isArrowFunction(initializer)) return `const ${textOf(node, source)}`
    const close = initializer.getChildren(tree).find(({ kind }) => kind === ts.SyntaxKind.CloseParenToken).end
    const parameters = textOf(initializer, source, initializer.getStart(tree), close)
    return `const ${name.text}: ${parameters} => ${textOf(initializer.type, source)}`
  }
  return [...basesOf(node, source).map((base) => signatureOf(base, source)), textOf(node, source)].join("\n\n")
}

/** The private constant that a class extends, after the private types that it consists of. */
const basesOf = (node, { locals, tree }) => {
  if (!ts.isClassDeclaration(node)) return []
  const base = locals.get(node.heritageClauses?.[0]?.types[0]?.expression.getText(tree))
  if (base === undefined) return []
  const bases = new Set()
  const visit = (child) => {
    const type = ts.isTypeReferenceNode(child) ? locals.get(child.typeName.getText(tree)) : undefined
    if (type !== undefined && type.typeParameters === undefined && !bases.has(type)) {
      visit(type)
      bases.add(type)
    }
    ts.forEachChild(child, visit)
  }
  if (base.type !== undefined) visit(base.type)
  return [...bases, base]
}

/** The members of a declaration that have a comment, each with its name and that comment. */
const membersOf = (node, source) => {
  const { tree } = source
  const members = []
  const visit = (child, path) => {
    if (isHidden(child, tree) || child === node.body) return
    const comment = child === node ? undefined : child.jsDoc?.at(-1)
    const isMember = ts.isTypeElement(child) || ts.isClassElement(child)
    const inner = isMember ? [...path, nameOf(child, tree)] : path
    if (comment !== undefined && isMember) {
      members.push({ name: inner.join("."), doc: docOf(tree.text.slice(comment.pos, comment.end)) })
    }
    for (const each of child.getChildren(tree)) if (each !== child.body) visit(each, inner)
  }
  if (ts.isModuleDeclaration(node)) return []
  for (const each of [...basesOf(node, source), node]) {
    visit(ts.isVariableDeclaration(each) ? each.type ?? each : each, [])
  }
  return members
}

const nameOf = (member, tree) =>
  member.name?.getText(tree) ??
    (ts.isConstructorDeclaration(member) ? "constructor" : textOf(member, { tree }).split("\n")[0])

/** The text of a comment, without its frame and tags. */
const docOf = (comment) =>
  comment.replace(/^\/\*\*|\*\/$/g, "").replace(/^ *\* ?/gm, "").replace(/^@\w[^]*/m, "").trim()

// ----------------------------------------------------------------------------
// links and text
// ----------------------------------------------------------------------------

/** The names of a module that a link can lead to, and the anchor of each. */
const anchorsOf = ({ symbols }) => {
  const anchors = new Map()
  const add = (symbol, prefix) => {
    const name = prefix + symbol.name
    anchors.set(name, name)
    for (const member of symbol.members) add(member, `${name}.`)
    for (const { at, file } of symbol.declarations) {
      const source = sourceOf(file)
      for (const member of membersOf(source.declarations.get(at), source)) {
        if (!anchors.has(`${name}.${member.name}`)) anchors.set(`${name}.${member.name}`, name)
      }
    }
  }
  for (const symbol of symbols) add(symbol, "")
  return anchors
}

/** Gives the function that finds where a name of a comment leads to: in its namespace, module, imports, all modules, its own members. */
const makeResolver = (all) => {
  const anchors = new Map([...all.values()].map((module) => [module.name, anchorsOf(module)]))
  const inModule = (name, path) => {
    if (path === "") return { module: name }
    const anchor = anchors.get(name)?.get(path)
    return anchor === undefined ? undefined : { module: name, anchor }
  }
  return (name, { file, module, namespace, within }) => {
    const [first, ...rest] = name.split(".")
    const [target, ...inTarget] = sourceOf(file).imports.get(first) ?? []
    const titled = modules.find((each) => each.split("/").at(-1) === first)
    return (namespace === undefined ? undefined : inModule(module, `${namespace}.${name}`)) ??
      inModule(module, name) ??
      (target === undefined ? undefined : inModule(target, [...inTarget, ...rest].join("."))) ??
      (titled === undefined ? undefined : inModule(titled, rest.join("."))) ??
      (within === undefined ? undefined : inModule(module, `${within}.${name}`))
  }
}

const linkTo = ({ anchor, module }, page) => {
  const path = posix.relative(posix.dirname(page), `${module}.md`)
  const hash = anchor === undefined ? "" : `#${anchor}`
  return module === page ? hash : `${path.startsWith(".") ? path : `./${path}`}${hash}`
}

/** Code in Markdown: a block, or a span. */
const code = /(^ *```[^]*?^ *```$|(?<!`)(`+)(?!`)[^]*?(?<!`)\2(?!`))/gm

/** Text of a comment as Markdown: links lead to their pages, and neither Vue nor HTML sees a tag. */
const toMarkdown = (text, scope, resolve, dead) => {
  const link = (label, name) => {
    const target = resolve(name, scope)
    return target === undefined ? undefined : `[${label}](${linkTo(target, scope.page ?? scope.module)})`
  }
  const linked = text.replaceAll(
    /\{@link(?:code|plain)? ([\w.$]+)(?:(?: *\| *| +)([^}]+))?\}/g,
    (whole, name, label) => {
      const found = link(label ?? `\`${name}\``, name)
      if (found === undefined) dead.push(`${scope.file}: ${whole} leads nowhere`)
      return found ?? `\`${name}\``
    }
  )
  return linked.split(code).flatMap((part, index) => {
    if (index % 3 === 2) return []
    if (index % 3 === 0) return part.replaceAll("<", "&lt;").replaceAll("{{", "<span v-pre>{{</span>")
    const name = /^`([A-Z]\w*\.[\w.]+)`$/.exec(part)?.[1]
    const isLabel = name !== undefined && linked.includes(`[${part}](`)
    return name === undefined || isLabel ? part : link(part, name) ?? part
  }).join("").trim()
}

// ----------------------------------------------------------------------------
// pages
// ----------------------------------------------------------------------------

const fence = (language, text) => `\`\`\`${language}\n${text}\n\`\`\``

/** How a program imports a module. The tools have nothing to import. */
const importOf = ({ name, parts, symbols, title }) => {
  if (exportsParts(name)) {
    return `import { ${parts.map((part) => part.split("/")[1]).join(", ")} } from "@callisto/rpc/${name}"`
  }
  if (symbols.length === 0) return undefined
  if (core.includes(name)) return `import { ${name} } from "@callisto/rpc"`
  if (/\/[a-z]/.test(name)) {
    const words = name.split("/").map((word) => word[0].toUpperCase() + word.slice(1))
    return `import * as ${words.join("")} from "@callisto/rpc/${name}"`
  }
  return name.includes("/")
    ? `import { ${title} } from "@callisto/rpc/${name.split("/")[0]}"`
    : `import * as ${title[0].toUpperCase()}${title.slice(1)} from "@callisto/rpc/${name}"`
}

const inCode = (text) => text.includes("`") ? `\`\` ${text} \`\`` : `\`${text}\``

const indented = (text) => text.replace(/\n(?=.)/g, "\n  ")

/** A heading with the signatures of its declarations, their comments, their members, and what the namespace holds. */
const symbolPart = (symbol, module, write, depth = 3, namespace) => {
  const name = namespace === undefined ? symbol.name : `${namespace}.${symbol.name}`
  const parts = [`${"#".repeat(depth)} ${name} {#${name}}`]
  for (const { at, doc, file } of symbol.declarations) {
    const source = sourceOf(file)
    const node = source.declarations.get(at)
    const scope = { file, module: module.name, namespace, within: name }
    // The headings of its types say as much.
    if (ts.isModuleDeclaration(node) && symbol.declarations.length > 1) continue
    if (!ts.isModuleDeclaration(node)) parts.push(fence("ts", signatureOf(node, source)))
    parts.push(write(doc, scope))
    const members = membersOf(node, source)
    parts.push(members.map(({ doc, name }) => `- ${inCode(name)}: ${indented(write(doc, scope))}`).join("\n"))
  }
  if (symbol.since !== undefined) parts.push(`Since ${symbol.since}`)
  parts.push(...symbol.members.map((member) => symbolPart(member, module, write, depth + 1, name)))
  return parts.filter((part) => part !== "").join("\n\n")
}

const capital = (text) => text[0].toUpperCase() + text.slice(1)

const firstSentence = (doc) => /^[^]*?\.(?=\s|$)/.exec(doc)?.[0].replaceAll(/\s+/g, " ") ?? doc

/** Writes the pages of all modules into a folder, and gives the items of the side bar. */
export const writeReference = (folder) => {
  const all = readModules()
  const resolve = makeResolver(all)
  const dead = []
  const write = (text, scope) => toMarkdown(text, scope, resolve, dead)

  const line = (page) => (name) => {
    const { doc, file } = all.get(name)
    const text = write(firstSentence(doc), { file, module: name, page })
    return `- [${inCode(name)}](${linkTo({ module: name }, page)}): ${text}`
  }
  const save = (page, ...parts) => {
    const path = join(folder, `${page}.md`)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, `${parts.filter((part) => part !== undefined && part !== "").join("\n\n")}\n`)
  }

  for (const module of all.values()) {
    const { doc, file, name, parts, symbols, title } = module
    const imported = importOf(module)
    const categories = [...new Set(symbols.map(({ category }) => category))]
    save(
      name,
      `# ${title}`,
      imported === undefined ? undefined : fence("ts", imported),
      write(doc, { file, module: name }),
      parts.map(line(name)).join("\n"),
      ...categories.flatMap((category) => [
        `## ${capital(category)} {#category-${category.replaceAll(/\W+/g, "-")}}`,
        ...symbols.filter((symbol) => symbol.category === category).map((symbol) => symbolPart(symbol, module, write))
      ])
    )
  }

  const wings = Object.keys(modulesOfWings)
  const edges = modules.filter((name) => !core.includes(name) && !wings.includes(name.split("/")[0]))
  const groups = [
    ["The core", core],
    ...wings.map((wing) => [wing, [wing, ...all.get(wing).parts]]),
    ["Platforms and tools", edges]
  ]
  save(
    "index",
    "# Modules",
    "Every module of the package, made from the comments of its sources.",
    ...groups.flatMap(([title, names]) => [`## ${title}`, names.map(line("index")).join("\n")])
  )
  if (dead.length > 0) throw new Error(dead.join("\n"))

  const item = (name) => ({ text: name.split("/").at(-1), link: `/reference/${name}` })
  return [
    { text: "All modules", link: "/reference/" },
    ...groups.map(([text, names]) => ({ text, items: names.map(item) }))
  ]
}
