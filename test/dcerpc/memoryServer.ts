/** A server in a process of its own, which tells what it holds: `look` prints that as a line of JSON, `go` lets the calls end that wait. */
import { Deferred, Effect, type Layer } from "effect"
import process from "node:process"
import { createInterface } from "node:readline"
import v8 from "node:v8"
import vm from "node:vm"
import { Interface, Manager, Server } from "../../mod.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Ndr from "../../src/ndr/Ndr.ts"
import * as NodeTransport from "../../src/node.ts"

const IHold = Interface.make("IHold", {
  uuid: "2f6a1f0e-6c1b-4b8e-9d43-5a0c7e9b1d02",
  version: [1, 0],
  methods: {
    /** Waits for `go`, and gives so many bytes. */
    Wait: Interface.method({
      in: { len: Ndr.sizeIs("data"), data: Ndr.Bytes, size: Ndr.Uint32 },
      out: { len: Ndr.sizeIs("data"), data: Ndr.Bytes }
    }),
    /** Gives so many bytes at once. */
    Source: Interface.method({ in: { size: Ndr.Uint32 }, out: { len: Ndr.sizeIs("data"), data: Ndr.Bytes } })
  }
})

const findGc = (): () => void => {
  const { Bun, gc } = globalThis as { gc?: () => void; Bun?: { gc: (force: boolean) => void } }
  if (gc !== undefined) return gc
  if (Bun !== undefined) return () => Bun.gc(true)
  v8.setFlagsFromString("--expose-gc")
  return vm.runInNewContext("gc") as () => void
}

const collect = findGc()

const look = (endpoint: Endpoint.Endpoint, server: Server.Server) =>
  Effect.gen(function* () {
    for (let i = 0; i < 3; i++) {
      collect()
      yield* Effect.sleep(20)
    }
    const { external, heapUsed, rss } = process.memoryUsage()
    // Bun counts what is beside the heap to the heap.
    const held = process.versions["bun"] === undefined ? heapUsed + external : heapUsed
    const { connections } = endpoint as unknown as { readonly connections: { readonly size: number } }
    const calls = (yield* Server.calls(server)).length
    console.log(JSON.stringify({ calls, connections: connections.size, held, rss }))
  })

const program = Effect.gen(function* () {
  let go = yield* Deferred.make<void>()
  const manager = Manager.make(IHold, {
    // The routine has its arguments for as long as it runs.
    Wait: ({ data, size }) => Effect.map(Deferred.await(go), () => ({ data: new Uint8Array(size).fill(data.length) })),
    Source: ({ size }) => Effect.succeed({ data: new Uint8Array(size) })
  })
  const server = yield* Server.make([manager], { grace: 0 })
  const endpoint = yield* Endpoint.make(server, JSON.parse(process.argv[2] ?? "{}") as Endpoint.Options)
  const { address } = yield* Endpoint.listen(endpoint, "ncacn_ip_tcp:127.0.0.1[0]")
  console.log(address.endpoint)
  const run = Effect.runForkWith(yield* Effect.context<never>())
  yield* Effect.callback<void>((resume) => {
    const lines = createInterface({ input: process.stdin })
    lines.on("line", (line) => {
      if (line === "look") run(look(endpoint, server))
      if (line === "go") {
        Deferred.doneUnsafe(go, Effect.void)
        go = Deferred.makeUnsafe()
      }
    })
    lines.on("close", () => resume(Effect.void))
  })
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer as Layer.Layer<never>))

await Effect.runPromise(program as Effect.Effect<void>)
process.exit(0)
