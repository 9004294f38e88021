/**
 * `callisto import`: writes the TypeScript module of an IDL file.
 */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import type * as Stdio from "effect/Stdio"
import * as Idl from "../idl/Idl.ts"
import { type Description, listed, misused, readDescription, showProblem } from "./Descriptions.ts"
import { exitCodes, type Failure } from "./Failure.ts"
import { Files } from "./Files.ts"
import { harmless, write, writeLine } from "./Screen.ts"
import { typesOf } from "./Signatures.ts"

/** What a person writes behind `callisto import`. */
export interface ImportOptions {
  readonly file: string
  readonly include: ReadonlyArray<string>
  /** Where the module goes, `-` for standard output; `undefined` for beside the file. */
  readonly out: string | undefined
  readonly only: ReadonlyArray<string> | undefined
  readonly check: boolean
}

/** Writes the module, and says what is in it and what is not. */
export const importFile = (
  options: ImportOptions,
  json: boolean
): Effect.Effect<void, Failure | PlatformError, Stdio.Stdio> =>
  Effect.gen(function* () {
    const { check, file, only } = options
    if (!/\.idl$/i.test(file) && options.out === undefined && !check) {
      return yield* Effect.fail(
        misused(`${file}: its name does not end in .idl.`, "Say where the module goes, with --out FILE or --out -.")
      )
    }
    const description = yield* readDescription(file, options.include)
    const { document, problems } = description
    yield* report(json ? problems : withoutListed(description), json)
    yield* refuseNothing(file, document)
    yield* checkNames(file, document, only)
    const chosen = chosenOf(document, only)
    const types = only === undefined
      ? document.types.length
      : typesOf(document, chosen.flatMap(({ operations }) => operations)).length
    const out = options.out ?? file.replace(/\.idl$/i, ".ts")
    if (!check) yield* writeModule(out, document, only)
    // Whoever reads the module reads nothing else.
    const output = out === "-" && !check ? "stderr" : "stdout"
    const written = check ? null : out
    yield* json ? writeLine(output, JSON.stringify(toJson(description, chosen, types, written))) : Effect.forEach(
      summarize(only === undefined ? description : withoutRest(description), chosen, types),
      (line) => writeLine(output, harmless(line))
    )
    const { missing } = description
    const lost = only === undefined ? document.lost.length : 0
    const left = chosen.reduce((sum, { leftOut }) => sum + leftOut.length, 0)
    const errors = problems.filter(({ severity }) => severity === "error").length
    const found = left > 0
      ? `${left} ${left === 1 ? "operation is" : "operations are"} left out`
      : errors > 0
      ? count(errors, "error")
      : missing.length > 0
      ? `${missing.length} imported ${missing.length === 1 ? "file was" : "files were"} not found`
      : undefined
    if (check && found !== undefined) {
      return yield* Effect.fail(
        refused(`${file}: ${found}.`, "The reasons stand above; --only names the operations that matter.")
      )
    }
    if (lost > 0) {
      return yield* Effect.fail(
        refused(`${file}: ${count(lost, "interface")} left out.`, "The reasons stand above. Correct the file.")
      )
    }
  })

/** The problems without those of operations that the summary lists. */
export const withoutListed = (
  { document, problems }: Pick<Description, "document" | "problems">
): ReadonlyArray<Idl.Problem> => {
  const listed = new Set(
    document.interfaces.flatMap(({ leftOut }) =>
      leftOut.map(({ name, place, reason }) => `${place.line}:${place.column} ${name} is left out: ${reason}.`)
    )
  )
  return problems.filter(({ column, line, message }) => !listed.has(`${line}:${column} ${message}`))
}

/** Refuses a description in which there is nothing. */
export const refuseNothing = (file: string, document: Idl.Document): Effect.Effect<void, Failure> => {
  const { classes, constants, interfaces, objects, types } = document
  const size = classes.length + constants.length + interfaces.length + objects.length + types.length
  return size > 0
    ? Effect.void
    : Effect.fail(refused(`${file}: there is no interface, type or constant in it.`, "Check that it is the IDL file."))
}

const refused = (message: string, advice: string): Failure => ({
  _tag: "Failure",
  exitCode: exitCodes.refused,
  message,
  advice
})

/** Problems go to standard error, as compilers print them, or as JSON. */
export const report = (
  problems: ReadonlyArray<Idl.Problem>,
  json: boolean
): Effect.Effect<void, PlatformError, Stdio.Stdio> =>
  Effect.forEach(
    problems,
    (problem) => writeLine("stderr", json ? JSON.stringify({ problem }) : harmless(showProblem(problem))),
    { discard: true }
  )

/** Without what a choice of operations leaves away. */
const withoutRest = (description: Description): Description => ({
  ...description,
  document: { ...description.document, objects: [], skipped: [] }
})

const checkNames = (
  file: string,
  { interfaces }: Idl.Document,
  only: ReadonlyArray<string> | undefined
): Effect.Effect<void, Failure> => {
  const names = interfaces.flatMap(({ leftOut, operations }) => [...operations, ...leftOut].map(({ name }) => name))
  const unknown = only?.find((name) => !names.includes(name))
  return unknown === undefined ? Effect.void : Effect.fail(misused(
    `${file}: no operation ${JSON.stringify(unknown)}, it has ${listed(names, unknown) || "none"}.`,
    `callisto describe ${file} lists them.`
  ))
}

type Chosen = Pick<Idl.InterfaceModel, "idlName" | "version" | "uuid" | "unused" | "operations" | "leftOut">

const chosenOf = ({ interfaces }: Idl.Document, only: ReadonlyArray<string> | undefined): ReadonlyArray<Chosen> => {
  if (only === undefined) return interfaces
  const isMeant = ({ name }: { readonly name: string }): boolean => only.includes(name)
  return interfaces
    .map((each) => ({ ...each, operations: each.operations.filter(isMeant), leftOut: each.leftOut.filter(isMeant) }))
    .filter(({ leftOut, operations }) => leftOut.length + operations.length > 0)
}

const writeModule = (
  out: string,
  document: Idl.Document,
  only: ReadonlyArray<string> | undefined
): Effect.Effect<void, Failure | PlatformError, Stdio.Stdio> =>
  Effect.gen(function* () {
    const module = Idl.print(document, { only })
    if (out === "-") return yield* write("stdout", module)
    const files = yield* Files
    yield* keepOthers(out)
    yield* Effect.mapError(
      files.write(out, module),
      (problem) => misused(`${problem}.`, "Check the folder and its permissions; under Deno add --allow-write.")
    )
  })

/** Refuses to write over a file that `callisto import` has not written. */
const keepOthers = (out: string): Effect.Effect<void, Failure> =>
  Effect.gen(function* () {
    const files = yield* Files
    const [, folder = "", name] = /^(.*[\\/])?([^\\/]*)$/.exec(out)!
    if ((yield* files.find(folder, name!)) !== out) return
    const bytes = yield* Effect.orElseSucceed(files.read(out), () => new Uint8Array())
    if (new TextDecoder().decode(bytes.subarray(0, 4096)).includes("Written by callisto import ")) return
    return yield* Effect.fail(
      misused(`${out}: it was not written by callisto import.`, "Name another file with --out, or remove this one.")
    )
  })

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? "" : "s"}`

const versionOf = ({ idlName, version }: Pick<Idl.InterfaceModel, "idlName" | "version">): string =>
  `${idlName} ${version.join(".")}`

/** `svcctl 2.0: 50 of 50 operations (15 numbers unused), 41 types. Left out: none.`, and what is left out. */
export const summarize = (
  { document, missing }: Pick<Description, "document" | "missing">,
  chosen: ReadonlyArray<Chosen>,
  types: number
): ReadonlyArray<string> => {
  const { objects, skipped } = document
  const lines = chosen.flatMap((each, i) => {
    const all = each.operations.length + each.leftOut.length
    const unused = each.unused === 0 ? "" : ` (${count(each.unused, "number")} unused)`
    const made = i === 0 ? `, ${count(types, "type")}` : ""
    const left = each.leftOut.length === 0 ? "none." : `${each.leftOut.length}:`
    return [
      `${versionOf(each)}: ${each.operations.length} of ${count(all, "operation")}${unused}${made}. Left out: ${left}`,
      ...each.leftOut.map(({ name, opnum, place, reason }) =>
        `  ${name}${opnum === undefined ? "" : ` (${opnum})`}, line ${place.line}: ${reason}.`
      )
    ]
  })
  return [
    ...(chosen.length === 0 ? [`No interface with operations, ${count(types, "type")}.`] : lines),
    ...skipped.map(({ name, place, reason }) => `  type ${name}, line ${place.line}: ${reason}.`),
    ...(objects.length === 0
      ? []
      : [`${count(objects.length, "interface")} of objects: ${
        objects.map(({ name }) => name).join(", ")
      }. Calling them needs ORPC.`]),
    ...(missing.length === 0 ? [] : [
      `Not found: ${missing.join(", ")}. Name ${
        missing.length === 1 ? "its folder" : "their folders"
      } with --include DIR.`
    ])
  ]
}

const toJson = (
  { document, missing }: Description,
  chosen: ReadonlyArray<Chosen>,
  types: number,
  written: string | null
): object => ({
  file: document.main,
  written,
  interfaces: chosen.map(({ idlName, leftOut, operations, unused, uuid, version }) => ({
    name: idlName,
    uuid,
    version: version.join("."),
    operations: operations.length,
    unused,
    leftOut: leftOut.map(({ name, opnum, place, reason }) => ({ name, opnum: opnum ?? null, line: place.line, reason }))
  })),
  types,
  missing
})
