/** Logins in memory, with random bytes and times that a test gives. */
import * as Clock from "effect/Clock"
import * as WebCrypto from "effect/crypto/WebCrypto"
import * as Effect from "effect/Effect"
import type { Exchange, LoginFailure, Session } from "../../src/security/Security.ts"

/** Gives these bytes for random ones, an array for each request. */
export const withRandom = (...chunks: ReadonlyArray<Uint8Array>) => {
  let next = 0
  return Effect.provideService(
    WebCrypto.WebCrypto,
    {
      getRandomValues: (bytes: Uint8Array) => {
        const chunk = chunks[next++]
        if (chunk?.length !== bytes.length) throw new Error(`no ${bytes.length} random bytes at hand`)
        bytes.set(chunk)
        return bytes
      }
    } as unknown as typeof globalThis.crypto
  )
}

/** Stops the time of day, at 100 ns since 1601. */
export const atFileTime = (fileTime: bigint) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Clock.Clock, (clock) => {
    const stopped: Clock.Clock = Object.create(clock, {
      currentTimeNanosUnsafe: { value: () => (fileTime - 116_444_736_000_000_000n) * 100n }
    })
    return Effect.provideService(effect, Clock.Clock, stopped)
  })

/** What both sides have at the end of a login. */
export interface Login {
  readonly client: Session
  readonly server: Session
  /** The tokens, the client's first. */
  readonly tokens: ReadonlyArray<Uint8Array>
}

/** Runs a login to its end. `change` may change each token on its way. */
export const logIn = (
  client: Exchange,
  server: Exchange,
  change: (token: Uint8Array, index: number) => Uint8Array | undefined = (token) => token
): Effect.Effect<Login, LoginFailure> =>
  Effect.gen(function* () {
    const tokens: Array<Uint8Array> = []
    let clientSession: Session | undefined
    let serverSession: Session | undefined
    let token: Uint8Array | undefined
    for (let leg = 0; leg < 24; leg++) {
      const fromClient = leg % 2 === 0
      const step: { token: Uint8Array | undefined; session: Session | undefined } =
        yield* (fromClient ? client : server).step(token)
      if (fromClient) clientSession = step.session
      else serverSession = step.session
      if (step.token === undefined) {
        if (clientSession === undefined || serverSession === undefined) return yield* Effect.die("no token and no end")
        return { client: clientSession, server: serverSession, tokens }
      }
      tokens.push(step.token)
      token = change(step.token.slice(), leg)
    }
    return yield* Effect.die("no end in 24 legs")
  })

/** The security token of a PDU, or its signature. */
export const tokenOf = (pdu: Uint8Array): Uint8Array => pdu.slice(pdu.length - (pdu[10]! | pdu[11]! << 8))

/** Where the body of a request or response ends. */
export const bodyEndOf = (pdu: Uint8Array): number => pdu.length - (pdu[10]! | pdu[11]! << 8) - 8

/** Makes a PDU with a body and room for a signature. */
export const pduOf = (body: Uint8Array, signatureSize: number): Uint8Array => {
  const pdu = new Uint8Array(24 + body.length + 8 + signatureSize)
  pdu.set([5, 0, 0, 3, 16, 0, 0, 0, pdu.length & 0xff, pdu.length >> 8, signatureSize])
  pdu.set(body, 24)
  return pdu
}
