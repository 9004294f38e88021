/**
 * vectors 1.0, from pipe_of_structs.idl.
 *
 * Written by callisto import 0.1.0. Do not edit it: import again.
 */
import { Interface } from "@callisto/rpc"
import * as Ndr from "@callisto/rpc/ndr/Ndr"
import type { Schema } from "effect"

// ---- structures and unions ----

export interface msg {
  readonly m: Uint8Array | null
}
export const msg: Schema.Codec<msg> = Ndr.struct({ l: Ndr.sizeIs("m", Ndr.Int32), m: Ndr.unique(Ndr.Bytes) })

export interface st {
  readonly l: number
  readonly s: number
}
export const st: Schema.Codec<st> = Ndr.struct({ l: Ndr.Int32, s: Ndr.Int16 })

// ---- the interface ----

export const vectors = Interface.make("vectors", {
  uuid: "7f2c1a40-52d1-4d3b-9a77-1b0f2e6d9c02",
  version: [1, 0],
  methods: {
    f: Interface.method({
      opnum: 0,
      in: { in1: msg },
      out: { out1: msg, result: Ndr.Int32 },
      inPipe: { inp: st },
      outPipe: { outp: st }
    })
  }
})
