// The page: calls the server from which it came, and a worker of its own. server.ts bundles and serves it.
import { Call } from "@callisto/rpc"
import { Association } from "@callisto/rpc/dcerpc"
import { Transport } from "@callisto/rpc/transport"
import * as Web from "@callisto/rpc/web"
import { Effect, Stream } from "effect"
import { IWords } from "./words.ts"

interface Element {
  textContent: string | null
  value: string
  addEventListener(type: "click" | "change", listener: () => void): void
}

declare const document: { getElementById(id: string): Element }
declare const location: { readonly href: string }
declare const Worker: new (url: string, options: { readonly type: "module" }) => Web.WorkerLike

const element = (id: string) => document.getElementById(id)

/** Runs an effect at each click, and shows its result or its failure. */
const on = (id: string, output: string, effect: Effect.Effect<string, { readonly message: string }>) =>
  element(id).addEventListener("click", () => {
    const show = (text: string) => {
      element(output).textContent = text
    }
    show("…")
    Effect.runFork(Effect.map(Effect.match(effect, { onSuccess: (text) => text, onFailure: String }), show))
  })

const worker = new Worker("worker.js", { type: "module" })
element("kill").addEventListener("click", () => worker.terminate())

const program = Effect.gen(function* () {
  const server = yield* Association.bind(IWords, Web.bindingOf(new URL("rpc", location.href)))
  // A browser does not tell that a worker is gone: the keep-alive finds it.
  const own = yield* Association.bind(IWords, "ncacn_messageport:[words]", { keepAlive: "1 second" })
  const clients = { server: Call.client(server), worker: Call.client(own) }
  const words = () => clients[element("to").value as keyof typeof clients]

  // A call is an effect.
  const count = Effect.suspend(() => words().Count(element("text").value))
  on("greet", "greeting", Effect.suspend(() => words().Greet()))
  on("count", "counted", Effect.map(count, (words) => `${words} words`))
  const many = Effect.all(Array.from({ length: 1000 }, () => count), { concurrency: "unbounded" })
  on("many", "counted", Effect.map(many, (counts) => `${counts.length} calls, ${new Set(counts).size} result`))

  // A call is also a value: begun here, cancelled there.
  let thinking: Call.Pending<typeof IWords, "Think"> | undefined
  const think = Effect.gen(function* () {
    thinking = yield* words().Think.begin({ seconds: 60 })
    return yield* Call.join(thinking)
  })
  on("think", "thought", Effect.scoped(think))
  element("cancel").addEventListener("click", () => {
    if (thinking !== undefined) Effect.runFork(Effect.ignore(Call.cancel(thinking)))
  })

  // Pipes are streams and sinks.
  const parts = Stream.range(1, 64).pipe(Stream.map(() => new Uint8Array(65_536).fill(97)))
  const measure = Effect.suspend(() => Stream.run(parts, words().Measure.sink()))
  on("measure", "piped", Effect.map(measure, ({ bytes }) => `${bytes} bytes arrived`))
  const recite = Effect.suspend(() => Stream.runCount(words().Recite.stream({ lines: 10_000 })))
  on("recite", "piped", Effect.map(recite, (lines) => `${lines} lines came`))

  element("greeting").textContent = yield* words().Greet()
  return yield* Effect.never
}).pipe(Effect.scoped, Effect.provide(Transport.mergeAll(Web.layer, Web.layerWorker(() => worker))))

Effect.runFork(Effect.catch(program, ({ message }) =>
  Effect.sync(() => {
    element("greeting").textContent = message
  })))
