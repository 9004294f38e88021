/** A routine that passes the failure of a call of its own on to its client, over everything that carries calls. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import * as Association from "../src/dcerpc/Association.ts"
import * as Endpoint from "../src/dcerpc/Endpoint.ts"
import * as Memory from "../src/transport/Memory.ts"
import { Binding, Call, Manager, Server, ServerCall, Status } from "../mod.ts"
import { type Bind, Job1 } from "./fixtures.ts"
import { hostOf } from "./host.ts"

const hosts: Record<string, Bind> = {
  "in one process": Binding.local,
  "in one process, checked": (server, iface) => Binding.local(server, iface, { validate: true }),
  "over two queues": hostOf(),
  "over an association": (server, iface) =>
    Effect.gen(function* () {
      const transport = yield* Layer.build(Memory.layer)
      const served = Endpoint.serve(server, "ncacn_memory:[passed on]")
      return yield* Effect.provide(
        Effect.andThen(served, Association.bind(iface, "ncacn_memory:[passed on]")),
        transport
      )
    }).pipe(Effect.orDie)
}

const failures = {
  "RpcFault 1723": { error: new Status.RpcFault({ code: 1723, didNotExecute: true }), code: 1723 },
  "CallCancelled": { error: new Status.CallCancelled({ didNotExecute: true }), code: 1726 },
  "RpcTransportError 1722": { error: new Status.RpcTransportError({ status: 1722, detail: "no route" }), code: 1726 }
}

type Run = ServerCall.Of<typeof Job1, "Run">

type Failing = (error: Status.RpcFault | Status.CallCancelled | Status.RpcTransportError) => Manager.Routine<
  (typeof Job1)["methods"]["Run"],
  never
>

const ways: Record<string, Failing> = {
  "a routine fails": (error) => () => Effect.fail(error),
  "a routine fails later": (error) => () => Effect.andThen(Effect.yieldNow, Effect.fail(error)),
  "ServerCall.abort": (error) => Manager.handOff((_, call: Run) => ServerCall.abort(call, error).pipe(Effect.orDie)),
  "ServerCall.run": (error) =>
    Manager.handOff((_, call: Run) => ServerCall.fork(call, ServerCall.run(call, Effect.fail(error))))
}

for (const [host, bind] of Object.entries(hosts)) {
  describe(`a failure that is passed on ${host}`, () => {
    for (const [way, routine] of Object.entries(ways)) {
      for (const [title, { code, error }] of Object.entries(failures)) {
        it.effect(`${way} with ${title} that did not execute: the client's call did, and ends with ${code}`, () =>
          Effect.gen(function* () {
            const server = yield* Server.make([Manager.make(Job1, { Run: routine(error) })])
            const job = yield* bind(server, Job1)
            const failure = yield* Effect.flip(Call.invoke(job, "Run", "a"))
            assert.deepInclude(failure, { _tag: "RpcFault", code, didNotExecute: false })
          }).pipe(Effect.provide(Logger.layer([]))))
      }
    }
  })
}
