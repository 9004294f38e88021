/**
 * Who may call a manager: levels, anonymous callers, access checks, and the caller as routines see it.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, type Exit, Fiber, Logger, Schema, Scope } from "effect"
import { Binding, Call, type Channel, Interface, Manager, Server, ServerCall, Status, TestKit } from "../mod.ts"

const IVault = Interface.make("IVault", {
  uuid: "3a4c1d61-5bb2-4f0e-9a5c-5b6c3a1d2e01",
  version: [1, 0],
  methods: {
    Read: Interface.method({ in: Schema.Number, out: Schema.Number }),
    Write: Interface.method({ in: Schema.Number })
  }
})

/** Runs a test with a list of what the log got. */
const logged = <A, E, R>(test: (lines: Array<string>) => Effect.Effect<A, E, R>) => {
  const lines: Array<string> = []
  return Effect.provideService(
    test(lines),
    Logger.CurrentLoggers,
    new Set([Logger.make(({ logLevel, message }) => void lines.push(`${logLevel}: ${message}`))])
  )
}

const vault = (options: Manager.Options<typeof IVault>, ran: Array<number> = []) =>
  Manager.make(IVault, {
    Read: (n) => Effect.sync(() => (ran.push(n), n)),
    Write: (n) => Effect.sync(() => void ran.push(n))
  }, options)

const read = (manager: Manager.Manager<typeof IVault, never>, caller: Channel.Caller.Input | undefined) =>
  Effect.gen(function* () {
    const server = yield* Server.make([manager])
    return yield* Effect.exit(Call.invoke(yield* Binding.local(server, IVault, { caller }), "Read", 1))
  })

const refusal = (exit: Exit.Exit<unknown, unknown>): Status.RpcFault | undefined => {
  const error = exit._tag === "Failure" ? exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error : undefined
  return error instanceof Status.RpcFault ? error : undefined
}

const alice: Channel.Caller.Input = { name: "alice", groups: ["readers"] }

describe("levels", () => {
  const rows: ReadonlyArray<[Manager.Options<typeof IVault>, Channel.Caller.Input | undefined, "may" | "may not"]> = [
    [{}, undefined, "may"],
    [{}, { level: "none" }, "may"],
    [{ minimumLevel: "integrity" }, undefined, "may"],
    [{ minimumLevel: "integrity" }, { name: "alice", level: "connect" }, "may not"],
    [{ minimumLevel: "integrity" }, { name: "alice", level: "packet" }, "may"],
    [{ minimumLevel: "privacy" }, { name: "alice", level: "integrity" }, "may not"],
    [{ minimumLevel: "privacy" }, { name: "alice", level: "privacy" }, "may"],
    [{ minimumLevel: "privacy" }, { level: "privacy" }, "may not"],
    [{ minimumLevel: "privacy", allowAnonymous: true }, { level: "privacy" }, "may"],
    [{ minimumLevel: "none" }, { level: "none" }, "may"],
    [{ minimumLevel: "none", allowAnonymous: false }, { level: "none" }, "may not"],
    [{ access: () => true }, { level: "none" }, "may not"],
    [{ access: () => true, allowAnonymous: true }, { level: "none" }, "may"],
    [{ access: () => true }, undefined, "may"]
  ]
  for (const [options, caller, may] of rows) {
    const shown = JSON.stringify({ ...options, ...(options.access && { access: "yes" }) })
    it.effect(`a manager with ${shown}: ${JSON.stringify(caller) ?? "the program itself"} ${may} call`, () =>
      Effect.gen(function* () {
        const ran: Array<number> = []
        const exit = yield* read(vault(options, ran), caller)
        assert.strictEqual(exit._tag, may === "may" ? "Success" : "Failure")
        assert.deepStrictEqual(ran, may === "may" ? [1] : [])
        if (may === "may not") {
          assert.strictEqual(refusal(exit)?.code, 5)
          assert.isFalse(refusal(exit)?.didNotExecute)
        }
      }))
  }

  it("a level that does not exist: TypeError that names it", () => {
    assert.throws(() => vault({ minimumLevel: "packets" as never }), /minimumLevel is out of range, got "packets"/)
    assert.throws(() => vault({ allowAnonymous: 1 as never }), /allowAnonymous/)
    assert.throws(() => vault({ access: true as never }), /access is no function/)
  })

  it.effect("a refused call: one warning with the caller, its peer and the reason", () =>
    logged((lines) =>
      Effect.gen(function* () {
        yield* read(vault({ minimumLevel: "privacy" }), { name: "alice", level: "connect" })
        assert.deepStrictEqual(lines, [
          "Warn: Refused a request of IVault.Read from alice at local: its level is connect, the manager takes privacy or more"
        ])
      })
    ))
})

describe("access checks", () => {
  it.effect("a check that says no: 5, and the arguments are not decoded", () =>
    Effect.gen(function* () {
      const seen: Array<Manager.AccessRequest<typeof IVault>> = []
      const kit = yield* TestKit.make(
        vault({ access: (request) => (seen.push(request), request.method === "Read") }),
        { caller: alice }
      )
      assert.strictEqual(yield* Call.invoke(kit.binding, "Read", 7), 7)
      // Arguments that no schema takes are not looked at.
      const exit = yield* Effect.exit(Call.invoke(kit.binding, "Write", "text" as never))
      assert.strictEqual(refusal(exit)?.code, 5)
      assert.deepStrictEqual(seen.map(({ caller, method, object }) => [caller.name, caller.groups, method, object]), [
        ["alice", ["readers"], "Read", undefined],
        ["alice", ["readers"], "Write", undefined]
      ])
    }))

  for (
    const [name, access] of [
      ["an effect that gives false", () => Effect.as(Effect.yieldNow, false)],
      ["an effect that fails", () => Effect.andThen(Effect.yieldNow, Effect.fail("no database"))],
      ["an effect that dies", () => Effect.andThen(Effect.yieldNow, Effect.die("no database"))],
      ["a throw", () => {
        throw new Error("no database")
      }],
      ["a value that is neither true nor false", () => "yes" as never]
    ] as ReadonlyArray<[string, () => boolean | Effect.Effect<boolean, unknown>]>
  ) {
    it.effect(`${name}: 5, and the routine does not run`, () =>
      logged((lines) =>
        Effect.gen(function* () {
          const ran: Array<number> = []
          assert.strictEqual(refusal(yield* read(vault({ access }, ran), alice))?.code, 5)
          assert.deepStrictEqual(ran, [])
          assert.isTrue(
            lines.includes("Warn: Refused a request of IVault.Read from alice at local: its access check says no")
          )
        })
      ))
  }

  it.effect("a check that takes time: later calls to the manager wait, in their order, and those to others do not", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const ran: Array<number> = []
      const checked: Array<string> = []
      const access = ({ method }: { readonly method: string }) =>
        Effect.andThen(Effect.sync(() => checked.push(method)), Effect.as(Deferred.await(gate), true))
      const IOther = Interface.make("IOther", { methods: { Ping: Interface.method({}) } })
      const server = yield* Server.make([vault({ access }, ran), Manager.make(IOther, { Ping: () => Effect.void })])
      const binding = yield* Binding.local(server, IVault, { caller: alice })
      const other = yield* Binding.local(server, IVault, { caller: { name: "bob" } })
      const calls: Array<Call.Pending<any, any>> = []
      for (const n of [1, 2, 3]) calls.push(yield* Call.begin(yield* Call.make(binding), "Read", n))
      yield* Call.begin(yield* Call.make(other), "Read", 9)
      yield* Call.invoke(yield* Binding.local(server, IOther), "Ping")
      assert.deepStrictEqual([ran, checked], [[], ["Read", "Read"]])
      assert.strictEqual((yield* Server.calls(server)).length, 4)
      yield* Deferred.succeed(gate, undefined)
      for (const call of calls) yield* Call.join(call)
      assert.deepStrictEqual(ran.filter((n) => n < 9), [1, 2, 3])
    }))

  it.effect("a cancel while the check runs: the call ends as not executed, and the check is interrupted", () =>
    Effect.gen(function* () {
      const ran: Array<number> = []
      const interrupted = yield* Deferred.make<void>()
      const access = () => Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
      const server = yield* Server.make([vault({ access }, ran)])
      const binding = yield* Binding.local(server, IVault, { caller: alice })
      const reading = yield* Call.begin(yield* Call.make(binding), "Read", 1)
      yield* Call.cancel(reading)
      const error = yield* Effect.flip(Call.join(reading))
      assert.deepInclude(error, { _tag: "CallCancelled", didNotExecute: true })
      yield* Deferred.await(interrupted)
      assert.deepStrictEqual(ran, [])
      assert.strictEqual((yield* Server.calls(server)).length, 0)
    }))

  it.effect("the client goes while its checks run: nothing runs, nothing is left", () =>
    Effect.gen(function* () {
      const ran: Array<number> = []
      const server = yield* Server.make([vault({ access: () => Effect.never }, ran)])
      yield* Effect.scoped(Effect.gen(function* () {
        const binding = yield* Binding.local(server, IVault, { caller: alice })
        for (const n of [1, 2]) yield* Call.begin(yield* Call.make(binding), "Read", n)
        assert.strictEqual((yield* Server.calls(server)).length, 2)
      }))
      assert.strictEqual((yield* Server.calls(server)).length, 0)
      assert.deepStrictEqual(ran, [])
    }))

  it.effect("the server stops while a check runs: 1722, not executed", () =>
    Effect.gen(function* () {
      const outer = yield* Effect.scope
      const reading = yield* Effect.scoped(Effect.gen(function* () {
        const server = yield* Server.make([vault({ access: () => Effect.never })], { grace: 0 })
        const binding = yield* Scope.provide(Binding.local(server, IVault, { caller: alice }), outer)
        return yield* Effect.forkDetach(Effect.flip(Call.invoke(binding, "Read", 1)), { startImmediately: true })
      }))
      assert.deepInclude(yield* Fiber.join(reading), { _tag: "RpcTransportError", status: 1722, didNotExecute: true })
    }))

  it.effect("arguments that can't be decoded behind a slow check: 1783, not executed", () =>
    Effect.gen(function* () {
      const kit = yield* TestKit.make(vault({ access: () => Effect.as(Effect.yieldNow, true) }), { caller: alice })
      const exit = yield* Effect.exit(Call.invoke(kit.binding, "Write", "text" as never))
      assert.deepInclude(refusal(exit), { code: 1783, didNotExecute: true })
      assert.strictEqual(yield* Call.invoke(kit.binding, "Read", 2), 2)
    }))
})

describe("the caller", () => {
  it.effect("currentCaller within a routine: who calls", () =>
    Effect.gen(function* () {
      const IWho = Interface.make("IWho", { methods: { Am: Interface.method({ out: Schema.String }) } })
      const who = Effect.map(ServerCall.currentCaller, ({ domain, name }) => `${domain}\\${name}`)
      const server = yield* Server.make([Manager.make(IWho, { Am: () => who })])
      const binding = yield* Binding.local(server, IWho, { caller: { name: "alice", domain: "CORP" } })
      assert.strictEqual(yield* Call.invoke(binding, "Am"), "CORP\\alice")
    }))

  it.effect("currentCaller outside of a routine, or after its call: 1725", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* Effect.flip(ServerCall.currentCaller)).code, 1725)
      const late = yield* Deferred.make<Exit.Exit<Channel.Caller, Status.RpcFault>>()
      const IWho = Interface.make("IWho", { methods: { Am: Interface.method({}) } })
      const server = yield* Server.make([
        Manager.make(IWho, {
          Am: Manager.handOff((_, call) =>
            Effect.gen(function* () {
              yield* Effect.orDie(ServerCall.complete(call))
              yield* Deferred.succeed(late, yield* Effect.exit(ServerCall.currentCaller))
            })
          )
        })
      ])
      yield* Call.invoke(yield* Binding.local(server, IWho), "Am")
      assert.strictEqual(refusal(yield* Deferred.await(late))?.code, 1725)
    }))
})
