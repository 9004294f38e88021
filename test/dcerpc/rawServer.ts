/** A server that says what a test writes, PDU by PDU, and clients that are bound to it. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Queue, Result, Schema, Scope } from "effect"
import { CloseEvent } from "effect/socket/Socket"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import * as StringBinding from "../../src/transport/StringBinding.ts"
import { binary } from "../../src/dcerpc/TransferSyntax.ts"
import * as Memory from "../../src/transport/Memory.ts"
import * as Transport from "../../src/transport/Transport.ts"
import { Call, Interface, Pipe } from "../../mod.ts"

export class Refused extends Schema.TaggedError<Refused>()("Refused", {}) {}

const echo = { in: Schema.Uint8Array, out: Schema.Uint8Array }

export const IEcho = Interface.make("IEcho", {
  uuid: "8f1c2d3e-4a5b-4c6d-8e7f-0a1b2c3d4e5f",
  version: [1, 2],
  methods: {
    Echo: Interface.method({ ...echo, aborts: [Interface.abort(77, Refused)] }),
    Again: Interface.method({ ...echo, idempotent: true }),
    Tell: Interface.method({ in: Schema.Uint8Array, maybe: true }),
    Feed: Interface.method({ in: Schema.Uint8Array, inPipe: { more: Pipe.bytes } })
  }
})

export const ISum = Interface.make("ISum", {
  uuid: "60a15ec5-4de8-11d7-a637-005056a20182",
  version: [1, 0],
  methods: { AddOne: Interface.method({ in: { value: Ndr.Int32 }, out: { value: Ndr.Int32 } }) }
})

// ----------------------------------------------------------------------------
// a server that does what the test says
// ----------------------------------------------------------------------------

export const mpx = Pdu.flags.concMpx
export const whole = Pdu.flags.firstFrag | Pdu.flags.lastFrag
export const keepsOnOrphan = { result: 3, reason: 2, transferSyntax: Pdu.nilSyntax }
export const noFeatures = { result: 2, reason: 2, transferSyntax: Pdu.nilSyntax }
export const accepted = { result: 0, reason: 0, transferSyntax: binary.id }

type Tag = Pdu.Pdu["_tag"]
type PduOf<T extends Tag> = Extract<Pdu.Pdu, { readonly _tag: T }>

/** The server's end of a connection. */
export const makePeer = (connection: Transport.Connection) =>
  Effect.gen(function* () {
    const { write } = yield* connection.socket.writer
    const { pull } = yield* connection.socket.reader
    const parser = Pdu.makeParser({ maxFragment: 65535, owned: true })
    const closed = yield* Deferred.make<void>()
    const arrived: Array<Pdu.Pdu> = []
    /** The next PDU that the client sends, which is of this type. */
    const take = <T extends Tag>(tag: T): Effect.Effect<PduOf<T>> =>
      Effect.gen(function* () {
        while (arrived.length === 0) {
          for (const chunk of yield* Effect.orDie(pull)) {
            arrived.push(...parser.push(chunk as Uint8Array) as Array<Pdu.Pdu>)
          }
        }
        const pdu = arrived.shift()!
        assert.strictEqual(pdu._tag, tag)
        return pdu as PduOf<T>
      })
    const send = (encode: (writer: Pdu.Writer) => void, options?: { readonly littleEndian?: boolean }) =>
      Effect.suspend(() => {
        const writer = new Pdu.Writer(options)
        encode(writer)
        return Effect.orDie(write(writer.take()))
      })
    const ack = (fields: Partial<Pdu.Fields<Pdu.BindAck>> = {}): Effect.Effect<void> =>
      send((writer) =>
        Pdu.encodeBindAck(writer, {
          callId: 1,
          flags: mpx,
          maxXmitFrag: 65528,
          maxRecvFrag: 65528,
          assocGroupId: 5,
          secAddr: "",
          results: [accepted, noFeatures],
          ...fields
        })
      )
    /** One fragment of a response. */
    const respond = (callId: number, stub: Uint8Array, fragment = whole, contextId = 0) =>
      send((writer) => {
        Pdu.beginResponse(writer, { callId, contextId, cancelCount: 0 })
        writer.ensure(stub.length)
        writer.bytes.set(stub, writer.position)
        writer.position += stub.length
        Pdu.endMessage(writer, 65528)
        writer.bytes[writer.start + 3] = fragment
      })
    const reply = ({ callId }: Pdu.Request, text: string) => respond(callId, stubOf(text))
    const fault = ({ callId }: Pick<Pdu.Request, "callId">, status: number, flags = 0) =>
      send((writer) => Pdu.encodeFault(writer, { callId, contextId: 0, cancelCount: 0, status, flags }))
    /** Nothing more arrives, and the client has closed the connection. */
    const isClosed = Effect.map(Effect.flip(pull), () => true)
    return {
      take,
      send,
      ack,
      respond,
      reply,
      fault,
      isClosed,
      bytes: (bytes: Uint8Array) => Effect.orDie(write(bytes)),
      close: Deferred.succeed(closed, undefined),
      reset: Effect.andThen(Effect.orDie(write(new CloseEvent(1006))), Deferred.succeed(closed, undefined)),
      closed: Deferred.await(closed)
    }
  })

export type Peer = Effect.Success<ReturnType<typeof makePeer>>

export const bytesOf = (text: string) => new TextEncoder().encode(text)
export const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

/** The stub with which a routine of `Echo` answers. */
export const stubOf = (text: string): Uint8Array => {
  const writer = new Pdu.Writer()
  binary.codec(IEcho.methods.Echo, "Echo")!.writeResults(writer, bytesOf(text))
  return writer.take()
}

export const inputOf = ({ opnum, stub }: Pdu.Request): string => {
  const [name, method] = Object.entries(IEcho.methods)[opnum]!
  const read = binary.codec(method, name)!.readArguments(stub, true, 1000)
  return "problem" in read ? read.problem : textOf(read.value.input as Uint8Array)
}

export const address = "ncacn_memory:[raw]"

/** Listens, and gives the connections one after another. */
export const listen = Effect.gen(function* () {
  // Now, so that nothing that is begun later has to wait for it: that takes real time.
  yield* binary.load
  const transport = yield* Transport.Transport
  const peers = yield* Queue.unbounded<Peer>()
  yield* transport.listen(Result.getOrThrow(StringBinding.parse(address)), (connection) =>
    makePeer(connection).pipe(
      Effect.flatMap((peer) => Effect.andThen(Queue.offer(peers, peer), peer.closed)),
      Effect.orDie
    ))
  return Queue.take(peers)
})

/** A binding, and the connection on which it was bound. */
export const setUp = (options?: Association.Options, fields?: Partial<Pdu.Fields<Pdu.BindAck>>) =>
  Effect.gen(function* () {
    const accept = yield* listen
    const scope = yield* Scope.fork(yield* Effect.scope)
    const binding = yield* Effect.forkChild(Scope.provide(Association.bind(IEcho, address, options), scope))
    const peer = yield* accept
    yield* peer.take("Bind")
    yield* peer.ack(fields)
    const store = yield* Fiber.join(binding)
    /** Takes one more connection and binds it. */
    const acceptBound = Effect.gen(function* () {
      const peer = yield* accept
      const bind = yield* peer.take("Bind")
      yield* peer.ack({ ...fields, callId: bind.callId })
      return Object.assign(peer, { bind })
    })
    const begin = (text: string, method: "Echo" | "Again" = "Echo") =>
      Effect.flatMap(Call.make(store), (call) => Call.begin(call, method as "Echo", bytesOf(text)))
    return { accept, acceptBound, begin, close: Scope.close(scope, Exit.void), peer, store }
  })

export const join = (pending: Effect.Success<ReturnType<Effect.Success<ReturnType<typeof setUp>>["begin"]>>) =>
  Effect.map(Call.join(pending), textOf)

export const settle = Effect.repeat(Effect.yieldNow, { times: 30 })

export const isWaiting = <A, E>(fiber: Fiber.Fiber<A, E>) => Effect.map(settle, () => fiber.pollUnsafe() === undefined)

export const wire = <E>(name: string, test: Effect.Effect<unknown, E, Scope.Scope | Transport.Transport>) =>
  it.effect(name, () => Effect.provide(test, Memory.layer))

export const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")

/** The tag of the failure, and its status. */
export const failure = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => [error._tag, (error as { readonly status?: number }).status])

export const lost = ["RpcTransportError", 1726]
export const unavailable = ["RpcTransportError", 1722]
export const notExecuted = ["RpcTransportError", 1727]
