/** Serves our endpoint mapper and, on ports of their own, two servers that are registered there. Prints `listening BINDING`. */
import process from "node:process"
import { Binding, Interface, Manager, Server } from "@callisto/rpc"
import { Endpoint, EndpointMapper } from "@callisto/rpc/dcerpc"
import { Ndr } from "@callisto/rpc/ndr"
import { StringBinding } from "@callisto/rpc/transport"
import * as NodeTransport from "@callisto/rpc/node"
import { Console, Effect } from "effect"
import { rpcEcho } from "../../examples/rpcecho.ts"

const IClock = Interface.make("Clock", {
  uuid: "b5d3f7c1-2f64-4c46-8d55-0f3a9c1e7a21",
  version: [2, 3],
  methods: { Now: Interface.method({ out: { now: Ndr.Uint32 } }) }
})

const loopback = "ncacn_ip_tcp:127.0.0.1[0]"

const stopSignal = Effect.callback<void>((resume) => {
  process.once("SIGTERM", () => resume(Effect.void))
})

const program = Effect.gen(function* () {
  const mappers = yield* Server.make([yield* EndpointMapper.makeManager()])
  const { address } = yield* Endpoint.serve(mappers, loopback)
  const mapper = yield* Binding.local(mappers, EndpointMapper.IEndpointMapper)

  const echo = yield* Server.make([rpcEcho])
  yield* EndpointMapper.register(mapper, echo, (yield* Endpoint.serve(echo, loopback)).address, {
    annotation: "the echo of Callisto"
  })
  const clock = yield* Server.make([
    Manager.make(IClock, { Now: () => Effect.succeed({ now: 0 }) }, { object: "11111111-2222-4333-8444-555555555555" })
  ])
  yield* EndpointMapper.register(mapper, clock, (yield* Endpoint.serve(clock, loopback)).address)
  yield* EndpointMapper.register(mapper, echo, { protocol: "ncalrpc", address: "", endpoint: "echo", options: {} })

  yield* Console.log(`listening ${StringBinding.print(address)}`)
  yield* stopSignal
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

await Effect.runPromise(program)
