/** How the library itself makes, finds and completes the errors of calls. */
import * as Cause from "effect/Cause"
import {
  CallCancelled,
  ContextMismatch,
  PipeClosed,
  PipeDisciplineError,
  PipeEmpty,
  type PipeError,
  RpcFault,
  RpcTransportError,
  WrongPipeOrder
} from "../Status.ts"
import { type FailedCall, nameCall } from "./callFields.ts"
import { received } from "./faultTable.ts"
import { type Abort, abortFromCode, type Operation } from "../Interface.ts"
import { fullOperation } from "./seams.ts"
import { refuseCode, seenAs } from "./statusTable.ts"

// Engines without this property ignore it.
const stacks = Error as { stackTraceLimit?: number | undefined }

const withoutStack = <E>(make: () => E): E => {
  const limit = stacks.stackTraceLimit
  stacks.stackTraceLimit = 0
  try {
    return make()
  } finally {
    stacks.stackTraceLimit = limit
  }
}

/** An error without a stack says the same of every call, so it is made once. */
const sharing = <E>(make: (didNotExecute: boolean) => E): (didNotExecute: boolean) => E => {
  const made = new Map<boolean, E>()
  return (didNotExecute) => {
    const known = made.get(didNotExecute)
    if (known !== undefined) return known
    const error = withoutStack(() => make(didNotExecute))
    made.set(didNotExecute, error)
    return error
  }
}

/** A `CallCancelled` without a stack: it would only show the library, and costs more than the rest of a cancel. */
export const cancelled: (didNotExecute: boolean) => CallCancelled = sharing((didNotExecute) =>
  new CallCancelled({ didNotExecute })
)

/** A `ContextMismatch` without a stack, like {@link cancelled}: a client that forges handles makes many. */
export const contextMismatch: (didNotExecute: boolean) => ContextMismatch = sharing((didNotExecute) =>
  new ContextMismatch({ didNotExecute })
)

/** The `RpcFault` for the number in a fault. Its frames would only show the library. */
export const fromWire = (number: number, didNotExecute: boolean): RpcFault =>
  withoutStack(() => new RpcFault({ ...received(number), didNotExecute }))

/** The failure of a call that never reached a server. */
export const unavailable = (detail: string): RpcTransportError => new RpcTransportError({ status: 1722, detail })

/** The failure of a call whose response the client refuses. The server has ended it, and did so well as far as it knows. */
export const unreadable = (problem: string): RpcTransportError =>
  new RpcTransportError({ status: 1726, detail: `the client cannot read the response: ${problem}` })

/** The failure of a cause; `undefined` where it did not fail. */
export const errorOf = (cause: Cause.Cause<unknown>): unknown => cause.reasons.find(Cause.isFailReason)?.error

// ----------------------------------------------------------------------------
// pipes
// ----------------------------------------------------------------------------

const pipeErrors = [WrongPipeOrder, PipeClosed, PipeEmpty, PipeDisciplineError]

/** Whether an error is one of the four of pipes. */
export const isPipeError = (error: unknown): error is PipeError =>
  pipeErrors.some((PipeError) => error instanceof PipeError)

// ----------------------------------------------------------------------------
// faults
// ----------------------------------------------------------------------------

/** The failure of a client's call for a fault: the same over the network, in process and in the test kit. */
export const failureOf = (
  operation: Operation,
  fault: RpcFault
): RpcFault | CallCancelled | ContextMismatch | PipeError | Abort.Error => {
  const { handlesIn, method, pipes } = fullOperation(operation)
  const { code, didNotExecute } = fault
  if (code === 6 && handlesIn !== undefined) return contextMismatch(didNotExecute)
  if (code === 1818) return cancelled(didNotExecute)
  const pipeError = pipes && pipeErrors.find(({ prototype: { codes } }) => codes.rpcStatus!.number === code)
  if (pipeError !== undefined) return new pipeError({ pipe: "of the call" })
  // A server that refuses a call does not speak for the manager.
  return (didNotExecute ? undefined : abortFromCode(method, code)) ?? fault
}

/**
 * The client's failure for a routine that fails with a fault, or the reason why the client gets 1726 instead.
 *
 * A fault that the routine passes on from a call of its own says nothing but its code about the client's call.
 */
export const answerOf = (operation: Operation, fault: RpcFault): ReturnType<typeof failureOf> | string => {
  const code = seenAs(fault.code)
  const passedOn = fault.didNotExecute || fault.wireCode !== undefined || fault.interface !== undefined
  // A routine's own 1728 travels as this number, which ends no connection.
  const refused = code === 1728 && !passedOn ? undefined : refuseCode(code)
  return refused ??
    failureOf(operation, passedOn || code !== fault.code ? withoutStack(() => new RpcFault({ code })) : fault)
}

// ----------------------------------------------------------------------------
// the call that failed
// ----------------------------------------------------------------------------

/**
 * An error that names the call which failed. It is a new error of the same class, with the fields of the given one: the server or
 * other calls may hold that. Its stack is its message, as of an error that came over the network.
 *
 * Any other error, a declared abort for one, is given back as it is.
 */
export const located = <E>(error: E, call: Partial<FailedCall>): E => {
  if (!(error instanceof Error)) return error
  const Class = error.constructor as new () => E & Error
  if (!nameCall((Class as { readonly fields?: object }).fields)) return error
  const fields = { ...(error as object), ...call }
  // Its fields were checked when it was made, so the copy is made without the constructor, at a tenth of the cost.
  const copy = withoutStack(() => Reflect.construct(Error, [], Class) as E & Error)
  // Effect compares errors also by the arguments of their constructor.
  Object.defineProperty(Object.assign(copy, fields), plainArgs, { value: fields })
  // JavaScriptCore gives an error without frames no stack at all.
  if (!Object.hasOwn(copy, "stack")) {
    Object.defineProperty(copy, "stack", { value: String(copy), configurable: true, writable: true })
  }
  return copy
}

const plainArgs = Symbol.for("effect/Data/Error/plainArgs")
