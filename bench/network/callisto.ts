// This library: an interface with an NDR form, and one that is described with ordinary schemas.
import { Effect, Schema, Stream } from "effect"
import { type Binding, Call, Interface, Manager, Pipe, Server, ServerCall } from "../../mod.ts"
import { Association, Endpoint } from "../../src/dcerpc.ts"
import { Ndr } from "../../src/ndr.ts"
import * as NodeTransport from "../../src/node.ts"
import {
  chunksOf,
  type Contender,
  makeClient,
  routines,
  serviceOf,
  type Shares as SharesValue,
  sizeOf,
  timePipe
} from "./service.ts"
import { Shares } from "./shares.ts"

/** The types, which decide how the interface travels. */
interface Types {
  readonly int: Schema.Codec<number>
  readonly bytes: Schema.Codec<Uint8Array, any>
  readonly text: Schema.Codec<string>
  readonly shares: Schema.Codec<SharesValue, any>
}

const makeInterface = (uuid: string, { bytes, int, shares, text }: Types) =>
  Interface.make("Measured", {
    uuid,
    version: [1, 0],
    methods: {
      AddOne: Interface.method({ in: int, out: int }),
      Echo: Interface.method({ in: bytes, out: bytes }),
      EchoText: Interface.method({ in: text, out: text }),
      EchoShares: Interface.method({ in: shares, out: shares }),
      Wait: Interface.method({}),
      Started: Interface.method({ in: int }),
      Ended: Interface.method({ in: int }),
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

const clientOf = (binding: Binding.Binding<Measured>) => ({
  ...makeClient(
    serviceOf((method, argument): Effect.Effect<any, unknown> => Call.invoke(binding, method as "AddOne", argument))
  ),
  pipes: {
    in: timePipe((bytes) => Stream.run(chunksOf(bytes), Call.sink(binding, "Store"))),
    out: timePipe((bytes) => sizeOf(Call.stream(binding, "Load", bytes)))
  }
})

const makeContender = (iface: Measured): Contender => ({
  serve: Effect.gen(function* () {
    const server = yield* Server.make([makeManager(iface)])
    const endpoint = yield* Endpoint.serve(server, "ncacn_ip_tcp:127.0.0.1[0]", { maximumCalls: 100_000 })
    return Number(endpoint.address.endpoint)
  }).pipe(Effect.provide(NodeTransport.layer)),
  connect: (port) =>
    Effect.map(Association.bind(iface, `ncacn_ip_tcp:127.0.0.1[${port}]`), clientOf).pipe(
      Effect.provide(NodeTransport.layer)
    )
})

const count = Ndr.sizeIs("entries")
const Share0 = Ndr.struct({ name: Ndr.ref(Ndr.WString) })
const Share1 = Ndr.struct({ name: Ndr.ref(Ndr.WString), type: Ndr.Uint32, remark: Ndr.unique(Ndr.WString) })

const ndrShares = Ndr.struct({
  info: Ndr.union(Ndr.Uint32, {
    0: Ndr.struct({ count, entries: Ndr.unique(Ndr.conformant(Share0)) }),
    1: Ndr.struct({ count, entries: Ndr.unique(Ndr.conformant(Share1)) })
  }),
  total: Ndr.Uint32
})

export const ndr = makeContender(
  makeInterface("3c1c8e5e-6c0b-4d5e-9a7e-0f5e2f7d9a01", {
    int: Ndr.Uint32,
    bytes: Ndr.Bytes,
    text: Ndr.WString,
    shares: ndrShares
  })
)

export const schemas = makeContender(
  makeInterface("3c1c8e5e-6c0b-4d5e-9a7e-0f5e2f7d9a02", {
    int: Schema.Int,
    bytes: Schema.Uint8Array,
    text: Schema.String,
    shares: Shares
  })
)
