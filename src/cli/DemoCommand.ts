/**
 * `callisto demo`: asynchronous calls hash the largest files of a folder, and a timeline shows when each call waited, ran and ended.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { PlatformError } from "effect/PlatformError"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Stdio from "effect/Stdio"
import * as Binding from "../Binding.ts"
import * as Call from "../Call.ts"
import * as Interface from "../Interface.ts"
import * as Manager from "../Manager.ts"
import * as Server from "../Server.ts"
import * as ServerCall from "../ServerCall.ts"
import { exitCodes, type Failure } from "./Failure.ts"
import type { Answer } from "./Inquiries.ts"
import { canDraw, harmless, makeLive, type Paint, paint, writeLine } from "./Screen.ts"
import { type File, type Reading, Surroundings } from "./Surroundings.ts"

const workers = 4
const budget = 1300 // milliseconds for each call

/** The most files that are hashed. */
const most = 24

/** With fewer files, a folder that nobody named makes no picture. */
const fewest = 8

const now = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1e6)

// ----------------------------------------------------------------------------
// what client and server share
// ----------------------------------------------------------------------------

class NotReadable extends Schema.TaggedError<NotReadable>()("NotReadable", {
  path: Schema.String,
  reason: Schema.String
}) {}

const IHasher = Interface.make("IHasher", {
  methods: {
    Hash: Interface.method({
      in: { path: Schema.String },
      out: { size: Schema.Int, sha256: Schema.String },
      aborts: [NotReadable]
    })
  }
})

// ----------------------------------------------------------------------------
// the server
// ----------------------------------------------------------------------------

/** What the server hashes. */
interface Jobs {
  readonly files: ReadonlyArray<File>
  readonly open: (path: string) => ReturnType<Surroundings["open"]>
  /** The server's notes on its work. The timeline shows them, because both sides share a process. */
  readonly notes: Map<string, { readonly began: number; bytes: number }>
}

const hashFile = ({ files, notes, open }: Jobs, path: string, bytesPerSecond: number) =>
  Effect.gen(function* () {
    const file = yield* open(path)
    const note = { began: yield* now, bytes: 0 }
    notes.set(path, note)
    const size = files.find((file) => file.path === path)?.size ?? 0
    const chunk = Math.min(Math.max(Math.ceil(size / 16), 512), 1 << 20)
    while (true) {
      const count = yield* file.next(chunk)
      if (count === 0) return { size: note.bytes, sha256: yield* file.digest }
      // The slow disk gives a chunk when it is due.
      const due = note.began + (note.bytes + count) / bytesPerSecond * 1000
      yield* Effect.sleep(Math.max(due - (yield* now), 0))
      note.bytes += count
    }
  }).pipe(Effect.mapError((reason) => new NotReadable({ path, reason })), Effect.scoped)

const makeServer = Effect.fnUntraced(function* (jobs: Jobs, bytesPerSecond: number) {
  const queue = yield* Queue.unbounded<{ path: string; call: ServerCall.Of<typeof IHasher, "Hash"> }>()

  const worker = Effect.gen(function* () {
    const { call, path } = yield* Queue.take(queue)
    yield* Effect.ignore(ServerCall.run(call, hashFile(jobs, path, bytesPerSecond)))
  })
  // Forked before the server is made, so that they end after it.
  for (let i = 0; i < workers; i++) yield* Effect.forkScoped(Effect.forever(worker))

  return yield* Server.make([
    Manager.make(IHasher, {
      Hash: Manager.handOff(({ path }, call) => Queue.offer(queue, { path, call }))
    })
  ])
})

// ----------------------------------------------------------------------------
// the client
// ----------------------------------------------------------------------------

interface Row {
  readonly path: string
  /** Missing for the file that does not exist. */
  readonly size: number | undefined
  readonly begun: number
  ended: number
  outcome: { readonly kind: "hashed" | "cancelled" | "aborted"; readonly words: string } | undefined
}

const begin = Effect.fnUntraced(function* (hasher: Call.Client<typeof IHasher>, path: string, size?: number) {
  const row: Row = { path, size, begun: yield* now, ended: 0, outcome: undefined }
  return { row, hashing: yield* hasher.Hash.begin({ path }) }
})

const finish = Effect.fnUntraced(
  function* (row: Row, hashing: Call.Pending<typeof IHasher, "Hash">, notes: Jobs["notes"]) {
    yield* Call.wait(hashing, budget).pipe(
      Effect.catchTag("WaitTimeout", () => Call.cancel(hashing, { timeout: "100 millis" })),
      Effect.catchTag("CallComplete", () => Effect.void) // the call completed just before the cancel
    )
    row.outcome = yield* Call.join(hashing).pipe(
      Effect.map(({ sha256 }) => ({ kind: "hashed" as const, words: `sha256 ${sha256.slice(0, 9)}…` })),
      Effect.catchTag(
        "NotReadable",
        ({ reason }) => Effect.succeed({ kind: "aborted" as const, words: `NotReadable ${reason}` })
      ),
      Effect.catchTag("CallCancelled", () => {
        const note = notes.get(row.path)
        const words = note === undefined
          ? "cancelled in queue"
          : `cancelled at ${Math.floor(note.bytes / Math.max(row.size ?? 0, 1) * 100)} %`
        return Effect.succeed({ kind: "cancelled" as const, words })
      })
    )
    row.ended = yield* now
  }
)

// ----------------------------------------------------------------------------
// the files
// ----------------------------------------------------------------------------

declare const crypto: { readonly subtle: { digest(name: string, bytes: Uint8Array): Promise<ArrayBuffer> } }

/** Files that exist nowhere: a file of so many bytes is as long a run of zeros. */
const madeUp: ReadonlyArray<File> = Array.from({ length: most }, (_, i) => ({
  path: `made-up-${String(i + 1).padStart(2, "0")}.bin`,
  size: i % 10 === 7 ? 210_000 : 38_000 + i * 7919 % 40_000
}))

const openMadeUp = (path: string): Effect.Effect<Reading> =>
  Effect.sync(() => {
    const size = madeUp.find((file) => file.path === path)?.size ?? 0
    let left = size
    return {
      next: (atMost) =>
        Effect.sync(() => {
          const count = Math.min(atMost, left)
          left -= count
          return count
        }),
      digest: Effect.map(
        Effect.promise(() => crypto.subtle.digest("SHA-256", new Uint8Array(size))),
        (digest) => Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("")
      )
    }
  })

const missing = "no-such-file"

/** The largest files of a folder; made-up ones where nobody named a folder and this one has too few. */
const findJobs = (
  folder: string | undefined
): Effect.Effect<{ readonly what: string; readonly jobs: Jobs }, Failure> =>
  Effect.gen(function* () {
    const { list, nameOf, open } = yield* Surroundings
    const place = folder ?? "."
    const name = harmless(nameOf(place))
    const files = yield* Effect.mapError(list(place), (message): Failure => ({
      _tag: "Failure",
      exitCode: exitCodes.refused,
      message: `${message}.`,
      advice: "Name another folder."
    }))
    const notes: Jobs["notes"] = new Map()
    if (folder === undefined && files.length < fewest) {
      const found = files.length === 0 ? "no files" : files.length === 1 ? "1 file" : `${files.length} files`
      const what = `made-up files, because ${name} has ${found}`
      const openOne: Jobs["open"] = (path) => path === missing ? Effect.fail("ENOENT") : openMadeUp(path)
      return { what, jobs: { files: madeUp, open: openOne, notes } }
    }
    if (files.length === 0) {
      return yield* Effect.fail<Failure>({
        _tag: "Failure",
        exitCode: exitCodes.refused,
        message: `${harmless(place)}: the folder has no files.`,
        advice: "Name another folder."
      })
    }
    const largest = files.toSorted((a, b) => b.size - a.size).slice(0, most).sort((a, b) => a.path < b.path ? -1 : 1)
    return { what: `files of ${name}`, jobs: { files: largest, open: (path: string) => open(place, path), notes } }
  })

// ----------------------------------------------------------------------------
// the command
// ----------------------------------------------------------------------------

/** Begins all calls, ends each, and shows how many have ended. */
const callAll = Effect.fnUntraced(function* (jobs: Jobs, bytesPerSecond: number) {
  const { files, notes } = jobs
  const hasher = Call.client(yield* Binding.local(yield* makeServer(jobs, bytesPerSecond), IHasher))
  const asked: Array<{ readonly path: string; readonly size?: number }> = [...files]
  asked.splice(6, 0, { path: missing })
  const calls = yield* Effect.forEach(asked, ({ path, size }) => begin(hasher, path, size))
  const rows = calls.map(({ row }) => row)

  const progress = yield* Effect.forkChild((yield* canDraw) ? showProgress(rows, notes) : Effect.void)
  yield* Effect.forEach(calls, ({ hashing, row }) => finish(row, hashing, notes), { concurrency: "unbounded" })
  yield* Fiber.interrupt(progress)
  return rows
}, Effect.scoped)

/** Runs the demo on a folder; without one on the current folder, or on made-up files. */
export const demo = (
  folder: string | undefined,
  json: boolean,
  report: (answer: Answer) => Effect.Effect<void, PlatformError, Stdio.Stdio>
): Effect.Effect<void, Failure | PlatformError, Stdio.Stdio> =>
  Effect.gen(function* () {
    const { jobs, what } = yield* findJobs(folder)
    const { files, notes } = jobs

    // Slow the disk down until the workers need a little longer than the budget; with a file for each, a little less on average.
    const total = files.reduce((sum, { size }) => sum + size, 0)
    const share = files.length > workers ? total / workers * 0.8 : total / files.length * 1.25
    const bytesPerSecond = Math.max(share / budget * 1000, 1)

    if (!json) {
      const { bold } = yield* paint("stdout")
      yield* writeLine(
        "stdout",
        `${bold(`${files.length + 1} asynchronous calls`)} hash ${what}. One of the files does not exist.
${workers} workers read ${bytes(bytesPerSecond)}/s each: the demo slows the disk down.
The client cancels a call that takes longer than ${budget / 1000} s.\n`
      )
    }

    const rows = yield* Effect.orDie(callAll(jobs, bytesPerSecond))
    const { columns } = yield* Surroundings
    yield* report({ json: toJson(rows, notes), text: (paint) => timeline(rows, notes, columns, paint) })
  })

// ----------------------------------------------------------------------------
// what people and programs see
// ----------------------------------------------------------------------------

const toJson = (rows: ReadonlyArray<Row>, notes: Jobs["notes"]) => {
  const origin = Math.min(...rows.map(({ begun }) => begun))
  const since = (time: number | undefined) => time === undefined ? null : Math.round(time - origin)
  return {
    calls: rows.map(({ begun, ended, outcome, path, size }) => ({
      path,
      size: size ?? null,
      begunMillis: since(begun),
      ranMillis: since(notes.get(path)?.began),
      endedMillis: since(ended),
      outcome: outcome!.kind,
      words: outcome!.words
    }))
  }
}

const bytes = (count: number) => {
  if (count < 1e3) return `${Math.round(count)} B`
  return count < 1e6 ? `${(count / 1e3).toFixed(1)} kB` : `${(count / 1e6).toFixed(1)} MB`
}

/** Redraws one line until the calls have ended. */
const showProgress = (rows: ReadonlyArray<Row>, notes: Jobs["notes"]) =>
  Effect.gen(function* () {
    const live = makeLive()
    const { dim } = yield* paint("stderr")
    const draw = Effect.suspend(() => {
      const pending = rows.filter(({ outcome }) => outcome === undefined)
      const done = rows.length - pending.length
      const running = pending.filter(({ path }) => notes.has(path)).length
      const waiting = pending.length - running
      const bar = "█".repeat(done) + "▒".repeat(running) + dim("·".repeat(waiting))
      return live.draw([`${bar}  ${done} done, ${running} running, ${waiting} waiting`])
    })
    yield* draw.pipe(
      Effect.andThen(Effect.sleep("40 millis")),
      Effect.forever,
      Effect.ensuring(live.draw([]))
    )
  })

const looks = {
  hashed: { body: "█", end: "█", style: "green" },
  cancelled: { body: "▒", end: "×", style: "yellow" },
  aborted: { body: "▒", end: "!", style: "red" }
} as const

/** A row for each call: name and size of the file, a bar from begin to end, the outcome. */
const timeline = (rows: ReadonlyArray<Row>, notes: Jobs["notes"], columns: number, paint: Paint): string => {
  const { bold, dim } = paint
  const width = Math.min(Math.max(columns, 60), 140)
  const names = rows.map(({ path }) => harmless(path))
  const nameWidth = Math.min(Math.max(...names.map((name) => name.length)), Math.floor(width / 4))
  const barWidth = width - nameWidth - 31
  const origin = Math.min(...rows.map(({ begun }) => begun))
  const span = Math.max(...rows.map(({ ended }) => ended)) - origin
  const column = (time: number) => Math.round((time - origin) / Math.max(span, 1) * (barWidth - 1))

  const lines = rows.map(({ begun, ended, outcome, path, size }, index) => {
    const name = names[index]!
    const { body, end, style } = looks[outcome!.kind]
    const [from, turn, to] = [begun, notes.get(path)?.began ?? ended, ended].map(column) as [number, number, number]
    return (name.length > nameWidth ? `…${name.slice(1 - nameWidth)}` : name.padEnd(nameWidth)) +
      dim((size === undefined ? "" : bytes(size)).padStart(9)) + "  " +
      " ".repeat(from) + dim("·".repeat(turn - from)) + paint[style](body.repeat(to - turn) + end) +
      " ".repeat(barWidth - to) + " " + paint[style](outcome!.words)
  })

  let axis = ""
  for (let tick = 0; tick <= span; tick += 500) axis = axis.padEnd(column(origin + tick)) + `│${tick / 1000} s`

  const count = (kind: keyof typeof looks) => rows.filter(({ outcome }) => outcome!.kind === kind).length
  return [
    ...lines,
    " ".repeat(nameWidth + 11) + dim(axis),
    "",
    `${dim("·")} in the queue  ${paint.green("█")} hashed  ${paint.yellow("▒")} hashed in part  ` +
    `${paint.yellow("×")} cancelled  ${paint.red("!")} aborted`,
    bold(
      `${count("hashed")} hashed, ${count("cancelled")} cancelled, ${count("aborted")} aborted in ${
        (span / 1000).toFixed(1)
      } s.`
    )
  ].join("\n")
}
