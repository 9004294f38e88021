// Wait for any: a client begins the same call on several servers, takes the first answer, and cancels the other calls.
// Run it: deno run examples/wait_any.ts (or: bun examples/wait_any.ts)
import { Console, Effect, Schema } from "effect"
import { Binding, Call, Interface, Manager, Server, Synchronize } from "@callisto/rpc"

const start = performance.now()
const say = (line: string) =>
  Effect.suspend(() => Console.log(`${(performance.now() - start).toFixed(0).padStart(5)} ms  ${line}`))

const IMirror = Interface.make("IMirror", {
  methods: {
    Fetch: Interface.method({ in: { file: Schema.String }, out: { from: Schema.String, bytes: Schema.Int } })
  }
})

const connect = Effect.fnUntraced(function* (city: string, millis: number) {
  const manager = Manager.make(IMirror, {
    Fetch: ({ file }) =>
      Effect.succeed({ from: city, bytes: file.length * 1000 }).pipe(
        Effect.delay(millis),
        Effect.onInterrupt(() => say(`  ${city}: interrupted`))
      )
  })
  const server = yield* Server.make([manager])
  return Call.client(yield* Binding.local(server, IMirror))
})

type Fetching = Call.Pending<typeof IMirror, "Fetch">

/** The first answer, or `undefined` when the user stops before it comes. */
const fetchFromAny = Effect.fnUntraced(
  function* (mirrors: ReadonlyArray<Call.Client<typeof IMirror>>, file: string, stop: Synchronize.Synchronize) {
    const begun: Array<Fetching> = []
    for (const mirror of mirrors) begun.push(yield* mirror.Fetch.begin({ file }))

    const first = yield* Synchronize.waitAny([stop, ...begun])
    const losers = begun.filter((fetching) => fetching !== first)
    for (const loser of losers) yield* Call.cancel(loser)

    return Synchronize.isSynchronize(first) ? undefined : yield* Call.finish(first)
  },
  Effect.scoped // releases the call objects
)

const program = Effect.gen(function* () {
  const mirrors = [
    yield* connect("Oslo", 300),
    yield* connect("Lima", 120),
    yield* connect("Pune", 220)
  ]

  const stop = yield* Synchronize.make()
  yield* say("I ask three mirrors for logo.svg")
  const logo = yield* fetchFromAny(mirrors, "logo.svg", stop)
  yield* say(logo === undefined ? "stopped" : `${logo.from} was first, with ${logo.bytes} bytes`)

  yield* Effect.forkChild(Effect.delay(Synchronize.signal(stop), "50 millis"))
  yield* say("I ask three mirrors for film.mkv; the user stops after 50 ms")
  const film = yield* fetchFromAny(mirrors, "film.mkv", stop)
  yield* say(film === undefined ? "stopped" : `${film.from} was first, with ${film.bytes} bytes`)
}).pipe(Effect.scoped)

await Effect.runPromise(program)
