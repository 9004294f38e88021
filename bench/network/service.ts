// The service that every server offers, and what is measured of a client that calls it.
import { Deferred, Effect, Fiber, type Scope, Stream } from "effect"
import process from "node:process"
import { gc, spread } from "../measure.ts"

// ----------------------------------------------------------------------------
// contenders
// ----------------------------------------------------------------------------

export interface Contender {
  /** Listens on a port that it gives. */
  readonly serve: Effect.Effect<number, unknown, Scope.Scope>
  /** Opens one connection. */
  readonly connect: (port: number) => Effect.Effect<Client, unknown, Scope.Scope>
}

/** What a client can be asked to do; what it gives was measured in its process. */
export interface Client {
  /** Calls a second, with so many calls in flight for so long. */
  readonly rate?: (options: RateOptions) => Effect.Effect<number, unknown>
  /** Microseconds of one call at a time. */
  readonly latency?: (options: { readonly millis: number }) => Effect.Effect<Latency, unknown>
  /** Bytes a second through a pipe in that direction. */
  readonly pipes?: {
    readonly [D in Direction]?: (options: { readonly bytes: number }) => Effect.Effect<number, unknown>
  }
  /** Milliseconds until so many pending calls that are cancelled have ended on both sides. */
  readonly cancels?: { readonly [how: string]: (options: { readonly count: number }) => Effect.Effect<number, unknown> }
  /** Whether calls are awaited as promises, by no fiber. */
  readonly isPromised?: boolean
  /** The heap of the server, in bytes. */
  readonly serverHeap?: Effect.Effect<number, unknown>
  /** Leaves so many calls pending. */
  readonly leavePending?: { readonly [how: string]: (held: Array<unknown>) => Effect.Effect<void, unknown> }
}

/** In to the server, or out of it. */
export type Direction = "in" | "out"

export interface RateOptions {
  readonly large: boolean
  readonly inFlight: number
  readonly millis: number
}

export interface Latency {
  readonly median: number
  readonly p99: number
}

/** The bytes of a large argument. */
export const large: Uint8Array = new Uint8Array(1024).fill(7)

export const latencyOf = (micros: Array<number>): Latency => {
  micros.sort((a, b) => a - b)
  return { median: spread(micros).median, p99: micros[Math.floor(micros.length * 0.99)]! }
}

// ----------------------------------------------------------------------------
// the server's side
// ----------------------------------------------------------------------------

/** Counts, for those who wait until it has counted that far. */
class Counter {
  count = 0
  readonly waiting = new Map<Deferred.Deferred<void>, number>()

  add(): void {
    this.count++
    for (const [reached, count] of this.waiting) {
      if (this.count < count) continue
      this.waiting.delete(reached)
      Deferred.doneUnsafe(reached, Effect.void)
    }
  }

  reach(count: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.count >= count) return Effect.void
      const reached = Deferred.makeUnsafe<void>()
      this.waiting.set(reached, count)
      return Deferred.await(reached)
    })
  }
}

const started = new Counter()
export const ended = new Counter()
const never = Effect.onInterrupt(Effect.never, () => Effect.sync(() => ended.add()))

export const routines = {
  AddOne: (n: number): Effect.Effect<number> => Effect.succeed(n + 1),
  Echo: (bytes: Uint8Array): Effect.Effect<Uint8Array> => Effect.succeed(bytes),
  /** Runs until it is interrupted. */
  Wait: (): Effect.Effect<void> =>
    Effect.suspend(() => {
      started.add()
      return never
    }),
  /** Returns when so many waits have started since the server did. */
  Started: (count: number): Effect.Effect<void> => started.reach(count),
  /** Returns when so many waits have ended since the server started. */
  Ended: (count: number): Effect.Effect<void> => ended.reach(count),
  Heap: (): Effect.Effect<number> => Effect.sync(heap)
}

// ----------------------------------------------------------------------------
// the client's side
// ----------------------------------------------------------------------------

/** The service, as a client calls it. */
export interface Service {
  readonly AddOne: (n: number) => Effect.Effect<number, unknown>
  readonly Echo: (bytes: Uint8Array) => Effect.Effect<Uint8Array, unknown>
  readonly Wait: () => Effect.Effect<void, unknown>
  readonly Started: (count: number) => Effect.Effect<void, unknown>
  readonly Ended: (count: number) => Effect.Effect<void, unknown>
}

/** How many waits this process has begun. */
let begun = 0

/** Milliseconds until `cancel` and then the server are through with the waits that `begin` begins. */
export const timeCancels = <A>(
  service: Pick<Service, "Started" | "Ended">,
  begin: (count: number) => Effect.Effect<A, unknown>,
  cancel: (calls: A) => Effect.Effect<unknown, unknown>
) =>
({ count }: { readonly count: number }): Effect.Effect<number, unknown> =>
  Effect.gen(function* () {
    begun += count
    const calls = yield* begin(count)
    yield* service.Started(begun)
    const seen = yield* Effect.forkChild(service.Ended(begun), { startImmediately: true })
    yield* Effect.sleep(20)
    const start = performance.now()
    yield* cancel(calls)
    yield* Fiber.join(seen)
    return performance.now() - start
  })

/** Fills `held` with what `begin` gives for a wait, a few at a time for clients that don't gather what they write. */
export const leavePending =
  (service: Service, begin: () => Effect.Effect<unknown, unknown>) =>
  (held: Array<unknown>): Effect.Effect<void, unknown> =>
    Effect.gen(function* () {
      for (let i = 0; i < held.length; i++) {
        held[i] = yield* begin()
        begun++
        if (begun % 500 === 0 || i === held.length - 1) yield* service.Started(begun)
      }
    })

export const makeClient = (service: Service): Client => {
  const caller = (isLarge: boolean) => isLarge ? () => service.Echo(large) : () => service.AddOne(41)
  return {
    rate: ({ inFlight, large, millis }) =>
      Effect.gen(function* () {
        const call = caller(large)
        let calls = 0
        let going = true
        setTimeout(() => going = false, millis)
        const keepCalling = Effect.gen(function* () {
          while (going) {
            yield* call()
            calls++
          }
        })
        const start = performance.now()
        yield* Effect.replicateEffect(keepCalling, inFlight, { concurrency: "unbounded", discard: true })
        return calls * 1000 / (performance.now() - start)
      }),
    latency: ({ millis }) =>
      Effect.gen(function* () {
        const micros: Array<number> = []
        const until = performance.now() + millis
        for (let start = 0; start < until;) {
          start = performance.now()
          yield* service.AddOne(41)
          micros.push((performance.now() - start) * 1000)
        }
        return latencyOf(micros)
      }),
    cancels: {
      interrupted: timeCancels(
        service,
        (count) =>
          Effect.replicateEffect(
            Effect.suspend(() => Effect.forkDetach(service.Wait(), { startImmediately: true })),
            count
          ),
        Fiber.interruptAll
      )
    },
    leavePending: {
      "in one shot": leavePending(service, () => Effect.sync(() => Effect.runFork(service.Wait())))
    }
  }
}

// ----------------------------------------------------------------------------
// pipes
// ----------------------------------------------------------------------------

/** What goes through a pipe at a time. */
export const chunk: Uint8Array = new Uint8Array(65536).fill(7)

/** So many bytes, chunk by chunk. */
export const chunksOf = (bytes: number): Stream.Stream<Uint8Array> =>
  Stream.map(Stream.range(1, bytes / chunk.length, 1), () => chunk)

export const sizeOf = <E>(stream: Stream.Stream<Uint8Array, E>): Effect.Effect<number, E> =>
  Stream.runFold(stream, () => 0, (size, { length }) => size + length)

/** Bytes a second that `transfer` moves. It gives how many have arrived. */
export const timePipe =
  (transfer: (bytes: number) => Effect.Effect<number, unknown>) =>
  ({ bytes }: { readonly bytes: number }): Effect.Effect<number, unknown> =>
    Effect.gen(function* () {
      const start = performance.now()
      const arrived = yield* transfer(bytes)
      if (arrived !== bytes) return yield* Effect.die(new Error(`${arrived} of ${bytes} bytes have arrived`))
      return bytes * 1000 / (performance.now() - start)
    })

// ----------------------------------------------------------------------------
// memory
// ----------------------------------------------------------------------------

const heap = (): number => {
  gc!()
  gc!()
  return process.memoryUsage().heapUsed
}

const ownHeap = Effect.sync(heap)

const bytesEach = (
  count: number,
  heap: Effect.Effect<number, unknown>,
  fill: (held: Array<unknown>) => Effect.Effect<void, unknown>
): Effect.Effect<number, unknown> =>
  Effect.gen(function* () {
    const held = new Array<unknown>(count).fill(undefined)
    const before = yield* heap
    yield* fill(held)
    return ((yield* heap) - before) / held.length
  })

/** The heap of a call that is pending, without that of a fiber that waits for a `Deferred` and the `Deferred`. A promise has none. */
export const bytesPending = (
  count: number,
  connect: Effect.Effect<Client, unknown, Scope.Scope>,
  how: string
): Effect.Effect<number, unknown> =>
  Effect.gen(function* () {
    if (gc === undefined) return yield* Effect.fail(new Error("the heap can't be measured here"))
    const waiting = yield* bytesEach(count, ownHeap, (held) =>
      Effect.sync(() => {
        for (let i = 0; i < held.length; i++) held[i] = Effect.runFork(Deferred.await(Deferred.makeUnsafe()))
      }))
    const client = yield* connect
    const pending = yield* bytesEach(count, ownHeap, client.leavePending![how]!)
    return client.isPromised ? pending : pending - waiting
  }).pipe(Effect.scoped)

/** The server's heap of a call that is pending, with the fiber of its routine. */
export const serverBytesPending = (
  count: number,
  connect: Effect.Effect<Client, unknown, Scope.Scope>,
  how: string
): Effect.Effect<number, unknown> =>
  Effect.flatMap(
    connect,
    ({ leavePending, serverHeap }) =>
      serverHeap === undefined
        ? Effect.fail(new Error("does not tell its heap"))
        : bytesEach(count, serverHeap, leavePending![how]!)
  ).pipe(Effect.scoped)
