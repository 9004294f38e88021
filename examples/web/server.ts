// A web server for the page of this folder: it bundles the page and its worker, and serves IWords at /rpc over WebSockets. Each visitor
// gets a session in a cookie, and is the caller of the calls.
// Run it after npm ci: npm run web (or: bun examples/web/server.ts, deno run -A --config deno.json examples/web/server.ts).
// It listens on --port 8080 by default.
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { build } from "esbuild"
import { randomUUID } from "node:crypto"
import { readFileSync } from "node:fs"
import { createServer } from "node:http"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { Server } from "@callisto/rpc"
import * as Web from "@callisto/rpc/web"
import { Console, Effect, Layer } from "effect"
import { HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
import { words } from "./manager.ts"
import { IWords } from "./words.ts"

const { values: { port } } = parseArgs({ options: { port: { type: "string", default: "8080" } } })

const fileOf = (name: string) => fileURLToPath(new URL(name, import.meta.url))

const { outputFiles } = await build({
  entryPoints: [fileOf("page.ts"), fileOf("worker.ts")],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  outdir: "/",
  write: false
})

const script = (index: number) =>
  HttpServerResponse.text(outputFiles[index]!.text, { contentType: "text/javascript; charset=utf-8" })

// ----------------------------------------------------------------------------
// visitors
// ----------------------------------------------------------------------------

const visitors = new Map<string, string>()

const page = Effect.sync(() => {
  const session = randomUUID()
  visitors.set(session, `visitor ${visitors.size + 1}`)
  return HttpServerResponse.text(readFileSync(fileOf("index.html"), "utf8"), {
    contentType: "text/html; charset=utf-8",
    headers: { "set-cookie": `session=${session}; Path=/; HttpOnly; SameSite=Strict` }
  })
})

const caller: Web.Options["caller"] = ({ cookies }) => {
  const name = visitors.get(cookies["session"] ?? "")
  return name === undefined
    ? Effect.fail(new Web.Refused({ status: 401, detail: "open the page first" }))
    : Effect.succeed({ name, level: "connect" })
}

// ----------------------------------------------------------------------------
// the program
// ----------------------------------------------------------------------------

const routes = Layer.mergeAll(
  HttpRouter.add("GET", "/", page),
  HttpRouter.add("GET", "/page.js", script(0)),
  HttpRouter.add("GET", "/worker.js", script(1)),
  Web.httpRouter("/rpc", { caller }).pipe(Layer.provide(Server.layer([IWords])), Layer.provide(words))
)

const web = NodeHttpServer.layer(createServer, {
  host: "127.0.0.1",
  port: Number(port),
  // WebSockets count as open requests: the server waits for them so long before it ends the calls.
  gracefulShutdownTimeout: "1 second",
  websocket: { maxPayload: 0x100000 }
})

const live = HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }).pipe(Layer.provideMerge(web))

const stopSignal = Effect.callback<void>((resume) => {
  const stop = () => resume(Effect.void)
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, stop)
})

const program = Effect.gen(function* () {
  yield* HttpServer.addressFormattedWith((address) => Console.log(`listening, open ${address} in a browser`))
  yield* stopSignal
}).pipe(Effect.provide(live))

const main = Effect.catch(program, (error) =>
  Effect.sync(() => {
    console.error(String(error.cause ?? error))
    process.exitCode = 1
  }))

await Effect.runPromise(main)
