// The manager of the shop: lists the orders that wait for an approval, and approves or refuses one of them.
// Run it: deno run -A examples/durable/approve.ts [ITEM [no]] [--database shop.db] (or: bun ..., node ...)
import * as Durable from "@callisto/rpc/durable"
import { Console, Effect, Exit } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { clientOf, positionals, values } from "./database.ts"
import { IShop, makeTables } from "./shop.ts"

const [wanted, answer = "yes"] = positionals

const program = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* makeTables
  const approvals = yield* sql<{ token: string; item: string; amount: number }>`SELECT * FROM shop_approvals`
  if (!approvals.some(({ item }) => wanted === undefined || wanted === item)) {
    yield* Console.log(wanted === undefined ? "no order waits for an approval" : `no ${wanted} waits for an approval`)
  }
  for (const { amount, item, token } of approvals) {
    if (wanted === undefined) yield* Console.log(`${item}, ${amount}`)
    if (wanted !== item) continue
    // The end of the call and of its approval are one commit.
    yield* sql.withTransaction(Effect.andThen(
      Durable.complete(IShop, "Approve", token, Exit.succeed(answer === "yes")),
      sql`DELETE FROM shop_approvals WHERE token = ${token}`
    ))
    yield* Console.log(`manager: ${answer === "yes" ? "approves" : "refuses"} the ${item}`)
  }
}).pipe(Effect.provide(clientOf(values.database)))

await Effect.runPromise(program)
