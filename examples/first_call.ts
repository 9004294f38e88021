// The first call: describe an interface, implement it, bind to it, begin a call, do something else, take the result.
// Run it: deno run examples/first_call.ts (or: bun examples/first_call.ts)
import { Console, Effect, Schema } from "effect"
import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"

const start = performance.now()
const say = (line: string) =>
  Effect.suspend(() => Console.log(`${(performance.now() - start).toFixed(0).padStart(5)} ms  ${line}`))

// The interface: what client and server share. It runs nothing.
const IThermometer = Interface.make("IThermometer", {
  methods: {
    Measure: Interface.method({ in: { room: Schema.String }, out: { celsius: Schema.Number } })
  }
})

// The manager: the server's side of the interface. Its effects are the replies.
const temperatures = new Map([["kitchen", 22.5], ["cellar", 11]])
const manager = Manager.make(IThermometer, {
  Measure: ({ room }) =>
    Effect.succeed({ celsius: temperatures.get(room) ?? 18 }).pipe(
      Effect.delay("200 millis")
    )
})

const program = Effect.gen(function* () {
  const server = yield* Server.make([manager])
  const thermometer = yield* Binding.local(server, IThermometer)

  // A call object carries one call at a time. It is released with the scope.
  const call = yield* Call.make(thermometer)
  const measuring = yield* Call.begin(call, "Measure", { room: "kitchen" })
  yield* say("begin returned; the thermometer needs 200 ms")

  yield* Effect.sleep("50 millis")
  yield* say("other work is done")

  const { _tag } = yield* Call.state(call)
  yield* say(`a look at the call: ${_tag}`)

  const kitchen = yield* Call.join(measuring) // waits, then takes the result
  yield* say(`the kitchen has ${kitchen.celsius} degrees`)

  // The object is idle again and can carry the next call.
  const again = yield* Call.begin(call, "Measure", { room: "cellar" })
  const cellar = yield* Call.join(again)
  yield* say(`the cellar has ${cellar.celsius} degrees`)

  // Begin, wait and finish in one effect, without a call object.
  const hall = yield* Call.invoke(thermometer, "Measure", { room: "hall" })
  yield* say(`the hall has ${hall.celsius} degrees`)
}).pipe(Effect.scoped)

await Effect.runPromise(program)
