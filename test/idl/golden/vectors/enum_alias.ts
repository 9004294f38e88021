/**
 * vectors 1.0, from enum_alias.idl.
 *
 * Written by callisto import 0.1.0. Do not edit it: import again.
 */
import { Interface } from "@callisto/rpc"
import * as Ndr from "@callisto/rpc/ndr/Ndr"
import type { Schema } from "effect"

// ---- enumerations ----

/** `enum` */
export type LSA_FOREST_TRUST_RECORD_TYPE =
  | "ForestTrustTopLevelName"
  | "ForestTrustTopLevelNameEx"
  | "ForestTrustDomainInfo"
  | "ForestTrustRecordTypeLast"
  | number
export const LSA_FOREST_TRUST_RECORD_TYPE: Schema.Codec<LSA_FOREST_TRUST_RECORD_TYPE> = Ndr.enum16({
  ForestTrustTopLevelName: 0,
  ForestTrustTopLevelNameEx: 1,
  ForestTrustDomainInfo: 2,
  ForestTrustRecordTypeLast: 2
})

// ---- the interface ----

export const vectors = Interface.make("vectors", {
  uuid: "7f2c1a40-52d1-4d3b-9a77-1b0f2e6d9c02",
  version: [1, 0],
  methods: {
    f: Interface.method({
      opnum: 0,
      in: { HighestRecordType: LSA_FOREST_TRUST_RECORD_TYPE }
    })
  }
})
