/**
 * Security of a binding and of an endpoint: providers, credentials, levels.
 *
 * A provider logs a client in and then protects each message. `Ntlm`, `Negotiate` and `Kerberos` are providers; a program can write
 * its own with the contracts of this module: {@link ClientProvider}, {@link ServerProvider}, {@link Exchange} and {@link Session}.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Cause from "effect/Cause"
import type * as Scope from "effect/Scope"
import type { AuthenticationLevel, Impersonation as ImpersonationLevel, Security as Asked } from "../Channel.ts"
import { PipeInspectable } from "../internal/inspectable.ts"
import { named, refuseArgument } from "../internal/named.ts"
import { choiceOption, flagOption } from "../internal/options.ts"

// ----------------------------------------------------------------------------
// levels
// ----------------------------------------------------------------------------

/**
 * How strongly calls are protected, from weakest to strongest. `"call"` is asked for as `"packet"`, and `"packet"` is protected as
 * `"integrity"` is.
 *
 * Windows: `RPC_C_AUTHN_LEVEL_NONE` to `RPC_C_AUTHN_LEVEL_PKT_PRIVACY`.
 *
 * @category models
 * @since 0.1.0
 */
export type Level = AuthenticationLevel

/**
 * A level that a provider can be asked for.
 *
 * @category models
 * @since 0.1.0
 */
export type ProtectionLevel = "connect" | "packet" | "integrity" | "privacy"

/**
 * How far the server may act in the client's name.
 *
 * Windows: `RPC_C_IMP_LEVEL_ANONYMOUS` to `RPC_C_IMP_LEVEL_DELEGATE`.
 *
 * @category models
 * @since 0.1.0
 */
export type Impersonation = ImpersonationLevel

// ----------------------------------------------------------------------------
// failures of a login
// ----------------------------------------------------------------------------

/** The login failed; see the class. */
const LoginFailureBase: Schema.Class<
  LoginFailure,
  Schema.TaggedStruct<"LoginFailure", {
    readonly reason: Schema.Literals<
      readonly ["refused", "tampered", "unsupported", "noCredentials", "noTarget", "unavailable"]
    >
    readonly detail: Schema.String
    readonly claimed: Schema.optionalKey<Schema.String>
  }>,
  Cause.YieldableError
> = Schema.TaggedError<LoginFailure>("@callisto/rpc/security/LoginFailure")("LoginFailure", {
  reason: Schema.Literals(["refused", "tampered", "unsupported", "noCredentials", "noTarget", "unavailable"]),
  detail: Schema.String,
  claimed: Schema.optionalKey(Schema.String)
})

/**
 * A step of a login failed.
 *
 * **Details**
 *
 * `reason` decides what the other side and the caller learn; `detail` is for the operator and never leaves the process. `claimed` is the
 * name that the client claimed, where it is known.
 *
 * - `refused`: a wrong name or password, or a token that the provider does not accept.
 * - `tampered`: a token or its check sum was changed on the way.
 * - `unsupported`: the other side cannot, or does not want to, protect messages as strongly as asked.
 * - `noCredentials`: the credentials are of no use for this provider. Windows: 1749 `RPC_S_INVALID_AUTH_IDENTITY`.
 * - `noTarget`: the provider needs a target name. Windows: 1822 `RPC_S_NO_PRINC_NAME`.
 * - `unavailable`: the service that issues tickets, or the account database, did not answer. Windows: 1825 `RPC_S_SEC_PKG_ERROR`.
 *
 * @category failures
 * @since 0.1.0
 */
export class LoginFailure extends LoginFailureBase {
  /** The problem, in words for a person. */
  override get message(): string {
    return named(`The login failed (${this.reason}): ${this.detail}.`, "LoginFailure")
  }
}

// ----------------------------------------------------------------------------
// credentials
// ----------------------------------------------------------------------------

/**
 * The credentials of a client. Each provider documents the forms that it takes.
 *
 * @category models
 * @since 0.1.0
 */
export type Credentials =
  | PasswordCredentials
  | HashCredentials
  | KeytabCredentials

/**
 * A user and a password.
 *
 * @category models
 * @since 0.1.0
 */
export interface PasswordCredentials {
  /** The name of the user: `alice`, or `alice@corp.example`. */
  readonly user: string
  /** The domain of the user, or the realm. By default none. */
  readonly domain?: string | undefined
  /** The password. */
  readonly password: Redacted.Redacted<string>
}

/**
 * A user and the NT hash of a password, as `Ntlm.hash` makes it.
 *
 * @category models
 * @since 0.1.0
 */
export interface HashCredentials {
  /** The name of the user. */
  readonly user: string
  /** The domain of the user. By default none. */
  readonly domain?: string | undefined
  /** The 16 bytes of the hash. */
  readonly ntHash: Redacted.Redacted<Uint8Array>
}

/**
 * A user and the keys of a keytab file, for Kerberos.
 *
 * @category models
 * @since 0.1.0
 */
export interface KeytabCredentials {
  /** The name of the user or service: `alice`, `host/files.corp.example`. */
  readonly user: string
  /** The realm. By default that of the provider. */
  readonly domain?: string | undefined
  /** The bytes of the keytab file. */
  readonly keytab: Redacted.Redacted<Uint8Array>
}

// ----------------------------------------------------------------------------
// the security of a binding
// ----------------------------------------------------------------------------

/**
 * The security of a binding or a call object: who logs in with which provider, and how strongly messages are protected. Made with
 * {@link make}; it can't be changed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Security extends Asked {
  /** Logs the client in, and protects its messages. */
  readonly provider: ClientProvider
  /** Asked for once for each connection. */
  readonly credentials: Effect.Effect<Credentials, LoginFailure>
  /** The level that messages are protected at. */
  readonly level: ProtectionLevel
  /** The name of the server's principal. Without it `host/` and the address of the server. */
  readonly target: string | undefined
  /** How far the server may act in the client's name. */
  readonly impersonation: Impersonation
  /** Whether the server must prove who it is. */
  readonly mutual: boolean
  /** Whether the server must sign the headers of messages too. */
  readonly headerSigning: "whenSupported" | "required"
}

/**
 * The options of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Logs the client in, and protects its messages: `Negotiate.client`, `Ntlm.client`, or what `Kerberos.client` makes. */
  readonly provider: ClientProvider
  /**
   * The credentials: a value, or an effect that gives one. They are asked for once for each connection; a failure of the effect
   * fails the call with 1749.
   */
  readonly credentials: Credentials | Effect.Effect<Credentials, unknown>
  /** How strongly messages are protected; by default `integrity`. `call` is asked for as `packet`, which is protected as `integrity` is. */
  readonly level?: ProtectionLevel | "call" | undefined
  /**
   * The name of the server's principal, as `host/files.corp.example`; by default `host/` and the address of the string binding. Kerberos
   * needs the name under which the server is registered, and not a number.
   */
  readonly target?: string | undefined
  /** How far the server may act in the client's name; by default `impersonate`. */
  readonly impersonation?: Impersonation | undefined
  /** Whether the server must prove who it is, which NTLM can't make it do: 1825 then. By default `false`. */
  readonly mutual?: boolean | undefined
  /**
   * Whether the headers of messages are signed too. By default they are where the server agrees; `required` refuses a server that does not,
   * with 1825.
   */
  readonly headerSigning?: "whenSupported" | "required" | undefined
}

/**
 * Makes the security of a binding.
 *
 * **Details**
 *
 * Throws a `TypeError` for an option out of its range. Nothing is sent, and nobody is asked for the credentials, until a connection is
 * made. Connections are shared by the calls of one such value, and by no others.
 *
 * Windows: `RpcBindingSetAuthInfoEx` with `RPC_SECURITY_QOS`.
 *
 * **Example** (A user with a password)
 *
 * ```ts
 * import { Negotiate, Security } from "@callisto/rpc/security"
 * import { Redacted } from "effect"
 *
 * const security = Security.make({
 *   provider: Negotiate.client,
 *   credentials: { user: "alice", domain: "CORP", password: Redacted.make("correct horse") },
 *   level: "privacy"
 * })
 * security.level // => "privacy"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Security => {
  const owner = "Security"
  const { credentials, provider, target } = options
  if (typeof provider?.initiate !== "function") refuseArgument(owner, "provider logs nobody in")
  if (target !== undefined && (typeof target !== "string" || target === "")) {
    refuseArgument(owner, "target is no name")
  }
  if (typeof credentials !== "object" || credentials === null) refuseArgument(owner, "credentials are missing")
  const level = choiceOption(owner, "level", options.level, [...protectionLevels, "call" as const], "integrity")
  return new SecurityImpl({
    provider,
    target,
    credentials: credentialsOf(Effect.isEffect(credentials) ? credentials : Effect.succeed(credentials)),
    level: level === "call" ? "packet" : level,
    impersonation: choiceOption(owner, "impersonation", options.impersonation, impersonations, "impersonate"),
    mutual: flagOption(owner, "mutual", options.mutual, false),
    headerSigning: choiceOption(owner, "headerSigning", options.headerSigning, signings, "whenSupported")
  })
}

const credentialsOf = (asked: Effect.Effect<Credentials, unknown>): Effect.Effect<Credentials, LoginFailure> =>
  Effect.flatMap(asked, (given): Effect.Effect<Credentials, unknown> => {
    const problem = problemWith(given as object)
    return problem === undefined ? Effect.succeed(given) : Effect.fail(problem)
  }).pipe(
    Effect.catchCause((cause) => {
      const failed = cause.reasons.find((reason) => reason._tag === "Fail")
      // What it says when it dies may hold secrets.
      const why = failed === undefined ? "the effect that gives them died" : textOf(failed.error)
      return Effect.fail(new LoginFailure({ reason: "noCredentials", detail: `the credentials can't be had: ${why}` }))
    })
  )

/** Programs read credentials from files and services, so that their types are no proof. */
const problemWith = (given: Partial<Record<string, unknown>> | undefined | null): string | undefined => {
  if (typeof given?.["user"] !== "string") return "they name no user"
  if (given["domain"] !== undefined && typeof given["domain"] !== "string") return "their domain is no text"
  for (const name of ["password", "ntHash", "keytab"]) {
    if (!(name in given)) continue
    const secret = given[name]
    if (!Redacted.isRedacted(secret)) return `their ${name} is not redacted. Make it with Redacted.make`
    if (!holds(secret, name === "password" ? isText : isBytes)) {
      return `their ${name} holds no ${name === "password" ? "text" : "bytes"}`
    }
  }
  return undefined
}

const isText = (value: unknown): boolean => typeof value === "string"
const isBytes = (value: unknown): boolean => value instanceof Uint8Array

/** Whether a secret holds what it has to. The provider tells of one that was wiped. */
const holds = (secret: Redacted.Redacted<unknown>, isRight: (value: unknown) => boolean): boolean => {
  try {
    return isRight(Redacted.value(secret))
  } catch {
    return true
  }
}

const textOf = (error: unknown): string => {
  try {
    return String(error)
  } catch {
    return "the effect that gives them failed"
  }
}

const protectionLevels: ReadonlyArray<ProtectionLevel> = ["connect", "packet", "integrity", "privacy"]
const impersonations: ReadonlyArray<Impersonation> = ["anonymous", "identify", "impersonate", "delegate"]
const signings = ["whenSupported", "required"] as const

interface SecurityImpl extends Omit<Security, "credentials"> {}

class SecurityImpl extends PipeInspectable implements Security {
  readonly "~callisto/Security" = "~callisto/Security"
  readonly #credentials: Security["credentials"]

  constructor({ credentials, ...settings }: Omit<Security, "~callisto/Security">) {
    super()
    Object.assign(this, settings)
    this.#credentials = credentials
  }

  get credentials(): Security["credentials"] {
    return this.#credentials
  }

  toJSON(): { readonly _id: string; readonly [setting: string]: unknown } {
    const { headerSigning, impersonation, level, mutual, provider: { name: provider }, target } = this
    return { _id: "callisto/Security", provider, level, target, impersonation, mutual, headerSigning }
  }
}

// ----------------------------------------------------------------------------
// providers
// ----------------------------------------------------------------------------

/**
 * The request of a client to a provider.
 *
 * @category providers
 * @since 0.1.0
 */
export interface InitiateOptions {
  /** The level of the messages to come. */
  readonly level: ProtectionLevel
  /** The name of the server's principal: `host/files.corp.example`. */
  readonly target: string
  /** The credentials that log in. */
  readonly credentials: Credentials
  /** How far the server may act in the client's name. */
  readonly impersonation: Impersonation
  /** Whether the server must prove who it is, where the provider can make it. */
  readonly mutual: boolean
  /** The MD5 of the channel binding structure, 16 bytes. Absent where the transport has no channel to bind to. */
  readonly channelBindings: Uint8Array | undefined
}

/**
 * The request of a server to a provider.
 *
 * @category providers
 * @since 0.1.0
 */
export interface AcceptOptions {
  /** The level that the client asks for. */
  readonly level: ProtectionLevel
  /** The MD5 of the channel binding structure, 16 bytes. Absent where the transport has no channel to bind to. */
  readonly channelBindings: Uint8Array | undefined
  /** The address of the client, for limits and logs. */
  readonly peer: string
}

/**
 * The client's half of a provider.
 *
 * @category providers
 * @since 0.1.0
 */
export interface ClientProvider {
  /** The name of the provider, for messages: `"NTLM"`. */
  readonly name: string
  /** The `auth_type` on the wire. */
  readonly authType: number
  /** Whether the login takes an odd number of messages. Then its last one is an `auth3` PDU, without an answer. */
  readonly legs: "odd" | "even"
  /** How Negotiate offers the provider, see {@link Mechanism}. Absent where Negotiate cannot offer it. */
  readonly mechanism?: Mechanism | undefined
  /** Begins a login. Its secrets are wiped when the scope closes. */
  readonly initiate: (options: InitiateOptions) => Effect.Effect<Exchange, LoginFailure, Scope.Scope>
}

/**
 * The server's half of a provider.
 *
 * @category providers
 * @since 0.1.0
 */
export interface ServerProvider {
  /** The name of the provider, for messages: `"NTLM"`. */
  readonly name: string
  /** The `auth_type` on the wire. */
  readonly authType: number
  /** How Negotiate offers the provider, see {@link Mechanism}. Absent where Negotiate cannot offer it. */
  readonly mechanism?: Mechanism | undefined
  /** Begins a login. Its secrets are wiped when the scope closes. */
  readonly accept: (options: AcceptOptions) => Effect.Effect<Exchange, LoginFailure, Scope.Scope>
}

/**
 * A provider inside Negotiate.
 *
 * @category providers
 * @since 0.1.0
 */
export interface Mechanism {
  /** The object identifiers by which the provider is known, the best first: `"1.3.6.1.4.1.311.2.2.10"`. */
  readonly identifiers: ReadonlyArray<string>
  /** Whether a token that comes without Negotiate's frame is the first one of this provider. */
  readonly recognizes: (token: Uint8Array) => boolean
}

/**
 * A login under way, on either side.
 *
 * @category providers
 * @since 0.1.0
 */
export interface Exchange {
  /**
   * Takes the token of the other side (absent in the client's first step) and gives the next one. The steps of an exchange never
   * overlap. After a failure, or a step with a session, no step follows.
   */
  readonly step: (token: Uint8Array | undefined) => Effect.Effect<Step, LoginFailure>
}

/**
 * The result of a step of a login.
 *
 * @category providers
 * @since 0.1.0
 */
export interface Step {
  /** The token for the other side. Absent where there is nothing to send. */
  readonly token: Uint8Array | undefined
  /** The agreed session, once the login is complete on this side. */
  readonly session: Session | undefined
}

/**
 * The logged-in user, as a server knows it.
 *
 * @category providers
 * @since 0.1.0
 */
export interface Identity {
  /** The name of the user. Absent for an anonymous one. */
  readonly name: string | undefined
  /** The domain or realm of the user, where it is known. */
  readonly domain: string | undefined
  /** Whether the client logged in without saying who it is. */
  readonly anonymous: boolean
  /** How far the client lets the server act in its name. */
  readonly impersonation: Impersonation
  /** The groups of the user: SIDs as text, or what the account callback gives. */
  readonly groups: ReadonlyArray<string>
}

/**
 * A complete login, on either side: protects messages and takes their protection off.
 *
 * **Details**
 *
 * `protect` and `unprotect` are synchronous, work in place and have running state: call them in the order of the messages on the wire, once
 * for each. A PDU is header (from byte 0), body (from `bodyStart` to `bodyEnd`), the 8 bytes of the security trailer (from `bodyEnd`), and the
 * signature (to the end).
 *
 * @category providers
 * @since 0.1.0
 */
export interface Session {
  /** The name of the provider that protects: `"NTLM"`, also where Negotiate has chosen it. */
  readonly provider: string
  /** The logged-in user. On the client's side the identity of its own login, as far as it knows. */
  readonly identity: Identity
  /** Whether the server has proved who it is. */
  readonly mutual: boolean
  /** Whether messages can be signed. */
  readonly integrity: boolean
  /** Whether messages can be encrypted. */
  readonly confidentiality: boolean
  /** Whether Negotiate must protect its list of mechanisms with {@link mic}. */
  readonly needsMic: boolean
  /** The key that both sides agreed on, for protocols above. */
  readonly sessionKey: Redacted.Redacted<Uint8Array>
  /** When the session ends, in milliseconds since 1970. Absent where it has no end. */
  readonly expires: number | undefined
  /** The number of bytes of a signature. */
  readonly signatureSize: (level: ProtectionLevel) => number
  /** Signs a PDU, and encrypts its body at the level `privacy`. The last bytes of the PDU become the signature. */
  readonly protect: (
    pdu: Uint8Array,
    bodyStart: number,
    bodyEnd: number,
    level: ProtectionLevel,
    headerSigning: boolean
  ) => void
  /** Decrypts the body of a PDU at the level `privacy`, and verifies its signature. `false`: nothing of the PDU may be used. */
  readonly unprotect: (
    pdu: Uint8Array,
    bodyStart: number,
    bodyEnd: number,
    level: ProtectionLevel,
    headerSigning: boolean
  ) => boolean
  /** Signs Negotiate's list of mechanisms. */
  readonly mic: (bytes: Uint8Array) => Uint8Array
  /** Verifies the other side's signature of Negotiate's list of mechanisms. */
  readonly verifyMic: (bytes: Uint8Array, mic: Uint8Array) => boolean
}
