/** Rows that are not what was written, and handles, keys and texts of every kind. */
import { Call, Interface, Status } from "@callisto/rpc"
import * as Durable from "@callisto/rpc/durable"
import { assert } from "@effect/vitest"
import { Effect, Exit, Schema, type Scope, Stream } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { type Bed, callsOf, fresh, serverOf, tokenOf } from "./bed.ts"
import { IBank, makeBench, rowOf } from "./fixtures.ts"
import { build } from "./worlds.ts"

type Row = Record<string, unknown>

const huge = "9223372036854775807"

export const rowFaults = ({ alone, atRest, atWork, kind }: Bed): void => {
  const isSqlite = kind.name === "SQLite"

  /** Changes a row, whatever the types of its columns would like. */
  const change = (handle: string, row: Row) =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const sets = Object.entries(row).map(([name, value]) =>
        typeof value === "bigint"
          ? sql`${sql(name)} = ${sql.literal(String(value))}`
          : sql`${sql(name)} = ${value as string}`
      )
      yield* sql`UPDATE callisto_calls SET ${sql.csv(sets)} WHERE id = ${handle}`
    })

  // --- rows that a server finds

  const fault = (code: number) => ({ _tag: "RpcFault", code, didNotExecute: true })
  const ran = "ran"
  const rows: ReadonlyArray<readonly [string, Row, object | typeof ran]> = [
    ["arguments of the wrong shape", { input: `[1,"two"]` }, fault(1783)],
    ["arguments that are null", { input: "null" }, fault(1783)],
    ["no arguments", { input: "" }, fault(1783)],
    ["arguments that are a number too large", { input: "[1e999]" }, fault(1783)],
    ["arguments with a dangerous name", { input: `{"__proto__":[1]}` }, fault(1783)],
    ["arguments nested deeply", { input: "[".repeat(100_000) }, fault(1783)],
    ["another major version", { interface: `${IBank.uuid} 2` }, fault(0x1c010002)],
    ["a version that is none", { interface: `${IBank.uuid} x` }, fault(0x1c010002)],
    ["a version too large", { interface: `${IBank.uuid} 99999999999999999999` }, fault(0x1c010002)],
    ["no version", { interface: IBank.uuid }, fault(0x1c010002)],
    ["an empty interface", { interface: "" }, fault(0x1c010002)],
    ["a method of every object", { method: "constructor" }, fault(0x1c010002)],
    ["a method of every object, hidden", { method: "__proto__" }, fault(0x1c010002)],
    ["an empty method", { method: "" }, fault(0x1c010002)],
    ["an object that is none", { object: "no uuid" }, fault(0x1c010002)],
    ["a caller cut short", { caller: `{"name":"ali` }, ran],
    ["a caller that is null", { caller: "null" }, ran],
    ["a caller that is a list", { caller: "[7]" }, ran],
    ["a caller of an unknown level", { caller: `{"name":"x","level":"god"}` }, ran],
    ["a trace cut short", { trace: `{"traceId":` }, ran],
    ["a trace that is null", { trace: "null" }, ran],
    ["a trace of numbers", { trace: `{"traceId":7,"spanId":[],"sampled":"x"}` }, ran],
    ["a deadline in a million years", { deadline: 31_556_889_864_403_199n }, ran],
    ["the largest deadline", { deadline: BigInt(huge) }, ran],
    ["a negative deadline", { deadline: -5n }, { _tag: "RpcFault", code: 1460 }],
    ["a begin in the far future", { begun_at: BigInt(huge) }, ran],
    ["no room for one more attempt", { attempts: 2_147_483_647n, yielded: 2_147_483_647n }, { status: 1726 }],
    ["fewer attempts than none", { attempts: -1n }, { status: 1726 }],
    ["an outcome that is none", { outcome: "{", ended_at: BigInt(Date.now()) }, { status: 1726 }],
    ...(isSqlite ? [["attempts that are no number", { attempts: "many" }, { status: 1726 }] as const] : [])
  ]
  alone(
    "rows that are not what was written: each ends alone, with a code, and the others run",
    (world) =>
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank)
        const bad = yield* Effect.forEach(rows, ([what, row, expected]) =>
          Effect.gen(function* () {
            const pending = yield* Call.start(bank, "Add", [1, 2])
            const good = yield* Call.start(bank, "Add", [3, 4])
            yield* change(Durable.handle(pending), row)
            return { what, expected, pending, good }
          }))
        yield* build(serverOf(world, makeBench()))
        for (const { expected, good, pending, what } of bad) {
          assert.strictEqual(yield* Effect.timeout(Call.join(good), "20 seconds"), 7, what)
          const exit = yield* Effect.exit(Effect.timeout(Call.join(pending), "20 seconds"))
          if (expected === ran) assert.deepStrictEqual(exit, Exit.succeed(3), what)
          else assert.deepInclude(yield* Effect.flip(exit), expected as never, what)
        }
        const listed = yield* Stream.runCollect(Durable.list(IBank))
        assert.isAtLeast(listed.length, rows.length)
      })
  )

  atWork(
    "a row that says nothing readable of its caller: the routine sees nobody",
    Effect.gen(function* () {
      const { callerOf } = yield* Effect.promise(() => import("../../src/durable/internal/server.ts"))
      for (
        const text of [
          "",
          "{",
          "null",
          "7",
          "[]",
          `"x"`,
          "{}",
          `{"level":"god"}`,
          `{"name":"x","level":7}`,
          `{"name":"x"}`
        ]
      ) {
        assert.deepStrictEqual(callerOf(text), { level: "none" }, text)
      }
      assert.deepInclude(callerOf(`{"name":"x","level":"integrity"}`), { name: "x", level: "integrity" })
    })
  )

  // --- rows that a client finds

  const outcomes: ReadonlyArray<readonly [string, object]> = [
    [`{"t":"ok"}`, { status: 1726 }],
    [`{"t":"ok","v":"three"}`, { status: 1726 }],
    [`{"t":"ok","v":1e999}`, { status: 1726 }],
    [`{"t":"abort","c":1,"v":{}}`, { _tag: "RpcFault", code: 1 }],
    [`{"t":"abort","v":{}}`, { status: 1726 }],
    [`{"t":"fault","c":-1}`, { status: 1726 }],
    [`{"t":"fault","c":1.5}`, { status: 1726 }],
    [`{"t":"fault","c":1e300}`, { status: 1726 }],
    [`{"t":"fault","c":"5"}`, { status: 1726 }],
    [`{"t":"fault","c":4294967295}`, { _tag: "RpcFault", code: 4294967295 }],
    [`{"t":"cancelled","n":"x"}`, { _tag: "CallCancelled", didNotExecute: false }],
    [`{"t":"lost","s":1727}`, { status: 1727 }],
    [`{"t":"lost","s":1726,"d":{"toString":7}}`, { status: 1726 }],
    [`{"t":"lost","s":"1726","d":""}`, { status: 1726 }],
    [`{"t":"sealed"}`, { status: 1726 }],
    [`{"t":"sealed","v":{}}`, { status: 1726 }],
    [`{"t":["ok"],"v":1}`, { status: 1726 }],
    [`{"__proto__":{"t":"ok","v":1}}`, { status: 1726 }],
    [`[{"t":"ok","v":1}]`, { status: 1726 }],
    ["", { status: 1726 }],
    ["\u2028", { status: 1726 }],
    ["[".repeat(200_000), { status: 1726 }]
  ]
  atRest(
    "an outcome that is none, of another version or of the wrong shape: read with a code by join, resume and peek",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      for (const [outcome, expected] of outcomes) {
        const what = outcome.slice(0, 40)
        const pending = yield* Call.start(bank, "Add", [1])
        const handle = Durable.handle(pending)
        yield* change(handle, { outcome, ended_at: 1 })
        const again = yield* Durable.resume(IBank, "Add", handle)
        yield* Effect.timeout(Call.wait(again), "10 seconds")
        const peeked = yield* Durable.peek(IBank, "Add", handle)
        assert.strictEqual(peeked._tag, "Some", what)
        if (peeked._tag === "Some") assert.deepInclude(yield* Effect.flip(peeked.value), expected as never, what)
        assert.deepInclude(yield* Effect.flip(Call.join(pending)), expected as never, what)
        assert.strictEqual((yield* Effect.flip(Call.finish(again)))._tag, "CallComplete", what)
      }
    })
  )

  atRest(
    "an abort whose fields are not those of its class: 1726",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      for (const v of ["{}", "7", `{"_tag":"Other","balance":1,"on":"x"}`, "null"]) {
        const pending = yield* Call.start(bank, "Pay", { amount: 1, at: new Date(0) })
        yield* change(Durable.handle(pending), { outcome: `{"t":"abort","c":131073,"v":${v}}`, ended_at: 1 })
        assert.deepInclude(yield* Effect.flip(Call.join(pending)), { _tag: "RpcTransportError", status: 1726 })
      }
    })
  )

  const numbers: ReadonlyArray<Row> = [
    { cancel_at: BigInt(huge) },
    { begun_at: BigInt(huge) },
    { begun_at: -BigInt(huge) },
    { attempt_at: BigInt(huge) },
    { deadline: BigInt(huge) },
    { attempts: 2_147_483_647n, yielded: 2_147_483_647n },
    { attempts: -1n },
    { handed_off: -7n },
    ...(isSqlite ? [{ begun_at: "soon" }, { attempts: "many" }, { cancel_at: 1e300 }, { attempts: BigInt(huge) }] : [])
  ]
  alone(
    "numbers that are none or too large: the other calls are listed, waited for, delivered and swept",
    (world) =>
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank)
        const odd = yield* Effect.forEach(
          numbers,
          (row) => Effect.tap(Call.start(bank, "Add", [1]), (pending) => change(Durable.handle(pending), row))
        )
        const good = yield* Call.start(bank, "Add", [1, 2])
        const listed = yield* Stream.runCollect(Durable.list(IBank))
        assert.strictEqual(listed.length, numbers.length + 1)
        yield* build(serverOf(world, makeBench()))
        assert.strictEqual(yield* Effect.timeout(Call.join(good), "20 seconds"), 3)
        for (const pending of odd) {
          const handle = Durable.handle(pending)
          yield* Durable.peek(IBank, "Add", handle)
          yield* Effect.exit(Durable.cancel(handle))
          yield* Effect.exit(Durable.forget(handle))
        }
        yield* (yield* callsOf).record.stalled(Date.now(), 0, 256)
      })
  )

  atRest(
    "a record that is removed while somebody waits: 1726",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const sql = yield* SqlClient.SqlClient
      const pending = yield* Call.start(bank, "Add", [1])
      const object = yield* Call.make(bank)
      const other = yield* Call.begin(object, "Add", [1]).pipe(Durable.key(fresh("removed")))
      for (const one of [pending, other]) yield* sql`DELETE FROM callisto_calls WHERE id = ${Durable.handle(one)}`
      const error = yield* Effect.flip(Effect.timeout(Call.join(pending), "10 seconds"))
      assert.deepInclude(error, { _tag: "RpcTransportError", status: 1726 })
      yield* Call.wait(other)
      assert.deepInclude(yield* Call.state(object), { _tag: "Completed", kind: "lost" })
      assert.deepInclude(yield* Effect.flip(Call.finish(other)), { _tag: "RpcTransportError", status: 1726 })
    })
  )

  // --- handles and tokens

  const longest = 10_000_000
  const texts: ReadonlyArray<readonly [string, string]> = [
    ["nothing", ""],
    ["a NUL", "\0"],
    ["a handle with a NUL", "00000000-0000-4000-8000-00000000000\0"],
    ["a handle and a NUL", "00000000-0000-4000-8000-000000000000\0"],
    ["a handle and a line", "00000000-0000-4000-8000-000000000000\n"],
    ["a handle in capitals", "AAAAAAAA-0000-4000-8000-000000000000"],
    ["half a surrogate pair", "\ud800"],
    ["a wildcard", "%"],
    ["SQL", "' OR '1'='1"],
    ["a path", "../../etc/passwd"],
    ["a long text", "a".repeat(longest)],
    ["a dot", "."],
    ["dots", "...."],
    ["a token without a proof", "00000000-0000-4000-8000-000000000000."],
    ["a token with a long proof", `00000000-0000-4000-8000-000000000000.${"0".repeat(longest)}`],
    ["a token with a NUL", `00000000-0000-4000-8000-000000000000.\0`]
  ]
  atRest(
    "texts that are no handles and no tokens: InvalidAsyncHandle from each operation",
    Effect.gen(function* () {
      for (const [what, text] of texts) {
        const operations: ReadonlyArray<
          Effect.Effect<unknown, { readonly _tag: string; readonly handle?: string }, any>
        > = [
          Durable.resume(IBank, "Add", text),
          Durable.peek(IBank, "Add", text),
          Durable.cancel(text),
          Durable.forget(text),
          Durable.complete(IBank, "Add", text, Exit.succeed(1)),
          Durable.abort(IBank, "Add", text, new Status.RpcFault({ code: 5 }))
        ]
        for (const operation of operations) {
          const failure = yield* Effect.flip(
            operation as Effect.Effect<unknown, { readonly _tag: string; readonly handle?: string }>
          )
          assert.deepInclude(failure, { _tag: "InvalidAsyncHandle", handle: "durable call" }, what)
        }
      }
    })
  )

  atRest(
    "a token where a handle is wanted, and a handle where a token is: InvalidAsyncHandle, and nothing changes",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const handle = Durable.handle(yield* Call.start(bank, "Add", [1]))
      const token = yield* tokenOf(handle)
      const before = yield* rowOf(handle)
      const operations = [
        Durable.resume(IBank, "Add", token),
        Durable.peek(IBank, "Add", token),
        Durable.cancel(token),
        Durable.forget(token),
        Durable.complete(IBank, "Add", handle, Exit.succeed(1)),
        Durable.complete(IBank, "Add", `${handle}.${handle}`, Exit.succeed(1)),
        Durable.complete(IBank, "Add", `${token}0`, Exit.succeed(1)),
        Durable.complete(IBank, "Add", token.slice(0, -1), Exit.succeed(1))
      ]
      for (const operation of operations) {
        assert.strictEqual(
          (yield* Effect.flip(operation as Effect.Effect<unknown, Status.CallPending>))._tag as string,
          "InvalidAsyncHandle"
        )
      }
      assert.deepStrictEqual(yield* rowOf(handle), before)
      // The token of another call proves nothing of this one.
      const other = Durable.handle(yield* Call.start(bank, "Add", [1]))
      const proof = (yield* tokenOf(other)).split(".")[1]
      const forged = Durable.complete(IBank, "Add", `${handle}.${proof}`, Exit.succeed(1))
      assert.strictEqual((yield* Effect.flip(forged))._tag, "InvalidAsyncHandle")
    })
  )

  atRest(
    "handles: random, or a hash that does not tell its key; another interface, version, method or object has another",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const handleOf = <E>(start: Effect.Effect<Call.Pending.Any, E, Scope.Scope>) => Effect.map(start, Durable.handle)
      const key = fresh("secret name")
      const named = yield* handleOf(Call.start(bank, "Add", [1]).pipe(Durable.key(key)))
      assert.match(named, /^[0-9a-f]{64}$/)
      assert.match(yield* handleOf(Call.start(bank, "Add", [1])), /^[0-9a-f]{8}-[0-9a-f]{4}-4/)
      const object = "0f4c2f77-93d5-4b0e-a3ad-3c2d6a8f2b10"
      const newer = Interface.make("IBank", {
        uuid: IBank.uuid,
        version: [2, 0],
        methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
      })
      const minor = Interface.make("IBank", {
        uuid: IBank.uuid,
        version: [1, 9],
        methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
      })
      const others = [
        yield* handleOf(Call.start(yield* Durable.binding(IBank, { object }), "Add", [1]).pipe(Durable.key(key))),
        yield* handleOf(Call.start(yield* Durable.binding(newer), "Add", [1]).pipe(Durable.key(key))),
        yield* handleOf(Call.start(bank, "Stop", { name: "x" }).pipe(Durable.key(key))),
        yield* handleOf(Call.start(bank, "Add", [1]).pipe(Durable.key(`${key}\0`)))
      ]
      assert.strictEqual(new Set([named, ...others]).size, 5)
      assert.strictEqual(
        yield* handleOf(Call.start(yield* Durable.binding(minor), "Add", [1]).pipe(Durable.key(key))),
        named
      )
    })
  )

  // --- texts of every kind

  const IText = Interface.make("IText", {
    uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b52",
    version: [1, 0],
    methods: { Say: Interface.method({ in: { text: Schema.String }, out: { text: Schema.String } }) }
  })
  const said = [
    "",
    "\0",
    "a\0b",
    "\ud800",
    "\udc00x",
    "\u2028\u2029",
    "💥",
    "\\u0000",
    "\uffff\ufffe",
    "'; --",
    "x".repeat(1_000_000)
  ]
  atRest(
    "texts with NUL, half pairs and all the rest as arguments, results, keys and names: kept as they are",
    Effect.gen(function* () {
      for (const text of said) {
        const what = JSON.stringify(text.slice(0, 20))
        const binding = yield* Durable.binding(IText, { caller: { name: text, level: "integrity" } })
        const key = `${fresh("text")} ${text}`
        const begin = Call.start(binding, "Say", { text }).pipe(Durable.key(key))
        const pending = yield* begin
        const handle = Durable.handle(pending)
        assert.strictEqual(Durable.handle(yield* begin), handle, what)
        assert.deepStrictEqual(JSON.parse((yield* rowOf(handle))!.input), { text }, what)
        const other = Call.start(binding, "Say", { text: `${text}.` }).pipe(Durable.key(key))
        assert.strictEqual((yield* Effect.flip(other))._tag, "BadStubData", what)
        assert.isTrue(yield* Durable.complete(IText, "Say", yield* tokenOf(handle), Exit.succeed({ text })))
        assert.deepStrictEqual(yield* Call.join(pending), { text }, what)
      }
    })
  )

  atRest(
    "a failure whose words hold a NUL: kept, and told",
    Effect.gen(function* () {
      const bank = yield* Durable.binding(IBank)
      const pending = yield* Call.start(bank, "Add", [1])
      const lost = new Status.RpcTransportError({ status: 1726, detail: "a\0b" })
      assert.isTrue(yield* Durable.abort(IBank, "Add", yield* tokenOf(Durable.handle(pending)), lost))
      assert.deepInclude(yield* Effect.flip(Call.join(pending)), { status: 1726 })
    })
  )

  atRest(
    "a method with a name that no record could hold: the binding is refused in words, or the call is begun",
    Effect.gen(function* () {
      const long = "M".repeat(129)
      const exit = yield* Effect.exit(Effect.gen(function* () {
        const iface = Interface.make("ILong", {
          uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b53",
          version: [65_535, 65_535],
          methods: { [long]: Interface.method({}) }
        })
        const binding = yield* Durable.binding(iface)
        return yield* Call.start(binding as never, long as never) as unknown as Effect.Effect<unknown>
      }))
      if (exit._tag === "Failure") assert.match(String(exit), /name.*128/)
    })
  )

  // --- ages

  for (const maximumAge of ["1.5 millis", 1.25, Number.MAX_VALUE, "300000 days", { seconds: 2.0005 }] as const) {
    atRest(
      `a maximumAge of ${JSON.stringify(maximumAge)}: kept as whole milliseconds, or as no deadline`,
      Effect.gen(function* () {
        const bank = yield* Durable.binding(IBank, { maximumAge: maximumAge as never })
        const pending = yield* Call.start(bank, "Add", [1])
        const row = yield* rowOf(Durable.handle(pending))
        assert.isTrue(row!.deadline === null || Number.isInteger(Number(row!.deadline)))
      })
    )
  }

  alone(
    "keepFinished and keepEnded that are no whole milliseconds, or without end: the rest is swept",
    () =>
      Effect.gen(function* () {
        const { sweep } = yield* Effect.promise(() => import("../../src/durable/internal/server.ts"))
        const calls = yield* callsOf
        const bank = yield* Durable.binding(IBank)
        const ended = Effect.gen(function* () {
          const pending = yield* Call.start(bank, "Add", [1])
          const handle = Durable.handle(pending)
          yield* Durable.cancel(handle)
          yield* Effect.exit(Call.join(pending))
          yield* change(handle, { ended_at: 1n, finished_at: 1n })
          return handle
        })
        const first = yield* ended
        yield* sweep(calls, Date.now(), { keepFinished: 0.5, keepEnded: Infinity })
        assert.isUndefined(yield* rowOf(first))
        const second = yield* ended
        yield* sweep(calls, Date.now(), { keepFinished: Infinity, keepEnded: Infinity })
        assert.isDefined(yield* rowOf(second))
        yield* change(second, { finished_at: null, finished_by: null })
        yield* sweep(calls, Date.now(), { keepFinished: Infinity, keepEnded: 1.5 })
        assert.isUndefined(yield* rowOf(second))
      })
  )

  alone(
    "ended for longer than keepEnded, and taken just now: kept for keepFinished",
    () =>
      Effect.gen(function* () {
        const { sweep } = yield* Effect.promise(() => import("../../src/durable/internal/server.ts"))
        const calls = yield* callsOf
        const pending = yield* Call.start(yield* Durable.binding(IBank), "Add", [1])
        const handle = Durable.handle(pending)
        yield* Durable.cancel(handle)
        yield* Call.wait(pending)
        const day = 86_400_000
        const now = Date.now()
        yield* change(handle, { ended_at: BigInt(now - 8 * day) })
        yield* Effect.exit(Call.finish(pending))
        const times = { keepFinished: day, keepEnded: 7 * day }
        yield* sweep(calls, now, times)
        assert.isDefined(yield* rowOf(handle))
        yield* sweep(calls, now + 2 * day, times)
        assert.isUndefined(yield* rowOf(handle))
      })
  )

  alone(
    "ended by its token, and the answer of the database is lost: complete gives true",
    () =>
      Effect.gen(function* () {
        const calls = yield* callsOf
        const pending = yield* Call.start(yield* Durable.binding(IBank), "Add", [1])
        const other = yield* Call.start(yield* Durable.binding(IBank), "Add", [1])
        const { endAll } = calls.record
        const lost = new SqlError({ reason: new ConnectionError({ cause: new Error("reset"), operation: "execute" }) })
        yield* Effect.acquireRelease(
          Effect.sync(() =>
            void Object.assign(calls.record, {
              endAll: (...all: Parameters<typeof endAll>) => Effect.andThen(endAll(...all), Effect.fail(lost))
            })
          ),
          () => Effect.sync(() => void Object.assign(calls.record, { endAll }))
        )
        const complete = (handle: string, value: number) =>
          Effect.flatMap(tokenOf(handle), (token) => Durable.complete(IBank, "Add", token, Exit.succeed(value)))
        assert.isTrue(yield* complete(Durable.handle(pending), 5))
        yield* Durable.cancel(Durable.handle(other))
        assert.isFalse(yield* complete(Durable.handle(other), 5))
        assert.strictEqual(yield* Call.join(pending), 5)
      })
  )
}
