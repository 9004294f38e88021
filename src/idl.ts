/**
 * Interface definitions in IDL: read, described at run time, and printed as TypeScript.
 *
 * Each module is also exported under its own name, for instance `@callisto/rpc/idl/Idl`.
 *
 * @module
 * @since 0.1.0
 */
export * as Idl from "./idl/Idl.ts"
