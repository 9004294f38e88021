/**
 * The metrics of the record: how many calls are in each state, and how long the oldest ready one has waited.
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { CallsImpl } from "./calls.ts"
import type { State } from "./record.ts"

/** How often calls without an outcome are counted, and the others, of which there may be many more; in milliseconds. */
const openPause = 15_000
const endedPause = 60_000

/** A count that takes long is made less often: at most a fiftieth of the time goes into it. */
const paced = (pause: number, count: Effect.Effect<unknown, unknown>): Effect.Effect<never> =>
  Effect.forever(
    Effect.flatMap(
      // A database that is down leaves the metrics as they are.
      Effect.timed(Effect.ignoreCause(count)),
      ([took]) => Effect.sleep(Math.max(pause, 50 * Duration.toMillis(took)))
    )
  )

/** Counts until it is interrupted. */
export const keepCounts = (calls: CallsImpl, context: Context.Context<never>): Effect.Effect<never> => {
  const gaugeOf = (state: State) =>
    Metric.gauge("callisto_durable_calls", {
      description: "Durable calls in the database, by state",
      attributes: { state }
    })
  const open = new Map((["ready", "running", "handed off"] as const).map((state) => [state as State, gaugeOf(state)]))
  const ended = gaugeOf("ended")
  const finished = gaugeOf("finished")
  const age = Metric.gauge("callisto_durable_oldest_ready", {
    description: "Age of the oldest durable call that is ready, in milliseconds"
  })
  const countOpen = Effect.gen(function* () {
    const counts = new Map((yield* calls.record.countOpen).map((count) => [count.state, count]))
    const now = yield* calls.now
    for (const [state, gauge] of open) gauge.updateUnsafe(counts.get(state)?.calls ?? 0, context)
    age.updateUnsafe(Math.max(0, now - (counts.get("ready")?.oldest ?? now)), context)
  })
  const countEnded = Effect.map(calls.record.countEnded, (count) => {
    ended.updateUnsafe(count.calls - count.finished, context)
    finished.updateUnsafe(count.finished, context)
  })
  // Another process counts from then on: what this one has counted must not be added to that.
  const reset = Effect.sync(() => {
    for (const gauge of [...open.values(), ended, finished, age]) gauge.updateUnsafe(0, context)
  })
  return Effect.ensuring(
    Effect.andThen(
      Effect.all([paced(openPause, countOpen), paced(endedPause, countEnded)], { concurrency: 2 }),
      Effect.never
    ),
    reset
  )
}
