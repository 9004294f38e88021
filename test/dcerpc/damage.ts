/** PDUs, one by one, and what can be wrong with them. */
import { below, pick, type Random } from "./random.ts"
import { concat, patched, u32 } from "./rawClient.ts"

export const u16 = (value: number, littleEndian: boolean): ReadonlyArray<number> =>
  littleEndian ? [value & 0xff, value >> 8] : [value >> 8, value & 0xff]

/** The PDUs of a message in fragments, one by one. */
export const cut = (bytes: Uint8Array): ReadonlyArray<Uint8Array> => {
  const pdus: Array<Uint8Array> = []
  for (let at = 0; at < bytes.length;) {
    const size = bytes[at + 4] === 0 ? bytes[at + 8]! << 8 | bytes[at + 9]! : bytes[at + 8]! | bytes[at + 9]! << 8
    pdus.push(bytes.slice(at, at + size))
    at += size
  }
  return pdus
}

const bytesOfInterest = [0, 1, 2, 3, 4, 7, 8, 0x10, 0x20, 0x40, 0x7f, 0x80, 0x83, 0xfe, 0xff]
const sizesOfInterest = [0, 15, 16, 23, 24, 28, 32, 40, 72, 1432, 5840, 5841, 0x7fff, 65528, 65529, 0xffff]

const setU16 = (pdu: Uint8Array, at: number, value: number): Uint8Array =>
  at + 1 < pdu.length ? patched(pdu, { [at]: u16(value, pdu[4] !== 0) }) : pdu

const damages: ReadonlyArray<(pdu: Uint8Array, random: Random) => Uint8Array> = [
  (pdu, random) => {
    const at = below(random, pdu.length)
    return patched(pdu, { [at]: [pdu[at]! ^ 1 << below(random, 8)] })
  },
  (pdu, random) => patched(pdu, { [below(random, Math.min(pdu.length, 32))]: [pick(random, bytesOfInterest)] }),
  (pdu, random) => patched(pdu, { [below(random, pdu.length)]: [below(random, 256)] }),
  /** The type, the flags, the byte order. */
  (pdu, random) => patched(pdu, { 2: [below(random, 22)] }),
  (pdu, random) => patched(pdu, { 3: [below(random, 256)] }),
  (pdu) => patched(pdu, { 4: [pdu[4]! ^ 0x10] }),
  /** The sizes. */
  (pdu, random) => setU16(pdu, 8, pick(random, sizesOfInterest)),
  (pdu, random) => setU16(pdu, 8, pdu.length + below(random, 9) - 4),
  (pdu, random) => setU16(pdu, 10, pick(random, [...sizesOfInterest, below(random, 64)])),
  /** The call, the context, the opnum. */
  (pdu, random) => patched(pdu, { 12: [...u32(below(random, 12), pdu[4] !== 0)] }),
  (pdu, random) => setU16(pdu, 20, below(random, 4)),
  (pdu, random) => setU16(pdu, 22, below(random, 12)),
  /** Cut with the old size, cut with the new one, and longer. */
  (pdu, random) => pdu.slice(0, below(random, pdu.length + 1)),
  (pdu, random) => {
    const shorter = pdu.slice(0, Math.min(pdu.length, 16 + below(random, pdu.length)))
    return setU16(shorter, 8, shorter.length)
  },
  (pdu, random) => {
    const longer = concat(pdu, new Uint8Array(1 + below(random, 40)))
    return setU16(longer, 8, longer.length)
  }
]

/** A PDU with one thing wrong. */
export const damaged = (pdu: Uint8Array, random: Random): Uint8Array => pick(random, damages)(pdu, random)
