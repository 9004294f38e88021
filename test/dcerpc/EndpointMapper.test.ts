/**
 * The endpoint mapper: the manager, asked method by method; the functions of clients and servers; their bytes.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Logger, Result, Schema, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Binding, Call, ContextHandle, Interface, Manager, Server, ServerCall, Status } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as EndpointMapper from "../../src/dcerpc/EndpointMapper.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import * as StringBinding from "../../src/transport/StringBinding.ts"
import * as Tower from "../../src/dcerpc/Tower.ts"
import { binary, ndr20 } from "../../src/dcerpc/TransferSyntax.ts"
import * as Memory from "../../src/transport/Memory.ts"
import * as Transport from "../../src/transport/Transport.ts"
import { Handle } from "../../src/internal/handleSchema.ts"
import * as NodeTransport from "../../src/node.ts"
import { serverImpl } from "../internals.ts"

const { IEndpointMapper } = EndpointMapper

type Out<K extends keyof EndpointMapper.Methods> = Interface.Method.Out<EndpointMapper.Methods[K]>

// ----------------------------------------------------------------------------
// interfaces, entries
// ----------------------------------------------------------------------------

const uuids = {
  clock: "b5d3f7c1-2f64-4c46-8d55-0f3a9c1e7a21",
  desk: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1a01",
  files: "4f2c8ea6-6a3d-4f0e-9d1e-6a4f0b1d2c3e"
}
const kitchen = "11111111-2222-4333-8444-555555555555"
const cellar = "99999999-2222-4333-8444-555555555555"
const nil = "00000000-0000-0000-0000-000000000000"

const LookupHandle = ContextHandle.make("ept_lookup_handle_t")
type LookupHandle = ContextHandle.ContextHandle<"ept_lookup_handle_t"> | null
/** A handle that nobody has given. */
const forged = new Handle("ept_lookup_handle_t", kitchen) as LookupHandle

const ok = 0
const invalidEntry = 1751
const cannotPerform = 1752
const nothing = 0x16c9a0d6

const tell = Interface.method({ out: { now: Ndr.Uint32 } })
const clock = (...version: [major: number, minor: number]) =>
  Interface.make("Clock", { uuid: uuids.clock, version, methods: { Now: tell } })

const IDesk = Interface.make("Desk", { uuid: uuids.desk, version: [1, 0], methods: { Now: tell } })
/** It has no NDR form. */
const IFiles = Interface.make("Files", {
  uuid: uuids.files,
  version: [1, 0],
  methods: { Read: Interface.method({ in: Schema.String, out: Schema.String }) }
})

const parsed = (text: string) => Result.getOrThrow(StringBinding.parse(text))

const towerOf = (iface: Interface.Interface.Identity, binding: string, transferSyntax = ndr20.id) => ({
  tower_octet_string: Tower.encode(
    Result.getOrThrow(Tower.make({ interface: iface, transferSyntax, binding: parsed(binding) }))
  )
})

interface Names {
  readonly object?: string
  readonly annotation?: string
}

const entry = (
  iface: Interface.Interface.Identity,
  binding: string,
  { annotation = "", object = nil }: Names = {}
) => ({
  object,
  tower: towerOf(iface, binding),
  annotation
})

/** Where an entry or a tower leads. */
const whereOf = (pointed: { readonly tower_octet_string: Uint8Array } | null) =>
  Tower.print(Result.getOrThrow(Tower.decode(pointed!.tower_octet_string)))

// ----------------------------------------------------------------------------
// a mapper over a transport in memory
// ----------------------------------------------------------------------------

const where = "ncacn_memory:[mapper]"

const serveMapper = (options?: EndpointMapper.Options) =>
  Effect.gen(function* () {
    const server = yield* Server.make([yield* EndpointMapper.makeManager(options)], { grace: 0 })
    yield* Endpoint.serve(server, where)
    return yield* Association.bind(IEndpointMapper, where)
  })

const wire = <E>(name: string, test: Effect.Effect<unknown, E, Scope.Scope | Transport.Transport>) =>
  it.effect(name, () => Effect.provide(test, Memory.layer))

const insert = (
  mapper: EndpointMapper.Mapper,
  entries: ReadonlyArray<ReturnType<typeof entry>>,
  options?: { readonly replace: boolean }
) =>
  Effect.map(
    Call.invoke(mapper, "ept_insert", { entries, replace: options?.replace ? 1 : 0 }),
    ({ status }) => status
  )

const inquiry = {
  inquiry_type: 0,
  object: null,
  interface_id: null,
  vers_option: 0,
  entry_handle: null,
  max_ents: 500
}

/** One call of `ept_lookup`: where the entries lead, the status, and the handle. */
const page = (
  mapper: EndpointMapper.Mapper,
  options: Partial<Interface.Method.In<EndpointMapper.Methods["ept_lookup"]>>
) =>
  Effect.map(Call.invoke(mapper, "ept_lookup", { ...inquiry, ...options }), ({ entries, entry_handle, status }) => ({
    found: entries.elements.map(({ tower }) => whereOf(tower)),
    size: entries.size,
    status,
    handle: entry_handle
  }))

const found = (mapper: EndpointMapper.Mapper, options: Parameters<typeof page>[1] = {}) =>
  Effect.map(page(mapper, options), (page) => page.found)

const map = (
  mapper: EndpointMapper.Mapper,
  tower: { readonly tower_octet_string: Uint8Array } | null,
  options: { readonly object?: string; readonly max_towers?: number; readonly entry_handle?: LookupHandle } = {}
) =>
  Effect.map(
    Call.invoke(mapper, "ept_map", {
      object: null,
      map_tower: tower,
      entry_handle: null,
      max_towers: 500,
      ...options
    }),
    ({ entry_handle, status, towers }) => ({ found: towers.elements.map(whereOf), status, handle: entry_handle })
  )

const free = (mapper: EndpointMapper.Mapper, entry_handle: LookupHandle) =>
  Call.invoke(mapper, "ept_lookup_handle_free", { entry_handle: entry_handle! })

const fault = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => [error._tag, "code" in error ? error.code : undefined])

const contextMismatch = ["ContextMismatch", undefined]
const accessDenied = ["RpcFault", 5]

// ----------------------------------------------------------------------------
// bytes
// ----------------------------------------------------------------------------

const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

const bytesOf = (text: string) => Uint8Array.from(text.match(/[0-9a-f]{2}/g) ?? [], (pair) => parseInt(pair, 16))

const stubOf = <K extends keyof EndpointMapper.Methods & string>(
  method: K,
  write: (codec: NonNullable<ReturnType<typeof ndr20.codec>>, writer: Pdu.Writer) => unknown
): string => {
  const writer = new Pdu.Writer()
  Pdu.beginResponse(writer, { callId: 2, contextId: 0, cancelCount: 0 })
  assert.isUndefined(write(ndr20.codec(IEndpointMapper.methods[method], method)!, writer))
  Pdu.endMessage(writer, Pdu.defaultFragment)
  return hex(writer.take()).slice(48)
}

describe("the interface of the endpoint mapper", () => {
  it("interface of the endpoint mapper: has the opnums that peers expect", () => {
    assert.deepStrictEqual(Object.values(IEndpointMapper.operations).map(({ name, opnum }) => [opnum, name]), [
      [0, "ept_insert"],
      [1, "ept_delete"],
      [2, "ept_lookup"],
      [3, "ept_map"],
      [4, "ept_lookup_handle_free"],
      [5, "ept_inq_object"],
      [6, "ept_mgmt_delete"]
    ])
  })

  it("page of a lookup written by Samba: is read", () => {
    const read = ndr20.codec(IEndpointMapper.methods.ept_lookup, "ept_lookup")!.readResults(
      bytesOf(
        "0000000027a18995d0a89d4a866bcd09ef394e0b" + "02000000" + "020000000000000002000000" +
          "0000000000000000000000000000000001000000" + "0000000009000000" + "6576656e746c6f6700" + "000000" +
          "0000000000000000000000000000000002000000" + "0000000007000000" + "6e747376637300" + "00" +
          "5500000055000000" +
          "050013000ddc3f27822ae3c3183f78827929dc23ea00000200000013000d045d888aeb1cc9119fe808002b1048" +
          "6002000200000001000b0200000001000f0f005c706970655c6576656e746c6f6700010011010000" + "000000" +
          "5300000053000000" +
          "050013000d404e9f8d3da0ce118f6908003e30051b01000200000013000d045d888aeb1cc9119fe808002b1048" +
          "6002000200000001000b0200000001000f0d005c706970655c6e747376637300010011010000" + "00" + "00000000"
      ),
      true,
      1000
    )
    assert.notProperty(read, "problem")
    const { entries, entry_handle, status } = Exit.getSuccess(
      (read as { readonly value: Exit.Exit<Out<"ept_lookup">> }).value
    ).pipe((value) => (value as { readonly value: Out<"ept_lookup"> }).value)
    assert.deepStrictEqual(
      [status, entry_handle],
      [0, new Handle("ept_lookup_handle_t", "9589a127-a8d0-4a9d-866b-cd09ef394e0b") as never]
    )
    assert.deepStrictEqual(
      entries.elements.map(({ annotation, object, tower }) => [annotation, object, whereOf(tower)]),
      [["eventlog", nil, "ncacn_np:[\\pipe\\eventlog]"], ["ntsvcs", nil, "ncacn_np:[\\pipe\\ntsvcs]"]]
    )
  })

  it("lookup: has full pointers at the top level, and an array as large as the client asked for", () => {
    assert.strictEqual(
      stubOf("ept_lookup", (codec, writer) =>
        codec.writeArguments(
          writer,
          {
            ...inquiry,
            inquiry_type: 3,
            object: kitchen,
            interface_id: { uuid: uuids.clock, major: 1, minor: 2 },
            vers_option: 2
          },
          undefined
        )),
      "03000000" + "00000200" + "11111111222233438444555555555555" + "04000200" + "c1f7d3b5642f464c8d550f3a9c1e7a21" +
        "01000200" + "02000000" + "00".repeat(20) + "f4010000"
    )
    assert.strictEqual(
      stubOf("ept_map", (codec, writer) =>
        codec.writeResults(writer, {
          entry_handle: null,
          towers: { size: 4, elements: [{ tower_octet_string: Uint8Array.of(1, 2, 3) }] },
          status: 0
        })),
      "00".repeat(20) + "01000000" + "040000000000000001000000" + "00000200" + "0300000003000000010203" + "00" +
        "00000000"
    )
    assert.strictEqual(
      stubOf("ept_insert", (codec, writer) =>
        codec.writeArguments(
          writer,
          {
            entries: [{ object: kitchen, tower: { tower_octet_string: Uint8Array.of(7) }, annotation: "ab" }],
            replace: 1
          },
          undefined
        )),
      "01000000" + "01000000" + "11111111222233438444555555555555" + "00000200" + "0000000003000000616200" + "00" +
        "010000000100000007" + "000000" + "01000000"
    )
  })
})

// ----------------------------------------------------------------------------
// the manager
// ----------------------------------------------------------------------------

const four = [
  entry(clock(1, 0), "ncacn_ip_tcp:10.0.0.1[1]"),
  entry(clock(1, 2), "ncacn_ip_tcp:10.0.0.1[2]", { object: kitchen }),
  entry(clock(2, 1), "ncacn_ip_tcp:10.0.0.1[3]"),
  entry(IDesk, "ncalrpc:[desk]", { object: kitchen })
]
const [first, second, third, fourth] = [
  "ncacn_ip_tcp:10.0.0.1[1]",
  "ncacn_ip_tcp:10.0.0.1[2]",
  "ncacn_ip_tcp:10.0.0.1[3]",
  "ncalrpc:[desk]"
]

describe("ept_lookup", () => {
  wire(
    "ept_lookup: gives all entries, or those of an interface, an object, or both",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      assert.strictEqual(yield* insert(mapper, four), ok)
      const interface_id = { uuid: uuids.clock, major: 1, minor: 0 }
      assert.deepStrictEqual(yield* page(mapper, {}), {
        found: [first, second, third, fourth],
        size: 500,
        status: ok,
        handle: null
      })
      assert.deepStrictEqual(yield* found(mapper, { object: cellar, interface_id, vers_option: 99 }), [
        first,
        second,
        third,
        fourth
      ])
      assert.deepStrictEqual(yield* found(mapper, { inquiry_type: 1, interface_id, vers_option: 2 }), [first, second])
      assert.deepStrictEqual(yield* found(mapper, { inquiry_type: 2, object: kitchen }), [second, fourth])
      assert.deepStrictEqual(yield* found(mapper, { inquiry_type: 2, object: kitchen.toUpperCase() }), [second, fourth])
      assert.deepStrictEqual(yield* found(mapper, { inquiry_type: 2, object: null }), [first, third])
      assert.deepStrictEqual(yield* found(mapper, { inquiry_type: 3, object: kitchen, interface_id, vers_option: 2 }), [
        second
      ])
      assert.deepStrictEqual(yield* page(mapper, { inquiry_type: 2, object: cellar }), {
        found: [],
        size: 500,
        status: nothing,
        handle: null
      })
    })
  )

  wire(
    "ept_lookup: gives the versions of an interface that its option lets through",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      const versions = [[1, 0], [1, 2], [1, 3], [2, 0], [3, 1]] as const
      yield* insert(mapper, versions.map(([major, minor]) => entry(clock(major, minor), `ncalrpc:[${major}.${minor}]`)))
      yield* insert(mapper, [entry(IDesk, "ncalrpc:[desk]")])
      const versioned = (vers_option: number, [major, minor]: readonly [number, number]) =>
        Effect.map(
          found(mapper, { inquiry_type: 1, interface_id: { uuid: uuids.clock, major, minor }, vers_option }),
          (found) => found.map((text) => text.slice("ncalrpc:[".length, -1)).join(" ")
        )
      const all = "1.0 1.2 1.3 2.0 3.1"
      assert.deepStrictEqual(
        yield* Effect.all([
          versioned(1, [7, 7]),
          versioned(2, [1, 2]),
          versioned(2, [3, 2]),
          versioned(3, [1, 2]),
          versioned(3, [1, 1]),
          versioned(4, [1, 9]),
          versioned(5, [1, 2]),
          versioned(5, [2, 0]),
          versioned(5, [9, 0])
        ]),
        [all, "1.2 1.3", "", "1.2", "", "1.0 1.2 1.3", "1.0 1.2", "1.0 1.2 1.3 2.0", all]
      )
    })
  )

  wire(
    "ept_lookup with a filter that can't be applied: is refused",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      yield* insert(mapper, four)
      const interface_id = { uuid: uuids.clock, major: 1, minor: 0 }
      const refused = (options: Parameters<typeof page>[1]) =>
        Effect.map(page(mapper, options), ({ found, status }) => [found.length, status])
      assert.deepStrictEqual(
        yield* Effect.all([
          refused({ inquiry_type: 4 }),
          refused({ inquiry_type: 0xffffffff }),
          refused({ inquiry_type: 1, vers_option: 2 }),
          refused({ inquiry_type: 1, interface_id, vers_option: 0 }),
          refused({ inquiry_type: 3, interface_id, vers_option: 6 })
        ]),
        Array(5).fill([0, cannotPerform])
      )
    })
  )

  wire(
    "ept_lookup: goes on with the handle, page by page, until the handle is null",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      yield* insert(mapper, four)
      const one = yield* page(mapper, { max_ents: 1 })
      assert.deepStrictEqual([one.found, one.size, one.status], [[first], 1, ok])
      assert.isNotNull(one.handle)
      const two = yield* page(mapper, { max_ents: 2, entry_handle: one.handle })
      assert.deepStrictEqual([two.found, two.status], [[second, third], ok])
      assert.strictEqual(two.handle, one.handle)
      const three = yield* page(mapper, { max_ents: 1, entry_handle: two.handle })
      assert.deepStrictEqual([three.found, three.status, three.handle], [[fourth], ok, null])
      // Exactly as many as there are: that is the end too.
      assert.deepStrictEqual((yield* page(mapper, { max_ents: 4 })).handle, null)
    })
  )

  wire(
    "entries come and go between two pages of ept_lookup: they are seen, and no entry comes twice",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      yield* insert(mapper, four)
      const { handle } = yield* page(mapper, { max_ents: 2 })
      yield* Call.invoke(mapper, "ept_delete", { entries: four.slice(0, 3) })
      yield* insert(mapper, [four[0]!])
      assert.deepStrictEqual(yield* found(mapper, { entry_handle: handle }), [fourth, first])
      const other = (yield* page(mapper, { max_ents: 1 })).handle
      yield* Call.invoke(mapper, "ept_delete", { entries: [four[0]!, four[3]!] })
      assert.deepStrictEqual(yield* page(mapper, { entry_handle: other }), {
        found: [],
        size: 500,
        status: nothing,
        handle: null
      })
    })
  )

  wire(
    "ept_lookup: gives at most 500 entries at a time, and no entries for a count of 0",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      const many = Array.from({ length: 510 }, (_, i) => entry(IDesk, `ncacn_ip_tcp:[${i + 1}]`))
      assert.strictEqual(yield* insert(mapper, many), ok)
      const one = yield* page(mapper, { max_ents: 0xffffffff })
      assert.deepStrictEqual([one.found.length, one.size], [500, 0xffffffff])
      assert.strictEqual((yield* found(mapper, { entry_handle: one.handle })).length, 10)
      const none = yield* page(mapper, { max_ents: 0 })
      assert.deepStrictEqual([none.found, none.status], [[], ok])
      assert.strictEqual((yield* found(mapper, { entry_handle: none.handle, max_ents: 3 })).length, 3)
    })
  )

  wire(
    "ept_lookup with a foreign, forged, used or freed handle: is refused",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      const other = yield* Association.bind(IEndpointMapper, where)
      yield* insert(mapper, four)
      const { handle } = yield* page(mapper, { max_ents: 1 })
      // Another client's.
      assert.deepStrictEqual(yield* fault(page(other, { entry_handle: handle })), contextMismatch)
      assert.deepStrictEqual(yield* fault(free(other, handle)), contextMismatch)
      // Nobody's.
      assert.deepStrictEqual(yield* fault(page(mapper, { entry_handle: forged })), contextMismatch)
      assert.deepStrictEqual(yield* fault(free(mapper, forged)), contextMismatch)
      assert.deepStrictEqual(yield* fault(free(mapper, null)), ["NullContext", undefined])
      // It was touched by none of that.
      assert.deepStrictEqual(yield* found(mapper, { entry_handle: handle, max_ents: 1 }), [second])
      assert.deepStrictEqual(yield* free(mapper, handle), { entry_handle: null, status: ok })
      assert.deepStrictEqual(yield* fault(page(mapper, { entry_handle: handle })), contextMismatch)
      assert.deepStrictEqual(yield* fault(free(mapper, handle)), contextMismatch)
      const last = yield* page(mapper, { max_ents: 3 })
      yield* page(mapper, { entry_handle: last.handle })
      assert.deepStrictEqual(yield* fault(page(mapper, { entry_handle: last.handle })), contextMismatch)
    })
  )

  wire(
    "ept_lookup with the handle of a client that has gone: is refused; one that has bound again keeps its own",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      yield* insert(mapper, four)
      const begin = (mapper: EndpointMapper.Mapper) => Effect.map(page(mapper, { max_ents: 1 }), ({ handle }) => handle)
      const gone = yield* Effect.scoped(Effect.flatMap(Association.bind(IEndpointMapper, where), begin))
      assert.deepStrictEqual(yield* fault(page(mapper, { entry_handle: gone })), contextMismatch)
      const association = yield* Association.make(where)
      const handle = yield* Effect.scoped(Effect.flatMap(Association.bind(IEndpointMapper, association), begin))
      const again = yield* Association.bind(IEndpointMapper, association)
      assert.deepStrictEqual(yield* found(again, { entry_handle: handle }), [second, third, fourth])
    })
  )

  wire(
    "ept_lookup, a page that makes no sense: is refused, and the handle stays",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      yield* insert(mapper, four)
      const { handle } = yield* page(mapper, { max_ents: 1 })
      assert.deepStrictEqual(yield* page(mapper, { entry_handle: handle, inquiry_type: 4 }), {
        found: [],
        size: 500,
        status: cannotPerform,
        handle
      })
      assert.deepStrictEqual(yield* found(mapper, { entry_handle: handle }), [second, third, fourth])
    })
  )

  wire(
    "more than 100 lookups of a client: its oldest one is run down, and those of other clients stay",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      const other = yield* Association.bind(IEndpointMapper, where)
      yield* insert(mapper, four)
      const begin = (mapper: EndpointMapper.Mapper) => Effect.map(page(mapper, { max_ents: 1 }), ({ handle }) => handle)
      const others = yield* begin(other)
      const handles = yield* Effect.replicateEffect(begin(mapper), 100)
      // The oldest is the one that has begun first, wherever it is.
      yield* page(mapper, { entry_handle: handles[0]!, max_ents: 1 })
      const last = yield* begin(mapper)
      assert.deepStrictEqual(yield* fault(page(mapper, { entry_handle: handles[0]! })), contextMismatch)
      assert.deepStrictEqual(yield* found(mapper, { entry_handle: handles[1]! }), [second, third, fourth])
      assert.deepStrictEqual(yield* found(mapper, { entry_handle: last }), [second, third, fourth])
      assert.deepStrictEqual(yield* found(other, { entry_handle: others }), [second, third, fourth])
      // One has ended and made room.
      yield* begin(mapper)
      yield* begin(mapper)
      assert.deepStrictEqual(yield* found(mapper, { entry_handle: handles[2]! }), [second, third, fourth])
    })
  )
})

describe("ept_map", () => {
  const asked = (version: [number, number], protocol = "ncacn_ip_tcp:", syntax = ndr20.id) =>
    towerOf(clock(...version), protocol, syntax)

  wire(
    "ept_map: gives the towers of compatible versions, in the requested transfer syntax and over the requested protocols",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      yield* insert(mapper, [
        entry(clock(1, 0), "ncacn_ip_tcp:10.0.0.1[1]"),
        entry(clock(1, 2), "ncacn_ip_tcp:[2]"),
        entry(clock(2, 0), "ncacn_ip_tcp:[3]"),
        entry(clock(1, 1), "ncalrpc:[clock]"),
        { object: nil, tower: towerOf(clock(1, 2), "ncacn_ip_tcp:[4]", binary.id), annotation: "" },
        entry(IDesk, "ncacn_ip_tcp:[5]")
      ])
      const where = (...args: Parameters<typeof asked>) => Effect.map(map(mapper, asked(...args)), ({ found }) => found)
      assert.deepStrictEqual(yield* map(mapper, asked([1, 0])), {
        found: ["ncacn_ip_tcp:10.0.0.1[1]", "ncacn_ip_tcp:[2]"],
        status: ok,
        handle: null
      })
      assert.deepStrictEqual(yield* where([1, 1], "ncacn_ip_tcp:192.168.0.1[99]"), ["ncacn_ip_tcp:[2]"])
      assert.deepStrictEqual(yield* where([2, 0]), ["ncacn_ip_tcp:[3]"])
      assert.deepStrictEqual(yield* where([1, 0], "ncalrpc:"), ["ncalrpc:[clock]"])
      assert.deepStrictEqual(yield* where([1, 0], "ncacn_ip_tcp:", binary.id), ["ncacn_ip_tcp:[4]"])
      assert.deepStrictEqual(yield* map(mapper, asked([1, 3])), { found: [], status: nothing, handle: null })
      assert.deepStrictEqual(yield* map(mapper, asked([2, 0], "ncalrpc:")), {
        found: [],
        status: nothing,
        handle: null
      })
    })
  )

  wire(
    "ept_map: prefers servers of the object, then servers of all objects, and never gives those of another one",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      yield* insert(mapper, [
        entry(clock(1, 0), "ncacn_ip_tcp:[1]"),
        entry(clock(1, 0), "ncacn_ip_tcp:[2]", { object: kitchen })
      ])
      const where = (object?: string) =>
        Effect.map(map(mapper, asked([1, 0]), object === undefined ? {} : { object }), ({ found }) => found)
      assert.deepStrictEqual(
        yield* Effect.all([where(), where(nil), where(kitchen), where(kitchen.toUpperCase()), where(cellar)]),
        [["ncacn_ip_tcp:[1]"], ["ncacn_ip_tcp:[1]"], ["ncacn_ip_tcp:[2]"], ["ncacn_ip_tcp:[2]"], ["ncacn_ip_tcp:[1]"]]
      )
    })
  )

  wire(
    "ept_map: goes on with the handle, and refuses malformed towers",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      yield* insert(mapper, [1, 2, 3].map((port) => entry(clock(1, 0), `ncacn_ip_tcp:[${port}]`)))
      const one = yield* map(mapper, asked([1, 0]), { max_towers: 2 })
      assert.deepStrictEqual(one.found, ["ncacn_ip_tcp:[1]", "ncacn_ip_tcp:[2]"])
      assert.deepStrictEqual(yield* map(mapper, asked([1, 0]), { entry_handle: one.handle }), {
        found: ["ncacn_ip_tcp:[3]"],
        status: ok,
        handle: null
      })
      assert.deepStrictEqual(yield* fault(map(mapper, asked([1, 0]), { entry_handle: one.handle })), contextMismatch)
      // Each method goes on with what it has begun itself.
      const towers = yield* map(mapper, asked([1, 0]), { max_towers: 2 })
      const entries = yield* page(mapper, { max_ents: 2 })
      assert.deepStrictEqual(
        yield* fault(map(mapper, asked([1, 0]), { entry_handle: entries.handle })),
        contextMismatch
      )
      assert.deepStrictEqual(yield* fault(page(mapper, { entry_handle: towers.handle })), contextMismatch)
      assert.deepStrictEqual(yield* found(mapper, { entry_handle: entries.handle }), ["ncacn_ip_tcp:[3]"])
      assert.deepStrictEqual(yield* free(mapper, towers.handle), { entry_handle: null, status: ok })
      assert.deepStrictEqual(yield* fault(map(mapper, asked([1, 0]), { entry_handle: towers.handle })), contextMismatch)
      const refused = { found: [], status: cannotPerform, handle: null }
      assert.deepStrictEqual(yield* map(mapper, null), refused)
      assert.deepStrictEqual(yield* map(mapper, { tower_octet_string: Uint8Array.of(1, 2, 3) }), refused)
      const tower = asked([1, 0]).tower_octet_string
      assert.deepStrictEqual(
        yield* map(mapper, { tower_octet_string: Uint8Array.from({ length: 1025 }, (_, i) => tower[i] ?? 0) }),
        refused
      )
    })
  )
})

describe("ept_insert", () => {
  wire(
    "ept_insert with a malformed entry: is refused as a whole",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      const good = four[0]!
      const bad = [
        { ...good, tower: null },
        { ...good, tower: { tower_octet_string: new Uint8Array() } },
        { ...good, tower: { tower_octet_string: good.tower.tower_octet_string.slice(0, -1) } },
        entry(IDesk, `ncalrpc:[${"x".repeat(1000)}]`)
      ]
      for (const entry of bad) {
        const reply = yield* Call.invoke(mapper, "ept_insert", { entries: [good, entry], replace: 0 })
        assert.strictEqual(reply.status, invalidEntry)
      }
      assert.deepStrictEqual(yield* found(mapper), [])
      assert.strictEqual(yield* insert(mapper, []), ok)
      const long = { ...good, annotation: "x".repeat(64) }
      assert.strictEqual((yield* Effect.flip(insert(mapper, [long])))._tag, "BadStubData")
      assert.strictEqual(yield* insert(mapper, [{ ...good, annotation: "x".repeat(63) }]), ok)
    })
  )

  it.effect("ept_insert from the same process: is checked", () =>
    Effect.gen(function* () {
      const server = yield* Server.make([yield* EndpointMapper.makeManager()])
      const mapper = yield* Binding.local(server, IEndpointMapper)
      const good = four[0]!
      for (
        const bad of [
          { ...good, annotation: "x".repeat(64) },
          { ...good, annotation: "a\0b" },
          { ...good, annotation: "\u20ac" },
          { ...good, object: "the kitchen" }
        ]
      ) {
        assert.strictEqual(yield* insert(mapper, [bad]), invalidEntry)
        assert.strictEqual((yield* Call.invoke(mapper, "ept_delete", { entries: [bad] })).status, invalidEntry)
      }
      assert.strictEqual(yield* insert(mapper, [{ ...good, object: kitchen.toUpperCase() }]), ok)
      assert.deepStrictEqual(yield* found(mapper, { inquiry_type: 2, object: kitchen }), [first])
    }))

  wire(
    "ept_insert of equal entries: keeps one, with the later annotation",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      const named = (annotation: string) => entry(IDesk, "ncalrpc:[desk]", { annotation })
      yield* insert(mapper, [named("one"), entry(IDesk, "ncalrpc:[other]"), named("two")])
      yield* insert(mapper, [named("three")])
      const { entries } = yield* Call.invoke(mapper, "ept_lookup", inquiry)
      assert.deepStrictEqual(entries.elements.map(({ annotation, tower }) => [whereOf(tower), annotation]), [
        ["ncalrpc:[desk]", "three"],
        ["ncalrpc:[other]", ""]
      ])
    })
  )

  wire(
    "ept_insert with replace: replaces entries that differ in the endpoint alone",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      const kept = [
        entry(clock(1, 1), "ncacn_ip_tcp:10.0.0.1[1]"),
        entry(clock(2, 0), "ncacn_ip_tcp:10.0.0.1[2]"),
        entry(clock(1, 0), "ncacn_ip_tcp:10.0.0.2[3]"),
        entry(clock(1, 0), "ncacn_ip_tcp:10.0.0.1[4]", { object: kitchen }),
        entry(clock(1, 0), "ncalrpc:[5]"),
        entry(IDesk, "ncacn_ip_tcp:10.0.0.1[6]")
      ]
      const at = (port: number) => entry(clock(1, 0), `ncacn_ip_tcp:10.0.0.1[${port}]`)
      yield* insert(mapper, [...kept, at(7), at(8)])
      yield* insert(mapper, [at(9)])
      assert.strictEqual((yield* found(mapper)).length, 9)
      // Those that are inserted together do not replace each other, and one that is there already stays.
      yield* insert(mapper, [at(8), at(10)], { replace: true })
      const rest = kept.map(({ tower }) => whereOf(tower))
      assert.deepStrictEqual(yield* found(mapper), [...rest, "ncacn_ip_tcp:10.0.0.1[8]", "ncacn_ip_tcp:10.0.0.1[10]"])
    })
  )

  wire(
    "ept_insert at the limit of entries: is refused, and replacing makes room",
    Effect.gen(function* () {
      const mapper = yield* serveMapper({ maximumEntries: 2 })
      const at = (port: number) => entry(IDesk, `ncacn_ip_tcp:[${port}]`)
      assert.strictEqual(yield* insert(mapper, [at(1), at(2), at(3)]), cannotPerform)
      assert.deepStrictEqual(yield* found(mapper), [])
      assert.strictEqual(yield* insert(mapper, [at(1), at(2)]), ok)
      assert.strictEqual(yield* insert(mapper, [at(3)]), cannotPerform)
      assert.strictEqual(yield* insert(mapper, [at(2)]), ok)
      assert.strictEqual(yield* insert(mapper, [at(3), at(4)], { replace: true }), ok)
      assert.deepStrictEqual(yield* found(mapper), ["ncacn_ip_tcp:[3]", "ncacn_ip_tcp:[4]"])
    })
  )
})

describe("ept_delete", () => {
  wire(
    "ept_delete: removes the entries with their object and tower, and tells when one was not there",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      yield* insert(mapper, four)
      const remove = (entries: typeof four) =>
        Effect.map(Call.invoke(mapper, "ept_delete", { entries }), ({ status }) => status)
      assert.strictEqual(yield* remove([{ ...four[0]!, object: kitchen }]), nothing)
      assert.strictEqual(yield* remove([four[0]!, { ...four[1]!, annotation: "of no account" }]), ok)
      assert.strictEqual(yield* remove([four[0]!, four[2]!]), nothing)
      assert.deepStrictEqual(yield* found(mapper), [fourth])
      assert.strictEqual(
        yield* remove([four[3]!, { ...four[3]!, tower: { tower_octet_string: new Uint8Array() } }]),
        invalidEntry
      )
      assert.deepStrictEqual(yield* found(mapper), [fourth])
    })
  )

  wire(
    "ept_delete for administrators: removes a tower of one object, or of all",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      const at = (object: string) => entry(IDesk, "ncalrpc:[desk]", { object })
      yield* insert(mapper, [at(nil), at(kitchen), at(cellar), four[0]!])
      const remove = (object_speced: number, object: string | null, tower = towerOf(IDesk, "ncalrpc:[desk]")) =>
        Effect.map(Call.invoke(mapper, "ept_mgmt_delete", { object_speced, object, tower }), ({ status }) => status)
      assert.strictEqual(yield* remove(1, kitchen.toUpperCase()), ok)
      assert.strictEqual(yield* remove(1, kitchen), nothing)
      assert.strictEqual((yield* found(mapper)).length, 3)
      assert.strictEqual(yield* remove(1, null), ok)
      assert.strictEqual(yield* remove(0, nil), ok)
      assert.deepStrictEqual(yield* found(mapper), [first])
      assert.strictEqual(yield* remove(0, null), nothing)
      assert.strictEqual(yield* remove(0, null, { tower_octet_string: Uint8Array.of(0) }), invalidEntry)
    })
  )
})

describe("ept_inq_object", () => {
  wire(
    "ept_inq_object: names the mapper, always by the same UUID",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      const { ept_object, status } = yield* Call.invoke(mapper, "ept_inq_object")
      assert.match(ept_object, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
      assert.strictEqual(status, ok)
      assert.strictEqual((yield* Call.invoke(mapper, "ept_inq_object")).ept_object, ept_object)
    })
  )
})

/** The transport in memory, where every client seems to come from one address. */
const from = (peer: string) =>
  Layer.effect(
    Transport.Transport,
    Effect.map(Transport.Transport, (transport): Transport.Transport => ({
      ...transport,
      listen: (binding, handler) => transport.listen(binding, (connection) => handler({ ...connection, peer }))
    }))
  ).pipe(Layer.provide(Memory.layer))

describe("a change of what is registered", () => {
  const change = Effect.gen(function* () {
    const mapper = yield* serveMapper()
    return yield* Effect.all([
      Effect.exit(insert(mapper, [four[0]!])),
      Effect.exit(Call.invoke(mapper, "ept_delete", { entries: [four[0]!] })),
      Effect.exit(Call.invoke(mapper, "ept_mgmt_delete", { object_speced: 0, object: null, tower: four[0]!.tower })),
      Effect.exit(insert(mapper, [four[1]!])),
      Effect.exit(Effect.map(page(mapper, {}), ({ status }) => status))
    ])
  })

  for (
    const peer of [
      "ncacn_ip_tcp:127.0.0.1[4000]",
      "ncacn_ip_tcp:127.8.9.10[4000]",
      "ncacn_ip_tcp:::1[4000]",
      "ncacn_ip_tls:127.0.0.1[4000]",
      "ncalrpc:[EPMAPPER]",
      "ncacn_memory:[client 1]"
    ]
  ) {
    it.effect(`change of entries by ${peer}: is allowed`, () =>
      Effect.gen(function* () {
        const [inserted, deleted, managed, again, listed] = yield* Effect.provide(change, from(peer))
        assert.deepStrictEqual([inserted, again, listed], [Exit.succeed(ok), Exit.succeed(ok), Exit.succeed(ok)])
        assert.deepStrictEqual([deleted, managed], [Exit.succeed({ status: ok }), Exit.succeed({ status: nothing })])
      }))
  }

  for (
    const peer of [
      "ncacn_ip_tcp:10.0.0.1[4000]",
      "ncacn_ip_tcp:128.0.0.1[4000]",
      "ncacn_ip_tcp:fe80::1[4000]",
      "ncacn_ws:127.0.0.1[4000]",
      "ncacn_messageport:[worker]",
      "127.0.0.1",
      ""
    ]
  ) {
    it.effect(`change of entries by ${JSON.stringify(peer)}, who may ask: is refused`, () =>
      Effect.gen(function* () {
        const exits = yield* Effect.provide(change, from(peer))
        const listed = exits.pop()
        for (const exit of exits) {
          assert.deepStrictEqual(
            yield* fault(Effect.suspend<unknown, { readonly _tag: string }, never>(() => exit)),
            accessDenied
          )
        }
        assert.deepStrictEqual(listed, Exit.succeed(nothing))
      }))
  }
})

// ----------------------------------------------------------------------------
// clients
// ----------------------------------------------------------------------------

const lookups = ContextHandle.states<void>()(LookupHandle)

/** Opens a lookup, or goes on with it. */
const going = (call: ServerCall.ServerCall.Any, handle: LookupHandle = null) =>
  handle === null ? lookups.open(call, Effect.void) : Effect.succeed(handle)

const freeing =
  (freed: Array<LookupHandle>): Manager.Plain<EndpointMapper.Methods["ept_lookup_handle_free"], never> =>
  ({ entry_handle }, call) => {
    freed.push(entry_handle)
    return Effect.map(lookups.close(call, entry_handle), (entry_handle) => ({ entry_handle, status: ok }))
  }

/** A mapper whose answers the test writes. */
const fake = (
  routines: { readonly [K in keyof EndpointMapper.Methods]?: Manager.Plain<EndpointMapper.Methods[K], never> }
) =>
  Effect.gen(function* () {
    const unused = () => Effect.die("not used")
    const server = yield* Server.make([
      Manager.make(IEndpointMapper, {
        ept_insert: unused,
        ept_delete: unused,
        ept_lookup: unused,
        ept_map: unused,
        ept_lookup_handle_free: unused,
        ept_inq_object: unused,
        ept_mgmt_delete: unused,
        ...routines
      })
    ], { grace: 0 })
    return yield* Binding.local(server, IEndpointMapper)
  })

describe("lookup", () => {
  wire(
    "lookup: lists the entries with all that is known of them",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      const pipe = Result.getOrThrow(Tower.make({ interface: IDesk, binding: parsed("ncalrpc:[x]") }))
      const other = { ...pipe, floors: [pipe.floors[0]!, { ...pipe.floors[1]!, protocol: 0x16 }] }
      yield* insert(mapper, [
        entry(clock(1, 2), "ncacn_ip_tcp:10.0.0.1[2]", { object: kitchen, annotation: "grüß Gott" }),
        { object: nil, tower: { tower_octet_string: Tower.encode(other) }, annotation: "" }
      ])
      const entries = yield* Stream.runCollect(EndpointMapper.lookup(mapper))
      assert.deepStrictEqual(entries.map(({ tower: _, ...rest }) => rest), [
        {
          interface: { uuid: uuids.clock, version: [1, 2] },
          transferSyntax: ndr20.id,
          binding: parsed("ncacn_ip_tcp:10.0.0.1[2]"),
          object: kitchen,
          annotation: "grüß Gott"
        },
        {
          interface: { uuid: uuids.desk, version: [1, 0] },
          transferSyntax: ndr20.id,
          binding: undefined,
          object: undefined,
          annotation: ""
        }
      ])
      assert.deepStrictEqual(entries.map(({ tower }) => Tower.print(tower)), [
        "ncacn_ip_tcp:10.0.0.1[2]",
        "floors 0x0c 0x16"
      ])
    })
  )

  wire(
    "lookup with a filter: lists the entries that match",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      yield* insert(mapper, four)
      const listed = (filter?: EndpointMapper.Filter) =>
        Effect.map(
          Stream.runCollect(EndpointMapper.lookup(mapper, filter)),
          (entries) => entries.map(({ tower }) => Tower.print(tower))
        )
      const iface = clock(1, 0)
      assert.deepStrictEqual(yield* listed(), [first, second, third, fourth])
      assert.deepStrictEqual(yield* listed({ interface: iface }), [first, second])
      assert.deepStrictEqual(yield* listed({ interface: iface, object: kitchen }), [second])
      assert.deepStrictEqual(yield* listed({ object: kitchen }), [second, fourth])
      assert.deepStrictEqual(yield* listed({ object: cellar }), [])
      const versions = (versions: EndpointMapper.Versions, ...version: [number, number]) =>
        listed({ interface: clock(...version), versions })
      assert.deepStrictEqual(
        yield* Effect.all([
          versions("all", 9, 9),
          versions("exact", 1, 2),
          versions("majorOnly", 2, 9),
          versions("upTo", 2, 0),
          versions("compatible", 1, 1)
        ]),
        [[first, second, third], [second], [third], [first, second], [second]]
      )
    })
  )

  wire(
    "lookup: goes through all pages",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      const many = Array.from({ length: 350 }, (_, i) => entry(IDesk, `ncacn_ip_tcp:[${i + 1}]`))
      yield* insert(mapper, many)
      const entries = yield* Stream.runCollect(EndpointMapper.lookup(mapper))
      assert.deepStrictEqual(entries.map(({ binding }) => Number(binding!.endpoint)), many.map((_, i) => i + 1))
    })
  )

  it.effect("lookup interrupted in the middle: leaves nothing open in the mapper", () =>
    Effect.gen(function* () {
      const server = yield* Server.make([yield* EndpointMapper.makeManager()], { grace: 0 })
      const mapper = yield* Binding.local(server, IEndpointMapper)
      yield* insert(mapper, Array.from({ length: 150 }, (_, i) => entry(IDesk, `ncacn_ip_tcp:[${i + 1}]`)))
      const open = serverImpl(server).handles
      const fiber = yield* EndpointMapper.lookup(mapper).pipe(
        Stream.runForEach(() => Effect.never),
        Effect.forkChild({ startImmediately: true })
      )
      assert.strictEqual(open.size, 1)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(open.size, 0)
      assert.strictEqual((yield* Stream.runCollect(EndpointMapper.lookup(mapper))).length, 150)
      assert.strictEqual(open.size, 0)
      // More towers than a client asks for.
      assert.strictEqual((yield* EndpointMapper.map(mapper, IDesk)).length, 16)
      assert.strictEqual(open.size, 0)
    }))

  it.effect("lookup ends early: the mapper is told", () =>
    Effect.gen(function* () {
      const given: Array<LookupHandle> = []
      const freed: Array<LookupHandle> = []
      const mapper = yield* fake({
        ept_lookup: ({ entry_handle }, call) =>
          Effect.map(going(call, entry_handle), (entry_handle) => {
            given.push(entry_handle)
            return { entry_handle, entries: { size: 100, elements: four }, status: ok }
          }),
        ept_lookup_handle_free: freeing(freed)
      })
      const entries = yield* EndpointMapper.lookup(mapper).pipe(Stream.take(6), Stream.runCollect)
      assert.deepStrictEqual([entries.length, given, freed], [6, [freed[0]!, freed[0]!], [freed[0]!]])
    }))

  it.effect("lookup ends early, the mapper gives the handle back as Samba does: the client forgets the handle", () =>
    Effect.gen(function* () {
      const given: Array<LookupHandle> = []
      const mapper = yield* fake({
        ept_lookup: ({ entry_handle }, call) =>
          Effect.map(going(call, entry_handle), (entry_handle) => {
            given.push(entry_handle)
            return { entry_handle, entries: { size: 100, elements: four }, status: ok }
          }),
        ept_lookup_handle_free: ({ entry_handle }) => Effect.succeed({ entry_handle, status: ok })
      })
      yield* EndpointMapper.lookup(mapper).pipe(Stream.take(1), Stream.runDrain)
      assert.deepStrictEqual(yield* fault(page(mapper, { entry_handle: given[0]! })), ["NullContext", undefined])
    }))

  it.effect("lookup unknown to the mapper: fails", () =>
    Effect.gen(function* () {
      const mapper = yield* fake({
        ept_lookup: ({ entry_handle }, call) =>
          entry_handle === null
            ? Effect.map(going(call), (entry_handle) => ({
              entry_handle,
              entries: { size: 100, elements: four },
              status: ok
            }))
            : Effect.fail(new Status.RpcFault({ code: 6 })),
        ept_lookup_handle_free: freeing([])
      })
      assert.deepStrictEqual(yield* fault(Stream.runCollect(EndpointMapper.lookup(mapper))), contextMismatch)
    }))

  it.effect("last page with entries and the status of the end, as Samba sends it: its entries count", () =>
    Effect.gen(function* () {
      const mapper = yield* fake({
        ept_lookup: () =>
          Effect.succeed({ entry_handle: null, entries: { size: 100, elements: four }, status: nothing })
      })
      assert.strictEqual((yield* Stream.runCollect(EndpointMapper.lookup(mapper))).length, 4)
    }))

  it.effect("mapper gives empty pages without end: the lookup ends", () =>
    Effect.gen(function* () {
      const mapper = yield* fake({
        ept_lookup: (_, call) =>
          Effect.map(going(call), (entry_handle) => ({
            entry_handle,
            entries: { size: 100, elements: [] },
            status: ok
          })),
        ept_lookup_handle_free: freeing([])
      })
      assert.deepStrictEqual(yield* Stream.runCollect(EndpointMapper.lookup(mapper)), [])
    }))

  it.effect("entries with unreadable towers: are left out, with a warning", () =>
    Effect.gen(function* () {
      const logged: Array<string> = []
      const logger = Logger.make(({ message }) => void logged.push(String(message)))
      const elements = [
        { ...four[0]!, tower: null, annotation: "one" },
        four[1]!,
        { ...four[2]!, tower: { tower_octet_string: Uint8Array.of(9, 9) }, annotation: "two" }
      ]
      const mapper = yield* fake({
        ept_lookup: () => Effect.succeed({ entry_handle: null, entries: { size: 100, elements }, status: ok })
      })
      const entries = yield* Stream.runCollect(EndpointMapper.lookup(mapper)).pipe(
        Effect.provide(Logger.layer([logger]))
      )
      assert.deepStrictEqual(entries.map(({ tower }) => Tower.print(tower)), [second])
      assert.strictEqual(logged.length, 2)
      assert.include(logged[0]!, '"one": Invalid tower: it has no number of floors.')
      assert.include(logged[1]!, '"two": Invalid tower: floor 1 is cut off.')
    }))

  it.effect("mapper refuses a lookup: it fails with the mapper's status", () =>
    Effect.gen(function* () {
      const mapper = yield* fake({
        ept_lookup: () =>
          Effect.succeed({ entry_handle: null, entries: { size: 100, elements: [] }, status: cannotPerform })
      })
      assert.deepStrictEqual(yield* fault(Stream.runCollect(EndpointMapper.lookup(mapper))), [
        "RpcFault",
        cannotPerform
      ])
    }))

  it.effect("lookup ends early, the mapper is silent: waits a second at most", () =>
    Effect.gen(function* () {
      let kept: LookupHandle = null
      const mapper = yield* fake({
        ept_lookup: (_, call) =>
          Effect.map(going(call), (entry_handle) => {
            kept = entry_handle
            return { entry_handle, entries: { size: 100, elements: four }, status: ok }
          }),
        ept_lookup_handle_free: () => Effect.never
      })
      const fiber = yield* EndpointMapper.lookup(mapper).pipe(Stream.take(1), Stream.runCollect, Effect.forkChild)
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* Fiber.join(fiber)).length, 1)
      // The client has forgotten the handle, so that no connection is kept for it.
      assert.deepStrictEqual(yield* fault(page(mapper, { entry_handle: kept })), ["NullContext", undefined])
    }))
})

describe("map", () => {
  wire(
    "map: gives the string bindings of an interface in the transfer syntax that a client proposes",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      yield* insert(mapper, [
        entry(clock(1, 2), "ncacn_ip_tcp:[1]"),
        entry(clock(1, 2), "ncacn_ip_tcp:10.0.0.1[2]"),
        entry(clock(1, 2), "ncalrpc:[clock]"),
        entry(clock(1, 2), "ncacn_ip_tcp:[3]", { object: kitchen }),
        { object: nil, tower: towerOf(IFiles, "ncacn_ip_tcp:[4]", binary.id), annotation: "" }
      ])
      const iface = clock(1, 1)
      assert.deepStrictEqual(yield* EndpointMapper.map(mapper, iface), [
        parsed("ncacn_ip_tcp:[1]"),
        parsed("ncacn_ip_tcp:10.0.0.1[2]")
      ])
      assert.deepStrictEqual(yield* EndpointMapper.map(mapper, iface, { protocol: "ncalrpc" }), [
        parsed("ncalrpc:[clock]")
      ])
      assert.deepStrictEqual(yield* EndpointMapper.map(mapper, iface, { object: kitchen }), [
        parsed("ncacn_ip_tcp:[3]")
      ])
      assert.deepStrictEqual(yield* EndpointMapper.map(mapper, IFiles), [parsed("ncacn_ip_tcp:[4]")])
    })
  )

  wire(
    "map, nobody registered: fails with 1753 and what to do",
    Effect.gen(function* () {
      const mapper = yield* serveMapper()
      yield* insert(mapper, [entry(clock(1, 2), "ncacn_ip_tcp:[1]")])
      const error = yield* Effect.flip(EndpointMapper.map(mapper, clock(1, 3)))
      assert.strictEqual(error._tag, "EndpointNotRegistered")
      assert.strictEqual(
        error.message,
        `No endpoint is registered for the interface Clock (${uuids.clock}): the endpoint mapper knows no server of version 1.3 ` +
          "for ncacn_ip_tcp. Start its server and register it with the endpoint mapper, or name its endpoint in the string binding. (EndpointNotRegistered)"
      )
    })
  )

  it.effect("map, towers that lead nowhere and a mapper that has more: leaves them out, and frees the handle", () =>
    Effect.gen(function* () {
      const freed: Array<LookupHandle> = []
      let status = ok
      const mapper = yield* fake({
        ept_map: ({ max_towers }, call) =>
          Effect.map(going(call), (entry_handle) => ({
            entry_handle,
            towers: {
              size: max_towers,
              elements: [
                null,
                { tower_octet_string: Uint8Array.of(1) },
                towerOf(IDesk, "ncacn_ip_tcp:10.0.0.1"),
                towerOf(IDesk, "ncalrpc:[desk]"),
                ...(status === ok ? [towerOf(IDesk, "ncacn_ip_tcp:[7]")] : [])
              ]
            },
            status
          })),
        ept_lookup_handle_free: freeing(freed)
      })
      assert.deepStrictEqual(yield* EndpointMapper.map(mapper, IDesk), [parsed("ncacn_ip_tcp:[7]")])
      assert.strictEqual(freed.length, 1)
      status = nothing
      assert.strictEqual((yield* Effect.flip(EndpointMapper.map(mapper, IDesk)))._tag, "EndpointNotRegistered")
      status = cannotPerform
      assert.deepStrictEqual(yield* fault(EndpointMapper.map(mapper, IDesk)), ["RpcFault", cannotPerform])
      assert.strictEqual(new Set(freed).size, 3)
    }))

  it.effect("map interrupted while it frees the handle: forgets the handle", () =>
    Effect.gen(function* () {
      let kept: LookupHandle = null
      const mapper = yield* fake({
        ept_map: ({ max_towers }, call) =>
          Effect.map(going(call), (entry_handle) => {
            kept = entry_handle
            return { entry_handle, towers: { size: max_towers, elements: [] }, status: ok }
          }),
        ept_lookup_handle_free: () => Effect.never
      })
      const mapping = yield* Effect.forkChild(EndpointMapper.map(mapper, IDesk), { startImmediately: true })
      assert.isNotNull(kept)
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(mapping))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(yield* fault(page(mapper, { entry_handle: kept })), ["NullContext", undefined])
    }))

  it.effect("map, the mapper refuses a handle that it never got: fails", () =>
    Effect.gen(function* () {
      const mapper = yield* fake({ ept_map: () => Effect.fail(new Status.RpcFault({ code: 6 })) })
      assert.deepStrictEqual(yield* fault(EndpointMapper.map(mapper, IDesk)), ["RpcFault", 6])
    }))
})

// ----------------------------------------------------------------------------
// servers
// ----------------------------------------------------------------------------

const tcp = <E>(name: string, test: Effect.Effect<unknown, E, Scope.Scope | Transport.Transport>) =>
  it.effect(name, () => Effect.provide(test, NodeTransport.layer))

const localMapper = Effect.gen(function* () {
  const server = yield* Server.make([yield* EndpointMapper.makeManager()], { grace: 0 })
  return yield* Binding.local(server, IEndpointMapper)
})

const serveClock = Effect.gen(function* () {
  const now = () => Effect.succeed({ now: 7 })
  const server = yield* Server.make([
    Manager.make(clock(1, 0), { Now: now }),
    Manager.make(clock(1, 1), { Now: now }, { object: kitchen }),
    Manager.make(IFiles, { Read: (name) => Effect.succeed(name) })
  ], { grace: 0 })
  const { address } = yield* Endpoint.serve(server, "ncacn_ip_tcp:127.0.0.1[0]")
  return [server, address] as const
})

describe("register", () => {
  tcp(
    "register: registers every interface of an endpoint until the scope closes",
    Effect.gen(function* () {
      const mapper = yield* localMapper
      const [server, address] = yield* serveClock
      const scope = yield* Scope.fork(yield* Effect.scope)
      yield* Scope.provide(EndpointMapper.register(mapper, server, address), scope)
      const entries = yield* Stream.runCollect(EndpointMapper.lookup(mapper))
      assert.deepStrictEqual(
        entries.map(({ annotation, interface: { uuid, version }, object, transferSyntax }) => [
          uuid,
          version,
          object,
          transferSyntax,
          annotation
        ]),
        [
          [uuids.clock, [1, 0], undefined, ndr20.id, "Clock"],
          [uuids.clock, [1, 1], kitchen, ndr20.id, "Clock"],
          [uuids.files, [1, 0], undefined, binary.id, "Files"]
        ]
      )
      for (const { binding } of entries) assert.deepStrictEqual(binding, address)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* Stream.runCollect(EndpointMapper.lookup(mapper)), [])
    })
  )

  tcp(
    "register: replaces the entries of an earlier run, unless it is told not to",
    Effect.gen(function* () {
      const mapper = yield* localMapper
      const [one, two, three] = [yield* serveClock, yield* serveClock, yield* serveClock]
      const ports = Effect.map(
        EndpointMapper.map(mapper, clock(1, 0)),
        (bindings) => bindings.map(({ endpoint }) => endpoint)
      )
      const scope = yield* Scope.fork(yield* Effect.scope)
      yield* Scope.provide(EndpointMapper.register(mapper, ...one), scope)
      yield* EndpointMapper.register(mapper, ...two)
      assert.deepStrictEqual(yield* ports, [two[1].endpoint])
      yield* EndpointMapper.register(mapper, ...three, { replace: false, annotation: "the third" })
      assert.deepStrictEqual(yield* ports, [two[1].endpoint, three[1].endpoint])
      // The end of the first does not concern those after it.
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* ports, [two[1].endpoint, three[1].endpoint])
      const entries = yield* Stream.runCollect(EndpointMapper.lookup(mapper, { object: kitchen }))
      assert.deepStrictEqual(entries.map(({ annotation }) => annotation), ["Clock", "the third"])
    })
  )

  wire(
    "register with an address without a tower: is refused; server without interfaces: nothing to do",
    Effect.gen(function* () {
      const mapper = yield* localMapper
      const desk = yield* Server.make([Manager.make(IDesk, { Now: () => Effect.succeed({ now: 1 }) })])
      const error = yield* Effect.flip(EndpointMapper.register(mapper, desk, parsed("ncacn_memory:[desk]")))
      assert.strictEqual(error._tag, "TowerError")
      assert.strictEqual((error as Tower.TowerError).status, 1703)
      yield* EndpointMapper.register(mapper, yield* Server.make([]), parsed("ncacn_memory:[nothing]"))
    })
  )

  it.effect("register interrupted before the mapper has answered: leaves nothing behind", () =>
    Effect.gen(function* () {
      const [server, address] = yield* serveClock
      const registered: Array<string> = []
      const slow = yield* fake({
        ept_insert: ({ entries }) => {
          registered.push(...entries.map(({ tower }) => whereOf(tower)))
          return Effect.never
        },
        ept_delete: ({ entries }) => {
          for (const { tower } of entries) registered.splice(registered.indexOf(whereOf(tower)), 1)
          return Effect.succeed({ status: ok })
        }
      })
      const registering = yield* Effect.forkChild(Effect.scoped(EndpointMapper.register(slow, server, address)), {
        startImmediately: true
      })
      assert.strictEqual(registered.length, 3)
      yield* Fiber.interrupt(registering)
      assert.deepStrictEqual(registered, [])
    }).pipe(Effect.provide(NodeTransport.layer)))

  it.effect("register refused: fails; mapper gone: the end of the scope waits a second at most", () =>
    Effect.gen(function* () {
      const [server, address] = yield* serveClock
      const full = yield* fake({
        ept_insert: () => Effect.succeed({ status: cannotPerform }),
        ept_delete: () => Effect.never
      })
      const scope = yield* Scope.make()
      assert.deepStrictEqual(
        yield* fault(Scope.provide(EndpointMapper.register(full, server, address), scope)),
        ["RpcFault", cannotPerform]
      )
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(closing)
    }).pipe(Effect.provide(NodeTransport.layer)))
})

// ----------------------------------------------------------------------------
// string bindings without an endpoint
// ----------------------------------------------------------------------------

/** TCP and local RPC in memory, on which every host name and address is one host; and where its clients have dialled. */
const makeNetwork = Effect.gen(function* () {
  const memory = yield* Transport.Transport
  const dialled: Array<string> = []
  const inMemory = ({ endpoint, protocol }: StringBinding.StringBinding) =>
    parsed(`ncacn_memory:[${protocol} ${endpoint}]`)
  const transport: Transport.Transport = {
    protocols: ["ncacn_ip_tcp", "ncalrpc"],
    connect: (binding) => {
      dialled.push(StringBinding.print(binding))
      return memory.connect(inMemory(binding))
    },
    listen: (binding, handler) =>
      Effect.map(memory.listen(inMemory(binding), handler), (listener) => ({ ...listener, address: binding }))
  }
  return { dialled, transport }
}).pipe(Effect.provide(Memory.layer))

/** A host with an endpoint mapper; `asked` counts how often it was asked for an endpoint. */
const makeHost = (mapperAt = "ncacn_ip_tcp:[135]") =>
  Effect.gen(function* () {
    let asked = 0
    const manager = Manager.middleware(yield* EndpointMapper.makeManager(), (routine, call) => {
      if (ServerCall.operation(call).name === "ept_map") asked++
      return routine
    })
    const mappers = yield* Server.make([manager], { grace: 0 })
    yield* Endpoint.serve(mappers, mapperAt)
    const mapper = yield* Binding.local(mappers, IEndpointMapper)
    /** Serves the clock, which tells `now`, until `stop`. */
    const serve = (
      binding: string,
      now: number,
      options: { readonly object?: string; readonly stays?: boolean } = {}
    ) =>
      Effect.gen(function* () {
        const scope = yield* Scope.fork(yield* Effect.scope)
        const server = yield* Server.make([
          Manager.make(clock(1, 2), { Now: () => Effect.succeed({ now }) }, options),
          Manager.make(IDesk, { Now: () => Effect.succeed({ now: 0xffffffff }) })
        ], { grace: 0 })
        const { address } = yield* Scope.provide(Endpoint.serve(server, binding), scope)
        const registered = EndpointMapper.register(mapper, server, address, { replace: false })
        yield* options.stays === true ? registered : Scope.provide(registered, scope)
        // Its clients learn of it.
        return Effect.andThen(Scope.close(scope, Exit.void), Effect.repeat(Effect.yieldNow, { times: 30 }))
      })
    return { asked: () => asked, mapper, serve }
  })

const now = (binding: Binding.Binding<ReturnType<typeof clock>>) =>
  Effect.map(Call.invoke(binding, "Now"), ({ now }) => now)

/** What happens on a network of its own. */
const onNetwork = <E>(
  name: string,
  test: (dialled: Array<string>) => Effect.Effect<unknown, E, Scope.Scope | Transport.Transport>
) =>
  it.effect(
    name,
    () =>
      Effect.flatMap(makeNetwork, ({ dialled, transport }) =>
        Effect.provideService(test(dialled), Transport.Transport, transport))
  )

describe("a string binding without an endpoint", () => {
  onNetwork(
    "no endpoint in the string binding: the host's endpoint mapper names it, at the host that the client knows",
    (dialled) =>
      Effect.gen(function* () {
        const host = yield* makeHost()
        yield* host.serve("ncacn_ip_tcp:10.0.0.1[4001]", 7)
        assert.strictEqual(yield* now(yield* Association.bind(clock(1, 1), "ncacn_ip_tcp:server.example")), 7)
        assert.strictEqual(yield* now(yield* Association.bind(clock(1, 2), "ncacn_ip_tcp:fe80::1")), 7)
        assert.deepStrictEqual(dialled, [
          "ncacn_ip_tcp:server.example[135]",
          "ncacn_ip_tcp:server.example[4001]",
          "ncacn_ip_tcp:fe80::1[135]",
          "ncacn_ip_tcp:fe80::1[4001]"
        ])
      })
  )

  onNetwork("no endpoint, local RPC: the mapper is asked too", (dialled) =>
    Effect.gen(function* () {
      const host = yield* makeHost("ncalrpc:[EPMAPPER]")
      yield* host.serve("ncalrpc:[clock]", 7)
      assert.strictEqual(yield* now(yield* Association.bind(clock(1, 0), "ncalrpc:")), 7)
      assert.deepStrictEqual(dialled, ["ncalrpc:[EPMAPPER]", "ncalrpc:[clock]"])
    }))

  onNetwork("no endpoint, mapper named by the options: that mapper is asked", (dialled) =>
    Effect.gen(function* () {
      const host = yield* makeHost("ncacn_ip_tcp:[8135]")
      yield* host.serve("ncacn_ip_tcp:[4001]", 7)
      const bind = (endpointMapper: string) => Association.bind(clock(1, 0), "ncacn_ip_tcp:server", { endpointMapper })
      assert.strictEqual(yield* now(yield* bind("ncacn_ip_tcp:mapper[8135]")), 7)
      assert.strictEqual((yield* Effect.flip(bind("ncacn_ip_tcp:mapper")))._tag, "RpcTransportError")
      assert.deepStrictEqual(dialled, [
        "ncacn_ip_tcp:mapper[8135]",
        "ncacn_ip_tcp:server[4001]",
        "ncacn_ip_tcp:mapper[135]"
      ])
      assert.strictEqual((yield* Effect.flip(bind("mapper")))._tag, "StringBindingError")
    }))

  onNetwork("no endpoint, interface of the mapper itself: leads to the mapper", (dialled) =>
    Effect.gen(function* () {
      const host = yield* makeHost()
      yield* host.serve("ncacn_ip_tcp:[4001]", 7)
      const mapper = yield* Association.bind(IEndpointMapper, "ncacn_ip_tcp:server")
      assert.strictEqual((yield* Stream.runCollect(EndpointMapper.lookup(mapper))).length, 2)
      assert.deepStrictEqual(dialled, ["ncacn_ip_tcp:server[135]"])
    }))

  onNetwork("no endpoint, call of an object: finds the server of that object", () =>
    Effect.gen(function* () {
      const host = yield* makeHost()
      yield* host.serve("ncacn_ip_tcp:[4001]", 1)
      yield* host.serve("ncacn_ip_tcp:[4002]", 2, { object: kitchen })
      assert.strictEqual(yield* now(yield* Association.bind(clock(1, 0), "ncacn_ip_tcp:server")), 1)
      assert.strictEqual(yield* now(yield* Association.bind(clock(1, 0), `${kitchen}@ncacn_ip_tcp:server`)), 2)
      const optional = yield* Association.bind(clock(1, 0), "ncacn_ip_tcp:server", { object: kitchen.toUpperCase() })
      assert.strictEqual(yield* now(optional), 2)
    }))

  onNetwork(
    "no endpoint, nobody registered: 1753; no endpoint mapper: 1722",
    () =>
      Effect.gen(function* () {
        const missing = yield* Effect.flip(Association.bind(IDesk, "ncacn_ip_tcp:server"))
        assert.strictEqual(
          missing.message,
          "RPC_S_SERVER_UNAVAILABLE: the endpoint is not known, and the endpoint mapper can't be asked for it: nobody listens on " +
            "ncacn_memory:[ncacn_ip_tcp 135]. The call was not executed; it can be made again. (RpcTransportError)"
        )
        const host = yield* makeHost()
        const error = yield* Effect.flip(Association.bind(IDesk, "ncacn_ip_tcp:server"))
        assert.strictEqual(error._tag, "EndpointNotRegistered")
        yield* host.serve("ncacn_ip_tcp:[4001]", 1)
        yield* Association.bind(IDesk, "ncacn_ip_tcp:server")
        assert.strictEqual(
          (yield* Effect.flip(Association.bind(clock(1, 3), "ncacn_ip_tcp:server")))._tag,
          "EndpointNotRegistered"
        )
      })
  )

  onNetwork(
    "no endpoint, another program in the mapper's place: 1722",
    () =>
      Effect.gen(function* () {
        yield* Endpoint.serve(yield* Server.make([]), "ncacn_ip_tcp:[135]")
        const error = yield* Effect.flip(Association.bind(IDesk, "ncacn_ip_tcp:server"))
        assert.strictEqual(error._tag, "RpcTransportError")
        assert.include(error.message, "can't be asked for it: The server does not know the interface epmapper")
      })
  )

  onNetwork(
    "endpoint found: is kept while it leads to the server, and looked up again where it is refused",
    (dialled) =>
      Effect.gen(function* () {
        const host = yield* makeHost()
        let stop = yield* host.serve("ncacn_ip_tcp:[4001]", 1)
        const binding = yield* Association.bind(clock(1, 0), "ncacn_ip_tcp:server")
        assert.strictEqual(yield* now(binding), 1)
        // Another run of the server on the same port: nobody is asked.
        yield* stop
        stop = yield* host.serve("ncacn_ip_tcp:[4001]", 2)
        assert.strictEqual(yield* now(binding), 2)
        assert.strictEqual(host.asked(), 1)
        // One on another port.
        yield* stop
        stop = yield* host.serve("ncacn_ip_tcp:[4002]", 3)
        dialled.length = 0
        assert.strictEqual(yield* now(binding), 3)
        assert.strictEqual(host.asked(), 2)
        assert.deepStrictEqual(dialled, [
          "ncacn_ip_tcp:server[4001]",
          "ncacn_ip_tcp:server[135]",
          "ncacn_ip_tcp:server[4002]"
        ])
        // None at all: the call fails, and the next one finds the server that has come.
        yield* stop
        const error = yield* Effect.flip(now(binding))
        assert.strictEqual(error._tag, "RpcTransportError")
        assert.include(error.message, "No endpoint is registered for the interface Clock")
        yield* host.serve("ncacn_ip_tcp:[4003]", 4)
        assert.strictEqual(yield* now(binding), 4)
      })
  )

  onNetwork(
    "endpoints of dead servers, and ports taken by others: are passed over",
    (dialled) =>
      Effect.gen(function* () {
        const host = yield* makeHost()
        yield* yield* host.serve("ncacn_ip_tcp:[4001]", 1, { stays: true })
        yield* yield* host.serve("ncacn_ip_tcp:[4002]", 2, { stays: true })
        yield* host.serve("ncacn_ip_tcp:[4003]", 3)
        yield* Endpoint.serve(yield* Server.make([]), "ncacn_ip_tcp:[4002]")
        assert.strictEqual(yield* now(yield* Association.bind(clock(1, 0), "ncacn_ip_tcp:server")), 3)
        assert.deepStrictEqual(dialled.map((text) => text.slice(-5)), ["[135]", "4001]", "4002]", "4003]"])
      })
  )

  onNetwork("every endpoint leads nowhere: fails as the last one", () =>
    Effect.gen(function* () {
      const host = yield* makeHost()
      yield* yield* host.serve("ncacn_ip_tcp:[4001]", 1, { stays: true })
      yield* yield* host.serve("ncacn_ip_tcp:[4002]", 2, { stays: true })
      const error = yield* Effect.flip(Association.bind(clock(1, 0), "ncacn_ip_tcp:server"))
      assert.strictEqual(error._tag, "RpcTransportError")
      assert.include(error.message, "nobody listens on ncacn_memory:[ncacn_ip_tcp 4002]")
    }))

  onNetwork("no endpoint, several interfaces: one association serves them", (dialled) =>
    Effect.gen(function* () {
      const host = yield* makeHost()
      yield* host.serve("ncacn_ip_tcp:[4001]", 1)
      const association = yield* Association.make("ncacn_ip_tcp:server")
      const clocks = yield* Association.bind(clock(1, 0), association)
      const desk = yield* Association.bind(IDesk, association)
      assert.deepStrictEqual([yield* now(clocks), (yield* Call.invoke(desk, "Now")).now], [1, 0xffffffff])
      assert.strictEqual(dialled.length, 2)
    }))

  onNetwork("lookup of the endpoint: counts towards the connect timeout", () =>
    Effect.gen(function* () {
      const transport = yield* Transport.Transport
      yield* transport.listen(parsed("ncacn_ip_tcp:[135]"), () => Effect.never)
      const options = { connectTimeout: "3 seconds" } as const
      const binding = yield* Effect.forkChild(Effect.flip(Association.bind(IDesk, "ncacn_ip_tcp:server", options)))
      yield* TestClock.adjust("2999 millis")
      assert.isUndefined(binding.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(binding)
      assert.include(error.message, "connecting took longer than connectTimeout (3000 ms)")
    }))

  onNetwork("endpoint that answers no more: is looked up again", () =>
    Effect.gen(function* () {
      const host = yield* makeHost()
      const stop = yield* host.serve("ncacn_ip_tcp:[4001]", 1)
      const options = { connectTimeout: "3 seconds" } as const
      const binding = yield* Association.bind(clock(1, 0), "ncacn_ip_tcp:server", options)
      yield* stop
      const transport = yield* Transport.Transport
      yield* transport.listen(parsed("ncacn_ip_tcp:[4001]"), () => Effect.never)
      yield* host.serve("ncacn_ip_tcp:[4002]", 2)
      const call = yield* Effect.forkChild(Effect.flip(now(binding)))
      yield* TestClock.adjust("5 seconds")
      assert.include((yield* Fiber.join(call)).message, "connecting took longer than connectTimeout (3000 ms)")
      assert.strictEqual(host.asked(), 1)
      assert.strictEqual(yield* now(binding), 2)
      assert.strictEqual(host.asked(), 2)
    }))

  onNetwork("protocol sequence unknown to mappers: no lookup", () =>
    Effect.gen(function* () {
      yield* makeHost()
      const error = yield* Effect.flip(Association.bind(IDesk, "ncacn_ip_tls:server"))
      assert.strictEqual(error._tag, "RpcTransportError")
      assert.notInclude(error.message, "mapper")
    }))
})
