// A client finds two servers through an endpoint mapper, by their interfaces. The system chooses their ports.
// Run it: deno run -A examples/endpoint_mapper.ts (or: bun examples/endpoint_mapper.ts)
import process from "node:process"
import { Console, Effect, Stream } from "effect"
import { Call, Interface, Manager, Server } from "@callisto/rpc"
import { Association, Endpoint, EndpointMapper, Tower } from "@callisto/rpc/dcerpc"
import { Ndr } from "@callisto/rpc/ndr"
import { StringBinding } from "@callisto/rpc/transport"
import * as NodeTransport from "@callisto/rpc/node"

const IThermometer = Interface.make("Thermometer", {
  uuid: "5d1a6cf0-0f5e-4b0c-9f5c-6f2a2c8e7b02",
  version: [1, 0],
  methods: { Measure: Interface.method({ out: { celsius: Ndr.Double } }) }
})

const IClock = Interface.make("Clock", {
  uuid: "b5d3f7c1-2f64-4c46-8d55-0f3a9c1e7a21",
  version: [1, 0],
  methods: { Now: Interface.method({ out: { time: Ndr.WString } }) }
})

/** Serves a manager on a port that the system chooses, and registers it with the mapper until the scope closes. */
const serve = (manager: Manager.Manager<Interface.Interface.Any, never>, mapperAt: string) =>
  Effect.gen(function* () {
    const server = yield* Server.make([manager])
    const { address } = yield* Endpoint.serve(server, "ncacn_ip_tcp:127.0.0.1[0]")
    const mapper = yield* Association.bind(EndpointMapper.IEndpointMapper, mapperAt)
    yield* EndpointMapper.register(mapper, server, address)
    yield* Console.log(`${manager.interface.name} listens at ${StringBinding.print(address)}`)
  })

const program = Effect.gen(function* () {
  // The well-known port, 135, needs root. For another port clients have an option.
  const mappers = yield* Server.make([yield* EndpointMapper.makeManager()])
  const { address } = yield* Endpoint.serve(mappers, "ncacn_ip_tcp:127.0.0.1[0]")
  const endpointMapper = StringBinding.print(address)
  yield* Console.log(`The endpoint mapper listens at ${endpointMapper}`)

  yield* serve(Manager.make(IThermometer, { Measure: () => Effect.succeed({ celsius: 22.5 }) }), endpointMapper)
  yield* serve(
    Manager.make(IClock, { Now: () => Effect.sync(() => ({ time: new Date().toISOString() })) }),
    endpointMapper
  )

  // The client knows the host and the interface.
  const thermometer = Call.client(yield* Association.bind(IThermometer, "ncacn_ip_tcp:127.0.0.1", { endpointMapper }))
  yield* Console.log(`Measure: ${(yield* thermometer.Measure()).celsius} degrees`)
  const clock = Call.client(yield* Association.bind(IClock, "ncacn_ip_tcp:127.0.0.1", { endpointMapper }))
  yield* Console.log(`Now: ${(yield* clock.Now()).time}`)

  const mapper = yield* Association.bind(EndpointMapper.IEndpointMapper, endpointMapper)
  yield* Console.log("The mapper knows:")
  yield* EndpointMapper.lookup(mapper).pipe(
    Stream.runForEach(({ annotation, tower }) => Console.log(`  ${Tower.print(tower)} ${annotation}`))
  )
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

const main = Effect.catch(program, ({ message }) =>
  Effect.sync(() => {
    console.error(message)
    process.exitCode = 1
  }))

await Effect.runPromise(main)
