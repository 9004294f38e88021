// Sends files of any size to transfer_server.ts and fetches them, with progress, and compares the hashes of both sides. Ctrl-C cancels.
// Run it while transfer_server.ts runs:
//   deno run -A examples/transfer_client.ts put FILE (or: bun examples/transfer_client.ts put FILE)
//   deno run -A examples/transfer_client.ts get NAME [FILE]
//   deno run -A examples/transfer_client.ts list
// The server's string binding is --server, by default ncacn_ip_tcp:127.0.0.1[8768].
import { createHash } from "node:crypto"
import { createReadStream } from "node:fs"
import { open, rm, stat } from "node:fs/promises"
import { basename } from "node:path"
import process from "node:process"
import { parseArgs } from "node:util"
import { Console, Data, Effect, Schedule, Stream } from "effect"
import { Call, Pipe } from "@callisto/rpc"
import { Association } from "@callisto/rpc/dcerpc"
import * as NodeTransport from "@callisto/rpc/node"
import { ITransfer } from "./transfer.ts"

const { positionals: [command, name = "", to = name], values: { server } } = parseArgs({
  allowPositionals: true,
  options: { server: { type: "string", default: "ncacn_ip_tcp:127.0.0.1[8768]" } }
})

class Failed extends Data.TaggedError("Failed")<{ readonly message: string }> {}

const failed = (error: unknown) => new Failed({ message: String(error) })
const attempt = <A>(action: () => Promise<A>) => Effect.tryPromise({ try: action, catch: failed })

const mib = (bytes: number) => `${(bytes / (1 << 20)).toFixed(1)} MiB`

/** Counts and hashes the chunks of a stream, and shows its progress every half second. */
const meter = Effect.fnUntraced(function* (total: number) {
  const hash = createHash("sha256")
  const start = performance.now()
  let size = 0
  const show = Effect.suspend(() =>
    Console.log(`${mib(size)} of ${mib(total)}, ${mib(size * 1000 / (performance.now() - start))} a second`)
  )
  yield* Effect.forkScoped(Effect.schedule(show, Schedule.spaced("500 millis")))
  return {
    pass: Stream.map((chunk: Uint8Array) => {
      hash.update(chunk)
      size += chunk.length
      return chunk
    }),
    compare: (theirs: { readonly size: number; readonly sha256: string }) =>
      theirs.size === size && theirs.sha256 === hash.digest("hex")
        ? Effect.andThen(show, Console.log(`sha256 ${theirs.sha256} on both sides`))
        : Effect.fail(failed("The hashes differ."))
  }
})

const put = Effect.fnUntraced(function* (transfer: Call.Client<typeof ITransfer>) {
  const { size } = yield* attempt(() => stat(name))
  const { compare, pass } = yield* meter(size)
  const content = pass(Stream.fromAsyncIterable(createReadStream(name, { highWaterMark: 1 << 18 }), failed))
  yield* compare(yield* Stream.run(content, transfer.Put.sink({ name: basename(name) })))
})

/** Creates a file, and removes it again unless the scope closes with success. */
const create = (path: string) =>
  Effect.acquireRelease(
    attempt(() => open(path, "wx")),
    (file, exit) => Effect.promise(() => file.close().then(() => exit._tag === "Success" ? undefined : rm(path)))
  )

const get = Effect.fnUntraced(function* (transfer: Call.Client<typeof ITransfer>) {
  const files = yield* transfer.List()
  const { compare, pass } = yield* meter(files.find((file) => file.name === name)?.size ?? 0)
  const file = yield* create(to)
  // A stream has the content alone. A call object also gives the result behind it.
  const getting = yield* transfer.Get.begin({ name })
  const content = pass(Pipe.toStream(Call.outPipe(getting, "content")))
  yield* Stream.runForEach(content, (chunk) => attempt(() => file.writeFile(chunk)))
  yield* compare(yield* Call.join(getting))
})

const list = Effect.fnUntraced(function* (transfer: Call.Client<typeof ITransfer>) {
  for (const { name, size } of yield* transfer.List()) {
    yield* Console.log(`${mib(size).padStart(14)}  ${name}`)
  }
})

// ----------------------------------------------------------------------------
// the program
// ----------------------------------------------------------------------------

const commands: { readonly [name: string]: typeof put | typeof get | typeof list } = { put, get, list }

const program = Effect.gen(function* () {
  const run = commands[command ?? ""]
  if (run === undefined) return yield* Effect.fail(failed("No command. Use put FILE, get NAME [FILE], or list."))
  yield* run(Call.client(yield* Association.bind(ITransfer, server)))
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

const interrupt = Effect.callback<never, Failed>((resume) => {
  const cancel = () => resume(Effect.fail(failed("cancelled")))
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, cancel)
})

const main = Effect.catch(Effect.raceFirst(program, interrupt), ({ message }) =>
  Effect.sync(() => {
    console.error(message)
    process.exitCode = 1
  }))

await Effect.runPromise(main)
