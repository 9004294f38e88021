/**
 * Calls the methods of rpcecho that impacket_server.py serves, at the string binding that is the argument. Prints `ok NAME` or
 * `not ok NAME: REASON` for each test.
 */
import { deepStrictEqual } from "node:assert/strict"
import process from "node:process"
import { Cause, Effect } from "effect"
import { Call } from "@callisto/rpc"
import { Association } from "@callisto/rpc/dcerpc"
import * as NodeTransport from "@callisto/rpc/node"
import { IRpcEcho } from "../../examples/rpcecho.ts"

const binding = process.argv[2]!

const test = <E, R>(name: string, effect: Effect.Effect<void, E, R>) =>
  Effect.matchCause(effect, {
    onSuccess: () => console.log(`ok ${name}`),
    onFailure: (cause) => console.log(`not ok ${name}: ${Cause.pretty(cause).split("\n").slice(0, 3).join(" ")}`)
  })

const program = Effect.gen(function* () {
  const echo = yield* Association.bind(IRpcEcho, binding)
  const data = Uint8Array.from({ length: 100_001 }, (_, i) => i * 7)

  yield* test(
    "calls one after the other",
    Effect.gen(function* () {
      for (let value = 0; value < 50; value++) {
        deepStrictEqual(yield* Call.invoke(echo, "AddOne", { value }), { value: value + 1 })
      }
    })
  )
  yield* test(
    "calls at once",
    Effect.gen(function* () {
      const values = Array.from({ length: 50 }, (_, i) => i)
      const replies = yield* Effect.forEach(values, (value) => Call.invoke(echo, "AddOne", { value }), {
        concurrency: "unbounded"
      })
      deepStrictEqual(replies.map(({ value }) => value), values.map((value) => value + 1))
    })
  )
  yield* test(
    "fragments both ways",
    Effect.gen(function* () {
      const reply = yield* Call.invoke(echo, "EchoData", { data })
      deepStrictEqual(Uint8Array.from(reply.data), data)
      const source = yield* Call.invoke(echo, "SourceData", { len: 30_000 })
      deepStrictEqual(Uint8Array.from(source.data), Uint8Array.from({ length: 30_000 }, (_, i) => i))
    })
  )
  yield* test(
    "strings",
    Effect.gen(function* () {
      for (const s1 of ["", "a", "grüß Gott", "x".repeat(5000)]) {
        deepStrictEqual(yield* Call.invoke(echo, "TestCall", { s1 }), { s2: s1 })
      }
    })
  )
  yield* test(
    "an unknown opnum",
    Effect.gen(function* () {
      const error = yield* Effect.flip(Call.invoke(echo, "TestCall2", { level: 1 }))
      deepStrictEqual([error._tag, "code" in error && error.code], ["RpcFault", 1745])
      deepStrictEqual(yield* Call.invoke(echo, "AddOne", { value: 1 }), { value: 2 })
    })
  )
  yield* test(
    "an abortive cancel, and the connection lives on",
    Effect.gen(function* () {
      const pending = yield* Call.begin(yield* Call.make(echo), "EchoData", { data })
      yield* Call.cancel(pending)
      deepStrictEqual((yield* Effect.flip(Call.join(pending)))._tag, "CallCancelled")
      deepStrictEqual(yield* Call.invoke(echo, "AddOne", { value: 1 }), { value: 2 })
    }).pipe(Effect.scoped)
  )
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

await Effect.runPromise(program)
