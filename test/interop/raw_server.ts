/**
 * Serves an endpoint mapper, in which its own management interface is registered, to users that log in: on port 135, where Samba's tests of
 * the raw protocol look for it. The arguments are the address, the keytab of the service, a user, its password and its workgroup. Prints `listening BINDING`.
 */
import { readFileSync } from "node:fs"
import process from "node:process"
import { Binding, Call, Server } from "@callisto/rpc"
import { Endpoint, EndpointMapper, Management, Tower } from "@callisto/rpc/dcerpc"
import * as NodeTransport from "@callisto/rpc/node"
import { Kerberos, Negotiate, Ntlm } from "@callisto/rpc/security"
import { StringBinding } from "@callisto/rpc/transport"
import { Console, Effect, Layer, Redacted, Result } from "effect"

const [, , host, keytab, user, password, workgroup] = process.argv

const stopSignal = Effect.callback<void>((resume) => {
  process.once("SIGTERM", () => resume(Effect.void))
})

const account = { ntHash: Ntlm.hash(Redacted.make(password!)), name: user!, domain: workgroup! }
const accounts: Ntlm.Accounts = ({ user: claimed }) => claimed.toLowerCase() === user ? account : undefined

const program = Effect.gen(function* () {
  const server = yield* Server.make([yield* EndpointMapper.makeManager()])
  const ntlm = Ntlm.server(accounts)
  const kerberos = yield* Kerberos.server(Redacted.make(Uint8Array.from(readFileSync(keytab!))))
  const { address } = yield* Endpoint.serve(server, `ncacn_ip_tcp:${host}[135]`, {
    security: [Negotiate.server({ ntlm, kerberos }), ntlm, kerberos],
    maximumContexts: 2049
  })
  const tower = Result.getOrThrow(Tower.make({ interface: Management.IManagement, binding: address }))
  yield* Call.invoke(yield* Binding.local(server, EndpointMapper.IEndpointMapper), "ept_insert", {
    entries: [{
      object: "00000000-0000-0000-0000-000000000000",
      tower: { tower_octet_string: Tower.encode(tower) },
      annotation: ""
    }],
    replace: 1
  })
  yield* Console.log(`listening ${StringBinding.print(address)}`)
  yield* stopSignal
}).pipe(Effect.scoped, Effect.provide(Layer.merge(NodeTransport.layer, NodeTransport.layerKerberos)))

await Effect.runPromise(program)
