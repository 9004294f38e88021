/**
 * Logs in to the servers of security_server.ts with NTLM, Negotiate and Kerberos. The arguments are the string bindings of those that demand
 * connect, integrity and privacy, the realm, its key distribution centre, the workgroup, a user and its password. Prints `ok NAME` or
 * `not ok NAME: REASON` for each test.
 */
import { deepStrictEqual } from "node:assert/strict"
import process from "node:process"
import { Call } from "@callisto/rpc"
import { Association } from "@callisto/rpc/dcerpc"
import * as NodeTransport from "@callisto/rpc/node"
import { Kerberos, Negotiate, Ntlm, Security } from "@callisto/rpc/security"
import { Cause, Effect, Layer, Redacted } from "effect"
import { IRpcEcho } from "../../examples/rpcecho.ts"

const [connect, integrity, privacy, realm, kdc, workgroup, user, password] = process.argv.slice(2) as ReadonlyArray<
  string
>

const levels = ["connect", "packet", "integrity", "privacy"] as const

const test = <E, R>(name: string, effect: Effect.Effect<void, E, R>) =>
  Effect.matchCause(effect, {
    onSuccess: () => console.log(`ok ${name}`),
    onFailure: (cause) => console.log(`not ok ${name}: ${Cause.pretty(cause).split("\n").slice(0, 3).join(" ")}`)
  })

const data = Uint8Array.from({ length: 100_001 }, (_, i) => i * 7)

const calls = (server: string, security: Security.Security) =>
  Effect.gen(function* () {
    const echo = yield* Association.bind(IRpcEcho, server, { security })
    const echoed = Effect.map(Call.invoke(echo, "EchoData", { data }), (reply) => Uint8Array.from(reply.data))
    for (const each of yield* Effect.all([echoed, echoed, echoed], { concurrency: "unbounded" })) {
      deepStrictEqual(each, data)
    }
    yield* Call.invoke(echo, "SinkData", { data })
    const pending = yield* Call.begin(yield* Call.make(echo), "EchoData", { data })
    yield* Call.cancel(pending)
    deepStrictEqual((yield* Effect.flip(Call.join(pending)))._tag, "CallCancelled")
    deepStrictEqual(yield* Call.invoke(echo, "AddOne", { value: 1 }), { value: 2 })
  }).pipe(Effect.scoped)

const isDenied = (server: string, security: Security.Security) =>
  Effect.gen(function* () {
    const echo = yield* Association.bind(IRpcEcho, server, { security })
    const error = yield* Effect.flip(Call.invoke(echo, "AddOne", { value: 1 }))
    deepStrictEqual("code" in error && error.code, 5)
  }).pipe(Effect.scoped)

const program = Effect.gen(function* () {
  const kerberos = yield* Kerberos.client({ realm: realm!, kdc: kdc! })
  const alice = { user: user!, domain: workgroup!, password: Redacted.make(password!) }
  const ofRealm = { ...alice, domain: realm! }
  for (
    const [name, provider, credentials] of [
      ["NTLM", Ntlm.client, alice],
      ["NTLM within Negotiate", Negotiate.client, alice],
      ["Kerberos", kerberos, ofRealm],
      ["Kerberos within Negotiate", Negotiate.makeClient([kerberos, Ntlm.client]), ofRealm]
    ] as const
  ) {
    const at = (level: Security.ProtectionLevel) =>
      Security.make({ provider, credentials, level, target: "host/localhost" })
    for (const level of levels) yield* test(`${name}, ${level}`, calls(connect!, at(level)))
    yield* test(`${name}, integrity where it is demanded`, calls(integrity!, at("integrity")))
    yield* test(`${name}, privacy where it is demanded`, calls(privacy!, at("privacy")))
    yield* test(`${name}, connect where integrity is demanded is refused`, isDenied(integrity!, at("connect")))
    yield* test(`${name}, integrity where privacy is demanded is refused`, isDenied(privacy!, at("integrity")))
  }
}).pipe(Effect.scoped, Effect.provide(Layer.merge(NodeTransport.layer, NodeTransport.layerKerberos)))

await Effect.runPromise(program)
