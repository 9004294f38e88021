/**
 * The documented states of a call as data: what each operation does in each state, and which state follows.
 *
 * Call objects and server calls run on these two tables. A state is the index of its row; nothing else in the library
 * decides what an operation may do.
 *
 * @module
 * @since 0.1.0
 */

/**
 * The refusals by state alone. Each is the tag of the error in `Status` that the operation fails with.
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
 * **Example** (The states by name)
 *
 * ```ts
 * import { CallState } from "@callisto/rpc"
 *
 * CallState.Client.pending // => 1
 * CallState.clientTable[CallState.Client.pending].state // => "pending"
 * ```
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
 * The state of a call object: the index of its row in {@link clientTable}.
 *
 * @category the client's call
 * @since 0.1.0
 */
export type Client = 0 | 1 | 2 | 3 | 4

/**
 * One row of the client's table: a state, and what each operation does in it. A {@link Refusal} refuses the operation.
 *
 * @category the client's call
 * @since 0.1.0
 */
export interface ClientRow {
  /** The name of the state. */
  readonly state: keyof typeof Client
  /** `starts`: a call is issued. */
  readonly begin: "starts" | Refusal
  /** `waits` for completion, or `returns` at once. */
  readonly wait: "waits" | "returns" | Refusal
  /** `issues` a cancel, or `shortens` the time of the one that was issued. */
  readonly cancel: "issues" | "shortens" | Refusal
  /** `consumes`: gives the result and makes the object idle. */
  readonly finish: "consumes" | Refusal
  /** `waits` for completion first, or `consumes` at once. */
  readonly join: "waits" | "consumes" | Refusal
  /** `orphans` the pending call, `drops` the result, `releases` an idle object; `nothing` is left to release. */
  readonly release: "releases" | "orphans" | "drops" | "nothing"
  /** A `release` that lets the server go on: it `detaches` a pending call, and is the same otherwise. */
  readonly goOn: "releases" | "detaches" | "drops" | "nothing"
  /** The state after each event that can happen here. An event that is missing changes nothing. */
  readonly next: {
    /** A call is being issued. */
    readonly begin?: Client
    /** Issuing the call failed: no notification follows, nothing to clean up. */
    readonly fail?: Client
    /** A cancel was issued. */
    readonly cancel?: Client
    /** The server could not be told of the cancel. */
    readonly cancelFail?: Client
    /** The call has completed: with a reply, an abort, a cancel or the loss of the connection. */
    readonly complete?: Client
    /** The result was taken. */
    readonly finish?: Client
    /** The object was released: by the program, or because its scope has closed. */
    readonly release?: Client
  }
}

/**
 * The client's table. On an idle object every evidence of a call is stale, and so is the evidence of an earlier call in
 * any other state: operations on it are looked up in the row `idle`.
 *
 * **Example** (What finish does in each state)
 *
 * ```ts
 * import { CallState } from "@callisto/rpc"
 *
 * const { Client, clientTable } = CallState
 *
 * clientTable[Client.pending].finish // => "CallPending", the error that refuses it
 * clientTable[Client.completed].finish // => "consumes"
 * clientTable[Client.completed].next.finish // => 0, Client.idle
 * ```
 *
 * @category the client's call
 * @since 0.1.0
 */
export const clientTable: readonly [ClientRow, ClientRow, ClientRow, ClientRow, ClientRow] = [
  {
    state: "idle",
    begin: "starts",
    wait: "CallComplete",
    cancel: "CallComplete",
    finish: "CallComplete",
    join: "CallComplete",
    release: "releases",
    goOn: "releases",
    next: { begin: Client.pending, release: Client.released }
  },
  {
    state: "pending",
    begin: "CallPending",
    wait: "waits",
    cancel: "issues",
    finish: "CallPending",
    join: "waits",
    release: "orphans",
    goOn: "detaches",
    next: {
      fail: Client.idle,
      cancel: Client.cancelling,
      complete: Client.completed,
      release: Client.released
    }
  },
  {
    state: "cancelling",
    begin: "CallPending",
    wait: "waits",
    cancel: "shortens",
    finish: "CallPending",
    join: "waits",
    release: "orphans",
    goOn: "detaches",
    next: {
      fail: Client.idle,
      cancelFail: Client.pending,
      complete: Client.completed,
      release: Client.released
    }
  },
  {
    state: "completed",
    begin: "CallPending",
    wait: "returns",
    cancel: "CallComplete",
    finish: "consumes",
    join: "consumes",
    release: "drops",
    goOn: "drops",
    next: { finish: Client.idle, release: Client.released }
  },
  {
    state: "released",
    begin: "InvalidAsyncHandle",
    wait: "InvalidAsyncHandle",
    cancel: "InvalidAsyncHandle",
    finish: "InvalidAsyncHandle",
    join: "InvalidAsyncHandle",
    release: "nothing",
    goOn: "nothing",
    next: {}
  }
]

// ----------------------------------------------------------------------------
// the server's call
// ----------------------------------------------------------------------------

/**
 * The states of a server call. `dispatched`: its routine runs. `handedOff`: a hand-off routine has returned, and the
 * call is kept until somebody completes or aborts it.
 *
 * **Example** (The states by name)
 *
 * ```ts
 * import { CallState } from "@callisto/rpc"
 *
 * CallState.Server.handedOff // => 1
 * CallState.serverTable[CallState.Server.handedOff].state // => "handedOff"
 * ```
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
 * The state of a server call: the index of its row in {@link serverTable}.
 *
 * @category the server's call
 * @since 0.1.0
 */
export type Server = 0 | 1 | 2

/**
 * One row of the server's table: a state, and what each operation and event does in it. A {@link Refusal} refuses the
 * operation.
 *
 * @category the server's call
 * @since 0.1.0
 */
export interface ServerRow {
  /** The name of the state. */
  readonly state: keyof typeof Server
  /** `replies`: the out parameters are sent. */
  readonly complete: "replies" | Refusal
  /** `replies`: the exception code is sent. */
  readonly abort: "replies" | Refusal
  /** `ties` the effect to the call. */
  readonly run: "ties" | Refusal
  /** The routine succeeds. The success of a hand-off routine is the hand-off, and replies nothing. */
  readonly returns: "replies" | "nothing"
  /** The routine fails, dies or is interrupted. */
  readonly fails: "replies" | "nothing"
  /** The client cancels: this `asks` the manager to stop. */
  readonly cancel: "asks" | "nothing"
  /** The client is gone, by an orphan or a lost connection: this `ends` the call without a reply. */
  readonly gone: "ends" | "nothing"
  /** The state after each event that can happen here. An event that is missing changes nothing. */
  readonly next: {
    /** A hand-off routine has succeeded. */
    readonly handOff?: Server
    /** The call has ended, by whatever ends it. */
    readonly end?: Server
  }
}

/**
 * The server's table.
 *
 * **Example** (Who may answer a call that was handed off)
 *
 * ```ts
 * import { CallState } from "@callisto/rpc"
 *
 * const { Server, serverTable } = CallState
 *
 * serverTable[Server.handedOff].complete // => "replies"
 * serverTable[Server.handedOff].returns // => "nothing"
 * serverTable[Server.ended].complete // => "InvalidAsyncHandle"
 * ```
 *
 * @category the server's call
 * @since 0.1.0
 */
export const serverTable: readonly [ServerRow, ServerRow, ServerRow] = [
  {
    state: "dispatched",
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

// ----------------------------------------------------------------------------
// pipes
// ----------------------------------------------------------------------------

/**
 * The refusals by the state of a pipe. Each is the tag of the error in `Status` that the operation fails with.
 *
 * @category pipes
 * @since 0.1.0
 */
export type PipeRefusal = "PipeClosed" | "PipeEmpty"

/**
 * The states of one end of a pipe: `open`, `ended` (the empty chunk went through it), `failed` (its call ended first).
 *
 * **Example** (The states by name)
 *
 * ```ts
 * import { CallState } from "@callisto/rpc"
 *
 * CallState.Pipe.ended // => 1
 * CallState.pushTable[CallState.Pipe.ended].push // => "PipeClosed", the error that refuses it
 * ```
 *
 * @category pipes
 * @since 0.1.0
 */
export const Pipe: {
  readonly open: 0
  readonly ended: 1
  readonly failed: 2
} = { open: 0, ended: 1, failed: 2 }

/**
 * The state of an end of a pipe: the index of its row in {@link pushTable} or {@link pullTable}.
 *
 * @category pipes
 * @since 0.1.0
 */
export type Pipe = 0 | 1 | 2

/**
 * One row of the table of pushing ends: in pipes on the client, out pipes on the server.
 *
 * @category pipes
 * @since 0.1.0
 */
export interface PushRow {
  /** The name of the state. */
  readonly state: keyof typeof Pipe
  /** `sends` a chunk, once there is room; `fails` as the call did. */
  readonly push: "sends" | "fails" | PipeRefusal
  /** `ends` the pipe: the null push. */
  readonly end: "ends" | "fails" | PipeRefusal
  /** The state after each event that can happen here. An event that is missing changes nothing. */
  readonly next: {
    /** The empty chunk was pushed. */
    readonly end?: Pipe
    /** The call has ended or was cancelled. */
    readonly fail?: Pipe
  }
}

/**
 * The table of pushing ends. Whether it is the turn of this pipe is asked after it: `WrongPipeOrder`.
 *
 * @category pipes
 * @since 0.1.0
 */
export const pushTable: readonly [PushRow, PushRow, PushRow] = [
  { state: "open", push: "sends", end: "ends", next: { end: Pipe.ended, fail: Pipe.failed } },
  { state: "ended", push: "PipeClosed", end: "PipeClosed", next: {} },
  { state: "failed", push: "fails", end: "fails", next: {} }
]

/**
 * One row of the table of pulling ends: in pipes on the server, out pipes on the client.
 *
 * @category pipes
 * @since 0.1.0
 */
export interface PullRow {
  /** The name of the state. */
  readonly state: keyof typeof Pipe
  /** `takes` a chunk, once there is one; `fails` as the call did. */
  readonly pull: "takes" | "fails" | PipeRefusal
  /** The state after each event that can happen here. An event that is missing changes nothing. */
  readonly next: {
    /** The empty chunk was pulled. */
    readonly end?: Pipe
    /** The call has ended or was cancelled. */
    readonly fail?: Pipe
  }
}

/**
 * The table of pulling ends. Whether it is the turn of this pipe is asked after it: `WrongPipeOrder`.
 *
 * @category pipes
 * @since 0.1.0
 */
export const pullTable: readonly [PullRow, PullRow, PullRow] = [
  { state: "open", pull: "takes", next: { end: Pipe.ended, fail: Pipe.failed } },
  { state: "ended", pull: "PipeEmpty", next: {} },
  { state: "failed", pull: "fails", next: {} }
]

// ----------------------------------------------------------------------------
// the names in Windows
// ----------------------------------------------------------------------------

/**
 * The names that the Windows documentation gives the states of each table.
 *
 * **Details**
 *
 * C make the call, D dispatch, WComp wait for completion, Can cancel, Comp completion, A abort, End; of pipes P push or pull, WS wait
 * for send, WP wait for the pipe operation, NP null push, WNP wait for the null push.
 *
 * **Example** (A state in the words of Windows)
 *
 * ```ts
 * import { CallState } from "@callisto/rpc"
 *
 * CallState.documented.client.cancelling // => "Can, then WComp"
 * ```
 *
 * @category the names in Windows
 * @since 0.1.0
 */
export const documented: {
  /** The states of {@link clientTable}. */
  readonly client: { readonly [State in keyof typeof Client]: string }
  /** The states of {@link serverTable}. */
  readonly server: { readonly [State in keyof typeof Server]: string }
  /** The states of {@link pushTable}. */
  readonly push: { readonly [State in keyof typeof Pipe]: string }
  /** The states of {@link pullTable}. */
  readonly pull: { readonly [State in keyof typeof Pipe]: string }
} = {
  client: {
    idle: "End, before C",
    pending: "WComp",
    cancelling: "Can, then WComp",
    completed: "Comp",
    released: "(the handle is gone)"
  },
  server: {
    dispatched: "D",
    handedOff: "D, after the dispatch routine returned",
    ended: "Comp or A, then End"
  },
  push: {
    open: "P; WS or WP while there is no room",
    ended: "NP, WNP",
    failed: "Comp or End"
  },
  pull: {
    open: "P; WP while there is no data",
    ended: "the empty chunk was pulled",
    failed: "Can, A or End"
  }
}
