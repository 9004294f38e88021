/** A provider whose tokens are text and whose signatures are easy to make. It does what the tokens say. */
import { Effect, Redacted } from "effect"
import * as Security from "../../src/security/Security.ts"

const encoder = new TextEncoder()
const decoder = new TextDecoder()

export const fakeType = 10
export const signatureSize = 12

export interface FakeOptions {
  readonly authType?: number
  /** How many tokens the client sends. */
  readonly tokens?: number
  readonly legs?: "odd" | "even"
  /** Whether the client has its session with its last token, though an answer follows. */
  readonly eager?: boolean
  /** The secret that both sides share. */
  readonly secret?: string
}

/** What is asked of the fake session. Signatures cover the headers only where that was agreed, as with Kerberos. */
export class FakeSession implements Security.Session {
  readonly provider = "Fake"
  readonly needsMic = false
  readonly expires = undefined
  readonly mutual: boolean
  readonly integrity: boolean
  readonly confidentiality: boolean
  readonly identity: Security.Identity
  readonly sessionKey: Redacted.Redacted<Uint8Array>
  /** Whether a signature may still be made. */
  breaks = false
  wiped = false
  private sent = 0
  private received = 0
  private readonly side: number
  private readonly secret: Uint8Array

  constructor(side: "client" | "server", user: string, { secret = "a shared secret" }: FakeOptions = {}) {
    this.side = side === "client" ? 0 : 1
    this.secret = encoder.encode(secret)
    this.mutual = !user.includes("alone")
    this.integrity = !user.includes("unsigned")
    this.confidentiality = this.integrity && !user.includes("unsealed")
    this.sessionKey = Redacted.make(this.secret.slice())
    const anonymous = user.includes("nobody")
    this.identity = {
      name: anonymous ? undefined : user,
      domain: undefined,
      anonymous,
      impersonation: user.includes("strange") ? "strange" as never : "impersonate",
      groups: []
    }
  }

  signatureSize(level: Security.ProtectionLevel): number {
    return level === "connect" ? 0 : signatureSize
  }

  private hash(side: number, sequence: number, bytes: Uint8Array): number {
    let hash = 0x811c9dc5 ^ side ^ sequence << 1
    for (const byte of this.secret) hash = Math.imul(hash ^ byte, 0x01000193)
    for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
    return hash >>> 0
  }

  private crypt(bytes: Uint8Array, start: number, end: number, sequence: number): void {
    for (let at = start; at < end; at++) bytes[at]! ^= (at * 7 + sequence * 13 + this.secret[0]!) & 0xff
  }

  private signature(
    side: number,
    sequence: number,
    pdu: Uint8Array,
    start: number,
    end: number,
    signsHeaders: boolean
  ) {
    const signature = new Uint8Array(signatureSize)
    const view = new DataView(signature.buffer)
    view.setUint32(0, sequence, true)
    view.setUint32(
      4,
      this.hash(side, sequence, signsHeaders ? pdu.subarray(0, end + 8) : pdu.subarray(start, end)),
      true
    )
    return signature
  }

  protect(pdu: Uint8Array, start: number, end: number, level: Security.ProtectionLevel, signsHeaders: boolean): void {
    if (this.breaks) throw new Error("the session is used up")
    const sequence = this.sent++
    pdu.set(this.signature(this.side, sequence, pdu, start, end, signsHeaders), end + 8)
    if (level === "privacy") this.crypt(pdu, start, end, sequence)
  }

  unprotect(
    pdu: Uint8Array,
    start: number,
    end: number,
    level: Security.ProtectionLevel,
    signsHeaders: boolean
  ): boolean {
    if (this.breaks) throw new Error("the session is used up")
    const sequence = this.received++
    if (level === "privacy") this.crypt(pdu, start, end, sequence)
    const expected = this.signature(1 - this.side, sequence, pdu, start, end, signsHeaders)
    return expected.every((byte, index) => byte === pdu[end + 8 + index])
  }

  mic(): Uint8Array {
    return new Uint8Array(16)
  }

  verifyMic(): boolean {
    return true
  }
}

const reasons = ["refused", "tampered", "unsupported", "unavailable"] as const

/** Does what a token asks for, or `undefined`. */
const obey = (text: string): Effect.Effect<never, Security.LoginFailure> | undefined => {
  const reason = reasons.find((reason) => text.startsWith(reason))
  if (reason !== undefined) {
    return Effect.fail(new Security.LoginFailure({ reason, detail: "as asked", claimed: "alice" }))
  }
  if (text.startsWith("hang")) return Effect.never
  if (text.startsWith("die")) return Effect.die(new Error("as asked, with the secret hunter2"))
  if (text.startsWith("throw")) throw new Error("as asked, with the secret hunter2")
  return undefined
}

/** The sessions that the server has made, and how many logins were wiped. */
export interface Journal {
  readonly sessions: Array<FakeSession>
  wiped: number
}

export const makeServer = (
  options: FakeOptions = {},
  journal: Journal = { sessions: [], wiped: 0 }
): Security.ServerProvider & { readonly journal: Journal } => ({
  name: "Fake",
  authType: options.authType ?? fakeType,
  journal,
  accept: ({ peer }) => {
    if (peer.includes("throwing")) throw new Error("as asked")
    const { legs = "odd", tokens = 2 } = options
    let user: string | undefined
    let leg = 0
    return Effect.as(
      Effect.acquireRelease(Effect.void, () =>
        Effect.sync(() => {
          journal.wiped++
          for (const session of journal.sessions) session.wiped = true
        })),
      {
        step: (token) => {
          const text = decoder.decode(token)
          const obeyed = obey(text)
          if (obeyed !== undefined) return obeyed
          user ??= text
          leg++
          if (leg < tokens || text.startsWith("more")) {
            const answer = text.startsWith("huge") ? "x".repeat(70_000) : `answer ${leg}`
            return Effect.succeed({ token: encoder.encode(answer), session: undefined })
          }
          const session = new FakeSession("server", user, options)
          journal.sessions.push(session)
          return Effect.succeed({ token: legs === "odd" ? undefined : encoder.encode("done"), session })
        }
      }
    )
  }
})

export const makeClient = (
  options: FakeOptions & { readonly onInitiate?: () => void; readonly sessions?: Array<FakeSession> } = {}
): Security.ClientProvider => ({
  name: "Fake",
  authType: options.authType ?? fakeType,
  legs: options.legs ?? "odd",
  initiate: ({ credentials: { user } }) =>
    Effect.sync(() => {
      options.onInitiate?.()
      const { eager = false, legs = "odd", tokens = 2 } = options
      let leg = 0
      return {
        step: (token) => {
          const obeyed = leg > 0 ? obey(user) : undefined
          if (obeyed !== undefined) return obeyed
          leg++
          const text = token === undefined ? user : `${decoder.decode(token)} answered`
          const isDone = legs === "odd" || eager ? leg === tokens : leg > tokens
          let session: FakeSession | undefined
          if (isDone) {
            session = new FakeSession("client", user, options)
            options.sessions?.push(session)
          }
          return Effect.succeed({ token: leg <= tokens ? encoder.encode(text) : undefined, session })
        }
      }
    })
})
