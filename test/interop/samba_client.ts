/**
 * Asks the endpoint mapper of Samba, and reaches one of Samba's services by its interface alone. The arguments are where the mapper is,
 * for instance behind a proxy, and its ncalrpc socket. Prints `ok NAME` or `not ok NAME: REASON` for each test.
 */
import { deepStrictEqual, match, ok } from "node:assert/strict"
import process from "node:process"
import { Call, type ContextHandle, Interface } from "@callisto/rpc"
import { Association, EndpointMapper, Tower } from "@callisto/rpc/dcerpc"
import { Ndr } from "@callisto/rpc/ndr"
import * as NodeTransport from "@callisto/rpc/node"
import { Cause, Effect, Result, Stream } from "effect"

type Page = Interface.Method.Out<EndpointMapper.Methods["ept_lookup"]>
type LookupHandle = ContextHandle.ContextHandle<"ept_lookup_handle_t"> | null

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
  const page = (entry_handle: LookupHandle, max_ents: number, by = mapper) =>
    Call.invoke(by, "ept_lookup", {
      inquiry_type: 0,
      object: null,
      interface_id: null,
      vers_option: 1,
      entry_handle,
      max_ents
    })
  const free = (entry_handle: LookupHandle) =>
    Call.invoke(mapper, "ept_lookup_handle_free", { entry_handle: entry_handle! })

  yield* test(
    "Samba's mapper: lists the endpoints",
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
    "one interface: Samba's mapper lists its endpoints",
    Effect.gen(function* () {
      const found = yield* listed({ interface: IServerService })
      deepStrictEqual(found.length, 3)
      for (const line of found) match(line, /^srvsvc nca/)
      deepStrictEqual(yield* listed({ interface: INobody }), [])
    })
  )
  yield* test(
    "pages: Samba's context handle stays the same until it is null",
    Effect.gen(function* () {
      const all = yield* listed()
      const paged: Array<string> = []
      const handles: Array<LookupHandle> = []
      let handle: LookupHandle = null
      do {
        const next: Page = yield* page(handle, 4)
        deepStrictEqual(next.entries.size, 4)
        paged.push(...next.entries.elements.map(({ annotation }) => annotation))
        handle = next.entry_handle
        handles.push(handle)
      } while (handle !== null)
      deepStrictEqual(paged, all.map((line) => line.slice(0, line.indexOf(" "))))
      ok(handles.length > 3, `there are ${handles.length} pages`)
      deepStrictEqual(new Set(handles.slice(0, -1)).size, 1)
    })
  )
  yield* test(
    "two lookups at a time: both work",
    Effect.gen(function* () {
      const names = ({ entries }: Page) =>
        entries.elements.map(({ annotation, tower }) =>
          `${annotation} ${Tower.print(Result.getOrThrow(Tower.decode(tower!.tower_octet_string)))}`
        )
      const all = yield* listed()
      const [one, two] = [yield* page(null, 1), yield* page(null, 2)]
      ok(one.entry_handle !== two.entry_handle)
      deepStrictEqual(names(yield* page(one.entry_handle, 2)), all.slice(1, 3))
      deepStrictEqual(names(yield* page(two.entry_handle, 3)), all.slice(2, 5))
      yield* free(one.entry_handle)
      deepStrictEqual(names(yield* page(two.entry_handle, 1)), all.slice(5, 6))
      yield* free(two.entry_handle)
    })
  )
  yield* test(
    "lookup ended early: Samba does not know its handle any more",
    Effect.gen(function* () {
      const { entry_handle } = yield* page(null, 1)
      deepStrictEqual((yield* page(entry_handle, 1)).entry_handle, entry_handle)
      // Samba gives the handle back where others give null.
      deepStrictEqual((yield* free(entry_handle)).status, 0)
      deepStrictEqual((yield* Effect.flip(page(entry_handle, 1)))._tag, "ContextMismatch")
      deepStrictEqual((yield* Effect.flip(free(entry_handle)))._tag, "ContextMismatch")
    })
  )
  yield* test(
    "handle of another client: Samba does not know it",
    Effect.gen(function* () {
      const other = yield* Association.bind(EndpointMapper.IEndpointMapper, mapperAt!)
      const { entry_handle } = yield* page(null, 1)
      deepStrictEqual((yield* Effect.flip(page(entry_handle, 1, other)))._tag, "ContextMismatch")
      deepStrictEqual((yield* page(entry_handle, 1)).entries.elements.length, 1)
      yield* free(entry_handle)
    }).pipe(Effect.scoped)
  )
  yield* test("service named by its interface alone: is reached", invokeService())
  yield* test("service, named endpoint mapper: is reached", invokeService(mapperAt))
  yield* test("service, the endpoint mapper's Unix socket: is reached", invokeService(`ncalrpc:[${socket}]`))
  yield* test(
    "interface that nobody serves: the client is told",
    Effect.gen(function* () {
      deepStrictEqual((yield* Effect.flip(Association.bind(INobody, host)))._tag, "EndpointNotRegistered")
    })
  )
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

await Effect.runPromise(program)
