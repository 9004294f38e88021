// Records the figures: node site/figures.ts runs real calls, and writes what happened to docs/figures.
import { Call } from "../mod.ts"
import { Association } from "../src/dcerpc.ts"
import { Memory } from "../src/transport.ts"
import { Effect } from "effect"
import { mkdirSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { type Method, outcomeOf, type Pending } from "./live/client.ts"
import { draw, standalone, type View } from "./live/drawing.ts"
import { ILive, now } from "./live/ILive.ts"
import { serve } from "./live/server.ts"
import { begun, cancelAsked, dropped, ended, noted, type Row } from "./live/timeline.ts"

const folder = fileURLToPath(new URL("../docs/figures/", import.meta.url))

/** Calls that are cancelled, dropped, aborted and answered, in ten seconds. */
const live = Effect.gen(function* () {
  const rows: Array<Row> = []
  const origin = now()
  const clock = () => now() - origin
  yield* serve("ncacn_memory:[live]", ({ at, call, note }) => noted(rows[call - 1]!, note, at - origin))
  const client = Call.client(yield* Association.bind(ILive, "ncacn_memory:[live]"))

  const begin = Effect.fnUntraced(function* (method: Method, seconds: number) {
    const number = rows.length + 1
    const row = begun(`${number}  ${method}`, clock())
    rows.push(row)
    const pending: Pending = yield* client[method].begin({ call: number, seconds })
    yield* Effect.forkScoped(
      Effect.map(Effect.exit(Call.join(pending)), (exit) => {
        if (row.outcome === undefined) ended(row, clock(), outcomeOf(exit))
      })
    )
    return { row, pending }
  })
  const cancel = ({ pending, row }: { readonly row: Row; readonly pending: Pending }) => {
    cancelAsked(row, clock())
    return Effect.ignore(Call.cancel(pending, { timeout: "2 seconds" }))
  }

  const copy = yield* begin("Copy", 6)
  const seal = yield* begin("Seal", 6.5)
  yield* begin("Copy", 3)
  yield* Effect.sleep("1800 millis")
  yield* cancel(copy)
  yield* Effect.sleep("900 millis")
  yield* cancel(seal)
  yield* begin("Fill", 2)
  yield* Effect.sleep("1 seconds")
  const last = yield* begin("Copy", 4)
  yield* Effect.sleep("4800 millis")
  dropped(last.row, clock())
  yield* Call.release(last.pending)
  yield* Effect.sleep("500 millis")
  return (width: View["width"]) => draw(rows, {
    from: 0,
    to: 10_000,
    now: clock(),
    rows: 5,
    width,
    title: "Five calls in ten seconds: the client above, the server below. The server does two at once. A cancelled copy stops; a cancelled " +
      "seal goes on, and its client gives it up after two seconds; one call is aborted, one is answered, one is dropped."
  })
}).pipe(Effect.scoped, Effect.provide(Memory.layer))

mkdirSync(folder, { recursive: true })
const picture = await Effect.runPromise(live)
writeFileSync(`${folder}calls.svg`, standalone(picture("wide")))
// The first page shows these until its own calls run.
for (const width of ["wide", "narrow"] as const) {
  writeFileSync(fileURLToPath(new URL(`live/recorded-${width}.svg`, import.meta.url)), `${picture(width)}\n`)
}
