/**
 * Calls the rpcecho server at the string binding that is the argument, while the link to it goes down and comes back. Prints `bound` when
 * the link may go down, `ok NAME` or `not ok NAME: REASON` for each test, and ends when a call succeeds again.
 */
import process from "node:process"
import { Cause, Clock, Effect, Exit } from "effect"
import { Call } from "@callisto/rpc"
import { Association } from "@callisto/rpc/dcerpc"
import * as NodeTransport from "@callisto/rpc/node"
import { IRpcEcho } from "../../examples/rpcecho.ts"

const binding = process.argv[2]!

// A call ends after 5 seconds of silence, and as long again for an answer. The rest is for a busy machine.
const options = { keepAlive: "5 seconds", connectTimeout: "5 seconds" } as const
const latest = 45_000

/** Tests that a call fails because its connection is lost, in time. */
const fails = <A, E, R>(name: string, call: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const begun = yield* Clock.currentTimeMillis
    const exit = yield* Effect.exit(Effect.timeoutOption(call, latest))
    const seconds = Math.round(((yield* Clock.currentTimeMillis) - begun) / 1000)
    const outcome = Exit.isSuccess(exit) ? "no failure" : String(Cause.squash(exit.cause))
    const isLost = /RpcTransportError|RPC_S_(CALL_FAILED|SERVER_UNAVAILABLE)/.test(outcome)
    console.log(isLost ? `ok ${name}` : `not ok ${name}: after ${seconds} s ${outcome.split("\n")[0]}`)
  })

/** Calls again and again until a call has no answer for 2 seconds. */
const answered = <A, E, R>(call: Effect.Effect<A, E, R>): Effect.Effect<void, E, R> =>
  Effect.flatMap(
    Effect.timeoutOption(call, "2 seconds"),
    (answer) => answer._tag === "None" ? Effect.void : Effect.delay(answered(call), "200 millis")
  )

const program = Effect.gen(function* () {
  const pending = yield* Association.bind(IRpcEcho, binding, options)
  const later = yield* Association.bind(IRpcEcho, binding, options)
  for (const echo of [pending, later]) yield* Call.invoke(echo, "AddOne", { value: 1 })
  console.log("bound")
  yield* Effect.all([
    fails(
      "a call pending when the link goes down ends with the connection",
      Call.invoke(pending, "TestSleep", {
        seconds: 1000
      })
    ),
    // The link goes down between two of these calls.
    Effect.andThen(
      answered(Call.invoke(later, "AddOne", { value: 1 })),
      fails("a call begun while the link is down ends with the connection", Call.invoke(later, "AddOne", { value: 1 }))
    )
  ], { concurrency: "unbounded" })
  yield* fails("a new connection while the link is down can't be made", Call.invoke(later, "AddOne", { value: 1 }))
  console.log("waiting")
  const again = Call.invoke(later, "AddOne", { value: 1 }).pipe(
    Effect.tapError(() => Effect.sleep("1 second")),
    Effect.eventually,
    Effect.timeoutOption("150 seconds")
  )
  const answer = yield* again
  const name = "calls succeed again when the link is back"
  console.log(answer._tag === "Some" ? `ok ${name}` : `not ok ${name}: no answer`)
})

await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(NodeTransport.layer)))
