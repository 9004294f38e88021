// Serves the rpcecho interface to any DCE/RPC client.
// Run it: deno run -A examples/rpcecho_server.ts --port 8765 (or: bun examples/rpcecho_server.ts --port 8765)
// Then run rpcecho_client.ts in another terminal. --host is 127.0.0.1 by default; port 0 lets the system choose.
import process from "node:process"
import { parseArgs } from "node:util"
import { Console, Effect } from "effect"
import { Server } from "@callisto/rpc"
import { Endpoint } from "@callisto/rpc/dcerpc"
import { StringBinding } from "@callisto/rpc/transport"
import * as NodeTransport from "@callisto/rpc/node"
import { rpcEcho } from "./rpcecho.ts"

const { values: { host, port } } = parseArgs({
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "8765" }
  }
})

const stopSignal = Effect.callback<void>((resume) => {
  const stop = () => resume(Effect.void)
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, stop)
})

const program = Effect.gen(function* () {
  const server = yield* Server.make([rpcEcho])
  const { address } = yield* Endpoint.serve(server, `ncacn_ip_tcp:${host}[${port}]`)
  yield* Console.log(`listening ${StringBinding.print(address)}`)
  // The end of the scope gives calls in progress a period of grace to reply.
  yield* stopSignal
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

const main = Effect.catch(program, ({ message }) =>
  Effect.sync(() => {
    console.error(message)
    process.exitCode = 1
  }))

await Effect.runPromise(main)
