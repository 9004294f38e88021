/**
 * Finalizers that can be removed again. Effect has the same for its own fibers, but exports no function for it: only the state of a
 * scope is public.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

/** Adds a finalizer under a key; `false` where the scope is closed. */
export const addFinalizer = (
  scope: Scope.Scope,
  key: object,
  finalizer: (exit: Exit.Exit<any, any>) => Effect.Effect<void>
): boolean => {
  const { state } = scope
  if (state._tag === "Closed") return false
  if (state._tag === "Empty") {
    scope.state = { _tag: "Open", finalizerKey: key, finalizer, finalizers: undefined }
    return true
  }
  if (state.finalizers === undefined) {
    state.finalizers = new Map([[state.finalizerKey!, state.finalizer!]])
    state.finalizerKey = undefined
    state.finalizer = undefined
  }
  state.finalizers.set(key, finalizer)
  return true
}

/** Removes the finalizer of a key, if it is still there. */
export const removeFinalizer = (scope: Scope.Scope, key: object): void => {
  const { state } = scope
  if (state._tag !== "Open") return
  if (state.finalizerKey === key || (state.finalizers?.delete(key) && state.finalizers.size === 0)) {
    scope.state = { _tag: "Empty" }
  }
}

/** Makes a value and adds its finalizer to the scope, which nothing can interrupt. Lighter than `Effect.acquireRelease`. */
export const scoped = <A, R = never>(
  make: (context: Context.Context<R>) => A,
  finalizer: (value: A) => Effect.Effect<void>
): Effect.Effect<A, never, R | Scope.Scope> =>
  Effect.withFiber((fiber) => {
    const context = fiber.context as Context.Context<R | Scope.Scope>
    const value = make(context)
    const end = finalizer(value)
    const isAdded = addFinalizer(Context.get(context, Scope.Scope), {}, () => end)
    return isAdded ? Effect.succeed(value) : Effect.flatMap(end, () => Effect.succeed(value))
  })
