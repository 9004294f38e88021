// The same with a call in one process.
import * as Binding from "@callisto/rpc/Binding"
import * as Call from "@callisto/rpc/Call"
import * as Interface from "@callisto/rpc/Interface"
import * as Manager from "@callisto/rpc/Manager"
import * as Server from "@callisto/rpc/Server"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const Sums = Interface.make("Sums", {
  uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
  version: [1, 0],
  methods: {
    Add: Interface.method({
      in: { a: Schema.Int, b: Schema.Int },
      out: Schema.Int
    })
  }
})

const manager = Manager.make(Sums, {
  Add: ({ a, b }) => Effect.succeed(a + b)
})

const program = Effect.gen(function* () {
  const sums = yield* Binding.local(yield* Server.make([manager]), Sums)
  return yield* Call.invoke(sums, "Add", { a: 1, b: 2 })
}).pipe(Effect.scoped)

console.log(await Effect.runPromise(program))
