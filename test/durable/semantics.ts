/** The two tables of what durable calls promise, each cell, on a database. */
import { Call, Interface, ServerCall, Status } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { type Context, Effect, Exit, Layer, Option, Schema, Scope, Stream } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { CallsImpl } from "../../src/durable/internal/calls.ts"
import { sweep } from "../../src/durable/internal/server.ts"
import { Broke, eventually, IBank, makeBench, makeEffects, rowOf, until } from "./fixtures.ts"
import { build, type Kind, type Provided, type World } from "./worlds.ts"

const IOther = Interface.make("IOther", {
  uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b32",
  version: [1, 0],
  methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
})

type State = Durable.State
type Method = "Add" | "Stop" | "Approve"

const unknown = "00000000-0000-4000-8000-000000000000"

let count = 0
const fresh = (what: string) => `${what} ${++count}`

export const semantics = (kind: Kind): unknown =>
  describe(kind.name, () => {
    const scope = Scope.makeUnsafe()
    const bench = makeBench()
    let newWorld: Effect.Effect<World>
    /** A database where no server is, and one with a server in another process. */
    let idle: Context.Context<Provided>
    let busy: Context.Context<Provided>
    let server: Context.Context<Provided>

    beforeAll(() =>
      Effect.runPromise(Scope.provide(
        Effect.gen(function* () {
          newWorld = yield* kind.worlds
          idle = yield* build((yield* newWorld).client())
          const world = yield* newWorld
          busy = yield* build(world.client())
          yield* Effect.provideContext(makeEffects, busy)
          server = yield* build(
            Durable.serve([bench.manager], { mode: { Pay: "transaction" } }).pipe(Layer.provideMerge(world.runner()))
          )
        }),
        scope
      )), 60_000)
    afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)), 60_000)

    const test = <E>(
      name: string,
      where: () => Context.Context<Provided>,
      effect: Effect.Effect<void, E, Provided | Scope.Scope>
    ) => it.live(name, () => Effect.scoped(Effect.suspend(() => Effect.provideContext(effect, where()))), 40_000)
    const atRest = () => idle
    const atWork = () => busy

    const calls = Effect.map(Durable.Calls, (calls) => calls as unknown as CallsImpl)
    const tokenOf = (handle: string) =>
      Effect.flatMap(calls, ({ mac }) => Effect.map(mac("token", handle), (proof) => `${handle}.${proof}`))

    /** A call in a state, with what began it. */
    const callIn = (state: State) =>
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank)
        const name = fresh(state)
        const method: Method = state === "handed off"
          ? "Approve"
          : state === "ready" || state === "running"
          ? "Stop"
          : "Add"
        const input = method === "Add" ? [count, 1] : { name }
        const begin = (input: unknown) =>
          Call.start(bank, method, input as never).pipe(Durable.key(name)) as Effect.Effect<
            Call.Pending<typeof IBank, "Add">,
            Status.BadStubData | Status.RpcTransportError,
            Scope.Scope
          >
        const pending = yield* begin(input)
        const handle = Durable.handle(pending)
        if (state === "running") yield* until(() => bench.started.includes(name))
        if (state === "handed off") yield* eventually(rowOf(handle), (row) => row?.handed_off === 1)
        if (state === "ended") yield* Call.wait(pending)
        if (state === "finished") yield* Call.join(pending)
        const listed = yield* Stream.runCollect(Durable.list(IBank, { state }))
        assert.include(listed.map(({ handle }) => handle), handle)
        const resume = Effect.suspend(() => Durable.resume(IBank, method as "Add", handle))
        return { begin, handle, input, method, name, pending, resume, sum: count + 1 }
      })

    const open = ["ready", "running", "handed off"] as const
    const over = ["ended", "finished"] as const
    const whereIs = (state: State) => state === "ready" ? atRest : atWork

    for (const state of [...open, ...over]) {
      const where = whereIs(state)

      test(
        `${state}, begun again with the same key and arguments: attaches`,
        where,
        Effect.gen(function* () {
          const { begin, handle, input } = yield* callIn(state)
          const before = yield* rowOf(handle)
          assert.strictEqual(Durable.handle(yield* begin(input)), handle)
          assert.deepStrictEqual(yield* rowOf(handle), before)
        })
      )

      test(
        `${state}, begun again with the same key and other arguments: BadStubData`,
        where,
        Effect.gen(function* () {
          const { begin, method } = yield* callIn(state)
          const refused = yield* Effect.flip(begin(method === "Add" ? [7] : { name: "another" }))
          assert.strictEqual(refused._tag, "BadStubData")
        })
      )

      test(
        `${state}, resumed: evidence`,
        where,
        Effect.gen(function* () {
          const { handle, resume } = yield* callIn(state)
          const again = yield* resume
          assert.strictEqual(Durable.handle(again), handle)
          assert.isTrue(Call.isPending(again))
        })
      )

      test(
        `${state}, resumed as another method or interface: InvalidAsyncHandle`,
        where,
        Effect.gen(function* () {
          const { handle } = yield* callIn(state)
          assert.strictEqual((yield* Effect.flip(Durable.resume(IBank, "Pay", handle)))._tag, "InvalidAsyncHandle")
          assert.strictEqual((yield* Effect.flip(Durable.resume(IOther, "Add", handle)))._tag, "InvalidAsyncHandle")
        })
      )
    }

    for (const state of open) {
      const where = whereIs(state)

      test(
        `${state}: its state is pending, it is waited for, it can't be finished`,
        where,
        Effect.gen(function* () {
          const { handle, input, method, name, resume } = yield* callIn(state)
          const object = yield* Call.make(yield* Durable.binding(IBank))
          yield* Call.begin(object, method as "Stop", input as { name: string }).pipe(Durable.key(name))
          assert.strictEqual((yield* Call.state(object))._tag, "Pending")
          const again = yield* resume
          assert.strictEqual((yield* Effect.flip(Call.wait(again, "80 millis")))._tag, "WaitTimeout")
          assert.strictEqual((yield* Effect.flip(Call.finish(again)))._tag, "CallPending")
          assert.isTrue(Option.isNone(yield* Durable.peek(IBank, method, handle)))
          assert.strictEqual((yield* Effect.flip(Durable.forget(handle)))._tag, "CallPending")
        })
      )

      test(
        `${state}, completed by its token: ends with that, once`,
        where,
        Effect.gen(function* () {
          const { handle, method, pending } = yield* callIn(state)
          const token = yield* tokenOf(handle)
          const value = method === "Approve" ? true : undefined
          assert.isTrue(yield* Durable.complete(IBank, method as "Approve", token, Exit.succeed(value as true)))
          assert.isFalse(yield* Durable.complete(IBank, method as "Approve", token, Exit.succeed(value as true)))
          assert.strictEqual(yield* Call.join(pending), value as never)
        })
      )

      test(
        `${state}, aborted by its token: ends with that, once`,
        where,
        Effect.gen(function* () {
          const { handle, method, pending } = yield* callIn(state)
          const token = yield* tokenOf(handle)
          const fault = new Status.RpcFault({ code: 5 })
          assert.isTrue(yield* Durable.abort(IBank, method as "Approve", token, fault))
          assert.isFalse(yield* Durable.abort(IBank, method as "Approve", token, fault))
          const error = yield* Effect.flip(Call.join(pending))
          assert.deepInclude(error, { _tag: "RpcFault", code: 5 })
        })
      )

      test(
        `${state}, released: the call goes on`,
        where,
        Effect.gen(function* () {
          const { handle, pending, resume } = yield* callIn(state)
          const before = yield* rowOf(handle)
          yield* Call.release(pending)
          yield* Effect.scoped(resume)
          assert.deepStrictEqual(yield* rowOf(handle), before)
        })
      )

      test(
        `${state}, released with stop: a cancel is recorded`,
        where,
        Effect.gen(function* () {
          const { handle, pending } = yield* callIn(state)
          yield* Call.release(pending, { server: "stop" })
          assert.isNotNull((yield* rowOf(handle))!.cancel_at)
        })
      )

      test(
        `${state}, its deadline passes: 1460`,
        where,
        Effect.gen(function* () {
          const { handle, method, name, pending } = yield* callIn(state)
          const sql = yield* SqlClient.SqlClient
          yield* sql`UPDATE callisto_calls SET deadline = ${Date.now() - 10} WHERE id = ${handle}`
          // Where no server is, whoever waits looks at the deadline.
          if (state === "ready") yield* (yield* calls).record.expire(Date.now(), [handle])
          const error = yield* Effect.flip(Call.join(pending))
          assert.deepInclude(error, { _tag: "RpcFault", code: 1460, didNotExecute: state === "ready" })
          if (method === "Stop" && state === "running") yield* until(() => bench.stopped.includes(name))
        })
      )
    }

    for (const state of over) {
      test(
        `${state}: its state is completed, a wait returns, a cancel and a token come too late`,
        atWork,
        Effect.gen(function* () {
          const { handle, input, name, resume, sum } = yield* callIn(state)
          const again = yield* resume
          yield* Call.wait(again)
          const object = yield* Call.make(yield* Durable.binding(IBank))
          yield* Call.wait(
            yield* Call.begin(object, "Add", input as ReadonlyArray<number>).pipe(Durable.key(name))
          )
          assert.deepInclude(yield* Call.state(object), { _tag: "Completed", kind: "replied" })
          assert.strictEqual((yield* Effect.flip(Durable.cancel(handle)))._tag, "CallComplete")
          const token = yield* tokenOf(handle)
          assert.isFalse(yield* Durable.complete(IBank, "Add", token, Exit.succeed(0)))
          assert.isFalse(yield* Durable.abort(IBank, "Add", token, new Status.RpcFault({ code: 5 })))
          assert.deepStrictEqual(yield* Durable.peek(IBank, "Add", handle), Option.some(Exit.succeed(sum)))
          yield* Call.release(again, { server: "stop" })
          assert.isNull((yield* rowOf(handle))!.cancel_at)
        })
      )

      test(
        `${state}, its deadline passes: nothing`,
        atWork,
        Effect.gen(function* () {
          const { handle } = yield* callIn(state)
          const sql = yield* SqlClient.SqlClient
          yield* sql`UPDATE callisto_calls SET deadline = 1 WHERE id = ${handle}`
          const { record } = yield* calls
          const before = yield* rowOf(handle)
          assert.deepStrictEqual(yield* record.expire(Date.now(), [handle]), [])
          assert.deepStrictEqual(yield* rowOf(handle), before)
        })
      )

      test(
        `${state}, retention passes: swept, with the rows of the engine`,
        atWork,
        Effect.gen(function* () {
          const { handle } = yield* callIn(state)
          const sql = yield* SqlClient.SqlClient
          const old = Date.now() - 8 * 86_400_000
          yield* sql`UPDATE callisto_calls SET ended_at = ${old},
          finished_at = CASE WHEN finished_at IS NULL THEN finished_at ELSE ${old} END WHERE id = ${handle}`
          const name = `Callisto/Calls/${handle}/Dispatch/`
          // The engine's own reply comes a moment after the outcome.
          const isAnswered = sql`SELECT r.kind FROM cluster_replies r JOIN cluster_messages m ON m.id = r.request_id
          WHERE m.message_id = ${name}`
          yield* eventually(isAnswered, (rows) => rows.length === 1)
          yield* sweep(yield* calls, Date.now(), { keepEnded: 7 * 86_400_000, keepFinished: 3_600_000 })
          assert.isUndefined(yield* rowOf(handle))
          assert.deepStrictEqual(yield* sql`SELECT tag FROM cluster_messages WHERE message_id = ${name}`, [])
          assert.deepStrictEqual(yield* isAnswered, [])
          assert.strictEqual((yield* Effect.flip(Durable.resume(IBank, "Add", handle)))._tag, "InvalidAsyncHandle")
        })
      )

      test(
        `${state}, forgotten: gone`,
        atWork,
        Effect.gen(function* () {
          const { handle } = yield* callIn(state)
          yield* Durable.forget(handle)
          assert.isUndefined(yield* rowOf(handle))
          assert.strictEqual((yield* Effect.flip(Durable.forget(handle)))._tag, "InvalidAsyncHandle")
        })
      )
    }

    test(
      "ended, finished: taken by one evidence, again by it, refused to another",
      atWork,
      Effect.gen(function* () {
        const { handle, pending, resume, sum } = yield* callIn("ended")
        const other = yield* resume
        yield* Call.wait(other)
        assert.strictEqual(yield* Call.finish(pending), sum)
        assert.strictEqual(yield* Call.finish(pending), sum)
        assert.strictEqual(yield* Call.join(pending), sum)
        assert.strictEqual((yield* Effect.flip(Call.finish(other)))._tag, "CallComplete")
        assert.strictEqual((yield* Effect.flip(Call.join(yield* resume)))._tag, "CallComplete")
        assert.isNotNull((yield* rowOf(handle))!.finished_by)
      })
    )

    test(
      "unknown: no evidence, no cancel, no token",
      atRest,
      Effect.gen(function* () {
        for (const handle of [unknown, "", "x", "'; DROP TABLE callisto_calls; --"]) {
          assert.strictEqual((yield* Effect.flip(Durable.resume(IBank, "Add", handle)))._tag, "InvalidAsyncHandle")
          assert.strictEqual((yield* Effect.flip(Durable.peek(IBank, "Add", handle)))._tag, "InvalidAsyncHandle")
          assert.strictEqual((yield* Effect.flip(Durable.cancel(handle)))._tag, "InvalidAsyncHandle")
          assert.strictEqual((yield* Effect.flip(Durable.forget(handle)))._tag, "InvalidAsyncHandle")
          const complete = Durable.complete(IBank, "Add", handle, Exit.succeed(1))
          assert.strictEqual((yield* Effect.flip(complete))._tag, "InvalidAsyncHandle")
        }
        const complete = Durable.complete(IBank, "Add", yield* tokenOf(unknown), Exit.succeed(1))
        assert.strictEqual((yield* Effect.flip(complete))._tag, "InvalidAsyncHandle")
      })
    )

    test(
      "a token with another proof, or of another method: InvalidAsyncHandle",
      atRest,
      Effect.gen(function* () {
        const { handle } = yield* callIn("ready")
        const forged = Durable.complete(IBank, "Stop", `${handle}.${"0".repeat(64)}`, Exit.succeed(undefined))
        assert.strictEqual((yield* Effect.flip(forged))._tag, "InvalidAsyncHandle")
        const other = Durable.complete(IBank, "Add", yield* tokenOf(handle), Exit.succeed(1))
        assert.strictEqual((yield* Effect.flip(other))._tag, "InvalidAsyncHandle")
        assert.isNull((yield* rowOf(handle))!.outcome)
      })
    )

    // --- cancel

    test(
      "ready, cancelled: ended at once, did not execute, and no later server runs it",
      atRest,
      Effect.gen(function* () {
        const { handle, pending } = yield* callIn("ready")
        yield* Durable.cancel(handle)
        assert.isNotNull((yield* rowOf(handle))!.outcome)
        const error = yield* Effect.flip(Call.join(pending))
        assert.deepInclude(error, { _tag: "CallCancelled", didNotExecute: true })
      })
    )

    test(
      "ready, cancelled by its evidence: the same",
      atRest,
      Effect.gen(function* () {
        const { pending } = yield* callIn("ready")
        yield* Call.cancel(pending, { timeout: "Infinity" })
        const error = yield* Effect.flip(Call.join(pending))
        assert.deepInclude(error, { _tag: "CallCancelled", didNotExecute: true })
      })
    )

    test(
      "running, cancelled: recorded, and its routine is told",
      atWork,
      Effect.gen(function* () {
        const { handle, name, pending } = yield* callIn("running")
        yield* Durable.cancel(handle)
        assert.isNotNull((yield* rowOf(handle))!.cancel_at)
        yield* until(() => bench.stopped.includes(name))
        const error = yield* Effect.flip(Call.join(pending))
        assert.deepInclude(error, { _tag: "CallCancelled", didNotExecute: false })
      })
    )

    test(
      "handed off, cancelled: testCancel says so, and the completion still counts",
      atWork,
      Effect.gen(function* () {
        const { handle, name, pending } = yield* callIn("handed off")
        const call = bench.calls.get(name)!
        assert.isFalse(yield* ServerCall.testCancel(call))
        yield* Durable.cancel(handle)
        assert.strictEqual(yield* ServerCall.awaitCancel(call), "Cancelled")
        yield* Durable.complete(IBank, "Approve", bench.tokens.get(name)!, Exit.succeed(false))
        assert.strictEqual(yield* Call.join(pending as never), false as never)
      })
    )

    test(
      "cancelled abortively: the evidence ends, and takes nothing",
      atWork,
      Effect.gen(function* () {
        const { handle, pending } = yield* callIn("running")
        yield* Call.cancel(pending)
        assert.strictEqual((yield* Effect.flip(Call.join(pending)))._tag, "CallCancelled")
        const row = yield* eventually(rowOf(handle), (row) => row?.outcome !== null)
        assert.strictEqual(row!.abandoned, 1)
        assert.isNull(row!.finished_by)
      })
    )

    test(
      "cancelled twice: the second is recorded no more",
      atRest,
      Effect.gen(function* () {
        const { handle } = yield* callIn("ready")
        yield* Durable.cancel(handle)
        const before = yield* rowOf(handle)
        assert.strictEqual((yield* Effect.flip(Durable.cancel(handle)))._tag, "CallComplete")
        assert.deepStrictEqual(yield* rowOf(handle), before)
      })
    )

    test(
      "Call.invoke interrupted: a cancel is recorded",
      atRest,
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank)
        const name = fresh("invoked")
        const fiber = yield* Effect.forkChild(Call.invoke(bank, "Stop", { name }).pipe(Durable.key(name)))
        const sql = yield* SqlClient.SqlClient
        const found = sql<{ readonly id: string }>`SELECT id FROM callisto_calls WHERE input LIKE ${`%${name}"%`}`
        const [row] = yield* eventually(found, (rows) => rows.length > 0)
        yield* Effect.sleep(100)
        fiber.interruptUnsafe()
        yield* eventually(rowOf(row!.id), (row) => row?.cancel_at !== null)
      })
    )

    // --- transactions

    test(
      "begun in a transaction that commits: it runs after that",
      atWork,
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank)
        const sql = yield* SqlClient.SqlClient
        const pending = yield* sql.withTransaction(Effect.gen(function* () {
          const pending = yield* Call.start(bank, "Add", [1, 1])
          assert.strictEqual((yield* Effect.exit(Call.join(pending)))._tag, "Failure")
          assert.strictEqual((yield* Effect.exit(Call.wait(pending)))._tag, "Failure")
          return pending
        }))
        assert.strictEqual(yield* Call.join(pending), 2)
      })
    )

    test(
      "begun in a transaction that rolls back: never begun, 1722, did not execute",
      atWork,
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank)
        const sql = yield* SqlClient.SqlClient
        let pending: Call.Pending<typeof IBank, "Add"> | undefined
        yield* Effect.exit(sql.withTransaction(Effect.gen(function* () {
          pending = yield* Call.start(bank, "Add", [1, 1])
          yield* Effect.sleep(400)
          return yield* Effect.fail("no")
        })))
        const error = yield* Effect.flip(Call.join(pending!))
        assert.deepInclude(error, { _tag: "RpcTransportError", status: 1722, didNotExecute: true })
        const handle = Durable.handle(pending!)
        assert.isUndefined(yield* rowOf(handle))
        assert.strictEqual((yield* Effect.flip(Durable.resume(IBank, "Add", handle)))._tag, "InvalidAsyncHandle")
      })
    )

    test(
      "taken in a transaction that rolls back: taken again by the same evidence, and not by another",
      atWork,
      Effect.gen(function* () {
        const { handle, pending, resume, sum } = yield* callIn("ended")
        const sql = yield* SqlClient.SqlClient
        const take = Effect.gen(function* () {
          const sum = yield* Call.join(pending)
          yield* sql`INSERT INTO effects (amount) VALUES (${-sum})`
          return sum
        })
        yield* Effect.exit(sql.withTransaction(Effect.andThen(take, Effect.fail("no"))))
        assert.isNull((yield* rowOf(handle))!.finished_by)
        assert.strictEqual(yield* sql.withTransaction(take), sum)
        assert.strictEqual((yield* Effect.flip(Call.join(yield* resume)))._tag, "CallComplete")
        assert.lengthOf(yield* sql`SELECT amount FROM effects WHERE amount = ${-sum}`, 1)
      })
    )

    test(
      "completed in a transaction that rolls back: still pending",
      atWork,
      Effect.gen(function* () {
        const { handle, name, pending } = yield* callIn("handed off")
        const sql = yield* SqlClient.SqlClient
        const complete = Durable.complete(IBank, "Approve", bench.tokens.get(name)!, Exit.succeed(true))
        yield* Effect.exit(sql.withTransaction(Effect.andThen(complete, Effect.fail("no"))))
        assert.isNull((yield* rowOf(handle))!.outcome)
        assert.isTrue(yield* sql.withTransaction(complete))
        assert.strictEqual(yield* Call.join(pending as never), true as never)
      })
    )

    test(
      "a transaction routine that replies: its writes are there once",
      atWork,
      Effect.gen(function* () {
        const bank = Call.client(yield* Durable.binding(IBank))
        const sql = yield* SqlClient.SqlClient
        const at = new Date(86_400_000)
        const amount = 10 + (++count % 80)
        yield* sql`DELETE FROM effects WHERE amount = ${amount}`
        assert.deepStrictEqual(yield* bank.Pay({ amount, at }), { receipt: `paid ${amount}`, at })
        assert.lengthOf(yield* sql`SELECT amount FROM effects WHERE amount = ${amount}`, 1)
      })
    )

    test(
      "a transaction routine that aborts: its writes are gone, and the abort has its fields",
      atWork,
      Effect.gen(function* () {
        const bank = Call.client(yield* Durable.binding(IBank))
        const sql = yield* SqlClient.SqlClient
        const at = new Date(86_400_000)
        const amount = 1_000 + ++count
        const error = yield* Effect.flip(bank.Pay({ amount, at }))
        assert.instanceOf(error, Broke)
        assert.deepInclude(error, { balance: 100, on: at })
        assert.lengthOf(yield* sql`SELECT amount FROM effects WHERE amount = ${amount}`, 0)
      })
    )

    // --- the rest of the surface

    test(
      "a maybe call: complete when it is stored, and it runs",
      atWork,
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank)
        const text = fresh("told")
        yield* Call.invoke(bank, "Tell", { text })
        yield* until(() => bench.started.includes(text))
      })
    )

    test(
      "a result that does not encode: 1783",
      atWork,
      Effect.gen(function* () {
        const bank = Call.client(yield* Durable.binding(IBank))
        assert.deepInclude(yield* Effect.flip(bank.Odd()), { _tag: "RpcFault", code: 1783, didNotExecute: false })
      })
    )

    test(
      "arguments that do not encode: BadStubData, and nothing is stored",
      atRest,
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank)
        const sql = yield* SqlClient.SqlClient
        const before = yield* sql`SELECT COUNT(*) AS n FROM callisto_calls`
        const error = yield* Effect.flip(Call.start(bank, "Add", [1.5]))
        assert.strictEqual(error._tag, "BadStubData")
        assert.deepStrictEqual(yield* sql`SELECT COUNT(*) AS n FROM callisto_calls`, before)
      })
    )

    test(
      "handed off, completed where it was handed off: stored when complete returns",
      atWork,
      Effect.gen(function* () {
        const { handle, name, pending } = yield* callIn("handed off")
        yield* ServerCall.complete(bench.calls.get(name)! as never, true as never)
        assert.isNotNull((yield* rowOf(handle))!.outcome)
        assert.strictEqual(yield* Call.join(pending as never), true as never)
      })
    )

    test(
      "keepInput false: the arguments are there until the end, then only a hash that still tells other ones",
      atWork,
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank, { keepInput: false })
        const key = fresh("forgotten")
        const pending = yield* Call.start(bank, "Add", [4, 5]).pipe(Durable.key(key))
        yield* Call.join(pending)
        assert.strictEqual((yield* rowOf(Durable.handle(pending)))!.input, "")
        assert.strictEqual(
          Durable.handle(yield* Call.start(bank, "Add", [4, 5]).pipe(Durable.key(key))),
          Durable.handle(pending)
        )
        const refused = yield* Effect.flip(Call.start(bank, "Add", [4, 6]).pipe(Durable.key(key)))
        assert.strictEqual(refused._tag, "BadStubData")
      })
    )

    test(
      "maximumAge, no server: whoever waits ends the call with 1460",
      atRest,
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank, { maximumAge: { Stop: 150 } })
        const error = yield* Effect.flip(Call.invoke(bank, "Stop", { name: fresh("late") }))
        assert.deepInclude(error, { _tag: "RpcFault", code: 1460, didNotExecute: true })
      })
    )

    // --- rows that are not what was written

    const bad: ReadonlyArray<readonly [string, Record<string, unknown>, number, boolean]> = [
      ["truncated arguments", { input: `{"name":"x` }, 1783, true],
      ["arguments of another version", { input: `{"title":7}` }, 1783, true],
      ["an unknown method", { method: "Renamed" }, 0x1c010002, true],
      ["an unknown interface", { interface: `${IOther.uuid} 1` }, 0x1c010002, true],
      ["an interface that is none", { interface: "rubbish" }, 0x1c010002, true]
    ]
    for (const [what, change, code, didNotExecute] of bad) {
      it.live(`a row with ${what}: that call alone ends, with a code`, () =>
        Effect.gen(function* () {
          const world = yield* newWorld
          const client = yield* build(world.client())
          yield* Effect.gen(function* () {
            const bank = yield* Durable.binding(IBank)
            const odd = yield* Call.start(bank, "Stop", { name: "odd" })
            const good = yield* Call.start(bank, "Add", [1, 2])
            const sql = yield* SqlClient.SqlClient
            yield* sql`UPDATE callisto_calls SET ${sql.update(change)} WHERE id = ${Durable.handle(odd)}`
            yield* build(Durable.serve([makeBench().manager]).pipe(Layer.provideMerge(world.runner())))
            assert.strictEqual(yield* Call.join(good), 3)
            assert.deepInclude(yield* Effect.flip(Call.join(odd)), { _tag: "RpcFault", code, didNotExecute })
          }).pipe(Effect.provideContext(client))
        }).pipe(Effect.scoped), 40_000)
    }

    test(
      "a row with an outcome that is none: 1726 for its client",
      atRest,
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        for (
          const outcome of [
            `{"t":"ok`,
            "7",
            "null",
            `{"t":"new"}`,
            `{"t":"fault"}`,
            `{"t":"fault","c":1e300}`,
            `{"t":"lost","s":4}`,
            `{"t":"lost","s":1726,"d":{"toString":1}}`,
            `{"t":"sealed","v":7}`
          ]
        ) {
          const { handle, pending } = yield* callIn("ready")
          yield* sql`UPDATE callisto_calls SET outcome = ${outcome}, ended_at = 1 WHERE id = ${handle}`
          assert.deepInclude(yield* Effect.flip(Call.join(pending)), { _tag: "RpcTransportError", status: 1726 })
        }
      })
    )

    // --- servers that come and go

    it.live("no server, then one: calls that were begun before run, cancelled ones do not", () =>
      Effect.gen(function* () {
        const world = yield* newWorld
        const client = yield* build(world.client())
        yield* Effect.gen(function* () {
          const bank = yield* Durable.binding(IBank)
          const adding = yield* Call.start(bank, "Add", [1, 2])
          const stopped = yield* Call.start(bank, "Stop", { name: "cancelled" })
          yield* Durable.cancel(Durable.handle(stopped))
          assert.deepInclude(yield* Effect.flip(Call.join(stopped)), { _tag: "CallCancelled", didNotExecute: true })
          const own = makeBench()
          yield* build(Durable.serve([own.manager]).pipe(Layer.provideMerge(world.runner())))
          assert.strictEqual(yield* Call.join(adding), 3)
          assert.deepStrictEqual(own.started, ["Add"])
        }).pipe(Effect.provideContext(client))
      }).pipe(Effect.scoped), 40_000)

    it.live("a claim that the engine has lost: the watchdog delivers the call again", () =>
      Effect.gen(function* () {
        const world = yield* newWorld
        const client = yield* build(world.client())
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const bank = yield* Durable.binding(IBank)
          const adding = yield* Call.start(bank, "Add", [1, 2])
          const begun = Date.now() - 60_000
          yield* sql`UPDATE callisto_calls SET begun_at = ${begun}`
          // A runner resets the claims of shards that it takes, so the claim is set while it has them.
          yield* build(
            Durable.serve([makeBench().manager], { concurrency: 1 }).pipe(Layer.provideMerge(world.runner()))
          )
          assert.strictEqual(yield* Call.join(adding), 3)
        }).pipe(Effect.provideContext(client))
      }).pipe(Effect.scoped), 40_000)

    it.live(
      "a server that ends in good order: an idempotent call runs elsewhere, one that runs once ends with 1726",
      () =>
        Effect.gen(function* () {
          const world = yield* newWorld
          const client = yield* build(world.client())
          yield* Effect.gen(function* () {
            const bank = yield* Durable.binding(IBank)
            const first = makeBench()
            const scope = yield* Scope.make()
            const serve = (bench: typeof first, mode: Durable.Mode) =>
              Durable.serve([bench.manager], { mode: { Stop: mode } }).pipe(Layer.provideMerge(world.runner()))
            yield* Scope.provide(build(serve(first, "idempotent")), scope)
            const moved = yield* Call.start(bank, "Stop", { name: "moved" })
            yield* until(() =>
              first.started.includes("moved")
            )
            yield* Scope.close(scope, Exit.void)
            assert.deepStrictEqual(first.stopped, ["moved"])
            const row = yield* rowOf(Durable.handle(moved))
            assert.deepInclude(row, { attempts: 1, yielded: 1, outcome: null })

            const second = makeBench()
            const again = yield* Scope.make()
            yield* Scope.provide(build(serve(second, "idempotent")), again)
            yield* until(() =>
              second.started.includes("moved")
            )
            second.open("moved")
            yield* Call.join(moved)
            yield* Scope.close(again, Exit.void)

            const third = makeBench()
            const last = yield* Scope.make()
            yield* Scope.provide(build(serve(third, "once")), last)
            const once = yield* Call.start(bank, "Stop", { name: "once" })
            yield* until(() => third.started.includes("once"))
            yield* Scope.close(last, Exit.void)
            assert.deepInclude(yield* Effect.flip(Call.join(once)), { _tag: "RpcTransportError", status: 1726 })
          }).pipe(Effect.provideContext(client))
        }).pipe(Effect.scoped),
      60_000
    )

    it.live("handed off, then its server ends: completed by the token", () =>
      Effect.gen(function* () {
        const world = yield* newWorld
        const client = yield* build(world.client())
        yield* Effect.gen(function* () {
          const bank = yield* Durable.binding(IBank)
          const own = makeBench()
          const scope = yield* Scope.make()
          yield* Scope.provide(build(Durable.serve([own.manager]).pipe(Layer.provideMerge(world.runner()))), scope)
          const asking = yield* Call.start(bank, "Approve", { name: "asked" })
          yield* eventually(rowOf(Durable.handle(asking)), (row) => row?.handed_off === 1)
          yield* Scope.close(scope, Exit.void)
          assert.isNull((yield* rowOf(Durable.handle(asking)))!.outcome)
          assert.isTrue(yield* Durable.complete(IBank, "Approve", own.tokens.get("asked")!, Exit.succeed(true)))
          assert.strictEqual(yield* Call.join(asking), true)
        }).pipe(Effect.provideContext(client))
      }).pipe(Effect.scoped), 60_000)

    it.live("poison, an attempt whose process is gone each time: 1726 after maximumAttempts", () =>
      Effect.gen(function* () {
        const world = yield* newWorld
        const client = yield* build(world.client())
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const bank = yield* Durable.binding(IBank)
          const poison = yield* Call.start(bank, "Add", [1])
          const yielded = yield* Call.start(bank, "Add", [1, 1])
          const set = (pending: Call.Pending.Any, yielded: number) =>
            sql`UPDATE callisto_calls SET attempts = 3, yielded = ${yielded} WHERE id = ${Durable.handle(pending)}`
          yield* set(poison, 0)
          yield* set(yielded, 1)
          yield* build(
            Durable.serve([makeBench().manager], { maximumAttempts: 3 }).pipe(Layer.provideMerge(world.runner()))
          )
          assert.deepInclude(yield* Effect.flip(Call.join(poison)), { _tag: "RpcTransportError", status: 1726 })
          assert.strictEqual(yield* Call.join(yielded), 2)
        }).pipe(Effect.provideContext(client))
      }).pipe(Effect.scoped), 40_000)

    it.live("another number of shards: refused in words", () =>
      Effect.gen(function* () {
        const world = yield* newWorld
        const client = yield* build(world.client())
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* sql`UPDATE callisto_settings SET value = '16' WHERE name = 'shards'`
        }).pipe(Effect.provideContext(client))
        const exit = yield* Effect.exit(build(world.client()))
        assert.match(String(exit), /shardsPerGroup is wrong, got 32, expected 16/)
      }).pipe(Effect.scoped), 40_000)

    it.live("a second serve in one process: refused in words", () =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(
          Layer.build(Durable.serve([makeBench().manager])).pipe(Effect.provideContext(server))
        )
        assert.match(String(exit), /serves already/)
      }).pipe(Effect.scoped))
  })
