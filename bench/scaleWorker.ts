// A server that much is asked of, or the client that asks. It is told what to do by lines of JSON, and answers each with one; it ends
// with its input.
//
//   node bench/scaleWorker.ts server
//   node bench/scaleWorker.ts client PORT
import { Effect, Fiber, Schema, type Scope } from "effect"
import process from "node:process"
import { createInterface } from "node:readline"
import { Call, Interface, Manager, Server } from "../mod.ts"
import { Association, Endpoint } from "../src/dcerpc.ts"
import { Ndr } from "../src/ndr.ts"
import type { Transport } from "../src/transport.ts"
import * as NodeTransport from "../src/node.ts"
import { routines } from "./network/service.ts"

/** What is made so many of. */
export type What = "connections" | "pending calls" | "methods" | "bytes"

export interface Task {
  readonly what: What
  readonly count: number
}

/** Milliseconds that a step has taken. */
export interface Answer {
  readonly value: number
}

const Scaled = Interface.make("Scaled", {
  uuid: "9c1f7a30-52f4-4a0e-8f0b-6d6c4c1e7a01",
  version: [1, 0],
  methods: {
    AddOne: Interface.method({ in: Ndr.Uint32, out: Ndr.Uint32 }),
    Wait: Interface.method({}),
    Started: Interface.method({ in: Ndr.Uint32 }),
    Ended: Interface.method({ in: Ndr.Uint32 }),
    Size: Interface.method({ in: Ndr.Bytes, out: Ndr.Uint32 })
  }
})

/** An interface with so many methods. */
const makeWide = (count: number) => {
  const names = Array.from({ length: count }, (_, i) => `Method${i}`)
  const iface = Interface.make("Wide", {
    uuid: `9c1f7a30-52f4-4a0e-8f0b-6d6c4c1e${String(count).padStart(4, "0")}`,
    version: [1, 0],
    methods: Object.fromEntries(names.map((name) => [name, Interface.method({ in: Schema.Int, out: Schema.Int })]))
  })
  return { iface, names }
}

const wide = [10, 100, 1000]

const serve = Effect.gen(function* () {
  const { AddOne, Ended, Started, Wait } = routines
  const managers = [
    Manager.make(Scaled, { AddOne, Wait, Started, Ended, Size: ({ length }) => Effect.succeed(length) }),
    ...wide.map((count) => {
      const { iface, names } = makeWide(count)
      return Manager.make(iface, Object.fromEntries(names.map((name) => [name, AddOne])) as never)
    })
  ]
  const endpoint = yield* Endpoint.serve(yield* Server.make(managers), "ncacn_ip_tcp:127.0.0.1[0]", {
    maximumConnections: 20_000,
    maximumCalls: 2000,
    maximumTotalCalls: 200_000,
    maximumRequest: 1 << 27
  })
  return Number(endpoint.address.endpoint)
})

/** How many waits this process has begun. */
let begun = 0

const bind = (address: string) => Association.bind(Scaled, address)

type Step = Effect.Effect<unknown, unknown, Scope.Scope | Transport.Transport>

const steps: { readonly [W in What]: (address: string, count: number) => Step } = {
  /** So many clients connect, and make a call. */
  connections: (address, count) =>
    Effect.replicateEffect(
      Effect.flatMap(bind(address), (binding) => Call.invoke(binding, "AddOne", 1)),
      count,
      { concurrency: 100, discard: true }
    ),
  /** So many calls begin on a hundred connections, and are cancelled. */
  "pending calls": (address, count) =>
    Effect.gen(function* () {
      const bindings = yield* Effect.replicateEffect(bind(address), 100)
      const waits = yield* Effect.forEach(
        bindings,
        (binding) => Effect.replicateEffect(Effect.forkChild(Call.invoke(binding, "Wait")), count / 100)
      )
      begun += count
      yield* Call.invoke(bindings[0]!, "Started", begun)
      yield* Fiber.interruptAll(waits.flat())
      yield* Call.invoke(bindings[0]!, "Ended", begun)
    }),
  /** An interface with so many methods is made and bound, and each is called. */
  methods: (address, count) =>
    Effect.gen(function* () {
      const { iface, names } = makeWide(count)
      const binding = yield* Association.bind(iface, address)
      for (const name of names) yield* Call.invoke(binding, name as never, 1 as never)
    }),
  /** A call has so many bytes of arguments. */
  bytes: (address, count) =>
    Effect.gen(function* () {
      const size = yield* Call.invoke(yield* bind(address), "Size", new Uint8Array(count))
      if (size !== count) return yield* Effect.die(new Error(`${size} of ${count} bytes have arrived`))
    })
}

/** Milliseconds that a step takes, without the closing of what it has opened. */
const time = (step: Step) =>
  Effect.scoped(Effect.suspend(() => {
    const start = performance.now()
    return Effect.map(step, () => performance.now() - start)
  }))

const [role, port] = process.argv.slice(2)

const main = Effect.gen(function* () {
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
  const say = (answer: Answer) => process.stdout.write(`${JSON.stringify(answer)}\n`)
  say({ value: role === "server" ? yield* serve : Number(port) })
  while (true) {
    const { done, value } = yield* Effect.promise(() => lines.next())
    if (done) process.exit()
    const { count, what }: Task = JSON.parse(value)
    say({ value: yield* time(steps[what](`ncacn_ip_tcp:127.0.0.1[${port}]`, count)) })
  }
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

await Effect.runPromise(main)
