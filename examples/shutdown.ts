// Shutdown: calls that end within the period of grace still reply, the others end with 1726, new calls are refused with 1722.
// Run it: deno run examples/shutdown.ts (or: bun examples/shutdown.ts)
import { Console, Effect, Exit, Fiber, Schema, Scope } from "effect"
import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"

const start = performance.now()
const say = (who: "client" | "server", line: string) =>
  Effect.suspend(() => Console.log(`${(performance.now() - start).toFixed(0).padStart(5)} ms  ${who}  ${line}`))

const IArchive = Interface.make("IArchive", {
  methods: {
    Copy: Interface.method({ in: { name: Schema.String, millis: Schema.Int }, out: { copied: Schema.String } })
  }
})

const manager = Manager.make(IArchive, {
  Copy: ({ millis, name }) =>
    Effect.succeed({ copied: name }).pipe(
      Effect.delay(millis),
      Effect.onInterrupt(() => say("server", `${name}: interrupted`))
    )
})

const program = Effect.gen(function* () {
  // The server lives in a scope of its own: closing that scope shuts it down.
  const serverScope = yield* Scope.make()
  const server = yield* Server.make([manager], { grace: "400 millis" }).pipe(Scope.provide(serverScope))
  const archive = Call.client(yield* Binding.local(server, IArchive))

  const copy = (name: string, millis: number) =>
    archive.Copy({ name, millis }).pipe(
      Effect.flatMap(({ copied }) => say("client", `${copied}: copied`)),
      Effect.catchTag("RpcTransportError", ({ detail, status }) => say("client", `${name}: ${status}, ${detail}`))
    )

  const copies = yield* Effect.forEach(
    [["note", 100], ["page", 250], ["book", 450], ["shelf", 700], ["hall", 900]] as const,
    ([name, millis]) => Effect.forkChild(copy(name, millis))
  )
  yield* Effect.sleep("150 millis")
  yield* say("server", "shutting down, 400 ms of grace")
  const shutdown = yield* Effect.forkChild(Scope.close(serverScope, Exit.void))

  yield* Effect.sleep("50 millis")
  yield* copy("late", 10)

  yield* Fiber.join(shutdown)
  yield* say("server", "shut down")
  yield* Fiber.awaitAll(copies)
}).pipe(Effect.scoped)

await Effect.runPromise(program)
