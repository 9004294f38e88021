/**
 * Calls over the network, in the connection-oriented DCE/RPC protocol.
 *
 * Each module is also exported under its own name, for instance `@callisto/rpc/dcerpc/Association`.
 *
 * @module
 * @since 0.1.0
 */
export * as Association from "./dcerpc/Association.ts"
export * as Endpoint from "./dcerpc/Endpoint.ts"
export * as EndpointMapper from "./dcerpc/EndpointMapper.ts"
export * as Management from "./dcerpc/Management.ts"
export * as Pdu from "./dcerpc/Pdu.ts"
export * as Tower from "./dcerpc/Tower.ts"
export * as TransferSyntax from "./dcerpc/TransferSyntax.ts"
