// Processes that answer what they are asked.
import { Effect, Option, type Scope } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import process from "node:process"
import { createInterface } from "node:readline"
import type { Missing } from "./measure.ts"

export interface Worker<Task, Answer> {
  /** The line that it prints when it is ready. */
  readonly first: Answer | Missing
  readonly ask: (task: Task) => Effect.Effect<Answer | Missing>
}

/** Starts a worker: each line that it is given is JSON, and so is each that it answers. It ends with the scope. */
export const start = <Task, Answer>(
  file: string,
  ...args: ReadonlyArray<string>
): Effect.Effect<Worker<Task, Answer>, never, Scope.Scope> =>
  Effect.gen(function* () {
    // Deno collects garbage on demand only when asked at its start.
    const deno = process.versions["deno"] === undefined ? [] : ["run", "-A", "--v8-flags=--expose-gc"]
    const program = [...deno, ...process.execArgv, file]
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(process.execPath, [...program, ...args], { stdio: ["pipe", "pipe", "inherit"] })),
      (child) =>
        Effect.promise(async () => {
          child.stdin.end()
          if (child.exitCode === null && child.signalCode === null) {
            await once(child, "exit")
          }
        }).pipe(Effect.timeoutOption("5 seconds"), Effect.andThen(Effect.sync(() => child.kill("SIGKILL"))))
    )
    child.stdin.on("error", () => {})
    const lines = createInterface({ input: child.stdout })
      [Symbol.asyncIterator]()
    const line = Effect.promise(async (): Promise<Answer | Missing> => {
      const { done, value } = await lines.next()
      return done ? { missing: "its process ended" } : JSON.parse(value)
    })
    // A late answer would be taken for that to another question.
    let lost: Missing | undefined
    const next = Effect.timeoutOption(line, "1 minute").pipe(
      Effect.map(Option.getOrElse(() => lost = { missing: "did not end within a minute" }))
    )
    const ask = (task: Task): Effect.Effect<Answer | Missing> =>
      Effect.suspend(() => {
        if (lost !== undefined) return Effect.succeed(lost)
        child.stdin.write(`${JSON.stringify(task)}\n`)
        return next
      })
    return { first: yield* next, ask }
  })
