// Pipes in one process, a number at a time, beside a bounded queue of Effect between two fibers and a stream of effect/rpc.
import { Effect, Fiber, Queue, Schema, Stream } from "effect"
import { Rpc, RpcClient, RpcGroup, type RpcMessage, RpcServer } from "effect/rpc"
import { Binding, Call, Interface, Manager, Pipe, Server, ServerCall } from "../mod.ts"
import type { Contender } from "./measure.ts"

const Numbers = Interface.make("Numbers", {
  uuid: "5d2c3d9e-0c4e-4a0e-9a63-3a1f4b7c9d21",
  version: [1, 0],
  methods: {
    Pull: Interface.method({ inPipe: { numbers: Schema.Int } }),
    Sum: Interface.method({ inPipe: { numbers: Schema.Int }, out: Schema.Int }),
    Push: Interface.method({ in: Schema.Int, outPipe: { numbers: Schema.Int } }),
    Count: Interface.method({ in: Schema.Int, outPipe: { numbers: Schema.Int } })
  }
})

const chunk = [1]

/** So many numbers, each in a chunk of its own. */
const ones = (n: number) => Stream.map(Stream.range(1, n, 1), () => 1)

const sum = <E>(stream: Stream.Stream<number, E>) => Stream.runFold(stream, () => 0, (sum, one) => sum + one)

const pullAll = <E>(pipe: Pipe.Reader<ReadonlyArray<number>, E>) =>
  Effect.gen(function* () {
    while ((yield* Pipe.pull(pipe)).length > 0);
  })

const pushAll = <E>(pipe: Pipe.Writer<ReadonlyArray<number>, E>, n: number) =>
  Effect.gen(function* () {
    for (let i = 0; i < n; i++) yield* Pipe.push(pipe, chunk)
    yield* Pipe.end(pipe)
  })

const rpcStream = Effect.gen(function* () {
  const group = RpcGroup.make(Rpc.make("Count", { payload: Schema.Any, success: Schema.Any, stream: true }))
  const handlers = yield* group.toHandlers({ Count: (n: number) => ones(n) })
  let receive: (
    message: RpcMessage.FromServer<RpcGroup.Rpcs<typeof group>>
  ) => Effect.Effect<void> = () => Effect.die("there is no client yet")
  const server = yield* RpcServer.makeNoSerialization(group, {
    disableTracing: true,
    onFromServer: (message) => receive(message)
  }).pipe(Effect.provideContext(handlers))
  const { client, write } = yield* RpcClient.makeNoSerialization(group, {
    disableTracing: true,
    supportsAck: true,
    flatten: true,
    onFromClient: ({ message }) => server.write(0, message)
  })
  receive = write
  return (n: number) => sum(client("Count", n))
})

export const makeContenders = Effect.gen(function* () {
  const manager = Manager.make(Numbers, {
    Pull: (_, call) => pullAll(ServerCall.inPipe(call, "numbers")),
    Sum: (_, call) => sum(Pipe.toStream(ServerCall.inPipe(call, "numbers"))),
    Push: (n, call) => pushAll(ServerCall.outPipe(call, "numbers"), n),
    Count: (n, call) => Stream.run(ones(n), Pipe.toSink(ServerCall.outPipe(call, "numbers")))
  })
  const numbers = yield* Binding.local(yield* Server.make([manager]), Numbers)
  const rpc = yield* rpcStream
  const reference = "effect/rpc, a stream"
  const contenders: ReadonlyArray<Contender> = [
    {
      name: "a bounded queue of 64",
      loop: (n) =>
        Effect.gen(function* () {
          const queue = yield* Queue.bounded<ReadonlyArray<number>>(64)
          const takeAll = Effect.gen(function* () {
            for (let i = 0; i < n; i++) yield* Queue.take(queue)
          })
          const taking = yield* Effect.forkChild(takeAll)
          for (let i = 0; i < n; i++) yield* Queue.offer(queue, chunk)
          yield* Fiber.join(taking)
        })
    },
    { name: reference, loop: rpc },
    {
      name: "in pipe, pushed and pulled by hand",
      reference,
      loop: (n) =>
        Effect.gen(function* () {
          const pending = yield* Call.begin(yield* Call.make(numbers), "Pull")
          yield* pushAll(Call.inPipe(pending, "numbers"), n)
          yield* Call.join(pending)
        }).pipe(Effect.scoped)
    },
    {
      name: "out pipe, pushed and pulled by hand",
      reference,
      loop: (n) =>
        Effect.gen(function* () {
          const pending = yield* Call.begin(yield* Call.make(numbers), "Push", n)
          yield* pullAll(Call.outPipe(pending, "numbers"))
          yield* Call.join(pending)
        }).pipe(Effect.scoped)
    },
    { name: "in pipe, a sink and a stream", reference, loop: (n) => Stream.run(ones(n), Call.sink(numbers, "Sum")) },
    { name: "out pipe, a sink and a stream", reference, loop: (n) => sum(Call.stream(numbers, "Count", n)) }
  ]
  return contenders
})
