/** A program that opens and closes connections of each kind. It has to end by itself when its scopes are closed. */
import { Effect, Result } from "effect"
import process from "node:process"
import { parse } from "../../src/transport/StringBinding.ts"
import { Transport } from "../../src/transport/Transport.ts"
import { layer } from "../../src/node.ts"

const scenario = (text: string) =>
  Effect.gen(function* () {
    const transport = yield* Transport
    // A server that reads nothing, and more bytes than the system takes: closing must not wait for them for ever.
    const { address } = yield* transport.listen(Result.getOrThrow(parse(text)), () => Effect.never)
    for (let i = 0; i < 3; i++) {
      const { socket } = yield* transport.connect(address)
      const { writeAll } = yield* socket.writer
      yield* Effect.forkScoped(Effect.ignore(writeAll([new Uint8Array(16_000_000)])))
      const { pull } = yield* socket.reader
      yield* Effect.forkScoped(Effect.ignore(pull))
    }
    yield* Effect.yieldNow
  }).pipe(Effect.scoped, Effect.provide(layer))

await Effect.runPromise(Effect.forEach(process.argv.slice(2), scenario, { concurrency: "unbounded" }))
console.log("closed")
