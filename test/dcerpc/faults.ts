/** Connections on which things go wrong, as a seed decides, and binds that agree on less. */
import { Deferred, Effect, type Scope } from "effect"
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
  /** When this side has written so many bytes, nothing gets through any more in either direction, not even the end. */
  readonly cutAfter?: number
}

/** For so long a connection that is cut is not noticed: then TCP keep-alive ends it at both sides. */
export const unnoticed = 100_000

/** What the system takes of what is written to a peer that has vanished, before a writer waits. */
const swallowed = 65536

/** What lies between the two sides of a connection. */
class Cable {
  isCut = false
  private readonly noticed = Deferred.makeUnsafe<never, Socket.SocketError>()
  private readonly writers: Array<Socket.Writer> = []
  private readonly scope: Scope.Scope

  constructor(scope: Scope.Scope) {
    this.scope = scope
  }

  add(writer: Socket.Writer): void {
    this.writers.push(writer)
  }

  /** Fails when the end is noticed. */
  readonly ended: Effect.Effect<never, Socket.SocketError> = Deferred.await(this.noticed)

  readonly cut: Effect.Effect<void> = Effect.suspend(() => {
    if (this.isCut) return Effect.void
    this.isCut = true
    const reset = new Socket.CloseEvent(1006, "reset")
    const notice = Effect.gen({ self: this }, function* () {
      yield* Effect.sleep(unnoticed)
      for (const writer of this.writers) yield* Effect.ignore(writer.write(reset))
      yield* Deferred.fail(
        this.noticed,
        new Socket.SocketError({ reason: new Socket.SocketCloseError({ code: 1006 }) })
      )
    })
    return Effect.asVoid(Effect.forkIn(notice, this.scope))
  })
}

const encoder = new TextEncoder()

const concat = (chunks: NonEmptyReadonlyArray<Uint8Array | string>): Uint8Array =>
  gather([new Uint8Array(0), ...chunks.map((chunk) => typeof chunk === "string" ? encoder.encode(chunk) : chunk)])

const makeReader = (reader: Socket.Reader, faults: Faults, random: () => number, cable?: Cable): Socket.Reader => {
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
    const pull = cable === undefined
      ? reader.pull
      : Effect.catch(reader.pull, (error) => cable.isCut ? cable.ended : Effect.fail(error))
    return Effect.map(pull, (chunks) => pieces(concat(chunks)))
  }).pipe(Effect.tap((chunks) => Effect.sync(() => chunks.forEach(({ length }) => read += length))))
  return {
    upgrade: reader.upgrade,
    pull: delay === 0 ? next : Effect.suspend(() => Effect.delay(next, Math.ceil(random() * delay)))
  }
}

const makeWriter = (writer: Socket.Writer, faults: Faults, cable?: Cable): Socket.Writer => {
  const { cutAfter = Infinity, dropAfter = Infinity, resetAfter = Infinity } = faults
  let written = 0
  let lost = 0
  cable?.add(writer)
  const send = (bytes: Uint8Array): Effect.Effect<void, Socket.SocketError> =>
    Effect.suspend(() => {
      if (cable?.isCut) {
        lost += bytes.length
        return lost < swallowed ? Effect.void : cable.ended
      }
      if (cable !== undefined && written + bytes.length > cutAfter) return cable.cut
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
export const faulty = (connection: Connection, faults: Faults, cable?: Cable): Connection => {
  const random = makeRandom(faults.seed)
  return {
    ...connection,
    socket: Socket.make({
      reader: Effect.map(connection.socket.reader, (reader) => makeReader(reader, faults, random, cable)),
      writer: Effect.map(connection.socket.writer, (writer) => makeWriter(writer, faults, cable))
    })
  }
}

/**
 * The transport with faults on both sides of each connection, which are numbered from 0. What was cut is noticed within the scope. `seen`
 * is told how many of a client's connections are open, and whether one was cut.
 */
export const faultyTransport = (
  transport: Transport,
  faultsOf: (connection: number, side: "client" | "server") => Faults,
  scope: Scope.Scope,
  seen: { open: number; wasCut: () => boolean } = { open: 0, wasCut: () => false }
): Transport => {
  let connected = 0
  let accepted = 0
  const cables = new Map<string, Cable>()
  /** The sides of a connection know each other by the client's name. */
  const cableOf = (client: string) => {
    const cable = cables.get(client) ?? new Cable(scope)
    cables.set(client, cable)
    return cable
  }
  seen.wasCut = () => [...cables.values()].some(({ isCut }) => isCut)
  return {
    ...transport,
    connect: (binding) =>
      transport.connect(binding).pipe(
        Effect.map((connection) => faulty(connection, faultsOf(connected++, "client"), cableOf(connection.local))),
        Effect.tap(() => Effect.acquireRelease(Effect.sync(() => seen.open++), () => Effect.sync(() => seen.open--)))
      ),
    listen: (binding, handler) =>
      transport.listen(
        binding,
        (connection) => handler(faulty(connection, faultsOf(accepted++, "server"), cableOf(connection.peer)))
      )
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
