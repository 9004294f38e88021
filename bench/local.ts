// Measures calls and pipes in one process beside effect/rpc in its fastest form (no serialization, no spans, the flat client), and beside
// what Effect itself needs for a fiber.
import { Effect, Fiber, Layer, Logger, Queue, Schema, Stream } from "effect"
import { Rpc, RpcClient, RpcGroup, type RpcMessage, RpcServer } from "effect/rpc"
import { Binding, Call, Interface, Manager, Pipe, Server, ServerCall } from "../mod.ts"
import * as Inspector from "../src/inspector.ts"
import { rowsOf, type Table, takeTurns, type Turn } from "./measure.ts"

export interface Effort {
  readonly rounds: number
  /** How long one contender runs in one round. */
  readonly millis: number
}

/** Something to be measured: `loop(n)` does it `n` times inside the fiber that runs it. */
export interface Contender {
  readonly name: string
  readonly reference?: string
  /** How many calls one turn of the loop makes; by default 1. */
  readonly callsPerLoop?: number
  readonly loop: (n: number) => Effect.Effect<unknown, unknown>
}

const routines = {
  /** Has its answer at once. */
  Succeed: (n: number): Effect.Effect<number> => Effect.succeed(n + 1),
  /** Has its answer after one step of a generator. */
  Gen: (n: number): Effect.Effect<number> =>
    Effect.gen(function* () {
      return (yield* Effect.succeed(n)) + 1
    }),
  /** Really suspends. */
  Suspend: (n: number): Effect.Effect<number> => Effect.as(Effect.yieldNow, n + 1)
}

const repeat = <E>(call: (i: number) => Effect.Effect<unknown, E>) => (n: number) =>
  Effect.gen(function* () {
    for (let i = 0; i < n; i++) yield* call(i)
  })

const hundred = Array.from({ length: 100 }, (_, i) => i)
const chunk = [1]
const ones = (n: number) => Stream.map(Stream.range(1, n, 1), () => 1)
const sum = <E>(stream: Stream.Stream<number, E>) => Stream.runFold(stream, () => 0, (sum, one) => sum + one)

// ----------------------------------------------------------------------------
// peers
// ----------------------------------------------------------------------------

const unchecked = { payload: Schema.Any, success: Schema.Any }

const group = RpcGroup.make(
  Rpc.make("Succeed", unchecked),
  Rpc.make("Gen", unchecked),
  Rpc.make("Suspend", unchecked),
  Rpc.make("Checked", { payload: Schema.Int, success: Schema.Int }),
  Rpc.make("Count", { ...unchecked, stream: true })
)

const makeRpc = Effect.gen(function* () {
  const handlers = yield* group.toHandlers({
    ...routines,
    Checked: routines.Succeed,
    Count: ones
  })
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
  return client
})

/** The rows of others: effect/rpc, and Effect itself. */
const makePeers = Effect.map(makeRpc, (rpc): ReadonlyArray<Contender> => [
  {
    name: "fork and join, succeed",
    loop: repeat((i) =>
      Effect.flatMap(
        Effect.forkChild(routines.Succeed(i), { startImmediately: true }),
        Fiber.join
      )
    )
  },
  { name: "effect/rpc, succeed", loop: repeat((i) => rpc("Succeed", i)) },
  { name: "effect/rpc, gen", loop: repeat((i) => rpc("Gen", i)) },
  { name: "effect/rpc, suspending", loop: repeat((i) => rpc("Suspend", i)) },
  {
    name: "effect/rpc, payload checked",
    loop: repeat((i) => rpc("Checked", i))
  },
  {
    name: "effect/rpc, 100 calls side by side",
    callsPerLoop: 100,
    loop: repeat(() =>
      Effect.forEach(hundred, (i) => rpc("Suspend", i), {
        concurrency: "unbounded"
      })
    )
  },
  {
    name: "effect/rpc, a stream of numbers",
    loop: (n) => sum(rpc("Count", n))
  }
])

// ----------------------------------------------------------------------------
// Callisto
// ----------------------------------------------------------------------------

class Odd extends Schema.TaggedError<Odd>()("Odd", { n: Schema.Int }) {}

const method = Interface.method({ in: Schema.Int, out: Schema.Int })
const Numbers = Interface.make("Numbers", {
  methods: {
    Succeed: method,
    Gen: method,
    Suspend: method,
    Never: method,
    Abort: Interface.method({
      in: Schema.Int,
      out: Schema.Int,
      aborts: [Interface.abort(1000, Odd)]
    }),
    Pull: Interface.method({ inPipe: { numbers: Schema.Int } }),
    Count: Interface.method({
      in: Schema.Int,
      outPipe: { numbers: Schema.Int }
    })
  }
})

const manager = Manager.make(Numbers, {
  ...routines,
  Never: () => Effect.never,
  Abort: (n) => Effect.fail(new Odd({ n })),
  Pull: (_, call) =>
    Effect.gen(function* () {
      while ((yield* Pipe.pull(ServerCall.inPipe(call, "numbers"))).length > 0);
    }),
  Count: (n, call) => Stream.run(ones(n), Pipe.toSink(ServerCall.outPipe(call, "numbers")))
})

/** The rows of Callisto, each beside one of the others where there is one like it. */
export const makeOwn = Effect.gen(function* () {
  const server = yield* Server.make([manager])
  const numbers = yield* Binding.local(server, Numbers)
  const checked = yield* Binding.local(server, Numbers, { validate: true })
  const inspected = yield* Effect.provideContext(
    Effect.flatMap(Server.make([manager]), (server) => Binding.local(server, Numbers)),
    yield* Layer.build(Layer.provide(Inspector.layer(), Logger.layer([])))
  )
  const call = yield* Call.make(numbers)
  const calls = yield* Effect.forEach(hundred, () => Call.make(numbers))
  const queue = yield* Queue.unbounded<
    Call.Completion<number, Call.Pending<typeof Numbers, "Suspend">>
  >()
  const invoke = (
    binding: typeof numbers,
    method: "Succeed" | "Gen" | "Suspend"
  ) => repeat((i) => Call.invoke(binding, method as "Succeed", i))
  const rows: ReadonlyArray<Contender> = [
    {
      name: "invoke, succeed",
      reference: "effect/rpc, succeed",
      loop: invoke(numbers, "Succeed")
    },
    {
      name: "invoke, gen",
      reference: "effect/rpc, gen",
      loop: invoke(numbers, "Gen")
    },
    {
      name: "invoke, suspending",
      reference: "effect/rpc, suspending",
      loop: invoke(numbers, "Suspend")
    },
    {
      name: "invoke, checked, succeed",
      reference: "effect/rpc, payload checked",
      loop: invoke(checked, "Succeed")
    },
    // Both sides of each call are kept for a page that nobody has opened.
    {
      name: "invoke, inspected, succeed",
      reference: "invoke, succeed",
      loop: invoke(inspected, "Succeed")
    },
    {
      name: "invoke, inspected, suspending",
      reference: "invoke, suspending",
      loop: invoke(inspected, "Suspend")
    },
    {
      name: "begin and join, succeed",
      reference: "effect/rpc, succeed",
      loop: repeat((i) => Effect.flatMap(Call.begin(call, "Succeed", i), Call.join))
    },
    {
      name: "begun and cancelled",
      loop: repeat((i) =>
        Effect.gen(function* () {
          const pending = yield* Call.begin(call, "Never", i)
          yield* Call.cancel(pending, { timeout: 0 })
          yield* Effect.flip(Call.join(pending))
        })
      )
    },
    {
      name: "a declared abort",
      loop: repeat((i) => Effect.flip(Call.invoke(numbers, "Abort", i)))
    },
    {
      name: "100 call objects, one completion queue",
      reference: "effect/rpc, 100 calls side by side",
      callsPerLoop: 100,
      loop: repeat(() =>
        Effect.gen(function* () {
          for (const k of hundred) {
            yield* Call.notify(
              yield* Call.begin(calls[k]!, "Suspend", k),
              queue,
              k
            )
          }
          for (const _ of hundred) {
            yield* Call.finish((yield* Queue.take(queue)).pending)
          }
        })
      )
    },
    {
      name: "in pipe, pushed and pulled by hand",
      reference: "effect/rpc, a stream of numbers",
      loop: (n) =>
        Effect.gen(function* () {
          const pending = yield* Call.begin(yield* Call.make(numbers), "Pull")
          const pipe = Call.inPipe(pending, "numbers")
          for (let i = 0; i < n; i++) yield* Pipe.push(pipe, chunk)
          yield* Pipe.end(pipe)
          yield* Call.join(pending)
        }).pipe(Effect.scoped)
    },
    {
      name: "out pipe, a sink and a stream",
      reference: "effect/rpc, a stream of numbers",
      loop: (n) => sum(Call.stream(numbers, "Count", n))
    }
  ]
  return rows
})

// ----------------------------------------------------------------------------
// the table
// ----------------------------------------------------------------------------

/** Milliseconds for `n` turns of the loop. */
export const time = (
  { loop }: Contender,
  n: number
): Effect.Effect<number, unknown> =>
  Effect.suspend(() => {
    const start = performance.now()
    return Effect.map(loop(n), () => performance.now() - start)
  })

/** Runs a contender until it is compiled, and finds how many times it runs in `millis`. */
export const sizeFor = (
  contender: Contender,
  millis: number,
  warmUps = 3
): Effect.Effect<number, unknown> =>
  Effect.gen(function* () {
    let n = 1
    while ((yield* time(contender, n)) < millis / 2) n *= 2
    let took = Infinity
    for (let i = 0; i < warmUps; i++) {
      took = Math.min(took, yield* time(contender, n))
    }
    return Math.max(1, Math.round(n * millis / took))
  })

export const measureLocal = (
  { millis, rounds }: Effort
): Effect.Effect<Table, unknown> =>
  Effect.gen(function* () {
    const contenders = [...(yield* makePeers), ...(yield* makeOwn)]
    const sizes = new Map<Contender, number>()
    // Twice, because the code that all share is compiled anew when it has met them all.
    for (const contender of [...contenders, ...contenders]) {
      sizes.set(contender, yield* sizeFor(contender, millis))
    }
    const turns = contenders.map((contender): Turn<number> => {
      const n = sizes.get(contender)!
      const rate = (took: number) => ({
        value: n * (contender.callsPerLoop ?? 1) * 1000 / took
      })
      return {
        ...contender,
        perform: Effect.orDie(Effect.map(time(contender, n), rate))
      }
    })
    const { outcomes } = yield* takeTurns(turns, rounds, [])
    return {
      id: "local",
      title: "calls, and numbers through a pipe, in one process",
      unit: "a second",
      rows: rowsOf(outcomes, (rate) => rate)
    }
  }).pipe(Effect.scoped)
