/**
 * vectors 1.0, from union_boolean.idl.
 *
 * Written by callisto import 0.1.0. Do not edit it: import again.
 */
import { Interface } from "@callisto/rpc"
import * as Ndr from "@callisto/rpc/ndr/Ndr"
import type { Schema } from "effect"

// ---- structures and unions ----

/** `[switch_type(Uint8)] union` */
export type BU =
  | { readonly case: 0; readonly value: number }
  | { readonly case: 1; readonly value: string }
export const BU: Schema.Codec<BU> = Ndr.union(Ndr.Uint8, { 0: Ndr.Int32, 1: Ndr.Char })

export interface BUS {
  readonly u: BU
}
export const BUS: Schema.Codec<BUS> = Ndr.struct({ b: Ndr.switchIs("u"), u: BU })

// ---- the interface ----

export const vectors = Interface.make("vectors", {
  uuid: "7f2c1a40-52d1-4d3b-9a77-1b0f2e6d9c02",
  version: [1, 0],
  methods: {
    f: Interface.method({
      opnum: 0,
      in: { p: BUS }
    })
  }
})
