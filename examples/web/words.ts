// The interface of the example for browsers: the server and the worker serve it, the page calls it.
import { Interface, Pipe } from "@callisto/rpc"
import { Schema } from "effect"

export class NoWords extends Schema.TaggedError<NoWords>()("NoWords", { text: Schema.String }) {
  override get message(): string {
    return `${JSON.stringify(this.text)} has no words`
  }
}

export const IWords = Interface.make("IWords", {
  methods: {
    Greet: Interface.method({ out: Schema.String }),
    Count: Interface.method({ in: Schema.String, out: Schema.Int, aborts: [NoWords] }),
    // Takes as long as it is told, so that there is time to cancel it.
    Think: Interface.method({ in: { seconds: Schema.Int }, out: Schema.String }),
    // Pipes: a file of any size goes up, lines come down until there are enough.
    Measure: Interface.method({ inPipe: { file: Pipe.bytes }, out: { bytes: Schema.Int, words: Schema.Int } }),
    Recite: Interface.method({ in: { lines: Schema.Int }, outPipe: { lines: Schema.String } })
  }
})
