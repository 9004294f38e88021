/**
 * vectors 1.0, from masked_switch.idl.
 *
 * Written by callisto import 0.1.0. Do not edit it: import again.
 */
import { Interface } from "@callisto/rpc"
import * as Ndr from "@callisto/rpc/ndr/Ndr"
import type { Schema } from "effect"

// ---- structures and unions ----

/** `[switch_type(Uint32)] union` */
export type U =
  | { readonly case: 1; readonly value: number }
  | { readonly case: 2; readonly value: bigint }
export const U: Schema.Codec<U> = Ndr.union(Ndr.Uint32, { 1: Ndr.Int32, 2: Ndr.Int64 })

// ---- the interface ----

export const vectors = Interface.make("vectors", {
  uuid: "7f2c1a40-52d1-4d3b-9a77-1b0f2e6d9c02",
  version: [1, 0],
  methods: {
    /** `[in, switch_is(0xFFFFFF & Level)] u` */
    f: Interface.method({
      opnum: 0,
      in: { Level: Ndr.Uint32, u: U }
    })
  }
})
