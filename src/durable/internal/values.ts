/**
 * Values as the record keeps them: JSON by the schemas of the method, sealed where the program wants that.
 */
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import type { Outcome } from "../../Channel.ts"
import { type Abort, abortOf, type Interface, type Method, type Operation } from "../../Interface.ts"
import { badInput, issueIn } from "../../internal/badInput.ts"
import { cancelled, errorOf, unreadable } from "../../internal/failures.ts"
import { fullOperation } from "../../internal/seams.ts"
import type { Kind } from "../../Observability.ts"
import { BadStubData, CallCancelled, ContextMismatch, RpcFault, RpcTransportError } from "../../Status.ts"

/** Seals text before it is stored. */
export interface Seal {
  readonly encode: (text: string) => Effect.Effect<string>
  readonly decode: (text: string) => Effect.Effect<string>
}

type Codec = Schema.Codec<unknown, unknown>

interface Codecs {
  readonly in: Codec
  readonly out: Codec
  readonly aborts: Map<unknown, Codec>
}

const known = new WeakMap<Method.Any, Codecs>()

const jsonCodec = (schema: unknown): Codec => Schema.toCodecJson(schema as never) as never

const codecsOf = (method: Method.Any): Codecs => {
  const made = known.get(method)
  if (made !== undefined) return made
  const codecs: Codecs = { in: jsonCodec(method.in), out: jsonCodec(method.out), aborts: new Map() }
  known.set(method, codecs)
  return codecs
}

const abortCodec = (method: Method.Any, error: unknown): Codec => {
  const { aborts } = codecsOf(method)
  let codec = aborts.get(error)
  if (codec === undefined) aborts.set(error, codec = jsonCodec(error))
  return codec
}

/** A schema's problem with a value, in words. */
const problemOf = (failure: unknown): string =>
  issueIn((failure as { readonly issue?: unknown } | undefined)?.issue) ?? issueIn(failure) ??
    (failure instanceof Error ? failure.message : String(failure))

const attempt = <A>(make: () => A): Exit.Exit<A, unknown> => {
  try {
    return Exit.succeed(make())
  } catch (problem) {
    return Exit.fail(problem)
  }
}

const encode = (codec: Codec, value: unknown): Exit.Exit<unknown, unknown> => {
  const exit = Schema.encodeUnknownExit(codec)(value)
  return exit._tag === "Success" ? exit : Exit.fail(errorOf(exit.cause) ?? "it could not be encoded")
}

const decode = (codec: Codec, value: unknown): Exit.Exit<unknown, unknown> => {
  const exit = Schema.decodeUnknownExit(codec)(value)
  return exit._tag === "Success" ? exit : Exit.fail(errorOf(exit.cause) ?? "it could not be decoded")
}

/** Nothing at all has no JSON: it is an empty text. */
const stored = (value: unknown): string => JSON.stringify(value) ?? ""

// ----------------------------------------------------------------------------
// in parameters
// ----------------------------------------------------------------------------

/** The in parameters as text, or the reason why they can't be stored. */
export const encodeInput = ({ method }: Operation, input: unknown): string | BadStubData => {
  const encoded = encode(codecsOf(method).in, input)
  const text = encoded._tag === "Success" ? attempt(() => stored(encoded.value)) : encoded
  return text._tag === "Success" ? text.value as string : badInput(problemOf(errorOf(text.cause)))
}

/** The in parameters of a text, or the reason why it is not one that the present schema reads. */
export const decodeInput = ({ method }: Operation, text: string): Exit.Exit<unknown, BadStubData> => {
  const json = attempt((): unknown => text === "" ? undefined : JSON.parse(text))
  const decoded = json._tag === "Success" ? decode(codecsOf(method).in, json.value) : json
  return decoded._tag === "Success"
    ? Exit.succeed(decoded.value)
    : Exit.fail(badInput(problemOf(errorOf(decoded.cause))))
}

/** A stored input as the present schema writes it; `undefined` for what it does not read. */
export const rewrite = (operation: Operation, text: string): string | undefined => {
  const input = decodeInput(operation, text)
  if (input._tag === "Failure") return undefined
  const again = encodeInput(operation, input.value)
  return typeof again === "string" ? again : undefined
}

// ----------------------------------------------------------------------------
// outcomes
// ----------------------------------------------------------------------------

/** An outcome as the record keeps it. `n` says that nothing was executed. */
type Stored =
  | { readonly t: "ok"; readonly v?: unknown }
  | { readonly t: "abort"; readonly c: number; readonly v: unknown }
  | { readonly t: "fault"; readonly c: number; readonly n?: 1 }
  | { readonly t: "cancelled"; readonly n?: 1 }
  | { readonly t: "mismatch"; readonly n?: 1 }
  | { readonly t: "lost"; readonly s: 1722 | 1726 | 1727; readonly d: string }

const never = (didNotExecute: boolean): { readonly n?: 1 } => didNotExecute ? { n: 1 } : {}

export const faultText = (code: number, didNotExecute: boolean): string =>
  stored({ t: "fault", c: code, ...never(didNotExecute) })

export const lostText = (status: 1722 | 1726 | 1727, detail: string): string =>
  stored({ t: "lost", s: status, d: detail })

/** An outcome as text, or the reason why its out parameters can't be stored. */
export const encodeOutcome = ({ method }: Operation, outcome: Outcome): string | BadStubData => {
  if (outcome._tag === "Success") {
    const encoded = encode(codecsOf(method).out, outcome.value)
    const text = encoded._tag === "Success" ? attempt(() => stored({ t: "ok", v: encoded.value })) : encoded
    return text._tag === "Success"
      ? text.value as string
      : new BadStubData({ detail: `The results were refused: ${problemOf(errorOf(text.cause))}` })
  }
  const error = errorOf(outcome.cause)
  if (error instanceof RpcFault) return faultText(error.code, error.didNotExecute)
  if (error instanceof CallCancelled) return stored({ t: "cancelled", ...never(error.didNotExecute) })
  if (error instanceof ContextMismatch) return stored({ t: "mismatch", ...never(error.didNotExecute) })
  if (error instanceof RpcTransportError) return lostText(error.status, error.detail)
  const abort = abortOf(method, error)
  if (abort === undefined) return faultText(1726, false)
  const encoded = encode(abortCodec(method, abort.error), error)
  const text = encoded._tag === "Success"
    ? attempt(() => stored({ t: "abort", c: abort.code, v: encoded.value }))
    : encoded
  // The class of the error takes what it does not encode: its code still reaches the client.
  return text._tag === "Success" ? text.value as string : faultText(abort.code, false)
}

/** What a client gets for a stored outcome. A text that is none ends that call alone. */
export const decodeOutcome = (operation: Operation, text: string): Outcome => {
  const read = attempt(() => outcomeOf(operation, text))
  return read._tag === "Success" ? read.value : Exit.fail(unreadable(problemOf(errorOf(read.cause))))
}

const outcomeOf = (operation: Operation, text: string): Outcome => {
  const json = attempt(() => JSON.parse(text) as Stored)
  if (json._tag === "Failure") return Exit.fail(unreadable("the record holds no JSON"))
  const outcome = json.value
  if (outcome?.t === "ok") return valueOf(codecsOf(operation.method).out, outcome.v)
  if (outcome?.t === "abort") return abortionOf(operation, outcome.c, outcome.v)
  const failure = failureIn(outcome)
  return Exit.fail(typeof failure === "string" ? unreadable(failure) : failure)
}

/** The failure of an outcome without a value, or the reason why there is none. */
const failureIn = (outcome: Stored): RpcFault | CallCancelled | ContextMismatch | RpcTransportError | string => {
  switch (outcome?.t) {
    case "fault":
      return isCode(outcome.c)
        ? new RpcFault({ code: outcome.c, didNotExecute: outcome.n === 1 })
        : "the record holds a fault without a code"
    case "cancelled":
      return cancelled(outcome.n === 1)
    case "mismatch":
      return new ContextMismatch({ didNotExecute: outcome.n === 1 })
    case "lost":
      return [1722, 1726, 1727].includes(outcome.s)
        ? new RpcTransportError({
          status: outcome.s,
          detail: typeof outcome.d === "string" ? outcome.d : "the record does not say why"
        })
        : "the record holds a failure without a status"
    default:
      return "the record holds an outcome of another version"
  }
}

/** A stored outcome as an operator sees it, who does not know the method. */
export interface Glance {
  readonly kind: Kind | "sealed" | "unreadable"
  readonly error: Exclude<ReturnType<typeof failureIn>, string> | undefined
  /** What the method gave, as JSON; `undefined` for nothing. */
  readonly value: unknown
}

/** What a stored outcome says by itself. */
export const glanceAt = (text: string): Glance => {
  const json = attempt(() => JSON.parse(text) as Stored | { readonly t: "sealed" })
  const outcome = json._tag === "Success" ? json.value : undefined
  if (outcome?.t === "ok") return { kind: "replied", error: undefined, value: outcome.v }
  if (outcome?.t === "sealed") return { kind: "sealed", error: undefined, value: undefined }
  const isAbort = outcome?.t === "abort"
  const error = failureIn(isAbort ? { t: "fault", c: outcome.c } : outcome as Stored)
  if (typeof error === "string") return { kind: "unreadable", error: undefined, value: undefined }
  return { kind: kinds[error._tag], error, value: isAbort ? outcome.v : undefined }
}

const kinds = {
  RpcFault: "aborted",
  CallCancelled: "cancelled",
  ContextMismatch: "aborted",
  RpcTransportError: "lost"
} as const

const isCode = (code: unknown): code is number =>
  Number.isInteger(code) && (code as number) >= 0 && (code as number) <= 0xffffffff

const valueOf = (codec: Codec, value: unknown): Outcome => {
  const decoded = decode(codec, value)
  if (decoded._tag === "Success") return Exit.succeed(decoded.value)
  return Exit.fail(unreadable(problemOf(errorOf(decoded.cause))))
}

const abortionOf = ({ method }: Operation, code: number, value: unknown): Outcome => {
  const error = method.aborts.find((abort) => abort.code === code)?.error ?? method.openAbort?.error
  // The client knows the method in a form that does not declare this abort.
  if (error === undefined) {
    return Exit.fail(isCode(code) ? new RpcFault({ code }) : unreadable("an abort without a code"))
  }
  const decoded = decode(abortCodec(method, error), value)
  return decoded._tag === "Success"
    ? Exit.fail(decoded.value as Abort.Error)
    : Exit.fail(unreadable(problemOf(errorOf(decoded.cause))))
}

// ----------------------------------------------------------------------------
// what can't be kept
// ----------------------------------------------------------------------------

/** Why an interface can't be called durably; `undefined` where it can. */
export const unfit = (iface: Interface.Any, mayHoldSecrets: boolean): string | undefined => {
  for (const operation of Object.values<Operation>(iface.operations)) {
    const { method, name } = operation
    const { handlesIn, handlesOut, pipes } = fullOperation(operation)
    if (name.length > 128) {
      return `the record has no room for a method's name of ${name.length} characters, expected at most 128`
    }
    if (pipes !== undefined) return `${name} has pipes, which end with their process. Call it over another binding`
    if (handlesIn !== undefined || handlesOut !== undefined) {
      return `${name} has context handles, which end with their process. Call it over another binding`
    }
    const aborts = [...method.aborts, ...(method.openAbort === undefined ? [] : [method.openAbort])]
    const schemas: ReadonlyArray<unknown> = [method.in, method.out, ...aborts.map(({ error }) => error)]
    if (!mayHoldSecrets && schemas.some((schema) => holdsRedacted((schema as { ast: SchemaAST.AST }).ast, new Set()))) {
      return `${name} holds a Redacted value, which would lie in clear in the database. Give seal or redacted: "store" to Durable.layer`
    }
  }
  return undefined
}

/** Whether a schema holds a `Redacted` somewhere. Looks at all parts of its tree. */
const holdsRedacted = (node: unknown, seen: Set<unknown>): boolean => {
  if (typeof node !== "object" || node === null || seen.has(node)) return false
  seen.add(node)
  if (Array.isArray(node)) return node.some((item) => holdsRedacted(item, seen))
  const { _tag, annotations, thunk } = node as {
    readonly _tag?: unknown
    readonly annotations?: { readonly expected?: unknown }
    readonly thunk?: () => unknown
  }
  if (_tag === "Declaration" && annotations?.expected === "Redacted") return true
  if (typeof thunk === "function" && holdsRedacted(thunk(), seen)) return true
  return Object.entries(node).some(([key, value]) => key !== "annotations" && holdsRedacted(value, seen))
}
