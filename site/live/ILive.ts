/** What the live page and its server have in common. */
import { Interface } from "../../mod.ts"
import { Schema } from "effect"

/** There is no room on the disk. */
export class NoSpace extends Schema.TaggedError<NoSpace>()("NoSpace", { free: Schema.Int }) {}

const job = { call: Schema.Int, seconds: Schema.Number }

/** Jobs that take their time. The server does two at once; others wait. */
export const ILive = Interface.make("Live", {
  methods: {
    /** Stops when it is cancelled. */
    Copy: Interface.method({ in: job, out: { files: Schema.Int }, aborts: [NoSpace] }),
    /** Goes on when it is cancelled. */
    Seal: Interface.method({ in: job, out: { seal: Schema.String } }),
    /** Fails with NoSpace. */
    Fill: Interface.method({ in: job, out: { files: Schema.Int }, aborts: [NoSpace] })
  }
})

/** What the server tells of its work on a call, beside the calls: for the picture alone. */
export interface Note {
  readonly note: "arrived" | "running" | "replied" | "aborted" | "stopped"
  readonly call: number
  readonly at: number
}

/** The time in milliseconds, as the page and its worker agree on it. */
export const now = (): number => performance.timeOrigin + performance.now()
