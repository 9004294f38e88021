/**
 * Serves rpcecho to users that log in with NTLM, Negotiate and Kerberos, and an endpoint mapper on port 135 for clients that can't be told a
 * port. The arguments are the keytab of the service, a user, its password and its workgroup. Prints `listening LEVEL ADDRESS` for each level
 * that a caller must have at least, the same with `later` and `tomorrow` for servers whose clock is an hour and a day ahead, and `called by`
 * with the caller of each login.
 */
import { readFileSync } from "node:fs"
import process from "node:process"
import { Binding, Server } from "@callisto/rpc"
import { Endpoint, EndpointMapper } from "@callisto/rpc/dcerpc"
import * as NodeTransport from "@callisto/rpc/node"
import { Kerberos, Negotiate, Ntlm } from "@callisto/rpc/security"
import { StringBinding } from "@callisto/rpc/transport"
import { Console, Effect, Layer, Redacted } from "effect"
import { makeRpcEcho } from "../../examples/rpcecho.ts"
import { withClock } from "./clock.ts"

const [, , keytab, user, password, workgroup] = process.argv

const stopSignal = Effect.callback<void>((resume) => {
  process.once("SIGTERM", () => resume(Effect.void))
})

const account = {
  ntHash: Ntlm.hash(Redacted.make(password!)),
  name: user!,
  domain: workgroup!,
  groups: ["users"]
}
const accounts: Ntlm.Accounts = ({ user: claimed }) => claimed.toLowerCase() === user ? account : undefined

const serve = (
  minimumLevel: "connect" | "integrity" | "privacy",
  title: string
) =>
  Effect.gen(function* () {
    const known = new Set<string>()
    const echo = makeRpcEcho({
      minimumLevel,
      access: ({ caller: { domain, groups, level, name, provider } }) => {
        const line = `called by ${domain}\\${name}, ${level}, ${provider}, groups: ${groups.join(" ")}`
        if (!known.has(line)) console.log(line)
        known.add(line)
        return true
      }
    })
    const server = yield* Server.make([echo])
    // Impacket sends no check sum of the login.
    const ntlm = Ntlm.server(accounts, { requireMic: false })
    const kerberos = yield* Kerberos.server(Redacted.make(Uint8Array.from(readFileSync(keytab!))))
    const { address } = yield* Endpoint.serve(server, "ncacn_ip_tcp:127.0.0.1[0]", {
      security: [Negotiate.server({ ntlm, kerberos }), ntlm, kerberos]
    })
    yield* Console.log(`listening ${title} ${StringBinding.print(address)}`)
    return { server, address }
  })

const map = ({ address, server }: Effect.Success<ReturnType<typeof serve>>) =>
  Effect.gen(function* () {
    const mappers = yield* Server.make([yield* EndpointMapper.makeManager()])
    yield* Endpoint.serve(mappers, "ncacn_ip_tcp:127.0.0.1[135]")
    yield* EndpointMapper.register(yield* Binding.local(mappers, EndpointMapper.IEndpointMapper), server, address)
  })

const hour = 3_600_000

const program = Effect.gen(function* () {
  yield* map(yield* serve("connect", "connect"))
  for (const level of ["integrity", "privacy"] as const) yield* serve(level, level)
  yield* serve("connect", "later").pipe(withClock(() => hour))
  yield* serve("connect", "tomorrow").pipe(withClock(() => 24 * hour))
  yield* stopSignal
}).pipe(Effect.scoped, Effect.provide(Layer.merge(NodeTransport.layer, NodeTransport.layerKerberos)))

await Effect.runPromise(program)
