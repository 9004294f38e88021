// TypeScript 7, through the Language Server Protocol: `tsc --lsp --stdio`.
import { Buffer } from "node:buffer"
import { spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import process from "node:process"
import { setTimeout } from "node:timers"
import { pathToFileURL } from "node:url"
import { local } from "../../scripts/runtimes.mjs"
import { positionOf } from "./project.mjs"

export const title = `TypeScript ${JSON.parse(readFileSync(local("typescript", "package.json"), "utf8")).version}`

/** JSON-RPC over the streams of a program. Requests of the server get no answer but null. */
const connect = (program) => {
  const waiting = new Map()
  let received = Buffer.alloc(0)
  let last = 0

  const send = (message) => {
    const text = JSON.stringify({ jsonrpc: "2.0", ...message })
    program.stdin.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`)
  }

  const receive = ({ id, method, result, error }) => {
    if (method !== undefined) {
      const none = method === "workspace/configuration" ? [] : null
      if (id !== undefined) send({ id, result: none })
      return
    }
    const { resolve, reject } = waiting.get(id)
    waiting.delete(id)
    if (error === undefined) resolve(result)
    else reject(new Error(error.message))
  }

  program.stdout.on("data", (data) => {
    received = Buffer.concat([received, data])
    for (;;) {
      const end = received.indexOf("\r\n\r\n")
      if (end < 0) return
      const length = Number(/Content-Length: (\d+)/i.exec(received.subarray(0, end).toString())[1])
      if (received.length < end + 4 + length) return
      const message = received.subarray(end + 4, end + 4 + length).toString()
      received = received.subarray(end + 4 + length)
      receive(JSON.parse(message))
    }
  })
  program.on("exit", (code) => {
    for (const { reject } of waiting.values()) reject(new Error(`The language server ended with exit code ${code}.`))
  })

  return {
    notify: (method, params) => send({ method, params }),
    request: (method, params) => {
      const id = ++last
      const answer = new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject })
        setTimeout(() => reject(new Error(`${method}: no answer within 60 seconds`)), 60_000).unref()
      })
      send({ id, method, params })
      return answer
    }
  }
}

export const open = async ({ folder }) => {
  const program = spawn(process.execPath, [local("typescript", "bin", "tsc"), "--lsp", "--stdio"], {
    cwd: folder,
    stdio: ["pipe", "pipe", "ignore"]
  })
  const { notify, request } = connect(program)
  await request("initialize", {
    processId: process.pid,
    rootUri: pathToFileURL(folder).href,
    capabilities: {
      textDocument: { completion: {}, hover: { contentFormat: ["plaintext"] }, diagnostic: {} }
    }
  })
  notify("initialized", {})

  const opened = new Set()
  const documentOf = ({ path, text }) => {
    const uri = pathToFileURL(path).href
    if (!opened.has(uri)) {
      opened.add(uri)
      notify("textDocument/didOpen", { textDocument: { uri, languageId: "typescript", version: 1, text } })
    }
    return { uri }
  }

  return {
    completion: async (file) => {
      const found = await request("textDocument/completion", {
        textDocument: documentOf(file),
        position: positionOf(file),
        context: { triggerKind: 1 }
      })
      // Globals and keywords sort last.
      return (found?.items ?? found ?? []).map(({ label, sortText }) => ({
        name: label.replace(/\?$/, ""),
        isGlobal: sortText >= "15"
      }))
    },
    hover: async (file) => {
      const found = await request("textDocument/hover", { textDocument: documentOf(file), position: positionOf(file) })
      return found?.contents?.value ?? ""
    },
    error: async (file) => {
      const { items } = await request("textDocument/diagnostic", { textDocument: documentOf(file) })
      return items.filter(({ severity }) => severity === 1).map(({ message }) => message)
    },
    close: () => program.kill()
  }
}
