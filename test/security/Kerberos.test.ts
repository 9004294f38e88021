import { assert, describe, it } from "@effect/vitest"
import * as NodeTransport from "@callisto/rpc/node"
import { Memory, StringBinding, Transport } from "@callisto/rpc/transport"
import { Effect, Exit, Fiber, Layer, Redacted, Scope } from "effect"
import { TestClock } from "effect/testing"
import { inspect } from "node:util"
import * as Kerberos from "../../src/security/Kerberos.ts"
import type {
  Credentials,
  InitiateOptions,
  LoginFailure,
  ProtectionLevel,
  ServerProvider,
  Session
} from "../../src/security/Security.ts"
import * as Der from "../../src/security/internal/der.ts"
import { gssChecksum } from "../../src/security/internal/kerberosContext.ts"
import { join, type Key } from "../../src/security/internal/kerberosCrypto.ts"
import * as Messages from "../../src/security/internal/kerberosMessages.ts"
import { ReplayCache } from "../../src/security/internal/kerberosReplay.ts"
import { hex } from "./bytes.ts"
import {
  type FakeKdc,
  makeKdc,
  random,
  serve,
  writeEncTicketPart,
  writeKeytab,
  writeKrbError,
  writeTicket
} from "./kdc.ts"

const layer = Layer.merge(Memory.layer, NodeTransport.layerKerberos)

const realm = "CORP.EXAMPLE"
const kdcAddress = "ncacn_memory:[kdc]"
const target = "host/files.corp.example"
const password = "correct horse battery"

const start = Date.UTC(2026, 10, 27, 12)
const hours = (count: number) => count * 3_600_000

const alice: Credentials = { user: "alice", password: Redacted.make(password) }

const login = (options: Partial<InitiateOptions> = {}): InitiateOptions => ({
  level: "integrity",
  target,
  credentials: alice,
  impersonation: "impersonate",
  mutual: false,
  channelBindings: undefined,
  ...options
})

const accepting = { level: "integrity" as ProtectionLevel, channelBindings: undefined, peer: "test" }

/** A realm with a user, a service and a server. */
const setUp = Effect.gen(function* () {
  yield* TestClock.setTime(start)
  const kdc = yield* makeKdc(realm)
  kdc.passwords.set("alice", password)
  const serviceKey = kdc.keys.random(18, random)!
  kdc.services.set(target, serviceKey)
  yield* serve(kdc, kdcAddress)
  const keytab = Redacted.make(writeKeytab([{ realm, name: target, kvno: 1, key: serviceKey }]))
  const server = yield* Kerberos.server(keytab)
  const client = yield* Kerberos.client({ realm, kdc: kdcAddress })
  return { kdc, serviceKey, keytab, server, client }
})

type SetUp = Effect.Success<typeof setUp>

const logIn = (
  { client, server }: Pick<SetUp, "client" | "server">,
  options: Partial<InitiateOptions> = {},
  serverBindings?: Uint8Array
) =>
  Effect.gen(function* () {
    const initiator = yield* client.initiate(login(options))
    const acceptor = yield* server.accept({
      ...accepting,
      level: options.level ?? "integrity",
      channelBindings: serverBindings
    })
    const first = yield* initiator.step(undefined)
    const answer = yield* acceptor.step(first.token)
    const last = yield* initiator.step(answer.token)
    const done = yield* acceptor.step(last.token)
    assert.isUndefined(first.session)
    assert.isUndefined(answer.session)
    assert.isUndefined(done.token)
    return { client: last.session!, server: done.session! }
  })

const failureOf = <A, R>(effect: Effect.Effect<A, LoginFailure, R>) =>
  Effect.flip(Effect.map(effect, () => assert.fail("it succeeded")))

const reasonOf = <A, R>(effect: Effect.Effect<A, LoginFailure, R>) =>
  Effect.map(failureOf(effect), ({ reason }) => reason)

/** A PDU with a body of so many bytes, protected. */
const send = (session: Session, level: ProtectionLevel, length: number, headerSigning = true) => {
  const pdu = new Uint8Array(24 + length + 8 + session.signatureSize(level)).map((_, index) => index)
  session.protect(pdu, 24, 24 + length, level, headerSigning)
  return pdu
}

const receive = (session: Session, pdu: Uint8Array, level: ProtectionLevel, headerSigning = true) =>
  session.unprotect(pdu, 24, pdu.length - session.signatureSize(level) - 8, level, headerSigning)

const kinds = (kdc: FakeKdc) => kdc.requests.map(({ kind }) => kind).join(" ")

describe("Kerberos", () => {
  for (const level of ["connect", "packet", "integrity", "privacy"] as const) {
    it.effect(`a password, level ${level}: both sides agree and read each other`, () =>
      Effect.gen(function* () {
        const { client, server } = yield* logIn(yield* setUp, { level })
        assert.strictEqual(server.identity.name, "alice")
        assert.strictEqual(server.identity.domain, realm)
        assert.strictEqual(server.identity.impersonation, "impersonate")
        assert.strictEqual(client.identity.name, "alice")
        assert.isTrue(client.mutual && server.mutual)
        assert.strictEqual(server.integrity, level !== "connect")
        assert.strictEqual(server.confidentiality, level === "privacy")
        assert.strictEqual(server.expires, start + hours(10))
        assert.strictEqual(hex(Redacted.value(client.sessionKey)), hex(Redacted.value(server.sessionKey)))
        for (const headerSigning of [false, true]) {
          for (const length of [0, 4, 16, 20, 5776, 65_000]) {
            for (const [from, to] of [[client, server], [server, client]] as const) {
              const pdu = send(from, level, length, headerSigning)
              const isPlain = pdu.subarray(24, 24 + length).every((byte, index) => byte === (index + 24) % 256)
              assert.strictEqual(isPlain, level !== "privacy" || length === 0)
              assert.isTrue(receive(to, pdu, level, headerSigning))
              assert.isTrue(pdu.subarray(0, 24 + length + 8).every((byte, index) => byte === index % 256))
            }
          }
        }
        const mic = client.mic(new Uint8Array(5))
        assert.isTrue(server.verifyMic(new Uint8Array(5), mic))
        assert.isFalse(server.verifyMic(new Uint8Array(5), mic))
      }).pipe(Effect.provide(layer)))
  }

  for (const level of ["integrity", "privacy"] as const) {
    it.effect(`a message at level ${level} repeated, left out, sent back or cut: refused`, () =>
      Effect.gen(function* () {
        const { client, server } = yield* logIn(yield* setUp, { level })
        const pdu = send(client, level, 32)
        const copy = pdu.slice()
        assert.isFalse(receive(client, pdu.slice(), level), "sent back")
        assert.isFalse(server.unprotect(pdu.slice(0, -1), 24, 56, level, true), "cut")
        assert.isFalse(server.unprotect(pdu.slice(0, 70), 24, 56, level, true), "shorter than a header")
        assert.isFalse(server.unprotect(join(pdu, new Uint8Array(1)), 24, 56, level, true), "with a surplus byte")
        assert.isFalse(receive(server, pdu.slice(), level, false), "with the header signed on one side")
        assert.isTrue(receive(server, pdu, level))
        assert.isFalse(receive(server, copy, level), "repeated")
        send(client, level, 32)
        assert.isFalse(receive(server, send(client, level, 32), level), "after one that was left out")
      }).pipe(Effect.provide(layer)))
  }

  it.effect("every byte of each token of a login flipped: the login fails", () =>
    Effect.gen(function* () {
      const { client, server } = yield* setUp
      const first = (yield* (yield* client.initiate(login())).step(undefined)).token!
      // The name and the version of the key in front of the ticket are hints; all else is encrypted or fixed.
      const ticketAt = hex(first).indexOf("a382") / 2
      const free = { from: ticketAt, to: ticketAt + 100 }
      for (let at = 0; at < first.length; at++) {
        const damaged = first.slice()
        damaged[at]! ^= 1 << at % 8
        const exit = yield* Effect.exit((yield* server.accept(accepting)).step(damaged))
        if (at < 20 || at > free.to + 60) {
          // The options of the request are not protected, nor are they read.
          const isOption = at >= hex(first).indexOf("0305002000") / 2 + 3 && at < ticketAt
          assert.strictEqual(Exit.isFailure(exit), !isOption, `byte ${at}`)
        }
      }
      const initiator = yield* client.initiate(login())
      const acceptor = yield* server.accept(accepting)
      const answer = (yield* acceptor.step((yield* initiator.step(undefined)).token)).token!
      for (let at = 0; at < answer.length; at++) {
        const damaged = answer.slice()
        damaged[at]! ^= 1 << at % 8
        assert.isTrue(Exit.isFailure(yield* Effect.exit(initiator.step(damaged))), `byte ${at} of the answer`)
      }
      const last = (yield* initiator.step(answer)).token!
      for (let at = 0; at < last.length; at++) {
        const damaged = last.slice()
        damaged[at]! ^= 1 << at % 8
        assert.isTrue(Exit.isFailure(yield* Effect.exit(acceptor.step(damaged))), `byte ${at} of the last token`)
      }
    }).pipe(Effect.provide(layer)))

  describe("tickets", () => {
    it.effect("a second login: uses the ticket of the first", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        yield* logIn(all)
        assert.strictEqual(kinds(all.kdc), "AS AS TGS")
        yield* logIn(all)
        assert.strictEqual(kinds(all.kdc), "AS AS TGS")
      }).pipe(Effect.provide(layer)))

    it.effect("five logins at once: one request after the other, tickets fetched once", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        yield* Effect.all(Array.from({ length: 5 }, () => logIn(all)), { concurrency: "unbounded" })
        assert.strictEqual(kinds(all.kdc), "AS AS TGS")
      }).pipe(Effect.provide(layer)))

    it.effect("five minutes before the end of a ticket: it is fetched again", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        yield* logIn(all)
        yield* TestClock.adjust(hours(10) - 300_001)
        yield* logIn(all)
        assert.strictEqual(kinds(all.kdc), "AS AS TGS")
        yield* TestClock.adjust(1)
        yield* logIn(all)
        assert.strictEqual(kinds(all.kdc), "AS AS TGS AS AS TGS")
      }).pipe(Effect.provide(layer)))

    it.effect("a ticket that the key distribution centre takes for expired: fetched again", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        yield* logIn(all)
        all.kdc.services.set("host/other", all.serviceKey)
        all.kdc.ahead = hours(11)
        const { client } = all
        yield* (yield* client.initiate(login({ target: "host/other" }))).step(undefined)
        assert.isTrue(kinds(all.kdc).startsWith("AS AS TGS TGS AS AS"))
      }).pipe(Effect.provide(layer)))

    it.effect("another password for the same user: never gets the tickets of the right one", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        yield* logIn(all)
        const credentials = { user: "alice", password: Redacted.make("wrong") }
        assert.strictEqual(yield* reasonOf(logIn(all, { credentials })), "refused")
      }).pipe(Effect.provide(layer)))

    it.effect("a keytab in place of a password, and a principal with two parts: logged in", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        const { kdc } = all
        kdc.passwords.set("backup/files", "secret")
        const salt = new TextEncoder().encode(`${realm}backup/files`)
        const key = (yield* kdc.keys.ofPassword(18, "secret", salt, 4096))!
        const old = kdc.keys.random(18, random)!
        const keytab = Redacted.make(writeKeytab([
          { realm, name: "backup/files", kvno: 1, key: old },
          { realm, name: "backup/files", kvno: 2, key },
          { realm: "OTHER", name: "backup/files", kvno: 3, key: old }
        ]))
        const { server } = yield* logIn(all, { credentials: { user: "backup/files", keytab } })
        assert.strictEqual(server.identity.name, "backup/files")
        const other = { user: "nobody", keytab }
        assert.strictEqual(yield* reasonOf(logIn(all, { credentials: other })), "noCredentials")
        const damaged = { user: "backup/files", keytab: Redacted.make(new Uint8Array(7)) }
        assert.strictEqual(yield* reasonOf(logIn(all, { credentials: damaged })), "noCredentials")
      }).pipe(Effect.provide(layer)))

    it.effect("the NT hash of a password: logged in where RC4 may be used, else of no use", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        const { kdc, serviceKey } = all
        kdc.etype = 23
        const hash = (yield* kdc.keys.ofPassword(23, password, new Uint8Array(0), 0))!.bytes
        const credentials = { user: "alice", ntHash: Redacted.make(hash) }
        assert.strictEqual(yield* reasonOf(logIn(all, { credentials })), "noCredentials")
        const client = yield* Kerberos.client({ realm, kdc: kdcAddress, rc4: true })
        kdc.services.set(target, kdc.keys.make(23, serviceKey.bytes.subarray(16))!)
        const keytab = writeKeytab([{ realm, name: target, kvno: 1, key: kdc.services.get(target)! }])
        assert.strictEqual(yield* reasonOf(Kerberos.server(Redacted.make(keytab))), "noCredentials")
        const server = yield* Kerberos.server(Redacted.make(keytab), { rc4: true })
        for (const level of ["integrity", "privacy"] as const) {
          const sessions = yield* logIn({ client, server }, { credentials, level })
          for (let i = 0; i < 3; i++) {
            assert.isTrue(receive(sessions.server, send(sessions.client, level, 40), level))
            assert.isTrue(receive(sessions.client, send(sessions.server, level, 40), level))
          }
        }
      }).pipe(Effect.provide(layer)))

    it.effect("names of users: in the realm, in an address book, in the short name of the domain", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        const { kdc } = all
        kdc.passwords.set("alice@mail.example", password)
        const nameOf = (user: string, domain?: string) =>
          Effect.map(logIn(all, { credentials: { user, domain, password: Redacted.make(password) } }), () => {
            const { client, realm } = kdc.requests.filter(({ kind }) => kind === "AS").at(-1)!
            return `${client} in ${realm}`
          })
        assert.strictEqual(yield* nameOf("alice@corp.example"), `alice in ${realm}`)
        assert.strictEqual(yield* nameOf("alice@mail.example"), `alice@mail.example in ${realm}`)
        assert.strictEqual(yield* nameOf("alice", "CORP"), "alice in CORP")
      }).pipe(Effect.provide(layer)))

    it.effect("no user, no target: refused by name", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        assert.strictEqual(yield* reasonOf(logIn(all, { target: "" })), "noTarget")
        assert.strictEqual(yield* reasonOf(logIn(all, { target: "host/" })), "noTarget")
        const credentials = { user: "", password: Redacted.make("") }
        assert.strictEqual(yield* reasonOf(logIn(all, { credentials })), "noCredentials")
      }).pipe(Effect.provide(layer)))
  })

  describe("key distribution centre", () => {
    it.effect("a wrong password and an unknown user: refused for the same reason", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        for (
          const credentials of [
            { user: "alice", password: Redacted.make("wrong") },
            { user: "bob", password: Redacted.make(password) }
          ]
        ) assert.strictEqual(yield* reasonOf(logIn(all, { credentials })), "refused")
        // A failure is not kept.
        yield* logIn(all)
      }).pipe(Effect.provide(layer)))

    it.effect("no pre-authentication: logged in, and a wrong password is noticed here", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        all.kdc.preauthentication = false
        const credentials = { user: "alice", password: Redacted.make("wrong") }
        assert.strictEqual(yield* reasonOf(logIn(all, { credentials })), "refused")
        yield* logIn(all)
        assert.strictEqual(kinds(all.kdc), "AS AS TGS")
      }).pipe(Effect.provide(layer)))

    it.effect("an unknown service: unavailable, and the failure names it", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        const error = yield* failureOf(logIn(all, { target: "host/nowhere" }))
        assert.strictEqual(error.reason, "unavailable")
        assert.include(error.detail, "host/nowhere")
      }).pipe(Effect.provide(layer)))

    it.effect("its clock an hour ahead: its time is used, after one more request", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        all.kdc.ahead = hours(1)
        const server = yield* Kerberos.server(all.keytab, { clockSkew: "2 hours" })
        yield* logIn({ ...all, server })
        assert.strictEqual(kinds(all.kdc), "AS AS AS AS TGS")
        yield* logIn({ ...all, server })
        assert.strictEqual(kinds(all.kdc), "AS AS AS AS TGS")
      }).pipe(Effect.provide(layer)))

    it.effect("its clock refused twice: unavailable after one more attempt", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        const { kdc } = all
        kdc.change = (answer, { padata }) =>
          padata.some(({ type }) => type === 2) ? writeKrbError(37, start + hours(kdc.requests.length)) : answer
        const error = yield* failureOf(logIn(all))
        assert.strictEqual(error.reason, "unavailable")
        assert.include(error.detail, "the clocks differ too much")
        assert.strictEqual(kdc.requests.length, 4)
      }).pipe(Effect.provide(layer)))

    it.effect("too few or too many rounds for a password: refused", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        for (const iterations of [0, 1, 4095, 1_000_001, 0xffffffff]) {
          all.kdc.iterations = iterations
          const error = yield* failureOf(logIn(all))
          assert.strictEqual(error.reason, "unsupported")
          assert.include(error.detail, `${iterations} rounds`)
        }
      }).pipe(Effect.provide(layer)))

    for (
      const [what, kind, change] of [
        ["another nonce", "AS", { nonce: 1 }],
        ["another nonce", "TGS", { nonce: 1 }],
        ["another realm", "AS", { issuer: "OTHER.EXAMPLE" }],
        ["another service", "AS", { service: { type: 2, parts: ["krbtgt", "OTHER.EXAMPLE"] } }],
        ["no granting service", "AS", { service: { type: 2, parts: ["host", "files"] } }],
        ["another service", "TGS", { service: { type: 2, parts: ["host", "other"] } }],
        ["another user", "TGS", { client: "mallory" }],
        ["a user of another realm", "TGS", { realm: "OTHER.EXAMPLE" }]
      ] as const
    ) {
      it.effect(`an answer of kind ${kind} with ${what}: tampered`, () =>
        Effect.gen(function* () {
          const all = yield* setUp
          all.kdc.changeFields = (fields, request) => request.kind === kind ? { ...fields, ...change } : fields
          assert.strictEqual(yield* reasonOf(logIn(all)), "tampered")
        }).pipe(Effect.provide(layer)))
    }

    it.effect("every answer changed in one bit: the login fails or is as without the change", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        let at = 0
        let kind = "AS"
        all.kdc.preauthentication = false
        all.kdc.change = (answer, request) => {
          if (request.kind !== kind) return answer
          const damaged = answer.slice()
          damaged[at % answer.length]! ^= 1 << at % 8
          return damaged
        }
        for (kind of ["AS", "TGS"]) {
          for (at = 0; at < 700; at += 13) {
            const client = yield* Kerberos.client({ realm, kdc: kdcAddress })
            const exit = yield* Effect.exit(logIn({ ...all, client }))
            if (Exit.isSuccess(exit)) assert.strictEqual(exit.value.server.identity.name, "alice")
          }
        }
      }).pipe(Effect.provide(layer)))

    it.effect("a service of another realm: the referral is followed", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        const other = yield* makeKdc("LAB.EXAMPLE")
        const trust = all.kdc.keys.random(18, random)!
        all.kdc.services.delete(target)
        all.kdc.referrals.set(target, "LAB.EXAMPLE")
        all.kdc.trusts.set("LAB.EXAMPLE", trust)
        other.trusts.set(realm, trust)
        other.services.set(target, all.serviceKey)
        yield* serve(other, "ncacn_memory:[lab]")
        const unknown = yield* failureOf(logIn(all))
        assert.strictEqual(unknown.reason, "unavailable")
        assert.include(unknown.detail, "LAB.EXAMPLE is not known")
        const client = yield* Kerberos.client({
          realm,
          kdc: kdcAddress,
          kdcs: { "lab.example": "ncacn_memory:[lab]" }
        })
        const { server } = yield* logIn({ ...all, client })
        assert.strictEqual(server.identity.domain, realm)
        assert.strictEqual(kinds(other), "TGS")
      }).pipe(Effect.provide(layer)))

    it.effect("realms that refer to each other: given up after five referrals", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        const other = yield* makeKdc("LAB.EXAMPLE")
        const trust = all.kdc.keys.random(18, random)!
        for (const [kdc, realmOfOther] of [[all.kdc, "LAB.EXAMPLE"], [other, realm]] as const) {
          kdc.services.clear()
          kdc.referrals.set(target, realmOfOther)
          kdc.trusts.set(realmOfOther, trust)
        }
        yield* serve(other, "ncacn_memory:[lab]")
        const client = yield* Kerberos.client({
          realm,
          kdc: kdcAddress,
          kdcs: { "LAB.EXAMPLE": "ncacn_memory:[lab]" }
        })
        const error = yield* failureOf(logIn({ ...all, client }))
        assert.strictEqual(error.reason, "unavailable")
        assert.strictEqual([...all.kdc.requests, ...other.requests].filter(({ kind }) => kind === "TGS").length, 6)
      }).pipe(Effect.provide(layer)))

    const answering = (bytes: Uint8Array | undefined) =>
      Effect.gen(function* () {
        const transport = yield* Transport.Transport
        const binding = yield* Effect.fromResult(StringBinding.parse("ncacn_memory:[odd]"))
        yield* transport.listen(binding, ({ socket }) =>
          Effect.gen(function* () {
            const { pull } = yield* socket.reader
            const { write } = yield* socket.writer
            yield* pull
            if (bytes !== undefined) yield* write(bytes)
            yield* Effect.never
          }).pipe(Effect.ignore))
        const client = yield* Kerberos.client({ realm, kdc: "ncacn_memory:[odd]" })
        return yield* (yield* client.initiate(login())).step(undefined)
      })

    it.effect("an answer longer than a mebibyte: refused before it is read", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(answering(Uint8Array.of(0x7f, 0xff, 0xff, 0xff)))
        assert.include(String(error), "more than 1048576 bytes")
      }).pipe(Effect.scoped, Effect.provide(layer)))

    it.effect("no bytes, bytes that are no message: tampered", () =>
      Effect.gen(function* () {
        assert.include(String(yield* Effect.flip(answering(new Uint8Array(4)))), "tampered")
      }).pipe(Effect.scoped, Effect.provide(layer)))

    it.effect("no answer: unavailable after ten seconds", () =>
      Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(Effect.flip(answering(undefined)))
        yield* TestClock.adjust("9 seconds")
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust("1 second")
        assert.include(String(yield* Fiber.join(fiber)), "did not answer in time")
      }).pipe(Effect.scoped, Effect.provide(layer)))

    it.effect("nobody listens: unavailable", () =>
      Effect.gen(function* () {
        const client = yield* Kerberos.client({ realm, kdc: "ncacn_memory:[nobody]" })
        assert.strictEqual(yield* reasonOf((yield* client.initiate(login())).step(undefined)), "unavailable")
      }).pipe(Effect.scoped, Effect.provide(layer)))
  })

  describe("server", () => {
    interface Request {
      readonly flags?: number
      readonly ticketFlags?: number
      readonly starttime?: number
      readonly authtime?: number
      readonly endtime?: number
      readonly time?: number
      readonly client?: string
      readonly clientRealm?: string
      readonly checksum?: Messages.Typed | null
      readonly kvno?: number
      readonly serviceKey?: Key
      readonly sequence?: number | null
      readonly authenticatorKey?: Key
      readonly padding?: number
    }

    /** A request as a client could make it that has a ticket. */
    const request = ({ kdc, serviceKey }: SetUp, options: Request = {}) => {
      const key = kdc.keys.random(18, random)!
      const part = writeEncTicketPart({
        key,
        client: "alice",
        realm,
        flags: options.ticketFlags ?? 0x40000000,
        authtime: options.authtime ?? start,
        endtime: options.endtime ?? start + hours(1),
        ...(options.starttime === undefined ? {} : { starttime: options.starttime }),
        ...(options.padding === undefined ? {} : {
          authorization: Der.sequence(
            Der.sequence(Der.field(0, Der.integer(1)), Der.field(1, Der.octets(new Uint8Array(options.padding))))
          )
        })
      })
      const service = { type: 2, parts: target.split("/") }
      const ticket = writeTicket(realm, service, options.serviceKey ?? serviceKey, part, options.kvno ?? 1)
      const checksum = options.checksum === null
        ? undefined
        : options.checksum ?? gssChecksum(options.flags ?? 0x102e, undefined)
      const authenticator = Messages.writeAuthenticator({
        realm: options.clientRealm ?? realm,
        client: { type: 1, parts: [options.client ?? "alice"] },
        checksum,
        stamp: { time: options.time ?? start, micros: 0 },
        subkey: undefined,
        sequence: options.sequence === null ? undefined : options.sequence ?? 1
      })
      const cipher = (options.authenticatorKey ?? key).encrypt(11, authenticator, random)
      return Messages.writeApReq(0x20000000, ticket, Messages.writeEncryptedData(18, cipher))
    }

    const accept = (server: ServerProvider, token: Uint8Array, level: ProtectionLevel = "integrity") =>
      Effect.flatMap(server.accept({ ...accepting, level }), (exchange) => exchange.step(token))

    for (
      const [what, options, reason] of [
        ["a ticket that is not valid yet", { starttime: start + 301_000 }, "refused"],
        ["a ticket marked as invalid", { ticketFlags: 0x41000000 }, "refused"],
        ["an expired ticket", { endtime: start - 301_000 }, "refused"],
        ["a clock five minutes ahead", { time: start + 301_000 }, "refused"],
        ["a clock five minutes behind", { time: start - 301_000 }, "refused"],
        ["another user in the request than in the ticket", { client: "bob" }, "refused"],
        ["another realm in the request than in the ticket", { clientRealm: "OTHER" }, "refused"],
        ["no check sum", { checksum: null }, "refused"],
        ["another check sum", { checksum: { type: 16, bytes: new Uint8Array(12) } }, "refused"],
        ["a short check sum", { checksum: { type: 0x8003, bytes: new Uint8Array(23) } }, "refused"],
        ["no style of DCE", { flags: 0x2e }, "unsupported"],
        ["no number for messages", { sequence: null }, "unsupported"]
      ] as const satisfies ReadonlyArray<readonly [string, Request, LoginFailure["reason"]]>
    ) {
      it.effect(`a request with ${what}: ${reason}`, () =>
        Effect.gen(function* () {
          const all = yield* setUp
          const error = yield* failureOf(accept(all.server, request(all, options)))
          assert.strictEqual(error.reason, reason)
          assert.strictEqual(error.claimed, `alice@${realm}`)
        }).pipe(Effect.provide(layer)))
    }

    it.effect("a request within the allowed differences: accepted", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        for (
          const options of [
            {},
            { starttime: start + 300_000 },
            { endtime: start - 300_000 },
            { time: start + 300_000 },
            { kvno: 9 },
            { sequence: 0xffffffff }
          ]
        ) {
          yield* accept(all.server, request(all, options))
        }
      }).pipe(Effect.provide(layer)))

    it.effect("a ticket of another key, a request made without the key of the ticket: refused, tampered", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        const other = all.kdc.keys.random(18, random)!
        assert.strictEqual(yield* reasonOf(accept(all.server, request(all, { serviceKey: other }))), "refused")
        assert.strictEqual(yield* reasonOf(accept(all.server, request(all, { authenticatorKey: other }))), "tampered")
      }).pipe(Effect.provide(layer)))

    it.effect("the same request twice: refused for ten minutes", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        const token = request(all)
        yield* accept(all.server, token)
        assert.include((yield* failureOf(accept(all.server, token))).detail, "seen before")
      }).pipe(Effect.provide(layer)))

    it("many requests: the replay cache forgets the old ones, and never grows beyond its limit", () => {
      const replays = new ReplayCache(600_000)
      assert.isTrue(replays.isNew("a", 0))
      assert.isFalse(replays.isNew("a", 599_999))
      assert.isTrue(replays.isNew("a", 600_000))
      for (let i = 0; i < 70_000; i++) replays.isNew(`${i}`, 700_000)
      assert.strictEqual(replays.size, 65_536)
    })

    it.effect("a request of 60 KB: accepted", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        yield* accept(all.server, request(all, { padding: 60_000 }))
      }).pipe(Effect.provide(layer)))

    it.effect("a request in the frame of GSS: accepted; the frame of another mechanism: refused", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        const frame = (oid: string) => Der.element(0x60, Der.oid(oid), Uint8Array.of(1, 0), request(all))
        yield* accept(all.server, frame("1.2.840.113554.1.2.2"))
        assert.strictEqual(yield* reasonOf(accept(all.server, frame("1.2.840.113554.1.2.2.3"))), "refused")
        const { recognizes } = all.server.mechanism!
        assert.isTrue(recognizes(request(all)) && recognizes(frame("1.2.840.113554.1.2.2")))
        assert.isFalse(recognizes(frame("1.3.6.1.5.5.2")) || recognizes(new TextEncoder().encode("NTLMSSP\0")))
      }).pipe(Effect.provide(layer)))

    it.effect("privacy without encryption: unsupported at the last token; no integrity: no message is taken", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        const complete = (flags: number, level: ProtectionLevel) =>
          Effect.gen(function* () {
            const key = all.kdc.keys.random(18, random)!
            const part = writeEncTicketPart({ key, client: "alice", realm, authtime: start, endtime: start + hours(1) })
            const service = { type: 2, parts: target.split("/") }
            const stamp = { time: start, micros: random(1)[0]! }
            const authenticator = Messages.writeAuthenticator({
              realm,
              client: { type: 1, parts: ["alice"] },
              checksum: gssChecksum(flags, undefined),
              stamp,
              subkey: undefined,
              sequence: 1
            })
            const exchange = yield* all.server.accept({ ...accepting, level })
            const answer = yield* exchange.step(
              Messages.writeApReq(
                0,
                writeTicket(realm, service, all.serviceKey, part),
                Messages.writeEncryptedData(18, key.encrypt(11, authenticator, random))
              )
            )
            const encrypted = Messages.readApRep(answer.token!) as Messages.EncryptedData
            const { sequence } = Messages.readEncApRepPart(key.decrypt(12, encrypted.cipher)!) as Messages.EncApRepPart
            const echo = (options: Partial<Messages.EncApRepPart>) =>
              Messages.writeApRep(Messages.writeEncryptedData(
                18,
                key.encrypt(12, Messages.writeEncApRepPart({ stamp, subkey: undefined, sequence, ...options }), random)
              ))
            assert.strictEqual(yield* reasonOf(exchange.step(echo({ sequence: 5 }))), "refused")
            assert.strictEqual(yield* reasonOf(exchange.step(echo({ stamp: { ...stamp, time: 0 } }))), "refused")
            return yield* exchange.step(echo({}))
          })
        assert.strictEqual(yield* reasonOf(complete(0x102e, "privacy")), "unsupported")
        const { session } = yield* complete(0x100e, "integrity")
        assert.isFalse(session!.integrity)
        const pdu = send(session!, "integrity", 16)
        assert.isFalse(receive(session!, pdu, "integrity"))
        const delegating = (yield* complete(0x302f, "integrity")).session!
        assert.strictEqual(delegating.identity.impersonation, "identify")
      }).pipe(Effect.provide(layer)))

    it.effect("channel bindings: accepted and refused as the policy says", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        const own = new Uint8Array(16).fill(1)
        const other = new Uint8Array(16).fill(2)
        const table = [
          ["never", undefined, undefined, true],
          ["never", own, other, true],
          ["whenSupported", undefined, undefined, true],
          ["whenSupported", own, undefined, true],
          ["whenSupported", undefined, own, true],
          ["whenSupported", own, own, true],
          ["whenSupported", own, other, false],
          ["always", undefined, undefined, false],
          ["always", own, undefined, false],
          ["always", undefined, own, false],
          ["always", own, own, true],
          ["always", own, other, false]
        ] as const
        for (const [channelBindings, serverBindings, clientBindings, isAccepted] of table) {
          const server = yield* Kerberos.server(all.keytab, { channelBindings })
          const exit = yield* Effect.exit(
            logIn({ ...all, server }, { channelBindings: clientBindings }, serverBindings)
          )
          assert.strictEqual(
            Exit.isSuccess(exit),
            isAccepted,
            `${channelBindings} ${serverBindings?.[0]} ${clientBindings?.[0]}`
          )
        }
      }).pipe(Effect.provide(layer)))

    it.effect("names of the service: a ticket for another name is refused", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        yield* logIn({ ...all, server: yield* Kerberos.server(all.keytab, { names: ["HOST/files.corp.example"] }) })
        const server = yield* Kerberos.server(all.keytab, { names: ["cifs/files.corp.example"] })
        assert.strictEqual(yield* reasonOf(logIn({ ...all, server })), "refused")
      }).pipe(Effect.provide(layer)))

    it.effect("a damaged keytab, and one with nothing that can be used: refused with the next step", () =>
      Effect.gen(function* () {
        const { keys } = yield* makeKdc(realm)
        for (
          const bytes of [new Uint8Array(0), Uint8Array.of(5, 1), Uint8Array.of(5, 2, 0, 0, 0, 9), Uint8Array.of(5, 2)]
        ) {
          assert.strictEqual(yield* reasonOf(Kerberos.server(Redacted.make(bytes))), "noCredentials")
        }
        const rc4 = writeKeytab([{ realm, name: target, kvno: 1, key: keys.random(23, random)! }])
        const error = yield* failureOf(Kerberos.server(Redacted.make(rc4)))
        assert.include(error.detail, "Allow AES for the account")
      }).pipe(Effect.scoped, Effect.provide(layer)))
  })

  describe("options", () => {
    it.effect("wrong values: refused by name", () =>
      Effect.gen(function* () {
        const defectOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
          Effect.map(Effect.exit(effect), (exit) => Exit.isFailure(exit) ? String(exit.cause) : "nothing")
        assert.include(yield* defectOf(Kerberos.client({ realm, kdc: "dc" })), "kdc is no string binding")
        assert.include(yield* defectOf(Kerberos.client({ realm: "", kdc: kdcAddress })), "realm is missing")
        assert.include(yield* defectOf(Kerberos.client({ realm, kdc: kdcAddress, kdcs: { LAB: "x" } })), "LAB")
        assert.include(yield* defectOf(Kerberos.client({ realm, kdc: kdcAddress, timeout: 0 })), "timeout")
        const keytab = new Uint8Array(2) as never
        assert.include(yield* defectOf(Kerberos.server(keytab)), "not redacted")
        const channelBindings = "sometimes" as never
        assert.include(yield* defectOf(Kerberos.server(Redacted.make(keytab), { channelBindings })), "channelBindings")
      }).pipe(Effect.scoped, Effect.provide(layer)))
  })

  describe("secrets", () => {
    it.effect("everything that can be printed: no password, no key", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        const initiator = yield* all.client.initiate(login())
        const acceptor = yield* all.server.accept(accepting)
        const sessions = yield* logIn(all)
        const error = yield* failureOf(
          logIn(all, { credentials: { user: "alice", password: Redacted.make("wrongpassword") } })
        )
        const secrets = [all.serviceKey.bytes, Redacted.value(sessions.client.sessionKey)]
        const texts = [
          password,
          "wrongpassword",
          ...secrets.flatMap((key) => [hex(key), key.join(), key.join(", "), Array.from(key.subarray(0, 6)).join(", ")])
        ]
        for (const value of [all.client, all.server, initiator, acceptor, sessions.client, sessions.server, error]) {
          const printed = [
            inspect(value, { depth: 10, showHidden: true, maxArrayLength: 1000 }),
            JSON.stringify(value),
            String(value)
          ].join("\n")
          for (const text of texts) assert.notInclude(printed, text)
        }
      }).pipe(Effect.provide(layer)))

    it.effect("the scope of a login closes: its keys are wiped, the other login goes on", () =>
      Effect.gen(function* () {
        const all = yield* setUp
        const scope = yield* Scope.make()
        const first = yield* Scope.provide(logIn(all, { level: "privacy" }), scope)
        const second = yield* logIn(all, { level: "privacy" })
        const key = Redacted.value(first.client.sessionKey)
        assert.isTrue(receive(first.server, send(first.client, "privacy", 16), "privacy"))
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(key.every((byte) => byte === 0))
        assert.throws(() => Redacted.value(first.client.sessionKey))
        assert.isTrue(receive(second.server, send(second.client, "privacy", 16), "privacy"))
        yield* logIn(all)
      }).pipe(Effect.provide(layer)))

    it.effect("the scope of a client and a server closes: tickets and keys of the keytab are of no use", () =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const all = yield* Scope.provide(setUp, scope)
        yield* logIn(all)
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(logIn(all))))
      }).pipe(Effect.scoped, Effect.provide(layer)))
  })
})
