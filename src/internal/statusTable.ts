/**
 * The numbers of Windows under which calls fail: one table, from which the errors, the mappings and the documentation come. Only
 * programs with a network need the other statuses of faults, which `faultTable` adds to it.
 */

/** A documented number together with its documented name. */
export interface Code {
  /** The number, unsigned 32-bit. */
  readonly number: number
  /** The name that Windows or the protocol gives it. */
  readonly name: string
}

/** The status of a fault, with the Win32 code that a client reads in its place. */
export interface Fault extends Code {
  readonly rpcStatus?: number
}

/** All the numbers under which a kind of failure is documented. */
export interface Codes {
  readonly rpcStatus?: Code
  readonly hresult?: Code
  /** The status of the fault that means this kind alone. */
  readonly fault?: Code
}

/** One kind of failure, with every number that means it. */
export interface Row {
  /** The tag of the class of errors that means this row alone. */
  readonly error?: string
  readonly codes: Codes
  /** Why the Win32 code is refused as the code of an abort. */
  readonly refused?: string
  /** The other code that a client reads in place of the Win32 code. */
  readonly seenAs?: number
}

export type Name = readonly [number: number, name: string]

const code = ([number, name]: Name): Code => ({ number, name })

/** The high bits of every status of the protocol. */
const protocol = 0x1c000000

/** The status whose low bits are given. */
export const statusOf = ([low, name]: Name): Code => ({ number: protocol + low, name })

const row = (
  rpcStatus: Name | undefined,
  { fault, hresult, ...more }:
    & Pick<Row, "error" | "refused" | "seenAs">
    & {
      readonly hresult?: Name
      /** Without the high bits. */
      readonly fault?: Name
    } = {}
): Row => ({
  ...more,
  codes: {
    ...(rpcStatus && { rpcStatus: code(rpcStatus) }),
    ...(hresult && { hresult: code(hresult) }),
    ...(fault && { fault: statusOf(fault) })
  }
})

/** All rows: those with a Win32 code, and those with an HRESULT alone. */
export const rows: ReadonlyArray<Row> = [
  row([5, "ERROR_ACCESS_DENIED"]),
  row([6, "RPC_X_SS_CONTEXT_MISMATCH"], { error: "ContextMismatch", fault: [0x1a, "nca_s_fault_context_mismatch"] }),
  row([14, "RPC_S_OUT_OF_MEMORY"], { seenAs: 1130 }),
  row([87, "RPC_S_INVALID_ARG"]),
  row([997, "RPC_S_ASYNC_CALL_PENDING"], { error: "CallPending", hresult: [0x80010115, "RPC_S_CALLPENDING"] }),
  row([1130, "RPC_S_SERVER_OUT_OF_MEMORY"]),
  row([1460, "RPC_S_TIMEOUT"]),
  row([1715, "RPC_S_NOT_LISTENING"], { seenAs: 1723 }),
  row([1717, "RPC_S_UNKNOWN_IF"], { error: "UnknownInterface", fault: [0x10003, "nca_s_unk_if"] }),
  row([1722, "RPC_S_SERVER_UNAVAILABLE"], { refused: "it means that the server is unavailable" }),
  row([1723, "RPC_S_SERVER_TOO_BUSY"]),
  row([1725, "RPC_S_NO_CALL_ACTIVE"]),
  row([1726, "RPC_S_CALL_FAILED"], { refused: "it means that the call failed" }),
  row([1727, "RPC_S_CALL_FAILED_DNE"], { refused: "it means that the call failed and did not execute" }),
  row([1728, "RPC_S_PROTOCOL_ERROR"], { refused: "it ends the connection of some clients" }),
  row([1730, "RPC_S_UNSUPPORTED_TRANS_SYN"]),
  row([1732, "RPC_S_UNSUPPORTED_TYPE"]),
  row([1733, "RPC_S_INVALID_TAG"]),
  row([1734, "RPC_S_INVALID_BOUND"]),
  row([1745, "RPC_S_PROCNUM_OUT_OF_RANGE"]),
  row([1747, "RPC_S_UNKNOWN_AUTHN_SERVICE"]),
  row([1749, "RPC_S_INVALID_AUTH_IDENTITY"]),
  row([1753, "EPT_S_NOT_REGISTERED"], { error: "EndpointNotRegistered" }),
  row([1767, "RPC_S_ZERO_DIVIDE"]),
  row([1768, "RPC_S_ADDRESS_ERROR"]),
  row([1769, "RPC_S_FP_DIV_ZERO"]),
  row([1770, "RPC_S_FP_UNDERFLOW"]),
  row([1771, "RPC_S_FP_OVERFLOW"]),
  row([1775, "RPC_X_SS_IN_NULL_CONTEXT"], { error: "NullContext" }),
  row([1778, "RPC_X_SS_HANDLES_MISMATCH"], { seenAs: 6 }),
  row([1783, "RPC_X_BAD_STUB_DATA"], { error: "BadStubData" }),
  row([1818, "RPC_S_CALL_CANCELLED"], {
    error: "CallCancelled",
    hresult: [0x80010002, "RPC_E_CALL_CANCELED"],
    refused: "it means that the call was cancelled; let the cancel interrupt the manager",
    fault: [0x0d, "nca_s_fault_cancel"]
  }),
  row([1820, "RPC_S_COMM_FAILURE"]),
  row([1822, "RPC_S_NO_PRINC_NAME"]),
  row([1825, "RPC_S_SEC_PKG_ERROR"], { refused: "it ends the connection of some clients" }),
  row([1831, "RPC_X_WRONG_PIPE_ORDER"], { error: "WrongPipeOrder", fault: [0x16, "nca_s_fault_pipe_order"] }),
  row([1914, "RPC_S_INVALID_ASYNC_HANDLE"], { error: "InvalidAsyncHandle" }),
  row([1916, "RPC_X_PIPE_CLOSED"], { error: "PipeClosed", fault: [0x15, "nca_s_fault_pipe_closed"] }),
  row([1917, "RPC_X_PIPE_DISCIPLINE_ERROR"], {
    error: "PipeDisciplineError",
    fault: [0x17, "nca_s_fault_pipe_discipline"]
  }),
  row([1918, "RPC_X_PIPE_EMPTY"], { error: "PipeEmpty", fault: [0x14, "nca_s_fault_pipe_empty"] }),
  row(undefined, { error: "CallComplete", hresult: [0x80010117, "RPC_E_CALL_COMPLETE"] }),
  row(undefined, { error: "WaitTimeout", hresult: [0x8001011f, "RPC_E_TIMEOUT"] }),
  row(undefined, { error: "NoInterface", hresult: [0x80004002, "E_NOINTERFACE"] }),
  row(undefined, { error: "CancelDisabled", hresult: [0x80010140, "CO_E_CANCEL_DISABLED"] }),
  row(undefined, { error: "NoSync", hresult: [0x80010120, "RPC_E_NO_SYNC"] })
]

// No call ends with these, so programs without a network do not load their names.
const addressNames: { readonly [number: number]: string } = {
  1700: "RPC_S_INVALID_STRING_BINDING",
  1703: "RPC_S_PROTSEQ_NOT_SUPPORTED",
  1705: "RPC_S_INVALID_STRING_UUID",
  1706: "RPC_S_INVALID_ENDPOINT_FORMAT",
  1707: "RPC_S_INVALID_NET_ADDR",
  1720: "RPC_S_CANT_CREATE_ENDPOINT",
  1724: "RPC_S_INVALID_NETWORK_OPTIONS",
  1740: "RPC_S_DUPLICATE_ENDPOINT",
  1751: "EPT_S_INVALID_ENTRY"
}

const byWin32: ReadonlyMap<number, Row> = new Map(
  rows.flatMap((row) => row.codes.rpcStatus === undefined ? [] : [[row.codes.rpcStatus.number, row]])
)

/** The row of a Win32 code. */
export const rowOf = (number: number): Row | undefined => byWin32.get(number)

const byFault: Map<number, Fault> = new Map(
  rows.flatMap(({ codes: { fault, rpcStatus } }) =>
    fault === undefined ? [] : [[fault.number, { ...fault, rpcStatus: rpcStatus!.number }]]
  )
)

/** Adds statuses of faults that do not mean an error of their own. */
export const addFaults = (faults: ReadonlyArray<Fault>): void =>
  faults.forEach((fault) => byFault.set(fault.number, fault))

/** The status of a fault with its name; `undefined` for any other number. */
export const faultOf = (status: number): Fault | undefined => byFault.get(status)

/** A Win32 code with its name; one that the table does not hold is named by its number. */
export const win32Of = (number: number): Code =>
  byWin32.get(number)?.codes.rpcStatus ?? { number, name: String(number) }

/** The same for every code under which a string binding, a tower or an endpoint is refused. */
export const addressCode = (number: number): Code => ({ number, name: addressNames[number] ?? win32Of(number).name })

/** The code that a client reads for a Win32 code that a server sends: another one for 14, 1715 and 1778. */
export const seenAs = (code: number): number => byWin32.get(code)?.seenAs ?? code

/** A number as Windows writes it. */
export const toHex = (number: number): string => `0x${number.toString(16).toUpperCase().padStart(8, "0")}`

/** Why a number can't be the code of an abort; `undefined` if it can. */
export const refuseCode = (code: number): string | undefined => {
  if (!Number.isInteger(code) || code < 0 || code > 0xffffffff) return "an exception code is an unsigned 32-bit integer"
  if (code === 0) return "0 means success"
  if (code >>> 24 === protocol >>> 24) return "0x1C000000 to 0x1CFFFFFF are statuses of the protocol itself"
  const read = seenAs(code)
  return read === code ? byWin32.get(code)?.refused : `Windows clients read it as ${read} ${win32Of(read).name}`
}
