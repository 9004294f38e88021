/**
 * Pipes: parameters that are streams of chunks. A client pushes its in pipes and pulls its out pipes; the manager pulls the in
 * pipes and pushes the out pipes. Both sides go at their own pace, and a slow reader slows the writer.
 *
 * The ends of a call's pipes are found with `Call.inPipe` and `Call.outPipe` on the client, and with `ServerCall.inPipe` and
 * `ServerCall.outPipe` on the server. Two tables hold their operations in each state, `CallState.pushTable`
 * and `CallState.pullTable`.
 *
 * Windows: DCE pipes, `[pipe]` in MIDL; asynchronous pipes.
 *
 * @module
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type { Pipeable } from "effect/Pipeable"
import * as Pull from "effect/Pull"
import type * as Schema from "effect/Schema"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import { Pipe as State } from "./CallState.ts"
import type { AnyChunk, ChunkBuffer } from "./internal/chunkBuffer.ts"
import * as Chunks from "./internal/chunkBuffer.ts"
import { refuseArgument } from "./internal/named.ts"
import { End, onFailure, refusalOf } from "./internal/pipeEnds.ts"
import type { PipeClosed, PipeEmpty, WrongPipeOrder } from "./Status.ts"

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
  /** Tells the description from a schema. */
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
 * The content of a pipe: bytes, or elements that a schema describes. The schema needs no services.
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
 * The unit of push and pull: bytes, or some elements.
 *
 * @category descriptions
 * @since 0.1.0
 */
export type Chunk<E extends Element> = E extends Bytes ? Uint8Array
  : E extends Schema.Constraint ? ReadonlyArray<E["Type"]>
  : never

/**
 * The element of a pipe's stream or sink: chunks of bytes, or single elements.
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
 * call when that ends first. Dies with a `TypeError` for a value that is no chunk.
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
    Effect.suspend(() => {
      const end = toEnd(self)
      const refused = refusalOf(end)
      if (refused !== undefined) return Effect.fail(refused as E)
      const buffer = Chunks.bufferOf(end.slot)
      if (!isChunk(chunk, buffer)) refuseArgument("Pipe.push", `what was pushed into ${end.name} is no chunk`)
      if (!Chunks.isWritable(buffer)) return pushLater(end, chunk as AnyChunk) as Effect.Effect<void, E>
      Chunks.put(buffer, chunk as AnyChunk)
      return Effect.void
    })
)

const isChunk = (chunk: unknown, { isBytes }: ChunkBuffer): chunk is AnyChunk =>
  isBytes ? chunk instanceof Uint8Array : Array.isArray(chunk)

const pushLater = (end: End, chunk: AnyChunk): Effect.Effect<void, unknown> => {
  const buffer = Chunks.bufferOf(end.slot)
  // The chunk is pushed when the fiber goes on: an interrupted fiber pushes nothing.
  const push: Effect.Effect<void, unknown> = Effect.suspend(() => {
    const refused = refusalOf(end)
    if (refused !== undefined) return Effect.fail(refused)
    if (!Chunks.isWritable(buffer)) return Effect.andThen(Chunks.awaitWritable(buffer), push)
    Chunks.put(buffer, chunk)
    return Effect.void
  })
  return push
}

/**
 * Ends the pipe: the reader pulls the pushed elements, and then the end.
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
  Effect.suspend(() => {
    const end = toEnd(self)
    const refused = refusalOf(end)
    if (refused !== undefined) return Effect.fail(refused as E)
    end.move("end")
    end.ends.moved()
    Chunks.end(Chunks.bufferOf(end.slot))
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
  const { isBytes } = toEnd(self).slot
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
    // A stream that pushes nothing for long would not notice that the call has ended.
    return Effect.raceFirst(pushing, failed(toEnd(self)) as Effect.Effect<never, E>)
  }) as Sink.Sink<void, Item<C>, never, E | PipeClosed | WrongPipeOrder>
}

/** Waits until the call ends while its pipe is open. */
const failed = (end: End): Effect.Effect<never, unknown> =>
  Effect.callback((resume) => {
    const { ends } = end
    if (end.state === State.failed) return resume(Effect.fail(ends.failure))
    const forget = onFailure(ends, () => resume(Effect.fail(ends.failure)))
    return Effect.sync(forget)
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
      return Effect.suspend(() =>
        refuseArgument("Pipe.pull", `maximum is out of range, got ${maximum}, expected a positive integer`)
      )
    }
    return pullWith(toEnd(self), (buffer) => Chunks.take(buffer, maximum), noElements) as Effect.Effect<C, E>
  }
)

const noElements = ({ isBytes }: ChunkBuffer): AnyChunk => isBytes ? new Uint8Array(0) : []

/** Takes a chunk as soon as the buffer holds one, or gives the value that stands for the end. */
const pullWith = <A>(
  end: End,
  take: (buffer: ChunkBuffer) => A,
  atEnd: (buffer: ChunkBuffer) => A
): Effect.Effect<A, unknown> => {
  const { ends } = end
  const buffer = Chunks.bufferOf(end.slot)
  // The chunk is taken when the fiber goes on: an interrupted fiber loses nothing.
  const pull: Effect.Effect<A, unknown> = Effect.suspend(() => {
    const refused = refusalOf(end)
    if (refused !== undefined) return Effect.fail(refused)
    if (!buffer.isEmpty) return Effect.succeed(take(buffer))
    if (!buffer.ended) return Effect.andThen(Chunks.awaitReadable(buffer), pull)
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
  const items = (buffer: ChunkBuffer): ReadonlyArray<unknown> =>
    buffer.isBytes ? buffer.takeAll() : Chunks.take(buffer, Infinity) as ReadonlyArray<unknown>
  const next = Effect.flatMap(
    pullWith(end, items, () => []),
    (items) => items.length === 0 ? Cause.done() : Effect.succeed(items as NonEmptyReadonlyArray<Item<C>>)
  ) as Pull.Pull<NonEmptyReadonlyArray<Item<C>>, E | PipeEmpty | WrongPipeOrder>
  return Stream.fromPull(Effect.succeed(next)) as Stream.Stream<Item<C>, E | PipeEmpty | WrongPipeOrder>
}
