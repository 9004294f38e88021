/** What must hold of the tables and the log: at each moment, and when the calls have ended. */
import { Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { closeSync, openSync, readSync } from "node:fs"
import { lineOfRecord, type MethodName } from "./process.ts"

/** A call, its order, and what came of it, as one statement sees them. */
interface Seen {
  readonly id: string | null
  readonly key: string | null
  readonly method: MethodName
  readonly worker: string
  readonly cancels: number
  readonly ages: number
  readonly refuses: number
  readonly attempts: number
  readonly handed_off: number
  readonly outcome: string | null
  readonly finished_by: string | null
  readonly ledgers: number
  readonly taken: string | null
  readonly effects: number
  readonly jobs: number
  readonly wins: number
  readonly won: string | null
  readonly deliveries: number
}

export interface Counts {
  readonly begun: number
  readonly taken: number
  readonly repeated: number
  readonly lost: number
  readonly open: number
}

export interface Checked {
  readonly violations: ReadonlyArray<string>
  readonly counts: Counts
}

/** The lines of the log, read as they come. */
export class LogReader {
  declare readonly file: string
  readonly lines: Map<string, Array<string>> = new Map()
  readonly starts: Map<string, number> = new Map()
  readonly intended: Set<string> = new Set()
  readonly begun: Set<string> = new Set()
  readonly faults: Array<string> = []
  taken = 0
  private offset = 0
  private rest = ""

  constructor(file: string) {
    this.file = file
  }

  read(): void {
    const file = openSync(this.file, "r")
    const chunk = new Uint8Array(1 << 16)
    const decoder = new TextDecoder()
    while (true) {
      const size = readSync(file, chunk, 0, chunk.length, this.offset)
      if (size === 0) break
      this.offset += size
      const all = (this.rest + decoder.decode(chunk.subarray(0, size), { stream: true })).split("\n")
      this.rest = all.pop()!
      for (const line of all) this.add(line)
    }
    closeSync(file)
  }

  private add(line: string): void {
    const [, , event, key] = line.split(" ")
    if (event === undefined || key === undefined) return
    const known = this.lines.get(key)
    if (known === undefined) this.lines.set(key, [line])
    else known.push(line)
    if (event === "start") this.starts.set(key, (this.starts.get(key) ?? 0) + 1)
    else if (event === "intend") this.intended.add(key)
    else if (event === "begun") this.begun.add(key)
    else if (event === "taken") this.taken++
    else if (event === "fault") this.faults.push(line)
  }
}

const see = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const rows = yield* sql`SELECT c.id, c.attempts, c.handed_off, c.outcome, c.finished_by,
      o.key, o.method, o.worker, o.cancels, o.ages, o.refuses,
      (SELECT COUNT(*) FROM ledger l WHERE l.key = o.key) AS ledgers,
      (SELECT MIN(l.outcome) FROM ledger l WHERE l.key = o.key) AS taken,
      (SELECT COUNT(*) FROM effects e WHERE e.key = o.key) AS effects,
      (SELECT COUNT(*) FROM jobs j WHERE j.key = o.key) AS jobs,
      (SELECT COUNT(*) FROM completions p WHERE p.key = o.key AND p.won = 1) AS wins,
      (SELECT MIN(p.value) FROM completions p WHERE p.key = o.key AND p.won = 1) AS won,
      (SELECT COUNT(*) FROM cluster_messages m WHERE m.message_id = 'Callisto/Calls/' || c.id || '/Dispatch/') AS deliveries
    FROM callisto_calls c FULL OUTER JOIN orders o ON o.handle = c.id`
  const counts = ["ledgers", "effects", "jobs", "wins", "deliveries"]
  return rows.map((row): Seen => {
    const made: Record<string, unknown> = { ...row }
    for (const name of counts) made[name] = Number(made[name])
    return made as never
  })
})

/** What is wrong with a call at any moment. */
const wrongs = (row: Seen, log: LogReader, isSqlite: boolean): Array<string> => {
  const found: Array<string> = []
  const must = (holds: boolean, words: string) => {
    if (!holds) found.push(words)
  }
  const { effects, id, jobs, key, ledgers, method, outcome, wins } = row
  if (id === null) return ["an order was begun, and has no record"]
  if (key === null) return ["a record is there, and its begin was not committed"]
  const starts = log.starts.get(key) ?? 0
  const line = outcome === null ? "open" : lineOfRecord(outcome)
  const isReplied = line.startsWith("ok:")
  must(row.deliveries === 1, `the engine has ${row.deliveries} requests for it`)
  must(ledgers <= 1, `it was taken ${ledgers} times`)
  must((row.finished_by !== null) === (ledgers > 0), "the take and its row in the ledger are not one commit")
  if (row.taken !== null) must(row.taken === line, `taken as ${row.taken}, kept as ${line}`)
  if (line.endsWith(":true")) must(starts === 0, `it did not execute, and its routine was started ${starts} times`)
  must(!line.startsWith("other:"), `it ended with ${line}`)
  const isDisturbed = row.cancels === 1 || row.ages === 1
  const isHandOff = method === "Approve" || method === "ApproveIn"
  if (isReplied && !isHandOff) must(line === `ok:done ${key}`, `its result is that of another call: ${line}`)
  if (isReplied && !isHandOff) must(starts > 0, "it replied, and its routine was never started")
  if (method === "Once" || method === "Approve") {
    must(row.attempts <= 1 && starts <= 1, `once, and started ${starts} times in ${row.attempts} attempts`)
  }
  if (method === "Write") {
    must(effects === Number(isReplied), `${line}, and ${effects} effects`)
  } else must(effects === 0, `${effects} effects of another method`)
  if (method === "ApproveIn") must(jobs === row.handed_off, `${jobs} jobs, and handed_off is ${row.handed_off}`)
  if (isHandOff) {
    must(wins <= 1, `completed ${wins} times`)
    must(wins === Number(isReplied), `${line}, and completed ${wins} times`)
    if (isReplied) must(line === `ok:${row.won}`, `its result is not its own: ${line}, completed with ${row.won}`)
  } else must(wins === 0 && jobs === 0, "handed off, and its method hands nothing off")
  if (outcome !== null && !isDisturbed) {
    // A transaction on SQLite has a time limit, which a frozen process exceeds.
    const mayBeLate = isSqlite && (method === "Write" || method === "ApproveIn") && line === "fault:1460:false"
    const mayBeLost = (method === "Once" || method === "Approve") && line === "lost:1726"
    const mayAbort = row.refuses === 1 && !isHandOff && line === "abort"
    must(isReplied || mayBeLate || mayBeLost || mayAbort, `nobody has asked for its end, and it ended with ${line}`)
  }
  return found
}

/** Looks at all calls. At the end nothing is open, and nobody waits. */
export const check = (
  log: LogReader,
  isSqlite: boolean,
  isEnd: boolean
): Effect.Effect<Checked, unknown, SqlClient.SqlClient> =>
  Effect.gen(function* () {
    log.read()
    const begun = new Set(log.begun)
    const rows = yield* see
    // What a routine did before its outcome stands in the log by now.
    log.read()
    const violations: Array<string> = []
    const report = (words: string, row: object, key: string | null) => {
      const lines = log.lines.get(key ?? "") ?? []
      violations.push([words, JSON.stringify(row), ...lines].join("\n    "))
    }
    const ended = rows.filter(({ outcome }) => outcome !== null)
    for (const row of rows) {
      const found = wrongs(row, log, isSqlite)
      if (isEnd && row.id !== null && row.key !== null) {
        if (row.outcome === null) found.push("it has not ended")
        else if (row.ledgers === 0) found.push("nobody has taken its result")
      }
      for (const words of found) report(words, row, row.key)
      if (row.key !== null) begun.delete(row.key)
    }
    for (const key of begun) report("its begin was committed, and its order is gone", {}, key)
    if (isEnd) {
      for (const key of log.intended) {
        if (!log.begun.has(key)) report("it was intended, and never begun", {}, key)
      }
    }
    for (const line of log.faults) report("a worker says", {}, line.split(" ")[3]!)
    return {
      violations,
      counts: {
        begun: rows.length,
        taken: rows.filter(({ ledgers }) => ledgers > 0).length,
        open: rows.filter(({ ledgers, outcome }) => outcome === null || ledgers === 0).length +
          [...log.intended].filter((key) => !log.begun.has(key)).length,
        repeated: rows.filter(({ attempts }) => attempts > 1).length,
        lost: ended.filter(({ outcome }) => lineOfRecord(outcome!) === "lost:1726").length
      }
    }
  })

/** Requests of the engine that nobody has answered. */
export const unanswered: Effect.Effect<number, unknown, SqlClient.SqlClient> = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql<{ readonly n: unknown }>`SELECT COUNT(*) AS n FROM cluster_messages m
    WHERE NOT EXISTS (SELECT 1 FROM cluster_replies r WHERE r.request_id = m.id)`
  return Number(row!.n)
})
