// A shop whose calls outlive its processes. Orders are begun before any worker is there, and an operator cancels one. Two workers start,
// and one is killed in the middle of a call. One order waits for a person. All that takes about fifteen seconds.
// Run it on SQLite, in a temporary folder: deno run -A examples/durable/demo.ts (or: bun ..., node ...)
// Run it on PostgreSQL, 14 or later: deno run -A examples/durable/demo.ts --database postgres://user:password@localhost:5432/name
import * as Durable from "@callisto/rpc/durable"
import { Deferred, Effect, Exit, Fiber, Stream } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { spawn } from "node:child_process"
import { randomUUID } from "node:crypto"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { clientOf, values } from "./database.ts"
import { closeOrders, IShop, makeTables, type OrderRow, placeOrder } from "./shop.ts"

const start = performance.now()
const print = (who: string, line: string) =>
  console.log(`${((performance.now() - start) / 1000).toFixed(1).padStart(5)} s  ${who.padEnd(8)}  ${line}`)
const say = (who: string, line: string) => Effect.sync(() => print(who, line))

/** Fails when a program can't go on. */
const failed = Deferred.makeUnsafe<never, Error>()

/** Runs a program of this folder in a process of its own, and kills it when the scope closes. */
const startProgram = (file: string, ...args: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const runtime = process.versions["deno"] === undefined ? process.execArgv : ["run", "-A"]
      const path = fileURLToPath(new URL(file, import.meta.url))
      const child = spawn(process.execPath, [...runtime, path, ...args], { stdio: ["ignore", "pipe", "inherit"] })
      const said: Array<string> = []
      const output = createInterface(child.stdout).on("line", (line) => {
        said.push(line)
        const [who = "", what = ""] = line.split(": ")
        print(who, what)
      })
      const ended = Deferred.makeUnsafe<void>()
      child.on("close", (code) => {
        Deferred.doneUnsafe(ended, Exit.void)
        if (code) Deferred.doneUnsafe(failed, Exit.fail(new Error(`${file} has ended with ${code}`)))
      })
      return {
        ended: Deferred.await(ended),
        kill: Effect.sync(() => child.kill("SIGKILL")),
        /** Waits until the program has said something. */
        says: (text: string) =>
          Effect.callback<void>((resume) => {
            const look = () => said.some((line) => line.includes(text)) && resume(Effect.void)
            output.on("line", look)
            look()
          })
      }
    }),
    ({ ended, kill }) => Effect.andThen(kill, ended)
  )

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "callisto-shop-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const story = Effect.fnUntraced(function* (database: string) {
  const sql = yield* SqlClient.SqlClient
  yield* makeTables

  // No worker is there. The calls are in the database.
  const orders = [["tea", 12], ["book", 40], ["bicycle", 700], ["piano", 9_000]] as const
  const ids = orders.map(() => randomUUID())
  for (const [i, [item, amount]] of orders.entries()) {
    yield* placeOrder({ id: ids[i]!, item, amount })
    yield* say("shop", `ordered the ${item} for ${amount}`)
  }

  const ready = yield* Stream.runCollect(Durable.list(IShop, { state: "ready" }))
  yield* say("operator", `${ready.length} calls wait for a worker; I cancel that of the bicycle`)
  const [bicycle] = yield* sql<OrderRow>`SELECT * FROM shop_orders WHERE id = ${ids[2]!}`
  yield* Durable.cancel(bicycle!.handle)

  // The shop waits for all calls, whatever becomes of the workers.
  const closing = yield* Effect.forkChild(closeOrders)

  const startWorker = (name: string, port: string) =>
    startProgram("worker.ts", name, "--database", database, "--port", port)
  const one = yield* startWorker("worker A", "34431")
  const two = yield* startWorker("worker B", "34432")
  const billsTea = (worker: typeof one) => Effect.as(worker.says("bills the tea"), worker)
  const unlucky = yield* Effect.raceFirst(billsTea(one), billsTea(two))
  yield* unlucky.kill
  yield* unlucky.ended
  yield* say("operator", `I have killed ${unlucky === one ? "worker A" : "worker B"}`)
  yield* unlucky === one ? two.says("has billed the tea") : one.says("has billed the tea")

  // The call of the piano was handed off: it lives without a worker, and whoever has its token can complete it.
  yield* Effect.raceFirst(one.says("approval of the piano"), two.says("approval of the piano"))
  const approving = yield* startProgram("approve.ts", "piano", "--database", database)
  yield* approving.ended

  yield* Fiber.join(closing)
  for (const id of ids) {
    const [order] = yield* sql<OrderRow>`SELECT * FROM shop_orders WHERE id = ${id}`
    const invoices = yield* sql`SELECT id FROM shop_invoices WHERE order_id = ${id}`
    const { item, note, state } = order!
    yield* say("shop", state === "billed" ? `${item}: billed with ${invoices.length} invoice` : `${item}: ${note}`)
  }
})

const program = Effect.gen(function* () {
  const database = values.database ?? join(yield* folder, "shop.db")
  yield* Effect.raceFirst(story(database), Deferred.await(failed)).pipe(Effect.provide(clientOf(database)))
}).pipe(Effect.scoped)

await Effect.runPromise(program)
