// The service that every server offers, the clients that call it, and what is measured of them.
import { Deferred, Effect, Fiber, type Scope, Stream } from "effect"
import process from "node:process"
import { gc, spread } from "../measure.ts"

// ----------------------------------------------------------------------------
// the service
// ----------------------------------------------------------------------------

/** The shape of a share list: a union of structures with arrays of structures with text. */
export interface Shares {
  readonly info:
    | {
      readonly case: 0
      readonly value: {
        readonly entries: ReadonlyArray<{ readonly name: string }> | null
      }
    }
    | {
      readonly case: 1
      readonly value: {
        readonly entries:
          | ReadonlyArray<
            {
              readonly name: string
              readonly type: number
              readonly remark: string | null
            }
          >
          | null
      }
    }
  readonly total: number
}

/** The argument and the result of each kind of call, 1 KiB of bytes and of text. */
const values = {
  small: 41,
  bytes: new Uint8Array(1024).fill(7),
  text: "Files of the house. ".repeat(52).slice(0, 1024),
  shares: {
    info: {
      case: 1,
      value: {
        entries: Array.from({ length: 10 }, (_, i) => ({
          name: `SHARE${i}`,
          type: i === 0 ? 0x80000003 : 0,
          remark: i % 3 === 0 ? null : `The files of department ${i}, read and written`
        }))
      }
    },
    total: 10
  } satisfies Shares
}

export type Kind = keyof typeof values

/** The bytes that a kind of call takes at least, each way. */
export const sizeOfKind = (kind: Kind): number => kind === "small" ? 8 : JSON.stringify(values.shares).length

/** The service, as a client calls it. */
export interface Service {
  readonly AddOne: (n: number) => Effect.Effect<number, unknown>
  readonly Echo: (bytes: Uint8Array) => Effect.Effect<Uint8Array, unknown>
  readonly EchoText: (text: string) => Effect.Effect<string, unknown>
  readonly EchoShares: (shares: Shares) => Effect.Effect<Shares, unknown>
  /** Runs until it is interrupted. */
  readonly Wait: () => Effect.Effect<void, unknown>
  /** Returns when so many waits have started since the server did. */
  readonly Started: (count: number) => Effect.Effect<void, unknown>
  /** Returns when so many waits have ended since the server started. */
  readonly Ended: (count: number) => Effect.Effect<void, unknown>
}

/** The service as promises. */
export type Promised = {
  readonly [K in keyof Service]: (...args: Parameters<Service[K]>) => Promise<any>
}

const methods = ["AddOne", "Echo", "EchoText", "EchoShares", "Wait", "Started", "Ended"] as const

/** The service of what calls a method by its name. */
export const serviceOf = <A>(
  call: (method: keyof Service, argument?: any) => A
): { readonly [K in keyof Service]: (argument?: any) => A } =>
  Object.fromEntries(methods.map((method) => [method, (argument?: unknown) => call(method, argument)])) as never

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
const ended = new Counter()
const never = Effect.onInterrupt(Effect.never, () => Effect.sync(() => ended.add()))

export const routines = {
  AddOne: (n: number): Effect.Effect<number> => Effect.succeed(n + 1),
  Echo: (bytes: Uint8Array): Effect.Effect<Uint8Array> => Effect.succeed(bytes),
  EchoText: (text: string): Effect.Effect<string> => Effect.succeed(text),
  EchoShares: (shares: Shares): Effect.Effect<Shares> => Effect.succeed(shares),
  Wait: (): Effect.Effect<void> =>
    Effect.suspend(() => {
      started.add()
      return never
    }),
  Started: (count: number): Effect.Effect<void> => started.reach(count),
  Ended: (count: number): Effect.Effect<void> => ended.reach(count)
}

// ----------------------------------------------------------------------------
// contenders
// ----------------------------------------------------------------------------

export interface Contender {
  /** Listens on a port that it gives. */
  readonly serve: Effect.Effect<number, unknown, Scope.Scope>
  /** Opens one connection. */
  readonly connect: (port: number) => Effect.Effect<Client, unknown, Scope.Scope>
}

export interface RateOptions {
  readonly kind: Kind
  readonly inFlight: number
  readonly millis: number
}

export interface Latency {
  readonly median: number
  readonly p99: number
}

/** Measurements of a client; each gives what was measured in its process. */
export interface Client {
  /** Calls a second, with so many calls in flight for so long. */
  readonly rate?: (options: RateOptions) => Effect.Effect<number, unknown>
  /** Microseconds of one call at a time. */
  readonly latency?: (options: { readonly millis: number }) => Effect.Effect<Latency, unknown>
  /** Bytes a second through a pipe: in to the server, or out of it. */
  readonly pipes?: {
    readonly [direction in "in" | "out"]?: (options: { readonly bytes: number }) => Effect.Effect<number, unknown>
  }
  /** Milliseconds until so many cancelled calls have ended on both sides. */
  readonly cancels?: (options: { readonly count: number }) => Effect.Effect<number, unknown>
  /** Bytes of heap that each of so many pending calls takes, beyond the fiber that waits for it. */
  readonly memory?: (options: { readonly count: number }) => Effect.Effect<number, unknown>
}

export const latencyOf = (micros: Array<number>): Latency => {
  micros.sort((a, b) => a - b)
  return { median: spread(micros).median, p99: micros[Math.floor(micros.length * 0.99)]! }
}

/** The number of waits that this process has begun. */
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

const heap = (): number => {
  gc!()
  gc!()
  return process.memoryUsage().heapUsed
}

const waitingFiber = () => Effect.runFork(Deferred.await(Deferred.makeUnsafe()))

/** Begins so many waits with `begin`, and compares the heap with that of as many waiting fibers, if fibers wait for the calls. */
const bytesPending = (service: Service, begin: () => unknown, inFibers: boolean): Client["memory"] => ({ count }) =>
  Effect.gen(function* () {
    if (gc === undefined) {
      return yield* Effect.fail(new Error("the heap can't be measured here"))
    }
    const held = new Array<unknown>(2 * count).fill(undefined)
    const before = heap()
    if (inFibers) {
      for (let i = 0; i < count; i++) held[i] = waitingFiber()
    }
    const between = heap()
    // In parts, for clients that don't gather what they write.
    for (let i = 0; i < count; i++) {
      held[count + i] = begin()
      begun++
      if (i % 500 === 499 || i === count - 1) yield* service.Started(begun)
    }
    const after = heap()
    return (after - between - (between - before)) / (held.length / 2)
  })

/** What somebody does who calls: the same for effects and for promises. */
const callOf = (kind: Kind) => <A>(service: { readonly [K in keyof Service]: (argument: never) => A }): A => {
  switch (kind) {
    case "small":
      return service.AddOne(values.small as never)
    case "bytes":
      return service.Echo(values.bytes as never)
    case "text":
      return service.EchoText(values.text as never)
    case "shares":
      return service.EchoShares(values.shares as never)
  }
}

/** A client whose calls are effects. */
export const makeClient = (service: Service): Client => ({
  rate: ({ inFlight, kind, millis }) =>
    Effect.gen(function* () {
      const call = callOf(kind)<Effect.Effect<unknown, unknown>>
      let calls = 0
      let going = true
      setTimeout(() => going = false, millis)
      const keepCalling = Effect.gen(function* () {
        while (going) {
          yield* call(service)
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
  cancels: timeCancels(
    service,
    (count) =>
      Effect.replicateEffect(
        Effect.suspend(() => Effect.forkDetach(service.Wait(), { startImmediately: true })),
        count
      ),
    Fiber.interruptAll
  ),
  memory: bytesPending(service, () => Effect.runFork(service.Wait()), true)!
})

/** A client whose calls are promises, driven without Effect. */
export const makePromisedClient = (service: Promised): Client => ({
  rate: ({ inFlight, kind, millis }) =>
    Effect.promise(async () => {
      const call = callOf(kind)<Promise<unknown>>
      let calls = 0
      let going = true
      setTimeout(() => going = false, millis)
      const keepCalling = async () => {
        while (going) {
          await call(service)
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
  memory: bytesPending(toService(service), () => [service.Wait()], false)!
})

export const toService = (service: Promised): Service =>
  serviceOf((method, argument) => Effect.promise(() => service[method](argument as never)))

// ----------------------------------------------------------------------------
// pipes
// ----------------------------------------------------------------------------

/** What goes through a pipe at a time. */
export const chunk: Uint8Array = new Uint8Array(65536).fill(7)

/** So many bytes, chunk by chunk. */
export const chunksOf = (bytes: number): Stream.Stream<Uint8Array> =>
  Stream.map(Stream.range(1, bytes / chunk.length, 1), () => chunk)

export const sizeOf = <E>(
  stream: Stream.Stream<Uint8Array, E>
): Effect.Effect<number, E> => Stream.runFold(stream, () => 0, (size, { length }) => size + length)

/** Bytes a second that `transfer` moves. It gives how many have arrived. */
export const timePipe =
  (transfer: (bytes: number) => Effect.Effect<number, unknown>) =>
  ({ bytes }: { readonly bytes: number }): Effect.Effect<number, unknown> =>
    Effect.gen(function* () {
      const start = performance.now()
      const arrived = yield* transfer(bytes)
      if (arrived !== bytes) {
        return yield* Effect.die(
          new Error(`${arrived} of ${bytes} bytes have arrived`)
        )
      }
      return bytes * 1000 / (performance.now() - start)
    })
