// The demo hashes the largest files of a folder by asynchronous calls, and draws when each call waited, ran and ended.
// Run it: npm run demo -- FOLDER, or deno task demo FOLDER. Without FOLDER the demo takes this repository.
import { createHash } from "node:crypto"
import { open, readdir, stat } from "node:fs/promises"
import { basename, join, relative, resolve } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { Effect, Fiber, Queue, Schema } from "effect"
import { Binding, Call, Interface, Manager, Server, ServerCall } from "@callisto/rpc"

const folder = resolve(process.argv[2] ?? fileURLToPath(new URL("..", import.meta.url)))
const workers = 4
const budget = 1300 // milliseconds for each call

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

/** The server's notes on its work. The timeline shows them, because both sides share a process. */
const notes = new Map<string, { readonly began: number; bytes: number }>()

const hashFile = (path: string, bytesPerSecond: number) => {
  const attempt = <A>(action: () => Promise<A>) =>
    Effect.tryPromise({
      try: action,
      catch: (error) => new NotReadable({ path, reason: (error as { code?: string }).code ?? String(error) })
    })
  return Effect.acquireUseRelease(
    attempt(() => open(path)),
    Effect.fnUntraced(function* (file) {
      const note = { began: performance.now(), bytes: 0 }
      notes.set(path, note)
      const { size } = yield* attempt(() => file.stat())
      const chunk = new Uint8Array(Math.min(Math.max(Math.ceil(size / 16), 512), 1 << 20))
      const hash = createHash("sha256")
      while (true) {
        const { bytesRead } = yield* attempt(() => file.read(chunk, 0, chunk.length))
        if (bytesRead === 0) return { size: note.bytes, sha256: hash.digest("hex") }
        hash.update(chunk.subarray(0, bytesRead))
        // The slow disk gives a chunk when it is due.
        const due = note.began + (note.bytes + bytesRead) / bytesPerSecond * 1000
        yield* Effect.sleep(Math.max(due - performance.now(), 0))
        note.bytes += bytesRead
      }
    }),
    (file) => Effect.promise(() => file.close())
  )
}

const makeServer = Effect.fnUntraced(function* (bytesPerSecond: number) {
  const jobs = yield* Queue.unbounded<{ path: string; call: ServerCall.Of<typeof IHasher, "Hash"> }>()

  const worker = Effect.gen(function* () {
    const { call, path } = yield* Queue.take(jobs)
    yield* Effect.ignore(ServerCall.run(call, hashFile(path, bytesPerSecond)))
  })
  // Forked before the server is made, so that they end after it.
  for (let i = 0; i < workers; i++) yield* Effect.forkScoped(Effect.forever(worker))

  return yield* Server.make([
    Manager.make(IHasher, {
      Hash: Manager.handOff(({ path }, call) => Queue.offer(jobs, { path, call }))
    })
  ])
})

// ----------------------------------------------------------------------------
// the client
// ----------------------------------------------------------------------------

interface File {
  readonly path: string
  readonly size: number | undefined
}

interface Row extends File {
  readonly begun: number
  ended: number
  outcome: { readonly kind: "hashed" | "cancelled" | "aborted"; readonly words: string } | undefined
}

const largestFiles = async (): Promise<Array<File>> => {
  const files: Array<{ path: string; size: number }> = []
  const visit = async (directory: string): Promise<void> => {
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      if (entry.name.startsWith(".") || ["node_modules", "dist"].includes(entry.name) || files.length === 5000) continue
      const path = join(directory, entry.name)
      if (entry.isDirectory()) await visit(path).catch(() => undefined) // leave out folders that can't be read
      else if (entry.isFile()) files.push({ path, size: (await stat(path)).size })
    }
  }
  await visit(folder)
  return files.sort((a, b) => b.size - a.size).slice(0, 24).sort((a, b) => a.path < b.path ? -1 : 1)
}

const begin = Effect.fnUntraced(function* (hasher: Call.Client<typeof IHasher>, file: File) {
  const row: Row = { ...file, begun: performance.now(), ended: 0, outcome: undefined }
  return { row, hashing: yield* hasher.Hash.begin({ path: file.path }) }
})

const finish = Effect.fnUntraced(function* (row: Row, hashing: Call.Pending<typeof IHasher, "Hash">) {
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
        : `cancelled at ${Math.floor(note.bytes / row.size! * 100)} %`
      return Effect.succeed({ kind: "cancelled" as const, words })
    })
  )
  row.ended = performance.now()
})

const program = Effect.gen(function* () {
  const files = yield* Effect.tryPromise(largestFiles).pipe(Effect.catch(() => Effect.succeed([])))
  if (files.length === 0) {
    process.exitCode = 1
    return console.log(`No files to read in ${folder}. Name another folder.`)
  }

  // Slow the disk down until the workers need a little longer than the budget.
  const total = files.reduce((sum, { size }) => sum + (size ?? 0), 0)
  const bytesPerSecond = Math.max(total / Math.min(workers, files.length) / budget * 800, 1)
  files.splice(6, 0, { path: join(folder, "no-such-file"), size: undefined })

  console.log(
    `${bold(`${files.length} asynchronous calls`)} hash files of ${basename(folder)}. One of the files does not exist.`
  )
  console.log(`${workers} workers read ${bytes(bytesPerSecond)}/s each: the demo slows the disk down.`)
  console.log(`The client cancels a call that takes longer than ${budget / 1000} s.\n`)

  const hasher = Call.client(yield* Binding.local(yield* makeServer(bytesPerSecond), IHasher))
  const calls = yield* Effect.forEach(files, (file) => begin(hasher, file))
  const rows = calls.map(({ row }) => row)

  const progress = yield* Effect.forkChild(terminal ? showProgress(rows) : Effect.void)
  yield* Effect.forEach(calls, ({ hashing, row }) => finish(row, hashing), { concurrency: "unbounded" })
  yield* Fiber.interrupt(progress)
  drawTimeline(rows)
}).pipe(Effect.scoped)

// ----------------------------------------------------------------------------
// the terminal
// ----------------------------------------------------------------------------

const terminal = process.stdout.isTTY === true
const width = Math.min(Math.max(process.stdout.columns || 80, 60), 140)

const paint = (code: number) => (text: string) =>
  terminal && !process.env["NO_COLOR"] ? `\x1b[${code}m${text}\x1b[0m` : text
const bold = paint(1)
const dim = paint(2)

const looks = {
  hashed: { body: "█", end: "█", colour: paint(32) },
  cancelled: { body: "▒", end: "×", colour: paint(33) },
  aborted: { body: "▒", end: "!", colour: paint(31) }
}

const bytes = (count: number) => {
  if (count < 1e3) return `${Math.round(count)} B`
  return count < 1e6 ? `${(count / 1e3).toFixed(1)} kB` : `${(count / 1e6).toFixed(1)} MB`
}

/** Redraws one line until the calls have ended. */
const showProgress = (rows: ReadonlyArray<Row>) =>
  Effect.sync(() => {
    const pending = rows.filter(({ outcome }) => outcome === undefined)
    const done = rows.length - pending.length
    const running = pending.filter(({ path }) => notes.has(path)).length
    const waiting = pending.length - running
    const bar = "█".repeat(done) + "▒".repeat(running) + dim("·".repeat(waiting))
    process.stdout.write(`\r${bar}  ${done} done, ${running} running, ${waiting} waiting\x1b[K`)
  }).pipe(
    Effect.andThen(Effect.sleep("40 millis")),
    Effect.forever,
    Effect.ensuring(Effect.sync(() => process.stdout.write("\r\x1b[K")))
  )

/** Draws a row for each call: name and size of the file, a bar from begin to end, the outcome. */
const drawTimeline = (rows: ReadonlyArray<Row>) => {
  const names = rows.map(({ path }) => relative(folder, path))
  const nameWidth = Math.min(Math.max(...names.map((name) => name.length)), Math.floor(width / 4))
  const barWidth = width - nameWidth - 31
  const origin = Math.min(...rows.map(({ begun }) => begun))
  const span = Math.max(...rows.map(({ ended }) => ended)) - origin
  const column = (time: number) => Math.round((time - origin) / span * (barWidth - 1))

  rows.forEach(({ begun, ended, outcome, path, size }, index) => {
    const name = names[index]!
    const { body, colour, end } = looks[outcome!.kind]
    const [from, turn, to] = [begun, notes.get(path)?.began ?? ended, ended].map(column) as [number, number, number]
    console.log(
      (name.length > nameWidth ? `…${name.slice(1 - nameWidth)}` : name.padEnd(nameWidth)) +
        dim((size === undefined ? "" : bytes(size)).padStart(9)) + "  " +
        " ".repeat(from) + dim("·".repeat(turn - from)) + colour(body.repeat(to - turn) + end) +
        " ".repeat(barWidth - to) + " " + colour(outcome!.words)
    )
  })

  let axis = ""
  for (let tick = 0; tick <= span; tick += 500) axis = axis.padEnd(column(origin + tick)) + `│${tick / 1000} s`
  console.log(" ".repeat(nameWidth + 11) + dim(axis))

  const { aborted, cancelled, hashed } = looks
  const count = (kind: keyof typeof looks) => rows.filter(({ outcome }) => outcome!.kind === kind).length
  console.log(
    `\n${dim("·")} in the queue  ${hashed.colour("█")} hashed  ${cancelled.colour("▒")} hashed in part  ` +
      `${cancelled.colour("×")} cancelled  ${aborted.colour("!")} aborted`
  )
  console.log(bold(
    `${count("hashed")} hashed, ${count("cancelled")} cancelled, ${count("aborted")} aborted in ${
      (span / 1000).toFixed(1)
    } s.`
  ))
}

await Effect.runPromise(program)
