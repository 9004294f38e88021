// Wait with a timeout, then cancel with a timeout: one server answers in time, the other does not.
// Run it: deno run examples/wait_then_cancel.ts (or: bun examples/wait_then_cancel.ts)
import { Console, Effect, Schema } from "effect"
import { Binding, Call, Interface, Manager, Server, ServerCall } from "@callisto/rpc"

const start = performance.now()
const say = (who: string, line: string) =>
  Effect.suspend(() =>
    Console.log(`${(performance.now() - start).toFixed(0).padStart(5)} ms  ${who.padEnd(8)}  ${line}`)
  )

const ILibrary = Interface.make("ILibrary", {
  methods: {
    Search: Interface.method({ in: { word: Schema.String }, out: { pages: Schema.Array(Schema.Int) } })
  }
})

// The polite server looks for a cancel between two pages, and answers with the pages that it has found.
const polite = Manager.make(ILibrary, {
  Search: Effect.fnUntraced(function* (_, call) {
    const pages: Array<number> = []
    for (let page = 1; page <= 10; page++) {
      if (yield* ServerCall.testCancel(call)) {
        yield* say("polite", `testCancel is true before page ${page}: I answer with the pages that I have`)
        break
      }
      yield* Effect.sleep("50 millis")
      pages.push(page)
    }
    return { pages }
  })
}, { cancellation: "cooperative" }) // by default a cancel interrupts the routine

// The stubborn server learns of the cancel and goes on.
const stubborn = Manager.make(ILibrary, {
  Search: Effect.fnUntraced(function* (_, call) {
    yield* ServerCall.awaitCancel(call).pipe(
      Effect.flatMap((reason) => say("stubborn", `awaitCancel gave ${reason}: I go on`)),
      Effect.forkChild
    )
    yield* Effect.sleep("500 millis")
    yield* say("stubborn", "done, but my answer comes too late")
    return { pages: [1, 2, 3] }
  })
}, { cancellation: "cooperative" })

const waitThenCancel = Effect.fnUntraced(function* (library: Call.Client<typeof ILibrary>) {
  const searching = yield* library.Search.begin({ word: "moon" })
  yield* say("client", "begun, I wait 120 ms")

  const finished = yield* Call.wait(searching, "120 millis").pipe(
    Effect.as(true),
    Effect.catchTag("WaitTimeout", () => Effect.succeed(false)) // the call goes on
  )
  if (!finished) {
    yield* say("client", "WaitTimeout: I cancel, and wait at most 200 ms for the server's answer")
    yield* Call.cancel(searching, { timeout: "200 millis" })
  }

  // A cancel is a request: the call must still be waited for and finished.
  yield* Call.wait(searching)
  yield* Call.finish(searching).pipe(
    Effect.matchEffect({
      onSuccess: ({ pages }) => say("client", `finish gives pages ${pages.join(", ")}: the server's answer won`),
      onFailure: (error) => say("client", `finish fails with ${error._tag}: the cancel won`)
    })
  )
})

const program = Effect.gen(function* () {
  const politeServer = yield* Server.make([polite])
  yield* waitThenCancel(Call.client(yield* Binding.local(politeServer, ILibrary)))
  yield* Console.log("")

  const stubbornServer = yield* Server.make([stubborn])
  yield* waitThenCancel(Call.client(yield* Binding.local(stubbornServer, ILibrary)))
  yield* Effect.sleep("250 millis")
}).pipe(Effect.scoped)

await Effect.runPromise(program)
