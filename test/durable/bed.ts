/** What the tests of faults run on: on one database an idle client, and a client beside a server in another process. */
import type { Manager } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import { afterAll, beforeAll, describe, it } from "@effect/vitest"
import { type Context, Effect, Exit, Layer, Scope } from "effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { CallsImpl } from "../../src/durable/internal/calls.ts"
import { type Bench, makeBench, makeEffects } from "./fixtures.ts"
import { build, type Kind, type Provided, type World } from "./worlds.ts"

type Test = <E>(name: string, effect: Effect.Effect<void, E, Provided | Scope.Scope>) => void

export interface Bed {
  readonly kind: Kind
  /** A test on a database without a server. */
  readonly atRest: Test
  /** A test on a database with a server in another process, which {@link bench} watches. `Pay` has the mode `"transaction"`. */
  readonly atWork: Test
  readonly bench: Bench
  /** A test on a database of its own. */
  readonly alone: <E>(name: string, effect: (world: World) => Effect.Effect<void, E, Provided | Scope.Scope>) => void
}

export const bed = (
  title: string,
  kind: Kind,
  tests: (bed: Bed) => void,
  /** What the server serves beside the bench. */
  more: ReadonlyArray<Manager.Manager<any, SqlClient.SqlClient>> = []
): unknown =>
  describe(`${title} on ${kind.name}`, () => {
    const scope = Scope.makeUnsafe()
    const bench = makeBench()
    let newWorld: Effect.Effect<World>
    let idle: Context.Context<Provided>
    let busy: Context.Context<Provided>

    beforeAll(() =>
      Effect.runPromise(Scope.provide(
        Effect.gen(function* () {
          newWorld = yield* kind.worlds
          idle = yield* build((yield* newWorld).client())
          yield* Effect.provideContext(makeEffects, idle)
          const world = yield* newWorld
          busy = yield* build(world.client())
          yield* Effect.provideContext(makeEffects, busy)
          yield* build(
            Durable.serve([bench.manager, ...more], { mode: { Pay: "transaction", Ask: "transaction" } }).pipe(
              Layer.provideMerge(world.runner())
            )
          )
        }),
        scope
      )), 60_000)
    afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)), 60_000)

    const on = (where: () => Context.Context<Provided>): Test => (name, effect) =>
      void it.live(name, () => Effect.scoped(Effect.suspend(() => Effect.provideContext(effect, where()))), 40_000)

    tests({
      kind,
      bench,
      atRest: on(() => idle),
      atWork: on(() => busy),
      alone: (name, effect) =>
        void it.live(name, () =>
          Effect.gen(function* () {
            const world = yield* newWorld
            const client = yield* build(world.client())
            yield* Effect.provideContext(effect(world), client)
          }).pipe(Effect.scoped), 60_000)
    })
  })

/** A process that serves a bench. */
export const serverOf = (
  world: World,
  { manager }: ReturnType<typeof makeBench>,
  options?: Durable.ServeOptions
): Layer.Layer<Provided, unknown> => Durable.serve([manager], options).pipe(Layer.provideMerge(world.runner()))

/** The calls of a process, with what the program does not see. */
export const callsOf: Effect.Effect<CallsImpl, never, Durable.Calls> = Effect.map(
  Durable.Calls,
  (calls) => calls as unknown as CallsImpl
)

export const tokenOf = (handle: string): Effect.Effect<string, never, Durable.Calls> =>
  Effect.flatMap(callsOf, ({ mac }) => Effect.map(mac("token", handle), (proof) => `${handle}.${proof}`))

let count = 0

/** A name that no other test uses. */
export const fresh = (what: string): string => `${what} ${++count}`

/** What went wrong, in words; also of a defect. */
export const wordsOf = (exit: Exit.Exit<unknown, unknown>): string => exit._tag === "Success" ? "no failure" : String(exit)
