// Libraries whose calls are promises: how they are loaded, and what they call.
import { Effect } from "effect"
import { type Promised, routines, type Shares } from "./service.ts"

/** A library of `bench/package.json`. It may be missing: its types are declared where it is used. */
export const load = async (name: string): Promise<any> => {
  try {
    return await import(name)
  } catch (cause) {
    throw new Error(`${name} is not installed: npm ci in bench/`, { cause })
  }
}

export const promisedRoutines = {
  AddOne: (n: number): number => n + 1,
  Echo: (bytes: Uint8Array): Uint8Array => bytes,
  EchoText: (text: string): string => text,
  EchoShares: (shares: Shares): Shares => shares,
  Wait: (): Promise<void> => Effect.runPromise(routines.Wait()),
  Started: (count: number): Promise<void> => Effect.runPromise(routines.Started(count)),
  Ended: (count: number): Promise<void> => Effect.runPromise(routines.Ended(count))
}

/** Bytes where only JSON travels. */
export const toBase64 = (
  { buffer, byteLength, byteOffset }: Uint8Array
): string => Buffer.from(buffer, byteOffset, byteLength).toString("base64")
export const fromBase64 = (text: string): Uint8Array => Buffer.from(text, "base64")

/** A service whose bytes travel in base64. */
export const inBase64 = (service: Promised): Promised => ({
  ...service,
  Echo: async (bytes) => fromBase64(await service.Echo(toBase64(bytes) as never))
})
