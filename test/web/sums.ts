/** What workers serve in the tests. */
import { Effect, Schema } from "effect"
import { Interface, Manager, Server } from "../../mod.ts"

export const ISums = Interface.make("ISums", {
  methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
})

export const sums = Server.make([
  Manager.make(ISums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
])
