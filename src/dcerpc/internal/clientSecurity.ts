/**
 * The client's logins: one for each connection, while that binds.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { Secured } from "../../Channel.ts"
import { errorOf } from "../../internal/failures.ts"
import { toHex } from "../../internal/statusTable.ts"
import { channelBindingsOf } from "../../security/internal/channelBindings.ts"
import type * as Security from "../../security/Security.ts"
import { RpcFault } from "../../Status.ts"
import * as Pdu from "../Pdu.ts"
import type { ClientConnection, ConnectionSecurity, Securing } from "./clientConnection.ts"
import { type Bound, contextElement, type Refusal, rejection, syntaxOf } from "./proposals.ts"
import { maximumLegs, numberOf, Protection, writeTrailer } from "./protection.ts"

/** Each connection has one security context. */
const authContextId = 1

const failed = (code: number, detail: string): Refusal => ({
  failure: new RpcFault({ code, didNotExecute: true, detail: detail.replace(/\.$/, "") }),
  reach: "server"
})

/** The Win32 code of each reason for which a login fails. */
const codes: { readonly [R in Security.LoginFailure["reason"]]: number } = {
  refused: 5,
  tampered: 1825,
  unsupported: 1825,
  noCredentials: 1749,
  noTarget: 1822,
  unavailable: 1825
}

const refusalOf = ({ detail, reason }: Security.LoginFailure): Refusal => failed(codes[reason], detail)

/** The codes of calls whose login a bind_nak has refused, by its reason. */
const rejectCodes: { readonly [reason: number]: number } = { 8: 1747, 9: 5 }

/** The faults that end a connection whose messages are protected. */
const endsLogin: ReadonlySet<number> = new Set([1825, 0x1c01000b])

/** The failure of calls that can't be sent because of it. */
export const unprotected = "the login of the connection can protect no more messages"

/** The login of a connection, and from then on the protection of its messages. */
class ClientSecurity implements ConnectionSecurity {
  readonly first: Pdu.AuthTrailer
  readonly flags: number
  /** Both sides sign the headers of messages. */
  headerSigning = false
  secured: Secured | undefined = undefined
  failure: RpcFault | undefined = undefined
  private readonly connection: ClientConnection
  private protection: Protection | undefined = undefined
  /** The presentation contexts whose first request has told the server what was bound. */
  private readonly verified = new Set<number>()
  /** The answers to the messages of the login, in their order. */
  private readonly arrived: Array<Pdu.Pdu> = []
  private waiting: Deferred.Deferred<void> | undefined = undefined

  constructor(connection: ClientConnection, first: Pdu.AuthTrailer, asksToSignHeaders: boolean) {
    this.connection = connection
    this.first = first
    this.flags = asksToSignHeaders ? Pdu.flags.supportHeaderSign : 0
  }

  // --- the login

  take(answer: Pdu.Pdu): string | undefined {
    // Each leg has one answer, and the next leg goes behind it.
    if (this.arrived.length > 0) return `${answer._tag} while a login waits for nothing`
    if (answer._tag === "BindAck") this.headerSigning = (answer.flags & this.flags) !== 0
    this.arrived.push(answer)
    if (this.waiting !== undefined) Deferred.doneUnsafe(this.waiting, Exit.void)
    return undefined
  }

  readonly next: Effect.Effect<Pdu.Pdu> = Effect.suspend(() => {
    const answer = this.arrived.shift()
    if (answer !== undefined) return Effect.succeed(answer)
    this.waiting = Deferred.makeUnsafe()
    return Effect.andThen(Deferred.await(this.waiting), this.next)
  })

  rejected(answer: Pdu.BindNak): Refusal | undefined {
    const code = rejectCodes[answer.rejectReason]
    return code === undefined ? undefined : failed(code, `the server refused the login: ${rejection(answer)}`)
  }

  /** Sends a further leg; the last one of an odd number has no answer. */
  send(authTrailer: Pdu.AuthTrailer, isLast: boolean): void {
    const { connection, flags } = this
    const { first, groupId, maxFragment, owner, writer } = connection
    const callId = owner.nextCallId(connection)
    if (isLast) Pdu.encodeAuth3(writer, { callId, authTrailer })
    else {
      Pdu.encodeAlterContext(writer, {
        callId,
        flags,
        maxXmitFrag: maxFragment,
        maxRecvFrag: maxFragment,
        assocGroupId: groupId,
        contextElements: [contextElement(first, 0)],
        authTrailer
      })
    }
    connection.flush()
  }

  /** The login has come to its end: calls may use the connection. */
  finish(session: Security.Session, level: Security.ProtectionLevel): void {
    const { connection, first, headerSigning } = this
    this.protection = new Protection(session, level, this, first)
    this.secured = { level, mutual: session.mutual, provider: session.provider, headerSigning }
    connection.move("agreed")
    connection.announce()
  }

  // --- messages

  get trailer(): Pdu.AuthTrailer | undefined {
    return this.protection?.trailer
  }

  complete(writer: Pdu.Writer, { interface: iface, syntax }: Bound, contextId: number): void {
    if (this.trailer === undefined || this.verified.has(contextId)) return
    this.verified.add(contextId)
    writeTrailer(writer, {
      headerSigning: this.flags !== 0,
      abstractSyntax: syntaxOf(iface),
      transferSyntax: syntax.id
    })
  }

  seal(bytes: Uint8Array): boolean {
    if (this.protection === undefined || this.protection.seal(bytes)) return true
    this.connection.move("closedByPeer", unprotected)
    return false
  }

  refuses(fragment: Pdu.Response): string | undefined {
    if (this.protection === undefined || this.protection.accepts(fragment)) return undefined
    const detail = "a response is not protected as was agreed"
    this.failure = new RpcFault({ code: 1825, detail })
    return detail
  }

  endedBy(status: number): string | undefined {
    return this.protection !== undefined && endsLogin.has(status)
      ? `fault ${toHex(status)} to a protected message`
      : undefined
  }
}

/** Makes the logins of the connections of one association. */
export const securing = (security: Security.Security): Securing => {
  // One at a time: a wrong password must not count several times at once.
  const turn = Semaphore.makeUnsafe(1)
  return (connection, ...leg) => {
    const isLost = Effect.andThen(Deferred.await(connection.opened), Effect.never)
    return turn.withPermit(Effect.raceFirst(logIn(security, connection, ...leg), isLost))
  }
}

const logIn = (
  security: Security.Security,
  connection: ClientConnection,
  groupId: number,
  serverEndPoint: Uint8Array | undefined
): Effect.Effect<void, Refusal, Scope.Scope> =>
  Effect.gen(function* () {
    const { impersonation, level, mutual, provider, target } = security
    const credentials = yield* security.credentials
    const exchange = yield* provider.initiate({
      level,
      target: target ?? `host/${connection.address.address ?? "localhost"}`,
      credentials,
      impersonation,
      mutual,
      channelBindings: channelBindingsOf(serverEndPoint)
    })
    const trailerOf = (authValue: Uint8Array): Pdu.AuthTrailer => ({
      authType: provider.authType,
      authLevel: numberOf(level),
      authContextId,
      authValue
    })
    let { session, token } = yield* exchange.step(undefined)
    if (token === undefined) return yield* Effect.fail(failed(1825, "the provider has no first message"))
    const login = new ClientSecurity(connection, trailerOf(token), level !== "connect")
    connection.bind(groupId, login)
    for (let leg = 1; token !== undefined; leg++) {
      const received = yield* tokenOf(yield* login.next, login.first)
      token = undefined
      if (session === undefined) {
        if (received === undefined) return yield* Effect.fail(failed(1825, "the server takes no part in the login"))
        const step: Security.Step = yield* exchange.step(received)
        session = step.session
        token = step.token
      } else if (received !== undefined) {
        return yield* Effect.fail(failed(1825, "the server goes on with a login that has ended"))
      }
      if (token === undefined) break
      if (leg === maximumLegs) return yield* Effect.fail(failed(1825, `the login takes more than ${leg} messages`))
      const isLast: boolean = session !== undefined && provider.legs === "odd"
      login.send(trailerOf(token), isLast)
      if (isLast) break
    }
    if (session === undefined) return yield* Effect.fail(failed(1825, "the provider neither ends nor goes on"))
    const weaker = weakness(security, session, login.headerSigning)
    if (weaker !== undefined) return yield* Effect.fail(failed(1825, weaker))
    login.finish(session, level)
  }).pipe(
    Effect.mapError((error) => "_tag" in error ? refusalOf(error) : error),
    // What a provider says when it dies may hold secrets.
    Effect.catchCause((cause) => Effect.fail(errorOf(cause) as Refusal ?? failed(1825, "the provider died")))
  )

const wrongUser = "the server refused the user. Check the name, the domain and the password"

/** The token of an answer, which has to be of the same login; `undefined` where it is empty. */
const tokenOf = (answer: Pdu.Pdu, login: Pdu.AuthTrailer): Effect.Effect<Uint8Array | undefined, Refusal> => {
  if (answer._tag === "Fault") {
    const code = answer.status === 5 || answer.status === 1825 ? answer.status : 1825
    return Effect.fail(
      failed(code, code === 5 ? wrongUser : `the server answered fault 0x${answer.status.toString(16)}`)
    )
  }
  if (answer._tag !== "BindAck" && answer._tag !== "AlterContextResponse") {
    return Effect.fail(failed(1825, `the server answered the login with ${answer._tag}`))
  }
  const { authTrailer: trailer } = answer
  // A trailer without a token can't be told from none.
  if (trailer === undefined) return Effect.succeed(undefined)
  const isSame = trailer.authType === login.authType && trailer.authLevel === login.authLevel &&
    trailer.authContextId === login.authContextId
  return isSame
    ? Effect.succeed(trailer.authValue)
    : Effect.fail(failed(1825, "the server answered another login than the one that was begun"))
}

/** The property that is weaker than the client asked for. */
const weakness = (
  { headerSigning, level, mutual }: Security.Security,
  session: Security.Session,
  signsHeaders: boolean
): string | undefined => {
  if (level !== "connect" && !session.integrity) return "messages can't be signed"
  if (level === "privacy" && !session.confidentiality) return "messages can't be encrypted"
  if (mutual && !session.mutual) return `the server did not prove who it is, which ${session.provider} can't make it do`
  return headerSigning === "required" && !signsHeaders ? "the server does not sign headers" : undefined
}
