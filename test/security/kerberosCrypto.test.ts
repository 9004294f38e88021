import { assert, describe, it } from "@effect/vitest"
import * as NodeTransport from "@callisto/rpc/node"
import { Effect } from "effect"
import { KerberosCiphers } from "../../src/security/KerberosCiphers.ts"
import {
  type AesKey,
  decryptCts,
  encryptCts,
  join,
  makeKey,
  nFold,
  stringToKey,
  utf8
} from "../../src/security/internal/kerberosCrypto.ts"
import { bytesOf, hex } from "./bytes.ts"
import vectors from "./vectors/kerberos-crypto.json" with { type: "json" }

const blocks = (bytes: Uint8Array) => join(bytes, new Uint8Array((16 - bytes.length % 16) % 16))

describe("ciphers of Kerberos", () => {
  for (const { bytes, input, output } of vectors.nfold) {
    it(`n-fold of ${input} to ${bytes} bytes: as published`, () => {
      assert.strictEqual(hex(nFold(bytesOf(input), bytes)), output)
    })
  }

  it.layer(NodeTransport.layerKerberos)((it) => {
    for (const { bits, iterations, key, password, salt } of vectors.stringToKey) {
      it.effect(`key of a password, ${bits} bits, ${iterations} rounds, salt ${salt}: as published`, () =>
        Effect.gen(function* () {
          const ciphers = yield* KerberosCiphers
          const made = yield* stringToKey(ciphers, bits === 128 ? 17 : 18, password, utf8(salt), iterations)
          assert.strictEqual(hex(made!.bytes), key)
        }))
    }

    it.effect("key of a password of 120 unusual characters: as MS-KILE 4.4 says", () =>
      Effect.gen(function* () {
        const ciphers = yield* KerberosCiphers
        const salt = utf8("DOMAIN.COMhostclient.domain.com")
        const made = yield* stringToKey(ciphers, 17, "\uffff".repeat(120), salt, 1000)
        assert.strictEqual(hex(made!.bytes), "b82ee122531c2d94821ac755bccb5879")
      }))

    for (const { cipher, plain } of vectors.aesCts.cases) {
      it.effect(`cipher text stealing, ${plain.length / 2} bytes: as published, in both directions, also the second time`, () =>
        Effect.gen(function* () {
          const cbc = (yield* KerberosCiphers).aesCbc(bytesOf(vectors.aesCts.key))
          for (let i = 0; i < 2; i++) {
            const text = bytesOf(plain)
            assert.strictEqual(hex(encryptCts(cbc, blocks(text), text.length)), cipher)
            assert.strictEqual(hex(decryptCts(cbc, blocks(bytesOf(cipher)), text.length)), plain)
          }
        }))
    }

    for (const { checksum, cipher, confounder, etype, key, plain, usage } of vectors.encryption) {
      it.effect(`encryption and check sum of type ${etype}: as published`, () =>
        Effect.gen(function* () {
          const made = makeKey(yield* KerberosCiphers, etype, bytesOf(key))!
          assert.strictEqual(hex(made.encrypt(usage, bytesOf(plain), () => bytesOf(confounder))), cipher)
          assert.strictEqual(hex(made.decrypt(usage, bytesOf(cipher))!), plain)
          assert.strictEqual(hex(made.checksum(usage, bytesOf(plain))), checksum)
        }))
    }

    for (const { base, cipher, confounder, etype, plain, stringToKey: password, usage } of vectors.rfc8009) {
      it.effect(`encryption of type ${etype} and key of a password: as published`, () =>
        Effect.gen(function* () {
          const ciphers = yield* KerberosCiphers
          const made = makeKey(ciphers, etype, bytesOf(base))!
          assert.strictEqual(hex(made.encrypt(usage, bytesOf(plain), () => bytesOf(confounder))), cipher)
          assert.strictEqual(hex(made.decrypt(usage, bytesOf(cipher))!), plain)
          const { iterations, key, salt } = password
          const derived = yield* stringToKey(ciphers, etype, password.password, bytesOf(salt), iterations)
          assert.strictEqual(hex(derived!.bytes), key)
        }))
    }

    it.effect("every byte of encrypted data, one bit flipped: not decrypted", () =>
      Effect.gen(function* () {
        const ciphers = yield* KerberosCiphers
        for (
          const { cipher, etype, key, usage } of [
            ...vectors.encryption,
            ...vectors.rfc8009.map((vector) => ({ ...vector, key: vector.base }))
          ]
        ) {
          const made = makeKey(ciphers, etype, bytesOf(key))!
          for (let at = 0; at < cipher.length / 2; at++) {
            const damaged = bytesOf(cipher)
            damaged[at]! ^= 1 << at % 8
            assert.isUndefined(made.decrypt(usage, damaged), `type ${etype}, byte ${at}`)
          }
          for (let length = 0; length < cipher.length / 2; length++) {
            assert.isUndefined(made.decrypt(usage, bytesOf(cipher).subarray(0, length)))
          }
          assert.isUndefined(made.decrypt(usage + 1, bytesOf(cipher)))
        }
      }))

    it.effect("a key of another length or an unknown type: none", () =>
      Effect.gen(function* () {
        const ciphers = yield* KerberosCiphers
        assert.isUndefined(makeKey(ciphers, 18, new Uint8Array(16)))
        assert.isUndefined(makeKey(ciphers, 3, new Uint8Array(8)))
      }))

    it.effect("a wiped key: zeros, and of no use", () =>
      Effect.gen(function* () {
        const made = makeKey(yield* KerberosCiphers, 18, new Uint8Array(32).fill(7)) as AesKey
        made.checksum(1, new Uint8Array(1))
        made.wipe()
        assert.deepStrictEqual(made.bytes, new Uint8Array(32))
        assert.throws(() => made.checksum(1, new Uint8Array(1)), /after its login was released/)
      }))
  })
})
