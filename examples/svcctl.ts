/**
 * svcctl 2.0, from svcctl.idl.
 *
 * Written by callisto import 0.1.0. Do not edit it: import again.
 */
import { ContextHandle, Interface } from "@callisto/rpc"
import * as Ndr from "@callisto/rpc/ndr/Ndr"
import type { Schema } from "effect"

// ---- constants ----

export const SC_MANAGER_CONNECT = 1
export const SC_MANAGER_ENUMERATE_SERVICE = 4
export const SERVICE_QUERY_CONFIG = 1
export const SERVICE_QUERY_STATUS = 4
export const SERVICE_WIN32 = 48
export const SERVICE_STATE_ALL = 3

// ---- handles ----

export type SC_RPC_HANDLE = ContextHandle.ContextHandle<"SC_RPC_HANDLE">
export const SC_RPC_HANDLE: ContextHandle.Type<"SC_RPC_HANDLE"> = ContextHandle.make("SC_RPC_HANDLE")

// ---- enumerations ----

/** `[v1_enum] enum` */
export type SERVICE_STATE =
  | "SERVICE_STOPPED"
  | "SERVICE_START_PENDING"
  | "SERVICE_STOP_PENDING"
  | "SERVICE_RUNNING"
  | "SERVICE_CONTINUE_PENDING"
  | "SERVICE_PAUSE_PENDING"
  | "SERVICE_PAUSED"
  | number
export const SERVICE_STATE: Schema.Codec<SERVICE_STATE> = Ndr.enum32({
  SERVICE_STOPPED: 1,
  SERVICE_START_PENDING: 2,
  SERVICE_STOP_PENDING: 3,
  SERVICE_RUNNING: 4,
  SERVICE_CONTINUE_PENDING: 5,
  SERVICE_PAUSE_PENDING: 6,
  SERVICE_PAUSED: 7
})

// ---- structures and unions ----

export interface SERVICE_STATUS {
  readonly dwServiceType: number
  readonly dwCurrentState: SERVICE_STATE
  readonly dwControlsAccepted: number
  readonly dwWin32ExitCode: number
  readonly dwServiceSpecificExitCode: number
  readonly dwCheckPoint: number
  readonly dwWaitHint: number
}
export const SERVICE_STATUS: Schema.Codec<SERVICE_STATUS> = Ndr.struct({
  dwServiceType: Ndr.Uint32,
  dwCurrentState: SERVICE_STATE,
  dwControlsAccepted: Ndr.Uint32,
  dwWin32ExitCode: Ndr.Uint32,
  dwServiceSpecificExitCode: Ndr.Uint32,
  dwCheckPoint: Ndr.Uint32,
  dwWaitHint: Ndr.Uint32
})

export interface QUERY_SERVICE_CONFIGW {
  readonly dwServiceType: number
  readonly dwStartType: number
  readonly dwErrorControl: number
  readonly lpBinaryPathName: string | null
  readonly lpLoadOrderGroup: string | null
  readonly dwTagId: number
  readonly lpDependencies: string | null
  readonly lpServiceStartName: string | null
  readonly lpDisplayName: string | null
}
export const QUERY_SERVICE_CONFIGW: Schema.Codec<QUERY_SERVICE_CONFIGW> = Ndr.struct({
  dwServiceType: Ndr.Uint32,
  dwStartType: Ndr.Uint32,
  dwErrorControl: Ndr.Uint32,
  lpBinaryPathName: Ndr.unique(Ndr.range(Ndr.WString, 0, 8192)),
  lpLoadOrderGroup: Ndr.unique(Ndr.range(Ndr.WString, 0, 8192)),
  dwTagId: Ndr.Uint32,
  lpDependencies: Ndr.unique(Ndr.range(Ndr.WString, 0, 8192)),
  lpServiceStartName: Ndr.unique(Ndr.range(Ndr.WString, 0, 8192)),
  lpDisplayName: Ndr.unique(Ndr.range(Ndr.WString, 0, 8192))
})

// ---- the interface ----

/** Endpoint: `ncacn_np:[\pipe\svcctl]` */
export const svcctl = Interface.make("svcctl", {
  uuid: "367abb81-9844-35f1-ad32-98f038001003",
  version: [2, 0],
  methods: {
    RCloseServiceHandle: Interface.method({
      opnum: 0,
      in: { hSCObject: SC_RPC_HANDLE },
      out: { hSCObject: ContextHandle.nullable(SC_RPC_HANDLE), result: Ndr.Uint32 }
    }),
    RQueryServiceStatus: Interface.method({
      opnum: 6,
      in: { hService: SC_RPC_HANDLE },
      out: { lpServiceStatus: SERVICE_STATUS, result: Ndr.Uint32 }
    }),
    /**
     * Fills the buffer with entries of nine numbers: the offsets of the name and of the display name, and the seven of SERVICE_STATUS.
     *
     * `[out, size_is(cbBufSize)] lpBuffer`
     */
    REnumServicesStatusW: Interface.method({
      opnum: 14,
      in: {
        hSCManager: SC_RPC_HANDLE,
        dwServiceType: Ndr.Uint32,
        dwServiceState: Ndr.Uint32,
        cbBufSize: Ndr.range(Ndr.Uint32, 0, 262144),
        lpResumeIndex: Ndr.unique(Ndr.Uint32)
      },
      out: {
        lpBuffer: Ndr.Bytes,
        pcbBytesNeeded: Ndr.range(Ndr.Uint32, 0, 262144),
        lpServicesReturned: Ndr.range(Ndr.Uint32, 0, 262144),
        lpResumeIndex: Ndr.unique(Ndr.Uint32),
        result: Ndr.Uint32
      }
    }),
    ROpenSCManagerW: Interface.method({
      opnum: 15,
      in: {
        lpMachineName: Ndr.unique(Ndr.range(Ndr.WString, 0, 1024)),
        lpDatabaseName: Ndr.unique(Ndr.range(Ndr.WString, 0, 257)),
        dwDesiredAccess: Ndr.Uint32
      },
      out: { lpScHandle: ContextHandle.nullable(SC_RPC_HANDLE), result: Ndr.Uint32 }
    }),
    ROpenServiceW: Interface.method({
      opnum: 16,
      in: {
        hSCManager: SC_RPC_HANDLE,
        lpServiceName: Ndr.range(Ndr.WString, 0, 257),
        dwDesiredAccess: Ndr.Uint32
      },
      out: { lpServiceHandle: ContextHandle.nullable(SC_RPC_HANDLE), result: Ndr.Uint32 }
    }),
    RQueryServiceConfigW: Interface.method({
      opnum: 17,
      in: { hService: SC_RPC_HANDLE, cbBufSize: Ndr.range(Ndr.Uint32, 0, 8192) },
      out: {
        lpServiceConfig: QUERY_SERVICE_CONFIGW,
        pcbBytesNeeded: Ndr.range(Ndr.Uint32, 0, 8192),
        result: Ndr.Uint32
      }
    })
  }
})
