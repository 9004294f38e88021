/**
 * Who the tool logs in as: the options of every command, and where the password comes from.
 */
import * as Context from "effect/Context"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { layerKerberos } from "../node.ts"
import * as Kerberos from "../security/Kerberos.ts"
import * as Negotiate from "../security/Negotiate.ts"
import * as Ntlm from "../security/Ntlm.ts"
import * as Security from "../security/Security.ts"
import type { Transport } from "../transport/Transport.ts"
import { exitCodes, type Failure, type Login } from "./Failure.ts"

/** Where passwords come from. Both fail with a sentence. */
export interface Passwords {
  /** The text of a file. */
  readonly file: (path: string) => Effect.Effect<string, string>
  /** What a person types, which the terminal does not show. */
  readonly prompt: (question: string) => Effect.Effect<string, string>
}

/** Where passwords come from; by default from nowhere. */
export const Passwords: Context.Reference<Passwords> = Context.Reference<Passwords>("@callisto/rpc/cli/Passwords", {
  defaultValue: () => ({
    file: (path) => Effect.fail(`${path} can't be read`),
    prompt: () => Effect.fail("standard input is no terminal")
  })
})

const text = (name: string, metavar: string, description: string) =>
  GlobalFlag.Setting(name)({
    flag: Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(description), Flag.optional)
  })

const User = text("user", "NAME", "Log in as this user; a user like alice@corp.example needs no domain")
const Domain = text("domain", "NAME", "The domain of the user, or the Kerberos realm")
const PasswordFile = text("password-file", "PATH", "The file with the password; without it a person is asked")
const Kdc = text(
  "kdc",
  "BINDING",
  "The key distribution centre for Kerberos, for instance ncacn_ip_tcp:dc.corp.example"
)

const levels = ["connect", "packet", "integrity", "privacy"] as const
const Level = GlobalFlag.Setting("level")({
  flag: Flag.Literals("level", levels).pipe(
    Flag.withDescription("How strongly messages are protected; by default integrity"),
    Flag.optional
  )
})

const providers = ["negotiate", "ntlm", "kerberos"] as const
const Provider = GlobalFlag.Setting("provider")({
  flag: Flag.Literals("provider", providers).pipe(
    Flag.withDescription("The security provider; by default negotiate"),
    Flag.optional
  )
})

/** The options that every command takes. */
export const flags = [User, Domain, PasswordFile, Level, Provider, Kdc] as const

const misused = (message: string, advice: string): Failure => ({
  _tag: "Failure",
  exitCode: exitCodes.usage,
  message,
  advice
})

/** The login that the options ask for; none without `--user`. */
export const login = Effect.gen(function* () {
  const [user, domain, file, level, provider, kdc] = [
    yield* User,
    yield* Domain,
    yield* PasswordFile,
    yield* Level,
    yield* Provider,
    yield* Kdc
  ].map(Option.getOrUndefined) as [
    string | undefined,
    string | undefined,
    string | undefined,
    (typeof levels)[number] | undefined,
    (typeof providers)[number] | undefined,
    string | undefined
  ]
  if (user === undefined) {
    const left = Object.entries({ domain, "password-file": file, level, provider, kdc }).find(([, value]) => value)
    if (left === undefined) return undefined
    return yield* Effect.fail(misused(`--${left[0]} has no effect without --user.`, "Add --user NAME."))
  }
  const passwords = yield* Passwords
  const asked = file === undefined ? passwords.prompt(`Password of ${user}: `) : passwords.file(file)
  const typed = yield* Effect.mapError(
    asked,
    (problem) => misused(`The password is missing: ${problem}.`, "Name a file with --password-file PATH.")
  )
  const password = Redacted.make(typed.replace(/\r?\n$/, ""))
  const security = Security.make({
    provider: yield* providerOf(provider ?? "negotiate", domain, kdc),
    credentials: { user, domain, password },
    level
  })
  const answer: Login = { user, domain, security }
  return answer
})

const providerOf = (
  name: (typeof providers)[number],
  realm: string | undefined,
  kdc: string | undefined
): Effect.Effect<Security.ClientProvider, Failure, Transport | Scope.Scope> =>
  Effect.gen(function* () {
    if (kdc === undefined) {
      if (name !== "kerberos") return name === "ntlm" ? Ntlm.client : Negotiate.client
      return yield* Effect.fail(
        misused("Kerberos needs its key distribution centre.", "Add --kdc ncacn_ip_tcp:dc.corp.example, for instance.")
      )
    }
    if (name === "ntlm") return yield* Effect.fail(misused("--kdc has no effect on NTLM.", "Leave it out."))
    if (realm === undefined) {
      return yield* Effect.fail(
        misused("Kerberos needs the realm of the user.", "Add --domain CORP.EXAMPLE, for instance.")
      )
    }
    const kerberos = yield* Kerberos.client({ realm, kdc }).pipe(
      Effect.provide(layerKerberos),
      Effect.catchDefect((defect) =>
        Effect.fail(misused(defect instanceof Error ? defect.message : String(defect), "Write ncacn_ip_tcp:HOST."))
      )
    )
    return name === "kerberos" ? kerberos : Negotiate.makeClient([kerberos, Ntlm.client])
  })
