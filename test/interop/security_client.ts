/**
 * Calls the accounts service (samr) of a domain controller at each level with NTLM, Negotiate and Kerberos. The arguments are the string
 * bindings of the service and of the key distribution centre, the realm, the workgroup, the name of the service, a user and its password,
 * and whether the server signs headers: `on` or `off`. Prints `ok NAME` or `not ok NAME: REASON` for each test.
 */
import { deepStrictEqual, ok } from "node:assert/strict"
import process from "node:process"
import { Call, ContextHandle, Interface } from "@callisto/rpc"
import { Association, Management } from "@callisto/rpc/dcerpc"
import { Ndr } from "@callisto/rpc/ndr"
import * as NodeTransport from "@callisto/rpc/node"
import { Kerberos, Negotiate, Ntlm, Security } from "@callisto/rpc/security"
import { Cause, Effect, Layer, Redacted } from "effect"
import { withClock } from "./clock.ts"

const [, , server, kdc, realm, workgroup, target, user, password, headers] = process.argv as Array<string> & {
  readonly length: 10
}

const test = <E, R>(name: string, effect: Effect.Effect<void, E, R>) =>
  Effect.matchCause(effect, {
    onSuccess: () => console.log(`ok ${name}`),
    onFailure: (cause) =>
      console.log(
        `not ok ${name}: ${Cause.pretty(cause).split("\n").slice(0, 3).join(" ")}`
      )
  })

// ----------------------------------------------------------------------------
// the service
// ----------------------------------------------------------------------------

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
    Close: Interface.method({
      opnum: 1,
      in: { handle: Handle },
      out: { handle: ContextHandle.nullable(Handle), status }
    }),
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
      in: {
        handle: Handle,
        count: Ndr.lengthIs("names"),
        names: Ndr.sizedVarying(CountedString)
      },
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
const someNotMapped = 0x107

/** The most names that one call may look up: fragments in both directions. */
const names = [user!, ...Array.from({ length: 999 }, (_, index) => `nobody-${index}`)]

// ----------------------------------------------------------------------------
// the logins
// ----------------------------------------------------------------------------

const alice = { user: user!, domain: workgroup!, password: Redacted.make(password!) }
const ofRealm = { ...alice, domain: realm! }

const levels = ["packet", "integrity", "privacy"] as const

const lookUp = (security: Security.Security, provider: string) =>
  Effect.gen(function* () {
    const samr = yield* Association.bind(ISamr, server!, { security })
    const call = yield* Call.make(samr)
    const connect = yield* Call.begin(call, "Connect2", {
      server: null,
      access: maximumAllowed
    })
    deepStrictEqual(yield* Call.security(call), {
      level: security.level,
      mutual: provider === "Kerberos",
      provider,
      headerSigning: headers === "on"
    })
    const { handle } = yield* Call.join(connect)
    const { sid } = yield* Call.invoke(samr, "LookupDomain", { handle, name: counted(workgroup!) })
    const domain = yield* Call.invoke(samr, "OpenDomain", { handle, access: maximumAllowed, sid: sid! })
    deepStrictEqual(domain.status, 0)
    // Several at once: signatures are in the order of the wire.
    yield* Effect.forEach([1, 2, 3], () =>
      Effect.gen(function* () {
        const found = yield* Call.invoke(samr, "LookupNames", {
          handle: domain.handle,
          names: { size: 1000, elements: names.map(counted) }
        })
        deepStrictEqual([found.status, found.rids.ids!.length], [someNotMapped, names.length])
        ok(found.rids.ids![0]! > 1000, `${user} has the number ${found.rids.ids![0]}`)
        deepStrictEqual(new Set(found.rids.ids!.slice(1)), new Set([0]))
      }), { concurrency: "unbounded" })
    for (const each of [domain.handle, handle]) {
      deepStrictEqual(
        (yield* Call.invoke(samr, "Close", { handle: each })).status,
        0
      )
    }
  }).pipe(Effect.scoped)

/** The code and the words with which a login, or the first call after it, is refused. */
const refusal = (options: Security.Options) =>
  Effect.gen(function* () {
    const samr = yield* Association.bind(ISamr, server!, {
      security: Security.make({ target, ...options })
    })
    yield* Call.invoke(samr, "Connect2", { server: null, access: maximumAllowed })
  }).pipe(
    Effect.scoped,
    Effect.flip,
    Effect.map((error) => ({
      code: "code" in error ? error.code : error._tag,
      message: error.message
    }))
  )

const kerberosClient = Kerberos.client({ realm: realm!, kdc: kdc! })

const hour = 3_600_000

const program = Effect.gen(function* () {
  const kerberos = yield* kerberosClient
  const providers = [
    ["NTLM", Ntlm.client, alice],
    ["NTLM within Negotiate", Negotiate.client, alice],
    ["Kerberos", kerberos, ofRealm],
    [
      "Kerberos within Negotiate",
      Negotiate.makeClient([kerberos, Ntlm.client]),
      ofRealm
    ]
  ] as const
  for (const [name, provider, credentials] of providers) {
    for (const level of levels) {
      yield* test(
        `${name}, ${level}, headers signed ${headers}`,
        lookUp(
          Security.make({ provider, credentials, level, target }),
          name.split(" ")[0]!
        )
      )
    }
    if (headers === "off") {
      yield* test(
        `${name}, a server that must sign headers is refused`,
        Effect.gen(function* () {
          deepStrictEqual(
            (yield* refusal({
              provider,
              credentials,
              headerSigning: "required"
            })).code,
            1825
          )
        })
      )
      continue
    }
    yield* test(
      `${name}, connect`,
      Effect.gen(function* () {
        const security = Security.make({
          provider,
          credentials,
          level: "connect",
          target
        })
        const management = yield* Association.bind(Management.IManagement, server!, { security })
        const call = yield* Call.make(management)
        const pending = yield* Call.begin(call, "is_server_listening")
        deepStrictEqual((yield* Call.security(call)).level, "connect")
        deepStrictEqual((yield* Call.join(pending)).status, 0)
        deepStrictEqual((yield* refusal({ provider, credentials, level: "connect" })).code, 5)
      }).pipe(Effect.scoped)
    )
    yield* test(
      `${name}, a wrong password and a wrong user are refused with the same words`,
      Effect.gen(function* () {
        const wrong = Redacted.make("wrong")
        const ofPassword = yield* refusal({
          provider,
          credentials: { ...credentials, password: wrong }
        })
        const ofUser = yield* refusal({
          provider,
          credentials: { ...credentials, user: "mallory", password: wrong }
        })
        deepStrictEqual(ofUser.code, ofPassword.code)
        if (!name.startsWith("Kerberos")) {
          deepStrictEqual(ofUser.message, ofPassword.message)
        }
      })
    )
  }
  if (headers === "off") return
  const options = { provider: kerberos, credentials: ofRealm }
  yield* test(
    "Kerberos, an unknown service is refused",
    Effect.gen(function* () {
      deepStrictEqual(
        (yield* refusal({ ...options, target: "host/nobody" })).code,
        1825
      )
    })
  )
  yield* test(
    "Kerberos, a service whose key the server has not is refused",
    Effect.gen(function* () {
      const { code } = yield* refusal({ ...options, target: "host/localhost" })
      // The second one is that of Samba before 4.18, which names no reason.
      ok(code === 5 || code === "RpcTransportError", `got ${code}`)
    })
  )
  for (const hours of [-1, 1]) {
    yield* test(
      `Kerberos, a clock that is ${hours} h off: the key distribution centre's time is used`,
      Effect.gen(function* () {
        const provider = yield* kerberosClient
        yield* lookUp(
          Security.make({ provider, credentials: ofRealm, target }),
          "Kerberos"
        )
      }).pipe(Effect.scoped, withClock(() => hours * hour))
    )
  }
  let later = 0
  yield* test(
    "Kerberos, a ticket that has ended is fetched again",
    Effect.gen(function* () {
      const provider = yield* kerberosClient
      for (const hours of [0, 12]) {
        later = hours * hour
        yield* lookUp(
          Security.make({ provider, credentials: ofRealm, target }),
          "Kerberos"
        )
      }
    }).pipe(Effect.scoped, withClock(() => later))
  )
}).pipe(Effect.scoped, Effect.provide(Layer.merge(NodeTransport.layer, NodeTransport.layerKerberos)))

await Effect.runPromise(program)
