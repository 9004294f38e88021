/** What the types of durable calls say: this file only has to compile. */
import { Call } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import { Effect, Exit, type Option } from "effect"
import { Broke, IBank, makeBench } from "./fixtures.ts"
import { asking } from "./handOffFaults.ts"

Effect.gen(function* () {
  const pending: Call.Pending<typeof IBank, "Pay"> = yield* Durable.resume(IBank, "Pay", "")
  const paid: { readonly receipt: string; readonly at: Date } = yield* Call.join(pending)
  const peeked: Option.Option<Exit.Exit<number, unknown>> = yield* Durable.peek(IBank, "Add", "")
  yield* Durable.complete(IBank, "Approve", "", Exit.succeed(true))
  yield* Durable.abort(IBank, "Pay", "", new Broke({ balance: 1, on: new Date(0) }))
  // @ts-expect-error no such method
  yield* Durable.resume(IBank, "Nothing", "")
  // @ts-expect-error no such method
  yield* Durable.binding(IBank, { maximumAge: { Nothing: "1 day" } })
  // @ts-expect-error another result
  yield* Durable.complete(IBank, "Approve", "", Exit.succeed("yes"))
  // @ts-expect-error an abort that the method does not declare
  yield* Durable.abort(IBank, "Add", "", new Broke({ balance: 1, on: new Date(0) }))
  const { manager } = makeBench()
  Durable.serve([manager, asking], { mode: { Pay: "transaction", Ask: "idempotent" } })
  // @ts-expect-error no such method
  Durable.serve([manager, asking], { mode: { Pya: "transaction" } })
  return [paid, peeked]
})
