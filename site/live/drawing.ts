/** Calls as an SVG picture: a pure function of the rows and the time, for the live page and for the figures in files. */
import { palette } from "../../src/inspector/internal/palette.ts"
import type { Message, Row, Segment, State } from "./timeline.ts"

/** What part of time a picture shows, in milliseconds. */
export interface View {
  readonly from: number
  readonly to: number
  /** The present: bars without an end reach it. */
  readonly now: number
  /** Room for so many rows; the picture is as high, whether or not they are there. */
  readonly rows: number
  /** The words for people who do not see the picture. */
  readonly title: string
  /** The width of the picture: `narrow`, for telephones, has the words above the bars. */
  readonly width: "wide" | "narrow"
}

const axisHeight = 26
const barHeight = 13

/** Where the parts of a row are. */
interface Layout {
  readonly width: number
  readonly left: number
  readonly right: number
  readonly row: number
  /** The bars, from the top of the row. */
  readonly client: number
  readonly server: number
  /** The name and the outcome. */
  readonly words: number
  readonly outcome: { readonly x: number; readonly anchor: "start" | "end" }
}

const layouts: { readonly [width in View["width"]]: Layout } = {
  wide: {
    width: 960,
    left: 132,
    right: 800,
    row: 64,
    client: 16,
    server: 43,
    words: 40,
    outcome: { x: 814, anchor: "start" }
  },
  narrow: {
    width: 400,
    left: 44,
    right: 386,
    row: 74,
    client: 30,
    server: 54,
    words: 13,
    outcome: { x: 386, anchor: "end" }
  }
}

const escape = (text: string): string => text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)

const round = (x: number): number => Math.round(x * 10) / 10

/** The picture, as text of SVG. Its colours are the variables that `colours` gives. */
export const draw = (rows: ReadonlyArray<Row>, view: View): string => {
  const layout = layouts[view.width]
  const { left, right, width } = layout
  const perMilli = (right - left) / (view.to - view.from)
  const x = (at: number) => round(left + Math.min(Math.max(at - view.from, 0), view.to - view.from) * perMilli)
  const within = (at: number) => at >= view.from && at <= view.to

  const bar = (y: number, segments: ReadonlyArray<Segment>) =>
    segments.filter(({ from, to = view.now }) => to >= view.from && from <= view.to).map(({ from, state, to }) => {
      const start = x(from)
      const length = Math.max(round(x(to ?? view.now) - start), 1.5)
      return `<rect class="${state}" x="${start}" y="${y}" width="${length}" height="${barHeight}" rx="2"/>`
    }).join("")

  const message = (top: number, bottom: number) => ({ arrives, at, direction, kind, word }: Message) => {
    if (!within(at)) return ""
    const [start, end] = direction === "down" ? [top, bottom] : [bottom, top]
    const [from, to] = [x(at), x(arrives ?? at)]
    // The two lines of the tip lie to both sides of the arrow.
    const angle = Math.atan2(end - start, to - from)
    const tip = [angle + 2.6, angle - 2.6].map((side) =>
      `${round(to + 6 * Math.cos(side))} ${round(end + 6 * Math.sin(side))}`
    )
    const label = word === undefined
      ? ""
      : `<text class="word" x="${from}" y="${direction === "down" ? top - barHeight - 4 : bottom + barHeight + 11}">${
        escape(word)
      }</text>`
    return `<path class="message ${kind}" d="M${from} ${start}L${to} ${end}M${tip[0]}L${to} ${end}L${tip[1]}"/>${label}`
  }

  const drawRow = ({ client, label, marks, messages, outcome, server }: Row, index: number) => {
    const y = index * layout.row
    const [top, bottom, words] = [y + layout.client, y + layout.server, y + layout.words]
    const [clientRail, serverRail] = [top + barHeight / 2, bottom + barHeight / 2]
    return [
      `<g><text class="name" x="0" y="${words}">${escape(label)}</text>`,
      `<text class="side" x="${left - 8}" y="${top + 10}">client</text>`,
      `<text class="side" x="${left - 8}" y="${bottom + 10}">server</text>`,
      `<path class="rail" d="M${left} ${clientRail}H${right}M${left} ${serverRail}H${right}"/>`,
      bar(top, client),
      bar(bottom, server),
      ...messages.map(message(top + barHeight, bottom)),
      ...marks.filter(({ at }) => within(at)).map(({ at, side, word }) =>
        `<path class="mark" d="M${x(at)} ${(side === "server" ? bottom : top) - 3}v${barHeight + 6}"/>` +
        `<text class="word" x="${x(at)}" y="${side === "server" ? bottom + barHeight + 11 : top - 4}">${
          escape(word)
        }</text>`
      ),
      outcome === undefined
        ? ""
        : `<text class="outcome ${outcome.state}" text-anchor="${layout.outcome.anchor}" x="${layout.outcome.x}" y="${words}">${
          escape(outcome.words)
        }</text>`,
      "</g>"
    ].join("")
  }

  const axis = view.rows * layout.row
  const step = stepOf(view.to - view.from) * (view.width === "narrow" ? 2 : 1)
  let ticks = ""
  for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) {
    ticks += `<path class="tick" d="M${x(at)} 0V${axis + 4}"/>` +
      `<text class="time" x="${x(at)}" y="${axis + 18}">${round(at / 1000)} s</text>`
  }
  return `<svg class="calls" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${
    axis + axisHeight
  }" role="img" aria-label="${escape(view.title)}">${ticks}${rows.slice(-view.rows).map(drawRow).join("")}</svg>`
}

/** The milliseconds between two ticks of the axis. */
const stepOf = (span: number): number => span > 4000 ? 1000 : span > 1500 ? 500 : 100

// ----------------------------------------------------------------------------
// colours
// ----------------------------------------------------------------------------

type Scheme = "light" | "dark"

/** The words, the quiet words and the lines. Each word has a contrast of 4.5 or more to the page. */
const inks: { readonly [scheme in Scheme]: { readonly [name: string]: string } } = {
  light: { text: "#24292f", quiet: "#5f6672", line: "#d5d9e0" },
  dark: { text: "#e6e6e6", quiet: "#a1a8b5", line: "#3a3d45" }
}

const states = Object.keys(palette) as ReadonlyArray<State>

const variables = (scheme: Scheme): string =>
  [...Object.entries(inks[scheme]), ...states.map((state) => [state, palette[state][scheme]] as const)]
    .map(([name, value]) => `--call-${name}:${value}`).join(";")

/** The rules of style that a page with drawings needs; `.dark` above a drawing makes it dark. */
export const style: string = [
  `.calls,.call-colours{${variables("light")}}`,
  ".calls{font:13px ui-sans-serif,system-ui,sans-serif;display:block;width:100%;height:auto}",
  `.dark .calls,.dark .call-colours{${variables("dark")}}`,
  ".calls text{fill:var(--call-text)}",
  ".calls .name{font-weight:600;font-size:14px}",
  ".calls .side{text-anchor:end;font-size:11px}",
  ".calls .time{text-anchor:middle;font-size:11px}",
  ".calls .word{text-anchor:middle;font-size:10px}",
  ".calls .side,.calls .time,.calls .word{fill:var(--call-quiet)}",
  ".calls .outcome{font-weight:600}",
  ".calls .rail,.calls .tick{fill:none;stroke:var(--call-line)}",
  ".calls .tick{stroke-dasharray:2 4}",
  ".calls .mark{fill:none;stroke:var(--call-text);stroke-width:1.5}",
  ".calls .message{fill:none;stroke:var(--call-quiet);stroke-width:1.4}",
  ".calls .message.cancel{stroke:var(--call-cancelled);stroke-width:1.8}",
  ...states.flatMap((state) => [
    `.calls rect.${state}{fill:var(--call-${state})}`,
    `.calls text.${state}{fill:var(--call-${state})}`
  ]),
  ".calls rect.waiting{fill:none;stroke:var(--call-waiting);stroke-dasharray:3 2}",
  ".calls rect.lost{fill-opacity:.35;stroke:var(--call-lost);stroke-dasharray:3 2}"
].join("\n")

/** A picture for a file, with its colours; it follows the scheme of the reader. */
export const standalone = (svg: string): string =>
  svg.replace(
    ">",
    `><style>${style}\n@media(prefers-color-scheme:dark){.calls{${variables("dark")}}}</style>`
  ) + "\n"
