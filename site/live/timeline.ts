/** What a drawing of calls shows: a row for each call, the client's side above the server's. Times are in milliseconds. */
import type { Note } from "./ILive.ts"

/** The states of a call as the drawings name and colour them. */
export type State = "waiting" | "running" | "replied" | "cancelled" | "aborted" | "lost"

/** A part of a bar. One without an end lasts until now. */
export interface Segment {
  state: State
  readonly from: number
  to?: number
}

/** A message between the two sides. */
export interface Message {
  readonly at: number
  /** When it arrives; at once by default. */
  readonly arrives?: number
  /** What it is, in a word of the protocol. */
  readonly word?: string
  /** From the client down to the server, or up. */
  readonly direction: "down" | "up"
  readonly kind: "request" | "cancel" | "reply"
}

/** How a call has ended for its client, in words. */
export interface Outcome {
  readonly state: State
  readonly words: string
}

/** A call. */
export interface Row {
  readonly label: string
  readonly client: Array<Segment>
  readonly server: Array<Segment>
  readonly messages: Array<Message>
  /** Moments, with a word for each; on the client's side by default. */
  readonly marks: Array<{ readonly at: number; readonly word: string; readonly side?: "server" }>
  outcome: Outcome | undefined
}

/** A row without bars. */
export const makeRow = (label: string): Row => ({
  label,
  client: [],
  server: [],
  messages: [],
  marks: [],
  outcome: undefined
})

const openPart = (bar: ReadonlyArray<Segment>): Segment | undefined => {
  const last = bar.at(-1)
  return last?.to === undefined ? last : undefined
}

/** Ends the last part of a bar, and begins another one. */
export const turn = (bar: Array<Segment>, at: number, state?: State): void => {
  const last = openPart(bar)
  if (last !== undefined) last.to = Math.max(at, last.from)
  if (state !== undefined) bar.push({ state, from: at })
}

/** Ends the last part of a bar, which shows from its begin how it ended. */
const endAs = (bar: Array<Segment>, at: number, state: State): void => {
  const last = openPart(bar)
  if (last === undefined) return
  last.to = Math.max(at, last.from)
  if (last.state !== "waiting") last.state = state
}

/** The row of a call whose client begins it now. */
export const begun = (label: string, at: number): Row => {
  const row = makeRow(label)
  turn(row.client, at, "running")
  row.messages.push({ at, direction: "down", kind: "request" })
  return row
}

/** The client asks the server to end the call. */
export const cancelAsked = (row: Row, at: number): void => {
  row.messages.push({ at, direction: "down", kind: "cancel" })
  row.marks.push({ at, word: "cancel" })
}

/** The client gives the call up. */
export const dropped = (row: Row, at: number): void => {
  row.messages.push({ at, direction: "down", kind: "cancel" })
  endAs(row.client, at, "cancelled")
  row.outcome = { state: "cancelled", words: "dropped" }
}

/** The call ends for its client. */
export const ended = (row: Row, at: number, outcome: Outcome): void => {
  endAs(row.client, at, outcome.state)
  row.outcome = outcome
  // A server that still works on the call has not answered.
  if (outcome.state !== "lost" && openPart(row.server) === undefined) {
    row.messages.push({ at, direction: "up", kind: "reply" })
  }
}

/** The server is gone, and with it the work on the call. */
export const serverLost = (row: Row, at: number): void => {
  const last = openPart(row.server)
  if (last !== undefined) Object.assign(last, { to: at, state: "lost" })
}

/** The server tells how its work goes. */
export const noted = (row: Row, note: Note["note"], at: number): void => {
  switch (note) {
    case "arrived":
      return turn(row.server, at, "waiting")
    case "running": {
      const last = openPart(row.server)
      // A shorter wait is too small to be seen.
      if (last !== undefined && at - last.from < 30) last.state = "running"
      else turn(row.server, at, "running")
      return
    }
    case "replied":
    case "aborted":
      return endAs(row.server, at, note)
    case "stopped":
      return endAs(row.server, at, "cancelled")
  }
}
