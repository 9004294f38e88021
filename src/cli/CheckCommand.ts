/**
 * `callisto check`: says which changes between two descriptions break clients.
 */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import type * as Stdio from "effect/Stdio"
import * as Idl from "../idl/Idl.ts"
import { misused, readDescription } from "./Descriptions.ts"
import { exitCodes, type Failure } from "./Failure.ts"
import { report } from "./ImportCommand.ts"
import type { Answer } from "./Inquiries.ts"
import { harmless } from "./Screen.ts"

/** What a person writes behind `callisto check`. */
export interface CheckOptions {
  readonly old: string
  readonly now: string
  readonly include: ReadonlyArray<string>
}

/** Compares two descriptions. Fails behind the list when a change breaks clients. */
export const check = (
  { include, now, old }: CheckOptions,
  json: boolean,
  show: (answer: Answer) => Effect.Effect<void, PlatformError, Stdio.Stdio>
): Effect.Effect<void, Failure | PlatformError, Stdio.Stdio> =>
  Effect.gen(function* () {
    const read = (source: string) =>
      Effect.gen(function* () {
        const { document, problems } = yield* readDescription(source, include)
        yield* report(problems, json)
        if (document.interfaces.length > 0) return document
        return yield* Effect.fail(
          misused(
            `${source}: it has no interface that can be called.`,
            "Name a file with an interface that has a uuid."
          )
        )
      })
    const changes = Idl.compare(yield* read(old), yield* read(now))
    const breaking = changes.filter(({ breaks }) => breaks).length
    yield* show({
      json: {
        old,
        new: now,
        breaking,
        changes: changes.map((change) => ({ ...change, method: change.method ?? null }))
      },
      text: (paint) =>
        [
          ...changes.map((change) => {
            const kind = change.breaks ? paint.red("breaking  ") : paint.dim("compatible")
            return `${kind}  ${harmless(whereOf(change))}: ${harmless(change.message)}.`
          }),
          changes.length === 0 ? "Nothing changed on the wire." : summaryOf(breaking, changes.length)
        ].join("\n")
    })
    if (breaking > 0) {
      return yield* Effect.fail({
        _tag: "Failure" as const,
        exitCode: exitCodes.refused,
        message: `${now} breaks clients of ${old}: ${breaking} breaking ${breaking === 1 ? "change" : "changes"}.`,
        advice: "Undo them, or give the interface a new major version beside the old one."
      })
    }
  })

/** How many of the changes break clients, in words. */
const summaryOf = (breaking: number, all: number): string => {
  const changes = `${all} ${all === 1 ? "change" : "changes"}`
  const which = breaking === 0 ? "none breaks" : breaking === 1 ? "1 breaks" : `${breaking} break`
  if (all === 1) return breaking === 0 ? "1 change, which breaks no old client." : "1 change, which breaks old clients."
  return breaking === all ? `${changes}, which all break old clients.` : `${changes}, of which ${which} old clients.`
}

const whereOf = ({ interface: name, method, path }: Idl.Change): string =>
  `${name}${method === undefined ? "" : `.${method}`}${path === "" ? "" : `, ${path}`}`
