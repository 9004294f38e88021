/** The suite of call tests over hosts made of the public surface alone, and over the network. */
import { Effect, Layer } from "effect"
import * as Association from "../src/dcerpc/Association.ts"
import * as Endpoint from "../src/dcerpc/Endpoint.ts"
import * as Memory from "../src/transport/Memory.ts"
import { testCalls } from "./calls.ts"
import { hostOf } from "./host.ts"

testCalls("over two queues", { bind: hostOf() })
testCalls("over two queues, where each step takes time", {
  bind: hostOf({ pause: Effect.repeat(Effect.yieldNow, { times: 2 }) })
})

testCalls("over an association", {
  bind: (server, iface, options) =>
    Effect.gen(function* () {
      const transport = yield* Layer.build(Memory.layer)
      return yield* Effect.provide(
        Effect.andThen(
          Endpoint.serve(server, "ncacn_memory:[calls]"),
          // Some of these calls wait for years of virtual time, in which the server would be asked each minute.
          Association.bind(iface, "ncacn_memory:[calls]", { ...options, keepAlive: Infinity })
        ),
        transport
      )
    }).pipe(Effect.orDie),
  settle: Effect.repeat(Effect.yieldNow, { times: 100 })
})
