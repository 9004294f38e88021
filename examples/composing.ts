// Composing: a call is an effect like any other, so timeout, race, all and retry work. A call that loses is cancelled.
// Run it: deno run examples/composing.ts (or: bun examples/composing.ts)
import { Console, Effect, Schedule, Schema } from "effect"
import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"

const start = performance.now()
const say = (line: string) =>
  Effect.suspend(() => Console.log(`${(performance.now() - start).toFixed(0).padStart(5)} ms  ${line}`))

class Busy extends Schema.TaggedError<Busy>()("Busy", { attempt: Schema.Int }) {}

const IWeather = Interface.make("IWeather", {
  methods: {
    Forecast: Interface.method({ in: { city: Schema.String, millis: Schema.Int }, out: Schema.String }),
    Warnings: Interface.method({ out: Schema.Int, aborts: [Busy] })
  }
})

let running = 0
let mostRunning = 0
let attempt = 0

const manager = Manager.make(IWeather, {
  Forecast: ({ city, millis }) =>
    Effect.gen(function* () {
      mostRunning = Math.max(mostRunning, ++running)
      yield* Effect.sleep(millis)
      return `${city} will be sunny`
    }).pipe(
      Effect.onInterrupt(() => say(`  server: ${city} was cancelled`)),
      Effect.ensuring(Effect.sync(() => running--))
    ),
  Warnings: () => Effect.suspend(() => ++attempt < 4 ? Effect.fail(new Busy({ attempt })) : Effect.succeed(2))
})

const program = Effect.gen(function* () {
  const server = yield* Server.make([manager])
  const weather = Call.client(yield* Binding.local(server, IWeather))
  const forecast = (city: string, millis: number) => weather.Forecast({ city, millis })

  yield* say("timeout: 100 ms for a call that takes a second")
  const late = yield* forecast("Rome", 1000).pipe(
    Effect.timeout("100 millis"),
    Effect.catchTag("TimeoutError", () => Effect.succeed("no forecast in time"))
  )
  yield* say(`  ${late}`)

  yield* say("race: the first answer of two calls counts")
  yield* say(`  ${yield* Effect.race(forecast("Cairo", 300), forecast("Quito", 100))}`)

  yield* say("all: nine calls, three at a time")
  mostRunning = 0
  const cities = ["Bern", "Kiev", "Riga", "Baku", "Doha", "Lomé", "Male", "Suva", "Apia"]
  const all = yield* Effect.all(cities.map((city) => forecast(city, 100)), { concurrency: 3 })
  yield* say(`  ${all.length} forecasts, the server saw at most ${mostRunning} calls at once`)

  yield* say("retry: while the server aborts with Busy")
  const warnings = yield* weather.Warnings().pipe(
    Effect.tapError((error) => say(`  ${error._tag}, once more`)),
    Effect.retry({ while: (error) => error._tag === "Busy", schedule: Schedule.exponential("50 millis"), times: 5 })
  )
  yield* say(`  ${warnings} warnings`)
}).pipe(Effect.scoped)

await Effect.runPromise(program)
