/** The worker with the server of the live page, which calls it over message ports, in DCE/RPC. */
import { MessagePort } from "../../src/transport.ts"
import { Effect } from "effect"
import { serve } from "./server.ts"

declare const self: MessagePort.MessagePortLike

Effect.runFork(
  Effect.andThen(serve("ncacn_messageport:[live]", (note) => self.postMessage(note, [])), Effect.never).pipe(
    Effect.scoped,
    Effect.provide(MessagePort.layer(self))
  )
)
