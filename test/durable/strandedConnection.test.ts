/** The connections of a client to its database are silent for ever, as behind a router that has forgotten them. New ones work. */
import { Call } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import * as DurableNode from "@callisto/rpc/durable/node"
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Option } from "effect"
import { tokenOf } from "./bed.ts"
import { IBank } from "./fixtures.ts"
import { makeProxy } from "./kill/proxy.ts"
import { makePostgres } from "./postgres.ts"
import { build } from "./worlds.ts"

it.live(
  "connections are silent for ever while a client waits: it is told over a new one",
  () =>
    Effect.gen(function* () {
      const { database, port } = yield* makePostgres
      const { layer } = yield* database("stranded")
      const proxy = yield* makeProxy(port)
      const other = yield* build(DurableNode.client({ sql: layer() }))
      const client = yield* build(DurableNode.client({ sql: layer(proxy) }))
      yield* Effect.gen(function* () {
        const pending = yield* Call.start(yield* Durable.binding(IBank), "Add", [1])
        yield* proxy.strand
        yield* Effect.sleep(3_000)
        const token = yield* tokenOf(Durable.handle(pending))
        yield* Effect.provideContext(Durable.complete(IBank, "Add", token, Exit.succeed(1)), other)
        yield* Call.wait(pending, "60 seconds")
        assert.isTrue(Option.isSome(yield* Durable.peek(IBank, "Add", Durable.handle(pending))))
      }).pipe(Effect.provideContext(client))
    }).pipe(Effect.scoped),
  100_000
)
