// Records the figures: node site/figures.ts runs real calls, and writes what happened to docs/figures.
import { Call, ContextHandle, Interface, Manager, Pipe, Server, ServerCall } from "../mod.ts"
import { Association, Endpoint, Pdu } from "../src/dcerpc.ts"
import { Negotiate, Ntlm, Security } from "../src/security.ts"
import { Memory, Transport } from "../src/transport.ts"
import { Effect, Exit, Layer, Redacted, Schema, Scope } from "effect"
import { make as makeSocket } from "effect/socket/Socket"
import { spawn } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { type Method, outcomeOf, type Pending } from "./live/client.ts"
import { draw, standalone, type View } from "./live/drawing.ts"
import { ILive, now } from "./live/ILive.ts"
import { serve } from "./live/server.ts"
import { begun, cancelAsked, dropped, ended, makeRow, noted, type Row, serverLost, turn } from "./live/timeline.ts"

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
  return (width: View["width"]) =>
    draw(rows, {
      from: 0,
      to: 10_000,
      now: clock(),
      rows: 5,
      width,
      title:
        "Five calls in ten seconds: the client above, the server below. The server does two at once. A cancelled copy stops; a cancelled " +
        "seal goes on, and its client gives it up after two seconds; one call is aborted, one is answered, one is dropped."
    })
}).pipe(Effect.scoped, Effect.provide(Memory.layer))

/** The picture of calls that have all ended. */
const finished = (rows: ReadonlyArray<Row>, end: number, title: string): string =>
  draw(rows, { from: 0, to: end, now: end, rows: rows.length, width: "wide", title })

// ----------------------------------------------------------------------------
// pipes
// ----------------------------------------------------------------------------

const IStore = Interface.make("Store", {
  methods: {
    Put: Interface.method({ inPipe: { content: Pipe.bytes }, out: { size: Schema.Int } }),
    Get: Interface.method({ outPipe: { content: Pipe.bytes } })
  }
})

/** A side of a pipe that works on each chunk, and waits for the other side in between. */
const pipes = Effect.gen(function* () {
  const origin = now()
  const clock = () => now() - origin
  const put = makeRow("Put")
  const get = makeRow("Get")
  const size = 256 * 1024
  const chunk = () => new Uint8Array(size)

  /** Shows an effect as waiting where it takes longer than a moment, and what follows as running. */
  const waits = <A, E, R>(bar: Row["client"], effect: Effect.Effect<A, E, R>) =>
    Effect.suspend(() => {
      turn(bar, clock(), "waiting")
      return Effect.map(effect, (result) => {
        const last = bar.pop()!
        const at = clock()
        if (at - last.from >= 20) bar.push({ ...last, to: at })
        else if (bar.at(-1)?.state === "running") delete bar.at(-1)!.to
        if (bar.at(-1)?.state !== "running" || bar.at(-1)!.to !== undefined) turn(bar, at, "running")
        return result
      })
    })
  const passes = (row: Row, direction: "down" | "up") =>
    Effect.sync(() => row.messages.push({ at: clock(), direction, kind: "request" }))

  const manager = Manager.make(IStore, {
    Put: (_, call) =>
      Effect.gen(function* () {
        turn(put.server, clock(), "running")
        const content = ServerCall.inPipe(call, "content")
        let total = 0
        const read = waits(put.server, Pipe.pull(content)).pipe(
          Effect.flatMap(({ length }) => {
            total += length
            return Effect.sleep(length / size * 300)
          })
        )
        yield* Effect.forever(read).pipe(Effect.catchTag("PipeEmpty", () => Effect.void))
        turn(put.server, clock())
        return { size: total }
      }),
    Get: (_, call) =>
      Effect.gen(function* () {
        turn(get.server, clock(), "running")
        const content = ServerCall.outPipe(call, "content")
        for (let i = 0; i < 8; i++) {
          yield* passes(get, "up")
          yield* waits(get.server, Pipe.push(content, chunk()))
        }
        yield* Pipe.end(content)
        turn(get.server, clock())
      })
  })
  yield* Endpoint.serve(yield* Server.make([manager]), "ncacn_memory:[store]")
  const binding = yield* Association.bind(IStore, "ncacn_memory:[store]")

  const putting = Effect.gen(function* () {
    const call = yield* Call.start(binding, "Put")
    const content = Call.inPipe(call, "content")
    turn(put.client, clock(), "running")
    for (let i = 0; i < 8; i++) {
      yield* passes(put, "down")
      yield* waits(put.client, Pipe.push(content, chunk()))
    }
    yield* Pipe.end(content)
    turn(put.client, clock(), "waiting")
    const sent = yield* Call.join(call)
    turn(put.client, clock())
    put.outcome = { state: "replied", words: `${sent.size / 1024 / 1024} MiB sent` }
  })
  const getting = Effect.gen(function* () {
    yield* Effect.sleep("400 millis")
    const call = yield* Call.start(binding, "Get")
    const content = Call.outPipe(call, "content")
    turn(get.client, clock(), "running")
    const read = waits(get.client, Pipe.pull(content)).pipe(
      Effect.flatMap(({ length }) => Effect.sleep(length / size * 300))
    )
    yield* Effect.forever(read).pipe(Effect.catchTag("PipeEmpty", () => Effect.void))
    yield* Call.join(call)
    turn(get.client, clock())
    get.outcome = { state: "replied", words: "2 MiB received" }
  })
  yield* Effect.all([putting, getting], { concurrency: "unbounded" })
  return finished(
    [put, get],
    clock(),
    "Two calls with pipes. A client pushes chunks until the pipe is full, and then waits for the slow server; a server pushes chunks " +
      "until the pipe is full, and then waits for the slow client."
  )
}).pipe(Effect.scoped, Effect.provide(Memory.layer))

// ----------------------------------------------------------------------------
// context handles
// ----------------------------------------------------------------------------

const Cursor = ContextHandle.make("Cursor")

const ITables = Interface.make("Tables", {
  methods: {
    Open: Interface.method({ out: { cursor: Cursor } }),
    Fetch: Interface.method({ in: { cursor: Cursor }, out: { rows: Schema.Int } }),
    Close: Interface.method({ in: { cursor: Cursor }, out: { cursor: ContextHandle.nullable(Cursor) } })
  }
})

/** Two clients open a cursor each; one closes it, the other one's process ends. */
const handles = Effect.gen(function* () {
  const origin = now()
  const clock = () => now() - origin
  const rows: Array<Row> = []
  const cursors = ContextHandle.states<Row>()(Cursor)

  const manager = Manager.make(ITables, {
    Open: (_, call) =>
      Effect.gen(function* () {
        yield* Effect.sleep("150 millis")
        const row = rows.at(-1)!
        const cursor = yield* cursors.open(
          call,
          Effect.acquireRelease(
            Effect.sync(() => {
              turn(row.server, clock(), "running")
              return row
            }),
            (_, exit) =>
              Effect.sync(() => {
                const at = clock()
                if (Exit.isSuccess(exit)) {
                  turn(row.server, at)
                  row.outcome = { state: "replied", words: "closed" }
                } else {
                  serverLost(row, at)
                  row.outcome = { state: "lost", words: "run down" }
                }
              })
          )
        )
        return { cursor }
      }),
    Fetch: ({ cursor }, call) => Effect.delay(Effect.as(cursors.get(call, cursor), { rows: 10 }), "200 millis"),
    Close: ({ cursor }, call) => Effect.map(cursors.close(call, cursor), (cursor) => ({ cursor }))
  })
  yield* Endpoint.serve(yield* Server.make([manager]), "ncacn_memory:[tables]")

  const client = Effect.fnUntraced(function* (label: string, closes: boolean) {
    const row = makeRow(label)
    rows.push(row)
    const scope = yield* Scope.make()
    const tables = Call.client(yield* Association.bind(ITables, "ncacn_memory:[tables]").pipe(Scope.provide(scope)))
    const during = <A, E, R>(word: string, call: Effect.Effect<A, E, R>) =>
      Effect.suspend(() => {
        const at = clock()
        turn(row.client, at, "running")
        row.messages.push({ at, direction: "down", kind: "request", word })
        return Effect.tap(call, () =>
          Effect.sync(() => {
            const at = clock()
            turn(row.client, at, "waiting")
            row.messages.push({ at, direction: "up", kind: "reply" })
          }))
      })
    const { cursor } = yield* during("Open", tables.Open())
    for (let i = 0; i < 2; i++) {
      yield* Effect.sleep("350 millis")
      yield* during("Fetch", tables.Fetch({ cursor }))
    }
    yield* Effect.sleep("350 millis")
    if (closes) yield* during("Close", tables.Close({ cursor }))
    else {
      const at = clock()
      row.marks.push({ at, word: "the client is gone" })
    }
    turn(row.client, clock())
    yield* Scope.close(scope, Exit.void)
    yield* Effect.sleep("300 millis")
  })
  yield* client("Cursor 1", true)
  yield* client("Cursor 2", false)
  return finished(
    rows,
    clock(),
    "Two cursors on a server. The first client opens, fetches twice and closes. The second client goes away without a word, and the " +
      "server runs its cursor down."
  )
}).pipe(Effect.scoped, Effect.provide(Memory.layer))

// ----------------------------------------------------------------------------
// security
// ----------------------------------------------------------------------------

const IVault = Interface.make("Vault", {
  methods: { Read: Interface.method({ out: { secret: Schema.String } }) }
})

const names = new Map(Object.values(Pdu.types).map(({ name, ptype }) => [ptype, name]))

/** The transport in memory with a way of 20 ms, and what was sent on it. */
const slow = (tell: (bytes: Uint8Array, direction: "down" | "up") => void) =>
  Layer.effect(
    Transport.Transport,
    Effect.map(Effect.service(Transport.Transport), (inner) => ({
      ...inner,
      connect: (binding) =>
        Effect.map(inner.connect(binding), (connection) => ({
          ...connection,
          socket: makeSocket({
            reader: Effect.map(connection.socket.reader, (reader) => ({
              ...reader,
              pull: Effect.tap(reader.pull, (chunks) => {
                for (const chunk of chunks) tell(chunk as Uint8Array, "up")
                return Effect.sleep("20 millis")
              })
            })),
            writer: Effect.map(connection.socket.writer, (writer) => ({
              write: (chunk) => {
                if (chunk instanceof Uint8Array) tell(chunk, "down")
                return Effect.delay(writer.write(chunk), "20 millis")
              },
              writeAll: (chunks) => {
                for (const chunk of chunks) tell(chunk as Uint8Array, "down")
                return Effect.delay(writer.writeAll(chunks), "20 millis")
              }
            }))
          })
        }))
    }))
  ).pipe(Layer.provide(Memory.layer))

const security = Effect.gen(function* () {
  const origin = now()
  const clock = () => now() - origin
  const rows: Array<Row> = []
  const tell = (bytes: Uint8Array, direction: "down" | "up") => {
    const at = clock()
    const word = names.get(bytes[2]!) ?? ""
    rows.at(-1)!.messages.push({
      at,
      arrives: at + 20,
      direction,
      kind: direction === "down" ? "request" : "reply",
      word
    })
  }

  const manager = Manager.make(IVault, { Read: () => Effect.succeed({ secret: "1842" }) }, { minimumLevel: "privacy" })
  const accounts: Ntlm.Accounts = ({ user }) =>
    user.toLowerCase() === "bob" ? { ntHash: Ntlm.hash(Redacted.make("four words are enough")) } : undefined

  const attempt = Effect.fnUntraced(function* (label: string, password: string) {
    const row = makeRow(label)
    rows.push(row)
    const scope = yield* Scope.make()
    turn(row.client, clock(), "waiting")
    const exit = yield* Effect.gen(function* () {
      const bound = yield* Association.bind(IVault, "ncacn_memory:[vault]", {
        security: Security.make({
          provider: Negotiate.client,
          credentials: { user: "bob", password: Redacted.make(password) },
          level: "privacy"
        })
      })
      turn(row.client, clock(), "running")
      return yield* Call.client(bound).Read()
    }).pipe(Scope.provide(scope), Effect.exit)
    turn(row.client, clock())
    row.client.at(-1)!.state = Exit.isSuccess(exit) ? "replied" : "aborted"
    row.outcome = Exit.isSuccess(exit)
      ? { state: "replied", words: "replied, encrypted" }
      : { state: "aborted", words: "refused: 5" }
    yield* Effect.sleep("60 millis")
    yield* Scope.close(scope, Exit.void)
  })
  const program = Effect.gen(function* () {
    const server = yield* Server.make([manager])
    yield* Endpoint.serve(server, "ncacn_memory:[vault]", { security: [Negotiate.server({ ntlm: accounts })] })
    yield* attempt("bob", "four words are enough")
    yield* attempt("bob, wrong", "1234")
  })
  yield* Effect.provide(Effect.scoped(program), slow(tell))
  return finished(
    rows,
    clock(),
    "Two logins, with 20 ms to the server. bind, bind_ack and alter_context carry the login; then the encrypted request is answered. " +
      "With a wrong password the login is refused, and no request is sent."
  )
})

// ----------------------------------------------------------------------------
// durable calls
// ----------------------------------------------------------------------------

interface Said {
  readonly at: number
  readonly name: string
  readonly what: string
  readonly method: string
  readonly words: string
}

/** Two calls of process A. Process B is killed while it runs them; C takes over, and D takes the results. */
const durable = Effect.gen(function* () {
  const path = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "callisto-figure-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const said: Array<Said> = []
  let look = () => {}
  const start = (name: string, role: string) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const file = fileURLToPath(new URL("figure_process.ts", import.meta.url))
        const args = [...process.execArgv, file, name, role, join(path, "calls.db")]
        const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] })
        createInterface(child.stdout).on("line", (line) => {
          said.push(JSON.parse(line))
          look()
        })
        const ended = new Promise<number>((resolve) => child.on("close", () => resolve(Date.now())))
        const go = (...handles: ReadonlyArray<string>) =>
          Effect.sync(() => child.stdin.end(`${JSON.stringify(handles)}\n`))
        return { child, go, ended: Effect.promise(() => ended) }
      }),
      ({ child, ended }) => Effect.andThen(Effect.sync(() => child.kill("SIGKILL")), ended)
    )
  /** Waits for what a process says. */
  const until = (name: string, what: string, method: string) =>
    Effect.callback<Said>((resume) => {
      look = () => {
        const found = said.find((line) => line.name === name && line.what === what && line.method === method)
        if (found !== undefined) resume(Effect.succeed(found))
      }
      look()
    })

  const [a, b, c, d] = yield* Effect.all([
    start("A", "begin"),
    start("B", "serve"),
    start("C", "serve"),
    start("D", "finish")
  ])
  // Until all have read their modules.
  yield* Effect.sleep("5 seconds")
  yield* b.go()
  yield* until("B", "is ready", "")
  yield* a.go()
  const bill = yield* until("A", "begins", "Bill")
  const print = yield* until("A", "begins", "Print")
  for (const method of ["Bill", "Print"]) yield* until("B", "runs", method)
  const aEnds = yield* a.ended
  yield* Effect.sleep("400 millis")
  b.child.kill("SIGKILL")
  const killed = yield* b.ended
  yield* c.go()
  yield* Effect.sleep("800 millis")
  yield* d.go(bill.words, print.words)
  yield* until("D", "takes", "Bill")
  yield* until("D", "loses", "Print")
  const end = yield* d.ended

  const origin = bill.at - 100
  const rowOf = (method: string) => {
    const row = makeRow(method)
    const timeOf = (name: string, what: string) => {
      const found = said.find((line) => line.name === name && line.method === method && line.what === what)
      return found === undefined ? undefined : found.at - origin
    }
    const begins = timeOf("A", "begins")!
    turn(row.client, begins, "running")
    turn(row.client, aEnds - origin)
    row.marks.push({ at: begins, word: "A begins" }, { at: aEnds - origin, word: "A ends" })
    row.messages.push({ at: begins, direction: "down", kind: "request" })

    const onB = timeOf("B", "runs")!
    turn(row.server, onB, "running")
    serverLost(row, killed - origin)
    row.marks.push({ at: onB, word: "on B", side: "server" }, {
      at: killed - origin,
      word: "B is killed",
      side: "server"
    })
    const onC = timeOf("C", "runs")
    if (onC !== undefined) {
      turn(row.server, onC, "replied")
      turn(row.server, timeOf("C", "has run")!)
      row.marks.push({ at: onC, word: "on C", side: "server" })
    }
    const resumes = timeOf("D", "resumes")!
    const taken = timeOf("D", "takes")
    const last = taken ?? timeOf("D", "loses")!
    row.marks.push({ at: resumes, word: "D resumes" })
    turn(row.client, resumes, taken === undefined ? "lost" : "replied")
    turn(row.client, last)
    row.messages.push({ at: last, direction: "up", kind: "reply" })
    row.outcome = taken === undefined
      ? { state: "lost", words: "once: 1726" }
      : { state: "replied", words: "transaction" }
    return row
  }
  return finished(
    [rowOf("Bill"), rowOf("Print")],
    end - origin,
    "Two durable calls that process A begins before it ends. Process B runs both and is killed. Bill has the mode transaction, and process C " +
      "runs it again; Print has the mode once, and ends with 1726. Process D resumes both calls and takes their outcomes."
  )
}).pipe(Effect.scoped)

// ----------------------------------------------------------------------------

mkdirSync(folder, { recursive: true })
writeFileSync(`${folder}durable.svg`, standalone(await Effect.runPromise(durable)))
const picture = await Effect.runPromise(live)
writeFileSync(`${folder}calls.svg`, standalone(picture("wide")))
// The first page shows these until its own calls run.
for (const width of ["wide", "narrow"] as const) {
  writeFileSync(fileURLToPath(new URL(`live/recorded-${width}.svg`, import.meta.url)), `${picture(width)}\n`)
}
writeFileSync(`${folder}pipes.svg`, standalone(await Effect.runPromise(pipes)))
writeFileSync(`${folder}handles.svg`, standalone(await Effect.runPromise(handles)))
writeFileSync(`${folder}security.svg`, standalone(await Effect.runPromise(security)))
