// A page that calls the server from which it came, over a WebSocket.
import * as Call from "@callisto/rpc/Call"
import * as Interface from "@callisto/rpc/Interface"
import * as Association from "@callisto/rpc/dcerpc/Association"
import * as Web from "@callisto/rpc/web"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const Sums = Interface.make("Sums", {
  methods: {
    Add: Interface.method({
      in: { a: Schema.Int, b: Schema.Int },
      out: Schema.Int
    })
  }
})

const program = Effect.gen(function* () {
  const url = new URL("rpc", "https://app.example/")
  const sums = yield* Association.bind(Sums, Web.bindingOf(url))
  return yield* Call.invoke(sums, "Add", { a: 1, b: 2 })
}).pipe(Effect.scoped, Effect.provide(Web.layer))

console.log(await Effect.runPromise(program))
