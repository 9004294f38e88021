// Runs the shop of examples/durable as its first lines say, and compares what it tells with the story.
import { spawn } from "node:child_process"
import { join } from "node:path"
import process from "node:process"
import { findRuntime, leftOut, root } from "./runtimes.mjs"

/** What the demo tells, in this order. Which worker is killed, and who bills the book when, is another time otherwise. */
const story = [
  /shop +ordered the tea for 12$/,
  /shop +ordered the piano for 9000$/,
  /operator +4 calls wait for a worker; I cancel that of the bicycle$/,
  /worker [AB] +bills the tea$/,
  /operator +I have killed worker [AB]$/,
  /worker [AB] +has billed the tea$/,
  /manager +approves the piano$/,
  /worker [AB] +has billed the piano$/,
  /shop +tea: billed with 1 invoice$/,
  /shop +book: billed with 1 invoice$/,
  /shop +bicycle: .*The call was cancelled before the server executed it\./,
  /shop +piano: billed with 1 invoice$/
]

const lost = (output) => {
  const lines = output.split(/\r?\n/)
  let at = 0
  return story.find((part) => {
    const found = lines.findIndex((line, index) => index >= at && part.test(line))
    at = found + 1
    return found < 0
  })
}

/** What is wrong with the demo on some runtimes; empty if nothing is. */
export const problemsOfShop = async (names, ...args) => {
  const problems = []
  for (const name of names) {
    const runtime = findRuntime(name)
    if (runtime === undefined) {
      console.log(leftOut(name))
      continue
    }
    const { command, program, title } = runtime
    const child = spawn(command, [...program, join(root, "examples", "durable", "demo.ts"), ...args], {
      cwd: root,
      env: { ...process.env, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" },
      timeout: 180_000
    })
    let output = ""
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => output += text)
    const code = await new Promise((resolve) => child.on("close", resolve))
    const missing = lost(output)
    if (code !== 0 || missing !== undefined) {
      problems.push(`${title}: examples/durable/demo.ts ends with ${code}, lacks ${missing ?? "nothing"}:\n${output}`)
    }
  }
  return problems
}
