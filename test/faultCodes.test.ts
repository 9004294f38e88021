/** A fault has one code, wherever the server is: in this process, in the test kit or behind a network. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { Binding, Call, ContextHandle, Interface, Manager, Pipe, Server, Status, TestKit } from "../mod.ts"
import * as Association from "../src/dcerpc/Association.ts"
import * as Endpoint from "../src/dcerpc/Endpoint.ts"
import * as Memory from "../src/transport/Memory.ts"
import { assertFailure } from "./fixtures.ts"

class EndOfFile extends Schema.TaggedError<EndOfFile>()("EndOfFile", {}) {}

const Drawer = ContextHandle.make("Drawer")

const IFail = Interface.make("Fail", {
  uuid: "0e0f3bb9-6a55-4b7e-8e0e-5d6a1fb4b7a1",
  version: [1, 0],
  methods: {
    Plain: Interface.method({ in: Schema.Number, aborts: [Interface.abort(38, EndOfFile)] }),
    Piped: Interface.method({ in: Schema.Number, outPipe: { data: Pipe.bytes } }),
    Held: Interface.method({ in: { code: Schema.Number, drawer: ContextHandle.nullable(Drawer) } })
  }
})

const fail = (code: number) => Effect.fail(new Status.RpcFault({ code }))

const manager = Manager.make(IFail, { Plain: fail, Piped: fail, Held: ({ code }) => fail(code) })

type Fail = Binding.Binding<typeof IFail>

/** The same server as three clients see it. */
const makeBindings = Effect.fnUntraced(function* (manager: Manager.Manager<typeof IFail, never>) {
  const server = yield* Server.make([manager], { grace: 0 })
  yield* Endpoint.serve(server, "ncacn_memory:[codes]")
  const bindings: ReadonlyArray<Fail> = [
    yield* Binding.local(server, IFail),
    (yield* TestKit.make(manager)).binding,
    yield* Association.bind(IFail, "ncacn_memory:[codes]")
  ]
  return bindings
})

const seen = (
  call: (binding: Fail) => Effect.Effect<unknown, Call.Failure<Interface.Method.Any> | Error>,
  server: Manager.Manager<typeof IFail, never> = manager
) =>
  Effect.gen(function* () {
    const errors = yield* Effect.forEach(yield* makeBindings(server), (binding) => Effect.flip(call(binding)))
    return errors.map((error) => {
      const { _tag, code } = error as { readonly _tag: string; readonly code?: number }
      return code ?? _tag
    })
  }).pipe(Effect.scoped, Effect.provide(Memory.layer))

const everywhere = <A>(value: A) => [value, value, value]

/** What a client sees of a code with which a routine fails, where it is another. */
const changed: ReadonlyMap<number, number> = new Map([[14, 1130], [1715, 1723], [1778, 6]])

const refused = [1722, 1726, 1727, 1818, 1825]

const win32Codes = Array.from(
  new Set([
    5,
    87,
    1460,
    1715,
    1725,
    1753,
    1775,
    1778,
    1783,
    1914,
    0xdeadbeef,
    ...refused,
    ...Status.faults.flatMap(({ rpcStatus }) => rpcStatus ?? [])
  ])
).sort((a, b) => a - b)

describe("a routine that fails with RpcFault", () => {
  for (const code of win32Codes) {
    const expected = refused.includes(code) ? 1726 : changed.get(code) ?? code
    it.effect(`${code}: ${expected} in process, in the test kit and over the network`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* seen((binding) => Call.invoke(binding, "Plain", code)), everywhere(expected))
      }))
  }

  for (const { name, number } of Status.faults) {
    it.effect(`the status ${name}: 1726 in process, in the test kit and over the network`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* seen((binding) => Call.invoke(binding, "Plain", number)), everywhere(1726))
      }))
  }

  it.effect("the code of a declared abort: the abort everywhere", () =>
    Effect.gen(function* () {
      const tags = yield* seen((binding) => Call.invoke(binding, "Plain", 38))
      assert.deepStrictEqual(tags, everywhere("EndOfFile"))
    }))

  it.effect("the code of a pipe's error in a method with pipes: that error everywhere", () =>
    Effect.gen(function* () {
      const piped = (binding: Fail) => Stream.runDrain(Call.stream(binding, "Piped", 1916))
      assert.deepStrictEqual(yield* seen(piped), everywhere("PipeClosed"))
    }))

  const pipeErrors = [
    ["PipeDisciplineError", 1917, new Status.PipeDisciplineError({ pipe: "data" })],
    ["PipeClosed", 1916, new Status.PipeClosed({ pipe: "data" })],
    ["PipeEmpty", 1918, new Status.PipeEmpty({ pipe: "data" })],
    ["WrongPipeOrder", 1831, new Status.WrongPipeOrder({ pipe: "data" })]
  ] as const
  for (const [tag, code, error] of pipeErrors) {
    const failing = Manager.make(IFail, {
      Plain: () => Effect.fail(error as never),
      Piped: () => Effect.fail(error),
      Held: () => Effect.void
    })
    it.effect(`${tag} in a method without pipes: RpcFault ${code} everywhere`, () =>
      Effect.gen(function* () {
        const codes = yield* seen((binding) => Call.invoke(binding, "Plain", 0), failing)
        assert.deepStrictEqual(codes, everywhere(code))
      }))

    it.effect(`${tag} in a method with pipes: that error everywhere`, () =>
      Effect.gen(function* () {
        const tags = yield* seen((binding) => Stream.runDrain(Call.stream(binding, "Piped", 0)), failing)
        assert.deepStrictEqual(tags, everywhere(tag))
      }))
  }

  for (const code of [6, 1778]) {
    it.effect(`${code} in a method with a context handle: ContextMismatch everywhere`, () =>
      Effect.gen(function* () {
        const tags = yield* seen((binding) => Call.invoke(binding, "Held", { code, drawer: null }))
        assert.deepStrictEqual(tags, everywhere("ContextMismatch"))
      }))
  }
})

describe("a fault that a routine passes on", () => {
  const passing = (fault: Status.RpcFault) =>
    Effect.gen(function* () {
      const server = yield* Server.make([
        Manager.make(IFail, { Plain: () => Effect.fail(fault), Piped: fail, Held: ({ code }) => fail(code) })
      ])
      yield* Endpoint.serve(server, "ncacn_memory:[passing]")
      const bindings = [yield* Binding.local(server, IFail), yield* Association.bind(IFail, "ncacn_memory:[passing]")]
      return yield* Effect.forEach(bindings, (binding) => Effect.flip(Call.invoke(binding, "Plain", 0)))
    }).pipe(Effect.scoped, Effect.provide(Memory.layer))

  it.effect("busy, did not execute: the same code, and nothing about the own call of the routine", () =>
    Effect.gen(function* () {
      const fault = new Status.RpcFault({
        code: 1723,
        wireCode: 0x1c010014,
        didNotExecute: true,
        interface: "Bank",
        method: "Check",
        address: "local"
      })
      const [local, network] = yield* passing(fault)
      assertFailure(local, new Status.RpcFault({ code: 1723 }))
      assert.deepInclude(network, { code: 1723, wireCode: 0x1c010014, didNotExecute: false })
    }))

  it.effect("a protocol error of another connection: 1726", () =>
    Effect.gen(function* () {
      const errors = yield* passing(new Status.RpcFault({ code: 1728, wireCode: 0x1c01000b }))
      assert.deepStrictEqual(errors.map((error) => (error as Status.RpcFault).code), [1726, 1726])
    }))
})

describe("TestKit.fault", () => {
  const injected = (number: number) =>
    Effect.gen(function* () {
      const { binding, inject } = yield* TestKit.make(manager)
      yield* inject("Plain", TestKit.fault(number))
      return yield* Effect.flip(Call.invoke(binding, "Plain", 0))
    }).pipe(Effect.scoped)

  for (const { name, number, rpcStatus } of Status.faults.filter(({ rpcStatus }) => rpcStatus !== 1818)) {
    it.effect(`${name}: the code of a network client, with the status beside it`, () =>
      Effect.gen(function* () {
        const code = rpcStatus ?? number
        assertFailure(
          yield* injected(number),
          new Status.RpcFault({ code, ...(code === number ? {} : { wireCode: number }), didNotExecute: true })
        )
      }))
  }

  for (const number of [1818, 0x1c00000d]) {
    it.effect(`${number}: CallCancelled, as over the network`, () =>
      Effect.gen(function* () {
        assertFailure(yield* injected(number), new Status.CallCancelled({ didNotExecute: true }))
      }))
  }

  it.effect("the code of a declared abort: no abort, for the manager did not run", () =>
    Effect.gen(function* () {
      assertFailure(yield* injected(38), new Status.RpcFault({ code: 38, didNotExecute: true }))
    }))
})
