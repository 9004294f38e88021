// Whether the programs of the pages print what the comments behind their `console.log` say.
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "./runtimes.mjs"

const oneLine = (text) => text.replace(/\s+/g, " ")

const program = /^running 1 test from \.\/(\S+\.md)#(\d+)-(\d+)\.\w+\n([^]*?)(?=^running |(?![^]))/gm
const output = /^-+ (?:pre-test |post-test )?output -+\n([^]*?)^-+ (?:pre-test |post-test )?output end -+$/gm
const comment = /\b[cC]onsole\.log\(.* \/\/ (.*)$/

/** What is wrong with the output of `deno test --doc`; empty if nothing is. */
export const problemsOfPrints = (report) =>
  [...report.matchAll(program)].flatMap(([, page, first, last, ran]) => {
    const printed = oneLine([...ran.matchAll(output)].map(([, text]) => text).join("\n"))
    return readFileSync(join(root, page), "utf8").split("\n").slice(Number(first) - 1, Number(last)).flatMap(
      (line, i) => {
        const expected = comment.exec(line)?.[1]
        return expected === undefined || printed.includes(oneLine(expected))
          ? []
          : [`${page}:${Number(first) + i}: the program does not print ${expected}. It prints: ${printed}`]
      }
    )
  })
