/**
 * vectors 1.0, from union_char.idl.
 *
 * Written by callisto import 0.1.0. Do not edit it: import again.
 */
import { Interface } from "@callisto/rpc"
import * as Ndr from "@callisto/rpc/ndr/Ndr"
import type { Schema } from "effect"

// ---- structures and unions ----

/** `[switch_type(Uint8)] union` */
export type CU =
  | { readonly case: 97; readonly value: number }
  | { readonly case: 98; readonly value: string }
export const CU: Schema.Codec<CU> = Ndr.union(Ndr.Uint8, { 97: Ndr.Int32, 98: Ndr.Char })

export interface CUS {
  readonly u: CU
}
export const CUS: Schema.Codec<CUS> = Ndr.struct({ k: Ndr.switchIs("u"), u: CU })

// ---- the interface ----

export const vectors = Interface.make("vectors", {
  uuid: "7f2c1a40-52d1-4d3b-9a77-1b0f2e6d9c02",
  version: [1, 0],
  methods: {
    f: Interface.method({
      opnum: 0,
      in: { p: CUS }
    })
  }
})
