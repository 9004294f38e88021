/**
 * Many calls on connections on which things go wrong, in virtual time: each call that was begun completes once, what is said not
 * to have executed never did, each context handle is run down once, and nothing is left.
 */
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Clock,
  Context,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Metric,
  Option,
  Redacted,
  Schema,
  Scope
} from "effect"
import { TestClock } from "effect/testing"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import type { EndpointImpl } from "../../src/dcerpc/internal/serverEndpoint.ts"
import * as Memory from "../../src/transport/Memory.ts"
import * as Ntlm from "../../src/security/Ntlm.ts"
import * as Security from "../../src/security/Security.ts"
import * as Transport from "../../src/transport/Transport.ts"
import { Call, ContextHandle, Interface, Manager, Pipe, Server, ServerCall } from "../../mod.ts"
import { editingBinds, type Faults, faultyTransport, losingOnOrphan, oneCallAtATime, unnoticed } from "./faults.ts"
import { below, chance, makeRandom, pick, type Random } from "./random.ts"
import { fibersActive, inVirtualTime } from "./virtualTime.ts"
import { serverImpl } from "../internals.ts"
import { budgetOf, report, seed } from "../budget.ts"

class Refused extends Schema.TaggedError<Refused>()("Refused", { id: Schema.Int }) {}

const numbered = { in: { id: Schema.Int }, out: Schema.Int }

const Box = ContextHandle.make("Box")

const IWork = Interface.make("IWork", {
  uuid: "c2f1a5de-7f0e-4a7c-9a55-64a1d6a9c3b4",
  version: [1, 0],
  methods: {
    Now: Interface.method(numbered),
    Refuse: Interface.method({ ...numbered, aborts: [Interface.abort(77, Refused)] }),
    Die: Interface.method(numbered),
    Slow: Interface.method({ in: { id: Schema.Int, millis: Schema.Int }, out: Schema.Int }),
    Deaf: Interface.method({ in: { id: Schema.Int, millis: Schema.Int }, out: Schema.Int }),
    Kept: Interface.method({ in: { id: Schema.Int, millis: Schema.Int }, out: Schema.Int }),
    Again: Interface.method({ ...numbered, idempotent: true }),
    Large: Interface.method({ in: { id: Schema.Int, bytes: Schema.Uint8Array }, out: Schema.Uint8Array }),
    Tell: Interface.method({ in: { id: Schema.Int }, maybe: true }),
    Open: Interface.method({ in: { id: Schema.Int, millis: Schema.Int }, out: { box: Box } }),
    Use: Interface.method({ in: { box: Box, id: Schema.Int, millis: Schema.Int }, out: Schema.Int }),
    Peek: Interface.method({
      in: { box: ContextHandle.shared(Box), id: Schema.Int, millis: Schema.Int },
      out: Schema.Int,
      idempotent: true
    }),
    Close: Interface.method({ in: { box: Box, id: Schema.Int }, out: { box: ContextHandle.nullable(Box) } }),
    Upload: Interface.method({ ...numbered, inPipe: { there: Pipe.bytes } }),
    Download: Interface.method({
      in: { id: Schema.Int, size: Schema.Int },
      outPipe: { back: Pipe.bytes },
      out: Schema.Int
    }),
    Echo: Interface.method({ ...numbered, inPipe: { there: Pipe.bytes }, outPipe: { back: Pipe.bytes } })
  }
})

// ----------------------------------------------------------------------------
// a schedule
// ----------------------------------------------------------------------------

const faultsOf = (seed: number) => (connection: number, side: "client" | "server"): Faults => {
  const random = makeRandom(seed * 31 + connection * 2 + (side === "client" ? 0 : 1))
  // The first bind succeeds, with its login: without it a schedule has no calls.
  const least = connection === 0 ? 800 : 0
  const after = () => least + below(random, pick(random, [200, 2000, 20_000, 150_000, 600_000]))
  return {
    seed: below(random, 2 ** 31),
    ...(chance(random, 0.3) ? { delay: 1 + below(random, 20) } : {}),
    ...(chance(random, 0.5) ? { reshape: true } : {}),
    ...(chance(random, 0.15) ? { dropAfter: after() } : {}),
    ...(chance(random, 0.25) ? { resetAfter: after() } : {}),
    // A server that stops reading would not see either that the client has gone.
    ...(side === "client" && chance(random, 0.15) ? { stallAfter: after() } : {}),
    // The peer vanishes: silence in both directions, and nobody is told.
    ...(chance(random, 0.1) ? { cutAfter: after() } : {})
  }
}

/** The clock of the tests with a count of the timers that run, whose wall clock jumps by hours whenever it is read. */
const jumpingClock = (clock: Clock.Clock, random: Random): Clock.Clock & { readonly timers: () => number } => {
  let timers = 0
  const wall = () => clock.currentTimeMillisUnsafe() + (below(random, 48) - 24) * 3_600_000
  return Object.assign(Object.create(clock) as Clock.Clock, {
    currentTimeMillisUnsafe: wall,
    currentTimeMillis: Effect.sync(wall),
    sleep: (duration: Duration.Duration) =>
      Effect.suspend(() => {
        timers++
        return Effect.ensuring(clock.sleep(duration), Effect.sync(() => timers--))
      }),
    timers: () => timers
  })
}

interface Work {
  readonly name: string
  readonly expected: unknown
  /** Whether somebody or something may cancel it. */
  cancels: boolean
}

/** The state behind a context handle. */
interface Box {
  readonly id: number
  ends: number
  /** The calls on it at the moment: how many have it for themselves, and how many share it. */
  alone: number
  sharing: number
}

const handleMethods = ["Use", "Peek", "Close"]

/** How many bytes went through a pipe. */
interface Flow {
  written: number
  read: number
}

/** What became of the calls of a schedule, by their numbers. */
class Records {
  readonly ran = new Map<number, number>()
  readonly completed = new Map<number, number>()
  readonly kinds = new Map<string, number>()
  readonly problems: Array<string> = []
  readonly boxes: Array<Box> = []
  readonly denied = new Set<number>()
  readonly idempotent = new Set<number>()
  /** What was written into and read from pipes, which carry consecutive numbers. */
  readonly flows = new Map<string, Flow>()
  /** How long the longest call took, in milliseconds. */
  lasted = 0
  /** How many routines with pipes have not ended. */
  piping = 0
  calls = 0
  readonly timed: boolean

  constructor(timed: boolean) {
    this.timed = timed
  }

  run(id: number): void {
    this.ran.set(id, (this.ran.get(id) ?? 0) + 1)
  }

  complete(id: number): void {
    this.completed.set(id, (this.completed.get(id) ?? 0) + 1)
  }

  flow(name: string): Flow {
    const flow = this.flows.get(name) ?? { written: 0, read: 0 }
    this.flows.set(name, flow)
    return flow
  }

  /** Notes how long something takes, on the monotonic clock. */
  readonly timing = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.flatMap(Effect.timed(effect), ([duration, value]) => {
      this.lasted = Math.max(this.lasted, Duration.toMillis(duration))
      return Effect.succeed(value)
    })

  /** How a call ended, or how its begin failed. */
  end(id: number, exit: Exit.Exit<unknown, unknown>, work: Work): void {
    const kind = this.kindOf(id, exit, work)
    this.kinds.set(kind, (this.kinds.get(kind) ?? 0) + 1)
  }

  private kindOf(id: number, exit: Exit.Exit<unknown, unknown>, { cancels, expected, name }: Work): string {
    if (exit._tag === "Success") {
      assert.deepStrictEqual(exit.value, expected)
      return "replied"
    }
    const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause)) as
      | { readonly _tag: string; readonly didNotExecute?: boolean; readonly status?: number; readonly id?: number }
      | undefined
    if (error === undefined) {
      if (!Cause.hasInterruptsOnly(exit.cause)) this.problems.push(`call ${id}: ${Cause.pretty(exit.cause)}`)
      return "interrupted"
    }
    if (error.didNotExecute === true) this.denied.add(id)
    if (error._tag === "Refused" && error.id !== id) this.problems.push(`call ${id}: the abort of call ${error.id}`)
    // A server that shuts down refuses what arrives then.
    const faults = name === "Die" || error.didNotExecute === true
    const possible = [
      "RpcTransportError",
      cancels && "CallCancelled",
      handleMethods.includes(name) && "ContextMismatch",
      faults && "RpcFault",
      name === "Refuse" && "Refused"
    ]
    if (!possible.includes(error._tag)) this.problems.push(`call ${id} of ${name}: ${error._tag}`)
    return error.status === undefined ? error._tag : `${error._tag} ${error.status}`
  }
}

const consecutive = Uint8Array.from({ length: 0x10000 }, (_, i) => i)

/** Writes consecutive numbers into a pipe, in chunks of any size, and ends it. */
const write = <E>(pipe: Pipe.Writer<Uint8Array, E>, size: number, random: Random, flow: Flow) =>
  Effect.gen(function* () {
    while (flow.written < size) {
      const length = Math.min(size - flow.written, 1 + below(random, pick(random, [10, 2000, 30_000])))
      const from = flow.written & 0xff
      flow.written += length
      yield* Pipe.push(pipe, consecutive.subarray(from, from + length))
      if (chance(random, 0.05)) yield* Effect.sleep(below(random, 20))
    }
    yield* Pipe.end(pipe)
  })

/** Reads a pipe to its end. What was read has to be what was written, as far as it goes. */
const read = <E>(pipe: Pipe.Reader<Uint8Array, E>, random: Random, flow: Flow, records: Records) =>
  Effect.gen(function* () {
    while (true) {
      const chunk = yield* Pipe.pull(pipe, 1 + below(random, 20_000))
      if (chunk.length === 0) return flow.read
      for (let i = 0; i < chunk.length; i++) {
        if (chunk[i] !== (flow.read++ & 0xff)) records.problems.push(`byte ${flow.read - 1} of a pipe is ${chunk[i]}`)
      }
      if (flow.read > flow.written) records.problems.push("more was read from a pipe than written")
      if (chance(random, 0.05)) yield* Effect.sleep(below(random, 20))
    }
  })

const makeManager = (records: Records, scope: Scope.Scope) => {
  /** A routine with pipes, whose work a seed decides. */
  const piping = <A, E>(id: number, work: (random: Random) => Effect.Effect<A, E>) =>
    Effect.suspend(() => {
      records.run(id)
      records.piping++
      return Effect.ensuring(work(makeRandom(id)), Effect.sync(() => records.piping--))
    })
  const ran = (id: number) => Effect.sync(() => records.run(id))
  const answer = ({ id }: { readonly id: number }) => Effect.as(ran(id), id)
  const boxes = ContextHandle.states<Box>()(Box)
  const open = (id: number) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const box: Box = { id, ends: 0, alone: 0, sharing: 0 }
        records.boxes.push(box)
        return box
      }),
      (box) =>
        Effect.sync(() => {
          box.ends++
          if (box.alone + box.sharing > 0) records.problems.push(`box ${id} was run down during a call`)
        })
    )
  const use = (kind: "alone" | "sharing", millis: number) => (box: Box) =>
    Effect.suspend(() => {
      if (box.ends > 0) records.problems.push(`box ${box.id} was used after its run-down`)
      box[kind]++
      if (box.alone > 1 || (box.alone === 1 && box.sharing > 0)) records.problems.push(`box ${box.id} was not alone`)
      return Effect.ensuring(Effect.sleep(millis), Effect.sync(() => void box[kind]--))
    })
  return Manager.make(IWork, {
    Open: ({ id, millis }, call) =>
      Effect.andThen(ran(id), boxes.open(call, open(id))).pipe(
        Effect.map((box) => ({ box })),
        Effect.tap(() => Effect.sleep(millis))
      ),
    Use: ({ box, id, millis }, call) =>
      Effect.andThen(ran(id), boxes.get(call, box)).pipe(Effect.flatMap(use("alone", millis)), Effect.as(id)),
    Peek: ({ box, id, millis }, call) =>
      Effect.andThen(ran(id), boxes.get(call, box)).pipe(Effect.flatMap(use("sharing", millis)), Effect.as(id)),
    Close: ({ box, id }, call) => Effect.map(Effect.andThen(ran(id), boxes.close(call, box)), (box) => ({ box })),
    Now: answer,
    Refuse: ({ id }) => Effect.andThen(ran(id), Effect.fail(new Refused({ id }))),
    Die: ({ id }) => Effect.andThen(ran(id), Effect.die(new Error("as expected"))),
    Slow: ({ id, millis }) => Effect.andThen(ran(id), Effect.as(Effect.sleep(millis), id)),
    Deaf: ({ id, millis }) => Effect.andThen(ran(id), Effect.as(Effect.sleep(millis), id)),
    Kept: Manager.handOff(({ id, millis }, call) =>
      Effect.andThen(ran(id), Effect.sleep(millis)).pipe(
        Effect.andThen(Effect.ignore(ServerCall.complete(call, id))),
        Effect.forkIn(scope)
      )
    ),
    Again: answer,
    Large: ({ bytes, id }) => Effect.as(ran(id), bytes),
    Tell: ({ id }) => ran(id),
    Upload: ({ id }, call) =>
      piping(id, (random) => read(ServerCall.inPipe(call, "there"), random, records.flow(`there ${id}`), records)),
    Download: ({ id, size }, call) =>
      piping(
        id,
        (random) => Effect.as(write(ServerCall.outPipe(call, "back"), size, random, records.flow(`back ${id}`)), size)
      ),
    Echo: ({ id }, call) =>
      piping(id, (random) =>
        Effect.gen(function* () {
          const size = yield* read(ServerCall.inPipe(call, "there"), random, records.flow(`there ${id}`), records)
          yield* write(ServerCall.outPipe(call, "back"), size, random, records.flow(`back ${id}`))
          return size
        }))
  }, { cancellation: { Deaf: "cooperative" }, minimumLevel: "none" })
}

const names = ["Now", "Refuse", "Die", "Slow", "Deaf", "Kept", "Again", "Large"] as const

/** One method with an input, and the value that it gives. The types are those of one of them. */
const makeWork = (random: Random, id: number, records: Records) => {
  const name = pick(random, names)
  if (name === "Again") records.idempotent.add(id)
  const millis = below(random, 200)
  const bytes = new Uint8Array(name === "Large" ? below(random, pick(random, [100, 10_000, 200_000, 800_000])) : 0)
    .fill(id)
  const expected = name === "Large" ? bytes : id
  return { name: name as "Slow", input: { id, millis, bytes }, expected, cancels: records.timed }
}

const password = Redacted.make("correct horse")
const accounts: Ntlm.Accounts = ({ user }) => user === "alice" ? { ntHash: Ntlm.hash(password) } : undefined

/** Some schedules log in. */
const securities = (["connect", "integrity", "privacy"] as const).map((level) =>
  Security.make({ provider: Ntlm.client, credentials: { user: "alice", password }, level })
)

type Store = Effect.Success<ReturnType<typeof bind>>

/** A silent connection ends its calls by the keep-alive, by the call timeout, or both: calls that are `timed` can do so. */
const bind = (random: Random, timed: boolean, security: Security.Security | undefined) =>
  Association.bind(IWork, "ncacn_memory:[work]", {
    security,
    causal: chance(random, 0.5),
    maximumConnections: 1 + below(random, 3),
    connectTimeout: "2 seconds",
    ...(timed ? { callTimeout: "5 seconds" } : {}),
    ...(!timed || chance(random, 0.5) ? { keepAlive: "1 second" } : {}),
    ...(chance(random, 0.3) ? { maximumQueued: 1000 } : {})
  })

const oneShot = (store: Store, random: Random, id: number, records: Records) =>
  Effect.gen(function* () {
    if (chance(random, 0.1)) {
      const told = yield* Effect.exit(Call.invoke(store, "Tell", { id }))
      return records.end(id, told, { name: "Tell", expected: undefined, cancels: false })
    }
    const work = makeWork(random, id, records)
    const cancelTimeout = pick(random, [0, 10, 100])
    const invoke = Call.invoke(store, work.name, work.input, { cancelTimeout })
    const patience = chance(random, 0.3) ? 1 + below(random, 100) : Infinity
    const exit = yield* records.timing(Effect.exit(Effect.timeoutOption(invoke, patience)))
    if (exit._tag === "Failure") return records.end(id, exit, work)
    if (Option.isSome(exit.value)) records.end(id, Exit.succeed(exit.value.value), work)
  })

/** A call object, and calls on it one after another. */
const callObject = (store: Store, random: Random, nextId: () => number, records: Records) =>
  Effect.gen(function* () {
    const call = yield* Call.make(store)
    const rounds = 1 + below(random, 3)
    for (let round = 0; round < rounds; round++) {
      yield* Effect.sleep(below(random, 50))
      const id = nextId()
      const work = makeWork(random, id, records)
      const begin = Call.begin(call, work.name, work.input)
      const patience = chance(random, 0.1) ? below(random, 20) : Infinity
      const begun = yield* records.timing(Effect.exit(Effect.timeoutOption(begin, patience)))
      if (begun._tag === "Failure") {
        records.end(id, begun, work)
        assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
        continue
      }
      if (Option.isNone(begun.value)) {
        assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
        continue
      }
      const pending = begun.value.value
      yield* Call.onComplete(pending, Effect.sync(() => records.complete(id)))
      if (chance(random, 0.3)) yield* Effect.sleep(below(random, 100))
      const deed = pick(random, ["join", "join", "join", "cancel", "patient", "timed", "shortened", "release"] as const)
      // Released with its scope, which closes when this fiber ends.
      if (deed === "release") return
      work.cancels ||= deed !== "join"
      const cancel = (timeout: number) => Effect.ignore(Call.cancel(pending, { timeout }))
      if (deed === "cancel") yield* cancel(0)
      if (deed === "patient") yield* cancel(Infinity)
      if (deed === "timed" || deed === "shortened") yield* cancel(50)
      if (deed === "shortened") yield* cancel(5)
      const exit = yield* records.timing(Effect.exit(Call.join(pending)))
      records.end(id, exit, work)
      yield* Effect.yieldNow
      if (records.completed.get(id) !== 1) {
        records.problems.push(`call ${id} (${work.name}, ${deed}) completed ${records.completed.get(id) ?? 0} times`)
      }
    }
  }).pipe(Effect.scoped)

/** A context handle that is opened, used and perhaps closed, by calls that anything may happen to. */
const session = (store: Store, random: Random, nextId: () => number, records: Records) =>
  Effect.gen(function* () {
    const attempt = <A, E>(
      name: string,
      id: number,
      call: Effect.Effect<A, E>,
      expected: (value: A) => unknown
    ): Effect.Effect<A | undefined> =>
      Effect.gen(function* () {
        const patience = chance(random, 0.3) ? 1 + below(random, 100) : undefined
        const exit = yield* records.timing(
          Effect.exit(patience === undefined ? Effect.asSome(call) : Effect.timeoutOption(call, patience))
        )
        const work = { name, cancels: records.timed }
        if (exit._tag === "Failure") records.end(id, exit, { ...work, expected: undefined })
        else if (Option.isSome(exit.value)) {
          records.end(id, Exit.succeed(exit.value.value), { ...work, expected: expected(exit.value.value) })
          return exit.value.value
        }
        return undefined
      })
    const millis = () => chance(random, 0.5) ? 0 : below(random, 60)
    const id = nextId()
    const opened = yield* attempt("Open", id, Call.invoke(store, "Open", { id, millis: millis() }), (out) => out)
    if (opened === undefined) return
    const { box } = opened
    const use = Effect.suspend(() => {
      const id = nextId()
      const name = pick(random, ["Use", "Use", "Peek"] as const)
      const cancelTimeout = pick(random, [0, 10, 100])
      if (name === "Peek") records.idempotent.add(id)
      return attempt(
        name,
        id,
        Call.invoke(store, name as "Use", { box, id, millis: millis() }, { cancelTimeout }),
        () => id
      )
    })
    const rounds = below(random, 4)
    for (let round = 0; round < rounds; round++) {
      yield* Effect.sleep(below(random, 50))
      yield* Effect.all(Array.from({ length: 1 + below(random, 4) }, () => use), {
        concurrency: "unbounded",
        discard: true
      })
    }
    if (chance(random, 0.1)) yield* ContextHandle.destroy(box)
    else if (chance(random, 0.5)) {
      const id = nextId()
      yield* attempt("Close", id, Call.invoke(store, "Close", { box, id }), () => ({ box: null }))
    }
  })

/** A call with pipes, which somebody drives while somebody else waits for it, cancels it or forgets it. */
const pipedCall = (store: Store, random: Random, id: number, records: Records) =>
  Effect.gen(function* () {
    const call = yield* Call.make(store)
    const name = pick(random, ["Upload", "Download", "Echo"] as const)
    const size = below(random, pick(random, [100, 10_000, 100_000]))
    const work: Work = { name, expected: size, cancels: true }
    // The types are those of one of them.
    const begin = Call.begin(call, name as "Echo", { id, size } as { readonly id: number })
    const begun = yield* Effect.exit(
      chance(random, 0.1) ? Effect.timeoutOption(begin, below(random, 20)) : Effect.asSome(begin)
    )
    if (begun._tag === "Failure" || Option.isNone(begun.value)) {
      if (begun._tag === "Failure") records.end(id, begun, work)
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
      return undefined
    }
    const pending = begun.value.value
    yield* Call.onComplete(pending, Effect.sync(() => records.complete(id)))
    const flows = { there: records.flow(`there ${id}`), back: records.flow(`back ${id}`) }
    const pushed = Effect.suspend(() => write(Call.inPipe(pending, "there"), size, random, flows.there))
    const pulled = Effect.suspend(() => read(Call.outPipe(pending, "back"), random, flows.back, records))
    const driving = yield* Effect.forkDetach(
      Effect.exit(Effect.andThen(name === "Download" ? Effect.void : pushed, name === "Upload" ? Effect.void : pulled))
    )
    const deed = pick(random, ["join", "join", "join", "cancel", "patient", "timed", "abandon", "release"] as const)
    if (deed !== "join") yield* Effect.sleep(below(random, 100))
    if (deed === "abandon") yield* Fiber.interrupt(driving)
    // Released with its scope, which closes when this fiber goes on.
    if (deed === "release") return driving
    const cancel = (timeout: number) => Effect.ignore(Call.cancel(pending, { timeout }))
    if (deed === "cancel" || deed === "abandon") yield* cancel(0)
    if (deed === "patient") yield* cancel(Infinity)
    if (deed === "timed") yield* cancel(50)
    const exit = yield* records.timing(Effect.exit(Call.join(pending)))
    records.end(id, exit, work)
    yield* Effect.yieldNow
    if (records.completed.get(id) !== 1) {
      records.problems.push(`call ${id} (${name}, ${deed}) completed ${records.completed.get(id) ?? 0} times`)
    }
    // A cancelled call may be answered all the same, but not through its pipes.
    if (exit._tag === "Success" && deed === "join") {
      const arrived = [...name === "Download" ? [] : [flows.there], ...name === "Upload" ? [] : [flows.back]]
      for (const { read } of arrived) if (read !== size) records.problems.push(`${read} of ${size} bytes arrived`)
    }
    return driving
  }).pipe(
    Effect.scoped,
    // However the call has ended, nobody waits at a pipe any more.
    Effect.flatMap((driving) => driving === undefined ? Effect.void : Fiber.await(driving))
  )

const schedule = (seed: number) =>
  Effect.gen(function* () {
    const random = makeRandom(seed)
    const memory = Context.get(yield* Effect.scoped(Layer.build(Memory.layer)), Transport.Transport)
    const scope = yield* Scope.make()
    const seen = { open: 0, wasCut: () => false }
    const faulty = faultyTransport(memory, faultsOf(seed), scope, seen)
    const single = chance(random, 0.25)
    const transport = editingBinds(
      faulty,
      ...(single ? [oneCallAtATime] : []),
      ...(chance(random, 0.3) ? [losingOnOrphan] : [])
    )
    const records = new Records(single || chance(random, 0.5))
    const security = chance(random, 0.2) ? pick(random, securities) : undefined
    const server = yield* Scope.provide(
      Server.make([makeManager(records, scope)], { grace: below(random, 100) }),
      scope
    )
    const endpoints: Array<Endpoint.Endpoint> = []
    /** Serves, and gives what ends that. */
    const serve = Effect.gen(function* () {
      const own = yield* Scope.fork(scope)
      const options = security === undefined ? {} : { security: [Ntlm.server(accounts)] }
      const endpoint = yield* Scope.provide(Endpoint.make(server, options), own)
      yield* Endpoint.listen(endpoint, "ncacn_memory:[work]").pipe(
        Effect.provideService(Transport.Transport, transport),
        Scope.provide(own)
      )
      endpoints.push(endpoint)
      return Scope.close(own, Exit.void)
    })
    const stop = yield* serve

    let id = 0
    const nextId = () => {
      records.calls++
      return id++
    }
    yield* Effect.gen(function* () {
      const bound = yield* Effect.exit(bind(random, records.timed, security))
      if (bound._tag === "Failure") return
      const store = bound.value
      const objects = 1 + below(random, 3)
      const shots = below(random, 4)
      const sessions = below(random, 3)
      // A silent connection for pipes is not asked for a sign of life: the call timeout ends its call.
      const piped = records.timed ? below(random, 2) : 0
      const restart = Effect.sleep(below(random, 200)).pipe(Effect.andThen(stop), Effect.andThen(serve))
      yield* Effect.all([
        chance(random, 0.2) ? restart : Effect.void,
        ...Array.from({ length: objects }, () => callObject(store, random, nextId, records)),
        ...Array.from({ length: sessions }, () => session(store, random, nextId, records)),
        ...Array.from({ length: shots }, () =>
          Effect.andThen(
            Effect.sleep(below(random, 100)),
            Effect.suspend(() => oneShot(store, random, nextId(), records))
          )),
        ...Array.from({ length: piped }, () =>
          Effect.andThen(
            Effect.sleep(below(random, 100)),
            Effect.suspend(() => pipedCall(store, random, nextId(), records))
          ))
      ], { concurrency: "unbounded", discard: true })
    }).pipe(Effect.provideService(Transport.Transport, transport), Effect.scoped)

    // The client is gone. What it sent may still be on the way, and a routine that can't be interrupted still runs.
    const leftNow = Effect.map(Server.calls(server), (calls) => ({
      open: seen.open,
      calls: calls.length,
      table: serverImpl(server).count,
      piping: records.piping,
      handles: serverImpl(server).handles.size,
      endpoints: endpoints.map((endpoint) => {
        const { connections, groups, partBytes, queuedBytes } = endpoint as unknown as EndpointImpl
        return [connections.size, groups.size, partBytes, queuedBytes]
      })
    }))
    yield* Effect.sleep(1000)
    // What the server itself still sends may cut a cable: that is noticed later, and then its last bytes have a second to leave.
    if (seen.wasCut()) yield* Effect.sleep(2 * unnoticed)
    const left = yield* leftNow
    yield* Scope.close(scope, Exit.void)
    const none = endpoints.map(() => [0, 0, 0, 0])
    assert.deepStrictEqual(left, { open: 0, calls: 0, table: 0, piping: 0, handles: 0, endpoints: none })
    assert.deepStrictEqual(records.problems, [])
    // A begin waits for callTimeout at most, and so does its call; without one a write may make no progress for a minute, twice.
    assert.isAtMost(records.lasted, records.timed ? 15_000 : 130_000, "how long a call took")
    for (const denied of records.denied) assert.isFalse(records.ran.has(denied), `call ${denied} did run`)
    for (const { id, ends } of records.boxes) assert.strictEqual(ends, 1, `how often box ${id} was run down`)
    for (const [id, times] of records.ran) {
      assert.isAtMost(times, records.idempotent.has(id) ? 2 : 1, `how often call ${id} ran`)
    }
    return records
  }).pipe((effect) =>
    Effect.gen(function* () {
      const clock = jumpingClock(yield* Clock.Clock, makeRandom(seed))
      const records = yield* Effect.provideService(effect, Clock.Clock, clock)
      yield* Effect.yieldNow
      assert.strictEqual(clock.timers(), 0, "timers")
      return records
    })
  ).pipe(Effect.catchCause((cause) => Effect.die(new Error(`schedule ${seed}: ${Cause.pretty(cause)}`))))

// ----------------------------------------------------------------------------
// the test
// ----------------------------------------------------------------------------

describe("faults", () => {
  const total = budgetOf(10_000)
  const batch = 100

  it.effect(
    `${total} schedules of faults from seed ${seed}: every call ends`,
    () =>
      Effect.gen(function* () {
        const kinds = new Map<string, number>()
        let calls = 0
        let lasted = 0
        for (let first = 0; first < total; first += batch) {
          const before = yield* fibersActive
          const all = Array.from({ length: batch }, (_, i) => schedule(seed + first + i))
          for (const records of yield* inVirtualTime(Effect.all(all, { concurrency: "unbounded" }))) {
            calls += records.calls
            lasted = Math.max(lasted, records.lasted)
            for (const [kind, count] of records.kinds) {
              kinds.set(kind, (kinds.get(kind) ?? 0) + count)
            }
          }
          yield* TestClock.adjust(Duration.minutes(3))
          assert.strictEqual(yield* fibersActive, before, "fibers")
        }
        const told = [...kinds].map(([kind, count]) => `${kind} ${count}`).join(", ")
        report("faults", `${total} schedules, ${calls} calls of up to ${Math.ceil(lasted / 1000)} s (${told})`)
        assert.isAbove(kinds.get("replied") ?? 0, calls / 10)
        // About 40 in so many.
        if (total === 10_000) assert.isAbove(kinds.get("RpcTransportError 1727") ?? 0, 0)
      }).pipe(
        Effect.provide(
          Layer.mergeAll(
            Metric.enableRuntimeMetricsLayer,
            Layer.succeed(Metric.MetricRegistry, new Map()),
            Logger.layer([Logger.make(() => {})])
          )
        )
      ),
    300_000
  )
})
