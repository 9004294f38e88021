/**
 * The sockets between the runners of a database: a module of its own, because one machine without them needs no package of sockets.
 */
import * as NodeSocket from "@effect/platform-node-shared/NodeSocket"
import * as NodeSocketServer from "@effect/platform-node-shared/NodeSocketServer"
import type * as RunnerAddress from "effect/cluster/RunnerAddress"
import * as Runners from "effect/cluster/Runners"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RpcClient from "effect/rpc/RpcClient"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import { isSocketError, Socket } from "effect/socket/Socket"
import { SocketServer, type SocketServerError } from "effect/socket/SocketServer"

// Two small messages in a row would wait 40 ms for each other with Nagle's algorithm.
const noDelay = true

/** How a process reaches the runners. */
export const clientProtocol: Layer.Layer<Runners.RpcClientProtocol, never, RpcSerialization.RpcSerialization> = Layer
  .effect(
    Runners.RpcClientProtocol,
    Effect.map(RpcSerialization.RpcSerialization, (serialization) => ({
      codecFor: serialization.codecFor,
      make: (address: RunnerAddress.RunnerAddress) =>
        Effect.orDie(Effect.gen(function* () {
          const socket = yield* NodeSocket.makeNet({
            openTimeout: 1_000,
            timeout: 5_500,
            host: address.host,
            port: address.port,
            noDelay
          })
          return yield* RpcClient.makeProtocolSocket().pipe(
            Effect.provideService(Socket, socket),
            Effect.provideService(RpcSerialization.RpcSerialization, serialization)
          )
        }))
    }))
  )

/** Where a runner listens. */
export const listener = (
  address: { readonly host: string; readonly port: number }
): Layer.Layer<SocketServer, SocketServerError> =>
  Layer.effect(
    SocketServer,
    Effect.map(NodeSocketServer.make({ ...address, noDelay }), (server) => ({
      ...server,
      // A client that ends resets its connection. That is no error for the log.
      run: (handler) => server.run((socket) => Effect.catchIf(handler(socket), isSocketError, () => Effect.void))
    }))
  )
