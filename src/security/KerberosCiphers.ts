/**
 * The ciphers that Kerberos needs from its platform. `NodeTransport.layerKerberos` of `@callisto/rpc/node` has them for Deno, Bun and
 * Node.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

/**
 * The hash functions of Kerberos.
 *
 * @category models
 * @since 0.1.0
 */
export type Hash = "SHA-1" | "SHA-256" | "SHA-384"

/**
 * AES in CBC mode under one key. The vector of the first block is zero, and nothing is padded.
 *
 * @category models
 * @since 0.1.0
 */
export interface AesCbc {
  /** Encrypts whole blocks. Gives memory of its own, and may change the given one. */
  readonly encrypt: (blocks: Uint8Array) => Uint8Array
  /** Decrypts whole blocks. Gives memory of its own. */
  readonly decrypt: (blocks: Uint8Array) => Uint8Array
}

/**
 * Gives the authentication code of some parts, as if they were joined.
 *
 * @category models
 * @since 0.1.0
 */
export type Hmac = (...parts: ReadonlyArray<Uint8Array>) => Uint8Array

/**
 * The ciphers that Kerberos needs. All but `pbkdf2` are synchronous, because messages are protected in their order.
 *
 * @category services
 * @since 0.1.0
 */
export interface KerberosCiphers {
  /** AES with a key of 16 or 32 bytes, which may be overwritten afterwards. */
  readonly aesCbc: (key: Uint8Array) => AesCbc
  /** HMAC with a key, which may be overwritten afterwards. */
  readonly hmac: (hash: Hash, key: Uint8Array) => Hmac
  /** Derives a key of so many bytes from a password. */
  readonly pbkdf2: (
    hash: Hash,
    password: Uint8Array,
    salt: Uint8Array,
    iterations: number,
    length: number
  ) => Effect.Effect<Uint8Array>
}

/**
 * The service with the ciphers.
 *
 * @category services
 * @since 0.1.0
 */
export const KerberosCiphers: Context.Service<KerberosCiphers, KerberosCiphers> = Context.Service(
  "@callisto/rpc/security/KerberosCiphers"
)
