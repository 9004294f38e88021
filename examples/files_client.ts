// Calls files_server.ts: lists its folder, hashes files, cancels a search, and follows the progress of another.
// Run it: deno run -A examples/files_client.ts (or: bun examples/files_client.ts) while files_server.ts runs.
// Arguments: the server's string binding and the text to search for. The binding is ncacn_ip_tcp:127.0.0.1[8766] by default;
// ncacn_ws:127.0.0.1[8767] is the WebSocket of a server under Deno.
import process from "node:process"
import { Console, Effect, Option, Result } from "effect"
import { Call } from "@callisto/rpc"
import { Association } from "@callisto/rpc/dcerpc"
import * as NodeTransport from "@callisto/rpc/node"
import { IFiles } from "./files.ts"

const [binding = "ncacn_ip_tcp:127.0.0.1[8766]", text = "Callisto"] = process.argv.slice(2)

const program = Effect.gen(function* () {
  const files = Call.client(yield* Association.bind(IFiles, binding))

  const entries = yield* files.List({ path: "." })
  for (const { is, modified, name } of entries.slice(0, 5)) {
    const size = is._tag === "File" ? `${is.size} bytes` : is._tag
    yield* Console.log(`${modified.toISOString()}  ${size.padStart(14)}  ${name}`)
  }
  yield* Console.log(`${entries.length} entries\n`)

  const largest = entries.toSorted((a, b) => b.size - a.size).slice(0, 3)
  const hashes = yield* Effect.forEach(largest, ({ name }) => files.Hash({ path: name }), {
    concurrency: "unbounded"
  })
  for (const [index, { sha256 }] of hashes.entries()) yield* Console.log(`${sha256}  ${largest[index]!.name}`)

  // The refusal is an error with fields.
  const refused = yield* Effect.flip(files.Hash({ path: ".." }))
  yield* Console.log(refused._tag === "NotReadable" ? `${refused.path}: ${refused.reason}\n` : refused.message)

  const begin = (search: string, limit: Option.Option<number>) => files.Search.begin({ search, path: ".", text, limit })

  // The client cancels a search that it needs no more. The server is told.
  const needless = yield* begin(crypto.randomUUID(), Option.some(1_000_000))
  yield* Effect.sleep("100 millis")
  yield* Effect.ignore(Call.cancel(needless))
  const cancelled = yield* Effect.result(Call.join(needless))
  yield* Console.log(`a search, cancelled: ${Result.isFailure(cancelled) ? cancelled.failure._tag : "it had ended"}\n`)

  // While a search runs, other calls on the same connection ask for its progress.
  const name = crypto.randomUUID()
  const search = yield* begin(name, Option.none())
  const showProgress = Effect.gen(function* () {
    const progress = yield* files.Progress({ search: name })
    if (Option.isNone(progress)) return
    const { bytes, files: count, path } = progress.value
    const mib = (bytes / (1 << 20)).toFixed(1)
    yield* Console.log(`${count} files, ${mib} MiB: ${Option.getOrElse(path, () => "")}`)
  })
  const isOver = Call.wait(search, "200 millis").pipe(
    Effect.as(true),
    Effect.catchTag("WaitTimeout", () => Effect.as(showProgress, false))
  )
  while (!(yield* isOver));
  const hits = yield* Call.join(search)
  for (const { line, path, text } of hits.slice(0, 5)) yield* Console.log(`${path}:${line}: ${text}`)
  yield* Console.log(`${hits.length} hits`)
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

const main = Effect.catch(program, (error) =>
  Effect.sync(() => {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  }))

await Effect.runPromise(main)
