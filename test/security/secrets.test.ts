import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { format, formatJson } from "effect/Formatter"
import * as Redacted from "effect/Redacted"
import { Buffer } from "node:buffer"
import { inspect } from "node:util"
import { directionKeysOf } from "../../src/security/internal/ntlmKeys.ts"
import { NtlmSession } from "../../src/security/internal/ntlmSession.ts"
import * as Negotiate from "../../src/security/Negotiate.ts"
import * as Ntlm from "../../src/security/Ntlm.ts"
import { logIn } from "./logins.ts"

const text = "Very-Secret-4711"
const password = Redacted.make(text)

/** Every form in which a value may be printed. */
const printed = (value: unknown): string => {
  const options = { depth: Infinity, showHidden: true, maxArrayLength: null, breakLength: Infinity, getters: true }
  return [
    String(value),
    format(value),
    formatJson(value),
    JSON.stringify(value, (_, field) => typeof field === "bigint" ? String(field) : field),
    inspect(value, options),
    value instanceof Error ? value.stack : ""
  ].join("\n")
}

/** Every form in which bytes may stand in a text. */
const formsOf = (bytes: Uint8Array): ReadonlyArray<string> => [
  Buffer.from(bytes).toString("hex"),
  Buffer.from(bytes).toString("base64").slice(0, 16),
  Array.from(bytes.subarray(0, 6)).join(","),
  Array.from(bytes.subarray(0, 6)).join(", "),
  Array.from(bytes.subarray(0, 4)).map((byte, i) => `"${i}":${byte}`).join(",")
]

const showsNothing = (value: unknown, secrets: ReadonlyArray<Uint8Array>, what: string): void => {
  const said = printed(value)
  for (const form of [text, ...secrets.flatMap(formsOf)]) assert.notInclude(said, form, what)
}

describe("secrets of a login", () => {
  it("search for secrets: finds what is printed", () => {
    const bytes = Uint8Array.of(9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 255, 254, 253, 252, 251, 250)
    for (const value of [{ bytes }, { text }, new Error(text), [bytes], Buffer.from(bytes).toString("hex")]) {
      assert.throws(() => showsNothing(value, [bytes], "a secret"))
    }
  })

  for (
    const [name, client, server] of [
      ["NTLM", Ntlm.client, Ntlm.server(() => ({ ntHash: Ntlm.hash(password) }))],
      ["Negotiate", Negotiate.client, Negotiate.server({ ntlm: () => ({ ntHash: Ntlm.hash(password) }) })]
    ] as const
  ) {
    it.effect(`${name}, providers, exchanges and sessions: print none`, () =>
      Effect.gen(function* () {
        const initiate = {
          level: "privacy" as const,
          target: "host/files",
          credentials: { user: "joe", domain: "CORP", password },
          impersonation: "impersonate" as const,
          mutual: false,
          channelBindings: undefined
        }
        const clientExchange = yield* client.initiate(initiate)
        const serverExchange = yield* server.accept({ level: "privacy", channelBindings: undefined, peer: "test" })
        const login = yield* logIn(clientExchange, serverExchange)
        const key = Redacted.value(login.client.sessionKey)
        const secrets = [Redacted.value(Ntlm.hash(password)), key]
        for (const direction of ["client-to-server", "server-to-client"] as const) {
          const { seal, sign } = directionKeysOf(key, 0x20000000, direction)
          secrets.push(seal, sign)
        }
        for (
          const [what, value] of Object.entries({
            initiate,
            client,
            server,
            clientExchange,
            serverExchange,
            clientSession: login.client,
            serverSession: login.server,
            hash: Ntlm.hash(password)
          })
        ) showsNothing(value, secrets, what)
        assert.include(printed(login.client), "joe")

        const wrong = yield* Effect.exit(Effect.gen(function* () {
          const other = { ...initiate, credentials: { user: "joe", password: Redacted.make(`${text}!`) } }
          return yield* logIn(
            yield* client.initiate(other),
            yield* server.accept({ level: "privacy", channelBindings: undefined, peer: "test" })
          )
        }))
        if (Exit.isSuccess(wrong)) return assert.fail("logged in")
        showsNothing(Cause.squash(wrong.cause), secrets, "failure")
        showsNothing(wrong, secrets, "exit")
        assert.notInclude(Cause.pretty(wrong.cause), text)
      }))
  }

  it("an ended session: has wiped its keys", () => {
    const exportedKey = new Uint8Array(16).fill(5)
    const session = new NtlmSession({
      identity: { name: "joe", domain: undefined, anonymous: false, impersonation: "impersonate", groups: [] },
      side: "client",
      flags: 0x62088235,
      exportedKey,
      needsMic: true
    })
    session.end()
    assert.deepStrictEqual(exportedKey, new Uint8Array(16))
    assert.throws(() => Redacted.value(session.sessionKey))
  })
})
