import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { hmacMd5 } from "../../src/security/internal/md5.ts"
import { directionKeysOf, ntHashOf, responseKeyOf } from "../../src/security/internal/ntlmKeys.ts"
import { encodeClaims, micOffset, parseAuthenticate, parseChallenge } from "../../src/security/internal/ntlmMessages.ts"
import { NtlmSession } from "../../src/security/internal/ntlmSession.ts"
import { rc4 } from "../../src/security/internal/rc4.ts"
import * as Ntlm from "../../src/security/Ntlm.ts"
import type { ProtectionLevel, Session } from "../../src/security/Security.ts"
import { bytesOf, hex } from "./bytes.ts"
import { atFileTime, bodyEndOf, tokenOf, withRandom } from "./logins.ts"
import rpc from "./vectors/ntlm-rpc.json" with { type: "json" }
import spec from "./vectors/ntlm-spec.json" with { type: "json" }
import samba from "./vectors/samba-client.json" with { type: "json" }

const identity = { name: "User", domain: "Domain", anonymous: false, impersonation: "impersonate", groups: [] } as const

const sessionOf = (side: "client" | "server", key: string, flags: number): Session =>
  new NtlmSession({ identity, side, flags, exportedKey: bytesOf(key), needsMic: true })

/** A body alone, as the specification seals it: the signature is over nothing else. */
const sealedAlone = (
  keys: { readonly sign: Uint8Array; readonly seal: Uint8Array },
  message: string,
  masked: boolean
) => {
  const text = bytesOf(message)
  const checksum = hmacMd5(keys.sign, new Uint8Array(4), text).slice(0, 8)
  const stream = rc4(keys.seal, Uint8Array.of(...text, ...checksum))
  const signature = masked ? stream.slice(text.length) : checksum
  return { sealed: hex(stream.slice(0, text.length)), signature: `01000000${hex(signature)}00000000` }
}

describe("the vectors of MS-NLMP", () => {
  const { inputs } = spec
  const ntHash = ntHashOf(inputs.password)
  const responseKey = responseKeyOf(ntHash, inputs.user, inputs.userDomain)

  it("hashes and responses: as in section 4.2.4", () => {
    assert.strictEqual(hex(ntHash), spec.ntHash)
    assert.strictEqual(hex(responseKey), spec.ntowfv2)
    const challenge = parseChallenge(bytesOf(spec.challengeMessage))
    if (typeof challenge === "string") return assert.fail(challenge)
    assert.strictEqual(hex(challenge.challenge), inputs.serverChallenge)
    const claims = encodeClaims(bytesOf(inputs.time), bytesOf(inputs.clientChallenge), challenge.pairs)
    assert.strictEqual(hex(claims), spec.temp)
    const proof = hmacMd5(responseKey, challenge.challenge, claims)
    assert.strictEqual(hex(proof), spec.ntProof)
    const baseKey = hmacMd5(responseKey, proof)
    assert.strictEqual(hex(baseKey), spec.sessionBaseKey)
    assert.strictEqual(hex(rc4(baseKey, bytesOf(inputs.randomSessionKey))), spec.encryptedRandomSessionKey)
  })

  it("the message of section 4.2.4.3: is read", () => {
    const message = parseAuthenticate(bytesOf(spec.authenticateMessage))
    if (typeof message === "string") return assert.fail(message)
    assert.strictEqual(message.user, inputs.user)
    assert.strictEqual(message.domain, inputs.userDomain)
    assert.strictEqual(hex(message.ntResponse), spec.ntProof + spec.temp)
    assert.strictEqual(hex(message.sessionKey), spec.encryptedRandomSessionKey)
    assert.isUndefined(message.mic)
  })

  it("sealing with and without key exchange: as in sections 4.2.4.4 and 4.2.3.4", () => {
    const keys = directionKeysOf(
      bytesOf(inputs.randomSessionKey),
      Number.parseInt(inputs.flags, 16),
      "client-to-server"
    )
    assert.strictEqual(hex(keys.sign), spec.clientSignKey)
    assert.strictEqual(hex(keys.seal), spec.clientSealKey)
    assert.deepStrictEqual(sealedAlone(keys, spec.message, true), { sealed: spec.sealed, signature: spec.signature })

    const weak = spec.noKeyExchange56
    const weakKeys = directionKeysOf(bytesOf(weak.keyExchangeKey), 0x80000000, "client-to-server")
    assert.strictEqual(hex(weakKeys.sign), weak.clientSignKey)
    assert.strictEqual(hex(weakKeys.seal), weak.clientSealKey)
    assert.deepStrictEqual(sealedAlone(weakKeys, weak.message, false), {
      sealed: weak.sealed,
      signature: weak.signature
    })
  })
})

const { inputs } = rpc
const password = Redacted.make(inputs.password)
const fileTime = BigInt(inputs.fileTime)

const levelOf = (name: string): ProtectionLevel => name.startsWith("privacy") ? "privacy" : "integrity"

const asked = (level: ProtectionLevel) => ({
  level,
  target: inputs.targetName,
  credentials: { user: inputs.user, domain: inputs.domain, password },
  impersonation: "impersonate" as const,
  mutual: false,
  channelBindings: undefined
})

const account = { ntHash: Ntlm.hash(password), groups: ["staff"] }

const serverOf = (options?: Ntlm.ServerOptions) =>
  Ntlm.server(() => account, {
    computer: "SRV",
    domain: "CALLISTO",
    dnsComputer: "srv.callisto.test",
    dnsDomain: "callisto.test",
    ...options
  })

/** Protects and verifies recorded PDUs on both sides. */
const checkPdus = (
  pdus: ReadonlyArray<{ readonly dir: string; readonly name?: string; readonly body?: string; readonly hex: string }>,
  level: ProtectionLevel,
  client: Session,
  server: Session
): void => {
  for (const { body, dir, hex: text } of pdus) {
    const recorded = bytesOf(text)
    const end = bodyEndOf(recorded)
    const [sender, receiver] = dir === "c" ? [client, server] : [server, client]
    const received = recorded.slice()
    assert.isTrue(receiver.unprotect(received, 24, end, level, true))
    if (body !== undefined) assert.strictEqual(hex(received.subarray(24, 24 + body.length / 2)), body)
    const plain = received.slice()
    plain.fill(0xee, end + 8)
    sender.protect(plain, 24, end, level, true)
    assert.strictEqual(hex(plain), text)
  }
}

describe("recorded NTLM conversations", () => {
  for (const [title, recorded] of Object.entries(rpc.cases)) {
    const level = levelOf(title)
    const { flags, keys, messages, pdus } = recorded
    const protectedPdus = pdus.filter(({ name }) => name === "request" || name === "response")

    it(`${title}, the PDUs: are protected and verified to the byte`, () => {
      const number = Number.parseInt(flags, 16)
      checkPdus(
        protectedPdus,
        level,
        sessionOf("client", keys.exportedSessionKey, number),
        sessionOf("server", keys.exportedSessionKey, number)
      )
      for (const direction of ["client", "server"] as const) {
        const to = direction === "client" ? "client-to-server" : "server-to-client"
        const made = directionKeysOf(bytesOf(keys.exportedSessionKey), number, to)
        assert.strictEqual(hex(made.sign), keys[`${direction}Sign`])
        assert.strictEqual(hex(made.seal), keys[`${direction}Seal`])
      }
    })

    it.effect(`${title}, the client: answers the challenge as recorded`, () =>
      Effect.gen(function* () {
        const plain = Number.parseInt(flags, 16) === (level === "privacy" ? 0x62088235 : 0x62088215)
        const client = yield* Ntlm.makeClient({ workstation: "WKS", allowWeakKeys: title === "privacy56" })
          .initiate(asked(level))
        const first = yield* client.step(undefined)
        if (plain) assert.strictEqual(hex(first.token!), messages.negotiate)
        const second = yield* client.step(bytesOf(messages.challenge)).pipe(
          title === "privacyNoKeyExchange"
            ? withRandom(bytesOf(inputs.clientChallenge))
            : withRandom(bytesOf(inputs.clientChallenge), bytesOf(inputs.exportedSessionKey))
        )
        const token = second.token!
        // The check sum is over the first message too, in which this client offers more.
        if (!plain) token.set(bytesOf(keys.mic), micOffset)
        assert.strictEqual(hex(token), messages.authenticate)
        checkPdus(
          protectedPdus,
          level,
          second.session!,
          sessionOf("server", keys.exportedSessionKey, Number.parseInt(flags, 16))
        )
      }))

    it.effect(`${title}, the server: makes the challenge and takes the answer as recorded`, () =>
      Effect.gen(function* () {
        const server = yield* serverOf({ allowWeakKeys: title === "privacy56" }).accept({
          level,
          channelBindings: undefined,
          peer: "test"
        })
        const first = yield* server.step(bytesOf(messages.negotiate))
        assert.strictEqual(hex(first.token!), messages.challenge)
        const { session, token } = yield* server.step(bytesOf(messages.authenticate))
        assert.isUndefined(token)
        assert.deepStrictEqual(session!.identity, {
          name: "joe",
          domain: "CALLISTO",
          anonymous: false,
          impersonation: "impersonate",
          groups: ["staff"]
        })
        assert.strictEqual(hex(Redacted.value(session!.sessionKey)), keys.exportedSessionKey)
        checkPdus(
          protectedPdus,
          level,
          sessionOf("client", keys.exportedSessionKey, Number.parseInt(flags, 16)),
          session!
        )
      }).pipe(withRandom(bytesOf(inputs.serverChallenge)), atFileTime(fileTime)))
  }
})

describe("a recorded client of Samba", () => {
  const { exportedSessionKey, pdus, serverChallenge } = samba.cases.ntlmIntegrity

  it("its PDUs at integrity: are verified, and the answers are protected to the byte", () => {
    const flags = 0x62088215
    checkPdus(
      pdus.slice(3),
      "integrity",
      sessionOf("client", exportedSessionKey, flags),
      sessionOf("server", exportedSessionKey, flags)
    )
  })

  it.effect("its login: the proof and the key are right", () =>
    Effect.sync(() => {
      const message = parseAuthenticate(tokenOf(bytesOf(pdus[2]!.hex)))
      if (typeof message === "string") return assert.fail(message)
      assert.strictEqual(message.user, "joe")
      const responseKey = responseKeyOf(ntHashOf("secret"), message.user, message.domain)
      const claims = message.ntResponse.subarray(16)
      const proof = hmacMd5(responseKey, bytesOf(serverChallenge), claims)
      assert.strictEqual(hex(proof), hex(message.ntResponse.subarray(0, 16)))
      assert.strictEqual(hex(rc4(hmacMd5(responseKey, proof), message.sessionKey)), exportedSessionKey)
    }))
})
