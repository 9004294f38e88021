/**
 * Names of the numbers that functions return: the common ones of Win32, NTSTATUS and HRESULT. Only what checks results loads them.
 */
import { win32Of } from "./statusTable.ts"

type Names = { readonly [number: number]: string }

/** Without `ERROR_`, but for those of the network functions. */
const win32Names: Names = {
  0: "SUCCESS",
  1: "INVALID_FUNCTION",
  2: "FILE_NOT_FOUND",
  3: "PATH_NOT_FOUND",
  5: "ACCESS_DENIED",
  6: "INVALID_HANDLE",
  8: "NOT_ENOUGH_MEMORY",
  13: "INVALID_DATA",
  14: "OUTOFMEMORY",
  18: "NO_MORE_FILES",
  31: "GEN_FAILURE",
  32: "SHARING_VIOLATION",
  50: "NOT_SUPPORTED",
  53: "BAD_NETPATH",
  64: "NETNAME_DELETED",
  67: "BAD_NET_NAME",
  80: "FILE_EXISTS",
  87: "INVALID_PARAMETER",
  109: "BROKEN_PIPE",
  112: "DISK_FULL",
  120: "CALL_NOT_IMPLEMENTED",
  122: "INSUFFICIENT_BUFFER",
  123: "INVALID_NAME",
  124: "INVALID_LEVEL",
  126: "MOD_NOT_FOUND",
  127: "PROC_NOT_FOUND",
  161: "BAD_PATHNAME",
  170: "BUSY",
  183: "ALREADY_EXISTS",
  234: "MORE_DATA",
  258: "WAIT_TIMEOUT",
  259: "NO_MORE_ITEMS",
  995: "OPERATION_ABORTED",
  997: "IO_PENDING",
  1004: "INVALID_FLAGS",
  1051: "DEPENDENT_SERVICES_RUNNING",
  1052: "INVALID_SERVICE_CONTROL",
  1053: "SERVICE_REQUEST_TIMEOUT",
  1055: "SERVICE_DATABASE_LOCKED",
  1056: "SERVICE_ALREADY_RUNNING",
  1057: "INVALID_SERVICE_ACCOUNT",
  1058: "SERVICE_DISABLED",
  1060: "SERVICE_DOES_NOT_EXIST",
  1061: "SERVICE_CANNOT_ACCEPT_CTRL",
  1062: "SERVICE_NOT_ACTIVE",
  1065: "DATABASE_DOES_NOT_EXIST",
  1066: "SERVICE_SPECIFIC_ERROR",
  1068: "SERVICE_DEPENDENCY_FAIL",
  1069: "SERVICE_LOGON_FAILED",
  1072: "SERVICE_MARKED_FOR_DELETE",
  1073: "SERVICE_EXISTS",
  1078: "DUPLICATE_SERVICE_NAME",
  1115: "SHUTDOWN_IN_PROGRESS",
  1168: "NOT_FOUND",
  1314: "PRIVILEGE_NOT_HELD",
  1317: "NO_SUCH_USER",
  1319: "NO_SUCH_GROUP",
  1326: "LOGON_FAILURE",
  1332: "NONE_MAPPED",
  1337: "INVALID_SID",
  1338: "INVALID_SECURITY_DESCR",
  1355: "NO_SUCH_DOMAIN",
  1359: "INTERNAL_ERROR",
  1450: "NO_SYSTEM_RESOURCES",
  1460: "TIMEOUT",
  1801: "INVALID_PRINTER_NAME",
  1804: "INVALID_DATATYPE"
}

const networkNames: Names = {
  2114: "ServerNotStarted",
  2118: "DuplicateShare",
  2123: "BufTooSmall",
  2220: "GroupNotFound",
  2221: "UserNotFound",
  2310: "NetNameNotFound",
  2311: "DeviceNotShared",
  2312: "ClientNameNotFound"
}

/** Without `STATUS_`. */
const ntNames: Names = {
  0: "SUCCESS",
  0x103: "PENDING",
  0x105: "MORE_ENTRIES",
  0x107: "SOME_NOT_MAPPED",
  0x80000005: "BUFFER_OVERFLOW",
  0x80000006: "NO_MORE_FILES",
  0x8000001a: "NO_MORE_ENTRIES",
  0xc0000001: "UNSUCCESSFUL",
  0xc0000002: "NOT_IMPLEMENTED",
  0xc0000003: "INVALID_INFO_CLASS",
  0xc0000004: "INFO_LENGTH_MISMATCH",
  0xc0000008: "INVALID_HANDLE",
  0xc000000d: "INVALID_PARAMETER",
  0xc000000e: "NO_SUCH_DEVICE",
  0xc000000f: "NO_SUCH_FILE",
  0xc0000017: "NO_MEMORY",
  0xc0000022: "ACCESS_DENIED",
  0xc0000023: "BUFFER_TOO_SMALL",
  0xc0000024: "OBJECT_TYPE_MISMATCH",
  0xc0000033: "OBJECT_NAME_INVALID",
  0xc0000034: "OBJECT_NAME_NOT_FOUND",
  0xc0000035: "OBJECT_NAME_COLLISION",
  0xc000003a: "OBJECT_PATH_NOT_FOUND",
  0xc0000043: "SHARING_VIOLATION",
  0xc000005e: "NO_LOGON_SERVERS",
  0xc0000060: "NO_SUCH_PRIVILEGE",
  0xc0000061: "PRIVILEGE_NOT_HELD",
  0xc0000062: "INVALID_ACCOUNT_NAME",
  0xc0000063: "USER_EXISTS",
  0xc0000064: "NO_SUCH_USER",
  0xc0000065: "GROUP_EXISTS",
  0xc0000066: "NO_SUCH_GROUP",
  0xc000006a: "WRONG_PASSWORD",
  0xc000006c: "PASSWORD_RESTRICTION",
  0xc000006d: "LOGON_FAILURE",
  0xc000006e: "ACCOUNT_RESTRICTION",
  0xc0000071: "PASSWORD_EXPIRED",
  0xc0000072: "ACCOUNT_DISABLED",
  0xc0000073: "NONE_MAPPED",
  0xc0000078: "INVALID_SID",
  0xc0000079: "INVALID_SECURITY_DESCR",
  0xc000009a: "INSUFFICIENT_RESOURCES",
  0xc00000b5: "IO_TIMEOUT",
  0xc00000bb: "NOT_SUPPORTED",
  0xc00000cc: "BAD_NETWORK_NAME",
  0xc00000df: "NO_SUCH_DOMAIN",
  0xc00000e0: "DOMAIN_EXISTS",
  0xc00000e5: "INTERNAL_ERROR",
  0xc0000120: "CANCELLED",
  0xc0000151: "NO_SUCH_ALIAS",
  0xc0000193: "ACCOUNT_EXPIRED",
  0xc0000225: "NOT_FOUND",
  0xc0000234: "ACCOUNT_LOCKED_OUT"
}

const hresultNames: Names = {
  0: "S_OK",
  1: "S_FALSE",
  0x80004001: "E_NOTIMPL",
  0x80004002: "E_NOINTERFACE",
  0x80004003: "E_POINTER",
  0x80004004: "E_ABORT",
  0x80004005: "E_FAIL",
  0x8000ffff: "E_UNEXPECTED",
  0x80040154: "REGDB_E_CLASSNOTREG",
  0x80070005: "E_ACCESSDENIED",
  0x80070006: "E_HANDLE",
  0x8007000e: "E_OUTOFMEMORY",
  0x80070057: "E_INVALIDARG"
}

const prefixed = (prefix: string, name: string | undefined): string | undefined => name && `${prefix}${name}`

/** The name of a Win32 code; `undefined` for one that is not known here. */
export const win32Name = (code: number): string | undefined => {
  const { name } = win32Of(code)
  return prefixed("ERROR_", win32Names[code]) ?? prefixed("NERR_", networkNames[code]) ??
    (name === String(code) ? undefined : name)
}

/** The name of an NTSTATUS; `undefined` for one that is not known here. */
export const ntStatusName = (code: number): string | undefined => prefixed("STATUS_", ntNames[code])

/** The name of an HRESULT; one that carries a Win32 code has the name of that code. */
export const hresultName = (code: number): string | undefined =>
  hresultNames[code] ?? (code >>> 16 === 0x8007 ? win32Name(code & 0xffff) : undefined)
