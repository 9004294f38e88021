// Clients and servers in processes of their own, and the rounds in which they take turns.
import { Effect, Option, type Scope } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import process from "node:process"
import { createInterface } from "node:readline"
import { type Row, spread } from "./measure.ts"

/** The program of this runtime, with what goes in front of a file that it runs. */
export const [command, ...program]: ReadonlyArray<string> = [
  process.execPath,
  ...(process.versions["deno"] === undefined ? [] : ["run", "-A"]),
  ...process.execArgv
]

/** A process that answers what it is asked. */
export interface Worker<Task, Answer> {
  /** What it said before. */
  readonly first: Answer | Missing
  readonly ask: (task: Task) => Effect.Effect<Answer | Missing>
}

/** Why there is no answer. */
export interface Missing {
  readonly missing: string
}

/** Starts a worker: each line that it is given is JSON, and so is each that it answers. It ends with the scope. */
export const start = <Task, Answer>(
  file: string,
  ...args: ReadonlyArray<string>
): Effect.Effect<Worker<Task, Answer>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(command!, [...program, file, ...args], { stdio: ["pipe", "pipe", "inherit"] })),
      (child) =>
        Effect.promise(async () => {
          child.stdin.end()
          if (child.exitCode === null && child.signalCode === null) await once(child, "exit")
        }).pipe(Effect.timeoutOption("5 seconds"), Effect.andThen(Effect.sync(() => child.kill("SIGKILL"))))
    )
    child.stdin.on("error", () => {})
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const line = Effect.promise(async (): Promise<Answer | Missing> => {
      const { done, value } = await lines.next()
      return done ? { missing: "its process ended" } : JSON.parse(value)
    })
    // What it says later would be taken for the answer to another question.
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

// ----------------------------------------------------------------------------
// rounds
// ----------------------------------------------------------------------------

/** What someone does when it is its turn: it measures something, or says why not. */
export interface Turn<A> {
  readonly name: string
  readonly reference?: string | undefined
  readonly perform: Effect.Effect<{ readonly value: A } | Missing>
}

export interface Outcome<A> extends Omit<Turn<A>, "perform"> {
  readonly values: ReadonlyArray<A>
}

export interface Outcomes<A> {
  readonly outcomes: ReadonlyArray<Outcome<A>>
  readonly missing: ReadonlyArray<string>
}

/** Everyone has a turn in each round; every round starts with another one. Whoever can't do it once is left out. */
export const takeTurns = <A>(
  turns: ReadonlyArray<Turn<A>>,
  rounds: number,
  warmUp: ReadonlyArray<Turn<A>> = turns
): Effect.Effect<Outcomes<A>> =>
  Effect.gen(function* () {
    const missing = new Map<string, string>()
    const values = new Map<string, Array<A>>(turns.map(({ name }) => [name, []]))
    const perform = Effect.fnUntraced(function* ({ name, perform }: Turn<A>, counts: boolean) {
      if (missing.has(name)) return
      const answer = yield* perform
      if ("missing" in answer) missing.set(name, answer.missing)
      else if (counts) values.get(name)!.push(answer.value)
    })
    for (const turn of warmUp) yield* perform(turn, false)
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < turns.length; i++) yield* perform(turns[(round + i) % turns.length]!, true)
    }
    return {
      outcomes: turns
        .filter(({ name }) => !missing.has(name))
        .map(({ name, reference }) => ({ name, reference, values: values.get(name)! })),
      missing: [...missing].map(([name, why]) => `${name} (${why})`)
    }
  })

/** Compares what `of` finds in each value with what it finds in that of the reference in the same round. */
export const compare = <A>(outcomes: ReadonlyArray<Outcome<A>>, of: (value: A) => number): ReadonlyArray<Row> =>
  outcomes.map(({ name, reference, values }): Row => {
    const own = values.map(of)
    const others = outcomes.find((other) => other.name === reference)?.values.map(of)
    return {
      name,
      value: spread(own),
      ...(others === undefined ? {} : { reference, ratio: spread(own.map((value, round) => value / others[round]!)) })
    }
  })
