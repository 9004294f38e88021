/**
 * Asks the endpoint mapper of Samba, and reaches one of Samba's services by its interface alone. The arguments are where the mapper is,
 * for instance behind a proxy, and its ncalrpc socket. Prints `ok NAME` or `not ok NAME: REASON` for each test.
 */
import { deepStrictEqual, match, ok } from "node:assert/strict"
import process from "node:process"
import { Call, Interface } from "@callisto/rpc"
import { Association, EndpointMapper, Ndr, Tower } from "@callisto/rpc/dcerpc"
import * as NodeTransport from "@callisto/rpc/node"
import { Cause, Effect, Stream } from "effect"

const [, , mapperAt, socket] = process.argv
const host = "ncacn_ip_tcp:127.0.0.1"

const test = <E, R>(name: string, effect: Effect.Effect<void, E, R>) =>
  Effect.matchCause(effect, {
    onSuccess: () => console.log(`ok ${name}`),
    onFailure: (cause) => console.log(`not ok ${name}: ${Cause.pretty(cause).split("\n").slice(0, 3).join(" ")}`)
  })

// The server service, which anybody may ask for the time of day.
const IServerService = Interface.make("srvsvc", {
  uuid: "4b324fc8-1670-01d3-1278-5a47bf6ee188",
  version: [3, 0],
  methods: {
    NetRemoteTOD: Interface.method({
      opnum: 28,
      in: { server: Ndr.unique(Ndr.WString) },
      out: { info: Ndr.unique(Ndr.fixed(Ndr.Uint32, 12)), status: Ndr.Uint32 }
    })
  }
})

const INobody = Interface.make("nobody", {
  uuid: "0f9b1c8e-5f0b-4b57-9c39-0d6b1d6a8f11",
  version: [1, 0],
  methods: { Nothing: Interface.method({ in: Ndr.Uint32 }) }
})

const invokeService = (endpointMapper?: string) =>
  Effect.gen(function* () {
    const service = yield* Association.bind(
      IServerService,
      host,
      endpointMapper === undefined ? {} : { endpointMapper }
    )
    const { info, status } = yield* Call.invoke(service, "NetRemoteTOD", { server: null })
    const [seconds = 0] = info!
    deepStrictEqual(status, 0)
    ok(Math.abs(seconds - Date.now() / 1000) < 60, `${seconds} is not the time`)
  }).pipe(Effect.scoped)

const program = Effect.gen(function* () {
  const mapper = yield* Association.bind(EndpointMapper.IEndpointMapper, mapperAt!)
  const listed = (filter?: EndpointMapper.Filter) =>
    Effect.map(
      Stream.runCollect(EndpointMapper.lookup(mapper, filter)),
      (entries) => entries.map(({ annotation, tower }) => `${annotation} ${Tower.print(tower)}`)
    )
  const page = (entry_handle: Interface.Method.In<EndpointMapper.Methods["ept_lookup"]>["entry_handle"], max_ents: number) =>
    Call.invoke(mapper, "ept_lookup", {
      inquiry_type: 0,
      object: null,
      interface_id: null,
      vers_option: 1,
      entry_handle,
      max_ents
    })
  type LookupHandle = Interface.Method.In<EndpointMapper.Methods["ept_lookup"]>["entry_handle"]

  yield* test(
    "lists the endpoints",
    Effect.gen(function* () {
      const all = yield* listed()
      for (
        const expected of [
          "epmapper ncacn_ip_tcp:127.0.0.1[135]",
          "epmapper ncacn_http:[593]",
          "epmapper ncalrpc:[EPMAPPER]",
          "samr ncacn_np:[\\pipe\\samr]"
        ]
      ) {
        ok(all.includes(expected), `${expected} is not among ${all.join(", ")}`)
      }
    })
  )
  yield* test(
    "lists those of an interface",
    Effect.gen(function* () {
      const found = yield* listed({ interface: IServerService })
      deepStrictEqual(found.length, 3)
      for (const line of found) match(line, /^srvsvc nca/)
      deepStrictEqual(yield* listed({ interface: INobody }), [])
    })
  )
  yield* test(
    "goes from page to page",
    Effect.gen(function* () {
      const all = yield* listed()
      const paged: Array<string> = []
      let handle = nil
      do {
        const { entries, entry_handle } = yield* page(handle, 4)
        deepStrictEqual(entries.size, 4)
        paged.push(...entries.elements.map(({ annotation }) => annotation))
        handle = entry_handle
      } while (handle.uuid !== nil.uuid)
      deepStrictEqual(paged, all.map((line) => line.slice(0, line.indexOf(" "))))
    })
  )
  yield* test(
    "ends a lookup early",
    Effect.gen(function* () {
      const { entry_handle } = yield* page(nil, 1)
      deepStrictEqual((yield* Call.invoke(mapper, "ept_lookup_handle_free", { entry_handle })).status, 0)
      const error = yield* Effect.flip(page(entry_handle, 1))
      deepStrictEqual("code" in error && error.code, 0x1c00001a)
    })
  )
  yield* test("reaches a service by its interface alone", invokeService())
  yield* test("reaches it through the endpoint mapper that is named", invokeService(mapperAt))
  yield* test("reaches it through the endpoint mapper's Unix socket", invokeService(`ncalrpc:[${socket}]`))
  yield* test(
    "is told that nobody serves an interface",
    Effect.gen(function* () {
      deepStrictEqual((yield* Effect.flip(Association.bind(INobody, host)))._tag, "EndpointNotRegistered")
    })
  )
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

await Effect.runPromise(program)
