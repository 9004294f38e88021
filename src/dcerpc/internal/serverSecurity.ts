/**
 * The security contexts of a connection at the server: logins, the default context, and which context a request belongs to.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { Caller } from "../../Channel.ts"
import { callerOf } from "../../internal/access.ts"
import { channelBindingsOf } from "../../security/internal/channelBindings.ts"
import type * as Security from "../../security/Security.ts"
import type * as Transport from "../../transport/Transport.ts"
import * as Pdu from "../Pdu.ts"
import type { Group, Refusal } from "./agreement.ts"
import { binary } from "../TransferSyntax.ts"
import { type Context as Presentation, type IncomingCall, status } from "./incomingCall.ts"
import {
  type Facts,
  hasTrailer,
  type Identity,
  leastVerification,
  levelOf,
  maximumLegs,
  Protection,
  verificationSize,
  verifies
} from "./protection.ts"

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

/** A login and its state. */
class Context implements Identity {
  readonly id: number
  readonly authType: number
  readonly authLevel: number
  readonly level: Security.ProtectionLevel
  readonly provider: Security.ServerProvider
  exchange: Security.Exchange | undefined = undefined
  state: "begun" | "finished" | "dead" = "begun"
  legs = 0
  begunAt: number | undefined = undefined
  caller!: Caller
  protection: Protection | undefined = undefined

  constructor(trailer: Pdu.AuthTrailer, level: Security.ProtectionLevel, provider: Security.ServerProvider) {
    this.id = trailer.authContextId
    this.authType = trailer.authType
    this.authLevel = trailer.authLevel
    this.level = level
    this.provider = provider
  }

  /** Whether a request names the context with the type and the level that it was made with. */
  matches({ authLevel, authType }: Pdu.AuthTrailer): boolean {
    return authType === this.authType && authLevel === this.authLevel
  }
}

/** One leg of a login: a token of the client, and the context that it belongs to. */
export interface Leg {
  readonly context: Context
  readonly token: Uint8Array
  readonly kind: Kind
}

/** The carrier of a leg: a connection's bind, an alter_context with a new context or a further leg, or an auth3. */
type Kind = "bind" | "new" | "further" | "auth3"

/** The outcome of a leg: a refusal, an answer with a trailer, or no answer at all. */
export type Answer = Refusal | { readonly trailer: Pdu.AuthTrailer } | "silence"

/** The server's report to its operators of a refused login or message. */
export type Report = (
  event: "login" | "message",
  facts: { readonly provider: string; readonly claimed: string | undefined; readonly problem: string }
) => void

/** Makes the security of connections. */
export interface Securing {
  readonly secure: (unauthenticated: Identity, connection: Transport.Connection) => ServerSecurity
  readonly stubOf: (call: IncomingCall, request: Pdu.Request, security: ServerSecurity) => Uint8Array | undefined
  readonly verifies: (call: IncomingCall, request: Pdu.Request, end: number, security: ServerSecurity) => boolean
}

/** The security of an endpoint. */
export interface SecuritySettings {
  readonly providers: ReadonlyArray<Security.ServerProvider>
  /** The security contexts of one connection. */
  readonly maximum: number
}

const nak = (reason: number): Refusal => ({ nak: reason })
const fault = (status: number): Refusal => ({ fault: status, endsConnection: true })

/** The statuses of faults that only security sends. */
const securityFault = 0x721
const remoteNoMemory = 0x1c00001b

const protocolError = fault(status.protocolError)
const accessDenied = fault(status.accessDenied)

/** The reasons of a bind_nak for a login that failed: for now, and for good. */
const congested = 1
const refused = 9

const maximumAuth3 = 4096

/** Any answer has room for a token of so many bytes. */
const maximumToken = 32768

/** Why a request can't be taken, before anything of it was read. `context`: whether the fault names its presentation context. */
export interface Unfit {
  readonly status: number
  readonly didNotExecute: boolean
  readonly namesContext: boolean
}

const unfit = (status: number, didNotExecute: boolean, namesContext: boolean): Unfit => ({
  status,
  didNotExecute,
  namesContext
})

// ----------------------------------------------------------------------------
// the contexts of a connection
// ----------------------------------------------------------------------------

export class ServerSecurity {
  private readonly settings: SecuritySettings
  private readonly connection: Transport.Connection
  private readonly report: Report
  private readonly contexts = new Map<number, Context>()
  private readonly scope = Scope.makeUnsafe()
  private readonly unauthenticated: Identity
  /** Whose requests those without a trailer are; `undefined` where they are refused, because a login has failed. */
  private default: Identity | undefined
  /** A request has named a context of level connect: none becomes the default any more. */
  private namesConnect = false
  /** Agreed for the whole connection, once both sides have said so. */
  headerSigning = false
  /** A context that protects messages was used: a call below a manager's level does not end the connection. */
  hasProtected = false
  /** The connection has shown that it belongs to its association group. */
  private isProven = false
  /** The presentation contexts in which a request in Callisto's own syntax had its verification trailer. */
  private readonly verified = new Set<number>()

  constructor(settings: SecuritySettings, unauthenticated: Identity, connection: Transport.Connection, report: Report) {
    this.settings = settings
    this.connection = connection
    this.report = report
    this.default = this.unauthenticated = unauthenticated
  }

  /** When the oldest login was begun that has not come to its end; `Infinity` where there is none. */
  get unfinishedSince(): number {
    let since = Infinity
    for (const { begunAt = Infinity, state } of this.contexts.values()) {
      if (state === "begun") since = Math.min(since, begunAt)
    }
    return since
  }

  // --- logins

  /** The leg of a login that a PDU carries, or the reason against it; `undefined` where it carries none. */
  leg({ _tag, authTrailer }: Pdu.Bind | Pdu.AlterContext | Pdu.Auth3, isBound: boolean): Leg | Refusal | undefined {
    if (_tag === "Auth3") return this.lastLeg(authTrailer)
    if (authTrailer === undefined) return undefined
    return isBound ? this.furtherLeg(authTrailer) : this.firstLeg(authTrailer)
  }

  private firstLeg(trailer: Pdu.ReceivedAuthTrailer): Leg | Refusal {
    const { authLevel, authPadLength, authType, authValue, fragment } = trailer
    const provider = this.providerOf(authType)
    if (authLevel < 2 || authLevel > 6) return nak(0)
    if (provider === undefined) return nak(8)
    const level = levelOf(authLevel)
    if (level === undefined) return nak(9)
    if (authPadLength > fragment.length - 24 - 8 - authValue.length) return nak(4)
    return this.begin(trailer, level, provider, "bind")
  }

  private furtherLeg(trailer: Pdu.ReceivedAuthTrailer): Leg | Refusal {
    const { authContextId, authLevel, authPadLength, authType, authValue, fragment } = trailer
    const known = this.contexts.get(authContextId)
    if (known?.state === "finished") return accessDenied
    if (known !== undefined && authType === 0) return accessDenied
    if (authPadLength > fragment.length - 24 - 8 - authValue.length) return protocolError
    if (known !== undefined) return { context: known, token: authValue, kind: "further" }
    const provider = this.providerOf(authType)
    const level = levelOf(authLevel)
    if (provider === undefined || level === undefined) return accessDenied
    return this.contexts.size >= this.settings.maximum ? protocolError : this.begin(trailer, level, provider, "new")
  }

  private lastLeg(trailer: Pdu.ReceivedAuthTrailer | undefined): Leg | Refusal {
    if (this.unfinishedSince === Infinity) return protocolError
    if (trailer === undefined) return fault(remoteNoMemory)
    const { authContextId, authLevel, authPadLength, authType, authValue, fragment } = trailer
    if (authValue.length > maximumAuth3 || fragment.length > Pdu.defaultFragment) return protocolError
    const context = this.contexts.get(authContextId)
    if (context === undefined) return accessDenied
    if (context.state !== "begun") return protocolError
    if (authType !== context.authType || authLevel !== context.authLevel || authPadLength !== 0) {
      return fault(remoteNoMemory)
    }
    return { context, token: authValue, kind: "auth3" }
  }

  private providerOf(authType: number): Security.ServerProvider | undefined {
    return this.settings.providers.find((provider) => provider.authType === authType)
  }

  private begin(
    trailer: Pdu.AuthTrailer,
    level: Security.ProtectionLevel,
    provider: Security.ServerProvider,
    kind: Kind
  ): Leg {
    const context = new Context(trailer, level, provider)
    this.contexts.set(context.id, context)
    return { context, token: trailer.authValue, kind }
  }

  /** The reason against a further leg that counts behind those against its presentation contexts. */
  lateRefusal({ context, kind }: Leg, { authLevel, authType }: Pdu.AuthTrailer): Refusal | undefined {
    if (kind !== "further") return undefined
    if (authType !== context.authType) return fault(securityFault)
    return authLevel !== context.authLevel || context.state === "dead" ? accessDenied : undefined
  }

  /** Gives the token to the provider. */
  step({ context, token }: Leg): Effect.Effect<Security.Step, Security.LoginFailure> {
    const { level, provider } = context
    const { peer, serverEndPoint } = this.connection
    const options = { level, peer, channelBindings: channelBindingsOf(serverEndPoint) }
    const begin = Effect.suspend(() => Scope.provide(provider.accept(options), this.scope))
    const exchange = context.exchange === undefined
      ? Effect.tap(begin, (exchange) =>
        Effect.sync(() => {
          context.exchange = exchange
        }))
      : Effect.succeed(context.exchange)
    return Effect.flatMap(exchange, (exchange) => exchange.step(token))
  }

  /** The answer to the client for a leg. */
  settle(leg: Leg, exit: Exit.Exit<Security.Step, Security.LoginFailure>, group: Group): Answer {
    if (exit._tag === "Failure") return this.refuse(leg, exit)
    const { context, kind } = leg
    const { session, token } = exit.value
    if (session === undefined && ++context.legs === maximumLegs) {
      return this.fail(leg, "refused", `the login takes more than ${maximumLegs} messages`)
    }
    if (token !== undefined && token.length > maximumToken) {
      return this.fail(leg, "unavailable", `the provider's message has ${token.length} bytes`)
    }
    if (kind === "auth3" && (session === undefined || token !== undefined)) {
      return this.fail(leg, "unsupported", "the login did not end with its last message")
    }
    if (session !== undefined) {
      if (context.level === "privacy" && !session.confidentiality) {
        return this.fail(leg, "unsupported", "the client can't encrypt")
      }
      const { domain, name } = session.identity
      const user = name === undefined ? undefined : `${domain ?? ""}\\${name}`
      group.caller ??= user
      if (group.caller !== user && !this.isProven) {
        return this.fail(leg, "refused", "the association group belongs to another user", name)
      }
      try {
        this.finish(context, session)
      } catch {
        return this.fail(leg, "unavailable", "the session of the provider is of no use")
      }
      this.isProven = true
    }
    if (kind === "auth3") return "silence"
    const { authLevel, authType, id } = context
    return { trailer: { authType, authLevel, authContextId: id, authValue: token ?? new Uint8Array(0) } }
  }

  private refuse(leg: Leg, { cause }: Exit.Failure<Security.Step, Security.LoginFailure>): Answer {
    const error = cause.reasons.find((reason) => reason._tag === "Fail")?.error
    return error === undefined
      ? this.fail(leg, "unavailable", "the provider died")
      : this.fail(leg, error.reason, error.detail, error.claimed)
  }

  private fail(
    { context, kind }: Leg,
    reason: Security.LoginFailure["reason"],
    detail: string,
    claimed?: string
  ): Answer {
    context.state = "dead"
    context.exchange = undefined
    this.report("login", { provider: context.provider.name, claimed, problem: `${reason}, ${detail}` })
    switch (kind) {
      case "auth3":
        // The client does not know yet: what it sends in the name of this login is nobody's.
        if (context.level === "connect" && this.default === this.unauthenticated) this.default = undefined
        return "silence"
      case "bind":
        return nak(reason === "unavailable" ? congested : refused)
      case "new":
        return accessDenied
      case "further":
        return reason === "tampered" || reason === "unsupported" ? fault(securityFault) : accessDenied
    }
  }

  private finish(context: Context, session: Security.Session): void {
    context.caller = callerOf("Endpoint", {
      ...session.identity,
      level: context.level,
      provider: session.provider
    })
    context.protection = new Protection(session, context.level, this, {
      authType: context.authType,
      authContextId: context.id
    })
    context.state = "finished"
    context.exchange = undefined
    if (context.level === "connect" && !this.namesConnect) this.default = context
  }

  // --- requests

  /** Whose request a first fragment is. */
  identify(trailer: Pdu.AuthTrailer | undefined): Identity | Unfit {
    if (trailer === undefined) return this.default ?? unfit(status.accessDenied, false, true)
    const context = this.contexts.get(trailer.authContextId)
    if (context === undefined || context.state === "dead") return unfit(status.accessDenied, false, true)
    if (context.state === "begun") return unfit(status.protocolError, true, false)
    if (!context.matches(trailer)) {
      context.state = "dead"
      return unfit(status.accessDenied, false, true)
    }
    // A client that names contexts names them always: what it does not name is not theirs.
    this.default = this.unauthenticated
    if (context.level === "connect") this.namesConnect = true
    else this.hasProtected = true
    return context
  }

  /** Whether requests without a login may use the handles of the connection's group. */
  mayUse(group: Group): boolean {
    return this.isProven || group.caller === this.unauthenticated.caller.name
  }

  /** Takes the protection off a fragment of no request, since each counts. Gives whether it names a context that a request could belong to. */
  unsealStray(fragment: Pdu.Request): { readonly isKnown: boolean; readonly status: number | undefined } {
    const { authTrailer } = fragment
    if (authTrailer === undefined) return { isKnown: true, status: undefined }
    const context = this.contexts.get(authTrailer.authContextId)
    if (context?.state !== "finished" || !context.matches(authTrailer)) return { isKnown: false, status: undefined }
    return { isKnown: true, status: this.unseal(context, fragment) }
  }

  /** Takes the protection off a fragment of a request. Gives the status of the fault where that fails. */
  unseal({ caller, protection }: Identity, fragment: Pdu.Request): number | undefined {
    if (protection?.trailer === undefined) return undefined
    if (fragment.authTrailer === undefined) return status.protocolError
    if (protection.session.integrity && protection.unseal(fragment)) return undefined
    this.report("message", { provider: caller.provider!, claimed: caller.name, problem: "a signature is wrong" })
    return securityFault
  }

  factsOf({ abstractSyntax, syntax }: Presentation): Facts {
    return { headerSigning: this.headerSigning, abstractSyntax, transferSyntax: syntax.id }
  }

  /**
   * The stub of a request in Callisto's own syntax, where a verification trailer ends the first one in a presentation context that has no in
   * pipes. Gives `undefined` where the trailer does not fit.
   */
  withoutTrailer(request: Pdu.Request, presentation: Presentation): Uint8Array | undefined {
    const { contextId, stub } = request
    const stubEnd = stub.length - verificationSize
    if (this.verified.has(contextId) || !hasTrailer(stub, stubEnd)) return stub
    this.verified.add(contextId)
    return verifies(request, stubEnd, this.factsOf(presentation)) ? stub.subarray(0, stubEnd) : undefined
  }

  /** The connection is closed: nothing secret is kept. */
  end(): Effect.Effect<void> {
    this.contexts.clear()
    return Scope.close(this.scope, Exit.void)
  }
}

// ----------------------------------------------------------------------------
// the security of an endpoint
// ----------------------------------------------------------------------------

/** Makes the security of the connections of an endpoint. */
export const securing = (settings: SecuritySettings, report: (peer: string) => Report): Securing => ({
  secure: (unauthenticated, connection) =>
    new ServerSecurity(settings, unauthenticated, connection, report(connection.peer)),
  stubOf: ({ identity: { protection }, presentation }, request, security) =>
    protection?.trailer === undefined || presentation.syntax !== binary
      ? request.stub
      : security.withoutTrailer(request, presentation),
  verifies: ({ presentation }, request, end, security) =>
    request.stub.length - end < leastVerification || verifies(request, end, security.factsOf(presentation))
})
