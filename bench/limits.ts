// What Effect itself needs for a fiber or a handshake: nothing that runs a routine in a fiber can be faster.
import { Deferred, Effect, Fiber } from "effect"
import type { Contender } from "./measure.ts"
import { routines } from "./routines.ts"

const forkAndJoin = (routine: (n: number) => Effect.Effect<number>) => (n: number) =>
  Effect.gen(function* () {
    for (let i = 0; i < n; i++) {
      yield* Fiber.join(yield* Effect.forkChild(routine(i), { startImmediately: true }))
    }
  })

const runForkAndObserve = (routine: (n: number) => Effect.Effect<number>) => (n: number) =>
  Effect.gen(function* () {
    for (let i = 0; i < n; i++) {
      yield* Effect.callback<number>((resume) => {
        Effect.runFork(routine(i)).addObserver(resume)
      })
    }
  })

export const contenders: ReadonlyArray<Contender> = [
  { name: "fork and join, succeed", loop: forkAndJoin(routines.Succeed) },
  { name: "fork and join, gen", loop: forkAndJoin(routines.Gen) },
  { name: "fork and join, fnUntraced", loop: forkAndJoin(routines.Fn) },
  { name: "fork and join, suspending", loop: forkAndJoin(routines.Suspend) },
  { name: "runFork and observer, succeed", loop: runForkAndObserve(routines.Succeed) },
  { name: "runFork and observer, gen", loop: runForkAndObserve(routines.Gen) },
  { name: "runFork and observer, fnUntraced", loop: runForkAndObserve(routines.Fn) },
  {
    name: "Deferred made, completed, awaited",
    loop: (n) =>
      Effect.gen(function* () {
        for (let i = 0; i < n; i++) {
          const deferred = yield* Deferred.make<number>()
          yield* Deferred.succeed(deferred, i)
          yield* Deferred.await(deferred)
        }
      })
  }
]
