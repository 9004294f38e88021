/** The keys that a program uses: those of AES, and those of RC4 where it is allowed. */
import * as Effect from "effect/Effect"
import type { KerberosCiphers } from "../KerberosCiphers.ts"
import { AesKey, etypes, type Key, makeKey, type Random, randomKey, stringToKey } from "./kerberosCrypto.ts"
import { Rc4Key, rc4KeyOf } from "./kerberosRc4.ts"
import { AesTokens, type Agreement, type Tokens } from "./kerberosTokens.ts"
import { Rc4Tokens } from "./kerberosRc4.ts"

/** Makes keys of the types that a program uses. */
export interface Keys {
  readonly ciphers: KerberosCiphers
  /** The types, the best first. */
  readonly etypes: ReadonlyArray<number>
  /** Makes a key of its own copy of the bytes. Gives `undefined` for another type, or another length. */
  readonly make: (etype: number, bytes: Uint8Array) => Key | undefined
  readonly random: (etype: number, random: Random) => Key | undefined
  readonly ofPassword: (
    etype: number,
    password: string,
    salt: Uint8Array,
    iterations: number
  ) => Effect.Effect<Key | undefined>
}

/** Whether sessions can have keys of a type: the tokens of the types of RFC 8009 are not proven with any other implementation. */
const isUsable = (etype: number): boolean => etype === etypes.aes256 || etype === etypes.aes128

export const makeKeys = (ciphers: KerberosCiphers, allowRc4: boolean): Keys => {
  const isRc4 = (etype: number) => allowRc4 && etype === etypes.rc4
  return {
    ciphers,
    etypes: allowRc4 ? [etypes.aes256, etypes.aes128, etypes.rc4] : [etypes.aes256, etypes.aes128],
    make: (etype, bytes) => {
      if (isRc4(etype)) return bytes.length === 16 ? new Rc4Key(bytes.slice()) : undefined
      return isUsable(etype) ? makeKey(ciphers, etype, bytes) : undefined
    },
    random: (etype, random) => {
      if (isRc4(etype)) return new Rc4Key(random(16))
      return isUsable(etype) ? randomKey(ciphers, etype, random) : undefined
    },
    ofPassword: (etype, password, salt, iterations) => {
      if (isRc4(etype)) return Effect.sync(() => new Rc4Key(rc4KeyOf(password)))
      return isUsable(etype) ? stringToKey(ciphers, etype, password, salt, iterations) : Effect.undefined
    }
  }
}

/** The protection of messages with a key. */
export const makeTokens = (key: Key, agreement: Agreement): Tokens =>
  key instanceof AesKey ? new AesTokens(key, agreement) : new Rc4Tokens(key as Rc4Key, agreement)
