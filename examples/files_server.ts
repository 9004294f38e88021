// Serves a folder: lists it, hashes its files, and searches it in long calls with progress and cancel.
// Run it: deno run -A examples/files_server.ts FOLDER (or: bun examples/files_server.ts FOLDER); then files_client.ts.
// It listens on TCP at --port, 8766 by default, and under Deno also for WebSockets at --web-port, 8767 by default.
import { createHash } from "node:crypto"
import { open, readdir, readFile, realpath, stat } from "node:fs/promises"
import { join, relative, resolve, sep } from "node:path"
import process from "node:process"
import { parseArgs } from "node:util"
import { Console, Effect, FiberSet, Option } from "effect"
import { Manager, Server } from "@callisto/rpc"
import { Endpoint } from "@callisto/rpc/dcerpc"
import { StringBinding, WebSocket } from "@callisto/rpc/transport"
import * as NodeTransport from "@callisto/rpc/node"
import { Entry, IFiles, NotReadable, type Progress } from "./files.ts"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "8766" },
    "web-port": { type: "string", default: "8767" }
  }
})
const root = await realpath(resolve(positionals[0] ?? "."))

// ----------------------------------------------------------------------------
// the manager
// ----------------------------------------------------------------------------

const attempt = <A>(path: string, action: () => Promise<A>) =>
  Effect.tryPromise({
    try: action,
    catch: (error) => new NotReadable({ path, reason: (error as { code?: string }).code ?? String(error) })
  })

/** The place of a path in the served folder. Refuses paths that lead out of it. */
const locate = (path: string) =>
  Effect.flatMap(
    attempt(path, () => realpath(join(root, path))),
    (place) =>
      place === root || place.startsWith(root + sep)
        ? Effect.succeed(place)
        : Effect.fail(new NotReadable({ path, reason: "it is outside of the folder" }))
  )

const list = (path: string) =>
  attempt(path, async () => {
    const entries = await readdir(join(root, path), { withFileTypes: true })
    return Promise.all(entries.map(async (entry) => {
      const { mtime: modified, size } = await stat(join(root, path, entry.name)).catch(() => ({
        mtime: new Date(0),
        size: 0
      }))
      const is = entry.isFile()
        ? { _tag: "File" as const, size }
        : { _tag: entry.isDirectory() ? "Folder" as const : "Other" as const }
      return new Entry({ name: entry.name, modified, is })
    }))
  })

const hash = (path: string, place: string) =>
  Effect.acquireUseRelease(
    attempt(path, () => open(place)),
    Effect.fnUntraced(function* (file) {
      const chunk = new Uint8Array(1 << 20)
      const hash = createHash("sha256")
      for (let size = 0;;) {
        const { bytesRead } = yield* attempt(path, () => file.read(chunk, 0, chunk.length))
        if (bytesRead === 0) return { size, sha256: hash.digest("hex") }
        hash.update(chunk.subarray(0, bytesRead))
        size += bytesRead
      }
    }),
    (file) => Effect.promise(() => file.close())
  )

const largestFile = 4 << 20
const searches = new Map<string, typeof Progress.Type>()

const search = Effect.fnUntraced(function* (name: string, start: string, text: string, limit: number) {
  const hits: Array<{ path: string; line: number; text: string }> = []
  const folders = [relative(root, start)]
  let [files, bytes] = [0, 0]
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const entry of yield* list(folder).pipe(Effect.orElseSucceed(() => []))) {
      const path = join(folder, entry.name)
      if (entry.is._tag === "Folder") folders.push(path)
      if (entry.is._tag !== "File" || entry.size > largestFile) continue
      searches.set(name, { files: files++, bytes, path: Option.some(path) })
      const content = yield* attempt(path, () => readFile(join(root, path), "utf8")).pipe(
        Effect.orElseSucceed(() => "")
      )
      bytes += entry.size
      if (!content.includes(text)) continue
      for (const [index, line] of content.split("\n").entries()) {
        if (!line.includes(text)) continue
        hits.push({ path, line: index + 1, text: line.trim().slice(0, 100) })
        if (hits.length === limit) return hits
      }
    }
  }
  return hits
})

const manager = Manager.make(IFiles, {
  List: ({ path }) => Effect.flatMap(locate(path), (place) => list(relative(root, place))),
  Hash: ({ path }) => Effect.flatMap(locate(path), (place) => hash(path, place)),
  Search: ({ limit, path, search: name, text }) =>
    Effect.flatMap(locate(path), (place) => search(name, place, text, Option.getOrElse(limit, () => 100))).pipe(
      Effect.onInterrupt(() => Console.log(`search ${name}: cancelled at ${searches.get(name)?.files ?? 0} files`)),
      Effect.ensuring(Effect.sync(() => searches.delete(name)))
    ),
  Progress: ({ search }) => Effect.succeed(Option.fromNullishOr(searches.get(search)))
})

// ----------------------------------------------------------------------------
// WebSockets, accepted by the HTTP server of Deno
// ----------------------------------------------------------------------------

declare const Deno: {
  serve(
    options: { hostname: string; port: number; onListen: () => void },
    handler: (request: Request, info: { remoteAddr: { hostname: string; port: number } }) => Response
  ): { readonly addr: { readonly port: number }; shutdown(): Promise<void> }
  upgradeWebSocket(request: Request): { readonly response: Response; readonly socket: WebSocket }
}

const acceptWebSockets = (endpoint: Endpoint.Endpoint, hostname: string, port: number) =>
  Effect.gen(function* () {
    const run = yield* FiberSet.makeRuntime()
    const serve = (socket: WebSocket, peer: string) =>
      Effect.scoped(
        Effect.flatMap(WebSocket.fromWebSocket(socket, { peer }), (connection) => Endpoint.handle(endpoint, connection))
      )
    const accept = (request: Request, { remoteAddr }: { remoteAddr: { hostname: string; port: number } }) => {
      if (request.headers.get("upgrade") !== "websocket") return new Response("WebSockets only", { status: 426 })
      const { response, socket } = Deno.upgradeWebSocket(request)
      run(Effect.ignore(serve(socket, `ncacn_ws:${remoteAddr.hostname}[${remoteAddr.port}]`)))
      return response
    }
    const server = yield* Effect.acquireRelease(
      Effect.try({
        try: () => Deno.serve({ hostname, port, onListen: () => {} }, accept),
        catch: (error) => new Error(`no WebSockets at port ${port}: ${(error as Error).message}`)
      }),
      (server) => Effect.sync(() => void server.shutdown())
    )
    return server.addr.port
  })

// ----------------------------------------------------------------------------
// the program
// ----------------------------------------------------------------------------

const stopSignal = Effect.callback<void>((resume) => {
  const stop = () => resume(Effect.void)
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, stop)
})

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make(yield* Server.make([manager]))
  const { address } = yield* Endpoint.listen(endpoint, `ncacn_ip_tcp:${values.host}[${values.port}]`)
  yield* Console.log(`listening ${StringBinding.print(address)}`)
  if (process.versions["deno"] !== undefined) {
    const port = yield* acceptWebSockets(endpoint, values.host, Number(values["web-port"]))
    yield* Console.log(`listening ncacn_ws:${values.host}[${port}]`)
  }
  yield* stopSignal
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

const main = Effect.catch(program, ({ message }) =>
  Effect.sync(() => {
    console.error(message)
    process.exitCode = 1
  }))

await Effect.runPromise(main)
