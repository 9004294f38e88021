// This library in process.
import { Effect, Queue, Schema, type Scope, Tracer } from "effect"
import type * as Callisto from "../mod.ts"
import type { Contender } from "./measure.ts"
import { routines } from "./routines.ts"

/** The library, or another build of it. */
export type Library = typeof Callisto

type Method = "Succeed" | "Gen" | "Fn" | "Suspend" | "Worker"

const hundred = Array.from({ length: 100 }, (_, i) => i)

/** Binds to a server of the routines, and gives the loops over its methods. */
const makeLoops = Effect.fnUntraced(function* (library: Library, options?: { readonly validate: boolean }) {
  const { Binding, Call, Interface, Manager, Server, ServerCall } = library
  const method = Interface.method({ in: Schema.Int, out: Schema.Int })
  const Numbers = Interface.make("Numbers", {
    uuid: "5d2c3d9e-0c4e-4a0e-9a63-3a1f4b7c9d20",
    version: [1, 0],
    methods: { Succeed: method, Gen: method, Fn: method, Suspend: method, Worker: method }
  })
  const jobs = yield* Queue.unbounded<readonly [number, Callisto.ServerCall.ServerCall<typeof method>]>()
  yield* Effect.forkScoped(Effect.gen(function* () {
    while (true) {
      const [n, call] = yield* Queue.take(jobs)
      yield* ServerCall.complete(call, n + 1)
    }
  }))
  const manager = Manager.make(Numbers, {
    ...routines,
    Worker: Manager.handOff((n, call) => Queue.offer(jobs, [n, call]))
  })
  const server = yield* Server.make([manager])
  const numbers = yield* Binding.local(server, Numbers, options)
  const call = yield* Call.make(numbers)
  const calls = yield* Effect.forEach(hundred, () => Call.make(numbers))
  const queue = yield* Queue.unbounded<
    Callisto.Call.Completion<number, Callisto.Call.Pending<typeof Numbers, "Suspend">>
  >()

  return {
    invoke: (method: Method) => (n: number) =>
      Effect.gen(function* () {
        for (let i = 0; i < n; i++) yield* Call.invoke(numbers, method as "Succeed", i)
      }),
    beginAndJoin: (method: Method) => (n: number) =>
      Effect.gen(function* () {
        for (let i = 0; i < n; i++) yield* Call.join(yield* Call.begin(call, method as "Succeed", i))
      }),
    completionQueue: (n: number) =>
      Effect.gen(function* () {
        for (let i = 0; i < n; i++) {
          for (let k = 0; k < calls.length; k++) {
            yield* Call.notify(yield* Call.begin(calls[k]!, "Suspend", k), queue, k)
          }
          for (let k = 0; k < calls.length; k++) {
            const { pending } = yield* Queue.take(queue)
            yield* Call.finish(pending)
          }
        }
      })
  }
})

export const makeContenders = Effect.fnUntraced(function* (library: Library) {
  const unchecked = yield* makeLoops(library)
  const checked = yield* makeLoops(library, { validate: true })
  const contenders: ReadonlyArray<Contender> = [
    { name: "invoke, succeed", reference: "effect/rpc, succeed", target: 2, loop: unchecked.invoke("Succeed") },
    { name: "invoke, gen", reference: "effect/rpc, gen", target: 2, loop: unchecked.invoke("Gen") },
    { name: "invoke, fnUntraced", reference: "effect/rpc, fnUntraced", loop: unchecked.invoke("Fn") },
    { name: "invoke, suspending", reference: "effect/rpc, suspending", loop: unchecked.invoke("Suspend") },
    { name: "invoke, checked, succeed", reference: "effect/rpc, payload checked", loop: checked.invoke("Succeed") },
    {
      name: "begin and join, succeed",
      reference: "effect/rpc, succeed",
      target: 2,
      loop: unchecked.beginAndJoin("Succeed")
    },
    { name: "begin and join, gen", reference: "effect/rpc, gen", target: 2, loop: unchecked.beginAndJoin("Gen") },
    { name: "begin and join, fnUntraced", reference: "effect/rpc, fnUntraced", loop: unchecked.beginAndJoin("Fn") },
    {
      name: "hand-off, completed by a worker",
      reference: "effect/rpc, completed by a worker",
      loop: unchecked.invoke("Worker")
    },
    {
      name: "100 call objects, one completion queue",
      reference: "effect/rpc, 100 calls side by side",
      callsPerLoop: 100,
      loop: unchecked.completionQueue
    }
  ]
  return contenders
})

const tracer = Tracer.make({ span: (options) => new Tracer.NativeSpan(options) })

/** Looks at each event of a call. */
const observer: Callisto.Observability.Observer = {
  begun: () => {},
  changed: () => {},
  transferred: () => {},
  ended: () => {}
}

/** Invocations of the routine that answers at once, with a tracer, with metrics and with an observer. */
export const makeObserved = Effect.fnUntraced(function* (library: Library, reference: string) {
  const off = yield* makeLoops(library)
  const traced = yield* Effect.withTracer(makeLoops(library), tracer)
  const counted = yield* Effect.provide(makeLoops(library), library.Observability.layer)
  const observed = yield* Effect.provideService(makeLoops(library), library.Observability.observer, observer)
  const contenders: ReadonlyArray<Contender> = [
    { name: reference, loop: off.invoke("Succeed") },
    {
      name: "with a tracer on both sides",
      reference,
      loop: (n) => Effect.withTracer(traced.invoke("Succeed")(n), tracer)
    },
    { name: "with metrics on both sides", reference, loop: counted.invoke("Succeed") },
    { name: "with an observer on both sides", reference, loop: observed.invoke("Succeed") }
  ]
  return contenders
})

/** Invocations of the routine that answers at once, for comparing builds. */
export const makeInvoke = (library: Library): Effect.Effect<Contender["loop"], unknown, Scope.Scope> =>
  Effect.map(makeLoops(library), ({ invoke }) => invoke("Succeed"))
