// The worker of the page: serves what the server serves.
import { Server } from "@callisto/rpc"
import { Endpoint } from "@callisto/rpc/dcerpc"
import * as Web from "@callisto/rpc/web"
import { Effect, Layer } from "effect"
import { words } from "./manager.ts"
import { IWords } from "./words.ts"

const live = Endpoint.layer("ncacn_messageport:[words]").pipe(
  Layer.provide([Server.layer([IWords]), Web.layerSelf]),
  Layer.provide(words)
)

Effect.runPromise(Layer.launch(live))
