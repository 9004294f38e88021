/**
 * `callisto call`: calls methods of any service by its description, with JSON.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import type { Binding } from "../Binding.ts"
import * as Call from "../Call.ts"
import * as ContextHandle from "../ContextHandle.ts"
import * as Association from "../dcerpc/Association.ts"
import * as Idl from "../idl/Idl.ts"
import * as Ndr from "../ndr/Ndr.ts"
import * as Pipe from "../Pipe.ts"
import * as Status from "../Status.ts"
import * as StringBinding from "../transport/StringBinding.ts"
import type { Transport } from "../transport/Transport.ts"
import { choose, isSource, misused, readDescription } from "./Descriptions.ts"
import { exitCodes, explain, type Failure, type Target } from "./Failure.ts"
import { Files } from "./Files.ts"
import { type Answer, optionsOf } from "./Inquiries.ts"
import { type Handles, Mismatch, readJson, Values } from "./JsonValues.ts"
import { escapeJson, progress } from "./Screen.ts"

/** What a person writes behind `callisto call`. */
export interface CallOptions {
  readonly source: string
  /** Methods, each by its name or number, and behind each its input where it has one. */
  readonly words: ReadonlyArray<string>
  readonly include: ReadonlyArray<string>
  readonly interface: string | undefined
  /** Whether a result that is an error ends the tool with exit code 1. */
  readonly fail: boolean
}

/** A handle in the place of one that an earlier method will give. */
const standIn = (name: string): ContextHandle.ContextHandle<string> =>
  Result.getOrThrow(Ndr.codecOf(ContextHandle.make(name))!.decode(Ndr.makeReader(new Uint8Array(20).fill(1))))

/** A method with the text of its input. */
interface Step {
  readonly method: string
  readonly input: string | undefined
}

const form = "Write callisto call BINDING FILE METHOD [JSON] [METHOD [JSON] ...]."

const isInput = (word: string): boolean => word === "-" || /^\s*[{@[]/.test(word)

/** Splits the words into methods and inputs: an input begins with a brace, with @, or is -. */
const stepsOf = (
  { binding }: Target,
  { source, words }: CallOptions
): Effect.Effect<ReadonlyArray<Step>, Failure> => {
  const missing = (what: string, because: string) => Effect.fail(misused(`${what} is missing: ${because}.`, form))
  const refused = StringBinding.parse(binding)
  if (Result.isFailure(refused)) {
    if (isSource(binding)) return missing("BINDING", `${binding} is no string binding`)
    return Effect.fail(explain({ binding, timeout: Option.none(), login: undefined })(refused.failure))
  }
  const [first] = words
  if (first === undefined || isInput(first)) {
    if (isInput(source)) return missing("FILE", `${source} is an input`)
    if (!isSource(source)) return missing("FILE", `${source} is no IDL file, module or built-in interface`)
    return missing("METHOD", first === undefined ? `nothing stands behind ${source}` : `${first} is an input`)
  }
  const steps: Array<Step> = []
  for (const word of words) {
    const last = steps.at(-1)
    if (!isInput(word)) steps.push({ method: word, input: undefined })
    else if (last!.input !== undefined) {
      return missing("METHOD", `${word} stands behind ${last!.input}, and each method takes one input`)
    } else steps[steps.length - 1] = { ...last!, input: word }
  }
  return Effect.succeed(steps)
}

const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes).replace(/^\ufeff/, "")

/** The JSON of an input: as it stands, of a file, or of standard input. */
const jsonOf = (word: string | undefined): Effect.Effect<unknown, Failure> =>
  Effect.gen(function* () {
    if (word === undefined) return {}
    const files = yield* Files
    const read = word === "-" ? files.stdin : word.startsWith("@") ? files.read(word.slice(1)) : undefined
    const text = read === undefined
      ? word
      : decode(yield* Effect.mapError(read, (problem) => misused(`${problem}.`, "Write the JSON itself, @FILE or -.")))
    return yield* Effect.try({
      try: () => readJson(text),
      catch: (error) =>
        misused(`The input is no JSON: ${(error as Error).message}.`, 'Put it in single quotes: \'{"name": "value"}\'.')
    })
  })

/** The string binding to use: without an endpoint, with that of the IDL for its protocol. */
const withEndpoint = (binding: string, { endpoints }: Idl.InterfaceModel): string => {
  const parsed = StringBinding.parse(binding)
  if (Result.isFailure(parsed) || parsed.success.endpoint !== undefined) return binding
  for (const text of endpoints) {
    const known = StringBinding.parse(text)
    if (Result.isFailure(known) || known.success.protocol !== parsed.success.protocol) continue
    const { endpoint } = known.success
    if (endpoint !== undefined) return StringBinding.print({ ...parsed.success, endpoint })
  }
  return binding
}

/** Calls methods one after another on one connection, and shows what each gives. */
export const call = (
  target: Target,
  options: CallOptions,
  show: (answer: Answer) => Effect.Effect<void, PlatformError, Stdio.Stdio>
): Effect.Effect<void, Failure | PlatformError, Transport | Stdio.Stdio | Scope.Scope> =>
  Effect.gen(function* () {
    const { source } = options
    const steps = yield* stepsOf(target, options)
    const { document } = yield* readDescription(source, options.include)
    const { model, operations } = yield* choose(source, document, steps.map(({ method }) => method), options.interface)
    const handles: Handles = new Map()
    const values = new Values(document, handles)
    const inputs = yield* Effect.forEach(steps, ({ input }) => jsonOf(input))
    const place = { ...target, binding: withEndpoint(target.binding, model) }
    const iface = Idl.interfacesOf({ ...document, interfaces: [model] })[model.name]!
    const adviceOn = ({ name }: Idl.Operation): string => `callisto describe ${source} ${name} shows what it takes.`
    const read = (operation: Idl.Operation, i: number, from: Values) =>
      Effect.gen(function* () {
        const read = yield* Effect.try({
          try: () => from.input(operation, inputs[i]),
          catch: (error) => misused(wordsOf(error, "The input is nested too deeply"), adviceOn(operation))
        })
        // Asked before the call, so that what the input lacks is told apart from what the server refuses.
        const written = Ndr.codecOf(iface.methods[operation.name]!.in)?.encode(Ndr.makeWriter(), read.input)
        if (written !== undefined && Result.isFailure(written)) {
          const { message } = written.failure
          return yield* Effect.fail(misused(`${operation.name}: ${message.replace(/\.?$/, ".")}`, adviceOn(operation)))
        }
        return read
      })
    // A server is asked for nothing while a later input is wrong.
    const promised: Handles = new Map()
    const checking = new Values(document, promised)
    for (const [i, operation] of operations.entries()) {
      yield* read(operation, i, checking)
      for (const name of checking.handlesOf(operation)) promised.set(name, standIn(name))
    }
    // The binding outlives the call that makes it.
    const scope = yield* Effect.scope
    let binding: Binding<Idl.Untyped> | undefined
    for (const [i, operation] of operations.entries()) {
      const { input, pipes } = yield* read(operation, i, values)
      const bind = binding === undefined
        ? Scope.provide(Association.bind(iface, place.binding, optionsOf(place)), scope)
        : Effect.succeed(binding)
      const result = yield* progress(
        () => `Calling ${operation.name} at ${place.binding}`,
        Effect.flatMap(bind, (bound) => Effect.suspend(() => run(binding = bound, operation, input, pipes)))
      ).pipe(
        Effect.onInterrupt(() => Effect.logWarning(`Interrupted: the call of ${operation.name} was cancelled.`)),
        Effect.mapError((error) => ofMethod(source, operation, explain(place)(error as Status.RpcError)))
      )
      const document = yield* Effect.try({
        try: () => {
          const made = toDocument(values, operation, result)
          // Printing goes deeper than making.
          JSON.stringify(made)
          return made
        },
        catch: (error) => ({
          _tag: "Failure" as const,
          exitCode: exitCodes.internal,
          message: wordsOf(error, "The reply is nested too deeply to be shown"),
          advice: "Call it from a program."
        })
      })
      yield* show({ json: document, text: () => escapeJson(JSON.stringify(document, null, 2)) })
      const problem = yield* problemIn(operation, result.out)
      if (problem === undefined) continue
      if (options.fail) {
        return yield* Effect.fail({
          _tag: "Failure" as const,
          exitCode: exitCodes.refused,
          message: problem,
          advice: "The server ran the method, and its result is an error."
        })
      }
      yield* Effect.logWarning(problem)
    }
  })

/** A failure whose advice is about the method: what helps other commands helps no call. */
const ofMethod = (source: string, { name, opnum }: Idl.Operation, failure: Failure): Failure => {
  switch (failure.status?.number) {
    case 1745:
      return { ...failure, advice: `The server has no method ${opnum}: look whether ${source} is of its version.` }
    case 1783:
      return {
        ...failure,
        advice:
          `The server and ${source} describe ${name} differently: look whether ${source} is of the server's version.`
      }
    default:
      return failure
  }
}

const wordsOf = (error: unknown, deep: string): string => {
  if (error instanceof Mismatch) return `${error.message}.`
  if (error instanceof RangeError) return `${deep}.`
  throw error
}

// ----------------------------------------------------------------------------
// one call
// ----------------------------------------------------------------------------

interface Got {
  readonly out: Readonly<Record<string, unknown>>
  readonly pipes: ReadonlyArray<{ readonly name: string; readonly chunks: ReadonlyArray<unknown> }>
}

/** Begins the call, pushes its in pipes, pulls its out pipes, and takes its result. */
const run = (
  binding: Binding<Idl.Untyped>,
  { inPipe, name, outPipe }: Idl.Operation,
  input: unknown,
  pushed: ReadonlyArray<{ readonly name: string; readonly chunk: Uint8Array | ReadonlyArray<unknown> }>
) =>
  Effect.gen(function* () {
    const object = yield* Call.make(binding)
    const pending = yield* Call.begin(object, name, input)
    const chunks: Array<Got["pipes"][number]> = []
    if (inPipe.length + outPipe.length > 0) {
      for (const { chunk, name } of pushed) {
        const writer = Call.inPipe(pending, name as never) as Pipe.Writer<unknown, Status.RpcError>
        if (chunk.length > 0) yield* Pipe.push(writer, chunk)
        yield* Pipe.end(writer)
      }
      for (const { name } of outPipe) {
        const reader = Call.outPipe(pending, name as never) as Pipe.Reader<unknown, Status.RpcError>
        chunks.push({ name, chunks: yield* Stream.runCollect(Pipe.toStream(reader)) })
      }
    }
    const out = yield* Call.join(pending)
    const got: Got = { out: (out ?? {}) as Got["out"], pipes: chunks }
    return got
  }).pipe(Effect.scoped)

const toDocument = (
  values: Values,
  operation: Idl.Operation,
  { out, pipes }: Got
): { readonly [key: string]: unknown } => ({
  ...values.output(operation, out),
  ...Object.fromEntries(
    pipes.map(({ chunks, name }, i) => [name, values.chunks(operation.outPipe[i]!.element, chunks)])
  )
})

// ----------------------------------------------------------------------------
// results
// ----------------------------------------------------------------------------

/** How a result is judged, by the name of its type. */
const families: {
  readonly [type: string]: ((result: number) => Effect.Effect<number, { readonly message: string }>) | undefined
} = {
  NTSTATUS: Status.ntStatus,
  HRESULT: Status.hresult,
  SCODE: Status.hresult,
  DWORD: Status.win32,
  WERROR: Status.win32,
  NET_API_STATUS: Status.win32,
  error_status_t: Status.win32
}

/** What a result means that is an error in the family of its type. */
const problemIn = ({ name, out, returns }: Idl.Operation, values: Got["out"]): Effect.Effect<string | undefined> => {
  const family = returns !== undefined && Object.hasOwn(families, returns) ? families[returns] : undefined
  const member = out.at(-1)?.name
  const result = member === undefined ? undefined : values[member]
  return family === undefined || typeof result !== "number" ? Effect.succeed(undefined) : Effect.match(family(result), {
    onFailure: ({ message }) => `${name}: ${message}`,
    onSuccess: () => undefined
  })
}
