/**
 * The feed of an inspector to its viewers: lines of JSON, and the limits of their parts.
 */
import type { Change, Ending } from "../../Observability.ts"
import type { Shade } from "./palette.ts"

/** The state of a call: a client's is waiting and a server's running until it ends. */
export type State = "waiting" | "running" | Ending

/** A call. */
export interface Row {
  readonly id: number
  readonly side: "client" | "server"
  readonly interface: string
  readonly method: string
  readonly state: State
  /** The caller, as the server knows it. */
  readonly caller: string | null
  /** How the caller is authenticated. */
  readonly level: string | null
  /** The address of the other side. */
  readonly address: string | null
  /** When it began, in milliseconds since 1970. */
  readonly begunAt: number
  /** How long it took, once it has ended. */
  readonly millis: number | null
  /** The code with which it ended: 0 for a reply. */
  readonly code: number | null
  /** The name of that code. */
  readonly status: string | null
  readonly bytesIn: number
  readonly bytesOut: number
  /** What happened to it, in milliseconds from its begin. */
  readonly changes: ReadonlyArray<readonly [change: Change, millis: number]>
  readonly traceId: string | null
  readonly spanId: string | null
  /** Its arguments, where the program shows them. */
  readonly input: string | null
}

/** How many calls have ended in which way, and how many are in progress. */
export interface Totals {
  readonly begun: number
  readonly inProgress: number
  /** The calls in progress that are not shown, for there are too many. */
  readonly notShown: number
  readonly ended: { readonly [E in Ending]: number }
}

/** A line. */
export type Message =
  | {
    readonly type: "hello"
    readonly version: 1
    readonly program: { readonly name: string; readonly pid: number; readonly runtime: string }
    readonly cancel: boolean
    readonly values: boolean
    readonly maximumEnded: number
  }
  | {
    readonly type: "calls"
    /** The time of the program. */
    readonly now: number
    /** Whether these are all, in place of those before. */
    readonly all: boolean
    readonly calls: ReadonlyArray<Row>
    /** How many ended calls are left out, for there were too many. */
    readonly skipped: number
    readonly totals: Totals
  }
  | { readonly type: "beat"; readonly now: number }
  | { readonly type: "end" }

/** The way a call is drawn. */
export const shadeOf = (state: State): Shade => state === "abandoned" ? "lost" : state === "refused" ? "aborted" : state

/** The most characters of a name, an address, or a caller. */
export const maximumName = 200

/** The most characters of the arguments of a call. */
export const maximumInput = 2000

/** The most calls in progress that are shown. */
export const maximumOpen = 1000

/** The most ended calls that are kept. */
export const maximumEnded = 1000

/** The most ended calls in one line, unless it has all. */
export const maximumNews = 250

/** The most who look at the same time. */
export const maximumViewers = 16

/** Shortens text, without half a character at its end. */
export const cut = (text: string, most: number = maximumName): string =>
  text.length <= most ? text : `${text.slice(0, most - 1).replace(/[\ud800-\udbff]$/, "")}…`
