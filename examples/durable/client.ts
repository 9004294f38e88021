// A customer of the shop: places an order, and goes on with all open orders until none is left. Kill it and start it again, without an
// item: it goes on where it was.
// Run it: deno run -A examples/durable/client.ts [ITEM AMOUNT] [--database shop.db] (or: bun ..., node ...)
import { Console, Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { randomUUID } from "node:crypto"
import { clientOf, positionals, values } from "./database.ts"
import { closeOrders, makeTables, type OrderRow, placeOrder } from "./shop.ts"

const [item, amount] = positionals

const program = Effect.gen(function* () {
  yield* makeTables
  if (item !== undefined) {
    yield* placeOrder({ id: randomUUID(), item, amount: Number(amount ?? 10) })
    yield* Console.log(`ordered the ${item}`)
  }
  yield* closeOrders
  const sql = yield* SqlClient.SqlClient
  for (const { item, note, state } of yield* sql<OrderRow>`SELECT * FROM shop_orders ORDER BY item`) {
    yield* Console.log(`${item}: ${state}${note === null ? "" : `, ${note}`}`)
  }
}).pipe(Effect.provide(clientOf(values.database)))

await Effect.runPromise(program)
