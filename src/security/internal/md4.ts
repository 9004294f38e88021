/** MD4, for NTLM, which stores passwords as their MD4. Not to be used for anything else. */

const shifts = [[3, 7, 11, 19], [3, 5, 9, 13], [3, 9, 11, 15]] as const
const constants = [0, 0x5a827999, 0x6ed9eba1] as const
const orders = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15],
  [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15]
] as const

/** The MD4 of bytes. */
export const md4 = (bytes: Uint8Array): Uint8Array => {
  const padded = new Uint8Array((bytes.length + 72) & ~63)
  padded.set(bytes)
  padded[bytes.length] = 0x80
  const view = new DataView(padded.buffer)
  view.setUint32(padded.length - 8, bytes.length << 3, true)
  view.setUint32(padded.length - 4, bytes.length >>> 29, true)
  const state = Uint32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476)
  for (let at = 0; at < padded.length; at += 64) {
    let [a, b, c, d] = state as Iterable<number> as [number, number, number, number]
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 16; i++) {
        const mixed = round === 0 ? b & c | ~b & d : round === 1 ? b & c | b & d | c & d : b ^ c ^ d
        const sum = a + mixed + view.getInt32(at + 4 * orders[round]![i]!, true) + constants[round]! | 0
        const shift = shifts[round]![i & 3]!
        ;[a, b, c, d] = [d, sum << shift | sum >>> 32 - shift, b, c]
      }
    }
    state[0]! += a
    state[1]! += b
    state[2]! += c
    state[3]! += d
  }
  padded.fill(0)
  const digest = new Uint8Array(16)
  for (let i = 0; i < 16; i++) digest[i] = state[i >> 2]! >>> (8 * (i & 3))
  return digest
}
