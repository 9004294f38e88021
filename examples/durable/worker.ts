// A worker of the shop: runs the calls of the orders. Start as many as you like; Ctrl-C ends one in good order, kill -9 does not.
// Run it: deno run -A examples/durable/worker.ts NAME [--database shop.db] (or: bun ..., node ...)
// With --database postgres://user@host/name each worker on a machine needs a --port of its own; 34431 is the default.
import { Manager } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import { Console, Effect, Layer, References } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { randomUUID } from "node:crypto"
import process from "node:process"
import { positionals, values, workerOf } from "./database.ts"
import { IShop } from "./shop.ts"

const [name = "worker"] = positionals

const manager = Manager.make(IShop, {
  // The invoice and the outcome of the call are one commit, so there is one invoice however many workers are killed here.
  Bill: Effect.fnUntraced(function* ({ id, item }) {
    const sql = yield* SqlClient.SqlClient
    yield* Console.log(`${name}: bills the ${item}`)
    // The slow part comes before the first write: from there on, SQLite lets nobody else write.
    yield* Effect.sleep("1 second")
    const invoice = randomUUID()
    yield* sql`INSERT INTO shop_invoices ${sql.insert({ id: invoice, order_id: id })}`
    yield* Console.log(`${name}: has billed the ${item}`)
    return { invoice }
  }, Effect.orDie),

  // When this returns, the call waits for whoever has its token, and no worker has to live.
  Approve: Manager.handOff(
    Effect.fnUntraced(function* ({ amount, item }, call) {
      const sql = yield* SqlClient.SqlClient
      yield* sql`INSERT INTO shop_approvals ${sql.insert({ token: Durable.token(call), item, amount })}`
      yield* Console.log(`${name}: asks for an approval of the ${item}`)
    }, Effect.orDie)
  )
})

// By default a routine on SQLite has a third of the lease, one second here. That is too short for this one.
const live = Durable.serve([manager], { mode: "transaction", transactionTimeout: "10 seconds" }).pipe(
  Layer.provide(workerOf(values.database, Number(values.port)))
)

const stopSignal = Effect.callback<void>((resume) => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resume(Effect.void))
})

const program = Effect.gen(function* () {
  yield* Console.log(`${name}: ready`)
  yield* stopSignal
}).pipe(
  Effect.provide(live),
  Effect.provideService(References.MinimumLogLevel, "Warn"),
  Effect.provideService(References.LogToStderr, true)
)

await Effect.runPromise(program)
