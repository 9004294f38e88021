/**
 * Pipes: parameters that are streams of chunks. A client pushes its in pipes and pulls its out pipes; the manager pulls the in
 * pipes and pushes the out pipes. Both sides go at their own pace, and a slow reader slows the writer.
 *
 * The ends of a call's pipes are found with `Call.inPipe` and `Call.outPipe` on the client, and with `ServerCall.inPipe` and
 * `ServerCall.outPipe` on the server. What they do in which state are two tables, `CallState.pushTable` and
 * `CallState.pullTable`.
 *
 * Windows: DCE pipes, `[pipe]` in MIDL; asynchronous pipes.
 *
 * @module
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Pull from "effect/Pull"
import type { SchedulerDispatcher } from "effect/Scheduler"
import type * as Schema from "effect/Schema"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import { Pipe as State, type PullRow, pullTable, type PushRow, pushTable } from "./CallState.ts"
import { PipeClosed, PipeDisciplineError, PipeEmpty, WrongPipeOrder } from "./Status.ts"

// ----------------------------------------------------------------------------
// descriptions
// ----------------------------------------------------------------------------

/**
 * The description of a pipe of bytes: its chunks are `Uint8Array`s.
 *
 * @category descriptions
 * @since 0.1.0
 */
export interface Bytes {
  /** Tells it from a schema. */
  readonly _tag: "Bytes"
}

/**
 * A pipe of bytes.
 *
 * **Example** (A method that takes a file)
 *
 * ```ts
 * import { Interface, Pipe } from "@callisto/rpc"
 * import { Schema } from "effect"
 *
 * const Upload = Interface.method({
 *   in: { name: Schema.String },
 *   inPipe: { content: Pipe.bytes },
 *   out: { size: Schema.Int }
 * })
 * ```
 *
 * @category descriptions
 * @since 0.1.0
 */
export const bytes: Bytes = { _tag: "Bytes" }

/**
 * What flows through a pipe: bytes, or elements that a schema describes. The schema needs no services.
 *
 * @category descriptions
 * @since 0.1.0
 */
export type Element =
  | Bytes
  | (Schema.Constraint & { readonly DecodingServices: never; readonly EncodingServices: never })

/**
 * The pipes of a method in one direction, by name, in the order in which they are used.
 *
 * @category descriptions
 * @since 0.1.0
 */
export type Elements = { readonly [name: string]: Element }

/**
 * What is pushed and pulled at a time: bytes, or some elements.
 *
 * @category descriptions
 * @since 0.1.0
 */
export type Chunk<E extends Element> = E extends Bytes ? Uint8Array
  : E extends Schema.Constraint ? ReadonlyArray<E["Type"]>
  : never

/**
 * What a stream or a sink of a pipe carries: chunks of bytes, or single elements.
 *
 * @category descriptions
 * @since 0.1.0
 */
export type Item<C> = C extends Uint8Array ? Uint8Array : C extends ReadonlyArray<infer A> ? A : never

// ----------------------------------------------------------------------------
// the ends
// ----------------------------------------------------------------------------

const WriterTypeId = "~callisto/Pipe/Writer"
const ReaderTypeId = "~callisto/Pipe/Reader"

/**
 * The end of a pipe into which chunks `C` are pushed. Its operations fail with `E` when the call ends first.
 *
 * @category models
 * @since 0.1.0
 */
export interface Writer<in C, out E> extends Pipeable {
  /** Brands the type. */
  readonly [WriterTypeId]: { readonly _C: (chunk: C) => void; readonly _E: () => E }
}

/**
 * The end of a pipe from which chunks `C` are pulled. Its operations fail with `E` when the call ends first.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reader<out C, out E> extends Pipeable {
  /** Brands the type. */
  readonly [ReaderTypeId]: { readonly _C: () => C; readonly _E: () => E }
}

/** @internal */
export type AnyChunk = Uint8Array | ReadonlyArray<unknown>

// So many chunks, and so many bytes or elements, wait for the reader before the writer waits.
const maximumChunks = 64
const maximumSize = 262144

// After so much the writer leaves a turn to the event loop, though there is room. Two ends that hardly wait would keep the loop for
// themselves, and the runtime frees what has flowed through in its turns. Browsers have no setImmediate: there a turn takes up to 4 ms.
const worthATurn = "setImmediate" in globalThis ? maximumSize : 16 * maximumSize

// What a small chunk counts for.
const leastWeight = 64

/** @internal */
export const part = (chunk: AnyChunk, from: number, to?: number): AnyChunk =>
  chunk instanceof Uint8Array ? chunk.subarray(from, to) : chunk.slice(from, to)

/**
 * What is between the two ends of a pipe: the chunks that were pushed and not pulled yet.
 *
 * @internal
 */
export class Buffer {
  readonly isBytes: boolean
  private chunks: Array<AnyChunk> = []
  private size = 0
  /** How much was pushed since the writer left a turn. */
  private sinceTurn = 0
  /** No more is pushed. */
  ended = false
  /** Nobody pulls any more: what is pushed still is dropped. */
  abandoned = false
  /** Told when there is something to take, or the end. */
  private readonly readers = new Waiting()
  /** Told when there is room. */
  private readonly writers = new Waiting()

  constructor(isBytes: boolean) {
    this.isBytes = isBytes
  }

  get hasRoom(): boolean {
    return this.chunks.length < maximumChunks && this.size < maximumSize
  }

  /** Whether a writer need not wait. */
  get isWritable(): boolean {
    return this.hasRoom && this.sinceTurn < worthATurn
  }

  get isEmpty(): boolean {
    return this.chunks.length === 0
  }

  /** Whether a reader need not wait. */
  get isReadable(): boolean {
    return this.chunks.length > 0 || this.ended || this.abandoned
  }

  put(chunk: AnyChunk): void {
    if (chunk.length === 0 || this.abandoned) return
    this.chunks.push(chunk)
    this.size += chunk.length
    this.sinceTurn += Math.max(chunk.length, leastWeight)
    this.tellReaders()
  }

  end(): void {
    this.ended = true
    this.tellReaders()
  }

  /** At most so many elements of the chunk that was pushed first. */
  take(maximum: number): AnyChunk {
    const chunk = this.chunks[0]!
    if (chunk.length <= maximum) {
      this.chunks.shift()
      this.taken(chunk.length)
      return chunk
    }
    this.chunks[0] = part(chunk, maximum)
    this.taken(maximum)
    return part(chunk, 0, maximum)
  }

  takeAll(): Array<AnyChunk> {
    const { chunks, size } = this
    this.chunks = []
    this.taken(size)
    return chunks
  }

  /** Forgets what is held. */
  clear(): void {
    if (this.chunks.length > 0) this.takeAll()
  }

  abandon(): void {
    this.abandoned = true
    this.clear()
    this.tellReaders()
  }

  /** Waits until something is held, or until nothing will be. */
  awaitReadable(): Effect.Effect<void> {
    return this.readers.wait(() => this.isReadable)
  }

  /** Waits for room, or else for a turn of the event loop. */
  awaitWritable(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!this.hasRoom) return this.awaitRoom(() => this.hasRoom)
      this.sinceTurn = 0
      return Effect.yieldNow
    })
  }

  /** Waits for room, unless there is enough of it. */
  awaitRoom(isEnough: () => boolean): Effect.Effect<void> {
    return this.writers.wait(isEnough)
  }

  /** Readers have to go on when no writer can. */
  private tellReaders(): void {
    this.readers.tell(() => this.isReadable, !this.hasRoom)
  }

  /** Writers have to go on when no reader can. */
  private taken(size: number): void {
    this.size -= size
    this.writers.tell(() => this.hasRoom, this.isEmpty)
  }
}

/** Those who wait for the other end. */
class Waiting {
  private readonly those = new Set<() => void>()
  private dispatcher: SchedulerDispatcher | undefined
  private isScheduled = false

  /** Waits until it is told, unless there is nothing to wait for. */
  wait(holds: () => boolean): Effect.Effect<void> {
    return Effect.withFiber(({ currentDispatcher }) =>
      Effect.callback((resume) => {
        if (holds()) return resume(Effect.void)
        const one = () => resume(Effect.void)
        this.dispatcher = currentDispatcher
        this.those.add(one)
        return Effect.sync(() => this.those.delete(one))
      })
    )
  }

  /**
   * Tells one after another, in the order in which they came, as long as there is something to tell. Not at once where the other end may
   * go on: small chunks that are pushed or pulled in one go cost one turn.
   */
  tell(holds: () => boolean, atOnce: boolean): void {
    if (this.those.size === 0) return
    if (atOnce) return this.tellAll(holds)
    if (this.isScheduled) return
    this.isScheduled = true
    this.dispatcher!.scheduleTask(() => {
      this.isScheduled = false
      this.tellAll(holds)
    }, 0)
  }

  private tellAll(holds: () => boolean): void {
    for (const one of [...this.those]) {
      if (!holds()) return
      // It may have been forgotten meanwhile.
      if (this.those.delete(one)) one()
    }
  }
}

/**
 * One end of a pipe, on one side of a call.
 *
 * @internal
 */
export class End {
  declare readonly "~callisto/Pipe/Writer": Writer<any, any>[typeof WriterTypeId]
  declare readonly "~callisto/Pipe/Reader": Reader<any, any>[typeof ReaderTypeId]
  readonly name: string
  readonly ends: Ends
  readonly buffer: Buffer
  readonly pushes: boolean
  state: State = State.open

  constructor(name: string, ends: Ends, buffer: Buffer, pushes: boolean) {
    this.name = name
    this.ends = ends
    this.buffer = buffer
    this.pushes = pushes
  }

  get row(): PushRow | PullRow {
    return (this.pushes ? pushTable : pullTable)[this.state]
  }

  /** Why it can't be pushed or pulled now. */
  refusal(): unknown {
    if (this.state === State.ended) {
      return this.pushes ? new PipeClosed({ pipe: this.name }) : new PipeEmpty({ pipe: this.name })
    }
    if (this.state === State.failed) return this.ends.failure
    return this.ends.current === this ? undefined : new WrongPipeOrder({ pipe: this.name })
  }

  /** The one place where an end changes its state. Gives whether it did. */
  move(event: "end" | "fail"): boolean {
    const next = this.row.next[event]
    if (next === undefined) return false
    this.state = next
    return true
  }

  pipe(): any {
    return pipeArguments(this, arguments)
  }
}

/**
 * The ends of all pipes of a call, on one side of it.
 *
 * @internal
 */
export class Ends {
  readonly list: ReadonlyArray<End>
  readonly buffers: ReadonlyArray<Buffer>
  /** The end whose turn it is; `undefined` when all are through. */
  current: End | undefined
  /** What those fail with whose call has ended. */
  failure: unknown = undefined
  /** Runs when all pipes are through. */
  onThrough: (() => void) | undefined = undefined
  private readonly isClient: boolean
  private readonly drivers = new Set<Fiber.Fiber<unknown, unknown>>()
  private readonly watchers = new Set<() => void>()
  /** Those who wait for the call. */
  private readonly waiting = new Map<Fiber.Fiber<unknown, unknown>, () => void>()
  private forgetDriver = (): void => {}

  constructor(pipes: Pipes, client: boolean, buffers: ReadonlyArray<Buffer> = makeBuffers(pipes)) {
    this.isClient = client
    this.buffers = buffers
    this.list = pipes.map(({ isIn, name }, index) => new End(name, this, buffers[index]!, isIn === client))
    this.current = this.list[0]
  }

  get(pipes: Pipes, name: string, isIn: boolean): End {
    return this.list[pipes.findIndex((pipe) => pipe.name === name && pipe.isIn === isIn)]!
  }

  fail(failure: unknown): void {
    if (this.current === undefined) return
    this.failure = failure
    const failed = this.list.filter((end) => end.move("fail"))
    this.moved()
    // Whoever waited finds all of them failed.
    for (const { buffer, pushes } of failed) {
      if (pushes) buffer.clear()
      else buffer.abandon()
    }
    for (const watcher of [...this.watchers]) if (this.watchers.delete(watcher)) watcher()
  }

  onFailure(watcher: () => void): () => void {
    this.watchers.add(watcher)
    return () => this.watchers.delete(watcher)
  }

  moved(): void {
    const before = this.current
    this.current = this.list.find(({ state }) => state === State.open)
    if (before !== undefined && this.current === undefined) this.onThrough?.()
  }

  /** Notes who uses the pipes, or may yet do so. Nobody asks that of the server. */
  drive(fiber: Fiber.Fiber<unknown, unknown>): void {
    if (!this.isClient || this.drivers.has(fiber)) return
    for (const driver of this.drivers) if (hasEnded(driver)) this.drivers.delete(driver)
    this.drivers.add(fiber)
  }

  /** Tells when the pipes are not through, and none of the drivers can go on: they have ended, or wait themselves. */
  whenUndriven(waiting: Fiber.Fiber<unknown, unknown>, then: (error: PipeDisciplineError) => void): () => void {
    this.waiting.set(waiting, () => then(new PipeDisciplineError({ pipe: this.current!.name })))
    this.checkDriven()
    return () => {
      this.waiting.delete(waiting)
      this.checkDriven()
    }
  }

  private checkDriven(): void {
    this.forgetDriver()
    this.forgetDriver = () => {}
    for (const [fiber, refuse] of this.waiting) {
      if (this.current === undefined) return
      for (const driver of this.drivers) {
        if (this.waiting.has(driver) || hasEnded(driver)) continue
        // Only while somebody waits: a fiber that drives many calls, one after another, would keep all of them.
        this.forgetDriver = driver.addObserver(() => this.checkDriven())
        return
      }
      // Whoever is refused goes on, and may drive them again.
      this.waiting.delete(fiber)
      refuse()
    }
  }
}

const hasEnded = (fiber: Fiber.Fiber<unknown, unknown>): boolean => fiber.pollUnsafe() !== undefined

/**
 * The pipes of a method in their order.
 *
 * @internal
 */
export type Pipes = ReadonlyArray<{ readonly name: string; readonly isIn: boolean; readonly element: Element }>

const makeBuffers = (pipes: Pipes): ReadonlyArray<Buffer> => pipes.map(({ element }) => new Buffer(isBytes(element)))

/** @internal */
export const isBytes = (element: Element): element is Bytes => "_tag" in element && element._tag === "Bytes"

const toEnd = (self: Writer<any, any> | Reader<any, any>): End => self as unknown as End

// ----------------------------------------------------------------------------
// pushing
// ----------------------------------------------------------------------------

/**
 * Pushes a chunk, as soon as there is room. An empty one does nothing: {@link end} ends the pipe.
 *
 * **Details**
 *
 * The chunk belongs to the other side then: do not change it any more. After every 262,144 bytes or elements (4,194,304 in browsers) a push
 * also waits for a turn of the event loop, so that others go on. Interrupting a push that waits pushes nothing.
 *
 * Fails with `PipeClosed` when the pipe was ended, with `WrongPipeOrder` when it is another pipe's turn, and with the failure of the
 * call when that ends first. Dies with a `TypeError` for what is no chunk.
 *
 * Windows: the `push` function of an asynchronous pipe; the `RpcSendComplete` that tells of room.
 *
 * **Example** (Pushed by hand, by a routine)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Pipe, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Schema, Stream } from "effect"
 *
 * const Numbers = Interface.make("Numbers", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b12",
 *   version: [1, 0],
 *   methods: { Squares: Interface.method({ in: { to: Schema.Int }, outPipe: { squares: Schema.Int } }) }
 * })
 * const manager = Manager.make(Numbers, {
 *   Squares: Effect.fnUntraced(function*({ to }, call) {
 *     const squares = ServerCall.outPipe(call, "squares")
 *     for (let n = 1; n <= to; n++) yield* Pipe.push(squares, [n * n])
 *     yield* Pipe.end(squares)
 *   })
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const numbers = yield* Binding.local(server, Numbers)
 *   return yield* Stream.runCollect(Call.stream(numbers, "Squares", { to: 3 })) // => [1, 4, 9]
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category pushing
 * @since 0.1.0
 */
export const push: {
  <C>(chunk: C): <E>(self: Writer<C, E>) => Effect.Effect<void, E | PipeClosed | WrongPipeOrder>
  <C, E>(self: Writer<C, E>, chunk: C): Effect.Effect<void, E | PipeClosed | WrongPipeOrder>
} = dual(
  2,
  <C, E>(self: Writer<C, E>, chunk: C): Effect.Effect<void, E | PipeClosed | WrongPipeOrder> =>
    Effect.withFiber((fiber) => {
      const end = toEnd(self)
      end.ends.drive(fiber)
      const refused = end.refusal()
      if (refused !== undefined) return Effect.fail(refused as E)
      if (!isChunk(chunk, end.buffer)) return Effect.die(new TypeError(`What was pushed into ${end.name} is no chunk.`))
      if (!end.buffer.isWritable) return pushLater(end, chunk as AnyChunk) as Effect.Effect<void, E>
      end.buffer.put(chunk as AnyChunk)
      return Effect.void
    })
)

const isChunk = (chunk: unknown, { isBytes }: Buffer): chunk is AnyChunk =>
  isBytes ? chunk instanceof Uint8Array : Array.isArray(chunk)

const pushLater = (end: End, chunk: AnyChunk): Effect.Effect<void, unknown> => {
  const { buffer } = end
  // Pushed when the fiber goes on: if it is interrupted instead, nothing is pushed.
  const push: Effect.Effect<void, unknown> = Effect.suspend(() => {
    const refused = end.refusal()
    if (refused !== undefined) return Effect.fail(refused)
    if (!buffer.isWritable) return Effect.andThen(buffer.awaitWritable(), push)
    buffer.put(chunk)
    return Effect.void
  })
  return push
}

/**
 * Ends the pipe: the reader pulls what was pushed, and then the end.
 *
 * **Details**
 *
 * Fails as {@link push} does.
 *
 * Windows: pushing zero elements.
 *
 * **Example** (Nothing more is to be added)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Pipe, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Schema, Stream } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ inPipe: { numbers: Schema.Int }, out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (_, call) => Stream.runFold(Pipe.toStream(ServerCall.inPipe(call, "numbers")), () => 0, (a, b) => a + b)
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const call = yield* Call.make(yield* Binding.local(server, Sums))
 *   const adding = yield* Call.begin(call, "Add")
 *   const numbers = Call.inPipe(adding, "numbers")
 *   yield* Pipe.push(numbers, [1, 2])
 *   yield* Pipe.end(numbers)
 *   yield* Effect.flip(Pipe.push(numbers, [3])) // => PipeClosed
 *   return yield* Call.join(adding) // => 3
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category pushing
 * @since 0.1.0
 */
export const end = <C, E>(self: Writer<C, E>): Effect.Effect<void, E | PipeClosed | WrongPipeOrder> =>
  Effect.withFiber((fiber) => {
    const end = toEnd(self)
    end.ends.drive(fiber)
    const refused = end.refusal()
    if (refused !== undefined) return Effect.fail(refused as E)
    end.move("end")
    end.ends.moved()
    end.buffer.end()
    return Effect.void
  })

/**
 * The pipe as a sink, which ends it when the stream ends. A stream of a pipe of bytes carries `Uint8Array`s, any other single
 * elements.
 *
 * **Details**
 *
 * Where the stream fails the pipe is not ended: end the call, with `Call.cancel` or by the failure of the routine. Where the call ends first
 * the stream is interrupted, even if it has nothing to push.
 *
 * **Example** (A stream that a routine gives)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Pipe, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Schema, Stream } from "effect"
 *
 * const Numbers = Interface.make("Numbers", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b12",
 *   version: [1, 0],
 *   methods: { Squares: Interface.method({ in: { to: Schema.Int }, outPipe: { squares: Schema.Int } }) }
 * })
 * const manager = Manager.make(Numbers, {
 *   Squares: ({ to }, call) =>
 *     Stream.range(1, to).pipe(
 *       Stream.map((n) => n * n),
 *       Stream.run(Pipe.toSink(ServerCall.outPipe(call, "squares")))
 *     )
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const numbers = yield* Binding.local(server, Numbers)
 *   return yield* Stream.runCollect(Call.stream(numbers, "Squares", { to: 3 })) // => [1, 4, 9]
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category pushing
 * @since 0.1.0
 */
export const toSink = <C, E>(
  self: Writer<C, E>
): Sink.Sink<void, Item<C>, never, E | PipeClosed | WrongPipeOrder> => {
  const { isBytes } = toEnd(self).buffer
  const pushAll = (items: NonEmptyReadonlyArray<unknown>): Effect.Effect<void, E | PipeClosed | WrongPipeOrder> =>
    isBytes
      ? items.length === 1
        ? push(self, items[0] as C)
        : Effect.forEach(items, (item) => push(self, item as C), { discard: true })
      : push(self, items as C)
  return Sink.fromTransform((upstream: Pull.Pull<NonEmptyReadonlyArray<unknown>>) => {
    const pushing = Effect.forever(Effect.flatMap(upstream, pushAll), { disableYield: true }).pipe(
      Pull.catchDone(() => Effect.as(end(self), [undefined] as const))
    )
    // The stream may have nothing to push for long. Then nothing else would tell that the call has ended.
    return Effect.andThen(drive(self), Effect.raceFirst(pushing, failed(toEnd(self)) as Effect.Effect<never, E>))
  }) as Sink.Sink<void, Item<C>, never, E | PipeClosed | WrongPipeOrder>
}

/** Waits for the call to end before the pipe. */
const failed = (end: End): Effect.Effect<never, unknown> =>
  Effect.callback((resume) => {
    const { ends } = end
    if (end.state === State.failed) return resume(Effect.fail(ends.failure))
    const forget = ends.onFailure(() => resume(Effect.fail(ends.failure)))
    return Effect.sync(forget)
  })

/** Notes that the fiber uses the pipe, before it has pushed or pulled for the first time. */
const drive = (self: Writer<any, any> | Reader<any, any>): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    toEnd(self).ends.drive(fiber)
    return Effect.void
  })

// ----------------------------------------------------------------------------
// pulling
// ----------------------------------------------------------------------------

/**
 * Pulls a chunk, of at most `maximum` bytes or elements, as soon as one is there. The empty chunk is the end of the pipe.
 *
 * **Details**
 *
 * Fails with `PipeEmpty` when the end was pulled already, with `WrongPipeOrder` when it is another pipe's turn, and with the failure
 * of the call when that ends first. Dies with a `RangeError` for a `maximum` that is no positive integer.
 *
 * Windows: the `pull` function of an asynchronous pipe; the `RpcReceiveComplete` that tells of data.
 *
 * **Example** (Pulled by hand, by a routine)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Pipe, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Schema, Stream } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ inPipe: { numbers: Schema.Int }, out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: Effect.fnUntraced(function*(_, call) {
 *     const numbers = ServerCall.inPipe(call, "numbers")
 *     let sum = 0
 *     for (let chunk = yield* Pipe.pull(numbers, 100); chunk.length > 0; chunk = yield* Pipe.pull(numbers, 100)) {
 *       for (const n of chunk) sum += n
 *     }
 *     return sum
 *   })
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *   return yield* Stream.run(Stream.range(1, 1000), Call.sink(sums, "Add")) // => 500500
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category pulling
 * @since 0.1.0
 */
export const pull: {
  (maximum?: number): <C, E>(self: Reader<C, E>) => Effect.Effect<C, E | PipeEmpty | WrongPipeOrder>
  <C, E>(self: Reader<C, E>, maximum?: number): Effect.Effect<C, E | PipeEmpty | WrongPipeOrder>
} = dual(
  (args) => args[0] instanceof End,
  <C, E>(self: Reader<C, E>, maximum = Infinity): Effect.Effect<C, E | PipeEmpty | WrongPipeOrder> => {
    if (maximum !== Infinity && !(Number.isInteger(maximum) && maximum > 0)) {
      return Effect.die(new RangeError(`The maximum of a pull, ${maximum}, is not a positive integer.`))
    }
    return pullWith(toEnd(self), (buffer) => buffer.take(maximum), noElements) as Effect.Effect<C, E>
  }
)

const noElements = ({ isBytes }: Buffer): AnyChunk => isBytes ? new Uint8Array(0) : []

/** Takes as soon as something is held, or gives what stands for the end. */
const pullWith = <A>(
  end: End,
  take: (buffer: Buffer) => A,
  atEnd: (buffer: Buffer) => A
): Effect.Effect<A, unknown> => {
  const { buffer, ends } = end
  // Taken when the fiber goes on: if it is interrupted instead, nothing is lost.
  const pull: Effect.Effect<A, unknown> = Effect.withFiber((fiber) => {
    ends.drive(fiber)
    const refused = end.refusal()
    if (refused !== undefined) return Effect.fail(refused)
    if (!buffer.isEmpty) return Effect.succeed(take(buffer))
    if (!buffer.ended) return Effect.andThen(buffer.awaitReadable(), pull)
    end.move("end")
    ends.moved()
    return Effect.succeed(atEnd(buffer))
  })
  return pull
}

/**
 * The pipe as a stream: of `Uint8Array`s for a pipe of bytes, else of single elements.
 *
 * **Details**
 *
 * Fails as {@link pull} does.
 *
 * **Example** (A stream that a routine takes)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Pipe, Server, ServerCall } from "@callisto/rpc"
 * import { Effect, Schema, Stream } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ inPipe: { numbers: Schema.Int }, out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, {
 *   Add: (_, call) =>
 *     Pipe.toStream(ServerCall.inPipe(call, "numbers")).pipe(
 *       Stream.filter((n) => n > 0),
 *       Stream.runFold(() => 0, (a, b) => a + b)
 *     )
 * })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *   return yield* Stream.run(Stream.make(1, -2, 3), Call.sink(sums, "Add")) // => 4
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category pulling
 * @since 0.1.0
 */
export const toStream = <C, E>(
  self: Reader<C, E>
): Stream.Stream<Item<C>, E | PipeEmpty | WrongPipeOrder> => {
  const end = toEnd(self)
  const items = (buffer: Buffer): ReadonlyArray<unknown> =>
    buffer.isBytes ? buffer.takeAll() : buffer.take(Infinity) as ReadonlyArray<unknown>
  const next = Effect.flatMap(
    pullWith(end, items, () => []),
    (items) => items.length === 0 ? Cause.done() : Effect.succeed(items as NonEmptyReadonlyArray<Item<C>>)
  ) as Pull.Pull<NonEmptyReadonlyArray<Item<C>>, E | PipeEmpty | WrongPipeOrder>
  return Stream.fromPull(Effect.as(drive(self), next)) as Stream.Stream<Item<C>, E | PipeEmpty | WrongPipeOrder>
}
