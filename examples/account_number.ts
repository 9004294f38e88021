// Logs in to a domain controller, of Windows or Samba, and asks for the number (RID) of a user. The accounts service refuses the level
// connect, and answers at integrity and above.
// Run it: ACCOUNT_PASSWORD=... bun examples/account_number.ts "ncacn_ip_tcp:dc.corp.example" CORP alice
// The arguments are the string binding of the controller, the domain, and the user that logs in and is looked up.
import process from "node:process"
import { Console, Effect, Redacted } from "effect"
import { Call, ContextHandle, Interface } from "@callisto/rpc"
import { Association } from "@callisto/rpc/dcerpc"
import { Ndr } from "@callisto/rpc/ndr"
import * as NodeTransport from "@callisto/rpc/node"
import { Negotiate, Security } from "@callisto/rpc/security"

const [, , controller = "ncacn_ip_tcp:127.0.0.1", domain = "CORP", user = "alice"] = process.argv
const password = Redacted.make(process.env["ACCOUNT_PASSWORD"] ?? "")

// The part of the accounts service (MS-SAMR) that looks up names.
const Handle = ContextHandle.make("samr_handle")
const CountedString = Ndr.struct({
  length: Ndr.Uint16,
  size: Ndr.Uint16,
  text: Ndr.unique(Ndr.conformantVarying(Ndr.Uint16))
})
const Sid = Ndr.struct({
  revision: Ndr.Uint8,
  count: Ndr.sizeIs("authorities", Ndr.Uint8),
  authority: Ndr.fixedBytes(6),
  authorities: Ndr.conformant(Ndr.Uint32)
})
const Ids = Ndr.struct({ count: Ndr.sizeIs("ids"), ids: Ndr.unique(Ndr.conformant(Ndr.Uint32)) })
const status = Ndr.Uint32

const ISamr = Interface.make("samr", {
  uuid: "12345778-1234-abcd-ef00-0123456789ac",
  version: [1, 0],
  methods: {
    LookupDomain: Interface.method({
      opnum: 5,
      in: { handle: Handle, name: CountedString },
      out: { sid: Ndr.unique(Sid), status }
    }),
    OpenDomain: Interface.method({
      opnum: 7,
      in: { handle: Handle, access: Ndr.Uint32, sid: Sid },
      out: { handle: Handle, status }
    }),
    LookupNames: Interface.method({
      opnum: 17,
      in: { handle: Handle, count: Ndr.lengthIs("names"), names: Ndr.sizedVarying(CountedString) },
      out: { rids: Ids, types: Ids, status }
    }),
    Connect2: Interface.method({
      opnum: 57,
      in: { server: Ndr.unique(Ndr.WString), access: Ndr.Uint32 },
      out: { handle: Handle, status }
    })
  }
})

const counted = (text: string) => ({
  length: 2 * text.length,
  size: 2 * text.length,
  text: Array.from(text, (character) => character.charCodeAt(0))
})

const maximumAllowed = 0x2000000

const numberOf = (level: "connect" | "integrity" | "privacy") =>
  Effect.gen(function* () {
    const security = Security.make({ provider: Negotiate.client, credentials: { user, domain, password }, level })
    const samr = Call.client(yield* Association.bind(ISamr, controller, { security }))
    const { handle: server } = yield* samr.Connect2({ server: null, access: maximumAllowed })
    const { sid } = yield* samr.LookupDomain({ handle: server, name: counted(domain) })
    if (sid === null) return yield* Effect.fail(new Error(`The controller does not know the domain ${domain}.`))
    const { handle } = yield* samr.OpenDomain({ handle: server, access: maximumAllowed, sid })
    const { rids } = yield* samr.LookupNames({ handle, names: { size: 1000, elements: [counted(user)] } })
    return rids.ids?.[0]
  }).pipe(Effect.scoped)

const program = Effect.gen(function* () {
  const refused = Effect.match(numberOf("connect"), {
    onFailure: ({ message }) => message,
    onSuccess: () => "the controller is an old one, and answers"
  })
  yield* Console.log(`at connect: ${yield* refused}`)
  yield* Console.log(`at integrity: ${user} has the number ${yield* numberOf("integrity")}`)
  yield* Console.log(`at privacy: ${user} has the number ${yield* numberOf("privacy")}, and nobody else could read it`)
}).pipe(Effect.provide(NodeTransport.layer))

const main = Effect.catch(program, ({ message }) =>
  Effect.sync(() => {
    console.error(message)
    process.exitCode = 1
  }))

await Effect.runPromise(main)
