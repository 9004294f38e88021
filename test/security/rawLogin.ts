/** A server with a fake provider, and clients that log in to it PDU by PDU. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Logger, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Interface, Manager, Server, ServerCall } from "../../mod.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import { Protection } from "../../src/dcerpc/internal/protection.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import type * as Security from "../../src/security/Security.ts"
import * as Memory from "../../src/transport/Memory.ts"
import type { Transport } from "../../src/transport/Transport.ts"
import { accepted, brief, connectTo, element, settle } from "../dcerpc/rawClient.ts"
import { isOfTestClock } from "../dcerpc/virtualTime.ts"
import { FakeSession, fakeType, makeServer } from "./fakeProvider.ts"

// ----------------------------------------------------------------------------
// the server
// ----------------------------------------------------------------------------

const makeInterface = (last: string) =>
  Interface.make(`IAdd${last}`, {
    uuid: `5e0c1a10-7c1f-4c5e-9a57-1d2f8f6a0a0${last}`,
    version: [1, 0],
    methods: {
      AddOne: Interface.method({ in: { value: Ndr.Uint32 }, out: { value: Ndr.Uint32 } }),
      Size: Interface.method({ in: { len: Ndr.sizeIs("data"), data: Ndr.Bytes }, out: { value: Ndr.Uint32 } }),
      Never: Interface.method({})
    }
  })

/** Interfaces with rules of their own: for everybody, from `connect` on, as usual, from `privacy` on, for nobody, and behind a check that takes time. */
export const IOpen = makeInterface("1")
export const IConnect = makeInterface("2")
export const IUsual = makeInterface("3")
export const IPrivate = makeInterface("4")
export const IClosed = makeInterface("5")
export const ISlow = makeInterface("6")

/** Their presentation contexts. */
export const open = 0
export const connect = 1
export const usual = 2
export const privately = 3
export const closed = 4
export const slow = 5
export const unknown = 9

export const elements = [IOpen, IConnect, IUsual, IPrivate, IClosed, ISlow].map((iface, id) => element(id, iface))

const place = "ncacn_memory:[secure]"

/** Told of each call of `AddOne`. */
type OnCall = (caller: string, level: string, value: number) => void

export const makeWorld = Effect.fnUntraced(function* (options: Endpoint.Options = {}, onCall?: OnCall) {
  const callers: Array<string> = []
  const warnings: Array<string> = []
  const routines = {
    AddOne: ({ value }: { readonly value: number }, call: ServerCall.ServerCall<any>) => {
      const { level, name = "nobody" } = ServerCall.caller(call as never)
      if (onCall === undefined) callers.push(`${name} ${level}`)
      else onCall(name, level, value)
      return Effect.succeed({ value: (value + 1) >>> 0 })
    },
    Size: ({ data }: { readonly data: Uint8Array }) => Effect.succeed({ value: data.length }),
    Never: () => Effect.never
  }
  const managers = [
    Manager.make(IOpen, routines as never, { minimumLevel: "none" }),
    Manager.make(IConnect, routines as never, { minimumLevel: "connect", allowAnonymous: true }),
    Manager.make(IUsual, routines as never),
    Manager.make(IPrivate, routines as never, { minimumLevel: "privacy" }),
    Manager.make(IClosed, routines as never, { minimumLevel: "none", access: () => false }),
    Manager.make(ISlow, routines as never, { access: () => Effect.as(Effect.yieldNow, true) })
  ]
  const fake = makeServer()
  const logger = Logger.make(({ message }) => {
    if (!isOfTestClock(message)) warnings.push(String(message))
  })
  const scope = yield* Scope.fork(yield* Effect.scope)
  const endpoint = yield* Effect.gen(function* () {
    const server = yield* Server.make(managers, { grace: 0 })
    const endpoint = yield* Endpoint.make(server, { security: [fake], ...options })
    yield* Endpoint.listen(endpoint, place)
    return endpoint
  }).pipe(Effect.provide(Logger.layer([logger])), Scope.provide(scope))
  const { connections, groups } = endpoint as unknown as Record<"connections" | "groups", ReadonlyMap<unknown, unknown>>
  return { callers, connections, endpoint, groups, journal: fake.journal, warnings }
})

export type World = Effect.Success<ReturnType<typeof makeWorld>>

// ----------------------------------------------------------------------------
// the client's PDUs
// ----------------------------------------------------------------------------

const encoder = new TextEncoder()

export interface TrailerFields {
  readonly id?: number
  readonly type?: number
  readonly level?: number
}

/** A security trailer with a token. */
export const token = (text: string, { id = 1, level = 5, type = fakeType }: TrailerFields = {}): Pdu.AuthTrailer => ({
  authType: type,
  authLevel: level,
  authContextId: id,
  authValue: encoder.encode(text)
})

export const auth3 = (text: string, fields: TrailerFields & { readonly callId?: number } = {}): Uint8Array => {
  const writer = new Pdu.Writer()
  Pdu.encodeAuth3(writer, { callId: fields.callId ?? 3, authTrailer: token(text, fields) })
  return writer.take().slice()
}

/** A security context, as the client has it. */
export class Context {
  readonly session: FakeSession
  readonly protection: Protection
  readonly connection: { headerSigning: boolean }

  constructor(
    { connection = { headerSigning: true }, id = 1, level = "integrity", user = "alice" }: {
      readonly id?: number
      readonly level?: Security.ProtectionLevel
      readonly user?: string
      readonly connection?: { headerSigning: boolean }
    } = {}
  ) {
    this.connection = connection
    this.session = new FakeSession("client", user)
    this.protection = new Protection(this.session, level, connection, { authType: fakeType, authContextId: id })
  }

  get trailer(): Pdu.AuthTrailer {
    return this.protection.trailer!
  }

  /** Signs PDUs, whatever they are. */
  sign(pdus: Uint8Array): Uint8Array {
    this.protection.seal(pdus)
    return pdus
  }
}

// ----------------------------------------------------------------------------
// tests
// ----------------------------------------------------------------------------

export const client = Effect.map(connectTo(place), (client) => {
  const heard: Array<Pdu.Pdu> = []
  /** Says PDUs, and gives what comes back. Each fault has to have the form that all have. */
  const say = (...pdus: ReadonlyArray<Uint8Array>) =>
    Effect.map(client.ask(...pdus), (answers) =>
      answers.map((pdu) => {
        heard.push(pdu as Pdu.Pdu)
        if (pdu._tag === "Fault") {
          const { allocHint, authTrailer, flags, stub } = pdu
          assert.deepStrictEqual([authTrailer, stub.length], [undefined, 0])
          assert.include([24, 32], allocHint)
          assert.strictEqual(flags & ~Pdu.flags.didNotExecute, Pdu.flags.firstFrag | Pdu.flags.lastFrag)
        }
        return brief(pdu)
      }))
  return { ...client, heard, say }
})

export type Client = Effect.Success<typeof client>

export const bindAck = { bindAck: 1, results: [accepted()] }

type Body = (client: Client, world: World) => Effect.Effect<void, unknown, Scope.Scope | Transport>

/** A client, and a server on which nothing is left when the client has gone. */
export const secure = (name: string, body: Body, options?: Endpoint.Options) =>
  it.effect(name, () =>
    Effect.gen(function* () {
      const world = yield* makeWorld(options)
      const one = yield* client
      yield* Effect.scoped(body(one, world))
      yield* one.close
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual([world.connections.size, world.groups.size], [0, 0], "connections and groups")
    }).pipe(Effect.provide(Layer.mergeAll(Memory.layer, Logger.layer([])))))

/** What is sent on a new connection, all that comes back, and whether the connection is closed then. */
export const row = (
  name: string,
  sent: () => ReadonlyArray<Uint8Array>,
  answers: ReadonlyArray<unknown>,
  fate: "lives" | "is closed",
  options?: Endpoint.Options
) =>
  secure(name, (client) =>
    Effect.gen(function* () {
      const heard: Array<unknown> = []
      for (const pdu of sent()) heard.push(...yield* client.say(pdu))
      assert.deepStrictEqual(heard, answers)
      assert.strictEqual(client.state.closed, fate === "is closed")
    }), options)
