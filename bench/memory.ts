// How much heap a pending call holds beyond the fibers that belong to it.
import { Deferred, Effect, Exit, Fiber, Schema, Scope } from "effect"
import process from "node:process"
import { Binding, Call, Interface, Manager, Server } from "../mod.ts"
import { gc, type Spread, spread } from "./measure.ts"

/** Bytes for each pending call. */
export interface Memory {
  /** Floor: a fiber that waits for a Deferred, with the Deferred. */
  readonly waiting: Spread
  /** Floor: a fiber that runs `Effect.never`. */
  readonly never: Spread
  /** A call whose routine never returns, without the two floors. */
  readonly call: Spread
  /** A call that was handed off, without the floor of the waiting fiber. */
  readonly handedOff: Spread
}

const method = Interface.method({ in: Schema.Int, out: Schema.Int })
const Pending = Interface.make("Pending", {
  uuid: "0f0c5a55-8d52-4c43-9a35-9a53c3c4a5f1",
  version: [1, 0],
  methods: { Never: method, HandOff: method }
})

const fillWithCalls = (method: "Never" | "HandOff") => (held: Array<unknown>) =>
  Effect.gen(function* () {
    const manager = Manager.make(Pending, { Never: () => Effect.never, HandOff: Manager.handOff(() => Effect.void) })
    const numbers = yield* Binding.local(yield* Server.make([manager]), Pending)
    for (let i = 0; i < held.length; i++) {
      const pending = yield* Call.begin(yield* Call.make(numbers), method as "Never", i)
      held[i] = Effect.runFork(Call.join(pending))
    }
  })

const fill = (make: () => Fiber.Fiber<unknown, unknown>) => (held: Array<unknown>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      for (let i = 0; i < held.length; i++) held[i] = make()
    }),
    () => Fiber.interruptAll(held as Array<Fiber.Fiber<unknown>>)
  )

const heap = (): number => {
  gc!()
  gc!()
  return process.memoryUsage().heapUsed
}

const bytesEach = (
  count: number,
  fill: (held: Array<unknown>) => Effect.Effect<unknown, unknown, Scope.Scope>
): Effect.Effect<number, unknown> =>
  Effect.gen(function* () {
    const held = new Array<unknown>(count).fill(undefined)
    const scope = yield* Scope.make()
    const before = heap()
    yield* Scope.provide(fill(held), scope)
    const after = heap()
    yield* Scope.close(scope, Exit.void)
    return (after - before) / held.length
  })

/** Measures on Node; elsewhere the heap can't be read well enough. */
export const measureMemory = ({ count, rounds }: { readonly count: number; readonly rounds: number }) =>
  Effect.gen(function* () {
    const each = {
      waiting: fill(() => Effect.runFork(Deferred.await(Deferred.makeUnsafe()))),
      never: fill(() => Effect.runFork(Effect.never)),
      call: fillWithCalls("Never"),
      handedOff: fillWithCalls("HandOff")
    }
    const bytes: Record<keyof typeof each, Array<number>> = { waiting: [], never: [], call: [], handedOff: [] }
    // The first round warms up.
    for (let round = 0; round <= rounds; round++) {
      const waiting = yield* bytesEach(count, each.waiting)
      const never = yield* bytesEach(count, each.never)
      const call = yield* bytesEach(count, each.call)
      const handedOff = yield* bytesEach(count, each.handedOff)
      if (round === 0) continue
      bytes.waiting.push(waiting)
      bytes.never.push(never)
      bytes.call.push(call - waiting - never)
      bytes.handedOff.push(handedOff - waiting)
    }
    const memory: Memory = {
      waiting: spread(bytes.waiting),
      never: spread(bytes.never),
      call: spread(bytes.call),
      handedOff: spread(bytes.handedOff)
    }
    return memory
  })
