/**
 * Handles and tokens. Whoever does not know the secret of the database can guess neither.
 */
import * as Effect from "effect/Effect"

const utf8 = (text: string) => new TextEncoder().encode(text)

const hex = (bytes: ArrayBuffer) =>
  Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("")

/** A keyed hash of parts, as 64 hexadecimal digits. The purpose keeps one use from another. */
export type Mac = (purpose: "key" | "token" | "input", ...parts: ReadonlyArray<string>) => Effect.Effect<string>

export const makeMac = (secret: string): Effect.Effect<Mac> =>
  Effect.map(
    Effect.promise(() =>
      crypto.subtle.importKey("raw", utf8(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"])
    ),
    (key): Mac => (purpose, ...parts) =>
      Effect.map(Effect.promise(() => crypto.subtle.sign("HMAC", key, utf8(JSON.stringify([purpose, ...parts])))), hex)
  )

/** The form of a handle: a UUID, or the hash of a key. */
export const isHandle = (text: string): boolean =>
  /^(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{64})$/.test(text)

/** The two parts of a token. */
export const splitToken = (token: string): readonly [id: string, proof: string] | undefined => {
  const at = token.indexOf(".")
  const id = token.slice(0, at)
  return at > 0 && isHandle(id) ? [id, token.slice(at + 1)] : undefined
}

/** Compares in a time that says nothing of where two texts of one length differ. */
export const sameText = (a: string, b: string): boolean => {
  if (a.length !== b.length) return false
  let difference = 0
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i)
  return difference === 0
}
