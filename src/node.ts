/// <reference types="node" />
/**
 * The transport of Deno, Bun and Node: TCP, TLS, Unix sockets, and WebSockets for clients.
 *
 * **Example** (Listening on a port that the system chooses)
 *
 * ```ts
 * import { StringBinding, Transport } from "@callisto/rpc/transport"
 * import * as NodeTransport from "@callisto/rpc/node"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const transport = yield* Transport.Transport
 *   const { address } = yield* transport.listen(
 *     yield* Effect.fromResult(StringBinding.parse("ncacn_ip_tcp:127.0.0.1[0]")),
 *     ({ socket }) => Effect.flatMap(socket.writer, ({ write }) => Effect.ignore(write("hello")))
 *   )
 *   const { socket } = yield* transport.connect(address)
 *   const { pull } = yield* socket.reader
 *   return yield* pull // => the bytes of "hello"
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provide(program, NodeTransport.layer))
 * ```
 *
 * @module
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Socket from "effect/socket/Socket"
import { lstatSync, unlinkSync } from "node:fs"
import * as net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { clearTimeout, setTimeout } from "node:timers"
import * as tls from "node:tls"
import { gather, highWaterMark, Incoming, Room } from "./transport/internal/flow.ts"
import { type End, handlers, makeSocket } from "./transport/internal/sockets.ts"
import {
  cantListen,
  cantListenOn,
  closed,
  unavailable,
  unsupported,
  writeFailed
} from "./transport/internal/transportErrors.ts"
import { print, type ProtocolSequence, type StringBinding } from "./transport/StringBinding.ts"
import { type Connection, mergeAll, Transport } from "./transport/Transport.ts"
import * as WebSocket from "./transport/WebSocket.ts"
import type { CantCreateEndpoint, RpcTransportError } from "./Status.ts"

/**
 * What TLS needs to know, as text in PEM format.
 *
 * @category models
 * @since 0.1.0
 */
export interface TlsOptions {
  /** The authorities that a client trusts, in place of those of the runtime. */
  readonly ca?: string | undefined
  /** The certificate of a server, followed by those that it was signed with. */
  readonly cert?: string | undefined
  /** The key of that certificate. */
  readonly key?: Redacted.Redacted<string> | undefined
}

/**
 * The transport for `ncacn_ip_tcp`, `ncalrpc`, `ncacn_ip_tls`, and, for clients, `ncacn_ws` and `ncacn_wss`.
 *
 * **Details**
 *
 * - Listening without a port, or on port 0, lets the system choose one; listening without an address means all of this
 *   machine.
 * - `ncalrpc:[name]` is the Unix socket `name.sock` in `$XDG_RUNTIME_DIR`, or else in the directory for temporary
 *   files; a name with a slash is a path. A socket that a program left behind when it died is replaced. On Windows it
 *   is a named pipe.
 * - A connection that is closed still sends what was written, for at most a second.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Transport> = Layer.suspend(() => layerTls({}))

/**
 * The same transport, with certificates for `ncacn_ip_tls`. A client checks the server's certificate against the host
 * name; a server needs `cert` and `key`. Throws a `TypeError` for a `key` that is not redacted.
 *
 * **Gotchas**
 *
 * Deno 2.9 takes what is written over TLS without limit: a slow reader does not make the writer wait there.
 *
 * **Example** (A server with a certificate)
 *
 * ```ts
 * import * as NodeTransport from "@callisto/rpc/node"
 * import { Config, Effect, Layer } from "effect"
 *
 * const transport = Layer.unwrap(Effect.gen(function*() {
 *   return NodeTransport.layerTls({ cert: yield* Config.String("TLS_CERT"), key: yield* Config.Redacted("TLS_KEY") })
 * }))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerTls = (options: TlsOptions): Layer.Layer<Transport> => {
  if (options.key !== undefined && !Redacted.isRedacted(options.key)) {
    throw new TypeError("NodeTransport.layerTls: key is not redacted. Make it with Redacted.make.")
  }
  return mergeAll(
    Layer.succeed(Transport, makeTransport(options)),
    Layer.provide(WebSocket.layer, Socket.layerWebSocketConstructorGlobal)
  )
}

const protocols: ReadonlyArray<ProtocolSequence> = ["ncacn_ip_tcp", "ncalrpc", "ncacn_ip_tls"]

const makeTransport = (options: TlsOptions): Transport => ({
  protocols,
  connect: (binding) =>
    protocols.includes(binding.protocol)
      ? Effect.map(
        Effect.acquireRelease(dial(binding, options), ({ end }) =>
          Effect.sync(() => end.close(new Socket.CloseEvent())), {
          interruptible: true
        }),
        ({ conn, end }) =>
          connectionOf(conn, end, binding)
      )
      : Effect.fail(unsupported(binding, protocols)),
  listen: (binding, handler) =>
    Effect.gen(function* () {
      if (!protocols.includes(binding.protocol)) return yield* cantListenOn(binding, protocols)
      // Finalizers run backwards: accept no more, end the connections, then wait until all is closed.
      let ended = Effect.void
      yield* Effect.addFinalizer(() => ended)
      const run = yield* handlers(handler)
      const server = yield* Effect.acquireRelease(
        open(binding, options, (conn) => {
          const end = netEnd(conn)
          run(connectionOf(conn, end, binding), end)
        }),
        (server) => Effect.sync(() => stop(server)),
        { interruptible: true }
      )
      const stopped = new Promise<void>((resolve) => server.once("close", () => resolve()))
      ended = Effect.promise(() => stopped)
      const address = server.address()
      return {
        address: address !== null && typeof address === "object"
          ? { ...binding, endpoint: String(address.port) }
          : binding,
        stop: Effect.sync(() => stop(server))
      }
    })
})

// Small messages are not held back, and a peer that vanished is noticed.
const tcp = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 } as const

const stop = (server: net.Server): void => {
  if (server.listening) server.close()
}

// ----------------------------------------------------------------------------
// connecting
// ----------------------------------------------------------------------------

interface Dialled {
  readonly conn: net.Socket
  readonly end: End
}

const dial = (binding: StringBinding, options: TlsOptions): Effect.Effect<Dialled, RpcTransportError> =>
  binding.endpoint === undefined
    ? Effect.fail(unavailable(`${print(binding)} has no endpoint`))
    : Effect.callback((resume) => {
      let conn: net.Socket
      try {
        conn = connect(binding, binding.endpoint!, options)
      } catch (error) {
        // Deno throws without the permission to connect.
        return resume(Effect.fail(unavailable(describe(binding, error as NodeJS.ErrnoException))))
      }
      const onError = (error: NodeJS.ErrnoException) => {
        conn.destroy()
        resume(Effect.fail(unavailable(describe(binding, error))))
      }
      conn.once("error", onError)
      conn.once(binding.protocol === "ncacn_ip_tls" ? "secureConnect" : "connect", () => {
        conn.off("error", onError)
        resume(Effect.succeed({ conn, end: netEnd(conn) }))
      })
      return Effect.sync(() => conn.destroy())
    })

const connect = (binding: StringBinding, endpoint: string, { ca }: TlsOptions): net.Socket => {
  if (binding.protocol === "ncalrpc") return net.connect({ path: socketPath(endpoint) })
  const host = binding.address === "" ? "localhost" : binding.address
  const address = { host, port: Number(endpoint), ...tcp }
  if (binding.protocol === "ncacn_ip_tcp") return net.connect(address)
  return tls.connect({
    ...address,
    ...(net.isIP(host) === 0 ? { servername: host } : {}),
    ...(ca === undefined ? {} : { ca })
  })
}

const socketPath = (name: string): string =>
  process.platform === "win32"
    ? `\\\\.\\pipe\\${name}`
    : name.includes("/")
    ? name
    : join(process.env["XDG_RUNTIME_DIR"] ?? tmpdir(), `${name}.sock`)

const causes: { readonly [code: string]: string | undefined } = {
  EACCES: "permission denied",
  EADDRINUSE: "the address is in use",
  EADDRNOTAVAIL: "this machine does not have the address",
  ECONNREFUSED: "nobody listens there",
  ECONNRESET: "the connection was reset",
  EHOSTUNREACH: "no way to the host",
  ENETUNREACH: "no way to the network",
  ENOENT: "nobody listens there",
  ENOTFOUND: "the host is not known",
  EPERM: "permission denied",
  ETIMEDOUT: "no answer"
}

const describe = (binding: StringBinding, { code = "", message }: NodeJS.ErrnoException): string =>
  `${print(binding)}: ${causes[code] ?? message}${code === "" ? "" : ` (${code})`}`

// ----------------------------------------------------------------------------
// listening
// ----------------------------------------------------------------------------

const open = (
  binding: StringBinding,
  options: TlsOptions,
  accept: (conn: net.Socket) => void
): Effect.Effect<net.Server, CantCreateEndpoint> => {
  if (binding.protocol !== "ncalrpc") {
    const port = Number(binding.endpoint ?? 0)
    return listen(binding, options, binding.address === "" ? { port } : { host: binding.address, port }, accept)
  }
  if (binding.endpoint === undefined) return Effect.fail(cantListen(1720, `${print(binding)} has no endpoint`))
  const path = socketPath(binding.endpoint)
  const listening = listen(binding, options, { path }, accept)
  return Effect.catch(listening, (error) =>
    Effect.flatMap(isLeftBehind(path), (leftBehind) => {
      if (!leftBehind) return Effect.fail(error)
      unlinkSync(path)
      return listening
    }))
}

const listen = (
  binding: StringBinding,
  { cert, key }: TlsOptions,
  where: net.ListenOptions,
  accept: (conn: net.Socket) => void
): Effect.Effect<net.Server, CantCreateEndpoint> =>
  Effect.callback((resume) => {
    let server: net.Server
    if (binding.protocol === "ncacn_ip_tls") {
      if (cert === undefined || key === undefined) {
        return resume(Effect.fail(cantListen(1720, `${print(binding)} needs a certificate and its key: see layerTls`)))
      }
      server = tls.createServer({ cert, key: Redacted.value(key), ...tcp }, accept)
      server.on("tlsClientError", (_: Error, conn: tls.TLSSocket) => conn.destroy())
    } else {
      server = net.createServer(tcp, accept)
    }
    const onError = (error: NodeJS.ErrnoException) =>
      resume(Effect.fail(cantListen(error.code === "EADDRINUSE" ? 1740 : 1720, describe(binding, error))))
    server.once("error", onError)
    server.listen(where, () => {
      server.off("error", onError)
      // One connection could not be accepted; the next one may be.
      server.on("error", () => {})
      resume(Effect.succeed(server))
    })
    return Effect.sync(() => stop(server))
  })

/** Whether there is a socket to which nobody listens any more. */
const isLeftBehind = (path: string): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    // Connecting to a file that is no socket is refused just the same.
    if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return resume(Effect.succeed(false))
    const conn = net.connect({ path })
    conn.once("connect", () => {
      conn.destroy()
      resume(Effect.succeed(false))
    })
    conn.once("error", ({ code }: NodeJS.ErrnoException) => resume(Effect.succeed(code === "ECONNREFUSED")))
    return Effect.sync(() => conn.destroy())
  })

// ----------------------------------------------------------------------------
// connections
// ----------------------------------------------------------------------------

const connectionOf = (conn: net.Socket, end: End, binding: StringBinding): Connection => ({
  socket: makeSocket(end),
  local: addressOf(binding, conn.localAddress, conn.localPort),
  peer: addressOf(binding, conn.remoteAddress, conn.remotePort)
})

const addressOf = (binding: StringBinding, address: string | undefined, port: number | undefined): string =>
  print(
    binding.protocol === "ncalrpc" || address === undefined
      ? { ...binding, options: {} }
      : { protocol: binding.protocol, address: address.replace(/^::ffff:/, ""), endpoint: String(port), options: {} }
  )

// Chunks of at least this size on average are not worth copying.
const worthGathering = 2048

/** Writes the chunks in one system call. Tells whether there is room for more. */
const send = (conn: net.Socket, chunks: NonEmptyReadonlyArray<Uint8Array>): boolean => {
  const size = chunks.reduce((bytes, chunk) => bytes + chunk.length, 0)
  if (chunks.length === 1 || size < chunks.length * worthGathering) return conn.write(gather(chunks))
  conn.cork()
  for (const chunk of chunks) conn.write(chunk)
  conn.uncork()
  return !conn.writableNeedDrain
}

const lingerMillis = 1000

const netEnd = (conn: net.Socket): End => {
  let paused = false
  let closing = false
  const room = new Room()
  const incoming = new Incoming(() => {
    if (!paused) return
    paused = false
    conn.resume()
  })

  conn.on("data", ({ buffer, byteOffset, byteLength }: Uint8Array) => {
    incoming.push(new Uint8Array(buffer, byteOffset, byteLength))
    if (incoming.size < highWaterMark || paused) return
    paused = true
    conn.pause()
  })
  conn.on("drain", () => room.open())
  conn.on("end", () => incoming.end(closed(1000)))
  conn.on("error", (cause) => {
    incoming.end(new Socket.SocketError({ reason: new Socket.SocketReadError({ cause }) }))
    room.fail(writeFailed(cause))
  })
  conn.on("close", (hadError) => {
    incoming.end(closed(hadError ? 1006 : 1000))
    room.fail(writeFailed(new Error("The connection is closed")))
  })

  return {
    incoming,
    write: (chunks) => {
      if (room.error !== undefined) return Effect.fail(room.error)
      return send(conn, chunks) ? Effect.void : room.wait
    },
    end: () => {
      if (!conn.writableEnded) conn.end()
      room.fail(writeFailed(new Error("The sending direction is ended")))
    },
    close: (event) => {
      if (closing) return
      closing = true
      incoming.fail(closed(event.code > 1000 ? event.code : 1006, event.reason))
      room.fail(writeFailed(new Error("The connection is closed")))
      if (event.code > 1000 || conn.destroyed) {
        conn.destroy()
        return
      }
      // Send what was written, then close; but not for a peer that does not read.
      const linger = setTimeout(() => conn.destroy(), lingerMillis)
      linger.unref()
      conn.once("close", () => clearTimeout(linger))
      if (conn.writableFinished) conn.destroy()
      else {
        conn.once("finish", () => conn.destroy())
        if (!conn.writableEnded) conn.end()
      }
    }
  }
}
