// Lets clients follow the files of a folder while they grow.
// Run it: deno run -A examples/log_tail_server.ts FOLDER (or: bun examples/log_tail_server.ts FOLDER); then log_tail_client.ts.
// It listens on --host 127.0.0.1 and --port 8769 by default. Something to follow:
//   while sleep 1; do date; done >> FOLDER/clock.log
import { open } from "node:fs/promises"
import { basename, join, resolve } from "node:path"
import process from "node:process"
import { parseArgs } from "node:util"
import { Console, Effect } from "effect"
import { Manager, Pipe, Server, ServerCall } from "@callisto/rpc"
import { Endpoint } from "@callisto/rpc/dcerpc"
import { StringBinding } from "@callisto/rpc/transport"
import * as NodeTransport from "@callisto/rpc/node"
import { ILogs, NotReadable } from "./log_tail.ts"

const { positionals: [folder = "."], values: { host, port } } = parseArgs({
  allowPositionals: true,
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "8769" }
  }
})
const root = resolve(folder)

/** Opens a file, and gives an effect that reads the lines appended since it ran last. */
const openLog = Effect.fnUntraced(function* (name: string) {
  const attempt = <A>(action: () => Promise<A>) =>
    Effect.tryPromise({
      try: action,
      catch: (error) => new NotReadable({ name, reason: (error as { code?: string }).code ?? String(error) })
    })
  if (name.startsWith(".") || name.includes("\\") || basename(name) !== name) {
    return yield* Effect.fail(new NotReadable({ name, reason: "not the name of a file here" }))
  }
  const file = yield* Effect.acquireRelease(
    attempt(() => open(join(root, name))),
    (file) => Effect.promise(() => file.close())
  )
  const chunk = new Uint8Array(1 << 16)
  const decoder = new TextDecoder()
  let [position, begun] = [0, ""]
  return Effect.gen(function* () {
    if ((yield* attempt(() => file.stat())).size < position) [position, begun] = [0, ""] // the file was emptied
    const { bytesRead } = yield* attempt(() => file.read(chunk, 0, chunk.length, position))
    position += bytesRead
    const lines = (begun + decoder.decode(chunk.subarray(0, bytesRead), { stream: true })).split("\n")
    begun = lines.pop()!
    return { lines, isEnd: bytesRead === 0 }
  })
})

const follow = Effect.fnUntraced(function* (
  { last, name }: { readonly last: number; readonly name: string },
  call: ServerCall.Of<typeof ILogs, "Follow">
) {
  const client = ServerCall.peer(call)
  const pipe = ServerCall.outPipe(call, "lines")
  const next = yield* openLog(name) // open until the call has ended
  yield* Console.log(`${client} follows ${name}`)

  let sent = 0
  const send = (lines: ReadonlyArray<string>) =>
    Effect.andThen(Pipe.push(pipe, lines), Effect.sync(() => sent += lines.length))
  const sendAll = Effect.gen(function* () {
    let tail: ReadonlyArray<string> = []
    for (let read = yield* next; !read.isEnd; read = yield* next) {
      tail = last > 0 ? [...tail, ...read.lines].slice(-last) : []
    }
    yield* send(tail)
    // While the client reads slowly the push waits, and the file is not read.
    while (true) {
      const { isEnd, lines } = yield* next
      yield* send(lines)
      if (isEnd) yield* Effect.sleep("200 millis")
    }
  })
  return yield* Effect.onInterrupt(sendAll, () => Console.log(`${client} is done with ${name}, after ${sent} lines`))
})

const manager = Manager.make(ILogs, { Follow: follow })

const stopSignal = Effect.callback<void>((resume) => {
  const stop = () => resume(Effect.void)
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, stop)
})

const program = Effect.gen(function* () {
  const server = yield* Server.make([manager], { grace: 0 }) // a call that follows a file has no end to wait for
  const { address } = yield* Endpoint.serve(server, `ncacn_ip_tcp:${host}[${port}]`)
  yield* Console.log(`listening ${StringBinding.print(address)}, the files are in ${root}`)
  yield* stopSignal
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

const main = Effect.catch(program, ({ message }) =>
  Effect.sync(() => {
    console.error(message)
    process.exitCode = 1
  }))

await Effect.runPromise(main)
