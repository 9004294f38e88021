// Lists the services of a machine, of Windows or Samba, and says how the first one is started. `callisto import svcctl.idl` wrote svcctl.ts.
// Run it: bun examples/list_services.ts "ncalrpc:[/run/samba/ncalrpc/rpcd_classic]"
// Windows wants a user: SERVICES_PASSWORD=... bun examples/list_services.ts "ncacn_ip_tcp:server.corp.example" CORP alice
import process from "node:process"
import { Console, Effect, Redacted } from "effect"
import { Call, Status } from "@callisto/rpc"
import { Association } from "@callisto/rpc/dcerpc"
import * as NodeTransport from "@callisto/rpc/node"
import { Negotiate, Security } from "@callisto/rpc/security"
import {
  SC_MANAGER_CONNECT,
  SC_MANAGER_ENUMERATE_SERVICE,
  type SC_RPC_HANDLE,
  SERVICE_QUERY_CONFIG,
  SERVICE_STATE_ALL,
  SERVICE_WIN32,
  svcctl
} from "./svcctl.ts"

const [, , machine = "ncacn_ip_tcp:127.0.0.1", domain = "", user] = process.argv
const password = Redacted.make(process.env["SERVICES_PASSWORD"] ?? "")
const security = user === undefined
  ? undefined
  : Security.make({ provider: Negotiate.client, credentials: { user, domain, password }, level: "privacy" })

/** The entries of a buffer: the offsets of a name and of a title, and the seven numbers of a status, for each service. */
const entriesIn = (buffer: Uint8Array, count: number) => {
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength)
  const textAt = (offset: number) => new TextDecoder("utf-16le").decode(buffer.subarray(offset)).split("\0", 1)[0]!
  return Array.from({ length: count }, (_, i) => {
    const at = (field: number) => view.getUint32(36 * i + 4 * field, true)
    return { name: textAt(at(0)), title: textAt(at(1)), isRunning: at(3) === 4 }
  })
}

const program = Effect.gen(function* () {
  const manager = Call.client(yield* Association.bind(svcctl, machine, { security }))

  /** Keeps what was opened until the scope closes. */
  const keep = (handle: SC_RPC_HANDLE | null) =>
    Effect.acquireRelease(
      Effect.succeed(handle!),
      (hSCObject) => Effect.ignore(manager.RCloseServiceHandle({ hSCObject }))
    )

  // A result is a number; Status.win32 fails with what it means, here perhaps 5, ERROR_ACCESS_DENIED.
  const opened = yield* manager.ROpenSCManagerW({
    lpMachineName: null,
    lpDatabaseName: null,
    dwDesiredAccess: SC_MANAGER_CONNECT | SC_MANAGER_ENUMERATE_SERVICE
  })
  yield* Status.win32(opened.result)
  const hSCManager = yield* keep(opened.lpScHandle)

  const list = (cbBufSize: number) =>
    manager.REnumServicesStatusW({
      hSCManager,
      dwServiceType: SERVICE_WIN32,
      dwServiceState: SERVICE_STATE_ALL,
      cbBufSize,
      lpResumeIndex: null
    })
  // The first answer says how much room the list needs, and that there is more: 234, ERROR_MORE_DATA.
  const { pcbBytesNeeded, result: more } = yield* list(0)
  yield* Status.win32(more, { accept: [234] })
  const { lpBuffer, lpServicesReturned, result } = yield* list(pcbBytesNeeded)
  yield* Status.win32(result)

  const services = entriesIn(lpBuffer, lpServicesReturned)
  for (const { isRunning, name, title } of services) {
    yield* Console.log(`${isRunning ? "runs " : "stops"} ${name}: ${title}`)
  }
  const [first] = services
  if (first === undefined) return

  const service = yield* manager.ROpenServiceW({
    hSCManager,
    lpServiceName: first.name,
    dwDesiredAccess: SERVICE_QUERY_CONFIG
  })
  yield* Status.win32(service.result)
  const hService = yield* keep(service.lpServiceHandle)
  const { lpServiceConfig, result: known } = yield* manager.RQueryServiceConfigW({ hService, cbBufSize: 8192 })
  yield* Status.win32(known)
  yield* Console.log(
    `${first.name} starts ${lpServiceConfig.lpBinaryPathName ?? "a program that the machine keeps to itself"}`
  )
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

const main = Effect.catch(program, ({ message }) =>
  Effect.sync(() => {
    console.error(message)
    process.exitCode = 1
  }))

await Effect.runPromise(main)
