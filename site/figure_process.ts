// One of the processes of the figure "durable": figures.ts starts and kills them. Each waits for a line with the handles that it needs, and
// says what it does, and when, in lines of JSON.
import { Call, Interface, Manager } from "../mod.ts"
import * as Durable from "../src/durable.ts"
import * as DurableNode from "../src/durable/node.ts"
import { Effect, Exit, Layer, Schema } from "effect"
import process from "node:process"
import { createInterface } from "node:readline"

const [name = "", role = "", file = ""] = process.argv.slice(2)

const input = createInterface(process.stdin)
const handles = await new Promise<ReadonlyArray<string>>((resolve) =>
  input.once("line", (line) => resolve(JSON.parse(line)))
)
input.close()

const IShop = Interface.make("IShop", {
  methods: {
    Bill: Interface.method({ out: { invoice: Schema.String } }),
    Print: Interface.method({ out: { pages: Schema.Int } })
  }
})

const say = (what: string, method: string, words = "") =>
  Effect.sync(() => console.log(JSON.stringify({ at: Date.now(), name, what, method, words })))

const work = <A>(method: string, result: A) =>
  Effect.gen(function* () {
    yield* say("runs", method)
    yield* Effect.sleep("2500 millis")
    yield* say("has run", method)
    return result
  })

const manager = Manager.make(IShop, {
  Bill: () => work("Bill", { invoice: "17" }),
  Print: () => work("Print", { pages: 3 })
})

const database = DurableNode.embedded({ file, client: role !== "serve", lease: "1500 millis" })

const begin = Effect.gen(function* () {
  const shop = yield* Durable.binding(IShop)
  for (const method of ["Bill", "Print"] as const) {
    const call = method === "Bill" ? yield* Call.start(shop, "Bill") : yield* Call.start(shop, "Print")
    yield* say("begins", method, Durable.handle(call))
  }
  yield* Effect.sleep("300 millis")
})

const finish = Effect.gen(function* () {
  const [bill = "", print = ""] = handles
  const calls = [
    ["Bill", Call.join(yield* Durable.resume(IShop, "Bill", bill))],
    ["Print", Call.join(yield* Durable.resume(IShop, "Print", print))]
  ] as const
  yield* Effect.forEach(calls, ([method, join]) =>
    Effect.gen(function* () {
      yield* say("resumes", method)
      const exit = yield* Effect.exit<unknown, unknown, never>(join)
      yield* say(Exit.isSuccess(exit) ? "takes" : "loses", method)
    }), { concurrency: "unbounded" })
})

if (role === "serve") {
  const live = Durable.serve([manager], { mode: { Bill: "transaction" }, transactionTimeout: "10 seconds" })
  const program = Effect.andThen(say("is ready", ""), Effect.never)
  await Effect.runPromise(Effect.provide(program, Layer.provide(live, database)))
} else {
  await Effect.runPromise(Effect.provide(Effect.scoped(role === "begin" ? begin : finish), database))
}
