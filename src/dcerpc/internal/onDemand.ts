/**
 * Parts of the library that are large and that only some programs need: bundlers that split code keep them out of the rest.
 */
import * as Effect from "effect/Effect"
import { RpcTransportError } from "../../Status.ts"

/** Imports a part when it is first needed. From then on it is there without waiting. `name` is what an error calls it. */
export const onDemand = <A>(name: string, load: () => Promise<A>): Effect.Effect<A, RpcTransportError> => {
  let loaded: Effect.Effect<A> | undefined
  const loading = Effect.tryPromise({
    try: load,
    catch: (error) => new RpcTransportError({ status: 1722, detail: `${name} can't be loaded: ${String(error)}` })
  })
  return Effect.suspend(() =>
    loaded ?? Effect.tap(loading, (part) =>
      Effect.sync(() => {
        loaded = Effect.succeed(part)
      }))
  )
}
