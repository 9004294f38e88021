/**
 * vectors 1.0, from switch_through_unique.idl.
 *
 * Written by callisto import 0.1.0. Do not edit it: import again.
 */
import { Interface } from "@callisto/rpc"
import * as Ndr from "@callisto/rpc/ndr/Ndr"
import { Schema } from "effect"

// ---- structures and unions ----

/** `[switch_type(Int16)] union`, with an empty default arm. */
export type N =
  | { readonly case: 1; readonly value: bigint }
  | { readonly case: 2; readonly value: string }
  | { readonly default: number | string }
export const N: Schema.Codec<N> = Ndr.union(Ndr.Int16, { 1: Ndr.Int64, 2: Ndr.Char }, { default: Schema.Void })

export interface P {
  readonly t: number
  /** `switch_is(t)` */
  readonly u: N | null
}
export const P: Schema.Codec<P> = Ndr.struct({ t: Ndr.Int16, u: Ndr.unique(N) })

// ---- the interface ----

export const vectors = Interface.make("vectors", {
  uuid: "7f2c1a40-52d1-4d3b-9a77-1b0f2e6d9c02",
  version: [1, 0],
  methods: {
    f: Interface.method({
      opnum: 0,
      in: { p: P }
    })
  }
})
