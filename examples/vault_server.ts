// Serves the vault of vault.ts to clients that log in.
// Run it: deno run -A examples/vault_server.ts --port 8766 (or: bun examples/vault_server.ts --port 8766)
// Then run vault_client.ts in another terminal. --host is 127.0.0.1 by default; port 0 lets the system choose.
import process from "node:process"
import { parseArgs } from "node:util"
import { Console, Effect } from "effect"
import { Server } from "@callisto/rpc"
import { Endpoint } from "@callisto/rpc/dcerpc"
import * as NodeTransport from "@callisto/rpc/node"
import { Negotiate } from "@callisto/rpc/security"
import { StringBinding } from "@callisto/rpc/transport"
import { accounts, vault } from "./vault.ts"

const { values: { host, port } } = parseArgs({
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "8766" }
  }
})

const stopSignal = Effect.callback<void>((resume) => {
  const stop = () => resume(Effect.void)
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, stop)
})

const program = Effect.gen(function* () {
  const server = yield* Server.make([yield* vault])
  const { address } = yield* Endpoint.serve(server, `ncacn_ip_tcp:${host}[${port}]`, {
    security: [Negotiate.server({ ntlm: accounts })]
  })
  yield* Console.log(`listening ${StringBinding.print(address)}`)
  yield* stopSignal
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

const main = Effect.catch(program, ({ message }) =>
  Effect.sync(() => {
    console.error(message)
    process.exitCode = 1
  }))

await Effect.runPromise(main)
