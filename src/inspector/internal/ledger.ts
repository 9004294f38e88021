/**
 * What an inspector knows: the calls in progress, the last thousand that have ended, and counts of all.
 */
import type { Caller } from "../../Channel.ts"
import { addressCode, faultOf } from "../../internal/statusTable.ts"
import type { Change, Ending, Observed, Observer } from "../../Observability.ts"
import {
  cut,
  maximumEnded,
  maximumName,
  maximumNews,
  maximumOpen,
  type Message,
  type Row,
  type State,
  type Totals
} from "./feed.ts"
import { preview } from "./preview.ts"

/** More changes of one call are left out. */
const maximumChanges = 8

/** A call that is shown. Its texts are made when somebody looks. */
class Entry {
  readonly id: number
  readonly call: Observed
  state: State
  millis: number | undefined = undefined
  code = 0
  bytesIn = 0
  bytesOut = 0
  changes: Array<readonly [Change, number]> | undefined = undefined
  input: string | undefined = undefined

  constructor(id: number, call: Observed) {
    this.id = id
    this.call = call
    this.state = call.side === "client" ? "waiting" : "running"
  }
}

/** Keeps the calls of a process. */
export class Ledger implements Observer {
  readonly #now: () => number
  readonly #values: boolean
  readonly #entries = new Map<Observed, Entry>()
  readonly #ended: Array<Entry> = []
  /** Where the next ended call goes, once there are as many as are kept. */
  #next = 0
  #lastId = 0
  #begun = 0
  #open = 0
  #notShown = 0
  readonly #counts: { [E in Ending]: number } = {
    replied: 0,
    aborted: 0,
    cancelled: 0,
    lost: 0,
    abandoned: 0,
    refused: 0
  }
  /** What has changed since the last news; `undefined` while nobody looks. */
  #news: Set<Entry> | undefined = undefined

  constructor(now: () => number, values: boolean) {
    this.#now = now
    this.#values = values
  }

  // --- the observer. Its functions have no `this` when they are called as those of an object.

  readonly begun = (call: Observed): void => {
    this.#begun++
    if (this.#open - this.#notShown >= maximumOpen) this.#notShown++
    else {
      const entry = new Entry(++this.#lastId, call)
      this.#entries.set(call, entry)
      this.#news?.add(entry)
    }
    this.#open++
  }

  readonly changed = (call: Observed, change: Change): void => {
    const entry = this.#entries.get(call)
    if (entry === undefined) return
    const changes = entry.changes ??= []
    if (changes.length < maximumChanges) changes.push([change, this.#now() - call.begunAt])
    this.#news?.add(entry)
  }

  readonly transferred = (call: Observed, direction: "in" | "out", bytes: number): void => {
    const entry = this.#entries.get(call)
    if (entry === undefined) return
    if (direction === "in") entry.bytesIn += bytes
    else entry.bytesOut += bytes
    this.#news?.add(entry)
  }

  readonly ended = (call: Observed, ending: Ending, code: number, millis: number): void => {
    let entry = this.#entries.get(call)
    if (entry === undefined) {
      this.#notShown--
      entry = new Entry(++this.#lastId, call)
      this.#entries.set(call, entry)
    }
    this.#open--
    this.#counts[ending]++
    entry.state = ending
    entry.code = code
    entry.millis = millis
    if (this.#values) inputOf(entry)
    const ended = this.#ended
    // The bytes of a call may come after its end, so it is known as long as it is shown.
    if (ended.length < maximumEnded) ended.push(entry)
    else {
      const oldest = ended[this.#next]!
      this.#entries.delete(oldest.call)
      this.#news?.delete(oldest)
      ended[this.#next] = entry
      this.#next = (this.#next + 1) % maximumEnded
    }
    this.#news?.add(entry)
  }

  // --- those who look

  /** From now on news are kept, or no longer. */
  set isWatched(isWatched: boolean) {
    this.#news = isWatched ? this.#news ?? new Set() : undefined
  }

  /** All calls: those in progress, then those that have ended, both from the oldest to the newest. */
  all(): Message {
    const open = [...this.#entries.values()].filter(({ millis }) => millis === undefined)
    const ended = [...this.#ended.slice(this.#next), ...this.#ended.slice(0, this.#next)]
    return this.#message(true, [...open, ...ended], 0)
  }

  /** What has changed since the last time; `undefined` for nothing. */
  news(): Message | undefined {
    const news = this.#news
    if (news === undefined || news.size === 0) return undefined
    this.#news = new Set()
    const entries = [...news]
    const tooMany = entries.reduce((count, { millis }) => millis === undefined ? count : count + 1, 0) - maximumNews
    let left = Math.max(0, tooMany)
    const shown = entries.filter(({ millis }) => millis === undefined || --left < 0)
    return this.#message(false, shown, Math.max(0, tooMany))
  }

  /** Asks a call in progress to end; `false` if it is not in progress. */
  cancel(id: number): boolean {
    for (const entry of this.#entries.values()) {
      if (entry.id !== id) continue
      if (entry.millis !== undefined) return false
      entry.call.cancel()
      return true
    }
    return false
  }

  #message(all: boolean, entries: ReadonlyArray<Entry>, skipped: number): Message {
    const calls = entries.map((entry) => rowOf(entry, this.#values))
    return { type: "calls", now: this.#now(), all, calls, skipped, totals: this.#totals() }
  }

  #totals(): Totals {
    return { begun: this.#begun, inProgress: this.#open, notShown: this.#notShown, ended: { ...this.#counts } }
  }
}

// ----------------------------------------------------------------------------
// calls as text
// ----------------------------------------------------------------------------

const inputOf = (entry: Entry): string | undefined => {
  const { input } = entry.call
  return entry.input ??= input === undefined ? undefined : preview(input)
}

const rowOf = (entry: Entry, values: boolean): Row => {
  const { bytesIn, bytesOut, call, changes = [], code, id, millis, state } = entry
  const { address, begunAt, caller, span } = call
  const hasEnded = millis !== undefined
  return {
    id,
    side: call.side,
    interface: cut(call.interface),
    method: cut(call.method),
    state,
    caller: nameOf(caller),
    level: caller === undefined
      ? null
      : [caller.level, caller.provider].filter((part) => part !== undefined).join(", "),
    address: address === undefined ? null : cut(address),
    begunAt,
    millis: hasEnded ? millis : null,
    code: hasEnded ? code : null,
    status: hasEnded ? statusOf(code) : null,
    bytesIn,
    bytesOut,
    changes,
    traceId: span === undefined ? null : cut(span.traceId),
    spanId: span === undefined ? null : cut(span.spanId),
    input: values ? inputOf(entry) ?? null : null
  }
}

const nameOf = (caller: Caller | undefined): string | null => {
  if (caller?.name === undefined) return caller?.anonymous === true ? "anonymous" : null
  const name = cut(caller.name)
  return caller.domain === undefined ? name : cut(`${caller.domain}\\${name}`, 2 * maximumName)
}

const statusOf = (code: number): string | null => {
  if (code === 0) return null
  const name = faultOf(code)?.name ?? addressCode(code).name
  return name === String(code) ? null : name
}
