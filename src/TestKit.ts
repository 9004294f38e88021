/**
 * A test kit for programs that use the library: a client and a server wired in memory, with faults injected into calls.
 *
 * Under a `TestClock` everything waits in virtual time.
 *
 * @module
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Binding from "./Binding.ts"
import type { Channel, Outcome, Outgoing, Remote } from "./Channel.ts"
import type { Interface } from "./Interface.ts"
import { failureOf, fromWire } from "./internal/failures.ts"
import { choiceOption, countOption, durationOption } from "./internal/options.ts"
import type { Manager } from "./Manager.ts"
import * as Server from "./Server.ts"
import { type BadStubData, type NoInterface, type RpcFault, RpcTransportError } from "./Status.ts"

/**
 * A fault of a call.
 *
 * **Example** (Four calls, four faults)
 *
 * ```ts
 * import { Call, Interface, Manager, TestKit } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *
 * const test = Effect.gen(function*() {
 *   const { binding, inject } = yield* TestKit.make(manager)
 *   const add = Effect.flip(Call.invoke(binding, "Add", [1, 2, 3]))
 *   yield* inject("Add", TestKit.unreachable, TestKit.fault(1723), TestKit.loseRequest, TestKit.loseReply)
 *   yield* add // => RpcTransportError { status: 1722 }
 *   yield* add // => RpcFault { code: 1723 }
 *   yield* add // => RpcTransportError { status: 1727 }
 *   yield* add // => RpcTransportError { status: 1726 }
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(test)
 * ```
 *
 * @category faults
 * @since 0.1.0
 */
export type Fault =
  | { readonly _tag: "Unreachable" }
  | { readonly _tag: "Fault"; readonly code: number }
  | { readonly _tag: "LoseRequest" }
  | { readonly _tag: "LoseReply" }
  | { readonly _tag: "DropReply" }
  | { readonly _tag: "DelayBegin"; readonly duration: Duration.Input }
  | { readonly _tag: "DelayReply"; readonly duration: Duration.Input }

/**
 * The server can't be reached: `begin` fails with 1722. The example is at {@link Fault}.
 *
 * @category faults
 * @since 0.1.0
 */
export const unreachable: Fault = { _tag: "Unreachable" }

/**
 * The server refuses the call with an exception code or the status of a fault; the manager does not run. The client sees the
 * same as over the network: 1723 for 1723 and for 0x1C010014. The example is at {@link Fault}.
 *
 * Throws a `TypeError` for a code that is not an integer from 1 to 0xFFFFFFFF.
 *
 * @category faults
 * @since 0.1.0
 */
export const fault = (code: number): Fault => ({
  _tag: "Fault",
  code: countOption("TestKit.fault", "code", code ?? NaN, { min: 1, max: 0xffffffff }, 0)
})

/**
 * The connection is lost before the server gets the call: it ends with 1727, and the manager does not run. The example
 * is at {@link Fault}.
 *
 * @category faults
 * @since 0.1.0
 */
export const loseRequest: Fault = { _tag: "LoseRequest" }

/**
 * The connection is lost before the client gets the reply: the manager runs, and the call ends with 1726. The example
 * is at {@link Fault}.
 *
 * @category faults
 * @since 0.1.0
 */
export const loseReply: Fault = { _tag: "LoseReply" }

/**
 * The reply never arrives, without any sign: the call stays pending until it is cancelled.
 *
 * **Example** (A server that never answers)
 *
 * ```ts
 * import { Call, Interface, Manager, TestKit } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *
 * const test = Effect.gen(function*() {
 *   const { binding, inject } = yield* TestKit.make(manager)
 *   const call = yield* Call.make(binding)
 *
 *   yield* inject("Add", TestKit.dropReply)
 *   const adding = yield* Call.begin(call, "Add", [1, 2, 3])
 *   yield* Effect.flip(Call.wait(adding, "10 millis")) // => WaitTimeout
 *   yield* Call.cancel(adding)
 *   return yield* Effect.flip(Call.join(adding)) // => CallCancelled
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(test)
 * ```
 *
 * @category faults
 * @since 0.1.0
 */
export const dropReply: Fault = { _tag: "DropReply" }

/**
 * Issuing the call takes the duration, as it does while a connection is being made.
 *
 * **Example** (A begin that is given up leaves the object idle)
 *
 * ```ts
 * import { Call, Interface, Manager, TestKit } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *
 * const test = Effect.gen(function*() {
 *   const { binding, inject } = yield* TestKit.make(manager)
 *   const call = yield* Call.make(binding)
 *
 *   yield* inject("Add", TestKit.delayBegin("1 second"))
 *   yield* Effect.timeoutOption(Call.begin(call, "Add", [1, 2, 3]), "10 millis") // => None
 *   return yield* Call.state(call) // => { _tag: "Idle" }
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(test)
 * ```
 *
 * @category faults
 * @since 0.1.0
 */
export const delayBegin = (duration: Duration.Input): Fault => ({
  _tag: "DelayBegin",
  duration: durationOf("TestKit.delayBegin", duration)
})

/**
 * The reply arrives later by the duration.
 *
 * **Example** (A slow server)
 *
 * ```ts
 * import { Call, Interface, Manager, TestKit } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *
 * const test = Effect.gen(function*() {
 *   const { binding, inject } = yield* TestKit.make(manager)
 *   const call = yield* Call.make(binding)
 *
 *   yield* inject("Add", TestKit.delayReply("10 millis"))
 *   const adding = yield* Call.begin(call, "Add", [1, 2, 3])
 *   yield* Effect.flip(Call.wait(adding, 0)) // => WaitTimeout
 *   return yield* Call.join(adding) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(test)
 * ```
 *
 * @category faults
 * @since 0.1.0
 */
export const delayReply = (duration: Duration.Input): Fault => ({
  _tag: "DelayReply",
  duration: durationOf("TestKit.delayReply", duration)
})

const durationOf = (owner: string, duration: Duration.Input | undefined): number =>
  durationOption(owner, "duration", duration ?? NaN, NaN)

const tags: ReadonlyArray<Fault["_tag"]> = [
  "Unreachable",
  "Fault",
  "LoseRequest",
  "LoseReply",
  "DropReply",
  "DelayBegin",
  "DelayReply"
]

/**
 * A client and a server wired in memory.
 *
 * @category models
 * @since 0.1.0
 */
export interface Kit<in out I extends Interface.Any> {
  /** The server of the one manager. */
  readonly server: Server.Server
  /** The client's binding, whose calls the faults hit. */
  readonly binding: Binding.Binding<I>
  /**
   * Injects faults into the next calls of a method: one for each call, in order, after earlier faults. Dies with a `TypeError` for a
   * method or a fault that does not exist.
   */
  readonly inject: (method: Interface.MethodName<I, "any">, ...faults: ReadonlyArray<Fault>) => Effect.Effect<void>
}

/**
 * Makes a server of one manager and a binding to it.
 *
 * **Details**
 *
 * By default arguments and results are checked against the schemas, and the server has no grace period, so that the end
 * of a test waits for nothing.
 *
 * **Example** (A retry that is put to the test)
 *
 * ```ts
 * import { Call, Interface, Manager, TestKit } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *
 * const test = Effect.gen(function*() {
 *   const { binding, inject } = yield* TestKit.make(manager)
 *   yield* inject("Add", TestKit.unreachable, TestKit.fault(1723))
 *   return yield* Call.invoke(binding, "Add", [1, 2]).pipe(Effect.retry({ times: 2 })) // => 3
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(test)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <I extends Interface.Any, R>(
  manager: Manager<I, R>,
  options?: Server.Options & Binding.LocalOptions
): Effect.Effect<Kit<I>, NoInterface, R | Scope.Scope> =>
  Effect.gen(function* () {
    const server = yield* Server.make([manager] as ReadonlyArray<Manager<I, R>>, {
      ...options,
      grace: options?.grace === undefined ? 0 : options.grace
    })
    const local = yield* Binding.local(server, manager.interface, {
      ...options,
      validate: options?.validate === undefined ? true : options.validate
    })
    const faults = new Map<string, Array<Fault>>()
    const channel = yield* Effect.acquireRelease(
      Effect.sync(() => new FaultyChannel(local.channel, faults)),
      (channel) => Effect.sync(() => channel.close())
    )
    return {
      server,
      binding: yield* Binding.make(manager.interface, channel, options),
      inject: (method, ...more) =>
        Effect.sync(() => {
          choiceOption("TestKit.inject", "method", method, Object.keys(manager.interface.methods))
          for (const fault of more) choiceOption("TestKit.inject", "fault", fault?._tag, tags)
          faults.set(method, [...faults.get(method) ?? [], ...more])
        })
    }
  })

type BeginFailure = BadStubData | RpcFault | RpcTransportError

class FaultyChannel implements Channel {
  readonly inner: Channel
  readonly faults: Map<string, Array<Fault>>
  /** The calls whose reply is late or dropped, with the fiber of a late one. */
  readonly owed = new Map<Outgoing, Fiber.Fiber<void> | undefined>()

  constructor(inner: Channel, faults: Map<string, Array<Fault>>) {
    this.inner = inner
    this.faults = faults
  }

  get address(): string | undefined {
    return this.inner.address
  }

  toJSON(): { readonly _id: string } {
    return { _id: "callisto/Channel" }
  }

  /** Ends the calls whose reply is owed, as the loss of the connection would. */
  close(): void {
    for (const [call, late] of this.owed) {
      late?.interruptUnsafe()
      call.reply(lost(1726))
    }
    this.owed.clear()
  }

  private replyLate(call: Outgoing, outcome: Outcome, duration: Duration.Input, fiber: Fiber.Fiber<unknown, unknown>) {
    const reply = Effect.sync(() => {
      this.owed.delete(call)
      call.reply(outcome)
    })
    this.owed.set(call, Effect.runForkWith(fiber.context)(Effect.andThen(Effect.sleep(duration), reply)))
  }

  get callObjects(): boolean {
    return this.inner.callObjects
  }

  issue(
    call: Outgoing,
    input: unknown,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<void, BeginFailure> | undefined {
    const pass = (call: Outgoing) => this.inner.issue(call, input, fiber)
    const fault = this.faults.get(call.operation.name)?.shift()
    switch (fault?._tag) {
      case undefined:
        return pass(call)
      case "Unreachable":
        return Effect.fail(new RpcTransportError({ status: 1722, detail: "a test made the server unreachable" }))
      case "Fault":
        call.reply(Exit.fail(failureOf(call.operation, fromWire(fault.code, true))))
        return undefined
      case "LoseRequest":
        call.reply(lost(1727))
        return undefined
      case "LoseReply":
        return pass(intercepted(call, () => call.reply(lost(1726))))
      case "DropReply":
        return pass(intercepted(call, () => void this.owed.set(call, undefined)))
      case "DelayBegin":
        return Effect.andThen(Effect.sleep(fault.duration), Effect.suspend(() => pass(call) ?? Effect.void))
      case "DelayReply":
        return pass(intercepted(call, (outcome) => this.replyLate(call, outcome, fault.duration, fiber)))
    }
  }
}

const lost = (status: 1726 | 1727): Outcome =>
  Exit.fail(new RpcTransportError({ status, detail: "a test cut the connection" }))

/** A call whose reply does not reach it as the server sends it. */
const intercepted = (call: Outgoing, reply: Outgoing["reply"]): Outgoing =>
  Object.create(call, {
    reply: { value: reply },
    remote: { get: () => call.remote, set: (remote: Remote | undefined) => call.remote = remote }
  })
