/**
 * Pipes by hand, as streams and as sinks, in order and out of it, and with every way in which a call can end: the same in one process
 * and over the wire.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Queue, Schema, Scope, Stream } from "effect"
import { type Binding, Call, Interface, Manager, Pipe, Server, ServerCall, Status } from "../mod.ts"

export class Full extends Schema.TaggedError<Full>()("Full", {
  at: Schema.Int.pipe(Schema.withConstructorDefault(Effect.succeed(0)))
}) {}

/** The types, which decide how the interface travels. */
export interface Types {
  readonly int: Schema.Codec<number>
  readonly text: Schema.Codec<string>
  readonly point: Schema.Codec<{ readonly x: number; readonly y: number }>
}

export const makeInterface = ({ int, point, text }: Types) =>
  Interface.make("IPipes", {
    uuid: "5d0c2a4e-1f3b-4d7a-9c58-2e6b7f8a9b01",
    version: [1, 0],
    methods: {
      Sum: Interface.method({ inPipe: { numbers: int }, out: { sum: int }, aborts: [Interface.abort(39, Full)] }),
      Store: Interface.method({ in: { name: text }, inPipe: { content: Pipe.bytes }, out: { size: int } }),
      Count: Interface.method({
        in: { to: int },
        outPipe: { numbers: int },
        out: { said: text },
        aborts: [Interface.abort(39, Full)]
      }),
      Load: Interface.method({ in: { size: int }, outPipe: { content: Pipe.bytes } }),
      Double: Interface.method({ inPipe: { numbers: int }, outPipe: { numbers: int } }),
      Several: Interface.method({ inPipe: { first: int, second: point }, outPipe: { third: int, fourth: point } }),
      Held: Interface.method({ inPipe: { numbers: int }, outPipe: { echo: int }, out: { result: int } }),
      Push: Interface.method({ inPipe: { a: int }, outPipe: { b: int } })
    }
  })

type IPipes = ReturnType<typeof makeInterface>

type HeldCall = ServerCall.Of<IPipes, "Held">

export const numbersOf = <E>(pipe: Pipe.Reader<ReadonlyArray<number>, E>) =>
  Stream.runFold(Pipe.toStream(pipe), () => 0, (sum, n) => sum + n)

export const makeManager = (iface: IPipes, held: Queue.Queue<HeldCall>) =>
  Manager.make(iface, {
    Sum: (_, call) =>
      Pipe.toStream(ServerCall.inPipe(call, "numbers")).pipe(
        Stream.tap((n) => n < 0 ? Effect.fail(new Full({ at: n })) : Effect.void),
        Stream.runFold(() => 0, (sum, n) => sum + n),
        Effect.map((sum) => ({ sum }))
      ),
    Store: (_, call) =>
      Pipe.toStream(ServerCall.inPipe(call, "content")).pipe(
        Stream.runFold(() => 0, (size, { length }) => size + length),
        Effect.map((size) => ({ size }))
      ),
    Count: ({ to }, call) => {
      // Below zero it counts as far, and then aborts.
      const numbers = to < 0
        ? Stream.concat(Stream.rechunk(Stream.range(1, -to), 1), Stream.fail(new Full({ at: to })))
        : Stream.range(1, to)
      return Effect.as(Stream.run(numbers, Pipe.toSink(ServerCall.outPipe(call, "numbers"))), { said: `to ${to}` })
    },
    Load: ({ size }, call) =>
      Stream.run(
        Stream.map(Stream.range(1, size / 1000), () => new Uint8Array(1000)),
        Pipe.toSink(ServerCall.outPipe(call, "content"))
      ),
    Double: (_, call) =>
      Effect.gen(function* () {
        const all = yield* Stream.runCollect(Pipe.toStream(ServerCall.inPipe(call, "numbers")))
        yield* Stream.run(
          Stream.map(Stream.fromIterable(all), (n) => 2 * n),
          Pipe.toSink(ServerCall.outPipe(call, "numbers"))
        )
      }),
    Several: (_, call) =>
      Effect.gen(function* () {
        const sum = yield* numbersOf(ServerCall.inPipe(call, "first"))
        const points = yield* Stream.runCollect(Pipe.toStream(ServerCall.inPipe(call, "second")))
        yield* Stream.run(Stream.make(sum), Pipe.toSink(ServerCall.outPipe(call, "third")))
        yield* Stream.run(Stream.fromIterable(points), Pipe.toSink(ServerCall.outPipe(call, "fourth")))
      }),
    Held: Manager.handOff((_, call) => Queue.offer(held, call)),
    Push: (_, call) => Pipe.push(ServerCall.outPipe(call, "b"), [1])
  }, { cancellation: { Held: "cooperative" } })

interface World {
  readonly binding: Binding.Binding<IPipes>
  readonly held: Queue.Queue<HeldCall>
  readonly server: Server.Server
}

/** A call of `Held`, on both sides. */
export const hold = <R>(world: Effect.Effect<World, never, R>) =>
  Effect.gen(function* () {
    const { binding, held, server } = yield* world
    const scope = yield* Scope.fork(yield* Effect.scope)
    const call = yield* Scope.provide(Call.make(binding), scope)
    const pending = yield* Call.begin(call, "Held")
    const serverCall = yield* Queue.take(held)
    return {
      call,
      pending,
      server,
      serverCall,
      release: Scope.close(scope, Exit.void),
      client: { numbers: Call.inPipe(pending, "numbers"), echo: Call.outPipe(pending, "echo") },
      there: { numbers: ServerCall.inPipe(serverCall, "numbers"), echo: ServerCall.outPipe(serverCall, "echo") }
    }
  })

export const tag = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), ({ _tag }) => _tag)

export const suspends = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.tap(
    Effect.forkChild(effect, { startImmediately: true }),
    (fiber) => Effect.sync(() => assert.isUndefined(fiber.pollUnsafe()))
  )

/** Lets what was sent arrive. */
const settle = Effect.repeat(Effect.yieldNow, { times: 50 })

/** What the tests of pipes have in common, for a world of their own. */
export const testPipes = (name: string, world: Effect.Effect<World, never, Scope.Scope>) =>
  describe(name, () => {
    describe("a pipe", () => {
      it.effect("in pipe: carries a stream to the server", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          const summed = Stream.run(Stream.range(1, 50_000), Call.sink(binding, "Sum"))
          assert.deepStrictEqual(yield* summed, { sum: 1_250_025_000 })
        }))

      it.effect("out pipe: carries a stream to the client", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          const numbers = yield* Stream.runCollect(Call.stream(binding, "Count", { to: 5 }))
          assert.deepStrictEqual(numbers, [1, 2, 3, 4, 5])
        }))

      it.effect("pipe of bytes: carries them in chunks", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          const chunks = Stream.make(new Uint8Array(3), new Uint8Array(0), new Uint8Array(4))
          const stored = yield* Stream.run(chunks, Call.sink(binding, "Store", { name: "a" }))
          assert.deepStrictEqual(stored, { size: 7 })
          const sizes = Stream.map(Call.stream(binding, "Load", { size: 200_000 }), ({ length }) => length)
          assert.strictEqual(yield* Stream.runFold(sizes, () => 0, (a, b) => a + b), 200_000)
        }))

      it.effect("pipe in both directions: is pushed, then pulled", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          const doubling = yield* Call.begin(yield* Call.make(binding), "Double")
          yield* Stream.run(Stream.make(1, 2, 3), Pipe.toSink(Call.inPipe(doubling, "numbers")))
          const doubled = yield* Stream.runCollect(Pipe.toStream(Call.outPipe(doubling, "numbers")))
          assert.deepStrictEqual(doubled, [2, 4, 6])
          yield* Call.join(doubling)
        }))

      it.effect("method with several pipes: each carries its own elements", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          const pending = yield* Call.begin(yield* Call.make(binding), "Several")
          yield* Stream.run(Stream.make(1, 2, 3), Pipe.toSink(Call.inPipe(pending, "first")))
          const points = [{ x: 1, y: 2 }, { x: 3, y: 4 }]
          yield* Stream.run(Stream.fromIterable(points), Pipe.toSink(Call.inPipe(pending, "second")))
          assert.deepStrictEqual(yield* Stream.runCollect(Pipe.toStream(Call.outPipe(pending, "third"))), [6])
          assert.deepStrictEqual(yield* Stream.runCollect(Pipe.toStream(Call.outPipe(pending, "fourth"))), points)
          yield* Call.join(pending)
        }))

      it.effect("reader of a pipe: waits for data and for the end", () =>
        Effect.gen(function* () {
          const { client, there } = yield* hold(world)
          const first = yield* suspends(Pipe.pull(there.numbers))
          yield* Pipe.push(client.numbers, [1])
          assert.deepStrictEqual(yield* Fiber.join(first), [1])
          const last = yield* suspends(Pipe.pull(there.numbers))
          yield* Pipe.end(client.numbers)
          assert.deepStrictEqual(yield* Fiber.join(last), [])
        }))

      it.effect("value that is no chunk: is refused", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          const storing = yield* Call.begin(yield* Call.make(binding), "Store", { name: "a" })
          for (const chunk of ["text", [1], new ArrayBuffer(3), undefined]) {
            const exit = yield* Effect.exit(Pipe.push(Call.inPipe(storing, "content"), chunk as never))
            assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
          }
          yield* Pipe.end(Call.inPipe(storing, "content"))
          assert.deepStrictEqual(yield* Call.join(storing), { size: 0 })
        }))

      it.effect("stream and sink: may run again, also at the same time", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          const counting = Stream.runCollect(Call.stream(binding, "Count", { to: 3 }))
          const summing = Stream.run(Stream.make(1, 2), Call.sink(binding, "Sum"))
          assert.deepStrictEqual(yield* Effect.all([counting, counting], { concurrency: 2 }), [[1, 2, 3], [1, 2, 3]])
          assert.deepStrictEqual(yield* Effect.all([summing, summing], { concurrency: 2 }), [{ sum: 3 }, { sum: 3 }])
          const some = Call.stream(binding, "Count", { to: 1_000_000 }).pipe(Stream.take(2), Stream.runCollect)
          assert.deepStrictEqual(yield* some, [1, 2])
          assert.deepStrictEqual(yield* some, [1, 2])
        }))

      it.effect("pull with a maximum that is no count: is refused", () =>
        Effect.gen(function* () {
          const { there } = yield* hold(world)
          for (const maximum of [0, -1, 1.5, NaN]) {
            const exit = yield* Effect.exit(Pipe.pull(there.numbers, maximum))
            assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
          }
        }))

      it.effect("pipe of an unknown name: is refused", () =>
        Effect.gen(function* () {
          const { pending, serverCall } = yield* hold(world)
          assert.throws(() => Call.inPipe(pending, "echo" as never), 'IPipes.Held: no in pipe "echo"')
          assert.throws(() => ServerCall.outPipe(serverCall, "numbers" as never), "IPipes.Held: no out pipe")
        }))
    })

    describe("the order", () => {
      it.effect("pipes out of their order on the client: are refused", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          const pending = yield* Call.begin(yield* Call.make(binding), "Several")
          const second = Call.inPipe(pending, "second")
          const third = Call.outPipe(pending, "third")
          const fourth = Call.outPipe(pending, "fourth")
          assert.strictEqual(yield* tag(Pipe.push(second, [{ x: 1, y: 2 }])), "WrongPipeOrder")
          assert.strictEqual(yield* tag(Pipe.end(second)), "WrongPipeOrder")
          assert.strictEqual(yield* tag(Pipe.pull(third)), "WrongPipeOrder")
          yield* Pipe.end(Call.inPipe(pending, "first"))
          assert.strictEqual(yield* tag(Pipe.pull(third)), "WrongPipeOrder")
          yield* Pipe.end(second)
          assert.strictEqual(yield* tag(Pipe.pull(fourth)), "WrongPipeOrder")
          assert.deepStrictEqual(yield* Pipe.pull(third), [0])
          assert.deepStrictEqual(yield* Pipe.pull(third), [])
          assert.deepStrictEqual(yield* Pipe.pull(fourth), [])
          yield* Call.join(pending)
        }))

      it.effect("pipes out of their order on the server: are refused", () =>
        Effect.gen(function* () {
          const { client, there } = yield* hold(world)
          assert.strictEqual(yield* tag(Pipe.push(there.echo, [1])), "WrongPipeOrder")
          assert.strictEqual(yield* tag(Pipe.end(there.echo)), "WrongPipeOrder")
          yield* Pipe.end(client.numbers)
          assert.deepStrictEqual(yield* Pipe.pull(there.numbers), [])
          yield* Pipe.push(there.echo, [1])
        }))

      it.effect("pipe at its end, either turn: PipeClosed for the writer, PipeEmpty for the reader", () =>
        Effect.gen(function* () {
          const { client, there } = yield* hold(world)
          yield* Pipe.end(client.numbers)
          assert.strictEqual(yield* tag(Pipe.push(client.numbers, [1])), "PipeClosed")
          assert.strictEqual(yield* tag(Pipe.end(client.numbers)), "PipeClosed")
          yield* Pipe.pull(there.numbers)
          assert.strictEqual(yield* tag(Pipe.pull(there.numbers)), "PipeEmpty")
        }))
    })

    describe("the discipline", () => {
      it.effect("finish before the pipes have ended: is refused, and changes nothing", () =>
        Effect.gen(function* () {
          const { call, client, pending, serverCall, there } = yield* hold(world)
          assert.strictEqual(yield* tag(Call.finish(pending)), "PipeDisciplineError")
          yield* Pipe.end(client.numbers)
          assert.strictEqual(yield* tag(Call.finish(pending)), "PipeDisciplineError")
          yield* Pipe.pull(there.numbers)
          yield* Pipe.push(there.echo, [1])
          yield* Pipe.end(there.echo)
          yield* ServerCall.complete(serverCall, { result: 7 })
          // The reply is there, and behind the pipe.
          assert.deepStrictEqual(yield* Call.state(call), { _tag: "Pending", cancelRequested: false })
          assert.strictEqual(yield* tag(Call.finish(pending)), "PipeDisciplineError")
          yield* Pipe.pull(client.echo)
          assert.deepStrictEqual(yield* Pipe.pull(client.echo), [])
          assert.deepStrictEqual(yield* Call.join(pending), { result: 7 })
        }))

      it.effect("complete before the pipes have ended: is refused, and both sides are told", () =>
        Effect.gen(function* () {
          const { client, pending, serverCall } = yield* hold(world)
          assert.strictEqual(yield* tag(ServerCall.complete(serverCall, { result: 7 })), "PipeDisciplineError")
          assert.strictEqual(yield* tag(ServerCall.complete(serverCall, { result: 7 })), "InvalidAsyncHandle")
          yield* settle
          assert.strictEqual(yield* tag(Pipe.push(client.numbers, [1])), "PipeDisciplineError")
          assert.strictEqual(yield* tag(Call.join(pending)), "PipeDisciplineError")
        }))

      it.effect("nobody asked for an end of a pipe: join and wait fail, whatever the timeout, and change nothing", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          const summing = yield* Call.begin(yield* Call.make(binding), "Sum")
          assert.strictEqual(yield* tag(Call.join(summing)), "PipeDisciplineError")
          assert.strictEqual(yield* tag(Call.wait(summing)), "PipeDisciplineError")
          assert.strictEqual(yield* tag(Call.wait(summing, 0)), "PipeDisciplineError")
          assert.strictEqual(yield* tag(Call.wait(summing, "1 minute")), "PipeDisciplineError")
          yield* Stream.run(Stream.make(1, 2, 3), Pipe.toSink(Call.inPipe(summing, "numbers")))
          assert.deepStrictEqual(yield* Call.join(summing), { sum: 6 })
        }))

      it.effect("the joiner asked for an end that later callbacks drive: join waits", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          const summing = yield* Call.begin(yield* Call.make(binding), "Sum")
          const numbers = Call.inPipe(summing, "numbers")
          assert.strictEqual(yield* tag(Call.wait(summing, 0)), "WaitTimeout")
          const joining = yield* Effect.forkChild(Call.join(summing), { startImmediately: true })
          yield* settle
          assert.isUndefined(joining.pollUnsafe())
          // Each of them is a fiber of its own, which has ended when the next one starts.
          yield* Fiber.join(yield* Effect.forkDetach(Pipe.push(numbers, [1, 2])))
          yield* settle
          assert.isUndefined(joining.pollUnsafe())
          yield* Fiber.join(yield* Effect.forkDetach(Pipe.end(numbers)))
          assert.deepStrictEqual(yield* Fiber.join(joining), { sum: 3 })
        }))

      it.effect("join: waits for fibers that drive the pipes, however they were forked", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          const summing = yield* Call.begin(yield* Call.make(binding), "Sum")
          const slowly = Stream.tap(Stream.make(1, 2, 3), () => Effect.yieldNow)
          yield* Effect.forkChild(Stream.run(slowly, Pipe.toSink(Call.inPipe(summing, "numbers"))))
          assert.deepStrictEqual(yield* Call.join(summing), { sum: 6 })
        }))

      it.effect("join: waits for the fiber that began the call", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          const summing = yield* Call.begin(yield* Call.make(binding), "Sum")
          const drive = Effect.andThen(
            settle,
            Stream.run(Stream.make(1, 2, 3), Pipe.toSink(Call.inPipe(summing, "numbers")))
          )
          const [result] = yield* Effect.all([Call.join(summing), drive], { concurrency: "unbounded" })
          assert.deepStrictEqual(result, { sum: 6 })
        }))

      it.effect("join: waits for a fiber that has asked for a pipe", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          const summing = yield* Call.begin(yield* Call.make(binding), "Sum")
          yield* Effect.forkChild(Effect.gen(function* () {
            const numbers = Call.inPipe(summing, "numbers")
            yield* settle // opening a file, for instance
            yield* Stream.run(Stream.make(1, 2, 3), Pipe.toSink(numbers))
          }))
          assert.deepStrictEqual(yield* Call.join(summing), { sum: 6 })
        }))

      it.effect("method with pipes: invoke refuses it", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          const error = yield* Effect.flip(Call.invoke(binding, "Sum" as never))
          assert.include((error as Status.BadStubData).message, "IPipes.Sum has pipes")
        }))

      it.effect("method with other pipes: stream and sink refuse it", () =>
        Effect.gen(function* () {
          const { binding, server } = yield* world
          const streamed = yield* Effect.flip(Stream.runDrain(Call.stream(binding, "Several" as never)))
          assert.include((streamed as Status.BadStubData).message, "IPipes.Several does not have one out pipe")
          const sunk = yield* Effect.flip(Stream.run(Stream.empty, Call.sink(binding, "Load" as never)))
          assert.include((sunk as Status.BadStubData).message, "IPipes.Load does not have one in pipe")
          const missing = yield* Effect.flip(Stream.runDrain(Call.stream(binding, "toString" as never)))
          assert.include((missing as Status.BadStubData).message, "no method")
          assert.deepStrictEqual(yield* Server.calls(server), [])
        }))
    })

    describe("what ends a call ends its pipes on both sides:", () => {
      type Held = Effect.Success<ReturnType<typeof hold>>
      const ends = (
        name: string,
        deed: (held: Held) => Effect.Effect<unknown, unknown>,
        expected: { readonly client: string; readonly server: string; readonly join?: string }
      ) => {
        it.effect(`${name}, while both sides wait`, () =>
          Effect.gen(function* () {
            const held = yield* hold(world)
            const { client, pending, there } = held
            const pulling = yield* suspends(Effect.flip(Pipe.pull(there.numbers)))
            yield* deed(held)
            assert.strictEqual((yield* Fiber.join(pulling))._tag, expected.server)
            yield* settle
            assert.strictEqual(yield* tag(Pipe.push(client.numbers, [1])), expected.client)
            assert.strictEqual(yield* tag(Pipe.end(client.numbers)), expected.client)
            assert.strictEqual(yield* tag(Pipe.pull(client.echo)), expected.client)
            assert.strictEqual(yield* tag(Pipe.push(there.echo, [1])), expected.server)
            if (expected.join !== undefined) assert.strictEqual(yield* tag(Call.join(pending)), expected.join)
          }))

        it.effect(`${name}, while a push waits for room`, () =>
          Effect.gen(function* () {
            const held = yield* hold(world)
            const { client, there } = held
            const pushing = yield* suspends(Effect.flip(Effect.forever(Pipe.push(client.numbers, [1]))))
            yield* deed(held)
            assert.strictEqual((yield* Fiber.join(pushing))._tag, expected.client)
            yield* settle
            assert.strictEqual(yield* tag(Pipe.pull(there.numbers)), expected.server)
          }))

        it.effect(`${name}, while a sink waits for its stream`, () =>
          Effect.gen(function* () {
            const held = yield* hold(world)
            const interrupted = yield* Deferred.make<void>()
            const slow = Stream.fromEffect(
              Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
            )
            const sinking = yield* suspends(Effect.flip(Stream.run(slow, Pipe.toSink(held.client.numbers))))
            yield* deed(held)
            assert.strictEqual((yield* Fiber.join(sinking))._tag, expected.client)
            yield* Deferred.await(interrupted)
          }))
      }

      ends("an abortive cancel", ({ pending }) => Call.cancel(pending, { timeout: 0 }), {
        client: "CallCancelled",
        server: "CallCancelled",
        join: "CallCancelled"
      })
      ends("a cancel that waits for the server", ({ pending }) => Call.cancel(pending, { timeout: Infinity }), {
        client: "CallCancelled",
        server: "CallCancelled"
      })
      ends("an abort", ({ serverCall }) => ServerCall.abort(serverCall, new Status.RpcFault({ code: 5 })), {
        client: "RpcFault",
        server: "InvalidAsyncHandle",
        join: "RpcFault"
      })
      ends("the release of the call object", ({ release }) => release, {
        client: "InvalidAsyncHandle",
        server: "InvalidAsyncHandle"
      })

      for (const deed of ["a cancel", "the release of the call object"]) {
        it.effect(`${deed}: interrupts the work at a pipe of the server, and does not fail it`, () =>
          Effect.gen(function* () {
            for (const end of ["pull", "push", "sink"]) {
              const { client, pending, release, serverCall, there } = yield* hold(world)
              if (end !== "pull") {
                yield* Pipe.end(client.numbers)
                yield* Pipe.pull(there.numbers)
              }
              const work: Effect.Effect<unknown, Status.PipeError | ServerCall.PipeFailure> = end === "pull"
                ? Pipe.pull(there.numbers)
                : end === "push"
                ? Effect.forever(Pipe.push(there.echo, [1]))
                : Stream.run(Stream.make(1).pipe(Stream.concat(Stream.never)), Pipe.toSink(there.echo))
              const exits = yield* Queue.unbounded<Exit.Exit<unknown, unknown>>()
              yield* suspends(Effect.ignore(ServerCall.run(
                serverCall,
                Effect.as(Effect.onExit(work, (exit) => Queue.offer(exits, exit)), { result: 1 })
              )))
              yield* deed === "a cancel" ? Call.cancel(pending) : release
              assert.isTrue(Exit.hasInterrupts(yield* Queue.take(exits)))
            }
          }))
      }

      it.effect("cancelled call with open pipes: its manager may complete it", () =>
        Effect.gen(function* () {
          const { pending, serverCall } = yield* hold(world)
          yield* Call.cancel(pending, { timeout: Infinity })
          yield* settle
          yield* ServerCall.complete(serverCall, { result: 3 })
          assert.deepStrictEqual(yield* Call.join(pending), { result: 3 })
        }))

      it.effect("call answered, out pipe not drained: a cancel still counts", () =>
        Effect.gen(function* () {
          const { client, pending, serverCall, there } = yield* hold(world)
          yield* Pipe.end(client.numbers)
          yield* Pipe.pull(there.numbers)
          yield* Pipe.push(there.echo, [1])
          yield* Pipe.end(there.echo)
          yield* ServerCall.complete(serverCall, { result: 3 })
          yield* settle
          yield* Call.cancel(pending, { timeout: Infinity })
          assert.strictEqual(yield* tag(Call.join(pending)), "CallCancelled")
          assert.strictEqual(yield* tag(Pipe.pull(client.echo)), "CallCancelled")
        }))

      it.effect("declared abort: reaches a sink", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          const error = yield* Effect.flip(Stream.run(Stream.make(1, -2, 3), Call.sink(binding, "Sum")))
          // Through NDR without its fields.
          assert.isTrue(error._tag === "Full" && (error.at === -2 || name.includes("NDR")))
        }))

      it.effect("declared abort, at once or behind many elements: reaches a stream", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          for (const to of [-1, -70, -5000]) {
            const error = yield* Effect.flip(Stream.runDrain(Call.stream(binding, "Count", { to })))
            assert.isTrue(error._tag === "Full" && (error.at === to || name.includes("NDR")))
          }
        }))

      it.effect("stream of a sink fails: its call is cancelled", () =>
        Effect.gen(function* () {
          const { binding, held, server } = yield* world
          const failing = Stream.concat(Stream.make(1), Stream.fail("broken" as const))
          assert.strictEqual(yield* Effect.flip(Stream.run(failing, Call.sink(binding, "Sum"))), "broken")
          yield* settle
          assert.deepStrictEqual(yield* Server.calls(server), [])
          assert.strictEqual(yield* Queue.size(held), 0)
        }))

      it.effect("stream stopped early: its call is cancelled", () =>
        Effect.gen(function* () {
          const { binding, server } = yield* world
          const some = yield* Call.stream(binding, "Count", { to: 1_000_000 }).pipe(Stream.take(3), Stream.runCollect)
          assert.deepStrictEqual(some, [1, 2, 3])
          yield* settle
          assert.deepStrictEqual(yield* Server.calls(server), [])
        }))

      it.effect("sink interrupted: leaves nothing behind", () =>
        Effect.gen(function* () {
          const { binding, server } = yield* world
          const begun = yield* Deferred.make<void>()
          const endless = Stream.tap(Stream.iterate(0, (n) => n), () => Deferred.succeed(begun, undefined))
          const running = yield* Effect.forkChild(Stream.run(endless, Call.sink(binding, "Sum")))
          yield* Deferred.await(begun)
          yield* Fiber.interrupt(running)
          yield* settle
          assert.deepStrictEqual(yield* Server.calls(server), [])
        }))

      it.effect("push refused, the routine passes the error on: the call ends with that error", () =>
        Effect.gen(function* () {
          const { binding } = yield* world
          const pending = yield* Call.begin(yield* Call.make(binding), "Push")
          yield* Effect.ignore(Pipe.end(Call.inPipe(pending, "a")))
          assert.strictEqual(yield* tag(Pipe.pull(Call.outPipe(pending, "b"))), "WrongPipeOrder")
          assert.strictEqual(yield* tag(Call.join(pending)), "WrongPipeOrder")
        }))
    })
  })
