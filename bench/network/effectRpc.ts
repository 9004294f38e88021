// effect/rpc over its TCP socket, in its fastest form: no spans, no limit on concurrency, the flat client. JSON is
// faster for small messages, its binary form for large ones.
import * as NodeSocket from "@effect/platform-node-shared/NodeSocket"
import * as NodeSocketServer from "@effect/platform-node-shared/NodeSocketServer"
import { Effect, Layer, Schema } from "effect"
import { Rpc, RpcClient, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
import { SocketServer } from "effect/socket"
import { setMaxListeners } from "node:events"
import { chunksOf, type Contender, makeClient, routines, serviceOf, sizeOf, timePipe } from "./service.ts"
import { Shares } from "./shares.ts"

// Each write that waits for a full socket adds listeners to it.
setMaxListeners(0)

const group = RpcGroup.make(
  Rpc.make("AddOne", { payload: Schema.Int, success: Schema.Int }),
  Rpc.make("Echo", { payload: Schema.Uint8Array, success: Schema.Uint8Array }),
  Rpc.make("EchoText", { payload: Schema.String, success: Schema.String }),
  Rpc.make("EchoShares", { payload: Shares, success: Shares }),
  Rpc.make("Wait"),
  Rpc.make("Started", { payload: Schema.Int }),
  Rpc.make("Ended", { payload: Schema.Int }),
  Rpc.make("Load", { payload: Schema.Int, success: Schema.Uint8Array, stream: true })
)

const handlers = group.toLayer({ ...routines, Load: chunksOf })

const makeContender = (serialization: Layer.Layer<RpcSerialization.RpcSerialization>): Contender => ({
  serve: Effect.gen(function* () {
    const server = yield* NodeSocketServer.make({ host: "127.0.0.1", port: 0, noDelay: true })
    const protocol = Layer.provide(RpcServer.layerProtocolSocketServer, [
      Layer.succeed(SocketServer.SocketServer, server),
      serialization
    ])
    const rpcs = RpcServer.layer(group, { disableTracing: true, concurrency: "unbounded" })
    yield* Layer.build(Layer.provide(rpcs, [handlers, protocol]))
    return server.address._tag === "UnixPathAddress" ? 0 : server.address.port
  }),
  connect: (port) =>
    Effect.gen(function* () {
      const protocol = Layer.provide(RpcClient.layerProtocolSocket(), [
        NodeSocket.layerNet({ host: "127.0.0.1", port, noDelay: true }),
        serialization
      ])
      const context = yield* Layer.build(protocol)
      const client = yield* Effect.provideContext(
        RpcClient.make(group, { disableTracing: true, flatten: true }),
        context
      )
      return {
        ...makeClient(
          serviceOf((method, argument): Effect.Effect<any, unknown> => client(method as "AddOne", argument))
        ),
        // Streams go from the server to the client alone.
        pipes: { out: timePipe((bytes) => sizeOf(client("Load", bytes))) }
      }
    })
})

export const json: Contender = makeContender(RpcSerialization.layerNdjson)

export const binary: Contender = makeContender(RpcSerialization.layerSchemaBinary())
