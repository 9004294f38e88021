/**
 * NTLM, the second version, with a check sum over the messages of the login.
 *
 * NTLM proves who the client is, to a server that knows the hash of the user's password. It does not prove who the server is: where
 * Kerberos can be had, it is the better choice. The first version and LM are refused.
 *
 * @module
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as WebCrypto from "effect/crypto/WebCrypto"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { nowOf } from "../internal/clock.ts"
import { refuseArgument } from "../internal/named.ts"
import { choiceOption, flagOption } from "../internal/options.ts"
import { equalBytes } from "./internal/constantTime.ts"
import { hmacMd5 } from "./internal/md5.ts"
import { ntHashOf, responseKeyOf } from "./internal/ntlmKeys.ts"
import {
  av,
  encodeAuthenticate,
  encodeChallenge,
  encodeClaims,
  encodeNegotiate,
  flag,
  fromU32,
  has,
  hasMic,
  isMessage,
  maxMessage,
  micOffset,
  type Pair,
  parseAuthenticate,
  parseChallenge,
  parseNegotiate,
  parseNtResponse,
  toUtf16,
  valueOf
} from "./internal/ntlmMessages.ts"
import { NtlmSession } from "./internal/ntlmSession.ts"
import { rc4 } from "./internal/rc4.ts"
import {
  type AcceptOptions,
  type ClientProvider,
  type Exchange,
  type InitiateOptions,
  LoginFailure,
  type Mechanism,
  type ServerProvider,
  type Step
} from "./Security.ts"

// ----------------------------------------------------------------------------
// passwords
// ----------------------------------------------------------------------------

/**
 * The NT hash of a password, 16 bytes: a server keeps it for each user.
 *
 * **Gotchas**
 *
 * The hash alone suffices to log in. Keep it as secret as the password.
 *
 * **Example** (Hashing a password)
 *
 * ```ts
 * import { Redacted } from "effect"
 * import { Ntlm } from "@callisto/rpc/security"
 *
 * const ntHash = Ntlm.hash(Redacted.make("Password"))
 *
 * console.log(String(ntHash)) // "<redacted:NT hash>"
 * ```
 *
 * @category accounts
 * @since 0.1.0
 */
export const hash = (password: Redacted.Redacted<string>): Redacted.Redacted<Uint8Array> =>
  Redacted.make(ntHashOf(Redacted.value(password)), { label: "NT hash" })

// ----------------------------------------------------------------------------
// accounts
// ----------------------------------------------------------------------------

/**
 * The name that a client claims.
 *
 * @category accounts
 * @since 0.1.0
 */
export interface AccountName {
  /** The user as the client wrote it. Windows compares such names without regard to case. */
  readonly user: string
  /** The domain as the client wrote it; often empty, or the name of the client's machine. */
  readonly domain: string
}

/**
 * A user as a server knows it.
 *
 * @category accounts
 * @since 0.1.0
 */
export interface Account {
  /** The NT hash of the password, as {@link hash} makes it: 16 bytes. */
  readonly ntHash: Redacted.Redacted<Uint8Array>
  /** The user's groups, for access checks. By default none. */
  readonly groups?: ReadonlyArray<string> | undefined
  /** The user's name for access checks. By default as the client wrote it. */
  readonly name?: string | undefined
  /** The user's domain for access checks. By default as the client wrote it. */
  readonly domain?: string | undefined
}

/**
 * Finds an account. `undefined`: there is none, or it may not log in.
 *
 * **Details**
 *
 * The client learns no difference between an unknown user and a wrong password. When the effect fails the login fails, as
 * `unavailable`.
 *
 * @category accounts
 * @since 0.1.0
 */
export type Accounts = (name: AccountName) => Account | undefined | Effect.Effect<Account | undefined, unknown>

// ----------------------------------------------------------------------------
// what both sides share
// ----------------------------------------------------------------------------

const name = "NTLM"
const authType = 10

const mechanism: Mechanism = {
  identifiers: ["1.3.6.1.4.1.311.2.2.10"],
  recognizes: (token) => isMessage(token, 1)
}

const fail = (reason: LoginFailure["reason"], detail: string, claimed?: string): LoginFailure =>
  new LoginFailure({ reason, detail: `NTLM: ${detail}`, ...claimed === undefined ? {} : { claimed } })

const noBindings = new Uint8Array(16)

/** 100 ns since 1601, in little-endian order, from nanoseconds since 1970. */
const fileTimeOf = (nanos: bigint): Uint8Array => {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, nanos / 100n + 116_444_736_000_000_000n, true)
  return bytes
}

/** Wipes what a login keeps when the scope closes. */
class Secrets {
  readonly #bytes: Array<Uint8Array> = []
  #session: NtlmSession | undefined

  static readonly make: Effect.Effect<Secrets, never, Scope.Scope> = Effect.acquireRelease(
    Effect.sync(() => new Secrets()),
    (secrets) => Effect.sync(() => secrets.#wipe())
  )

  keep(bytes: Uint8Array): Uint8Array {
    this.#bytes.push(bytes)
    return bytes
  }

  session(session: NtlmSession): NtlmSession {
    return this.#session = session
  }

  #wipe(): void {
    for (const bytes of this.#bytes) bytes.fill(0)
    this.#session?.end()
  }
}

/** Steps that follow each other. No step follows the last one or a failure. */
const exchange = (...steps: ReadonlyArray<Exchange["step"]>): Exchange => {
  let next = 0
  return {
    step: (token) =>
      Effect.suspend(() => {
        const step = steps[next++]
        if (step === undefined) return Effect.fail(fail("refused", "a message after the end of the login"))
        return Effect.onError(step(token), () => Effect.sync(() => next = steps.length))
      })
  }
}

// ----------------------------------------------------------------------------
// client
// ----------------------------------------------------------------------------

/**
 * Options of {@link makeClient}.
 *
 * @category client
 * @since 0.1.0
 */
export interface ClientOptions {
  /** The name of the client's machine, for the server's logs and for accounts tied to machines. By default empty. */
  readonly workstation?: string | undefined
  /** Whether to seal with 56 or 40 bits where the server has no more. By default false. */
  readonly allowWeakKeys?: boolean | undefined
}

/**
 * The client's half of NTLM, with options.
 *
 * **Details**
 *
 * It takes a user with a password or with the hash of one. A user like `alice@corp.example` needs no domain. At the level `connect`
 * messages are not protected, and NTLM then agrees on no signing.
 *
 * **Gotchas**
 *
 * NTLM does not prove who the server is: `mutual` has no effect.
 *
 * **Example** (Naming the client's machine)
 *
 * ```ts
 * import { Ntlm } from "@callisto/rpc/security"
 *
 * const provider = Ntlm.makeClient({ workstation: "DESK-7" })
 *
 * console.log(provider.name) // "NTLM"
 * ```
 *
 * @category client
 * @since 0.1.0
 */
export const makeClient = (options: ClientOptions = {}): ClientProvider => {
  const workstation = options.workstation ?? ""
  const weak = flagOption("Ntlm.makeClient", "allowWeakKeys", options.allowWeakKeys, false)
  return {
    name,
    authType,
    legs: "odd",
    mechanism,
    initiate: Effect.fnUntraced(function* (asked: InitiateOptions) {
      const secrets = yield* Secrets.make
      const { domain = "", user } = asked.credentials
      const ntHash = yield* hashOf(asked.credentials)
      secrets.keep(ntHash)
      const offered = offeredBy(asked, weak)
      const negotiate = encodeNegotiate(offered)
      return exchange(
        () => Effect.succeed({ token: negotiate, session: undefined }),
        Effect.fnUntraced(function* (token) {
          const crypto = yield* WebCrypto.WebCrypto
          const clock = yield* Clock.Clock
          const random = (size: number) => crypto.getRandomValues(new Uint8Array(size))
          const message = parseChallenge(token ?? noBindings)
          if (typeof message === "string") return yield* fail("refused", message)
          const flags = (message.flags & offered) >>> 0
          const lacking = lackingFor(asked.level, flags, weak)
          if (lacking !== undefined) return yield* fail("unsupported", `the server lacks ${lacking}`)
          const named = valueOf(message.pairs, av.computer) !== undefined &&
            valueOf(message.pairs, av.domain) !== undefined
          if (!named && has(flags, flag.sign)) return yield* fail("refused", "the server does not say its names")

          const timestamp = valueOf(message.pairs, av.timestamp)
          if (timestamp !== undefined && timestamp.length !== 8) {
            return yield* fail("refused", `the server's time has ${timestamp.length} bytes, expected 8`)
          }
          const clientChallenge = random(8)
          const claims = encodeClaims(timestamp ?? fileTimeOf(clock.currentTimeNanosUnsafe()), clientChallenge, [
            ...message.pairs.filter(({ id }) => !ownPairs.includes(id)),
            { id: av.flags, value: fromU32(hasMic) },
            { id: av.channelBindings, value: asked.channelBindings ?? noBindings },
            { id: av.target, value: toUtf16(asked.target) }
          ])
          const responseKey = responseKeyOf(ntHash, user, domain)
          const proof = hmacMd5(responseKey, message.challenge, claims)
          const baseKey = secrets.keep(hmacMd5(responseKey, proof))
          const exchanges = has(flags, flag.keyExchange)
          const exportedKey = exchanges ? random(16) : baseKey.slice()
          const authenticate = encodeAuthenticate({
            flags,
            domain,
            user,
            workstation,
            lmResponse: timestamp !== undefined
              ? new Uint8Array(24)
              : lmResponseOf(responseKey, message.challenge, clientChallenge),
            ntResponse: joined(proof, claims),
            sessionKey: exchanges ? rc4(baseKey, exportedKey) : new Uint8Array(0)
          })
          responseKey.fill(0)
          const session = secrets.session(
            new NtlmSession({
              identity: {
                name: user,
                domain: domain === "" ? undefined : domain,
                anonymous: false,
                impersonation: asked.impersonation,
                groups: []
              },
              side: "client",
              flags,
              exportedKey,
              needsMic: true
            })
          )
          if (authenticate.length > maxMessage) {
            return yield* fail("refused", `the server's names are too long for an answer of ${maxMessage} bytes`)
          }
          authenticate.set(hmacMd5(exportedKey, negotiate, token!, authenticate), micOffset)
          return { token: authenticate, session }
        })
      )
    })
  }
}

/**
 * The client's half of NTLM: a user with a password, or with the hash of one.
 *
 * **Example** (What the provider is)
 *
 * ```ts
 * import { Ntlm } from "@callisto/rpc/security"
 *
 * console.log(Ntlm.client.name, Ntlm.client.authType) // "NTLM" 10
 * ```
 *
 * @see {@link makeClient} for its options
 * @category client
 * @since 0.1.0
 */
export const client: ClientProvider = makeClient()

/** Pairs that the client adds. The client never sends such pairs of the server back. */
const ownPairs: ReadonlyArray<number> = [av.flags, av.channelBindings, av.target]

const joined = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const bytes = new Uint8Array(parts.reduce((size, { length }) => size + length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

const lmResponseOf = (responseKey: Uint8Array, challenge: Uint8Array, clientChallenge: Uint8Array): Uint8Array =>
  joined(hmacMd5(responseKey, challenge, clientChallenge), clientChallenge)

/** The hash that the credentials hold, as a copy that can be wiped. */
const hashOf = (credentials: InitiateOptions["credentials"]): Effect.Effect<Uint8Array, LoginFailure> =>
  Effect.suspend(() => {
    const refuse = (problem: string) => Effect.fail(fail("noCredentials", problem))
    if (credentials.user === "") return refuse("the credentials have no user. Leave security out to call anonymously.")
    if (!("password" in credentials || "ntHash" in credentials)) {
      return refuse("the credentials have neither password nor ntHash.")
    }
    try {
      if ("password" in credentials) return Effect.succeed(ntHashOf(Redacted.value(credentials.password)))
      const ntHash = Redacted.value(credentials.ntHash)
      return ntHash.length === 16
        ? Effect.succeed(ntHash.slice())
        : refuse(`ntHash has the wrong size, got ${ntHash.length} bytes, expected 16.`)
    } catch {
      return refuse("the password or ntHash was wiped.")
    }
  })

const offeredBy = ({ impersonation, level }: InitiateOptions, weak: boolean): number => {
  let flags = flag.unicode | flag.requestTarget | flag.ntlm | flag.alwaysSign | flag.extendedSecurity | flag.version |
    flag.key128
  if (level !== "connect") flags |= flag.sign | flag.keyExchange
  if (level === "privacy") flags |= flag.seal
  if (weak) flags |= flag.key56
  if (impersonation === "anonymous" || impersonation === "identify") flags |= flag.identify
  return flags >>> 0
}

/** The features that a login needs and the flags lack. */
const lackingFor = (level: InitiateOptions["level"], flags: number, weak: boolean): string | undefined => {
  if (!has(flags, flag.unicode)) return "Unicode"
  if (!has(flags, flag.ntlm | flag.extendedSecurity)) return "extended session security"
  if (!weak && !has(flags, flag.key128)) return "keys of 128 bits"
  if (level !== "connect" && !has(flags, flag.sign)) return "signing"
  if (level === "privacy" && !has(flags, flag.seal)) return "sealing"
  return undefined
}

// ----------------------------------------------------------------------------
// server
// ----------------------------------------------------------------------------

/**
 * Options of {@link server}.
 *
 * @category server
 * @since 0.1.0
 */
export interface ServerOptions {
  /** The NetBIOS name of the server's machine, which clients are told: at most 15 characters. By default `"CALLISTO"`. */
  readonly computer?: string | undefined
  /** The NetBIOS name of the server's domain. By default the name of its machine. */
  readonly domain?: string | undefined
  /** The DNS name of the server's machine. By default none. */
  readonly dnsComputer?: string | undefined
  /** The DNS name of the server's domain. By default none. */
  readonly dnsDomain?: string | undefined
  /** Whether the client must protect the messages of the login by a check sum. By default true. Impacket sends none. */
  readonly requireMic?: boolean | undefined
  /**
   * Whether a client may log in without saying who it is. By default true: its messages are not protected, and managers refuse
   * anonymous callers unless they allow them.
   */
  readonly acceptAnonymous?: boolean | undefined
  /**
   * Whether the login must be bound to the TLS connection below: `"always"`, `"whenSupported"` (where the client sends a binding it
   * must be right), or `"never"`, which a proxy in between may need. By default `"whenSupported"`.
   */
  readonly channelBindings?: "never" | "whenSupported" | "always" | undefined
  /** The target names that clients may ask for, without regard to case. By default all. */
  readonly targets?: ReadonlyArray<string> | undefined
  /** Whether clients may seal with 56 or 40 bits. By default false. */
  readonly allowWeakKeys?: boolean | undefined
}

/** A login must end 30 minutes after its challenge. */
const maxAge = 30 * 60_000

/** What the server grants where the client asks for it. */
const granted = flag.unicode | flag.requestTarget | flag.sign | flag.seal | flag.ntlm | flag.alwaysSign |
  flag.extendedSecurity | flag.identify | flag.version | flag.key128 | flag.keyExchange | flag.key56

/**
 * The server's half of NTLM.
 *
 * **Details**
 *
 * A wrong name and a wrong password look the same to the client, in words and in the work that they cost. The name that the server sees
 * is the one that the client wrote, unless the account says another one.
 *
 * **Gotchas**
 *
 * Clients write user names in any case. Where access checks compare names, let the account say the `name`.
 *
 * **Example** (Accounts in a map)
 *
 * ```ts
 * import { Redacted } from "effect"
 * import { Ntlm } from "@callisto/rpc/security"
 *
 * const users = new Map<string, Ntlm.Account>([
 *   ["alice", { name: "alice", ntHash: Ntlm.hash(Redacted.make("Password")), groups: ["admins"] }]
 * ])
 * const provider = Ntlm.server(({ user }) => users.get(user.toLowerCase()), { computer: "FILES" })
 *
 * console.log(provider.name) // "NTLM"
 * ```
 *
 * @category server
 * @since 0.1.0
 */
export const server = (accounts: Accounts, options: ServerOptions = {}): ServerProvider => {
  const owner = "Ntlm.server"
  const requireMic = flagOption(owner, "requireMic", options.requireMic, true)
  const acceptAnonymous = flagOption(owner, "acceptAnonymous", options.acceptAnonymous, true)
  const weak = flagOption(owner, "allowWeakKeys", options.allowWeakKeys, false)
  const policy = choiceOption(
    owner,
    "channelBindings",
    options.channelBindings,
    ["never", "whenSupported", "always"] as const,
    "whenSupported"
  )
  const computer = options.computer ?? "CALLISTO"
  const domain = options.domain ?? computer
  const names: ReadonlyArray<Pair> = [
    { id: av.domain, value: toUtf16(domain) },
    { id: av.computer, value: toUtf16(computer) },
    ...options.dnsDomain === undefined ? [] : [{ id: av.dnsDomain, value: toUtf16(options.dnsDomain) }],
    ...options.dnsComputer === undefined ? [] : [{ id: av.dnsComputer, value: toUtf16(options.dnsComputer) }]
  ]
  for (const option of ["computer", "domain", "dnsComputer", "dnsDomain"] as const) {
    const value = options[option]
    const most = option.startsWith("dns") ? 255 : 15
    if (value !== undefined && (value.length < 1 || value.length > most)) {
      refuseArgument(owner, `${option} has ${value.length} characters, expected 1 to ${most}`)
    }
  }
  const targets = options.targets?.map((target) => target.toLowerCase())

  /** The problem of a response's pairs. */
  const problemOf = (
    pairs: ReadonlyArray<Pair>,
    sent: ReadonlyArray<Pair>,
    bindings: Uint8Array | undefined
  ): string | undefined => {
    for (const { id, value } of sent) {
      const returned = valueOf(pairs, id)
      if (returned === undefined || !equalBytes(returned, value)) return "the client changed the server's names or time"
    }
    const target = utf16.decode(valueOf(pairs, av.target) ?? noBytes).toLowerCase()
    if (targets !== undefined && !targets.includes(target)) return `the client wants another target, got "${target}"`
    if (policy === "never") return undefined
    const bound = valueOf(pairs, av.channelBindings)
    if (bound === undefined || equalBytes(bound, noBindings)) {
      return policy === "always" ? "the client did not bind the login to the connection" : undefined
    }
    return bindings !== undefined && equalBytes(bound, bindings)
      ? undefined
      : "the client bound the login to another connection"
  }

  const find = (name: AccountName, claimed: string): Effect.Effect<Account | undefined, LoginFailure> =>
    Effect.suspend(() => {
      const found = accounts(name)
      return Effect.isEffect(found) ? found : Effect.succeed(found)
    }).pipe(
      // Stores say null where they have none.
      Effect.map((found) => found ?? undefined),
      Effect.catchCause((cause) =>
        Cause.hasInterrupts(cause)
          ? Effect.interrupt
          : Effect.fail(fail("unavailable", `the accounts can't be read: ${Cause.pretty(cause)}`, claimed))
      )
    )

  return {
    name,
    authType,
    mechanism,
    accept: Effect.fnUntraced(function* ({ channelBindings, level }: AcceptOptions) {
      const secrets = yield* Secrets.make
      const clock = yield* Clock.Clock
      const crypto = yield* WebCrypto.WebCrypto
      let negotiate: Uint8Array = noBytes
      let challengeMessage: Uint8Array = noBytes
      let offered = 0
      let sent: ReadonlyArray<Pair> = []
      let since = 0
      const challenge = crypto.getRandomValues(new Uint8Array(8))

      const begin = (token: Uint8Array | undefined): Effect.Effect<Step, LoginFailure> =>
        Effect.suspend(() => {
          const asked = parseNegotiate(token ?? noBytes)
          if (typeof asked === "string") return Effect.fail(fail("refused", asked))
          if (!has(asked, flag.unicode)) return Effect.fail(fail("unsupported", "the client lacks Unicode"))
          since = nowOf(clock)
          negotiate = token!.slice()
          sent = [...names, { id: av.timestamp, value: fileTimeOf(clock.currentTimeNanosUnsafe()) }]
          const target = has(asked, flag.requestTarget)
          offered = (asked & granted | flag.ntlm | flag.targetInfo | (target ? flag.server : 0)) >>> 0
          challengeMessage = encodeChallenge({ flags: offered, target: target ? domain : "", challenge, pairs: sent })
          return Effect.succeed({ token: challengeMessage, session: undefined })
        })

      const finish = Effect.fnUntraced(function* (token: Uint8Array | undefined) {
        const message = parseAuthenticate(token ?? noBytes)
        if (typeof message === "string") return yield* fail("refused", message)
        if (nowOf(clock) - since > maxAge) return yield* fail("refused", "the challenge is older than 30 minutes")
        const flags = (message.flags & offered) >>> 0
        const impersonation = has(flags, flag.identify) ? "identify" as const : "impersonate" as const

        if (message.user === "" && message.ntResponse.length === 0) {
          if (!acceptAnonymous) return yield* fail("refused", "anonymous clients may not log in")
          if (level === "privacy") return yield* fail("unsupported", "an anonymous client can't seal messages")
          return done(
            new NtlmSession({
              identity: { name: undefined, domain: undefined, anonymous: true, impersonation, groups: [] },
              side: "server",
              flags,
              exportedKey: new Uint8Array(16),
              needsMic: false
            })
          )
        }

        const claimed = message.domain === "" ? message.user : `${message.domain}\\${message.user}`
        const refuse = (reason: LoginFailure["reason"], detail: string) => fail(reason, detail, claimed)
        // Without signing the login goes on, and the first protected message fails.
        const lacking = lackingFor(level === "privacy" ? level : "connect", flags, weak)
        if (lacking !== undefined) return yield* refuse("unsupported", `the client lacks ${lacking}`)
        const response = parseNtResponse(message.ntResponse)
        if (typeof response === "string") return yield* refuse("refused", response)
        const problem = problemOf(response.pairs, sent, channelBindings)
        const marks = valueOf(response.pairs, av.flags)
        const withMic = marks !== undefined && marks.length === 4 && has(marks[0]!, hasMic)

        const account = yield* find({ user: message.user, domain: message.domain }, claimed)
        const baseKey = secrets.keep(new Uint8Array(16))
        const proven = yield* prove(account, message, challenge, response, baseKey, claimed)
        challenge.fill(0)
        if (!proven) return yield* refuse("refused", "wrong user name or password")
        if (problem !== undefined) return yield* refuse("refused", problem)

        const exchanges = has(flags, flag.keyExchange)
        const protects = has(flags, flag.sign) || has(flags, flag.seal)
        if (exchanges && protects && message.sessionKey.length !== 16) {
          return yield* refuse("refused", `the session key has ${message.sessionKey.length} bytes, expected 16`)
        }
        const exportedKey = secrets.keep(
          exchanges && message.sessionKey.length === 16 ? rc4(baseKey, message.sessionKey) : baseKey.slice()
        )
        if (withMic) {
          const zeroed = token!.slice()
          zeroed.fill(0, micOffset, micOffset + 16)
          const mic = hmacMd5(exportedKey, negotiate, challengeMessage, zeroed)
          if (message.mic === undefined || !equalBytes(mic, message.mic)) {
            return yield* refuse("tampered", "the check sum of the login is wrong")
          }
        } else if (requireMic) {
          return yield* refuse("refused", "the client sent no check sum. The option requireMic: false lets it in.")
        }
        const identity = {
          name: account?.name ?? message.user,
          domain: account?.domain ?? (message.domain === "" ? undefined : message.domain),
          anonymous: false,
          impersonation,
          groups: account?.groups ?? []
        }
        return done(new NtlmSession({ identity, side: "server", flags, exportedKey, needsMic: withMic }))
      })

      const done = (session: NtlmSession): Step => ({ token: undefined, session: secrets.session(session) })

      return exchange(begin, finish)
    })
  }
}

const noBytes = new Uint8Array(0)

const utf16 = new TextDecoder("utf-16le", { ignoreBOM: true })

/** Stands for the hash of a user that does not exist, so that refusing it takes the same work. */
const nobody = new Uint8Array(16)

/** Whether the client knows the user's hash. Then `baseKey` becomes the key of the session. */
const prove = (
  account: Account | undefined,
  { domain, user }: AccountName,
  challenge: Uint8Array,
  { claims, proof }: { readonly claims: Uint8Array; readonly proof: Uint8Array },
  baseKey: Uint8Array,
  claimed: string
): Effect.Effect<boolean, LoginFailure> =>
  Effect.suspend(() => {
    let ntHash: Uint8Array = nobody
    if (account !== undefined) {
      try {
        ntHash = Redacted.value(account.ntHash)
      } catch {
        return Effect.fail(fail("unavailable", "the account's ntHash was wiped", claimed))
      }
      if (ntHash.length !== 16) {
        return Effect.fail(
          fail(
            "unavailable",
            `the account's ntHash has the wrong size, got ${ntHash.length} bytes, expected 16`,
            claimed
          )
        )
      }
    }
    let proven = false
    // Some clients make their response without the domain that they send.
    for (const tried of [domain, ""]) {
      const responseKey = responseKeyOf(ntHash, user, tried)
      const expected = hmacMd5(responseKey, challenge, claims)
      if (equalBytes(expected, proof) && account !== undefined) {
        baseKey.set(hmacMd5(responseKey, expected))
        proven = true
      }
      expected.fill(0)
      responseKey.fill(0)
    }
    return Effect.succeed(proven)
  })
