/**
 * Calls with a login: client and server in memory.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Schema, Stream } from "effect"
import { Call, Interface, Manager, Server, ServerCall } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as EndpointMapper from "../../src/dcerpc/EndpointMapper.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import * as Negotiate from "../../src/security/Negotiate.ts"
import * as Ntlm from "../../src/security/Ntlm.ts"
import * as Security from "../../src/security/Security.ts"
import * as Memory from "../../src/transport/Memory.ts"

const password = Redacted.make("correct horse")

const accounts: Ntlm.Accounts = ({ user }) =>
  user === "alice" ? { ntHash: Ntlm.hash(password), groups: ["readers"], domain: "CORP" } : undefined

const interfaceOf = (text: Schema.Codec<string>, uuid: string) =>
  Interface.make("IWho", {
    uuid,
    version: [1, 0],
    methods: { Who: Interface.method({ in: text, out: text }) }
  })

const IPlain = interfaceOf(Schema.String, "0f5c6a3e-8d3b-4d4e-9c0b-6b7f2e1d3c01")
const INdr = interfaceOf(Ndr.WString, "0f5c6a3e-8d3b-4d4e-9c0b-6b7f2e1d3c02")

const who = (input: string) =>
  Effect.map(
    ServerCall.currentCaller,
    ({ domain, groups, level, name, provider }) => [domain, name, level, provider, ...groups, input].join(" ")
  )

const serve = (place: string) =>
  Effect.gen(function* () {
    const server = yield* Server.make([
      Manager.make(IPlain, { Who: (input) => Effect.orDie(who(input)) }),
      Manager.make(INdr, { Who: (input) => Effect.orDie(who(input)) })
    ])
    yield* Endpoint.serve(server, place, { security: [Ntlm.server(accounts), Negotiate.server({ ntlm: accounts })] })
  })

const alice = { user: "alice", domain: "CORP", password }

describe("a login", () => {
  for (const provider of [Ntlm.client, Negotiate.client]) {
    for (const level of ["packet", "integrity", "privacy"] as const) {
      for (const iface of [IPlain, INdr]) {
        for (const size of [10, 100_000]) {
          it.effect(
            `${provider.name}, ${level}, ${
              iface === INdr ? "NDR" : "Callisto's syntax"
            }, ${size} characters: calls are made as alice`,
            () =>
              Effect.gen(function* () {
                yield* serve("ncacn_memory:[who]")
                const security = Security.make({ provider, credentials: alice, level })
                const binding = yield* Association.bind(iface, "ncacn_memory:[who]", { security })
                for (const text of ["a", "b", "c"]) {
                  const input = text.repeat(size)
                  const answer = yield* Call.invoke(binding, "Who", input)
                  assert.strictEqual(answer, `CORP alice ${level} NTLM readers ${input}`)
                }
              }).pipe(Effect.provide(Memory.layer))
          )
        }
      }
    }
  }
})

describe("without a login, at an endpoint with providers", () => {
  it.effect("an endpoint mapper: it answers", () =>
    Effect.gen(function* () {
      const server = yield* Server.make([yield* EndpointMapper.makeManager()])
      yield* Endpoint.serve(server, "ncacn_memory:[mapper]", { security: [Ntlm.server(accounts)] })
      const mapper = yield* Association.bind(EndpointMapper.IEndpointMapper, "ncacn_memory:[mapper]")
      assert.deepStrictEqual(yield* Stream.runCollect(EndpointMapper.lookup(mapper)), [])
    }).pipe(Effect.provide(Memory.layer)))

  it.effect("a manager that says nothing: it refuses", () =>
    Effect.gen(function* () {
      yield* serve("ncacn_memory:[who]")
      const binding = yield* Association.bind(IPlain, "ncacn_memory:[who]")
      const error = yield* Effect.flip(Call.invoke(binding, "Who", "a"))
      assert.strictEqual("code" in error && error.code, 5)
    }).pipe(Effect.provide(Memory.layer)))
})
