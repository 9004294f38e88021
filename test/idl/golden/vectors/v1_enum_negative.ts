/**
 * vectors 1.0, from v1_enum_negative.idl.
 *
 * Written by callisto import 0.1.0. Do not edit it: import again.
 */
import { Interface } from "@callisto/rpc"
import * as Ndr from "@callisto/rpc/ndr/Ndr"
import type { Schema } from "effect"

// ---- enumerations ----

/** `[v1_enum] enum` */
export type e = "value1" | number
export const e: Schema.Codec<e> = Ndr.enum32({ value1: -1 })

// ---- the interface ----

export const vectors = Interface.make("vectors", {
  uuid: "7f2c1a40-52d1-4d3b-9a77-1b0f2e6d9c02",
  version: [1, 0],
  methods: {
    f: Interface.method({
      opnum: 0,
      in: { v: e },
      out: { result: Ndr.Int32 }
    })
  }
})
