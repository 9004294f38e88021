/** What clients can make a server hold, as the memory of its process shows: the bounds that `Endpoint.Options` states. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import * as net from "node:net"
import { Buffer } from "node:buffer"
import process from "node:process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import type * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { budgetOf } from "../budget.ts"

const kibi = 1024
const mebi = 1024 * kibi

const runtime = process.versions["deno"] !== undefined ? "deno" : process.versions["bun"] !== undefined ? "bun" : "node"

const program = {
  node: ["--expose-gc", "--conditions=@callisto/source"],
  deno: ["run", "-A", "--v8-flags=--expose-gc"],
  bun: []
}[runtime]

/** What a server holds. */
interface Look {
  readonly calls: number
  readonly connections: number
  /** Bytes on the heap and beside it, behind a collection of garbage. */
  readonly held: number
}

/** Starts a server in a process of its own. */
const start = (options: Endpoint.Options = {}) =>
  Effect.gen(function* () {
    const file = fileURLToPath(new URL("memoryServer.ts", import.meta.url))
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [...program, file, JSON.stringify(options)], { stdio: ["pipe", "pipe", "inherit"] })
      ),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const line = Effect.promise(async () => (await lines.next()).value as string)
    const tell = (word: string) => Effect.sync(() => void child.stdin.write(`${word}\n`))
    const port = Number(yield* line)
    const look = Effect.andThen(tell("look"), Effect.map(line, (text) => JSON.parse(text) as Look))
    /** Looks until something holds. */
    const until = (holds: (look: Look) => boolean): Effect.Effect<Look> =>
      Effect.flatMap(look, (seen) => holds(seen) ? Effect.succeed(seen) : Effect.delay(until(holds), 100))
    const bound = Effect.acquireRelease(
      Effect.promise(() => connectTo(port)),
      (socket) => Effect.sync(() => socket.destroy())
    )
    const boundMany = (count: number) => Effect.replicateEffect(bound, count, { concurrency: 100 })
    // What is loaded and compiled with the first connection does not count.
    yield* bound
    yield* boundMany(20)
    return { bound, boundMany, go: tell("go"), look, until }
  })

const connectTo = (port: number): Promise<net.Socket> =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ host: "127.0.0.1", port })
    socket.once("connect", () => socket.write(bind))
    socket.once("data", () => resolve(socket))
    socket.once("error", reject)
    socket.on("error", () => {})
  })

const encoded = (write: (writer: Pdu.Writer) => void): Uint8Array => {
  const writer = new Pdu.Writer()
  write(writer)
  return writer.take().slice()
}

const bind = encoded((writer) =>
  Pdu.encodeBind(writer, {
    callId: 1,
    flags: Pdu.flags.concMpx,
    maxXmitFrag: Pdu.defaultFragment,
    maxRecvFrag: Pdu.defaultFragment,
    assocGroupId: 0,
    contextElements: [{
      contextId: 0,
      abstractSyntax: { uuid: "2f6a1f0e-6c1b-4b8e-9d43-5a0c7e9b1d02", major: 1, minor: 0 },
      transferSyntaxes: [Pdu.ndr20]
    }]
  })
)

const opnum = { wait: 0, source: 1, unknown: 99 }

const request = (callId: number, opnum: number, stub: Uint8Array, part?: number) =>
  encoded((writer) => {
    Pdu.beginRequest(writer, { callId, contextId: 0, opnum })
    writer.ensure(stub.length)
    writer.bytes.set(stub, writer.position)
    writer.position += stub.length
    Pdu.endMessage(writer, Pdu.defaultFragment, undefined, part)
  })

/** The arguments of `Wait`: bytes, and how many to give. */
const waitFor = (bytes: number, size: number): Uint8Array => {
  const stub = new Uint8Array(12 + bytes + (-bytes & 3))
  const view = new DataView(stub.buffer)
  view.setUint32(0, bytes, true)
  view.setUint32(4, bytes, true)
  view.setUint32(stub.length - 4, size, true)
  return stub
}

const write = (socket: net.Socket, ...chunks: ReadonlyArray<Uint8Array>) =>
  Effect.promise(() => new Promise<void>((resolve) => void socket.write(Buffer.concat(chunks), () => resolve())))

/** A test that starts a server in a process of its own. */
const bounded = (name: string, test: Effect.Effect<void, never, Scope.Scope>) =>
  it.live(name, () => Effect.scoped(test), 60_000)

const report = (what: string, before: Look, after: Look, count: number) => {
  const bytes = after.held - before.held
  const each = `${(bytes / count / kibi).toFixed(2)} KiB each of ${count}`
  console.log(`memory (${runtime}): ${what}: ${(bytes / mebi).toFixed(1)} MiB, ${each}`)
}

const connections = budgetOf(10_000, 1000)

describe("the memory of a server", () => {
  bounded(
    "idle connections, then a header on each: each takes less than 16 KiB of heap, and a header nothing",
    Effect.gen(function* () {
      const server = yield* start({ maximumConnections: 2 * connections })
      const before = yield* server.look
      const sockets = yield* server.boundMany(connections)
      const idle = yield* server.look
      report("idle connections", before, idle, connections)
      // It announces a fragment of 5,840 bytes.
      const header = request(2, opnum.wait, new Uint8Array(5816)).subarray(0, 16)
      yield* Effect.forEach(sockets, (socket) => write(socket, header), { discard: true })
      const waiting = yield* server.look
      report("headers", idle, waiting, connections)
      assert.strictEqual(waiting.connections, connections + 21)
      assert.isBelow((idle.held - before.held) / connections, 16 * kibi)
      assert.isBelow((waiting.held - idle.held) / connections, 4 * kibi)
    })
  )
  bounded(
    "half requests of more than maximumTotalRequest: that is held, and no more",
    Effect.gen(function* () {
      const maximumTotalRequest = 16 * mebi
      const server = yield* start({ maximumTotalRequest })
      const sockets = yield* server.boundMany(connections)
      const before = yield* server.look
      const part = request(2, opnum.wait, new Uint8Array(5816), Pdu.flags.firstFrag)
      const next = request(2, opnum.wait, new Uint8Array(5816), 0)
      yield* Effect.forEach(sockets, (socket) => write(socket, part, next, next, next), { discard: true })
      const after = yield* server.until((look) => look.connections < connections)
      report("half requests", before, after, connections)
      assert.isBelow(after.held - before.held, maximumTotalRequest + 32 * mebi)
    })
  )
  bounded(
    "65,536 calls of one client, each in 64 KiB of its own: 1,024 are in progress, and take less than 8 KiB each",
    Effect.gen(function* () {
      const server = yield* start()
      const before = yield* server.look
      const socket = yield* server.bound
      socket.on("data", () => {})
      // What lies beside a call is refused, and must not live as long as the call.
      const beside = request(1, opnum.unknown, new Uint8Array(5816))
      const others = Array.from({ length: 10 }, () => beside)
      for (let i = 0; i < 1024; i++) yield* write(socket, request(i + 2, opnum.wait, waitFor(16, 0)), ...others)
      const small = request(5000, opnum.wait, waitFor(16, 0))
      for (let i = 1024; i < 0x10000; i += 1024) yield* write(socket, ...Array.from({ length: 1024 }, () => small))
      // Requests that wait to be refused are on their way to be garbage.
      const bound = 1024 * 8 * kibi
      const after = yield* server.until(({ calls, held }) => calls >= 1024 && held - before.held < bound)
      report("calls", before, after, 1024)
      assert.strictEqual(after.calls, 1024)
    })
  )
  bounded(
    "replies of more than maximumTotalQueued that nobody reads: that is held, and no more",
    Effect.gen(function* () {
      const maximumTotalQueued = 32 * mebi
      const server = yield* start({ maximumTotalQueued })
      const before = yield* server.look
      const sockets = yield* server.boundMany(32)
      for (const socket of sockets) {
        socket.pause()
        for (let i = 0; i < 8; i++) yield* write(socket, request(i + 2, opnum.wait, waitFor(16, mebi)))
      }
      yield* server.until(({ calls }) => calls === 256)
      yield* server.go
      const after = yield* server.until(({ calls }) => calls === 0)
      report("replies", before, after, 32)
      assert.isAtLeast(after.connections, 21)
      assert.isBelow(after.held - before.held, maximumTotalQueued + 64 * mebi)
    })
  )
})
