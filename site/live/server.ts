/** The server of the live page, and of the recorded figure that stands in its place. */
import { Manager, Server } from "../../mod.ts"
import { Endpoint } from "../../src/dcerpc.ts"
import { Effect, Semaphore } from "effect"
import { ILive, NoSpace, type Note, now } from "./ILive.ts"

/** Serves jobs, two at once. It tells how the work goes, for the picture. */
export const serve = (address: string, tell: (note: Note) => void) =>
  Effect.gen(function* () {
    const workers = yield* Semaphore.make(2)

    const note = (note: Note["note"], call: number) => Effect.sync(() => tell({ note, call, at: now() }))

    /** Waits for a worker, then works for some seconds. */
    const work = (call: number, seconds: number, end: Note["note"]) =>
      Effect.andThen(
        note("arrived", call),
        Semaphore.withPermit(workers, Effect.andThen(note("running", call), Effect.sleep(seconds * 1000)))
      ).pipe(Effect.andThen(note(end, call)), Effect.onInterrupt(() => note("stopped", call)))

    const manager = Manager.make(ILive, {
      Copy: ({ call, seconds }) => Effect.as(work(call, seconds, "replied"), { files: 12 }),
      // A cancel is a request: this routine has begun something that it must not leave half done.
      Seal: ({ call, seconds }) => Effect.uninterruptible(Effect.as(work(call, seconds, "replied"), { seal: "A7" })),
      Fill: ({ call, seconds }) => Effect.andThen(work(call, seconds, "aborted"), Effect.fail(new NoSpace({ free: 0 })))
    })
    return yield* Endpoint.serve(yield* Server.make([manager]), address)
  })
