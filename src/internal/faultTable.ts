/**
 * The statuses of faults on the network, and how the code of a call changes there. It adds them to the names in `statusTable`, so that
 * every `RpcFault` that has such a status can name it. Programs without a network leave this module out.
 */
import { addFaults, type Fault, faultOf, type Name, rows, seenAs, statusOf } from "./statusTable.ts"

/** The Win32 code that a client reads for them, if there is one, and the statuses. A server sends the first. */
type Row = readonly [win32: number | undefined, ...faults: ReadonlyArray<Name>]

// Statuses without the high bits. Those that mean an error of their own are in the row of that error.
const others: ReadonlyArray<Row> = [
  [14, [0x19, "nca_s_fault_pipe_memory"]],
  [1130, [0x1b, "nca_s_fault_remote_no_memory"], [0x10013, "nca_s_out_args_too_big"]],
  [1723, [0x10014, "nca_s_server_too_busy"]],
  [1726, [0x12, "nca_s_fault_unspec"], [0x10009, "nca_s_you_crashed"], [0x0b, "nca_s_who_are_you_failed"]],
  [1727, [0x0c, "nca_s_manager_not_entered"], [0x09, "nca_s_unspec_reject"], [0x0a, "nca_s_bad_actid"]],
  [1728, [0x1000b, "nca_s_proto_error"], [0x08, "nca_s_rpc_version_mismatch"]],
  [1732, [0x10017, "nca_s_unsupported_type"]],
  [1733, [0x06, "nca_s_fault_invalid_tag"]],
  [1734, [0x07, "nca_s_fault_invalid_bound"]],
  [1745, [0x10002, "nca_s_op_rng_error"]],
  [1767, [0x01, "nca_s_fault_int_div_by_zero"]],
  [1768, [0x02, "nca_s_fault_addr_error"], [0x0e, "nca_s_fault_ill_inst"], [0x10, "nca_s_fault_int_overflow"]],
  [1769, [0x03, "nca_s_fault_fp_div_zero"]],
  [1770, [0x04, "nca_s_fault_fp_underflow"]],
  [1771, [0x05, "nca_s_fault_fp_overflow"], [0x0f, "nca_s_fault_fp_error"]],
  [1820, [0x10001, "nca_s_comm_failure"], [0x18, "nca_s_fault_pipe_comm_error"]],
  [
    undefined,
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
  ]
]

/** All statuses of faults. A status that means an error of its own comes before the others. */
export const faults: ReadonlyArray<Fault> = [
  ...rows.flatMap(({ codes: { fault } }) => fault === undefined ? [] : [faultOf(fault.number)!]),
  ...others.flatMap(([win32, ...names]) =>
    names.map((name): Fault => ({ ...statusOf(name), ...(win32 !== undefined && { rpcStatus: win32 }) }))
  )
]

addFaults(faults)

/** The statuses that a client reads as a given code. For `undefined` the statuses that no code replaces. */
export const faultsOf = (code: number | undefined): ReadonlyArray<Fault> =>
  faults.filter(({ rpcStatus }) => rpcStatus === code)

// Windows sends 1728 as nca_s_proto_error, at which clients such as Samba's close the connection.
const travelAsTheyAre = [1130, 1728, 1767, 1768, 1769, 1770, 1771]

const sent: ReadonlyMap<number, number> = new Map(
  rows.flatMap(({ codes: { rpcStatus } }) => {
    if (rpcStatus === undefined || travelAsTheyAre.includes(rpcStatus.number)) return []
    const [fault] = faultsOf(seenAs(rpcStatus.number))
    return fault === undefined ? [] : [[rpcStatus.number, fault.number]]
  })
)

/** The number that a fault carries on the network for a code. */
export const sentAs = (code: number): number => sent.get(code) ?? code

/** The code that a client reads for the number in a fault. Zero would mean success, which a fault can't be. */
const readAs = (number: number): number => number === 0 ? 1728 : faultOf(number)?.rpcStatus ?? number

/** The fields of `RpcFault` for the number in a fault. */
export const received = (number: number): { readonly code: number; readonly wireCode?: number } => {
  const code = readAs(number)
  return code === number ? { code } : { code, wireCode: number }
}
