/**
 * Network Data Representation: how the values of methods lie in the bytes of DCE/RPC.
 *
 * Each module is also exported under its own name, for instance `@callisto/rpc/ndr/Ndr`.
 *
 * @module
 * @since 0.1.0
 */
export * as Ndr from "./ndr/Ndr.ts"
