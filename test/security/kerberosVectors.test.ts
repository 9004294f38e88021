// Conversations with Samba that were recorded with their keys.
import { assert, describe, it } from "@effect/vitest"
import * as NodeTransport from "@callisto/rpc/node"
import { Effect } from "effect"
import type { LoginFailure, ProtectionLevel, Session } from "../../src/security/Security.ts"
import * as Der from "../../src/security/internal/der.ts"
import { accept, type AcceptorPolicy } from "../../src/security/internal/kerberosAcceptor.ts"
import { KerberosCiphers } from "../../src/security/KerberosCiphers.ts"
import { AesKey, decryptCts, join, type Key } from "../../src/security/internal/kerberosCrypto.ts"
import { initiate } from "../../src/security/internal/kerberosInitiator.ts"
import { type Keys, makeKeys } from "../../src/security/internal/kerberosKeys.ts"
import { readKeytab } from "../../src/security/internal/kerberosKeytab.ts"
import * as Messages from "../../src/security/internal/kerberosMessages.ts"
import { readPac } from "../../src/security/internal/kerberosPac.ts"
import { hmacMd5 } from "../../src/security/internal/md5.ts"
import { rc4 } from "../../src/security/internal/rc4.ts"
import { bytesOf, hex } from "./bytes.ts"
import kdc from "./vectors/kerberos-kdc.json" with { type: "json" }
import rpc from "./vectors/kerberos-rpc.json" with { type: "json" }
import keytab from "./vectors/keytab.json" with { type: "json" }
import samba from "./vectors/samba-client.json" with { type: "json" }

const ok = <A>(value: A | Der.DerFailure | LoginFailure | string | undefined): A => {
  if (value === undefined || value instanceof Error || typeof value === "string") assert.fail(String(value))
  return value as A
}

const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)

/** The token at the end of a PDU. */
const tokenOf = (pdu: Uint8Array) => pdu.subarray(pdu.length - view(pdu).getUint16(10, true))

/** The parts of a token of Negotiate: the mechanisms, the token inside, and the signature of the mechanisms. */
const negotiated = (token: Uint8Array) =>
  ok(Der.decode(token, (it) => {
    const fields = (it: Der.DerReader) => ({ mechanisms: undefined as Uint8Array | undefined, ...rest(it) })
    const rest = (it: Der.DerReader) => {
      it.optionalField(0, (it) => it.skipRest())
      it.optionalField(1, (it) => it.skipRest())
      const inner = it.optionalField(2, (it) => it.octets())
      return { inner, mic: it.optionalField(3, (it) => it.octets()) }
    }
    if (it.tag !== 0x60) return it.inside(0xa1, (it) => it.sequence(fields))
    return it.inside(0x60, (it) => {
      it.oid()
      return it.field(0, (it) =>
        it.sequence((it) => {
          const mechanisms = it.field(0, (it) => it.element())
          return { mechanisms, ...rest(it) }
        }))
    })
  }))

/** Where the body of a request or response lies. */
const bodyOf = (pdu: Uint8Array): [number, number] => [
  24 + (pdu[2] === 0 && (pdu[3]! & 0x80) !== 0 ? 16 : 0),
  pdu.length - view(pdu).getUint16(10, true) - 8
]

/** Gives prepared random bytes, in their order. */
const prepared = (...items: ReadonlyArray<Uint8Array>) => {
  const left = [...items]
  return (length: number) => {
    const next = left.shift() ?? new Uint8Array(length)
    assert.strictEqual(next.length, length)
    return next.slice()
  }
}

/** The random bytes with which a sealed PDU was made. */
const confounderOf = (key: Key, pdu: Uint8Array): Uint8Array => {
  const [start, end] = bodyOf(pdu)
  const token = pdu.subarray(end + 8)
  if (key instanceof AesKey) {
    const usage = (token[2]! & 1) === 1 ? 22 : 24
    const cipher = join(token.subarray(60), pdu.subarray(start, end), token.subarray(16, 48))
    const padded = join(cipher, new Uint8Array((16 - cipher.length % 16) % 16))
    return decryptCts(key.usage(usage).cbc, padded, cipher.length).slice(0, 16)
  }
  const number = rc4(hmacMd5(hmacMd5(key.bytes, new Uint8Array(4)), token.subarray(29, 37)), token.subarray(21, 29))
  const sealing = hmacMd5(hmacMd5(key.bytes.map((byte) => byte ^ 0xf0), new Uint8Array(4)), number.subarray(0, 4))
  return rc4(sealing, token.subarray(37))
}

const serviceKeysOf = (keys: Keys): AcceptorPolicy["serviceKeys"] =>
  Object.entries(rpc.serviceKeys).map(([etype, key]) => ({ kvno: 1, key: ok(keys.make(Number(etype), bytesOf(key))) }))

const policyOf = (keys: Keys): AcceptorPolicy => ({
  keys,
  serviceKeys: serviceKeysOf(keys),
  names: undefined,
  channelBindings: "whenSupported",
  clockSkew: 300_000,
  isNew: () => true
})

const number4 = (text: string) => bytesOf(text.padStart(8, "0"))

const group = "S-1-5-21-"

describe("recorded conversations", () => {
  it.layer(NodeTransport.layerKerberos)((it) => {
    for (const [name, vector] of Object.entries(rpc.cases)) {
      const level: ProtectionLevel = vector.level === 6 ? "privacy" : "integrity"
      const pdus = vector.pdus.map(({ hex }) => bytesOf(hex))
      const isNegotiated = vector.authType === 9
      const legs = pdus.slice(0, 3).map((pdu) => {
        const token = tokenOf(pdu)
        return isNegotiated ? negotiated(token) : { inner: token, mic: undefined, mechanisms: undefined }
      })
      const finalMic = isNegotiated ? negotiated(tokenOf(pdus[3]!)).mic : undefined
      const calls = vector.pdus.slice(isNegotiated ? 4 : 3).map(({ dir, hex }) => ({ dir, pdu: bytesOf(hex) }))
      const stampOf = () =>
        ok<Messages.Authenticator>(Messages.readAuthenticator(bytesOf(vector.authenticatorPlain))).stamp

      const setUp = Effect.map(KerberosCiphers, (ciphers) => {
        const keys = makeKeys(ciphers, true)
        const sessionKey = () => ok<Key>(keys.make(vector.ticketSessionKey.etype, bytesOf(vector.ticketSessionKey.key)))
        const messageKey = ok<Key>(keys.make(vector.messageKey.etype, bytesOf(vector.messageKey.key)))
        const confounders = (dir: string) =>
          level === "privacy"
            ? calls.filter((call) => call.dir === dir).map(({ pdu }) => confounderOf(messageKey, pdu))
            : []
        const logIn = () => {
          const login = ok(accept(policyOf(keys), {
            now: stampOf().time,
            wantsPrivacy: level === "privacy",
            channelBindings: undefined,
            random: prepared(
              bytesOf(vector.acceptorSubkey.key),
              number4(vector.acceptorSeq),
              new Uint8Array(vector.messageKey.etype === 23 ? 8 : 16),
              ...confounders("s")
            )
          }, legs[0]!.inner!)) as Exclude<ReturnType<typeof accept>, LoginFailure>
          return { login, session: ok(login.finish(legs[2]!.inner!)) as Session }
        }
        const begin = () =>
          ok(initiate(keys, {
            ticket: {
              der: (Messages.readApReq(legs[0]!.inner!) as Messages.ApReq).ticket.der,
              key: sessionKey(),
              realm: rpc.realm,
              client: { type: 1, parts: [rpc.user] },
              endtime: 0
            },
            level,
            impersonation: "impersonate",
            channelBindings: undefined,
            stamp: stampOf(),
            random: prepared(
              bytesOf(vector.initiatorSubkey.key),
              number4(vector.initiatorSeq),
              new Uint8Array(vector.messageKey.etype === 23 ? 8 : 16),
              new Uint8Array(vector.messageKey.etype === 23 ? 8 : 16),
              ...confounders("c")
            )
          })) as Exclude<ReturnType<typeof initiate>, LoginFailure>
        return { keys, sessionKey, logIn, begin }
      })

      it.effect(`${name}, the server's tokens: as Samba's, and it knows who logged in`, () =>
        Effect.gen(function* () {
          const { logIn, sessionKey } = yield* setUp
          const { login, session } = logIn()
          const reply = ok<Messages.EncryptedData>(Messages.readApRep(login.token))
          assert.strictEqual(hex(ok(sessionKey().decrypt(12, reply.cipher))), vector.apRepPlain)
          assert.strictEqual(session.identity.name, rpc.user)
          assert.strictEqual(session.identity.domain, rpc.realm)
          assert.isTrue(session.identity.groups[0]!.startsWith(group) && session.identity.groups[0]!.endsWith("-500"))
          assert.isTrue(session.identity.groups.some((sid) => sid.endsWith("-512")))
          assert.strictEqual(session.confidentiality, level === "privacy")
        }))

      it.effect(`${name}, the client's tokens: as recorded`, () =>
        Effect.gen(function* () {
          const { begin, sessionKey } = yield* setUp
          const login = begin()
          const request = ok<Messages.ApReq>(Messages.readApReq(login.token))
          assert.strictEqual(hex(ok(sessionKey().decrypt(11, request.authenticator.cipher))), vector.authenticatorPlain)
          const { session, token } = ok(login.finish(legs[1]!.inner!)) as Exclude<
            ReturnType<typeof login.finish>,
            LoginFailure
          >
          const echo = ok<Messages.EncryptedData>(Messages.readApRep(token))
          assert.strictEqual(hex(ok(sessionKey().decrypt(12, echo.cipher))), vector.thirdLegPlain)
          assert.isTrue(session.mutual)
        }))

      it.effect(`${name}, protected messages: both sides read and make the recorded bytes`, () =>
        Effect.gen(function* () {
          const { begin, logIn } = yield* setUp
          const server = logIn().session
          const { session: client } = ok(begin().finish(legs[1]!.inner!)) as { session: Session }
          if (isNegotiated) {
            const { mechanisms } = legs[0]!
            assert.strictEqual(hex(client.mic(mechanisms!)), hex(legs[2]!.mic!))
            assert.isTrue(server.verifyMic(mechanisms!, legs[2]!.mic!))
            assert.strictEqual(hex(server.mic(mechanisms!)), hex(finalMic!))
            assert.isTrue(client.verifyMic(mechanisms!, finalMic!))
          }
          for (const { dir, pdu } of calls) {
            const [sender, receiver] = dir === "c" ? [client, server] : [server, client]
            const [start, end] = bodyOf(pdu)
            assert.strictEqual(pdu.length - end - 8, sender.signatureSize(level))
            const plain = pdu.slice()
            assert.isTrue(receiver.unprotect(plain, start, end, level, vector.headerSign))
            plain.fill(0, end + 8)
            sender.protect(plain, start, end, level, vector.headerSign)
            assert.strictEqual(hex(plain), hex(pdu))
          }
        }))

      it.effect(`${name}, every byte of a protected message flipped: noticed, apart from a header that is not signed`, () =>
        Effect.gen(function* () {
          const { logIn } = yield* setUp
          const { pdu } = calls[0]!
          const [start, end] = bodyOf(pdu)
          for (let at = 0; at < pdu.length; at++) {
            const server = logIn().session
            if (isNegotiated) server.verifyMic(legs[0]!.mechanisms!, legs[2]!.mic!)
            const damaged = pdu.slice()
            damaged[at]! ^= 1 << at % 8
            const isSigned = vector.headerSign || at >= start && at < end || at >= end + 8
            assert.strictEqual(server.unprotect(damaged, start, end, level, vector.headerSign), !isSigned, `byte ${at}`)
          }
        }))
    }

    it.effect("a delegating client of Samba: logged in", () =>
      Effect.gen(function* () {
        const keys = makeKeys(yield* KerberosCiphers, false)
        const vector = samba.cases.spnegoKerberosPrivacy
        const request = negotiated(tokenOf(bytesOf(vector.pdus[0]!.hex)))
        const part = ok<Messages.EncTicketPart>(Messages.readEncTicketPart(bytesOf(vector.encTicketPart)))
        assert.strictEqual(hex(part.key.bytes), vector.ticketSessionKey)
        const { stamp } = ok<Messages.Authenticator>(Messages.readAuthenticator(bytesOf(vector.authenticatorPlain)))
        const policy = { ...policyOf(makeKeys(yield* KerberosCiphers, true)), keys }
        const login = ok(accept(policy, {
          now: stamp.time,
          wantsPrivacy: true,
          channelBindings: undefined,
          random: prepared(bytesOf(vector.messageKey), number4(vector.acceptorSeq))
        }, request.inner!)) as Exclude<ReturnType<typeof accept>, LoginFailure>
        const last = negotiated(tokenOf(bytesOf(vector.pdus[2]!.hex)))
        const session = ok(login.finish(last.inner!)) as Session
        assert.isTrue(session.verifyMic(request.mechanisms!, last.mic!))
        const final = negotiated(tokenOf(bytesOf(vector.pdus[3]!.hex)))
        assert.strictEqual(hex(session.mic(request.mechanisms!)), hex(final.mic!))
        assert.strictEqual(session.identity.impersonation, "delegate")
        for (const { hex } of vector.pdus.slice(4).filter(({ dir }) => dir === "c")) {
          const pdu = bytesOf(hex)
          assert.isTrue(session.unprotect(pdu, ...bodyOf(pdu), "privacy", true))
        }
      }))

    it.effect("recorded tickets from the key distribution centre: opened with the recorded keys", () =>
      Effect.gen(function* () {
        const keys = makeKeys(yield* KerberosCiphers, false)
        const error = ok<Messages.KrbError>(Messages.readKrbError(bytesOf(kdc.krbError)))
        assert.strictEqual(error.code, 25)
        const [info] = ok<ReadonlyArray<Messages.EtypeInfo>>(
          Messages.readEtypeInfo(ok(Messages.readPadata(error.data!)))
        )
        assert.strictEqual(new TextDecoder().decode(info!.salt), kdc.salt)
        assert.strictEqual(hex(info!.parameters!), kdc.s2kParams)
        const userKey = ok<Key>(yield* keys.ofPassword(info!.etype, kdc.password, info!.salt!, 4096))
        assert.strictEqual(hex(userKey.bytes), kdc.userKey)
        const asReply = ok<Messages.KdcReply>(Messages.readAsReply(bytesOf(kdc.asRep)))
        const asPlain = ok<Uint8Array>(userKey.decrypt(3, asReply.encrypted.cipher))
        assert.strictEqual(hex(asPlain), kdc.encAsRepPart)
        const first = ok<Messages.EncKdcReplyPart>(Messages.readEncKdcReplyPart(asPlain))
        assert.strictEqual(hex(first.key.bytes), kdc.tgtSessionKey)
        const tgtKey = ok<Key>(keys.make(first.key.type, first.key.bytes))
        const tgsReply = ok<Messages.KdcReply>(Messages.readTgsReply(bytesOf(kdc.tgsRep)))
        const second = ok<Messages.EncKdcReplyPart>(
          Messages.readEncKdcReplyPart(ok(tgtKey.decrypt(8, tgsReply.encrypted.cipher)))
        )
        assert.strictEqual(hex(second.key.bytes), kdc.serviceSessionKey)
      }))

    it("requests to the key distribution centre: as recorded", () => {
      const till = Date.UTC(2026, 10, 27, 21, 57, 47)
      const body = Messages.writeKdcRequestBody({
        options: 0x40010010,
        client: { type: 1, parts: [kdc.user] },
        realm: kdc.realm,
        service: { type: 2, parts: ["krbtgt", kdc.realm] },
        till,
        nonce: 0x11223344,
        etypes: [18]
      })
      const pac = { type: 128, bytes: Messages.pacRequest }
      assert.strictEqual(hex(Messages.writeAsRequest(body, [pac])), kdc.asReq1)
      const service = Messages.writeKdcRequestBody({
        options: 0x40010000,
        client: undefined,
        realm: kdc.realm,
        service: { type: 2, parts: ["host", "peerdc.peer.test"] },
        till,
        nonce: 0x55667788,
        etypes: [18]
      })
      assert.strictEqual(hex(service), kdc.tgsReqBody)
    })

    it("a recorded keytab: principal, version and keys", () => {
      const entries = ok<Exclude<ReturnType<typeof readKeytab>, string>>(readKeytab(bytesOf(keytab.hex)))
      assert.deepStrictEqual(
        entries.map(({ key, kvno, principal, realm }) => [
          `${principal.parts.join("/")}@${realm}`,
          kvno,
          key.type,
          hex(key.bytes)
        ]),
        keytab.keys.map(({ etype, key }) => [keytab.principal, keytab.kvno, etype, key])
      )
    })

    it.effect("the certificate of a recorded ticket: no byte of it can be changed", () =>
      Effect.gen(function* () {
        const keys = makeKeys(yield* KerberosCiphers, true)
        const request = ok<Messages.ApReq>(Messages.readApReq(tokenOf(bytesOf(rpc.cases.integrity.pdus[0]!.hex))))
        const serviceKey = serviceKeysOf(keys).find(({ key }) => key.etype === request.ticket.encrypted.etype)!.key
        const part = ok<Messages.EncTicketPart>(
          Messages.readEncTicketPart(ok(serviceKey.decrypt(2, request.ticket.encrypted.cipher)))
        )
        const [relevant] = ok<ReadonlyArray<Messages.Typed>>(
          Messages.readAuthorizationData(part.authorization[0]!.bytes)
        )
        const pac = relevant!.bytes
        assert.isObject(readPac(pac, serviceKey))
        // The signature of the key distribution centre is not signed by the service's key, nor is the filler behind it.
        const places = new Map<number, [number, number]>()
        for (let i = 0; i < view(pac).getUint32(0, true); i++) {
          const at = 8 + 16 * i
          places.set(view(pac).getUint32(at, true), [
            view(pac).getUint32(at + 8, true),
            view(pac).getUint32(at + 4, true)
          ])
        }
        const [kdcAt, kdcLength] = places.get(7)!
        for (let at = 0; at < pac.length; at++) {
          const damaged = pac.slice()
          damaged[at]! ^= 1 << at % 8
          const isFree = at >= kdcAt + 4 && at < kdcAt + kdcLength
          assert.strictEqual(typeof readPac(damaged, serviceKey), isFree ? "object" : "string", `byte ${at}`)
        }
        for (let length = 0; length < pac.length; length++) {
          assert.isString(readPac(pac.subarray(0, length), serviceKey), `${length} bytes`)
        }
      }))
  })
})
