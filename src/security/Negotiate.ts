/**
 * Negotiate (SPNEGO): client and server agree on the provider that logs the client in.
 *
 * The client offers its providers in its order, with the first message of the best one. The server takes the best one that it has. Both
 * sign the list of offered providers, so that nobody in between can take a better provider away.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { refuseArgument } from "../internal/named.ts"
import { flagOption } from "../internal/options.ts"
import { equalBytes } from "./internal/constantTime.ts"
import * as Der from "./internal/der.ts"
import {
  encodeInit,
  encodeList,
  encodeResponse,
  maxMechanisms,
  parseInit,
  parseResponse,
  type Response,
  state
} from "./internal/spnegoTokens.ts"
import * as Ntlm from "./Ntlm.ts"
import {
  type AcceptOptions,
  type ClientProvider,
  type Exchange,
  type InitiateOptions,
  LoginFailure,
  type ServerProvider,
  type Session,
  type Step
} from "./Security.ts"

const name = "Negotiate"
const authType = 9

/** A login has at most this many messages of each side. */
const maxLegs = 10

const fail = (reason: LoginFailure["reason"], detail: string): LoginFailure =>
  new LoginFailure({ reason, detail: `Negotiate: ${detail}` })

/** A provider with its object identifiers as they stand in tokens. */
interface Offer<Provider> {
  readonly provider: Provider
  readonly identifiers: ReadonlyArray<Uint8Array>
}

const offersOf = <Provider extends ClientProvider | ServerProvider>(
  owner: string,
  providers: ReadonlyArray<Provider>
): ReadonlyArray<Offer<Provider>> => {
  if (providers.length === 0) refuseArgument(owner, "no provider, expected at least one")
  const offers = providers.map((provider) => {
    if (provider.mechanism === undefined) {
      return refuseArgument(owner, `the provider ${provider.name} can't be offered. Use it without Negotiate`)
    }
    return { provider, identifiers: provider.mechanism.identifiers.map(Der.oid) }
  })
  if (offers.flatMap(({ identifiers }) => identifiers).length > maxMechanisms) {
    refuseArgument(owner, `too many object identifiers, expected at most ${maxMechanisms}`)
  }
  return offers
}

const offerOf = <Provider>(offers: ReadonlyArray<Offer<Provider>>, mechanism: Uint8Array) =>
  offers.find(({ identifiers }) => identifiers.some((identifier) => equalBytes(identifier, mechanism)))

/** A login of a limited number of messages. No message follows a failure or the end. */
const exchange = (step: (token: Uint8Array | undefined) => Effect.Effect<Step, LoginFailure>): Exchange => {
  let legs = 0
  return {
    step: (token) =>
      Effect.suspend(() => {
        if (legs === Infinity) return Effect.fail(fail("refused", "a message after the end of the login"))
        if (legs++ === maxLegs) {
          legs = Infinity
          return Effect.fail(fail("refused", `the login has no end after ${maxLegs} messages`))
        }
        return Effect.onExit(step(token), (exit) =>
          Effect.sync(() => {
            if (exit._tag === "Failure" || exit.value.session !== undefined) legs = Infinity
          }))
      })
  }
}

// ----------------------------------------------------------------------------
// the signatures of the list
// ----------------------------------------------------------------------------

/** The signatures of the list of mechanisms, once the mechanism is complete. */
class ListSignatures {
  readonly #session: Session
  readonly #list: Uint8Array
  /** Whether both sides must sign. */
  readonly needed: boolean
  sent = false
  verified = false

  constructor(session: Session, list: Uint8Array, switched: boolean) {
    this.#session = session
    this.#list = list
    this.needed = session.integrity && (session.needsMic || switched)
  }

  /** Our signature, if it is due: once, where it is needed or the other side has signed. */
  take(): Uint8Array | undefined {
    if (this.sent || !(this.needed || this.verified)) return undefined
    this.sent = true
    return this.#session.mic(this.#list)
  }

  /** Whether the other side's signature is right. One where nothing can be signed proves nothing, and counts as none. */
  isRight(mic: Uint8Array | undefined): boolean {
    if (mic === undefined || !this.#session.integrity) return true
    return this.verified = !this.verified && this.#session.verifyMic(this.#list, mic)
  }
}

const wrongSignature = (): LoginFailure => fail("tampered", "the signature of the list of providers is wrong")
const noSignature = (): LoginFailure =>
  fail("tampered", "the list of providers has no signature. The option requireMic: false allows it.")
const earlySignature = (): LoginFailure =>
  fail("refused", "a signature of the list of providers before the end of the login")

// ----------------------------------------------------------------------------
// client
// ----------------------------------------------------------------------------

/**
 * Options of {@link makeClient} and {@link makeServer}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Whether the other side must sign the list of providers where the rules ask for it. By default true. Some servers of Azure and Apple
   * never sign.
   */
  readonly requireMic?: boolean | undefined
}

/** A provider that fails so before its first message is passed over. */
const passedOver: ReadonlyArray<LoginFailure["reason"]> = ["noCredentials", "noTarget", "unavailable", "unsupported"]

/**
 * The client's half of Negotiate, with providers of one's own choice, the best first.
 *
 * **Details**
 *
 * A provider that can't begin (it has no use for the credentials, needs a target, or its service does not answer) is passed over for
 * the next one. A refusal is final.
 *
 * **Example** (Negotiate with one provider)
 *
 * ```ts
 * import { Negotiate, Ntlm } from "@callisto/rpc/security"
 *
 * const provider = Negotiate.makeClient([Ntlm.makeClient({ workstation: "DESK-7" })])
 *
 * console.log(provider.name, provider.authType) // "Negotiate" 9
 * ```
 *
 * @category client
 * @since 0.1.0
 */
export const makeClient = (providers: ReadonlyArray<ClientProvider>, options: Options = {}): ClientProvider => {
  const owner = "Negotiate.makeClient"
  const offers = offersOf(owner, providers)
  const requireMic = flagOption(owner, "requireMic", options.requireMic, true)
  return {
    name,
    authType,
    legs: "even",
    initiate: Effect.fnUntraced(function* (asked: InitiateOptions) {
      const scope = yield* Effect.scope

      const begin = Effect.fnUntraced(function* (offer: Offer<ClientProvider>) {
        const exchange = yield* Effect.provideService(offer.provider.initiate(asked), Scope.Scope, scope)
        const { session, token } = yield* exchange.step(undefined)
        if (token === undefined) return yield* fail("refused", `${offer.provider.name} has no first message`)
        return { offer, exchange, session, token }
      })

      let current: Effect.Success<ReturnType<typeof begin>>
      let list: Uint8Array
      let first: Uint8Array
      let chosen: Uint8Array | undefined
      let switched = false
      let session: Session | undefined
      let signatures: ListSignatures | undefined

      const start: Effect.Effect<Step, LoginFailure> = Effect.gen(function* () {
        const failures: Array<LoginFailure> = []
        for (const [index, offer] of offers.entries()) {
          const begun = yield* Effect.result(begin(offer))
          if (begun._tag === "Success") {
            current = begun.success
            const identifiers = offers.slice(index).flatMap(({ identifiers }) => identifiers)
            first = identifiers[0]!
            list = encodeList(identifiers)
            session = current.session
            return { token: encodeInit({ list, token: current.token }), session: undefined }
          }
          failures.push(begun.failure)
          if (!passedOver.includes(begun.failure.reason)) break
        }
        const last = failures[failures.length - 1]!
        return yield* failures.length === 1 ? last : fail(
          last.reason,
          `no provider can log in. ${failures.map(({ detail }) => detail).join("; ")}`
        )
      })

      /** Takes the server's choice. Gives what to send where its provider has to begin anew. */
      const choose = Effect.fnUntraced(function* (response: Response) {
        chosen = response.mechanism ?? first
        const offer = offerOf(offers, chosen)
        if (offer === undefined) return yield* fail("refused", "the server chose a provider that was not offered")
        const other = !equalBytes(chosen, first)
        switched = other || response.state === state.micRequested
        if (offer === current.offer && !(other && response.token === undefined)) return undefined
        if (response.token !== undefined) {
          return yield* fail("refused", "the server chose another provider, and answered the first")
        }
        current = yield* begin(offer)
        session = current.session
        return current.token
      })

      const answer = Effect.fnUntraced(function* (response: Response) {
        if (response.state === state.rejected) return yield* fail("refused", "the server refused the login")
        if (chosen === undefined) {
          const again = yield* choose(response)
          if (again !== undefined) return { token: encodeResponse({ token: again }), session: undefined }
        } else if (response.mechanism !== undefined && !equalBytes(response.mechanism, chosen)) {
          return yield* fail("tampered", "the server changed its choice of the provider")
        } else if (response.state === state.micRequested) {
          return yield* fail("refused", "the server asked for signatures too late")
        }

        let token: Uint8Array | undefined
        if (session === undefined) {
          if (response.token === undefined) return yield* fail("refused", "the server sent no message of the provider")
          const step: Step = yield* current.exchange.step(response.token)
          session = step.session
          token = step.token
        } else if (response.token !== undefined) {
          return yield* fail("refused", "the server sent a message after the provider's last one")
        }
        const completed = response.state === state.completed
        if (session === undefined) {
          if (response.mic !== undefined) return yield* earlySignature()
          if (completed || token === undefined) return yield* fail("refused", "the server ended the login too early")
          return { token: encodeResponse({ token }), session: undefined }
        }
        signatures ??= new ListSignatures(session, list, switched)
        if (!signatures.isRight(response.mic)) return yield* wrongSignature()
        if (completed) {
          if (token !== undefined) return yield* fail("refused", "the server ended the login too early")
          if (requireMic && signatures.needed && !(signatures.verified && signatures.sent)) return yield* noSignature()
          return { token: undefined, session }
        }
        const mic = signatures.take()
        if (token === undefined && mic === undefined) return yield* fail("refused", "the server does not end the login")
        return { token: encodeResponse({ token, mic }), session: undefined }
      })

      let started = false
      return exchange((token) => {
        if (!started) {
          started = true
          return start
        }
        const response = parseResponse(token ?? noBytes)
        return typeof response === "string" ? Effect.fail(fail("refused", response)) : answer(response)
      })
    })
  }
}

const noBytes = new Uint8Array(0)

/**
 * The client's half of Negotiate with NTLM alone.
 *
 * **Example** (What the provider is)
 *
 * ```ts
 * import { Negotiate } from "@callisto/rpc/security"
 *
 * console.log(Negotiate.client.name, Negotiate.client.authType) // "Negotiate" 9
 * ```
 *
 * @see {@link makeClient} for more providers
 * @category client
 * @since 0.1.0
 */
export const client: ClientProvider = makeClient([Ntlm.client])

// ----------------------------------------------------------------------------
// server
// ----------------------------------------------------------------------------

/**
 * The server's half of Negotiate, with providers of one's own choice.
 *
 * **Details**
 *
 * The client's order decides. A client that leaves Negotiate out, and begins with a provider's own message, is served too.
 *
 * **Example** (Negotiate with one provider)
 *
 * ```ts
 * import { Negotiate, Ntlm } from "@callisto/rpc/security"
 *
 * const provider = Negotiate.makeServer([Ntlm.server(() => undefined, { computer: "FILES" })])
 *
 * console.log(provider.name, provider.authType) // "Negotiate" 9
 * ```
 *
 * @see {@link server} for the usual ones
 * @category server
 * @since 0.1.0
 */
export const makeServer = (providers: ReadonlyArray<ServerProvider>, options: Options = {}): ServerProvider => {
  const owner = "Negotiate.makeServer"
  const offers = offersOf(owner, providers)
  const requireMic = flagOption(owner, "requireMic", options.requireMic, true)
  return {
    name,
    authType,
    accept: Effect.fnUntraced(function* (asked: AcceptOptions) {
      const scope = yield* Effect.scope
      const open = ({ provider }: Offer<ServerProvider>) =>
        Effect.provideService(provider.accept(asked), Scope.Scope, scope)

      let plain: Exchange | undefined
      let current: Exchange
      let list: Uint8Array
      let chosen: Uint8Array
      let switched = false
      let session: Session | undefined
      let signatures: ListSignatures | undefined

      const start = Effect.fnUntraced(function* (token: Uint8Array) {
        const alone = offers.find(({ provider }) => provider.mechanism!.recognizes(token))
        if (alone !== undefined) {
          plain = yield* open(alone)
          return yield* plain.step(token)
        }
        const init = parseInit(token)
        if (typeof init === "string") return yield* fail("refused", init)
        if (init.mic !== undefined) return yield* earlySignature()
        const index = init.mechanisms.findIndex((mechanism) => offerOf(offers, mechanism) !== undefined)
        if (index < 0) return yield* fail("refused", "the client offers none of the server's providers")
        chosen = init.mechanisms[index]!
        list = init.list
        current = yield* open(offerOf(offers, chosen)!)
        switched = index > 0
        if (switched || init.token === undefined) {
          const answer = { state: switched ? state.micRequested : state.incomplete, mechanism: chosen }
          return { token: encodeResponse(answer), session: undefined }
        }
        return yield* answer({ token: init.token }, chosen)
      })

      /** Answers a message. The first answer names the choice. */
      const answer = Effect.fnUntraced(function* (request: Response, mechanism?: Uint8Array) {
        let token: Uint8Array | undefined
        if (session === undefined) {
          if (request.token === undefined) return yield* fail("refused", "the client sent no message of the provider")
          const step: Step = yield* current.step(request.token)
          session = step.session
          token = step.token
        } else if (request.token !== undefined) {
          return yield* fail("refused", "the client sent a message after the provider's last one")
        }
        if (session === undefined) {
          if (request.mic !== undefined) return yield* earlySignature()
          return { token: encodeResponse({ state: state.incomplete, mechanism, token }), session: undefined }
        }
        signatures ??= new ListSignatures(session, list, switched)
        if (!signatures.isRight(request.mic)) return yield* wrongSignature()
        if (signatures.verified || !signatures.needed || !requireMic) {
          const mic = signatures.verified ? signatures.take() : undefined
          return { token: encodeResponse({ state: state.completed, mechanism, token, mic }), session }
        }
        const mic = signatures.take()
        if (mic === undefined) return yield* noSignature()
        return { token: encodeResponse({ state: state.incomplete, mechanism, token, mic }), session: undefined }
      })

      let started = false
      return exchange((token = noBytes) => {
        if (!started) {
          started = true
          return start(token)
        }
        if (plain !== undefined) return plain.step(token)
        const request = parseResponse(token)
        if (typeof request === "string") return Effect.fail(fail("refused", request))
        if (request.state === state.rejected) return Effect.fail(fail("refused", "the client gave the login up"))
        if (request.mechanism !== undefined && !equalBytes(request.mechanism, chosen)) {
          return Effect.fail(fail("tampered", "the client changed its choice of the provider"))
        }
        return answer(request)
      })
    })
  }
}

/**
 * Options of {@link server}.
 *
 * @category server
 * @since 0.1.0
 */
export interface ServerOptions extends Options {
  /** The accounts for NTLM, or NTLM with options of its own. By default NTLM is not offered. */
  readonly ntlm?: Ntlm.Accounts | ServerProvider | undefined
  /** The server's half of Kerberos. By default Kerberos is not offered. */
  readonly kerberos?: ServerProvider | undefined
}

/**
 * The server's half of Negotiate.
 *
 * **Example** (NTLM with accounts)
 *
 * ```ts
 * import { Redacted } from "effect"
 * import { Negotiate, Ntlm } from "@callisto/rpc/security"
 *
 * const alice: Ntlm.Account = { name: "alice", ntHash: Ntlm.hash(Redacted.make("Password")), groups: ["admins"] }
 * const provider = Negotiate.server({ ntlm: ({ user }) => user.toLowerCase() === "alice" ? alice : undefined })
 *
 * console.log(provider.name) // "Negotiate"
 * ```
 *
 * @category server
 * @since 0.1.0
 */
export const server = ({ kerberos, ntlm, ...options }: ServerOptions): ServerProvider => {
  if (kerberos === undefined && ntlm === undefined) {
    refuseArgument("Negotiate.server", "neither ntlm nor kerberos is given, expected at least one of them")
  }
  return makeServer([
    ...kerberos === undefined ? [] : [kerberos],
    ...ntlm === undefined ? [] : [typeof ntlm === "function" ? Ntlm.server(ntlm) : ntlm]
  ], options)
}
