/** A web server with a route of `httpRouter`, and clients that say what they like. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeWS from "@effect/platform-node-shared/NodeWS"
import { Deferred, Effect, Layer, References, Schema, Stream } from "effect"
import { HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
import * as Socket from "effect/socket/Socket"
import { Buffer } from "node:buffer"
import { randomBytes } from "node:crypto"
import { createServer } from "node:http"
import * as net from "node:net"
import { Interface, Manager, Pipe, Server, ServerCall } from "../../mod.ts"
import * as Association from "../../src/dcerpc/Association.ts"
import * as WebSocket from "../../src/transport/WebSocket.ts"
import * as Web from "../../src/web.ts"

export class Unwilling extends Schema.TaggedError<Unwilling>()("Unwilling", { why: Schema.String }) {}

export const IPlace = Interface.make("IPlace", {
  methods: {
    Caller: Interface.method({ out: { name: Schema.String, level: Schema.String, peer: Schema.String } }),
    Double: Interface.method({ in: Schema.Int, out: Schema.Int, aborts: [Unwilling] }),
    Wait: Interface.method({ out: Schema.String }),
    Large: Interface.method({ in: Schema.Int, out: Schema.Uint8Array }),
    Join: Interface.method({ inPipe: { words: Schema.String }, out: Schema.String }),
    Split: Interface.method({ in: Schema.String, outPipe: { words: Schema.String } })
  }
})

export interface Place {
  readonly port: number
  readonly binding: string
  /** How many calls of `Large` have run. */
  readonly large: () => number
  /** Succeeds when a `Wait` runs. */
  readonly begun: Effect.Effect<void>
  /** Lets every `Wait` reply. */
  readonly go: Effect.Effect<unknown>
  /** Succeeds when a `Wait` was interrupted. */
  readonly interrupted: Effect.Effect<void>
}

/** Serves at `/rpc` on a port of its own until the scope closes. */
export const serve = Effect.fnUntraced(function* <R>(
  options: Web.Options<R> = {},
  { grace, websocket }: { readonly grace?: Server.Options["grace"]; readonly websocket?: NodeWS.ServerOptions } = {}
) {
  let large = 0
  const begun = yield* Deferred.make<void>()
  const gate = yield* Deferred.make<void>()
  const interrupted = yield* Deferred.make<void>()
  const place = Manager.layer(
    IPlace,
    Effect.succeed({
      Caller: (_, call) => {
        const { level, name = "nobody" } = ServerCall.caller(call)
        return Effect.succeed({ level, name, peer: ServerCall.peer(call) })
      },
      Double: (n) => n < 0 ? Effect.fail(new Unwilling({ why: "too small" })) : Effect.succeed(n * 2),
      Wait: () =>
        Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(gate)).pipe(
          Effect.as("done"),
          Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
        ),
      Large: (size) =>
        Effect.sync(() => {
          large++
          return new Uint8Array(size)
        }),
      Join: (_, call) =>
        Effect.map(Stream.runCollect(Pipe.toStream(ServerCall.inPipe(call, "words"))), (words) => words.join(" ")),
      Split: (text, call) =>
        Stream.run(Stream.fromIterable(text.split(" ")), Pipe.toSink(ServerCall.outPipe(call, "words")))
    })
  )
  const routes = Layer.mergeAll(
    Web.httpRouter("/rpc", options),
    HttpRouter.add("GET", "/", HttpServerResponse.text("a page"))
  )
  const app = HttpRouter.serve(routes, { disableListenLog: true, disableLogger: true }).pipe(
    Layer.provide(Server.layer([IPlace], { grace })),
    Layer.provide(place),
    Layer.provideMerge(
      NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1", gracefulShutdownTimeout: 0, websocket })
    )
  )
  const context = yield* Effect.provideService(
    Layer.build(app as Layer.Layer<HttpServer.HttpServer, never, never>),
    References.MinimumLogLevel,
    "None"
  )
  const { address } = yield* Effect.provide(HttpServer.HttpServer, context)
  const port = (address as { readonly port: number }).port
  const server: Place = {
    port,
    binding: `ncacn_ws:127.0.0.1[${port},path=/rpc]`,
    large: () => large,
    begun: Deferred.await(begun),
    go: Deferred.succeed(gate, undefined),
    interrupted: Deferred.await(interrupted)
  }
  return server
})

/** A client whose requests have these headers, as those of a browser would have. */
export const clientWith = (headers: Readonly<Record<string, string>>) =>
  Layer.provide(
    WebSocket.layer,
    Layer.succeed(Socket.WebSocketConstructor, (url) => new NodeWS.WebSocket(url, { headers }) as never)
  )

export const bind = ({ binding }: Place, options?: Association.Options) => Association.bind(IPlace, binding, options)

// ----------------------------------------------------------------------------
// a client of bytes
// ----------------------------------------------------------------------------

export interface Raw {
  readonly conn: net.Socket
  /** What has arrived. */
  readonly received: () => Buffer
  /** Succeeds when the connection has ended. */
  readonly closed: Effect.Effect<Buffer>
}

const handshake = { upgrade: "websocket", connection: "Upgrade", "sec-websocket-version": "13" }

/** Sends a request for `/rpc` and waits for the head of the answer. */
export const ask = (
  { port }: { readonly port: number },
  headers: Readonly<Record<string, string>> = {},
  path = "/rpc"
): Effect.Effect<Raw & { readonly status: number; readonly head: string; readonly text: Effect.Effect<string> }> =>
  Effect.callback((resume) => {
    const conn = net.connect(port, "127.0.0.1")
    const chunks: Array<Buffer> = []
    const received = () => Buffer.concat(chunks)
    const ended = new Promise<Buffer>((resolve) => conn.once("close", () => resolve(received())))
    let isAnswered = false
    conn.on("error", () => {})
    conn.once("close", () => {
      const closed = Effect.succeed(received())
      if (!isAnswered) resume(Effect.succeed({ conn, received, closed, head: "", status: 0, text: Effect.succeed("") }))
    })
    conn.on("data", (chunk: Buffer) => {
      chunks.push(chunk)
      const end = received().indexOf("\r\n\r\n")
      if (isAnswered || end < 0) return
      isAnswered = true
      const head = received().toString("latin1", 0, end).toLowerCase()
      const closed = Effect.promise(() => ended)
      resume(Effect.succeed({
        conn,
        received: () => received().subarray(end + 4),
        closed,
        head,
        status: Number(head.split(" ")[1]),
        text: Effect.map(closed, (bytes) => bytes.toString("utf8", end + 4))
      }))
    })
    const all = {
      host: `127.0.0.1:${port}`,
      "sec-websocket-key": randomBytes(16).toString("base64"),
      ...handshake,
      ...headers
    }
    const lines = Object.entries(all).filter(([, value]) => value !== "").map(([name, value]) =>
      `${name}: ${value}\r\n`
    )
    conn.write(`GET ${path} HTTP/1.1\r\n${lines.join("")}\r\n`)
  })

/** A frame of a client, with the mask 0. */
export const frame = (opcode: number, payload: Uint8Array, length = payload.length): Buffer => {
  const head = length < 126
    ? Buffer.from([0x80 | opcode, 0x80 | length])
    : Buffer.from([0x80 | opcode, 0xff, ...Buffer.from(length.toString(16).padStart(16, "0"), "hex")])
  return Buffer.concat([head, Buffer.alloc(4), payload])
}

/** The frames of a server, as far as they have arrived. */
const framesOf = (bytes: Buffer): ReadonlyArray<{ readonly opcode: number; readonly payload: Buffer }> => {
  const frames: Array<{ readonly opcode: number; readonly payload: Buffer }> = []
  for (let at = 0; at + 2 <= bytes.length;) {
    const short = bytes[at + 1]!
    const start = at + (short === 126 ? 4 : short === 127 ? 10 : 2)
    const length = short === 126 ? bytes.readUInt16BE(at + 2) : short === 127 ? bytes.readUInt32BE(at + 6) : short
    if (start + length > bytes.length) break
    frames.push({ opcode: bytes[at]! & 15, payload: bytes.subarray(start, start + length) })
    at = start + length
  }
  return frames
}

/** The code with which the server closes. */
export const closeCode = (bytes: Buffer): number | undefined =>
  framesOf(bytes).find(({ opcode }) => opcode === 8)?.payload.readUInt16BE(0)

/** Ends the connection when the server closes the WebSocket, and gives its code. */
export const closeCodeOf = ({ closed, conn, received }: Raw): Effect.Effect<number | undefined> => {
  const look = () => {
    if (closeCode(received()) !== undefined) conn.end()
  }
  conn.on("data", look)
  look()
  return Effect.map(closed, () => closeCode(received()))
}

/** A way to the server that can stop to take what it sends. */
export const proxyTo = (place: Place) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const conns: Array<net.Socket> = []
        const server = net.createServer((client) => {
          const conn = net.connect(place.port, "127.0.0.1")
          conns.push(client, conn)
          for (const each of [client, conn]) each.on("error", () => {})
          client.on("data", (chunk) => conn.write(chunk))
          client.on("close", () => conn.destroy())
          conn.on("data", (chunk) => client.write(chunk))
          conn.on("close", () => client.destroy())
        })
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
        return { conns, server, port: (server.address() as net.AddressInfo).port }
      }),
      ({ conns, server }) =>
        Effect.sync(() => {
          for (const conn of conns) conn.destroy()
          server.close()
        })
    ),
    ({ conns, port }) => ({
      place: { ...place, port, binding: `ncacn_ws:127.0.0.1[${port},path=/rpc]` },
      pause: Effect.sync(() => conns.forEach((conn, index) => index % 2 === 1 && conn.pause())),
      cut: Effect.sync(() => conns.forEach((conn) => conn.destroy())),
      resume: Effect.sync(() => conns.forEach((conn) => conn.resume()))
    })
  )
