/**
 * Kerberos: logs in with tickets from a key distribution centre, and protects messages with AES.
 *
 * A client gives its password or a keytab; the tickets are fetched, kept and renewed. A server needs the keytab of its service and asks
 * nobody. The ciphers come from `NodeTransport.layerKerberos` of `@callisto/rpc/node`. `krb5.conf` is not read.
 *
 * **Example** (A client and a server)
 *
 * ```ts
 * import { Kerberos } from "@callisto/rpc/security"
 * import { Effect, Redacted } from "effect"
 *
 * const client = Kerberos.client({ realm: "CORP.EXAMPLE", kdc: "ncacn_ip_tcp:dc.corp.example" })
 * const server = (keytab: Uint8Array) => Kerberos.server(Redacted.make(keytab))
 * ```
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import { WebCrypto } from "effect/crypto/WebCrypto"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { clauseOf, refuseArgument } from "../internal/named.ts"
import { choiceOption, durationOption, flagOption } from "../internal/options.ts"
import { parse, type StringBinding } from "../transport/StringBinding.ts"
import { Transport } from "../transport/Transport.ts"
import { accept, type Acceptor, isRequest } from "./internal/kerberosAcceptor.ts"
import { failure } from "./internal/kerberosContext.ts"
import { etypes, join, type Random, randomOf, utf8 } from "./internal/kerberosCrypto.ts"
import { initiate, type Initiator } from "./internal/kerberosInitiator.ts"
import { Kdc, sameRealm, type Secret } from "./internal/kerberosKdc.ts"
import { type Keys, makeKeys } from "./internal/kerberosKeys.ts"
import { type KeytabEntry, readKeytab } from "./internal/kerberosKeytab.ts"
import { identifiers, nameTypes, type Principal } from "./internal/kerberosMessages.ts"
import { ReplayCache } from "./internal/kerberosReplay.ts"
import { Tickets, type User } from "./internal/kerberosTickets.ts"
import { KerberosCiphers } from "./KerberosCiphers.ts"
import {
  type AcceptOptions,
  type ClientProvider,
  type Credentials,
  type Exchange,
  type InitiateOptions,
  LoginFailure,
  type Mechanism,
  type ServerProvider,
  type Step
} from "./Security.ts"

/** The constants of both sides. */
const name = "Kerberos"

const authType = 16

const mechanism: Mechanism = { identifiers, recognizes: isRequest }

// ----------------------------------------------------------------------------
// client
// ----------------------------------------------------------------------------

/**
 * The options of a client: its realm and the user.
 *
 * @category models
 * @since 0.1.0
 */
export interface ClientOptions {
  /** The realm of users that name none: `CORP.EXAMPLE`. */
  readonly realm: string
  /** Where the key distribution centre of the realm is, as a string binding: `ncacn_ip_tcp:dc.corp.example`. By default port 88. */
  readonly kdc: string
  /** Where those of other realms are, by realm. By default none: services of other realms can't be reached. */
  readonly kdcs?: Readonly<Record<string, string>> | undefined
  /** How long a key distribution centre may take for one answer, at least 1 ms. Default: 10 seconds. */
  readonly timeout?: Duration.Input | undefined
  /** Whether RC4 may be used, which current domains refuse. Default: false. */
  readonly rc4?: boolean | undefined
}

/**
 * The client's half of Kerberos. It keeps the tickets of its users; they are wiped when the scope closes.
 *
 * **Details**
 *
 * Takes a password or a keytab, and, where RC4 may be used, the NT hash of a password. A user is a name of the realm (`alice`), or of another
 * one (`alice@lab.example`, or with `domain`). The target of a login is the name of the service: `host/files.corp.example`.
 *
 * A ticket is used until five minutes before it ends. Users with different passwords never share one. Where the clock of the key distribution
 * centre differs too much, its time is used from then on.
 *
 * **Gotchas**
 *
 * The server always proves who it is, also where nobody asks for it. Nothing is delegated: `delegate` means `impersonate`, and `anonymous` means
 * `identify`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const client = (
  options: ClientOptions
): Effect.Effect<ClientProvider, never, KerberosCiphers | Transport | Scope.Scope> =>
  Effect.gen(function* () {
    const owner = "Kerberos.client"
    const timeout = durationOption(owner, "timeout", options.timeout, 10_000, 1)
    const rc4 = flagOption(owner, "rc4", options.rc4, false)
    const addressOf = addressesOf(owner, options)
    const keys = makeKeys(yield* KerberosCiphers, rc4)
    const random = randomOf(yield* WebCrypto)
    const kdc = new Kdc({
      transport: yield* Transport,
      keys,
      random,
      realm: options.realm,
      addressOf,
      timeout: Duration.millis(timeout)
    })
    const tickets = new Tickets(kdc, keys)
    yield* Effect.addFinalizer(() => Effect.sync(() => tickets.wipe()))
    const identify = keys.ciphers.hmac("SHA-1", random(20))
    return {
      name,
      authType,
      legs: "odd",
      mechanism,
      initiate: (login) =>
        Effect.gen(function* () {
          const service = principalOf(login.target)
          if (service === undefined) {
            return yield* failure(
              "noTarget",
              `Kerberos: the target is no name of a service, got "${login.target}". Name one like host/files.corp.example`
            )
          }
          const user = userOf(options.realm, keys, identify, login.credentials)
          if (user instanceof LoginFailure) return yield* user
          return yield* clientExchange(
            keys,
            random,
            login,
            Effect.all({ ticket: tickets.get(user, service), stamp: kdc.stamp })
          )
        })
    }
  })

type Fetch = Effect.Effect<Pick<Parameters<typeof initiate>[1], "ticket" | "stamp">, LoginFailure>

const clientExchange = (
  keys: Keys,
  random: Random,
  { channelBindings, impersonation, level }: InitiateOptions,
  fetch: Fetch
): Effect.Effect<Exchange, never, Scope.Scope> =>
  Effect.gen(function* () {
    let initiator: Initiator | undefined
    const wipes: Array<() => void> = []
    yield* Effect.addFinalizer(() => Effect.sync(() => wipes.forEach((wipe) => wipe())))
    const begin = Effect.gen(function* () {
      const { stamp, ticket } = yield* fetch
      wipes.push(() => ticket.key.wipe())
      const begun = initiate(keys, { ticket, level, impersonation, channelBindings, stamp, random })
      if (begun instanceof LoginFailure) return yield* begun
      wipes.push(begun.wipe)
      initiator = begun
      return { token: begun.token, session: undefined }
    })
    return {
      step: (token) =>
        Effect.suspend((): Effect.Effect<Step, LoginFailure> => {
          if (initiator === undefined) return begin
          if (token === undefined) return failure("refused", "Kerberos: the server did not answer the ticket")
          const finished = initiator.finish(token)
          return finished instanceof LoginFailure ? Effect.fail(finished) : Effect.succeed(finished)
        })
    }
  })

const addressesOf = (
  owner: string,
  { kdc, kdcs = {}, realm }: ClientOptions
): (realm: string) => StringBinding | undefined => {
  if (typeof realm !== "string" || realm === "") {
    refuseArgument(owner, `realm is missing, got ${JSON.stringify(realm)}, expected a name like CORP.EXAMPLE`)
  }
  const own = addressOption(owner, "kdc", kdc)
  const others = Object.entries(kdcs).map(([name, address]) =>
    [name.toUpperCase(), addressOption(owner, `kdcs["${name}"]`, address)] as const
  )
  return (asked) => sameRealm(asked, realm) ? own : others.find(([name]) => name === asked.toUpperCase())?.[1]
}

const addressOption = (owner: string, option: string, value: string): StringBinding => {
  const parsed = parse(value)
  if (Result.isFailure(parsed)) {
    return refuseArgument(
      owner,
      `${option} is no string binding, got ${JSON.stringify(value)}. ${clauseOf(parsed.failure.message)}`
    )
  }
  return { ...parsed.success, endpoint: parsed.success.endpoint ?? "88" }
}

/** The name of a service. A realm behind it is left out: its own realm refers a client to that one. */
const principalOf = (text: string): Principal | undefined => {
  const parts = text.replace(/@[^@/]*$/, "").split("/")
  if (parts.some((part) => part === "")) return undefined
  return { type: parts.length > 1 ? nameTypes.service : nameTypes.user, parts }
}

const enterpriseName = 10

type Fingerprint = ReturnType<KerberosCiphers["hmac"]>

const userOf = (ownRealm: string, keys: Keys, identify: Fingerprint, credentials: Credentials): User | LoginFailure => {
  const principal = userPrincipalOf(ownRealm, credentials)
  if (principal.parts.some((part) => part === "")) {
    return failure("noCredentials", "Kerberos: the credentials name no user")
  }
  const realm = credentials.domain ?? ownRealm
  const { proof, secret } = secretOf(keys, principal, realm, credentials)
  if (secret.etypes.length === 0) {
    return failure(
      "noCredentials",
      `Kerberos: the credentials of ${principal.parts.join("/")} have no key that can be used`
    )
  }
  const label = JSON.stringify([principal.parts, principal.type, realm.toUpperCase()])
  const id = identify(utf8(label), proof).join()
  proof.fill(0)
  return { id, principal, realm, secret }
}

/** `alice`, `host/files.corp.example`, `alice@CORP.EXAMPLE`, or a name in an address book: `alice@mail.example`. */
const userPrincipalOf = (ownRealm: string, { domain, user }: Credentials): Principal => {
  const at = user.lastIndexOf("@")
  if (at < 0) return { type: nameTypes.user, parts: user.split("/") }
  return sameRealm(user.slice(at + 1), domain ?? ownRealm)
    ? { type: nameTypes.user, parts: user.slice(0, at).split("/") }
    : { type: enterpriseName, parts: [user] }
}

/** What makes keys of the credentials, and bytes that differ where the secret does. */
const secretOf = (
  keys: Keys,
  principal: Principal,
  realm: string,
  credentials: Credentials
): { readonly proof: Uint8Array; readonly secret: Secret } => {
  if ("password" in credentials) {
    const password = Redacted.value(credentials.password)
    return {
      proof: join(utf8("password "), utf8(password)),
      secret: {
        etypes: keys.etypes,
        key: (etype, salt, iterations) => keys.ofPassword(etype, password, salt, iterations)
      }
    }
  }
  if ("ntHash" in credentials) {
    const hash = Redacted.value(credentials.ntHash)
    return {
      proof: join(utf8("hash "), hash),
      secret: {
        etypes: keys.etypes.filter((etype) => etype === etypes.rc4),
        key: (etype) => Effect.sync(() => keys.make(etype, hash))
      }
    }
  }
  const keytab = Redacted.value(credentials.keytab)
  const entries = readKeytab(keytab)
  const own = typeof entries === "string"
    ? []
    : newestFirst(entries).filter((entry) =>
      sameRealm(entry.realm, realm) && entry.principal.parts.join("/") === principal.parts.join("/")
    )
  return {
    proof: join(utf8("keytab "), keytab),
    secret: {
      etypes: keys.etypes.filter((etype) => own.some(({ key }) => key.type === etype)),
      key: (etype) =>
        Effect.sync(() => {
          const entry = own.find(({ key }) => key.type === etype)
          return entry && keys.make(etype, entry.key.bytes)
        })
    }
  }
}

const newestFirst = (entries: ReadonlyArray<KeytabEntry>): ReadonlyArray<KeytabEntry> =>
  [...entries].sort((left, right) => right.kvno - left.kvno)

// ----------------------------------------------------------------------------
// server
// ----------------------------------------------------------------------------

/**
 * The demands of a server on its clients.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerOptions {
  /** The names by which clients may call the service: `host/files.corp.example`. By default all for which the keytab has a key. */
  readonly names?: ReadonlyArray<string> | undefined
  /**
   * Whether a login must be bound to the TLS connection on which it comes. `"whenSupported"` refuses a login that is bound to another
   * connection, `"always"` one that is bound to none as well. Default: `"whenSupported"`.
   */
  readonly channelBindings?: "never" | "whenSupported" | "always" | undefined
  /** How far the clock of a client may differ, at least 0 ms. Default: 5 minutes. */
  readonly clockSkew?: Duration.Input | undefined
  /** Whether RC4 may be used, which current domains refuse. Default: false. */
  readonly rc4?: boolean | undefined
}

/**
 * The server's half of Kerberos, with the keytab of the service. The keys are wiped when the scope closes.
 *
 * **Details**
 *
 * Each ticket that a key of the keytab opens is one for this server. A request that came before is refused for ten minutes. The groups of a
 * user are the SIDs that the domain controller put into the ticket, the user's own SID first.
 *
 * Fails with `noCredentials` for a damaged keytab, and for one without a key that can be used.
 *
 * @category constructors
 * @since 0.1.0
 */
export const server = (
  keytab: Redacted.Redacted<Uint8Array>,
  options: ServerOptions = {}
): Effect.Effect<ServerProvider, LoginFailure, KerberosCiphers | Scope.Scope> =>
  Effect.gen(function* () {
    const owner = "Kerberos.server"
    const channelBindings = choiceOption(
      owner,
      "channelBindings",
      options.channelBindings,
      ["never", "whenSupported", "always"] as const,
      "whenSupported"
    )
    const clockSkew = durationOption(owner, "clockSkew", options.clockSkew, 300_000)
    const keys = makeKeys(yield* KerberosCiphers, flagOption(owner, "rc4", options.rc4, false))
    const random = randomOf(yield* WebCrypto)
    if (!Redacted.isRedacted(keytab)) {
      return refuseArgument("Kerberos.server", "keytab is not redacted. Make it with Redacted.make")
    }
    const entries = readKeytab(Redacted.value(keytab))
    if (typeof entries === "string") {
      return yield* failure("noCredentials", `Kerberos: the keytab is damaged, ${entries}`)
    }
    const serviceKeys = newestFirst(entries).flatMap(({ key, kvno }) => {
      const made = keys.make(key.type, key.bytes)
      return made === undefined ? [] : [{ kvno, key: made }]
    })
    if (serviceKeys.length === 0) {
      return yield* failure(
        "noCredentials",
        `Kerberos: the keytab has no key that can be used, got the types ${
          entries.map(({ key }) => key.type).join(", ") || "of no key"
        }, expected ${keys.etypes.join(" or ")}. Allow AES for the account and export the keytab again`
      )
    }
    yield* Effect.addFinalizer(() => Effect.sync(() => serviceKeys.forEach(({ key }) => key.wipe())))
    const replays = new ReplayCache(Math.max(600_000, 2 * clockSkew))
    const policy = {
      keys,
      serviceKeys,
      names: options.names,
      channelBindings,
      clockSkew,
      isNew: replays.isNew
    }
    return {
      name,
      authType,
      mechanism,
      accept: (login) => serverExchange(policy, random, login)
    }
  })

const serverExchange = (
  policy: Parameters<typeof accept>[0],
  random: Random,
  { channelBindings, level }: AcceptOptions
): Effect.Effect<Exchange, never, Scope.Scope> =>
  Effect.gen(function* () {
    let acceptor: Acceptor | undefined
    yield* Effect.addFinalizer(() => Effect.sync(() => acceptor?.wipe()))
    return {
      step: (token) =>
        Effect.flatMap(Clock.currentTimeMillis, (now): Effect.Effect<Step, LoginFailure> => {
          if (token === undefined || token.length === 0) return failure("refused", "Kerberos: the client sent no token")
          if (acceptor !== undefined) {
            const session = acceptor.finish(token)
            return session instanceof LoginFailure
              ? Effect.fail(session)
              : Effect.succeed({ token: undefined, session })
          }
          const options = { now, wantsPrivacy: level === "privacy", channelBindings, random }
          const accepted = accept(policy, options, token)
          if (accepted instanceof LoginFailure) return Effect.fail(accepted)
          acceptor = accepted
          return Effect.succeed({ token: accepted.token, session: undefined })
        })
    }
  })
