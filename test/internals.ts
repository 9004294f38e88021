// What the tests look at behind the public surface.
import type { Binding, ContextHandle, Manager, Server } from "../mod.ts"
import type { Handle } from "../src/internal/handleSchema.ts"
import { implOf, type ManagerImpl } from "../src/internal/manager.ts"
import type { ClientImpl, ServerImpl } from "../src/internal/server.ts"

export const serverImpl = (server: Server.Server): ServerImpl => server as unknown as ServerImpl

export const managerImpl = (manager: Manager.Manager.Any): ManagerImpl => implOf(manager)

export const handleImpl = (handle: ContextHandle.ContextHandle.Any): Handle => handle as unknown as Handle

/** The client that a local binding is to its server. */
export const clientImpl = ({ channel }: Binding.Binding.Any): ClientImpl =>
  (channel as unknown as { readonly origin: ClientImpl }).origin
