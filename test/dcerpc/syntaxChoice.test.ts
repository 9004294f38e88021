/** Which transfer syntax an interface has, what becomes of one that has none, and what is compiled when. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Result, Schema, Stream } from "effect"
import { Binding, Call, ContextHandle, Interface, Manager, Pipe, Server } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as EndpointMapper from "../../src/dcerpc/EndpointMapper.ts"
import { binary, carries, ndr20, proposed } from "../../src/dcerpc/TransferSyntax.ts"
import { annotationOf } from "../../src/ndr/internal/ndrCodec.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import * as Memory from "../../src/transport/Memory.ts"
import * as StringBinding from "../../src/transport/StringBinding.ts"

const uuid = "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c4b01"

const describing = (methods: Interface.Interface.Methods) => Interface.make("IFiles", { uuid, methods })

const Info = Ndr.struct({ id: Ndr.Uint32, name: Ndr.unique(Ndr.WString) })
const read = Interface.method({ in: { info: Info }, out: { data: Ndr.Bytes } })
const ordinary = Interface.method({ in: { name: Schema.String }, out: { size: Schema.Int } })
const nothing = Interface.method({})

const lackIn = (methods: Interface.Interface.Methods): string => {
  const refused = Result.getOrThrow(Result.flip(proposed(describing(methods))))
  assert.deepInclude(refused, { _tag: "RpcFault", code: 1730, didNotExecute: true, interface: "IFiles" })
  return refused.detail!
}

const IMixed = describing({ Read: read, Rename: Interface.method({ in: { from: Ndr.WString, to: Schema.String } }) })

const mixed = "method Rename of interface IFiles has no form in NDR: in.to (String) is no type of Ndr"

describe("the transfer syntax of an interface", () => {
  const syntaxOf = (methods: Interface.Interface.Methods) => Result.getOrThrow(proposed(describing(methods)))

  it("whose types are all those of Ndr: NDR, and a server offers Callisto's own too", () => {
    const Handle = ContextHandle.make("Handle")
    const iface = describing({
      Read: read,
      Nothing: nothing,
      Open: Interface.method({ in: { path: Ndr.WString }, out: { handle: ContextHandle.nullable(Handle) } }),
      Pull: Interface.method({ in: { handle: Handle }, outPipe: { data: Pipe.bytes, rows: Ndr.Uint32 } })
    })
    assert.strictEqual(Result.getOrThrow(proposed(iface)), ndr20)
    assert.isTrue(carries(ndr20, iface) && carries(binary, iface))
  })

  it("without a type of Ndr: Callisto's own alone", () => {
    const iface = describing({
      Size: ordinary,
      Nothing: nothing,
      Open: Interface.method({ in: { path: Schema.String }, out: { handle: ContextHandle.make("Handle") } })
    })
    assert.strictEqual(Result.getOrThrow(proposed(iface)), binary)
    assert.isTrue(carries(binary, iface))
    assert.isFalse(carries(ndr20, iface))
    assert.strictEqual(syntaxOf({ Flow: Interface.method({ inPipe: { items: Schema.Struct({}) } }) }), binary)
  })

  it("with neither: NDR", () => {
    assert.strictEqual(syntaxOf({ Nothing: nothing }), ndr20)
    assert.strictEqual(syntaxOf({}), ndr20)
  })

  it("with types of Ndr and a method without a form in NDR: none, and the reason names both", () => {
    assert.include(lackIn(IMixed.methods), mixed)
    assert.isFalse(carries(ndr20, IMixed) || carries(binary, IMixed))
    const of = (fields: Interface.Fields) => lackIn({ Read: read, M: Interface.method({ out: fields }) })
    assert.include(of({ a: Ndr.conformant(Schema.Boolean) }), "out.a (Boolean)")
    assert.include(of({ a: Ndr.unique(Ndr.struct({ b: Schema.Array(Ndr.Uint8) })) }), "out.a.b (Arrays)")
    assert.include(of({ a: Ndr.union(Ndr.Uint8, { 1: Schema.Void, 2: Schema.Number }) }), "out.a (Number)")
    assert.include(of({ a: Schema.Record(Schema.String, Ndr.Uint8) }), "out.a (Objects)")
    assert.include(of({ a: Schema.optionalKey(Ndr.Uint8) }), "out.a (optional)")
    assert.include(of({ a: Ndr.sizeIs("b", Schema.Int), b: Ndr.Bytes }), "out.a (Number)")
    const pipe = Interface.method({ inPipe: { items: Schema.String } })
    assert.include(
      lackIn({ Read: read, Push: pipe }),
      "method Push of interface IFiles has no form in NDR: items (String)"
    )
  })

  it("a recursive type: is looked through once, and its lack is found from everywhere", () => {
    interface Item {
      readonly next: Item | null
      readonly name: string
    }
    const make = (name: Schema.Codec<string>) => {
      const Item = Ndr.struct({ next: Ndr.unique(Schema.suspend((): Schema.Codec<Item> => Item as never)), name })
      return Item
    }
    assert.strictEqual(syntaxOf({ Put: Interface.method({ in: { item: make(Ndr.WString) } }) }), ndr20)
    const Item = make(Schema.String)
    for (const item of [Item, Item.fields.next, Item]) {
      assert.include(lackIn({ Read: read, Put: Interface.method({ in: { item } }) }), "(String)")
    }
  })
})

describe("an interface without a transfer syntax", () => {
  it.effect("a bind: fails with 1730, and nothing is connected", () =>
    Effect.gen(function* () {
      const refused = yield* Effect.flip(Association.bind(IMixed, "ncacn_memory:[nowhere]"))
      assert.deepInclude(refused, { _tag: "RpcFault", code: 1730, didNotExecute: true })
      assert.include(refused.message, `The bind failed with code 1730 (RPC_S_UNSUPPORTED_TRANS_SYN): ${mixed}`)
    }).pipe(Effect.provide(Memory.layer)))

  it.effect("the call of a binding that a layer provides: fails with 1730", () =>
    Effect.gen(function* () {
      const Files = Binding.Service("test/Files", IMixed)
      const layer = Association.layer(Files, "ncacn_memory:[nowhere]")
      const call = Effect.flatMap(Files, (files) => Call.invoke(files, "Read", {}))
      const refused = yield* Effect.flip(Effect.provide(call, layer))
      assert.deepInclude(refused, { _tag: "RpcFault", code: 1730, method: "Read" })
    }).pipe(Effect.provide(Memory.layer)))

  it.effect("an endpoint of a server that has it: is refused with a TypeError", () =>
    Effect.gen(function* () {
      const manager = Manager.make(IMixed, { Read: () => Effect.succeed({}), Rename: () => Effect.void })
      const server = yield* Server.make([manager])
      const exit = yield* Effect.exit(Endpoint.make(server))
      assert(exit._tag === "Failure")
      const defect = Cause.squash(exit.cause)
      assert(defect instanceof TypeError)
      assert.include(defect.message, `Endpoint: ${mixed}`)
    }).pipe(Effect.scoped))

  it.effect("added to a server that has an endpoint: is not offered", () =>
    Effect.gen(function* () {
      const server = yield* Server.make([])
      yield* Endpoint.serve(server, "ncacn_memory:[late]")
      yield* Server.add(
        server,
        Manager.make(IMixed, { Read: () => Effect.succeed({}), Rename: () => Effect.void })
      )
      for (const methods of [{ Read: read }, { Size: ordinary }]) {
        const refused = yield* Effect.flip(Association.bind(describing(methods), "ncacn_memory:[late]"))
        assert.deepInclude(refused, { _tag: "RpcTransportError", status: 1722 })
      }
    }).pipe(Effect.scoped, Effect.provide(Memory.layer)))

  it.effect("an endpoint mapper: neither finds nor registers it", () =>
    Effect.gen(function* () {
      const mappers = yield* Server.make([yield* EndpointMapper.makeManager()])
      const mapper = yield* Binding.local(mappers, EndpointMapper.IEndpointMapper)
      const manager = Manager.make(IMixed, { Read: () => Effect.succeed({}), Rename: () => Effect.void })
      const address = Result.getOrThrow(StringBinding.parse("ncacn_ip_tcp:127.0.0.1[4711]"))
      const found = yield* Effect.flip(EndpointMapper.map(mapper, IMixed))
      assert.deepInclude(found, { _tag: "RpcFault", code: 1730 })
      const registered = EndpointMapper.register(mapper, yield* Server.make([manager]), address)
      assert.deepInclude(yield* Effect.flip(registered), { _tag: "RpcFault", code: 1730 })
    }).pipe(Effect.scoped))
})

/** A byte that counts how often it is compiled. */
const makeCounted = () => {
  const counted = { times: 0, type: Schema.Int as Schema.Codec<number> }
  counted.type = Schema.Int.annotate(annotationOf(Schema.Int.ast, {
    flows: true,
    make: () => {
      counted.times++
      return { align: 1, minimum: 1, extent: 1, write: (to) => void to.slot(1), read: (from) => from.slot(1) }
    }
  }))
  return counted
}

describe("the codecs of NDR", () => {
  it.effect("of methods that share types: each is compiled at the method's first call, and a type once", () =>
    Effect.gen(function* () {
      const shared = makeCounted()
      const own = makeCounted()
      const Row = Ndr.struct({ shared: shared.type, next: Ndr.unique(Ndr.WString) })
      const iface = describing({
        A: Interface.method({ in: { row: Row } }),
        B: Interface.method({ in: { rows: Ndr.conformant(Row) }, out: { row: Ndr.unique(Row) } }),
        C: Interface.method({ in: { row: Row, own: own.type } })
      })
      const routine = () => Effect.succeed({ row: null })
      const manager = Manager.make(iface, { A: () => Effect.void, B: routine, C: () => Effect.void })
      yield* Endpoint.serve(yield* Server.make([manager]), "ncacn_memory:[counted]")
      const binding = yield* Association.bind(iface, "ncacn_memory:[counted]")
      assert.strictEqual(shared.times, 0)
      yield* Call.invoke(binding, "A", { row: { shared: 0, next: null } })
      assert.strictEqual(shared.times, 1)
      yield* Call.invoke(binding, "B", { rows: [] })
      assert.deepStrictEqual([shared.times, own.times], [1, 0])
      yield* Call.invoke(binding, "C", { row: { shared: 0, next: null }, own: 0 })
      assert.deepStrictEqual([shared.times, own.times], [1, 1])
    }).pipe(Effect.scoped, Effect.provide(Memory.layer)))

  const wrong = Interface.method({ in: { data: Ndr.Bytes, more: Ndr.struct({ first: Ndr.Bytes, last: Ndr.Uint8 }) } })
  const right = Interface.method({ in: { data: Ndr.Bytes, more: Ndr.Bytes } })

  it.effect("of a definition that NDR does not have: calls of its method alone fail, with 1783", () =>
    Effect.gen(function* () {
      const server = describing({ Wrong: wrong, Read: Interface.method({ in: { data: Ndr.Bytes } }) })
      const client = describing({ Wrong: right, Read: Interface.method({ in: { data: Ndr.Bytes } }) })
      const routines = { Wrong: () => Effect.void, Read: () => Effect.void }
      yield* Endpoint.serve(yield* Server.make([Manager.make(server, routines)]), "ncacn_memory:[wrong]")
      const data = new Uint8Array(3)
      const there = yield* Association.bind(client, "ncacn_memory:[wrong]")
      const here = yield* Association.bind(server, "ncacn_memory:[wrong]")
      for (let i = 0; i < 2; i++) {
        const refused = yield* Effect.flip(Call.invoke(there, "Wrong", { data, more: data }))
        assert.deepInclude(refused, { _tag: "RpcFault", code: 1783, didNotExecute: true })
        const unsaid = yield* Effect.flip(Call.invoke(here, "Wrong", { data, more: { first: data, last: 1 } }))
        assert.strictEqual(unsaid._tag, "BadStubData")
        assert.include(unsaid.message, "NDR, more.first: a conformant array stands at the end of a structure")
        yield* Call.invoke(there, "Read", { data })
        yield* Call.invoke(here, "Read", { data })
      }
    }).pipe(Effect.scoped, Effect.provide(Memory.layer)))

  it.effect("of such a definition with pipes: fail alike", () =>
    Effect.gen(function* () {
      const server = describing({ Push: Interface.method({ in: { more: wrong.in }, inPipe: { chunks: Pipe.bytes } }) })
      const client = describing({
        Push: Interface.method({ in: { more: Ndr.WString }, inPipe: { chunks: Pipe.bytes } })
      })
      const manager = Manager.make(server, { Push: () => Effect.void })
      yield* Endpoint.serve(yield* Server.make([manager]), "ncacn_memory:[pipes]")
      const there = yield* Association.bind(client, "ncacn_memory:[pipes]")
      const here = yield* Association.bind(server, "ncacn_memory:[pipes]")
      const chunks = Stream.make(new Uint8Array(3))
      const refused = yield* Effect.flip(Stream.run(chunks, Call.sink(there, "Push", { more: "a" })))
      assert.deepInclude(refused, { _tag: "RpcFault", code: 1783 })
      const more = { data: new Uint8Array(1), more: { first: new Uint8Array(1), last: 1 } }
      const unsaid = yield* Effect.flip(Stream.run(chunks, Call.sink(here, "Push", { more })))
      assert.strictEqual(unsaid._tag, "BadStubData")
    }).pipe(Effect.scoped, Effect.provide(Memory.layer)))
})
