// Lists the shares of a machine, of Windows or Samba. `callisto import srvsvc.idl` wrote srvsvc.ts.
// Run it: bun examples/list_shares.ts "ncacn_ip_tcp:127.0.0.1"
// Windows wants a user: SHARES_PASSWORD=... bun examples/list_shares.ts "ncacn_ip_tcp:server.corp.example" CORP alice
import process from "node:process"
import { Console, Effect, Redacted } from "effect"
import { Call, Status } from "@callisto/rpc"
import { Association } from "@callisto/rpc/dcerpc"
import * as NodeTransport from "@callisto/rpc/node"
import { Negotiate, Security } from "@callisto/rpc/security"
import { srvsvc } from "./srvsvc.ts"

const [, , machine = "ncacn_ip_tcp:127.0.0.1", domain = "", user] = process.argv
const password = Redacted.make(process.env["SHARES_PASSWORD"] ?? "")
const security = user === undefined
  ? undefined
  : Security.make({ provider: Negotiate.client, credentials: { user, domain, password }, level: "privacy" })

const two = (number: number) => String(number).padStart(2, "0")

const program = Effect.gen(function* () {
  const server = Call.client(yield* Association.bind(srvsvc, machine, { security }))

  // Level 1 is names, types and remarks. The number that says so in front of the union, and the counts of arrays, write themselves.
  const { InfoStruct: { ShareInfo }, result } = yield* server.NetrShareEnum({
    ServerName: null,
    InfoStruct: { ShareInfo: { case: 1, value: { Buffer: null } } },
    PreferedMaximumLength: 0xffffffff,
    ResumeHandle: null
  })
  yield* Status.win32(result)
  if ("default" in ShareInfo || ShareInfo.case !== 1) return yield* Console.log("The server answers another level.")
  for (const { shi1_netname, shi1_remark, shi1_type } of ShareInfo.value?.Buffer ?? []) {
    yield* Console.log(`${shi1_netname}: ${shi1_type} ${shi1_remark}`)
  }

  const { BufferPtr: time, result: told } = yield* server.NetrRemoteTOD({ ServerName: null })
  yield* Status.win32(told)
  if (time !== null) {
    yield* Console.log(`The clock of the server says ${two(time.tod_hours)}:${two(time.tod_mins)} UTC.`)
  }
}).pipe(Effect.scoped, Effect.provide(NodeTransport.layer))

const main = Effect.catch(program, ({ message }) =>
  Effect.sync(() => {
    console.error(message)
    process.exitCode = 1
  }))

await Effect.runPromise(main)
