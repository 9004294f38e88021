/// <reference types="node" />
/**
 * The inspector: a page on this machine that shows the calls of a program, those in progress and the last thousand that have ended.
 *
 * **Example** (A program whose calls can be seen)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import * as Inspector from "@callisto/rpc/inspector"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *
 * const program = Effect.gen(function*() {
 *   const sums = yield* Binding.local(yield* Server.make([manager]), Sums)
 *   return yield* Call.invoke(sums, "Add", [1, 2, 3]) // => 6
 * }).pipe(Effect.scoped)
 *
 * // Logs the URL to open: http://127.0.0.1:PORT/#token=TOKEN
 * await Effect.runPromise(Effect.provide(program, Inspector.layer()))
 * ```
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { randomBytes } from "node:crypto"
import { basename } from "node:path"
import process from "node:process"
import { refuseArgument } from "./internal/named.ts"
import { maximumEnded, type Message } from "./inspector/internal/feed.ts"
import { Ledger } from "./inspector/internal/ledger.ts"
import { Listener } from "./inspector/internal/listener.ts"
import { inspecting } from "./internal/inspecting.ts"
import { choiceOption, countOption, flagOption } from "./internal/options.ts"
import { CantCreateEndpoint } from "./Status.ts"

/**
 * The options of an inspector: its address, and the rights of its viewers.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The port, from 0 to 65535. By default 0: the system chooses one. */
  readonly port?: number | undefined
  /** The address, which is one of this machine alone: `"127.0.0.1"` or `"::1"`. By default `"127.0.0.1"`. */
  readonly host?: "127.0.0.1" | "::1" | undefined
  /**
   * The secret that opens the inspector: 16 to 200 letters, digits, and characters of `-._~`. By default a random one for each run, which
   * is logged with the URL. A token that is given here is not logged.
   */
  readonly token?: Redacted.Redacted<string> | undefined
  /** Whether viewers may cancel calls. By default `false`. */
  readonly cancel?: boolean | undefined
  /** Whether the arguments of calls are shown, up to 2,000 characters for each call. By default `false`: they may be secrets. */
  readonly values?: boolean | undefined
}

/**
 * A running inspector.
 *
 * @category models
 * @since 0.1.0
 */
export interface Inspector {
  /** Where it listens: `http://127.0.0.1:PORT`. */
  readonly origin: string
  /** The URL to open, with the token. */
  readonly url: Redacted.Redacted<string>
}

/**
 * The tag of the running {@link Inspector}.
 *
 * @category models
 * @since 0.1.0
 */
export const Inspector: Context.Service<Inspector, Inspector> = Context.Service<Inspector>(
  "@callisto/rpc/inspector/Inspector"
)

/**
 * Shows the calls of the servers, bindings and associations that are made with it, on a page of this machine.
 *
 * **Details**
 *
 * - It logs the URL once, with the token. `callisto watch URL` shows the same in a terminal.
 * - It shows each call in progress, at most 1,000 of them, and the last 1,000 that have ended: side, interface, method, caller, address, age,
 *   state, requests to cancel, outcome and code, bytes, and the ids of its span. Arguments are shown only with `values`.
 * - An observer of the program's own, `Observability.observer`, runs beside it.
 * - It fails with `CantCreateEndpoint` where the port is in use.
 * - The port closes with the scope of the layer.
 *
 * **Gotchas**
 *
 * The token shows every call and its caller. Each user of the machine can connect to the port, so the token alone protects the calls.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Inspector, CantCreateEndpoint> =>
  Layer.effectContext(Effect.gen(function* () {
    const owner = "Inspector.layer"
    const host = choiceOption(owner, "host", options.host, ["127.0.0.1", "::1"] as const, "127.0.0.1")
    const port = countOption(owner, "port", options.port, { max: 65535 }, 0)
    const cancel = flagOption(owner, "cancel", options.cancel, false)
    const values = flagOption(owner, "values", options.values, false)
    const token = options.token === undefined
      ? randomBytes(24).toString("base64url")
      : tokenOption(owner, options.token)

    const clock = yield* Clock.Clock
    const context = yield* Effect.context<never>()
    const now = () => clock.currentTimeMillisUnsafe()
    const ledger = new Ledger(now, values)
    let telling: Fiber.Fiber<unknown> | undefined
    const listener: Listener = new Listener({
      host,
      port,
      token,
      ledger,
      hello: { type: "hello", version: 1, program: program(), cancel, values, maximumEnded },
      now,
      onLooking: (looks) => {
        ledger.isWatched = looks
        telling?.interruptUnsafe()
        telling = looks ? Effect.runForkWith(context)(tellAll(listener, ledger, now)) : undefined
      }
    })
    const bound = yield* Effect.acquireRelease(
      Effect.callback<number, CantCreateEndpoint>((resume) =>
        listener.listen((result) =>
          resume(result instanceof CantCreateEndpoint ? Effect.fail(result) : Effect.succeed(result))
        )
      ),
      () =>
        Effect.callback<void>((resume) => {
          telling?.interruptUnsafe()
          ledger.isWatched = false
          listener.close(() => resume(Effect.void))
        })
    )
    const origin = `http://${host === "::1" ? "[::1]" : host}:${bound}`
    const url = `${origin}/#token=${token}`
    yield* Effect.logInfo(
      options.token === undefined
        ? `Inspector of calls: ${url}`
        : `Inspector of calls: ${origin}/ with the token of its options`
    )
    const inspector: Inspector = { origin, url: Redacted.make(url) }
    return Context.add(Context.make(Inspector, inspector), inspecting, ledger)
  }))

/** Tells the viewers what has changed, ten times a second, and every two seconds that the program is there. */
const tellAll = (listener: Listener, ledger: Ledger, now: () => number): Effect.Effect<never> => {
  let turn = 0
  return Effect.forever(Effect.andThen(
    Effect.sleep(100),
    Effect.sync(() => {
      const isBeat = ++turn % 20 === 0
      const beat: Message | undefined = isBeat ? { type: "beat", now: now() } : undefined
      listener.tell(ledger.news() ?? beat)
    })
  ))
}

const tokenOption = (owner: string, token: Redacted.Redacted<string>): string => {
  const value = Redacted.isRedacted(token) ? Redacted.value(token) : undefined
  if (typeof value === "string" && /^[\w.~-]{16,200}$/.test(value)) return value
  return refuseArgument(
    owner,
    `token is wrong, expected a Redacted of 16 to 200 letters, digits, and characters of "-._~"`
  )
}

const program = () => ({
  name: basename(process.argv[1] ?? ""),
  pid: process.pid,
  runtime: "deno" in process.versions ? "Deno" : "bun" in process.versions ? "Bun" : "Node"
})
