// A call on a SQLite database, with nothing installed but effect.
import { Call, Interface, Manager } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import * as DurableNode from "@callisto/rpc/durable/node"
import { Effect, Layer, Schema } from "effect"

const ISums = Interface.make("ISums", {
  methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
})
const manager = Manager.make(ISums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })

const live = Durable.serve([manager]).pipe(Layer.provideMerge(DurableNode.embedded({ file: ":memory:" })))

const program = Effect.gen(function* () {
  const sums = yield* Durable.binding(ISums)
  console.log(yield* Call.invoke(sums, "Add", [1, 2, 3]))
}).pipe(Effect.scoped)

await Effect.runPromise(Effect.provide(program, live))
