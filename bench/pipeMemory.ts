// Sends 1 GiB through an in pipe and an out pipe over TCP on this machine, client and server in processes of their own. Every 50 ms it
// looks at the memory of both, which may grow by 64 MiB after the first 64 MiB. Then the same with a slow reader, for whom the writer
// has to wait. Not among the tests, because it takes too long and needs the machine for itself.
//
//   npm run memory [-- --quick]
//
// --quick sends a quarter.
import { Effect, Schema, Stream } from "effect"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { Call, Interface, Manager, Pipe, Server, ServerCall } from "../mod.ts"
import { Association, Endpoint } from "../src/dcerpc.ts"
import { Ndr } from "../src/ndr.ts"
import * as NodeTransport from "../src/node.ts"
import { start } from "./processes.ts"

const mebi = 0x100000
const total = (process.argv.includes("--quick") ? 256 : 1024) * mebi
const warmUp = 64 * mebi
const allowed = 64 * mebi
const chunkSize = 0x10000
/** How long a slow reader is looked at, and how long it sleeps after each chunk. */
const slowMillis = 3000
const pauseMillis = 5

const makeInterface = (uuid: string, boolean: typeof Schema.Boolean, number: typeof Schema.Int) =>
  Interface.make("IFlow", {
    uuid,
    version: [1, 0],
    methods: {
      Upload: Interface.method({ in: { slow: boolean }, inPipe: { bytes: Pipe.bytes }, out: { size: number } }),
      Download: Interface.method({ in: { slow: boolean }, outPipe: { bytes: Pipe.bytes } }),
      /** How far the memory of the server has grown during the call before. */
      Look: Interface.method({ out: { growth: number } })
    }
  })

/** The same interface, in Callisto's own transfer syntax and in NDR. */
const interfaces = {
  schemas: makeInterface("1d6e0c5b-52a7-4a0f-9d3e-8b7c6f5a4e91", Schema.Boolean, Schema.Int),
  NDR: makeInterface("1d6e0c5b-52a7-4a0f-9d3e-8b7c6f5a4e92", Ndr.Boolean, Ndr.Uint32)
}

/** The memory of this process, from the moment on when enough has moved. */
const watch = { first: 0, peak: 0, moved: 0, least: warmUp }

const reset = (slow: boolean) => Object.assign(watch, { first: 0, peak: 0, moved: 0, least: slow ? mebi : warmUp })

const growth = (): number => watch.peak - watch.first

const watching = Effect.forever(Effect.andThen(
  Effect.sync(() => {
    if (watch.moved < watch.least) return
    const { rss } = process.memoryUsage()
    watch.first ||= rss
    watch.peak = Math.max(watch.peak, rss)
  }),
  Effect.sleep("50 millis")
))

/** Fresh chunks, as a program has them that reads a file, until there are enough of them or the time is over. */
const chunks = (slow: boolean): Stream.Stream<Uint8Array> => {
  const end = slow ? Date.now() + slowMillis : Infinity
  return Stream.unfold(0, (sent: number) =>
    Effect.sync(() => {
      if (slow ? Date.now() > end : sent >= total) return undefined
      watch.moved += chunkSize
      return [new Uint8Array(chunkSize), sent + chunkSize] as const
    }))
}

/** Reads a pipe to its end. */
const drain = <E>(pipe: Pipe.Reader<Uint8Array, E>, slow: boolean) => {
  const end = slow ? Date.now() + slowMillis : Infinity
  const pull = Effect.tap(
    Pipe.pull(pipe, chunkSize),
    () => slow && Date.now() < end ? Effect.sleep(pauseMillis) : Effect.void
  )
  return Effect.gen(function* () {
    let size = 0
    for (let chunk = yield* pull; chunk.length > 0; chunk = yield* pull) {
      size += chunk.length
      watch.moved += chunk.length
    }
    return { size }
  })
}

const makeManager = (flow: typeof interfaces.NDR) =>
  Manager.make(flow, {
    Upload: ({ slow }, call) =>
      Effect.suspend(() => {
        reset(slow)
        return drain(ServerCall.inPipe(call, "bytes"), slow)
      }),
    Download: ({ slow }, call) =>
      Effect.suspend(() => {
        reset(slow)
        return Stream.run(chunks(slow), Pipe.toSink(ServerCall.outPipe(call, "bytes")))
      }),
    Look: () => Effect.sync(() => ({ growth: growth() }))
  })

const serve = Effect.gen(function* () {
  const server = yield* Server.make(Object.values(interfaces).map(makeManager))
  const { address } = yield* Endpoint.serve(server, "ncacn_ip_tcp:127.0.0.1[0]")
  console.log(address.endpoint)
  return yield* Effect.never
})

/** Gives whether all went well. */
const measure = (flow: typeof interfaces.NDR) =>
  Effect.gen(function* () {
    const server = yield* start<never, number>(fileURLToPath(import.meta.url), "serve", ...process.argv.slice(3))
    const flows = yield* Association.bind(flow, `ncacn_ip_tcp:127.0.0.1[${server.first}]`)
    let good = true
    const tell = (name: string, value: number, limit: number) => {
      good &&= value <= limit
      const verdict = value <= limit ? "ok    " : "FAILED"
      console.log(`${verdict} ${name}: ${(value / mebi).toFixed(1)} MiB, at most ${limit / mebi} MiB`)
    }
    for (const slow of [false, true]) {
      for (const method of ["Upload", "Download"] as const) {
        reset(slow)
        const begun = Date.now()
        const download = Effect.scoped(Effect.gen(function* () {
          const pending = yield* Call.begin(yield* Call.make(flows), "Download", { slow })
          const drained = yield* drain(Call.outPipe(pending, "bytes"), slow)
          yield* Call.join(pending)
          return drained
        }))
        const { size } = yield* method === "Upload"
          ? Stream.run(chunks(slow), Call.sink(flows, "Upload", { slow }))
          : download
        const seconds = ((Date.now() - begun) / 1000).toFixed(1)
        const row = `${method}${slow ? " with a slow reader" : ""}, ${(size / mebi).toFixed(0)} MiB in ${seconds} s`
        tell(`${row}: growth of the client`, growth(), allowed)
        tell(`${row}: growth of the server`, (yield* Call.invoke(flows, "Look")).growth, allowed)
        if (!slow) tell(`${row}: what is missing`, total - size, 0)
      }
    }
    return good
  })

const tasks: { readonly [name: string]: ReturnType<typeof measure> | typeof serve } = {
  serve,
  schemas: measure(interfaces.schemas),
  NDR: measure(interfaces.NDR)
}

const task = Effect.gen(function* () {
  yield* Effect.forkScoped(watching)
  return yield* tasks[process.argv[2]!]!
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

process.exit(await Effect.runPromise(task) ? 0 : 1)
