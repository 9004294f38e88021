// Does what docs/tutorial.md says, on each runtime, and compares what the programs print with what the page shows.
import { spawn, spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { join } from "node:path"
import process from "node:process"
import { findRuntime, leftOut, root } from "./runtimes.mjs"

const block = /^```(\S+)[^\n]*\n([^]*?)^```$/gm

/** The files of the page, and its steps: a program, what it prints, and what the server prints meanwhile. */
const read = (page) => {
  const files = []
  const steps = []
  for (const [, language, text] of page.matchAll(block)) {
    const name = /^\/\/ (\S+\.ts)$/m.exec(text)?.[1]
    const command = /^node (\S+\.ts)$/m.exec(text)?.[1]
    if (language === "ts" && name !== undefined) files.push({ name, text })
    else if (language === "sh" && command !== undefined) steps.push({ command, prints: [] })
    else if (language === "text") steps.at(-1).prints.push(text)
  }
  return { files, steps }
}

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address()
      server.close(() => resolve(String(port)))
    })
  })

const compare = (what, expected, actual) =>
  expected === actual ? [] : [`${what} prints\n${actual}expected\n${expected}`.trimEnd()]

const tryOn = async ({ command, name, program, title }, folder, { files, steps }) => {
  const port = await freePort()
  const onPort = (text) => text.replaceAll("8765", port)
  for (const file of files) writeFileSync(join(folder, file.name), onPort(file.text))
  // The permissions of Deno are those that the page names.
  const args = name === "deno" ? ["run", "--no-prompt", "--allow-net", "--config", join(root, "deno.json")] : program
  const [first, ...others] = steps
  const options = { cwd: folder, encoding: "utf8", env: { ...process.env, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" } }

  const server = spawn(command, [...args, first.command], options)
  let printed = ""
  const listening = new Promise((resolve) => {
    const add = (chunk) => {
      printed += chunk
      if (printed.includes("listening")) resolve()
    }
    server.stdout.setEncoding("utf8").on("data", add)
    server.stderr.setEncoding("utf8").on("data", add)
    server.on("exit", resolve)
  })
  await listening
  const problems = []
  for (const step of others) {
    const client = spawn(command, [...args, step.command], options)
    let output = ""
    for (const stream of [client.stdout, client.stderr]) {
      stream.setEncoding("utf8").on("data", (chunk) => output += chunk)
    }
    await new Promise((resolve) => client.on("close", resolve))
    problems.push(...compare(`${title}: ${step.command}`, onPort(step.prints[0]), output))
  }
  const ended = new Promise((resolve) => server.on("close", resolve))
  server.kill()
  await ended
  const expected = [...first.prints, ...others.flatMap(({ prints }) => prints.slice(1))].join("")
  return [...problems, ...compare(`${title}: ${first.command}`, onPort(expected), printed)]
}

/** What is wrong with the tutorial; empty if nothing is. */
export const problemsOfTutorial = async () => {
  const page = read(readFileSync(join(root, "docs", "tutorial.md"), "utf8"))
  const folder = mkdtempSync(join(root, "docs", ".tutorial-"))
  try {
    const problems = []
    for (const name of ["node", "deno", "bun"]) {
      const runtime = findRuntime(name)
      if (runtime === undefined) console.log(leftOut(name))
      else problems.push(...await tryOn(runtime, folder, page))
      if (runtime?.name !== "deno") continue
      const checked = spawnSync(runtime.command, ["check", ...page.files.map((file) => join(folder, file.name))], {
        cwd: root,
        encoding: "utf8",
        env: { ...process.env, NO_COLOR: "1" }
      })
      if (checked.status !== 0) problems.push(checked.stderr)
    }
    return problems
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
