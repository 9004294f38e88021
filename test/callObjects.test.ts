import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Context, Deferred, Effect, Exit, Fiber, Option, Queue, Schema, type Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { inspect } from "node:util"
import {
  Binding,
  Call,
  type Channel,
  Interface,
  Manager,
  Pipe,
  Server,
  ServerCall,
  Status,
  Synchronize
} from "../mod.ts"
import { Denied, Desk, isWaiting, makeDesk, makeJob, refusal, settle, start } from "./fixtures.ts"

/** How many finalizers a scope holds. */
const sizeOf = ({ state }: Scope.Scope): number =>
  state._tag !== "Open" ? 0 : state.finalizers === undefined ? 1 : state.finalizers.size

const Flows = Interface.make("Flows", {
  uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1a0b",
  version: [1, 0],
  methods: {
    Plain: Interface.method({ in: Schema.Int, out: Schema.Int }),
    Nothing: Interface.method({}),
    Follow: Interface.method({ in: { from: Schema.Int }, outPipe: { numbers: Schema.Int } }),
    Sum: Interface.method({ inPipe: { numbers: Schema.Int }, out: Schema.Int }),
    Both: Interface.method({ inPipe: { from: Schema.Int }, outPipe: { to: Schema.Int } }),
    then: Interface.method({ out: Schema.String })
  }
})

const makeFlows = Effect.gen(function* () {
  const manager = Manager.make(Flows, {
    Plain: (n) => Effect.succeed(n + 1),
    Nothing: () => Effect.void,
    Follow: ({ from }, call) => Stream.run(Stream.range(from, 9), Pipe.toSink(ServerCall.outPipe(call, "numbers"))),
    Sum: (_, call) => Stream.runFold(Pipe.toStream(ServerCall.inPipe(call, "numbers")), () => 0, (a, b) => a + b),
    Both: () => Effect.never,
    then: () => Effect.succeed("called by invoke")
  })
  return yield* Binding.local(yield* Server.make([manager]), Flows)
})

describe("the client object", () => {
  it.effect("of a binding: its own methods alone, without a prototype, made once", () =>
    Effect.gen(function* () {
      const flows = yield* makeFlows
      const client = Call.client(flows)
      assert.strictEqual(Object.getPrototypeOf(client), null)
      assert.deepStrictEqual(Object.keys(client), ["Plain", "Nothing", "Follow", "Sum", "Both"])
      assert.strictEqual(Call.client(flows), client)
      assert.isUndefined((client as { readonly toString?: unknown }).toString)
    }))

  it.effect("each kind of method: called, begun, streamed or sunk", () =>
    Effect.gen(function* () {
      const client = Call.client(yield* makeFlows)
      assert.strictEqual(yield* client.Plain(1), 2)
      assert.strictEqual(yield* Call.join(yield* client.Plain.begin(2)), 3)
      yield* client.Nothing()
      yield* client.Nothing({ cancelTimeout: "1 second" })
      assert.deepStrictEqual(yield* Stream.runCollect(client.Follow.stream({ from: 7 })), [7, 8, 9])
      assert.strictEqual(yield* Stream.run(Stream.range(1, 4), client.Sum.sink()), 10)
      assert.deepStrictEqual(Object.keys(client.Both), ["begin"])
      assert.deepStrictEqual(Object.keys(client.Follow), ["begin", "stream"])
      assert.deepStrictEqual(Object.keys(client.Sum), ["begin", "sink"])
    }))

  it.effect("method named then: is left out, and invoke calls it", () =>
    Effect.gen(function* () {
      const flows = yield* makeFlows
      assert.strictEqual(yield* Effect.promise(async () => await (Call.client(flows) as never)), Call.client(flows))
      assert.strictEqual(yield* Call.invoke(flows, "then"), "called by invoke")
    }))

  it.effect("data-last: calls as data-first does", () =>
    Effect.gen(function* () {
      const flows = yield* makeFlows
      assert.strictEqual(yield* flows.pipe(Call.invoke("Plain", 1)), 2)
      yield* flows.pipe(Call.invoke("Nothing"))
      assert.strictEqual(yield* Effect.flatMap(flows.pipe(Call.start("Plain", 1)), Call.join), 2)
      assert.deepStrictEqual(yield* Stream.runCollect(flows.pipe(Call.stream("Follow", { from: 8 }))), [8, 9])
      assert.strictEqual(yield* Stream.run(Stream.range(1, 4), flows.pipe(Call.sink("Sum"))), 10)
    }))
})

describe("start", () => {
  it.effect("100,000 calls finished in one scope: leave nothing there", () =>
    Effect.gen(function* () {
      const client = Call.client(yield* makeFlows)
      const scope = yield* Effect.scope
      const before = sizeOf(scope)
      for (let i = 0; i < 50_000; i++) {
        yield* Call.join(yield* client.Plain.begin(i))
        yield* Call.finish(yield* client.Plain.begin(i))
      }
      assert.strictEqual(sizeOf(scope), before)
    }))

  it.effect("pending when the scope closes: the call is orphaned", () =>
    Effect.gen(function* () {
      const { desk, seen } = yield* makeDesk()
      const pending = yield* Effect.scoped(Call.start(desk, "Stay", "a"))
      yield* settle
      assert.deepStrictEqual(seen, ["Stay a", "Stay was interrupted"])
      assert.strictEqual(yield* refusal(Call.finish(pending)), "InvalidAsyncHandle")
    }))

  it.effect("finished twice: the second is refused with CallComplete", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const pending = yield* Call.start(desk, "Answer", "a")
      yield* Call.finish(pending)
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallComplete")
    }))

  it.effect("begin fails: leaves nothing in the scope", () =>
    Effect.gen(function* () {
      const failing = yield* Binding.make(Desk, {
        callObjects: true,
        issue: () => Effect.fail(new Status.RpcTransportError({ status: 1722, detail: "no server" }))
      })
      const throwing = yield* Binding.make(Desk, {
        callObjects: true,
        issue: () => {
          throw new Error("a bug of the channel")
        }
      })
      const scope = yield* Effect.scope
      const before = sizeOf(scope)
      assert.strictEqual(yield* refusal(Call.start(failing, "Rest")), "RpcTransportError")
      yield* Effect.exit(Call.start(throwing, "Rest"))
      assert.strictEqual(sizeOf(scope), before)
    }))

  it.effect("begin interrupted: leaves nothing in the scope", () =>
    Effect.gen(function* () {
      const slow = yield* Binding.make(Desk, { callObjects: true, issue: () => Effect.never })
      const scope = yield* Effect.scope
      const before = sizeOf(scope)
      const starting = yield* start(Call.start(slow, "Rest"))
      assert.isTrue(yield* isWaiting(starting))
      yield* Fiber.interrupt(starting)
      assert.strictEqual(sizeOf(scope), before)
    }))

  it.effect("an object that declines call objects: refused with NoInterface", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk({ callObjects: false })
      assert.strictEqual(yield* refusal(Call.start(desk, "Answer", "a")), "NoInterface")
      assert.strictEqual(yield* refusal(Call.client(desk).Answer.begin("a")), "NoInterface")
      assert.strictEqual(yield* Call.client(desk).Answer("a"), "answer to a")
    }))
})

describe("release", () => {
  it.effect("of a pending call: orphans it, wakes its waiters, and leaves nothing in the scope", () =>
    Effect.gen(function* () {
      const { desk, seen } = yield* makeDesk()
      const scope = yield* Effect.scope
      const before = sizeOf(scope)
      const call = yield* Call.make(desk)
      const pending = yield* Call.begin(call, "Stay", "a")
      const joining = yield* start(Effect.flip(Call.join(pending)))
      yield* Call.release(call)
      assert.strictEqual((yield* Fiber.join(joining))._tag, "InvalidAsyncHandle")
      yield* settle
      assert.deepStrictEqual(seen, ["Stay a", "Stay was interrupted"])
      assert.strictEqual(yield* refusal(Call.begin(call, "Rest")), "InvalidAsyncHandle")
      assert.strictEqual(sizeOf(scope), before)
      yield* Call.release(call)
      yield* Call.release(call, { server: "goOn" })
    }))

  it.effect("goOn: the routine runs to its end, and its reply is discarded", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<string>()
      const seen: Array<string> = []
      const { call } = yield* makeJob(() =>
        Deferred.await(gate).pipe(
          Effect.tap((text) => Effect.sync(() => void seen.push(text))),
          Effect.onInterrupt(() => Effect.sync(() => void seen.push("interrupted")))
        )
      )
      const pending = yield* Call.begin(call, "Run", "a")
      const joining = yield* start(refusal(Call.join(pending)))
      yield* Call.release(call, { server: "goOn" })
      assert.strictEqual(yield* Fiber.join(joining), "InvalidAsyncHandle")
      yield* settle
      assert.deepStrictEqual(seen, [])
      yield* Deferred.succeed(gate, "ran to its end")
      yield* settle
      assert.deepStrictEqual(seen, ["ran to its end"])
      assert.strictEqual(yield* refusal(Call.finish(pending)), "InvalidAsyncHandle")
    }))

  it.effect("goOn with an open pipe: refused, and the call goes on as it was", () =>
    Effect.gen(function* () {
      const flows = yield* makeFlows
      const call = yield* Call.make(flows)
      const pending = yield* Call.begin(call, "Sum")
      const numbers = Call.inPipe(pending, "numbers")
      assert.strictEqual(yield* refusal(Call.release(call, { server: "goOn" })), "PipeDisciplineError")
      yield* Pipe.push(numbers, [1, 2])
      yield* Pipe.end(numbers)
      assert.strictEqual(yield* Call.join(pending), 3)
    }))

  it.effect("by evidence: releases the object that carries the call; stale evidence changes nothing", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const call = yield* Call.make(desk)
      const stale = yield* Call.begin(call, "Answer", "a")
      yield* Call.finish(stale)
      const pending = yield* Call.begin(call, "Hold", "b")
      yield* Call.release(stale)
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Pending", cancelRequested: false })
      yield* pending.pipe(Call.release({ server: "stop" }))
      assert.strictEqual(yield* refusal(Call.state(call)), "InvalidAsyncHandle")
    }))

  it.effect("an unknown option: a TypeError that names it", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const exit = yield* Effect.exit(Call.release(yield* Call.make(desk), { server: "wait" as never }))
      assert.include(String(exit), `Call.release: server is out of range, got "wait"`)
    }))

  for (const server of ["stop", "goOn"] as const) {
    it.effect(`while begin is still issuing, ${server}: begin fails, and the server is told of it alone`, () =>
      Effect.gen(function* () {
        const told: Array<string> = []
        const gate = yield* Deferred.make<void>()
        const slow = yield* Binding.make(Desk, {
          callObjects: true,
          issue: (call) => Effect.map(Deferred.await(gate), () => void (call.remote = remote(told)))
        })
        const call = yield* Call.make(slow)
        const beginning = yield* start(Effect.flip(Call.begin(call, "Rest")))
        yield* Call.release(call, { server })
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual((yield* Fiber.join(beginning))._tag, "InvalidAsyncHandle")
        assert.deepStrictEqual(told, [server === "stop" ? "orphan" : "goOn"])
      }))
  }

  it.effect("a chain of 800 joiners, each of which releases the next call: all end", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const calls = yield* Effect.replicateEffect(Call.make(desk), 800)
      const joining: Array<Fiber.Fiber<void, string>> = []
      for (const [i, call] of calls.entries()) {
        const pending = yield* Call.begin(call, "Hold", "a")
        const next = calls[i + 1]
        joining.push(
          yield* start(Effect.flatMap(
            Effect.flip(Call.join(pending)),
            () => next === undefined ? Effect.void : Call.release(next)
          ))
        )
      }
      yield* Call.release(calls[0]!)
      yield* Fiber.joinAll(joining)
    }))
})

describe("evidence", () => {
  it.effect("evidence: tells its method and interface, and is told from everything else", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const call = yield* Call.make(desk)
      const pending = yield* Call.begin(call, "Answer", "a")
      assert.strictEqual(pending.method, "Answer")
      assert.strictEqual(pending.interface, Desk)
      assert.isTrue(Call.isPending(pending))
      assert.isTrue(Call.isCall(call))
      assert.isFalse(Call.isPending(call))
      assert.isFalse(Call.isCall(pending))
      assert.isFalse(Call.isPending(undefined))
    }))

  it.effect("evidence of different methods, from waitAny and from one queue: is finished as it is", () =>
    Effect.gen(function* () {
      const client = Call.client(yield* makeFlows)
      const plain = yield* client.Plain.begin(1)
      const nothing = yield* client.Nothing.begin()
      const first = yield* Synchronize.waitAny([plain, nothing])
      assert.strictEqual(yield* Call.finish(first), 2)
      const queue = yield* Queue.unbounded<Call.Completion<string, typeof plain | typeof nothing>>()
      yield* Call.notify(nothing, queue, "nothing")
      const { pending } = yield* Queue.take(queue)
      assert.strictEqual(pending.method, "Nothing")
      assert.isUndefined(yield* Call.join(pending))
    }))

  it.effect("a bounded queue: notify refuses it, because it can lose completions", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const pending = yield* Call.start(desk, "Hold", "a")
      for (const make of [Queue.bounded, Queue.sliding, Queue.dropping]) {
        const queue = yield* make<Call.Completion<string, typeof pending>>(8)
        assert.include(String(yield* Effect.exit(Call.notify(pending, queue, "a"))), "expected an unbounded queue")
      }
    }))

  it.effect("call, evidence and binding print their names and state, and nothing else", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const call = yield* Call.make(desk)
      const pending = yield* Call.begin(call, "Hold", "secret")
      const expected: Array<[object, object]> = [
        [call, { _id: "callisto/Call", interface: "Desk", state: "pending" }],
        [pending, { _id: "callisto/Pending", interface: "Desk", method: "Hold", state: "pending" }],
        [desk, { _id: "callisto/Binding", interface: "Desk" }]
      ]
      for (const [object, json] of expected) {
        assert.deepStrictEqual(JSON.parse(JSON.stringify(object)), json)
        assert.deepStrictEqual(JSON.parse(String(object)), json)
        assert.strictEqual(inspect(object), inspect(json))
      }
    }))
})

describe("cancel", () => {
  const begunHold = Effect.gen(function* () {
    const { desk } = yield* makeDesk({ cancellation: "cooperative" })
    return yield* Call.start(desk, "Hold", "a")
  })

  const monotonic = (offset: { wall: bigint; monotonic: bigint }) =>
    Effect.map(Clock.Clock, (clock): Clock.Clock => ({
      sleep: () => Effect.never,
      currentTimeMillis: clock.currentTimeMillis,
      currentTimeNanos: clock.currentTimeNanos,
      currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + Number(offset.wall / 1_000_000n),
      currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe() + offset.wall,
      monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe() + offset.monotonic,
      monotonicTimeNanos: Effect.sync(() => clock.monotonicTimeNanosUnsafe() + offset.monotonic)
    }))

  it.effect("cancel with 0 after a deadline whose timer is late: takes effect", () =>
    Effect.gen(function* () {
      const pending = yield* begunHold
      const offset = { wall: 0n, monotonic: 0n }
      const clock = yield* monotonic(offset)
      yield* Effect.gen(function* () {
        yield* Call.cancel(pending, { timeout: "5 millis" })
        offset.monotonic = 20_000_000n
        yield* Call.cancel(pending, { timeout: 0 })
      }).pipe(Effect.provideService(Clock.Clock, clock))
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallCancelled")
    }))

  it.effect("wall clock set back by an hour, then a shorter cancel: takes effect; a longer one is refused", () =>
    Effect.gen(function* () {
      const pending = yield* begunHold
      const offset = { wall: 0n, monotonic: 0n }
      const clock = yield* monotonic(offset)
      yield* Effect.gen(function* () {
        yield* Call.cancel(pending, { timeout: "10 seconds" })
        offset.wall = -3_600_000_000_000n
        assert.strictEqual(yield* refusal(Call.cancel(pending, { timeout: "20 seconds" })), "CallCancelled")
        offset.wall = 3_600_000_000_000n
        yield* Call.cancel(pending, { timeout: "5 seconds" })
      }).pipe(Effect.provideService(Clock.Clock, clock))
    }))

  it.effect("cancel timeout of 30 days: gives up then, and not before", () =>
    Effect.gen(function* () {
      const pending = yield* begunHold
      yield* Call.cancel(pending, { timeout: "30 days" })
      yield* TestClock.adjust("29 days")
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallPending")
      yield* TestClock.adjust("1 day")
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallCancelled")
    }))

  for (const value of [NaN, -1] as const) {
    it.effect(`cancel timeout of ${value}: a TypeError that names the option, and the call is untouched`, () =>
      Effect.gen(function* () {
        const pending = yield* begunHold
        const { desk } = yield* makeDesk()
        const cancelled = yield* Effect.exit(Call.cancel(pending, { timeout: value }))
        assert.include(String(cancelled), `Call.cancel: timeout is out of range, got ${value}`)
        assert.strictEqual(yield* refusal(Call.finish(pending)), "CallPending")
        const invoked = yield* Effect.exit(Call.invoke(desk, "Rest", { cancelTimeout: value }))
        assert.include(String(invoked), `Call.invoke: cancelTimeout is out of range, got ${value}`)
        const bound = yield* Effect.exit(Binding.make(Desk, desk.channel, { cancelTimeout: value }))
        assert.include(String(bound), `Binding to Desk: cancelTimeout is out of range, got ${value}`)
      }))
  }
})

/** A server's side that notes what it is told. */
const remote = (told: Array<string>, others: Partial<Channel.Remote> = {}): Channel.Remote => ({
  dispatched: true,
  cancelDisabled: false,
  cancel: () => void told.push("cancel"),
  discard: () => void told.push("discard"),
  orphan: () => void told.push("orphan"),
  goOn: () => void told.push("goOn"),
  ...others
})

/** A binding over a channel that issues calls at once, and notes what the server is told. */
const makeChannel = Effect.fnUntraced(function* (
  options: Omit<Partial<Channel.Channel>, "issue"> & { readonly remote?: Partial<Channel.Remote> } = {}
) {
  const told: Array<string> = []
  const issued: Array<Channel.Outgoing> = []
  const binding = yield* Binding.make(Desk, {
    callObjects: true,
    ...options,
    issue: (call) => {
      call.remote = remote(told, options.remote)
      issued.push(call)
      return undefined
    }
  })
  const call = yield* Call.make(binding)
  return { binding, call, told, issued }
})

describe("a channel", () => {
  const idle = { _tag: "Idle" }

  it.effect("issue throws: begin dies, and the object is idle", () =>
    Effect.gen(function* () {
      let broken = true
      const binding = yield* Binding.make(Desk, {
        callObjects: true,
        issue: (call) => {
          if (broken) throw new Error("a bug of the channel")
          call.reply(Exit.succeed("a"))
          return undefined
        }
      })
      const call = yield* Call.make(binding)
      const died = yield* Effect.exit(Call.begin(call, "Answer", "a"))
      assert.include(String(died), "a bug of the channel")
      assert.deepStrictEqual(yield* Call.state(call), idle)
      assert.include(String(yield* Effect.exit(Call.invoke(binding, "Answer", "a"))), "a bug of the channel")
      broken = false
      assert.strictEqual(yield* Call.join(yield* Call.begin(call, "Answer", "a")), "a")
    }))

  it.effect("issue replies and then throws: begin dies, and the object is idle", () =>
    Effect.gen(function* () {
      const binding = yield* Binding.make(Desk, {
        callObjects: true,
        issue: (call) => {
          call.reply(Exit.succeed("a"))
          throw new Error("a bug of the channel")
        }
      })
      const call = yield* Call.make(binding)
      assert.isTrue(Exit.hasDies(yield* Effect.exit(Call.begin(call, "Answer", "a"))))
      assert.deepStrictEqual(yield* Call.state(call), idle)
      assert.isTrue(Exit.hasDies(yield* Effect.exit(Call.invoke(binding, "Answer", "a"))))
    }))

  it.effect("effect of issue dies: begin dies, the object is idle, and its waiters are refused", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const gate = yield* Deferred.make<void>()
      const binding = yield* Binding.make(Desk, {
        callObjects: true,
        issue: (call) => {
          call.remote = remote(told)
          return Effect.andThen(Deferred.await(gate), Effect.die("a bug of the channel"))
        }
      })
      const call = yield* Call.make(binding)
      const beginning = yield* start(Effect.exit(Call.begin(call, "Answer", "a")))
      const pending = Option.getOrThrow(yield* Call.pending(call))
      const waiting = yield* start(refusal(Call.wait(pending)))
      yield* Call.cancel(pending, { timeout: "1 hour" })
      yield* Deferred.succeed(gate, undefined)
      assert.isTrue(Exit.hasDies(yield* Fiber.join(beginning)))
      assert.deepStrictEqual(yield* Call.state(call), idle)
      assert.strictEqual(yield* Fiber.join(waiting), "CallComplete")
      assert.deepStrictEqual(told, ["cancel", "orphan"])
    }))

  it.effect("replies twice: the first counts", () =>
    Effect.gen(function* () {
      const { call, issued } = yield* makeChannel()
      const pending = yield* Call.begin(call, "Answer", "a")
      issued[0]!.reply(Exit.succeed("first"))
      issued[0]!.reply(Exit.succeed("second"))
      assert.strictEqual(yield* Call.finish(pending), "first")
      issued[0]!.reply(Exit.succeed("third"))
      assert.deepStrictEqual(yield* Call.state(call), idle)
      const next = yield* Call.begin(call, "Answer", "b")
      issued[0]!.reply(Exit.succeed("fourth"))
      assert.strictEqual(yield* refusal(Call.finish(next)), "CallPending")
    }))

  it.effect("replies before issue has returned: the call is complete when begin returns", () =>
    Effect.gen(function* () {
      const binding = yield* Binding.make(Desk, {
        callObjects: true,
        issue: (call) => {
          call.reply(Exit.succeed("at once"))
          return Effect.void
        }
      })
      assert.strictEqual(yield* Call.finish(yield* Call.start(binding, "Answer", "a")), "at once")
      assert.strictEqual(yield* Call.invoke(binding, "Answer", "a"), "at once")
    }))

  it.effect("replies after the release: nothing happens", () =>
    Effect.gen(function* () {
      const { call, issued, told } = yield* makeChannel()
      yield* Call.begin(call, "Answer", "a")
      yield* Call.release(call)
      issued[0]!.reply(Exit.succeed("late"))
      assert.deepStrictEqual(told, ["orphan"])
      assert.strictEqual(yield* refusal(Call.state(call)), "InvalidAsyncHandle")
    }))

  it.effect("orphan throws: the release dies, and its waiters are refused all the same", () =>
    Effect.gen(function* () {
      const throws = () => {
        throw new Error("a bug of the channel")
      }
      const { call } = yield* makeChannel({ remote: { orphan: throws } })
      const pending = yield* Call.begin(call, "Answer", "a")
      const waiting = yield* start(refusal(Call.join(pending)))
      assert.isTrue(Exit.hasDies(yield* Effect.exit(Call.release(call))))
      assert.strictEqual(yield* Fiber.join(waiting), "InvalidAsyncHandle")
    }))

  it.effect("cancel is an effect: Call.cancel waits until the request is recorded", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { call } = yield* makeChannel({ remote: { cancel: () => Deferred.await(gate) } })
      const pending = yield* Call.begin(call, "Answer", "a")
      const cancelling = yield* start(Call.cancel(pending, { timeout: "1 hour" }))
      assert.isTrue(yield* isWaiting(cancelling))
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Pending", cancelRequested: true })
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(cancelling)
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Pending", cancelRequested: true })
    }))

  it.effect("cancel fails: Call.cancel fails, no timer is left, and the cancel can be issued again", () =>
    Effect.gen(function* () {
      let lost = true
      const told: Array<string> = []
      const failure = new Status.RpcTransportError({ status: 1726, detail: "the database is down" })
      const cancel = () => lost ? Effect.fail(failure) : Effect.sync(() => void told.push("cancel"))
      const { call } = yield* makeChannel({ remote: { cancel } })
      const pending = yield* Call.begin(call, "Answer", "a")
      assert.strictEqual(yield* refusal(Call.cancel(pending, { timeout: "1 second" })), "RpcTransportError")
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Pending", cancelRequested: false })
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallPending")
      lost = false
      yield* Call.cancel(pending, { timeout: "1 second" })
      assert.deepStrictEqual(told, ["cancel"])
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallCancelled")
    }))

  it.effect("cancel throws: Call.cancel dies, and the call is pending as before", () =>
    Effect.gen(function* () {
      const cancel = () => {
        throw new Error("a bug of the channel")
      }
      const { call } = yield* makeChannel({ remote: { cancel } })
      const pending = yield* Call.begin(call, "Answer", "a")
      assert.isTrue(Exit.hasDies(yield* Effect.exit(Call.cancel(pending, { timeout: "1 second" }))))
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Pending", cancelRequested: false })
    }))

  const Tenant = Context.Reference<string>("test/Tenant", { defaultValue: () => "nobody" })
  const Other = Context.Reference<string>("test/Other", { defaultValue: () => "none" })

  it.effect("names references: a call carries those that the caller has set", () =>
    Effect.gen(function* () {
      const { binding, issued } = yield* makeChannel({ references: [Tenant, Other] })
      yield* Call.start(binding, "Answer", "a").pipe(Effect.provideService(Tenant, "me"))
      const { context } = issued[0]!
      assert.strictEqual(Context.get(context, Tenant), "me")
      assert.deepStrictEqual([...context.mapUnsafe.keys()], [Tenant.key])
    }))

  it.effect("names no references: a call carries the empty context", () =>
    Effect.gen(function* () {
      const { binding, issued } = yield* makeChannel()
      yield* Call.start(binding, "Answer", "a").pipe(Effect.provideService(Tenant, "me"))
      assert.strictEqual(issued[0]!.context.mapUnsafe.size, 0)
    }))
})

describe("a channel that takes results", () => {
  const makeTaking = Effect.gen(function* () {
    const takes: Array<string> = []
    let refusal: Status.CallComplete | Status.RpcTransportError | undefined
    const made = yield* makeChannel({
      take: ({ operation }) =>
        Effect.suspend(() => {
          takes.push(operation.name)
          return refusal === undefined ? Effect.void : Effect.fail(refusal)
        })
    })
    const refuse = (error: typeof refusal) => refusal = error
    return { ...made, takes, refuse }
  })

  it.effect("finish and join: take before they consume, and again by the same evidence", () =>
    Effect.gen(function* () {
      const { call, issued, takes } = yield* makeTaking
      const pending = yield* Call.begin(call, "Answer", "a")
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallPending")
      assert.deepStrictEqual(takes, [])
      issued[0]!.reply(Exit.succeed("taken"))
      assert.strictEqual(yield* Call.finish(pending), "taken")
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
      assert.strictEqual(yield* Call.finish(pending), "taken")
      assert.strictEqual(yield* Call.join(pending), "taken")
      assert.deepStrictEqual(takes, ["Answer", "Answer", "Answer"])
      yield* Call.begin(call, "Answer", "b")
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallComplete")
      assert.strictEqual(takes.length, 3)
    }))

  it.effect("an abort: given again, as a result is", () =>
    Effect.gen(function* () {
      const { binding, issued } = yield* makeTaking
      const pending = yield* Call.start(binding, "Answer", "a")
      issued[0]!.reply(Exit.fail(new Denied({ who: "server" })))
      assert.strictEqual(yield* refusal(Call.join(pending)), "Denied")
      assert.strictEqual(yield* refusal(Call.join(pending)), "Denied")
    }))

  it.effect("the take is lost: finish fails, consumes nothing, and can be repeated", () =>
    Effect.gen(function* () {
      const { call, issued, refuse } = yield* makeTaking
      const pending = yield* Call.begin(call, "Answer", "a")
      issued[0]!.reply(Exit.succeed("taken"))
      refuse(new Status.RpcTransportError({ status: 1726, detail: "the database is down" }))
      const error = yield* Effect.flip(Call.finish(pending))
      assert.include(error.message, "Desk.Answer")
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Completed", kind: "replied" })
      refuse(undefined)
      assert.strictEqual(yield* Call.join(pending), "taken")
    }))

  it.effect("result taken by another: finish fails with CallComplete, and the object is idle", () =>
    Effect.gen(function* () {
      const { call, issued, refuse } = yield* makeTaking
      const pending = yield* Call.begin(call, "Answer", "a")
      issued[0]!.reply(Exit.succeed("taken"))
      refuse(new Status.CallComplete())
      assert.strictEqual(yield* refusal(Call.finish(pending)), "CallComplete")
      assert.deepStrictEqual(yield* Call.state(call), { _tag: "Idle" })
      yield* Call.begin(call, "Answer", "b")
    }))

  it.effect("one-shot form over a channel that takes results: takes, too", () =>
    Effect.gen(function* () {
      const { binding, issued, takes } = yield* makeTaking
      const invoking = yield* start(Call.invoke(binding, "Answer", "a"))
      issued[0]!.reply(Exit.succeed("taken"))
      assert.strictEqual(yield* Fiber.join(invoking), "taken")
      assert.deepStrictEqual(takes, ["Answer"])
    }))

  it.effect("a released object: takes nothing", () =>
    Effect.gen(function* () {
      const { call, issued, takes } = yield* makeTaking
      const pending = yield* Call.begin(call, "Answer", "a")
      issued[0]!.reply(Exit.succeed("taken"))
      yield* Call.finish(pending)
      yield* Call.release(call)
      assert.strictEqual(yield* refusal(Call.finish(pending)), "InvalidAsyncHandle")
      assert.strictEqual(takes.length, 1)
    }))
})

describe("a failure", () => {
  const location = { interface: "Desk", method: "Answer", address: "local" }

  it.effect("failure of Status: names its call in fields and message", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const cause = yield* Effect.flip(Effect.sandbox(Call.invoke(desk, "Answer", "fault")))
      const error = Cause.findErrorOption(cause)
      assert.include(Option.getOrThrow(error), location)
      assert.match(Option.getOrThrow(error).message, /^Desk\.Answer at local: /)
    }))

  it.effect("declared abort: its class is untouched, annotations and stack name the call", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const pending = yield* Call.start(desk, "Answer", "deny")
      const cause = yield* Effect.flip(Effect.sandbox(Call.join(pending)))
      assert.deepStrictEqual({ ...Option.getOrThrow(Cause.findErrorOption(cause)) }, {
        ...new Denied({ who: "manager" })
      })
      assert.deepStrictEqual(
        Context.get(Cause.annotations(cause) as Context.Context<Call.FailedCall>, Call.FailedCall),
        location
      )
      assert.include(Cause.pretty(cause), "at Desk.Answer (local)")
    }))

  it.effect("failure in a traced function: its stack begins there", () =>
    Effect.gen(function* () {
      const { desk } = yield* makeDesk()
      const caller = Effect.fn("caller")(function* () {
        yield* Call.invoke(desk, "Answer", "fault")
      })
      const cause = yield* Effect.flip(Effect.sandbox(caller()))
      assert.match(Cause.pretty(cause).split("\n")[1]!, /at caller .*callObjects\.test/)
    }))

  it.effect("begin fails: the failure names its call", () =>
    Effect.gen(function* () {
      const binding = yield* Binding.make(Desk, {
        callObjects: true,
        address: "somewhere",
        issue: () => Effect.fail(new Status.RpcTransportError({ status: 1722, detail: "no server" }))
      })
      const error = yield* Effect.flip(Call.start(binding, "Answer", "a"))
      assert.include(error.message, "Desk.Answer at somewhere")
    }))
})
