// Draws the figures that matter most: for each contender a bar for each runtime, with a line from the lowest to the highest.
import { type Row, significant } from "./measure.ts"
import type { Run } from "./report.ts"

interface Panel {
  readonly title: string
  readonly id: string
  /** The row that bounds all others. It is named, not drawn: it would dwarf them. */
  readonly limit?: string
}

const panels: ReadonlyArray<Panel> = [
  { title: "Calls a second, 64 in flight", id: "rate64", limit: "raw echo over node:net" },
  { title: "Calls a second, 64 in flight, 1 KiB there and back", id: "rate64large", limit: "raw echo over node:net" },
  { title: "One call at a time, µs (less is better)", id: "latency median", limit: "raw echo over node:net" },
  { title: "Bytes to the client in 64 KiB chunks, MB a second", id: "pipe out", limit: "raw copy over node:net" },
  { title: "1,000 calls cancelled, ms (less is better)", id: "cancels" },
  { title: "Heap of a pending call, bytes (less is better)", id: "memory" }
]

const contenders: ReadonlyArray<readonly [title: string, name: RegExp]> = [
  ["Callisto, NDR", /^Callisto, NDR(, in one shot|, interrupted)?$/],
  ["Callisto, any schemas", /^Callisto, ordinary schemas(, in one shot|, interrupted)?$/],
  ["effect/rpc, JSON", /^effect\/rpc, JSON(, in one shot|, interrupted)?$/],
  ["effect/rpc, binary", /^effect\/rpc, binary(, in one shot|, interrupted)?$/],
  ["Cap'n Web", /^Cap'n Web/],
  ["birpc", /^birpc/],
  ["JSON by hand", /^JSON by hand/],
  ["grpc-js", /^grpc-js/]
]

const layout = { width: 470, label: 130, bar: 9, gap: 8, top: 46, value: 58, columns: 2, margin: 12 }

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")

const text = (x: number, y: number, kind: string, content: string): string =>
  `<text x="${x}" y="${y.toFixed(1)}" class="${kind}">${escape(content)}</text>`

interface Bars {
  readonly title: string
  readonly rows: ReadonlyArray<Row | undefined>
}

const drawBars = (runs: ReadonlyArray<Run>, { id, limit, title }: Panel): { svg: string; height: number } => {
  const { bar, gap, label, top, value: valueWidth, width } = layout
  const tables = runs.map(({ tables }) => tables.find((table) => table.id === id))
  const all: ReadonlyArray<Bars> = contenders
    .map(([title, name]) => ({ title, rows: tables.map((table) => table?.rows.find((row) => name.test(row.name))) }))
    .filter(({ rows }) => rows.some((row) => row !== undefined))
  const largest = Math.max(1, ...all.flatMap(({ rows }) => rows.map((row) => row?.value.median ?? 0)))
  const room = width - label - valueWidth
  const scale = (value: number) => room * Math.min(value / largest, 1.04)
  const limits = tables.map((table) => table?.rows.find(({ name }) => name === limit)?.value.median)
  const shown = limits.flatMap((value) => value === undefined ? [] : [significant(value)])
  const lines = [text(0, 14, "title", title)]
  if (limit !== undefined && shown.length > 0) {
    lines.push(text(0, 31, "note", `the limit, ${limit}: ${shown.join(" / ")}`))
  }
  let y = top
  for (const { rows, title } of all) {
    const drawn = rows.map((row, index) => ({ row, index })).filter(({ row }) => row !== undefined)
    const height = drawn.length * bar
    lines.push(text(label - 8, y + height / 2 + 4, "label", title))
    for (const [place, { index, row }] of drawn.entries()) {
      const { max, median, min } = row!.value
      const at = y + place * bar
      const middle = (at + bar / 2).toFixed(1)
      lines.push(
        `<rect x="${label}" y="${at}" width="${scale(median).toFixed(1)}" height="${bar - 1}" class="run${index}"/>`,
        `<path d="M${(label + scale(min)).toFixed(1)} ${middle}H${(label + scale(max)).toFixed(1)}" class="spread"/>`,
        text(label + room * 1.04 + 4, at + bar - 1.5, "value", significant(median))
      )
    }
    y += height + gap
  }
  return { svg: lines.join("\n"), height: y }
}

const styles = `
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 13px }
  .note, .value { fill: #6e7781; font-size: 11px }
  .value { font-size: 9px }
  .label { text-anchor: end }
  .run0 { fill: #2f7d4f } .run1 { fill: #4a78c2 } .run2 { fill: #c98a2b }
  .spread { stroke: #24292f; stroke-opacity: .45; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .note, .value { fill: #8b949e } .spread { stroke: #e6edf3 }
  }`

/** The chart as SVG. */
export const drawChart = (runs: ReadonlyArray<Run>): string => {
  const { columns, margin, width } = layout
  const parts: Array<string> = []
  let y = margin + 24
  for (let i = 0; i < panels.length; i += columns) {
    const drawn = panels.slice(i, i + columns).map((panel) => drawBars(runs, panel))
    parts.push(
      ...drawn.map(({ svg }, column) =>
        `<g transform="translate(${margin + column * (width + 20)} ${y})">\n${svg}\n</g>`
      )
    )
    y += Math.max(...drawn.map(({ height }) => height)) + 18
  }
  const legend = runs.map(({ runtime }, index) =>
    `<rect x="${margin + index * 130}" y="${margin}" width="12" height="12" class="run${index}"/>\n${
      text(margin + index * 130 + 18, margin + 10.5, "", runtime)
    }`
  )
  const total = 2 * margin + columns * width + (columns - 1) * 20
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${total} ${y}" width="${total}" height="${y}" role="img">
<title>Callisto and its peers</title>
<style>${styles}
</style>
${[...legend, ...parts].join("\n")}
</svg>
`
}
