/**
 * The refusals and failures of calls as typed errors, each with the numbers and names under which Windows documents it.
 *
 * A *refusal* tells a program that it asked for something out of turn, such as a finish before completion or a second begin. A
 * refusal changes nothing. A *failure* is the outcome of a call: the error of `Call.finish`.
 *
 * @module
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { callFields, type CallSchema } from "./internal/callFields.ts"
import { faults as allFaults, received } from "./internal/faultTable.ts"
import { named, refuseArgument } from "./internal/named.ts"
import { hresultName, ntStatusName, win32Name } from "./internal/resultNames.ts"
import { addressCode, faultOf, rowOf, rows, toHex, win32Of } from "./internal/statusTable.ts"

// ----------------------------------------------------------------------------
// numbers
// ----------------------------------------------------------------------------

/**
 * A documented number together with its documented name.
 *
 * @category models
 * @since 0.1.0
 */
export interface Code {
  /** The number, unsigned 32-bit. */
  readonly number: number
  /** The name that Windows or the protocol gives it. */
  readonly name: string
}

/**
 * All the numbers under which an error is documented. A missing field means that there is no such number.
 *
 * @category models
 * @since 0.1.0
 */
export interface Codes {
  /** The RPC status, a Win32 code. */
  readonly rpcStatus?: Code
  /** The COM result, an HRESULT. */
  readonly hresult?: Code
  /** The status that a fault carries on the network. */
  readonly fault?: Code
}

/**
 * The documented numbers of each error that has only one meaning. `RpcFault`, `RpcTransportError` and `CantCreateEndpoint` carry
 * their numbers themselves.
 *
 * **Example** (The numbers of one error)
 *
 * ```ts
 * import { Status } from "@callisto/rpc"
 *
 * Status.codes.CallComplete.hresult // => { number: 0x80010117, name: "RPC_E_CALL_COMPLETE" }
 * new Status.CallPending().codes.rpcStatus?.number // => 997
 * ```
 *
 * @category numbers
 * @since 0.1.0
 */
export const codes: {
  readonly [Tag in Exclude<RpcError["_tag"], "CantCreateEndpoint" | "RpcFault" | "RpcTransportError">]: Codes
} = Object.fromEntries(rows.flatMap(({ codes, error }) => error === undefined ? [] : [[error, codes]])) as typeof codes

/**
 * The statuses that a fault can carry on the network, each with the Win32 code that a client reads in its place. A status without
 * such a code reaches the program as it is.
 *
 * **Example** (The Win32 code for a status of a fault)
 *
 * ```ts
 * import { Status } from "@callisto/rpc"
 *
 * Status.faults.find(({ number }) => number === 0x1c010014)?.rpcStatus // => 1723
 * ```
 *
 * @category numbers
 * @since 0.1.0
 */
export const faults: ReadonlyArray<Code & { readonly rpcStatus?: number }> = allFaults

// ----------------------------------------------------------------------------
// what the errors share
// ----------------------------------------------------------------------------

/** The members of every error of this module, beside its fields. */
interface Documented extends Cause.YieldableError {
  /** The documented numbers of the error. */
  readonly codes: Codes
  /** The problem, in a sentence for people. It ends with the name of the class, as the reference of errors lists it. */
  readonly message: string
}

type ErrorClass<Self, Tag extends string, Fields extends Schema.Struct.Fields = {}> = Schema.Class<
  Self,
  Schema.TaggedStruct<Tag, Fields>,
  Documented
>

/** Makes a class of errors. */
const makeClass = <Self, const Tag extends string, const Fields extends Schema.Struct.Fields>(
  tag: Tag,
  fields: Fields,
  sentence: (error: Self) => string
): ErrorClass<Self, Tag, Fields> => {
  const Class = Schema.TaggedError<Self>(`@callisto/rpc/${tag}`)(tag, fields) as unknown as ErrorClass<
    Self,
    Tag,
    Fields
  >
  const numbers = (codes as Record<string, Codes>)[tag]
  Object.defineProperties(Class.prototype, {
    codes: { get: () => numbers },
    message: {
      get(this: Self) {
        return named(sentence(this), tag)
      }
    }
  })
  return Class
}

// A function spreads the fields: bundlers would keep an unused class with a spread at the top level.
const makeCallClass = <Self extends CallFields, const Tag extends string, const Fields extends Schema.Struct.Fields>(
  tag: Tag,
  fields: Fields,
  sentence: (error: Self) => string
): ErrorClass<Self, Tag, CallSchema & Fields> =>
  makeClass<Self, Tag, Fields & CallSchema>(
    tag,
    { ...fields, ...callFields },
    (error) => whereOf(error) + sentence(error)
  ) as never

interface CallFields {
  readonly interface?: string | undefined
  readonly method?: string | undefined
  readonly address?: string | undefined
}

/** Names the call that an error belongs to, as far as the error knows it. */
const whereOf = ({ address, interface: name, method }: CallFields): string => {
  const call = [name, method].filter(Boolean).join(".")
  const place = [call, address].filter(Boolean).join(" at ")
  return place === "" ? "" : `${place}: `
}

type DidNotExecute = Schema.withConstructorDefault<Schema.Boolean>

const didNotExecute: DidNotExecute = Schema.Boolean.pipe(Schema.withConstructorDefault(Effect.succeed(false)))

// ----------------------------------------------------------------------------
// refusals
// ----------------------------------------------------------------------------

const CallPendingBase: ErrorClass<CallPending, "CallPending"> = makeClass(
  "CallPending",
  {},
  () => "The call is still pending. Wait for it and finish it before the next begin; join does both."
)

/**
 * Refuses a `begin` on a call object that carries a call already, and a `finish` of a call that is not complete. The
 * pending call is untouched.
 *
 * Windows: 997 `RPC_S_ASYNC_CALL_PENDING`, 0x80010115 `RPC_S_CALLPENDING` (the COM guide writes `RPC_E_CALL_PENDING`).
 *
 * @category refusals
 * @since 0.1.0
 */
export class CallPending extends CallPendingBase {}

const CallCompleteBase: ErrorClass<CallComplete, "CallComplete"> = makeClass(
  "CallComplete",
  {},
  () => "The call is complete. There is nothing left to wait for or to cancel, and its result can be taken only once."
)

/**
 * Refuses an operation on a call that is over: the call was finished and its evidence is stale, or `cancel` came after completion.
 *
 * Windows: 0x80010117 `RPC_E_CALL_COMPLETE`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class CallComplete extends CallCompleteBase {}

type HandleFields = {
  readonly handle: Schema.Literals<readonly ["call object", "durable call", "server call"]>
}

const InvalidAsyncHandleBase: ErrorClass<InvalidAsyncHandle, "InvalidAsyncHandle", HandleFields> = makeClass(
  "InvalidAsyncHandle",
  { handle: Schema.Literals(["call object", "durable call", "server call"]) },
  ({ handle }) =>
    handle === "call object"
      ? "The call object was released: its scope is closed."
      : handle === "durable call"
      ? "There is no such durable call."
      : "The server call has ended: it was answered before, or its client is gone."
)

/**
 * Refuses every operation on a call object that was released, `complete` or `abort` of a server call that has ended because it
 * was answered before or its client is gone, and a handle or token of which there is no durable call.
 *
 * Windows: 1914 `RPC_S_INVALID_ASYNC_HANDLE`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class InvalidAsyncHandle extends InvalidAsyncHandleBase {}

const WaitTimeoutBase: ErrorClass<WaitTimeout, "WaitTimeout"> = makeClass(
  "WaitTimeout",
  {},
  () => "The wait timed out. Nothing was changed: wait again, cancel, or go on with other work."
)

/**
 * A wait reached its timeout. The call or the event goes on as if nobody had waited.
 *
 * Windows: 0x8001011F `RPC_E_TIMEOUT`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class WaitTimeout extends WaitTimeoutBase {}

type MethodFields = { readonly interface: Schema.String; readonly method: Schema.String }

const CancelDisabledBase: ErrorClass<CancelDisabled, "CancelDisabled", MethodFields> = makeClass(
  "CancelDisabled",
  { interface: Schema.String, method: Schema.String },
  (error) => `${error.interface}.${error.method}: the server has disabled cancellation. Wait for the call to complete.`
)

/**
 * Refuses `cancel`: the object in this process has disabled cancellation for the method. The call goes on.
 *
 * Windows: 0x80010140 `CO_E_CANCEL_DISABLED`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class CancelDisabled extends CancelDisabledBase {}

const NoSyncBase: ErrorClass<NoSync, "NoSync"> = makeClass(
  "NoSync",
  {},
  () => "There is nothing to wait for: the list or the container is empty."
)

/**
 * Refuses a wait on many when there is nothing to wait for.
 *
 * Windows: 0x80010120 `RPC_E_NO_SYNC`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class NoSync extends NoSyncBase {}

type InterfaceFields = {
  readonly interface: Schema.String
  readonly uuid: Schema.String
  readonly detail: Schema.String
}

const interfaceFields: InterfaceFields = { interface: Schema.String, uuid: Schema.String, detail: Schema.String }

const NoInterfaceBase: ErrorClass<NoInterface, "NoInterface", InterfaceFields> = makeClass(
  "NoInterface",
  interfaceFields,
  (error) => `No interface ${error.interface} (${error.uuid}): ${error.detail}.`
)

/**
 * Refuses a binding to an interface that the server in this process does not offer in a compatible version, and a call
 * object for an object that declines to offer call objects.
 *
 * Windows: 0x80004002 `E_NOINTERFACE`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class NoInterface extends NoInterfaceBase {}

const UnknownInterfaceBase: ErrorClass<UnknownInterface, "UnknownInterface", InterfaceFields> = makeClass(
  "UnknownInterface",
  interfaceFields,
  (error) => `The server does not know the interface ${error.interface} (${error.uuid}): ${error.detail}.`
)

/**
 * Refuses a binding over the network to an interface that the server does not offer in a compatible version.
 *
 * Windows: 1717 `RPC_S_UNKNOWN_IF`; the fault 0x1C010003.
 *
 * @category refusals
 * @since 0.1.0
 */
export class UnknownInterface extends UnknownInterfaceBase {}

const EndpointNotRegisteredBase: ErrorClass<EndpointNotRegistered, "EndpointNotRegistered", InterfaceFields> =
  makeClass(
    "EndpointNotRegistered",
    interfaceFields,
    (error) =>
      `No endpoint is registered for the interface ${error.interface} (${error.uuid}): ${error.detail}. Start its server ` +
      "and register it with the endpoint mapper, or name its endpoint in the string binding."
  )

/**
 * The endpoint mapper knows no server of the interface in a compatible version.
 *
 * Windows: 1753 `EPT_S_NOT_REGISTERED`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class EndpointNotRegistered extends EndpointNotRegisteredBase {}

type EndpointStatus = Schema.Literals<readonly [1703, 1720, 1740]>

// A constant of its own, so that bundlers drop this schema with the class.
const endpointStatus: EndpointStatus = Schema.Literals([1703, 1720, 1740])

type EndpointFields = { readonly status: EndpointStatus; readonly detail: Schema.String }

const CantCreateEndpointBase: ErrorClass<CantCreateEndpoint, "CantCreateEndpoint", EndpointFields> = makeClass(
  "CantCreateEndpoint",
  { status: endpointStatus, detail: Schema.String },
  ({ detail, status }) => `${addressCode(status).name}: the server can't listen: ${detail}.`
)

/**
 * A server can't listen at a string binding.
 *
 * **Details**
 *
 * `status` is 1740 when another server listens there already, 1703 when the transport does not have the protocol sequence, and
 * 1720 otherwise; `detail` says what happened.
 *
 * Windows: 1703 `RPC_S_PROTSEQ_NOT_SUPPORTED`, 1720 `RPC_S_CANT_CREATE_ENDPOINT`, 1740 `RPC_S_DUPLICATE_ENDPOINT`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class CantCreateEndpoint extends CantCreateEndpointBase {
  /** The documented numbers of the error. */
  override get codes(): Codes {
    return { rpcStatus: addressCode(this.status) }
  }
}

const BadStubDataBase: ErrorClass<BadStubData, "BadStubData", CallSchema & { readonly detail: Schema.String }> =
  makeCallClass("BadStubData", { detail: Schema.String }, ({ detail }) => detail)

/**
 * The method's schema or the transfer syntax refuses arguments or out parameters.
 *
 * **Details**
 *
 * Refused arguments fail `begin`. Refused out parameters fail `ServerCall.complete`, and the client's call ends with an `RpcFault`
 * of the same number. `interface`, `method` and `address` name the call that failed, as far as they are known.
 *
 * Windows: 1783 `RPC_X_BAD_STUB_DATA`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class BadStubData extends BadStubDataBase {}

const NullContextBase: ErrorClass<NullContext, "NullContext", CallSchema & { readonly parameter: Schema.String }> =
  makeCallClass(
    "NullContext",
    { parameter: Schema.String },
    ({ parameter }) =>
      `The context handle ${parameter} is null or was destroyed, and the method needs one. Nothing was sent.`
  )

/**
 * Refuses arguments and fails `begin`: a context handle is null where the method needs one, or the client has destroyed
 * it. The client sends nothing.
 *
 * **Details**
 *
 * `interface`, `method` and `address` name the call that failed, as far as they are known.
 *
 * Windows: 1775 `RPC_X_SS_IN_NULL_CONTEXT`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class NullContext extends NullContextBase {}

// ----------------------------------------------------------------------------
// pipes
// ----------------------------------------------------------------------------

type PipeFields = CallSchema & { readonly pipe: Schema.String }

const pipeFields: { readonly pipe: Schema.String } = { pipe: Schema.String }

const WrongPipeOrderBase: ErrorClass<WrongPipeOrder, "WrongPipeOrder", PipeFields> = makeCallClass(
  "WrongPipeOrder",
  pipeFields,
  ({ pipe }) =>
    `Pipe ${pipe} is used before its turn. Finish the pipes that are declared before it, the in pipes first.`
)

/**
 * Refuses to push or pull a pipe before its turn: the in pipes come first, in the order in which they are declared, then the
 * out pipes, and each is finished before the next begins.
 *
 * Windows: 1831 `RPC_X_WRONG_PIPE_ORDER`; the fault 0x1C000016.
 *
 * @category pipes
 * @since 0.1.0
 */
export class WrongPipeOrder extends WrongPipeOrderBase {}

const PipeClosedBase: ErrorClass<PipeClosed, "PipeClosed", PipeFields> = makeCallClass(
  "PipeClosed",
  pipeFields,
  ({ pipe }) => `Pipe ${pipe} was ended: nothing more can be pushed.`
)

/**
 * Refuses to push into a pipe that was ended.
 *
 * Windows: 1916 `RPC_X_PIPE_CLOSED`; the fault 0x1C000015.
 *
 * @category pipes
 * @since 0.1.0
 */
export class PipeClosed extends PipeClosedBase {}

const PipeEmptyBase: ErrorClass<PipeEmpty, "PipeEmpty", PipeFields> = makeCallClass(
  "PipeEmpty",
  pipeFields,
  ({ pipe }) => `Pipe ${pipe} is at its end: nothing more can be pulled.`
)

/**
 * Refuses to pull from a pipe whose end was pulled.
 *
 * Windows: 1918 `RPC_X_PIPE_EMPTY`; the fault 0x1C000014.
 *
 * @category pipes
 * @since 0.1.0
 */
export class PipeEmpty extends PipeEmptyBase {}

const PipeDisciplineErrorBase: ErrorClass<PipeDisciplineError, "PipeDisciplineError", PipeFields> = makeCallClass(
  "PipeDisciplineError",
  pipeFields,
  ({ pipe }) =>
    `Pipe ${pipe} is not through: its writer has to end it, and its reader to pull that end, before the call is completed.`
)

/**
 * Refuses to end a call while an in pipe is not ended and drained, or an out pipe is not drained.
 *
 * **Details**
 *
 * On the client it fails `Call.finish`, and `Call.wait` and `Call.join` when nobody asked for an end; the call goes on. On the
 * server it fails `ServerCall.complete`; the client's call then ends with this error too, without out parameters.
 *
 * Windows: 1917 `RPC_X_PIPE_DISCIPLINE_ERROR`; the fault 0x1C000017.
 *
 * @category pipes
 * @since 0.1.0
 */
export class PipeDisciplineError extends PipeDisciplineErrorBase {}

/**
 * The four refusals of pipes. In each `interface`, `method` and `address` name the call, as far as they are known.
 *
 * @category pipes
 * @since 0.1.0
 */
export type PipeError = WrongPipeOrder | PipeClosed | PipeEmpty | PipeDisciplineError

// ----------------------------------------------------------------------------
// failures
// ----------------------------------------------------------------------------

type ExecutionFields = CallSchema & { readonly didNotExecute: DidNotExecute }

const CallCancelledBase: ErrorClass<CallCancelled, "CallCancelled", ExecutionFields> = makeCallClass(
  "CallCancelled",
  { didNotExecute },
  (error) =>
    error.didNotExecute
      ? "The call was cancelled before the server executed it."
      : "The call was cancelled. Whether the server executed it is unknown: ask the server if your further work depends on it."
)

/**
 * The call was cancelled. `didNotExecute` is true only where it is certain that the manager never ran; otherwise the
 * state of the server is unknown.
 *
 * **Details**
 *
 * It also refuses a second `cancel` that would not end the call sooner than the first. `interface`, `method` and `address` name
 * the call that failed, as far as they are known.
 *
 * Windows: 1818 `RPC_S_CALL_CANCELLED`, 0x80010002 `RPC_E_CALL_CANCELED`; on the network the fault 0x1C00000D.
 *
 * **Example** (A cancelled call is a failure like any other)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: () => Effect.never })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *   const call = yield* Call.make(sums)
 *
 *   const adding = yield* Call.begin(call, "Add", [1, 2, 3])
 *   yield* Call.cancel(adding)
 *   return yield* Call.join(adding).pipe(
 *     Effect.catchTag("CallCancelled", ({ didNotExecute }) => Effect.succeed(didNotExecute))
 *   ) // => false
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category failures
 * @since 0.1.0
 */
export class CallCancelled extends CallCancelledBase {}

type FaultFields = ExecutionFields & {
  readonly code: Schema.Int
  readonly wireCode: Schema.optional<Schema.Int>
  readonly detail: Schema.optional<Schema.String>
}

const RpcFaultBase: ErrorClass<RpcFault, "RpcFault", FaultFields> = makeCallClass(
  "RpcFault",
  { code: Schema.Int, didNotExecute, wireCode: Schema.optional(Schema.Int), detail: Schema.optional(Schema.String) },
  (fault) => {
    if (fault.detail !== undefined) {
      const what = fault.code === 1730 ? "bind" : "login"
      return `The ${what} failed with code ${fault.code} (${namesOf(fault)}): ${fault.detail}.`
    }
    const when = fault.didNotExecute ? " before executing it" : ""
    return `The server ended the call${when} with exception code ${fault.code} (${namesOf(fault)}).`
  }
)

const namesOf = ({ code, wireCode }: RpcFault): string => {
  const { name } = win32Of(code)
  const shown = name === String(code) ? statusOf(code) : name
  return wireCode === undefined ? shown : `${shown}, on the network ${statusOf(wireCode)}`
}

/** A number in hexadecimal, with its name if it is the status of a fault. */
const statusOf = (number: number): string => [toHex(number), faultOf(number)?.name].filter(Boolean).join(" ")

/**
 * The server ended the call with an exception code that the method does not declare.
 *
 * **Details**
 *
 * `code` is the Win32 code that a client on Windows sees, an unsigned 32-bit number. It is the same number for a server in the same
 * process, in the test kit and over the network. A status of the protocol without a Win32 code is its own `code`.
 *
 * `wireCode` is the number that the fault carried on the network. It is absent where that number is `code`, and in process.
 * `Status.fromNumber` makes the error for such a number; a routine fails with a Win32 code or a number of its own.
 *
 * `didNotExecute` is true only where it is certain that the manager never ran. `interface`, `method` and `address` name the call
 * that failed, as far as they are known.
 *
 * A login that fails, before anything of the call is sent, fails it with 5, 1747, 1749, 1822 or 1825, and so does an interface
 * for which there is no transfer syntax with 1730; `detail` says why.
 *
 * Windows: the exception code that `RpcAsyncCompleteCall` returns.
 *
 * **Gotchas**
 *
 * The message and `codes` name a status of the protocol (0x1C000000 to 0x1CFFFFFF). A bundle without `dcerpc`, {@link faults} and
 * {@link fromNumber} leaves those names out, and shows such a status, which no call in one process ends with, as a number.
 *
 * **Example** (Handling one exception code)
 *
 * ```ts
 * import { Binding, Call, Interface, Manager, Server, Status } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: () => Effect.fail(new Status.RpcFault({ code: 5 })) })
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make([manager])
 *   const sums = yield* Binding.local(server, Sums)
 *
 *   return yield* Call.invoke(sums, "Add", [1, 2, 3]).pipe(
 *     Effect.catchTag("RpcFault", (fault) => fault.code === 5 ? Effect.succeed("access denied") : Effect.fail(fault))
 *   ) // => "access denied"
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category failures
 * @since 0.1.0
 */
export class RpcFault extends RpcFaultBase {
  /** The documented numbers of the error. */
  override get codes(): Codes {
    const fault = faultOf(this.wireCode ?? this.code)
    if (fault === undefined) return { rpcStatus: win32Of(this.code) }
    const { rpcStatus, ...status } = fault
    return rpcStatus === undefined ? { fault: status } : { fault: status, rpcStatus: win32Of(rpcStatus) }
  }
}

const ContextMismatchBase: ErrorClass<ContextMismatch, "ContextMismatch", ExecutionFields> = makeCallClass(
  "ContextMismatch",
  { didNotExecute },
  (error) =>
    `The server does not know the context handle${
      error.didNotExecute ? ", and did not execute the call" : ""
    }: it was closed or run down, or belongs to another binding. Open another one.`
)

/**
 * The server does not know a context handle that the call carried: the handle was closed or run down, it belongs to another
 * association, interface or type, or it was forged. The server's answer is the same for all of them.
 *
 * **Details**
 *
 * Only calls of methods that take a context handle fail with it. `didNotExecute` is true where the server refused the
 * call before the manager ran; it is false where the manager failed with code 6. `interface`, `method` and `address` name the call
 * that failed, as far as they are known.
 *
 * Windows: 6 `RPC_X_SS_CONTEXT_MISMATCH`; on the network the fault 0x1C00001A.
 *
 * @category failures
 * @since 0.1.0
 */
export class ContextMismatch extends ContextMismatchBase {}

type TransportFields = CallSchema & {
  readonly status: Schema.Literals<readonly [1722, 1726, 1727]>
  readonly detail: Schema.String
}

const RpcTransportErrorBase: ErrorClass<RpcTransportError, "RpcTransportError", TransportFields> = makeCallClass(
  "RpcTransportError",
  { status: Schema.Literals([1722, 1726, 1727]), detail: Schema.String },
  ({ detail, didNotExecute, status }) =>
    `${win32Of(status).name}: ${detail}. ${
      didNotExecute
        ? "The call was not executed; it can be made again."
        : "Whether the server executed the call is unknown."
    }`
)

/**
 * The server could not be reached, or the connection to it was lost.
 *
 * **Details**
 *
 * `status` is 1722 when nothing was sent, 1727 when the call provably did not run, and 1726 otherwise; `detail` says
 * what happened. `interface`, `method` and `address` name the call that failed, as far as they are known.
 *
 * Windows: 1722 `RPC_S_SERVER_UNAVAILABLE`, 1726 `RPC_S_CALL_FAILED`, 1727 `RPC_S_CALL_FAILED_DNE`.
 *
 * **Example** (Retry only what did not execute)
 *
 * ```ts
 * import { Call, Interface, Manager, TestKit } from "@callisto/rpc"
 * import { Effect, Schema } from "effect"
 *
 * const Sums = Interface.make("Sums", {
 *   uuid: "7b3c6f0e-7d0a-4a53-9d6a-0d9f1f1f6b11",
 *   version: [1, 0],
 *   methods: { Add: Interface.method({ in: Schema.Array(Schema.Int), out: Schema.Int }) }
 * })
 * const manager = Manager.make(Sums, { Add: (numbers) => Effect.succeed(numbers.reduce((a, b) => a + b, 0)) })
 *
 * const program = Effect.gen(function*() {
 *   const { binding, inject } = yield* TestKit.make(manager)
 *   yield* inject("Add", TestKit.loseRequest)
 *   return yield* Call.invoke(binding, "Add", [1, 2, 3]).pipe(
 *     Effect.retry({ times: 1, while: (error) => error._tag === "RpcTransportError" && error.didNotExecute })
 *   ) // => 6
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category failures
 * @since 0.1.0
 */
export class RpcTransportError extends RpcTransportErrorBase {
  /** The documented numbers of the error. */
  override get codes(): Codes {
    return { rpcStatus: win32Of(this.status) }
  }
  /** True where it is certain that the call was not executed. */
  get didNotExecute(): boolean {
    return this.status !== 1726
  }
}

// ----------------------------------------------------------------------------
// numbers and errors
// ----------------------------------------------------------------------------

/**
 * Every error of this module.
 *
 * @category models
 * @since 0.1.0
 */
export type RpcError =
  | BadStubData
  | CallCancelled
  | CallComplete
  | CallPending
  | CancelDisabled
  | CantCreateEndpoint
  | ContextMismatch
  | EndpointNotRegistered
  | InvalidAsyncHandle
  | NoInterface
  | NoSync
  | NullContext
  | PipeClosed
  | PipeDisciplineError
  | PipeEmpty
  | RpcFault
  | RpcTransportError
  | UnknownInterface
  | WaitTimeout
  | WrongPipeOrder

/**
 * The error for a number: an RPC status, an HRESULT or the status of a fault, as an unsigned 32-bit number.
 *
 * **Details**
 *
 * A number without an error of its own gives an `RpcFault`. 0 means success and gives `None`, as does a number that is not an
 * unsigned 32-bit integer.
 *
 * **Example** (From number to error)
 *
 * ```ts
 * import { Status } from "@callisto/rpc"
 *
 * Status.fromNumber(1914) // => Some(InvalidAsyncHandle)
 * Status.fromNumber(0x80010117) // => Some(CallComplete)
 * Status.fromNumber(5) // => Some(RpcFault { code: 5 })
 * ```
 *
 * @category numbers
 * @since 0.1.0
 */
export const fromNumber = (number: number): Option.Option<RpcError> => {
  if (!Number.isInteger(number) || number <= 0 || number > 0xffffffff) return Option.none()
  return Option.some(errorOf(number))
}

/**
 * The number by which an error is best known: its RPC status where it has one, else its HRESULT; for an `RpcFault` its `code`.
 *
 * **Example** (From error to number)
 *
 * ```ts
 * import { Status } from "@callisto/rpc"
 *
 * Status.toNumber(new Status.CallPending()) // => 997
 * Status.toNumber(new Status.CallComplete()) // => 0x80010117
 * Status.toNumber(new Status.RpcFault({ code: 5 })) // => 5
 * ```
 *
 * @category numbers
 * @since 0.1.0
 */
export const toNumber = (error: RpcError): number => {
  if (error._tag === "RpcFault") return error.code
  return (error.codes.rpcStatus ?? error.codes.hresult!).number
}

// A number alone leaves the fields of the error unknown.
const unnamed = "(not named)"
const unnamedInterface = { interface: unnamed, uuid: "no UUID given", detail: "known by its number alone" }

const fromTag: { readonly [tag: string]: () => RpcError } = {
  CallPending: () => new CallPending(),
  CallComplete: () => new CallComplete(),
  CallCancelled: () => new CallCancelled(),
  WaitTimeout: () => new WaitTimeout(),
  InvalidAsyncHandle: () => new InvalidAsyncHandle({ handle: "call object" }),
  NoInterface: () => new NoInterface(unnamedInterface),
  UnknownInterface: () => new UnknownInterface(unnamedInterface),
  EndpointNotRegistered: () => new EndpointNotRegistered(unnamedInterface),
  BadStubData: () => new BadStubData({ detail: "The stub received bad data." }),
  CancelDisabled: () => new CancelDisabled({ interface: unnamed, method: unnamed }),
  NoSync: () => new NoSync(),
  WrongPipeOrder: () => new WrongPipeOrder({ pipe: unnamed }),
  PipeClosed: () => new PipeClosed({ pipe: unnamed }),
  PipeDisciplineError: () => new PipeDisciplineError({ pipe: unnamed }),
  PipeEmpty: () => new PipeEmpty({ pipe: unnamed }),
  ContextMismatch: () => new ContextMismatch(),
  NullContext: () => new NullContext({ parameter: unnamed })
}

const errorOf = (number: number): RpcError => {
  const { detail } = unnamedInterface
  switch (number) {
    case 1703:
    case 1720:
    case 1740:
      return new CantCreateEndpoint({ status: number, detail })
    case 1722:
    case 1726:
    case 1727:
      return new RpcTransportError({ status: number, detail })
  }
  const fields = received(number)
  const error = (rowOf(fields.code) ?? rows.find(({ codes: { hresult } }) => hresult?.number === number))?.error
  return error === undefined ? new RpcFault(fields) : fromTag[error]!()
}

// ----------------------------------------------------------------------------
// results
// ----------------------------------------------------------------------------

/** The members of every error for a result, beside its code. */
interface OfResult extends Cause.YieldableError {
  /** The documented name of the code, where it is a common one. */
  readonly codeName: string | undefined
  /** The returned code, in a sentence for people. */
  readonly message: string
}

type ResultClass<Self, Tag extends string> = Schema.Class<
  Self,
  Schema.TaggedStruct<Tag, { readonly code: Schema.Number }>,
  OfResult
>

/** Makes a class of errors that functions return. */
const makeResultClass = <Self extends { readonly code: number }, const Tag extends string>(
  tag: Tag,
  nameOf: (code: number) => string | undefined,
  show: (code: number) => string
): ResultClass<Self, Tag> => {
  const fields = { code: Schema.Number }
  const Class = Schema.TaggedError<Self>(`@callisto/rpc/${tag}`)(tag, fields) as unknown as ResultClass<Self, Tag>
  Object.defineProperties(Class.prototype, {
    codeName: {
      configurable: true,
      get(this: Self) {
        return nameOf(this.code)
      }
    },
    message: {
      configurable: true,
      get(this: Self) {
        const name = nameOf(this.code)
        return named(`The function returned ${show(this.code)}${name === undefined ? "" : ` (${name})`}.`, tag)
      }
    }
  })
  return Class
}

const Win32ErrorBase: ResultClass<Win32Error, "Win32Error"> = makeResultClass("Win32Error", win32Name, String)

/**
 * A function returned a Win32 code that means failure, see {@link win32}. `code` is the number, unsigned.
 *
 * @category results
 * @since 0.1.0
 */
export class Win32Error extends Win32ErrorBase {}

const NtStatusErrorBase: ResultClass<NtStatusError, "NtStatusError"> = makeResultClass(
  "NtStatusError",
  ntStatusName,
  toHex
)

/**
 * A function returned an NTSTATUS that means a warning or an error, see {@link ntStatus}. `code` is the number, unsigned.
 *
 * @category results
 * @since 0.1.0
 */
export class NtStatusError extends NtStatusErrorBase {}

const HresultErrorBase: ResultClass<HresultError, "HresultError"> = makeResultClass("HresultError", hresultName, toHex)

/**
 * A function returned an HRESULT that means failure, see {@link hresult}. `code` is the number, unsigned.
 *
 * @category results
 * @since 0.1.0
 */
export class HresultError extends HresultErrorBase {}

/**
 * The options of {@link win32}, {@link ntStatus} and {@link hresult}.
 *
 * @category models
 * @since 0.1.0
 */
export interface ResultOptions {
  /** Further numbers that mean success, signed or unsigned; by default none. */
  readonly accept?: ReadonlyArray<number> | undefined
}

/** Checks a result, signed or unsigned. */
const checked = <E>(
  title: string,
  result: number,
  { accept = [] }: ResultOptions,
  isSuccess: (code: number) => boolean,
  error: (code: number) => E
): Effect.Effect<number, E> =>
  Effect.suspend(() => {
    if (!Array.isArray(accept)) {
      refuseArgument(`Status.${title}`, `accept is an array of codes, got ${String(accept)}`)
    }
    for (const number of [result, ...accept]) {
      if (!Number.isInteger(number) || number < -0x80000000 || number > 0xffffffff) {
        refuseArgument(`Status.${title}`, `a code is a 32-bit integer, got ${number}`)
      }
    }
    const code = result >>> 0
    return isSuccess(code) || accept.some((accepted) => accepted >>> 0 === code)
      ? Effect.succeed(code)
      : Effect.fail(error(code))
  })

/**
 * Checks a result that is a Win32 code, such as `DWORD`, `NET_API_STATUS` or `error_status_t`: 0 means success.
 *
 * **Details**
 *
 * Succeeds with the number, unsigned. A function that gives its results in parts returns 234 (`ERROR_MORE_DATA`) or 259
 * (`ERROR_NO_MORE_ITEMS`): accept these where the program goes on with them.
 *
 * **Example** (More data is no failure)
 *
 * ```ts
 * import { Status } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * Effect.runSync(Status.win32(234, { accept: [234] })) // => 234
 * Effect.runSync(Effect.flip(Status.win32(5))).codeName // => "ERROR_ACCESS_DENIED"
 * ```
 *
 * @category results
 * @since 0.1.0
 */
export const win32 = (result: number, options: ResultOptions = {}): Effect.Effect<number, Win32Error> =>
  checked("win32", result, options, (code) => code === 0, (code) => new Win32Error({ code }))

/**
 * Checks a result that is an NTSTATUS: 0 to 0x7FFFFFFF mean success, also where they say more, as 0x105
 * (`STATUS_MORE_ENTRIES`) does.
 *
 * **Details**
 *
 * Succeeds with the number, unsigned. Warnings fail too, such as 0x80000005 (`STATUS_BUFFER_OVERFLOW`): accept those with which
 * the program goes on.
 *
 * **Example** (A signed number)
 *
 * ```ts
 * import { Status } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * Effect.runSync(Status.ntStatus(0x105)) // => 261
 * Effect.runSync(Effect.flip(Status.ntStatus(-1073741790))).codeName // => "STATUS_ACCESS_DENIED"
 * ```
 *
 * @category results
 * @since 0.1.0
 */
export const ntStatus = (result: number, options: ResultOptions = {}): Effect.Effect<number, NtStatusError> =>
  checked("ntStatus", result, options, (code) => code <= 0x7fffffff, (code) => new NtStatusError({ code }))

/**
 * Checks a result that is an HRESULT: one that is not negative means success, also 1 (`S_FALSE`).
 *
 * **Details**
 *
 * Succeeds with the number, unsigned.
 *
 * **Example** (A failure that carries a Win32 code)
 *
 * ```ts
 * import { Status } from "@callisto/rpc"
 * import { Effect } from "effect"
 *
 * Effect.runSync(Effect.flip(Status.hresult(0x80070002))).codeName // => "ERROR_FILE_NOT_FOUND"
 * ```
 *
 * @category results
 * @since 0.1.0
 */
export const hresult = (result: number, options: ResultOptions = {}): Effect.Effect<number, HresultError> =>
  checked("hresult", result, options, (code) => code <= 0x7fffffff, (code) => new HresultError({ code }))
