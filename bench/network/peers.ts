// Clients and servers whose calls are promises: how they are loaded, driven without Effect, and what they call.
import { Effect } from "effect"
import { type Client, large, latencyOf, leavePending, routines, type Service } from "./service.ts"

/** A library of `bench/package.json`. It may be missing: what it looks like is declared where it is used. */
export const load = async (name: string): Promise<any> => {
  try {
    return await import(name)
  } catch (cause) {
    throw new Error(`${name} is not installed: npm ci in bench/`, { cause })
  }
}

// ----------------------------------------------------------------------------
// the two sides
// ----------------------------------------------------------------------------

/** The service as promises. */
export type Promised = {
  readonly [K in keyof Service]: (...args: Parameters<Service[K]>) => Promise<any>
}

export const promisedRoutines = {
  AddOne: (n: number): number => n + 1,
  Echo: (bytes: Uint8Array): Uint8Array => bytes,
  Wait: (): Promise<void> => Effect.runPromise(routines.Wait()),
  Started: (count: number): Promise<void> => Effect.runPromise(routines.Started(count)),
  Ended: (count: number): Promise<void> => Effect.runPromise(routines.Ended(count))
}

export const toService = (service: Promised): Service => ({
  AddOne: (n) => Effect.promise(() => service.AddOne(n)),
  Echo: (bytes) => Effect.promise(() => service.Echo(bytes)),
  Wait: () => Effect.promise(() => service.Wait()),
  Started: (count) => Effect.promise(() => service.Started(count)),
  Ended: (count) => Effect.promise(() => service.Ended(count))
})

export const makePromisedClient = (service: Promised): Client => ({
  rate: ({ inFlight, large: isLarge, millis }) =>
    Effect.promise(async () => {
      const call = isLarge ? () => service.Echo(large) : () => service.AddOne(41)
      let calls = 0
      let going = true
      setTimeout(() => going = false, millis)
      const keepCalling = async () => {
        while (going) {
          await call()
          calls++
        }
      }
      const start = performance.now()
      await Promise.all(Array.from({ length: inFlight }, keepCalling))
      return calls * 1000 / (performance.now() - start)
    }),
  latency: ({ millis }) =>
    Effect.promise(async () => {
      const micros: Array<number> = []
      const until = performance.now() + millis
      for (let start = 0; start < until;) {
        start = performance.now()
        await service.AddOne(41)
        micros.push((performance.now() - start) * 1000)
      }
      return latencyOf(micros)
    }),
  isPromised: true,
  leavePending: { "in one shot": leavePending(toService(service), () => Effect.sync(() => [service.Wait()])) }
})
