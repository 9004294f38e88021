/** Pipes over the wire, in both transfer syntaxes. */
import { Effect, Layer, Queue, Schema } from "effect"
import * as Association from "../../src/dcerpc/Association.ts"
import * as Endpoint from "../../src/dcerpc/Endpoint.ts"
import * as Ndr from "../../src/dcerpc/Ndr.ts"
import * as Transport from "../../src/dcerpc/Transport.ts"
import { Server, type ServerCall } from "../../mod.ts"
import { makeInterface, makeManager, testPipes, type Types } from "../pipes.ts"

const syntaxes: { readonly [name: string]: Types } = {
  "in Callisto's own syntax": { int: Schema.Int, text: Schema.String },
  "in NDR": { int: Ndr.Int32, text: Ndr.WString }
}

for (const [name, types] of Object.entries(syntaxes)) {
  const IPipes = makeInterface(types)
  const world = Effect.gen(function* () {
    const held = yield* Queue.unbounded<ServerCall.Of<typeof IPipes, "Held">>()
    const server = yield* Server.make([makeManager(IPipes, held)], { grace: 0 })
    const transport = yield* Layer.build(Transport.memory)
    const binding = yield* Effect.provide(
      Effect.andThen(
        Endpoint.serve(server, "ncacn_memory:[pipes]", { grace: 0 }),
        Association.bind(IPipes, "ncacn_memory:[pipes]")
      ),
      transport
    )
    return { binding, held, server }
  }).pipe(Effect.orDie)

  testPipes(name, world)
}
