// What the programs of this folder share: the interface of the shop, its tables, and the life of an order.
// demo.ts shows all of it at once. By hand: worker.ts in one terminal or more, client.ts and approve.ts in another.
import { Call, Interface } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import { Effect, Schema } from "effect"
import * as SqlClient from "effect/sql/SqlClient"

// ----------------------------------------------------------------------------
// the interface
// ----------------------------------------------------------------------------

const Order = Schema.Struct({ id: Schema.String, item: Schema.String, amount: Schema.Int })
type Order = typeof Order.Type

export const IShop = Interface.make("IShop", {
  methods: {
    Approve: Interface.method({ in: Order, out: Schema.Boolean }),
    Bill: Interface.method({ in: Order, out: Schema.Struct({ invoice: Schema.String }) })
  }
})

// ----------------------------------------------------------------------------
// the tables
// ----------------------------------------------------------------------------

/** An order with the handle of the call it waits for: `Approve` or `Bill`. Other states are final. */
export interface OrderRow extends Order {
  readonly state: "Approve" | "Bill" | "billed" | "refused" | "failed"
  readonly handle: string
  readonly note: string | null
}

export const makeTables = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE IF NOT EXISTS shop_orders (
    id VARCHAR(36) PRIMARY KEY, item TEXT NOT NULL, amount INTEGER NOT NULL,
    state VARCHAR(10) NOT NULL, handle VARCHAR(64) NOT NULL, note TEXT
  )`
  yield* sql`CREATE TABLE IF NOT EXISTS shop_approvals (token VARCHAR(140) PRIMARY KEY, item TEXT NOT NULL, amount INTEGER NOT NULL)`
  yield* sql`CREATE TABLE IF NOT EXISTS shop_invoices (id VARCHAR(36) PRIMARY KEY, order_id VARCHAR(36) NOT NULL)`
})

// ----------------------------------------------------------------------------
// the life of an order
// ----------------------------------------------------------------------------

const shop = Durable.binding(IShop, { maximumAge: "1 day" })

/** Begins the call for the next step of an order. The key makes a repetition find the same call. */
const begin = Effect.fnUntraced(function* (state: "Approve" | "Bill", { amount, id, item }: Order) {
  const { Approve, Bill } = Call.client(yield* shop)
  const order = { id, item, amount }
  const call = state === "Approve"
    ? yield* Approve.begin(order).pipe(Durable.key(id))
    : yield* Bill.begin(order).pipe(Durable.key(id))
  return { state, handle: Durable.handle(call) }
})

/** Stores an order and begins its first call in one transaction: both are there, or neither is. */
export const placeOrder = Effect.fnUntraced(function* (order: Order) {
  const sql = yield* SqlClient.SqlClient
  yield* sql.withTransaction(Effect.gen(function* () {
    const begun = yield* begin(order.amount > 1_000 ? "Approve" : "Bill", order)
    yield* sql`INSERT INTO shop_orders ${sql.insert({ ...order, ...begun })}`
  }))
}, Effect.scoped)

/** Waits for the call of an order, and takes its result. The take, the order and its next call are one commit. */
export const advanceOrder = Effect.fnUntraced(function* (order: OrderRow) {
  const sql = yield* SqlClient.SqlClient
  const set = (values: Partial<OrderRow>) => sql`UPDATE shop_orders SET ${sql.update(values)} WHERE id = ${order.id}`
  const fails = ({ message }: Error) => set({ state: "failed", note: message })
  // These end the call. Any other failure leaves the order as it is.
  const failures = { CallCancelled: fails, RpcFault: fails, RpcTransportError: fails }

  if (order.state === "Approve") {
    const approving = yield* Durable.resume(IShop, "Approve", order.handle)
    yield* Call.wait(approving)
    const take = Effect.flatMap(
      Call.finish(approving),
      (isApproved) => isApproved ? Effect.flatMap(begin("Bill", order), set) : set({ state: "refused" })
    )
    yield* sql.withTransaction(Effect.catchTags(take, failures))
  } else {
    const billing = yield* Durable.resume(IShop, "Bill", order.handle)
    yield* Call.wait(billing)
    const take = Effect.flatMap(Call.finish(billing), ({ invoice }) => set({ state: "billed", note: invoice }))
    yield* sql.withTransaction(Effect.catchTags(take, failures))
  }
}, Effect.scoped)

export const openOrders = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql<OrderRow>`SELECT * FROM shop_orders WHERE state IN ('Approve', 'Bill')`
)

/** Goes on with all open orders, whichever process has begun their calls, until none is open. */
export const closeOrders = Effect.gen(function* () {
  while (true) {
    const orders = yield* openOrders
    if (orders.length === 0) return
    yield* Effect.forEach(orders, advanceOrder, { concurrency: "unbounded", discard: true })
  }
})
