/** What the tests of durable calls share: an interface, its managers, and a look at the tables. */
import { Call, Interface, Manager, type ServerCall } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import { Deferred, Effect, Schema } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { Row } from "../../src/durable/internal/record.ts"

export class Broke extends Schema.TaggedError<Broke>()("Broke", { balance: Schema.Int, on: Schema.Date }) {}

export const IBank = Interface.make("IBank", {
  uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b31",
  version: [1, 2],
  methods: {
    Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int, idempotent: true }),
    Stop: Interface.method({ in: { name: Schema.String } }),
    Pay: Interface.method({
      in: { amount: Schema.Int, at: Schema.Date },
      out: { receipt: Schema.String, at: Schema.Date },
      aborts: [Interface.abort(0x20001, Broke)]
    }),
    Approve: Interface.method({ in: { name: Schema.String }, out: Schema.Boolean }),
    Tell: Interface.method({ in: { text: Schema.String }, maybe: true }),
    Odd: Interface.method({ out: Schema.Int })
  }
})

/** What the routines of a test tell it. */
export interface Bench {
  /** The routines that have started, oldest first. */
  readonly started: Array<string>
  readonly stopped: Array<string>
  /** The tokens of calls that were handed off, by name. */
  readonly tokens: Map<string, string>
  readonly calls: Map<string, ServerCall.ServerCall<any>>
  /** Opens the routine `Stop` of a name. */
  readonly open: (name: string) => void
}

export const makeBench = (): Bench & { readonly manager: Manager.Manager<typeof IBank, SqlClient.SqlClient> } => {
  const started: Array<string> = []
  const stopped: Array<string> = []
  const tokens = new Map<string, string>()
  const calls = new Map<string, ServerCall.ServerCall<any>>()
  const gates = new Map<string, Deferred.Deferred<void>>()
  const gate = (name: string) => {
    const known = gates.get(name) ?? Deferred.makeUnsafe<void>()
    gates.set(name, known)
    return known
  }
  const manager = Manager.make(IBank, {
    Add: (numbers) =>
      Effect.sync(() => {
        started.push("Add")
        return numbers.reduce((a, b) => a + b, 0)
      }),
    Stop: ({ name }, call) =>
      Effect.suspend(() => {
        started.push(name)
        calls.set(name, call)
        return Deferred.await(gate(name))
      }).pipe(Effect.onInterrupt(() => Effect.sync(() => void stopped.push(name)))),
    Pay: ({ amount, at }) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        started.push(`Pay ${amount}`)
        yield* sql`INSERT INTO effects (amount) VALUES (${amount})`
        if (amount > 100) return yield* Effect.fail(new Broke({ balance: 100, on: at }))
        return { receipt: `paid ${amount}`, at }
      }).pipe(Effect.catchTag("SqlError", Effect.die)),
    Approve: Manager.handOff(({ name }, call) =>
      Effect.sync(() => {
        started.push(name)
        calls.set(name, call)
        tokens.set(name, Durable.token(call))
      })
    ),
    Tell: ({ text }) => Effect.sync(() => void started.push(text)),
    Odd: () => Effect.succeed("no number" as never)
  })
  return { manager, started, stopped, tokens, calls, open: (name) => void Deferred.doneUnsafe(gate(name), Effect.void) }
}

/** Looks again and again until a condition holds, for 20 seconds at most. */
export const eventually = <A, E, R>(
  look: Effect.Effect<A, E, R>,
  holds: (value: A) => boolean,
  millis = 20_000
): Effect.Effect<A, E, R> =>
  Effect.gen(function* () {
    const end = performance.now() + millis
    while (true) {
      const value = yield* look
      if (holds(value)) return value
      if (performance.now() > end) throw new Error(`the condition never held, last seen ${JSON.stringify(value)}`)
      yield* Effect.sleep(20)
    }
  })

export const until = (holds: () => boolean): Effect.Effect<boolean> => eventually(Effect.sync(holds), (value) => value)

/** The table in which `Pay` writes. */
export const makeEffects = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE IF NOT EXISTS effects (amount INTEGER NOT NULL)`
})

/** The row of a call. */
export const rowOf = (handle: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const [row] = yield* sql<Row>`SELECT * FROM callisto_calls WHERE id = ${handle}`
    return row
  })

export const start = Call.start
