// A client that calls over the network, in NDR, as a browser would.
import * as Call from "@callisto/rpc/Call"
import * as Interface from "@callisto/rpc/Interface"
import * as Association from "@callisto/rpc/dcerpc/Association"
import * as Ndr from "@callisto/rpc/ndr/Ndr"
import * as WebSocket from "@callisto/rpc/transport/WebSocket"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Socket from "effect/socket/Socket"

const Sums = Interface.make("Sums", {
  uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
  version: [1, 0],
  methods: {
    Add: Interface.method({
      in: { a: Ndr.Int32, b: Ndr.Int32 },
      out: Ndr.Int32
    })
  }
})

const transport = Layer.provide(
  WebSocket.layer,
  Socket.layerWebSocketConstructorGlobal
)

const program = Effect.gen(function* () {
  const sums = yield* Association.bind(Sums, "ncacn_ws:localhost[8080]")
  return yield* Call.invoke(sums, "Add", { a: 1, b: 2 })
}).pipe(Effect.scoped, Effect.provide(transport))

console.log(await Effect.runPromise(program))
