// Orphans: a client leaves while calls are pending. The server is told, interrupts the work, and discards a late reply.
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
  // The routine does the work itself, so the server interrupts it.
  Print: ({ text }) =>
    Effect.succeed({ pages: 1 }).pipe(
      Effect.delay("1 second"),
      Effect.onInterrupt(() => say("server", `Print: I was interrupted and throw "${text}" away`))
    ),

  // The work belongs to the server, not to the call, so it goes on. Its reply is refused.
  PrintTonight: Manager.handOff(({ text }, call) => {
    const watch = Effect.flatMap(
      ServerCall.awaitCancel(call),
      (reason) => say("server", `PrintTonight: awaitCancel gave ${reason}`)
    )
    const print = Effect.sleep("300 millis").pipe(
      Effect.andThen(say("server", `PrintTonight: "${text}" is printed, I complete the call`)),
      Effect.andThen(ServerCall.complete(call, { pages: 1 })),
      Effect.catch((error) => say("server", `PrintTonight: complete was refused: ${error.message}`))
    )
    const scope = ServerCall.server(call)
    return Effect.andThen(Effect.forkIn(watch, scope), Effect.forkIn(print, scope))
  })
})

const program = Effect.gen(function* () {
  const server = yield* Server.make([manager])
  const printer = Call.client(yield* Binding.local(server, IPrinter))

  const inProgress = Effect.gen(function* () {
    const { length } = yield* Server.calls(server)
    yield* say("server", `calls in progress: ${length}`)
  })

  const client = Effect.gen(function* () {
    yield* printer.Print.begin({ text: "letter" })
    yield* printer.PrintTonight.begin({ text: "book" })
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
