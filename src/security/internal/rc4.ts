/** RC4, for NTLM, which seals with it. Not to be used for anything new. */

/** A running key stream. Encrypting and decrypting are the same. */
export class Rc4 {
  readonly #start = new Uint8Array(256)
  readonly #table = new Uint8Array(256)
  #i = 0
  #j = 0

  constructor(key: Uint8Array) {
    const table = this.#start
    for (let i = 0; i < 256; i++) table[i] = i
    for (let i = 0, j = 0; i < 256; i++) {
      const value = table[i]!
      j = j + value + key[i % key.length]! & 0xff
      table[i] = table[j]!
      table[j] = value
    }
    this.restart()
  }

  /** Goes back to where the key stream begins. */
  restart(): void {
    this.#table.set(this.#start)
    this.#i = 0
    this.#j = 0
  }

  /** Applies the key stream in place, from `start` to `end`. */
  apply(bytes: Uint8Array, start: number, end: number): void {
    const table = this.#table
    let i = this.#i
    let j = this.#j
    for (let at = start; at < end; at++) {
      i = i + 1 & 0xff
      const x = table[i]!
      j = j + x & 0xff
      const y = table[j]!
      table[i] = y
      table[j] = x
      bytes[at]! ^= table[x + y & 0xff]!
    }
    this.#i = i
    this.#j = j
  }

  /** Forgets the key. */
  wipe(): void {
    this.#start.fill(0)
    this.#table.fill(0)
  }
}

/** Applies the key stream of a key to a copy of the bytes. */
export const rc4 = (key: Uint8Array, bytes: Uint8Array): Uint8Array => {
  const stream = new Rc4(key)
  const result = bytes.slice()
  stream.apply(result, 0, result.length)
  stream.wipe()
  return result
}
