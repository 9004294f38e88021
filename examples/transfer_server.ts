// Stores files of any size in a folder and sends them back. A file appears when all of it has arrived. Nothing remains of an upload
// that was cancelled or whose client went away.
// Run it: deno run -A examples/transfer_server.ts FOLDER (or: bun examples/transfer_server.ts FOLDER); then transfer_client.ts.
// It listens on --host 127.0.0.1 and --port 8768 by default.
import { createHash, randomUUID } from "node:crypto"
import { createReadStream } from "node:fs"
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises"
import { basename, join, resolve } from "node:path"
import process from "node:process"
import { parseArgs } from "node:util"
import { Console, Effect, Stream } from "effect"
import { Manager, Pipe, Server, ServerCall } from "@callisto/rpc"
import { Endpoint } from "@callisto/rpc/dcerpc"
import { StringBinding } from "@callisto/rpc/transport"
import * as NodeTransport from "@callisto/rpc/node"
import { ITransfer, NoFile } from "./transfer.ts"

const { positionals: [folder = "."], values: { host, port } } = parseArgs({
  allowPositionals: true,
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "8768" }
  }
})
const root = resolve(folder)
await mkdir(root, { recursive: true })

// ----------------------------------------------------------------------------
// files
// ----------------------------------------------------------------------------

const noFile = (name: string) => (error: unknown) =>
  new NoFile({ name, reason: (error as { code?: string }).code ?? String(error) })

const attempt = <A>(name: string, action: () => Promise<A>) => Effect.tryPromise({ try: action, catch: noFile(name) })

/** The place of a file in the folder. Refuses hidden files, and names that lead out of the folder. */
const locate = (name: string) =>
  name === "" || name.startsWith(".") || name.includes("\\") || basename(name) !== name
    ? Effect.fail(new NoFile({ name, reason: "not the name of a file here" }))
    : Effect.succeed(join(root, name))

/** Opens a file to write, which takes its place when the scope closes with success and is removed otherwise. */
const openPart = (name: string, place: string) => {
  const part = join(root, `.${randomUUID()}.part`)
  return Effect.acquireRelease(
    attempt(name, () => open(part, "wx")),
    (file, exit) =>
      Effect.promise(() => file.close().then(() => exit._tag === "Success" ? rename(part, place) : rm(part)))
  )
}

// ----------------------------------------------------------------------------
// the manager
// ----------------------------------------------------------------------------

const manager = Manager.make(ITransfer, {
  List: () =>
    attempt("the folder", async () => {
      const entries = (await readdir(root, { withFileTypes: true })).filter((entry) =>
        entry.isFile() && !entry.name.startsWith(".")
      )
      return Promise.all(entries.map(async ({ name }) => ({ name, size: (await stat(join(root, name))).size })))
    }),

  Put: Effect.fnUntraced(function* ({ name }, call) {
    const place = yield* locate(name)
    const hash = createHash("sha256")
    let size = 0
    const store = Effect.gen(function* () {
      const file = yield* openPart(name, place)
      yield* Stream.runForEach(Pipe.toStream(ServerCall.inPipe(call, "content")), (chunk) => {
        hash.update(chunk)
        size += chunk.length
        return attempt(name, () => file.writeFile(chunk))
      })
    })
    yield* Effect.scoped(store).pipe(
      Effect.onInterrupt(() => Console.log(`put ${name}: cancelled after ${size} bytes, the part is removed`))
    )
    yield* Console.log(`put ${name}: ${size} bytes`)
    return { size, sha256: hash.digest("hex") }
  }),

  Get: Effect.fnUntraced(function* ({ name }, call) {
    const place = yield* locate(name)
    const hash = createHash("sha256")
    let size = 0
    const content = Stream.fromAsyncIterable(createReadStream(place, { highWaterMark: 1 << 18 }), noFile(name)).pipe(
      Stream.map((chunk: Uint8Array) => {
        hash.update(chunk)
        size += chunk.length
        return chunk
      })
    )
    yield* Stream.run(content, Pipe.toSink(ServerCall.outPipe(call, "content"))).pipe(
      Effect.onInterrupt(() => Console.log(`get ${name}: cancelled after ${size} bytes`))
    )
    yield* Console.log(`get ${name}: ${size} bytes`)
    return { size, sha256: hash.digest("hex") }
  })
})

// ----------------------------------------------------------------------------
// the program
// ----------------------------------------------------------------------------

const stopSignal = Effect.callback<void>((resume) => {
  const stop = () => resume(Effect.void)
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, stop)
})

const program = Effect.gen(function* () {
  const server = yield* Server.make([manager])
  const { address } = yield* Endpoint.serve(server, `ncacn_ip_tcp:${host}[${port}]`)
  yield* Console.log(`listening ${StringBinding.print(address)}, files are in ${root}`)
  yield* stopSignal
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

const main = Effect.catch(program, ({ message }) =>
  Effect.sync(() => {
    console.error(message)
    process.exitCode = 1
  }))

await Effect.runPromise(main)
