import { assert, describe, it } from "@effect/vitest"
import { createHash, createHmac } from "node:crypto"
import { equalBytes } from "../../src/security/internal/constantTime.ts"
import { md4 } from "../../src/security/internal/md4.ts"
import { HmacMd5, hmacMd5, md5 } from "../../src/security/internal/md5.ts"
import { Rc4, rc4 } from "../../src/security/internal/rc4.ts"
import { bytesOf, hex } from "./bytes.ts"

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text)

const range = (length: number): Uint8Array => Uint8Array.from({ length }, (_, index) => index * 31 + 7)

/** The sizes around which blocks and padding change. */
const sizes = [0, 1, 3, 55, 56, 57, 59, 60, 61, 63, 64, 65, 119, 120, 123, 124, 127, 128, 129, 1000, 5840]

describe("crypto", () => {
  it("MD4: the digests of RFC 1320", () => {
    for (
      const [text, digest] of [
        ["", "31d6cfe0d16ae931b73c59d7e0c089c0"],
        ["a", "bde52cb31de33e46245e05fbdbd6fb24"],
        ["abc", "a448017aaf21d8525fc10ae87aa6729d"],
        ["message digest", "d9130a8164549fe818874806e1c7014b"],
        ["abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"],
        ["ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "043f8582f241db351ce627e153e7f0e4"],
        ["1234567890".repeat(8), "e33b4ddc9c38f2199c3e7b164fcc0536"]
      ] as const
    ) assert.strictEqual(hex(md4(ascii(text))), digest)
  })

  it("MD5 of any size: as the platform has it", () => {
    for (const size of sizes) {
      const bytes = range(size)
      assert.strictEqual(hex(md5(bytes)), createHash("md5").update(bytes).digest("hex"))
      assert.strictEqual(hex(md5(bytes.subarray(0, 1), bytes.subarray(1))), hex(md5(bytes)))
    }
  })

  it("HMAC-MD5 with keys of any size: as the platform has it", () => {
    for (const size of [0, 1, 16, 63, 64, 65, 200]) {
      const key = range(size)
      assert.strictEqual(hex(hmacMd5(key, range(100))), createHmac("md5", key).update(range(100)).digest("hex"))
    }
  })

  it("HMAC-MD5 of a sequence number and the beginning of a buffer: as the platform has it", () => {
    const key = range(16)
    const hmac = new HmacMd5(key)
    for (const size of sizes) {
      for (const sequence of [0, 1, 0x89abcdef]) {
        const message = new Uint8Array(4 + size)
        new DataView(message.buffer).setUint32(0, sequence, true)
        message.set(range(size), 4)
        const buffer = new Uint8Array(size + 32).fill(0xee)
        buffer.set(range(size))
        assert.strictEqual(hex(hmac.sign(sequence, buffer, size)), createHmac("md5", key).update(message).digest("hex"))
      }
    }
  })

  it("a forgotten key: signs no more as before", () => {
    const hmac = new HmacMd5(range(16))
    const before = hex(hmac.digest(range(5)))
    hmac.wipe()
    assert.notStrictEqual(hex(hmac.digest(range(5))), before)
  })

  it("RC4: the key streams of RFC 6229", () => {
    assert.strictEqual(hex(rc4(bytesOf("0102030405"), new Uint8Array(16))), "b2396305f03dc027ccc3524a0a1118a8")
    assert.strictEqual(
      hex(rc4(bytesOf("0102030405060708090a0b0c0d0e0f10"), new Uint8Array(16))),
      "9ac7cc9a609d1ef7b2932899cde41b97"
    )
  })

  it("RC4 in parts: one stream, which begins again after a restart", () => {
    const key = range(16)
    const whole = rc4(key, range(100))
    const stream = new Rc4(key)
    for (let round = 0; round < 2; round++) {
      const bytes = range(100)
      stream.apply(bytes, 0, 0)
      stream.apply(bytes, 0, 33)
      stream.apply(bytes, 33, 100)
      assert.strictEqual(hex(bytes), hex(whole))
      stream.restart()
    }
  })

  it("a comparison: equal only where every byte and the length are", () => {
    assert.isTrue(equalBytes(range(16), range(16)))
    assert.isFalse(equalBytes(range(16), range(15)))
    for (let i = 0; i < 16; i++) {
      const other = range(16)
      other[i]! ^= 0x80
      assert.isFalse(equalBytes(range(16), other))
    }
  })
})
