import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Queue, Schema, Scope } from "effect"
import { Binding, Call, Interface, Manager, Server, ServerCall } from "../mod.ts"
import { Desk, isWaiting, Job1, makeDesk, makeJob, outcome, refusal, settle, start } from "./fixtures.ts"

describe("a binding in the same process", () => {
  it.effect("server without the interface: bind refuses", () =>
    Effect.gen(function* () {
      const { server } = yield* makeDesk()
      const error = yield* Effect.flip(Binding.local(server, Job1))
      assert.deepInclude(error, { _tag: "NoInterface", uuid: Job1.uuid })
      assert.include(error.message, "Job1")
    }))

  it.effect("object that is no UUID: bind refuses it by value", () =>
    Effect.gen(function* () {
      const { server } = yield* makeDesk()
      const exit = yield* Effect.exit(Binding.local(server, Desk, { object: "the first" }))
      const defect = exit._tag === "Failure" ? Cause.squash(exit.cause) : undefined
      assert.instanceOf(defect, TypeError)
      assert.include(String(defect), "the first")
    }))

  it.effect("scope of a binding closes: its pending calls end with 1726", () =>
    Effect.gen(function* () {
      const { held, seen, server } = yield* makeDesk()
      const bound = yield* Scope.fork(yield* Effect.scope)
      const desk = yield* Scope.provide(Binding.local(server, Desk), bound)
      const [stay, hold] = [
        yield* Call.begin(yield* Call.make(desk), "Stay", "a"),
        yield* Call.begin(yield* Call.make(desk), "Hold", "b")
      ]
      const joining = yield* start(Call.join(stay))
      yield* Scope.close(bound, Exit.void)
      assert.deepStrictEqual(yield* outcome(Fiber.join(joining)), { failure: "RpcTransportError" })
      assert.deepInclude(yield* Effect.flip(Call.finish(hold)), { _tag: "RpcTransportError", status: 1726 })
      yield* settle
      assert.include(seen, "Stay was interrupted")
      assert.strictEqual(yield* ServerCall.awaitCancel(yield* Queue.take(held)), "Disconnected")
      assert.deepStrictEqual(yield* Server.calls(server), [])
    }))

  it.effect("scope of a binding closes: calls of other bindings to the same server go on", () =>
    Effect.gen(function* () {
      const { desk, held, server } = yield* makeDesk()
      const bound = yield* Scope.fork(yield* Effect.scope)
      yield* Scope.provide(Binding.local(server, Desk), bound)
      const pending = yield* Call.begin(yield* Call.make(desk), "Hold", "a")
      yield* Scope.close(bound, Exit.void)
      yield* ServerCall.complete(yield* Queue.take(held), "reply")
      assert.strictEqual(yield* Call.finish(pending), "reply")
    }))

  it.effect("scope of a binding closes: a one-shot call ends with 1726", () =>
    Effect.gen(function* () {
      const { server } = yield* makeDesk()
      const bound = yield* Scope.fork(yield* Effect.scope)
      const desk = yield* Scope.provide(Binding.local(server, Desk), bound)
      const invoking = yield* start(Call.invoke(desk, "Stay", "a"))
      assert.isTrue(yield* isWaiting(invoking))
      yield* Scope.close(bound, Exit.void)
      assert.deepStrictEqual(yield* outcome(Fiber.join(invoking)), { failure: "RpcTransportError" })
    }))

  it.effect("many calls on one binding: they run side by side, and finish in any order", () =>
    Effect.gen(function* () {
      const gates: Array<Deferred.Deferred<string>> = []
      const { job } = yield* makeJob(() =>
        Effect.flatMap(Deferred.make<string>(), (gate) => (gates.push(gate), Deferred.await(gate)))
      )
      const [a, b] = [
        yield* Call.begin(yield* Call.make(job), "Run", "a"),
        yield* Call.begin(yield* Call.make(job), "Run", "b")
      ]
      yield* Deferred.succeed(gates[1]!, "b")
      assert.strictEqual(yield* Call.join(b), "b")
      assert.strictEqual(yield* refusal(Call.finish(a)), "CallPending")
      yield* Deferred.succeed(gates[0]!, "a")
      assert.strictEqual(yield* Call.join(a), "a")
    }))
})

describe("a binding that validates", () => {
  const Sums = Interface.make("Sums", {
    uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1f01",
    version: [1, 0],
    methods: { Add: Interface.method({ in: { a: Schema.Int, b: Schema.Int }, out: Schema.Int }) }
  })
  type Add = ServerCall.ServerCall<(typeof Sums)["methods"]["Add"]>

  const makeSums = Effect.fnUntraced(function* (validate: boolean) {
    const held = yield* Queue.unbounded<Add>()
    const inputs: Array<unknown> = []
    const manager = Manager.make(Sums, {
      Add: Manager.handOff((input, call) => {
        inputs.push(input)
        return Queue.offer(held, call)
      })
    })
    const server = yield* Server.make([manager])
    const sums = yield* Binding.local(server, Sums, { validate })
    return { held, inputs, server, sums, call: yield* Call.make(sums) }
  })

  for (
    const [what, input] of Object.entries({
      "a value of another type": { a: "1", b: 2 },
      "a number that is no integer": { a: 1.5, b: 2 },
      "a missing field": { a: 1 },
      "nothing": undefined
    })
  ) {
    it.effect(`validating binding, ${what}: begin fails with BadStubData, and the manager never sees the call`, () =>
      Effect.gen(function* () {
        const { call, held, inputs, sums } = yield* makeSums(true)
        const error = yield* Effect.flip(Call.begin(call, "Add", input as never))
        assert.strictEqual(error._tag, "BadStubData")
        assert.include(error.message, "Sums.Add")
        assert.strictEqual(yield* refusal(Call.invoke(sums, "Add", input as never)), "BadStubData")
        assert.deepStrictEqual(inputs, [])
        const pending = yield* Call.begin(call, "Add", { a: 1, b: 2 })
        yield* ServerCall.complete(yield* Queue.take(held), 3)
        assert.strictEqual(yield* Call.finish(pending), 3)
      }))
  }

  it.effect("validating binding, bad out parameters: the client gets RpcFault 1783, and complete gets BadStubData", () =>
    Effect.gen(function* () {
      const { call, held, server } = yield* makeSums(true)
      const pending = yield* Call.begin(call, "Add", { a: 1, b: 2 })
      const serverCall = yield* Queue.take(held)
      const error = yield* Effect.flip(ServerCall.complete(serverCall, 1.5))
      assert.strictEqual(error._tag, "BadStubData")
      assert.include(error.message, "Sums.Add")
      assert.deepInclude(yield* Effect.flip(Call.finish(pending)), { _tag: "RpcFault", code: 1783 })
      assert.strictEqual(yield* refusal(ServerCall.complete(serverCall, 3)), "InvalidAsyncHandle")
      assert.deepStrictEqual(yield* Server.calls(server), [])
    }))

  it.effect("validating binding, routine returns bad out parameters: the client gets RpcFault 1783", () =>
    Effect.gen(function* () {
      const manager = Manager.make(Sums, { Add: ({ a, b }) => Effect.succeed(a < 0 ? "negative" as never : a + b) })
      const sums = yield* Binding.local(yield* Server.make([manager]), Sums, { validate: true })
      const call = yield* Call.make(sums)
      const pending = yield* Call.begin(call, "Add", { a: -1, b: 0 })
      assert.deepInclude(yield* Effect.flip(Call.join(pending)), { _tag: "RpcFault", code: 1783 })
      assert.strictEqual(yield* Call.join(yield* Call.begin(call, "Add", { a: 1, b: 2 })), 3)
    }))

  it.effect("validating binding, input with a field that the schema lacks: the field is left out", () =>
    Effect.gen(function* () {
      const { call, inputs } = yield* makeSums(true)
      const input = { a: 1, b: 2, secret: 3 }
      yield* Call.begin(call, "Add", input)
      assert.deepStrictEqual(inputs[0], { a: 1, b: 2 } as never)
    }))

  for (const handedOff of [false, true]) {
    it.effect(`result of a ${handedOff ? "hand-off" : "plain"} routine with a field that the schema lacks: arrives without it`, () =>
      Effect.gen(function* () {
        const Users = Interface.make("Users", {
          uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1d07",
          version: [1, 0],
          methods: { Find: Interface.method({ out: { name: Schema.String } }) }
        })
        const row = { name: "alice", passwordHash: "a secret of the server" }
        const manager = Manager.make(Users, {
          Find: handedOff
            ? Manager.handOff((_, call: ServerCall.Of<typeof Users, "Find">) =>
              Effect.orDie(ServerCall.complete(call, row))
            )
            : () => Effect.succeed(row)
        })
        const server = yield* Server.make([manager])
        const users = yield* Binding.local(server, Users, { validate: true })
        assert.deepStrictEqual(yield* Call.invoke(users, "Find"), { name: "alice" })
        const call = yield* Call.make(users)
        assert.deepStrictEqual(yield* Call.join(yield* Call.begin(call, "Find")), { name: "alice" })
      }))
  }

  it.effect("validating binding: checks values, not their encoded form", () =>
    Effect.gen(function* () {
      const Dates = Interface.make("Dates", {
        uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1f02",
        version: [1, 0],
        methods: { Pass: Interface.method({ in: Schema.DateTimeUtcFromString, out: Schema.NumberFromString }) }
      })
      const manager = Manager.make(Dates, { Pass: (date) => Effect.succeed(date.epochMilliseconds) })
      const dates = yield* Binding.local(yield* Server.make([manager]), Dates, { validate: true })
      const epoch = yield* Schema.decodeEffect(Schema.DateTimeUtcFromString)("1970-01-01T00:00:01.000Z")
      assert.strictEqual(yield* Call.invoke(dates, "Pass", epoch), 1000)
      assert.strictEqual(yield* refusal(Call.invoke(dates, "Pass", "1970-01-01T00:00:01.000Z" as never)), "BadStubData")
    }))

  it.effect("validating binding, server with another description: both descriptions are checked", () =>
    Effect.gen(function* () {
      const describe = <In extends Interface.Parameters, Out extends Interface.Parameters>(input: In, out: Out) =>
        Interface.make("Numbers", {
          uuid: "5d0a1c9e-33b7-4a52-8f0b-2f6f8f7c1f03",
          version: [1, 0],
          methods: { Half: Interface.method({ in: input, out }) }
        })
      const manager = Manager.make(describe(Schema.Int, Schema.Number), { Half: (n) => Effect.succeed(n / 2) })
      const server = yield* Server.make([manager])
      const numbers = yield* Binding.local(server, describe(Schema.Number, Schema.Int), { validate: true })
      assert.strictEqual(yield* Call.invoke(numbers, "Half", 2), 1)
      assert.strictEqual(yield* refusal(Call.invoke(numbers, "Half", 1.5)), "BadStubData")
      const refused = yield* Effect.flip(Call.invoke(numbers, "Half", 3))
      assert.deepInclude(refused, { _tag: "RpcTransportError", status: 1726, didNotExecute: false })
      assert.include(refused.message, "the client cannot read the response: Expected an integer")
    }))

  it.effect("validating binding, an abort: is not checked", () =>
    Effect.gen(function* () {
      const { server } = yield* makeDesk()
      const desk = yield* Binding.local(server, Desk, { validate: true })
      assert.strictEqual(yield* refusal(Call.invoke(desk, "Answer", "deny")), "Denied")
    }))

  it.effect("binding without validate: does not check", () =>
    Effect.gen(function* () {
      const { call, held, inputs } = yield* makeSums(false)
      const pending = yield* Call.begin(call, "Add", "anything" as never)
      yield* ServerCall.complete(yield* Queue.take(held), "anything" as never)
      const result: unknown = yield* Call.finish(pending)
      assert.strictEqual(result, "anything")
      assert.deepStrictEqual(inputs, ["anything"])
    }))
})

describe("a binding as a service", () => {
  it.effect("binding as a service: is found in the context under its key", () =>
    Effect.gen(function* () {
      const { server } = yield* makeDesk()
      const [One, Two] = [Binding.Service("test/One", Desk), Binding.Service("test/Two", Desk)]
      const both = Effect.gen(function* () {
        const [one, two] = [yield* One, yield* Two]
        assert.notStrictEqual<unknown>(one, two)
        return `${yield* Call.invoke(one, "Answer", "a")}, ${yield* Call.invoke(two, "Answer", "b")}`
      })
      const provided = both.pipe(Effect.provide(One.local(server)), Effect.provide(Two.local(server)))
      assert.strictEqual(yield* provided, "answer to a, answer to b")
    }))

  it.effect("binding as a service, server without the interface: is refused", () =>
    Effect.gen(function* () {
      const { server } = yield* makeDesk()
      const Other = Binding.Service("test/Other", Job1)
      assert.strictEqual(yield* refusal(Effect.provide(Other, Other.local(server))), "NoInterface")
    }))

  it.effect("binding as a service: takes the options of a binding", () =>
    Effect.gen(function* () {
      const { server } = yield* makeDesk()
      const Checked = Binding.Service("test/Checked", Desk)
      const program = Effect.flatMap(Checked, (desk) => Call.invoke(desk, "Answer", 1 as never))
      assert.strictEqual(
        yield* refusal(Effect.provide(program, Checked.local(server, { validate: true }))),
        "BadStubData"
      )
    }))
})
