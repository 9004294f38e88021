// A completion queue: one loop collects a hundred calls in the order in which they complete.
// Run it: deno run examples/completion_queue.ts (or: bun examples/completion_queue.ts)
import { Console, Effect, Queue, Schema } from "effect"
import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"

const IOracle = Interface.make("IOracle", {
  methods: {
    Ask: Interface.method({ in: { question: Schema.Int }, out: { answer: Schema.Int } })
  }
})

// The times look random, but are the same on every run.
const thinkingTime = (question: number) => (question * 37) % 101

const manager = Manager.make(IOracle, {
  Ask: ({ question }) =>
    Effect.succeed({ answer: question * question }).pipe(
      Effect.delay(thinkingTime(question) * 10)
    )
})

const program = Effect.gen(function* () {
  const server = yield* Server.make([manager])
  const oracle = Call.client(yield* Binding.local(server, IOracle))

  const completions = yield* Queue.unbounded<Call.Completion<number, Call.Pending<typeof IOracle, "Ask">>>()
  for (let question = 1; question <= 100; question++) {
    const asking = yield* oracle.Ask.begin({ question })
    yield* Call.notify(asking, completions, question) // the question is the tag
  }
  yield* Console.log("100 calls are begun. Their tags, in order of completion:")

  const start = performance.now()
  let row = ""
  let sum = 0
  for (let collected = 1; collected <= 100; collected++) {
    const { pending, tag } = yield* Queue.take(completions)
    const { answer } = yield* Call.finish(pending) // the call is complete, so finish never refuses
    sum += answer
    row += String(tag).padStart(5)
    if (collected % 10 === 0) {
      yield* Console.log(`${(performance.now() - start).toFixed(0).padStart(5)} ms ${row}`)
      row = ""
    }
  }
  yield* Console.log(`The sum of the answers is ${sum}, expected ${100 * 101 * 201 / 6}.`)
}).pipe(Effect.scoped)

await Effect.runPromise(program)
