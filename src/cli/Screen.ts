/**
 * What people and programs see: results on standard output; errors, and what changes while they wait, on standard error.
 */
import * as TerminalCapabilities from "effect/cli/TerminalCapabilities"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { PlatformError } from "effect/PlatformError"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"

type Output = "stdout" | "stderr"

/** Writes text to one of the outputs. */
export const write = (output: Output, text: string): Effect.Effect<void, PlatformError, Stdio.Stdio> =>
  Stdio.Stdio.use((stdio) => Stream.run(Stream.make(text), stdio[output]()))

/** Writes a line to one of the outputs. */
export const writeLine = (output: Output, line: string): Effect.Effect<void, PlatformError, Stdio.Stdio> =>
  write(output, `${line}\n`)

/** Replaces what would move the cursor, ring the bell or change the colours: text from servers is not trusted. */
export const harmless = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0)!.toString(16)}}`)

/** JSON whose characters can't move the cursor. */
export const escapeJson = (json: string): string =>
  json.replace(
    /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (char) =>
      Array.from({ length: char.length }, (_, i) => `\\u${char.charCodeAt(i).toString(16).padStart(4, "0")}`).join("")
  )

// ----------------------------------------------------------------------------
// colours
// ----------------------------------------------------------------------------

/** Colours, where they are wanted. */
export type Paint = { readonly [style in keyof typeof styles]: (text: string) => string }

const styles = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, magenta: 35, cyan: 36 }

const paintWith = (colours: boolean): Paint => {
  const painter = (code: number) => (text: string) => colours && text !== "" ? `\x1b[${code}m${text}\x1b[0m` : text
  return Object.fromEntries(Object.entries(styles).map(([style, code]) => [style, painter(code)])) as Paint
}

/** What an output can show. */
export const capabilities = (
  output: Output
): Effect.Effect<TerminalCapabilities.TerminalCapabilities, never, Stdio.Stdio> =>
  Stdio.Stdio.use((stdio) =>
    Effect.provide(
      TerminalCapabilities.TerminalCapabilities,
      Layer.provide(
        TerminalCapabilities.layer,
        Layer.succeed(Stdio.Stdio, { ...stdio, stdoutIsTerminal: stdio[`${output}IsTerminal`] })
      )
    )
  )

/** The colours of an output: those of a terminal, unless `NO_COLOR` is set. */
export const paint = (output: Output): Effect.Effect<Paint, never, Stdio.Stdio> =>
  Effect.map(capabilities(output), ({ canColor }) => paintWith(canColor))

// ----------------------------------------------------------------------------
// tables
// ----------------------------------------------------------------------------

/** A column of a table. */
export interface Column {
  readonly title: string
  readonly align?: "right"
  readonly style?: keyof Paint
}

/** A table with a line of titles. */
export const table = (
  columns: ReadonlyArray<Column>,
  rows: ReadonlyArray<ReadonlyArray<string>>,
  paint: Paint
): string => {
  const cells = rows.map((row) => row.map(harmless))
  const widths = columns.map(({ title }, i) => Math.max(title.length, ...cells.map((row) => row[i]!.length)))
  const line = (row: ReadonlyArray<string>, style: (column: Column) => keyof Paint | undefined) =>
    columns.map((column, i) => {
      const text = row[i]!
      const name = style(column)
      const painted = name === undefined ? text : paint[name](text)
      const padding = " ".repeat(widths[i]! - text.length)
      if (column.align === "right") return padding + painted
      return i === columns.length - 1 ? painted : painted + padding
    }).join("  ").trimEnd()
  return [
    line(columns.map(({ title }) => title), () => "bold"),
    ...cells.map((row) => line(row, ({ style }) => style))
  ].join("\n")
}

// ----------------------------------------------------------------------------
// what changes
// ----------------------------------------------------------------------------

/** Lines at the end of the terminal that are drawn again and again. */
export interface Live {
  /** Draws these lines in place of those before. */
  readonly draw: (lines: ReadonlyArray<string>) => Effect.Effect<void, never, Stdio.Stdio>
}

// Lines that are too long are cut by the terminal: wrapped, they would be more than were counted.
const cut = (text: string) => `\x1b[?7l${text}\x1b[?7h`

/** Whether standard error is a terminal on which lines can be drawn again. */
export const canDraw: Effect.Effect<boolean, never, Stdio.Stdio> = Effect.map(
  capabilities("stderr"),
  ({ canAnimate }) => canAnimate
)

/** Lines to draw, by default on standard error. They stay when nothing else is drawn. */
export const makeLive = (output: Output = "stderr"): Live => {
  let drawn: ReadonlyArray<string> = []
  return {
    draw: (lines) =>
      Effect.suspend(() => {
        if (lines.join("\n") === drawn.join("\n")) return Effect.void
        const erase = drawn.length === 0 ? "" : `\x1b[${drawn.length}F\x1b[J`
        drawn = lines
        return Effect.ignore(write(output, erase + cut(lines.map((line) => `${line}\n`).join(""))))
      })
  }
}

/** Says on a terminal what is waited for, and how long, once that is more than a second. */
export const progress = <A, E, R>(
  what: () => string,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R | Stdio.Stdio> => {
  const show = Effect.gen(function* () {
    const start = yield* Clock.currentTimeMillis
    yield* Effect.sleep("1 second")
    const live = makeLive()
    yield* Effect.addFinalizer(() => live.draw([]))
    const { dim } = yield* paint("stderr")
    while (true) {
      const seconds = Math.floor(((yield* Clock.currentTimeMillis) - start) / 1000)
      yield* live.draw([dim(`${harmless(what())}, ${seconds} s. Ctrl-C cancels.`)])
      yield* Effect.sleep("1 second")
    }
  })
  return Effect.gen(function* () {
    if (yield* canDraw) yield* Effect.forkScoped(Effect.scoped(show))
    return yield* effect
  }).pipe(Effect.scoped) as Effect.Effect<A, E, R | Stdio.Stdio>
}
