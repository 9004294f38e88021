/**
 * The numbers of Windows and of the protocol under which calls fail, and how a number changes on the network: one table, from
 * which the errors, the mappings and the documentation come.
 */

/** A documented number together with its documented name. */
export interface Code {
  /** The number, unsigned 32-bit. */
  readonly number: number
  /** The name that Windows or the protocol gives it. */
  readonly name: string
}

/** One kind of failure, with every number that means it. */
export interface Row {
  /** The tag of the class of errors that means this row alone. */
  readonly error?: string
  readonly win32?: Code
  readonly hresult?: Code
  /** The statuses of faults that a client reads as this row. */
  readonly faults: ReadonlyArray<Code>
  /** The status of the fault as which a server sends the Win32 code; a code without one travels as it is. */
  readonly sentAs?: number | undefined
  /** Why the Win32 code is refused as the code of an abort. */
  readonly refused?: string
}

type Name = readonly [number: number, name: string]

const code = ([number, name]: Name): Code => ({ number, name })

/** The high bits of every status of the protocol. */
const protocol = 0x1c000000

const fault = ([low, name]: Name): Code => ({ number: protocol + low, name })

const row = (
  win32: Name | undefined,
  { faults = [], hresult, sentAs = faults[0]?.[0], ...more }:
    & Pick<Row, "error" | "refused">
    & {
      readonly hresult?: Name
      /** Without the high bits; the first is the one that a server sends. */
      readonly faults?: ReadonlyArray<Name>
      /** Without the high bits; `null` where the Win32 code travels as it is. */
      readonly sentAs?: number | null
    } = {}
): Row => ({
  ...(win32 && { win32: code(win32) }),
  ...(hresult && { hresult: code(hresult) }),
  ...more,
  faults: faults.map(fault),
  sentAs: sentAs == null ? undefined : protocol + sentAs
})

/** All rows: those with a Win32 code, those with an HRESULT alone, those with a status of a fault alone. */
export const rows: ReadonlyArray<Row> = [
  row([5, "ERROR_ACCESS_DENIED"]),
  row([6, "RPC_X_SS_CONTEXT_MISMATCH"], {
    error: "ContextMismatch",
    faults: [[0x1a, "nca_s_fault_context_mismatch"]]
  }),
  row([14, "RPC_S_OUT_OF_MEMORY"], { faults: [[0x19, "nca_s_fault_pipe_memory"]], sentAs: 0x1b }),
  row([87, "RPC_S_INVALID_ARG"]),
  row([997, "RPC_S_ASYNC_CALL_PENDING"], {
    error: "CallPending",
    hresult: [0x80010115, "RPC_S_CALLPENDING"]
  }),
  row([1130, "RPC_S_SERVER_OUT_OF_MEMORY"], {
    faults: [[0x1b, "nca_s_fault_remote_no_memory"], [0x10013, "nca_s_out_args_too_big"]],
    sentAs: null
  }),
  row([1460, "RPC_S_TIMEOUT"]),
  row([1703, "RPC_S_PROTSEQ_NOT_SUPPORTED"]),
  row([1715, "RPC_S_NOT_LISTENING"], { sentAs: 0x10014 }),
  row([1717, "RPC_S_UNKNOWN_IF"], { error: "UnknownInterface", faults: [[0x10003, "nca_s_unk_if"]] }),
  row([1720, "RPC_S_CANT_CREATE_ENDPOINT"]),
  row([1722, "RPC_S_SERVER_UNAVAILABLE"], { refused: "it means that the server is unavailable" }),
  row([1723, "RPC_S_SERVER_TOO_BUSY"], { faults: [[0x10014, "nca_s_server_too_busy"]] }),
  row([1725, "RPC_S_NO_CALL_ACTIVE"]),
  row([1726, "RPC_S_CALL_FAILED"], {
    refused: "it means that the call failed",
    faults: [
      [0x12, "nca_s_fault_unspec"],
      [0x10009, "nca_s_you_crashed"],
      [0x0b, "nca_s_who_are_you_failed"]
    ]
  }),
  row([1727, "RPC_S_CALL_FAILED_DNE"], {
    refused: "it means that the call failed and did not execute",
    faults: [
      [0x0c, "nca_s_manager_not_entered"],
      [0x09, "nca_s_unspec_reject"],
      [0x0a, "nca_s_bad_actid"]
    ]
  }),
  // Windows sends 1728 as nca_s_proto_error, at which clients such as Samba's close the connection.
  row([1728, "RPC_S_PROTOCOL_ERROR"], {
    refused: "it ends the connection of some clients",
    faults: [[0x1000b, "nca_s_proto_error"], [0x08, "nca_s_rpc_version_mismatch"]],
    sentAs: null
  }),
  row([1732, "RPC_S_UNSUPPORTED_TYPE"], { faults: [[0x10017, "nca_s_unsupported_type"]] }),
  row([1733, "RPC_S_INVALID_TAG"], { faults: [[0x06, "nca_s_fault_invalid_tag"]] }),
  row([1734, "RPC_S_INVALID_BOUND"], { faults: [[0x07, "nca_s_fault_invalid_bound"]] }),
  row([1740, "RPC_S_DUPLICATE_ENDPOINT"]),
  row([1745, "RPC_S_PROCNUM_OUT_OF_RANGE"], { faults: [[0x10002, "nca_s_op_rng_error"]] }),
  row([1753, "EPT_S_NOT_REGISTERED"], { error: "EndpointNotRegistered" }),
  row([1767, "RPC_S_ZERO_DIVIDE"], { faults: [[0x01, "nca_s_fault_int_div_by_zero"]], sentAs: null }),
  row([1768, "RPC_S_ADDRESS_ERROR"], {
    faults: [
      [0x02, "nca_s_fault_addr_error"],
      [0x0e, "nca_s_fault_ill_inst"],
      [0x10, "nca_s_fault_int_overflow"]
    ],
    sentAs: null
  }),
  row([1769, "RPC_S_FP_DIV_ZERO"], { faults: [[0x03, "nca_s_fault_fp_div_zero"]], sentAs: null }),
  row([1770, "RPC_S_FP_UNDERFLOW"], { faults: [[0x04, "nca_s_fault_fp_underflow"]], sentAs: null }),
  row([1771, "RPC_S_FP_OVERFLOW"], {
    faults: [[0x05, "nca_s_fault_fp_overflow"], [0x0f, "nca_s_fault_fp_error"]],
    sentAs: null
  }),
  row([1775, "RPC_X_SS_IN_NULL_CONTEXT"], { error: "NullContext" }),
  row([1778, "RPC_X_SS_HANDLES_MISMATCH"], { sentAs: 0x1a }),
  row([1783, "RPC_X_BAD_STUB_DATA"], { error: "BadStubData" }),
  row([1818, "RPC_S_CALL_CANCELLED"], {
    error: "CallCancelled",
    hresult: [0x80010002, "RPC_E_CALL_CANCELED"],
    refused: "it means that the call was cancelled; let the cancel interrupt the manager",
    faults: [[0x0d, "nca_s_fault_cancel"]]
  }),
  row([1820, "RPC_S_COMM_FAILURE"], {
    faults: [[0x10001, "nca_s_comm_failure"], [0x18, "nca_s_fault_pipe_comm_error"]]
  }),
  row([1825, "RPC_S_SEC_PKG_ERROR"], { refused: "it ends the connection of some clients" }),
  row([1831, "RPC_X_WRONG_PIPE_ORDER"], { error: "WrongPipeOrder", faults: [[0x16, "nca_s_fault_pipe_order"]] }),
  row([1914, "RPC_S_INVALID_ASYNC_HANDLE"], { error: "InvalidAsyncHandle" }),
  row([1916, "RPC_X_PIPE_CLOSED"], { error: "PipeClosed", faults: [[0x15, "nca_s_fault_pipe_closed"]] }),
  row([1917, "RPC_X_PIPE_DISCIPLINE_ERROR"], {
    error: "PipeDisciplineError",
    faults: [[0x17, "nca_s_fault_pipe_discipline"]]
  }),
  row([1918, "RPC_X_PIPE_EMPTY"], { error: "PipeEmpty", faults: [[0x14, "nca_s_fault_pipe_empty"]] }),
  row(undefined, { error: "CallComplete", hresult: [0x80010117, "RPC_E_CALL_COMPLETE"] }),
  row(undefined, { error: "WaitTimeout", hresult: [0x8001011f, "RPC_E_TIMEOUT"] }),
  row(undefined, { error: "NoInterface", hresult: [0x80004002, "E_NOINTERFACE"] }),
  row(undefined, { error: "CancelDisabled", hresult: [0x80010140, "CO_E_CANCEL_DISABLED"] }),
  row(undefined, { error: "NoSync", hresult: [0x80010120, "RPC_E_NO_SYNC"] }),
  row(undefined, {
    faults: [
      [0x10006, "nca_s_wrong_boot_time"],
      [0x10015, "nca_s_fault_string_too_long"],
      [0x13, "nca_s_fault_remote_comm_failure"],
      [0x1c, "nca_s_invalid_pres_context_id"],
      [0x1d, "nca_s_unsupported_authn_level"],
      [0x1f, "nca_s_invalid_checksum"],
      [0x20, "nca_s_invalid_crc"],
      [0x21, "nca_s_fault_user_defined"],
      [0x22, "nca_s_fault_tx_open_failed"],
      [0x23, "nca_s_fault_codeset_conv_error"],
      [0x24, "nca_s_fault_object_not_found"],
      [0x25, "nca_s_fault_no_client_stub"]
    ],
    sentAs: null
  })
]

// No call ends with these, so programs without a network do not load their names.
const addressNames: { readonly [number: number]: string } = {
  1700: "RPC_S_INVALID_STRING_BINDING",
  1705: "RPC_S_INVALID_STRING_UUID",
  1706: "RPC_S_INVALID_ENDPOINT_FORMAT",
  1707: "RPC_S_INVALID_NET_ADDR",
  1724: "RPC_S_INVALID_NETWORK_OPTIONS",
  1751: "EPT_S_INVALID_ENTRY"
}

const byWin32: ReadonlyMap<number, Row> = new Map(
  rows.flatMap((row) => row.win32 === undefined ? [] : [[row.win32.number, row]])
)

const byFault: ReadonlyMap<number, readonly [Row, Code]> = new Map(
  rows.flatMap((row) => row.faults.map((fault) => [fault.number, [row, fault]]))
)

/** The row of a Win32 code or of the status of a fault. */
export const rowOf = (number: number): Row | undefined => byWin32.get(number) ?? byFault.get(number)?.[0]

/** The status of a fault with its name; `undefined` for any other number. */
export const faultOf = (status: number): Code | undefined => byFault.get(status)?.[1]

/** A Win32 code with its name; one that the table does not hold is named by its number. */
export const win32Of = (number: number): Code => byWin32.get(number)?.win32 ?? { number, name: String(number) }

/** The same for every code under which a string binding or a tower is refused. */
export const addressCode = (number: number): Code => ({ number, name: addressNames[number] ?? win32Of(number).name })

/** The number that a fault carries on the network for a code. */
export const sentAs = (code: number): number => byWin32.get(code)?.sentAs ?? code

/** The code that a client reads for the number in a fault. Zero would mean success, which a fault can't be. */
export const readAs = (number: number): number => number === 0 ? 1728 : byFault.get(number)?.[0].win32?.number ?? number

/** The code that a client reads for a Win32 code that a server sends: another one for 14, 1715 and 1778. */
export const seenAs = (code: number): number => {
  const status = sentAs(code)
  return status === code ? code : readAs(status)
}

/** The fields of `RpcFault` for the number in a fault. */
export const received = (number: number): { readonly code: number; readonly wireCode?: number } => {
  const code = readAs(number)
  return code === number ? { code } : { code, wireCode: number }
}

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
