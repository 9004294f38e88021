// Calls the rpcecho interface of any DCE/RPC server: each method, several calls at once, a cancel, an orphan and a fault.
// Run it: deno run -A examples/rpcecho_client.ts (or: bun examples/rpcecho_client.ts) while rpcecho_server.ts runs.
// The server's string binding is the argument; by default it is ncacn_ip_tcp:127.0.0.1[8765].
import process from "node:process"
import { Console, Effect } from "effect"
import { Call } from "@callisto/rpc"
import { Association } from "@callisto/rpc/dcerpc"
import * as NodeTransport from "@callisto/rpc/node"
import { IRpcEcho } from "./rpcecho.ts"

const binding = process.argv[2] ?? "ncacn_ip_tcp:127.0.0.1[8765]"

const start = performance.now()
const say = (line: string) =>
  Effect.suspend(() => Console.log(`${(performance.now() - start).toFixed(0).padStart(5)} ms  ${line}`))

const show = (value: unknown) =>
  value instanceof Uint8Array
    ? `${value.length} bytes`
    : JSON.stringify(value, (_, item) => typeof item === "bigint" ? Number(item) : item)

const program = Effect.gen(function* () {
  const echo = Call.client(yield* Association.bind(IRpcEcho, binding))
  yield* say(`bound to ${binding}`)

  const data = Uint8Array.from({ length: 100_000 }, (_, i) => i * 7)
  yield* say(`AddOne(41): ${(yield* echo.AddOne({ value: 41 })).value}`)
  yield* say(`EchoData: ${show((yield* echo.EchoData({ data })).data)} came back`)
  yield* echo.SinkData({ data })
  yield* say(`SinkData: took ${show(data)}`)
  yield* say(`SourceData(1000): ${show((yield* echo.SourceData({ len: 1000 })).data)}`)
  yield* say(`TestCall: ${(yield* echo.TestCall({ s1: "grüß Gott" })).s2}`)
  for (let level = 1; level <= 7; level++) {
    yield* say(`TestCall2(${level}): ${show((yield* echo.TestCall2({ level })).info)}`)
  }
  const enums = { foo2: { e1: 1, e2: 2 }, foo3: { case: 1, value: 2 } } as const
  yield* say(`TestEnum: ${show(yield* echo.TestEnum(enums))}`)
  const surrounding = { data: { surrounding: [1, 2, 3] } }
  yield* say(`TestSurrounding: ${show(yield* echo.TestSurrounding(surrounding))}`)
  yield* say(`TestDoublePointer(12): ${(yield* echo.TestDoublePointer({ data: 12 })).value}`)
  yield* say(`TestDoublePointer(null): ${(yield* echo.TestDoublePointer({ data: null })).value}`)

  const fault = yield* Effect.flip(echo.TestCall2({ level: 99 }))
  yield* say(`TestCall2(99): ${fault.message}`)

  // One connection carries ten calls that take a second each, and one that takes no time.
  const sleeps = yield* Effect.forEach(
    Array.from({ length: 10 }),
    () => echo.TestSleep.begin({ seconds: 1 })
  )
  yield* say("ten calls of TestSleep(1) are begun")
  yield* say(`meanwhile AddOne(1): ${(yield* echo.AddOne({ value: 1 })).value}`)
  yield* Effect.forEach(sleeps, (sleep) => Call.join(sleep))
  yield* say("all ten have slept")

  // With an infinite timeout the client waits for the server's answer to the cancel.
  const long = yield* echo.TestSleep.begin({ seconds: 60 })
  yield* Effect.sleep("100 millis")
  yield* Call.cancel(long, { timeout: "Infinity" })
  yield* say(`TestSleep(60), cancelled: ${(yield* Effect.flip(Call.join(long))).message}`)

  // The end of the scope releases the call object while its call is pending.
  yield* Effect.scoped(Effect.gen(function* () {
    yield* echo.TestSleep.begin({ seconds: 61 })
    yield* Effect.sleep("100 millis")
  }))
  yield* say("TestSleep(61): begun and left; the server is told")
  yield* say(`the connection goes on, AddOne(2): ${(yield* echo.AddOne({ value: 2 })).value}`)
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

const main = Effect.catch(program, (error) =>
  Effect.sync(() => {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  }))

await Effect.runPromise(main)
