/**
 * The randomized kill test: two runners and two workers, each a process, which are killed, frozen, told to end and cut off from a database
 * that crashes itself. Then they are left in peace until nothing is open, and the tables are checked against what the processes have done.
 */
import { Context, Deferred, Effect, Exit, Fiber, type Layer, type Scope } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as DurableNode from "../../../src/durable/node.ts"
import { freePort, type Postgres } from "../postgres.ts"
import { isHere, type Runtime } from "../spawned.ts"
import { build } from "../worlds.ts"
import { check, type Checked, LogReader, unanswered } from "./checks.ts"
import { root } from "./mutants.ts"
import { type KillWork, type Odds, random, tables } from "./process.ts"
import { makeProxy, type Proxy } from "./proxy.ts"
// @ts-ignore: a script without types, which Deno reads as it is
import { findRuntime } from "../../../scripts/runtimes.mjs"

export const kinds = ["kill -9", "freeze", "SIGTERM", "database crash", "cut", "silence"] as const

export const processes = ["runner1", "runner2", "worker1", "worker2"] as const

export type ProcessName = typeof processes[number]

export type Disturbance = typeof kinds[number]

/** What is done to the processes. */
export interface Schedule {
  /** The kinds of disturbances; by default all that the database has. */
  readonly kinds?: ReadonlyArray<Disturbance>
  /** Whom they hit; by default anybody. */
  readonly targets?: ReadonlyArray<"runner" | "worker">
  /** The processes there are; by default two runners and two workers. */
  readonly processes?: ReadonlyArray<ProcessName>
  /** The time between two of them, in milliseconds. By default it is random. */
  readonly pause?: number
  readonly odds?: Odds
}

export interface KillOptions {
  readonly seed: number
  readonly seconds: number
  /** The server; without one the calls are in a file of SQLite. */
  readonly postgres?: Postgres | undefined
  readonly runtimes: ReadonlyArray<Runtime>
  /** The sources that the processes run; by default those of this checkout. */
  readonly sources?: string | undefined
  readonly schedule?: Schedule | undefined
  /** Stops at the first violation. */
  readonly isMutant?: boolean | undefined
}

export interface KillResult extends Checked {
  readonly kills: ReadonlyMap<string, number>
  /** What processes said that ended by themselves. */
  readonly ends: ReadonlyArray<string>
  /** What the run was, in one line. */
  readonly line: string
}

const lease = 3_000

const usual: Odds = {
  methods: ["Once", "Again", "Write", "Approve", "ApproveIn"],
  rollsBack: 0.1,
  cancels: 0.15,
  ages: 0.05,
  shared: 0.4,
  longest: 1_500
}

/** A process of the test, and those that follow it when it has ended. */
class Slot {
  declare readonly role: "runner" | "worker"
  declare readonly name: string
  child: ChildProcess | undefined = undefined
  isReady = false
  isBusy = false
  port: number | undefined = undefined
  /** What the processes have said before they ended by themselves. */
  readonly ends: Array<string> = []

  constructor(role: "runner" | "worker", name: string) {
    this.role = role
    this.name = name
  }

  signal(signal: "SIGKILL" | "SIGTERM"): void {
    this.child?.kill(signal)
  }
}

let databases = 0

/** Runs the test. Fails where it could not be run; violations are its result. */
export const kill = (options: KillOptions): Effect.Effect<KillResult, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const { postgres, schedule, seconds, seed } = options
    // The killer has numbers of its own, so that a seed repeats what it does.
    const next = random(seed)
    const other = random(seed + 1)
    const between = (low: number, high: number, random = next) => Math.floor(low + (high - low) * random())
    const oneOf = <A>(all: ReadonlyArray<A>, random = next): A => all[Math.floor(random() * all.length)]!
    const isSqlite = postgres === undefined
    const runtimes = options.runtimes.map((name): { command: string; program: ReadonlyArray<string> } =>
      findRuntime(name)!
    )

    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "callisto-kill-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
    )
    const log = join(folder, "log.txt")
    writeFileSync(log, "")
    const reader = new LogReader(log)

    // --- the database
    const file = join(folder, "calls.db")
    const database = postgres === undefined ? undefined : yield* postgres.database(`kill${++databases}`)
    const layer: Layer.Layer<SqlClient.SqlClient, unknown> = database === undefined
      ? DurableNode.embedded({ file, client: true })
      : DurableNode.client({ sql: database.layer(), lease })
    const client = yield* build(layer)
    const sql = Context.get(client, SqlClient.SqlClient)
    for (const statement of tables) yield* sql.unsafe(statement)
    const proxy: Proxy | undefined = database === undefined ? undefined : yield* makeProxy(database.port)

    // --- the processes
    const slots = (schedule?.processes ?? processes).map((name) =>
      new Slot(name.startsWith("runner") ? "runner" : "worker", name)
    )
    const kills = new Map<string, number>()
    let isDraining = false
    let isDatabaseDown = false
    let isOver = false

    const startIn = (slot: Slot) =>
      Effect.gen(function* () {
        const { name, role } = slot
        if (database !== undefined && role === "runner" && (slot.port === undefined || other() < 0.5)) {
          slot.port = yield* freePort
        }
        const work: KillWork = {
          ...(database === undefined ? { file } : {
            postgres: {
              host: database.host,
              name: database.name,
              port: name === "runner1" ? proxy!.port : database.port
            }
          }),
          ...(slot.port === undefined ? {} : { port: slot.port }),
          role,
          name,
          lease,
          log,
          seed: between(0, 0x7fffffff, other),
          odds: schedule?.odds ?? usual
        }
        const { command, program } = oneOf(runtimes, other)
        const script = join(options.sources ?? root, "test", "durable", "kill", "process.ts")
        const child = spawn(command, [...program, script, JSON.stringify(work)], { stdio: ["pipe", "pipe", "pipe"] })
        slot.child = child
        slot.isReady = false
        let errors = ""
        child.stdin.on("error", () => {})
        child.stdout.on("data", (chunk) => {
          if (!String(chunk).includes("ready")) return void (errors += chunk)
          slot.isReady = true
          if (isDraining) child.stdin.write("drain\n")
        })
        child.stderr.on("data", (chunk) => void (errors = (errors + chunk).slice(-4_000)))
        yield* Effect.callback<void>((resume) => {
          child.once("exit", (code) => {
            slot.isReady = false
            if (code !== null && code !== 0 && !isOver) slot.ends.push(`${name} ended with ${code}: ${errors}`)
            resume(Effect.void)
          })
          return Effect.sync(() => void child.kill("SIGKILL"))
        })
      })

    const keepUp = (slot: Slot) =>
      Effect.forever(Effect.andThen(startIn(slot), Effect.suspend(() => Effect.sleep(between(0, 1_500, other)))))

    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        isOver = true
        for (const { child } of slots) child?.kill("SIGKILL")
      })
    )
    for (const slot of slots) yield* Effect.forkScoped(keepUp(slot))

    const until = (holds: () => boolean, millis: number, words: string) =>
      Effect.gen(function* () {
        const end = performance.now() + millis
        while (!holds()) {
          if (performance.now() > end) {
            const ends = slots.flatMap(({ ends }) => ends.slice(-2))
            return yield* Effect.die(new Error(`${words} (seed ${seed})\n${ends.join("\n")}`))
          }
          yield* Effect.sleep(50)
        }
      })
    const allUp = until(() => slots.every(({ isReady }) => isReady), 60_000, "The processes did not start in a minute")
    yield* allUp

    // --- the killer
    const stuck: Array<string> = []
    const disturb = (kind: Disturbance, slot: Slot): Effect.Effect<void> => {
      const { child } = slot
      const long = between(lease * 1.2, lease * 1.8)
      const short = between(0, 3_000)
      const isForGood = next() < 0.5
      return Effect.gen(function* () {
        switch (kind) {
          case "kill -9":
            return slot.signal("SIGKILL")
          case "SIGTERM": {
            const ended = yield* Effect.callback<void>((resume) => {
              if (child === undefined || child.exitCode !== null || child.signalCode !== null) {
                return resume(Effect.void)
              }
              child.once("exit", () => resume(Effect.void))
              child.kill("SIGTERM")
            }).pipe(Effect.timeoutOption(40_000))
            if (ended._tag === "None") {
              stuck.push(`${slot.name} did not end within 40 seconds of SIGTERM`)
              child?.kill("SIGKILL")
            }
            return
          }
          case "freeze": {
            // Another process wakes it, so that it does not stay frozen where this one is killed.
            const script = `kill -STOP ${child?.pid}; sleep ${long / 1_000}; kill -CONT ${child?.pid}`
            return yield* Effect.callback<void>((resume) => {
              spawn("sh", ["-c", script], { stdio: "ignore" }).once("exit", () => resume(Effect.void))
            })
          }
          case "database crash":
            isDatabaseDown = true
            yield* postgres!.crash
            yield* Effect.sleep(short)
            yield* postgres!.start
            isDatabaseDown = false
            return
          case "cut":
            yield* proxy!.cut
            yield* Effect.sleep(short)
            return yield* proxy!.open
          case "silence":
            yield* proxy!.silence
            yield* Effect.sleep(long)
            // Half of the time the connections are never heard of again.
            if (isForGood) yield* proxy!.cut
            return yield* proxy!.open
        }
      })
    }
    const possible = (schedule?.kinds ?? kinds).filter((kind) => !isSqlite || kinds.indexOf(kind) < 3)
    const weights: { readonly [K in Disturbance]: number } = {
      "kill -9": 5,
      freeze: 2,
      SIGTERM: 2,
      "database crash": 1,
      cut: 1,
      silence: 1
    }
    const bag = possible.flatMap((kind) => Array.from({ length: weights[kind] }, () => kind))
    let isProxyBusy = false
    const killer = Effect.gen(function* () {
      if (bag.length === 0) return
      const end = performance.now() + seconds * 1_000
      const running: Array<Fiber.Fiber<void>> = []
      while (performance.now() < end) {
        yield* Effect.sleep(schedule?.pause ?? between(300, 3_500))
        // A busy machine needs more time between two disturbances to get anywhere.
        const wanted = reader.taken + between(0, 15)
        const latest = performance.now() + (schedule?.pause === undefined ? 15_000 : 0)
        while (reader.taken < wanted && performance.now() < latest) {
          yield* Effect.sleep(100)
          reader.read()
        }
        const kind = oneOf(bag)
        const slot = oneOf(slots.filter(({ role }) => schedule?.targets?.includes(role) ?? true))
        const disturbance = disturb(kind, slot)
        const isAtDatabase = kind === "database crash"
        const isAtProxy = kind === "cut" || kind === "silence"
        if (isAtDatabase ? isDatabaseDown : isAtProxy ? isProxyBusy : slot.isBusy || !slot.isReady) continue
        kills.set(kind, (kills.get(kind) ?? 0) + 1)
        if (isAtProxy) isProxyBusy = true
        else if (!isAtDatabase) slot.isBusy = true
        running.push(
          yield* Effect.forkScoped(Effect.ensuring(
            disturbance,
            Effect.sync(() => {
              if (isAtProxy) isProxyBusy = false
              else if (!isAtDatabase) slot.isBusy = false
            })
          ))
        )
      }
      for (const fiber of running) yield* Fiber.join(fiber)
    })

    // --- the checks on the way
    const look = (isEnd: boolean) => Effect.provideContext(check(reader, isSqlite, isEnd), client)
    const found = Deferred.makeUnsafe<Checked>()
    const watch = Effect.forever(Effect.gen(function* () {
      yield* Effect.sleep(options.isMutant ? 500 : 10_000)
      if (isDatabaseDown) return
      const checked = yield* Effect.exit(look(false))
      if (checked._tag === "Success" && checked.value.violations.length > 0) {
        Deferred.doneUnsafe(found, Exit.succeed(checked.value))
      }
    }))
    const watcher = yield* Effect.forkScoped(watch)
    const running = Effect.andThen(killer, bag.length === 0 ? Effect.sleep(seconds * 1_000) : Effect.void)
    const early = yield* Effect.raceFirst(
      Effect.as(running, undefined as Checked | undefined),
      Deferred.await(found) as Effect.Effect<Checked | undefined>
    )
    yield* Fiber.interrupt(watcher)

    // --- peace
    let checked = early
    if (checked === undefined) {
      isDraining = true
      for (const { child, isReady } of slots) if (isReady) child?.stdin?.write("drain\n")
      yield* allUp
      // On a busy machine the end may come late, as long as it comes nearer.
      let end = performance.now() + 60_000
      let least = Infinity
      while (true) {
        const last = yield* Effect.exit(look(false))
        const left = yield* Effect.exit(Effect.provideContext(unanswered, client))
        if (last._tag === "Success" && left._tag === "Success") {
          const count = last.value.counts.open + left.value
          if (count === 0) break
          if (count < least) end = performance.now() + 60_000
          least = Math.min(least, count)
        }
        if (performance.now() > end) {
          if (left._tag === "Success" && left.value > 0) {
            stuck.push(`the engine has ${left.value} requests without an answer`)
          }
          break
        }
        yield* Effect.sleep(500)
      }
      checked = yield* look(true)
    }
    const violations = [...stuck, ...checked.violations]
    if (violations.length > 0) violations.push(...slots.flatMap(({ ends }) => ends.slice(-2)))
    const { begun, lost, repeated, taken } = checked.counts
    const own = slots.reduce((sum, { ends }) => sum + ends.length, 0)
    const total = [...kills.values()].reduce((sum, count) => sum + count, 0)
    const line = `begun ${begun}, taken ${taken}, ${total} disturbances (${
      [...kills].map(([kind, count]) => `${kind} ${count}`).join(", ")
    }), ended by themselves ${own}, attempts > 1: ${repeated}, 1726: ${lost}, violations ${
      checked.violations.length + stuck.length
    }`
    return { violations, counts: checked.counts, kills, ends: slots.flatMap(({ ends }) => ends), line }
  })

/** The runtimes of a list that are here. */
export const present = (wanted: ReadonlyArray<Runtime>): ReadonlyArray<Runtime> => wanted.filter(isHere)

/** A violation in words, with what repeats it. */
export const wordsOf = ({ line, violations }: KillResult, seed: number): string =>
  [
    ...violations.slice(0, 10),
    ...(violations.length > 10 ? [`and ${violations.length - 10} more`] : []),
    `${line}, seed ${seed} (set CALLISTO_SEED to repeat it)`
  ].join("\n")
