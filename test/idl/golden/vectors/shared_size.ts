/**
 * vectors 1.0, from shared_size.idl.
 *
 * Written by callisto import 0.1.0. Do not edit it: import again.
 */
import { Interface } from "@callisto/rpc"
import * as Ndr from "@callisto/rpc/ndr/Ndr"

// ---- the interface ----

export const vectors = Interface.make("vectors", {
  uuid: "7f2c1a40-52d1-4d3b-9a77-1b0f2e6d9c02",
  version: [1, 0],
  methods: {
    f: Interface.method({
      opnum: 0,
      in: { n: Ndr.sizeIs(["a", "b"]), a: Ndr.conformant(Ndr.Int32), b: Ndr.conformant(Ndr.Int32) }
    })
  }
})
