import type * as Duration from "effect/Duration"
import type * as Types from "effect/Types"
import type { Binding } from "../Binding.ts"
import type { Channel, Outcome } from "../Channel.ts"
import type { Interface, Operation } from "../Interface.ts"
import { PipeInspectable } from "./inspectable.ts"
import type { Watching } from "./watch.ts"

export class BindingImpl<I extends Interface.Any> extends PipeInspectable implements Binding<I> {
  declare readonly "~callisto/Binding": Types.Invariant<I>
  readonly interface: I
  readonly channel: Channel
  readonly cancelTimeout: Duration.Duration
  readonly watching: Watching | undefined
  /** The outcomes of cancelled calls, which did and did not execute. */
  readonly cancelled: Map<Operation, readonly [Outcome, Outcome]> = new Map()

  constructor(iface: I, channel: Channel, cancelTimeout: Duration.Duration, watching: Watching | undefined) {
    super()
    this.interface = iface
    this.channel = channel
    this.cancelTimeout = cancelTimeout
    this.watching = watching
  }

  toJSON(): { readonly _id: string; readonly interface: string } {
    return { _id: "callisto/Binding", interface: this.interface.name }
  }
}
