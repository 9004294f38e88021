/** How the calls of the live figure end, in words. */
import type { Call } from "../../mod.ts"
import { Exit, Option } from "effect"
import type { ILive } from "./ILive.ts"
import type { Outcome } from "./timeline.ts"

/** The methods of the live figure. */
export type Method = "Copy" | "Seal" | "Fill"

/** The evidence of a call of one of the methods. */
export type Pending = { readonly [M in Method]: Call.Pending<typeof ILive, M> }[Method]

const lost: Outcome = { state: "lost", words: "lost" }

const endings: { readonly [tag: string]: Outcome } = {
  CallCancelled: { state: "cancelled", words: "cancelled" },
  NoSpace: { state: "aborted", words: "aborted: NoSpace" },
  RpcFault: { state: "aborted", words: "aborted" }
}

/** The outcome of a call whose join has ended so. */
export const outcomeOf = (exit: Exit.Exit<object, { readonly _tag: string }>): Outcome =>
  Exit.isSuccess(exit)
    ? { state: "replied", words: "replied" }
    : Option.match(Exit.findErrorOption(exit), { onNone: () => lost, onSome: ({ _tag }) => endings[_tag] ?? lost })
