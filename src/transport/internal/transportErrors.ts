/**
 * The errors with which transports refuse and end connections.
 */
import * as Socket from "effect/socket/Socket"
import { unavailable } from "../../internal/failures.ts"
import { CantCreateEndpoint, type RpcTransportError } from "../../Status.ts"
import { print, type ProtocolSequence, type StringBinding } from "../StringBinding.ts"

// The same as of a call that never reached its server.
export { unavailable }

export const closed = (code: number, closeReason?: string): Socket.SocketError =>
  new Socket.SocketError({ reason: new Socket.SocketCloseError({ code, closeReason }) })

export const writeFailed = (cause: unknown): Socket.SocketError =>
  new Socket.SocketError({ reason: new Socket.SocketWriteError({ cause }) })

export const cantListen = (status: CantCreateEndpoint["status"], detail: string): CantCreateEndpoint =>
  new CantCreateEndpoint({ status, detail })

export const inUse = (binding: StringBinding): CantCreateEndpoint => cantListen(1740, `${print(binding)} is in use`)

export const unsupported = (binding: StringBinding, protocols: ReadonlyArray<ProtocolSequence>): RpcTransportError =>
  unavailable(`this transport has ${protocols.join(", ")} and not ${print(binding)}`)

export const cantListenOn = (binding: StringBinding, protocols: ReadonlyArray<ProtocolSequence>): CantCreateEndpoint =>
  cantListen(1703, unsupported(binding, protocols).detail)
