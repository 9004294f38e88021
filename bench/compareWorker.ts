// Measures one row with the library of the checkout that it is given, and prints a line of JSON: without a row the names of all rows,
// else calls a second, by the clock (the upper quartile of its turns) and by the time of the processor.
//
//   node bench/compareWorker.ts CHECKOUT [ROW]
//
// The loops use only what every checkout has, and Effect comes from the checkout, too: no part is loaded twice.
import { createRequire } from "node:module"
import { join } from "node:path"
import process from "node:process"
import { pathToFileURL } from "node:url"
import type * as Callisto from "../mod.ts"

const [checkout, row] = [process.argv[2]!, process.argv[3]]
const effect = createRequire(join(checkout, "package.json")).resolve("effect")
const { Effect, Queue, Schema }: typeof import("effect") = await import(pathToFileURL(effect).href)
const library: typeof Callisto = await import(pathToFileURL(join(checkout, "mod.ts")).href)
const { Binding, Call, Interface, Manager, Pipe, Server, ServerCall, Status } = library

type Effectful = import("effect").Effect.Effect<unknown, unknown>

class Odd extends Schema.TaggedError<Odd>()("Odd", { n: Schema.Int }) {}

const method = Interface.method({ in: Schema.Int, out: Schema.Int })
const Numbers = Interface.make("Numbers", {
  uuid: "5d2c3d9e-0c4e-4a0e-9a63-3a1f4b7c9d23",
  version: [1, 0],
  methods: {
    Succeed: method,
    Gen: method,
    Fn: method,
    Suspend: method,
    Worker: method,
    Never: method,
    Abort: Interface.method({ in: Schema.Int, out: Schema.Int, aborts: [Interface.abort(1000, Odd)] }),
    Fault: method,
    Pull: Interface.method({ inPipe: { numbers: Schema.Int } }),
    Push: Interface.method({ in: Schema.Int, outPipe: { numbers: Schema.Int } })
  }
})
type Method = "Succeed" | "Gen" | "Fn" | "Suspend" | "Worker" | "Never" | "Abort" | "Fault"

const chunk = [1]

const makeLoops = Effect.gen(function* () {
  const jobs = yield* Queue.unbounded<readonly [number, Callisto.ServerCall.ServerCall<typeof method>]>()
  yield* Effect.forkScoped(Effect.gen(function* () {
    while (true) {
      const [n, call] = yield* Queue.take(jobs)
      yield* ServerCall.complete(call, n + 1)
    }
  }))
  const manager = Manager.make(Numbers, {
    Succeed: (n) => Effect.succeed(n + 1),
    Gen: (n) =>
      Effect.gen(function* () {
        return (yield* Effect.succeed(n)) + 1
      }),
    Fn: Effect.fnUntraced(function* (n: number) {
      return (yield* Effect.succeed(n)) + 1
    }),
    Suspend: (n) => Effect.as(Effect.yieldNow, n + 1),
    Worker: Manager.handOff((n, call) => Queue.offer(jobs, [n, call])),
    Never: () => Effect.never,
    Abort: (n) => Effect.fail(new Odd({ n })),
    Fault: () => Effect.fail(new Status.RpcFault({ code: 5 })),
    Pull: (_, call) => pullAll(ServerCall.inPipe(call, "numbers")),
    Push: (n, call) => pushAll(ServerCall.outPipe(call, "numbers"), n)
  })
  const server = yield* Server.make([manager])
  const numbers = yield* Binding.local(server, Numbers)
  const checked = yield* Binding.local(server, Numbers, { validate: true })
  const call = yield* Call.make(numbers)
  const calls = yield* Effect.forEach(Array.from({ length: 100 }), () => Call.make(numbers))
  const completions = yield* Queue.unbounded<
    Callisto.Call.Completion<number, Callisto.Call.Pending<typeof Numbers, "Suspend">>
  >()

  const invoke = (name: Method, binding = numbers) => (n: number) =>
    Effect.gen(function* () {
      for (let i = 0; i < n; i++) yield* Call.invoke(binding, name as "Succeed", i)
    })
  const fail = (name: Method) => (n: number) =>
    Effect.gen(function* () {
      for (let i = 0; i < n; i++) yield* Effect.flip(Call.invoke(numbers, name as "Abort", i))
    })
  const beginAndJoin = (name: Method) => (n: number) =>
    Effect.gen(function* () {
      for (let i = 0; i < n; i++) yield* Call.join(yield* Call.begin(call, name as "Succeed", i))
    })
  const cancel = (n: number) =>
    Effect.gen(function* () {
      for (let i = 0; i < n; i++) {
        const pending = yield* Call.begin(call, "Never", i)
        yield* Call.cancel(pending, { timeout: 0 })
        yield* Effect.flip(Call.join(pending))
      }
    })
  const completionQueue = (n: number) =>
    Effect.gen(function* () {
      for (let i = 0; i < n; i += calls.length) {
        for (let k = 0; k < calls.length; k++) {
          yield* Call.notify(yield* Call.begin(calls[k]!, "Suspend", k), completions, k)
        }
        for (let k = 0; k < calls.length; k++) yield* Call.finish((yield* Queue.take(completions)).pending)
      }
    })
  const push = (n: number) =>
    Effect.scoped(Effect.gen(function* () {
      const pending = yield* Call.begin(yield* Call.make(numbers), "Pull")
      yield* pushAll(Call.inPipe(pending, "numbers"), n)
      yield* Call.join(pending)
    }))
  const pull = (n: number) =>
    Effect.scoped(Effect.gen(function* () {
      const pending = yield* Call.begin(yield* Call.make(numbers), "Push", n)
      yield* pullAll(Call.outPipe(pending, "numbers"))
      yield* Call.join(pending)
    }))

  const loops: { readonly [row: string]: (n: number) => Effectful } = {
    "invoke, succeed": invoke("Succeed"),
    "invoke, gen": invoke("Gen"),
    "invoke, fnUntraced": invoke("Fn"),
    "invoke, suspending": invoke("Suspend"),
    "invoke, checked, succeed": invoke("Succeed", checked),
    "begin and join, succeed": beginAndJoin("Succeed"),
    "begin and join, gen": beginAndJoin("Gen"),
    "hand-off, completed by a worker": invoke("Worker"),
    "100 call objects, one completion queue": completionQueue,
    "begun and cancelled": cancel,
    "a declared abort": fail("Abort"),
    "an RpcFault": fail("Fault"),
    "in pipe, pushed and pulled by hand": push,
    "out pipe, pushed and pulled by hand": pull
  }
  return loops
})

const pullAll = <E>(pipe: Callisto.Pipe.Reader<ReadonlyArray<number>, E>) =>
  Effect.gen(function* () {
    while ((yield* Pipe.pull(pipe)).length > 0);
  })

const pushAll = <E>(pipe: Callisto.Pipe.Writer<ReadonlyArray<number>, E>, n: number) =>
  Effect.gen(function* () {
    for (let i = 0; i < n; i++) yield* Pipe.push(pipe, chunk)
    yield* Pipe.end(pipe)
  })

// ----------------------------------------------------------------------------
// one measurement
// ----------------------------------------------------------------------------

const turns = 12
const millis = 40

const measureRow = (loop: (n: number) => Effectful) =>
  Effect.gen(function* () {
    const time = Effect.fnUntraced(function* (n: number) {
      const start = performance.now()
      yield* loop(n)
      return performance.now() - start
    })
    // A hundred at least: so many call objects take a turn together.
    let n = 100
    let took = 0
    while ((took = yield* time(n)) < millis) n *= 2
    // Until engines have compiled what they will.
    for (let i = 0; i < 15; i++) took = Math.min(took, yield* time(n))
    n = Math.max(1, Math.round(n * millis / took / 100)) * 100

    const rates: Array<number> = []
    const before = process.cpuUsage()
    for (let turn = 0; turn < turns; turn++) rates.push(n * 1000 / (yield* time(n)))
    const { system, user } = process.cpuUsage(before)
    rates.sort((a, b) => a - b)
    return { wall: rates[Math.floor(turns * 0.75)]!, cpu: turns * n * 1e6 / (system + user) }
  })

const program = Effect.gen(function* () {
  const loops = yield* makeLoops
  return row === undefined ? Object.keys(loops) : yield* measureRow(loops[row]!)
})

console.log(JSON.stringify(await Effect.runPromise(Effect.scoped(program))))
process.exit()
