// Deferred completion: the manager hands its calls to a worker, which completes them one after the other.
// Run it: deno run examples/deferred_completion.ts (or: bun examples/deferred_completion.ts)
import { Console, Effect, Queue, Schema } from "effect"
import { Binding, Call, Interface, Manager, Server, ServerCall } from "@callisto/rpc"

const start = performance.now()
const say = (who: "client" | "worker", line: string) =>
  Effect.suspend(() => Console.log(`${(performance.now() - start).toFixed(0).padStart(5)} ms  ${who}  ${line}`))

const IBuilder = Interface.make("IBuilder", {
  methods: {
    Build: Interface.method({ in: { project: Schema.String }, out: { artifact: Schema.String } })
  }
})

const build = (project: string) =>
  Effect.gen(function* () {
    yield* say("worker", `${project}: building`)
    yield* Effect.sleep("150 millis")
    yield* say("worker", `${project}: built`)
    return { artifact: `${project}.tar.gz` }
  }).pipe(
    Effect.onInterrupt(() => say("worker", `${project}: interrupted`))
  )

const program = Effect.gen(function* () {
  const jobs = yield* Queue.unbounded<{ project: string; call: ServerCall.Of<typeof IBuilder, "Build"> }>()

  // The routine returns at once. The call stays open until the worker completes or aborts it.
  const manager = Manager.make(IBuilder, {
    Build: Manager.handOff(({ project }, call) => Queue.offer(jobs, { project, call }))
  })

  const worker = Effect.gen(function* () {
    const { call, project } = yield* Queue.take(jobs)
    // The exit of the work is the reply. A cancel interrupts the work, or keeps it from starting.
    yield* ServerCall.run(call, build(project)).pipe(
      Effect.catchTag("InvalidAsyncHandle", () => say("worker", `${project}: the call has ended`))
    )
  })
  // Forked before the server is made, so that it ends after the server and a shutdown loses no call.
  yield* Effect.forkScoped(Effect.forever(worker))

  const server = yield* Server.make([manager])
  const builder = Call.client(yield* Binding.local(server, IBuilder))

  const kernel = yield* builder.Build.begin({ project: "kernel" })
  const shell = yield* builder.Build.begin({ project: "shell" })
  const editor = yield* builder.Build.begin({ project: "editor" })
  const games = yield* builder.Build.begin({ project: "games" })
  yield* say("client", "four builds are begun; one worker takes them in turn")

  yield* Effect.sleep("200 millis")
  yield* say("client", "I cancel the shell, which the worker builds, and the games, which wait")
  // With an infinite timeout the client waits for the server's answer to the cancel.
  yield* Call.cancel(shell, { timeout: "Infinity" })
  yield* Call.cancel(games, { timeout: "Infinity" })

  for (const pending of [kernel, shell, editor, games]) {
    yield* Call.join(pending).pipe(
      Effect.matchEffect({
        onSuccess: ({ artifact }) => say("client", `got ${artifact}`),
        onFailure: (error) => say("client", `got ${error._tag}`)
      })
    )
  }
}).pipe(Effect.scoped)

await Effect.runPromise(program)
