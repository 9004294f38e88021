/** A program that may neither listen nor connect. It prints how each attempt fails. */
import { Effect, Result, type Scope } from "effect"
import process from "node:process"
import type { CantCreateEndpoint, RpcTransportError } from "../../src/Status.ts"
import { parse } from "../../src/transport/StringBinding.ts"
import { Transport } from "../../src/transport/Transport.ts"
import { layer } from "../../src/node.ts"

const listening = [
  "ncacn_ip_tcp:127.0.0.1[0]",
  "ncacn_ip_tcp:localhost[0]",
  "ncacn_ip_tcp:[0]",
  "ncalrpc:[callisto-denied]"
]
const connecting = ["ncacn_ip_tcp:127.0.0.1[9]", "ncalrpc:[callisto-denied]"]

const program = Effect.gen(function* () {
  const transport = yield* Transport
  const attempt = (text: string, isListening: boolean) => {
    const binding = Result.getOrThrow(parse(text))
    const tried: Effect.Effect<unknown, CantCreateEndpoint | RpcTransportError, Scope.Scope> = isListening
      ? transport.listen(binding, () => Effect.void)
      : transport.connect(binding)
    return Effect.map(
      Effect.flip(Effect.scoped(tried)),
      ({ _tag, message, status }) =>
        console.log(`${text}: ${_tag} ${status} ${/--allow-(net|read|write)/.test(message)}`)
    )
  }
  for (const text of listening) yield* attempt(text, true)
  for (const text of connecting) yield* attempt(text, false)
})

await Effect.runPromise(Effect.provide(program, layer))
process.exit()
