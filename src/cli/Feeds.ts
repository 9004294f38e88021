/**
 * What inspectors tell, and the size of the terminal that shows it.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

/** Why an inspector tells nothing: its answer, or none at all. */
export interface FeedFailure {
  /** The status of HTTP; `undefined` where nobody answers. */
  readonly status: number | undefined
  readonly reason: string
}

/** What the tool asks of its platform. */
export interface Feeds {
  /** The bytes of the feed of an inspector, until its connection ends. */
  readonly open: (origin: string, token: string) => Stream.Stream<Uint8Array, FeedFailure>
  /** How many characters standard output has, where it is a terminal. */
  readonly size: Effect.Effect<{ readonly columns: number; readonly rows: number }>
}

/** The feeds; by default there are none. */
export const Feeds: Context.Reference<Feeds> = Context.Reference<Feeds>("@callisto/rpc/cli/Feeds", {
  defaultValue: () => ({
    open: () => Stream.fail({ status: undefined, reason: "there is no network" }),
    size: Effect.succeed({ columns: 80, rows: 24 })
  })
})
