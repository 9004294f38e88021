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
import { Buffer } from "node:buffer"
import {
  type Cipheriv,
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  type Decipheriv,
  pbkdf2,
  randomUUID,
  X509Certificate
} from "node:crypto"
import { lookup } from "node:dns/promises"
import { existsSync, linkSync, lstatSync, renameSync, unlinkSync } from "node:fs"
import * as net from "node:net"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import process from "node:process"
import { clearTimeout, setTimeout } from "node:timers"
import * as tls from "node:tls"
import { refuseArgument } from "./internal/named.ts"
import { type Hash, KerberosCiphers } from "./security/KerberosCiphers.ts"
import { gather, Incoming, Room } from "./transport/internal/flow.ts"
import { type End, handlers, makeSocket, scopedEnd } from "./transport/internal/sockets.ts"
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
 * The certificates and keys for TLS, as text in PEM format.
 *
 * @category models
 * @since 0.1.0
 */
export interface TlsOptions {
  /** The authorities that a client trusts, in place of those of the runtime. */
  readonly ca?: string | undefined
  /** The certificate of a server, followed by the certificates of its signers. */
  readonly cert?: string | undefined
  /** The key of that certificate, not encrypted. */
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
 * - A closed connection still sends the written bytes, for at most a second.
 * - A TCP connection that is idle for 30 seconds is probed (TCP keep-alive). On Node it ends when three probes, 10 seconds
 *   apart, stay without an answer; Deno and Bun leave the further probes to the system, which takes about 12 minutes.
 * - A TLS connection belongs to the server from the moment it is accepted, before its handshake: the limits and timeouts
 *   of an endpoint count it.
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
 * Deno 2.9 buffers writes over TLS without limit: a slow reader does not make the writer wait there. Nor does it
 * tell the end of a TLS connection that comes while the reader is behind; the `keepAlive` of an association finds it.
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
    refuseArgument("NodeTransport.layerTls", "key is not redacted. Make it with Redacted.make")
  }
  return mergeAll(
    Layer.succeed(Transport, makeTransport(options)),
    WebSocket.layerGlobal
  )
}

const protocols: ReadonlyArray<ProtocolSequence> = ["ncacn_ip_tcp", "ncalrpc", "ncacn_ip_tls"]

const makeTransport = (options: TlsOptions): Transport => ({
  protocols,
  connect: (binding) =>
    protocols.includes(binding.protocol)
      ? Effect.map(
        scopedEnd(dial(binding, options)),
        (end) => connectionOf(end.conn, end, binding, endPointOf(end.conn))
      )
      : Effect.fail(unsupported(binding, protocols)),
  listen: (binding, handler) =>
    Effect.gen(function* () {
      if (!protocols.includes(binding.protocol)) return yield* cantListenOn(binding, protocols)
      // Finalizers run backwards: accept no more, end the connections, then wait until all is closed.
      let ended = Effect.void
      yield* Effect.addFinalizer(() => ended)
      const run = yield* handlers(handler)
      const secure = yield* securing(binding, options)
      const server = yield* Effect.acquireRelease(
        open(binding, (conn) => {
          if (binding.protocol !== "ncalrpc") probe(conn)
          const end = netEnd(secure.wrap(conn))
          run(connectionOf(conn, end, binding, secure.serverEndPoint), end)
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

/** Sends small messages at once, and notices a peer that has vanished. */
const probe = (conn: net.Socket): void => {
  conn.setNoDelay(true)
  // A call rather than options: Deno ignores the option of a server, Bun and Deno the last two numbers.
  conn.setKeepAlive(true, 30_000, 10_000, 3)
}

const stop = (server: net.Server): void => {
  if (server.listening) server.close()
}

// ----------------------------------------------------------------------------
// connecting
// ----------------------------------------------------------------------------

interface Dialled extends End {
  readonly conn: net.Socket
}

const dial = (binding: StringBinding, options: TlsOptions): Effect.Effect<Dialled, RpcTransportError> =>
  binding.endpoint === undefined
    ? Effect.fail(unavailable(`${print(binding)} has no endpoint`))
    : Effect.callback((resume) => {
      let conn: net.Socket
      try {
        conn = connect(binding, binding.endpoint!, options)
      } catch (error) {
        // Deno throws without the permission to connect, Bun for a wrong `ca`.
        return resume(Effect.fail(unavailable(describe(binding, error as NodeJS.ErrnoException))))
      }
      if (binding.protocol !== "ncalrpc") probe(conn)
      const onError = (error: NodeJS.ErrnoException) => {
        conn.destroy()
        resume(Effect.fail(unavailable(describe(binding, error))))
      }
      conn.once("error", onError)
      conn.once(binding.protocol === "ncacn_ip_tls" ? "secureConnect" : "connect", () => {
        conn.off("error", onError)
        resume(Effect.succeed({ conn, ...netEnd(conn) }))
      })
      return Effect.sync(() => conn.destroy())
    })

const connect = (binding: StringBinding, endpoint: string, { ca }: TlsOptions): net.Socket => {
  if (binding.protocol === "ncalrpc") return net.connect({ path: socketPath(endpoint) })
  const host = binding.address === "" ? "localhost" : binding.address
  const address = { host, port: Number(endpoint) }
  if (binding.protocol === "ncacn_ip_tcp") return net.connect(address)
  if (ca !== undefined) checkCertificates("ca", ca)
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
// certificates
// ----------------------------------------------------------------------------

interface Securing {
  /** Turns an accepted connection into one that can be read: over TLS, one that shakes hands first. */
  readonly wrap: (conn: net.Socket) => net.Socket
  readonly serverEndPoint: Uint8Array | undefined
}

const securing = (
  binding: StringBinding,
  { cert, key }: TlsOptions
): Effect.Effect<Securing, CantCreateEndpoint> =>
  Effect.suspend((): Effect.Effect<Securing, CantCreateEndpoint> => {
    if (binding.protocol !== "ncacn_ip_tls") {
      return Effect.succeed({ wrap: (conn: net.Socket) => conn, serverEndPoint: undefined })
    }
    if (cert === undefined || key === undefined) {
      return Effect.fail(cantListen(1720, `${print(binding)} needs a certificate and its key: see layerTls`))
    }
    try {
      const secureContext = makeSecureContext(cert, Redacted.value(key))
      return Effect.succeed({
        wrap: (conn: net.Socket) => new tls.TLSSocket(conn, { isServer: true, secureContext }),
        serverEndPoint: hashOf(checkCertificates("cert", cert)[0]!.raw)
      })
    } catch (error) {
      return Effect.fail(cantListen(1720, `${print(binding)}: ${(error as Error).message}`))
    }
  })

// The runtimes differ in what they refuse, and Deno refuses nothing before the first handshake.
const makeSecureContext = (cert: string, key: string): tls.SecureContext => {
  const [certificate] = checkCertificates("cert", cert)
  if (/^(Proc-Type:.*|-----BEGIN )ENCRYPTED/m.test(key)) {
    throw new Error("the option key is encrypted. Give layerTls a key without a passphrase")
  }
  const privateKey = attempt(() => createPrivateKey(key), "the option key has no private key in PEM format")
  if (!certificate!.checkPrivateKey(privateKey)) {
    throw new Error("the option key belongs to another certificate. Give layerTls the key of the first one in cert")
  }
  return attempt(() => tls.createSecureContext({ cert, key }), "cert and key can't be used")
}

/** The certificate's hash of the server to which a client has connected, where the runtime gives it. */
const endPointOf = (conn: net.Socket): Uint8Array | undefined => {
  const raw = conn instanceof tls.TLSSocket ? conn.getPeerCertificate()?.raw : undefined
  return raw === undefined ? undefined : hashOf(raw)
}

/** The hash functions stronger than SHA-256, by the signatures that use them. */
const strongHashes: ReadonlyArray<readonly [signature: string, hash: string]> = [
  ["06092a864886f70d01010c", "sha384"],
  ["06092a864886f70d01010d", "sha512"],
  ["06082a8648ce3d040303", "sha384"],
  ["06082a8648ce3d040304", "sha512"]
]

/** The hash of a certificate with the function of its signature, or with SHA-256 where that is weaker (RFC 5929, 4.1). */
const hashOf = (certificate: Uint8Array): Uint8Array => {
  const view = Buffer.from(certificate.buffer, certificate.byteOffset, certificate.byteLength)
  // The algorithm stands twice: in what is signed, behind the serial number, and behind what is signed.
  const signed = contentOf(view, contentOf(view, 0).start)
  const algorithm = view.subarray(contentOf(view, signed.end).start)
  const found = strongHashes.find(([signature]) => algorithm.toString("hex", 0, signature.length / 2) === signature)
  return new Uint8Array(createHash(found?.[1] ?? "sha256").update(view).digest())
}

/** Where the content of a DER element begins, and where it ends. */
const contentOf = (der: Uint8Array, at: number): { readonly start: number; readonly end: number } => {
  const first = der[at + 1] ?? 0
  if (first < 0x80) return { start: at + 2, end: at + 2 + first }
  let length = 0
  const start = at + 2 + (first & 0x7f)
  for (let i = at + 2; i < start; i++) length = length * 256 + (der[i] ?? 0)
  return { start, end: start + length }
}

const checkCertificates = (option: "ca" | "cert", pem: string): ReadonlyArray<X509Certificate> => {
  const blocks = pem.match(/-----BEGIN [A-Z0-9 ]*CERTIFICATE-----[^]*?-----END [A-Z0-9 ]*CERTIFICATE-----/g) ?? []
  if (blocks.length === 0) throw new Error(`the option ${option} has no certificate in PEM format`)
  return blocks.map((block, index) =>
    attempt(() => new X509Certificate(block), `certificate ${index + 1} of the option ${option} is damaged`)
  )
}

const attempt = <A>(evaluate: () => A, problem: string): A => {
  try {
    return evaluate()
  } catch (cause) {
    throw new Error(`${problem} (${(cause as Error).message.trim()})`, { cause })
  }
}

// ----------------------------------------------------------------------------
// listening
// ----------------------------------------------------------------------------

type Accept = (conn: net.Socket) => void

type Listening = Effect.Effect<net.Server, NodeJS.ErrnoException>

const open = (binding: StringBinding, accept: Accept): Effect.Effect<net.Server, CantCreateEndpoint> => {
  if (binding.protocol !== "ncalrpc") {
    return Effect.mapError(listenOnPort(binding, accept), (error) => cantListenAt(binding, listenProblem(error), error))
  }
  if (binding.endpoint === undefined) return Effect.fail(cantListen(1720, `${print(binding)} has no endpoint`))
  const path = socketPath(binding.endpoint)
  return Effect.mapError(listenOnPath(path, accept), (error) => cantListenAt(binding, pathProblem(path, error), error))
}

const cantListenAt = (binding: StringBinding, problem: string, { code }: NodeJS.ErrnoException): CantCreateEndpoint =>
  cantListen(
    code === "EADDRINUSE" ? 1740 : 1720,
    `${print(binding)}: ${problem}${code === undefined || problem.includes(code) ? "" : ` (${code})`}`
  )

const listenProblems: { readonly [code: string]: string | undefined } = {
  EACCES: "permission denied, which a port below 1024 may need",
  EADDRINUSE: "the address is in use",
  EADDRNOTAVAIL: "this machine does not have the address",
  ENOTFOUND: "the host is not known",
  EPERM: "permission denied"
}

const listenProblem = ({ code = "", message }: NodeJS.ErrnoException): string => listenProblems[code] ?? message

// As much as Linux takes; the system's own error says only that an argument is wrong.
const longestPath = 107

const pathProblem = (path: string, error: NodeJS.ErrnoException): string => {
  const size = Buffer.byteLength(path)
  if (error.code === "EINVAL" && size > longestPath) {
    return `the path is too long, got ${size} bytes, expected at most ${longestPath}. Choose a shorter one`
  }
  // Node tells EACCES for a directory that is missing.
  if ((error.code === "EACCES" || error.code === "ENOENT") && !existsSync(dirname(path))) {
    return `there is no directory ${dirname(path)}. Make it first`
  }
  return error.code === "EACCES" ? `permission denied to make a socket in ${dirname(path)}` : listenProblem(error)
}

const listen = (where: net.ListenOptions, accept: Accept): Listening =>
  Effect.callback((resume) => {
    const server = net.createServer(accept)
    const onError = (error: NodeJS.ErrnoException) => resume(Effect.fail(error))
    server.once("error", onError)
    try {
      server.listen(where, () => {
        server.off("error", onError)
        // One connection could not be accepted; the next one may be.
        server.on("error", () => {})
        resume(Effect.succeed(server))
      })
    } catch (error) {
      // Deno throws without the permission to listen.
      onError(error as NodeJS.ErrnoException)
    }
    return Effect.sync(() => stop(server))
  })

const listenOnPort = ({ address: host, endpoint }: StringBinding, accept: Accept): Listening => {
  const port = Number(endpoint ?? 0)
  if (host === "") return listen({ port }, accept)
  return Effect.flatMap(permission(host, port), () => listen({ host, port }, accept))
}

interface Permissions {
  readonly requestSync: (permission: { readonly name: "net"; readonly host: string }) => { readonly state: string }
}

declare const Deno: { readonly permissions: Permissions }

/** Deno throws what nobody can catch where a program may not listen on an address, so it is asked before. */
const permission = (host: string, port: number): Effect.Effect<void, NodeJS.ErrnoException> =>
  !("Deno" in globalThis) ? Effect.void : Effect.flatMap(
    Effect.tryPromise({
      try: () => lookup(host),
      catch: (error) =>
        (error as NodeJS.ErrnoException).code === "EPERM"
          ? new Error(`Deno may not look up ${host}. Run it with --allow-net=${host}`)
          : error as NodeJS.ErrnoException
    }),
    ({ address, family }) =>
      Effect.suspend(() => {
        const place = `${family === 6 ? `[${address}]` : address}:${port}`
        return Deno.permissions.requestSync({ name: "net", host: place }).state === "granted"
          ? Effect.void
          : Effect.fail(new Error(`Deno may not listen on ${place}. Run it with --allow-net=${place}`))
      })
  )

const listenOnPath = (path: string, accept: Accept): Listening =>
  Effect.catch(
    listen({ path }, accept),
    (error) =>
      error.code !== "EADDRINUSE"
        ? Effect.fail(error)
        : Effect.flatMap(removeLeftBehind(path), (removed) => removed ? listen({ path }, accept) : Effect.fail(error))
  )

/** Removes a socket to which nobody listens any more. Gives whether the path is free. */
const removeLeftBehind = (path: string): Effect.Effect<boolean, NodeJS.ErrnoException> =>
  Effect.suspend(() => {
    const found = identityOf(path)
    if (found === undefined) return Effect.succeed(false)
    return Effect.flatMap(isRefused(path), (refused) => {
      if (!refused || identityOf(path) !== found) return Effect.succeed(false)
      try {
        return Effect.succeed(remove(path, found))
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException
        return Effect.fail(
          new Error(
            `a program that is gone left its socket ${path} there, which can't be removed (${
              code ?? message
            }). Remove it`
          )
        )
      }
    })
  })

/** Moves the socket away first: a server that starts at the same time may just have put its own there. */
const remove = (path: string, found: string): boolean => {
  const aside = `${path}.${randomUUID()}`
  renameSync(path, aside)
  const isOurs = identityOf(aside) === found
  try {
    if (!isOurs) linkSync(aside, path)
  } finally {
    unlinkSync(aside)
  }
  return isOurs
}

/** Tells one socket from another at the same path. Another kind of file has none. */
const identityOf = (path: string): string | undefined => {
  try {
    const stats = lstatSync(path, { bigint: true })
    return stats.isSocket() ? `${stats.dev} ${stats.ino} ${stats.mtimeNs}` : undefined
  } catch {
    return undefined
  }
}

/** Whether nobody listens to the socket. */
const isRefused = (path: string): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
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

const connectionOf = (
  conn: net.Socket,
  end: End,
  binding: StringBinding,
  serverEndPoint: Uint8Array | undefined
): Connection => ({
  socket: makeSocket(end),
  local: addressOf(binding, conn.localAddress, conn.localPort),
  peer: addressOf(binding, conn.remoteAddress, conn.remotePort),
  serverEndPoint
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
    if (!incoming.isFull || paused) return
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
      // Send the written bytes, then close; but not for a peer that does not read.
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

// ----------------------------------------------------------------------------
// ciphers
// ----------------------------------------------------------------------------

/**
 * The ciphers that Kerberos needs, from `node:crypto`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerKerberos: Layer.Layer<KerberosCiphers> = Layer.sync(KerberosCiphers, () => ({
  aesCbc,
  hmac,
  pbkdf2: (hash, password, salt, iterations, length) =>
    Effect.callback((resume) => {
      pbkdf2(password, salt, iterations, length, hashes[hash], (error, key) => {
        resume(error === null ? Effect.succeed(plain(key)) : Effect.die(error))
      })
    })
}))

const hashes: { readonly [hash in Hash]: string } = { "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384" }

// A slice of a Buffer is a view.
const plain = (buffer: Buffer): Uint8Array => new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length)

const aesCbc: KerberosCiphers["aesCbc"] = (key) => {
  const algorithm = `aes-${key.length * 8}-cbc`
  // A cipher for each message would cost more than a short message. A kept one goes on from the last block: that is undone here.
  const chained = (cipher: Cipheriv | Decipheriv) => {
    cipher.setAutoPadding(false)
    const last = new Uint8Array(16)
    const undo = (bytes: Uint8Array) => {
      for (let i = 0; i < 16; i++) bytes[i]! ^= last[i]!
    }
    return { cipher, last, undo }
  }
  const encryption = chained(createCipheriv(algorithm, key, new Uint8Array(16)))
  const decryption = chained(createDecipheriv(algorithm, key, new Uint8Array(16)))
  return {
    encrypt: (blocks) => {
      encryption.undo(blocks)
      const encrypted = plain(encryption.cipher.update(blocks))
      encryption.last.set(encrypted.subarray(-16))
      return encrypted
    },
    decrypt: (blocks) => {
      const decrypted = plain(decryption.cipher.update(blocks))
      decryption.undo(decrypted)
      decryption.last.set(blocks.subarray(-16))
      return decrypted
    }
  }
}

const hmac: KerberosCiphers["hmac"] = (hash, key) => {
  const name = hashes[hash]
  const begin = (pad: number) => {
    const block = new Uint8Array(hash === "SHA-384" ? 128 : 64).fill(pad)
    key.forEach((byte, index) => block[index]! ^= byte)
    return createHash(name).update(block)
  }
  const inner = begin(0x36)
  const outer = begin(0x5c)
  return (...parts) => {
    const hashing = inner.copy()
    for (const part of parts) hashing.update(part)
    return plain(outer.copy().update(hashing.digest()).digest())
  }
}
