import { assert } from "@effect/vitest"
import { Deferred, Effect, type Exit, type Fiber, Queue, Schema, type Scope } from "effect"
import { Binding, Call, Interface, Manager, Server, type ServerCall, Status } from "../mod.ts"

export class Denied extends Schema.TaggedError<Denied>()("Denied", { who: Schema.String }) {}

const job = { in: Schema.String, out: Schema.String, aborts: [Interface.abort(5000, Denied)] } as const

/** `Answer` is answered at once, `Hold` is handed off, `Stay` runs until its gate opens. */
export const Desk = Interface.make("Desk", {
  uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1a01",
  version: [1, 2],
  methods: {
    Answer: Interface.method(job),
    Hold: Interface.method(job),
    Stay: Interface.method(job),
    Rest: Interface.method({}),
    Tell: Interface.method({ in: Schema.String, maybe: true })
  }
})

export type DeskMethod = keyof typeof Desk.methods

export type Held = ServerCall.ServerCall<(typeof Desk)["methods"]["Hold"]>

/** Binds a client to a server, by whatever carries its calls. */
export type Bind = <I extends Interface.Interface.Any>(
  server: Server.Server,
  iface: I,
  options?: Binding.Options
) => Effect.Effect<Binding.Binding<I>, Status.NoInterface, Scope.Scope>

export interface DeskOptions {
  /** By default `Binding.local`. */
  readonly bind?: Bind
  readonly server?: Server.Options
  readonly binding?: Binding.LocalOptions
  readonly cancellation?: ServerCall.Cancellation | { readonly [K in DeskMethod]?: ServerCall.Cancellation }
  readonly callObjects?: boolean
}

/** A server of `Desk`, a binding to it, and what the manager has seen. */
export const makeDesk = Effect.fnUntraced(function* (options: DeskOptions = {}) {
  const held = yield* Queue.unbounded<Held>()
  const gate = yield* Deferred.make<string, Denied | Status.RpcFault>()
  const seen: Array<string> = []
  const manager = Manager.make(Desk, {
    Answer: (input) => {
      seen.push(`Answer ${input}`)
      switch (input) {
        case "deny":
          return Effect.fail(new Denied({ who: "manager" }))
        case "fault":
          return Effect.fail(new Status.RpcFault({ code: 1753 }))
        case "die":
          return Effect.die(new Error("a secret of the server"))
        default:
          return Effect.succeed(`answer to ${input}`)
      }
    },
    Hold: Manager.handOff((input, call) => {
      seen.push(`Hold ${input}`)
      return Queue.offer(held, call)
    }),
    Stay: (input) => {
      seen.push(`Stay ${input}`)
      return Effect.onInterrupt(Deferred.await(gate), () => Effect.sync(() => void seen.push("Stay was interrupted")))
    },
    Rest: () => Effect.sync(() => void seen.push("Rest")),
    Tell: (input) => Effect.sync(() => void seen.push(`Tell ${input}`))
  }, {
    cancellation: options.cancellation ?? "interrupt",
    callObjects: options.callObjects ?? true
  })
  const server = yield* Server.make([manager], options.server)
  const desk = yield* (options.bind ?? Binding.local)(server, Desk, options.binding)
  return { server, desk, held, gate, seen }
})

const Job = Interface.method(job)

/** An interface of one method, for tests that write its routine. */
export const Job1 = Interface.make("Job1", {
  uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1a02",
  version: [1, 0],
  methods: { Run: Job }
})

/** A binding to a server whose one routine is the given one. */
export const makeJob = Effect.fnUntraced(function* <R>(
  routine: Manager.Routine<typeof Job, R>,
  options: {
    readonly bind?: Bind
    readonly server?: Server.Options
    readonly binding?: Binding.LocalOptions
    readonly cancellation?: ServerCall.Cancellation
  } = {}
) {
  const cancellation = options.cancellation ?? "interrupt"
  const manager = Manager.make(Job1, { Run: routine }, { cancellation }) as Manager.Manager<typeof Job1, R>
  const server = yield* Server.make([manager], options.server)
  const job = yield* (options.bind ?? Binding.local)(server, Job1, options.binding)
  const call = yield* Call.make(job)
  return { server, job, call }
})

/** The tag of the failure of an effect; a success fails the test. */
export const refusal = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => error._tag)

/** Lets everything run that can run without the clock. */
export const settle: Effect.Effect<void> = Effect.repeat(Effect.yieldNow, { times: 10 })

/** Starts an effect at once in a child fiber. */
export const start = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** Whether a fiber waits for something. */
export const isWaiting = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<boolean> =>
  Effect.map(settle, () => fiber.pollUnsafe() === undefined)

/** An exit in a form that compares well: the value, or the tag of the failure. */
export const shown = (exit: Exit.Exit<unknown, unknown>): unknown => {
  if (exit._tag === "Success") return { value: exit.value }
  const reason = exit.cause.reasons[0]!
  return reason._tag === "Fail"
    ? { failure: (reason.error as { readonly _tag: string })._tag }
    : { [reason._tag.toLowerCase()]: true }
}

/** What an effect ends with, in that form. */
export const outcome = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<unknown, never, R> =>
  Effect.map(Effect.exit(effect), shown)

/** Checks the class and the fields of a failure, apart from the call that it names. */
export const assertFailure = (actual: unknown, expected: object): void => {
  assert.strictEqual((actual as object).constructor, expected.constructor)
  const { address: _address, interface: _interface, method: _method, ...fields } = {
    ...actual as Record<string, unknown>
  }
  assert.deepStrictEqual(fields, { ...expected })
}

/** Checks that a description is refused with a message that has all these parts. */
export const refuses = (describe: () => unknown, ...parts: ReadonlyArray<string>): void => {
  let error: unknown
  try {
    describe()
  } catch (thrown) {
    error = thrown
  }
  assert.instanceOf(error, TypeError)
  for (const part of parts) assert.include((error as TypeError).message, part)
}
