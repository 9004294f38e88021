import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Types from "effect/Types"
import type { Channel } from "../Channel.ts"
import type { Interface, Operation } from "../Interface.ts"
import type { FailedCall } from "./callFields.ts"
import { PipeInspectable } from "./inspectable.ts"
import { durationOption } from "./options.ts"
import { type Watching, watching } from "./watch.ts"

/** A call as its failures name it: the same for all calls of a method over one binding. */
export interface Named {
  readonly call: FailedCall
  /** For an abort: its class is the program's own, so the call is a frame of its stack. */
  readonly annotations: Context.Context<never>
}

type Through = (pending: any) => Effect.Effect<unknown, unknown>

export class BindingImpl<I extends Interface.Any> extends PipeInspectable {
  declare readonly "~callisto/Binding": Types.Invariant<I>
  declare readonly interface: I
  declare readonly channel: Channel
  declare readonly cancelTimeout: Duration.Duration
  declare readonly watching: Watching | undefined
  /** Takes the result of a call through the channel; `undefined` where the channel does not take results. */
  declare readonly through: Through | undefined
  /** Its methods as the failures of calls name them. */
  named: Map<Operation, Named> | undefined = undefined

  constructor(
    iface: I,
    channel: Channel,
    cancelTimeout: Duration.Duration,
    watching: Watching | undefined,
    through: Through | undefined
  ) {
    super()
    this.interface = iface
    this.channel = channel
    this.cancelTimeout = cancelTimeout
    this.watching = watching
    this.through = through
  }

  toJSON(): { readonly _id: string; readonly interface: string } {
    return { _id: "callisto/Binding", interface: this.interface.name }
  }
}

interface Options {
  readonly cancelTimeout?: Duration.Input | undefined
}

/** Makes a binding in a context. */
export const makeBinding = <I extends Interface.Any>(
  context: Context.Context<never>,
  iface: I,
  channel: Channel,
  options: Options | undefined,
  through?: Through
): BindingImpl<I> => {
  const millis = durationOption(`Binding to ${iface.name}`, "cancelTimeout", options?.cancelTimeout, 0)
  return new BindingImpl(iface, channel, Duration.millis(millis), watching(context, "client"), through)
}

/** The same in the context of the fiber. */
export const bind = <I extends Interface.Any>(
  iface: I,
  channel: Channel,
  options: Options | undefined,
  through?: Through
): Effect.Effect<BindingImpl<I>> =>
  Effect.withFiber(({ context }) => Effect.succeed(makeBinding(context, iface, channel, options, through)))
