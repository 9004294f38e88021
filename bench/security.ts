// What protecting a message costs beside node:crypto over the same bytes, and what a login takes.
import { Effect } from "effect"
import { createCipheriv, createHmac } from "node:crypto"
import { type Contender, sizeFor, time } from "./local.ts"
import { rowsOf, type Table, takeTurns, type Turn } from "./measure.ts"
import { layerKerberos } from "../src/node.ts"
import { KerberosCiphers } from "../src/security/KerberosCiphers.ts"
import { makeKeys, makeTokens } from "../src/security/internal/kerberosKeys.ts"
import { NtlmSession } from "../src/security/internal/ntlmSession.ts"

const loopOf = (run: () => void) => (n: number): Effect.Effect<void> =>
  Effect.sync(() => {
    for (let i = 0; i < n; i++) run()
  })

/** Signed and sealed, with 128 bits, a key of its own and extended session security. */
const flags = 0x62088235

const ntlm = (): NtlmSession =>
  new NtlmSession({
    identity: {
      name: "bench",
      domain: undefined,
      anonymous: false,
      impersonation: "impersonate",
      groups: []
    },
    side: "client",
    flags,
    exportedKey: new Uint8Array(16).fill(7),
    needsMic: false
  })

const hmacMd5 = "node:crypto, HMAC-MD5"
const aes = "node:crypto, AES-256-CBC and HMAC-SHA1"

const contendersFor = (
  size: number,
  ciphers: KerberosCiphers
): ReadonlyArray<Contender & { reference?: string }> => {
  const pduOf = (signature: number) => new Uint8Array(24 + size + 8 + signature).fill(1)
  const key = new Uint8Array(32).fill(3)
  const body = new Uint8Array(size).fill(1)
  const kerberos = makeTokens(makeKeys(ciphers, false).make(18, key)!, {
    isInitiator: true,
    hasAcceptorSubkey: true,
    sendSequence: 0,
    receiveSequence: 0,
    random: (count) => new Uint8Array(count)
  })
  const [signing, sealing] = [ntlm(), ntlm()]
  const [signed, sealed] = [pduOf(16), pduOf(16)]
  const protectedPdu = pduOf(kerberos.signatureSize("privacy"))
  return [
    {
      name: hmacMd5,
      loop: loopOf(() => createHmac("md5", key).update(body).digest())
    },
    {
      name: "NTLM, integrity",
      reference: hmacMd5,
      loop: loopOf(() => signing.protect(signed, 24, 24 + size, "integrity"))
    },
    {
      name: "NTLM, privacy",
      reference: hmacMd5,
      loop: loopOf(() => sealing.protect(sealed, 24, 24 + size, "privacy"))
    },
    {
      name: aes,
      loop: loopOf(() => {
        createCipheriv("aes-256-cbc", key, body.subarray(0, 16)).update(body)
        createHmac("sha1", key).update(body).digest()
      })
    },
    {
      name: "Kerberos, privacy",
      reference: aes,
      loop: loopOf(() => kerberos.protect(protectedPdu, 24, 24 + size, "privacy", true))
    }
  ]
}

/** The time of one message, for messages of 1 KiB and for whole fragments. */
export const measureProtection = (
  { millis, rounds }: { readonly rounds: number; readonly millis: number }
): Effect.Effect<ReadonlyArray<Table>> =>
  Effect.gen(function* () {
    const ciphers = yield* KerberosCiphers
    const tables: Array<Table> = []
    for (const size of [1024, 5840]) {
      const turns: Array<Turn<number>> = []
      for (const contender of contendersFor(size, ciphers)) {
        const n = yield* Effect.orDie(sizeFor(contender, millis))
        turns.push({
          name: contender.name,
          reference: contender.reference,
          perform: Effect.map(
            Effect.orDie(time(contender, n)),
            (took) => ({ value: 1000 * took / n })
          )
        })
      }
      const { missing, outcomes } = yield* takeTurns(turns, rounds)
      tables.push({
        id: `protect${size}`,
        title: `one message of ${size.toLocaleString("en-US")} bytes, protected`,
        unit: "µs",
        rows: rowsOf(outcomes, (value) => value),
        missing
      })
    }
    return tables
  }).pipe(Effect.provide(layerKerberos))
