// The limit: frames with a length in front go over `node:net` and come back, and nobody asks which call they belong to.
import { Effect } from "effect"
import type * as net from "node:net"
import { type Client, type Contender, latencyOf, sizeOfKind } from "./service.ts"
import { dial, serve } from "./sockets.ts"

const headerSize = 4

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
    rate: ({ inFlight, kind, millis }) =>
      Effect.callback((resume) => {
        const size = sizeOfKind(kind)
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
          if (pending === 0) {
            resume(Effect.succeed(calls * 1000 / (performance.now() - start)))
          }
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
          conn.write(frames(1, sizeOfKind("small")))
        }
        conn.write(frames(1, sizeOfKind("small")))
      })
  }
}

export const raw: Contender = {
  serve: serve((conn) => conn.on("data", countFrames((_, bytes) => conn.write(bytes)))),
  connect: (port) => Effect.map(dial(port), makeClient)
}
