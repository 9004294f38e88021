// The page: calls the server from which it came, and a worker of its own. server.ts bundles and serves it.
import { Call, type Status } from "@callisto/rpc"
import { Association } from "@callisto/rpc/dcerpc"
import { Transport } from "@callisto/rpc/transport"
import * as Web from "@callisto/rpc/web"
import { Effect, Exit, Stream } from "effect"
import { IWords } from "./words.ts"

interface Element {
  textContent: string
  value: string
  addEventListener(type: "click" | "change", listener: () => void): void
}

declare const document: { getElementById(id: string): Element }
declare const location: { readonly href: string }
declare const Worker: new (url: URL, options: { readonly type: "module" }) => Web.WorkerLike

const element = (id: string) => document.getElementById(id)

const worker = new Worker(new URL("worker.js", location.href), { type: "module" })
const transport = Transport.mergeAll(Web.layer, Web.layerWorker(() => worker))

const program = Effect.gen(function* () {
  const clients: { readonly [to: string]: Call.Client<typeof IWords> } = {
    server: Call.client(yield* Association.bind(IWords, Web.bindingOf(new URL("rpc", location.href)))),
    // A browser does not tell that a worker is gone: the keep-alive finds it.
    worker: Call.client(
      yield* Association.bind(IWords, "ncacn_messageport:[words]", { keepAlive: "1 second" })
    )
  }
  const words = () => clients[element("to").value]!

  /** Runs an effect at each click, and shows how it ends. */
  const on = (id: string, output: string, effect: Effect.Effect<string, { readonly message: string }>) =>
    element(id).addEventListener("click", () => {
      element(output).textContent = "…"
      Effect.runFork(
        Effect.matchCause(effect, {
          onSuccess: (text) => text,
          onFailure: (cause) => Exit.failCause(cause).toString()
        }).pipe(Effect.map((text) => {
          element(output).textContent = text
        }))
      )
    })

  const greet = Effect.suspend(() => words().Greet())
  const count = Effect.suspend(() => words().Count(element("text").value))
  on("count", "counted", Effect.map(count, (words) => `${words} words`))
  on(
    "many",
    "counted",
    Effect.map(
      Effect.all(Array.from({ length: 1000 }, () => count), { concurrency: "unbounded" }),
      (counts) => `${counts.reduce((sum, words) => sum + words, 0)} words in ${counts.length} calls`
    )
  )
  return yield* Effect.never
}).pipe(Effect.scoped, Effect.provide(transport))

Effect.runFork(program)
