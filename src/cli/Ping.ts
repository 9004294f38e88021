/**
 * How long connecting, binding and a call take, again and again.
 */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type * as Stdio from "effect/Stdio"
import * as Call from "../Call.ts"
import type { Secured } from "../Channel.ts"
import type { Transport } from "../transport/Transport.ts"
import { explain, type Failure, type Target, toJson } from "./Failure.ts"
import { type Answer, bindManagement, succeeded } from "./Inquiries.ts"
import { barStart, Latency, showMillis } from "./Latency.ts"
import { canDraw, harmless, makeLive, type Paint, paint, table } from "./Screen.ts"

/** What was measured so far. */
class Measured {
  readonly bind = new Latency()
  readonly call = new Latency()
  rounds = 0
  failed = 0
  /** The security that was agreed on in the last round. */
  secured: Secured | undefined = undefined
  /** When the round in progress began, in milliseconds of the clock. */
  since: number | undefined = undefined
}

/** One round: a connection of its own, the bind, and one call. */
const round = (target: Target, measured: Measured) =>
  Effect.gen(function* () {
    const start = yield* Clock.currentTimeNanos
    const management = yield* bindManagement(target)
    const bound = yield* Clock.currentTimeNanos
    const object = yield* Call.make(management)
    const asking = yield* Call.begin(object, "is_server_listening")
    measured.secured = yield* Call.security(object)
    yield* Effect.flatMap(Call.join(asking), succeeded)
    const answered = yield* Clock.currentTimeNanos
    const [bind, call] = [Number(bound - start) / 1e6, Number(answered - bound) / 1e6]
    measured.bind.add(bind)
    measured.call.add(call)
    return { bindMillis: rounded(bind), callMillis: rounded(call) }
  }).pipe(Effect.scoped, Effect.mapError(explain(target)))

const rounded = (millis: number): number => Math.round(millis * 1000) / 1000

/**
 * Measures until `count` rounds are done, or until it is interrupted. `report` gets a line for each round, and the summary at the end,
 * also after an interruption. Fails at once when the first round does, and at the end when another one did.
 */
export const ping = (
  target: Target,
  options: { readonly count: Option.Option<number>; readonly interval: Duration.Duration },
  report: (answer: Answer) => Effect.Effect<void, PlatformError, Stdio.Stdio>
): Effect.Effect<void, Failure | PlatformError, Transport | Stdio.Stdio> =>
  Effect.gen(function* () {
    const { binding } = target
    const measured = new Measured()
    const count = Option.getOrElse(options.count, () => Infinity)
    let lastFailure: Failure | undefined
    const measure = Effect.gen(function* () {
      yield* show(binding, count, measured)
      while (measured.rounds < count) {
        if (measured.rounds > 0) yield* Effect.sleep(options.interval)
        measured.since = yield* Clock.currentTimeMillis
        const outcome = yield* Effect.result(round(target, measured))
        measured.since = undefined
        measured.rounds++
        if (Result.isFailure(outcome)) {
          if (measured.rounds === 1) return yield* Effect.fail(outcome.failure)
          lastFailure = outcome.failure
          measured.failed++
        }
        yield* report({
          json: {
            binding,
            round: measured.rounds,
            ...(Result.isSuccess(outcome)
              ? { ...outcome.success, error: null }
              : { bindMillis: null, callMillis: null, error: toJson(outcome.failure) })
          }
        })
      }
    }).pipe(Effect.scoped)
    const summary = Effect.suspend(() => measured.rounds === 0 ? Effect.void : report(summarize(target, measured)))
    yield* Effect.onInterrupt(measure, () => Effect.ignore(summary))
    yield* summary
    if (lastFailure !== undefined) {
      const message = `${measured.failed} of ${measured.rounds} rounds failed, the last one so: ${lastFailure.message}`
      return yield* Effect.fail({ ...lastFailure, message })
    }
  })

// ----------------------------------------------------------------------------
// the summary
// ----------------------------------------------------------------------------

const quantiles = {
  min: (latency: Latency) => latency.min,
  median: (latency: Latency) => latency.quantile(0.5),
  p95: (latency: Latency) => latency.quantile(0.95),
  p99: (latency: Latency) => latency.quantile(0.99),
  max: (latency: Latency) => latency.max
}

const roundsOf = ({ failed, rounds }: Measured): string =>
  `${rounds} ${rounds === 1 ? "round" : "rounds"}${failed === 0 ? "" : `, ${failed} failed`}`

const nameOf = ({ domain, user }: { readonly user: string; readonly domain: string | null }): string =>
  harmless(domain === null ? user : `${domain}\\${user}`)

/** Who called, and how the calls were protected; `undefined` without a login. */
const callerOf = ({ login }: Target, { secured }: Measured) =>
  login && secured &&
  { user: login.user, domain: login.domain ?? null, level: secured.level, provider: secured.provider ?? null }

const summarize = (target: Target, measured: Measured): Answer => {
  const caller = callerOf(target, measured)
  const millis = (latency: Latency) =>
    Object.fromEntries(
      Object.entries(quantiles).map(([name, of]) => [name, rounded(of(latency))])
    )
  const row = (title: string, latency: Latency) => [
    title,
    ...Object.values(quantiles).map((of) => showMillis(of(latency)))
  ]
  return {
    json: {
      binding: target.binding,
      caller: caller ?? null,
      rounds: measured.rounds,
      failed: measured.failed,
      bindMillis: millis(measured.bind),
      callMillis: millis(measured.call)
    },
    text: (paint) =>
      (caller === undefined ? "" : `as ${nameOf(caller)}, ${caller.level}, ${caller.provider}\n`) +
      table(
        [
          { title: roundsOf(measured) },
          ...Object.keys(quantiles).map((name) =>
            ({
              title: name.toUpperCase(),
              align: "right",
              ...(name === "median" ? { style: "cyan" as const } : {})
            }) as const
          )
        ],
        [row("connect and bind", measured.bind), row("call", measured.call)],
        paint
      )
  }
}

// ----------------------------------------------------------------------------
// the histogram
// ----------------------------------------------------------------------------

// So that numbers of six digits have room, too, in the 80 columns of a usual terminal.
const barWidth = 20
const parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]

const bar = (count: number, most: number): string => {
  const eighths = Math.max(count === 0 ? 0 : 1, Math.round(count / most * barWidth * 8))
  return "█".repeat(eighths >> 3) + parts[eighths & 7]!
}

/** Keeps the histogram on the terminal up to date until the scope closes, where standard error is one. */
const show = (
  binding: string,
  count: number,
  measured: Measured
): Effect.Effect<void, never, Stdio.Stdio | Scope.Scope> =>
  Effect.gen(function* () {
    if (!(yield* canDraw)) return
    const live = makeLive()
    const colours = yield* paint("stderr")
    const draw = Effect.flatMap(
      Clock.currentTimeMillis,
      (now) => live.draw(picture(binding, count, measured, now, colours))
    )
    // What it shows at the end stays, without the ^C that the terminal may have added.
    yield* Effect.addFinalizer(() => Effect.andThen(live.draw([]), measured.call.count > 0 ? draw : Effect.void))
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(draw, Effect.sleep("100 millis"))))
  })

/** The histogram of both latencies, side by side, as lines. */
const picture = (
  binding: string,
  count: number,
  measured: Measured,
  now: number,
  paint: Paint
): ReadonlyArray<string> => {
  const of = count === Infinity ? "" : ` of ${count}`
  const seconds = measured.since === undefined ? 0 : Math.floor((now - measured.since) / 1000)
  const waiting = seconds === 0 ? "" : `, no answer for ${seconds} s`
  const title = `${paint.bold(harmless(binding))}  ${roundsOf(measured).replace(/^\d+/, `$&${of}`)}${waiting}`
  const latencies = [measured.bind, measured.call]
  const bars = latencies.flatMap(({ bars }) => bars)
  if (bars.length === 0) return [title]

  const gap = "  "
  const width = barWidth + 8
  const label = (index: number) => showMillis(barStart(index)).padStart(7)
  const most = latencies.map((latency) => Math.max(...latency.bars.map((index) => latency.in(index))))
  const first = Math.min(...bars)
  const lines = Array.from({ length: Math.max(...bars) - first + 1 }, (_, i) => {
    const index = first + i
    const cells = latencies.map((latency, i) => {
      const counted = latency.in(index)
      if (counted === 0) return " ".repeat(width)
      const drawn = bar(counted, most[i]!)
      return paint.cyan(drawn) + ` ${counted}`.padEnd(width - drawn.length)
    })
    return [paint.dim(`${label(index)} - ${label(index + 1)}`), ...cells].join(gap).trimEnd()
  })
  return [title, paint.dim(`${" ".repeat(17)}${gap}${"connect and bind".padEnd(width)}${gap}call`), ...lines]
}
