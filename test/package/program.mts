import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
import { Console, Effect, Schema } from "effect"

const Greeter = Interface.make("Greeter", {
  uuid: "0d4a9e0c-6a0e-4a53-9c39-7b7d3a3c7f10",
  version: [1, 0],
  methods: {
    Greet: Interface.method({ in: { name: Schema.String }, out: { greeting: Schema.String } })
  }
})

const manager = Manager.make(Greeter, {
  Greet: ({ name }) => Effect.succeed({ greeting: `Hello, ${name}` })
})

const program = Effect.gen(function* () {
  const server = yield* Server.make([manager])
  const greeter = yield* Binding.local(server, Greeter)
  const { greeting } = yield* Call.invoke(greeter, "Greet", { name: "world" })
  yield* Console.log(greeting)
})

Effect.runFork(Effect.scoped(program))
