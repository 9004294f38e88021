/**
 * The calls of a program with an inspector: a picture on a terminal, and otherwise a line for each event.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as Result from "effect/Result"
import type * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import { type Message, type Row, shadeOf, type Totals } from "../inspector/internal/feed.ts"
import type { Shade } from "../inspector/internal/palette.ts"
import { exitCodes, type Failure } from "./Failure.ts"
import { type FeedFailure, Feeds } from "./Feeds.ts"
import { showMillis } from "./Latency.ts"
import { capabilities, harmless, makeLive, type Paint, paint, writeLine } from "./Screen.ts"

/** Where an inspector is, and what opens it. */
export interface Address {
  readonly origin: string
  readonly token: string
}

/** Reads the URL that a program logs. The token is sent to this machine alone. */
export const parse = (url: string): Option.Option<Address> => {
  const [, origin, token] =
    /^(http:\/\/(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?)\/?#token=([\w.~-]{1,200})$/.exec(url) ?? []
  return origin === undefined ? Option.none() : Option.some({ origin, token: token! })
}

export interface WatchOptions {
  readonly address: Address
  /** Only calls that contain each of these words. */
  readonly filter: string | undefined
  readonly side: "client" | "server" | undefined
}

/** How long a program that has gone is looked for, in milliseconds, and how often. */
const patience = 10_000
const pause = 500

/** The longest line of a feed. */
const maximumLine = 64 * 1024 * 1024

// ----------------------------------------------------------------------------
// what is known
// ----------------------------------------------------------------------------

type Calls = Message & { readonly type: "calls" }

/** The calls that the inspector has told of. */
class Known {
  readonly calls = new Map<number, Row>()
  totals: Totals | undefined = undefined
  program: (Message & { readonly type: "hello" })["program"] | undefined = undefined
  maximumEnded = 1000
  /** How far the clock of the program is ahead. */
  ahead = 0
  hasEnded = false
  /** Since when nobody answers, in milliseconds of the clock. */
  goneSince: number | undefined = undefined

  /** Stores the calls of a message, and gives the new and the changed ones. */
  take(message: Calls, now: number): ReadonlyArray<Row> {
    const { ahead, calls } = this
    this.ahead = Number.isFinite(message.now) ? message.now - now : ahead
    this.totals = message.totals
    const changed = message.calls.filter((call) => eventOf(call) !== eventOf(calls.get(call.id)))
    if (message.all) calls.clear()
    for (const call of message.calls) {
      calls.delete(call.id)
      calls.set(call.id, call)
    }
    let tooMany = [...calls.values()].filter(hasEnded).length - this.maximumEnded
    for (const [id, call] of calls) {
      if (tooMany <= 0) break
      if (!hasEnded(call)) continue
      calls.delete(id)
      tooMany--
    }
    return changed
  }
}

const hasEnded = ({ millis }: Row): boolean => millis !== null

/** What makes a call an event: its bytes alone do not. */
const eventOf = (call: Row | undefined): string | undefined =>
  call === undefined ? undefined : `${call.state} ${call.changes.length}`

const isText = (value: unknown): boolean => value === null || typeof value === "string"
const isNumber = (value: unknown): boolean => value === null || Number.isFinite(value)

/** Whether something is a call: whatever listens there may send anything. */
const isRow = (value: unknown): value is Row => {
  if (typeof value !== "object" || value === null) return false
  const row = value as Record<keyof Row, unknown>
  const { address, begunAt, bytesIn, bytesOut, caller, changes, code, id, millis, status } = row
  return [row.side, row.interface, row.method, row.state].every((text) => typeof text === "string") &&
    [id, begunAt, bytesIn, bytesOut].every(Number.isFinite) &&
    [address, caller, status, row.level, row.traceId, row.spanId, row.input].every(isText) &&
    [millis, code].every(isNumber) && Array.isArray(changes) &&
    changes.every((change) => Array.isArray(change) && typeof change[0] === "string" && Number.isFinite(change[1]))
}

const parseMessage = (line: string): Message | undefined => {
  try {
    const message = JSON.parse(line)
    switch (message?.type) {
      case "hello":
        return typeof message.program?.name === "string" && typeof message.program?.runtime === "string" &&
            Number.isInteger(message.program?.pid)
          ? message
          : undefined
      case "calls":
        return Array.isArray(message.calls) && message.calls.every(isRow) && Number.isInteger(message.skipped) &&
            Number.isInteger(message.totals?.begun) && Number.isInteger(message.totals?.inProgress)
          ? message
          : undefined
      case "beat":
      case "end":
        return message
      default:
        return undefined
    }
  } catch {
    return undefined
  }
}

// ----------------------------------------------------------------------------
// watching
// ----------------------------------------------------------------------------

/** Watches until it is interrupted, or until the program has been gone for a while. */
export const watch = (
  { address, filter, side }: WatchOptions,
  json: boolean
): Effect.Effect<never, Failure | PlatformError, Stdio.Stdio> =>
  Effect.gen(function* () {
    const feeds = yield* Feeds
    const known = new Known()
    const words = (filter ?? "").toLowerCase().split(/\s+/)
    const isWanted = (call: Row) =>
      (side === undefined || call.side === side) && words.every((word) => textOf(call).includes(word))
    const isLive = !json && (yield* capabilities("stdout")).canAnimate
    if (isLive) yield* show(known, address, isWanted)

    let isFirst = true
    const receive = (line: string) =>
      Effect.gen(function* () {
        const message = parseMessage(line)
        if (message === undefined) return yield* Effect.fail(noInspector(address))
        if (message.type === "hello") {
          known.program = message.program
          known.hasEnded = false
          known.goneSince = undefined
        } else if (message.type === "end") known.hasEnded = true
        if (message.type !== "calls") return
        const changed = known.take(message, yield* Clock.currentTimeMillis)
        // Calls that had ended before are history.
        const news = changed.filter((call) => isWanted(call) && !(isFirst && hasEnded(call)))
        isFirst = false
        if (isLive) return
        if (message.skipped > 0) {
          yield* writeLine(
            "stdout",
            json
              ? JSON.stringify({ skipped: message.skipped })
              : `${message.skipped} ended calls were too fast to be shown`
          )
        }
        for (const call of news) yield* writeLine("stdout", json ? JSON.stringify(call) : lineOf(call))
      })

    const connection = feeds.open(address.origin, address.token).pipe(
      splitLines(address),
      Stream.runForEach(receive)
    )
    while (true) {
      const outcome = yield* Effect.result(connection)
      if (Result.isFailure(outcome)) {
        const failure = outcome.failure
        if ("_tag" in failure) return yield* Effect.fail(failure)
        if (failure.status !== undefined && failure.status !== 503 || isFirst) {
          return yield* Effect.fail(explain(failure, address, isFirst))
        }
      }
      const now = yield* Clock.currentTimeMillis
      known.goneSince ??= now
      if (now - known.goneSince > patience) return yield* Effect.fail(gone(address, known.hasEnded))
      yield* Effect.sleep(pause)
    }
  }).pipe(Effect.scoped)

/** Cuts bytes into lines. */
const splitLines =
  (address: Address) =>
  (stream: Stream.Stream<Uint8Array, FeedFailure>): Stream.Stream<string, FeedFailure | Failure> =>
    Stream.suspend(() => {
      const decoder = new TextDecoder()
      let rest = ""
      return Stream.flatMap(stream, (chunk): Stream.Stream<string, Failure> => {
        const [first, ...others] = decoder.decode(chunk, { stream: true }).split("\n")
        // Appended only: to look through it again for each chunk would cost the square of a long line.
        rest += first
        const lines = others.length === 0 ? [] : [rest, ...others]
        rest = lines.pop() ?? rest
        return rest.length > maximumLine ? Stream.fail(noInspector(address)) : Stream.fromIterable(lines)
      })
    })

// ----------------------------------------------------------------------------
// failures
// ----------------------------------------------------------------------------

const explain = ({ reason, status }: FeedFailure, { origin }: Address, isFirst: boolean): Failure => {
  const failure = (exitCode: number, message: string, advice: string): Failure => ({
    _tag: "Failure",
    exitCode,
    message,
    advice
  })
  if (status === undefined) {
    return failure(
      exitCodes.unreachable,
      `No inspector answers at ${origin}: ${reason}.`,
      "Check that the program runs, and take the URL that it logs."
    )
  }
  if (status === 401) {
    return failure(
      exitCodes.refused,
      isFirst ? "The token is wrong." : "The program was started again and has another token.",
      "Take the URL that the program logs. With the option token of its inspector it stays the same."
    )
  }
  return failure(
    exitCodes.refused,
    `The inspector at ${origin} answers ${status}: ${reason}`,
    "Look at the program that runs there."
  )
}

const gone = ({ origin }: Address, hasEnded: boolean): Failure => ({
  _tag: "Failure",
  exitCode: exitCodes.unreachable,
  message: hasEnded ? "The program has ended." : `The inspector at ${origin} is gone.`,
  advice: "Start the program again. With the options port and token of its inspector the URL stays the same."
})

const noInspector = ({ origin }: Address): Failure => ({
  _tag: "Failure",
  exitCode: exitCodes.refused,
  message: `What listens at ${origin} is not an inspector that this version of callisto knows.`,
  advice: "Take the URL that the program logs, and the same version of callisto as the program."
})

// ----------------------------------------------------------------------------
// lines
// ----------------------------------------------------------------------------

const textOf = (call: Row): string =>
  [
    `${call.interface}.${call.method}`,
    call.caller,
    call.address,
    call.code,
    call.status,
    call.state,
    call.traceId,
    call.input
  ]
    .filter((part) => part !== null).join("\n").toLowerCase()

const changeTexts: ReadonlyMap<string, string> = new Map([
  ["CancelRequested", "cancel requested"],
  ["HandedOff", "handed off"],
  ["Orphaned", "client let go"],
  ["Disconnected", "client gone"]
])

const changesOf = ({ changes }: Row): string =>
  [...new Set(changes.map(([change]) => changeTexts.get(change) ?? change))].join(", ")

const codeOf = ({ code, status }: Row): string =>
  code === null || code === 0
    ? ""
    : `${code > 0xffff ? `0x${code.toString(16).toUpperCase().padStart(8, "0")}` : code} ${status ?? ""}`.trim()

const durationOf = ({ millis }: Row): string => millis! < 1 ? "< 1 ms" : showMillis(millis!)

const unitsOf = (bytes: number): string => {
  const unit = bytes < 1000 ? 0 : bytes < 1e6 ? 1 : bytes < 1e9 ? 2 : 3
  const value = bytes / 1000 ** unit
  return `${unit === 0 ? value : value.toPrecision(3)} ${["B", "KB", "MB", "GB"][unit]}`
}

const peerOf = ({ address, caller }: Row): string => [caller, address].filter((part) => part !== null).join(" ")

const isoOf = (millis: number): string => {
  const date = new Date(millis)
  return Number.isNaN(date.getTime()) ? "-" : date.toISOString()
}

/** One event of a call. */
const lineOf = (call: Row): string => {
  const time = isoOf(call.begunAt + (call.millis ?? call.changes.at(-1)?.[1] ?? 0))
  const facts = hasEnded(call)
    ? [codeOf(call), durationOf(call), `in ${unitsOf(call.bytesIn)}`, `out ${unitsOf(call.bytesOut)}`]
    : [changesOf(call)]
  const parts = [`${call.side} ${call.interface}.${call.method} ${call.state}`, ...facts, peerOf(call)]
  return harmless(`${time} #${call.id} ${parts.filter((part) => part !== "").join(", ")}`)
}

// ----------------------------------------------------------------------------
// the picture
// ----------------------------------------------------------------------------

const styles: ReadonlyMap<string, keyof Paint> = new Map<Shade, keyof Paint>([
  ["waiting", "yellow"],
  ["running", "cyan"],
  ["replied", "green"],
  ["cancelled", "magenta"],
  ["aborted", "red"],
  ["lost", "dim"]
])

/** Keeps the picture on standard output up to date until the scope closes. */
const show = (known: Known, address: Address, isWanted: (call: Row) => boolean) =>
  Effect.gen(function* () {
    const feeds = yield* Feeds
    const live = makeLive("stdout")
    const colours = yield* paint("stdout")
    const draw = Effect.gen(function* () {
      const size = yield* feeds.size
      const now = yield* Clock.currentTimeMillis
      yield* live.draw(picture(known, address, isWanted, now, size, colours))
    })
    yield* Effect.addFinalizer(() => Effect.andThen(live.draw([]), known.program === undefined ? Effect.void : draw))
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(draw, Effect.sleep("200 millis"))))
  })

interface Column {
  readonly title: string
  readonly width: number
  readonly text: (call: Row, now: number) => string
  readonly right?: boolean
}

const barWidth = 20

/** A bar from 1 ms to 100 s, where each decade has the same width. */
const barOf = (millis: number): string =>
  "━".repeat(Math.max(1, Math.min(barWidth, Math.round(Math.log10(Math.max(1, millis)) / 5 * barWidth))))

const ageOf = (call: Row, now: number): number => call.millis ?? Math.max(0, now - call.begunAt)

const columnsFor = (width: number): ReadonlyArray<Column> => {
  const state: Column = { title: "STATE", width: 9, text: ({ state }) => state }
  const side: Column = { title: "SIDE", width: 6, text: ({ side }) => side }
  const age: Column = {
    title: "AGE",
    width: 8,
    right: true,
    text: (call, now) => hasEnded(call) ? durationOf(call) : `${(ageOf(call, now) / 1000).toFixed(1)} s`
  }
  const bar: Column = { title: "1 ms          100 s", width: barWidth, text: (call, now) => barOf(ageOf(call, now)) }
  const outcome: Column = {
    title: "OUTCOME",
    width: width < 100 ? 22 : 32,
    text: (call) => [codeOf(call), changesOf(call)].filter((part) => part !== "").join(", ")
  }
  const peer: Column = { title: "CALLER AND ADDRESS", width: 30, text: peerOf }
  const bytes: ReadonlyArray<Column> = [
    { title: "IN", width: 7, right: true, text: ({ bytesIn }) => bytesIn === 0 ? "-" : unitsOf(bytesIn) },
    { title: "OUT", width: 7, right: true, text: ({ bytesOut }) => bytesOut === 0 ? "-" : unitsOf(bytesOut) }
  ]
  const call = (taken: ReadonlyArray<Column>): Column => ({
    title: "CALL",
    width: Math.max(8, Math.min(48, width - taken.reduce((sum, { width }) => sum + width + 2, 0))),
    text: ({ interface: name, method }) => width < 60 ? method : `${name}.${method}`
  })
  const [before, after]: readonly [ReadonlyArray<Column>, ReadonlyArray<Column>] = width < 60
    ? [[state], [age]]
    : width < 100
    ? [[state, side], [age, outcome]]
    : width < 150
    ? [[state, side], [age, bar, outcome]]
    : [[state, side], [peer, age, bar, ...bytes, outcome]]
  return [...before, call([...before, ...after]), ...after]
}

/** Text of one width. */
const fit = (text: string, { right, width }: Column): string => {
  const harm = harmless(text)
  const cut = harm.length > width ? `${harm.slice(0, width - 1)}…` : harm
  return right === true ? cut.padStart(width) : cut.padEnd(width)
}

const picture = (
  known: Known,
  { origin }: Address,
  isWanted: (call: Row) => boolean,
  now: number,
  { columns: width, rows: height }: { readonly columns: number; readonly rows: number },
  paint: Paint
): ReadonlyArray<string> => {
  const { ahead, calls, goneSince, program, totals } = known
  if (program === undefined || totals === undefined) return [paint.dim(`Connecting to ${origin}`)]
  const title = `${harmless(program.name)}, ${
    harmless(program.runtime)
  }, process ${program.pid}: ${totals.inProgress} in progress, ${totals.begun} begun`
  const state = goneSince === undefined ? "" : paint.red(
    `  ${known.hasEnded ? "the program has ended" : "the program is gone"}, trying again for ${
      Math.max(0, Math.ceil((patience - (now - goneSince)) / 1000))
    } s`
  )
  const wanted = [...calls.values()].filter(isWanted)
  const open = wanted.filter((call) => !hasEnded(call)).sort((a, b) => a.begunAt - b.begunAt || a.id - b.id)
  const ended = wanted.filter(hasEnded).reverse()
  // The title, the head, and the line of the cursor.
  const room = Math.max(1, height - 4)
  const shownOpen = open.slice(0, ended.length === 0 ? room : Math.max(1, Math.floor(room * 2 / 3)))
  const shown = [...shownOpen, ...ended.slice(0, room - shownOpen.length)]
  const columns = columnsFor(width - 1)
  const lines = shown.map((call) => {
    const style = paint[styles.get(shadeOf(call.state)) ?? "dim"]
    return columns.map((column) => {
      const text = fit(column.text(call, now + ahead), column)
      return column.title === "STATE" || column.width === barWidth ? style(text) : text
    }).join("  ").trimEnd()
  })
  const left = open.length - shownOpen.length
  return [
    paint.bold(title.slice(0, Math.max(1, width - 1))) + state,
    paint.dim(columns.map((column) => fit(column.title, column)).join("  ").trimEnd()),
    ...lines,
    ...(shown.length === 0 ? [paint.dim("No call yet.")] : []),
    ...(left > 0 ? [paint.dim(`${left} more in progress`)] : [])
  ]
}
