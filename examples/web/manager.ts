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
      Console.log("Think: begun").pipe(
        Effect.andThen(Effect.sleep(`${seconds} seconds`)),
        Effect.as(`thought for ${seconds} s`),
        Effect.onInterrupt(() => Console.log("Think: cancelled"))
      ),

    Measure: (_, call) =>
      Effect.gen(function* () {
        const decoder = new TextDecoder()
        let bytes = 0
        let words = 0
        let isInWord = false
        yield* Stream.runForEach(Pipe.toStream(ServerCall.inPipe(call, "file")), (chunk) =>
          Effect.sync(() => {
            const text = decoder.decode(chunk, { stream: true })
            bytes += chunk.length
            words += countWords(text)
            // A word goes on where one chunk ends in a word and the next begins in one.
            if (isInWord && /^\S/.test(text)) words--
            if (text !== "") isInWord = /\S$/.test(text)
          }))
        return { bytes, words }
      }),

    Recite: ({ lines }, call) =>
      Stream.range(1, lines).pipe(
        Stream.map((n) => `line ${n}`),
        Stream.run(Pipe.toSink(ServerCall.outPipe(call, "lines")))
      )
  })
)
