/**
 * The refusals and failures of calls as typed errors, each with the numbers and names under which Windows documents it.
 *
 * A *refusal* tells a program that it asked for something out of turn (finish before completion, a second begin). It
 * changes nothing. A *failure* is the outcome of a call: what `Call.finish` fails with.
 *
 * @module
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

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
 * All the numbers under which an error is documented; one that is missing does not exist.
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

const code = (number: number, name: string): Code => ({ number, name })

/**
 * The documented numbers of the errors that have only one meaning. `RpcFault` and `RpcTransportError` carry theirs
 * themselves.
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
  readonly CallPending: Codes
  readonly CallComplete: Codes
  readonly CallCancelled: Codes
  readonly WaitTimeout: Codes
  readonly InvalidAsyncHandle: Codes
  readonly NoInterface: Codes
  readonly UnknownInterface: Codes
  readonly EndpointNotRegistered: Codes
  readonly BadStubData: Codes
  readonly CancelDisabled: Codes
  readonly NoSync: Codes
  readonly WrongPipeOrder: Codes
  readonly PipeClosed: Codes
  readonly PipeDisciplineError: Codes
  readonly PipeEmpty: Codes
  readonly ContextMismatch: Codes
  readonly NullContext: Codes
} = {
  CallPending: {
    rpcStatus: code(997, "RPC_S_ASYNC_CALL_PENDING"),
    hresult: code(0x80010115, "RPC_S_CALLPENDING")
  },
  CallComplete: { hresult: code(0x80010117, "RPC_E_CALL_COMPLETE") },
  CallCancelled: {
    rpcStatus: code(1818, "RPC_S_CALL_CANCELLED"),
    hresult: code(0x80010002, "RPC_E_CALL_CANCELED"),
    fault: code(0x1c00000d, "nca_s_fault_cancel")
  },
  WaitTimeout: { hresult: code(0x8001011f, "RPC_E_TIMEOUT") },
  InvalidAsyncHandle: { rpcStatus: code(1914, "RPC_S_INVALID_ASYNC_HANDLE") },
  NoInterface: { hresult: code(0x80004002, "E_NOINTERFACE") },
  UnknownInterface: {
    rpcStatus: code(1717, "RPC_S_UNKNOWN_IF"),
    fault: code(0x1c010003, "nca_s_unk_if")
  },
  EndpointNotRegistered: { rpcStatus: code(1753, "EPT_S_NOT_REGISTERED") },
  BadStubData: { rpcStatus: code(1783, "RPC_X_BAD_STUB_DATA") },
  CancelDisabled: { hresult: code(0x80010140, "CO_E_CANCEL_DISABLED") },
  NoSync: { hresult: code(0x80010120, "RPC_E_NO_SYNC") },
  WrongPipeOrder: {
    rpcStatus: code(1831, "RPC_X_WRONG_PIPE_ORDER"),
    fault: code(0x1c000016, "nca_s_fault_pipe_order")
  },
  PipeClosed: {
    rpcStatus: code(1916, "RPC_X_PIPE_CLOSED"),
    fault: code(0x1c000015, "nca_s_fault_pipe_closed")
  },
  PipeDisciplineError: {
    rpcStatus: code(1917, "RPC_X_PIPE_DISCIPLINE_ERROR"),
    fault: code(0x1c000017, "nca_s_fault_pipe_discipline")
  },
  PipeEmpty: {
    rpcStatus: code(1918, "RPC_X_PIPE_EMPTY"),
    fault: code(0x1c000014, "nca_s_fault_pipe_empty")
  },
  ContextMismatch: {
    rpcStatus: code(6, "RPC_X_SS_CONTEXT_MISMATCH"),
    fault: code(0x1c00001a, "nca_s_fault_context_mismatch")
  },
  NullContext: { rpcStatus: code(1775, "RPC_X_SS_IN_NULL_CONTEXT") }
}

/**
 * The statuses that a DCE/RPC fault can carry, each with the Win32 code that a Windows client sees in its place. A
 * status without such a code reaches the program as it is.
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
export const faults: ReadonlyArray<Code & { readonly rpcStatus?: number }> = ([
  [0x1c010001, "nca_s_comm_failure", 1820],
  [0x1c010002, "nca_s_op_rng_error", 1745],
  [0x1c010003, "nca_s_unk_if", 1717],
  [0x1c010006, "nca_s_wrong_boot_time"],
  [0x1c010009, "nca_s_you_crashed", 1726],
  [0x1c01000b, "nca_s_proto_error", 1728],
  [0x1c010013, "nca_s_out_args_too_big", 1130],
  [0x1c010014, "nca_s_server_too_busy", 1723],
  [0x1c010015, "nca_s_fault_string_too_long"],
  [0x1c010017, "nca_s_unsupported_type", 1732],
  [0x1c000001, "nca_s_fault_int_div_by_zero", 1767],
  [0x1c000002, "nca_s_fault_addr_error", 1768],
  [0x1c000003, "nca_s_fault_fp_div_zero", 1769],
  [0x1c000004, "nca_s_fault_fp_underflow", 1770],
  [0x1c000005, "nca_s_fault_fp_overflow", 1771],
  [0x1c000006, "nca_s_fault_invalid_tag", 1733],
  [0x1c000007, "nca_s_fault_invalid_bound", 1734],
  [0x1c000008, "nca_s_rpc_version_mismatch", 1728],
  [0x1c000009, "nca_s_unspec_reject", 1727],
  [0x1c00000a, "nca_s_bad_actid", 1727],
  [0x1c00000b, "nca_s_who_are_you_failed", 1726],
  [0x1c00000c, "nca_s_manager_not_entered", 1727],
  [0x1c00000d, "nca_s_fault_cancel", 1818],
  [0x1c00000e, "nca_s_fault_ill_inst", 1768],
  [0x1c00000f, "nca_s_fault_fp_error", 1771],
  [0x1c000010, "nca_s_fault_int_overflow", 1768],
  [0x1c000012, "nca_s_fault_unspec", 1726],
  [0x1c000013, "nca_s_fault_remote_comm_failure"],
  [0x1c000014, "nca_s_fault_pipe_empty", 1918],
  [0x1c000015, "nca_s_fault_pipe_closed", 1916],
  [0x1c000016, "nca_s_fault_pipe_order", 1831],
  [0x1c000017, "nca_s_fault_pipe_discipline", 1917],
  [0x1c000018, "nca_s_fault_pipe_comm_error", 1820],
  [0x1c000019, "nca_s_fault_pipe_memory", 14],
  [0x1c00001a, "nca_s_fault_context_mismatch", 6],
  [0x1c00001b, "nca_s_fault_remote_no_memory", 1130],
  [0x1c00001c, "nca_s_invalid_pres_context_id"],
  [0x1c00001d, "nca_s_unsupported_authn_level"],
  [0x1c00001f, "nca_s_invalid_checksum"],
  [0x1c000020, "nca_s_invalid_crc"],
  [0x1c000021, "nca_s_fault_user_defined"],
  [0x1c000022, "nca_s_fault_tx_open_failed"],
  [0x1c000023, "nca_s_fault_codeset_conv_error"],
  [0x1c000024, "nca_s_fault_object_not_found"],
  [0x1c000025, "nca_s_fault_no_client_stub"]
] as ReadonlyArray<readonly [number, string, number?]>).map(([number, name, rpcStatus]) =>
  rpcStatus === undefined ? { number, name } : { number, name, rpcStatus }
)

const faultsByNumber: ReadonlyMap<number, Code & { readonly rpcStatus?: number }> = new Map(
  faults.map((fault) => [fault.number, fault])
)

// The Win32 codes that calls end with most; any other code is shown as its number.
const rpcStatusNames: ReadonlyMap<number, string> = new Map([
  [5, "ERROR_ACCESS_DENIED"],
  [6, "RPC_X_SS_CONTEXT_MISMATCH"],
  [14, "RPC_S_OUT_OF_MEMORY"],
  [87, "RPC_S_INVALID_ARG"],
  [1130, "RPC_S_SERVER_OUT_OF_MEMORY"],
  [1460, "RPC_S_TIMEOUT"],
  [1703, "RPC_S_PROTSEQ_NOT_SUPPORTED"],
  [1720, "RPC_S_CANT_CREATE_ENDPOINT"],
  [1722, "RPC_S_SERVER_UNAVAILABLE"],
  [1723, "RPC_S_SERVER_TOO_BUSY"],
  [1725, "RPC_S_NO_CALL_ACTIVE"],
  [1726, "RPC_S_CALL_FAILED"],
  [1727, "RPC_S_CALL_FAILED_DNE"],
  [1728, "RPC_S_PROTOCOL_ERROR"],
  [1732, "RPC_S_UNSUPPORTED_TYPE"],
  [1733, "RPC_S_INVALID_TAG"],
  [1734, "RPC_X_INVALID_BOUND"],
  [1740, "RPC_S_DUPLICATE_ENDPOINT"],
  [1745, "RPC_S_PROCNUM_OUT_OF_RANGE"],
  [1767, "RPC_S_ZERO_DIVIDE"],
  [1768, "RPC_S_ADDRESS_ERROR"],
  [1783, "RPC_X_BAD_STUB_DATA"],
  [1818, "RPC_S_CALL_CANCELLED"],
  [1820, "RPC_S_COMM_FAILURE"],
  [1825, "RPC_S_SEC_PKG_ERROR"],
  [1831, "RPC_X_WRONG_PIPE_ORDER"],
  [1916, "RPC_X_PIPE_CLOSED"],
  [1917, "RPC_X_PIPE_DISCIPLINE_ERROR"],
  [1918, "RPC_X_PIPE_EMPTY"]
])

/** @internal */
export const toHex = (number: number): string => `0x${number.toString(16).toUpperCase().padStart(8, "0")}`

const namedRpcStatus = (number: number): Code => code(number, rpcStatusNames.get(number) ?? String(number))

// ----------------------------------------------------------------------------
// refusals
// ----------------------------------------------------------------------------

/** A class of errors, whose tag identifies its schema too. */
const tagged = <Self, const Tag extends string, const Fields extends Schema.Struct.Fields>(
  tag: Tag,
  fields: Fields
): Schema.Class<Self, Schema.TaggedStruct<Tag, Fields>, Cause.YieldableError> =>
  Schema.TaggedError<Self>(`@callisto/rpc/${tag}`)(tag, fields) as Schema.Class<
    Self,
    Schema.TaggedStruct<Tag, Fields>,
    Cause.YieldableError
  >

const CallPendingBase: Schema.Class<CallPending, Schema.TaggedStruct<"CallPending", {}>, Cause.YieldableError> = tagged(
  "CallPending",
  {}
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
export class CallPending extends CallPendingBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.CallPending
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return "The call is still pending. Wait for it and finish it before the next begin; join does both."
  }
}

const CallCompleteBase: Schema.Class<CallComplete, Schema.TaggedStruct<"CallComplete", {}>, Cause.YieldableError> =
  tagged("CallComplete", {})

/**
 * Refuses an operation on a call that is over: already finished (its evidence is stale), or, for `cancel`, already
 * completed.
 *
 * Windows: 0x80010117 `RPC_E_CALL_COMPLETE`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class CallComplete extends CallCompleteBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.CallComplete
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return "The call is complete. There is nothing left to wait for or to cancel, and its result can be taken only once."
  }
}

const InvalidAsyncHandleBase: Schema.Class<
  InvalidAsyncHandle,
  Schema.TaggedStruct<
    "InvalidAsyncHandle",
    { readonly handle: Schema.Literals<readonly ["call object", "server call"]> }
  >,
  Cause.YieldableError
> = tagged("InvalidAsyncHandle", {
  handle: Schema.Literals(["call object", "server call"])
})

/**
 * Refuses every operation on a call object whose scope was closed, and `complete` or `abort` of a server call that has
 * ended (answered before, or its client is gone).
 *
 * Windows: 1914 `RPC_S_INVALID_ASYNC_HANDLE`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class InvalidAsyncHandle extends InvalidAsyncHandleBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.InvalidAsyncHandle
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return this.handle === "call object"
      ? "The call object was released: the scope in which it was made is closed."
      : "The server call has ended: it was completed or aborted before, or its client is gone."
  }
}

const WaitTimeoutBase: Schema.Class<WaitTimeout, Schema.TaggedStruct<"WaitTimeout", {}>, Cause.YieldableError> = tagged(
  "WaitTimeout",
  {}
)

/**
 * A wait ended by its timeout. What was waited for goes on as if nobody had waited.
 *
 * Windows: 0x8001011F `RPC_E_TIMEOUT`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class WaitTimeout extends WaitTimeoutBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.WaitTimeout
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return "The wait timed out. Nothing was changed: wait again, cancel, or go on with other work."
  }
}

const CancelDisabledBase: Schema.Class<
  CancelDisabled,
  Schema.TaggedStruct<"CancelDisabled", { readonly interface: Schema.String; readonly method: Schema.String }>,
  Cause.YieldableError
> = tagged("CancelDisabled", {
  interface: Schema.String,
  method: Schema.String
})

/**
 * Refuses `cancel`: the object in this process has disabled cancellation for the method. The call goes on.
 *
 * Windows: 0x80010140 `CO_E_CANCEL_DISABLED`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class CancelDisabled extends CancelDisabledBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.CancelDisabled
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return `The server has disabled cancellation for ${this.interface}.${this.method}. Wait for the call to complete.`
  }
}

const NoSyncBase: Schema.Class<NoSync, Schema.TaggedStruct<"NoSync", {}>, Cause.YieldableError> = tagged("NoSync", {})

/**
 * Refuses a wait on many when there is nothing to wait for.
 *
 * Windows: 0x80010120 `RPC_E_NO_SYNC`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class NoSync extends NoSyncBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.NoSync
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return "There is nothing to wait for: the list or the container is empty."
  }
}

type InterfaceFields = {
  readonly interface: Schema.String
  readonly uuid: Schema.String
  readonly detail: Schema.String
}

const interfaceFields: InterfaceFields = { interface: Schema.String, uuid: Schema.String, detail: Schema.String }

const NoInterfaceBase: Schema.Class<
  NoInterface,
  Schema.TaggedStruct<"NoInterface", InterfaceFields>,
  Cause.YieldableError
> = tagged("NoInterface", interfaceFields)

/**
 * Refuses a binding to an interface that the server in this process does not offer in a compatible version, and a call
 * object for an object that declines to offer call objects.
 *
 * Windows: 0x80004002 `E_NOINTERFACE`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class NoInterface extends NoInterfaceBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.NoInterface
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return `No interface ${this.interface} (${this.uuid}): ${this.detail}.`
  }
}

const UnknownInterfaceBase: Schema.Class<
  UnknownInterface,
  Schema.TaggedStruct<"UnknownInterface", InterfaceFields>,
  Cause.YieldableError
> = tagged("UnknownInterface", interfaceFields)

/**
 * Refuses a binding over the network to an interface that the server does not offer in a compatible version.
 *
 * Windows: 1717 `RPC_S_UNKNOWN_IF`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class UnknownInterface extends UnknownInterfaceBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.UnknownInterface
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return `The server does not know the interface ${this.interface} (${this.uuid}): ${this.detail}.`
  }
}

const EndpointNotRegisteredBase: Schema.Class<
  EndpointNotRegistered,
  Schema.TaggedStruct<"EndpointNotRegistered", InterfaceFields>,
  Cause.YieldableError
> = tagged("EndpointNotRegistered", interfaceFields)

/**
 * The endpoint mapper knows no server of the interface in a compatible version.
 *
 * Windows: 1753 `EPT_S_NOT_REGISTERED`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class EndpointNotRegistered extends EndpointNotRegisteredBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.EndpointNotRegistered
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return `No endpoint is registered for the interface ${this.interface} (${this.uuid}): ${this.detail}. Start its server ` +
      "and register it with the endpoint mapper, or name its endpoint in the string binding."
  }
}

const CantCreateEndpointBase: Schema.Class<
  CantCreateEndpoint,
  Schema.TaggedStruct<
    "CantCreateEndpoint",
    { readonly status: Schema.Literals<readonly [1703, 1720, 1740]>; readonly detail: Schema.String }
  >,
  Cause.YieldableError
> = tagged("CantCreateEndpoint", {
  status: Schema.Literals([1703, 1720, 1740]),
  detail: Schema.String
})

/**
 * A server can't listen at a string binding.
 *
 * **Details**
 *
 * `status` is 1740 when somebody listens there already, 1703 when the transport does not have the protocol sequence, and 1720
 * otherwise; `detail` says what happened.
 *
 * Windows: 1703 `RPC_S_PROTSEQ_NOT_SUPPORTED`, 1720 `RPC_S_CANT_CREATE_ENDPOINT`, 1740 `RPC_S_DUPLICATE_ENDPOINT`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class CantCreateEndpoint extends CantCreateEndpointBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return { rpcStatus: namedRpcStatus(this.status) }
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return `${this.codes.rpcStatus!.name}: the server can't listen: ${this.detail}.`
  }
}

const BadStubDataBase: Schema.Class<
  BadStubData,
  Schema.TaggedStruct<"BadStubData", { readonly detail: Schema.String }>,
  Cause.YieldableError
> = tagged("BadStubData", { detail: Schema.String })

/**
 * Arguments that the method's schema or the transfer syntax refuses (fails `begin`), or out parameters that it refuses
 * (fails `ServerCall.complete`; the client's call then ends with an `RpcFault` of the same number).
 *
 * Windows: 1783 `RPC_X_BAD_STUB_DATA`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class BadStubData extends BadStubDataBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.BadStubData
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return this.detail
  }
}

const NullContextBase: Schema.Class<
  NullContext,
  Schema.TaggedStruct<"NullContext", { readonly parameter: Schema.String }>,
  Cause.YieldableError
> = tagged("NullContext", { parameter: Schema.String })

/**
 * Refuses arguments (fails `begin`): a context handle is null where the method needs one, or the client has destroyed
 * it. Nothing is sent.
 *
 * Windows: 1775 `RPC_X_SS_IN_NULL_CONTEXT`.
 *
 * @category refusals
 * @since 0.1.0
 */
export class NullContext extends NullContextBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.NullContext
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return `The context handle ${this.parameter} is null or was destroyed, and the method needs one. Nothing was sent.`
  }
}

// ----------------------------------------------------------------------------
// pipes
// ----------------------------------------------------------------------------

type PipeFields = { readonly pipe: Schema.String }

const pipeFields: PipeFields = { pipe: Schema.String }

const WrongPipeOrderBase: Schema.Class<
  WrongPipeOrder,
  Schema.TaggedStruct<"WrongPipeOrder", PipeFields>,
  Cause.YieldableError
> = tagged("WrongPipeOrder", pipeFields)

/**
 * Refuses to push or pull a pipe whose turn it is not: the in pipes come first, in the order in which they are declared, then the
 * out pipes, and each is finished before the next begins.
 *
 * Windows: 1831 `RPC_X_WRONG_PIPE_ORDER`; the fault 0x1C000016.
 *
 * @category pipes
 * @since 0.1.0
 */
export class WrongPipeOrder extends WrongPipeOrderBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.WrongPipeOrder
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return `Pipe ${this.pipe} is used before its turn: finish the pipes that are declared before it, the in pipes first.`
  }
}

const PipeClosedBase: Schema.Class<PipeClosed, Schema.TaggedStruct<"PipeClosed", PipeFields>, Cause.YieldableError> =
  tagged("PipeClosed", pipeFields)

/**
 * Refuses to push into a pipe that was ended.
 *
 * Windows: 1916 `RPC_X_PIPE_CLOSED`; the fault 0x1C000015.
 *
 * @category pipes
 * @since 0.1.0
 */
export class PipeClosed extends PipeClosedBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.PipeClosed
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return `Pipe ${this.pipe} was ended: nothing more can be pushed.`
  }
}

const PipeEmptyBase: Schema.Class<PipeEmpty, Schema.TaggedStruct<"PipeEmpty", PipeFields>, Cause.YieldableError> =
  tagged("PipeEmpty", pipeFields)

/**
 * Refuses to pull from a pipe whose end was pulled.
 *
 * Windows: 1918 `RPC_X_PIPE_EMPTY`; the fault 0x1C000014.
 *
 * @category pipes
 * @since 0.1.0
 */
export class PipeEmpty extends PipeEmptyBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.PipeEmpty
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return `Pipe ${this.pipe} is at its end: nothing more can be pulled.`
  }
}

const PipeDisciplineErrorBase: Schema.Class<
  PipeDisciplineError,
  Schema.TaggedStruct<"PipeDisciplineError", PipeFields>,
  Cause.YieldableError
> = tagged("PipeDisciplineError", pipeFields)

/**
 * Refuses to end a call whose pipes are not all through: an in pipe that was not ended and drained, or an out pipe.
 *
 * **Details**
 *
 * On the client it fails `Call.finish`, and `Call.wait` and `Call.join` when nobody else can drive the pipe; the call goes on. On the
 * server it fails `ServerCall.complete`; the client's call then ends with this error too, without out parameters.
 *
 * Windows: 1917 `RPC_X_PIPE_DISCIPLINE_ERROR`; the fault 0x1C000017.
 *
 * @category pipes
 * @since 0.1.0
 */
export class PipeDisciplineError extends PipeDisciplineErrorBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.PipeDisciplineError
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return `Pipe ${this.pipe} is not through: its writer has to end it, and its reader to pull that end, before the call is completed.`
  }
}

/**
 * What the discipline of pipes refuses.
 *
 * @category pipes
 * @since 0.1.0
 */
export type PipeError = WrongPipeOrder | PipeClosed | PipeEmpty | PipeDisciplineError

const pipeErrors = [WrongPipeOrder, PipeClosed, PipeEmpty, PipeDisciplineError]

/**
 * The error of a pipe for the number in a fault, as a Win32 code or as a status of the protocol.
 *
 * @internal
 */
export const pipeErrorOf = (number: number): PipeError | undefined => {
  const matching = pipeErrors.find(({ prototype: { codes } }) =>
    codes.rpcStatus?.number === number || codes.fault?.number === number
  )
  return matching === undefined ? undefined : new matching({ pipe: "of the call" })
}

/** @internal */
export const isPipeError = (error: unknown): error is PipeError =>
  pipeErrors.some((PipeError) => error instanceof PipeError)

// ----------------------------------------------------------------------------
// failures
// ----------------------------------------------------------------------------

type DidNotExecute = Schema.withConstructorDefault<Schema.Boolean>

const didNotExecute: DidNotExecute = Schema.Boolean.pipe(Schema.withConstructorDefault(Effect.succeed(false)))

const CallCancelledBase: Schema.Class<
  CallCancelled,
  Schema.TaggedStruct<"CallCancelled", { readonly didNotExecute: DidNotExecute }>,
  Cause.YieldableError
> = tagged("CallCancelled", { didNotExecute })

/**
 * The call was cancelled. `didNotExecute` is true only where it is certain that the manager never ran; otherwise the
 * state of the server is unknown.
 *
 * **Details**
 *
 * It also refuses a second `cancel` that would not end the call sooner than the first.
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
export class CallCancelled extends CallCancelledBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.CallCancelled
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return this.didNotExecute
      ? "The call was cancelled before the server executed it."
      : "The call was cancelled. What the server did until then is unknown: ask it if your further work depends on it."
  }
}

/**
 * A `CallCancelled` without a stack: it would only show the library, and costs more than the rest of a cancel.
 *
 * @internal
 */
export const cancelled = (didNotExecute: boolean): CallCancelled => {
  const limit = stacks.stackTraceLimit
  stacks.stackTraceLimit = 0
  try {
    return new CallCancelled({ didNotExecute })
  } finally {
    stacks.stackTraceLimit = limit
  }
}

/**
 * A `ContextMismatch` without a stack, like {@link cancelled}: whoever forges handles makes many.
 *
 * @internal
 */
export const contextMismatch = (didNotExecute: boolean): ContextMismatch => {
  const limit = stacks.stackTraceLimit
  stacks.stackTraceLimit = 0
  try {
    return new ContextMismatch({ didNotExecute })
  } finally {
    stacks.stackTraceLimit = limit
  }
}

// Engines without this property ignore it.
const stacks = Error as { stackTraceLimit?: number | undefined }

const RpcFaultBase: Schema.Class<
  RpcFault,
  Schema.TaggedStruct<"RpcFault", { readonly code: Schema.Int; readonly didNotExecute: DidNotExecute }>,
  Cause.YieldableError
> = tagged("RpcFault", { code: Schema.Int, didNotExecute })

/**
 * The server ended the call with an exception code that the method does not declare.
 *
 * **Details**
 *
 * `code` is the number as the server sent it, an unsigned 32-bit number; `codes.rpcStatus` is the Win32 code that a
 * Windows client sees for it. `didNotExecute` is true only where it is certain that the manager never ran.
 *
 * Windows: the exception code that `RpcAsyncCompleteCall` returns.
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
  get codes(): Codes {
    const fault = faultsByNumber.get(this.code)
    if (fault === undefined) return { rpcStatus: namedRpcStatus(this.code) }
    return fault.rpcStatus === undefined ? { fault } : { fault, rpcStatus: namedRpcStatus(fault.rpcStatus) }
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    const { fault, rpcStatus } = this.codes
    const number = fault ? `${toHex(fault.number)} ${fault.name}` : rpcStatus!.name
    const shown = fault || number !== String(this.code) ? number : toHex(this.code)
    return `The server ended the call with exception code ${this.code} (${shown})${
      this.didNotExecute ? " before executing it" : ""
    }.`
  }
}

const ContextMismatchBase: Schema.Class<
  ContextMismatch,
  Schema.TaggedStruct<"ContextMismatch", { readonly didNotExecute: DidNotExecute }>,
  Cause.YieldableError
> = tagged("ContextMismatch", { didNotExecute })

/**
 * The server does not know a context handle that the call carried: it was closed or run down, it belongs to another
 * association, interface or type, or it never was one. The server's answer is the same for all of them.
 *
 * **Details**
 *
 * Only calls of methods that take a context handle fail with it. `didNotExecute` is true where the server refused the
 * call before the manager ran; the manager itself may have failed with 6 otherwise.
 *
 * Windows: 6 `RPC_X_SS_CONTEXT_MISMATCH`; on the network the fault 0x1C00001A.
 *
 * @category failures
 * @since 0.1.0
 */
export class ContextMismatch extends ContextMismatchBase {
  /** The documented numbers of the error. */
  get codes(): Codes {
    return codes.ContextMismatch
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return `The server does not know the context handle${
      this.didNotExecute ? ", and did not execute the call" : ""
    }: it was closed or run down, or is not of this binding. Open another one.`
  }
}

const RpcTransportErrorBase: Schema.Class<
  RpcTransportError,
  Schema.TaggedStruct<
    "RpcTransportError",
    { readonly status: Schema.Literals<readonly [1722, 1726, 1727]>; readonly detail: Schema.String }
  >,
  Cause.YieldableError
> = tagged("RpcTransportError", {
  status: Schema.Literals([1722, 1726, 1727]),
  detail: Schema.String
})

/**
 * The server could not be reached, or the connection to it was lost.
 *
 * **Details**
 *
 * `status` is 1722 when nothing was sent, 1727 when the call provably did not run, and 1726 otherwise; `detail` says
 * what happened.
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
  get codes(): Codes {
    return { rpcStatus: namedRpcStatus(this.status) }
  }
  /** True where it is certain that the call was not executed. */
  get didNotExecute(): boolean {
    return this.status !== 1726
  }
  /** What happened, in a sentence for people. */
  override get message(): string {
    return `${this.codes.rpcStatus!.name}: ${this.detail}.${
      this.didNotExecute
        ? " The call was not executed; it can be made again."
        : " Whether the server executed the call is unknown."
    }`
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
 * A number without an error of its own gives an `RpcFault`. 0 (success), and what is no unsigned 32-bit number, give
 * `None`.
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
 * The number by which an error is best known: its RPC status where it has one (for a fault the code as it was sent),
 * else its HRESULT.
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

// What a bare number leaves unsaid.
const unnamedPipe = { pipe: "(not named)" }
const unnamed = { interface: "(not named)", uuid: "no UUID given", detail: "known by its number alone" }

const errorOf = (number: number): RpcError => {
  const errors: ReadonlyArray<readonly [Codes, () => RpcError]> = [
    [codes.CallPending, () => new CallPending()],
    [codes.CallComplete, () => new CallComplete()],
    [codes.CallCancelled, () => new CallCancelled()],
    [codes.WaitTimeout, () => new WaitTimeout()],
    [codes.InvalidAsyncHandle, () => new InvalidAsyncHandle({ handle: "call object" })],
    [codes.NoInterface, () => new NoInterface(unnamed)],
    [codes.UnknownInterface, () => new UnknownInterface(unnamed)],
    [codes.EndpointNotRegistered, () => new EndpointNotRegistered(unnamed)],
    [codes.BadStubData, () => new BadStubData({ detail: "The stub received bad data." })],
    [codes.CancelDisabled, () => new CancelDisabled({ interface: "(not named)", method: "(not named)" })],
    [codes.NoSync, () => new NoSync()],
    [codes.WrongPipeOrder, () => new WrongPipeOrder(unnamedPipe)],
    [codes.PipeClosed, () => new PipeClosed(unnamedPipe)],
    [codes.PipeDisciplineError, () => new PipeDisciplineError(unnamedPipe)],
    [codes.PipeEmpty, () => new PipeEmpty(unnamedPipe)],
    [codes.ContextMismatch, () => new ContextMismatch()],
    [codes.NullContext, () => new NullContext({ parameter: "(not named)" })]
  ]
  switch (number) {
    case 1703:
    case 1720:
    case 1740:
      return new CantCreateEndpoint({ status: number, detail: unnamed.detail })
    case 1722:
    case 1726:
    case 1727:
      return new RpcTransportError({ status: number, detail: unnamed.detail })
  }
  const known = errors.find(([{ fault, hresult, rpcStatus }]) =>
    [fault, hresult, rpcStatus].some((code) => code?.number === number)
  )
  return known === undefined ? new RpcFault({ code: number }) : known[1]()
}
