/**
 * Copies of the sources with one fault each, which the kill test must find: they show what it is able to see. A text that is to be changed
 * and is not there is an error, so the mutants can't rot.
 */
import { Effect, type Scope } from "effect"
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Schedule } from "./run.ts"

export interface Mutant {
  readonly name: string
  readonly file: string
  readonly text: string
  readonly instead: string
  /** What the test says of it. */
  readonly violation: string
  /** What provokes the fault soon. */
  readonly schedule: Schedule
}

const none = { rollsBack: 0, cancels: 0, ages: 0, shared: 0, longest: 200 }

export const mutants: ReadonlyArray<Mutant> = [
  {
    name: "transaction mode off",
    file: "src/durable/internal/server.ts",
    text: `attempt.mode === "transaction" ? this.inTransaction(attempt, routine) : routine`,
    instead: "routine",
    violation: "and 1 effects",
    schedule: { processes: ["runner1", "worker1"], kinds: [], odds: { ...none, methods: ["Write"] } }
  },
  {
    name: "finished_by condition off",
    file: "src/durable/internal/record.ts",
    text:
      "WHERE id = ${id} AND outcome IS NOT NULL AND (finished_by IS NULL OR (finished_by = ${evidence} AND ${again}))",
    instead: "WHERE id = ${id} AND outcome IS NOT NULL",
    violation: "it was taken 2 times",
    schedule: {
      processes: ["runner1", "worker1", "worker2"],
      kinds: [],
      odds: { ...none, methods: ["Again"], shared: 1 }
    }
  },
  {
    name: "once run again",
    file: "src/durable/internal/server.ts",
    text: `if (mode === "once" || row.attempts - row.yielded >= maximumAttempts) {`,
    instead: "if (row.attempts - row.yielded >= maximumAttempts) {",
    violation: "once, and started 2 times",
    schedule: {
      processes: ["runner1", "worker1"],
      kinds: ["kill -9"],
      targets: ["runner"],
      pause: 1_500,
      odds: { ...none, methods: ["Once"], longest: 2_000 }
    }
  },
  {
    name: "outcome IS NULL off",
    file: "src/durable/internal/record.ts",
    text: `const open = sql.literal("outcome IS NULL")`,
    instead: `const open = sql.literal("1 = 1")`,
    violation: "completed 2 times",
    schedule: {
      processes: ["runner1", "worker1", "worker2"],
      kinds: [],
      odds: { ...none, methods: ["Approve", "ApproveIn"], longest: 20 }
    }
  },
  {
    name: "begin without its transaction",
    file: "src/durable/internal/client.ts",
    text: "isInside ? store : calls.sql.withTransaction(store)",
    instead:
      "Effect.updateContext(calls.sql.withTransaction(store), Context.omit(calls.sql.transactionService)) as typeof store",
    violation: "its begin was not committed",
    schedule: { processes: ["worker1"], kinds: [], odds: { ...none, methods: ["Again"], rollsBack: 0.5 } }
  }
]

export const root = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))))

/** Writes the sources of a mutant into a folder of their own, and gives the folder. */
export const sourcesOf = ({ file, instead, name, text }: Mutant): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = mkdtempSync(join(tmpdir(), "callisto-mutant-"))
      for (const part of ["src", "mod.ts", "package.json", join("test", "durable", "kill", "process.ts")]) {
        cpSync(join(root, part), join(folder, part), { recursive: true })
      }
      symlinkSync(join(root, "node_modules"), join(folder, "node_modules"))
      const source = readFileSync(join(folder, file), "utf8")
      if (source.split(text).length !== 2) {
        throw new Error(
          `The mutant "${name}" changes a text that is not once in ${file}: ${text}. Bring the mutant up to date.`
        )
      }
      writeFileSync(join(folder, file), source.replace(text, () => instead))
      return folder
    }),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )
