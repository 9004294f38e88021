// The manager of IWords: the same one serves in the server and in the worker.
import { Manager, Pipe, ServerCall } from "@callisto/rpc"
import { Console, Effect, Stream } from "effect"
import { IWords, NoWords } from "./words.ts"

const countWords = (text: string) => text.match(/\S+/g)?.length ?? 0

export const words = Manager.layer(
  IWords,
  Effect.succeed({
    Greet: (_, call) => Effect.succeed(`hello ${ServerCall.caller(call).name ?? "nobody"}`),

    Count: (text) => {
      const count = countWords(text)
      return count === 0 ? Effect.fail(new NoWords({ text })) : Effect.succeed(count)
    },

    Think: ({ seconds }) =>
      Effect.sleep(`${seconds} seconds`).pipe(
        Effect.as(`thought for ${seconds} s`),
        Effect.onInterrupt(() => Console.log("Think: cancelled"))
      ),

    Measure: (_, call) =>
      Effect.gen(function* () {
        const decoder = new TextDecoder()
        let bytes = 0
        let words = 0
        let rest = ""
        yield* Stream.runForEach(Pipe.toStream(ServerCall.inPipe(call, "file")), (chunk) =>
          Effect.sync(() => {
            bytes += chunk.length
            const text = rest + decoder.decode(chunk, { stream: true })
            // A word may go on in the next chunk.
            rest = /\S*$/.exec(text)![0]
            words += countWords(text.slice(0, text.length - rest.length))
          }))
        return { bytes, words: words + countWords(rest + decoder.decode()) }
      }),

    Recite: ({ lines }, call) =>
      Stream.range(1, lines).pipe(
        Stream.map((n) => `line ${n}`),
        Stream.run(Pipe.toSink(ServerCall.outPipe(call, "lines")))
      )
  })
)
