/** A worker of Deno and Bun, which clients.test.ts starts. */
import { Effect, Layer } from "effect"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Server from "../../src/Server.ts"
import * as Web from "../../src/web.ts"
import { sums } from "./sums.ts"

const live = Layer.provide(Endpoint.layer("ncacn_messageport:[sums]"), [
  Layer.effect(Server.Server, sums),
  Web.layerSelf
])

Effect.runPromise(Layer.launch(live))
