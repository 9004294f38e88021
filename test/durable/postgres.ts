/** A PostgreSQL cluster of a test's own: on a loopback port, in a temporary folder, as a user without rights. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, type Layer, type Scope } from "effect"
import type * as SqlClient from "effect/sql/SqlClient"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { type AddressInfo, connect, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"

const missing =
  "PostgreSQL 14 or later is missing. Install it: apt-get install postgresql (only its programs are used)."

/** The folder of the newest PostgreSQL, as Debian has it. */
const programs = (): string => {
  const root = "/usr/lib/postgresql"
  const versions = existsSync(root) ? readdirSync(root).map(Number).filter((version) => version >= 14) : []
  if (versions.length === 0) throw new Error(missing)
  return `${root}/${Math.max(...versions)}/bin`
}

/** The command for a program as a user without rights: PostgreSQL refuses to run as root. */
const asUser = (program: string, ...args: ReadonlyArray<string>): [string, Array<string>] =>
  process.getuid?.() === 0
    ? ["setpriv", ["--reuid=nobody", "--regid=nogroup", "--clear-groups", program, ...args]]
    : [program, [...args]]

const run = (command: string, args: Array<string>): void => {
  const { error, status, stderr, stdout } = spawnSync(command, args, { encoding: "utf8", cwd: "/" })
  if (status !== 0) throw new Error(`${command} failed: ${error ?? `${stdout}${stderr}`}`)
}

const freePort = Effect.callback<number>((resume) => {
  const server = createServer()
  server.listen(0, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

export { freePort }

/** Whether something listens on a port. */
const listens = (port: number) =>
  Effect.callback<boolean>((resume) => {
    const socket = connect({ host: "127.0.0.1", port })
    const end = (answer: boolean) => {
      socket.destroy()
      resume(Effect.succeed(answer))
    }
    socket.once("connect", () => end(true))
    socket.once("error", () => end(false))
  })

export interface Postgres {
  readonly port: number
  /** A database of its own, empty. */
  readonly database: (name: string) => Effect.Effect<Database>
  /** Ends the server at once, as a crash does. */
  readonly crash: Effect.Effect<void>
  readonly start: Effect.Effect<void>
}

export interface Database {
  readonly host: string
  readonly port: number
  readonly name: string
  /** A client. The host and the port may be those of a proxy. */
  readonly layer: (through?: { readonly port: number }) => Layer.Layer<SqlClient.SqlClient, unknown>
}

/** A cluster with settings of its own: `{ fsync: "on" }` for one that keeps what it has committed. */
export const makePostgresWith = (
  own: { readonly [name: string]: string }
): Effect.Effect<Postgres, never, Scope.Scope> =>
  Effect.gen(function* () {
    const bin = programs()
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "callisto-pg-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
    )
    const data = join(folder, "data")
    if (process.getuid?.() === 0) run("chown", ["nobody:nogroup", folder])
    run(
      ...asUser(`${bin}/initdb`, "-D", data, "-U", "callisto", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    )
    const port = yield* freePort
    const settings = {
      listen_addresses: "127.0.0.1",
      port: String(port),
      unix_socket_directories: "",
      fsync: "off",
      max_connections: "200",
      shared_buffers: "32MB",
      ...own
    }
    let server: ChildProcess | undefined
    const start = Effect.gen(function* () {
      const options = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])
      const [command, args] = asUser(`${bin}/postgres`, "-D", data, ...options)
      server = spawn(command, args, { stdio: "ignore", cwd: "/" })
      // The end of its input, which comes with the end of this process, ends the server too.
      const guard = spawn("sh", ["-c", `cat; kill -QUIT ${server.pid}`], {
        stdio: ["pipe", "ignore", "ignore"],
        cwd: "/"
      })
      server.once("exit", () => guard.kill("SIGKILL"))
      const end = performance.now() + 30_000
      while (!(yield* listens(port))) {
        if (performance.now() > end) throw new Error("PostgreSQL did not start within 30 seconds")
        yield* Effect.sleep(20)
      }
    })
    const crash = Effect.callback<void>((resume) => {
      if (server === undefined || server.exitCode !== null || server.signalCode !== null) return resume(Effect.void)
      server.once("exit", () => resume(Effect.void))
      server.kill("SIGQUIT")
    })
    yield* Effect.acquireRelease(start, () => crash)
    // It listens before it is ready.
    const ask = (sql: string, database: string) =>
      Effect.gen(function* () {
        const end = performance.now() + 30_000
        while (true) {
          const { status, stderr } = spawnSync(
            `${bin}/psql`,
            ["-h", "127.0.0.1", "-p", String(port), "-U", "callisto", "-d", database, "-q", "-c", sql],
            { encoding: "utf8", cwd: "/" }
          )
          if (status === 0) return
          if (performance.now() > end) throw new Error(`psql failed: ${stderr}`)
          yield* Effect.sleep(50)
        }
      })
    return {
      port,
      crash,
      start,
      database: (name) =>
        Effect.as(ask(`CREATE DATABASE ${name}`, "postgres"), {
          host: "127.0.0.1",
          port,
          name,
          layer: (through) =>
            PgClient.layer({
              host: "127.0.0.1",
              port: through?.port ?? port,
              database: name,
              username: "callisto",
              ssl: false,
              maxConnections: 8
            })
        })
    }
  })

export const makePostgres: Effect.Effect<Postgres, never, Scope.Scope> = makePostgresWith({})
