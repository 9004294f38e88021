/** The ciphers that Kerberos needs from its platform. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

/** The hash functions of Kerberos. */
export type Hash = "SHA-1" | "SHA-256" | "SHA-384"

/** AES in CBC mode under one key: the first block has a zero vector, nothing is padded. */
export interface AesCbc {
  /** Gives the encrypted blocks in memory of their own. The given ones may be changed. */
  readonly encrypt: (blocks: Uint8Array) => Uint8Array
  /** Gives the decrypted blocks in memory of their own. */
  readonly decrypt: (blocks: Uint8Array) => Uint8Array
}

/** Gives the authentication code of the parts, as if they were joined. */
export type Hmac = (...parts: ReadonlyArray<Uint8Array>) => Uint8Array

/** The ciphers that Kerberos needs. All but `pbkdf2` are synchronous, because messages are protected in their order. */
export interface Ciphers {
  /** AES with a key of 16 or 32 bytes. */
  readonly aesCbc: (key: Uint8Array) => AesCbc
  /** HMAC under one key. */
  readonly hmac: (hash: Hash, key: Uint8Array) => Hmac
  /** Derives a key from a password. */
  readonly pbkdf2: (
    hash: Hash,
    password: Uint8Array,
    salt: Uint8Array,
    iterations: number,
    length: number
  ) => Effect.Effect<Uint8Array>
}

/** The service with the ciphers. */
export const Ciphers: Context.Service<Ciphers, Ciphers> = Context.Service("@callisto/rpc/security/Kerberos/Ciphers")
