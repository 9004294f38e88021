// Measures objects and bindings in one process: whether each of many takes as long as each of few.
import { Effect, Exit, Schema, Scope } from "effect"
import { Binding, Call, Interface, Manager, Server } from "../mod.ts"
import { gc, type Row, type Table } from "./measure.ts"
import { compare, type Outcomes, takeTurns, type Turn } from "./processes.ts"
import { routines } from "./routines.ts"

export interface Effort {
  readonly rounds: number
  /** What part of all that is made. */
  readonly part: number
}

const method = Interface.method({ in: Schema.Int, out: Schema.Int })
const Objects = Interface.make("Objects", {
  uuid: "5d2c3d9e-0c4e-4a0e-9a63-3a1f4b7c9d22",
  version: [1, 0],
  methods: { Succeed: method, Wait: method }
})

const managerOf = (object?: string) =>
  Manager.make(Objects, { Succeed: routines.Succeed, Wait: Manager.handOff(() => Effect.void) }, { object })

const objectOf = (i: number): string => `9c1f7a30-52f4-4a0e-8f0b-${String(i).padStart(12, "0")}`

/** Microseconds that each of so many takes. */
const microsEach = <E, R>(count: number, step: Effect.Effect<unknown, E, R>): Effect.Effect<number, E, R> =>
  Effect.suspend(() => {
    gc?.()
    const start = performance.now()
    return Effect.map(step, () => (performance.now() - start) * 1000 / count)
  })

const digits = (count: number): string => count.toLocaleString("en-US")

// ----------------------------------------------------------------------------
// objects
// ----------------------------------------------------------------------------

/** The numbers of objects of a server. The rows of the second are compared with those of the first. */
const objectCounts = [100, 10_000]
const steps = ["added", "bound and called", "removed"] as const

/** The microseconds of each step in the life of one more object, beside the objects of a server. */
const objectTurn = Effect.fnUntraced(function* (served: number, part: number) {
  const count = Math.ceil(served * part)
  const server = yield* Server.make([])
  for (let i = 0; i < count; i++) yield* Server.add(server, managerOf(objectOf(i)))
  const more = Array.from({ length: Math.ceil(2000 * part) }, (_, i) => managerOf(objectOf(count + i)))

  const perform = Effect.gen(function* () {
    const scopes = more.map(() => Scope.makeUnsafe())
    const add = Effect.gen(function* () {
      for (let i = 0; i < more.length; i++) yield* Scope.provide(Server.add(server, more[i]!), scopes[i]!)
    })
    const call = Effect.gen(function* () {
      for (const { object } of more) {
        const bind = Binding.local(server, Objects, { object })
        yield* Effect.scoped(Effect.flatMap(bind, (binding) => Call.invoke(binding, "Succeed", 1)))
      }
    })
    const remove = Effect.gen(function* () {
      for (const scope of scopes) yield* Scope.close(scope, Exit.void)
    })
    const value: Array<number> = []
    for (const step of [add, call, remove]) value.push(yield* microsEach(more.length, step))
    return { value }
  })
  const turn: Turn<ReadonlyArray<number>> = {
    name: `beside ${digits(served)}`,
    reference: served === objectCounts[0] ? undefined : `beside ${digits(objectCounts[0]!)}`,
    perform: Effect.orDie(perform)
  }
  return turn
})

const objectRows = ({ outcomes }: Outcomes<ReadonlyArray<number>>): ReadonlyArray<Row> =>
  steps.flatMap((step, i) => {
    const nameOf = (beside: string | undefined) => beside && `an object ${step}, ${beside}`
    const named = outcomes.map((one) => ({ ...one, name: nameOf(one.name)!, reference: nameOf(one.reference) }))
    return compare(named, (micros) => micros[i]!)
  })

// ----------------------------------------------------------------------------
// bindings
// ----------------------------------------------------------------------------

/** The numbers of bindings and of pending calls beside them. The other rows are compared with the first. */
const bindingCounts: ReadonlyArray<readonly [bindings: number, calls: number]> = [
  [10_000, 10_000],
  [10_000, 40_000],
  [100_000, 40_000]
]

const nameOfBinding = ([bindings, calls]: readonly [number, number]): string =>
  `each of ${digits(bindings)} local bindings, opened and closed beside ${digits(calls)} pending calls`

const bindingTurn = (counts: readonly [number, number], part: number): Turn<number> => {
  const [bindings, calls] = counts.map((count) => Math.ceil(count * part)) as [number, number]
  const openAndClose = (server: Server.Server) =>
    Effect.scoped(Effect.gen(function* () {
      for (let i = 0; i < bindings; i++) yield* Binding.local(server, Objects)
    }))
  const perform = Effect.gen(function* () {
    const server = yield* Server.make([managerOf()], { grace: 0 })
    const busy = yield* Binding.local(server, Objects)
    for (let i = 0; i < calls; i++) yield* Call.begin(yield* Call.make(busy), "Wait", i)
    return { value: yield* microsEach(bindings, openAndClose(server)) }
  })
  return {
    name: nameOfBinding(counts),
    reference: counts === bindingCounts[0] ? undefined : nameOfBinding(bindingCounts[0]!),
    perform: Effect.orDie(Effect.scoped(perform))
  }
}

export const measureGrowth = ({ part, rounds }: Effort): Effect.Effect<Table> =>
  Effect.gen(function* () {
    const turns = yield* Effect.forEach(objectCounts, (count) => objectTurn(count, part))
    // A turn with objects is short: more of them make up for chance.
    const objects = yield* takeTurns(turns, rounds * 5)
    const bindings = yield* takeTurns(bindingCounts.map((counts) => bindingTurn(counts, part)), rounds)
    return {
      id: "growth",
      title: "many objects and bindings in one process",
      unit: "µs",
      rows: [...objectRows(objects), ...compare(bindings.outcomes, (micros) => micros)]
    }
  }).pipe(Effect.scoped)
