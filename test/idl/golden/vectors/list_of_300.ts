/**
 * vectors 1.0, from list_of_300.idl.
 *
 * Written by callisto import 0.1.0. Do not edit it: import again.
 */
import { Interface } from "@callisto/rpc"
import * as Ndr from "@callisto/rpc/ndr/Ndr"
import { Schema } from "effect"

// ---- structures and unions ----

export interface LIST {
  readonly v: number
  readonly next: LIST | null
}
export const LIST: Schema.Codec<LIST> = Ndr.struct({
  v: Ndr.Int32,
  next: Ndr.unique(Schema.suspend(() => LIST))
})

// ---- the interface ----

export const vectors = Interface.make("vectors", {
  uuid: "7f2c1a40-52d1-4d3b-9a77-1b0f2e6d9c02",
  version: [1, 0],
  methods: {
    f: Interface.method({
      opnum: 0,
      in: { p: Ndr.unique(LIST) }
    })
  }
})
