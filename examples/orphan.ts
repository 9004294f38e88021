// Orphans: a client leaves while calls are pending. The server is told, the work interrupted, a late reply refused.
// Run it: deno run examples/orphan.ts (or: bun examples/orphan.ts)
import { Console, Effect, Schema } from "effect"
import { Binding, Call, Interface, Manager, Server, ServerCall } from "@callisto/rpc"

const start = performance.now()
const say = (who: "client" | "server", line: string) =>
  Effect.suspend(() => Console.log(`${(performance.now() - start).toFixed(0).padStart(5)} ms  ${who}  ${line}`))

const Print = Interface.method({ in: { text: Schema.String }, out: { pages: Schema.Int } })

const IPrinter = Interface.make("IPrinter", {
  methods: { Print, PrintTonight: Print }
})

const manager = Manager.make(IPrinter, {
  // The routine itself does the work: it is interrupted.
  Print: ({ text }) =>
    Effect.succeed({ pages: 1 }).pipe(
      Effect.delay("1 second"),
      Effect.onInterrupt(() => say("server", `Print: I was interrupted and throw "${text}" away`))
    ),

  // The work goes on after the hand-off and is not tied to the call: it is told, and its reply is refused.
  PrintTonight: Manager.handOff(Effect.fnUntraced(function* ({ text }, call) {
    yield* ServerCall.awaitCancel(call).pipe(
      Effect.flatMap((reason) => say("server", `PrintTonight: awaitCancel gave ${reason}`)),
      Effect.forkScoped // in the scope of the server
    )
    yield* Effect.sleep("300 millis").pipe(
      Effect.andThen(say("server", `PrintTonight: "${text}" is printed, I complete the call`)),
      Effect.andThen(ServerCall.complete(call, { pages: 1 })),
      Effect.catch((error) => say("server", `PrintTonight: complete was refused: ${error.message}`)),
      Effect.forkScoped
    )
  }))
})

const program = Effect.gen(function* () {
  const server = yield* Server.make([manager])
  const printer = yield* Binding.local(server, IPrinter)

  const inProgress = Effect.gen(function* () {
    const { length } = yield* Server.calls(server)
    yield* say("server", `calls in progress: ${length}`)
  })

  const client = Effect.gen(function* () {
    yield* Call.begin(yield* Call.make(printer), "Print", { text: "letter" })
    yield* Call.begin(yield* Call.make(printer), "PrintTonight", { text: "book" })
    yield* say("client", "two calls are begun")
    yield* inProgress
    yield* Effect.sleep("100 millis")
    yield* say("client", "I leave without cancelling or finishing anything")
  })

  yield* Effect.scoped(client) // the end of the scope releases the call objects
  yield* inProgress
  yield* Effect.sleep("300 millis")
}).pipe(Effect.scoped)

await Effect.runPromise(program)
