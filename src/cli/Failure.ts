/**
 * What went wrong, in the words of the tool: the Windows status, a sentence, what to try, and the exit code.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { named } from "../internal/named.ts"
import type * as Security from "../security/Security.ts"
import * as StringBinding from "../transport/StringBinding.ts"
import type { Codes, RpcError } from "../Status.ts"
import { showMillis } from "./Latency.ts"

/** Who logs in, as a person reads it. */
export interface Login {
  readonly user: string
  readonly domain: string | undefined
  readonly security: Security.Security
}

/** A server to ask. */
export interface Target {
  /** Its string binding. */
  readonly binding: string
  /** The time that connecting and each call may take. */
  readonly timeout: Option.Option<Duration.Duration>
  /** Who logs in; `undefined` for nobody. */
  readonly login: Login | undefined
}

/** The exit codes of the tool. 128 and more are those of shells for signals. */
export const exitCodes: { readonly [Name in "ok" | "refused" | "usage" | "unreachable" | "internal"]: number } = {
  ok: 0,
  refused: 1,
  usage: 2,
  unreachable: 3,
  internal: 70
}

/** Why a command failed. */
export interface Failure {
  readonly _tag: "Failure"
  readonly exitCode: number
  /** The Windows status, where there is one. */
  readonly status?: { readonly number: number; readonly name?: string }
  readonly message: string
  readonly advice: string
}

/** The message with the name to look up: that of the library's error, or else that of the exit code. */
export const sentenceOf = ({ exitCode, message }: Failure): string =>
  / \([A-Z]\w+\)$/.test(message) ? message : named(message, `ExitCode${exitCode}`)

/** A failure as programs get it. */
export const toJson = (failure: Failure): { readonly [key: string]: unknown } => {
  const { advice, exitCode, status } = failure
  return {
    exitCode,
    status: status === undefined ? null : { number: status.number, name: status.name ?? null },
    message: sentenceOf(failure),
    advice
  }
}

/** What Deno does not allow is wrong usage, whatever came of it. */
export const withPermission = (failure: Failure): Failure => {
  const [found, flag] = /,? run again with the (--allow-[a-z]+) flag/.exec(failure.message) ?? []
  if (found === undefined) return failure
  const { status: _, ...rest } = failure
  return {
    ...rest,
    exitCode: exitCodes.usage,
    message: failure.message.replace(found, ""),
    advice: `Add ${flag} behind deno run.` +
      (failure.message.startsWith("ncalrpc:")
        ? " A Unix socket needs --allow-read, --allow-write and --allow-net."
        : "")
  }
}

/** Explains an error of a call to a server. */
export const explain = (target: Target) => (error: RpcError | StringBinding.StringBindingError): Failure => {
  const { fault, hresult, rpcStatus } = error.codes as Codes
  const code = rpcStatus ?? fault ?? hresult!
  return {
    _tag: "Failure",
    exitCode: exitCodeOf(error),
    status: code.name === String(code.number) ? { number: code.number } : code,
    message: messageOf(error, target),
    advice: adviceOn(code.number, error, target)
  }
}

const messageOf = (error: RpcError | StringBinding.StringBindingError, { timeout }: Target): string => {
  switch (error._tag) {
    case "RpcTransportError":
      return named(`${error.detail}.`, error._tag)
    case "CallCancelled":
      // The tool cancels a call by itself for nothing else.
      return named(
        `No answer came within ${
          Option.match(timeout, { onNone: () => "30 s", onSome: (timeout) => showMillis(Duration.toMillis(timeout)) })
        }, so the call was cancelled.`,
        error._tag
      )
    default:
      return error.message
  }
}

const exitCodeOf = ({ _tag }: RpcError | StringBinding.StringBindingError): number => {
  switch (_tag) {
    case "StringBindingError":
      return exitCodes.usage
    case "RpcTransportError":
    case "CallCancelled":
      return exitCodes.unreachable
    default:
      return exitCodes.refused
  }
}

const adviceOn = (
  status: number,
  error: RpcError | StringBinding.StringBindingError,
  { binding, login }: Target
): string => {
  if (error._tag === "StringBindingError" && /^(?:[^@:]*@)?ncacn_np:/i.test(binding)) {
    const [, host = ""] = /ncacn_np:(?:\\\\)*([A-Za-z0-9.-]*)/i.exec(binding) ?? []
    const mapper = quote(`ncacn_ip_tcp:${host === "" ? "127.0.0.1" : host}`)
    return `Named pipes are not supported yet: use ncacn_ip_tcp or ncalrpc. callisto dump ${mapper} lists what the machine serves.`
  }
  if (error._tag === "StringBindingError") return `Write ${quote(suggested(binding))}, for instance.`
  if (error._tag === "RpcFault" && status === 1726) return "The server failed at this call: look into its log."
  switch (status) {
    case 5:
      if (login === undefined) return "The server wants to know who calls: add --user NAME."
      return error._tag === "RpcFault" && error.detail !== undefined
        ? "Check --user and --domain, and the password."
        : "Look whether the user may do this, and whether the server wants a higher --level."
    case 1747:
      return "The server does not have this provider: try another one with --provider."
    case 1749:
    case 1822:
    case 1825:
      return "Check --user, --domain, --provider, --level and --kdc; the server's log says more."
    case 1717:
      return `callisto interfaces ${quote(binding)} lists what the server offers.`
    case 1722:
      return `Check that the server runs there. ${mapperAdvice(binding)}`
    case 1723:
      return "The server has too much to do. Try again in a moment."
    case 1726:
    case 1727:
      return "The connection was lost. Try again, and look into the server's log."
    case 1745:
    case 1783:
      return "The server has this call in another form than the standard, or not at all; other commands may work."
    case 1753:
      return `callisto dump ${quote(binding)} lists the endpoints that it knows: name one in the string binding.`
    case 1818:
      return `callisto ping ${quote(binding)} tells whether the server answers at all.`
    default:
      return "The documentation of the server says what it means; on Windows net helpmsg explains numbers below 20000."
  }
}

/** Where to look for the endpoint of a server. */
const mapperAdvice = (binding: string): string => {
  const parsed = StringBinding.parse(binding)
  if (Result.isFailure(parsed) || parsed.success.protocol !== "ncacn_ip_tcp") return "Check its address."
  const { address, endpoint } = parsed.success
  return endpoint === undefined
    ? "Without an endpoint in the string binding an endpoint mapper has to listen there, on port 135."
    : `callisto dump ${quote(`ncacn_ip_tcp:${address}`)} lists the endpoints that its endpoint mapper knows.`
}

/** What somebody may have meant who wrote no string binding. */
const suggested = (text: string): string => {
  const [, host, port] =
    /^(?:[a-z]+:\/\/|ncacn_ip_tcp:)?([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::(\d{1,5}))?\/?$/.exec(text) ?? []
  const binding = host === undefined
    ? undefined
    : `ncacn_ip_tcp:${host.replace(/^\[|\]$/g, "")}${port === undefined ? "" : `[${port}]`}`
  return binding !== undefined && Result.isSuccess(StringBinding.parse(binding))
    ? binding
    : "ncacn_ip_tcp:127.0.0.1[8765]"
}

/** A string binding as shells take it: brackets mean something to most of them. */
const quote = (binding: string): string => /^[\w:.,@=\[\]-]*$/.test(binding) ? `"${binding}"` : `'${binding}'`
