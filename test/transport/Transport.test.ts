import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Redacted, References, Result, Scope } from "effect"
import * as Socket from "effect/socket/Socket"
import { TestClock } from "effect/testing"
import fc from "fast-check"
import { Buffer } from "node:buffer"
import { spawn } from "node:child_process"
import { generateKeyPairSync } from "node:crypto"
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import * as net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { Worker } from "node:worker_threads"
import { parse, print, type StringBinding } from "../../src/transport/StringBinding.ts"
import { Incoming } from "../../src/transport/internal/flow.ts"
import { makeOutbox } from "../../src/transport/internal/outbox.ts"
import { makeReadWhile } from "../../src/transport/internal/sockets.ts"
import { closed } from "../../src/transport/internal/transportErrors.ts"
import * as Memory from "../../src/transport/Memory.ts"
import * as MessagePort from "../../src/transport/MessagePort.ts"
import * as Transport from "../../src/transport/Transport.ts"
import * as WebSocket from "../../src/transport/WebSocket.ts"
import * as NodeTransport from "../../src/node.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Server from "../../src/Server.ts"
import { type Faults, faulty, faultyTransport } from "../dcerpc/faults.ts"
import { makeRandom } from "../dcerpc/random.ts"

// ----------------------------------------------------------------------------
// programs on both sides of a connection
// ----------------------------------------------------------------------------

const at = (text: string): StringBinding => Result.getOrThrow(parse(text))

const echo = ({ socket }: Transport.Connection) =>
  Effect.gen(function* () {
    const { writeAll } = yield* socket.writer
    const { pull } = yield* socket.reader
    yield* Effect.forever(Effect.flatMap(pull, writeAll))
  }).pipe(Effect.ignore)

/** Both directions of a connection. */
const open = ({ socket }: Transport.Connection) =>
  Effect.gen(function* () {
    const { write, writeAll } = yield* socket.writer
    const { pull } = yield* socket.reader
    return { pull, write, writeAll }
  })

interface Place {
  readonly binding: StringBinding
  readonly client: Transport.Transport
  readonly server: Transport.Transport
}

/** The client's end of a connection to an echo. */
const echoed = ({ binding, client, server }: Place) =>
  Effect.gen(function* () {
    const { address } = yield* server.listen(binding, echo)
    return yield* open(yield* client.connect(address))
  })

const bytesOf = (chunks: ReadonlyArray<Uint8Array | string>) =>
  Buffer.concat(chunks.map((chunk) => typeof chunk === "string" ? Buffer.from(chunk) : chunk))

const readBytes = (pull: Socket.Reader["pull"], count: number) =>
  Effect.gen(function* () {
    const chunks: Array<Uint8Array | string> = []
    let bytes = 0
    while (bytes < count) {
      for (const chunk of yield* pull) {
        chunks.push(chunk)
        bytes += chunk.length
      }
    }
    return bytesOf(chunks)
  })

const readText = (pull: Socket.Reader["pull"], count: number) => Effect.map(readBytes(pull, count), String)

/** The code with which the connection ended. */
const closeCode = (pull: Socket.Reader["pull"]) =>
  Effect.forever(pull).pipe(
    Effect.flip,
    Effect.map(({ reason }) => reason._tag === "SocketCloseError" ? reason.code : reason._tag)
  )

const patience = 2000

const random = (length: number, seed = 1) => {
  const next = makeRandom(seed)
  return Uint8Array.from({ length }, () => next() * 256)
}

// ----------------------------------------------------------------------------
// the transports
// ----------------------------------------------------------------------------

// Made for these tests, and trusted by nobody else.
const cert = `-----BEGIN CERTIFICATE-----
MIIBZDCCAQqgAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhv
c3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABI3vxDVeT+/WrN/s
Dne721jua4M1jt/OMTS/jfVWtOpZz/3xZi6pL+WF+bxhXPKwZd60qZhBesp3S6jX
Z3kPuZ+jSzBJMBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcEfwAAATAMBgNVHRMEBTAD
AQH/MB0GA1UdDgQWBBSE/VAl1lz2wgOgWeWKfhg2DM4XZjAKBggqhkjOPQQDAgNI
ADBFAiEA5kGQLs6ZM/3VUVuj73sNY+SL6/SPzupIkLqigLNp2ngCICLaszvCBrKs
kuC1LeTxhVrppWY0cyj/4Wbd9lO1uv3P
-----END CERTIFICATE-----
`
const key = Redacted.make(`-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgOrRGerdSkIyekW0B
z0njoKAeOqUViMyi2ojpIwNkP7OhRANCAASN78Q1Xk/v1qzf7A53u9tY7muDNY7f
zjE0v431VrTqWc/98WYuqS/lhfm8YVzysGXetKmYQXrKd0uo12d5D7mf
-----END PRIVATE KEY-----
`)

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "callisto-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

interface Place {
  readonly server: Transport.Transport
  readonly client: Transport.Transport
  readonly binding: StringBinding
}

const build = (layer: Layer.Layer<Transport.Transport>) =>
  Effect.map(Layer.build(layer), (context) => Context.get(context, Transport.Transport))

const onBothSides = (layer: Layer.Layer<Transport.Transport>, text: string): Effect.Effect<Place, never, Scope.Scope> =>
  Effect.map(build(layer), (transport) => ({ server: transport, client: transport, binding: at(text) }))

const places: { readonly [name: string]: Effect.Effect<Place, never, Scope.Scope> } = {
  "TCP": onBothSides(NodeTransport.layer, "ncacn_ip_tcp:127.0.0.1[0]"),
  "TLS": onBothSides(NodeTransport.layerTls({ ca: cert, cert, key }), "ncacn_ip_tls:localhost[0]"),
  "Unix sockets": Effect.flatMap(directory, (path) => onBothSides(NodeTransport.layer, `ncalrpc:[${path}/rpc.sock]`)),
  "memory": onBothSides(Memory.layer, "ncacn_memory:[name]"),
  "message ports": Effect.gen(function* () {
    const { port1, port2 } = new MessageChannel()
    yield* Effect.addFinalizer(() => Effect.sync(() => port1.close()))
    return {
      server: yield* build(MessagePort.layer(port1)),
      client: yield* build(MessagePort.layer(port2)),
      binding: at("ncacn_messageport:[name]")
    }
  })
}

for (const [name, place] of Object.entries(places)) {
  describe(`over ${name}`, () => {
    it.live("chunks both ways: their bytes travel in order", () =>
      Effect.gen(function* () {
        const { pull, write, writeAll } = yield* echoed(yield* place)
        yield* write("a")
        assert.strictEqual(yield* readText(pull, 1), "a")
        yield* writeAll([Uint8Array.of(98), new Uint8Array(0), "c", "d"])
        yield* write("e")
        assert.strictEqual(yield* readText(pull, 4), "bcde")
        const large = random(1_000_000)
        yield* Effect.forkScoped(writeAll([large.subarray(0, 3), large.subarray(3, 700_000), large.subarray(700_000)]))
        assert.isTrue(bytesOf([large]).equals(yield* readBytes(pull, large.length)))
      }))

    it.live("view of a larger buffer: arrives alone, as a plain Uint8Array", () =>
      Effect.gen(function* () {
        const { pull, write } = yield* echoed(yield* place)
        const source = random(1000)
        yield* write(source.subarray(10, 13))
        const [chunk] = yield* pull
        assert.strictEqual(Object.getPrototypeOf(chunk), Uint8Array.prototype)
        assert.deepStrictEqual([...bytesOf([chunk])], [...source.subarray(10, 13)])
        assert.strictEqual(source.length, 1000)
      }))

    it.live("bytes before the reader is acquired: are kept", () =>
      Effect.gen(function* () {
        const { binding, client, server } = yield* place
        const { address } = yield* server.listen(binding, ({ socket }) =>
          Effect.gen(function* () {
            const { write } = yield* socket.writer
            yield* write("early")
            yield* Effect.never
          }).pipe(Effect.ignore))
        const { socket } = yield* client.connect(address)
        yield* Effect.sleep(50)
        const { pull } = yield* socket.reader
        assert.strictEqual(yield* readText(pull, 5), "early")
      }))

    it.live("read interrupted: nothing is lost", () =>
      Effect.gen(function* () {
        const { pull, write } = yield* echoed(yield* place)
        yield* Effect.timeoutOption(pull, 10)
        yield* write("kept")
        assert.strictEqual(yield* readText(pull, 4), "kept")
      }))

    it.live("function throws when it is given a chunk: ends its own reading alone", () =>
      Effect.gen(function* () {
        const { binding, client, server } = yield* place
        const { address } = yield* server.listen(binding, echo)
        const [one, other] = [yield* client.connect(address), yield* client.connect(address)]
        for (const { socket } of [one, other]) {
          const { write } = yield* socket.writer
          const readWhile = yield* makeReadWhile(socket)
          const reading = yield* Effect.forkScoped(Effect.exit(readWhile(() => {
            throw new Error("expected in this test")
          })))
          yield* write("a")
          assert.isTrue(Exit.hasDies(yield* Fiber.join(reading)))
        }
      }))

    it.live("nobody there: 1722, in a sentence", () =>
      Effect.gen(function* () {
        const { binding, client, server } = yield* place
        const listening = yield* Scope.make()
        const { address } = yield* Scope.provide(server.listen(binding, echo), listening)
        yield* Scope.close(listening, Exit.void)
        const error = yield* Effect.flip(client.connect(address))
        assert.strictEqual(error._tag, "RpcTransportError")
        assert.strictEqual(error.status, 1722)
        assert.include(error.message, "nobody listens")
        assert.include(error.message, print(address))
      }))

    it.live("an address in use: refused in a sentence, and free again when the listener's scope closes", () =>
      Effect.gen(function* () {
        const { binding, server } = yield* place
        const listening = yield* Scope.make()
        const { address } = yield* Scope.provide(server.listen(binding, echo), listening)
        const error = yield* Effect.flip(server.listen(address, echo))
        assert.strictEqual(error.status, 1740)
        assert.include(error.message, "in use")
        yield* Scope.close(listening, Exit.void)
        yield* server.listen(address, echo)
      }))

    it.live("connection: both sides know the addresses", () =>
      Effect.gen(function* () {
        const { binding, client, server } = yield* place
        const accepted = yield* Deferred.make<Transport.Connection>()
        const { address } = yield* server.listen(binding, (connection) =>
          Effect.andThen(Deferred.succeed(accepted, connection), Effect.never))
        const connection = yield* client.connect(address)
        const serverSide = yield* Deferred.await(accepted)
        assert.strictEqual(connection.peer, serverSide.local)
        assert.strictEqual(connection.local, serverSide.peer)
        for (const text of [connection.peer, connection.local]) {
          assert.strictEqual(print(at(text)), text)
          assert.strictEqual(at(text).protocol, address.protocol)
        }
        if (address.protocol === "ncacn_ip_tcp") {
          assert.strictEqual(connection.peer, print(address))
        }
        if (address.protocol === "ncacn_ip_tcp") {
          assert.match(serverSide.peer, /^ncacn_ip_tcp:127\.0\.0\.1\[\d+\]$/)
        }
      }))

    it.live("client closes: the server gets the end, after what the client wrote", () =>
      Effect.gen(function* () {
        const { binding, client, server } = yield* place
        const seen = yield* Deferred.make<readonly [string, number | string]>()
        const { address } = yield* server.listen(binding, ({ socket }) =>
          Effect.gen(function* () {
            const { pull } = yield* socket.reader
            const text = yield* readText(pull, 4)
            yield* Deferred.succeed(seen, [text, yield* closeCode(pull)])
          }).pipe(Effect.ignore))
        yield* Effect.scoped(Effect.gen(function* () {
          const { socket } = yield* client.connect(address)
          const { write } = yield* socket.writer
          yield* write("last")
        }))
        assert.deepStrictEqual(yield* Deferred.await(seen), ["last", 1000])
      }))

    it.live("handler ends: its connection closes after what it wrote; later writes fail", () =>
      Effect.gen(function* () {
        const { binding, client, server } = yield* place
        const { address } = yield* server.listen(
          binding,
          ({ socket }) => Effect.flatMap(socket.writer, ({ write }) => Effect.ignore(write("bye")))
        )
        const { pull, write } = yield* open(yield* client.connect(address))
        assert.strictEqual(yield* readText(pull, 3), "bye")
        assert.strictEqual(yield* closeCode(pull), 1000)
        const failure = yield* Effect.flip(Effect.forever(Effect.andThen(write("x"), Effect.sleep(1))))
        assert.strictEqual(failure._tag, "SocketError")
      }))

    it.live("peer closes before anything is read: all that it wrote arrives, then the end", () =>
      Effect.gen(function* () {
        const { binding, client, server } = yield* place
        const sent = random(200_000)
        const { address } = yield* server.listen(
          binding,
          ({ socket }) => Effect.flatMap(socket.writer, ({ write }) => Effect.ignore(Effect.timeout(write(sent), 200)))
        )
        const { socket } = yield* client.connect(address)
        yield* Effect.sleep(400)
        const { pull } = yield* socket.reader
        assert.isTrue(bytesOf([sent]).equals(yield* readBytes(pull, sent.length)))
        // TLS of Deno 2.9 loses an end that comes while reading is paused.
        if (name !== "TLS" || !("Deno" in globalThis)) assert.strictEqual(yield* closeCode(pull), 1000)
      }))

    // TLS encrypts in the background, so a reset comes before its data.
    it.live.skipIf(name === "TLS")(
      "data in front of a reset: it is delivered, then the end",
      () =>
        Effect.gen(function* () {
          const { binding, client, server } = yield* place
          const { address } = yield* server.listen(binding, ({ socket }) =>
            Effect.flatMap(
              socket.writer,
              ({ write }) =>
                Effect.ignore(
                  write("last words").pipe(
                    // Deno sends in the background.
                    Effect.andThen(Effect.sleep(20)),
                    Effect.andThen(write(new Socket.CloseEvent(1006)))
                  )
                )
            ))
          const { socket } = yield* client.connect(address)
          yield* Effect.sleep(50)
          const { pull } = yield* socket.reader
          assert.strictEqual(yield* readText(pull, 10), "last words")
          yield* closeCode(pull)
        })
    )

    it.live("handler dies: its connection alone ends", () =>
      Effect.gen(function* () {
        const { binding, client, server } = yield* place
        let connections = 0
        const { address } = yield* server.listen(binding, (connection) =>
          ++connections > 1 ? echo(connection) : Effect.gen(function* () {
            yield* (yield* connection.socket.reader).pull
            return yield* Effect.die(new Error("expected in this test"))
          }).pipe(Effect.orDie))
        const first = yield* client.connect(address)
        const reader = yield* first.socket.reader
        yield* Effect.flatMap(first.socket.writer, ({ write }) =>
          write("a"))
        yield* closeCode(reader.pull)
        const { pull, write } = yield* open(yield* client.connect(address))
        yield* write("on")
        assert.strictEqual(yield* readText(pull, 2), "on")
      }).pipe(Effect.provideService(References.MinimumLogLevel, "None")))

    it.live("stop: refuses new connections and keeps the old ones; the scope ends them", () =>
      Effect.gen(function* () {
        const { binding, client, server } = yield* place
        const listening = yield* Scope.make()
        const { address, stop } = yield* Scope.provide(server.listen(binding, echo), listening)
        const { pull, write } = yield* open(yield* client.connect(address))
        yield* write("a")
        yield* readText(pull, 1)
        yield* stop
        yield* stop
        assert.strictEqual((yield* Effect.flip(client.connect(address))).status, 1722)
        yield* write("b")
        assert.strictEqual(yield* readText(pull, 1), "b")
        yield* Scope.close(listening, Exit.void)
        yield* closeCode(pull)
      }))

    it.live("scope closes: a read and a write that wait fail", () =>
      Effect.gen(function* () {
        const { binding, client, server } = yield* place
        const { address } = yield* server.listen(binding, () => Effect.never)
        const connecting = yield* Scope.make()
        const { socket } = yield* Scope.provide(client.connect(address), connecting)
        const { write } = yield* socket.writer
        const { pull } = yield* socket.reader
        const reading = yield* Effect.forkChild(Effect.flip(pull))
        const writing = yield* Effect.forkChild(Effect.flip(Effect.forever(write(new Uint8Array(1_000_000)))))
        yield* Effect.sleep(50)
        yield* Scope.close(connecting, Exit.void)
        assert.strictEqual((yield* Fiber.join(reading))._tag, "SocketError")
        assert.strictEqual((yield* Fiber.join(writing))._tag, "SocketError")
        assert.strictEqual((yield* Effect.flip(pull))._tag, "SocketError")
      }))

    // TLS of Deno 2.9 takes all that is written.
    it.live.skipIf(name === "TLS" && "Deno" in globalThis)(
      "slow reader: the writer waits",
      () =>
        Effect.gen(function* () {
          const { binding, client, server } = yield* place
          const go = yield* Deferred.make<void>()
          const chunk = random(1_000_000)
          const chunks = 40
          const counted = yield* Deferred.make<number>()
          const { address } = yield* server.listen(binding, ({ socket }) =>
            Effect.gen(function* () {
              const { pull } = yield* socket.reader
              yield* Deferred.await(go)
              let bytes = 0
              while (bytes < chunk.length * chunks) bytes += bytesOf(yield* pull).length
              yield* Deferred.succeed(counted, bytes)
            }).pipe(Effect.ignore))
          const { socket } = yield* client.connect(address)
          const { write } = yield* socket.writer
          let written = 0
          const writing = yield* Effect.forkChild(Effect.gen(function* () {
            for (let i = 0; i < chunks; i++) {
              yield* write(chunk)
              written++
            }
          }))
          yield* Effect.sleep(300)
          const stalledAt = written
          yield* Effect.sleep(100)
          assert.strictEqual(written, stalledAt)
          assert.isBelow(stalledAt, 20, "the transport holds more than the system's buffers")
          yield* Deferred.succeed(go, undefined)
          yield* Fiber.join(writing)
          assert.strictEqual(yield* Deferred.await(counted), chunk.length * chunks)
        }),
      20_000
    )

    it.live("many clients at once: each is served", () =>
      Effect.gen(function* () {
        const { binding, client, server } = yield* place
        const { address } = yield* server.listen(binding, echo)
        const one = (n: number) =>
          Effect.scoped(Effect.gen(function* () {
            const { pull, write } = yield* open(yield* client.connect(address))
            yield* write(`${n};`.repeat(100))
            return yield* readText(pull, `${n};`.length * 100)
          }))
        const texts = yield* Effect.forEach(Array.from({ length: 50 }, (_, n) => n), one, { concurrency: "unbounded" })
        texts.forEach((text, n) => assert.strictEqual(text, `${n};`.repeat(100)))
      }))

    it.live("address of another protocol sequence: is refused", () =>
      Effect.gen(function* () {
        const { client, server } = yield* place
        const other = at(name === "memory" ? "ncalrpc:[a]" : "ncacn_memory:[a]")
        const connecting = yield* Effect.flip(client.connect(other))
        assert.include(connecting.message, print(other))
        const listening = yield* Effect.flip(server.listen(other, echo))
        assert.strictEqual(listening.status, 1703)
      }))
  })
}

// ----------------------------------------------------------------------------
// the platform's sockets
// ----------------------------------------------------------------------------

/** What a program of this runtime prints, and its exit code or signal. */
const outcomeOf = (args: ReadonlyArray<string>) =>
  Effect.callback<string>((resume) => {
    const child = spawn(process.execPath, args)
    let output = ""
    child.stdout.on("data", (data) => output += data)
    child.stderr.on("data", (data) => output += data)
    const killer = setTimeout(() => child.kill("SIGKILL"), 25_000)
    child.once("close", (code, signal) => {
      clearTimeout(killer)
      resume(Effect.succeed(`${output}${code ?? signal}`))
    })
  })

/** Lets a program die that listens at a path: a killed one does not remove its socket. */
const leaveSocket = (path: string) => {
  const text = JSON.stringify(path)
  const code = `require("node:net").createServer().listen(${text}, () => process.kill(process.pid, "SIGKILL"))`
  const imports = `import { createRequire } from "node:module"; import process from "node:process"`
  return outcomeOf(
    process.versions["deno"] ? ["eval", `${imports}; const require = createRequire("file:///"); ${code}`] : ["-e", code]
  )
}

/** The timers of the connections with a port, as Linux shows them; kind 2 is keep-alive. */
const keepAliveTimers = (port: number) => {
  const hex = port.toString(16).toUpperCase().padStart(4, "0")
  return readFileSync("/proc/net/tcp", "utf8").split("\n").map((line) => line.trim().split(/\s+/)).filter(
    ([, local, remote, state]) => state === "01" && (local!.endsWith(`:${hex}`) || remote!.endsWith(`:${hex}`))
  ).map((fields) => {
    const [kind, ticks] = fields[5]!.split(":")
    return { kind: Number(kind), seconds: parseInt(ticks!, 16) / 100 }
  })
}

describe("NodeTransport", () => {
  const transport = build(NodeTransport.layer)

  it.live("string binding without an endpoint: is refused", () =>
    Effect.gen(function* () {
      const { connect } = yield* transport
      const missing = yield* Effect.flip(connect(at("ncacn_ip_tcp:127.0.0.1")))
      assert.include(missing.message, "has no endpoint")
    }))

  it.live("no address given: listens on all addresses", () =>
    Effect.gen(function* () {
      const { connect, listen } = yield* transport
      const { address } = yield* listen(at("ncacn_ip_tcp:"), echo)
      assert.strictEqual(address.address, "")
      assert.notStrictEqual(address.endpoint, "0")
      const { peer } = yield* connect({ ...address, address: "127.0.0.1" })
      assert.strictEqual(peer, `ncacn_ip_tcp:127.0.0.1[${address.endpoint}]`)
    }))

  it.live("IPv4 client of a listener on all addresses: is shown as IPv4", () =>
    Effect.gen(function* () {
      const { connect, listen } = yield* transport
      const accepted = yield* Deferred.make<string>()
      const { address } = yield* listen(at("ncacn_ip_tcp:"), ({ peer }) => Deferred.succeed(accepted, peer))
      yield* connect({ ...address, address: "127.0.0.1" })
      assert.match(yield* Deferred.await(accepted), /^ncacn_ip_tcp:127\.0\.0\.1\[\d+\]$/)
    }))

  it.live("named Unix socket: stands where the runtime's files are", () =>
    Effect.gen(function* () {
      const path = yield* directory
      const before = process.env["XDG_RUNTIME_DIR"]
      process.env["XDG_RUNTIME_DIR"] = path
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          if (before === undefined) delete process.env["XDG_RUNTIME_DIR"]
          else process.env["XDG_RUNTIME_DIR"] = before
        })
      )
      const { connect, listen } = yield* transport
      yield* listen(at("ncalrpc:[named]"), echo)
      const { peer } = yield* connect(at(`ncalrpc:[${path}/named.sock]`))
      assert.strictEqual(peer, `ncalrpc:[${path}/named.sock]`)
    }))

  it.live("Unix socket that a dead program left behind: is replaced, and no other file is", () =>
    Effect.gen(function* () {
      const path = yield* directory
      const { connect, listen } = yield* transport
      const left = `${path}/left.sock`
      yield* leaveSocket(left)
      assert.strictEqual((yield* Effect.flip(connect(at(`ncalrpc:[${left}]`)))).status, 1722)
      yield* listen(at(`ncalrpc:[${left}]`), echo)
      yield* connect(at(`ncalrpc:[${left}]`))

      writeFileSync(`${path}/file`, "precious")
      const error = yield* Effect.flip(listen(at(`ncalrpc:[${path}/file]`), echo))
      assert.strictEqual(error.status, 1740)
    }))

  it.live("unknown certificate: is not trusted", () =>
    Effect.gen(function* () {
      const { listen } = yield* build(NodeTransport.layerTls({ cert, key }))
      const { address } = yield* listen(at("ncacn_ip_tls:localhost[0]"), echo)
      const stranger = yield* transport
      const error = yield* Effect.flip(stranger.connect(address))
      assert.strictEqual(error.status, 1722)
      const none = yield* Effect.flip(stranger.listen(at("ncacn_ip_tls:localhost[0]"), echo))
      assert.include(none.message, "needs a certificate")
      // A client that speaks no TLS does not disturb the server.
      yield* Effect.scoped(Effect.gen(function* () {
        const { pull, write } = yield* open(yield* stranger.connect({ ...address, protocol: "ncacn_ip_tcp" }))
        yield* write("this is no TLS")
        yield* closeCode(pull)
      }))
      const friend = yield* build(NodeTransport.layerTls({ ca: cert }))
      yield* friend.connect(address)
    }))

  it.live("connections over TCP and TLS: both ends have TCP keep-alive after 30 seconds", () =>
    Effect.gen(function* () {
      if (process.platform !== "linux") return
      const { connect, listen } = yield* build(NodeTransport.layerTls({ ca: cert, cert, key }))
      for (const text of ["ncacn_ip_tcp:127.0.0.1[0]", "ncacn_ip_tls:127.0.0.1[0]"]) {
        const { address } = yield* listen(at(text), echo)
        const { socket } = yield* connect(address)
        const { write } = yield* socket.writer
        const { pull } = yield* socket.reader
        yield* write("a")
        yield* readText(pull, 1)
        // What was sent is acknowledged first; until then another timer runs.
        const timers = yield* Effect.repeat(
          Effect.andThen(Effect.sleep(10), Effect.sync(() => keepAliveTimers(Number(address.endpoint)))),
          { times: 50, until: (timers) => timers.every(({ kind }) => kind === 2) }
        )
        assert.deepStrictEqual(timers.map(({ kind, seconds }) => [kind, Math.ceil(seconds)]), [[2, 30], [2, 30]], text)
      }
    }))

  it.live("a TLS client that does not begin its handshake: the server has its connection, and can close it", () =>
    Effect.gen(function* () {
      const { listen } = yield* build(NodeTransport.layerTls({ cert, key }))
      const stranger = yield* transport
      const accepted = yield* Deferred.make<Transport.Connection>()
      const go = yield* Deferred.make<void>()
      const listening = yield* Scope.make()
      const { address } = yield* Scope.provide(
        listen(
          at("ncacn_ip_tls:127.0.0.1[0]"),
          (connection) => Effect.andThen(Deferred.succeed(accepted, connection), Deferred.await(go))
        ),
        listening
      )
      const { socket, local } = yield* stranger.connect({ ...address, protocol: "ncacn_ip_tcp" })
      const { pull } = yield* socket.reader
      const { peer } = yield* Deferred.await(accepted)
      assert.strictEqual(peer, local.replace("ncacn_ip_tcp", "ncacn_ip_tls"))
      yield* Deferred.succeed(go, undefined)
      yield* closeCode(pull)
      // Nor does such a connection hold up the end of the server.
      const other = yield* stranger.connect({ ...address, protocol: "ncacn_ip_tcp" })
      const { write } = yield* other.socket.writer
      yield* write(Uint8Array.of(0x16, 3, 1, 2, 0, 1))
      const closed = yield* Effect.timeoutOption(Scope.close(listening, Exit.void), 700)
      assert.strictEqual(closed._tag, "Some")
    }))

  it.live("an endpoint over TLS: its limit and bindTimeout count clients that do not begin their handshake", () =>
    Effect.gen(function* () {
      const server = yield* Server.make([])
      const { address } = yield* Endpoint.serve(server, "ncacn_ip_tls:127.0.0.1[0]", {
        maximumConnections: 1,
        bindTimeout: "300 millis"
      }).pipe(Effect.provide(NodeTransport.layerTls({ cert, key })))
      const stranger = yield* transport
      const connect = Effect.flatMap(
        stranger.connect({ ...address, protocol: "ncacn_ip_tcp" }),
        ({ socket }) => socket.reader
      )
      const first = yield* connect
      // There is one place: the second one gets it, and the first one, which has been idle for longer, is closed.
      const second = yield* connect
      yield* closeCode(first.pull)
      const holds = yield* Effect.timeoutOption(closeCode(second.pull), 20)
      assert.strictEqual(holds._tag, "None")
      const ended = yield* Effect.timeoutOption(closeCode(second.pull), patience)
      assert.strictEqual(ended._tag, "Some")
    }))

  it.live("certificates and keys that can't be used: CantCreateEndpoint says which and why", () =>
    Effect.gen(function* () {
      const other = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey
      const pem = (options: object = {}) => String(other.export({ type: "pkcs8", format: "pem", ...options }))
      const encrypted = pem({ cipher: "aes-256-cbc", passphrase: "secret" })
      const damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
      const cases: ReadonlyArray<readonly [string, string, string]> = [
        ["not a certificate", Redacted.value(key), "the option cert has no certificate in PEM format"],
        [damaged, Redacted.value(key), "certificate 1 of the option cert is damaged"],
        [cert + damaged, Redacted.value(key), "certificate 2 of the option cert is damaged"],
        [cert, "not a key", "the option key has no private key in PEM format"],
        [cert, pem(), "the option key belongs to another certificate"],
        [cert, encrypted, "the option key is encrypted"]
      ]
      for (const [cert, key, problem] of cases) {
        const { listen } = yield* build(NodeTransport.layerTls({ cert, key: Redacted.make(key) }))
        const error = yield* Effect.flip(listen(at("ncacn_ip_tls:127.0.0.1[0]"), echo))
        assert.strictEqual(error._tag, "CantCreateEndpoint")
        assert.strictEqual(error.status, 1720)
        assert.include(error.message, problem)
      }
      const { connect } = yield* build(NodeTransport.layerTls({ ca: "not a certificate" }))
      const error = yield* Effect.flip(connect(at("ncacn_ip_tls:127.0.0.1[1]")))
      assert.strictEqual(error.status, 1722)
      assert.include(error.message, "the option ca has no certificate in PEM format")
    }))

  it.live("places where no server can listen: CantCreateEndpoint says why", () =>
    Effect.gen(function* () {
      const path = yield* directory
      const { listen } = yield* transport
      const cases: ReadonlyArray<readonly [string, string]> = [
        [`ncalrpc:[${path}/none/s]`, `there is no directory ${path}/none. Make it first`],
        [`ncalrpc:[${path}/${"a".repeat(200)}]`, "the path is too long"],
        ["ncacn_ip_tcp:nosuch.invalid[0]", "ncacn_ip_tcp:nosuch.invalid[0]: "],
        ["ncacn_ip_tcp:192.0.2.1[0]", "ncacn_ip_tcp:192.0.2.1[0]: "]
      ]
      for (const [text, problem] of cases) {
        const error = yield* Effect.flip(listen(at(text), echo))
        assert.strictEqual(error.status, 1720, text)
        assert.include(error.message, problem)
        assert.notInclude(error.message, "nobody listens")
      }
    }))

  it(
    "a program without permissions: typed refusals, and nothing ends it",
    () =>
      Effect.runPromise(Effect.scoped(Effect.gen(function* () {
        if (process.versions["deno"] === undefined) return
        const program = fileURLToPath(new URL("denied.ts", import.meta.url))
        const outcome = yield* outcomeOf(["run", "--no-prompt", "--allow-env", "--allow-read", "--allow-sys", program])
        assert.strictEqual(
          outcome,
          [
            "ncacn_ip_tcp:127.0.0.1[0]: CantCreateEndpoint 1720 true",
            "ncacn_ip_tcp:localhost[0]: CantCreateEndpoint 1720 true",
            "ncacn_ip_tcp:[0]: CantCreateEndpoint 1720 true",
            "ncalrpc:[callisto-denied]: CantCreateEndpoint 1720 true",
            "ncacn_ip_tcp:127.0.0.1[9]: RpcTransportError 1722 true",
            "ncalrpc:[callisto-denied]: RpcTransportError 1722 true",
            "0"
          ].join("\n")
        )
      }))),
    20_000
  )

  it.live("a socket of a dead program in a directory that is not ours: CantCreateEndpoint says what to remove", () =>
    Effect.gen(function* () {
      // Root may remove it anyway.
      if (process.getuid?.() === 0 || process.platform === "win32") return
      const path = yield* directory
      yield* leaveSocket(`${path}/left.sock`)
      chmodSync(path, 0o500)
      yield* Effect.addFinalizer(() => Effect.sync(() => chmodSync(path, 0o700)))
      const { listen } = yield* transport
      const error = yield* Effect.flip(listen(at(`ncalrpc:[${path}/left.sock]`), echo))
      assert.strictEqual(error.status, 1720)
      assert.include(error.message, `${path}/left.sock there, which can't be removed (EACCES)`)
    }))

  it.live("servers that start over one socket of a dead program: one of them listens", () =>
    Effect.gen(function* () {
      const path = yield* directory
      const { connect, listen } = yield* transport
      const left = at(`ncalrpc:[${path}/left.sock]`)
      for (let round = 0; round < 5; round++) {
        yield* leaveSocket(`${path}/left.sock`)
        const listening = yield* Scope.make()
        const exits = yield* Effect.forEach(
          [1, 2, 3],
          () => Scope.provide(Effect.exit(listen(left, echo)), listening),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
        yield* Effect.scoped(connect(left))
        yield* Scope.close(listening, Exit.void)
      }
    }), 20_000)

  it.live("connect interrupted: stops", () =>
    Effect.gen(function* () {
      // A server that never answers the handshake of TLS.
      const server = yield* Effect.acquireRelease(
        Effect.callback<net.Server>((resume) => {
          const server = net.createServer((conn) => conn.on("error", () => {}))
          server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => server.close())
      )
      const { port } = server.address() as net.AddressInfo
      const closed = new Promise((resolve) => server.once("connection", (conn) => conn.resume().once("close", resolve)))
      const { connect } = yield* transport
      const tried = yield* Effect.timeoutOption(connect(at(`ncacn_ip_tls:127.0.0.1[${port}]`)), 100)
      assert.strictEqual(tried._tag, "None")
      yield* Effect.promise(() => closed)
    }))

  it.live("connection reset: the reader fails", () =>
    Effect.gen(function* () {
      const { connect, listen } = yield* transport
      const { address } = yield* listen(at("ncacn_ip_tcp:127.0.0.1[0]"), ({ socket }) =>
        Effect.flatMap(socket.writer, ({ write }) => Effect.ignore(write(new Socket.CloseEvent(1006)))))
      const { socket } = yield* connect(address)
      const { pull } = yield* socket.reader
      yield* closeCode(pull)
    }))

  it.live("scopes closed, a peer does not read: the program ends", () =>
    Effect.gen(function* () {
      const path = yield* directory
      const program = fileURLToPath(new URL("ending.ts", import.meta.url))
      const command = process.versions["deno"] ? ["run", "-A", program] : [program]
      const outcome = yield* outcomeOf([...command, "ncacn_ip_tcp:127.0.0.1[0]", `ncalrpc:[${path}/s]`])
      assert.strictEqual(outcome, "closed\n0")
    }))

  it.live("a closed connection whose peer does not read: reset after a second, the rest is not sent", () =>
    Effect.gen(function* () {
      const accepted = yield* Deferred.make<net.Socket>()
      const listener = net.createServer(
        { pauseOnConnect: true },
        (conn) => Deferred.doneUnsafe(accepted, Exit.succeed(conn))
      )
      yield* Effect.addFinalizer(() => Effect.sync(() => listener.close()))
      const port = yield* Effect.callback<number>((resume) => {
        listener.listen(0, "127.0.0.1", () => resume(Effect.succeed((listener.address() as net.AddressInfo).port)))
      })
      const { connect } = yield* transport
      const size = 32_000_000
      const conn = yield* Effect.scoped(Effect.gen(function* () {
        const { write } = yield* open(yield* connect(at(`ncacn_ip_tcp:127.0.0.1[${port}]`)))
        yield* Effect.forkScoped(Effect.ignore(write(new Uint8Array(size))), { startImmediately: true })
        return yield* Deferred.await(accepted)
      }))
      yield* Effect.sleep(1500)
      let heard = 0
      yield* Effect.callback<void>((resume) => {
        conn.on("data", ({ length }) => heard += length)
        conn.on("error", () => {})
        conn.once("close", () => resume(Effect.void))
        conn.resume()
      })
      assert.isBelow(heard, size)
    }))
})

// ----------------------------------------------------------------------------
// message ports
// ----------------------------------------------------------------------------

/** One side of a channel that drops what nobody listens to, as the port of a worker does. */
class FakeWorker extends EventTarget implements MessagePort.MessagePortLike {
  other!: FakeWorker
  postMessage(data: unknown) {
    queueMicrotask(() => this.other.dispatchEvent(Object.assign(new Event("message"), { data })))
  }
}

describe("over a message port", () => {
  const channel = Effect.acquireRelease(
    Effect.sync(() => new MessageChannel()),
    ({ port1, port2 }) =>
      Effect.sync(() => {
        port1.close()
        port2.close()
      })
  )
  const name = at("ncacn_messageport:[name]")

  const talk = (connection: Transport.Connection) =>
    Effect.gen(function* () {
      const { pull, write } = yield* open(connection)
      yield* write("on")
      assert.strictEqual(yield* readText(pull, 2), "on")
    })

  it.live("the other port closes without a word: the end, after what it sent, and writes fail", () =>
    Effect.gen(function* () {
      const { port1, port2 } = yield* channel
      const { socket } = yield* MessagePort.fromMessagePort(port1)
      const { write } = yield* socket.writer
      const { pull } = yield* socket.reader
      const writing = yield* Effect.forkChild(Effect.flip(write(new Uint8Array(100_000))))
      port2.postMessage(Uint8Array.of(97))
      port2.close()
      assert.strictEqual(yield* readText(pull, 1), "a")
      assert.strictEqual(yield* closeCode(pull), 1006)
      assert.strictEqual((yield* Fiber.join(writing))._tag, "SocketError")
    }))

  /** A worker that holds a port, and sends a byte over it. */
  const holding = (port: unknown) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const code = `require("node:worker_threads").parentPort.on("message", ({ port }) => {
          globalThis.held = port
          port.on("message", () => {})
          port.postMessage(Uint8Array.of(97))
        })`
        const worker = new Worker(code, { eval: true })
        worker.postMessage({ port }, [port as never])
        return worker
      }),
      (worker) => Effect.promise(() => worker.terminate())
    )

  it.live("a worker ends: its connection ends", () =>
    Effect.gen(function* () {
      const { port1, port2 } = yield* channel
      const worker = yield* holding(port2)
      const { socket } = yield* MessagePort.fromMessagePort(port1)
      const { pull } = yield* socket.reader
      assert.strictEqual(yield* readText(pull, 1), "a")
      yield* Effect.promise(() => worker.terminate())
      assert.strictEqual(yield* closeCode(pull), 1006)
    }))

  it.live("a worker ends: connect fails with 1722, while it waits and afterwards", () =>
    Effect.gen(function* () {
      const { port1, port2 } = yield* channel
      const there = new Promise((resolve) => port1.addEventListener("message", resolve, { once: true }))
      const worker = yield* holding(port2)
      const client = yield* build(MessagePort.layer(port1))
      yield* Effect.promise(() => there)
      const connecting = yield* Effect.forkChild(Effect.flip(client.connect(name)), { startImmediately: true })
      yield* Effect.sleep(20)
      assert.isUndefined(connecting.pollUnsafe())
      yield* Effect.promise(() => worker.terminate())
      for (const error of [yield* Fiber.join(connecting), yield* Effect.flip(client.connect(name))]) {
        assert.strictEqual(error.status, 1722)
        assert.include(error.message, "the other side of the message port is gone")
      }
    }))

  it.live("connect before the other side listens: it waits", () =>
    Effect.gen(function* () {
      const { port1, port2 } = yield* channel
      const client = yield* build(MessagePort.layer(port1))
      const connecting = yield* Effect.forkChild(client.connect(name), { startImmediately: true })
      yield* Effect.sleep(20)
      const server = yield* build(MessagePort.layer(port2))
      yield* Effect.sleep(20)
      assert.isUndefined(connecting.pollUnsafe())
      yield* server.listen(name, echo)
      yield* talk(yield* Fiber.join(connecting))
    }))

  it.live("connect before a worker that drops messages has its layer: it asks again", () =>
    Effect.gen(function* () {
      const [page, worker] = [new FakeWorker(), new FakeWorker()]
      page.other = worker
      worker.other = page
      const client = yield* build(MessagePort.layer(page))
      const connecting = yield* Effect.forkChild(client.connect(name), { startImmediately: true })
      yield* Effect.sleep(20)
      const server = yield* build(MessagePort.layer(worker))
      yield* server.listen(name, echo)
      yield* talk(yield* Fiber.join(connecting))
    }))

  it.live("a client that gave up before the other side listens: no connection", () =>
    Effect.gen(function* () {
      const { port1, port2 } = yield* channel
      const client = yield* build(MessagePort.layer(port1))
      const server = yield* build(MessagePort.layer(port2))
      assert.strictEqual((yield* Effect.timeoutOption(client.connect(name), 30))._tag, "None")
      yield* Effect.sleep(30)
      let accepted = 0
      yield* server.listen(name, (connection) => {
        accepted++
        return echo(connection)
      })
      yield* talk(yield* client.connect(name))
      assert.strictEqual(accepted, 1)
    }))

  it.live("the other side ends before it listens: 1722", () =>
    Effect.gen(function* () {
      const { port1, port2 } = yield* channel
      const client = yield* build(MessagePort.layer(port1))
      const listening = yield* Scope.make()
      yield* Scope.provide(build(MessagePort.layer(port2)), listening)
      const connecting = yield* Effect.forkChild(Effect.flip(client.connect(name)), { startImmediately: true })
      yield* Effect.sleep(20)
      yield* Scope.close(listening, Exit.void)
      assert.strictEqual((yield* Fiber.join(connecting)).status, 1722)
    }))
})

// ----------------------------------------------------------------------------
// WebSockets
// ----------------------------------------------------------------------------

/** One side of a WebSocket in memory. */
class FakeWebSocket extends EventTarget implements Socket.WebSocketLike {
  readyState = 0
  bufferedAmount = 0
  binaryType = "blob"
  other!: FakeWebSocket
  readonly closes: Array<number | undefined> = []
  emit(type: string, fields: object = {}) {
    queueMicrotask(() => {
      if (type === "open") this.readyState = 1
      if (type === "close") this.readyState = 3
      this.dispatchEvent(Object.assign(new Event(type), fields))
    })
  }
  send(data: string | Uint8Array) {
    this.other.emit("message", { data: typeof data === "string" ? data : data.slice().buffer })
  }
  close(code?: number) {
    if (this.readyState >= 2) return
    this.readyState = 2
    this.closes.push(code)
    for (const side of [this, this.other]) side.emit("close", { code, reason: "" })
  }
}

const fakePair = () => {
  const pair = [new FakeWebSocket(), new FakeWebSocket()] as const
  pair[0].other = pair[1]
  pair[1].other = pair[0]
  return pair
}

describe("over WebSockets", () => {
  const names = { peer: "ncacn_ws:host[80]" }

  it.live("WebSocket: bytes travel in binary frames", () =>
    Effect.gen(function* () {
      const [left, right] = fakePair()
      left.emit("open")
      right.emit("open")
      const client = yield* WebSocket.fromWebSocket(left, names)
      const server = yield* WebSocket.fromWebSocket(right, { peer: "ncacn_ws:" })
      yield* Effect.forkScoped(echo(server))
      const { writeAll } = yield* client.socket.writer
      const { pull } = yield* client.socket.reader
      yield* writeAll(["ab", "c"])
      const [chunk] = yield* pull
      assert.strictEqual(String(bytesOf([chunk])), "abc")
      assert.strictEqual(left.binaryType, "arraybuffer")
      assert.strictEqual(client.peer, "ncacn_ws:host[80]")
    }))

  it.live("scope closes: the WebSocket closes, and the other side learns it", () =>
    Effect.gen(function* () {
      const [left, right] = fakePair()
      left.emit("open")
      right.emit("open")
      const server = yield* WebSocket.fromWebSocket(right, names)
      const { pull } = yield* server.socket.reader
      yield* Effect.scoped(WebSocket.fromWebSocket(left, names))
      assert.deepStrictEqual(left.closes, [1000])
      assert.strictEqual(yield* closeCode(pull), 1000)
    }))

  it.live("nobody reads, and the WebSocket can't be paused: 64 MiB are kept, then the connection ends", () =>
    Effect.gen(function* () {
      const [left, right] = fakePair()
      left.emit("open")
      right.emit("open")
      const { socket } = yield* WebSocket.fromWebSocket(right, names)
      const { pull } = yield* socket.reader
      const { write } = yield* socket.writer
      const mebibyte = new Uint8Array(0x100000)
      for (let i = 0; i < 64; i++) left.send(mebibyte)
      yield* Effect.yieldNow
      assert.deepStrictEqual(right.closes, [])
      left.send(mebibyte)
      yield* Effect.yieldNow
      assert.deepStrictEqual(right.closes, [4000])
      assert.strictEqual(yield* closeCode(pull), 1009)
      assert.strictEqual((yield* Effect.flip(write("a"))).reason._tag, "SocketWriteError")
    }))

  it.live("data in front of an end of any kind: it is delivered, then the end", () =>
    Effect.gen(function* () {
      const ends: ReadonlyArray<readonly [(right: FakeWebSocket) => void, number]> = [
        [(right) => right.close(1001), 1001],
        [(right) => right.other.emit("error"), 1006],
        [(right) => right.send("text"), 1003]
      ]
      for (const [end, code] of ends) {
        const [left, right] = fakePair()
        left.emit("open")
        const { socket } = yield* WebSocket.fromWebSocket(left, names)
        right.send(text("kept"))
        end(right)
        yield* Effect.sleep(1)
        const { pull } = yield* socket.reader
        assert.strictEqual(yield* readText(pull, 4), "kept")
        assert.strictEqual(yield* closeCode(pull), code)
      }
    }))

  it.live("a constructor that throws: 1722", () =>
    Effect.gen(function* () {
      const constructor = Layer.succeed(Socket.WebSocketConstructor, () => {
        throw new Error("not permitted")
      })
      const { connect } = yield* build(Layer.provide(WebSocket.layer, constructor))
      const error = yield* Effect.flip(connect(at("ncacn_ws:host[80]")))
      assert.strictEqual(error.status, 1722)
      assert.include(error.message, "ncacn_ws:host[80]: not permitted")
    }))

  it.live("a WebSocket that can't be opened: 1722", () =>
    Effect.gen(function* () {
      const [left] = fakePair()
      left.emit("error")
      const error = yield* Effect.flip(WebSocket.fromWebSocket(left, names))
      assert.strictEqual(error.status, 1722)
      assert.include(error.message, "ncacn_ws:host[80]")
    }))

  it.live("text frame: ends the connection", () =>
    Effect.gen(function* () {
      const [left, right] = fakePair()
      left.emit("open")
      const { socket } = yield* WebSocket.fromWebSocket(left, names)
      const { pull } = yield* socket.reader
      right.send("text")
      assert.strictEqual(yield* closeCode(pull), 1003)
      assert.deepStrictEqual(left.closes, [4000])
    }))

  it.live("WebSocket behind: the writer waits", () =>
    Effect.gen(function* () {
      const [left] = fakePair()
      left.emit("open")
      const { socket } = yield* WebSocket.fromWebSocket(left, names)
      const { write } = yield* socket.writer
      left.bufferedAmount = 100_000
      const writing = yield* Effect.forkChild(write("a"))
      yield* Effect.sleep(30)
      assert.isUndefined(writing.pollUnsafe())
      left.bufferedAmount = 0
      yield* Fiber.join(writing)
    }))

  it.live("layer of the WebSocket transport: dials the URL of the string binding, and does not listen", () =>
    Effect.gen(function* () {
      const urls: Array<string> = []
      const constructor = Layer.succeed(Socket.WebSocketConstructor, (url) => {
        urls.push(url)
        const [left] = fakePair()
        left.emit("open")
        return left
      })
      const { connect, listen } = yield* build(Layer.provide(WebSocket.layer, constructor))
      const { peer } = yield* connect(at("ncacn_ws:host[8080,path=/rpc]"))
      yield* connect(at("ncacn_wss:::1"))
      assert.deepStrictEqual(urls, ["ws://host:8080/rpc", "wss://[::1]/"])
      assert.strictEqual(peer, "ncacn_ws:host[8080,path=/rpc]")
      const error = yield* Effect.flip(listen(at("ncacn_ws:"), echo))
      assert.include(error.message, "fromWebSocket")
    }))
})

// ----------------------------------------------------------------------------
// outboxes
// ----------------------------------------------------------------------------

/** A socket that records what is written at once, and has room when it is told so. */
const makeRecorder = () => {
  const batches: Array<string> = []
  const room: Array<(effect: Effect.Effect<void, Socket.SocketError>) => void> = []
  const writeAll: Socket.Writer["writeAll"] = (chunks) =>
    Effect.callback((resume) => {
      batches.push(chunks.map((chunk) => String(bytesOf([chunk]))).join("|"))
      room.push(resume)
    })
  const socket = Socket.make({
    reader: Effect.never,
    writer: Effect.succeed({ writeAll, write: () => Effect.die("not used") })
  })
  return { batches, socket, next: Effect.sync(() => room.shift()!), room }
}

const text = (value: string) => new TextEncoder().encode(value)

describe("an outbox", () => {
  it.effect("outbox: writes once what was sent in one turn", () =>
    Effect.gen(function* () {
      const { batches, room, socket } = makeRecorder()
      const outbox = yield* makeOutbox(socket)
      const send = (value: string) => Effect.sync(() => outbox.sendUnsafe(text(value)))
      yield* Effect.forEach(["a", "b", "c"], (value) => Effect.forkChild(send(value)))
      assert.deepStrictEqual(batches, [])
      yield* Effect.yieldNow
      yield* Effect.yieldNow
      assert.deepStrictEqual(batches, ["a|b|c"])
      assert.strictEqual(outbox.queuedUnsafe(), 3)
      yield* send("d")
      yield* send("e")
      yield* Effect.yieldNow
      assert.deepStrictEqual(batches, ["a|b|c"])
      assert.strictEqual(outbox.queuedUnsafe(), 5)
      room.shift()!(Effect.void)
      yield* Effect.yieldNow
      assert.deepStrictEqual(batches, ["a|b|c", "d|e"])
      assert.strictEqual(outbox.queuedUnsafe(), 2)
      room.shift()!(Effect.void)
      yield* outbox.drained
      assert.strictEqual(outbox.queuedUnsafe(), 0)
    }))

  it.effect("outbox: writes at once when 16 KiB have come together, but for parts of something large", () =>
    Effect.gen(function* () {
      const { batches, room, socket } = makeRecorder()
      const outbox = yield* makeOutbox(socket)
      const sizes = () => batches.map((batch) => batch.split("|").map(({ length }) => length))
      const send = (size: number) => outbox.sendUnsafe(text("a".repeat(size)))
      const sendPart = (size: number) => outbox.sendPartUnsafe(text("a".repeat(size)))
      sendPart(20_000)
      sendPart(20_000)
      assert.deepStrictEqual(sizes(), [])
      yield* Effect.yieldNow
      assert.deepStrictEqual(sizes(), [[20_000, 20_000]])
      room.shift()!(Effect.void)
      yield* outbox.drained
      send(10_000)
      assert.deepStrictEqual(sizes().slice(1), [])
      send(7000)
      assert.deepStrictEqual(sizes().slice(1), [[10_000, 7000]])
      // While that is written the rest waits.
      send(17_000)
      send(1)
      yield* Effect.yieldNow
      assert.deepStrictEqual(sizes().slice(2), [])
      room.shift()!(Effect.void)
      yield* Effect.yieldNow
      assert.deepStrictEqual(sizes().slice(2), [[17_000, 1]])
      assert.strictEqual(outbox.queuedUnsafe(), 17_001)
    }))

  it.effect("outbox, another sender's write: waiting fibers are told behind it, not within it", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      let result: Effect.Effect<void, Socket.SocketError> = Effect.void
      const socket = Socket.make({
        reader: Effect.never,
        writer: Effect.succeed({ writeAll: () => result, write: () => Effect.die("not used") })
      })
      const outbox = yield* makeOutbox(socket, () => told.push("failed"))
      outbox.sendPartUnsafe(new Uint8Array(20_000))
      const waiting = Effect.andThen(outbox.drained, Effect.sync(() => told.push("drained")))
      yield* Effect.forkChild(waiting, { startImmediately: true })
      outbox.sendUnsafe(new Uint8Array(1))
      assert.strictEqual(outbox.handedUnsafe(), 20_001)
      assert.deepStrictEqual(told, [])
      yield* Effect.yieldNow
      assert.deepStrictEqual(told, ["drained"])
      result = Effect.fail(new Socket.SocketError({ reason: new Socket.SocketCloseError({ code: 1006 }) }))
      outbox.sendUnsafe(new Uint8Array(17_000))
      assert.deepStrictEqual(told, ["drained"])
      yield* Effect.yieldNow
      assert.deepStrictEqual(told, ["drained", "failed"])
    }))

  it.effect("outbox, parts one behind the other in memory: are written as one chunk", () =>
    Effect.gen(function* () {
      const { batches, socket } = makeRecorder()
      const outbox = yield* makeOutbox(socket)
      const bytes = text("abcdef")
      for (const [from, to] of [[0, 2], [2, 3], [4, 5], [5, 6], [3, 4]]) outbox.sendUnsafe(bytes.subarray(from, to))
      // What follows in another buffer does not.
      outbox.sendUnsafe(text("xy____").subarray(4, 6))
      yield* Effect.yieldNow
      assert.deepStrictEqual(batches, ["abc|ef|d|__"])
    }))

  it.effect("outbox: hands over 256 KiB at once, and cuts larger writes", () =>
    Effect.gen(function* () {
      const { batches, room, socket } = makeRecorder()
      const outbox = yield* makeOutbox(socket)
      const at = 262_144
      const sent = ["abc", "d".repeat(2 * at), "e", "f", "g".repeat(at - 5)]
      for (const value of sent) outbox.sendUnsafe(text(value))
      const handed: Array<number> = []
      do {
        yield* Effect.yieldNow
        handed.push(outbox.handedUnsafe())
        room.shift()!(Effect.void)
      } while (outbox.queuedUnsafe() > 0)
      assert.deepStrictEqual(handed, [at, 2 * at, 3 * at])
      assert.deepStrictEqual(batches, [`abc|${"d".repeat(at - 3)}`, "d".repeat(at), `ddd|e|f|${"g".repeat(at - 5)}`])
      outbox.sendUnsafe(text("h"))
      yield* Effect.yieldNow
      assert.strictEqual(batches.at(-1), "h")
      assert.strictEqual(outbox.handedUnsafe(), outbox.sentUnsafe())
    }))

  it.effect("outbox: has room until 64 KiB are queued, and again when the peer has caught up", () =>
    Effect.gen(function* () {
      const { room, socket } = makeRecorder()
      const outbox = yield* makeOutbox(socket)
      outbox.sendUnsafe(new Uint8Array(65_535))
      yield* outbox.room
      outbox.sendUnsafe(new Uint8Array(1))
      const waiting = yield* Effect.forkChild(outbox.room)
      yield* Effect.yieldNow
      yield* Effect.yieldNow
      assert.isUndefined(waiting.pollUnsafe())
      room.shift()!(Effect.void)
      yield* Fiber.join(waiting)
    }))

  it.effect("outbox, connection lost: waiting senders fail, and nothing more is taken", () =>
    Effect.gen(function* () {
      const { batches, room, socket } = makeRecorder()
      const outbox = yield* makeOutbox(socket)
      outbox.sendUnsafe(new Uint8Array(100_000))
      yield* Effect.yieldNow
      const waiting = yield* Effect.forkChild(Effect.flip(outbox.room))
      const draining = yield* Effect.forkChild(Effect.flip(outbox.drained))
      yield* Effect.yieldNow
      const lost = closed(1006)
      room.shift()!(Effect.fail(lost))
      assert.strictEqual(yield* Fiber.join(waiting), lost)
      assert.strictEqual(yield* Fiber.join(draining), lost)
      outbox.sendUnsafe(text("late"))
      yield* Effect.yieldNow
      assert.strictEqual(batches.length, 1)
      assert.strictEqual(yield* Effect.flip(outbox.room), lost)
    }))

  it.effect("outbox, its scope closes: waiting senders fail", () =>
    Effect.gen(function* () {
      const { socket } = makeRecorder()
      const scope = yield* Scope.make()
      const outbox = yield* Scope.provide(makeOutbox(socket), scope)
      outbox.sendUnsafe(new Uint8Array(100_000))
      const waiting = yield* Effect.forkChild(Effect.flip(outbox.room))
      yield* Effect.yieldNow
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "SocketError")
    }))
})

describe("a write that makes no progress", () => {
  const large = new Uint8Array(100_000)

  it.effect("write without progress for 60 seconds: the connection ends on both sides", () =>
    Effect.gen(function* () {
      const [left, right] = yield* Memory.makePair
      let failures = 0
      const outbox = yield* makeOutbox(left.socket, () => failures++)
      const { pull } = yield* left.socket.reader
      outbox.sendUnsafe(large)
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(failures, 0)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(failures, 1)
      assert.strictEqual((yield* Effect.flip(outbox.room))._tag, "SocketError")
      assert.strictEqual(yield* closeCode(pull), 1006)
      const other = yield* right.socket.reader
      assert.strictEqual((yield* readBytes(other.pull, large.length)).length, large.length)
      assert.strictEqual(yield* closeCode(other.pull), 1006)
    }))

  it.effect("write without progress: the 60 seconds begin anew with each write", () =>
    Effect.gen(function* () {
      const { room, socket } = makeRecorder()
      const outbox = yield* makeOutbox(socket)
      outbox.sendUnsafe(large)
      yield* TestClock.adjust("50 seconds")
      outbox.sendUnsafe(large)
      room.shift()!(Effect.void)
      yield* TestClock.adjust("59 seconds")
      assert.isFalse(outbox.isStoppedUnsafe())
      room.shift()!(Effect.void)
      yield* TestClock.adjust("10 minutes")
      assert.isFalse(outbox.isStoppedUnsafe())
      outbox.sendUnsafe(large)
      yield* TestClock.adjust("60 seconds")
      assert.isTrue(outbox.isStoppedUnsafe())
    }))

  it.effect("a socket of another library: it is closed", () =>
    Effect.gen(function* () {
      const written: Array<unknown> = []
      const write = (chunk: unknown) => Effect.sync(() => void written.push(chunk))
      const socket = Socket.make({
        reader: Effect.never,
        writer: Effect.succeed({ write, writeAll: () => Effect.never })
      })
      const outbox = yield* makeOutbox(socket)
      outbox.sendUnsafe(large)
      yield* TestClock.adjust("60 seconds")
      assert.isTrue(Socket.isCloseEvent(written[0]))
    }))
})

// ----------------------------------------------------------------------------
// reading chunk by chunk
// ----------------------------------------------------------------------------

const asItIs = (socket: Socket.Socket) => socket

/** The same socket, but not known as one of ours. */
const asAnother = ({ reader, writer }: Socket.Socket) => Socket.make({ reader, writer })

for (const [name, as] of [["a socket of ours", asItIs], ["any other socket", asAnother]] as const) {
  describe(`reading ${name} chunk by chunk`, () => {
    const setUp = Effect.gen(function* () {
      const [left, right] = yield* Memory.makePair
      const { write, writeAll } = yield* left.socket.writer
      const readWhile = yield* makeReadWhile(as(right.socket))
      const received: Array<string> = []
      /** Reads on until this text has come. */
      const readUntil = (last: string) =>
        readWhile((chunk) => {
          received.push(String(bytesOf([chunk])))
          return received.at(-1) !== last
        })
      return { readUntil, readWhile, received, right, write, writeAll }
    })

    it.effect("reading chunk by chunk: gives all that arrives, until the function wants no more; the rest is kept", () =>
      Effect.gen(function* () {
        const { readUntil, received, writeAll } = yield* setUp
        yield* writeAll(["a", "b", "c"])
        yield* readUntil("b")
        assert.deepStrictEqual(received, ["a", "b"])
        const reading = yield* Effect.forkChild(readUntil("f"))
        yield* writeAll(["d", "e", "f", "g"])
        yield* Fiber.join(reading)
        assert.deepStrictEqual(received, ["a", "b", "c", "d", "e", "f"])
        yield* readUntil("g")
      }))

    it.effect("reading chunk by chunk: fails at the end of the connection, after what was written", () =>
      Effect.gen(function* () {
        const { readUntil, received, write } = yield* setUp
        yield* write("last")
        yield* write(new Socket.CloseEvent())
        const error = yield* Effect.flip(readUntil("never"))
        assert.deepStrictEqual([received, error.reason._tag], [["last"], "SocketCloseError"])
      }))

    it.effect("reading chunk by chunk, interrupted: loses nothing", () =>
      Effect.gen(function* () {
        const { readUntil, received, writeAll } = yield* setUp
        const reading = yield* Effect.forkChild(readUntil("never"), { startImmediately: true })
        yield* Fiber.interrupt(reading)
        yield* writeAll(["a", "b"])
        yield* readUntil("b")
        assert.deepStrictEqual(received, ["a", "b"])
      }))

    it.effect("reading chunk by chunk, interrupted by its function: ends while the function runs", () =>
      Effect.gen(function* () {
        const { readUntil, readWhile, received, writeAll } = yield* setUp
        const reading: Fiber.Fiber<void, Socket.SocketError> = yield* Effect.forkChild(
          readWhile((chunk) => {
            received.push(String(bytesOf([chunk])))
            reading.interruptUnsafe()
            return true
          }),
          { startImmediately: true }
        )
        yield* writeAll(["a"])
        yield* writeAll(["b"])
        assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(reading)))
        yield* readUntil("b")
        assert.deepStrictEqual(received, ["a", "b"])
      }))

    it.effect("reading chunk by chunk, the function closes the connection: fails, and gives nothing more", () =>
      Effect.gen(function* () {
        const { readWhile, received, right, writeAll } = yield* setUp
        const { write } = yield* right.socket.writer
        yield* writeAll(["a", "b"])
        yield* Effect.yieldNow
        yield* Effect.yieldNow
        const error = yield* Effect.flip(readWhile((chunk) => {
          received.push(String(bytesOf([chunk])))
          Effect.runSync(write(new Socket.CloseEvent()))
          return true
        }))
        assert.strictEqual(error.reason._tag, "SocketCloseError")
        if (as === asItIs) assert.deepStrictEqual(received, ["a"])
      }))

    it.effect("reading chunk by chunk, the function throws: dies of it, and can go on with the next chunk", () =>
      Effect.gen(function* () {
        const { readUntil, readWhile, received, writeAll } = yield* setUp
        yield* writeAll(["a", "b"])
        const exit = yield* Effect.exit(readWhile(() => {
          throw new Error("expected in this test")
        }))
        assert.isTrue(Exit.hasDies(exit))
        yield* readUntil("b")
        assert.deepStrictEqual(received, ["b"])
      }))
  })
}

// ----------------------------------------------------------------------------
// in memory, with faults
// ----------------------------------------------------------------------------

describe("merge", () => {
  it.effect("merge: gives each string binding to the transport that has its protocol sequence", () =>
    Effect.gen(function* () {
      const { port1 } = new MessageChannel()
      yield* Effect.addFinalizer(() => Effect.sync(() => port1.close()))
      const transport = yield* build(Transport.mergeAll(Memory.layer, MessagePort.layer(port1)))
      assert.deepStrictEqual(transport.protocols, ["ncacn_memory", "ncacn_messageport"])
      yield* transport.listen(at("ncacn_memory:[a]"), echo)
      yield* transport.listen(at("ncacn_messageport:[a]"), echo)
      yield* transport.connect(at("ncacn_memory:[a]"))
      const error = yield* Effect.flip(transport.connect(at("ncacn_ip_tcp:host[1]")))
      assert.include(error.message, "this transport has ncacn_memory, ncacn_messageport and not ncacn_ip_tcp:host[1]")
    }))
})

describe("memory", () => {
  it.effect("memory transport: keeps the names of each build of the layer apart", () =>
    Effect.gen(function* () {
      const one = yield* build(Layer.fresh(Memory.layer))
      const other = yield* build(Layer.fresh(Memory.layer))
      yield* one.listen(at("ncacn_memory:[a]"), echo)
      assert.strictEqual((yield* Effect.flip(other.connect(at("ncacn_memory:[a]")))).status, 1722)
      const { address } = yield* other.listen(at("ncacn_memory:"), echo)
      yield* other.connect(address)
    }))

  it.effect("memory transport, a reset: what was sent before is delivered, then its code", () =>
    Effect.gen(function* () {
      const [left, right] = yield* Memory.makePair
      const { write } = yield* left.socket.writer
      const { pull } = yield* right.socket.reader
      yield* write("kept")
      yield* write(new Socket.CloseEvent(1006, "reset"))
      yield* Effect.yieldNow
      assert.strictEqual(yield* readText(pull, 4), "kept")
      assert.strictEqual(yield* closeCode(pull), 1006)
    }))

  it.effect("memory transport, one end of a pair closes: the other end first gets what was written", () =>
    Effect.gen(function* () {
      const [left, right] = yield* Memory.makePair
      const { pull } = yield* right.socket.reader
      yield* Effect.scoped(Effect.flatMap(left.socket.writer, ({ write }) => write("all of it")))
      assert.strictEqual(yield* readText(pull, 9), "all of it")
      assert.strictEqual(yield* closeCode(pull), 1000)
    }))
})

describe("faults", () => {
  const bytes = random(5000)

  /** What arrives, in pieces, when these bytes are written through the faults. */
  const run = (faults: Faults) =>
    Effect.gen(function* () {
      const [left, right] = yield* Memory.makePair
      const { socket } = faulty(left, faults)
      const reader = yield* faulty(right, faults).socket.reader
      const { write } = yield* socket.writer
      const writing = yield* Effect.forkChild(Effect.gen(function* () {
        for (let i = 0; i < bytes.length; i += 50) yield* write(bytes.subarray(i, i + 50))
        yield* write(new Socket.CloseEvent())
      }))
      const pieces: Array<number> = []
      const received: Array<Uint8Array | string> = []
      const reading = yield* Effect.forkChild(Effect.flip(Effect.forever(Effect.map(reader.pull, (chunks) => {
        received.push(...chunks)
        pieces.push(...chunks.map((chunk) => chunk.length))
      }))))
      const end = yield* Effect.timeoutOption(Fiber.join(reading), patience)
      yield* Fiber.interrupt(writing)
      return { pieces, received: bytesOf(received), ended: end._tag === "Some" }
    }).pipe(Effect.scoped)

  const prefix = (length: number) => Buffer.from(bytes.subarray(0, length))

  it.live("faults reshape and delay: change the pieces and not the bytes, the same for the same seed", () =>
    Effect.gen(function* () {
      const one = yield* run({ seed: 1, reshape: true })
      const same = yield* run({ seed: 1, reshape: true })
      const other = yield* run({ seed: 2, reshape: true, delay: 2 })
      for (const { ended, received } of [one, same, other]) {
        assert.isTrue(received.equals(prefix(5000)))
        assert.isTrue(ended)
      }
      assert.deepStrictEqual(one.pieces, same.pieces)
      assert.notDeepEqual(one.pieces, other.pieces)
    }))

  it.live("faults drop, reset and stall: cut the bytes off", () =>
    Effect.gen(function* () {
      const dropped = yield* run({ seed: 1, dropAfter: 1234 })
      assert.isTrue(dropped.received.equals(prefix(1234)))
      assert.isTrue(dropped.ended)
      const reset = yield* run({ seed: 1, resetAfter: 1234 })
      assert.isTrue(reset.received.equals(prefix(reset.received.length)))
      assert.isAtMost(reset.received.length, 1234)
      assert.isTrue(reset.ended)
    }))

  it.live("fault stall: reads no more", () =>
    Effect.gen(function* () {
      const [left, right] = yield* Memory.makePair
      const { pull } = yield* faulty(right, { seed: 1, stallAfter: 3 }).socket.reader
      const { write } = yield* left.socket.writer
      yield* write("abc")
      assert.strictEqual(yield* readText(pull, 3), "abc")
      yield* write("def")
      assert.strictEqual((yield* Effect.timeoutOption(pull, 20))._tag, "None")
    }))

  it.live("faults of a transport: each connection has its own", () =>
    Effect.gen(function* () {
      const memory = yield* build(Memory.layer)
      const { connect } = faultyTransport(
        memory,
        (n) => n === 0 ? { seed: 1, resetAfter: 0 } : { seed: 1 },
        yield* Effect.scope
      )
      const { address } = yield* memory.listen(at("ncacn_memory:[a]"), echo)
      const send = Effect.gen(function* () {
        const { socket } = yield* connect(address)
        const { write } = yield* socket.writer
        const { pull } = yield* socket.reader
        yield* write("ok")
        return yield* readText(pull, 2)
      })
      assert.strictEqual((yield* Effect.flip(send))._tag, "SocketError")
      assert.strictEqual(yield* send, "ok")
    }))
})

describe("the held bytes of a connection", () => {
  it("held bytes of a connection: come out as they went in, whatever the order of reading and arriving", () => {
    const read = fc.oneof(fc.constant("pull" as const), fc.nat({ max: 3 }))
    const steps = fc.array(fc.oneof(read, fc.uint8Array({ maxLength: 20 })), { maxLength: 30 })
    fc.assert(fc.property(steps, fc.array(fc.uint8Array({ maxLength: 20 })), (steps, meanwhile) => {
      let taken = 0
      const sent: Array<Uint8Array> = []
      const arrive = (chunk: Uint8Array) => {
        sent.push(chunk)
        incoming.push(chunk)
      }
      // Something may arrive because something was taken, and while a function looks at a chunk.
      const later = meanwhile.slice()
      const arriveMeanwhile = () => {
        const chunk = later.shift()
        if (chunk !== undefined) arrive(chunk)
      }
      const incoming = new Incoming((bytes) => {
        taken += bytes
        arriveMeanwhile()
      })
      const received: Array<Uint8Array> = []
      let reading = false
      const run = (read: Effect.Effect<unknown, Socket.SocketError>) => {
        if (reading) return
        reading = true
        Effect.runCallback(read, { onExit: () => reading = false })
      }
      for (const step of steps) {
        if (step === "pull") run(Effect.map(incoming.pull, (chunks) => received.push(...chunks)))
        else if (typeof step === "number") {
          let left = step
          run(incoming.readWhile((chunk) => {
            received.push(chunk)
            arriveMeanwhile()
            return left-- > 0
          }))
        } else arrive(step)
      }
      const got = bytesOf(received)
      assert.isTrue(bytesOf(sent).subarray(0, got.length).equals(got))
      assert.strictEqual(taken, got.length)
      assert.strictEqual(incoming.size, bytesOf(sent).length - got.length)
    }))
  })
})
