/** The keys of NTLM's second version. Who makes a key wipes it. */
import { md4 } from "./md4.ts"
import { hmacMd5, md5 } from "./md5.ts"
import { flag, has, toUtf16 } from "./ntlmMessages.ts"

/** The NT hash of a password. */
export const ntHashOf = (password: string): Uint8Array => {
  const bytes = toUtf16(password)
  const hash = md4(bytes)
  bytes.fill(0)
  return hash
}

/** Upper case as Windows has it: one character becomes one. JavaScript makes "SS" of "ß". */
export const toUpper = (text: string): string => {
  let upper = ""
  for (let i = 0; i < text.length; i++) {
    const unit = text.charAt(i).toUpperCase()
    upper += unit.length === 1 ? unit : text.charAt(i)
  }
  return upper
}

/** The key of a user's responses. The domain is as it stands in the message. */
export const responseKeyOf = (ntHash: Uint8Array, user: string, domain: string): Uint8Array =>
  hmacMd5(ntHash, toUtf16(toUpper(user) + domain))

const ascii = new TextEncoder()

/** The keys of one direction. */
export interface DirectionKeys {
  readonly sign: Uint8Array
  readonly seal: Uint8Array
}

/** The keys of one direction, from the key that both sides agreed on. */
export const directionKeysOf = (
  exportedKey: Uint8Array,
  flags: number,
  direction: "client-to-server" | "server-to-client"
): DirectionKeys => {
  const magic = (purpose: string) => ascii.encode(`session key to ${direction} ${purpose} key magic constant\0`)
  const strength = has(flags, flag.key128) ? 16 : has(flags, flag.key56) ? 7 : 5
  return {
    sign: md5(exportedKey, magic("signing")),
    seal: md5(exportedKey.subarray(0, strength), magic("sealing"))
  }
}
