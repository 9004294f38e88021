// Calls the vault of vault_server.ts: without a login, with a wrong password, as a reader, and as a keeper.
// Run it: deno run -A examples/vault_client.ts (or: bun examples/vault_client.ts) while vault_server.ts runs.
// The server keeps what is written: a second run reads what the first one wrote.
// The server's string binding is the argument; by default it is ncacn_ip_tcp:127.0.0.1[8766].
import process from "node:process"
import { Console, Effect, Redacted } from "effect"
import { Call } from "@callisto/rpc"
import { Association } from "@callisto/rpc/dcerpc"
import * as NodeTransport from "@callisto/rpc/node"
import { Negotiate, Security } from "@callisto/rpc/security"
import { IVault } from "./vault.ts"

const binding = process.argv[2] ?? "ncacn_ip_tcp:127.0.0.1[8766]"

// Everything that a call says is encrypted. With "integrity", the default, everybody could read it, and nobody change it.
const login = (user: string, password: string) =>
  Security.make({
    provider: Negotiate.client,
    credentials: { user, password: Redacted.make(password) },
    level: "privacy"
  })

const bind = (security?: Security.Security) =>
  Effect.map(Association.bind(IVault, binding, { security }), (bound) => ({ bound, ...Call.client(bound) }))

const reasonOf = <A, E extends { readonly message: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), ({ message }) => message)

const program = Effect.gen(function* () {
  const nobody = yield* bind()
  yield* Console.log(`nobody reads: ${yield* reasonOf(nobody.Read({ name: "door" }))}`)
  yield* Console.log(`a wrong password: ${yield* reasonOf(bind(login("bob", "1234")))}`)

  const bob = yield* bind(login("bob", "four words are enough"))
  const { reader, secret } = yield* bob.Read({ name: "door" })
  yield* Console.log(`bob reads: ${secret} (${reader})`)
  yield* Console.log(`bob writes: ${yield* reasonOf(bob.Write({ name: "door", secret: "0000" }))}`)

  // A call object can log in as somebody else, for its own calls.
  const call = yield* Call.make(bob.bound)
  yield* Call.setSecurity(call, login("ada", "difference engine"))
  yield* Call.join(yield* Call.begin(call, "Write", { name: "door", secret: "1815" }))
  yield* Console.log(`ada writes; bob reads: ${(yield* bob.Read({ name: "door" })).secret}`)
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

const main = Effect.catch(program, (error) =>
  Effect.sync(() => {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  }))

await Effect.runPromise(main)
