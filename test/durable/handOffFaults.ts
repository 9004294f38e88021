/** Calls that are handed off: in a transaction, completed by whoever has them, and cancelled. */
import { Call, Interface, Manager, ServerCall, Status } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import { assert } from "@effect/vitest"
import { Effect, Exit, Fiber, Schema } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { type Bed, fresh } from "./bed.ts"
import { eventually, IBank, rowOf, until } from "./fixtures.ts"

export const IAsk = Interface.make("IAsk", {
  uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b51",
  version: [1, 0],
  methods: { Ask: Interface.method({ in: { amount: Schema.Int, then: Schema.String }, out: Schema.String }) }
})

const asked = new Map<number, ServerCall.ServerCall<any>>()
let deaths = 0

/** Has the mode `"transaction"`: writes, and then does what its caller wants. */
export const asking: Manager.Manager<typeof IAsk, SqlClient.SqlClient> = Manager.make(IAsk, {
  Ask: Manager.handOff(({ amount, then }, call) =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      asked.set(amount, call)
      yield* sql`INSERT INTO effects (amount) VALUES (${amount})`
      if (then === "fail") return yield* Effect.fail(new Status.RpcFault({ code: 87 }))
      if (then === "complete") yield* ServerCall.complete(call, "at once")
      if (then === "complete and die once") {
        yield* ServerCall.complete(call, `after ${deaths}`)
        if (deaths++ === 0) return yield* Effect.die("it died")
      }
    }).pipe(Effect.catchTag(["SqlError", "InvalidAsyncHandle", "BadStubData", "RpcTransportError"], Effect.die))
  )
})

let last = 9_000_000

export const handOffFaults = ({ atWork, bench }: Bed): void => {
  const written = (amount: number) =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      return (yield* sql`SELECT amount FROM effects WHERE amount = ${amount}`).length
    })
  const ask = (then: string) =>
    Effect.gen(function* () {
      const amount = ++last
      const pending = yield* Call.start(yield* Durable.binding(IAsk), "Ask", { amount, then })
      return { amount, pending, handle: Durable.handle(pending) }
    })
  const approve = Effect.gen(function* () {
    const name = fresh("approve")
    const pending = yield* Call.start(yield* Durable.binding(IBank), "Approve", { name })
    const handle = Durable.handle(pending)
    yield* eventually(rowOf(handle), (row) => row?.handed_off === 1)
    return { name, pending, handle, call: bench.calls.get(name)! as ServerCall.ServerCall<any> }
  })

  atWork(
    "a transaction routine that hands off: its writes and the hand-off are one commit",
    Effect.gen(function* () {
      const { amount, handle, pending } = yield* ask("")
      // Whenever one of the two is seen, the other is too.
      const seen = Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const [row] = yield* sql<{ readonly h: number; readonly n: number }>`SELECT handed_off AS h,
          (SELECT COUNT(*) FROM effects WHERE amount = ${amount}) AS n FROM callisto_calls WHERE id = ${handle}`
        assert.strictEqual(Number(row!.h), Number(row!.n))
        return Number(row!.h)
      })
      yield* eventually(seen, (count) => count === 1)
      assert.isTrue(yield* Durable.complete(IAsk, "Ask", Durable.token(asked.get(amount)!), Exit.succeed("done")))
      assert.strictEqual(yield* Call.join(pending), "done")
      assert.strictEqual(yield* written(amount), 1)
    })
  )

  atWork(
    "a transaction routine that fails to hand off: nothing is written, and the call has its failure",
    Effect.gen(function* () {
      const { amount, handle, pending } = yield* ask("fail")
      assert.deepInclude(yield* Effect.flip(Call.join(pending)), { _tag: "RpcFault", code: 87 })
      assert.strictEqual(yield* written(amount), 0)
      assert.deepInclude(yield* rowOf(handle), { handed_off: 0, attempts: 1 })
    })
  )

  atWork(
    "a transaction routine that completes its call itself: its writes and the outcome are one commit",
    Effect.gen(function* () {
      const { amount, pending } = yield* ask("complete")
      assert.strictEqual(yield* Call.join(pending), "at once")
      assert.strictEqual(yield* written(amount), 1)
    })
  )

  atWork(
    "a transaction routine that completes its call and dies: both are rolled back, and it runs again",
    Effect.gen(function* () {
      const { amount, handle, pending } = yield* ask("complete and die once")
      assert.strictEqual(yield* Call.join(pending), "after 1")
      assert.strictEqual(yield* written(amount), 1)
      assert.deepInclude(yield* rowOf(handle), { attempts: 2, yielded: 0 })
    })
  )

  atWork(
    "completed from another process in the program's transaction: the outcome and its writes are one commit",
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const { amount, handle, pending } = yield* ask("")
      yield* eventually(rowOf(handle), (row) => row?.handed_off === 1)
      const token = Durable.token(asked.get(amount)!)
      const book = Effect.gen(function* () {
        const isFirst = yield* Durable.complete(IAsk, "Ask", token, Exit.succeed("booked"))
        yield* sql`INSERT INTO effects (amount) VALUES (${-amount})`
        return isFirst
      })
      yield* Effect.exit(sql.withTransaction(Effect.andThen(book, Effect.fail("no"))))
      assert.isNull((yield* rowOf(handle))!.outcome)
      assert.strictEqual(yield* written(-amount), 0)
      assert.isTrue(yield* sql.withTransaction(book))
      assert.strictEqual(yield* Call.join(pending), "booked")
      assert.strictEqual(yield* written(-amount), 1)
    })
  )

  atWork(
    "handed off, aborted where it was handed off: stored when abort returns",
    Effect.gen(function* () {
      const { call, handle, pending } = yield* approve
      yield* ServerCall.abort(call, new Status.RpcFault({ code: 5 }))
      assert.strictEqual((yield* rowOf(handle))!.outcome, `{"t":"fault","c":5}`)
      assert.deepInclude(yield* Effect.flip(Call.join(pending)), { _tag: "RpcFault", code: 5 })
      assert.strictEqual((yield* Effect.flip(ServerCall.complete(call, true)))._tag, "InvalidAsyncHandle")
    })
  )

  atWork(
    "handed off, run where it was handed off: its result ends the call, and a cancel interrupts it",
    Effect.gen(function* () {
      const first = yield* approve
      yield* ServerCall.run(first.call, Effect.succeed(true))
      assert.isNotNull((yield* rowOf(first.handle))!.outcome)
      assert.isTrue(yield* Call.join(first.pending))

      const second = yield* approve
      let isStopped = false
      const fiber = yield* Effect.forkChild(
        ServerCall.run(second.call, Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (isStopped = true))))
      )
      yield* Effect.sleep(50)
      assert.isFalse(yield* ServerCall.testCancel(second.call))
      yield* Durable.cancel(second.handle)
      yield* until(() => isStopped)
      yield* Fiber.await(fiber)
      assert.isTrue(yield* ServerCall.testCancel(second.call))
      assert.deepInclude(yield* Effect.flip(Call.join(second.pending)), { _tag: "CallCancelled", didNotExecute: false })
    })
  )

  atWork(
    "handed off, ended by its token elsewhere: whoever runs it here is told, and comes too late",
    Effect.gen(function* () {
      const { call, handle, name, pending } = yield* approve
      const told = yield* Effect.forkChild(ServerCall.awaitEnd(call))
      assert.isTrue(yield* Durable.complete(IBank, "Approve", bench.tokens.get(name)!, Exit.succeed(false)))
      yield* Fiber.join(told)
      yield* Effect.exit(ServerCall.complete(call, true))
      assert.strictEqual((yield* rowOf(handle))!.outcome, `{"t":"ok","v":false}`)
      assert.isFalse(yield* Call.join(pending))
    })
  )

  atWork(
    "handed off, completed with a result that can't be stored: BadStubData by its token, and the call stays",
    Effect.gen(function* () {
      const { handle, name } = yield* approve
      const refused = Durable.complete(IBank, "Approve", bench.tokens.get(name)!, Exit.succeed("yes" as never))
      assert.strictEqual((yield* Effect.flip(refused))._tag, "BadStubData")
      assert.isNull((yield* rowOf(handle))!.outcome)
    })
  )
}
