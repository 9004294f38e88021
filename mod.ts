/**
 * Asynchronous remote calls as explicit objects, for Effect.
 *
 * Each module is also exported under its own name, for instance `@callisto/rpc/Call`.
 *
 * @module
 * @since 0.1.0
 */
export * as Binding from "./src/Binding.ts"
export * as Call from "./src/Call.ts"
export * as CallState from "./src/CallState.ts"
export * as Channel from "./src/Channel.ts"
export * as ContextHandle from "./src/ContextHandle.ts"
export * as Interface from "./src/Interface.ts"
export * as Manager from "./src/Manager.ts"
export * as Observability from "./src/Observability.ts"
export * as Pipe from "./src/Pipe.ts"
export * as Server from "./src/Server.ts"
export * as ServerCall from "./src/ServerCall.ts"
export * as Status from "./src/Status.ts"
export * as Synchronize from "./src/Synchronize.ts"
export * as TestKit from "./src/TestKit.ts"
