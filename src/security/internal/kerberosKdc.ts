/** Asks key distribution centres for tickets: the first one of a user, and those of services. */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { makeReadWhile } from "../../transport/internal/sockets.ts"
import { print, type StringBinding } from "../../transport/StringBinding.ts"
import type { Transport } from "../../transport/Transport.ts"
import { LoginFailure } from "../Security.ts"
import { DerFailure } from "./der.ts"
import { failure } from "./kerberosContext.ts"
import { defaultIterations, type Key, type Random, utf8 } from "./kerberosCrypto.ts"
import type { Keys } from "./kerberosKeys.ts"
import * as Messages from "./kerberosMessages.ts"

/** The proof of the user's identity. */
export interface Secret {
  /** The types of keys that it can give, the best first. */
  readonly etypes: ReadonlyArray<number>
  readonly key: (etype: number, salt: Uint8Array, iterations: number) => Effect.Effect<Key | undefined>
}

/** A ticket, its key and its user. */
export interface HeldTicket {
  readonly der: Uint8Array
  readonly key: Key
  /** The user, as the key distribution centre writes it. */
  readonly client: Messages.Principal
  readonly realm: string
  readonly endtime: number
}

/** A ticket for the key distribution centre of a realm. */
export interface GrantingTicket extends HeldTicket {
  readonly issuer: string
}

export interface KdcOptions {
  readonly transport: Transport
  readonly keys: Keys
  readonly random: Random
  readonly realm: string
  /** Where the key distribution centre of a realm is. */
  readonly addressOf: (realm: string) => StringBinding | undefined
  readonly timeout: Duration.Duration
}

const options = { forwardable: 0x40000000, canonicalize: 0x00010000, renewableOk: 0x10 } as const

const errors = { clockSkew: 37, preauthenticationRequired: 25, ticketExpired: 32 } as const

/** A key distribution centre that asks for fewer rounds helps those who guess passwords; one for more keeps us busy. */
const iterationLimits = { least: 4096, most: 1_000_000 } as const

const maxReferrals = 5

const maxAnswer = 1 << 20

const ticketLifetime = 24 * 3_600_000

const unreadable = (what: string, { message }: DerFailure): LoginFailure =>
  failure("tampered", `Kerberos: ${what} of the key distribution centre is damaged (${message})`)

/** An error that the key distribution centre answered. */
export class KdcRefusal {
  readonly code: number
  readonly serverTime: number
  readonly error: Messages.KrbError

  constructor(error: Messages.KrbError) {
    this.code = error.code
    this.serverTime = error.serverStamp.time
    this.error = error
  }
}

const wrongSecret: ReadonlyArray<number> = [6, 18, 23, 24]

const failureOf = (refusal: KdcRefusal, who: string): LoginFailure =>
  failure(
    wrongSecret.includes(refusal.code) ? "refused" : "unavailable",
    `Kerberos: the key distribution centre gives no ticket for ${who}, ${Messages.describeError(refusal.code)}`
  )

/** Speaks with the key distribution centres of some realms. */
export class Kdc {
  readonly #options: KdcOptions
  /** How far the clock of the key distribution centre is ahead, in milliseconds. */
  #offset = 0
  #lastMicros = 0

  constructor(options: KdcOptions) {
    this.#options = options
  }

  /** The time at the key distribution centre. No two are equal: servers take an equal one for a repeated request. */
  readonly stamp: Effect.Effect<Messages.Stamp> = Effect.map(Clock.currentTimeMillis, (now) => {
    const micros = this.#lastMicros = Math.max(Math.floor(now + this.#offset) * 1000, this.#lastMicros + 1)
    const fraction = micros % 1_000_000
    return { time: (micros - fraction) / 1000, micros: fraction }
  })

  /** The time at the key distribution centre, in milliseconds. */
  readonly now: Effect.Effect<number> = Effect.map(Clock.currentTimeMillis, (now) => now + this.#offset)

  /** Logs a user in. */
  readonly firstTicket = (
    client: Messages.Principal,
    realm: string,
    secret: Secret
  ): Effect.Effect<GrantingTicket, LoginFailure> =>
    this.#withClock(this.#firstTicket(client, realm, secret), Messages.printPrincipal(client))

  readonly #firstTicket = (client: Messages.Principal, realm: string, secret: Secret) =>
    Effect.gen({ self: this }, function* () {
      // A Windows domain has a short name too, which its own key distribution centre knows.
      const home = this.#options.addressOf(realm) === undefined ? this.#options.realm : realm
      const service = { type: Messages.nameTypes.service, parts: ["krbtgt", realm] }
      const { etypes } = secret
      const flags = options.forwardable | options.canonicalize | options.renewableOk
      const request = { options: flags, client, realm, service, till: (yield* this.now) + ticketLifetime, etypes }
      const wantsPac = { type: Messages.padataTypes.pacRequest, bytes: Messages.pacRequest }
      const send = (padata: ReadonlyArray<Messages.Typed>, nonce: number) =>
        Effect.flatMap(
          this.#ask(home, Messages.writeAsRequest(Messages.writeKdcRequestBody({ ...request, nonce }), padata)),
          (answer) => replyOf(answer, Messages.readAsReply)
        )

      const firstNonce = this.#nonce()
      const first = yield* Effect.result(send([wantsPac], firstNonce))
      if (first._tag === "Success") {
        const key = yield* this.#keyOf(secret, client, realm, first.success.padata, first.success.encrypted.etype)
        return yield* this.#granted(first.success, key, firstNonce, realm, "refused")
      }
      const refusal = first.failure
      if (!(refusal instanceof KdcRefusal) || refusal.code !== errors.preauthenticationRequired) {
        return yield* Effect.fail(refusal)
      }
      const padata = Messages.readPadata(refusal.error.data ?? new Uint8Array(0))
      if (padata instanceof DerFailure) return yield* unreadable("the question", padata)
      const key = yield* this.#keyOf(secret, client, realm, padata)
      const nonce = this.#nonce()
      const stamp = key.encrypt(
        Messages.usages.timestamp,
        Messages.writeTimestamp(yield* this.stamp),
        this.#options.random
      )
      const proof = Messages.writeEncryptedData(key.etype, stamp)
      const reply = yield* send([{ type: Messages.padataTypes.timestamp, bytes: proof }, wantsPac], nonce)
      if (reply.encrypted.etype === key.etype) return yield* this.#granted(reply, key, nonce, realm, "tampered")
      key.wipe()
      const other = yield* this.#keyOf(secret, client, realm, [...reply.padata, ...padata], reply.encrypted.etype)
      return yield* this.#granted(reply, other, nonce, realm, "tampered")
    })

  /** The key of the user, as the key distribution centre wants it made. */
  readonly #keyOf = (
    secret: Secret,
    client: Messages.Principal,
    realm: string,
    padata: ReadonlyArray<Messages.Typed>,
    etype?: number
  ) =>
    Effect.gen({ self: this }, function* () {
      const infos = Messages.readEtypeInfo(padata)
      if (infos instanceof DerFailure) return yield* unreadable("the question", infos)
      const info = infos.find((info) =>
        secret.etypes.includes(info.etype) && (etype === undefined || info.etype === etype)
      )
      const chosen = info?.etype ?? etype ?? (infos.length === 0 ? secret.etypes[0] : undefined)
      if (chosen === undefined || !secret.etypes.includes(chosen)) {
        return yield* failure(
          "unsupported",
          `Kerberos: the credentials have no key of the types ${infos.map(({ etype }) => etype).join(", ")}`
        )
      }
      const parameters = info?.parameters
      const iterations = parameters === undefined ? defaultIterations(chosen) : iterationsOf(parameters)
      const isRc4 = defaultIterations(chosen) === 0
      if (!isRc4 && !(iterations >= iterationLimits.least && iterations <= iterationLimits.most)) {
        return yield* failure(
          "unsupported",
          `Kerberos: the key distribution centre asks for ${iterations} rounds, ` +
            `expected ${iterationLimits.least} to ${iterationLimits.most}`
        )
      }
      const salt = info?.salt ?? utf8(realm + client.parts.join(""))
      const key = yield* secret.key(chosen, salt, iterations)
      return key ?? (yield* failure("noCredentials", `Kerberos: the credentials have no key of type ${chosen}`))
    })

  readonly #granted = (
    reply: Messages.KdcReply,
    key: Key,
    nonce: number,
    realm: string,
    wrongKey: "refused" | "tampered"
  ): Effect.Effect<GrantingTicket, LoginFailure> =>
    Effect.gen({ self: this }, function* () {
      const part = this.#open(reply, key, [Messages.usages.asReply], nonce, wrongKey)
      key.wipe()
      if (part instanceof LoginFailure) return yield* part
      const [kind, name, ...rest] = part.service.parts
      const isKnown = (name: string | undefined) =>
        name !== undefined && (sameRealm(name, realm) || sameRealm(name, this.#options.realm))
      if (kind !== "krbtgt" || rest.length !== 0 || !isKnown(name) || !isKnown(part.realm)) {
        part.key.wipe()
        return yield* failure("tampered", "Kerberos: the key distribution centre answered for another realm")
      }
      return { ...heldTicket(reply, part), issuer: part.realm }
    })

  /** Decrypts a reply and checks that it belongs to the request. */
  #open(
    reply: Messages.KdcReply,
    key: Key,
    usages: ReadonlyArray<number>,
    nonce: number,
    wrongKey: "refused" | "tampered"
  ): OpenReply | LoginFailure {
    const plain = reply.encrypted.etype === key.etype
      ? usages.map((usage) => key.decrypt(usage, reply.encrypted.cipher)).find((plain) => plain !== undefined)
      : undefined
    if (plain === undefined) {
      return failure(
        wrongKey,
        wrongKey === "refused"
          ? "Kerberos: the user or the password is wrong"
          : "Kerberos: the answer of the key distribution centre was changed"
      )
    }
    const part = Messages.readEncKdcReplyPart(plain)
    if (part instanceof DerFailure) return unreadable("the answer", part)
    if (part.nonce !== nonce) {
      return failure("tampered", "Kerberos: the key distribution centre answered another request")
    }
    const sessionKey = this.#options.keys.make(part.key.type, part.key.bytes)
    plain.fill(0)
    return sessionKey === undefined
      ? failure("unsupported", `Kerberos: the key distribution centre chose a key of type ${part.key.type}`)
      : { ...part, key: sessionKey }
  }

  /** Gets the ticket of a service, in the realm that knows it. */
  readonly serviceTicket = (
    granting: GrantingTicket,
    service: Messages.Principal
  ): Effect.Effect<HeldTicket, LoginFailure | KdcRefusal> =>
    Effect.gen({ self: this }, function* () {
      let current = granting
      try {
        for (let hops = 0; hops <= maxReferrals; hops++) {
          const answer = yield* this.#ticketFrom(current, service)
          if (answer.issuer === undefined) return answer.ticket
          if (current !== granting) current.key.wipe()
          current = { ...answer.ticket, issuer: answer.issuer }
        }
      } finally {
        if (current !== granting) current.key.wipe()
      }
      return yield* failure(
        "unavailable",
        `Kerberos: more than ${maxReferrals} realms refer to each other for ${Messages.printPrincipal(service)}`
      )
    })

  /** Gets a ticket from one realm; with an `issuer` it is one for the key distribution centre of another realm. */
  readonly #ticketFrom = (granting: GrantingTicket, service: Messages.Principal) =>
    Effect.gen({ self: this }, function* () {
      const { keys, random } = this.#options
      const nonce = this.#nonce()
      const body = Messages.writeKdcRequestBody({
        options: options.forwardable | options.canonicalize,
        client: undefined,
        realm: granting.issuer,
        service,
        till: granting.endtime,
        nonce,
        etypes: keys.etypes
      })
      const authenticator = Messages.writeAuthenticator({
        realm: granting.realm,
        client: granting.client,
        checksum: {
          type: granting.key.checksumType,
          bytes: granting.key.checksum(Messages.usages.tgsChecksum, body)
        },
        stamp: yield* this.stamp,
        subkey: undefined,
        sequence: undefined
      })
      const cipher = granting.key.encrypt(Messages.usages.tgsAuthenticator, authenticator, random)
      const proof = Messages.writeApReq(0, granting.der, Messages.writeEncryptedData(granting.key.etype, cipher))
      const request = Messages.writeTgsRequest(body, [{ type: Messages.padataTypes.tgsRequest, bytes: proof }])
      const reply = yield* Effect.flatMap(
        this.#ask(granting.issuer, request),
        (answer) => replyOf(answer, Messages.readTgsReply)
      )
      const part = this.#open(reply, granting.key, [Messages.usages.tgsReply], nonce, "tampered")
      if (part instanceof LoginFailure) return yield* part
      const ticket = heldTicket(reply, part)
      if (ticket.realm !== granting.realm || !Messages.samePrincipal(ticket.client, granting.client)) {
        part.key.wipe()
        return yield* failure("tampered", "Kerberos: the key distribution centre answered for another user")
      }
      const [kind, issuer] = part.service.parts
      if (sameName(part.service, service)) return { ticket, issuer: undefined }
      if (kind === "krbtgt" && issuer !== undefined && part.service.parts.length === 2) return { ticket, issuer }
      part.key.wipe()
      return yield* failure(
        "tampered",
        `Kerberos: the key distribution centre gave a ticket for ${Messages.printPrincipal(part.service)}, ` +
          `expected one for ${Messages.printPrincipal(service)}`
      )
    })

  /** Takes over the time of the key distribution centre once, where the clocks differ too much. */
  readonly #withClock = <A>(self: Effect.Effect<A, LoginFailure | KdcRefusal>, who: string) =>
    self.pipe(
      Effect.catchIf(
        (error): error is KdcRefusal => error instanceof KdcRefusal && error.code === errors.clockSkew,
        (error) => Effect.andThen(this.#adjust(error), self)
      ),
      Effect.mapError((error) => error instanceof KdcRefusal ? failureOf(error, who) : error)
    )

  readonly #adjust = ({ serverTime }: KdcRefusal) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      this.#offset = serverTime - now
      this.#lastMicros = 0
    })

  /** Gets the ticket of a service, with one that may have expired meanwhile. */
  readonly service = (
    granting: GrantingTicket,
    name: Messages.Principal
  ): Effect.Effect<HeldTicket | "expired", LoginFailure> =>
    this.#withClock(
      Effect.catchIf(
        this.serviceTicket(granting, name),
        (error): error is KdcRefusal => error instanceof KdcRefusal && error.code === errors.ticketExpired,
        () => Effect.succeed("expired" as const)
      ),
      Messages.printPrincipal(name)
    )

  #nonce(): number {
    const bytes = this.#options.random(4)
    return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0) & 0x7fffffff
  }

  /** Sends a request on a connection of its own and reads the answer. */
  readonly #ask = (realm: string, request: Uint8Array): Effect.Effect<Uint8Array, LoginFailure> =>
    Effect.suspend(() => {
      const { addressOf, timeout, transport } = this.#options
      const address = addressOf(realm)
      if (address === undefined) {
        return failure(
          "unavailable",
          `Kerberos: the key distribution centre of ${realm} is not known. Name it in the option kdcs`
        )
      }
      const where = `Kerberos: the key distribution centre at ${print(address)}`
      return Effect.gen(function* () {
        const { socket } = yield* transport.connect(address)
        const readWhile = yield* makeReadWhile(socket)
        const { write } = yield* socket.writer
        const framed = new Uint8Array(4 + request.length)
        new DataView(framed.buffer).setUint32(0, request.length)
        framed.set(request, 4)
        yield* write(framed)
        const answer = new Answer()
        yield* readWhile((chunk) => answer.push(chunk))
        return answer.bytes ?? (yield* failure("unavailable", `${where} sent more than ${maxAnswer} bytes`))
      }).pipe(
        Effect.scoped,
        Effect.mapError((error) =>
          error instanceof LoginFailure
            ? error
            : failure("unavailable", `${where} can't be reached, ${"detail" in error ? error.detail : error.message}`)
        ),
        Effect.timeoutOrElse({
          duration: timeout,
          orElse: () => failure("unavailable", `${where} did not answer in time`)
        })
      )
    })
}

interface OpenReply extends Omit<Messages.EncKdcReplyPart, "key"> {
  readonly key: Key
}

const heldTicket = (reply: Messages.KdcReply, part: OpenReply): HeldTicket => ({
  der: reply.ticket.der.slice(),
  key: part.key,
  client: reply.client,
  realm: reply.realm,
  endtime: part.endtime
})

const iterationsOf = (parameters: Uint8Array): number =>
  parameters.length === 4 ? new DataView(parameters.buffer, parameters.byteOffset, 4).getUint32(0) : NaN

export const sameRealm = (left: string, right: string): boolean => left.toUpperCase() === right.toUpperCase()

const sameName = (left: Messages.Principal, right: Messages.Principal): boolean =>
  left.parts.length === right.parts.length &&
  left.parts.every((part, index) => part.toLowerCase() === right.parts[index]!.toLowerCase())

const replyOf = (
  answer: Uint8Array,
  read: (bytes: Uint8Array) => Messages.KdcReply | DerFailure
): Effect.Effect<Messages.KdcReply, LoginFailure | KdcRefusal> => {
  if (answer[0] === 0x7e) {
    const error = Messages.readKrbError(answer)
    return error instanceof DerFailure ? unreadable("the error", error) : Effect.fail(new KdcRefusal(error))
  }
  const reply = read(answer)
  return reply instanceof DerFailure ? unreadable("the answer", reply) : Effect.succeed(reply)
}

/** Gathers an answer: four bytes with its length, and as many bytes. */
class Answer {
  readonly #header = new Uint8Array(4)
  #body: Uint8Array | undefined
  #read = 0

  /** The answer, once it is there. */
  get bytes(): Uint8Array | undefined {
    return this.#body !== undefined && this.#read === 4 + this.#body.length ? this.#body : undefined
  }

  /** Takes bytes, and says whether more are needed. */
  push(chunk: Uint8Array): boolean {
    let at = 0
    while (this.#read < 4 && at < chunk.length) this.#header[this.#read++] = chunk[at++]!
    if (this.#read < 4) return true
    if (this.#body === undefined) {
      const length = new DataView(this.#header.buffer).getUint32(0)
      if (length > maxAnswer) return false
      this.#body = new Uint8Array(length)
    }
    const rest = chunk.subarray(at, at + 4 + this.#body.length - this.#read)
    this.#body.set(rest, this.#read - 4)
    this.#read += rest.length
    return this.bytes === undefined
  }
}
