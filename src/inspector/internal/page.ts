/**
 * The page of the inspector: a document, a style, a script and an icon, without anything from elsewhere.
 *
 * The script shows text by `textContent` alone. It needs no backticks, because it stands between two of them.
 */
import { maximumEnded, maximumOpen } from "./feed.ts"
import { type Colour, ground, palette, type Shade } from "./palette.ts"

/** The states in the order of their chips. */
const shades = Object.keys(palette) as ReadonlyArray<Shade>

const chips = shades.map((shade) =>
  `<button type="button" class="chip" data-shade="${shade}" aria-pressed="false"><span class="dot ${shade}" aria-hidden="true"></span>${shade} <span class="count">0</span></button>`
).join("\n          ")

const table = (id: string, title: string, empty: string) => `
      <section aria-labelledby="${id}-title">
        <div class="heading"><h2 id="${id}-title">${title}</h2><span class="count" id="${id}-count">0</span><span class="note" id="${id}-note"></span></div>
        <table id="${id}" aria-labelledby="${id}-title">
          <thead>
            <tr>
              <th scope="col" class="state">State</th>
              <th scope="col" class="side">Side</th>
              <th scope="col" class="call">Call</th>
              <th scope="col" class="peer">Caller and address</th>
              <th scope="col" class="time">${id === "open" ? "Age" : "Duration"}</th>
              <th scope="col" class="line"><span class="unseen">Timeline, </span><span class="scale"><span>1 ms</span><span>10</span><span>100</span><span>1 s</span><span>10</span><span>100 s</span></span></th>
              <th scope="col" class="bytes">In</th>
              <th scope="col" class="bytes">Out</th>
              <th scope="col" class="outcome">${id === "open" ? "Changes" : "Outcome"}</th>
              ${id === "open" ? `<th scope="col" class="action"><span class="unseen">Cancel</span></th>` : ""}
            </tr>
          </thead>
          <tbody></tbody>
        </table>
        <p class="empty" id="${id}-empty">${empty}</p>
        <button type="button" class="more" id="${id}-more" hidden>Show more</button>
      </section>`

/** The document. */
export const html: string = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <meta name="referrer" content="no-referrer">
    <title>Callisto inspector</title>
    <link rel="icon" href="/icon.svg" type="image/svg+xml">
    <link rel="stylesheet" href="/inspector.css">
    <script type="module" src="/inspector.js"></script>
  </head>
  <body>
    <header id="bar">
      <div class="row">
        <h1><img src="/icon.svg" alt="" width="20" height="20">Callisto inspector</h1>
        <p id="program"></p>
        <p id="connection" role="status" data-is="connecting">Connecting</p>
      </div>
      <div class="row" id="filters" role="search" aria-label="Calls">
        <input id="text" type="search" placeholder="Filter: method, caller, address, code, trace" aria-label="Filter by text" autocomplete="off" spellcheck="false" maxlength="200">
        <select id="side" aria-label="Side">
          <option value="">Both sides</option>
          <option value="client">Client</option>
          <option value="server">Server</option>
        </select>
        <div id="chips" role="group" aria-label="States">
          ${chips}
        </div>
        <button type="button" id="pause" aria-pressed="false">Pause</button>
      </div>
      <p id="message" role="alert" hidden></p>
    </header>
    <main>
      <noscript><p class="empty">The inspector needs JavaScript.</p></noscript>
      <form id="login" hidden>
        <label for="token">The token, which the program logs with the URL of its inspector</label>
        <div class="row"><input id="token" type="password" autocomplete="off" spellcheck="false"><button id="enter">Show the calls</button></div>
      </form>
      <div id="calls">${table("open", "In progress", "No call is in progress.")}${
  table("ended", "Ended", "No call has ended yet.")
}
      </div>
    </main>
  </body>
</html>
`

const colours = (theme: keyof Colour) =>
  shades.map((shade) => `--${shade}: ${palette[shade][theme]};`).join(" ") + ` --ground: ${ground[theme]};`

const ofShades = (rule: (shade: Shade) => string) => shades.map(rule).join("\n")

/** The style. */
export const style: string = `
:root {
  color-scheme: light dark;
  ${colours("light")}
  --text: #1b2027; --dim: #59626e; --faint: #e3e6ea; --edge: #d3d8de; --raised: #f5f6f8; --hover: #f0f3f7; --focus: #0b63c5;
  font: 13px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  background: var(--ground); color: var(--text);
}
@media (prefers-color-scheme: dark) {
  :root {
    ${colours("dark")}
    --text: #e4e8ed; --dim: #9aa5b1; --faint: #252a32; --edge: #343b45; --raised: #1b1f26; --hover: #1d222a; --focus: #6db0ff;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0; }
h1, h2, p { margin: 0; font-size: inherit; }
button, input, select { font: inherit; color: inherit; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 1px; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.row { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 12px; }

#bar { position: sticky; top: 0; z-index: 2; display: grid; gap: 10px; padding: 12px 20px; background: var(--ground); border-bottom: 1px solid var(--edge); }
h1 { display: flex; align-items: center; gap: 8px; font-size: 15px; font-weight: 650; letter-spacing: -0.01em; }
#program { color: var(--dim); font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
#connection { margin-left: auto; display: flex; align-items: center; gap: 6px; color: var(--dim); }
#connection::before { content: ""; width: 8px; height: 8px; border-radius: 50%; background: var(--lost); }
#connection[data-is=live] { color: var(--replied); }
#connection[data-is=live]::before { background: var(--replied); }
#connection[data-is=paused]::before { background: var(--waiting); }
#connection[data-is=gone] { color: var(--aborted); }
#connection[data-is=gone]::before { background: var(--aborted); }
#message { padding: 6px 10px; border-left: 3px solid var(--aborted); background: var(--raised); }

input, select, button { height: 30px; padding: 0 10px; border: 1px solid var(--edge); border-radius: 6px; background: var(--ground); }
input { min-width: 0; }
#text { flex: 1 1 300px; max-width: 480px; }
::placeholder { color: var(--dim); opacity: 1; }
button { cursor: pointer; }
button:hover { background: var(--hover); }
button[aria-pressed=true] { background: var(--raised); border-color: currentColor; font-weight: 600; }
#chips { display: flex; flex-wrap: wrap; gap: 6px; }
.chip { display: flex; align-items: center; gap: 6px; border-radius: 15px; }
.count { color: var(--dim); font-weight: 400; font-variant-numeric: tabular-nums; }
.dot { flex: none; width: 9px; height: 9px; border-radius: 50%; background: currentColor; }
.dot.waiting, .dot.lost { background: none; border: 2px solid currentColor; }
.dot.aborted { border-radius: 1px; }
.dot.cancelled { border-radius: 1px; transform: rotate(45deg) scale(.9); }
${ofShades((shade) => `.${shade} { color: var(--${shade}); }`)}
${ofShades((shade) => `.fill.${shade} { background: var(--${shade}); }`)}

main { padding: 4px 20px 40px; }
.heading { display: flex; align-items: baseline; gap: 8px; padding: 18px 0 8px; }
h2 { font-size: 13px; font-weight: 650; }
.note { color: var(--dim); }
table { width: 100%; border-collapse: separate; border-spacing: 0; table-layout: fixed; }
th, td { padding: 0 12px 0 0; height: 34px; text-align: left; border-bottom: 1px solid var(--faint); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
th { position: sticky; top: var(--bar, 100px); z-index: 1; height: 28px; background: var(--ground); color: var(--dim); font-weight: 500; border-bottom-color: var(--edge); }
tbody tr.item:hover td { background: var(--hover); }
.state { width: 118px; padding-left: 8px; } .side { width: 64px; } .call { width: 18%; } .time { width: 96px; } .line { width: 190px; }
.bytes { width: 72px; } .outcome { width: 22%; padding-left: 12px; } .action { width: 6%; min-width: 70px; padding-right: 4px; }
.cancels #open .outcome { width: 16%; }
td.state { font-weight: 550; } td.peer bdi + .address::before { content: " "; } td.outcome[data-code="0"] { color: var(--dim); }
td.state .dot { display: inline-block; margin-right: 8px; }
td.side, td.peer .address, td.call .of { color: var(--dim); }
td.time, td.bytes, th.time, th.bytes { text-align: right; font-variant-numeric: tabular-nums; }
td.outcome, .code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 12px; }
td.action { text-align: right; }
td.action button { height: 24px; padding: 0 8px; }
.toggle { display: inline-flex; align-items: center; gap: 6px; max-width: 100%; height: 26px; padding: 0 6px 0 0; border-color: transparent; background: none; text-align: left; }
.toggle:hover { background: none; text-decoration: underline; }
.toggle::before { content: ""; flex: none; width: 0; height: 0; margin-left: 2px; border: 4px solid transparent; border-left: 5px solid var(--dim); border-right: 0; }
.toggle[aria-expanded=true]::before { border: 4px solid transparent; border-top: 5px solid var(--dim); border-bottom: 0; }
.toggle > span { overflow: hidden; text-overflow: ellipsis; }
.name { font-weight: 600; }

.scale { display: flex; justify-content: space-between; font-size: 10.5px; font-variant-numeric: tabular-nums; }
.bar { position: relative; height: 12px; background-image: linear-gradient(90deg, var(--faint) 1px, transparent 1px); background-size: 20% 100%; border-right: 1px solid var(--faint); }
.fill { position: absolute; left: 0; top: 3px; height: 6px; min-width: 3px; border-radius: 3px; }
.fill.waiting { background: repeating-linear-gradient(90deg, var(--waiting) 0 5px, transparent 5px 8px); }
.fill.lost { background: repeating-linear-gradient(90deg, var(--lost) 0 2px, transparent 2px 4px); }
.mark { position: absolute; top: 0; width: 2px; height: 12px; background: var(--text); }
.mark.CancelRequested { background: var(--cancelled); }
.mark.Orphaned, .mark.Disconnected { background: var(--lost); }

.details td { height: auto; padding: 4px 12px 14px 27px; white-space: normal; background: var(--raised); }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 3px 16px; margin: 8px 0 0; }
dt { color: var(--dim); }
dd { margin: 0; overflow-wrap: anywhere; }
.arguments { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 12px; white-space: pre-wrap; max-height: 240px; overflow: auto; }
.empty { padding: 14px 8px; color: var(--dim); }
.more { margin-top: 10px; }
#login { display: grid; gap: 8px; max-width: 460px; padding: 40px 0; }
#login input { flex: 1; }
.away table { opacity: .6; }

@media (max-width: 1150px) { .bytes { display: none; } .line { width: 150px; } }
@media (max-width: 900px) {
  .peer, .side { display: none; } .call { width: auto; } .time { width: 84px; } .line { width: 140px; }
  .scale span:nth-child(2), .scale span:nth-child(3), .scale span:nth-child(5) { visibility: hidden; }
  .outcome { width: 30%; } .action { width: 10%; } .cancels #open .outcome { width: 20%; }
}
@media (max-width: 620px) {
  #bar { position: static; padding: 10px 12px; } main { padding: 0 12px 30px; } th { position: static; }
  .line, .outcome, .of { display: none; } .action { width: 76px; } .state { width: 104px; } .time { width: 76px; }
  .details td { padding-left: 8px; } dl { grid-template-columns: minmax(0, 1fr); } dd { padding-bottom: 4px; }
}
@media (prefers-reduced-motion: no-preference) {
  .item[data-shade=running] .dot { animation: pulse 1.6s ease-in-out infinite; }
  @keyframes pulse { 50% { opacity: .35; } }
}
@media (forced-colors: active) { .dot, .fill, .mark { forced-color-adjust: none; } }
`

/** The script, a module. */
export const script: string = String.raw`
"use strict"
const maximumEnded = ${maximumEnded}
const maximumOpen = ${maximumOpen}
const by = (id) => document.getElementById(id)
const still = matchMedia("(prefers-reduced-motion: reduce)")

// Control characters, and characters that turn the direction of text, are shown as their numbers.
const clean = (text) => String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) => "\\u{" + char.codePointAt(0).toString(16) + "}")

const make = (tag, className, text) => {
  const element = document.createElement(tag)
  if (className) element.className = className
  if (text !== undefined) element.textContent = text
  return element
}

const set = (element, text) => {
  if (element.textContent !== text) element.textContent = text
}

// ---------------------------------------------------------------- numbers

const millisText = (millis) => {
  if (millis < 1) return millis <= 0 ? "< 1 ms" : millis.toFixed(2) + " ms"
  if (millis < 1000) return Math.round(millis) + " ms"
  if (millis < 60000) return (millis / 1000).toFixed(millis < 10000 ? 2 : 1) + " s"
  const seconds = Math.floor(millis / 1000)
  if (seconds < 3600) return Math.floor(seconds / 60) + " min " + String(seconds % 60).padStart(2, "0") + " s"
  const minutes = Math.floor(seconds / 60)
  return minutes < 1440 ? Math.floor(minutes / 60) + " h " + String(minutes % 60).padStart(2, "0") + " min" : Math.floor(minutes / 1440) + " d " + Math.floor(minutes % 1440 / 60) + " h"
}

// Ages tick by tenths of a second, and do not flicker below that.
const ageText = (millis) => millis < 60000 ? (millis / 1000).toFixed(1) + " s" : millisText(millis)

const bytesText = (bytes) => {
  if (bytes === 0) return "–"
  const units = ["B", "KB", "MB", "GB", "TB"]
  let unit = 0
  while (bytes >= 1000 && unit < 4) {
    bytes /= 1000
    unit++
  }
  return (unit === 0 || bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)) + " " + units[unit]
}

/** Where a time is on the scale from 1 ms to 100 s, in percent: each decade is a fifth. */
const place = (millis) => Math.min(100, Math.max(0, Math.log10(Math.max(1, millis)) * 20))

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false })

// ---------------------------------------------------------------- what is known

const calls = new Map()
let hello = undefined
let totals = undefined
/** How far the clock of the program is ahead of this one. */
let ahead = 0
/** The calls and totals at the moment of a pause: the page shows these until it goes on. */
let held = undefined
const filter = { text: "", side: "", shades: new Set() }
const limits = { open: 200, ended: 100 }

const shadeOf = (state) => state === "abandoned" ? "lost" : state === "refused" ? "aborted" : state
const isOpen = (call) => call.millis === null
const changeTexts = { CancelRequested: "cancel requested", HandedOff: "handed off", Orphaned: "client let go", Disconnected: "client gone" }
const now = () => Date.now() + ahead

const textOf = (call) => call.searched ??= [call.interface + "." + call.method, call.caller, call.address, call.code, call.status, call.state, call.traceId, call.spanId, call.input].filter((part) => part !== null).join("\n").toLowerCase()

const matches = (call) =>
  (filter.side === "" || call.side === filter.side) &&
  (filter.shades.size === 0 || filter.shades.has(shadeOf(call.state))) &&
  filter.text.split(/\s+/).every((word) => textOf(call).includes(word))

const take = (message) => {
  if (message.all) calls.clear()
  for (const call of message.calls) {
    // Those that have ended last are last in the order of the map.
    calls.delete(call.id)
    calls.set(call.id, call)
  }
  totals = message.totals
  let ended = 0
  for (const call of calls.values()) if (!isOpen(call)) ended++
  for (const [id, call] of calls) {
    if (ended <= maximumEnded) break
    if (isOpen(call)) continue
    calls.delete(id)
    ended--
  }
}

// ---------------------------------------------------------------- rows

const items = new Map()

class Item {
  constructor(id) {
    this.id = id
    this.row = make("tr", "item")
    this.cells = {}
    for (const name of ["state", "side", "call", "peer", "time", "line", "in", "out", "outcome", "action"]) {
      const cell = make("td", name === "in" || name === "out" ? "bytes" : name)
      this.cells[name] = cell
      this.row.append(cell)
    }
    this.dot = make("span", "dot")
    this.dot.setAttribute("aria-hidden", "true")
    this.state = make("span")
    this.cells.state.append(this.dot, this.state)
    this.toggle = make("button", "toggle")
    this.toggle.type = "button"
    this.toggle.setAttribute("aria-expanded", "false")
    this.toggle.addEventListener("click", () => this.expand(this.details === undefined))
    const name = make("span")
    this.of = make("bdi", "of")
    this.name = make("bdi", "name")
    name.append(this.of, this.name)
    this.toggle.append(name)
    this.cells.call.append(this.toggle)
    this.caller = make("bdi")
    this.address = make("bdi", "address")
    this.cells.peer.append(this.caller, this.address)
    this.bar = make("div", "bar")
    this.bar.setAttribute("aria-hidden", "true")
    this.fill = make("div", "fill")
    this.bar.append(this.fill)
    this.cells.line.append(this.bar)
    this.cancel = make("button", "", "Cancel")
    this.cancel.type = "button"
    this.cancel.addEventListener("click", () => cancel(this))
    this.marks = 0
    this.details = undefined
    this.call = undefined
  }

  show(call) {
    if (this.call === call) return
    this.call = call
    const shade = shadeOf(call.state)
    const { cells } = this
    this.row.dataset.shade = shade
    this.row.dataset.call = call.id
    this.dot.className = "dot " + shade
    cells.state.className = "state " + shade
    set(this.state, call.state)
    set(cells.side, call.side)
    set(this.of, clean(call.interface) + ".")
    set(this.name, clean(call.method))
    set(this.caller, call.caller === null ? "" : clean(call.caller))
    this.caller.hidden = call.caller === null
    set(this.address, call.address === null ? "" : clean(call.address))
    set(cells.in, bytesText(call.bytesIn))
    set(cells.out, bytesText(call.bytesOut))
    const changes = call.changes.map(([change]) => changeTexts[change]).filter((text, i, all) => all.indexOf(text) === i).join(", ")
    set(cells.outcome, isOpen(call) ? changes : call.code === 0 ? (changes === "" ? "0" : "0, " + changes) : [codeText(call.code), call.status].filter((part) => part !== null).join(" "))
    cells.outcome.title = cells.outcome.textContent
    cells.peer.title = [call.caller, call.address].filter((part) => part !== null).map(clean).join(" ")
    cells.outcome.dataset.code = call.code ?? ""
    this.fill.className = "fill " + shade
    for (; this.marks < call.changes.length; this.marks++) {
      const [change, millis] = call.changes[this.marks]
      const mark = make("div", "mark " + change)
      mark.style.left = place(millis) + "%"
      this.bar.append(mark)
    }
    if (isOpen(call)) {
      if (hello.cancel && !this.cancel.isConnected) cells.action.append(this.cancel)
      const asked = call.changes.some(([change]) => change === "CancelRequested")
      this.cancel.setAttribute("aria-label", (asked ? "Cancel again: " : "Cancel ") + clean(call.method) + ", call " + call.id)
      cells.action.hidden = !hello.cancel
    } else {
      this.cancel.remove()
      cells.action.remove()
    }
    this.tick()
    if (this.details !== undefined) this.fillDetails()
  }

  tick() {
    const { call } = this
    const millis = isOpen(call) ? Math.max(0, now() - call.begunAt) : call.millis
    set(this.cells.time, isOpen(call) ? ageText(millis) : millisText(millis))
    this.fill.style.width = place(millis) + "%"
  }

  expand(isExpanded) {
    this.toggle.setAttribute("aria-expanded", String(isExpanded))
    if (isExpanded) {
      this.details = make("tr", "details")
      this.details.id = "details-" + this.id
      this.toggle.setAttribute("aria-controls", this.details.id)
      this.fillDetails()
      this.row.after(this.details)
      this.details.firstChild.colSpan = columnsOf(this.details)
    } else {
      this.toggle.removeAttribute("aria-controls")
      this.details.remove()
      this.details = undefined
    }
  }

  fillDetails() {
    const { call } = this
    const list = make("dl")
    const add = (name, text, className) => {
      if (text === null || text === undefined || text === "") return
      const value = make("dd", className)
      value.append(make("bdi", "", clean(text)))
      list.append(make("dt", "", name), value)
    }
    add("Call", call.interface + "." + call.method)
    add("Side", call.side)
    add("Began", clock.format(call.begunAt))
    for (const [change, millis] of call.changes) add(changeTexts[change], "after " + millisText(millis))
    if (!isOpen(call)) add("Ended", call.state + " after " + millisText(call.millis) + ", code " + codeText(call.code) + (call.status === null ? "" : " " + call.status))
    add("Caller", call.caller)
    add("Level", call.level)
    add("Address", call.address)
    add("Bytes", call.bytesIn + " in, " + call.bytesOut + " out")
    add("Trace", call.traceId, "code")
    add("Span", call.spanId, "code")
    add("Arguments", call.input, "arguments")
    if (call.input === null) add("Arguments", hello.values ? "none" : "not shown: the option values of the inspector is off")
    const cell = make("td")
    cell.append(list)
    this.details.replaceChildren(cell)
    const pane = list.querySelector(".arguments")
    if (pane !== null) pane.tabIndex = 0
  }

  remove() {
    this.row.remove()
    this.details?.remove()
    items.delete(this.id)
  }
}

const codeText = (code) => code > 0xffff ? "0x" + code.toString(16).toUpperCase().padStart(8, "0") : String(code)

// ---------------------------------------------------------------- drawing

const bodies = { open: by("open").tBodies[0], ended: by("ended").tBodies[0] }

const arrange = (body, shown) => {
  let next = body.firstChild
  const skip = () => {
    while (next !== null && next.className === "details") next = next.nextSibling
  }
  for (const item of shown) {
    skip()
    if (next === item.row) next = next.nextSibling
    else {
      const focused = item.row.contains(document.activeElement)
      body.insertBefore(item.row, next)
      if (item.details !== undefined) item.row.after(item.details)
      if (focused) item.toggle.focus({ preventScroll: true })
    }
    if (item.details !== undefined) next = item.details.nextSibling
  }
}

const columnsOf = (row) => [...row.closest("table").tHead.rows[0].cells].filter((cell) => getComputedStyle(cell).display !== "none").length

const draw = () => show(held ?? { calls, totals })

const show = ({ calls, totals }) => {
  const lists = { open: [], ended: [] }
  const counts = {}
  const known = { open: 0, ended: 0 }
  for (const call of calls.values()) {
    const shade = shadeOf(call.state)
    counts[shade] = (counts[shade] ?? 0) + 1
    const name = isOpen(call) ? "open" : "ended"
    known[name]++
    if (matches(call)) lists[name].push(call)
  }
  lists.open.sort((a, b) => a.begunAt - b.begunAt || a.id - b.id)
  lists.ended.reverse()
  const shown = new Set()
  for (const name of ["open", "ended"]) {
    const list = lists[name]
    const rows = list.slice(0, limits[name]).map((call) => {
      let item = items.get(call.id)
      if (item === undefined) items.set(call.id, item = new Item(call.id))
      item.show(call)
      shown.add(item)
      return item
    })
    lists[name] = rows
    const filtered = list.length < known[name] ? list.length.toLocaleString() + " of " : ""
    const all = name === "open" ? totals?.inProgress ?? 0 : known.ended
    set(by(name + "-count"), filtered + all.toLocaleString())
    by(name).hidden = rows.length === 0
    const empty = by(name + "-empty")
    empty.hidden = rows.length > 0
    set(empty, known[name] > 0 ? "No call matches the filters." : name === "open" ? "No call is in progress." : "No call has ended yet.")
    by(name + "-more").hidden = list.length <= limits[name]
  }
  set(by("open-note"), totals?.notShown > 0 ? "the first " + maximumOpen.toLocaleString() + " are shown" : "")
  set(by("ended-note"), known.ended >= maximumEnded ? "the last " + maximumEnded.toLocaleString() + " are kept" : "")
  for (const item of [...items.values()]) if (!shown.has(item)) item.remove()
  for (const name of ["open", "ended"]) arrange(bodies[name], lists[name])
  // A cell that spans more columns than are shown would make columns of its own.
  for (const { details } of items.values()) if (details !== undefined) details.firstChild.colSpan = columnsOf(details)
  for (const chip of by("chips").children) set(chip.querySelector(".count"), (counts[chip.dataset.shade] ?? 0).toLocaleString())
  document.title = (totals?.inProgress > 0 ? "(" + totals.inProgress + ") " : "") + "Callisto inspector"
  if (hello !== undefined) {
    const begun = totals === undefined ? "" : " · " + totals.begun.toLocaleString() + (totals.begun === 1 ? " call" : " calls") + " begun"
    set(by("program"), [clean(hello.program.name), hello.program.runtime, "process " + hello.program.pid].filter((part) => part !== "").join(" · ") + begun)
  }
}

let isDue = false
const drawSoon = () => {
  if (isDue) return
  isDue = true
  setTimeout(() => {
    isDue = false
    draw()
  }, 80)
}

const tick = () => {
  if (held === undefined && isLive) for (const item of items.values()) if (isOpen(item.call)) item.tick()
  setTimeout(tick, still.matches ? 1000 : 100)
}

// ---------------------------------------------------------------- the connection

let token = ""
let isLive = false
let attempt = 0
let stop = () => {}

const status = (is, text) => {
  isLive = is === "live"
  document.body.classList.toggle("away", is === "gone")
  const element = by("connection")
  const seen = is === "live" && held !== undefined ? "paused" : is
  element.dataset.is = seen
  set(element, seen === "paused" ? "Paused" : text)
}

const say = (text) => {
  const message = by("message")
  message.hidden = text === ""
  set(message, text)
}

const receive = (message) => {
  if (message.type === "hello") {
    hello = message
    document.body.classList.toggle("cancels", hello.cancel)
    for (const header of document.querySelectorAll("th.action")) header.hidden = !hello.cancel
  } else if (message.type === "end") return "The program has ended"
  else {
    ahead = message.now - Date.now()
    if (message.type !== "calls") return
    take(message)
    if (held === undefined) drawSoon()
  }
}

const connect = async () => {
  const mine = ++attempt
  stop()
  const aborter = new AbortController()
  let watchdog
  const awaitNews = () => {
    clearTimeout(watchdog)
    watchdog = setTimeout(() => aborter.abort(), 8000)
  }
  stop = () => {
    clearTimeout(watchdog)
    aborter.abort()
  }
  let why = "The program is gone"
  try {
    awaitNews()
    const response = await fetch("/calls", { headers: { authorization: "Bearer " + token }, signal: aborter.signal, cache: "no-store", credentials: "omit" })
    if (response.status === 401) {
      stop()
      return askToken()
    }
    if (!response.ok) {
      why = (await response.text()).trim()
      throw new Error(why)
    }
    status("live", "Live")
    say("")
    const reader = response.body.getReader()
    const decoder = new TextDecoder()
    let rest = ""
    while (true) {
      const { done, value } = await reader.read()
      if (done || mine !== attempt) break
      awaitNews()
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n")
      rest = lines.pop()
      for (const line of lines) {
        const end = receive(JSON.parse(line))
        if (end !== undefined) why = end
      }
    }
  } catch {
    // What follows tells of it.
  }
  clearTimeout(watchdog)
  if (mine !== attempt) return
  status("gone", why + ", trying again")
  setTimeout(() => mine === attempt && connect(), 1000)
}

const askToken = () => {
  status("gone", token === "" ? "A token is needed" : "The token is wrong, or of an earlier run")
  by("login").hidden = false
  by("calls").hidden = true
  by("filters").hidden = true
  by("token").focus()
}

const enter = (text) => {
  token = /[#&]token=([^&\s]+)/.exec(text)?.[1] ?? text.trim()
  sessionStorage.setItem("token", token)
  by("token").value = ""
  by("login").hidden = true
  by("calls").hidden = false
  by("filters").hidden = false
  status("connecting", "Connecting")
  connect()
}

const cancel = async (item) => {
  try {
    const response = await fetch("/calls/" + item.id + "/cancel", { method: "POST", headers: { authorization: "Bearer " + token }, credentials: "omit" })
    // A call that has ended in the meantime is what was wanted.
    say(response.ok || response.status === 404 ? "" : (await response.text()).trim())
  } catch {
    say("The cancel did not reach the program.")
  }
}

// ---------------------------------------------------------------- what the person does

const remember = () => sessionStorage.setItem("filter", JSON.stringify({ ...filter, shades: [...filter.shades] }))

const refilter = () => {
  limits.ended = 100
  limits.open = 200
  remember()
  draw()
}

by("text").addEventListener("input", () => {
  filter.text = by("text").value.trim().toLowerCase()
  refilter()
})
by("side").addEventListener("change", () => {
  filter.side = by("side").value
  refilter()
})
for (const chip of by("chips").children) {
  chip.addEventListener("click", () => {
    const { shade } = chip.dataset
    if (!filter.shades.delete(shade)) filter.shades.add(shade)
    chip.setAttribute("aria-pressed", String(filter.shades.has(shade)))
    refilter()
  })
}
by("pause").addEventListener("click", () => {
  held = held === undefined ? { calls: new Map(calls), totals } : undefined
  by("pause").setAttribute("aria-pressed", String(held !== undefined))
  if (isLive) status("live", "Live")
  if (held === undefined) draw()
})
for (const name of ["open", "ended"]) {
  by(name + "-more").addEventListener("click", () => {
    limits[name] += 200
    draw()
  })
}
by("login").addEventListener("submit", (event) => {
  event.preventDefault()
  enter(by("token").value)
})

const restore = () => {
  try {
    const kept = JSON.parse(sessionStorage.getItem("filter") ?? "{}")
    filter.text = by("text").value = String(kept.text ?? "")
    if (kept.side === "client" || kept.side === "server") filter.side = by("side").value = kept.side
    for (const chip of by("chips").children) {
      if (!kept.shades?.includes(chip.dataset.shade)) continue
      filter.shades.add(chip.dataset.shade)
      chip.setAttribute("aria-pressed", "true")
    }
  } catch {
    sessionStorage.removeItem("filter")
  }
}

// The token leaves the address at once, so that nobody reads it over a shoulder or from a bookmark.
const arrive = () => {
  const found = /^#token=(.+)$/.exec(location.hash)
  if (found !== null) history.replaceState(null, "", location.pathname)
  const known = found?.[1] ?? sessionStorage.getItem("token") ?? ""
  if (known === "") askToken()
  else enter(known)
}

new ResizeObserver(() => {
  document.documentElement.style.setProperty("--bar", by("bar").offsetHeight + "px")
}).observe(by("bar"))
addEventListener("hashchange", arrive)
addEventListener("resize", drawSoon)
restore()
draw()
arrive()
tick()
`

/** The icon. */
export const icon: string = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 20">
  <circle cx="10" cy="10" r="7.5" fill="none" stroke="#4a86d8" stroke-width="2"/>
  <path d="M4 10h5" stroke="#e0a23b" stroke-width="2.4" stroke-linecap="round"/>
  <circle cx="13" cy="10" r="2.4" fill="#2fa866"/>
</svg>
`
