// The first call: describe an interface, implement it, bind to it, call it, and begin a call whose result is taken later.
// Run it: deno run examples/first_call.ts, bun examples/first_call.ts, or node examples/first_call.ts after npm install.
import { Console, Effect, Schema } from "effect"
import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"

const start = performance.now()
const say = (line: string) =>
  Effect.suspend(() => Console.log(`${(performance.now() - start).toFixed(0).padStart(5)} ms  ${line}`))

// The interface: client and server share it. It runs nothing.
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
  const binding = yield* Binding.local(server, IThermometer)
  const thermometer = Call.client(binding)

  // A call as an effect: begin, wait and finish in one.
  const hall = yield* thermometer.Measure({ room: "hall" })
  yield* say(`the hall has ${hall.celsius} degrees`)

  // A call as an object: its evidence is waited for, cancelled and finished. The end of the scope releases it.
  const measuring = yield* thermometer.Measure.begin({ room: "kitchen" })
  yield* say("begin returned; the thermometer needs 200 ms")

  yield* Effect.sleep("50 millis")
  yield* say("other work is done")

  const early = yield* Effect.flip(Call.finish(measuring)) // takes nothing
  yield* say(`finish is too early: ${early._tag}`)

  const kitchen = yield* Call.join(measuring) // waits, then takes the result
  yield* say(`the kitchen has ${kitchen.celsius} degrees`)

  // An object of your own carries one call after another.
  const call = yield* Call.make(binding)
  for (const room of ["cellar", "attic"]) {
    const again = yield* Call.begin(call, "Measure", { room })
    const { _tag } = yield* Call.state(call)
    const { celsius } = yield* Call.join(again)
    yield* say(`the call was ${_tag}; the ${room} has ${celsius} degrees`)
  }
}).pipe(Effect.scoped)

await Effect.runPromise(program)
