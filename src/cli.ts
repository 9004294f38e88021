#!/usr/bin/env node
/// <reference types="node" />
/**
 * `callisto`, a command-line tool that asks DCE/RPC servers what they are and how they are. Importing this module runs it.
 *
 * ```sh
 * npx @callisto/rpc interfaces "ncacn_ip_tcp:127.0.0.1[8765]"
 * deno run --allow-net --allow-env jsr:@callisto/rpc/cli ping "ncacn_ip_tcp:127.0.0.1[8765]"
 * bunx @callisto/rpc stats "ncacn_ip_tcp:127.0.0.1[8765]" --json
 * ```
 *
 * @module
 * @since 0.1.0
 */
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type PlatformError, systemError } from "effect/PlatformError"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as http from "node:http"
import process from "node:process"
import { createHash } from "node:crypto"
import { open, readdir, readFile, stat, writeFile } from "node:fs/promises"
import { basename, join, resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { type Database, Databases, type PostgresOptions } from "./cli/Databases.ts"
import { exitCodes, type Failure } from "./cli/Failure.ts"
import { type FeedFailure, Feeds } from "./cli/Feeds.ts"
import { Files, maximumSize } from "./cli/Files.ts"
import { Passwords } from "./cli/Login.ts"
import { run } from "./cli/Program.ts"
import { type File, type Reading, Surroundings } from "./cli/Surroundings.ts"
import { layer as transport } from "./node.ts"

let signal: number | undefined

/** Ends the tool as a signal does. The first interrupts it, so that calls are cancelled; another one kills it. */
const endAs = (number: number) => () => {
  signal ??= number
  fiber.interruptUnsafe()
}

const sigpipe = 13

const writer = (method: "stdout" | "stderr") => {
  const stream = process[method]
  // The callback of each write tells of errors, too.
  stream.on("error", () => {})
  return () =>
    Sink.forEach((chunk: string | Uint8Array) =>
      Effect.callback<void, PlatformError>((resume) => {
        const written = (error?: (Error & { readonly code?: string }) | null) => {
          if (error === undefined || error === null) resume(Effect.void)
          else if (method === "stdout" && error.code === "EPIPE") {
            // Whoever read the results wants no more of them.
            endAs(sigpipe)()
            resume(Effect.void)
          } else {
            const description = error.message
            resume(Effect.fail(systemError({ _tag: "Unknown", module: "Stdio", method, description, cause: error })))
          }
        }
        try {
          stream.write(chunk, written)
        } catch (error) {
          // Deno throws where the other runtimes call back.
          written(error as Error)
        }
      })
    )
}

const stdio = Layer.sync(Stdio.Stdio, () =>
  Stdio.make({
    args: Effect.sync(() => process.argv.slice(2)),
    stdinIsTerminal: Effect.sync(() => process.stdin.isTTY === true),
    stdoutIsTerminal: Effect.sync(() => process.stdout.isTTY === true),
    stderrIsTerminal: Effect.sync(() => process.stderr.isTTY === true),
    stdout: writer("stdout"),
    stderr: writer("stderr"),
    stdin: Stream.empty
  }))

/** A variable of the environment; empty where it is not set, or where Deno does not allow to read it. */
const variable = (name: string): string => {
  try {
    return process.env[name] ?? ""
  } catch {
    return ""
  }
}

const environment = ConfigProvider.layer(ConfigProvider.fromEnv({
  env: Object.fromEntries(["NO_COLOR", "FORCE_COLOR", "TERM"].map((name) => [name, variable(name)]))
}))

/** Reads a line that the terminal does not show. */
const prompt = (question: string): Effect.Effect<string, string> =>
  Effect.callback<string, string>((resume) => {
    const { stderr, stdin } = process
    if (!stdin.isTTY) return resume(Effect.fail("standard input is no terminal"))
    let typed = ""
    const done = (effect: Effect.Effect<string, string>) => {
      stdin.off("data", take)
      stdin.setRawMode(false)
      stdin.pause()
      stderr.write("\n")
      resume(effect)
    }
    const take = (chunk: string) => {
      for (const key of chunk) {
        if (key === "\r" || key === "\n") return done(Effect.succeed(typed))
        if (key === "\u0004") return done(Effect.fail("nothing was typed"))
        if (key === "\u0003") {
          done(Effect.fail("Ctrl-C"))
          return endAs(2)()
        }
        typed = key === "\u007f" || key === "\b" ? Array.from(typed).slice(0, -1).join("") : typed + key
      }
    }
    stderr.write(question)
    stdin.setEncoding("utf8")
    stdin.setRawMode(true)
    stdin.on("data", take)
    stdin.resume()
    return Effect.sync(() => done(Effect.fail("it was interrupted")))
  })

const file = (path: string): Effect.Effect<Uint8Array, string> =>
  Effect.tryPromise({
    try: () => readFile(path),
    catch: (error) => `${path} can't be read: ${error instanceof Error ? error.message : String(error)}`
  })

const passwords = Layer.succeed(Passwords, { file, prompt })

/** What an operation on a file fails with, in words. */
const attempt = <A>(path: string, use: () => Promise<A>, absent = "it does not exist"): Effect.Effect<A, string> =>
  Effect.tryPromise({
    try: use,
    catch: (error) => {
      const { code, message } = error as { readonly code?: string; readonly message: string }
      if (code === "ENOENT" || code === "ENOTDIR") return `${path}: ${absent}`
      return `${path}: ${(code === undefined ? undefined : reasons[code]) ?? message}`
    }
  })

const reasons: { readonly [code: string]: string } = {
  EISDIR: "it is a folder",
  EACCES: "no permission",
  EPERM: "no permission"
}

const tooLarge = `more than ${maximumSize / 1024 / 1024} MiB`

const readBounded = async (path: string): Promise<Uint8Array> => {
  const found = await stat(path)
  if (found.isDirectory()) throw new Error("it is a folder")
  // Others may never end.
  if (!found.isFile()) throw new Error("it is no file")
  if (found.size > maximumSize) throw new Error(tooLarge)
  return new Uint8Array(await readFile(path))
}

/** Follows the parts of a name from a folder, each in any case of the letters. */
const findIn = async (folder: string, name: string): Promise<string | undefined> => {
  let path = folder
  for (const part of name.split("/")) {
    const entries = await readdir(path === "" ? "." : path).catch(() => [])
    const found = entries.find((entry) => entry === part) ??
      entries.sort().find((entry) => entry.toLowerCase() === part.toLowerCase())
    if (found === undefined) return undefined
    path += path === folder ? found : `/${found}`
  }
  return path
}

const readStdin = async (): Promise<Uint8Array> => {
  const chunks: Array<Uint8Array> = []
  let size = 0
  for await (const chunk of process.stdin) {
    chunks.push(chunk as Uint8Array)
    size += (chunk as Uint8Array).length
    if (size > maximumSize) throw new Error(tooLarge)
  }
  const bytes = new Uint8Array(size)
  chunks.reduce((at, chunk) => (bytes.set(chunk, at), at + chunk.length), 0)
  return bytes
}

const files = Layer.succeed(Files, {
  read: (path) => attempt(path, () => readBounded(path)),
  find: (folder, name) => Effect.promise(() => findIn(folder, name)),
  write: (path, text) => attempt(path, () => writeFile(path, text), "its folder does not exist"),
  stdin: attempt("standard input", readStdin),
  load: (path) => attempt(path, () => import(pathToFileURL(resolve(path)).href))
})

const mostFiles = 5000

const listFiles = async (folder: string): Promise<ReadonlyArray<File>> => {
  const files: Array<File> = []
  const visit = async (directory: string): Promise<void> => {
    for (const entry of await readdir(join(folder, directory), { withFileTypes: true })) {
      if (entry.name.startsWith(".") || ["node_modules", "dist"].includes(entry.name)) continue
      if (files.length === mostFiles) return
      const path = join(directory, entry.name)
      // What can't be read is left out.
      if (entry.isDirectory()) await visit(path).catch(() => undefined)
      else if (entry.isFile()) {
        await stat(join(folder, path)).then(({ size }) => files.push({ path, size }), () => undefined)
      }
    }
  }
  if (!(await stat(folder)).isDirectory()) throw new Error("it is no folder")
  await visit("")
  return files
}

const openFile = (folder: string, path: string) => {
  const orCode = <A>(use: () => Promise<A>) =>
    Effect.tryPromise({ try: use, catch: (error) => (error as { readonly code?: string }).code ?? String(error) })
  const opened = Effect.acquireRelease(
    orCode(() => open(join(folder, path))),
    (file) => Effect.promise(() => file.close())
  )
  return Effect.map(opened, (file): Reading => {
    const hash = createHash("sha256")
    return {
      next: (atMost) =>
        orCode(async () => {
          const { buffer, bytesRead } = await file.read(new Uint8Array(atMost), 0, atMost)
          hash.update(buffer.subarray(0, bytesRead))
          return bytesRead
        }),
      digest: Effect.sync(() => hash.digest("hex"))
    }
  })
}

const surroundings = Layer.succeed(Surroundings, {
  columns: process.stdout.columns || 80,
  nameOf: (folder) => basename(resolve(folder)) || resolve(folder),
  list: (folder) => attempt(folder, () => listFiles(folder)),
  open: openFile
})

/** The inspector tells every two seconds that it is there. */
const silence = 8000

const openFeed = (origin: string, token: string): Effect.Effect<http.IncomingMessage, FeedFailure, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<http.IncomingMessage, FeedFailure>((resume) => {
      const headers = { authorization: `Bearer ${token}` }
      const request = http.get(`${origin}/calls`, { headers, agent: false, timeout: silence }, (response) => {
        const { statusCode: status = 0 } = response
        if (status === 200) return resume(Effect.succeed(response))
        let reason = ""
        response.setEncoding("utf8")
        response.on("data", (chunk: string) => reason = (reason + chunk).slice(0, 1000))
        response.on("close", () => resume(Effect.fail({ status, reason: reason.trim() })))
        response.on("error", () => {})
      })
      request.on("timeout", () => request.destroy(new Error("it is silent")))
      request.on("error", ({ message }) => resume(Effect.fail({ status: undefined, reason: message })))
      return Effect.sync(() => void request.destroy())
    }),
    (response) => Effect.sync(() => void response.destroy())
  )

const feeds = Layer.succeed(Feeds, {
  open: (origin, token) =>
    Stream.unwrap(Effect.map(openFeed(origin, token), (response) =>
      // Whatever ends the connection, the program is gone.
      Stream.catch(
        Stream.fromAsyncIterable<Uint8Array, unknown>(response, (error) => error),
        () => Stream.empty
      ))),
  size: Effect.sync(() => ({ columns: process.stdout.columns ?? 80, rows: process.stdout.rows ?? 24 }))
})

// ----------------------------------------------------------------------------
// databases
// ----------------------------------------------------------------------------

const misused = (message: string, advice: string): Failure => ({
  _tag: "Failure",
  exitCode: exitCodes.usage,
  message,
  advice
})

/** Node before 24 warns of `node:sqlite`, on standard error. */
const withoutWarning = async <A>(load: () => Promise<A>): Promise<A> => {
  const { emitWarning } = process
  process.emitWarning = (() => {}) as typeof emitWarning
  try {
    return await load()
  } finally {
    process.emitWarning = emitWarning
  }
}

const sqliteMagic = "SQLite format 3\0"

/** Refuses what is not a database: SQLite itself would make one. */
const lookAt = async (path: string): Promise<void> => {
  const found = await stat(path)
  if (found.isDirectory()) throw new Error("it is a folder")
  if (!found.isFile()) throw new Error("it is no file")
  const file = await open(path)
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(16), 0, 16, 0)
    const head = String.fromCharCode(...buffer.subarray(0, bytesRead))
    if (head !== sqliteMagic) throw new Error("it is no SQLite database")
  } finally {
    await file.close()
  }
}

const sqlite = (path: string): Effect.Effect<Database, Failure> =>
  Effect.gen(function* () {
    yield* Effect.mapError(
      attempt(path, () => lookAt(path)),
      (problem) => misused(`${problem}.`, "Name the file that the program gives to DurableNode.embedded.")
    )
    yield* Effect.tryPromise({
      try: () => withoutWarning(() => import("node:sqlite")),
      catch: () =>
        misused("This runtime has no node:sqlite.", "Use Node 22.13, Deno 2.2, Bun 1.4 or a later version of them.")
    })
    const { sqliteLayer } = yield* Effect.promise(() => import("./durable/internal/sqlite.ts"))
    return sqliteLayer(path, { isThere: true })
  })

/** The part of the driver that is used. It is a package that the user installs, and its types need not be there. */
interface Driver {
  readonly layer: (
    options: Partial<PostgresOptions> & { readonly maxConnections: number; readonly applicationName: string }
  ) => Database
}

const isDeno = "deno" in process.versions

const install = isDeno
  ? "deno add npm:@effect/sql-pg"
  : "bun" in process.versions
  ? "bun add @effect/sql-pg"
  : "npm install @effect/sql-pg"

// Not in the import itself, so that Deno and bundlers do not load it for the other commands. Deno can take it from npm at once.
const drivers = ["@effect/sql-pg/PgClient", ...(isDeno ? ["npm:@effect/sql-pg@^4.0.5/PgClient"] : [])]

const loadDriver = async (): Promise<Driver> => {
  let problem: unknown
  for (const driver of drivers) {
    try {
      return await import(driver)
    } catch (error) {
      problem ??= error
    }
  }
  throw problem
}

const postgres = (options: PostgresOptions): Effect.Effect<Database, Failure> =>
  Effect.map(
    Effect.tryPromise({
      try: loadDriver,
      catch: (error) =>
        /(?:package|module|import) ['"]@effect\/sql-pg/i.test(String(error))
          ? misused("PostgreSQL needs the package @effect/sql-pg, which is not installed.", `Run: ${install}`)
          : misused(
            `The package @effect/sql-pg can't be loaded: ${error instanceof Error ? error.message : String(error)}.`,
            `Install it again: ${install}`
          )
    }),
    ({ layer }) => layer({ ...options, maxConnections: 1, applicationName: "callisto" })
  )

const databases = Layer.succeed(Databases, { sqlite, postgres })

const main = Effect.provide(
  run(process.argv.slice(2)),
  Layer.mergeAll(stdio, transport, environment, passwords, files, surroundings, feeds, databases)
)

const fiber = Effect.runFork(main)
process.once("SIGINT", endAs(2))
process.once("SIGTERM", endAs(15))
fiber.addObserver((exit) => {
  if (signal !== undefined) process.exit(128 + signal)
  process.exit(exit._tag === "Success" ? exit.value : exitCodes.internal)
})
