import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Der from "../../src/security/internal/der.ts"
import { NtlmSession } from "../../src/security/internal/ntlmSession.ts"
import {
  encodeInit,
  encodeList,
  encodeResponse,
  parseInit,
  parseResponse
} from "../../src/security/internal/spnegoTokens.ts"
import * as Negotiate from "../../src/security/Negotiate.ts"
import * as Ntlm from "../../src/security/Ntlm.ts"
import type { ProtectionLevel, Session } from "../../src/security/Security.ts"
import { bytesOf, hex } from "./bytes.ts"
import { atFileTime, bodyEndOf, tokenOf, withRandom } from "./logins.ts"
import samba from "./vectors/samba-client.json" with { type: "json" }
import recorded from "./vectors/spnego-ntlm.json" with { type: "json" }
import single from "./vectors/spnego-tokens.json" with { type: "json" }

const token = (name: string): string => single.tokens.find((token) => token.name.startsWith(name))!.hex

const shown = (value: object | string) =>
  typeof value === "string" ? value : Object.fromEntries(
    Object.entries(value).map(([key, field]) => [
      key,
      field instanceof Uint8Array ? hex(field) : Array.isArray(field) ? field.map(hex) : field
    ])
  )

describe("single tokens of SPNEGO", () => {
  const { kerberos, msKerberos, negoEx, ntlm } = single.oids

  it("first tokens: are read, and written to the byte", () => {
    for (
      const [name, mechanisms, mechToken] of [
        ["NegTokenInit, NTLM only", [ntlm], "aabb"],
        ["NegTokenInit, MS-Kerberos Kerberos NTLM", [msKerberos, kerberos, ntlm], "aabb"],
        ["long form lengths", [ntlm], "11".repeat(200)]
      ] as const
    ) {
      const init = parseInit(bytesOf(token(name)))
      if (typeof init === "string") return assert.fail(init)
      assert.deepStrictEqual(init.mechanisms.map(hex), [...mechanisms])
      assert.strictEqual(hex(init.token!), mechToken)
      const list = encodeList(mechanisms.map(bytesOf))
      assert.strictEqual(hex(init.list), hex(list))
      assert.strictEqual(hex(encodeInit({ list, token: bytesOf(mechToken) })), token(name))
    }
    assert.strictEqual(hex(encodeList([Der.oid("1.3.6.1.4.1.311.2.2.10")])), single.mechLists.ntlm)
    assert.strictEqual(
      hex(encodeList([msKerberos, kerberos, ntlm].map(bytesOf))),
      single.mechLists.msKerberosKerberosNtlm
    )
  })

  it("a server's first token with hints: is read without them", () => {
    const init = parseInit(bytesOf(token("NegTokenInit2")))
    if (typeof init === "string") return assert.fail(init)
    assert.deepStrictEqual(init.mechanisms.map(hex), [negoEx, msKerberos, kerberos, ntlm])
    assert.isUndefined(init.token)
    assert.isUndefined(init.mic)
  })

  it("later tokens: are read, and written to the byte", () => {
    for (
      const [name, response] of [
        ["NegTokenResp request-mic", { state: 3, mechanism: ntlm }],
        ["NegTokenResp accept-incomplete", { state: 1, mechanism: ntlm, token: "aabb" }],
        ["NegTokenResp of an initiator", { token: "aabb", mic: "cc".repeat(16) }],
        ["NegTokenResp accept-completed with", { state: 0, mic: "cc".repeat(16) }],
        ["NegTokenResp accept-completed alone", { state: 0 }],
        ["NegTokenResp reject", { state: 2 }]
      ] as const
    ) {
      const parsed = parseResponse(bytesOf(token(name)))
      assert.deepStrictEqual(shown(parsed), response)
      if (typeof parsed !== "string") assert.strictEqual(hex(encodeResponse(parsed)), token(name))
    }
  })
})

const { inputs } = recorded
const password = Redacted.make(inputs.password)

const checkPdus = (
  pdus: ReadonlyArray<{ readonly dir: string; readonly name?: string; readonly body?: string; readonly hex: string }>,
  level: ProtectionLevel,
  client: Session,
  server: Session
): void => {
  for (const { body, dir, hex: text } of pdus) {
    const pdu = bytesOf(text)
    const end = bodyEndOf(pdu)
    const [sender, receiver] = dir === "c" ? [client, server] : [server, client]
    const received = pdu.slice()
    assert.isTrue(receiver.unprotect(received, 24, end, level, true))
    if (body !== undefined) assert.strictEqual(hex(received.subarray(24, 24 + body.length / 2)), body)
    const plain = received.slice()
    plain.fill(0xee, end + 8)
    sender.protect(plain, 24, end, level, true)
    assert.strictEqual(hex(plain), text)
  }
}

describe("recorded logins with NTLM inside SPNEGO", () => {
  for (const [title, { keys, pdus, tokens }] of Object.entries(recorded.cases)) {
    const level = title.startsWith("privacy") ? "privacy" : "integrity"
    it.effect(`${title}, both sides: send the recorded tokens and PDUs`, () =>
      Effect.gen(function* () {
        const client = yield* Negotiate.makeClient([Ntlm.makeClient({ workstation: "WKS" })]).initiate({
          level,
          target: inputs.targetName,
          credentials: { user: inputs.user, domain: inputs.domain, password },
          impersonation: "impersonate",
          mutual: false,
          channelBindings: undefined
        })
        const ntlm = Ntlm.server(() => ({ ntHash: Ntlm.hash(password) }), {
          computer: "SRV",
          domain: "CALLISTO",
          dnsComputer: "srv.callisto.test",
          dnsDomain: "callisto.test"
        })
        const server = yield* Negotiate.server({ ntlm }).accept({ level, channelBindings: undefined, peer: "test" })
        const step = (exchange: typeof client, token: string | undefined) =>
          exchange.step(token === undefined ? undefined : bytesOf(token))

        const first = yield* step(client, undefined)
        assert.strictEqual(hex(first.token!), tokens.negTokenInit)
        const second = yield* step(server, tokens.negTokenInit)
        assert.strictEqual(hex(second.token!), tokens.challenge)
        const third = yield* step(client, tokens.challenge)
        assert.strictEqual(hex(third.token!), tokens.authenticate)
        assert.isUndefined(third.session)
        const last = yield* step(server, tokens.authenticate)
        assert.strictEqual(hex(last.token!), tokens.completed)
        const end = yield* step(client, tokens.completed)
        assert.isUndefined(end.token)
        assert.strictEqual(end.session!.provider, "NTLM")
        checkPdus(
          pdus.filter(({ name }) => name === "request" || name === "response"),
          level,
          end.session!,
          last.session!
        )
      }).pipe(
        withRandom(bytesOf(inputs.serverChallenge), bytesOf(inputs.clientChallenge), bytesOf(keys.exportedSessionKey)),
        atFileTime(BigInt(inputs.fileTime))
      ))
  }
})

describe("a recorded client of Samba with SPNEGO", () => {
  const { exportedSessionKey, pdus } = samba.cases.spnegoNtlmPrivacy
  const identity = {
    name: "joe",
    domain: undefined,
    anonymous: false,
    impersonation: "impersonate",
    groups: []
  } as const
  const sessionOf = (side: "client" | "server") =>
    new NtlmSession({ identity, side, flags: 0x62088235, exportedKey: bytesOf(exportedSessionKey), needsMic: true })

  it("its signatures and PDUs at privacy: are verified, and ours are the same", () => {
    const client = sessionOf("client")
    const server = sessionOf("server")
    const init = parseInit(tokenOf(bytesOf(pdus[0]!.hex)))
    const request = parseResponse(tokenOf(bytesOf(pdus[2]!.hex)))
    const response = parseResponse(tokenOf(bytesOf(pdus[3]!.hex)))
    if (typeof init === "string" || typeof request === "string" || typeof response === "string") {
      return assert.fail(shown(init) + "" + shown(request))
    }
    assert.strictEqual(hex(client.mic(init.list)), hex(request.mic!))
    assert.isTrue(server.verifyMic(init.list, request.mic!))
    assert.strictEqual(hex(server.mic(init.list)), hex(response.mic!))
    assert.isTrue(client.verifyMic(init.list, response.mic!))
    checkPdus(pdus.slice(4), "privacy", client, server)
  })

  it("the Kerberos tokens of another client: are framed as expected", () => {
    const kerberos = samba.cases.spnegoKerberosPrivacy.pdus
    const init = parseInit(tokenOf(bytesOf(kerberos[0]!.hex)))
    const request = parseResponse(tokenOf(bytesOf(kerberos[2]!.hex)))
    if (typeof init === "string" || typeof request === "string") return assert.fail(shown(init) + "" + shown(request))
    assert.strictEqual(init.token![0], 0x6e)
    assert.strictEqual(request.token![0], 0x6f)
    assert.isDefined(request.mic)
  })
})
