/**
 * `callisto calls`: shows durable calls to operators, cancels and forgets them. It works on the record alone, and takes no part in
 * running calls.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type * as Stdio from "effect/Stdio"
import {
  type CallTable,
  isPrefix,
  type ListedRow,
  makeRecord,
  type Row,
  type State,
  stateOf,
  tablesOf
} from "../durable/internal/record.ts"
import { isHandle } from "../durable/internal/handles.ts"
import { type Glance, glanceAt } from "../durable/internal/values.ts"
import { named } from "../internal/named.ts"
import { CallComplete, CallPending, type Code, type Codes, InvalidAsyncHandle } from "../Status.ts"
import { Databases } from "./Databases.ts"
import { misused } from "./Descriptions.ts"
import { exitCodes, type Failure } from "./Failure.ts"
import type { Answer } from "./Inquiries.ts"
import { knownOf } from "./KnownInterfaces.ts"
import { showMillis } from "./Latency.ts"
import { passwordOf } from "./Login.ts"
import { escapeJson, harmless, type Paint, progress, table } from "./Screen.ts"

/** Where the calls are. */
export interface Place {
  /** A SQLite file, or the URL of PostgreSQL. */
  readonly database: string
  readonly prefix: string | undefined
  readonly timeout: Option.Option<Duration.Duration>
  readonly user: string | undefined
  readonly passwordFile: string | undefined
}

type Show = (answer: Answer) => Effect.Effect<void, PlatformError, Stdio.Stdio>

type Run = Effect.Effect<void, Failure | PlatformError, Stdio.Stdio>

// ----------------------------------------------------------------------------
// the database
// ----------------------------------------------------------------------------

/** A database that can be named in messages: without its password. */
interface Opened {
  readonly name: string
  readonly database: Layer.Layer<SqlClient.SqlClient, SqlError>
  /** Hides what is secret in a text of the driver. */
  readonly hide: (text: string) => string
}

const open = (place: Place): Effect.Effect<Opened, Failure> =>
  Effect.gen(function* () {
    const { database: text, passwordFile, prefix, timeout, user } = place
    if (prefix !== undefined && !isPrefix(prefix)) {
      return yield* Effect.fail(misused(
        `--prefix is out of range, got ${
          JSON.stringify(cut(prefix))
        }, expected 1 to 32 lower case letters, digits and underscores.`,
        "Take the prefix of the program's Durable.Options."
      ))
    }
    const databases = yield* Databases
    const [, scheme] = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text) ?? []
    if (scheme === undefined) {
      if (user !== undefined || passwordFile !== undefined) {
        return yield* Effect.fail(
          misused("--user and --password-file have no effect on a file.", "Leave them out.")
        )
      }
      return { name: text, database: yield* databases.sqlite(text), hide: (words) => words }
    }
    const url = /^postgres(ql)?$/i.test(scheme) ? parseUrl(text) : undefined
    if (url === undefined) {
      // The text is not repeated: it may hold a password.
      return yield* Effect.fail(
        misused(
          "--database is neither a file nor a URL of PostgreSQL.",
          "Write the path of a SQLite file, or postgres://USER@HOST:PORT/DATABASE."
        )
      )
    }
    const username = user ?? (url.username === "" ? undefined : decode(url.username))
    const password = user === undefined && passwordFile === undefined
      ? undefined
      : yield* passwordOf(username ?? "the database", passwordFile)
    const secrets = [password, url.password, decode(url.password), url.searchParams.get("password")]
    const hide = (words: string) =>
      secrets.reduce<string>((rest, secret) => secret ? rest.replaceAll(secret, "…") : rest, words)
    return {
      name: `postgres://${url.searchParams.get("host") ?? url.host}${url.pathname}`,
      database: yield* databases.postgres({
        url: Redacted.make(text),
        username: user,
        password: password === undefined ? undefined : Redacted.make(password),
        connectTimeout: Option.getOrElse(timeout, () => Duration.seconds(10))
      }),
      hide
    }
  })

const parseUrl = (text: string): URL | undefined => {
  try {
    return new URL(text)
  } catch {
    return undefined
  }
}

const decode = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** Works on the record of a database. */
const onRecord = <A>(
  place: Place,
  what: string,
  use: (record: CallTable, name: string) => Effect.Effect<A, SqlError | Failure>
): Effect.Effect<A, Failure, Stdio.Stdio> =>
  Effect.gen(function* () {
    const opened = yield* open(place)
    const { name } = opened
    const tables = tablesOf(place.prefix)
    const limit = Option.getOrElse(place.timeout, () => Duration.seconds(30))
    const work = Effect.gen(function* () {
      const context = yield* Layer.build(opened.database)
      const sql = yield* Effect.provideContext(SqlClient.SqlClient, context)
      return yield* use(makeRecord(sql, tables), name)
    }).pipe(
      Effect.scoped,
      Effect.mapError((error) => error._tag === "Failure" ? error : explain(error, opened, tables.calls)),
      Effect.timeoutOrElse({ duration: limit, orElse: () => Effect.fail(silent(name, limit)) })
    )
    return yield* progress(() => `${what} ${name}`, work)
  })

const silent = (name: string, limit: Duration.Duration): Failure => ({
  _tag: "Failure",
  exitCode: exitCodes.unreachable,
  message: `${name}: no answer came within ${showMillis(Duration.toMillis(limit))}.`,
  advice: "Look at the database; --timeout gives it more time."
})

/** What a driver knows of a failure. */
interface Cause {
  readonly code?: unknown
  readonly message?: unknown
}

const explain = (error: SqlError, { hide, name }: Opened, calls: string): Failure => {
  const { reason } = error
  const { code, message }: Cause = (reason.cause as Cause | undefined) ?? {}
  const words = cut(hide(typeof message === "string" && message !== "" ? message : error.message), 300)
  const failure = (exitCode: number, problem: string, advice: string): Failure => ({
    _tag: "Failure",
    exitCode,
    message: `${name}: ${problem.replace(/\.$/, "")}.`,
    advice
  })
  if (code === "42P01" || /no such table/.test(words)) {
    return words.includes(calls)
      ? failure(exitCodes.usage, `there is no table ${calls}, so no durable calls`, "Check --database and --prefix.")
      : failure(exitCodes.usage, words, "Check --prefix: the tables of the engine are beside those of the calls.")
  }
  if (code === "3D000") return failure(exitCodes.usage, words, "Check the name behind the last slash of the URL.")
  switch (reason._tag) {
    case "AuthenticationError":
      return failure(
        exitCodes.refused,
        `the login failed: ${words}`,
        "Check the user and the password; --user NAME asks for the password, and --password-file PATH reads it."
      )
    case "AuthorizationError":
      return failure(exitCodes.refused, words, "Use a user that may read and write the tables of the calls.")
    case "ConnectionError":
      return failure(
        exitCodes.unreachable,
        words,
        "Check that the database runs there, and its address; under Deno add --allow-net."
      )
    case "LockTimeoutError":
      return failure(exitCodes.unreachable, words, "Another process holds the database. Try again in a moment.")
    default:
      return failure(exitCodes.refused, words, "Look whether callisto has the version of the program with the calls.")
  }
}

// ----------------------------------------------------------------------------
// words
// ----------------------------------------------------------------------------

/** Text of a row, of a bounded length. A broken row may hold anything. */
const cut = (value: unknown, most = 100): string => {
  const text = String(value ?? "")
  return text.length > most ? `${text.slice(0, most - 1)}…` : text
}

const timeOf = (millis: number | null): string | null => {
  if (millis === null) return null
  const date = new Date(millis)
  return Number.isNaN(date.getTime()) ? null : date.toISOString()
}

const units: ReadonlyArray<readonly [millis: number, name: string]> = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1000, "s"]
]

/** How long ago something was, in one unit. */
const ageOf = (millis: number | null, now: number): string => {
  if (millis === null || !Number.isFinite(millis)) return "?"
  const age = Math.max(0, now - millis)
  const [unit, name] = units.find(([unit]) => age >= 2 * unit) ?? units.at(-1)!
  return `${Math.floor(age / unit)} ${name}`
}

interface Identity {
  readonly uuid: string
  readonly major: number | null
  readonly name: string | null
}

const identityOf = ({ interface: text }: Pick<Row, "interface">): Identity => {
  const [uuid = "", major] = cut(text).split(" ")
  return { uuid, major: /^\d{1,5}$/.test(major ?? "") ? Number(major) : null, name: knownOf(uuid).name }
}

const showIdentity = ({ major, name, uuid }: Identity): string =>
  `${uuid}${major === null ? "" : `/${major}`}${name === null ? "" : ` ${name}`}`

// ----------------------------------------------------------------------------
// list
// ----------------------------------------------------------------------------

export interface ListOptions {
  /** A UUID, or a UUID, a space and a major version. */
  readonly interface: string | undefined
  readonly state: State | undefined
  readonly limit: number
}

/** Shows calls, oldest first. */
export const list = (place: Place, options: ListOptions, print: Show): Run =>
  Effect.gen(function* () {
    const { limit } = options
    const rows = yield* onRecord(
      place,
      "Reading the calls of",
      (record) => record.list({ ...options, after: undefined, limit: limit + 1 })
    )
    const now = yield* Clock.currentTimeMillis
    const shown = rows.slice(0, limit)
    const more = rows.length > limit
    yield* print({
      json: { calls: shown.map(listedOf), more },
      text: (paint) => {
        if (shown.length === 0) return "There is no such call."
        const calls = table(
          [
            { title: "HANDLE" },
            { title: "INTERFACE" },
            { title: "METHOD", style: "cyan" },
            { title: "STATE" },
            { title: "AGE", align: "right" },
            { title: "ATTEMPTS", align: "right" },
            { title: "CANCELLED" }
          ],
          shown.map((row) => [
            cut(row.id),
            showIdentity(identityOf(row)),
            cut(row.method, 60),
            stateOf(row),
            ageOf(row.begun_at, now),
            cut(row.attempts, 10),
            row.cancel_at === null ? "" : "yes"
          ]),
          paint
        )
        return more
          ? `${calls}\n${paint.dim(`There are more than ${limit}: these are the oldest. --limit shows more.`)}`
          : calls
      }
    })
  })

const listedOf = (row: ListedRow) => ({
  handle: cut(row.id),
  ...identityOf(row),
  method: cut(row.method),
  state: stateOf(row),
  begun: timeOf(row.begun_at),
  attempts: row.attempts,
  cancelled: row.cancel_at !== null
})

// ----------------------------------------------------------------------------
// one call
// ----------------------------------------------------------------------------

const refused = (
  { _tag, codes }: { readonly _tag: string; readonly codes: Codes },
  sentence: string,
  advice: string
): Failure => ({
  _tag: "Failure",
  exitCode: exitCodes.refused,
  status: (codes.rpcStatus ?? codes.hresult)!,
  message: named(sentence, _tag),
  advice
})

const noSuchCall = (handle: string, name: string): Failure =>
  refused(
    new InvalidAsyncHandle({ handle: "durable call" }),
    `${name}: there is no call ${handle}.`,
    "callisto calls list shows the calls; a record is removed some time after the end of its call."
  )

/** The handle that was written, or the only one that begins with it. */
const handleOf = (record: CallTable, written: string, name: string): Effect.Effect<string, SqlError | Failure> =>
  Effect.gen(function* () {
    const start = written.toLowerCase()
    if (isHandle(start)) return start
    if (!/^[0-9a-f-]{6,63}$/.test(start)) {
      // It is not repeated: a token is a secret.
      return yield* Effect.fail(
        misused(
          "HANDLE is not the handle of a durable call.",
          "Take it from callisto calls list: a UUID or 64 hexadecimal digits, or the first six characters or more."
        )
      )
    }
    const [found, another] = yield* record.findIds(start)
    if (found === undefined) return yield* Effect.fail(noSuchCall(start, name))
    if (another === undefined) return found
    return yield* Effect.fail(misused(`Several calls have a handle that begins with ${start}.`, "Write more of it."))
  })

/** Shows all that is known of a call; its values only where they are asked for. */
export const show = (place: Place, written: string, values: boolean, print: Show): Run =>
  Effect.gen(function* () {
    const row = yield* onRecord(place, "Reading a call of", (record, name) =>
      Effect.gen(function* () {
        const handle = yield* handleOf(record, written, name)
        const row = yield* record.load(handle)
        return row ?? (yield* Effect.fail(noSuchCall(handle, name)))
      }))
    const now = yield* Clock.currentTimeMillis
    yield* print({
      json: { ...detailsOf(row), ...(values && valuesOf(row)) },
      text: (paint) => describe(row, values, now, paint)
    })
  })

const detailsOf = (row: Row) => ({
  handle: cut(row.id),
  ...identityOf(row),
  object: row.object === null ? null : cut(row.object),
  method: cut(row.method),
  state: stateOf(row),
  begun: timeOf(row.begun_at),
  deadline: timeOf(row.deadline),
  attempts: row.attempts,
  lastAttempt: timeOf(row.attempt_at),
  yielded: row.yielded,
  handedOff: row.handed_off !== 0,
  cancelRequested: timeOf(row.cancel_at),
  abandoned: row.abandoned !== 0,
  ended: timeOf(row.ended_at),
  outcome: row.outcome === null ? null : outcomeOf(glanceAt(row.outcome)),
  finished: timeOf(row.finished_at),
  finishedBy: row.finished_by === null ? null : cut(row.finished_by),
  caller: factsOf(row.caller, ["name", "level"]),
  trace: factsOf(row.trace, ["traceId", "spanId"])
})

const codeOf = ({ codes: { fault, hresult, rpcStatus } }: { readonly codes: Codes }): Code =>
  rpcStatus ?? fault ?? hresult!

const outcomeOf = ({ error, kind }: Glance) => {
  const code = error === undefined ? undefined : codeOf(error)
  return {
    kind,
    status: code === undefined
      ? null
      : { number: code.number, name: code.name === String(code.number) ? null : code.name },
    message: error === undefined ? null : cut(error.message, 1000),
    didNotExecute: error?.didNotExecute ?? false
  }
}

/** Some texts of a JSON object; `null` for what is none. */
const factsOf = (
  text: string | null,
  names: ReadonlyArray<string>
): { readonly [name: string]: string | null } | null => {
  if (text === null) return null
  const { json } = jsonOf(text)
  const facts = (typeof json === "object" && json !== null ? json : {}) as Record<string, unknown>
  return Object.fromEntries(names.map((name) => [name, typeof facts[name] === "string" ? cut(facts[name]) : null]))
}

const jsonOf = (text: unknown): { readonly isJson: boolean; readonly json?: unknown } => {
  try {
    return { isJson: true, json: JSON.parse(String(text)) }
  } catch {
    return { isJson: false }
  }
}

/** A value as it is stored: `none`, `removed` (the program keeps no input), `json`, `sealed`, or a `text` that is no JSON, or too deep. */
interface Value {
  readonly form: "none" | "removed" | "json" | "sealed" | "text"
  readonly value: unknown
}

const none: Value = { form: "none", value: null }

const valuesOf = ({ input, input_hash, outcome }: Row): { readonly input: Value; readonly result: Value } => {
  const glance = outcome === null ? undefined : glanceAt(outcome)
  const isSealed = glance?.kind === "sealed"
  return {
    input: input === "" ? { form: input_hash === null ? "none" : "removed", value: null } : valueOf(input, isSealed),
    result: isSealed
      ? { form: "sealed", value: null }
      : glance?.kind === "unreadable"
      ? { form: "text", value: String(outcome) }
      : glance?.value === undefined
      ? none
      : isPrintable(glance.value)
      ? { form: "json", value: glance.value }
      : { form: "text", value: String(outcome) }
  }
}

/** How deeply a value may be nested that is printed as JSON: printing goes less deep than reading, and how deep differs by runtime. */
const deepest = 500

const isPrintable = (json: unknown): boolean => {
  let level = [json]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > deepest) return false
    level = level.flatMap((value) => typeof value === "object" && value !== null ? Object.values(value) : [])
  }
  return true
}

const valueOf = (text: string, isSealed: boolean): Value => {
  const { isJson, json } = jsonOf(text)
  if (isJson && isPrintable(json)) return { form: "json", value: json }
  return isSealed ? { form: "sealed", value: null } : { form: "text", value: String(text) }
}

const describe = (row: Row, values: boolean, now: number, paint: Paint): string => {
  const at = (millis: number | null) => {
    const time = timeOf(millis)
    if (time === null) return ""
    return millis! > now ? `${time}, in ${ageOf(2 * now - millis!, now)}` : `${time}, ${ageOf(millis, now)} ago`
  }
  const { caller, trace } = detailsOf(row)
  const facts: ReadonlyArray<readonly [name: string, text: string]> = [
    ["handle", cut(row.id)],
    ["interface", showIdentity(identityOf(row))],
    ["object", cut(row.object)],
    ["method", cut(row.method)],
    ["state", stateOf(row)],
    ["begun", at(row.begun_at)],
    ["deadline", at(row.deadline)],
    [
      "attempts",
      `${cut(row.attempts, 10)}${row.attempt_at === null ? "" : `, the last ${at(row.attempt_at)}`}${
        row.yielded === 0 ? "" : `; ${cut(row.yielded, 10)} interrupted in good order`
      }`
    ],
    ["handed off", row.handed_off === 0 ? "" : "yes"],
    ["cancelled", at(row.cancel_at)],
    ["abandoned", row.abandoned === 0 ? "" : "yes: its client takes no result"],
    ["ended", at(row.ended_at)],
    ["outcome", row.outcome === null ? "" : showOutcome(glanceAt(row.outcome))],
    ["finished", row.finished_by === null ? "" : `${at(row.finished_at)}, by ${cut(row.finished_by)}`],
    ["caller", caller === null ? "" : [caller["name"] ?? "no name", caller["level"]].filter(Boolean).join(", ")],
    ["trace", trace === null ? "" : [trace["traceId"], trace["spanId"]].filter(Boolean).join(" ")]
  ]
  const lines = facts.filter(([, text]) => text !== "").map(([name, text]) =>
    `${paint.bold(name.padEnd(10))}  ${harmless(text)}`
  )
  if (!values) return lines.join("\n")
  const { input, result } = valuesOf(row)
  return [...lines, `${paint.bold("input")}${showValue(input)}`, `${paint.bold("result")}${showValue(result)}`].join(
    "\n"
  )
}

const showOutcome = (glance: Glance): string => {
  const { kind, message, status } = outcomeOf(glance)
  switch (kind) {
    case "sealed":
      return "replied or aborted: the program has sealed it"
    case "unreadable":
      return "unreadable: not written by this version of the library"
    default:
      return [
        kind,
        status === null ? "" : `, ${status.number}${status.name === null ? "" : ` ${status.name}`}`,
        message === null ? "" : `: ${message}`
      ].join("")
  }
}

/** The longest value that a person sees. */
const longest = 20_000

const showValue = ({ form, value }: Value): string => {
  switch (form) {
    case "none":
      return "       nothing"
    case "removed":
      return "       removed at the end of the call, as its program wants"
    case "sealed":
      return "       sealed: only the program can open it"
    case "text":
      return ` (no JSON that can be shown: sealed, or broken)\n${harmless(cut(value, longest))}`
    case "json":
      return `\n${cut(escapeJson(printed(value)), longest)}`
  }
}

/** The indentation of a value that is long may be longer than the value. */
const printed = (value: unknown): string => {
  const compact = JSON.stringify(value)
  return compact.length > 5000 ? compact : JSON.stringify(value, null, 2)
}

// ----------------------------------------------------------------------------
// changes
// ----------------------------------------------------------------------------

/** Asks for the end of a call. */
export const cancel = (place: Place, written: string, print: Show): Run =>
  Effect.gen(function* () {
    const row = yield* onRecord(place, "Cancelling a call of", (record, name) =>
      Effect.gen(function* () {
        const handle = yield* handleOf(record, written, name)
        const row = yield* record.cancel(handle, yield* Clock.currentTimeMillis, false)
        if (row !== undefined) return row
        const there = yield* record.load(handle)
        return yield* Effect.fail(
          there === undefined ? noSuchCall(handle, name) : refused(
            new CallComplete(),
            `${handle} has ended: there is nothing to cancel.`,
            "callisto calls show HANDLE shows its outcome."
          )
        )
      }))
    const state = stateOf(row)
    const handle = harmless(cut(row.id))
    yield* print({
      json: { handle: cut(row.id), state, didNotExecute: state === "ended" },
      text: () =>
        state === "ended"
          ? `${handle} was cancelled. It did not execute.`
          : state === "running"
          ? `${handle} is running. The cancel is stored, and its routine is told within 5 seconds if its process lives.`
          : `${handle} was handed off. The cancel is stored, and whoever completes the call can see it.`
    })
  })

/** Removes the record of a call that has ended. */
export const forget = (place: Place, written: string, print: Show): Run =>
  Effect.gen(function* () {
    const handle = yield* onRecord(place, "Removing a call of", (record, name) =>
      Effect.gen(function* () {
        const handle = yield* handleOf(record, written, name)
        if ((yield* record.remove([handle])).length > 0) return handle
        const there = yield* record.load(handle)
        return yield* Effect.fail(
          there === undefined ? noSuchCall(handle, name) : refused(
            new CallPending(),
            `${handle} has not ended: it is ${stateOf(there)}.`,
            "Cancel it first with callisto calls cancel HANDLE, and wait until it has ended."
          )
        )
      }))
    yield* print({
      json: { handle, forgotten: true },
      text: () => `The record of ${harmless(cut(handle))} was removed.`
    })
  })
