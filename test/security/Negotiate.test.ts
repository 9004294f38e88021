import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Der from "../../src/security/internal/der.ts"
import {
  encodeInit,
  encodeList,
  encodeResponse,
  parseInit,
  parseResponse
} from "../../src/security/internal/spnegoTokens.ts"
import * as Negotiate from "../../src/security/Negotiate.ts"
import * as Ntlm from "../../src/security/Ntlm.ts"
import {
  type ClientProvider,
  type Exchange,
  type InitiateOptions,
  LoginFailure,
  type ProtectionLevel,
  type ServerProvider,
  type Session,
  type Step
} from "../../src/security/Security.ts"
import { logIn, pduOf } from "./logins.ts"

const password = Redacted.make("Secret-1")
const ntlm: Ntlm.Accounts = ({ user }) => user === "alice" ? { ntHash: Ntlm.hash(password) } : undefined

const asked = (level: ProtectionLevel): InitiateOptions => ({
  level,
  target: "host/files",
  credentials: { user: "alice", domain: "CORP", password },
  impersonation: "impersonate",
  mutual: false,
  channelBindings: undefined
})

const initiate = (level: ProtectionLevel = "privacy", provider: ClientProvider = Negotiate.client) =>
  provider.initiate(asked(level))

const accept = (level: ProtectionLevel = "privacy", provider: ServerProvider = Negotiate.server({ ntlm })) =>
  provider.accept({ level, channelBindings: undefined, peer: "test" })

/** A provider that another one replaces: it takes a number of messages, and its session can sign or not. */
const simple = (
  name: string,
  identifiers: ReadonlyArray<string>,
  legs: number,
  session: { readonly integrity?: boolean; readonly needsMic?: boolean } = {},
  failure?: LoginFailure["reason"]
): ClientProvider & ServerProvider => {
  const made = (sequence: () => number): Session => ({
    provider: name,
    identity: { name: "alice", domain: undefined, anonymous: false, impersonation: "impersonate", groups: [] },
    mutual: true,
    integrity: session.integrity ?? true,
    confidentiality: true,
    needsMic: session.needsMic ?? true,
    sessionKey: Redacted.make(new Uint8Array(16)),
    expires: undefined,
    signatureSize: () => 16,
    protect: () => {},
    unprotect: () => true,
    mic: (bytes) => Uint8Array.of(0x77, bytes.length, sequence()),
    verifyMic: (bytes, mic) => mic[0] === 0x77 && mic[1] === bytes.length
  })
  /** Each side counts the messages that it has seen; the last one ends the login. */
  const begin = (first: number) =>
    Effect.sync((): Exchange => {
      let sequence = 0
      let at = first
      return {
        step: (token) =>
          Effect.suspend((): Effect.Effect<Step, LoginFailure> => {
            if (failure !== undefined) {
              return Effect.fail(new LoginFailure({ reason: failure, detail: `${name} fails` }))
            }
            if (token !== undefined && token[1] !== at - 1) {
              return Effect.fail(new LoginFailure({ reason: "refused", detail: `${name}: message ${token[1]}` }))
            }
            const next = at < legs ? Uint8Array.of(name.charCodeAt(0), at) : undefined
            const ends = at >= legs - 1
            at += 2
            return Effect.succeed({ token: next, session: ends ? made(() => sequence++) : undefined })
          })
      }
    })
  return {
    name,
    authType: 99,
    legs: "odd",
    mechanism: { identifiers, recognizes: (token) => token[0] === name.charCodeAt(0) },
    initiate: () => begin(0),
    accept: () => begin(1)
  }
}

const kerberosNames = ["1.2.840.48018.1.2.2", "1.2.840.113554.1.2.2"]

const [msKerberos, kerberos, ntlmName, negoEx] = [
  ...kerberosNames,
  "1.3.6.1.4.1.311.2.2.10",
  "1.3.6.1.4.1.311.2.2.30"
].map(Der.oid) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array]

const refusal = <A>(login: Effect.Effect<A, LoginFailure, Scope.Scope>) =>
  Effect.scoped(Effect.flip(login)).pipe(
    Effect.map(({ detail, reason }) => `${reason}: ${detail.replace(/^Negotiate: /, "")}`)
  )

/** Feeds messages to one side, and gives its last step. */
const feed = (
  exchange: Effect.Effect<Exchange, LoginFailure, Scope.Scope>,
  ...tokens: ReadonlyArray<Uint8Array | undefined>
) =>
  Effect.gen(function* () {
    const { step } = yield* exchange
    let last: Step | undefined
    for (const token of tokens) last = yield* step(token)
    return last!
  })

const shown = (token: Uint8Array | undefined) => {
  const response = parseResponse(token!)
  return typeof response === "string" ? response : {
    state: response.state,
    mechanism: response.mechanism === undefined ? undefined : Der.decode(response.mechanism, (reader) => reader.oid()),
    token: response.token?.length,
    mic: response.mic?.length
  }
}

describe("a login with Negotiate", () => {
  for (const level of ["connect", "packet", "integrity", "privacy"] as const) {
    it.effect(`NTLM at the level ${level}: both sides agree, and protect messages both ways`, () =>
      Effect.gen(function* () {
        const { client, server, tokens } = yield* logIn(yield* initiate(level), yield* accept(level))
        assert.strictEqual(tokens.length, 4)
        assert.strictEqual(server.identity.name, "alice")
        assert.strictEqual(client.provider, "NTLM")
        const mics = tokens.slice(2).map((token) => parseResponse(token)).map((response) =>
          typeof response === "string" ? response : response.mic?.length
        )
        assert.deepStrictEqual(mics, level === "connect" ? [undefined, undefined] : [16, 16])
        if (level === "connect") return
        for (const [sender, receiver] of [[client, server], [server, client], [client, server]] as const) {
          const pdu = pduOf(new Uint8Array(32), 16)
          sender.protect(pdu, 24, 56, level, true)
          assert.isTrue(receiver.unprotect(pdu, 24, 56, level, true))
        }
      }))
  }

  it.effect("Kerberos on both sides, three messages: four tokens, with signatures", () =>
    Effect.gen(function* () {
      const both = simple("Kerberos", kerberosNames, 3)
      const { client, tokens } = yield* logIn(
        yield* initiate("privacy", Negotiate.makeClient([both, Ntlm.client])),
        yield* accept("privacy", Negotiate.server({ kerberos: both, ntlm }))
      )
      assert.strictEqual(client.provider, "Kerberos")
      assert.deepStrictEqual(tokens.slice(1).map(shown), [
        { state: 1, mechanism: kerberosNames[0], token: 2, mic: undefined },
        { state: undefined, mechanism: undefined, token: 2, mic: 3 },
        { state: 0, mechanism: undefined, token: undefined, mic: 3 }
      ])
    }))

  it.effect("a provider of any number of messages: the login ends", () =>
    Effect.gen(function* () {
      for (let legs = 1; legs <= 12; legs++) {
        for (const needsMic of [false, true]) {
          for (const integrity of [false, true]) {
            const both = simple("Kerberos", kerberosNames, legs, { needsMic, integrity })
            const { client, server } = yield* logIn(
              yield* initiate("integrity", Negotiate.makeClient([both])),
              yield* accept("integrity", Negotiate.server({ kerberos: both }))
            )
            assert.strictEqual(client.provider, server.provider)
          }
        }
      }
    }))

  it.effect("Kerberos from the client, and a server with NTLM alone: NTLM, one pair of messages more", () =>
    Effect.gen(function* () {
      const provider = Negotiate.makeClient([simple("Kerberos", kerberosNames, 3), Ntlm.client])
      const { client, server, tokens } = yield* logIn(yield* initiate("privacy", provider), yield* accept())
      assert.strictEqual(client.provider, "NTLM")
      assert.strictEqual(server.provider, "NTLM")
      assert.strictEqual(tokens.length, 6)
      assert.deepStrictEqual(shown(tokens[1]), {
        state: 3,
        mechanism: "1.3.6.1.4.1.311.2.2.10",
        token: undefined,
        mic: undefined
      })
      const init = parseInit(tokens[0]!)
      if (typeof init === "string") return assert.fail(init)
      assert.deepStrictEqual(init.mechanisms, [msKerberos, kerberos, ntlmName])
    }))

  it.effect("a provider that needs no signatures, but was not the first: both sides sign", () =>
    Effect.gen(function* () {
      const second = simple("Second", ["1.2.3"], 3, { needsMic: false })
      const { tokens } = yield* logIn(
        yield* initiate("privacy", Negotiate.makeClient([simple("Kerberos", kerberosNames, 3), second])),
        yield* accept("privacy", Negotiate.makeServer([second]))
      )
      assert.deepStrictEqual(
        tokens.slice(2).map((token) => parseResponse(token)).map((response) =>
          typeof response === "string" ? response : response.mic?.length
        ),
        [undefined, undefined, 3, 3]
      )
    }))

  it.effect("a first provider that can't begin: the next one is offered alone", () =>
    Effect.gen(function* () {
      for (const reason of ["noCredentials", "noTarget", "unavailable", "unsupported"] as const) {
        const provider = Negotiate.makeClient([simple("Kerberos", kerberosNames, 3, {}, reason), Ntlm.client])
        const { tokens } = yield* logIn(yield* initiate("privacy", provider), yield* accept())
        assert.strictEqual(tokens.length, 4)
        const init = parseInit(tokens[0]!)
        assert.deepStrictEqual(typeof init === "string" ? init : init.mechanisms, [ntlmName])
      }
      const refused = Negotiate.makeClient([simple("Kerberos", kerberosNames, 3, {}, "refused"), Ntlm.client])
      assert.strictEqual(yield* refusal(feed(initiate("privacy", refused), undefined)), "refused: Kerberos fails")
      const none = Negotiate.makeClient([
        simple("Kerberos", kerberosNames, 3, {}, "unavailable"),
        simple("Second", ["1.2.3"], 3, {}, "noCredentials")
      ])
      assert.strictEqual(
        yield* refusal(feed(initiate("privacy", none), undefined)),
        "noCredentials: no provider can log in. Kerberos fails; Second fails"
      )
    }))

  it("wrong providers: are refused by name", () => {
    assert.throws(() => Negotiate.server({}), /Negotiate.server: neither ntlm nor kerberos is given/)
    assert.throws(() => Negotiate.makeClient([]), /Negotiate.makeClient: no provider, expected at least one/)
    assert.throws(() => Negotiate.makeClient([Negotiate.client]), /the provider Negotiate can't be offered/)
    assert.throws(() => Negotiate.server({ ntlm, requireMic: 1 as never }), /Negotiate.makeServer: requireMic/)
  })
})

/** The beginnings of a login with NTLM, as the server sees them. */
const firstNtlm = Effect.gen(function* () {
  const { token } = yield* (yield* Ntlm.client.initiate(asked("privacy"))).step(undefined)
  return token!
})

describe("a server of Negotiate", () => {
  it.effect("the first provider known, with its token: is taken under exactly that name", () =>
    Effect.gen(function* () {
      const both = simple("Kerberos", kerberosNames, 3)
      for (const names of [[msKerberos, kerberos], [kerberos, msKerberos]]) {
        const init = encodeInit({ list: encodeList(names), token: Uint8Array.of(75, 0) })
        const { token } = yield* feed(accept("privacy", Negotiate.server({ kerberos: both })), init)
        const response = parseResponse(token!)
        assert.deepStrictEqual(typeof response === "string" ? response : response.mechanism, names[0])
      }
    }))

  it.effect("unknown providers before NTLM, as Windows sends them: NTLM is asked for, with signatures", () =>
    Effect.gen(function* () {
      const unknown = Uint8Array.of(6, 11, 0x69, 0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)
      const list = encodeList([msKerberos, kerberos, negoEx, unknown, ntlmName])
      const { token } = yield* feed(accept(), encodeInit({ list, token: Uint8Array.of(1) }))
      assert.deepStrictEqual(shown(token), {
        state: 3,
        mechanism: "1.3.6.1.4.1.311.2.2.10",
        token: undefined,
        mic: undefined
      })
    }))

  it.effect("an offer without a token: the server asks for it", () =>
    Effect.gen(function* () {
      const init = Der.application(
        0,
        Der.oid("1.3.6.1.5.5.2"),
        Der.field(0, Der.sequence(Der.field(0, encodeList([ntlmName]))))
      )
      const server = yield* accept()
      const first = yield* server.step(init)
      assert.deepStrictEqual(shown(first.token), {
        state: 1,
        mechanism: "1.3.6.1.4.1.311.2.2.10",
        token: undefined,
        mic: undefined
      })
      const second = yield* server.step(encodeResponse({ token: yield* firstNtlm }))
      assert.deepInclude(shown(second.token), { state: 1, mechanism: undefined })
    }))

  it.effect("NTLM without Negotiate's frame: is served as it comes", () =>
    Effect.gen(function* () {
      const { server, tokens } = yield* logIn(yield* Ntlm.client.initiate(asked("privacy")), yield* accept())
      assert.strictEqual(tokens.length, 3)
      assert.strictEqual(server.identity.name, "alice")
    }))

  it.effect("no signature where one is needed: the server sends its own and waits", () =>
    Effect.gen(function* () {
      const client = yield* initiate()
      const server = yield* accept()
      const first = yield* client.step(undefined)
      const second = yield* server.step(first.token)
      const third = yield* client.step(second.token)
      const full = parseResponse(third.token!)
      if (typeof full === "string") return assert.fail(full)
      const waiting = yield* server.step(encodeResponse({ token: full.token }))
      assert.isUndefined(waiting.session)
      assert.deepStrictEqual(shown(waiting.token), { state: 1, mechanism: undefined, token: undefined, mic: 16 })
      const end = yield* server.step(encodeResponse({ mic: full.mic }))
      assert.deepStrictEqual(shown(end.token), { state: 0, mechanism: undefined, token: undefined, mic: undefined })
      const done = yield* client.step(encodeResponse({ ...toResponse(waiting.token!), state: 0 }))
      const pdu = pduOf(new Uint8Array(32), 16)
      done.session!.protect(pdu, 24, 56, "privacy", true)
      assert.isTrue(end.session!.unprotect(pdu, 24, 56, "privacy", true))
    }))

  it.effect("no signature at all: refused unless allowed", () =>
    Effect.gen(function* () {
      const login = (requireMic: boolean) =>
        Effect.gen(function* () {
          const client = yield* initiate()
          const server = yield* accept("privacy", Negotiate.server({ ntlm, requireMic }))
          const third = yield* client.step((yield* server.step((yield* client.step(undefined)).token)).token)
          const without = encodeResponse({ token: toResponse(third.token!).token })
          const fourth = yield* server.step(without)
          return fourth.session === undefined ? yield* server.step(encodeResponse({})) : fourth
        })
      assert.match(yield* refusal(login(true)), /^tampered: the list of providers has no signature/)
      assert.isDefined((yield* Effect.scoped(login(false))).session)
    }))

  it.effect("an anonymous client of Samba: no signatures, and a bare end", () =>
    Effect.gen(function* () {
      const server = yield* accept("integrity")
      yield* server.step(encodeInit({ list: encodeList([ntlmName]), token: yield* firstNtlm }))
      const anonymous = new Uint8Array(88)
      anonymous.set([0x4e, 0x54, 0x4c, 0x4d, 0x53, 0x53, 0x50, 0, 3])
      new DataView(anonymous.buffer).setUint32(60, 0x62008a15, true)
      const { session, token } = yield* server.step(encodeResponse({ token: anonymous }))
      assert.isTrue(session!.identity.anonymous)
      assert.deepStrictEqual(shown(token), { state: 0, mechanism: undefined, token: undefined, mic: undefined })
    }))

  it.effect("a message of a server of Windows 2000, with its token twice: is taken as without signature", () =>
    Effect.gen(function* () {
      const token = yield* firstNtlm
      const server = yield* accept()
      yield* server.step(encodeInit({ list: encodeList([msKerberos, ntlmName]), token: Uint8Array.of(1) }))
      const { token: answer } = yield* server.step(encodeResponse({ token, mic: token }))
      assert.deepInclude(shown(answer), { state: 1, mic: undefined })
    }))

  it.effect("hostile messages: refused", () =>
    Effect.gen(function* () {
      const ntlmToken = yield* firstNtlm
      const good = encodeInit({ list: encodeList([ntlmName]), token: ntlmToken })
      const mic = new Uint8Array(16)
      for (
        const [said, ...tokens] of [
          ["refused: DER: the data ends within an element", undefined],
          ["refused: DER: the data ends within an element", new Uint8Array(0)],
          ["refused: DER: unexpected element, got tag 0xa1, expected 0x60", encodeResponse({ token: ntlmToken })],
          ["refused: the token is too long, got 65537 bytes, expected at most 65536", new Uint8Array(65_537)],
          [
            "refused: SPNEGO: the token is one of another protocol",
            Der.application(0, Der.oid("1.2.3"), Uint8Array.of(1, 0))
          ],
          [
            "refused: DER: a list of more than 16 elements",
            encodeInit({ list: encodeList(Array(17).fill(ntlmName)), token: ntlmToken })
          ],
          [
            "refused: the client offers none of the server's providers",
            encodeInit({ list: encodeList([msKerberos]), token: ntlmToken })
          ],
          [
            "refused: the client offers none of the server's providers",
            encodeInit({ list: encodeList([]), token: mic })
          ],
          ["refused: SPNEGO: a mechanism is no object identifier", encodeInit({ list: encodeList([mic]), token: mic })],
          [
            "refused: a signature of the list of providers before the end of the login",
            Der.application(
              0,
              Der.oid("1.3.6.1.5.5.2"),
              Der.field(
                0,
                Der.sequence(
                  Der.field(0, encodeList([ntlmName])),
                  Der.field(2, Der.octets(ntlmToken)),
                  Der.field(3, Der.octets(mic))
                )
              )
            )
          ],
          ["refused: DER: unexpected element, got tag 0x60, expected 0xa1", good, good],
          ["refused: the client sent no message of the provider", good, encodeResponse({ mic })],
          ["refused: the client gave the login up", good, encodeResponse({ state: 2 })],
          [
            "tampered: the client changed its choice of the provider",
            good,
            encodeResponse({ mechanism: msKerberos, token: mic })
          ],
          [
            "refused: SPNEGO: a field stands twice or in the wrong place",
            good,
            Der.field(1, Der.sequence(Der.field(2, Der.octets(mic)), Der.field(2, Der.octets(mic))))
          ],
          ["refused: NTLM: the message is not NTLM's message 3", good, encodeResponse({ token: ntlmToken })]
        ] as ReadonlyArray<readonly [string, ...Array<Uint8Array | undefined>]>
      ) assert.strictEqual(yield* refusal(feed(accept(), ...tokens)), said)
    }))

  it.effect("a signature before the provider is done: refused", () =>
    Effect.gen(function* () {
      const both = simple("Kerberos", kerberosNames, 5)
      const init = encodeInit({ list: encodeList([msKerberos]), token: Uint8Array.of(75, 0) })
      const early = encodeResponse({ token: Uint8Array.of(75, 2), mic: new Uint8Array(3) })
      assert.strictEqual(
        yield* refusal(feed(accept("privacy", Negotiate.server({ kerberos: both })), init, early)),
        "refused: a signature of the list of providers before the end of the login"
      )
    }))

  it.effect("a login without end: refused after ten messages", () =>
    Effect.gen(function* () {
      const both = simple("Kerberos", kerberosNames, 1000)
      assert.strictEqual(
        yield* refusal(Effect.gen(function* () {
          return yield* logIn(
            yield* initiate("privacy", both),
            yield* accept("privacy", Negotiate.server({ kerberos: both }))
          )
        })),
        "refused: the login has no end after 10 messages"
      )
    }))

  it.effect("unknown fields: are skipped", () =>
    Effect.gen(function* () {
      const init = Der.application(
        0,
        Der.oid("1.3.6.1.5.5.2"),
        Der.field(
          0,
          Der.sequence(
            Der.field(0, encodeList([ntlmName])),
            Der.field(1, Uint8Array.of(3, 2, 1, 0)),
            Der.field(2, Der.octets(yield* firstNtlm)),
            Der.field(9, Der.octets(new Uint8Array(5)))
          )
        )
      )
      assert.deepInclude(shown((yield* feed(accept(), init)).token), { state: 1 })
    }))
})

const toResponse = (token: Uint8Array) => {
  const response = parseResponse(token)
  if (typeof response === "string") throw new Error(response)
  return response
}

describe("a client of Negotiate", () => {
  const both = simple("Kerberos", kerberosNames, 3)
  const provider = Negotiate.makeClient([both, Ntlm.client])
  const second = Uint8Array.of(75, 1)

  it.effect("hostile answers: refused", () =>
    Effect.gen(function* () {
      const good = encodeResponse({ state: 1, mechanism: msKerberos, token: second })
      for (
        const [said, ...tokens] of [
          ["refused: DER: the data ends within an element", new Uint8Array(0)],
          ["refused: the server refused the login", encodeResponse({ state: 2 })],
          [
            "refused: the server chose a provider that was not offered",
            encodeResponse({ state: 1, mechanism: negoEx })
          ],
          [
            "refused: the server chose another provider, and answered the first",
            encodeResponse({ state: 1, mechanism: ntlmName, token: second })
          ],
          ["refused: the server sent no message of the provider", encodeResponse({ state: 1, mechanism: msKerberos })],
          [
            "tampered: the signature of the list of providers is wrong",
            encodeResponse({ state: 1, mechanism: msKerberos, token: second, mic: Uint8Array.of(1) })
          ],
          ["refused: the server ended the login too early", encodeResponse({ state: 0, token: second })],
          [
            "tampered: the server changed its choice of the provider",
            good,
            encodeResponse({ state: 1, mechanism: ntlmName })
          ],
          ["refused: the server asked for signatures too late", good, encodeResponse({ state: 3 })],
          [
            "refused: the server sent a message after the provider's last one",
            good,
            encodeResponse({ state: 1, token: second })
          ],
          [
            "tampered: the list of providers has no signature. The option requireMic: false allows it.",
            good,
            encodeResponse({
              state: 0
            })
          ],
          [
            "tampered: the signature of the list of providers is wrong",
            good,
            encodeResponse({
              state: 0,
              mic: Uint8Array.of(1, 2, 3)
            })
          ],
          ["refused: the server does not end the login", good, encodeResponse({ state: 1 })]
        ] as ReadonlyArray<readonly [string, ...Array<Uint8Array>]>
      ) assert.strictEqual(yield* refusal(feed(initiate("privacy", provider), undefined, ...tokens)), said)
    }))

  it.effect("a server that never signs: let in by the option", () =>
    Effect.gen(function* () {
      const lenient = Negotiate.makeClient([both], { requireMic: false })
      const good = encodeResponse({ state: 1, mechanism: msKerberos, token: second })
      const { session } = yield* feed(initiate("privacy", lenient), undefined, good, encodeResponse({ state: 0 }))
      assert.isDefined(session)
    }))

  it.effect("a server that wants the first provider under its other name: begins anew", () =>
    Effect.gen(function* () {
      const { token } = yield* feed(
        initiate("privacy", provider),
        undefined,
        encodeResponse({ state: 3, mechanism: kerberos })
      )
      assert.deepStrictEqual(toResponse(token!), { token: Uint8Array.of(75, 0) })
    }))

  it.effect("an offer that somebody shortened on the way: noticed by both sides", () =>
    Effect.gen(function* () {
      const said = refusal(Effect.gen(function* () {
        return yield* logIn(
          yield* initiate("privacy", provider),
          yield* accept("privacy", Negotiate.server({ kerberos: both, ntlm })),
          (token, index) => {
            if (index !== 0) return token
            // Kerberos is taken away, so that NTLM is left.
            return encodeInit({ list: encodeList([ntlmName]), token: new Uint8Array(0) })
          }
        )
      }))
      assert.match(yield* said, /^refused/)
      const switching = refusal(Effect.gen(function* () {
        return yield* logIn(
          yield* initiate("privacy", provider),
          yield* accept("privacy", Negotiate.server({ kerberos: both, ntlm })),
          (token, index) =>
            index === 0 ? encodeInit({ list: encodeList([negoEx, ntlmName]), token: Uint8Array.of(1) }) : token
        )
      }))
      assert.strictEqual(yield* switching, "tampered: the signature of the list of providers is wrong")
    }))
})
