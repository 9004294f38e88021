/**
 * Who the tool logs in as: the options of every command, and where the password comes from.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
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
  /** The bytes of a file. */
  readonly file: (path: string) => Effect.Effect<Uint8Array, string>
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

const utf8 = new TextDecoder("utf-8", { fatal: true })

/** The password that a file holds. The mark of its encoding and the end of its line do not belong to it. */
const passwordIn = (path: string, bytes: Uint8Array): Effect.Effect<string, string> =>
  Effect.suspend(() => {
    let text: string
    try {
      text = utf8.decode(bytes).replace(/\r?\n$/, "")
    } catch {
      return Effect.fail(`${path} is no text in UTF-8`)
    }
    // A file in UTF-16 without a mark has a zero behind each letter.
    if (text.includes("\0")) return Effect.fail(`${path} is no text in UTF-8`)
    if (/[\r\n]/.test(text)) return Effect.fail(`${path} has more than one line`)
    return text === "" ? Effect.fail(`${path} is empty`) : Effect.succeed(text)
  })

const misused = (message: string, advice: string): Failure => ({
  _tag: "Failure",
  exitCode: exitCodes.usage,
  message,
  advice
})

/** The options of a login. */
export interface LoginOptions {
  readonly user?: string | undefined
  readonly domain?: string | undefined
  readonly "password-file"?: string | undefined
  readonly level?: Security.ProtectionLevel | undefined
  readonly provider?: ProviderName | undefined
  readonly kdc?: string | undefined
}

/** The names of the providers on the command line. */
export type ProviderName = "negotiate" | "ntlm" | "kerberos"

/** The password of a user: that of a file, or else what a person types. */
export const passwordOf = (user: string, path: string | undefined): Effect.Effect<string, Failure> =>
  Effect.gen(function* () {
    const passwords = yield* Passwords
    const missing = (advice: string) => (problem: string) => misused(`The password is missing: ${problem}.`, advice)
    if (path === undefined) {
      return yield* Effect.mapError(
        passwords.prompt(`Password of ${user}: `),
        missing("Name a file with --password-file PATH.")
      )
    }
    const bytes = yield* Effect.mapError(
      passwords.file(path),
      missing("Check the path and its permissions; under Deno add --allow-read.")
    )
    return yield* Effect.mapError(
      passwordIn(path, bytes),
      missing("Write the password alone into it, as UTF-8.")
    )
  })

/** The login that the options ask for; none without a user. */
export const login = (
  { user, ...options }: LoginOptions
): Effect.Effect<Login | undefined, Failure, Transport | Scope.Scope> =>
  Effect.gen(function* () {
    const { domain, kdc, level, "password-file": file, provider } = options
    if (user === undefined) {
      const left = Object.entries(options).find(([, value]) => value !== undefined)
      if (left === undefined) return undefined
      return yield* Effect.fail(misused(`--${left[0]} has no effect without --user.`, "Add --user NAME."))
    }
    const password = yield* passwordOf(user, file)
    const security = Security.make({
      provider: yield* providerOf(provider ?? "negotiate", domain, kdc),
      credentials: { user, domain, password: Redacted.make(password) },
      level
    })
    return { user, domain, security }
  })

const providerOf = (
  name: ProviderName,
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
