/**
 * vectors 1.0, from ms_union_array.idl.
 *
 * Written by callisto import 0.1.0. Do not edit it: import again.
 */
import { Interface } from "@callisto/rpc"
import * as Ndr from "@callisto/rpc/ndr/Ndr"
import type { Schema } from "effect"

// ---- structures and unions ----

/** `[switch_type(Int16)] union` */
export type U =
  | { readonly case: 1; readonly value: bigint }
  | { readonly case: 2; readonly value: string }
export const U: Schema.Codec<U> = Ndr.union(Ndr.Int16, { 1: Ndr.Int64, 2: Ndr.Char }, { msUnion: true })

export interface S {
  readonly u: U
}
export const S: Schema.Codec<S> = Ndr.struct({ t: Ndr.switchIs("u"), u: U })

export interface P {
  readonly s: ReadonlyArray<S> | null
}
export const P: Schema.Codec<P> = Ndr.struct({
  n: Ndr.sizeIs("s", Ndr.Int32),
  s: Ndr.unique(Ndr.conformant(S))
})

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
