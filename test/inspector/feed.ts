// Looks at an inspector as a page or a terminal does, by bare HTTP.
import { Context, Deferred, Effect, Exit, Layer, Logger, Queue, Redacted, Scope } from "effect"
import * as http from "node:http"
import * as Inspector from "../../src/inspector.ts"
import type { Message, Row } from "../../src/inspector/internal/feed.ts"

export interface Answer {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly text: string
}

export interface Asking {
  readonly method?: string
  readonly headers?: { readonly [name: string]: string }
  readonly body?: string
}

/** A running inspector, its context, and what it has logged. */
export const inspect = (options?: Inspector.Options, parent?: Scope.Scope) =>
  Effect.gen(function* () {
    const logged: Array<string> = []
    const log = Logger.make<unknown, void>(({ message }) => void logged.push([message].flat().map(String).join(" ")))
    const scope = yield* Scope.fork(parent ?? (yield* Effect.scope))
    const context = yield* Layer.buildWithScope(
      Layer.provide(Inspector.layer(options), Logger.layer([log])),
      scope
    )
    const { origin, url } = Context.get(context, Inspector.Inspector)
    const token = /#token=(.*)$/.exec(Redacted.value(url))![1]!
    return { context, origin, url: Redacted.value(url), token, logged, close: Scope.close(scope, Exit.void) }
  })

/** One request with its answer. */
export const ask = (url: string, { body, headers = {}, method = "GET" }: Asking = {}) =>
  Effect.callback<Answer, Error>((resume) => {
    const request = http.request(url, { method, headers: { ...headers }, agent: false }, (response) => {
      let text = ""
      response.setEncoding("utf8")
      response.on("data", (chunk) => text += chunk)
      response.on(
        "end",
        () => resume(Effect.succeed({ status: response.statusCode!, headers: response.headers, text }))
      )
      response.on("error", (error) => resume(Effect.fail(error)))
    })
    request.on("error", (error) => resume(Effect.fail(error)))
    request.end(body)
  })

export const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

/** Looks: gives the messages as they come, until the scope closes. */
export const look = (origin: string, token: string) =>
  Effect.gen(function* () {
    const messages = yield* Queue.unbounded<Message>()
    const ended = yield* Deferred.make<void>()
    const begun = yield* Deferred.make<number, Error>()
    const request = http.get(`${origin}/calls`, { headers: bearer(token), agent: false }, (response) => {
      let rest = ""
      Deferred.doneUnsafe(begun, Exit.succeed(response.statusCode!))
      response.setEncoding("utf8")
      response.on("data", (chunk: string) => {
        const lines = (rest + chunk).split("\n")
        rest = lines.pop()!
        for (const line of lines) Queue.offerUnsafe(messages, JSON.parse(line))
      })
      const done = () => Deferred.doneUnsafe(ended, Exit.void)
      response.on("end", done)
      response.on("close", done)
      response.on("error", done)
    })
    request.on("error", (error) => Deferred.doneUnsafe(begun, Exit.fail(error)))
    yield* Effect.addFinalizer(() => Effect.sync(() => request.destroy()))
    const status = yield* Deferred.await(begun)
    const calls = new Map<number, Row>()
    /** Reads on until the calls that are known are as wanted. */
    const until = (isWanted: (calls: ReadonlyArray<Row>, message: Message) => boolean) =>
      Effect.gen(function* () {
        while (true) {
          const message = yield* Queue.take(messages)
          if (message.type === "calls") {
            if (message.all) calls.clear()
            for (const call of message.calls) calls.set(call.id, call)
          }
          if (isWanted([...calls.values()], message)) return [...calls.values()]
        }
      })
    return { status, messages, until, ended: Deferred.await(ended) }
  })
