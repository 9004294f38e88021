// What the tests look at behind the public surface.
import type { Manager, Server } from "../mod.ts"
import { implOf, type ManagerImpl } from "../src/internal/manager.ts"
import type { ServerImpl } from "../src/internal/server.ts"

export const serverImpl = (server: Server.Server): ServerImpl => server as unknown as ServerImpl

export const managerImpl = (manager: Manager.Manager.Any): ManagerImpl => implOf(manager)
