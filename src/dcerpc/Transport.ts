/**
 * Transports: what carries bytes between a client and a server.
 *
 * A `Transport` connects to a string binding and listens on one. Either way a program gets `Connection`s, each with a
 * `Socket` of `effect/socket` and the address of the peer. This module names no platform: TCP, TLS and Unix sockets are
 * in `@callisto/rpc/node`; here are WebSockets and message ports, for browsers and workers, and connections in memory,
 * for tests.
 *
 * @module
 * @since 0.1.0
 */
import { map, type NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as MutableList from "effect/MutableList"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import { CantCreateEndpoint, RpcTransportError } from "../Status.ts"
import { print, type ProtocolSequence, type StringBinding } from "./StringBinding.ts"

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
export const Transport: Context.Service<Transport, Transport> = Context.Service("@callisto/rpc/dcerpc/Transport")

/**
 * An established connection.
 *
 * **Details**
 *
 * The socket has its connection already: acquiring its reader does not dial, and a closed one is not dialled again.
 * What arrives before the reader is acquired is kept. A write succeeds when the transport has room for more; closing
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
}

/**
 * What listens.
 *
 * @category models
 * @since 0.1.0
 */
export interface Listener {
  /** Where it listens, with the port that was chosen for port 0. */
  readonly address: StringBinding
  /** Accepts no more connections. Those that were accepted live on until the scope closes. */
  readonly stop: Effect.Effect<void>
}

/**
 * Where the endpoint of the context listens, as `Endpoint.layer` provides it. The example is there.
 *
 * @category models
 * @since 0.1.0
 */
export const Listener: Context.Service<Listener, Listener> = Context.Service<Listener>(
  "@callisto/rpc/dcerpc/Transport/Listener"
)

// ----------------------------------------------------------------------------
// flow
// ----------------------------------------------------------------------------

/**
 * How many bytes one direction of a connection holds before it makes the writer wait.
 *
 * @internal
 */
export const highWaterMark = 65536

// How many bytes an outbox hands over at once. Of what is handed over nobody knows how much has left.
const handedAtOnce = 0x40000

// So many bytes are worth a system call of their own: the peer works on them while more of the same turn follow.
const worthWriting = 16384

/** @internal */
export const closed = (code: number, closeReason?: string): Socket.SocketError =>
  new Socket.SocketError({ reason: new Socket.SocketCloseError({ code, closeReason }) })

/** @internal */
export const writeFailed = (cause: unknown): Socket.SocketError =>
  new Socket.SocketError({ reason: new Socket.SocketWriteError({ cause }) })

/** @internal */
export const unavailable = (detail: string): RpcTransportError => new RpcTransportError({ status: 1722, detail })

/** @internal */
export const cantListen = (status: CantCreateEndpoint["status"], detail: string): CantCreateEndpoint =>
  new CantCreateEndpoint({ status, detail })

/** @internal */
export const inUse = (binding: StringBinding): CantCreateEndpoint => cantListen(1740, `${print(binding)} is in use`)

type Resume<A> = (effect: Effect.Effect<A, Socket.SocketError>) => void

/**
 * Gives each chunk to a function as soon as it arrives, until that answers `false`; the next one is then kept. Fails when
 * the connection ends, and dies of what the function throws.
 *
 * @internal
 */
export type ReadWhile = (accept: (chunk: Uint8Array) => boolean) => Effect.Effect<void, Socket.SocketError>

/**
 * What has arrived and was not read yet.
 *
 * @internal
 */
export class Incoming {
  /** The bytes held. */
  size = 0
  readonly #chunks: MutableList.MutableList<Uint8Array> = MutableList.make()
  #error: Socket.SocketError | undefined = undefined
  /** Tells who reads that there is something new. */
  #notify: (() => void) | undefined = undefined
  readonly #taken: (bytes: number) => void

  /** `taken` is told how many bytes the reader has taken. */
  constructor(taken: (bytes: number) => void) {
    this.#taken = taken
  }

  push(chunk: Uint8Array): void {
    if (this.#error !== undefined || chunk.length === 0) return
    MutableList.append(this.#chunks, chunk)
    this.size += chunk.length
    this.#notify?.()
  }

  /** Nothing more arrives; what was held can still be read. */
  end(error: Socket.SocketError): void {
    this.#error ??= error
    this.#notify?.()
  }

  /** The connection is gone, and with it what was held. */
  fail(error: Socket.SocketError): void {
    MutableList.clear(this.#chunks)
    this.size = 0
    this.end(error)
  }

  readonly pull: Effect.Effect<NonEmptyReadonlyArray<Uint8Array>, Socket.SocketError> = this.#read(() => {
    const chunks = MutableList.takeAll(this.#chunks) as [Uint8Array, ...Array<Uint8Array>]
    const { size } = this
    this.size = 0
    this.#taken(size)
    return Effect.succeed(chunks)
  })

  readonly readWhile: ReadWhile = (accept) =>
    this.#read(() => {
      const chunk = MutableList.take(this.#chunks) as Uint8Array
      this.size -= chunk.length
      this.#taken(chunk.length)
      return accept(chunk) ? undefined : Effect.void
    })

  /** Takes a step whenever something is held, until one gives the effect to go on with. */
  #read<A>(step: () => Effect.Effect<A> | undefined): Effect.Effect<A, Socket.SocketError> {
    return Effect.callback((resume) => {
      let reading = true
      const takeStep = () => {
        try {
          return step()
        } catch (defect) {
          return Effect.die(defect)
        }
      }
      const read = () => {
        // A step may close the connection, end the reading, or let something arrive, which is then read after it.
        this.#notify = undefined
        while (reading && this.#chunks.length > 0) {
          const next = takeStep()
          if (next !== undefined) return resume(next)
        }
        if (!reading) return
        if (this.#error !== undefined) return resume(Effect.fail(this.#error))
        this.#notify = read
      }
      read()
      return Effect.sync(() => {
        reading = false
        if (this.#notify === read) this.#notify = undefined
      })
    })
  }
}

const isNonEmpty = <A>(array: ReadonlyArray<A>): array is NonEmptyReadonlyArray<A> => array.length > 0

/**
 * Those who wait until there is room to write.
 *
 * @internal
 */
export class Room {
  error: Socket.SocketError | undefined = undefined
  readonly #waiters = new Set<Resume<void>>()

  open(): void {
    this.#wake(Effect.void)
  }

  fail(error: Socket.SocketError): void {
    this.error ??= error
    this.#wake(Effect.fail(this.error))
  }

  #wake(effect: Effect.Effect<void, Socket.SocketError>): void {
    if (this.#waiters.size === 0) return
    const waiters = [...this.#waiters]
    this.#waiters.clear()
    for (const resume of waiters) resume(effect)
  }

  /** Waits for `open`. */
  readonly wait: Effect.Effect<void, Socket.SocketError> = Effect.callback((resume) => {
    if (this.error !== undefined) return resume(Effect.fail(this.error))
    this.#waiters.add(resume)
    return Effect.sync(() => this.#waiters.delete(resume))
  })
}

/**
 * The bytes that were written and that the other side has not taken yet.
 *
 * @internal
 */
export class Outstanding {
  bytes = 0
  readonly room: Room = new Room()

  taken(bytes: number): void {
    this.bytes -= bytes
    if (this.bytes < highWaterMark) this.room.open()
  }

  get hasRoom(): boolean {
    return this.room.error === undefined && this.bytes < highWaterMark
  }

  readonly wait: Effect.Effect<void, Socket.SocketError> = Effect.suspend(() =>
    this.hasRoom ? Effect.void : Effect.andThen(this.room.wait, this.wait)
  )
}

/**
 * One end of a connection.
 *
 * @internal
 */
export interface End {
  readonly incoming: Incoming
  readonly write: (chunks: NonEmptyReadonlyArray<Uint8Array>) => Effect.Effect<void, Socket.SocketError>
  /** Ends the sending direction. */
  readonly end: () => void
  /** Closes the connection; with a code above 1000 it is reset. Once is enough. */
  readonly close: (event: Socket.CloseEvent) => void
}

/** @internal */
export const makeSocket = (end: End): Socket.Socket => {
  const reader: Socket.Reader = { pull: end.incoming.pull, upgrade: Socket.SocketUpgradeError.unsupported }
  const writer: Socket.Writer = {
    write: (chunk) =>
      Effect.suspend(() =>
        Socket.isCloseEvent(chunk) ? Effect.sync(() => end.close(chunk)) : end.write([toBytes(chunk)])
      ),
    writeAll: (chunks) => Effect.suspend(() => end.write(map(chunks, toBytes)))
  }
  const socket = Socket.make({
    reader: Effect.acquireRelease(Effect.succeed(reader), () => Effect.sync(() => end.close(new Socket.CloseEvent()))),
    writer: Effect.acquireRelease(Effect.succeed(writer), () => Effect.sync(end.end))
  })
  ends.set(socket, end)
  return socket
}

// The sockets that are made here can be read and written without a fiber.
const ends = new WeakMap<Socket.Socket, End>()

/**
 * Acquires the reader of a socket. The connection is closed with the scope.
 *
 * @internal
 */
export const makeReadWhile = (
  socket: Socket.Socket
): Effect.Effect<ReadWhile, Socket.SocketError, Scope.Scope> =>
  Effect.map(socket.reader, ({ pull }) => ends.get(socket)?.incoming.readWhile ?? readWhilePulling(pull))

const readWhilePulling = (pull: Socket.Reader["pull"]): ReadWhile => {
  let held: Array<Uint8Array> = []
  return (accept) =>
    Effect.gen(function* () {
      while (true) {
        for (let chunk = held.shift(); chunk !== undefined; chunk = held.shift()) if (!accept(chunk)) return
        held = map(yield* pull, toBytes)
      }
    })
}

declare const TextEncoder: new () => { encode(text: string): Uint8Array }

const encoder = new TextEncoder()

const toBytes = (chunk: Uint8Array | string): Uint8Array => typeof chunk === "string" ? encoder.encode(chunk) : chunk

/**
 * The chunks as one; a chunk alone stays as it is.
 *
 * @internal
 */
export const gather = (chunks: NonEmptyReadonlyArray<Uint8Array>): Uint8Array => {
  if (chunks.length === 1) return chunks[0]
  const all = new Uint8Array(chunks.reduce((bytes, chunk) => bytes + chunk.length, 0))
  let offset = 0
  for (const chunk of chunks) {
    all.set(chunk, offset)
    offset += chunk.length
  }
  return all
}

/**
 * Runs the handlers of a listener; the connections that they get are closed when they end.
 *
 * @internal
 */
export const handlers = <R>(
  handler: (connection: Connection) => Effect.Effect<unknown, never, R>
): Effect.Effect<(connection: Connection, end: End) => void, never, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.map(FiberSet.makeRuntime<Exclude<R, Scope.Scope>>(), (run) => (connection, end) => {
    const fiber = run(
      handler(connection).pipe(
        Effect.scoped,
        Effect.ignoreCause({ log: "Error", message: `The handler of the connection from ${connection.peer} died` })
      )
    )
    // Also where the fiber was interrupted before it began.
    fiber.addObserver(() => end.close(new Socket.CloseEvent()))
  })

// ----------------------------------------------------------------------------
// writing once per turn
// ----------------------------------------------------------------------------

/**
 * Gathers what is written in one turn of the event loop and gives it to a connection together, so that many small
 * messages cost one system call.
 *
 * @category models
 * @since 0.1.0
 */
export interface Outbox {
  /** The bytes that were sent here and for which the transport had no room yet: how far the peer is behind. */
  readonly queuedUnsafe: () => number
  /**
   * Queues bytes, in order. Never waits; the bytes are not changed any more. After a failure it does nothing.
   *
   * They leave at the end of the turn, and before when 16 KiB are queued: the peer begins with those.
   */
  readonly sendUnsafe: (chunk: Uint8Array) => void
  /** The same for a part of something large, of which up to 256 KiB leave together at the end of the turn. */
  readonly sendPartUnsafe: (chunk: Uint8Array) => void
  /** Whether less than 64 KiB are queued, on a connection that can be written. */
  readonly hasRoomUnsafe: () => boolean
  /** Waits until less than 64 KiB are queued, and fails once the connection can't be written any more. */
  readonly room: Effect.Effect<void, Socket.SocketError>
  /** Waits until the transport has taken everything. */
  readonly drained: Effect.Effect<void, Socket.SocketError>
  /** All bytes that were ever sent here. */
  readonly sentUnsafe: () => number
  /** Those of them that were handed to the socket and may have left: the rest certainly has not. */
  readonly handedUnsafe: () => number
  /** Hands nothing more to the socket. */
  readonly stopUnsafe: () => void
  /** Whether it has stopped: it was told to, or a write failed. */
  readonly isStoppedUnsafe: () => boolean
}

declare const queueMicrotask: (task: () => void) => void

/**
 * Makes the outbox of a socket. It stops with the scope; what is queued then is not written: wait for `drained` before.
 * `onFailure` runs when a write has failed.
 *
 * **Example** (Two messages in one write)
 *
 * ```ts
 * import { StringBinding, Transport } from "@callisto/rpc/dcerpc"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const [left, right] = yield* Transport.makePair
 *   const outbox = yield* Transport.makeOutbox(left.socket)
 *   outbox.sendUnsafe(Uint8Array.of(1, 2))
 *   outbox.sendUnsafe(Uint8Array.of(3))
 *   const { pull } = yield* right.socket.reader
 *   return yield* pull // => [Uint8Array [1, 2], Uint8Array [3]]
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeOutbox = (
  socket: Socket.Socket,
  onFailure: () => void = () => {}
): Effect.Effect<Outbox, never, Scope.Scope> =>
  Effect.gen(function* () {
    const writer = yield* socket.writer
    const writeAll = ends.get(socket)?.write ?? writer.writeAll
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const outstanding = new Outstanding()
    const empty = new Room()
    let chunks: Array<Uint8Array> = []
    let sent = 0
    let handed = 0
    let stopped = false
    let scheduled = false
    let writing: Fiber.Fiber<void, Socket.SocketError> | undefined

    const queue = (chunk: Uint8Array) => {
      sent += chunk.length
      if (outstanding.room.error !== undefined || chunk.length === 0) return
      outstanding.bytes += chunk.length
      chunks.push(chunk)
    }

    // The rest of the turn may add to what is written.
    const schedule = () => {
      if (scheduled || writing !== undefined || chunks.length === 0) return
      scheduled = true
      queueMicrotask(() => {
        scheduled = false
        write(false)
      })
    }

    // Most writes end at once and need no fiber; one for each of the others costs less than one that waits for the next.
    const write = (isSending: boolean) => {
      if (writing !== undefined) return
      if (stopped) return stop(closed(1000))
      const size = Math.min(sent - handed, handedAtOnce)
      const batch = mergeAdjacent(takeFirst(chunks, size))
      if (!isNonEmpty(batch)) return
      handed += size
      const written = (exit: Exit.Exit<void, Socket.SocketError>) => {
        if (Exit.isFailure(exit)) {
          stop(Option.getOrElse(Exit.findErrorOption(exit), () => closed(1000)))
          return onFailure()
        }
        outstanding.taken(size)
        if (outstanding.bytes === 0) empty.open()
        schedule()
      }
      const effect = writeAll(batch)
      if (Exit.isExit(effect)) {
        const exit = effect as Exit.Exit<void, Socket.SocketError>
        // Those who are told may send themselves, or close the connection: not in the middle of what another one sends.
        return isSending ? queueMicrotask(() => written(exit)) : written(exit)
      }
      writing = run(effect)
      writing.addObserver((exit) => {
        writing = undefined
        written(exit)
      })
    }

    const stop = (error: Socket.SocketError) => {
      stopped = true
      chunks = []
      outstanding.room.fail(error)
      empty.fail(error)
    }

    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        stop(closed(1000))
        return writing === undefined ? Effect.void : Fiber.interrupt(writing)
      })
    )

    return {
      queuedUnsafe: () => outstanding.bytes,
      sendUnsafe: (chunk) => {
        queue(chunk)
        if (sent - handed < worthWriting || stopped) schedule()
        else write(true)
      },
      sendPartUnsafe: (chunk) => {
        queue(chunk)
        schedule()
      },
      hasRoomUnsafe: () => outstanding.hasRoom,
      room: outstanding.wait,
      drained: Effect.suspend(() => empty.error === undefined && outstanding.bytes === 0 ? Effect.void : empty.wait),
      sentUnsafe: () => sent,
      handedUnsafe: () => handed,
      stopUnsafe: () => {
        stopped = true
      },
      isStoppedUnsafe: () => stopped
    }
  })

/** Takes bytes from the front of the chunks. */
const takeFirst = (chunks: Array<Uint8Array>, size: number): Array<Uint8Array> => {
  let rest = size
  let count = 0
  while (count < chunks.length && chunks[count]!.length <= rest) rest -= chunks[count++]!.length
  const taken = chunks.splice(0, count)
  if (rest > 0) {
    const cut = chunks[0]!
    taken.push(cut.subarray(0, rest))
    chunks[0] = cut.subarray(rest)
  }
  return taken
}

/** Those that stand one behind the other in memory as one: what one writer has written needs no copy. */
const mergeAdjacent = (chunks: ReadonlyArray<Uint8Array>): Array<Uint8Array> => {
  const merged: Array<Uint8Array> = []
  for (let i = 0; i < chunks.length;) {
    const first = chunks[i]!
    const { buffer, byteOffset } = first
    let end = byteOffset + first.length
    let next = i + 1
    for (; next < chunks.length && chunks[next]!.buffer === buffer && chunks[next]!.byteOffset === end; next++) {
      end += chunks[next]!.length
    }
    merged.push(next === i + 1 ? first : new Uint8Array(buffer, byteOffset, end - byteOffset))
    i = next
  }
  return merged
}

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
 * import { Transport } from "@callisto/rpc/dcerpc"
 * import { Layer } from "effect"
 * import * as Socket from "effect/socket/Socket"
 *
 * const { port1 } = new MessageChannel()
 * const transport = Transport.mergeAll(
 *   Layer.provide(Transport.webSocket, Socket.layerWebSocketConstructorGlobal),
 *   Transport.messagePort(port1)
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

/** @internal */
export const unsupported = (binding: StringBinding, protocols: ReadonlyArray<ProtocolSequence>): RpcTransportError =>
  unavailable(`this transport has ${protocols.join(", ")} and not ${print(binding)}`)

/** @internal */
export const cantListenOn = (binding: StringBinding, protocols: ReadonlyArray<ProtocolSequence>): CantCreateEndpoint =>
  cantListen(1703, unsupported(binding, protocols).detail)

// ----------------------------------------------------------------------------
// in memory
// ----------------------------------------------------------------------------

/**
 * Two ends of a connection in memory. Each direction delivers in order and asynchronously, and holds 64 KiB before it
 * makes the writer wait.
 *
 * @category in memory
 * @since 0.1.0
 */
export const makePair: Effect.Effect<readonly [Connection, Connection], never, Scope.Scope> = Effect.suspend(() =>
  Effect.map(
    Effect.acquireRelease(memoryEnds, ([left]) => Effect.sync(() => left.close(new Socket.CloseEvent()))),
    ([left, right]) => [connectionOf(left, "left", "right"), connectionOf(right, "right", "left")] as const
  )
)

const connectionOf = (end: End, local: string, peer: string): Connection => ({
  socket: makeSocket(end),
  local: `ncacn_memory:[${local}]`,
  peer: `ncacn_memory:[${peer}]`
})

const memoryEnds: Effect.Effect<readonly [End, End]> = Effect.withFiber((fiber) => {
  const { currentDispatcher } = fiber
  let open = true
  const ways = [0, 1].map(() => {
    let arriving: Array<() => void> = []
    const outstanding = new Outstanding()
    const incoming = new Incoming((bytes) => outstanding.taken(bytes))
    /** Lets something arrive at the other end, after what was sent before. */
    const send = (arrive: () => void) => {
      if (arriving.push(arrive) > 1) return
      currentDispatcher.scheduleTask(() => {
        const batch = arriving
        arriving = []
        for (const arrive of batch) arrive()
      }, 0)
    }
    return { outstanding, incoming, send }
  }) as [Way, Way]

  const makeEnd = (out: Way, back: Way): End => {
    const end = () => {
      out.outstanding.room.fail(writeFailed(new Error("The connection is closed")))
      out.send(() => out.incoming.end(closed(1000)))
    }
    return {
      incoming: back.incoming,
      end,
      write: (chunks) => {
        if (out.outstanding.room.error !== undefined) return Effect.fail(out.outstanding.room.error)
        for (const chunk of chunks) {
          out.outstanding.bytes += chunk.length
          out.send(() => out.incoming.push(chunk))
        }
        return out.outstanding.wait
      },
      close: (event) => {
        if (!open) return
        open = false
        const error = closed(event.code, event.reason)
        back.outstanding.room.fail(writeFailed(new Error("The connection is closed by the peer")))
        end()
        if (event.code > 1000) out.incoming.fail(error)
        back.incoming.fail(event.code > 1000 ? error : closed(1006))
      }
    }
  }
  const [there, back] = ways
  return Effect.succeed([makeEnd(there, back), makeEnd(back, there)])
})

interface Way {
  readonly outstanding: Outstanding
  readonly incoming: Incoming
  readonly send: (arrive: () => void) => void
}

/**
 * Connections inside one program, for tests: `ncacn_memory:[name]`. Every build of the layer has names of its own.
 *
 * **Example** (A server and a client in memory)
 *
 * ```ts
 * import { StringBinding, Transport } from "@callisto/rpc/dcerpc"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const transport = yield* Transport.Transport
 *   const { address } = yield* transport.listen(
 *     yield* Effect.fromResult(StringBinding.parse("ncacn_memory:[greeter]")),
 *     ({ socket }) => Effect.flatMap(socket.writer, ({ write }) => Effect.ignore(write("hello")))
 *   )
 *   const { socket } = yield* transport.connect(address)
 *   const { pull } = yield* socket.reader
 *   return yield* pull // => the bytes of "hello"
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(Effect.provide(program, Transport.memory))
 * ```
 *
 * @category in memory
 * @since 0.1.0
 */
export const memory: Layer.Layer<Transport> = Layer.sync(Transport, () => {
  const protocols = ["ncacn_memory"] as const
  const listeners = new Map<string, (connection: Connection, end: End) => void>()
  let clients = 0
  let unnamed = 0
  return {
    protocols,
    connect: (binding) =>
      Effect.acquireRelease(
        Effect.flatMap(memoryEnds, (ends) => {
          if (binding.protocol !== "ncacn_memory") return Effect.fail(unsupported(binding, protocols))
          const accept = listeners.get(binding.endpoint ?? "")
          if (accept === undefined) return Effect.fail(unavailable(`nobody listens on ${print(binding)}`))
          const client = `client ${++clients}`
          const server = binding.endpoint!
          accept(connectionOf(ends[1], server, client), ends[1])
          return Effect.succeed({ connection: connectionOf(ends[0], client, server), end: ends[0] })
        }),
        ({ end }) => Effect.sync(() => end.close(new Socket.CloseEvent()))
      ).pipe(Effect.map(({ connection }) => connection)),
    listen: (binding, handler) =>
      Effect.gen(function* () {
        if (binding.protocol !== "ncacn_memory") return yield* cantListenOn(binding, protocols)
        const name = binding.endpoint ?? `unnamed ${++unnamed}`
        if (listeners.has(name)) return yield* inUse(binding)
        const accept = yield* handlers(handler)
        const stop = Effect.sync(() => {
          if (listeners.get(name) === accept) listeners.delete(name)
        })
        yield* Effect.acquireRelease(Effect.sync(() => listeners.set(name, accept)), () => stop)
        return { address: { ...binding, endpoint: name }, stop }
      })
  }
})

// ----------------------------------------------------------------------------
// message ports
// ----------------------------------------------------------------------------

/**
 * What is needed of a message port: the `MessagePort` of each platform has it, and so have a `Worker` of the web and
 * the global scope of such a worker.
 *
 * @category message ports
 * @since 0.1.0
 */
export interface MessagePortLike {
  // The platforms differ in the types of what is transferred and of the event, which has a field `data`.
  /** Sends a message. */
  postMessage(message: unknown, transfer: Array<any>): void
  /** Adds a listener for messages. */
  addEventListener(type: "message", listener: (event: any) => void): void
  /** Removes a listener. */
  removeEventListener(type: "message", listener: (event: any) => void): void
  /** Delivers the messages that wait; only ports have it. */
  start?(): void
  /** Closes the port; a global scope may lack it. */
  close?(): void
}

/**
 * A connection over a message port, whose other port is a connection on the other side. The port is closed with the
 * scope.
 *
 * **Details**
 *
 * A message is a chunk of bytes, a number (so many of the bytes received were taken), `null` (nothing more is sent), or
 * an array of a close code. A port does not tell that the other side died without closing it.
 *
 * @category message ports
 * @since 0.1.0
 */
export const fromMessagePort = (
  port: MessagePortLike,
  names?: { readonly local?: string; readonly peer?: string }
): Effect.Effect<Connection, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(Effect.sync(() => portEnd(port)), (end) =>
      Effect.sync(() => end.close(new Socket.CloseEvent()))),
    (end) =>
      portConnection(end, names?.local, names?.peer)
  )

const portConnection = (end: End, local: string | undefined, peer: string | undefined): Connection => ({
  socket: makeSocket(end),
  local: `ncacn_messageport:${local === undefined ? "" : `[${local}]`}`,
  peer: `ncacn_messageport:${peer === undefined ? "" : `[${peer}]`}`
})

const portEnd = (port: MessagePortLike): End => {
  let open = true
  let sending = true
  const outstanding = new Outstanding()
  const incoming = new Incoming((bytes) => {
    if (open) port.postMessage(bytes, [])
  })
  const onMessage = ({ data }: { readonly data: unknown }) => {
    if (data instanceof Uint8Array) incoming.push(data)
    else if (typeof data === "number") outstanding.taken(data)
    else if (!Array.isArray(data)) incoming.end(closed(1000))
    else {
      stopSending()
      if (data[0] > 1000) incoming.fail(closed(data[0]))
      else incoming.end(closed(1000))
    }
  }
  const stopSending = () => {
    sending = false
    outstanding.room.fail(writeFailed(new Error("The connection is closed")))
  }
  port.addEventListener("message", onMessage)
  port.start?.()

  return {
    incoming,
    end: () => {
      if (sending) port.postMessage(null, [])
      stopSending()
    },
    write: (chunks) => {
      if (outstanding.room.error !== undefined) return Effect.fail(outstanding.room.error)
      const bytes = gather(chunks)
      // Without a copy the whole buffer behind a view would travel.
      const message = bytes === chunks[0] ? bytes.slice() : bytes
      outstanding.bytes += message.length
      port.postMessage(message, [message.buffer])
      return outstanding.wait
    },
    close: (event) => {
      if (!open) return
      open = false
      port.postMessage([event.code], [])
      stopSending()
      incoming.fail(event.code > 1000 ? closed(event.code, event.reason) : closed(1006))
      port.removeEventListener("message", onMessage)
      port.close?.()
    }
  }
}

declare const MessageChannel: new () => { readonly port1: MessagePortLike; readonly port2: MessagePortLike }

interface Knock {
  readonly callisto: "connect"
  readonly endpoint: string
  readonly port: MessagePortLike
}

const isKnock = (data: unknown): data is Knock =>
  typeof data === "object" && data !== null && "callisto" in data && data.callisto === "connect"

/**
 * Connections to the other side of a message port, a worker for instance: `ncacn_messageport:[name]`.
 *
 * **Details**
 *
 * Each side has this layer, on its port of one channel; both can connect and listen. Each connection gets a channel of
 * its own, so the port itself can be used for other messages too. It is not closed with the layer.
 *
 * **Gotchas**
 *
 * `connect` waits until the other side has its layer. A worker that was terminated never answers: set a timeout.
 *
 * @category message ports
 * @since 0.1.0
 */
export const messagePort = (port: MessagePortLike): Layer.Layer<Transport> =>
  Layer.effect(
    Transport,
    Effect.gen(function* () {
      const protocols = ["ncacn_messageport"] as const
      const listeners = new Map<string, (port: MessagePortLike) => void>()
      const onMessage = ({ data }: { readonly data: unknown }) => {
        if (!isKnock(data)) return
        const accept = listeners.get(data.endpoint)
        if (accept !== undefined) return accept(data.port)
        data.port.postMessage(false, [])
        data.port.close?.()
      }
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          port.addEventListener("message", onMessage)
          port.start?.()
        }),
        () => Effect.sync(() => port.removeEventListener("message", onMessage))
      )

      const dial = (binding: StringBinding) =>
        Effect.callback<End, RpcTransportError>((resume) => {
          const { port1, port2 } = new MessageChannel()
          const onAnswer = ({ data }: { readonly data: unknown }) => {
            port1.removeEventListener("message", onAnswer)
            if (data === true) return resume(Effect.succeed(portEnd(port1)))
            port1.close?.()
            resume(Effect.fail(unavailable(`nobody listens on ${print(binding)}`)))
          }
          port1.addEventListener("message", onAnswer)
          port1.start?.()
          port.postMessage({ callisto: "connect", endpoint: binding.endpoint ?? "", port: port2 } satisfies Knock, [
            port2
          ])
          return Effect.sync(() => port1.close?.())
        })

      return {
        protocols,
        connect: (binding) =>
          binding.protocol !== "ncacn_messageport" ? Effect.fail(unsupported(binding, protocols)) : Effect.map(
            Effect.acquireRelease(dial(binding), (end) => Effect.sync(() => end.close(new Socket.CloseEvent())), {
              interruptible: true
            }),
            (end) => portConnection(end, undefined, binding.endpoint)
          ),
        listen: (binding, handler) =>
          Effect.gen(function* () {
            if (binding.protocol !== "ncacn_messageport") return yield* cantListenOn(binding, protocols)
            const name = binding.endpoint ?? ""
            if (listeners.has(name)) return yield* inUse(binding)
            const run = yield* handlers(handler)
            const accept = (port: MessagePortLike) => {
              const end = portEnd(port)
              port.postMessage(true, [])
              run(portConnection(end, name, undefined), end)
            }
            const stop = Effect.sync(() => {
              if (listeners.get(name) === accept) listeners.delete(name)
            })
            yield* Effect.acquireRelease(Effect.sync(() => listeners.set(name, accept)), () => stop)
            return { address: binding, stop }
          })
      }
    })
  )

// ----------------------------------------------------------------------------
// WebSockets
// ----------------------------------------------------------------------------

/**
 * A connection over a WebSocket that is open or opening. It is closed with the scope.
 *
 * **When to use**
 *
 * Use on a server for the WebSockets that its HTTP server hands over. Clients have the layer {@link webSocket}.
 *
 * **Details**
 *
 * Bytes travel in binary frames; where a frame ends means nothing. A text frame ends the connection. A browser's
 * WebSocket can't be told to stop receiving, so what arrives there is kept until it is read.
 *
 * `Endpoint.handle` serves it, and has the example.
 *
 * @category WebSockets
 * @since 0.1.0
 */
export const fromWebSocket = (
  ws: Socket.WebSocketLike,
  names: { readonly local?: string; readonly peer: string }
): Effect.Effect<Connection, RpcTransportError, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      webSocketEnd(ws, names.peer),
      (end) => Effect.sync(() => end.close(new Socket.CloseEvent())),
      { interruptible: true }
    ),
    (end) => ({ socket: makeSocket(end), local: names.local ?? "ncacn_ws:", peer: names.peer })
  )

const webSocketEnd = (
  ws: Socket.WebSocketLike & {
    binaryType?: string
    readonly bufferedAmount?: number
    pause?(): void
    resume?(): void
  },
  peer: string
): Effect.Effect<End, RpcTransportError> =>
  Effect.callback((resume) => {
    let paused = false
    let failure: Socket.SocketError | undefined
    const incoming = new Incoming(() => {
      if (paused) ws.resume?.()
      paused = false
    })

    const end: End = {
      incoming,
      // A WebSocket has no half-closed state.
      end: () => {},
      write: (chunks) => {
        if (failure !== undefined) return Effect.fail(writeFailed(failure))
        try {
          ws.send(gather(chunks) as Uint8Array<ArrayBuffer>)
        } catch (cause) {
          return Effect.fail(writeFailed(cause))
        }
        return room
      },
      close: (event) => {
        if (failure !== undefined) return
        // The other codes below 4000 are not for programs.
        ws.close(event.code > 1000 ? 4000 : 1000)
        lose(closed(event.code > 1000 ? event.code : 1006, event.reason))
      }
    }
    // A WebSocket does not tell when it has room again.
    const room: Effect.Effect<void, Socket.SocketError> = Effect.suspend(() =>
      failure !== undefined
        ? Effect.fail(writeFailed(failure))
        : (ws.bufferedAmount ?? 0) < highWaterMark
        ? Effect.void
        : Effect.andThen(Effect.sleep(5), room)
    )

    const listeners = {
      open: () => resume(Effect.succeed(end)),
      message: ({ data }: Socket.WebSocketEvent) => {
        if (typeof data === "string") return end.close(new Socket.CloseEvent(1003, "a text frame"))
        incoming.push(data instanceof Uint8Array ? data : new Uint8Array(data as ArrayBuffer))
        if (incoming.size < highWaterMark || paused || ws.pause === undefined) return
        ws.pause()
        paused = true
      },
      error: () => lose(closed(1006)),
      close: ({ code, reason }: Socket.WebSocketEvent) => lose(closed(code ?? 1006, reason))
    }
    const types = ["open", "message", "error", "close"] as const

    function lose(error: Socket.SocketError) {
      if (failure !== undefined) return
      failure = error
      for (const type of types) ws.removeEventListener(type, listeners[type])
      // An error after the end has nobody to be told to, and must not go unhandled either.
      ws.addEventListener("error", () => {})
      if (error.reason._tag === "SocketCloseError" && error.reason.code === 1000) incoming.end(error)
      else incoming.fail(error)
      resume(Effect.fail(unavailable(`${peer} can't be reached`)))
    }

    ws.binaryType = "arraybuffer"
    for (const type of types) ws.addEventListener(type, listeners[type])
    if (ws.readyState === 1) listeners.open()
    else if (ws.readyState > 1) lose(closed(1006))
    return Effect.sync(() => end.close(new Socket.CloseEvent()))
  })

/**
 * Connects to servers behind WebSockets: `ncacn_ws:host[port,path=/rpc]`, and `ncacn_wss` with TLS. Without a port it
 * is that of HTTP. It does not listen: a server accepts WebSockets with its HTTP server and uses {@link fromWebSocket}.
 *
 * @category WebSockets
 * @since 0.1.0
 */
export const webSocket: Layer.Layer<Transport, never, Socket.WebSocketConstructor> = Layer.effect(
  Transport,
  Effect.map(Socket.WebSocketConstructor, (construct) => {
    const protocols = ["ncacn_ws", "ncacn_wss"] as const
    return {
      protocols,
      connect: (binding) =>
        Effect.suspend(() => {
          if (binding.protocol !== "ncacn_ws" && binding.protocol !== "ncacn_wss") {
            return Effect.fail(unsupported(binding, protocols))
          }
          return fromWebSocket(construct(urlOf(binding)), { peer: print(binding), local: `${binding.protocol}:` })
        }),
      listen: (binding) =>
        Effect.fail(
          binding.protocol === "ncacn_ws" || binding.protocol === "ncacn_wss"
            ? cantListen(1703, "an HTTP server accepts WebSockets; give them to fromWebSocket and Endpoint.handle")
            : cantListenOn(binding, protocols)
        )
    }
  })
)

const urlOf = ({ address, endpoint, options, protocol }: StringBinding): string => {
  const host = address === "" ? "localhost" : address.includes(":") ? `[${address}]` : address
  const path = options["path"] ?? "/"
  return `${protocol.slice("ncacn_".length)}://${host}${endpoint === undefined ? "" : `:${endpoint}`}${path}`
}
