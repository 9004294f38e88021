/**
 * The members of operations and calls that only the library sees, beside those for channels and hosts of others.
 */
import type { Incoming, Outgoing } from "../Channel.ts"
import type { Operation } from "../Interface.ts"
import type { Carried, Rules } from "./handleRules.ts"
import type { Ends } from "./pipeEnds.ts"

/** Every operation, as `Interface.make` makes it. */
export interface FullOperation extends Operation, Carried {
  /** The rules for its context handles; `undefined` where it has none. */
  readonly rules: Rules | undefined
}

/** A client's call, as `Call` makes it. */
export interface FullOutgoing extends Outgoing {
  readonly operation: FullOperation
  /** The ends of its pipes on this side. */
  readonly pipes: Ends | undefined
}

/** A call that arrives at a server, as the library's own hosts make it. */
export interface FullIncoming extends Incoming {
  /** The ends of its pipes on the server's side. */
  readonly pipes?: Ends | undefined
  /** A cancel arrived before the whole request. */
  readonly cancelledEarly?: boolean | undefined
  /** The caller's level is below what the manager takes. Called before the refusal. */
  belowLevel?(): void
}

export const fullOperation = (operation: Operation): FullOperation => operation as FullOperation
export const fullOutgoing = (call: Outgoing): FullOutgoing => call as FullOutgoing
export const fullIncoming = (call: Incoming): FullIncoming => call
