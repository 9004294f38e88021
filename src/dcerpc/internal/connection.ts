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

/** What happens to a connection. */
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

const ends = { writeFailed: State.closed, silent: State.closed, closedByPeer: State.closed } as const

/** At the server. What it has said may still reach a client that has closed its own direction. */
const leaves = {
  writeFailed: State.closed,
  silent: State.closed,
  outOfTime: State.closed,
  closedByPeer: State.lingering
} as const

/** The life of a connection at the client. */
export const clientTable: ReadonlyArray<Row> = [
  {
    state: "opening",
    takesCalls: false,
    next: {
      agreed: State.open,
      refused: State.closed,
      shutdownHeard: State.closed,
      shutdownAsked: State.closed,
      ...ends
    }
  },
  {
    state: "open",
    takesCalls: true,
    next: {
      orphaned: State.draining,
      truncated: State.draining,
      exhausted: State.draining,
      shutdownHeard: State.leaving,
      disowned: State.leaving,
      shutdownAsked: State.closed,
      idle: State.closed,
      ...ends,
      // What has arrived may still answer the calls.
      writeFailed: State.leaving
    }
  },
  {
    state: "draining",
    takesCalls: false,
    next: {
      lastCallEnded: State.lingering,
      shutdownHeard: State.leaving,
      disowned: State.leaving,
      shutdownAsked: State.closed,
      ...ends,
      writeFailed: State.leaving
    }
  },
  {
    state: "lingering",
    takesCalls: false,
    next: {
      lastHandleGone: State.closed,
      shutdownHeard: State.closed,
      disowned: State.closed,
      shutdownAsked: State.closed,
      ...ends
    }
  },
  { state: "closed", takesCalls: false, next: {} },
  {
    state: "leaving",
    takesCalls: false,
    next: {
      lastCallEnded: State.closed,
      shutdownAsked: State.closed,
      silent: State.closed,
      closedByPeer: State.closed
    }
  }
]

/**
 * The life of a connection at the server. A connection whose bind was refused is `draining`: what came together with the bind is answered.
 * One that is `lingering` reads nothing more, and closes once its last bytes have left.
 */
export const serverTable: ReadonlyArray<Row> = [
  {
    state: "opening",
    takesCalls: false,
    next: {
      agreed: State.open,
      refused: State.draining,
      truncated: State.lingering,
      shutdownAsked: State.closed,
      idle: State.closed,
      ...leaves
    }
  },
  {
    state: "open",
    takesCalls: true,
    next: {
      refused: State.lingering,
      truncated: State.lingering,
      callLost: State.lingering,
      shutdownAsked: State.draining,
      idle: State.closed,
      ...leaves
    }
  },
  {
    state: "draining",
    takesCalls: false,
    next: {
      lastCallEnded: State.lingering,
      refused: State.lingering,
      truncated: State.lingering,
      callLost: State.lingering,
      ...leaves
    }
  },
  {
    state: "lingering",
    takesCalls: false,
    next: { lastHandleGone: State.closed, ...leaves, closedByPeer: State.closed }
  },
  { state: "closed", takesCalls: false, next: {} }
]
