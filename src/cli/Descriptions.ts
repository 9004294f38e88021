/**
 * Where descriptions of interfaces come from: IDL files with what they import, modules, and the interfaces that are built in.
 */
import * as Effect from "effect/Effect"
import * as EndpointMapper from "../dcerpc/EndpointMapper.ts"
import * as Management from "../dcerpc/Management.ts"
import * as Idl from "../idl/Idl.ts"
import { exitCodes, type Failure } from "./Failure.ts"
import { Files, maximumSize } from "./Files.ts"

/** The interfaces that need no file, by the names that they have on the command line. */
const builtIn: { readonly [name: string]: { readonly [name: string]: unknown } } = {
  epmapper: { ...EndpointMapper },
  mgmt: { ...Management }
}

/** The names of the interfaces that are built in. */
export const builtInNames: ReadonlyArray<string> = Object.keys(builtIn)

/** A description that was read. */
export interface Description {
  readonly document: Idl.Document
  /** With the paths of the files. */
  readonly problems: ReadonlyArray<Idl.Problem>
  /** The imported files that were not found, and for which no built-in types stand in. */
  readonly missing: ReadonlyArray<string>
}

/** A failure of wrong usage. */
export const misused = (message: string, advice: string): Failure => ({
  _tag: "Failure",
  exitCode: exitCodes.usage,
  message,
  advice
})

/** Reads a description: of an interface that is built in, of a module, or of an IDL file. */
export const readDescription = (
  source: string,
  include: ReadonlyArray<string>
): Effect.Effect<Description, Failure> =>
  Object.hasOwn(builtIn, source)
    ? Effect.succeed(described(source, builtIn[source]!))
    : isModule(source)
    ? readModule(source)
    : readIdl(source, include)

const described = (name: string, exports: { readonly [name: string]: unknown }): Description => ({
  document: Idl.fromExports(name, exports),
  problems: [],
  missing: []
})

/** Whether a word of the command line looks like a description. */
export const isSource = (word: string): boolean =>
  Object.hasOwn(builtIn, word) || isModule(word) || /\.idl$|^\.?\.?[\\/]/i.test(word)

/** Whether a path is that of a module. */
export const isModule = (path: string): boolean => /\.[cm]?[jt]s$/.test(path)

const readModule = (path: string): Effect.Effect<Description, Failure> =>
  Effect.gen(function* () {
    const files = yield* Files
    const exports = yield* Effect.mapError(files.load(path), (problem) =>
      misused(
        `${problem}.`,
        "Check the path, and that this runtime runs the module; Deno and Bun run TypeScript, and so does Node from 22.18 on."
      ))
    const description = described(path, exports)
    if (description.document.interfaces.length > 0) return description
    return yield* Effect.fail(
      misused(`${path}: it exports no interface.`, "Export what Interface.make or callisto import has made.")
    )
  })

// ----------------------------------------------------------------------------
// IDL files
// ----------------------------------------------------------------------------

const mostFiles = 256

const folderOf = (path: string): string => /^(.*[\\/])?/.exec(path)![1] ?? ""

/**
 * The part of an import's name that is looked for in the folders. A file of a stranger leads to no file outside of them: of an absolute
 * name, and of one that goes up, only the last part counts.
 */
const soughtOf = (name: string): string => {
  const parts = name.replaceAll("\\", "/").split("/").filter((part) => part !== "" && part !== ".")
  const isInside = !/^[\\/]|^[A-Za-z]:/.test(name) && !parts.includes("..")
  return isInside ? parts.join("/") : parts.at(-1) ?? ""
}

const readIdl = (path: string, include: ReadonlyArray<string>): Effect.Effect<Description, Failure> =>
  Effect.gen(function* () {
    const files = yield* Files
    const read = (file: string) =>
      Effect.mapError(files.read(file), (problem) =>
        misused(
          `${problem}.`,
          file === path
            ? `Name an IDL file, a TypeScript module, or a built-in interface: ${builtInNames.join(", ")}.`
            : "Mend or remove it, or leave its folder out of --include."
        ))
    const folders = [folderOf(path), ...include.map((folder) => folder.replace(/[^\\/]$/, "$&/"))]
    const sources: Record<string, Uint8Array> = Object.create(null)
    const paths = new Map<string, string>([[path, path]])
    sources[path] = yield* read(path)
    let size = sources[path].length
    const absent = new Set<string>()
    let parsed = Idl.parse(sources, path)
    // Imports show when the file that has them is read.
    while (true) {
      const wanted = parsed.document.missing.filter((name) => !absent.has(name))
      if (wanted.length === 0) break
      for (const name of wanted) {
        absent.add(name)
        const found = yield* findIn(folders, soughtOf(name))
        if (found === undefined) continue
        sources[name] = yield* read(found)
        paths.set(name, found)
        size += sources[name].length
        if (paths.size > mostFiles || size > 4 * maximumSize) {
          return yield* Effect.fail(
            misused(
              `${path}: it imports more than ${mostFiles} files or 64 MiB.`,
              "Import its parts one by one."
            )
          )
        }
      }
      if (wanted.every((name) => !paths.has(name))) break
      parsed = Idl.parse(sources, path)
    }
    return {
      document: parsed.document,
      problems: parsed.problems.map((problem) => ({ ...problem, file: paths.get(problem.file) ?? problem.file })),
      missing: parsed.document.missing.filter((name) => !Idl.isBuiltIn(name))
    }
  })

const findIn = (folders: ReadonlyArray<string>, name: string): Effect.Effect<string | undefined> =>
  Effect.gen(function* () {
    const files = yield* Files
    if (name === "") return undefined
    for (const folder of folders) {
      const found = yield* files.find(folder, name)
      if (found !== undefined) return found
    }
    return undefined
  })

// ----------------------------------------------------------------------------
// what is in them
// ----------------------------------------------------------------------------

/** A problem as compilers print it. */
export const showProblem = ({ column, file, line, message, severity }: Idl.Problem): string =>
  `${file}:${line}:${column}: ${severity}: ${message}`

/** The interface of a name, or of a UUID. */
export const isNamed = (name: string) => ({ idlName, name: own, uuid }: Idl.InterfaceModel): boolean =>
  own === name || idlName === name || uuid === name.toLowerCase()

/** Some of the names, those first that resemble what was written. */
export const listed = (names: ReadonlyArray<string>, written: string): string => {
  const like = (name: string): number => {
    const [a, b] = [name.toLowerCase(), written.toLowerCase()]
    return a === b ? 0 : a.includes(b) || b.includes(a) ? 1 : 2
  }
  const sorted = [...names].sort((a, b) => like(a) - like(b))
  return sorted.slice(0, 8).join(", ") + (sorted.length > 8 ? ` and ${sorted.length - 8} more` : "")
}

/** An interface and one of its operations. */
export interface Chosen {
  readonly model: Idl.InterfaceModel
  readonly operations: ReadonlyArray<Idl.Operation>
}

/** Finds the one interface that has all these methods, each by its name or its number. */
export const choose = (
  source: string,
  document: Idl.Document,
  methods: ReadonlyArray<string>,
  name: string | undefined
): Effect.Effect<Chosen, Failure> => {
  const { interfaces } = document
  const help = `callisto describe ${source} lists what is in it.`
  const fail = (message: string, advice = help) => Effect.fail(misused(`${source}: ${message}.`, advice))
  if (interfaces.length === 0) return fail("it has no interface that can be called")
  const candidates = name === undefined ? interfaces : interfaces.filter(isNamed(name))
  if (candidates.length === 0) {
    return fail(`no interface ${JSON.stringify(name)}, it has ${listed(interfaces.map((each) => each.name), name!)}`)
  }
  const find = ({ operations }: Idl.InterfaceModel, method: string): Idl.Operation | undefined =>
    operations.find((operation) => operation.name === method) ??
      operations.find((operation) => /^\d+$/.test(method) && operation.opnum === Number(method))
  const having = candidates.filter((model) => methods.every((method) => find(model, method) !== undefined))
  if (having.length > 1) {
    return fail(
      `several interfaces have ${methods.join(", ")}: ${having.map((each) => each.name).join(", ")}`,
      "Name one with --interface."
    )
  }
  const [model] = having
  if (model !== undefined) {
    return Effect.succeed({ model, operations: methods.map((method) => find(model, method)!) })
  }
  const unknown = methods.find((method) => candidates.every((each) => find(each, method) === undefined))
  if (unknown === undefined) return fail(`no interface has all of ${methods.join(", ")}`, "Call them one by one.")
  const left = candidates.flatMap(({ leftOut }) => leftOut).find(({ name, opnum }) =>
    name === unknown || String(opnum) === unknown
  )
  if (left !== undefined) return fail(`${left.name} is left out: ${left.reason}`)
  const names = candidates.flatMap(({ operations }) => operations.map((operation) => operation.name))
  return fail(`no method ${JSON.stringify(unknown)}, it has ${listed(names, unknown)}`)
}
