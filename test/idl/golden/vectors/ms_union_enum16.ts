/**
 * vectors 1.0, from ms_union_enum16.idl.
 *
 * Written by callisto import 0.1.0. Do not edit it: import again.
 */
import { Interface } from "@callisto/rpc"
import * as Ndr from "@callisto/rpc/ndr/Ndr"
import { Schema } from "effect"

// ---- enumerations ----

/** `enum` */
export type level_enum = "ZERO" | "ONE" | "TWO" | "FOUR" | "EIGHT" | number
export const level_enum: Schema.Codec<level_enum> = Ndr.enum16({ ZERO: 0, ONE: 1, TWO: 2, FOUR: 4, EIGHT: 8 })

// ---- structures and unions ----

/** `[switch_type(enum level_enum)] union` */
export type u =
  | { readonly case: "ZERO" }
  | { readonly case: "ONE"; readonly value: string }
  | { readonly case: "TWO"; readonly value: number }
  | { readonly case: "FOUR"; readonly value: number }
  | { readonly case: "EIGHT"; readonly value: bigint }
export const u: Schema.Codec<u> = Ndr.union(level_enum, {
  ZERO: Schema.Void,
  ONE: Ndr.Char,
  TWO: Ndr.Int16,
  FOUR: Ndr.Int32,
  EIGHT: Ndr.Int64
}, { msUnion: true })

// ---- the interface ----

export const vectors = Interface.make("vectors", {
  uuid: "7f2c1a40-52d1-4d3b-9a77-1b0f2e6d9c02",
  version: [1, 0],
  methods: {
    f: Interface.method({
      opnum: 0,
      in: { level: Ndr.switchIs("u"), u: u, c: Ndr.Char },
      out: { result: Ndr.Int32 }
    })
  }
})
