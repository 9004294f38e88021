/** Context handles over the wire: their bytes, the groups of connections that they belong to, and what a client keeps of them. */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Logger, Option, Queue, Result, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Call, ContextHandle, Interface, Manager, Pipe, Server, ServerCall, Status } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { binary, ndr20, proposed } from "../../src/dcerpc/TransferSyntax.ts"
import * as Memory from "../../src/transport/Memory.ts"
import * as Transport from "../../src/transport/Transport.ts"
import { Handle } from "../../src/internal/handleSchema.ts"
import { assertFailure, Denied } from "../fixtures.ts"
import { failure, mismatch, testHandles, withBoxes } from "../handles.ts"
import { Box, IOther, IShelf, makeShelf } from "../shelf.ts"
import { editingBinds, losingOnOrphan, oneCallAtATime } from "./faults.ts"
import {
  bind,
  brief,
  type Client,
  coCancel,
  connect,
  element,
  fault,
  orphaned,
  request,
  type RequestFields,
  settle
} from "./rawClient.ts"
import { managerImpl, serverImpl } from "../internals.ts"

const wire = <A, E>(name: string, test: Effect.Effect<A, E, Scope.Scope | Transport.Transport>) =>
  it.effect(name, () => Effect.provide(test, Memory.layer))

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")

const uuid = "00112233-4455-6677-8899-aabbccddeeff"
const other = "0c9a7be4-54a4-4f0b-9a43-5a1f3f7d2e99"

// ----------------------------------------------------------------------------
// bytes
// ----------------------------------------------------------------------------

const parameters = Schema.Struct({ before: Ndr.Uint8, box: ContextHandle.nullable(Box), after: Ndr.Uint8 })

const ndrOf = (box: unknown, littleEndian = true): string => {
  const writer = new Pdu.Writer({ littleEndian })
  const codec = Ndr.codecOf(parameters)!
  Result.getOrThrow(codec.encode(writer, { before: 1, box: box as never, after: 2 }))
  return hex(writer.take())
}

const fromNdr = (text: string, littleEndian = true) =>
  Result.getOrThrow(Ndr.codecOf(parameters)!.decode(Ndr.makeReader(Buffer.from(text, "hex"), { littleEndian }))).box

describe("a handle in NDR", () => {
  const little = "01000000" + "00000000" + "33221100554477668899aabbccddeeff" + "02"
  const big = "01000000" + "00000000" + "00112233445566778899aabbccddeeff" + "02"

  it("handle in NDR: is 20 bytes, aligned to 4, in either byte order", () => {
    assert.strictEqual(ndrOf(new Handle("Box", uuid)), little)
    assert.deepStrictEqual(fromNdr(little), new Handle("Box", uuid) as never)
    assert.deepStrictEqual(fromNdr(big, false), new Handle("Box", uuid) as never)
  })

  it("null handle in NDR: is zeros", () => {
    assert.strictEqual(ndrOf(null), "01000000" + "00".repeat(20) + "02")
    assert.isNull(fromNdr("01000000" + "00".repeat(20) + "02"))
  })

  it("handle in NDR: keeps the attributes of a server that uses them", () => {
    const bytes = "01000000" + "07000000" + "00".repeat(16) + "02"
    assert.strictEqual(ndrOf(fromNdr(bytes)), bytes)
  })

  it("truncated handle in NDR: is refused", () => {
    for (let length = 0; length < 24; length++) {
      const read = Ndr.codecOf(parameters)!.decode(Ndr.makeReader(Buffer.from(little, "hex").subarray(0, length)))
      assert.isTrue(Result.isFailure(read))
    }
  })

  it("interface of Ndr types with a handle: still speaks NDR", () => {
    assert.strictEqual(Result.getOrThrow(proposed(IShelf)), ndr20)
    const method = Interface.method({ in: { box: Box, name: Schema.String } })
    assert.isUndefined(ndr20.codec(method, "Box"))
  })
})

describe("a handle in Callisto's own syntax", () => {
  beforeAll(() => Effect.runPromise(binary.load))
  const method = Interface.method({ in: { box: ContextHandle.nullable(Box) } })
  const written = (box: unknown): Uint8Array => {
    const writer = new Pdu.Writer()
    assert.isUndefined(binary.codec(method, "Box")!.writeArguments(writer, { box }, undefined))
    return writer.take().slice()
  }
  const read = (stub: Uint8Array): unknown => {
    const read = binary.codec(method, "Box")!.readArguments(stub, true, 1000)
    return "problem" in read ? read : (read.value.input as { readonly box: unknown }).box
  }

  it("handle in Callisto's own syntax: is the same 20 bytes", () => {
    assert.include(hex(written(new Handle("Box", uuid))), "0000000033221100554477668899aabbccddeeff")
    assert.include(hex(written(null)), "00".repeat(20))
  })

  it("handle in Callisto's own syntax: is read as it was written", () => {
    for (const box of [new Handle("Box", uuid), new Handle("Box", uuid, 7), null]) {
      assert.deepStrictEqual(read(written(box)), box)
    }
  })

  it("handle of another length in Callisto's own syntax: is refused", () => {
    const stub = written(new Handle("Box", uuid))
    for (let length = 1; length < stub.length; length++) assert.property(read(stub.subarray(0, length)), "problem")
  })
})

// ----------------------------------------------------------------------------
// client and server
// ----------------------------------------------------------------------------

const name = "ncacn_memory:[echo]"

interface Served {
  readonly connections: ReadonlySet<
    { readonly calls: ReadonlyMap<number, unknown>; readonly move: (event: "silent") => boolean }
  >
  readonly groups: ReadonlyMap<number, unknown>
  join: (group: number) => unknown
}

const makeWorld = (options: Association.Options & Endpoint.Options = {}, serverOptions?: Server.Options) =>
  Effect.gen(function* () {
    const made = yield* makeShelf
    const serverScope = yield* Scope.fork(yield* Effect.scope)
    const managers = [made.manager, made.other] as const
    const server = yield* Scope.provide(Server.make(managers, { grace: 0, ...serverOptions }), serverScope)
    const served: { current: Served | undefined } = { current: undefined }
    const serve = Effect.gen(function* () {
      const scope = yield* Scope.fork(serverScope)
      const endpoint = yield* Scope.provide(Endpoint.make(server, options), scope)
      yield* Scope.provide(Endpoint.listen(endpoint, name), scope)
      served.current = endpoint as unknown as Served
      return Effect.andThen(Scope.close(scope, Exit.void), settle)
    })
    const stop = yield* serve
    const clientScope = yield* Scope.fork(yield* Effect.scope)
    const shelf = yield* Scope.provide(Association.bind(IShelf, name, options), clientScope)
    return {
      ...made,
      another: Association.bind(IShelf, name),
      left: () => serverImpl(server).handles.size,
      leave: Effect.andThen(Scope.close(clientScope, Exit.void), settle),
      serve,
      served: () => served.current!,
      server,
      shelf,
      stop,
      stopServer: Effect.andThen(Scope.close(serverScope, Exit.void), settle)
    }
  })

const setUp = (options?: Association.Options & Endpoint.Options) => Effect.map(makeWorld(options), withBoxes)

testHandles("handles over the wire", (options) => makeWorld({}, options))

/** With a handle, and a call whose request ends in the middle of its pipe. */
const setUpPouring = Effect.gen(function* () {
  const world = yield* setUp()
  const poured = yield* Deferred.make<void>()
  yield* Effect.addFinalizer(() => Deferred.succeed(poured, undefined))
  world.test.pour = Deferred.await(poured)
  const box = yield* world.open("box")
  const pouring = yield* Call.begin(yield* Call.make(world.shelf), "Pour")
  yield* Pipe.push(Call.inPipe(pouring, "drops"), Uint8Array.of(1))
  yield* settle
  return { ...world, box, poured, pouring }
})

describe("a handle over the wire", () => {
  wire(
    "handle over the wire: travels in Callisto's own syntax too",
    Effect.gen(function* () {
      const boxes = ContextHandle.states<string>()(Box)
      const ISlate = Interface.make("ISlate", {
        uuid: "0c9a7be4-54a4-4f0b-9a43-5a1f3f7d2e15",
        version: [1, 0],
        methods: {
          Open: Interface.method({ in: { name: Schema.Option(Schema.String) }, out: { box: Box } }),
          Name: Interface.method({ in: { box: Box }, out: Schema.Option(Schema.String) }),
          Close: Interface.method({ in: { box: Box }, out: { box: ContextHandle.nullable(Box) } })
        }
      })
      const manager = Manager.make(ISlate, {
        Open: ({ name }, call) =>
          Effect.map(boxes.open(call, Effect.succeed(Option.getOrElse(name, () => ""))), (box) => ({ box })),
        Name: ({ box }, call) => Effect.map(boxes.get(call, box), Option.some),
        Close: ({ box }, call) => Effect.map(boxes.close(call, box), (box) => ({ box }))
      })
      yield* Endpoint.serve(yield* Server.make([manager]), name)
      const slate = yield* Association.bind(ISlate, name)
      const { box } = yield* Call.invoke(slate, "Open", { name: Option.some("a") })
      assert.deepStrictEqual(yield* Call.invoke(slate, "Name", { box }), Option.some("a"))
      assert.deepStrictEqual(yield* Call.invoke(slate, "Close", { box }), { box: null })
      assert.deepStrictEqual(yield* failure(Call.invoke(slate, "Name", { box })), mismatch)
    })
  )

  wire(
    "client with as many handles as it may have: one more is refused, and other clients are served",
    Effect.gen(function* () {
      const { ends, open, shelf } = yield* setUp({ maximumHandles: 2 })
      const first = yield* open("first")
      yield* open("second")
      const refused = yield* Effect.flip(open("third"))
      assert.deepStrictEqual([refused._tag, refused.message.includes("1130")], ["RpcFault", true])
      const other = yield* Association.bind(IShelf, name)
      yield* Call.invoke(other, "Open", { text: "other" })
      yield* Call.invoke(shelf, "Close", { box: first })
      yield* open("third")
      // What was refused was not made.
      assert.deepStrictEqual(ends, ["closed first"])
    })
  )

  wire(
    "as many handles as a client may have are being made: one more is refused",
    Effect.gen(function* () {
      const { ends, left, open, shelf, test } = yield* setUp({ maximumHandles: 2 })
      // One that is never made does not count.
      test.make = Effect.never
      const cancelled = yield* Call.begin(yield* Call.make(shelf), "Open", { text: "never" })
      yield* settle
      yield* Call.cancel(cancelled)
      yield* settle
      const gate = yield* Deferred.make<void>()
      test.make = Deferred.await(gate)
      const opening = yield* Effect.forkChild(
        Effect.forEach(["a", "b", "c"], (text) => Effect.result(open(text)), { concurrency: "unbounded" })
      )
      yield* settle
      yield* Deferred.succeed(gate, undefined)
      const opened = yield* Fiber.join(opening)
      assert.deepStrictEqual([opened.map(Result.isSuccess), left(), ends], [[true, true, false], 2, []])
    })
  )

  wire(
    "handle that comes back: is the same value",
    Effect.gen(function* () {
      const { open, shelf } = yield* setUp()
      const box = yield* open("box")
      assert.strictEqual((yield* Call.invoke(shelf, "Pass", { box })).box, box)
    })
  )

  wire(
    "connection lost: its handle is dead, and the next call opens another",
    Effect.gen(function* () {
      const { ends, open, serve, stop, use } = yield* setUp()
      const box = yield* open("box")
      yield* stop
      assert.deepStrictEqual(ends, ["run down box"])
      yield* serve
      assert.deepStrictEqual(yield* failure(use(box)), mismatch)
      assert.strictEqual(yield* use(yield* open("another")), "a in another")
    })
  )
})

// ----------------------------------------------------------------------------
// what a hostile client sends, and what becomes of its replies
// ----------------------------------------------------------------------------

const opnum = Object.fromEntries(
  Object.entries(IShelf.operations).map(([name, { opnum }]) => [name, opnum])
) as { readonly [K in keyof typeof IShelf.operations]: number }

const stubOf = (method: keyof typeof IShelf.methods, input: unknown): Uint8Array => {
  const writer = new Pdu.Writer()
  ndr20.codec(IShelf.methods[method], method)!.writeArguments(writer, input, undefined)
  return writer.take().slice()
}

const ask = (
  client: Client,
  method: keyof typeof IShelf.methods,
  input: unknown,
  fields: RequestFields = {}
) => client.ask(request({ opnum: opnum[method], stub: stubOf(method, input), ...fields }))

const openRaw = (client: Client, text: string) =>
  Effect.map(ask(client, "Open", { text }), ([response]) => {
    const read = ndr20.codec(IShelf.methods.Open, "Open")!.readResults((response as Pdu.Response).stub, true, 1000)
    return (read as unknown as { readonly value: Exit.Success<{ readonly box: Handle }> }).value.value.box
  })

/** A connection of a group, by default of a new one, and the id of the group. */
const join = (assocGroupId = 0, iface: Interface.Interface.Any = IShelf) =>
  Effect.gen(function* () {
    const client = yield* connect
    const [ack] = yield* client.ask(bind({ assocGroupId, contextElements: [element(0, iface)] }))
    return { client, group: (ack as Pdu.BindAck).assocGroupId }
  })

const didNotExecute = { contextId: 0, didNotExecute: true }

describe("a hostile client", () => {
  wire(
    "client joins a group and opens its limit of handles: other connections of the group may open as many",
    Effect.gen(function* () {
      yield* setUp({ maximumHandles: 2 })
      const victim = yield* join()
      const { client } = yield* join(victim.group)
      yield* openRaw(client, "one")
      yield* openRaw(client, "two")
      const [refused] = yield* ask(client, "Open", { text: "three" })
      assert.strictEqual(refused!._tag, "Fault")
      yield* openRaw(victim.client, "mine")
      yield* openRaw(victim.client, "mine too")
      assert.strictEqual((yield* ask(victim.client, "Open", { text: "and one more" }))[0]!._tag, "Fault")
    })
  )
  wire(
    "handles of others: each gets the same answer",
    Effect.gen(function* () {
      const { ran } = yield* setUp()
      const victim = yield* join()
      const box = yield* openRaw(victim.client, "box")
      const { client } = yield* join()
      const closed = yield* openRaw(client, "closed")
      const jar = yield* openRaw(client, "jar")
      yield* ask(client, "Close", { box: closed })
      const handles = [
        null,
        box,
        closed,
        new Handle("Box", other),
        new Handle("Box", jar.uuid, 1),
        new Handle("Box", uuid, 0xffffffff)
      ]
      const answers: Array<string> = []
      for (const box of handles) {
        const [answer] = yield* ask(client, "Use", { box, text: "a" })
        assert.deepStrictEqual(brief(answer!), fault(2, 0x1c00001a, didNotExecute))
        answers.push(JSON.stringify(answer))
      }
      assert.strictEqual(new Set(answers).size, 1)
      assert.deepStrictEqual(ran, [])
    })
  )

  wire(
    "handle with another interface on the same association: is refused",
    Effect.gen(function* () {
      yield* setUp()
      const { client, group } = yield* join()
      const box = yield* openRaw(client, "box")
      const second = yield* join(group, IOther)
      assert.strictEqual(second.group, group)
      const stub = stubOf("Use", { box, text: "a" })
      assert.deepStrictEqual(
        yield* second.client.say(request({ opnum: IOther.operations.Use.opnum, stub })),
        [fault(2, 0x1c00001a, didNotExecute)]
      )
    })
  )

  wire(
    "handles without a limit but the association's: the association runs them all down",
    Effect.gen(function* () {
      const { ends, left } = yield* setUp()
      const { client } = yield* join()
      for (let i = 0; i < 100; i++) yield* openRaw(client, "box")
      assert.strictEqual(left(), 100)
      yield* client.close
      yield* settle
      assert.deepStrictEqual([ends.length, left()], [100, 0])
    })
  )
})

describe("the connections of a group", () => {
  wire(
    "connections of a group: share its handles, which the last one takes along",
    Effect.gen(function* () {
      const { ends, ran } = yield* setUp()
      const first = yield* join()
      const box = yield* openRaw(first.client, "box")
      const second = yield* join(first.group)
      yield* first.client.close
      yield* settle
      assert.deepStrictEqual(ends, [])
      yield* ask(second.client, "Use", { box, text: "a" })
      assert.deepStrictEqual(ran, ["a"])
      yield* second.client.close
      yield* settle
      assert.deepStrictEqual(ends, ["run down box"])
    })
  )

  wire(
    "connections of a group: queue for a handle together, and one lost while it waits is passed over",
    Effect.gen(function* () {
      const { held, ran } = yield* setUp()
      const first = yield* join()
      const box = yield* openRaw(first.client, "box")
      const later = [yield* join(first.group), yield* join(first.group)] as const
      yield* ask(first.client, "Hold", { box })
      assert.deepStrictEqual(yield* ask(later[0].client, "Use", { box, text: "lost" }), [])
      assert.deepStrictEqual(yield* ask(later[1].client, "Use", { box, text: "next" }), [])
      yield* later[0].client.close
      yield* settle
      yield* ServerCall.complete(yield* Queue.take(held), "")
      assert.strictEqual((yield* later[1].client.heard).length, 1)
      assert.deepStrictEqual(ran, ["next"])
    })
  )
})

describe("a handle whose reply nobody receives is run down at once", () => {
  wire(
    "call orphaned: its new handle is run down at once",
    Effect.gen(function* () {
      const { ends, left, shelf, test } = yield* setUp()
      test.open = Effect.never
      yield* Effect.scoped(Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Open", { text: "box" })))
      yield* settle
      assert.deepStrictEqual([ends, left()], [["run down box"], 0])
    })
  )

  wire(
    "call cancelled: its new handle is run down at once",
    Effect.gen(function* () {
      const { ends, left, shelf, test } = yield* setUp()
      test.open = Effect.never
      const opening = yield* Call.begin(yield* Call.make(shelf), "Open", { text: "box" })
      yield* settle
      yield* Call.cancel(opening)
      yield* settle
      assert.deepStrictEqual([ends, left()], [["run down box"], 0])
    })
  )

  wire(
    "call failed: its new handle is run down at once",
    Effect.gen(function* () {
      const { ends, left, shelf, test } = yield* setUp()
      test.open = Effect.fail(new Denied({ who: "a" }))
      const refused = yield* Effect.flip(Call.invoke(shelf, "Open", { text: "box" }))
      assertFailure(refused, new Status.RpcFault({ code: 5000 }))
      yield* settle
      assert.deepStrictEqual([ends, left()], [["run down box"], 0])
    })
  )

  wire(
    "maybe call: its new handle is run down at once",
    Effect.gen(function* () {
      const { ends, left } = yield* setUp()
      const { client } = yield* join()
      assert.deepStrictEqual(yield* ask(client, "Open", { text: "box" }, { flags: Pdu.flags.maybe }), [])
      assert.deepStrictEqual([ends, left()], [["run down box"], 0])
    })
  )

  wire(
    "out parameters without a form: the new handle is run down at once",
    Effect.gen(function* () {
      const boxes = ContextHandle.states<string>()(Box)
      const ends: Array<string> = []
      const IWrong = Interface.make("IWrong", {
        uuid: "0c9a7be4-54a4-4f0b-9a43-5a1f3f7d2e16",
        version: [1, 0],
        methods: { Open: Interface.method({ out: { box: Box, count: Ndr.Uint8 } }) }
      })
      const acquire = Effect.acquireRelease(
        Effect.succeed("box"),
        (_, exit) => Effect.sync(() => void ends.push(exit._tag))
      )
      const manager = Manager.make(IWrong, {
        Open: (_, call) => Effect.map(boxes.open(call, acquire), (box) => ({ box, count: 256 }))
      })
      const server = yield* Effect.provide(Server.make([manager], { grace: 0 }), Logger.layer([]))
      yield* Endpoint.serve(server, name)
      const wrong = yield* Association.bind(IWrong, name)
      assertFailure(yield* Effect.flip(Call.invoke(wrong, "Open")), new Status.RpcFault({ code: 1783 }))
      yield* settle
      assert.deepStrictEqual(ends, ["Failure"])
    })
  )

  wire(
    "connection lost before the reply has left it, its group lives on: the new handle is run down at once",
    Effect.gen(function* () {
      const { ends, left, test } = yield* setUp()
      const { client, group } = yield* join()
      const witness = yield* join(group)
      const box = yield* openRaw(client, "seen")
      client.state.reads = false
      const gate = yield* Deferred.make<void>()
      test.open = Deferred.await(gate)
      test.work = () => Effect.succeed("x".repeat(1_000_000))
      yield* ask(client, "Open", { text: "unseen" }, { callId: 3 })
      // The read that is in progress takes the first; behind the second everything waits.
      yield* ask(client, "Use", { box, text: "a" }, { callId: 4 })
      yield* ask(client, "Use", { box, text: "b" }, { callId: 5 })
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      assert.deepStrictEqual([ends, left()], [[], 2])
      yield* client.close
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual([ends, left()], [["run down unseen"], 1])
      yield* witness.client.close
      yield* settle
      assert.deepStrictEqual([ends, left()], [["run down unseen", "run down seen"], 0])
    })
  )

  for (
    const [how, leave] of [
      ["the client cancels", (client: Client) => client.write(coCancel(3))],
      ["the client orphans the call", (client: Client) => client.write(orphaned(3))],
      ["the connection is lost", (client: Client) => client.close]
    ] as const
  ) {
    wire(
      `${how} before the end of the pipe behind which the reply waits: the new handle is run down at once`,
      Effect.gen(function* () {
        const { ends, left, server } = yield* setUp()
        const { client, group } = yield* join()
        yield* join(group)
        client.state.reads = false
        yield* ask(client, "Drain", { text: "unseen" }, { callId: 3 })
        yield* TestClock.adjust("1 milli")
        yield* settle
        assert.deepStrictEqual([ends, left(), yield* Server.calls(server)], [[], 1, []])
        yield* leave(client)
        yield* settle
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual([ends, left()], [["run down unseen"], 0])
      })
    )
  }

  wire(
    "reply reaches a client that has cancelled: the new handle is run down with the association",
    Effect.gen(function* () {
      const made = yield* makeShelf
      const gate = yield* Deferred.make<void>()
      made.test.open = Deferred.await(gate)
      const manager = Manager.make(IShelf, managerImpl(made.manager).routines as never, { cancellation: "cooperative" })
      yield* Endpoint.serve(yield* Server.make([manager as typeof made.manager]), name)
      const scope = yield* Scope.make()
      const shelf = yield* Scope.provide(Association.bind(IShelf, name), scope)
      const opening = yield* Call.begin(yield* Call.make(shelf), "Open", { text: "box" })
      yield* settle
      yield* Call.cancel(opening, { timeout: "1 second" })
      yield* settle
      yield* Deferred.succeed(gate, undefined)
      const { box } = yield* Call.join(opening)
      assert.isDefined(box)
      assert.deepStrictEqual(made.ends, [])
      yield* Scope.close(scope, Exit.void)
      yield* settle
      assert.deepStrictEqual(made.ends, ["run down box"])
    })
  )
})

// ----------------------------------------------------------------------------
// the client's connections
// ----------------------------------------------------------------------------

const edited = <A, E>(
  name: string,
  edits: ReadonlyArray<(bind: Uint8Array) => void>,
  test: Effect.Effect<A, E, Scope.Scope | Transport.Transport>
) =>
  it.effect(name, () =>
    Effect.flatMap(
      Transport.Transport,
      (transport) => Effect.provideService(test, Transport.Transport, editingBinds(transport, ...edits))
    ).pipe(Effect.provide(Memory.layer), Effect.scoped))

describe("while a handle is open", () => {
  edited(
    "handle open, pool of connections idle: one connection stays",
    [oneCallAtATime],
    Effect.gen(function* () {
      const { ends, open, served, test, use } = yield* setUp({ causal: false, maximumConnections: 4 })
      const boxes = yield* Effect.forEach(["a", "b", "c", "d"], open)
      const gate = yield* Deferred.make<void>()
      test.work = () => Effect.as(Deferred.await(gate), "")
      const calls = yield* Effect.forkChild(Effect.forEach(boxes, (box) => use(box), { concurrency: "unbounded" }))
      yield* settle
      assert.deepStrictEqual([served().connections.size, served().groups.size], [4, 1])
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(calls)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(served().connections.size, 1)
      assert.deepStrictEqual(ends, [])
      yield* Effect.forEach(boxes, (box) => use(box))
    })
  )

  for (const [how, edits] of [["several", [losingOnOrphan]], ["one", [losingOnOrphan, oneCallAtATime]]] as const) {
    edited(
      `handle open, an orphan costs the connection, ${how} at once: the handle stays`,
      edits,
      Effect.gen(function* () {
        const { ends, open, ran, served, shelf, test, use } = yield* setUp()
        const box = yield* open("box")
        test.work = () => Effect.never
        yield* Effect.scoped(
          Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Use", { box, text: "orphan" }))
        )
        yield* settle
        assert.deepStrictEqual([ends, served().connections.size], [[], 1])
        test.work = (_, box) => Effect.succeed(box)
        assert.strictEqual(yield* use(box), "box")
        yield* settle
        // The new connection has joined the group, so the other one is not needed any more.
        assert.deepStrictEqual([served().connections.size, served().groups.size], [1, 1])
        assert.strictEqual(yield* use(box), "box")
        assert.deepStrictEqual([ran, ends], [["orphan", "a", "a"], []])
      })
    )
  }

  edited(
    "handle open, orphan: calls that wait for the connection begin",
    [losingOnOrphan, oneCallAtATime],
    Effect.gen(function* () {
      const { open, shelf, test, use } = yield* setUp()
      const box = yield* open("box")
      test.work = () => Effect.never
      const scope = yield* Scope.make()
      const call = yield* Scope.provide(Call.make(shelf), scope)
      yield* Call.begin(call, "Use", { box, text: "orphan" })
      const waiting = yield* Effect.forkChild(use(box, "next"), { startImmediately: true })
      yield* settle
      test.work = (_, __, text) => Effect.succeed(text)
      yield* Scope.close(scope, Exit.void)
      yield* settle
      assert.strictEqual(yield* Fiber.join(waiting), "next")
    })
  )

  edited(
    "handle open, orphan: the connection goes when the handle is closed or destroyed",
    [losingOnOrphan],
    Effect.gen(function* () {
      const { ends, open, served, shelf, test } = yield* setUp()
      const box = yield* open("box")
      test.work = () => Effect.never
      yield* Effect.scoped(Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Use", { box, text: "a" })))
      yield* settle
      yield* ContextHandle.destroy(box)
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.deepStrictEqual([served().connections.size, served().groups.size, ends], [0, 0, ["run down box"]])
    })
  )
})

for (
  const [how, end] of [
    ["is cancelled", (pouring: Call.Pending.Any) => Call.cancel(pouring)],
    ["is asked to stop", (pouring: Call.Pending.Any) => Call.cancel(pouring, { timeout: Infinity })],
    ["is answered too early", () => Effect.void]
  ] as const
) {
  wire(
    `handle open, a call with pipes that ${how} on the last connection of the group: the handle stays`,
    Effect.gen(function* () {
      const { box, ends, poured, pouring, served, use } = yield* setUpPouring
      const [main] = served().connections
      main!.move("silent")
      yield* settle
      yield* end(pouring)
      yield* Deferred.succeed(poured, undefined)
      yield* settle
      assert.deepStrictEqual([served().connections.size, ends], [1, []])
      assert.strictEqual(yield* use(box), "a in box")
      yield* settle
      // The new connection has joined the group, so the other one is not needed any more.
      assert.deepStrictEqual([served().connections.size, served().groups.size], [1, 1])
    })
  )
}

edited(
  "handle opened by a call with pipes, orphan: the handle stays",
  [losingOnOrphan],
  Effect.gen(function* () {
    const { ends, served, shelf, test, use } = yield* setUp()
    const filling = yield* Call.begin(yield* Call.make(shelf), "Fill")
    yield* Pipe.end(Call.inPipe(filling, "drops"))
    const { box } = yield* Call.join(filling)
    // The connection of the call is used no more.
    yield* TestClock.adjust("20 seconds")
    assert.strictEqual(served().connections.size, 1)
    test.work = () => Effect.never
    yield* Effect.scoped(Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Use", { box, text: "orphan" })))
    yield* settle
    assert.deepStrictEqual([served().connections.size, ends], [1, []])
    test.work = (_, box) => Effect.succeed(box)
    assert.strictEqual(yield* use(box), "filled")
  })
)

edited(
  "handle open, the group's other connection retired, orphan: the handle stays",
  [losingOnOrphan],
  Effect.gen(function* () {
    const { box, ends, poured, pouring, served, shelf, test, use } = yield* setUpPouring
    assert.deepStrictEqual([served().connections.size, served().groups.size], [2, 1])
    // A request that ends in the middle is not continued by another: its connection is over with the call.
    yield* Call.cancel(pouring, { timeout: Infinity })
    test.work = () => Effect.never
    yield* Effect.scoped(Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Use", { box, text: "orphan" })))
    yield* settle
    assert.strictEqual(served().connections.size, 1)
    yield* Deferred.succeed(poured, undefined)
    yield* settle
    assert.deepStrictEqual([served().connections.size, ends], [1, []])
    test.work = (_, box) => Effect.succeed(box)
    assert.strictEqual(yield* use(box), "box")
  })
)

edited(
  "no handle open, orphan: costs the connection",
  [losingOnOrphan],
  Effect.gen(function* () {
    const { open, served, shelf, test } = yield* setUp()
    const box = yield* open("box")
    yield* Call.invoke(shelf, "Close", { box })
    test.open = Effect.never
    yield* Effect.scoped(Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Open", { text: "a" })))
    yield* settle
    yield* TestClock.adjust("1 second")
    yield* settle
    assert.strictEqual(served().connections.size, 0)
  })
)

describe("a call with a handle whose connection is lost", () => {
  wire(
    "connection lost, call with a handle: is not sent again to a group that can't know it",
    Effect.gen(function* () {
      const { ends, open, ran, served, shelf, test, use } = yield* setUp()
      const box = yield* open("box")
      test.work = () => Effect.never
      const looking = yield* Call.begin(yield* Call.make(shelf), "Look", { box, text: "look" })
      yield* settle
      for (const connection of served().connections) connection.move("silent")
      yield* settle
      const lost = yield* Effect.flip(Call.join(looking))
      assert.deepStrictEqual([lost._tag, "status" in lost && lost.status], ["RpcTransportError", 1726])
      yield* settle
      assert.deepStrictEqual([ran, ends], [["look"], ["run down box"]])
      test.work = (_, box) => Effect.succeed(box)
      assert.deepStrictEqual(yield* failure(use(box)), mismatch)
      assert.deepStrictEqual(ran, ["look"])
    })
  )

  wire(
    "connection lost, calls made at once: their connections are in one group",
    Effect.gen(function* () {
      const { open, served, shelf } = yield* setUp()
      for (const connection of served().connections) connection.move("silent")
      yield* settle
      const pour = Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Pour"))
      yield* Effect.all([pour, open("box"), pour], { concurrency: "unbounded" })
      assert.strictEqual(served().groups.size, 1)
    })
  )

  wire(
    "connection lost, group unknown to the server, client not told: a new group follows",
    Effect.gen(function* () {
      const { open, served, shelf, use } = yield* setUp()
      const lost = yield* open("lost")
      ;(served().groups as Map<number, unknown>).clear()
      const filling = yield* Call.begin(yield* Call.make(shelf), "Fill")
      yield* Pipe.end(Call.inPipe(filling, "drops"))
      const { box } = yield* Call.join(filling)
      assert.strictEqual(yield* use(box), "a in filled")
      assert.deepStrictEqual(yield* failure(use(lost)), mismatch)
      assert.deepStrictEqual([served().groups.size, served().connections.size], [1, 2])
    })
  )

  wire(
    "connection lost, the server refuses every new connection: the handles stay",
    Effect.gen(function* () {
      const { open, served, shelf, use } = yield* setUp()
      const box = yield* open("kept")
      served().join = () => undefined
      const fill = Effect.andThen(Call.make(shelf), (call) => Call.begin(call, "Fill"))
      assert.deepStrictEqual(yield* failure(fill), ["RpcTransportError", true])
      assert.strictEqual(yield* use(box), "a in kept")
    })
  )

  wire(
    "connection lost, first connection fails: another one begins the group",
    Effect.gen(function* () {
      const { served, shelf, stop, serve } = yield* setUp()
      yield* stop
      const pour = Effect.flatMap(Call.make(shelf), (call) => Call.begin(call, "Pour"))
      const refused = yield* Effect.all([pour, pour].map(Effect.flip), { concurrency: "unbounded" })
      assert.deepStrictEqual(refused.map(({ _tag }) => _tag), ["RpcTransportError", "RpcTransportError"])
      yield* serve
      yield* Effect.all([pour, pour], { concurrency: "unbounded" })
      assert.strictEqual(served().groups.size, 1)
    })
  )

  edited(
    "connection lost, group alive on another connection: the call with a handle is sent again",
    [oneCallAtATime],
    Effect.gen(function* () {
      const { ends, open, ran, served, shelf, test } = yield* setUp({ causal: false, maximumConnections: 2 })
      const [box, another] = [yield* open("box"), yield* open("another")]
      test.work = () => Effect.never
      const looking = yield* Call.begin(yield* Call.make(shelf), "Look", { box, text: "look" })
      const other = yield* Call.begin(yield* Call.make(shelf), "Look", { box: another, text: "other" })
      yield* settle
      const [first] = [...served().connections]
      assert.strictEqual(served().connections.size, 2)
      test.work = (_, box) => Effect.succeed(box)
      first!.move("silent")
      yield* Call.cancel(other)
      assert.strictEqual(yield* Call.join(looking), "box")
      assert.deepStrictEqual([ran, ends], [["look", "other", "look"], []])
    })
  )
})
