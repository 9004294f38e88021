// A small key distribution centre for tests, made of the library's own messages.
import { Clock, Effect, type Scope } from "effect"
import { StringBinding, Transport } from "@callisto/rpc/transport"
import * as Der from "../../src/security/internal/der.ts"
import { KerberosCiphers } from "../../src/security/KerberosCiphers.ts"
import { join, type Key, randomOf, utf8 } from "../../src/security/internal/kerberosCrypto.ts"
import { type Keys, makeKeys } from "../../src/security/internal/kerberosKeys.ts"
import * as Messages from "../../src/security/internal/kerberosMessages.ts"

export const random = randomOf(crypto)

export interface KdcRequest {
  readonly kind: "AS" | "TGS"
  readonly padata: ReadonlyArray<Messages.Typed>
  readonly client: string | undefined
  readonly realm: string
  readonly service: Messages.Principal
  readonly nonce: number
  readonly etypes: ReadonlyArray<number>
  readonly body: Uint8Array
}

const principal = (it: Der.DerReader): Messages.Principal =>
  it.sequence((it) => ({
    type: it.field(0, (it) => it.integer()),
    parts: it.field(1, (it) => it.list((it) => it.text()))
  }))

export const readKdcRequest = (bytes: Uint8Array): KdcRequest => {
  const number = bytes[0]! - 0x60
  const request = Der.decode(bytes, (it) =>
    it.application(number, (it) =>
      it.sequence((it) => {
        it.field(1, (it) => it.integer())
        it.field(2, (it) => it.integer())
        const padata = it.field(3, (it) =>
          it.list((it) =>
            it.sequence((it) => ({
              type: it.field(1, (it) => it.integer()),
              bytes: it.field(2, (it) => it.octets())
            }))
          ))
        const body = it.field(4, (it) => it.element())
        return { padata, body }
      })))
  if (request instanceof Error) throw request
  const { body, padata } = request
  const fields = Der.decode(body, (it) =>
    it.sequence((it) => {
      it.field(0, (it) => it.flags())
      const client = it.optionalField(1, principal)
      const realm = it.field(2, (it) => it.text())
      const service = it.field(3, principal)
      it.field(5, (it) => it.time())
      const nonce = it.field(7, (it) => it.integer())
      const etypes = it.field(8, (it) => it.list((it) => it.integer()))
      return { client: client?.parts.join("/"), realm, service, nonce, etypes }
    }))
  if (fields instanceof Error) throw fields
  return { kind: number === 10 ? "AS" : "TGS", padata, body, ...fields }
}

export interface TicketFields {
  readonly key: Key
  readonly client: string
  readonly realm: string
  readonly authtime: number
  readonly endtime: number
  readonly flags?: number
  readonly starttime?: number
  readonly authorization?: Uint8Array
}

const user = (name: string): Messages.Principal => ({ type: 1, parts: name.split("/") })

export const writeEncTicketPart = (fields: TicketFields): Uint8Array =>
  Der.application(
    3,
    Der.sequence(
      Der.field(0, Der.flags(fields.flags ?? 0x40000000)),
      Der.field(1, Messages.writeKey({ type: fields.key.etype, bytes: fields.key.bytes })),
      Der.field(2, Der.text(fields.realm)),
      Der.field(3, Messages.writePrincipal(user(fields.client))),
      Der.field(4, Der.sequence(Der.field(0, Der.integer(0)), Der.field(1, Der.octets(new Uint8Array(0))))),
      Der.field(5, Der.time(fields.authtime)),
      Der.field(6, fields.starttime === undefined ? undefined : Der.time(fields.starttime)),
      Der.field(7, Der.time(fields.endtime)),
      Der.field(10, fields.authorization)
    )
  )

export const writeTicket = (
  realm: string,
  service: Messages.Principal,
  key: Key,
  part: Uint8Array,
  kvno?: number
): Uint8Array =>
  Der.application(
    1,
    Der.sequence(
      Der.field(0, Der.integer(5)),
      Der.field(1, Der.text(realm)),
      Der.field(2, Messages.writePrincipal(service)),
      Der.field(3, Messages.writeEncryptedData(key.etype, key.encrypt(2, part, random), kvno))
    )
  )

export const writeKrbError = (code: number, time: number, data?: Uint8Array): Uint8Array =>
  Der.application(
    30,
    Der.sequence(
      Der.field(0, Der.integer(5)),
      Der.field(1, Der.integer(30)),
      Der.field(4, Der.time(time)),
      Der.field(5, Der.integer(0)),
      Der.field(6, Der.integer(code)),
      Der.field(9, Der.text("REALM")),
      Der.field(10, Messages.writePrincipal(user("krbtgt"))),
      Der.field(12, data && Der.octets(data))
    )
  )

export interface ReplyFields {
  readonly padata?: ReadonlyArray<Messages.Typed>
  readonly realm: string
  readonly client: string
  readonly ticket: Uint8Array
  /** Encrypts the answer. */
  readonly key: Key
  readonly sessionKey: Key
  readonly nonce: number
  readonly endtime: number
  readonly issuer: string
  readonly service: Messages.Principal
}

export const writeReply = (kind: "AS" | "TGS", fields: ReplyFields): Uint8Array => {
  const part = Der.application(
    kind === "AS" ? 25 : 26,
    Der.sequence(
      Der.field(0, Messages.writeKey({ type: fields.sessionKey.etype, bytes: fields.sessionKey.bytes })),
      Der.field(1, Der.sequence(Der.sequence(Der.field(0, Der.integer(0)), Der.field(1, Der.time(0))))),
      Der.field(2, Der.integer(fields.nonce)),
      Der.field(4, Der.flags(0x40000000)),
      Der.field(5, Der.time(0)),
      Der.field(7, Der.time(fields.endtime)),
      Der.field(9, Der.text(fields.issuer)),
      Der.field(10, Messages.writePrincipal(fields.service))
    )
  )
  const cipher = fields.key.encrypt(kind === "AS" ? 3 : 8, part, random)
  return Der.application(
    kind === "AS" ? 11 : 13,
    Der.sequence(
      Der.field(0, Der.integer(5)),
      Der.field(1, Der.integer(kind === "AS" ? 11 : 13)),
      Der.field(2, fields.padata && Der.sequence(...fields.padata.map(Messages.writePadata))),
      Der.field(3, Der.text(fields.realm)),
      Der.field(4, Messages.writePrincipal(user(fields.client))),
      Der.field(5, fields.ticket),
      Der.field(6, Messages.writeEncryptedData(fields.key.etype, cipher))
    )
  )
}

export const writeEtypeInfo = (
  infos: ReadonlyArray<{ etype: number; salt?: string; iterations?: number }>
): Messages.Typed => ({
  type: 19,
  bytes: Der.sequence(...infos.map(({ etype, iterations, salt }) =>
    Der.sequence(
      Der.field(0, Der.integer(etype)),
      Der.field(1, salt === undefined ? undefined : Der.text(salt)),
      Der.field(2, iterations === undefined ? undefined : Der.octets(uint32(iterations)))
    )
  ))
})

const uint32 = (value: number) => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value)

const uint16 = (value: number) => Uint8Array.of(value >>> 8, value)

const counted = (bytes: Uint8Array) => join(uint16(bytes.length), bytes)

/** A keytab file. */
export const writeKeytab = (
  entries: ReadonlyArray<{ readonly realm: string; readonly name: string; readonly kvno: number; readonly key: Key }>
): Uint8Array =>
  join(
    Uint8Array.of(5, 2),
    ...entries.map(({ key, kvno, name, realm }) => {
      const parts = name.split("/")
      const entry = join(
        uint16(parts.length),
        counted(utf8(realm)),
        ...parts.map((part) => counted(utf8(part))),
        uint32(1),
        uint32(0),
        Uint8Array.of(kvno),
        uint16(key.etype),
        counted(key.bytes),
        uint32(kvno)
      )
      return join(uint32(entry.length), entry)
    })
  )

/** What a key distribution centre of a test knows and does; fields are changed by tests. */
export interface FakeKdc {
  readonly realm: string
  readonly keys: Keys
  readonly requests: Array<KdcRequest>
  readonly passwords: Map<string, string>
  readonly services: Map<string, Key>
  /** The services of other realms, or the realms on the way to them. */
  readonly referrals: Map<string, string>
  readonly krbtgt: Key
  /** The keys that it shares with other realms. */
  readonly trusts: Map<string, Key>
  /** How far its clock is ahead, in milliseconds. */
  ahead: number
  lifetime: number
  preauthentication: boolean
  iterations: number
  etype: number
  /** Changes the answers. */
  change: (answer: Uint8Array, request: KdcRequest) => Uint8Array
  /** Changes what is in an answer before it is encrypted. */
  changeFields: (fields: ReplyFields, request: KdcRequest) => ReplyFields
}

export const makeKdc = (realm: string): Effect.Effect<FakeKdc, never, KerberosCiphers> =>
  Effect.map(KerberosCiphers, (ciphers) => {
    const keys = makeKeys(ciphers, true)
    return {
      realm,
      keys,
      requests: [],
      passwords: new Map(),
      services: new Map(),
      referrals: new Map(),
      krbtgt: keys.random(18, random)!,
      trusts: new Map(),
      ahead: 0,
      lifetime: 10 * 3_600_000,
      preauthentication: true,
      iterations: 4096,
      etype: 18,
      change: (answer) => answer,
      changeFields: (fields) => fields
    }
  })

const answer = (kdc: FakeKdc, bytes: Uint8Array) =>
  Effect.gen(function* () {
    const request = readKdcRequest(bytes)
    kdc.requests.push(request)
    const now = (yield* Clock.currentTimeMillis) + kdc.ahead
    return kdc.change(
      yield* request.kind === "AS" ? answerAs(kdc, request, now) : answerTgs(kdc, request, now),
      request
    )
  })

const answerAs = (kdc: FakeKdc, request: KdcRequest, now: number) =>
  Effect.gen(function* () {
    const name = request.client!
    const password = kdc.passwords.get(name)
    if (password === undefined) return writeKrbError(6, now)
    const salt = kdc.realm + name
    const info = writeEtypeInfo([{ etype: 3 }, { etype: kdc.etype, salt, iterations: kdc.iterations }])
    const key =
      (yield* kdc.keys.ofPassword(kdc.etype, password, utf8(salt), Math.max(1, Math.min(kdc.iterations, 4096))))!
    const proof = request.padata.find(({ type }) => type === 2)
    if (kdc.preauthentication && proof === undefined) {
      return writeKrbError(25, now, Der.sequence(Messages.writePadata(info)))
    }
    if (proof !== undefined) {
      const encrypted = Der.decode(proof.bytes, (it) =>
        it.sequence((it) => {
          const etype = it.field(0, (it) => it.integer())
          return { etype, cipher: it.field(2, (it) => it.octets()) }
        }))
      if (encrypted instanceof Error) throw encrypted
      const plain = key.decrypt(1, encrypted.cipher)
      if (plain === undefined) return writeKrbError(24, now)
      const time = Der.decode(plain, (it) =>
        it.sequence((it) => {
          const time = it.field(0, (it) => it.time())
          it.field(1, (it) => it.integer())
          return time
        }))
      if (time instanceof Error || Math.abs(time - now) > 300_000) return writeKrbError(37, now)
    }
    return issue(kdc, request, now, { client: name, realm: kdc.realm, key, ticketKey: kdc.krbtgt, padata: [info] })
  })

const answerTgs = (kdc: FakeKdc, request: KdcRequest, now: number) =>
  Effect.sync(() => {
    const proof = request.padata.find(({ type }) => type === 1)!
    const apReq = Messages.readApReq(proof.bytes)
    if (apReq instanceof Error) throw apReq
    const opened = [kdc.krbtgt, ...kdc.trusts.values()].flatMap((key) =>
      key.decrypt(2, apReq.ticket.encrypted.cipher) ?? []
    )
    if (opened.length === 0) return writeKrbError(31, now)
    const part = Messages.readEncTicketPart(opened[0]!)
    if (part instanceof Error) throw part
    if (part.endtime < now) return writeKrbError(32, now)
    const key = kdc.keys.make(part.key.type, part.key.bytes)!
    const plain = key.decrypt(7, apReq.authenticator.cipher)
    if (plain === undefined) return writeKrbError(31, now)
    const authenticator = Messages.readAuthenticator(plain)
    if (authenticator instanceof Error) throw authenticator
    const { checksum, stamp } = authenticator
    if (checksum === undefined || key.checksum(6, request.body).join() !== checksum.bytes.join()) {
      return writeKrbError(50, now)
    }
    if (Math.abs(stamp.time - now) > 300_000) {
      return writeKrbError(37, now)
    }
    const name = Messages.printPrincipal(request.service)
    const client = Messages.printPrincipal(part.client)
    const other = kdc.referrals.get(name)
    if (other !== undefined) {
      const ticketKey = kdc.trusts.get(other)!
      return issue(kdc, request, now, {
        client,
        realm: part.realm,
        key,
        ticketKey,
        service: { type: 2, parts: ["krbtgt", other] }
      })
    }
    const ticketKey = kdc.services.get(name)
    if (ticketKey === undefined) return writeKrbError(7, now)
    return issue(kdc, request, now, { client, realm: part.realm, key, ticketKey })
  })

const issue = (
  kdc: FakeKdc,
  request: KdcRequest,
  now: number,
  { client, key, padata, realm, service = request.service, ticketKey }: {
    readonly client: string
    readonly realm: string
    readonly key: Key
    readonly ticketKey: Key
    readonly padata?: ReadonlyArray<Messages.Typed>
    readonly service?: Messages.Principal
  }
): Uint8Array => {
  const sessionKey = kdc.keys.random(request.etypes.find((etype) => [18, 17, 23].includes(etype))!, random)!
  const endtime = now + kdc.lifetime
  const part = writeEncTicketPart({ key: sessionKey, client, realm, authtime: now, endtime })
  const ticket = writeTicket(kdc.realm, service, ticketKey, part, 1)
  const fields: ReplyFields = {
    ...(padata === undefined ? {} : { padata }),
    realm,
    client,
    ticket,
    key,
    sessionKey,
    nonce: request.nonce,
    endtime,
    issuer: kdc.realm,
    service
  }
  return writeReply(request.kind, kdc.changeFields(fields, request))
}

/** Answers one request on each connection to a string binding. */
export const serve = (kdc: FakeKdc, address: string): Effect.Effect<void, never, Transport.Transport | Scope.Scope> =>
  Effect.gen(function* () {
    const transport = yield* Transport.Transport
    const binding = yield* Effect.fromResult(StringBinding.parse(address))
    yield* transport.listen(binding, ({ socket }) =>
      Effect.gen(function* () {
        const { pull } = yield* socket.reader
        const { write } = yield* socket.writer
        let bytes: Uint8Array = new Uint8Array(0)
        while (bytes.length < 4 || bytes.length < 4 + new DataView(bytes.buffer).getUint32(0)) {
          bytes = join(bytes, ...(yield* pull) as ReadonlyArray<Uint8Array>)
        }
        const reply = yield* answer(kdc, bytes.subarray(4))
        // In pieces, as a network may cut it.
        yield* write(uint32(reply.length).subarray(0, 3))
        yield* write(join(uint32(reply.length).subarray(3), reply.subarray(0, 10)))
        yield* write(reply.subarray(10))
        yield* Effect.ignore(pull)
      }).pipe(Effect.ignore))
  }).pipe(Effect.orDie)
