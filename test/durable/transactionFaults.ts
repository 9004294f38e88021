/** Transactions of the program around durable calls: those that roll back, nest, and wait. */
import { Call, ServerCall, Synchronize } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import { assert } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Queue, type Scope } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { sweep } from "../../src/durable/internal/server.ts"
import { type Bed, callsOf, fresh, serverOf, tokenOf, wordsOf } from "./bed.ts"
import { eventually, IBank, makeBench, rowOf, until } from "./fixtures.ts"
import { build, type World } from "./worlds.ts"

const inside = /begun in this transaction|while a transaction on SQLite waits/

export const transactionFaults = ({ alone, atRest, atWork, bench, kind }: Bed): void => {
  atWork(
    "begun in an inner transaction that fails, and the outer one commits: never begun, 1722",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      let lost: Call.Pending<typeof IBank, "Add"> | undefined
      const kept = yield* sql.withTransaction(Effect.gen(function* () {
        yield* Effect.exit(sql.withTransaction(Effect.gen(function* () {
          lost = yield* Call.start(bank, "Add", [1, 1])
          return yield* Effect.fail("no")
        })))
        return yield* Call.start(bank, "Add", [1, 2])
      }))
      assert.strictEqual(yield* Call.join(kept), 3)
      const error = yield* Effect.flip(Call.join(lost!))
      assert.deepInclude(error, { _tag: "RpcTransportError", status: 1722, didNotExecute: true })
    })
  )

  atWork(
    "begun in an inner transaction, and the outer one fails: never begun, 1722",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      let lost: Call.Pending<typeof IBank, "Add"> | undefined
      yield* Effect.exit(sql.withTransaction(Effect.gen(function* () {
        lost = yield* sql.withTransaction(Call.start(bank, "Add", [1, 1]))
        return yield* Effect.fail("no")
      })))
      assert.deepInclude(yield* Effect.flip(Call.join(lost!)), { status: 1722, didNotExecute: true })
    })
  )

  atWork(
    "begun in an inner transaction that fails, and again in the outer one with its key: one call, and both evidences know it",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const name = fresh("again")
      const begin = Call.start(bank, "Add", [2, 2]).pipe(Durable.key(name))
      let first: Call.Pending<typeof IBank, "Add"> | undefined
      const second = yield* sql.withTransaction(Effect.gen(function* () {
        yield* Effect.exit(sql.withTransaction(Effect.andThen(
          Effect.tap(begin, (pending) => Effect.sync(() => void (first = pending))),
          Effect.fail("no")
        )))
        return yield* begin
      }))
      assert.strictEqual(Durable.handle(first!), Durable.handle(second))
      yield* Call.wait(first!, "10 seconds")
      assert.strictEqual(yield* Call.join(second), 4)
    })
  )

  atWork(
    "begun and resumed by its handle in one transaction: both evidences get the result",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const resumed = yield* sql.withTransaction(Effect.gen(function* () {
        const pending = yield* Call.start(bank, "Add", [3, 4])
        const again = yield* Durable.resume(IBank, "Add", Durable.handle(pending))
        assert.match(wordsOf(yield* Effect.exit(Call.join(again))), inside)
        // The transaction stays open while those who wait look.
        yield* Effect.sleep(300)
        return again
      }))
      assert.strictEqual(yield* Call.join(resumed), 7)
    })
  )

  atWork(
    "resumed in a transaction that rolls back what it began: 1722",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      let resumed: Call.Pending<typeof IBank, "Add"> | undefined
      yield* Effect.exit(sql.withTransaction(Effect.gen(function* () {
        const pending = yield* Call.start(bank, "Add", [3, 4])
        resumed = yield* Durable.resume(IBank, "Add", Durable.handle(pending))
        yield* Effect.sleep(200)
        return yield* Effect.fail("no")
      })))
      assert.deepInclude(yield* Effect.flip(Call.join(resumed!)), { status: 1722 })
    })
  )

  // --- waits that can't end

  const waits: ReadonlyArray<
    readonly [string, (pending: Call.Pending<typeof IBank, "Add">) => Effect.Effect<unknown, unknown, Scope.Scope>]
  > = [
    ["wait", (pending) => Call.wait(pending)],
    ["wait with a timeout", (pending) => Call.wait(pending, "5 seconds")],
    ["join", (pending) => Call.join(pending)],
    ["waitAny", (pending) => Synchronize.waitAny([pending])],
    ["waitAny with a timeout", (pending) => Synchronize.waitAny([pending], "5 seconds")],
    ["waitAll", (pending) => Synchronize.waitAll([pending])],
    ["waitMultiple", (pending) =>
      Effect.gen(function* () {
        const container = yield* Synchronize.container<Call.Pending<typeof IBank, "Add">>()
        yield* Synchronize.add(container, pending)
        return yield* Synchronize.waitMultiple(container)
      })]
  ]
  for (const [name, wait] of waits) {
    atWork(
      `${name} in the transaction of the begin: refused at once, in words`,
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank)
        const sql = yield* SqlClient.SqlClient
        const pending = yield* sql.withTransaction(Effect.gen(function* () {
          const pending = yield* Call.start(bank, "Add", [1, 1])
          const before = performance.now()
          const exit = yield* Effect.exit(Effect.timeout(wait(pending), "10 seconds"))
          assert.match(wordsOf(exit), inside)
          assert.isBelow(performance.now() - before, 4_000)
          return pending
        }))
        // Refusing the wait has harmed nothing.
        assert.strictEqual(yield* Call.join(pending), 2)
      })
    )
  }

  for (const [name, invoke] of [["Call.invoke", false], ["a method of the client object", true]] as const) {
    atWork(
      `${name} in a transaction: refused at once, in words, and nothing runs`,
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank)
        const sql = yield* SqlClient.SqlClient
        const text = fresh("invoked inside")
        const run = invoke ? Call.client(bank).Stop({ name: text }) : Call.invoke(bank, "Stop", { name: text })
        const exit = yield* sql.withTransaction(Effect.exit(Effect.timeout(run, "10 seconds")))
        assert.match(wordsOf(exit), inside)
        yield* Effect.sleep(300)
        assert.notInclude(bench.started, text)
      })
    )
  }

  atWork(
    "notify in the transaction of the begin: told after the commit",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const queue = yield* Queue.unbounded<Call.Completion<string, Call.Pending<typeof IBank, "Add">>>()
      yield* sql.withTransaction(Effect.gen(function* () {
        const pending = yield* Call.start(bank, "Add", [1, 4])
        yield* Call.notify(pending, queue, "mine")
      }))
      const { pending, tag } = yield* Queue.take(queue)
      assert.strictEqual(tag, "mine")
      assert.strictEqual(yield* Call.finish(pending), 5)
    })
  )

  atWork(
    "waitAny in the transaction of the begin, and another object is signaled: that one",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const event = yield* Synchronize.make(true)
      yield* sql.withTransaction(Effect.gen(function* () {
        const pending = yield* Call.start(bank, "Add", [1, 1])
        assert.strictEqual(yield* Synchronize.waitAny([pending, event]), event)
      }))
    })
  )

  atWork(
    "a fiber outside waits while the transaction of the begin is open: it gets the result after the commit",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const object = yield* Call.make(bank)
      const outside = yield* Queue.unbounded<Call.Pending<typeof IBank, "Add">>()
      const fiber = yield* Effect.forkChild(Effect.flatMap(Queue.take(outside), (pending) => Call.join(pending)))
      yield* sql.withTransaction(Effect.gen(function* () {
        Queue.offerUnsafe(outside, yield* Call.begin(object, "Add", [4, 4]))
        yield* Effect.sleep(300)
      }))
      assert.strictEqual(yield* Fiber.join(fiber), 8)
    })
  )

  atWork(
    "a call that was begun before, waited for in a transaction: on PostgreSQL it ends, on SQLite refused in words",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const name = fresh("outside")
      const pending = yield* Call.start(bank, "Stop", { name })
      yield* until(() => bench.started.includes(name))
      const exit = yield* sql.withTransaction(Effect.gen(function* () {
        yield* Effect.forkChild(Effect.sync(() => bench.open(name)))
        return yield* Effect.exit(Call.wait(pending, "10 seconds"))
      }))
      if (kind.name === "PostgreSQL") assert.strictEqual(exit._tag, "Success")
      else assert.match(wordsOf(exit), inside)
      yield* Call.join(pending)
    })
  )

  atWork(
    "a key that attaches in a transaction: to a call that was begun before",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const name = fresh("attached")
      const begin = Call.start(bank, "Add", [5, 6]).pipe(Durable.key(name))
      yield* Call.wait(yield* begin)
      const attached = yield* sql.withTransaction(Effect.gen(function* () {
        const attached = yield* begin
        if (kind.name === "PostgreSQL") yield* Call.wait(attached, "10 seconds")
        return attached
      }))
      assert.strictEqual(yield* Call.join(attached), 11)
    })
  )

  atWork(
    "a key that attaches in a transaction that rolls back: the call goes on",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const name = fresh("attached and gone")
      const begin = Call.start(bank, "Add", [5, 7]).pipe(Durable.key(name))
      yield* begin
      let attached: Call.Pending<typeof IBank, "Add"> | undefined
      yield* Effect.exit(sql.withTransaction(Effect.gen(function* () {
        attached = yield* begin
        return yield* Effect.fail("no")
      })))
      assert.strictEqual(yield* Call.join(attached!), 12)
    })
  )

  atRest(
    "two transactions begin with the same key at once: one call",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const name = fresh("twice")
      const begin = sql.withTransaction(
        Effect.tap(Call.start(bank, "Add", [1]).pipe(Durable.key(name)), () => Effect.sleep(50))
      )
      const all = yield* Effect.all([begin, begin, begin, begin], { concurrency: "unbounded" })
      assert.strictEqual(new Set(all.map(Durable.handle)).size, 1)
    })
  )

  atRest(
    "two transactions begin with the same key at once, and the first rolls back: one call, and one 1722",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const name = fresh("won by the second")
      const begin = Call.start(bank, "Add", [1]).pipe(Durable.key(name))
      const first = yield* Effect.forkChild(Effect.exit(sql.withTransaction(Effect.gen(function* () {
        yield* begin
        yield* Effect.sleep(200)
        return yield* Effect.fail("no")
      }))))
      yield* Effect.sleep(100)
      const second = yield* sql.withTransaction(begin)
      yield* Fiber.join(first)
      assert.isDefined(yield* rowOf(Durable.handle(second)))
      yield* Durable.cancel(Durable.handle(second))
      assert.strictEqual((yield* Effect.flip(Call.join(second)))._tag, "CallCancelled")
    })
  )

  // --- takes

  atWork(
    "taken in an inner transaction that fails, and again in the outer one: taken, once",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const pending = yield* Call.start(bank, "Add", [6, 7])
      yield* Call.wait(pending)
      const handle = Durable.handle(pending)
      yield* sql.withTransaction(Effect.gen(function* () {
        yield* Effect.exit(sql.withTransaction(Effect.andThen(Call.finish(pending), Effect.fail("no"))))
        assert.isNull((yield* rowOf(handle))!.finished_by)
        assert.strictEqual(yield* Call.finish(pending), 13)
      }))
      assert.isNotNull((yield* rowOf(handle))!.finished_by)
      assert.strictEqual(
        (yield* Effect.flip(Call.join(yield* Durable.resume(IBank, "Add", handle))))._tag,
        "CallComplete"
      )
    })
  )

  atWork(
    "a program's transaction with the take fails twice: Effect.retry around it takes and books once",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const amount = 5_000_000 + Math.floor(Math.random() * 1_000_000)
      const pending = yield* Call.start(bank, "Add", [amount])
      yield* Call.wait(pending)
      let tries = 0
      yield* Effect.retry(
        sql.withTransaction(Effect.gen(function* () {
          const sum = yield* Call.join(pending)
          yield* sql`INSERT INTO effects (amount) VALUES (${sum})`
          if (++tries < 3) return yield* Effect.fail("not yet")
        })),
        { times: 5 }
      )
      assert.lengthOf(yield* sql`SELECT amount FROM effects WHERE amount = ${amount}`, 1)
      assert.strictEqual(tries, 3)
    })
  )

  for (const take of ["finish", "join"] as const) {
    atWork(
      `resumed and taken by ${take} in one transaction, when the call has ended: the result`,
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank)
        const sql = yield* SqlClient.SqlClient
        const pending = yield* Call.start(bank, "Add", [4, 9])
        yield* Call.wait(pending)
        const handle = Durable.handle(pending)
        const taken = sql.withTransaction(Effect.gen(function* () {
          return yield* Call[take](yield* Durable.resume(IBank, "Add", handle))
        }))
        assert.strictEqual(yield* taken, 13)
        assert.strictEqual((yield* Effect.flip(taken))._tag, "CallComplete")
      })
    )
  }

  atWork(
    "taken in a transaction whose commit had no answer: CallComplete when it is repeated",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const amount = 7_000_000 + Math.floor(Math.random() * 1_000_000)
      const pending = yield* Call.start(bank, "Add", [amount])
      yield* Call.wait(pending)
      let isLost = true
      // The answer of the first commit is lost on its way, so the program repeats the transaction.
      const taking = sql.withTransaction(Effect.gen(function* () {
        yield* sql`INSERT INTO effects (amount) VALUES (${yield* Call.join(pending)})`
      })).pipe(Effect.andThen(Effect.suspend(() => isLost ? Effect.fail(isLost = false) : Effect.void)))
      const error = yield* Effect.flip(Effect.retry(taking, { times: 1 }))
      assert.deepInclude(error, { _tag: "CallComplete" })
      assert.lengthOf(yield* sql`SELECT amount FROM effects WHERE amount = ${amount}`, 1)
    })
  )

  // On SQLite a commit is a call of a function, which does not lose its answer.
  if (kind.name === "PostgreSQL") {
    atWork(
      "taken in a transaction of which nobody knows the end: taken again only where that was rolled back",
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank)
        const sql = yield* SqlClient.SqlClient
        const { record } = yield* callsOf
        const pending = yield* Call.start(bank, "Add", [2, 9])
        yield* Call.wait(pending)
        const id = Durable.handle(pending)
        let first: string | undefined
        yield* Effect.exit(sql.withTransaction(Effect.gen(function* () {
          first = yield* record.takeWithin(id, "me", undefined, 1)
          assert.strictEqual(yield* record.takeWithin(id, "me", first, 1), first)
          return yield* Effect.fail("no")
        })))
        assert.isString(first)
        const second = yield* sql.withTransaction(record.takeWithin(id, "me", first, 2))
        assert.isString(second)
        assert.isUndefined(yield* sql.withTransaction(record.takeWithin(id, "me", second, 3)))
      })
    )
  }

  atWork(
    "taken in a transaction that rolls back while another evidence takes it: CallComplete to the first",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const pending = yield* Call.start(bank, "Add", [1, 8])
      yield* Call.wait(pending)
      yield* Effect.exit(sql.withTransaction(Effect.andThen(Call.finish(pending), Effect.fail("no"))))
      const other = yield* Durable.resume(IBank, "Add", Durable.handle(pending))
      assert.strictEqual(yield* Call.join(other), 9)
      assert.strictEqual((yield* Effect.flip(Call.finish(pending)))._tag, "CallComplete")
    })
  )

  atWork(
    "taken in a transaction that rolls back, and the object begins another call: the first evidence is stale",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const object = yield* Call.make(bank)
      const first = yield* Call.begin(object, "Add", [1, 9])
      yield* Call.wait(first)
      yield* Effect.exit(sql.withTransaction(Effect.andThen(Call.finish(first), Effect.fail("no"))))
      const second = yield* Call.begin(object, "Add", [2, 9])
      assert.strictEqual((yield* Effect.flip(Call.finish(first)))._tag, "CallComplete")
      assert.strictEqual(yield* Call.join(second), 11)
      assert.strictEqual(yield* Call.join(yield* Durable.resume(IBank, "Add", Durable.handle(first))), 10)
    })
  )

  // --- rows that a transaction of the program holds for long. On SQLite nobody else writes meanwhile.

  if (kind.name === "PostgreSQL") {
    const held = (world: World) =>
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank, { maximumAge: { Stop: "1 second" } })
        const sql = yield* SqlClient.SqlClient
        const first = yield* Call.start(bank, "Stop", { name: "held" })
        const gate = Deferred.makeUnsafe<void>()
        const isHeld = Deferred.makeUnsafe<void>()
        const token = yield* tokenOf(Durable.handle(first))
        const holder = yield* Effect.forkChild(sql.withTransaction(Effect.gen(function* () {
          yield* Durable.complete(IBank, "Stop", token, Exit.void)
          yield* Deferred.succeed(isHeld, undefined)
          yield* Deferred.await(gate)
        })))
        yield* Deferred.await(isHeld)
        // Only one process looks at deadlines, so a client of its own shows what a waiter does by itself.
        const client = yield* build(world.client())
        const again = yield* Effect.provideContext(Durable.resume(IBank, "Stop", Durable.handle(first)), client)
        yield* Effect.forkChild(Effect.ignore(Call.wait(again)))
        yield* Effect.sleep(1_500)
        return { bank, client, first, open: Effect.andThen(Deferred.succeed(gate, undefined), Fiber.join(holder)) }
      })

    alone(
      "a transaction holds a call whose deadline has passed: the deadlines of others are kept",
      (world) =>
        Effect.gen(function* () {
          const { bank, first, open } = yield* held(world)
          yield* build(serverOf(world, makeBench()))
          const other = yield* Call.start(bank, "Stop", { name: "other" })
          // Nobody waits for it, so it ends by the upkeep of the server.
          yield* eventually(rowOf(Durable.handle(other)), (row) => row?.outcome?.includes("1460") === true, 8_000)
          yield* open
          assert.isUndefined(yield* Call.join(first))
        })
    )

    alone(
      "a transaction holds a call whose deadline has passed: who waits for others is told",
      (world) =>
        Effect.gen(function* () {
          const { client, first, open } = yield* held(world)
          yield* Effect.gen(function* () {
            const adding = yield* Call.start(yield* Durable.binding(IBank), "Add", [1, 2])
            const token = yield* tokenOf(Durable.handle(adding))
            const { record } = yield* callsOf
            assert.isTrue(yield* record.end(token.split(".")[0]!, `{"t":"ok","v":"3"}`, Date.now()))
            yield* Call.wait(adding, "8 seconds")
          }).pipe(Effect.provideContext(client))
          yield* open
          assert.isUndefined(yield* Call.join(first))
        })
    )

    alone("a transaction holds a record that is outdated: the others are swept", () =>
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank)
        const sql = yield* SqlClient.SqlClient
        const calls = yield* callsOf
        const all = yield* Effect.forEach([1, 2, 3], (n) => Call.start(bank, "Add", [n]))
        for (const pending of all) {
          yield* Durable.cancel(Durable.handle(pending))
          yield* Call.wait(pending)
        }
        const left = sql.withTransaction(Effect.gen(function* () {
          yield* Effect.exit(Call.finish(all[0]!))
          const others = calls.outside(sweep(calls, Date.now() + 2_000, { keepEnded: 1_000, keepFinished: 1_000 }))
          yield* Effect.timeout(others, "8 seconds")
          return yield* sql<{ readonly id: string }>`SELECT id FROM callisto_calls`
        }))
        assert.deepStrictEqual(yield* left, [{ id: Durable.handle(all[0]!) }])
      }))
  }

  // --- cancels and completions

  atRest(
    "cancelled in a transaction that rolls back: not cancelled",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const handle = Durable.handle(yield* Call.start(bank, "Add", [1]))
      yield* Effect.exit(sql.withTransaction(Effect.andThen(Durable.cancel(handle), Effect.fail("no"))))
      const row = yield* rowOf(handle)
      assert.isNull(row!.cancel_at)
      assert.isNull(row!.outcome)
    })
  )

  atRest(
    "begun and cancelled in one transaction: ended, did not execute",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const pending = yield* sql.withTransaction(
        Effect.tap(Call.start(bank, "Add", [1]), (pending) => Durable.cancel(Durable.handle(pending)))
      )
      assert.deepInclude(yield* Effect.flip(Call.join(pending)), { _tag: "CallCancelled", didNotExecute: true })
    })
  )

  alone(
    "completed by its server call in a transaction that rolls back: its token still ends it",
    (world) =>
      Effect.gen(function* () {
        const bench = makeBench()
        // The program and the server are one process, so the transaction is one of the server's own client.
        const server = yield* build(serverOf(world, bench))
        yield* Effect.gen(function* () {
          const bank = yield* Durable.binding(IBank)
          const sql = yield* SqlClient.SqlClient
          const pending = yield* Call.start(bank, "Approve", { name: "asked" })
          yield* eventually(rowOf(Durable.handle(pending)), (row) => row?.handed_off === 1)
          const complete = ServerCall.complete(bench.calls.get("asked")! as never, true as never)
          yield* Effect.exit(sql.withTransaction(Effect.andThen(complete, Effect.fail("no"))))
          assert.isNull((yield* rowOf(Durable.handle(pending)))!.outcome)
          assert.isTrue(yield* Durable.complete(IBank, "Approve", bench.tokens.get("asked")!, Exit.succeed(true)))
          assert.isTrue(yield* Call.join(pending))
        }).pipe(Effect.provideContext(server))
      })
  )
}
