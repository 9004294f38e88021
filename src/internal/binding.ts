import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Types from "effect/Types"
import type { Channel } from "../Channel.ts"
import type { Interface, Operation } from "../Interface.ts"
import type { Named } from "./clientCall.ts"
import { PipeInspectable } from "./inspectable.ts"
import { durationOption } from "./options.ts"
import { type Watching, watching } from "./watch.ts"

type Through = (pending: any) => Effect.Effect<unknown, unknown>

export class BindingImpl<I extends Interface.Any> extends PipeInspectable {
  declare readonly "~callisto/Binding": Types.Invariant<I>
  readonly interface: I
  readonly channel: Channel
  readonly cancelTimeout: Duration.Duration
  readonly watching: Watching | undefined
  /** Takes the result of a call through the channel; `undefined` where the channel does not take results. */
  readonly through: Through | undefined
  /** Its methods as the failures of calls name them. */
  readonly named: Map<Operation, Named> = new Map()

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

/** Makes a binding. */
export const bind = <I extends Interface.Any>(
  iface: I,
  channel: Channel,
  options: { readonly cancelTimeout?: Duration.Input | undefined } | undefined,
  through?: Through
): Effect.Effect<BindingImpl<I>> =>
  Effect.map(Effect.context<never>(), (context) => {
    const millis = durationOption(`Binding to ${iface.name}`, "cancelTimeout", options?.cancelTimeout, 0)
    return new BindingImpl(iface, channel, Duration.millis(millis), watching(context, "client"), through)
  })
