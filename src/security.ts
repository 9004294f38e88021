/**
 * The security of calls on the network: logins, callers and protection.
 *
 * Each module is also exported under its own name, for instance `@callisto/rpc/security/Ntlm`.
 *
 * @module
 * @since 0.1.0
 */
export * as Kerberos from "./security/Kerberos.ts"
export * as KerberosCiphers from "./security/KerberosCiphers.ts"
export * as Negotiate from "./security/Negotiate.ts"
export * as Ntlm from "./security/Ntlm.ts"
export * as Security from "./security/Security.ts"
