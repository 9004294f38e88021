/** A server with an endpoint in memory, and clients that speak to it in PDUs. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Option, Queue, Schema, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Interface, Manager, Pipe, Server, ServerCall } from "../../mod.ts"
import type { AnyChunk } from "../../src/internal/chunkBuffer.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { parse } from "../../src/transport/StringBinding.ts"
import type { PipeCodec } from "../../src/dcerpc/internal/methodCodec.ts"
import type { Event } from "../../src/dcerpc/internal/connection.ts"
import type { Outbox } from "../../src/transport/internal/outbox.ts"
import * as Memory from "../../src/transport/Memory.ts"
import * as Transport from "../../src/transport/Transport.ts"

// ----------------------------------------------------------------------------
// interfaces
// ----------------------------------------------------------------------------

const bytes = { len: Ndr.sizeIs("data"), data: Ndr.Bytes }

export class Unwilling extends Schema.TaggedError<Unwilling>()("Unwilling", {}) {}

interface Item {
  readonly value: number
  readonly next: Item | null
}

const Item = Ndr.struct({
  value: Ndr.Uint32,
  next: Ndr.unique(Schema.suspend((): Schema.Codec<Item> => Item as never))
})

/** It begins as rpcecho does. */
export const IEcho = Interface.make("IEcho", {
  uuid: "60a15ec5-4de8-11d7-a637-005056a20182",
  version: [1, 0],
  methods: {
    AddOne: Interface.method({ in: { value: Ndr.Uint32 }, out: { value: Ndr.Uint32 } }),
    EchoData: Interface.method({ in: bytes, out: { data: Ndr.Bytes } }),
    SourceData: Interface.method({ in: { len: Ndr.Uint32 }, out: { data: Ndr.Bytes } }),
    Keep: Interface.method({ out: { value: Ndr.Uint32 } }),
    Never: Interface.method({}),
    Abort: Interface.method({ aborts: [Interface.abort(5001, Unwilling)] }),
    Tell: Interface.method({ in: { value: Ndr.Uint32 }, maybe: true }),
    Spoil: Interface.method({ in: { value: Ndr.Uint32 }, out: { value: Ndr.Uint32 } }),
    Die: Interface.method({}),
    Object: Interface.method({ out: { uuid: Ndr.Uuid } }),
    Count: Interface.method({ in: { list: Item }, out: { value: Ndr.Uint32 } })
  }
})

export const opnum = {
  addOne: 0,
  echoData: 1,
  sourceData: 2,
  keep: 3,
  never: 4,
  abort: 5,
  tell: 6,
  spoil: 7,
  die: 8,
  object: 9,
  count: 10
}

export const IDouble = Interface.make("IDouble", {
  uuid: "9b2f3c10-5d44-4a7b-8f0e-2c6d5a1b7e01",
  version: [2, 3],
  methods: { Double: Interface.method({ in: { value: Ndr.Uint32 }, out: { value: Ndr.Uint32 } }) }
})

export class Refused extends Schema.TaggedError<Refused>()("Refused", { why: Schema.String }) {}

/** It has no form in NDR. */
export const IPlain = Interface.make("IPlain", {
  uuid: "c7a1e0d2-3f58-4b96-a1c4-7e5d0f9b8a02",
  version: [1, 0],
  methods: {
    Length: Interface.method({ in: Schema.Uint8Array, out: Schema.Int }),
    Refuse: Interface.method({ aborts: [Interface.abort(5002, Refused)] })
  }
})

/** It is served for one object alone. */
export const IThing = Interface.make("IThing", {
  uuid: "3d5e8f70-1c2b-4d9a-b6e7-0f1a2b3c4d03",
  version: [1, 0],
  methods: { Touch: Interface.method({}) }
})

/** The types of what flows, which decide how it travels. */
interface Flow {
  readonly number: Schema.Codec<number>
  readonly small: Schema.Codec<number>
  readonly text: Schema.Codec<string>
  readonly large: Schema.Codec<Uint8Array>
  readonly point: Schema.Codec<{ readonly x: number; readonly y: number }>
}

const makeFlow = (uuid: string, { large, number, point, small, text }: Flow) =>
  Interface.make("IFlow", {
    uuid,
    version: [1, 0],
    methods: {
      Sum: Interface.method({ in: { start: number }, inPipe: { numbers: number }, out: { value: number } }),
      Count: Interface.method({ in: { to: number }, outPipe: { numbers: small }, out: { value: number } }),
      Several: Interface.method({
        in: { name: text },
        inPipe: { first: small, second: point, third: Pipe.bytes },
        outPipe: { fourth: small, fifth: point, sixth: Pipe.bytes },
        out: { name: text }
      }),
      Hold: Interface.method({ inPipe: { there: Pipe.bytes }, outPipe: { back: Pipe.bytes }, out: { value: number } }),
      Abort: Interface.method({ inPipe: { numbers: number }, aborts: [Interface.abort(5001, Unwilling)] }),
      Early: Interface.method({ inPipe: { numbers: number } }),
      Order: Interface.method({ inPipe: { numbers: number }, outPipe: { back: number } }),
      Spoil: Interface.method({ outPipe: { numbers: number }, out: { value: number } }),
      Slow: Interface.method({ inPipe: { large } })
    }
  })

/** Methods with pipes, in NDR. */
export const IFlow = makeFlow("4b0e7d2c-9f61-4c3a-8e15-7a2d6c9b5e04", {
  number: Ndr.Uint32,
  small: Ndr.Uint16,
  text: Ndr.WString,
  large: Ndr.fixedBytes(20_000),
  point: Ndr.struct({ x: Ndr.Uint8, y: Ndr.Uint32 })
})

/** The same in Callisto's own syntax. */
export const IPlainFlow: typeof IFlow = makeFlow("4b0e7d2c-9f61-4c3a-8e15-7a2d6c9b5e05", {
  number: Schema.Int,
  small: Schema.Int,
  text: Schema.String,
  large: Schema.Uint8Array,
  point: Schema.Struct({ x: Schema.Int, y: Schema.Int })
})

export const flow = { sum: 0, count: 1, several: 2, hold: 3, abort: 4, early: 5, order: 6, spoil: 7, slow: 8 }

export type Held = ServerCall.Of<typeof IFlow, "Hold">

export type Kept = ServerCall.Of<typeof IEcho, "Keep">

export const object = "11111111-2222-4333-8444-555555555555"

// ----------------------------------------------------------------------------
// PDUs to send
// ----------------------------------------------------------------------------

export const syntaxOf = ({ uuid, version: [major, minor] }: Interface.Interface.Any): Pdu.SyntaxId => ({
  uuid,
  major,
  minor
})

export const element = (contextId: number, iface: Interface.Interface.Any, ...syntaxes: Array<Pdu.SyntaxId>) => ({
  contextId,
  abstractSyntax: syntaxOf(iface),
  transferSyntaxes: syntaxes.length === 0 ? [Pdu.ndr20] : syntaxes
})

/** The bind-time features as the syntax that asks for them. */
export const features = (mask: number): Pdu.SyntaxId => ({
  uuid: `6cb71c2c-9812-4540-${mask.toString(16).padStart(2, "0")}00-000000000000`,
  major: 1,
  minor: 0
})

/** The bytes with some of them replaced, from the positions that are given. */
export const patched = (bytes: Uint8Array, patches: { readonly [at: number]: ReadonlyArray<number> }): Uint8Array => {
  const copy = bytes.slice()
  for (const [at, values] of Object.entries(patches)) copy.set(values, Number(at))
  return copy
}

const writers = [new Pdu.Writer({ littleEndian: false }), new Pdu.Writer()] as const

const encoded = (littleEndian: boolean, write: (writer: Pdu.Writer) => void): Uint8Array => {
  const writer = writers[littleEndian ? 1 : 0]
  write(writer)
  return writer.take().slice()
}

export interface BindFields extends Partial<Pdu.Fields<Pdu.Bind>> {
  readonly littleEndian?: boolean
  /** Not what a client sends normally: exactly these flags. */
  readonly exactFlags?: number
}

const bindFields = (fields: BindFields): Pdu.Fields<Pdu.Bind> => ({
  callId: 1,
  flags: Pdu.flags.concMpx,
  maxXmitFrag: 5840,
  maxRecvFrag: 5840,
  assocGroupId: 0,
  contextElements: [element(0, IEcho)],
  ...fields
})

const withFlags = (bytes: Uint8Array, flags: number | undefined): Uint8Array =>
  flags === undefined ? bytes : patched(bytes, { 3: [flags] })

export const bind = (fields: BindFields = {}): Uint8Array =>
  withFlags(
    encoded(fields.littleEndian ?? true, (writer) => Pdu.encodeBind(writer, bindFields(fields))),
    fields.exactFlags
  )

export const alter = (fields: BindFields): Uint8Array =>
  withFlags(
    encoded(fields.littleEndian ?? true, (writer) =>
      Pdu.encodeAlterContext(writer, bindFields({ callId: 2, ...fields }))),
    fields.exactFlags
  )

export interface RequestFields {
  readonly callId?: number
  readonly contextId?: number
  readonly opnum?: number
  readonly object?: string | undefined
  readonly stub?: Uint8Array
  readonly flags?: number
  /** Exactly these flags. */
  readonly exactFlags?: number
  readonly allocHint?: number
  readonly littleEndian?: boolean
  readonly authTrailer?: Pdu.AuthTrailer
  /** The size of a fragment. */
  readonly limit?: number
}

/** A request; in so many fragments as its limit needs. */
export const request = (fields: RequestFields = {}): Uint8Array => {
  const { contextId = 0, littleEndian = true, stub = u32(41, littleEndian) } = fields
  const bytes = encoded(littleEndian, (writer) => {
    const { authTrailer, callId = 2, flags = 0, limit = 65535, object, opnum = 0 } = fields
    Pdu.beginRequest(writer, { callId, contextId, opnum, flags, object })
    writer.ensure(stub.length)
    writer.bytes.set(stub, writer.position)
    writer.position += stub.length
    Pdu.endMessage(writer, limit, authTrailer)
  })
  const hint = fields.allocHint
  const hinted = hint === undefined ? bytes : patched(bytes, { 16: [...u32(hint, littleEndian)] })
  return withFlags(hinted, fields.exactFlags)
}

export const first = (fields: RequestFields = {}): Uint8Array => request({ exactFlags: Pdu.flags.firstFrag, ...fields })

export const last = (fields: RequestFields = {}): Uint8Array => request({ exactFlags: Pdu.flags.lastFrag, ...fields })

export const coCancel = (callId = 2): Uint8Array => encoded(true, (writer) => Pdu.encodeCoCancel(writer, { callId }))

export const orphaned = (callId = 2): Uint8Array => encoded(true, (writer) => Pdu.encodeOrphaned(writer, { callId }))

/** Writes a chunk into the stub of the message that was begun. */
export const writeChunk = (writer: Pdu.Writer, pipe: PipeCodec, chunk: AnyChunk): void => {
  const writeBytes = (bytes: Uint8Array) => {
    writer.ensure(bytes.length)
    writer.bytes.set(bytes, writer.position)
    writer.position += bytes.length
  }
  assert.isUndefined(pipe.write({ writer, writeBytes }, chunk))
}

/** A PDU of any type, of nothing but a header. */
export const bare = (ptype: number, callId = 2): Uint8Array => patched(coCancel(callId), { 2: [ptype] })

export const u32 = (value: number, littleEndian = true): Uint8Array => {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value, littleEndian)
  return bytes
}

export const concat = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** The stub of EchoData. */
export const data = (size: number, littleEndian = true): Uint8Array =>
  concat(u32(size, littleEndian), u32(size, littleEndian), Uint8Array.from({ length: size }, (_, i) => i))

// ----------------------------------------------------------------------------
// answers
// ----------------------------------------------------------------------------

export const status = {
  accessDenied: 5,
  unavailable: 1722,
  noCallActive: 1725,
  badStubData: 1783,
  invalidBound: 0x1c000007,
  cancelled: 0x1c00000d,
  unspecified: 0x1c000012,
  outOfRange: 0x1c010002,
  unknownInterface: 0x1c010003,
  protocolError: 0x1c01000b,
  tooBusy: 0x1c010014,
  unsupportedType: 0x1c010017
}

export const fault = (callId: number, status: number, rest: {
  readonly contextId?: number
  readonly cancels?: number
  readonly didNotExecute?: boolean
} = {}) => ({ fault: callId, status, contextId: 0, cancels: 0, didNotExecute: false, ...rest })

export const response = (callId: number, value: number | undefined, rest: {
  readonly contextId?: number
  readonly cancels?: number
} = {}) => ({ response: callId, value, contextId: 0, cancels: 0, ...rest })

export const bindNak = (callId: number, reason: number) => ({ bindNak: callId, reason, protocols: ["5.0"] })

export const accepted = (syntax: Pdu.SyntaxId = Pdu.ndr20) => ({ result: 0, reason: 0, transferSyntax: syntax })

export const rejected = (reason: number) => ({ result: 2, reason, transferSyntax: Pdu.nilSyntax })

export const granted = (bits: number) => ({ result: 3, reason: bits, transferSyntax: Pdu.nilSyntax })

/** What matters of an answer, to be compared. */
export const brief = (pdu: Pdu.Pdu | Pdu.PduError) => {
  switch (pdu._tag) {
    case "Fault": {
      const { callId, cancelCount: cancels, contextId, flags, status } = pdu
      return fault(callId, status, { contextId, cancels, didNotExecute: (flags & Pdu.flags.didNotExecute) !== 0 })
    }
    case "Response": {
      const { callId, cancelCount: cancels, contextId, stub } = pdu
      const value = stub.length === 4 ? new DataView(stub.buffer, stub.byteOffset).getUint32(0, true) : undefined
      return response(callId, value, { contextId, cancels })
    }
    case "BindNak": {
      const protocols = pdu.protocols.map(({ major, minor }) => `${major}.${minor}`)
      return { bindNak: pdu.callId, reason: pdu.rejectReason, protocols }
    }
    case "BindAck":
    case "AlterContextResponse":
      return { [pdu._tag === "BindAck" ? "bindAck" : "alterAck"]: pdu.callId, results: pdu.results }
    default:
      return { other: pdu._tag }
  }
}

// ----------------------------------------------------------------------------
// the server and its clients
// ----------------------------------------------------------------------------

/** Runs what is ready, on both sides. */
export const settle: Effect.Effect<void> = Effect.repeat(Effect.yieldNow, { times: 50 })

export interface Tables {
  readonly connections: ReadonlySet<{
    readonly calls: ReadonlyMap<number, unknown>
    readonly agreement: { readonly contexts: ReadonlyMap<number, unknown> }
    /** The request of which not all fragments have arrived. */
    readonly open: { readonly buffer: Uint8Array } | undefined
    /** Set where it need not end before it is dispatched or refused. */
    readonly early: unknown
    readonly outbox: Outbox
    readonly move: (event: Event) => boolean
  }>
  readonly groups: ReadonlyMap<number, unknown>
}

const name = "ncacn_memory:[echo]"

export const connectTo = Effect.fnUntraced(function* (place: string) {
  const transport = yield* Transport.Transport
  const scope = yield* Scope.fork(yield* Effect.scope)
  const binding = yield* Effect.fromResult(parse(place))
  return yield* clientOf(yield* Scope.provide(transport.connect(binding), scope), scope)
})

/** A client on a connection, which ends with the scope. */
export const clientOf = Effect.fnUntraced(function* ({ socket }: Transport.Connection, scope: Scope.Closeable) {
  const { pull } = yield* Scope.provide(socket.reader, scope)
  const writer = yield* Scope.provide(socket.writer, scope)
  const parser = Pdu.makeParser({ maxFragment: Pdu.maxFragment })
  const inbox: Array<Pdu.Pdu | Pdu.PduError> = []
  const state = { closed: false, reads: true }
  const read = Effect.gen(function* () {
    while (true) {
      while (!state.reads) yield* Effect.sleep("1 milli")
      for (const chunk of yield* pull) inbox.push(...parser.push(chunk as Uint8Array))
    }
  })
  yield* Effect.forkIn(Effect.onExit(Effect.ignore(read), () => Effect.sync(() => state.closed = true)), scope)

  const take = Effect.sync(() => inbox.splice(0))
  const write = (...parts: ReadonlyArray<Uint8Array>) => Effect.ignore(writer.write(concat(...parts)))
  /** Writes PDUs, and gives what the server says to them. */
  const ask = (...parts: ReadonlyArray<Uint8Array>) => Effect.andThen(Effect.andThen(write(...parts), settle), take)
  return {
    state,
    write,
    ask,
    say: (...parts: ReadonlyArray<Uint8Array>) => Effect.map(ask(...parts), (answers) => answers.map(brief)),
    /** What it has heard, without waiting. */
    now: take,
    heard: Effect.andThen(settle, Effect.map(take, (answers) => answers.map(brief))),
    close: Scope.close(scope, Exit.void)
  }
})

export const connect = connectTo(name)

export type Client = Effect.Success<typeof connect>

/** A client whose bind was accepted. */
export const bound = (fields: BindFields = {}) => Effect.tap(connect, (client) => client.ask(bind(fields)))

export interface WorldOptions extends Endpoint.Options {
  readonly server?: Server.Options
  readonly cancellation?: ServerCall.Cancellation
}

const { inPipe, outPipe } = ServerCall

const sumOf = (numbers: Pipe.Reader<ReadonlyArray<number>, ServerCall.PipeFailure>) =>
  Stream.runFold(Pipe.toStream(numbers), () => 0, (a, b) => a + b)

const makeFlowManager = (
  iface: typeof IFlow,
  cancellation: ServerCall.Cancellation,
  held: Queue.Queue<Held>,
  started: Queue.Queue<string>,
  interrupted: Queue.Queue<string>
) =>
  Manager.make(iface, {
    Sum: ({ start }, call) => Effect.map(sumOf(inPipe(call, "numbers")), (sum) => ({ value: start + sum })),
    Count: ({ to }, call) =>
      Effect.gen(function* () {
        const numbers = outPipe(call, "numbers")
        const all = Array.from({ length: Math.min(to, 0xffff) }, (_, i) => i + 1)
        yield* Pipe.push(numbers, all.slice(0, 3))
        yield* Pipe.push(numbers, all.slice(3))
        yield* Pipe.end(numbers)
        return { value: to }
      }),
    Several: ({ name }, call) =>
      Effect.gen(function* () {
        yield* Queue.offer(started, name)
        const first = yield* Stream.runCollect(Pipe.toStream(inPipe(call, "first")))
        const second = yield* Stream.runCollect(Pipe.toStream(inPipe(call, "second")))
        const third = yield* Stream.runCollect(Pipe.toStream(inPipe(call, "third")))
        yield* Stream.run(Stream.fromIterable(first), Pipe.toSink(outPipe(call, "fourth")))
        yield* Stream.run(Stream.fromIterable(second), Pipe.toSink(outPipe(call, "fifth")))
        yield* Stream.run(Stream.make(concat(...third)), Pipe.toSink(outPipe(call, "sixth")))
        return { name }
      }),
    Hold: Manager.handOff((_, call) => Queue.offer(held, call)),
    Abort: (_, call) =>
      Effect.andThen(Pipe.pull(inPipe(call, "numbers")), Effect.fail(new Unwilling())).pipe(
        Effect.onInterrupt(() => Queue.offer(interrupted, "Abort"))
      ),
    Early: () => Effect.void,
    Order: (_, call) => Pipe.push(outPipe(call, "back"), [1]),
    Slow: (_, call) => Effect.andThen(Queue.take(started), Stream.runDrain(Pipe.toStream(inPipe(call, "large")))),
    Spoil: (_, call) =>
      Effect.gen(function* () {
        const numbers = outPipe(call, "numbers")
        yield* Pipe.push(numbers, new Array(40_000).fill(1))
        yield* Pipe.end(numbers)
        let reads = 0
        return {
          get value() {
            if (reads++ > 0) throw new Error("as expected")
            return 1
          }
        }
      })
  }, { cancellation })

const throwing = {
  get value(): number {
    throw new Error("as expected")
  }
}

export const makeWorld = Effect.fnUntraced(
  function* ({ cancellation = "interrupt", server: serverOptions, ...options }: WorldOptions = {}) {
    const kept = yield* Queue.unbounded<Kept>()
    const told = yield* Queue.unbounded<number>()
    const interrupted = yield* Queue.unbounded<string>()
    const held = yield* Queue.unbounded<Held>()
    const started = yield* Queue.unbounded<string>()
    const peers: Array<string> = []
    const echo = Manager.make(IEcho, {
      AddOne: ({ value }, call) => {
        peers.push(ServerCall.peer(call))
        return Effect.succeed({ value: (value + 1) >>> 0 })
      },
      EchoData: ({ data }) => Effect.succeed({ data }),
      SourceData: ({ len }) => Effect.succeed({ data: new Uint8Array(Math.min(len, 1 << 20)).fill(7) }),
      Keep: Manager.handOff((_, call) => Queue.offer(kept, call)),
      Never: () => Effect.onInterrupt(Effect.never, () => Queue.offer(interrupted, "Never")),
      Abort: () => Effect.fail(new Unwilling()),
      Tell: ({ value }) => Effect.andThen(Queue.offer(told, value), Effect.sleep("1 minute")),
      Spoil: ({ value }) => Effect.succeed(value === 0 ? throwing : { value: "no number" as never }),
      Die: () => Effect.die(new Error("as expected")),
      Count: ({ list }) =>
        Effect.sync(() => {
          let value = 0
          for (let item: Item | null = list; item !== null; item = item.next) value++
          return { value }
        }),
      Object: (_, call) => Effect.succeed({ uuid: ServerCall.object(call) ?? Pdu.nilSyntax.uuid })
    }, { cancellation })
    const double = Manager.make(IDouble, { Double: ({ value }) => Effect.succeed({ value: 2 * value }) })
    const forObject = Manager.make(IDouble, { Double: ({ value }) => Effect.succeed({ value: 3 * value }) }, { object })
    const thing = Manager.make(IThing, { Touch: () => Effect.void }, { object })
    const plain = Manager.make(IPlain, {
      Length: ({ length }) => Effect.succeed(length),
      Refuse: (_, call) => Effect.andThen(ServerCall.awaitCancel(call), Effect.fail(new Refused({ why: "asked to" })))
    }, { cancellation: "cooperative" })
    const flows = [IFlow, IPlainFlow].map((iface) => makeFlowManager(iface, cancellation, held, started, interrupted))
    const scope = yield* Scope.fork(yield* Effect.scope)
    const server = yield* Scope.provide(
      Server.make([echo, double, forObject, thing, plain, ...flows], { grace: 0, ...serverOptions }),
      scope
    )
    const endpointScope = yield* Scope.fork(scope)
    const endpoint = yield* Scope.provide(Endpoint.make(server, options), endpointScope)
    yield* Scope.provide(Endpoint.listen(endpoint, name), endpointScope)
    return {
      kept,
      held,
      started,
      told,
      interrupted,
      peers,
      server,
      endpoint,
      tables: endpoint as unknown as Tables,
      /** Closes the endpoint, within its grace. */
      close: Scope.close(endpointScope, Exit.void),
      nextInterrupted: Effect.andThen(settle, Effect.map(Queue.poll(interrupted), Option.getOrUndefined))
    }
  }
)

export type World = Effect.Success<ReturnType<typeof makeWorld>>

// ----------------------------------------------------------------------------
// tests
// ----------------------------------------------------------------------------

type Body = (client: Client, world: World) => Effect.Effect<void, unknown, Scope.Scope | Transport.Transport>

/**
 * Beside the client of the test there is always another one, with a call in progress. Nothing that the first one does may harm
 * it, and when all are gone nothing may be left on the server.
 */
export const wire = (name: string, body: Body, options?: WorldOptions) =>
  it.effect(name, () =>
    Effect.gen(function* () {
      const world = yield* makeWorld(options)
      const other = yield* bound()
      assert.deepStrictEqual(yield* other.say(request({ callId: 77, opnum: opnum.keep, stub: u32(0) })), [])
      const call = yield* Queue.take(world.kept)
      const client = yield* connect
      yield* Effect.scoped(body(client, world))
      yield* ServerCall.complete(call, { value: 5 })
      assert.deepStrictEqual(yield* other.heard, [response(77, 5)])
      assert.deepStrictEqual(yield* other.say(request({ callId: 78 })), [response(78, 42)])
      yield* client.close
      yield* other.close
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(world.tables.connections.size, 0)
      assert.strictEqual(world.tables.groups.size, 0)
      assert.deepStrictEqual(yield* Server.calls(world.server), [])
    }).pipe(Effect.provide(Memory.layer)))

/** What is sent on a new connection, all that comes back, and whether the connection is closed then. */
export const row = (
  name: string,
  sent: ReadonlyArray<Uint8Array>,
  answers: ReadonlyArray<unknown>,
  fate: "lives" | "is closed",
  options?: WorldOptions
) =>
  wire(name, (client) =>
    Effect.gen(function* () {
      const heard: Array<unknown> = []
      for (const pdu of sent) heard.push(...yield* client.say(pdu))
      assert.deepStrictEqual(heard, answers)
      assert.strictEqual(client.state.closed, fate === "is closed")
    }), options)

/** The same behind an accepted bind. */
export const boundRow = (
  name: string,
  fields: Parameters<typeof bind>[0],
  sent: ReadonlyArray<Uint8Array>,
  answers: ReadonlyArray<unknown>,
  fate: "lives" | "is closed",
  options?: WorldOptions
) => row(name, [bind(fields), ...sent], [bindAck, ...answers], fate, options)

export const bindAck = { bindAck: 1, results: [accepted()] }
