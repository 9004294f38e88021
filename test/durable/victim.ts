/**
 * A process that kills itself (-9) before or after one statement. The statement is named by a pattern on its text, and its argument says
 * which. On its output it tells what it has executed, for the words of a test whose statement never came.
 */
import { Context, Effect, Exit, Layer, Schema } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import process from "node:process"
import { Call, Interface, Manager, type ServerCall } from "../../mod.ts"
import * as Durable from "../../src/durable.ts"
import { Around } from "../../src/durable/internal/sqlite.ts"
import * as DurableNode from "../../src/durable/node.ts"
import type { Work } from "./process.ts"

const method = { in: { name: Schema.String }, out: Schema.Int }

export const IStep = Interface.make("IStep", {
  uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b34",
  version: [1, 0],
  methods: {
    Once: Interface.method(method),
    Again: Interface.method({ ...method, idempotent: true }),
    Write: Interface.method(method),
    LaterOnce: Interface.method(method),
    LaterAgain: Interface.method({ ...method, idempotent: true }),
    LaterWrite: Interface.method(method)
  }
})

export type Method = keyof typeof IStep["methods"]

/** What a routine replies, and what the victim completes a hand-off with. */
export const replied = 11
export const completed = 12

type Name = { readonly name: string }

const effect = ({ name }: Name, call: ServerCall.ServerCall<any>) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* Effect.orDie(sql`INSERT INTO effects (name, token) VALUES (${name}, ${Durable.token(call)})`)
    return replied
  })

/** The routines write one row each time that they run. */
export const serveSteps = Durable.serve([
  Manager.make(IStep, {
    Once: effect,
    Again: effect,
    Write: effect,
    LaterOnce: Manager.handOff(effect),
    LaterAgain: Manager.handOff(effect),
    LaterWrite: Manager.handOff(effect)
  })
], { mode: { Write: "transaction", LaterWrite: "transaction" } })

export const makeTables = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE effects (name VARCHAR(64) NOT NULL, token TEXT NOT NULL)`
  yield* sql`CREATE TABLE orders (name VARCHAR(64) NOT NULL)`
  yield* sql`CREATE TABLE ledger (name VARCHAR(64) NOT NULL, result INTEGER NOT NULL)`
})

/**
 * A statement: white space is one blank, there are no quotes. A COMMIT names the statements of its transaction: `COMMIT of A; B`. For a
 * victim that dies after it, the text ends with the number of rows that came: ` => 1`.
 */
export interface Step {
  readonly at: "before" | "after"
  readonly statement: string
}

export interface Victim extends Pick<Work, "file" | "postgres" | "port"> {
  readonly step: Step
  readonly role: "runner" | "begin" | "wait" | "take" | "complete"
  /** Whether the client does it in a transaction of its own, beside a write. */
  readonly within: boolean
  readonly method: Method
  /** The key of the call, for the roles that begin it. */
  readonly name: string
  readonly handle?: string
  readonly token?: string
}

const die = Effect.suspend(() => {
  process.kill(process.pid, "SIGKILL")
  return Effect.never
})

const told = new Set<string>()

const tell = (line: string) => {
  if (told.has(line)) return
  told.add(line)
  process.stdout.write(`${line}\n`)
}

const lethal = ({ at, statement }: Step) => {
  const pattern = new RegExp(statement)
  return <C extends Connection>(connection: C): C => {
    const { execute, executeRaw, executeUnprepared, executeValues, executeValuesUnprepared } = connection
    let transaction: Array<string> = []
    const around = <A>(sql: string, run: () => Effect.Effect<A, any>): Effect.Effect<A, any> =>
      Effect.suspend(() => {
        const plain = sql.replaceAll('"', "").replaceAll(/\s+/g, " ").trim()
        const text = plain === "COMMIT" ? `COMMIT of ${transaction.join("; ")}` : plain
        if (/^(BEGIN|COMMIT|ROLLBACK$)/.test(plain)) transaction = []
        else transaction.push(plain)
        if (at === "before" && pattern.test(text)) return die
        return Effect.flatMap(run(), (result) => {
          const count = Array.isArray(result) ? ` => ${result.length}` : ""
          if (at === "after" && pattern.test(text + count)) return die
          tell(`${text.slice(0, 400)}${count}`)
          return Effect.succeed(result)
        })
      })
    return {
      ...connection,
      execute: (sql, ...rest) => around(sql, () => execute.call(connection, sql, ...rest)),
      executeRaw: (sql, ...rest) => around(sql, () => executeRaw.call(connection, sql, ...rest)),
      executeUnprepared: (sql, ...rest) => around(sql, () => executeUnprepared.call(connection, sql, ...rest)),
      executeValues: (sql, ...rest) => around(sql, () => executeValues.call(connection, sql, ...rest)),
      executeValuesUnprepared: (sql, ...rest) =>
        around(sql, () => executeValuesUnprepared.call(connection, sql, ...rest))
    }
  }
}

/** A client of PostgreSQL whose connections are watched. */
const pgLayer = ({ host, name, port }: NonNullable<Work["postgres"]>, step: Step) =>
  Layer.effect(
    SqlClient.SqlClient,
    Effect.gen(function* () {
      const { layer, makeCompiler } = yield* Effect.promise(() => import("@effect/sql-pg/PgClient"))
      const config = { host, port, database: name, username: "callisto", ssl: false, maxConnections: 8 }
      const { reserve } = Context.get(yield* Layer.build(layer(config)), SqlClient.SqlClient)
      return yield* SqlClient.make({
        acquirer: Effect.map(reserve, lethal(step)),
        compiler: makeCompiler(),
        driver: "pg",
        spanAttributes: []
      })
    })
  ).pipe(Layer.provide(Reactivity.layer))

const sharding = {
  refreshAssignmentsInterval: 250,
  entityMessagePollInterval: 200,
  entityReplyPollInterval: 100
}

const layerOf = ({ file, port, postgres, role, step }: Victim) => {
  const isClient = role !== "runner"
  if (file !== undefined) {
    return DurableNode.embedded({ file, client: isClient, sharding }).pipe(
      Layer.provide(Layer.succeed(Around, lethal(step)))
    )
  }
  const sql = pgLayer(postgres!, step)
  return isClient
    ? DurableNode.client({ sql, sharding })
    : DurableNode.runner({ sql, sharding, host: "127.0.0.1", port: port! })
}

/** What a client does up to its death, and beyond it where its statement never comes. */
const act = ({ handle, method, name, role, token, within }: Victim) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const transaction = <A, E, R>(own: Effect.Effect<unknown, any>, effect: Effect.Effect<A, E, R>) =>
      within ? sql.withTransaction(Effect.tap(effect, own)) : Effect.tap(effect, own)
    const binding = yield* Durable.binding(IStep)
    const found = Effect.suspend(() => Durable.resume(IStep, method, handle!))
    switch (role) {
      case "begin": {
        const order = within ? sql`INSERT INTO orders (name) VALUES (${name})` : Effect.void
        const call = yield* transaction(order, Call.start(binding, method as "Once", { name }).pipe(Durable.key(name)))
        yield* sql`SELECT 'begun'`
        while (
          (yield* sql`SELECT id FROM callisto_calls WHERE id = ${Durable.handle(call)} AND attempts > 0`).length < 1
        ) {
          yield* Effect.sleep(20)
        }
        return yield* sql`SELECT 'started'`
      }
      case "wait":
        return yield* Call.wait(yield* found, "5 seconds")
      case "take": {
        const call = yield* found
        yield* Call.wait(call)
        return yield* transaction(
          sql`INSERT INTO ledger (name, result) VALUES (${name}, ${replied})`,
          Call.finish(call)
        )
      }
      case "complete":
        return yield* transaction(
          within ? sql`INSERT INTO ledger (name, result) VALUES (${name}, ${completed})` : Effect.void,
          Durable.complete(IStep, method, token!, Exit.succeed(completed))
        )
      case "runner":
        return yield* Effect.never
    }
  })

if (import.meta.main) {
  const victim = JSON.parse(process.argv[2]!) as Victim
  const layer = layerOf(victim)
  const live = victim.role === "runner" ? Layer.provideMerge(serveSteps, layer) : layer
  Effect.runPromise(act(victim).pipe(Effect.scoped, Effect.provide(live))).then(
    () => process.exit(0),
    (error) => {
      console.error(error)
      process.exit(1)
    }
  )
}
