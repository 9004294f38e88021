/**
 * Finalizers that can be removed again. Effect has the same for its own fibers, but exports no function for it: only the state of a
 * scope is public.
 */
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"

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
