// Copies of the library: as it is, and with every use of spans, metrics and observers in the path of a call taken out.
import { cpSync, globSync, readFileSync, rmSync, writeFileSync } from "node:fs"

/** What is taken out of the core, wherever it stands. A pattern that matches nothing is out of date. */
const cuts: ReadonlyArray<{ readonly pattern: RegExp; readonly by?: string }> = [
  // The field of a call, and the one place on each side that sets it.
  { pattern: /^ *watch: Watch \| undefined = undefined\n/gm },
  { pattern: /^( *)if \(watching !== undefined \|\|.*\{\n[^]*?^\1\}\n/gm },
  { pattern: /\{ channel, watching \}/g, by: "{ channel }" },
  { pattern: /^ *if \(this\.watches\) .*\n/gm },
  { pattern: /^ *call\.watch = .*\n/gm },
  // Its uses.
  { pattern: /^ *if \((\w+)\.watch !== undefined\) \1\.watch\..*\n/gm },
  { pattern: /^ *\w+\.watch\?\.\w+\(.*\)\n/gm },
  { pattern: /\bthis\.watch\?\.span\b/g, by: "undefined" }
]

/** What no cut may leave behind. */
const uncut = /^.*\.watch\b.*$/m

const copy = (name: string): URL => {
  const target = new URL(`./.build/${name}/`, import.meta.url)
  rmSync(target, { recursive: true, force: true })
  cpSync(new URL("../src/", import.meta.url), new URL("src/", target), { recursive: true })
  cpSync(new URL("../mod.ts", import.meta.url), new URL("mod.ts", target))
  return target
}

/** The library as it is. */
export const plain = (): URL => new URL("mod.ts", copy("plain"))

/** The library without spans, metrics and observers. */
export const withoutObservability = (): URL => {
  const build = copy("without")
  const unused = new Set(cuts)
  for (const file of globSync("src/{,internal/}*.ts", { cwd: build })) {
    const path = new URL(file, build)
    let text = readFileSync(path, "utf8")
    for (const cut of cuts) {
      const rest = text.replaceAll(cut.pattern, cut.by ?? "")
      if (rest !== text) unused.delete(cut)
      text = rest
    }
    const left = uncut.exec(text)
    if (left !== null) throw new Error(`bench/builds.ts: no cut takes this out of ${file}:\n${left[0]}`)
    writeFileSync(path, text)
  }
  for (const { pattern } of unused) throw new Error(`bench/builds.ts: nothing in the core matches ${pattern}`)
  return new URL("mod.ts", build)
}
