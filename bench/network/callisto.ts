// This library: an interface with an NDR form, and one that is described with ordinary schemas.
import { Effect, Schema, Scope, Stream, Tracer } from "effect"
import { type Binding, Call, Interface, Manager, Pipe, Server, ServerCall } from "../../mod.ts"
import { Association, Endpoint } from "../../src/dcerpc.ts"
import { Ndr } from "../../src/ndr.ts"
import * as NodeTransport from "../../src/node.ts"
import {
  chunksOf,
  type Contender,
  leavePending,
  makeClient,
  routines,
  sizeOf,
  timeCancels,
  timePipe
} from "./service.ts"

const makeInterface = (uuid: string, int: Schema.Int, bytes: Schema.Uint8Array) =>
  Interface.make("Measured", {
    uuid,
    version: [1, 0],
    methods: {
      AddOne: Interface.method({ in: int, out: int }),
      Echo: Interface.method({ in: bytes, out: bytes }),
      Wait: Interface.method({}),
      Started: Interface.method({ in: int }),
      Ended: Interface.method({ in: int }),
      Heap: Interface.method({ out: int }),
      Store: Interface.method({ inPipe: { content: Pipe.bytes }, out: int }),
      Load: Interface.method({ in: int, outPipe: { content: Pipe.bytes } })
    }
  })

type Measured = ReturnType<typeof makeInterface>

const makeManager = (iface: Measured) =>
  Manager.make(iface, {
    ...routines,
    Store: (_, call) => sizeOf(Pipe.toStream(ServerCall.inPipe(call, "content"))),
    Load: (bytes, call) => Stream.run(chunksOf(bytes), Pipe.toSink(ServerCall.outPipe(call, "content")))
  })

const clientOf = (binding: Binding.Binding<Measured>) => {
  const service = {
    AddOne: (n: number) => Call.invoke(binding, "AddOne", n),
    Echo: (bytes: Uint8Array) => Call.invoke(binding, "Echo", bytes),
    Wait: () => Call.invoke(binding, "Wait"),
    Started: (count: number) => Call.invoke(binding, "Started", count),
    Ended: (count: number) => Call.invoke(binding, "Ended", count)
  }
  const client = makeClient(service)
  return Effect.map(Effect.scope, (scope) => {
    const begin = Effect.flatMap(Call.make(binding), (call) => Call.begin(call, "Wait")).pipe(
      Effect.provideService(Scope.Scope, scope)
    )
    return {
      ...client,
      serverHeap: Call.invoke(binding, "Heap"),
      pipes: {
        in: timePipe((bytes) => Stream.run(chunksOf(bytes), Call.sink(binding, "Store"))),
        out: timePipe((bytes) => sizeOf(Call.stream(binding, "Load", bytes)))
      },
      cancels: {
        ...client.cancels,
        "cancelled, replies awaited": timeCancels(
          service,
          (count) => Effect.replicateEffect(begin, count),
          Effect.forEach(
            (pending) => Effect.andThen(Call.cancel(pending, { timeout: Infinity }), Effect.ignore(Call.join(pending))),
            { concurrency: "unbounded" }
          )
        )
      },
      leavePending: {
        ...client.leavePending,
        "on a call object": leavePending(
          service,
          () => Effect.map(begin, (pending) => Effect.runFork(Call.join(pending)))
        )
      }
    }
  })
}

const makeContender = (iface: Measured): Contender => ({
  serve: Effect.gen(function* () {
    const server = yield* Server.make([makeManager(iface)])
    const endpoint = yield* Endpoint.serve(server, "ncacn_ip_tcp:127.0.0.1[0]", { maximumCalls: 100_000 })
    return Number(endpoint.address.endpoint)
  }).pipe(Effect.provide(NodeTransport.layer)),
  connect: (port) =>
    Effect.flatMap(Association.bind(iface, `ncacn_ip_tcp:127.0.0.1[${port}]`), clientOf).pipe(
      Effect.provide(NodeTransport.layer)
    )
})

export const ndr = makeContender(makeInterface("3c1c8e5e-6c0b-4d5e-9a7e-0f5e2f7d9a01", Ndr.Uint32, Ndr.Bytes))

export const schemas = makeContender(
  makeInterface("3c1c8e5e-6c0b-4d5e-9a7e-0f5e2f7d9a02", Schema.Int, Schema.Uint8Array)
)

const tracer = Tracer.make({ span: (options) => new Tracer.NativeSpan(options) })

/** The same with a tracer on both sides. */
const traced = ({ connect, serve }: Contender): Contender => ({
  serve: Effect.withTracer(serve, tracer),
  connect: (port) =>
    Effect.map(Effect.withTracer(connect(port), tracer), ({ rate }) => ({
      rate: (options) => Effect.withTracer(rate!(options), tracer)
    }))
})

export const ndrTraced: Contender = traced(ndr)

export const schemasTraced: Contender = traced(schemas)
