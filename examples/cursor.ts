// A database cursor as a context handle. Two clients run in processes of their own: one closes its cursor, the other is killed
// in the middle. The server notices that, and runs its cursor down.
// Run it: deno run -A examples/cursor.ts (or: bun examples/cursor.ts)
import { spawn } from "node:child_process"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { Console, Deferred, Effect, Exit, Schema } from "effect"
import { Call, ContextHandle, Interface, Manager, Server } from "@callisto/rpc"
import { Association, Endpoint } from "@callisto/rpc/dcerpc"
import { StringBinding } from "@callisto/rpc/transport"
import * as NodeTransport from "@callisto/rpc/node"

// ----------------------------------------------------------------------------
// the interface
// ----------------------------------------------------------------------------

const Cursor = ContextHandle.make("Cursor")

const IDatabase = Interface.make("IDatabase", {
  methods: {
    Open: Interface.method({ in: { table: Schema.String }, out: { cursor: Cursor } }),
    Fetch: Interface.method({ in: { cursor: Cursor, count: Schema.Int }, out: { rows: Schema.Array(Schema.String) } }),
    Close: Interface.method({ in: { cursor: Cursor }, out: { cursor: ContextHandle.nullable(Cursor) } })
  }
})

// ----------------------------------------------------------------------------
// the server
// ----------------------------------------------------------------------------

interface Cursor {
  readonly table: string
  at: number
}

/** Opens a cursor. Its table stays locked until the scope closes. */
const openCursor = (table: string) =>
  Effect.acquireRelease(
    Effect.as(Console.log(`server  ${table} is locked`), { table, at: 0 } as Cursor),
    ({ at }, exit) =>
      Console.log(
        `server  ${table} is unlocked: its cursor was ${Exit.isSuccess(exit) ? "closed" : "run down"} at row ${at}`
      )
  )

const cursors = ContextHandle.states<Cursor>()(Cursor)

const manager = Manager.make(IDatabase, {
  Open: ({ table }, call) => Effect.map(cursors.open(call, openCursor(table)), (cursor) => ({ cursor })),
  Fetch: Effect.fnUntraced(function* ({ count, cursor }, call) {
    const position = yield* cursors.get(call, cursor)
    return { rows: Array.from({ length: count }, () => `${position.table} ${++position.at}`) }
  }),
  Close: ({ cursor }, call) => Effect.map(cursors.close(call, cursor), (cursor) => ({ cursor }))
})

/** Runs this file as a client in a process of its own, which ends with the scope. */
const startClient = (...args: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const runtime = process.versions["deno"] === undefined ? process.execArgv : ["run", "-A"]
      const file = fileURLToPath(import.meta.url)
      const child = spawn(process.execPath, [...runtime, file, ...args], { stdio: ["ignore", "pipe", "inherit"] })
      const ended = Deferred.makeUnsafe<void>()
      child.on("close", () => Deferred.doneUnsafe(ended, Exit.void))
      /** Waits until the client has said something. */
      const said = (text: string) =>
        Effect.callback<void>((resume) => {
          child.stdout.on("data", (chunk) => String(chunk).includes(text) && resume(Effect.void))
        })
      child.stdout.on("data", (chunk) => process.stdout.write(chunk))
      return { ended: Deferred.await(ended), kill: Effect.sync(() => child.kill("SIGKILL")), said }
    }),
    ({ ended, kill }) => Effect.andThen(kill, ended)
  )

const runServer = Effect.gen(function* () {
  const server = yield* Server.make([manager])
  const { address } = yield* Endpoint.serve(server, "ncacn_ip_tcp:127.0.0.1[0]")
  const binding = StringBinding.print(address)

  const polite = yield* startClient(binding, "customers", "close")
  yield* polite.ended

  const unlucky = yield* startClient(binding, "orders", "stay")
  yield* unlucky.said("orders 4")
  yield* Console.log("server  I kill the client")
  yield* unlucky.kill
  yield* unlucky.ended
  yield* Effect.sleep("500 millis")
  yield* Console.log("server  I stop")
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

// ----------------------------------------------------------------------------
// the client
// ----------------------------------------------------------------------------

const runClient = Effect.fnUntraced(
  function* (binding: string, table: string, then: string) {
    const database = Call.client(yield* Association.bind(IDatabase, binding))
    const { cursor } = yield* database.Open({ table })
    for (let i = 0; i < 2; i++) {
      const { rows } = yield* database.Fetch({ cursor, count: 2 })
      yield* Console.log(`client  ${rows.join(", ")}`)
    }
    if (then === "stay") return yield* Effect.never
    yield* database.Close({ cursor })
    const refused = yield* Effect.flip(database.Fetch({ cursor, count: 2 }))
    yield* Console.log(`client  ${refused._tag}: ${refused.message}`)
  },
  Effect.scoped,
  Effect.provide(NodeTransport.layer)
)

const [binding, table = "", then = ""] = process.argv.slice(2)

if (binding === undefined) await Effect.runPromise(runServer)
else await Effect.runPromise(runClient(binding, table, then))
