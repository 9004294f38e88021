/**
 * The client's logins: one for each connection, while that binds.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { channelBindingsOf } from "../../security/internal/channelBindings.ts"
import type * as Security from "../../security/Security.ts"
import { RpcFault } from "../../Status.ts"
import type * as Pdu from "../Pdu.ts"
import type { ClientConnection, ClientSecuring, Login } from "./clientConnection.ts"
import type { Refusal } from "./proposals.ts"
import { numberOf, Protection } from "./protection.ts"

/** Each connection has one security context. */
const authContextId = 1

const failed = (code: number, detail: string): Refusal => ({
  failure: new RpcFault({ code, didNotExecute: true, detail }),
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

/** The answers of the server to the legs of a login, in their order. */
class Legs implements Login {
  private readonly arrived: Array<Pdu.Pdu> = []
  private waiting: Deferred.Deferred<void> | undefined = undefined

  take(answer: Pdu.Pdu): void {
    this.arrived.push(answer)
    if (this.waiting !== undefined) Deferred.doneUnsafe(this.waiting, Exit.void)
  }

  readonly next: Effect.Effect<Pdu.Pdu> = Effect.suspend(() => {
    const answer = this.arrived.shift()
    if (answer !== undefined) return Effect.succeed(answer)
    this.waiting = Deferred.makeUnsafe()
    return Effect.andThen(Deferred.await(this.waiting), this.next)
  })
}

/** Makes the logins of the connections of one association. */
export const securing = (security: Security.Security): ClientSecuring => {
  // One at a time: a wrong password must not count several times at once.
  const turn = Semaphore.makeUnsafe(1)
  return { open: (...leg) => turn.withPermit(logIn(security, ...leg)) }
}

const logIn = (
  security: Security.Security,
  connection: ClientConnection,
  groupId: number,
  serverEndPoint: Uint8Array | undefined
): Effect.Effect<void, Refusal, Scope.Scope> =>
  Effect.gen(function* () {
    const { impersonation, level, mutual, provider, target } = security
    const legs = new Legs()
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
    connection.bind(groupId, { login: legs, trailer: trailerOf(token!), signsHeaders: level !== "connect" })
    while (true) {
      const answer = yield* Effect.raceFirst(legs.next, Effect.andThen(Deferred.await(connection.opened), Effect.never))
      const received = yield* tokenOf(answer)
      if (session === undefined || received !== undefined) {
        const step: Security.Step = yield* exchange.step(received)
        session = step.session
        token = step.token
        if (token !== undefined) connection.sendLeg(trailerOf(token), session !== undefined && provider.legs === "odd")
        else if (session === undefined) return yield* Effect.fail(failed(1825, "the provider neither ends nor goes on"))
        if (token !== undefined && (session === undefined || provider.legs === "even")) continue
      }
      break
    }
    const weaker = weakness(security, session!, connection.headerSigning)
    if (weaker !== undefined) return yield* Effect.fail(failed(1825, weaker))
    connection.secure(new Protection(session!, level, connection, { authContextId, authType: provider.authType }))
  }).pipe(Effect.mapError((error) => "_tag" in error ? refusalOf(error) : error))

const wrongUser = "the server refused the user. Check the name, the domain and the password"

/** The token of an answer; `undefined` where it has none. */
const tokenOf = (answer: Pdu.Pdu): Effect.Effect<Uint8Array | undefined, Refusal> => {
  if (answer._tag === "Fault") {
    const code = answer.status === 5 || answer.status === 1825 ? answer.status : 1825
    return Effect.fail(
      failed(code, code === 5 ? wrongUser : `the server answered fault 0x${answer.status.toString(16)}`)
    )
  }
  if (answer._tag !== "BindAck" && answer._tag !== "AlterContextResponse") {
    return Effect.fail(failed(1825, `the server answered the login with ${answer._tag}`))
  }
  const { authValue } = answer.authTrailer ?? {}
  return Effect.succeed(authValue === undefined || authValue.length === 0 ? undefined : authValue)
}

/** What came out weaker than it was asked for. */
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
