/**
 * The documented states of a call as data: what each operation does in each state, and which state follows.
 *
 * Call objects and server calls run on these two tables. A state is the index of its row; nothing else in the library
 * decides what an operation may do.
 *
 * @since 0.1.0
 */

/**
 * What can be refused by state alone. Each is the tag of the error in `Status` that the operation fails with.
 *
 * @category models
 * @since 0.1.0
 */
export type Refusal = "CallPending" | "CallComplete" | "CallCancelled" | "InvalidAsyncHandle"

// ----------------------------------------------------------------------------
// the client's call
// ----------------------------------------------------------------------------

/**
 * The states of a call object. `cancelling` is pending with a cancel issued.
 *
 * @category the client's call
 * @since 0.1.0
 */
export const Client: {
  readonly idle: 0
  readonly pending: 1
  readonly cancelling: 2
  readonly completed: 3
  readonly released: 4
} = { idle: 0, pending: 1, cancelling: 2, completed: 3, released: 4 }

/**
 * @category the client's call
 * @since 0.1.0
 */
export type Client = 0 | 1 | 2 | 3 | 4

/**
 * One row of the client's table: a state, and what each operation does in it.
 *
 * - `documented` names the state as the Windows documentation does: C make the call, WComp wait for completion, Can cancel,
 *   Comp completion, End.
 * - `next` has the state after each event that can happen here; an event that is missing changes nothing.
 *
 * @category the client's call
 * @since 0.1.0
 */
export interface ClientRow {
  readonly state: keyof typeof Client
  readonly documented: string
  readonly begin: "starts" | Refusal
  readonly wait: "waits" | "returns" | Refusal
  readonly cancel: "issues" | "shortens" | Refusal
  readonly finish: "consumes" | Refusal
  readonly join: "waits" | "consumes" | Refusal
  readonly release: "releases" | "orphans" | "drops" | "nothing"
  readonly next: {
    readonly begin?: Client
    /** Issuing the call failed: no notification follows, nothing to clean up. */
    readonly fail?: Client
    readonly cancel?: Client
    readonly complete?: Client
    readonly finish?: Client
    readonly release?: Client
  }
}

/**
 * The client's table. On an idle object every evidence of a call is stale, and so is the evidence of an earlier call in any
 * other state: operations on it are looked up in the row `idle`.
 *
 * @category the client's call
 * @since 0.1.0
 */
export const clientTable: readonly [ClientRow, ClientRow, ClientRow, ClientRow, ClientRow] = [
  {
    state: "idle",
    documented: "End, before C",
    begin: "starts",
    wait: "CallComplete",
    cancel: "CallComplete",
    finish: "CallComplete",
    join: "CallComplete",
    release: "releases",
    next: { begin: Client.pending, release: Client.released }
  },
  {
    state: "pending",
    documented: "WComp",
    begin: "CallPending",
    wait: "waits",
    cancel: "issues",
    finish: "CallPending",
    join: "waits",
    release: "orphans",
    next: {
      fail: Client.idle,
      cancel: Client.cancelling,
      complete: Client.completed,
      release: Client.released
    }
  },
  {
    state: "cancelling",
    documented: "Can, then WComp",
    begin: "CallPending",
    wait: "waits",
    cancel: "shortens",
    finish: "CallPending",
    join: "waits",
    release: "orphans",
    next: { complete: Client.completed, release: Client.released }
  },
  {
    state: "completed",
    documented: "Comp",
    begin: "CallPending",
    wait: "returns",
    cancel: "CallComplete",
    finish: "consumes",
    join: "consumes",
    release: "drops",
    next: { finish: Client.idle, release: Client.released }
  },
  {
    state: "released",
    documented: "(the handle is gone)",
    begin: "InvalidAsyncHandle",
    wait: "InvalidAsyncHandle",
    cancel: "InvalidAsyncHandle",
    finish: "InvalidAsyncHandle",
    join: "InvalidAsyncHandle",
    release: "nothing",
    next: {}
  }
]

// ----------------------------------------------------------------------------
// the server's call
// ----------------------------------------------------------------------------

/**
 * The states of a server call. `dispatched`: its routine runs. `handedOff`: a hand-off routine has returned, and the call is
 * kept until somebody completes or aborts it.
 *
 * @category the server's call
 * @since 0.1.0
 */
export const Server: {
  readonly dispatched: 0
  readonly handedOff: 1
  readonly ended: 2
} = { dispatched: 0, handedOff: 1, ended: 2 }

/**
 * @category the server's call
 * @since 0.1.0
 */
export type Server = 0 | 1 | 2

/**
 * One row of the server's table: a state, and what each operation and event does in it.
 *
 * - `documented` names the state as the Windows documentation does: D dispatch, Comp completion, A abort, End.
 * - `complete`, `abort` and `run` are operations of the program.
 * - `returns` and `fails` are the exit of the routine; the return of a hand-off routine is the hand-off.
 * - `cancel` is the client's request; `gone` is everything that ends the call without a reply to its client: an orphan, a
 *   lost connection, and the end of the server.
 *
 * @category the server's call
 * @since 0.1.0
 */
export interface ServerRow {
  readonly state: keyof typeof Server
  readonly documented: string
  readonly complete: "replies" | Refusal
  readonly abort: "replies" | Refusal
  readonly run: "ties" | Refusal
  readonly returns: "replies" | "nothing"
  readonly fails: "replies" | "nothing"
  readonly cancel: "asks" | "nothing"
  readonly gone: "ends" | "nothing"
  readonly next: {
    readonly handOff?: Server
    readonly end?: Server
  }
}

/**
 * The server's table.
 *
 * @category the server's call
 * @since 0.1.0
 */
export const serverTable: readonly [ServerRow, ServerRow, ServerRow] = [
  {
    state: "dispatched",
    documented: "D",
    complete: "replies",
    abort: "replies",
    run: "ties",
    returns: "replies",
    fails: "replies",
    cancel: "asks",
    gone: "ends",
    next: { handOff: Server.handedOff, end: Server.ended }
  },
  {
    state: "handedOff",
    documented: "D, after the dispatch routine returned",
    complete: "replies",
    abort: "replies",
    run: "ties",
    returns: "nothing",
    fails: "nothing",
    cancel: "asks",
    gone: "ends",
    next: { end: Server.ended }
  },
  {
    state: "ended",
    documented: "Comp or A, then End",
    complete: "InvalidAsyncHandle",
    abort: "InvalidAsyncHandle",
    run: "InvalidAsyncHandle",
    returns: "nothing",
    fails: "nothing",
    cancel: "nothing",
    gone: "nothing",
    next: {}
  }
]
