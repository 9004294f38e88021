/**
 * srvsvc 3.0, from srvsvc.idl.
 *
 * Written by callisto import 0.1.0. Do not edit it: import again.
 */
import { Interface } from "@callisto/rpc"
import * as Ndr from "@callisto/rpc/ndr/Ndr"
import { Schema } from "effect"

// ---- enumerations ----

/** `[v1_enum] enum` */
export type SHARE_TYPE =
  | "STYPE_DISKTREE"
  | "STYPE_PRINTQ"
  | "STYPE_DEVICE"
  | "STYPE_IPC"
  | "STYPE_HIDDEN_DISKTREE"
  | "STYPE_HIDDEN_IPC"
  | number
export const SHARE_TYPE: Schema.Codec<SHARE_TYPE> = Ndr.enum32({
  STYPE_DISKTREE: 0,
  STYPE_PRINTQ: 1,
  STYPE_DEVICE: 2,
  STYPE_IPC: 3,
  STYPE_HIDDEN_DISKTREE: 0x80000000,
  STYPE_HIDDEN_IPC: 0x80000003
})

// ---- structures and unions ----

export interface SHARE_INFO_0 {
  readonly shi0_netname: string | null
}
export const SHARE_INFO_0: Schema.Codec<SHARE_INFO_0> = Ndr.struct({ shi0_netname: Ndr.unique(Ndr.WString) })

export interface SHARE_INFO_0_CONTAINER {
  readonly Buffer: ReadonlyArray<SHARE_INFO_0> | null
}
export const SHARE_INFO_0_CONTAINER: Schema.Codec<SHARE_INFO_0_CONTAINER> = Ndr.struct({
  EntriesRead: Ndr.sizeIs("Buffer"),
  Buffer: Ndr.unique(Ndr.conformant(SHARE_INFO_0))
})

export interface SHARE_INFO_1 {
  readonly shi1_netname: string | null
  readonly shi1_type: SHARE_TYPE
  readonly shi1_remark: string | null
}
export const SHARE_INFO_1: Schema.Codec<SHARE_INFO_1> = Ndr.struct({
  shi1_netname: Ndr.unique(Ndr.WString),
  shi1_type: SHARE_TYPE,
  shi1_remark: Ndr.unique(Ndr.WString)
})

export interface SHARE_INFO_1_CONTAINER {
  readonly Buffer: ReadonlyArray<SHARE_INFO_1> | null
}
export const SHARE_INFO_1_CONTAINER: Schema.Codec<SHARE_INFO_1_CONTAINER> = Ndr.struct({
  EntriesRead: Ndr.sizeIs("Buffer"),
  Buffer: Ndr.unique(Ndr.conformant(SHARE_INFO_1))
})

/** `[switch_type(Uint32)] union`, with an empty default arm. */
export type SHARE_ENUM_UNION =
  | { readonly case: 0; readonly value: SHARE_INFO_0_CONTAINER | null }
  | { readonly case: 1; readonly value: SHARE_INFO_1_CONTAINER | null }
  | { readonly default: number | string }
export const SHARE_ENUM_UNION: Schema.Codec<SHARE_ENUM_UNION> = Ndr.union(Ndr.Uint32, {
  0: Ndr.unique(SHARE_INFO_0_CONTAINER),
  1: Ndr.unique(SHARE_INFO_1_CONTAINER)
}, { default: Schema.Void, msUnion: true })

export interface SHARE_ENUM_STRUCT {
  readonly ShareInfo: SHARE_ENUM_UNION
}
export const SHARE_ENUM_STRUCT: Schema.Codec<SHARE_ENUM_STRUCT> = Ndr.struct({
  Level: Ndr.switchIs("ShareInfo"),
  ShareInfo: SHARE_ENUM_UNION
})

export interface TIME_OF_DAY_INFO {
  readonly tod_elapsedt: number
  readonly tod_msecs: number
  readonly tod_hours: number
  readonly tod_mins: number
  readonly tod_secs: number
  readonly tod_hunds: number
  readonly tod_timezone: number
  readonly tod_tinterval: number
  readonly tod_day: number
  readonly tod_month: number
  readonly tod_year: number
  readonly tod_weekday: number
}
export const TIME_OF_DAY_INFO: Schema.Codec<TIME_OF_DAY_INFO> = Ndr.struct({
  tod_elapsedt: Ndr.Uint32,
  tod_msecs: Ndr.Uint32,
  tod_hours: Ndr.Uint32,
  tod_mins: Ndr.Uint32,
  tod_secs: Ndr.Uint32,
  tod_hunds: Ndr.Uint32,
  tod_timezone: Ndr.Int32,
  tod_tinterval: Ndr.Uint32,
  tod_day: Ndr.Uint32,
  tod_month: Ndr.Uint32,
  tod_year: Ndr.Uint32,
  tod_weekday: Ndr.Uint32
})

// ---- the interface ----

/** Endpoint: `ncacn_np:[\pipe\srvsvc]` */
export const srvsvc = Interface.make("srvsvc", {
  uuid: "4b324fc8-1670-01d3-1278-5a47bf6ee188",
  version: [3, 0],
  methods: {
    NetrShareEnum: Interface.method({
      opnum: 15,
      in: {
        ServerName: Ndr.unique(Ndr.WString),
        InfoStruct: SHARE_ENUM_STRUCT,
        PreferedMaximumLength: Ndr.Uint32,
        ResumeHandle: Ndr.unique(Ndr.Uint32)
      },
      out: {
        InfoStruct: SHARE_ENUM_STRUCT,
        TotalEntries: Ndr.Uint32,
        ResumeHandle: Ndr.unique(Ndr.Uint32),
        result: Ndr.Uint32
      }
    }),
    NetrRemoteTOD: Interface.method({
      opnum: 28,
      in: { ServerName: Ndr.unique(Ndr.WString) },
      out: { BufferPtr: Ndr.unique(TIME_OF_DAY_INFO), result: Ndr.Uint32 }
    })
  }
})
