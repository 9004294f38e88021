/** Processes of {@link Work} on each runtime, for tests that kill them. */
import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { eventually } from "./fixtures.ts"
import type { Work } from "./process.ts"
// @ts-ignore: a script without types, which Deno reads as it is
import { findRuntime } from "../../scripts/runtimes.mjs"

export type Runtime = "node" | "deno" | "bun"

export interface Spawned {
  readonly child: ChildProcess
  /** The lines that it has written. */
  readonly lines: ReadonlyArray<string>
  readonly errors: () => string
  readonly until: (line: string) => Effect.Effect<unknown>
  /** Sends a signal, and waits for the end where it is one that ends it. */
  readonly kill: (signal: "SIGKILL" | "SIGTERM" | "SIGSTOP" | "SIGCONT") => Effect.Effect<void>
}

const here = dirname(fileURLToPath(import.meta.url))

export const isHere = (runtime: Runtime): boolean => findRuntime(runtime) !== undefined

/** Starts a process, which is killed when the scope closes. */
export const spawnWork = (runtime: Runtime, work: Work): Effect.Effect<Spawned, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const { command, program } = findRuntime(runtime)!
      const child = spawn(command, [...program, join(here, "process.ts"), JSON.stringify(work)], {
        stdio: ["ignore", "pipe", "pipe"]
      })
      const lines: Array<string> = []
      let rest = ""
      let errors = ""
      child.stdout.on("data", (chunk) => {
        const all = (rest + chunk).split("\n")
        rest = all.pop()!
        lines.push(...all)
      })
      child.stderr.on("data", (chunk) => void (errors += chunk))
      const isOver = () => child.exitCode !== null || child.signalCode !== null
      const kill: Spawned["kill"] = (signal) =>
        Effect.callback((resume) => {
          if (isOver()) return resume(Effect.void)
          if (signal === "SIGKILL" || signal === "SIGTERM") child.once("exit", () => resume(Effect.void))
          child.kill(signal)
          if (signal === "SIGSTOP" || signal === "SIGCONT") resume(Effect.void)
        })
      return {
        child,
        lines,
        errors: () => errors,
        kill,
        until: (line: string) =>
          eventually(
            Effect.sync(() => {
              if (!lines.includes(line) && isOver()) throw new Error(`the process has ended: ${errors}`)
              return lines
            }),
            (lines) => lines.includes(line)
          )
      }
    }),
    ({ kill }) => kill("SIGKILL")
  )
