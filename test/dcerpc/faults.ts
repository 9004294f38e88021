/** Connections on which things go wrong, as a seed decides, and binds that agree on less. */
import { Effect } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Socket from "effect/socket/Socket"
import * as Pdu from "../../src/dcerpc/Pdu.ts"
import { gather } from "../../src/transport/internal/flow.ts"
import type { Connection, Transport } from "../../src/transport/Transport.ts"
import { makeRandom } from "./random.ts"

export interface Faults {
  readonly seed: number
  /** Each read waits up to so many milliseconds. */
  readonly delay?: number
  /** What arrives is read in other pieces than it was written: cut anywhere, put together anyhow. */
  readonly reshape?: boolean
  /** What is written after so many bytes vanishes. */
  readonly dropAfter?: number
  /** The connection is reset when so many bytes were written. */
  readonly resetAfter?: number
  /** Reading stops for good when so many bytes were read. */
  readonly stallAfter?: number
}

const encoder = new TextEncoder()

const concat = (chunks: NonEmptyReadonlyArray<Uint8Array | string>): Uint8Array =>
  gather([new Uint8Array(0), ...chunks.map((chunk) => typeof chunk === "string" ? encoder.encode(chunk) : chunk)])

const makeReader = (reader: Socket.Reader, faults: Faults, random: () => number): Socket.Reader => {
  const { delay = 0, reshape = false, stallAfter = Infinity } = faults
  let held: Uint8Array = new Uint8Array(0)
  let read = 0
  const pieces = (bytes: Uint8Array): NonEmptyReadonlyArray<Uint8Array> => {
    if (!reshape) return [bytes]
    const end = 1 + Math.floor(random() * bytes.length)
    held = bytes.slice(end)
    const cut = Math.floor(random() * end)
    return cut === 0 ? [bytes.slice(0, end)] : [bytes.slice(0, cut), bytes.slice(cut, end)]
  }
  const next: Socket.Reader["pull"] = Effect.suspend(() => {
    if (read >= stallAfter) return Effect.never
    if (held.length > 0) return Effect.succeed(pieces(held))
    return Effect.map(reader.pull, (chunks) => pieces(concat(chunks)))
  }).pipe(Effect.tap((chunks) => Effect.sync(() => chunks.forEach(({ length }) => read += length))))
  return {
    upgrade: reader.upgrade,
    pull: delay === 0 ? next : Effect.suspend(() => Effect.delay(next, Math.ceil(random() * delay)))
  }
}

const makeWriter = (writer: Socket.Writer, faults: Faults): Socket.Writer => {
  const { dropAfter = Infinity, resetAfter = Infinity } = faults
  let written = 0
  const send = (bytes: Uint8Array): Effect.Effect<void, Socket.SocketError> =>
    Effect.suspend(() => {
      const kept = bytes.slice(0, Math.max(0, Math.min(dropAfter, resetAfter) - written))
      written += bytes.length
      const sent = kept.length === 0 ? Effect.void : writer.write(kept)
      return written < resetAfter ? sent : Effect.andThen(sent, writer.write(new Socket.CloseEvent(1006, "reset")))
    })
  return {
    write: (chunk) => Socket.isCloseEvent(chunk) ? writer.write(chunk) : send(concat([chunk])),
    writeAll: (chunks) => send(concat(chunks))
  }
}

/** The connection with these faults on this side of it. */
export const faulty = (connection: Connection, faults: Faults): Connection => {
  const random = makeRandom(faults.seed)
  return {
    ...connection,
    socket: Socket.make({
      reader: Effect.map(connection.socket.reader, (reader) => makeReader(reader, faults, random)),
      writer: Effect.map(connection.socket.writer, (writer) => makeWriter(writer, faults))
    })
  }
}

/** The transport with faults on both sides of each connection, which are numbered from 0. */
export const faultyTransport = (
  transport: Transport,
  faultsOf: (connection: number, side: "client" | "server") => Faults
): Transport => {
  let connected = 0
  let accepted = 0
  return {
    ...transport,
    connect: (binding) =>
      Effect.map(transport.connect(binding), (connection) => faulty(connection, faultsOf(connected++, "client"))),
    listen: (binding, handler) =>
      transport.listen(binding, (connection) => handler(faulty(connection, faultsOf(accepted++, "server"))))
  }
}

/** Changes the bind of each connection. */
export const editingBinds = (transport: Transport, ...edits: ReadonlyArray<(bind: Uint8Array) => void>): Transport => ({
  ...transport,
  connect: (binding) =>
    Effect.map(transport.connect(binding), (connection) => {
      let isBind = true
      const editing = (writer: Socket.Writer): Socket.Writer => ({
        ...writer,
        writeAll: (chunks) => {
          if (isBind) { for (const edit of edits) edit(chunks[0] as Uint8Array) }
          isBind = false
          return writer.writeAll(chunks)
        }
      })
      const { socket } = connection
      return {
        ...connection,
        socket: Socket.make({ reader: socket.reader, writer: Effect.map(socket.writer, editing) })
      }
    })
})

/** Takes the offer to carry several calls at once out of a bind. */
export const oneCallAtATime = (bind: Uint8Array): void => {
  bind[3]! &= ~Pdu.flags.concMpx
}

// The pseudo transfer syntax, up to the byte with the features.
const features = [0x2c, 0x1c, 0xb7, 0x6c, 0x12, 0x98, 0x40, 0x45]

/** Takes the wish to keep the connection on orphans out of a bind. */
export const losingOnOrphan = (bind: Uint8Array): void => {
  const at = bind.findIndex((_, at) => features.every((byte, i) => bind[at + i] === byte))
  if (at < 0) throw new Error("the bind asks for no features")
  bind[at + features.length] = 0
}
