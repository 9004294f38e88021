/** The sockets between the runners of a database. */
import { assert, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import { SocketError, SocketReadError } from "effect/socket/Socket"
import { SocketServer } from "effect/socket/SocketServer"
import { connect } from "node:net"
import { listener } from "../../src/durable/internal/sockets.ts"
import { until } from "./fixtures.ts"
import { freePort } from "./postgres.ts"

it.live("a client resets its connection: the log has nothing, and another client is served", () =>
  Effect.gen(function* () {
    const port = yield* freePort
    const logged: Array<unknown> = []
    const logger = Logger.make(({ message }) => void logged.push(message))
    let count = 0
    const serve = Effect.gen(function* () {
      const server = yield* SocketServer
      yield* Effect.forkScoped(server.run(() =>
        Effect.suspend(() => {
          count++
          return Effect.fail(new SocketError({ reason: new SocketReadError({ cause: new Error("ECONNRESET") }) }))
        })
      ))
      for (const n of [1, 2]) {
        const socket = connect({ host: "127.0.0.1", port }).on("error", () => {})
        yield* until(() => count === n)
        socket.destroy()
      }
    })
    yield* Effect.scoped(serve).pipe(
      Effect.provide([listener({ host: "127.0.0.1", port }), Logger.layer([logger])])
    )
    assert.deepStrictEqual(logged, [])
  }))
