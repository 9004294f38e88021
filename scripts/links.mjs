// Whether each relative link of the pages resolves inside of the npm package, also its anchor.
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join, posix } from "node:path"
import process from "node:process"
import { root } from "./runtimes.mjs"

const read = (path) => readFileSync(join(root, path), "utf8")

/** The files that `npm publish` would publish; compiled ones only where they were built. */
const published = () => {
  const { error, status, stderr, stdout } = spawnSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: Infinity,
    shell: process.platform === "win32"
  })
  if (status !== 0) throw new Error(`npm pack failed: ${error?.message ?? stderr}`)
  const [{ files }] = Object.values(JSON.parse(stdout))
  return files.map(({ path }) => path)
}

/** The text of a page without its code. */
const proseOf = (page) =>
  page.replace(/^(`{3,})[^]*?^\1$/gm, "").replace(/`[^`\n]*`/g, (code) => code.replace(/[[\]()]/g, ""))

/** The anchors of the headings, as GitHub and npm name them. */
const anchorsOf = (page) => {
  const seen = new Map()
  return [...page.replace(/^(`{3,})[^]*?^\1$/gm, "").matchAll(/^#+ (.*)$/gm)].map(([, heading]) => {
    const anchor = heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").trim().replaceAll(" ", "-")
    const count = seen.get(anchor) ?? 0
    seen.set(anchor, count + 1)
    return count === 0 ? anchor : `${anchor}-${count}`
  })
}

const problemsOf = (page, text, files) => {
  const problems = []
  for (const [, link] of proseOf(text).matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/.test(link)) continue
    const [path, anchor] = link.split("#")
    const target = path === "" ? page : posix.join(posix.dirname(page), path).replace(/\/$/, "")
    const exists = files.includes(target)
    if (!exists && !files.some((file) => file.startsWith(`${target}/`))) {
      problems.push(`${page}: the package has no ${target}, linked as ${link}`)
    } else if (anchor !== undefined && !(exists && anchorsOf(read(target)).includes(anchor))) {
      problems.push(`${page}: ${target} has no heading for #${anchor}`)
    }
  }
  return problems
}

/** What is wrong with the links of the pages; empty if nothing is. */
export const problemsOfLinks = () => {
  const files = published()
  const pages = files.filter((file) => /^(?:docs\/)?[^/]+\.md$/.test(file))
  const readme = read("README.md")
  return [
    ...pages.flatMap((page) => problemsOf(page, read(page), files)),
    ...pages.filter((page) => page.startsWith("docs/")).flatMap((page) => {
      const titles = read(page).replace(/^(`{3,})[^]*?^\1$/gm, "").match(/^# .*$/gm) ?? []
      return [
        ...(titles.length === 1 && read(page).startsWith("# ") ? [] : [`${page}: does not begin with its one title`]),
        ...(readme.includes(`](${page})`) ? [] : [`README.md: has no link to ${page}`])
      ]
    }),
    ...(readme.split("\n").length > 251 ? ["README.md: has more than 250 lines. Move details to docs/."] : [])
  ]
}
