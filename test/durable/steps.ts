/**
 * The step table: a client and a runner are killed (-9) before and after each of their statements, and each row of what becomes of the call
 * is seen. A row has a database to itself. The victim is a process, always on Node, bundled into one file so that it starts quickly; two
 * live at a time. Its successor is this process. On Node the whole table runs, on Deno and Bun the rows that are marked so.
 */
import { Call } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { build as bundle } from "esbuild"
import { Context, Effect, Exit, Layer, Option, References, Scope, Semaphore } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import type { Row } from "../../src/durable/internal/record.ts"
import { sqliteLayer } from "../../src/durable/internal/sqlite.ts"
import { eventually } from "./fixtures.ts"
import { completed, IStep, makeTables, type Method, replied, serveSteps, type Step, type Victim } from "./victim.ts"
import { build, type Kind, type Provided, type World } from "./worlds.ts"
// @ts-ignore: a script without types, which Deno reads as it is
import { findRuntime } from "../../scripts/runtimes.mjs"

// ----------------------------------------------------------------------------
// the steps
// ----------------------------------------------------------------------------

const before = (statement: string): Step => ({ at: "before", statement })
const after = (statement: string): Step => ({ at: "after", statement })

const insert = "^INSERT INTO callisto_calls"
const dispatch = "^INSERT (OR IGNORE )?INTO cluster_messages"
const begin = "^COMMIT of .*INTO callisto_calls.*INTO cluster_messages"
const look = "^SELECT id, outcome, cancel_at FROM callisto_calls .* => 1$"
// PostgreSQL first holds the rows that a statement for several calls changes.
const take = "^(WITH held .*)?UPDATE callisto_calls SET finished_by"
const claim = "UPDATE cluster_messages (m )?SET last_read = (NOW|CURRENT)"
const attempt = "^(WITH held .*)?UPDATE callisto_calls SET attempts"
const effect = "^INSERT INTO effects"
const handOff = "^UPDATE callisto_calls SET handed_off"
const outcome = "^(WITH held .*)?UPDATE callisto_calls SET outcome"
const transaction = "^COMMIT of .*INTO effects.*UPDATE callisto_calls"
const reply = "^COMMIT of .*INTO cluster_replies"

/** One row came of it. */
const done = (statement: string): Step => after(`${statement}.* => 1$`)

// ----------------------------------------------------------------------------
// what is found
// ----------------------------------------------------------------------------

type State = "ready" | "running" | "ran" | "handed off" | "ended"

/** What the database holds of a call. */
interface Found {
  readonly attempts: number
  readonly effects: number
  readonly handedOff: boolean
  readonly ended: boolean
}

const isWrite = (method: Method) => method.endsWith("Write")
const isOnce = (method: Method) => method.endsWith("Once")
const isLater = (method: Method) => method.startsWith("Later")

/** What a runner leaves behind that dies where its call is in a state. "ran": its effect is there, and no outcome. */
const left = (state: State, method: Method): Found => ({
  attempts: state === "ready" ? 0 : 1,
  effects: state === "ready" || state === "running" || (state === "ran" && isWrite(method)) ? 0 : 1,
  handedOff: state === "handed off",
  ended: state === "ended"
})

/** A result, or the number or name of what came instead. */
const resultOf = (exit: Exit.Exit<number, unknown>): unknown => {
  if (Exit.isSuccess(exit)) return exit.value
  const { _tag, status } = Option.getOrThrow(Exit.findErrorOption(exit)) as { _tag: string; status?: number }
  return status ?? _tag
}

/** What becomes of it. */
const settled = (state: State, method: Method): Found & { readonly result: number } => {
  const isLost = isOnce(method) && (state === "running" || state === "ran")
  const isRepeated = !isLost && (state === "running" || state === "ran")
  const { effects } = left(state, method)
  return {
    attempts: isRepeated ? 2 : 1,
    effects: isLost ? effects : isWrite(method) ? 1 : isRepeated ? effects + 1 : 1,
    handedOff: isLater(method) && !isLost,
    ended: true,
    result: isLost ? 1726 : isLater(method) ? completed : replied
  }
}

const inWords = ({ attempts, effects, result }: ReturnType<typeof settled>) =>
  `${result === 1726 ? "1726" : "a result"}, attempts ${attempts}, effects ${effects}`

// ----------------------------------------------------------------------------
// the table
// ----------------------------------------------------------------------------

const here = dirname(fileURLToPath(import.meta.url))
const isNode = process.versions["deno"] === undefined && process.versions["bun"] === undefined

export const steps = (kind: Kind): unknown =>
  describe.concurrent(`each step on ${kind.name}`, () => {
    const scope = Scope.makeUnsafe()
    const folder = mkdtempSync(join(tmpdir(), "callisto-steps-"))
    const program = join(folder, "victim.mjs")
    const turns = Semaphore.makeUnsafe(2)
    const { command } = findRuntime("node")!
    const idle: Array<Place> = []
    let newWorld: Effect.Effect<World>

    beforeAll(async () => {
      await bundle({
        entryPoints: [join(here, "victim.ts")],
        outfile: program,
        bundle: true,
        platform: "node",
        format: "esm",
        conditions: ["@callisto/source"]
      })
      newWorld = await Effect.runPromise(Scope.provide(kind.worlds, scope))
    }, 60_000)
    afterAll(async () => {
      await Effect.runPromise(Scope.close(scope, Exit.void))
      rmSync(folder, { recursive: true, force: true })
    }, 60_000)

    /** Runs a victim until it is dead. Fails where its statement does not come. */
    const dies = (victim: Victim): Effect.Effect<void> =>
      turns.withPermit(Effect.callback((resume) => {
        const child = spawn(command, [program, JSON.stringify(victim)], {
          stdio: ["ignore", "pipe", "pipe"]
        })
        let told = ""
        let errors = ""
        let isLate = false
        child.stdout.on("data", (chunk) => void (told += chunk))
        child.stderr.on("data", (chunk) => void (errors += chunk))
        const timer = setTimeout(() => {
          isLate = true
          child.kill("SIGKILL")
        }, 40_000)
        child.once("close", (code, signal) => {
          clearTimeout(timer)
          if (!isLate && signal === "SIGKILL") return resume(Effect.void)
          const { at, statement } = victim.step
          resume(Effect.die(
            new Error(
              `the step was not reached: ${at} ${statement}, exit code ${code}\n${errors}\nIts statements:\n${told}`
            )
          ))
        })
      }))

    // --- one row

    /** A database, with a client that begins calls there. One row after the other has it to itself. */
    interface Place {
      readonly world: World
      readonly client: Context.Context<Provided>
      readonly sql: SqlClient.SqlClient
      /** Where the engine's leases are. */
      readonly leases: SqlClient.SqlClient
    }

    interface Stage extends Place {
      readonly name: string
      readonly where: Pick<Victim, "file" | "postgres" | "port">
      /** Starts the runner of this process. */
      readonly runner: Effect.Effect<unknown, never, Scope.Scope>
    }

    const newPlace = Effect.gen(function* () {
      const world = yield* newWorld
      const client = yield* build(world.client())
      const sql = Context.get(client, SqlClient.SqlClient)
      yield* Effect.provideContext(makeTables, client)
      const { file } = yield* world.work
      const leases = file === undefined
        ? sql
        : Context.get(yield* build(sqliteLayer(`${file}-runners`)), SqlClient.SqlClient)
      return { world, client, sql, leases }
    })

    /** An empty database. */
    const place = Effect.acquireRelease(
      Effect.suspend(() => {
        const known = idle.pop()
        return known === undefined ? Scope.provide(newPlace, scope) : Effect.succeed(known)
      }),
      (place) => Effect.andThen(Effect.orDie(clear(place)), Effect.sync(() => void idle.push(place)))
    )

    const clear = (place: Place) =>
      Effect.gen(function* () {
        const { sql } = place
        for (const table of ["callisto_calls", "cluster_messages", "cluster_replies", "effects", "orders", "ledger"]) {
          yield* sql`DELETE FROM ${sql(table)}`
        }
        yield* passLease(place)
      })

    let count = 0

    const row = <E>(
      name: string,
      effect: (stage: Stage) => Effect.Effect<void, E, Provided | Scope.Scope>,
      everywhere = false
    ): void => {
      if (!isNode && !everywhere) return
      const body = Effect.gen(function* () {
        const here = yield* place
        const where = yield* here.world.work
        const runner = Effect.suspend(() => build(Layer.provideMerge(serveSteps, here.world.runner())))
        const run = Effect.scoped(effect({ ...here, name: `call ${++count}`, where, runner }))
        yield* Effect.provideContext(run, here.client)
      })
      it.live(name, () => Effect.provideService(body, References.MinimumLogLevel, "None"), 180_000)
    }

    const countOf = ({ sql }: Stage, table: string) =>
      Effect.map(sql<{ n: unknown }>`SELECT COUNT(*) AS n FROM ${sql(table)}`, ([counted]) => Number(counted!.n))

    /** The records: one or none. The engine has as many requests. */
    const recordOf = (stage: Stage) =>
      Effect.gen(function* () {
        const rows = yield* stage.sql<Row>`SELECT * FROM callisto_calls`
        assert.isAtMost(rows.length, 1)
        assert.strictEqual(yield* countOf(stage, "cluster_messages"), rows.length)
        return rows[0]
      })

    const found = (stage: Stage) =>
      Effect.gen(function* () {
        const row = (yield* recordOf(stage))!
        return {
          attempts: row.attempts,
          effects: yield* countOf(stage, "effects"),
          handedOff: row.handed_off === 1,
          ended: row.outcome !== null
        }
      })

    /** The lease of a dead runner is over at once. */
    const passLease = ({ leases }: Place) =>
      Effect.andThen(leases`DELETE FROM cluster_locks`, leases`DELETE FROM cluster_runners`)

    const isAnswered = ({ sql }: Stage) =>
      eventually(
        sql`SELECT tag FROM cluster_messages WHERE CAST(processed AS TEXT) IN ('1', 'true')`,
        (rows) => rows.length === 1,
        60_000
      )

    const isHandedOff = ({ sql }: Stage) =>
      eventually(sql`SELECT id FROM callisto_calls WHERE handed_off = 1`, (rows) => rows.length === 1, 60_000)

    const tokenOf = ({ sql }: Stage) =>
      Effect.map(sql<{ token: string }>`SELECT token FROM effects`, ([effect]) => effect!.token)

    const start = ({ name }: Stage, method: Method) =>
      Effect.flatMap(
        Durable.binding(IStep),
        (binding) => Call.start(binding, method as "Once", { name }).pipe(Durable.key(name))
      )

    /** A further evidence of a call that has been taken. */
    const isTaken = (call: Call.Pending<typeof IStep, "Once">, method: Method) =>
      Effect.gen(function* () {
        const another = yield* Durable.resume(IStep, method as "Once", Durable.handle(call))
        assert.strictEqual((yield* Effect.flip(Call.join(another)))._tag, "CallComplete")
      })

    /** The call has ended and been answered to the engine, and is taken, once. */
    const settles = (
      stage: Stage,
      call: Call.Pending<typeof IStep, "Once">,
      method: Method,
      expected: ReturnType<typeof settled>
    ) =>
      Effect.gen(function* () {
        const { result, ...record } = expected
        yield* Call.wait(call, "60 seconds")
        yield* isAnswered(stage)
        assert.strictEqual(resultOf(yield* Effect.exit(Call.join(call))), result)
        assert.deepStrictEqual(yield* found(stage), record)
        assert.isNotNull((yield* recordOf(stage))!.finished_by)
        yield* isTaken(call, method)
      })

    // --- the client

    const inBegin = (when: string, step: Step, isThere: boolean, within = false) => {
      const result = `${isThere ? "one record" : "no record"}, its successor begins it again`
      row(`client, killed ${when}: ${result}`, (stage) =>
        Effect.gen(function* () {
          const { name, sql, where } = stage
          const mustRun = step.statement.includes("started")
          if (mustRun) yield* stage.runner
          yield* dies({ ...where, role: "begin", within, method: "Once", name, step })
          assert.strictEqual((yield* recordOf(stage)) !== undefined, isThere)
          const orders = within && isThere ? 1 : 0
          assert.strictEqual(yield* countOf(stage, "orders"), orders)
          if (!mustRun) yield* stage.runner
          const again = within && orders === 0
            ? sql.withTransaction(Effect.tap(start(stage, "Once"), sql`INSERT INTO orders (name) VALUES (${name})`))
            : start(stage, "Once")
          yield* settles(stage, yield* again, "Once", settled("ready", "Once"))
          assert.strictEqual(yield* countOf(stage, "orders"), within ? 1 : 0)
        }), when === "after the insert")
    }

    inBegin("before the insert", before(insert), false)
    inBegin("after the insert", done(insert), false)
    inBegin("before the engine's insert", before(dispatch), false)
    inBegin("after the engine's insert", after(dispatch), false)
    inBegin("before the commit", before(begin), false)
    inBegin("after the commit, before the wake", after(begin), true)
    inBegin("after the wake", before("SELECT 'begun'"), true)
    inBegin("after the start of its call", after("SELECT 'started'"), true)
    inBegin("after the insert in its transaction", done(insert), false, true)
    inBegin("after the engine's insert in its transaction", after(dispatch), false, true)
    inBegin("after its own write", after("^INSERT INTO orders"), false, true)
    inBegin("before the commit of its transaction", before("^COMMIT of .*INTO orders"), false, true)
    inBegin("after the commit of its transaction", after("^COMMIT of .*INTO orders"), true, true)

    row("client, killed while it waits: the record is untouched, its successor resumes by handle", (stage) =>
      Effect.gen(function* () {
        const handle = Durable.handle(yield* start(stage, "Once"))
        const record = yield* recordOf(stage)
        const { name, where } = stage
        yield* dies({ ...where, role: "wait", within: false, method: "Once", name, handle, step: after(look) })
        assert.deepStrictEqual(yield* recordOf(stage), record)
        yield* stage.runner
        yield* settles(stage, yield* Durable.resume(IStep, "Once", handle), "Once", settled("ready", "Once"))
      }))

    const inTake = (when: string, step: Step, isGone: boolean, isUsed: boolean, within = false) => {
      const result = isGone ? isUsed ? "taken and used" : "taken, and lost" : "its successor takes it"
      row(`client, killed ${when}: ${result}`, (stage) =>
        Effect.gen(function* () {
          const { name, sql, where } = stage
          const call = yield* start(stage, "Once")
          const handle = Durable.handle(call)
          yield* stage.runner
          yield* Call.wait(call)
          yield* dies({ ...where, role: "take", within, method: "Once", name, handle, step })
          assert.strictEqual((yield* recordOf(stage))!.finished_by !== null, isGone)
          assert.strictEqual(yield* countOf(stage, "ledger"), isUsed ? 1 : 0)
          const again = yield* Durable.resume(IStep, "Once", handle)
          yield* Call.wait(again)
          const taken = yield* Effect.exit(sql.withTransaction(
            Effect.tap(Call.finish(again), (n) =>
              sql`INSERT INTO ledger (name, result) VALUES (${name}, ${n})`)
          ))
          assert.strictEqual(resultOf(taken), isGone ? "CallComplete" : replied)
          assert.strictEqual(yield* countOf(stage, "ledger"), isGone && !isUsed ? 0 : 1)
          assert.deepStrictEqual(yield* Durable.peek(IStep, "Once", handle), Option.some(Exit.succeed(replied)))
          yield* isTaken(again, "Once")
        }))
    }

    const ledger = "^INSERT INTO ledger"
    const takeCommit = "^COMMIT of .*SET finished_by.*INTO ledger"
    inTake("before the take", before(take), false, false)
    inTake("after the take", done(take), true, false)
    inTake("after its use of what it took", after(ledger), true, true)
    inTake("before the take in its transaction", before(take), false, false, true)
    inTake("after the take in its transaction", done(take), false, false, true)
    inTake("after its own write beside the take", after(ledger), false, false, true)
    inTake("before the commit of the take", before(takeCommit), false, false, true)
    inTake("after the commit of the take", after(takeCommit), true, true, true)

    const inComplete = (when: string, step: Step, isFirst: boolean, within = false) =>
      row(`completer, killed ${when}: ${isFirst ? "its outcome holds" : "another completes"}`, (stage) =>
        Effect.gen(function* () {
          const { name, where } = stage
          const method = "LaterOnce"
          const call = yield* start(stage, method)
          yield* stage.runner
          yield* isHandedOff(stage)
          const token = yield* tokenOf(stage)
          yield* dies({ ...where, role: "complete", within, method, name, token, step })
          assert.strictEqual((yield* found(stage)).ended, isFirst)
          assert.strictEqual(yield* countOf(stage, "ledger"), isFirst && within ? 1 : 0)
          assert.strictEqual(yield* Durable.complete(IStep, method, token, Exit.succeed(replied)), !isFirst)
          yield* settles(stage, call, method, {
            ...settled("handed off", method),
            result: isFirst ? completed : replied
          })
        }))

    const completeCommit = "^COMMIT of .*SET outcome.*INTO ledger"
    inComplete("before its statement", before(outcome), false)
    inComplete("after its statement", done(outcome), true)
    inComplete("after its statement in its transaction", done(outcome), false, true)
    inComplete("before the commit of its transaction", before(completeCommit), false, true)
    inComplete("after the commit of its transaction", after(completeCommit), true, true)

    // --- the runner

    const inRun = (when: string, method: Method, step: Step, state: State) => {
      const expected = settled(state, method)
      row(`runner, ${method}, killed ${when}: ${inWords(expected)}`, (stage) =>
        Effect.gen(function* () {
          const { name, where } = stage
          const call = yield* start(stage, method)
          yield* dies({ ...where, role: "runner", within: false, method, name, step })
          assert.deepStrictEqual(yield* found(stage), left(state, method))
          const complete = Effect.gen(function* () {
            const token = yield* tokenOf(stage)
            assert.isTrue(yield* Durable.complete(IStep, method as "LaterOnce", token, Exit.succeed(completed)))
          })
          // After a hand-off no runner has to live.
          if (state === "handed off") {
            yield* complete
          }
          yield* passLease(stage)
          yield* stage.runner
          if (expected.handedOff && state !== "handed off") {
            yield* Effect.andThen(isHandedOff(stage), complete)
          }
          yield* settles(stage, call, method, expected)
        }), when === "after its effect" && method === "Write")
    }

    inRun("before the engine's claim", "Once", before(claim), "ready")
    inRun("after the engine's claim", "Once", after(`^(WITH .*${claim}.* => 1|COMMIT of .*${claim}.*)$`), "ready")
    inRun("before the attempt", "Once", before(attempt), "ready")
    for (const method of ["Once", "Again", "Write"] as const) {
      inRun("after the attempt", method, done(attempt), "running")
      inRun("before its effect", method, before(effect), "running")
      inRun("after its effect", method, after(effect), "ran")
      inRun("before the outcome", method, before(outcome), "ran")
      inRun("after the outcome", method, done(outcome), isWrite(method) ? "ran" : "ended")
    }
    inRun("before the commit of its effect", "Write", before(transaction), "ran")
    inRun("after the commit of its effect", "Write", after(transaction), "ended")
    for (const method of ["LaterOnce", "LaterAgain", "LaterWrite"] as const) {
      inRun("before the hand-off", method, before(handOff), "ran")
      inRun("after the hand-off", method, done(handOff), isWrite(method) ? "ran" : "handed off")
    }
    inRun("before the commit of its hand-off", "LaterWrite", before(transaction), "ran")
    inRun("after the commit of its hand-off", "LaterWrite", after(transaction), "handed off")
    inRun("before the reply of Dispatch", "Once", before("^UPDATE cluster_messages SET processed"), "ended")
    inRun("before the commit of the reply of Dispatch", "Once", before(reply), "ended")
    inRun("after the commit of the reply of Dispatch", "Once", after(reply), "ended")
    inRun("before the commit of the reply of Dispatch", "LaterOnce", before(reply), "handed off")
  })
