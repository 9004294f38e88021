/**
 * Tokens of Kerberos, answers of a key distribution centre, keytabs and protected messages, damaged in every way that a peer could think of.
 *
 * Nothing may throw, and what is accepted says the same as without the damage.
 */
import { assert, describe, it } from "@effect/vitest"
import * as NodeTransport from "@callisto/rpc/node"
import { Effect } from "effect"
import { LoginFailure, type Session } from "../../src/security/Security.ts"
import * as Der from "../../src/security/internal/der.ts"
import { accept, type Acceptor, type AcceptorPolicy } from "../../src/security/internal/kerberosAcceptor.ts"
import { KerberosCiphers } from "../../src/security/KerberosCiphers.ts"
import type { Key } from "../../src/security/internal/kerberosCrypto.ts"
import { initiate, type Initiator } from "../../src/security/internal/kerberosInitiator.ts"
import { makeKeys, makeTokens } from "../../src/security/internal/kerberosKeys.ts"
import { readKeytab } from "../../src/security/internal/kerberosKeytab.ts"
import * as Messages from "../../src/security/internal/kerberosMessages.ts"
import { readPac } from "../../src/security/internal/kerberosPac.ts"
import { budgetOf, report, seed } from "../budget.ts"
import { below, makeRandom, pick, type Random } from "../dcerpc/random.ts"
import { bytesOf, hex } from "./bytes.ts"
import { random } from "./kdc.ts"
import kdc from "./vectors/kerberos-kdc.json" with { type: "json" }
import rpc from "./vectors/kerberos-rpc.json" with { type: "json" }
import keytab from "./vectors/keytab.json" with { type: "json" }

const bytesOfInterest = [0, 1, 2, 3, 4, 5, 0x1b, 0x30, 0x60, 0x7e, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xa0, 0xa1, 0xfe, 0xff]

const splice = (bytes: Uint8Array, at: number, removed: number, added: Uint8Array): Uint8Array => {
  const result = new Uint8Array(bytes.length - removed + added.length)
  result.set(bytes.subarray(0, at))
  result.set(added, at)
  result.set(bytes.subarray(at + removed), at + added.length)
  return result
}

const damages: ReadonlyArray<(bytes: Uint8Array, random: Random) => Uint8Array> = [
  (bytes, random) => {
    const damaged = bytes.slice()
    damaged[below(random, bytes.length)]! ^= 1 << below(random, 8)
    return damaged
  },
  (bytes, random) => {
    const damaged = bytes.slice()
    damaged[below(random, bytes.length)] = pick(random, bytesOfInterest)
    return damaged
  },
  // The outer fields, which lie at the beginning.
  (bytes, random) => {
    const damaged = bytes.slice()
    damaged[below(random, Math.min(64, bytes.length))] = pick(random, bytesOfInterest)
    return damaged
  },
  (bytes, random) => bytes.slice(0, below(random, bytes.length)),
  (bytes, random) => splice(bytes, below(random, bytes.length), 0, new Uint8Array(1 + below(random, 40))),
  (bytes, random) => {
    const at = below(random, bytes.length)
    return splice(bytes, at, below(random, Math.min(40, bytes.length - at)), new Uint8Array(0))
  },
  (bytes, random) => {
    const at = below(random, bytes.length)
    return splice(bytes, at, 0, bytes.subarray(at, at + below(random, 200)))
  }
]

const damaged = (bytes: Uint8Array, random: Random): Uint8Array => {
  const once = pick(random, damages)(bytes, random)
  return once.length > 0 && random() < 0.3 ? pick(random, damages)(once, random) : once
}

const ok = <A>(value: A | LoginFailure | Der.DerFailure | string | undefined): A => {
  if (value === undefined || typeof value === "string" || value instanceof Error) assert.fail(String(value))
  return value as A
}

const tokenOf = (pdu: string) => {
  const bytes = bytesOf(pdu)
  return bytes.subarray(bytes.length - new DataView(bytes.buffer).getUint16(10, true))
}

const vector = rpc.cases.integrityHeaderSign

const requestDer = tokenOf(vector.pdus[0]!.hex)
const answerDer = tokenOf(vector.pdus[1]!.hex)
const lastDer = tokenOf(vector.pdus[2]!.hex)

const { stamp } = ok<Messages.Authenticator>(Messages.readAuthenticator(bytesOf(vector.authenticatorPlain)))

const request = ok<Messages.ApReq>(Messages.readApReq(requestDer))

const setUp = Effect.map(KerberosCiphers, (ciphers) => {
  const keys = makeKeys(ciphers, true)
  const serviceKeys = Object.entries(rpc.serviceKeys).map(([etype, key]) => ({
    kvno: 1,
    key: ok<Key>(keys.make(Number(etype), bytesOf(key)))
  }))
  const sessionKey = ok<Key>(keys.make(vector.ticketSessionKey.etype, bytesOf(vector.ticketSessionKey.key)))
  const policy: AcceptorPolicy = {
    keys,
    serviceKeys,
    names: undefined,
    channelBindings: "whenSupported",
    clockSkew: 300_000,
    isNew: () => true
  }
  const serviceKey = serviceKeys.find(({ key }) => key.etype === request.ticket.encrypted.etype)!.key
  const ticketPlain = ok<Uint8Array>(serviceKey.decrypt(2, request.ticket.encrypted.cipher)).slice()
  return { keys, policy, serviceKey, sessionKey, ticketPlain }
})

const take = (policy: AcceptorPolicy, token: Uint8Array, random_ = random) =>
  accept(policy, { now: stamp.time, wantsPrivacy: false, channelBindings: undefined, random: random_ }, token)

const run = (title: string, whole: number, step: (random: Random) => boolean) => {
  const numbers = makeRandom(seed)
  const count = budgetOf(whole)
  let accepted = 0
  for (let i = 0; i < count; i++) if (step(numbers)) accepted++
  report(title, `${count} damaged, ${accepted} of them accepted`)
}

/** Writes a request again with other contents. */
const writeRequest = (
  serviceKey: Key,
  sessionKey: Key,
  ticketPlain: Uint8Array,
  authenticator: Uint8Array
): Uint8Array =>
  Messages.writeApReq(
    0x20000000,
    Der.application(
      1,
      Der.sequence(
        Der.field(0, Der.integer(5)),
        Der.field(1, Der.text(rpc.realm)),
        Der.field(2, Messages.writePrincipal(request.ticket.service)),
        Der.field(3, Messages.writeEncryptedData(serviceKey.etype, serviceKey.encrypt(2, ticketPlain, random)))
      )
    ),
    Messages.writeEncryptedData(sessionKey.etype, sessionKey.encrypt(11, authenticator, random))
  )

const isValue = (value: Acceptor | LoginFailure): value is Acceptor => !(value instanceof LoginFailure)

/** For a whole budget. */
const timeout = 900_000

describe("damaged Kerberos", () => {
  it.layer(NodeTransport.layerKerberos)((it) => {
    it.effect("requests: refused, or from the same user", () =>
      Effect.gen(function* () {
        const { policy } = yield* setUp
        // The recorded choices of the server, so that the recorded last token fits.
        const recorded = (length: number) =>
          length === 4
            ? bytesOf(vector.acceptorSeq)
            : length === 32
            ? bytesOf(vector.acceptorSubkey.key)
            : new Uint8Array(length)
        run("Kerberos requests", 150_000, (numbers) => {
          const result = take(policy, damaged(requestDer, numbers), recorded)
          if (!isValue(result)) return false
          const { identity } = ok(result.finish(lastDer)) as Session
          assert.strictEqual(identity.name, rpc.user)
          assert.strictEqual(identity.domain, rpc.realm)
          return true
        })
      }), timeout)

    it.effect(
      "tickets, certificates and authenticators, encrypted by one who has the keys: a value",
      () =>
        Effect.gen(function* () {
          const { policy, serviceKey, sessionKey, ticketPlain } = yield* setUp
          const authenticator = bytesOf(vector.authenticatorPlain)
          assert.isTrue(isValue(take(policy, writeRequest(serviceKey, sessionKey, ticketPlain, authenticator))))
          run("Kerberos tickets", 30_000, (numbers) => {
            const [ticket, proof] = numbers() < 0.5
              ? [damaged(ticketPlain, numbers), authenticator]
              : [ticketPlain, damaged(authenticator, numbers)]
            return isValue(take(policy, writeRequest(serviceKey, sessionKey, ticket, proof)))
          })
        }),
      timeout
    )

    it.effect("the answers and last tokens of a login: only the right one completes it", () =>
      Effect.gen(function* () {
        const { keys, policy, sessionKey } = yield* setUp
        const begin = () =>
          ok(initiate(keys, {
            ticket: {
              der: request.ticket.der,
              key: sessionKey,
              realm: rpc.realm,
              client: { type: 1, parts: [rpc.user] },
              endtime: 0
            },
            level: "integrity",
            impersonation: "impersonate",
            channelBindings: undefined,
            stamp,
            random
          })) as Initiator
        const initiator = begin()
        assert.isFalse(initiator.finish(answerDer) instanceof LoginFailure)
        run("Kerberos answers", 100_000, (numbers) => {
          const token = damaged(answerDer, numbers)
          const isAccepted = !(initiator.finish(token) instanceof LoginFailure)
          assert.isTrue(!isAccepted || hex(token) === hex(answerDer))
          return isAccepted
        })
        const acceptor = take(policy, requestDer) as Acceptor
        run("Kerberos last tokens", 100_000, (numbers) => {
          const isAccepted = !(acceptor.finish(damaged(lastDer, numbers)) instanceof LoginFailure)
          assert.isFalse(isAccepted)
          return isAccepted
        })
        const plain = bytesOf(vector.apRepPlain)
        run("Kerberos answers, encrypted", 30_000, (numbers) => {
          const cipher = sessionKey.encrypt(12, damaged(plain, numbers), random)
          const token = Messages.writeApRep(Messages.writeEncryptedData(sessionKey.etype, cipher))
          return !(initiator.finish(token) instanceof LoginFailure)
        })
      }), timeout)

    it("answers of a key distribution centre: read, or refused as a value", () => {
      const corpus: ReadonlyArray<readonly [Uint8Array, (bytes: Uint8Array) => unknown]> = [
        [bytesOf(kdc.asRep), Messages.readAsReply],
        [bytesOf(kdc.tgsRep), Messages.readTgsReply],
        [bytesOf(kdc.encAsRepPart), Messages.readEncKdcReplyPart],
        [bytesOf(kdc.krbError), Messages.readKrbError],
        [
          ok<Messages.KrbError>(Messages.readKrbError(bytesOf(kdc.krbError))).data!.slice(),
          (bytes) => {
            const padata = Messages.readPadata(bytes)
            return padata instanceof Der.DerFailure ? padata : Messages.readEtypeInfo(padata)
          }
        ]
      ]
      run("Kerberos answers of key distribution centres", 200_000, (numbers) => {
        const [bytes, read] = pick(numbers, corpus)
        return !(read(damaged(bytes, numbers)) instanceof Der.DerFailure)
      })
    }, timeout)

    it("keytabs: read, or refused with a sentence", () => {
      run(
        "Kerberos keytabs",
        150_000,
        (numbers) => typeof readKeytab(damaged(bytesOf(keytab.hex), numbers)) !== "string"
      )
    }, timeout)

    it.effect("certificates with the right signature: read, or refused with a sentence", () =>
      Effect.gen(function* () {
        const { serviceKey, ticketPlain } = yield* setUp
        const part = ok<Messages.EncTicketPart>(Messages.readEncTicketPart(ticketPlain))
        const [relevant] = ok<ReadonlyArray<Messages.Typed>>(
          Messages.readAuthorizationData(part.authorization[0]!.bytes)
        )
        const pac = relevant!.bytes.slice()
        const view = new DataView(pac.buffer)
        const entries = Array.from({ length: view.getUint32(0, true) }, (_, i) => ({
          type: view.getUint32(8 + 16 * i, true),
          length: view.getUint32(12 + 16 * i, true),
          at: view.getUint32(16 + 16 * i, true)
        }))
        const place = (type: number) => entries.find((entry) => entry.type === type)!
        /** Signs again, as only a domain controller could. */
        const sign = (bytes: Uint8Array) => {
          const signed = bytes.slice()
          for (const { at, length } of [place(6), place(7)]) signed.fill(0, at + 4, at + Math.min(length, 16))
          const key = serviceKey
          bytes.set(key.checksum(17, signed), place(6).at + 4)
          return bytes
        }
        assert.isObject(readPac(sign(pac.slice()), serviceKey))
        const logon = place(1)
        run("Kerberos certificates", 100_000, (numbers) => {
          const changed = pac.slice()
          for (let i = 0; i <= below(numbers, 3); i++) {
            const at = logon.at + below(numbers, logon.length)
            changed[at] = numbers() < 0.5 ? changed[at]! ^ 1 << below(numbers, 8) : pick(numbers, bytesOfInterest)
          }
          return typeof readPac(sign(changed), serviceKey) === "object"
        })
      }), timeout)

    it.effect("protected messages: only the right one is taken", () =>
      Effect.gen(function* () {
        const { keys } = yield* setUp
        for (const etype of [18, 17, 23]) {
          const key = keys.random(etype, random)!
          const agreement = { hasAcceptorSubkey: true, sendSequence: 7, receiveSequence: 7, random }
          for (const level of ["integrity", "privacy"] as const) {
            const sender = makeTokens(key, { ...agreement, isInitiator: true })
            const receiver = makeTokens(key, { ...agreement, isInitiator: false })
            const size = sender.signatureSize(level)
            const pdu = new Uint8Array(24 + 64 + 8 + size)
            sender.protect(pdu, 24, 88, level, true)
            run(`Kerberos messages, type ${etype}, ${level}`, 160_000, (numbers) => {
              const token = damaged(pdu, numbers)
              if (hex(token) === hex(pdu)) return false
              const end = Math.max(24, numbers() < 0.5 ? 88 : token.length - size - 8)
              const isAccepted = receiver.unprotect(token, 24, end, level, true)
              assert.isFalse(isAccepted)
              return isAccepted
            })
            assert.isTrue(receiver.unprotect(pdu, 24, 88, level, true))
          }
        }
      }), timeout)
  })
})
