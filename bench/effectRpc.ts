// effect/rpc in process, in its fastest form: messages are passed as objects (no serialization), no spans, no acks, no limit
// on concurrency, the flat client, and payload and result schemas that check nothing.
import { Deferred, Effect, Queue, Schema } from "effect"
import { Rpc, RpcClient, RpcGroup, type RpcMessage, RpcServer } from "effect/rpc"
import type { Contender } from "./measure.ts"
import { routines } from "./routines.ts"

const unchecked = { payload: Schema.Any, success: Schema.Any }

const group = RpcGroup.make(
  Rpc.make("Succeed", unchecked),
  Rpc.make("Gen", unchecked),
  Rpc.make("Fn", unchecked),
  Rpc.make("Suspend", unchecked),
  Rpc.make("Worker", unchecked),
  Rpc.make("Checked", { payload: Schema.Int, success: Schema.Int })
)

const hundred = Array.from({ length: 100 }, (_, i) => i)

const makeClient = Effect.gen(function* () {
  const jobs = yield* Queue.unbounded<readonly [number, Deferred.Deferred<number>]>()
  yield* Effect.forkScoped(Effect.gen(function* () {
    while (true) {
      const [n, done] = yield* Queue.take(jobs)
      yield* Deferred.succeed(done, n + 1)
    }
  }))
  const handlers = yield* group.toHandlers({
    ...routines,
    Checked: routines.Succeed,
    Worker: (n: number) =>
      Effect.suspend(() => {
        const done = Deferred.makeUnsafe<number>()
        Queue.offerUnsafe(jobs, [n, done])
        return Deferred.await(done)
      })
  })
  let receive: (message: RpcMessage.FromServer<RpcGroup.Rpcs<typeof group>>) => Effect.Effect<void> = () =>
    Effect.die("there is no client yet")
  const server = yield* RpcServer.makeNoSerialization(group, {
    disableTracing: true,
    disableClientAcks: true,
    onFromServer: (message) => receive(message)
  }).pipe(Effect.provideContext(handlers))
  const { client, write } = yield* RpcClient.makeNoSerialization(group, {
    disableTracing: true,
    supportsAck: false,
    flatten: true,
    onFromClient: ({ message }) => server.write(0, message)
  })
  receive = write
  return client
})

export const makeContenders = Effect.gen(function* () {
  const client = yield* makeClient
  const call = (method: "Succeed" | "Gen" | "Fn" | "Suspend" | "Worker" | "Checked") => (n: number) =>
    Effect.gen(function* () {
      for (let i = 0; i < n; i++) yield* client(method, i)
    })
  const contenders: ReadonlyArray<Contender> = [
    { name: "effect/rpc, succeed", loop: call("Succeed") },
    { name: "effect/rpc, gen", loop: call("Gen") },
    { name: "effect/rpc, fnUntraced", loop: call("Fn") },
    { name: "effect/rpc, suspending", loop: call("Suspend") },
    { name: "effect/rpc, completed by a worker", loop: call("Worker") },
    { name: "effect/rpc, payload checked", loop: call("Checked") },
    {
      name: "effect/rpc, 100 calls side by side",
      callsPerLoop: 100,
      loop: (n) =>
        Effect.gen(function* () {
          for (let i = 0; i < n; i++) {
            yield* Effect.forEach(hundred, (i) => client("Suspend", i), { concurrency: "unbounded" })
          }
        })
    }
  ]
  return contenders
})
