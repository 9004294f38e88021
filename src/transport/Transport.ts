/**
 * Transports: connections between a client and a server, and the bytes on them.
 *
 * A `Transport` connects to a string binding and listens on one. Either way a program gets `Connection`s, each with a
 * `Socket` of `effect/socket` and the address of the peer. Its layers are `NodeTransport.layer` of `@callisto/rpc/node`
 * (TCP, TLS, Unix sockets), `Web.layer` of `@callisto/rpc/web` (WebSockets), `MessagePort.layer`, and `Memory.layer` for tests.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import type { CantCreateEndpoint, RpcTransportError } from "../Status.ts"
import { cantListenOn, unsupported } from "./internal/transportErrors.ts"
import type { ProtocolSequence, StringBinding } from "./StringBinding.ts"

// ----------------------------------------------------------------------------
// models
// ----------------------------------------------------------------------------

/**
 * Carries bytes between clients and servers.
 *
 * @category models
 * @since 0.1.0
 */
export interface Transport {
  /** The protocol sequences for which this transport can be asked. */
  readonly protocols: ReadonlyArray<ProtocolSequence>

  /**
   * Connects to a server. The connection is established when this succeeds and is closed with the scope. Fails with
   * 1722 where there is no server.
   */
  readonly connect: (binding: StringBinding) => Effect.Effect<Connection, RpcTransportError, Scope.Scope>

  /**
   * Listens until the scope closes, and runs the handler for each connection, in a fiber and a scope of its own. The
   * connection is closed when its handler ends; the handlers are interrupted when the scope closes. Fails with
   * `CantCreateEndpoint` where it can't listen.
   */
  readonly listen: <R = never>(
    binding: StringBinding,
    handler: (connection: Connection) => Effect.Effect<unknown, never, R>
  ) => Effect.Effect<Listener, CantCreateEndpoint, Exclude<R, Scope.Scope> | Scope.Scope>
}

/**
 * The service that connects and listens.
 *
 * @category services
 * @since 0.1.0
 */
export const Transport: Context.Service<Transport, Transport> = Context.Service("@callisto/rpc/transport/Transport")

/**
 * An established connection.
 *
 * **Details**
 *
 * The socket has its connection already: acquiring its reader does not dial, and a closed one is not dialled again.
 * Bytes that arrive before the reader is acquired are kept. A write succeeds when the transport has room for more; closing
 * the scope of the reader closes the connection, and closing that of a writer ends the sending direction, where the
 * transport can.
 *
 * @category models
 * @since 0.1.0
 */
export interface Connection {
  /** The bytes in both directions. */
  readonly socket: Socket.Socket
  /** The address of the other side, as a string binding. */
  readonly peer: string
  /** The address of this side, as a string binding. */
  readonly local: string
  /**
   * The hash of the server's certificate, which binds a login to the TLS connection on which it comes (RFC 5929, `tls-server-end-point`).
   * Absent without TLS, and where the runtime does not give the certificate.
   */
  readonly serverEndPoint?: Uint8Array | undefined
}

/**
 * A listener at an address.
 *
 * @category models
 * @since 0.1.0
 */
export interface Listener {
  /** Where it listens, with the port that was chosen for port 0. */
  readonly address: StringBinding
  /** Accepts no more connections. Accepted connections live on until the scope closes. */
  readonly stop: Effect.Effect<void>
}

/**
 * Where the endpoint of the context listens, as `Endpoint.layer` provides it. The example is there.
 *
 * @category models
 * @since 0.1.0
 */
export const Listener: Context.Service<Listener, Listener> = Context.Service<Listener>(
  "@callisto/rpc/transport/Transport/Listener"
)

// ----------------------------------------------------------------------------
// one transport of several
// ----------------------------------------------------------------------------

/**
 * One transport of several: each string binding goes to the first that has its protocol sequence.
 *
 * @category combining
 * @since 0.1.0
 */
export const merge = (...transports: ReadonlyArray<Transport>): Transport => {
  const protocols = [...new Set(transports.flatMap((transport) => transport.protocols))]
  const select = ({ protocol }: StringBinding) => transports.find(({ protocols }) => protocols.includes(protocol))
  return {
    protocols,
    connect: (binding) => select(binding)?.connect(binding) ?? Effect.fail(unsupported(binding, protocols)),
    listen: (binding, handler) =>
      select(binding)?.listen(binding, handler) ?? Effect.fail(cantListenOn(binding, protocols))
  }
}

/**
 * The layer of one transport of several.
 *
 * **Example** (A browser that talks to a server and to its workers)
 *
 * ```ts
 * import { MessagePort, Transport, WebSocket } from "@callisto/rpc/transport"
 *
 * const { port1 } = new MessageChannel()
 * const transport = Transport.mergeAll(
 *   WebSocket.layerGlobal,
 *   MessagePort.layer(port1)
 * )
 * port1.close()
 * ```
 *
 * @category combining
 * @since 0.1.0
 */
export const mergeAll = <E, R>(
  ...layers: ReadonlyArray<Layer.Layer<Transport, E, R>>
): Layer.Layer<Transport, E, R> =>
  Layer.effect(
    Transport,
    Effect.map(
      Effect.forEach(layers, (layer) => Effect.map(Layer.build(layer), (context) => Context.get(context, Transport))),
      (transports) => merge(...transports)
    )
  )
