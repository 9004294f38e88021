/// <reference lib="dom" />
/** The client of the live page: its buttons begin, wait for, cancel and drop calls of a server in a worker, and it draws them. */
import { Call } from "../../mod.ts"
import { Association } from "../../src/dcerpc.ts"
import { MessagePort } from "../../src/transport.ts"
import { Effect, Exit, Scope } from "effect"
import { type Method, outcomeOf, type Pending } from "./client.ts"
import { draw, type View } from "./drawing.ts"
import { ILive, type Note, now } from "./ILive.ts"
import { begun, cancelAsked, dropped, ended, noted, type Row, serverLost } from "./timeline.ts"

/** A call of the page. */
interface Shown {
  readonly number: number
  readonly method: Method
  readonly row: Row
  readonly pending: Pending
}

/** A server in a worker, and the connection to it. */
interface Session {
  readonly worker: Worker
  readonly client: Call.Client<typeof ILive>
  readonly scope: Scope.Closeable
}

const rowsShown = 5

/** Ended calls beyond so many are forgotten. */
const callsKept = 50
const span = 10_000

const narrow = matchMedia("(max-width: 640px)")

/** The view of a time: the first ten seconds, then the last ten. */
const viewAt = (millis: number): View => ({
  from: Math.max(millis - span, 0),
  to: Math.max(millis, span),
  now: millis,
  rows: rowsShown,
  width: narrow.matches ? "narrow" : "wide",
  title: "Calls in progress: the client above, the server below. The list under the picture says the same in words."
})

/** Runs the live page within an element, whose buttons have the attribute `data-action`. */
export const mount = (root: HTMLElement): void => {
  const picture = root.querySelector<HTMLElement>("[data-picture]")!
  const words = root.querySelector<HTMLElement>("[data-words]")!
  const button = (action: string) => root.querySelector<HTMLButtonElement>(`[data-action="${action}"]`)!

  const calls: Array<Shown> = []
  let origin = now()
  const clock = () => now() - origin
  let session: Session | undefined
  let isStarting = false
  let serial = 0
  let lastChange = 0

  // ----------------------------------------------------------------------------
  // what is seen
  // ----------------------------------------------------------------------------

  const say = (text: string) => {
    const line = document.createElement("li")
    line.textContent = `${(clock() / 1000).toFixed(1)} s: ${text}`
    words.append(line)
    while (words.children.length > 6) words.firstElementChild!.remove()
  }

  const show = () => {
    const millis = clock()
    picture.innerHTML = draw(calls.slice(-rowsShown).map(({ row }) => row), viewAt(millis))
  }

  /** The calls that the page has begun and that have not ended. */
  const inProgress = () => calls.filter(({ row }) => row.outcome === undefined)

  /** The call that the buttons mean: the oldest that runs and has no cancel, or else the oldest. */
  const chosen = () => {
    const pending = inProgress()
    return pending.find(({ row }) =>
      row.server.at(-1)?.state === "running" && !row.messages.some(({ kind }) => kind === "cancel")
    ) ?? pending[0]
  }

  const showButtons = () => {
    const call = chosen()
    const name = call === undefined ? "a call" : `call ${call.number}`
    for (const [action, verb] of [["cancel", "Cancel"], ["wait", "Wait 1 s for"], ["drop", "Drop"]] as const) {
      button(action).textContent = `${verb} ${name}`
      button(action).disabled = call === undefined
    }
    button("kill").textContent = isStarting
      ? "Starting a server"
      : session === undefined
      ? "Start a server"
      : "Kill the server"
    button("kill").disabled = isStarting
    for (const action of ["Copy", "Seal", "Fill"]) button(action).disabled = session === undefined
  }

  const changed = () => {
    lastChange = clock()
    const old = calls.length - callsKept
    if (old > 0) calls.splice(0, old, ...calls.slice(0, old).filter(({ row }) => row.outcome === undefined))
    showButtons()
  }

  // ----------------------------------------------------------------------------
  // what happens
  // ----------------------------------------------------------------------------

  const take = ({ at, call, note }: Note) => {
    const shown = calls.find(({ number }) => number === call)
    if (shown === undefined) return
    noted(shown.row, note, at - origin)
    if (note === "replied" && shown.row.outcome !== undefined) {
      say(`The server has finished its work on call ${call}. Nobody waits for the result.`)
    } else if (note === "stopped") say(`The server has stopped its work on call ${call}.`)
    changed()
  }

  /** Begins a call, and shows how it ends. */
  const begin = (method: Method, seconds: number) => {
    if (session === undefined) return
    const number = ++serial
    const row = begun(`${number}  ${method}`, clock())
    const { client, scope } = session
    Effect.runFork(
      Effect.gen(function* () {
        const pending = yield* client[method].begin({ call: number, seconds })
        calls.push({ number, method, row, pending })
        say(`The client has begun call ${number}, ${method}.`)
        changed()

        const exit = yield* Effect.exit(Call.join(pending))
        if (row.outcome !== undefined) return // dropped
        const outcome = outcomeOf(exit)
        ended(row, clock(), outcome)
        say(`Call ${number} has ended: ${outcome.words}.`)
        changed()
      }).pipe(
        Effect.catch(() => Effect.sync(() => say(`Call ${number} could not begin: the server is gone.`))),
        Scope.provide(scope)
      )
    )
  }

  const cancel = () => {
    const shown = chosen()
    if (shown === undefined) return
    cancelAsked(shown.row, clock())
    say(`The client asks the server to end call ${shown.number}, and waits 2 s for its answer.`)
    changed()
    Effect.runFork(Effect.ignore(Call.cancel(shown.pending, { timeout: "2 seconds" })))
  }

  const wait = () => {
    const shown = chosen()
    if (shown === undefined) return
    const { number, pending, row } = shown
    row.marks.push({ at: clock(), word: "wait" })
    say(`A fiber waits 1 s for call ${number}.`)
    changed()
    const told = (word: string, sentence: string) => () => {
      row.marks.push({ at: clock(), word })
      say(sentence)
      changed()
    }
    Effect.runFork(
      Call.wait(pending, "1 second").pipe(
        Effect.map(told("complete", `The wait for call ${number} has ended: the call is complete.`)),
        Effect.catchTag(
          "WaitTimeout",
          () => Effect.sync(told("timeout", `The wait for call ${number} has ended, the call has not: it goes on.`))
        ),
        Effect.ignore // dropped
      )
    )
  }

  const drop = () => {
    const shown = chosen()
    if (shown === undefined) return
    dropped(shown.row, clock())
    say(`The client has dropped call ${shown.number}. The server is told, and a late reply is discarded.`)
    changed()
    Effect.runFork(Call.release(shown.pending))
  }

  // ----------------------------------------------------------------------------
  // the server
  // ----------------------------------------------------------------------------

  /** Starts a server, unless one starts already, and then begins calls. */
  const startServer = (first: () => void) => {
    if (isStarting) return
    const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" })
    isStarting = true
    showButtons()
    worker.addEventListener("message", ({ data }) => {
      if (typeof data === "object" && data !== null && "note" in data) take(data)
    })
    const broken = Effect.callback<never, void>((resume) =>
      worker.addEventListener("error", () => resume(Effect.fail(undefined)))
    )
    const scope = Scope.makeUnsafe()
    const binding = Association.bind(ILive, "ncacn_messageport:[live]", { keepAlive: "1 second" }).pipe(
      Effect.provide(MessagePort.layer(worker)),
      Scope.provide(scope)
    )
    Effect.runFork(Effect.match(Effect.raceFirst(binding, broken), {
      onFailure: () => {
        isStarting = false
        worker.terminate()
        say("No server could be started: its worker did not load.")
        showButtons()
        Effect.runFork(Scope.close(scope, Exit.void))
      },
      onSuccess: (binding) => {
        isStarting = false
        session = { worker, client: Call.client(binding), scope }
        if (root.dataset["live"] === undefined) {
          origin = now()
          root.dataset["live"] = "true"
          frame()
        }
        first()
        showButtons()
      }
    }))
  }

  const kill = () => {
    if (session === undefined) {
      say("A new server starts in a new worker.")
      return startServer(() => begin("Copy", 4))
    }
    const { scope, worker } = session
    worker.terminate()
    session = undefined
    for (const { row } of calls) serverLost(row, clock())
    say("The worker with the server is killed. Nobody tells the client: its keep-alive, of 1 s, finds out.")
    changed()
    // Closed when its calls have ended: they are lost within 1.5 s.
    setTimeout(() => Effect.runFork(Scope.close(scope, Exit.void)), 10_000)
  }

  const actions: { readonly [action: string]: () => void } = {
    cancel,
    wait,
    drop,
    kill,
    Copy: () => begin("Copy", 4),
    Seal: () => begin("Seal", 6),
    Fill: () => begin("Fill", 2)
  }
  for (const [action, run] of Object.entries(actions)) button(action).addEventListener("click", run)

  // ----------------------------------------------------------------------------
  // time
  // ----------------------------------------------------------------------------

  const still = matchMedia("(prefers-reduced-motion: reduce)")
  let drawn = 0
  const frame = () => {
    const millis = clock()
    // Nothing moves once all calls have left the picture; with less motion the picture is drawn twice a second.
    const idle = inProgress().length === 0 && millis - lastChange > span
    if (!idle && millis - drawn >= (still.matches ? 500 : 30)) {
      drawn = millis
      show()
    }
    requestAnimationFrame(frame)
  }

  startServer(() => {
    begin("Copy", 7)
    begin("Seal", 9)
    begin("Copy", 5)
  })
}
