// A vault with two roles: readers read, keepers write. Client and server of vault_server.ts and vault_client.ts share it.
import { Effect, Redacted, Ref, Schema } from "effect"
import { Interface, Manager, ServerCall } from "@callisto/rpc"
import { Ntlm } from "@callisto/rpc/security"

export const IVault = Interface.make("IVault", {
  uuid: "c1a7f1a2-4e0b-4b35-9a53-6b9a0a7e1d10",
  version: [1, 0],
  methods: {
    Read: Interface.method({ in: { name: Schema.String }, out: { secret: Schema.String, reader: Schema.String } }),
    Write: Interface.method({ in: { name: Schema.String, secret: Schema.String } })
  }
})

// Who may call which method. A server keeps hashes of passwords, and no passwords.
const roles: Record<string, string> = { Read: "readers", Write: "keepers" }
const people = new Map<string, Ntlm.Account>([
  ["ada", { ntHash: Ntlm.hash(Redacted.make("difference engine")), groups: ["readers", "keepers"] }],
  ["bob", { ntHash: Ntlm.hash(Redacted.make("four words are enough")), groups: ["readers"] }]
])

export const accounts: Ntlm.Accounts = ({ user }) => people.get(user.toLowerCase())

export const vault = Effect.gen(function* () {
  const secrets = yield* Ref.make(new Map([["door", "1842"]]))
  return Manager.make(IVault, {
    Read: ({ name }) =>
      Effect.gen(function* () {
        // Whoever runs on behalf of a call can ask who makes it.
        const reader = yield* ServerCall.currentCaller
        const secret = (yield* Ref.get(secrets)).get(name) ?? "nothing"
        return { secret, reader: `${reader.name}, ${reader.level}` }
      }),
    Write: ({ name, secret }) => Ref.update(secrets, (secrets) => new Map(secrets).set(name, secret))
  }, {
    // Below this level, and to others, the vault answers 5: access denied.
    minimumLevel: "privacy",
    access: ({ caller, method }) => caller.groups.includes(roles[method]!)
  })
})
