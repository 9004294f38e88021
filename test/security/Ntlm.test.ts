import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import { hmacMd5 } from "../../src/security/internal/md5.ts"
import { responseKeyOf, toUpper } from "../../src/security/internal/ntlmKeys.ts"
import {
  av,
  encodeAuthenticate,
  encodeChallenge,
  encodeClaims,
  encodeNegotiate,
  flag,
  fromU32,
  micOffset,
  type Pair,
  parseChallenge,
  toUtf16
} from "../../src/security/internal/ntlmMessages.ts"
import { rc4 } from "../../src/security/internal/rc4.ts"
import * as Ntlm from "../../src/security/Ntlm.ts"
import type {
  AcceptOptions,
  Credentials,
  Exchange,
  InitiateOptions,
  LoginFailure,
  ProtectionLevel,
  Step
} from "../../src/security/Security.ts"
import { logIn, pduOf } from "./logins.ts"

const password = Redacted.make("Secret-1")
const account: Ntlm.Account = { ntHash: Ntlm.hash(password), groups: ["staff"] }
const accounts: Ntlm.Accounts = ({ user }) => user.toLowerCase() === "alice" ? account : undefined
const credentials: Credentials = { user: "alice", domain: "CORP", password }

const initiate = (asked: Partial<InitiateOptions> = {}, options?: Ntlm.ClientOptions) =>
  Ntlm.makeClient(options).initiate({
    level: "privacy",
    target: "host/files",
    credentials,
    impersonation: "impersonate",
    mutual: false,
    channelBindings: undefined,
    ...asked
  })

const accept = (options?: Ntlm.ServerOptions, asked: Partial<AcceptOptions> = {}, from: Ntlm.Accounts = accounts) =>
  Ntlm.server(from, options).accept({ level: "privacy", channelBindings: undefined, peer: "test", ...asked })

const levels = ["connect", "packet", "integrity", "privacy"] as const

/** A client made by hand, which can do what ours does not. */
interface Forged {
  readonly flags?: number
  readonly sendFlags?: number
  readonly user?: string
  readonly domain?: string
  readonly provenDomain?: string
  readonly pairs?: (pairs: ReadonlyArray<Pair>) => ReadonlyArray<Pair>
  readonly mic?: boolean
  readonly key?: boolean
  readonly ntResponse?: (response: Uint8Array) => Uint8Array
}

const usual = flag.unicode | flag.requestTarget | flag.sign | flag.seal | flag.ntlm | flag.alwaysSign |
  flag.extendedSecurity | flag.version | flag.key128 | flag.keyExchange

const ntHash = Redacted.value(account.ntHash)

const forge = Effect.fnUntraced(function* (server: Exchange, forged: Forged = {}) {
  const { domain = "CORP", flags = usual, mic = true, user = "alice" } = forged
  const negotiate = encodeNegotiate(flags >>> 0)
  const { token: challenge } = yield* server.step(negotiate)
  const message = parseChallenge(challenge!)
  if (typeof message === "string") return assert.fail(message)
  const pairs = [...message.pairs, ...mic ? [{ id: av.flags, value: fromU32(2) }] : []]
  const claims = encodeClaims(new Uint8Array(8), new Uint8Array(8), forged.pairs?.(pairs) ?? pairs)
  const responseKey = responseKeyOf(ntHash, user, forged.provenDomain ?? domain)
  const proof = hmacMd5(responseKey, message.challenge, claims)
  const baseKey = hmacMd5(responseKey, proof)
  const exports = (flags & flag.keyExchange) !== 0
  const key = exports ? new Uint8Array(16).fill(0x55) : baseKey
  const response = Uint8Array.of(...proof, ...claims)
  const authenticate = encodeAuthenticate({
    flags: (forged.sendFlags ?? flags) >>> 0,
    domain,
    user,
    workstation: "",
    lmResponse: new Uint8Array(24),
    ntResponse: forged.ntResponse?.(response) ?? response,
    sessionKey: exports && forged.key !== false ? rc4(baseKey, key) : new Uint8Array(0)
  })
  if (mic) authenticate.set(hmacMd5(key, negotiate, challenge!, authenticate), micOffset)
  return authenticate
})

const anonymous = (flags: number) =>
  encodeAuthenticate({
    flags: flags >>> 0,
    domain: "",
    user: "",
    workstation: "",
    lmResponse: new Uint8Array(1),
    ntResponse: new Uint8Array(0),
    sessionKey: new Uint8Array(0)
  })

/** The failure of a login, in short. */
const refusal = <A>(login: Effect.Effect<A, LoginFailure, Scope.Scope>) =>
  Effect.scoped(Effect.flip(login)).pipe(
    Effect.map(({ detail, reason }) => `${reason}: ${detail.replace(/^NTLM: /, "")}`)
  )

/** How the server refuses what a forged client sends. */
const refusalOf = (forged: Forged, options?: Ntlm.ServerOptions, asked?: Partial<AcceptOptions>) =>
  refusal(Effect.gen(function* () {
    const server = yield* accept(options, asked)
    return yield* server.step(yield* forge(server, forged))
  }))

/** How the server refuses a changed message of our own client. */
const refusalOfChanged = (change: (token: Uint8Array, view: DataView) => Uint8Array | void) =>
  refusal(Effect.gen(function* () {
    const server = yield* accept()
    const token = yield* forge(server)
    return yield* server.step(change(token, new DataView(token.buffer)) ?? token)
  }))

describe("a login with NTLM", () => {
  for (const level of levels) {
    it.effect(`the level ${level}: both sides agree, and protect messages both ways`, () =>
      Effect.gen(function* () {
        const { client, server } = yield* logIn(yield* initiate({ level }), yield* accept({}, { level }))
        assert.deepStrictEqual(server.identity, {
          name: "alice",
          domain: "CORP",
          anonymous: false,
          impersonation: "impersonate",
          groups: ["staff"]
        })
        for (const session of [client, server]) {
          assert.strictEqual(session.integrity, level !== "connect")
          assert.strictEqual(session.confidentiality, level === "privacy")
          assert.strictEqual(session.needsMic, level !== "connect")
          assert.strictEqual(session.signatureSize(level), level === "connect" ? 0 : 16)
          assert.isFalse(session.mutual)
        }
        assert.deepStrictEqual(Redacted.value(client.sessionKey), Redacted.value(server.sessionKey))
        if (level === "connect") return
        for (const size of [0, 16, 5792]) {
          for (const [sender, receiver] of [[client, server], [server, client], [client, server]] as const) {
            const body = Uint8Array.from({ length: size }, (_, i) => i)
            const pdu = pduOf(body, 16)
            sender.protect(pdu, 24, 24 + size, level, false)
            if (level === "privacy" && size > 0) assert.notDeepEqual(pdu.slice(24, 24 + size), body)
            assert.isTrue(receiver.unprotect(pdu, 24, 24 + size, level, false))
            assert.deepStrictEqual(pdu.slice(24, 24 + size), body)
          }
        }
      }))
  }

  it.effect("a client that asks for less than the server's side: the first protected message fails", () =>
    Effect.gen(function* () {
      for (const level of ["packet", "integrity"] as const) {
        const { server } = yield* logIn(yield* initiate({ level: "connect" }), yield* accept({}, { level }))
        assert.isFalse(server.integrity)
        assert.isFalse(server.unprotect(pduOf(new Uint8Array(16), 16), 24, 40, level, false))
      }
      assert.strictEqual(
        yield* refusal(Effect.gen(function* () {
          return yield* logIn(yield* initiate({ level: "integrity" }), yield* accept({}, { level: "privacy" }))
        })),
        "unsupported: the client lacks sealing"
      )
      const { server } = yield* logIn(yield* initiate(), yield* accept({}, { level: "connect" }))
      assert.isTrue(server.confidentiality)
    }))

  it.effect("credentials of each form: log in", () =>
    Effect.gen(function* () {
      for (
        const given of [
          { user: "ALICE", password },
          { user: "alice", domain: "corp", ntHash: account.ntHash },
          { user: "Alice", domain: "", ntHash: account.ntHash }
        ]
      ) {
        const { server } = yield* logIn(yield* initiate({ credentials: given }), yield* accept())
        assert.strictEqual(server.identity.name, given.user)
      }
    }))

  it.effect("a name in the account: is the one that access checks see", () =>
    Effect.gen(function* () {
      const named = () => Effect.succeed({ ...account, name: "alice", domain: "corp.example" })
      const { server } = yield* logIn(
        yield* initiate({ credentials: { user: "ALICE", password } }),
        yield* accept({}, {}, named)
      )
      assert.deepInclude(server.identity, { name: "alice", domain: "corp.example", groups: ["staff"] })
    }))

  it.effect("the impersonation identify: the server learns it", () =>
    Effect.gen(function* () {
      const { server } = yield* logIn(yield* initiate({ impersonation: "identify" }), yield* accept())
      assert.strictEqual(server.identity.impersonation, "identify")
    }))

  it.effect("a wrong password and an unknown user: the same words, and the same search for an account", () =>
    Effect.gen(function* () {
      const failures: Array<unknown> = []
      for (
        const given of [
          { user: "alice", domain: "CORP", password: Redacted.make("wrong") },
          { user: "nobody", domain: "CORP", password },
          { user: "nobody", domain: "CORP", ntHash: Redacted.make(new Uint8Array(16)) }
        ]
      ) {
        const failure = yield* Effect.flip(
          Effect.gen(function* () {
            return yield* logIn(yield* initiate({ credentials: given }), yield* accept())
          })
        )
        failures.push({ reason: failure.reason, detail: failure.detail })
        assert.strictEqual(failure.claimed, `CORP\\${given.user}`)
      }
      assert.deepStrictEqual(failures[0], { reason: "refused", detail: "NTLM: wrong user name or password" })
      assert.deepStrictEqual(failures[1], failures[0])
      assert.deepStrictEqual(failures[2], failures[0])
    }))

  it.effect("accounts that can't be read: the login fails as unavailable", () =>
    Effect.gen(function* () {
      for (
        const [from, problem] of [
          [() => Effect.fail("no database"), /^unavailable: the accounts can't be read: .*no database/],
          [
            () => ({ ntHash: Redacted.make(new Uint8Array(15)) }),
            /^unavailable: the account's ntHash has the wrong size/
          ],
          [
            (): never => {
              throw new Error("a fault of the program")
            },
            /^unavailable: the accounts can't be read: .*a fault of the program/
          ]
        ] as ReadonlyArray<readonly [Ntlm.Accounts, RegExp]>
      ) {
        const said = yield* refusal(Effect.gen(function* () {
          return yield* logIn(yield* initiate(), yield* accept({}, {}, from))
        }))
        assert.match(said, problem)
      }
    }))

  it.effect("credentials of no use: refused before anything is sent", () =>
    Effect.gen(function* () {
      const wiped = Redacted.make("x")
      Redacted.wipeUnsafe(wiped)
      for (
        const [given, problem] of [
          [{ user: "", password }, "the credentials have no user. Leave security out to call anonymously."],
          [
            { user: "a", keytab: Redacted.make(new Uint8Array(1)) },
            "the credentials have neither password nor ntHash."
          ],
          [
            { user: "a", ntHash: Redacted.make(new Uint8Array(8)) },
            "ntHash has the wrong size, got 8 bytes, expected 16."
          ],
          [{ user: "a", password: wiped }, "the password or ntHash was wiped."]
        ] as ReadonlyArray<readonly [Credentials, string]>
      ) assert.strictEqual(yield* refusal(initiate({ credentials: given })), `noCredentials: ${problem}`)
    }))

  it.effect("an ended scope: both sides can protect nothing more", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { client, server } = yield* logIn(
        yield* Scope.provide(initiate(), scope),
        yield* Scope.provide(accept(), scope)
      )
      const key = Redacted.value(client.sessionKey)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(key, new Uint8Array(16))
      for (const session of [client, server]) {
        assert.throws(() => Redacted.value(session.sessionKey))
        assert.throws(() => session.protect(pduOf(new Uint8Array(16), 16), 24, 40, "privacy", true), /has ended/)
        assert.isFalse(session.unprotect(pduOf(new Uint8Array(16), 16), 24, 40, "privacy", true))
      }
      assert.strictEqual(Redacted.value(account.ntHash).length, 16)
      assert.notDeepEqual(Redacted.value(account.ntHash), new Uint8Array(16))
    }))

  it("upper case: one character becomes one", () => {
    assert.strictEqual(toUpper("straße ﬁ é"), "STRAßE ﬁ É")
  })

  it("wrong options: are refused by name", () => {
    assert.throws(() => Ntlm.server(accounts, { computer: "a name with 23 letters" }), /Ntlm.server: computer has 22/)
    assert.throws(() => Ntlm.server(accounts, { dnsDomain: "" }), /Ntlm.server: dnsDomain has 0 characters/)
    assert.throws(
      () => Ntlm.server(accounts, { channelBindings: "sometimes" as never }),
      /Ntlm.server: channelBindings/
    )
    assert.throws(() => Ntlm.server(accounts, { requireMic: 1 as never }), /Ntlm.server: requireMic/)
    assert.throws(() => Ntlm.makeClient({ allowWeakKeys: "no" as never }), /Ntlm.makeClient: allowWeakKeys/)
  })
})

describe("a server of NTLM", () => {
  it.effect("a client made by hand: logs in", () =>
    Effect.gen(function* () {
      const server = yield* accept()
      const { session } = yield* server.step(yield* forge(server))
      assert.strictEqual(session!.identity.name, "alice")
    }))

  it.effect("a field out of the message: refused", () =>
    Effect.gen(function* () {
      for (const [at, name] of [[12, "LM response"], [20, "NT response"], [28, "domain"], [36, "user"]] as const) {
        const past = yield* refusalOfChanged((token, view) => view.setUint32(at + 4, token.length - 1, true))
        assert.match(past, new RegExp(`^refused: ${name}: out of the message, got \\d+ bytes at`))
        const huge = yield* refusalOfChanged((_, view) => view.setUint32(at + 4, 0xffffffff, true))
        assert.match(huge, new RegExp(`^refused: ${name}: out of the message`))
        const inHeader = yield* refusalOfChanged((_, view) => view.setUint32(at + 4, 8, true))
        assert.match(inHeader, new RegExp(`^refused: ${name}: out of the message`))
        const long = yield* refusalOfChanged((_, view) => view.setUint16(at, 0xfffe, true))
        assert.match(long, new RegExp(`^refused: ${name}: out of the message`))
      }
      assert.match(
        yield* refusal(Effect.gen(function* () {
          const negotiate = encodeNegotiate(usual >>> 0)
          negotiate[16] = 1
          negotiate[20] = 40
          return yield* (yield* accept()).step(negotiate)
        })),
        /^refused: domain: out of the message, got 1 bytes at 40 of 40/
      )
    }))

  it.effect("the offset of an empty field: is not looked at", () =>
    Effect.gen(function* () {
      const server = yield* accept({ requireMic: false })
      const token = yield* forge(server, { mic: false })
      new DataView(token.buffer).setUint32(48, 0xffffffff, true)
      assert.isDefined((yield* server.step(token)).session)
    }))

  it.effect("fields that share their bytes: are read as they stand", () =>
    Effect.gen(function* () {
      const server = yield* accept({ requireMic: false })
      const token = yield* forge(server, { mic: false, domain: "alice" })
      const view = new DataView(token.buffer)
      view.setUint32(40, view.getUint32(32, true), true)
      assert.deepInclude((yield* server.step(token)).session!.identity, { name: "alice", domain: "alice" })
    }))

  it.effect("half a character: refused", () =>
    Effect.gen(function* () {
      for (const [at, name] of [[28, "domain"], [36, "user"]] as const) {
        assert.strictEqual(
          yield* refusalOfChanged((_, view) => view.setUint16(at, 7, true)),
          `refused: ${name}: half a character of UTF-16, got 7 bytes`
        )
      }
    }))

  it.effect("a list of pairs without end, or with a pair longer than it: refused", () =>
    Effect.gen(function* () {
      const noEnd = "refused: NT response: the list has no end"
      assert.strictEqual(yield* refusalOf({ ntResponse: (response) => response.slice(0, -8) }), noEnd)
      const longer = (response: Uint8Array) => {
        new DataView(response.buffer).setUint16(16 + 28 + 2, 0xffff, true)
        return response
      }
      assert.strictEqual(yield* refusalOf({ ntResponse: longer }), noEnd)
    }))

  it.effect("pairs twice: the first ones count", () =>
    Effect.gen(function* () {
      const server = yield* accept()
      const again = (pairs: ReadonlyArray<Pair>) => [
        ...pairs,
        ...pairs.map(({ id, value }) => ({ id, value: new Uint8Array(value.length) }))
      ]
      assert.isDefined((yield* server.step(yield* forge(server, { pairs: again }))).session)
      assert.match(
        yield* refusalOf({ pairs: (pairs) => [{ id: av.computer, value: toUtf16("OTHER") }, ...pairs] }),
        /^refused: the client changed the server's names/
      )
    }))

  it.effect("names or time of the server changed or missing: refused", () =>
    Effect.gen(function* () {
      for (const id of [av.computer, av.domain, av.timestamp]) {
        for (
          const change of [
            (pairs: ReadonlyArray<Pair>) => pairs.filter((pair) => pair.id !== id),
            (pairs: ReadonlyArray<Pair>) =>
              pairs.map((pair) => pair.id === id ? { id, value: pair.value.map((byte) => byte ^ 1) } : pair)
          ]
        ) {
          assert.strictEqual(
            yield* refusalOf({ pairs: change }),
            "refused: the client changed the server's names or time"
          )
        }
      }
    }))

  it.effect("flags that were not offered: do not count", () =>
    Effect.gen(function* () {
      const server = yield* accept({}, { level: "integrity" })
      const flags = usual & ~flag.seal
      const { session } = yield* server.step(yield* forge(server, { flags, sendFlags: usual }))
      assert.isFalse(session!.confidentiality)
    }))

  it.effect("flags that a login must have: refused without", () =>
    Effect.gen(function* () {
      for (
        const [without, lacking] of [
          [flag.unicode, "Unicode"],
          [flag.extendedSecurity, "extended session security"],
          [flag.key128, "keys of 128 bits"],
          [flag.sign, "signing"],
          [flag.seal, "sealing"]
        ] as const
      ) {
        const said = `unsupported: the client lacks ${lacking}`
        assert.strictEqual(yield* refusalOf({ sendFlags: usual & ~without }), said)
        assert.strictEqual(yield* refusalOf({ flags: usual & ~without }), said)
      }
      const server = yield* accept({ allowWeakKeys: true })
      const flags = usual & ~flag.key128
      assert.isDefined((yield* server.step(yield* forge(server, { flags }))).session)
    }))

  it.effect("the second message first, or once more: refused", () =>
    Effect.gen(function* () {
      const server = yield* accept()
      const token = yield* forge(server)
      assert.match(
        yield* refusal(Effect.flatMap(accept(), (other) => other.step(token))),
        /^refused: the message is not NTLM's message 1/
      )
      yield* server.step(token)
      assert.strictEqual(yield* refusal(server.step(token)), "refused: a message after the end of the login")
      assert.match(
        yield* refusal(Effect.gen(function* () {
          const other = yield* accept()
          yield* other.step(encodeNegotiate(usual >>> 0))
          return yield* other.step(token)
        })),
        /^refused: wrong user name or password/
      )
    }))

  it.effect("a failed login: takes no further message", () =>
    Effect.gen(function* () {
      const server = yield* accept()
      const token = yield* forge(server)
      yield* refusal(server.step(token.map((byte, i) => i === 100 ? byte ^ 1 : byte)))
      assert.strictEqual(yield* refusal(server.step(token)), "refused: a message after the end of the login")
    }))

  it.effect("a key exchange without key: refused where messages are protected", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* refusalOf({ key: false }), "refused: the session key has 0 bytes, expected 16")
      const server = yield* accept({ requireMic: false }, { level: "connect" })
      const flags = usual & ~flag.sign & ~flag.seal
      assert.isDefined((yield* server.step(yield* forge(server, { key: false, mic: false, flags }))).session)
    }))

  it.effect("a surplus key at the level connect: is taken", () =>
    Effect.gen(function* () {
      const server = yield* accept({}, { level: "connect" })
      const { session } = yield* server.step(yield* forge(server, { flags: usual & ~flag.sign & ~flag.seal }))
      assert.deepStrictEqual(Redacted.value(session!.sessionKey), new Uint8Array(16).fill(0x55))
    }))

  it.effect("a message above 2888 bytes, or too short: refused", () =>
    Effect.gen(function* () {
      const longest = (response: Uint8Array) => Uint8Array.of(...response, ...new Uint8Array(2889))
      assert.match(
        yield* refusalOf({ ntResponse: longest }),
        /^refused: the message is too long, got \d+ bytes, expected at most 2888/
      )
      assert.match(yield* refusalOfChanged((token) => token.slice(0, 63)), /^refused: message 3 is too short, got 63/)
      assert.match(
        yield* refusal(Effect.flatMap(accept(), (server) => server.step(encodeNegotiate(1).slice(0, 31)))),
        /^refused: message 1 is too short, got 31 bytes, expected at least 32/
      )
      for (const token of [undefined, new Uint8Array(0), new Uint8Array(40)]) {
        assert.match(
          yield* refusal(Effect.flatMap(accept(), (server) => server.step(token))),
          /^refused: the message is not NTLM's message 1/
        )
      }
    }))

  it.effect("a first message of 32 bytes, as Impacket sends it: is taken", () =>
    Effect.gen(function* () {
      const server = yield* accept()
      assert.isDefined((yield* server.step(encodeNegotiate(usual >>> 0).slice(0, 32))).token)
    }))

  it.effect("a response of version 1: refused", () =>
    Effect.gen(function* () {
      for (const size of [1, 24]) {
        assert.strictEqual(
          yield* refusalOf({ ntResponse: () => new Uint8Array(size) }),
          "refused: NT response: version 1 is refused"
        )
      }
      assert.strictEqual(
        yield* refusalOf({ ntResponse: () => new Uint8Array(25) }),
        "refused: NT response: not of version 2"
      )
    }))

  it.effect("a login without check sum: refused unless allowed", () =>
    Effect.gen(function* () {
      assert.match(yield* refusalOf({ mic: false }), /^refused: the client sent no check sum/)
      const server = yield* accept({ requireMic: false })
      const { session } = yield* server.step(yield* forge(server, { mic: false }))
      assert.isFalse(session!.needsMic)
    }))

  it.effect("a wrong check sum, or no room for it: refused as tampered, also where none is required", () =>
    Effect.gen(function* () {
      const said = "tampered: the check sum of the login is wrong"
      assert.strictEqual(yield* refusalOfChanged((token) => void (token[micOffset]! ^= 1)), said)
      const pairs = (pairs: ReadonlyArray<Pair>) => [...pairs, { id: av.flags, value: fromU32(2) }]
      assert.strictEqual(yield* refusalOf({ mic: false, pairs }, { requireMic: false }), said)
    }))

  it.effect("a first message or challenge changed on the way: noticed", () =>
    Effect.gen(function* () {
      for (const [index, at, said] of [[0, 32, "the check sum"], [1, 48, "the check sum"]] as const) {
        const failure = yield* refusal(Effect.gen(function* () {
          return yield* logIn(yield* initiate(), yield* accept(), (token, i) => {
            if (i === index) token[at]! ^= 1
            return token
          })
        }))
        assert.match(failure, new RegExp(`^tampered: ${said}`))
      }
    }))

  it.effect("a response without domain though the client sends one: is taken", () =>
    Effect.gen(function* () {
      const server = yield* accept()
      assert.isDefined((yield* server.step(yield* forge(server, { provenDomain: "" }))).session)
      assert.match(yield* refusalOf({ provenDomain: "OTHER" }), /^refused: wrong user name or password/)
    }))

  it.effect("an answer after 30 minutes: refused", () =>
    Effect.gen(function* () {
      for (const [minutes, good] of [[30, true], [31, false]] as const) {
        const server = yield* accept()
        const token = yield* forge(server)
        yield* TestClock.adjust(minutes * 60_000)
        const result = yield* Effect.result(server.step(token))
        assert.strictEqual(result._tag, good ? "Success" : "Failure")
      }
    }))

  it.effect("channel bindings: compared as the policy says", () =>
    Effect.gen(function* () {
      const own = new Uint8Array(16).fill(7)
      const other = new Uint8Array(16).fill(8)
      const cases = [
        ["whenSupported", undefined, undefined, true],
        ["whenSupported", undefined, own, true],
        ["whenSupported", own, own, true],
        ["whenSupported", other, own, false],
        ["whenSupported", own, undefined, false],
        ["always", undefined, own, false],
        ["always", own, own, true],
        ["always", other, own, false],
        ["always", own, undefined, false],
        ["never", other, own, true],
        ["never", undefined, own, true]
      ] as const
      for (const [policy, sent, expected, good] of cases) {
        const result = yield* Effect.result(Effect.gen(function* () {
          const server = yield* accept({ channelBindings: policy }, { channelBindings: expected })
          return yield* logIn(yield* initiate({ channelBindings: sent }), server)
        }))
        assert.strictEqual(result._tag, good ? "Success" : "Failure", `${policy} ${sent?.[0]} ${expected?.[0]}`)
      }
      const absent = yield* refusalOf({}, { channelBindings: "always" }, { channelBindings: own })
      assert.strictEqual(absent, "refused: the client did not bind the login to the connection")
    }))

  it.effect("target names: only those of the option are taken", () =>
    Effect.gen(function* () {
      const targets = ["HOST/files"]
      assert.isDefined(yield* logIn(yield* initiate(), yield* accept({ targets })))
      assert.strictEqual(
        yield* refusal(Effect.gen(function* () {
          return yield* logIn(yield* initiate({ target: "cifs/files" }), yield* accept({ targets }))
        })),
        `refused: the client wants another target, got "cifs/files"`
      )
      assert.strictEqual(
        yield* refusalOf({}, { targets }),
        `refused: the client wants another target, got ""`
      )
    }))

  it.effect("an anonymous client, with and without session security: logs in, and protects nothing", () =>
    Effect.gen(function* () {
      for (const flags of [0x62008a05, 0x62008a15, 0x62088a15]) {
        for (const level of ["connect", "packet", "integrity"] as const) {
          const server = yield* accept({}, { level })
          yield* server.step(encodeNegotiate(usual >>> 0))
          const { session } = yield* server.step(anonymous(flags))
          assert.deepInclude(session!.identity, { name: undefined, domain: undefined, anonymous: true })
          assert.isFalse(session!.integrity)
          assert.isFalse(session!.needsMic)
          if (level === "connect") continue
          assert.isFalse(session!.unprotect(pduOf(new Uint8Array(16), 16), 24, 40, level, false))
        }
      }
    }))

  it.effect("an anonymous client: refused at privacy, or by the option", () =>
    Effect.gen(function* () {
      const said = (options: Ntlm.ServerOptions, level: ProtectionLevel) =>
        refusal(Effect.gen(function* () {
          const server = yield* accept(options, { level })
          yield* server.step(encodeNegotiate(usual >>> 0))
          return yield* server.step(anonymous(0x62088a35))
        }))
      assert.strictEqual(yield* said({}, "privacy"), "unsupported: an anonymous client can't seal messages")
      assert.strictEqual(
        yield* said({ acceptAnonymous: false }, "connect"),
        "refused: anonymous clients may not log in"
      )
    }))
})

describe("a client of NTLM", () => {
  const pairs: ReadonlyArray<Pair> = [
    { id: av.domain, value: toUtf16("CORP") },
    { id: av.computer, value: toUtf16("FILES") },
    { id: av.timestamp, value: new Uint8Array(8) }
  ]
  const challenge = (changed: { readonly flags?: number; readonly pairs?: ReadonlyArray<Pair> } = {}) =>
    encodeChallenge({
      flags: (changed.flags ?? usual | flag.targetInfo) >>> 0,
      target: "CORP",
      challenge: new Uint8Array(8),
      pairs: changed.pairs ?? pairs
    })
  const answer = (token: Uint8Array | undefined, asked?: Partial<InitiateOptions>): Effect.Effect<
    Step,
    LoginFailure,
    Scope.Scope
  > =>
    Effect.gen(function* () {
      const client = yield* initiate(asked)
      yield* client.step(undefined)
      return yield* client.step(token)
    })

  it.effect("a challenge that lacks what the level needs: refused", () =>
    Effect.gen(function* () {
      for (
        const [without, lacking] of [
          [flag.unicode, "Unicode"],
          [flag.ntlm, "extended session security"],
          [flag.extendedSecurity, "extended session security"],
          [flag.key128, "keys of 128 bits"],
          [flag.sign, "signing"],
          [flag.seal, "sealing"]
        ] as const
      ) {
        assert.strictEqual(
          yield* refusal(answer(challenge({ flags: usual & ~without }))),
          `unsupported: the server lacks ${lacking}`
        )
      }
      const flags = usual & ~flag.sign & ~flag.seal
      assert.isDefined((yield* answer(challenge({ flags }), { level: "connect" })).session)
    }))

  it.effect("a challenge without the server's names: refused where messages are signed", () =>
    Effect.gen(function* () {
      for (const id of [av.computer, av.domain]) {
        const without = challenge({ pairs: pairs.filter((pair) => pair.id !== id) })
        assert.strictEqual(yield* refusal(answer(without)), "refused: the server does not say its names")
        assert.isDefined((yield* answer(without, { level: "connect" })).session)
      }
    }))

  it.effect("a challenge without time: is answered with our own", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1_000)
      const { token } = yield* answer(challenge({ pairs: pairs.slice(0, 2) }))
      const time = new DataView(token!.buffer).getBigUint64(
        new DataView(token!.buffer).getUint32(24, true) + 16 + 8,
        true
      )
      assert.strictEqual(time, (1_000n + 11_644_473_600_000n) * 10_000n)
    }))

  it.effect("pairs that a server must not send: are not sent back", () =>
    Effect.gen(function* () {
      const odd = challenge({ pairs: [...pairs, { id: av.flags, value: fromU32(0) }] })
      const { token } = yield* answer(odd)
      const text = Array.from(token!, (byte) => byte.toString(16).padStart(2, "0")).join("")
      assert.strictEqual(text.split("06000400").length, 2)
      assert.include(text, "0600040002000000")
    }))

  it.effect("a damaged challenge: refused", () =>
    Effect.gen(function* () {
      for (
        const [token, said] of [
          [undefined, /^refused: the message is not NTLM's message 2/],
          [challenge().slice(0, 47), /^refused: message 2 is too short/],
          [challenge().slice(0, -1), /^refused: target information: out of the message/],
          [
            challenge({ pairs: [{ id: av.computer, value: new Uint8Array(2889) }] }),
            /^refused: the message is too long/
          ],
          [
            challenge({ pairs: [...pairs, { id: 99, value: new Uint8Array(2700) }] }),
            /^refused: the server's names are too/
          ],
          [
            challenge({ pairs: [...pairs, { id: 7, value: new Uint8Array(7) }].slice(-1) }),
            /^refused: the server does not/
          ],
          [
            challenge({ pairs: [...pairs.slice(0, 2), { id: 7, value: new Uint8Array(7) }] }),
            /^refused: the server's time/
          ]
        ] as const
      ) assert.match(yield* refusal(answer(token)), said)
    }))
})
