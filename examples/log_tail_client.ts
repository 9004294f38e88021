// Follows a file of log_tail_server.ts until Ctrl-C or for some seconds. The server stops with the client, and says so.
// Run it: deno run -A examples/log_tail_client.ts NAME (or: bun examples/log_tail_client.ts NAME) while log_tail_server.ts runs.
// Options: --last LINES that the file has already, by default 10; --for SECONDS; --server ncacn_ip_tcp:127.0.0.1[8769].
import process from "node:process"
import { parseArgs } from "node:util"
import { Console, Effect, Stream } from "effect"
import { Call } from "@callisto/rpc"
import { Association } from "@callisto/rpc/dcerpc"
import * as NodeTransport from "@callisto/rpc/node"
import { ILogs } from "./log_tail.ts"

const { positionals: [name = "clock.log"], values } = parseArgs({
  allowPositionals: true,
  options: {
    server: { type: "string", default: "ncacn_ip_tcp:127.0.0.1[8769]" },
    last: { type: "string", default: "10" },
    for: { type: "string", default: "Infinity" }
  }
})

const interrupt = Effect.callback<void>((resume) => {
  process.once("SIGINT", () => resume(Effect.void))
})

const program = Effect.gen(function* () {
  const logs = Call.client(yield* Association.bind(ILogs, values.server))
  // Ending the stream early cancels the call.
  yield* logs.Follow.stream({ name, last: Number(values.last) }).pipe(
    Stream.runForEach((line) => Console.log(line)),
    Effect.timeoutOption(Number(values.for) * 1000),
    Effect.raceFirst(interrupt)
  )
  yield* Console.log("done")
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

const main = Effect.catch(program, ({ message }) =>
  Effect.sync(() => {
    console.error(message)
    process.exitCode = 1
  }))

await Effect.runPromise(main)
