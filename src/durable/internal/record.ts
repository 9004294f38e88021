/**
 * The record of durable calls: one table, where every change is one statement with a condition.
 */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Fragment } from "effect/sql/Statement"

/** A call as it is begun. */
export interface NewRow {
  readonly id: string
  readonly interface: string
  readonly method: string
  readonly object: string | null
  readonly input: string
  /** Set where the input is not kept beyond the end of the call. */
  readonly input_hash: string | null
  readonly caller: string | null
  readonly trace: string | null
  readonly begun_at: number
  readonly deadline: number | null
}

/** A call as it stands. */
export interface Row extends NewRow {
  readonly attempts: number
  readonly attempt_at: number | null
  readonly handed_off: number
  readonly cancel_at: number | null
  readonly yielded: number
  readonly abandoned: number
  readonly outcome: string | null
  readonly ended_at: number | null
  readonly finished_by: string | null
  readonly finished_at: number | null
}

/** What a watcher has to know of a call. */
export type Progress = Pick<Row, "id" | "outcome" | "cancel_at">

export type State = "ready" | "running" | "handed off" | "ended" | "finished"

/** The state of a record, as the conditions of the statements see it. */
export const stateOf = (row: Pick<Row, "attempts" | "handed_off" | "outcome" | "finished_by">): State =>
  row.finished_by !== null
    ? "finished"
    : row.outcome !== null
    ? "ended"
    : row.handed_off !== 0
    ? "handed off"
    : row.attempts > 0
    ? "running"
    : "ready"

/** A call in a list, without its values. `outcome` only tells that there is one. */
export type ListedRow = Pick<
  Row,
  | "id"
  | "interface"
  | "method"
  | "begun_at"
  | "attempts"
  | "handed_off"
  | "cancel_at"
  | "outcome"
  | "finished_by"
>

/** How many calls are in a state, and when the oldest of them was begun. */
export interface Count {
  readonly state: State
  readonly calls: number
  readonly oldest: number
}

/** Outcomes that no routine gives. */
export const neverRan = `{"t":"cancelled","n":1}`
export const timedOut = `{"t":"fault","c":1460}`
export const timedOutEarly = `{"t":"fault","c":1460,"n":1}`

export interface Tables {
  readonly calls: string
  readonly settings: string
  readonly migrations: string
  /** The prefix of the engine's own tables. */
  readonly engine: string
}

/** Whether a text can be the prefix of the tables. */
export const isPrefix = (text: string): boolean => /^[a-z][a-z0-9_]{0,31}$/.test(text)

/** The names of the tables. */
export const tablesOf = (prefix: string | undefined): Tables => ({
  calls: `${prefix ?? "callisto"}_calls`,
  settings: `${prefix ?? "callisto"}_settings`,
  migrations: `${prefix ?? "callisto"}_migrations`,
  engine: prefix === undefined ? "cluster" : `${prefix}_cluster`
})

/** How many identifiers one statement names. */
export const batch = 500

const numbers = [
  "begun_at",
  "deadline",
  "attempts",
  "attempt_at",
  "handed_off",
  "cancel_at",
  "yielded",
  "abandoned",
  "ended_at",
  "finished_at",
  "calls",
  "oldest",
  "finished"
]

const texts = [
  "id",
  "interface",
  "method",
  "object",
  "input",
  "input_hash",
  "caller",
  "trace",
  "outcome",
  "finished_by"
]

/** A row as it is meant: some drivers give texts for numbers, and SQLite keeps what it is given. */
const plain = (row: object): any => {
  const made: Record<string, unknown> = { ...row }
  for (const name of texts) {
    const value = made[name]
    if (value !== null && value !== undefined && typeof value !== "string") made[name] = String(value)
  }
  for (const name of numbers) {
    const value = made[name]
    if (value !== null && value !== undefined && typeof value !== "number") made[name] = Number(value)
  }
  return made
}

/** Which rows a list wants. */
export interface Wanted {
  /** The UUID and the major version; the UUID alone for all versions, `undefined` for all interfaces. */
  readonly interface: string | undefined
  readonly state: State | undefined
  readonly after: Pick<Row, "begun_at" | "id"> | undefined
  readonly limit: number
}

type Sql<A> = Effect.Effect<A, SqlError>

/** The statements on the table. */
export interface CallTable {
  readonly isPg: boolean
  /** Stores a call; `false` where its identifier is taken. */
  readonly insert: (row: NewRow) => Sql<boolean>
  readonly load: (id: string) => Sql<Row | undefined>
  /** Counts an attempt, and gives the call; `undefined` where its state was not that. */
  readonly claim: (id: string, attempts: number, now: number) => Sql<Row | undefined>
  /** Counts the first attempts of several new calls, and gives them. Leaves out rows that somebody else holds, as the next two do. */
  readonly claimAll: (wanted: ReadonlyArray<string>, now: number) => Sql<ReadonlyMap<string, Row>>
  /** Ends several calls. Gives those that it has ended. */
  readonly endAll: (
    wanted: ReadonlyArray<{ readonly id: string; readonly outcome: string }>,
    now: number
  ) => Sql<ReadonlyMap<string, true>>
  /** Takes several results. Gives those that it has taken. */
  readonly takeAll: (
    wanted: ReadonlyArray<{ readonly id: string; readonly evidence: string }>,
    now: number
  ) => Sql<ReadonlyMap<string, true>>
  /** Ends a call. The first outcome wins. */
  readonly end: (id: string, outcome: string, now: number) => Sql<boolean>
  /** Ends a call whose last attempt was this one, unless somebody else will complete it. */
  readonly endAttempt: (id: string, attempts: number, outcome: string, now: number) => Sql<boolean>
  /** An attempt was interrupted in good order. */
  readonly yields: (id: string, attempts: number) => Sql<boolean>
  readonly handOff: (id: string) => Sql<boolean>
  /** Stores a cancel. A ready call ends with it. Gives the call; `undefined` where it has ended or is not there. */
  readonly cancel: (id: string, now: number, abandoned: boolean) => Sql<Row | undefined>
  readonly abandon: (id: string) => Sql<boolean>
  /** Takes the result. It can be repeated by the same evidence. */
  readonly take: (id: string, evidence: string, now: number) => Sql<boolean>
  /**
   * Takes the result in the transaction of the fiber, and gives its name. `earlier` is the one in which this evidence took it before: where
   * that was committed after all, the result is not taken twice.
   */
  readonly takeWithin: (
    id: string,
    evidence: string,
    earlier: string | undefined,
    now: number
  ) => Sql<string | undefined>
  /** Those of some calls that are still there. */
  readonly progress: (wanted: ReadonlyArray<string>) => Sql<ReadonlyArray<Progress>>
  /** Ends calls whose deadline has passed. Leaves out rows that somebody else holds: those have their turn later. */
  readonly expire: (now: number, wanted?: ReadonlyArray<string>) => Sql<ReadonlyArray<string>>
  /** Ready calls that were begun between two times, oldest first. */
  readonly stalled: (
    before: number,
    after: number,
    limit: number
  ) => Sql<ReadonlyArray<Pick<Row, "id" | "begun_at">>>
  readonly list: (wanted: Wanted) => Sql<ReadonlyArray<ListedRow>>
  /** Up to two of the calls whose identifiers begin with these letters and digits. */
  readonly findIds: (start: string) => Sql<ReadonlyArray<string>>
  /** The calls without an outcome, by state. */
  readonly countOpen: Sql<ReadonlyArray<Count>>
  /** The calls with an outcome: how many there are, and how many of them were taken. */
  readonly countEnded: Sql<{ readonly calls: number; readonly finished: number }>
  /** Calls that need not be kept any longer. */
  readonly outdated: (finished: number, ended: number, limit: number) => Sql<ReadonlyArray<string>>
  /**
   * Removes ended calls, and what the engine knows of them. This and the next name the engine's tables. It waits for rows that
   * somebody else holds, or leaves them out.
   */
  readonly remove: (wanted: ReadonlyArray<string>, leavesHeld?: boolean) => Sql<ReadonlyArray<string>>
  /** Removes replies of the engine whose request is gone: a call that is removed at its end is answered only after that. */
  readonly removeStrays: Sql<void>
  /** The transaction of the fiber, for `isOver`; none where it has written nothing. Only PostgreSQL names its transactions. */
  readonly transactionId: Sql<string | undefined>
  /** Whether a transaction is over. On SQLite a writer of one's own comes after it. */
  readonly isOver: (transaction: string) => Sql<boolean>
}

export const makeRecord = (client: SqlClient.SqlClient, tables: Tables): CallTable => {
  const sql = client.withoutTransforms()
  const calls = sql(tables.calls)
  const isPg = sql.onDialectOrElse({ pg: () => true, orElse: () => false })

  const first = (statement: Sql<ReadonlyArray<unknown>>): Sql<Row | undefined> =>
    Effect.map(statement, ([row]) => row === undefined ? undefined : plain(row as object))
  const some = (statement: Sql<ReadonlyArray<unknown>>): Sql<boolean> =>
    Effect.map(statement, (rows) => rows.length > 0)
  const ids = (statement: Sql<ReadonlyArray<unknown>>): Sql<ReadonlyArray<string>> =>
    Effect.map(statement, (rows) => (rows as ReadonlyArray<{ readonly id: string }>).map(({ id }) => id))

  const none = sql.literal("")
  const ready = sql.literal("attempts = 0 AND handed_off = 0 AND outcome IS NULL")
  const open = sql.literal("outcome IS NULL")
  // What is not kept beyond the end goes with the statement that ends the call.
  const forgetsInput = sql.literal("input = CASE WHEN input_hash IS NULL THEN input ELSE '' END")

  const conditions: { readonly [S in State]: Fragment } = {
    ready: sql.literal("attempts = 0 AND handed_off = 0 AND outcome IS NULL"),
    running: sql.literal("attempts > 0 AND handed_off = 0 AND outcome IS NULL"),
    "handed off": sql.literal("handed_off <> 0 AND outcome IS NULL"),
    ended: sql.literal("outcome IS NOT NULL AND finished_by IS NULL"),
    finished: sql.literal("finished_by IS NOT NULL")
  }

  /** The rows that fit and that nobody else holds. A transaction of the program may hold one for long, and must not hold up the others. */
  const free = (fits: Fragment): Fragment =>
    isPg ? sql`${fits} AND id IN (SELECT id FROM ${calls} WHERE ${fits} FOR UPDATE SKIP LOCKED)` : fits

  /** Changes those of several calls that fit. Rows that somebody else holds are left out: two such statements never wait for each other. */
  const changeAll = (
    wanted: ReadonlyArray<string>,
    fits: Fragment,
    changes: Fragment,
    returned: "id" | "*" = "id"
  ): Sql<ReadonlyArray<unknown>> =>
    isPg
      ? sql`WITH held AS MATERIALIZED
          (SELECT id AS held_id, (${fits}) AS fits FROM ${calls} WHERE ${sql.in("id", wanted)} FOR UPDATE SKIP LOCKED)
          UPDATE ${calls} SET ${changes} FROM held WHERE id = held_id AND fits RETURNING ${
        returned === "id" ? sql.literal("id") : sql`${calls}.*`
      }`
      : sql`UPDATE ${calls} SET ${changes} WHERE ${sql.in("id", wanted)} AND (${fits}) RETURNING ${
        sql.literal(returned)
      }`
  const found = (statement: Sql<ReadonlyArray<unknown>>): Sql<ReadonlyMap<string, true>> =>
    Effect.map(
      statement,
      (rows) => new Map((rows as ReadonlyArray<{ readonly id: string }>).map(({ id }) => [id, true]))
    )
  /** The second value of a pair, by the first. */
  const valueOf = (pairs: ReadonlyArray<readonly [id: string, value: string]>) =>
    sql`CASE id ${sql.join(" ", false)(pairs.map(([id, value]) => sql`WHEN ${id} THEN ${value}`))} END`

  return {
    isPg,

    insert: (row: NewRow): Sql<boolean> =>
      some(sql`INSERT INTO ${calls} ${sql.insert(row as never)} ON CONFLICT (id) DO NOTHING RETURNING id`),

    load: (id: string): Sql<Row | undefined> => first(sql`SELECT * FROM ${calls} WHERE id = ${id}`),

    claim: (id: string, attempts: number, now: number): Sql<Row | undefined> =>
      first(sql`UPDATE ${calls} SET attempts = attempts + 1, attempt_at = ${now}
        WHERE id = ${id} AND attempts = ${attempts} AND handed_off = 0 AND ${open}
        AND (deadline IS NULL OR deadline > ${now}) RETURNING *`),

    claimAll: (wanted: ReadonlyArray<string>, now: number): Sql<ReadonlyMap<string, Row>> =>
      Effect.map(
        changeAll(
          wanted,
          sql`${ready} AND (deadline IS NULL OR deadline > ${now})`,
          sql`attempts = attempts + 1, attempt_at = ${now}`,
          "*"
        ),
        (rows) => new Map((rows as ReadonlyArray<object>).map(plain).map((row: Row) => [row.id, row]))
      ),

    endAll: (wanted, now): Sql<ReadonlyMap<string, true>> =>
      found(changeAll(
        wanted.map(({ id }) => id),
        open,
        sql`outcome = ${valueOf(wanted.map(({ id, outcome }) => [id, outcome]))}, ended_at = ${now}, ${forgetsInput}`
      )),

    takeAll: (wanted, now): Sql<ReadonlyMap<string, true>> => {
      const evidence = valueOf(wanted.map(({ evidence, id }) => [id, evidence]))
      return found(changeAll(
        wanted.map(({ id }) => id),
        sql`outcome IS NOT NULL AND (finished_by IS NULL OR finished_by = ${evidence})`,
        sql`finished_by = ${evidence}, finished_at = COALESCE(finished_at, ${now})`
      ))
    },

    end: (id: string, outcome: string, now: number): Sql<boolean> =>
      some(sql`UPDATE ${calls} SET outcome = ${outcome}, ended_at = ${now}, ${forgetsInput}
        WHERE id = ${id} AND ${open} RETURNING id`),

    endAttempt: (id: string, attempts: number, outcome: string, now: number): Sql<boolean> =>
      some(sql`UPDATE ${calls} SET outcome = ${outcome}, ended_at = ${now}, ${forgetsInput}
        WHERE id = ${id} AND attempts = ${attempts} AND handed_off = 0 AND ${open} RETURNING id`),

    yields: (id: string, attempts: number): Sql<boolean> =>
      some(sql`UPDATE ${calls} SET yielded = yielded + 1
        WHERE id = ${id} AND attempts = ${attempts} AND handed_off = 0 AND ${open} RETURNING id`),

    handOff: (id: string): Sql<boolean> =>
      some(sql`UPDATE ${calls} SET handed_off = 1 WHERE id = ${id} AND ${open} RETURNING id`),

    cancel: (id: string, now: number, abandoned: boolean): Sql<Row | undefined> =>
      first(sql`UPDATE ${calls} SET cancel_at = COALESCE(cancel_at, ${now}),
        abandoned = CASE WHEN ${abandoned ? 1 : 0} = 1 THEN 1 ELSE abandoned END,
        ended_at = CASE WHEN ${ready} THEN ${now} ELSE ended_at END,
        input = CASE WHEN ${ready} AND input_hash IS NOT NULL THEN '' ELSE input END,
        outcome = CASE WHEN ${ready} THEN ${neverRan} ELSE outcome END
        WHERE id = ${id} AND ${open} RETURNING *`),

    abandon: (id: string): Sql<boolean> =>
      some(sql`UPDATE ${calls} SET abandoned = 1 WHERE id = ${id} AND finished_by IS NULL RETURNING id`),

    take: (id: string, evidence: string, now: number): Sql<boolean> =>
      some(sql`UPDATE ${calls} SET finished_by = ${evidence}, finished_at = COALESCE(finished_at, ${now})
        WHERE id = ${id} AND outcome IS NOT NULL AND (finished_by IS NULL OR finished_by = ${evidence}) RETURNING id`),

    takeWithin: (id, evidence, earlier, now): Sql<string | undefined> => {
      const current = sql.literal(isPg ? "pg_current_xact_id()::text" : "''")
      const again = earlier === undefined ? sql.literal("1 = 1") : sql`${current} = ${earlier}`
      return Effect.map(
        sql<{ readonly transaction: string }>`UPDATE ${calls}
          SET finished_by = ${evidence}, finished_at = COALESCE(finished_at, ${now})
          WHERE id = ${id} AND outcome IS NOT NULL AND (finished_by IS NULL OR (finished_by = ${evidence} AND ${again}))
          RETURNING ${current} AS ${sql("transaction")}`,
        ([row]) => row?.transaction
      )
    },

    progress: (wanted: ReadonlyArray<string>): Sql<ReadonlyArray<Progress>> =>
      Effect.map(
        sql`SELECT id, outcome, cancel_at FROM ${calls} WHERE ${sql.in("id", wanted)}`,
        (rows) => rows.map(plain)
      ),

    expire: (now: number, wanted?: ReadonlyArray<string>): Sql<ReadonlyArray<string>> =>
      ids(sql`UPDATE ${calls} SET ended_at = ${now}, ${forgetsInput},
        outcome = CASE WHEN ${ready} THEN ${timedOutEarly} ELSE ${timedOut} END
        WHERE ${
        free(sql`${open} AND deadline <= ${now} ${wanted === undefined ? none : sql`AND ${sql.in("id", wanted)}`}`)
      }
        RETURNING id`),

    stalled: (before: number, after: number, limit: number): Sql<ReadonlyArray<Pick<Row, "id" | "begun_at">>> =>
      Effect.map(
        sql`SELECT id, begun_at FROM ${calls} WHERE ${ready} AND begun_at < ${before} AND begun_at > ${after}
        ORDER BY begun_at LIMIT ${limit}`,
        (rows) => rows.map(plain)
      ),

    list: ({ after, interface: iface, limit, state }: Wanted): Sql<ReadonlyArray<Row>> =>
      Effect.map(
        sql`SELECT id, interface, method, begun_at, attempts, handed_off, cancel_at, finished_by,
        SUBSTR(outcome, 1, 1) AS outcome FROM ${calls} WHERE ${
          iface === undefined
            ? sql.literal("1 = 1")
            : iface.includes(" ")
            ? sql`interface = ${iface}`
            : sql`interface LIKE ${`${iface} %`}`
        }
        ${state === undefined ? none : sql`AND ${conditions[state]}`}
        ${
          after === undefined
            ? none
            : sql`AND (begun_at > ${after.begun_at} OR (begun_at = ${after.begun_at} AND id > ${after.id}))`
        }
        ORDER BY begun_at, id LIMIT ${limit}`,
        (rows) => rows.map(plain)
      ),

    findIds: (start: string): Sql<ReadonlyArray<string>> =>
      ids(sql`SELECT id FROM ${calls} WHERE id LIKE ${`${start}%`} LIMIT 2`),

    countOpen: Effect.map(
      sql`SELECT CASE WHEN handed_off <> 0 THEN 'handed off' WHEN attempts > 0 THEN 'running' ELSE 'ready' END AS state,
        COUNT(*) AS calls, MIN(begun_at) AS oldest FROM ${calls} WHERE ${open} GROUP BY 1`,
      (rows) => rows.map(plain)
    ),

    countEnded: Effect.map(
      sql`SELECT COUNT(*) AS calls, COUNT(finished_by) AS finished FROM ${calls} WHERE outcome IS NOT NULL`,
      ([row]) => plain(row!)
    ),

    // The index has the end alone, which is never after the taking.
    outdated: (finished: number, ended: number, limit: number): Sql<ReadonlyArray<string>> =>
      ids(
        sql`SELECT id FROM ${calls} WHERE outcome IS NOT NULL AND ended_at < ${
          Math.max(finished, ended)
        } AND (finished_at < ${finished}
        OR (abandoned = 1 AND ended_at < ${finished}) OR (finished_at IS NULL AND ended_at < ${ended})) LIMIT ${limit}`
      ),

    remove: (wanted: ReadonlyArray<string>, leavesHeld = false): Sql<ReadonlyArray<string>> =>
      sql.withTransaction(Effect.gen(function* () {
        const messages = sql(`${tables.engine}_messages`)
        const ended = sql`${sql.in("id", wanted)} AND outcome IS NOT NULL`
        const gone = yield* ids(sql`DELETE FROM ${calls} WHERE ${leavesHeld ? free(ended) : ended} RETURNING id`)
        if (gone.length === 0) return gone
        const names = gone.map(messageName)
        yield* sql`DELETE FROM ${sql(`${tables.engine}_replies`)} WHERE request_id IN
          (SELECT id FROM ${messages} WHERE ${sql.in("message_id", names)})`
        yield* sql`DELETE FROM ${messages} WHERE ${sql.in("message_id", names)}`
        return gone
      })),

    removeStrays: Effect.suspend(() => {
      const replies = sql(`${tables.engine}_replies`)
      const messages = sql(`${tables.engine}_messages`)
      const some = sql`DELETE FROM ${replies} WHERE id IN (SELECT r.id FROM ${replies} r
        LEFT JOIN ${messages} m ON m.id = r.request_id WHERE m.id IS NULL LIMIT ${batch}) RETURNING id`
      const all: Sql<void> = Effect.flatMap(some, (rows) => rows.length < batch ? Effect.void : all)
      return all
    }),

    transactionId: isPg
      ? Effect.map(
        sql<{ readonly id: string | null }>`SELECT pg_current_xact_id_if_assigned()::text AS id`,
        ([row]): string | undefined => row?.id ?? undefined
      )
      : Effect.succeed<string | undefined>(""),

    isOver: (transaction: string): Sql<boolean> =>
      isPg
        ? Effect.map(
          sql<{ readonly state: string }>`SELECT pg_xact_status(${transaction}::text::xid8) AS state`,
          ([row]) => row?.state !== "in progress"
        )
        : Effect.as(sql.withTransaction(sql`SELECT 1`), true)
  }
}

/** The identifier of a call's request in the engine's table. */
export const messageName = (id: string): string => `Callisto/Calls/${id}/Dispatch/`
