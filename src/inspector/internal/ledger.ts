/**
 * The ledger of an inspector: the calls in progress, the last thousand that have ended, and counts of all.
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

/** A call in progress. Its texts are made when somebody looks. */
class Open {
  readonly id: number
  readonly call: Observed
  bytesIn = 0
  bytesOut = 0
  changes: Changes | undefined = undefined
  input: string | undefined = undefined
  /** Its neighbours among the calls in progress. */
  previous: Open | undefined = undefined
  next: Open | undefined = undefined
  /** Where it is kept once it has ended. */
  kept: Ended | undefined = undefined

  constructor(id: number, call: Observed) {
    this.id = id
    this.call = call
  }
}

type Changes = Array<readonly [Change, number]>

/** A place for a call that has ended. It is filled again and again, for new objects that live long are slow to collect. */
class Ended {
  id = 0
  side: Observed["side"] = "client"
  interface = ""
  method = ""
  address: string | undefined = undefined
  caller: Caller | undefined = undefined
  begunAt = 0
  traceId: string | undefined = undefined
  spanId: string | undefined = undefined
  ending: Ending = "replied"
  millis = 0
  code = 0
  bytesIn = 0
  bytesOut = 0
  changes: Changes | undefined = undefined
  input: string | undefined = undefined
}

/** The calls of the core, on which the ledger writes its note: a map of them all would cost more than the call. */
interface Noted extends Observed {
  note?: unknown
}

const noteOf = (call: Observed): Open | undefined => (call as Noted).note as Open | undefined

/** Keeps the calls of a process. */
export class Ledger implements Observer {
  readonly #now: () => number
  readonly #values: boolean
  /** The first and the last call in progress that are shown. */
  #first: Open | undefined = undefined
  #last: Open | undefined = undefined
  readonly #ended: Array<Ended> = []
  #lastId = 0
  #begun = 0
  #open = 0
  #notShown = 0
  #endedCount = 0
  readonly #counts: { [E in Ending]: number } = {
    replied: 0,
    aborted: 0,
    cancelled: 0,
    lost: 0,
    abandoned: 0,
    refused: 0
  }
  /** The changes since the last news; `undefined` without viewers. */
  #news: Set<Open | Ended> | undefined = undefined
  /** The ended calls that no news will tell of. */
  #skipped = 0

  constructor(now: () => number, values: boolean) {
    this.#now = now
    this.#values = values
  }

  // --- the observer. Its functions have no `this` when they are called as those of an object.

  readonly begun = (call: Observed): void => {
    this.#begun++
    this.#open++
    if (this.#open - this.#notShown > maximumOpen) {
      this.#notShown++
      return
    }
    const entry = new Open(++this.#lastId, call)
    ;(call as Noted).note = entry
    const last = this.#last
    entry.previous = last
    if (last === undefined) this.#first = entry
    else last.next = entry
    this.#last = entry
    this.#news?.add(entry)
  }

  readonly changed = (call: Observed, change: Change): void => {
    const entry = noteOf(call)
    if (entry === undefined) return
    const changes = entry.changes ??= []
    if (changes.length < maximumChanges) changes.push([change, this.#now() - call.begunAt])
    this.#news?.add(entry)
  }

  readonly transferred = (call: Observed, direction: "in" | "out", bytes: number): void => {
    const entry = noteOf(call)
    if (entry === undefined) return
    // The bytes of a call may come after its end, when its place may be that of another call.
    const { kept } = entry
    const shown = kept === undefined ? entry : kept
    if (shown.id !== entry.id) return
    if (direction === "in") shown.bytesIn += bytes
    else shown.bytesOut += bytes
    this.#news?.add(shown)
  }

  readonly ended = (call: Observed, ending: Ending, code: number, millis: number): void => {
    const entry = noteOf(call)
    this.#open--
    this.#counts[ending]++
    if (entry === undefined) this.#notShown--
    else this.#unlink(entry)

    const place = this.#endedCount++ % maximumEnded
    const ended = this.#ended[place] ??= new Ended()
    const { span } = call
    ended.id = entry === undefined ? ++this.#lastId : entry.id
    ended.side = call.side
    ended.interface = call.interface
    ended.method = call.method
    ended.address = call.address
    ended.caller = call.caller
    ended.begunAt = call.begunAt
    ended.traceId = span?.traceId
    ended.spanId = span?.spanId
    ended.ending = ending
    ended.millis = millis
    ended.code = code
    ended.bytesIn = entry === undefined ? 0 : entry.bytesIn
    ended.bytesOut = entry === undefined ? 0 : entry.bytesOut
    ended.changes = entry?.changes
    ended.input = this.#values ? entry?.input ?? inputOf(call) : undefined
    if (entry !== undefined) {
      entry.kept = ended
      entry.changes = undefined
    }
    const news = this.#news
    if (news === undefined) return
    if (entry !== undefined) news.delete(entry)
    // Those that ended later come later.
    if (news.delete(ended)) this.#skipped++
    news.add(ended)
  }

  #unlink(entry: Open): void {
    const { next, previous } = entry
    if (previous === undefined) this.#first = next
    else previous.next = next
    if (next === undefined) this.#last = previous
    else next.previous = previous
    entry.next = undefined
    entry.previous = undefined
  }

  // --- those who look

  /** From now on news are kept, or no longer. */
  set isWatched(isWatched: boolean) {
    this.#news = isWatched ? this.#news ?? new Set() : undefined
    this.#skipped = 0
  }

  /** All calls: calls in progress, then ended calls, both from the oldest to the newest. */
  all(): Message {
    const oldest = this.#endedCount % maximumEnded
    const ended = this.#endedCount > maximumEnded
      ? [...this.#ended.slice(oldest), ...this.#ended.slice(0, oldest)]
      : this.#ended
    return this.#message(true, [...this.#openCalls(), ...ended], 0)
  }

  /** The changes since the last time; `undefined` where there are none. */
  news(): Message | undefined {
    const news = this.#news
    if (news === undefined || news.size === 0) return undefined
    const entries = [...news]
    const tooMany = Math.max(
      0,
      entries.reduce((count, one) => one instanceof Ended ? count + 1 : count, 0) - maximumNews
    )
    const skipped = this.#skipped + tooMany
    this.#news = new Set()
    this.#skipped = 0
    let left = tooMany
    return this.#message(false, entries.filter((one) => one instanceof Open || --left < 0), skipped)
  }

  /** Asks a call in progress to end; `false` if it is not in progress. */
  cancel(id: number): boolean {
    for (const entry of this.#openCalls()) {
      if (entry.id !== id) continue
      entry.call.cancel()
      return true
    }
    return false
  }

  *#openCalls(): Generator<Open> {
    for (let entry = this.#first; entry !== undefined; entry = entry.next) yield entry
  }

  #message(all: boolean, entries: ReadonlyArray<Open | Ended>, skipped: number): Message {
    const calls = entries.map((entry) =>
      entry instanceof Open ? this.#openRow(entry) : rowOf(entry, entry, entry.ending)
    )
    return { type: "calls", now: this.#now(), all, calls, skipped, totals: this.#totals() }
  }

  #openRow(entry: Open): Row {
    const { call } = entry
    if (this.#values) entry.input ??= inputOf(call)
    return rowOf(entry, call, call.side === "client" ? "waiting" : "running")
  }

  #totals(): Totals {
    return { begun: this.#begun, inProgress: this.#open, notShown: this.#notShown, ended: { ...this.#counts } }
  }
}

// ----------------------------------------------------------------------------
// calls as text
// ----------------------------------------------------------------------------

const inputOf = ({ input }: Observed): string | undefined => input === undefined ? undefined : preview(input)

const rowOf = (entry: Open | Ended, call: Observed | Ended, state: State): Row => {
  const { bytesIn, bytesOut, changes = [], id, input } = entry
  const { address, begunAt, caller } = call
  const ended = entry instanceof Ended ? entry : undefined
  const { spanId, traceId } = ended ?? (call as Observed).span ?? {}
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
    millis: ended?.millis ?? null,
    code: ended?.code ?? null,
    status: ended === undefined ? null : statusOf(ended.code),
    bytesIn,
    bytesOut,
    changes,
    traceId: traceId === undefined ? null : cut(traceId),
    spanId: spanId === undefined ? null : cut(spanId),
    input: input ?? null
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
