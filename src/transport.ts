/**
 * The carriers of connections: string bindings, and the transports of the protocol sequences.
 *
 * Each module is also exported under its own name, for instance `@callisto/rpc/transport/StringBinding`.
 *
 * @module
 * @since 0.1.0
 */
export * as Memory from "./transport/Memory.ts"
export * as MessagePort from "./transport/MessagePort.ts"
export * as StringBinding from "./transport/StringBinding.ts"
export * as Transport from "./transport/Transport.ts"
export * as WebSocket from "./transport/WebSocket.ts"
