/**
 * The life of a connection at both ends, as data. Every change of a connection's state is a row and an event of these tables.
 */

/**
 * The states of a connection: `opening`, until its bind is answered; `open`, when new calls may use it; `draining`, while only the calls in
 * progress go on; `lingering`, when it keeps context handles alive or its last bytes leave; `closed`. A client's connection is `leaving`
 * when it ends with its last call, whatever handles it keeps alive.
 */
export const State = { opening: 0, open: 1, draining: 2, lingering: 3, closed: 4, leaving: 5 } as const

export type State = (typeof State)[keyof typeof State]

/** The events of a connection. */
export type Event =
  /** The transport has connected. */
  | "connected"
  /** The bind was accepted. */
  | "agreed"
  /** The bind was refused. */
  | "refused"
  /** A call was orphaned, and the server does not keep a connection then. */
  | "orphaned"
  /** A request ends in the middle: nothing can follow it. At the server also where the peer broke the protocol. */
  | "truncated"
  /** The peer said that it shuts down. */
  | "shutdownHeard"
  /** This side shuts down. */
  | "shutdownAsked"
  | "writeFailed"
  /** The peer was silent for longer than it may be. */
  | "silent"
  /** Nobody has used it for a time. */
  | "idle"
  /** The server has ended a call without a reply: only the end of the connection tells the client. */
  | "callLost"
  /** The time for its end has run out. */
  | "outOfTime"
  /** The numbers for presentation contexts have run out. */
  | "exhausted"
  /** The server no longer knows its association group. */
  | "disowned"
  | "lastCallEnded"
  /** The last context handle that needs it is gone, and the last byte has left. */
  | "lastHandleGone"
  | "closedByPeer"

export interface Row {
  readonly state: keyof typeof State
  /** Whether a new call may use it. */
  readonly takesCalls: boolean
  /** The state after an event. An event that is missing changes nothing. */
  readonly next: { readonly [E in Event]?: State }
}

/** A row by the states that follow, each with the events that lead there. */
const row = (
  state: Row["state"],
  following: { readonly [S in Row["state"]]?: ReadonlyArray<Event> },
  takesCalls = false
): Row => {
  const next: { [E in Event]?: State } = {}
  for (const [name, events] of Object.entries(following)) {
    for (const event of events) next[event] = State[name as Row["state"]]
  }
  return { state, takesCalls, next }
}

/** The life of a connection at the client. When it is `leaving`, what has arrived may still answer the calls. */
export const clientTable: ReadonlyArray<Row> = [
  row("opening", {
    open: ["agreed"],
    closed: ["refused", "shutdownHeard", "shutdownAsked", "writeFailed", "silent", "closedByPeer"]
  }),
  row("open", {
    draining: ["orphaned", "truncated", "exhausted"],
    leaving: ["shutdownHeard", "disowned", "writeFailed"],
    closed: ["shutdownAsked", "idle", "silent", "closedByPeer"]
  }, true),
  row("draining", {
    lingering: ["lastCallEnded"],
    leaving: ["shutdownHeard", "disowned", "writeFailed"],
    closed: ["shutdownAsked", "silent", "closedByPeer"]
  }),
  row("lingering", {
    closed: ["lastHandleGone", "shutdownHeard", "disowned", "shutdownAsked", "writeFailed", "silent", "closedByPeer"]
  }),
  row("closed", {}),
  row("leaving", { closed: ["lastCallEnded", "shutdownAsked", "silent", "closedByPeer"] })
]

/**
 * The life of a connection at the server. A connection whose bind was refused is `draining`: what came together with the bind is answered.
 * One that is `lingering` reads nothing more, and closes once its last bytes have left: what the server has said may still reach a client
 * that has closed its own direction.
 */
export const serverTable: ReadonlyArray<Row> = [
  row("opening", {
    open: ["agreed"],
    draining: ["refused"],
    lingering: ["truncated", "closedByPeer"],
    closed: ["shutdownAsked", "idle", "writeFailed", "silent", "outOfTime"]
  }),
  row("open", {
    draining: ["shutdownAsked"],
    lingering: ["refused", "truncated", "callLost", "closedByPeer"],
    closed: ["idle", "writeFailed", "silent", "outOfTime"]
  }, true),
  row("draining", {
    lingering: ["lastCallEnded", "refused", "truncated", "callLost", "closedByPeer"],
    closed: ["writeFailed", "silent", "outOfTime"]
  }),
  row("lingering", { closed: ["lastHandleGone", "writeFailed", "silent", "outOfTime", "closedByPeer"] }),
  row("closed", {})
]
