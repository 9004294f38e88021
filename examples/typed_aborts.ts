// Typed aborts: tagged errors with fields, other codes as RpcFault, and a defect that ends one call but not the server.
// Run it: deno run examples/typed_aborts.ts (or: bun examples/typed_aborts.ts)
import { Console, Effect, Logger, Schema } from "effect"
import { Binding, Call, Interface, Manager, Server, Status } from "@callisto/rpc"

class InsufficientFunds extends Schema.TaggedError<InsufficientFunds>()("InsufficientFunds", {
  balance: Schema.Number,
  missing: Schema.Number
}) {}

class NoSuchAccount extends Schema.TaggedError<NoSuchAccount>()("NoSuchAccount", { account: Schema.String }) {}

const IBank = Interface.make("IBank", {
  methods: {
    Withdraw: Interface.method({
      in: { account: Schema.String, amount: Schema.Number },
      out: { balance: Schema.Number },
      aborts: [InsufficientFunds, NoSuchAccount]
    })
  }
})

const balances = new Map([["ada", 100], ["bob", 20]])

const manager = Manager.make(IBank, {
  Withdraw: Effect.fnUntraced(function* ({ account, amount }) {
    // Code 5 (access denied) is not declared: the client sees the number alone.
    if (account === "vault") return yield* new Status.RpcFault({ code: 5 })

    // A bug: the client learns that the routine died. The server's log says why.
    if (amount < 0) throw new Error("a negative amount came through to the till")

    const balance = balances.get(account)
    if (balance === undefined) return yield* new NoSuchAccount({ account })
    if (balance < amount) return yield* new InsufficientFunds({ balance, missing: amount - balance })
    balances.set(account, balance - amount)
    return { balance: balance - amount }
  })
})

const withdraw = Effect.fnUntraced(
  function* (bank: Call.Client<typeof IBank>, account: string, amount: number) {
    const { balance } = yield* bank.Withdraw({ account, amount })
    return `${balance} left`
  },
  // The errors have their fields, with their types.
  Effect.catchTag(
    "InsufficientFunds",
    ({ balance, missing }) => Effect.succeed(`InsufficientFunds: ${balance} there, ${missing} missing`)
  ),
  Effect.catchTag("NoSuchAccount", ({ account }) => Effect.succeed(`NoSuchAccount: who is ${account}?`)),
  Effect.catchTag("RpcFault", (fault) => Effect.succeed(`RpcFault: ${fault.message}`))
)

const program = Effect.gen(function* () {
  const server = yield* Server.make([manager])
  const bank = Call.client(yield* Binding.local(server, IBank))

  for (
    const [account, amount] of [["ada", 30], ["bob", 50], ["eve", 1], ["vault", 1], ["ada", -5], ["ada", 70]] as const
  ) {
    const outcome = yield* withdraw(bank, account, amount)
    yield* Console.log(`${account} withdraws ${amount}:`.padEnd(20), outcome)
  }
}).pipe(Effect.scoped)

// The server's log of a defect, in one line.
const serverLog = Logger.layer([
  Logger.make(({ cause, message }) => console.log(`  (server log: ${message}. ${cause.reasons.join()})`))
])

await Effect.runPromise(Effect.provide(program, serverLog))
