// The limit: frames with a length in front go over `node:net` and come back, and nobody asks which call they belong to.
import { Effect } from "effect"
import type * as net from "node:net"
import { chunk, type Client, type Contender, type Direction, large, latencyOf, timePipe } from "./service.ts"
import { dial, serve } from "./sockets.ts"

const headerSize = 4

const small = 8

/** Tells how many whole frames there are in what arrives, and how many bytes they take together with what was left over. */
const countFrames = (take: (frames: number, bytes: Buffer) => void) => {
  let rest: Buffer | undefined
  return (chunk: Buffer) => {
    const bytes = rest === undefined ? chunk : Buffer.concat([rest, chunk])
    let frames = 0
    let end = 0
    while (end + headerSize <= bytes.length) {
      const next = end + headerSize + bytes.readUInt32LE(end)
      if (next > bytes.length) break
      end = next
      frames++
    }
    rest = end === bytes.length ? undefined : bytes.subarray(end)
    if (frames > 0) take(frames, bytes.subarray(0, end))
  }
}

const frames = (count: number, size: number): Buffer => {
  const bytes = Buffer.allocUnsafe(count * (headerSize + size))
  for (let at = 0; at < bytes.length; at += headerSize + size) {
    bytes.writeUInt32LE(size, at)
    bytes.fill(7, at + headerSize, at + headerSize + size)
  }
  return bytes
}

const makeClient = (conn: net.Socket): Client => {
  let receive: (frames: number) => void = () => {}
  conn.on("data", countFrames((frames) => receive(frames)))
  return {
    rate: ({ inFlight, large: isLarge, millis }) =>
      Effect.callback((resume) => {
        const size = isLarge ? large.length : small
        const start = performance.now()
        let going = true
        let pending = inFlight
        let calls = 0
        setTimeout(() => going = false, millis)
        receive = (count) => {
          calls += count
          if (going) {
            conn.write(frames(count, size))
            return
          }
          pending -= count
          if (pending === 0) resume(Effect.succeed(calls * 1000 / (performance.now() - start)))
        }
        conn.write(frames(inFlight, size))
      }),
    latency: ({ millis }) =>
      Effect.callback((resume) => {
        const micros: Array<number> = []
        let start = performance.now()
        const until = start + millis
        receive = () => {
          const now = performance.now()
          micros.push((now - start) * 1000)
          if (now >= until) return resume(Effect.succeed(latencyOf(micros)))
          start = performance.now()
          conn.write(frames(1, small))
        }
        conn.write(frames(1, small))
      })
  }
}

export const raw: Contender = {
  serve: serve((conn) => conn.on("data", countFrames((_, bytes) => conn.write(bytes)))),
  connect: (port) => Effect.map(dial(port), makeClient)
}

// ----------------------------------------------------------------------------
// copying
// ----------------------------------------------------------------------------

/** Writes so many bytes, as fast as there is room. */
const writeChunks = (conn: net.Socket, bytes: number) => {
  let left = bytes
  const write = () => {
    while (left > 0) {
      left -= chunk.length
      if (!conn.write(chunk)) return
    }
    conn.off("drain", write)
  }
  conn.on("drain", write)
  write()
}

const onBytes = (conn: net.Socket, bytes: number, then: () => void) => {
  let left = bytes
  const read = ({ length }: Buffer) => {
    left -= length
    if (left > 0) return
    conn.off("data", read)
    then()
  }
  conn.on("data", read)
}

const askingSize = 5

/** What a client asks for: so many bytes, in to the server or out of it. */
const asking = (direction: Direction, bytes: number): Buffer => {
  const asked = Buffer.alloc(askingSize)
  asked.writeUInt8(direction === "in" ? 0 : 1)
  asked.writeUInt32LE(bytes, 1)
  return asked
}

const answer = (conn: net.Socket): void => {
  conn.once("data", (asked) => {
    const bytes = asked.readUInt32LE(1)
    if (asked.readUInt8() === 1) {
      answer(conn)
      writeChunks(conn, bytes)
    } else {
      onBytes(conn, bytes, () => {
        answer(conn)
        conn.write("\0")
      })
      conn.write("\0")
    }
  })
}

/** The limit of pipes: the same bytes over `node:net`, and nobody asks what they are. */
export const copy: Contender = {
  serve: serve((conn) => answer(conn)),
  connect: (port) =>
    Effect.map(dial(port), (conn) => ({
      pipes: {
        in: timePipe((bytes) =>
          Effect.callback((resume) => {
            conn.once("data", () => {
              conn.once("data", () => resume(Effect.succeed(bytes)))
              writeChunks(conn, bytes)
            })
            conn.write(asking("in", bytes))
          })
        ),
        out: timePipe((bytes) =>
          Effect.callback((resume) => {
            onBytes(conn, bytes, () => resume(Effect.succeed(bytes)))
            conn.write(asking("out", bytes))
          })
        )
      }
    }))
}
